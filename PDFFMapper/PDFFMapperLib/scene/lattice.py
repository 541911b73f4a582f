"""Voxels of a segment of the Slicer scene on the grid of an image."""

from __future__ import annotations

import numpy as np
import slicer
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from PDFFMapperLib.scene.volumes import numpy_matrix

LABELMAP = "Binary labelmap"
GRID_TOLERANCE_MM = 0.01


def image_matrix(image: slicer.vtkOrientedImageData) -> np.ndarray:
    """From voxel indices of a segment's image to its RAS mm, 4x4."""
    matrix = vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return numpy_matrix(matrix)


def same_lattice(to_volume: np.ndarray, extent: tuple[int, ...], spacing: tuple) -> bool:
    """Whether segment voxels fall on volume voxels: whole steps along swapped or flipped axes."""
    whole = np.rint(to_volume)
    if not np.array_equal(np.abs(whole[:3, :3]).sum(axis=0), np.ones(3)):
        return False
    corners = np.array([[i, j, k, 1] for i in extent[:2] for j in extent[2:4] for k in extent[4:]])
    apart = (corners @ (to_volume - whole).T)[:, :3] * spacing
    return bool(np.abs(apart).max() <= GRID_TOLERANCE_MM)


def cropped_label(
    image: slicer.vtkOrientedImageData, label: int, boxes: dict[str, list]
) -> tuple[np.ndarray, np.ndarray]:
    """A label's cropped [k, j, i] mask and the (i, j, k) index of its first voxel."""
    scalars = image.GetPointData().GetScalars()
    extent = image.GetExtent()
    if scalars is None or min(image.GetDimensions()) < 1:
        return np.zeros((0, 0, 0), bool), np.zeros(3, int)
    array = vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1])
    key = image.GetAddressAsString("vtkObject")
    if key not in boxes:  # segments share layers: look for all labels of a layer at once
        from scipy.ndimage import find_objects  # a third of a panel's opening, which needs none

        boxes[key] = find_objects(array.astype(np.int32, copy=False))
    found = boxes[key][label - 1] if label <= len(boxes[key]) else None
    if found is None:
        return np.zeros((0, 0, 0), bool), np.zeros(3, int)
    first = np.array([found[2].start, found[1].start, found[0].start])
    return array[found] == label, first + [extent[0], extent[2], extent[4]]


def onto_grid(
    mask: np.ndarray, first_ijk: np.ndarray, to_volume: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, tuple[int, int, int], int]:
    """Mask and (k, j, i) offset on the volume's grid, and how many voxels fall outside it."""
    if not mask.size:
        return mask, (0, 0, 0), 0
    last_ijk = first_ijk + np.array(mask.shape[::-1]) - 1
    ends = np.stack([first_ijk, last_ijk]) @ to_volume[:3, :3].T + to_volume[:3, 3]
    turn = to_volume[:3, :3]
    source_axis = np.abs(turn).argmax(axis=1)  # for each volume axis i, j, k: the segment's axis
    order = [2 - source_axis[2 - axis] for axis in range(3)]  # the same for k, j, i indexing
    turned = mask.transpose(order)
    flips = [slice(None, None, int(turn[2 - axis].sum())) for axis in range(3)]
    turned = turned[tuple(flips)]
    start = ends.min(axis=0)[::-1]
    inside = tuple(
        slice(max(0, -s), max(0, min(n, size - s)))
        for s, n, size in zip(start, turned.shape, shape, strict=True)
    )
    kept = np.ascontiguousarray(turned[inside])
    offset = tuple(int(max(0, s)) for s in start)
    lost = int(np.count_nonzero(turned)) - int(np.count_nonzero(kept))
    return (kept, offset, lost) if kept.size else (np.zeros((0, 0, 0), bool), (0, 0, 0), lost)
