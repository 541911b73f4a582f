"""What ideal lines leave over: a smooth baseline, and a shape that all lines have in common.

Both are options; how much of them is taken is for Akaike's criterion to say: one who
asks for them fears bias, and that of Bayes overlooks what noise half hides.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from PDFFMapperLib.spectroscopy.fit import Fitted, carried, fit, linearized_at
from PDFFMapperLib.spectroscopy.model import Quantity, SpectrumModel

# Shorter ones hide in the choice; a longer one costs more than it mends: lines last 10 ms.
BASELINES_MS = (1.5, 2.0, 3.0)
LIPID_PPM = (-1.0, 3.4)
_KERNEL_MS = 2.0  # the shape is smooth over it
_ROUNDS = 3


def with_baseline(fitted: Fitted) -> Fitted:
    """The fit with a baseline, as long as the data ask for, if they do.

    What the first points hold tells no delay then.
    """
    series, found = fitted.model.series, [fitted]
    for duration in BASELINES_MS:
        choice = replace(fitted.model.choice, baseline_ms=duration, delay=False)
        found.append(fit(series, choice, carried(fitted, SpectrumModel(series, choice))))
    best = min(found, key=Fitted.aic)
    if fitted.model.choice.shape is not None:  # what the shape took up keeps intervals wide
        best.ratio = max(best.ratio, fitted.ratio)
    return best


def baseline_note(fitted: Fitted, name: str, quantity: Quantity, unit: str) -> str:
    """What the baseline is, and what it costs in the SD of a quantity."""
    choice = fitted.model.choice
    if not choice.baseline_ms:
        return "The data ask for no baseline."
    with_it, without = (
        linearized_at(fitted.model.series, replace(choice, baseline_ms=one), fitted).sd(quantity)
        for one in (choice.baseline_ms, 0.0)
    )
    return (
        f"A smooth baseline was left free (what is over within {choice.baseline_ms:g} ms, "
        f"{fitted.model.freedom} numbers; it stands in the residual): by noise alone the SD of "
        f"{name} is {with_it:.2g} {unit} with it and {without:.2g} without."
    )


def with_line_shape(fitted: Fitted) -> Fitted:
    """The fit with a line shape common to all peaks, if the data ask for it.

    It is deconvolved from the lipids, of which methylene is most: what the data have over the
    model's lipids in their band, smoothed; where the lipids have decayed it is left as it is.
    """
    tried = fitted
    for _ in range(_ROUNDS):
        choice = replace(fitted.model.choice, shape=_shape_of(tried))
        tried = fit(fitted.model.series, choice, tried.theta)
    if tried.aic() >= fitted.aic():
        return fitted
    tried.ratio = max(tried.ratio, fitted.ratio)  # what the shape took up keeps intervals wide
    return tried


def _shape_of(fitted: Fitted) -> np.ndarray:
    """The common shape over time, 1 at its start."""
    model, theta, series = fitted.model, fitted.theta, fitted.model.series
    lipids = (series.ppm > LIPID_PPM[0]) & (series.ppm < LIPID_PPM[1])

    def of_lipids(signal: np.ndarray) -> np.ndarray:
        return np.fft.ifft(np.where(lipids, np.fft.fft(signal), 0))

    known = model.choice.shape if model.choice.shape is not None else 1.0
    above, below = 0.0, 0.0
    for k, fid in enumerate(series.fids):
        water, fat = model.parts(theta, k)
        data = of_lipids(fid / model.scale - water)
        ideal = of_lipids(fat.sum(axis=0) / known)
        above, below = above + data * ideal.conj(), below + np.abs(ideal) ** 2
    steps = _KERNEL_MS / 1e3 / series.dwell_s
    smooth = [gaussian_filter1d(one, steps, mode="nearest") for one in (above.real, above.imag)]
    noise = 2 * fitted.sigma**2 * lipids.mean()
    below = gaussian_filter1d(below, steps, mode="nearest") + noise
    shape = (smooth[0] + 1j * smooth[1] + noise * known) / below
    return shape / shape[0]
