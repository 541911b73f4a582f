"""PDFF and R2* from the magnitudes of a multi-echo series, over the whole 0-100 % range.

Magnitudes of water-dominant and fat-dominant voxels are nearly mirror images; only fat's several
peaks tell them apart. Each voxel is fitted from both sides (Triay Bagur 2019, doi
10.1002/mrm.27728) with the Rician likelihood of magnitudes (Bray 2023, doi
10.1016/j.media.2022.102730). The likelier one is kept; how many of the voxels around lie on each
side counts as its prior. Where both are about as likely the voxel is marked as swap risk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit
from scipy.special import chdtri

from PDFFMapperLib.maps.progress import Progress, run_parallel
from PDFFMapperLib.water_fat.echo_units import checked_echo_times, checked_field_strength
from PDFFMapperLib.water_fat.multi_echo import four_dimensional
from PDFFMapperLib.water_fat.neighborhood import over_together, sum_around
from PDFFMapperLib.water_fat.normal_equations import factorize, invert, substitute
from PDFFMapperLib.water_fat.separation import (
    FOLLOWED,
    MORE_THAN_NOISE,
    Doubt,
    WaterFatResult,
    check_echoes_alive,
)
from PDFFMapperLib.water_fat.signal_mask import noise_of_air, signal_mask, spread
from PDFFMapperLib.water_fat.spectra import FatSpectrum, fat_spectrum
from PDFFMapperLib.water_fat.voxel_fit import R2STAR_RANGE

_CHUNK = 20_000
_STEPS = 40
_ROUNDS = 8  # in which the shares of both sides settle
_FEWEST = 0.02  # share of the voxels around that each side is thought to have at least
_NEAR, _AROUND = (0, 1, 1), (1, 3, 3)  # voxels
_LEAST_MARGIN = 4.0  # twice the log-likelihood ratio of the sides, under which it is a risk
_MOST_DOUBTED = 2 / 3  # share of the voxels around; noise chose the others, and biased them
_VAGUE_PDFF = 0.2  # typical SD over which medians of simulated tissue are biased by 10 points
_BY_NOISE = np.uint8(Doubt.SWAP_RISK | Doubt.IMPRECISE)
_MANY_UNTOLD = 0.1  # share of the voxels
_BEYOND = 0.05  # by which the fraction around may be below 0 or over 1
_BEYOND_SDS = 1.5  # and how many SDs of a voxel; noise takes simulated lean tissue down by 1.3


def magnitude_water_fat(
    magnitudes: np.ndarray,
    echo_times_s: Sequence[float],
    field_strength_t: float,
    spectrum: FatSpectrum | None = None,
    mask: np.ndarray | None = None,
    noise: float | None = None,
    progress: Progress | None = None,
) -> WaterFatResult:
    """PDFF and R2* from magnitudes alone.

    Args:
        magnitudes: not negative, shape (echoes, slices, rows, columns), at least four echoes.
        echo_times_s: in seconds, in any order.
        field_strength_t: in tesla.
        spectrum: fat peaks; marrow by default.
        mask: voxels to fit; by default those with signal.
        noise: SD of the real (or imaginary) part before magnitudes were taken; by default from
            the fit residuals.
        progress: called with the fraction done; returning False cancels.

    Returns:
        As `separate_water_fat`; the field map is NaN, since magnitudes hold none.

    Raises:
        ValueError: what was given is not that.
        InterruptedError: canceled.
    """
    magnitudes, times = _checked(magnitudes, echo_times_s)
    spectrum = spectrum or fat_spectrum()
    fat = spectrum.modulation(times, checked_field_strength(field_strength_t))
    notes = [
        "Magnitudes tell water from fat only by fat's side peaks: voxels where both fit about as "
        "well are marked."
    ]
    mask = _usable(magnitudes, mask, notes)
    index = np.flatnonzero(mask)
    flat = magnitudes.reshape(len(magnitudes), -1)
    if noise is None:
        sample = flat[:, index[:: max(1, len(index) // 4000)]]
        noise = _noise(np.ascontiguousarray(sample.T), times, fat)
    fits = np.empty((len(index), 2, 7), np.float32)

    def fit_part(start: int) -> None:
        part = slice(start, start + _CHUNK)
        fits[part] = _fit(np.ascontiguousarray(flat[:, index[part]].T), times, fat, noise)

    noise = float(noise)
    run_parallel(fit_part, range(0, len(index), _CHUNK), progress)
    result = _result(mask, _likelier(mask, fits), flat[:, index], noise)
    if (left := _over_noise_of_air(result, magnitudes)) > FOLLOWED:
        notes.append(f"{MORE_THAN_NOISE.format(left)} Water and fat may be exchanged unmarked.")
    if (untold := _untold(result)) > _MANY_UNTOLD:
        notes.append(
            f"{100 * untold:.0f} % of the voxels with signal have no PDFF: by echo times and noise "
            "magnitudes do not tell whether water or fat is more there. With phase images "
            "(--phase) complex echoes tell it in more of them."
        )
    result.facts = {
        "method": "magnitude-only multi-echo, Rician likelihood, two starts",
        "fat_spectrum": spectrum.name,
        "fat_spectrum_citation": spectrum.citation,
        "echo_times_s": [float(x) for x in times],
        "field_strength_t": float(field_strength_t),
        "noise_sd": float(noise),
        "notes": notes,
    }
    return result


def _checked(magnitudes, echo_times_s) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes in the order of their echo times, and these."""
    magnitudes = np.asarray(magnitudes)
    if np.iscomplexobj(magnitudes):
        raise ValueError("Magnitudes are expected, complex values were given.")
    magnitudes = four_dimensional(magnitudes, "Magnitudes")
    times, order = checked_echo_times(echo_times_s, len(magnitudes), least=4)
    magnitudes = magnitudes[order].astype(np.float32)
    if np.nanmin(magnitudes) < 0:
        raise ValueError("Magnitudes must not be negative.")
    return magnitudes, times


