"""DICOM folders in: MR series sorted into 3D volumes, classic and enhanced multi-frame.

pydicom reads the headers and uncompressed pixels, SimpleITK's GDCM decodes compressed pixels.
Listing a folder reads headers only; pixels follow when a volume is asked for. The patient's name,
identifiers and dates never enter a volume's attributes; age and sex are kept apart.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import mmap
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import dcmread, read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

from PDFFMapperLib.volume import LPS_TO_RAS, Volume

# Elements of the header that become a volume's attributes: acquisition facts, no identity.
FACTS = [
    "Modality", "Manufacturer", "ManufacturerModelName", "SeriesDescription", "ProtocolName",
    "SeriesNumber", "BodyPartExamined", "PatientPosition", "MagneticFieldStrength",
    "ImagingFrequency", "MRAcquisitionType", "ScanningSequence", "SequenceVariant", "ScanOptions",
    "SequenceName", "RepetitionTime", "EchoTime", "EchoNumbers", "EchoTrainLength",
    "InversionTime", "FlipAngle", "NumberOfAverages", "PixelBandwidth", "SliceThickness",
    "SpacingBetweenSlices", "ImageType", "TemporalPositionIdentifier", "TriggerTime",
    "ContrastBolusAgent", "RescaleSlope", "RescaleIntercept", "RescaleType", "BitsStored",
]  # fmt: skip
_STRUCTURE = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyDate", "SeriesDate",
    "AcquisitionDate", "PatientAge", "PatientBirthDate", "PatientSex", "InstanceNumber",
    "AcquisitionNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows",
    "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "ComplexImageComponent",
    "DiffusionBValue", "DiffusionDirectionality", "DiffusionGradientOrientation",
    "ModalityLUTSequence",
]  # fmt: skip
# Private elements, by the block number that every scanner uses for them.
_SIEMENS_MOSAIC_IMAGES = Tag(0x0019, 0x100A)
_SIEMENS_B_VALUE = Tag(0x0019, 0x100C)
_SIEMENS_DIRECTION = Tag(0x0019, 0x100E)
_SIEMENS_B_MATRIX = Tag(0x0019, 0x1027)
_SIEMENS_CSA = Tag(0x0029, 0x1010)
_GE_B_VALUE = Tag(0x0043, 0x1039)
_GE_DIRECTION = [Tag(0x0019, element) for element in (0x10BB, 0x10BC, 0x10BD)]
_GE_COMPONENT = Tag(0x0043, 0x102F)
_GE_DIFFUSION_KIND = Tag(0x0043, 0x1030)
_PHILIPS_B_VALUE = Tag(0x2001, 0x1003)
_PHILIPS_DIRECTION_KIND = Tag(0x2001, 0x1004)
_PHILIPS_SCALE_SLOPE = Tag(0x2005, 0x100E)
_PHILIPS_FRAME = Tag(0x2005, 0x140F)
_UIH_B_VALUE = Tag(0x0065, 0x1009)
_SLICE_COUNTS = [Tag(0x2001, 0x1018), Tag(0x0021, 0x104F)]  # Philips, GE
_PRIVATE = [
    _SIEMENS_MOSAIC_IMAGES, _SIEMENS_B_VALUE, _SIEMENS_DIRECTION, _SIEMENS_B_MATRIX, _SIEMENS_CSA,
    _GE_B_VALUE, *_GE_DIRECTION, _GE_COMPONENT, _GE_DIFFUSION_KIND, _PHILIPS_B_VALUE,
    _PHILIPS_DIRECTION_KIND, _PHILIPS_SCALE_SLOPE, _UIH_B_VALUE,
    *_SLICE_COUNTS,
]  # fmt: skip
_LAST_CLASSIC = 0x2005100F
_WANTED = [
    *(Tag(keyword) for keyword in [*FACTS, *_STRUCTURE]),
    *_PRIVATE,
    # The creators let pydicom find the types of private elements.
    *sorted({Tag(tag.group, 0x0010) for tag in _PRIVATE}),
]
_PIXEL_MODULE = [
    "SOPClassUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation", "PixelData",
    "FloatPixelData", "DoubleFloatPixelData",
]  # fmt: skip
# Names that enhanced objects use for what classic ones call otherwise.
_CLASSIC_NAME = {
    "EffectiveEchoTime": "EchoTime",
    "InversionTimes": "InversionTime",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "TransmitterFrequency": "ImagingFrequency",
    "PulseSequenceName": "SequenceName",
    "FrameType": "ImageType",
    "NominalCardiacTriggerDelayTime": "TriggerTime",
}
_COMPONENTS = {
    "M": "magnitude", "MAGNITUDE": "magnitude", "P": "phase", "PHASE": "phase",
    "PHASE MAP": "phase", "R": "real", "REAL": "real", "I": "imaginary",
    "IMAGINARY": "imaginary",
}  # fmt: skip
_DICOMDIR = "1.2.840.10008.1.3.10"
_POSITION_TOLERANCE_MM = 0.01
_SPACING_TOLERANCE = 0.02


@dataclass(frozen=True)
class PatientFacts:
    """What an age reference needs of the patient; None where the header does not say.

    Attributes:
        age_years: age at the study in years.
        sex: "M", "F" or "O".
    """

    age_years: float | None = None
    sex: str | None = None


@dataclass
class _Frame:
    """One slice: where its pixels are, where it lies, and what it shows."""

    path: Path
    index: int
    header: Dataset
    shape: tuple[int, int]
    position: np.ndarray
    orientation: np.ndarray
    pixel_spacing: tuple[float, float]
    instance: int
    slope: float
    intercept: float
    display_scale: float | None = None
    tile: tuple[int, int] | None = None
    place: int = 0

    @cached_property
    def normal(self) -> np.ndarray:
        return np.cross(self.orientation[:3], self.orientation[3:])


@dataclass
class DicomVolume:
    """A 3D volume of a series that is described but not yet read.

    Attributes:
        name: the series' description and what tells this volume from its siblings.
        shape: (slices, rows, columns).
        ijk_to_ras: 4x4 matrix from voxel indices to RAS mm.
        attributes: acquisition facts by DICOM keyword: "EchoTime", "RepetitionTime",
            "InversionTime" in ms, "FlipAngle" in degrees, "MagneticFieldStrength" in T,
            "DiffusionBValue" in s/mm^2 (with "DiffusionBValueSource"),
            "DiffusionGradientOrientation" (LPS unit vector), and "ImageComponent"
            ("magnitude", "phase", "real", "imaginary") where the header tells it.
    """

    name: str
    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray
    attributes: dict[str, object]
    _frames: list[_Frame] = field(repr=False, default_factory=list)

    def read(self) -> Volume:
        """Read the voxels, rescaled to the header's units, as float32.

        Raises:
            ValueError: a file is truncated, was removed, or cannot be decoded.
        """
        return _read_volumes([self])[0]


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
    """

    key: str
    description: str
    contents: list[DicomVolume]
    patient: PatientFacts
    notes: list[str] = field(default_factory=list)
    problem: str = ""

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
        return _read_volumes(self.contents)


