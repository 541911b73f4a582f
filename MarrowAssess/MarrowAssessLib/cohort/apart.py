"""Studies of a cohort, measured in processes apart: whatever one does harms no other.

A process (see cohort.child) is kept and given study after study, so that Python is started and the
references are loaded once; there are as many as threads that ask at once. One is replaced after a
study that crashed it, ran out of time or memory, and after MOST_STUDIES.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path

from PDFFMapperLib.images.outputs import replace_folder

from MarrowAssessLib.cohort.inventory import StudySource
from MarrowAssessLib.cohort.state import DONE, FAILED, Outcome

MOST_STUDIES = 250
STAGING = ".writing-"
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS",
               "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")  # fmt: skip
_idle: list[Child] = []  # waiting for a study; the last one used last


@dataclass(frozen=True)
class Limits:
    """What one study may use.

    Attributes:
        seconds: of wall time.
        gigabytes: of memory; not held on Windows.
    """

    seconds: float = 600.0
    gigabytes: float = 8.0


@dataclass(frozen=True)
class Task:
    """One study to measure.

    Attributes:
        source: the study.
        out: folder for its results; replaced as a whole.
        n4, erosion_mm: settings of measuring.
        limits: what it may use.
        regions: whether its regions are written as well (see cohort.bids_out).
        measure: the function that measures it, which only its process loads.
        staging: where its results are made, beside their place; of this try alone.
    """

    source: StudySource
    out: Path
    n4: bool = False
    erosion_mm: float = 0.0
    limits: Limits = field(default_factory=Limits)
    regions: bool = False
    measure: str = "MarrowAssessLib.cohort.measuring:measured"
    staging: Path | None = None


class Child:
    """A process that measures one study after another."""

    def __init__(self):
        paths = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "MarrowAssessLib.cohort.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **dict.fromkeys(_ONE_THREAD, "1"), "PYTHONPATH": paths},
            start_new_session=True,  # Ctrl-C is for whoever asked; its end ends this
        )
        self.studies = 0

    def measure(self, task: Task) -> Outcome:
        """What became of a study; `crashed` where this process is of no use any more."""
        late = threading.Event()

        def kill() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(task.limits.seconds, kill)
        timer.daemon = True
        try:
            if not self.studies:
                pickle.load(self._process.stdout)  # it has started; what that takes is no study's
            self.studies += 1
            timer.start()
            pickle.dump(task, self._process.stdin)
            self._process.stdin.flush()
            return pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            code = self._process.wait()
            if late.is_set():
                reason = f"It took more than {task.limits.seconds:g} s."
                return Outcome(FAILED, reason, crashed=True, by_limit=True)
            named = code < 0 and -code in {one.value for one in signal.Signals}
            how = signal.Signals(-code).name if named else f"exit code {code}"
            return Outcome(FAILED, f"Its process ended by itself ({how}).", crashed=True)
        finally:
            timer.cancel()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        try:
            self._process.stdin.close()
        except OSError:  # of what it could not be given
            pass


def measure_apart(task: Task) -> Outcome:
    """Measure a study in a process apart; one that crashes is tried once more."""
    first = _once(task)
    return _once(task) if first.crashed else first


def end_children() -> None:
    """End the processes that wait for a study."""
    while _idle:
        _idle.pop().close()


def _once(task: Task) -> Outcome:
    try:
        child = _idle.pop()
    except IndexError:
        child = Child()
    staging = task.out.with_name(f"{STAGING}{task.out.name}-{uuid.uuid4().hex[:8]}")
    try:
        outcome = child.measure(replace(task, staging=staging))
        if outcome.state == DONE:
            # Here and not in the child: one that outlives a killed run changes no result.
            replace_folder(staging, task.out)
    except OSError as error:
        outcome = Outcome(FAILED, f"{error.strerror or type(error).__name__}.")
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if outcome.crashed or child.studies >= MOST_STUDIES:
        child.close()
    else:
        _idle.append(child)
    return outcome
