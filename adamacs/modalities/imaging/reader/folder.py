"""What the imaging files of a recording folder say, and what is wrong with them; no database is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from adamacs.core import tokens
from adamacs.core.errors import UnreadableFile
from adamacs.core.modality import Contribution, Problem, Recording
from adamacs.core.settings import Settings as LabSettings
from adamacs.modalities.imaging.reader import tiff
from adamacs.modalities.imaging.reader.acquisitions import single_acquisition
from adamacs.modalities.imaging.reader.promises import promised
from adamacs.modalities.imaging.reader.scanimage import ScanImageScan, read_scan
from adamacs.modalities.imaging.reader.settings import Settings, read_settings


def look(recording: Recording, settings: LabSettings) -> Contribution:
    """Check the ScanImage files of a folder by their headers, and tell what they are.

    The headers of all pages are walked; no pixel is read.
    """
    tiffs = [file.path for file in recording.files if file.path.lower().endswith((".tif", ".tiff"))]
    if not tiffs:
        what = "The folder holds no TIFF: nothing of it will be processed as imaging."
        return Contribution(problems=(Problem("warning", what, recording.place),))
    try:
        info = read_scan(single_acquisition(settings.locate(path) for path in tiffs))
    except UnreadableFile as error:
        where = str(error.where or recording.place)
        return Contribution(problems=(Problem("error", error.what, where, error.hint or ""),))
    odd = (*info.warnings, *_strangers(recording, tiffs, info.scan_datetime))
    return Contribution(
        problems=tuple(Problem("warning", warning, recording.place) for warning in odd),
        summary=f"ScanImage: {info.nframes} volumes of {info.ndepths} planes, {info.nchannels} channels at "
        f"{info.fps:.4g} Hz",
        scan_values={"acq_software": "ScanImage"},
        setup=info.userfunction_info,
        promises=promised(
            pages=sum(info.pages_per_file),
            channels=info.nchannels,
            averaging=info.log_averaging,
            scanner_frames=info.scanner_frames,
            requested=info.frames_requested,
            fps=info.fps,
        ),
    )


def read_file(path: Path) -> ScanImageScan | Settings:
    """Return what one ScanImage file is; of one that has no end yet, what its first page says about the acquisition.

    Raises
    ------
    UnreadableFile
        Not even that can be read.
    """
    try:
        return read_scan((path,))
    except UnreadableFile:
        return read_settings(tiff.first_text(path), path)


def _strangers(recording: Recording, files: Sequence[str], recorded: datetime | None) -> Iterator[str]:
    """Tell where files or their header speak of another scan or day than the folder that holds them."""
    folder = recording.folder
    if recorded is not None and recorded.date() != folder.date:
        yield f"The header was written on {recorded.date().isoformat()}, the folder says {folder.date.isoformat()}."
    for file in files:
        name = file.rpartition("/")[2]
        if any(
            tokens.is_token(part) and part.startswith("scan") and part != folder.scan_id for part in name.split("_")
        ):
            yield f"The file {name} names another scan."
