"""The signal of a region under Rician or noncentral chi noise, and ratios of two, with intervals.

Magnitudes of a weak signal lie on a floor of noise: their ratio at SNR 10 reads 8 points too high
for a true 5.4 %. The maximum of the Rician likelihood of all voxels has no such floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import i0e, i1e, ive

from PDFFMapperLib.diffusion.noise import INFORMATION_TABLE

CHI2_95 = 3.841  # of one degree of freedom
_MOST_SINGLE = 2000  # voxels that are kept one by one
_TABLE_STEP, _TABLE_END = 0.05, 12.0  # of INFORMATION_TABLE
_NODES = np.arange(len(INFORMATION_TABLE)) * _TABLE_STEP
_LEAST_X = 1e-3  # below it the likelihood does not change
_BIN = 1 / 16  # of sigma, for more
# The root of a noisy square is too small on average, and too large near 0, where none lies below.
# By these two 100 voxels read true signals from 0.2 sigma on within 0.03 sigma on average
# (simulated); of 0 itself nothing that is never negative can be right.
_ROOT_BIAS, _NEAR_0 = 3.75, 1.5


@dataclass(frozen=True)
class Ratio:
    """A ratio of two region signals with its 95 % interval by profile likelihood."""

    value: float
    lower: float
    upper: float

    def times(self, factor: float, offset: float = 0.0) -> Ratio:
        """Factor times it plus an offset; its ends stay in order."""
        ends = sorted((factor * self.lower + offset, factor * self.upper + offset))
        return Ratio(factor * self.value + offset, *ends)


class RegionSignal:
    """What a region's magnitudes tell about its true signal.

    Attributes:
        value: estimate without the noise floor; 0 where the region holds noise alone.
        peak: where the likelihood is highest.
        sigma: noise SD of one channel.
        voxels: how many.
        independent: how many they are worth.
        coils: receivers whose squares were summed.
        m, weights: magnitudes over sigma, and how much each of them counts.
        best: the highest log likelihood.
    """

    def __init__(
        self, magnitudes: np.ndarray, sigma: float, share: float = 1.0, coils: int = 1
    ) -> None:
        """Take the magnitudes of a region; `share` of its voxels is independent."""
        self.coils = coils
        values, counts = np.asarray(magnitudes).ravel() / float(sigma), 1.0
        self.sigma, self.voxels = float(sigma), values.size
        self.independent = max(values.size * share, 1.0)
        if values.size > _MOST_SINGLE:
            values /= _BIN
            np.round(values, out=values).sort()
            first = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
            values, counts = _BIN * values[first], np.diff(first, append=values.size)
        self.m = values.astype(float)
        self.weights = np.full(values.shape, self.independent / self.voxels) * counts
        self.peak = sigma * self._highest()
        nu = self.peak / sigma
        bessel, _ = bessels(self.m * nu, coils)
        self.best = self.weights @ (bessel - 0.5 * (self.m - nu) ** 2)
        fourth = (self.peak / sigma) ** 4
        told = fourth * self.independent / (4 * (coils + fourth**0.5))  # over its square's variance
        fourth *= told * (told**2 + _ROOT_BIAS) / (told**3 + _NEAR_0)
        self.value = sigma * fourth**0.25

    @property
    def snr(self) -> float:
        """Signal over noise of one voxel."""
        return self.value / self.sigma

    def deviance(self, signal: float) -> float:
        """Twice what the log likelihood lies below its highest."""
        return SignalsTogether([self]).around(np.array([signal]))[0]

    def _slope(self, nu: float) -> float:
        return float(self.weights @ (self.m * bessels(self.m * nu, self.coils)[1] - nu))

    def _highest(self) -> float:
        if self.weights @ (self.m**2 - 2 * self.coils) <= 0:
            return 0.0
        top = float(self.m.max())
        return brentq(self._slope, 1e-6, top + 1, xtol=1e-9 * (1 + top))


class SignalsTogether:
    """Several signals of one region, whose likelihood is computed at once."""

    def __init__(self, signals: Sequence[RegionSignal]) -> None:
        self._m = np.zeros((len(signals), max(len(one.m) for one in signals)))
        self._weights = np.zeros_like(self._m)
        for one, m, weights in zip(signals, self._m, self._weights, strict=True):
            m[: len(one.m)], weights[: len(one.m)] = one.m, one.weights
        self._coils = signals[0].coils
        self._sigma, self._independent, self._best = np.array(
            [(one.sigma, one.independent, one.best) for one in signals]
        ).T

    def around(self, signal: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Deviance of all, and score and expected information of each log likelihood."""
        nu = np.maximum(signal / self._sigma, 0.0)
        bessel, ratio = bessels(self._m * nu[:, None], self._coils)
        log_likelihood = bessel - 0.5 * (self._m - nu[:, None]) ** 2
        score = self._m * ratio - nu[:, None]
        below = self._best - np.einsum("kv,kv->k", self._weights, log_likelihood)
        return (
            2 * float(np.maximum(below, 0).sum()),
            np.einsum("kv,kv->k", self._weights, score) / self._sigma,
            information_of(nu, self._coils) * self._independent / self._sigma**2,
        )


