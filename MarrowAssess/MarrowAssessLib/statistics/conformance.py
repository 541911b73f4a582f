"""How well a PDFF measurement agrees with vials of known fat: bias, linearity, precision.

The steps are those by which the Quantitative Imaging Biomarkers Alliance (QIBA) tests conformance
with the claims of a profile: bias with t interval, a quadratic term and then a line with R^2 above
0.90, the slope's interval (Obuchowski 2016, PMC4831211, doi 10.1016/j.acra.2015.12.020), and
repeatability and reproducibility coefficients (Raunig 2015, doi 10.1177/0962280214537344).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from MarrowAssessLib.statistics.repeatability import REACH, Repeatability, repeatability

LEAST_VIALS = 3
LEAST_R_SQUARED = 0.90
SLOPE_RANGE = (0.95, 1.05)


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; NaN ends where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Accuracy:
    """Measured against true values of one condition, or of the mean of all.

    Attributes:
        bias: mean of measured minus true over the vials, in percentage points; its interval is of
            a mean of vials (t).
        limits: of agreement with the true values, bias -+ 1.96 SD, in percentage points.
        slope, intercept: of the line through measured against true; intercept in points.
        r_squared: of that line.
        p_quadratic: that the relation is a line, against a parabola; NaN of fewer than 4 vials.
    """

    bias: Estimate
    limits: tuple[float, float]
    slope: Estimate
    intercept: Estimate
    r_squared: float
    p_quadratic: float


@dataclass(frozen=True)
class Reproducibility:
    """Scatter of one measurement of a vial by any of the conditions.

    Attributes:
        conditions: scanners, sites or protocols.
        sd: of one measurement, in points: between conditions and within them.
        rdc: reproducibility coefficient in points, 1.96 sqrt(2) SD, with its interval.
    """

    conditions: int
    sd: float
    rdc: Estimate


@dataclass(frozen=True)
class Conformance:
    """All that is said of a phantom's scans.

    Attributes:
        truth: true PDFF of the vials in percent.
        measured: by condition, values of shape (scans, vials) in percent.
        by_condition: accuracy of each condition, of the mean of its scans.
        overall: accuracy of the mean of the conditions.
        repeatability: of the vials, from conditions with two scans or more; None without.
        scan_shift: second minus first scan, mean over vials and conditions with two scans or more.
        reproducibility: None of one condition.
    """

    truth: np.ndarray
    measured: dict[str, np.ndarray]
    by_condition: dict[str, Accuracy]
    overall: Accuracy
    repeatability: Repeatability | None
    scan_shift: Estimate | None
    reproducibility: Reproducibility | None


def conformance(truth: np.ndarray, measured: Mapping[str, np.ndarray]) -> Conformance:
    """Compare scans of a phantom with its true values.

    Args:
        truth: PDFF of each vial in percent.
        measured: by condition (scanner, site, protocol) values of shape (scans, vials) in percent.

    Raises:
        ValueError: fewer than 3 vials or different true values, or a value that is no number.
    """
    truth = np.asarray(truth, float)
    values = {name: np.atleast_2d(np.asarray(v, float)) for name, v in measured.items()}
    if len(np.unique(truth)) < LEAST_VIALS:
        raise ValueError(
            f"{len(np.unique(truth))} different true values are given; bias and linearity need "
            f"vials of at least {LEAST_VIALS}."
        )
    if not values or any(v.shape[1] != len(truth) or not np.isfinite(v).all()
                         for v in values.values()):  # fmt: skip
        raise ValueError("Each scan needs one measured PDFF for each vial with a true value.")
    means = np.array([v.mean(axis=0) for v in values.values()])
    repeats = [v[:, n] for v in values.values() if len(v) > 1 for n in range(len(truth))]
    shifts = [v[1] - v[0] for v in values.values() if len(v) > 1]
    within = repeatability(repeats)
    return Conformance(
        truth,
        values,
        {name: _accuracy(truth, v.mean(axis=0)) for name, v in values.items()},
        _accuracy(truth, means.mean(axis=0)),
        within,
        _mean(np.concatenate(shifts)) if shifts else None,
        reproducibility(means, [len(v) for v in values.values()], within),
    )


def _mean(values: np.ndarray) -> Estimate:
    from scipy.stats import t

    n, mean = len(values), float(values.mean())
    half = float(t.ppf(0.975, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half)


def _accuracy(truth: np.ndarray, measured: np.ndarray) -> Accuracy:
    from scipy.stats import t

    n = len(truth)
    difference = measured - truth
    bias, sd = _mean(difference), float(difference.std(ddof=1))
    residual, line, covariance = _polynomial(truth, measured, 1)
    total = float(((measured - measured.mean()) ** 2).sum())
    reach = float(t.ppf(0.975, n - 2)) * np.sqrt(np.diag(covariance))
    intercept, slope = (
        Estimate(float(b), float(b - r), float(b + r)) for b, r in zip(line, reach, strict=True)
    )
    p = math.nan
    if len(np.unique(truth)) > LEAST_VIALS:
        _, parabola, covariance = _polynomial(truth, measured, 2)
        if covariance[2, 2] > 0:
            p = 2 * float(t.sf(abs(parabola[2]) / math.sqrt(covariance[2, 2]), n - 3))
    r_squared = 1 - residual / total if total > 0 else math.nan
    limits = (bias.value - 1.96 * sd, bias.value + 1.96 * sd)
    return Accuracy(bias, limits, slope, intercept, r_squared, p)


def _polynomial(x: np.ndarray, y: np.ndarray, degree: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Sum of squares left, coefficients from the lowest power on, and their covariance."""
    powers = np.vander(x / 100, degree + 1, increasing=True)
    found = np.linalg.lstsq(powers, y, rcond=None)[0]
    left = float(((y - powers @ found) ** 2).sum())
    scale = 100.0 ** -np.arange(degree + 1)
    covariance = np.linalg.inv(powers.T @ powers) * left / (len(x) - degree - 1)
    return left, found * scale, covariance * np.outer(scale, scale)


