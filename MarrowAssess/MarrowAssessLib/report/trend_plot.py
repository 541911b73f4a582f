"""One number over the visits, with its error band and the age reference, as an SVG picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from MarrowAssessLib.report.axes import axis
from MarrowAssessLib.report.colors import BAND_COLORS

WIDTH, HEIGHT = 300, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 26, 34
ERROR_COLOR, CHANGED_COLOR, PLAIN_COLOR = "#5f5f5f", "#b35806", "#1c2430"
FALLEN_COLOR = "#542788"


@dataclass(frozen=True)
class Point:
    """One visit: its day, value, half of its 95 % interval, and "increase", "decrease" or ""."""

    day: float
    value: float
    half: float
    verdict: str = ""
    comparable: bool = True


def trend_plot_svg(
    title: str,
    points: Sequence[Point],
    ends: tuple[float, float],
    unchanged: tuple[float, float] | None,
    expected: Mapping[float, tuple[float, float]],
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """A plot of one site's values over days.

    Args:
        title: of the plot.
        points: the visits; NaN values are left out.
        ends: lowest and highest value shown, shared by all plots of a quantity.
        unchanged: between which a second value lies if nothing changed; None if not known.
        expected: the expected 95 % range by day.
        marks: day and letter of what happened between.
    """
    days = [one.day for one in points]
    values = axis(*ends)

    def x(day: float) -> float:
        return LEFT + (day - days[0]) / (days[-1] - days[0]) * (WIDTH - LEFT - RIGHT - 16) + 8

    def y(value: float) -> float:
        share = (value - values[0]) / (values[-1] - values[0])
        return HEIGHT - BOTTOM - min(max(share, 0.0), 1.0) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg" '
        f'font-family="sans-serif" font-size="10" fill="#222"><title>{escape(title)}</title>',
        f'<text x="4" y="15" font-size="12" font-weight="bold">{escape(title)}</text>',
    ]
    parts += _reference(expected, x, y)
    parts += [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}" '
        f'stroke="#e5e5e5"/><text x="{LEFT - 5}" y="{y(v) + 3:.1f}" text-anchor="end">{v:g}</text>'
        for v in values
    ]
    if unchanged:
        low, high = (y(one) for one in unchanged)
        parts.append(
            f'<rect x="{LEFT}" y="{high:.1f}" width="{WIDTH - LEFT - RIGHT}" '
            f'height="{low - high:.1f}" fill="{ERROR_COLOR}" fill-opacity="0.13"/>'
        )
        parts += [
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{edge:.1f}" y2="{edge:.1f}" '
            f'stroke="{ERROR_COLOR}" stroke-dasharray="4 3"/>'
            for edge in (low, high)
        ]
    parts += [
        f'<line x1="{x(day):.1f}" x2="{x(day):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" '
        f'stroke="#0072b2" stroke-dasharray="1 2"/><text x="{x(day) + 2:.1f}" y="{TOP + 8}" '
        f'fill="#0072b2" font-weight="bold">{escape(letter)}</text>'
        for day, letter in marks
        if days[0] <= day <= days[-1]
    ]
    parts += _day_ticks(days, x)
    parts += _points([one for one in points if math.isfinite(one.value)], x, y)
    return "".join([*parts, "</svg>"])


def _reference(expected: Mapping[float, tuple[float, float]], x, y) -> list[str]:
    if not expected:
        return []
    days = sorted(expected)
    ends = {LEFT: expected[days[0]], WIDTH - RIGHT: expected[days[-1]]}
    line = [(LEFT, ends[LEFT]), *((x(d), expected[d]) for d in days)]
    line.append((WIDTH - RIGHT, ends[WIDTH - RIGHT]))
    upper = [f"{px:.1f},{y(high):.1f}" for px, (_, high) in line]
    lower = [f"{px:.1f},{y(low):.1f}" for px, (low, _) in line][::-1]
    return [f'<polygon points="{" ".join(upper + lower)}" fill="{BAND_COLORS[0]}"/>']


def _day_ticks(days: Sequence[float], x) -> list[str]:
    parts, last = [], -math.inf
    for day in days:
        if x(day) - last < 26:
            continue
        last = x(day)
        parts.append(
            f'<text x="{last:.1f}" y="{HEIGHT - BOTTOM + 13}" text-anchor="middle">{day:g}</text>'
        )
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle" '
        'fill="#556">Day</text>'
    )
    return parts


def _points(points: Sequence[Point], x, y) -> list[str]:
    joined = [one for one in points if one.comparable]
    line = " ".join(f"{x(one.day):.1f},{y(one.value):.1f}" for one in joined)
    parts = [f'<polyline points="{line}" fill="none" stroke="{PLAIN_COLOR}" stroke-width="1.3"/>']
    for one in points:
        px, py = x(one.day), y(one.value)
        if one.half:
            parts.append(
                f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{y(one.value - one.half):.1f}" '
                f'y2="{y(one.value + one.half):.1f}" stroke="{PLAIN_COLOR}"/>'
            )
        parts.append(_mark(px, py, one))
    return parts


def _mark(px: float, py: float, one: Point) -> str:
    """A triangle where it changed, a cross where it is not comparable, else a dot."""
    if one.verdict in ("increase", "decrease"):
        up = -1 if one.verdict == "increase" else 1
        color = CHANGED_COLOR if up < 0 else FALLEN_COLOR
        corners = ((px - 6, py - 5 * up), (px + 6, py - 5 * up), (px, py + 6 * up))
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
        return f'<polygon points="{points}" fill="{color}" stroke="white"/>'
    if not one.comparable:
        return (
            f'<path d="M{px - 4:.1f} {py - 4:.1f}l8 8m0 -8l-8 8" stroke="#777" stroke-width="2"/>'
        )
    return f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{PLAIN_COLOR}" stroke="white"/>'


def shared_ends(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest of the finite values."""
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    return float(known.min()), float(known.max())
