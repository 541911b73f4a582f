"""What coil shading that was not corrected may do to a ratio of signals.

Spines lie on their coil: what is behind a vertebra is nearer to it and too bright, so ratios to it
read too low far more often than too high.
"""

from __future__ import annotations

import math

from MarrowAssessLib.measures.measurement import Measurement

# How far the true ratio of a vertebra may lie below and above the measured one, in its logarithm:
# for each mm between the two centers, and at most. 2.5th and 97.5th percentile of what N4 changed
# at the levels of 18 real lumbar images (T1, T2, TIRM, gradient echo), with muscle 31 to 159 mm
# away (found beside each level) and 32 to 217 mm (found at L3-L4 alone): 95 % are held either way.
PER_MM = 0.0042, 0.0085
MOST = 0.25, 0.5
# Of images that the scanner corrected: 95th percentile of what N4 changes in images that N4 had
# corrected before, 29 levels of three T1 images, since no normalized ones were at hand.
NORMALIZED_PER_MM, NORMALIZED_MOST = 0.0024, 0.15


def hold_shading(one: Measurement, distance_mm: float, spine: bool, normalized: bool) -> None:
    """Add what shading may do over a distance to a ratio's interval, if it has one.

    It is an error that another visit shares.

    Args:
        one: a ratio, changed in place.
        distance_mm: between the centers of what is divided and what it is divided by.
        spine: whether that is a vertebra; elsewhere nothing is known of where the coil lies.
        normalized: whether the scanner corrected the image.
    """
    if one.ci95 is None:
        return
    low, high = one.ci95
    below, above = possible_error(distance_mm, spine, normalized)
    one.ci95 = (
        one.value / math.exp(math.hypot(math.log(one.value / low), below)),
        one.value * math.exp(math.hypot(math.log(high / one.value), above)),
    )
    wide, narrow = one.ci95[1] - one.ci95[0], high - low
    one.alike_sd = math.sqrt(wide**2 - narrow**2) / (2 * 1.96)


def possible_error(distance_mm: float, spine: bool, normalized: bool) -> tuple[float, float]:
    """How far the logarithm of the true ratio may lie below and above that of the measured one."""
    if normalized:
        error = min(NORMALIZED_PER_MM * distance_mm, NORMALIZED_MOST)
        return error, error
    below, above = (min(rate * distance_mm, most) for rate, most in zip(PER_MM, MOST, strict=True))
    return (below, above) if spine else (above, above)
