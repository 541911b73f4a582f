"""Images brought onto the grid of another."""

from __future__ import annotations

import numpy as np

from PDFFMapperLib.images.files import image_from_volume, volume_from_image
from PDFFMapperLib.images.volume import Volume


def resampled(volume: Volume, grid: Volume) -> Volume:
    """The volume, interpolated linearly on another grid; NaN outside its field of view."""
    moved = _moved(volume.with_array(volume.array.astype(np.float32)), grid, float("nan"))
    attributes = dict(volume.attributes)
    return Volume(moved, grid.ijk_to_ras.copy(), volume.name, attributes, slices=volume.slices)


def nearest(labels: Volume, grid: Volume) -> Volume:
    """A label map on another grid: each voxel has the nearest one's label, 0 outside the map."""
    moved = _moved(labels.with_array(np.rint(labels.array).astype(np.int32)), grid, None)
    return Volume(moved, grid.ijk_to_ras.copy(), labels.name, dict(labels.attributes))


def _moved(volume: Volume, grid: Volume, outside: float | None) -> np.ndarray:
    import SimpleITK as sitk

    target = image_from_volume(grid.with_array(np.zeros(grid.array.shape, np.uint8)))
    how = (sitk.sitkNearestNeighbor, 0) if outside is None else (sitk.sitkLinear, outside)
    moved = sitk.Resample(image_from_volume(volume), target, sitk.Transform(), *how)
    return volume_from_image(moved, volume.name).array
