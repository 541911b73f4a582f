"""DICOM folders in: MR series sorted into 3D volumes, classic and enhanced multi-frame.

pydicom reads the headers and uncompressed pixels, SimpleITK's GDCM decodes compressed pixels.
Listing a folder reads headers only; pixels follow when a volume is asked for. The patient's name,
identifiers and dates never enter a volume's attributes; age and sex are kept apart.
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from PDFFMapperLib.dicom.elements import (
    GE_POLARITY,
    GE_SEQUENCE,
    PARAMETRIC_MAP,
    number_in,
    numbers_in,
)
from PDFFMapperLib.dicom.facts import attributes_of, patient_of, visit_of
from PDFFMapperLib.dicom.frames import Frame, flattened_frames, frames_of_file
from PDFFMapperLib.dicom.header import NotDicom, read_header
from PDFFMapperLib.dicom.sorting import sort_frames
from PDFFMapperLib.dicom.volume import DicomVolume, read_volumes, volumes_of_series
from PDFFMapperLib.images.foreign import archive_of, archives_left_out
from PDFFMapperLib.images.patient import PatientFacts, Visit, short_key
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress, tell

_DICOMDIR = "1.2.840.10008.1.3.10"
_OBJECTS = "DICOM objects without images in space were left out"
_RAW, _RAW_CT = "Raw Data Storage", " (raw data of a CT)"
_IMAGES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


@dataclass(frozen=True)
class DicomStudy:
    """The study of a series.

    Attributes:
        key: short hash of its UID, see `short_key`; "" without one.
        date: as DICOM writes it, "" where it is not known.
        description: as typed at the scanner.
    """

    key: str = ""
    date: str = ""
    description: str = ""


@dataclass
class DicomSeries:
    """One series of a folder.

    Attributes:
        key: short hash of the series' UID: the same for the same series, tells nothing else.
        description: the scanner's series description.
        contents: its 3D volumes, unread, ordered by component, echo time, b-value and time.
        patient: age and sex.
        notes: sentences about what was repaired, skipped or looks odd.
        problem: why no volume can be had of this series, "" when all is well.
        facts: what one of its headers says of the acquisition, also where there is a problem.
        visit: whose it is, to tell others from it; not to be written anywhere.
        study: of its first header.
    """

    key: str
    description: str
    contents: list[DicomVolume]
    patient: PatientFacts
    notes: list[str] = field(default_factory=list)
    problem: str = ""
    facts: dict[str, object] = field(default_factory=dict)
    visit: Visit = field(default_factory=Visit)
    study: DicomStudy = DicomStudy()

    @property
    def attributes(self) -> dict[str, object]:
        """The facts that all volumes of the series share."""
        if not self.contents:
            return {}
        first, *others = (volume.attributes for volume in self.contents)
        return {
            key: value
            for key, value in first.items()
            if all(other.get(key) == value for other in others)
        }

    @cached_property
    def volumes(self) -> list[Volume]:
        """All volumes, read on first use.

        Raises:
            ValueError: slices are missing, a file is truncated or cannot be decoded.
        """
        if self.problem:
            raise ValueError(self.problem)
        return read_volumes(self.contents)


class DicomFolder(list[DicomSeries]):
    """The series of a folder.

    Attributes:
        notes: which files were left out and why.
        unreadable: DICOM files whose header cannot be read; their series may lack a slice.
        others: DICOM files that are no images, and what they are: reports, spectra ...
        not_dicom: files of another kind.
    """

    def __init__(
        self,
        series: Iterable[DicomSeries] = (),
        notes: Iterable[str] = (),
        unreadable: Iterable[Path] = (),
        others: Mapping[Path, str] | None = None,
        not_dicom: Iterable[Path] = (),
    ):
        super().__init__(series)
        self.notes = list(notes)
        self.unreadable = list(unreadable)
        self.others = dict(others or {})
        self.not_dicom = list(not_dicom)


def read_dicom_folder(path: str | Path, progress: Progress | None = None) -> DicomFolder:
    """List the MR series in a folder and its subfolders (or in one file), without their pixels.

    Files that are not DICOM images (presentation states, reports, private objects, DICOMDIR, text)
    are left out and counted in `notes`. A series with missing, doubled or truncated slices is
    listed with its `problem`, which reading it raises.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: nothing in it is a DICOM image.
        InterruptedError: the user canceled.
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"{root}: there is no such folder.")
    files = [root] if root.is_file() else _files_below(root)
    found = read_dicom_files(files, str(root), progress)
    if not found:
        others = [file.name for file in files if file.name.lower().endswith(_IMAGES)]
        if others and root.is_dir():
            found.notes.append(f"To read an image file name it itself, such as {others[0]}.")
        raise ValueError(" ".join([no_image_in(root), *found.notes]))
    return found


