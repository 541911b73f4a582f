"""Whether images of two echo times share a gain, by what tissue keeps of its signal.

From an ultrashort echo on nothing gains signal: fat and water begin in phase. Muscle keeps about
90 % until 2.2 ms.
"""

from __future__ import annotations

import numpy as np

_MOST_KEPT, _ABOUT_ALL = 1.1, 1.03  # of half of the tissue; above it is refused, or said
_LEAST_KEPT, _BEST = 0.7, 0.9  # of what keeps most: its quantile
_STRONG, _LEAST_VOXELS = 10.0, 100  # times the noise
_ENOUGH = 50_000  # voxels, evenly over the images, for quantiles


def gain_notes(
    early: np.ndarray, late: np.ndarray, te_ms: tuple[float, float], sigma: float
) -> list[str]:
    """What speaks against one gain of both magnitudes; the brighter half of tissue tells it.

    Raises:
        ValueError: half of it gains signal.
    """
    apart = max(early.size // _ENOUGH, 1)
    early, late = (one.reshape(-1)[::apart] for one in (early, late))
    tissue = np.isfinite(early) & np.isfinite(late) & (early > _STRONG * sigma)
    if np.count_nonzero(tissue) < _LEAST_VOXELS:
        return []
    tissue &= early >= np.median(early[tissue])
    usual, best = np.quantile(late[tissue] / early[tissue], (0.5, _BEST))
    between = f"from TE {te_ms[0]:.3g} to {te_ms[1]:.3g} ms"
    gains = (
        f"No tissue gains signal {between}, but half of it has {usual:.2f} times as much or more"
    )
    if usual > _MOST_KEPT:
        raise ValueError(
            f"{gains}: the images have different gains or scales, or other echo times. Give them "
            "as the scanner scaled them (rescale slope and intercept applied), of one gain."
        )
    if usual > _ABOUT_ALL:
        return [f"{gains}: gains or scales differ, and ratios of both are too high by that."]
    if best < _LEAST_KEPT:
        return [
            f"Even the tissue that keeps most of its signal {between} keeps {100 * best:.0f} %, "
            "muscle about 90: unless the images show bone alone, gains or scales differ, and "
            "ratios of both are too low by that."
        ]
    return []
