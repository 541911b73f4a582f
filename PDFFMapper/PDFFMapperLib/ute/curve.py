"""A closed curve around a bone's marrow cavity, and the places of voxels along and across it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

CURVE_ORDER = 6
_CURVE_POINTS = 720


@dataclass(frozen=True)
class Curve:
    """A closed curve: points and outward normals, shape (points, 2), in mm; `length` of each."""

    points: np.ndarray
    normals: np.ndarray
    length: np.ndarray
    center: np.ndarray

    @property
    def bend(self) -> np.ndarray:
        """1 over the radius of curvature at each point, positive where it is convex."""
        turned = np.roll(self.normals, -1, 0) - np.roll(self.normals, 1, 0)
        along = np.stack([self.normals[:, 1], -self.normals[:, 0]], axis=-1)
        return np.sum(turned * along, axis=1) / (2 * self.length)


def polar_curve(center: np.ndarray, angles: np.ndarray, radii: np.ndarray) -> Curve:
    """A smooth closed curve through points around a center (row, column; mm)."""
    basis = harmonics(angles, CURVE_ORDER)
    fitted = np.linalg.lstsq(basis, radii, rcond=None)[0]
    phi = np.arange(_CURVE_POINTS) * 2 * np.pi / _CURVE_POINTS
    radius = harmonics(phi, CURVE_ORDER) @ fitted
    points = center + radius[:, None] * np.stack([np.sin(phi), np.cos(phi)], axis=-1)
    return closed_curve(points, center)


def closed_curve(points: np.ndarray, center: np.ndarray) -> Curve:
    """The curve of points that are in order of their angle (from columns to rows)."""
    along = (np.roll(points, -1, 0) - np.roll(points, 1, 0)) / 2
    length = np.linalg.norm(along, axis=1)
    normals = np.stack([-along[:, 1], along[:, 0]], axis=-1) / length[:, None]
    return Curve(points, normals, length, center)


def harmonics(angles: np.ndarray, order: int) -> np.ndarray:
    """1, cos and sin of angles up to an order, shape (angles, 2 order + 1)."""
    n = np.arange(1, order + 1)
    turned = np.multiply.outer(np.asarray(angles), n)
    return np.concatenate([np.ones((len(turned), 1)), np.cos(turned), np.sin(turned)], axis=1)


def placed(curve: Curve, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angle along the curve and signed distance (mm, outward) of places, shape (places, 2)."""
    near = cKDTree(curve.points).query(places)[1]
    apart, normals = places - curve.points[near], curve.normals[near]
    along = apart[:, 0] * normals[:, 1] - apart[:, 1] * normals[:, 0]
    step = 2 * np.pi / len(curve.points)
    return (near + along / curve.length[near]) * step, np.sum(apart * normals, axis=1)
