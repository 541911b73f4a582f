"""Markups of the Slicer scene as shapes and voxels."""

from __future__ import annotations

import numpy as np
import slicer

from PDFFMapperLib.images.shapes import Shape, spheres
from PDFFMapperLib.scene.volumes import numpy_matrix


def shapes_from_node(node: slicer.vtkMRMLMarkupsNode, point_radius_mm: float = 4.0) -> list[Shape]:
    """The points (as spheres), the box or the closed curve of a markups node, in the world.

    Unplaced points are left out.

    Raises:
        ValueError: another kind of markup, nothing placed yet, or a curve of fewer than 3 points.
    """
    name = node.GetName()
    placed = [
        n
        for n in range(node.GetNumberOfControlPoints())
        if node.GetNthControlPointPositionStatus(n) == node.PositionDefined
    ]
    if not placed:
        raise ValueError(f"Markup '{name}' has no placed points yet.")
    if node.IsA("vtkMRMLMarkupsROINode"):
        matrix = numpy_matrix(node.GetObjectToWorldMatrix())
        scale = np.linalg.norm(matrix[:3, :3], axis=0)
        size = np.array(node.GetSize()) * scale
        axes = matrix[:3, :3] / scale
        return [Shape("box", name, matrix[None, :3, 3], size_mm=size, axes=axes)]
    if node.IsA("vtkMRMLMarkupsClosedCurveNode"):
        if len(placed) < 3:
            raise ValueError(f"Closed curve '{name}' has {len(placed)} points, needs 3.")
        points = slicer.util.arrayFromMarkupsCurvePoints(node, world=True)
        if len(points) > 1 and np.allclose(points[0], points[-1]):
            points = points[:-1]
        return [Shape("closed curve", name, np.array(points, float))]
    if node.IsA("vtkMRMLMarkupsFiducialNode"):
        world = slicer.util.arrayFromMarkupsControlPoints(node, world=True)
        labels = [node.GetNthControlPointLabel(n) for n in placed]
        return spheres(name, labels, world[placed], point_radius_mm)
    raise ValueError(
        f"Markup '{name}' is a {node.GetMarkupType()}; points, an ROI box or a closed curve are "
        "expected."
    )
