"""How much water a body's slices are worth, from their CT numbers."""

from __future__ import annotations

import numpy as np

BODY_HU = -400  # above it lies body, lungs aside
_AIR_HU = -900  # below it nothing is counted: air around a body, and its noise
_ENOUGH = 256  # rows and columns are looked at, of larger slices every second or further one
MOST_CUT = 0.02  # of a slice's border that the body may touch


def water_equivalent_cm(image: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """Water-equivalent diameter of each slice (AAPM report 220): 2 sqrt(A (1 + mean HU/1000)/pi).

    Air around the body adds nothing; slices without a body have 0.

    Args:
        image: HU, indexed [k, j, i], slices along k.
        spacing_mm: along i, j, k.
    """
    steps = [max(1, n // _ENOUGH) for n in image.shape[1:]]
    seen = image[:, :: steps[0], :: steps[1]]
    pixel = spacing_mm[0] * spacing_mm[1] / 100 * np.prod(steps)
    water = np.empty(len(image))
    for k, one in enumerate(seen):
        held = one[one > _AIR_HU]
        water[k] = held.size + held.sum(dtype=np.float64) / 1000
    return 2 * np.sqrt(water * pixel / np.pi)


def cut_share(image: np.ndarray) -> float:
    """Share of the slices' borders where the image ends inside the body."""
    middle = image[len(image) // 2]
    border = np.concatenate([middle[0], middle[-1], middle[:, 0], middle[:, -1]])
    return float(np.mean(border > BODY_HU))
