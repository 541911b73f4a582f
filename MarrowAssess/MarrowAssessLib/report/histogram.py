"""How often each ADC occurs in lesions: counts for tables, and an SVG picture."""

from __future__ import annotations

import numpy as np

from MarrowAssessLib.report.axes import (
    BOTTOM,
    HEIGHT,
    RIGHT,
    TOP,
    WIDTH,
    Frame,
    axis,
    picture,
    ticks,
)

BIN, HIGHEST = 0.1, 3.0  # 10^-3 mm^2/s; the last bin holds all that is above
LOW_COLOR, MIDDLE_COLOR, HIGH_COLOR = "#56b4e9", "#d55e00", "#e69f00"
_STEPS = round(HIGHEST / BIN)


def adc_shares(values: np.ndarray) -> np.ndarray:
    """Percent of the values in each bin of 0.1 from 0 to 3.0; the ends hold what lies beyond.

    Args:
        values: ADC in 10^-3 mm^2/s, at least one.
    """
    at = np.clip(np.floor(values / BIN + 1e-6), 0, _STEPS - 1).astype(int)
    return 100 * np.bincount(at, minlength=_STEPS) / values.size


def adc_histogram_svg(values: np.ndarray, limits: tuple[float, float], title: str) -> str:
    """Bars in three colors: below, between and above the limits; the median as a line."""
    shares = adc_shares(values)
    frame = Frame(np.arange(0, HIGHEST + 0.1, 0.5), axis(0.0, float(shares.max())))
    parts = ticks(frame, "ADC (10^-3 mm^2/s)")
    low, high = limits
    for n, share in enumerate(shares):
        middle = (n + 0.5) * BIN
        color = LOW_COLOR if middle < low else MIDDLE_COLOR if middle <= high else HIGH_COLOR
        left, top = frame.x(n * BIN), frame.y(share)
        if share > 0:
            parts.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{frame.x(BIN) - frame.x(0) - 1:.1f}" '
                f'height="{HEIGHT - BOTTOM - top:.1f}" fill="{color}"/>'
            )
    for at, dashes in ((low, "4 3"), (high, "4 3"), (float(np.median(values)), "none")):
        x = frame.x(min(at, HIGHEST))
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#222" '
            f'stroke-dasharray="{dashes}"/>'
        )
    shown = f"median {np.median(values):.2f}, mean {np.mean(values):.2f}, {values.size} voxels"
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{TOP - 4}" text-anchor="end">{shown}</text>')
    return picture(title, parts)
