"""A cortex as a ring of two smooth edges, fitted to the blurred voxels around it.

Around a closed curve between both edges every voxel has a place s along it and a distance d from
it. Its signal is that of marrow, cortex and what lies outside, blurred by the Gaussian point-spread
function: m (1 - P((d - a(s))/w)) + c (P((d - a(s))/psf) - P((d - b(s))/psf)) + o P((d - b(s))/psf),
P the normal distribution, a and b the edges. Marrow has a blur w of its own, since fat off
resonance is blurred more by a radial readout, and in later images a phase against water: at 1.5 T
and 2.2 ms voxels of both are darker than either. All images share the edges; levels are their own
and vary slowly along the ring, as a coil's shading does. Unlike a full width at half maximum this
has no bias for cortex thinner than the blur, and the level of cortex comes from the whole ring.
Where an edge bends by a radius R, blur moves it inward by half its variance over R, which is taken
out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from scipy.special import ndtr

from PDFFMapperLib.ute.curve import Curve, box_around, closed_curve, harmonics, placed
from PDFFMapperLib.ute.region_signal import bessels, information_of, lean_of
from PDFFMapperLib.ute.ring_levels import ImageLevels, LevelSignals, log_likelihood

EDGE_ORDER, CORTEX_ORDER, MARROW_ORDER, OUTSIDE_ORDER = 6, 2, 2, 6
_REACH = 3.0  # blurs beyond an edge
_CORE = 0.85  # of the way to the center, beyond which a voxel is nobody's
_MOST_STEPS = 40
_LEAST_TOLD = 0.01  # of a voxel of noise, or parameters of a signal that is none are open
_LEAST_GAIN = 0.01  # of the log likelihood, in the last step
_LEAST_INFORMATION = 0.1  # of a voxel in a step, or near the floor of noise it would go too far
_LOG_BLUR = (0.0, np.log(4.0))  # of marrow, over that of the rest


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
        levels_in: gives the mean level of cortex in other images of the slice, shape (images, rows,
            columns), of the cosines of marrow's phase in them.
        misfit: root of the mean squared score over its variance; 1 is noise alone.
    """

    curve: Curve
    inner: np.ndarray
    outer: np.ndarray
    marrow_blur_mm: float
    levels: np.ndarray
    covariance: np.ndarray
    tell: Callable[[], LevelSignals]
    levels_in: Callable[[np.ndarray, Sequence[float]], ImageLevels]
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
    turns: Sequence[float] | None = None,
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
        turns: cosine of the phase between marrow and water in each image; in phase if not given.

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
    known = np.isfinite(images[(slice(None), *box)]).all(axis=0).ravel()
    kept = (np.abs(distance) < reach) & (core > (1 - _CORE) * radius) & known

    def pick(images: np.ndarray) -> np.ndarray:
        held = images[(slice(None), *box)].reshape(len(images), -1)
        return held[:, kept].astype(float) / sigma

    turns = np.ones(len(images)) if turns is None else np.asarray(turns, float)
    fit = _RingFit(angle[kept], distance[kept], bend[kept], pick(images), psf_mm, coils, turns)
    return fit.ring(curve, thickness_mm, sigma, share, pick)


