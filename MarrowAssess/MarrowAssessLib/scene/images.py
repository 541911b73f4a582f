"""Which images of the scene a user most likely means, and on whose grid is measured."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import slicer
from PDFFMapperLib.dicom.series_role import guess_role
from PDFFMapperLib.images.patient import PatientFacts
from PDFFMapperLib.scene.origin import facts_of_dicom_file
from PDFFMapperLib.scene.volumes import facts_from_node, ijk_to_world

from MarrowAssessLib.catalogue.contrasts import NO_CONTRAST, Contrast, parse_contrast
from MarrowAssessLib.scene.segments import drawn_on
from MarrowAssessLib.sources.stated_patient import bids_patient
from MarrowAssessLib.sources.volume_source import in_sagittal_slices

OF_CHANGE = "change"  # what a map of changes says it is


@dataclass(frozen=True)
class Guess:
    """What the scene's volumes seem to be; to show and confirm, never to rely on.

    Attributes:
        volumes: by contrast, where exactly one volume seems to be of that contrast, or exactly one
            of several is sagittal.
        grounds: by contrast, what tells so.
        patient: age and sex where DICOM tells them, and what it holds that tells neither.
        acquisitions: what the DICOM header of each volume says, by node id.
    """

    volumes: dict[Contrast, slicer.vtkMRMLScalarVolumeNode]
    grounds: dict[Contrast, str]
    patient: PatientFacts
    acquisitions: dict[str, dict[str, object]]


def guess_inputs(
    nodes: Iterable[slicer.vtkMRMLScalarVolumeNode],
    dicom_file: Callable[[str], str] | None = None,
) -> Guess:
    """Guess contrasts from names and DICOM headers, and the patient's age and sex.

    Args:
        nodes: volumes of the scene.
        dicom_file: the file of a DICOM instance UID, "" for none
            (``slicer.dicomDatabase.fileForInstance``).
    """
    candidates: dict[Contrast, list] = {}
    patient, acquisitions = PatientFacts(), {}
    for node in nodes:
        read, person = facts_of_dicom_file(node, dicom_file)
        if person == PatientFacts():
            person = _patient_beside_file(node)
        patient = patient.completed(person)
        acquisitions[node.GetID()] = read
        contrast, ground = _told_contrast(node, read)
        if contrast:
            candidates.setdefault(contrast, []).append((node, ground))
    volumes, grounds = {}, {}
    for contrast, found in candidates.items():
        sagittal = [one for one in found if in_sagittal_slices(ijk_to_world(one[0]))]
        if len(found) == 1 or len(sagittal) == 1:
            volumes[contrast], ground = (found if len(found) == 1 else sagittal)[0]
            others = "" if len(found) == 1 else f", the sagittal one of {len(found)}"
            grounds[contrast] = ground + others
    return Guess(volumes, grounds, patient, acquisitions)


def _patient_beside_file(node: slicer.vtkMRMLScalarVolumeNode) -> PatientFacts:
    """Age and sex in the tables of the BIDS data set that a node was read from, if any."""
    storage = node.GetStorageNode()
    name = storage.GetFileName() if storage else None
    try:
        return bids_patient(Path(name))[0] if name else PatientFacts()
    except (ValueError, OSError):  # a guess only; the command says what is wrong with a table
        return PatientFacts()


def guess_contrast(node: slicer.vtkMRMLScalarVolumeNode) -> Contrast | None:
    """What a volume seems to show by its name and the facts it carries; else None."""
    return _told_contrast(node, None)[0]


def _told_contrast(
    node: slicer.vtkMRMLScalarVolumeNode, facts: Mapping[str, object] | None
) -> tuple[Contrast | None, str]:
    name = node.GetName()
    if facts_from_node(node).get("Map") == OF_CHANGE:  # named after a quantity, but none
        return None, ""
    with contextlib.suppress(ValueError):
        return parse_contrast(name), "by its name"
    known = {**(facts or {}), **facts_from_node(node)}
    in_header = "SeriesDescription" in known
    role = guess_role(known, None if in_header else name)
    if not role or role in NO_CONTRAST:
        return None, ""
    return parse_contrast(role), "by its DICOM header" if in_header else "by its name"


def map_contrast(node: slicer.vtkMRMLScalarVolumeNode) -> Contrast | None:
    """What a map made by PDFFMapper holds, None for others and for those without a role here."""
    try:
        return parse_contrast(str(facts_from_node(node).get("Map", "")))
    except ValueError:
        return None


def shown_first(
    nodes: Iterable[slicer.vtkMRMLScalarVolumeNode],
) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """The volumes, those in front that are the background of a slice view."""
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    shown = {composite.GetBackgroundVolumeID() for composite in composites}
    return sorted(nodes, key=lambda node: node.GetID() not in shown)


def grid_node(
    volumes: Mapping[Contrast, slicer.vtkMRMLScalarVolumeNode],
    segmentation: slicer.vtkMRMLSegmentationNode | None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """The volume on whose grid is measured: the one that the segmentation was drawn on."""
    chosen = list(volumes.values())
    if segmentation is not None:
        source = drawn_on(segmentation)
        if source in chosen:
            return source
    common = (node for contrast, node in volumes.items() if not contrast.on_own_grid)
    return next(common, chosen[0])
