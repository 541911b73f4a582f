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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import ndtr

from PDFFMapperLib.ute.region_signal import bessels, information_of, lean_of
from PDFFMapperLib.ute.ring_levels import LevelSignals, log_likelihood

EDGE_ORDER, CORTEX_ORDER, MARROW_ORDER, OUTSIDE_ORDER = 6, 2, 2, 6
CURVE_ORDER = 6
_CURVE_POINTS = 720
_REACH = 3.0  # blurs beyond an edge
_CORE = 0.85  # of the way to the center, beyond which a voxel is nobody's
_MOST_STEPS = 40
_LEAST_TOLD = 0.01  # of a voxel of noise, or parameters of a signal that is none are open
_LEAST_GAIN = 0.01  # of the log likelihood, in the last step
_LEAST_INFORMATION = 0.1  # of a voxel in a step, or near the floor of noise it would go too far
_LOG_BLUR = (0.0, np.log(4.0))  # of marrow, over that of the rest


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
    return tuple(slice(max(a, 0), min(b + 1, n)) for a, b, n in ends)


@dataclass(frozen=True)
class Ring:
    """A fitted ring.

    Attributes:
        curve: that distances are measured from.
        inner, outer: distances of both edges at the curve's points, mm; shape (points,).
        marrow_blur_mm: Gaussian SD of marrow's signal.
        levels: of marrow, cortex and outside in each image, means along the ring; (images, 3).
        covariance: of the edges' parameters, by the noise and widened by the misfit.
        tell: gives what its voxels tell of the mean levels of cortex.
        misfit: root of the mean squared score over its variance; 1 is noise alone.
    """

    curve: Curve
    inner: np.ndarray
    outer: np.ndarray
    marrow_blur_mm: float
    levels: np.ndarray
    covariance: np.ndarray
    tell: Callable[[], LevelSignals]
    misfit: float

    @cached_property
    def told(self) -> LevelSignals:
        """What its voxels tell of the mean levels of cortex; computed when asked for."""
        return self.tell()

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
    held = held[:, kept].astype(float) / sigma
    fit = _RingFit(angle[kept], distance[kept], bend[kept], held, psf_mm, coils)
    return fit.ring(curve, thickness_mm, sigma, share)


