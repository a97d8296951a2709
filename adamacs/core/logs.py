"""What happens, told twice: as lines that a person reads, and as one JSON object per line that a program reads.

A module says `log.info("done", extra=fields(table="imaging.Processing", key=key))` and knows nothing
about who listens. A terminal shows local time, level, message and `key=value`; a file of a worker holds the same as
JSON, its time in UTC. How much is told: errors alone, unless `-v`, `-vv` or the variable ADAMACS_LOG_LEVEL ask for
more. No secret is told: a `Secret` shows itself as stars, and what looks like a password is masked here. No line
commands the terminal: control characters, which a file's name may hold, are spelt out.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TextIO

from adamacs.core.errors import InvalidSetting, describe, nearest, visible

VARIABLE = "ADAMACS_LOG_LEVEL"
LEVELS = {
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "v": logging.INFO,
    "debug": logging.DEBUG,
    "vv": logging.DEBUG,
}
_ROOT = logging.getLogger("adamacs")
_OWN = ("time", "level", "logger", "message", "exception")  # what every line of a file says
_SIZE = 20_000_000  # bytes of one file, before the next one begins
_KEPT = 3  # files beside the one being written
_STARS = "***"

# Up to the last @ of the word, because a password may hold every sign, an @ too.
_IN_URL = re.compile(r"([a-z][a-z0-9+.-]*://[^\s:/@]*:)\S*@", re.IGNORECASE)
# A word of its own, also behind the end of a line that is spelt out (`\n`), as in the source of a traceback.
_SECRET = re.compile(
    r"(?:(?<![a-z])|(?<=\\[nrt]))(?:password|passwd|pwd|secret(?:_access)?(?:_key)?)(?![a-z])", re.IGNORECASE
)
_NAMED = re.compile(
    rf"({_SECRET.pattern}['\"]?\s*(?:=|(?<=['\"]):)\s*)(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s,;&)}}\]]+)", re.IGNORECASE
)


# ---- what is said


def fields(**values: Any) -> dict[str, dict[str, Any]]:
    """Return what `extra` of a log call takes, so that key and figures stay apart from the words.

    >>> log.info("done", extra=fields(table="imaging.Processing", key=key, seconds=12.5))  # doctest: +SKIP
    """
    return {"fields": values}


def masked(text: str) -> str:
    """Return a text with its passwords replaced by stars.

    >>> masked("postgresql://ana:secret@db:5432/lab does not answer")
    'postgresql://ana:***@db:5432/lab does not answer'
    """
    return _NAMED.sub(rf"\1{_STARS}", _IN_URL.sub(rf"\1{_STARS}@", text))


# ---- how much is said


def level(default: int = logging.ERROR, environ: Mapping[str, str] | None = None) -> int:
    """Return the level that ADAMACS_LOG_LEVEL asks for, else the default.

    Raises
    ------
    InvalidSetting
        The variable names no level.
    """
    word = (os.environ if environ is None else environ).get(VARIABLE, "").strip()
    name = word.lower().lstrip("-")
    if not name:
        return default
    if name not in LEVELS:
        raise InvalidSetting(f"{word!r} is no level of logging.", VARIABLE, nearest(name, list(LEVELS)))
    return LEVELS[name]


@contextmanager
def verbose(count: int) -> Iterator[None]:
    """Ask for more inside a block, as `-v` (1) and `-vv` (2) do: for this process and for those it starts."""
    before = os.environ.get(VARIABLE)
    if count:
        os.environ[VARIABLE] = "info" if count == 1 else "debug"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before


# ---- a terminal


class ReadableFormatter(logging.Formatter):
    """Write a record as a line for a person: local time, level, message, `key=value`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 the name is logging's
        """Return the line without its traceback. A table or key that the message tells already is not repeated."""
        line = super().formatMessage(record)
        told = [(name, value) for name, value in _fields_of(record).items() if not _stands_in(value, record.message)]
        return " ".join([line, *(f"{name}={_word(value)}" for name, value in told)])

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the traceback below it."""
        return visible(masked(super().format(record)), keep="\n\t")


class Terminal(logging.StreamHandler[TextIO]):
    """Write readable lines to a stream; without one to the standard error of the moment."""

    def __init__(self, stream: TextIO | None = None, level: int = logging.ERROR) -> None:
        super().__init__(stream or sys.stderr)
        self._follows = stream is None
        self.setLevel(level)
        self.setFormatter(ReadableFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        if self._follows:
            self.stream = sys.stderr
        super().emit(record)


def to_terminal(stream: TextIO | None = None, level: int | None = None) -> Terminal:
    """Show the log on a stream from now on, in place of where it was shown before.

    Parameters
    ----------
    stream
        Where to; by default standard error.
    level
        From which level on; by default what ADAMACS_LOG_LEVEL asks for, else errors alone.
    """
    handler = Terminal(stream, _chosen(level, logging.ERROR))
    for other in _terminals():
        detach(other)
    attach(handler)
    return handler


@contextmanager
def showing(handler: Terminal) -> Iterator[None]:
    """Show the log through one handler inside a block, and as before afterwards: no line stands there twice."""
    others = _terminals()
    for other in others:
        detach(other)
    attach(handler)
    try:
        yield
    finally:
        detach(handler)
        for other in others:
            attach(other)


# ---- a file


class JsonFormatter(logging.Formatter):
    """Write a record as one JSON object on one line.

    Parameters
    ----------
    always
        Fields that every line carries, such as the worker.
    """

    def __init__(self, **always: Any) -> None:
        super().__init__()
        self._always = always

    def format(self, record: logging.LogRecord) -> str:
        """Return the object: time (UTC), level, logger, message, the fields, and the traceback if there is one."""
        said: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in {**self._always, **_fields_of(record)}.items():
            said[f"{name}_" if name in _OWN else name] = value
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(_plain(said), ensure_ascii=False)


def to_file(path: Path, level: int | None = None, **always: Any) -> logging.Handler:
    """Keep the log in a file from now on: one JSON object per line, for one process.

    The file is made with its folders, readable for its owner and group (0640). At 20 MB it becomes `<name>.1`, and
    so on up to `.3`. `detach` ends it.

    Parameters
    ----------
    path
        The file; an existing one is continued.
    level
        From which level on; by default what ADAMACS_LOG_LEVEL asks for, else INFO.
    always
        Fields that every line carries, such as the worker.
    """
    from logging.handlers import RotatingFileHandler  # here, because it loads sockets that no command needs

    class Rotating(RotatingFileHandler):
        def _open(self) -> Any:
            return open(  # a Path takes no opener
                self.baseFilename, self.mode, encoding="utf-8", errors="backslashreplace", opener=_group_may_read
            )

    path.parent.mkdir(parents=True, exist_ok=True)
    handler = Rotating(path, maxBytes=_SIZE, backupCount=_KEPT, encoding="utf-8")
    handler.setLevel(_chosen(level, logging.INFO))
    handler.setFormatter(JsonFormatter(**always))
    attach(handler)
    return handler


def _group_may_read(name: str, flags: int) -> int:
    return os.open(name, flags, 0o640)


# ---- who listens


def attach(handler: logging.Handler) -> None:
    """Let a handler hear what adamacs says."""
    _ROOT.addHandler(handler)
    _listen()


def detach(handler: logging.Handler) -> None:
    """Let a handler hear no more, and close its file. Standard error stays open."""
    _ROOT.removeHandler(handler)
    handler.close()
    _listen()


def _listen() -> None:
    """Make no more records than somebody hears."""
    levels = [handler.level for handler in _ROOT.handlers]
    _ROOT.setLevel(min(levels) if levels else logging.NOTSET)


def _terminals() -> list[Terminal]:
    return [handler for handler in _ROOT.handlers if isinstance(handler, Terminal)]


def _chosen(wanted: int | None, default: int) -> int:
    return level(default) if wanted is None else wanted


# ---- values as text


def _fields_of(record: logging.LogRecord) -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(record, "fields", {})
    return found


def _stands_in(value: Any, message: str) -> bool:
    return isinstance(value, (str, Mapping)) and bool(value) and describe(value) in message


def _word(value: Any) -> str:
    text = describe(value)  # a key as the command line spells it
    return text if text and not re.search(r"[\s\"']", text) else repr(text)


def _plain(value: Any) -> Any:
    """Return a value as JSON takes it: what JSON does not know becomes the text that it shows of itself."""
    if isinstance(value, Mapping):
        return {str(name): _STARS if _SECRET.search(str(name)) else _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):  # numpy's too
        return int(value)
    if isinstance(value, Real) and math.isfinite(value):
        return float(value)
    return masked(str(value))
