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
    flat, shape = _bordered(levels)
    found = _co_occurrences(flat, shape, _steps(by_slice, shape), by_slice, int(levels.max()))
    return found + found.swapaxes(2, 3)


def run_lengths(levels: np.ndarray, by_slice: bool) -> np.ndarray:
    """Counts of runs (slices or 1, directions, levels, longest): [..., n - 1] are n voxels long."""
    flat, shape = _bordered(levels)
    return _run_lengths(flat, shape, _steps(by_slice, shape), by_slice, int(levels.max()))


def zones(levels: np.ndarray, shape_mask: np.ndarray, by_slice: bool) -> Zones:
    """Zones of equal level (8 neighbors in a slice, 26 in a volume).

    Args:
        levels: see above.
        shape_mask: the region before voxels were taken out for their intensity; its border, and
            that of the image, are what distances are measured to.
    """
    distance = _border_distance(np.ascontiguousarray(shape_mask, bool), by_slice)
    flat, shape = _bordered(levels)
    return Zones(*_zones(flat, shape, _all_steps(by_slice, shape), distance.ravel(), by_slice))


def neighborhoods(levels: np.ndarray, by_slice: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What surrounds the voxels of each level (8 neighbors in a slice, 26 in a volume).

    Returns:
        (slices or 1, levels): voxels with a neighbor, and their summed difference from the
        neighbors' mean; (slices or 1, levels, dependence): [..., n] voxels with n neighbors alike.
    """
    flat, shape = _bordered(levels)
    return _neighborhoods(flat, shape, _all_steps(by_slice, shape), by_slice, int(levels.max()))


def _bordered(levels: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Levels with a voxel of border on each side, which spares every look at a neighbor a check."""
    if levels.ndim != 3 or not np.issubdtype(levels.dtype, np.integer):
        raise ValueError(
            f"Gray levels are whole numbers on three axes; given was {levels.ndim}-dimensional "
            f"{levels.dtype}."
        )
    return np.pad(levels.astype(np.int32, copy=False), 1).ravel(), levels.shape


def _steps(by_slice: bool, shape: tuple[int, int, int]) -> np.ndarray:
    """From a voxel to half of its neighbors, in the flat array."""
    return directions(by_slice) @ [(shape[1] + 2) * (shape[2] + 2), shape[2] + 2, 1]


def _all_steps(by_slice: bool, shape: tuple[int, int, int]) -> np.ndarray:
    half = _steps(by_slice, shape)
    return np.concatenate([half, -half])


@njit(cache=True, nogil=True)
def _co_occurrences(flat, shape, steps, by_slice, highest):
    slices, rows, columns = shape
    counts = np.zeros((slices if by_slice else 1, len(steps), highest, highest), np.int64)
    for z in range(slices):
        here = counts[z if by_slice else 0]
        for y in range(rows):
            first = ((z + 1) * (rows + 2) + y + 1) * (columns + 2) + 1
            for at in range(first, first + columns):
                level = flat[at]
                if level == 0:
                    continue
                for d in range(len(steps)):
                    other = flat[at + steps[d]]
                    if other:
                        here[d, level - 1, other - 1] += 1
    return counts


@njit(cache=True, nogil=True)
def _run_lengths(flat, shape, steps, by_slice, highest):
    slices, rows, columns = shape
    longest = max(rows, columns) if by_slice else max(slices, rows, columns)
    counts = np.zeros((slices if by_slice else 1, len(steps), highest, longest), np.int64)
    for z in range(slices):
        here = counts[z if by_slice else 0]
        for y in range(rows):
            first = ((z + 1) * (rows + 2) + y + 1) * (columns + 2) + 1
            for at in range(first, first + columns):
                level = flat[at]
                if level == 0:
                    continue
                for d in range(len(steps)):
                    step = steps[d]
                    if flat[at - step] == level:
                        continue  # not where the run begins
                    end = at + step
                    length = 0
                    while flat[end] == level:
                        end += step
                        length += 1
                    here[d, level - 1, length] += 1
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
def _zones(flat, shape, steps, distance, by_slice):
    slices, rows, columns = shape
    plane, row = (rows + 2) * (columns + 2), columns + 2
    voxels = np.count_nonzero(flat)
    of_slice, of_level = np.empty(voxels, np.int32), np.empty(voxels, np.int32)
    size, nearest = np.empty(voxels, np.int64), np.empty(voxels, np.int32)
    left = flat.copy()  # 0 where a voxel has its zone
    stack = np.empty(voxels, np.int64)
    found = 0
    for z in range(slices):
        for y in range(rows):
            first = ((z + 1) * (rows + 2) + y + 1) * (columns + 2) + 1
            for start in range(first, first + columns):
                level = left[start]
                if level == 0:
                    continue
                left[start] = 0
                stack[0] = start
                top, count, closest = 1, 0, rows + columns + slices
                while top:
                    top -= 1
                    at = stack[top]
                    count += 1
                    cz, inside = at // plane - 1, at % plane
                    place = (cz * rows + inside // row - 1) * columns + inside % row - 1
                    closest = min(closest, distance[place])
                    for d in range(len(steps)):
                        other = at + steps[d]
                        if left[other] == level:
                            left[other] = 0
                            stack[top] = other
                            top += 1
                of_slice[found] = z if by_slice else 0
                of_level[found], size[found], nearest[found] = level, count, closest
                found += 1
    return of_slice[:found], of_level[:found], size[:found], nearest[:found]


@njit(cache=True, nogil=True)
def _neighborhoods(flat, shape, steps, by_slice, highest):
    slices, rows, columns = shape
    number = slices if by_slice else 1
    voxels, differences = np.zeros((number, highest), np.int64), np.zeros((number, highest))
    dependences = np.zeros((number, highest, len(steps) + 1), np.int64)
    for z in range(slices):
        group = z if by_slice else 0
        for y in range(rows):
            first = ((z + 1) * (rows + 2) + y + 1) * (columns + 2) + 1
            for at in range(first, first + columns):
                level = flat[at]
                if level == 0:
                    continue
                total, count, alike = 0, 0, 0
                for d in range(len(steps)):
                    other = flat[at + steps[d]]
                    total += other
                    count += other > 0
                    alike += other == level
                dependences[group, level - 1, alike] += 1
                if count:
                    voxels[group, level - 1] += 1
                    differences[group, level - 1] += abs(level - total / count)
    return voxels, differences, dependences
