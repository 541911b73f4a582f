"""Water-fat results as parametric maps with units, fixed windows and provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.kinds import find_kind, map_kind
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.water_fat.products import FatFraction
from PDFFMapperLib.water_fat.separation import Doubt, WaterFatResult
from PDFFMapperLib.water_fat.t1_bias import t1_corrected_fat_fraction

# field of the result: kind of map
_MAPS = {
    "pdff_percent": "PDFF",
    "r2star_per_s": "R2star",
    "r2star_water_per_s": "R2star_water",
    "r2star_fat_per_s": "R2star_fat",
    "t2star_ms": "T2star",
    "water": "water",
    "fat": "fat",
    "off_resonance_hz": "field",
    "residual_percent": "residual_percent",
    "pdff_sd": "PDFF_SD",
    "r2star_sd": "R2star_SD",
}
_DOUBTS = {0: "confident"} | {int(d): d.name.lower().replace("_", " ") for d in Doubt}


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
    whole = np.nan_to_num(result.water) + np.nan_to_num(result.fat)
    signals = (0.0, float(np.percentile(whole[result.mask], 99)))  # of water and fat alike
    for key, name in _MAPS.items():
        values = getattr(result, key)
        if values is not None and np.isfinite(values).any():
            kind, volume = map_kind(name), like.with_array(values, name)
            maps.append(ParametricMap(kind, volume, facts, window=kind.window or signals))
    doubt = like.with_array(result.doubt, "doubt")
    maps.append(ParametricMap(map_kind("doubt"), doubt, facts, _DOUBTS))
    confident = like.with_array(result.confident, "confident")
    maps.append(ParametricMap(map_kind("confident"), confident, facts))
    return maps


def fat_fraction_maps(
    result: FatFraction, like: Volume, provenance: Mapping[str, object] | None = None
) -> list[ParametricMap]:
    """Maps of two points or of scanner water and fat images; these are not PDFF."""
    facts = {**(provenance or {}), "limits": result.limits}
    readings = {"FF": result.percent}
    if result.other_percent is not None:
        readings = {
            "FF_water_dominant": result.percent,
            "FF_fat_dominant": result.other_percent,
        }
    return [
        ParametricMap(map_kind(name), like.with_array(values, name), facts)
        for name, values in readings.items()
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
        if find_kind(f"{made.kind.id}_T1corrected"):
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
    kind = map_kind(f"{fat_fraction.kind.id}_T1corrected")
    return ParametricMap(
        kind,
        fat_fraction.volume.with_array(values.astype(np.float32), kind.name),
        {**fat_fraction.provenance, "t1_correction": settings},
    )
