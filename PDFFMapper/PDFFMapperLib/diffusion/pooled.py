"""One diffusion fit per region, with confidence intervals and model choice.

The region's mean signals are fitted: the mean of many magnitudes is nearly Gaussian about the
Rician expectation, with the Rician variance over the number of voxels. Intervals are profile
likelihood intervals (Venzon and Moolgavkar, Appl. Stat. 1988, doi 10.2307/2347496). Where the
curve misses the means by more than noise explains (motion, mixed tissue) they are widened by that
dispersion, and models are compared by the likewise corrected criterion (QAICc; Burnham and
Anderson 2002, doi 10.1007/b97636).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from PDFFMapperLib.diffusion.ivim import prepared
from PDFFMapperLib.diffusion.ivim_kernel import D_LIMIT, EXCESS_LIMITS
from PDFFMapperLib.diffusion.model_choice import MODELS, PARAMETERS, aicc
from PDFFMapperLib.diffusion.noise import chi_squared_quantile, rician_mean, rician_mean_slope

_D_STAR_LIMIT = EXCESS_LIMITS[1]
_UNLIMITED = 1e12


@dataclass
class Estimate:
    """A value with its 95 % confidence interval; a side that the data leave open is infinite."""

    value: float
    lower: float
    upper: float

    @property
    def closed(self) -> bool:
        """Whether the data limit the value on both sides."""
        return math.isfinite(self.lower) and math.isfinite(self.upper)


@dataclass
class ModelFit:
    """One model fitted to a region's mean signals.

    Attributes:
        model: one of `model_choice.MODELS`.
        estimates: by name: "s0" in signal units; "d" ("adc" for the mono-exponential) and
            "d_star" in 10^-3 mm^2/s; "f" as a fraction; "k" without unit.
        curve: fitted mean signals, noise floor included, one per measurement.
        chi_squared: squared residuals in units of their standard errors.
        qaicc: criterion, lower is better; infinite if there are too few measurements.
    """

    model: str
    estimates: dict[str, Estimate]
    curve: np.ndarray
    chi_squared: float
    qaicc: float

    @property
    def identifiable(self) -> bool:
        """Whether the data limit every parameter on both sides."""
        return all(estimate.closed for estimate in self.estimates.values())


@dataclass
class PooledFit:
    """The models of one region.

    Attributes:
        voxels: number of voxels averaged.
        mean: mean signals, one per measurement.
        sigma: noise of a single image.
        dispersion: how much more than noise the means scatter (variance ratio, at least 1).
        fits: by model name.
        best: name of the model that the data support.
    """

    voxels: int
    mean: np.ndarray
    sigma: float
    dispersion: float
    fits: dict[str, ModelFit]
    best: str


def fit_pooled(
    signal: np.ndarray,
    b_values: Sequence[float],
    mask: np.ndarray | None = None,
    *,
    sigma: float | np.ndarray | None = None,
    averages: Sequence[float] | None = None,
    models: Sequence[str] = MODELS,
) -> PooledFit:
    """Fit the mean signals of a region.

    Args:
        signal: shape (..., n).
        b_values: n values in s/mm^2.
        mask: the region, shape (...); all voxels if not given.
        sigma: noise of a single image in signal units, a number or one per voxel; if None it is
            measured from the residuals of the region's voxel-wise fits.
        averages: images averaged into each measurement.
        models: which of `model_choice.MODELS` to fit.

    Raises:
        ValueError: no usable voxel, too few b-values, an unknown model.
    """
    unknown = set(models) - set(MODELS)
    if unknown or not models:
        raise ValueError(f"Models are {', '.join(MODELS)}; given were {', '.join(models)}.")
    voxels = prepared(signal, b_values, sigma=sigma, averages=averages, mask=mask)
    noise_sd = float(np.sqrt(np.mean(voxels.sigma[voxels.usable] ** 2)))
    mean = voxels.signal[voxels.usable].mean(axis=0, dtype=float)
    data = _Data(voxels.b, mean / noise_sd, voxels.averages * voxels.usable.size)
    solutions = {name: _best_of_starts(data, name) for name in models}
    richest = max(models, key=PARAMETERS.__getitem__)
    spare = data.b.size - PARAMETERS[richest]
    dispersion = max(1.0, solutions[richest][1] / spare) if spare > 0 else 1.0
    fits = {
        name: _with_intervals(data, name, *solutions[name], dispersion, noise_sd) for name in models
    }
    best = min(models, key=lambda name: fits[name].qaicc)
    return PooledFit(voxels.usable.size, mean, noise_sd, dispersion, fits, best)


@dataclass
class _Data:
    """Mean magnitudes in units of sigma, and how many images each is the mean of."""

    b: np.ndarray
    mean: np.ndarray
    counts: np.ndarray

    def expected(self, name: str, x: np.ndarray) -> np.ndarray:
        nu, _ = _CURVES[name](self.b, x)
        return rician_mean(nu)

    def residuals(self, name: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals in units of their standard errors, and the curve's weighted Jacobian."""
        nu, jacobian = _CURVES[name](self.b, x)
        expected = rician_mean(nu)
        weight = np.sqrt(self.counts / np.maximum(2 + nu**2 - expected**2, 0.4))
        return (self.mean - expected) * weight, jacobian * (weight * rician_mean_slope(nu))


