"""A volume's attributes as numbers and words, however they were written."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

# What scanners compute from a series, by the words of the image type: mDIXON (Philips), q-Dixon
# (Siemens), IDEAL-IQ and Flex (GE), Dixon of Canon and UIH.
PRODUCTS = {
    "W": "water", "WATER": "water", "F": "fat", "FAT": "fat", "IP": "in_phase",
    "IN_PHASE": "in_phase", "INPHASE": "in_phase", "OP": "opposed_phase",
    "OOP": "opposed_phase", "OUT_PHASE": "opposed_phase", "OPP_PHASE": "opposed_phase",
    "OUT_OF_PHASE": "opposed_phase", "OP_PHASE": "opposed_phase",
    "OPPOSED_PHASE": "opposed_phase", "OUTPHASE": "opposed_phase", "FF": "pdff",
    "FAT_FRACTION": "pdff", "FATFRACTION": "pdff", "FAT_FRAC": "pdff", "FATFRAC": "pdff",
    "PDFF": "pdff", "FAT_PERCENT": "pdff", "FP": "pdff", "R2_STAR": "r2star", "R2S": "r2star",
    "R2STAR": "r2star", "R2_STAR_UNSPECIFIED": "r2star", "T2_STAR": "t2star", "T2S": "t2star",
    "T2STAR": "t2star", "T2_STAR_UNSPECIFIED": "t2star", "WF": "water_fraction",
    "WATER_FRACTION": "water_fraction", "WP": "water_fraction",
    "WATER_PERCENT": "water_fraction", "T1_MAP": "t1_map", "T2_MAP": "t2_map", "B0": "field",
    "FIELD_MAP": "field", "FIELDMAP": "field", "SUB": "subtraction", "ADC": "adc",
    "ADC_UNSPECIFIED": "adc", "EADC": "eadc", "FA": "anisotropy",
}  # fmt: skip

_NO_AGENT = {"", "OFF", "NO", "NONE", "N", "NO CONTRAST", "WITHOUT", "N/A", "NA", "-", "0"}
_MADE_ANONYMOUS = {
    "ANONYMIZED", "ANONYMISED", "ANONYMOUS", "ANON", "REMOVED", "REDACTED", "DEIDENTIFIED",
    "DE-IDENTIFIED",
}  # fmt: skip
_FAT_SATURATION = {"FS", "SFS", "FAT_SAT", "SPIR", "SPAIR"}  # in scan options

COMPONENTS = {
    "M": "magnitude", "MAGNITUDE": "magnitude", "P": "phase", "PHASE": "phase",
    "PHASE MAP": "phase", "R": "real", "REAL": "real", "I": "imaginary",
    "IMAGINARY": "imaginary",
}  # fmt: skip

# What a computed map's numbers rest on; the record beside its file keeps it, under this name after
# the prefix of the maps' names.
RECORD = "maps.json"
RECORDED = ("Calibration", "SystematicError", "LowShare", "ConvolutionKernel", "FatSpectrum",
            "FatSpectrumError", "Materials")  # fmt: skip
BESIDE_WATER = "HAP(Water)"  # "Materials" of a map of mineral that takes marrow as water


def product_of_image_type(words: Sequence[str]) -> str | None:
    """What the scanner computed from its echoes ("water", "pdff", "r2star" ...), None for images.

    Args:
        words: of the ImageType or FrameType in upper case; the first two say nothing of it.
    """
    return next(iter(products_of_image_type(words)), None)


def products_of_image_type(words: Sequence[str]) -> list[str]:
    """Each product that the words name, in their order; see `product_of_image_type`."""
    named = [PRODUCTS[one] for one in map(_plain, words[2:]) if one in PRODUCTS]
    return list(dict.fromkeys(named))


def component_of_image_type(image_type: Sequence[str]) -> str | None:
    """The image component ("magnitude", "phase" ...) that an ImageType's later words name."""
    for word in image_type[2:5]:  # two fixed words come first, free text follows
        if word in COMPONENTS:
            return COMPONENTS[word]
        if word[:2] in ("M_", "R_", "I_") and word[2:] in ("FFE", "SE", "IR", "TSE", "B0", "B1"):
            return COMPONENTS[word[0]]
    return None


def _plain(word: str) -> str:
    """A word of the image type as it stands in `PRODUCTS`: "FAT FRACTION_MAP" is FAT_FRACTION."""
    joined = re.sub(r"[\s-]+", "_", word.strip())
    return joined if joined in PRODUCTS else joined.removesuffix("_MAP")


def number_of(attributes: Mapping[str, object], key: str) -> float | None:
    """A numeric attribute, also when it is text, as on a scene node."""
    try:
        value = float(attributes[key])
    except (KeyError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def scanner_of(attributes: Mapping[str, object]) -> str:
    """Maker and model, "" where the header names none."""
    named = (attributes.get(key) for key in ("Manufacturer", "ManufacturerModelName"))
    return " ".join(str(one).strip() for one in named if one)


def words_of(value: object) -> list[str]:
    """The words of an attribute in upper case, of a list or of text with commas or backslashes."""
    if isinstance(value, str):
        value = value.replace(",", "\\").split("\\")
    return [str(word).strip().upper() for word in value or []]


def agent_given(attributes: Mapping[str, object]) -> bool:
    """Whether "ContrastBolusAgent" names one; Hitachi writes "off"."""
    return bool(set(words_of(attributes.get("ContrastBolusAgent"))) - _NO_AGENT - _MADE_ANONYMOUS)


def agent_hidden(attributes: Mapping[str, object]) -> bool:
    """Whether anonymizing wrote over "ContrastBolusAgent", whatever it said, even nothing."""
    return bool(set(words_of(attributes.get("ContrastBolusAgent"))) & _MADE_ANONYMOUS)


def fat_saturated(attributes: Mapping[str, object]) -> bool:
    """Whether "ScanOptions" says that fat was saturated."""
    return bool(_FAT_SATURATION & set(words_of(attributes.get("ScanOptions"))))


def image_type_of(attributes: Mapping[str, object]) -> list[str]:
    """The words of the "ImageType"."""
    return words_of(attributes.get("ImageType"))


def is_diffusion_map(attributes: Mapping[str, object]) -> bool:
    """Whether the image type tells a map made of a diffusion series: ADC, eADC or anisotropy."""
    words = image_type_of(attributes)
    known = r"E?ADC.*|FA(_UNSPECIFIED)?|FRACTIONAL.*"  # but neither FAT nor FAT_FRACTION
    return "ADC" in words or any(re.fullmatch(known, word) for word in words[2:])
