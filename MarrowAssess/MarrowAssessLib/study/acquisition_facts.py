"""What a study's headers say about its acquisition, as far as a reference depends on it."""

from __future__ import annotations

from PDFFMapperLib.images.attributes import image_type_of, number_of

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.study.study import Study


def field_strength_t(study: Study) -> float | None:
    """Tesla: what was stated for the study, else what the headers agree on; None if unknown."""
    if study.field_strength_t is not None:
        return study.field_strength_t
    headers = [number_of(v.attributes, "MagneticFieldStrength") for v in study.volumes.values()]
    said = {round(value, 1) for value in headers if value}
    return said.pop() if len(said) == 1 else None


def times_ms(study: Study, contrast: Contrast) -> tuple[float | None, float | None, float | None]:
    """Repetition, echo and inversion time of an image, ms; None where the header is silent."""
    attributes = study.volumes[contrast].attributes if contrast in study.volumes else {}
    tr, te, ti = (
        number_of(attributes, key) or None
        for key in ("RepetitionTime", "EchoTime", "InversionTime")
    )
    return tr, te, ti


def shading_corrected(study: Study, contrast: Contrast, n4: bool) -> bool:
    """Whether coil shading was removed: by N4 here, or by the scanner as its header says (NORM)."""
    volume = study.volumes.get(contrast)
    return n4 or (volume is not None and "NORM" in image_type_of(volume.attributes))
