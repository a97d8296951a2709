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
_EARLIEST, _LATEST = 0.05, 0.35  # s from a cue to the spikes that answer it


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
    cues, responsive
        When something happened that cells answer, s since the first frame, and how many of the cells in every plane do.
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
    cues: tuple[float, ...] = ()
    responsive: int = 0
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
    responds
        bool, (cell,): it answers the cues of the design.
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
    responds: NDArray[np.bool_]

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
class Cell:
    """One soma: where it lies, how it looks, and what it did.

    Attributes
    ----------
    centre
        (y, x) px of a frame.
    top, left, image
        Corner of its picture in the tissue (which has a margin), and the picture, 1 where it is brightest.
    labelled
        The structural label is in it.
    spikes, calcium
        Per frame, as in `Truth`.
    """

    centre: tuple[float, float]
    top: int
    left: int
    image: Floats
    labelled: bool
    spikes: NDArray[np.uint8]
    calcium: Floats

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the tissue that its picture covers."""
        height, width = self.image.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def pixels(self, design: Design) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """Return rows, columns and weights of the frame's pixels that belong to it (from a fifth of its brightest)."""
        rows, columns = np.nonzero(self.image > 0.2)
        y, x = rows + self.top - MARGIN, columns + self.left - MARGIN
        inside = (y >= 0) & (y < design.height) & (x >= 0) & (x < design.width)
        return y[inside], x[inside], self.image[rows, columns][inside]


@dataclass(frozen=True)
class Tissue:
    """What one channel sees in one plane at rest, `MARGIN` px larger on every side than a frame; photons.

    Attributes
    ----------
    still
        float32, (y, x): what does not change.
    cells, brightness
        Somata that flicker with their calcium, and the photons that a picture's brightest pixel adds at dF/F = 1.
    clouds, traces
        float32, (cloud, y, x) and (frame, cloud): slow neuropil.
    """

    still: Floats
    cells: tuple[Cell, ...] = ()
    brightness: float = 0.0
    clouds: Floats | None = None
    traces: Floats | None = None

    def photons(self, start: int, stop: int) -> Floats:
        """Return the photons of some frames before anything moved: float32, (frame, y, x)."""
        scene = np.repeat(self.still[None], stop - start, axis=0)
        if self.clouds is not None and self.traces is not None:
            # einsum without BLAS: sums in one order on every machine
            scene += np.einsum("tk,kyx->tyx", self.traces[start:stop], self.clouds)
            np.maximum(scene, 0.2 * self.still, out=scene)  # neuropil dims, but never goes out
        for cell in self.cells:
            flicker = self.brightness * cell.calcium[start:stop]
            scene[:, *cell.place] += flicker[:, None, None] * cell.image
        return scene


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
        self._moves = [_moves(path, depth, design) for depth in range(design.slices)]
        planes = [_cells(design, plane, random) for plane in range(design.planes)]
        tissues = [_tissues(design, cells, random) for cells in planes]
        self._tissues = [*tissues, *[_out_of_focus(design, tissues)] * design.flyback]
        self._vignette = vignette(design.height, design.width)
        self.truth = _truth(design, planes, self._moves)

    def blocks(self, threads: int = 2) -> Iterator[Movie]:
        """Draw the frames, `BLOCK` volumes at a time, in the order of their recording."""
        starts = range(0, self.design.frames, BLOCK)
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(self._block, starts)

    def _stream(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))

    def _block(self, start: int) -> Movie:
        design = self.design
        stop = min(start + BLOCK, design.frames)
        out = np.empty((stop - start, design.slices, design.channels, design.height, design.width), np.int16)
        for depth, tissues in enumerate(self._tissues):
            for channel, tissue in enumerate(tissues):
                seen = displace(tissue.photons(start, stop), self._moves[depth][start:stop], design)
                stream = self._stream(1, depth, channel, start)
                out[:, depth, channel] = detect(seen * self._vignette, design, stream)
        return out


def draw_cell(
    centre: tuple[float, float],
    design: Design,
    random: np.random.Generator,
    *,
    phase: float = 0.0,
    fires: bool = True,
    responds: bool = False,
) -> Cell:
    """Draw one soma and what it did; its plane is imaged from `phase` of every volume on."""
    reach = int(np.ceil(1.8 * design.radius))
    top, left = (round(position) + MARGIN - reach for position in centre)
    y = np.arange(2 * reach + 1)[:, None] + top - MARGIN - centre[0]
    x = np.arange(2 * reach + 1)[None, :] + left - MARGIN - centre[1]
    image = soma(y, x, design.radius, random)
    labelled = bool(random.random() < 0.4)
    times = spike_times(design, random) if fires else np.zeros(0)
    if responds:
        times = np.sort(np.concatenate([times, answers(design, random)]))
    frames = np.floor(times * design.frame_rate).astype(int)
    passing = phase + centre[0] / design.height / design.slices  # when the beam comes by
    return Cell(
        centre=centre,
        top=top,
        left=left,
        image=image,
        labelled=labelled,
        spikes=np.bincount(frames, minlength=design.frames).astype(np.uint8),
        calcium=calcium(times, design, passing),
    )


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


