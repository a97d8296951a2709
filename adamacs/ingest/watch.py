"""Watch a share: find what arrives, wait until it is whole, plan it, and ingest what the lab's rules let in alone.

Everything is decided by polling; events of the file system only make a look come sooner. What is known of a unit
stands in the table of arrivals, so that a watcher that was killed goes on where it stopped.
"""

from __future__ import annotations

import heapq
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from adamacs import pipeline
from adamacs.core import clocks, failures, places, setups
from adamacs.core.errors import AdamacsError
from adamacs.core.modality import Problem, Recording, Unit, named
from adamacs.core.settings import Settings
from adamacs.database import connect as database
from adamacs.database import portable
from adamacs.ingest import arrivals, ledger, profiles, ripe
from adamacs.ingest.apply import apply_or_explain, step_of
from adamacs.ingest.arrivals import Arrival
from adamacs.ingest.beneath import ABSENT, Place, descended, statuses
from adamacs.ingest.choices import Choices
from adamacs.ingest.compare import Held, compare
from adamacs.ingest.find import Finder, FoundFolder, recording_of
from adamacs.ingest.ledger import Run, Step
from adamacs.ingest.plan import ScanPlan, note_rows, plan_recordings

log = logging.getLogger("adamacs.ingest")

_OPEN = ("incubating", "waiting", "late")  # states in which a unit is looked at again and again
_BEAT = 5.0  # s between two renewals of the watcher's row
_SAVE = 10.0  # s between two times that the growth of an unsettled unit is written down
_REMEMBERED = 100  # lags
_PATIENCE = 2.0  # s between two tries to reach the database, or to write to one that refuses
_AGAIN = 300.0  # s after which a unit that is late is planned anew though nothing of it changed
_GLANCE = 30.0  # s between two looks at the files of what is quarantined, which a person may mend in place
_REST = 5  # times as long as a look took, nothing makes the next one come


@dataclass
class Tracked:
    """A unit that is known: how it stands, and how its files are listed anew.

    Attributes
    ----------
    quiet
        How long nothing of it changed.
    read
        Lists its files; may raise OSError.
    incubation
        s that nothing may change.
    names
        Its files, where it grows within a folder.
    blocked
        What it waits for beyond its own files, if anything: the state and the reason.
    prepared
        Its plan, and the fingerprint that it was made at.
    """

    arrival: Arrival
    quiet: ripe.Quiet
    read: Callable[[], Recording]
    incubation: float
    automatic: bool = False
    names: tuple[str, ...] = ()
    blocked: tuple[str, str] | None = None
    prepared: tuple[str, ScanPlan] | None = None
    decided: float = float("-inf")  # when it was last planned as ripe, on the monotonic clock
    is_saved: bool = False
    looked_at: float | None = None  # on the monotonic clock
    compared_at: float = 0.0  # when it was last compared with its rows, on the monotonic clock

    @property
    def due(self) -> float:
        """When it is ripe if nothing of it changes any more, on the monotonic clock, s."""
        return self.quiet.since + self.incubation

    def move(self, state: str, reason: str = "", *, settled: bool = True) -> None:
        """Take another state, and remember since when."""
        if (state, reason) != (self.arrival.state, self.arrival.reason):
            at = clocks.now() if settled else None
            self.arrival = replace(self.arrival, state=state, reason=reason, settled_at=at)
            self.is_saved = False


@dataclass(frozen=True)
class Event:
    """Something that a watcher did or noticed."""

    what: str
    path: str
    reason: str = ""

    def describe(self) -> str:
        """Return it in one line."""
        return f"{self.what:12}{self.path}{f': {self.reason}' if self.reason else ''}"


