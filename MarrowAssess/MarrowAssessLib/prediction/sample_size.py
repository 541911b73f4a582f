"""How many patients a score needs before it may be believed."""

from __future__ import annotations

import math

FEWEST_PER_CLASS = 10


def patients_needed(candidates: int, prevalence: float, expected_auc: float) -> int:
    """The fewest patients for a logistic score with this many candidate predictors.

    The largest of three criteria: shrinkage of at least 0.9, optimism of R^2 (Nagelkerke) of at
    most 0.05, and the overall risk within 0.05. All candidates count, also those a selection drops.

    Source: Riley et al. 2019, Stat Med 38:1276, doi 10.1002/sim.7992; the Cox-Snell R^2 from the
    expected AUC by the binormal approximation (Riley et al. 2021, doi 10.1002/sim.8806).

    Args:
        candidates: predictors before any selection.
        prevalence: share of patients with the outcome, between 0 and 1.
        expected_auc: between 0.5 and 1.

    Raises:
        ValueError: a value outside its range.
    """
    if not 0 < prevalence < 1 or not 0.5 < expected_auc < 1 or candidates < 1:
        raise ValueError(
            f"Expected one candidate or more, a prevalence between 0 and 1 and an AUC between 0.5 "
            f"and 1; given were {candidates}, {prevalence:g} and {expected_auc:g}."
        )
    r2 = cox_snell_r2(prevalence, expected_auc)
    log_null = prevalence * math.log(prevalence) + (1 - prevalence) * math.log(1 - prevalence)
    r2_max = 1 - math.exp(2 * log_null)
    for_shrinkage = _by_shrinkage(candidates, r2, 0.9)
    for_optimism = _by_shrinkage(candidates, r2, r2 / (r2 + 0.05 * r2_max))
    for_risk = (1.96 / 0.05) ** 2 * prevalence * (1 - prevalence)
    return math.ceil(max(for_shrinkage, for_optimism, for_risk))


def cox_snell_r2(prevalence: float, auc: float) -> float:
    """Cox-Snell R^2 of a logistic score with normal linear predictors in both classes.

    The distance of the two normals follows from the AUC; the log-likelihood is integrated over
    them on a fine grid.
    """
    import numpy as np
    from scipy.integrate import trapezoid
    from scipy.special import expit
    from scipy.stats import norm

    apart = math.sqrt(2) * norm.ppf(auc)
    x = np.linspace(-10, 10 + apart, 20_001)
    without, within = norm.pdf(x), norm.pdf(x, apart)
    logit = math.log(prevalence / (1 - prevalence)) + apart * x - apart**2 / 2
    risk = expit(logit)
    gain = prevalence * trapezoid(within * np.log(np.maximum(risk, 1e-300)), x)
    gain += (1 - prevalence) * trapezoid(without * np.log(np.maximum(1 - risk, 1e-300)), x)
    log_null = prevalence * math.log(prevalence) + (1 - prevalence) * math.log(1 - prevalence)
    return 1 - math.exp(-2 * (gain - log_null))


def _by_shrinkage(candidates: int, r2: float, shrinkage: float) -> float:
    return candidates / ((shrinkage - 1) * math.log(1 - r2 / shrinkage))
