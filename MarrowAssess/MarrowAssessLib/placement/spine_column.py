"""The column of an image without a click: the found spine's bodies, discs, CSF and muscles.

The network tells where each structure is (`find_spine`); the bodies' borders are fitted to the
image's edges near the network's outline (`found_outline`). How far both disagree tells how sure a
body is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress, share, tell

from MarrowAssessLib.catalogue.anatomy import Role, column_levels
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.placement.body import MARGIN_MM, Placement, with_roi
from MarrowAssessLib.placement.canal import csf_of
from MarrowAssessLib.placement.column import CSF_LEVEL, Column, doubtful
from MarrowAssessLib.placement.ct import as_seen, is_ct
from MarrowAssessLib.placement.disc import disc_seen
from MarrowAssessLib.placement.find_spine import find_spine
from MarrowAssessLib.placement.fold import IN_FOLD, doubt_fold
from MarrowAssessLib.placement.found_outline import AT_EDGE_MM, FoundOutlines, found_outlines
from MarrowAssessLib.placement.found_spine import Spine
from MarrowAssessLib.placement.narrow import (
    MEASURED_SO,
    beyond_sides,
    is_narrow,
    width_mm,
)
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.placement.pelvis import find_pelvis
from MarrowAssessLib.placement.spine_network import FINDING
from MarrowAssessLib.placement.tissue import muscles_of
from MarrowAssessLib.placement.vertebra import (
    BELOW_FACE,
    HALF_WIDTH_TO_DEPTH,
    RAYS,
    Surface,
    template_points,
    voxelize,
)
from MarrowAssessLib.study.regions import Region

AGREE = 0.88  # least Dice of the network's outline and of the image's edges
CUT, MOSTLY_CUT = 0.06, 0.3  # share of a body's border outside the image, or where it ends
INFANT = "The bodies are as small as an infant's; their outlines are not certain."
CLICK_WITHIN = 1.2  # of a body's largest half size: a click beside it still means it
# Shares of the time that are past when the spine is found, bodies fitted, drawn, discs drawn.
FOUND, FITTED, DRAWN, DISCS = 0.8, 0.88, 0.92, 0.97

_TO_DRAW_ON = (
    Contrast.T1, Contrast.T2, Contrast.FS_T2, Contrast.IN_PHASE, Contrast.WATER, Contrast.T1_POST,
    Contrast.OPPOSED_PHASE, Contrast.FAT, Contrast.CT,
)  # fmt: skip
_FLUID_BRIGHT = (Contrast.T2, Contrast.FS_T2)


@dataclass(frozen=True)
class ImagesOfSpine:
    """Which images of a study show the spine.

    Attributes:
        drawn_on: the one whose grid the regions get.
        others: that are looked at as well.
        fluid: on which CSF is bright, if any.
    """

    drawn_on: Contrast
    others: tuple[Contrast, ...]
    fluid: Contrast | None


def images_of_spine(contrasts: Sequence[Contrast]) -> ImagesOfSpine:
    """T1 where there is one, and T2 or STIR beside it; another image where there is neither."""
    first = next((one for one in _TO_DRAW_ON if one in contrasts), contrasts[0])
    fluid = next((one for one in _FLUID_BRIGHT if one in contrasts), None)
    others = (fluid,) if fluid is not None and fluid is not first else ()
    return ImagesOfSpine(first, others, fluid)


def find_column_in(
    images: Mapping[Contrast, Volume],
    options: PlacingOptions = AS_USUAL,
    *,
    progress: Progress | None = None,
) -> Column:
    """Find the column in a study's images, each on its own grid; see `find_column`."""
    chosen = images_of_spine(list(images))
    volumes = [images[one] for one in (chosen.drawn_on, *chosen.others)]
    fluid = images[chosen.fluid] if chosen.fluid is not None else None
    return find_column(volumes, options, fluid=fluid, progress=progress)


