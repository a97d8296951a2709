"""Bring what the acquisition controllers wrote into one recording folder on the share: copy, verify, rename.

Nobody sees the folder before every byte of it was read back. Sources are removed after that, and only if asked for.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import secrets
import shutil
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from adamacs import __version__
from adamacs.core import clocks, places, points, progress, tokens
from adamacs.core.errors import InvalidRequest, PlanRefused, UnreadableFile, nearest, visible
from adamacs.core.modality import Problem
from adamacs.core.settings import Settings
from adamacs.ingest.claims import Claims, read_claims
from adamacs.ingest.sources import Source, find_sources, still_written, target_problems
from adamacs.storage import attempts, copies
from adamacs.storage.failed import LOCK as SIGNATURE
from adamacs.storage.locks import holding
from adamacs.storage.stores import FileStore
from adamacs.storage.stores.folder import opened

RECORD = "consolidation.json"
FORMAT = 1
LOCK = ".adamacs.lock"  # in the share
LAYOUTS = ("combined", "nested")
_READERS = 4  # copies that are made durable and read back at once: many small ones wait for the disk together
_WAITING = 64  # copies that may not be read back yet
_MARGIN = 64 << 20  # bytes that stay free, at least

Check = Callable[[Iterable[str]], list[Problem]]


@dataclass(frozen=True)
class Known:
    """What the database says beside the share.

    Attributes
    ----------
    scans
        Tokens.
    sessions
        Subject and date, by token.
    subjects
        None where nobody could be asked.
    people
        Initials and name of the folder of each person.
    """

    scans: frozenset[str] = frozenset()
    sessions: Mapping[str, tuple[str, date]] = field(default_factory=dict)
    subjects: frozenset[str] | None = None
    people: tuple[tuple[str, str], ...] = ()

    def folder_of(self, initials: str) -> str:
        """Return the folder of the one person with these initials.

        Raises
        ------
        InvalidRequest
            Nobody has them, or several have.
        """
        names = [name for letters, name in self.people if letters == initials]
        if len(names) != 1:
            what = f"{len(names)} people have the initials {initials}, not one."
            raise InvalidRequest(what, hint="Name the folder of the person with --user.")
        return names[0]


def known_in_database() -> Known:
    """Ask the connected database for tokens, subjects and people."""
    from adamacs import pipeline  # which imports DataJoint: the rest of this module does without

    sessions = pipeline.session.Session.to_dicts()
    return Known(
        scans=frozenset(pipeline.scan.Scan.proj().to_arrays("scan_id")),
        sessions={row["session_id"]: (row["subject"], row["session_date"]) for row in sessions},
        subjects=frozenset(pipeline.subject.Subject.proj().to_arrays("subject")),
        people=tuple((row["initials"], row["shorthand"]) for row in pipeline.subject.User.to_dicts()),
    )


@dataclass(frozen=True)
class Wish:
    """What a person asks for; what is None follows from the rest."""

    setup: str  # canonical name
    subject: str
    initials: str
    user: str  # name of the person's folder
    session: str | None = None
    scan: str | None = None
    day: date | None = None
    layout: str | None = None
    move: bool = False


@dataclass(frozen=True)
class ConsolidationPlan:
    """Which files become which recording folder: printed and reviewed, then applied.

    Attributes
    ----------
    wish
        What was asked for.
    folder
        Of the scan, relative to the share.
    joins
        The session exists already.
    sources
        In natural order of the names that they get.
    left_out
        Files of operating systems, and hidden ones.
    problems
        An `error` refuses the whole plan.
    """

    wish: Wish
    day: date
    session_id: str
    scan_id: str
    layout: str
    folder: str
    joins: bool
    sources: tuple[Source, ...]
    left_out: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether something stands in the way."""
        return any(problem.severity == "error" for problem in self.problems)

    @property
    def size(self) -> int:
        """Bytes of all sources."""
        return sum(source.original.size for source in self.sources)

    def describe(self) -> str:
        """Return the plan as text."""
        new = "joins it" if self.joins else "new"
        lines = [f"consolidate {len(self.sources)} files, {_size(self.size)}, of setup type {self.wish.setup}"]
        lines += [
            f"  to       {self.folder}",
            f"  session  {self.session_id} ({new})",
            f"  scan     {self.scan_id} (new)",
        ]
        for source in self.sources:
            lines.append(f"  {_size(source.original.size):>12}  {source.target}  from {source.original.place}")
        lines += [f"  left out {path}" for path in self.left_out]
        kept = "are removed when the folder stands" if self.wish.move else "stay"
        lines += [f"  the sources {kept}", *map(str, self.problems)]
        if self.refused:
            lines.append("refused: nothing can be done until the errors are mended")
        return visible("\n".join(lines), keep="\n")

    def to_json(self) -> str:
        """Return the plan as JSON."""
        content = {"format": FORMAT, "refused": self.refused, **asdict(self)}
        return json.dumps(content, indent=1, default=date.isoformat)


