"""Mappings from one clock of a rig to another: stored as numbers, invertible, fitted to pairs of times.

A mapping is what must be added to a time, as a function of that time: one number (offset), a straight line (linear) or
a line bent at knots (piecewise). All three are kept as knots on the source clock and the shift at each of them, so that
one formula converts, and the inverse of a mapping is a mapping of the same kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamacs.core.errors import InvalidParameters, UnusableClock

Kind = Literal["offset", "linear", "piecewise"]
Floats = NDArray[np.float64]

RESOLUTION = 1e-4  # s: two samples at 20 kHz. No pair is rejected for a residual up to this.
TOLERANCE = 1e-3  # s: how near a pair must come to count for the quality
WORTH = 25e-6  # s: half a sample at 20 kHz. A mapping that moves no time by this much is not worth its parameters.
SPACING = 60.0  # s between knots
LEAST_PAIRS = 8  # between two knots
_CUT = 5 * 1.4826  # median absolute deviations: five standard deviations of normal residuals
_MOST_SLOPES = 200  # pairs of which all slopes are taken: 40 000 slopes
_ROUNDS = 20  # of rejecting and fitting; a handful is usual
_STRONG = 10.0  # difference of the criterion that counts as very strong evidence
_FINEST = 1e-9  # s: steps and residuals below this are rounding
_KNOTS: dict[Kind, Callable[[int], bool]] = {
    "offset": lambda count: count == 1,
    "linear": lambda count: count == 2,
    "piecewise": lambda count: count >= 2,
}


@dataclass(frozen=True)
class ClockModel:
    """A mapping of times on the clock `source` to times on the clock `target`, strictly increasing.

    Outside the knots the first and the last piece go on as straight lines.

    Attributes
    ----------
    source, target
        Names of the clocks.
    kind
        `offset` has one knot, `linear` two, `piecewise` two or more.
    knots
        s on the source clock, increasing.
    shifts
        s: target time minus source time at each knot; straight lines between.
    seams
        Pieces, from 0, over which the target clock was not kept but set anew: no drift.

    Raises
    ------
    UnusableClock
        The knots do not fit the kind, or time on the target clock would stand still or run back.
    """

    source: str
    target: str
    kind: Kind
    knots: tuple[float, ...]
    shifts: tuple[float, ...]
    seams: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in _KNOTS:
            raise self._fail(f"{self.kind!r} is no kind of mapping", f"Known: {', '.join(get_args(Kind))}.")
        if len(self.knots) != len(self.shifts) or not _KNOTS[self.kind](len(self.knots)):
            raise self._fail(f"{len(self.knots)} knots and {len(self.shifts)} shifts make no {self.kind} mapping")
        if any(not 0 <= seam < len(self.knots) - 1 for seam in self.seams):
            raise self._fail(f"Of {len(self.knots) - 1} pieces, {list(self.seams)} cannot be seams")
        if not all(math.isfinite(value) for value in self.knots + self.shifts):
            raise self._fail("A knot or shift is not finite")
        knots, shifts, slopes = self._pieces
        with np.errstate(all="ignore"):  # numbers beyond any clock are refused by name
            forwards = np.all(np.diff(knots) > 0) and np.all(np.diff(knots + shifts) > 0)
        if not (forwards and np.all(np.isfinite(slopes)) and np.all(slopes > -1)):
            raise self._fail("Time would stand still or run back", "Were the right pulses paired?")

    def _fail(self, what: str, hint: str | None = None) -> UnusableClock:
        return UnusableClock(f"{what}.", f"clock {self.source} to {self.target}", hint)

    @cached_property
    def _pieces(self) -> tuple[Floats, Floats, Floats]:
        """Knots (s), shifts (s) and the slope of each piece."""
        knots, shifts = np.array(self.knots, float), np.array(self.shifts, float)
        if len(knots) == 1:
            return knots, shifts, np.zeros(1)
        with np.errstate(all="ignore"):  # knots that do not increase are refused by name
            return knots, shifts, np.diff(shifts) / np.diff(knots)

    @property
    def offset(self) -> float:
        """Target time (s) at the zero of the source clock."""
        return float(self.convert(0.0))

    @property
    def drift_ppm(self) -> float:
        """How much faster the target clock runs, from the first knot to the last but for seams (parts per million)."""
        if len(self.knots) == 1:
            return 0.0
        if self.seams:
            knots, shifts = (np.delete(np.diff(values), self.seams).sum() for values in self._pieces[:2])
            return float(shifts / knots * 1e6) if knots else 0.0
        return (self.shifts[-1] - self.shifts[0]) / (self.knots[-1] - self.knots[0]) * 1e6

    def convert(self, times: ArrayLike) -> Floats:
        """Return times of the source clock (s, any shape) as times of the target clock (s). NaN stays NaN."""
        values = np.asarray(times, float)
        knots, shifts, slopes = self._pieces
        piece = np.searchsorted(knots[1:-1], values, side="right")
        return np.asarray(values + (shifts[piece] + slopes[piece] * (values - knots[piece])))

    def invert(self, times: ArrayLike) -> Floats:
        """Return times of the target clock (s, any shape) as times of the source clock (s). NaN stays NaN.

        What `convert` made comes back to within a few units in the last place of the largest time or shift involved.
        """
        values = np.asarray(times, float)
        knots, shifts, slopes = self._pieces
        piece = np.searchsorted((knots + shifts)[1:-1], values, side="right")
        return np.asarray(knots[piece] + (values - knots[piece] - shifts[piece]) / (1 + slopes[piece]))

    @cached_property
    def inverse(self) -> ClockModel:
        """The mapping from the target clock to the source clock, its knots rounded to floats."""
        knots, shifts, _ = self._pieces
        return ClockModel(
            self.target, self.source, self.kind, tuple((knots + shifts).tolist()), tuple((-shifts).tolist()), self.seams
        )

    def to_json(self) -> dict[str, Any]:
        """Return names, kind, knots (s), shifts (s) and seams as JSON takes them; floats lose nothing."""
        names = {"source": self.source, "target": self.target, "kind": self.kind}
        seams = {"seams": list(self.seams)} if self.seams else {}
        return {**names, "knots": list(self.knots), "shifts": list(self.shifts), **seams}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ClockModel:
        """Return the mapping that `to_json` described.

        Raises
        ------
        UnusableClock
            A part is missing, or no number where one must be.
        """
        try:
            names = [stored[name] for name in ("source", "target", "kind")]
            numbers = [tuple(stored[name]) for name in ("knots", "shifts")]
        except (KeyError, TypeError) as error:
            raise UnusableClock(f"The stored mapping has no {error}.", hint="It is what to_json returned.") from error
        if not all(isinstance(name, str) for name in names):
            raise UnusableClock("A clock's name or kind is no text.", hint="It is what to_json returned.")
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in sum(numbers, ())):
            raise UnusableClock("A knot or shift is no number.", hint="It is what to_json returned.")
        seams = stored.get("seams", ())
        if not all(isinstance(value, int) and not isinstance(value, bool) for value in seams):
            raise UnusableClock("A seam is no number of a piece.", hint="It is what to_json returned.")
        knots, shifts = (tuple(float(value) for value in values) for values in numbers)
        return cls(names[0], names[1], names[2], knots, shifts, tuple(seams))


@dataclass(frozen=True)
class Residuals:
    """How far used pairs are from the mapping, on the target clock: of absolute values, s."""

    median: float
    rms: float
    p95: float
    max: float


@dataclass(frozen=True)
class ClockFit:
    """A mapping, and how well the pairs of times agree with it.

    Attributes
    ----------
    model
        The mapping.
    residuals
        Of the pairs that were used.
    used
        How many these are.
    rejected
        Indices of the others among all pairs.
    method
        How it was fitted, in words.
    quality
        Share of all pairs, rejected ones among them, that the mapping brings within the tolerance; 0 to 1.
    """

    model: ClockModel
    residuals: Residuals
    used: int
    rejected: tuple[int, ...]
    method: str
    quality: float


@dataclass(frozen=True)
class _Pairs:
    """Times of the same events on two clocks, and what is asked of their fit."""

    times: Floats  # s on the source clock, increasing
    shifts: Floats  # s: target minus source
    source: str
    target: str
    resolution: float
    tolerance: float

    def model(self, kind: Kind, knots: Floats, shifts: Floats) -> ClockModel:
        return ClockModel(self.source, self.target, kind, tuple(knots.tolist()), tuple(shifts.tolist()))

    def residuals(self, model: ClockModel) -> Floats:
        return self.shifts - (model.convert(self.times) - self.times)

    def near(self, residuals: Floats) -> NDArray[np.bool_]:
        """Tell which residuals are no outliers: within five robust standard deviations, or the resolution."""
        deviation = np.abs(residuals - np.median(residuals))
        return deviation <= max(self.resolution, _CUT * float(np.median(deviation)))


def fit_offset(
    source_times: ArrayLike,
    target_times: ArrayLike,
    *,
    source: str,
    target: str,
    resolution: float = RESOLUTION,
    tolerance: float = TOLERANCE,
) -> ClockFit:
    """Fit one offset: the median difference of all pairs, which half of them being wrong does not move far.

    Parameters
    ----------
    source_times, target_times
        (pair,): times (s) of the same events on both clocks, the former increasing.
    source, target
        Names of the clocks.
    resolution
        s: no pair is rejected for a residual up to this.
    tolerance
        s: what counts as near in the quality.

    Raises
    ------
    UnusableClock
        There is no pair, a time is not finite, or the source's times do not increase.
    """
    pairs = _checked(source_times, target_times, source, target, resolution, tolerance, least=1)
    model = pairs.model("offset", np.zeros(1), np.array([np.median(pairs.shifts)]))
    return _described(pairs, model, pairs.near(pairs.residuals(model)), "median of the differences")


def fit_linear(
    source_times: ArrayLike,
    target_times: ArrayLike,
    *,
    source: str,
    target: str,
    resolution: float = RESOLUTION,
    tolerance: float = TOLERANCE,
) -> ClockFit:
    """Fit offset and drift: least squares over the pairs that are no outliers.

    The first line is the repeated median of slopes (Siegel 1982, Biometrika 69:242), which stands up to half of the
    pairs being wrong; of many pairs, 200 spread over the recording. Pairs further from it than five robust standard
    deviations (the median absolute deviation times 1.4826; Hampel 1974, JASA 69:383) are rejected, the rest is fitted
    by least squares about the mean time, and so on until the same pairs stay (reweighted least squares; Rousseeuw and
    Leroy 1987, Robust Regression and Outlier Detection).

    Parameters and errors are those of `fit_offset`; it takes two pairs.
    """
    pairs = _checked(source_times, target_times, source, target, resolution, tolerance, least=2)
    line = _repeated_median(pairs)
    model, kept = _settled(pairs, pairs.shifts - line, lambda times, shifts: _least_squares(pairs, times, shifts))
    return _described(pairs, model, kept, "repeated median, then least squares without outliers")


def fit_piecewise(
    source_times: ArrayLike,
    target_times: ArrayLike,
    *,
    source: str,
    target: str,
    spacing: float = SPACING,
    least_pairs: int = LEAST_PAIRS,
    resolution: float = RESOLUTION,
    tolerance: float = TOLERANCE,
) -> ClockFit:
    """Fit a line bent at knots, for clocks whose drift changes: least squares over the pairs that are no outliers.

    Knots stand evenly, `spacing` apart or a little more; where fewer than `least_pairs` lie between two, both pieces
    become one. Outliers are first told by medians between the knots, after the straight line of `fit_linear` was taken
    away, then as there. The normal equations of a linear spline have three diagonals, so a day costs what an hour does.

    Parameters
    ----------
    source_times, target_times, source, target, resolution, tolerance
        As of `fit_offset`.
    spacing
        s between knots.
    least_pairs
        Between two knots, two or more.

    Raises
    ------
    UnusableClock
        There are fewer than two pairs, a time is not finite, the source's times do not increase, or the fit runs back.
    InvalidParameters
        The spacing is not positive, or there are less than two pairs to a piece.
    """
    if not spacing > 0 or least_pairs < 2:
        raise InvalidParameters("A spacing is positive, and a piece has two pairs or more.", {"spacing": spacing})
    pairs = _checked(source_times, target_times, source, target, resolution, tolerance, least=2)
    start = pairs.shifts - _repeated_median(pairs)
    edges = _edges(pairs.times, spacing, least_pairs)

    def fit(times: Floats, shifts: Floats) -> ClockModel:
        knots = _edges(times, spacing, least_pairs)
        return pairs.model("piecewise", knots, _spline(knots, times, shifts))

    model, kept = _settled(pairs, start - _medians(edges, pairs.times, start), fit)
    pieces = len(model.knots) - 1
    return _described(pairs, model, kept, f"linear spline of {pieces} pieces, least squares without outliers")


def fit_clock(
    source_times: ArrayLike,
    target_times: ArrayLike,
    *,
    source: str,
    target: str,
    worth: float = WORTH,
    spacing: float = SPACING,
    resolution: float = RESOLUTION,
    tolerance: float = TOLERANCE,
) -> ClockFit:
    """Fit the simplest kind of mapping that the pairs allow.

    From offset to linear, and from linear to piecewise, a richer kind is taken where it moves a time within the pairs
    by `worth` or more against the simpler one, and where the pairs pay for its parameters by the Bayesian information
    criterion (Schwarz 1978, Annals of Statistics 6:461), by a difference of 10 or more, which is very strong evidence
    (Kass and Raftery 1995, JASA 90:773). The offset is compared by the total drift: `worth=1e-3` is the
    lab's older rule, a median offset where the clocks part by less than 1 ms over the recording. At the default, half a
    sample at 20 kHz, a drift that would show is never dropped.

    Parameters and errors are those of `fit_piecewise`; one pair gives an offset.
    """
    options: dict[str, Any] = {"source": source, "target": target, "resolution": resolution, "tolerance": tolerance}
    pairs = _checked(source_times, target_times, source, target, resolution, tolerance, least=1)
    best = fit_offset(source_times, target_times, **options)
    if len(pairs.times) >= 2:
        best = _better(pairs, best, fit_linear(source_times, target_times, **options), worth)
    if best.model.kind == "linear" and len(pairs.times) >= 2 * LEAST_PAIRS:
        best = _better(pairs, best, fit_piecewise(source_times, target_times, spacing=spacing, **options), worth)
    return best


def _checked(
    source_times: ArrayLike,
    target_times: ArrayLike,
    source: str,
    target: str,
    resolution: float,
    tolerance: float,
    least: int,
) -> _Pairs:
    times, others = np.asarray(source_times, float), np.asarray(target_times, float)
    where = f"clock {source} to {target}"
    if times.ndim != 1 or times.shape != others.shape:
        raise UnusableClock(f"Pairs of times have the shapes {times.shape} and {others.shape}.", where)
    if len(times) < least:
        raise UnusableClock(f"{len(times)} pairs of times are too few: it takes {least}.", where)
    if not (np.isfinite(times).all() and np.isfinite(others).all()):
        raise UnusableClock("A time is not finite.", where, "Leave out pairs without a time.")
    if np.any(wrong := np.diff(times) < _FINEST):
        raise UnusableClock(f"The source's times do not increase after pair {int(np.argmax(wrong))}.", where)
    return _Pairs(times, others - times, source, target, resolution, tolerance)


def _settled(
    pairs: _Pairs, start: Floats, fit: Callable[[Floats, Floats], ClockModel]
) -> tuple[ClockModel, NDArray[np.bool_]]:
    """Reject and fit in turn until the same pairs stay, from the residuals of a first guess."""
    kept = pairs.near(start)
    for _ in range(_ROUNDS):
        model = fit(pairs.times[kept], pairs.shifts[kept])
        again = pairs.near(pairs.residuals(model))
        if np.array_equal(again, kept):
            break
        kept = again
    return model, kept


def _described(pairs: _Pairs, model: ClockModel, kept: NDArray[np.bool_], method: str) -> ClockFit:
    apart = np.abs(pairs.residuals(model))
    used = apart[kept]
    residuals = Residuals(
        float(np.median(used)), math.sqrt(np.mean(used**2)), float(np.percentile(used, 95)), float(used.max())
    )
    rejected = tuple(np.flatnonzero(~kept).tolist())
    return ClockFit(model, residuals, len(used), rejected, method, float(np.mean(apart <= pairs.tolerance)))


def _better(pairs: _Pairs, simple: ClockFit, rich: ClockFit, worth: float) -> ClockFit:
    kept = np.ones(len(pairs.times), bool)
    kept[list(rich.rejected)] = False
    times = pairs.times[kept]
    apart = rich.model.convert(times) - simple.model.convert(times)
    moved = np.ptp(apart) if simple.model.kind == "offset" else np.max(np.abs(apart))
    costs = [_cost(pairs.residuals(fit.model)[kept], len(fit.model.knots)) for fit in (simple, rich)]
    return rich if moved >= worth and costs[1] < costs[0] - _STRONG else simple


def _cost(residuals: Floats, parameters: int) -> float:
    """Return the Bayesian information criterion of normal residuals (s)."""
    count = len(residuals)
    return count * math.log(max(float(np.mean(residuals**2)), _FINEST**2)) + parameters * math.log(count)


def _repeated_median(pairs: _Pairs) -> Floats:
    """Return a robust line through the shifts, at every pair (s)."""
    chosen = np.unique(np.linspace(0, len(pairs.times) - 1, _MOST_SLOPES).astype(int))
    times, shifts = pairs.times[chosen], pairs.shifts[chosen]
    with np.errstate(invalid="ignore"):  # a pair has no slope to itself
        slopes = (shifts[:, None] - shifts) / (times[:, None] - times)
    others = slopes[~np.eye(len(chosen), dtype=bool)].reshape(len(chosen), -1)
    slope = np.median(np.median(others, axis=1))
    line = slope * (pairs.times - pairs.times.mean())
    return np.asarray(line + np.median(pairs.shifts - line))


def _least_squares(pairs: _Pairs, times: Floats, shifts: Floats) -> ClockModel:
    if len(times) < 2:
        where = f"clock {pairs.source} to {pairs.target}"
        raise UnusableClock("Fewer than two pairs agree on a line.", where, "Were the right pulses paired?")
    centred = times - times.mean()
    slope = (centred @ (shifts - shifts.mean())) / (centred @ centred)
    ends = times[[0, -1]]
    return pairs.model("linear", ends, shifts.mean() + slope * (ends - times.mean()))


def _edges(times: Floats, spacing: float, least_pairs: int) -> Floats:
    """Return knots (s), evenly spaced but where too few pairs lie between two."""
    if len(times) < 2:
        raise UnusableClock("Fewer than two pairs agree on a line.", hint="Were the right pulses paired?")
    pieces = int(min(max(1.0, (times[-1] - times[0]) // spacing), max(1, len(times) // least_pairs)))
    even = np.linspace(times[0], times[-1], pieces + 1)
    knots, count = [even[0]], 0
    for more, edge in zip(np.histogram(times, even)[0], even[1:]):
        count += int(more)
        if count >= least_pairs:
            knots.append(edge)
            count = 0
    if count:  # the last piece is too poor to stand alone
        knots = [*knots[: max(1, len(knots) - 1)], even[-1]]
    return np.array(knots)


def _spline(knots: Floats, times: Floats, shifts: Floats) -> Floats:
    """Return the shift at each knot of the linear spline with the least squares (s)."""
    from scipy.linalg import solveh_banded  # spares a second where nobody fits

    piece = np.clip(np.searchsorted(knots, times, side="right") - 1, 0, len(knots) - 2)
    right = (times - knots[piece]) / np.diff(knots)[piece]
    left, level = 1 - right, shifts.mean()

    def summed(at_left: Floats, at_right: Floats) -> Floats:
        lower, upper = (np.bincount(piece, weight, len(knots) - 1) for weight in (at_left, at_right))
        return np.append(lower, 0.0) + np.append(0.0, upper)

    beside = np.append(np.bincount(piece, left * right, len(knots) - 1), 0.0)
    normal = np.stack([summed(left**2, right**2), beside])
    centred = shifts - level
    return np.asarray(solveh_banded(normal, summed(left * centred, right * centred), lower=True) + level)


def _medians(edges: Floats, times: Floats, values: Floats) -> Floats:
    """Return the medians of values between the edges, joined by straight lines, at every time."""
    bounds = np.searchsorted(times, edges[1:-1])
    centres = [part.mean() for part in np.split(times, bounds)]
    return np.interp(times, centres, [np.median(part) for part in np.split(values, bounds)])
