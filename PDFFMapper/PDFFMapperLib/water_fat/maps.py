"""Water-fat results as parametric maps with units, fixed windows and provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.water_fat.products import FatFraction
from PDFFMapperLib.water_fat.separation import Doubt, WaterFatResult
from PDFFMapperLib.water_fat.t1_bias import t1_corrected_fat_fraction

# field of the result: name, title, unit, window (None: 0 to the 99th percentile), color
_MAPS = {
    "pdff_percent": ("PDFF", "Proton density fat fraction", "%", (0.0, 100.0), "Viridis"),
    "r2star_per_s": ("R2star", "R2*", "1/s", (0.0, 200.0), "Inferno"),
    "r2star_water_per_s": ("R2star_water", "R2* of water", "1/s", (0.0, 200.0), "Inferno"),
    "r2star_fat_per_s": ("R2star_fat", "R2* of fat", "1/s", (0.0, 200.0), "Inferno"),
    "t2star_ms": ("T2star", "T2*", "ms", (0.0, 60.0), "Inferno"),
    "water": ("water", "Water", "signal", None, "Grey"),
    "fat": ("fat", "Fat", "signal", None, "Grey"),
    "off_resonance_hz": ("field", "Off-resonance", "Hz", (-300.0, 300.0), "DivergingBlueRed"),
    "residual_percent": ("residual", "Residual over signal", "%", (0.0, 20.0), "Grey"),
    "pdff_sd": ("PDFF_SD", "Standard deviation of PDFF", "%", (0.0, 10.0), "Viridis"),
    "r2star_sd": ("R2star_SD", "Standard deviation of R2*", "1/s", (0.0, 40.0), "Viridis"),
}
_FRACTIONS = ("PDFF", "FF", "FF_water_dominant", "FF_fat_dominant")
_DOUBT_TITLE = "Doubt (0 confident): " + ", ".join(
    f"{int(each)} {each.name.lower().replace('_', ' ')}" for each in Doubt
)


def water_fat_maps(
    result: WaterFatResult, like: Volume, provenance: Mapping[str, object] | None = None
) -> list[ParametricMap]:
    """All maps of a separation.

    Args:
        result: its arrays have the shape of `like`.
        like: a volume on the same grid.
        provenance: inputs and the like, put before the facts of the result.
    """
    facts = {**(provenance or {}), **result.facts}
    maps = []
    for key, (name, title, unit, window, color) in _MAPS.items():
        values = getattr(result, key)
        if values is None or not np.isfinite(values).any():
            continue
        if window is None:
            shown = np.nan_to_num(result.water) + np.nan_to_num(result.fat)
            window = (0.0, float(np.percentile(shown[result.mask], 99)))
        maps.append(
            ParametricMap(name, like.with_array(values, name), unit, window, color, title, facts)
        )
    doubt = like.with_array(result.doubt, "doubt")
    maps.append(ParametricMap("doubt", doubt, "", (0.0, 31.0), "Viridis", _DOUBT_TITLE, facts))
    confident = like.with_array(result.confident, "confident")
    title = "Voxels whose values can be used"
    maps.append(ParametricMap("confident", confident, "", (0.0, 1.0), "Grey", title, facts))
    return maps


def fat_fraction_maps(
    result: FatFraction, like: Volume, provenance: Mapping[str, object] | None = None
) -> list[ParametricMap]:
    """Maps of two points or of scanner water and fat images; these are not PDFF."""
    facts = {**(provenance or {}), "limits": result.limits}
    window = (0.0, 100.0)
    if result.other_percent is None:
        volume = like.with_array(result.percent, "FF")
        return [ParametricMap("FF", volume, "%", window, "Viridis", "Fat signal fraction", facts)]
    readings = (
        ("FF_water_dominant", result.percent, "Fat signal fraction if water dominates"),
        ("FF_fat_dominant", result.other_percent, "Fat signal fraction if fat dominates"),
    )
    return [
        ParametricMap(name, like.with_array(values, name), "%", window, "Viridis", title, facts)
        for name, values, title in readings
    ]


def with_t1_correction(
    maps: Sequence[ParametricMap],
    facts: Mapping[str, object],
    t1_water_ms: float,
    t1_fat_ms: float,
    flip_angle_deg: float | None = None,
    repetition_time_ms: float | None = None,
) -> list[ParametricMap]:
    """Maps, and after each fat fraction the same without T1 bias.

    Args:
        maps: of which those with a fat fraction are corrected.
        facts: of the images: "FlipAngle" in degrees and "RepetitionTime" in ms, where not given.
        t1_water_ms: T1 of the water of this tissue at this field strength.
        t1_fat_ms: T1 of its fat.

    Raises:
        ValueError: flip angle or repetition time are not known, or a value cannot be; see t1_bias.
    """
    flip = flip_angle_deg or facts.get("FlipAngle")
    repetition = repetition_time_ms or facts.get("RepetitionTime")
    if not flip or not repetition:
        raise ValueError(
            "Flip angle or repetition time is not in the header; give both to correct T1 bias."
        )
    corrected = []
    for made in maps:
        corrected.append(made)
        if made.name in _FRACTIONS:
            corrected.append(
                _without_t1_bias(made, float(flip), float(repetition), t1_water_ms, t1_fat_ms)
            )
    return corrected


def _without_t1_bias(
    fat_fraction: ParametricMap,
    flip_angle_deg: float,
    repetition_time_ms: float,
    t1_water_ms: float,
    t1_fat_ms: float,
) -> ParametricMap:
    """A fat fraction map without the T1 weighting of its spoiled gradient echoes."""
    values = t1_corrected_fat_fraction(
        fat_fraction.volume.array,
        flip_angle_deg,
        repetition_time_ms / 1000,
        t1_water_ms / 1000,
        t1_fat_ms / 1000,
    )
    settings = {
        "flip_angle_deg": flip_angle_deg,
        "repetition_time_ms": repetition_time_ms,
        "t1_water_ms": t1_water_ms,
        "t1_fat_ms": t1_fat_ms,
    }
    name = f"{fat_fraction.name}_T1corrected"
    return replace(
        fat_fraction,
        name=name,
        title=f"{fat_fraction.title} without T1 bias",
        volume=fat_fraction.volume.with_array(values.astype(np.float32), name),
        provenance={**fat_fraction.provenance, "t1_correction": settings},
    )
