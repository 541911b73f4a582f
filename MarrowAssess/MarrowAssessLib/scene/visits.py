"""Visits of a patient in one scene: the studies of the subject hierarchy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import slicer


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


def _hierarchy() -> slicer.vtkMRMLSubjectHierarchyNode:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