class DicomFolder(list[DicomSeries]):
    """The series of a folder; `notes` tells which files were left out and why."""

    def __init__(self, series: Iterable[DicomSeries] = (), notes: Iterable[str] = ()):
        super().__init__(series)
        self.notes = list(notes)


def read_dicom_folder(
    path: str | Path, progress: Callable[[float], bool] | None = None
) -> DicomFolder:
    """List the MR series in a folder and its subfolders (or in one file), without their pixels.

    Files that are not DICOM images (presentation states, reports, private objects, DICOMDIR, text)
    are left out and counted in `notes`. A series with missing, doubled or truncated slices is
    listed with its `problem`, which reading it raises.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: nothing in it is a DICOM image, or the user canceled.
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"{root}: there is no such folder.")
    files = [root] if root.is_file() else _files_below(root)
    found: dict[str, _Found] = {}
    skipped = _Skipped()
    with warnings.catch_warnings():
        # Vendors break length and character rules that do not matter here.
        warnings.simplefilter("ignore")
        for n, file in enumerate(files):
            if progress and n % 50 == 0 and not progress(n / len(files)):
                raise ValueError(f"{root}: reading was canceled.")
            _take(file, found, skipped)
        series = [_sort_series(one) for one in found.values()]
    notes = skipped.sentences()
    if not series:
        raise ValueError(f"{root}: no DICOM image is in this folder. {' '.join(notes)}".strip())
    series.sort(key=lambda one: (_series_number(one), one.description, one.key))
    return DicomFolder(series, notes)


def read_dicom_volume(path: str | Path, series: str | None = None) -> Volume:
    """Read the one 3D volume of a DICOM folder, or of one series in it.

    Args:
        path: folder or file.
        series: the key, number or description of the wanted series, if there are several.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no volume or several ones fit (the message lists them), or it cannot be read.
    """
    folder = read_dicom_folder(path)
    fitting = [one for one in folder if series is None or series.lower() in _names(one)]
    found = [content for one in fitting for content in one.contents]
    if len(fitting) == 1 and fitting[0].problem:
        raise ValueError(fitting[0].problem)
    if len(found) != 1:
        listed = "; ".join(
            f"{one.key} '{one.description}' with {len(one.contents)} volume(s)"
            for one in fitting or folder
        )
        wanted = "one 3D volume" if series is None else f"one 3D volume in series '{series}'"
        raise ValueError(f"{path}: {wanted} is expected; there are: {listed}. Choose one.")
    return found[0].read()


def _names(series: DicomSeries) -> list[str]:
    number = series.attributes.get("SeriesNumber")
    return [series.key, series.description.lower(), str(number)]


def read_facts(file: str | Path) -> tuple[dict[str, object], PatientFacts]:
    """The acquisition facts of one DICOM file (of its first frame), and the patient's age and sex.

    Raises:
        ValueError: it is not a DICOM file.
    """
    try:
        header, _ = _read_header(Path(file))
    except _NotDicom:
        raise ValueError(f"{file}: this is not a DICOM file.") from None
    enhanced = "PerFrameFunctionalGroupsSequence" in header
    frame = next(iter(_flattened_frames(header))) if enhanced else header
    return _attributes(frame), _patient(header)


def without_ge_offset(b_value: float) -> float:
    """A GE b-value without the 1e9 that some sequences add to it (s/mm^2).

    The offset marks multi-b and synthetic series in (0043,1039) and is a whole number of 1e9.
    """
    return b_value % 1e9 if b_value >= 1e9 else b_value


# --- files and headers --------------------------------------------------------------------------


@dataclass
class _Found:
    """The frames of one series while the folder is read."""

    uid: str
    header: Dataset
    frames: list[_Frame] = field(default_factory=list)
    instances: set[tuple] = field(default_factory=set)
    copies: int = 0
    problem: str = ""


class _Skipped:
    """What was left out of a listing."""

    def __init__(self) -> None:
        self.not_dicom = 0
        self.objects: dict[str, int] = {}
        self.unreadable: list[str] = []

    def add_object(self, sop_class: str) -> None:
        name = UID(sop_class).name
        kind = "private" if name == sop_class else name
        self.objects[kind] = self.objects.get(kind, 0) + 1

    def sentences(self) -> list[str]:
        notes = list(self.unreadable)
        if self.not_dicom:
            notes.append(f"{self.not_dicom} file(s) are not DICOM and were left out.")
        if self.objects:
            kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(self.objects.items()))
            notes.append(f"DICOM objects without images in space were left out: {kinds}.")
        return notes


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
        header, bytes_left = _read_header(file)
        if header.file_meta.get("MediaStorageSOPClassUID") == _DICOMDIR:
            return
        sop_class = str(header.get("SOPClassUID", ""))
        uid = str(header.get("SeriesInstanceUID", ""))
        if sop_class and not _may_be_image(sop_class, header):
            skipped.add_object(sop_class)
            return
        if not uid or not sop_class:
            skipped.unreadable.append(
                f"{file.name}: this DICOM file ends within its header and was left out; "
                "copy it again, its series may lack a slice."
            )
            return
        one = found.setdefault(uid, _Found(uid, header))
        # Careless anonymization gives all images one UID: number and place must agree, too.
        instance = (
            str(header.get("SOPInstanceUID", file)),
            _number(header, "InstanceNumber"),
            tuple(_numbers(header, "ImagePositionPatient")),
        )
        if instance in one.instances:
            one.copies += 1
            return
        one.instances.add(instance)
        if reason := _unusable(header, bytes_left):
            raise ValueError(reason)
        one.frames += _frames(file, header)
    except _NotDicom:
        skipped.not_dicom += 1
    except Exception as error:  # pydicom raises many kinds on damaged files
        if one is None:
            skipped.unreadable.append(
                f"{file.name}: this DICOM file cannot be read and was left out; it may be damaged "
                f"({type(error).__name__}), and its series may lack a slice."
            )
        else:
            reason = str(error) if type(error) is ValueError else "its header is damaged."
            one.problem = one.problem or f"{file.name}: {reason}"


class _NotDicom(Exception):
    pass


@contextmanager
def _mapped(file: Path) -> Iterator[mmap.mmap]:
    """A file as memory: pydicom's many small reads are faster than from a buffered file."""
    with (
        open(file, "rb") as handle,
        mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as view,
    ):
        yield view


