"""What a worker shows: lines that begin and end, and in a terminal one that moves."""

from __future__ import annotations

import io
import logging

import pytest

from adamacs.core import logs, progress
from adamacs.core.progress import Progress
from adamacs.workers import console


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_step_tells_how_far_how_fast_and_how_long_to_go():
    assert console.describe(Progress("registration", 500, 2000, "frames"), 5.0) == (
        "  registration 500/2000 frames, 100/s, 15 s left"
    )


@pytest.mark.parametrize("step", [Progress("loading"), Progress("x", 0, 10, "y"), Progress("x", 3, None, "y")])
def test_a_step_without_a_total_or_a_beginning_is_told_too(step):
    assert step.stage in console.describe(step, 1.0)
    assert step.stage in console.describe(step, 0.0)


def test_what_would_command_a_terminal_is_spelt_out():
    line = console.describe(Progress("regis\rtration", 5, 10, "frames", of="Processing scan\x1b[2J"), 1.0)
    assert "\x1b" not in line and "\r" not in line
    assert "scan\\x1b[2J" in line


def test_the_moving_line_is_drawn_seldom_and_always_at_the_end():
    times = iter([0.0, *(step * 0.01 for step in range(1, 200))])
    stream = Terminal()
    line = console.Line(stream, clock=lambda: next(times))
    for done in range(101):
        line(Progress("registration", done, 100, "frames"))
    assert stream.getvalue().count("registration") < 12
    assert "100/100 frames" in stream.getvalue()


def test_a_file_gets_lines_and_no_moving_one():
    stream = io.StringIO()
    with logs.verbose(1), console.shown(stream):
        logging.getLogger("adamacs.worker").info("done    imaging.Processing scan_id=%s", "scan9FY6AIRM")
        progress.report("registration", 5, 10, "frames")
    assert "done    imaging.Processing scan_id=scan9FY6AIRM" in stream.getvalue()
    assert "registration" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_a_terminal_gets_both_and_is_left_clean():
    stream = Terminal()
    with console.shown(stream):
        progress.report("registration", 5, 10, "frames")
        logging.getLogger("adamacs.worker").info("done")
    assert "registration 5/10 frames" in stream.getvalue()
    assert stream.getvalue().split("\r")[-2] == "\x1b[K"


def test_afterwards_nobody_listens():
    handlers = list(logging.getLogger("adamacs").handlers)
    with console.shown(io.StringIO()):
        pass
    assert logging.getLogger("adamacs").handlers == handlers


def test_the_line_says_whose_progress_it_is_and_keeps_two_keys_apart():
    stream, times = io.StringIO(), iter([0.0, 1.0, 2.0, 3.0, 4.0])
    line = console.Line(stream, clock=lambda: next(times))
    for of in ("Processing scan1", "Processing scan2"):
        line(Progress("registration", 0, 100, "frames", of=of))
    line(Progress("registration", 50, 100, "frames", of="Processing scan1"))
    last = stream.getvalue().rpartition("\x1b[K")[2].strip()
    assert last == "registration 50/100 frames, 25/s, 2 s left  (Processing scan1)"
