"""A page of pictures and numbers about processed scans, in one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from adamacs import __version__, pipeline
from adamacs.modalities.imaging import plots


@dataclass(frozen=True)
class Section:
    """One field of one scan in one curation: what is known about it, and its pictures as PNG (base64)."""

    title: str
    facts: Mapping[str, str]
    pictures: Sequence[str]


_PAGE = jinja2.Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{ title }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
 body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2.5em auto; padding: 0 1.5em; }
 h1 { font-weight: 600; margin-bottom: .2em } h2 { margin-top: 2.2em; border-top: 1px solid #ddd; padding-top: 1em }
 table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .25em 1.2em .25em 0; text-align: left;
 border-bottom: 1px solid #eee; vertical-align: top } td { font-variant-numeric: tabular-nums }
 img { max-width: 100%; height: auto; margin: .6em 0 } .note { color: #666 } code { background: #f4f4f4 }
</style>
<h1>{{ title }}</h1><p class="note">{{ note }} adamacs {{ version }}.</p>
{% if table %}<table><tr>{% for name in table[0] %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in table %}<tr>{% for value in row.values() %}<td>{{ value }}</td>{% endfor %}</tr>
{% endfor %}</table>{% endif %}
{% for section in sections %}<h2>{{ section.title }}</h2>
<table>{% for name, value in section.facts.items() %}<tr><th>{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}</table>
{% for picture in section.pictures %}<img alt="" src="data:image/png;base64,{{ picture }}">{% endfor %}
{% endfor %}</html>
""")


def write_report(path: Path, *, title: str, note: str = "", table: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write a page about every curation in the database, with `table` (rows by column name) on top."""
    sections = list(_sections())
    text = _PAGE.render(title=title, note=note, table=list(table), sections=sections, version=__version__)
    path.write_text(text, encoding="utf-8")


def _sections() -> Iterator[Section]:
    imaging = pipeline.imaging
    fields = imaging.Fluorescence.Field.proj() & imaging.Activity.Field
    for key in fields.keys(order_by="KEY"):
        place = {name: value for name, value in key.items() if name != "fluo_channel"}
        info = (imaging.ScanInfo * imaging.ScanInfo.Field * pipeline.session.Session & place).fetch1()
        run = (imaging.Processing * imaging.ProcessingParamSet * imaging.Curation & place).fetch1()
        facts = {
            "subject, day": f"{info['subject']}, {info['session_date']}",
            "session, scan": f"{key['session_id']}, {key['scan_id']}",
            "field": f"{key['field_idx']}: plane {info['plane']}, {_extent(info)}",
            "acquisition": f"{info['nframes']} volumes at {info['fps']:.4g} Hz ({info['scan_duration']:.0f} s), "
            f"channels: {info['nchannels']}",
            "processing": f"{run['processing_method']} {run['package_version']}",
            "parameter set": f"{key['paramset_idx']}: {run['paramset_desc']}",
            "curation": f"{key['curation_id']}: {run['curation_note']}",
        }
        which = f"parameter set {key['paramset_idx']}, curation {key['curation_id']}"
        yield Section(f"{key['scan_id']}, field {key['field_idx']}, {which}", facts, list(_pictures(place)))


def _extent(info: Mapping[str, Any]) -> str:
    pixels = f"{info['px_height']} x {info['px_width']} px"
    if not info["um_height"]:
        return pixels
    return f"{pixels}, {info['um_height']:.0f} x {info['um_width']:.0f} µm"


def _pictures(key: Mapping[str, Any]) -> Iterator[str]:
    figure = Figure(figsize=(11.5, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    plots.plot_field(left, key)
    plots.plot_traces(right, key, seconds=30)
    yield _png(figure)
    figure = Figure(figsize=(11.5, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    plots.plot_motion(left, key)
    plots.plot_spikes(right, key)
    yield _png(figure)


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()