def _mono(b, x):
    s0, d = x
    decay = np.exp(-b * d)
    return s0 * decay, np.stack([decay, -b * s0 * decay])


def _kurtosis(b, x):
    s0, d, k = x
    decay = np.exp(np.minimum(-b * d + (b * d) ** 2 * k / 6, 50.0))
    nu = s0 * decay
    return nu, np.stack([decay, nu * (-b + b**2 * d * k / 3), nu * (b * d) ** 2 / 6])


def _ivim(b, x):
    s0, d, log_d_star, f = x
    d_star = math.exp(log_d_star)
    slow, fast = np.exp(-b * d), np.exp(-b * d_star)
    decay = (1 - f) * slow + f * fast
    by_d, by_d_star = -b * s0 * (1 - f) * slow, -b * s0 * f * d_star * fast
    return s0 * decay, np.stack([decay, by_d, by_d_star, s0 * (fast - slow)])


_CURVES = {"mono-exponential": _mono, "kurtosis": _kurtosis, "ivim": _ivim}
_NAMES = {
    "mono-exponential": ("s0", "adc"),
    "kurtosis": ("s0", "d", "k"),
    "ivim": ("s0", "d", "d_star", "f"),
}
_LIMITS = {
    "mono-exponential": ([1e-6, 0.0], [_UNLIMITED, D_LIMIT]),
    "kurtosis": ([1e-6, 1e-3, -5.0], [_UNLIMITED, D_LIMIT, 20.0]),
    "ivim": ([1e-6, 0.0, math.log(1.0), 0.0], [_UNLIMITED, D_LIMIT, math.log(_D_STAR_LIMIT), 1.0]),
}


def _starts(data: _Data, name: str) -> list[list[float]]:
    s0 = max(data.mean.max(), 1e-3)
    if name == "mono-exponential":
        return [[s0, 0.3], [s0, 1.2]]
    if name == "kurtosis":
        return [[s0, 0.4, 0.5], [s0, 1.3, 0.5]]
    return [
        [s0, d, math.log(fast), f] for d in (0.3, 1.2) for fast in (8, 30, 100) for f in (0.1, 0.4)
    ]


def _best_of_starts(data: _Data, name: str) -> tuple[np.ndarray, float]:
    solutions = [_minimized(data, name, start, None) for start in _starts(data, name)]
    return min(solutions, key=lambda solution: solution[1])


