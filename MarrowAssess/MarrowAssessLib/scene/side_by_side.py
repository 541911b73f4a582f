"""Two visits of a patient side by side in 3D."""

from __future__ import annotations

from collections.abc import Sequence

import slicer

from MarrowAssessLib.scene.overlay import look_at_results, show_in_views, views_of
from MarrowAssessLib.scene.visibility import overlay_displays, show_segmentation

LABELS = ("earlier", "now")  # of the two 3D views, in place of their numbers


def show_both(
    earlier: slicer.vtkMRMLSegmentationNode, now: slicer.vtkMRMLSegmentationNode
) -> int | None:
    """Show the surfaces of two visits in two 3D views; returns the layout that was there before."""
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    before = layout.GetViewArrangement() if layout else None
    if layout:
        layout.SetViewArrangement(layout.SlicerLayoutDual3DView)
    slices = [one.GetID() for one in slicer.util.getNodesByClass("vtkMRMLSliceNode")]
    views = _views()[: len(LABELS)]
    for view, label, segmentation in zip(views, LABELS, (earlier, now), strict=True):
        _renew_legends(segmentation)
        _show_in(segmentation, [view.GetID(), *(slices if segmentation is now else ())])
        show_segmentation(segmentation, True)
        view.SetLayoutLabel(label)
        for camera in slicer.util.getNodesByClass("vtkMRMLCameraNode"):
            if camera.GetLayoutName() == view.GetLayoutName():
                look_at_results(segmentation, camera)
    return before


def show_one(
    earlier: slicer.vtkMRMLSegmentationNode | None, now: slicer.vtkMRMLSegmentationNode | None
) -> None:
    """Show the later visit alone in all views again."""
    for view in _views()[: len(LABELS)]:
        if view.GetLayoutLabel() in LABELS:
            view.SetLayoutLabel(view.GetLayoutName())
    for segmentation in (earlier, now):
        if segmentation is not None and segmentation.GetScene():
            _show_in(segmentation, ())
            show_segmentation(segmentation, segmentation is now)


def _renew_legends(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """Put copies in place of its legends: a view draws only those that were added after it."""
    legends = [
        one for one in overlay_displays(segmentation) if one.IsA("vtkMRMLColorLegendDisplayNode")
    ]
    for old in legends:
        display = old.GetPrimaryDisplayNode()
        slicer.mrmlScene.RemoveNode(old)
        new = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(display)
        new.CopyContent(old)


def _show_in(segmentation: slicer.vtkMRMLSegmentationNode, view_ids: Sequence[str]) -> None:
    """Show regions and what belongs to them in these views only, in all if there are none."""
    for display in overlay_displays(segmentation):
        if display.IsA("vtkMRMLMarkupsDisplayNode"):  # beside the anatomy, not in every slice
            slices = [one for one in views_of(display) if "Slice" in one]
            own = view_ids or [*(view.GetID() for view in _views()), *slices]
            ids = [one for one in own if "Slice" not in one or one in slices]
        else:
            ids = view_ids
        show_in_views(display, ids)


def _views() -> list[slicer.vtkMRMLViewNode]:
    """The 3D views, by their names."""
    nodes = slicer.util.getNodesByClass("vtkMRMLViewNode")
    return sorted(nodes, key=lambda view: view.GetLayoutName())
