"""What Suite2p has to know about the pages of a scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adamacs.core.errors import ProcessingFailed
from adamacs.modalities.imaging import numerics

if TYPE_CHECKING:
    from adamacs.modalities.imaging.reader.scanimage import Field, ScanImageScan


@dataclass(frozen=True)
class Region:
    """One field of a multi-ROI scan: its lines on a page (first, one past the last).

    `y` and `x` say where Suite2p draws it in its picture of all fields together (px).
    """

    lines: tuple[int, int]
    y: int
    x: int


@dataclass(frozen=True)
class Acquisition:
    """How the pages of a scan follow one another.

    Attributes
    ----------
    fs
        Volumes per second (Hz); frames per second where there is one plane.
    height, width
        Of a page (px).
    nframes
        Complete volumes.
    nplanes
        Imaged planes of a volume.
    nflyback
        Pages per volume and channel, after those of the planes, that were taken while the objective flew back.
    nchannels
        Saved channels; they alternate page by page.
    functional_channel
        The one to extract, from 0 among those saved.
    regions
        The fields of a multi-ROI scan, which lie below one another on a page; empty for an ordinary one.
    interleaved
        Whether a volume's planes follow one another. False where all frames of one plane come before the next plane.
    """

    fs: float
    height: int
    width: int
    nframes: int
    nplanes: int = 1
    nflyback: int = 0
    nchannels: int = 1
    functional_channel: int = 0
    regions: tuple[Region, ...] = ()
    interleaved: bool = True

    def refuse_unreadable(self) -> None:
        """Refuse what Suite2p would read as something else than it is.

        Raises
        ------
        ProcessingFailed
            Planes do not alternate, or the channel is none of those that Suite2p can extract.
        """
        if not self.interleaved and self.nplanes > 1:
            what = "The scan holds several frames of one plane before the next plane, which Suite2p cannot read."
            raise ProcessingFailed(what, hint="Record a fast stack with one frame per slice, or one plane at a time.")
        if self.functional_channel >= min(self.nchannels, 2):
            what = f"Suite2p cannot extract saved channel {self.functional_channel + 1} of {self.nchannels}."
            raise ProcessingFailed(what, hint="It can extract the first or the second that was saved.")

    @property
    def npages(self) -> int:
        """Pages of all complete volumes together."""
        return self.nframes * (self.nplanes + self.nflyback) * self.nchannels

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each field of a plane (px): what is registered as one piece."""
        if not self.regions:
            return ((self.height, self.width),)
        return tuple((last - first, self.width) for first, last in (region.lines for region in self.regions))

    @property
    def nfields(self) -> int:
        """Fields of all planes together; each has a folder in the result."""
        return self.nplanes * len(self.shapes)

    @property
    def flyback_fields(self) -> range:
        """Numbers of the folders that Suite2p makes for what was taken while the objective flew back."""
        return range(self.nfields, self.nfields + self.nflyback * len(self.shapes))


def acquisition_of(scan: ScanImageScan, *, functional_channel: int = 0) -> Acquisition:
    """Tell Suite2p what the headers of a scan tell.

    Parameters
    ----------
    scan
        As read from its files.
    functional_channel
        The channel to extract, from 0 among those saved.

    Raises
    ------
    ProcessingFailed
        The fields of a multi-ROI scan are not the same at every depth.
    """
    of_planes = [_regions([field for field in scan.fields if field.plane == plane]) for plane in range(scan.ndepths)]
    if scan.nrois > 1 and len(set(of_planes)) > 1:
        what = "Not every field of the scan was imaged at every depth, which Suite2p cannot read."
        raise ProcessingFailed(what, hint="Record every field at every depth, or the depths one by one.")
    return Acquisition(
        fs=scan.fps,
        height=scan.px_height,
        width=scan.px_width,
        nframes=scan.nframes,
        nplanes=scan.ndepths,
        nflyback=scan.flyback_frames,
        nchannels=scan.nchannels,
        functional_channel=functional_channel,
        regions=of_planes[0] if scan.nrois > 1 else (),
        interleaved=not scan.is_slow and scan.frames_per_slice == 1,
    )


def _regions(fields: Sequence[Field]) -> tuple[Region, ...]:
    """Return the fields of one plane, placed towards each other as they lie in the tissue."""
    places = zip(fields, numerics.corners(fields), strict=True)
    return tuple(Region((field.first_line, field.first_line + field.px_height), y, x) for field, (y, x) in places)
