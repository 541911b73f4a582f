"""Noise of magnitude images: the Rice distribution and the ways to measure its sigma.

A magnitude sample m of a true signal nu with Gaussian noise sigma in both channels has density
m/sigma^2 exp(-(m^2 + nu^2) / 2 sigma^2) I0(m nu / sigma^2); Gudbjartsson and Patz, MRM 1995,
doi 10.1002/mrm.1910340618. `vector_math` has its compiled functions.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

_TABLE_STEP = 0.05
_TABLE_END = 12.0


def _information_table() -> np.ndarray:
    nu = np.arange(0.0, _TABLE_END + _TABLE_STEP / 2, _TABLE_STEP)[:, None]
    m = np.linspace(0.0, _TABLE_END + 9.0, 2101)[None, :]
    density = m * np.exp(-0.5 * (m - nu) ** 2) * special.i0e(m * nu)
    score = m * special.i1e(m * nu) / special.i0e(m * nu) - nu
    return (density * score**2).sum(axis=1) * (m[0, 1] - m[0, 0])


INFORMATION_TABLE = _information_table()
"""Fisher information on nu in one Rician sample, at nu = 0, 0.05 ... 12 sigma.

It falls from 1 (Gaussian) to 0 at nu = 0; Karlsen et al., MRM 1999,
doi 10.1002/(SICI)1522-2594(199903)41:3<614::AID-MRM26>3.0.CO;2-1.
"""


def rician_mean(nu: np.ndarray) -> np.ndarray:
    """Expected magnitude of a true signal `nu`, both in units of sigma."""
    x = np.asarray(nu, dtype=float) ** 2 / 4
    return math.sqrt(math.pi / 2) * ((1 + 2 * x) * special.i0e(x) + 2 * x * special.i1e(x))


def rician_mean_slope(nu: np.ndarray) -> np.ndarray:
    """Derivative of `rician_mean`."""
    nu = np.asarray(nu, dtype=float)
    return math.sqrt(math.pi / 8) * nu * (special.i0e(nu**2 / 4) + special.i1e(nu**2 / 4))


def sigma_from_background(background: np.ndarray) -> float:
    """Noise sigma from magnitude samples of air, where they follow the Rayleigh distribution.

    Args:
        background: samples of air only, any shape; not masked to zero by the scanner.

    Raises:
        ValueError: fewer than 100 samples, a zero-filled background, or samples that are not
            Rayleigh-distributed (signal or ghosts in the region, several coils, filtering).
    """
    samples = np.asarray(background, dtype=float).ravel()
    samples = samples[np.isfinite(samples)]
    if samples.size < 100:
        raise ValueError(f"At least 100 background samples are needed, given were {samples.size}.")
    if np.mean(samples <= 0) > 0.05:
        raise ValueError(
            f"{np.mean(samples <= 0):.0%} of the background is zero: the scanner has masked it. "
            "Measure sigma from repeated images, or give it."
        )
    sigma = float(np.sqrt(np.mean(samples**2) / 2))
    # The ratio of Rayleigh mean to SD is 1.913 whatever sigma is.
    ratio = samples.mean() / samples.std()
    if not 1.75 < ratio < 2.1:
        raise ValueError(
            f"The background's mean over SD is {ratio:.2f}, where pure noise of one receiver gives "
            "1.91: the region holds signal or ghosts, or coils were combined. Choose another "
            "region, measure sigma from repeated images, or give it."
        )
    return sigma


def sigma_from_repeats(repeats: np.ndarray) -> float:
    """Noise sigma from repeated magnitude images of the same contrast.

    Args:
        repeats: shape (..., n), n >= 2 images of one b-value and direction; voxels whose mean is
            below five times the noise are left out, since Rician noise is narrower there.

    Raises:
        ValueError: fewer than two images, or no voxel with enough signal.
    """
    images = np.asarray(repeats, dtype=float)
    if images.ndim == 0 or images.shape[-1] < 2:
        raise ValueError("At least two repeated images are needed to measure the noise from them.")
    images = images.reshape(-1, images.shape[-1])
    images = images[np.isfinite(images).all(axis=1)]
    mean, variance = images.mean(axis=1), images.var(axis=1, ddof=1)
    degrees = images.shape[1] - 1
    bright = (mean > 0) & (variance > 0)
    sigma = math.nan
    for _ in range(3):
        if not bright.any():
            raise ValueError(
                "No voxel of the repeated images has signal above five times the noise."
            )
        sigma = _sigma_from_squares(variance[bright] * degrees, degrees)
        bright = (mean > 5 * sigma) & (variance > 0)
    return sigma


def chi_squared_quantile(
    share: float, degrees_of_freedom: np.ndarray | float
) -> np.ndarray | float:
    """As `scipy.stats.chi2.ppf`; that takes .3 s to import."""
    return 2 * special.gammaincinv(np.asarray(degrees_of_freedom) / 2, share)


def _sigma_from_squares(sums_of_squares: np.ndarray, degrees_of_freedom: float) -> float:
    """Noise sigma from residual sums of squares of many voxels, robust to misfits (median)."""
    return float(
        np.sqrt(
            np.median(sums_of_squares) / chi_squared_quantile(0.5, max(degrees_of_freedom, 1e-9))
        )
    )