def _usable(magnitudes, mask, notes: list[str]) -> np.ndarray:
    """The voxels to fit."""
    reason = "no voxel of the mask has a finite signal"
    if mask is None:
        mask, reason = signal_mask(magnitudes, notes=notes), "no voxel has signal over the noise"
    mask = np.asarray(mask) != 0
    if mask.shape != magnitudes.shape[1:]:
        raise ValueError(
            f"The mask has shape {mask.shape}, the magnitudes {magnitudes.shape[1:]}; they must "
            "agree."
        )
    mask = mask & np.isfinite(magnitudes).all(0) & (magnitudes.max(0) > 0)
    if not mask.any():
        raise ValueError(f"There is nothing to fit: {reason}.")
    check_echoes_alive(magnitudes, mask)
    return mask


def _noise(sample, times, fat) -> float:
    """Noise SD by the residuals of a sample, fitted first without and then with the noise."""
    freedom, noise = len(times) - 3, 0.0
    for _ in range(2):
        fits = _fit(sample, times, fat, noise)
        best = fits[np.arange(len(fits)), fits[..., 6].argmin(1)]
        residuals = np.median(best[:, 3])
        noise = math.sqrt(max(float(residuals) / (freedom * (1 - 2 / (9 * freedom)) ** 3), 0))
    return noise


def _untold(result: WaterFatResult) -> float:
    """Share of the voxels with signal that have no fraction for want of phase or for noise."""
    signal = result.mask & (result.doubt & Doubt.LOW_SIGNAL == 0)
    untold = (result.doubt != 0) & (result.doubt & ~_BY_NOISE == 0)
    return np.count_nonzero(untold) / max(np.count_nonzero(signal), 1)