def reproducibility(
    means: np.ndarray, scans: Sequence[int], within: Repeatability | None
) -> Reproducibility | None:
    """How far measurements by different conditions differ; None of one, or where all agree.

    What all vials of a condition share counts once, not once a vial. The variance of one
    measurement is a sum of three independent mean squares (conditions, conditions by vials, scans)
    and its interval that of Graybill and Wang 1980, doi 10.1080/01621459.1980.10477565.

    Args:
        means: of the scans of each condition, shape (conditions, vials).
        scans: how many each condition has.
        within: scatter of repeated scans, if any were repeated.
    """
    conditions, vials = means.shape
    if conditions < 2:
        return None
    shared = means.mean(axis=1, keepdims=True)
    own = means - shared - means.mean(axis=0) + means.mean()
    df_own = (conditions - 1) * (vials - 1)
    parts = [(float(shared.var(ddof=1)), conditions - 1)]
    parts += [((vials - 1) / vials * float((own**2).sum()) / df_own, df_own)]
    if within:
        parts += [(float(1 - np.mean([1 / n for n in scans])) * within.wsd**2, within.df)]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return None
    below = math.sqrt(sum((part * _reach(df)[0]) ** 2 for part, df in parts))
    above = math.sqrt(sum((part * _reach(df)[1]) ** 2 for part, df in parts))
    ends = (max(variance - below, 0.0), variance, variance + above)
    low, rdc, high = (REACH * math.sqrt(end) for end in ends)
    return Reproducibility(conditions, math.sqrt(variance), Estimate(rdc, low, high))


@lru_cache(maxsize=256)
def _reach(df: int) -> tuple[float, float]:
    """How far below and above a mean square its 95 % interval ends, in parts of it."""
    from scipy.stats import chi2

    return 1 - df / float(chi2.ppf(0.975, df)), df / float(chi2.ppf(0.025, df)) - 1
