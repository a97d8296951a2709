"""A two-photon recording of which everything is known: cells, spikes, calcium, motion, neuropil and photons.

The tissue is a sum of still and flickering images; the animal moves it under the beam, the optics dim its
corners, the detector counts photons and adds its own noise. Everything is drawn from one seed, and nothing from
the clock, the machine or the number of threads.

Conventions
-----------
Coordinates are (y, x) pixels of a frame that is not displaced. `shifts` say how far the tissue moved: what stands
at (y, x) in the resting tissue is seen at (y + dy, x + dx). Frame k of a plane covers the times from k to k + 1
frame periods since the scan began; a spike counts in the frame that covers its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from adamacs.core.errors import InvalidParameters, UnreadableFile

Floats = NDArray[np.float32]
Movie = NDArray[np.int16]  # (volume, slice, channel, y, x), counts

MARGIN = 12  # px of tissue rendered beyond every edge, so that motion brings tissue into view, not blanks
BLOCK = 100  # volumes drawn from one stream of random numbers, whatever the number of threads
_FINE = 8  # calcium steps per frame


@dataclass(frozen=True)
class Design:
    """What a synthetic scan is to look like.

    Attributes
    ----------
    height, width
        Of a frame, px.
    frames, frame_rate
        Of every plane; Hz.
    planes, flyback
        Depths of a volume, and frames lost while the objective flies back (no tissue in focus).
    cells, radius
        Somata in every plane, and their mean radius in px.
    structural
        Add a second channel: a red label without activity, in some of the cells.
    silent
        How many of the cells in every plane never fire.
    event_rate, burst, least_spikes
        Mean rate (Hz) of a cell's bursts, the mean number of spikes in one, and how many spikes every cell that
        fires has at least.
    rise, decay, amplitude
        Time constants (s) of the indicator, and the dF/F that one spike adds.
    saturation
        dF/F at which the indicator is half saturated; None for a linear one.
    sway, jump, jump_rate, warp
        Slow motion (px, standard deviation), its largest jumps (px), their rate (Hz), and the most that tissue may
        move while one frame is drawn (px).
    background, resting
        Photons per pixel and frame: of the neuropil, and of a resting soma above it.
    gain, offset, read_noise
        Counts per photon, of darkness, and the standard deviation of the electronics.
    """

    height: int = 160
    width: int = 160
    frames: int = 1200
    frame_rate: float = 20.0
    planes: int = 1
    flyback: int = 0
    cells: int = 30
    radius: float = 5.5
    silent: int = 0
    structural: bool = False
    event_rate: float = 0.3
    burst: float = 1.6
    least_spikes: int = 0
    rise: float = 0.03
    decay: float = 0.5
    amplitude: float = 0.4
    saturation: float | None = None
    sway: float = 2.0
    jump: float = 6.0
    jump_rate: float = 0.1
    warp: float = 0.6
    background: float = 14.0
    resting: float = 18.0
    gain: float = 20.0
    offset: float = 40.0
    read_noise: float = 15.0

    @property
    def slices(self) -> int:
        """Frames of one volume, those of the flyback included."""
        return self.planes + self.flyback

    @property
    def channels(self) -> int:
        """Recorded channels: the indicator, and the structural label where there is one."""
        return 2 if self.structural else 1


@dataclass(frozen=True)
class Truth:
    """Everything an analysis of a synthetic scan should find.

    Attributes
    ----------
    frame_rate
        Hz, of every plane.
    shape
        (y, x) px of a frame.
    plane
        int64, (cell,): the plane that holds the cell.
    centre
        float32, (cell, 2): y and x of its middle, px.
    mask_start, ypix, xpix, weight
        The pixels of all cells behind each other; those of cell i are `mask_start[i]:mask_start[i + 1]`.
    spikes
        uint8, (cell, frame): spikes in each frame of the cell's plane.
    calcium
        float32, (cell, frame): dF/F without noise, sampled when the beam passes the cell.
    shifts
        float32, (plane, frame, 2): mean displacement (dy, dx) of the tissue, px.
    """

    frame_rate: float
    shape: tuple[int, int]
    plane: NDArray[np.int64]
    centre: Floats
    mask_start: NDArray[np.int64]
    ypix: NDArray[np.int16]
    xpix: NDArray[np.int16]
    weight: Floats
    spikes: NDArray[np.uint8]
    calcium: Floats
    shifts: Floats

    def mask(self, cell: int) -> tuple[NDArray[np.int16], NDArray[np.int16], Floats]:
        """Return the rows, columns and weights of one cell's pixels."""
        pixels = slice(int(self.mask_start[cell]), int(self.mask_start[cell + 1]))
        return self.ypix[pixels], self.xpix[pixels], self.weight[pixels]

    def save(self, path: Path) -> None:
        """Write the truth as plain arrays, which numpy loads without pickle."""
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Truth:
        """Read a truth back.

        Raises
        ------
        UnreadableFile
            The file is missing, damaged, or no truth.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                values = {f.name: arrays[f.name] for f in fields(cls)}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, TypeError) as error:
            raise UnreadableFile("This holds no truth of a synthetic scan.", path, "Write the lab again.") from error
        height, width = values["shape"].tolist()
        return cls(**{**values, "frame_rate": float(values["frame_rate"]), "shape": (height, width)})


@dataclass(frozen=True)
class Tissue:
    """One plane at rest, `MARGIN` px larger on every side than its frames: a still image and what flickers on it.

    Attributes
    ----------
    still
        float32, (y, x): photons per pixel and frame, of one channel.
    patches
        Per cell the corner (y, x) and the image (photons at dF/F = 1) that its calcium scales.
    clouds, cloud_traces
        float32, (cloud, y, x) and (frame, cloud): slow neuropil, photons.
    """

    still: Floats
    patches: tuple[tuple[int, int, Floats], ...] = ()
    clouds: Floats | None = None
    cloud_traces: Floats | None = None


class Recording:
    """A synthetic scan, drawn from a seed: its truth, and its frames on demand.

    Parameters
    ----------
    design
        What the scan looks like.
    seed
        Whole numbers; the same seed gives the same frames, byte by byte.

    Raises
    ------
    InvalidParameters
        The cells do not fit into the field.
    """

    def __init__(self, design: Design, *seed: int) -> None:
        self.design = design
        self._seed = seed
        random = self._stream(0)
        path = motion(design, random)
        self._moves = [path[k :: design.slices][: design.frames + 1] for k in range(design.slices)]
        cells = [_cells(design, random) for _ in range(design.planes)]
        self._tissues = [self._draw_tissues(plane, drawn, random) for plane, drawn in enumerate(cells)]
        if design.flyback:
            blurred = sum(smooth(tissues[0].still, 4.0) for tissues in self._tissues) / design.planes
            lost = (Tissue(np.asarray(blurred, np.float32)),) * design.channels
            self._tissues += [lost] * design.flyback
        self._vignette = vignette(design.height, design.width)
        self.truth = self._collect(cells)

    def blocks(self, threads: int = 2) -> Iterator[Movie]:
        """Draw the frames, `BLOCK` volumes at a time, in the order of their recording."""
        starts = range(0, self.design.frames, BLOCK)
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(self._block, starts)

    def _stream(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))

    def _draw_tissues(self, plane: int, cells: list[Cell], random: np.random.Generator) -> tuple[Tissue, ...]:
        """Return the tissue that each channel sees in one plane, and give every cell its calcium."""
        design = self.design
        texture = _texture(design, random)
        clouds = _clouds(design, random) * (design.background * texture)
        still = design.background * texture
        patches = []
        for number, cell in enumerate(cells):
            if number >= design.silent:
                cell.fire(design, plane / design.slices, random)
            bright = design.resting * cell.image
            place = (slice(cell.top, cell.top + bright.shape[0]), slice(cell.left, cell.left + bright.shape[1]))
            still[place] += bright
            patches.append((cell.top, cell.left, bright))
        indicator = Tissue(still, tuple(patches), clouds, _wander(design, len(clouds), random))
        if not design.structural:
            return (indicator,)
        red = 0.4 * design.background * texture
        for cell in cells:
            if cell.labelled:
                image = 1.5 * design.resting * cell.image
                red[cell.top : cell.top + image.shape[0], cell.left : cell.left + image.shape[1]] += image
        return indicator, Tissue(red)

    def _collect(self, cells: list[list[Cell]]) -> Truth:
        every = [cell for plane in cells for cell in plane]
        pixels = [cell.pixels(self.design) for cell in every]
        sizes = [len(rows) for rows, _, _ in pixels]
        self._calcium = [np.array([cell.calcium for cell in plane], np.float32) for plane in cells]
        shifts = [frame_shifts(moves, self.design.warp) for moves in self._moves[: self.design.planes]]
        return Truth(
            frame_rate=self.design.frame_rate,
            shape=(self.design.height, self.design.width),
            plane=np.repeat(np.arange(len(cells)), [len(plane) for plane in cells]),
            centre=np.array([cell.centre for cell in every], np.float32),
            mask_start=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            ypix=np.concatenate([rows for rows, _, _ in pixels]).astype(np.int16),
            xpix=np.concatenate([columns for _, columns, _ in pixels]).astype(np.int16),
            weight=np.concatenate([weight for _, _, weight in pixels]).astype(np.float32),
            spikes=np.array([cell.spikes for cell in every], np.uint8),
            calcium=np.concatenate(self._calcium),
            shifts=np.array(shifts, np.float32),
        )

    def _block(self, start: int) -> Movie:
        design = self.design
        stop = min(start + BLOCK, design.frames)
        out = np.empty((stop - start, design.slices, design.channels, design.height, design.width), np.int16)
        for depth, tissues in enumerate(self._tissues):
            for channel, tissue in enumerate(tissues):
                bright = self._scene(tissue, depth, start, stop)
                seen = displace(bright, self._moves[depth][start : stop + 1], design) * self._vignette
                out[:, depth, channel] = detect(seen, design, self._stream(1, depth, channel, start))
        return out

    def _scene(self, tissue: Tissue, depth: int, start: int, stop: int) -> Floats:
        """Return the tissue's photons per frame before anything moved: float32, (frame, y, x)."""
        scene = np.repeat(tissue.still[None], stop - start, axis=0)
        if tissue.clouds is not None and tissue.cloud_traces is not None:
            # einsum without BLAS: sums in one order on every machine
            scene += np.einsum("tk,kyx->tyx", tissue.cloud_traces[start:stop], tissue.clouds)
        for cell, (top, left, image) in enumerate(tissue.patches):
            trace = self._calcium[depth][cell, start:stop]
            scene[:, top : top + image.shape[0], left : left + image.shape[1]] += trace[:, None, None] * image
        return scene


