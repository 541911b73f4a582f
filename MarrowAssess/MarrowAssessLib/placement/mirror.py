"""The plane in which a column's two sides mirror each other: how it lies askew in an image."""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.placement.found_spine import Spine, image_axes
from MarrowAssessLib.placement.spine_network import local_contrast
from MarrowAssessLib.placement.star_surface import sample

# What is compared: places so far to either side of the plane and to front and back of each body's
# middle, mm, there and halfway to the next; bodies, arch, muscles, but not the belly.
BESIDE_MM, ALONG_MM = np.arange(2.0, 29.0, 3.0), np.arange(-50.0, 26.0, 4.0)
TURNS_DEG = np.arange(-32.0, 33.0, 4.0)  # that are tried, and by how much the plane lies beside
AWAY_MM = np.arange(-9.0, 9.1, 3.0)  # the bodies' middles
# Correlation of the two sides: 18 real images of straight columns have .56 to .87, turned by 20
# degrees .52 to .81; a scoliosis (vb3_49) .44 and .36.
LEAST_ALIKE = 0.48
LEAST_SEEN = 0.25  # of the places: fewer (three slices) are alike at any turn


def across(spine: Spine) -> np.ndarray:
    """Unit vector to the right, at right angles to the plane in which the column lies.

    It is at right angles to the line along the bodies' middles, and round that line it is turned so
    that the image is most alike on both sides. Where no turn makes them much alike (a scoliosis),
    it stays as near to the frame's own as can be.
    """
    right, front, head = image_axes(spine.frame)
    centers = np.array([body.center for body in spine.bodies])
    heights = (centers - centers.mean(axis=0)) @ head
    up = heights @ centers / (heights @ heights)
    right = right - (right @ up) * up / (up @ up)
    right /= np.linalg.norm(right)
    front = np.cross(up, right) / np.linalg.norm(up)
    seen = spine.frame.array > 0  # margins of nothing mirror each other as well
    contrast = local_contrast(np.where(seen, spine.frame.array, 0))
    image = spine.frame.with_array(np.where(seen, contrast, np.nan))
    places = np.concatenate([centers, (centers[1:] + centers[:-1]) / 2])
    angles = np.deg2rad(TURNS_DEG)
    turns = np.cos(angles)[:, None] * right + np.sin(angles)[:, None] * front
    alike = np.array([_alike(image, places, one, np.cross(up, one)) for one in turns])
    n = int(alike.argmax())
    if not 0 < n < len(alike) - 1 or alike[n] < LEAST_ALIKE:
        return right
    before, best, after = alike[n - 1 : n + 2]
    turn = angles[n] + (angles[1] - angles[0]) * (before - after) / (before - 2 * best + after) / 2
    return np.cos(turn) * right + np.sin(turn) * front


def _alike(image: Volume, places: np.ndarray, right: np.ndarray, front: np.ndarray) -> float:
    """Correlation of the two sides of the plane at right angles to `right`, where it lies best."""
    front = front / np.linalg.norm(front)
    best = -1.0
    beside = np.multiply.outer(BESIDE_MM, right)
    for away in AWAY_MM:
        middle = (places + away * right)[:, None] + np.multiply.outer(ALONG_MM, front)
        sides = []
        for side in (-1, 1):
            points = (middle[:, :, None] + side * beside).reshape(-1, 3)
            sides.append(sample(image.array, image.ras_to_ijk(points)))
        one, other = np.array(sides)[:, np.isfinite(sides).all(axis=0)]
        if len(one) > LEAST_SEEN * sides[0].size:
            both = np.corrcoef(np.r_[one, other], np.r_[other, one])[0, 1]
            best = max(best, float(np.nan_to_num(both, nan=-1.0)))
    return best