def _minimized(
    data: _Data, name: str, start: Sequence[float], held: int | None
) -> tuple[np.ndarray, float]:
    """Levenberg-Marquardt within the limits, parameter `held` fixed: (parameters, chi^2)."""
    lower, upper = (np.asarray(limits) for limits in _LIMITS[name])
    x = np.clip(np.asarray(start, dtype=float), lower, upper)
    residual, jacobian = data.residuals(name, x)
    chi_squared = float(residual @ residual)
    damping = 1e-3
    for _ in range(200):
        pull = jacobian @ residual
        free = ~(((x <= lower) & (pull < 0)) | ((x >= upper) & (pull > 0)))
        if held is not None:
            free[held] = False
        if not free.any():
            break
        curvature = jacobian[free] @ jacobian[free].T
        curvature[np.diag_indices_from(curvature)] *= 1 + damping
        curvature[np.diag_indices_from(curvature)] += 1e-12
        step = np.zeros_like(x)
        step[free] = np.linalg.solve(curvature, pull[free])
        if step @ pull < 1e-6:
            break
        trial = np.clip(x + step, lower, upper)
        trial_residual, trial_jacobian = data.residuals(name, trial)
        trial_chi_squared = float(trial_residual @ trial_residual)
        if trial_chi_squared <= chi_squared:
            x, residual, jacobian, chi_squared = (
                trial,
                trial_residual,
                trial_jacobian,
                trial_chi_squared,
            )
            damping = max(0.2 * damping, 1e-7)
        else:
            damping *= 5
            if damping > 1e10:
                break
    return x, chi_squared


def _with_intervals(
    data: _Data, name: str, x: np.ndarray, chi_squared: float, dispersion: float, sigma: float
) -> ModelFit:
    spare = data.b.size - x.size
    rise = chi_squared_quantile(0.95, 1)
    if dispersion > 1 and spare > 0:
        rise = dispersion * special.fdtri(1, spare, 0.95)
    _, jacobian = data.residuals(name, x)
    variances = np.diagonal(np.linalg.pinv(jacobian @ jacobian.T))
    # Rounding may make one negative; the search for the limit then begins with a small step.
    errors = np.where(variances > 0, np.sqrt(np.maximum(variances, 0)), 1e-3 * (np.abs(x) + 1))
    estimates = {}
    for n, label in enumerate(_NAMES[name]):
        lower = _profile_limit(data, name, x, chi_squared + rise, n, -math.sqrt(rise) * errors[n])
        upper = _profile_limit(data, name, x, chi_squared + rise, n, math.sqrt(rise) * errors[n])
        values = np.array([x[n], lower, upper])
        if label == "d_star":
            values = np.exp(values)
            values[1] = values[1] if math.isfinite(lower) else -math.inf
        if label == "s0":
            values *= sigma
        estimates[label] = Estimate(*(float(value) for value in values))
    qaicc = float(aicc(-0.5 * chi_squared / dispersion, x.size, data.b.size))
    return ModelFit(name, estimates, sigma * data.expected(name, x), chi_squared, qaicc)


def _profile_limit(
    data: _Data, name: str, best: np.ndarray, target: float, n: int, step: float
) -> float:
    """Where the profile of chi^2 along parameter n reaches `target`; infinite if nowhere.

    `step`, signed, is where it would if chi^2 were a parabola.
    """
    side = 1 if step > 0 else -1
    end = _LIMITS[name][1 if side > 0 else 0][n]
    step = side * min(max(abs(step), 1e-6), 0.5 * (abs(best[n]) + 1))
    warm = best.copy()
    known: dict[float, float] = {}  # warm starts reach slightly different minima: one answer each

    def excess(value: float) -> float:
        nonlocal warm
        if value not in known:
            start = warm.copy()
            start[n] = value
            warm, reached = _minimized(data, name, start, n)
            known[value] = reached - target
        return known[value]

    inner = best[n]
    if excess(inner) >= 0:
        # The fit did not converge to a minimum here, so no interval can be told.
        return side * math.inf
    while True:
        outer = inner + step
        if (outer - end) * side >= 0:
            outer = end
        if excess(outer) >= 0:
            return float(optimize.brentq(excess, *sorted((inner, outer)), xtol=2e-3 * abs(step)))
        if outer == end:
            label = _NAMES[name][n]
            physical = label == "f" or (label in ("adc", "d") and side < 0)
            return float(end) if physical else side * math.inf
        inner, step = outer, 1.5 * step
