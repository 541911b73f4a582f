"""Measured minus true PDFF of a phantom's vials against the truth, as an SVG picture."""

from __future__ import annotations

from html import escape

from MarrowAssessLib.report.axes import HEIGHT, LEFT, RIGHT, WIDTH, Frame, axis, ticks
from MarrowAssessLib.report.colors import SOURCE_COLORS
from MarrowAssessLib.statistics.conformance import Conformance

_TOP_SHARE = 0.25  # of the height kept free for the legend


def conformance_svg(found: Conformance, title: str) -> str:
    """Each scan of each vial a point, each condition a color with its fitted line.

    The gray band holds the limits of agreement of the mean of the conditions, its line the bias.
    """
    errors = [v - found.truth for v in found.measured.values()]
    limits = found.overall.limits
    low = min(0.0, limits[0], *(float(e.min()) for e in errors))
    high = max(0.0, limits[1], *(float(e.max()) for e in errors))
    frame = Frame(
        axis(float(found.truth.min()), float(found.truth.max())),
        axis(low, high + _TOP_SHARE * (high - low)),
    )
    x = (LEFT, WIDTH - RIGHT)
    bias = frame.y(found.overall.bias.value)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg" '
        f'font-family="sans-serif" font-size="11" fill="#222"><title>{escape(title)}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
        f'<text x="{LEFT}" y="16" font-size="13" font-weight="bold">{escape(title)}</text>'
        f'<rect x="{x[0]}" y="{frame.y(limits[1]):.1f}" width="{x[1] - x[0]}" '
        f'height="{frame.y(limits[0]) - frame.y(limits[1]):.1f}" fill="#eeeeee"/>',
        *ticks(frame, "True PDFF (%)"),
        f'<text x="14" y="{HEIGHT / 2}" text-anchor="middle" '
        f'transform="rotate(-90 14 {HEIGHT / 2})">Measured - true (points)</text>'
        f'<line x1="{x[0]}" x2="{x[1]}" y1="{frame.y(0):.1f}" y2="{frame.y(0):.1f}" '
        'stroke="#222"/>'
        f'<line x1="{x[0]}" x2="{x[1]}" y1="{bias:.1f}" y2="{bias:.1f}" stroke="#666" '
        'stroke-dasharray="6 3"/>'
        f'<text x="{x[1] + 4}" y="{bias + 4:.1f}" fill="#444">bias</text>',
    ]
    for n, name in enumerate(found.measured):
        parts += _condition(found, name, frame, n)
    return "".join([*parts, "</svg>\n"])


def _condition(found: Conformance, name: str, frame: Frame, n: int) -> list[str]:
    color = SOURCE_COLORS[n % len(SOURCE_COLORS)]
    accuracy, truth = found.by_condition[name], found.truth
    ends = [float(truth.min()), float(truth.max())]
    errors = [accuracy.intercept.value + (accuracy.slope.value - 1) * t for t in ends]
    line = frame.points(ends, errors)
    parts = [f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.5"/>']
    parts += [
        f'<circle cx="{frame.x(t):.1f}" cy="{frame.y(v - t):.1f}" r="3.5" fill="{color}" '
        'stroke="white"/>'
        for scan in found.measured[name]
        for t, v in zip(truth, scan, strict=True)
    ]
    y = 36 + 14 * n
    parts.append(
        f'<circle cx="{LEFT + 8}" cy="{y - 4}" r="3.5" fill="{color}"/>'
        f'<text x="{LEFT + 16}" y="{y}">{escape(name)}</text>'
    )
    return parts
