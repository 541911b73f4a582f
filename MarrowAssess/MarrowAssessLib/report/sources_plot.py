"""Every source of a quantity over age, as an SVG picture: bands, curve, frequencies, the model."""

from __future__ import annotations

from html import escape

import numpy as np

from MarrowAssessLib.catalogue.patient import SEX_WORDS
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.references.distributions import Distribution
from MarrowAssessLib.references.expected import AgeCurve, age_curve
from MarrowAssessLib.references.findings_by_age import Frequency
from MarrowAssessLib.references.modelled import ModelledCurve, is_lumbar, modelled_curve
from MarrowAssessLib.references.records import ages_text
from MarrowAssessLib.references.sources import MODEL_LABEL, sources_of
from MarrowAssessLib.report.age_plot import model_band
from MarrowAssessLib.report.axes import HEIGHT, LEFT, WIDTH, Frame, axis, ticks
from MarrowAssessLib.report.colors import FREQUENCY_COLOR, MODEL_COLOR, SOURCE_COLORS

LINE_HEIGHT = 14


def sources_svg(quantity: str, site: str = "", sex: str | None = None) -> str:
    """A picture of what each source expects by age; a legend names source, n, sex and site.

    Args:
        quantity: a key of QUANTITIES.
        site: only sources that stand for it; "" for all.
        sex: "M" or "F" leaves out those of the other; None shows all.

    Raises:
        ValueError: unknown quantity, or neither distribution, frequency nor model of it.
    """
    if quantity not in QUANTITIES:
        raise ValueError(
            f"Unknown quantity '{quantity}'; expected one of: {', '.join(QUANTITIES)}."
        )
    known = QUANTITIES[quantity]
    found, counted = sources_of(quantity, site, sex)
    model = modelled_curve(quantity, sex) if not site or is_lumbar(site) else None
    if not found and not counted and model is None:
        raise ValueError(
            f"{known.name}: no source gives a distribution or a frequency by age"
            f"{f' at {site}' if site else ''}; leave the site out, or add own controls."
        )
    bands = [d for d in found if not d.smooth]
    curves = _curves(quantity, found)
    frame = _frame(bands, curves, counted, model)
    entries = [_legend(d) for d in bands] + [_legend(d) for d, _ in curves]
    lines = len(entries) + len(counted) + (model is not None)
    height = HEIGHT + LINE_HEIGHT * (lines + 2)
    unit = f" ({known.unit})" if known.unit else ""
    title = f"{known.name}{unit}: what sources expect, 95 %"
    parts = [
        f'<svg viewBox="0 0 {WIDTH + 120} {height}" xmlns="http://www.w3.org/2000/svg" '
        f'font-family="sans-serif" font-size="11" fill="#222"><title>{escape(title)}</title>'
        '<rect width="100%" height="100%" fill="white"/>'
        f'<text x="{LEFT}" y="16" font-size="13" font-weight="bold">{escape(title)}</text>'
    ]
    parts += ticks(frame)
    parts += [model_band(frame, model)] if model else []
    parts += [_band(frame, one, n) for n, one in enumerate(bands)]
    parts += [_line(frame, c, n + len(bands)) for n, (_, c) in enumerate(curves)]
    parts += [_limit(frame, one) for one in counted]
    y = HEIGHT + 4
    for n, text in enumerate(entries):
        color = SOURCE_COLORS[n % len(SOURCE_COLORS)]
        parts.append(_entry(y + LINE_HEIGHT * (n + 1), text, color))
    for n, one in enumerate(counted, len(entries)):
        parts.append(_entry(y + LINE_HEIGHT * (n + 1), _counted(one), FREQUENCY_COLOR))
    if model:
        parts.append(_entry(y + LINE_HEIGHT * lines, f"Lumbar, {MODEL_LABEL}", MODEL_COLOR))
    return "".join(parts) + "</svg>\n"


def _curves(quantity: str, found: list[Distribution]) -> list[tuple[Distribution, AgeCurve]]:
    curves = []
    for one in (d for d in found if d.smooth):
        curve = age_curve(quantity, one.site, None if one.sex == "both" else one.sex)
        if curve is not None:
            curves.append((one, curve))
    return curves


def _frame(
    bands: list[Distribution],
    curves: list[tuple[Distribution, AgeCurve]],
    counted: list[Frequency],
    model: ModelledCurve | None,
) -> Frame:
    ages = [age for d in bands for age in (d.age_min, d.shown_end)]
    values = [value for d in bands for value in d.expected_range]
    for _, curve in curves:
        ages += [curve.ages_years.min(), curve.ages_years.max()]
        values += [np.nanmin(curve.percentiles), np.nanmax(curve.percentiles)]
    ages += [age for one in counted for age in (one.age_min, one.shown_end)]
    values += [one.limit for one in counted]
    if model:
        ages += model.ages_years
        values += [*model.low, *model.high]
    return Frame(axis(min(ages), max(ages)), axis(min(values), max(values)))


def _band(frame: Frame, one: Distribution, n: int) -> str:
    low, high = one.expected_range
    left, right = frame.x(one.age_min), frame.x(one.shown_end)
    top, bottom, middle = frame.y(high), frame.y(low), frame.y(one.value_at(50))
    color = SOURCE_COLORS[n % len(SOURCE_COLORS)]
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
        f'height="{bottom - top:.1f}" fill="{color}" fill-opacity="0.10" stroke="{color}"/>'
        f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{middle:.1f}" y2="{middle:.1f}" '
        f'stroke="{color}" stroke-width="2"/>'
    )


def _line(frame: Frame, curve: AgeCurve, n: int) -> str:
    color, lines = SOURCE_COLORS[n % len(SOURCE_COLORS)], []
    for row, dash in ((0, ' stroke-dasharray="3 3"'), (2, ""), (4, ' stroke-dasharray="3 3"')):
        known = np.isfinite(curve.percentiles[row])
        points = frame.points(curve.ages_years[known], curve.percentiles[row, known])
        lines.append(f'<polyline points="{points}" fill="none" stroke="{color}"{dash}/>')
    return "".join(lines)


def _limit(frame: Frame, one: Frequency) -> str:
    """The limit of a finding over the ages it was counted at."""
    left, right, y = frame.x(one.age_min), frame.x(one.shown_end), frame.y(one.limit)
    return (
        f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}" '
        f'stroke="{FREQUENCY_COLOR}" stroke-width="2"/>'
    )


def _legend(one: Distribution) -> str:
    n = f"n {one.n}" if one.n else "n not stated"
    doi = next((f", doi {r.doi}" for r in one.records if r.doi), "")
    where = f"{one.site}, " if one.site else ""
    ids = ", ".join(record.id for record in one.records)
    return f"{one.source}: {where}{SEX_WORDS[one.sex]}, {one.ages}, {n} [{ids}{doi}]"


def _counted(one: Frequency) -> str:
    low, high = one.interval
    return (
        f"{one.finding}: {one.percent:g} % ({low:.0f}-{high:.0f}), "
        f"{ages_text(one.age_min, one.age_max)} [{', '.join(r.id for r in one.records)}]"
    )


def _entry(y: float, text: str, color: str) -> str:
    return (
        f'<rect x="{LEFT}" y="{y - 8}" width="9" height="9" fill="{color}"/>'
        f'<text x="{LEFT + 14}" y="{y}" font-size="10">{escape(text)}</text>'
    )