@dataclass(frozen=True)
class Consolidated:
    """What was done.

    Attributes
    ----------
    folder
        Relative to the share.
    seconds
        That copying and verifying took.
    removed
        How many sources were removed.
    kept
        A sentence for each source that should have been removed and was not.
    """

    folder: str
    session_id: str
    scan_id: str
    files: int
    size: int  # bytes
    seconds: float
    removed: int = 0
    kept: tuple[str, ...] = ()


# ---- planning


def plan_consolidation(
    paths: Sequence[Path],
    wish: Wish,
    settings: Settings,
    *,
    known: Known | None = None,
    expected: Check | None = None,
    incomplete: bool = False,
    settle: float = 1.0,
    now: datetime | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> ConsolidationPlan:
    """Plan one recording folder out of files and folders. Nothing is written but a probe, which goes again.

    Parameters
    ----------
    paths
        Files, and folders whose files are meant.
    known
        What the database says.
    expected
        Says which files the setup type misses, given the names of all.
    incomplete
        A missing file is a warning only.
    settle
        s between two looks at the sources.
    now
        Lab-local, naive; what new tokens are stamped with.

    Raises
    ------
    InvalidToken
        Subject, initials or a token cannot stand in a folder name.
    """
    known, share, shares = known or Known(), settings.root("share"), settings.share_roots()
    claims = read_claims(shares)
    now = now or datetime.now(settings.zone).replace(tzinfo=None)
    plan = _named(wish, claims, known, now)
    tokens.format_folder(wish.initials, wish.subject, plan.day, plan.session_id, plan.scan_id)  # InvalidToken
    found, left_out, problems = find_sources(paths, shares.values())
    problems += target_problems(found, RECORD)
    problems += still_written(found, settle, pause)
    problems += _missing([source.target for source in found], expected, incomplete)
    problems += [*_token_problems(plan, claims, known), *_people_problems(plan, share, known)]
    plan = replace(plan, sources=tuple(found), left_out=tuple(left_out))
    problems += [*_place_problems(plan, share), *_source_problems(plan), *_repeated(plan, share)]
    return replace(plan, problems=tuple(dict.fromkeys(problems)))


def _named(wish: Wish, claims: Claims, known: Known, now: datetime) -> ConsolidationPlan:
    """Choose tokens, day, layout and the name of the folder."""
    folded = {name.casefold() for name in (*claims.places, *known.scans, *known.sessions)}
    minted = _free(tokens.encode(now), folded, wish)
    scan_id = wish.scan or f"scan{minted}"
    session_id = wish.session or f"sess{minted if not wish.scan else tokens.expid(scan_id)}"
    joins = session_id in known.sessions or session_id.casefold() in claims.places
    existing = claims.session(session_id)
    day = wish.day or (existing.day if existing else None) or _day_of(session_id, known) or now.date()
    layout = wish.layout or (existing.layout if existing else LAYOUTS[0])
    parts = (wish.initials, wish.subject, day, session_id)
    if layout == "combined":
        folder = tokens.format_folder(*parts, scan_id)
    elif existing and existing.layout == "nested":
        folder = f"{existing.name}/{scan_id}"
    else:
        folder = f"{tokens.format_folder(*parts)}/{scan_id}"
    return ConsolidationPlan(wish, day, session_id, scan_id, layout, f"{wish.user}/{folder}", joins, ())


def _free(payload: str, taken: set[str], wish: Wish) -> str:
    """Move a payload on by ticks until the tokens that are minted from it are free."""
    prefixes = [prefix for prefix, given in (("scan", wish.scan), ("sess", wish.session)) if given is None]
    while any(f"{prefix}{payload}".casefold() in taken for prefix in prefixes):
        payload = tokens.following(payload)
    return payload


def _day_of(session_id: str, known: Known) -> date | None:
    return known.sessions[session_id][1] if session_id in known.sessions else None


def _token_problems(plan: ConsolidationPlan, claims: Claims, known: Known) -> Iterator[Problem]:
    for place in claims.places.get(plan.scan_id.casefold(), ()):
        yield Problem(
            "error", f"The token {plan.scan_id} exists already.", place, "Leave --scan out: a new one is made."
        )
    for token in known.scans:
        if token.casefold() == plan.scan_id.casefold():
            what = f"The token {plan.scan_id} exists already, as {token} in the database."
            yield Problem("error", what, hint="Leave --scan out: a new one is made.")
    if plan.joins and plan.wish.session is None:
        hint = f"Give --session {plan.session_id} if the scan belongs to it."
        yield Problem("error", f"The session {plan.session_id} exists already.", hint=hint)
    existing = claims.session(plan.session_id)
    if existing:
        yield from _session_problems(plan, existing.token, existing.subject, existing.day, existing.place)
        if existing.layout != plan.layout:
            what = f"The session is {existing.layout}, and {plan.layout} was asked for."
            yield Problem("error", what, existing.place, f"Leave --layout out, or give --layout {existing.layout}.")
        if existing.person != plan.wish.user:
            what = f"The session lies in another person's folder, {existing.person}."
            yield Problem("error", what, existing.place, f"Give --user {existing.person}.")
        if existing.root != places.SHARE:
            what = f"The session lies on the root {existing.root}, and new scans go to the share."
            yield Problem("error", what, existing.place, "Bring its folder back to the share first.")
    for token, (subject, day) in known.sessions.items():
        if token.casefold() == plan.session_id.casefold():
            yield from _session_problems(plan, token, subject, day, "the database")


def _session_problems(plan: ConsolidationPlan, token: str, subject: str, day: date, where: str) -> Iterator[Problem]:
    if token != plan.session_id:
        yield Problem(
            "error", f"The session is spelt {token}, not {plan.session_id}.", where, f"Give --session {token}."
        )
    if subject != plan.wish.subject:
        what = f"The session {token} is of subject {subject}, not {plan.wish.subject}."
        yield Problem("error", what, where, "A session has one subject.")
    if day != plan.day:
        what = f"The session {token} is of {day.isoformat()}, not {plan.day.isoformat()}."
        yield Problem("error", what, where, "A session has one day: leave --date out.")


def _people_problems(plan: ConsolidationPlan, share: Path, known: Known) -> Iterator[Problem]:
    wish = plan.wish
    if (
        not wish.user
        or wish.user != Path(wish.user).name
        or wish.user.startswith((".", "$"))
        or visible(wish.user) != wish.user
    ):
        yield Problem(
            "error", f"{wish.user!r} is no name of a person's folder.", hint="It stands directly in the share."
        )
    elif not (share / wish.user).is_dir():
        twins = [name for name in _names(share) if _folded(name) == _folded(wish.user)]
        if twins:
            yield Problem("error", f"The person's folder is spelt {twins[0]}, not {wish.user}.", str(share))
        else:
            yield Problem("warning", f"The person's folder {wish.user} is new.", str(share), "Check its spelling.")
    if known.people and (wish.initials, wish.user) not in known.people:
        names = " or ".join(name for letters, name in known.people if letters == wish.initials) or "nobody"
        yield Problem("warning", f"The initials {wish.initials} belong to {names}, not to {wish.user}.")
    if known.subjects is not None and wish.subject not in known.subjects:
        what = f"The subject {wish.subject} is not in the database."
        yield Problem("warning", what, hint=nearest(wish.subject, sorted(known.subjects)))
    name = tokens.format_folder(wish.initials, wish.subject, plan.day, plan.session_id, plan.scan_id)
    yield from (Problem("warning", warning) for warning in tokens.parse(name).warnings)


def _missing(names: Sequence[str], expected: Check | None, incomplete: bool) -> list[Problem]:
    found = expected(names) if expected else []
    if incomplete:
        return [replace(problem, severity="warning") for problem in found]
    return [replace(problem, hint=f"{problem.hint} To go on without: --incomplete.".strip()) for problem in found]


def _place_problems(plan: ConsolidationPlan, share: Path) -> Iterator[Problem]:
    """Look whether the folder can be made on the share: space, and rights by a real probe."""
    person = share / plan.wish.user
    place = person if person.is_dir() else share
    if not place.is_dir():
        yield Problem("error", "The share is not there.", str(share), "Is it mounted?")
        return
    if refusal := _probe(place):
        yield Problem("error", f"Nothing can be written here ({refusal}).", str(place), "Ask the operator for rights.")
    free, needed = shutil.disk_usage(place).free, plan.size + max(_MARGIN, plan.size // 100)
    if needed > free:
        what = f"The disk has {_size(free)} free, and {_size(needed)} are needed."
        yield Problem("error", what, str(place), "Free some space.")


def _probe(folder: Path) -> str:
    """Make, write, rename and remove a folder with a file; return what the system refuses, or nothing."""
    probe = folder / f".adamacs-probe-{secrets.token_hex(8)}"
    moved = probe.with_name(f"{probe.name}-moved")
    try:
        probe.mkdir()
        (probe / "file").write_bytes(b"probe")
        probe.rename(moved)
        (moved / "file").unlink()
        moved.rmdir()
    except OSError as error:
        return error.strerror or str(error)
    finally:
        for rest in (probe, moved):
            shutil.rmtree(rest, ignore_errors=True)
    return ""


def _source_problems(plan: ConsolidationPlan) -> Iterator[Problem]:
    """Look whether the sources can be read, and removed where that is asked for."""
    for source in plan.sources:
        try:
            with source.original.reading():
                pass
        except UnreadableFile as error:
            yield Problem("error", error.what, str(source.original.place), error.hint or "")
    for folder in sorted({source.original.place.parent for source in plan.sources}) if plan.wish.move else ():
        if refusal := _probe(folder):
            yield Problem("error", f"Nothing can be removed here ({refusal}).", str(folder), "Leave --move out.")


# ---- what was consolidated before


@dataclass(frozen=True)
class Copied:
    """A file of a consolidated folder, and what it was copied from."""

    path: str  # POSIX, relative to the scan's folder
    size: int  # bytes
    blake3: str
    modified: int  # ns since 1970
    source: str  # absolute path on the host that copied it


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return what `consolidation.json` of a recording folder says; None where there is none.

    Its `files` are a tuple of `Copied`; `setup`, `host`, `account`, `adamacs` and `consolidated_at` are texts.

    Raises
    ------
    UnreadableFile
        The file is damaged, or of a later adamacs.
    """
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(Copied(**fields) for fields in content["files"])
        if content["format"] != FORMAT:
            raise UnreadableFile("This was written by another adamacs.", path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UnreadableFile(f"This is no record of a consolidation ({error}).", path) from error
    return {**content, "files": files}


def _repeated(plan: ConsolidationPlan, share: Path) -> Iterator[Problem]:
    """Tell where these very files are on the share already, as a run leaves them that died before it said so."""
    wanted = {(source.original.size, source.original.time, str(source.original.place)) for source in plan.sources}
    for folder in _recordings_of(share / plan.wish.user, plan.wish.subject):
        try:
            record = read_record(folder)
        except UnreadableFile:
            continue  # a damaged record is the finder's to tell
        if record and wanted and wanted <= {(file.size, file.modified, file.source) for file in record["files"]}:
            where = folder.relative_to(share).as_posix()
            hint = "Is there anything left to do? Move that folder out of the share first if it shall be made anew."
            yield Problem("error", "These files were consolidated already.", where, hint)


def _recordings_of(person: Path, subject: str) -> Iterator[Path]:
    for name in _names(person):
        fields = name.split("_")
        if not name.startswith(".") and len(fields) > 3 and fields[1] == subject:
            yield person / name
            yield from (person / name / inner for inner in _names(person / name) if inner.startswith("scan"))


def _names(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, no links; nothing where there is none."""
    with suppress(OSError), os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    return []


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


# ---- applying


def apply_consolidation(plan: ConsolidationPlan, settings: Settings, known: Known | None = None) -> Consolidated:
    """Copy, verify, rename; then remove the sources where that was asked for.

    A token that the plan minted, and that somebody else took meanwhile, moves on; one that was asked for is refused.

    Raises
    ------
    PlanRefused
        The plan has errors, or what it counts on is no longer so.
    UnreadableFile
        A source changed, or a copy gives back other bytes.
    StoreUnavailable
        The share is full or refuses.
    """
    if plan.refused:
        raise PlanRefused("The plan has errors.", plan.folder, "Mend them, then plan again.")
    share = settings.root("share")
    person = share / plan.wish.user
    began = time.monotonic()
    with ExitStack() as stack:
        with holding(share / LOCK):
            plan = _settled(plan, settings, known or Known())
            _make_person(person)
            _sweep(person)
            staging = stack.enter_context(attempts.attempt(person / f".{_announced(plan)}")).work
        points.reach("staged")
        _fill(plan, staging / plan.folder.rpartition("/")[2])
        with holding(share / LOCK):
            _publish(plan, staging, share)
    points.reach("published")
    done = Consolidated(
        plan.folder, plan.session_id, plan.scan_id, len(plan.sources), plan.size, time.monotonic() - began
    )
    return _remove_sources(plan, done) if plan.wish.move else done


def _settled(plan: ConsolidationPlan, settings: Settings, known: Known) -> ConsolidationPlan:
    """Return the plan with tokens that are still free. Under the lock of the share, so that they stay so."""
    claims, wish = read_claims(settings.share_roots()), plan.wish
    minted = {name for name in ("session", "scan") if getattr(wish, name) is None}
    if minted and _is_claimed(plan, claims):
        stamp = tokens.decode(tokens.expid(plan.scan_id if "scan" in minted else plan.session_id))
        fresh = _named(replace(wish, day=plan.day, layout=plan.layout), claims, known, stamp)
        plan = replace(plan, session_id=fresh.session_id, scan_id=fresh.scan_id, folder=fresh.folder, joins=fresh.joins)
    problems = [*_token_problems(plan, claims, known), *_repeated(plan, settings.root("share"))]
    for problem in problems:
        raise PlanRefused(problem.what, problem.where or plan.folder, problem.hint)
    return plan


def _is_claimed(plan: ConsolidationPlan, claims: Claims) -> bool:
    session = plan.wish.session is None and plan.session_id.casefold() in claims.places
    return session or plan.scan_id.casefold() in claims.places


def _announced(plan: ConsolidationPlan) -> str:
    """Return the name under which others see, while we copy, which tokens are taken."""
    wish = plan.wish
    return tokens.format_folder(wish.initials, wish.subject, plan.day, plan.session_id, plan.scan_id)


def _make_person(person: Path) -> None:
    with suppress(FileExistsError):
        person.mkdir()
        _sync(person.parent)


def _sweep(person: Path) -> None:
    """Remove what runs left behind whose process died. Under the lock of the share."""
    for name in _names(person):
        folder = person / name
        if name.startswith(".") and attempts.is_attempt(name) and (attempts.is_dead(folder) or _is_unborn(folder)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_unborn(folder: Path) -> bool:
    """Whether a process died before it could sign its staging, which it does under the lock that we have now."""
    try:
        with os.scandir(folder) as entries:
            return all(entry.name == SIGNATURE and entry.stat().st_size == 0 for entry in entries)
    except FileNotFoundError:
        return False


def _fill(plan: ConsolidationPlan, folder: Path) -> None:
    """Copy every source and read each copy back while the next is copied; then write the record."""
    folder.mkdir()
    store, done = FileStore(folder, name="share"), 0
    total = plan.size / 1e6

    def wrote(length: int) -> None:
        nonlocal done
        done += length
        progress.report("copying", round(done / 1e6, 1), round(total, 1), "MB")
        points.reach("mid copy")

    copied: list[Copied] = []
    waiting: deque[Future[Copied]] = deque()
    with ThreadPoolExecutor(_READERS) as pool:
        try:
            for source in plan.sources:
                digest = copies.copy(source.original, store, source.target, wrote)
                points.reach("copied")
                waiting.append(pool.submit(_verified, source, digest, store))
                while waiting and (waiting[0].done() or len(waiting) > _WAITING):
                    copied.append(waiting.popleft().result())  # ends early where a copy is not what was read
            progress.report("reading back the last files")
            copied += [answer.result() for answer in waiting]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    with store.create(RECORD) as [draft]:
        draft.write(_record(plan, copied))
    for inside, _, _ in os.walk(folder, topdown=False):
        _sync(Path(inside))
    _sync(folder.parent)
    points.reach("recorded")


def _verified(source: Source, digest: str, store: FileStore) -> Copied:
    original = source.original
    copies.verify(original, store, source.target, digest)
    return Copied(source.target, original.size, digest, original.time, str(original.place))


def _record(plan: ConsolidationPlan, files: Sequence[Copied]) -> bytes:
    wish = plan.wish
    content = {
        "format": FORMAT,
        "setup": wish.setup,
        "session_id": plan.session_id,
        "scan_id": plan.scan_id,
        "subject": wish.subject,
        "initials": wish.initials,
        "date": plan.day.isoformat(),
        "host": platform.node(),
        "account": _account(),
        "adamacs": __version__,
        "consolidated_at": f"{clocks.now().isoformat()}Z",
        "remarks": [str(problem) for problem in plan.problems],
        "files": [asdict(file) for file in files],
    }
    return (json.dumps(content, indent=1) + "\n").encode("ascii")


def _account() -> str:
    with suppress(KeyError, OSError, ImportError):
        return getpass.getuser()
    return str(os.getuid())


def _publish(plan: ConsolidationPlan, staging: Path, share: Path) -> None:
    """Give the whole folder its name, at once. Under the lock of the share."""
    target = share / plan.folder
    staged = staging / target.name
    if plan.layout == "nested" and not os.path.lexists(target.parent):
        (staging / target.parent.name).mkdir()
        staged = staged.rename(staging / target.parent.name / target.name).parent
        _sync(staged)
        target = target.parent
    twins = [name for name in _names(target.parent) if _folded(name) == _folded(target.name)]
    if twins or os.path.lexists(target):  # anything but a folder, too
        raise PlanRefused("There is such a folder already.", target, "Plan again.")
    for problem in _repeated(plan, share):
        raise PlanRefused(problem.what, problem.where, problem.hint)
    staged.rename(target)
    _sync(target.parent)


def _sync(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    with opened(folder, ()) as handle:
        handle.sync()


def _remove_sources(plan: ConsolidationPlan, done: Consolidated) -> Consolidated:
    """Remove each source that is still the one that was copied, and the folders below SRC that are empty then."""
    kept = []
    for source in plan.sources:
        if reason := source.original.remove():
            kept.append(f"{source.original.place}: {reason}")
        points.reach("mid removal")
    roots = {(Path(source.original.root), Path(source.original.path).parent) for source in plan.sources}
    for root, inner in sorted(roots, key=lambda pair: len(pair[1].parts), reverse=True):
        for folder in (inner, *inner.parents):
            with suppress(OSError):  # not empty
                if folder.parts:
                    (root / folder).rmdir()
    return replace(done, removed=len(plan.sources) - len(kept), kept=tuple(kept))


def _size(count: int) -> str:
    unit = next((unit for unit in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if count >= unit[1]), ("bytes", 1))
    return f"{count / unit[1]:,.3g} {unit[0]}"
