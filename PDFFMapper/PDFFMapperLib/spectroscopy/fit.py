"""Maximum likelihood of the model of a spectrum: start, fit, and profile-likelihood intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from PDFFMapperLib.spectroscopy.model import LATEST_S, Choice, Quantity, SpectrumModel
from PDFFMapperLib.spectroscopy.spectrum import Series, noise_alone
from PDFFMapperLib.spectroscopy.triglyceride import (
    CHAIN_LENGTH,
    CHAIN_LENGTH_SD,
    FREE_GROUPS,
    METHYLENE,
    protons,
)

CHI2_95 = 3.841458820694124
LEAST_GAIN = 1e-3  # of what an interval allows, below which the search for its end is done
START_WIDTHS_HZ = (12.0, 30.0, 60.0, 110.0)
START_NDB, START_SHARE = 2.9, 0.26
# Of Choice: what the data may ask for.
WHERE_ASKED = ("delay", "methylene_width", "skew", "stretch", "turned")
NOISE_ALONE = 1.1  # of residual over noise, which the tail of a signal tells to 3-5 % (SD)
PROMISED = 0.5  # share of its price that a linear model has to gain for a fit to be tried
# Starts beside 0: water and fat are alike in phase every 2.3 ms at 3 T.
DELAYS_S = (1.2e-3, 2.2e-3, 3.4e-3, 4.6e-3, 5.8e-3)
SHAPE_FREEDOM = 20  # real numbers that a common line shape is counted as
_PER_HZ = np.pi  # Lorentzian rate (1/s) for each Hz of full width at half maximum


@dataclass
class Fitted:
    """A fit that converged.

    Attributes:
        model: what was fitted.
        theta: its parameters.
        cost: sum of squared residuals of real and imaginary parts, in units of model.scale.
        sigma: of the noise, of a real or imaginary part, in the same units.
        ratio: residual over noise (root mean square); 1 where nothing but noise is left.
        hessian: J^T J of the real problem, shape (parameters, parameters).
    """

    model: SpectrumModel
    theta: np.ndarray
    cost: float
    sigma: float
    ratio: float
    hessian: np.ndarray

    @property
    def spread(self) -> float:
        """The standard deviation that intervals rest on: of the noise, or of a worse residual."""
        return self.sigma * max(1.0, self.ratio)

    @property
    def covariance(self) -> np.ndarray:
        """Of the parameters, as if none had a bound."""
        return self._unscaled * self.spread**2

    @cached_property
    def _unscaled(self) -> np.ndarray:
        scale = np.sqrt(np.maximum(np.diag(self.hessian), 1e-300))
        inner = self.hessian / np.outer(scale, scale)
        return np.linalg.pinv(inner, 1e-13, hermitian=True) / np.outer(scale, scale)

    def sd(self, quantity: Quantity) -> float:
        """Standard deviation of a quantity, to first order."""
        slope = quantity(self.theta)[1]
        return float(np.sqrt(max(slope @ self.covariance @ slope, 0.0)))

    def bic(self) -> float:
        """The Bayesian information criterion, with the noise of the model's own residual."""
        return self._criterion(float(np.log(2 * self.model.data.size)))

    def aic(self) -> float:
        """That of Akaike, which takes what improves prediction."""
        return self._criterion(2.0)

    def _criterion(self, price: float) -> float:
        values, free = 2 * self.model.data.size, len(self.theta)
        if self.model.choice.shape is not None:
            free += SHAPE_FREEDOM
        return values * np.log(self.cost / values) + self.model.log_volume + free * price


def fit(
    series: Series,
    choice: Choice,
    start: np.ndarray | None = None,
    prior: Callable[[SpectrumModel], list[tuple[Quantity, float, float]]] | None = None,
) -> Fitted:
    """Fit one model, from where the data say that it may be.

    Args:
        series: the signals.
        choice: of the model.
        start: parameters to start from; None tries several widths.
        prior: for a model, its `soft` knowledge.

    Raises:
        ValueError: the spectral width leaves out peaks.
    """
    model = SpectrumModel(series, choice)
    model.soft = prior(model) if prior else []
    if "chain_length" in model.at:
        start = _with_known_chain_length(model, start, prior)
    starts = [start] if start is not None else _starts(model)
    theta, cost, hessian = min((minimize(model, one) for one in starts), key=lambda x: x[1])
    sigma = noise(model, theta)
    values = 2 * model.data.size
    ratio = float(np.sqrt(cost / max(values - len(theta), 1))) / sigma
    return Fitted(model, theta, cost, sigma, ratio, hessian)