def answers(design: Design, random: np.random.Generator) -> NDArray[np.float64]:
    """Draw the spikes with which a cell answers cues: four of five of them, with a few spikes 50 to 350 ms later; s."""
    last = design.frames / design.frame_rate - _LATEST
    cues = np.array([cue for cue in design.cues if 0 <= cue < last], np.float64)
    answered = cues[random.random(len(cues)) < 0.8]
    counts = 1 + random.poisson(1.5, len(answered))
    return np.repeat(answered, counts) + random.uniform(_EARLIEST, _LATEST, int(counts.sum()))


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
    """Return the mean displacement of each frame; (frame, 2) px. `moves` as in `displace`."""
    return (moves[:, 0] + _drift(moves, warp) / 2).astype(np.float32)


def _moves(path: Floats, depth: int, design: Design) -> Floats:
    """Return where every frame of one depth begins and ends; (frame, start and end, 2) px."""
    starts, ends = (path[moment :: design.slices][: design.frames] for moment in (depth, depth + 1))
    return np.stack([starts, ends], axis=1)


def _drift(moves: Floats, warp: float) -> Floats:
    """Return how far tissue moves while each frame is drawn, within limits; (frame, 2) px."""
    return np.clip(moves[:, 1] - moves[:, 0], -warp, warp)


def displace(scene: Floats, moves: Floats, design: Design) -> Floats:
    """Look at moving tissue through the frame: every row is drawn a little later, so a little further displaced.

    Parameters
    ----------
    scene
        float32, (frame, y, x), `MARGIN` px larger on every side.
    moves
        float32, (frame, 2, 2): position (y, x) at the start and at the end of each frame, px.

    Returns
    -------
    float32, (frame, y, x); linear interpolation, first across rows, then along them.
    """
    rows = np.arange(design.height)
    at = moves[:, :1] + _drift(moves, design.warp)[:, None] * (rows / design.height)[None, :, None]
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


def _cells(design: Design, plane: int, random: np.random.Generator) -> tuple[Cell, ...]:
    """Place somata at random, none closer than a diameter and a bit, none cut by motion at the edge."""
    for _ in range(100):
        places = _places(design, random)
        if len(places) == design.cells:
            break
    else:
        raise InvalidParameters(
            f"{design.cells} cells of {design.radius} px do not fit into {design.height} x {design.width} px.",
            hint="Ask for fewer cells, or a larger field.",
        )
    phase = plane / design.slices
    return tuple(
        draw_cell(
            place,
            design,
            random,
            phase=phase,
            fires=number >= design.silent,
            responds=number >= design.cells - design.responsive,
        )
        for number, place in enumerate(places)
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


def _tissues(design: Design, cells: tuple[Cell, ...], random: np.random.Generator) -> tuple[Tissue, ...]:
    """Return what each channel sees in one plane."""
    neuropil = design.background * _texture(design, random)
    clouds = neuropil * _clouds(design, random)
    traces = _wander(design, len(clouds), random)
    green, red = neuropil.copy(), 0.4 * neuropil
    for cell in cells:
        green[cell.place] += design.resting * cell.image
        red[cell.place] += 1.5 * design.resting * cell.labelled * cell.image
    indicator = Tissue(green, cells, design.resting, clouds, traces)
    return (indicator, Tissue(red)) if design.structural else (indicator,)


def _out_of_focus(design: Design, planes: list[tuple[Tissue, ...]]) -> tuple[Tissue, ...]:
    """Return what is seen while the focus flies back: all planes at once, blurred."""
    blurred = np.mean([smooth(tissues[0].still, 4.0) for tissues in planes], axis=0)
    return (Tissue(blurred.astype(np.float32)),) * design.channels


def _truth(design: Design, planes: list[tuple[Cell, ...]], moves: list[Floats]) -> Truth:
    cells = [cell for plane in planes for cell in plane]
    rows, columns, weights = zip(*(cell.pixels(design) for cell in cells))
    shifts = [frame_shifts(moves[plane], design.warp) for plane in range(design.planes)]
    return Truth(
        frame_rate=design.frame_rate,
        shape=(design.height, design.width),
        plane=np.repeat(np.arange(design.planes), design.cells),
        centre=np.array([cell.centre for cell in cells], np.float32),
        mask_start=np.cumsum([0, *map(len, weights)], dtype=np.int64),
        ypix=np.concatenate(rows).astype(np.int16),
        xpix=np.concatenate(columns).astype(np.int16),
        weight=np.concatenate(weights),
        spikes=np.array([cell.spikes for cell in cells]),
        calcium=np.array([cell.calcium for cell in cells]),
        shifts=np.array(shifts),
        responds=np.tile(np.arange(design.cells) >= design.cells - design.responsive, design.planes),
    )


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
    clouds = smooth(random.standard_normal(shape, np.float32), 16.0)
    clouds = np.clip(clouds / clouds.std(), 0, 1.8)
    clouds[0] = 1.0
    return clouds


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
