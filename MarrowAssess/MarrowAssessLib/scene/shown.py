"""What is shown of a segmentation: the nodes that it refers to, also in a scene that was saved."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

# How a segmentation refers to what shows its results.
TABLE, CHART = "MarrowAssess.table", "MarrowAssess.chart"
BOX = "MarrowAssess.spectrum.box"  # of its voxel
HEIGHTS = "MarrowAssess.heights"  # lines of the bodies' heights
OVERLAY = ("MarrowAssess.labels", "MarrowAssess.label.lines", HEIGHTS)
# Attributes of a chart: SharedReference.key, or the site of a spectrum (of its box as well).
CURVE_ATTRIBUTE, SPECTRUM_ATTRIBUTE = "MarrowAssess.curve", "MarrowAssess.spectrum"
PERSON = "MarrowAssess.patient"  # a chart's reference to the table of the patient's points
SURFACE = "Closed surface"


@dataclass
class LiveResults:
    """The nodes that show the last assessment of a segmentation."""

    table: slicer.vtkMRMLTableNode
    charts: list[slicer.vtkMRMLPlotChartNode]


def live_results(segmentation: slicer.vtkMRMLSegmentationNode) -> LiveResults | None:
    """What is shown of a segmentation, as in a scene that was saved; None if nothing is."""
    table = segmentation.GetNodeReference(TABLE)
    return LiveResults(table, referred(segmentation, CHART)) if table else None


def referred(segmentation: slicer.vtkMRMLSegmentationNode, role: str) -> list[slicer.vtkMRMLNode]:
    """The nodes that a segmentation refers to in a role, such as CHART or BOX."""
    count = segmentation.GetNumberOfNodeReferences(role)
    nodes = [segmentation.GetNthNodeReference(role, n) for n in range(count)]
    return [node for node in nodes if node is not None]


def shows_3d(segmentation: slicer.vtkMRMLSegmentationNode | None) -> bool:
    """Whether 3D views show a segmentation's surfaces."""
    if segmentation is None or segmentation.GetDisplayNode() is None:
        return False
    surfaces = segmentation.GetSegmentation().ContainsRepresentation(SURFACE)
    return bool(surfaces and segmentation.GetDisplayNode().GetVisibility3D())


def point_labels(chart: slicer.vtkMRMLPlotChartNode) -> list[str]:
    """Where the values that a chart shows were measured."""
    table = chart.GetNodeReference(PERSON)
    if table is None:
        return []
    columns = range(1, table.GetNumberOfColumns())
    return [table.GetColumnDescription(table.GetColumnName(n)) for n in columns]
