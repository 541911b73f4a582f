"""What is in a folder: series and images, their role with its ground, and what is left out and why.

For the command `inspect` and for panels, so that nobody has to guess what was seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from PDFFMapperLib.dicom.folder import DicomFolder, DicomSeries, read_dicom_folder
from PDFFMapperLib.dicom.selection import diffusion_volumes, echo_volumes, selector
from PDFFMapperLib.dicom.series_role import guess_role
from PDFFMapperLib.dicom.volume import DicomVolume
from PDFFMapperLib.images.attributes import (
    image_type_of,
    is_diffusion_map,
    number_of,
    product_of_image_type,
)
from PDFFMapperLib.images.bids import bids_name
from PDFFMapperLib.images.files import read_series
from PDFFMapperLib.images.sidecar import sidecar_of_image

_FILES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr")
_BIDS_ROLES = {
    "T1w": "T1", "T2w": "T2", "MEGRE": "multi_echo", "MESE": "multi_echo", "dwi": "dwi",
    "PDFFmap": "pdff", "R2starmap": "r2star", "ADCmap": "adc",
}  # fmt: skip


@dataclass(frozen=True)
class FoundVolume:
    """One 3D image.

    Attributes:
        name: what chooses it: "7:2" behind a "#" in a DICOM folder, or a file's name.
        role: what it seems to be for ("T1", "water", "pdff", "dwi" ...), None if not certain.
        ground: why.
        size: voxels along i, j, k.
        spacing_mm: their lengths.
        component: "magnitude", "phase" ..., "" where not told.
        echo_time_ms, repetition_time_ms, b_value: None where not told.
    """

    name: str
    role: str | None
    ground: str
    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    component: str = ""
    echo_time_ms: float | None = None
    repetition_time_ms: float | None = None
    b_value: float | None = None


@dataclass(frozen=True)
class FoundSeries:
    """A series or an image file.

    Attributes:
        name: what chooses it.
        description: of the scanner, or the file's name.
        volumes: its images.
        problem: why no image can be had of it, "" when all is well.
        notes: what was repaired or looks odd.
    """

    name: str
    description: str
    volumes: list[FoundVolume]
    problem: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Inventory:
    """What a folder holds.

    Attributes:
        series: DICOM series, then image files.
        left_out: what is no image, or cannot be read, and why.
        acquisitions: sentences on series that belong together, or on why they do not.
        age_years, sex: of the patient, where all that tell it agree.
    """

    series: list[FoundSeries]
    left_out: list[str]
    acquisitions: list[str]
    age_years: float | None = None
    sex: str | None = None


def inventory(folder: str | Path) -> Inventory:
    """List what is in a folder (or file), reading headers of DICOM and small facts of others.

    Raises:
        FileNotFoundError: there is no such folder or file.
    """
    root = Path(folder)
    if not root.exists():
        raise FileNotFoundError(f"{root}: there is no such file or folder.")
    files = sorted(root.rglob("*")) if root.is_dir() else [root]
    images = [file for file in files if file.is_file() and file.name.lower().endswith(_FILES)]
    left_out: list[str] = []
    try:
        dicom = read_dicom_folder(root)
        left_out += dicom.notes
    except ValueError as error:
        dicom = DicomFolder()
        left_out += [] if images else [str(error)]
    series = [_of_dicom(dicom, one) for one in dicom]
    for file in images:
        try:
            series.append(_of_file(file, root))
        except (ValueError, OSError) as error:
            series.append(FoundSeries(_relative(file, root), file.name, [], problem=str(error)))
    ages = {one.patient.age_years for one in dicom if one.patient.age_years is not None}
    sexes = {one.patient.sex for one in dicom if one.patient.sex}
    return Inventory(
        series,
        left_out,
        _acquisitions(dicom),
        ages.pop() if len(ages) == 1 else None,
        sexes.pop() if len(sexes) == 1 else None,
    )


def lines(found: Inventory, folder: str | Path) -> list[str]:
    """The inventory as text, one line for an image."""
    text = [f"{folder}: {len(found.series)} series or image files."]
    if found.age_years is not None or found.sex:
        age = "" if found.age_years is None else f"{found.age_years:.1f} years"
        text.append("Patient: " + ", ".join(filter(None, [age, found.sex])) + ".")
    for series in found.series:
        text += _series_lines(series)
    text += [f"Left out: {reason}" for reason in found.left_out]
    return text + found.acquisitions


def role_and_ground(
    attributes: Mapping[str, object], description: str | None = None
) -> tuple[str | None, str]:
    """The role of an image (see `guess_role`), and what tells it in a few words."""
    role = guess_role(attributes, description)
    component = attributes.get("ImageComponent")
    if role is None:
        return None, f"a {component} image" if component in ("phase", "real", "imaginary") else (
            "name and timing do not settle it"
        )  # fmt: skip
    if product_of_image_type(image_type_of(attributes)) or is_diffusion_map(attributes):
        return role, "image type " + "\\".join(image_type_of(attributes)[2:])
    if role == "dwi" and "DiffusionBValue" in attributes:
        return role, "b-values"
    if role == "multi_echo" and (number_of(attributes, "NumberOfEchoes") or 1) > 2:
        return role, f"{number_of(attributes, 'NumberOfEchoes'):g} echoes"
    if guess_role(attributes, "") == role:
        return role, "timing"
    return role, "name, which the timing does not contradict"


def _of_dicom(found: DicomFolder, series: DicomSeries) -> FoundSeries:
    return FoundSeries(
        selector(found, series),
        series.description,
        [_volume(selector(found, series, one), one) for one in series.contents],
        series.problem,
        series.notes,
    )


def _volume(name: str, volume: DicomVolume) -> FoundVolume:
    role, ground = role_and_ground(volume.attributes)
    return _described(name, role, ground, volume.shape, volume.ijk_to_ras, volume.attributes)


def _of_file(file: Path, root: Path) -> FoundSeries:
    volumes = read_series(file)
    sidecar = sidecar_of_image(file)
    suffix = bids_name(file).suffix
    name = _relative(file, root)
    found = []
    for volume in volumes:
        facts = {**(sidecar.attributes if sidecar else {}), **volume.attributes}
        role, ground = role_and_ground(facts, str(facts.get("SeriesDescription", "")))
        if suffix in _BIDS_ROLES:
            role, ground = _BIDS_ROLES[suffix], f"BIDS name {suffix}"
        array = volume.array
        found.append(_described(name, role, ground, array.shape, volume.ijk_to_ras, facts))
    notes = [*(sidecar.notes if sidecar else []), *volumes[0].notes]
    return FoundSeries(name, file.name, found, notes=notes)


def _described(
    name: str,
    role: str | None,
    ground: str,
    shape: Iterable[int],
    matrix: np.ndarray,
    facts: Mapping[str, object],
) -> FoundVolume:
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    return FoundVolume(
        name,
        role,
        ground,
        tuple(int(length) for length in tuple(shape)[::-1]),
        tuple(round(float(length), 3) for length in spacing),
        str(facts.get("ImageComponent", "")),
        number_of(facts, "EchoTime"),
        number_of(facts, "RepetitionTime"),
        number_of(facts, "DiffusionBValue"),
    )


def _acquisitions(dicom: DicomFolder) -> list[str]:
    """What `pdff` and `ivim` would take of the folder, or why they would take nothing."""
    if not dicom:
        return []
    sentences = []
    for command, choose in (("pdff", echo_volumes), ("ivim", diffusion_volumes)):
        try:
            chosen = choose(dicom)
        except ValueError as error:
            sentences.append(f"{command}: {error}")
            continue
        joined = [note for note in chosen.notes if "joined" in note]
        sentences.append(" ".join([f"{command}: {len(chosen.volumes)} volumes.", *joined]))
    return sentences


def _relative(file: Path, root: Path) -> str:
    return str(file.relative_to(root)) if root.is_dir() else file.name


def _series_lines(series: FoundSeries) -> list[str]:
    text = [f"#{series.name} {series.description}"]
    if series.problem:
        text.append(f"   cannot be used: {series.problem}")
    text += [f"   {_volume_line(volume)}" for volume in series.volumes]
    return text + [f"   note: {note}" for note in series.notes]


def _volume_line(volume: FoundVolume) -> str:
    size = " x ".join(map(str, volume.size))
    spacing = " x ".join(f"{length:.2f}" for length in volume.spacing_mm)
    facts = [
        volume.component,
        "" if volume.echo_time_ms is None else f"TE {volume.echo_time_ms:g} ms",
        "" if volume.repetition_time_ms is None else f"TR {volume.repetition_time_ms:g} ms",
        "" if volume.b_value is None else f"b {volume.b_value:g} s/mm^2",
    ]
    role = volume.role or "no certain role"
    told = ", ".join(filter(None, facts))
    return f"{volume.name}: {role} ({volume.ground}); {size} voxels of {spacing} mm; {told}".rstrip(
        "; "
    )
