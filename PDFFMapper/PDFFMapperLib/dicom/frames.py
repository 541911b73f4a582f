"""The slices of one DICOM file: classic, enhanced multi-frame, or a Siemens mosaic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from PDFFMapperLib.dicom.elements import (
    PHILIPS_B_VALUE,
    PHILIPS_DIRECTION,
    PHILIPS_DIRECTION_KIND,
    PHILIPS_FRAME,
    PHILIPS_SCALE_SLOPE,
    SIEMENS_CSA,
    SIEMENS_MOSAIC_IMAGES,
    SIEMENS_PROTOCOL,
    SIEMENS_SHARED,
    UIH_GRID_IMAGES,
    UIH_GRID_ITEMS,
    WANTED,
    number_in,
    numbers_in,
    standard_blocks,
    texts_in,
)
from PDFFMapperLib.dicom.facts import (
    attributes_of,
    b_value_of,
    component_of,
    energy_of,
    patient_of,
    real_world_mapping,
    visit_of,
)
from PDFFMapperLib.dicom.header import NotDicom, read_header
from PDFFMapperLib.dicom.siemens import siemens_csa
from PDFFMapperLib.images.attributes import product_of_image_type
from PDFFMapperLib.images.patient import PatientFacts, Visit

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
_NESTED_TAGS = {
    Tag(keyword)
    for keyword in (
        "MREchoSequence", "MRTimingAndRelatedParametersSequence", "MRModifierSequence",
        "MRImagingModifierSequence", "MRAveragesSequence", "MRDiffusionSequence",
        "DiffusionGradientDirectionSequence", "MRImageFrameTypeSequence", "FrameContentSequence",
        "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence",
        "PixelValueTransformationSequence", "CardiacSynchronizationSequence",
        "UnassignedPerFrameConvertedAttributesSequence",
        "UnassignedSharedConvertedAttributesSequence", "CTImageFrameTypeSequence",
        "CTXRayDetailsSequence", "CTReconstructionSequence",
    )
}  # fmt: skip
_PHILIPS_PRIVATE = [
    PHILIPS_B_VALUE, PHILIPS_SCALE_SLOPE, PHILIPS_DIRECTION_KIND, *PHILIPS_DIRECTION,
]  # fmt: skip
_COPIED_TAGS = {*WANTED, *(Tag(keyword) for keyword in (*_CLASSIC_NAME, "StackID"))}


@dataclass
class Frame:
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
        """The unit vector across the slice."""
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def thickness_mm(self) -> float:
        """The extent of a single slice along its normal, 0 if unknown."""
        return abs(
            number_in(self.header, "SliceThickness")
            or number_in(self.header, "SpacingBetweenSlices")
            or 0.0
        )

    @property
    def echo_time_ms(self) -> float | None:
        """The echo time, None where the header does not say."""
        value = number_in(self.header, "EchoTime")
        return None if value is None else round(value, 4)

    @property
    def b_value(self) -> float | None:
        """The b-value in s/mm^2, None where the header does not say."""
        return b_value_of(self.header)[0]

    @property
    def summary(self) -> str:
        """What tells it from its siblings, as people read it: "fat, phase, TE 4.6 ms"."""
        parts = []
        words = [word.upper() for word in texts_in(self.header, "ImageType")]
        if product := product_of_image_type(words):
            parts.append(product.replace("_", " "))
        if (component := component_of(self.header)) and component != "magnitude":
            parts.append(component)
        if (echo_time := self.echo_time_ms) is not None:
            parts.append(f"TE {echo_time:g} ms")
        if (b_value := self.b_value) is not None:
            parts.append(f"b {b_value:g} s/mm2")
        if (energy := energy_of(self.header)) is not None:
            parts.append(f"{energy:g} keV")
        return ", ".join(parts) or "one volume"


def frames_of_file(file: Path, header: Dataset) -> list[Frame]:
    """The slices of one image file."""
    if "PerFrameFunctionalGroupsSequence" in header:
        return [_frame(file, index, flat) for index, flat in enumerate(flattened_frames(header))]
    if int(header.get("NumberOfFrames", 1) or 1) > 1:
        raise ValueError("it holds several frames without saying where each one lies.")
    kind = texts_in(header, "ImageType")
    if "MOSAIC" in kind:
        return _mosaic_frames(file, header)
    if UIH_GRID_ITEMS in header or ("VFRAME" in kind and UIH_GRID_IMAGES in header):
        return _uih_grid_frames(file, header)
    return [_frame(file, 0, header)]


def read_facts(file: str | Path) -> tuple[dict[str, object], PatientFacts]:
    """The acquisition facts of one DICOM file (of its first frame), and the patient's age and sex.

    Raises:
        ValueError: it is not a DICOM file.
    """
    try:
        header, _ = read_header(Path(file))
    except NotDicom:
        raise ValueError(f"{file}: this is not a DICOM file.") from None
    enhanced = "PerFrameFunctionalGroupsSequence" in header
    frame = next(iter(flattened_frames(header))) if enhanced else header
    return attributes_of(frame), patient_of(header)


def read_visit(file: str | Path) -> Visit:
    """Whose visit an image file is of.

    Raises:
        NotDicom: it is no DICOM file.
    """
    return visit_of(read_header(Path(file))[0])


def flattened_frames(header: Dataset) -> Iterator[Dataset]:
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
        if "InstanceNumber" in flat:
            del flat.InstanceNumber
        flat.InstanceNumber = base + index
        for keyword, classic in _CLASSIC_NAME.items():
            if keyword in flat:
                value = flat[keyword].value
                if classic == "InversionTime" and not isinstance(value, (int, float)):
                    value = value[0] if value else None
                if classic in flat:  # an element of the frames' common header, not to be changed
                    del flat[classic]
                setattr(flat, classic, value)
        _classic_sequence(flat)
        yield flat


def _classic_sequence(flat: Dataset) -> None:
    """Scanning sequence and fat saturation in the words of a classic header."""
    told = {
        keyword: "".join(texts_in(flat, keyword)).upper()
        for keyword in (
            "EchoPulseSequence", "EchoPlanarPulseSequence", "InversionRecovery",
            "SpectrallySelectedSuppression",
        )
    }  # fmt: skip
    if "ScanningSequence" not in flat:
        words = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}
        sequence = list(words.get(told["EchoPulseSequence"], []))
        sequence += ["IR"] * (told["InversionRecovery"] == "YES")
        sequence += ["EP"] * (told["EchoPlanarPulseSequence"] == "YES")
        if sequence:
            flat.ScanningSequence = sequence
    if "ScanOptions" not in flat and told["SpectrallySelectedSuppression"].startswith("FAT"):
        flat.ScanOptions = "FS"


def _flatten(groups: Dataset, flat: Dataset) -> None:
    """Copy the wanted elements of nested functional groups into a flat header."""
    standard_blocks(groups)
    for tag in groups.keys():  # iterating the data set itself would convert all of it
        if tag in _COPIED_TAGS:
            flat.add(groups[tag])
        elif tag in _NESTED_TAGS:
            for item in groups[tag].value[:1]:
                _flatten(item, flat)
        elif tag == SIEMENS_SHARED and groups[tag].VR == "SQ":
            for item in groups[tag].value[:1]:
                if SIEMENS_PROTOCOL in item:
                    flat.add(item[SIEMENS_PROTOCOL])
        elif tag == PHILIPS_FRAME and groups[tag].VR == "SQ":  # the classic header in disguise
            for item in groups[tag].value[:1]:
                standard_blocks(item)
                for private in _PHILIPS_PRIVATE:
                    if private in item:
                        flat.add(item[private])


def _frame(file: Path, index: int, header: Dataset) -> Frame:
    position = numbers_in(header, "ImagePositionPatient")
    orientation = numbers_in(header, "ImageOrientationPatient")
    spacing = numbers_in(header, "PixelSpacing")
    if len(position) != 3 or len(orientation) != 6 or len(spacing) != 2:
        raise ValueError("it does not say where in the patient it lies.")
    orientation = np.array(orientation)
    row, column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if abs(row @ column) > 0.01 or max(abs(np.array(lengths) - 1)) > 0.01 or min(spacing) <= 0:
        raise ValueError("its orientation or pixel spacing is not valid.")
    slope, intercept = number_in(header, "RescaleSlope"), number_in(header, "RescaleIntercept")
    if mapping := real_world_mapping(header):
        slope, intercept = mapping.slope, mapping.intercept
    for name in ("RescaleSlope", "RescaleIntercept"):
        if name in header and number_in(header, name) is None:
            raise ValueError("its rescaling is empty, so its values cannot be told.")
    if slope == 0:
        raise ValueError("its rescale slope is 0, so its values cannot be told; export it again.")
    return Frame(
        path=file,
        index=index,
        header=header,
        shape=(int(header.Rows), int(header.Columns)),
        position=np.array(position),
        orientation=orientation,
        pixel_spacing=(spacing[0], spacing[1]),
        instance=int(number_in(header, "InstanceNumber") or 0),
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        display_scale=number_in(header, PHILIPS_SCALE_SLOPE),
    )


def _uih_grid_frames(file: Path, header: Dataset) -> list[Frame]:
    """The slices of a United Imaging grid: tiles of one picture, each with its own position."""
    items = header[UIH_GRID_ITEMS].value if UIH_GRID_ITEMS in header else []
    positions = [numbers_in(item, "ImagePositionPatient") for item in items]
    count = int(number_in(header, UIH_GRID_IMAGES) or len(positions))
    if count < 1 or len(positions) != count or any(len(place) != 3 for place in positions):
        raise ValueError(
            "this grid of United Imaging lacks the private header that tells where its slices lie; "
            "export the series again as single slices or without removing private elements."
        )
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    if "ImagePositionPatient" not in header:
        header.ImagePositionPatient = positions[0]
    whole = _frame(file, 0, header)
    if whole.shape[0] % down and whole.shape[0] % across == 0:
        down = across  # a square grid, with empty tiles
    if whole.shape[0] % down or whole.shape[1] % across:
        raise ValueError(
            f"this grid of United Imaging of {whole.shape[1]} x {whole.shape[0]} pixels does not "
            f"divide into {count} slices; export the series again as single slices."
        )
    rows, columns = whole.shape[0] // down, whole.shape[1] // across
    return [
        replace(
            whole,
            shape=(rows, columns),
            position=np.array(place),
            tile=(n // across * rows, n % across * columns),
        )
        for n, place in enumerate(positions)
    ]


def _mosaic_frames(file: Path, header: Dataset) -> list[Frame]:
    """The slices of a Siemens mosaic: tiles of one picture, stacked along the CSA slice normal.

    The position in the header is that of a picture as large as the mosaic around the first slice's
    center (https://nipy.org/nibabel/dicom/dicom_mosaic.html).
    """
    count = int(number_in(header, SIEMENS_MOSAIC_IMAGES) or 0)
    csa = siemens_csa(header.get(SIEMENS_CSA).value) if SIEMENS_CSA in header else {}
    normal = [float(value) for value in csa.get("SliceNormalVector", [])]
    count = count or int(float((csa.get("NumberOfImagesInMosaic") or ["0"])[0]))
    step = abs(number_in(header, "SpacingBetweenSlices") or 0.0)
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
