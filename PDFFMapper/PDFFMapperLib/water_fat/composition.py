"""Fatty-acid composition of a region from its complex multi-echo signal.

The triglyceride signal is linear in the number of double bonds (ndb) and of methylene-interrupted
double bonds (nmidb) per molecule (Hamilton 2011, doi 10.1002/nbm.1622; Bydder 2011,
doi 10.1016/j.mri.2010.08.011; Peterson and Mansson 2013, doi 10.1002/mrm.24297).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from PDFFMapperLib.spectroscopy.triglyceride import CHAIN_LENGTH, PROTONS
from PDFFMapperLib.water_fat.multi_echo import MultiEcho
from PDFFMapperLib.water_fat.separation import WaterFatResult
from PDFFMapperLib.water_fat.spectra import GYROMAGNETIC_RATIO_MHZ_PER_T, WATER_PPM
from PDFFMapperLib.water_fat.voxel_signals import VoxelSignals

# Relative to tetramethylsilane; the two protons of each glycerol CH2 are one peak here.
_PPM = np.array([0.90, 1.30, 1.60, 2.02, 2.24, 2.75, 4.20, 5.19, 5.29])
_PROTONS = np.add.reduceat(PROTONS, [0, 1, 2, 3, 4, 5, 6, 8, 9])
_START_R2STAR_PER_S = 100.0  # where the separation tells none


@dataclass(frozen=True)
class FatComposition:
    """Composition of a region's triglycerides, with standard deviations.

    Attributes:
        ndb: double bonds per triglyceride.
        nmidb: methylene-interrupted double bonds per triglyceride.
        ndb_sd: standard deviation of ndb.
        nmidb_sd: standard deviation of nmidb.
        pdff_percent: the region's fat fraction with this composition.
        r2star_per_s: its R2*.
        voxels: how many were averaged.
    """

    ndb: float
    nmidb: float
    ndb_sd: float
    nmidb_sd: float
    pdff_percent: float
    r2star_per_s: float
    voxels: int

    @property
    def saturated(self) -> float:
        """Share of saturated chains, if every polyunsaturated chain has two double bonds."""
        return 1 - (self.ndb - self.nmidb) / 3

    @property
    def monounsaturated(self) -> float:
        """Share of monounsaturated chains, under the same assumption."""
        return (self.ndb - 2 * self.nmidb) / 3

    @property
    def polyunsaturated(self) -> float:
        """Share of polyunsaturated chains, under the same assumption."""
        return self.nmidb / 3


def fat_composition(data: MultiEcho, result: WaterFatResult, region: np.ndarray) -> FatComposition:
    """Composition of the fat in a region.

    The confident voxels are brought to one phase and frequency by their own fit and averaged;
    water, triglyceride, ndb, nmidb, phase, frequency and R2* are then fitted to the mean.

    Args:
        data: the echoes, at least six.
        result: their separation by `separate_water_fat`.
        region: bool, shape (slices, rows, columns).

    Raises:
        ValueError: fewer than six echoes, no confident voxel, or data that do not determine the
            composition (SD of ndb over 0.5); the message says which.
    """
    count = len(data.echo_times_s)
    if count < 6:
        raise ValueError(
            f"Fatty-acid composition needs at least six echoes (nine unknowns with water and "
            f"field); {count} were given."
        )
    used = np.asarray(region, bool) & result.confident
    if not used.any():
        raise ValueError("The region holds no confident voxel.")
    acquired = VoxelSignals(data.echoes, bool(result.facts["conjugated"]), result.echo_error)
    signals = acquired.at(np.flatnonzero(used)).T.astype(complex)
    times = data.echo_times_s
    signals = signals * np.exp(-2j * np.pi * np.outer(times, result.off_resonance_hz[used]))
    # One phase: that of the strongest sum over echoes relative to the region's own mean course.
    course = signals[:, np.argmax(np.abs(signals).sum(0))]
    for _ in range(3):
        turn = np.exp(-1j * np.angle((signals * course.conj()[:, None]).sum(0)))
        course = (signals * turn).mean(1)
    noise = float(np.median(result.noise[used])) / np.sqrt(used.sum())

    frequencies = GYROMAGNETIC_RATIO_MHZ_PER_T * data.field_strength_t * (_PPM - WATER_PPM)
    waves = np.exp(2j * np.pi * np.outer(times, frequencies)) @ _PROTONS
    waves = waves * np.exp(1j * float(result.facts["fat_phase_lead_rad"]))
    scale = np.abs(course).max()

    def model(parameters: np.ndarray) -> np.ndarray:
        water, fat, ndb, nmidb, phase, offset, decay = parameters
        triglyceride = waves @ np.array([1, ndb, nmidb]) / (2 + 6 * CHAIN_LENGTH - 2 * ndb)
        turn = 1j * (phase + 2 * np.pi * offset * times) - decay * times
        return (water + fat * triglyceride) * np.exp(turn)

    def misfit(parameters: np.ndarray) -> np.ndarray:
        apart = model(parameters) - course / scale
        return np.concatenate([apart.real, apart.imag])

    fraction = float(np.median(result.pdff_percent[used])) / 100
    told = result.r2star_per_s[used & np.isfinite(result.r2star_per_s)]
    decay = float(np.median(told)) if told.size else _START_R2STAR_PER_S
    phase = float(
        np.angle(course[0] / model(np.array([1 - fraction, fraction, 2.8, 0.7, 0, 0, decay]))[0])
    )
    start = np.array([1 - fraction, fraction, 2.8, 0.7, phase, 0.0, decay])
    fit = least_squares(
        misfit, start, x_scale=[0.5, 0.5, 1, 0.5, 1, 10, 30], xtol=1e-12, ftol=1e-12
    )
    residual = np.sqrt(2 * fit.cost / (2 * count - 7)) * scale
    covariance = np.linalg.pinv(fit.jac.T @ fit.jac) * (max(noise, residual) / scale) ** 2
    water, fat, ndb, nmidb, _, _, decay = fit.x
    ndb_sd, nmidb_sd = np.sqrt(np.diag(covariance)[2:4])
    if not ndb_sd <= 0.5 or not 0 <= ndb <= 9:
        raise ValueError(
            f"These {count} echoes do not determine the fatty-acid composition here: ndb would be "
            f"{ndb:.1f} with an SD of {ndb_sd:.1f}. More fat, more voxels, or more echoes at "
            "other times are needed."
        )
    return FatComposition(
        float(ndb),
        float(nmidb),
        float(ndb_sd),
        float(nmidb_sd),
        float(100 * fat / (water + fat)),
        float(decay),
        int(used.sum()),
    )