class Cell:
    """One soma: where it lies, how it looks, and what it did."""

    def __init__(self, centre: tuple[float, float], design: Design, random: np.random.Generator) -> None:
        self.centre = centre
        self.labelled = bool(random.random() < 0.4)
        reach = int(np.ceil(1.8 * design.radius))
        self.top, self.left = (round(position) + MARGIN - reach for position in centre)
        y = np.arange(2 * reach + 1)[:, None] + self.top - MARGIN - centre[0]
        x = np.arange(2 * reach + 1)[None, :] + self.left - MARGIN - centre[1]
        self.image = soma(y, x, design.radius, random)
        self.spikes = np.zeros(design.frames, np.uint8)
        self.calcium = np.zeros(design.frames, np.float32)

    def fire(self, design: Design, phase: float, random: np.random.Generator) -> None:
        """Draw spikes in bursts and the calcium they leave, seen `phase` of a volume (plus its row) into each."""
        times = spike_times(design, random)
        frame = np.floor(times * design.frame_rate).astype(int)
        self.spikes = np.bincount(frame, minlength=design.frames)[: design.frames].astype(np.uint8)
        passing = phase + self.centre[0] / design.height / design.slices
        self.calcium = calcium(times, design, passing)

    def pixels(self, design: Design) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """Return rows, columns and weights of the pixels that belong to the cell (a fifth of its brightest)."""
        rows, columns = np.nonzero(self.image > 0.2)
        y, x = rows + self.top - MARGIN, columns + self.left - MARGIN
        inside = (y >= 0) & (y < design.height) & (x >= 0) & (x < design.width)
        return y[inside], x[inside], self.image[rows, columns][inside]


