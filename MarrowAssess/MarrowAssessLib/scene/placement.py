"""One click in a view becomes segments of a segmentation; levels and other tools' labels, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import slicer
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.scene.volumes import volume_from_node, world_matrix

from MarrowAssessLib.catalogue.anatomy import Role, parse_role, parse_site
from MarrowAssessLib.catalogue.terminology import terminology_entry
from MarrowAssessLib.placement import judgment
from MarrowAssessLib.placement.body import MARGIN_MM
from MarrowAssessLib.placement.judgment import Click, click_doubts
from MarrowAssessLib.placement.level_names import KnownLevel, shifted_site
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.placement.structure import place
from MarrowAssessLib.scene.segments import (
    CAUTIONS_TAG,
    DOUBTFUL_TAG,
    ROLE_TAG,
    SITE_TAG,
    judge_right,
    known_segments,
    labels_on_grid,
    region_segment,
    regions_from_node,
    segment_identity,
    segment_points,
    segment_tag,
)
from MarrowAssessLib.sources.label_maps import regions_of_convention
from MarrowAssessLib.study.regions import Region, doubt


def place_region(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    point_ras: Sequence[float],
    role: str,
    site: str = "",
    options: PlacingOptions = AS_USUAL,
) -> tuple[Region, Change]:
    """Draw the structure at a point into a segmentation; a region of that name is replaced.

    Vertebrae, discs and CSF next to a level that the segmentation names get their level from it
    (the body above "L3" becomes "L2"), unless a site is given that it does not hold yet.

    Args:
        segmentation: takes the measurement ROI as a segment.
        volume_node: the image that was clicked in.
        point_ras: mm in the world.
        role, site: what it is; where neither site nor neighbor tells, the segment gets a number.
        options: how many lumbar vertebrae there are, and what ROIs leave out.

    Returns:
        The region, and what was done. Doubts are cautions of the region: those of the placement, a
        site that was given against what the neighbors tell, another tissue's segment or level
        there, hardly any signal.

    Raises:
        ValueError: unknown role or site, nothing found, no signal, the point lies outside the
            image, or the site given is drawn elsewhere and no neighbor tells the level here.
    """
    volume = volume_from_node(volume_node)
    click = read_click(segmentation, volume, point_ras, role, site, options)
    placed = place(volume, click.point, click.role, click.site, options=options)
    region = placed.roi
    if not region.voxels:
        raise ValueError(" ".join(["Nothing was found round this point.", *placed.unsure]))
    others = other_regions(segmentation, volume_node, region.role)
    region.cautions += click_doubts(click, volume, region, others)
    doubt([region])
    if not region.site:
        region = replace(region, name=_numbered(segmentation, region.name))
    return region, add_regions(segmentation, volume_node, [region])


def read_click(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume: Volume,
    point_ras: Sequence[float],
    role: str,
    site: str = "",
    options: PlacingOptions = AS_USUAL,
    inside: str = "",
) -> Click:
    """Name a click by the segments that are drawn; see `judgment.read_click`.

    Raises:
        ValueError: unknown role or site, or see `judgment.read_click`.
    """
    held = {(one.role, one.site) for one in known_segments(segmentation)}
    return judgment.read_click(
        volume,
        point_ras,
        parse_role(role),
        parse_site(site),
        options,
        known_levels(segmentation),
        held,
        inside,
    )


def other_regions(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    role: Role,
    going: Sequence[str] = (),
) -> list[Region]:
    """The segments of other tissues as regions on a volume's grid.

    None where they are on another grid, or surfaces.

    Args:
        segmentation, volume_node: what is drawn on what.
        role: of whose segments none is given.
        going: IDs of further segments that are not.
    """
    others = [
        one.id
        for one in known_segments(segmentation)
        if one.role is not role and one.id not in going
    ]
    try:
        return regions_from_node(segmentation, volume_node, segment_ids=others)
    except ValueError:
        return []


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
        volume_node: on its grid.
        regions: may be none.
        instead_of: IDs of further segments that go.

    Raises:
        ValueError: see segment_nodes.region_segment; the segmentation is then as it was.
    """
    made = [region_segment(region, volume_node) for region in regions]
    change = Change()
    modified = segmentation.StartModify()
    segments = segmentation.GetSegmentation()
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
            _rename(segment, name, segment_identity(segment)[0], site)
    for segment_id, before in change.judged:
        if segment := segments.GetSegment(segment_id):
            for tag in (CAUTIONS_TAG, DOUBTFUL_TAG):
                segment.SetTag(tag, segment_tag(before, tag))
    segmentation.EndModify(modified)


def _copy(segment: slicer.vtkSegment) -> slicer.vtkSegment:
    copied = slicer.vtkSegment()
    copied.DeepCopy(segment)
    return copied


def _rename(segment: slicer.vtkSegment, name: str, role: Role, site: str) -> None:
    segment.SetName(name)
    segment.SetTag(ROLE_TAG, role.value)
    segment.SetTag(SITE_TAG, site)
    segment.SetTag(segment.GetTerminologyEntryTagName(), terminology_entry(role, site))


def accept(segmentation: slicer.vtkMRMLSegmentationNode, segment_id: str) -> Change:
    """Take a doubtful segment as right, as somebody has looked at it."""
    segments = segmentation.GetSegmentation()
    segment = segments.GetSegment(segment_id)
    change = Change(judged=[(segment_id, _copy(segment))])
    judge_right(segment)
    return change


def known_levels(segmentation: slicer.vtkMRMLSegmentationNode) -> list[KnownLevel]:
    """The vertebrae and discs of a segmentation that have their level, in the world."""
    to_world = world_matrix(segmentation)
    found = []
    for one in known_segments(segmentation):
        if one.role not in (Role.MARROW, Role.DISC) or not one.site:
            continue
        points = segment_points(one.segment)
        if len(points):
            points = points @ to_world[:3, :3].T + to_world[:3, 3]
            found.append(judgment.known_level(one.site, one.role, points, MARGIN_MM[one.role]))
    return found


def shift_levels(
    segmentation: slicer.vtkMRMLSegmentationNode, shift: int, lumbar: int = 5
) -> tuple[list[str], Change]:
    """Move the level of every vertebra, disc and CSF by so many vertebrae (+1: toward the feet).

    Returns:
        The new names of the segments that were renamed, and what was done.

    Raises:
        ValueError: a level would leave the spine, or there is none; nothing is then renamed.
    """
    known = known_segments(segmentation)
    moved = [(one, shifted_site(one.site, shift, lumbar)) for one in known]
    moved = [(one, site) for one, site in moved if site != one.site]
    if not moved:
        raise ValueError("No region has a level such as L3 that could be moved.")
    change = Change(renamed=[(one.id, one.segment.GetName(), one.site) for one, _ in moved])
    modified = segmentation.StartModify()
    for one, site in moved:
        old = one.segment.GetName()
        name = old.replace(one.site, site, 1) if one.site in old else f"{site} {one.role.value}"
        _rename(one.segment, name, one.role, site)
    segmentation.EndModify(modified)
    return [one.segment.GetName() for one, _ in moved], change


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


def _numbered(segmentation: slicer.vtkMRMLSegmentationNode, name: str) -> str:
    segments = segmentation.GetSegmentation()
    taken = {segments.GetSegment(one).GetName() for one in segments.GetSegmentIDs()}
    number = 1
    while f"{name} {number}" in taken:
        number += 1
    return f"{name} {number}"