class Watcher:
    """Looks at a share again and again, and takes each unit through its states.

    Parameters
    ----------
    settings
        Of the connected lab.
    dry_run
        Write nothing to the database; say what would happen.
    report
        Is told whatever happens.
    clock
        Monotonic, s.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        dry_run: bool = False,
        report: Callable[[Event], None] = lambda event: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._shares = settings.share_roots()
        self._networks: dict[str, bool] = {}  # of the shares that are there
        self._dry_run = dry_run
        self._report = report
        self._clock = clock
        self._finder = Finder(settings)
        self._known = {(one.path, one.unit): one for one in arrivals.load()}
        self._units: dict[tuple[str, str], Tracked] = {}
        self._problems: dict[str, str] = {}
        self._lags: deque[float] = deque(maxlen=_REMEMBERED)
        self._began = clocks.now()
        self._beaten = self._saved = float("-inf")
        self._rechecked, self._owed = clock(), 0.0
        self._rules = _rules(settings.home)
        self._missed: set[str] = set()  # shares of which it was looked once what went while nobody watched
        self.away: set[str] = set()

    # ---- looking

    def look(self) -> None:
        """Walk the shares once, and notice what came, changed and went; `away` then names those that were not there."""
        self.away = {name for name, share in self._shares.items() if not _is_there(share)}
        for name in self.away:
            self._networks.pop(name, None)  # it may come back mounted from elsewhere
            log.warning("The share %s is not there: nothing is taken for gone.", self._shares[name])
        there = [share for name, share in self._shares.items() if name not in self.away]
        if not there:
            return
        for name in self._shares.keys() - self.away - self._networks.keys():
            self._networks[name] = ripe.is_network(self._shares[name])
        self._hear_people()
        self._hear_rules()
        found = self._finder.look(there)
        for folder in found.changed:
            self._track(folder.place, "", str(folder.folder.scan_id), partial(recording_of, folder))
        for path in found.gone:
            self._lose(path)
        self._hold([problem for problem in found.problems if problem.severity == "error"])
        self._miss_grown(
            {one for m in pipeline.modalities() for unit in m.units for one in self._look_for(unit, m.name)}
        )
        self._miss_what_went()

    def _miss_what_went(self) -> None:
        """Tell of what the table holds from earlier and is there no more: it went while nobody watched.

        Once for each share, as soon as that is there.
        """
        due = self._shares.keys() - self.away - self._missed
        self._missed |= due
        for (path, name), before in self._known.items() if due else ():
            is_known = (path, name) in self._units or before.state in ("gone", "ignored")
            if is_known or places.split(path)[0] not in due:
                continue
            if not os.path.lexists(self._settings.locate(path) / name):
                self._depart(self._track(path, name, before.scan_id, self._unreadable))

    def _track(
        self, path: str, name: str, scan_id: str, read: Callable[[], Recording], automatic: bool = False
    ) -> Tracked:
        """Remember a unit, or how its files are listed from now on."""
        known = self._units.get((path, name))
        if known is not None:
            known.read, known.looked_at = read, None if known.arrival.state == "gone" else known.looked_at
            if known.arrival.state not in (*_OPEN, "ignored"):
                self._reconsider(known)
            return known
        before = self._known.get((path, name))
        now = clocks.now()
        arrival = before or Arrival(path, name, "incubating", "", now, now, scan_id=scan_id)
        quiet = ripe.Quiet(arrival.fingerprint, self._clock() - max((now - arrival.changed_at).total_seconds(), 0.0))
        tracked = Tracked(arrival, quiet, read, self._incubation(path, name), automatic, is_saved=before is not None)
        tracked.compared_at = self._clock()
        self._units[path, name] = tracked
        if before is None:
            self._say("arrived", tracked)
        elif before.state in ("planned", "quarantined") and self._were_mended_since(before):
            self._reopen(tracked, tracked.quiet.fingerprint)
        elif before.state not in (*_OPEN, "ignored"):
            self._reconsider(tracked)
        return tracked

    def _were_mended_since(self, before: Arrival) -> bool:
        """Whether setup types or profiles were written on after a unit was held back, while nobody watched."""
        settled = before.settled_at or before.changed_at
        return any(clocks.from_file_time(time) > settled for time in self._rules.values())

    def _incubation(self, path: str, name: str) -> float:
        ingest = self._settings.ingest
        if self._is_on_network(path):
            return ingest.incubation_network
        return ingest.incubation_file if name else ingest.incubation

    def _is_on_network(self, path: str) -> bool:
        return self._networks.get(places.split(path)[0], False)

    def _reconsider(self, tracked: Tracked) -> None:
        """Look whether what was settled is still what it was."""
        recording = self._read(tracked)
        if recording is None:
            return
        now = ripe.fingerprint(recording.files)
        if now == tracked.arrival.fingerprint:
            if tracked.arrival.state == "gone":
                self._reopen(tracked, now)
            elif tracked.arrival.state == "ingested":
                self._take_notes(recording)
            return
        if tracked.arrival.state in ("ingested", "changed"):
            self._flag(tracked, now)
        else:
            self._reopen(tracked, now)

    def _take_notes(self, recording: Recording) -> None:
        """Record notes that came beside a scan since its ingest, or were written on, where rules let it in alone."""
        rows = tuple(note_rows(recording))
        if self._dry_run or not rows:
            return
        found = compare(rows, Held(rows), self._settings)
        if not (found.missing or found.changes):
            return
        plan = plan_recordings([recording], self._settings, Choices(self._settings), explain=True)[0]
        if plan.automatic and plan.state == "update":
            with ledger.run("watch", {"paths": [plan.path]}, self._settings) as run:
                apply_or_explain(replace(plan, rows=rows, files=recording.beside, problems=()), self._settings, run)

    def _flag(self, tracked: Tracked, fingerprint: str) -> None:
        """Say that files changed after they were ingested; they are never mixed in."""
        tracked.arrival = replace(tracked.arrival, fingerprint=fingerprint, changed_at=clocks.now())
        tracked.quiet.see(fingerprint, self._clock())
        reason = "Files came, went or changed after the scan was ingested: `adamacs ingest plan` names them."
        tracked.move("changed", reason)
        tracked.is_saved = False
        self._say("changed", tracked)

    def _reopen(self, tracked: Tracked, fingerprint: str) -> None:
        tracked.prepared, tracked.decided = None, float("-inf")
        tracked.arrival = replace(tracked.arrival, fingerprint=fingerprint, changed_at=clocks.now())
        tracked.quiet.see(fingerprint, self._clock())
        tracked.move("incubating", settled=False)

    def _lose(self, path: str) -> None:
        for (folder, _), tracked in self._units.items():
            if folder == path:
                self._depart(tracked)

    def _depart(self, tracked: Tracked) -> None:
        """Say that a unit is there no more; what a person left out stays left out, should it come back."""
        if tracked.arrival.state not in ("gone", "ignored"):
            tracked.move("gone", "It is not on the share any more.")
            self._say("gone", tracked)

    def _hold(self, problems: Sequence[Problem]) -> None:
        """Put what was not understood aside, with the reason; what is mended leaves by itself."""
        now: dict[str, str] = {}
        for problem in problems:
            all_of_them = f"{problem.where}. " if problem.places else ""
            said = f"{problem.what} {all_of_them}{problem.hint}".strip()
            now |= {place: said for place in problem.places or (problem.where,) if place}
        for path, reason in now.items():
            if self._problems.get(path) != reason:
                tracked = self._units.get((path, ""))
                if tracked is not None and tracked.arrival.state in ("ingested", "ignored"):
                    continue
                before = self._known.get((path, ""))
                if before is not None and before.state == "ignored":
                    continue
                arrival = before or Arrival(path, "", "incubating", "", clocks.now(), clocks.now())
                held = tracked or Tracked(
                    arrival, ripe.Quiet("", self._clock()), self._unreadable, self._incubation(path, "")
                )
                held.move("quarantined", reason)
                self._units[path, ""] = held
                self._say("quarantined", held)
        now |= {path: said for path, said in self._problems.items() if places.split(path)[0] in self.away}
        for path in self._problems.keys() - now.keys():
            tracked = self._units.get((path, ""))
            if tracked is None or tracked.arrival.state != "quarantined":
                continue
            if self._read(tracked) is None:
                tracked.move("gone", "It is not there under this name any more.")
            else:
                self._reopen(tracked, tracked.quiet.fingerprint)
        self._problems = now

    def _unreadable(self) -> Recording:
        raise FileNotFoundError

    def _look_for(self, unit: Unit, modality: str) -> Iterator[tuple[str, str]]:
        """Look into the folders that grow, and yield each unit that is there: the place of its folder, and its name."""
        for root, share in self._shares.items():
            for relative, names in _growing(share, unit.folders) if root not in self.away else ():
                place, growth = places.spell(root, relative), ripe.grown(names, unit)
                for one in growth.units:
                    self._look_at(place, one, growth, unit, modality)
                    yield place, one.name

    def _look_at(self, place: str, one: ripe.Grown, growth: ripe.Growth, unit: Unit, modality: str) -> None:
        """Look at a unit of a folder that grows; one that waits for a marker or for parts says so."""
        known = self._units.get((place, one.name))
        state = known.arrival.state if known else ""
        if state == "ignored" or (known and state == "ingested" and known.names == one.files):
            return
        try:
            parsed = named(unit.parse)(place, one.name)
        except (AdamacsError, ValueError, LookupError, TypeError) as error:  # of a grammar that stumbles, too
            self._hold_unit(place, one.name, failures.describe(error))
            return
        root, relative = places.split(place)
        found = FoundFolder(parsed, relative.partition("/")[0], root, self._shares[root], relative, one.files)
        read = partial(_read_grown, found, modality)
        tracked = self._track(place, one.name, str(parsed.scan_id), read, unit.automatic)
        tracked.names = one.files
        tracked.blocked = self._blocked(tracked, one, growth, unit)

    def _miss_grown(self, there: Collection[tuple[str, str]]) -> None:
        """Tell of units of folders that grow of which no file is there any more; nothing where that cannot be known."""
        for (path, name), tracked in self._units.items():
            root, relative = places.split(path)
            if name and (path, name) not in there and root not in self.away:
                files = [f"{relative}/{file}" for file in tracked.names or (name,)]
                if _are_gone(self._shares[root], files):
                    self._depart(tracked)

    def _blocked(self, tracked: Tracked, one: ripe.Grown, growth: ripe.Growth, unit: Unit) -> tuple[str, str] | None:
        if one.name in growth.twins:
            return "quarantined", f"One part is there twice: {' and '.join(growth.twins[one.name])}."
        if not growth.marker:
            return "waiting", f"It waits for {unit.marker}."
        if one.missing:
            waited = (clocks.now() - tracked.arrival.first_seen).total_seconds()
            what = f"{len(one.missing)} of {len(unit.parts)} parts are missing: {', '.join(one.missing)}"
            return ("late", f"It is incomplete: {what}.") if waited > unit.patience else ("waiting", f"{what}.")
        return None

    def _hold_unit(self, path: str, name: str, reason: str) -> None:
        tracked = self._track(path, name, "", self._unreadable)
        if tracked.arrival.state != "ignored" and tracked.arrival.reason != reason:
            tracked.move("quarantined", reason)
            self._say("quarantined", tracked)

    def _hear_people(self) -> None:
        """Take over what people decided meanwhile: released, ignored, or applied by hand."""
        if self._dry_run:
            return
        decided = {(one.path, one.unit): one for one in arrivals.load(("incubating", "ignored"))}
        left = [place for place, one in self._units.items() if one.arrival.state == "ignored" and place not in decided]
        for one in arrivals.load_paths(path for path, _ in left):  # somebody ingested it by hand
            decided[one.path, one.unit] = one
        for place, tracked in self._units.items():
            said = decided.get(place)
            if tracked.is_saved and said is not None and said.state != tracked.arrival.state:
                tracked.arrival, tracked.prepared = said, None
                tracked.quiet.since = self._clock()
        by_hand = ("planned", "late", "quarantined", "changed")
        held = [one for one in self._units.values() if one.arrival.state in by_hand]
        keys = [{"scan_id": one.arrival.scan_id} for one in held if one.arrival.scan_id]
        there = set((pipeline.scan.Scan & keys).to_arrays("scan_id").tolist()) if keys else set()
        for tracked in held:
            if tracked.arrival.scan_id in there and self._is_ingested(tracked):
                self._say("ingested", tracked)

    def _hear_rules(self) -> None:
        """Decide anew about what was held back, where setup types or profiles were written on since."""
        rules = _rules(self._settings.home)
        if rules == self._rules:
            return
        self._rules = rules
        for (path, _), tracked in self._units.items():
            tracked.prepared = None
            if tracked.arrival.state in ("planned", "late", "quarantined") and path not in self._problems:
                self._reopen(tracked, tracked.quiet.fingerprint)

    # ---- settling

    def settle(self) -> None:
        """Decide about every unit whose time has come, and write down how all of them stand."""
        due = []
        for tracked in self._units.values():
            if tracked.arrival.state in _OPEN and self._observe(tracked):
                due.append(tracked)
        ready = [tracked for tracked in due if not self._wait(tracked)]
        if ready:
            self._decide(ready)
        self._prepare()
        self.recheck()
        self._save()

    def recheck(self) -> None:
        """Compare some of what was ingested with its files: an append in place moves no folder's time.

        Spread over the looks, those first that had no turn for the longest, so that each has one within
        `ingest.recheck_hours`, whatever comes and goes. What is quarantined is compared with how it was then: where it
        was mended in place, it is looked at anew, once for each change.
        """
        for (path, _), one in self._units.items():
            is_held = one.arrival.state == "quarantined" and path not in self._problems
            if is_held and self._clock() - one.compared_at >= _GLANCE:
                self._reconsider(one)
                one.compared_at = self._clock()
        ingested = [one for one in self._units.values() if one.arrival.state == "ingested"]
        now, period = self._clock(), self._settings.ingest.recheck_hours * 3600
        self._owed += len(ingested) * min(max(now - self._rechecked, 0.0), 60.0) / period
        self._rechecked = now
        overdue = sum(now - one.compared_at >= period for one in ingested)
        turns = max(int(self._owed), overdue)
        self._owed = max(self._owed - turns, 0.0)
        for one in heapq.nsmallest(turns, ingested, key=lambda one: one.compared_at):
            self._reconsider(one)
            one.compared_at = now

    @property
    def is_whole(self) -> bool:
        """Whether every share is there, and nothing on them is held back for what is wrong with it."""
        return not self.away and not any(one.arrival.state in ("late", "quarantined") for one in self._units.values())

    def next_due(self) -> float | None:
        """Return when the next unit that is there may be ripe, on the monotonic clock, s; None while none incubates."""
        units = [one for one in self._units.values() if one.arrival.state == "incubating" and not one.blocked]
        return min((one.due for one in units if places.split(one.arrival.path)[0] not in self.away), default=None)

    def _read(self, tracked: Tracked) -> Recording | None:
        try:
            return tracked.read()
        except (OSError, UnicodeError, AdamacsError) as error:
            log.info("%s cannot be listed now: %s", tracked.arrival.path, error)
            return None

    def _observe(self, tracked: Tracked) -> bool:
        """Look at the files of a unit once more, and tell whether it is ripe."""
        before, tracked.looked_at = tracked.looked_at, self._clock()
        recording = self._read(tracked)
        if recording is None:
            tracked.quiet.since = self._clock()
            return False
        seen = ripe.fingerprint(recording.files)
        if tracked.quiet.see(seen, self._changed_at(recording, before)):
            wall = clocks.now() - timedelta(seconds=max(self._clock() - tracked.quiet.since, 0.0))
            tracked.arrival = replace(tracked.arrival, fingerprint=seen, changed_at=wall)
            tracked.prepared, tracked.decided = None, float("-inf")
            if tracked.arrival.state == "late":
                tracked.move("incubating", settled=False)
        is_new = tracked.arrival.state in ("incubating", "waiting") or bool(tracked.blocked)
        # What is late may have failed of the share or a right, which no file shows when they are mended.
        return self._clock() >= tracked.due and (is_new or self._clock() - tracked.decided > _AGAIN)

    def _changed_at(self, recording: Recording, before: float | None) -> float:
        """Return when a unit that looks different now changed: as the kernel says on a local disk, else now."""
        now = self._clock()
        if self._is_on_network(recording.place):
            return now
        try:
            files = [self._settings.locate(file.path) for file in recording.files]
            told = ripe.last_change({*files, *(file.parent for file in files)})
        except OSError:
            return now
        if told is None:
            return now
        then = now - max(time.time() - told, 0.0)
        return min(now, then if before is None else max(before, then))

    def _wait(self, tracked: Tracked) -> bool:
        """Let a unit wait for what it is blocked by."""
        if tracked.blocked is None:
            return False
        state, reason = tracked.blocked
        if (state, reason) != (tracked.arrival.state, tracked.arrival.reason):
            tracked.move(state, reason, settled=state != "waiting")
            self._say(state, tracked)
        return True

    def _decide(self, ready: Sequence[Tracked]) -> None:
        """Plan what is ripe, and ingest what needs no person; all of it is one run of the ledger."""
        left = [tracked for tracked in ready if not self._is_ingested(tracked)]
        if not left:
            return
        plans = [(tracked, plan) for tracked in left if (plan := self._plan_or_explain(tracked)) is not None]
        news = [(tracked, plan) for tracked, plan in plans if not self._is_late_as_before(tracked, plan)]
        if self._dry_run:
            for tracked, plan in news:
                self._take(tracked, plan, None)
        elif news:
            paths = [tracked.arrival.path for tracked, _ in news]
            with ledger.run("watch", {"paths": paths[:100]}, self._settings) as run:
                for tracked, plan in news:
                    self._take(tracked, plan, run)

    def _is_late_as_before(self, tracked: Tracked, plan: ScanPlan) -> bool:
        """Whether a unit that was looked at anew is still late for the same reason, of which nobody is told again."""
        if tracked.arrival.state != "late" or plan.state != "refused" or _refusal(plan) != tracked.arrival.reason:
            return False
        tracked.prepared, tracked.decided = None, self._clock()
        return True

    def _is_ingested(self, tracked: Tracked) -> bool:
        """Whether the database holds these very files of the scan, and what every ingest writes; nothing is planned."""
        recording = self._read(tracked)
        if recording is None:
            return False
        key = {"session_id": recording.folder.session_id, "scan_id": str(recording.folder.scan_id)}
        rows = (pipeline.scan.ScanFile & key).to_dicts()
        held = {(places.spell(row["root"], row["file_path"]), row["file_size"], row["file_time"]) for row in rows}
        if not rows or held != {(file.path, file.size, file.time) for file in recording.files}:
            return False
        if not _is_placed(key):
            return False  # it was half ingested by something else: what it lacks is completed
        tracked.arrival = replace(tracked.arrival, fingerprint=ripe.fingerprint(recording.files))
        tracked.move("ingested")
        return True

    def _plan_or_explain(self, tracked: Tracked) -> ScanPlan | None:
        """Plan a unit, or say why not; None too where it changed at this very moment. The others go on."""
        try:
            return self._plan(tracked)
        except Exception as error:
            passing = failures.classify(error).name
            if passing == "database":
                raise
            if passing == "store":
                self._again(tracked, failures.describe(error))
                return None
            log.exception("%s cannot be planned", tracked.arrival.path)
            tracked.move("quarantined", f"It cannot be planned: {failures.describe(error)}")
            self._say("quarantined", tracked)
            return None

    def _plan(self, tracked: Tracked) -> ScanPlan | None:
        if tracked.prepared is not None and tracked.prepared[0] == tracked.quiet.fingerprint:
            return tracked.prepared[1]
        recording = self._read(tracked)
        if recording is None or ripe.fingerprint(recording.files) != tracked.quiet.fingerprint:
            return None
        plan = plan_recordings([recording], self._settings, Choices(self._settings), thorough=True)[0]
        tracked.prepared = (tracked.quiet.fingerprint, plan)
        return plan

    def _take(self, tracked: Tracked, plan: ScanPlan, run: Run | None) -> None:
        """Take a unit to the state that its plan asks for."""
        tracked.prepared, tracked.decided = None, self._clock()  # plans are large
        was_late = tracked.arrival.state == "late"
        questions = [problem for problem in plan.problems if problem.severity == "question"]
        if plan.state == "refused":
            late = any(problem.may_pass for problem in _errors(plan))  # the others may follow from it
            tracked.move("late" if late else "quarantined", _refusal(plan))
            outcome, what = ("skipped", "waiting") if late else ("failed", "refused")
            self._note(run, step_of(plan, "plan", outcome, what, reason=tracked.arrival.reason))
        elif plan.state == "unchanged":
            tracked.move("ingested")
        elif questions or not (plan.automatic or tracked.automatic):
            why = "; ".join(map(str, questions)) or "The rules of its setup type let nobody but a person ingest it."
            tracked.move("planned", f"{why} `adamacs ingest apply {plan.path}`")
            self._note(run, step_of(plan, "plan", "skipped", "waiting", reason=why))
        elif run is None:
            tracked.move("planned", "It would be ingested now.")
        elif arrivals.state_of(tracked.arrival.path, tracked.arrival.unit) == "ignored":  # by a person, just now
            tracked.arrival = replace(tracked.arrival, state="ignored", settled_at=clocks.now())
            return
        else:
            result = apply_or_explain(plan, self._settings, run)
            if result.state in ("written", "unchanged"):
                tracked.move("ingested")
                if not was_late:
                    self._lags.append(max(self._clock() - tracked.quiet.since, 0.0))
            elif result.may_pass:
                self._again(tracked, result.reason)
                return
            else:
                tracked.move("quarantined", result.reason)
        self._say(tracked.arrival.state, tracked)

    def _again(self, tracked: Tracked, reason: str) -> None:
        """Plan a unit once more after another incubation."""
        self._reopen(tracked, tracked.quiet.fingerprint)
        tracked.quiet.since = self._clock()
        log.warning("%s is planned anew: %s", tracked.arrival.path, reason)

    def _note(self, run: Run | None, step: Step) -> None:
        if run is not None:
            run.note(step)

    def _prepare(self) -> None:
        """Plan what will be ripe soon, so that its rows come at once when it is."""
        for tracked in self._units.values():
            half = tracked.quiet.since + tracked.incubation / 2
            is_open = tracked.arrival.state == "incubating" and not tracked.blocked and tracked.prepared is None
            if is_open and self._clock() >= half and not self._dry_run:
                try:
                    self._plan(tracked)
                except Exception as error:  # it is not whole yet: what does not pass is said when it is
                    if failures.classify(error).name == "database":
                        raise
                    log.info("%s cannot be planned yet: %s", tracked.arrival.path, failures.describe(error))

    # ---- writing down

    def _save(self) -> None:
        if self._dry_run:
            return
        now = self._clock()
        grown = now - self._saved > _SAVE
        if grown:
            self._saved = now
        waiting = [one for one in self._units.values() if not one.is_saved]
        if waiting:
            left_out = {(one.path, one.unit): one for one in arrivals.load(("ignored",))}
            for one in waiting:  # what a person decided just now stands
                one.arrival = left_out.get((one.arrival.path, one.arrival.unit), one.arrival)
            arrivals.save(one.arrival for one in waiting)
            for one in waiting:
                one.is_saved = True
        if now - self._beaten > _BEAT:
            arrivals.beat(os.getpid(), self._began, len(self._units), max(self._lags, default=None))
            self._beaten = now

    def _say(self, what: str, tracked: Tracked) -> None:
        one = tracked.arrival
        event = Event(what, f"{one.path}/{one.unit}" if one.unit else one.path, one.reason)
        log.info(event.describe(), extra={"fields": {"path": event.path, "state": what, "reason": event.reason}})
        self._report(event)


def _errors(plan: ScanPlan) -> list[Problem]:
    return [problem for problem in plan.problems if problem.severity == "error"]


def _refusal(plan: ScanPlan) -> str:
    return "; ".join(map(str, _errors(plan)))


def _is_placed(key: Mapping[str, str]) -> bool:
    """Whether the database knows folder and person of a scan and its session, as after every ingest of ours."""
    tables: tuple[Any, ...] = (pipeline.scan.ScanPath, pipeline.session.SessionDirectory, pipeline.session.SessionUser)
    return all(bool(table & key) for table in tables)


def _is_there(share: Path) -> bool:
    """Whether the share answers; a server that is away gives errors of many kinds."""
    try:
        return share.is_dir()
    except OSError:
        return False


def _are_gone(share: Path, paths: Iterable[str]) -> bool:
    """Whether none of some files is below a share; not where their folder cannot be looked into."""
    try:
        return all(status is None for _, status in statuses(share, paths))
    except OSError:
        return False


def _rules(home: Path) -> dict[Path, int]:
    """Return when each file was written that says how a lab's recordings are ingested."""
    times: dict[Path, int] = {}
    for path in (*setups.files_of(home), *profiles.files_of(home)):
        with suppress(OSError):  # it is none, or went this moment
            times[path] = path.stat().st_mtime_ns
    return times


def _growing(share: Path, folders: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder of a pattern, relative to the share, with the names of its files; no link is followed."""
    try:
        found = sorted(share.glob(folders))
    except OSError as error:
        log.warning("%s cannot be listed now: %s", share, error)
        return
    for path in found:
        parts = path.relative_to(share).parts
        try:
            with Place.at(share) as top, descended(top, parts) as place:
                names = place.listing().files
        except OSError as error:
            if error.errno not in ABSENT:
                log.warning("%s cannot be listed now: %s", path, error)
            continue
        yield "/".join(parts), names


def _read_grown(found: FoundFolder, modality: str) -> Recording:
    return replace(recording_of(found), of=modality)


# ---- the service


def watch(watcher: Watcher, settings: Settings, stop: threading.Event, *, once: bool = False) -> bool:
    """Look and settle until somebody says stop; the loss of the database is waited out.

    Returns whether every share is there, and nothing on them is held back for what is wrong with it.

    Parameters
    ----------
    once
        Look once, wait for what incubates, and return.
    """
    next_look = earliest = time.monotonic()
    with _woken(list(settings.share_roots().values())) as wake:
        while not stop.is_set():
            try:
                began = time.monotonic()
                if began >= next_look or (wake.is_set() and began >= earliest):
                    wake.clear()
                    watcher.look()
                    earliest = time.monotonic() + _REST * (time.monotonic() - began)
                    next_look = max(earliest, time.monotonic() + settings.ingest.poll)
                watcher.settle()
            except portable.FAILURES as error:
                if failures.classify(error).name != "database":
                    raise
                log.warning("The database is away: %s", failures.describe(error))
                stop.wait(_PATIENCE)  # it may answer, and refuse
                _await_database(settings, stop)
            due = watcher.next_due()
            if once and due is None:
                break
            until = min(next_look, due) if due is not None else next_look
            _sleep(until - time.monotonic(), wake, earliest, stop)
    return watcher.is_whole


def _sleep(seconds: float, wake: threading.Event, earliest: float, stop: threading.Event) -> None:
    """Sleep until the time is over, or somebody wakes us and it is not too early for that."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not stop.is_set():
        if (early := earliest - time.monotonic()) > 0:
            stop.wait(min(left, early, 0.2))
        elif wake.wait(min(left, 0.2)):
            return


def _await_database(settings: Settings, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            database.open_connection(settings)
        except portable.UNREACHABLE:
            stop.wait(_PATIENCE)
        else:
            return


@contextmanager
def _woken(shares: Sequence[Path]) -> Iterator[threading.Event]:
    """Give an event that is set whenever the file system of a local share tells of a change; without, never."""
    local = [share for share in shares if _is_there(share) and not ripe.is_network(share)]
    wake, stop = threading.Event(), threading.Event()
    thread = None
    if local:
        with suppress(ImportError):
            import watchfiles

            def listen() -> None:
                try:
                    for _ in watchfiles.watch(*local, stop_event=stop, step=20, debounce=100, raise_interrupt=False):
                        wake.set()
                except (OSError, RuntimeError) as error:
                    log.warning("The file system tells of no changes (%s): polling alone finds them.", error)

            thread = threading.Thread(target=listen, name="file events", daemon=True)
            thread.start()
    try:
        yield wake
    finally:
        stop.set()
        if thread is not None:
            thread.join(timeout=5)