def find_column(
    volumes: Sequence[Volume],
    options: PlacingOptions = AS_USUAL,
    *,
    fluid: Volume | None = None,
    click: tuple[str, Sequence[float]] | None = None,
    progress: Progress | None = None,
) -> Column:
    """Find bodies, discs, CSF and muscles; everything lies on the first volume's grid.

    Args:
        volumes: images of one patient by their headers, the one to draw in first.
        options: how many lumbar vertebrae there are, and what ROIs leave out.
        fluid: an image on which CSF is bright (T2, STIR), to find it on; None: the first volume.
        click: a level and a point (RAS, mm) in its body, which settles the names.
        progress: takes the fraction done; returning False cancels.

    Raises:
        ValueError: no spine was found, or no body at the click.
        InterruptedError: canceled.
    """
    ct = volumes[0] if is_ct(volumes[0]) else None
    volumes = [as_seen(one) for one in volumes]
    spine = find_spine(volumes, progress=progress)
    volume = volumes[0]
    outlines = found_outlines(volume, spine, share(progress, FOUND, FITTED))
    placed = [outlines.surface(n) for n in range(len(spine.bodies))]
    folded = doubt_fold(volumes, spine) if ct is None else []
    names, ground, doubts = _names(spine, [one for one, _ in placed], click, options)
    of_all = [INFANT] if spine.like_an_infant else []
    cut = [n for n in (0, len(placed) - 1) if _cut_share(volume, placed[n][0]) > MOSTLY_CUT]
    kept = [n for n in range(len(placed)) if n not in cut or (click and names[n] == click[0])]
    bodies, doubted = {}, {}
    for n in kept:
        tell(progress, FITTED + (DRAWN - FITTED) * n / len(placed), FINDING)
        surface, agreement = placed[n]
        said = [*doubts.get(n, []), *of_all, *([IN_FOLD] if n in folded else [])]
        bodies[names[n]] = _body(volume, surface, agreement, names[n], said, options)
        doubted[names[n]] = said
    column = Column(bodies, {}, ground=ground)
    column.disc_chance = spine.frame.with_array(spine.disc_chance().copy())
    for n, (upper, lower) in enumerate(pairwise(bodies)):
        tell(progress, DRAWN + (DISCS - DRAWN) * n / len(bodies), FINDING)
        site = f"{upper}-{lower}"
        pair = bodies[upper].surface, bodies[lower].surface
        column.discs[site] = disc_seen(volume, column.disc_chance, *pair, site)
        for sentence in dict.fromkeys([*doubted[upper], *doubted[lower]]):
            column.discs[site].doubt(sentence)
    tell(progress, DISCS, FINDING)
    beside = CSF_LEVEL if CSF_LEVEL in bodies else ""
    if ct is None and (beside or names[0].startswith("V")):  # CSF is no darker than what is around
        beside = beside or list(bodies)[len(bodies) // 2]
        column.csf = csf_of(volume, spine, bodies[beside].surface, beside, fluid)
        for sentence in doubted[beside]:
            column.csf.doubt(sentence)
    column.spine_chance = spine.frame.with_array(spine.spine_chance())
    column.muscles = muscles_of(volume, column.surfaces, options, column.spine_chance)
    if ct is not None and "S1" in bodies:
        column.pelvis = find_pelvis(ct, bodies["S1"].surface.box.center)
    column.unsure = [*_said(spine, names, click), *doubtful(bodies)]
    if is_narrow(volume):
        column.unsure.append(MEASURED_SO.format(width=width_mm(volume)))
    return column


def body_at(
    volume: Volume,
    spine: Spine,
    outlines: FoundOutlines,
    point_ras: np.ndarray,
    site: str = "",
    options: PlacingOptions = AS_USUAL,
) -> Placement | None:
    """The found body that holds a point; None where none does, or its outline or count is doubted.

    A body that the image cuts is the found one as well, and says so.

    Args:
        volume: the image that the spine was found in.
        spine: see `find_spine`.
        outlines: of its bodies.
        point_ras: mm.
        site: what the body is called; its place in the spine is not asked.
        options: what the ROI leaves out.
    """
    at = tuple(np.rint(spine.frame.ras_to_ijk(point_ras)).astype(int)[::-1])
    inside = all(0 <= n < size for n, size in zip(at, spine.bodies[0].mask.shape, strict=True))
    there = [n for n, one in enumerate(spine.bodies) if inside and one.mask[at]]
    if len(there) != 1 or spine.like_an_infant:
        return None
    if any(there[0] in (d.body, d.body + 1) for d in spine.count_doubts):
        return None
    surface, agreement = outlines.surface(there[0])
    if agreement < AGREE or _cut_share(volume, surface) > MOSTLY_CUT:
        return None
    placed = _body(volume, surface, agreement, site, [], options)
    return placed if placed.roi.voxels and placed.surface.contains(point_ras[None])[0] else None


def _cut_share(volume: Volume, surface: Surface) -> float:
    """Share of a body's border outside the image; a narrow one's sides are not asked."""
    ends = surface.box.center + template_points(surface) @ surface.box.axes
    return float(np.mean(np.isnan(surface.support) & ~beyond_sides(volume, ends)))


def _at_image_s_end(volume: Volume, surface: Surface) -> float:
    """Share of a body's border that is an endplate beyond which the image ends, not the body."""
    points = template_points(surface)
    plates = points[np.abs(RAYS.directions[:, 2]) > BELOW_FACE]
    plates[:, 2] += AT_EDGE_MM * np.sign(plates[:, 2])
    ends = surface.box.center + plates @ surface.box.axes
    ijk = volume.ras_to_ijk(ends)
    outside = ((ijk < -0.5) | (ijk > np.array(volume.array.shape[::-1]) - 0.5)).any(axis=1)
    return np.count_nonzero(outside & ~beyond_sides(volume, ends)) / len(points)


def _beyond_image(volume: Volume, surface: Surface) -> Surface:
    """A surface as wide as a body usually is where a narrow image holds a part of it alone."""
    if not is_narrow(volume):
        return surface
    half = surface.box.half.copy()
    half[0] = max(half[0], 2 * HALF_WIDTH_TO_DEPTH * half[1])
    return replace(surface, box=replace(surface.box, half=half))


def _body(volume, surface, agreement, site, doubts, options) -> Placement:
    unsure = list(doubts)
    if agreement < AGREE:
        unsure.append("The body's outline is not certain: its edges lie elsewhere than expected.")
    if max(_cut_share(volume, surface), _at_image_s_end(volume, surface)) > CUT:
        unsure.append("The body is cut by the edge of the image.")
    surface = _beyond_image(volume, surface)
    mask, offset = voxelize(volume, surface)
    region = Region(f"{site} marrow body".strip(), Role.MARROW, site, mask, offset)
    return with_roi(volume, region, surface, MARGIN_MM[Role.MARROW], options, unsure, agreement)


def _names(
    spine: Spine, surfaces: list[Surface], click, options: PlacingOptions
) -> tuple[list[str], str, dict[int, list[str]]]:
    """Names from head to foot, where they come from, and doubts of levels by body."""
    count, levels = len(surfaces), column_levels(options.lumbar)
    doubts: dict[int, list[str]] = {}
    anchor = count - 1
    if click is not None:
        level, point = click
        anchor = _clicked(surfaces, np.asarray(point, float), level)
        first = levels.index(level) - anchor
        ground = f"from the click in {level}"
        if spine.lowest and not spine.unsure_lowest:
            told = levels.index(spine.lowest) - (count - 1)
            if told != first:
                ground += f"; by the sacrum it would be {levels[told + anchor]}"
    elif spine.lowest:
        first = levels.index(spine.lowest) - (count - 1)
        ground = f"from the sacrum, {options.lumbar} lumbar vertebrae assumed"
        if spine.unsure_lowest:
            ground += f"; not certain: {spine.unsure_lowest}"
            reason = f"The level may be {spine.lowest_off} off: {spine.unsure_lowest}."
            doubts = {n: [reason] for n in range(count)}
    else:
        names = [f"V{count - n}" for n in range(count)]
        return names, "the sacrum is not in view: V1 is the lowest body, name one of them", {}
    names = [
        levels[first + n] if 0 <= first + n < len(levels) else f"V{count - n}" for n in range(count)
    ]
    for one in spine.count_doubts:
        beyond = range(one.body + 1) if anchor > one.body else range(one.body, count)
        for n in beyond:
            if n != anchor:
                reason = f"The level may be one off: at {names[one.body]}, {one.reading}."
                doubts.setdefault(n, []).append(reason)
    return names, ground, doubts


def _clicked(surfaces: list[Surface], point: np.ndarray, level: str) -> int:
    holding = [n for n, one in enumerate(surfaces) if one.contains(point[None])[0]]
    if holding:
        return holding[0]
    away = [float(np.linalg.norm(one.box.center - point)) for one in surfaces]
    nearest = int(np.argmin(away))
    if away[nearest] > CLICK_WITHIN * max(surfaces[nearest].box.half):
        raise ValueError(f"No vertebral body was found at {level}; click inside one.")
    return nearest


def _said(spine: Spine, names: list[str], click) -> list[str]:
    """Sentences about the finding as a whole."""
    said = [
        f"At {names[d.body]}, {d.reading}; the levels beyond may be one off."
        for d in spine.count_doubts
    ]
    if spine.unsure_lowest and click is None:
        why = f"The levels may be {spine.lowest_off} off: {spine.unsure_lowest}"
        said.append(f"{why}; say which level one of the bodies is.")
    if not spine.lowest and click is None:
        said.append("The sacrum is not in view: say which level one of the bodies is.")
    return said + spine.notes
