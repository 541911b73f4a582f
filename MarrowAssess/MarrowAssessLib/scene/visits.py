"""Visits of a patient in one scene: studies of the subject hierarchy, two side by side in 3D."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import slicer

from MarrowAssessLib.scene.live_results import overlay_displays, show_segmentation
from MarrowAssessLib.scene.overlay import look_at_results

LABELS = ("earlier", "now")  # of the two 3D views, in place of their numbers


@dataclass(frozen=True)
class Visit:
    """A study of the subject hierarchy.

    Attributes:
        item: the study's, 0 of what lies in none.
        name: as the hierarchy shows it.
        images: of the study.
    """

    item: int
    name: str
    images: tuple[slicer.vtkMRMLScalarVolumeNode, ...]


def study_of(node: slicer.vtkMRMLNode) -> int:
    """The item of the study that a node lies in, 0 where there is none."""
    hierarchy = _hierarchy()
    item = hierarchy.GetItemByDataNode(node)
    return hierarchy.GetItemAncestorAtLevel(item, "Study") if item else 0


def visits(images: Iterable[slicer.vtkMRMLScalarVolumeNode]) -> list[Visit]:
    """The studies that these images lie in, the newest by its date last."""
    hierarchy, found = _hierarchy(), {}
    for node in images:
        if study := study_of(node):
            found.setdefault(study, []).append(node)
    date = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMStudyDateAttributeName()
    items = sorted(found, key=lambda item: (hierarchy.GetItemAttribute(item, date), item))
    return [Visit(item, hierarchy.GetItemName(item), tuple(found[item])) for item in items]


def of_one_visit(
    nodes: Iterable[slicer.vtkMRMLNode], chosen: Iterable[slicer.vtkMRMLNode] = ()
) -> list[slicer.vtkMRMLNode]:
    """Those of these nodes that lie in the study of the chosen ones, else in the newest.

    What lies in no study may belong to any, and stays.
    """
    nodes = list(nodes)
    wanted = {study for one in chosen if (study := study_of(one))}
    if not wanted:
        wanted = {one.item for one in visits(nodes)[-1:]}
    return [one for one in nodes if not wanted or study_of(one) in wanted | {0}]


def regions_of(visit: Visit) -> slicer.vtkMRMLSegmentationNode | None:
    """The segmentation that was made last in a visit's study, None where there is none."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return next((one for one in reversed(nodes) if study_of(one) == visit.item), None)


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


def _show_in(segmentation: slicer.vtkMRMLSegmentationNode, view_ids: Sequence[str]) -> None:
    """Show regions and what belongs to them in these views only, in all if there are none."""
    for display in overlay_displays(segmentation):
        if display.IsA("vtkMRMLMarkupsDisplayNode"):  # beside the anatomy, not in every slice
            count = display.GetNumberOfViewNodeIDs()
            had = [display.GetNthViewNodeID(n) for n in range(count)]
            slices = [one for one in had if "Slice" in one]
            own = view_ids or [*(view.GetID() for view in _views()), *slices]
            ids = [one for one in own if "Slice" not in one or one in slices]
        else:
            ids = view_ids
        display.RemoveAllViewNodeIDs()
        for one in ids:
            display.AddViewNodeID(one)


def _views() -> list[slicer.vtkMRMLViewNode]:
    """The 3D views, by their names."""
    nodes = slicer.util.getNodesByClass("vtkMRMLViewNode")
    return sorted(nodes, key=lambda view: view.GetLayoutName())


def _hierarchy() -> slicer.vtkMRMLSubjectHierarchyNode:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
