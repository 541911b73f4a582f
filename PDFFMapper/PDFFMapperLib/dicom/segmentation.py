"""DICOM segmentation objects in: binary, fractional and label maps, by pydicom.

Format: PS3.3, A.51 (segmentation) and A.51.5.1 (label map).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filereader import dcmread

from PDFFMapperLib.dicom.preamble import is_dicom
from PDFFMapperLib.images.files import checked_name
from PDFFMapperLib.images.volume import LPS_TO_RAS, Volume

_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
OUR_MODEL = "MarrowAssess"
_ON_GRID_VOXELS = 0.1


@dataclass
class DicomSegment:
    """One segment: its label, and its codes as (scheme, value, meaning), "" where not given.

    `description` is free text; `is_ours` tells that this software wrote the object.
    """

    number: int
    label: str
    type_code: tuple[str, str, str]
    type_side: tuple[str, str, str]
    region: tuple[str, str, str]
    region_side: tuple[str, str, str]
    description: str = ""
    is_ours: bool = False


@dataclass
class DicomSegmentation:
    """The segments of an object on a grid.

    Attributes:
        grid: a volume that stands for the grid, its voxels without meaning.
        masks: by segment number, boolean, indexed [k, j, i].
        segments: in the order of the file.
        notes: how it was read.
    """

    grid: Volume
    masks: dict[int, np.ndarray]
    segments: list[DicomSegment]
    notes: list[str] = field(default_factory=list)


def is_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM segmentation."""
    if not path.is_file() or not is_dicom(path):
        return False
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    except Exception:  # pydicom raises many kinds on damaged files
        return False
    return str(header.get("SOPClassUID", "")) in _CLASSES


