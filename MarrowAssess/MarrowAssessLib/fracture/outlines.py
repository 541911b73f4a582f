"""Outlines of bodies that somebody drew or labeled."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.fracture.heights import unit_axes
from MarrowAssessLib.placement.vertebra import Surface, surface_of_mask


def surfaces_of_masks(grid: Volume, masks: Mapping[str, np.ndarray]) -> dict[str, Surface]:
    """Outlines of drawn or labeled bodies.

    Args:
        grid: an image on the masks' grid.
        masks: by level from head to foot; boolean [k, j, i], the whole body.

    Raises:
        ValueError: a mask is empty or lies on another grid.
    """
    centers = {}
    for level, mask in masks.items():
        if mask.shape != grid.array.shape:
            raise ValueError(
                f"The mask of {level} has {mask.shape} voxels, its image {grid.array.shape}; "
                "draw on the image's grid."
            )
        if not mask.any():
            raise ValueError(f"The mask of {level} is empty; draw the vertebral body.")
        centers[level] = grid.to_ras(np.argwhere(mask)[:, ::-1].mean(axis=0))
    found = {}
    for n, level in enumerate(masks):
        near = list(centers.values())[max(n - 1, 0) : n + 2]
        # The column's direction is the first guess; alone, a body gets the image's.
        head = near[0] - near[-1] if len(near) > 1 else np.array([0.0, 0.0, 1.0])
        axes = unit_axes(head, np.array([0.0, 1.0, 0.0]))
        where = np.argwhere(masks[level])
        low, high = where.min(axis=0), where.max(axis=0) + 1
        crop = masks[level][tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        found[level] = surface_of_mask(grid, crop, tuple(low.tolist()), axes)
    return found
