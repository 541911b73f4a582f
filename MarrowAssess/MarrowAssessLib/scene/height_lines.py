"""The six points of each vertebral body's heights as three lines, colored by grade."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import slicer
from slicer.util import NodeModify
from vtkmodules.vtkCommonCore import vtkDoubleArray
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkFiltersCore import vtkAssignAttribute

from MarrowAssessLib.report.colors import GRADE_COLORS, NO_GRADE
from MarrowAssessLib.report.label_layout import Layout
from MarrowAssessLib.scene.overlay import line_mesh, own_node, show_beside_anatomy, style_legend
from MarrowAssessLib.scene.shown import HEIGHTS
from MarrowAssessLib.scene.visibility import show_height_legend

if TYPE_CHECKING:  # opening a panel waits for none of them
    from MarrowAssessLib.findings.result import Result

NAME, COLORS_NAME = "MarrowAssess heights", "MarrowAssess height grades"
ROLES = HEIGHTS, COLORS_NAME.replace(" ", ".")
GRADE = "Grade"
LINE_WIDTH = 4


def show_height_lines(
    segmentation: slicer.vtkMRMLSegmentationNode, results: Sequence[Result], layout: Layout
) -> None:
    """Draw the heights of every body that has them; what an earlier result showed is replaced.

    The lines join the six points that heights are measured between, so that a look tells whether
    they lie on the endplates. Without heights there is nothing, and nothing is added.
    """
    measured = [one.measurement for one in results]
    bodies = {one.site: one.lines_ras for one in measured if one.lines_ras is not None}
    grades = {one.site: int(one.value) for one in measured if one.quantity == "height_grade"}
    if not bodies and segmentation.GetNodeReference(ROLES[0]) is None:
        return
    with NodeModify(segmentation):  # views draw all anew at each change of each node
        node = own_node(segmentation, "vtkMRMLModelNode", NAME)
        colors = _colors(segmentation)
    with NodeModify(node):
        node.SetAndObservePolyData(_lines(bodies, grades))
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    with NodeModify(display):
        show_beside_anatomy(display, layout, segmentation.GetDisplayNode())
        display.SetLighting(False)
        display.SetLineWidth(LINE_WIDTH)
        display.SetVisibility2D(True)
        display.SetSliceDisplayModeToProjection()  # slices are thick: the middle is in none
        display.SetSliceIntersectionThickness(LINE_WIDTH)
        display.SetActiveScalar(GRADE, vtkAssignAttribute.CELL_DATA)
        display.SetScalarRangeFlag(display.UseManualScalarRange)
        display.SetScalarRange(0, len(GRADE_COLORS) - 1)
        display.SetAndObserveColorNodeID(colors.GetID())
        display.SetScalarVisibility(True)
        display.SetVisibility(True)
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(display)
    with NodeModify(legend):
        legend.SetTitleText("height")
        legend.SetUseColorNamesForLabels(True)
        legend.SetMaxNumberOfColors(len(GRADE_COLORS))
        legend.SetNumberOfLabels(len(GRADE_COLORS))
        legend.SetPosition(0.97, 0.03)  # that of z-scores is on the other side, labels are above
        legend.SetSize(0.12, 0.3)
        style_legend(legend, of_words=True)
        show_beside_anatomy(legend, layout, segmentation.GetDisplayNode())
    show_height_legend(segmentation, True)


def _lines(bodies: dict[str, np.ndarray], grades: dict[str, int]) -> vtkPolyData:
    values = vtkDoubleArray()
    values.SetName(GRADE)
    for site, lines in bodies.items():
        for _ in lines:
            values.InsertNextValue(grades.get(site, NO_GRADE))
    mesh = line_mesh(line for lines in bodies.values() for line in lines)
    mesh.GetCellData().AddArray(values)
    return mesh


def _colors(segmentation: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLColorTableNode:
    node = own_node(segmentation, "vtkMRMLColorTableNode", COLORS_NAME)
    if node.GetNumberOfColors() != len(GRADE_COLORS):  # views draw the legend at every color
        node.SetTypeToUser()
        node.SetAttribute("Category", "MarrowAssess")
        node.SetNumberOfColors(len(GRADE_COLORS))
        for grade, color in enumerate(GRADE_COLORS):
            name = "no grade" if grade == NO_GRADE else f"grade {grade}"
            node.SetColor(grade, name, *color)
    return node
