"""A map of B1+, the true over the nominal field of the pulses."""

from __future__ import annotations

import numpy as np

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.recipe import check_one_grid

B1_RANGE = 0.3, 2.0


def b1_of(volume: Volume, grid: Volume) -> np.ndarray:
    """B1+ of voxels, NaN where the map has no value.

    Raises:
        ValueError: it is on another grid, or about something else than 1.
    """
    check_one_grid(volume, grid)
    b1 = np.asarray(volume.array, float)
    known = np.isfinite(b1) & (b1 > 0)
    median = float(np.median(b1[known])) if known.any() else 0.0
    low, high = B1_RANGE
    if not low <= median <= high:
        raise ValueError(
            "A B1+ map is expected as true over nominal field, about 1; its median is "
            f"{median:.3g}. Divide a map in percent by 100."
        )
    return np.where(known, b1, np.nan)
