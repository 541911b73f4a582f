"""Writes small DICOM series with pydicom, as scanners of several makers write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from PDFFMapperLib.images.volume import LPS_TO_RAS, Volume
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
ROW = np.array([0.98, 0.17, 0.10])
ROW /= np.linalg.norm(ROW)
COLUMN = np.cross([0.05, -0.2, 0.98], ROW)
COLUMN /= np.linalg.norm(COLUMN)
NORMAL = np.cross(ROW, COLUMN)  # an oblique slab
ORIGIN = np.array([-31.5, 12.25, 80.125])


def header(sop_class: str = MR, series: str | None = None, **facts: object) -> FileDataset:
    """An image header without geometry or pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    if int(pydicom.__version__.split(".")[0]) < 3:  # later versions follow the transfer syntax
        data.is_little_endian, data.is_implicit_VR = True, False
    data.SOPClassUID = sop_class
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID = series or generate_uid()
    data.StudyInstanceUID = generate_uid()
    data.Modality = "MR"
    data.Manufacturer = "ACME"
    data.PatientName = "Secret^Person"
    data.PatientID = "4711-secret"
    data.PatientBirthDate = "20000101"
    data.PatientAge = "010Y"
    data.PatientSex = "F"
    data.StudyDate = "20100702"
    data.SeriesDescription = "a series"
    data.SeriesNumber = 3
    data.MagneticFieldStrength = 3
    data.EchoTime = "2.5"
    data.RepetitionTime = 20
    data.SliceThickness = 4
    data.SpacingBetweenSlices = 5
    for keyword, value in facts.items():
        setattr(data, keyword, value)
    return data


def put_pixels(data: Dataset, pixels: np.ndarray) -> None:
    """Put 16-bit pixels, shape (rows, columns) or (frames, rows, columns)."""
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape[-2:]
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit = 15
    data.PixelRepresentation = int(pixels.dtype == np.int16)
    if pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    data.PixelData = pixels.tobytes()


def position(k: float, step_mm: float = 5.0) -> list[float]:
    """Where slice k of the oblique slab lies (LPS mm)."""
    return [float(value) for value in ORIGIN + k * step_mm * NORMAL]


def orientation() -> list[float]:
    return [float(value) for value in (*ROW, *COLUMN)]


def classic_slice(folder: Path, name: str, k: int, pixels: np.ndarray, **facts: object) -> Path:
    """Write one slice of the oblique slab."""
    data = header(**facts)
    data.ImagePositionPatient = [f"{value:.10g}" for value in position(k)]
    data.ImageOrientationPatient = [f"{value:.10g}" for value in orientation()]
    data.PixelSpacing = [1.5, 2.0]  # between rows, between columns
    put_pixels(data, pixels)
    path = folder / name
    data.save_as(path)
    return path


def write_as_dicom(volume: Volume, folder: Path, **facts: object) -> Path:
    """Write an image as a classic series, rounded to whole numbers."""
    folder.mkdir(parents=True)
    series, study, place = (generate_uid() for _ in range(3))
    lps = LPS_TO_RAS @ volume.ijk_to_ras
    spacing = [float(value) for value in volume.spacing]
    axes = (lps[:3, :2] / volume.spacing[:2]).T.ravel()
    for k, pixels in enumerate(np.rint(volume.array).astype(np.uint16)):
        data = header(
            series=series,
            **{"StudyInstanceUID": study, "FrameOfReferenceUID": place, "InstanceNumber": k + 1}
            | facts,
        )
        data.SliceThickness = data.SpacingBetweenSlices = spacing[2]
        data.ImagePositionPatient = [f"{v:.10g}" for v in lps[:3, 3] + k * lps[:3, 2]]
        data.ImageOrientationPatient = [f"{v:.10g}" for v in axes]
        data.PixelSpacing = [spacing[1], spacing[0]]
        put_pixels(data, pixels)
        data.save_as(folder / f"{k:04d}.dcm")
    return folder


def enhanced(
    path: Path, frames: list[tuple[int, np.ndarray, dict[str, object]]], **facts: object
) -> Path:
    """Write an enhanced object of frames (slice number, pixels, per-frame facts)."""
    data = header(ENHANCED_MR, **facts)
    del data.EchoTime, data.RepetitionTime, data.SliceThickness, data.SpacingBetweenSlices
    shared = Dataset()
    timing = Dataset()
    timing.RepetitionTime, timing.FlipAngle = 30.0, 8.0
    shared.MRTimingAndRelatedParametersSequence = Sequence([timing])
    plane = Dataset()
    plane.ImageOrientationPatient = [f"{value:.10g}" for value in orientation()]
    shared.PlaneOrientationSequence = Sequence([plane])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for k, _, frame_facts in frames:
        group = Dataset()
        group.PlanePositionSequence = Sequence([Dataset()])
        group.PlanePositionSequence[0].ImagePositionPatient = [
            f"{value:.10g}" for value in position(k)
        ]
        group.PixelMeasuresSequence = Sequence([Dataset()])
        group.PixelMeasuresSequence[0].PixelSpacing = [1.5, 2.0]
        group.PixelMeasuresSequence[0].SliceThickness = 4.0
        group.MREchoSequence = Sequence([Dataset()])
        group.MREchoSequence[0].EffectiveEchoTime = float(frame_facts.get("echo_time", 2.5))
        kind = Dataset()
        kind.FrameType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
        kind.ComplexImageComponent = frame_facts.get("component", "MAGNITUDE")
        group.MRImageFrameTypeSequence = Sequence([kind])
        scale = Dataset()
        scale.RescaleSlope = frame_facts.get("slope", 1)
        scale.RescaleIntercept = frame_facts.get("intercept", 0)
        scale.RescaleType = "US"
        group.PixelValueTransformationSequence = Sequence([scale])
        if "b_value" in frame_facts:
            diffusion = Dataset()
            diffusion.DiffusionBValue = float(frame_facts["b_value"])
            diffusion.DiffusionDirectionality = "DIRECTIONAL"
            if "direction" in frame_facts:
                direction = Dataset()
                direction.DiffusionGradientOrientation = frame_facts["direction"]
                diffusion.DiffusionGradientDirectionSequence = Sequence([direction])
            group.MRDiffusionSequence = Sequence([diffusion])
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = Sequence(groups)
    put_pixels(data, np.stack([pixels for _, pixels, _ in frames]))
    data.save_as(path)
    return path


def sagittal_series(folder: Path, volume: object, **facts: object) -> None:
    """Write a volume as one file for each of its sagittal slices."""
    axis = int(np.argmax(np.abs(volume.ijk_to_ras[0, :3])))
    down, along = (one for one in (2, 1, 0) if one != axis)  # of the image, in ijk
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    slices = np.moveaxis(volume.array, 2 - axis, 0)
    series = generate_uid()
    for k, pixels in enumerate(slices):
        data = header(series=series, **facts)
        data.InstanceNumber = k + 1
        data.ImagePositionPatient = [f"{v:.10g}" for v in lps[:3, 3] + k * lps[:3, axis]]
        rows, columns = lps[:3, along] / spacing[along], lps[:3, down] / spacing[down]
        data.ImageOrientationPatient = [f"{v:.10g}" for v in (*rows, *columns)]
        data.PixelSpacing = [float(spacing[down]), float(spacing[along])]
        data.SliceThickness = data.SpacingBetweenSlices = float(spacing[axis])
        put_pixels(data, np.ascontiguousarray(np.round(pixels)).astype(np.int16))
        data.save_as(folder / f"{facts['SeriesNumber']}_{k:03d}.dcm")
