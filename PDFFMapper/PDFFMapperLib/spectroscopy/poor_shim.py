"""What ideal lines leave over: a smooth baseline, and a shape that all lines have in common.

Both are options. A baseline is a signal at random that is over soon; how large it is and how long
it lasts is not known, so fits with several are averaged by what the data say for each (Bayesian
information criterion), and intervals hold how much they differ. None is no candidate: a hump that
noise half hides would often be taken for none, and be counted as fat. Where nobody asks for
baselines, intervals still hold their answer if it lies elsewhere than noise would put it, or if the
data do not speak strongly against them. Whether a line shape is taken is for Akaike's criterion to
say: one who asks for it fears bias. Coupling constants that differ from the model's show in no
residual; intervals hold what larger ones would read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from PDFFMapperLib.spectroscopy.fit import Fitted, carried, fit, linearized_at
from PDFFMapperLib.spectroscopy.model import Quantity, SpectrumModel
from PDFFMapperLib.spectroscopy.rows import NONE

BASELINES_MS = (0.5, 1.0, 2.0)  # longer ones are lines: those last 10 ms
BASELINES_SDS = (10.0, 30.0)  # of noise
LEAST_WEIGHT = 0.01  # of a fit that counts
STRONGLY = 6.0  # difference of criteria from which they speak strongly against a model
LIPID_PPM = (-1.0, 3.4)
COUPLINGS_SD = 0.03  # of all coupling constants, over their size: they are not confirmed
_KERNEL_MS = 2.0  # the shape is smooth over it
_ROUNDS = 3


@dataclass(frozen=True)
class Averaged:
    """Fits of several models to the same data, the likeliest first, and their weights, of sum 1.

    `beside` are fits with baselines beside one that has none; `likely` says that the data do not
    speak strongly against them, so that intervals hold them wherever they lie.
    `larger` is the likeliest fit with couplings that are larger by their SD.
    """

    fits: tuple[Fitted, ...]
    weights: np.ndarray
    beside: Averaged | None = None
    likely: bool = False
    larger: Fitted | None = None

    def value(self, of: Callable[[SpectrumModel], Quantity]) -> tuple[float, float]:
        """Mean and SD of a quantity over fits; the variance is theirs and that between them."""
        each = [of(one.model) for one in self.fits]
        values = np.array([of(one.theta)[0] for of, one in zip(each, self.fits, strict=True)])
        sds = np.array([one.sd(of) for of, one in zip(each, self.fits, strict=True)])
        mean = float(self.weights @ values)
        sd = float(np.sqrt(self.weights @ (sds**2 + (values - mean) ** 2)))
        if self.beside is not None:
            other, other_sd = self.beside.value(of)
            if self.likely or abs(other - mean) > self.apart_by_noise(sd, other_sd):
                sd = max(sd, float(np.hypot(other_sd, other - mean)))
        if self.larger is not None:
            sd = float(np.hypot(sd, of(self.larger.model)(self.larger.theta)[0] - values[0]))
        return mean, sd

    def apart_by_noise(self, sd: float, other_sd: float) -> float:
        """SD of the difference to `beside`, of SD `other_sd`: more freedom adds its variance."""
        of_noise = sd * self.beside.fits[0].spread / self.fits[0].spread
        return float(np.sqrt(max(other_sd**2 - of_noise**2, 0.0)))


def beside_baselines(fitted: Fitted) -> Averaged:
    """The fit itself, whose intervals hold what fits with baselines say."""
    beside = with_baseline(fitted)
    likely = beside.fits[0].bic() < fitted.bic() + STRONGLY
    return Averaged((fitted,), np.ones(1), beside, likely)


def with_baseline(fitted: Fitted) -> Averaged:
    """Fits with baselines of several sizes and durations, methylene's own width taken or not.

    What the first points hold tells no delay where there is a baseline.
    """
    series, found, last = fitted.model.series, [], fitted
    for own_width, duration, sds in product((False, True), BASELINES_MS, BASELINES_SDS):
        choice = replace(
            fitted.model.choice, delay=False, methylene_width=own_width, baseline_ms=duration,
            baseline_sds=sds,
        )  # fmt: skip
        last = fit(series, choice, carried(last, SpectrumModel(series, choice)))
        if choice.shape is not None:  # what the shape took up keeps intervals wide
            last.ratio = max(last.ratio, fitted.ratio)
        found.append(last)
    criteria = np.array([one.bic() for one in found])
    weights = np.exp((criteria.min() - criteria) / 2)
    order = np.argsort(-weights)
    kept = [n for n in order if weights[n] >= LEAST_WEIGHT * weights.sum()]
    return Averaged(tuple(found[n] for n in kept), weights[kept] / weights[kept].sum())


def with_larger_couplings(averaged: Averaged) -> Averaged:
    """The same, whose intervals hold that couplings are not known better than COUPLINGS_SD."""
    best = averaged.fits[0]
    if best.model.series.sequence == NONE:
        return averaged
    choice = replace(best.model.choice, couplings=1 + COUPLINGS_SD)
    return replace(averaged, larger=fit(best.model.series, choice, best.theta))


def baseline_note(averaged: Averaged, name: str, quantity: Quantity, unit: str) -> str:
    """What the baseline is, and what it costs in the SD of a quantity."""
    best = averaged.fits[0]
    with_it, without = (
        linearized_at(best.model.series, replace(best.model.choice, baseline_sds=sds), best)
        for sds in (best.model.choice.baseline_sds, 0.0)
    )
    return (
        f"Fits with {len(averaged.fits)} smooth baselines, over within some ms, were averaged by "
        "their Bayesian information criterion; intervals hold how much they differ; peaks, echoes "
        "and the picture are the likeliest's. It "
        f"takes {best.model.freedom:.0f} numbers and stands in the residual: by noise alone the SD "
        f"of {name} is {with_it.sd(quantity):.2g} {unit} with it and "
        f"{without.sd(quantity):.2g} without."
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
    from scipy.ndimage import gaussian_filter1d  # opening a panel does not wait for it

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
