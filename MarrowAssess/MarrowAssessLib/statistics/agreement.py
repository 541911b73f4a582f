"""How well readers, scanners or visits agree: intraclass correlation and variance components.

Shrout and Fleiss 1979, doi 10.1037/0033-2909.86.2.420; intervals: McGraw and Wong 1996,
doi 10.1037/1082-989X.1.1.30.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Icc:
    """An intraclass correlation with its 95 % interval.

    Attributes:
        form: "ICC(1,1)" (each patient by other raters), "ICC(2,1)" (absolute agreement) or
            "ICC(3,1)" (consistency).
        n, raters: patients and raters.
    """

    form: str
    n: int
    raters: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Components:
    """Variance components of patients, raters and what remains, by analysis of variance.

    Attributes:
        patient, rater, residual: SDs; 0 where the estimate of the variance is negative.
    """

    patient: float
    rater: float
    residual: float


@dataclass(frozen=True)
class _Squares:
    n: int
    k: int
    rows: float
    columns: float
    error: float
    within: float


def iccs(values: np.ndarray) -> list[Icc]:
    """ICC(1,1), ICC(2,1) and ICC(3,1) of values of shape (patients, raters).

    Patients with a missing value (NaN) are left out; none of fewer than 3 patients or 2 raters,
    or without any scatter.
    """
    from scipy.stats import f

    ms = _squares(values)
    if ms is None:
        return []
    n, k, e = ms.n, ms.k, ms.error
    found = []
    one = (ms.rows - ms.within) / (ms.rows + (k - 1) * ms.within)
    ratio = ms.rows / ms.within
    low = ratio / float(f.ppf(0.975, n - 1, n * (k - 1)))
    high = ratio * float(f.ppf(0.975, n * (k - 1), n - 1))
    found.append(Icc("ICC(1,1)", n, k, one, (low - 1) / (low + k - 1), (high - 1) / (high + k - 1)))

    rest = k * e + k * (ms.columns - e) / n
    two, odds = (ms.rows - e) / (ms.rows - e + rest), (ms.rows - e) / rest
    a, b = k * odds / n, 1 + k * odds * (n - 1) / n
    df = (a * ms.columns + b * e) ** 2 / (
        (a * ms.columns) ** 2 / (k - 1) + (b * e) ** 2 / ((n - 1) * (k - 1))
    )
    upper, lower = float(f.ppf(0.975, n - 1, df)), float(f.ppf(0.975, df, n - 1))
    others = k * ms.columns + (k * n - k - n) * e
    low = n * (ms.rows - upper * e) / (upper * others + n * ms.rows)
    high = n * (lower * ms.rows - e) / (others + n * lower * ms.rows)
    found.append(Icc("ICC(2,1)", n, k, two, low, high))

    if e > 0:
        three = (ms.rows - e) / (ms.rows + (k - 1) * e)
        low = ms.rows / e / float(f.ppf(0.975, n - 1, (n - 1) * (k - 1)))
        high = ms.rows / e * float(f.ppf(0.975, (n - 1) * (k - 1), n - 1))
        ends = ((low - 1) / (low + k - 1), (high - 1) / (high + k - 1))
        found.append(Icc("ICC(3,1)", n, k, three, *ends))
    return found


def components(values: np.ndarray) -> Components | None:
    """Of values of shape (patients, raters); None as for `iccs`."""
    ms = _squares(values)
    if ms is None:
        return None
    patient, rater = (ms.rows - ms.error) / ms.k, (ms.columns - ms.error) / ms.n
    return Components(*(math.sqrt(max(one, 0)) for one in (patient, rater, ms.error)))


def _squares(values: np.ndarray) -> _Squares | None:
    """Mean squares of a two-way table."""
    x = np.asarray(values, float)
    x = x[np.isfinite(x).all(axis=1)]
    n, k = x.shape
    if n < 3 or k < 2:
        return None
    mean, rows, columns = x.mean(), x.mean(axis=1), x.mean(axis=0)
    of_rows = k * ((rows - mean) ** 2).sum() / (n - 1)
    of_columns = n * ((columns - mean) ** 2).sum() / (k - 1)
    error = ((x - rows[:, None] - columns + mean) ** 2).sum() / ((n - 1) * (k - 1))
    within = ((x - rows[:, None]) ** 2).sum() / (n * (k - 1))
    if (x == x[:, :1]).all():  # rounded means would leave a scatter
        return None
    return _Squares(n, k, *(float(one) for one in (of_rows, of_columns, error, within)))
