"""How much water a body's slices are worth, from their CT numbers."""

from __future__ import annotations

import numpy as np

BODY_HU = -400.0  # above it lies body, lungs aside
MOST_CUT = 0.02  # of a slice's border that the body may touch


def water_equivalent_cm(image: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """Water-equivalent diameter of each slice (AAPM report 220): 2 sqrt(A (1 + mean HU/1000)/pi).

    Air around the body adds nothing; slices without a body have 0.

    Args:
        image: HU, indexed [k, j, i], slices along k.
        spacing_mm: along i, j, k.
    """
    pixel = spacing_mm[0] * spacing_mm[1] / 100
    water = np.empty(len(image))
    for k, one in enumerate(image):
        inside = one > BODY_HU - 500
        total = np.sum(one * inside, dtype=np.float64)
        water[k] = np.count_nonzero(inside) + total / 1000
    return 2 * np.sqrt(water * pixel / np.pi)


def cut_share(image: np.ndarray) -> float:
    """Share of the slices' borders where the image ends inside the body."""
    middle = image[len(image) // 2]
    border = np.concatenate([middle[0], middle[-1], middle[:, 0], middle[:, -1]])
    return float(np.mean(border > BODY_HU))