@dataclass(frozen=True)
class _Likeliest:
    """Parameters of the highest likelihood, and all that is known around them.

    Attributes:
        parameters: shape (parameters,).
        signals, weight: of all voxels, and the information on each; shape (images, voxels).
        jacobian: of signals by parameters, shape (images, voxels, parameters).
        covariance: of parameters, where all voxels are independent.
    """

    parameters: np.ndarray
    signals: np.ndarray
    jacobian: np.ndarray
    weight: np.ndarray
    covariance: np.ndarray


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
        turns: np.ndarray,
    ) -> None:
        self.distance, self.held, self.psf, self.coils = distance, held, psf_mm, coils
        self.turns = turns
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

    def _by_edges(
        self, levels: np.ndarray, slopes: list[np.ndarray], seen: Sequence[object] = (1, 1, 1)
    ) -> np.ndarray:
        """Derivatives of an image's signals by both edges and the blur, levels kept.

        `seen`: derivatives of the signals by what marrow, cortex and outside add.
        """
        parts = np.split(levels, self.firsts[1:])
        values = [
            one * (basis @ part)
            for one, basis, part in zip(seen, self.of_level, parts, strict=True)
        ]
        by = [sum(v * s[k] for v, s in zip(values, slopes, strict=True))[:, None] for k in range(3)]
        return np.concatenate([by[0] * self.edge, by[1] * self.edge, by[2]], axis=1)

    def ring(
        self,
        curve: Curve,
        thickness_mm: float,
        sigma: float,
        share: float,
        pick: Callable[[np.ndarray], np.ndarray],
    ) -> Ring:
        """The ring of highest likelihood, from that of least squares."""
        edges = np.zeros(2 * self.n + 1)
        edges[0], edges[self.n] = -thickness_mm / 2, thickness_mm / 2
        edges[-1] = 0.1
        found = self._likeliest(self._least_squares(edges))
        return self._ring(curve, found, sigma, share, pick)

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
        count, marrow = 2 * self.n + 1, self.firsts[1]
        design, slopes = self._shapes(parameters[:count])
        levels = parameters[count:].reshape(len(self.held), -1)
        signals, jacobian = np.zeros(self.held.shape), np.zeros((*self.held.shape, len(parameters)))
        for k, (one, turn) in enumerate(zip(levels, self.turns, strict=True)):
            first = count + k * len(one)
            water, fat = design[:, marrow:] @ one[marrow:], design[:, :marrow] @ one[:marrow]
            signals[k], by_water, by_fat = _turned_sum(water, fat, turn)
            jacobian[k, :, :count] = self._by_edges(one, slopes, (by_fat, by_water, by_water))
            own = jacobian[k, :, first : first + len(one)]
            own[:, :marrow] = by_fat[:, None] * design[:, :marrow]
            own[:, marrow:] = by_water[:, None] * design[:, marrow:]
        return signals, jacobian, log_likelihood(self.held, signals, self.coils)

    def _likeliest(self, parameters: np.ndarray, first: int = 0) -> np.ndarray:
        """The parameters of highest likelihood, by Fisher scoring from a start.

        Those before the `first` stay what they are.
        """
        signals, jacobian, best = self._around(parameters)
        damping = 1e-6
        for _ in range(_MOST_STEPS):
            near = np.abs(signals)
            score = self.held * bessels(self.held * near, self.coils)[1] - near
            weight = np.maximum(information_of(near, self.coils), _LEAST_INFORMATION)
            free = jacobian[..., first:]
            normal = np.einsum("kvp,kv,kvq->pq", free, weight, free, optimize=True)
            right = np.einsum("kvp,kv->p", free, np.sign(signals) * score)
            tried = parameters.copy()
            tried[first:] += _damped(normal, right, damping)
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

    def _ring(
        self,
        curve: Curve,
        found: np.ndarray,
        sigma: float,
        share: float,
        pick: Callable[[np.ndarray], np.ndarray],
    ) -> Ring:
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
        likeliest = _Likeliest(found, signals, jacobian, weight, np.linalg.inv(information))
        levels = sigma * found[count:].reshape(images, -1)[:, self.firsts]
        blur = self.psf * float(np.exp(found[count - 1]))
        edges = likeliest.covariance[:count, :count] / worth
        slopes = curve.length @ basis / curve.length.sum()  # of the mean thickness
        slopes = np.concatenate([-slopes, slopes, [0.0]])
        tell = partial(self._levels, likeliest, worth, slopes)
        thickness_sd = float(slopes @ edges @ slopes) ** 0.5

        def levels_in(images: np.ndarray, turns: Sequence[float]) -> ImageLevels:
            found = [
                self._level_in(likeliest.parameters[:count], one[None], turn)
                for one, turn in zip(pick(images), turns, strict=True)
            ]
            level, variance, by_mm = sigma * np.array(found).T
            return ImageLevels(level, sigma * variance / worth, by_mm, thickness_sd)

        return Ring(curve, inner, outer, blur, levels, edges, tell, levels_in, misfit)

    def _level_in(
        self, edges: np.ndarray, held: np.ndarray, turn: float
    ) -> tuple[float, float, float]:
        """Mean level of cortex in an image with these edges, its variance, and its change by 1 mm.

        The last is of a cortex that is 1 mm thicker. Voxels without a value in it do not count.
        """
        one, count, known = copy(self), len(edges), np.isfinite(held[0])
        one.held, one.turns, held = held[:, known], np.array([turn]), held[:, known]
        one.distance, one.bend, one.edge = (
            each[known] for each in (self.distance, self.bend, self.edge)
        )
        one.of_level = [basis[known] for basis in self.of_level]
        start = np.linalg.lstsq(one._shapes(edges)[0], held[0], rcond=None)[0]
        found = one._likeliest(np.concatenate([edges, start]), count)
        signals, jacobian, _ = one._around(found)
        weight = np.maximum(information_of(np.abs(signals), self.coils), _LEAST_TOLD)
        weighed = np.einsum("kvp,kv,kvq->pq", jacobian, weight, jacobian, optimize=True)
        covariance = np.zeros_like(weighed)
        covariance[count:, count:] = np.linalg.inv(weighed[count:, count:])
        bias = one._bias(_Likeliest(found, signals, jacobian, weight, covariance))
        thicker = (weighed[:, self.n] - weighed[:, 0]) / 2
        place = count + self.firsts[1]
        by_mm = -covariance[place] @ thicker
        return found[place] - bias[place], covariance[place, place], by_mm

    def _levels(self, at: _Likeliest, worth: float, slopes: np.ndarray) -> LevelSignals:
        count, images = 2 * self.n + 1, len(self.held)
        each = (len(at.parameters) - count) // images
        firsts = count + self.firsts[1] + each * np.arange(images)
        edges = at.covariance[: len(slopes), : len(slopes)]
        return LevelSignals(
            self.held,
            at.signals,
            at.parameters[firsts],
            at.covariance[np.ix_(firsts, firsts)],
            np.moveaxis(at.jacobian @ at.covariance[:, firsts], -1, 0),
            self._bias(at)[firsts] / worth,
            at.covariance[firsts, : len(slopes)] @ slopes / (slopes @ edges @ slopes),
            worth,
            self.coils,
        )

    def _bias(self, at: _Likeliest) -> np.ndarray:
        """Of all parameters, to second order (Cox and Snell 1968, not read; derived here).

        By the bend of signals over what the noise leaves open, and the lean of the likelihood.
        """
        values, vectors = np.linalg.eigh(at.covariance)
        open_ones = values > 1e-12 * values[-1]
        bent = -2 * np.count_nonzero(open_ones) * at.signals
        for step in (vectors[:, open_ones] * np.sqrt(values[open_ones])).T:
            bent += self._signals(at.parameters + step) + self._signals(at.parameters - step)
        open_by = np.einsum("kvp,kvp->kv", at.jacobian @ at.covariance, at.jacobian)
        lean = np.sign(at.signals) * lean_of(np.abs(at.signals), self.coils)
        pull = lean * open_by - at.weight * bent
        return 0.5 * at.covariance @ np.einsum("kvp,kv->p", at.jacobian, pull)

    def _signals(self, parameters: np.ndarray) -> np.ndarray:
        count, marrow = 2 * self.n + 1, self.firsts[1]
        design = self._shapes(parameters[:count])[0]
        levels = parameters[count:].reshape(len(self.held), -1)
        water, fat = (
            levels[:, marrow:] @ design[:, marrow:].T,
            levels[:, :marrow] @ design[:, :marrow].T,
        )
        return _turned_sum(water, fat, self.turns[:, None])[0]


def _turned_sum(
    water: np.ndarray, fat: np.ndarray, turn: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The size of water and fat with a phase of cosine `turn` between them; slopes by both.

    Negative where water is and nothing else: what is fitted to noise may lie below 0.
    """
    size = np.sqrt(np.maximum(water**2 + fat**2 + 2 * turn * water * fat, 1e-12))
    size *= np.where(water + np.abs(fat) < 0, -1, 1)
    return size, (water + turn * fat) / size, (fat + turn * water) / size


def _damped(normal: np.ndarray, right: np.ndarray, damping: float) -> np.ndarray:
    """A step of least squares, shorter where little is told."""
    scale = np.diag(normal) * damping + 1e-12 * np.trace(normal)
    return np.linalg.solve(normal + np.diag(scale), right)
