"""Muscle, CSF, fat, air, marrow of other bones: connected tissue like that at a point.

Or where a muscle must be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from PDFFMapperLib.images.volume import Volume
from scipy import ndimage

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.placement.body import (
    CHILD,
    CHILD_DEPTH_MM,
    MARGIN_MM,
    Placement,
    alike,
    ball,
    box_round,
    distance_from,
    eroded,
)
from MarrowAssessLib.placement.muscle_places import (
    Ball,
    balls_at,
    filled_ball,
    in_front_of,
    most_like_muscle,
    of_spine,
)
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.placement.robust import MAD_TO_SD
from MarrowAssessLib.placement.skin import beneath_skin
from MarrowAssessLib.placement.vertebra import Box, Surface
from MarrowAssessLib.study.regions import Region

# Marrow is that of a bone which is no vertebra: along its shaft, up to its cortex.
REACH_MM = {
    Role.MARROW: 20.0, Role.MUSCLE: 18.0, Role.CSF: 16.0, Role.FAT: 14.0, Role.NOISE: 12.0,
}  # fmt: skip

# What is looked at round a click, slices of 3 to 5 mm at least one, and how much a tissue varies.
NEAR_MM, NEAR_VOXELS = 2.5, 0.75
SMOOTH_MM = 0.7  # SD of the Gaussian that noise is reduced with
VARIES, AIR_VARIES = 3, 6  # robust SDs of the signals round the click
LEAST_AIR = 0.01  # of the image's largest signal: the SD of air where it is all zero
MOST_APART = 0.25  # of a tissue's level, see `alike`
NECK_MM, GAP_MM = 1.2, 2.5  # thinner bridges to other tissue are cut, smaller gaps (vessels) filled
PAD = 4  # voxels round a crop, so that closing a gap does not end at its border
SMALL_MM3 = 60.0
UNEVEN = 0.25  # robust SD over level round the click, and in a muscle
NO_AIR, BRIGHT_PERCENT = 0.1, 99  # of the brightest signal, which is that percentile: air is darker

ERECTOR, PSOAS = "erector spinae", "psoas"
STRIPS = "paraspinal"  # site of the muscle beside other discs than L3-L4
PSOAS_ABOVE = ("L2", "L3", "L4", "L5")  # bodies: higher it is thin, lower it has left the column
TOUCHES_EDGE = "The region touches the edge of the volume."
# Psoas is measured so far beside the bodies: discs bulge, slices of 3 to 5 mm blur the sides.
BESIDE_MM = 6.0
# Where muscles are looked for at L3-L4 of an adult, mm: to the side and along from the middle of
# both bodies (psoas to the side from their border, erector spinae along from their back wall), in
# balls of so many.
ERECTOR_ASIDE, ERECTOR_BEHIND = np.arange(14.0, 34, 3), np.arange(26.0, 52, 3)
PSOAS_ASIDE, PSOAS_ALONG = np.arange(7.0, 19, 3), np.arange(-10.0, 8, 3)
BALL_MM = 4.0
SIDES_RATIO = 1.5  # left over right signal of one muscle, or the inverse, that is doubted
# Signal of erector spinae over psoas's, or the inverse, likewise: .77 to 1.32 in 17 volumes, coils
# may shade more; fat had 2.3 and more.
OTHER_RATIO = 2.0
LEAST_MM3 = 800.0  # of a piece of the strips: 9 mm cubed
NEXT_RATIO = 1.5  # signal of a muscle over that at the disc before, or the inverse: another tissue


def grow(
    volume: Volume,
    point: np.ndarray,
    role: Role,
    site: str,
    margin_mm: float | None = None,
    options: PlacingOptions = AS_USUAL,
) -> Placement:
    """Connected tissue like that at the point (RAS, mm), within the role's reach.

    See `structure.place`.
    """
    margin = MARGIN_MM[role] if margin_mm is None else margin_mm
    reach = REACH_MM[role]
    box = box_round(volume, point, reach)
    values = volume.array[box].astype(np.float32)
    distance = distance_from(volume, box, point)
    seen = np.isfinite(values)
    near = distance <= max(NEAR_MM, volume.spacing.max() * NEAR_VOXELS)
    level = float(np.median(values[near & seen])) if (near & seen).any() else 0.0
    noise = MAD_TO_SD * float(np.median(np.abs(values[near & seen] - level))) if seen.any() else 0.0
    smooth = ndimage.gaussian_filter(
        np.where(seen, values, level), SMOOTH_MM / volume.spacing[::-1]
    )
    if role is Role.NOISE:
        ceiling = level + AIR_VARIES * max(noise, LEAST_AIR * float(np.nanmax(volume.array)))
        like = smooth <= ceiling
    else:
        tolerance = max(VARIES * noise, alike(level, noise, MOST_APART))
        like = np.abs(smooth - level) <= tolerance
    like &= seen & (distance <= reach)
    opened = ndimage.binary_opening(like, ball(NECK_MM, volume.spacing)) | (near & like)
    labels, _ = ndimage.label(opened)
    here = np.bincount(labels[near & opened], minlength=2)
    here[0] = 0
    mask = labels == here.argmax() if here.any() else np.zeros_like(opened)
    gap = ball(GAP_MM, volume.spacing)
    filled = ndimage.binary_closing(np.pad(mask, PAD), gap)[PAD:-PAD, PAD:-PAD, PAD:-PAD]
    filled = (filled | mask) & (distance <= reach)
    offset = tuple(s.start for s in box)
    name = f"{site} {role.value}".strip()
    unsure = []
    roi_mask = eroded(filled if role is Role.MUSCLE else mask, volume, margin)
    roi_mask = _piece_at(roi_mask, distance)
    if role is Role.MUSCLE and "fat" in options.leave_out:
        roi_mask &= like
    if not roi_mask.any():
        unsure.append(
            f"Too little {role.value} was found round the click for a margin of {margin:g} mm."
        )
    elif roi_mask.sum() * volume.voxel_volume_mm3 < SMALL_MM3:
        unsure.append(f"The region is smaller than {SMALL_MM3:g} mm^3; its statistics are coarse.")
    if any(s.start == 0 or s.stop == n for s, n in zip(box, volume.array.shape, strict=True)):
        edge = np.ones_like(mask)
        edge[1:-1, 1:-1, 1:-1] = False
        sides = mask & edge & (distance < reach - volume.spacing.max())
        if sides.any():
            unsure.append(TOUCHES_EDGE)
    if noise > UNEVEN * abs(level) and role is not Role.NOISE:
        unsure.append("The tissue round the click is not uniform.")
    if role is Role.MUSCLE and roi_mask.any():
        inside = smooth[roi_mask]
        middle = float(np.median(inside))
        if MAD_TO_SD * float(np.median(np.abs(inside - middle))) > UNEVEN * abs(middle):
            unsure.append(
                "Its signal varies much for a muscle's; fat, bone or a joint may be in it."
            )
    if role is Role.NOISE and level > NO_AIR * float(
        np.nanpercentile(volume.array, BRIGHT_PERCENT)
    ):
        unsure.append("The click does not look like air: its signal is not low.")
    body = Region(f"{name} body", role, site, filled, offset)
    roi = Region(name, role, site, roi_mask, offset, list(unsure))
    return Placement(body, roi, unsure)


def _piece_at(mask: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """The largest connected piece among those as near the click as any, give or take 3 mm.

    What hangs on the rest by a neck that the margin takes away is most likely another tissue.
    """
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    numbers = np.arange(1, count + 1)
    nearest = ndimage.minimum(distance, pieces, numbers)
    sizes = np.where(nearest <= nearest.min() + 3.0, np.bincount(pieces.ravel())[1:], 0)
    return pieces == numbers[sizes.argmax()]


def muscles_of(
    volume: Volume,
    bodies: Mapping[str, Surface],
    options: PlacingOptions = AS_USUAL,
    spine: Volume | None = None,
) -> dict[str, Placement]:
    """Erector spinae and psoas of both sides at L3-L4, and muscle beside the other discs.

    The latter is one region, which ratios of a level's signal take the nearest part of. It holds
    only pieces that give no reason for doubt.

    Args:
        volume: image.
        bodies: the column's, by level, from head to foot.
        options: what ROIs leave out.
        spine: probability of bone, disc or canal on a grid of its own; they may be as bright and
            uniform as muscle. None where it is not known.

    Returns:
        Placements by site ("left psoas", `STRIPS`); none without L3 and L4.
    """
    if not {"L3", "L4"} <= bodies.keys():
        return {}
    found = muscles_beside(volume, bodies["L3"], bodies["L4"], options, spine)
    known = {muscle: _usual(volume, found, muscle) for muscle in (ERECTOR, PSOAS)}
    known[ERECTOR] = known[ERECTOR] or known[PSOAS]  # which is turned to fat more rarely
    names, pieces = list(bodies), []
    third = names.index("L3")
    for discs in (range(third + 1, len(names) - 1), range(third - 1, -1, -1)):
        usual = dict(known)
        for n in discs:
            pair = bodies[names[n]], bodies[names[n + 1]]
            for muscle in (ERECTOR, PSOAS):
                if not known[muscle] or (muscle == PSOAS and names[n + 1] not in PSOAS_ABOVE):
                    continue
                new = _placed(volume, *pair, muscle, options, spine, usual[muscle], known[PSOAS])
                level = _usual(volume, new, muscle)
                if 1 / NEXT_RATIO < level / usual[muscle] < NEXT_RATIO:
                    usual[muscle] = level
                    pieces += [one for one in new.values() if _sure(one) and _large(volume, one)]
    if pieces:
        found[STRIPS] = _together(pieces, list(found.values()))
    return found


def muscles_beside(
    volume: Volume,
    upper: Surface,
    lower: Surface,
    options: PlacingOptions = AS_USUAL,
    spine: Volume | None = None,
) -> dict[str, Placement]:
    """Erector spinae and psoas at the disc between two bodies, both sides, where they are seen.

    Each is clicked at the most uniform spot whose signal is the most common one among the
    candidates of both sides: fat, bone and vessels beside muscle may be brighter (T1, T2) or
    darker (STIR, water, opposed phase). Where that is the fat beneath the skin, as beside a thin
    muscle, and unlike psoas, it is the next common one, and none where that is doubtful. One that
    differs much from psoas is doubted.
    """
    psoas = _placed(volume, upper, lower, PSOAS, options, spine)
    level = _usual(volume, psoas, PSOAS)
    erector = _placed(volume, upper, lower, ERECTOR, options, spine, psoas=level)
    for one in erector.values() if level else ():
        own = float(np.median(one.roi.values(volume.array))) if one.roi.voxels else level
        if not level / OTHER_RATIO < own < level * OTHER_RATIO:
            one.doubt("Its signal differs much from psoas's: it may be fat, or shaded by the coil.")
    return erector | psoas


def _placed(
    volume: Volume,
    upper: Surface,
    lower: Surface,
    muscle: str,
    options: PlacingOptions,
    spine: Volume | None,
    usual: float = 0.0,
    psoas: float = 0.0,
) -> dict[str, Placement]:
    """One muscle of both sides at a disc; its signal is about `usual`, and psoas has `psoas`.

    Either is 0 where it is not known.
    """
    middle = (upper.box.center + lower.box.center) / 2
    width, depth = np.maximum(upper.box.half, lower.box.half)[:2]
    size = CHILD if 2 * depth < CHILD_DEPTH_MM else 1.0
    across, along = {
        ERECTOR: (size * ERECTOR_ASIDE, -depth - size * ERECTOR_BEHIND),
        PSOAS: (width + size * PSOAS_ASIDE, size * PSOAS_ALONG),
    }[muscle]
    axes, radius = upper.box.axes, BALL_MM * size
    sides = {}
    for side, sign in (("right", 1), ("left", -1)):
        places = np.array([[sign * x, y, 0.0] for x in across for y in along])
        sides[side] = balls_at(volume, spine, middle + places @ axes, radius)

    def is_fat(ball: Ball | None) -> bool:
        # Beneath fat as dark as air muscle looks like fat beneath the skin, but like psoas as well.
        if ball is None or muscle != ERECTOR or psoas / NEXT_RATIO < ball.mean < psoas * NEXT_RATIO:
            return False
        return beneath_skin(volume, ball.center, -axes[1], filled_ball(radius))

    pair = {}
    for side in sides:
        ball = most_like_muscle(sides, side, usual)
        fat = is_fat(ball)
        if fat:  # that of a thin muscle, which may be seen in front of it
            ball = most_like_muscle(in_front_of(sides, ball, axes[1]), side, usual)
        if ball is None or (fat and is_fat(ball)):
            continue
        site = f"{side} {muscle}"
        placed = grow(volume, ball.center, Role.MUSCLE, site, options=options)
        for said in (placed.unsure, placed.roi.cautions):
            said[:] = [text for text in said if text != TOUCHES_EDGE]  # says nothing here
        if muscle == PSOAS:  # disc may be just as bright and touch it
            _keep_beside(volume, placed, (upper.box, lower.box))
        if fat and placed.unsure:
            continue
        _keep_off(volume, placed, spine)
        pair[site] = placed
    _compare_sides(volume, pair)
    return pair


def _sure(one: Placement) -> bool:
    return one.roi.voxels > 0 and not one.unsure


def _large(volume: Volume, one: Placement) -> bool:
    """Whether it is more than the rim of a muscle that lies beyond the image's side."""
    return one.roi.voxels * volume.voxel_volume_mm3 > LEAST_MM3


