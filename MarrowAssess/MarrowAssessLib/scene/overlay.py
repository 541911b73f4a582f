"""Results on the anatomy: segments colored by z-score, a legend, and a label per site.

The color scale is fixed, so that a color means the same in every patient, and diverging from blue
(below what is expected) over white to red (above); blue and red stay apart for every common kind of
color blindness. Gray is kept for "no reference".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import slicer
from PDFFMapperLib.scene.volumes import world_matrix
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.report.colors import (
    CHANGE_SCALE,
    Z_SCALE,
    ColorScale,
    change_color,
    result_color,
)
from MarrowAssessLib.report.label_layout import (
    Layout,
    Place,
    choose_layout,
    label_anchors,
    label_lines,
)
from MarrowAssessLib.scene import color_key
from MarrowAssessLib.scene.click_mode import clicks_stay
from MarrowAssessLib.scene.color_key import fill_color_key
from MarrowAssessLib.scene.segments import known_segments, segment_points

SCALE = "MarrowAssess.scale"  # attribute of the colors: which scale they are of
# Segments without a result, such as muscle and CSF: no color of the scale, translucent in 3D.
BESIDE_COLOR = (0.66, 0.70, 0.36)
BESIDE_OPACITY = 0.2
SURFACE_SMOOTHING = 0.8  # 0-1: hides the steps of thick slices
CAMERA_MARGIN = 1.15
LABEL_SEPARATION_MM = 14.0  # until a picture, whose scale is known, sets its own


@dataclass(frozen=True)
class SiteResult:
    """What to show on one region.

    Attributes:
        region_name: the region's, and so the segment's, name.
        z: z-score against the reference, or change in repeatability coefficients; None (or NaN)
            where there is no reference or nothing to compare.
        label: text beside the region, such as "L3  2.71\nexpected 1.9-2.8: within"; "" for none.
        tone: "expected" or "unusual" where a statement says so without a z-score; else "".
        scale: that `z` is on, the same for all that are shown.
    """

    region_name: str
    z: float | None
    label: str
    tone: str = ""
    scale: ColorScale = Z_SCALE

    @property
    def color(self) -> tuple[float, float, float]:
        """Of the z-score or the change, else of what is said, else gray."""
        if self.scale is CHANGE_SCALE:
            return change_color(self.z)
        return result_color(self.z, self.tone)


@dataclass
class Overlay:
    """The nodes that show the results."""

    segmentation: slicer.vtkMRMLSegmentationNode
    colors: slicer.vtkMRMLProceduralColorNode
    legend: slicer.vtkMRMLColorLegendDisplayNode
    key: slicer.vtkMRMLColorLegendDisplayNode
    labels: slicer.vtkMRMLMarkupsFiducialNode
    lines: slicer.vtkMRMLModelNode
    places: list[Place]
    layout: Layout


def show_results(
    segmentation: slicer.vtkMRMLSegmentationNode, results: Sequence[SiteResult]
) -> Overlay:
    """Color the segments and add legend and labels; showing again replaces what was shown.

    Segments without a result turn olive: translucent in 3D, outlines on the slices. A lesion in a
    colored body is an outline alone, as its surface would veil the color.

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
    _color_segments(segmentation, {ids[r.region_name]: r.color for r in results})
    _smooth_surfaces(segmentation)
    scale = results[0].scale if results else Z_SCALE
    colors = _color_node(segmentation, scale)
    legend = _legend(segmentation, colors, scale)
    scored = any(r.z is not None and not np.isnan(r.z) for r in results)
    legend.SetAttribute(color_key.SCORED, "yes" if scored else "no")
    legend.SetVisibility(scored)
    labelled = [r for r in results if r.label]
    places = _places(segmentation, [ids[r.region_name] for r in labelled])
    labels = _labels(segmentation, [r.label for r in labelled])
    lines = _lines(segmentation)
    key = fill_color_key(
        own_node(segmentation, "vtkMRMLModelNode", color_key.NAME),
        own_node(segmentation, "vtkMRMLColorTableNode", color_key.COLORS_NAME),
        any(r.z is None or np.isnan(r.z) for r in results),
        scale is CHANGE_SCALE,
    )
    layout = choose_layout(places)
    style_legend(legend)
    style_legend(key, of_words=True)
    for one in (legend, key, labels.GetDisplayNode()):
        show_beside_anatomy(one, layout, segmentation.GetDisplayNode())
    labels.GetDisplayNode().SetSliceProjection(True)
    labels.GetDisplayNode().SetSliceProjectionOpacity(1.0)
    overlay = Overlay(segmentation, colors, legend, key, labels, lines, places, layout)
    place_labels(overlay, LABEL_SEPARATION_MM)
    return overlay


