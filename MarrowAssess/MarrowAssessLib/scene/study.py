"""A study from the nodes of the Slicer scene."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import slicer
from PDFFMapperLib.images.identity import short_hash
from PDFFMapperLib.images.resampling import resampled
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.scene.maps import map_from_node
from PDFFMapperLib.scene.markups import shapes_from_node
from PDFFMapperLib.scene.origin import dicom_file, instances_of

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.terminology import NoTissue
from MarrowAssessLib.scene.images import grid_node
from MarrowAssessLib.scene.segments import (
    known_segments,
    regions_from_node,
    segment_identity,
    segment_names,
)
from MarrowAssessLib.sources.inputs import StudyInputs
from MarrowAssessLib.sources.markups_file import rasterize_named
from MarrowAssessLib.study.map_scale import in_stated_unit, scale_advice
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study

NO_TISSUE, EMPTY = "(no tissue named", "(empty"  # how the reason begins why one was left out


def study_from_nodes(nodes: StudyInputs) -> Study:
    """The study that nodes make, all on the grid of the volume that the segmentation was drawn on.

    Segments and markups whose name or terminology tells no tissue, and empty segments, are left
    out; `inputs["left out"]` names them. Spectra and UTE series are left to
    `read_site_spectra` and `read_site_ute`.

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
        shapes = shapes_from_node(node, nodes.point_radius_mm)
        marked, unnamed_shapes = rasterize_named(shapes, grid)
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
