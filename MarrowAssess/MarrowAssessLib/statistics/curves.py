"""Reference curves of a cohort's normal people, and whether they describe them.

Fitted as in references.age_fit (the normal case of GAMLSS on a power scale). Worm plot: van Buuren
and Fredriks 2001, doi 10.1002/sim.746.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from MarrowAssessLib.references.age_fit import (
    MIN_CONTROLS,
    FittedCurve,
    fit_age_curve,
    to_power_scale,
)

PERCENTS = (3, 10, 50, 90, 97)
OUTER_FROM = 100  # people from which on the outermost percentiles are told
FEWEST_OF_SCANNER = 5  # people who tell how it differs
UNLIKE = 0.01  # p of scanners that differ; each site and sex is asked


@dataclass(frozen=True)
class ReferenceCurve:
    """A curve and the people behind it.

    Attributes:
        fitted: the curve.
        ages_years, values: shape (n,), of the people.
        z: shape (n,), their z-scores by the curve.
    """

    fitted: FittedCurve
    ages_years: np.ndarray
    values: np.ndarray
    z: np.ndarray

    @property
    def percents(self) -> tuple[int, ...]:
        """The percentiles that so many people tell."""
        return PERCENTS if self.fitted.n >= OUTER_FROM else PERCENTS[1:-1]

    def share_below(self, percent: float) -> float:
        """How many of the people lie below a percentile, in %."""
        from scipy.stats import norm

        return 100 * float(np.mean(self.z < norm.ppf(percent / 100)))

    def lines(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Percent, ages and values of each percentile."""
        from scipy.stats import norm

        ages = np.linspace(self.fitted.age_min, self.fitted.age_max, 60)
        for percent in self.percents:
            z = float(norm.ppf(percent / 100))
            yield percent, ages, np.array([self.fitted.value_at(age, z) for age in ages])

    def shifts(self, scanners: Sequence[str | None]) -> dict[str, tuple[float, float, float]]:
        """How far the people of each scanner lie from the curve of all, in SD, with 95 % interval.

        Returns:
            Empty where fewer than two scanners have five people, or they differ no more than by
            chance (analysis of variance of the z-scores, p of 0.01).
        """
        from scipy.stats import f_oneway, t

        named = np.array([one or "" for one in scanners], object)
        of_each = {one: self.z[named == one] for one in sorted(set(named) - {""})}
        of_each = {one: z for one, z in of_each.items() if len(z) >= FEWEST_OF_SCANNER}
        if len(of_each) < 2 or not f_oneway(*of_each.values()).pvalue < UNLIKE:
            return {}
        found = {}
        for one, z in of_each.items():
            half = float(t.ppf(0.975, len(z) - 1)) * z.std(ddof=1) / math.sqrt(len(z))
            found[one] = (float(z.mean()), float(z.mean() - half), float(z.mean() + half))
        return found

    def worm(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Expected z, observed minus expected, and its 95 % limit; 19 of 20 points lie within."""
        from scipy.stats import norm

        n = self.fitted.n
        at = (np.arange(n) + 0.5) / n
        expected = norm.ppf(at)
        limit = 1.96 * np.sqrt(at * (1 - at) / n) / norm.pdf(expected)
        return expected, np.sort(self.z) - expected, limit


def reference_curve(ages_years: np.ndarray, values: np.ndarray) -> ReferenceCurve | None:
    """The curve of one value a person; None for fewer than 20, or values without scatter."""
    ages, values = np.asarray(ages_years, float), np.asarray(values, float)
    if len(values) < MIN_CONTROLS:
        return None
    try:
        fitted = fit_age_curve(ages, values)
    except ValueError:  # they follow age exactly, or do not differ
        return None
    z = []
    for age, value in zip(ages, values, strict=True):
        mean, sd = fitted.at(age)
        z.append((to_power_scale(value, fitted.power) - mean) / sd)
    if not all(map(math.isfinite, z)):
        return None
    return ReferenceCurve(fitted, ages, values, np.array(z))