def _read_header(file: Path) -> tuple[Dataset, int]:
    """The header elements that matter here, and the count of bytes that follow them."""
    size = file.stat().st_size
    if size < 140:
        raise _NotDicom
    with _mapped(file) as view:
        force = False
        if view[128:132] != b"DICM":
            # Old exports lack the preamble: a little-endian group 8 then comes first.
            force = view[:2] == b"\x08\x00" and view[2] in (0, 1, 5, 8, 0x12, 0x16) and not view[3]
            if not force:
                raise _NotDicom
        header = read_partial(
            view,
            lambda tag, _vr, _length: int(tag) > _LAST_CLASSIC,
            specific_tags=_WANTED,
            force=force,
        )
        if "Rows" in header and "ImagePositionPatient" not in header:  # enhanced, as a rule
            view.seek(0)
            header = dcmread(view, stop_before_pixels=True, force=force)
        syntax = header.file_meta.get("TransferSyntaxUID", None)
        plain = syntax is None or not (UID(syntax).is_compressed or UID(syntax).is_deflated)
        return header, size - view.tell() if plain else -1


def _may_be_image(sop_class: str, header: Dataset) -> bool:
    """Whether this is a gray image with a place in space; a cut header counts as one."""
    name = UID(sop_class).name
    if header.get("SamplesPerPixel", 1) != 1:
        return False
    if "Image Storage" not in name or "Secondary Capture" in name:
        return "ImagePositionPatient" in header and "Rows" in header
    return True


def _unusable(header: Dataset, bytes_left: int) -> str:
    """Why an image cannot be used, "" if it can."""
    if not header.get("Rows") or not header.get("Columns") or not header.get("BitsAllocated"):
        return "this file ends within its header; copy it again."
    if "ModalityLUTSequence" in header:
        return "its voxels are coded by a lookup table, which is not supported."
    frames = int(header.get("NumberOfFrames", 1) or 1)
    expected = header.Rows * header.Columns * frames * header.BitsAllocated // 8
    if 0 <= bytes_left < expected:
        return f"this file is truncated ({expected} bytes of voxels expected); copy it again."
    return ""


def _frames(file: Path, header: Dataset) -> list[_Frame]:
    """The slices of one image file."""
    if "PerFrameFunctionalGroupsSequence" in header:
        return [_frame(file, index, flat) for index, flat in enumerate(_flattened_frames(header))]
    if int(header.get("NumberOfFrames", 1) or 1) > 1:
        raise ValueError("it holds several frames without saying where each one lies.")
    if "MOSAIC" in _texts(header, "ImageType"):
        return _mosaic_frames(file, header)
    return [_frame(file, 0, header)]


def _flattened_frames(header: Dataset) -> Iterable[Dataset]:
    """Each frame of an enhanced object as the flat header that a classic image would have."""
    per_frame = header.PerFrameFunctionalGroupsSequence
    if len(per_frame) != int(header.NumberOfFrames):
        raise ValueError(
            f"its header describes {len(per_frame)} of {header.NumberOfFrames} frames; "
            "the file may be truncated."
        )
    common = Dataset()
    _flatten(header, common)
    shared = header.get("SharedFunctionalGroupsSequence")
    if shared:
        _flatten(shared[0], common)
    base = int(header.get("InstanceNumber", 0) or 0) * 1_000_000
    for index, groups in enumerate(per_frame):
        flat = Dataset()
        flat.update(common)
        _flatten(groups, flat)
        flat.InstanceNumber = base + index
        for keyword, classic in _CLASSIC_NAME.items():
            if keyword in flat:
                value = flat[keyword].value
                if classic == "InversionTime" and not isinstance(value, (int, float)):
                    value = value[0] if value else None
                setattr(flat, classic, value)
        yield flat


_NESTED_TAGS = {
    Tag(keyword)
    for keyword in (
        "MREchoSequence", "MRTimingAndRelatedParametersSequence", "MRModifierSequence",
        "MRImagingModifierSequence", "MRAveragesSequence", "MRDiffusionSequence",
        "DiffusionGradientDirectionSequence", "MRImageFrameTypeSequence", "FrameContentSequence",
        "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence",
        "PixelValueTransformationSequence", "CardiacSynchronizationSequence",
    )
}  # fmt: skip
_COPIED_TAGS = {*_WANTED, *(Tag(keyword) for keyword in (*_CLASSIC_NAME, "StackID"))}


