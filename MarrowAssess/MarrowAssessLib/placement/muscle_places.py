"""Places where muscle may be, and the one of them that is most like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.placement.star_surface import sample

UNLIKE_COST = 0.3  # of a signal unlike the others', beside their spread
BALL_PLACES, BALL_ROUND = 5, 1.125  # across a ball, and how far out (radii): its corners are cut
OF_SPINE = 0.5  # probability of bone, disc or canal: so much and more is no muscle
LIKE_FAT = 0.25  # of fat's signal beneath the skin: what differs by less is fat as well


@dataclass(frozen=True)
class Ball:
    """Mean and standard deviation of the signal round a place (RAS, mm)."""

    mean: float
    std: float
    center: np.ndarray


def balls_at(
    volume: Volume, spine: Volume | None, centers: np.ndarray, radius_mm: float
) -> list[Ball]:
    """Balls that lie inside the volume, but its padding, with their middle outside of the spine.

    Padding is of one value, that of a corner.

    Args:
        volume: image.
        spine: probability of bone, disc or canal, None where it is not known.
        centers: (n, 3) RAS, mm.
        radius_mm: of the balls.
    """
    corners = np.unique(volume.array[np.ix_(*[[0, -1]] * 3)])
    ball = filled_ball(radius_mm)
    if spine is not None:
        centers = centers[~of_spine(spine, centers)]
    found = []
    for center in centers:
        values = sample(volume.array, volume.ras_to_ijk(center + ball))
        if np.isfinite(values).all() and not (np.ptp(values) == 0 and values[0] in corners):
            found.append(Ball(float(values.mean()), float(values.std()), center))
    return found


def filled_ball(radius_mm: float) -> np.ndarray:
    """(n, 3) places in a ball round 0."""
    ball = np.stack(np.meshgrid(*[np.linspace(-1, 1, BALL_PLACES)] * 3), -1).reshape(-1, 3)
    return radius_mm * ball[np.linalg.norm(ball, axis=1) <= BALL_ROUND]


def most_like_muscle(sides: Mapping[str, list[Ball]], side: str, usual: float) -> Ball | None:
    """The most uniform ball of a side with the usual signal, or the most common one for 0."""
    usual = usual or _commonest([ball.mean for balls in sides.values() for ball in balls])
    return min(
        sides[side],
        key=lambda ball: ball.std + UNLIKE_COST * abs(ball.mean - usual),
        default=None,
    )


def in_front_of(
    sides: Mapping[str, list[Ball]], fat: Ball, front: np.ndarray
) -> dict[str, list[Ball]]:
    """The balls that lie farther to the front than one of fat and are not about as bright."""
    return {
        side: [
            ball
            for ball in balls
            if (ball.center - fat.center) @ front > 0
            and abs(ball.mean - fat.mean) > LIKE_FAT * fat.mean
        ]
        for side, balls in sides.items()
    }


def of_spine(spine: Volume, points: np.ndarray) -> np.ndarray:
    """Whether places (n, 3) are bone, disc or canal; outside of the probabilities none is."""
    return sample(spine.array, spine.ras_to_ijk(points)) >= OF_SPINE


def _commonest(values: list[float]) -> float:
    """The middle of the shortest interval that holds half of the values; NaN for none."""
    if not values:
        return float("nan")
    ordered = np.sort(values)
    half = len(ordered) // 2
    start = int(np.argmin(ordered[half:] - ordered[: len(ordered) - half]))
    return float(ordered[start] + ordered[start + half]) / 2
