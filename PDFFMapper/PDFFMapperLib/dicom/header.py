"""The header of one DICOM file: the elements that matter here, and their values."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filereader import dcmread, read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

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
SIEMENS_MOSAIC_IMAGES = Tag(0x0019, 0x100A)
SIEMENS_B_VALUE = Tag(0x0019, 0x100C)
SIEMENS_DIRECTION = Tag(0x0019, 0x100E)
SIEMENS_B_MATRIX = Tag(0x0019, 0x1027)
SIEMENS_CSA = Tag(0x0029, 0x1010)
GE_B_VALUE = Tag(0x0043, 0x1039)
GE_DIRECTION = [Tag(0x0019, element) for element in (0x10BB, 0x10BC, 0x10BD)]
GE_COMPONENT = Tag(0x0043, 0x102F)
GE_DIFFUSION_KIND = Tag(0x0043, 0x1030)
PHILIPS_B_VALUE = Tag(0x2001, 0x1003)
PHILIPS_DIRECTION_KIND = Tag(0x2001, 0x1004)
PHILIPS_SCALE_SLOPE = Tag(0x2005, 0x100E)
PHILIPS_FRAME = Tag(0x2005, 0x140F)
UIH_B_VALUE = Tag(0x0065, 0x1009)
SLICE_COUNTS = [Tag(0x2001, 0x1018), Tag(0x0021, 0x104F)]  # Philips, GE
_PRIVATE = [
    SIEMENS_MOSAIC_IMAGES, SIEMENS_B_VALUE, SIEMENS_DIRECTION, SIEMENS_B_MATRIX, SIEMENS_CSA,
    GE_B_VALUE, *GE_DIRECTION, GE_COMPONENT, GE_DIFFUSION_KIND, PHILIPS_B_VALUE,
    PHILIPS_DIRECTION_KIND, PHILIPS_SCALE_SLOPE, UIH_B_VALUE,
    *SLICE_COUNTS,
]  # fmt: skip
_LAST_CLASSIC = 0x2005100F
WANTED = [
    *(Tag(keyword) for keyword in [*FACTS, *_STRUCTURE]),
    *_PRIVATE,
    # The creators let pydicom find the types of private elements.
    *sorted({Tag(tag.group, 0x0010) for tag in _PRIVATE}),
]


class NotDicom(Exception):
    """A file is of another kind."""


@contextmanager
def mapped(file: Path) -> Iterator[mmap.mmap]:
    """A file as memory: pydicom's many small reads are faster than from a buffered file."""
    with (
        open(file, "rb") as handle,
        mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as view,
    ):
        yield view


def read_header(file: Path) -> tuple[Dataset, int]:
    """The header elements that matter here, and the count of bytes that follow them."""
    size = file.stat().st_size
    if size < 140:
        raise NotDicom
    with mapped(file) as view:
        force = False
        if view[128:132] != b"DICM":
            # Old exports lack the preamble: a little-endian group 8 then comes first.
            force = view[:2] == b"\x08\x00" and view[2] in (0, 1, 5, 8, 0x12, 0x16) and not view[3]
            if not force:
                raise NotDicom
        header = read_partial(
            view,
            lambda tag, _vr, _length: int(tag) > _LAST_CLASSIC,
            specific_tags=WANTED,
            force=force,
        )
        if "Rows" in header and "ImagePositionPatient" not in header:  # enhanced, as a rule
            view.seek(0)
            header = dcmread(view, stop_before_pixels=True, force=force)
        syntax = header.file_meta.get("TransferSyntaxUID", None)
        plain = syntax is None or not (UID(syntax).is_compressed or UID(syntax).is_deflated)
        return header, size - view.tell() if plain else -1


@cache
def _tag(name: object) -> BaseTag:
    return Tag(name)


def numbers_in(header: Dataset, name: object) -> list[float]:
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


def number_in(header: Dataset, name: object) -> float | None:
    """The first number of an element, None if it has none."""
    numbers = numbers_in(header, name)
    return numbers[0] if numbers else None


def texts_in(header: Dataset, name: object) -> list[str]:
    """The words of an element in upper case; [] if it has none."""
    tag = _tag(name)
    value = header[tag].value if tag in header else None
    if value is None:
        return []
    if isinstance(value, bytes):
        value = value.decode("latin-1").split("\\")
    parts = [value] if isinstance(value, str) else value
    return [str(part).strip().upper() for part in parts]
