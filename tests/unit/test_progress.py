"""Progress reaches the listener of the same thread, and nobody else."""

from __future__ import annotations

import threading

import pytest

from adamacs.core import progress
from adamacs.core.progress import Progress


def test_without_a_listener_nothing_happens():
    assert progress.report("registration", 1, 2, "frames") is None


def test_the_listener_hears_what_is_reported_inside_the_block_alone():
    heard: list[Progress] = []
    with progress.listening(heard.append):
        progress.report("registration", 500, 2000, "frames")
    progress.report("detection")
    assert heard == [Progress("registration", 500, 2000, "frames")]


def test_an_inner_block_takes_over_and_gives_back():
    outer: list[Progress] = []
    inner: list[Progress] = []
    with progress.listening(outer.append):
        with progress.listening(inner.append):
            progress.report("a")
        with progress.listening(None):
            progress.report("b")
        progress.report("c")
    assert [step.stage for step in inner] == ["a"]
    assert [step.stage for step in outer] == ["c"]


def test_two_threads_do_not_hear_each_other():
    heard: list[Progress] = []
    with progress.listening(heard.append):
        other = threading.Thread(target=progress.report, args=("elsewhere",))
        other.start()
        other.join()
    assert heard == []


def test_the_listener_is_given_back_after_an_error():
    heard: list[Progress] = []
    with pytest.raises(ZeroDivisionError), progress.listening(heard.append):
        raise ZeroDivisionError
    progress.report("after")
    assert heard == []


@pytest.mark.parametrize(
    ("step", "fraction", "text"),
    [
        (Progress("registration", 500, 2000, "frames"), 0.25, "registration 500/2000 frames"),
        (Progress("reading", 500, None, "frames"), None, "reading 500 frames"),
        (Progress("detection"), None, "detection"),
        (Progress("registration", 2100, 2000, "frames"), 1.0, "registration 2100/2000 frames"),
    ],
)
def test_a_step_tells_its_part_and_reads_like_a_sentence(step, fraction, text):
    assert step.fraction == fraction
    assert str(step) == text
