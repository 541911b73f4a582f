"""Changes of a segmentation that can be taken back: regions added, imported, renamed, judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import slicer

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.terminology import terminology_entry
from MarrowAssessLib.scene.label_nodes import labels_on_grid
from MarrowAssessLib.scene.segments import (
    CAUTIONS_TAG,
    DOUBTFUL_TAG,
    ROLE_TAG,
    SITE_TAG,
    judge_right,
    region_segment,
    segment_identity,
    segment_tag,
    set_grid,
)
from MarrowAssessLib.sources.label_maps import regions_of_convention
from MarrowAssessLib.study.regions import Region


@dataclass
class Change:
    """What was done to a segmentation, so that it can be taken back.

    Attributes:
        added: IDs of new segments.
        removed: ID and copy of each segment that is gone.
        renamed: ID, name and site of each segment before it was renamed.
        judged: ID and copy of each segment before it was judged right.
    """

    added: list[str] = field(default_factory=list)
    removed: list[tuple[str, slicer.vtkSegment]] = field(default_factory=list)
    renamed: list[tuple[str, str, str]] = field(default_factory=list)
    judged: list[tuple[str, slicer.vtkSegment]] = field(default_factory=list)


def add_regions(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    regions: Sequence[Region],
    instead_of: Sequence[str] = (),
) -> Change:
    """Put regions on a volume's grid into a segmentation; segments of the same name go.

    Args:
        segmentation: takes them.
        volume_node: on its grid, which an empty segmentation takes.
        regions: may be none.
        instead_of: IDs of further segments that go.

    Raises:
        ValueError: see segment_nodes.region_segment; the segmentation is then as it was.
    """
    made = [region_segment(region, volume_node) for region in regions]
    change = Change()
    modified = segmentation.StartModify()
    segments = segmentation.GetSegmentation()
    if made and not segments.GetNumberOfSegments():  # the first ones choose the grid
        set_grid(segmentation, volume_node)
    names = {region.name.casefold() for region in regions}  # a click's "L3 csf", "L3 CSF"
    for segment_id in list(segments.GetSegmentIDs()):
        segment = segments.GetSegment(segment_id)
        if segment_id in instead_of or segment.GetName().casefold() in names:
            change.removed.append((segment_id, _copy(segment)))
            segments.RemoveSegment(segment_id)
    for segment in made:
        new_id = segments.GenerateUniqueSegmentID(segment.GetName())
        segments.AddSegment(segment, new_id)
        change.added.append(new_id)
    segmentation.EndModify(modified)
    return change


def import_labels(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    source: slicer.vtkMRMLNode,
    convention: str,
    resample: bool = False,
) -> tuple[list[Region], Change]:
    """Add the regions of another tool's label map or segmentation to a segmentation.

    Args:
        segmentation: takes them; segments of the same name are replaced.
        volume_node: on its grid.
        source: a label map volume, or a segmentation whose segments kept their label values.
        convention: one of label_maps.CONVENTIONS.
        resample: whether labels on another grid are resampled (nearest neighbor).

    Raises:
        ValueError: no label of the convention, or another grid without `resample`.
    """
    labels, moved = labels_on_grid(source, volume_node, resample)
    regions = regions_of_convention(labels, convention)
    for region in regions:
        if moved:
            region.cautions.append("Resampled from another voxel grid.")
    return regions, add_regions(segmentation, volume_node, regions)


def accept(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str) -> Change:
    """Take a doubtful segment as right, as somebody has looked at it."""
    segments = segmentation.GetSegmentation()
    segment = segments.GetSegment(segment_id)
    change = Change(judged=[(segment_id, _copy(segment))])
    judge_right(segment)
    return change


def take_back(segmentation: slicer.vtkMRMLSegmentationNode, change: Change) -> None:
    """Undo a change; what has been drawn since in segments that it added goes with them."""
    segments = segmentation.GetSegmentation()
    modified = segmentation.StartModify()
    for segment_id in change.added:
        if segments.GetSegment(segment_id):
            segments.RemoveSegment(segment_id)
    for segment_id, segment in change.removed:
        segments.AddSegment(_copy(segment), segment_id)
    for segment_id, name, site in change.renamed:
        if segment := segments.GetSegment(segment_id):
            rename(segment, name, segment_identity(segment)[0], site)
    for segment_id, before in change.judged:
        if segment := segments.GetSegment(segment_id):
            for tag in (CAUTIONS_TAG, DOUBTFUL_TAG):
                segment.SetTag(tag, segment_tag(before, tag))
    segmentation.EndModify(modified)


def _copy(segment: slicer.vtkSegment) -> slicer.vtkSegment:
    copied = slicer.vtkSegment()
    copied.DeepCopy(segment)
    return copied


def rename(segment: slicer.vtkSegment, name: str, role: Role, site: str) -> None:
    """Give a segment another name and what it says it is."""
    segment.SetName(name)
    segment.SetTag(ROLE_TAG, role.value)
    segment.SetTag(SITE_TAG, site)
    segment.SetTag(segment.GetTerminologyEntryTagName(), terminology_entry(role, site))
