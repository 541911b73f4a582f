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
        for i in range(columns):  # numba compiles `along[:] = down` for two seconds
            along[i] = down[i]
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
    """`box_sum` of values of the voxels of a mask (0 outside), for these.

    Args:
        mask: the voxels.
        values: of these, shape (..., voxels), as is the result.
        reach: as `box_sum` has it.
    """
    values = np.asarray(values, np.float32)
    sets = values.reshape(-1, values.shape[-1])
    volumes, sums = np.empty((len(sets), *mask.shape), np.float32), np.empty_like(sets)
    ends = slice_ends(mask)

    def take(k: int) -> None:
        around = np.empty(mask[k].shape, np.float32)
        for volume, own in zip(volumes, sums, strict=True):
            _sum_slice(volume, k, reach, around)
            _take(around, mask[k], own[ends[k] : ends[k + 1]])

    def put_slice(k: int) -> None:
        for volume, own in zip(volumes, sets, strict=True):
            put(own[ends[k] : ends[k + 1]], mask[k], 0.0, volume[k])

    run_parallel(put_slice, range(len(mask)))
    run_parallel(take, np.flatnonzero(np.diff(ends)))
    return sums.reshape(values.shape)


def slice_ends(mask: np.ndarray) -> np.ndarray:
    """Where the voxels of each slice of a mask end among all, from 0 on, shape (slices + 1,)."""
    return np.cumsum([0, *(np.count_nonzero(each) for each in mask)])


def flat_index(mask: np.ndarray) -> np.ndarray:
    """Flat indices of the voxels of a mask, int64."""
    ends = slice_ends(mask)
    index = np.empty(ends[-1], np.int64)
    run_parallel(
        lambda k: _add_indices(mask[k], k * mask[k].size, index[ends[k] : ends[k + 1]]),
        range(len(mask)),
    )
    return index


@njit(cache=True, nogil=True)
def _add_indices(mask, first, index):
    """Flat indices of a slice's voxels, `first` being that of its first one."""
    n = 0
    for j in range(mask.shape[0]):
        for i in range(mask.shape[1]):
            if mask[j, i]:
                index[n] = first + j * mask.shape[1] + i
                n += 1


@njit(cache=True, nogil=True)
def number(mask, first, where):
    """Number the voxels of a slice's mask from `first` on; -1 outside."""
    for j in range(mask.shape[0]):
        for i in range(mask.shape[1]):
            where[j, i] = -1
            if mask[j, i]:
                where[j, i] = first
                first += 1


@njit(cache=True, nogil=True)
def put(values, mask, outside, image):
    """Make an image, shape (rows, columns), of values of a mask's voxels."""
    n = 0
    for j in range(mask.shape[0]):
        for i in range(mask.shape[1]):
            image[j, i] = outside
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
    """Call ``work(part)`` for the parts of `count` voxels, on all cores.

    Give compiled code parts of arrays row by row: a part of a table's columns is contiguous only
    where it is all of it, and for each of both the code would be compiled anew.
    """
    run_parallel(lambda start: work(slice(start, start + _PART)), range(0, count, _PART))


def over_together(mask: np.ndarray, value: np.ndarray, most: float) -> np.ndarray:
    """Voxels around which in plane a value is over its limit, bool, shape (voxels,).

    By the geometric mean of the voxels around that are alike (not under half the limit) and of the
    other color (`is_dark`): by its own value, or by what its noise is part of, noise would decide
    which of many alike are kept, and what is kept would be biased.

    Args:
        mask: the voxels.
        value: of each; over the limit by far where it is not finite.
        most: the limit.
    """
    ends, dark = slice_ends(mask), np.empty(len(value), bool)
    alike, excess = np.empty(len(value), bool), np.empty((2, len(value)), np.float32)

    def compare(k: int) -> None:
        part = slice(ends[k], ends[k + 1])
        _colors(mask[k], k, dark[part])
        _compare(value[part], most, dark[part], alike[part], *excess[:, part])

    run_parallel(compare, range(len(mask)))
    of_light, of_dark = sum_around(mask, excess, _REACH)
    others = np.where(dark, of_light, of_dark)
    own = np.where(dark, of_dark, of_light)  # where no other is near
    return alike & (np.where(others == 0, own, others) > 0)


@njit(cache=True, nogil=True)
def is_dark(k, j, i):
    """The color of a voxel on a checkerboard of 2 x 2 voxels in plane.

    What is made of voxels of one color shares no noise with what is made of the other.
    """
    return (k + j // 2 + i // 2) % 2 == 1


@njit(cache=True, nogil=True)
def _colors(mask, k, dark):
    """Which voxels of the mask of slice `k` are dark."""
    n = 0
    for j in range(mask.shape[0]):
        for i in range(mask.shape[1]):
            if mask[j, i]:
                dark[n] = is_dark(k, j, i)
                n += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _compare(values, most, dark, alike, of_light, of_dark):
    """Which values are not under half a limit, and by how much (of logarithms) these are over."""
    half, most, clear = np.float32(most / 2), np.float32(most), np.float32(_CLEAR)
    for v in range(len(values)):  # by itself, the compiler makes vectors of it
        alike[v] = not values[v] <= half
    for v in range(len(values)):
        over = np.float32(0)
        if alike[v]:
            over = min(math.log(values[v] / most), clear) if np.isfinite(values[v]) else clear
        of_light[v] = 0 if dark[v] else over
        of_dark[v] = over if dark[v] else 0
