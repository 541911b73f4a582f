"""Fat fraction from two points and from the scanner's own water and fat images.

Neither is a PDFF: both keep the T1 weighting of the sequence, a two-point measurement also R2*
and the single-peak simplification, and scanner images what their reconstruction assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from PDFFMapperLib.water_fat.echo_units import checked_echo_times, checked_field_strength
from PDFFMapperLib.water_fat.exchanged import LEAST_VOXELS, Exchanged, find_exchanged
from PDFFMapperLib.water_fat.signal_mask import signal_mask
from PDFFMapperLib.water_fat.spectra import GYROMAGNETIC_RATIO_MHZ_PER_T

_BRIGHTER = 1.2  # times: more than noise and usual decay between the two echoes
_MANY, _MORE = 0.05, 3.0  # of all voxels, and times those of the other image


@dataclass
class FatFraction:
    """A fat fraction and what it cannot know.

    Attributes:
        percent: fat fraction in %, NaN outside `mask`; of two points the water-dominant reading.
        other_percent: of two points the fat-dominant reading, else None.
        mask: voxels with signal.
        limits: one sentence per thing not known, for reports.
        exchanged: voxels whose water and fat were exchanged back, None if there are none.
        doubtful: voxels that may be exchanged, without a value; None if they were not looked for.
    """

    percent: np.ndarray
    other_percent: np.ndarray | None
    mask: np.ndarray
    limits: list[str] = field(default_factory=list)
    exchanged: np.ndarray | None = None
    doubtful: np.ndarray | None = None


def two_point_fat_fraction(
    in_phase: np.ndarray,
    opposed_phase: np.ndarray,
    echo_times_s: tuple[float, float] | None = None,
    field_strength_t: float | None = None,
    r2star_per_s: float = 0.0,
    mask: np.ndarray | None = None,
) -> FatFraction:
    """Both readings of in- and opposed-phase magnitudes.

    With I the in-phase and O the opposed-phase signal, |1 - 2 F| = O/I: the fraction is
    50 (1 - O/I) where water dominates and 50 (1 + O/I) where fat does; magnitudes cannot tell
    which.

    Args:
        in_phase: magnitudes, shape (slices, rows, columns).
        opposed_phase: magnitudes, same shape.
        echo_times_s: of in and opposed phase, to check them and to correct R2*.
        field_strength_t: needed with the echo times.
        r2star_per_s: known R2* to correct for; needs the echo times.
        mask: voxels to compute; by default those with signal.

    Raises:
        ValueError: shapes differ, values are negative or complex, or the echo times are not in
            and opposed phase at this field strength.
    """
    in_phase, opposed_phase = checked_images(in_phase, opposed_phase, "in-phase", "opposed-phase")
    limits = [
        "Two magnitudes cannot tell a water-dominant from a fat-dominant voxel: a fat fraction and "
        "100 % minus it look alike.",
        "T1 weighting and the several peaks of fat are not corrected: this is not a PDFF.",
    ]
    ratio_scale = 1.0
    if echo_times_s is not None:
        if field_strength_t is None:
            raise ValueError("Checking in and opposed phase needs the field strength.")
        checked_echo_times(echo_times_s, 2, least=2)
        shift_hz = 3.4 * GYROMAGNETIC_RATIO_MHZ_PER_T * checked_field_strength(field_strength_t)
        first, second = shift_hz * np.asarray(echo_times_s, float)
        if np.cos(2 * np.pi * first) < 0.7 or np.cos(2 * np.pi * second) > -0.7:
            raise ValueError(
                f"At {field_strength_t:g} T fat is {360 * first % 360:.0f} degrees from water at "
                f"the first and {360 * second % 360:.0f} at the second echo time; expected are 0 "
                "(in phase) and 180 (opposed). Check the order, the echo times and the field "
                "strength."
            )
        ratio_scale = float(np.exp(r2star_per_s * (echo_times_s[1] - echo_times_s[0])))
    elif r2star_per_s:
        raise ValueError("Correcting for R2* needs the echo times.")
    if not r2star_per_s:
        limits.append("R2* is not corrected: decay between the echoes counts as fat or as water.")
    mask = _mask(in_phase, opposed_phase, mask, limits) & (in_phase > 0)
    limits += _perhaps_exchanged(in_phase[mask], opposed_phase[mask])
    ratio = ratio_scale * opposed_phase / np.where(mask, in_phase, 1)
    low = np.where(mask, 50 * (1 - ratio), np.nan)
    high = np.where(mask, 50 * (1 + ratio), np.nan)
    return FatFraction(low.astype(np.float32), high.astype(np.float32), mask, limits)


def _perhaps_exchanged(in_phase: np.ndarray, opposed_phase: np.ndarray) -> list[str]:
    """A sentence where opposed phase is the brighter one: only decay of iron does so, in places."""
    if not in_phase.size:
        return []
    above = float(np.mean(opposed_phase > _BRIGHTER * in_phase))
    below = float(np.mean(in_phase > _BRIGHTER * opposed_phase))
    if above < _MANY or above < _MORE * below:
        return []
    return [
        f"The opposed-phase image is the brighter one by over a fifth in {100 * above:.0f} % of "
        f"the voxels, the in-phase image in {100 * below:.0f} %: they may be given for one another."
    ]


def fat_fraction_of_images(
    water: np.ndarray,
    fat: np.ndarray,
    mask: np.ndarray | None = None,
    voxel_size_mm: Sequence[float] | None = None,
    repair: bool = True,
) -> FatFraction:
    """100 F / (W + F) of the scanner's water and fat images (mDixon, IDEAL, q-Dixon ...).

    Args:
        water: the water image, rescaled to real units, shape (slices, rows, columns).
        fat: the fat image on the same scale.
        mask: voxels to compute; by default those with signal.
        voxel_size_mm: along slices, rows, columns, to look for regions whose water and fat are
            exchanged; they are not looked for if it is None.
        repair: exchange back where it is sure; else such regions get no value either.

    Raises:
        ValueError: shapes differ, values are negative or complex, or the two images seem to be
            given for one another.
    """
    water, fat = checked_images(water, fat, "water", "fat")
    signal = signal_mask(np.stack([water, fat])) if voxel_size_mm is not None else None
    exchanged, doubtful, told, of_mask = None, None, [], []
    mask = _mask(water, fat, mask, of_mask) & (water + fat > 0)
    if voxel_size_mm is not None:
        found = find_exchanged(water, fat, signal, voxel_size_mm)
        if found.throughout:
            raise ValueError(
                "Water lies under the skin and fat deeper: the water and the fat image seem to be "
                "given for one another. Check their order, or have exchanged regions not looked "
                "for (as given)."
            )
        doubtful, told = _put_right(found, water, fat, mask, voxel_size_mm, repair)
        if (count := np.count_nonzero(signal)) < LEAST_VOXELS:
            told.append(
                "Water and fat exchanged by the scanner's reconstruction could not be looked for: "
                f"{count} voxels have signal, and {LEAST_VOXELS} are needed."
            )
        exchanged = found.sure & mask if repair and found.sure.any() else None
    percent = np.where(mask, 100 * fat / np.where(mask, water + fat, 1), np.nan)
    if doubtful is None:
        told = ["Water and fat exchanged by the scanner's reconstruction were not looked for."]
    else:
        percent[doubtful] = np.nan
    limits = [
        *told,
        *of_mask,
        "Exchanged regions of one tissue or of whole slices of a thin stack cannot always be told "
        "from anatomy; look for sudden borders.",
        "Whether T1, R2* and fat's several peaks were corrected depends on the scanner's product; "
        "if not, this is not a PDFF.",
        "Magnitude images never fall below 0: noise raises low and lowers high fractions.",
    ]
    return FatFraction(percent.astype(np.float32), None, mask, limits, exchanged, doubtful)


def _put_right(
    found: Exchanged,
    water: np.ndarray,
    fat: np.ndarray,
    mask: np.ndarray,
    voxel_size_mm: Sequence[float],
    repair: bool,
) -> tuple[np.ndarray, list[str]]:
    """Exchange back in place what is to be; voxels that get no value, and what was done."""
    notes, doubtful = [], found.doubtful & mask
    if repair and found.sure.any():
        water[found.sure], fat[found.sure] = fat[found.sure], water[found.sure]
        count = len(found.volumes_ml)
        notes.append(
            f"Water and fat were exchanged in {count} region{'s' * (count > 1)} of "
            f"{', '.join(f'{ml:.0f}' for ml in found.volumes_ml)} ml and are exchanged back; the "
            "map 'exchanged' shows where."
        )
    elif not repair:
        doubtful |= found.sure & mask
    if doubtful.any():
        ml = np.count_nonzero(doubtful) * np.prod(voxel_size_mm) / 1000
        notes.append(
            f"In {ml:.0f} ml water and fat may be exchanged; they have no value there (swap risk)."
        )
    if found.torn:
        notes.append(
            f"In {found.torn} slice{'s' * (found.torn > 1)} water turns to fat between neighboring "
            "voxels of one signal, as at the border of an exchanged region, and nothing tells on "
            "which side: they have no value. If it is anatomy (fluid or contrast agent as bright "
            "as the fat beside it), have exchanged regions not looked for (as given)."
        )
    elif (doubtful == mask).all():
        notes.append(
            "That is everywhere: about half of the slices look exchanged against the others, and "
            "none is known to be right. Look for the slices at whose border water turns to fat; "
            "if it is anatomy, have exchanged regions not looked for (as given)."
        )
    return doubtful, notes


def checked_images(
    first: np.ndarray, second: np.ndarray, first_name: str, second_name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Two magnitude images as floating-point numbers.

    Raises:
        ValueError: shapes differ, or one is complex, empty or negative.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape:
        raise ValueError(
            f"The {first_name} image has shape {first.shape}, the {second_name} image "
            f"{second.shape}; they must be alike."
        )
    for each, name in ((first, first_name), (second, second_name)):
        if np.iscomplexobj(each):
            raise ValueError(f"The {name} image is complex; give its magnitude.")
        if not np.isfinite(each).any():
            raise ValueError(f"The {name} image holds no finite value.")
        if np.nanmin(each) < 0:
            raise ValueError(f"The {name} image has negative values; a magnitude is expected.")
    return first.astype(float), second.astype(float)


def _mask(first, second, mask, limits):
    finite = np.isfinite(first) & np.isfinite(second)
    if mask is None:
        return signal_mask(np.stack([first, second]), notes=limits) & finite
    mask = np.asarray(mask)
    if mask.shape != first.shape:
        raise ValueError(
            f"The mask has shape {mask.shape}, the images {first.shape}; they must agree."
        )
    return (mask != 0) & finite
