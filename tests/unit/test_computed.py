"""What was computed and not inserted: it comes back exactly as it was, or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from adamacs.core import settings as lab_settings
from adamacs.core.errors import StoreUnavailable
from adamacs.storage import arrays, computed, stores, sweep

KEY = {"scan_id": "scan9FY6AIRM", "paramset_idx": 0}
VERSION = "0.1.0"


@pytest.fixture
def lab(tmp_path):
    lab = lab_settings.create(tmp_path / "lab")
    (lab.home / "stores" / "derived").mkdir(parents=True, exist_ok=True)
    lab_settings.use(lab)
    yield lab
    lab_settings.use(None)


@pytest.fixture
def place(lab):
    return place_in(lab)


def place_in(lab, fetched=("a", 1.5), key=KEY, version=VERSION, table="imaging.Dff"):
    return computed.kept(lab.root("processed"), table, key, fetched, version)


def write_array(values):
    return arrays.write("derived", arrays.path_of("Dff", KEY, "dff"), values)


def path_of(place):
    return place.store.root / place.path


# ---- values

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters()),
    st.binary(),
    st.decimals(allow_nan=False),
    st.datetimes(allow_imaginary=False).map(lambda moment: moment.replace(fold=0)),
    st.dates(),
    st.times().map(lambda moment: moment.replace(fold=0)),
    st.timedeltas(),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(st.one_of(st.text(), st.integers()), inner)
    ),
)


def shape_of(value):
    """Types all the way down, which `==` does not compare."""
    if isinstance(value, list | tuple):
        return type(value), [shape_of(item) for item in value]
    if isinstance(value, dict):
        return type(value), [(shape_of(name), shape_of(item)) for name, item in value.items()]
    return type(value), repr(value)


def through_text(value):
    return computed._loaded(computed._dumped("imaging.Dff", KEY, value))[0]


@given(_VALUES)
def test_a_value_comes_back_as_it_was(value):
    assert shape_of(through_text((value,))) == shape_of((value,))


@given(arrays_of.arrays(arrays_of.scalar_dtypes().filter(lambda d: d.byteorder != ">" and d.char not in "gG"), (2, 3)))
def test_a_small_array_comes_back_as_it_was(array):
    again = through_text((array, array[0, 0]))
    assert again[0].dtype == array.dtype and again[0].tobytes() == array.tobytes()
    assert type(again[1]) is type(array[0, 0]) and again[1].tobytes() == array[0, 0].tobytes()


def test_empty_arrays_and_named_fields_come_back():
    masks = np.array([(1, 2.5)], [("x", "<i4"), ("weight", "<f4")])
    empty, again, one = through_text((np.empty((0, 4), "<f4"), masks, Path("plane0/F.npy")))
    assert (empty.shape, again.dtype, again.tolist()) == ((0, 4), masks.dtype, masks.tolist())
    assert one == Path("plane0/F.npy")
    again[0] = (3, 4.0)  # and may be written to


@dataclass
class Answer:
    number: int


@pytest.mark.parametrize(
    "value",
    [
        Answer(42),
        OrderedDict(a=1),
        {1, 2},
        datetime(2026, 2, 10, tzinfo=UTC),
        np.array([None]),
        np.arange(3, dtype=">f8"),
        np.ma.masked_array([1.0], [True]),
        np.zeros(computed.LARGEST // 8 + 1),
        "x" * computed.LARGEST,
    ],
)
def test_what_json_cannot_hold_exactly_is_not_kept(place, value):
    assert not place.write((value,))
    assert place.read() is None
    assert not path_of(place).exists()


def test_a_reference_to_a_part_of_an_array_comes_back(place):
    whole = write_array(np.arange(12.0).reshape(4, 3))
    assert place.write(([whole.rows(1, 3), whole.row(0)],))
    ((rows, row),) = place.read()
    assert (rows, row) == (whole.rows(1, 3), whole.row(0))
    assert np.asarray(rows).tolist() == [[3, 4, 5], [6, 7, 8]]


# ---- which result it is


def test_a_result_is_found_by_key_by_what_it_stands_on_and_by_version(lab, place):
    place.write((1.0,))
    assert place_in(lab).read() == (1.0,)
    assert place_in(lab, key={**KEY, "paramset_idx": 1}).read() is None
    assert place_in(lab, fetched=("a", 1.25)).read() is None
    assert place_in(lab, version="0.1.1").read() is None


def test_equal_rows_are_the_same_ground_in_whatever_order_they_name_their_columns(lab):
    place_in(lab, fetched=({"a": 1, "b": 2.5},)).write((1,))
    assert place_in(lab, fetched=({"b": 2.5, "a": 1},)).read() == (1,)


def test_a_result_that_stands_on_something_unspeakable_is_not_kept(lab):
    assert place_in(lab, fetched=(Answer(42),)) is None


def test_the_last_result_that_was_written_counts(place):
    assert place.write((1,)) and place.write((2,))
    assert place.read() == (2,)
    place.remove()
    assert place.read() is None
    place.remove()


# ---- damage


def test_a_result_whose_array_is_gone_or_damaged_is_of_no_use(place, caplog):
    reference = write_array(np.arange(1000.0))
    place.write((reference,))
    file = Path(stores.named("derived").locate(reference.path))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert place.read() is None
    assert "of no use" in caplog.text
    arrays.remove(reference)
    assert place.read() is None
    place.write((write_array(np.arange(3.0)),))
    assert place.read() is not None


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-9],
        lambda text: text.replace("12.5", "13.5"),
        lambda text: "[]",
        lambda text: json.dumps({"computed": {"tuple": 1, "dict": 2}, "blake3": ""}),
        lambda text: "[" * 100_000,
    ],
)
def test_a_damaged_file_is_of_no_use(place, damage):
    place.write((12.5,))
    path_of(place).write_text(damage(path_of(place).read_text()))
    assert place.read() is None
    place.write((14.5,))
    assert place.read() == (14.5,)


def test_nobody_gives_up_a_result_because_the_store_is_away(lab, place):
    place.write((write_array(np.arange(3.0)),))
    store = lab.home / "stores" / "derived"
    store.rename(store.with_name("away"))
    with contextlib.suppress(StoreUnavailable):  # or, of a store that may be made anew, a missing file
        assert place.read() is None
    store.with_name("away").rename(store)
    assert place.read() is not None


def test_a_disk_that_takes_nothing_costs_the_result_only(lab, caplog):
    if lab.root("processed").exists():
        lab.root("processed").rmdir()
    lab.root("processed").write_text("no folder")
    assert not place_in(lab).write((1,))
    assert "cannot be kept" in caplog.text
    assert place_in(lab).read() is None


# ---- the sweep


def nothing_waits(table):
    """No key waits to be computed."""
    return []


def age(lab, place, days=1):
    long_ago = time.time() - (lab.workers.keep_failed_days + days) * 86400
    os.utime(path_of(place), (long_ago, long_ago))


def test_what_nobody_will_come_back_for_goes_after_some_days(lab, place):
    place.write((1,))
    assert sweep.sweep(lab, nothing_waits) == []
    age(lab, place)
    young = place_in(lab, fetched=())
    young.write((2,))
    assert sweep.sweep(lab, nothing_waits) == [str(path_of(place))]
    assert young.read() == (2,)


def test_of_a_key_that_waits_the_newest_result_stays_however_old_and_unreadable(lab):
    day = {"day": date(2026, 2, 10), "size": Decimal("1.50"), "name": "a\\b/\udce4 '"}
    waiting, gone, before, last = (
        *(place_in(lab), place_in(lab, key={"item": 9})),
        *(place_in(lab, key=day, fetched=(name,)) for name in ("x", "y")),
    )
    for days, place in enumerate((last, waiting, gone, before), 1):
        place.write((1,))
        age(lab, place, days)
    path_of(last).write_text("{")
    age(lab, last)
    asked = []

    def waits(table):
        asked.append(table)
        return [KEY, day]

    assert set(sweep.sweep(lab, waits)) == {str(path_of(gone)), str(path_of(before))}
    assert asked == ["imaging.Dff"]
    assert waiting.read() == (1,)
    assert path_of(last).exists()


def test_where_nobody_can_tell_what_waits_every_result_of_the_table_stays(lab, place):
    other = place_in(lab, table="imaging.Dff2")
    for one in (place, other):
        one.write((1,))
        age(lab, one)
    assert sweep.sweep(lab, lambda table: None if table == "imaging.Dff" else []) == [str(path_of(other))]


def test_where_nothing_of_failed_attempts_is_kept_a_result_stays_for_a_day(lab, place):
    place.write((1,))
    spare = replace(lab, workers=replace(lab.workers, keep_failed_days=0))
    assert sweep.sweep(spare, nothing_waits) == []
    assert place.read() == (1,)


def test_the_dates_of_a_key_are_told(lab):
    place = place_in(lab, key={"day": date(2026, 2, 10), "step": timedelta(1), "size": Decimal("1.50")})
    place.write((1,))
    assert json.loads(path_of(place).read_text())["key"].startswith("day=2026-02-10")
