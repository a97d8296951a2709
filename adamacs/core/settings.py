"""One typed settings object: `adamacs.toml` in the lab home, the environment over it, secrets apart.

Every field below is a setting `section.field`, and `ADAMACS_SECTION_FIELD` in the environment overrides it.
A secret stands only in the environment or in `secrets.toml` beside `adamacs.toml`, readable by its owner alone.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import stat
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import permutations
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from adamacs.core import places
from adamacs.core.errors import InvalidSetting, nearest

FILE = "adamacs.toml"
SECRETS_FILE = "secrets.toml"
TEXTS = tuple[str, ...]  # an array in TOML, commas in the environment


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

    share: str = setting(
        "share", "Where people drop recording folders, as `<share>/<username>/`; others stand as `[shares.<name>]`."
    )
    processed: str = setting("processed", "Where processing tools leave their result folders.")


@dataclass(frozen=True)
class Share:
    """One more folder with recordings, such as a full disk of former years."""

    folder: str = setting("", "Folder of recordings beside `roots.share`, as `<folder>/<username>/`; it is only read.")

    @classmethod
    def called(cls, name: str, **given: Any) -> Share:
        """Return the share of this name."""
        return cls(**given)


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

    @classmethod
    def called(cls, name: str, **given: Any) -> Store:
        """Return the store of this name; no two share a folder by default."""
        return cls(**{"location": f"stores/{name}", **given})


@dataclass(frozen=True)
class Role:
    """One kind of host that computes. Beside what is set here it fills the tables that modalities give it."""

    tables: TEXTS = setting((), "Tables that it takes from the role that ships with them, as `imaging.Processing`.")
    needs: TEXTS = setting(
        (),
        "What a host must have to take the role: `cuda`, `mps`, `tool:suite2p`, `memory:16` (GB of the whole host), "
        "`store:derived`, `root:processed` (both writable). The role `gpu` needs `cuda` unless told otherwise.",
    )
    memory: float = setting(0.0, "Memory that one slot may take, GB; 0: what `workers.memory` says.")
    slots: int = setting(0, "Keys computed at once on a host; 0: one.")

    @classmethod
    def called(cls, name: str, **given: Any) -> Role:
        """Return the role of this name; `gpu` is one that ships."""
        return cls(**({"needs": ("cuda",)} if name == "gpu" else {}) | given)


@dataclass(frozen=True)
class Ingest:
    """What planning assumes where a folder does not say."""

    legacy_tokens: bool = setting(False, "Admit token payloads that are not exactly 8 characters of 0-9 and A-Z.")
    paramset_idx: int = setting(-1, "Parameter set that a new scan is staged with; -1: stage nothing by itself.")
    incubation: float = setting(30.0, "A recording folder on a local disk is whole when nothing changed for so many s.")
    incubation_file: float = setting(1.0, "The same for a single file, or a group of parts, of a folder that grows.")
    incubation_network: float = setting(60.0, "The same for all that lies on a file system of another computer.")
    poll: float = setting(2.0, "How often `adamacs watch` walks the share, every so many s.")
    recheck_hours: float = setting(24.0, "Within so many hours, each ingested file is compared with its row once.")


@dataclass(frozen=True)
class Workers:
    """What a worker may use of its machine, and how long it tries."""

    threads: int = setting(0, "Threads per worker; 0: all cores that the process may use.")
    device: str = setting("cpu", "Where Suite2p's torch steps run: `cpu`, `cuda` or `mps`. Demanded, never guessed.")
    scratch: str = setting("", "Fast local folder for intermediate files; empty: beside the results.")
    memory: float = setting(
        0.0, "Memory that one slot may take, with the processes that it starts, before it is ended, GB; 0: no limit."
    )
    keys_per_process: int = setting(1000, "A slot's process is replaced by a fresh one after so many keys.")
    poll: float = setting(2.0, "How often a worker without work looks for new keys, every so many s.")
    beat: float = setting(5.0, "How often a worker says that it is alive, every so many s; under half of the lease.")
    lease: float = setting(30.0, "A worker that was silent for so many s is taken for dead, and its keys go to others.")
    attempts: int = setting(5, "How often a key is tried whose failures may pass by themselves, before it stops.")
    kills: int = setting(3, "After how many killed workers a key stops.")
    only_workers_write: bool = setting(
        False, "Refuse `populate()` of a notebook on tables that workers fill: for labs with several hosts."
    )
    keep_failed_days: int = setting(14, "How many days the bulk outputs of a key's last failed attempt are kept.")
    log_folder: str = setting("logs", "Where each worker writes its log, relative to the lab home.")


@dataclass(frozen=True)
class Sync:
    """From where on the certificate of a scan warns, and from where on it fails: more than that, of each."""

    count_warn: int = setting(
        0, "Frames by which two tellers of a stream may differ, and half a period more at either end."
    )
    count_fail: int = setting(
        1, "The same, to fail. A recording that ends within a frame gives one pulse more than its files hold frames."
    )
    missing_warn: float = setting(0.0, "Per cent of a stream that may be missing at known places.")
    missing_fail: float = setting(2.0, "The same, to fail. So many missing pulses are what pairing was proved with.")
    rate_warn: float = setting(
        1000.0, "ppm between two rates of a stream. Resonant mirrors wander by hundreds; 1000 are 3.6 s in an hour."
    )
    rate_fail: float = setting(
        10_000.0, "The same, to fail. What differs by 1 % was set otherwise, or is another line."
    )
    drift_warn: float = setting(
        250.0, "ppm by which a clock may drift from scan time. Quartz is within 100, so that two part by 200 at most."
    )
    drift_fail: float = setting(400.0, "The same, to fail. Clocks that part by 500 are not paired at all.")
    residual_warn: float = setting(
        2000.0,
        "µs within which 95 % of the pairs of a clock must lie. A cycle of Bpod is 100 and a sample at 20 kHz 50; "
        "what a computer stamps is off by a thousand and more.",
    )
    residual_fail: float = setting(
        5000.0, "The same, to fail. At 100 Hz, a frame that is off by more is taken for its neighbour."
    )
    alone_warn: float = setting(
        3.0, "Per cent of a clock's instants that may be rejected or alone, where both clocks ran."
    )
    alone_fail: float = setting(20.0, "The same, to fail. Beyond that, pairing refuses the trains itself.")


@dataclass(frozen=True)
class Settings:
    """Everything that differs from lab to lab."""

    home: Path
    time_zone: str = setting("UTC", "Time zone of the lab (IANA name): tokens and folder dates are local to it.")
    database: Database = field(default_factory=Database)
    roots: Roots = field(default_factory=Roots)
    ingest: Ingest = field(default_factory=Ingest)
    workers: Workers = field(default_factory=Workers)
    sync: Sync = field(default_factory=Sync)
    shares: Mapping[str, Share] = field(default_factory=lambda: _named_sections("shares", {}))
    stores: Mapping[str, Store] = field(default_factory=lambda: _named_sections("stores", {}))
    roles: Mapping[str, Role] = field(default_factory=lambda: _named_sections("roles", {}))

    def root(self, name: str) -> Path:
        """Return the absolute folder of a named root."""
        known = {**vars(self.roots), **{name: share.folder for name, share in self.shares.items()}}
        if name not in known:
            raise InvalidSetting(f"There is no root named {name!r}.", hint=nearest(name, list(known)))
        return self.home / _expanded(known[name])

    def share_roots(self) -> dict[str, Path]:
        """Return the absolute folders that hold recordings, by the names of their roots; first the one people fill."""
        return {name: self.root(name) for name in (places.SHARE, *self.shares)}

    def locate(self, place: str) -> Path:
        """Return the absolute path of a place below a root; see `adamacs.core.places`."""
        root, relative = places.split(place)
        return self.root(root) / relative

    def store(self, name: str) -> Store:
        """Return the settings of a named array store."""
        if name not in self.stores:
            raise InvalidSetting(f"There is no store named {name!r}.", hint=nearest(name, list(self.stores)))
        return self.stores[name]

    @property
    def logs(self) -> Path:
        """The absolute folder of the logs."""
        return self.home / _expanded(self.workers.log_folder)

    @property
    def zone(self) -> ZoneInfo:
        """The lab's time zone."""
        return ZoneInfo(self.time_zone)


