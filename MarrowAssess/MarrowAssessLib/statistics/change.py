"""Change over time of a group of patients: a line for each, with a common slope.

Random intercepts by REML (Harville 1977, doi 10.1080/01621459.1977.10480998); the slope's error by
leaving out one patient after another, which holds where slopes differ between patients, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 5  # patients with two visits
YEAR = 365.25


@dataclass(frozen=True)
class Slope:
    """Change a year, in the unit of the values.

    Attributes:
        n, visits: patients with two visits or more, and their visits.
        per_year, low, high: with 95 % interval.
        p: of no change.
    """

    n: int
    visits: int
    per_year: float
    low: float
    high: float
    p: float


def slope(patients: Sequence[tuple[np.ndarray, np.ndarray]]) -> Slope | None:
    """Of the days and values of each patient; None for fewer than 5 with visits on two days."""
    from scipy.stats import t

    own = [(np.asarray(d, float) / YEAR, np.asarray(v, float)) for d, v in patients]
    own = [(d, v) for d, v in own if len(d) > 1 and np.ptp(d) > 0]
    n = len(own)
    if n < FEWEST:
        return None
    ratio = _ratio(own)
    parts = np.array([_normal(d, v, ratio) for d, v in own])  # each (2, 3): X'WX and X'Wy
    whole = parts.sum(axis=0)
    found = _solved(whole)
    without = np.array([_solved(whole - one) for one in parts])
    se = math.sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))
    half = float(t.ppf(0.975, n - 1)) * se
    visits = sum(len(d) for d, _ in own)
    p = 2 * float(t.sf(abs(found) / se, n - 1)) if se > 0 else math.nan
    return Slope(n, visits, found, found - half, found + half, p)


def _normal(days: np.ndarray, values: np.ndarray, ratio: float) -> np.ndarray:
    """A patient's share of the normal equations, given patient over residual variance."""
    x = np.column_stack([np.ones(len(days)), days])
    both = np.column_stack([x, values])
    taken = ratio / (1 + ratio * len(days))
    return x.T @ both - taken * np.outer(x.sum(axis=0), both.sum(axis=0))


def _solved(equations: np.ndarray) -> float:
    return float(np.linalg.solve(equations[:, :2], equations[:, 2])[1])


def _ratio(own: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Variance of patients over that of the residual, of the highest restricted likelihood."""
    from scipy.optimize import minimize_scalar

    total = sum(len(d) for d, _ in own)

    def deviance(log_ratio: float) -> float:
        ratio = math.exp(log_ratio)
        equations = sum(_normal(d, v, ratio) for d, v in own)
        squares = sum(
            float(v @ v) - ratio / (1 + ratio * len(d)) * float(v.sum()) ** 2 for d, v in own
        )
        coefficients = np.linalg.solve(equations[:, :2], equations[:, 2])
        residual = max(squares - float(coefficients @ equations[:, 2]), 1e-12 * squares)
        size = sum(math.log1p(ratio * len(d)) for d, _ in own)
        return (
            (total - 2) * math.log(residual) + size + float(np.linalg.slogdet(equations[:, :2])[1])
        )

    return math.exp(float(minimize_scalar(deviance, bounds=(-12, 12), method="bounded").x))
