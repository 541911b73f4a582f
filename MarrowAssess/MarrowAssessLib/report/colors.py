"""The fixed color scale of z-scores: blue below, white as expected, red above, gray unknown.

Blue and red stay apart for every common kind of color blindness. What has no z-score but a
statement has a color of its own: green as expected, orange unusual (Okabe and Ito 2008).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Okabe and Ito: eight colors that stay apart for color-blind eyes.
SOURCE_COLORS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5f5f5f", "#8a7a00",
)  # fmt: skip
FREQUENCY_COLOR = "#5f5f5f"  # the limit of a finding that was counted
BAND_COLORS = ("#d9e6f2", "#b3cde3")  # of age references: P3-P97, P10-P90
MODEL_COLOR = "#9a9a9a"  # a band that a model of the sequence predicts, not published
Z_LIMIT = 3.0
NO_REFERENCE_COLOR = (0.5, 0.5, 0.5)
STATEMENT_COLORS = {"expected": (0.0, 0.62, 0.45), "unusual": (0.90, 0.62, 0.0)}
# Of the heights of a vertebral body: grades 0 to 3 (Genant), and where there is no grade.
GRADE_COLORS = (
    (0.90, 0.97, 1.0), (0.94, 0.89, 0.26), (0.90, 0.62, 0.0), (0.84, 0.37, 0.0), (0.5, 0.5, 0.5),
)  # fmt: skip
NO_GRADE = 4
# ColorBrewer 2.0 "RdBu" without its two darkest colors (Brewer, colorbrewer2.org), from -3 to +3.
Z_COLORS = (
    np.array(
        [
            [33, 102, 172],
            [67, 147, 195],
            [146, 197, 222],
            [209, 229, 240],
            [247, 247, 247],
            [253, 219, 199],
            [244, 165, 130],
            [214, 96, 77],
            [178, 24, 43],
        ]
    )
    / 255
)
Z_STOPS = np.linspace(-Z_LIMIT, Z_LIMIT, len(Z_COLORS))

# ColorBrewer 2.0 "PuOr": purple has fallen, orange has risen; within +-1, the repeatability
# coefficient, it is next to white. Other colors than those of z-scores, which they stand beside.
CHANGE_LIMIT = 3.0
CHANGE_COLORS = (
    np.array(
        [
            [84, 39, 136],
            [128, 115, 172],
            [178, 171, 210],
            [232, 233, 243],
            [247, 247, 247],
            [254, 238, 216],
            [253, 184, 99],
            [224, 130, 20],
            [179, 88, 6],
        ]
    )
    / 255
)
CHANGE_STOPS = np.array([-3.0, -2.0, -1.01, -1.0, 0.0, 1.0, 1.01, 2.0, 3.0])


@dataclass(frozen=True)
class ColorScale:
    """A fixed scale of colors, from -limit to +limit.

    Attributes:
        title: of its legend.
        limit: where its ends are.
        stops, colors: shape (n,) and (n, 3), 0-1.
    """

    title: str
    limit: float
    stops: np.ndarray
    colors: np.ndarray

    def at(self, value: float | None) -> tuple[float, float, float]:
        """The color (0-1) of a value, the ends beyond them; gray of none."""
        if value is None or math.isnan(value):
            return NO_REFERENCE_COLOR
        return tuple(float(np.interp(value, self.stops, channel)) for channel in self.colors.T)


Z_SCALE = ColorScale("z-score", Z_LIMIT, Z_STOPS, Z_COLORS)
CHANGE_SCALE = ColorScale("regions: RC", CHANGE_LIMIT, CHANGE_STOPS, CHANGE_COLORS)


def change_color(size: float | None) -> tuple[float, float, float]:
    """Color (0-1) of a change in repeatability coefficients; gray where it is not comparable."""
    return CHANGE_SCALE.at(size)


def z_color(z: float | None) -> tuple[float, float, float]:
    """Color (0-1) of a z-score; beyond +-3 the ends of the scale, gray without one."""
    return Z_SCALE.at(z)


def luminance(color: Sequence[float]) -> float:
    """How bright a color (0-1) looks (Rec. 601)."""
    return 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2]


def result_color(z: float | None, tone: str) -> tuple[float, float, float]:
    """Color (0-1) of a result: of its z-score, else of what is said of it, else gray.

    Args:
        z: z-score, None without a distribution.
        tone: "expected", "unusual" or "" (see findings.statements).
    """
    if z is None or math.isnan(z):
        return STATEMENT_COLORS.get(tone, NO_REFERENCE_COLOR)
    return z_color(z)
