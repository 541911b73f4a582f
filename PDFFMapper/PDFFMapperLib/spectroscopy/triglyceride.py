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

import math

import numpy as np

from PDFFMapperLib.spectroscopy.rows import PRESS, STEAM

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

# Coupled protons of each peak: (number, J in Hz, their peak). Bulk methylene has its like alone.
_COUPLINGS: tuple[tuple[tuple[int, float, int], ...], ...] = (
    ((2, 6.9, 1),),
    (),
    ((2, 7.0, 1), (2, 7.0, 4)),
    ((1, 7.0, 9), (2, 7.0, 1)),
    ((2, 7.0, 2),),
    ((2, 7.0, 9),),
    ((1, 11.9, 7), (1, 5.9, 8)),
    ((1, 11.9, 6), (1, 4.3, 8)),
    ((2, 5.9, 6), (2, 4.3, 7)),
    ((2, 7.0, 3),),
)


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


def j_factors(
    sequence: str, te_ms: float, tm_ms: float = math.nan, frequency_mhz: float = math.nan
) -> np.ndarray:
    """What J evolution leaves of each peak's area at the echo, to first order, shape (10,).

    PRESS: cos(pi J TE) for each coupled proton. A stimulated echo has a TE/2 on either side of
    the mixing time: what is stored along z gives cos^2(pi J TE/2) for each, and what the second
    pulse makes zero-quantum coherence, which no gradient spoils, turns at the difference of both
    shifts during the mixing time; for each coupled proton it gives
    -sin^2(pi J TE/2)/2 cos(2 pi d TM) (1 - cos(pi d TE)), and less by the other protons. The
    protons of a group are taken alike. Both are those of density matrices of the tests.

    Args:
        sequence: PRESS, STEAM or NONE.
        te_ms: echo time in ms.
        tm_ms, frequency_mhz: mixing time and frequency of STEAM; without both zero-quantum
            coherence is left out.
    """
    te_s, tm_s = te_ms / 1000, tm_ms / 1000
    factors = np.ones(len(PPM))
    for peak, groups in enumerate(_COUPLINGS):
        coupled = [(j, other) for number, j, other in groups for _ in range(number)]
        halves = [math.cos(math.pi * j * te_s / 2) ** 2 for j, _ in coupled]
        if sequence == PRESS:
            factors[peak] = math.prod(math.cos(math.pi * j * te_s) for j, _ in coupled)
        elif sequence == STEAM:
            factors[peak] = math.prod(halves)
            if math.isnan(tm_s) or math.isnan(frequency_mhz):
                continue
            for n, (_, other) in enumerate(coupled):
                turns = 2 * math.pi * (PPM[other] - PPM[peak]) * frequency_mhz
                passive = math.prod(
                    half * math.cos(math.pi * j * tm_s)
                    for k, ((j, _), half) in enumerate(zip(coupled, halves, strict=True))
                    if k != n
                )
                mixed = math.cos(turns * tm_s) * (1 - math.cos(turns * te_s / 2))
                factors[peak] -= (1 - halves[n]) / 2 * mixed * passive
    return factors
