"""The errors a user can meet. Each says what happened, to which file or key, and what to try."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any


class AdamacsError(Exception):
    """The base of every error that adamacs raises on purpose.

    Parameters
    ----------
    what
        One sentence: what happened.
    where
        The file (a path) or the key (a mapping) it happened to.
    hint
        What the reader can try next.
    """

    def __init__(self, what: str, where: Any = None, hint: str | None = None) -> None:
        self.what = what
        self.where = describe(where) if where is not None else None
        self.hint = hint
        super().__init__(what, where, hint)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" {self.hint}" if self.hint else ""
        return f"{place}{self.what}{advice}"


def describe(where: Any) -> str:
    """Write a file or a key the way the command line spells it."""
    if isinstance(where, Mapping):
        return ",".join(f"{name}={value}" for name, value in where.items())
    return str(where)


# Control characters, marks that turn the direction of writing, line separators, and what no encoding takes.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str, keep: str = "") -> str:
    r"""Return a text with every character that would command a terminal spelt out.

    Names of files, keys and messages of errors are others' words: a sequence that begins with ESC in one of them would
    move the cursor, rewrite lines or fill the clipboard of whoever looks at it.

    Parameters
    ----------
    text
        Any text.
    keep
        Characters that stay as they are, such as the ends of lines.

    >>> visible("a\x1b[2J.tif")
    'a\\x1b[2J.tif'
    """
    return _UNSEEN.sub(lambda found: found[0] if found[0] in keep else _spelt(found[0]), text)


def _spelt(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def nearest(word: str, known: Collection[str]) -> str:
    """Return 'Did you mean a or b?' for a misspelt word, or the list of what is known."""
    spelt = {name.casefold(): name for name in known}
    if close := get_close_matches(word.casefold(), spelt, n=3, cutoff=0.5):
        return f"Did you mean {' or '.join(spelt[name] for name in close)}?"
    return f"Known: {', '.join(known)}." if known else "Nothing is known here yet."


class InvalidToken(AdamacsError):
    """A folder or token name does not follow the naming grammar."""


class InvalidSetting(AdamacsError):
    """A setting is unknown, has the wrong type, or lies in a file that others can read."""


class InvalidParameters(AdamacsError):
    """A processing parameter is unknown or has a value that its tool does not take."""


class InvalidKey(AdamacsError):
    """A KEY on the command line names no column, or no row."""


class InvalidRequest(AdamacsError):
    """What was asked for does not exist, or not in the form that was asked for."""


class UnknownSetup(AdamacsError):
    """A setup type is misspelt, or its file was never written."""


class UnreadableFile(AdamacsError):
    """A recording's file is truncated, foreign or contradicts itself."""


class MissingFile(UnreadableFile):
    """A recording's file is not where it should be: it was moved, or its share is not mounted."""


class UnusableClock(AdamacsError):
    """A clock or counter cannot be followed: it jumps, stands still or runs back, or too few times tell of it."""


class PairingRefused(AdamacsError):
    """The pulses of two clocks cannot be paired: too few, of another train, or against what is known of them."""


class AmbiguousPairing(PairingRefused):
    """The pulses of two clocks fit each other in more than one way, and nothing tells which is right.

    Parameters
    ----------
    what, where, hint
        As of every error.
    shifts
        What may be: for each possible pairing, by how many places the second train's index is ahead of the first's.
    pairs
        In the same order, for each of them indices of a pulse of the first train and of one of the second that it
        pairs, and that no other does.
    """

    def __init__(
        self,
        what: str,
        where: Any = None,
        hint: str | None = None,
        shifts: tuple[int, ...] = (),
        pairs: tuple[tuple[int, int], ...] = (),
    ) -> None:
        super().__init__(what, where, hint)
        self.shifts = shifts
        self.pairs = pairs


class NotCertified(AdamacsError):
    """Streams of a scan do not agree with each other, or nobody compared them yet.

    Parameters
    ----------
    what, where, hint
        As of every error.
    streams
        Those that were demanded and are not fit.
    """

    def __init__(self, what: str, where: Any = None, hint: str | None = None, streams: tuple[str, ...] = ()) -> None:
        super().__init__(what, where, hint)
        self.streams = streams


class UnsafePath(AdamacsError):
    """A path leads out of the root it must stay under."""


class CorruptArray(AdamacsError):
    """Stored array bytes are missing, cut short or changed since they were written."""


class UnstorableArray(AdamacsError, TypeError):
    """A value is no array that a store takes: it holds Python objects, or was not written first."""


class StoreUnavailable(AdamacsError):
    """An array store cannot be reached, or refuses to be read or written."""


class DatabaseUnavailable(AdamacsError):
    """The database does not answer, is not initialised, or refuses the account."""


class SchemaMismatch(AdamacsError):
    """The database holds tables of another schema version than this adamacs."""


class PlanRefused(AdamacsError):
    """A plan cannot be applied: it has refused parts, or the world changed since it was made."""


class ToolMissing(AdamacsError):
    """A processing tool, device or extra is not available on this machine."""


class ProcessingFailed(AdamacsError):
    """A processing tool ran and failed, or left results that do not fit the scan."""