def look_at_results(
    segmentation: slicer.vtkMRMLSegmentationNode, camera: slicer.vtkMRMLCameraNode
) -> None:
    """Turn the camera of a 3D view so that regions and labels stand side by side and fill it."""
    display, segments = segmentation.GetDisplayNode(), segmentation.GetSegmentation()
    scored = [one for one in segments.GetSegmentIDs() if display.GetSegmentVisibility2DFill(one)]
    filled = [
        one
        for one in scored or segments.GetSegmentIDs()
        if len(segment_points(segments.GetSegment(one)))
    ]
    if not filled:  # segments that nothing was drawn into yet
        return
    places = _places(segmentation, filled)
    direction = np.asarray(choose_layout(places).camera, float)
    low = np.min([place.low for place in places], axis=0)
    high = np.max([place.high for place in places], axis=0)
    center, half = (low + high) / 2, np.max(high - low) / 2
    away = CAMERA_MARGIN * half / np.tan(np.radians(camera.GetViewAngle() / 2))
    center = (world_matrix(segmentation) @ [*center, 1.0])[:3]
    camera.SetFocalPoint(*center)
    camera.SetPosition(*(center + away * direction / np.linalg.norm(direction)))
    camera.SetViewUp(0.0, 0.0, 1.0)
    camera.ResetClippingRange()


def place_labels(overlay: Overlay, separation_mm: float) -> None:
    """Put the labels beside the anatomy, no two closer than that, with lines to their regions."""
    labels = overlay.labels
    texts = [labels.GetNthControlPointLabel(n) for n in range(len(overlay.places))]
    lines = [text.count("\n") + 1 for text in texts]
    heights = [separation_mm * one / max(lines) for one in lines]
    anchors = label_anchors(overlay.places, overlay.layout, separation_mm, heights)
    for n, anchor in enumerate(anchors):
        if not np.allclose(overlay.labels.GetNthControlPointPosition(n), anchor, atol=1e-3):
            overlay.labels.SetNthControlPointPosition(n, *anchor)
    ends = label_lines(overlay.places, anchors, overlay.layout)
    overlay.lines.SetAndObservePolyData(line_mesh(ends))


def line_mesh(lines: Iterable[np.ndarray]) -> vtkPolyData:
    """Lines, each of two points (RAS mm), as a mesh."""
    points, cells = vtkPoints(), vtkCellArray()
    for line in lines:
        cells.InsertNextCell(2)
        for point in line:
            cells.InsertCellPoint(points.InsertNextPoint(point))
    mesh = vtkPolyData()
    mesh.SetPoints(points)
    mesh.SetLines(cells)
    return mesh


def _color_segments(
    segmentation: slicer.vtkMRMLSegmentationNode, colors: dict[str, tuple[float, float, float]]
) -> None:
    segments = segmentation.GetSegmentation()
    segmentation.CreateDefaultDisplayNodes()
    display = segmentation.GetDisplayNode()
    veiling = _lesions_in(segmentation, colors)
    modified = display.StartModify()
    for segment_id in segments.GetSegmentIDs():
        scored = segment_id in colors
        color = colors.get(segment_id, BESIDE_COLOR)
        display.SetSegmentOverrideColor(segment_id, *color)
        opacity = 1.0 if scored else 0.0 if segment_id in veiling else BESIDE_OPACITY
        display.SetSegmentOpacity3D(segment_id, opacity)
        display.SetSegmentVisibility2DFill(segment_id, scored)
    display.SetVisibility2DFill(True)
    display.SetVisibility2DOutline(True)
    display.SetOpacity2DFill(0.45)
    display.SetOpacity2DOutline(1.0)
    display.SetSliceIntersectionThickness(2)
    display.EndModify(modified)