class _RingFit:
    """Parameters: harmonics of the inner edge, of the outer edge, log of marrow's blur; levels.

    Images and levels are in units of the noise.
    """

    def __init__(
        self,
        angle: np.ndarray,
        distance: np.ndarray,
        bend: np.ndarray,
        held: np.ndarray,
        psf_mm: float,
        coils: int,
    ) -> None:
        self.distance, self.held, self.psf, self.coils = distance, held, psf_mm, coils
        self.bend = bend / np.maximum(1 + bend * distance, 0.2)  # of a parallel curve there
        self.edge = harmonics(angle, EDGE_ORDER)
        self.of_level = [
            harmonics(angle, order) for order in (MARROW_ORDER, CORTEX_ORDER, OUTSIDE_ORDER)
        ]
        self.n = self.edge.shape[1]
        self.firsts = np.cumsum([0] + [basis.shape[1] for basis in self.of_level])[:-1]

    def _shapes(self, edges: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """What each level adds to the signals; derivatives of all shares by edges and blur."""
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
        design = [
            share[:, None] * basis for share, basis in zip(shares, self.of_level, strict=True)
        ]
        return np.concatenate(design, axis=1), slopes

    def _by_edges(self, levels: np.ndarray, slopes: list[np.ndarray]) -> np.ndarray:
        """Derivatives of an image's signals by both edges and the blur, levels kept."""
        parts = np.split(levels, self.firsts[1:])
        values = [basis @ part for basis, part in zip(self.of_level, parts, strict=True)]
        by = [sum(v * s[k] for v, s in zip(values, slopes, strict=True))[:, None] for k in range(3)]
        return np.concatenate([by[0] * self.edge, by[1] * self.edge, by[2]], axis=1)

    def ring(self, curve: Curve, thickness_mm: float, sigma: float, share: float) -> Ring:
        """The ring of highest likelihood, from that of least squares."""
        edges = np.zeros(2 * self.n + 1)
        edges[0], edges[self.n] = -thickness_mm / 2, thickness_mm / 2
        edges[-1] = 0.1
        found = self._likeliest(self._least_squares(edges))
        return self._ring(curve, found, sigma, share)

    def _solve(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Levels by least squares, residuals, and the derivatives of all signals by `edges`.

        What levels can explain is taken out of both (Kaufman 1975).
        """
        design, slopes = self._shapes(edges)
        basis, triangle = np.linalg.qr(design)
        inside = self.held @ basis
        levels = np.linalg.lstsq(triangle, inside.T, rcond=None)[0].T
        jacobian = np.array([self._by_edges(one, slopes) for one in levels])
        return levels, self.held - inside @ basis.T, jacobian - basis @ (basis.T @ jacobian)

    def _least_squares(self, edges: np.ndarray) -> np.ndarray:
        """All parameters by least squares, from a start of the edges."""
        levels, residual, free = self._solve(edges)
        cost, damping = float(np.sum(residual**2)), 1e-3
        for _ in range(_MOST_STEPS):
            normal = np.einsum("kvp,kvq->pq", free, free, optimize=True)
            right = np.einsum("kvp,kv->p", free, residual)
            tried = edges + _damped(normal, right, damping)
            tried[-1] = np.clip(tried[-1], *_LOG_BLUR)
            found = self._solve(tried)
            now = float(np.sum(found[1] ** 2))
            if now > cost:
                damping *= 8
                if damping > 1e6:
                    break
                continue
            done = cost - now < 1e-4 * cost
            edges, cost, damping = tried, now, max(damping / 5, 1e-9)
            levels, residual, free = found
            if done:
                break
        return np.concatenate([edges, levels.ravel()])

    def _around(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """All signals, their derivatives and the log likelihood."""
        count = 2 * self.n + 1
        design, slopes = self._shapes(parameters[:count])
        levels = parameters[count:].reshape(len(self.held), -1)
        jacobian = np.zeros((*self.held.shape, len(parameters)))
        for k, one in enumerate(levels):
            first = count + k * len(one)
            jacobian[k, :, :count] = self._by_edges(one, slopes)
            jacobian[k, :, first : first + len(one)] = design
        signals = levels @ design.T
        return signals, jacobian, log_likelihood(self.held, signals, self.coils)

    def _likeliest(self, parameters: np.ndarray) -> np.ndarray:
        """The parameters of highest likelihood, by Fisher scoring from a start."""
        signals, jacobian, best = self._around(parameters)
        damping = 1e-6
        for _ in range(_MOST_STEPS):
            near = np.abs(signals)
            score = self.held * bessels(self.held * near, self.coils)[1] - near
            weight = np.maximum(information_of(near, self.coils), _LEAST_INFORMATION)
            normal = np.einsum("kvp,kv,kvq->pq", jacobian, weight, jacobian, optimize=True)
            right = np.einsum("kvp,kv->p", jacobian, np.sign(signals) * score)
            tried = parameters + _damped(normal, right, damping)
            tried[2 * self.n] = np.clip(tried[2 * self.n], *_LOG_BLUR)
            found = self._around(tried)
            gain = found[2] - best
            if gain < 0:
                damping = max(8 * damping, 1e-3)
                if damping > 1e6:
                    break
                continue
            parameters, damping = tried, damping / 5
            signals, jacobian, best = found
            if gain < _LEAST_GAIN:
                break
        return parameters

    def _ring(self, curve: Curve, found: np.ndarray, sigma: float, share: float) -> Ring:
        images, n, count = len(self.held), self.n, 2 * self.n + 1
        phi = np.arange(len(curve.points)) * 2 * np.pi / len(curve.points)
        basis = harmonics(phi, EDGE_ORDER)
        inner, outer = basis @ found[:n], basis @ found[n : 2 * n]
        free = self.held.size - len(found)
        if not ((outer > inner).mean() > 0.98 and free > 0):
            raise ValueError("its voxels tell no ring of cortex")
        signals, jacobian, _ = self._around(found)
        near = np.abs(signals)
        weight = np.maximum(information_of(near, self.coils), _LEAST_TOLD)
        score = self.held * bessels(self.held * near, self.coils)[1] - near
        misfit = float(np.sum(score**2 / weight) / free) ** 0.5
        worth = share / max(misfit, 1.0) ** 2  # of a voxel

        information = np.einsum("kvp,kv,kvq->pq", jacobian, weight, jacobian, optimize=True)
        information[count - 1, count - 1] += 1e-9 * np.trace(information)
        covariance = np.linalg.inv(information)
        levels = sigma * found[count:].reshape(images, -1)[:, self.firsts]
        blur = self.psf * float(np.exp(found[count - 1]))
        edges = covariance[:count, :count] / worth
        slopes = curve.length @ basis / curve.length.sum()  # of the mean thickness
        slopes = np.concatenate([-slopes, slopes, [0.0]])
        tell = partial(self._levels, found, signals, jacobian, weight, covariance, worth, slopes)
        return Ring(curve, inner, outer, blur, levels, edges, tell, misfit)

    def _levels(
        self,
        found: np.ndarray,
        signals: np.ndarray,
        jacobian: np.ndarray,
        weight: np.ndarray,
        covariance: np.ndarray,
        worth: float,
        slopes: np.ndarray,
    ) -> LevelSignals:
        count, images = 2 * self.n + 1, len(self.held)
        each = (len(found) - count) // images
        firsts = count + self.firsts[1] + each * np.arange(images)
        edges = covariance[: len(slopes), : len(slopes)]
        bias = self._bias(found, signals, jacobian, weight, covariance)
        return LevelSignals(
            self.held,
            signals,
            found[firsts],
            covariance[np.ix_(firsts, firsts)],
            np.moveaxis(jacobian @ covariance[:, firsts], -1, 0),
            bias[firsts] / worth,
            covariance[firsts, : len(slopes)] @ slopes / (slopes @ edges @ slopes),
            worth,
            self.coils,
        )

    def _bias(
        self,
        found: np.ndarray,
        signals: np.ndarray,
        jacobian: np.ndarray,
        weight: np.ndarray,
        covariance: np.ndarray,
    ) -> np.ndarray:
        """Of all parameters, to second order (Cox and Snell 1968, not read; derived here).

        By the bend of signals over what the noise leaves open, and the lean of the likelihood.
        """
        values, vectors = np.linalg.eigh(covariance)
        bent = -2 * len(values) * signals
        for step in (vectors * np.sqrt(np.maximum(values, 0))).T:
            bent += self._signals(found + step) + self._signals(found - step)
        open_by = np.einsum("kvp,kvp->kv", jacobian @ covariance, jacobian)
        lean = np.sign(signals) * lean_of(np.abs(signals), self.coils)
        pull = lean * open_by - weight * bent
        return 0.5 * covariance @ np.einsum("kvp,kv->p", jacobian, pull)

    def _signals(self, parameters: np.ndarray) -> np.ndarray:
        count = 2 * self.n + 1
        return (
            parameters[count:].reshape(len(self.held), -1) @ self._shapes(parameters[:count])[0].T
        )


def _damped(normal: np.ndarray, right: np.ndarray, damping: float) -> np.ndarray:
    """A step of least squares, shorter where little is told."""
    scale = np.diag(normal) * damping + 1e-12 * np.trace(normal)
    return np.linalg.solve(normal + np.diag(scale), right)
