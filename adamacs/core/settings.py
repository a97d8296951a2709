"""One typed settings object: `adamacs.toml` in the lab home, the environment over it, secrets apart.

Every field below is a setting `section.field`, and `ADAMACS_SECTION_FIELD` in the environment overrides it.
A secret stands only in the environment or in `secrets.toml` beside `adamacs.toml`, readable by its owner alone.
"""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from adamacs.core.errors import InvalidSetting, nearest

FILE = "adamacs.toml"
SECRETS_FILE = "secrets.toml"


class Secret:
    """A text that shows itself as stars, so that no log, traceback, table or JSON tells it.

    No dataclass, and without `__dict__`: `asdict` and `vars` would tell it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "***" if self._text else ""

    def __bool__(self) -> bool:
        return bool(self._text)

    def reveal(self) -> str:
        """Return the text itself, to be handed to a server and nowhere else."""
        return self._text


def setting(default: Any, doc: str) -> Any:
    """Declare one setting with its default and the sentence the reference page prints."""
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class Database:
    """How the database is reached."""

    url: str = setting("", "Server as `postgresql://user@host:port/name` or `mysql://user@host:port`; empty: embedded.")
    password: Secret = setting(Secret(""), "Password of the account in `database.url`.")
    prefix: str = setting("adamacs", "First part of every schema name, `<prefix>_<module>`.")
    data: str = setting("", "Data folder of the embedded server; empty: chosen by `adamacs db init`.")
    use_tls: bool = setting(False, "Demand TLS from the server named in `database.url`.")


@dataclass(frozen=True)
class Roots:
    """Named folders. Every stored path is relative to one of them."""

    share: str = setting("share", "Where people drop recording folders, as `<share>/<username>/`.")
    processed: str = setting("processed", "Where processing tools leave their result folders.")


@dataclass(frozen=True)
class Store:
    """One place where arrays rest."""

    protocol: str = setting("file", "`file` or `s3`.")
    location: str = setting(
        "stores/derived", "Folder of a file store, relative to the lab home; prefix inside a bucket."
    )
    endpoint: str = setting("", "Address of an S3 server, with scheme and port.")
    bucket: str = setting("", "Bucket of an S3 store.")
    access_key: str = setting("", "Access key of an S3 store.")
    secret_key: Secret = setting(Secret(""), "Secret key of an S3 store.")


@dataclass(frozen=True)
class Ingest:
    """What planning assumes where a folder does not say."""

    legacy_tokens: bool = setting(False, "Admit token payloads that are not exactly 8 characters of 0-9 and A-Z.")
    paramset_idx: int = setting(-1, "Parameter set that a new scan is staged with; -1: stage nothing by itself.")


@dataclass(frozen=True)
class Workers:
    """What a worker may use of its machine."""

    threads: int = setting(0, "Threads per worker; 0: all cores that the process may use.")
    device: str = setting("cpu", "Where Suite2p's torch steps run: `cpu`, `cuda` or `mps`. Demanded, never guessed.")
    scratch: str = setting("", "Fast local folder for intermediate files; empty: beside the results.")


@dataclass(frozen=True)
class Settings:
    """Everything that differs from lab to lab."""

    home: Path
    time_zone: str = setting("UTC", "Time zone of the lab (IANA name): tokens and folder dates are local to it.")
    database: Database = field(default_factory=Database)
    roots: Roots = field(default_factory=Roots)
    ingest: Ingest = field(default_factory=Ingest)
    workers: Workers = field(default_factory=Workers)
    stores: Mapping[str, Store] = field(default_factory=lambda: MappingProxyType({"derived": Store()}))

    def root(self, name: str) -> Path:
        """Return the absolute folder of a named root."""
        known = {f.name: getattr(self.roots, f.name) for f in dataclasses.fields(self.roots)}
        if name not in known:
            raise InvalidSetting(f"There is no root named {name!r}.", hint=nearest(name, list(known)))
        return self.home / _expanded(known[name])

    def store(self, name: str) -> Store:
        """Return the settings of a named array store."""
        if name not in self.stores:
            raise InvalidSetting(f"There is no store named {name!r}.", hint=nearest(name, list(self.stores)))
        return self.stores[name]

    @property
    def zone(self) -> ZoneInfo:
        """The lab's time zone."""
        return ZoneInfo(self.time_zone)


def _expanded(folder: str) -> Path:
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        raise InvalidSetting("This account has no home folder here.", folder, "Write the path in full.") from error


SECTIONS: Mapping[str, type] = {
    "database": Database,
    "roots": Roots,
    "ingest": Ingest,
    "workers": Workers,
    "stores": Store,
}
_ELSEWHERE = f"Put it into {SECRETS_FILE} beside it (mode 0600), or into the environment."


def find_home(environ: Mapping[str, str] | None = None) -> Path:
    """Return the lab home: `ADAMACS_HOME`, else the nearest folder upwards with adamacs.toml, else ./lab."""
    if named := (os.environ if environ is None else environ).get("ADAMACS_HOME"):
        return _expanded(named).absolute()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FILE).is_file():
            return folder
    return here / "lab"


