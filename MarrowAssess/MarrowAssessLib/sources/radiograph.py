"""What a pixel of a radiograph is in mm: at the detector, or in the patient.

DICOM PS3.3, 10.7.1.3 "Pixel Spacing Value Order and Valid Values": Imager Pixel Spacing is at the
detector, where everything is larger than in the patient; Pixel Spacing that was calibrated is not.
Table C.8-72 "DX Positioning": the magnification is the distance of the detector over that of the
side of table or bucky next to the patient; bone lies nearer to the tube and is enlarged more.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_TAGS = (
    "PixelSpacing", "ImagerPixelSpacing", "PixelSpacingCalibrationType",
    "EstimatedRadiographicMagnificationFactor", "DistanceSourceToDetector",
    "DistanceSourceToPatient",
)  # fmt: skip


@dataclass(frozen=True)
class RadiographScale:
    """How large a pixel is.

    Attributes:
        spacing_mm: between rows and between columns, at the detector unless magnification is 1.
        magnification: at the support beside the patient, by which sizes are divided; 1 where
            spacing is calibrated, None not known.
    """

    spacing_mm: tuple[float, float]
    magnification: float | None

    def size_mm(self, rows: float, columns: float) -> float:
        """Of a line over so many rows and columns."""
        down, across = rows * self.spacing_mm[0], columns * self.spacing_mm[1]
        return float((down**2 + across**2) ** 0.5) / (self.magnification or 1.0)


def radiograph_scale(file: str | Path) -> RadiographScale:
    """The scale that a radiograph's header tells.

    Raises:
        ValueError: it is no DICOM file, or tells none.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        header = dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
    except (InvalidDicomError, OSError) as error:
        raise ValueError(f"{Path(file).name}: this is no DICOM file that can be read.") from error
    at_detector, spacing = _pair(header, "ImagerPixelSpacing"), _pair(header, "PixelSpacing")
    calibrated = header.get("PixelSpacingCalibrationType") or (
        spacing and at_detector and spacing != at_detector
    )
    if spacing and calibrated:
        return RadiographScale(spacing, 1.0)
    if not (found := at_detector or spacing):
        raise ValueError(
            "The radiograph's header tells no pixel spacing, so nothing can be measured in mm."
        )
    return RadiographScale(found, _magnification(header))


def _pair(header: object, keyword: str) -> tuple[float, float] | None:
    values = header.get(keyword)
    return (float(values[0]), float(values[1])) if values and min(values) > 0 else None


def _magnification(header: object) -> float | None:
    if factor := header.get("EstimatedRadiographicMagnificationFactor"):
        return round(float(factor), 4)
    detector, patient = (header.get(f"DistanceSourceTo{what}") for what in ("Detector", "Patient"))
    return round(float(detector) / float(patient), 4) if detector and patient else None
