"""The borders of found bodies: at the image's edges, near the network's outline.

The network's outline runs inside the edges on some images and outside on others, at the back by 1
to 2 mm, and alike in all bodies of an image. So it is moved first, face by face, by as much as the
edges lie beyond it in the median of the bodies; then each body's border is fitted near it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress, tell
from scipy import ndimage

from MarrowAssessLib.placement.found_spine import Spine, body_axes, body_chance
from MarrowAssessLib.placement.spine_network import FINDING
from MarrowAssessLib.placement.star_surface import optimal_surface, sample
from MarrowAssessLib.placement.vertebra import (
    BELOW_FACE,
    FACE_PART,
    LABELS,
    NEIGHBORS_APART,
    RAYS,
    RELATIVE_RADII,
    STEP,
    STIFFNESS,
    SWEEPS,
    Box,
    Surface,
    face_distance,
    ray_costs,
    template_radii,
)

CHANCE, PRIOR_ON = 0.15, 0.1  # what the network's odds and its outline weigh beside edges
CHANCE_ENDS = 0.02  # the network is never surer than that
ROUND_MM = 9.0  # of a body's voxels: farther away the network's probability is not asked
MOST_MM = 3.0  # that an outline is moved; 1.9 was the most on 17 real images
AT_EDGE_MM = 1.0  # from an outline to the image's edge: the image ends there, not the body
SPREAD_VOXELS = 2  # from a body's own voxels: so far its probability is its own
# Of an outline by its neighbors on the rays. 0 to 30 all help S1; chosen on T1, TIRM (five S1, Dice
# .877 -> .894 in the middle), then looked at on others (T2 and vb3_33, five: .790 -> .799).
SMOOTHINGS = 3


@dataclass
class _Rays:
    """What a body's rays meet.

    Attributes:
        box: of the network's body.
        chance: probability that a place belongs to it, on a grid of its own.
        shape: (n,) of the body, relative to the template.
        rays: (n, 3) to the shape's surface, mm in the box's axes.
        depth: (n,) see `face_distance`.
        cost: (n, radii) of ending there, by the image alone.
        support: (n, radii) strength of the edge there, NaN outside the image.
    """

    box: Box
    chance: Volume
    shape: np.ndarray
    rays: np.ndarray
    depth: np.ndarray
    cost: np.ndarray
    support: np.ndarray

    def inside(self, beyond_mm: np.ndarray | float = 0.0) -> np.ndarray:
        """Probability along the rays, (n, radii), as if the body ended so much farther out."""
        radii = RELATIVE_RADII - np.reshape(beyond_mm / self.depth, (-1, 1))
        points = self.box.center + (self.rays[:, None] * radii[..., None]) @ self.box.axes
        found = sample(self.chance.array, self.chance.ras_to_ijk(points.reshape(-1, 3)))
        return np.nan_to_num(found).reshape(len(self.rays), -1)


@dataclass(frozen=True)
class FoundOutlines:
    """What the surfaces of a spine's bodies in one image are fitted to.

    Attributes:
        bodies: what the rays of each meet.
        beyond_mm: (n,) how far all are moved along their rays.
        s1: the lowest body on rays of its own shape, where the image shows it as S1. Names that a
            click gives come later, and change no shape.
    """

    bodies: list[_Rays]
    beyond_mm: np.ndarray
    s1: _Rays | None = None

    def surface(self, index: int) -> tuple[Surface, float]:
        """A body's surface, and its Dice with the network's own, moved outline.

        S1 as well is as sure as the template's surface is: one of its own shape follows the network
        wherever that is wrong.
        """
        surface, agreement = _fitted(self.bodies[index], self.beyond_mm)
        if self.s1 is not None and index == len(self.bodies) - 1:
            surface, _ = _fitted(self.s1, self.beyond_mm)
        return surface, agreement


def found_outlines(volume: Volume, spine: Spine, progress: Progress | None = None) -> FoundOutlines:
    """The outlines of a spine's bodies.

    Args:
        volume: the image that the spine was found in.
        spine: see `find_spine`.
        progress: takes the fraction done; returning False cancels.

    Raises:
        InterruptedError: canceled.
    """
    met = []
    for n in range(len(spine.bodies)):
        tell(progress, n / len(spine.bodies), FINDING)
        met.append(_rays(volume, spine, n))
    s1 = _in_own_shape(volume, met[-1]) if spine.lowest == "S1" else None
    return FoundOutlines(met, _beyond(met), s1)


def outline_radii(inside: np.ndarray) -> np.ndarray:
    """Where a probability (rays, radii) falls below one half for the first time."""
    beyond = inside < 0.5
    first = np.where(beyond.any(axis=1), beyond.argmax(axis=1), inside.shape[1] - 1)
    first = np.maximum(first, 1)
    rows = np.arange(len(inside))
    before, after = inside[rows, first - 1], inside[rows, first]
    part = np.clip((before - 0.5) / np.maximum(before - after, 1e-6), 0, 1)
    return RELATIVE_RADII[0] + STEP * (first - 1 + part)


def _rays(volume: Volume, spine: Spine, index: int) -> _Rays:
    axes, half, center = body_axes(spine.bodies[index], spine.frame)
    usual = np.ones(len(RAYS.directions))
    return _met(volume, Box(center, axes, half), _own_chance(spine, index), usual)


def _in_own_shape(volume: Volume, body: _Rays) -> _Rays:
    """The same body on rays to the network's outline, smoothed, in place of the template."""
    shape, there = outline_radii(body.inside()), RAYS.neighbors >= 0
    for _ in range(SMOOTHINGS):
        beside = np.where(there, shape[RAYS.neighbors], 0).sum(axis=1) / there.sum(axis=1)
        shape = (shape + beside) / 2
    return _met(volume, body.box, body.chance, shape)


