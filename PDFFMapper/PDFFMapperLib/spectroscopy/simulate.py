"""Spectra of known truth, for samples, tests and benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from PDFFMapperLib.spectroscopy.model import Choice, SpectrumModel
from PDFFMapperLib.spectroscopy.rows import PRESS
from PDFFMapperLib.spectroscopy.spectrum import Series
from PDFFMapperLib.spectroscopy.triglyceride import WATER_PPM


@dataclass(frozen=True)
class Truth:
    """What a simulated voxel holds.

    Attributes:
        pdff_percent: of protons.
        ndb, nmidb: of its fat.
        t2_water_ms, t2_fat_ms: of its tissues.
        fwhm_water_hz, fwhm_fat_hz: of the lines, `lorentzian` their Lorentzian share.
        water_shift_hz, fat_shift_hz: by susceptibility.
    """

    pdff_percent: float = 40.0
    ndb: float = 2.9
    nmidb: float = 0.75
    t2_water_ms: float = 21.0
    t2_fat_ms: float = 70.0
    fwhm_water_hz: float = 45.0
    fwhm_fat_hz: float = 30.0
    lorentzian: float = 0.5
    water_shift_hz: float = 0.0
    fat_shift_hz: float = 0.0


def simulated(
    truth: Truth,
    echo_times_ms: Sequence[float],
    snr: float,
    rng: np.random.Generator,
    sequence: str = PRESS,
    points: int = 1024,
    dwell_s: float = 5e-4,
    frequency_mhz: float = 123.2,
) -> Series:
    """A series with random phases.

    Args:
        truth: of the voxel.
        echo_times_ms: in ms.
        snr: signal of all protons at TE 0 over the noise of a real or imaginary part.
        rng: for phases and noise.
        sequence: PRESS, STEAM or none.
        points, dwell_s, frequency_mhz: of the acquisition.
    """
    te = np.array(echo_times_ms, float)
    unknown = np.full(len(te), np.nan)
    empty = np.ones((len(te), points), complex)
    series = Series(empty, dwell_s, frequency_mhz, WATER_PPM, te, unknown, unknown, sequence)
    model = SpectrumModel(series, Choice(t2=True))
    theta = np.zeros(len(model.names))
    values = {
        "water": 1 - truth.pdff_percent / 100,
        "fat": truth.pdff_percent / 100,
        "ndb": truth.ndb,
        "share": truth.nmidb / truth.ndb if truth.ndb else 0.0,
        "water_r2": 1000 / truth.t2_water_ms,
        "fat_r2": 1000 / truth.t2_fat_ms,
        "water_shift": truth.water_shift_hz,
        "fat_shift": truth.fat_shift_hz,
    }
    for tissue in ("water", "fat"):
        width = getattr(truth, f"fwhm_{tissue}_hz")
        lorentz = truth.lorentzian * width
        gauss = np.sqrt((width - 0.5346 * lorentz) ** 2 - 0.2166 * lorentz**2)
        values[f"{tissue}_lorentz"] = np.pi * lorentz
        values[f"{tissue}_gauss"] = (2 * np.pi * gauss / 2.3548) ** 2
    values |= {f"phase{k}": rng.uniform(-np.pi, np.pi) for k in range(len(te))}
    for name, value in values.items():
        theta[model.at[name]] = value
    for k in range(len(te)):
        water, fat = model.parts(theta, k)
        noise = rng.normal(0, 1 / snr, (2, points))
        series.fids[k] = water + fat.sum(axis=0) + noise[0] + 1j * noise[1]
    return series
