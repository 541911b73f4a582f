"""Star-shaped surfaces round a point: sampling along rays and the optimal closed surface.

A surface is one radius per ray. The rays run from a center through the vertices of a box grid,
and radii are multiples of a template's radius, so that a smooth deviation from the template's
shape is cheap and a leak is dear. The optimum of all rays together is sought by min-sum belief
propagation. Related: Egger et al. 2012, Square-Cut, doi 10.1371/journal.pone.0031064 (graph cut
on rays from one seed in a vertebra); Li et al. 2006, doi 10.1109/TPAMI.2006.19 (optimal surfaces).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit


@dataclass(frozen=True)
class RayGrid:
    """Rays through a box's surface and their neighbors.

    Attributes:
        directions: (n, 3), points of the surface of the cube [-1, 1]^3.
        neighbors: (n, 4) indices of adjacent rays, -1 where there are only three.
    """

    directions: np.ndarray
    neighbors: np.ndarray


def box_rays(counts: tuple[int, int, int]) -> RayGrid:
    """Rays through the vertices of a cube surface divided into `counts` cells along each axis."""
    lattice = np.stack(np.meshgrid(*[np.arange(c + 1) for c in counts], indexing="ij"), -1)
    lattice = lattice.reshape(-1, 3)
    on_surface = ((lattice == 0) | (lattice == np.array(counts))).any(axis=1)
    vertices = lattice[on_surface]
    index = {tuple(v): n for n, v in enumerate(vertices)}
    steps = np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)])
    neighbors = np.full((len(vertices), 4), -1)
    for n, vertex in enumerate(vertices):
        found = []
        for step in steps:
            other = index.get(tuple(vertex + step))
            # Both ends on the surface does not make an edge of it: the middle must be too.
            if other is not None and _share_face(vertex, vertices[other], counts):
                found.append(other)
        neighbors[n, : len(found)] = found
    return RayGrid(2.0 * vertices / np.array(counts) - 1.0, neighbors)


def _share_face(a: np.ndarray, b: np.ndarray, counts: tuple[int, int, int]) -> bool:
    return any(a[d] == b[d] and a[d] in (0, counts[d]) for d in range(3))


@njit(cache=True)
def sample(array, points):
    """Trilinear values of array[k, j, i] at (n, 3) continuous (i, j, k); NaN outside of it.

    Half a voxel beyond the outermost centers still counts as inside.
    """
    nk, nj, ni = array.shape
    out = np.empty(points.shape[0], np.float32)
    for n in range(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        if not (-0.5 <= x <= ni - 0.5 and -0.5 <= y <= nj - 0.5 and -0.5 <= z <= nk - 0.5):
            out[n] = np.nan
            continue
        x = min(max(x, 0.0), ni - 1.0)
        y = min(max(y, 0.0), nj - 1.0)
        z = min(max(z, 0.0), nk - 1.0)
        i, j, k = int(x), int(y), int(z)
        i1, j1, k1 = min(i + 1, ni - 1), min(j + 1, nj - 1), min(k + 1, nk - 1)
        u, v, w = x - i, y - j, z - k
        low = (array[k, j, i] * (1 - u) + array[k, j, i1] * u) * (1 - v) + (
            array[k, j1, i] * (1 - u) + array[k, j1, i1] * u
        ) * v
        high = (array[k1, j, i] * (1 - u) + array[k1, j, i1] * u) * (1 - v) + (
            array[k1, j1, i] * (1 - u) + array[k1, j1, i1] * u
        ) * v
        out[n] = low * (1 - w) + high * w
    return out


@njit(cache=True, fastmath=True)
def optimal_surface(unary, neighbors, step_mm, stiffness, reach, iterations):
    """One label per ray: the sum of unary costs and stiffness x (difference in mm)^2, minimized.

    Args:
        unary: (rays, labels) costs.
        neighbors: (rays, 4) adjacent rays, -1 for none.
        step_mm: (rays,) what one label means in mm of surface displacement.
        stiffness: cost per mm^2 of difference between adjacent rays.
        reach: largest difference in labels between adjacent rays.
        iterations: sweeps of belief propagation (damped; a label field in one call).

    Returns:
        Labels, shape (rays,).
    """
    rays, labels = unary.shape
    messages = np.zeros((rays, 4, labels), np.float32)  # from neighbor slot into the ray
    slot = np.full((rays, 4), -1, np.int64)
    for n in range(rays):
        for s in range(4):
            m = neighbors[n, s]
            if m >= 0:
                for q in range(4):
                    if neighbors[m, q] == n:
                        slot[n, s] = q
    belief = np.empty(labels, np.float32)
    without = np.empty(labels, np.float32)
    best = np.empty(labels, np.float32)
    for sweep in range(iterations):
        for order in range(rays):
            n = order if sweep % 2 == 0 else rays - 1 - order
            for lab in range(labels):
                belief[lab] = unary[n, lab]
            for s in range(4):
                if neighbors[n, s] >= 0:
                    belief += messages[n, s]
            for s in range(4):
                m = neighbors[n, s]
                if m < 0:
                    continue
                scale = np.float32(stiffness * step_mm[n] * step_mm[m])
                back = slot[n, s]
                for lab in range(labels):
                    without[lab] = belief[lab] - messages[n, s, lab]
                    best[lab] = without[lab]
                for gap in range(1, min(reach, labels - 1) + 1):
                    cost = scale * gap * gap
                    # Slices, so that indices begin at 0: what may be negative is not vectorized.
                    above, below = without[gap:], best[gap:]
                    for lab in range(labels - gap):
                        best[lab] = min(best[lab], np.float32(above[lab] + cost))
                    for lab in range(labels - gap):
                        below[lab] = min(below[lab], np.float32(without[lab] + cost))
                lowest = np.float32(1e30)
                for lab in range(labels):
                    value = np.float32(0.5) * (messages[m, back, lab] + best[lab])
                    messages[m, back, lab] = value
                    lowest = min(lowest, value)
                for lab in range(labels):
                    messages[m, back, lab] -= lowest
    result = np.empty(rays, np.int64)
    for n in range(rays):
        best_label = 0
        least = np.float32(1e30)
        for lab in range(labels):
            total = unary[n, lab]
            for s in range(4):
                if neighbors[n, s] >= 0:
                    total += messages[n, s, lab]
            if total < least:
                least = total
                best_label = lab
        result[n] = best_label
    return result
