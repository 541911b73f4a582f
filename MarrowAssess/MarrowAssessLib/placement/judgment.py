"""What was clicked, judged by what is drawn round it and by the signal there.

The panel, the console and the command line judge by these functions. Doubts are sentences that go
with the region; what cannot be is an error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PDFFMapperLib.images.volume import Volume, lies_outside

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.placement.level_names import (
    PITCH_PER_HEIGHT,
    KnownLevel,
    agreeing,
    neighbor_site,
    out_of_order,
    told_from_afar,
)
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.study.regions import Region

HEIGHT_PERCENT = 75  # of the columns' heights: a region's, without its rounded ends
HEIGHT_COLUMN_MM = 3.0  # side of the columns in which a region's height is taken
NO_SIGNAL_MM = 3.0  # round a click; without any signal there it is air or was not scanned
BRIGHT_PERCENT = 99  # of the image: its brightest signal
DARK = 0.05  # of that; air is darker, marrow 0.1 and more in every contrast
SHARED = 0.1  # of a region's voxels in a region of another tissue, above which one is wrong


@dataclass(frozen=True)
class Click:
    """A click in an image, and what its signal and the regions that are drawn tell of it.

    Attributes:
        point: (3,) RAS mm.
        role: what it was put on.
        site: what that is to be named, "" if unknown.
        doubts: sentences, why signal or neighbors contradict role or site.
    """

    point: np.ndarray
    role: Role
    site: str = ""
    doubts: tuple[str, ...] = ()


def read_click(
    volume: Volume,
    point_ras: Sequence[float],
    role: Role,
    site: str = "",
    options: PlacingOptions = AS_USUAL,
    known: Sequence[KnownLevel] = (),
    held: Collection[tuple[Role, str]] = (),
    inside: str = "",
) -> Click:
    """Name a click by its neighbors, unless a site is given that is not held yet.

    Args:
        volume: the image that was clicked in.
        point_ras: RAS mm.
        role, site: what it is said to be; "" leaves the site to the neighbors.
        options: see PlacingOptions.
        known: vertebrae and discs that are drawn and named.
        held: tissues and sites that are drawn, whose name a click takes over from the neighbors; a
            site that is given in words each time is not among them.
        inside: the level of a known body that holds the point, where the neighbors leave it open.

    Raises:
        ValueError: the point lies outside the image or has no signal; or the vertebra given is
            drawn too far away to be what was clicked, and no neighbor tells the level here.
    """
    point = np.asarray(point_ras, float)
    doubts = _without_signal(volume, point, role)
    known = agreeing(known, point, site, options.lumbar)
    told = _told(known, point, role, options.lumbar) or inside
    if told and (not site or (role, site) in held):
        return Click(point, role, told, doubts)
    if told and told != site:
        named = f"Named {site} as given; its neighbors tell {told}."
        return Click(point, role, site, (*doubts, named))
    if role is Role.MARROW and not told and (role, site) in held:
        _require_near(known, point, site, options.lumbar)
    other = {Role.MARROW: Role.DISC, Role.DISC: Role.MARROW}.get(role)
    there = neighbor_site(known, point, other, options.lumbar) if other and not told else ""
    if there:
        doubts = (*doubts, f"Its neighbors tell that {there} {other.value} was clicked.")
    elif other and not told and (one := out_of_order(known, point, site, options.lumbar)):
        where = "below" if point[2] < one.center[2] else "above"
        doubts = (*doubts, f"Named {site} as given, but it lies {where} {one.site}.")
    elif other and not told and (far := told_from_afar(known, point, site, options.lumbar)):
        doubts = (*doubts, f"Named {site} as given; its neighbors tell {far}.")
    return Click(point, role, site, doubts)


def click_doubts(
    click: Click, volume: Volume, region: Region, others: Iterable[Region]
) -> list[str]:
    """Why what was found may not be what was clicked: what the click tells, signal, overlaps.

    Args:
        click: what was clicked.
        volume: the image.
        region: what was found.
        others: what is drawn beside it, on the volume's grid.
    """
    doubts = list(click.doubts)
    if click.role is Role.MARROW:
        bright = np.nanpercentile(volume.array[::2, ::2, ::2], BRIGHT_PERCENT)
        if np.nanmedian(region.values(volume.array)) < DARK * bright:
            doubts.append("The region is almost as dark as air.")
    doubts += [
        f"It overlaps {other.name}: one of the two is wrong."
        for other in others
        if other.role is not region.role and _overlap(region, other)
    ]
    return doubts


def require_inside(volume: Volume, point_ras: Sequence[float], what: str = "") -> None:
    """Refuse a point that no voxel holds.

    Raises:
        ValueError: it lies outside the image.
    """
    point = np.asarray(point_ras, float)
    if not volume.holds(point):
        where = ", ".join(f"{value:g}" for value in np.round(point, 1))
        point = f"{f'{what}: the' if what else 'The'} point {where} (RAS, mm)"
        raise ValueError(lies_outside(point, volume.name, "put it inside the image"))


def known_level(site: str, role: Role, points_ras: np.ndarray, margin_mm: float) -> KnownLevel:
    """A drawn vertebra or disc as a level that is known.

    Args:
        site: its level.
        role: marrow or disc.
        points_ras: (n, 3) mm, its voxels' centers.
        margin_mm: how far its border lies inside the structure's.
    """
    height = height_mm(points_ras) + 2 * margin_mm
    return KnownLevel(site, points_ras.mean(axis=0), height)


def height_mm(points_ras: np.ndarray) -> float:
    """From foot to head, of most of a region: a tilted body is not higher for its tilt."""
    columns = np.floor(points_ras[:, :2] / HEIGHT_COLUMN_MM).astype(int)
    _, column = np.unique(columns, axis=0, return_inverse=True)
    column = column.ravel()
    low, high = np.full(column.max() + 1, np.inf), np.full(column.max() + 1, -np.inf)
    np.minimum.at(low, column, points_ras[:, 2])
    np.maximum.at(high, column, points_ras[:, 2])
    return float(np.percentile(high - low, HEIGHT_PERCENT))


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
    require_inside(volume, point)
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


def _overlap(one: Region, other: Region) -> bool:
    """Whether two regions share more voxels than a border's width."""
    boxes = zip(one.box, other.box, strict=True)
    both = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in boxes]
    if any(part.start >= part.stop for part in both):
        return False
    mine, theirs = (
        region.mask[
            tuple(slice(s.start - o, s.stop - o) for s, o in zip(both, region.offset, strict=True))
        ]
        for region in (one, other)
    )
    return np.count_nonzero(mine & theirs) > SHARED * min(one.voxels, other.voxels)
