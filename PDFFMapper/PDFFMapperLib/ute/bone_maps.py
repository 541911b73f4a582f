"""What all maps of bone share: where they are NaN and why, and their provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.mask import inside_of
from PDFFMapperLib.maps.kinds import map_kind
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.maps.recipe import check_one_grid
from PDFFMapperLib.ute.answer import RegionValue
from PDFFMapperLib.ute.echoes import LEAST_SNR, UteImages, without_floor

OUTSIDE, LOW, FLOOR, BEYOND, MISFIT = 1, 2, 4, 8, 16
CODES = {
    0: "none",
    OUTSIDE: "outside",
    LOW: "signal below 5 times noise",
    FLOOR: "second is noise",
    BEYOND: "beyond all values that are fitted",
    MISFIT: "signals that noise does not explain",
}


def facts_of(data: UteImages, notes: Sequence[str]) -> dict[str, object]:
    """Provenance of maps."""
    noise = data.noise
    times = ", ".join(f"{time:.4g}" for time in data.te_ms)
    independent = f", {100 * noise.share:.0f} % of voxels independent" if noise.share < 1 else ""
    return {
        "summary": f"UTE at TE {times} ms; {noise.told}{independent}.",
        "sigma": noise.sigma,
        "independent_share": noise.share,
        "echo_times_ms": [round(float(time), 4) for time in data.te_ms],
        "reading": data.notes,
        "notes": list(notes),
    }


def tell_region(facts: dict[str, object], where: str, rows: Sequence[RegionValue]) -> None:
    """Add a region's numbers to the provenance of maps; None where only an interval is told."""
    facts["summary"] += f"\n{where}: " + "; ".join(one.told() for one in rows) + "."
    facts["region"] = {
        one.quantity: [None if np.isnan(one.value) else one.value, one.lower, one.upper]
        for one in rows
    }
    facts["region_units"] = {one.quantity: one.unit for one in rows}


def region_of(data: UteImages, settings: SimpleNamespace) -> np.ndarray:
    """The mask, or all voxels.

    Raises:
        ValueError: it is on another grid, or no mask.
    """
    if settings.mask is None:
        return np.ones(data.grid.array.shape, bool)
    check_one_grid(settings.mask, data.grid)
    return inside_of(settings.mask, "the bone")


def drawn_of(data: UteImages, settings: SimpleNamespace) -> np.ndarray | None:
    """Cortex as drawn, None where it is to be looked for.

    Raises:
        ValueError: it is on another grid, or no mask.
    """
    if settings.drawn is None:
        return None
    check_one_grid(settings.drawn, data.grid)
    return inside_of(settings.drawn, "the cortex")


def bone_of(
    data: UteImages, settings: SimpleNamespace, until: int = -1
) -> tuple[np.ndarray, list[str]]:
    """The mask, or all voxels that lose three quarters of their signal until an image."""
    inside = region_of(data, settings)
    if settings.mask is not None:
        return inside, []
    early, late = (without_floor(data, n) for n in (0, until))
    note = (
        "No bone was given: all voxels that lose three quarters of their signal until "
        f"{'the last image' if until == -1 else f'TE {data.te_ms[until]:.3g} ms'} were taken for "
        "one region, tendons among them; draw the bone, or let the cortex be found."
    )
    return inside & (late < early / 4), [note]


def doubt_of(data: UteImages, inside: np.ndarray, strong: np.ndarray) -> np.ndarray:
    """Why a voxel has no value: outside the bone, or a weak first signal."""
    doubt = np.full(inside.shape, OUTSIDE, np.uint8)
    doubt[inside] = 0
    for one in data.signal:
        doubt[~np.isfinite(one)] = OUTSIDE
    doubt[(doubt == 0) & (strong < LEAST_SNR * data.noise.sigma)] |= LOW
    return doubt


def maps_of(
    data: UteImages,
    arrays: Mapping[str, np.ndarray],
    doubt: np.ndarray,
    facts: Mapping[str, object],
) -> list[ParametricMap]:
    """Maps in the arrays that are given, made NaN where there is doubt, and the doubt."""
    made = []
    for name, array in arrays.items():
        whole = array.astype(np.float32, copy=False)
        whole[doubt != 0] = np.nan
        volume = data.grid.with_array(whole, name)
        made.append(ParametricMap(map_kind(name), volume, dict(facts)))
    reasons = data.grid.with_array(doubt, "doubt")
    return [*made, ParametricMap(map_kind("doubt"), reasons, dict(facts), codes=CODES)]
