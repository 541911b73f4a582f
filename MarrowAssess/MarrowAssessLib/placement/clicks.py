"""Points put in structures of an image, and the regions that are found from them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import numpy as np
from PDFFMapperLib.images.identity import short_hash
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress, share, tell

from MarrowAssessLib.catalogue.anatomy import Role, is_other_bone, parse_site
from MarrowAssessLib.catalogue.terminology import role_and_site
from MarrowAssessLib.placement.body import MARGIN_MM, Placement
from MarrowAssessLib.placement.column import Column
from MarrowAssessLib.placement.ct import as_seen
from MarrowAssessLib.placement.find_spine import Spine, find_spine
from MarrowAssessLib.placement.following import corrected, follow_column
from MarrowAssessLib.placement.found_outline import FoundOutlines, found_outlines
from MarrowAssessLib.placement.judgment import (
    click_doubts,
    known_level,
    read_click,
    require_inside,
)
from MarrowAssessLib.placement.level_names import KnownLevel
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.placement.spine_column import FOUND, body_at, find_column
from MarrowAssessLib.placement.spine_network import FINDING
from MarrowAssessLib.placement.structure import place
from MarrowAssessLib.study.regions import Region, doubt

Point = Sequence[float]  # right, anterior, superior; mm


def column_from_click(
    volume: Volume,
    point_ras: Sequence[float],
    level: str,
    options: PlacingOptions = AS_USUAL,
    *,
    progress: Progress | None = None,
) -> Column:
    """The found column with the names that a click settles; where none is found, followed from it.

    Raises:
        ValueError: see `following.follow_column`.
        InterruptedError: canceled.
    """
    if level not in options.levels or not volume.holds(np.asarray(point_ras, float)):
        return follow_column(volume, point_ras, level, options)  # says what is wrong
    try:
        return find_column([volume], options, click=(level, point_ras), progress=progress)
    except ValueError as error:
        column = follow_column(as_seen(volume), point_ras, level, options, progress=progress)
        column.unsure.append(f"Followed from the click alone. {error}")
        return column


def place_clicked(
    volume: Volume,
    point: np.ndarray,
    role: Role,
    site: str = "",
    options: PlacingOptions = AS_USUAL,
    progress: Progress | None = None,
) -> Placement:
    """Find the structure of a given role at a click; see `structure.place`.

    A vertebral body is that of the found spine where this is sure, as without a click; else it is
    sought from the click alone, with the doubts that this leaves. The spine is found at an image's
    first click in a vertebra; `progress` is called with the fraction done, and answering False
    cancels.

    Raises:
        InterruptedError: canceled.
    """
    volume = as_seen(volume)
    if role is Role.MARROW and not is_other_bone(site) and volume.holds(point):
        found = _spine_in(volume, progress)
        placed = body_at(volume, *found, point, site, options) if found is not None else None
        if placed is not None:
            return placed
    return place(volume, point, role, site, options=options)


def find_ahead(volume: Volume, progress: Progress | None = None) -> None:
    """Find what the first click in an image waits for.

    Raises:
        InterruptedError: canceled; nothing is kept then.
    """
    _spine_in(as_seen(volume), progress)


def _spine_in(volume: Volume, progress: Progress | None) -> tuple[Spine, FoundOutlines] | None:
    """The spine found in an image, None without one; that of the last image is kept."""
    key = short_hash(volume), volume.ijk_to_ras.tobytes()
    with contextlib.suppress(KeyError):
        return _FOUND[key]
    try:
        spine = find_spine([volume], progress=progress)
    except ValueError:  # no spine in view, or slices too far apart: the click alone then
        found = None
    else:
        found = spine, found_outlines(volume, spine, share(progress, FOUND, 1))
    tell(progress, 1, FINDING)
    _FOUND.clear()
    _FOUND[key] = found
    return found


_FOUND: dict[tuple[str, bytes], tuple[Spine, FoundOutlines] | None] = {}


def regions_from_clicks(
    volume: Volume,
    column: Mapping[str, Point] | None = None,
    places: Mapping[str, Point] | None = None,
    options: PlacingOptions = AS_USUAL,
    drawn: Sequence[Region] = (),
) -> tuple[list[Region], str]:
    """Find regions from points in an image, as the clicks in the panel do.

    Args:
        volume: image.
        column: a vertebra ("L3") and a point in it, from which the column is followed.
        places: structures by name ("L2 marrow", "left psoas muscle", "fat") and points in them. A
            vertebra replaces the column's, and what hangs on it is found anew.
        options: how many lumbar vertebrae there are, and what ROIs leave out.
        drawn: regions that are there already, on the volume's grid.

    Returns:
        The measurement ROIs, doubtful where their cautions say why they may be wrong, and a
        sentence on what the column found and missed ("" without one).

    Raises:
        ValueError: an unknown name, a point outside the image or without signal, or nothing found
            at it.
    """
    found: Column | None = None
    placed: dict[tuple[Role, str], Region] = {}
    for level, point in (column or {}).items():
        if found is not None:
            raise ValueError("The column is followed from one vertebra; put points in others.")
        site = parse_site(level)
        require_inside(volume, point, level)
        found = column_from_click(volume, np.asarray(point, float), site, options)
        seed = found.bodies[site]
        if not seed.roi.voxels:
            raise ValueError(" ".join([f"No vertebra was found at {level}.", *seed.unsure]))
    volume = as_seen(volume)
    for name, point in (places or {}).items():
        role, site = role_and_site(name)
        require_inside(volume, point, name)
        there = [*drawn, *_together(found, placed).values()]
        click = read_click(volume, point, role, site, options, known_levels(volume, there))
        site = click.site
        in_column = role is Role.MARROW and site and "-" not in site and not is_other_bone(site)
        if found is not None and in_column:
            found = corrected(volume, found, site, options, point_ras=click.point)
            one = found.bodies[site]
        else:
            one = place_clicked(volume, click.point, role, site, options)
        if not one.roi.voxels:
            raise ValueError(" ".join([f"Nothing was found at {name}.", *one.unsure]))
        placed[role, site] = one.roi
        beside = [*drawn, *_together(found, placed).values()]
        one.roi.cautions += click_doubts(click, volume, one.roi, beside)
    said = found.told() if found is not None else ""
    regions = list(_together(found, placed).values())
    doubt(regions)
    return regions, said


def known_levels(volume: Volume, regions: Sequence[Region]) -> list[KnownLevel]:
    """The vertebrae and discs among regions that have their level."""
    found = []
    for region in regions:
        if region.role in (Role.MARROW, Role.DISC) and region.site:
            at = np.argwhere(region.mask) + region.offset
            points = volume.to_ras(at[:, ::-1])
            found.append(known_level(region.site, region.role, points, MARGIN_MM[region.role]))
    return found


def _together(
    column: Column | None, placed: Mapping[tuple[Role, str], Region]
) -> dict[tuple[Role, str], Region]:
    followed = column.regions() if column else []
    return {(r.role, r.site): r for r in followed if r.voxels} | dict(placed)
