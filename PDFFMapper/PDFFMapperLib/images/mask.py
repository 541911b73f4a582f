"""Masks and label maps, told from images: volumes whose voxels above 0 are inside."""

from __future__ import annotations

import numpy as np

from PDFFMapperLib.images.volume import Volume

MOST_LABELS = 64  # an image of 8 bits has more gray levels
_LEAST_ALIKE = 0.25  # of neighbors inside; of one voxel in nine regions all are others


def refuse_image(labels: Volume) -> None:
    """Refuse an image in the place of a label map, which may hold whole numbers as well.

    Raises:
        ValueError: it has many values, and neighbors inside are seldom alike.
    """
    alike, pairs = zip(*(_alike_along(labels.array, axis) for axis in range(3)), strict=True)
    if max(alike) >= _LEAST_ALIKE or not any(pairs):
        return
    if (count := len(np.unique(labels.array[labels.array != 0]))) > MOST_LABELS:
        raise ValueError(
            f"{labels.name} holds {count} different values side by side, as an image does; a label "
            "map is expected, whose regions have a number each."
        )


def _alike_along(array: np.ndarray, axis: int) -> tuple[float, bool]:
    """Share of neighbors inside along an axis that are alike, and whether there are some."""
    along = np.moveaxis(array, axis, 0)
    pairs = (along[1:] != 0) & (along[:-1] != 0)
    count = np.count_nonzero(pairs)
    return np.count_nonzero(pairs & (along[1:] == along[:-1])) / max(count, 1), count > 0


def inside_of(mask: Volume, expected: str) -> np.ndarray:
    """Voxels above 0 of a mask or label map.

    Args:
        mask: whole numbers, 0 outside.
        expected: what it should hold, as people read it ("the bone").

    Raises:
        ValueError: it is an image: its values are no whole numbers, or too many for labels.
    """
    array = mask.array
    whole = array.dtype.kind in "bui" or bool(np.isfinite(array).all())
    if not whole or (array.dtype.kind == "f" and (array != np.rint(array)).any()):
        raise ValueError(
            f"{mask.name} holds values that are no whole numbers; a mask of {expected} is "
            "expected, with 0 outside."
        )
    inside = array > 0
    if (count := len(np.unique(array[inside]))) > MOST_LABELS:
        raise ValueError(
            f"{mask.name} holds {count} different values, as an image does; a mask of {expected} "
            "is expected, with 0 outside."
        )
    return inside
