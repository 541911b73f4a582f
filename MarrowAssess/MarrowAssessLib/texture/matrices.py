"""Counts behind texture features: pairs, runs, zones and neighborhoods of gray levels.

Definitions of the Image Biomarker Standardisation Initiative (IBSI), Zwanenburg et al. 2020,
doi 10.1148/radiol.2020191145. Everywhere `levels` is an integer array (slices, rows, columns) with
levels from 1 on and 0 outside the region. With `by_slice` neighbors lie in one slice only and
counts are kept apart for each slice; else they lie in the volume, and there is one set of counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

# Half of all neighbors; the other half are the same pairs seen from their other end.
IN_SLICE = np.array([(0, 0, 1), (0, 1, -1), (0, 1, 0), (0, 1, 1)])
IN_VOLUME = np.array(
    [*IN_SLICE, *((1, row, column) for row in (-1, 0, 1) for column in (-1, 0, 1))]
)


@dataclass(frozen=True)
class Zones:
    """Connected groups of voxels of one level; arrays of one value per zone.

    Attributes:
        slice_index: slice the zone lies in (0 for zones of the volume).
        level: gray level.
        size: voxels.
        distance: smallest city-block distance of its voxels to the border, 1 at the border.
    """

    slice_index: np.ndarray
    level: np.ndarray
    size: np.ndarray
    distance: np.ndarray


def directions(by_slice: bool) -> np.ndarray:
    """Offsets (slice, row, column) to half of the neighbors: 4 in the slice, 13 in the volume."""
    return IN_SLICE if by_slice else IN_VOLUME


def co_occurrences(levels: np.ndarray, by_slice: bool) -> np.ndarray:
    """Symmetric counts of neighboring levels (slices or 1, directions, levels, levels)."""
    return _co_occurrences(_checked(levels), directions(by_slice), by_slice, int(levels.max()))


def run_lengths(levels: np.ndarray, by_slice: bool) -> np.ndarray:
    """Counts of runs (slices or 1, directions, levels, longest): [..., n - 1] are n voxels long."""
    return _run_lengths(_checked(levels), directions(by_slice), by_slice, int(levels.max()))


def zones(levels: np.ndarray, shape_mask: np.ndarray, by_slice: bool) -> Zones:
    """Zones of equal level (8 neighbors in a slice, 26 in a volume).

    Args:
        levels: see above.
        shape_mask: the region before voxels were taken out for their intensity; its border, and
            that of the image, are what distances are measured to.
    """
    distance = _border_distance(np.ascontiguousarray(shape_mask, bool), by_slice)
    return Zones(*_zones(_checked(levels), distance, by_slice))


def neighborhood_differences(levels: np.ndarray, by_slice: bool) -> tuple[np.ndarray, np.ndarray]:
    """Voxels with a neighbor, and their summed difference from the neighbors' mean, per level.

    Returns:
        Two arrays (slices or 1, levels).
    """
    return _neighborhood_differences(_checked(levels), by_slice, int(levels.max()))


def dependences(levels: np.ndarray, by_slice: bool) -> np.ndarray:
    """Counts (slices or 1, levels, dependence): [..., n] of voxels with n neighbors alike."""
    return _dependences(_checked(levels), by_slice, int(levels.max()))


def _checked(levels: np.ndarray) -> np.ndarray:
    if levels.ndim != 3 or not np.issubdtype(levels.dtype, np.integer):
        raise ValueError(
            f"Gray levels are whole numbers on three axes; given was {levels.ndim}-dimensional "
            f"{levels.dtype}."
        )
    return np.ascontiguousarray(levels, np.int32)


@njit(cache=True, nogil=True)
def _co_occurrences(levels, offsets, by_slice, highest):
    slices, rows, columns = levels.shape
    counts = np.zeros((slices if by_slice else 1, len(offsets), highest, highest), np.int64)
    for z in range(slices):
        here = counts[z if by_slice else 0]
        for y in range(rows):
            for x in range(columns):
                level = levels[z, y, x]
                if level == 0:
                    continue
                for d in range(len(offsets)):
                    nz, ny, nx = z + offsets[d, 0], y + offsets[d, 1], x + offsets[d, 2]
                    if nz < slices and 0 <= ny < rows and 0 <= nx < columns:
                        other = levels[nz, ny, nx]
                        if other:
                            here[d, level - 1, other - 1] += 1
                            here[d, other - 1, level - 1] += 1
    return counts


@njit(cache=True, nogil=True)
def _run_lengths(levels, offsets, by_slice, highest):
    slices, rows, columns = levels.shape
    longest = max(rows, columns) if by_slice else max(slices, rows, columns)
    counts = np.zeros((slices if by_slice else 1, len(offsets), highest, longest), np.int64)
    for z in range(slices):
        here = counts[z if by_slice else 0]
        for y in range(rows):
            for x in range(columns):
                level = levels[z, y, x]
                if level == 0:
                    continue
                for d in range(len(offsets)):
                    dz, dy, dx = offsets[d, 0], offsets[d, 1], offsets[d, 2]
                    pz, py, px = z - dz, y - dy, x - dx
                    if pz >= 0 and 0 <= py < rows and 0 <= px < columns:
                        if levels[pz, py, px] == level:
                            continue  # not where the run begins
                    length = 1
                    nz, ny, nx = z + dz, y + dy, x + dx
                    while nz < slices and 0 <= ny < rows and 0 <= nx < columns:
                        if levels[nz, ny, nx] != level:
                            break
                        length += 1
                        nz, ny, nx = nz + dz, ny + dy, nx + dx
                    here[d, level - 1, length - 1] += 1
    return counts


@njit(cache=True, nogil=True)
def _border_distance(mask, by_slice):
    """City-block distance to the outside: exact after one pass each way."""
    slices, rows, columns = mask.shape
    distance = np.zeros(mask.shape, np.int32)
    for z in range(slices):
        for y in range(rows):
            for x in range(columns):
                if mask[z, y, x]:
                    nearest = min(
                        distance[z, y - 1, x] if y else 0, distance[z, y, x - 1] if x else 0
                    )
                    if not by_slice:
                        nearest = min(nearest, distance[z - 1, y, x] if z else 0)
                    distance[z, y, x] = nearest + 1
    for z in range(slices - 1, -1, -1):
        for y in range(rows - 1, -1, -1):
            for x in range(columns - 1, -1, -1):
                if mask[z, y, x]:
                    nearest = min(
                        distance[z, y + 1, x] if y + 1 < rows else 0,
                        distance[z, y, x + 1] if x + 1 < columns else 0,
                    )
                    if not by_slice:
                        nearest = min(nearest, distance[z + 1, y, x] if z + 1 < slices else 0)
                    distance[z, y, x] = min(distance[z, y, x], nearest + 1)
    return distance


@njit(cache=True, nogil=True)
def _zones(levels, distance, by_slice):
    slices, rows, columns = levels.shape
    voxels = np.count_nonzero(levels)
    of_slice, of_level = np.empty(voxels, np.int32), np.empty(voxels, np.int32)
    size, nearest = np.empty(voxels, np.int64), np.empty(voxels, np.int32)
    seen = np.zeros(levels.shape, np.bool_)
    stack = np.empty((voxels, 3), np.int32)
    reach = 0 if by_slice else 1
    found = 0
    for z in range(slices):
        for y in range(rows):
            for x in range(columns):
                level = levels[z, y, x]
                if level == 0 or seen[z, y, x]:
                    continue
                count, closest = 0, distance[z, y, x]
                seen[z, y, x] = True
                stack[0, 0], stack[0, 1], stack[0, 2] = z, y, x
                top = 1
                while top:
                    top -= 1
                    cz, cy, cx = stack[top, 0], stack[top, 1], stack[top, 2]
                    count += 1
                    closest = min(closest, distance[cz, cy, cx])
                    for nz in range(max(cz - reach, 0), min(cz + reach + 1, slices)):
                        for ny in range(max(cy - 1, 0), min(cy + 2, rows)):
                            for nx in range(max(cx - 1, 0), min(cx + 2, columns)):
                                if levels[nz, ny, nx] == level and not seen[nz, ny, nx]:
                                    seen[nz, ny, nx] = True
                                    stack[top, 0], stack[top, 1], stack[top, 2] = nz, ny, nx
                                    top += 1
                of_slice[found] = z if by_slice else 0
                of_level[found], size[found], nearest[found] = level, count, closest
                found += 1
    return of_slice[:found], of_level[:found], size[:found], nearest[:found]


@njit(cache=True, nogil=True)
def _neighborhood_differences(levels, by_slice, highest):
    slices, rows, columns = levels.shape
    voxels = np.zeros((slices if by_slice else 1, highest), np.int64)
    differences = np.zeros((slices if by_slice else 1, highest))
    reach = 0 if by_slice else 1
    for z in range(slices):
        row = z if by_slice else 0
        for y in range(rows):
            for x in range(columns):
                level = levels[z, y, x]
                if level == 0:
                    continue
                total, count = 0, 0
                for nz in range(max(z - reach, 0), min(z + reach + 1, slices)):
                    for ny in range(max(y - 1, 0), min(y + 2, rows)):
                        for nx in range(max(x - 1, 0), min(x + 2, columns)):
                            if levels[nz, ny, nx]:
                                total += levels[nz, ny, nx]
                                count += 1
                if count > 1:  # one is the voxel itself
                    voxels[row, level - 1] += 1
                    differences[row, level - 1] += abs(level - (total - level) / (count - 1))
    return voxels, differences


@njit(cache=True, nogil=True)
def _dependences(levels, by_slice, highest):
    slices, rows, columns = levels.shape
    reach = 0 if by_slice else 1
    counts = np.zeros((slices if by_slice else 1, highest, 9 if by_slice else 27), np.int64)
    for z in range(slices):
        here = counts[z if by_slice else 0]
        for y in range(rows):
            for x in range(columns):
                level = levels[z, y, x]
                if level == 0:
                    continue
                alike = -1  # the voxel itself
                for nz in range(max(z - reach, 0), min(z + reach + 1, slices)):
                    for ny in range(max(y - 1, 0), min(y + 2, rows)):
                        for nx in range(max(x - 1, 0), min(x + 2, columns)):
                            alike += levels[nz, ny, nx] == level
                here[level - 1, alike] += 1
    return counts
