"""Two groups of patients compared: how large a difference is first, p second.

Robust errors (HC3): MacKinnon and White 1985, doi 10.1016/0304-4076(85)90158-7. Shift: Hodges and
Lehmann 1963. AUC: DeLong 1988, doi 10.2307/2531595. Several comparisons: Holm 1979, Benjamini and
Hochberg 1995.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 3  # patients of a group


@dataclass(frozen=True)
class GroupDifference:
    """Group B minus group A; one value a patient.

    Attributes:
        n_a, n_b, mean_a, mean_b: patients and means.
        difference, low, high: adjusted for `adjusted_for`, with 95 % interval.
        effect: `difference` over the pooled SD, with Hedges' correction.
        shift, shift_low, shift_high: median of all differences between the two groups.
        auc, auc_low, auc_high: chance that one of B has the higher value.
        p: of no adjusted difference.
        adjusted_for: covariates, as far as they are known and vary.
    """

    n_a: int
    n_b: int
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    effect: float
    shift: float
    shift_low: float
    shift_high: float
    auc: float
    auc_low: float
    auc_high: float
    p: float
    adjusted_for: tuple[str, ...]


def compared(
    a: np.ndarray,
    b: np.ndarray,
    covariates: Sequence[tuple[str, np.ndarray, np.ndarray]] = (),
) -> GroupDifference | None:
    """Group B against group A.

    Args:
        a, b: one value of each patient.
        covariates: name, and values of A and of B; one with a missing value (NaN) or without
            scatter is left out.

    Returns:
        None for fewer than 3 patients in a group, or values without scatter.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if min(len(a), len(b)) < FEWEST or not (np.ptp(a) > 0 and np.ptp(b) > 0):
        return None
    named = [(name, np.concatenate(both).astype(float)) for name, *both in covariates]
    used = [(n, x) for n, x in named if np.isfinite(x).all() and np.ptp(x) > 0]
    y, member = np.concatenate([a, b]), np.r_[np.zeros(len(a)), np.ones(len(b))]
    design = np.column_stack([np.ones(len(y)), member, *(x - x.mean() for _, x in used)])
    if len(y) - design.shape[1] < 2 or np.linalg.matrix_rank(design) < design.shape[1]:
        used, design = [], design[:, :2]
    difference, se, df = _robust(design, y)
    from scipy.stats import t

    half = float(t.ppf(0.975, df)) * se
    pooled = math.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(y) - 2))
    small = 1 - 3 / (4 * (len(y) - 2) - 1)
    return GroupDifference(
        len(a), len(b), float(a.mean()), float(b.mean()),
        difference, difference - half, difference + half, small * difference / pooled,
        *hodges_lehmann(a, b), *auc(a, b), 2 * float(t.sf(abs(difference) / se, df)),
        tuple(name for name, _ in used),
    )  # fmt: skip


def _robust(design: np.ndarray, y: np.ndarray) -> tuple[float, float, int]:
    """Coefficient of the second column, its HC3 standard error, degrees of freedom."""
    inverse = np.linalg.inv(design.T @ design)
    coefficients = inverse @ design.T @ y
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    residual = (y - design @ coefficients) / np.maximum(1 - leverage, 1e-9)
    meat = (design * residual[:, None]).T @ (design * residual[:, None])
    variance = inverse @ meat @ inverse
    return float(coefficients[1]), math.sqrt(variance[1, 1]), len(y) - design.shape[1]


def hodges_lehmann(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Median of all differences B - A, with the 95 % interval by the rank-sum statistic."""
    every = np.sort((b[:, None] - a[None, :]).ravel())
    n, m = len(a), len(b)
    half = 1.96 * math.sqrt(n * m * (n + m + 1) / 12)
    first = max(int(math.floor(n * m / 2 - half)), 0)
    return float(np.median(every)), float(every[first]), float(every[n * m - 1 - first])


def auc(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Area under the ROC curve of B against A, with DeLong's interval on the logit scale."""
    from scipy.stats import rankdata

    n, m = len(a), len(b)
    ranks = rankdata(np.concatenate([a, b]))
    above = (ranks[n:] - rankdata(b)) / n  # of each of B, the share of A below it
    below = 1 - (ranks[:n] - rankdata(a)) / m
    area = float(above.mean())
    se = math.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    if se == 0 or not 0 < area < 1:
        return area, math.nan, math.nan
    logit, half = math.log(area / (1 - area)), 1.96 * se / (area * (1 - area))
    low, high = (1 / (1 + math.exp(-one)) for one in (logit - half, logit + half))
    return area, low, high


def holm(p: Sequence[float]) -> np.ndarray:
    """Adjusted p: the chance of one false finding among all."""
    p = np.asarray(p, float)
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def benjamini_hochberg(p: Sequence[float]) -> np.ndarray:
    """Adjusted p: the share of false ones among the findings."""
    p = np.asarray(p, float)
    order = np.argsort(p)[::-1]
    steps = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted
