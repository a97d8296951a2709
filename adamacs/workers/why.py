"""Why a row is missing: an empty result that explains itself, down to the first cause and its cure. Reads only."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import datajoint as dj

from adamacs import pipeline
from adamacs.core import failures
from adamacs.core import settings as _settings
from adamacs.core.errors import describe as spell
from adamacs.core.errors import visible
from adamacs.core.modality import staging_line
from adamacs.core.settings import Settings
from adamacs.database import portable, statements
from adamacs.schemas.operations import Pause
from adamacs.schemas.scan import ScanPath
from adamacs.workers import attempts, liveness, state
from adamacs.workers.attempts import Tried
from adamacs.workers.catalogue import Catalogue, Parent
from adamacs.workers.state import duration

LIMIT = 20  # keys that are answered one by one


@dataclass(frozen=True)
class Answer:
    """Why one row, or one group of rows, is missing.

    Attributes
    ----------
    table, key
        Of the row; the key may be known in part only.
    state
        `present`, `running`, `pending`, `paused`, `backoff`, `failed`, `excluded`, `waiting`, `unstaged`, `ruled out`
        or `more` (there are more than were asked about).
    sentence
        What is the case.
    cure
        What a person can do, a command line where there is one; empty where nothing is to be done.
    failure, tries, log
        Of the last failed attempt: its class; how many count against the key; `host:path` of the worker's log.
    because
        What it waits for.
    """

    table: str
    key: Mapping[str, Any]
    state: str
    sentence: str
    cure: str = ""
    failure: str = ""
    tries: int = 0
    log: str = ""
    because: tuple[Answer, ...] = ()

    def describe(self, indent: str = "") -> str:
        """Return the answer as text; what it waits for stands below it, further in."""
        lines = [f"{indent}{self.table} {spell(self.key)}".rstrip() + f": {self.sentence}"]
        lines += [f"{indent}  cure: {self.cure}"] if self.cure else []
        lines += [f"{indent}  log: {self.log}"] if self.log else []
        return "\n".join([*map(visible, lines), *(answer.describe(f"{indent}  ") for answer in self.because)])


def why(
    table: str,
    key: Mapping[str, Any],
    settings: Settings | None = None,
    tables: Sequence[Any] | None = None,
    *,
    limit: int = LIMIT,
) -> list[Answer]:
    """Tell why rows of a table are missing.

    Parameters
    ----------
    table
        Its name, such as `imaging.Fluorescence`; of a part, the table that it is part of is answered for.
    key
        The primary key or some columns of it; several rows may be missing then.
    settings
        Of the connected lab; by default those in use.
    tables
        Tables beside those of the pipeline, for tests.
    limit
        So many rows are answered one by one.

    Returns
    -------
    list of Answer
        At least one; `present` where nothing is missing.

    Raises
    ------
    InvalidRequest
        There is no such table.
    InvalidKey
        The key names a column that the key of the table lacks.
    """
    settings = settings or _settings.active()
    catalogue = Catalogue(settings, tables)
    name = catalogue.named(table)
    asked = catalogue.key_of(catalogue.tables[name], key)
    return _Inquiry(catalogue, settings, limit).answer(name, asked)


class _Inquiry:
    """One question, with what was found out on the way."""

    def __init__(self, catalogue: Catalogue, settings: Settings, limit: int) -> None:
        self._catalogue = catalogue
        self._settings = settings
        self._limit = limit
        self._known: dict[tuple[str, str], list[Answer]] = {}
        self._workers = {worker.worker_id: worker for worker in state.workers(catalogue.connection)}
        self._pauses = {row["pause_scope"]: row for row in Pause.to_dicts()}

    def answer(self, name: str, key: dict[str, Any]) -> list[Answer]:
        table = self._catalogue.tables[name]
        if not issubclass(table, dj.Part):
            return self._missing(name, key) or [self._present(name, key)]
        master = pipeline.table_name(table.master)
        of_master = {column: value for column, value in key.items() if column in table.master.primary_key}
        found = [] if table & key else self._missing(master, of_master)
        if found or table & key:
            return found or [self._present(name, key)]
        sentence = f"{master} is computed, and holds no such {table.__name__}."
        return [Answer(name, key, "present", sentence)]

    def _present(self, name: str, key: dict[str, Any]) -> Answer:
        count = len(self._catalogue.tables[name] & key)
        sentence = "It is there." if count == 1 else f"Nothing is missing: {count} rows are there."
        return Answer(name, key, "present", sentence)

    # ---- what is missing

    def _missing(self, name: str, key: dict[str, Any]) -> list[Answer]:
        """Return an answer for everything that is missing below a key; none where nothing is."""
        place = (name, spell(key))
        if place not in self._known:
            self._known[place] = []
            is_filled = name in self._catalogue.filled
            self._known[place] = self._not_computed(name, key) if is_filled else self._not_entered(name, key)
        return self._known[place]

    def _not_computed(self, name: str, key: dict[str, Any]) -> list[Answer]:
        table = self._catalogue.tables[name]
        is_whole = len(key) == len(table.primary_key)
        if is_whole and table & key:
            return []
        found = self._candidates(name, key)
        answers = list(self._with_jobs(name, found[: self._limit]))
        if len(found) > self._limit:
            more = len(self._lacking(name, key)) - self._limit
            answers.append(Answer(name, key, "more", f"{max(more, 1)} more are missing.", "Give more of the key."))
        if is_whole and answers:
            return answers
        above, unasked = self._above(name, key)
        is_there = bool(answers or table & key)
        if above := above or ([] if is_there else unasked):
            return [*answers, self._waits(name, key, above)]
        return answers if is_there else [self._ruled_out(name, key)]

    def _lacking(self, name: str, key: dict[str, Any]) -> Any:
        table = self._catalogue.tables[name]
        return (table().key_source.proj() & key) - table.proj()

    def _candidates(self, name: str, key: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the missing keys that the table should hold, and those that only a job row speaks of."""
        table = self._catalogue.tables[name]
        found = [self._catalogue.key_of(table, row) for row in self._lacking(name, key).keys(limit=self._limit + 1)]
        jobs = (portable.job_table(table) & key).keys(limit=self._limit + 1)
        others = [self._catalogue.key_of(table, row) for row in jobs]
        done = set(map(spell, (table.proj() & others).keys())) if others else set()
        known = {spell(row) for row in found} | done
        rows = [*found, *(row for row in others if spell(row) not in known)]
        return rows[: self._limit + 1]

    def _above(self, name: str, key: dict[str, Any]) -> tuple[list[Answer], list[Answer]]:
        """Return what is missing in the tables that this one stands on, each once.

        Apart from these, what its own rule speaks of and nobody ever asked for: the rule may be about other keys alone.
        """
        found: dict[tuple[str, str], Answer] = {}
        unasked: dict[tuple[str, str], Answer] = {}
        above = [(parent.name, parent.key_of(key), parent.is_rule) for parent in self._catalogue.parents(name)]
        above += [(parent, its_key, False) for parent, its_key in self._catalogue.waits_for(name, key)]
        for parent, its_key, is_rule in above:
            for answer in self._missing(parent, its_key):
                is_idle = is_rule and _causes(answer) == {"unstaged"}
                (unasked if is_idle else found).setdefault((answer.table, spell(answer.key)), answer)
        inner = {place for answers in (found, unasked) for one in answers.values() for place in _below(one)}
        missing, idle = ([one for place, one in some.items() if place not in inner] for some in (found, unasked))
        return missing, idle

    def _waits(self, name: str, key: dict[str, Any], above: list[Answer]) -> Answer:
        on = ", ".join(dict.fromkeys(answer.table for answer in above))
        return Answer(name, key, "waiting", f"It waits for {on}.", because=tuple(above))

    def _ruled_out(self, name: str, key: dict[str, Any]) -> Answer:
        rule = self._catalogue.rule(name) if self._catalogue.has_rule(name) else ""
        missing = [parent for parent in self._catalogue.parents(name) if not self._has(parent, key)]
        if missing or not rule:
            on = " and ".join(parent.name for parent in missing) or "its parents together"
            return Answer(name, key, "unstaged", f"Nothing asks for it: {on} holds no such row.")
        return Answer(name, key, "ruled out", f"The table takes other keys only: {rule}.")

    def _has(self, parent: Parent, key: dict[str, Any]) -> bool:
        return bool(self._catalogue.tables[parent.name] & parent.key_of(key))

    def _not_entered(self, name: str, key: dict[str, Any]) -> list[Answer]:
        """Answer for a table that people fill, or that another table fills with itself."""
        above, _ = self._above(name, key)
        if above or self._catalogue.tables[name] & key:
            return above
        return [Answer(name, key, "unstaged", "It was never staged: there is no such row.", self._staging(name, key))]

    def _staging(self, name: str, key: dict[str, Any]) -> str:
        """Return the line that stages a key, as far as it is known."""
        line = _staging_lines().get(name, "")
        if not line:
            return f"Insert a row into {name}."
        inherited = self._catalogue.key_columns(name)  # the others are given by whoever stages
        of_parents = {column: value for column, value in key.items() if column in inherited}
        return staging_line(line, of_parents, self._folder(key))

    def _folder(self, key: dict[str, Any]) -> str:
        """Return where a scan lies, if it is known."""
        if not {"session_id", "scan_id"} <= set(key):
            return "FOLDER"
        scan = {"session_id": key["session_id"], "scan_id": key["scan_id"]}
        for row in (ScanPath() & scan).to_dicts():
            return (self._settings.root(row["root"]) / row["path"]).as_posix()
        return "FOLDER"

    # ---- keys that workers know, or will

    def _with_jobs(self, name: str, keys: list[dict[str, Any]]) -> Iterator[Answer]:
        """Answer for keys by their job rows."""
        if not keys:
            return
        rows = portable.job_table(self._catalogue.tables[name]) & keys
        wait = statements.seconds_since(self._catalogue.connection, "scheduled_time")
        age = statements.seconds_since(self._catalogue.connection, "reserved_time")
        columns = ("status", "scheduled_time", "reserved_time", "created_time", "error_message")
        who = ("user", "host", "pid", "connection_id")
        jobs = {spell(_key(row, keys[0])): row for row in rows.proj(*columns, *who, past=wait, age=age).to_dicts()}
        tried = attempts.of_keys(self._catalogue.connection, name, keys)
        for key in keys:
            yield self._with_job(name, key, jobs.get(spell(key)), tried[liveness.key_hash(key)])

    def _with_job(self, name: str, key: dict[str, Any], job: dict[str, Any] | None, tried: list[Tried]) -> Answer:
        if job is None:
            return self._pending(name, key, None, tried)
        answer: Callable[..., Answer] = {
            "reserved": self._running,
            "error": self._failed,
            "ignore": self._excluded,
        }.get(job["status"], self._pending)
        return answer(name, key, job, tried)

    def _pending(self, name: str, key: dict[str, Any], job: dict[str, Any] | None, tried: list[Tried]) -> Answer:
        counted = attempts.counted(tried, job["created_time"]) if job else []
        answer = self._unattended(name, key) or self._queued(name, key, job, counted)
        if before := _before(job, counted):
            answer = replace(answer, sentence=f"{before}{answer.sentence}")
        if not counted:
            return answer
        return replace(answer, failure=counted[-1].failure, tries=len(counted), log=counted[-1].log)

    def _unattended(self, name: str, key: dict[str, Any]) -> Answer | None:
        """Answer for a key that nobody would take up now: its table is paused, or no worker is there."""
        if pause := self._pause(name):
            reason = f": {pause['pause_reason']}" if pause["pause_reason"] else ""
            cure = _resumption(pause["pause_scope"])
            return Answer(name, key, "paused", f"Paused by {pause['paused_by']}{reason}.", cure)
        role = self._catalogue.roles.get(name, "")
        if any(worker.attends(name, role, key) for worker in self._workers.values()):
            return None
        what = f"Nobody takes it up: no worker of the role {role} is alive." if role else "No worker is alive."
        if any(worker.alive and worker.role == role for worker in self._workers.values()):
            what = f"Nobody takes it up: the workers of the role {role} that are alive keep to other tables or keys."
        return Answer(name, key, "pending", what, _start(role))

    def _queued(self, name: str, key: dict[str, Any], job: dict[str, Any] | None, counted: list[Tried]) -> Answer:
        if job and float(job["past"]) < 0 and counted:
            last = counted[-1]
            again = f"{duration(-float(job['past']))} from now ({job['scheduled_time']:%H:%M:%S} UTC)"
            what = f"It is tried again {again}. Last ({last.failure}): {last.message}"
            return Answer(name, key, "backoff", what, _cure_of(last.failure))
        if not _before(job, counted):
            return Answer(name, key, "pending", "It is in the queue: a worker takes it up as soon as it can.")
        cure = _cure_of(counted[-1].failure) if counted else ""
        again = "It is in the queue and is tried again as soon as a worker can."
        return Answer(name, key, "pending", again, f"Nothing, unless it happens again. {cure}" if cure else "")

    def _pause(self, name: str) -> dict[str, Any] | None:
        scopes = state.scopes(name, self._catalogue.roles.get(name, ""))
        return next((self._pauses[scope] for scope in scopes if scope in self._pauses), None)

    def _running(self, name: str, key: dict[str, Any], job: dict[str, Any], tried: list[Tried]) -> Answer:
        place = f"{job['host']} (pid {job['pid']})"
        since = f"for {duration(float(job['age']))}, since {job['reserved_time']:%Y-%m-%d %H:%M:%S} UTC"
        counted = attempts.counted(tried, job["created_time"])
        before = _before(job, counted)
        alive = state.is_alive(job["connection_id"], self._workers)
        if alive is None:
            sentence = f"{before}A notebook or script on {place} computes it {since}."
            return Answer(
                name, key, "running", sentence, f"If it is gone: {_cancel(name, key)}, then {_retry(name, key)}"
            )
        worker = self._workers.get(job["connection_id"])
        log = f"{worker.host}:{worker.log_file}" if worker and worker.log_file else ""
        if worker is None or not alive:
            sentence = f"{before}The worker on {place} that computed it {since}, is silent or gone."
            role = self._catalogue.roles.get(name, "")
            is_attended = any(other.attends(name, role, key) for other in self._workers.values())
            cure = "Nothing: another worker takes it over within a lease." if is_attended else _start(role)
            return Answer(name, key, "running", sentence, cure, tries=len(counted), log=log)
        far = state.progress(worker.stage, worker.fraction, worker.seconds_left)
        sentence = f"{before}It is computed on {place} {since}: {far}."
        return Answer(name, key, "running", sentence, tries=len(counted), log=log)

    def _failed(self, name: str, key: dict[str, Any], job: dict[str, Any], tried: list[Tried]) -> Answer:
        counted = attempts.counted(tried, job["created_time"])
        failure, message = failures.split_message(job["error_message"])
        again = _retry(name, key)
        cure = f"{failures.named(failure).cure} Then: {again}" if failure else f"Mend it, then: {again}"
        log = counted[-1].log if counted else ""
        often = f" {_times(len(counted))}" if counted else ""
        sentence = f"It failed{often} ({failure or state.UNKNOWN}): {message}"
        return Answer(name, key, "failed", sentence, cure, failure or state.UNKNOWN, len(counted), log)

    def _excluded(self, name: str, key: dict[str, Any], job: dict[str, Any], tried: list[Tried]) -> Answer:
        reason = f": {job['error_message']}" if job["error_message"] else ", who gave no reason"
        sentence = f"It was left out by {job['user'] or 'somebody'}{reason}."
        return Answer(name, key, "excluded", sentence, f"To compute it after all: {_retry(name, key)}")


def _below(answer: Answer) -> Iterator[tuple[str, str]]:
    for inner in answer.because:
        yield inner.table, spell(inner.key)
        yield from _below(inner)


def _causes(answer: Answer) -> set[str]:
    """Return the states of what an answer comes down to."""
    return set().union(*map(_causes, answer.because)) if answer.because else {answer.state}


def _key(row: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in like}


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


_BEFORE = {"killed": "a worker died over it", "stalled": "a worker that stood still over it was ended"}


def _before(job: Mapping[str, Any] | None, counted: Sequence[Tried]) -> str:
    """Return what happened to a key before, as a sentence with a space behind it; empty where nothing did."""
    outcomes = Counter(one.outcome for one in counted)
    told = [f"{_BEFORE.get(outcome, 'it failed')} {_times(count)}" for outcome, count in outcomes.items()]
    if not told and job and job["error_message"]:  # somebody asked for another try since
        told = [f"{_BEFORE.get(failures.split_message(job['error_message'])[0], 'it failed')} before"]
    text = " and ".join(told)
    return f"{text[0].upper()}{text[1:]}. " if text else ""


def _cure_of(failure: str) -> str:
    """Return what to do about a class of failures; empty for one that this release does not know."""
    return failures.named(failure).cure if failure in {known.name for known in failures.FAILURES} else ""


# ---- lines to be pasted: other people chose paths, keys and names, so every word is quoted for the shell


def _retry(name: str, key: Mapping[str, Any]) -> str:
    return shlex.join(["adamacs", "jobs", "retry", name, spell(key)])


def _cancel(name: str, key: Mapping[str, Any]) -> str:
    return shlex.join(["adamacs", "jobs", "cancel", name, spell(key)])


def _start(role: str) -> str:
    return shlex.join(["adamacs", "work", "--role", role or "cpu"])


def _resumption(scope: str) -> str:
    kind, _, name = scope.partition(":")
    return shlex.join(["adamacs", "jobs", "resume", *([f"--{kind}", name] if name else [])])


def _staging_lines() -> dict[str, str]:
    """Return for the tables that people fill the line that does it, as their modalities declare."""
    return {table: line for modality in pipeline.modalities() for table, line in modality.staged_by.items()}
