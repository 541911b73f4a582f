"""PDFF without T1 bias, and T1 of water and of fat, from water and fat at two flip angles.

A spoiled gradient echo of flip angle a has the signal M sin(a) (1 - E) / (1 - E cos(a)) with
E = exp(-TR/T1), and two angles give E and M (variable flip angles; Fram 1987,
doi 10.1016/0730-725X(87)90021-X; for water and fat apart: Liu 2007, doi 10.1002/mrm.21301).
T1 is found from the voxels around, weighted by signal, because the noise of a single one would
make the correction worse than the bias; proton densities are those of each voxel, from both angles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from PDFFMapperLib.water_fat.neighborhood import box_sum
from PDFFMapperLib.water_fat.signal_mask import background_noise, signal_mask

_REACH = (1, 3, 3)  # voxels around, that share a T1
_T1_LIMITS_MS = (20.0, 6000.0)
_FAT_T1_MS = (100.0, 1000.0)  # with room for errors of B1
_LEAST_RATIO = 1.5  # of the flip angles
_LEAST_SIGNAL = 6.0  # noise SDs that both signals together have where T1 is told
_VAGUE = 0.25  # SD over T1 from which the typical one of the image is taken
_USELESS = 8.0  # points; SD of the PDFF beyond which it is left out
_B1_LIMITS = (0.3, 2.0)


@dataclass
class TwoFlipAngles:
    """Maps; arrays have the images' shape.

    Attributes:
        pdff_percent: without T1 bias; NaN outside `mask` and where it is `imprecise`.
        pdff_sd: its standard deviation by the noise, that of both T1 included.
        t1_ms: of water and of fat, of the voxels around; NaN where their signal is too little.
        t1_sd_ms: standard deviations.
        typical_ms: medians of these, which the others take; NaN if the images tell none.
        mask: voxels with signal.
        imprecise: voxels whose PDFF would have an SD of over 8 points, or that no T1 explains.
        noise_sd: of one image.
    """

    pdff_percent: np.ndarray
    pdff_sd: np.ndarray
    t1_ms: tuple[np.ndarray, np.ndarray]
    t1_sd_ms: tuple[np.ndarray, np.ndarray]
    typical_ms: tuple[float, float]
    mask: np.ndarray
    imprecise: np.ndarray
    noise_sd: float


def two_flip_angles(
    water: tuple[np.ndarray, np.ndarray],
    fat: tuple[np.ndarray, np.ndarray],
    flip_angles_deg: tuple[float, float],
    repetition_time_ms: float,
    b1: float | np.ndarray = 1.0,
    mask: np.ndarray | None = None,
    notes: list[str] | None = None,
) -> TwoFlipAngles:
    """PDFF and T1 of water and fat.

    Args:
        water: magnitudes at the lower and at the higher flip angle, shape (slices, rows, columns).
        fat: likewise, on the same scale.
        flip_angles_deg: nominal, the lower first.
        repetition_time_ms: of both.
        b1: true over nominal flip angle, a number or one per voxel.
        mask: voxels to compute; those with signal if None.
        notes: a sentence is added to these where air counted by its own level (`signal_mask`).

    Raises:
        ValueError: flip angles, repetition time or B1 cannot be, or no T1 explains the signals.
    """
    low, high = flip_angles_deg
    if not 0 < low * _LEAST_RATIO <= high <= 120:
        raise ValueError(
            f"Flip angles of {low:g} and {high:g} degrees were given; expected are a lower and a "
            f"higher one, at least {_LEAST_RATIO:g} times as large and at most 120."
        )
    if not 1 <= repetition_time_ms <= 1000:
        raise ValueError(
            f"A repetition time from 1 to 1000 ms is expected, {repetition_time_ms:g} was given."
        )
    b1 = np.broadcast_to(np.asarray(b1, float), water[0].shape)
    mask = signal_mask(np.stack([*water, *fat]), notes=notes) if mask is None else mask != 0
    mask = mask & np.isfinite(np.stack([*water, *fat])).all(0)
    usable = (b1 >= _B1_LIMITS[0]) & (b1 <= _B1_LIMITS[1])
    if not (usable & mask).any():
        raise ValueError(
            "B1 is expected as true over nominal flip angle, from 30 to 200 %; no voxel with "
            f"signal has that (median {100 * float(np.median(b1[mask] if mask.any() else b1)):g} "
            "%)."
        )
    mask = mask & usable
    noise = background_noise(np.stack([*water, *fat]))
    angles = [np.radians(flip) * np.where(mask, b1, 1.0) for flip in flip_angles_deg]
    found = [_of_one(each, angles, repetition_time_ms, mask, noise) for each in (water, fat)]
    (m_water, sd_water, *_), (m_fat, sd_fat, *_, of_fat) = found
    if of_fat < _FAT_T1_MS[0] or of_fat > _FAT_T1_MS[1]:
        raise ValueError(
            f"T1 of fat comes out as {of_fat:.0f} ms, but is 200 to 500 ms from 0.5 to 7 T: check "
            "the order of the images, flip angles, repetition time, B1, and that both scans have "
            "one scale."
        )
    whole = np.where(mask, m_water + m_fat, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        percent = 100 * m_fat / whole
        sd = 100 * np.hypot(m_fat * sd_water, m_water * sd_fat) / whole**2
        imprecise = mask & ~(sd <= _USELESS)
    percent[imprecise] = np.nan
    if not np.isfinite(percent).any():
        raise ValueError(
            "No T1 from 20 to 6000 ms explains water and fat at these flip angles; check the order "
            "of the images, flip angles, repetition time, and that both scans have one scale."
        )
    return TwoFlipAngles(
        percent.astype(np.float32),
        np.where(mask, sd, np.nan).astype(np.float32),
        (found[0][2], found[1][2]),
        (found[0][3], found[1][3]),
        (found[0][4], found[1][4]),
        mask,
        imprecise,
        noise,
    )


def _of_one(signals, angles, repetition_time_ms, mask, noise):
    """Proton density and its SD, T1 (ms) and its SD, and the typical T1 of water or fat."""
    low, high = (np.where(mask, np.nan_to_num(each), 0).astype(float) for each in signals)
    weight = low + high
    sums = [box_sum(weight * each, _REACH).astype(float) for each in (low, high)]
    squares = np.sqrt(box_sum(weight**2, _REACH)) * noise
    with np.errstate(divide="ignore", invalid="ignore"):
        t1 = _t1(*sums, angles, repetition_time_ms)
        # The noise of both sums, one after the other.
        apart = [_t1(sums[0] - squares, sums[1], angles, repetition_time_ms) - t1,
                 _t1(sums[0], sums[1] + squares, angles, repetition_time_ms) - t1]  # fmt: skip
        sd = np.hypot(*apart)
        told = mask & (sd < _VAGUE * t1)
        # The mean of magnitudes of noise is not 0, and would have a T1 of its own.
        told &= sum(sums) > _LEAST_SIGNAL * noise * box_sum(weight, _REACH)
        told &= (t1 >= _T1_LIMITS_MS[0]) & (t1 <= _T1_LIMITS_MS[1])
        typical = float(np.median(t1[told])) if told.any() else np.nan
        used = np.where(told, t1, typical)
        density, per_signal = _density(low, high, angles, used, repetition_time_ms)
        step = np.where(told, sd, 0.3 * typical)
        moved, _ = _density(low, high, angles, used + step, repetition_time_ms)
    density_sd = np.hypot(noise * per_signal, moved - density)
    if not told.any():  # nothing but noise of it
        density, density_sd = low * 0, np.where(weight > 6 * noise, np.inf, 0)
    shown = [np.where(told, each, np.nan).astype(np.float32) for each in (t1, sd)]
    return density, density_sd, *shown, typical


def _t1(low, high, angles, repetition_time_ms):
    """T1 in ms by both signals; NaN where none explains them."""
    a, b = angles
    decay = (high / np.sin(b) - low / np.sin(a)) / (high / np.tan(b) - low / np.tan(a))
    return -repetition_time_ms / np.log(np.where((decay > 0) & (decay < 1), decay, np.nan))


def _density(low, high, angles, t1, repetition_time_ms):
    """Proton density by least squares from both signals, and its SD for unit noise."""
    decay = np.exp(-repetition_time_ms / t1)
    a, b = (np.sin(each) * (1 - decay) / (1 - decay * np.cos(each)) for each in angles)
    return (low * a + high * b) / (a * a + b * b), 1 / np.sqrt(a * a + b * b)
