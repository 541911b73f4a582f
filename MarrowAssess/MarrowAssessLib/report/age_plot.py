"""An age curve with percentile bands and the patient's points, as an SVG picture."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

import numpy as np

from MarrowAssessLib.references.expected import PERCENTILES, AgeCurve
from MarrowAssessLib.references.modelled import ModelledCurve
from MarrowAssessLib.report.axes import Frame, axis, picture, ticks
from MarrowAssessLib.report.colors import BAND_COLORS, MODEL_COLOR

POINT_COLOR = "#d55e00"
LABEL_HEIGHT = 12


def age_plot_svg(
    expected: AgeCurve | ModelledCurve,
    title: str,
    unit: str,
    points: Sequence[tuple[str, float]],
    age_years: float,
) -> str:
    """A plot of a patient's values over the reference curve, or the modelled band, they share.

    Args:
        expected: what is expected over age; a model is drawn as a thin band that says so.
        title, unit: of the plot and of its values.
        points: label and value of each, in the unit.
        age_years: of the patient.
    """
    modelled = isinstance(expected, ModelledCurve)
    ends = [*expected.low, *expected.high] if modelled else expected.percentiles
    values = [value for _, value in points]
    frame = Frame(
        axis(min(*expected.ages_years, age_years), max(*expected.ages_years, age_years)),
        axis(min(np.nanmin(ends), *values), max(np.nanmax(ends), *values)),
    )
    shown_unit = f" ({unit})" if unit else ""
    reference = [model_band(frame, expected)] if modelled else bands(frame, expected)
    parts = [*ticks(frame), *reference, *_patient(frame, points, age_years)]
    return picture(title, parts, f"{title}{shown_unit}")


def bands(frame: Frame, curve: AgeCurve) -> list[str]:
    """A reference's percentile bands over age, as pieces of SVG."""
    parts = []
    for run in _runs(curve):
        ages, values = curve.ages_years[run], curve.percentiles[:, run]
        for low, high, color in ((0, 4, BAND_COLORS[0]), (1, 3, BAND_COLORS[1])):
            outline = _outline(frame, ages, values[low], values[high])
            parts.append(f'<polygon points="{outline}" fill="{color}"/>')
        middle = frame.points(ages, values[2])
        parts.append(f'<polyline points="{middle}" fill="none" stroke="#2c5f8a" stroke-width="2"/>')
    last = list(_runs(curve))[-1]
    for n, percentile in enumerate(PERCENTILES):
        parts.append(
            f'<text x="{frame.x(curve.ages_years[last][-1]) + 4:.1f}" '
            f'y="{frame.y(curve.percentiles[n, last][-1]) + 4:.1f}" fill="#4a6c8c">'
            f"P{percentile}</text>"
        )
    return parts


def model_band(frame: Frame, model: ModelledCurve) -> str:
    """A modelled band, thinner than any published one, with its name, as a piece of SVG."""
    outline = _outline(frame, model.ages_years, model.low, model.high)
    return (
        f'<polygon points="{outline}" fill="{MODEL_COLOR}" fill-opacity="0.08" '
        f'stroke="{MODEL_COLOR}" stroke-dasharray="2 3"/>'
        f'<text x="{frame.x(model.ages_years[-1]) + 4:.1f}" y="{frame.y(model.high[-1]) + 4:.1f}" '
        f'fill="{MODEL_COLOR}">modelled</text>'
    )


def _outline(
    frame: Frame, ages: Sequence[float], low: Sequence[float], high: Sequence[float]
) -> str:
    return frame.points([*ages, *ages[::-1]], [*high, *low[::-1]])


def _patient(frame: Frame, points: Sequence[tuple[str, float]], age_years: float) -> list[str]:
    parts = []
    spread = _apart([frame.y(value) for _, value in points])
    for (label, value), label_y in zip(points, spread, strict=True):
        px, py = frame.x(age_years), frame.y(value)
        parts.append(
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4.5" fill="{POINT_COLOR}" stroke="white"/>'
            f'<text x="{px + 8:.1f}" y="{label_y + 4:.1f}" font-weight="bold" stroke="white" '
            f'stroke-width="3" paint-order="stroke">{escape(label)}</text>'
        )
    return parts


def _runs(curve: AgeCurve) -> list[slice]:
    """Stretches of the curve between its gaps."""
    gaps = np.flatnonzero(np.isnan(curve.percentiles[2]))
    starts = [0, *(gaps + 1)]
    stops = [*gaps, curve.ages_years.size]
    return [slice(a, b) for a, b in zip(starts, stops, strict=True) if b > a]


def _apart(heights: list[float]) -> list[float]:
    """Heights moved so that labels do not overlap, in the order they were given."""
    placed = np.array(heights, float)
    rank = np.argsort(placed)
    for one, other in pairwise(rank):
        placed[other] = max(placed[other], placed[one] + LABEL_HEIGHT)
    return (placed - (placed - heights).mean()).tolist()
