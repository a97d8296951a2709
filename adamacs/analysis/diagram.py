"""A picture of the tables and of who depends on whom, drawn from the definitions: no server, no Graphviz.

Mermaid for documentation pages; SVG and PNG for people. Time runs from left to right: what a table needs stands left
of it. Colours are those that DataJoint's users know.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamacs import pipeline
from adamacs.analysis.layout import Box, Layout, Line, place
from adamacs.core.errors import InvalidRequest, nearest
from adamacs.schemas.definition import Catalogue, Table, read_module

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Colour:
    """How a tier is drawn."""

    fill: str
    edge: str
    meaning: str


COLOURS: Mapping[str, Colour] = {
    "Lookup": Colour("#eceef0", "#7d8590", "a fixed vocabulary"),
    "Manual": Colour("#dff0e1", "#2f7d46", "entered by people and ingest"),
    "Imported": Colour("#dcebfa", "#2369b0", "read from files by a worker"),
    "Computed": Colour("#fbe3e0", "#b8392f", "computed by a worker"),
}
PART = Colour("#ffffff", "#a6adb6", "part of the table above it")
INK, FAINT, FRAME = "#1d2733", "#5d6875", "#f6f8fa"

TITLE_SIZE, KEY_SIZE, PART_SIZE = 9.5, 7.0, 7.5  # pt
TITLE_ROW, KEY_ROW, PART_ROW = 18.0, 10.0, 13.0  # pt
INDENT = 8.0  # pt, of a part below its table
LEGEND_CELL, LEGEND_ROW = 222.0, 16.0  # pt
_SOLID, _DASHED = "-", (0, (3, 2))
_LEGEND: tuple[tuple[str, str, Any], ...] = (
    *((tier, colour.meaning, colour) for tier, colour in COLOURS.items()),
    ("Part", PART.meaning, PART),
    ("solid", "the parent's key is in the child's key", _SOLID),
    ("dashed", "another column refers to the parent", _DASHED),
    ("small", "key columns that the table adds", Colour("none", "none", "")),
    ("pale", "a table of another module", Colour("none", "none", "")),
)
_ROUND = "round,pad=0,rounding_size=3"


def write_diagram(output: Path, modules: Sequence[str]) -> None:
    """Write the tables of some modules and their foreign keys as .mmd (Mermaid), .svg or .png.

    Parameters
    ----------
    modules
        As `adamacs.pipeline` exports them. What their tables need from other modules is shown, too, but pale.

    Raises
    ------
    InvalidRequest
        A module is unknown, the ending is none of the three, or the folder is missing.
    """
    writer = _WRITERS.get(output.suffix.lower())
    if writer is None:
        raise InvalidRequest("A diagram is .mmd (Mermaid), .svg or .png.", output)
    if not output.absolute().parent.is_dir():
        raise InvalidRequest("There is no such folder.", output.parent)
    writer(output, select(read_tables(), modules))


def read_tables() -> Catalogue:
    """Read the definition of every table of the pipeline, without importing one."""
    spine = [read_module(f"adamacs.schemas.{name}", name) for name in pipeline.SPINE]
    modalities = [read_module(f"adamacs.modalities.{name}.tables", name) for name in pipeline.MODALITIES]
    return Catalogue(source for sources in spine + modalities for source in sources)


@dataclass(frozen=True)
class Link:
    """A table that another one needs, by their paths; `primary` where the key of the child holds that of the parent."""

    parent: str
    child: str
    primary: bool


@dataclass(frozen=True)
class Drawing:
    """What is drawn.

    Attributes
    ----------
    masters
        Tables that are no part, in the order in which they are written.
    parts
        Of each of them, by its path.
    borrowed
        Paths of tables that belong to other modules.
    """

    catalogue: Catalogue
    masters: tuple[Table, ...]
    parts: Mapping[str, tuple[Table, ...]]
    links: tuple[Link, ...]
    borrowed: frozenset[str]


def select(catalogue: Catalogue, modules: Sequence[str]) -> Drawing:
    """Choose the tables of some modules, and what they need.

    Raises
    ------
    InvalidRequest
        There is no such module.
    """
    known = tuple(dict.fromkeys(table.schema for table in catalogue))
    for name in modules:
        if name not in known:
            raise InvalidRequest(f"There is no module {name!r}.", hint=nearest(name, known))
    own = [table for table in catalogue if table.schema in modules]
    needed = {catalogue.parent(table, key) for table in own for key in table.definition.parents} - set(own)
    borrowed = needed | {catalogue.tables[table.master] for table in needed if table.master}
    shown = [table for table in catalogue if table in borrowed or table in own]
    parts = {t.path: tuple(part for part in shown if part.master == t.path) for t in shown if not t.master}
    masters = tuple(table for table in shown if not table.master)
    return Drawing(catalogue, masters, parts, _links(shown, catalogue), frozenset(table.path for table in borrowed))


def _links(tables: Collection[Table], catalogue: Catalogue) -> tuple[Link, ...]:
    """Return one link per parent and child: a second foreign key to the same table adds nothing to a picture."""
    primary: dict[tuple[str, str], bool] = {}
    for table in tables:
        for key in table.definition.parents:
            parent = catalogue.parent(table, key)
            if parent in tables and parent.path != table.master:
                ends = (parent.path, table.path)
                primary[ends] = primary.get(ends, False) or key.in_key
    return tuple(Link(*ends, in_key) for ends, in_key in primary.items())


# ---- Mermaid


def mermaid(drawing: Drawing) -> str:
    """Return the drawing as a Mermaid flowchart."""
    lines = ["flowchart LR"]
    for schema in dict.fromkeys(table.schema for table in drawing.masters):
        lines.append(f'  subgraph {schema}["{schema}"]')
        for table in (table for table in drawing.masters if table.schema == schema):
            kind = "borrowed" if table.path in drawing.borrowed else table.tier
            lines.append(f'    {_identifier(table)}["{table.name}"]:::{kind}')
            for part in drawing.parts[table.path]:
                lines.append(f'    {_identifier(part)}(["{part.name.rpartition(".")[2]}"]):::Part')
                lines.append(f"    {_identifier(table)} --- {_identifier(part)}")
        lines.append("  end")
    tables = drawing.catalogue.tables
    for link in drawing.links:
        arrow = "-->" if link.primary else "-.->"
        lines.append(f"  {_identifier(tables[link.parent])} {arrow} {_identifier(tables[link.child])}")
    styles = {tier: f"fill:{colour.fill},stroke:{colour.edge}" for tier, colour in (*COLOURS.items(), ("Part", PART))}
    styles["borrowed"] = f"fill:{FRAME},stroke:{PART.edge},stroke-dasharray:4 3"
    lines += [f"  classDef {name} {style},color:{INK}" for name, style in styles.items()]
    return "\n".join(lines) + "\n"


def _identifier(table: Table) -> str:
    return f"{table.schema}_{table.name.replace('.', '_')}"


def _write_mermaid(output: Path, drawing: Drawing) -> None:
    output.write_text(mermaid(drawing), encoding="utf-8")


# ---- pictures


def _write_picture(output: Path, drawing: Drawing) -> None:
    import matplotlib as mpl

    unset = {"Date": None} if output.suffix.lower() == ".svg" else {"Software": None}  # same tables, same bytes
    fonts = ["DejaVu Sans", "Verdana", "Arial"]  # the first is Matplotlib's own; the others are about as wide
    plain = mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "adamacs", "font.family": "sans-serif"})
    with plain, mpl.rc_context({"font.sans-serif": fonts}):
        plot_diagram(drawing).savefig(output, dpi=150, metadata=unset)


_WRITERS: Mapping[str, Callable[[Path, Drawing], None]] = {
    ".mmd": _write_mermaid,
    ".svg": _write_picture,
    ".png": _write_picture,
}


def plot_diagram(drawing: Drawing) -> Figure:
    """Return the drawing as a Matplotlib figure, one unit per point."""
    from matplotlib.figure import Figure

    layout = arrange(drawing)
    entries = _LEGEND if drawing.borrowed else _LEGEND[:-1]
    width, legend = max(layout.width, LEGEND_CELL), layout.height + 14
    across = int(width // LEGEND_CELL)
    size = (width + 16, legend + LEGEND_ROW * -(-len(entries) // across) + 16)
    figure = Figure(figsize=(size[0] / 72, size[1] / 72), facecolor="white")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-8, size[0] - 8), ylim=(size[1] - 8, -8))
    ax.axis("off")
    _plot_frames(ax, layout)
    _plot_lines(ax, drawing, layout)
    for table in drawing.masters:
        _plot_table(ax, table, drawing, layout.boxes[table.path])
    _plot_legend(ax, entries, legend, across)
    return figure


def arrange(drawing: Drawing) -> Layout:
    """Give every table of a drawing its place."""
    boxes = []
    for table in drawing.masters:
        parts = drawing.parts[table.path]
        widths = [_width(table.name, TITLE_SIZE, bold=True), _width(_own_key(table), KEY_SIZE)]
        widths += [INDENT + _width(_short(part), PART_SIZE) + _width(_own_key(part), KEY_SIZE) + 6 for part in parts]
        height = _head(table) + PART_ROW * len(parts) + (4 if parts else 0)
        boxes.append(Box(table.path, table.schema, max(widths) + 16, height))
    return place(boxes, [_line(link, drawing) for link in _outer(drawing)])


def _outer(drawing: Drawing) -> list[Link]:
    """Return the links between different boxes."""
    tables = drawing.catalogue.tables
    return [link for link in drawing.links if _box(tables[link.parent]) != _box(tables[link.child])]


def _box(table: Table) -> str:
    return table.master or table.path


def _line(link: Link, drawing: Drawing) -> Line:
    parent, child = drawing.catalogue.tables[link.parent], drawing.catalogue.tables[link.child]
    heights = _middle(parent, drawing), _middle(child, drawing)
    return Line(_box(parent), _box(child), *heights, weight=3.0 if link.primary else 1.0)


def _middle(table: Table, drawing: Drawing) -> float:
    """Return how far below the upper edge of its box a table's row is."""
    if table.master is None:
        return _head(table) / 2
    master = drawing.catalogue.tables[table.master]
    return _head(master) + PART_ROW * (drawing.parts[table.master].index(table) + 0.5)


