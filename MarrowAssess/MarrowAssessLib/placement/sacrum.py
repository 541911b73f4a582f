"""Which level the lowest body of a found spine is, by the sacrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PDFFMapperLib.images.volume import Volume
from scipy import ndimage

from MarrowAssessLib.placement.found_spine import (
    ONE_OR_MORE,
    ONE_OR_TWO,
    FoundBody,
    Spine,
    body_axes,
    endplate_deg,
    image_axes,
)
from MarrowAssessLib.placement.spine_network import PIXEL_MM, Structure
from MarrowAssessLib.placement.star_surface import sample

S2_SIZE, S2_DISC = 0.4, 0.6  # of the body and the disc above: less of both is S2
# Up to so much it may be S2. Real S1 have .40 to .80 of L5 below .78 to 1.05 of the disc above;
# real S2 .10 to .44 (the last in an image tilted by 20 degrees) below .44 to .57.
MAYBE_S2_SIZE = 0.6
LEAST_SACRUM = 0.05  # of the lowest body's volume: less is no sacrum in view
# What tells S1 from L5 by shape: mean of S1, mean of L5, SD of either. Of 19 real volumes (T2 of 17
# volunteers, T1 and T2 of two patients); 42 others, of gradient echo, fit as well.
SIZE = (0.64, 0.91, 0.10)  # volume over that of the body above
TAPER = (0.80, 0.97, 0.07)  # depth at the lower end over that at the upper
KINK_DEG = (30.0, 15.0, 9.0)  # by which the back wall turns from that of the body above
MOST_TOLD = 5.0  # by one of the three
# The three together (natural logarithm of the likelihood ratio): those S1 have 1.9 to 14, three of
# 32 -1.4 to -.1; those L5 -11 to -2. Where no disc is seen below, S1 is certain beyond the first;
# beyond the second also above a thin one. In tilted images S1 may have -4: L5 is told by none.
# A broken L5 is as small as S1: size counts for S1 only where taper and turn together do, which
# those of L5 never do (-1.1 at most).
S1_WITHOUT_DISC, S1_WITH_DISC = 1.0, 3.0
# What narrows so much is S1 at any size (digital ones are large), and if its back wall turns so
# much, whatever lies below. One of 48 real L5 narrows to .88.
NARROW, TURNED_DEG = 0.89, 24.0
# Where the image ends at the lowest body: by how much its upper endplate falls to the front beyond
# that of the body above, the latter's lower endplate beyond its upper one, and how that falls in
# the image; mean of S1, mean of L5, SD of either, of 52 real volumes cut in the lowest body.
# The three together: about 75 % of S1 are beyond, one of 51 L5 in another cut, no L4.
TURN, WEDGE, FALL = (24.0, 14.0, 6.5), (18.0, 11.0, 6.0), (35.0, 13.0, 7.5)
S1_BY_TURN = 3.0
# Beside an endplate: steps along the body's axis, from its middle to beyond any disc; how far a
# disc is looked for from the endplate, how much of that must be in view, how thick it is one.
STEP_MM, BEYOND_MM, DISC_WITHIN_MM, SEEN_MM, DISC_MM = 0.75, 18.0, 13.0, 6.0, 2.0
# Rays across and along a body: shares of its half sizes, and how many.
ACROSS, ALONG = (0.5, 7), (0.8, 17)
THINNEST_MM = 0.1  # a disc above that is not seen is taken to be so thin: no division by nothing
HEIGHT_PERCENT, EDGE_PERCENT = (8, 92), (4, 96)  # of an outline's pixels: its walls, no endplates
END = 0.35  # of a body's half height: an endplate lies further from its middle
LEAST_RAYS = 6  # with an endplate and what lies beside it in view
NEAR_SACRUM_MM, UNDER_MM = 60.0, -3.0  # from the body's middle, and along its axis
# A disc as below L5: over so much of the endplate, and so thick beside the one above; part of one;
# so little of the endplate in view that nothing is told.
FULL_SHARE, FULL_THICKNESS, PART_SHARE, HARDLY_SEEN = 0.6, 0.7, 0.3, 0.2
LEAST_ROWS, LEAST_IN_ROW = 6, 4  # of a body's outline, and pixels in more than so many of them
MIDDLE_MM = 7.0  # to each side of a body's middle, where its outline is looked at


@dataclass(frozen=True)
class _End:
    """At an endplate: its share in view, the share of that with a disc, and its thickness in mm."""

    seen: float
    share: float
    thickness: float


def _beside(spine: Spine, index: int, side: int) -> _End:
    """The disc above (side 1) or below (-1) a body, along its own axis, where it is in view."""
    body, frame = spine.bodies[index], spine.frame
    axes, half, center = body_axes(body, frame)
    across, along, height = np.meshgrid(
        np.linspace(-ACROSS[0], ACROSS[0], ACROSS[1]) * half[0],
        np.linspace(-ALONG[0], ALONG[0], ALONG[1]) * half[1],
        side * np.arange(0, half[2] + BEYOND_MM, STEP_MM),
        indexing="ij",
    )
    points = center + np.stack([across, along, height], -1).reshape(-1, 3) @ axes
    ijk, shape = frame.ras_to_ijk(points), (-1, across.shape[2])
    inside = sample(body.mask.astype(np.float32), ijk).reshape(shape) > 0.5
    disc = sample(spine.disc_chance(), ijk).reshape(shape)
    last = across.shape[2] - 1 - inside[:, ::-1].argmax(axis=1)
    thick = []
    rays = np.flatnonzero(inside.any(axis=1) & (last * STEP_MM > END * half[2]))
    for ray in rays:
        beyond = disc[ray, last[ray] + 1 : last[ray] + 1 + round(DISC_WITHIN_MM / STEP_MM)]
        if np.isfinite(beyond).sum() * STEP_MM > SEEN_MM:
            thick.append(np.nansum(beyond) * STEP_MM)
    if len(thick) < LEAST_RAYS:
        return _End(0.0, 0.0, 0.0)
    share = np.mean(np.array(thick) > DISC_MM)
    return _End(len(thick) / len(rays), float(share), float(np.median(thick)))


def _sacrum_below(spine: Spine, index: int) -> float:
    """Volume of sacrum under a body, relative to the body."""
    body, frame = spine.bodies[index], spine.frame
    places = np.argwhere(spine.chances[Structure.SACRUM] > 0.5)
    if not len(places):
        return 0.0
    points = frame.to_ras(places[:, ::-1]) - body.center
    near = (points @ body.up < UNDER_MM) & (np.linalg.norm(points, axis=1) < NEAR_SACRUM_MM)
    return np.count_nonzero(near) / np.count_nonzero(body.mask)


def tell_lowest(spine: Spine) -> None:
    """Which level the lowest body is, in place; a piece of S2 at the end is taken off.

    Below S1 follows sacrum, or a rest of disc; below L5 a disc much as thick as the one above it.
    Where that is not clear its shape tells: S1 is smaller than L5, narrows downward, and its back
    wall turns away from L5's. What is not shaped so is never S1 for certain: the true one may be
    hardly seen. Where both disagree, as with a transitional vertebra, that is said, and where one
    that is left is so small that it may be S2; and an infant's levels are never certain.
    """
    _by_what_is_below(spine)
    if spine.lowest and not spine.unsure_lowest:
        size, disc = _beside_those_above(spine)
        if size < MAYBE_S2_SIZE and disc < S2_DISC:
            spine.unsure_lowest = (
                "the lowest body is small for S1, and the disc above it as thin as that of S1-S2"
            )
        elif size < S2_SIZE and disc >= S2_DISC:
            spine.unsure_lowest = (
                "the lowest body is as small as S2, but the disc above it is thick for S1-S2"
            )
        elif size < S2_SIZE:
            spine.unsure_lowest = (
                "the lowest body is as small as S2, and too little is in view to tell by its disc"
            )
    if not spine.unsure_lowest and spine.like_an_infant:
        spine.unsure_lowest = "the bodies are as small as an infant's"
        spine.lowest_off = ONE_OR_MORE


def _beside_those_above(spine: Spine) -> tuple[float, float]:
    """Volume of the lowest body and thickness of its upper disc, relative to the next ones up.

    The thickness is NaN where one of the two discs is not in view.
    """
    size, before = (np.count_nonzero(body.mask) for body in spine.bodies[:-3:-1])
    lower, upper = (_beside(spine, len(spine.bodies) - 2, side) for side in (-1, 1))
    in_view = lower.seen and upper.seen
    disc = lower.thickness / max(upper.thickness, THINNEST_MM) if in_view else np.nan
    return size / before, disc


def _by_what_is_below(spine: Spine) -> None:
    bodies = spine.bodies
    certain = False
    if len(bodies) > 2:
        size, disc = _beside_those_above(spine)
        if size < S2_SIZE and disc < S2_DISC:
            certain = not _cut(bodies.pop(), spine.frame)
            spine.count_doubts = [d for d in spine.count_doubts if d.body < len(bodies)]
    lowest = len(bodies) - 1
    if not certain and _sacrum_below(spine, lowest) < LEAST_SACRUM:
        _by_its_turn(spine)
        return
    above, below = _beside(spine, lowest, 1), _beside(spine, lowest, -1)
    ratio = below.thickness / max(above.thickness, THINNEST_MM)
    full = below.share > FULL_SHARE and ratio > FULL_THICKNESS and not certain
    shape = _shape(spine, lowest)
    narrow = shape.taper < NARROW
    turned = narrow and shape.kink_deg > TURNED_DEG
    like_s1 = turned or shape.like_s1 > S1_WITH_DISC
    spine.lowest = "L5" if full and not turned else "S1"
    if full and narrow:
        spine.unsure_lowest = (
            "below the lowest body lies a disc as below L5, but it narrows downward as S1 does"
        )
    elif full and like_s1:
        spine.unsure_lowest = (
            "below the lowest body lies a disc as below L5, but it is small and turned as S1 is"
        )
    elif full or like_s1:
        return
    elif below.share >= PART_SHARE and not certain:
        spine.unsure_lowest = (
            "below the lowest body lies a disc that is thin for L5-S1 and thick for S1-S2"
        )
    elif below.seen < HARDLY_SEEN and not certain:
        spine.unsure_lowest = "the image ends below the lowest body, with little of the sacrum"
    elif not narrow and shape.like_s1 < S1_WITHOUT_DISC:
        # where S1 is hardly seen, L5 is the lowest, and a rest of S1 is small
        lies = "a piece as small as S2 lies" if certain else "no disc is seen"
        spine.unsure_lowest = (
            f"{lies} below the lowest body, but that is not seen to narrow downward as S1 does"
        )


def _by_its_turn(spine: Spine) -> None:
    """Where the image ends at the lowest body: S1, never for certain, if it turns as S1 does."""
    if len(spine.bodies) < 3 or _beside(spine, len(spine.bodies) - 1, -1).seen >= HARDLY_SEEN:
        return
    above, lowest = spine.bodies[-2:]
    upper, lower = (endplate_deg(above, spine.frame, side) for side in (1, -1))
    turn, wedge = endplate_deg(lowest, spine.frame, 1) - upper, lower - upper
    by_turn, by_wedge, by_fall = _told((turn, TURN), (wedge, WEDGE), (lower, FALL))
    agree = min(by_turn, by_turn + by_wedge, by_fall) > 0
    if agree and by_turn + by_wedge + by_fall > S1_BY_TURN:
        spine.lowest = "S1"
        spine.unsure_lowest = (
            "the image ends at what is taken for S1, and only its turn tells that it is"
        )
        spine.lowest_off = ONE_OR_TWO  # a broken L4 in an image tilted by 25 degrees turns as S1


def _told(*measured: tuple[float, tuple[float, float, float]]) -> np.ndarray:
    """Natural logarithms of how much more it is S1 than L5 by each; 0 where it is not measured."""
    told = [((x - l5) ** 2 - (x - s1) ** 2) / (2 * sd**2) for x, (s1, l5, sd) in measured]
    return np.clip(np.nan_to_num(told), -MOST_TOLD, MOST_TOLD)


@dataclass(frozen=True)
class _Shape:
    """What tells S1 from L5; NaN where too little of it is in view.

    Attributes:
        taper: depth at the lower end over that at the upper.
        kink_deg: by which the back wall turns from that of the body above.
        like_s1: natural logarithm of how much more it is S1's shape than L5's, by the size as well;
            0 where nothing tells.
    """

    taper: float = np.nan
    kink_deg: float = np.nan
    like_s1: float = 0.0


def _shape(spine: Spine, index: int) -> _Shape:
    if index < 1:
        return _Shape()
    body, above = spine.bodies[index], spine.bodies[index - 1]
    size = np.count_nonzero(body.mask) / np.count_nonzero(above.mask)
    if _cut(body, spine.frame) or _cut(above, spine.frame):
        size = np.nan
    upper, one = (_sides(spine, n, spine.bodies[n].up) for n in (index - 1, index))
    own = _sides(spine, index, body_axes(body, spine.frame)[0][2])
    taper, kink_deg = float(np.fmin(one.taper, own.taper)), upper.back_deg - one.back_deg
    by_size, *by_walls = _told((size, SIZE), (taper, TAPER), (kink_deg, KINK_DEG))
    if sum(by_walls) <= 0:
        by_size = min(by_size, 0.0)
    return _Shape(taper, kink_deg, float(by_size + sum(by_walls)))


@dataclass(frozen=True)
class _Sides:
    """Of a body near its middle: tilt of its back wall, and depth at its lower over upper end."""

    back_deg: float
    taper: float


def _sides(spine: Spine, index: int, upward: np.ndarray) -> _Sides:
    """In cross-sections along a direction."""
    body, frame = spine.bodies[index], spine.frame
    axes = image_axes(frame)
    places = np.argwhere(body.mask)
    inner = ndimage.binary_erosion(np.isfinite(frame.array), np.ones((1, 3, 3)))
    whole = inner[tuple(places.T)]
    local = frame.to_ras(places[:, ::-1]) @ axes.T
    near = np.abs(local[:, 0] - np.median(local[:, 0])) < MIDDLE_MM
    plane, whole = local[near, 1:] - local[near, 1:].mean(axis=0), whole[near]
    up = axes[1:] @ upward
    up /= np.linalg.norm(up)
    height, front = plane @ up, plane @ [up[1], -up[0]]
    low, high = np.percentile(height, HEIGHT_PERCENT)
    rows = np.rint(height / PIXEL_MM).astype(int)
    kept = []
    for row in range(round(low / PIXEL_MM), round(high / PIXEL_MM) + 1):
        there = rows == row
        if there.sum() > LEAST_IN_ROW and whole[there].all():  # not where the image cuts it
            kept.append((row * PIXEL_MM, *np.percentile(front[there], EDGE_PERCENT)))
    if len(kept) < LEAST_ROWS:
        return _Sides(np.nan, np.nan)
    heights, back, ahead = np.array(kept).T
    slope = np.polyfit(heights, back, 1)[0]
    wall = up + slope * np.array([up[1], -up[0]])
    depth, third = ahead - back, len(kept) // 3
    return _Sides(
        float(np.rad2deg(np.arctan2(-wall[0], wall[1]))),
        float(depth[:third].mean() / depth[-third:].mean()),
    )


def _cut(body: FoundBody, frame: Volume) -> bool:
    """Whether a body reaches the upper or lower end of the frame, or in it any end of the image."""
    beyond = ndimage.binary_dilation(np.isnan(frame.array), np.ones((1, 3, 3)))
    return bool(body.mask[:, [0, -1]].any() or (body.mask & beyond).any())
