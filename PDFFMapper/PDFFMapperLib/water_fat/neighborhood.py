"""What the voxels around a voxel say of it: sums over boxes, and decisions made together."""

from __future__ import annotations

import math

import numpy as np

from PDFFMapperLib.maps.progress import run_parallel

_CLEAR = 3.0  # most that one voxel's excess (of logarithms) counts
_REACH = (0, 5, 5)  # voxels; the more decide together the less the noise of one of them does


def box_sum(values: np.ndarray, reach: tuple[int, int, int]) -> np.ndarray:
    """Sum over the neighbors up to `reach` voxels away along each axis, float32."""
    along_slices = _sum_along(values.astype(np.float32), 0, reach[0])
    result = np.empty_like(along_slices)

    def sum_in_plane(k: int) -> None:
        rows = _sum_along(along_slices[k], 0, reach[1])
        result[k] = _sum_along(rows, 1, reach[2])

    run_parallel(sum_in_plane, range(len(values)))
    return result


def _sum_along(values: np.ndarray, axis: int, far: int) -> np.ndarray:
    total = values.copy()
    given, added = np.moveaxis(values, axis, 0), np.moveaxis(total, axis, 0)
    for step in range(1, min(far, len(given) - 1) + 1):
        added[step:] += given[:-step]
        added[:-step] += given[step:]
    return total


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
