"""One click in a view becomes segments of a segmentation; levels and other tools' labels, too."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import slicer
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.scene.volumes import volume_from_node, world_matrix

from MarrowAssessLib.catalogue.anatomy import Role, parse_role, parse_site
from MarrowAssessLib.catalogue.terminology import terminology_entry
from MarrowAssessLib.placement.body import MARGIN_MM
from MarrowAssessLib.placement.level_names import (
    PITCH_PER_HEIGHT,
    KnownLevel,
    neighbor_site,
    shifted_site,
)
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

HEIGHT_COLUMN_MM = 3.0  # side of the columns in which a region's height is taken
NO_SIGNAL_MM = 3.0  # round a click; without any signal there it is air or was not scanned
DARK = 0.05  # of the image's 99th percentile; air is darker, marrow 0.1 and more in every contrast
SHARED = 0.1  # of a region's voxels in a segment of another tissue, above which one is wrong


def place_region(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    point_ras: Sequence[float],
    role: str,
    site: str = "",
    lumbar: int = 5,
    leave_out: Collection[str] = (),
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
        leave_out: "vein" of marrow, "fat" of muscle, see `placement.place`.

    Returns:
        The region, and what was done. Doubts are cautions of the region: those of the placement, a
        site that was given against what the neighbors tell, another tissue's segment or level
        there, hardly any signal.

    Raises:
        ValueError: unknown role or site, nothing found, no signal, the point lies outside the
            image, or the site given is drawn elsewhere and no neighbor tells the level here.
    """
    volume = volume_from_node(volume_node)
    click = read_click(segmentation, volume, point_ras, role, site, lumbar)
    placed = place(volume, click.point, click.role, click.site, leave_out=leave_out)
    region = placed.roi
    if not region.voxels:
        raise ValueError(" ".join(["Nothing was found round this point.", *placed.unsure]))
    region.cautions += click_doubts(click, segmentation, volume_node, volume, region)
    doubt([region])
    if not region.site:
        region = replace(region, name=_numbered(segmentation, region.name))
    return region, add_regions(segmentation, volume_node, [region])


@dataclass(frozen=True)
class Click:
    """A click in an image, and what its signal and the regions that are drawn tell of it.

    Attributes:
        point: (3,) mm in the world.
        role: what it was put on.
        site: what that is to be named, "" if unknown.
        doubts: sentences, why signal or neighbors contradict role or site.
    """

    point: np.ndarray
    role: Role
    site: str = ""
    doubts: tuple[str, ...] = ()


def read_click(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume: Volume,
    point_ras: Sequence[float],
    role: str,
    site: str = "",
    lumbar: int = 5,
    inside: str = "",
) -> Click:
    """Name a click by its neighbors, unless a site is given that is not drawn yet.

    Args:
        segmentation, volume, point_ras, role, site, lumbar: see `place_region`.
        inside: the level of a known body that holds the point, where the neighbors leave it open.

    Raises:
        ValueError: unknown role or site; the point lies outside the image or has no signal; or the
            vertebra given is drawn too far away to be what was clicked, and no neighbor tells the
            level here.
    """
    point, tissue, given = np.asarray(point_ras, float), parse_role(role), parse_site(site)
    doubts = _without_signal(volume, point, tissue)
    known = known_levels(segmentation)
    told = _told(known, point, tissue, lumbar) or inside
    held = {(one.role, one.site) for one in known_segments(segmentation)}
    if told and (not given or (tissue, given) in held):
        return Click(point, tissue, told, doubts)
    if told and told != given:
        named = f"Named {given} as given; its neighbors tell {told}."
        return Click(point, tissue, given, (*doubts, named))
    if tissue is Role.MARROW and not told and (tissue, given) in held:
        _require_near(known, point, given, lumbar)
    other = {Role.MARROW: Role.DISC, Role.DISC: Role.MARROW}.get(tissue)
    there = neighbor_site(known, point, other, lumbar) if other and not told else ""
    if there:
        doubts = (*doubts, f"Its neighbors tell that {there} {other.value} was clicked.")
    return Click(point, tissue, given, doubts)


