"""One click in a view becomes segments of a segmentation; levels and other tools' labels, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import slicer
from PDFFMapperLib.images.resampling import resampled
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.scene.volumes import volume_from_node, world_matrix

from MarrowAssessLib.catalogue.anatomy import Role, parse_role, parse_site
from MarrowAssessLib.placement import judgment
from MarrowAssessLib.placement.body import MARGIN_MM, Placement
from MarrowAssessLib.placement.judgment import Click, click_doubts
from MarrowAssessLib.placement.level_names import KnownLevel, shifted_site
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.placement.structure import place
from MarrowAssessLib.scene.edits import Change, add_regions, rename
from MarrowAssessLib.scene.segments import (
    drawn_on,
    known_segments,
    regions_from_node,
    segment_points,
)
from MarrowAssessLib.study.regions import Region, doubt


def place_region(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    point_ras: Sequence[float],
    role: str,
    site: str = "",
    options: PlacingOptions = AS_USUAL,
    find: Callable[..., Placement] = place,
) -> tuple[Region, Change]:
    """Draw the structure at a point into a segmentation; a region of that name is replaced.

    It is drawn on the segmentation's grid, also where nothing is drawn yet: an image on another
    one, as a PET is, is resampled onto it, or not all could be measured together.

    Vertebrae, discs and CSF next to a level that the segmentation names get their level from it
    (the body above "L3" becomes "L2"), unless a site is given that it does not hold yet.

    Args:
        segmentation: takes the measurement ROI as a segment.
        volume_node: the image that was clicked in.
        point_ras: mm in the world.
        role, site: what it is; where neither site nor neighbor tells, the segment gets a number.
        options: how many lumbar vertebrae there are, and what ROIs leave out.
        find: what finds the structure, `structure.place` or `clicks.place_clicked`.

    Returns:
        The region, and what was done. Doubts are cautions of the region: those of the placement, a
        site that was given against what the neighbors tell, another tissue's segment or level
        there, hardly any signal.

    Raises:
        ValueError: unknown role or site, nothing found, no signal, the point lies outside the
            image or the segmentation's grid, or the site given is drawn elsewhere and no
            neighbor tells the level here.
    """
    volume, grid_node = _on_its_grid(segmentation, volume_node, point_ras)
    click = read_click(segmentation, volume, point_ras, role, site, options)
    placed = find(volume, click.point, click.role, click.site, options=options)
    region = placed.roi
    if not region.voxels:
        raise ValueError(" ".join(["Nothing was found round this point.", *placed.unsure]))
    others = other_regions(segmentation, grid_node, region.role)
    region.cautions += click_doubts(click, volume, region, others)
    doubt([region])
    if not region.site:
        region = replace(region, name=_numbered(segmentation, region.name))
    return region, add_regions(segmentation, grid_node, [region])


def _on_its_grid(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    point_ras: Sequence[float],
) -> tuple[Volume, slicer.vtkMRMLScalarVolumeNode]:
    """A clicked image on a segmentation's grid, and the node that has this grid.

    Raises:
        ValueError: the image holds the point, the grid does not.
    """
    volume = volume_from_node(volume_node)
    source = drawn_on(segmentation)
    if source is None:
        return volume, volume_node
    grid, point = volume_from_node(source, copy=False), np.asarray(point_ras, float)
    if volume.same_grid(grid):
        return volume, volume_node
    if volume.holds(point) and not grid.holds(point):
        raise ValueError(
            f"'{volume_node.GetName()}' shows this point, but regions are drawn on the grid of "
            f"'{source.GetName()}', which ends before it; measure this image by itself, with a new "
            "segmentation."
        )
    return resampled(volume, grid), source


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
        rename(one.segment, name, one.role, site)
    segmentation.EndModify(modified)
    return [one.segment.GetName() for one, _ in moved], change


def _numbered(segmentation: slicer.vtkMRMLSegmentationNode, name: str) -> str:
    segments = segmentation.GetSegmentation()
    taken = {segments.GetSegment(one).GetName() for one in segments.GetSegmentIDs()}
    number = 1
    while f"{name} {number}" in taken:
        number += 1
    return f"{name} {number}"
