"""One click in a view becomes segments of a segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import slicer
from PDFFMapperLib.volume_nodes import volume_from_node

from MarrowAssessLib.anatomy import parse_role, parse_site
from MarrowAssessLib.regions import Region
from MarrowAssessLib.scene import regions_to_node

MISSING = "This version has no {what}; draw the region in the Segment Editor and name it."


def place_region(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    point_ras: Sequence[float],
    role: str,
    site: str = "",
) -> Region:
    """Draw the structure at a point into a segmentation; a region of that name is replaced.

    Args:
        segmentation: takes the measurement ROI as a segment.
        volume_node: the image that was clicked in.
        point_ras: mm in the world.
        role, site: what it is; without a site the segment gets a number.

    Raises:
        ValueError: unknown role or site, or the point lies outside the image.
        NotImplementedError: one-click placement is not installed.
    """
    try:
        from MarrowAssessLib.placement import place
    except ModuleNotFoundError as error:
        raise NotImplementedError(MISSING.format(what="one-click placement")) from error
    placed = place(volume_from_node(volume_node), point_ras, parse_role(role), parse_site(site))
    region = placed.roi
    if not region.site:
        region = replace(region, name=_numbered(segmentation, region.name))
    add_regions(segmentation, volume_node, [region])
    return region


def find_column(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    point_ras: Sequence[float],
    level: str,
) -> list[Region]:
    """Draw all levels of the spine found from a point in one body whose level is named.

    Raises:
        ValueError: no level is given, or no vertebral body lies there.
        NotImplementedError: column finding is not installed.
    """
    try:
        from MarrowAssessLib.column import find_column as find
    except ModuleNotFoundError as error:
        raise NotImplementedError(MISSING.format(what="column finding")) from error
    site = parse_site(level)
    if not site:
        raise ValueError("Say which vertebra you click, such as L3, in the field 'Site'.")
    found = find(volume_from_node(volume_node), point_ras, site)
    regions = list(found.regions)
    add_regions(segmentation, volume_node, regions)
    return regions


def add_regions(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    regions: Sequence[Region],
) -> None:
    """Put regions on a volume's grid into a segmentation; segments of the same name go.

    Raises:
        ValueError: see scene.regions_to_node; the segmentation is then as it was.
    """
    made = regions_to_node(regions, volume_node, "MarrowAssess placing")
    try:
        modified = segmentation.StartModify()
        segments = segmentation.GetSegmentation()
        for region in regions:
            for segment_id in list(segments.GetSegmentIDs()):
                if segments.GetSegment(segment_id).GetName() == region.name:
                    segments.RemoveSegment(segment_id)
            segments.CopySegmentFromSegmentation(made.GetSegmentation(), region.name)
        segmentation.EndModify(modified)
    finally:
        display = made.GetDisplayNode()
        slicer.mrmlScene.RemoveNode(made)
        if display is not None and slicer.mrmlScene.IsNodePresent(display):
            slicer.mrmlScene.RemoveNode(display)


def _numbered(segmentation: slicer.vtkMRMLSegmentationNode, name: str) -> str:
    segments = segmentation.GetSegmentation()
    taken = {segments.GetSegment(one).GetName() for one in segments.GetSegmentIDs()}
    number = 1
    while f"{name} {number}" in taken:
        number += 1
    return f"{name} {number}"
