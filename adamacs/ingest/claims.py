"""Which tokens are taken on the shares: by recording folders, and by those that somebody is just bringing there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from adamacs.core import places, tokens
from adamacs.core.errors import InvalidToken
from adamacs.storage import attempts

_TOKEN = re.compile(r"(?i)(?:^|_)((?:scan|sess)[0-9a-z]+)")


@dataclass(frozen=True)
class SessionFolder:
    """The folder of a session, or of its first scan, as its name says."""

    token: str
    root: str
    person: str
    name: str
    subject: str
    day: date
    layout: str

    @property
    def place(self) -> str:
        """As people know it."""
        return places.spell(self.root, f"{self.person}/{self.name}")


@dataclass(frozen=True)
class Claims:
    """Tokens in small letters, with the places of the folders that have them in their names."""

    places: Mapping[str, tuple[str, ...]]

    def session(self, token: str) -> SessionFolder | None:
        """Return the folder of a session, however its token is spelt; None where no name can be read."""
        for place in self.places.get(token.casefold(), ()):
            root, relative = places.split(place)
            person, _, name = relative.partition("/")
            try:
                read = tokens.parse(name, legacy=True)
            except InvalidToken:
                continue
            return SessionFolder(read.session_id, root, person, name, read.subject, read.date, read.layout)
        return None


def read_claims(shares: Mapping[str, Path]) -> Claims:
    """List the tokens in the names of folders on the shares, whole or not: whatever looks like one is taken.

    Staging of living processes counts, that of dead ones does not. What lies deeper than a recording may is not seen.

    Parameters
    ----------
    shares
        The absolute folder of each share root, by its name.
    """
    found: dict[str, list[str]] = {}
    for root, share in shares.items():
        for person in _folders(share):
            if not person.name.startswith("."):
                for below, name in _names(person):
                    for token in _TOKEN.findall(name):
                        place = places.spell(root, f"{person.name}/{below}")
                        found.setdefault(token.casefold(), []).append(place)
    return Claims({token: tuple(sorted(held)) for token, held in found.items()})


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