def _with_known_chain_length(
    model: SpectrumModel,
    start: np.ndarray | None,
    prior: Callable[[SpectrumModel], list[tuple[Quantity, float, float]]] | None,
) -> np.ndarray:
    """Tell a model what is known of chains, and where to start: at the fit of usual ones."""
    place = model.at["chain_length"]
    usual = fit(
        model.series,
        replace(model.choice, chain_length=False),
        None if start is None else np.delete(start, place),
        prior,
    )
    slope = np.where(np.arange(len(model.names)) == place, 1.0, 0.0)
    model.soft.append(
        (lambda theta: (theta[place], slope), CHAIN_LENGTH, usual.spread / CHAIN_LENGTH_SD)
    )
    return np.insert(usual.theta, place, CHAIN_LENGTH)


def noise(model: SpectrumModel, theta: np.ndarray) -> float:
    """Standard deviation of a real or imaginary part, of what is noise alone without the model."""
    tail = noise_alone(model.series.fids.shape[1])
    left = []
    for k, fid in enumerate(model.series.fids):
        water, fat = model.parts(theta, k)
        left.append(fid[tail] / model.scale - water[tail] - fat.sum(axis=0)[tail])
    left = np.concatenate(left)
    return float(np.sqrt(np.mean(np.abs(left) ** 2) / 2))


def minimize(
    model: SpectrumModel,
    start: np.ndarray,
    held: tuple[Quantity, float, float] | None = None,
    steps: int = 60,
    least_gain: float = 0.0,
) -> tuple[np.ndarray, float, np.ndarray]:
    """Levenberg-Marquardt within bounds.

    Args:
        model: what to fit.
        start: parameters.
        held: a quantity, the value it is held at, and the weight of that.
        steps: at most.
        least_gain: in cost, of a step after which another one is worth while.

    Returns:
        Parameters, cost and J^T J, both without the held quantity.
    """
    low, high = model.low, model.high
    theta = np.clip(start, low, high)
    cost, plain, gradient, hessian, inner = _linearized(model, theta, held)
    damping, small = 1e-3 if held is None else 1e-5, 0
    for _ in range(steps):
        pinned = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
        free = ~pinned
        diagonal = np.diag(hessian)[free] + 1e-300
        scale = np.sqrt(diagonal)
        matrix = hessian[np.ix_(free, free)] / np.outer(scale, scale)
        moved = False
        while damping < 1e8:
            step = np.zeros_like(theta)
            damped = matrix + damping * np.eye(len(scale))
            step[free] = -np.linalg.solve(damped, gradient[free] / scale) / scale
            tried = np.clip(theta + step, low, high)
            found = _linearized(model, tried, held)
            if found[0] <= cost:
                moved = True
                break
            damping *= 6 if damping > 1e-7 else 1e4
        if not moved:
            break
        gain = cost - found[0]
        theta, damping = tried, max(damping / 8, 1e-12)
        cost, plain, gradient, hessian, inner = found
        small = small + 1 if gain < 1e-9 * cost else 0
        if small >= 2 or gain < least_gain:
            break
    return theta, plain, inner


def _linearized(
    model: SpectrumModel, theta: np.ndarray, held: tuple[Quantity, float, float] | None
) -> tuple[float, float, np.ndarray, np.ndarray, np.ndarray]:
    """Cost with and without what is held, gradient, J^T J with and without it."""
    predicted, derived = model.predict(theta)
    residual = (predicted - model.data).ravel()
    columns, both = derived.reshape(len(theta), -1).view(float), residual.view(float)
    plain = float(both @ both)
    gradient, inner = columns @ both, columns @ columns.T
    for quantity, wanted, weight in model.soft:
        value, slope = quantity(theta)
        plain += (weight * (value - wanted)) ** 2
        gradient = gradient + weight**2 * (value - wanted) * slope
        inner = inner + weight**2 * np.outer(slope, slope)
    if held is None:
        return plain, plain, gradient, inner, inner
    quantity, wanted, weight = held
    value, slope = quantity(theta)
    off = weight * (value - wanted)
    return (
        plain + off**2,
        plain,
        gradient + weight * off * slope,
        inner + weight**2 * np.outer(slope, slope),
        inner,
    )


