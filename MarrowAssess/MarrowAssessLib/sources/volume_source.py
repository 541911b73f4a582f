"""One volume of a study from an image file or from a DICOM folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PDFFMapperLib.dicom import selection
from PDFFMapperLib.dicom.folder import listing, read_dicom_folder, selector
from PDFFMapperLib.dicom.series_role import guess_role
from PDFFMapperLib.images.patient import PatientFacts, Visit, shown_age, told_apart
from PDFFMapperLib.images.sidecar import with_stated_facts
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.contrasts import NO_CONTRAST, Contrast, parse_contrast
from MarrowAssessLib.sources.stated_patient import SAME_AGE_YEARS
from MarrowAssessLib.study.modality import refuse_other_modality


@dataclass
class DicomStudy:
    """The volumes of a DICOM folder whose role is certain, and the patient's age and sex."""

    sources: dict[Contrast, str]
    patient: PatientFacts
    notes: list[str]


def read_source(source: str | Path, contrast: Contrast) -> Volume:
    """Read an image file, a DICOM file, or the volume of a DICOM folder that fits a contrast.

    What JSON files beside an image state, such as the unit of a map, is heard.

    A folder with several volumes is narrowed by "#"; see PDFFMapperLib.dicom.selection.

    Raises:
        FileNotFoundError, ValueError: one sentence; several candidates are listed.
    """
    volume = selection.read_source(source, contrast.value, lambda facts: _role(facts) is contrast)
    path, chosen = selection.split_source(source)
    if path.is_file() and not chosen:
        volume = with_stated_facts(volume, path)
    refuse_other_modality(volume, contrast, str(source))
    return volume


def guess_study(folder: str | Path, named: Collection[Contrast] = ()) -> DicomStudy:
    """Find the volumes of a DICOM folder whose role their headers settle.

    Args:
        folder: with any number of series.
        named: contrasts that the user names; nothing is guessed for them.

    Raises:
        FileNotFoundError, ValueError: no folder, no DICOM, no volume or two of one role of which
            not exactly one is sagittal, or series of several patients (by identifier, age or sex),
            or images of several days.
    """
    found = read_dicom_folder(folder)
    patients = {series.visit.key for series in found} - {""}
    if len(patients) > 1:  # first: to name one of each would mix them
        raise ValueError(
            f"{folder}: its series are of {len(patients)} patients by their identifiers; keep one "
            "study in a folder."
        )
    by_contrast: dict[Contrast, list[tuple[str, bool, Visit]]] = {}
    notes = list(found.notes)
    for series in found:
        notes += series.notes
        notes += [f"Left out: {series.problem}"] if series.problem else []
        for volume in series.contents:
            role = _role(volume.attributes)
            if role and role not in named and not series.problem:
                source = f"{folder}#{selector(found, series, volume)}"
                one = (source, in_sagittal_slices(volume.ijk_to_ras), series.visit)
                by_contrast.setdefault(role, []).append(one)
    broken = [series.problem for series in found if series.problem]
    if not by_contrast and not named and broken:
        raise ValueError(f"{folder}: {' '.join(broken)}")
    if not by_contrast and not named:
        first = selector(found, found[0])
        raise ValueError(
            f"{folder}: no volume's role is certain; name them, such as "
            f"--volume T1={folder}#{first}. "
            f"Series here: {listing(found)}."
        )
    sources, visits = {}, []
    for contrast, several in by_contrast.items():
        sagittal = [one for one in several if one[1]]
        if len(several) > 1 and len(sagittal) != 1:
            raise ValueError(
                f"{folder}: {len(several)} volumes look like {contrast.value}; choose one with "
                f"--volume {contrast.value}={several[0][0]}. Series here: {listing(found)}."
            )
        sources[contrast], _, visit = several[0] if len(several) == 1 else sagittal[0]
        visits.append(visit)
        if len(several) > 1:
            notes.append(
                f"{contrast.value} is series {sources[contrast].removeprefix(str(folder))}, the "
                f"sagittal one of {len(several)} volumes that look like it."
            )
    if of := told_apart(visits):
        raise ValueError(
            f"{folder}: its images are of {of}; keep one study in a folder, or name the images "
            "(--volume)."
        )
    ages = [s.patient.age_years for s in found if s.patient.age_years is not None]
    sexes = {s.patient.sex for s in found if s.patient.sex}
    if len(sexes) > 1 or (ages and max(ages) - min(ages) > SAME_AGE_YEARS):
        raise ValueError(
            f"{folder}: its series are of different patients or years (ages "
            f"{', '.join(f'{age:g}' for age in sorted(set(ages)))}; sexes "
            f"{', '.join(sorted(sexes))}); keep one study in a folder."
        )
    patient = PatientFacts(shown_age(ages[0] if ages else None), next(iter(sexes), None))
    return DicomStudy(sources, patient, notes)


def in_sagittal_slices(ijk_to_ras: np.ndarray) -> bool:
    """Whether slices, across which voxels are longest, follow from side to side."""
    spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    across = ijk_to_ras[:3, int(spacing.argmax())]
    return int(np.abs(across).argmax()) == 0 and spacing.max() > 1.5 * np.median(spacing)


def _role(facts: Mapping[str, object]) -> Contrast | None:
    guess = guess_role(facts)
    return parse_contrast(guess) if guess and guess not in NO_CONTRAST else None
