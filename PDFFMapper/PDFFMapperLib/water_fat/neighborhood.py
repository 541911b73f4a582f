"""What the voxels around a voxel say of it: sums over boxes, and decisions made together."""

from __future__ import annotations

import math

import numpy as np

_CLEAR = 3.0  # most that one voxel's excess (of logarithms) counts
_REACH = (0, 5, 5)  # voxels; the more decide together the less the noise of one of them does


def box_sum(values: np.ndarray, reach: tuple[int, int, int]) -> np.ndarray:
    """Sum over the neighbors up to `reach` voxels away along each axis."""
    for axis, far in enumerate(reach):
        length = values.shape[axis]
        sums = np.cumsum(np.moveaxis(values, axis, -1), axis=-1, dtype=np.float64)
        sums = np.concatenate([np.zeros((*sums.shape[:-1], 1)), sums], axis=-1)
        place = np.arange(length)
        high, low = np.minimum(place + far + 1, length), np.maximum(place - far, 0)
        values = np.moveaxis((sums[..., high] - sums[..., low]).astype(np.float32), -1, axis)
    return values


def sum_around(
    mask: np.ndarray, values: np.ndarray, reach: tuple[int, int, int] = (1, 3, 3)
) -> np.ndarray:
    """`box_sum` of values of the voxels of a mask (0 outside), for these."""
    volume = np.zeros(mask.shape, np.float32)
    volume[mask] = values
    return box_sum(volume, reach)[mask]


def over_together(mask: np.ndarray, value: np.ndarray, most: float) -> np.ndarray:
    """Voxels in whose neighborhood in plane a value is over a limit, bool.

    By the geometric mean of the voxels around that are alike (not under half the limit), the voxel
    itself among them: by its own value alone, noise would decide which of many alike are kept, and
    what is kept would be biased.

    Args:
        mask: the voxels.
        value: of these; over the limit by far where it is not finite.
        most: the limit.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = np.log(value / most)
    excess = np.where(np.isnan(excess), _CLEAR, np.clip(excess, -_CLEAR, _CLEAR))
    alike = excess > -math.log(2)
    return alike & (sum_around(mask, np.where(alike, excess, 0), _REACH) > 0)
