"""Visits of a patient in one scene: the studies of the subject hierarchy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import slicer
from PDFFMapperLib.scene.studies import study_of
from PDFFMapperLib.scene.volumes import facts_from_node


@dataclass(frozen=True)
class Visit:
    """A study of the subject hierarchy, or several of one patient and day.

    PET beside MRI is often a study of its own. Two studies of one modality on one day stay apart:
    they may be before and after something.

    Attributes:
        items: of its studies.
        name: as the hierarchy shows them.
        images: of the studies.
    """

    items: tuple[int, ...]
    name: str
    images: tuple[slicer.vtkMRMLScalarVolumeNode, ...]


def visits(images: Iterable[slicer.vtkMRMLScalarVolumeNode]) -> list[Visit]:
    """The visits that these images are of, the newest by its date last."""
    hierarchy, found = _hierarchy(), {}
    for node in images:
        if study := study_of(node):
            found.setdefault(study, []).append(node)
    joined: list[list[int]] = []
    for item in sorted(found, key=lambda item: (_date(item), item)):
        same = (one for one in joined if all(_one_visit(other, item, found) for other in one))
        if (one := next(same, None)) is not None:
            one.append(item)
        else:
            joined.append([item])
    return [
        Visit(
            tuple(items),
            " + ".join(hierarchy.GetItemName(item) for item in items),
            tuple(node for item in items for node in found[item]),
        )
        for items in joined
    ]


def _one_visit(one: int, other: int, images: Mapping[int, Sequence[slicer.vtkMRMLNode]]) -> bool:
    """Whether two studies are of one patient and day, and have no modality in common."""
    patient, beside = (
        _hierarchy().GetItemAncestorAtLevel(item, "Patient") for item in (one, other)
    )
    # Maps and labels in a study often say none.
    first, second = ({_modality(node) for node in images[item]} - {""} for item in (one, other))
    alike = patient == beside != 0 and _date(one) == _date(other) != ""
    return alike and bool(first and second) and not first & second


def _date(item: int) -> str:
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMStudyDateAttributeName()
    return _hierarchy().GetItemAttribute(item, name)


def _modality(node: slicer.vtkMRMLNode) -> str:
    """Such as "MR", "" where nothing tells it."""
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    told = _hierarchy().GetItemAttribute(_hierarchy().GetItemByDataNode(node), name)
    return told or str(facts_from_node(node).get("Modality", ""))


def of_one_visit(
    nodes: Iterable[slicer.vtkMRMLNode], chosen: Iterable[slicer.vtkMRMLNode] = ()
) -> list[slicer.vtkMRMLNode]:
    """Those of these nodes that are of the visit of the chosen ones, else of the newest.

    What lies in no study may belong to any, and stays; chosen images of no study are those of no
    other.
    """
    nodes, chosen = list(nodes), list(chosen)
    known = visits(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))
    wanted = {study for one in chosen if (study := study_of(one))}
    if chosen and not wanted:
        return [one for one in nodes if not study_of(one)]
    if not wanted:
        held = {study_of(one) for one in nodes}
        newest = [one for one in known if held & set(one.items)][-1:]
        wanted = {item for one in newest for item in one.items}
    wanted |= {item for one in known if wanted & set(one.items) for item in one.items}
    return [one for one in nodes if not wanted or study_of(one) in wanted | {0}]


def patients_of(nodes: Iterable[slicer.vtkMRMLNode]) -> set[int]:
    """The items of the patients that nodes are of, 0 for one that is not known."""
    hierarchy = _hierarchy()
    return {
        hierarchy.GetItemAncestorAtLevel(study, "Patient") if (study := study_of(node)) else 0
        for node in nodes
    }


def regions_of(visit: Visit) -> list[slicer.vtkMRMLSegmentationNode]:
    """The segmentations in a visit's studies, the one that was made last in the end."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [one for one in nodes if study_of(one) in visit.items]


def _hierarchy() -> slicer.vtkMRMLSubjectHierarchyNode:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