def _starts(model: SpectrumModel) -> list[np.ndarray]:
    """The best of several widths, with the amplitudes and phase that go with them."""
    found = []
    for width in START_WIDTHS_HZ:
        theta = np.zeros(len(model.names))
        given = {
            "fat_lorentz": width / 2 * _PER_HZ,
            "water_lorentz": width / 2 * _PER_HZ,
            "fat_gauss": (2 * np.pi * width / 2 / 2.355) ** 2,
            "water_gauss": (2 * np.pi * width / 2 / 2.355) ** 2,
            "fat": 1.0,
            "ndb": START_NDB,
            "share": START_SHARE,
            "water": 1.0,
            "water_r2": 40.0,
            "fat_r2": 15.0,
            "water_r1": 0.8,
            "fat_r1": 3.0,
        }
        for name, value in given.items():
            if name in model.at:
                theta[model.at[name]] = value
        found.append(_with_amplitudes(model, theta))
    found.sort(key=lambda one: one[0])
    return [theta for _, theta in found[:2]]


def _with_amplitudes(model: SpectrumModel, theta: np.ndarray) -> tuple[float, np.ndarray]:
    """The least-squares amplitudes and phases for given shapes, and the cost."""
    cost, amounts = 0.0, []
    molecule = protons(START_NDB, START_SHARE * START_NDB)
    areas = molecule / molecule.sum()
    for k, data in enumerate(model.data):
        water, fat = model.units(theta, k)
        left = [model.left(theta, k, tissue)[0] for tissue in ("water", "fat")]
        columns = model.in_window(
            np.array([water * left[0], np.sum(areas[:, None] * fat, axis=0) * left[1]])
        ).T
        found, *_ = np.linalg.lstsq(columns, data, rcond=None)
        cost += float(np.sum(np.abs(columns @ found - data) ** 2))
        theta[model.at[f"phase{k}"]] = np.angle(found @ np.abs(found))
        if model.choice.suppressed:
            theta[model.at[f"phase{k}"]] = np.angle(found[1])
            theta[model.at["water_phase"]] = np.angle(found[0] * found[1].conj())
        amounts.append(np.abs(found))
    water, fat = np.mean(amounts, axis=0)
    theta[model.at["water"]] = water
    if model.choice.free:
        for n, group in enumerate(FREE_GROUPS):
            theta[model.at[f"group{n}"]] = fat * areas[list(group)].sum()
    else:
        theta[model.at["fat"]] = fat
    return cost, theta


def interval(fitted: Fitted, quantity: Quantity, sd: float) -> tuple[float, float]:
    """The 95 % profile-likelihood interval of a quantity.

    Args:
        fitted: the best fit.
        quantity: what the interval is of.
        sd: its standard deviation, where the search starts.
    """
    allowed = CHI2_95 * fitted.spread**2
    return tuple(_end(fitted, quantity, sign * sd, allowed) for sign in (-1, 1))


def _end(fitted: Fitted, quantity: Quantity, sd: float, allowed: float) -> float:
    """Where the cost has risen by `allowed`, by secants on its square root.

    Each search starts where the parameters would be if the model were linear.
    """
    value, slope = quantity(fitted.theta)
    step = 1.96 * sd
    if step == 0 or not np.isfinite(step):
        return value
    moving = fitted.covariance @ slope / sd**2
    weight = 300 * np.sqrt(allowed) / abs(step)
    theta, at, root = fitted.theta, value, 0.0
    wanted, last = np.sqrt(allowed), (0.0, value)
    target = value + step
    for _ in range(6):
        start = theta + moving * (target - at)
        theta, cost, _ = minimize(
            fitted.model, start, (quantity, target, weight), 25, LEAST_GAIN * allowed
        )
        at = quantity(theta)[0]
        root = np.sqrt(max(cost - fitted.cost, 0.0))
        if abs(root - wanted) < 0.02 * wanted:
            break
        if abs(at - target) > 0.05 * abs(step):  # the quantity cannot go there
            break
        if root <= last[0]:
            last = (0.0, value)
            target = value + 2 * (target - value)
            continue
        rising = (at - last[1]) / (root - last[0])
        last = (root, at)
        target = at + np.clip(rising * (wanted - root), -3 * abs(step), 3 * abs(step))
    return at