def _usual(volume: Volume, found: Mapping[str, Placement], muscle: str) -> float:
    """A muscle's signal, the mean of both sides where they are sure; 0 for neither."""
    levels = [
        float(np.median(one.roi.values(volume.array)))
        for site, one in found.items()
        if site.endswith(muscle) and _sure(one)
    ]
    return float(np.mean(levels)) if levels else 0.0


def _together(pieces: list[Placement], apart: list[Placement]) -> Placement:
    """Several placements as one, without the voxels of others."""

    def whole(part: str) -> Region:
        mine, others = ([getattr(one, part) for one in some] for some in (pieces, apart))
        low = np.min([one.offset for one in (*mine, *others)], axis=0)
        high = np.max([np.add(one.offset, one.mask.shape) for one in (*mine, *others)], axis=0)
        mask = np.zeros(high - low, bool)
        for one, kept in [(one, True) for one in mine] + [(one, False) for one in others]:
            there = np.subtract(one.offset, low)
            box = tuple(slice(a, a + n) for a, n in zip(there, one.mask.shape, strict=True))
            mask[box][one.mask] = kept
        name, offset = f"{STRIPS} muscle", tuple(map(int, low))
        return Region(name, Role.MUSCLE, STRIPS, mask, offset, pieces=True)

    return Placement(whole("body"), whole("roi"))


