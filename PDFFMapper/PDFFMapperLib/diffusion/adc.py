"""Apparent diffusion coefficient: S(b) = S0 exp(-b ADC), voxel by voxel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from PDFFMapperLib.diffusion.log_polynomial import fit_log_polynomial
from PDFFMapperLib.diffusion.scatter import prepared
from PDFFMapperLib.diffusion.voxelwise import Known, VoxelFit, Voxels
from PDFFMapperLib.maps.progress import Progress

if TYPE_CHECKING:  # from Python 3.11 on
    from typing import Unpack


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
    progress: Progress | None = None,
    **known: Unpack[Known],
) -> AdcFit:
    """Fit the apparent diffusion coefficient in every voxel.

    Args:
        signal: shape (..., n) of magnitude images (or real-valued ones with noise="gaussian").
        b_values: n values in s/mm^2; any order, repeats allowed, b = 0 not needed.
        method: "ml" for maximum likelihood, "wls" for weighted least squares on ln S, for which
            noise is Gaussian.
        progress: called with the fraction done; answering False cancels.
        known: see `Known`. Two images leave no residual to measure sigma from: then the noise
            floor is not corrected, and there is no standard deviation.

    Raises:
        ValueError: too few b-values, shapes that do not match, noise that cannot be measured.
        InterruptedError: canceled.
    """
    voxels = prepared(signal, b_values, parameters=2, model="The ADC", **known)
    return fit_prepared(voxels, method, progress)


def fit_prepared(voxels: Voxels, method: str = "ml", progress: Progress | None = None) -> AdcFit:
    """Fit voxels from `scatter.prepared`; arguments as for `fit_adc`."""
    fit = fit_log_polynomial(voxels, 1, method, progress)
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
