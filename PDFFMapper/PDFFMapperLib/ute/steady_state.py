"""How much of a pool of water a spoiled UTE image shows: T1 and decay during the pulse.

Both follow from the Bloch equations on resonance: in a hard pulse the magnetization turns by the
flip angle while the transverse part decays with T2 (T1 is long beside the pulse), and between
pulses it recovers with T1, spoiled. Sussman 1998, who describe such pulses, were not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.attributes import number_of
from PDFFMapperLib.images.volume import Volume


@dataclass(frozen=True)
class Pools:
    """What turns shares of signal into shares of protons.

    Attributes:
        tr_ms, flip_deg, pulse_ms: of the excitation; a pulse of 0 is instantaneous.
        t1_bound_ms, t1_pore_ms: of both waters.
    """

    tr_ms: float
    flip_deg: float
    pulse_ms: float
    t1_bound_ms: float
    t1_pore_ms: float

    def protons(self, share: float, t2_bound_ms: float, t2_pore_ms: float) -> float:
        """The share of bound water among protons, of its share in the signal at TE 0 (0 to 1)."""
        bound = share / self._seen(self.t1_bound_ms, t2_bound_ms)
        pore = (1 - share) / self._seen(self.t1_pore_ms, t2_pore_ms)
        return bound / (bound + pore)

    def per_signal(self, share: float, t2_bound_ms: float, t2_pore_ms: float) -> float:
        """Protons by signal at TE 0, in the unit of a pool that shows all of its own."""
        bound = share / self._seen(self.t1_bound_ms, t2_bound_ms)
        return bound + (1 - share) / self._seen(self.t1_pore_ms, t2_pore_ms)

    def _seen(self, t1_ms: float, t2_ms: float) -> float:
        across, along = hard_pulse(self.flip_deg, self.pulse_ms, t2_ms)
        return spoiled(across, along, self.tr_ms, t1_ms)


def hard_pulse(flip_deg: float, pulse_ms: float, t2_ms: float) -> tuple[float, float]:
    """Transverse and longitudinal magnetization after a pulse on 1; its T2 decays within."""
    flip = np.deg2rad(flip_deg)
    if pulse_ms == 0:
        return float(np.sin(flip)), float(np.cos(flip))
    half = pulse_ms / (2 * t2_ms)
    turn = np.sqrt(complex(flip**2 - half**2))
    sinc = np.sinc(turn / np.pi)  # sin(x)/x, of an imaginary x too
    across = np.exp(-half) * flip * sinc
    along = np.exp(-half) * (np.cos(turn) + half * sinc)
    return float(across.real), float(along.real)


def spoiled(
    across: float | np.ndarray, along: float | np.ndarray, tr_ms: float | np.ndarray, t1_ms: float
) -> float | np.ndarray:
    """Steady-state signal of a spoiled sequence whose pulse leaves so much of 1."""
    kept = np.exp(-tr_ms / t1_ms)
    return across * (1 - kept) / (1 - along * kept)


def pools_of(settings: SimpleNamespace, image: Volume) -> Pools | None:
    """The pools that settings state, TR and flip angle from the header where it tells them.

    Raises:
        ValueError: one T1 is there alone, or TR or flip angle are not known.
    """
    t1s = settings.t1_bound, settings.t1_pore
    if t1s == (None, None):
        return None
    if None in t1s:
        raise ValueError(
            "Shares of protons need the T1 of both waters; state --t1-bound and --t1-pore."
        )
    found = []
    for stated, key, words, flag in (
        (settings.tr, "RepetitionTime", "repetition time", "--tr"),
        (settings.flip, "FlipAngle", "flip angle", "--flip"),
    ):
        value = stated if stated is not None else number_of(image.attributes, key)
        if not value:
            raise ValueError(
                f"Shares of protons need the {words}, which no header tells; state it ({flag})."
            )
        found.append(float(value))
    return Pools(*found, settings.pulse, *t1s)
