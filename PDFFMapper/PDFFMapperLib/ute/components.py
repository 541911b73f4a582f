"""Bound and pore water of bone: two T2* components of a region under Rician noise.

S(TE) = A (f exp(-TE/T2*bound) + (1 - f) exp(-TE/T2*pore)), the bi-component analysis named by Du
2011 (ISMRM 3209) and tested by Seifert 2015 (doi 10.1002/nbm.3305; abstracts read). The limits of
T2* are those the project's requirements take from Du 2013, which was not read. f is of apparent
signals: neither T1 nor the pulse's length is corrected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from PDFFMapperLib.ute.region_signal import CHI2_95, RegionSignal, SignalsTogether, information_of

T2STAR_BOUND_MS, T2STAR_PORE_MS = (0.1, 1.0), (1.0, 30.0)
_STARTS = ((0.8, 0.35, 3.0), (0.5, 0.5, 6.0), (0.95, 0.3, 10.0))
_MOST_STEPS = 100


@dataclass(frozen=True)
class Component:
    """One fitted number with its 95 % interval by profile likelihood and Cramer-Rao bound (SD)."""

    value: float
    lower: float
    upper: float
    bound_sd: float


@dataclass(frozen=True)
class BiComponent:
    """Two components of a region.

    Attributes:
        bound_percent: share of the short component in the signal at TE 0.
        t2star_bound_ms, t2star_pore_ms: of both.
        amplitude: signal at TE 0.
        misfit: root of the mean deviance by degree of freedom; about 1 for a true model.
    """

    bound_percent: Component
    t2star_bound_ms: Component
    t2star_pore_ms: Component
    amplitude: float
    misfit: float


@dataclass(frozen=True)
class Model:
    """Signal of parameters at echo times in ms, the amplitude first.

    Attributes:
        signal, gradient: of parameters and echo times; shapes (echoes,), (echoes, parameters).
        limits: of all parameters but the amplitude.
        starts: of the same; the best of all fits is taken.
    """

    signal: Callable[[Sequence[float], np.ndarray], np.ndarray]
    gradient: Callable[[Sequence[float], np.ndarray], np.ndarray]
    limits: tuple[tuple[float, float], ...]
    starts: tuple[tuple[float, ...], ...]


def signal_of(parameters: Sequence[float], te_ms: np.ndarray) -> np.ndarray:
    """The signal of (amplitude, bound fraction, T2* bound, T2* pore) at echo times in ms."""
    amplitude, fraction, bound, pore = parameters
    return amplitude * (fraction * np.exp(-te_ms / bound) + (1 - fraction) * np.exp(-te_ms / pore))


def _gradient(parameters: Sequence[float], te_ms: np.ndarray) -> np.ndarray:
    """Derivatives of `signal_of`, shape (echoes, 4)."""
    amplitude, f, bound, pore = parameters
    short, long = np.exp(-te_ms / bound), np.exp(-te_ms / pore)
    return np.stack(
        [
            f * short + (1 - f) * long,
            amplitude * (short - long),
            amplitude * f * short * te_ms / bound**2,
            amplitude * (1 - f) * long * te_ms / pore**2,
        ],
        axis=-1,
    )


TWO_COMPONENTS = Model(signal_of, _gradient, ((0.0, 1.0), T2STAR_BOUND_MS, T2STAR_PORE_MS), _STARTS)


def cramer_rao_sd(
    parameters: Sequence[float],
    te_ms: np.ndarray,
    sigma: float,
    voxels: float = 1.0,
    model: Model = TWO_COMPONENTS,
    known: Sequence[int] = (),
    priors: Mapping[int, tuple[float, float]] | None = None,
    coils: int = 1,
) -> np.ndarray:
    """Least SD of any unbiased fit of each parameter; inf if undetermined, 0 if `known`.

    `priors`: mean and SD by which a parameter is known from elsewhere, by its place.
    """
    te_ms = np.asarray(te_ms, float)
    weights = information_of(model.signal(parameters, te_ms) / sigma, coils) * voxels / sigma**2
    slopes = model.gradient(parameters, te_ms)
    open_ones = [n for n in range(len(parameters)) if n not in known]
    information = slopes.T @ (weights[:, None] * slopes)
    for n, (_, sd) in (priors or {}).items():
        information[n, n] += 1 / sd**2
    sds = np.zeros(len(parameters))
    sds[open_ones] = _sds(information[np.ix_(open_ones, open_ones)])
    return sds


def gaussian_sd(
    parameters: Sequence[float],
    te_ms: np.ndarray,
    sd: float,
    model: Model,
    known: Sequence[int] = (),
) -> np.ndarray:
    """As `cramer_rao_sd` in Gaussian noise, of real and imaginary parts."""
    open_ones = [n for n in range(len(parameters)) if n not in known]
    slopes = model.gradient(parameters, te_ms)[:, open_ones] / sd
    sds = np.zeros(len(parameters))
    sds[open_ones] = _sds(slopes.T @ slopes)
    return sds


def known_t2star_sd(parameters: Sequence[float], te_ms: np.ndarray, coils: int = 1) -> float:
    """Least SD of a voxel's bound fraction with both T2* known, in noise of SD 1."""
    return float(cramer_rao_sd(parameters, te_ms, 1.0, known=(2, 3), coils=coils)[1])


