"""Three or more visits: how fast a number moves, with its interval.

Weighted least squares with weights of the error model; Theil 1950 and Sen 1968
(doi 10.1080/01621459.1968.10480934) beside it, which no single visit pulls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from MarrowAssessLib.follow_up.change import NO_ERROR, NOT_COMPARABLE, PER_DAYS, Change, Trend
from MarrowAssessLib.follow_up.errors import MeasurementError

FEWEST_VISITS = 3
_ROUNDS = 3  # of weights from the fitted line, which settle at once


def trends(changes: Sequence[Change]) -> list[Trend]:
    """The trend of each quantity and site with three or more comparable visits."""
    series: dict[tuple, list[Change]] = {}
    for one in changes:
        told = one.verdict != NOT_COMPARABLE or one.reason == NO_ERROR
        if told and math.isfinite(one.first + one.second):
            series.setdefault(one.place, []).append(one)
    return [_trend(one) for one in series.values() if len(one) + 1 >= FEWEST_VISITS]


def _trend(series: list[Change]) -> Trend:
    first = series[0]
    days = np.array([first.first_day, *(first.first_day + one.days for one in series)])
    values = np.array([first.first, *(one.second - one.drift for one in series)])
    se = np.array([first.se[0], *(one.se[1] for one in series)])
    error = first.error
    slope = low = high = math.nan
    if error is not None:
        slope, half = weighted_slope(days, values, se, error)
        low, high = slope - half, slope + half
    pairs = combinations(range(len(days)), 2)
    median = float(np.median([(values[b] - values[a]) / (days[b] - days[a]) for a, b in pairs]))
    flagged = [one.first_day + one.days for one in series if one.changed]
    lowest = int(np.argmin(values))
    return Trend(
        *first.place, tuple(days.tolist()), tuple(values.tolist()), tuple(se.tolist()),
        *(PER_DAYS * one for one in (slope, low, high, median)),
        flagged[0] if flagged else None, (float(days[lowest]), float(values[lowest])), error,
    )  # fmt: skip


def weighted_slope(
    days: np.ndarray, values: np.ndarray, se: np.ndarray, error: MeasurementError
) -> tuple[float, float]:
    """Slope per day and half of its 95 % interval (Student's t of the error's pairs).

    A proportional error is that share of the fitted line, not of the value: weights from values
    that happen to be low would pull the line down.

    Args:
        days, values, se: of each visit, shape (visits,); `se` by the regions, 0 where unknown.
        error: of single examinations.
    """
    from scipy.special import stdtrit

    design = np.stack([np.ones_like(days), days - days.mean()], axis=1)
    size = np.full(len(values), values.mean()) if error.proportional else np.ones(len(values))
    for _ in range(_ROUNDS if error.proportional else 1):
        sd = np.maximum(error.sd * np.maximum(size, 1e-9), se)
        weights = design / sd[:, None] ** 2
        covariance = np.linalg.inv(weights.T @ design)
        line = covariance @ weights.T @ values
        size = np.maximum(design @ line, values.min() / 2) if error.proportional else size
    return float(line[1]), float(stdtrit(error.n, 0.975) * math.sqrt(covariance[1, 1]))
