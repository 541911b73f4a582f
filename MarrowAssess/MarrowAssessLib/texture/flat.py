"""Whether voxels are so thick that texture is counted, and filters work, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NEARLY_CUBIC = 1.5  # longest over shortest voxel side


def flat(spacing_mm: Sequence[float]) -> bool:
    """Whether voxels are not nearly cubes."""
    return float(np.max(spacing_mm) / np.min(spacing_mm)) > NEARLY_CUBIC
