"""What is done with one study of a cohort: read, measured, written; its rows for the tables."""

from __future__ import annotations

import json

from MarrowAssessLib.cohort.apart import Task
from MarrowAssessLib.cohort.bids_out import write_regions
from MarrowAssessLib.cohort.inventory import StudySource, patient_id
from MarrowAssessLib.sources.inputs import StudyFiles

_ACQUIRED = ("Manufacturer", "ManufacturersModelName", "ManufacturerModelName",
             "MagneticFieldStrength", "RepetitionTime", "EchoTime")  # fmt: skip
THUMBNAIL = "thumbnail.png"


def measured(task: Task) -> tuple[list[dict], dict]:
    """Read, measure and write one study to `task.staging`.

    Returns:
        Its rows, and facts: "patient" as the images or the study file call them, and "acquired",
        what differs between scanners, by image.
    """
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.findings.verdict import nothing_measured
    from MarrowAssessLib.measures.book import Settings
    from MarrowAssessLib.report.data import rows_of
    from MarrowAssessLib.report.thumbnail import write_thumbnail
    from MarrowAssessLib.scene.outputs import write_outputs
    from MarrowAssessLib.sources.study_files import read_study

    files, patient, notes = _files(task.source)
    study = read_study(files)
    study.notes = list(dict.fromkeys([*notes, *study.notes]))
    study.subject = ""
    assessment = assess(study, Settings(task.erosion_mm, task.n4))
    if not assessment.results:
        raise ValueError(nothing_measured(assessment))
    assessment.notes += study.notes
    write_outputs(assessment, task.staging, False, lambda _: None)
    write_thumbnail(study, task.staging / THUMBNAIL)
    if task.regions:
        write_regions(study, task.staging)
    acquired = {contrast.value: _acquired(volume) for contrast, volume in study.volumes.items()}
    return rows_of(assessment), {"patient": patient, "acquired": acquired}


def _acquired(volume: object) -> dict[str, object]:
    """Scanner, times and voxel size of an image."""
    facts = {key: volume.attributes[key] for key in _ACQUIRED if volume.attributes.get(key)}
    found = {key: v if isinstance(v, (int, float)) else str(v) for key, v in facts.items()}
    return found | {"spacing_mm": " x ".join(f"{one:.3g}" for one in volume.spacing)}


def _files(source: StudySource) -> tuple[StudyFiles, str, list[str]]:
    """What to read, the patient's identifier (only its hash leaves), and what a folder said."""
    from PDFFMapperLib.images.identity import without_names

    from MarrowAssessLib.sources.study_file import read_study_file, study_files
    from MarrowAssessLib.sources.volume_source import guess_study

    path = source.path
    if source.content:
        base = path.parent if path.is_file() else path
        return study_files(json.loads(source.content), base, source.name), source.patient, []
    if path.is_file():
        files = read_study_file(path)
        return files, files.subject, []
    guessed = guess_study(path)
    sex = guessed.patient.sex if guessed.patient.sex in ("F", "M") else None
    files = StudyFiles(guessed.sources, age_years=guessed.patient.age_years, sex=sex)
    return files, patient_id(path), [without_names(note, [path]) for note in guessed.notes]
