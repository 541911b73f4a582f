"""One study of a cohort, measured in a process of its own: whatever it does harms no other."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from pkgutil import resolve_name

from MarrowAssessLib.cohort.inventory import StudySource
from MarrowAssessLib.cohort.state import DONE, FAILED, Outcome

PRELOADED = [
    "MarrowAssessLib.cohort.measuring", "MarrowAssessLib.cohort.apart",
    "MarrowAssessLib.findings.assessment",
    "MarrowAssessLib.scene.outputs", "MarrowAssessLib.sources.study_files",
    "MarrowAssessLib.sources.volume_source", "SimpleITK", "scipy.ndimage",
    "MarrowAssessLib.cohort.warmed",
]  # fmt: skip


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
        salt: of the cohort.
        n4, erosion_mm: settings of measuring.
        limits: what it may use.
        measure: the function that measures it, which only its process loads.
    """

    source: StudySource
    out: Path
    salt: str
    n4: bool = False
    erosion_mm: float = 0.0
    limits: Limits = field(default_factory=Limits)
    measure: str = "MarrowAssessLib.cohort.measuring:measured"


def measure_apart(task: Task) -> Outcome:
    """Measure a study in a process of its own; one that crashes is tried once more."""
    first = _once(task)
    return _once(task) if first.crashed else first


def _once(task: Task) -> Outcome:
    context = _context()
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(task, there), daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(task.limits.seconds):
            return Outcome(FAILED, f"It took more than {task.limits.seconds:g} s.", crashed=True)
        return here.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Outcome(FAILED, f"Its process ended by itself ({how}).", crashed=True)
    finally:
        here.close()
        if process.is_alive():
            process.kill()
        process.join()
        shutil.rmtree(staging_of(task), ignore_errors=True)


def _context() -> multiprocessing.context.BaseContext:
    """Processes forked from one that has loaded everything; started anew where that cannot be."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def staging_of(task: Task) -> Path:
    """Where a study's results are made, beside their place."""
    return task.out.with_name(f".writing-{task.out.name}")


def _child(task: Task, answer: Connection) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _limit_memory(task.limits.gigabytes)
    outcome = Outcome(FAILED)
    try:
        outcome.digest = task.source.digest()
        outcome.rows = resolve_name(task.measure)(task)
        outcome.state = DONE
    except MemoryError:
        outcome.reason = f"It needs more than {task.limits.gigabytes:g} GB of memory."
    except Exception as error:  # one broken study never stops the others
        outcome.reason = _sentence(error, task.source)
    answer.send(outcome)
    answer.close()


def _limit_memory(gigabytes: float) -> None:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    limit = int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _sentence(error: Exception, source: StudySource) -> str:
    """Why a study failed, without names of its files or folders."""
    from PDFFMapperLib.images.identity import without_names

    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, (ValueError, OSError)):
        text = f"It cannot be measured ({type(error).__name__}: {text})."
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}."
    folders = {parent for file in source.files for parent in file.parents[:3]}
    return without_names(text, [*source.files, source.path, *sorted(folders, key=str)[::-1]])