def best_choice(series: Series, choice: Choice) -> Fitted:
    """The fit with those of WHERE_ASKED that the Bayesian information criterion asks for.

    The one that gains most is taken (or left again) first, as one may stand for another. Lines of
    another shape or phase that leave more than noise are none: they take what other faults leave.
    """
    best, last = fit(series, choice), None
    while best is not last:
        last = best
        for tried in (_tried(last, flag) for flag in WHERE_ASKED):
            if tried is None:
                continue
            asked = tried.model.choice
            explained = not (asked.skew or asked.turned) or tried.ratio <= NOISE_ALONE
            if explained and tried.bic() < best.bic():
                best = tried
    return best


def _tried(last: Fitted, flag: str) -> Fitted | None:
    """The fit with one of WHERE_ASKED more, or less; None where it cannot gain what it costs."""
    series, taken = last.model.series, not getattr(last.model.choice, flag)
    asked = replace(last.model.choice, **{flag: taken})
    model = SpectrumModel(series, asked)
    start = carried(last, model)
    # What is in no phase of the other has no slope; with a delay it may be there.
    lost = flag == "delay" and min(last.model.value(last.theta, x) for x in ("water", "fat")) <= 0
    if taken and not lost:
        values = 2 * model.data.size
        price = (len(start) - len(last.theta)) * np.log(values) * last.cost / values
        alike = _alike_in_phase(model, start) if flag == "delay" else []
        promised = min(_promised(model, one) for one in [start, *alike])
        if last.cost - promised < PROMISED * price:
            return None
    starts = [start]
    if flag == "delay" and taken:
        place = np.arange(len(start)) == model.at["delay"]
        starts += [np.where(place, delay, start) for delay in DELAYS_S]
    return min((fit(series, asked, one) for one in starts), key=lambda one: one.cost)


def _promised(model: SpectrumModel, theta: np.ndarray) -> float:
    """The cost that a fit would come to from there if the model were linear, without bounds."""
    cost, _, gradient, hessian, _ = _linearized(model, theta, None)
    scale = np.sqrt(np.maximum(np.diag(hessian), 1e-300))
    inner = np.linalg.pinv(hessian / np.outer(scale, scale), 1e-13, hermitian=True)
    return cost - float((gradient / scale) @ inner @ (gradient / scale))


def _alike_in_phase(model: SpectrumModel, theta: np.ndarray) -> list[np.ndarray]:
    """The same signal but for phases within fat, with each delay that leaves water's and fat's.

    Between them a fit does not move: in between, water and fat are in no phase of the data.
    """
    of, found = model.value, []
    methylene = model.hz[METHYLENE] + of(theta, "fat_shift")
    water = model.water_hz + of(theta, "water_shift")
    for turns in range(1, int(LATEST_S * abs(water - methylene)) + 1):
        late = turns / abs(water - methylene)
        one = theta.copy()
        one[model.at["delay"]] = late
        for tissue in ("water", "fat"):
            rate, curve = of(theta, f"{tissue}_lorentz"), of(theta, f"{tissue}_gauss")
            one[model.at[tissue]] *= np.exp(rate * late + curve * late**2 / 2)
            one[model.at[f"{tissue}_lorentz"]] = rate - curve * late  # slower, then faster
        for k in range(len(model.data)):
            one[model.at[f"phase{k}"]] -= 2 * np.pi * (water + of(theta, f"drift{k}")) * late
        found.append(one)
    return found


def linearized_at(series: Series, choice: Choice, fitted: Fitted) -> Fitted:
    """Another model of the same parameters where a fit stands, to see what it would tell of them.

    Its residual is not judged: intervals rest on the noise.
    """
    model = SpectrumModel(series, choice)
    hessian = _linearized(model, fitted.theta, None)[4]
    return Fitted(model, fitted.theta, fitted.cost, fitted.sigma, 1.0, hessian)


def carried(fitted: Fitted, model: SpectrumModel) -> np.ndarray:
    """The parameters of a fit in another model, 0 for those that it does not have."""
    theta = np.zeros(len(model.names))
    for name, place in model.at.items():
        theta[place] = fitted.model.value(fitted.theta, name)
    return theta
