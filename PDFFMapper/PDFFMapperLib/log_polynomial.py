"""Signals whose logarithm is a polynomial of b: ln S(b) = c0 - c1 b + c2 b^2, fitted per voxel.

The common ground of the apparent diffusion coefficient (c2 = 0) and kurtosis (c2 = D^2 K / 6).
Weighted least squares on ln S with weights S^2, taken from a first fit (Veraart et al.,
NeuroImage 2013, doi 10.1016/j.neuroimage.2013.05.028), then, if wanted, the maximum of the Rician
or Gaussian likelihood by Fisher scoring.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from PDFFMapperLib.noise import (
    INFORMATION_TABLE,
    bessel_ratio,
    log_bessel_i0_scaled,
    rician_information,
    sigma_from_squares,
)
from PDFFMapperLib.voxelwise import Progress, prepare, run_blocks

RATE_LIMIT = 10.0
"""|c1| beyond this, in 10^-3 mm^2/s, is no diffusion: the voxel has failed."""
_SIGMA_SAMPLE = 4000


@dataclass
class LogPolynomialFit:
    """Coefficients and their covariance; arrays have the image's shape, failed voxels are NaN.

    Attributes:
        s0: exp(c0) in signal units.
        c1: in 10^-3 mm^2/s.
        c2: in 10^-6 mm^4/s^2; None for a straight line.
        covariance: of (c0, c1) or (c0, c1, c2): their 3 or 6 distinct elements row by row
            (00, 10, 11, 20, 21, 22), shape (3 or 6, ...).
        residual: root mean square residual in signal units.
        r_squared: share of the signal's variance over b that the model explains.
        log_likelihood: at the estimate, up to a constant that all models of a voxel share.
        valid: voxels that were fitted.
        sigma: noise of a single image that was used; NaN where it could not be known.
    """

    s0: np.ndarray
    c1: np.ndarray
    c2: np.ndarray | None
    covariance: np.ndarray
    residual: np.ndarray
    r_squared: np.ndarray
    log_likelihood: np.ndarray
    valid: np.ndarray
    sigma: float | np.ndarray


def fit_log_polynomial(
    signal: np.ndarray,
    b_values: Sequence[float],
    order: int,
    *,
    model: str,
    method: str,
    sigma: float | np.ndarray | None,
    averages: Sequence[float] | None,
    mask: np.ndarray | None,
    noise: str,
    progress: Progress | None,
) -> LogPolynomialFit | None:
    """Fit a polynomial of order 1 or 2; arguments as for `adc.fit_adc`.

    Returns:
        None when canceled.

    Raises:
        ValueError: unknown method or noise, too few b-values, noise that cannot be measured.
    """
    if method not in ("ml", "wls"):
        raise ValueError(f'The method is "ml" or "wls", not {method!r}.')
    if noise not in ("rician", "gaussian"):
        raise ValueError(f'The noise is "rician" or "gaussian", not {noise!r}.')
    voxels = prepare(
        signal,
        b_values,
        parameters=order + 1,
        model=model,
        sigma=sigma,
        averages=averages,
        mask=mask,
        allow_negative=noise == "gaussian" and method == "ml",
    )
    degrees = voxels.b.size - order - 1
    if voxels.sigma is None and degrees == 0 and method == "ml" and noise == "rician":
        raise ValueError(
            f"{voxels.b.size} images leave no residual to measure the noise from: give sigma, "
            'or use the method "wls".'
        )

    def fitted(index: np.ndarray, noise_sd: np.ndarray, likelihood: int) -> np.ndarray:
        out = np.empty((12, index.size), dtype=np.float32)
        block = np.ascontiguousarray(voxels.signal[index], dtype=np.float64)
        _fit_voxels(
            block, noise_sd, voxels.b, voxels.averages, order, likelihood, INFORMATION_TABLE, out
        )
        return out

    if voxels.sigma is None:
        sample = voxels.sample(_SIGMA_SAMPLE)
        level = float(np.median(voxels.signal[sample].max(axis=1))) if sample.size else 1.0
        value = level / 30
        if degrees and sample.size:
            squares = fitted(sample, np.full(sample.size, value), 0)[9].astype(float) ** 2
            squares = squares[np.isfinite(squares)] * voxels.averages.sum()
            value = max(sigma_from_squares(squares, degrees), 1e-6 * level)
        voxels.sigma = np.broadcast_to(value, voxels.signal.shape[:1])
    likelihood = 0 if method == "wls" else (2 if noise == "rician" else 1)
    maps = np.full((12, voxels.signal.shape[0]), np.nan, dtype=np.float32)

    def work(start: int, stop: int) -> None:
        index = voxels.usable[start:stop]
        maps[:, index] = fitted(index, voxels.sigma[index], likelihood)

    if not run_blocks(work, voxels.usable.size, progress):
        return None
    images = [voxels.image(each) for each in maps]
    unknown = sigma is None and degrees == 0
    if unknown:
        for each in images[3:9]:
            each[...] = np.nan
    size = 3 if order == 1 else 6
    if sigma is not None and np.ndim(sigma):
        used = voxels.image(voxels.sigma)
    else:
        used = math.nan if unknown or not voxels.sigma.size else float(voxels.sigma[0])
    return LogPolynomialFit(
        s0=images[0],
        c1=images[1],
        c2=images[2] if order == 2 else None,
        covariance=maps[3 : 3 + size].reshape(size, *voxels.shape),
        residual=images[9],
        r_squared=images[10],
        log_likelihood=images[11],
        valid=np.isfinite(images[1]),
        sigma=used,
    )


@njit(cache=True, fastmath=True, nogil=True)
def _solve(h, g, order):
    """Solution and inverse (as 6 elements) of the symmetric 2 x 2 or 3 x 3 system h x = g."""
    h00, h10, h11, h20, h21, h22 = h
    if order == 1:
        determinant = h00 * h11 - h10 * h10
        ok = determinant > 1e-12 * h00 * h11
        t = 1.0 / determinant if ok else 0.0
        i00, i10, i11 = h11 * t, -h10 * t, h00 * t
        i20 = i21 = i22 = 0.0
    else:
        c00 = h11 * h22 - h21 * h21
        c10 = h21 * h20 - h10 * h22
        c20 = h10 * h21 - h11 * h20
        determinant = h00 * c00 + h10 * c10 + h20 * c20
        ok = determinant > 1e-13 * h00 * h11 * h22
        t = 1.0 / determinant if ok else 0.0
        i00, i10, i20 = c00 * t, c10 * t, c20 * t
        i11 = (h00 * h22 - h20 * h20) * t
        i21 = (h10 * h20 - h00 * h21) * t
        i22 = (h00 * h11 - h10 * h10) * t
    x0 = i00 * g[0] + i10 * g[1] + i20 * g[2]
    x1 = i10 * g[0] + i11 * g[1] + i21 * g[2]
    x2 = i20 * g[0] + i21 * g[1] + i22 * g[2]
    return ok, (x0, x1, x2), (i00, i10, i11, i20, i21, i22)


@njit(cache=True, fastmath=True, nogil=True)
def _evaluate(m, b, averages, order, likelihood, table, c0, c1, c2):
    """Negative log-likelihood, its descent direction and the Fisher information."""
    cost = g0 = g1 = g2 = h00 = h10 = h11 = h20 = h21 = h22 = 0.0
    for k in range(b.size):
        nu = math.exp(min(c0 - b[k] * c1 + b[k] * b[k] * c2, 60.0))
        apart = m[k] - nu
        term = 0.5 * apart * apart
        pull = averages[k] * apart
        weight = averages[k]
        if likelihood == 2:
            x = m[k] * nu
            term -= log_bessel_i0_scaled(x)
            pull += averages[k] * m[k] * (bessel_ratio(x) - 1.0)
            weight *= rician_information(nu, table)
        cost += averages[k] * term
        pull *= nu
        weight *= nu * nu
        j1 = -b[k]
        g0 += pull
        g1 += pull * j1
        h00 += weight
        h10 += weight * j1
        h11 += weight * j1 * j1
        if order == 2:
            j2 = b[k] * b[k]
            g2 += pull * j2
            h20 += weight * j2
            h21 += weight * j2 * j1
            h22 += weight * j2 * j2
    return cost, (g0, g1, g2), (h00, h10, h11, h20, h21, h22)


@njit(cache=True, fastmath=True, nogil=True)
def _fit_voxels(signal, sigma, b, averages, order, likelihood, table, out):
    """`likelihood`: 0 least squares on ln S, 1 Gaussian, 2 Rician."""
    m = np.empty(b.size)
    for v in range(signal.shape[0]):
        for c in range(12):
            out[c, v] = np.nan
        for k in range(b.size):
            m[k] = signal[v, k] / sigma[v]
        c0 = c1 = c2 = 0.0
        ok = True
        for repeat in range(2):
            g0 = g1 = g2 = h00 = h10 = h11 = h20 = h21 = h22 = 0.0
            for k in range(b.size):
                if m[k] <= 0.0:
                    continue
                nu = m[k]
                if repeat:
                    nu = math.exp(min(c0 - b[k] * c1 + b[k] * b[k] * c2, 60.0))
                weight = averages[k] * nu * nu
                y = math.log(m[k])
                j1 = -b[k]
                j2 = b[k] * b[k]
                g0 += weight * y
                g1 += weight * y * j1
                g2 += weight * y * j2
                h00 += weight
                h10 += weight * j1
                h11 += weight * j1 * j1
                h20 += weight * j2
                h21 += weight * j2 * j1
                h22 += weight * j2 * j2
            ok, x, covariance = _solve(
                (h00, h10, h11, h20, h21, h22), (g0, g1, g2 if order == 2 else 0.0), order
            )
            if not ok:
                break
            c0, c1, c2 = x
        if not ok:
            continue
        cost, g, h = _evaluate(m, b, averages, order, likelihood, table, c0, c1, c2)
        if likelihood:
            converged = False
            damping = 0.0
            for _ in range(100):
                raised = 1.0 + damping
                damped = (h[0] * raised, h[1], h[2] * raised, h[3], h[4], h[5] * raised)
                ok, x, covariance = _solve(damped, g, order)
                if not ok:
                    break
                gain = 0.5 * (x[0] * g[0] + x[1] * g[1] + x[2] * g[2])
                if gain < 1e-5:
                    converged = True
                    break
                n0 = c0 + min(max(x[0], -1.0), 1.0)
                n1 = c1 + min(max(x[1], -1.0), 1.0)
                n2 = c2 + min(max(x[2], -1.0), 1.0)
                cost2, g2_, h2_ = _evaluate(m, b, averages, order, likelihood, table, n0, n1, n2)
                reached = (cost - cost2) / gain
                if cost2 <= cost:
                    c0, c1, c2, cost, g, h = n0, n1, n2, cost2, g2_, h2_
                if reached > 0.7:
                    damping = 0.1 * damping if damping > 1e-3 else 0.0
                elif reached < 0.3:
                    damping = max(5.0 * damping, 0.3)
                    if damping > 1e6:
                        converged = True
                        break
            if not converged:
                continue
        ok, x, covariance = _solve(h, g, order)
        if not ok or abs(c1) > RATE_LIMIT:
            continue
        out[0, v] = sigma[v] * math.exp(min(c0, 60.0))
        out[1, v] = c1
        out[2, v] = c2
        for c in range(6):
            out[3 + c, v] = covariance[c]
        total = mean = 0.0
        for k in range(b.size):
            total += averages[k]
            mean += averages[k] * m[k]
        mean /= total
        squares = spread = 0.0
        for k in range(b.size):
            nu = math.exp(min(c0 - b[k] * c1 + b[k] * b[k] * c2, 60.0))
            expected = math.sqrt(nu * nu + 1.0) if likelihood == 2 else nu
            squares += averages[k] * (m[k] - expected) ** 2
            spread += averages[k] * (m[k] - mean) ** 2
        out[9, v] = sigma[v] * math.sqrt(squares / total)
        out[10, v] = 1.0 - squares / spread if spread > 0.0 else np.nan
        out[11, v] = -cost
