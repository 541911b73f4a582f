"""Percentile curves over age, fitted to the values of a control cohort.

The model is the normal case of GAMLSS (Rigby and Stasinopoulos 2005,
doi 10.1111/j.1467-9876.2005.00510.x): on a power scale of the value, the mean is a natural cubic
spline of age and the logarithm of the SD is linear in age. The number of spline columns, the slope
of the SD and the power (identity, square root or logarithm) are chosen by the corrected Akaike
criterion (AICc): the simplest model within 2 of the best (Burnham and Anderson 2004,
doi 10.1177/0049124104268644). Nothing is extrapolated beyond the ages of the cohort.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

MIN_CONTROLS = 20
MAX_COLUMNS = 6
POWERS = (1.0, 0.5, 0.0)
# Models whose AICc differs by less are equally well supported.
EQUAL_AICC = 2.0
# AICc by which a curve on another scale must beat the plain one.
POWER_GAIN = 4.0


@dataclass(frozen=True)
class FittedCurve:
    """A distribution that changes with age.

    Attributes:
        age_min: youngest control, years.
        age_max: oldest control, years.
        n: number of controls.
        power: exponent of the scale on which values are normal; 0 stands for the logarithm.
        knots: spline knots on the age scale 0 (age_min) ... 1 (age_max); empty for a line.
        mean_coefficients: one per column of the spline basis.
        log_sd_coefficients: intercept and, where the SD changes with age, slope.
    """

    age_min: float
    age_max: float
    n: int
    power: float
    knots: tuple[float, ...]
    mean_coefficients: tuple[float, ...]
    log_sd_coefficients: tuple[float, ...]

    def at(self, age_years: float) -> tuple[float, float]:
        """Mean and SD on the power scale at an age within the cohort's ages."""
        if not self.age_min <= age_years <= self.age_max:
            raise ValueError(
                f"Age {age_years:g} years is outside the control cohort's ages "
                f"({self.age_min:g}-{self.age_max:g}); there is no extrapolation."
            )
        x = np.atleast_1d(_scaled(age_years, self.age_min, self.age_max))
        mean = _mean_basis(x, len(self.mean_coefficients), self.knots) @ self.mean_coefficients
        log_sd = _sd_basis(x, len(self.log_sd_coefficients)) @ self.log_sd_coefficients
        return float(mean[0]), float(np.exp(log_sd[0]))

    def value_at(self, age_years: float, z: float) -> float:
        """The value that lies z SDs above the mean at an age."""
        mean, sd = self.at(age_years)
        return from_power_scale(mean + z * sd, self.power)


def to_power_scale(value: float, power: float) -> float:
    """A value on the scale where it is normal; what lies below the scale's end is at its end."""
    if power == 1 or math.isnan(value):
        return value
    if value <= 0:
        return -math.inf if power == 0 else 0.0
    return math.log(value) if power == 0 else value**power


def from_power_scale(scaled: float, power: float) -> float:
    """The inverse of `to_power_scale`."""
    if power == 1:
        return scaled
    return math.exp(scaled) if power == 0 else max(scaled, 0.0) ** (1 / power)


def fit_age_curve(ages_years: np.ndarray, values: np.ndarray) -> FittedCurve:
    """Fit a percentile curve to one value per control.

    Args:
        ages_years: shape (n,), at least MIN_CONTROLS.
        values: shape (n,), finite, not all equal.

    Raises:
        ValueError: too few controls, no spread at an age, or shapes that differ.
    """
    ages = np.asarray(ages_years, float)
    values = np.asarray(values, float)
    if ages.shape != values.shape or ages.ndim != 1:
        raise ValueError(
            f"One age per value is expected; got {ages.shape} ages and {values.shape} values."
        )
    if len(ages) < MIN_CONTROLS:
        raise ValueError(
            f"{len(ages)} controls are too few for a reference; at least {MIN_CONTROLS} are needed."
        )
    if not (np.isfinite(ages).all() and np.isfinite(values).all()):
        raise ValueError("Ages and values of controls must be finite numbers.")
    if np.ptp(values) == 0:
        raise ValueError("All controls have the same value; a distribution needs some spread.")
    candidates = [
        _fit(ages, values, columns, sd_columns, power)
        for power in (POWERS if values.min() > 0 else POWERS[:1])
        for columns, sd_columns in itertools.product(_column_choices(ages), (1, 2))
        if sd_columns == 1 or np.ptp(ages) > 0
    ]
    best = min(aicc for aicc, _ in candidates)
    supported = [curve for aicc, curve in candidates if aicc <= best + EQUAL_AICC]
    chosen = min(
        supported,
        key=lambda c: (c.power != 1, len(c.mean_coefficients) + len(c.log_sd_coefficients)),
    )
    if np.exp(chosen.log_sd_coefficients[0]) < 1e-9 * np.ptp(values):
        raise ValueError("The values follow age exactly; measured values of controls do not.")
    return chosen


