"""One click in a view becomes segments of a segmentation; levels and other tools' labels, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import slicer
from PDFFMapperLib.volume_nodes import volume_from_node

from MarrowAssessLib.anatomy import Role, parse_role, parse_site
from MarrowAssessLib.body import MARGIN_MM
from MarrowAssessLib.column import Column, follow_column
from MarrowAssessLib.label_maps import regions_from_labels
from MarrowAssessLib.level_names import KnownLevel, neighbor_site, shifted_site
from MarrowAssessLib.placement import place
from MarrowAssessLib.regions import Region
from MarrowAssessLib.scene import (
    ROLE_TAG,
    SITE_TAG,
    labels_on_grid,
    regions_to_node,
    segment_identity,
    segment_points,
    world_matrix,
)
from MarrowAssessLib.terminology import terminology_entry

HEIGHT_COLUMN_MM = 3.0  # side of the columns in which a region's height is taken


def place_region(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    point_ras: Sequence[float],
    role: str,
    site: str = "",
    lumbar: int = 5,
) -> tuple[Region, Change]:
    """Draw the structure at a point into a segmentation; a region of that name is replaced.

    Vertebrae, discs and CSF next to a level that the segmentation names get their level from it
    (the body above "L3" becomes "L2"), unless a site is given that it does not hold yet.

    Args:
        segmentation: takes the measurement ROI as a segment.
        volume_node: the image that was clicked in.
        point_ras: mm in the world.
        role, site: what it is; where neither site nor neighbor tells, the segment gets a number.
        lumbar: how many lumbar vertebrae there are.

    Returns:
        The region, and what was done. A site that was given against what the neighbors tell is a
        caution of the region.

    Raises:
        ValueError: unknown role or site, nothing found, or the point lies outside the image.
    """
    point = np.asarray(point_ras, float)
    tissue, given = parse_role(role), parse_site(site)
    told = neighbor_site(known_levels(segmentation), point, tissue, lumbar)
    held = {(one.role, one.site) for one in _identities(segmentation)}
    named = told if told and (not given or (tissue, given) in held) else given
    placed = place(volume_from_node(volume_node), point, tissue, named)
    region = placed.roi
    if not region.voxels:
        raise ValueError(" ".join(["Nothing was found round this point.", *placed.unsure]))
    if told and named != told:
        region.cautions.append(f"Named {named} as given; its neighbors tell {told}.")
    if not region.site:
        region = replace(region, name=_numbered(segmentation, region.name))
    return region, add_regions(segmentation, volume_node, [region])


def place_column(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    point_ras: Sequence[float],
    level: str,
    lumbar: int = 5,
    progress: Callable[[float], bool] | None = None,
) -> tuple[Column, Change]:
    """Draw vertebrae, discs, CSF and muscles found from a point in one body of known level.

    Raises:
        ValueError: no level is given or it does not exist.
        InterruptedError: canceled; the segmentation is then as it was.
    """
    site = parse_site(level)
    if not site:
        raise ValueError("Say which vertebra you click, such as L3, in the field 'Site'.")
    point = np.asarray(point_ras, float)
    volume = volume_from_node(volume_node)
    column = follow_column(volume, point, site, lumbar=lumbar, progress=progress)
    regions = [region for region in column.regions() if region.voxels]
    return column, add_regions(segmentation, volume_node, regions)


@dataclass
class Change:
    """What was done to a segmentation, so that it can be taken back.

    Attributes:
        added: IDs of new segments.
        removed: ID and copy of each segment that is gone.
        renamed: ID, name and site of each segment before it was renamed.
    """

    added: list[str] = field(default_factory=list)
    removed: list[tuple[str, slicer.vtkSegment]] = field(default_factory=list)
    renamed: list[tuple[str, str, str]] = field(default_factory=list)


def add_regions(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    regions: Sequence[Region],
) -> Change:
    """Put regions on a volume's grid into a segmentation; segments of the same name go.

    Raises:
        ValueError: see scene.regions_to_node; the segmentation is then as it was.
    """
    made = regions_to_node(regions, volume_node, "MarrowAssess placing")
    change = Change()
    try:
        modified = segmentation.StartModify()
        segments = segmentation.GetSegmentation()
        for region in regions:
            for segment_id in list(segments.GetSegmentIDs()):
                if segments.GetSegment(segment_id).GetName() == region.name:
                    change.removed.append((segment_id, _copy(segments.GetSegment(segment_id))))
                    segments.RemoveSegment(segment_id)
            new_id = segments.GenerateUniqueSegmentID(region.name)
            segments.AddSegment(_copy(made.GetSegmentation().GetSegment(region.name)), new_id)
            change.added.append(new_id)
        segmentation.EndModify(modified)
    finally:
        display = made.GetDisplayNode()
        slicer.mrmlScene.RemoveNode(made)
        if display is not None and slicer.mrmlScene.IsNodePresent(display):
            slicer.mrmlScene.RemoveNode(display)
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


def known_levels(segmentation: slicer.vtkMRMLSegmentationNode) -> list[KnownLevel]:
    """The vertebrae and discs of a segmentation that have their level, in the world."""
    to_world = world_matrix(segmentation)
    found = []
    for identity in _identities(segmentation):
        if identity.role not in (Role.MARROW, Role.DISC) or not identity.site:
            continue
        points = segment_points(identity.segment)
        if len(points):
            points = points @ to_world[:3, :3].T + to_world[:3, 3]
            # A placed ROI lies a margin inside the body.
            height = _height_mm(points) + 2 * MARGIN_MM[identity.role]
            found.append(KnownLevel(identity.site, points.mean(axis=0), height))
    return found


def _height_mm(points: np.ndarray) -> float:
    """From foot to head, of most of a region: a tilted body is not higher for its tilt."""
    columns = np.floor(points[:, :2] / HEIGHT_COLUMN_MM).astype(int)
    _, column = np.unique(columns, axis=0, return_inverse=True)
    column = column.ravel()
    low, high = np.full(column.max() + 1, np.inf), np.full(column.max() + 1, -np.inf)
    np.minimum.at(low, column, points[:, 2])
    np.maximum.at(high, column, points[:, 2])
    return float(np.percentile(high - low, 75))


def shift_levels(
    segmentation: slicer.vtkMRMLSegmentationNode, shift: int, lumbar: int = 5
) -> tuple[list[str], Change]:
    """Move the level of every vertebra, disc and CSF by so many vertebrae (+1: toward the feet).

    Returns:
        The new names of the segments that were renamed, and what was done.

    Raises:
        ValueError: a level would leave the spine, or there is none; nothing is then renamed.
    """
    identities = _identities(segmentation)
    moved = [(one, shifted_site(one.site, shift, lumbar)) for one in identities]
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
    regions = regions_from_labels(labels, convention)
    for region in regions:
        if moved:
            region.cautions.append("Resampled from another voxel grid.")
    return regions, add_regions(segmentation, volume_node, regions)


@dataclass(frozen=True)
class _Identity:
    """A segment whose tissue is known."""

    id: str
    segment: slicer.vtkSegment
    role: Role
    site: str


def _identities(segmentation: slicer.vtkMRMLSegmentationNode) -> list[_Identity]:
    segments = segmentation.GetSegmentation()
    found = []
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        try:
            role, site, _ = segment_identity(segment)
        except ValueError:
            continue  # a segment of unknown tissue is left alone
        found.append(_Identity(segment_id, segment, role, site))
    return found


def _numbered(segmentation: slicer.vtkMRMLSegmentationNode, name: str) -> str:
    segments = segmentation.GetSegmentation()
    taken = {segments.GetSegment(one).GetName() for one in segments.GetSegmentIDs()}
    number = 1
    while f"{name} {number}" in taken:
        number += 1
    return f"{name} {number}"
