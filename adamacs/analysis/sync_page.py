"""A sync certificate with everything that it rests on, read for a person to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamacs import pipeline
from adamacs.analysis.certificate import demand, outdated
from adamacs.analysis.events import one_scan
from adamacs.core import settings as _settings
from adamacs.core import setups, streams
from adamacs.core.clocks import alignment
from adamacs.core.clocks.mapping import ClockModel
from adamacs.core.errors import UnknownSetup
from adamacs.core.promises import Promise

Floats = NDArray[np.float64]
Key = Mapping[str, Any]


@dataclass(frozen=True)
class Told:
    """What somebody promises of a stream, on scan time.

    Attributes
    ----------
    first, last
        s of scan time; None where no time is told, or its clock is not placed.
    gaps
        float64 (2, gap): s of scan time, the pulses before and after each gap.
    """

    promise: Promise
    first: float | None
    last: float | None
    gaps: Floats


@dataclass(frozen=True)
class Stream:
    """The verdict on a stream, and what it rests on."""

    name: str
    verdict: str
    is_compared: bool
    why: str
    told: tuple[Told, ...]


@dataclass(frozen=True)
class Clock:
    """How a clock is placed on scan time.

    Attributes
    ----------
    offset, drift
        s of scan time at its zero, and ppm.
    times, residuals
        float64 (pair,): s of scan time, and µs from the mapping; those of rejected pairs, too.
    is_rejected
        bool (pair,).
    alone
        float64 (instant,): s of scan time of instants of either clock without a partner.
    """

    name: str
    target: str
    model: str
    offset: float
    drift: float
    p95: float
    times: Floats
    residuals: Floats
    is_rejected: NDArray[np.bool_]
    alone: Floats


@dataclass(frozen=True)
class Certificate:
    """A certificate with everything that it rests on.

    Attributes
    ----------
    outdated
        What it does not know, in sentences.
    thresholds
        The settings sync.* that were applied.
    """

    scan_id: str
    setup_type: str
    verdict: str
    outdated: tuple[str, ...]
    thresholds: Mapping[str, float]
    streams: tuple[Stream, ...]
    clocks: tuple[Clock, ...]


def read_certificate(key: Key) -> Certificate:
    """Return the certificate of a scan with everything that it rests on; trains and pairs are read from their store.

    Raises
    ------
    NotCertified
        There is none.
    InvalidKey
        No scan, or more than one, has this key.
    """
    scan = one_scan(key)
    found = demand(scan)
    sight = _Sight(scan)
    rows = (pipeline.sync.Certificate.Stream & scan).to_dicts(order_by="stream")
    return Certificate(
        scan_id=scan["scan_id"],
        setup_type=sight.setup.name if sight.setup else "",
        verdict=found["verdict"],
        outdated=outdated(scan),
        thresholds=found["thresholds"],
        streams=tuple(map(sight.stream, rows)),
        clocks=tuple(map(sight.clock, sight.placed.values())),
    )


class _Sight:
    """What the tables hold of a scan, read once."""

    def __init__(self, scan: dict[str, Any]) -> None:
        self._scan = scan
        self.placed = {row["clock"]: row for row in (pipeline.sync.ClockSync & scan).to_dicts(order_by="clock")}
        self._models: dict[str, ClockModel | None] = {
            clock: ClockModel.from_json(row["clock_mapping"]) for clock, row in self.placed.items()
        }
        scan_time = (pipeline.clock.Clock & scan & {"is_scan_time": True}).to_arrays("clock")
        self._models |= dict.fromkeys(scan_time.tolist())
        self.setup = _setup_of(scan)
        self._gaps = dict(self._all_gaps())

    def _all_gaps(self) -> Iterator[tuple[tuple[str, str], Floats]]:
        """Yield by source and stream the gaps of the trains that tell of it, (2, gap), s of the source's clock."""
        if self.setup is None:
            return
        rows = (pipeline.event.BehaviorRecording.Source & self._scan).to_dicts()
        sources = [row["source"] for row in rows]
        for row in rows:
            trains = tuple(pipeline.sync.trains_of({**self._scan, "source": row["source"]}))
            gaps = {one.event_type: streams.gaps_of(streams.without_repairs(one.times, one.repairs)) for one in trains}
            seen = streams.Source(row["source"], row["clock"], trains)
            for kind, stream in seen.streams(self.setup, sources, {}):
                ends = [(gap.start, gap.stop) for gap in gaps[kind]]
                yield (row["source"], stream), np.array(ends, np.float64).reshape(-1, 2).T

    def stream(self, row: Key) -> Stream:
        told = tuple(self._told(Promise(**one)) for one in row["told"])
        return Stream(row["stream"], row["stream_verdict"], bool(row["is_compared"]), row["stream_why"], told)

    def _told(self, promise: Promise) -> Told:
        first, last = (self._on_scan_time(promise.clock, time) for time in (promise.first, promise.last))
        gaps = self._on_scan_time(promise.clock, self._gaps.get((promise.teller, promise.stream)))
        ends = [None if time is None else float(time) for time in (first, last)]
        return Told(promise, ends[0], ends[1], np.empty((2, 0)) if gaps is None else gaps)

    def _on_scan_time(self, clock: str, times: Any) -> Any:
        """Return times of a clock as scan time; None for none, and of a clock that is not placed."""
        if times is None or clock not in self._models:
            return None
        model = self._models[clock]
        return times if model is None else model.convert(times)

    def clock(self, row: Key) -> Clock:
        own, there, residuals = np.asarray(row["pairs"], np.float64)
        return Clock(
            name=row["clock"],
            target=row["target_clock"],
            model=row["clock_model"],
            offset=row["clock_offset"],
            drift=row["clock_drift"],
            p95=1e6 * row["residual_p95"],
            times=there,
            residuals=1e6 * residuals,
            is_rejected=np.abs(residuals) > row["residual_max"] + 1e-9,
            alone=self._alone(row, own, there),
        )

    def _alone(self, row: Key, own: Floats, there: Floats) -> Floats:
        """Return where on scan time instants without a partner lie, between the first pair and the last."""
        guide = self.setup.placed_by(row["source"]) if self.setup else ""
        if self.setup is None or guide != row["source"]:  # placed through another one, which shows them
            return np.empty(0)
        events, pulses = (
            pipeline.sync.events_of({**self._scan, "source": name}) for name in (guide, row["target_source"])
        )
        for _, ours, theirs in alignment.meetings(self.setup, events, pulses, guide):
            if len(ours) and len(theirs):
                unpaired = self._on_scan_time(row["clock"], ours[~np.isin(ours, own)]), theirs[~np.isin(theirs, there)]
                found = np.sort(np.concatenate(unpaired))
                return found[(found > there[0]) & (found < there[-1])]
        return np.empty(0)


def _setup_of(scan: dict[str, Any]) -> setups.SetupType | None:
    known = (pipeline.scan.ScanSetup & scan).to_arrays("setup_type").tolist()
    try:
        return setups.load_usable(_settings.active().home).find(known[0]) if known else None
    except UnknownSetup:
        return None
