"""What is done with one study of a cohort: read, measured, written; its rows for the tables."""

from __future__ import annotations

import shutil
from pathlib import Path

from MarrowAssessLib.cohort.apart import Task, staging_of
from MarrowAssessLib.cohort.inventory import salted


def measured(task: Task) -> list[dict]:
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
    staging = staging_of(task)
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
    from PDFFMapperLib.dicom.preamble import is_dicom
    from pydicom.filereader import dcmread

    for file in sorted(folder.rglob("*")):
        if file.is_file() and is_dicom(file):
            header = dcmread(file, stop_before_pixels=True, specific_tags=["PatientID"])
            if header.get("PatientID"):
                return str(header.PatientID)
    return ""
