"""The followed column in a segmentation: found, corrected body by body, renamed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import slicer
from PDFFMapperLib.maps.progress import Progress
from PDFFMapperLib.scene.volumes import ijk_to_world, volume_from_node

from MarrowAssessLib.catalogue.anatomy import Role, column_levels, parse_role, parse_site
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.placement.clicks import column_from_click, place_clicked
from MarrowAssessLib.placement.column import Column, renamed
from MarrowAssessLib.placement.following import UNSURE_BESIDE, corrected
from MarrowAssessLib.placement.judgment import Click, click_doubts
from MarrowAssessLib.placement.level_names import shifted_site
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.placement.spine_column import (
    find_column_in,
    images_of_spine,
)
from MarrowAssessLib.scene.edits import Change, add_regions
from MarrowAssessLib.scene.placement import (
    other_regions,
    place_region,
    read_click,
)
from MarrowAssessLib.scene.segments import regions_from_node
from MarrowAssessLib.study.regions import Region, doubt

Key = tuple[Role, str]  # tissue and site


@dataclass(frozen=True)
class DrawnColumn:
    """A column and the segments that were drawn from it, for later corrections.

    Attributes:
        column: as it was found or corrected last.
        segmentation: that it was drawn into.
        volume_node: that it was found in.
        grid: the (4, 4) IJK to world matrix that the volume had then.
        drawn: ID of the segment, and region as it was drawn, by tissue and site.
    """

    column: Column
    segmentation: slicer.vtkMRMLSegmentationNode
    volume_node: slicer.vtkMRMLScalarVolumeNode
    grid: np.ndarray
    drawn: dict[Key, tuple[str, Region]]

    def lies_in(self, volume_node: slicer.vtkMRMLScalarVolumeNode) -> bool:
        """Whether it was found in this volume, and the volume is still where it was."""
        return volume_node is self.volume_node and np.allclose(ijk_to_world(volume_node), self.grid)

    def reaches(self, level: str, options: PlacingOptions = AS_USUAL) -> bool:
        """Whether a level is one of its bodies or the next beyond its ends."""
        levels = column_levels(options.lumbar)
        held = [levels.index(one) for one in self.column.bodies if one in levels]
        if level not in levels or not held:
            return False
        return min(held) - 1 <= levels.index(level) <= max(held) + 1

    def level_at(self, point_ras: Sequence[float]) -> str:
        """The level of the body that holds a point, "" if none or several do."""
        point = np.asarray(point_ras, float)[None]
        bodies = self.column.bodies.items()
        holding = [level for level, body in bodies if body.surface.contains(point)[0]]
        return holding[0] if len(holding) == 1 else ""

    def edited(self, key: Key, name: str) -> bool:
        """Whether a region was painted, renamed, replaced or deleted since it was drawn.

        One that was not drawn so far counts as edited where somebody drew one of that name.
        """
        segments = self.segmentation.GetSegmentation()
        if key not in self.drawn:
            names = (segments.GetSegment(one).GetName() for one in segments.GetSegmentIDs())
            return name.casefold() in (one.casefold() for one in names)
        segment_id, region = self.drawn[key]
        segment = segments.GetSegment(segment_id)
        if segment is None or segment.GetName() != region.name:
            return True
        try:
            (now,) = regions_from_node(
                self.segmentation, self.volume_node, segment_ids=[segment_id]
            )
        except ValueError:  # its tissue or its grid is another one
            return True
        return _key(now) != key or not _same_voxels(now, region)


@dataclass
class Placed:
    """What one click or painted body did.

    Attributes:
        region: what was clicked.
        change: to take it back.
        column: the column after it, None where none was found before.
        renewed: other regions that were drawn anew: discs, CSF and muscles found from that body.
        kept: names of regions that would have been, but were edited or deleted by hand.
        gone: names of regions that are not found any more.
    """

    region: Region
    change: Change
    column: DrawnColumn | None = None
    renewed: list[Region] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


def place_column(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    point_ras: Sequence[float],
    level: str,
    options: PlacingOptions = AS_USUAL,
    progress: Progress | None = None,
) -> tuple[DrawnColumn, Change]:
    """Draw vertebrae, discs, CSF and muscles found from a point in one body of known level.

    See `clicks.column_from_click`: the spine is found by itself, the click settles the names.

    Raises:
        ValueError: no level is given or it does not exist.
        InterruptedError: canceled; the segmentation is then as it was.
    """
    site = parse_site(level)
    if not site:
        raise ValueError("Say which vertebra you click, such as L3, under Place.")
    volume = volume_from_node(volume_node)
    point = np.asarray(point_ras, float)
    column = column_from_click(volume, point, site, options, progress=progress)
    return _draw(column, segmentation, volume_node)


def place_spine(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_nodes: Mapping[Contrast, slicer.vtkMRMLScalarVolumeNode],
    options: PlacingOptions = AS_USUAL,
    progress: Progress | None = None,
) -> tuple[DrawnColumn, Change]:
    """Draw the vertebrae, discs, CSF and muscles that are found without a click.

    Args:
        segmentation: to draw into.
        volume_nodes: the study's images by what they show, each on its own grid; the column is
            drawn on T1 where there is one, see `spine_column.images_of_spine`.
        options: how many lumbar vertebrae there are, and what ROIs leave out.
        progress: takes the fraction done; returning False cancels.

    Returns:
        The column, whose `column.ground` says where its levels' names come from and whose
        `column.unsure` what is not certain; and what was added, to take it back.

    Raises:
        ValueError: no image, or no spine was found; nothing is then changed.
        InterruptedError: canceled; the segmentation is then as it was.
    """
    if not volume_nodes:
        raise ValueError("No image was chosen; choose one that shows the spine, such as T1.")
    drawn_on = images_of_spine(list(volume_nodes)).drawn_on
    images = {contrast: volume_from_node(node) for contrast, node in volume_nodes.items()}
    column = find_column_in(images, options, progress=progress)
    return _draw(column, segmentation, volume_nodes[drawn_on])


def _draw(
    column: Column,
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
) -> tuple[DrawnColumn, Change]:
    regions = column.found_regions()
    change = add_regions(segmentation, volume_node, regions)
    drawn = _drawn(regions, change)
    grid = ijk_to_world(volume_node)
    return DrawnColumn(column, segmentation, volume_node, grid, drawn), change


def place_click(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    point_ras: Sequence[float],
    role: str,
    site: str = "",
    options: PlacingOptions = AS_USUAL,
    column: DrawnColumn | None = None,
    progress: Progress | None = None,
) -> Placed:
    """Draw what was clicked; a body of the column takes with it what was found from it.

    Args:
        segmentation, volume_node, point_ras, role, site, options: see `place_region`.
        column: what was found before in this segmentation, if anything.

    Raises:
        ValueError: see `place_region`; nothing is then changed.
        InterruptedError: canceled; nothing is changed.
    """
    if parse_role(role) is Role.MARROW and column is not None and column.lies_in(volume_node):
        volume, inside = volume_from_node(volume_node), column.level_at(point_ras)
        click = read_click(segmentation, volume, point_ras, role, site, options, inside)
        if column.reaches(click.site, options):
            return corrected_column(column, click.site, options, click)
    find = partial(place_clicked, progress=progress)
    region, change = place_region(segmentation, volume_node, point_ras, role, site, options, find)
    return Placed(region, change, column)


def correct_painted(
    column: DrawnColumn,
    segment_name: str,
    level: str = "",
    options: PlacingOptions = AS_USUAL,
) -> Placed:
    """Take a painted segment as a whole vertebral body: its ROI and what lies beside it follow.

    Painting a region alone changes that region only, as its voxels are what is measured. This is
    for a body that no click finds: paint all of it, in the segment of its level or in another one
    (which stays), and call this.

    Args:
        column: what was found before.
        segment_name: the painted segment, on the grid of the column's volume.
        level: of the body; "" takes the segment's.
        options: see `place_region`.

    Raises:
        ValueError: there is no such segment, it is empty or on another grid, or its level does not
            belong to the column.
    """
    if not column.lies_in(column.volume_node):
        raise ValueError(
            f"'{column.volume_node.GetName()}' was moved since the column was found in it; find "
            "the column again."
        )
    segment_id = column.segmentation.GetSegmentation().GetSegmentIdBySegmentName(segment_name)
    if not segment_id:
        raise ValueError(f"There is no segment '{segment_name}'; paint the vertebral body first.")
    (painted,) = regions_from_node(
        column.segmentation, column.volume_node, segment_ids=[segment_id]
    )
    site = parse_site(level) or painted.site
    if not column.reaches(site, options):
        raise ValueError(
            f"'{site or segment_name}' is no level of this column or next to it; say which "
            "vertebra was painted, such as L3."
        )
    shape = column.volume_node.GetImageData().GetDimensions()[::-1]
    return corrected_column(column, site, options, painted=painted.full_mask(shape))


def corrected_column(
    column: DrawnColumn,
    level: str,
    options: PlacingOptions = AS_USUAL,
    click: Click | None = None,
    painted: np.ndarray | None = None,
) -> Placed:
    """Find one body of a column anew, or add one, from a click or a painted body.

    What was found from the body before is found anew as well, nothing else. Regions that were
    edited or deleted by hand stay as they are, except the body itself.

    Raises:
        ValueError: no such level, nothing found or no signal; nothing is then changed.
    """
    volume = volume_from_node(column.volume_node)
    point = click.point if click else None
    after = corrected(volume, column.column, level, options, point_ras=point, painted=painted)
    body = after.bodies[level].roi
    if not body.voxels:
        raise ValueError(" ".join(["Nothing was found there.", *after.bodies[level].unsure]))
    old = {_key(region): region for region in column.column.regions()}
    new = {_key(region): region for region in after.regions()}
    touched = [key for key in {**old, **new} if old.get(key) is not new.get(key)]
    names = {key: (new.get(key) or old[key]).name for key in touched}
    edited = [key for key in touched if key != _key(body) and column.edited(key, names[key])]
    going = [key for key in touched if key not in edited and key in column.drawn]
    going_ids = [column.drawn[key][0] for key in going]
    drawn_anew = [new[key] for key in touched if key not in edited and key in new]
    drawn_anew = [region for region in drawn_anew if region.voxels]
    if click:
        others = other_regions(column.segmentation, column.volume_node, body.role, going_ids)
        body.cautions += click_doubts(click, volume, body, others)
    beside = [disc for site, disc in after.discs.items() if level in site.split("-")]
    body.cautions += [
        f"{disc.roi.name} beside it: {one}"
        for disc in beside
        for one in disc.unsure
        if one != UNSURE_BESIDE  # that body says so itself
    ]
    doubt(drawn_anew)
    change = add_regions(column.segmentation, column.volume_node, drawn_anew, going_ids)
    drawn = {key: one for key, one in column.drawn.items() if key not in going}
    drawn |= _drawn(drawn_anew, change)
    return Placed(
        body,
        change,
        replace(column, column=after, drawn=drawn),
        renewed=[region for region in drawn_anew if region is not body],
        kept=[names[key] for key in edited],
        gone=[names[key] for key in going if key not in drawn],
    )


def renamed_column(column: DrawnColumn, shift: int, lumbar: int = 5) -> DrawnColumn:
    """The column after `shift_levels` has renamed its segments.

    Raises:
        ValueError: a level would leave the spine.
    """
    drawn = {}
    for (role, site), (segment_id, region) in column.drawn.items():
        moved = shifted_site(site, shift, lumbar)
        name = region.name.replace(site, moved, 1) if site else region.name
        drawn[role, moved] = segment_id, replace(region, name=name, site=moved)
    return replace(column, column=renamed(column.column, shift, lumbar), drawn=drawn)


def _drawn(regions: Sequence[Region], change: Change) -> dict[Key, tuple[str, Region]]:
    return {
        _key(region): (segment_id, region)
        for region, segment_id in zip(regions, change.added, strict=True)
    }


def _key(region: Region) -> Key:
    return region.role, region.site


def _same_voxels(one: Region, other: Region) -> bool:
    return one.offset == other.offset and np.array_equal(one.mask, other.mask)
