"""How a path below a named root is told: `person/folder` on the root `share`, `archive:person/folder` on another."""

from __future__ import annotations

SHARE = "share"  # the root whose name stays unsaid


def spell(root: str, relative: str) -> str:
    """Return the place of a path below a root.

    Parameters
    ----------
    root
        Its name.
    relative
        To its folder, POSIX; empty for the folder itself.

    >>> spell("share", "person/folder"), spell("archive", "person/folder")
    ('person/folder', 'archive:person/folder')
    >>> spell("share", "odd:person/folder")
    'share:odd:person/folder'
    """
    is_plain = root == SHARE and ":" not in relative.partition("/")[0]
    return relative if is_plain else f"{root}:{relative}"


def split(place: str) -> tuple[str, str]:
    """Return the name of a place's root, and the path below it.

    >>> split("person/folder"), split("archive:person/folder"), split("share:odd:person/folder")
    (('share', 'person/folder'), ('archive', 'person/folder'), ('share', 'odd:person/folder'))
    """
    first, has_slash, rest = place.partition("/")
    root, is_named, name = first.partition(":")
    return (root, f"{name}{has_slash}{rest}") if is_named else (SHARE, place)
