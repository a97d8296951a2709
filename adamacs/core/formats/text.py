"""Look at the end of a text: does its last line, its last bracket, its closing tag stand there?

No parser of XML is used: those of Python follow entities, and a stranger's file could make them grow without bounds.
"""

from __future__ import annotations

import json
import re

from adamacs.core.formats.source import PIECE, Source

_LARGEST_JSON = 1 << 20  # bytes that are parsed; of a larger one the two ends are looked at
_MARKS = (b"\xff\xfe", b"\xfe\xff")  # UTF-16
_ROOT = re.compile(r"<([^\s<>/!?]+)")
_BESIDE = (("<!--", "-->"), ("<?", "?>"))  # what may stand before and behind the document


def check_plain(source: Source) -> str:
    """Return `text`: notes have no end of their own."""
    _no_holes(source)
    return "text"


def check_table(source: Source) -> str:
    """Return `text` where the last line of a table ends, or has as many columns as the one before."""
    tail = _no_holes(source, empty="The table is empty.")
    if tail.rstrip(b"\0").endswith((b"\n", b"\r")):  # of two bytes per letter, one is zero
        return "text"
    lines = tail.splitlines()
    mark = max(b",;\t", key=lambda letter: lines[0].count(letter))
    if len(lines) < 2 or lines[-1].count(mark) != lines[-2].count(mark) or lines[-1].endswith(bytes([mark])):
        raise source.fail(f"The last line of the table, at byte {source.size - len(lines[-1])}, has no end.")
    return "text"


def check_json(source: Source) -> str:
    """Return `text` where the JSON is complete."""
    _no_holes(source, empty="The JSON is empty.")
    if source.size > _LARGEST_JSON:
        first, last = source.head(PIECE).lstrip()[:1], source.tail(PIECE).rstrip()[-1:]
        whole = (first, last) in ((b"{", b"}"), (b"[", b"]"))
    else:
        whole = _parses(source.head(_LARGEST_JSON))
    if not whole:
        raise source.fail(f"The JSON is not complete: it breaks off at byte {source.size}, or is damaged before.")
    return "text"


def check_json_lines(source: Source) -> str:
    """Return `text` where the last line of JSON is complete."""
    tail = _no_holes(source)
    last = tail.rstrip().rpartition(b"\n")[2]
    if last and len(last) < PIECE and not _parses(last):
        raise source.fail(f"The last line of JSON, at byte {source.size - len(last)}, has no end.")
    return "text"


def _parses(data: bytes) -> bool:
    try:
        json.loads(data, parse_int=len)  # a number of a million digits would take hours
    except (ValueError, RecursionError, MemoryError):
        return False
    return True


def check_xml(source: Source) -> str:
    """Return `text` where the tag that opens the document is closed at its end."""
    tail = _no_holes(source, empty="The XML is empty.")
    head = source.head(PIECE)
    coding = "utf-16" if head[:2] in _MARKS else "utf-8"
    order = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(head[:2], coding)
    start = _from_root(head.decode(coding, "replace"))
    end = tail[len(tail) % 2 if coding == "utf-16" else 0 :].decode(order, "replace").rstrip("\x00 \t\r\n")
    while beside := next((begin for begin, finish in _BESIDE if end.endswith(finish) and begin in end), None):
        end = end[: end.rfind(beside)].rstrip()
    root = _ROOT.search(start)
    if root is None:
        raise source.fail("This is no XML: no tag opens it.", "Is it what its name says?")
    closed = re.search(rf"</{re.escape(root[1])}\s*>\Z", end)
    alone = source.size <= PIECE and re.fullmatch(r"[^<>]*/>", start[root.end() :].rstrip("\x00 \t\r\n"))
    if not closed and not alone:
        raise source.fail(f"The XML breaks off at byte {source.size}: <{root[1][:100]}> is not closed.")
    return "text"


def _from_root(text: str) -> str:
    """Return a document from its first tag on that is no comment and no instruction."""
    at = 0
    while (at := text.find("<", at)) >= 0:
        finish = next((finish for begin, finish in _BESIDE if text.startswith(begin, at)), None)
        if finish is None and not text.startswith("<!", at):  # <!DOCTYPE
            return text[at:]
        at = text.find(finish, at) if finish else at + 1
        if at < 0:
            break
    return ""


def _no_holes(source: Source, empty: str = "") -> bytes:
    """Return the end of a text; a zero in it is room that a copy reserved and has not filled."""
    if empty and not source.size:
        raise source.fail(empty)
    tail = source.tail(PIECE)
    if b"\0" in tail and source.head(2) not in _MARKS:
        raise source.fail(f"The text ends in zeros, at byte {source.size}: the copy has reserved its room only.")
    return tail
