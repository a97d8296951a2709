"""The greatest memory that a process had."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from adamacs.core import memory

MB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets the peak begin anew")
def test_the_peak_is_of_the_time_since_it_was_forgotten():
    memory.forget_peak()
    before = memory.peak()
    assert before is not None
    del_me = np.ones(100 * MB, np.uint8)
    assert memory.peak() >= before + 99 * MB
    del del_me
    assert memory.peak() >= before + 99 * MB
    memory.forget_peak()
    assert memory.peak() < before + 50 * MB
