"""Names are sorted as a person would read them, whatever they hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adamacs.core.names import alike, natural_order, natural_sorted, not_on_windows

NAMES = st.lists(st.text(max_size=12) | st.from_regex(r"[ab_]{0,2}[0-9]{1,3}[ab.]{0,2}", fullmatch=True), unique=True)


def test_numbers_count_by_their_value():
    names = ["s_1.tif", "s_2.tif", "s_9_b.tif", "s_10_a.tif", "s_100.tif"]
    assert names != sorted(names)
    assert names == sorted(sorted(names), key=natural_order)


@given(st.integers(0, 10**200), st.integers(0, 10**200))
def test_two_counters_are_in_the_order_of_their_numbers(one, other):
    in_order = natural_order(f"scan_{one}.tif") < natural_order(f"scan_{other}.tif")
    assert in_order == (one < other)


@given(NAMES, st.randoms(use_true_random=False))
def test_any_names_have_one_order_however_they_came(names, random):
    shuffled = random.sample(names, len(names))
    found = sorted(names, key=natural_order)
    assert found == sorted(shuffled, key=natural_order)
    assert sorted(found) == sorted(names)


@given(NAMES)
def test_the_fast_way_gives_the_same_order(names):
    assert natural_sorted(names) == sorted(names, key=natural_order)


@given(st.lists(st.text("0129aZ_-.٣", max_size=6), unique=True))
def test_the_fast_way_gives_the_same_order_of_names_that_are_nearly_alike(names):
    assert natural_sorted(names) == sorted(names, key=natural_order)


def test_names_that_differ_by_case_or_by_composition_are_alike():
    assert alike(["b", "a", "B", "\u00e4", "a\u0308", "A\u0308"]) == [("b", "B"), ("\u00e4", "a\u0308", "A\u0308")]
    assert alike(["a", "b", "ss"]) == []


def test_names_that_windows_cannot_open_are_told():
    odd = ["CON", "nul.tif", "COM1.csv", "a:b", "a\nb", "a\\b", "ends.", "ends ", "a?"]
    fine = ["console", "a.con", "nul_1.tif", "com.csv", ".hidden", "a b.tif", "ä"]
    assert not_on_windows([*odd, *fine]) == odd
    assert not_on_windows(fine) == []
    assert not_on_windows([]) == []
