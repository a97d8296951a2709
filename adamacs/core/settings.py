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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints
from urllib.parse import unquote, urlsplit, urlunsplit
from zoneinfo import ZoneInfo

from adamacs.core.errors import InvalidSetting, nearest

FILE = "adamacs.toml"
SECRETS_FILE = "secrets.toml"


@dataclass(frozen=True, repr=False)
class Secret:
    """A text that shows itself as stars, so that no log, traceback, table or JSON tells it."""

    _text: str = ""

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
        return self.home / Path(known[name]).expanduser()

    def store(self, name: str) -> Store:
        """Return the settings of a named array store."""
        if name not in self.stores:
            raise InvalidSetting(f"There is no store named {name!r}.", hint=nearest(name, list(self.stores)))
        return self.stores[name]

    @property
    def zone(self) -> ZoneInfo:
        """The lab's time zone."""
        return ZoneInfo(self.time_zone)


def find_home() -> Path:
    """Return the lab home: `ADAMACS_HOME`, else the nearest folder upwards with adamacs.toml, else ./lab."""
    if named := os.environ.get("ADAMACS_HOME"):
        return Path(named).expanduser().absolute()
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
        The file is missing or malformed, names an unknown setting, holds a secret, or gives a wrong type; or
        the secrets file can be read by others.
    """
    home = find_home() if home is None else Path(home).absolute()
    environ = os.environ if environ is None else environ
    path = home / FILE
    if not path.is_file():
        raise InvalidSetting(
            "This folder is no lab home yet.",
            path,
            "Run `adamacs db init` there, or set ADAMACS_HOME to a lab home.",
        )
    table = _read_toml(path)
    _refuse_secrets(table, path)
    _merge(table, _read_secrets(home / SECRETS_FILE))
    _merge(table, _from_environment(environ, table))
    return _validated(_build(Settings, table, path, home=home))


_active: Settings | None = None


def use(settings: Settings | None) -> None:
    """Make these the settings of the process; None forgets them."""
    global _active
    _active = settings


def active() -> Settings:
    """Return the settings in use, reading those of the lab home the first time."""
    if _active is None:
        use(load())
    assert _active is not None
    return _active


def documented() -> Iterator[tuple[str, str, Any, str]]:
    """Yield (name, type, default, sentence) of every setting, for the reference page."""
    for section in dataclasses.fields(Settings):
        if section.name == "home":
            continue
        kind = _section(section)
        if kind is None:
            yield section.name, "str", section.default, section.metadata["doc"]
            continue
        prefix = f"{section.name}.<name>" if section.name == "stores" else section.name
        hints = get_type_hints(kind)
        for f in dataclasses.fields(kind):
            yield f"{prefix}.{f.name}", hints[f.name].__name__, f.default, f.metadata["doc"]


def create(home: Path, time_zone: str = "UTC") -> Settings:
    """Make a lab home: its folder, adamacs.toml, roots and file stores. What is there already is kept."""
    home.mkdir(parents=True, exist_ok=True)
    if not (home / FILE).exists():
        (home / FILE).write_text(template(time_zone), encoding="utf-8")
    settings = load(home)
    for root in dataclasses.fields(settings.roots):
        settings.root(root.name).mkdir(parents=True, exist_ok=True)
    for store in settings.stores.values():
        if store.protocol == "file":
            (home / store.location).mkdir(parents=True, exist_ok=True)
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


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"This is not valid TOML: {error}.", path) from error


def _read_secrets(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InvalidSetting("Others can read this file of secrets.", path, f"Run: chmod 600 {path}")
    return _read_toml(path)


def _refuse_secrets(table: Mapping[str, Any], path: Path) -> None:
    hint = f"Put it into {SECRETS_FILE} beside it (mode 0600), or into the environment."
    for name, value in _flat(table):
        if name.rsplit(".", 1)[-1] in {"password", "secret_key"}:
            raise InvalidSetting(f"The secret {name} must not stand in {FILE}.", path, hint)
        if name == "database.url" and isinstance(value, str) and urlsplit(value).password is not None:
            raise InvalidSetting("database.url holds a password.", path, hint)


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _merge(table: dict[str, Any], over: Mapping[str, Any]) -> None:
    for name, value in over.items():
        if isinstance(value, Mapping) and isinstance(table.get(name), dict):
            _merge(table[name], value)
        else:
            table[name] = value


def _from_environment(environ: Mapping[str, str], table: Mapping[str, Any]) -> dict[str, Any]:
    stores = set(table.get("stores", {})) | {"derived"}
    names = [name for name, *_ in documented() if "<name>" not in name]
    names += [f"stores.{s}.{f.name}" for s in stores for f in dataclasses.fields(Store)]
    found: dict[str, Any] = {}
    for name in names:
        text = environ.get("ADAMACS_" + name.upper().replace(".", "_"))
        if text is not None:
            *sections, last = name.split(".")
            place = found
            for section in sections:
                place = place.setdefault(section, {})
            place[last] = text
    _split_password(found.get("database", {}))
    return found


def _split_password(database: dict[str, Any]) -> None:
    """Move a password out of a URL that came through the environment."""
    parts = urlsplit(database.get("url", ""))
    if parts.password is not None:
        database["password"] = unquote(parts.password)
        host = parts.netloc.rpartition("@")[2]
        database["url"] = urlunsplit(parts._replace(netloc=f"{parts.username}@{host}"))


def _section(f: dataclasses.Field[Any]) -> type | None:
    kinds: dict[str, type] = {
        "database": Database,
        "roots": Roots,
        "ingest": Ingest,
        "workers": Workers,
        "stores": Store,
    }
    return kinds.get(f.name)


def _build(kind: type, table: Mapping[str, Any], path: Path, prefix: str = "", **given: Any) -> Any:
    known = {f.name: f for f in dataclasses.fields(kind) if f.name not in given}
    values: dict[str, Any] = dict(given)
    hints = get_type_hints(kind)
    for name, value in table.items():
        if name not in known:
            raise InvalidSetting(f"{prefix}{name} is no setting.", path, nearest(name, list(known)))
        section = _section(known[name]) if kind is Settings else None
        if section is None:
            values[name] = _coerced(value, hints[name], prefix + name, path)
        elif not isinstance(value, Mapping):
            raise InvalidSetting(f"{name} is a section, not a value.", path, f"Write [{name}] and its settings below.")
        elif name == "stores":
            values[name] = MappingProxyType({s: _build(Store, t, path, f"stores.{s}.") for s, t in value.items()})
        else:
            values[name] = _build(section, value, path, f"{name}.")
    return kind(**values)


_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _coerced(value: Any, kind: type, name: str, path: Path) -> Any:
    refused = InvalidSetting(f"{name} = {value!r} is not of type {kind.__name__}.", path)
    if kind in (str, Secret) and isinstance(value, str):
        return kind(value)
    if kind is bool and isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    if kind is int and isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        return int(value)
    if type(value) is not kind:
        raise refused
    return value


def _validated(settings: Settings) -> Settings:
    path = settings.home / FILE
    try:
        ZoneInfo(settings.time_zone)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidSetting(f"{settings.time_zone!r} is no time zone.", path, "Example: Europe/Berlin.") from error
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,20}", settings.database.prefix):
        raise InvalidSetting("database.prefix takes up to 21 of a-z, 0-9 and _, a letter first.", path)
    for name, store in settings.stores.items():
        if store.protocol not in {"file", "s3"}:
            raise InvalidSetting(f"stores.{name}.protocol = {store.protocol!r}.", path, "It takes file or s3.")
    return settings
