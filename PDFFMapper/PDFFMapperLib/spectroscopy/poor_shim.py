"""What ideal lines leave over: a smooth baseline, and a shape that all lines have in common.

A baseline is a signal at random that is over soon; how large it is and how long it lasts is not
known, so fits with several are averaged by what the data say for each (Bayesian information
criterion), and intervals hold how much they differ. What room a baseline has beyond the data
counts against it by VOLUME alone: real ones are simpler than a signal at random, and at its full
price those with too little room would win, which leave a part of a hump to fat. What else the data
ask for (a delay of the first point, other lines) a baseline may imitate, or be imitated by: fits
with it count only as far as the data speak for it strongly. Baselines that leave more than noise
are none: they take what other lines than the model's leave. They do not count, but intervals hold
what they say. Where the data speak for none, intervals still hold what baselines say if that lies
elsewhere than noise would put it, or if lines are so wide that a delay may hide one. Whether a line
shape is taken is for Akaike's criterion to say: one who asks for it fears bias. Coupling constants
that differ from the model's show in no residual; intervals hold what larger ones would read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np

from PDFFMapperLib.spectroscopy.fit import (
    NOISE_ALONE,
    WHERE_ASKED,
    Fitted,
    carried,
    fit,
    linearized_at,
)
from PDFFMapperLib.spectroscopy.model import Quantity, SpectrumModel
from PDFFMapperLib.spectroscopy.quantities import quantity_of
from PDFFMapperLib.spectroscopy.rows import NONE

# Durations in ms, the shortest first (longer ones are lines: those last 10 ms), and sizes in SDs of
# noise.
BASELINES = ((0.5, 10.0), (1.0, 10.0), (1.0, 30.0), (2.0, 10.0), (2.0, 30.0))
LEAST_WEIGHT = 0.01  # of a fit that counts
VOLUME = 0.5  # share of the price of a baseline's room that is counted
SURELY = 3.0  # by which the criterion of a fit with one has to be lower to count as much
STRONGLY = 8.0  # the same of each of WHERE_ASKED
HIDDEN_POINTS = 1.0  # of a fat fraction's SD with baselines, from which a delay may hide one
LIPID_PPM = (-1.0, 3.4)
COUPLINGS_SD = 0.03  # of all coupling constants, over their size: they are not confirmed
_KERNEL_MS = 2.0  # the shape is smooth over it
_ROUNDS = 3


class Beside(NamedTuple):
    """What fits without and with baselines say: values, their SDs, that of the difference by noise.

    More freedom adds its variance, which is that of the difference.
    """

    without: float
    sd: float
    smooth: float
    smooth_sd: float
    apart_sd: float


@dataclass(frozen=True)
class Averaged:
    """Fits of several models to the same data, the likeliest first, and their weights, of sum 1.

    `larger` is the likeliest fit with couplings that are larger by their SD. `doubted` says that
    the data ask for baselines that leave more than noise, which do not count.
    """

    fits: tuple[Fitted, ...]
    weights: np.ndarray
    larger: Fitted | None = None
    doubted: bool = False

    def value(self, of: Callable[[SpectrumModel], Quantity]) -> tuple[float, float]:
        """Mean and SD of a quantity over fits; the variance is theirs and that between them."""
        values, sds = self._each(of)
        mean, sd = _mixed(self.weights, values, sds)
        beside = self.beside(of)
        apart = beside and abs(beside.smooth - beside.without) > beside.apart_sd
        if apart or self.doubted or self.hidden:
            sd = max(sd, float(np.hypot(beside.smooth_sd, beside.smooth - mean)))
        return mean, float(np.hypot(sd, self.of_couplings(of)))

    @cached_property
    def hidden(self) -> Beside | None:
        """The fat fraction, where a delay may hide a baseline with which much less is known."""
        found = self.beside(quantity_of("fraction"))
        delay = self.fits[0].model.choice.delay
        return found if delay and found and found.smooth_sd >= HIDDEN_POINTS else None

    def of_couplings(self, of: Callable[[SpectrumModel], Quantity]) -> float:
        """The part of the SD that stands for couplings, alike in spectra acquired alike."""
        if self.larger is None:
            return 0.0
        one, other = (of(x.model)(x.theta)[0] for x in (self.fits[0], self.larger))
        return float(abs(other - one))

    def beside(self, of: Callable[[SpectrumModel], Quantity]) -> Beside | None:
        """A quantity without and with baselines; None where fits are all of one kind."""
        smooth = np.array([one.model.choice.baseline_sds > 0 for one in self.fits])
        if smooth.all() or not smooth.any():
            return None
        values, sds = self._each(of)
        (without, its_sd), (mean, sd) = (
            _mixed(share / share.sum(), values, sds)
            for share in (self.weights * ~smooth, self.weights * smooth)
        )
        plain, other = (
            self.fits[int(np.argmax(self.weights * kind))].spread for kind in (~smooth, smooth)
        )
        apart_sd = np.sqrt(max(sd**2 - (its_sd * other / plain) ** 2, 0.0))
        return Beside(without, its_sd, mean, sd, float(apart_sd))

    def _each(self, of: Callable[[SpectrumModel], Quantity]) -> tuple[np.ndarray, np.ndarray]:
        """The values of a quantity and their SDs."""
        each = [(of(one.model), one) for one in self.fits]
        values = [quantity(one.theta)[0] for quantity, one in each]
        return np.array(values), np.array([one.sd(quantity) for quantity, one in each])


def _mixed(weights: np.ndarray, values: np.ndarray, sds: np.ndarray) -> tuple[float, float]:
    """Mean and SD of a mixture of normal distributions."""
    mean = float(weights @ values)
    return mean, float(np.sqrt(weights @ (sds**2 + (values - mean) ** 2)))


def beside_baselines(fitted: Fitted) -> Averaged:
    """The fit and those with baselines, by what the data say for them."""
    plain, smooth = _of_each_kind(fitted, ((0.0, 0.0),)), with_baseline(fitted)
    behind = _criterion(smooth.fits[0]) - (_criterion(plain.fits[0]) - SURELY)
    doubted = False
    if smooth.fits[0].ratio > NOISE_ALONE:
        doubted, behind = bool(behind < 0), np.inf
    share = 1 / (1 + np.exp(np.clip(behind / 2, -20, 20)))  # of those with one, never quite 0
    both = [(plain, 1 - share), (smooth, share)]
    if share > 0.5:
        both.reverse()
    (one, its_share), (other, other_share) = both
    weights = np.concatenate([its_share * one.weights, other_share * other.weights])
    return Averaged(one.fits + other.fits, weights, doubted=doubted)


def with_baseline(fitted: Fitted) -> Averaged:
    """Fits with baselines of several sizes and durations.

    Beside a delay the shortest is left out: what is over so soon it stands for itself, so that it
    would win, and a longer hump be counted as fat.
    """
    return _of_each_kind(fitted, BASELINES[fitted.model.choice.delay :])


def _of_each_kind(fitted: Fitted, baselines: Iterable[tuple[float, float]]) -> Averaged:
    """Fits with each baseline, and with and without each of what else the data ask for.

    That may be what a baseline does.
    """
    series, found, last = fitted.model.series, [], {}
    asked = fitted.model.choice
    flags = [flag for flag in WHERE_ASKED if getattr(asked, flag)]
    for *taken, (duration, sds) in product(*[(False, True)] * len(flags), baselines):
        with_flags = dict(zip(flags, taken, strict=True))
        choice = replace(asked, **with_flags, baseline_ms=duration, baseline_sds=sds)
        if all(taken) and sds == asked.baseline_sds:
            found.append(fitted)
            continue
        # From one alike: those without a flag may have gone where those with it do not come back.
        near = last.get(tuple(taken), fitted)
        one = fit(series, choice, carried(near, SpectrumModel(series, choice)))
        if choice.shape is not None:  # what the shape took up keeps intervals wide
            one.ratio = max(one.ratio, fitted.ratio)
        last[tuple(taken)] = one
        found.append(one)
    criteria = np.array([_criterion(one) for one in found])
    weights = np.exp((criteria.min() - criteria) / 2)
    order = np.argsort(-weights)
    kept = [n for n in order if weights[n] >= LEAST_WEIGHT * weights.sum()]
    return Averaged(tuple(found[n] for n in kept), weights[kept] / weights[kept].sum())


def _criterion(fitted: Fitted) -> float:
    """By which fits count."""
    asked = sum(getattr(fitted.model.choice, flag) for flag in WHERE_ASKED)
    return fitted.bic() + STRONGLY * asked - (1 - VOLUME) * fitted.model.log_volume


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
    smooth = sum(one.model.choice.baseline_sds > 0 for one in averaged.fits)
    with_it, without = (
        linearized_at(best.model.series, replace(best.model.choice, baseline_sds=sds), best)
        for sds in (best.model.choice.baseline_sds, 0.0)
    )
    return (
        f"Fits with {smooth} smooth baselines, over within some ms, were averaged by "
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
