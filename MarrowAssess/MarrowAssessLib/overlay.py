"""Results on the anatomy: segments colored by z-score, a legend, and a label per site.

The color scale is fixed, so that a color means the same in every patient, and diverging from blue
(below what is expected) over white to red (above); blue and red stay apart for every common kind of
color blindness. Gray is kept for "no reference".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

from MarrowAssessLib.scene import segment_points

Z_LIMIT = 3.0
NO_REFERENCE_COLOR = (0.5, 0.5, 0.5)
# ColorBrewer 2.0 "RdBu" without its two darkest colors (Brewer, colorbrewer2.org), from -3 to +3.
Z_COLORS = (
    np.array(
        [
            [33, 102, 172],
            [67, 147, 195],
            [146, 197, 222],
            [209, 229, 240],
            [247, 247, 247],
            [253, 219, 199],
            [244, 165, 130],
            [214, 96, 77],
            [178, 24, 43],
        ]
    )
    / 255
)
Z_STOPS = np.linspace(-Z_LIMIT, Z_LIMIT, len(Z_COLORS))

LEGEND_TITLE = "z-score"
BESIDE_OPACITY = 0.15  # of segments without a result, such as muscle, in 3D
LABEL_GAP_MM = 15.0
LABEL_SEPARATION = 0.055  # least distance of two labels, as a share of the labels' height


@dataclass(frozen=True)
class SiteResult:
    """What to show on one region.

    Attributes:
        region_name: the region's, and so the segment's, name.
        z: z-score against the reference, None (or NaN) where there is no reference.
        label: text beside the region, such as "L3  2.71\nexpected 1.9-2.8: within"; "" for none.
    """

    region_name: str
    z: float | None
    label: str


@dataclass
class Overlay:
    """The nodes that show the results."""

    segmentation: slicer.vtkMRMLSegmentationNode
    colors: slicer.vtkMRMLProceduralColorNode
    legend: slicer.vtkMRMLColorLegendDisplayNode
    labels: slicer.vtkMRMLMarkupsFiducialNode
    leaders: slicer.vtkMRMLModelNode


def z_color(z: float | None) -> tuple[float, float, float]:
    """Color (0-1) of a z-score; beyond +-3 the ends of the scale, gray without one."""
    if z is None or math.isnan(z):
        return NO_REFERENCE_COLOR
    return tuple(float(np.interp(z, Z_STOPS, channel)) for channel in Z_COLORS.T)


def show_results(
    segmentation: slicer.vtkMRMLSegmentationNode, results: Sequence[SiteResult]
) -> Overlay:
    """Color the segments and add legend and labels; showing again replaces what was shown.

    Segments without a result keep their color and turn translucent in 3D.

    Raises:
        ValueError: a result names no segment of the segmentation.
    """
    segments = segmentation.GetSegmentation()
    ids = {segments.GetSegment(one).GetName(): one for one in segments.GetSegmentIDs()}
    if missing := [r.region_name for r in results if r.region_name not in ids]:
        raise ValueError(
            f"No segment of '{segmentation.GetName()}' is named {', '.join(missing)}; it has: "
            f"{', '.join(ids)}."
        )
    _color_segments(segmentation, {ids[r.region_name]: r.z for r in results})
    colors = _color_node(segmentation)
    legend = _legend(segmentation, colors)
    labelled = [r for r in results if r.label]
    centers, posterior = _places(segmentation, [ids[r.region_name] for r in labelled])
    anchors = label_anchors(centers, posterior)
    labels = _labels(segmentation, [r.label for r in labelled], anchors)
    leaders = _leaders(segmentation, centers, anchors)
    return Overlay(segmentation, colors, legend, labels, leaders)


def label_anchors(centers: np.ndarray, posterior_mm: float) -> np.ndarray:
    """Where labels go: one column behind the anatomy, at the regions' heights where these allow.

    Args:
        centers: (n, 3) centers of the regions in RAS mm.
        posterior_mm: the most posterior A coordinate that the regions reach.

    Returns:
        (n, 3) RAS positions, moved up or down as little as keeps labels apart.
    """
    if not len(centers):
        return np.zeros((0, 3))
    heights = centers[:, 2]
    separation = LABEL_SEPARATION * max(np.ptp(heights), 150.0)
    anchors = np.empty_like(centers)
    anchors[:, 0] = np.median(centers[:, 0])  # one sagittal slice holds all labels
    anchors[:, 1] = posterior_mm - LABEL_GAP_MM
    anchors[:, 2] = _spread(heights, separation)
    return anchors


def _spread(values: np.ndarray, separation: float) -> np.ndarray:
    """The values least moved (in squares) so that no two are closer than the separation."""
    order = np.argsort(values, kind="stable")
    steps = separation * np.arange(len(values))
    blocks: list[list[float]] = []  # pooled neighbors: [mean, count]
    for value in values[order] - steps:
        blocks.append([value, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (low, n), (high, m) = blocks[-2:]
            blocks[-2:] = [[(low * n + high * m) / (n + m), n + m]]
    spread = np.empty(len(values))
    spread[order] = np.repeat([b[0] for b in blocks], [b[1] for b in blocks]) + steps
    return spread


def _color_segments(
    segmentation: slicer.vtkMRMLSegmentationNode, z_by_id: dict[str, float | None]
) -> None:
    segments = segmentation.GetSegmentation()
    segmentation.CreateDefaultDisplayNodes()
    display = segmentation.GetDisplayNode()
    modified = display.StartModify()
    for segment_id in segments.GetSegmentIDs():
        scored = segment_id in z_by_id
        if scored:
            segments.GetSegment(segment_id).SetColor(*z_color(z_by_id[segment_id]))
        display.SetSegmentOpacity3D(segment_id, 1.0 if scored else BESIDE_OPACITY)
        display.SetSegmentOpacity2DFill(segment_id, 1.0 if scored else 0.3)
    display.SetVisibility2DFill(True)
    display.SetVisibility2DOutline(True)
    display.SetOpacity2DFill(0.45)
    display.SetOpacity2DOutline(1.0)
    display.SetSliceIntersectionThickness(2)
    display.EndModify(modified)


def _color_node(segmentation: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLProceduralColorNode:
    node = _own(segmentation, "vtkMRMLProceduralColorNode", "MarrowAssess z-score colors")
    function = node.GetColorTransferFunction()
    function.RemoveAllPoints()
    for z, color in zip(Z_STOPS, Z_COLORS, strict=True):
        function.AddRGBPoint(z, *color)
    node.SetTypeToUser()
    node.SetAttribute("Category", "MarrowAssess")
    return node


def _legend(
    segmentation: slicer.vtkMRMLSegmentationNode, colors: slicer.vtkMRMLProceduralColorNode
) -> slicer.vtkMRMLColorLegendDisplayNode:
    display = segmentation.GetDisplayNode()
    display.SetAndObserveColorNodeID(colors.GetID())
    display.SetScalarRangeFlag(display.UseManualScalarRange)
    display.SetScalarRange(-Z_LIMIT, Z_LIMIT)
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(display)
    legend.SetTitleText(LEGEND_TITLE)
    legend.SetLabelFormat("%+.0f")
    legend.SetNumberOfLabels(7)
    legend.SetMaxNumberOfColors(256)
    legend.SetOrientation(legend.Vertical)
    legend.SetPosition(0.04, 0.5)
    legend.SetSize(0.09, 0.5)
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        text.SetColor(1, 1, 1)
        text.SetItalic(False)
        text.SetShadow(False)
        text.SetBold(False)
    legend.GetTitleTextProperty().SetFontSize(11)
    legend.GetLabelTextProperty().SetFontSize(9)
    legend.SetVisibility(True)
    return legend


def _places(
    segmentation: slicer.vtkMRMLSegmentationNode, segment_ids: Sequence[str]
) -> tuple[np.ndarray, float]:
    """Centers of segments in RAS mm of the segmentation node, and how far back they reach."""
    centers, posterior = [], math.inf
    for segment_id in segment_ids:
        segment = segmentation.GetSegmentation().GetSegment(segment_id)
        points = segment_points(segment)
        if not len(points):
            raise ValueError(f"Segment '{segment.GetName()}' is empty; it cannot be labelled.")
        centers.append(points.mean(axis=0))
        posterior = min(posterior, float(points[:, 1].min()))
    return np.array(centers).reshape(-1, 3), posterior


def _labels(
    segmentation: slicer.vtkMRMLSegmentationNode, texts: Sequence[str], anchors: np.ndarray
) -> slicer.vtkMRMLMarkupsFiducialNode:
    node = _own(segmentation, "vtkMRMLMarkupsFiducialNode", "MarrowAssess labels")
    node.CreateDefaultDisplayNodes()
    node.RemoveAllControlPoints()
    for text, anchor in zip(texts, anchors, strict=True):
        node.AddControlPoint(*anchor, text)
    node.SetLocked(True)
    node.SetAndObserveTransformNodeID(segmentation.GetTransformNodeID())
    display = node.GetDisplayNode()
    display.SetGlyphTypeFromString("Sphere3D")
    display.SetUseGlyphScale(False)
    display.SetGlyphSize(1.0)
    display.SetTextScale(3.0)
    display.SetSelectedColor(1, 1, 1)
    display.SetColor(1, 1, 1)
    display.SetOccludedVisibility(True)
    display.SetOccludedOpacity(1.0)
    text = display.GetTextProperty()
    text.SetBackgroundColor(0.08, 0.09, 0.11)
    text.SetBackgroundOpacity(0.7)
    text.SetFontFamilyToArial()
    text.SetShadow(False)
    text.SetBold(False)
    return node


def _leaders(
    segmentation: slicer.vtkMRMLSegmentationNode, centers: np.ndarray, anchors: np.ndarray
) -> slicer.vtkMRMLModelNode:
    points, lines = vtkPoints(), vtkCellArray()
    for center, anchor in zip(centers, anchors, strict=True):
        lines.InsertNextCell(2)
        lines.InsertCellPoint(points.InsertNextPoint(center))
        lines.InsertCellPoint(points.InsertNextPoint(anchor))
    mesh = vtkPolyData()
    mesh.SetPoints(points)
    mesh.SetLines(lines)
    node = _own(segmentation, "vtkMRMLModelNode", "MarrowAssess label lines")
    node.SetAndObservePolyData(mesh)
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(segmentation.GetTransformNodeID())
    display = node.GetDisplayNode()
    display.SetColor(0.75, 0.78, 0.82)
    display.SetLineWidth(1.5)
    display.SetLighting(False)
    display.SetVisibility2D(False)
    return node


def _own(segmentation: slicer.vtkMRMLSegmentationNode, kind: str, name: str) -> slicer.vtkMRMLNode:
    """The node that the segmentation refers to under this name, made when it is not there yet."""
    role = name.replace(" ", ".")
    node = segmentation.GetNodeReference(role)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
        segmentation.SetNodeReferenceID(role, node.GetID())
    return node
