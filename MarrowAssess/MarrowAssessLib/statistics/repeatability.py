"""How far repeated examinations of unchanged marrow differ.

Within-subject SD and repeatability coefficient with chi-square interval: Raunig 2015,
doi 10.1177/0962280214537344. Bias and limits of agreement: Bland and Altman 1986,
doi 10.1016/S0140-6736(86)90837-8, with exact intervals: Carkeet 2015,
doi 10.1097/OPX.0000000000000513.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

REACH = 1.96 * math.sqrt(2)  # of a difference of two, in wSD
_LEAST_FREEDOM = 0.1  # with less, the upper end of an interval is beyond any number


@dataclass(frozen=True)
class Repeatability:
    """Scatter of single examinations.

    Attributes:
        n, df: patients with repeats, and degrees of freedom (repeats beyond the first of each).
        wsd, rc: within-subject SD and repeatability coefficient, in the unit of the values.
        rc_low, rc_high: 95 % interval of `rc`.
        wcv_percent: within-subject coefficient of variation; NaN where a mean is not above 0.
    """

    n: int
    df: int
    wsd: float
    rc: float
    rc_low: float
    rc_high: float
    wcv_percent: float


@dataclass(frozen=True)
class Agreement:
    """Second against first examinations.

    Attributes:
        n: pairs.
        bias, sd: mean and SD of second minus first.
        bias_low, bias_high: 95 % interval of `bias`.
        lower, upper: limits of agreement, bias -+ 1.96 SD.
        lower_low, lower_high, upper_low, upper_high: their exact 95 % intervals.
        p_proportional: that differences do not depend on the size of the values.
    """

    n: int
    bias: float
    sd: float
    bias_low: float
    bias_high: float
    lower: float
    upper: float
    lower_low: float
    lower_high: float
    upper_low: float
    upper_high: float
    p_proportional: float


def repeatability(repeats: Sequence[np.ndarray]) -> Repeatability | None:
    """Of the repeated values of each patient; None where nobody has two, or all repeats agree."""
    from scipy.stats import chi2

    own = [values for values in repeats if len(values) > 1]
    if not own:
        return None
    means, scatter, counts = _of_each(own)
    df, squares = int(counts.sum()) - len(own), float(scatter.sum())
    if squares == 0:
        return None
    wsd = math.sqrt(squares / df)
    low, high = (math.sqrt(df / float(chi2.ppf(q, df))) for q in (0.975, 0.025))
    wcv = math.nan
    if means.min() > 0:
        wcv = 100 * math.sqrt(float((scatter / means**2).sum()) / df)
    rc = REACH * wsd
    return Repeatability(len(own), df, wsd, rc, rc * low, rc * high, wcv)


def pooled_repeatability(by_patient: Sequence[Sequence[np.ndarray]]) -> Repeatability | None:
    """Of several regions of each patient together; the interval counts patients, not regions.

    Patients differ in how repeatable they are, which regions of one share. How far the variance
    scatters is what leaving out each patient in turn changes of its logarithm (jackknife, by
    Student's t), but no less than if all regions were patients of their own; the interval is that
    of the chi-square which scatters as much.

    Args:
        by_patient: for each patient the repeated values of each region.

    Returns:
        None where fewer than three patients have repeats, or one of them has nearly all scatter.
    """
    from scipy.stats import chi2, t

    groups = [[r for r in regions if len(r) > 1] for regions in by_patient]
    groups = [regions for regions in groups if regions]
    if len(groups) < 3:
        return None
    each = [values for regions in groups for values in regions]
    whole = repeatability(each)
    if whole is None:
        return None
    _, scatter, counts = _of_each(each)
    starts = np.cumsum([0, *(len(regions) for regions in groups[:-1])])
    squares, df = np.add.reduceat(scatter, starts), np.add.reduceat(counts - 1, starts)
    n, without = len(groups), (squares.sum() - squares) / (df.sum() - df)  # each patient
    if without.min() <= 0:
        return None
    sd = math.sqrt((n - 1) ** 2 / n * float(np.log(without).var(ddof=1)))
    of_chi2 = min(2 / (sd * float(t.ppf(0.975, n - 1)) / 1.96) ** 2, whole.df) if sd else whole.df
    if of_chi2 < _LEAST_FREEDOM:
        return None
    low, high = (math.sqrt(of_chi2 / float(chi2.ppf(q, of_chi2))) for q in (0.975, 0.025))
    return replace(whole, n=n, rc_low=whole.rc * low, rc_high=whole.rc * high)


def _of_each(repeats: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, sum of squares about it, and number of the values of each, all at once."""
    counts = np.array([len(values) for values in repeats])
    every = np.concatenate(repeats).astype(float)
    starts = np.cumsum(counts) - counts
    means = np.add.reduceat(every, starts) / counts
    return means, np.add.reduceat((every - np.repeat(means, counts)) ** 2, starts), counts


def agreement(pairs: np.ndarray) -> Agreement | None:
    """Of pairs of values, shape (n, 2); None for fewer than 3, or where all differ by the same."""
    from scipy.stats import pearsonr, t

    pairs = np.asarray(pairs, float)
    n = len(pairs)
    if n < 3:
        return None
    difference = pairs[:, 1] - pairs[:, 0]
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    if sd <= 1e-12 * float(np.abs(pairs).max()):
        return None
    half = float(t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
    low, high = _reach_of_limits(n)
    mean = pairs.mean(axis=1)
    p = float(pearsonr(difference, mean).pvalue) if np.ptp(mean) > 0 else math.nan
    return Agreement(
        n, bias, sd, bias - half, bias + half, bias - 1.96 * sd, bias + 1.96 * sd,
        bias - high * sd, bias - low * sd, bias + low * sd, bias + high * sd, p,
    )  # fmt: skip


@lru_cache(maxsize=256)
def _reach_of_limits(n: int) -> tuple[float, float]:
    """Between how many SDs from the bias a limit of agreement of n pairs lies (noncentral t)."""
    from scipy.stats import nct

    root = math.sqrt(n)
    low, high = (float(nct.ppf(q, n - 1, 1.96 * root)) / root for q in (0.025, 0.975))
    return low, high
