"""A spectrum with its fit, components and residual, as an SVG picture and as curves."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np

from PDFFMapperLib.spectroscopy.fit import Fitted
from PDFFMapperLib.spectroscopy.quality import spectrum_of

SHOWN_PPM = (-0.5, 7.5)
WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM, RESIDUAL = 16, 16, 34, 36, 46
# Okabe and Ito: told apart by the color-blind, too.
COLORS = {"measured": "#000000", "fit": "#d55e00", "water": "#0072b2", "fat": "#e69f00"}


@dataclass(frozen=True)
class Curves:
    """Of one echo time: ppm, falling, and the phased spectra of the same length, largest 1."""

    te_ms: float
    ppm: np.ndarray
    measured: np.ndarray
    fit: np.ndarray
    water: np.ndarray
    fat: np.ndarray

    @property
    def residual(self) -> np.ndarray:
        """What the fit leaves."""
        return self.measured - self.fit


def curves(fitted: Fitted, k: int) -> Curves:
    """The curves of the k-th echo time."""
    model, theta = fitted.model, fitted.theta
    water, fat = model.parts(theta, k)
    signals = np.array([model.series.fids[k] / model.scale, water, fat.sum(axis=0)])
    ppm, shown = spectrum_of(model.series, signals, model.value(theta, f"phase{k}"), 1)
    inside = np.flatnonzero((ppm >= SHOWN_PPM[0]) & (ppm <= SHOWN_PPM[1]))[::-1]
    measured, water, fat = shown[:, inside] / np.abs(shown[:, inside]).max()
    return Curves(float(model.series.te_ms[k]), ppm[inside], measured, water + fat, water, fat)


def spectrum_svg(fitted: Fitted, title: str) -> str:
    """One picture with all echo times below each other."""
    count = len(fitted.model.series.fids)
    panels = [_panel(curves(fitted, k), k * HEIGHT) for k in range(count)]
    legend = "".join(
        f'<text x="{LEFT + 300 + 82 * n}" y="18" fill="{color}" font-size="12">{name}</text>'
        for n, (name, color) in enumerate(COLORS.items())
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT * count}" '
        f'font-family="sans-serif" role="img" aria-label="{escape(title)}">'
        f'<rect width="{WIDTH}" height="{HEIGHT * count}" fill="#fff"/>'
        f'<text x="{LEFT}" y="18" font-size="13" font-weight="bold">{escape(title)}</text>{legend}'
        f"{''.join(panels)}</svg>"
    )


def _panel(one: Curves, top: int) -> str:
    low = min(0.0, float(one.measured.min()), float(one.fit.min()))
    floor = top + HEIGHT - BOTTOM

    def x(ppm: float) -> float:
        share = (SHOWN_PPM[1] - ppm) / (SHOWN_PPM[1] - SHOWN_PPM[0])
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def line(values: np.ndarray, color: str, middle: float | None = None, width: float = 1) -> str:
        room = HEIGHT - TOP - BOTTOM - RESIDUAL
        base = floor - RESIDUAL if middle is None else middle
        scale = room / (1.05 - low)
        shift = low if middle is None else 0.0
        points = " ".join(
            f"{x(p):.1f},{base - scale * (v - shift):.1f}"
            for p, v in zip(one.ppm, values, strict=True)
        )
        return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{width}"/>'

    ticks = "".join(
        f'<line x1="{x(p):.1f}" x2="{x(p):.1f}" y1="{floor}" y2="{floor + 4}" stroke="#444"/>'
        f'<text x="{x(p):.1f}" y="{floor + 16}" font-size="11" text-anchor="middle">{p}</text>'
        for p in range(0, 8)
    )
    return (
        line(one.measured, COLORS["measured"], width=1.4)
        + line(one.water, COLORS["water"])
        + line(one.fat, COLORS["fat"])
        + line(one.fit, COLORS["fit"], width=1.2)
        + line(one.residual, "#666", floor - RESIDUAL / 2)
        + f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}" stroke="#444"/>{ticks}'
        + f'<text x="{WIDTH - RIGHT}" y="{floor + 30}" font-size="11" text-anchor="end">ppm</text>'
        + f'<text x="{LEFT}" y="{top + TOP + 10}" font-size="12">TE {one.te_ms:g} ms</text>'
        + f'<text x="{LEFT}" y="{floor - RESIDUAL + 12}" font-size="10" fill="#666">residual</text>'
    )