def _keep_beside(volume: Volume, placement: Placement, boxes: tuple[Box, ...]) -> None:
    """Take off a placement what lies between the sides of bodies, or `BESIDE_MM` beside them."""

    def near(points: np.ndarray) -> np.ndarray:
        asides = [np.abs((points - box.center) @ box.axes[0]) - box.half[0] for box in boxes]
        return np.min(asides, axis=0) < BESIDE_MM

    _take_off(volume, placement, near)
    if not placement.roi.voxels:
        placement.doubt("No psoas was found beside the disc; place it by hand.")


def _keep_off(volume: Volume, placement: Placement, spine: Volume | None) -> None:
    """Take off a placement what is bone, disc or canal; where that is most of it, it is doubted."""
    if spine is None:
        return
    before = placement.roi.voxels
    _take_off(volume, placement, lambda points: of_spine(spine, points))
    if 2 * placement.roi.voxels < before:
        placement.doubt("Most of it was bone, disc or canal; place it by hand.")


def _take_off(
    volume: Volume, placement: Placement, wrong: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Take off a placement the voxels whose places (n, 3) are wrong."""

    def rest(region: Region) -> Region:
        at = np.argwhere(region.mask)
        mask = region.mask.copy()
        mask[tuple(at[wrong(volume.to_ras((at + region.offset)[:, ::-1]))].T)] = False
        return replace(region, mask=mask)

    placement.body, placement.roi = rest(placement.body), rest(placement.roi)


def _compare_sides(volume: Volume, pair: dict[str, Placement]) -> None:
    """Doubt a muscle's two sides where their signals differ much."""
    levels = [np.median(one.roi.values(volume.array)) for one in pair.values() if one.roi.voxels]
    if len(levels) == 2 and max(levels) > SIDES_RATIO * min(levels):
        for one in pair.values():
            one.doubt("Its signal differs much from the other side's; one may be fat or bone.")
