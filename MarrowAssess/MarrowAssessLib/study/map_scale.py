"""The unit that a map's values are in, judged on the whole map."""

from __future__ import annotations

import re

import numpy as np
from PDFFMapperLib.images.attributes import is_diffusion_map
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.contrasts import SIGNALS, Contrast

_PERCENT = (Contrast.PDFF, Contrast.FAT_FRACTION, Contrast.F)
_DIFFUSIVITY = (Contrast.ADC, Contrast.D, Contrast.DSTAR)
# Factors to the unit that is expected, by how the unit is written without blanks and signs.
_PERCENT_UNITS = {"%": 1.0, "percent": 1.0, "1": 100.0, "fraction": 100.0, "ratio": 100.0,
                  "[ppth]": 0.1, "permille": 0.1, "permil": 0.1, "‰": 0.1, "01%": 0.1}  # fmt: skip
_DIFFUSIVITY_UNITS = {"mm2/s": 1e3, "um2/s": 1e-3, "um2/ms": 1.0, "10-3mm2/s": 1.0,
                      "10-6mm2/s": 1e-3}  # fmt: skip
_RATE_UNITS = {"1/s": 1.0, "/s": 1.0, "s-1": 1.0, "hz": 1.0, "1/ms": 1e3, "/ms": 1e3, "ms-1": 1e3}
_TIME_UNITS = {"ms": 1.0, "msec": 1.0, "s": 1e3, "sec": 1e3}
_UNITS = {
    **dict.fromkeys(_PERCENT, _PERCENT_UNITS),
    **dict.fromkeys(_DIFFUSIVITY, _DIFFUSIVITY_UNITS),
    Contrast.R2STAR: _RATE_UNITS,
    Contrast.T2STAR: _TIME_UNITS,
}
# An image's signals have none of them; "1" may mean that they have no unit.
_OF_MAPS = {*_PERCENT_UNITS, *_DIFFUSIVITY_UNITS, *_RATE_UNITS, *_TIME_UNITS} - {"1", "ratio"}
_STATING = ("Units", "RescaleType")
HIGHEST_PERCENT = 150.0  # noise goes beyond 100, a map of other scale far beyond
LEAST_TOP = 60.0  # percent; below, the scale of a map cannot be told by its highest value
_PICTURE_TOPS = (254, 255, 4095, 32767, 65535)  # of maps stretched to what a picture holds
_SHARE = 0.002  # of the voxels above 0 that may lie beyond
LOWEST_RATE = 1.5  # 1/s; no tissue decays as slowly
HIGHEST_SUV = 200.0  # g/ml; the bladder reaches 100
HIGHEST_DIFFUSIVITY, LOWEST_DIFFUSIVITY = 60.0, 0.05  # 10^-3 mm^2/s
# Of maps with voxels that went astray as a rule: their highest value, their median and its unit.
_ASTRAY = {
    Contrast.T2STAR: (1.0, 3000.0, "ms"),  # cortical bone, pure fluid
    Contrast.DSTAR: (1.0, 3000.0, "10^-3 mm^2/s"),
}
_JUDGED = {*_PERCENT, *_DIFFUSIVITY, *_ASTRAY, Contrast.SUV, Contrast.R2STAR}


def in_stated_unit(volume: Volume, contrast: Contrast) -> tuple[Volume, str]:
    """A map in its unit where its file states another one, and a sentence if that changed it.

    The unit is that of the file or, in DICOM images of MR, the type of the rescaled values, which
    is heard where it is a unit of such a map. A map that was changed states no unit any more, so
    that nothing scales it twice.

    Raises:
        ValueError: the unit stated is none of such a map, or unit or image type are a map's and
            this is an image.
    """
    known = _UNITS.get(contrast)
    stated = str(volume.attributes.get("Units", ""))
    rescaled = str(volume.attributes.get("RescaleType", ""))
    if not stated and _word(rescaled) != "1" and _word(rescaled) in (known or ()):
        stated = rescaled
    word = _word(stated)
    units_of_maps = [unit for unit in (stated, rescaled) if _word(unit) in _OF_MAPS]
    if contrast in SIGNALS and units_of_maps:
        raise ValueError(
            f"{volume.name}: its file states the unit '{units_of_maps[0]}', so it is a map and no "
            f"{contrast.value} image; name it as what it shows, such as PDFF or ADC."
        )
    if contrast in SIGNALS and is_diffusion_map(volume.attributes):
        raise ValueError(
            f"{volume.name}: by its image type it is a map of diffusion and no {contrast.value} "
            "image; name it as what it shows, such as ADC."
        )
    if known is None or not word or word in ("arbitrary", "us", "unspecified", "nounits"):
        return volume, ""
    if word not in known:
        raise ValueError(
            f"{volume.name}: its file states the unit '{stated}', which is none of "
            f"{contrast.value}; give the factor to its unit, as --scale {contrast.value}=FACTOR."
        )
    factor = known[word]
    if factor == 1:
        return volume, ""
    scaled = volume.with_array(volume.array.astype(np.float32) * np.float32(factor))
    scaled.attributes = {k: v for k, v in volume.attributes.items() if k not in _STATING}
    scaled.attributes["TimesByUnit"] = factor
    return scaled, f"{contrast.value}: the file states '{stated}'; values were times {factor:g}."


