"""The proton spectrum of marrow fat: ten peaks, their protons and what J coupling leaves of them.

Protons per triglyceride are linear in the number of double bonds (ndb) and of methylene-interrupted
double bonds (nmidb): Hamilton 2011, doi 10.1002/nbm.1622.

Coupling constants (Hz, first order): methyl to methylene 6.9 and olefinic to allylic 7, of
Schaumburg and Bernstein 1968 (Lipids 3:193) as used in the SimnTG simulations of Ouwerkerk; 7 for
all other vicinal protons of the chain; glycerol 11.9 within CH2, 5.9 and 4.3 to CH, for which no
source was read: SimnTG has 5.9 within CH2 and 11.4 to 11.9 to CH. CH of glycerol is one proton
beside 2 ndb of olefins.
"""

from __future__ import annotations

import numpy as np

CHAIN_LENGTH = 17.4
"""Carbon atoms per chain, fixed: near 17.3 in marrow and 17.5 in subcutaneous fat."""

WATER_PPM = 4.65
"""Of water at 37 degrees C: 5.048 - 0.01085 T (Hernando 2014, doi 10.1002/mrm.24729)."""

PEAKS = (
    "methyl", "methylene", "beta-carboxyl", "allylic", "alpha-carboxyl", "diallylic",
    "glycerol CH2 a", "glycerol CH2 b", "glycerol CH", "olefinic",
)  # fmt: skip
PPM = np.array([0.90, 1.30, 1.59, 2.04, 2.25, 2.78, 4.10, 4.30, 5.19, 5.30])
METHYL, METHYLENE, ALLYLIC, DIALLYLIC, OLEFINIC = 0, 1, 3, 5, 9

PROTONS = np.array(
    [
        [9, 0, 0],
        [6 * (CHAIN_LENGTH - 4), -8, 2],
        [6, 0, 0],
        [0, 4, -4],
        [6, 0, 0],
        [0, 0, 2],
        [2, 0, 0],
        [2, 0, 0],
        [1, 0, 0],
        [0, 2, 0],
    ],
    dtype=float,
)
"""Protons of each peak per molecule: constant, per ndb, per nmidb."""

# Peaks whose amplitudes are free of each other where no triglyceride is assumed. Glycerol is too
# close to water and olefins to stand alone; by its ester bonds it follows alpha-carboxyl.
FREE_GROUPS = ((0,), (1,), (2,), (3,), (4, 6, 7, 8), (5,), (9,))

# Coupled protons of each peak: (number, J in Hz). Bulk methylene is coupled to its like alone.
_COUPLINGS: tuple[tuple[tuple[int, float], ...], ...] = (
    ((2, 6.9),),
    (),
    ((4, 7.0),),
    ((1, 7.0), (2, 7.0)),
    ((2, 7.0),),
    ((2, 7.0),),
    ((1, 11.9), (1, 5.9)),
    ((1, 11.9), (1, 4.3)),
    ((2, 5.9), (2, 4.3)),
    ((2, 7.0),),
)
PRESS, STEAM, NONE = "PRESS", "STEAM", "none"


def protons(ndb: float, nmidb: float) -> np.ndarray:
    """Protons of each peak per molecule, shape (10,)."""
    return PROTONS @ (1.0, ndb, nmidb)


def proton_slopes() -> tuple[np.ndarray, np.ndarray]:
    """Change of `protons` with ndb and with nmidb."""
    return PROTONS[:, 1], PROTONS[:, 2]


def unsaturation_index(ndb: float, nmidb: float) -> float:
    """UI = olefinic/(olefinic + methylene + methyl) protons."""
    peaks = protons(ndb, nmidb)
    return float(peaks[OLEFINIC] / (peaks[OLEFINIC] + peaks[METHYLENE] + peaks[METHYL]))


def j_factors(sequence: str, te_ms: float) -> np.ndarray:
    """What J evolution leaves of each peak's area at the echo, to first order, shape (10,).

    PRESS: cos(pi J TE) for each coupled proton. A stimulated echo has a TE/2 on either side of
    the mixing time and averages over the gradient's phases to cos^2(pi J TE/2) for a pair; the
    protons of a group are taken alike.

    Args:
        sequence: PRESS, STEAM or NONE.
        te_ms: echo time in ms.
    """
    te_s = te_ms / 1000
    factors = np.ones(len(PPM))
    for peak, coupled in enumerate(_COUPLINGS):
        for number, j_hz in coupled:
            if sequence == PRESS:
                factors[peak] *= np.cos(np.pi * j_hz * te_s) ** number
            elif sequence == STEAM:
                factors[peak] *= np.cos(np.pi * j_hz * te_s / 2) ** (2 * number)
    return factors
