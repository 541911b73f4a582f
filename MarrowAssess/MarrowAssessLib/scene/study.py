"""A study from the nodes of the Slicer scene, and which of them a user most likely means."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import slicer
from PDFFMapperLib.dicom.series_role import guess_role
from PDFFMapperLib.images.identity import short_hash
from PDFFMapperLib.images.patient import PatientFacts
from PDFFMapperLib.images.resampling import resampled
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.scene.frames import dicom_file, facts_of_dicom_file, instances_of
from PDFFMapperLib.scene.maps import map_from_node
from PDFFMapperLib.scene.volumes import facts_from_node, ijk_to_world

from MarrowAssessLib.catalogue.contrasts import NO_CONTRAST, Contrast, parse_contrast
from MarrowAssessLib.catalogue.terminology import NoTissue
from MarrowAssessLib.scene.markups import shapes_from_node
from MarrowAssessLib.scene.segments import (
    drawn_on,
    known_segments,
    regions_from_node,
    segment_identity,
    segment_names,
)
from MarrowAssessLib.sources.map_scale import in_stated_unit, scale_advice
from MarrowAssessLib.sources.markups_file import named_shapes, rasterize_named
from MarrowAssessLib.sources.stated_patient import bids_patient
from MarrowAssessLib.study.inputs import StudyInputs
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study

NO_TISSUE, EMPTY = "(no tissue named", "(empty"  # how the reason begins why one was left out
OF_CHANGE = "change"  # what a map of changes says it is
OWN_MARKUPS = "MarrowAssess"  # how the names of markups that show something of ours begin


def study_from_nodes(nodes: StudyInputs) -> Study:
    """The study that nodes make, all on the grid of the volume that the segmentation was drawn on.

    Segments and markups whose name or terminology tells no tissue, and empty segments, are left
    out; `inputs["left out"]` names them. Spectra are left to `read_site_spectra`.

    Raises:
        ValueError: no volume, no region, or grids that differ without `resample`.
    """
    volumes, segmentation = nodes.volumes, nodes.segmentation
    if not volumes:
        raise ValueError("Choose at least one image, such as a T1-weighted one.")
    on = grid_node(volumes, segmentation)
    read = {contrast: map_from_node(node) for contrast, node in volumes.items()}
    grid = next(read[c] for c, node in volumes.items() if node is on)
    inputs = {contrast.value: node.GetName() for contrast, node in volumes.items()}
    notes: list[str] = []
    for contrast, volume in read.items():
        if contrast is Contrast.SUV:
            volume = _as_suv(volume, volumes[contrast], notes)
        read[contrast], said = in_stated_unit(volume, contrast)
        notes += [said] if said else []
        read[contrast] = volume = read[contrast].in_order_of(grid)
        if nodes.resample and not (contrast.on_own_grid or volume.same_grid(grid)):
            read[contrast] = resampled(volume, grid)
            inputs[contrast.value] += f" (resampled onto the grid of {on.GetName()})"
    regions: list[Region] = []
    left_out: list[str] = []
    if segmentation is not None:
        inputs["segmentation"] = segmentation.GetName()
        named = [one.id for one in known_segments(segmentation)]
        found = regions_from_node(segmentation, on, nodes.resample, named)
        segments = segmentation.GetSegmentation()
        unnamed = (one for one in segments.GetSegmentIDs() if one not in named)
        left_out += [_why_left_out(segmentation, segments.GetSegment(one)) for one in unnamed]
        regions += [region for region in found if region.voxels]
        left_out += [f"{region.name} {EMPTY})" for region in found if not region.voxels]
    for node in nodes.markups:
        inputs["markups"] = ", ".join(filter(None, [inputs.get("markups"), node.GetName()]))
        marked, unnamed_shapes = regions_of_markup(node, grid, nodes.point_radius_mm)
        regions += marked
        left_out += unnamed_shapes
    if left_out:
        inputs["left out"] = ", ".join(left_out)
    if not regions:
        raise ValueError(
            "No region says what it holds; name segments or markups like 'L3 marrow', "
            "'L3-L4 disc', 'CSF L3' or 'psoas muscle'."
        )
    return Study(
        read,
        regions,
        nodes.age_years,
        nodes.sex,
        inputs,
        field_strength_t=nodes.field_strength_t,
        notes=notes,
    )


def _as_suv(volume: Volume, node: slicer.vtkMRMLScalarVolumeNode, notes: list[str]) -> Volume:
    """PET that Slicer's own loader left as activity, by the headers of its DICOM files.

    Where they are not known, or slices differ in their factor, it stays as it is and is refused.
    """
    find = dicom_file()
    if not (find and instances_of(node) and scale_advice(volume, Contrast.SUV)):
        return volume
    from PDFFMapperLib.dicom.suv import suv_of_files
    from PDFFMapperLib.scene.dicom import files_of

    made = suv_of_files(files_of(node, find))
    factor = float(made.factors[0])
    if np.ptp(made.factors) > 1e-6 * factor:
        return volume
    converted = volume.with_array(volume.array.astype(np.float32) * np.float32(factor))
    converted.attributes = {**volume.attributes, **made.facts, "Units": "g/ml", "Modality": "PT"}
    notes += [
        f"PET: activity as Slicer loaded it became SUV by its DICOM headers (times {factor:.4g}).",
        *made.notes,
    ]
    return converted


def on_dicom_slices(
    study: Study, nodes: Mapping[Contrast, slicer.vtkMRMLScalarVolumeNode]
) -> Study:
    """A study whose images know the DICOM slices that they lie on, as far as they are from DICOM.

    Raises:
        ValueError: none of them is.
    """
    from PDFFMapperLib.scene.dicom import slices_of

    known = copy.copy(study)
    known.volumes = dict(study.volumes)
    for contrast, node in nodes.items():
        slices = slices_of(node, dicom_file())
        if slices is not None and contrast in known.volumes:
            known.volumes[contrast] = replace(study.volumes[contrast], slices=slices)
    if all(volume.slices is None for volume in known.volumes.values()):
        raise ValueError(
            "None of these images was loaded from DICOM, or they were moved since, so there is no "
            "study that DICOM objects could belong to; load the DICOM study (What is in a folder)."
        )
    return known


def without_node_names(study: Study) -> Study:
    """A study whose inputs go by hashes: loaders name nodes by what was typed at the scanner."""
    named = copy.copy(study)
    named.inputs = {
        role: f"image {short_hash(study.volumes[contrast])}"
        + (" (resampled)" if "(resampled" in text else "")
        if (contrast := _CONTRASTS.get(role)) in study.volumes
        else _nameless(text)
        if role == "left out"
        else "drawn in the scene"
        for role, text in study.inputs.items()
    }
    return named


def _nameless(left_out: str) -> str:
    """How many segments were left out, and why."""
    counts = ((left_out.count(f" {why}"), why) for why in (NO_TISSUE, EMPTY))
    return ", ".join(f"{n} segment{'s' * (n > 1)} {why})" for n, why in counts if n)


def _why_left_out(segmentation: slicer.vtkMRMLSegmentationNode, segment: slicer.vtkSegment) -> str:
    try:
        segment_identity(segment, segment_names(segmentation))
    except NoTissue as error:
        return f"{segment.GetName()} {NO_TISSUE}: {error.why})"
    return f"{segment.GetName()} {NO_TISSUE})"


_CONTRASTS = {contrast.value: contrast for contrast in Contrast}


def regions_of_markup(
    node: slicer.vtkMRMLMarkupsNode, grid: Volume, point_radius_mm: float
) -> tuple[list[Region], list[str]]:
    """The regions of a markups node on a grid, each named by what it was called.

    Returns:
        The regions, and the shapes that were left out because their name tells no tissue.

    Raises:
        ValueError: another kind of markup, nothing placed, or outside the volume.
    """
    return rasterize_named(shapes_from_node(node, point_radius_mm), grid)


def region_markups(
    nodes: Iterable[slicer.vtkMRMLMarkupsNode],
) -> list[slicer.vtkMRMLMarkupsNode]:
    """Those markups that hold a region: a shape whose name tells a tissue."""
    return [node for node in nodes if _is_region(node)]


def _is_region(node: slicer.vtkMRMLMarkupsNode) -> bool:
    if node.GetName().startswith(OWN_MARKUPS):
        return False
    try:
        shapes = shapes_from_node(node)
    except ValueError:
        return False
    return bool(named_shapes(shapes)[0])


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


@dataclass(frozen=True)
class Guess:
    """What the scene's volumes seem to be; to show and confirm, never to rely on.

    Attributes:
        volumes: by contrast, where exactly one volume seems to be of that contrast, or exactly one
            of several is sagittal.
        grounds: by contrast, what tells so.
        patient: age and sex where DICOM tells them.
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
        patient = PatientFacts(
            patient.age_years if patient.age_years is not None else person.age_years,
            patient.sex or person.sex,
        )
        acquisitions[node.GetID()] = read
        contrast, ground = _told_contrast(node, read)
        if contrast:
            candidates.setdefault(contrast, []).append((node, ground))
    volumes, grounds = {}, {}
    for contrast, found in candidates.items():
        sagittal = [one for one in found if _is_sagittal(one[0])]
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


def _is_sagittal(node: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether its slices, across which voxels are longest, follow from side to side."""
    spacing = np.array(node.GetSpacing())
    across = ijk_to_world(node)[:3, int(spacing.argmax())]
    return int(np.abs(across).argmax()) == 0 and spacing.max() > 1.5 * np.median(spacing)


def shown_first(
    nodes: Iterable[slicer.vtkMRMLScalarVolumeNode],
) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """The volumes, those in front that are the background of a slice view."""
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    shown = {composite.GetBackgroundVolumeID() for composite in composites}
    return sorted(nodes, key=lambda node: node.GetID() not in shown)


def map_contrast(node: slicer.vtkMRMLScalarVolumeNode) -> Contrast | None:
    """What a map made by PDFFMapper holds, None for others and for those without a role here."""
    try:
        return parse_contrast(str(facts_from_node(node).get("Map", "")))
    except ValueError:
        return None
