"""Where boxes and lines of a diagram go: parents left of children, groups in frames, no line through a box.

Pure geometry in points (1/72 inch), y downwards. A layered drawing: each box stands in the column after its last
parent, boxes of a column are ordered by the mean height of their neighbours, and a line that passes a column does so
between its boxes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

GAP = 60.0  # between columns: room for lines to change their height
SPACE = 13.0  # between the boxes of a column
LINES = 4.0  # between lines that run side by side
MARGIN = 12.0  # between a frame and its boxes
TITLE = 17.0  # of a frame, above its boxes
BETWEEN = 16.0  # between frames
_SWEEPS = 24
_CROSSING = 200.0  # how far around a frame is worth not to cross it


@dataclass(frozen=True)
class Box:
    """A rectangle; its place is given by `place`.

    Attributes
    ----------
    group
        Boxes of one group stand in one frame.
    x, y
        Left and upper edge.
    """

    name: str
    group: str
    width: float
    height: float
    column: int = 0
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Line:
    """A connection from a parent's right edge to a child's left edge.

    Attributes
    ----------
    start, end
        How far below the upper edge of its box the line begins and ends.
    weight
        How much it matters that both ends are near each other.
    """

    parent: str
    child: str
    start: float
    end: float
    weight: float = 1.0


@dataclass(frozen=True)
class Frame:
    """The rectangle around a group."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Layout:
    """Every place: boxes by name, frames by group, and per line the points that it runs through."""

    boxes: Mapping[str, Box]
    frames: Mapping[str, Frame]
    routes: tuple[tuple[tuple[float, float], ...], ...]
    width: float
    height: float


def place(boxes: Sequence[Box], lines: Sequence[Line]) -> Layout:
    """Give every box its place and every line its way.

    Parameters
    ----------
    boxes
        In the order in which they are read; their places are ignored.
    lines
        Between them. A line that would close a circle runs backwards.
    """
    columns = assign_columns([box.name for box in boxes], lines, {box.name: box.group for box in boxes})
    placed = {box.name: replace(box, column=columns[box.name]) for box in boxes}
    placed = _across(placed)
    frames = _pack(placed, lines)
    placed = _settle(placed, lines, frames)
    width = max(frame.x + frame.width for frame in frames.values())
    height = max(frame.y + frame.height for frame in frames.values())
    return Layout(placed, frames, route(placed, lines, frames), width, height)


# ---- columns


def assign_columns(names: Sequence[str], lines: Iterable[Line], groups: Mapping[str, str]) -> dict[str, int]:
    """Put each box one column after its last parent, and what only hands on near what it hands on to."""
    parents: dict[str, set[str]] = {name: set() for name in names}
    for line in lines:
        if line.child != line.parent and line.child not in _ancestors(line.parent, parents):
            parents[line.child].add(line.parent)
    children = {name: [child for child in names if name in parents[child]] for name in names}
    order = sorted(names, key=lambda name: len(_ancestors(name, parents)))  # a child has more ancestors
    columns: dict[str, int] = {}
    for name in order:
        columns[name] = max((columns[parent] + 1 for parent in parents[name]), default=0)
    for name in reversed(order):
        if children[name] and len(parents[name]) <= len(children[name]):
            columns[name] = min(columns[child] for child in children[name]) - 1
    for name in names:
        if not parents[name] and not children[name]:
            same = [columns[other] for other in names if groups[other] == groups[name] and other != name]
            columns[name] = min(same, default=0)
    used = sorted(set(columns.values()))
    return {name: used.index(columns[name]) for name in names}