def bessels(x: np.ndarray, coils: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Log of exp(-x) I(x)/x^(n-1), of the Bessel function of order n - 1, and I_n/I_(n-1).

    Both stand in the likelihood of the root of the sum of squares of n receivers. Exact, for sums
    over thousands of voxels; `diffusion.vector_math.bessel` is for one receiver, in compiled fits
    of single voxels, where errors of 1e-6 are far below the noise.
    """
    if coils == 1:
        scaled = i0e(x)
        return np.log(scaled), i1e(x) / scaled
    x = np.maximum(x, _LEAST_X)
    scaled = ive(coils - 1, x)
    return np.log(scaled) - (coils - 1) * np.log(x), ive(coils, x) / scaled


def information_of(snr: np.ndarray, coils: int = 1) -> np.ndarray:
    """Fisher information of one sample on its signal, in units of 1/sigma^2."""
    snr = np.asarray(snr, float)
    if coils > 1:
        nodes, table = _information_table(coils)
    else:
        nodes, table = _NODES, INFORMATION_TABLE
    high = 1 - (coils - 0.5) / np.maximum(snr, nodes[-1]) ** 2
    return np.where(snr < nodes[-1], np.interp(snr, nodes, table), high)


def leans_of(snr: np.ndarray, coils: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Means of l3 and of l2 l1, by the derivatives of one sample's log likelihood, in 1/sigma^3.

    What leans estimates to one side near the floor of noise (Cox and Snell 1968, not read; derived
    here): to first order the maximum lies (l3 + 2 l2 l1)/(2 information^2) beside the true signal.
    """
    nodes, _, *tables = _tables(coils)
    return tuple(np.where(snr < nodes[-1], np.interp(snr, nodes, one), 0.0) for one in tables)


def _information_table(coils: int) -> tuple[np.ndarray, np.ndarray]:
    """Signals over sigma, and the information of one sample there."""
    return _tables(coils)[:2]


@cache
def _tables(coils: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Signals over sigma, and information and leans of one sample there, by their integrals."""
    nodes = np.linspace(0, _TABLE_END * coils**0.5, 200)
    m = np.linspace(1e-3, nodes[-1] + 9 + 2 * coils**0.5, 2000)
    information, both = np.transpose([_moments(m, max(nu, _LEAST_X), coils) for nu in nodes])
    return nodes, information, -np.gradient(information, nodes) - both, both


def _moments(m: np.ndarray, nu: float, coils: int) -> tuple[float, float]:
    """Means of a sample's score squared, and of its score times the slope of that."""
    bessel, ratio = bessels(m * nu, coils)
    log_density = (2 * coils - 1) * np.log(m) - 0.5 * (m - nu) ** 2 + bessel
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    score = m * ratio - nu
    bent = m**2 * (1 - ratio**2 - (2 * coils - 1) * ratio / np.maximum(m * nu, _LEAST_X)) - 1
    return float(density @ score**2), float(density @ (score * bent))


def ratio_of(above: RegionSignal, below: RegionSignal) -> Ratio:
    """The ratio of two signals; `below` must lie above the noise, its peak above 0."""
    start = above.peak / below.peak
    step = below.sigma / below.independent**0.5

    def deviance(ratio: float) -> float:
        found = minimize_scalar(
            lambda signal: below.deviance(signal) + above.deviance(ratio * signal),
            bounds=(max(below.peak - 8 * step, 0.0), below.peak + 8 * step),
            method="bounded",
            options={"xatol": 1e-3 * step},
        )
        return float(found.fun) - CHI2_95

    top = start + (_spread(above) + start * step) / below.peak
    while deviance(top) < 0:
        top += top - start
    upper = brentq(deviance, start, top, rtol=1e-4)
    lower = brentq(deviance, 0.0, start, xtol=1e-4 * (upper - start)) if deviance(0.0) > 0 else 0.0
    return Ratio(above.value / below.value, lower, upper)


def _spread(one: RegionSignal) -> float:
    """More than the signal's standard error, near the floor too."""
    return one.sigma * (1 / one.independent**0.5 + (4 / one.independent) ** 0.25)
