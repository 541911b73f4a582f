"""Images in the studies of the subject hierarchy, where Slicer's own loaders put theirs too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import slicer
from vtkmodules.vtkCommonCore import vtkIdList

from PDFFMapperLib.images.patient import short_key
from PDFFMapperLib.scene.folders import item_of

if TYPE_CHECKING:  # opening a panel waits for no reader
    from PDFFMapperLib.dicom.folder import DicomStudy

_OURS, _DICOM = "MarrowAssess", "DICOM"  # kinds of UIDs of items: a hash, or as Slicer's loaders do
_patients: dict[str, int] = {}  # items made in this session; a patient's key is written nowhere


def study_of(node: slicer.vtkMRMLNode) -> int:
    """The item of the study that a node lies in, 0 where there is none."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node)
    return hierarchy.GetItemAncestorAtLevel(item, "Study") if item else 0


def put_in_study(nodes: Iterable[slicer.vtkMRMLNode], study: DicomStudy, patient_key: str) -> None:
    """Put nodes into their study, made where the scene has none; without its UID they lie in none.

    Args:
        nodes: images of one series.
        study, patient_key: of the series, see `DicomSeries` and `Visit`.
    """
    if not study.key:
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = _known(hierarchy, "Study", study.key) or _new_study(hierarchy, study, patient_key)
    for node in nodes:
        hierarchy.SetItemParent(item_of(hierarchy, node), item)


def _items(hierarchy: slicer.vtkMRMLSubjectHierarchyNode, level: str) -> list[int]:
    items = vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    every = (items.GetId(n) for n in range(items.GetNumberOfIds()))
    return [item for item in every if hierarchy.GetItemLevel(item) == level]


def _known(hierarchy: slicer.vtkMRMLSubjectHierarchyNode, level: str, key: str) -> int:
    """The item of this level whose UID has this key, 0 where there is none."""
    for item in _items(hierarchy, level):
        ours, dicom = (hierarchy.GetItemUID(item, kind) for kind in (_OURS, _DICOM))
        if key in (ours, short_key(dicom)):
            return item
    return 0


def _new_study(
    hierarchy: slicer.vtkMRMLSubjectHierarchyNode, study: DicomStudy, patient_key: str
) -> int:
    patient = hierarchy.GetSceneItemID()
    if patient_key:
        patient = _known(hierarchy, "Patient", patient_key) or _patients.get(patient_key, 0)
        if patient not in _items(hierarchy, "Patient"):  # none yet, or its scene was closed
            patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
            _patients[patient_key] = patient
    name = " ".join([study.description or "Study", *([f"({study.date})"] if study.date else [])])
    item = hierarchy.CreateStudyItem(patient, name)
    hierarchy.SetItemUID(item, _OURS, study.key)
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    hierarchy.SetItemAttribute(item, constants.GetDICOMStudyDateAttributeName(), study.date)
    return item
