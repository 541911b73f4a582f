"""One click in a view becomes segments of a segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import slicer
from PDFFMapperLib.volume_nodes import volume_from_node

from MarrowAssessLib.anatomy import parse_role, parse_site
from MarrowAssessLib.column import Column, follow_column
from MarrowAssessLib.placement import place
from MarrowAssessLib.regions import Region
from MarrowAssessLib.scene import regions_to_node


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
        ValueError: unknown role or site, nothing found, or the point lies outside the image.
    """
    point = np.asarray(point_ras, float)
    placed = place(volume_from_node(volume_node), point, parse_role(role), parse_site(site))
    region = placed.roi
    if not region.voxels:
        raise ValueError(" ".join(["Nothing was found round this point.", *placed.unsure]))
    if not region.site:
        region = replace(region, name=_numbered(segmentation, region.name))
    add_regions(segmentation, volume_node, [region])
    return region


def place_column(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    point_ras: Sequence[float],
    level: str,
) -> Column:
    """Draw vertebrae, discs, CSF and muscles found from a point in one body of known level.

    Raises:
        ValueError: no level is given or it does not exist.
    """
    site = parse_site(level)
    if not site:
        raise ValueError("Say which vertebra you click, such as L3, in the field 'Site'.")
    column = follow_column(volume_from_node(volume_node), np.asarray(point_ras, float), site)
    regions = [region for region in column.regions() if region.voxels]
    add_regions(segmentation, volume_node, regions)
    return column


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