def _word(unit: str) -> str:
    """A unit as it stands in the tables here."""
    word = re.sub(r"[\s^×*.{}]", "", unit.lower()).replace("µ", "u").replace("μ", "u")
    return re.sub(r"^1e-?0?(?=\d)", "10-", word.replace("²", "2").removeprefix("x"))


def scale_advice(volume: Volume, contrast: Contrast) -> str:
    """Why a map as a whole cannot be in its unit and the factor that brings it there, "" if it can.

    Judged are the values above 0 of the whole map, because one region may hold any.
    """
    if contrast not in _JUDGED:
        return ""
    values = volume.array[np.isfinite(volume.array)]
    values = values[values > 0]
    if values.size < 2:
        return ""
    top = float(np.quantile(values, 1 - _SHARE))
    highest = float(values.max())
    if contrast in _PERCENT:
        return _percent_advice(volume, contrast, top, highest)
    if contrast in (Contrast.ADC, Contrast.D):
        unit = "10^-3 mm^2/s"
        if top > HIGHEST_DIFFUSIVITY and highest > HIGHEST_DIFFUSIVITY:
            return _advice(volume, contrast, highest, unit, 0.001 if 300 < top <= 2e4 else None)
        if highest < LOWEST_DIFFUSIVITY:
            return _advice(volume, contrast, highest, unit, 1000.0)
    if contrast is Contrast.SUV and top > HIGHEST_SUV:
        return (
            f"{volume.name}: its values reach {highest:.4g}, which is no SUV in g/ml but activity; "
            "read the PET's DICOM files (a folder in MarrowAssess or PDFFMapper), which makes SUV."
        )
    if contrast in _ASTRAY:
        low, high, unit = _ASTRAY[contrast]
        if highest < low or np.median(values) > high:
            return _advice(volume, contrast, highest, unit, 1000.0 if highest < low else 0.001)
    if contrast is Contrast.R2STAR and highest < LOWEST_RATE:
        return _advice(volume, contrast, highest, "1/s", 1000.0)
    return ""


def _percent_advice(volume: Volume, contrast: Contrast, top: float, highest: float) -> str:
    if top > HIGHEST_PERCENT:
        # Every image of a body holds fat: what would then be its highest share tells the scale.
        factor = next((f for f in (0.1, 0.01) if LEAST_TOP < top * f <= HIGHEST_PERCENT), None)
        factor = None if highest in _PICTURE_TOPS else factor
        return _advice(volume, contrast, highest, "percent", factor)
    if highest <= 1.5 and (volume.array % 1 != 0).any():
        return _advice(volume, contrast, highest, "percent", 100.0)
    return ""


def _advice(
    volume: Volume, contrast: Contrast, highest: float, unit: str, factor: float | None
) -> str:
    by_unit = float(volume.attributes.get("TimesByUnit", 1.0))  # a scale counts from the file's
    given = f"{factor * by_unit:g}" if factor else "FACTOR"
    stated = f", though its file's unit was followed (times {by_unit:g})" if by_unit != 1 else ""
    return (
        f"{volume.name}: its values reach {highest:.4g}{stated}, so this map is not in {unit}; "
        f"give its scale, such as --scale {contrast.value}={given}."
    )


def without_scale(advice: str) -> str:
    """Such a sentence where no scale can be given."""
    return re.sub(r"give [^;]*--scale \S+$", "bring the map to its unit first.", advice)


def without_options(text: str) -> str:
    """A sentence without what it says of the command line in brackets."""
    return re.sub(r" \([^()]*--[^()]*\)", "", text)
