"""Map of T1: the least squares of each voxel."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
from scipy.stats import chi2

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.maps.progress import Progress
from PDFFMapperLib.ute.bone_maps import (
    BEYOND,
    MISFIT,
    OUTSIDE,
    doubt_of,
    facts_of,
    maps_of,
    region_of,
    tell_region,
)
from PDFFMapperLib.ute.echoes import without_floor
from PDFFMapperLib.ute.t1 import LEAST_CHANCE, T1_MS, T1Images, t1_images, t1_rows

_GRID_MS = np.geomspace(*T1_MS, 300)
_JUDGED = 3.0  # below it signals scatter less evenly than noise does
_TABLE_ERROR = 0.002  # of a signal, by steps of B1+
_CHUNK = 250  # voxels


def of_t1(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None = None
) -> list[ParametricMap]:
    """T1 of voxels; those that no T1 explains are marked, and count in the region.

    Raises:
        ValueError: as `t1_images`; no bone is given, or `t1_rows` of it.
    """
    data = t1_images(images, settings)
    inside = region_of(data.images, settings)
    doubt = doubt_of(data.images, inside, without_floor(data.images, 0))
    if data.b1 is not None:
        doubt[np.isnan(data.b1)] |= OUTSIDE
    facts = facts_of(data.images, [])
    if settings.mask is not None:
        try:
            rows = t1_rows(data, doubt == 0)
        except ValueError as error:
            raise ValueError(f"The mapped bone: {error}.") from None
    angles, times = (", ".join(f"{x:g}" for x in one) for one in (data.flips_deg, data.trs_ms))
    facts["summary"] = f"T1 by flips {angles} deg, TR {times} ms; {data.images.noise.told}."
    if settings.mask is not None:
        tell_region(facts, "All bone", rows)
    del facts["echo_times_ms"]
    values, misfit = _voxels(data, doubt == 0)
    doubt[(doubt == 0) & misfit] |= MISFIT
    doubt[(doubt == 0) & np.isnan(values)] |= BEYOND
    return maps_of(data.images, {"T1_bone": values}, doubt, facts)


def _voxels(data: T1Images, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """T1 of least squares of each voxel, by a table of T1, refined by a parabola.

    NaN outside, and where an end of the table explains a voxel best. Beside it, where three and
    more signals, all above `_JUDGED` times the noise, leave more than noise does once in 1,000.
    """
    b1, which = data.fields(inside)
    pulses, count = data.pulses(b1), np.count_nonzero(inside)
    held = np.empty((len(data.flips_deg), count), np.float32)
    for n, one in enumerate(held):
        one[...] = without_floor(data.images, n)[inside]
    own, misfit = np.full(count, np.nan, np.float32), np.zeros(count, bool)
    tables = np.stack([data.shown(t1, pulses) for t1 in _GRID_MS], axis=1)
    tables /= np.linalg.norm(tables, axis=-1, keepdims=True)
    step, free, sigma = np.log(_GRID_MS[1] / _GRID_MS[0]), len(held) - 2, data.images.noise.sigma
    usual = chi2.isf(LEAST_CHANCE, free) * sigma**2 if free > 0 else np.inf
    for n, table in enumerate(tables):
        chosen = np.flatnonzero(which == n)
        for start in range(0, len(chosen), _CHUNK):
            here = chosen[start : start + _CHUNK]
            signals = held[:, here].T
            explained = signals @ table.T
            explained *= explained
            highest = explained.argmax(axis=1)
            best = np.clip(highest, 1, len(_GRID_MS) - 2)
            before, at, after = (explained[np.arange(len(here)), best + n] for n in (-1, 0, 1))
            bend = np.minimum(before - 2 * at + after, -1e-12 * at)
            moved = step * np.clip((before - after) / (2 * bend), -1, 1)
            own[here] = np.where(highest == best, _GRID_MS[best] * np.exp(moved), np.nan)
            most = at - np.where(highest == best, (before - after) ** 2 / (8 * bend), 0.0)
            whole = np.sum(signals**2, axis=1)
            misfit[here] = whole - most > usual + _TABLE_ERROR**2 * whole
            misfit[here] &= signals.min(axis=1) > _JUDGED * sigma
    values, doubted = np.full(inside.shape, np.nan, np.float32), np.zeros(inside.shape, bool)
    values[inside], doubted[inside] = own, misfit
    return values, doubted
