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
from scipy.special import chdtri

from PDFFMapperLib.maps.progress import Progress, run_parallel
from PDFFMapperLib.water_fat.echo_units import checked_echo_times, checked_field_strength
from PDFFMapperLib.water_fat.magnitude_air import refuse_no_magnitudes
from PDFFMapperLib.water_fat.magnitude_kernel import fit_sides
from PDFFMapperLib.water_fat.magnitude_rivals import checked_against_rivals
from PDFFMapperLib.water_fat.multi_echo import four_dimensional
from PDFFMapperLib.water_fat.neighborhood import over_together, sum_around
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
from PDFFMapperLib.water_fat.voxel_signals import VoxelSignals

_CHUNK = 20_000
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
    refuse_no_magnitudes(magnitudes)
    mask = _usable(magnitudes, mask, notes)
    signals = VoxelSignals(magnitudes)
    notes += checked_against_rivals(signals, mask, times, field_strength_t, spectrum)
    index = np.flatnonzero(mask)
    flat = magnitudes.reshape(len(magnitudes), -1)
    if noise is None:
        sample = flat[:, index[:: max(1, len(index) // 4000)]]
        noise = _noise(np.ascontiguousarray(sample.T), times, fat)
    fits = np.empty((len(index), 2, 7), np.float32)

    def fit_part(start: int) -> None:
        part = slice(start, start + _CHUNK)
        fits[part] = fit_sides(np.ascontiguousarray(flat[:, index[part]].T), times, fat, noise)

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
        fits = fit_sides(sample, times, fat, noise)
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
    imprecise = over_together(mask, sd, _VAGUE_PDFF) | (sd >= 2 * _VAGUE_PDFF)
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