def _over_noise_of_air(result: WaterFatResult, magnitudes: np.ndarray) -> float:
    """How many times the noise of air the fit leaves; 1 where none is seen.

    Of the tenth of the voxels that fit worst, since water alone fits at any echo times.
    """
    air, fitted = noise_of_air(magnitudes), result.mask & (result.doubt & Doubt.FAILED == 0)
    if air is None or not fitted.any():
        return 1.0
    energy = (magnitudes[:, fitted] ** 2).sum(0)
    squares = np.percentile((result.residual_percent[fitted] / 100) ** 2 * energy, 90)
    return float(np.sqrt(squares / chdtri(len(magnitudes) - 3, 0.1)) / air)


def _likelier(mask, fits) -> np.ndarray:
    """The fit of each voxel's likelier side, with its margin over the other in place of the cost.

    The prior of the sides is their share among other voxels. Alone, most voxels of noisy images
    would be at risk, and those that noise takes far from the other side would be left. The nearest
    voxels and those farther around must agree: fat that is 1 to 3 voxels wide is outvoted by the
    water farther around.
    """
    every = np.arange(len(fits))
    with np.errstate(divide="ignore", invalid="ignore"):
        fraction = fits[..., 1] / (fits[..., 0] + fits[..., 1])
        alike = ~(np.abs(fraction[:, 1] - fraction[:, 0]) > 0.05)
    lower = fraction.argmin(1)
    ratio = np.nan_to_num((fits[every, 1 - lower, 6] - fits[every, lower, 6]).astype(float))
    near, around = (ratio + _prior(mask, ratio, alike, reach) for reach in (_NEAR, _AROUND))
    chosen = fits[every, np.where(np.where(alike, ratio, near) >= 0, lower, 1 - lower)]
    agreed = np.where(near * around > 0, np.minimum(np.abs(near), np.abs(around)), 0)
    chosen[:, 6] = np.where(alike, np.inf, agreed)
    return chosen


def _prior(mask, ratio, alike, reach) -> np.ndarray:
    """Twice the logarithm of the sides' shares within `reach`, by the likelihoods of the voxels
    there (expectation maximization)."""
    prior, told = np.zeros(len(ratio)), sum_around(mask, ~alike, reach)
    for _ in range(_ROUNDS):
        likely = 1 / (1 + np.exp(-np.clip((ratio + prior) / 2, -50, 50)))
        share = (sum_around(mask, np.where(alike, 0, likely), reach) + 0.5) / (told + 1)
        share = np.clip(share, _FEWEST, 1 - _FEWEST)
        prior = 2 * np.log(share / (1 - share))
    return prior


def _result(mask, fits, signals, noise) -> WaterFatResult:
    water, fat, r2star, residual, pdff_variance, r2star_variance, margin = fits.T
    total = water + fat
    failed = ~(total > 0) | ~np.isfinite(pdff_variance)
    failed |= (r2star <= R2STAR_RANGE[0]) | (r2star >= R2STAR_RANGE[1])
    blank = np.where(failed, np.nan, 1).astype(np.float32)
    doubt = np.zeros(len(fits), np.uint8)
    doubt[signals.max(0) < 5 * noise] |= np.uint8(Doubt.LOW_SIGNAL)
    relative = np.sqrt(residual / np.maximum((signals**2).sum(0), 1e-30))
    poor = (np.sqrt(residual / max(len(signals) - 3, 1)) > 3 * noise) & (relative > 0.05)
    doubt[poor] |= np.uint8(Doubt.POOR_FIT)
    doubt[margin < _LEAST_MARGIN] |= np.uint8(Doubt.SWAP_RISK)  # near 50 % both sides are one
    doubt[failed] |= np.uint8(Doubt.FAILED)
    with np.errstate(invalid="ignore"):
        sd = np.where(failed, np.nan, noise * np.sqrt(pdff_variance))
    imprecise = over_together(mask, [sd], [_VAGUE_PDFF])[0] | (sd >= 2 * _VAGUE_PDFF)
    imprecise &= ~failed
    doubted, count = sum_around(mask, [(doubt != 0) | imprecise, np.ones(len(fits))])
    imprecise |= (doubt == 0) & (doubted > _MOST_DOUBTED * count)
    doubt[imprecise] |= np.uint8(Doubt.IMPRECISE)
    fraction = fat / np.where(failed, 1, total)
    doubt[_beyond(mask, fraction, sd, doubt == 0)] |= np.uint8(Doubt.POOR_FIT)
    return WaterFatResult(
        pdff_percent=spread(mask, 100 * fraction * blank),
        r2star_per_s=spread(mask, r2star * blank),
        water=spread(mask, water * blank),
        fat=spread(mask, fat * blank),
        off_resonance_hz=np.full(mask.shape, np.nan, np.float32),
        residual_percent=spread(mask, 100 * relative),
        pdff_sd=spread(mask, 100 * sd),
        r2star_sd=spread(mask, noise * np.sqrt(r2star_variance) * blank),
        noise=spread(mask, np.full(len(fits), noise)),
        doubt=spread(mask, doubt, Doubt.LOW_SIGNAL, np.uint8),
        mask=mask,
    )