def _expanded(folder: str) -> Path:
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        raise InvalidSetting("This account has no home folder here.", folder, "Write the path in full.") from error


@dataclass(frozen=True)
class Named:
    """A kind of section that stands once per name, as `[stores.derived]`; some names are there unsaid."""

    kind: type[Share] | type[Store] | type[Role]
    always: tuple[str, ...]


SECTIONS: Mapping[str, type] = {
    "database": Database,
    "roots": Roots,
    "ingest": Ingest,
    "workers": Workers,
    "sync": Sync,
}
NAMED: Mapping[str, Named] = {
    "shares": Named(Share, ()),
    "stores": Named(Store, ("derived",)),
    "roles": Named(Role, ("cpu", "gpu")),
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


def place_of(path: str) -> str:
    """Return the place of an absolute path below a share of the lab in use (`adamacs.core.places`); else the path."""
    shares = _active.share_roots() if _active is not None else {}
    for name, share in shares.items():
        for folder in dict.fromkeys((share, Path(os.path.realpath(share)))):
            relative = path.removeprefix(f"{folder}{os.sep}")
            if relative != path:
                return places.spell(name, relative.replace(os.sep, "/"))
    return path


def documented() -> Iterator[tuple[str, str, Any, str]]:
    """Yield (name, type, default, sentence) of every setting, for the reference page."""
    for name, kind, default, doc in _declared():
        yield name, "list" if kind == TEXTS else kind.__name__, default, doc


def _declared() -> Iterator[tuple[str, type, Any, str]]:
    for section in dataclasses.fields(Settings):
        if section.name in SECTIONS:
            yield from _fields(section.name, SECTIONS[section.name])
        elif section.name in NAMED:
            yield from _fields(f"{section.name}.<name>", NAMED[section.name].kind)
        elif section.name != "home":
            yield section.name, str, section.default, section.metadata["doc"]


def _fields(prefix: str, kind: type) -> Iterator[tuple[str, type, Any, str]]:
    hints = get_type_hints(kind)
    for f in dataclasses.fields(kind):
        yield f"{prefix}.{f.name}", hints[f.name], f.default, f.metadata["doc"]


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
            found[name] = _converted(value, kind)
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


def _converted(value: Any, kind: type) -> Any:
    """Return a value of TOML as its setting holds it. What does not fit stays what it is, to be refused."""
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    if kind is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    return tuple(value) if kind == TEXTS and isinstance(value, list) else value


def _empty_section(name: str, value: Any, path: Path) -> dict[str, Any]:
    """Return a mark for a named section without settings; refuse every other name that is no setting."""
    section, _, rest = name.partition(".")
    own, _, setting = rest.partition(".")
    if own and section in NAMED and not re.fullmatch(_NAME, own):
        raise InvalidSetting(f"{own!r} is no name in {section}.", path, "It takes a-z, 0-9 and _, a letter first.")
    if section not in {*SECTIONS, *NAMED} or setting or (own and section not in NAMED):
        raise InvalidSetting(f"{name} is no setting.", path, nearest(name, list(_every({name: None}))))
    if value != {}:
        raise InvalidSetting(f"{name} is a section, not a value.", path, f"Write [{name}] and its settings below.")
    return {name: None} if own else {}


def _every(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield every setting that there is; one of a named section once for each name."""
    for pattern in _kinds():
        section, _, rest = pattern.partition(".<name>.")
        yield from (f"{section}.{name}.{rest}" for name in _names(section, found)) if rest else (pattern,)


def _names(section: str, found: Mapping[str, Any]) -> list[str]:
    """Return the names that a section has, those first that are there unsaid."""
    given = (name.split(".")[1] for name in found if name.startswith(f"{section}."))
    return list(dict.fromkeys([*NAMED[section].always, *given]))


def _from_environment(environ: Mapping[str, str], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that variables give; `found` names the stores and roles that there are."""
    variables = {f"ADAMACS_{name.upper().replace('.', '_')}": name for name in _every(found)}
    sections = tuple(f"ADAMACS_{section.upper()}_" for section in (*SECTIONS, *NAMED))
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
    elif kind is float and re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", text):
        value = float(text)
    elif kind == TEXTS:
        value = tuple(filter(None, map(str.strip, text.split(","))))
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


_NAME = r"[a-z][a-z0-9_]*"


def _pattern(name: str) -> str:
    return re.sub(rf"^({'|'.join(NAMED)})\.{_NAME}\.", r"\1.<name>.", name)


def _is_time_zone(name: str) -> bool:
    try:
        return bool(ZoneInfo(name))
    except (KeyError, ValueError, OSError):
        return False


def _not_negative(number: float) -> bool:
    return 0 <= number < math.inf


def _above_zero(number: float) -> bool:
    return 0 < number < math.inf


def _are_tables(names: Collection[str]) -> bool:
    return all(re.fullmatch(r"[a-z][a-z0-9_]*\.[A-Z][A-Za-z0-9]*", name) for name in names)


_RULES: Mapping[str, tuple[Callable[[Any], object], str]] = {
    "time_zone": (_is_time_zone, "It takes an IANA name, such as Europe/Berlin."),
    "database.prefix": (
        re.compile(r"[a-z][a-z0-9_]{0,20}").fullmatch,
        "It takes up to 21 of a-z, 0-9 and _, a letter first.",
    ),
    "shares.<name>.folder": (bool, "It takes a folder."),
    "stores.<name>.protocol": (lambda word: word in {"file", "s3"}, "It takes file or s3."),
    "ingest.paramset_idx": (lambda number: number >= -1, "It takes an index, or -1."),
    "ingest.incubation": (_not_negative, "It takes seconds, 0 or more."),
    "ingest.incubation_file": (_not_negative, "It takes seconds, 0 or more."),
    "ingest.incubation_network": (_not_negative, "It takes seconds, 0 or more."),
    "ingest.poll": (_above_zero, "It takes seconds, more than 0."),
    "ingest.recheck_hours": (_above_zero, "It takes hours, more than 0."),
    "roles.<name>.tables": (_are_tables, "It takes names such as imaging.Processing."),
    "roles.<name>.memory": (_not_negative, "It takes GB, or 0 for what workers.memory says."),
    "roles.<name>.slots": (_not_negative, "It takes a number of slots, or 0 for one."),
    "workers.threads": (_not_negative, "It takes a number of threads, or 0 for all cores."),
    "workers.memory": (_not_negative, "It takes GB, or 0 for no limit."),
    "workers.keys_per_process": (_above_zero, "It takes a number of keys, at least 1."),
    "workers.poll": (_above_zero, "It takes seconds, more than 0."),
    "workers.beat": (_above_zero, "It takes seconds, more than 0."),
    "workers.lease": (_above_zero, "It takes seconds, more than 0."),
    "workers.attempts": (_above_zero, "It takes a number of attempts, at least 1."),
    "workers.kills": (_above_zero, "It takes a number of killed workers, at least 1."),
    "workers.keep_failed_days": (_not_negative, "It takes a number of days; 0 keeps nothing."),
    "workers.log_folder": (bool, "It takes a folder."),
    **{f"sync.{f.name}": (_not_negative, "It takes 0 or more.") for f in dataclasses.fields(Sync)},
    "workers.device": (re.compile(r"cpu|mps|cuda(:[0-9]+)?").fullmatch, "It takes cpu, cuda, cuda:1 or mps."),
}
_TYPES: Mapping[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Secret: "a text",
    TEXTS: "a list of texts",
}


def _check(name: str, value: Any, where: Path | str) -> None:
    """Refuse a value of another type, or one that the setting does not take; never show a secret."""
    kind = _kinds()[_pattern(name)]
    if not _is_a(value, kind):
        shown = "This" if kind is Secret or isinstance(value, list | tuple | dict) else repr(value)
        raise InvalidSetting(f"{shown} is no value of {name}.", where, f"It takes {_TYPES[kind]}.")
    fits, hint = _RULES.get(_pattern(name), (None, ""))
    if fits and not fits(value):
        shown = ", ".join(value) if kind == TEXTS else repr(value)
        raise InvalidSetting(f"{shown} is no value of {name}.", where, hint)


def _is_a(value: Any, kind: type) -> bool:
    if kind == TEXTS:
        return type(value) is tuple and all(type(text) is str for text in value)
    return type(value) is kind


def _assembled(found: Mapping[str, Any], home: Path) -> Settings:
    sections: dict[str, Any] = {name: kind(**_below(name, found)) for name, kind in SECTIONS.items()}
    sections |= {name: _named_sections(name, found) for name in NAMED}
    top = {name: value for name, value in found.items() if "." not in name}
    settings = Settings(home=home, **sections, **top)
    beat, lease = settings.workers.beat, settings.workers.lease
    if beat >= lease / 2:  # one late beat must not cost a living worker its keys
        what = f"workers.beat is {beat:g} s, and workers.lease only {lease:g} s."
        raise InvalidSetting(what, home / FILE, "Make the beat shorter than half of the lease.")
    _check_thresholds(settings.sync, home / FILE)
    for name, share in settings.shares.items():
        if name in vars(settings.roots):
            raise InvalidSetting(f"{name} is a root already.", home / FILE, f"Give [shares.{name}] another name.")
        if not share.folder:
            raise InvalidSetting(f"shares.{name} has no folder.", home / FILE, 'Add folder = "...".')
    shares = settings.share_roots() if settings.shares else {}
    for (name, folder), (other, around) in permutations(shares.items(), 2):
        if folder.is_relative_to(around):
            what = f"The share {name} lies in the share {other}, or is the same."
            raise InvalidSetting(what, home / FILE, "Recordings would be found twice: name folders beside each other.")
    return settings


def _check_thresholds(sync: Sync, where: Path) -> None:
    for name in [name.removesuffix("_warn") for name in vars(sync) if name.endswith("_warn")]:
        warn, fail = (getattr(sync, f"{name}_{end}") for end in ("warn", "fail"))
        if warn > fail:
            what = f"sync.{name}_warn is {warn:g}, and sync.{name}_fail only {fail:g}."
            raise InvalidSetting(what, where, "Nothing would be warned of before it fails.")


def _named_sections(section: str, found: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = NAMED[section].kind
    names = _names(section, found)
    return MappingProxyType({name: kind.called(name, **_below(f"{section}.{name}", found)) for name in names})


def _below(section: str, found: Mapping[str, Any]) -> dict[str, Any]:
    start = f"{section}."
    return {name.removeprefix(start): value for name, value in found.items() if name.startswith(start)}
