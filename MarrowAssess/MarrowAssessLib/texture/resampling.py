"""Images and masks on voxels of another size, with the centers of both grids aligned (IBSI 2.4)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def resampled(
    image: np.ndarray,
    spacing_mm: tuple[float, float, float],
    new_spacing_mm: tuple[float, float, float],
    order: int,
) -> np.ndarray:
    """An image on voxels of another size.

    Args:
        image: (slices, rows, columns).
        spacing_mm: between its slices, rows and columns.
        new_spacing_mm: wanted; an axis whose spacing stays is not interpolated.
        order: of the spline; 1 is linear, 3 cubic.

    Raises:
        ValueError: a spacing that is not above 0.
    """
    old, new = np.asarray(spacing_mm, float), np.asarray(new_spacing_mm, float)
    if not (np.isfinite([old, new]).all() and (old > 0).all() and (new > 0).all()):
        raise ValueError(f"Voxel spacings are above 0 mm; given were {old} and {new}.")
    scale = new / old
    shape = np.ceil(np.round(np.array(image.shape) / scale, 6)).astype(int)
    axes = (
        (size - 1) / 2 + (np.arange(n) - (n - 1) / 2) * step
        for size, n, step in zip(image.shape, shape, scale, strict=True)
    )
    where = np.meshgrid(*axes, indexing="ij")
    return ndimage.map_coordinates(
        np.asarray(image, float), where, order=order, mode="nearest", prefilter=order > 1
    )


def resampled_mask(
    mask: np.ndarray,
    spacing_mm: tuple[float, float, float],
    new_spacing_mm: tuple[float, float, float],
) -> np.ndarray:
    """A mask likewise: voxels of which at least half lie inside, by linear interpolation."""
    return resampled(mask.astype(float), spacing_mm, new_spacing_mm, order=1) >= 0.5 - 1e-9
