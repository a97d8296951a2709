"""Folder names carry tokens: who, which animal, which day, which session, which scan.

The only module that looks inside a token. Grammar (fields joined by `_`):

    combined   XX_ANM-2172_2026-02-10_scan9FY6AIRM_sess9FY6AIRM   (either order of the last two)
    nested     XX_ANM-2172_2026-02-10_sess9FY6AIRM/scan9FY6AIRM

A token is opaque and stable: a key, never a time. Its payload happens to be a base-36 count of 1e-6 days of
the lab's local time since MATLAB's day 0, stamped when the files were consolidated, just after the recording;
that serves `explain` and the date warning, and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import PurePath

from adamacs.core.errors import InvalidToken

EXAMPLE = "XX_ANM-2172_2026-02-10_scan9FY6AIRM_sess9FY6AIRM"
NESTED_EXAMPLE = "XX_ANM-2172_2026-02-10_sess9FY6AIRM/scan9FY6AIRM"

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MATLAB_EPOCH = 719529  # MATLAB's serial day number of 1970-01-01
_TICKS_PER_DAY = 1_000_000
_MICROSECONDS_PER_TICK = 86_400
_STRICT = re.compile(r"[0-9A-Z]{8}")
_LEGACY = re.compile(r"[0-9A-Za-z]{1,59}")
_INITIALS = re.compile(r"[A-Z]{2}")
_SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,15}")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")  # \d would admit the digits of every script
_PREFIXES = ("scan", "sess")


@dataclass(frozen=True)
class ParsedFolder:
    """What a recording folder's name says.

    Attributes
    ----------
    initials, subject
        Of the person and the animal.
    date
        The folder's own local date, never converted.
    session_id, scan_id
        Whole tokens; `scan_id` is None for a nested session folder itself.
    layout
        `combined`, or `nested`.
    warnings
        Sentences about what is odd but admitted.
    """

    initials: str
    subject: str
    date: date
    session_id: str
    scan_id: str | None
    layout: str
    warnings: tuple[str, ...] = ()


def parse(path: str | PurePath, *, legacy: bool = False) -> ParsedFolder:
    """Read a recording folder's name, or a nested `session/scan` pair of names.

    Parameters
    ----------
    path
        The folder. Only its last one or two names are looked at.
    legacy
        Admit payloads of other lengths and of lower-case letters.

    Raises
    ------
    InvalidToken
        A sentence that names the field and shows the expected form.
    """
    parts = _names(path)
    name = parts[-1] if parts else ""
    if not name.startswith("scan"):  # a name that opens with initials never does
        return _with_warnings(_parse_name(name, legacy))
    try:
        return _with_warnings(_parse_session_of(parts, legacy), scan_id=name)
    except InvalidToken as refusal:
        raise InvalidToken(refusal.what, refusal.where, f"Expected {NESTED_EXAMPLE}.") from None


def format_folder(initials: str, subject: str, day: date, session_id: str, scan_id: str | None = None) -> str:
    """Write the combined folder name, or the nested session folder's where there is no scan.

    Raises
    ------
    InvalidToken
        One of the fields cannot stand in a folder name.
    """
    scan = f"_{scan_id}" if scan_id else ""
    name = f"{initials}_{subject}_{day.isoformat()}{scan}_{session_id}"
    read = parse(name)
    if (read.session_id, read.scan_id) != (session_id, scan_id or None):
        raise InvalidToken("These are not one session token and one scan token.", name, _expected())
    return name


def is_candidate(name: str) -> bool:
    """Tell whether a folder was probably meant as a recording: it holds a token, or opens like one that does."""
    return bool(
        re.search(r"(?i)(^|_)(sess|scan)[0-9a-z]", name) or re.match(r"[A-Za-z]{2}_[^_]+_\d{4}-?\d\d-?\d\d", name)
    )


def expid(token: str) -> str:
    """Return the payload of a token, as it stands in `suite2p_exp<payload>`.

    >>> expid("scan9FY6AIRM")
    '9FY6AIRM'
    """
    for prefix in _PREFIXES:
        if token.startswith(prefix) and len(token) > len(prefix):
            return token[len(prefix) :]
    raise InvalidToken("This is neither a scan nor a session token.", token, "Expected scan9FY6AIRM or sess9FY6AIRM.")


def decode(payload: str) -> datetime:
    """Return the lab-local time that a payload was stamped with, to 86.4 ms.

    >>> decode("9FAK32BA")
    datetime.datetime(2022, 2, 15, 14, 36, 53, 222400)
    """
    if not re.fullmatch(r"[0-9A-Za-z]{1,12}", payload):
        raise InvalidToken("A payload holds digits and the letters A to Z.", payload, "Expected 9FY6AIRM.")
    microseconds = int(payload, 36) * _MICROSECONDS_PER_TICK
    try:
        return datetime(1970, 1, 1) + timedelta(microseconds=microseconds) - timedelta(days=_MATLAB_EPOCH)
    except OverflowError as error:
        raise InvalidToken(
            "The payload decodes to no time.", payload, "Expected a payload such as 9FY6AIRM."
        ) from error


def encode(local: datetime) -> str:
    """Return the payload of a lab-local time (naive), rounded to 86.4 ms: the inverse of `decode`."""
    if local.tzinfo is not None:
        raise InvalidToken("A token's time is lab-local and carries no zone.", local.isoformat())
    since = local - datetime(1970, 1, 1) + timedelta(days=_MATLAB_EPOCH)
    return _spelt(round(since / timedelta(microseconds=_MICROSECONDS_PER_TICK)))


def following(payload: str) -> str:
    """Return the payload of the next 86.4 ms, for a token that must differ from one that exists.

    >>> following("9FY6AIRZ")
    '9FY6AIS0'
    """
    return _spelt(int(payload, 36) + 1)


def _spelt(count: int) -> str:
    digits = ""
    while count:
        count, digit = divmod(count, 36)
        digits = _ALPHABET[digit] + digits
    return digits.rjust(8, "0")


def explain(path: str, *, legacy: bool = False) -> str:
    """Say in a few lines what a folder name or a token means, or why it is refused."""
    try:
        if is_token(path, legacy=legacy):
            return f"{path}: stamped {_stamp(expid(path))}, lab-local time."
        folder = parse(path, legacy=legacy)
    except InvalidToken as error:
        return str(error)
    lines = [
        f"{folder.layout} folder of {folder.initials}, subject {folder.subject}, {folder.date.isoformat()}",
        f"session {folder.session_id}: stamped {_stamp(expid(folder.session_id))}",
    ]
    if folder.scan_id:
        lines.append(f"scan {folder.scan_id}: stamped {_stamp(expid(folder.scan_id))}")
    return "\n".join(lines + [f"warning: {warning}" for warning in folder.warnings])


def is_token(text: str, *, legacy: bool = False) -> bool:
    """Tell whether a text is one whole scan or session token."""
    payload = _LEGACY if legacy else _STRICT
    return text[:4] in _PREFIXES and bool(payload.fullmatch(text[4:]))


def _stamp(payload: str) -> str:
    try:
        return decode(payload).isoformat(" ", "seconds")
    except InvalidToken:
        return "at no known time"


def _names(path: str | PurePath) -> list[str]:
    text = path.as_posix() if isinstance(path, PurePath) else path
    return [part for part in re.split(r"[/\\]", text) if part not in ("", ".")]


def _expected() -> str:
    return f"Expected {EXAMPLE}."


def _parse_session_of(parts: list[str], legacy: bool) -> ParsedFolder:
    """Read the session folder above a scan folder, which is the last of the parts, and check both."""
    name = parts[-1]
    if len(parts) < 2:
        raise InvalidToken("A scan folder needs its session folder above it.", name)
    session = _parse_name(parts[-2], legacy)
    if session.scan_id is not None:
        raise InvalidToken("A scan folder stands inside a folder that already names a scan.", f"{parts[-2]}/{name}")
    _check_payload(name, "scan", name, legacy)
    return session


def _parse_name(name: str, legacy: bool) -> ParsedFolder:
    fields = name.split("_")
    if len(fields) not in (4, 5):
        raise InvalidToken(f"The name has {len(fields)} fields joined by _, not 4 or 5.", name, _expected())
    initials, subject, day, *tokens = fields
    if not _INITIALS.fullmatch(initials):
        raise InvalidToken(f"The first field, initials, is {initials!r}, not two capitals.", name, _expected())
    if not _SUBJECT.fullmatch(subject):
        raise InvalidToken(
            f"The second field, subject, is {subject!r}: up to 16 letters, digits and -.", name, _expected()
        )
    found = _tokens(tokens, name, legacy)
    if "sess" not in found:
        raise InvalidToken("The name holds no session token.", name, _expected())
    layout = "combined" if "scan" in found else "nested"
    return ParsedFolder(initials, subject, _date(day, name), found["sess"], found.get("scan"), layout)


def _tokens(fields: list[str], name: str, legacy: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    for token in fields:
        prefix = token[:4]
        if prefix not in _PREFIXES:
            raise InvalidToken(f"The field {token!r} is neither a scan nor a session token.", name, _expected())
        if prefix in found:
            raise InvalidToken(f"The name holds two {prefix} tokens.", name, _expected())
        _check_payload(token, prefix, name, legacy)
        found[prefix] = token
    return found


def _check_payload(token: str, prefix: str, name: str, legacy: bool) -> None:
    payload = token[len(prefix) :]
    if not (_LEGACY if legacy else _STRICT).fullmatch(payload):
        form = "letters and digits" if legacy else "exactly 8 characters of 0-9 and A-Z"
        what = f"The {prefix} token's payload is {payload!r}, not {form}."
        raise InvalidToken(what, name, f"Expected {prefix}9FY6AIRM.")


def _date(text: str, name: str) -> date:
    match = _DATE.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        return date(*(int(part) for part in match.groups()))
    except ValueError:
        raise InvalidToken(f"The third field, date, is {text!r}, not a day as YYYY-MM-DD.", name, _expected()) from None


def _with_warnings(folder: ParsedFolder, scan_id: str | None = None) -> ParsedFolder:
    scan_id = scan_id or folder.scan_id
    warnings = []
    for token in (folder.session_id, scan_id):
        if token is None:
            continue
        try:
            day = decode(expid(token)).date()
        except InvalidToken:
            warnings.append(f"{token} decodes to no time.")
            continue
        if day != folder.date:
            warnings.append(f"{token} was stamped on {day.isoformat()}, the folder says {folder.date.isoformat()}.")
    return ParsedFolder(
        folder.initials,
        folder.subject,
        folder.date,
        folder.session_id,
        scan_id,
        folder.layout,
        tuple(dict.fromkeys(warnings)),
    )
