"""Which tokens are taken on the share: by recording folders, and by those that somebody is just bringing there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from adamacs.core import tokens
from adamacs.core.errors import InvalidToken
from adamacs.storage import attempts

_TOKEN = re.compile(r"(?i)(?:^|_)((?:scan|sess)[0-9a-z]+)")


@dataclass(frozen=True)
class SessionFolder:
    """The folder of a session, or of its first scan, as its name says."""

    token: str
    person: str
    name: str
    subject: str
    day: date
    layout: str

    @property
    def place(self) -> str:
        """Relative to the share."""
        return f"{self.person}/{self.name}"


@dataclass(frozen=True)
class Claims:
    """Tokens in small letters, with the folders that have them in their names, relative to the share."""

    places: Mapping[str, tuple[str, ...]]

    def session(self, token: str) -> SessionFolder | None:
        """Return the folder of a session, however its token is spelt; None where no name can be read."""
        for place in self.places.get(token.casefold(), ()):
            person, _, name = place.partition("/")
            try:
                read = tokens.parse(name, legacy=True)
            except InvalidToken:
                continue
            return SessionFolder(read.session_id, person, name, read.subject, read.date, read.layout)
        return None


def read_claims(share: Path) -> Claims:
    """List the tokens in the names of folders on the share, whole or not: whatever looks like one is taken.

    Staging of living processes counts, that of dead ones does not. What lies deeper than a recording may is not seen.
    """
    places: dict[str, list[str]] = {}
    for person in _folders(share):
        if not person.name.startswith("."):
            for place, name in _names(person):
                for token in _TOKEN.findall(name):
                    places.setdefault(token.casefold(), []).append(f"{person.name}/{place}")
    return Claims({token: tuple(sorted(found)) for token, found in places.items()})


def _names(person: os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """Yield (place in the person's folder, name that holds tokens)."""
    for folder in _folders(person):
        name = folder.name
        if name.startswith("."):
            if attempts.is_attempt(name) and not attempts.is_dead(Path(folder)):
                yield name, name[1:].rpartition(".attempt-")[0]
            continue
        yield name, name
        if re.search(r"(?i)(^|_)sess", name) and not re.search(r"(?i)_scan", name):
            yield from ((f"{name}/{inner.name}", inner.name) for inner in _folders(folder))


def _folders(path: os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return sorted((e for e in entries if e.is_dir(follow_symlinks=False)), key=lambda entry: entry.name)
    except OSError:  # another's folder that nobody may look into; its tokens cannot be known
        return []
