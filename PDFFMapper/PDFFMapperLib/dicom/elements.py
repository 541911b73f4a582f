"""The elements of a DICOM header that matter here, and reading their values."""

from __future__ import annotations

import math
import struct
from functools import cache

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

# Elements of the header that become a volume's attributes: acquisition facts, no identity.
FACTS = [
    "Modality", "Manufacturer", "ManufacturerModelName", "SeriesDescription", "ProtocolName",
    "SeriesNumber", "BodyPartExamined", "PatientPosition", "MagneticFieldStrength",
    "ImagingFrequency", "MRAcquisitionType", "ScanningSequence", "SequenceVariant", "ScanOptions",
    "SequenceName", "RepetitionTime", "EchoTime", "EchoNumbers", "EchoTrainLength",
    "InversionTime", "FlipAngle", "NumberOfAverages", "PixelBandwidth", "SliceThickness",
    "SpacingBetweenSlices", "ImageType", "TemporalPositionIdentifier", "TriggerTime",
    "ContrastBolusAgent", "ImagedNucleus", "KVP", "FilterMaterial", "ConvolutionKernel",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "BitsStored", "ReconstructionMethod",
]  # fmt: skip
_STRUCTURE = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "StudyDescription",
    "StudyDate", "SeriesDate",
    "AcquisitionDate", "PatientAge", "PatientBirthDate", "PatientID", "PatientSex",
    "InstanceNumber", "AcquisitionNumber", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "Rows",
    "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "HighBit",
    "ComplexImageComponent",
    "DiffusionBValue", "DiffusionDirectionality", "DiffusionGradientOrientation",
    "FrameOfReferenceUID", "MultienergyCTCharacteristicsSequence",
    "MultienergyCTProcessingSequence",
    "ModalityLUTSequence", "PhotometricInterpretation", "ImageComments",
    "RealWorldValueMappingSequence", "DeviceSerialNumber",
    "EchoPulseSequence", "EchoPlanarPulseSequence", "InversionRecovery",
    "SpectrallySelectedSuppression",
]  # fmt: skip
# Private elements, at the block where scanners put them (`standard_blocks` moves others there).
SIEMENS_MOSAIC_IMAGES = Tag(0x0019, 0x100A)
SIEMENS_B_VALUE = Tag(0x0019, 0x100C)
SIEMENS_DIRECTION = Tag(0x0019, 0x100E)
SIEMENS_B_MATRIX = Tag(0x0019, 0x1027)
SIEMENS_CSA = Tag(0x0029, 0x1010)
SIEMENS_SERIES_CSA = Tag(0x0029, 0x1020)  # holds the protocol
SIEMENS_PROTOCOL = Tag(0x0021, 0x1019)  # of enhanced objects, inside the next
SIEMENS_SHARED = Tag(0x0021, 0x10FE)
GE_B_VALUE = Tag(0x0043, 0x1039)
GE_DIRECTION = [Tag(0x0019, element) for element in (0x10BB, 0x10BC, 0x10BD)]
GE_COMPONENT = Tag(0x0043, 0x102F)
GE_DIFFUSION_KIND = Tag(0x0043, 0x1030)
GE_SEQUENCE, GE_POLARITY = Tag(0x0019, 0x109C), Tag(0x0019, 0x10B3)  # of epi_pepolar
PHILIPS_B_VALUE = Tag(0x2001, 0x1003)
PHILIPS_DIRECTION_KIND = Tag(0x2001, 0x1004)
PHILIPS_SCALE_SLOPE = Tag(0x2005, 0x100E)
PHILIPS_DIRECTION = [Tag(0x2005, element) for element in (0x10B0, 0x10B1, 0x10B2)]
PHILIPS_FRAME = Tag(0x2005, 0x140F)
UIH_B_VALUE = Tag(0x0065, 0x1009)
UIH_DIRECTION = Tag(0x0065, 0x1037)
UIH_GRID_IMAGES = Tag(0x0065, 0x1050)
UIH_GRID_ITEMS = Tag(0x0065, 0x1051)
SLICE_COUNTS = [Tag(0x2001, 0x1018), Tag(0x0021, 0x104F)]  # Philips, GE
_PRIVATE = [
    SIEMENS_MOSAIC_IMAGES, SIEMENS_B_VALUE, SIEMENS_DIRECTION, SIEMENS_B_MATRIX, SIEMENS_CSA,
    SIEMENS_SERIES_CSA,
    GE_B_VALUE, *GE_DIRECTION, GE_COMPONENT, GE_DIFFUSION_KIND, GE_SEQUENCE, GE_POLARITY,
    PHILIPS_B_VALUE,
    PHILIPS_DIRECTION_KIND, PHILIPS_SCALE_SLOPE, *PHILIPS_DIRECTION, UIH_B_VALUE, UIH_DIRECTION,
    UIH_GRID_IMAGES, UIH_GRID_ITEMS, *SLICE_COUNTS,
]  # fmt: skip
# Private numbers that are no text, and their type.
_BINARY = {
    **dict.fromkeys([SIEMENS_DIRECTION, SIEMENS_B_MATRIX, UIH_B_VALUE, UIH_DIRECTION], "d"),
    **dict.fromkeys([PHILIPS_B_VALUE, PHILIPS_SCALE_SLOPE, *PHILIPS_DIRECTION], "f"),
}
# Who owns the private elements above, by group and block. An archive may move the blocks; another
# owner's elements mean something else.
_OWNERS = {
    (0x0019, 0x10): {"SIEMENS MR HEADER", "GEMS_ACQU_01"},
    (0x0021, 0x10): {"GEMS_RELA_01"},
    (0x0029, 0x10): {"SIEMENS CSA HEADER"},
    (0x0043, 0x10): {"GEMS_PARM_01"},
    (0x0065, 0x10): {"IMAGE PRIVATE HEADER"},
    (0x2001, 0x10): {"PHILIPS IMAGING DD 001"},
    (0x2005, 0x10): {"PHILIPS MR IMAGING DD 001"},
    (0x2005, 0x14): {"PHILIPS MR IMAGING DD 005"},
}
_BLOCKS = range(0x10, 0x20)  # where archives move blocks to
WANTED = [
    *(Tag(keyword) for keyword in [*FACTS, *_STRUCTURE]),
    *_PRIVATE,
    # The creators let pydicom find the types of private elements.
    *sorted({Tag(tag.group, block) for tag in _PRIVATE for block in _BLOCKS}),
]
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"


