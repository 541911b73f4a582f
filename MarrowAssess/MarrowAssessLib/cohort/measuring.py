"""One study of a cohort, measured in a process of its own: whatever it does harms no other."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from MarrowAssessLib.cohort.inventory import StudySource, salted
from MarrowAssessLib.cohort.state import DONE, FAILED, Outcome

PRELOADED = [
    "MarrowAssessLib.cohort.measuring", "MarrowAssessLib.findings.assessment",
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
    """

    source: StudySource
    out: Path
    salt: str
    n4: bool = False
    erosion_mm: float = 0.0
    limits: Limits = field(default_factory=Limits)


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
        shutil.rmtree(_staging(task), ignore_errors=True)


def _context() -> multiprocessing.context.BaseContext:
    """Processes forked from one that has loaded everything; started anew where that cannot be."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _staging(task: Task) -> Path:
    return task.out.with_name(f".writing-{task.out.name}")


def _child(task: Task, answer: Connection) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _limit_memory(task.limits.gigabytes)
    outcome = Outcome(FAILED)
    try:
        outcome.digest = task.source.digest()
        outcome.rows = _measured(task)
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


def _measured(task: Task) -> list[dict]:
    """Read, measure and write one study; its rows."""
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.measures.book import Settings
    from MarrowAssessLib.report.data import rows_of
    from MarrowAssessLib.scene.outputs import write_outputs
    from MarrowAssessLib.sources.study_files import read_study

    arguments, patient = _arguments(task.source.path)
    study = read_study(**arguments)
    study.subject = ""
    assessment = assess(study, Settings(task.erosion_mm, task.n4))
    if not assessment.results:
        raise ValueError("Nothing can be measured on its images in its regions.")
    assessment.notes += study.notes
    staging = _staging(task)
    shutil.rmtree(staging, ignore_errors=True)
    write_outputs(assessment, staging, False, lambda _: None)
    shutil.rmtree(task.out, ignore_errors=True)
    staging.replace(task.out)
    who = salted(patient, task.salt) if patient else ""
    return [{"study": task.source.id, "patient": who, **row} for row in rows_of(assessment)]


def _arguments(path: Path) -> tuple[dict, str]:
    """What read_study takes, and the patient's identifier, which only its hash leaves."""
    from MarrowAssessLib.sources.study_file import read_study_file
    from MarrowAssessLib.sources.volume_source import guess_study

    if path.is_file():
        arguments = read_study_file(path)
        return arguments, str(arguments.get("subject") or "")
    guessed = guess_study(path)
    sex = guessed.patient.sex if guessed.patient.sex in ("F", "M") else None
    return (
        {"volumes": guessed.sources, "age_years": guessed.patient.age_years, "sex": sex},
        _patient_id(path),
    )


def _patient_id(folder: Path) -> str:
    from PDFFMapperLib.images.files import is_dicom
    from pydicom.filereader import dcmread

    for file in sorted(folder.rglob("*")):
        if file.is_file() and is_dicom(file):
            header = dcmread(file, stop_before_pixels=True, specific_tags=["PatientID"])
            if header.get("PatientID"):
                return str(header.PatientID)
    return ""


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
