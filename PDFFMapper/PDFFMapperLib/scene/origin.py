"""Where a node came from: its DICOM files, and the patient they tell of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace

import slicer

from PDFFMapperLib.images.patient import PatientFacts, shown_age

_PATIENT = "MarrowAssessPatient"


def facts_of_dicom_file(
    node: slicer.vtkMRMLNode, dicom_file: Callable[[str], str] | None
) -> tuple[dict[str, object], PatientFacts]:
    """Facts, age and sex of the first DICOM file of a node; none where it is gone or unreadable.

    Args:
        node: loaded from DICOM, or not; one that this software loaded keeps age and sex itself.
        dicom_file: the file of a DICOM instance UID, "" for none
            (``slicer.dicomDatabase.fileForInstance``).
    """
    if kept := node.GetAttribute(_PATIENT):
        return {}, PatientFacts(**json.loads(kept))
    uids = instances_of(node)
    file = dicom_file(uids[0]) if uids and dicom_file else ""
    if not file:
        return {}, PatientFacts()
    from PDFFMapperLib.dicom.frames import read_facts  # a reader, which most panels open without

    try:
        return read_facts(file)
    except (ValueError, OSError):
        return {}, PatientFacts()


def instances_of(node: slicer.vtkMRMLNode) -> list[str]:
    """The UIDs of the DICOM instances that Slicer's loaders made a node from; [] for others."""
    held = [node]
    if node.IsA("vtkMRMLSequenceNode"):
        held += [node.GetNthDataNode(n) for n in range(node.GetNumberOfDataNodes())]
    uids = [(one.GetAttribute("DICOM.instanceUIDs") or "").split() for one in held]
    return list(dict.fromkeys(uid for of_one in uids for uid in of_one))


def keep_patient(node: slicer.vtkMRMLNode, patient: PatientFacts) -> None:
    """Keep age, in tenths of a year, and sex on a node, for whoever compares its numbers."""
    kept = replace(patient, age_years=shown_age(patient.age_years))
    node.SetAttribute(_PATIENT, json.dumps(asdict(kept)))


def dicom_file() -> Callable[[str], str] | None:
    """What finds the file of a DICOM instance, where there is a DICOM database."""
    database = getattr(slicer, "dicomDatabase", None)
    return database.fileForInstance if database else None