def _ancestors(name: str, parents: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = parents[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def _across(boxes: Mapping[str, Box]) -> dict[str, Box]:
    """Give every box the width of its column, and its left edge."""
    last = max(box.column for box in boxes.values())
    widths = [max((b.width for b in boxes.values() if b.column == c), default=0.0) for c in range(last + 1)]
    edges = [MARGIN + sum(widths[:c]) + GAP * c for c in range(last + 1)]
    return {name: replace(box, x=edges[box.column], width=widths[box.column]) for name, box in boxes.items()}


# ---- frames


def _pack(boxes: Mapping[str, Box], lines: Sequence[Line]) -> dict[str, Frame]:
    """Stack the frames of the groups, each as high up as the columns it spans allow."""
    order = list(dict.fromkeys(box.group for box in boxes.values()))
    best, improved = _stacked(order, boxes), True
    while improved:
        improved = False
        for tried_order in list(_moves(order)):
            tried = _stacked(tried_order, boxes)
            if _cost(tried, boxes, lines) < _cost(best, boxes, lines) - 1e-6:
                order, best, improved = tried_order, tried, True
    return best


def _moves(order: Sequence[str]) -> Iterator[list[str]]:
    """Yield every order that arises when one group moves to another place."""
    for group in order:
        others = [other for other in order if other != group]
        yield from ([*others[:index], group, *others[index:]] for index in range(len(order)))


def _stacked(order: Sequence[str], boxes: Mapping[str, Box]) -> dict[str, Frame]:
    floor: dict[int, float] = {}
    frames = {}
    for group in order:
        own = [box for box in boxes.values() if box.group == group]
        columns = range(min(box.column for box in own), max(box.column for box in own) + 1)
        stacks = [[box.height for box in own if box.column == column] for column in columns]
        height = max(sum(stack) + SPACE * (len(stack) - 1) for stack in stacks) + TITLE + 2 * MARGIN
        left, right = min(box.x for box in own), max(box.x + box.width for box in own)
        top = max(floor.get(column, 0.0) for column in columns)
        frames[group] = Frame(left - MARGIN, top, right - left + 2 * MARGIN, height)
        floor |= dict.fromkeys(columns, top + height + BETWEEN)
    return frames


def _cost(frames: Mapping[str, Frame], boxes: Mapping[str, Box], lines: Sequence[Line]) -> float:
    """Judge an arrangement: short lines are good, lines through foreign frames and a high picture are bad."""
    cost = 10 * max(frame.y + frame.height for frame in frames.values())
    for line in lines:
        parent, child = boxes[line.parent], boxes[line.child]
        ends = sorted(frames[box.group].y + frames[box.group].height / 2 for box in (parent, child))
        between = [f for f in frames.values() if ends[0] < f.y + f.height / 2 < ends[1]]
        gap = parent.x + parent.width + MARGIN, child.x - MARGIN  # where the line may be at any height
        crossed = sum(f.x < gap[1] and f.x + f.width > gap[0] + 1 for f in between)
        cost += line.weight * (ends[1] - ends[0] + _CROSSING * crossed)
    return cost


# ---- heights


def _settle(boxes: Mapping[str, Box], lines: Sequence[Line], frames: Mapping[str, Frame]) -> dict[str, Box]:
    """Order the boxes of a column by the mean height of their neighbours, again and again."""
    placed = dict(boxes)
    stacks: dict[tuple[str, int], list[str]] = {}
    for name, box in boxes.items():
        stacks.setdefault((box.group, box.column), []).append(name)
    for (group, _), stack in stacks.items():
        _stack(stack, {}, placed, frames[group])
    keys = sorted(stacks, key=lambda key: key[1])
    for sweep in range(_SWEEPS):
        for key in keys if sweep % 2 == 0 else reversed(keys):
            wishes = {name: _wish(name, placed, lines) for name in stacks[key]}
            stacks[key].sort(key=lambda name: wishes[name] + placed[name].height / 2)
            _stack(stacks[key], wishes, placed, frames[key[0]])
    return placed


def _wish(name: str, boxes: Mapping[str, Box], lines: Sequence[Line]) -> float:
    """Return the upper edge at which the lines of a box would be level on average."""
    wishes = [boxes[line.child].y + line.end - line.start for line in lines if line.parent == name != line.child]
    wishes += [boxes[line.parent].y + line.start - line.end for line in lines if line.child == name != line.parent]
    return sum(wishes) / len(wishes) if wishes else boxes[name].y


def _stack(names: Sequence[str], wishes: Mapping[str, float], boxes: dict[str, Box], frame: Frame) -> None:
    """Place boxes below each other, as near to their wishes as the frame allows."""
    least = frame.y + TITLE + MARGIN
    below = frame.y + frame.height - MARGIN - sum(boxes[n].height + SPACE for n in names) + SPACE
    for name in names:
        wish = min(max(wishes.get(name, least), least), below)
        boxes[name] = replace(boxes[name], y=wish)
        least = wish + boxes[name].height + SPACE
        below += boxes[name].height + SPACE


# ---- lines


def route(
    boxes: Mapping[str, Box], lines: Sequence[Line], frames: Mapping[str, Frame]
) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Return the points of each line: level across a column, free to rise and fall between columns."""
    obstacles = _obstacles(boxes, frames)
    taken: dict[int, dict[float, Line]] = {}
    ways: dict[int, tuple[tuple[float, float], ...]] = {}
    ends = _spread(boxes, lines)
    length = {i: boxes[line.child].column - boxes[line.parent].column for i, line in enumerate(lines)}
    for i in sorted(length, key=lambda i: length[i]):
        parent, child = boxes[lines[i].parent], boxes[lines[i].child]
        points = [(parent.x + parent.width, parent.y + lines[i].start)]
        for column in range(parent.column + 1, child.column):
            y = points[-1][1]
            wish = y + (ends[i] - y) / (child.column - column + 1)
            y = _free(wish, obstacles[column], taken.setdefault(column, {}), lines[i])
            passed = next(box for box in boxes.values() if box.column == column)
            points += [(passed.x, y), (passed.x + passed.width, y)]
        ways[i] = (*points, (child.x, ends[i]))
    return tuple(ways[i] for i in range(len(lines)))


def _obstacles(boxes: Mapping[str, Box], frames: Mapping[str, Frame]) -> dict[int, list[tuple[float, float]]]:
    """Return per column what no line may pass: boxes and the titles of frames, upper and lower edge in order."""
    found: dict[int, list[tuple[float, float]]] = {}
    for group, frame in frames.items():
        own = [box for box in boxes.values() if box.group == group]
        found.setdefault(min(box.column for box in own), []).append((frame.y, frame.y + TITLE))
        for box in own:
            found.setdefault(box.column, []).append((box.y, box.y + box.height))
    return {column: sorted(spans) for column, spans in found.items()}


def _spread(boxes: Mapping[str, Box], lines: Sequence[Line]) -> list[float]:
    """Let the lines that end at one place arrive side by side, in the order of their origins."""
    arrivals: dict[tuple[str, float], list[int]] = {}
    for i, line in enumerate(lines):
        arrivals.setdefault((line.child, line.end), []).append(i)
    ends = [0.0] * len(lines)
    for (child, end), group in arrivals.items():
        group.sort(key=lambda i: boxes[lines[i].parent].y + lines[i].start)
        for rank, i in enumerate(group):
            ends[i] = boxes[child].y + end + (rank - (len(group) - 1) / 2) * LINES
    return ends


def _free(wish: float, spans: Sequence[tuple[float, float]], taken: dict[float, Line], line: Line) -> float:
    """Return the height nearest to a wish at which a line passes a column, and take it."""
    trunks = [y for y, other in taken.items() if (other.parent, other.weight) == (line.parent, line.weight)]
    free = []
    tops, bottoms = [float("-inf"), *(end for _, end in spans)], [*(start for start, _ in spans), float("inf")]
    for top, bottom in zip(tops, bottoms, strict=True):
        middle = min(max(wish, top + LINES), bottom - LINES)
        ranks = [middle + step * LINES for step in sorted(range(-12, 13), key=abs)]
        free += [
            y for y in ranks if top + 2 <= y <= bottom - 2 and all(abs(y - other) >= LINES - 0.5 for other in taken)
        ][:1]
    y = min(trunks + free, key=lambda y: abs(y - wish) - (2 * SPACE if y in trunks else 0))
    taken[y] = line
    return y