def _beyond(mask, fraction, sd, usable) -> np.ndarray:
    """Where the fraction around is below 0 or over 1 by more than noise explains, bool."""
    count, mean, spread_around = sum_around(
        mask, [np.where(usable, each, 0) for each in (1, fraction, sd)]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.abs(mean / count - 0.5) - 0.5
        return apart > _BEYOND + _BEYOND_SDS * spread_around / count


@njit(cache=True, nogil=True)
def _bessel_ratio(x):
    """I1(x) / I0(x) for x >= 0."""
    if x > 12:
        y = 1 / x
        return 1 - y * (0.5 + y * (0.125 + y * (0.125 + y * 0.1953125)))
    term0 = term1 = 1.0
    sum0 = sum1 = 1.0
    square = x * x / 4
    for k in range(1, 60):
        term0 *= square / (k * k)
        term1 *= square / (k * (k + 1))
        sum0 += term0
        sum1 += term1
        if term0 < 1e-12 * sum0:
            break
    return 0.5 * x * sum1 / sum0


@njit(cache=True, nogil=True)
def _log_bessel(x):
    """log I0(x) - x for x >= 0."""
    if x > 12:
        y = 1 / x
        return math.log1p(y * (0.125 + y * (0.0703125 + y * 0.0732421875))) - 0.5 * math.log(
            2 * math.pi * x
        )
    term = total = 1.0
    square = x * x / 4
    for k in range(1, 60):
        term *= square / (k * k)
        total += term
        if term < 1e-12 * total:
            break
    return math.log(total) - x


@njit(cache=True, nogil=True)
def _fit(signals, times, fat, noise):
    """Fit each voxel from the water and from the fat side.

    Returns:
        float32, shape (voxels, 2, 7): of each side water, fat, R2*, squared residual, variances of
        the fat fraction and of R2* per noise variance, and minus twice the log-likelihood.
    """
    voxels, echoes = signals.shape
    result = np.empty((voxels, 2, 7), np.float32)
    work = np.empty((4, echoes))
    normal, covariance = np.empty((6, 6)), np.empty((6, 6))
    solution = np.empty(3)
    for v in range(voxels):
        signal = signals[v]
        first = 0.0
        for n in range(echoes):
            first = max(first, signal[n])
        for side in range(2):
            # The total from the strongest echo, 10 % or 90 % fat.
            solution[0] = first * (0.9 if side == 0 else 0.1)
            solution[1] = first * (0.1 if side == 0 else 0.9)
            solution[2] = 40.0
            out = result[v, side]
            out[6], out[3] = _descend(signal, times, fat, noise, solution, work, normal)
            water, fat_signal, r2star = solution
            _model(times, fat, water, fat_signal, r2star, work)
            _normal(work, echoes, normal)
            out[0], out[1], out[2] = water, fat_signal, r2star
            out[4] = out[5] = np.nan
            total = water + fat_signal
            if factorize(normal, 3) and total > 0:
                invert(normal, 3, covariance)
                a, b = -fat_signal / total**2, water / total**2
                out[4] = a * a * covariance[0, 0] + 2 * a * b * covariance[0, 1]
                out[4] += b * b * covariance[1, 1]
                out[5] = covariance[2, 2]
    return result


@njit(cache=True, nogil=True)
def _model(times, fat, water, fat_signal, r2star, work):
    """Model magnitudes into work[0], derivatives by water, fat and R2* into work[1:4]."""
    for n in range(times.size):
        decay = math.exp(min(-r2star * times[n], 50.0))
        real = water + fat_signal * fat[n].real
        imag = fat_signal * fat[n].imag
        size = math.sqrt(real * real + imag * imag)
        scale = 1 / max(size, 1e-30)
        work[0, n] = size * decay
        work[1, n] = real * scale * decay
        work[2, n] = (real * fat[n].real + imag * fat[n].imag) * scale * decay
        work[3, n] = -times[n] * work[0, n]


@njit(cache=True, nogil=True)
def _normal(work, echoes, normal):
    for p in range(3):
        for q in range(p + 1):
            total = 0.0
            for n in range(echoes):
                total += work[1 + p, n] * work[1 + q, n]
            normal[p, q] = total


@njit(cache=True, nogil=True)
def _cost(signal, model, noise):
    """Minus twice the log-likelihood, up to a constant; squares without noise."""
    total = 0.0
    for n in range(signal.size):
        difference = signal[n] - model[n]
        total += difference * difference
    if noise > 0:
        total /= noise * noise
        for n in range(signal.size):
            total -= 2 * _log_bessel(signal[n] * model[n] / (noise * noise))
    return total


@njit(cache=True, nogil=True)
def _descend(signal, times, fat, noise, parameters, work, normal):
    """Damped Gauss-Newton from `parameters` (changed in place); returns cost and squares.

    The Rician likelihood's gradient is that of least squares to the expected in-phase part of
    the measured magnitude, m I1/I0.
    """
    echoes = signal.size
    right = np.empty(3)
    _model(times, fat, parameters[0], parameters[1], parameters[2], work)
    cost = _cost(signal, work[0], noise)
    damping = 1e-3
    span = times[-1]
    for _ in range(_STEPS):
        _normal(work, echoes, normal)
        for p in range(3):
            right[p] = 0.0
        for n in range(echoes):
            target = float(signal[n])
            if noise > 0:
                target *= _bessel_ratio(signal[n] * work[0, n] / (noise * noise))
            for p in range(3):
                right[p] += work[1 + p, n] * (target - work[0, n])
        for p in range(3):
            normal[p, p] *= 1 + damping
        if not factorize(normal, 3):
            break
        substitute(normal, right, 3)
        change = min(max(right[2], -1 / span), 1 / span)
        water, fat_signal = parameters[0] + right[0], parameters[1] + right[1]
        r2star = min(max(parameters[2] + change, -300.0), 3500.0)
        _model(times, fat, water, fat_signal, r2star, work)
        trial = _cost(signal, work[0], noise)
        small = abs(change) * span < 1e-4 and abs(right[0]) + abs(right[1]) < 1e-4 * (
            abs(parameters[0]) + abs(parameters[1])
        )
        if trial <= cost + 1e-12 * abs(cost):
            parameters[0], parameters[1], parameters[2] = water, fat_signal, r2star
            cost = trial
            damping = max(damping * 0.3, 1e-9)
            if small:
                break
        else:
            _model(times, fat, parameters[0], parameters[1], parameters[2], work)
            damping = max(damping * 10, 1e-3)
            if small or damping > 1e8:
                break
    squares = 0.0
    for n in range(echoes):
        squares += (signal[n] - work[0, n]) ** 2
    if parameters[0] + parameters[1] < 0:
        parameters[0], parameters[1] = -parameters[0], -parameters[1]
    return cost, squares
