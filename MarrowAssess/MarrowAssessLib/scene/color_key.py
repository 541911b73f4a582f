"""What the colors of regions without a z-score mean, as a second legend in the views."""

from __future__ import annotations

import slicer

from MarrowAssessLib.report.colors import NO_REFERENCE_COLOR, STATEMENT_COLORS, change_color

NAME, COLORS_NAME = "MarrowAssess color key", "MarrowAssess color key colors"
ROLES = tuple(name.replace(" ", ".") for name in (NAME, COLORS_NAME))
SCORED = "MarrowAssess.scored"  # attribute of a legend: whether any region has a z-score
NEEDED = "MarrowAssess.needed"  # attribute of the legend: whether any region has such a color
TITLE, TITLE_OF_CHANGE = "no z-score", "change"
MEANINGS = (  # from below
    ("no verdict", NO_REFERENCE_COLOR),
    ("as expected", STATEMENT_COLORS["expected"]),
    ("unusual", STATEMENT_COLORS["unusual"]),
)
# Of a single color Slicer's legends write "(none)" for its name.
OF_CHANGE = (("not comparable", NO_REFERENCE_COLOR), ("within error", change_color(0.0)))


def fill_color_key(
    node: slicer.vtkMRMLModelNode,
    colors: slicer.vtkMRMLColorTableNode,
    needed: bool,
    of_change: bool = False,
) -> slicer.vtkMRMLColorLegendDisplayNode:
    """Make the key and return its legend.

    Args:
        node: an empty model that carries it; a legend belongs to something that is displayed.
        colors: takes the colors and their names.
        needed: whether any region has such a color.
        of_change: whether the other colors are of changes, not of z-scores.
    """
    meanings = OF_CHANGE if of_change else MEANINGS
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if colors.GetNumberOfColors() != len(meanings):  # views draw the legend anew at every color
        colors.SetTypeToUser()
        colors.SetAttribute("Category", "MarrowAssess")
        colors.SetNumberOfColors(len(meanings))
        for n, (meaning, color) in enumerate(meanings):
            colors.SetColor(n, meaning, *color)
    display.SetVisibility2D(True)
    display.SetScalarRangeFlag(display.UseManualScalarRange)
    display.SetScalarRange(0, len(meanings) - 1)
    display.SetAndObserveColorNodeID(colors.GetID())
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(display)
    legend.SetTitleText(TITLE_OF_CHANGE if of_change else TITLE)
    legend.SetUseColorNamesForLabels(True)
    legend.SetMaxNumberOfColors(len(meanings))
    legend.SetNumberOfLabels(len(meanings))
    legend.SetOrientation(legend.Vertical)
    legend.SetPosition(0.03, 0.13)  # below that of z-scores, above the names of two images
    legend.SetSize(0.2, 0.17 if of_change else 0.24)  # the letters take the size that fits
    legend.SetAttribute(NEEDED, "yes" if needed else "no")
    legend.SetVisibility(needed)
    return legend


def show_color_key(segmentation: slicer.vtkMRMLSegmentationNode, visible: bool) -> None:
    """Show or hide the key, where it says anything."""
    node = segmentation.GetNodeReference(ROLES[0])
    if node is None:  # as in scenes of earlier versions
        return
    node.GetDisplayNode().SetVisibility(visible)
    if legend := slicer.modules.colors.logic().GetColorLegendDisplayNode(node.GetDisplayNode()):
        legend.SetVisibility(visible and legend.GetAttribute(NEEDED) == "yes")
