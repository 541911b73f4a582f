"""Long work on all cores, told to whoever waits for it and may cancel it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

Progress = Callable[[float], bool]
"""Takes the fraction done; returning False cancels."""


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


def run_parallel(
    work: Callable[[int], None], starts: Iterable[int], progress: Progress | None = None
) -> None:
    """Call ``work(start)`` for each start, on all cores.

    Raises:
        InterruptedError: canceled; what had not begun is left undone.
    """
    starts = list(starts)
    if len(starts) <= 1:  # a thread would cost more
        for start in starts:
            work(start)
        tell(progress, 1.0)
        return
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        jobs = [pool.submit(work, start) for start in starts]
        try:
            for n, job in enumerate(jobs, 1):
                job.result()
                tell(progress, n / len(jobs))
        finally:
            for job in jobs:
                job.cancel()
