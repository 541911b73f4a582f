"""Axes of a plot in SVG: its frame, round ticks and their lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 56, 34, 42


@dataclass(frozen=True)
class Frame:
    """Ticks across (of age, say) and up, and where they lie in the picture."""

    ages: np.ndarray
    values: np.ndarray

    def x(self, age: float) -> float:
        """Where an age lies across."""
        share = (age - self.ages[0]) / (self.ages[-1] - self.ages[0])
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Where a value lies down."""
        share = (value - self.values[0]) / (self.values[-1] - self.values[0])
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def points(self, ages: Iterable[float], values: Iterable[float]) -> str:
        """Where they lie, as a line or polygon of SVG has them."""
        pairs = zip(ages, values, strict=True)
        return " ".join(f"{self.x(age):.1f},{self.y(value):.1f}" for age, value in pairs)


def picture(title: str, parts: Iterable[str], heading: str = "") -> str:
    """Pieces of SVG as a picture, below its heading, which is the title where none is given."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg" '
        f'font-family="sans-serif" font-size="11" fill="#222"><title>{escape(title)}</title>'
        f'<text x="{LEFT}" y="16" font-size="13" font-weight="bold">{escape(heading or title)}'
        f"</text>{''.join(parts)}</svg>"
    )


def ticks(frame: Frame, across: str = "Age (years)") -> list[str]:
    """The axes' lines and numbers, as pieces of SVG; `across` names what goes to the right."""
    parts = [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{frame.y(tick):.1f}" '
        f'y2="{frame.y(tick):.1f}" stroke="#e5e5e5"/><text x="{LEFT - 6}" '
        f'y="{frame.y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in frame.values
    ]
    parts += [
        f'<text x="{frame.x(tick):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
        f"{tick:g}</text>"
        for tick in frame.ages
    ]
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{across}</text>"
    )
    return parts


def axis(low: float, high: float) -> np.ndarray:
    """About six round ticks that span the range; a range without width is widened by a tenth."""
    if high == low:
        low, high = low - (abs(low) / 10 or 1), high + (abs(high) / 10 or 1)
    span = high - low
    step = 10 ** np.floor(np.log10(span / 5))
    step *= min((1, 2, 5, 10), key=lambda m: abs(span / (m * step) - 5))
    return np.arange(np.floor(low / step), np.ceil(high / step) + 1) * step