def _met(volume: Volume, box: Box, chance: Volume, shape: np.ndarray) -> _Rays:
    rays = shape[:, None] * template_radii(RAYS.directions, box.half)
    local = rays[:, None] * RELATIVE_RADII[None, :, None]
    points = volume.ras_to_ijk(box.center + local.reshape(-1, 3) @ box.axes)
    values = sample(volume.array, points).reshape(local.shape[:2])
    empty = np.empty(0)
    met = _Rays(box, chance, shape, rays, face_distance(rays), empty, empty)
    met.cost, met.support = ray_costs(values, local, met.depth, outline_radii(met.inside()), 0.0)
    met.support[~np.isfinite(values)] = np.nan
    return met


def _own_chance(spine: Spine, index: int) -> Volume:
    """Probability that a place belongs to this body, on a crop of the frame."""
    frame, mask = spine.frame, spine.bodies[index].mask
    reach = np.ceil(ROUND_MM / frame.spacing[::-1]).astype(int)
    places = np.argwhere(mask)
    low = np.maximum(places.min(axis=0) - reach, 0)
    high = np.minimum(places.max(axis=0) + reach + 1, mask.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    mine = ndimage.binary_dilation(mask[box], iterations=SPREAD_VOXELS)
    for n, other in enumerate(spine.bodies):
        if n != index:
            mine &= ~other.mask[box]
    grid = frame.ijk_to_ras.copy()
    grid[:3, 3] = frame.to_ras(low[::-1])
    array = np.where(mine, body_chance(spine.chances[(slice(None), *box)]), np.float32(0))
    return Volume(array, grid, frame.name)


def _beyond(bodies: list[_Rays]) -> np.ndarray:
    """How far the image's edges lie beyond the network's outline, mm: median of bodies by face.

    `MOST_MM` at most: an outline that is farther off is not followed all the way.
    """
    apart = []
    for one in bodies:
        outline = outline_radii(one.inside())
        cost = one.cost + _prior(one, outline)
        apart.append((RELATIVE_RADII[LABELS][cost[:, LABELS].argmin(axis=1)] - outline) * one.depth)
    d = RAYS.directions
    moves, faces = np.zeros(len(d)), np.zeros(len(d))
    for axis in range(3):
        middle = np.abs(np.delete(d, axis, 1)).max(axis=1) < FACE_PART
        for side in (-1, 1):
            face = side * d[:, axis] > BELOW_FACE
            moves[face] += np.median([np.median(mm[face & middle]) for mm in apart])
            faces[face] += 1
    return np.clip(moves / faces, -MOST_MM, MOST_MM)


def _where_seen(body: _Rays, beyond_mm: np.ndarray) -> np.ndarray:
    """The move of each ray, mm: not inward where the image cuts the body, which is no edge."""
    farther = outline_radii(body.inside()) + AT_EDGE_MM / body.depth
    n = np.ceil((farther - RELATIVE_RADII[0]) / STEP).astype(int)
    n = np.minimum(n, len(RELATIVE_RADII) - 1)
    cut = np.isnan(np.take_along_axis(body.support, n[:, None], 1)[:, 0])
    return np.where(cut, np.maximum(beyond_mm, 0), beyond_mm)


def _prior(body: _Rays, outline: np.ndarray) -> np.ndarray:
    """Cost of ending away from an outline."""
    return PRIOR_ON * (body.depth[:, None] * (RELATIVE_RADII - outline[:, None])) ** 2


def _fitted(body: _Rays, beyond_mm: np.ndarray) -> tuple[Surface, float]:
    """The surface, and its Dice with the network's outline, both with what lies beyond it."""
    inside = body.inside(_where_seen(body, beyond_mm))
    outline = outline_radii(inside)
    inside = np.clip(inside, CHANCE_ENDS, 1 - CHANCE_ENDS)
    odds = np.log(inside / (1 - inside)) * body.depth[:, None] * STEP
    cost = body.cost + _prior(body, outline) - CHANCE * np.cumsum(odds, axis=1)
    labels = optimal_surface(
        cost[:, LABELS].astype(np.float32), RAYS.neighbors, body.depth * STEP, STIFFNESS,
        NEIGHBORS_APART, SWEEPS,
    )  # fmt: skip
    radii = RELATIVE_RADII[LABELS][labels]
    met = np.take_along_axis(body.support, (labels + LABELS.start)[:, None], 1)[:, 0]
    weight = np.linalg.norm(body.rays, axis=1) ** 3
    both = 2 * weight @ np.minimum(outline, radii) ** 3
    agreement = float(both / (weight @ outline**3 + weight @ radii**3))
    return Surface(body.box, body.shape * radii, met), agreement
