"""Diffusional kurtosis: ln S(b) = ln S0 - b D + b^2 D^2 K / 6, voxel by voxel.

Jensen et al., MRM 2005, doi 10.1002/mrm.20508. The series holds for b D K well below 3.
"""

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
class KurtosisFit(VoxelFit):
    """Kurtosis per voxel; arrays have the image's shape, failed voxels are NaN.

    Voxels whose D is not above zero are not valid.

    Attributes:
        d: diffusion coefficient at b = 0 in 10^-3 mm^2/s.
        k: excess kurtosis, without unit.
        s0: signal at b = 0 in signal units.
        d_sd: standard deviation of `d`; NaN where the noise cannot be known.
        k_sd: standard deviation of `k`, likewise.
        s0_sd: standard deviation of `s0`, likewise.
    """

    d: np.ndarray
    k: np.ndarray
    s0: np.ndarray
    d_sd: np.ndarray
    k_sd: np.ndarray
    s0_sd: np.ndarray


def fit_kurtosis(
    signal: np.ndarray,
    b_values: Sequence[float],
    *,
    progress: Progress | None = None,
    **known: Unpack[Known],
) -> KurtosisFit:
    """Maximum likelihood fit of S0, D and K in every voxel; arguments as for `adc.fit_adc`.

    Raises:
        ValueError: too few b-values, shapes that do not match, noise that cannot be measured.
        InterruptedError: canceled.
    """
    voxels = prepared(signal, b_values, parameters=3, model="Kurtosis", **known)
    return fit_prepared(voxels, progress)


def fit_prepared(voxels: Voxels, progress: Progress | None = None) -> KurtosisFit:
    """Fit voxels from `scatter.prepared`; arguments as for `fit_kurtosis`."""
    fit = fit_log_polynomial(voxels, 2, "ml", progress)
    with np.errstate(invalid="ignore", divide="ignore"):
        valid = fit.valid & (fit.c1 > 0)
        d, c2 = np.where(valid, fit.c1, np.nan), np.where(valid, fit.c2, np.nan)
        k = 6 * c2 / d**2
        by_d, by_c2 = -2 * k / d, 6 / d**2
        c11, c21, c22 = fit.covariance[2], fit.covariance[4], fit.covariance[5]
        k_sd = np.sqrt(by_d**2 * c11 + 2 * by_d * by_c2 * c21 + by_c2**2 * c22)
    return KurtosisFit(
        d=d,
        k=k,
        s0=np.where(valid, fit.s0, np.nan),
        d_sd=np.sqrt(np.where(valid, c11, np.nan)),
        k_sd=k_sd,
        s0_sd=np.where(valid, fit.s0 * np.sqrt(fit.covariance[0]), np.nan),
        residual=fit.residual,
        r_squared=fit.r_squared,
        log_likelihood=fit.log_likelihood,
        valid=valid,
        sigma=fit.sigma,
    )
