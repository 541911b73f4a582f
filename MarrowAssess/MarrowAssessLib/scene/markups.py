"""Markups of the Slicer scene as regions."""

from __future__ import annotations

from collections.abc import Iterable

import slicer
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.scene.markups import shapes_from_node

from MarrowAssessLib.sources.markups_file import named_shapes, rasterize_named
from MarrowAssessLib.study.regions import Region

OWN_MARKUPS = "MarrowAssess"  # how the names of markups that show something of ours begin


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
