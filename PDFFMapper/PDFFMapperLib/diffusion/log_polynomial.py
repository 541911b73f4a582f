"""Signals whose logarithm is a polynomial of b: ln S(b) = c0 - c1 b + c2 b^2, fitted per voxel.

The common ground of the apparent diffusion coefficient (c2 = 0) and kurtosis (c2 = D^2 K / 6).
Weighted least squares on ln S with weights S^2, taken from a first fit (Veraart et al.,
NeuroImage 2013, doi 10.1016/j.neuroimage.2013.05.028), then, if wanted, the maximum of the Rician
or Gaussian likelihood by Fisher scoring.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from PDFFMapperLib.diffusion.log_polynomial_kernel import (
    GAUSSIAN,
    LEAST_SQUARES,
    RICIAN,
    fit_voxels,
)
from PDFFMapperLib.diffusion.voxelwise import VoxelFit, Voxels, run_blocks
from PDFFMapperLib.maps.progress import Progress


@dataclass
class LogPolynomialFit(VoxelFit):
    """Coefficients and their covariance; arrays have the image's shape, failed voxels are NaN.

    Attributes:
        s0: exp(c0) in signal units.
        c1: in 10^-3 mm^2/s.
        c2: in 10^-6 mm^4/s^2; None for a straight line.
        covariance: of (c0, c1) or (c0, c1, c2): their 3 or 6 distinct elements row by row
            (00, 10, 11, 20, 21, 22), shape (3 or 6, ...).
    """

    s0: np.ndarray
    c1: np.ndarray
    c2: np.ndarray | None
    covariance: np.ndarray


def fit_log_polynomial(
    voxels: Voxels, order: int, method: str, progress: Progress | None
) -> LogPolynomialFit:
    """Fit a polynomial of order 1 or 2 to voxels from `scatter.prepared`.

    `method` is "ml" or "wls". Where the noise is not known the likelihood is Gaussian, and there
    are no standard deviations. Where there are no more images than parameters the curve passes
    through all of them, and there is no residual.

    Raises:
        ValueError: unknown method.
        InterruptedError: canceled.
    """
    if method not in ("ml", "wls"):
        raise ValueError(f'The method is "ml" or "wls", not {method!r}.')
    unknown = voxels.sigma is None
    likelihood = LEAST_SQUARES if method == "wls" else GAUSSIAN
    if method == "ml" and voxels.rician and not unknown:
        likelihood = RICIAN
    sigma = np.broadcast_to(1.0, voxels.signal.shape[:1]) if unknown else voxels.sigma
    maps = np.full((12, voxels.signal.shape[0]), np.nan, dtype=np.float32)

    def work(start: int, stop: int) -> None:
        index, signal = voxels.block(start, stop)
        maps[:, index] = fit_voxels(
            signal, sigma[index], voxels.precision[index], voxels.b, voxels.averages, order,
            likelihood,
        )  # fmt: skip

    run_blocks(work, voxels.usable.size, progress)
    if unknown:
        maps[3:9] = np.nan
    if voxels.b.size <= order + 1:
        maps[9:11] = np.nan
    images = [voxels.image(each) for each in maps]
    size = 3 if order == 1 else 6
    return LogPolynomialFit(
        s0=images[0],
        c1=images[1],
        c2=images[2] if order == 2 else None,
        covariance=maps[3 : 3 + size].reshape(size, *voxels.shape),
        residual=images[9],
        r_squared=images[10],
        log_likelihood=images[11],
        valid=np.isfinite(images[1]),
        sigma=math.nan if unknown else voxels.noise,
    )
