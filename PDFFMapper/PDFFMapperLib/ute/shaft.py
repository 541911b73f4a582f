"""How the shaft of a long bone lies in images, and what of its cortex lies beside the marrow."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from PDFFMapperLib.images.volume import Volume

LEAST_CAVITY = 20  # voxels a slice; what is smaller is a pore, or noise
BESIDE_VOXELS = 2  # from the cavity, where the blur of a radial readout leaves marrow
_SQUARE = np.ones((3, 3), bool)


def axis_along(grid: Volume) -> int:
    """The axis of its array that runs along the bone: nearest to the patient's long axis."""
    axes = grid.ijk_to_ras[:3, :3]
    return 2 - int(np.argmax(np.abs(axes[2]) / np.linalg.norm(axes, axis=0)))


def beside_cavity(inside: np.ndarray, grid: Volume) -> np.ndarray:
    """Voxels of a bone within two of a cavity that it encloses in a slice across the shaft."""
    axis = axis_along(grid)
    slices = np.moveaxis(inside, axis, 0)
    beside = np.zeros_like(slices)
    for bone, found in zip(slices, beside, strict=True):
        holes, _ = ndimage.label(ndimage.binary_fill_holes(bone) & ~bone)
        cavity = (holes > 0) & (np.bincount(holes.ravel())[holes] >= LEAST_CAVITY)
        if cavity.any():
            found[...] = bone & ndimage.binary_dilation(cavity, _SQUARE, BESIDE_VOXELS)
    return np.moveaxis(beside, 0, axis)
