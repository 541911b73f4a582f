"""Apparent diffusion coefficient: S(b) = S0 exp(-b ADC), voxel by voxel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from PDFFMapperLib.diffusion.log_polynomial import fit_log_polynomial
from PDFFMapperLib.diffusion.scatter import prepared
from PDFFMapperLib.diffusion.voxelwise import VoxelFit, Voxels, checked_b_values
from PDFFMapperLib.maps.progress import Progress


@dataclass
class AdcFit(VoxelFit):
    """ADC per voxel; arrays have the image's shape, failed voxels are NaN.

    Attributes:
        adc: apparent diffusion coefficient in 10^-3 mm^2/s; may be slightly negative in noise.
        s0: signal at b = 0 in signal units.
        adc_sd: standard deviation of `adc`; NaN where the noise cannot be known.
        s0_sd: standard deviation of `s0`, likewise.
    """

    adc: np.ndarray
    s0: np.ndarray
    adc_sd: np.ndarray
    s0_sd: np.ndarray


def fit_adc(
    signal: np.ndarray,
    b_values: Sequence[float],
    *,
    method: str = "ml",
    b_range: tuple[float, float] | None = None,
    sigma: float | np.ndarray | None = None,
    averages: Sequence[float] | None = None,
    mask: np.ndarray | None = None,
    noise: str = "rician",
    progress: Progress | None = None,
) -> AdcFit:
    """Fit the apparent diffusion coefficient in every voxel.

    Args:
        signal: shape (..., n) of magnitude images (or real-valued ones with noise="gaussian").
        b_values: n values in s/mm^2; any order, repeats allowed, b = 0 not needed.
        method: "ml" for maximum likelihood, "wls" for weighted least squares on ln S.
        b_range: lowest and highest b-value used, in s/mm^2; all if None.
        sigma: noise standard deviation of a single image in signal units, a number or one per
            voxel; if None it is measured from the residuals of the whole series. Two images leave
            none: then the noise floor is not corrected, and there is no standard deviation.
        averages: how many images were averaged into each of the n; 1 if not given.
        mask: voxels to fit, shape (...); all if not given.
        noise: "rician" for magnitude images, "gaussian" for real-valued ones ("ml" only).
        progress: called with the fraction done; answering False cancels.

    Raises:
        ValueError: too few b-values, shapes that do not match, noise that cannot be measured.
        InterruptedError: canceled.
    """
    signal = np.asarray(signal)
    if b_range is not None:
        b = checked_b_values(b_values)
        chosen = (b >= b_range[0]) & (b <= b_range[1])
        if signal.shape[-1:] == b.shape and not chosen.all():
            signal, b_values = signal[..., chosen], b[chosen]
            averages = None if averages is None else np.asarray(averages)[chosen]
            if not chosen.any():
                raise ValueError(f"No b-value lies within {b_range[0]:g} to {b_range[1]:g} s/mm^2.")
    voxels = prepared(
        signal,
        b_values,
        parameters=2,
        model="The ADC",
        sigma=sigma,
        averages=averages,
        mask=mask,
        noise=noise,
    )
    return fit_prepared(voxels, noise, method, progress)


def fit_prepared(
    voxels: Voxels, noise: str, method: str = "ml", progress: Progress | None = None
) -> AdcFit:
    """Fit voxels from `scatter.prepared`; arguments as for `fit_adc`."""
    fit = fit_log_polynomial(voxels, 1, method, noise, progress)
    return AdcFit(
        adc=fit.c1,
        s0=fit.s0,
        adc_sd=np.sqrt(fit.covariance[2]),
        s0_sd=fit.s0 * np.sqrt(fit.covariance[0]),
        residual=fit.residual,
        r_squared=fit.r_squared,
        log_likelihood=fit.log_likelihood,
        valid=fit.valid,
        sigma=fit.sigma,
    )
