"""What an inversion leaves of a pool: steady state of IR-UTE and STAIR, nulling, adiabatic pulses.

Derived here: a pulse turns M into Q M; M recovers with T1; each spoke keeps a share c of it. In
steady state of one spoke at TI that is (1 - (1 - Q) E(TI) - Q E(TR)) / (1 - Q c E(TR)), E(t) =
exp(-t/T1): equations such as Horch 2012 (doi 10.1002/mrm.24186, abstract read) rest on. Several
spokes stand around TI, and what they see is averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)


@dataclass(frozen=True)
class Inversion:
    """One preparation and its spokes.

    Attributes:
        tr_ms: from one inversion to the next.
        ti_ms: from an inversion to the middle of its spokes; None is no inversion.
        spokes, spoke_ms: how many, and from one to the next.
    """

    tr_ms: float
    ti_ms: float | None
    spokes: int = 1
    spoke_ms: float = 0.0

    @property
    def first_ms(self) -> float:
        """From the inversion to the first spoke."""
        return (self.ti_ms or 0.0) - (self.spokes - 1) * self.spoke_ms / 2

    def fits(self) -> bool:
        """Whether all spokes lie between two inversions."""
        last = self.first_ms + (self.spokes - 1) * self.spoke_ms
        return (self.ti_ms is None or self.first_ms >= 0) and last <= self.tr_ms

    def seen(self, t1_ms: float, turned: float, kept: float = 1.0) -> float:
        """Longitudinal magnetization before spokes, over equilibrium, mean of all of them.

        Args:
            t1_ms: of the pool.
            turned: Q, what an inversion makes of 1: -1 for a perfect one.
            kept: what a spoke leaves of 1.
        """
        inverted = self.ti_ms is not None
        slope, offset = 1.0, 0.0  # M now, of M before the inversion
        waits = [self.first_ms if inverted else 0.0, *[self.spoke_ms] * (self.spokes - 1)]
        rows = []
        for n, wait in enumerate(waits):
            factor = (turned if inverted else 1.0) if n == 0 else kept
            left = np.exp(-wait / t1_ms)
            slope, offset = slope * factor * left, 1 - left + offset * factor * left
            rows.append((slope, offset))
        left = np.exp(-(self.tr_ms - sum(waits)) / t1_ms)
        slope, offset = slope * kept * left, 1 - left + offset * kept * left
        steady = offset / (1 - slope)
        return float(np.mean([a * steady + b for a, b in rows]))

    def left(self, t1_ms: float, t1_sd_ms: float, turned: float, kept: float = 1.0) -> float:
        """Root of the mean square that is left of pools whose T1 scatters, over equilibrium."""
        t1s = np.maximum(t1_ms + t1_sd_ms * _NODES, 0.05 * t1_ms)
        each = np.array([self.seen(t1, turned, kept) for t1 in t1s])
        return float(np.sqrt(_WEIGHTS @ each**2 / _WEIGHTS.sum()))

    def nulling_ms(self, t1_ms: float, turned: float = -1.0, kept: float = 1.0) -> float | None:
        """The TI that leaves nothing of a pool; None where none does.

        Of one spoke T1 ln((1 - Q)/(1 - Q exp(-TR/T1))).
        """
        half = (self.spokes - 1) * self.spoke_ms / 2
        low, high = half + 1e-6, self.tr_ms - half - 1e-6

        def at(ti: float) -> float:
            return Inversion(self.tr_ms, ti, self.spokes, self.spoke_ms).seen(t1_ms, turned, kept)

        if low >= high or at(low) * at(high) > 0:
            return None
        return float(brentq(at, low, high, xtol=1e-6))


def adiabatic_inversion(
    t2_ms: float,
    pulse_ms: float,
    peak_hz: float,
    width_hz: float,
    sharpness: float = 5.3,
    offset_hz: float = 0.0,
) -> float:
    """What a hyperbolic-secant pulse makes of 1 (Q), by the Bloch equations in small steps.

    Args:
        t2_ms: of the pool; 0.3 leaves about nothing, long ones are inverted.
        pulse_ms: length.
        peak_hz: highest gamma B1 / 2 pi.
        width_hz: swept from -width/2 to width/2.
        sharpness: of sech(sharpness x), x from -1 to 1; 5.3 cuts at 1 % of the peak.
        offset_hz: from resonance.
    """
    count = max(2000, int(8 * width_hz * pulse_ms * 1e-3))
    place = (np.arange(count) + 0.5) / count * 2 - 1
    field = 2 * np.pi * peak_hz / np.cosh(sharpness * place)
    away = 2 * np.pi * (offset_hz - 0.5 * width_hz * np.tanh(sharpness * place))
    seconds = pulse_ms * 1e-3 / count
    half = np.exp(-seconds * 1e3 / t2_ms / 2)
    total = np.hypot(field, away)
    turns = np.cos(total * seconds), np.sin(total * seconds), field / total, away / total
    x, y, z = 0.0, 0.0, 1.0
    for cosine, sine, u, w in zip(*(one.tolist() for one in turns), strict=True):
        x, y = x * half, y * half
        along = (1 - cosine) * (u * x + w * z)  # around the axis (u, 0, w)
        x, y, z = (
            (cosine * x - sine * w * y + along * u) * half,
            (cosine * y + sine * (w * x - u * z)) * half,
            cosine * z + sine * u * y + along * w,
        )
    return z
