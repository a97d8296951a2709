"""Boxes stand apart and in their frames, time runs to the right, and no line runs through a box."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamacs.analysis import layout
from adamacs.analysis.diagram import arrange, read_tables, select
from adamacs.analysis.layout import Box, Line


@st.composite
def graphs(draw):
    """Boxes in groups, and lines that mostly run from earlier to later ones; a few run back."""
    count = draw(st.integers(1, 12))
    sides = st.floats(10, 150)
    groups = st.sampled_from("abc")
    boxes = [Box(str(n), draw(groups), draw(sides), draw(sides)) for n in range(count)]
    ends = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] != pair[1])
    pairs = draw(st.lists(ends, max_size=2 * count, unique=True))
    middle = {box.name: box.height / 2 for box in boxes}
    return boxes, [Line(str(a), str(b), middle[str(a)], middle[str(b)]) for a, b in pairs]


def overlap(a, b):
    across = a.x < b.x + b.width - 1e-6 and b.x < a.x + a.width - 1e-6
    return across and a.y < b.y + b.height - 1e-6 and b.y < a.y + a.height - 1e-6


def inside(box, frame):
    return (
        frame.x <= box.x
        and box.x + box.width <= frame.x + frame.width + 1e-6
        and frame.y <= box.y
        and box.y + box.height <= frame.y + frame.height + 1e-6
    )


def assert_sound(drawn):
    assert not [pair for pair in combinations(drawn.boxes.values(), 2) if overlap(*pair)]
    assert not [pair for pair in combinations(drawn.frames.values(), 2) if overlap(*pair)]
    assert all(inside(box, drawn.frames[box.group]) for box in drawn.boxes.values())
    everything = (*drawn.boxes.values(), *drawn.frames.values())
    assert all(place.x >= 0 and place.x + place.width <= drawn.width + 1e-6 for place in everything)
    assert all(place.y >= 0 and place.y + place.height <= drawn.height + 1e-6 for place in everything)


def assert_clear(drawn, lines):
    """Check that between its ends a line that runs forward is level across columns, and clear of their boxes."""
    for line, points in zip(lines, drawn.routes, strict=True):
        if drawn.boxes[line.parent].column >= drawn.boxes[line.child].column:
            continue
        assert all(x1 > x0 for (x0, _), (x1, _) in pairwise(points))
        for left, right in list(pairwise(points[1:-1]))[::2]:
            assert left[1] == right[1]
            passed = [box for box in drawn.boxes.values() if box.x == left[0]]
            assert passed
            assert not [box for box in passed if box.y < left[1] < box.y + box.height]


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_any_graph_is_drawn_without_overlaps(graph):
    boxes, lines = graph
    drawn = layout.place(boxes, lines)
    assert drawn.boxes.keys() == {box.name for box in boxes}
    assert all(drawn.boxes[box.name].height == box.height for box in boxes)
    assert all(drawn.boxes[box.name].width >= box.width for box in boxes)
    assert_sound(drawn)
    assert_clear(drawn, lines)


def test_the_tables_of_the_pipeline_are_drawn_without_overlaps():
    drawing = select(read_tables(), ("subject", "surgery", "equipment", "session", "scan", "imaging"))
    drawn = arrange(drawing)
    assert_sound(drawn)
    for points in drawn.routes:
        for left, right in list(pairwise(points[1:-1]))[::2]:
            crossed = [box for box in drawn.boxes.values() if box.x == left[0]]
            assert not [box for box in crossed if box.y - 1 < right[1] < box.y + box.height + 1]


def columns(text):
    """Read `ab bc` as lines a to b, b to c; return the column of each box."""
    lines = [Line(parent, child, 0, 0) for parent, child in text.split()]
    names = sorted({name for line in lines for name in (line.parent, line.child)})
    return layout.assign_columns(names, lines, dict.fromkeys(names, "group"))


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ("ab bc", {"a": 0, "b": 1, "c": 2}),
        ("ab bc ac", {"a": 0, "b": 1, "c": 2}),
        ("ab bc cd xd", {"a": 0, "b": 1, "c": 2, "x": 2, "d": 3}),  # a vocabulary stands beside its user
        ("ab bc cd xy yd", {"a": 0, "b": 1, "c": 2, "x": 1, "y": 2, "d": 3}),
        ("ab ba", {"a": 0, "b": 1}),  # the line that closes a circle runs back
    ],
)
def test_a_box_stands_right_of_its_parents_and_near_its_children(graph, expected):
    assert columns(graph) == expected


def test_a_box_without_lines_stands_in_the_first_column_of_its_group():
    lines = [Line("a", "b", 0, 0), Line("b", "c", 0, 0)]
    groups = {"a": "first", "b": "second", "c": "second", "alone": "second"}
    assert layout.assign_columns(list(groups), lines, groups)["alone"] == 1


def test_lines_that_end_at_one_place_arrive_side_by_side():
    boxes = [Box(name, "g", 50, 30) for name in "abc"]
    drawn = layout.place(boxes, [Line("a", "c", 15, 15), Line("b", "c", 15, 15)])
    (_, first), (_, second) = (points[-1] for points in drawn.routes)
    assert abs(first - second) == layout.LINES


def test_the_same_input_gives_the_same_picture():
    drawing = select(read_tables(), ("imaging",))
    assert arrange(drawing) == arrange(drawing)
