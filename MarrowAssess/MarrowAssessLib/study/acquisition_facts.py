"""What a study's headers say about its acquisition, as far as a reference depends on it."""

from __future__ import annotations

from PDFFMapperLib.images.attributes import number_of, scanner_of
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.echo_train import SAME_FIELD_T, field_strength

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.study.bias_field import is_normalized
from MarrowAssessLib.study.study import Study

KEYWORDS = (
    "MagneticFieldStrength", "ImagingFrequency", "RepetitionTime", "EchoTime",
    "InversionTime", "ImageType",
)  # fmt: skip
"""What is read here of a header, by DICOM keyword."""
# What two visits must have in common, by the name it is stored under, and where it stands.
_STORED = {
    "device": "Device", "sequence": "ScanningSequence", "kernel": "ConvolutionKernel",
    "reconstruction": "ReconstructionMethod", "tracer": "Tracer", "method": "MapMethod",
    "fat_model": "FatModel",
}  # fmt: skip
_NUMBERS = {
    "echo_time_ms": "EchoTime", "repetition_time_ms": "RepetitionTime",
    "inversion_time_ms": "InversionTime", "kvp": "KVP", "uptake_time_min": "UptakeTime",
}  # fmt: skip


def acquisition(study: Study) -> dict[str, dict[str, object]]:
    """Of each image, by contrast, what another visit must have in common to be compared.

    Only what its header says; nothing of the patient, and the machine by a hash.
    """
    return {contrast.value: _facts(volume, study) for contrast, volume in study.volumes.items()}


def _facts(volume: Volume, study: Study) -> dict[str, object]:
    attributes = volume.attributes
    found: dict[str, object] = {"scanner": scanner_of(attributes)}
    found |= {name: attributes.get(key) for name, key in _STORED.items()}
    found |= {name: number_of(attributes, key) for name, key in _NUMBERS.items()}
    if isinstance(b_values := attributes.get("BValues"), list):  # text on a node of the scene
        found["b_values"] = b_values
    if attributes.get("Modality") not in ("PT", "CT"):
        found["field_strength_t"] = field_strength([attributes]) or study.field_strength_t
    else:
        found["uptake_type"] = attributes.get("Units")
    return {name: value for name, value in found.items() if value not in (None, "", [], 0.0)}


def field_strength_t(study: Study) -> float | None:
    """Tesla: what was stated for the study, else what the headers agree on; None if unknown.

    In each header the measured frequency wins over the nominal strength, as for fat fractions.
    """
    if study.field_strength_t is not None:
        return study.field_strength_t
    headers = (volume.attributes for volume in study.volumes.values())
    said = [value for header in headers if (value := field_strength([header]))]
    return said[0] if said and max(said) - min(said) < SAME_FIELD_T else None


def times_ms(study: Study, contrast: Contrast) -> tuple[float | None, float | None, float | None]:
    """Repetition, echo and inversion time of an image, ms; None where the header is silent."""
    attributes = study.volumes[contrast].attributes if contrast in study.volumes else {}
    tr, te, ti = (
        number_of(attributes, key) or None
        for key in ("RepetitionTime", "EchoTime", "InversionTime")
    )
    return tr, te, ti


def shading_corrected(study: Study, contrast: Contrast, n4: bool) -> bool:
    """Whether coil shading was removed: by N4 here, or by the scanner."""
    volume = study.volumes.get(contrast)
    return n4 or (volume is not None and is_normalized(volume))
