"""SUVpeak: the highest mean of 1 cm^3 in a region."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

RADIUS_MM = (3000 / (4 * np.pi)) ** (1 / 3)  # of a sphere of 1 cm^3: 6.20 mm
STEP_MM = 1.0  # between the centers that are tried
_PART_MM = 0.6  # the sphere is cut into cubes of this size
_ROWS = 4096  # voxels at a time


def suv_peak(array: np.ndarray, inside: np.ndarray, spacing_mm: np.ndarray) -> float:
    """The highest mean over a sphere of 1 cm^3 whose center lies in one of the voxels.

    Centers are about 1 mm apart; voxels that the sphere cuts count by the part inside it
    (Wahl 2009, doi 10.2967/jnumed.108.057307).

    Args:
        array: of the whole image, indexed [k, j, i].
        inside: (n, 3) indices (k, j, i) of the region's voxels.
        spacing_mm: along i, j, k.

    Returns:
        NaN where no sphere lies whole in the image, on finite values.
    """
    kernels, reach = _kernels(tuple(np.round(spacing_mm, 4)))
    size = np.array(array.shape)
    fits = ((inside >= reach) & (inside < size - reach)).all(axis=1)
    around = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), -1)
    steps = np.array([size[1] * size[2], size[2], 1])
    offsets = around.reshape(-1, 3) @ steps
    centers = inside[fits] @ steps
    flat, best = array.ravel(), -np.inf
    for start in range(0, centers.size, _ROWS):
        values = flat[centers[start : start + _ROWS, None] + offsets]
        means = values.astype(np.float32) @ kernels
        if np.isfinite(means).any():
            best = max(best, float(np.nanmax(means)))
    return best if np.isfinite(best) else float("nan")


@lru_cache(maxsize=8)
def _kernels(spacing_mm: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the voxels around one, (voxels, centers in it), and how many there are (k, j, i).

    Centers fill the voxel evenly.
    """
    spacing = np.array(spacing_mm[::-1])
    reach = np.ceil((RADIUS_MM + spacing / 2) / spacing - 0.5).astype(int)
    edge = np.arange(-RADIUS_MM, RADIUS_MM, _PART_MM) + _PART_MM / 2
    cubes = np.stack(np.meshgrid(edge, edge, edge, indexing="ij"), -1).reshape(-1, 3)
    cubes = cubes[np.linalg.norm(cubes, axis=1) <= RADIUS_MM]
    tried = [(np.arange(n) + 0.5) / n - 0.5 for n in np.ceil(spacing / STEP_MM).astype(int)]
    phases = np.stack(np.meshgrid(*tried, indexing="ij"), -1).reshape(-1, 3)
    width = 2 * reach + 1
    kernels = np.empty((int(width.prod()), len(phases)), np.float32)
    for n, phase in enumerate(phases):
        voxel = np.rint(cubes / spacing + phase).astype(int) + reach
        flat = (voxel[:, 0] * width[1] + voxel[:, 1]) * width[2] + voxel[:, 2]
        kernels[:, n] = np.bincount(flat, minlength=kernels.shape[0]) / len(cubes)
    return kernels, reach
