"""Segments of the Slicer scene as voxels of an image, and voxels as a segment."""

from __future__ import annotations

import numpy as np
import slicer
from vtkmodules.util.numpy_support import numpy_to_vtk

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.scene.lattice import (
    LABELMAP,
    cropped_label,
    image_matrix,
    onto_grid,
    same_lattice,
)
from PDFFMapperLib.scene.volumes import vtk_matrix, world_matrix


def masks_of_segments(node: slicer.vtkMRMLSegmentationNode, grid: Volume) -> dict[str, np.ndarray]:
    """The voxels of each segment on an image's grid, by the segment's name.

    Raises:
        ValueError: a segment has no voxels, some outside the image, or lies on another voxel grid;
            two have one name.
    """
    segments = node.GetSegmentation()
    world_to_ijk, to_world = np.linalg.inv(grid.ijk_to_ras), world_matrix(node)
    found: dict[str, np.ndarray] = {}
    boxes: dict[str, list] = {}
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        name, image = segment.GetName(), segment.GetRepresentation(LABELMAP)
        if name in found:
            raise ValueError(f"Two segments are called '{name}'; rename one.")
        if image is None:
            raise ValueError(f"Segment '{name}' has no voxels; create its binary labelmap first.")
        to_volume = world_to_ijk @ to_world @ image_matrix(image)
        if not same_lattice(to_volume, image.GetExtent(), grid.spacing):
            raise ValueError(
                f"Segment '{name}' lies on another voxel grid than '{grid.name}'; choose that "
                "image as its source geometry in Segment Editor (the cube beside the source "
                "volume)."
            )
        mask, first = cropped_label(image, segment.GetLabelValue(), boxes)
        kept, offset, lost = onto_grid(
            mask, first, np.rint(to_volume).astype(int), grid.array.shape
        )
        if not kept.any():
            raise ValueError(f"Segment '{name}' has no voxel inside '{grid.name}'; draw it there.")
        if lost:
            raise ValueError(
                f"{lost} voxels of segment '{name}' lie outside '{grid.name}'; erase them."
            )
        whole = np.zeros(grid.array.shape, bool)
        whole[tuple(slice(o, o + n) for o, n in zip(offset, kept.shape, strict=True))] = kept
        found[name] = whole
    if not found:
        raise ValueError(f"'{node.GetName()}' holds no segment; draw one in Segment Editor.")
    return found


def mask_to_node(mask: Volume, like: slicer.vtkMRMLVolumeNode) -> slicer.vtkMRMLSegmentationNode:
    """Add a segmentation of one segment, named as its mask and drawn on a volume node's grid."""
    name = mask.name
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(like)
    nk, nj, ni = mask.array.shape
    image = slicer.vtkOrientedImageData()
    image.SetExtent(0, ni - 1, 0, nj - 1, 0, nk - 1)
    image.SetImageToWorldMatrix(vtk_matrix(mask.ijk_to_ras))
    voxels = np.ascontiguousarray(mask.array > 0, dtype=np.uint8)
    image.GetPointData().SetScalars(numpy_to_vtk(voxels.ravel(), deep=True))
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.AddRepresentation(LABELMAP, image)
    segment.SetLabelValue(1)
    node.GetSegmentation().AddSegment(segment, name)
    return node