def _flatten(groups: Dataset, flat: Dataset) -> None:
    """Copy the wanted elements of nested functional groups into a flat header."""
    for tag in groups.keys():  # iterating the data set itself would convert all of it
        if tag in _COPIED_TAGS:
            flat.add(groups[tag])
        elif tag in _NESTED_TAGS:
            for item in groups[tag].value[:1]:
                _flatten(item, flat)
        elif tag == _PHILIPS_FRAME and groups[tag].VR == "SQ":  # the classic header in disguise
            for item in groups[tag].value[:1]:
                for private in (_PHILIPS_B_VALUE, _PHILIPS_SCALE_SLOPE, _PHILIPS_DIRECTION_KIND):
                    if private in item:
                        flat.add(item[private])


def _frame(file: Path, index: int, header: Dataset) -> _Frame:
    position = _numbers(header, "ImagePositionPatient")
    orientation = _numbers(header, "ImageOrientationPatient")
    spacing = _numbers(header, "PixelSpacing")
    if len(position) != 3 or len(orientation) != 6 or len(spacing) != 2:
        raise ValueError("it does not say where in the patient it lies.")
    orientation = np.array(orientation)
    row, column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if abs(row @ column) > 0.01 or max(abs(np.array(lengths) - 1)) > 0.01 or min(spacing) <= 0:
        raise ValueError("its orientation or pixel spacing is not valid.")
    slope = _number(header, "RescaleSlope")
    return _Frame(
        path=file,
        index=index,
        header=header,
        shape=(int(header.Rows), int(header.Columns)),
        position=np.array(position),
        orientation=orientation,
        pixel_spacing=(spacing[0], spacing[1]),
        instance=int(_number(header, "InstanceNumber") or 0),
        slope=1.0 if slope is None or slope == 0 else slope,
        intercept=_number(header, "RescaleIntercept") or 0.0,
        display_scale=_number(header, _PHILIPS_SCALE_SLOPE),
    )