def _column_choices(ages: np.ndarray) -> range:
    # About 15 controls and two distinct ages for each column keep the curve from chasing noise.
    most = min(MAX_COLUMNS, len(ages) // 15 + 1, (len(np.unique(ages)) + 1) // 2)
    return range(1, max(most, 1) + 1)


def _fit(
    ages: np.ndarray, values: np.ndarray, columns: int, sd_columns: int, power: float
) -> tuple[float, FittedCurve]:
    """AICc (with a toll for leaving the plain scale) and the curve of one model."""
    x = _scaled(ages, ages.min(), ages.max())
    knots = tuple(np.quantile(x, np.linspace(0, 1, columns))) if columns > 2 else ()
    basis, sd_basis = _mean_basis(x, columns, knots), _sd_basis(x, sd_columns)
    y = np.log(values) if power == 0 else values**power
    log_sd_coefficients = np.zeros(sd_columns)
    log_sd_coefficients[0] = np.log(np.std(y))
    # Fisher scoring, mean and SD in turn; the half step keeps the first rounds steady.
    for _ in range(200):
        sd = np.exp(sd_basis @ log_sd_coefficients)
        coefficients = np.linalg.lstsq(basis / sd[:, None], y / sd, rcond=None)[0]
        squared = ((y - basis @ coefficients) / sd) ** 2
        step = np.linalg.lstsq(sd_basis, (squared - 1) / 2, rcond=None)[0]
        log_sd_coefficients = log_sd_coefficients + np.clip(step, -0.5, 0.5)
        if np.abs(step).max() < 1e-9:
            break
    n, parameters = len(y), columns + sd_columns
    log_sd = sd_basis @ log_sd_coefficients
    squared = ((y - basis @ coefficients) / np.exp(log_sd)) ** 2
    log_likelihood = -np.sum(log_sd + squared / 2) - n * np.log(2 * np.pi) / 2
    if power != 1:
        jacobian = (power - 1) * np.log(values).sum() + (n * np.log(power) if power else 0)
        log_likelihood += jacobian
    aicc = 2 * (parameters - log_likelihood)
    aicc += 2 * parameters * (parameters + 1) / (n - parameters - 1)
    # Maximum likelihood understates the SD by the columns spent on the mean.
    log_sd_coefficients[0] += np.log(n / (n - columns)) / 2
    curve = FittedCurve(
        age_min=float(ages.min()),
        age_max=float(ages.max()),
        n=n,
        power=power,
        knots=tuple(map(float, knots)),
        mean_coefficients=tuple(map(float, coefficients)),
        log_sd_coefficients=tuple(map(float, log_sd_coefficients)),
    )
    return aicc + (POWER_GAIN if power != 1 else 0), curve


def _scaled(ages: np.ndarray | float, age_min: float, age_max: float) -> np.ndarray | float:
    return (ages - age_min) / ((age_max - age_min) or 1.0)


def _mean_basis(x: np.ndarray, columns: int, knots: tuple[float, ...]) -> np.ndarray:
    """Constant, line, then the natural cubic spline terms of Hastie et al., ESL eq. 5.4."""
    terms = [np.ones_like(x), x][:columns]
    if columns > 2:
        last = knots[-1]

        def cubic(knot: float) -> np.ndarray:
            return (np.maximum(x - knot, 0) ** 3 - np.maximum(x - last, 0) ** 3) / (last - knot)

        terms += [cubic(knot) - cubic(knots[-2]) for knot in knots[:-2]]
    return np.column_stack(terms)


def _sd_basis(x: np.ndarray, columns: int) -> np.ndarray:
    return np.column_stack([np.ones_like(x), x][:columns])
