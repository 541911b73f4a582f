"""Markups of the Slicer scene as shapes and regions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import slicer
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.scene.volumes import numpy_matrix

from MarrowAssessLib.sources.markups_file import named_shapes, rasterize_named
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.shapes import Shape, spheres

OWN_MARKUPS = "MarrowAssess"  # how the names of markups that show something of ours begin


def shapes_from_node(node: slicer.vtkMRMLMarkupsNode, point_radius_mm: float = 4.0) -> list[Shape]:
    """The points (as spheres), the box or the closed curve of a markups node, in the world.

    Unplaced points are left out.

    Raises:
        ValueError: another kind of markup, or nothing placed yet.
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


def regions_of_markup(
    node: slicer.vtkMRMLMarkupsNode, grid: Volume, point_radius_mm: float
) -> tuple[list[Region], list[str]]:
    """The regions of a markups node on a grid, each named by what it was called.

    Returns:
        The regions, and the shapes that were left out because their name tells no tissue.

    Raises:
        ValueError: another kind of markup, nothing placed, or outside the volume.
    """
    return rasterize_named(shapes_from_node(node, point_radius_mm), grid)


def region_markups(
    nodes: Iterable[slicer.vtkMRMLMarkupsNode],
) -> list[slicer.vtkMRMLMarkupsNode]:
    """Those markups that hold a region: a shape whose name tells a tissue."""
    return [node for node in nodes if _is_region(node)]


def _is_region(node: slicer.vtkMRMLMarkupsNode) -> bool:
    if node.GetName().startswith(OWN_MARKUPS):
        return False
    try:
        shapes = shapes_from_node(node)
    except ValueError:
        return False
    return bool(named_shapes(shapes)[0])
