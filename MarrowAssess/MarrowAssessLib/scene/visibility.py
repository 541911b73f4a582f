"""Showing and hiding a segmentation's colors, labels and legends."""

from __future__ import annotations

import numpy as np
import slicer

from MarrowAssessLib.catalogue.terminology import tissues
from MarrowAssessLib.scene.color_key import ROLES as KEY_ROLES
from MarrowAssessLib.scene.color_key import SCORED, show_color_key
from MarrowAssessLib.scene.segments import known_segments
from MarrowAssessLib.scene.shown import HEIGHTS, OVERLAY, TABLE


def show_segmentation(segmentation: slicer.vtkMRMLSegmentationNode | None, visible: bool) -> None:
    """Show or hide a segmentation that has results, with its labels and legend."""
    if segmentation is None or segmentation.GetScene() is None:  # none, or it is gone
        return
    if segmentation.GetNodeReference(TABLE) and (display := segmentation.GetDisplayNode()):
        display.SetVisibility(visible)
        show_labels(segmentation, visible)


def show_in_3d(segmentation: slicer.vtkMRMLSegmentationNode, visible: bool) -> None:
    """Show or hide labels of regions and what their colors mean in 3D views, as the regions."""
    for display in overlay_displays(segmentation):
        if display is not segmentation.GetDisplayNode():
            display.SetVisibility3D(visible)


def show_overlay(segmentation: slicer.vtkMRMLSegmentationNode, visible: bool) -> None:
    """Show or hide labels and legend; hidden, the segments have their tissue's color again."""
    show_labels(segmentation, visible)
    if visible:
        return
    display = segmentation.GetDisplayNode()
    if display is None:
        return
    modified = display.StartModify()
    for known in known_segments(segmentation):  # one of unknown tissue keeps its color
        display.UnsetSegmentOverrideColor(known.id)
        display.SetSegmentOpacity3D(known.id, 1.0)
        display.SetSegmentVisibility2DFill(known.id, True)
        if not np.allclose(known.segment.GetColor(), tissues()[known.role].color, atol=0.01):
            known.segment.SetColor(*tissues()[known.role].color)  # scenes of version 0.1
    display.EndModify(modified)


def show_labels(segmentation: slicer.vtkMRMLSegmentationNode | None, visible: bool) -> None:
    """Show or hide labels and legend, where there are any."""
    if segmentation is None:
        return
    for role in OVERLAY:
        node = segmentation.GetNodeReference(role)
        if node is not None:
            node.SetDisplayVisibility(visible)
    show_height_legend(segmentation, visible)
    show_color_key(segmentation, visible)
    if legend := legend_of(segmentation):
        legend.SetVisibility(visible and legend.GetAttribute(SCORED) == "yes")


def legend_of(
    segmentation: slicer.vtkMRMLSegmentationNode,
) -> slicer.vtkMRMLColorLegendDisplayNode | None:
    """What tells the meaning of a segmentation's colors, None without."""
    display = segmentation.GetDisplayNode()
    return slicer.modules.colors.logic().GetColorLegendDisplayNode(display) if display else None


def overlay_displays(
    segmentation: slicer.vtkMRMLSegmentationNode,
) -> list[slicer.vtkMRMLDisplayNode]:
    """What shows a segmentation's regions, labels and legends."""
    nodes = [segmentation, *map(segmentation.GetNodeReference, (*OVERLAY, *KEY_ROLES))]
    shown = [d for n in nodes if n and (d := getattr(n, "GetDisplayNode", lambda: None)())]
    found = slicer.modules.colors.logic().GetColorLegendDisplayNode
    return shown + [legend for one in shown if (legend := found(one))]


def show_height_legend(segmentation: slicer.vtkMRMLSegmentationNode, visible: bool) -> None:
    """Show or hide what the lines' colors mean, where there are lines."""
    node = segmentation.GetNodeReference(HEIGHTS)
    if node is None:
        return
    logic = slicer.modules.colors.logic()
    if legend := logic.GetColorLegendDisplayNode(node.GetDisplayNode()):
        legend.SetVisibility(visible and node.GetPolyData().GetNumberOfLines() > 0)
