"""One page about the sync certificate of a scan: who told how many, when streams begin and end, how clocks go together.

A verdict is said in words and in colour. Whatever is drawn against time shares one axis, scan time, from top to bottom.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from adamacs.analysis.sync_page import Certificate, Clock, Floats, Stream, Told
from adamacs.core.errors import InvalidRequest, visible
from adamacs.core.promises import FILE, HEADER, PULSES

T = TypeVar("T", float, Floats)

FORMATS: Final = (".png", ".pdf", ".svg")
COLOURS: Final[Mapping[str, str]] = {"pass": "#2e7d4f", "warn": "#b86e00", "fail": "#b3261e"}
_OF: Final[Mapping[str, str]] = {HEADER: "#66717e", PULSES: "#2369b0", FILE: "#7a4fa3"}
_INK, _FAINT, _FRAME, _BAND = "#1d2733", "#66717e", "#dfe3e8", "#f6f8fa"

# in; the height of the page follows from what there is to tell
_WIDTH, _LEFT, _RIGHT = 11.7, 0.45, 11.25
_NAME, _COUNT = 1.25, 4.6
_FIRST, _TIME, _LAST = (4.9, 5.6), (6.1, 9.85), (10.1, 10.8)  # columns, from where to where
_HEAD, _LINE, _PAD, _PANEL, _BETWEEN, _FOOT = 1.5, 0.19, 0.09, 0.95, 0.2, 0.75
_AROUND = 3.0  # periods that are shown around the first and the last
_LETTERS = 62  # of a line beside the columns
_DOTS, _BINS = 2000, 300  # of a clock: pairs that are drawn; parts of the time in which the furthest are shown


def save(certificate: Certificate, path: Path) -> None:
    """Draw a certificate to a file.

    Raises
    ------
    InvalidRequest
        The file's name ends with none of .png, .pdf and .svg.
    """
    if path.suffix.lower() not in FORMATS:
        raise InvalidRequest(f"A picture is none of {path.name!r}.", hint=f"Name it {' or '.join(FORMATS)}.")
    draw(certificate).savefig(path, dpi=150)


def draw(certificate: Certificate) -> Figure:
    """Return the page of a certificate."""
    rows = [_Row(stream) for stream in certificate.streams]
    panels = len(certificate.clocks) * (_PANEL + _BETWEEN) + (0.35 if certificate.clocks else 0)
    height = _HEAD + sum(row.height for row in rows) + panels + _FOOT
    page = _Page(Figure(figsize=(_WIDTH, height), facecolor="white"), height, _span(certificate))
    page.title(certificate)
    top = height - _HEAD
    for number, row in enumerate(rows):
        page.stream(row, top, is_shaded=number % 2 == 0)
        top -= row.height
    top = page.clocks(certificate, top)
    page.time_axis(top)
    return page.figure


def _span(certificate: Certificate) -> tuple[float, float]:
    """Return from when to when on scan time (s) anything is told."""
    ends = [time for stream in certificate.streams for told in stream.told for time in (told.first, told.last)]
    times = [time for time in ends if time is not None]
    times += [float(time) for clock in certificate.clocks for time in clock.times[[0, -1]]]
    low, high = min([*times, 0.0]), max([*times, 1.0])
    return low - 0.01 * (high - low), high + 0.01 * (high - low)


def _envelope(times: Floats, residuals: Floats) -> tuple[Floats, Floats, Floats]:
    """Return times (s), and the lowest and the highest residual (µs) around each, so that thinning hides none."""
    parts = np.array_split(np.arange(len(times)), min(_BINS, len(times)))
    columns = [(times[part].mean(), residuals[part].min(), residuals[part].max()) for part in parts]
    middle, low, high = np.array(columns).T
    return middle, low, high


@dataclass(frozen=True)
class _Row:
    """A stream on the page."""

    stream: Stream

    @property
    def why(self) -> list[str]:
        """The sentences about it, in lines; where nothing is wrong, the lines of the tellers say it all."""
        if self.stream.verdict != "pass":
            return textwrap.wrap(self.stream.why, _LETTERS)
        return [] if self.stream.is_compared else ["Nothing else tells of it."]

    @property
    def height(self) -> float:
        """in."""
        return _LINE * (1 + len(self.stream.told) + len(self.why)) + 2 * _PAD

    @property
    def period(self) -> float | None:
        """s between two of it, by the slowest rate that is told."""
        rates = [told.promise.rate for told in self.stream.told if told.promise.rate]
        return 1 / min(rates) if rates else None

    @property
    def reference(self) -> Told | None:
        """What the ends of the others are compared with: the pulses, else whatever has a time."""
        timed = [told for told in self.stream.told if told.first is not None]
        return next((told for told in timed if told.promise.told_by == PULSES), timed[0] if timed else None)


class _Page:
    """The figure, with one Axes over all of it in inches."""

    def __init__(self, figure: Figure, height: float, span: tuple[float, float]) -> None:
        self.figure, self._height, self._span = figure, height, span
        self._axes = figure.add_axes((0, 0, 1, 1))
        self._axes.set(xlim=(0, _WIDTH), ylim=(0, height))
        self._axes.axis("off")

    def _write(self, x: float, y: float, text: str, size: float = 8.5, colour: str = _INK, **more: object) -> None:
        self._axes.text(x, y, visible(text), fontsize=size, color=colour, **{"va": "center", **more})  # type: ignore[arg-type]

    def _badge(self, x: float, y: float, verdict: str, size: float = 7.5, width: float = 0.52) -> None:
        shape = f"round,pad=0,rounding_size={0.02 * size / 7.5}"
        tall = 0.022 * size
        box = FancyBboxPatch((x, y - tall / 2), width, tall, boxstyle=shape, color=COLOURS[verdict], lw=0)
        self._axes.add_patch(box)
        self._write(x + width / 2, y - 0.005, verdict.upper(), size, "white", ha="center", weight="bold")

    def _x(self, time: T) -> T:
        """Return where times stand in the column of scan time, in."""
        low, high = self._span
        return _TIME[0] + (time - low) / (high - low) * (_TIME[1] - _TIME[0])

    # ---- title

    def title(self, certificate: Certificate) -> None:
        """Write what the page is about, the verdict, and the heads of the columns."""
        top = self._height - 0.48
        self._write(_LEFT, top, f"Sync certificate of {certificate.scan_id}", 16, weight="bold")
        self._badge(_RIGHT - 1.1, top, certificate.verdict, 15, 1.1)
        self._write(_LEFT, top - 0.33, self._summary(certificate), 9, _FAINT)
        if certificate.outdated:
            said = f"Outdated: {' '.join(certificate.outdated)}"
            self._write(_LEFT, top - 0.55, said, 9, COLOURS["fail"], weight="bold")
        heads = self._height - _HEAD + 0.17
        for x, text, side in (
            (_LEFT, "stream", "left"),
            (_COUNT, "told", "right"),
            (sum(_FIRST) / 2, "first (periods)", "center"),
            (sum(_TIME) / 2, "from first to last, on scan time", "center"),
            (sum(_LAST) / 2, "last (periods)", "center"),
        ):
            self._write(x, heads, text, 8, _FAINT, ha=side)
        self._axes.plot((_LEFT, _RIGHT), (heads - 0.14,) * 2, color=_INK, lw=0.8)

    @staticmethod
    def _summary(certificate: Certificate) -> str:
        streams = certificate.streams
        counts = {name: sum(one.verdict == name for one in streams) for name in COLOURS}
        told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        alone = sum(not one.is_compared for one in streams)
        parts = [certificate.setup_type, f"{len(streams)} streams: {told}"]
        parts += [f"{alone} told by one alone"] if alone else []
        return "   ·   ".join(filter(None, parts))

    # ---- streams

    def stream(self, row: _Row, top: float, *, is_shaded: bool) -> None:
        """Draw a stream: its verdict, and a line for each who tells of it."""
        if is_shaded:
            self._axes.axhspan(top - row.height, top, _LEFT / _WIDTH, _RIGHT / _WIDTH, color=_BAND, lw=0, zorder=0)
        y = top - _PAD - _LINE / 2
        self._badge(_LEFT + 0.03, y, row.stream.verdict)
        self._write(_LEFT + 0.65, y, row.stream.name, 9.5, weight="bold")
        most = max((one.promise.count or 0 for one in row.stream.told if one.promise.told_by != HEADER), default=0)
        for told in row.stream.told:
            y -= _LINE
            self._told(told, y, most)
            self._bar(told, y)
            self._ends(row, told, y)
        for line in row.why:
            y -= _LINE
            colour = _FAINT if row.stream.verdict == "pass" else COLOURS[row.stream.verdict]
            self._write(_LEFT + 0.65, y, line, 8, colour)

    def _told(self, told: Told, y: float, most: int) -> None:
        promise = told.promise
        self._write(_LEFT + 0.65, y, promise.said.removeprefix("the "), 8.5, _OF[promise.told_by])
        count = "open" if promise.count is None else f"{promise.count:,}"
        count += f" + {promise.missing:,} missing" if promise.missing else ""
        is_off = promise.told_by != HEADER and promise.count != most
        self._write(_COUNT, y, count, 8.5, COLOURS["fail"] if is_off else _INK, ha="right")

    def _bar(self, told: Told, y: float) -> None:
        """Draw from when to when it lasted, and where it has gaps."""
        if told.first is None or told.last is None:
            return
        colour = _OF[told.promise.told_by]
        ends = self._x(told.first), self._x(told.last)
        self._axes.plot(ends, (y, y), color=colour, lw=3, solid_capstyle="butt", alpha=0.75)
        self._axes.plot(ends, (y, y), color=colour, ls="", marker="|", ms=8)
        gaps = self._x(told.gaps)
        self._axes.hlines([y] * gaps.shape[1], *gaps, color="white", lw=3)
        middles = gaps.mean(axis=0)
        self._axes.plot(middles, [y] * len(middles), color=COLOURS["fail"], ls="", marker="x", ms=4.5, mew=1.3)

    def _ends(self, row: _Row, told: Told, y: float) -> None:
        """Draw how far the first and the last are from those of the pulses, in periods."""
        if row.reference is None or row.period is None or told.first is None:
            return
        for (left, right), name in ((_FIRST, "first"), (_LAST, "last")):
            middle, reach = (left + right) / 2, (right - left) / 2
            self._axes.plot((left, right), (y, y), color=_FRAME, lw=0.8, zorder=1)
            for tick in np.arange(-_AROUND, _AROUND + 1):
                self._axes.plot((middle + tick / _AROUND * reach,) * 2, (y - 0.02, y + 0.02), color=_FRAME, lw=0.8)
            apart = (getattr(told, name) - getattr(row.reference, name)) / row.period
            beyond = abs(apart) > _AROUND
            at = middle + float(np.clip(apart, -_AROUND, _AROUND)) / _AROUND * reach
            marker = ("<" if apart < 0 else ">") if beyond else "o"
            self._axes.plot(at, y, color=_OF[told.promise.told_by], marker=marker, ms=5, zorder=3)
            if abs(apart) >= 0.05:
                self._write(right + 0.03, y, f"{apart:+.1f}", 7, _FAINT)

    # ---- clocks

    def clocks(self, certificate: Certificate, top: float) -> float:
        """Draw how far the pairs of each clock lie from its mapping; return where the last panel ends."""
        if not certificate.clocks:
            return top
        top -= 0.35
        self._write(_LEFT, top + 0.12, "clocks", 8, _FAINT)
        self._write(sum(_TIME) / 2, top + 0.12, "residuals of pairs, µs", 8, _FAINT, ha="center")
        self._axes.plot((_LEFT, _RIGHT), (top,) * 2, color=_INK, lw=0.8)
        for clock in certificate.clocks:
            top -= _BETWEEN + _PANEL
            self._about(clock, top + _PANEL - 0.1)
            self._panel(clock, top, certificate.thresholds["residual_warn"])
        return top

    def _about(self, clock: Clock, y: float) -> None:
        rejected, alone = int(clock.is_rejected.sum()), len(clock.alone)
        self._write(_LEFT + 0.65, y, f"{clock.name} on {clock.target}", 9.5, weight="bold")
        for line in (
            f"offset {clock.offset:+,.6f} s, drift {clock.drift:+.2f} ppm ({clock.model})",
            f"95 % of the pairs within {clock.p95:,.0f} µs",
            f"{len(clock.times) - rejected:,} pairs used, {rejected:,} fit nowhere, {alone:,} instants alone",
        ):
            y -= _LINE
            self._write(_LEFT + 0.65, y, line, 8.5)

    def _panel(self, clock: Clock, bottom: float, limit: float) -> None:
        """Draw residuals over time; what is beyond the panel stands at its edge."""
        used = ~clock.is_rejected
        reach = 1.25 * max(float(np.abs(clock.residuals[used]).max(initial=0.0)), 10.0)
        axes = self._panel_axes(bottom, reach)
        step = max(1, int(used.sum()) // _DOTS)
        axes.axhline(0, color=_FRAME, lw=0.8, zorder=0)
        if step > 1:
            axes.fill_between(*_envelope(clock.times[used], clock.residuals[used]), color="#cfdff0", lw=0, step="mid")
        axes.plot(clock.times[used][::step], clock.residuals[used][::step], ".", color=_OF[PULSES], ms=2.5, alpha=0.7)
        for sign in (-1, 1):
            axes.axhline(sign * clock.p95, color=_OF[PULSES], lw=0.7, ls=(0, (1, 2)))
            axes.axhline(sign * limit, color=COLOURS["warn"], lw=0.8, ls=(0, (4, 3)))
        edge = np.clip(clock.residuals[~used], -0.93 * reach, 0.93 * reach)
        axes.plot(clock.times[~used], edge, "x", color=COLOURS["fail"], ms=5, mew=1.3)
        axes.plot(clock.alone, np.full(len(clock.alone), -0.86 * reach), "^", color=COLOURS["warn"], ms=4.5)

    def _panel_axes(self, bottom: float, reach: float) -> Axes:
        left, right = _TIME
        axes = self.figure.add_axes(
            (left / _WIDTH, bottom / self._height, (right - left) / _WIDTH, _PANEL / self._height)
        )
        axes.set(xlim=self._span, ylim=(-reach, reach))
        axes.tick_params(labelsize=7, length=2, color=_FAINT, labelcolor=_FAINT, labelbottom=False)
        for name, spine in axes.spines.items():
            spine.set_visible(name == "left")
            spine.set_color(_FRAME)
        return axes

    def time_axis(self, top: float) -> None:
        """Draw the axis that bars and panels share, and what the marks mean."""
        left, right = _TIME
        axes = self.figure.add_axes((left / _WIDTH, (top - 0.06) / self._height, (right - left) / _WIDTH, 0.001))
        axes.set(xlim=self._span, yticks=[])
        axes.set_xlabel("scan time, s", fontsize=8, color=_INK, labelpad=1)
        axes.tick_params(labelsize=7.5, length=3, labelcolor=_INK)
        for name in ("left", "right", "top"):
            axes.spines[name].set_visible(False)
        marks = "red ×: missing, or a pair that is rejected     amber ▲: an instant without partner"
        self._write(_LEFT, 0.42, marks, 7.5, _FAINT)
        lines = "dotted: 95 % of the pairs     dashed: where a warning begins"
        self._write(_LEFT, 0.25, lines, 7.5, _FAINT)