def _mosaic_frames(file: Path, header: Dataset) -> list[_Frame]:
    """The slices of a Siemens mosaic: tiles of one picture, stacked along the CSA slice normal.

    The position in the header is that of a picture as large as the mosaic around the first slice's
    center (https://nipy.org/nibabel/dicom/dicom_mosaic.html).
    """
    count = int(_number(header, _SIEMENS_MOSAIC_IMAGES) or 0)
    csa = siemens_csa(header.get(_SIEMENS_CSA).value) if _SIEMENS_CSA in header else {}
    normal = [float(value) for value in csa.get("SliceNormalVector", [])]
    count = count or int(float((csa.get("NumberOfImagesInMosaic") or ["0"])[0]))
    step = abs(_number(header, "SpacingBetweenSlices") or 0.0)
    if not count or len(normal) != 3 or not step:
        raise ValueError(
            "this Siemens mosaic lacks the private header that tells the order of its slices; "
            "export the series again as enhanced DICOM or without removing private elements."
        )
    tiles = math.ceil(math.sqrt(count))
    whole = _frame(file, 0, header)
    rows, columns = (n // tiles for n in whole.shape)
    row, column = whole.orientation[:3], whole.orientation[3:]
    corner = (
        whole.position
        + row * whole.pixel_spacing[1] * (whole.shape[1] - columns) / 2
        + column * whole.pixel_spacing[0] * (whole.shape[0] - rows) / 2
    )
    # The CSA normal gives the side only: its digits are fewer than those of the orientation.
    along = whole.normal * math.copysign(step, float(np.dot(normal, whole.normal)))
    return [
        replace(
            whole,
            shape=(rows, columns),
            position=corner + along * n,
            tile=(n // tiles * rows, n % tiles * columns),
        )
        for n in range(count)
    ]


def siemens_csa(data: bytes) -> dict[str, list[str]]:
    """The values of a Siemens CSA2 header ("SV10"), by name; {} if it is none.

    Format: https://nipy.org/nibabel/dicom/siemens_csa.html.
    """
    if data[:4] != b"SV10" or len(data) < 16:
        return {}
    values: dict[str, list[str]] = {}
    offset = 16
    for _ in range(int.from_bytes(data[8:12], "little")):
        if offset + 84 > len(data):
            break
        name = data[offset : offset + 64].split(b"\0")[0].decode("latin-1")
        items = int.from_bytes(data[offset + 76 : offset + 80], "little")
        offset += 84
        found = []
        for _ in range(items):
            length = int.from_bytes(data[offset + 4 : offset + 8], "little")
            text = data[offset + 16 : offset + 16 + length].split(b"\0")[0].decode("latin-1")
            if text.strip():
                found.append(text.strip())
            offset += 16 + (length + 3) // 4 * 4
            if offset > len(data):
                break
        values[name] = found
    return values


# --- header values ------------------------------------------------------------------------------


@cache
def _tag(name: object) -> BaseTag:
    return Tag(name)


def _numbers(header: Dataset, name: object) -> list[float]:
    """The numbers of an element, whatever its type was written as; [] if it has none."""
    tag = _tag(name)
    if tag not in header:
        return []
    # Decimal strings are read from the raw bytes: pydicom's own are slow to make.
    raw = header.get_item(tag)
    value = raw.value if raw.VR in ("DS", "IS", "UN") else header[tag].value
    if isinstance(value, bytes):
        value = value.decode("latin-1").strip("\0 ").split("\\")
    elif isinstance(value, (str, int, float)):
        value = [value]
    try:
        numbers = [float(part) for part in value or []]
    except (TypeError, ValueError):
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def _number(header: Dataset, name: object) -> float | None:
    numbers = _numbers(header, name)
    return numbers[0] if numbers else None


def _texts(header: Dataset, name: object) -> list[str]:
    tag = _tag(name)
    value = header[tag].value if tag in header else None
    if value is None:
        return []
    if isinstance(value, bytes):
        value = value.decode("latin-1").split("\\")
    parts = [value] if isinstance(value, str) else value
    return [str(part).strip().upper() for part in parts]


def component_of_image_type(image_type: Sequence[str]) -> str | None:
    """The image component ("magnitude", "phase" ...) that an ImageType's later words name."""
    for word in image_type[2:5]:  # two fixed words come first, free text follows
        if word in _COMPONENTS:
            return _COMPONENTS[word]
        if word[:2] in ("M_", "R_", "I_") and word[2:] in ("FFE", "SE", "IR", "TSE", "B0", "B1"):
            return _COMPONENTS[word[0]]
    return None


def _component(header: Dataset) -> str | None:
    """Whether an image is magnitude, phase, real or imaginary, if the header says."""
    stated = _texts(header, "ComplexImageComponent")
    if stated and stated[0] in _COMPONENTS:
        return _COMPONENTS[stated[0]]
    if component := component_of_image_type(_texts(header, "ImageType")):
        return component
    code = _number(header, _GE_COMPONENT) if _maker(header).startswith("GE") else None
    if code is not None and 0 <= code <= 3:
        return ["magnitude", "phase", "real", "imaginary"][int(code)]
    return None


def _maker(header: Dataset) -> str:
    return " ".join(_texts(header, "Manufacturer"))


def _b_value(header: Dataset) -> tuple[float | None, str]:
    """The b-value (s/mm^2) and where it was found.

    A private value other than 0 wins over a public 0, which several scanners write for all.
    """
    candidates = [(_number(header, "DiffusionBValue"), "DiffusionBValue (0018,9087)")]
    maker = _maker(header)
    if "SIEMENS" in maker:
        candidates.append((_number(header, _SIEMENS_B_VALUE), "Siemens (0019,100C)"))
        if all(value is None for value, _ in candidates) and _SIEMENS_CSA in header:
            csa = siemens_csa(bytes(header[_SIEMENS_CSA].value))
            stated = (csa.get("B_value") or [None])[0]
            candidates.append((None if stated is None else float(stated), "Siemens CSA header"))
        matrix = _numbers(header, _SIEMENS_B_MATRIX)
        trace = round(matrix[0] + matrix[3] + matrix[5], 1) if len(matrix) == 6 else 0.0
        if trace >= 4:  # imaging gradients alone give less
            candidates.append((trace, "Siemens b-matrix (0019,1027)"))
    if maker.startswith("GE"):
        candidates.append((_number(header, _GE_B_VALUE), "GE (0043,1039)"))
    if "PHILIPS" in maker:
        candidates.append((_number(header, _PHILIPS_B_VALUE), "Philips (2001,1003)"))
    if "UIH" in maker or "UNITED IMAGING" in maker:
        candidates.append((_number(header, _UIH_B_VALUE), "UIH (0065,1009)"))
    known = [
        (without_ge_offset(value), source)
        for value, source in candidates
        if value is not None and value >= 0
    ]
    return next((one for one in known if one[0] > 0), known[0] if known else (None, ""))


def _direction(header: Dataset) -> tuple[list[float] | None, object]:
    """The diffusion gradient as an LPS unit vector if known, and a key that tells it from others.

    GE's private directions are relative to the image and its frequency axis, so they only serve
    to tell volumes apart.
    """
    vector = _numbers(header, "DiffusionGradientOrientation")
    if len(vector) != 3 and "SIEMENS" in _maker(header):
        vector = _numbers(header, _SIEMENS_DIRECTION)
    kind = [
        *_texts(header, "DiffusionDirectionality"),
        *_texts(header, _PHILIPS_DIRECTION_KIND),
    ]
    made_by_ge = _maker(header).startswith("GE")
    private = [_number(header, tag) or 0.0 for tag in _GE_DIRECTION] if made_by_ge else []
    flag = _number(header, _GE_DIFFUSION_KIND) if made_by_ge else None
    length = float(np.linalg.norm(vector)) if len(vector) == 3 else 0.0
    unit = [part / length for part in vector] if abs(length - 1) < 0.1 else None
    rounded = tuple(round(part, 4) + 0.0 for part in unit or [])
    return unit, (rounded, tuple(kind), tuple(private), flag)


def _patient(header: Dataset) -> PatientFacts:
    """Age at the study, from the birth date where it agrees with the stated age, and sex."""
    sex = (_texts(header, "PatientSex") or [""])[0]
    stated = _stated_age((_texts(header, "PatientAge") or [""])[0])
    birth = _date(header, "PatientBirthDate")
    study = next(filter(None, (_date(header, k) for k in ("StudyDate", "SeriesDate"))), None)
    age = (study - birth).days / 365.25 if birth and study else None
    if age is not None and not 0 <= age <= 120:
        age = None
    if age is None or (stated is not None and abs(age - stated) > 1.1):
        age = stated  # anonymized birth dates are often moved, the stated age is kept
    return PatientFacts(age, sex if sex in ("M", "F", "O") else None)


def _stated_age(text: str) -> float | None:
    """DICOM's "031Y", "010M", "003W" or "012D" in years; None for "000Y", which is a filler."""
    per_year = {"Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}
    if len(text) < 2 or text[-1] not in per_year or not text[:-1].isdigit() or text == "000Y":
        return None
    return int(text[:-1]) / per_year[text[-1]]


def _date(header: Dataset, keyword: str) -> datetime.date | None:
    text = "".join(_texts(header, keyword)).replace(".", "")
    try:
        return datetime.datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None


def _series_number(series: DicomSeries) -> float:
    number = series.contents[0].attributes.get("SeriesNumber") if series.contents else None
    return float(number) if isinstance(number, (int, float)) else math.inf


# --- sorting slices into volumes ----------------------------------------------------------------


def _echo_time(frame: _Frame) -> float | None:
    value = _number(frame.header, "EchoTime")
    return None if value is None else round(value, 4)


def _b_value_of(frame: _Frame) -> float:
    return round(_b_value(frame.header)[0] or 0.0, 4)


def _rounded(name: object) -> Callable[[_Frame], object]:
    def value(frame: _Frame) -> object:
        return tuple(round(number, 3) for number in _numbers(frame.header, name))

    return value


# What may tell volumes at the same place apart, surest first.
_KEYS: list[tuple[str, Callable[[_Frame], object]]] = [
    ("stack", lambda frame: tuple(_texts(frame.header, "StackID"))),
    ("image component", lambda frame: _component(frame.header)),
    ("image type", lambda frame: tuple(_texts(frame.header, "ImageType"))),
    ("echo time", _echo_time),
    ("echo number", _rounded("EchoNumbers")),
    ("b-value", _b_value_of),
    ("diffusion direction", lambda frame: _direction(frame.header)[1]),
    ("inversion time", _rounded("InversionTime")),
    ("flip angle", _rounded("FlipAngle")),
    ("temporal position", _rounded("TemporalPositionIdentifier")),
    ("acquisition number", _rounded("AcquisitionNumber")),
    ("trigger time", _rounded("TriggerTime")),
    ("repetition time", _rounded("RepetitionTime")),
    ("sequence name", lambda frame: tuple(_texts(frame.header, "SequenceName"))),
]
_SURE_KEYS = 10


def _sort_series(found: _Found) -> DicomSeries:
    """Sort the frames of a series into volumes and check that none lacks a slice."""
    key = hashlib.sha256(found.uid.encode()).hexdigest()[:10]
    try:
        header = found.header
        description = str(header.get("SeriesDescription") or header.get("ProtocolName") or "")
        series = DicomSeries(key, description.strip() or "unnamed", [], _patient(header))
        label = f"Series {header.get('SeriesNumber') or key} '{series.description}'"
        if found.copies:
            series.notes.append(f"{label}: {found.copies} second copies of files were left out.")
        if found.problem:
            series.problem = f"{label} cannot be read: {found.problem}"
            return series
        try:
            series.contents = _volumes_of_series(found.frames, series, label)
        except ValueError as error:
            series.problem = str(error)
        return series
    except Exception as error:  # a header value that pydicom cannot convert
        problem = f"Series {key} cannot be read: a header is damaged ({type(error).__name__})."
        return DicomSeries(key, "damaged", [], PatientFacts(), [], problem)


def _volumes_of_series(frames: list[_Frame], series: DicomSeries, label: str) -> list[DicomVolume]:
    groups = []
    for plane in _same_plane(frames):
        groups += _volumes_of_plane(plane, label, series.notes)
    _equalize_scaling(groups, series.notes)
    groups.sort(key=_order)
    for group in groups:
        planned = max(int(_number(group[0].header, tag) or 0) for tag in _SLICE_COUNTS)
        note = f"{label}: the scanner made {planned} slices, only {len(group)} are here."
        if 1 < len(group) < planned and note not in series.notes:
            series.notes.append(note)
    if any(len(group) == 1 and not _thickness(group[0]) for group in groups):
        series.notes.append(f"{label}: the thickness of a single slice is unknown: 1 mm is taken.")
    volumes = [_describe(group, series.description, groups) for group in groups]
    _forget_idle_b_values(volumes)
    return volumes


def _same_plane(frames: list[_Frame]) -> list[list[_Frame]]:
    """Frames that share matrix, voxel size and orientation; a localizer has several planes."""
    planes: list[list[_Frame]] = []
    for frame in frames:
        for plane in planes:
            first = plane[0]
            if (
                frame.shape == first.shape
                and _close(frame.orientation, first.orientation)
                and _close(frame.pixel_spacing, first.pixel_spacing)
            ):
                plane.append(frame)
                break
        else:
            planes.append([frame])
    return planes


def _close(ones: Iterable[float], others: Iterable[float]) -> bool:
    return all(abs(one - other) < 1e-3 for one, other in zip(ones, others, strict=True))


def _volumes_of_plane(frames: list[_Frame], label: str, notes: list[str]) -> list[list[_Frame]]:
    """Volumes with one frame at each place, sorted along the normal, checked for gaps."""
    normal = frames[0].normal
    depth = np.array([frame.position @ normal for frame in frames])
    _number_places(frames, depth)
    stations = _stations(frames, normal)
    volumes = []
    for station in stations:
        volumes += _split(station, label, notes)
    for station in stations:
        members = {id(frame) for frame in station}
        places = sorted({frame.place for frame in station})
        for volume in volumes:
            if id(volume[0]) in members and len(volume) != len(places):
                missing = len(places) - len(volume)
                raise ValueError(
                    f"{label}: a volume ({_facts_text(volume[0])}) lacks {missing} of "
                    f"{len(places)} slices that its siblings have; copy the series again."
                )
    for volume in volumes:
        volume.sort(key=lambda frame: frame.place)
        _check_contrast(volume, label)
        _check_spacing(volume, normal, label, notes)
    return volumes


def _number_places(frames: list[_Frame], depth: np.ndarray) -> None:
    """Number the distinct places along the normal."""
    order = np.argsort(depth, kind="stable")
    # Scanners round positions of one place differently, by far less than a slice.
    tolerance = max(_POSITION_TOLERANCE_MM, 0.02 * _thickness(frames[0]))
    steps = np.diff(depth[order]) > tolerance
    for n, place in zip(order, np.concatenate([[0], np.cumsum(steps)]), strict=True):
        frames[n].place = int(place)


def _stations(frames: list[_Frame], normal: np.ndarray) -> list[list[_Frame]]:
    """Stacks that lie side by side, as the stations of a whole-spine series do."""
    if len({frame.place for frame in frames}) == len(frames):
        return [frames]
    stations: list[tuple[np.ndarray, list[_Frame]]] = []
    for frame in frames:
        across = frame.position - (frame.position @ normal) * normal
        for place, members in stations:
            if np.abs(across - place).max() < 0.5:
                members.append(frame)
                break
        else:
            stations.append((across, [frame]))
    return [members for _, members in stations]


def _split(frames: list[_Frame], label: str, notes: list[str]) -> list[list[_Frame]]:
    """Split frames until each place is taken once, by the facts that tell volumes apart.

    A fact is used only when each of its values covers the same places: one that changes from slice
    to slice (a trigger time, say) does not tell volumes apart.
    """
    places = {frame.place for frame in frames}
    if len(places) == len(frames):
        return [frames]
    partial: list[list[_Frame]] | None = None
    for n, (_, value) in enumerate(_KEYS):
        groups: dict[object, list[_Frame]] = {}
        for frame in frames:
            groups.setdefault(value(frame), []).append(frame)
        if len(groups) == 1:
            continue
        parts = list(groups.values())
        if all({frame.place for frame in part} == places for part in parts):
            return [volume for part in parts for volume in _split(part, label, notes)]
        if partial is None and n < _SURE_KEYS:
            partial = parts
    counts = {place: 0 for place in places}
    for frame in frames:
        counts[frame.place] += 1
    if len(set(counts.values())) == 1:
        return _repeats(frames, label, notes)
    if partial:  # some slice is missing: go on, so that the volume can be named
        return [volume for part in partial for volume in _split(part, label, notes)]
    usual = min(counts.values())
    doubled = sum(count > usual for count in counts.values())
    raise ValueError(
        f"{label}: {doubled} slice place(s) are taken more often than the other "
        f"{len(places) - doubled}, and nothing in the header tells the images apart; "
        "remove doubled files or copy the series again."
    )


def _repeats(frames: list[_Frame], label: str, notes: list[str]) -> list[list[_Frame]]:
    """Images alike in all facts, dealt out to volumes by instance number."""
    volumes: dict[int, list[_Frame]] = {}
    seen: dict[int, int] = {}
    for frame in sorted(frames, key=lambda frame: frame.instance):
        turn = seen.get(frame.place, 0)
        seen[frame.place] = turn + 1
        volumes.setdefault(turn, []).append(frame)
    note = f"{label}: repeats that the header does not tell apart are in order of instance number."
    if note not in notes:
        notes.append(note)
    return list(volumes.values())


def _check_contrast(frames: list[_Frame], label: str) -> None:
    """Refuse volumes that mix contrasts, as leftovers of several incomplete volumes would."""
    for name, element in (("echo time", _echo_time), ("b-value", _b_value_of)):
        values = [element(frame) or 0.0 for frame in frames]
        if max(values) > 1.01 * min(values) + 0.01:
            raise ValueError(
                f"{label}: slices of one volume have different {name}s ({min(values):g} to "
                f"{max(values):g}), so several volumes are incomplete; copy the series again."
            )
    if len({_component(frame.header) for frame in frames}) > 1:
        raise ValueError(
            f"{label}: one volume mixes magnitude, phase, real or imaginary slices, so several "
            "volumes are incomplete; copy the series again."
        )


def _check_spacing(frames: list[_Frame], normal: np.ndarray, label: str, notes: list[str]) -> None:
    """Refuse volumes whose slices are not evenly spaced along their normal."""
    if len(frames) < 2:
        return
    positions = np.array([frame.position for frame in frames])
    steps = np.diff(positions @ normal)
    step = float(np.median(steps))
    tolerance = _SPACING_TOLERANCE * step + _POSITION_TOLERANCE_MM
    odd = np.flatnonzero(np.abs(steps - step) > tolerance)
    if odd.size:
        n = int(odd[0])
        raise ValueError(
            f"{label} ({_facts_text(frames[0])}): slices {n + 1} and {n + 2} of {len(frames)} are "
            f"{steps[n]:.2f} mm apart, the others {step:.2f} mm; a slice is missing or the spacing "
            "is uneven; copy the series again."
        )
    straight = positions[0] + np.outer(positions @ normal - positions[0] @ normal, normal)
    aside = np.abs(positions - straight).max()
    if aside > 0.05 * max(frames[0].pixel_spacing) + _POSITION_TOLERANCE_MM:
        raise ValueError(
            f"{label}: its slices are not stacked along their normal (they drift {aside:.2f} mm "
            "sideways); reformat the series on the scanner."
        )
    stated = abs(_number(frames[0].header, "SpacingBetweenSlices") or 0.0)
    if stated and step > 1.9 * stated and abs(step / stated - round(step / stated)) < 0.02:
        notes.append(
            f"{label}: slices are {step:.2f} mm apart but the header says {stated:.2f} mm; "
            "every other slice may be missing."
        )


def _equalize_scaling(groups: list[list[_Frame]], notes: list[str]) -> None:
    """Bring Philips images with different display scales to one scale.

    Philips: displayed value = stored * RescaleSlope + RescaleIntercept; the value as measured is
    displayed / (RescaleSlope * scale slope (2005,100E)) (Chenevert et al. 2014,
    doi 10.1593/tlo.13811). Within most series the product is constant and the displayed
    value is kept; where it varies, the measured one is used.
    """
    for component in ("magnitude", "real", "imaginary", None):
        frames = [
            frame for group in groups for frame in group if _component(frame.header) == component
        ]
        if not frames or any(not frame.display_scale for frame in frames):
            continue
        factors = np.array([frame.slope * frame.display_scale for frame in frames])
        if np.ptp(factors) <= 1e-4 * abs(factors).max():
            continue
        for frame, factor in zip(frames, factors, strict=True):
            frame.slope, frame.intercept = frame.slope / factor, frame.intercept / factor
        notes.append(
            "Philips display scaling differs between images: values were brought to one scale "
            "with the scale slope (2005,100E)."
        )


def _order(frames: list[_Frame]) -> tuple:
    header = frames[0].header
    components = ["magnitude", "phase", "real", "imaginary", None]
    return (
        components.index(_component(header)),
        " ".join(_texts(header, "ImageType")),
        _number(header, "EchoTime") or 0.0,
        _b_value(header)[0] or 0.0,
        _number(header, "InversionTime") or 0.0,
        _number(header, "FlipAngle") or 0.0,
        _number(header, "TemporalPositionIdentifier") or 0.0,
        _number(header, "AcquisitionNumber") or 0.0,
        min(frame.instance for frame in frames),
    )


def _facts_text(frame: _Frame) -> str:
    header = frame.header
    parts = []
    if (component := _component(header)) and component != "magnitude":
        parts.append(component)
    if (echo_time := _number(header, "EchoTime")) is not None:
        parts.append(f"TE {echo_time:g} ms")
    if (b_value := _b_value(header)[0]) is not None:
        parts.append(f"b {b_value:g} s/mm2")
    return ", ".join(parts) or "one volume"


def _describe(frames: list[_Frame], description: str, groups: list[list[_Frame]]) -> DicomVolume:
    """The volume that sorted frames make."""
    first = frames[0]
    attributes = _attributes(first.header)
    attributes["NumberOfEchoes"] = len({_echo_time(group[0]) for group in groups})
    b_values = {_b_value(group[0].header)[0] for group in groups}
    if b_values != {None}:
        attributes["NumberOfBValues"] = len(b_values)
    if len(frames) > 1:
        step = (frames[-1].position - first.position) / (len(frames) - 1)
    else:
        step = first.normal * (_thickness(first) or 1.0)
    lps = np.eye(4)
    lps[:3, 0] = first.orientation[:3] * first.pixel_spacing[1]
    lps[:3, 1] = first.orientation[3:] * first.pixel_spacing[0]
    lps[:3, 2] = step
    lps[:3, 3] = first.position
    name = description if len(groups) == 1 else f"{description} ({_facts_text(first)})"
    return DicomVolume(
        name, (len(frames), *first.shape), LPS_TO_RAS @ lps, attributes, list(frames)
    )


def _forget_idle_b_values(volumes: list[DicomVolume]) -> None:
    """Drop the b = 0 that Philips and GE write to images that have no diffusion weighting."""
    facts = [volume.attributes for volume in volumes]
    if any(one.get("DiffusionBValue") or one.get("GEDiffusionKind") in (14, 16) for one in facts):
        return
    for one in facts:
        if str(one.get("Manufacturer", "")).upper().startswith(("PHILIPS", "GE")):
            for key in [key for key in one if "Diffusion" in key or key == "NumberOfBValues"]:
                del one[key]


def _thickness(frame: _Frame) -> float:
    """The extent of a single slice along its normal in mm, 0 if unknown."""
    return abs(
        _number(frame.header, "SliceThickness")
        or _number(frame.header, "SpacingBetweenSlices")
        or 0.0
    )


def _attributes(header: Dataset) -> dict[str, object]:
    """The acquisition facts of an image, as plain values."""
    attributes: dict[str, object] = {}
    for keyword in FACTS:
        value = header.get(keyword)
        if value is None or value == "":
            continue
        if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            attributes[keyword] = _plain(value)
        else:
            attributes[keyword] = [_plain(part) for part in value]
    if (component := _component(header)) is not None:
        attributes["ImageComponent"] = component
    b_value, source = _b_value(header)
    if b_value is not None:
        attributes["DiffusionBValue"] = b_value
        attributes["DiffusionBValueSource"] = source
        vector, (_, kind, private, flag) = _direction(header)
        if vector and b_value > 0:
            attributes["DiffusionGradientOrientation"] = vector
        if kind:
            attributes["DiffusionDirectionality"] = kind[0]
        if flag is not None:
            attributes["GEDiffusionKind"] = int(flag)
        if any(private):
            attributes["GEDiffusionDirection"] = list(private)
    if (scale := _number(header, _PHILIPS_SCALE_SLOPE)) is not None:
        attributes["PhilipsScaleSlope"] = scale
    return attributes


def _plain(value: object) -> object:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) or type(value).__name__ == "DSdecimal":
        return float(value)
    return str(value)


# --- pixels -------------------------------------------------------------------------------------


def _read_volumes(volumes: list[DicomVolume]) -> list[Volume]:
    """Read the voxels of volumes, each file once."""
    arrays = []
    uses: dict[Path, list[tuple[_Frame, np.ndarray]]] = {}
    for volume in volumes:
        array = np.empty(volume.shape, dtype=np.float32)
        arrays.append(array)
        for k, frame in enumerate(volume._frames):
            uses.setdefault(frame.path, []).append((frame, array[k]))
    for file, targets in uses.items():
        pixels = _stored_pixels(file)
        for frame, target in targets:
            if frame.index >= len(pixels):
                raise ValueError(
                    f"{file.name}: frame {frame.index + 1} is missing; the file is truncated."
                )
            image = pixels[frame.index]
            if frame.tile:
                top, left = frame.tile
                image = image[top : top + target.shape[0], left : left + target.shape[1]]
            if image.shape != target.shape:
                raise ValueError(f"{file.name}: the image size does not match its header.")
            np.multiply(image, frame.slope, out=target, casting="unsafe")
            target += np.float32(frame.intercept)
    return [
        Volume(array, volume.ijk_to_ras.copy(), volume.name, dict(volume.attributes))
        for array, volume in zip(arrays, volumes, strict=True)
    ]


def _stored_pixels(file: Path) -> np.ndarray:
    """The stored values of a file, shape (frames, rows, columns)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _mapped(file) as view:
                data = dcmread(view, specific_tags=_PIXEL_MODULE, force=True)
            syntax = UID(data.file_meta.get("TransferSyntaxUID", ExplicitVRLittleEndian))
            if "TransferSyntaxUID" not in data.file_meta:
                data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
            if not any(k in data for k in _PIXEL_MODULE[-3:]):
                raise ValueError("it ends before its voxels")
            if syntax.is_encapsulated and syntax.name != "RLE Lossless":
                pixels = _decode_with_gdcm(data)
            else:
                pixels = data.pixel_array
    except FileNotFoundError:
        raise
    except Exception as error:  # decoders raise many kinds on damaged files
        raise ValueError(
            f"{file.name}: its voxels cannot be read ({error}); the file may be truncated, or "
            "compressed in a way that is not supported."
        ) from error
    return pixels[np.newaxis] if pixels.ndim == 2 else pixels


def _decode_with_gdcm(data: Dataset) -> np.ndarray:
    """Decompress with SimpleITK's GDCM (JPEG, JPEG-LS, JPEG 2000).

    GDCM sees the pixel module alone, so that it cannot apply a rescaling of its own.
    """
    import SimpleITK as sitk

    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.3"  # multi-frame grayscale word capture
    data.SOPInstanceUID = pydicom.uid.generate_uid()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = data.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = data.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta = meta
    with tempfile.TemporaryDirectory() as folder:
        name = str(Path(folder) / "compressed.dcm")
        data.save_as(name)
        pixels = sitk.GetArrayFromImage(sitk.ReadImage(name, imageIO="GDCMImageIO"))
    return pixels
