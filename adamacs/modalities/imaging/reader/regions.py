"""Where the imaging regions of a multi-ROI scan stand in its pages.

ScanImage writes the regions of one depth below each other into one page, and between two of them the rows that the
beam drew while it flew from one to the next. A region is defined by scanfields at some depths: one scanfield
holds at every depth, several are interpolated between their depths (not beyond), and a region in discrete-plane
mode exists at the depths of its scanfields alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adamacs.core.errors import UnreadableFile
from adamacs.modalities.imaging.reader.matlab import json_value, numbers
from adamacs.modalities.imaging.reader.settings import Settings
from adamacs.modalities.imaging.reader.tiff import Pages

_EDITED = "Was the file saved by ScanImage itself?"


@dataclass(frozen=True)
class Region:
    """One imaging region: its scanfields by depth, and the powers set for it alone.

    A scanfield is (middle x, middle y, width, height) in degrees and (columns, rows) in pixels.
    """

    zs: tuple[float, ...]
    scanfields: tuple[tuple[float, ...], ...]
    discrete: bool
    powers: tuple[float, ...] | None


@dataclass(frozen=True)
class Strip:
    """The rows of a page that one region fills; lengths in µm, its middle relative to that of the scanner."""

    roi: int
    first_line: int
    px_height: int
    px_width: int
    um_height: float | None
    um_width: float | None
    y: float
    x: float
    powers: tuple[float, ...] | None


def read_regions(artist: str, software: str, path: Path) -> tuple[Region, ...]:
    """Read the imaging regions from the JSON that ScanImage leaves in the tag Artist.

    Raises
    ------
    UnreadableFile
        There is none, or it names no region that can be placed.
    """
    groups = json_value(artist) or json_value(software)
    for name in ("RoiGroups", "imagingRoiGroup", "rois"):
        groups = groups.get(name) if isinstance(groups, Mapping) else None
    listed = groups if isinstance(groups, tuple) else (groups,)
    found = tuple(region for region in map(_region, listed) if region is not None)
    if not found:
        raise UnreadableFile(
            "Its header says multi-ROI (mroiEnable), but the tag Artist names no imaging region.", path, _EDITED
        )
    return found


def strips(
    regions: Sequence[Region], depths: Sequence[float | None], page: Pages, settings: Settings
) -> list[list[Strip]]:
    """Return for every depth the strips that its regions fill in a page.

    Raises
    ------
    UnreadableFile
        The regions do not fit a page.
    """
    imaged = [
        [(roi, at) for roi, region in enumerate(regions) if (at := _at(region, depth)) is not None] for depth in depths
    ]
    gap = _gap([[int(at[5]) for _, at in plane] for plane in imaged], page, settings)
    scale = settings.micrometres_per_degree
    placed = []
    for plane in imaged:
        lines: list[Strip] = []
        first = 0
        for roi, (x, y, width, height, columns, rows) in plane:
            strip = Strip(
                roi=roi,
                first_line=first,
                px_height=int(rows),
                px_width=int(columns),
                um_height=height * scale if scale else None,
                um_width=width * scale if scale else None,
                y=y * (scale or 0.0),
                x=x * (scale or 0.0),
                powers=regions[roi].powers,
            )
            lines.append(strip)
            first += int(rows) + gap
        if any(strip.px_width > page.width for strip in lines) or first - gap > page.height:
            raise UnreadableFile(
                f"Its imaging regions take {first - gap} rows, a page has {page.height} x {page.width} px.",
                page.path,
                _EDITED,
            )
        placed.append(lines)
    if not any(placed):
        raise UnreadableFile("None of its imaging regions lies at a depth of the stack.", page.path, _EDITED)
    return placed


def _gap(heights: Sequence[Sequence[int]], page: Pages, settings: Settings) -> int:
    """Return how many rows lie between two regions.

    The page of the depth with most rows decides, since it has nothing else in it. The flight takes a whole number
    of swings, so an even number of lines, where the header is to tell (as long as it fits the page).
    """
    most = max(heights, key=lambda rows: (sum(rows), len(rows)), default=())
    if len(most) < 2:
        return 0
    gap, rest = divmod(page.height - sum(most), len(most) - 1)
    if gap >= 0 and not rest:
        return gap
    if settings.fly_to is not None and settings.line_period:
        return 2 * math.ceil(settings.fly_to / settings.line_period / 2)
    return 0


def _region(value: Any) -> Region | None:
    """Read one region; None where it is switched off or has no scanfield."""
    if not isinstance(value, Mapping) or numbers(value.get("enable", 1)) == (0.0,):
        return None
    listed = value.get("scanfields")
    fields = listed if isinstance(listed, tuple) else (listed,)
    zs = numbers(value.get("zs"))
    scanfields = tuple(field for field in map(_scanfield, fields) if field is not None)
    if not scanfields or len(scanfields) != len(zs) or not all(map(math.isfinite, zs)):
        return None
    order = sorted(range(len(zs)), key=lambda place: zs[place])
    powers = tuple(power for power in numbers(value.get("powers")) if math.isfinite(power))
    return Region(
        zs=tuple(zs[place] for place in order),
        scanfields=tuple(scanfields[place] for place in order),
        discrete=bool(sum(numbers(value.get("discretePlaneMode")))),
        powers=powers or None,
    )


def _scanfield(value: Any) -> tuple[float, ...] | None:
    if not isinstance(value, Mapping):
        return None
    found = tuple(number for name in ("centerXY", "sizeXY", "pixelResolutionXY") for number in numbers(value.get(name)))
    usable = len(found) == 6 and all(map(math.isfinite, found)) and all(1 <= side < 2**31 for side in found[4:])
    return found if usable else None


def _at(region: Region, depth: float | None) -> tuple[float, ...] | None:
    """Return the scanfield of a region at a depth; None where the region is not imaged there."""
    if region.discrete:
        return next((field for z, field in zip(region.zs, region.scanfields) if z == depth), None)
    if len(region.zs) == 1:
        return region.scanfields[0]
    if depth is None or not region.zs[0] <= depth <= region.zs[-1]:
        return None
    between = [float(np.interp(depth, region.zs, sides)) for sides in zip(*region.scanfields)]
    columns, rows = (2 * round(side / 2) for side in between[4:])  # ScanImage keeps them even
    return (*between[:4], columns, rows)
