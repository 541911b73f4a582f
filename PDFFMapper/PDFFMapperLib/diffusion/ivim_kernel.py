"""Compiled voxel-by-voxel fits of IVIM: Levenberg-Marquardt with Fisher scoring.

Units inside: signals in units of the noise, b in ms/um^2, diffusivities in 10^-3 mm^2/s. The sums
over the b-values are in single precision, whose error is far below that of the images.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from PDFFMapperLib.diffusion.vector_math import (
    LARGE,
    LEAST_SINGLE,
    bessel_single,
    exp_negative,
    exp_single,
    rician_information_single,
)

D_LIMIT = 6.0
EXCESS_LIMITS = (0.5, 1000.0)
"""Of D* - D; like all diffusivities here in 10^-3 mm^2/s."""
PRIOR_EXCESS = 30.0
"""Center of the weak prior on D* - D: the middle of what is published, 10 to 100."""
PRIOR_LOG_SD = 1.0
"""Its standard deviation in ln: 95 % lie between 4 and 210."""
PRIOR_F_WEIGHT = 0.25
"""Exponent of f (1 - f) in the weak prior on logit f: keeps f off 0 and 1, no more."""

_PRIOR = np.array([math.log(PRIOR_EXCESS), 1.0 / PRIOR_LOG_SD**2, PRIOR_F_WEIGHT])
_START_D = np.array([0.05, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0])
_START_DSTAR = np.array([5.0, 8.0, 12.0, 20.0, 35.0, 60.0, 110.0])
_START_F_LIMITS = (0.03, 0.9)
_COST_ERROR = 1e-6
"""Relative error of the log-likelihood in single precision."""
_LAST_STEP = 2e-3
"""Expected gain in log-likelihood (0.06 SD) below which a step is the last and is not evaluated."""


def fit_voxels(
    signal: np.ndarray,
    sigma: np.ndarray,
    precision: np.ndarray,
    b: np.ndarray,
    averages: np.ndarray,
    rician: bool,
    held: np.ndarray | None = None,
) -> np.ndarray:
    """Fit voxels.

    Args:
        signal: shape (voxels, n), float64.
        sigma: noise of a single image, shape (voxels,).
        precision: share of the scatter's variance that this noise is, shape (voxels,).
        b: in ms/um^2, shape (n,).
        averages: images averaged into each measurement, shape (n,).
        rician: whether the noise is Rician, else Gaussian.
        held: D and its standard deviation per voxel, shape (2, voxels), or None to fit D.

    Returns:
        Shape (12, voxels), float32: S0, D, D*, f, their standard deviations, that of f D*, RMS
        residual, R^2, log-likelihood. NaN where there is no convergence.
    """
    out = np.empty((12, signal.shape[0]), dtype=np.float32)
    held = np.empty((2, 0)) if held is None else np.ascontiguousarray(held, dtype=float)
    sigma, precision = (np.ascontiguousarray(one, dtype=float) for one in (sigma, precision))
    _fit_voxels(
        signal, sigma, precision, b, averages, rician, _PRIOR,
        *_dictionary(b, averages), held, out,
    )  # fmt: skip
    return out


def _dictionary(b: np.ndarray, averages: np.ndarray) -> tuple[np.ndarray, ...]:
    """Grids of D and D*, weighted decays to project signals on, and what solves for their shares.

    The decays have shape (b-values, slow and then fast ones). The last, shape (D*, 4, D), are the
    elements 00, 10, 11 of the inverse of each pair's products, and of the slow decay alone.
    """
    slow, fast = np.exp(-_START_D[:, None] * b), np.exp(-_START_DSTAR[:, None] * b)
    own, other = (slow**2 @ averages)[None, :], (fast**2 @ averages)[:, None]
    cross = (fast * averages) @ slow.T
    determinant = own * other - cross**2
    determinant = np.where(determinant > 1e-9 * own * other, determinant, np.inf)
    pairs = [other / determinant, -cross / determinant, own / determinant, 1 / own + 0 * cross]
    decays = np.ascontiguousarray((np.concatenate([slow, fast]) * averages).T)
    return _START_D, _START_DSTAR, decays, np.stack(pairs, axis=1)


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def _evaluate(m, b, weights, magnitudes, least, highest, prior, s, d, u, phi):
    """Penalized negative log-likelihood, its descent direction and its curvature.

    The coordinates are s = S0 / sigma, d = D, u = ln(D* - D), phi = logit f; the curvature is the
    expected (Fisher) information plus the prior's. Sums over the b-values are in single precision.
    """
    f = 1.0 / (1.0 + math.exp(-phi))
    spread = f * (1.0 - f)
    excess = math.exp(u)
    large = least * s * (1.0 - f) * exp_negative(-highest * d) >= LARGE
    height, slow_rate, fast_rate = np.float32(s), np.float32(d), np.float32(excess)
    of_slow, of_fast = np.float32(1.0 - f), np.float32(f)
    per_u, per_phi = np.float32(s * f * excess), np.float32(s * spread)
    one, half, little = np.float32(1.0), np.float32(0.5), np.float32(LEAST_SINGLE)
    cost = g0 = g1 = g2 = g3 = np.float32(0.0)
    h00 = h10 = h11 = h20 = h21 = h22 = h30 = h31 = h32 = h33 = np.float32(0.0)
    for k in range(b.size):
        slow = exp_single(-b[k] * slow_rate)
        fast = slow * exp_single(-b[k] * fast_rate)
        decay = of_slow * slow + of_fast * fast
        nu = height * decay
        apart = m[k] - nu
        log_i0, ratio = bessel_single(max(m[k] * nu, little), large)
        magnitude = magnitudes[k]
        cost += weights[k] * (half * apart * apart - magnitude * log_i0)
        pull = weights[k] * (apart + magnitude * m[k] * (ratio - one))
        curvature = weights[k] * (one + magnitude * (rician_information_single(nu) - one))
        j1 = -b[k] * nu
        j2 = -b[k] * per_u * fast
        j3 = per_phi * (fast - slow)
        g0 += pull * decay
        g1 += pull * j1
        g2 += pull * j2
        g3 += pull * j3
        c0, c1, c2 = curvature * decay, curvature * j1, curvature * j2
        h00 += c0 * decay
        h10 += c1 * decay
        h11 += c1 * j1
        h20 += c2 * decay
        h21 += c2 * j1
        h22 += c2 * j2
        h30 += c0 * j3
        h31 += c1 * j3
        h32 += c2 * j3
        h33 += curvature * j3 * j3
    penalty = 0.5 * prior[1] * (u - prior[0]) ** 2 - prior[2] * math.log(spread)
    descent = (
        float(g0),
        float(g1),
        float(g2) - prior[1] * (u - prior[0]),
        float(g3) + prior[2] * (1.0 - 2.0 * f),
    )
    return float(cost) + penalty, descent, (
        float(h00), float(h10), float(h11), float(h20), float(h21), float(h22) + prior[1],
        float(h30), float(h31), float(h32), float(h33) + 2.0 * prior[2] * spread,
    )  # fmt: skip


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def _without_d(g, h):
    """Gradient and curvature with D held still."""
    return (g[0], 0.0, g[2], g[3]), (
        h[0], 0.0, h[2], h[3], 0.0, h[5], h[6], 0.0, h[8], h[9],
    )  # fmt: skip


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def _factor(h, damping):
    """L D L' of the 4 x 4 curvature with its diagonal raised, as L and 1 / D; False if singular."""
    raised = 1.0 + damping
    p0 = h[0] * raised
    i0 = 1.0 / max(p0, 1e-300)
    l10, l20, l30 = h[1] * i0, h[3] * i0, h[6] * i0
    p1 = h[2] * raised - l10 * h[1]
    i1 = 1.0 / max(p1, 1e-300)
    a21, a31 = h[4] - l20 * h[1], h[7] - l30 * h[1]
    l21, l31 = a21 * i1, a31 * i1
    p2 = h[5] * raised - l20 * h[3] - l21 * a21
    i2 = 1.0 / max(p2, 1e-300)
    a32 = h[8] - l30 * h[3] - l31 * a21
    l32 = a32 * i2
    p3 = h[9] * raised - l30 * h[6] - l31 * a31 - l32 * a32
    i3 = 1.0 / max(p3, 1e-300)
    ok = p0 > 0.0 and p1 > 1e-13 * h[2] and p2 > 1e-13 * h[5] and p3 > 1e-13 * h[9] and p3 > 1e-290
    return ok, (i0, l10, i1, l20, l21, i2, l30, l31, l32, i3)


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def _forward(factor, g):
    """L^-1 g."""
    y1 = g[1] - factor[1] * g[0]
    y2 = g[2] - factor[3] * g[0] - factor[4] * y1
    y3 = g[3] - factor[6] * g[0] - factor[7] * y1 - factor[8] * y2
    return g[0], y1, y2, y3


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def _squared(factor, y):
    """g' H^-1 g of y = L^-1 g."""
    return (
        y[0] * y[0] * factor[0]
        + y[1] * y[1] * factor[2]
        + y[2] * y[2] * factor[5]
        + y[3] * y[3] * factor[9]
    )


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def _backward(factor, y):
    """H^-1 g of y = L^-1 g."""
    x3 = y[3] * factor[9]
    x2 = y[2] * factor[5] - factor[8] * x3
    x1 = y[1] * factor[2] - factor[4] * x2 - factor[7] * x3
    x0 = y[0] * factor[0] - factor[1] * x1 - factor[3] * x2 - factor[6] * x3
    return x0, x1, x2, x3


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def _sd(factor, gradient, hold, held_sd, follow):
    """Standard deviation of a quantity with this gradient in the coordinates.

    With D held, `follow` says how the others follow D, whose own error is `held_sd`.
    """
    g0, g1, g2, g3 = gradient
    slope = 0.0
    if hold:
        slope = (g0 * follow[0] + g1 + g2 * follow[2] + g3 * follow[3]) * held_sd
        g1 = 0.0
    y = _forward(factor, (g0, g1, g2, g3))
    return math.sqrt(_squared(factor, y) + slope * slope)


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def _best_entry(m, decays, pairs, projected, explained):
    """The slow and fast decay, as (i, j), that explain most of m, their S0 and f."""
    slow_decays = pairs.shape[2]
    projected[:] = 0.0
    for k in range(decays.shape[0]):
        for c in range(projected.size):
            projected[c] += decays[k, c] * m[k]
    best = -1.0
    row = 0
    for j in range(pairs.shape[0]):
        q = projected[slow_decays + j]
        top = -1.0
        for i in range(slow_decays):
            p = projected[i]
            of_slow = pairs[j, 0, i] * p + pairs[j, 1, i] * q
            of_fast = pairs[j, 1, i] * p + pairs[j, 2, i] * q
            both = of_slow * p + of_fast * q
            alone = p * p * pairs[j, 3, i]
            one = alone if min(of_slow, of_fast) <= 0.0 else both
            explained[j, i] = one
            top = max(top, one)
        if top > best:
            best, row = top, j
    column = 0
    while column + 1 < slow_decays and explained[row, column] < best:
        column += 1
    p, q = projected[column], projected[slow_decays + row]
    of_slow = pairs[row, 0, column] * p + pairs[row, 1, column] * q
    of_fast = pairs[row, 1, column] * p + pairs[row, 2, column] * q
    total = of_slow + of_fast
    share = of_fast / total
    if of_slow <= 0.0 or of_fast <= 0.0:
        total, share = max(p * pairs[row, 3, column], 1e-3), 0.0
    return column, row, total, min(max(share, _START_F_LIMITS[0]), _START_F_LIMITS[1])


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def _fit_voxels(
    signal, sigma, precision, b, averages, rician, prior,
    grid_d, grid_dstar, decays, pairs, held, out,
):  # fmt: skip
    """Levenberg-Marquardt with Fisher scoring from the best dictionary entry.

    `held` is empty, or D and its standard deviation per voxel. `out` gets, per voxel: S0, D, D*,
    f, their standard deviations, that of f D*, RMS residual, R^2, log-likelihood.
    """
    projected = np.empty(decays.shape[1])
    explained = np.empty((pairs.shape[0], pairs.shape[2]))
    # What fills them up to whole vectors has no weight.
    m = np.ones((b.size + 7) // 8 * 8, np.float32)
    weights, magnitudes, single_b = np.zeros((3, m.size), np.float32)
    for k in range(b.size):  # numba compiles `single_b[: b.size] = b` for two seconds
        single_b[k] = b[k]
    highest = b.max()
    low, high = math.log(EXCESS_LIMITS[0]), math.log(EXCESS_LIMITS[1])
    hold = held.shape[1] > 0
    for v in range(signal.shape[0]):
        least = math.inf
        for k in range(b.size):
            m[k] = signal[v, k] / sigma[v]
            weights[k] = averages[k] * precision[v]
            least = min(least, m[k])
            magnitudes[k] = 1.0 if rician and m[k] > 0.0 else 0.0  # below 0 it is none: Gaussian
        i, j, s, f = _best_entry(m, decays, pairs, projected, explained)
        d = held[0, v] if hold else grid_d[i]
        u = math.log(max(grid_dstar[j] - d, 1.0))
        phi = math.log(f / (1.0 - f))
        cost, g, h = _evaluate(
            m, single_b, weights, magnitudes, least, highest, prior, s, d, u, phi
        )
        damping = 1e-3
        converged = False
        for _ in range(100):
            pull, curvature = g, h
            if hold or (d <= 0.0 and g[1] <= 0.0):
                pull, curvature = _without_d(g, h)
            ok, factor = _factor(curvature, damping)
            if not ok:
                damping = max(10.0 * damping, 1e-3)
                if damping > 1e10:
                    break
                continue
            y = _forward(factor, pull)
            # The expected gain in log-likelihood: 1e-4 is 0.014 SD.
            gain = 0.5 * _squared(factor, y)
            if gain < 1e-4:
                converged = True
                break
            x = _backward(factor, y)
            s2 = max(s + x[0], 0.1 * s)
            d2 = min(max(d + x[1], 0.0), D_LIMIT)
            u2 = min(max(u + min(max(x[2], -1.5), 1.5), low), high)
            phi2 = phi + min(max(x[3], -2.0), 2.0)
            if gain < _LAST_STEP and damping < 1e-2:
                s, d, u, phi, cost = s2, d2, u2, phi2, cost - gain
                converged = True
                break
            cost2, g2, h2 = _evaluate(
                m, single_b, weights, magnitudes, least, highest, prior, s2, d2, u2, phi2
            )
            reached = (cost - cost2) / gain
            if cost2 <= cost + _COST_ERROR * (1.0 + abs(cost)):
                s, d, u, phi, cost, g, h = s2, d2, u2, phi2, cost2, g2, h2
            if reached > 0.7:
                damping *= 0.1
            elif reached < 0.3:
                damping = max(5.0 * damping, 0.1)
                if damping > 1e8:
                    # No step improves at all: a bound holds the estimate.
                    converged = True
                    break

        for c in range(out.shape[0]):
            out[c, v] = np.nan
        held_sd = 0.0
        follow = (0.0, 0.0, 0.0, 0.0)
        if hold:
            held_sd = held[1, v]
            cross = (-h[1], 0.0, -h[4], -h[7])
            _, h = _without_d(g, h)
            ok, factor = _factor(h, 0.0)
            follow = _backward(factor, _forward(factor, cross))
        else:
            ok, factor = _factor(h, 0.0)
        if not (ok and converged):
            continue
        f = 1.0 / (1.0 + math.exp(-phi))
        excess = math.exp(u)
        dstar = d + excess
        slope_f = f * (1.0 - f)
        out[0, v] = s * sigma[v]
        out[1, v] = d
        out[2, v] = dstar
        out[3, v] = f
        out[4, v] = sigma[v] * _sd(factor, (1.0, 0.0, 0.0, 0.0), hold, held_sd, follow)
        out[5, v] = _sd(factor, (0.0, 1.0, 0.0, 0.0), hold, held_sd, follow)
        out[6, v] = _sd(factor, (0.0, 1.0, excess, 0.0), hold, held_sd, follow)
        out[7, v] = _sd(factor, (0.0, 0.0, 0.0, slope_f), hold, held_sd, follow)
        out[8, v] = _sd(factor, (0.0, f, f * excess, slope_f * dstar), hold, held_sd, follow)

        total = 0.0
        mean = 0.0
        for k in range(b.size):
            total += averages[k]
            mean += averages[k] * m[k]
        mean /= total
        squares = 0.0
        spread = 0.0
        for k in range(b.size):
            nu = s * exp_negative(-b[k] * d) * (1.0 - f + f * exp_negative(-b[k] * excess))
            expected = math.sqrt(nu * nu + 1.0) if rician else nu
            squares += averages[k] * (m[k] - expected) ** 2
            spread += averages[k] * (m[k] - mean) ** 2
        out[9, v] = sigma[v] * math.sqrt(squares / total)
        out[10, v] = 1.0 - squares / spread if spread > 0.0 else np.nan
        out[11, v] = -cost - prior[2] * math.log(slope_f) + 0.5 * prior[1] * (u - prior[0]) ** 2
