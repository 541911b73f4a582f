"""A cortex as a ring of two smooth edges, fitted to the blurred voxels around it.

Around a closed curve between both edges every voxel has a place s along it and a distance d from
it. Its signal is that of marrow, cortex and what lies outside, blurred by the Gaussian point-spread
function: m (1 - P((d - a(s))/w)) + c (P((d - a(s))/psf) - P((d - b(s))/psf)) + o P((d - b(s))/psf),
P the normal distribution, a and b the edges. Marrow has a blur w of its own, since fat off
resonance is blurred more by a radial readout, and in later images a phase against water: at 1.5 T
and 2.2 ms voxels of both are darker than either. How large it is follows from the share of fat in
marrow, fitted where images are out of phase. All images share the edges; levels are their own
and vary slowly along the ring, as a coil's shading does. Unlike a full width at half maximum this
has no bias for cortex thinner than the blur, and the level of cortex comes from the whole ring.
Where an edge bends by a radius R, blur moves it inward by half its variance over R, which is taken
out. Where voxels ask for it what lies outside begins with a thin layer, as of muscle beneath fat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import pairwise

import numpy as np
from scipy.special import ndtr

from PDFFMapperLib.ute.curve import Curve, closed_curve, harmonics, placed
from PDFFMapperLib.ute.region_signal import information_of, leans_of
from PDFFMapperLib.ute.ring_levels import ImageLevels, LevelSignals, log_likelihood

EDGE_ORDER, CORTEX_ORDER, MARROW_ORDER, OUTSIDE_ORDER = 6, 2, 2, 6
_FINE_ORDER = 12  # of edges where voxels ask for it: a ridge, or the ends of a flat ellipse
# Layers misfit by 1 % of the level of cortex and more; shapes and blurs that the model does not
# have by .4 %, of which a layer would take a part.
_LEAST_UNLIKE, _MOST_LEFT = 0.006, 0.6  # of the level of cortex; of the misfit, beside a layer
_LEAST_BEYOND = 0.04  # of a layer's level, all around; strong shading differs by 1 %, layers by 10
_LAYERS, _LAYER_ORDER = (0.6, 1.2, 1.8, 2.4), 2  # blurs; of how far what lies beyond differs
REACH, REACH_OF_ONE = 3.0, 4.0  # blurs beyond an edge; of one image levels need more voxels
_BENT = 0.19  # blurs: SD of the mean thickness at which one image's variance is twice the bound
_CORE = 0.85  # of the way to the center, beyond which a voxel is nobody's
_MOST_STEPS = 40
_LEAST_TOLD = 0.01  # of a voxel of noise, or parameters of a signal that is none are open
_LEAST_GAIN = 0.01  # of the log likelihood, in the last step or expected of it
_LEAST_INFORMATION = 0.1  # of a voxel in a step, or near the floor of noise it would go too far
_LOG_BLUR = (0.0, np.log(4.0))  # of marrow, over that of the rest
_STEP = 1e-4  # mm or noise, of differences
_LEAST_FAT = 0.2  # of marrow
MARROW_FAT, MARROW_FAT_SD = 0.9, 0.15  # what is expected of a shaft, where images do not tell it
# Of a harmonic of cortex over its mean, between the first image and another: a coil shades both
# alike, PI varies along it. By .3 the blur of a funnel, which differs by side, moves the PI more.
SHADING_SD = 0.5


@dataclass(frozen=True)
class Ring:
    """A fitted ring.

    Attributes:
        curve: that distances are measured from.
        order: of the edges' harmonics.
        inner, outer: distances of both edges as fitted at the curve's points, mm; shape (points,).
        marrow_blur_mm: Gaussian SD of marrow's signal.
        marrow_fat: share of its signal that is fat's; what is expected where no image tells it.
        levels: of marrow, cortex and outside in each image, means along the ring; (images, 3).
        covariance: of the edges' parameters, by the noise and widened by the misfit.
        edge_bias: gives what noise shifts these by, to second order.
        tell: gives what its voxels tell of the mean levels of cortex.
        refine: gives the ring with a layer beside it and more harmonics of its edges, where its
            voxels ask for these.
        levels_in: gives the mean level of cortex in any images of its grid, shape (images, ...), of
            the complex signals of fat in them; by one fit of all with common edges.
        misfit: root of the mean squared score over its variance; 1 is noise alone.
        layer: how thick one beside it was fitted, in blurs; 0 is none.
        upright: cosine of the angle between the wall and the section's normal, at the curve's
            points; a section cuts the wall thicker by as much.
    """

    curve: Curve
    order: int
    inner: np.ndarray
    outer: np.ndarray
    marrow_blur_mm: float
    marrow_fat: float
    levels: np.ndarray
    covariance: np.ndarray
    edge_bias: Callable[[], np.ndarray]
    tell: Callable[[], LevelSignals]
    refine: Callable[[bool], Ring | None]
    levels_in: Callable[[np.ndarray, Sequence[float]], ImageLevels]
    misfit: float
    layer: float = 0.0
    upright: np.ndarray | float = 1.0

    def finer(self, layers: bool = True) -> Ring:
        """With as much beside it and of its edges as its voxels ask for; once it has settled."""
        return self.refine(layers) or self

    @cached_property
    def told(self) -> LevelSignals:
        """What its voxels tell of the mean levels of cortex; computed when asked for."""
        return self.tell()

    @cached_property
    def _lines(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances of both edges from the curve without their bias, mm."""
        basis = self._harmonics
        inner, outer = np.split(self.edge_bias(), 2)
        return self.inner - basis @ inner, self.outer - basis @ outer

    @property
    def _harmonics(self) -> np.ndarray:
        phi = np.arange(len(self.inner)) * 2 * np.pi / len(self.inner)
        return harmonics(phi, self.order)

    def mean_thickness(self, chosen: np.ndarray | None = None) -> tuple[float, float]:
        """Area between both edges over the mean of their lengths, and its SD by the noise.

        Along the wall's normal, where its lean is known.

        `chosen`: points of the curve, 0 or 1, beside which alone it is told.
        """
        chosen = np.ones(len(self.inner)) if chosen is None else chosen
        inner, outer = self._lines
        strip = outer - inner + self.curve.bend * (outer**2 - inner**2) / 2
        strip = strip * self.upright
        lengths = [closed_curve(one, self.curve.center).length for one in self.edges()]
        weights = self.curve.length * chosen / (self.curve.length @ chosen)
        slopes = (weights * self.upright) @ self._harmonics
        sd = self._sd(np.concatenate([-slopes, slopes]))
        return float(2 * (self.curve.length * strip) @ chosen / (sum(lengths) @ chosen)), sd

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Points of the inner and the outer edge, mm."""
        points, normals = self.curve.points, self.curve.normals
        inner, outer = self._lines
        return points + inner[:, None] * normals, points + outer[:, None] * normals

    def area(self) -> tuple[float, float]:
        """Area between both edges, mm^2, and its SD by the noise."""
        inside, outside = self.edges()
        basis = self._harmonics
        lengths = [closed_curve(one, self.curve.center).length for one in (inside, outside)]
        sd = self._sd(np.concatenate([-lengths[0] @ basis, lengths[1] @ basis]))
        return _polygon(outside) - _polygon(inside), sd

    def _sd(self, gradient: np.ndarray) -> float:
        """Of what follows the edges' parameters by a gradient."""
        own = self.covariance[: len(gradient), : len(gradient)]
        return float((gradient @ own @ gradient) ** 0.5)