def read_segmentation(path: Path, likes: Sequence[Volume] = ()) -> DicomSegmentation:
    """Read a DICOM segmentation.

    Objects leave out empty slices, so it is laid on the grid of the first volume that it fits,
    else on its own from the first to the last slice.

    Args:
        path: of the file.
        likes: volumes it may have been drawn on.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, compressed in a way that is not supported, or not in space.
    """
    path = checked_name(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = dcmread(path)
            frames = _frames(data)
            ours = str(data.get("ManufacturerModelName", "")) == OUR_MODEL
            segments = [_segment(item, ours) for item in data.SegmentSequence]
            own = _own_grid(path.name, frames)
    except Exception as error:  # pydicom and its decoders raise many kinds on damaged files
        raise ValueError(
            f"{path}: this DICOM segmentation cannot be read ({error}); export it again, without "
            "compression."
        ) from error
    numbers = {segment.number for segment in segments}
    for like in [*likes, own]:
        masks = _masks_on(like, frames, numbers)
        if masks is not None:
            break
    else:
        raise ValueError(f"{path}: the frames of this DICOM segmentation lie on no common grid.")
    notes = []
    if str(data.get("SegmentationType", "")) == "FRACTIONAL":
        notes.append(f"{path.name}: fractional segments were cut at one half.")
    return DicomSegmentation(like, masks, segments, notes)


@dataclass
class _Frame:
    pixels: np.ndarray  # of numbers of segments, 0 for none
    ijk_to_ras: np.ndarray  # of this slice, k = 0


def _frames(data: Dataset) -> list[_Frame]:
    groups = data.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        raise ValueError("it holds no frame")
    pixels = data.pixel_array
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    kind = str(data.get("SegmentationType", "BINARY"))
    shared = (data.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    if len(groups) != len(pixels):
        raise ValueError(f"its header describes {len(groups)} of {len(pixels)} frames")
    half = 0.5 * float(data.get("MaximumFractionalValue", 255) or 255)
    frames = []
    for group, image in zip(groups, pixels, strict=True):
        if kind == "LABELMAP":
            numbers = image.astype(np.int32)
        else:
            number = int(_item(group, shared, "SegmentIdentificationSequence")
                         .ReferencedSegmentNumber)  # fmt: skip
            inside = image > 0 if kind == "BINARY" else image >= half
            numbers = np.where(inside, number, 0).astype(np.int32)
        frames.append(_Frame(numbers, _matrix(group, shared)))
    return frames


def _item(group: Dataset, shared: Dataset, keyword: str) -> Dataset:
    found = group.get(keyword) or shared.get(keyword)
    if not found:
        raise ValueError(f"a frame has no {keyword}")
    return found[0]


def _matrix(group: Dataset, shared: Dataset) -> np.ndarray:
    measures = _item(group, shared, "PixelMeasuresSequence")
    axes = np.array(_item(group, shared, "PlaneOrientationSequence").ImageOrientationPatient, float)
    place = np.array(_item(group, shared, "PlanePositionSequence").ImagePositionPatient, float)
    spacing = [float(value) for value in measures.PixelSpacing]
    step = float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 1.0)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = axes[:3] * spacing[1], axes[3:] * spacing[0]
    lps[:3, 2] = np.cross(axes[:3], axes[3:]) * abs(step)
    lps[:3, 3] = place
    return LPS_TO_RAS @ lps


def _own_grid(name: str, frames: list[_Frame]) -> Volume:
    """The grid from the first to the last frame along their normal."""
    matrix = frames[0].ijk_to_ras
    normal = matrix[:3, 2] / np.linalg.norm(matrix[:3, 2])
    depth = np.array([frame.ijk_to_ras[:3, 3] @ normal for frame in frames])
    places = np.unique(depth.round(3))
    steps = np.diff(places)
    steps = steps[steps > 0.01]
    step = float(steps.min()) if steps.size else float(np.linalg.norm(matrix[:3, 2]))
    own = frames[int(depth.argmin())].ijk_to_ras.copy()
    own[:3, 2] = normal * step
    count = round((depth.max() - depth.min()) / step) + 1
    if count > 10_000:
        raise ValueError("its frames are spread over more slices than an image has")
    return Volume(np.zeros((count, *frames[0].pixels.shape), np.uint8), own, name)


def _masks_on(like: Volume, frames: list[_Frame], numbers: set[int]) -> dict | None:
    """The masks on a grid, None where the voxels of a frame are not voxels of it."""
    masks = {number: np.zeros(like.array.shape, bool) for number in numbers}
    inverse = np.linalg.inv(like.ijk_to_ras)
    limits = np.array(like.array.shape[::-1])
    for frame in frames:
        steps = inverse @ frame.ijk_to_ras
        rows, columns = frame.pixels.shape
        corners = np.array(
            [[i, j, 0, 1] for i in (0, columns - 1) for j in (0, rows - 1)], float
        ) @ steps.T  # fmt: skip
        if np.abs(corners[:, :3] - np.rint(corners[:, :3])).max() > _ON_GRID_VOXELS:
            return None
        if np.abs(np.abs(steps[:3, :2]).max(axis=0) - 1).max() > 0.01:
            return None
        j, i = np.nonzero(frame.pixels)
        ijk = np.rint(np.c_[i, j, np.zeros(len(i)), np.ones(len(i))] @ steps.T)[:, :3].astype(int)
        if ((ijk < 0) | (ijk >= limits)).any():
            return None
        values = frame.pixels[j, i]
        for number in numbers & set(np.unique(values).tolist()):
            here = ijk[values == number]
            masks[number][here[:, 2], here[:, 1], here[:, 0]] = True
    return masks


def _segment(item: Dataset, ours: bool) -> DicomSegment:
    kind = (item.get("SegmentedPropertyTypeCodeSequence") or [Dataset()])[0]
    region = (item.get("AnatomicRegionSequence") or [Dataset()])[0]
    return DicomSegment(
        int(item.SegmentNumber),
        str(item.get("SegmentLabel", "") or item.get("SegmentDescription", "")).strip(),
        _code(kind),
        _modifier(kind, "SegmentedPropertyTypeModifierCodeSequence"),
        _code(region),
        _modifier(region, "AnatomicRegionModifierSequence"),
        str(item.get("SegmentDescription", "")).strip(),
        ours,
    )


def _modifier(item: Dataset, keyword: str) -> tuple[str, str, str]:
    return _code((item.get(keyword) or [Dataset()])[0])


def _code(item: Dataset) -> tuple[str, str, str]:
    keys = ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")
    return tuple(str(item.get(key, "")) for key in keys)