def _head(table: Table) -> float:
    return TITLE_ROW + (KEY_ROW if _own_key(table) else 0) + 2


def _own_key(table: Table) -> str:
    return ", ".join(column.name for column in table.definition.columns if column.in_key)


def _short(table: Table) -> str:
    return table.name.rpartition(".")[2]


def _width(text: str, size: float, *, bold: bool = False) -> float:
    """Return the width of a text in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    if not text:
        return 0.0
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return 1.04 * float(TextPath((0, 0), text, size=size, prop=font).get_extents().width)  # room for other renderers


def _plot_frames(ax: Axes, layout: Layout) -> None:
    for schema, frame in layout.frames.items():
        _plot_box(ax, (frame.x, frame.y, frame.width, frame.height), FRAME, "#d5dae0", 0.8)
        ax.text(frame.x + 8, frame.y + 13, schema, size=9, color=FAINT, style="italic", zorder=1)


def _plot_box(
    ax: Axes, rectangle: tuple[float, float, float, float], fill: str, edge: str, line: float, z: float = 0
) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y, width, height = rectangle
    ax.add_patch(FancyBboxPatch((x, y), width, height, _ROUND, facecolor=fill, edgecolor=edge, lw=line, zorder=z))


def _plot_lines(ax: Axes, drawing: Drawing, layout: Layout) -> None:
    from matplotlib.patches import PathPatch

    ways = zip(_outer(drawing), layout.routes, strict=True)
    for link, points in sorted(ways, key=lambda way: way[0].primary):
        colour = COLOURS[_tier(link.parent, drawing)].edge
        style = _SOLID if link.primary else _DASHED
        ax.add_patch(PathPatch(_curve(points), fill=False, edgecolor=colour, linestyle=style, linewidth=1.1, zorder=2))
        x, y = points[-1]
        ax.plot(x - 2.5, y, marker=(3, 0, -90), markersize=4.5, color=colour, zorder=3, markeredgewidth=0)


def _tier(path: str, drawing: Drawing) -> str:
    table = drawing.catalogue.tables[path]
    return _tier(table.master, drawing) if table.master else table.tier


def _curve(points: Sequence[tuple[float, float]]) -> Any:
    """Return a path that is level at every point, and bends between columns only."""
    from matplotlib.path import Path as Curve

    vertices, codes = [points[0]], [Curve.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(points):
        bend = (x1 - x0) / 2
        vertices += [(x0 + bend, y0), (x1 - bend, y1), (x1, y1)]
        codes += [Curve.CURVE4] * 3
    return Curve(vertices, codes)


def _plot_table(ax: Axes, table: Table, drawing: Drawing, box: Box) -> None:
    pale = table.path in drawing.borrowed
    colour = Colour("#ffffff", PART.edge, "") if pale else COLOURS[table.tier]
    _plot_box(ax, (box.x, box.y, box.width, box.height), colour.fill, colour.edge, 1.1, 4)
    ink = FAINT if pale else INK
    ax.text(box.x + 8, box.y + 14, table.name, size=TITLE_SIZE, weight="bold", color=ink, zorder=6)
    ax.text(box.x + 8, box.y + TITLE_ROW + 6, _own_key(table), size=KEY_SIZE, color=FAINT, zorder=6)
    for row, part in enumerate(drawing.parts[table.path]):
        y = box.y + _head(table) + row * PART_ROW
        _plot_box(ax, (box.x + 5, y, box.width - 10, PART_ROW - 1.5), PART.fill, colour.edge, 0.6, 5)
        ax.text(box.x + INDENT + 2, y + 8.5, _short(part), size=PART_SIZE, color=ink, zorder=6)
        end = box.x + box.width - 8
        ax.text(end, y + 8.5, _own_key(part), size=KEY_SIZE, color=FAINT, ha="right", zorder=6)


def _plot_legend(ax: Axes, entries: Sequence[tuple[str, str, Any]], top: float, across: int) -> None:
    """Say below the picture what colours and lines mean."""
    for number, (name, meaning, sample) in enumerate(entries):
        x, y = number % across * LEGEND_CELL, top + number // across * LEGEND_ROW
        if isinstance(sample, Colour):
            _plot_box(ax, (x, y, 22, 10), sample.fill, sample.edge, 1)
        else:
            ax.plot([x, x + 22], [y + 5, y + 5], linestyle=sample, color=INK, linewidth=1.1)
        ax.text(x + 28, y + 8, name, size=8, weight="bold", color=INK)
        ax.text(x + 33 + _width(name, 8, bold=True), y + 8, meaning, size=8, color=FAINT)