def soma(y: NDArray[np.floating], x: NDArray[np.floating], radius: float, random: np.random.Generator) -> Floats:
    """Draw one cell body: an irregular outline, a soft edge, a nucleus that the indicator leaves dim."""
    angle, distance = np.arctan2(y, x), np.hypot(y, x)
    size = radius * random.uniform(0.88, 1.12)
    wobble = np.zeros_like(angle)
    for order in (2, 3, 4):
        wobble += random.normal(0, 0.16 / order) * np.cos(order * angle + random.uniform(0, 2 * np.pi))
    outline = size * (1 + np.clip(wobble, -0.25, 0.25))
    body = 1 / (1 + np.exp((distance - outline) / 0.9))  # as sharp as the focus of a microscope
    nucleus = random.uniform(0.2, 0.5) * np.exp(-((distance / (0.55 * size)) ** 2))
    image = np.where(distance < 1.7 * radius, body * (1 - nucleus), 0)
    return (image / image.max()).astype(np.float32)


def spike_times(design: Design, random: np.random.Generator) -> NDArray[np.float64]:
    """Draw the spikes of one cell: bursts at random, at a rate that differs from cell to cell; s, sorted."""
    duration = design.frames / design.frame_rate
    rate = design.event_rate * random.lognormal(-0.06, 0.35)
    starts = random.uniform(0, duration, max(random.poisson(rate * duration), design.least_spikes))
    sizes = random.geometric(1 / design.burst, len(starts))
    gaps = random.gamma(4.0, 0.01, (len(starts), int(sizes.max(initial=1))))
    gaps[:, 0] = 0
    times = starts[:, None] + np.cumsum(gaps, axis=1)
    kept = times[np.arange(times.shape[1]) < sizes[:, None]]
    return np.sort(np.minimum(kept, np.nextafter(duration, 0)))


