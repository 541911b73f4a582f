"""Water and fat with an R2* each: voxelwise fit, and whether the data support it.

The model of Chebrolu 2010 (doi 10.1002/mrm.22300) with one phase for water and fat. A second R2*
costs precision of the PDFF, most where one of the two is scarce; it is worth that only where the
corrected Akaike criterion of a neighborhood or a region prefers it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from PDFFMapperLib.water_fat.normal_equations import factorize, invert, normal_equations, substitute
from PDFFMapperLib.water_fat.voxel_fit import R2STAR_RANGE

_MAX_STEPS = 30
_UNKNOWNS = 6
COLUMNS = 9


@njit(cache=True, nogil=True)
def fit_two_decays(signals, times, fat, starts_hz, starts_r2star):
    """Fit each voxel from the result of its fit with a single R2*.

    Args:
        signals: complex64, shape (voxels, echoes), four echoes or more.
        times: echo times in s, shape (echoes,).
        fat: complex signal of unit fat, shape (echoes,).
        starts_hz: off-resonance, shape (voxels,).
        starts_r2star: R2* in 1/s, shape (voxels,).

    Returns:
        float32, shape (voxels, 9): water, fat, R2* of water and of fat (1/s), off-resonance (Hz),
        sum of squared residuals, variances of the fat fraction (0 to 1) and of both R2* for
        noise of SD 1. A row that did not converge is NaN.
    """
    voxels, echoes = signals.shape
    result = np.empty((voxels, COLUMNS), np.float32)
    columns = np.empty((_UNKNOWNS, echoes), np.complex128)
    residual = np.empty(echoes, np.complex128)
    decays = np.empty((2, echoes))
    linear = np.empty(3)
    normal, covariance = np.empty((_UNKNOWNS, _UNKNOWNS)), np.empty((_UNKNOWNS, _UNKNOWNS))
    right = np.empty(_UNKNOWNS)
    span = times[-1] - times[0]
    for v in range(voxels):
        signal = signals[v]
        offset = np.float64(starts_hz[v])
        of_water = of_fat = np.float64(starts_r2star[v])
        squares = _solve(signal, times, fat, offset, of_water, of_fat, residual, decays, linear)
        damping, converged = 1e-3, False
        for _ in range(_MAX_STEPS):
            _derivatives(times, fat, decays, linear, columns)
            normal_equations(columns, residual, _UNKNOWNS, normal, right)
            for p in range(3, _UNKNOWNS):
                normal[p, p] *= 1 + damping
            if not factorize(normal, _UNKNOWNS):
                break
            substitute(normal, right, _UNKNOWNS)
            turn = min(max(right[3], -0.15 / span), 0.15 / span)
            first = min(max(right[4], -1 / span), 1 / span)
            second = min(max(right[5], -1 / span), 1 / span)
            before = squares
            squares = _solve(
                signal, times, fat, offset + turn, of_water + first, of_fat + second,
                residual, decays, linear,
            )  # fmt: skip
            small = abs(turn) * 2 * math.pi * span < 3e-4
            small = small and abs(first) * span < 3e-4 and abs(second) * span < 3e-4
            if squares <= before * (1 + 1e-9) + 1e-30:
                offset, of_water, of_fat = offset + turn, of_water + first, of_fat + second
                damping *= 0.2
                converged = small
            else:
                converged = small
                squares = _solve(
                    signal, times, fat, offset, of_water, of_fat, residual, decays, linear
                )
                damping = max(damping * 10, 0.1)
            if converged:
                break
        low, high = R2STAR_RANGE
        converged = converged and low < of_water < high and low < of_fat < high
        _derivatives(times, fat, decays, linear, columns)
        normal_equations(columns, residual, _UNKNOWNS, normal, right)
        if not (converged and linear[0] + linear[1] > 0 and factorize(normal, _UNKNOWNS)):
            result[v] = np.nan
            continue
        invert(normal, _UNKNOWNS, covariance)
        # Amplitudes refer to the first echo inside; back to echo time 0.
        water_back = math.exp(min(of_water * times[0], 50.0))
        fat_back = math.exp(min(of_fat * times[0], 50.0))
        water, fat_signal = linear[0] * water_back, linear[1] * fat_back
        total = water + fat_signal
        by_water, by_fat = -fat_signal / total**2, water / total**2
        gradient = (
            by_water * water_back, by_fat * fat_back, 0.0, 0.0,
            by_water * water * times[0], by_fat * fat_signal * times[0],
        )  # fmt: skip
        variance = 0.0
        for p in range(_UNKNOWNS):
            for q in range(_UNKNOWNS):
                variance += gradient[p] * covariance[p, q] * gradient[q]
        out = result[v]
        out[0], out[1], out[2], out[3], out[4] = water, fat_signal, of_water, of_fat, offset
        out[5], out[6], out[7], out[8] = squares, variance, covariance[4, 4], covariance[5, 5]
    return result


@njit(cache=True, nogil=True)
def _solve(signal, times, fat, offset_hz, of_water, of_fat, residual, decays, linear):
    """Best water, fat and phase into `linear`; residual in the model's frame; its squares."""
    ww = ff = wf = 0.0
    z0, z1 = 0j, 0j
    for n in range(signal.size):
        time = times[n] - times[0]
        angle = -2 * math.pi * offset_hz * times[n]
        residual[n] = signal[n] * complex(math.cos(angle), math.sin(angle))
        decays[0, n], decays[1, n] = math.exp(-of_water * time), math.exp(-of_fat * time)
        wave = fat[n] * decays[1, n]
        ww += decays[0, n] ** 2
        ff += wave.real**2 + wave.imag**2
        wf += decays[0, n] * wave.real
        z0 += decays[0, n] * residual[n]
        z1 += wave.conjugate() * residual[n]
    determinant = max(ww * ff - wf * wf, 1e-12 * ww * ff)
    form = (ff * z0 * z0 + ww * z1 * z1 - 2 * wf * z0 * z1) / determinant
    phase = 0.5 * math.atan2(form.imag, form.real)
    back = complex(math.cos(phase), -math.sin(phase))
    b0, b1 = (z0 * back).real, (z1 * back).real
    water, fat_signal = (ff * b0 - wf * b1) / determinant, (ww * b1 - wf * b0) / determinant
    if water + fat_signal < 0:
        water, fat_signal, back = -water, -fat_signal, -back
    squares = 0.0
    for n in range(signal.size):
        model = water * decays[0, n] + fat_signal * fat[n] * decays[1, n]
        residual[n] = residual[n] * back - model
        squares += residual[n].real ** 2 + residual[n].imag ** 2
    linear[0], linear[1], linear[2] = water, fat_signal, phase
    return squares


