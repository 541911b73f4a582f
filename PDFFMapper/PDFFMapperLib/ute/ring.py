"""A cortex as a ring of two smooth edges, fitted to the blurred voxels around it.

Around a closed curve between both edges every voxel has a place s along it and a distance d from
it. Its signal is that of marrow, cortex and what lies outside, blurred by the Gaussian point-spread
function: m (1 - P((d - a(s))/w)) + c (P((d - a(s))/psf) - P((d - b(s))/psf)) + o P((d - b(s))/psf),
P the normal distribution, a and b the edges. Marrow has a blur w of its own, since fat off
resonance is blurred more by a radial readout. All images share the edges; levels are their own and
vary slowly along the ring, as a coil's shading does. Unlike a full width at half maximum this has
no bias for cortex thinner than the blur, and the level of cortex comes from the whole ring. Where
an edge bends by a radius R, blur moves it inward by half its variance over R, which is taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import ndtr

from PDFFMapperLib.ute.noise import mean_magnitude

EDGE_ORDER, CORTEX_ORDER, MARROW_ORDER, OUTSIDE_ORDER = 6, 2, 2, 6
CURVE_ORDER = 6
_CURVE_POINTS = 720
_REACH = 3.0  # blurs beyond an edge
_CORE = 0.85  # of the way to the center, beyond which a voxel is nobody's
_MOST_STEPS = 40
_ROUNDS = 4  # in which the floor of noise is taken off
_LEAST_SLOPE = 0.3  # of the mean magnitude by the signal, or a round would go too far
_BLUR_LIMITS = (1.0, 4.0)  # of marrow, over that of the rest


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


def box_around(
    curve: Curve, reach_mm: float, shape: Sequence[int], spacing_mm: Sequence[float]
) -> tuple[slice, slice]:
    """The rows and columns that lie so near to a curve, or inside it."""
    low = (curve.points.min(axis=0) - reach_mm) / spacing_mm
    high = (curve.points.max(axis=0) + reach_mm) / spacing_mm
    ends = zip(np.floor(low).astype(int), np.ceil(high).astype(int), shape, strict=True)
    return tuple(slice(max(a, 0), min(b, n) + 1) for a, b, n in ends)


@dataclass(frozen=True)
class Ring:
    """A fitted ring.

    Attributes:
        curve: that distances are measured from.
        inner, outer: distances of both edges at the curve's points, mm; shape (points,).
        marrow_blur_mm: Gaussian SD of marrow's signal.
        levels: of marrow, cortex and outside in each image, means along the ring; (images, 3).
        covariance: of all parameters, by the noise and widened by the misfit.
        level_sd: SD of the mean cortex level in each image.
        misfit: root of the mean squared residual over the noise.
    """

    curve: Curve
    inner: np.ndarray
    outer: np.ndarray
    marrow_blur_mm: float
    levels: np.ndarray
    covariance: np.ndarray
    level_sd: np.ndarray
    misfit: float

    @property
    def thickness(self) -> np.ndarray:
        """At the curve's points, mm."""
        return self.outer - self.inner

    def mean_thickness(self, chosen: np.ndarray | None = None) -> tuple[float, float]:
        """Mean thickness along the curve, or its chosen points, and its SD by the noise."""
        weights = self.curve.length * (1.0 if chosen is None else chosen)
        weights = weights / weights.sum()
        phi = np.arange(len(weights)) * 2 * np.pi / len(weights)
        slopes = weights @ harmonics(phi, EDGE_ORDER)
        gradient = np.concatenate([-slopes, slopes])
        variance = gradient @ self.covariance[: len(gradient), : len(gradient)] @ gradient
        return float(weights @ self.thickness), float(variance**0.5)

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Points of the inner and the outer edge, mm."""
        points, normals = self.curve.points, self.curve.normals
        return points + self.inner[:, None] * normals, points + self.outer[:, None] * normals

    def area(self) -> tuple[float, float]:
        """Area between both edges, mm^2, and its SD by the noise."""
        inside, outside = self.edges()
        phi = np.arange(len(self.inner)) * 2 * np.pi / len(self.inner)
        basis = harmonics(phi, EDGE_ORDER)
        lengths = [closed_curve(one, self.curve.center).length for one in (inside, outside)]
        gradient = np.concatenate([-lengths[0] @ basis, lengths[1] @ basis])
        variance = gradient @ self.covariance[: len(gradient), : len(gradient)] @ gradient
        return _polygon(outside) - _polygon(inside), float(variance**0.5)


def _polygon(points: np.ndarray) -> float:
    row, column = points.T
    return abs(float(row @ np.roll(column, 1) - column @ np.roll(row, 1))) / 2


def fit_ring(
    images: np.ndarray,
    spacing_mm: tuple[float, float],
    curve: Curve,
    thickness_mm: float,
    psf_mm: float,
    sigma: float,
    share: float = 1.0,
    coils: int = 1,
) -> Ring:
    """Fit both edges around a curve between them.

    Args:
        images: shape (images, rows, columns), of one slice.
        spacing_mm: of rows and columns.
        curve: near the middle of the cortex.
        thickness_mm: about; where the fit starts.
        psf_mm: SD of the Gaussian point-spread function.
        sigma: noise SD.
        share: of voxels that are independent.
        coils: how many receivers' squares were summed.

    Raises:
        ValueError: the voxels do not tell the ring.
    """
    reach = thickness_mm / 2 + _REACH * psf_mm
    box = box_around(curve, reach, images.shape[1:], spacing_mm)
    places = np.stack(np.mgrid[box], axis=-1).reshape(-1, 2) * spacing_mm
    angle, distance = placed(curve, places)
    core = np.linalg.norm(places - curve.center, axis=1)
    radius, bend = (
        np.interp(angle, np.arange(len(one)) * 2 * np.pi / len(one), one, period=2 * np.pi)
        for one in (np.linalg.norm(curve.points - curve.center, axis=1), curve.bend)
    )
    held = images[(slice(None), *box)].reshape(len(images), -1)
    kept = (np.abs(distance) < reach) & (core > (1 - _CORE) * radius) & np.isfinite(held).all(0)
    fit = _RingFit(angle[kept], distance[kept], bend[kept], held[:, kept], psf_mm)
    return fit.ring(curve, thickness_mm, sigma, share, coils)


class _RingFit:
    """Parameters: harmonics of the inner edge, of the outer edge, log of marrow's blur; levels."""

    def __init__(
        self,
        angle: np.ndarray,
        distance: np.ndarray,
        bend: np.ndarray,
        held: np.ndarray,
        psf_mm: float,
    ) -> None:
        self.distance, self.held, self.psf = distance, held.astype(float), psf_mm
        self.bend = bend / np.maximum(1 + bend * distance, 0.2)  # of a parallel curve there
        self.edge = harmonics(angle, EDGE_ORDER)
        self.of_level = [
            harmonics(angle, order) for order in (MARROW_ORDER, CORTEX_ORDER, OUTSIDE_ORDER)
        ]
        self.n = self.edge.shape[1]

    def _shapes(self, edges: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Share of marrow, cortex and outside; their derivatives by both edges and the blur."""
        n, psf = self.n, self.psf
        blur = psf * np.exp(edges[-1])
        a, b = self.edge @ edges[:n], self.edge @ edges[n : 2 * n]
        inward = self.bend / 2
        x = (self.distance - a) / psf + psf * inward
        y = (self.distance - b) / psf + psf * inward
        z = (self.distance - a) / blur + blur * inward
        gauss = [np.exp(-0.5 * one**2) / (2 * np.pi) ** 0.5 for one in (x, y, z)]
        shares = [1 - ndtr(z), ndtr(x) - ndtr(y), ndtr(y)]
        slopes = [
            (gauss[2] / blur, 0.0 * y, gauss[2] * z),
            (-gauss[0] / psf, gauss[1] / psf, 0.0 * y),
            (0.0 * x, -gauss[1] / psf, 0.0 * y),
        ]
        return shares, slopes

    def _solve(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Levels by least squares, residuals, and the derivatives of all signals by `edges`."""
        shares, slopes = self._shapes(edges)
        design = np.concatenate(
            [share[:, None] * basis for share, basis in zip(shares, self.of_level, strict=True)],
            axis=1,
        )
        levels = np.linalg.lstsq(design, self.held.T, rcond=None)[0]
        residual = self.held - (design @ levels).T
        jacobian = []
        for one in levels.T:
            parts = np.split(one, np.cumsum([b.shape[1] for b in self.of_level])[:-1])
            values = [basis @ part for basis, part in zip(self.of_level, parts, strict=True)]
            by = [sum(v * s[k] for v, s in zip(values, slopes, strict=True)) for k in range(3)]
            jacobian.append(
                np.concatenate(
                    [by[0][:, None] * self.edge, by[1][:, None] * self.edge, by[2][:, None]], 1
                )
            )
        self.design, self.levels = design, levels
        return residual, np.array(jacobian), design

    def ring(
        self, curve: Curve, thickness_mm: float, sigma: float, share: float, coils: int
    ) -> Ring:
        """The fit of signals whose mean magnitude is that of the voxels (quasi-likelihood)."""
        edges = np.zeros(2 * self.n + 1)
        edges[0], edges[self.n] = -thickness_mm / 2, thickness_mm / 2
        edges[-1] = 0.1
        magnitudes = self.held
        for n in range(_ROUNDS):
            edges = self._fitted(edges)
            residual, jacobian, design = self._solve(edges)
            if n < _ROUNDS - 1:
                found = self.held - residual
                mean, slope = mean_magnitude(found, sigma, coils)
                self.held = found + (magnitudes - mean) / np.maximum(slope, _LEAST_SLOPE)
        left = magnitudes - mean_magnitude(self.held - residual, sigma, coils)[0]
        return self._ring(curve, edges, residual, jacobian, design, sigma, share, left)

    def _fitted(self, edges: np.ndarray) -> np.ndarray:
        """The edges of least squares, from a start."""
        limits = np.log(_BLUR_LIMITS)
        residual, jacobian, design = self._solve(edges)
        cost, damping = float(np.sum(residual**2)), 1e-3
        for _ in range(_MOST_STEPS):
            # Levels follow the edges: what they can explain is taken out of both (Kaufman 1975).
            basis = np.linalg.qr(design)[0]
            free = [one - basis @ (basis.T @ one) for one in jacobian]
            normal = sum(one.T @ one for one in free)
            right = sum(one.T @ r for one, r in zip(free, residual, strict=True))
            scale = np.diag(normal) * damping + 1e-12 * np.trace(normal)
            tried = edges + np.linalg.solve(normal + np.diag(scale), right)
            tried[-1] = np.clip(tried[-1], *limits)
            found = self._solve(tried)
            now = float(np.sum(found[0] ** 2))
            if now > cost:
                damping *= 8
                if damping > 1e6:
                    break
                continue
            done = cost - now < 1e-6 * cost
            edges, cost, damping = tried, now, max(damping / 5, 1e-9)
            residual, jacobian, design = found
            if done:
                break
        return edges

    def _ring(
        self,
        curve: Curve,
        edges: np.ndarray,
        residual: np.ndarray,
        jacobian: np.ndarray,
        design: np.ndarray,
        sigma: float,
        share: float,
        left: np.ndarray,
    ) -> Ring:
        images, n = len(self.held), self.n
        phi = np.arange(len(curve.points)) * 2 * np.pi / len(curve.points)
        basis = harmonics(phi, EDGE_ORDER)
        inner, outer = basis @ edges[:n], basis @ edges[n : 2 * n]
        count = residual.size - len(edges) - images * design.shape[1]
        misfit, spread = (
            float((np.sum(one**2) / max(count, 1)) ** 0.5) / sigma for one in (left, residual)
        )
        if not ((outer > inner).mean() > 0.98 and count > 0):
            raise ValueError("its voxels tell no ring of cortex")
        q = np.linalg.qr(design)[0]
        information = sum((one - q @ (q.T @ one)).T @ (one - q @ (q.T @ one)) for one in jacobian)
        information[-1, -1] += 1e-9 * np.trace(information)
        variance = (sigma * max(misfit, spread, 1.0)) ** 2 / share
        covariance = variance * np.linalg.inv(information)
        firsts = np.cumsum([0] + [b.shape[1] for b in self.of_level])[:-1]
        levels = self.levels[firsts].T
        plain = variance * np.linalg.inv(design.T @ design)[firsts[1], firsts[1]]
        follow = np.linalg.pinv(design)[firsts[1]] @ jacobian.transpose(1, 0, 2).reshape(
            len(self.distance), -1
        )
        follow = follow.reshape(images, -1)
        level_sd = np.sqrt(plain + np.einsum("ip,pq,iq->i", follow, covariance, follow))
        blur = self.psf * float(np.exp(edges[-1]))
        return Ring(curve, inner, outer, blur, levels, covariance, level_sd, misfit)
