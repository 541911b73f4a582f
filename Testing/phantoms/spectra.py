"""Spectra that the model does not foresee: asymmetric lines, a baseline, other couplings, times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PDFFMapperLib.spectroscopy.fit import fit
from PDFFMapperLib.spectroscopy.j_coupling import j_signals
from PDFFMapperLib.spectroscopy.model import Choice, SpectrumModel
from PDFFMapperLib.spectroscopy.rows import NONE, PRESS
from PDFFMapperLib.spectroscopy.simulate import Truth, simulated
from PDFFMapperLib.spectroscopy.spectrum import Series

KINDS = ("no fault", "asymmetric", "baseline", "narrow baseline", "J modulated", "wrong dwell time")


def unforeseen(
    kind: str, truth: Truth, te_ms: Sequence[float], snr: float, rng: np.random.Generator
) -> Series:
    """A series of one of KINDS.

    Asymmetric: 30 % of every line lies 15 Hz off, as shim leaves it. Baseline: a hump of 5 % of all
    signal, 600 Hz wide, at 2.5 ppm; the narrow one is 300 Hz wide. J modulated: PRESS by density
    matrices whose couplings are 3 % larger than the model's. Wrong dwell time: 2 % too long.
    """
    series = simulated(truth, te_ms, 1e9, rng, NONE)
    if kind == "asymmetric":
        t = np.arange(series.fids.shape[1]) * series.dwell_s
        series.fids *= 0.7 + 0.3 * np.exp(2j * np.pi * 15 * t)
    elif kind in ("baseline", "narrow baseline"):
        series.fids += hump(series, 600 if kind == "baseline" else 300)
    elif kind == "J modulated":
        series = replace(series, fids=_coupled(series), sequence=PRESS)
    elif kind == "wrong dwell time":
        series = replace(series, dwell_s=1.02 * series.dwell_s)
    noise = rng.normal(0, 1 / snr, (2, *series.fids.shape))
    series.fids = series.fids + noise[0] + 1j * noise[1]
    return series


def hump(series: Series, wide_hz: float) -> np.ndarray:
    """A Gaussian line of 5 % of all signal at 2.5 ppm, shape of the signals."""
    t = np.arange(series.fids.shape[1]) * series.dwell_s
    hz = (2.5 - series.center_ppm) * series.frequency_mhz
    line = np.exp(2j * np.pi * hz * t - (np.pi * wide_hz * t) ** 2 / (4 * np.log(2)))
    return 0.05 * series.fids[:, :1] * line


def _coupled(series: Series) -> np.ndarray:
    """Each of fat's peaks with the J evolution of PRESS, until TE and on."""
    found = fit(series, Choice())
    model: SpectrumModel = found.model
    fids = []
    for k, te in enumerate(series.te_ms):
        water, fat = model.parts(found.theta, k)
        facts = np.nan, series.frequency_mhz, np.nan, series.fids.shape[1], series.dwell_s
        left = j_signals(PRESS, te, *facts, couplings=1.03)
        fids.append(model.scale * (water + (fat * left).sum(axis=0)))
    return np.array(fids)
