"""Limits of what is expected, from the mean and SD of a group of a given size.

A group's mean and SD are themselves uncertain. The next normal person lies outside mean -+ 1.96 SD
not in 5 % but in 10 % of cases after a group of 9, in 6.4 % after one of 30. The prediction
interval mean -+ t(n - 1) SD sqrt(1 + 1/n) keeps 5 % (Hahn and Meeker, Statistical Intervals,
1991; CLSI EP28-A3c gives its limits their own interval).
"""

from __future__ import annotations

import math


def prediction_z(t: float, dof: float | None) -> float:
    """The normal score with the probability that t has; `dof` None stands for infinitely many."""
    from scipy.special import ndtri, stdtr  # here and below: opening a panel does not wait for it

    if dof is None or math.isnan(t) or math.isinf(t):
        return t
    return float(math.copysign(-ndtri(stdtr(dof, -abs(t))), t))


def prediction_t(share: float, dof: float | None) -> float:
    """The value that a share (0-1) of new people lies below, in SDs of a new person."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(share) if dof is None else stdtrit(dof, share))


def normal_share(z: float) -> float:
    """The share (0-1) of a normal distribution below z."""
    from scipy.special import ndtr

    return float(ndtr(z))


def percentile_text(percentile: float) -> str:
    """A percentile as people read it; the ends are never reached."""
    return "< 1" if percentile < 1 else "> 99" if percentile > 99 else f"{percentile:.0f}"


def limit_interval(share: float, dof: float, mean_variance: float) -> tuple[float, float]:
    """Where the true limit of a population lies (95 %), in estimated SDs from the estimated mean.

    Args:
        share: of the population below the limit, such as 0.025.
        dof: degrees of freedom of the SD.
        mean_variance: variance of the estimated mean over that of a person, 1/n of a plain group.
    """
    from scipy.special import nctdtrit, ndtri

    error = math.sqrt(mean_variance)
    away = float(ndtri(share)) / error
    # Noncentral t is computed for a limit above the mean; one below is its mirror image.
    low, high = (error * float(nctdtrit(dof, abs(away), tail))
                 for tail in (0.025, 0.975))  # fmt: skip
    return (low, high) if away > 0 else (-high, -low)
