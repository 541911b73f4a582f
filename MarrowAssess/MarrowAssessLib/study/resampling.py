"""Images brought onto the grid of another."""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.files import image_from_volume, volume_from_image
from PDFFMapperLib.images.volume import Volume


def resampled(volume: Volume, grid: Volume) -> Volume:
    """The volume, interpolated linearly on another grid; NaN outside its field of view."""
    import SimpleITK as sitk

    target = image_from_volume(grid.with_array(np.zeros(grid.array.shape, np.uint8)))
    source = image_from_volume(volume.with_array(volume.array.astype(np.float32)))
    moved = sitk.Resample(source, target, sitk.Transform(), sitk.sitkLinear, float("nan"))
    result = volume_from_image(moved, volume.name)
    return Volume(result.array, grid.ijk_to_ras.copy(), volume.name, dict(volume.attributes))
