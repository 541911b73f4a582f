"""What the views show of the results: slices, 3D and age curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import slicer
from PDFFMapperLib.maps.progress import Progress

from MarrowAssessLib.scene.shown import (
    CURVE_ATTRIBUTE,
    SPECTRUM_ATTRIBUTE,
    SURFACE,
    point_labels,
)
from MarrowAssessLib.scene.visibility import show_in_3d

if TYPE_CHECKING:
    from MarrowAssessLib.scene.result_rows import ResultRow


def jump_to(
    segmentation: slicer.vtkMRMLSegmentationNode | None, region_names: Sequence[str]
) -> None:
    """Center the slice views on the first of these regions that is a segment."""
    segments = segmentation.GetSegmentation() if segmentation else None
    for name in region_names if segments else ():
        segment_id = segments.GetSegmentIdBySegmentName(name)
        if segment_id:
            center = segmentation.GetSegmentCenterRAS(segment_id)
            slicer.modules.markups.logic().JumpSlicesToLocation(*center, True)
            return


def show_image(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show an image with its legend in the slice views, unless it is in front in all of them."""
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        covered = view.GetForegroundVolumeID() and view.GetForegroundOpacity() > 0
        front = view.GetForegroundVolumeID() if covered else view.GetBackgroundVolumeID()
        if front != node.GetID():
            break
    else:
        return
    slicer.util.setSliceViewerLayers(background=node, foreground=None)
    for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
        legend.Modified()  # views draw those of shown maps, when told; layers do not tell them


def show_3d(
    segmentation: slicer.vtkMRMLSegmentationNode,
    visible: bool,
    progress: Progress | None = None,
) -> bool:
    """Show or hide a segmentation in 3D views; shown, regions and labels fill them.

    Args:
        progress: called with the fraction of surfaces that are made; return False to cancel.

    Returns:
        Whether it was done; False when canceled, then no surfaces are kept.
    """
    from MarrowAssessLib.scene.overlay import look_at_results

    if visible and not _make_surfaces(segmentation, progress):
        return False
    segmentation.CreateDefaultDisplayNodes()
    segmentation.GetDisplayNode().SetVisibility3D(visible)
    if visible and segmentation.GetSegmentation().GetNumberOfSegments():
        for camera in slicer.util.getNodesByClass("vtkMRMLCameraNode"):
            look_at_results(segmentation, camera)
    show_in_3d(segmentation, visible)
    return True


def _make_surfaces(segmentation: slicer.vtkMRMLSegmentationNode, progress: Progress | None) -> bool:
    """Closed surfaces, one segment after the other; False when canceled."""
    segments = segmentation.GetSegmentation()
    if not segments.ContainsRepresentation(SURFACE):
        ids, surfaces = segments.GetSegmentIDs(), {}
        for n, segment_id in enumerate(ids):
            if progress and not progress(n / len(ids)):
                return False
            alone = slicer.vtkSegmentation()  # it converts all that it holds at once
            alone.DeserializeConversionParameters(segments.SerializeAllConversionParameters())
            alone.CopySegmentFromSegmentation(segments, segment_id)
            alone.CreateRepresentation(SURFACE)
            surfaces[segment_id] = alone.GetSegment(segment_id).GetRepresentation(SURFACE)
        with slicer.util.NodeModify(segmentation):  # views take them once
            for segment_id, surface in surfaces.items():
                segments.GetSegment(segment_id).AddRepresentation(SURFACE, surface)
    segmentation.CreateClosedSurfaceRepresentation()
    return True


def chart_of(
    charts: Sequence[slicer.vtkMRMLPlotChartNode], row: ResultRow | None
) -> slicer.vtkMRMLPlotChartNode | None:
    """The age curve that has a number's point, or the spectrum that it is of; the first chart of
    all without a number.
    """
    if row is None:
        return charts[0] if charts else None
    own = (
        chart
        for chart in charts
        if (_quantity(chart) == row.key and _site(row) in point_labels(chart))
        or (row.is_of_spectrum and chart.GetAttribute(SPECTRUM_ATTRIBUTE) == row.site)
    )
    return next(own, None)


def _quantity(chart: slicer.vtkMRMLPlotChartNode) -> str:
    return (chart.GetAttribute(CURVE_ATTRIBUTE) or "").split("|")[0]


def _site(row: ResultRow) -> str:
    return row.site or row.regions[0]


def put_into_plots(chart: slicer.vtkMRMLPlotChartNode) -> None:
    """Show a chart in the plot views that are there; the layout stays as it is."""
    for view in slicer.util.getNodesByClass("vtkMRMLPlotViewNode"):
        view.SetPlotChartNodeID(chart.GetID())


def open_plot(chart: slicer.vtkMRMLPlotChartNode) -> int | None:
    """Show a chart in a layout that has a plot view; returns the layout that was there before."""
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    before = layout.GetViewArrangement() if layout else None
    slicer.modules.plots.logic().ShowChartInLayout(chart)
    return before


def restore_layout(arrangement: int | None) -> None:
    """Go back to a layout."""
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if layout and arrangement is not None:
        layout.SetViewArrangement(arrangement)