def load(home: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of a lab home.

    Raises
    ------
    InvalidSetting
        The file is missing or malformed, names an unknown setting, holds a secret, or gives a wrong type; the
        secrets file can be read by others; or a variable names an unknown setting of a section.
    """
    environ = os.environ if environ is None else environ
    home = find_home(environ) if home is None else Path(home).absolute()
    path = home / FILE
    if not path.is_file():
        raise InvalidSetting(
            "This folder is no lab home yet.",
            path,
            "Run `adamacs db init` there, or set ADAMACS_HOME to a lab home.",
        )
    found = _from_file(path, secrets_allowed=False)
    if (home / SECRETS_FILE).exists():
        found |= _from_file(home / SECRETS_FILE, secrets_allowed=True)
    found |= _from_environment(environ, found)
    return _assembled(found, home)


_active: Settings | None = None


def use(settings: Settings | None) -> None:
    """Make these the settings of the process; None forgets them."""
    global _active
    _active = settings


def active() -> Settings:
    """Return the settings in use, reading those of the lab home the first time."""
    settings = _active or load()
    use(settings)
    return settings


def documented() -> Iterator[tuple[str, str, Any, str]]:
    """Yield (name, type, default, sentence) of every setting, for the reference page."""
    for name, kind, default, doc in _declared():
        yield name, kind.__name__, default, doc


def _declared() -> Iterator[tuple[str, type, Any, str]]:
    for section in dataclasses.fields(Settings):
        if section.name in SECTIONS:
            kind = SECTIONS[section.name]
            prefix = f"{section.name}.<name>" if kind is Store else section.name
            hints = get_type_hints(kind)
            for f in dataclasses.fields(kind):
                yield f"{prefix}.{f.name}", hints[f.name], f.default, f.metadata["doc"]
        elif section.name != "home":
            yield section.name, str, section.default, section.metadata["doc"]


def create(home: Path, time_zone: str = "UTC") -> Settings:
    """Make a lab home: its folder, adamacs.toml, roots and file stores. What is there already is kept.

    Raises
    ------
    InvalidSetting
        There is no such time zone, and nothing was made; or the adamacs.toml that is there is not valid.
    """
    _check("time_zone", time_zone, home / FILE)
    home.mkdir(parents=True, exist_ok=True)
    if not (home / FILE).exists():
        (home / FILE).write_text(template(time_zone), encoding="utf-8")
    settings = load(home)
    for root in dataclasses.fields(settings.roots):
        settings.root(root.name).mkdir(parents=True, exist_ok=True)
    for store in settings.stores.values():
        if store.protocol == "file":
            (settings.home / _expanded(store.location)).mkdir(parents=True, exist_ok=True)
    return settings


def template(time_zone: str = "UTC") -> str:
    """Return the text of a new adamacs.toml: the few settings that a lab looks at first."""
    lines = [
        "# Settings of this lab. Every setting: docs/reference/settings.md. Secrets never stand here.",
        f'time_zone = "{time_zone}"',
        "",
        "[roots]  # relative to this folder, or absolute",
        'share = "share"',
        'processed = "processed"',
        "",
        "[stores.derived]",
        'protocol = "file"',
        'location = "stores/derived"',
    ]
    return "\n".join(lines) + "\n"


# ---- reading: every source becomes a dict of `section.field` to a value of its type, and the later one wins


def _from_file(path: Path, *, secrets_allowed: bool) -> dict[str, Any]:
    """Return the settings that a TOML file holds."""
    if secrets_allowed and os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InvalidSetting("Others can read this file of secrets.", path, f"Run: chmod 600 {path}")
    found: dict[str, Any] = {}
    for name, value in _flat(_read_toml(path)):
        kind = _kinds().get(_pattern(name))
        if kind is None:
            found |= _empty_section(name, value, path)
        elif kind is Secret and not secrets_allowed:
            raise InvalidSetting(f"The secret {name} must not stand in {FILE}.", path, _ELSEWHERE)
        else:
            found[name] = Secret(value) if kind is Secret and isinstance(value, str) else value
            _check(name, found[name], path)
    if _split_password(found, path) and not secrets_allowed:
        raise InvalidSetting("database.url holds a password.", path, _ELSEWHERE)
    return found


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows editors put a mark in front
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"This is not valid TOML: {error}.", path) from error
    except OSError as error:
        raise InvalidSetting(f"This file cannot be read: {error.strerror}.", path) from error


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _empty_section(name: str, value: Any, path: Path) -> dict[str, Any]:
    """Return what a section without settings means; refuse every other name that is no setting."""
    section, _, rest = name.partition(".")
    store, _, setting = rest.partition(".")
    if store and section == "stores" and not re.fullmatch(_STORE, store):
        raise InvalidSetting(f"{store!r} is no name of a store.", path, "It takes a-z, 0-9 and _, a letter first.")
    if section not in SECTIONS or setting or (store and section != "stores"):
        known = [pattern.replace("<name>", store or "derived") for pattern in _kinds()]
        raise InvalidSetting(f"{name} is no setting.", path, nearest(name, known))
    if value != {}:
        raise InvalidSetting(f"{name} is a section, not a value.", path, f"Write [{name}] and its settings below.")
    return {f"{name}.protocol": Store.protocol} if store else {}


def _from_environment(environ: Mapping[str, str], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that variables give; `found` names the stores that there are."""
    stores = {"derived", *(name.split(".")[1] for name in found if name.startswith("stores."))}
    names = {pattern.replace("<name>", store) for pattern in _kinds() for store in stores}
    variables = {f"ADAMACS_{name.upper().replace('.', '_')}": name for name in names}
    sections = tuple(f"ADAMACS_{section.upper()}_" for section in SECTIONS)
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        if variable in variables:
            values[variables[variable]] = _read_word(text, variables[variable], variable)
        elif variable.startswith(sections):
            raise InvalidSetting("There is no such setting.", variable, nearest(variable, sorted(variables)))
    _split_password(values, "ADAMACS_DATABASE_URL")
    return values


_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _read_word(text: str, name: str, variable: str) -> Any:
    kind = _kinds()[_pattern(name)]
    value: Any = text
    if kind is Secret:
        value = Secret(text)
    elif kind is bool:
        value = _WORDS.get(text.lower(), text)
    elif kind is int and re.fullmatch(r"-?[0-9]{1,18}", text):
        value = int(text)
    _check(name, value, variable)
    return value


_URL = re.compile(r"(?P<front>[^:/]*://[^:/@]*):(?P<password>.*)@(?P<back>[^@]*)", re.DOTALL)


def _split_password(values: dict[str, Any], where: Path | str) -> bool:
    """Move a password out of the URL, whatever characters it has; tell whether there was one."""
    url = values.get("database.url", "")
    if parts := _URL.fullmatch(url):
        values["database.url"] = url = f"{parts['front']}@{parts['back']}"
        values.setdefault("database.password", Secret(unquote(parts["password"])))
    if "?" in url:  # might say password=
        raise InvalidSetting("database.url takes no options.", where, "TLS is the setting database.use_tls.")
    return parts is not None


@cache
def _kinds() -> dict[str, type]:
    return {name: kind for name, kind, *_ in _declared()}


_STORE = r"[a-z][a-z0-9_]*"


def _pattern(name: str) -> str:
    return re.sub(rf"^stores\.{_STORE}\.", "stores.<name>.", name)


def _is_time_zone(name: str) -> bool:
    try:
        return bool(ZoneInfo(name))
    except (KeyError, ValueError, OSError):
        return False


_RULES: Mapping[str, tuple[Callable[[Any], object], str]] = {
    "time_zone": (_is_time_zone, "It takes an IANA name, such as Europe/Berlin."),
    "database.prefix": (
        re.compile(r"[a-z][a-z0-9_]{0,20}").fullmatch,
        "It takes up to 21 of a-z, 0-9 and _, a letter first.",
    ),
    "stores.<name>.protocol": (lambda word: word in {"file", "s3"}, "It takes file or s3."),
    "ingest.paramset_idx": (lambda number: number >= -1, "It takes an index, or -1."),
    "workers.threads": (lambda number: number >= 0, "It takes a number of threads, or 0 for all cores."),
    "workers.device": (re.compile(r"cpu|mps|cuda(:[0-9]+)?").fullmatch, "It takes cpu, cuda, cuda:1 or mps."),
}
_TYPES = {str: "a text", int: "a whole number", bool: "true or false", Secret: "a text"}


def _check(name: str, value: Any, where: Path | str) -> None:
    """Refuse a value of another type, or one that the setting does not take; never show a secret."""
    kind = _kinds()[_pattern(name)]
    if type(value) is not kind:
        shown = "This" if kind is Secret or isinstance(value, list | dict) else repr(value)
        raise InvalidSetting(f"{shown} is no value of {name}.", where, f"It takes {_TYPES[kind]}.")
    fits, hint = _RULES.get(_pattern(name), (None, ""))
    if fits and not fits(value):
        raise InvalidSetting(f"{value!r} is no value of {name}.", where, hint)


def _assembled(found: Mapping[str, Any], home: Path) -> Settings:
    sections = {name: kind(**_below(name, found)) for name, kind in SECTIONS.items() if kind is not Store}
    names = dict.fromkeys(["derived", *(name.split(".")[1] for name in found if name.startswith("stores."))])
    stores = {name: Store(**{"location": f"stores/{name}", **_below(f"stores.{name}", found)}) for name in names}
    top = {name: value for name, value in found.items() if "." not in name}
    return Settings(home=home, stores=MappingProxyType(stores), **sections, **top)


def _below(section: str, found: Mapping[str, Any]) -> dict[str, Any]:
    start = f"{section}."
    return {name.removeprefix(start): value for name, value in found.items() if name.startswith(start)}