def no_image_in(root: Path) -> str:
    """The sentence on a folder or file without a DICOM image."""
    if root.is_dir():
        return f"{root}: no DICOM image is in this folder."
    if root.name.upper().startswith("DICOMDIR"):
        return f"{root}: this is the index of a disk; name the folder that it lies in."
    if root.is_file() and (told := archive_of(root)):
        return f"{root}: this is no DICOM image; {told}"
    return f"{root}: this is no DICOM image."


def read_dicom_files(
    files: Sequence[Path], where: str, progress: Progress | None = None
) -> DicomFolder:
    """List the MR series that some files hold, as `read_dicom_folder` does those of a folder.

    Args:
        files: in any order.
        where: what they are in sentences.
        progress: called with the fraction done; returning False cancels.

    Raises:
        InterruptedError: the user canceled.
    """
    found: dict[str, _Found] = {}
    skipped = _Skipped()
    with warnings.catch_warnings():
        # Vendors break length and character rules that do not matter here.
        warnings.simplefilter("ignore")
        for n, file in enumerate(files):
            if n % 50 == 0:
                tell(progress, n / len(files), f"Reading {where}")
            _take(file, found, skipped)
        series = [_sort_series(one) for one in found.values()]
    series.sort(key=lambda one: (_series_number(one), one.description, one.key))
    return DicomFolder(
        series, skipped.sentences(), skipped.files, skipped.objects, skipped.not_dicom
    )


@dataclass
class _Found:
    """The frames of one series while the folder is read."""

    uid: str
    header: Dataset
    frames: list[Frame] = field(default_factory=list)
    instances: dict[tuple, Path] = field(default_factory=dict)
    copies: int = 0
    problem: str = ""


class _Skipped:
    """What was left out of a listing."""

    def __init__(self) -> None:
        self.not_dicom: list[Path] = []
        self.objects: dict[Path, str] = {}
        self.unreadable: dict[str, list[Path]] = {}  # files by what is wrong with them

    @property
    def files(self) -> list[Path]:
        return [file for files in self.unreadable.values() for file in files]

    def add_unreadable(self, file: Path, reason: str) -> None:
        self.unreadable.setdefault(reason, []).append(file)

    def add_object(self, file: Path, sop_class: str, header: Dataset) -> None:
        name = UID(sop_class).name
        kind = "private" if name == sop_class else name
        if header.get("SamplesPerPixel", 1) != 1:
            kind += " (color picture)"
        elif kind in ("private", _RAW) and header.get("Modality") == "CT":
            kind += _RAW_CT
        self.objects[file] = kind

    def sentences(self) -> list[str]:
        notes = []
        for reason, files in self.unreadable.items():
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            notes.append(f"{files[0].name}{more}: {reason}")
        if self.not_dicom:
            notes.append(f"{len(self.not_dicom)} file(s) are not DICOM and were left out.")
            notes += archives_left_out(self.not_dicom)
        return notes + objects_left_out(self.objects.values())


def objects_left_out(kinds: Iterable[str]) -> list[str]:
    """A sentence that counts DICOM objects that are no images, and what helps; none for none."""
    counts = sorted(Counter(kinds).items())
    counted = ", ".join(f"{count} x {kind}" for kind, count in counts)
    said = [f"{_OBJECTS}: {counted}."] if counted else []
    if any(kind.endswith(_RAW_CT) for kind, _ in counts):
        said.append(
            "Raw data of a CT, such as spectral base images (SBI), are read by their maker's "
            "software alone: export from there two monoenergetic images (50 and 200 keV), or both "
            "tube voltages."
        )
    return said


def _files_below(root: Path) -> list[Path]:
    return sorted(
        Path(folder) / name
        for folder, _, names in os.walk(root)
        for name in names
        if not name.startswith(".")
    )


