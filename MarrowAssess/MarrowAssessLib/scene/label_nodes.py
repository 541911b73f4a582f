"""Label maps of other tools in the scene: their values, and their labels on an image's grid."""

from __future__ import annotations

import numpy as np
import slicer
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.scene.lattice import (
    LABELMAP,
    image_matrix,
    same_lattice,
)
from PDFFMapperLib.scene.volumes import ijk_to_world, volume_from_node, world_matrix

from MarrowAssessLib.study.study import require_resampling


def segment_labels(node: slicer.vtkMRMLNode) -> set[int]:
    """The label values in a label map volume or of a segmentation's segments, without 0."""
    if node.IsA("vtkMRMLSegmentationNode"):
        segments = node.GetSegmentation()
        return {segments.GetSegment(one).GetLabelValue() for one in segments.GetSegmentIDs()}
    return {int(value) for value in np.unique(_label_volume(node).array)} - {0}


def labels_on_grid(
    node: slicer.vtkMRMLNode, volume_node: slicer.vtkMRMLVolumeNode, resample: bool = False
) -> tuple[np.ndarray, bool]:
    """The labels of a label map volume or segmentation as an array [k, j, i] on a volume's grid.

    Args:
        node: label map, or segmentation whose segments keep their label values.
        volume_node: whose grid is wanted.
        resample: whether labels on another grid are resampled (nearest neighbor).

    Returns:
        The labels, and whether they were resampled.

    Raises:
        ValueError: no voxels, values that are not whole, or another grid without `resample`.
    """
    grid = volume_from_node(volume_node)
    if node.IsA("vtkMRMLSegmentationNode"):
        return _segment_label_array(node, volume_node, resample)
    labels = _label_volume(node)
    if labels.same_grid(grid):
        return labels.array, False
    require_resampling(resample, f"Label map '{node.GetName()}'", volume_node.GetName())
    k, j, i = np.indices(grid.array.shape, sparse=True)
    to_labels = np.linalg.inv(labels.ijk_to_ras) @ grid.ijk_to_ras
    at = [
        np.rint(row[0] * i + row[1] * j + row[2] * k + row[3]).astype(int) for row in to_labels[:3]
    ]
    sizes = labels.array.shape[::-1]
    inside = np.logical_and.reduce([(0 <= a) & (a < n) for a, n in zip(at, sizes, strict=True)])
    i, j, k = (np.clip(a, 0, n - 1) for a, n in zip(at, sizes, strict=True))
    return np.where(inside, labels.array[k, j, i], 0), True


def _segment_label_array(
    node: slicer.vtkMRMLSegmentationNode, volume_node: slicer.vtkMRMLVolumeNode, resample: bool
) -> tuple[np.ndarray, bool]:
    labels = np.zeros(volume_node.GetImageData().GetDimensions()[::-1], np.int32)
    segments = node.GetSegmentation()
    world_to_ijk, to_world = np.linalg.inv(ijk_to_world(volume_node)), world_matrix(node)
    moved = False
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        image = segment.GetRepresentation(LABELMAP)
        same = image is not None and same_lattice(
            world_to_ijk @ to_world @ image_matrix(image),
            image.GetExtent(),
            volume_node.GetSpacing(),
        )
        if not same:
            require_resampling(resample, f"Segment '{segment.GetName()}'", volume_node.GetName())
            moved = True
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume_node)
        if mask is not None:
            labels[mask > 0] = segment.GetLabelValue()
    return labels, moved


def _label_volume(node: slicer.vtkMRMLVolumeNode) -> Volume:
    labels = volume_from_node(node)
    if not np.array_equal(labels.array, np.rint(labels.array)):
        raise ValueError(f"'{node.GetName()}' is no label map: its values are not whole numbers.")
    return labels.with_array(labels.array.astype(np.int32))
