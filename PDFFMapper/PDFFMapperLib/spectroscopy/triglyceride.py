"""The proton spectrum of marrow fat: ten peaks and their protons.

Protons per triglyceride are linear in the number of double bonds (ndb) and of methylene-interrupted
double bonds (nmidb): Hamilton 2011, doi 10.1002/nbm.1622.
"""

from __future__ import annotations

import numpy as np

CHAIN_LENGTH, CHAIN_LENGTH_SD = 17.4, 0.3
"""Carbon atoms per chain (CL): near 17.3 in marrow, 17.5 in subcutaneous fat, 18.0 in peanut oil;
fixed, or fitted with that spread as prior knowledge."""

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

BY_CHAIN_LENGTH = np.where(np.arange(len(PPM)) == METHYLENE, 6.0, 0.0)

# Peaks whose amplitudes are free of each other where no triglyceride is assumed. Glycerol is too
# close to water and olefins to stand alone; by its ester bonds it follows alpha-carboxyl.
FREE_GROUPS = ((0,), (1,), (2,), (3,), (4, 6, 7, 8), (5,), (9,))


def protons(ndb: float, nmidb: float, chain_length: float = CHAIN_LENGTH) -> np.ndarray:
    """Protons of each peak per molecule, shape (10,)."""
    return PROTONS @ (1.0, ndb, nmidb) + (chain_length - CHAIN_LENGTH) * BY_CHAIN_LENGTH


def proton_slopes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Change of `protons` with ndb, nmidb and chain length."""
    return PROTONS[:, 1], PROTONS[:, 2], BY_CHAIN_LENGTH


def unsaturation_index(ndb: float, nmidb: float) -> float:
    """UI = olefinic/(olefinic + methylene + methyl) protons."""
    peaks = protons(ndb, nmidb)
    return float(peaks[OLEFINIC] / (peaks[OLEFINIC] + peaks[METHYLENE] + peaks[METHYL]))