def _polygon(points: np.ndarray) -> float:
    row, column = points.T
    return abs(float(row @ np.roll(column, 1) - column @ np.roll(row, 1))) / 2


def fit_ring(
    images: Sequence[np.ndarray],
    voxels: tuple[np.ndarray, ...],
    places: np.ndarray,
    curve: Curve,
    thickness_mm: float,
    reach_mm: float,
    blur: np.ndarray,
    sigma: float,
    share: float = 1.0,
    coils: int = 1,
    fat: Sequence[complex] | None = None,
) -> Ring:
    """Fit both edges around a curve between them.

    Args:
        images: of one shape.
        voxels: that lie around the curve, as an index of an image.
        places: of these in the plane of the ring, mm; shape (voxels, 2).
        curve: near the middle of the cortex.
        thickness_mm: about; where the fit starts.
        reach_mm: from the curve, within which voxels count.
        blur: covariance of the Gaussian point-spread function in the plane, mm^2; shape (2, 2).
        sigma: noise SD.
        share: of voxels that are independent.
        coils: how many receivers' squares were summed.
        fat: complex signal of 1 of fat in each image; in phase with water if not given.

    Raises:
        ValueError: the voxels do not tell the ring.
    """
    angle, distance = placed(curve, places)
    core = np.linalg.norm(places - curve.center, axis=1)
    away = np.linalg.norm(curve.points - curve.center, axis=1)
    turned = curve.normals[:, ::-1] * (1, -1)
    across, along = (np.einsum("ni,ij,nj->n", one, blur, one) for one in (curve.normals, turned))
    radius, bend, across, along = (
        np.interp(angle, np.arange(len(one)) * 2 * np.pi / len(one), one, period=2 * np.pi)
        for one in (away, curve.bend, across, along)
    )
    known = np.isfinite([one[voxels] for one in images]).all(axis=0)
    kept = (np.abs(distance) < reach_mm) & (core > (1 - _CORE) * radius) & known
    held = tuple(one[kept] for one in voxels)

    def pick(images: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([one[held] for one in images], float) / sigma

    fat = np.ones(len(images)) if fat is None else np.asarray(fat)
    place = (one[kept] for one in (angle, distance, bend, across**0.5, along))
    fit = _RingFit(*place, pick(images), coils, fat, share)
    return fit.ring(curve, thickness_mm, sigma, pick)


@dataclass(frozen=True)
class _Likeliest:
    """Parameters of the highest likelihood, and all that is known around them.

    Attributes:
        parameters: shape (parameters,).
        covariance: of parameters, where all voxels are independent.
        worth: of a voxel, as far as it is independent and noise explains its misfit.
        misfit: see `Ring`.
    """

    parameters: np.ndarray
    covariance: np.ndarray
    worth: float
    misfit: float


class _RingFit:
    """Parameters: harmonics of the inner and outer edge, log of marrow's blur, its fat; levels.

    Levels of an image are harmonics of marrow, cortex and outside; those of cortex are over its
    mean, as a coil shades all images alike. Images and levels are in units of the noise.
    """

    def __init__(
        self,
        angle: np.ndarray,
        distance: np.ndarray,
        bend: np.ndarray,
        across_mm: np.ndarray,
        along_mm2: np.ndarray,
        held: np.ndarray,
        coils: int,
        fat: np.ndarray,
        share: float,
    ) -> None:
        self.distance, self.held, self.psf, self.coils = distance, held, across_mm, coils
        self.angle, self.fat, self.share = angle, fat, share
        bend = bend / np.maximum(1 + bend * distance, 0.2)  # of a parallel curve there
        self.inward = bend / 2 * along_mm2 / across_mm  # of an edge, in its blurs
        self._take_levels((MARROW_ORDER, CORTEX_ORDER, OUTSIDE_ORDER))
        self._take_order(EDGE_ORDER)

    def _take_levels(self, orders: Sequence[int], layer: float = 0.0) -> None:
        """Of marrow, cortex and outside; a fourth is of what lies beyond a layer, less its own."""
        self.layer, self.orders = layer, orders
        self.firsts = np.cumsum([0] + [2 * order + 1 for order in orders])

    def _take_order(self, order: int) -> None:
        """Of the edges' harmonics."""
        self.order, self.n = order, 2 * order + 1
        self.count = 2 * self.n + 2  # of parameters that images share

    @cached_property
    def edge(self) -> np.ndarray:
        """Harmonics of the edges, shape (voxels, harmonics)."""
        return harmonics(self.angle, self.order)

    @cached_property
    def of_level(self) -> list[np.ndarray]:
        """Harmonics of each level."""
        return [harmonics(self.angle, order) for order in self.orders]

    @property
    def _expected(self) -> tuple[np.ndarray, np.ndarray]:
        """What is expected of parameters: a matrix that gives numbers of SD 1 of them, and means.

        Marrow's share of fat, and the shading of cortex in each image as in the first one.
        """
        own = self._own()
        shading = own[:, self.count + self.firsts[1] + 1 : self.count + self.firsts[2]]
        found = np.zeros((1 + shading[1:].size, own[-1, -1] + 1))
        found[0, self.count - 1] = 1 / MARROW_FAT_SD
        rows = np.arange(1, len(found))
        found[rows, shading[1:].ravel()] = 1 / SHADING_SD
        found[rows, np.tile(shading[0], len(own) - 1)] = -1 / SHADING_SD
        means = np.zeros(len(found))
        means[0] = MARROW_FAT / MARROW_FAT_SD
        return found, means

    def _bare(self) -> _RingFit:
        """The same without harmonics, which hold more than images do and are soon made again."""
        bare = copy(self)
        for name in ("edge", "of_level"):
            bare.__dict__.pop(name, None)
        return bare

    def _own(self) -> np.ndarray:
        """Places of the parameters that each image follows: edges, blur, fat, its own levels."""
        each = self.firsts[-1]
        levels = self.count + np.arange(len(self.held) * each).reshape(-1, each)
        shared = np.tile(np.arange(self.count), (len(levels), 1))
        return np.concatenate([shared, levels], axis=1)

    def _equations(
        self, parameters: np.ndarray, weight: np.ndarray, said: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Information of all parameters, by that of each voxel, and the sum of what voxels say.

        With what is expected of parameters in both.
        """
        own = self._own()
        information, whole = np.zeros((len(parameters),) * 2), np.zeros(len(parameters))
        jacobians = self._jacobians(parameters)
        for places, one, known, each in zip(own, jacobians, weight, said, strict=True):
            information[np.ix_(places, places)] += (one * known[:, None]).T @ one
            whole[places] += each @ one
        expected, means = self._expected
        information += expected.T @ expected
        return information, whole - expected.T @ (expected @ parameters - means)

    def _past_edges(self, edges: np.ndarray) -> list[np.ndarray]:
        """As `_past`, by the parameters of edges and blur."""
        n = self.n
        return self._past(self.edge @ edges[:n], self.edge @ edges[n : 2 * n], edges[2 * n])

    def _past(self, a: np.ndarray, b: np.ndarray, more: np.ndarray | float) -> list[np.ndarray]:
        """Places outward of the inner edge `a`, of the outer one, and of the inner one as marrow's
        blur has it (its log is `more`), in SDs of the blur; of a layer's end, if there is one."""
        psf, more = self.psf, np.exp(more)
        x = (self.distance - a) / psf + self.inward
        y = (self.distance - b) / psf + self.inward
        places = [x, y, (self.distance - a) / (psf * more) + more * self.inward]
        return [*places, y - self.layer][: len(self.orders)]

    def _shapes(self, edges: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """What each level adds to the signals; derivatives of all shares by edges and blur."""
        psf = self.psf
        blur = psf * np.exp(edges[2 * self.n])
        places = self._past_edges(edges)
        gauss = [np.exp(-0.5 * one**2) / (2 * np.pi) ** 0.5 for one in places]
        shares, none = _shares(*places), np.zeros_like(psf)
        slopes = [
            (gauss[2] / blur, none, gauss[2] * places[2]),
            (-gauss[0] / psf, gauss[1] / psf, none),
            *((none, -one / psf, none) for one in (gauss[1], *gauss[3:])),
        ]
        design = [
            share[:, None] * basis for share, basis in zip(shares, self.of_level, strict=True)
        ]
        return np.concatenate(design, axis=1), slopes

    def _by_edges(
        self, levels: np.ndarray, slopes: list[np.ndarray], seen: Sequence[object] = (1, 1)
    ) -> np.ndarray:
        """Derivatives of an image's signals by both edges and the blur, levels kept.

        `seen`: derivatives of the signals by what marrow and all else add.
        """
        values = self._along(levels)
        values = [seen[0] * values[0], *(seen[1] * one for one in values[1:])]
        by = [sum(v * s[k] for v, s in zip(values, slopes, strict=True))[:, None] for k in range(3)]
        return np.concatenate([by[0] * self.edge, by[1] * self.edge, by[2]], axis=1)

    def ring(
        self,
        curve: Curve,
        thickness_mm: float,
        sigma: float,
        pick: Callable[[Sequence[np.ndarray]], np.ndarray],
    ) -> Ring:
        """The ring of highest likelihood, from that of least squares."""
        edges = np.zeros(2 * self.n + 1)
        edges[0], edges[self.n] = -thickness_mm / 2, thickness_mm / 2
        edges[-1] = 0.1
        usual = self._likeliest(self._least_squares(edges), known_fat=True)
        found = self._likeliest(usual)  # or marrow that is dark could be taken for water
        return self._ring(curve, self._known(found), sigma, pick)

    def _finer(
        self,
        curve: Curve,
        at: _Likeliest,
        sigma: float,
        pick: Callable[[Sequence[np.ndarray]], np.ndarray],
        layers: bool,
    ) -> Ring | None:
        """With a layer beside it and finer edges, each if it is worth it."""
        own = fit = self._bare()
        for _ in range(2):
            fit, at = fit._better(at, layers)
        try:
            return fit._ring(curve, at, sigma, pick) if fit is not own else None
        except ValueError:
            return None

    def _larger(self, at: _Likeliest, layers: bool) -> list[tuple[_RingFit, np.ndarray]]:
        """Fits with one thing more, and where they start, by the parameters without."""
        found, larger = at.parameters, []
        unlike = max(at.misfit**2 - 1, 0.0) ** 0.5 / found[self._cortex_places()[0]]
        layers = layers and len(self.held) > 1 and not self.layer
        if layers and unlike > _LEAST_UNLIKE:  # one tells none
            larger = [self._with_layer(found, one) for one in _LAYERS]
        return larger + ([self._with_fine_edges(found)] if self.order < _FINE_ORDER else [])

    def _with_layer(self, found: np.ndarray, layer: float) -> tuple[_RingFit, np.ndarray]:
        """Of some blurs; as of `_larger`."""
        layered = self._bare()
        layered._take_levels((MARROW_ORDER, CORTEX_ORDER, OUTSIDE_ORDER, _LAYER_ORDER), layer)
        levels = found[self.count :].reshape(len(self.held), -1)
        more = 2 * _LAYER_ORDER + 1
        return layered, np.concatenate(
            [found[: self.count], np.pad(levels, ((0, 0), (0, more))).ravel()]
        )

    def _with_fine_edges(self, found: np.ndarray) -> tuple[_RingFit, np.ndarray]:
        """As of `_larger`."""
        fine = self._bare()
        fine._take_order(_FINE_ORDER)
        parts = np.split(found, [self.n, 2 * self.n])
        start = [_padded(one, self.order, _FINE_ORDER) for one in parts[:2]]
        return fine, np.concatenate([*start, parts[2]])

    def _better(self, at: _Likeliest, layers: bool) -> tuple[_RingFit, _Likeliest]:
        """The best larger fit by Schwarz's criterion, or this one."""
        count, most, best = self.held.size * self.share, 0.0, (self, at)
        left = at.misfit**2 - 1
        likelihood = self._around(at.parameters)[1]
        for fit, start in self._larger(at, layers):
            least = (len(start) - len(at.parameters)) * np.log(count)
            if left * count < least:
                continue
            try:
                found = fit._known(fit._likeliest(start))
            except ValueError:
                continue
            gain = fit._around(found.parameters)[1] - likelihood
            worth = 2 * gain * found.worth - least
            if worth > most and (fit.layer == self.layer or fit._has_layer(found, left)):
                most, best = worth, (fit, found)
        return best

    def _has_layer(self, at: _Likeliest, left: float) -> bool:
        """It takes most of the misfit, and beyond it is another level; shading has one by side."""
        levels = at.parameters[self.count :].reshape(len(self.held), -1)
        outside, beyond = np.abs(levels[:, self.firsts[2:4]]).max(axis=0)
        return at.misfit**2 - 1 < _MOST_LEFT * left and beyond > _LEAST_BEYOND * outside

    def _solve(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Levels by least squares, residuals, and a basis of all that levels explain."""
        basis, triangle = np.linalg.qr(self._shapes(edges)[0])
        inside = self.held @ basis
        levels = np.linalg.lstsq(triangle, inside.T, rcond=None)[0].T
        return levels, self.held - inside @ basis.T, basis

    def _normal(
        self, edges: np.ndarray, levels: np.ndarray, residual: np.ndarray, basis: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Equations of a step of the edges, as of `_solve`.

        What levels can explain is taken out of all derivatives (Kaufman 1975).
        """
        normal, right = np.zeros((len(edges),) * 2), np.zeros(len(edges))
        slopes = self._shapes(edges)[1]
        for one, left in zip(levels, residual, strict=True):
            free = self._by_edges(one, slopes)
            free -= basis @ (basis.T @ free)
            normal += free.T @ free
            right += left @ free
        return normal, right

    def _least_squares(self, edges: np.ndarray) -> np.ndarray:
        """All parameters by least squares, from a start of the edges."""
        found = self._solve(edges)
        cost, damping = float(np.sum(found[1] ** 2)), 1e-3
        for _ in range(_MOST_STEPS):
            tried = edges + _damped(*self._normal(edges, *found), damping)
            tried[-1] = np.clip(tried[-1], *_LOG_BLUR)
            solved = self._solve(tried)
            now = float(np.sum(solved[1] ** 2))
            if now > cost:
                damping *= 8
                if damping > 1e6:
                    break
                continue
            done = cost - now < 1e-4 * cost
            edges, found, cost, damping = tried, solved, now, max(damping / 5, 1e-9)
            if done:
                break
        levels, (first, end) = found[0], self.firsts[1:3]
        levels[:, first + 1 : end] = levels[0, first + 1 : end] / levels[0, first]
        return np.concatenate([edges, [MARROW_FAT], levels.ravel()])

    def _around(self, parameters: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        """All signals, the log likelihood and its slopes by the size of each signal."""
        edges = parameters[: self.count]
        shares, turns = _shares(*self._past_edges(edges)), _turn_of(edges[-1], self.fat)[0]
        signals = np.empty(self.held.shape)
        for one, levels, turn in zip(signals, self._levels_of(parameters), turns, strict=True):
            fat, *waters = (a * b for a, b in zip(shares, self._along(levels), strict=True))
            one[...] = _turned_sum(sum(waters), fat, turn)[0]
        expected, means = self._expected
        unusual = expected @ parameters - means
        likelihood, score = log_likelihood(self.held, signals, self.coils)
        return signals, likelihood - unusual @ unusual / 2, score

    def _jacobians(self, parameters: np.ndarray) -> Iterator[np.ndarray]:
        """Derivatives of each image's signals by edges, blur, fat and its own levels.

        Of one image after the other: those of all would take several times the images' memory.
        """
        count, marrow, end = self.count, *self.firsts[1:3]
        design, slopes = self._shapes(parameters[:count])
        turns, by_share = _turn_of(parameters[count - 1], self.fat)
        shadings = parameters[count:].reshape(len(self.held), -1)[:, marrow + 1 : end]
        each = self._levels_of(parameters), turns, by_share, shadings
        for one, turn, by, shading in zip(*each, strict=True):
            water, fat = design[:, marrow:] @ one[marrow:], design[:, :marrow] @ one[:marrow]
            signals, by_water, by_fat = _turned_sum(water, fat, turn)
            jacobian = np.empty((len(signals), count + len(one)))
            jacobian[:, : count - 1] = self._by_edges(one, slopes, (by_fat, by_water))
            jacobian[:, count - 1] = by * water * fat / signals
            np.multiply(by_fat[:, None], design[:, :marrow], out=jacobian[:, count:][:, :marrow])
            np.multiply(by_water[:, None], design[:, marrow:], out=jacobian[:, count:][:, marrow:])
            waves = jacobian[:, count:][:, marrow + 1 : end]
            jacobian[:, count + marrow] += waves @ shading
            waves *= one[marrow]
            yield jacobian

    def _levels_of(self, parameters: np.ndarray) -> np.ndarray:
        """The levels' harmonics of each image, those of cortex times its mean."""
        first, end = self.firsts[1:3]
        levels = parameters[self.count :].reshape(len(self.held), -1).copy()
        levels[:, first + 1 : end] *= levels[:, first, None]
        return levels

    def _along(self, levels: np.ndarray) -> list[np.ndarray]:
        """An image's levels at its voxels."""
        parts = np.split(levels, self.firsts[1:-1])
        return [basis @ part for basis, part in zip(self.of_level, parts, strict=True)]

    def _likeliest(self, parameters: np.ndarray, known_fat: bool = False) -> np.ndarray:
        """The parameters of highest likelihood, by Fisher scoring from a start.

        With `known_fat` the share of fat stays what it is.
        """
        signals, best, score = self._around(parameters)
        damping = 1e-6
        for _ in range(_MOST_STEPS):
            weight = np.maximum(information_of(np.abs(signals), self.coils), _LEAST_INFORMATION)
            normal, right = self._equations(parameters, weight, np.sign(signals) * score)
            if known_fat:
                right[self.count - 1] = 0.0
                normal[self.count - 1], normal[:, self.count - 1] = 0.0, 0.0
                normal[self.count - 1, self.count - 1] = 1.0
            step = _damped(normal, right, damping)
            tried = parameters + step
            tried[2 * self.n] = np.clip(tried[2 * self.n], *_LOG_BLUR)
            tried[self.count - 1] = np.clip(tried[self.count - 1], _LEAST_FAT, 1.0)
            found = self._around(tried)
            gain = found[1] - best
            if gain < 0:
                if right @ step / 2 < _LEAST_GAIN:  # nor would a shorter one gain more
                    break
                damping = max(8 * damping, 1e-3)
                if damping > 1e6:
                    break
                continue
            parameters, damping = tried, damping / 5
            signals, best, score = found
            if gain < _LEAST_GAIN:
                break
        return parameters

    def _ring(
        self,
        curve: Curve,
        at: _Likeliest,
        sigma: float,
        pick: Callable[[Sequence[np.ndarray]], np.ndarray],
    ) -> Ring:
        images, n, count, found = len(self.held), self.n, self.count, at.parameters
        phi = np.arange(len(curve.points)) * 2 * np.pi / len(curve.points)
        basis = harmonics(phi, self.order)
        inner, outer = basis @ found[:n], basis @ found[n : 2 * n]
        if not (outer > inner).mean() > 0.98:
            raise ValueError("its voxels tell no ring of cortex")
        levels = sigma * found[count:].reshape(images, -1)[:, self.firsts[:3]]
        blur = float(np.mean(self.psf) * np.exp(found[2 * n]))
        fat = float(found[count - 1])
        edges = at.covariance[:count, :count] / at.worth
        slopes = curve.length @ basis / curve.length.sum()  # of the mean thickness
        slopes = np.concatenate([-slopes, slopes, [0.0, 0.0]])
        if images == 1:  # levels and edges together: its likelihood is no parabola (by simulation)
            edges = edges * (1 + (slopes @ edges @ slopes) / (_BENT * np.mean(self.psf)) ** 2)
        fit = self._bare()
        bias = cache(lambda: fit._bare()._bias(at) / at.worth)

        def tell() -> LevelSignals:
            return fit._bare()._levels(at, slopes, bias())

        def levels_in(images: np.ndarray, fat: Sequence[complex]) -> ImageLevels:
            return fit._levels_in(at.parameters, slopes, pick(images), fat, sigma)

        return Ring(
            curve,
            self.order,
            inner,
            outer,
            blur,
            fat,
            levels,
            edges,
            lambda: bias()[: 2 * n],
            tell,
            partial(fit._finer, curve, at, sigma, pick),
            levels_in,
            at.misfit,
            self.layer,
        )

    def _known(self, found: np.ndarray) -> _Likeliest:
        """What is known around the parameters of highest likelihood.

        Raises:
            ValueError: there are no more voxels than parameters.
        """
        free = self.held.size - len(found)
        if free <= 0:
            raise ValueError("its voxels tell no ring of cortex")
        signals, _, score = self._around(found)
        weight = self._weight(signals)
        misfit = float(np.sum(score**2 / weight) / free) ** 0.5
        information, _ = self._equations(found, weight, score)
        information[2 * self.n, 2 * self.n] += 1e-9 * np.trace(information)
        covariance = np.linalg.inv(information)
        worth = self.share / max(misfit, 1.0) ** 2
        return _Likeliest(found, covariance, worth, misfit)

    def _levels_in(
        self,
        parameters: np.ndarray,
        slopes: np.ndarray,
        held: np.ndarray,
        fat: Sequence[complex],
        sigma: float,
    ) -> ImageLevels:
        """Mean levels of cortex in images, fitted with those that told the edges.

        `slopes`: of the mean thickness. Voxels that an image has no value in count in none.
        """
        own = len(self.held)
        same = [
            next((k for k in range(own) if np.array_equal(self.held[k], one)), None) for one in held
        ]
        new = [n for n, k in enumerate(same) if k is None]
        known, joint = np.isfinite(held).all(axis=0), self._bare()
        joint.held = np.concatenate([self.held, held[new]])[:, known]
        joint.fat = np.concatenate([self.fat, np.asarray(fat)[new]])
        joint.distance, joint.psf, joint.inward, joint.angle = (
            each[known] for each in (self.distance, self.psf, self.inward, self.angle)
        )
        design = joint._shapes(parameters[: self.count])[0]
        starts = np.linalg.lstsq(design, joint.held[own:].T, rcond=None)[0].T
        shading = slice(self.firsts[1] + 1, self.firsts[2])
        starts[:, shading] = parameters[self.count :][shading]
        at = joint._known(joint._likeliest(np.concatenate([parameters, starts.ravel()])))
        places = joint._cortex_places()[
            [own + new.index(n) if k is None else k for n, k in enumerate(same)]
        ]
        level = at.parameters[places] - joint._bias(at)[places] / at.worth
        covariance = at.covariance[np.ix_(places, places)] / at.worth
        by_mm = _by_thickness(at, places, slopes)
        return ImageLevels(sigma * level, sigma**2 * covariance, sigma * by_mm)

    def _cortex_places(self) -> np.ndarray:
        """Of each image's mean level of cortex among the parameters."""
        return self._own()[:, self.count + self.firsts[1]]

    def _levels(self, at: _Likeliest, slopes: np.ndarray, bias: np.ndarray) -> LevelSignals:
        firsts = self._cortex_places()
        follow = [
            one @ at.covariance[np.ix_(places, firsts)]
            for places, one in zip(self._own(), self._jacobians(at.parameters), strict=True)
        ]
        expected, means = self._expected
        return LevelSignals(
            self.held,
            self._around(at.parameters)[0],
            at.parameters[firsts],
            at.covariance[np.ix_(firsts, firsts)],
            np.moveaxis(np.array(follow), -1, 0),
            expected @ at.parameters - means,
            (expected @ at.covariance[:, firsts]).T,
            bias[firsts],
            _by_thickness(at, firsts, slopes),
            at.worth,
            self.coils,
        )

    def _bias(self, at: _Likeliest) -> np.ndarray:
        """Of all parameters, to second order (Cox and Snell 1968, not read; derived here).

        By the bend of signals over what noise scatters, and the lean of the likelihood. What is
        expected of parameters leaves them open by more than noise scatters them: a shading that is
        drawn to the first image's follows the noise of its own by that much less.
        """
        signals, whole = self._around(at.parameters)[0], np.zeros(len(at.parameters))
        weight, sign = self._weight(signals), np.sign(signals)
        bent_by, leant_by = leans_of(np.abs(signals), self.coils)
        drawn = at.covariance @ self._expected[0].T
        scatter = at.covariance - drawn @ drawn.T
        jacobians = self._jacobians(at.parameters)
        for k, (places, jacobian) in enumerate(zip(self._own(), jacobians, strict=True)):
            each, own = np.ix_(places, places), at.parameters[places]
            open_by, scattered = (
                np.einsum("vp,vp->v", jacobian @ one[each], jacobian)
                for one in (at.covariance, scatter)
            )
            values, steps = self._followed(own, scatter[each])
            bent = -2 * len(values) * signals[k]
            for step in steps:
                bent += self._signals(values + step, k) + self._signals(values - step, k)
            lean = sign[k] * (bent_by[k] * scattered + 2 * leant_by[k] * open_by)
            whole[places] += (lean - weight[k] * bent) @ jacobian
            whole[places] += 2 * self._turned(values, drawn[places], jacobian, weight[k], k)
        return 0.5 * at.covariance @ whole

    def _turned(
        self,
        values: np.ndarray,
        drawn: np.ndarray,
        jacobian: np.ndarray,
        weight: np.ndarray,
        image: int,
    ) -> np.ndarray:
        """How an image's slopes by its parameters turn along what is drawn, times the signal's.

        By differences of its signals; sum over voxels by their information.
        """
        slopes = jacobian @ drawn  # of the signal, by each number that is expected
        size = np.maximum(np.sqrt(np.sum(slopes**2, axis=1)), _STEP)
        parts = self._parts()
        along = [np.sum((basis @ drawn[part]) * slopes, axis=1) for part, basis in parts]
        along = np.stack(along) / size
        ends = [values + along, values - along]
        at_ends = [self._signals(one, image) for one in ends]
        found = []
        for n, (_, basis) in enumerate(parts):
            for end in ends:
                end[n] += _STEP
            more, less = (
                self._signals(one, image) - was for one, was in zip(ends, at_ends, strict=True)
            )
            found.append((weight * size * (more - less) / (2 * _STEP)) @ basis)
            for end in ends:
                end[n] -= _STEP
        return np.concatenate(found)

    def _parts(self) -> list[tuple[slice, np.ndarray]]:
        """What the signal of each voxel follows: where its parameters lie among an image's own, and
        their harmonics; edges, blur, fat, levels and cortex's shading."""
        one = np.ones((len(self.angle), 1))
        marrow, cortex, *rest = self.of_level
        bases = [self.edge, self.edge, one, one, marrow, one, cortex[:, 1:], *rest]
        ends = np.cumsum([0] + [basis.shape[1] for basis in bases])
        return [(slice(*pair), basis) for pair, basis in zip(pairwise(ends), bases, strict=True)]

    def _followed(self, own: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the signal of each voxel follows, as `_parts`.

        Returns:
            Values, shape (followed, voxels), and a root of their covariance: as many steps, shape
            (followed, followed, voxels).
        """
        parts = self._parts()
        values = np.stack([basis @ own[part] for part, basis in parts])
        spread = np.empty((len(self.angle), len(parts), len(parts)))
        for m, (part, basis) in enumerate(parts):
            for n, (other, to) in enumerate(parts[: m + 1]):
                both = np.einsum("vp,vp->v", basis @ covariance[part, other], to)
                spread[:, m, n] = spread[:, n, m] = both
        sds = np.sqrt(np.einsum("vmm->vm", spread))
        spread /= sds[:, :, None] * sds[:, None, :]
        spread += 1e-9 * np.eye(len(parts))  # what others tell whole has no spread of its own
        root = np.linalg.cholesky(spread) * sds[:, :, None]
        return values, np.moveaxis(root, 0, -1).swapaxes(0, 1)

    def _weight(self, signals: np.ndarray) -> np.ndarray:
        """The information on each voxel that counts around the highest likelihood."""
        return np.maximum(information_of(np.abs(signals), self.coils), _LEAST_TOLD)

    def _signals(self, values: np.ndarray, image: int) -> np.ndarray:
        """Of one image, by what each voxel follows (see `_followed`)."""
        a, b, more, share, marrow, mean, shading, *rest = values
        levels = marrow, mean * (1 + shading), *rest
        shares = _shares(*self._past(a, b, more))
        fat, *waters = (one * level for one, level in zip(shares, levels, strict=True))
        return _turned_sum(sum(waters), fat, _turn_of(share, self.fat[image])[0])[0]


def _shares(x: np.ndarray, y: np.ndarray, z: np.ndarray, *beyond: np.ndarray) -> list[np.ndarray]:
    """Of marrow, cortex, outside and beyond a layer, at places as `_past_edges` has them."""
    below = ndtr(y)
    return [1 - ndtr(z), ndtr(x) - below, below, *(ndtr(one) for one in beyond)]


def _padded(harmonic: np.ndarray, order: int, finer: int) -> np.ndarray:
    """Factors of harmonics of an order, as those of a finer one."""
    waves = np.pad(harmonic[1:].reshape(2, order), ((0, 0), (0, finer - order)))
    return np.concatenate([harmonic[:1], waves.ravel()])


def _by_thickness(at: _Likeliest, places: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """How parameters follow a cortex that is held 1 mm thicker."""
    edges = at.covariance[: len(slopes), : len(slopes)]
    return at.covariance[places, : len(slopes)] @ slopes / (slopes @ edges @ slopes)


def _turn_of(share: float, fat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine of the phase of marrow with a share of fat, and its derivative by the share."""
    marrow, by_share = share * fat + 1 - share, fat - 1
    size = np.maximum(np.abs(marrow), 1e-6)
    cosine = np.real(marrow) / size
    along = np.real(np.conj(marrow) * by_share) / size**2
    return cosine, np.real(by_share) / size - cosine * along


def _turned_sum(
    water: np.ndarray, fat: np.ndarray, turn: float
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
