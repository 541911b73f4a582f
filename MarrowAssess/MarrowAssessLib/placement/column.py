"""One click to the spine: bodies up and down, discs between them, CSF and muscles beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from PDFFMapperLib.images.volume import Volume
from scipy import ndimage

from MarrowAssessLib.catalogue.anatomy import Role, spine_levels
from MarrowAssessLib.placement.body import MARGIN_MM, Placement, eroded, painted_body, place_body
from MarrowAssessLib.placement.disc import disc_between, disc_seen
from MarrowAssessLib.placement.judgment import click_doubts, read_click
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.placement.star_surface import sample
from MarrowAssessLib.placement.tissue import TOUCHES_EDGE, alike, grow
from MarrowAssessLib.placement.vertebra import BodyPrior, Box, Surface, template_points, tilt_deg
from MarrowAssessLib.study.regions import Region, doubt

# A disc's height until the first is seen: lumbar 6-15 mm (doi 10.1186/s13018-018-0737-x), lower
# thoracic about 5 mm (doi 10.1007/s00586-015-3925-y).
DISC_MM = 8.0
# Psoas is measured so far beside the bodies: discs bulge, slices of 3 to 5 mm blur the sides.
BESIDE_MM = 6.0
SIDES_RATIO = 1.5  # left over right signal of one muscle, or the inverse, that is doubted
UNSURE_BESIDE = "A body beside it is unsure."
EDGES_END = 0.15  # median strength of a border below which there is no body any more


@dataclass
class Column:
    """A followed spine.

    Attributes:
        bodies: placements by level ("L3"), from head to foot.
        discs: placements by level ("L3-L4").
        csf: beside the level it was asked for; None where it was not found.
        muscles: placements by site ("left erector spinae"); those found only.
        unsure: sentences about the column as a whole.
        ground: where the levels' names come from.
        disc_chance: probability of disc as the network sees it, None where the column was followed.
    """

    bodies: dict[str, Placement]
    discs: dict[str, Placement]
    csf: Placement | None = None
    muscles: dict[str, Placement] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)
    ground: str = ""
    disc_chance: Volume | None = None

    def regions(self) -> list[Region]:
        """The measurement ROIs of everything found."""
        found = [*self.bodies.values(), *self.discs.values(), *self.muscles.values()]
        found += [self.csf] if self.csf else []
        return [placement.roi for placement in found]

    def found_regions(self) -> list[Region]:
        """The measurement ROIs that hold anything, marked as doubtful where there is a reason."""
        regions = [region for region in self.regions() if region.voxels]
        doubt(regions)
        return regions

    def told(self) -> str:
        """What was found and missed, where the names come from and what is not certain."""
        missed = [region.name for region in self.regions() if not region.voxels]
        parts = [f"found {', '.join(self.bodies)}"]
        parts += [f"not found: {', '.join(missed)}"] if missed else []
        parts += [f"levels {self.ground}"] if self.ground else []
        return "; ".join([*parts, *(text.rstrip(".") for text in self.unsure)])


def follow_column(
    volume: Volume,
    point_ras: np.ndarray,
    level: str,
    options: PlacingOptions = AS_USUAL,
    *,
    csf_level: str = "L3",
    progress: Callable[[float], bool] | None = None,
) -> Column:
    """From one click in a vertebra of known level, find the column.

    Args:
        volume: image.
        point_ras: mm; inside the body of that vertebra.
        level: its name, such as "L3".
        options: how many lumbar vertebrae there are, and what ROIs leave out.
        csf_level: vertebra beside which CSF is measured.
        progress: takes the fraction done; returning False cancels.

    Raises:
        ValueError: the level does not exist in this spine, the point lies outside the image, or
            there is no signal.
        InterruptedError: canceled.
    """
    levels = options.levels
    if level not in levels:
        raise ValueError(
            f"'{level}' is not a vertebra of a spine with {options.lumbar} lumbar vertebrae "
            "(C2 ... S1)."
        )
    start = levels.index(level)
    click = read_click(volume, point_ras, Role.MARROW, level, options)
    seed = place_body(volume, click.point, level, options=options)
    if seed.roi.voxels:
        for sentence in click_doubts(click, volume, seed.roi, ()):
            seed.doubt(sentence)
    bodies = {level: seed}
    done = 1
    for step in (-1, 1):
        known = [seed]
        index = start + step
        while 0 <= index < len(levels):
            if progress and not progress(min(0.9, done / 12)):
                raise InterruptedError("Following the column was canceled.")
            found = _next_body(volume, known, step, levels[index], options)
            if found is None:
                break
            bodies[levels[index]] = found
            known.append(found)
            index += step
            done += 1
    bodies = {name: bodies[name] for name in levels if name in bodies}
    column = Column(bodies, {})
    for upper, lower in pairwise(bodies):
        column.discs[f"{upper}-{lower}"] = _disc(volume, bodies, upper, lower)
    if csf_level in bodies:
        column.csf = csf_beside(volume, bodies[csf_level].surface, csf_level)
    if "L3" in bodies and "L4" in bodies:
        pair = bodies["L3"].surface, bodies["L4"].surface
        column.muscles = muscles_beside(volume, *pair, options)
    column.unsure = doubtful(bodies)
    return column


def corrected(
    volume: Volume,
    column: Column,
    level: str,
    options: PlacingOptions = AS_USUAL,
    *,
    point_ras: np.ndarray | None = None,
    painted: np.ndarray | None = None,
) -> Column:
    """The column with one body clicked again or painted; only what it touches is made anew.

    That is the body, the discs beside it, CSF if it was measured beside this body, and the muscles
    if it is L3 or L4. Everything else is the very same object as before.

    Args:
        volume: image.
        column: as it was; it stays unchanged.
        level: body to replace, or one that was not found and is added.
        options: how many lumbar vertebrae there are, and what ROIs made anew leave out.
        point_ras: mm, inside the body; or
        painted: the body, boolean, on the volume's grid.

    Raises:
        ValueError: the level does not exist, or not exactly one of point and mask is given.
    """
    levels = [*options.levels, "S2", "S3"]
    if level not in levels or not column.bodies:
        raise ValueError(f"'{level}' is not a vertebra of this column (C2 ... S3).")
    if (point_ras is None) == (painted is None):
        raise ValueError("Give either a point inside the body or the painted body.")
    distance = {name: abs(levels.index(name) - levels.index(level)) for name in column.bodies}
    near = [column.bodies[name].surface for name in distance if distance[name] == 1]
    near = near or [column.bodies[min(distance, key=distance.get)].surface]
    if painted is not None:
        before = column.bodies.get(level)
        axes = (before.surface if before else near[0]).box.axes
        body = painted_body(volume, np.asarray(painted), axes, level, options)
    else:
        depth, height, tilt = np.mean(
            [(2 * one.box.half[1], 2 * one.box.half[2], _tilt(one)) for one in near], axis=0
        )
        prior = BodyPrior((tilt, 18.0), (depth, 4.0), (height, 4.0))
        point = np.asarray(point_ras, float)
        body = place_body(volume, point, level, prior=prior, options=options)
    found = {**column.bodies, level: body}
    bodies = {name: found[name] for name in levels if name in found}
    result = replace(
        column, bodies=bodies, discs={}, muscles=dict(column.muscles), unsure=doubtful(bodies)
    )
    chance = column.disc_chance if painted is None else None  # a painted body is taken at its word
    for upper, lower in pairwise(bodies):
        site = f"{upper}-{lower}"
        kept = column.discs.get(site) if level not in (upper, lower) else None
        result.discs[site] = kept or _disc(volume, bodies, upper, lower, chance)
    if column.csf is not None and column.csf.roi.site == level:
        result.csf = csf_beside(volume, body.surface, level)
    if level in ("L3", "L4") and "L3" in bodies and "L4" in bodies:
        pair = bodies["L3"].surface, bodies["L4"].surface
        result.muscles = muscles_beside(volume, *pair, options)
    return result


def _disc(
    volume: Volume,
    bodies: dict[str, Placement],
    upper: str,
    lower: str,
    chance: Volume | None = None,
) -> Placement:
    site = f"{upper}-{lower}"
    pair = bodies[upper].surface, bodies[lower].surface
    if chance is None:
        disc = disc_between(volume, *pair, site)
    else:
        disc = disc_seen(volume, chance, *pair, site)
    if bodies[upper].unsure or bodies[lower].unsure:
        disc.doubt(UNSURE_BESIDE)
    return disc


def doubtful(bodies: dict[str, Placement]) -> list[str]:
    """Which bodies to look at: one sentence or none."""
    names = [name for name, body in bodies.items() if body.unsure]
    return [f"Look at: {', '.join(names)}."] if names else []


def renamed(column: Column, shift: int, lumbar: int = 5) -> Column:
    """The same column with every level moved by so many vertebrae (+1: toward the foot).

    Raises:
        ValueError: a level would leave the spine.
    """
    levels = [*spine_levels(lumbar), "S2", "S3"]
    old = list(column.bodies)
    first = levels.index(old[0]) + shift if old[0] in levels else -1
    if first < 0 or first + len(old) > len(levels):
        raise ValueError(f"Moving the levels by {shift} would leave the spine (C2 ... S3).")
    new = levels[first : first + len(old)]
    bodies = {name: _rename(column.bodies[was], name) for was, name in zip(old, new, strict=True)}
    discs = {
        f"{a}-{b}": _rename(disc, f"{a}-{b}")
        for disc, a, b in zip(column.discs.values(), new, new[1:], strict=False)
    }
    csf = column.csf
    if csf is not None:
        csf = _rename(csf, new[old.index(csf.roi.site)])
    return replace(
        column,
        bodies=bodies,
        discs=discs,
        csf=csf,
        muscles=dict(column.muscles),
        unsure=list(column.unsure),
        ground="named by hand",
    )


def _rename(placement: Placement, site: str) -> Placement:
    def moved(region: Region) -> Region:
        name = region.name.replace(region.site, site, 1)
        return replace(region, name=name, site=site, cautions=list(region.cautions))

    return Placement(
        moved(placement.body),
        moved(placement.roi),
        list(placement.unsure),
        placement.surface,
        placement.score,
    )


def _next_body(
    volume: Volume, known: list[Placement], step: int, level: str, options: PlacingOptions
) -> Placement | None:
    """The body above (step -1) or below (+1) the last of those known; None where there is none."""
    last = known[-1].surface
    depth, height = 2 * last.box.half[1], 2 * last.box.half[2]
    if len(known) > 1:
        before = known[-2].surface
        apart = float(np.linalg.norm(last.box.center - before.box.center))
        turn = _tilt(last) - _tilt(before)
    else:
        apart, turn = height + DISC_MM, 0.0
    apart = float(np.clip(apart, 20, 45))
    turn, spread, depth_spread = float(np.clip(turn, -12, 12)), 10.0, 3.0
    heading = _tilt(last) + turn / 2
    if level == "S1" and step > 0:  # it is bent far more than the curve above tells
        turn, spread, depth_spread = -18.0, 14.0, 5.0
        heading = _tilt(last) + turn
        apart *= 0.85
    prior = BodyPrior((_tilt(last) + turn, spread), (depth, depth_spread), (height, 3.5))
    heading = np.deg2rad(heading)
    up = np.array([last.box.axes[2, 0], -np.sin(heading), np.cos(heading)])
    up *= -step / np.linalg.norm(up)
    guess = last.box.center + apart * up
    ijk = volume.ras_to_ijk(guess)
    if not np.all((ijk > 2) & (ijk < np.array(volume.array.shape[::-1]) - 3)):
        return None
    there = _level(volume, guess)
    levels = [_level(volume, one.surface.box.center) for one in known]
    alike = any(0.3 < there / max(level, 1e-9) < 3.0 for level in levels)
    found = place_body(volume, guess, level, prior=prior, options=options)
    moved = float(np.linalg.norm(found.surface.box.center - last.box.center))
    along = float((found.surface.box.center - last.box.center) @ up)
    size = found.surface.box.half / last.box.half
    if not 16 < moved < 55 or along < 12 or found.roi.voxels == 0:
        return None
    if size[1:].min() < 0.55 or size[1:].max() > 1.6:
        return None
    if np.nanmedian(found.surface.support) < EDGES_END:
        return None  # no edges there
    if not alike:  # a lesion, or no vertebra any more
        if found.unsure:
            return None
        found.doubt("Its signal is far from that of the bodies before.")
    if not found.surface.contains(guess[None])[0]:
        found.doubt("The body lies elsewhere than its neighbors let expect.")
    seen = np.isfinite(found.surface.support)
    if seen.mean() < 0.75:
        return None  # cut by the edge of the volume
    return found


def _tilt(surface: Surface) -> float:
    return tilt_deg(surface.box)


def _level(volume: Volume, point: np.ndarray) -> float:
    grid = np.stack(np.meshgrid(*[[-4.0, -2.0, 0.0, 2.0, 4.0]] * 3), -1).reshape(-1, 3)
    values = sample(volume.array, volume.ras_to_ijk(point + grid))
    return float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0


def csf_beside(volume: Volume, body: Surface, site: str) -> Placement:
    """CSF in the canal behind a body, clear of the body, fat and the canal's wall."""
    box = body.box
    points_local = template_points(body)
    central = (np.abs(points_local[:, 0]) < 8) & (np.abs(points_local[:, 2]) < 8)
    wall = points_local[central & (points_local[:, 1] < 0), 1]
    wall = float(np.median(wall)) if wall.size else -box.half[1]
    x = np.arange(-12, 13.0)
    y = wall - np.arange(0.0, 24.0)
    z = np.linspace(-0.9, 0.9, 9) * box.half[2]
    grid = np.stack(np.meshgrid(x, y, z, indexing="ij"), -1)
    ras = box.center + grid.reshape(-1, 3) @ box.axes
    values = sample(volume.array, volume.ras_to_ijk(ras)).reshape(grid.shape[:3])
    axial = np.nanmedian(values, axis=2)
    marrow = abs(_level(volume, box.center))
    # The most uniform 5 mm patch of the canal, centered 3 to 14 mm behind the wall, relative to
    # its signal (or, where CSF has next to none, as on fat images, to a part of marrow's).
    spread = np.full(axial.shape, np.inf)
    for a in range(5, 20):
        for b in range(3, 15):
            patch = axial[a - 2 : a + 3, b - 2 : b + 3]
            if np.isfinite(patch).all():
                scale = max(abs(patch.mean()) + 0.25 * marrow, 1e-9)
                spread[a, b] = patch.std() / scale + 0.02 * abs(x[a])
    a, b = np.unravel_index(np.argmin(spread), spread.shape)
    middle = box.center + np.array([x[a], y[b], 0.0]) @ box.axes
    reach = np.array([9.0, 9.0, 0.8 * box.half[2]])
    level = float(np.median(axial[a - 2 : a + 3, b - 2 : b + 3]))
    corners = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T * reach
    ijk = volume.ras_to_ijk(middle + corners @ box.axes)
    size = np.array(volume.array.shape[::-1])
    low = np.clip(np.floor(ijk.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(ijk.max(axis=0)) + 1, 0, size).astype(int)
    i, j, k = np.meshgrid(*[np.arange(p, q) for p, q in zip(low, high, strict=True)], indexing="ij")
    local = (volume.to_ras(np.stack([i, j, k], -1)) - middle) @ box.axes.T
    offset = tuple(int(n) for n in low[::-1])
    near = (np.abs(local) <= reach).all(axis=-1).transpose(2, 1, 0)
    here = volume.array[
        offset[0] : offset[0] + near.shape[0],
        offset[1] : offset[1] + near.shape[1],
        offset[2] : offset[2] + near.shape[2],
    ].astype(float)
    # Roots in bright CSF make it uneven; on T1 fat and wall are much brighter than CSF.
    core = here[(np.abs(local) <= [2.5, 2.5, reach[2]]).all(axis=-1).transpose(2, 1, 0)]
    noise = 1.4826 * float(np.nanmedian(np.abs(core - level))) if core.size else 0.0
    tolerance = alike(level, noise, 0.35 if level > marrow else 0.25)
    tolerance = max(tolerance, 0.1 * marrow)  # noise, where CSF has next to no signal
    mask = near & (np.abs(here - level) <= tolerance)
    labels, count = ndimage.label(ndimage.binary_opening(mask, iterations=1))
    unsure = []
    if count:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        mask = labels == sizes.argmax()
    roi_mask = eroded(mask, volume, MARGIN_MM[Role.CSF])
    if roi_mask.sum() * volume.voxel_volume_mm3 < 100:
        unsure.append("Little CSF was found behind the body; place it by hand.")
    name = f"{site} CSF"
    return Placement(
        Region(f"{name} body", Role.CSF, site, mask, offset),
        Region(name, Role.CSF, site, roi_mask, offset, list(unsure)),
        unsure,
    )


def muscles_beside(
    volume: Volume, upper: Surface, lower: Surface, options: PlacingOptions = AS_USUAL
) -> dict[str, Placement]:
    """Erector spinae and psoas at the disc between two bodies, both sides, where they are seen.

    Each is clicked at the most uniform spot whose signal is the most common one among the
    candidates of both sides: fat, bone and vessels beside muscle may be brighter (T1, T2) or
    darker (STIR, water, opposed phase).
    """
    middle = (upper.box.center + lower.box.center) / 2
    width, depth = np.maximum(upper.box.half, lower.box.half)[:2]
    searches = {
        "erector spinae": (np.arange(14.0, 34, 3), -depth - np.arange(26.0, 52, 3)),
        "psoas": (width + np.arange(7.0, 19, 3), np.arange(-10.0, 8, 3)),
    }
    found = {}
    for muscle, (across, along) in searches.items():
        sides = {
            side: _balls(volume, middle, upper.box.axes, sign * across, along)
            for side, sign in (("right", 1), ("left", -1))
        }
        usual = _commonest([mean for spots in sides.values() for mean, _, _ in spots])
        pair = {}
        for side, spots in sides.items():
            unlike = [std + 0.3 * abs(mean - usual) for mean, std, _ in spots]
            if not unlike:
                continue
            site = f"{side} {muscle}"
            spot = spots[int(np.argmin(unlike))][2]
            pair[site] = grow(volume, spot, Role.MUSCLE, site, options=options)
            for said in (pair[site].unsure, pair[site].roi.cautions):
                said[:] = [text for text in said if text != TOUCHES_EDGE]  # says nothing here
            if muscle == "psoas":  # disc may be just as bright and touch it
                _keep_beside(volume, pair[site], (upper.box, lower.box))
        _compare_sides(volume, pair)
        found |= pair
    return found


def _keep_beside(volume: Volume, placement: Placement, boxes: tuple[Box, ...]) -> None:
    """Take off a placement what lies between the sides of bodies, or `BESIDE_MM` beside them."""
    for region in (placement.body, placement.roi):
        at = np.argwhere(region.mask)
        ras = volume.to_ras((at + region.offset)[:, ::-1])
        near = np.zeros(len(at), bool)
        for box in boxes:
            near |= np.abs((ras - box.center) @ box.axes[0]) < box.half[0] + BESIDE_MM
        region.mask[tuple(at[near].T)] = False
    if not placement.roi.voxels:
        placement.doubt("No psoas was found beside the disc; place it by hand.")


def _compare_sides(volume: Volume, pair: dict[str, Placement]) -> None:
    """Doubt a muscle's two sides where their signals differ much."""
    levels = [np.median(one.roi.values(volume.array)) for one in pair.values() if one.roi.voxels]
    if len(levels) == 2 and max(levels) > SIDES_RATIO * min(levels):
        for one in pair.values():
            one.doubt("Its signal differs much from the other side's; one may be fat or bone.")


def _balls(volume, middle, axes, across, along) -> list[tuple[float, float, np.ndarray]]:
    """Mean, standard deviation and center of balls of 4 mm that lie inside the volume."""
    ball = np.stack(np.meshgrid(*[np.arange(-4.0, 5, 2)] * 3), -1).reshape(-1, 3)
    ball = ball[np.linalg.norm(ball, axis=1) <= 4.5]
    found = []
    for x in across:
        for y in along:
            center = middle + np.array([x, y, 0.0]) @ axes
            values = sample(volume.array, volume.ras_to_ijk(center + ball))
            if np.isfinite(values).all():
                found.append((float(values.mean()), float(values.std()), center))
    return found


def _commonest(values: list[float]) -> float:
    """The middle of the shortest interval that holds half of the values; NaN for none."""
    if not values:
        return float("nan")
    ordered = np.sort(values)
    half = len(ordered) // 2
    start = int(np.argmin(ordered[half:] - ordered[: len(ordered) - half]))
    return float(ordered[start] + ordered[start + half]) / 2
