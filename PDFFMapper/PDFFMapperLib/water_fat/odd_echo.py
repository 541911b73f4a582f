"""An echo that the others contradict in more than its phase, as where the patient moved before it.

A phase error leaves hardly any voxel of which the model explains less than the noise lets expect;
an image of something else leaves many, all of which are explained once that echo is left out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from PDFFMapperLib.water_fat.field_map import ChemicalShiftModel, fit_from_candidates, noise_sd
from PDFFMapperLib.water_fat.voxel_fit import RESIDUAL

POOR_NOISE, POOR_SIGNAL = 3.0, 0.05
"""Noise SDs, and share of the signal, over both of which a residual is no noise."""
_CURED = 0.25  # most of the poorly fitted voxels that may stay so without the echo in question


def poor_share(
    signals: np.ndarray, residuals: np.ndarray, unknowns: int, least_noise: float = 0.0
) -> float:
    """Share of voxels of which a fit leaves far more than noise.

    Args:
        signals: complex, shape (voxels, echoes).
        residuals: sums of squares, shape (voxels,).
        unknowns: numbers fitted to each voxel.
        least_noise: SD of the images' noise, of which a fit of few echoes leaves less.
    """
    energy = (np.abs(signals) ** 2).sum(1)
    noise = max(noise_sd(residuals, signals, unknowns), least_noise)
    sd = np.sqrt(residuals / max(2 * signals.shape[1] - unknowns, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        poor = ~((sd < POOR_NOISE * noise) | (residuals < POOR_SIGNAL**2 * energy))
    return float(np.mean(poor))


def echo_that_contradicts(
    signals: np.ndarray,
    model: ChemicalShiftModel,
    r2star_per_s: float | None,
    share: float,
) -> int | None:
    """Index of the echo without which the others are explained, None if there is no such.

    Args:
        signals: complex64, phase errors taken off, shape (voxels, echoes).
        model: echo times and fat.
        r2star_per_s: R2* where it is known.
        share: of the voxels poorly fitted by all echoes.
    """
    echoes = signals.shape[1]
    unknowns = (5 if model.common_phase else 6) - (r2star_per_s is not None)
    if 2 * (echoes - 1) <= unknowns:
        return None
    shares = []
    for left_out in range(echoes):
        kept = np.delete(np.arange(echoes), left_out)
        part = np.ascontiguousarray(signals[:, kept])
        fewer = replace(model, echo_times_s=model.echo_times_s[kept], fat=model.fat[kept])
        fits = fit_from_candidates(part, fewer, r2star_per_s)
        shares.append(poor_share(part, fits[:, RESIDUAL], unknowns))
    least = int(np.argmin(shares))
    return least if shares[least] < _CURED * share else None
