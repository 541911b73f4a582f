"""What is in a folder: series and images, their role with its ground, and what is left out and why.

For the command `inspect` and for panels, so that nobody has to guess what was seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from PDFFMapperLib.dicom.acquisitions import diffusion_volumes, echo_volumes
from PDFFMapperLib.dicom.folder import (
    DicomFolder,
    DicomSeries,
    no_image_in,
    objects_left_out,
    read_dicom_files,
    selector,
)
from PDFFMapperLib.dicom.series_role import guess_role
from PDFFMapperLib.dicom.volume import DicomVolume
from PDFFMapperLib.diffusion.stated import take_stated_diffusion
from PDFFMapperLib.images.attributes import (
    image_type_of,
    is_diffusion_map,
    number_of,
    product_of_image_type,
)
from PDFFMapperLib.images.bids import bids_name
from PDFFMapperLib.images.files import read_series
from PDFFMapperLib.images.foreign import archive_of
from PDFFMapperLib.images.patient import PatientFacts
from PDFFMapperLib.images.sidecar import sidecar_of_image
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress, share, tell

SHORT_TE_MS = 0.2  # an echo before that is one of UTE or ZTE
_SPECTRA = (".rda", ".sdat")
_BESIDE = (".spar", ".list")  # of a spectrum's signals
_OTHERS = {".mrk.json": "markups", ".mrb": "Slicer scene"}
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
        content: what it holds where that is no image: "spectrum: TE 30 ms".
    """

    name: str
    description: str
    volumes: list[FoundVolume]
    problem: str = ""
    notes: list[str] = field(default_factory=list)
    content: str = ""


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


