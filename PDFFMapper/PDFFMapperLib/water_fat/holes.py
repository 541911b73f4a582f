"""Water and fat where the body holds too little signal to be fitted: images need no holes.

Compact bone is as dark as air. In a hole of the body field and R2* are those of the voxels around,
and with these known water and fat follow from the echoes linearly: noise about their true values,
which no search has drawn up. Their ratio says nothing there, and gets no value.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from PDFFMapperLib.maps.progress import run_parallel
from PDFFMapperLib.water_fat.field_map import ChemicalShiftModel
from PDFFMapperLib.water_fat.neighborhood import put, slice_ends
from PDFFMapperLib.water_fat.voxel_signals import VoxelSignals

_REACH = 7  # voxels in plane that tell the field and R2* of a hole


def fill_holes(
    images: tuple[np.ndarray, np.ndarray, np.ndarray],
    fitted: np.ndarray,
    sure: np.ndarray,
    r2star_per_s: np.ndarray,
    signals: VoxelSignals,
    model: ChemicalShiftModel,
    left_out: int | None = None,
) -> int:
    """Give water, fat and field to what was not fitted and is enclosed by the body in its slice.

    Without a sure voxel in the slice nothing tells the field, and a hole stays, as do voxels whose
    echoes are all 0 or not finite.

    Args:
        images: water, fat and off-resonance (Hz), shape (slices, rows, columns), changed in place.
        fitted: the voxels fitted, bool.
        sure: those whose field and R2* can be used, bool.
        r2star_per_s: of the voxels fitted, in their order.
        signals: the echoes.
        model: echo times, fat, and whether water and fat have one phase, which is each voxel's own;
            else they are magnitudes.
        left_out: index of an echo whose phase is off.

    Returns:
        How many voxels were filled.
    """
    ends, filled = slice_ends(fitted), np.zeros(len(fitted), np.int64)
    kept = [n for n in range(len(model.echo_times_s)) if n != left_out]
    times, of_fat = model.echo_times_s[kept], np.asarray(model.fat)[kept]

    def fill_slice(k: int) -> None:
        hole = _enclosed(fitted[k])
        if not hole.any():
            return
        known = np.empty((2, *hole.shape), np.float32)
        known[0] = images[2][k]
        put(r2star_per_s[ends[k] : ends[k + 1]], fitted[k], np.nan, known[1])
        field_hz, decay = _around(known, sure[k] & fitted[k], hole)
        of_hole = signals.at(np.flatnonzero(hole) + k * hole.size)[:, kept]
        usable = np.isfinite(of_hole).all(1) & of_hole.any(1) & np.isfinite(field_hz)
        hole[hole] = usable
        around = field_hz[usable], decay[usable]
        found = _water_and_fat(of_hole[usable], *around, times, of_fat, model.common_phase)
        for image, values in zip(images, (*found, around[0]), strict=True):
            image[k][hole] = values
        filled[k] = np.count_nonzero(usable)

    run_parallel(fill_slice, range(len(fitted)))
    return int(filled.sum())


@njit(cache=True, nogil=True)
def _enclosed(body):
    """What is not of the body and does not reach the edge of the slice either, bool."""
    rows, columns = body.shape
    outside = np.ones((rows + 2, columns + 2), np.bool_)
    outside[1:-1, 1:-1] = False
    changed = True
    while changed:
        changed = False
        for back in (False, True):
            for m in range(1, rows + 1):
                for n in range(1, columns + 1):
                    j, i = (rows + 1 - m, columns + 1 - n) if back else (m, n)
                    if body[j - 1, i - 1] or outside[j, i]:
                        continue
                    above_or_below = outside[j - 1, i] or outside[j + 1, i]
                    if above_or_below or outside[j, i - 1] or outside[j, i + 1]:
                        outside[j, i] = changed = True
    return ~(body | outside[1:-1, 1:-1])


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


def _water_and_fat(signals, field_hz, r2star_per_s, times, of_fat, common_phase: bool):
    """Least squares of water and fat of voxels at echo time 0, shape (2, voxels).

    See `voxel_fit` for the one of a common phase.
    """
    rate = 2j * np.pi * field_hz.astype(float) - r2star_per_s
    wave = np.exp(np.outer(rate, times))
    by_water, by_fat = signals * wave.conj(), signals * (wave * of_fat).conj()
    a, b = by_water.sum(1), by_fat.sum(1)
    power = np.abs(wave) ** 2
    ww, ff, wf = power.sum(1), power @ np.abs(of_fat) ** 2, power @ of_fat
    if common_phase:
        wf = wf.real
        square = ff * a**2 + ww * b**2 - 2 * wf * a * b
        back = np.exp(-0.5j * np.angle(square))
        a, b = (a * back).real, (b * back).real
    scale = 1 / (ww * ff - np.abs(wf) ** 2)
    water, fat = (ff * a - wf * b) * scale, (ww * b - np.conj(wf) * a) * scale
    if common_phase:
        sign = np.where(water + fat < 0, -1, 1)
        return np.stack([sign * water, sign * fat])
    return np.abs(np.stack([water, fat]))
