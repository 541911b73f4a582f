"""Long work on all cores, told to whoever waits for it and may cancel it."""

from __future__ import annotations

import _thread
import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock
from typing import Any

Progress = Callable[[float], bool]
"""Takes the fraction done; returning False cancels."""
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container on Linux: microseconds in each period


def tell(progress: Progress | None, done: float, what: str = "Mapping") -> None:
    """Tell the fraction done of what is named in the sentence of its cancellation.

    Raises:
        InterruptedError: canceled.
    """
    if progress is not None and not progress(done):
        raise InterruptedError(f"{what} was canceled.")


def share(progress: Progress | None, first: float, last: float) -> Progress | None:
    """The progress of work that is one part of a whole, from `first` to `last` of it."""
    if progress is None:
        return None
    return lambda done: progress(first + (last - first) * done)


def cores() -> int:
    """Those that this process may use, which batch systems and containers limit."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        cores = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # no file, or no quota
        quota, period = QUOTA.read_text().split()
        cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def run_parallel(
    work: Callable[[Any], None],
    starts: Iterable[Any],
    progress: Progress | None = None,
    what: str = "Mapping",
) -> None:
    """Call ``work(start)`` for each start, on all cores, begun in their order; `what` as in `tell`.

    Raises:
        InterruptedError: canceled; what had not begun is left undone.
        KeyboardInterrupt: at once; what had begun on other cores may still be at work.
    """
    starts = list(starts)
    waiting, lock, errors = iter(starts), Lock(), []
    done = 0

    def work_on(progress: Progress | None) -> None:
        nonlocal done
        try:
            while not errors:
                with lock:
                    start = next(waiting, None)
                if start is None:
                    return
                work(start)
                with lock:
                    done += 1
                tell(progress, done / len(starts), what)
        except BaseException as error:  # also of a thread: raised below, by who asked
            errors.append(error)
            if not isinstance(error, Exception):
                raise

    def help_on(at_work: Lock) -> None:
        try:
            work_on(None)
        finally:
            at_work.release()

    helpers = [Lock() for _ in range(min(cores(), len(starts)) - 1)]
    try:
        for at_work in helpers:  # `Thread` would wait until each has begun, as long as short work
            at_work.acquire()
            _thread.start_new_thread(help_on, (at_work,))
        work_on(progress)
        for at_work in helpers:
            at_work.acquire()
    except BaseException as error:  # an interrupt: helpers begin no more, and none is waited for
        errors.append(error)
        raise
    if errors:
        raise errors[0]
    tell(progress, 1.0, what)