def calcium(times: NDArray[np.float64], design: Design, passing: float) -> Floats:
    """Return the dF/F that spikes leave, sampled once per frame, `passing` frame periods after its start."""
    step = 1 / (design.frame_rate * _FINE)
    train = np.zeros((design.frames + 1) * _FINE)
    np.add.at(train, np.floor(times / step).astype(int), design.amplitude)
    age = np.arange(0, 8 * design.decay, step)
    kernel = np.exp(-age / design.decay) - np.exp(-age / design.rise)
    trace = np.convolve(train, kernel / kernel.max())[: len(train)]
    if design.saturation is not None:
        trace = trace / (1 + trace / design.saturation)
    at = np.arange(design.frames) * _FINE + round(passing * _FINE)
    return trace[at].astype(np.float32)


def motion(design: Design, random: np.random.Generator) -> Floats:
    """Draw how the tissue moves: a slow random walk, and jumps that fade; float32, (moment, 2) px.

    There is one moment at the start of every frame of every volume, and a volume's worth of them at the end.
    """
    count = (design.frames + 1) * design.slices
    step = 1 / (design.frame_rate * design.slices)
    walk = _relax(random.normal(0, design.sway, (count, 2)), 2.5, step)
    jumps = np.zeros((count, 2))
    for moment in np.flatnonzero(random.random(count) < design.jump_rate * step):
        angle, size = random.uniform(0, 2 * np.pi), random.uniform(0.4, 1.0) * design.jump
        jumps[moment:] += np.outer(np.exp(-np.arange(count - moment) * step / 0.5), size * _direction(angle))
    reach = MARGIN - 3.0
    return np.clip(walk + jumps, -reach, reach).astype(np.float32)


def _direction(angle: float) -> NDArray[np.float64]:
    return np.array([np.sin(angle), np.cos(angle)])


def frame_shifts(moves: Floats, warp: float) -> Floats:
    """Return the mean displacement of each frame whose start and end positions are given; (frame, 2) px."""
    return (moves[:-1] + np.clip(np.diff(moves, axis=0), -warp, warp) / 2).astype(np.float32)


def displace(scene: Floats, moves: Floats, design: Design) -> Floats:
    """Look at moving tissue through the frame: every row is drawn a little later, so a little further displaced.

    Parameters
    ----------
    scene
        float32, (frame, y, x), `MARGIN` px larger on every side.
    moves
        float32, (frame + 1, 2): position at the start of each frame.

    Returns
    -------
    float32, (frame, y, x); linear interpolation, first across rows, then along them.
    """
    rows = np.arange(design.height)
    drift = np.clip(np.diff(moves, axis=0), -design.warp, design.warp)
    at = moves[:-1, None, :] + drift[:, None, :] * (rows / design.height)[None, :, None]
    frame = np.arange(len(scene))[:, None]
    source = rows + MARGIN - at[..., 0]
    whole = np.floor(source).astype(int)
    part = (source - whole).astype(np.float32)[..., None]
    lines = scene[frame, whole] * (1 - part) + scene[frame, whole + 1] * part
    source = MARGIN - at[..., 1]
    whole = np.floor(source).astype(int)
    part = (source - whole).astype(np.float32)[..., None]
    windows = sliding_window_view(lines, design.width + 1, axis=2)[frame, rows, whole]
    return windows[..., :-1] * (1 - part) + windows[..., 1:] * part


def detect(photons: Floats, design: Design, random: np.random.Generator) -> NDArray[np.int16]:
    """Count photons, amplify them, and add the noise of the electronics; int16 counts."""
    counts = random.poisson(photons).astype(np.float32)
    counts *= design.gain
    counts += random.standard_normal(photons.shape, np.float32) * design.read_noise
    counts += design.offset
    return np.clip(np.rint(counts), -32768, 32767).astype(np.int16)