def standard_blocks(header: Dataset) -> None:
    """Put private elements where scanners put them, found by their owner as DICOM demands.

    Archives move blocks (Agfa's dcm4che does); elements of another owner at the scanner's place are
    taken away. Without any owner named the place is believed.
    """
    moved = moved_blocks(header)
    found = {}
    for (group, block), other in moved.items():
        for tag in _elements_at(group, block):
            elsewhere = Tag(tag.group, (other << 8) | (tag.elem & 0xFF))
            if other and elsewhere in header:
                found[tag] = header[elsewhere]
            if tag in header:
                del header[tag]
    for tag, element in found.items():
        header.add_new(tag, element.VR, element.value)


def moved_blocks(header: Dataset) -> dict[tuple[int, int], int]:
    """Where the blocks lie that are not at their place; 0 where another owner has that place."""
    named = {
        (tag.group, tag.elem): _owner(header, tag)
        for tag in header.keys()  # iterating the data set itself would convert all of it
        if tag.group & 1 and tag.elem in _BLOCKS
    }
    moved = {}
    for (group, block), owners in _OWNERS.items() if named else ():
        at_place = named.get((group, block), "")
        if at_place in owners:
            continue
        others = [n for n in _BLOCKS if named.get((group, n)) in owners]
        if others or at_place:
            moved[group, block] = others[0] if others else 0
    return moved


def _owner(header: Dataset, tag: BaseTag) -> str:
    raw = header.get_item(tag).value
    text = raw.decode("latin-1") if isinstance(raw, bytes) else str(raw or "")
    return " ".join(text.replace("\0", " ").upper().split())


def _elements_at(group: int, block: int) -> list[BaseTag]:
    return [t for t in [*_PRIVATE, PHILIPS_FRAME] if (t.group, t.elem >> 8) == (group, block)]


def elements_of(moved: dict[tuple[int, int], int]) -> list[BaseTag]:
    """The elements of moved blocks, where they lie."""
    return [
        Tag(tag.group, (other << 8) | (tag.elem & 0xFF))
        for (group, block), other in moved.items()
        for tag in _elements_at(group, block)
        if other
    ]


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
    if isinstance(value, bytes) and raw.VR == "UN" and tag in _BINARY:
        # An archive that did not know the element kept its bytes, not its type.
        kind = "<" + _BINARY[tag] * (len(value) // struct.calcsize(_BINARY[tag]))
        value = struct.unpack_from(kind, value)
    elif isinstance(value, bytes):
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
