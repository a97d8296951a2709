"""The greatest memory that a process had, and what it uses now with all that it started."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import time

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


_GRANDCHILD = "import sys; kept = bytearray(b'x') * int(sys.argv[1]); print('ready', flush=True); sys.stdin.read()"
_CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"


@contextlib.contextmanager
def grandchild(size):
    """Run a small process whose own child holds so many bytes."""
    command = [sys.executable, "-c", _CHILD, _GRANDCHILD, str(size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


def test_what_a_process_started_counts_however_far_down():
    with grandchild(200 * MB) as process:
        family = memory.family(process.pid)
        assert family[0].pid == process.pid
        assert memory.used(family[:1]) < 100 * MB
        assert 200 * MB < memory.used(family) < 300 * MB
        assert memory.peak(process.pid) < 100 * MB
        assert 200 * MB < memory.peak(family[1].pid) < 500 * MB
        assert 200 * MB < memory.used(family, limit=1e9) < 300 * MB
    assert memory.used(family) == 0
    assert memory.family(process.pid) == []
    assert memory.peak(process.pid) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks by itself and tells shares")
def test_what_forked_processes_share_counts_once():
    def hold(together):
        together.wait()
        time.sleep(60)

    before = memory.used(memory.family(os.getpid())[:1], limit=1.0)  # of a process that ran other tests before
    ballast = np.ones(200 * MB, np.uint8)
    context = multiprocessing.get_context("fork")
    together = context.Barrier(4)
    children = [context.Process(target=hold, args=(together,), daemon=True) for _ in range(3)]
    for child in children:
        child.start()
    try:
        together.wait(30)
        family = [member for member in memory.family(os.getpid()) if member.pid in {c.pid for c in children}]
        family.append(memory.family(os.getpid())[0])
        assert memory.used(family, limit=1e12) > 750 * MB
        assert ballast.nbytes < memory.used(family, limit=1.0) < before + 450 * MB
    finally:
        for child in children:
            child.kill()
            child.join()
