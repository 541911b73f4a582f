"""Which markups of the Slicer scene are regions."""

from __future__ import annotations

from collections.abc import Iterable

import slicer
from PDFFMapperLib.scene.markups import shapes_from_node

from MarrowAssessLib.sources.markups_file import named_shapes

OWN_MARKUPS = "MarrowAssess"  # how the names of markups that show something of ours begin


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