def _take(file: Path, found: dict[str, _Found], skipped: _Skipped) -> None:
    """Add the frames of one file to its series, or say why not."""
    one = None
    try:
        header, bytes_left = read_header(file)
        stored_as = header.file_meta.get("MediaStorageSOPClassUID", "")
        if stored_as == _DICOMDIR:
            return
        # Some anonymizers take the image's own SOP class away; its file's is the same (PS3.10).
        sop_class = str(header.get("SOPClassUID") or ("Rows" in header and stored_as) or "")
        uid = str(header.get("SeriesInstanceUID", ""))
        if sop_class and not _may_be_image(sop_class, header):
            skipped.add_object(file, sop_class, header)
            return
        if not uid or not sop_class:
            skipped.add_unreadable(
                file,
                f"this DICOM file has no {'SOP class' if uid else 'series'} UID and was left out: "
                "it ends within its header, or the UID was taken away; copy or export it again, "
                "its series may lack a slice.",
            )
            return
        one = found.setdefault(uid, _Found(uid, header))
        # Careless anonymization gives all images one UID: number and place must agree, too.
        instance = (
            str(header.get("SOPInstanceUID", file)),
            number_in(header, "InstanceNumber"),
            tuple(numbers_in(header, "ImagePositionPatient")),
        )
        if known := one.instances.get(instance):
            one.copies += 1
            if _voxels_differ(known, file):
                raise ValueError(
                    f"{known.name} has its identifier, number and place, and other voxels; take "
                    "away the one that is not wanted."
                )
            return
        one.instances[instance] = file
        if reason := _unusable(header, bytes_left):
            raise ValueError(reason)
        one.frames += frames_of_file(file, header)
    except NotDicom:
        skipped.not_dicom.append(file)
    except Exception as error:  # pydicom raises many kinds on damaged files
        if one is None:
            skipped.add_unreadable(
                file,
                "this DICOM file cannot be read and was left out; it may be damaged "
                f"({type(error).__name__}), and its series may lack a slice.",
            )
        else:
            said = str(error)  # the sentences of this software end, pydicom's words do not
            ours = type(error) is ValueError and said.endswith(".")
            reason = said if ours else "its header is damaged; copy or export it again."
            one.problem = one.problem or f"{file.name}: {reason}"


def _voxels_differ(one: Path, other: Path) -> bool:
    """Whether two files of one identifier store other voxels in one way."""
    stored = []
    for file in (one, other):
        data = dcmread(file, force=True)
        stored.append((data.file_meta.get("TransferSyntaxUID"), data.get("PixelData")))
    return stored[0][0] == stored[1][0] and stored[0][1] != stored[1][1]


def _may_be_image(sop_class: str, header: Dataset) -> bool:
    """Whether this is a gray image with a place in space; a cut header counts as one."""
    name = UID(sop_class).name
    if header.get("SamplesPerPixel", 1) != 1:
        return False
    if sop_class == PARAMETRIC_MAP:
        return True
    if "Image Storage" not in name or "Secondary Capture" in name:
        return "ImagePositionPatient" in header and "Rows" in header
    return True


def _unusable(header: Dataset, bytes_left: int) -> str:
    """Why an image cannot be used, "" if it can."""
    if not header.get("Rows") or not header.get("Columns") or not header.get("BitsAllocated"):
        return "this file ends within its header; copy it again."
    if str(header.get("PhotometricInterpretation", "")).strip() == "PALETTE COLOR":
        return "it is a color picture (palette), no image with values; take the series it shows."
    if "ModalityLUTSequence" in header:
        return "its voxels are coded by a lookup table, which is not supported."
    stored = int(header.get("BitsStored") or header.BitsAllocated)
    highest = header.get("HighBit")
    if stored > header.BitsAllocated or (highest is not None and highest != stored - 1):
        return "its header contradicts itself (bits of a voxel); export it again."
    frames = int(header.get("NumberOfFrames", 1) or 1)
    expected = header.Rows * header.Columns * frames * header.BitsAllocated // 8
    if 0 <= bytes_left < expected:
        return f"this file is truncated ({expected} bytes of voxels expected); copy it again."
    return ""


def _sort_series(found: _Found) -> DicomSeries:
    """Sort the frames of a series into volumes and check that none lacks a slice."""
    key = short_key(found.uid)
    try:
        header = found.header
        description = str(header.get("SeriesDescription") or header.get("ProtocolName") or "")
        series = DicomSeries(key, description.strip() or "unnamed", [], patient_of(header))
        series.visit = visit_of(header)
        uid, *told = (
            _text(header, f"Study{one}") for one in ("InstanceUID", "Date", "Description")
        )
        series.study = DicomStudy(short_key(uid), *told)
        label = f"Series {header.get('SeriesNumber') or key} '{series.description}'"
        series.facts = attributes_of(_first_frame(found))
        if found.copies:
            series.notes.append(f"{label}: {found.copies} second copies of files were left out.")
        if str(header.get("PhotometricInterpretation", "")).strip() == "MONOCHROME1":
            series.notes.append(
                f"{label}: its images are stored for inverted display (MONOCHROME1); values are "
                "taken as they are stored: check that fat or bone is bright."
            )
        if found.problem:
            series.problem = f"{label} cannot be read: {found.problem}"
            return series
        if _upside_down(_first_frame(found)):
            series.problem = (
                f"{label}: GE's epi_pepolar stores images of reversed phase encoding upside down, "
                "unlike what their headers say; convert them with dcm2niix first."
            )
            return series
        try:
            groups = sort_frames(found.frames, label, series.notes)
            series.contents = volumes_of_series(groups, series.description)
        except ValueError as error:
            series.problem = str(error)
        return series
    except Exception as error:  # a header value that pydicom cannot convert
        problem = f"Series {key} cannot be read: a header is damaged ({type(error).__name__})."
        return DicomSeries(key, "damaged", [], PatientFacts(), [], problem)


