"""Magnitudes of water and fat fitted voxel by voxel with the Rician likelihood, compiled."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from PDFFMapperLib.water_fat.normal_equations import factorize, invert, substitute

_STEPS = 40


@njit(cache=True, nogil=True)
def bessel_ratio(x):
    """I1(x) / I0(x) for x >= 0."""
    if x > 12:
        y = 1 / x
        return 1 - y * (0.5 + y * (0.125 + y * (0.125 + y * 0.1953125)))
    term0 = term1 = 1.0
    sum0 = sum1 = 1.0
    square = x * x / 4
    for k in range(1, 60):
        term0 *= square / (k * k)
        term1 *= square / (k * (k + 1))
        sum0 += term0
        sum1 += term1
        if term0 < 1e-12 * sum0:
            break
    return 0.5 * x * sum1 / sum0


@njit(cache=True, nogil=True)
def log_bessel(x):
    """log I0(x) - x for x >= 0."""
    if x > 12:
        y = 1 / x
        return math.log1p(y * (0.125 + y * (0.0703125 + y * 0.0732421875))) - 0.5 * math.log(
            2 * math.pi * x
        )
    term = total = 1.0
    square = x * x / 4
    for k in range(1, 60):
        term *= square / (k * k)
        total += term
        if term < 1e-12 * total:
            break
    return math.log(total) - x


@njit(cache=True, nogil=True)
def fit_sides(signals, times, fat, noise):
    """Fit each voxel from the water and from the fat side.

    Returns:
        float32, shape (voxels, 2, 7): of each side water, fat, R2*, squared residual, variances of
        the fat fraction and of R2* per noise variance, and minus twice the log-likelihood.
    """
    voxels, echoes = signals.shape
    result = np.empty((voxels, 2, 7), np.float32)
    work = np.empty((4, echoes))
    normal, covariance = np.empty((6, 6)), np.empty((6, 6))
    solution = np.empty(3)
    for v in range(voxels):
        signal = signals[v]
        first = 0.0
        for n in range(echoes):
            first = max(first, signal[n])
        for side in range(2):
            # The total from the strongest echo, 10 % or 90 % fat.
            solution[0] = first * (0.9 if side == 0 else 0.1)
            solution[1] = first * (0.1 if side == 0 else 0.9)
            solution[2] = 40.0
            out = result[v, side]
            out[6], out[3] = _descend(signal, times, fat, noise, solution, work, normal)
            water, fat_signal, r2star = solution
            magnitude_model(times, fat, water, fat_signal, r2star, work)
            _normal(work, echoes, normal)
            out[0], out[1], out[2] = water, fat_signal, r2star
            out[4] = out[5] = np.nan
            total = water + fat_signal
            if factorize(normal, 3) and total > 0:
                invert(normal, 3, covariance)
                a, b = -fat_signal / total**2, water / total**2
                out[4] = a * a * covariance[0, 0] + 2 * a * b * covariance[0, 1]
                out[4] += b * b * covariance[1, 1]
                out[5] = covariance[2, 2]
    return result


@njit(cache=True, nogil=True)
def magnitude_model(times, fat, water, fat_signal, r2star, work):
    """Model magnitudes into work[0], derivatives by water, fat and R2* into work[1:4]."""
    for n in range(times.size):
        decay = math.exp(min(-r2star * times[n], 50.0))
        real = water + fat_signal * fat[n].real
        imag = fat_signal * fat[n].imag
        size = math.sqrt(real * real + imag * imag)
        scale = 1 / max(size, 1e-30)
        work[0, n] = size * decay
        work[1, n] = real * scale * decay
        work[2, n] = (real * fat[n].real + imag * fat[n].imag) * scale * decay
        work[3, n] = -times[n] * work[0, n]


@njit(cache=True, nogil=True)
def _normal(work, echoes, normal):
    for p in range(3):
        for q in range(p + 1):
            total = 0.0
            for n in range(echoes):
                total += work[1 + p, n] * work[1 + q, n]
            normal[p, q] = total


@njit(cache=True, nogil=True)
def _cost(signal, model, noise):
    """Minus twice the log-likelihood, up to a constant; squares without noise."""
    total = 0.0
    for n in range(signal.size):
        difference = signal[n] - model[n]
        total += difference * difference
    if noise > 0:
        total /= noise * noise
        for n in range(signal.size):
            total -= 2 * log_bessel(signal[n] * model[n] / (noise * noise))
    return total


@njit(cache=True, nogil=True)
def _descend(signal, times, fat, noise, parameters, work, normal):
    """Damped Gauss-Newton from `parameters` (changed in place); returns cost and squares.

    The Rician likelihood's gradient is that of least squares to the expected in-phase part of
    the measured magnitude, m I1/I0.
    """
    echoes = signal.size
    right = np.empty(3)
    magnitude_model(times, fat, parameters[0], parameters[1], parameters[2], work)
    cost = _cost(signal, work[0], noise)
    damping = 1e-3
    span = times[-1]
    for _ in range(_STEPS):
        _normal(work, echoes, normal)
        for p in range(3):
            right[p] = 0.0
        for n in range(echoes):
            target = float(signal[n])
            if noise > 0:
                target *= bessel_ratio(signal[n] * work[0, n] / (noise * noise))
            for p in range(3):
                right[p] += work[1 + p, n] * (target - work[0, n])
        for p in range(3):
            normal[p, p] *= 1 + damping
        if not factorize(normal, 3):
            break
        substitute(normal, right, 3)
        change = min(max(right[2], -1 / span), 1 / span)
        water, fat_signal = parameters[0] + right[0], parameters[1] + right[1]
        r2star = min(max(parameters[2] + change, -300.0), 3500.0)
        magnitude_model(times, fat, water, fat_signal, r2star, work)
        trial = _cost(signal, work[0], noise)
        small = abs(change) * span < 1e-4 and abs(right[0]) + abs(right[1]) < 1e-4 * (
            abs(parameters[0]) + abs(parameters[1])
        )
        if trial <= cost + 1e-12 * abs(cost):
            parameters[0], parameters[1], parameters[2] = water, fat_signal, r2star
            cost = trial
            damping = max(damping * 0.3, 1e-9)
            if small:
                break
        else:
            magnitude_model(times, fat, parameters[0], parameters[1], parameters[2], work)
            damping = max(damping * 10, 1e-3)
            if small or damping > 1e8:
                break
    squares = 0.0
    for n in range(echoes):
        squares += (signal[n] - work[0, n]) ** 2
    if parameters[0] + parameters[1] < 0:
        parameters[0], parameters[1] = -parameters[0], -parameters[1]
    return cost, squares