def _lesions_in(
    segmentation: slicer.vtkMRMLSegmentationNode, segment_ids: Iterable[str]
) -> list[str]:
    """Further segments that are lesions and have a voxel within the box of one of these."""
    ids = [
        one.id
        for one in known_segments(segmentation)
        if one.role is Role.LESION and one.id not in segment_ids
    ]
    if not ids:
        return []
    boxes = [
        (points.min(axis=0), points.max(axis=0))
        for one in segment_ids
        if len(points := segment_points(segmentation.GetSegmentation().GetSegment(one)))
    ]
    lesions = {one: segment_points(segmentation.GetSegmentation().GetSegment(one)) for one in ids}
    return [
        one
        for one, points in lesions.items()
        if any(((points >= low) & (points <= high)).all(axis=1).any() for low, high in boxes)
    ]


def _smooth_surfaces(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    name = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule.GetSmoothingFactorParameterName()
    segments = segmentation.GetSegmentation()
    if segments.GetConversionParameter(name) != str(SURFACE_SMOOTHING):
        segments.SetConversionParameter(name, str(SURFACE_SMOOTHING))
        segmentation.RemoveClosedSurfaceRepresentation()


def _color_node(
    segmentation: slicer.vtkMRMLSegmentationNode, scale: ColorScale
) -> slicer.vtkMRMLProceduralColorNode:
    node = own_node(segmentation, "vtkMRMLProceduralColorNode", "MarrowAssess z-score colors")
    function = node.GetColorTransferFunction()
    known = node.GetAttribute(SCALE) or (Z_SCALE.title if function.GetSize() > 2 else "")
    if known == scale.title:  # views draw the legend anew at every point
        return node
    node.SetAttribute(SCALE, scale.title)
    function.RemoveAllPoints()
    for value, color in zip(scale.stops, scale.colors, strict=True):
        function.AddRGBPoint(value, *color)
    node.SetTypeToUser()
    node.SetAttribute("Category", "MarrowAssess")
    return node


def _legend(
    segmentation: slicer.vtkMRMLSegmentationNode,
    colors: slicer.vtkMRMLProceduralColorNode,
    scale: ColorScale,
) -> slicer.vtkMRMLColorLegendDisplayNode:
    display = segmentation.GetDisplayNode()
    display.SetAndObserveColorNodeID(colors.GetID())
    display.SetScalarRangeFlag(display.UseManualScalarRange)
    display.SetScalarRange(-scale.limit, scale.limit)
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(display)
    legend.SetTitleText(scale.title)
    legend.SetLabelFormat("%.0f")
    legend.SetNumberOfLabels(7)
    legend.SetMaxNumberOfColors(256)
    legend.SetOrientation(legend.Vertical)
    legend.SetPosition(0.03, 0.76)
    # The letters take the size that fits: seven numbers in this height.
    legend.SetSize(0.06, 0.52)
    legend.SetVisibility(True)
    return legend


def style_legend(legend: slicer.vtkMRMLColorLegendDisplayNode, of_words: bool = False) -> None:
    """White letters on dark ground, to be read on any image; Slicer's are for numbers."""
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        if of_words:
            text.SetFontFamilyToArial()
        text.SetColor(1, 1, 1)
        text.SetItalic(False)
        text.SetShadow(False)
        text.SetBold(False)
        _set_text_background(text)


def _places(
    segmentation: slicer.vtkMRMLSegmentationNode, segment_ids: Sequence[str]
) -> list[Place]:
    places = []
    for segment_id in segment_ids:
        segment = segmentation.GetSegmentation().GetSegment(segment_id)
        points = segment_points(segment)
        if not len(points):
            raise ValueError(f"Segment '{segment.GetName()}' is empty; it cannot be labelled.")
        places.append(Place(points.mean(axis=0), points.min(axis=0), points.max(axis=0)))
    return places


def _labels(
    segmentation: slicer.vtkMRMLSegmentationNode, texts: Sequence[str]
) -> slicer.vtkMRMLMarkupsFiducialNode:
    node = own_node(segmentation, "vtkMRMLMarkupsFiducialNode", "MarrowAssess labels")
    node.CreateDefaultDisplayNodes()
    # Points are kept where their number is: views build new ones slowly.
    if node.GetNumberOfControlPoints() != len(texts):
        node.RemoveAllControlPoints()
        for text in texts:
            node.AddControlPoint(0, 0, 0, text)
    for n, text in enumerate(texts):
        if node.GetNthControlPointLabel(n) != text:
            node.SetNthControlPointLabel(n, text)
    node.SetLocked(True)
    node.SetAndObserveTransformNodeID(segmentation.GetTransformNodeID())
    display = node.GetDisplayNode()
    display.SetGlyphTypeFromString("Sphere3D")
    display.SetUseGlyphScale(False)
    display.SetGlyphSize(0.1)
    display.SetTextScale(4.0)
    display.SetSelectedColor(1, 1, 1)
    display.SetColor(1, 1, 1)
    display.SetOccludedVisibility(True)
    display.SetOccludedOpacity(1.0)
    text = display.GetTextProperty()
    _set_text_background(text)
    text.SetFontFamilyToArial()
    text.SetShadow(False)
    text.SetBold(False)
    return node


def show_beside_anatomy(
    display: slicer.vtkMRMLDisplayNode, layout: Layout, regions: slicer.vtkMRMLDisplayNode
) -> None:
    """Show in 3D and in each slice of the one orientation that labels stand in, not in others.

    Args:
        regions: shows what they belong to; where that is not shown, they are not.
    """
    views = slicer.util.getNodesByClass("vtkMRMLViewNode")
    slices = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    views += [one for one in slices if one.GetLayoutName() == layout.slice_view]
    wanted = [id_ for view in views if regions.IsDisplayableInView(id_ := view.GetID())]
    if views_of(display) != wanted:
        show_in_views(display, wanted)


def views_of(display: slicer.vtkMRMLDisplayNode) -> list[str]:
    """The IDs of the views that something is shown in alone; [] for all."""
    return [display.GetNthViewNodeID(n) for n in range(display.GetNumberOfViewNodeIDs())]


def show_in_views(display: slicer.vtkMRMLDisplayNode, view_ids: Iterable[str]) -> None:
    """Show something in these views alone, in all if there are none."""
    display.RemoveAllViewNodeIDs()
    for one in view_ids:
        display.AddViewNodeID(one)


def _set_text_background(text: object) -> None:
    """Make white text readable on bright tissue too."""
    text.SetBackgroundColor(0.08, 0.09, 0.11)
    text.SetBackgroundOpacity(0.7)


def _lines(segmentation: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLModelNode:
    node = own_node(segmentation, "vtkMRMLModelNode", "MarrowAssess label lines")
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(segmentation.GetTransformNodeID())
    display = node.GetDisplayNode()
    display.SetColor(0.75, 0.78, 0.82)
    display.SetLineWidth(1.5)
    display.SetLighting(False)
    display.SetVisibility2D(False)
    return node


def own_node(
    segmentation: slicer.vtkMRMLSegmentationNode, kind: str, name: str
) -> slicer.vtkMRMLNode:
    """The node that the segmentation refers to under this name, made when it is not there yet."""
    role = name.replace(" ", ".")
    node = segmentation.GetNodeReference(role)
    if node is None:
        with clicks_stay():
            node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
        segmentation.SetNodeReferenceID(role, node.GetID())
    return node