def _told(known: Sequence[KnownLevel], point: np.ndarray, role: Role, lumbar: int) -> str:
    """The level that neighbors tell.

    One of them may lie wrong, and be clicked for that reason: a vertebra that the others expect
    here is meant, the nearest one where they do not agree.
    """
    bodies = [one for one in known if "-" not in one.site]
    if role is not Role.MARROW or len(bodies) < 2:
        return neighbor_site(known, point, role, lumbar)
    expected = [
        one
        for one in bodies
        if neighbor_site([b for b in bodies if b is not one], point, role, lumbar) == one.site
    ]
    if expected:
        return min(expected, key=lambda one: float(np.linalg.norm(one.center - point))).site
    return neighbor_site(bodies, point, role, lumbar)


def _require_near(known: Sequence[KnownLevel], point: np.ndarray, site: str, lumbar: int) -> None:
    """Refuse to draw a vertebra anew where neither itself nor its neighbors let expect it."""
    drawn = next((one for one in known if one.site == site), None)
    if drawn is None:  # a marrow region without a level of the spine
        return
    distance = float(np.linalg.norm(drawn.center - point))
    if distance > PITCH_PER_HEIGHT * drawn.height_mm:
        raise ValueError(
            f"{site} is drawn already, {distance:.0f} mm from this click, and no neighbor tells "
            "the level here; write under Place which vertebra you click."
        )
    others = [one for one in known if site not in one.site.split("-")]
    if disc := neighbor_site(others, point, Role.DISC, lumbar):
        raise ValueError(
            f"{site} is drawn already, and its neighbors tell that the {disc} disc was clicked; "
            f"click inside a vertebra, or delete {site} first."
        )


def _without_signal(volume: Volume, point: np.ndarray, role: Role) -> tuple[str, ...]:
    """A doubt where nothing is seen round a point; for marrow, or without values, an error."""
    if not volume.holds(point):
        raise ValueError("This point lies outside the image that is shown; click inside it.")
    ijk = np.rint(volume.ras_to_ijk(point)).astype(int)
    half = np.ceil(NO_SIGNAL_MM / volume.spacing).astype(int)
    low = np.maximum(ijk - half, 0)[::-1]
    high = (ijk + half + 1)[::-1]
    values = volume.array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    if not np.isfinite(values).any():
        raise ValueError("The image has no values round this point; click inside the structure.")
    if role is Role.NOISE or np.nan_to_num(values).any():
        return ()
    if role is Role.MARROW:  # the others may be 0 in a map of fat
        raise ValueError(
            "There is no signal round this point: it is air, or was not scanned; click inside the "
            "structure."
        )
    return ("There is no signal round the click: is it air?",)


def click_doubts(
    click: Click,
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    volume: Volume,
    region: Region,
    going: Sequence[str] = (),
) -> list[str]:
    """Why what was found may not be what was clicked: what the click tells, signal, overlaps.

    Args:
        click: what was clicked.
        segmentation: holds the neighbors.
        volume_node, volume: the image.
        region: what was found.
        going: IDs of segments that it replaces.
    """
    doubts = list(click.doubts)
    if click.role is Role.MARROW:
        bright = np.nanpercentile(volume.array[::2, ::2, ::2], 99)
        if np.nanmedian(region.values(volume.array)) < DARK * bright:
            doubts.append("The region is almost as dark as air.")
    return doubts + _shared(segmentation, volume_node, region, going)


def _shared(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    region: Region,
    going: Sequence[str],
) -> list[str]:
    """Segments of another tissue in which a region lies."""
    others = [
        one.id
        for one in known_segments(segmentation)
        if one.role is not region.role and one.id not in going
    ]
    try:
        drawn = regions_from_node(segmentation, volume_node, segment_ids=others)
    except ValueError:  # on another grid, or surfaces: nothing can be said
        return []
    found = []
    for other in drawn:
        boxes = list(zip(region.box, other.box, strict=True))
        both = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in boxes]
        if any(one.start >= one.stop for one in both):
            continue
        mine, theirs = (
            one.mask[
                tuple(slice(s.start - o, s.stop - o) for s, o in zip(both, one.offset, strict=True))
            ]
            for one in (region, other)
        )
        if np.count_nonzero(mine & theirs) > SHARED * min(region.voxels, other.voxels):
            found.append(f"It overlaps {other.name}: one of the two is wrong.")
    return found


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
            # A placed ROI lies a margin inside the body.
            height = _height_mm(points) + 2 * MARGIN_MM[one.role]
            found.append(KnownLevel(one.site, points.mean(axis=0), height))
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
