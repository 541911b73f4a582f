"""What was drawn in the Slicer scene, segments or a markup, as voxels of an image."""

from __future__ import annotations

import numpy as np
import slicer

from PDFFMapperLib.images.shapes import masks_of_shapes
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.scene.markups import shapes_from_node
from PDFFMapperLib.scene.segments import masks_of_segments


def masks_of_node(node: slicer.vtkMRMLNode, grid: Volume) -> dict[str, np.ndarray]:
    """The voxels of each segment, or of a closed curve or an ROI box, by its name.

    Raises:
        ValueError: a box is inside out; see `segments.masks_of_segments`,
            `markups.shapes_from_node` and `shapes.masks_of_shapes`.
    """
    if node.IsA("vtkMRMLSegmentationNode"):
        return masks_of_segments(node, grid)
    if node.IsA("vtkMRMLMarkupsROINode") and node.GetInsideOut():
        raise ValueError(f"ROI box '{node.GetName()}' is inside out; a region is its inside.")
    return masks_of_shapes(shapes_from_node(node), grid)


def mask_of_node(node: slicer.vtkMRMLNode, grid: Volume) -> Volume:
    """All voxels of what was drawn, on an image's grid.

    Raises:
        ValueError: see `masks_of_node`.
    """
    inside = np.logical_or.reduce(list(masks_of_node(node, grid).values()))
    return grid.with_array(inside.astype(np.uint8), node.GetName())