def _text(header: Dataset, keyword: str) -> str:
    return str(header.get(keyword) or "").strip()


def _upside_down(header: Dataset) -> bool:
    """Whether a series holds images with reversed rows (dcm2niix, issue 532): modes 1, 2, 3."""
    sequence = header.get(GE_SEQUENCE)
    is_polar = sequence is not None and "epi_pepolar" in str(sequence.value)
    return is_polar and bool(number_in(header, GE_POLARITY))


def _first_frame(found: _Found) -> Dataset:
    """The header of the first frame; of an enhanced object also where its voxels are damaged."""
    if found.frames:
        return found.frames[0].header
    if "PerFrameFunctionalGroupsSequence" in found.header:
        with contextlib.suppress(ValueError, IndexError):  # it is told by the series' problem
            return next(flattened_frames(found.header), found.header)
    return found.header


def _series_number(series: DicomSeries) -> float:
    number = series.contents[0].attributes.get("SeriesNumber") if series.contents else None
    return float(number) if isinstance(number, (int, float)) else math.inf


def named_series(found: DicomFolder, chosen: str) -> list[DicomSeries]:
    """The series that a number, a key, a description or a part of one names; all for "".

    Several are parted by commas.
    """
    if not chosen:
        return list(found)
    words = [word.strip().lower() for word in chosen.split(",") if word.strip()]
    meant = [_series_of(found, word) for word in words]
    if all(meant):
        return [one for one in found if any(one is other for some in meant for other in some)]
    return _series_of(found, chosen.strip().lower())  # a comma may be a part of the description


def chosen_series(found: DicomFolder, chosen: str, where: str) -> list[DicomSeries]:
    """The series that are named (see `named_series`).

    Raises:
        ValueError: none is; those that are `where` are listed.
    """
    named = named_series(found, chosen)
    if not named:
        raise ValueError(f"{where}: no series is named '{chosen}'. Series here: {listing(found)}.")
    return named


def listing(found: Sequence[DicomSeries]) -> str:
    """The series of a folder in one line, each by what names it."""
    return "; ".join(
        f"#{selector(found, one)} {one.description or 'no description'} "
        + (f"({len(one.contents)} volumes)" if not one.problem else "(cannot be read)")
        for one in found
    )


def selector(
    found: Sequence[DicomSeries], series: DicomSeries, volume: DicomVolume | None = None
) -> str:
    """What names a series in its folder, or one of its volumes.

    That is the series' number where it has it alone, else its key.
    """
    number = _number(series)
    alone = number and sum(_number(one) == number for one in found) == 1
    name = number if alone else series.key
    if volume is None or len(series.contents) == 1:
        return name
    return f"{name}:{1 + next(n for n, one in enumerate(series.contents) if one is volume)}"


def refuse_beside_unreadable(found: DicomFolder, volumes: Sequence[DicomVolume]) -> None:
    """Refuse volumes whose folder holds DICOM files that cannot be read and may be their slices.

    Raises:
        ValueError: so it is.
    """
    folders = set().union(*(volume.folders for volume in volumes))
    if beside := [file.name for file in found.unreadable if file.parent in folders]:
        shown = ", ".join(beside[:3]) + (" ..." if len(beside) > 3 else "")
        raise ValueError(
            f"{len(beside)} DICOM file(s) beside these images cannot be read and may be slices of "
            f"them: {shown}; copy them again, or move them away to go on without them."
        )


def _series_of(found: DicomFolder, word: str) -> list[DicomSeries]:
    """The series that a word means most surely: key or number, whole description, a part of it."""
    for means in (
        lambda one: word in (one.key, _number(one)),
        lambda one: word == one.description.lower(),
        lambda one: word in one.description.lower(),
    ):
        if some := [one for one in found if means(one)]:
            return some
    return []


def _number(series: DicomSeries) -> str:
    return str(series.facts.get("SeriesNumber", ""))