def _sds(information: np.ndarray) -> np.ndarray:
    scale = np.sqrt(np.diag(information))
    if not (scale > 0).all():
        return np.full(len(scale), np.inf)
    scaled = information / np.outer(scale, scale)
    if np.linalg.cond(scaled) > 1e12:
        return np.full(len(scale), np.inf)
    return np.sqrt(np.diag(np.linalg.inv(scaled))) / scale


def fit_bi_component(signals: Sequence[RegionSignal], te_ms: Sequence[float]) -> BiComponent:
    """Fit both components to a region's signals at all echo times by maximum likelihood."""
    fit = RegionFit(signals, te_ms, TWO_COMPONENTS)
    rows = [fit.component(n, scale) for n, scale in ((1, 100), (2, 1), (3, 1))]
    return BiComponent(*rows, float(fit.found[0]), fit.misfit)


class GaussianLikelihood:
    """The likelihood of real and imaginary parts in noise of one SD."""

    def __init__(self, held: np.ndarray, sd: float) -> None:
        self.held, self.sd = held, sd

    def around(self, signal: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Deviance, and score and information of each value."""
        away = (self.held - signal) / self.sd
        return float(away @ away), away / self.sd, np.full(len(away), 1 / self.sd**2)


class RegionFit:
    """A model fitted to a region's signals.

    Attributes:
        found: parameters.
        least: deviance there.
        sds: Cramer-Rao bounds there.
    """

    def __init__(
        self,
        signals: Sequence[RegionSignal],
        te_ms: Sequence[float],
        model: Model,
        known: Mapping[int, float] | None = None,
        priors: Mapping[int, tuple[float, float]] | None = None,
    ) -> None:
        """Fit it; `known` parameters, by their place, stay what they are.

        `priors`: mean and SD by which parameters are known from elsewhere.
        """
        self.te_ms, self.model = np.asarray(te_ms, float), model
        self.known, self.priors = dict(known or {}), dict(priors or {})
        self._fit(SignalsTogether(signals), 1.1 * max(one.peak for one in signals))
        one = signals[0]
        self.sds = cramer_rao_sd(
            self.found,
            self.te_ms,
            one.sigma,
            one.independent,
            model,
            tuple(self.known),
            self.priors,
            one.coils,
        )

    def _fit(
        self,
        likelihood: SignalsTogether | GaussianLikelihood,
        top: float,
        start: Sequence[float] | None = None,
    ) -> None:
        """Fit by a likelihood from an amplitude and the model's starts, or from one start."""
        self.signals = likelihood
        self.limits = np.array([(0.0, 20 * top), *self.model.limits])
        starts = [(top, *one) for one in self.model.starts] if start is None else [start]
        self.least, self.found = min((self.at({}, one) for one in starts), key=lambda one: one[0])

    @property
    def misfit(self) -> float:
        """Root of the deviance by degree of freedom; about 1 for a true model."""
        free = len(self.te_ms) - len(self.found) + len(self.known) + len(self.priors)
        return float((self.least / max(free, 1)) ** 0.5)

    @property
    def covariance(self) -> np.ndarray:
        """Of what was found, by the expected information; what the data leave open has none."""
        information = self._around(self.found)[2]
        scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
        return np.linalg.pinv(information / np.outer(scale, scale)) / np.outer(scale, scale)

    def component(self, n: int, scale: float = 1.0, allowed: float = CHI2_95) -> Component:
        """A parameter with its interval, see there."""
        low, high = self.interval(n, allowed)
        return Component(*(scale * one for one in (self.found[n], low, high, self.sds[n])))

    def at(self, fixed: dict[int, float], start: Sequence[float]) -> tuple[float, np.ndarray]:
        """Least deviance with some parameters fixed, and the parameters there.

        Fisher scoring with damping; a parameter that would leave its limits stays at them.
        """
        low, high = self.limits.T
        now = np.clip(np.array(start, float), low, high)
        fixed = {**self.known, **fixed}
        for n, value in fixed.items():
            now[n] = value
        movable = np.array([n not in fixed for n in range(len(now))])
        deviance, gradient, information = self._around(now)
        damping = 1e-6  # weakly told directions need long steps
        for _ in range(_MOST_STEPS):
            stuck = ((now <= low) & (gradient < 0)) | ((now >= high) & (gradient > 0))
            free = movable & ~stuck
            if not free.any():
                break
            curved = information[np.ix_(free, free)]
            scale = np.sqrt(np.maximum(np.diag(curved), 1e-300))
            damped = curved / np.outer(scale, scale) + damping * np.eye(len(scale))
            tried = now.copy()
            tried[free] += np.linalg.solve(damped, gradient[free] / scale) / scale
            tried = np.clip(tried, low, high)
            found = self._around(tried)
            gain = deviance - found[0]
            if gain < 0:
                damping *= 8
                if damping > 1e8:
                    break
                continue
            now, damping = tried, max(damping / 5, 1e-9)
            deviance, gradient, information = found
            if gain < 1e-4:
                break
        return deviance, now

    def _around(self, parameters: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Deviance, and gradient and expected information of the log likelihood."""
        signal = self.model.signal(parameters, self.te_ms)
        slopes = self.model.gradient(parameters, self.te_ms)
        deviance, score, weight = self.signals.around(signal)
        score, information = score @ slopes, slopes.T @ (weight[:, None] * slopes)
        for n, (mean, sd) in self.priors.items():
            away = (parameters[n] - mean) / sd
            deviance += away**2
            score[n] -= away / sd
            information[n, n] += 1 / sd**2
        return deviance, score, information

    def interval(self, n: int, allowed: float = CHI2_95) -> tuple[float, float]:
        """Where the deviance of a parameter, others free, has risen by what 95 % allow."""
        if n in self.known:
            return self.known[n], self.known[n]
        last = found = self.found
        sd = self.sds[n]

        def risen(value: float) -> float:
            nonlocal last
            moved = last[n] - found[n]
            share = (value - found[n]) / moved if moved else 0.0
            deviance, last = self.at({n: value}, found + share * (last - found))
            return max(deviance - self.least, 0.0) ** 0.5 - allowed**0.5

        ends = []
        for limit in self.limits[n]:
            last = found
            reach = 3 * sd if np.isfinite(sd) else np.ptp(self.limits[n])
            near = found[n] + np.sign(limit - found[n]) * reach
            near = min(max(near, self.limits[n][0]), self.limits[n][1])
            if risen(near) < 0:
                near = limit
            if abs(limit - found[n]) < 1e-9 or risen(near) < 0:
                ends.append(limit)
            else:
                ends.append(brentq(risen, *sorted((found[n], near)), rtol=1e-3, xtol=1e-4))
        return ends[0], ends[1]
