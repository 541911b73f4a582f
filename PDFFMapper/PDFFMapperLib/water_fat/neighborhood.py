"""What the voxels around a voxel say of it: sums over boxes, and decisions made together."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit

from PDFFMapperLib.maps.progress import run_parallel

_PART = 50_000  # voxels
_CLEAR = 3.0  # most that one voxel's excess (of logarithms) counts
_REACH = (0, 5, 5)  # voxels; the more decide together the less the noise of one of them does


def box_sum(values: np.ndarray, reach: tuple[int, int, int]) -> np.ndarray:
    """Sum over the neighbors up to `reach` voxels away along each axis, float32."""
    values = np.asarray(values, np.float32)
    result = np.empty_like(values)
    run_parallel(lambda k: _sum_slice(values, k, reach, result[k]), range(len(values)))
    return result


@njit(cache=True, nogil=True)
def _sum_slice(values, k, reach, sums):
    """Sums of slice `k`, shape (rows, columns)."""
    slices, rows, columns = values.shape
    through = values[k].copy()
    for step in range(1, reach[0] + 1):
        for other in (k - step, k + step):
            if 0 <= other < slices:
                through += values[other]
    for j in range(rows):
        down = through[j].copy()
        for step in range(1, reach[1] + 1):
            for other in (j - step, j + step):
                if 0 <= other < rows:
                    down += through[other]
        along = sums[j]
        along[:] = down
        for step in range(1, min(reach[2], columns - 1) + 1):
            before, after = down[: columns - step], down[step:]
            to_last, to_first = along[step:], along[: columns - step]
            for i in range(columns - step):
                to_last[i] += before[i]
            for i in range(columns - step):
                to_first[i] += after[i]


def sum_around(
    mask: np.ndarray, values: np.ndarray, reach: tuple[int, int, int] = (1, 3, 3)
) -> np.ndarray:
    """`box_sum` of values of the voxels of a mask (0 outside), for these."""
    values = np.asarray(values, np.float32)
    volume, sums = np.empty(mask.shape, np.float32), np.empty(len(values), np.float32)
    ends = np.concatenate([[0], np.cumsum([np.count_nonzero(each) for each in mask])])

    def put(k: int) -> None:
        _put(values[ends[k] : ends[k + 1]], mask[k], volume[k])

    def take(k: int) -> None:
        if ends[k] < ends[k + 1]:
            around = np.empty(volume[k].shape, np.float32)
            _sum_slice(volume, k, reach, around)
            _take(around, mask[k], sums[ends[k] : ends[k + 1]])

    run_parallel(put, range(len(mask)))
    run_parallel(take, range(len(mask)))
    return sums


@njit(cache=True, nogil=True)
def _put(values, mask, image):
    """Values of a mask's voxels as an image, 0 elsewhere."""
    n = 0
    for j in range(mask.shape[0]):
        for i in range(mask.shape[1]):
            image[j, i] = 0
            if mask[j, i]:
                image[j, i] = values[n]
                n += 1


@njit(cache=True, nogil=True)
def _take(image, mask, values):
    """Values of an image at a mask's voxels."""
    n = 0
    for j in range(mask.shape[0]):
        for i in range(mask.shape[1]):
            if mask[j, i]:
                values[n] = image[j, i]
                n += 1


def by_parts(work: Callable[[slice], None], count: int) -> None:
    """Call ``work(part)`` for the parts of `count` voxels, on all cores."""
    run_parallel(lambda start: work(slice(start, start + _PART)), range(0, count, _PART))


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
    alike, excess = np.empty(len(value), bool), np.empty(len(value), np.float32)

    def compare(part: slice) -> None:
        with np.errstate(invalid="ignore", divide="ignore"):
            over = np.log(value[part] / most)
        over = np.where(np.isnan(over), _CLEAR, np.clip(over, -_CLEAR, _CLEAR))
        alike[part] = over > -math.log(2)
        excess[part] = np.where(alike[part], over, 0)

    by_parts(compare, len(value))
    return alike & (sum_around(mask, excess, _REACH) > 0)
