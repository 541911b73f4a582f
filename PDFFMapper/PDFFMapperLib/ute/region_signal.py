"""The signal of a region under Rician noise, and ratios of two, with profile intervals.

Magnitudes of a weak signal lie on a floor of noise: their ratio at SNR 10 reads 8 points too high
for a true 5.4 %. The maximum of the Rician likelihood of all voxels has no such floor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import i0e, i1e

from PDFFMapperLib.diffusion.noise import INFORMATION_TABLE

CHI2_95 = 3.841  # of one degree of freedom
_MOST_SINGLE = 2000  # voxels that are kept one by one
_TABLE_STEP, _TABLE_END = 0.05, 12.0  # of INFORMATION_TABLE
_NODES = np.arange(len(INFORMATION_TABLE)) * _TABLE_STEP
_BIN = 1 / 16  # of sigma, for more
# The root of a noisy square is too small on average, by its variance/8 of its third power and
# less near 0; 0.35 keeps the mean within 0.04 sigma for 100 voxels and true signals from 0.25 sigma
# on (by simulation).
_ROOT_BIAS = 0.35


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
    """

    def __init__(self, magnitudes: np.ndarray, sigma: float, share: float = 1.0) -> None:
        """Take the magnitudes of a region; `share` of its voxels is independent."""
        held = np.asarray(magnitudes, float).ravel()
        self.sigma, self.voxels = float(sigma), held.size
        self.independent = max(held.size * share, 1.0)
        values, counts = held / sigma, np.ones(held.size)
        if held.size > _MOST_SINGLE:
            bins, counts = np.unique(np.round(values / _BIN), return_counts=True)
            values = bins * _BIN
        self._m, self._weights = values, counts * self.independent / held.size
        self.peak = sigma * self._highest()
        nu = self.peak / sigma
        self._best = self._weights @ (np.log(i0e(self._m * nu)) - 0.5 * (self._m - nu) ** 2)
        square = (self.peak / sigma) ** 2
        spread = 4 * (1 + square) / self.independent
        self.value = sigma * (square**2 + _ROOT_BIAS * spread) ** 0.25 if square else 0.0

    @property
    def snr(self) -> float:
        """Signal over noise of one voxel."""
        return self.value / self.sigma

    def around(self, signal: float) -> tuple[float, float, float]:
        """Deviance, score and expected information of the log likelihood at a signal."""
        nu = max(signal / self.sigma, 0.0)
        x = self._m * nu
        scaled = i0e(x)
        likelihood = self._weights @ (np.log(scaled) - 0.5 * (self._m - nu) ** 2)
        score = self._weights @ (self._m * i1e(x) / scaled - nu)
        information = float(information_of(nu)) * self.independent
        return (
            max(2 * float(self._best - likelihood), 0.0),
            float(score) / self.sigma,
            information / self.sigma**2,
        )

    def deviance(self, signal: float) -> float:
        """Twice what the log likelihood lies below its highest."""
        return self.around(signal)[0]

    def _slope(self, nu: float) -> float:
        x = self._m * nu
        return float(self._weights @ (self._m * i1e(x) / i0e(x) - nu))

    def _highest(self) -> float:
        if self._weights @ (self._m**2 - 2) <= 0:
            return 0.0
        top = float(self._m.max())
        return brentq(self._slope, 1e-6, top + 1, xtol=1e-9 * (1 + top))


def information_of(snr: np.ndarray) -> np.ndarray:
    """Fisher information of one Rician sample on its signal, in units of 1/sigma^2."""
    snr = np.asarray(snr, float)
    high = 1 - 0.5 / np.maximum(snr, _TABLE_END) ** 2
    return np.where(snr < _TABLE_END, np.interp(snr, _NODES, INFORMATION_TABLE), high)


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
