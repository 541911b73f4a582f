"""A volume's attributes as numbers and words, however they were written."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping


def number_of(attributes: Mapping[str, object], key: str) -> float | None:
    """A numeric attribute, also when it is text, as on a scene node."""
    try:
        value = float(attributes[key])
    except (KeyError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def words_of(value: object) -> list[str]:
    """The words of an attribute in upper case, of a list or of text with commas or backslashes."""
    if isinstance(value, str):
        value = value.replace(",", "\\").split("\\")
    return [str(word).strip().upper() for word in value or []]


def image_type_of(attributes: Mapping[str, object]) -> list[str]:
    """The words of the "ImageType"."""
    return words_of(attributes.get("ImageType"))


def is_diffusion_map(attributes: Mapping[str, object]) -> bool:
    """Whether the image type tells a map made of a diffusion series: ADC, eADC or anisotropy."""
    words = image_type_of(attributes)
    known = r"E?ADC.*|FA(_UNSPECIFIED)?|FRACTIONAL.*"  # but neither FAT nor FAT_FRACTION
    return "ADC" in words or any(re.fullmatch(known, word) for word in words[2:])