@njit(cache=True, nogil=True)
def _derivatives(times, fat, decays, linear, columns):
    """Derivatives by water, fat, phase, off-resonance (Hz) and both R2*."""
    for n in range(times.size):
        time = times[n] - times[0]
        water, wave = decays[0, n], fat[n] * decays[1, n]
        model = linear[0] * water + linear[1] * wave
        columns[0, n], columns[1, n], columns[2, n] = water, wave, 1j * model
        columns[3, n] = 2j * math.pi * time * model
        columns[4, n], columns[5, n] = -time * linear[0] * water, -time * linear[1] * wave


def information_gain(
    single: np.ndarray, separate: np.ndarray, voxels: np.ndarray, echoes: int
) -> np.ndarray:
    """How much better the corrected Akaike criterion is with an R2* each; positive prefers it.

    Args:
        single: sums of squared residuals with one R2*, over the voxels of a neighborhood.
        separate: the same with two.
        voxels: how many voxels were summed; two or more with four echoes.
        echoes: number of echoes.
    """
    data = 2.0 * echoes * voxels

    def penalty(unknowns: int) -> np.ndarray:
        count = unknowns * voxels + 1.0  # the noise is one more
        freedom = data - count - 1
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(freedom > 0, 2 * count + 2 * count * (count + 1) / freedom, np.inf)

    with np.errstate(divide="ignore", invalid="ignore"):
        gain = data * np.log(single / separate) + penalty(5) - penalty(6)
    return np.where(np.isfinite(gain), gain, -np.inf)