def vignette(height: int, width: int) -> Floats:
    """Return how the optics dim the corners: 1 in the middle, two thirds in the corners."""
    y = np.linspace(-1, 1, height)[:, None]
    x = np.linspace(-1, 1, width)[None, :]
    return (1 / (1 + 0.25 * (y**2 + x**2))).astype(np.float32)


def smooth(image: NDArray[np.floating], sigma: float) -> Floats:
    """Blur along the last two axes with a Gaussian of `sigma` px, edges mirrored."""
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-((np.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    out = np.asarray(image, np.float32)
    for axis in (-2, -1):
        pad = [(0, 0)] * out.ndim
        pad[axis] = (reach, reach)
        windows = sliding_window_view(np.pad(out, pad, mode="symmetric"), len(kernel), axis=axis)
        out = np.einsum("...k,k->...", windows, kernel)
    return out


def _cells(design: Design, random: np.random.Generator) -> list[Cell]:
    """Place somata at random, none closer than a diameter and a bit, none cut by motion at the edge."""
    for _ in range(100):
        places = _places(design, random)
        if len(places) == design.cells:
            return [Cell(place, design, random) for place in places]
    raise InvalidParameters(
        f"{design.cells} cells of {design.radius} px do not fit into {design.height} x {design.width} px.",
        hint="Ask for fewer cells, or a larger field.",
    )


def _places(design: Design, random: np.random.Generator) -> list[tuple[float, float]]:
    border, apart = design.radius + 8, 2.5 * design.radius
    places: list[tuple[float, float]] = []
    for _ in range(40 * design.cells):
        y = float(random.uniform(border, max(design.height - border, border)))
        x = float(random.uniform(border, max(design.width - border, border)))
        if len(places) < design.cells and all(np.hypot(y - b, x - a) > apart for b, a in places):
            places.append((y, x))
    return places


def _texture(design: Design, random: np.random.Generator) -> Floats:
    """Draw resting neuropil about 1: blotches of several sizes, crossed by dark vessels."""
    shape = (design.height + 2 * MARGIN, design.width + 2 * MARGIN)
    texture = np.ones(shape, np.float32)
    for sigma, strength in ((1.6, 0.14), (4.0, 0.12), (14.0, 0.12)):
        blotches = smooth(random.standard_normal(shape, np.float32), sigma)
        texture += strength * blotches / blotches.std()
    for _ in range(3):
        texture *= 1 - 0.7 * _vessel(shape, random)
    return np.clip(texture, 0.1, None)


def _vessel(shape: tuple[int, int], random: np.random.Generator) -> Floats:
    angle, bend = random.uniform(0, np.pi), random.uniform(3, 9)
    y = np.arange(shape[0])[:, None] - random.uniform(0.2, 0.8) * shape[0]
    x = np.arange(shape[1])[None, :] - random.uniform(0.2, 0.8) * shape[1]
    along, across = y * np.sin(angle) + x * np.cos(angle), y * np.cos(angle) - x * np.sin(angle)
    middle = bend * np.sin(along / random.uniform(18, 40))
    return np.exp(-(((across - middle) / random.uniform(1.5, 3.0)) ** 2)).astype(np.float32)


def _clouds(design: Design, random: np.random.Generator, count: int = 6) -> Floats:
    """Draw where neuropil brightens together: one field everywhere, the others patchy; (cloud, y, x)."""
    shape = (count, design.height + 2 * MARGIN, design.width + 2 * MARGIN)
    fields_ = smooth(random.standard_normal(shape, np.float32), 16.0)
    fields_ = np.clip(fields_ / fields_.std(), 0, None)
    fields_[0] = 1.0
    return fields_


def _wander(design: Design, count: int, random: np.random.Generator) -> Floats:
    """Draw the slow rise and fall of each cloud, relative to resting neuropil; (frame, cloud)."""
    noise = random.standard_normal((design.frames, count))
    return (0.06 * _relax(noise, 1.5, 1 / design.frame_rate)).astype(np.float32)


def _relax(noise: NDArray[np.float64], time: float, step: float) -> NDArray[np.float64]:
    """Turn white noise into one that forgets itself over `time` s, of the same spread (Ornstein-Uhlenbeck)."""
    keep = np.exp(-step / time)
    out = noise.copy()
    fresh = np.sqrt(1 - keep**2)
    for moment in range(1, len(noise)):
        out[moment] = keep * out[moment - 1] + fresh * noise[moment]
    return out
