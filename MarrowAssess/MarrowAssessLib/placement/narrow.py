"""Images of one or two sagittal slices: bodies go on beyond their sides, which are no borders."""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.volume import Volume

# Two thick slices: well within the narrowest usual body. They doubt the levels: of 37 of 4 mm that
# lay 6 or 9 mm beside the middle of 18 real images, L4 was taken for S1 in three and L5 in one
# without any other doubt (of 13 in the middle in none).
NARROW_MM = 10.0
MEASURED_SO = (
    "The image is {width:.0f} mm wide, so bodies are measured in its slices alone; whether these "
    "lie in their middle is not seen, and beside it VBQ may be a quarter off."
)


def left_to_right(volume: Volume) -> int:
    """The axis (i, j, k: 0, 1, 2) that runs from side to side the most."""
    return int(np.argmax(np.abs(volume.ijk_to_ras[0, :3]) / volume.spacing))


def width_mm(volume: Volume) -> float:
    """Of an image, from left to right."""
    axis = left_to_right(volume)
    return float(volume.array.shape[2 - axis] * volume.spacing[axis])


def is_narrow(volume: Volume) -> bool:
    """Whether an image lies within the width of a body."""
    return width_mm(volume) <= NARROW_MM


def beyond_sides(volume: Volume, points_ras: np.ndarray) -> np.ndarray:
    """Which points (n, 3) lie beyond the left or right side of a narrow image; else none."""
    if not is_narrow(volume):
        return np.zeros(len(points_ras), bool)
    axis = left_to_right(volume)
    at = volume.ras_to_ijk(points_ras)[:, axis]
    return (at < -0.5) | (at > volume.array.shape[2 - axis] - 0.5)


def continued(mask: np.ndarray, volume: Volume, mm: float) -> tuple[np.ndarray, tuple[slice, ...]]:
    """A mask [k, j, i] that goes on so far beyond its outermost slices, and where it lies in it."""
    axis = 2 - left_to_right(volume)
    more = int(np.ceil(mm / volume.spacing[2 - axis])) + 1
    pads = [(more, more) if n == axis else (0, 0) for n in range(3)]
    own = tuple(slice(a, a + n) for (a, _), n in zip(pads, mask.shape, strict=True))
    return np.pad(mask, pads, mode="edge"), own