def inventory(folder: str | Path, progress: Progress | None = None) -> Inventory:
    """List what is in a folder (or file), reading headers of DICOM and small facts of others.

    Args:
        folder: where to look, in the folders in it as well.
        progress: called with the fraction done; returning False cancels.

    Raises:
        FileNotFoundError: there is no such folder or file.
        InterruptedError: canceled.
    """
    root = Path(folder)
    if not root.exists():
        raise FileNotFoundError(f"{root}: there is no such file or folder.")
    files = sorted(root.rglob("*")) if root.is_dir() else [root]
    files = [file for file in files if file.is_file() and not file.name.startswith(".")]
    images = [file for file in files if file.name.lower().endswith(_FILES)]
    dicom = read_dicom_files(files, str(root), share(progress, 0, 0.9))
    series = [_of_dicom(dicom, one) for one in dicom]
    for n, file in enumerate(images):
        tell(progress, 0.9 + 0.1 * n / len(images), f"Reading {root}")
        try:
            series.append(_of_image_file(file, root))
        except (ValueError, OSError) as error:
            series.append(FoundSeries(_relative(file, root), file.name, [], problem=str(error)))
    held = {file: _of_other(file, root) for file in dicom.not_dicom if file not in images}
    held |= {file: _of_spectrum(file, root, "") for file in dicom.others}
    series += [one for one in held.values() if one is not None]
    rest = {file for file, one in held.items() if one is None}
    left_out = [
        note for note in dicom.notes if "left out: " not in note and "not DICOM" not in note
    ]
    left_out += objects_left_out(dicom.others[file] for file in dicom.others if file in rest)
    stems = {file.with_suffix("") for file, one in held.items() if one is not None}
    beside = {file for file in rest if file.suffix.lower() in _BESIDE}
    rest -= {file for file in beside if file.with_suffix("") in stems}
    packed = {file for file in rest if file in dicom.not_dicom and archive_of(file)}
    if others := _endings(file for file in dicom.not_dicom if file in rest - packed):
        left_out.append(f"files that are neither image, spectrum nor DICOM: {others}.")
    patient = PatientFacts()
    for one in dicom:
        patient = patient.completed(one.patient)
    left_out += [one.removeprefix("Left out: ") for one in patient.unread]
    ages = {one.patient.age_years for one in dicom if one.patient.age_years is not None}
    sexes = {one.patient.sex for one in dicom if one.patient.sex}
    nothing = no_image_in(root) if files else f"{root}: no file is in this folder."
    return Inventory(
        series,
        left_out if series or left_out else [nothing],
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
    for _, alike in groupby(found.series, _spectra_of_folder):
        first, *more = alike
        text += _series_lines(first)
        if more:
            text.append(f"   and {len(more)} more of this folder, up to {more[-1].name}")
    text += [f"Left out: {reason}" for reason in found.left_out]
    return text + found.acquisitions


def role_and_ground(
    attributes: Mapping[str, object], description: str | None = None
) -> tuple[str | None, str]:
    """The role of an image (see `guess_role`), and what tells it in a few words."""
    role = guess_role(attributes, description)
    component = attributes.get("ImageComponent")
    if role is None:
        return None, f"{component} image" if component in ("phase", "real", "imaginary") else (
            "name and timing do not settle it"
        )  # fmt: skip
    if product_of_image_type(image_type_of(attributes)) or is_diffusion_map(attributes):
        return role, "image type " + "\\".join(image_type_of(attributes)[2:])
    if role == "dwi" and "DiffusionBValue" in attributes:
        return role, "b-values"
    if role == "multi_echo" and (number_of(attributes, "NumberOfEchoes") or 1) > 2:
        return role, f"{number_of(attributes, 'NumberOfEchoes'):g} echoes"
    if attributes.get("Modality") == "PT":
        return role, "modality PT"
    if role in ("ct_low", "ct_high"):
        voltage = number_of(attributes, "KVP")
        return role, "CT" if voltage is None else f"CT at {voltage:g} kV"
    if guess_role(attributes, "") == role:
        return role, "timing"
    return role, "name, which the timing does not contradict"


def _of_dicom(found: DicomFolder, series: DicomSeries) -> FoundSeries:
    volumes = [_volume(selector(found, series, one), one) for one in series.contents]
    return FoundSeries(
        selector(found, series), series.description, _ute(volumes), series.problem, series.notes
    )


def _volume(name: str, volume: DicomVolume) -> FoundVolume:
    role, ground = role_and_ground(volume.attributes)
    return _described(name, role, ground, volume.shape, volume.ijk_to_ras, volume.attributes)


def _ute(volumes: list[FoundVolume]) -> list[FoundVolume]:
    """Echoes without another role are those of UTE where the first of them comes that early."""
    times = [one.echo_time_ms for one in volumes if one.echo_time_ms]
    if not times or min(times) > SHORT_TE_MS:
        return volumes
    ground = f"first echo at {min(times):g} ms"
    is_echo = [one.role in (None, "multi_echo") and one.component != "phase" for one in volumes]
    return [
        replace(one, role="ute", ground=ground) if echo else one
        for one, echo in zip(volumes, is_echo, strict=True)
    ]


def _of_image_file(file: Path, root: Path) -> FoundSeries:
    """An image file, or the spectrum or the segments that a file of an image's ending holds."""
    try:
        volumes = read_series(file)
    except ValueError:
        if spectrum := _of_spectrum(file, root, ".nii"):
            return spectrum
        raise
    if volumes[0].array.size == 1 and (spectrum := _of_spectrum(file, root, ".nii")):
        return spectrum
    if file.name.lower().endswith((".seg.nrrd", ".seg.nhdr")):
        return FoundSeries(_relative(file, root), file.name, [], content="segmentation")
    return _of_file(file, root, volumes)


def _of_other(file: Path, root: Path) -> FoundSeries | None:
    """A spectrum, raw data or a file of Slicer; None for others."""
    from PDFFMapperLib.spectroscopy.raw import raw_content

    name = file.name.lower()
    if name.endswith(_SPECTRA):
        return _of_spectrum(file, root, "")
    content = next((what for ending, what in _OTHERS.items() if name.endswith(ending)), "")
    content = content or raw_content(file)
    return FoundSeries(_relative(file, root), file.name, [], content=content) if content else None


def _of_spectrum(file: Path, root: Path, ending: str) -> FoundSeries | None:
    """A spectrum with its echo times; None where a file of that ending or a DICOM file is none."""
    from PDFFMapperLib.spectroscopy.files import read_spectra

    if ending not in file.name.lower():
        return None
    name = _relative(file, root)
    try:
        spectra = read_spectra([file])
    except (ValueError, OSError) as error:
        if file.name.lower().endswith(_SPECTRA):
            return FoundSeries(name, file.name, [], problem=str(error))
        return None
    times = ", ".join("unknown" if s.te_ms is None else f"{s.te_ms:g}" for s in spectra)
    return FoundSeries(
        name, file.name, [], content=f"spectrum of {spectra[0].nucleus}, TE {times} ms"
    )


def _endings(files: Iterable[Path]) -> str:
    """How many files there are of each ending."""
    endings = Counter(file.suffix.lower() or "no ending" for file in files)
    return ", ".join(f"{count} x {ending}" for ending, count in sorted(endings.items()))


def _of_file(file: Path, root: Path, volumes: list[Volume]) -> FoundSeries:
    sidecar = sidecar_of_image(file)
    notes = [*(sidecar.notes if sidecar else []), *volumes[0].notes]
    try:
        notes += take_stated_diffusion(volumes, file)
    except ValueError as error:
        notes.append(str(error))
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
    return FoundSeries(name, file.name, _ute(found), notes=notes)


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


_TOLD_BY = {"pdff": ("EchoTime", "TE", "ms"), "ivim": ("DiffusionBValue", "b", "s/mm^2")}


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
        told = f"{command}: {_counted(chosen.volumes, *_TOLD_BY[command])}."
        sentences.append(" ".join([told, *joined]))
    return sentences


def _counted(volumes: list[DicomVolume], fact: str, name: str, unit: str) -> str:
    """How many volumes there are, and of which echo times or b-values."""
    absent = 0.0 if fact == "DiffusionBValue" else None  # as ivim takes it beside others
    stated = (number_of(one.attributes, fact) for one in volumes)
    values = {absent if one is None else one for one in stated} - {None}
    count = "1 volume" if len(volumes) == 1 else f"{len(volumes)} volumes"
    told = ", ".join(f"{value:g}" for value in sorted(values))
    return f"{count}, {name} {told} {unit}" if values else count


def _relative(file: Path, root: Path) -> str:
    return str(file.relative_to(root)) if root.is_dir() else file.name


def _spectra_of_folder(series: FoundSeries) -> object:
    """What spectra of one folder share: a series has them in many files; itself of all others."""
    alike = series.content.startswith("spectrum") and not (series.problem or series.notes)
    return (Path(series.name).parent, series.content) if alike else id(series)


def _series_lines(series: FoundSeries) -> list[str]:
    text = [f"#{series.name} {series.description}"]
    if series.content:
        text.append(f"   {series.content}")
    if series.problem:
        text.append(f"   cannot be used: {series.problem}")
    alike = groupby(series.volumes, lambda one: replace(one, name=""))
    text += [f"   {_volumes_line(list(volumes))}" for _, volumes in alike]
    return text + [f"   note: {note}" for note in series.notes]


def _volumes_line(volumes: list[FoundVolume]) -> str:
    """Volumes that differ in their place alone, as blocks of slices or points in time do."""
    volume, last = volumes[0], volumes[-1]
    names = volume.name if volume.name == last.name else f"{volume.name} to {last.name}"
    count = "" if len(volumes) == 1 else f" ({len(volumes)} volumes alike)"
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
    line = f"{names}: {role} ({volume.ground}); {size} voxels of {spacing} mm; {told}"
    return line.rstrip("; ") + count
