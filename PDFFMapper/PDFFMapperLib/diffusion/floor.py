"""What lies under the signals of high b-values: zeros of the scanner, and a level no fit knows.

The noise of one receiver raises magnitudes as Rice tells, which the fits take into account. Several
coils or smoothing leave air brighter than that, thresholds and coarse gray levels leave zeros.
"""

from __future__ import annotations

import math

import numpy as np

from PDFFMapperLib.diffusion.noise import rician_mean
from PDFFMapperLib.water_fat.signal_mask import blocks_of

_BLOCK = 4  # voxels in plane
_FEW = 0.05  # share of the blocks, below which the darkest need not be air
_DARKEST, _AS_DARK = 0.02, 1.4  # quantile of the blocks, and times it
_ALIKE = 0.1  # by which air differs between b-values
_SCATTER = 0.1, 0.6  # SD over mean of air: .52 of one receiver, .17 of eight, .1 of 25
_RESEMBLES = 0.2  # correlation of air's voxels with those of the other image: .0 to .1; tissue .3
_FAINT = 0.05  # of bright tissue at the lowest b (95 % quantile): air that a mask holds
_ZEROS = 0.01  # share of the voxels with signal; magnitudes of noise are not 0
_OTHER = 1.6  # times the level of one receiver's noise: three coils have 1.9, eight 3.1
_NEAR = 2.0  # times the floor: .14 of the logarithm
_MANY = 0.1  # share of the voxels with signal so near


def level_of_air(first: np.ndarray, last: np.ndarray) -> float:
    """Signal of air at the highest b-value; NaN where none is seen.

    It is in the darkest blocks, as bright at the lowest b-value, and scatters as magnitudes do, in
    each image otherwise (suppressed fat in crops and masked images shows its structure in both).

    Args:
        first, last: images of the lowest and the highest b, shape (slices, rows, columns).
    """
    low, high = (np.nan_to_num(blocks_of(one, _BLOCK)) for one in (first, last))
    full = ((low > 0) & (high > 0)).mean(-1) > 0.9
    low, high = low[full], high[full]
    larger = np.maximum(low.mean(-1), high.mean(-1))
    if not larger.size:
        return math.nan
    dark = larger < _AS_DARK * np.quantile(larger, _DARKEST)
    if dark.sum() < _FEW * full.size:
        return math.nan
    low, high = low[dark], high[dark]
    levels = np.median(low.mean(-1)), np.median(high.mean(-1))
    scatter = np.median(high.std(-1) / high.mean(-1))
    air = abs(levels[0] / levels[1] - 1) < _ALIKE and _SCATTER[0] < scatter < _SCATTER[1]
    return float(levels[1]) if air and _likeness(low, high) < _RESEMBLES else math.nan


def _likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Median correlation of two images' blocks, both of shape (blocks, values)."""
    one, other = (values - values.mean(-1, keepdims=True) for values in (one, other))
    scale = np.sqrt((one**2).sum(-1) * (other**2).sum(-1))
    return float(np.median((one * other).sum(-1) / np.maximum(scale, np.finfo(float).tiny)))


def note_zeros(signal: np.ndarray, b_values: np.ndarray, notes: list[str]) -> None:
    """Tell where the images of the highest b alone are exactly 0.

    Args:
        signal: of the voxels with signal, shape (voxels, n).
        b_values: in s/mm^2, rising, shape (n,).
        notes: gets the sentence.
    """
    first = signal[:, 0]
    zero = (signal[:, -1] == 0) & (first > 0)
    if zero.any():
        zero &= first > _FAINT * np.quantile(first[first > 0], 0.95)
    if zero.any() and zero.mean() > _ZEROS:
        notes.append(
            f"{100 * zero.mean():.0f} % of the voxels are exactly 0 at b = {b_values[-1]:g} "
            "s/mm^2: noise was set to 0 there, or gray levels are coarse, and the ADC and D of "
            "tissue with little signal are wrong or missing; measure bright tissue alone, or leave "
            "that b-value out."
        )


def note_floor(
    signal: np.ndarray, air: float, sigma: float, highest_b: float, notes: list[str]
) -> None:
    """Tell where much tissue is hardly brighter than a floor that the fit does not take off.

    Args:
        signal: of the voxels fitted at the lowest and the highest b, in s/mm^2, shape (voxels, 2).
        air: level of air in that image, or NaN.
        sigma: noise whose floor the fit takes off; NaN for none.
        notes: gets the sentence.
    """
    taken_off = float(np.nan_to_num(sigma)) * float(rician_mean(0.0))
    last = signal[signal[:, 0] > _NEAR * air, 1]
    if not air > _OTHER * taken_off or not last.size:
        return
    near = float(np.mean(last < _NEAR * math.sqrt(air**2 - taken_off**2)))
    if near > _MANY:
        notes.append(
            f"{100 * near:.0f} % of the tissue is less than twice as bright as the darkest part of "
            f"the image (level {air:.3g}) at b = {highest_b:g} s/mm^2; if that is air, this fit "
            "does not take its floor off (several coils, smoothed magnitudes, or no noise known), "
            "and ADC and D read low."
        )
