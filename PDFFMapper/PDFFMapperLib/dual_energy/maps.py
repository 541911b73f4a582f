"""Maps of dual-energy CT: what the two images are, their calibration, and the maps they give."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.dual_energy import calibration
from PDFFMapperLib.dual_energy.body_size import MOST_CUT, cut_share, water_equivalent_cm
from PDFFMapperLib.dual_energy.calibration import Calibration
from PDFFMapperLib.dual_energy.decomposition import (
    DENSE,
    decompose_slice,
    projected,
    sd_of,
    systematic_error,
    voxel_sd,
    weights_of,
)
from PDFFMapperLib.dual_energy.own_calibration import read_calibration
from PDFFMapperLib.dual_energy.pair import check_images, kev_of, kv_pair_of
from PDFFMapperLib.images.attributes import BESIDE_WATER
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.kinds import map_kind
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.maps.progress import Progress, tell

AIR_HU, METAL_HU, METAL_REACH_MM = -500, 2500, 5.0  # whole numbers, as most images are
AIR, METAL, CUT_OFF, BEYOND = 1, 2, 4, 16
CODES = {
    0: "none", AIR: "air", METAL: "metal within 5 mm", CUT_OFF: "CT number cut off at 3071",
    DENSE: "mineral above 600 mg/cm^3, no marrow", BEYOND: "beyond the other image",
}  # fmt: skip
"""Bits of why a voxel has no value; of dense mineral the mineral itself is kept."""
_HIGHEST_STORED = 3071
_RATIO_APART = 0.2  # of the bone in the images from the calibration's
_LEAST_BONE = 200  # voxels
_BONE_HU = 300


def of_three_materials(
    images: Sequence[Volume], chosen: SimpleNamespace, progress: Progress | None = None
) -> list[ParametricMap]:
    """Mineral, yellow share and virtual non-calcium with the volume conserved.

    Raises:
        ValueError: see `pair.check_images`; a calibration that is missing or does not fit.
        InterruptedError: canceled.
    """
    low, high = images
    check_images(low, high)
    notes: list[str] = []
    slices, facts = calibrations_of(low, high, chosen, notes)
    doubt = _doubt(low, high)
    made = np.empty((4, *low.array.shape), np.float32)
    for k, one in enumerate(slices):
        tell(progress, k / len(slices))
        weights = weights_of(one, chosen.low_weight).astype(np.float32)
        decompose_slice(low.array[k], high.array[k], weights, doubt[k], *made[:, k])
    arrays = dict(zip(("HAP", "yellow_share", "VNCa", "HAP_water"), made, strict=True))
    middle = slices[len(slices) // 2]
    covariance = _noise(low, high, doubt, notes)
    if chosen.sd:
        arrays |= _sd_maps(made, slices, covariance, chosen.low_weight)
    for key, errors in (
        ("voxel_sd", voxel_sd(middle, covariance, chosen.low_weight)),
        ("systematic_error", systematic_error(middle, chosen.low_weight)),
    ):
        facts[key] = {
            name: round(float(error), 1)
            for name, error in zip(("HAP", "yellow_share", "VNCa"), errors, strict=True)
        }
    facts["low_share"] = chosen.low_weight
    return _maps(low, arrays, doubt, {**facts, "notes": notes})


def _sd_maps(
    made: np.ndarray, slices: Sequence[Calibration], covariance: np.ndarray, low_weight: float
) -> dict[str, np.ndarray]:
    """What noise alone leaves in each voxel of mineral, yellow share and VNCa."""
    found = {name: np.empty_like(made[0]) for name in ("HAP_SD", "yellow_share_SD", "VNCa_SD")}
    for k, one in enumerate(slices):
        for array, sd in zip(
            found.values(), sd_of(made[:, k], one, covariance, low_weight), strict=True
        ):
            array[k] = sd
    return found


def of_projection(
    images: Sequence[Volume], chosen: SimpleNamespace, progress: Progress | None = None
) -> list[ParametricMap]:
    """Virtual non-calcium as scanners make it, which published cut-offs are of.

    Raises:
        ValueError: as `of_three_materials`.
    """
    low, high = images
    check_images(low, high)
    notes: list[str] = []
    if chosen.calibration:
        one = _own(chosen, low, high)
    else:
        one = calibration.published(_pair(chosen, low, high))
    _check_bone(low, high, one)
    made = projected(one, chosen.low_weight)(
        low.array.astype(np.float32), high.array.astype(np.float32)
    )
    doubt = _doubt(low, high)
    made[doubt > 0] = np.nan
    covariance = _noise(low, high, doubt, notes)
    facts = {
        "calibration": one.told,
        "low_share": chosen.low_weight,
        "de_ratio": round(float(one.de_ratio), 3),
        "voxel_sd": {"VNCa": round(projected(one, chosen.low_weight).sd(covariance), 1)},
        "notes": notes,
    }
    return _maps(low, {"VNCa_projected": made}, doubt, facts)


def calibrations_of(
    low: Volume, high: Volume, chosen: SimpleNamespace, notes: list[str]
) -> tuple[list[Calibration], dict[str, object]]:
    """One calibration for each slice, and what to tell of them.

    Raises:
        ValueError: none is known for these beams, this body or this scanner.
    """
    count = len(low.array)
    energies = kev_of(low), kev_of(high)
    if chosen.calibration:
        one = _own(chosen, low, high)
    elif all(energies):
        one = calibration.of_kev(*energies)
    else:
        pair = _pair(chosen, low, high)
        return _of_body(low, high, pair, chosen.water_cm, notes)
    _check_bone(low, high, one)
    facts = {"calibration": one.told, "de_ratio": round(float(one.de_ratio), 3)}
    return [one] * count, facts


def _own(chosen: SimpleNamespace, low: Volume, high: Volume) -> Calibration:
    """A calibration of the user, as numbers or as a file that `calibrate` wrote."""
    text = chosen.calibration.strip()
    if text.lower().endswith(".json"):
        return read_calibration(text, low, high, chosen.kv_pair)
    return calibration.stated(text)


def _pair(chosen: SimpleNamespace, low: Volume, high: Volume) -> str:
    return kv_pair_of(low, high) if chosen.kv_pair == "auto" else chosen.kv_pair


def _of_body(
    low: Volume, high: Volume, pair: str, stated_cm: float | None, notes: list[str]
) -> tuple[list[Calibration], dict[str, object]]:
    """The table of a pair of tube voltages, for the size of each slice's body."""
    if stated_cm is None:
        if cut_share(high.array) > MOST_CUT:
            raise ValueError(
                f"{high.name}: the body goes on beyond the image, so its size is not known; state "
                "its water-equivalent diameter (--water-cm)."
            )
        water = water_equivalent_cm(high.array, high.spacing)
        water[water < 1] = np.median(water[water >= 1]) if (water >= 1).any() else 0
    else:
        water = np.full(len(low.array), stated_cm)
    rows = calibration.of_kv_pair(pair, water)
    slices = [
        Calibration(rows.hap[k], rows.yellow[k], rows.red[k], rows.told) for k in range(len(water))
    ]
    _check_bone(low, high, slices[len(slices) // 2])
    notes.append(f"The body is worth {water.min():.0f} to {water.max():.0f} cm of water.")
    ratios = rows.de_ratio
    facts = {
        "calibration": rows.told,
        "water_cm": [round(float(n), 1) for n in (water.min(), water.max())],
        "de_ratio": [round(float(n), 3) for n in (ratios.min(), ratios.max())],
    }
    return slices, facts


def _check_bone(low: Volume, high: Volume, of: Calibration) -> None:
    """Refuse images whose bone does not rise from one beam to the other as the calibration says."""
    seen = _ratio_of_bone(low.array, high.array)
    if seen is None:
        return
    if seen < 0.9:
        raise ValueError(
            f"{low.name} and {high.name} look swapped: bone is darker at what is given as the low "
            f"energy (ratio {seen:.2f}); give the low one first."
        )
    if seen < 1.12:
        raise ValueError(
            f"{low.name} and {high.name} seem to be of one energy: bone has a ratio of {seen:.2f}."
        )
    dense = 0.2 * of.hap + 0.8 * (of.yellow + of.red) / 2  # cortex
    told = float(dense[0] / dense[1])
    if abs(seen / told - 1) > _RATIO_APART:
        raise ValueError(
            f"Bone has a ratio of {seen:.2f} between the images, but {told:.2f} by the calibration "
            f"({of.told}); check the tube voltages."
        )


def _ratio_of_bone(low: np.ndarray, high: np.ndarray) -> float | None:
    """CT number of dense bone at the low over that at the high beam; None for too little bone."""
    step = max(1, low.shape[0] // 20)
    ones, others = low[::step].ravel(), high[::step].ravel()
    bone = (ones + others > 2 * _BONE_HU) & (np.maximum(ones, others) < METAL_HU)
    if np.count_nonzero(bone) < _LEAST_BONE:
        return None
    return float(np.median(ones[bone]) / np.median(others[bone]))


def _doubt(low: Volume, high: Volume) -> np.ndarray:
    """Why a voxel has no value, by `CODES`."""
    doubt = np.empty(low.array.shape, np.uint8)
    dense = False
    for k, (one, other) in enumerate(zip(low.array, high.array, strict=True)):
        np.less(np.minimum(one, other), AIR_HU, out=doubt[k].view(bool))
        dense = dense or bool(one.max() > METAL_HU)
        if one.dtype.kind == "f" or other.dtype.kind == "f":
            doubt[k][np.isnan(one) | np.isnan(other)] = BEYOND
    if dense:
        _mark_metal(low, high, doubt)
    return doubt


def _mark_metal(low: Volume, high: Volume, doubt: np.ndarray) -> None:
    """Mark metal, what lies near it, and CT numbers that were cut off."""
    from scipy.ndimage import binary_dilation

    reach = np.maximum(np.round(METAL_REACH_MM / low.spacing[::-1]).astype(int), 1)
    k, j, i = np.ogrid[tuple(slice(-n, n + 1) for n in reach)]
    ball = (k / reach[0]) ** 2 + (j / reach[1]) ** 2 + (i / reach[2]) ** 2 <= 1
    dense = low.array > METAL_HU
    axes = [np.flatnonzero(dense.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    box = tuple(slice(max(a[0] - n, 0), a[-1] + n + 1) for a, n in zip(axes, reach, strict=True))
    cut = (low.array[box] >= _HIGHEST_STORED) | (high.array[box] >= _HIGHEST_STORED)
    doubt[box][cut] |= CUT_OFF
    doubt[box][binary_dilation(dense[box], ball)] |= METAL


def _noise(low: Volume, high: Volume, doubt: np.ndarray, notes: list[str]) -> np.ndarray:
    """Covariance of both images' noise, of differences between neighbors where tissue is even.

    The median of absolute differences leaves edges out; it is taken of both images and of their
    sum, which gives the covariance: dual sources are independent, monoenergetic images are not.
    """
    k = slice(0, None, max(1, len(doubt) // 20))
    inside = (doubt[k, :, 1:] == 0) & (doubt[k, :, :-1] == 0)
    steps = [np.diff(one.array[k].astype(np.float32), axis=2)[inside] for one in (low, high)]

    def variance(difference: np.ndarray) -> float:
        return float((np.median(np.abs(difference)) / 0.6745) ** 2 / 2)

    if not steps[0].size:
        return np.zeros((2, 2))
    one, other = variance(steps[0]), variance(steps[1])
    shared = (variance(steps[0] + steps[1]) - one - other) / 2
    notes.append(f"Noise: {one**0.5:.1f} HU at the low, {other**0.5:.1f} HU at the high energy.")
    return np.array([[one, shared], [shared, other]])


def _maps(
    like: Volume, arrays: dict[str, np.ndarray], doubt: np.ndarray, facts: dict[str, object]
) -> list[ParametricMap]:
    names = ("Modality", "ConvolutionKernel")
    kept = {key: like.attributes[key] for key in names if key in like.attributes}
    made = []
    for name, array in arrays.items():
        volume = Volume(array, like.ijk_to_ras.copy(), name, dict(kept))
        error = facts.get("systematic_error", {}).get(name)
        if error is not None:
            volume.attributes["SystematicError"] = error
        volume.attributes["Calibration"] = facts["calibration"]
        if name == "HAP_water":
            volume.attributes["Materials"] = BESIDE_WATER
        if name.startswith("VNCa"):
            volume.attributes["LowShare"] = facts["low_share"]
        made.append(ParametricMap(map_kind(name), volume, dict(facts)))
    reasons = Volume(doubt, like.ijk_to_ras.copy(), "doubt", dict(kept))
    return [*made, ParametricMap(map_kind("doubt"), reasons, dict(facts), codes=CODES)]
