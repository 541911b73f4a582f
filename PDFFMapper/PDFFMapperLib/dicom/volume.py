"""A 3D volume of a DICOM series: described from its slices' headers, its voxels read on demand."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from PDFFMapperLib.dicom.facts import attributes_of
from PDFFMapperLib.dicom.frames import Frame
from PDFFMapperLib.dicom.header import mapped
from PDFFMapperLib.dicom.suv import SUV_UNIT, suv_of_files
from PDFFMapperLib.images.attributes import words_of
from PDFFMapperLib.images.volume import LPS_TO_RAS, SourceSlices, Volume

_PIXEL_MODULE = [
    "SOPClassUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation", "PixelData",
    "FloatPixelData", "DoubleFloatPixelData",
]  # fmt: skip


class _Unreadable(Exception):
    """Why the voxels of a file cannot be read."""


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
    _frames: list[Frame] = field(repr=False, default_factory=list)

    @property
    def folders(self) -> set[Path]:
        """Where its files lie."""
        return {frame.path.parent for frame in self._frames}

    @property
    def files(self) -> set[Path]:
        """Its files; those of an enhanced object hold others' slices, too."""
        return {frame.path for frame in self._frames}

    def read(self) -> Volume:
        """Read the voxels, rescaled to the header's units (PET: to SUV), as float32.

        Raises:
            ValueError: a file is truncated, was removed, or cannot be decoded; a PET's header
                does not give its SUV.
        """
        return read_volumes([self])[0]


def volumes_of_series(groups: Sequence[Sequence[Frame]], description: str) -> list[DicomVolume]:
    """The volumes that the sorted frames of one series make.

    Args:
        groups: the frames of each volume, as `dicom_sorting.sort_frames` gives them.
        description: of the series; volumes are named by it.
    """
    volumes = [_volume(group, description, len(groups) > 1) for group in groups]
    echo_times = {group[0].echo_time_ms for group in groups}
    b_values = {group[0].b_value for group in groups}
    for volume in volumes:
        volume.attributes["NumberOfEchoes"] = len(echo_times)
        if b_values != {None}:
            volume.attributes["NumberOfBValues"] = len(b_values)
    _forget_idle_b_values(volumes)
    return volumes


def _volume(frames: Sequence[Frame], description: str, has_siblings: bool) -> DicomVolume:
    first = frames[0]
    if len(frames) > 1:
        step = (frames[-1].position - first.position) / (len(frames) - 1)
    else:
        step = first.normal * (first.thickness_mm or 1.0)
    lps = np.eye(4)
    lps[:3, 0] = first.orientation[:3] * first.pixel_spacing[1]
    lps[:3, 1] = first.orientation[3:] * first.pixel_spacing[0]
    lps[:3, 2] = step
    lps[:3, 3] = first.position
    return DicomVolume(
        f"{description} ({first.summary})" if has_siblings else description,
        (len(frames), *first.shape),
        LPS_TO_RAS @ lps,
        attributes_of(first.header),
        list(frames),
    )


def _forget_idle_b_values(volumes: list[DicomVolume]) -> None:
    """Drop the b = 0 that Philips and GE write to images that have no diffusion weighting.

    Anonymizing may have taken the maker out; an echo-planar b = 0 then stays, as others may go
    with it.
    """
    facts = [volume.attributes for volume in volumes]
    if any(one.get("DiffusionBValue") or one.get("GEDiffusionKind") in (14, 16) for one in facts):
        return
    for one in facts:
        maker = str(one.get("Manufacturer", "")).upper()
        echo_planar = "EP" in words_of(one.get("ScanningSequence"))
        if maker.startswith(("PHILIPS", "GE")) or not (maker or echo_planar):
            for key in [key for key in one if "Diffusion" in key or key == "NumberOfBValues"]:
                del one[key]


def read_volumes(volumes: list[DicomVolume]) -> list[Volume]:
    """Read the voxels of volumes, each file once."""
    arrays = []
    uses: dict[Path, list[tuple[Frame, np.ndarray]]] = {}
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
        _made(array, volume, *_uptake(array, volume))
        for array, volume in zip(arrays, volumes, strict=True)
    ]


def _made(
    array: np.ndarray, volume: DicomVolume, facts: dict[str, object], notes: Sequence[str]
) -> Volume:
    attributes = {**volume.attributes, **facts}
    slices = SourceSlices(
        tuple((frame.path, frame.index) for frame in volume._frames),
        volume.shape,
        volume.ijk_to_ras.copy(),
        any(frame.tile for frame in volume._frames),
    )
    return Volume(array, volume.ijk_to_ras.copy(), volume.name, attributes, [*notes], slices)


def _uptake(array: np.ndarray, volume: DicomVolume) -> tuple[dict[str, object], Sequence[str]]:
    """PET becomes SUV by body weight, in place."""
    if volume.attributes.get("Modality") != "PT":
        return {}, ()
    found = suv_of_files([frame.path for frame in volume._frames])
    array *= found.factors[:, None, None].astype(np.float32)
    return {**found.facts, "Units": SUV_UNIT}, found.notes


def _stored_pixels(file: Path) -> np.ndarray:
    """The stored values of a file, shape (frames, rows, columns)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with mapped(file) as view:
                data = dcmread(view, specific_tags=_PIXEL_MODULE, force=True)
            syntax = UID(data.file_meta.get("TransferSyntaxUID", ExplicitVRLittleEndian))
            if "TransferSyntaxUID" not in data.file_meta:
                data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
            if reason := _wrong_length(data, syntax):
                raise _Unreadable(reason)
            if syntax.is_encapsulated and syntax.name != "RLE Lossless":
                pixels = _decode_with_gdcm(data)
            else:
                pixels = data.pixel_array
    except FileNotFoundError:
        raise
    except _Unreadable as error:
        raise ValueError(
            f"{file.name}: its voxels cannot be read: {error}; export or copy the file again."
        ) from error
    except Exception as error:  # decoders raise many kinds on damaged files
        raise ValueError(
            f"{file.name}: its voxels cannot be read; the file may be damaged, truncated, or "
            "compressed in a way that is not supported."
        ) from error
    return pixels[np.newaxis] if pixels.ndim == 2 else pixels


def _wrong_length(data: Dataset, syntax: UID) -> str:
    """Why voxels are not as long as the header says, "" if they are.

    With more of them rows, columns or bits are wrong; zeros at the end are padding.
    """
    if not any(keyword in data for keyword in _PIXEL_MODULE[-3:]):
        return "it ends before them"
    if syntax.is_encapsulated or "PixelData" not in data:
        return ""
    count = data.Rows * data.Columns * int(data.get("NumberOfFrames", 1) or 1)
    expected = (count * data.get("SamplesPerPixel", 1) * data.BitsAllocated + 7) // 8
    row = max(data.Columns * data.BitsAllocated // 8, 2)
    held = len(data.PixelData)
    if held < expected + row or not any(data.PixelData[expected:]):
        return ""
    return f"it holds {held} bytes where its header says {expected}"


def _decode_with_gdcm(data: Dataset) -> np.ndarray:
    """Decompress with SimpleITK's GDCM (JPEG, JPEG-LS, JPEG 2000).

    GDCM sees the pixel module alone, so that it cannot apply a rescaling of its own.
    """
    import SimpleITK as sitk

    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.3"  # multi-frame grayscale word capture
    data.SOPInstanceUID = generate_uid()
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
