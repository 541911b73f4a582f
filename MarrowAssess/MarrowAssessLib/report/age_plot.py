"""An age curve with percentile bands and the patient's points, as an SVG picture."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

import numpy as np

from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.findings.assessment import Result
from MarrowAssessLib.references.expected import PERCENTILES, AgeCurve, age_curve

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 56, 34, 42
BAND_COLORS = ("#d9e6f2", "#b3cde3")  # P3-P97, P10-P90
POINT_COLOR = "#d55e00"
LABEL_HEIGHT = 12


def same_reference(results: Sequence[Result]) -> list[list[Result]]:
    """The scored results in groups that share one reference curve, in their order."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.expectation is not None:
            key = result.measurement.quantity, result.expectation.distribution.site
            groups.setdefault(key, []).append(result)
    return list(groups.values())


def curve_title(group: list[Result], sex: str | None) -> str:
    """Such as "Muscle PDFF by age, psoas, women"."""
    name = QUANTITIES[group[0].measurement.quantity].name
    site = group[0].expectation.distribution.site
    return ", ".join(filter(None, [f"{name} by age", site, {"F": "women", "M": "men"}.get(sex)]))


def curve_of(group: list[Result], sex: str | None) -> AgeCurve | None:
    """The reference curve that a group shares; None where the site has no curve."""
    return age_curve(group[0].measurement.quantity, group[0].measurement.site, sex)


def age_plot_svg(scored: list[Result], age_years: float, sex: str | None) -> str:
    """A plot of a group of results over the reference curve they share; "" where there is none.

    Args:
        scored: a group from `same_reference`.
        age_years, sex: of the patient.
    """
    curve = curve_of(scored, sex)
    if curve is None:
        return ""
    quantity = QUANTITIES[scored[0].measurement.quantity]
    values = [r.measurement.value for r in scored]
    ages = _axis(
        np.nanmin([curve.ages_years.min(), age_years]), max(curve.ages_years.max(), age_years)
    )
    heights = _axis(
        min(np.nanmin(curve.percentiles), *values), max(np.nanmax(curve.percentiles), *values)
    )

    def x(age: float) -> float:
        return LEFT + (age - ages[0]) / (ages[-1] - ages[0]) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return (
            HEIGHT
            - BOTTOM
            - (value - heights[0]) / (heights[-1] - heights[0]) * (HEIGHT - TOP - BOTTOM)
        )

    title = curve_title(scored, sex)
    unit = f" ({quantity.unit})" if quantity.unit else ""
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg" '
        f'font-family="sans-serif" font-size="11" fill="#222"><title>{escape(title)}</title>',
        f'<text x="{LEFT}" y="16" font-size="13" font-weight="bold">{escape(title)}{unit}</text>',
    ]
    for tick in heights:
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" '
            f'stroke="#e5e5e5"/><text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">'
            f"{tick:g}</text>"
        )
    for tick in ages:
        parts.append(
            f'<text x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
            f"{tick:g}</text>"
        )
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
        "Age (years)</text>"
    )
    for run in _runs(curve):

        def points(row: int, run: slice = run) -> list[str]:
            pairs = zip(curve.ages_years[run], curve.percentiles[row, run], strict=True)
            return [f"{x(age):.1f},{y(value):.1f}" for age, value in pairs]

        for low, high, color in ((0, 4, BAND_COLORS[0]), (1, 3, BAND_COLORS[1])):
            outline = " ".join(points(high) + points(low)[::-1])
            parts.append(f'<polygon points="{outline}" fill="{color}"/>')
        parts.append(
            f'<polyline points="{" ".join(points(2))}" fill="none" stroke="#2c5f8a" '
            'stroke-width="2"/>'
        )
    last = list(_runs(curve))[-1]
    for n, percentile in enumerate(PERCENTILES):
        parts.append(
            f'<text x="{x(curve.ages_years[last][-1]) + 4:.1f}" '
            f'y="{y(curve.percentiles[n, last][-1]) + 4:.1f}" fill="#4a6c8c">P{percentile}</text>'
        )
    spread = _apart([y(v) for v in values])
    for result, label_y in zip(scored, spread, strict=True):
        px, py = x(age_years), y(result.measurement.value)
        parts.append(
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4.5" fill="{POINT_COLOR}" stroke="white"/>'
            f'<text x="{px + 8:.1f}" y="{label_y + 4:.1f}" font-weight="bold" stroke="white" '
            f'stroke-width="3" paint-order="stroke">{escape(result.measurement.site)}</text>'
        )
    return "".join(parts) + "</svg>"


def _runs(curve: AgeCurve) -> list[slice]:
    """Stretches of the curve between its gaps."""
    gaps = np.flatnonzero(np.isnan(curve.percentiles[2]))
    starts = [0, *(gaps + 1)]
    stops = [*gaps, curve.ages_years.size]
    return [slice(a, b) for a, b in zip(starts, stops, strict=True) if b > a]


def _axis(low: float, high: float) -> np.ndarray:
    """About six round ticks that span the range."""
    span = max(high - low, 1e-9)
    step = 10 ** np.floor(np.log10(span / 5))
    step *= min((1, 2, 5, 10), key=lambda m: abs(span / (m * step) - 5))
    return np.arange(np.floor(low / step), np.ceil(high / step) + 1) * step


def _apart(heights: list[float]) -> list[float]:
    """Heights moved so that labels do not overlap, in the order they were given."""
    placed = np.array(heights, float)
    rank = np.argsort(placed)
    for one, other in pairwise(rank):
        placed[other] = max(placed[other], placed[one] + LABEL_HEIGHT)
    return (placed - (placed - heights).mean()).tolist()
