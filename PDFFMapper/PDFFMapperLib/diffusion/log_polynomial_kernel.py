"""Compiled voxel-by-voxel fits of ln S(b) = c0 - c1 b + c2 b^2.

Units inside: signals in units of the noise, b in ms/um^2, c1 in 10^-3 mm^2/s.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from PDFFMapperLib.diffusion.vector_math import LEAST, bessel, rician_information

RATE_LIMIT = 10.0
"""|c1| beyond this, in 10^-3 mm^2/s, is no diffusion: the voxel has failed."""
LEAST_SQUARES, GAUSSIAN, RICIAN = 0, 1, 2


def fit_voxels(
    signal: np.ndarray,
    sigma: np.ndarray,
    precision: np.ndarray,
    b: np.ndarray,
    averages: np.ndarray,
    order: int,
    likelihood: int,
) -> np.ndarray:
    """Fit voxels; arguments as for `ivim_kernel.fit_voxels`.

    Args:
        order: 1 or 2.
        likelihood: LEAST_SQUARES (weighted, on ln S), GAUSSIAN or RICIAN.

    Returns:
        Shape (12, voxels), float32: S0, c1, c2, the covariance of (c0, c1, c2) as its elements
        00, 10, 11, 20, 21, 22, RMS residual, R^2, log-likelihood. NaN where the fit fails.
    """
    out = np.empty((12, signal.shape[0]), dtype=np.float32)
    sigma, precision = (np.ascontiguousarray(one, dtype=float) for one in (sigma, precision))
    _fit_voxels(signal, sigma, precision, b, averages, order, likelihood, out)
    return out


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
def _evaluate(m, b, weights, order, likelihood, c0, c1, c2):
    """Negative log-likelihood, its descent direction and the Fisher information."""
    cost = g0 = g1 = g2 = h00 = h10 = h11 = h20 = h21 = h22 = 0.0
    for k in range(b.size):
        nu = math.exp(min(c0 - b[k] * c1 + b[k] * b[k] * c2, 60.0))
        apart = m[k] - nu
        term = 0.5 * apart * apart
        pull = weights[k] * apart
        weight = weights[k]
        if likelihood == 2 and m[k] > 0.0:  # below 0 is no magnitude: Gaussian
            log_i0, ratio = bessel(max(m[k] * nu, LEAST), False)
            term -= log_i0
            pull += weights[k] * m[k] * (ratio - 1.0)
            weight *= rician_information(nu)
        cost += weights[k] * term
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
def _fit_voxels(signal, sigma, precision, b, averages, order, likelihood, out):
    m = np.empty(b.size)
    weights = np.empty(b.size)
    for v in range(signal.shape[0]):
        for c in range(12):
            out[c, v] = np.nan
        for k in range(b.size):
            m[k] = signal[v, k] / sigma[v]
            weights[k] = averages[k] * precision[v]
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
                weight = weights[k] * nu * nu
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
        cost, g, h = _evaluate(m, b, weights, order, likelihood, c0, c1, c2)
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
                cost2, g2_, h2_ = _evaluate(m, b, weights, order, likelihood, n0, n1, n2)
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
