"""Sums over the places of two images' edges, compiled: what a rigid fit of them needs to know."""

from __future__ import annotations

import numpy as np
from numba import njit

STRENGTH, ONE, SEEN = 0, 1, 8  # rows of the sums; 2 to 7 are three shifts and three turns


@njit(cache=True, nogil=True, error_model="numpy")
def _corner(at, last):
    """The voxel below a place along one axis, and how far beyond it the place lies."""
    low = min(int(at), max(last - 1, 0))
    return low, min(low + 1, last), at - low


@njit(cache=True, nogil=True, error_model="numpy")
def _slope(image, k, i, j, axis):
    """Central difference at a voxel, one-sided at the ends."""
    here = (k, i, j)[axis]
    low, high = max(here - 1, 0), min(here + 1, image.shape[axis] - 1)
    if high == low:
        return 0.0
    if axis == 0:
        return (image[high, i, j] - image[low, i, j]) / (high - low)
    if axis == 1:
        return (image[k, high, j] - image[k, low, j]) / (high - low)
    return (image[k, i, high] - image[k, i, low]) / (high - low)


@njit(cache=True, nogil=True, error_model="numpy")
def strength_and_slopes(image, places):
    """Value of an image and its slopes along three axes at places within it, linear in between.

    Args:
        image: shape (slices, rows, columns).
        places: voxels, shape (places, 3).

    Returns:
        Shape (places, 4), single precision.
    """
    last = (image.shape[0] - 1, image.shape[1] - 1, image.shape[2] - 1)
    found = np.empty((len(places), 4), np.float32)
    for n in range(len(places)):
        k0, k1, dk = _corner(places[n, 0], last[0])
        i0, i1, di = _corner(places[n, 1], last[1])
        j0, j1, dj = _corner(places[n, 2], last[2])
        sums = (0.0, 0.0, 0.0, 0.0)
        for k, by_k in ((k0, 1 - dk), (k1, dk)):
            for i, by_i in ((i0, 1 - di), (i1, di)):
                for j, by_j in ((j0, 1 - dj), (j1, dj)):
                    weight = by_k * by_i * by_j
                    if weight == 0:
                        continue
                    sums = (
                        sums[0] + weight * image[k, i, j],
                        sums[1] + weight * _slope(image, k, i, j, 0),
                        sums[2] + weight * _slope(image, k, i, j, 1),
                        sums[3] + weight * _slope(image, k, i, j, 2),
                    )
        for m in range(4):
            found[n, m] = sums[m]
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def products_of(other, places, edges, middle, spacing, at):
    """Sums of the products of a strength, 1, its changes by motion, and what the other image shows.

    Args:
        other: shape (slices, rows, columns).
        places: voxels of the first image, shape (places, 3).
        edges: of these, see `strength_and_slopes`.
        middle: that turns are about, voxels.
        spacing: of voxels, mm.
        at: three shifts (voxels) and three turns (radians) that carry places.

    Returns:
        Over the places that the other image holds, double precision, shape (9, 9): rows are
        `STRENGTH`, `ONE`, six changes (see `changes`), and `SEEN`.
    """
    last = (other.shape[0] - 1, other.shape[1] - 1, other.shape[2] - 1)
    sums, row = np.zeros((9, 9)), np.zeros(9)
    for n in range(len(places)):
        z = (places[n, 0] - middle[0]) * spacing[0]
        y = (places[n, 1] - middle[1]) * spacing[1]
        x = (places[n, 2] - middle[2]) * spacing[2]
        k = places[n, 0] + at[0] + (at[4] * x - at[5] * y) / spacing[0]
        i = places[n, 1] + at[1] + (at[5] * z - at[3] * x) / spacing[1]
        j = places[n, 2] + at[2] + (at[3] * y - at[4] * z) / spacing[2]
        if not (0 <= k <= last[0] and 0 <= i <= last[1] and 0 <= j <= last[2]):
            continue
        k0, k1, dk = _corner(k, last[0])
        i0, i1, di = _corner(i, last[1])
        j0, j1, dj = _corner(j, last[2])
        low = (other[k0, i0, j0] * (1 - dj) + other[k0, i0, j1] * dj) * (1 - di)
        low += (other[k0, i1, j0] * (1 - dj) + other[k0, i1, j1] * dj) * di
        high = (other[k1, i0, j0] * (1 - dj) + other[k1, i0, j1] * dj) * (1 - di)
        high += (other[k1, i1, j0] * (1 - dj) + other[k1, i1, j1] * dj) * di
        row[0] = edges[n, 0]
        row[1] = 1.0
        row[2], row[3], row[4] = edges[n, 1], edges[n, 2], edges[n, 3]
        c, b, a = row[2] / spacing[0], row[3] / spacing[1], row[4] / spacing[2]
        row[5], row[6], row[7] = y * a - x * b, x * c - z * a, z * b - y * c
        row[8] = low * (1 - dk) + high * dk
        for p in range(9):
            for q in range(p, 9):
                sums[p, q] += row[p] * row[q]
    for p in range(9):
        for q in range(p):
            sums[p, q] = sums[q, p]
    return sums
