"""Water and fat where the body holds too little signal to be shown: images need no holes.

Compact bone is as dark as air. In a hole of the body the fit starts from the field of the voxels
around and expects their R2*, so that no search and no fast decay draws noise up: water and fat are
noise about their true values. Their ratio says nothing there, and gets no value; the field is that
around, which noise of the voxel would take tens of Hz off.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from PDFFMapperLib.maps.progress import run_parallel
from PDFFMapperLib.water_fat.neighborhood import put, slice_ends

_REACH = 7  # voxels in plane that tell the field and R2* of a hole


def fill_holes(
    images: tuple[np.ndarray, np.ndarray, np.ndarray],
    fitted: np.ndarray,
    sure: np.ndarray,
    r2star_per_s: np.ndarray,
    fit: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> int:
    """Give water, fat and field to what was not fitted and is enclosed by the body in its slice.

    Without a sure voxel in the slice nothing tells the field, and a hole stays.

    Args:
        images: water, fat and off-resonance (Hz), shape (slices, rows, columns), changed in place.
        fitted: the voxels fitted, bool.
        sure: those whose field and R2* can be used, bool.
        r2star_per_s: of the voxels fitted, in their order.
        fit: of voxels by their flat indices, from off-resonances (Hz) and expected R2* (1/s): water
            and fat, shape (2, voxels), NaN where there is no fit.

    Returns:
        How many voxels were filled.
    """
    ends, filled = slice_ends(fitted), np.zeros(len(fitted), np.int64)

    def fill_slice(k: int) -> None:
        hole = _enclosed(fitted[k])
        if not hole.any():
            return
        known = np.empty((2, *hole.shape), np.float32)
        known[0] = images[2][k]
        put(r2star_per_s[ends[k] : ends[k + 1]], fitted[k], np.nan, known[1])
        around = _around(known, sure[k] & fitted[k], hole)
        told = np.isfinite(around[0])
        hole[hole] = told
        if not told.any():
            return
        field_hz, decay = around[:, told]
        water, fat = fit(np.flatnonzero(hole) + k * hole.size, field_hz, decay)
        of_fits = np.where(np.isnan(water), np.nan, field_hz)
        for image, values in zip(images, (water, fat, of_fits), strict=True):
            image[k][hole] = values
        filled[k] = np.count_nonzero(np.isfinite(water))

    run_parallel(fill_slice, range(len(fitted)))
    return int(filled.sum())


def _enclosed(body: np.ndarray) -> np.ndarray:
    """What is not of the body and cannot be reached from the edge by a way 3 voxels wide, bool."""
    from scipy.ndimage import label  # takes long to import

    closed = np.pad(body, 3)
    for axis in (0, 1):
        closed = _beside(closed, axis)
    for axis in (0, 1):
        closed = ~_beside(~closed, axis)
    of_air, _ = label(~closed)
    return ~(body | (of_air == of_air[0, 0])[3:-3, 3:-3])


def _beside(mask: np.ndarray, axis: int) -> np.ndarray:
    """The voxels of a mask, and those next to them along an axis; none is near the edge."""
    return mask | np.roll(mask, 1, axis) | np.roll(mask, -1, axis)


def _around(values, sure, hole) -> np.ndarray:
    """Means of the values of sure voxels around those of a hole, shape (values, voxels).

    Where none is near, those of the voxels are taken that have been given some before.

    Args:
        values: shape (values, rows, columns), changed in place in the hole; NaN if none is sure.
        sure: the voxels that have values, bool; so do those of the hole afterwards.
        hole: the voxels to find some for, bool.
    """
    values[:, hole], missing = np.nan, np.argwhere(hole)
    while len(missing):
        means = np.empty((len(missing), len(values)), np.float32)
        _means_around(values, sure, missing, means)
        given = np.isfinite(means[:, 0])
        if not given.any():
            break
        j, i = missing[given].T
        values[:, j, i], sure[j, i] = means[given].T, True
        missing = missing[~given]
    return values[:, hole]


@njit(cache=True, nogil=True)
def _means_around(values, sure, places, means):
    """Means within reach, weighted by the inverse square of the distance; NaN without a voxel.

    Args:
        values, sure: see `_around`.
        places: row and column of voxels that are not sure, shape (voxels, 2).
        means: becomes those around each, shape (voxels, values).
    """
    rows, columns = sure.shape
    for v in range(len(places)):
        j, i = places[v, 0], places[v, 1]
        total = 0.0
        means[v] = 0.0
        for y in range(max(j - _REACH, 0), min(j + _REACH + 1, rows)):
            for x in range(max(i - _REACH, 0), min(i + _REACH + 1, columns)):
                if sure[y, x]:
                    weight = 1.0 / ((y - j) ** 2 + (x - i) ** 2)
                    total += weight
                    for m in range(len(values)):
                        means[v, m] += weight * values[m, y, x]
        for m in range(len(values)):
            means[v, m] = means[v, m] / total if total > 0 else np.nan
