"""Work on all cores: order, errors, cancel, and sweeps whose tiles wait for those before them."""

import signal
import subprocess
import sys
import time
from threading import Lock, get_ident

import numpy as np
import pytest
from PDFFMapperLib.maps import progress
from PDFFMapperLib.maps.progress import run_parallel
from PDFFMapperLib.water_fat import fronts


@pytest.fixture(params=[1, 4])
def cores(request, monkeypatch):
    monkeypatch.setattr(progress, "cores", lambda: request.param)
    return request.param


def test_all_is_done_once_and_told_by_who_asked(cores):
    done, told, lock = [], [], Lock()

    def work(start):
        with lock:
            done.append(start)

    run_parallel(work, range(50), lambda part: told.append((part, get_ident())) or True)
    assert sorted(done) == list(range(50))
    assert told[-1][0] == 1.0 and {thread for _, thread in told} == {get_ident()}


def test_an_error_of_any_thread_is_raised_and_ends_the_work(cores):
    begun = []

    def work(start):
        begun.append(start)
        if start == 3:
            raise ValueError("no fit of 3")

    with pytest.raises(ValueError, match="no fit of 3"):
        run_parallel(work, range(10_000))
    assert len(begun) < 10_000


def test_what_had_not_begun_is_left_undone_when_canceled(cores):
    begun = []
    with pytest.raises(InterruptedError, match="canceled"):
        run_parallel(begun.append, range(100_000), lambda part: False)
    assert len(begun) < 100_000


@pytest.mark.parametrize("forward", [True, False])
def test_a_tile_waits_for_those_before_it(cores, forward):
    shape = (12, 40, 30)
    seen, lock = np.zeros(shape[:2], int), Lock()

    def work(tile):
        first_k, last_k, first_j, last_j = tile
        slices = seen[:last_k, :last_j] if forward else seen[first_k:, first_j:]
        own = (last_k - first_k) * (last_j - first_j)
        assert np.sum(slices == 0) == own  # all before are done, and nothing of its own
        with lock:
            seen[first_k:last_k, first_j:last_j] += 1

    run_parallel(*fronts.sweep(work, shape, 100, forward))
    assert (seen == 1).all()


def test_a_tile_that_fails_leaves_none_waiting(cores):
    def work(tile):
        if tile[0] == 0 and tile[2] == 0:
            raise ValueError("first tile")

    with pytest.raises(ValueError, match="first tile"):
        run_parallel(*fronts.sweep(work, (12, 40, 30), 100, True))


@pytest.mark.parametrize(
    ("said", "most"),
    [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("1 0", None), ("", None)],
)
def test_the_quota_of_a_container_limits_the_threads(said, most, tmp_path, monkeypatch):
    cores = progress.cores()
    (tmp_path / "cpu.max").write_text(said + "\n")
    monkeypatch.setattr(progress, "QUOTA", tmp_path / "cpu.max")
    assert progress.cores() == (most or cores)


INTERRUPTED = """
import os, signal, sys, threading, time

sys.path[:] = {path!r}
from PDFFMapperLib.maps import progress
from PDFFMapperLib.water_fat import fronts

progress.cores = lambda: 4
for one in (signal.SIGINT, signal.SIGTERM):  # a parent in the background ignores the first
    signal.signal(one, signal.default_int_handler)
threading.Timer(0.5, lambda: os.kill(os.getpid(), {number})).start()
try:  # one chain of tiles, for which nearly every thread waits
    progress.run_parallel(*fronts.sweep(lambda tile: time.sleep(0.2), (1, 256, 256), 4000, True))
except KeyboardInterrupt:
    time.sleep(0.5)
    print("interrupted", [one.name for one in threading.enumerate()])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_ends_a_sweep_and_its_process():
    for number in (signal.SIGINT, signal.SIGTERM):
        code = INTERRUPTED.format(path=sys.path, number=int(number))
        ended = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=10
        )
        # Nobody is left who waits for a tile.
        assert ended.stdout == "interrupted ['MainThread']\n", ended.stderr


def test_an_interrupt_between_the_lines_ends_the_helpers(monkeypatch):
    monkeypatch.setattr(progress, "cores", lambda: 4)
    begun = []

    def work(start):
        begun.append(start)
        time.sleep(0.01)

    def interrupt(frame, event, argument):
        here = frame.f_locals
        if frame.f_code.co_name == "work_on" and "start" in here and not here["lock"].locked():
            raise KeyboardInterrupt
        return interrupt

    traced = sys.gettrace()
    sys.settrace(interrupt)  # of this thread alone
    try:
        with pytest.raises(KeyboardInterrupt):
            run_parallel(work, range(300))
    finally:
        sys.settrace(traced)
    time.sleep(0.1)
    count = len(begun)
    time.sleep(0.1)
    assert len(begun) == count < 300
