"""Reference curves of a cohort with the people behind them, and their worm plots, as SVG."""

from __future__ import annotations

import numpy as np

from MarrowAssessLib.report.axes import RIGHT, WIDTH, Frame, axis, picture, ticks
from MarrowAssessLib.statistics.curves import ReferenceCurve

_LINE, _POINT, _LIMIT = "#2c5f8a", "#d55e00", "#9a9a9a"
_WORM_REACH = 3.2  # of z


def curve_svg(curve: ReferenceCurve, title: str) -> str:
    """Percentiles over age on the values of the people."""
    lines = list(curve.lines())
    ends = np.concatenate([curve.values, *(values for _, _, values in lines)])
    frame = Frame(
        axis(curve.fitted.age_min, curve.fitted.age_max), axis(float(ends.min()), float(ends.max()))
    )
    parts = [
        f'<circle cx="{frame.x(age):.1f}" cy="{frame.y(value):.1f}" r="2.4" fill="{_POINT}" '
        'fill-opacity="0.6"/>'
        for age, value in zip(curve.ages_years, curve.values, strict=True)
    ]
    for percent, ages, values in lines:
        width = 2.2 if percent == 50 else 1.2
        parts.append(_line(frame, ages, values, _LINE, f'stroke-width="{width}"'))
        parts.append(
            f'<text x="{WIDTH - RIGHT + 4}" y="{frame.y(values[-1]) + 4:.1f}" fill="{_LINE}">'
            f"P{percent}</text>"
        )
    return picture(title, [*ticks(frame), *parts])


def worm_svg(curve: ReferenceCurve, title: str) -> str:
    """How far z-scores of the people are from normal ones, with the limits of chance."""
    expected, deviation, limit = curve.worm()
    shown = np.abs(expected) <= _WORM_REACH
    expected, deviation, limit = expected[shown], deviation[shown], limit[shown]
    reach = float(max(np.abs(deviation).max(), limit.max()))
    frame = Frame(axis(-3, 3), axis(-reach, reach))
    parts = [
        _line(frame, expected, sign * limit, _LIMIT, 'stroke-dasharray="4 3"') for sign in (-1, 1)
    ]
    parts.append(_line(frame, np.array([-3.0, 3.0]), np.zeros(2), _LIMIT, ""))
    parts += [
        f'<circle cx="{frame.x(z):.1f}" cy="{frame.y(off):.1f}" r="2" fill="{_LINE}"/>'
        for z, off in zip(expected, deviation, strict=True)
        if abs(z) <= 3
    ]
    return picture(title, [*ticks(frame, "Expected z"), *parts])


def _line(frame: Frame, across: np.ndarray, up: np.ndarray, color: str, style: str) -> str:
    kept = np.isfinite(up)
    points = frame.points(across[kept], up[kept])
    return f'<polyline points="{points}" fill="none" stroke="{color}" {style}/>'
