"""What water and fat leave of the echoes of a voxel, over frequencies and R2*.

With a and b the signal's parts along water and fat made orthonormal, least squares of one phase
explain the larger eigenvalue of the sums |a|^2 and |b|^2 and their mixed products (Bydder 2011, doi
10.1016/j.mri.2010.08.011): (S + sqrt(S^2 - D^2)) / 2 with S = |a|^2 + |b|^2 and D = 2 Im(a* b);
phases of their own explain S. Both are trigonometric polynomials of the frequency, one term for
each difference between echo times: few where echoes are equidistant, and two numbers to sum for
each instead of four for each echo.

As in `voxel_fit` every number is a row of LANES voxels, which the compiler turns into vectors.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from PDFFMapperLib.water_fat.voxel_fit import LANES

R2STAR_TRIED = (20.0, 65.0, 130.0, 220.0, 340.0, 520.0)
"""In 1/s; four at least, see `_least_over_r2star`."""
_R2STAR_OF_THREE = (25.0, 80.0, 180.0, 330.0, 550.0)  # the same with three echoes, none between
_BEYOND = 1.5  # steps from the second R2* tried to the least one considered; likewise at the end
_ALIKE_RAD = 0.04  # turn up to which differences of echo times count as one: headers round times
_FAST = {"contract", "reassoc", "nsz", "arcp"}
# Rows of the workspace.
_S, _D = 0, LANES
# Rows of the coefficients of a difference: the real and the imaginary part of S, then of D.
_SI, _DR, _DI = LANES, 2 * LANES, 3 * LANES

Tables = tuple[np.ndarray, np.ndarray, np.ndarray]


def search_tables(model, frequencies_hz: np.ndarray) -> Tables:
    """What `residual_curves` needs of a `ChemicalShiftModel` and the frequencies.

    Returns:
        Cosine and minus sine of the turn between echoes, float32, shape (frequencies, differences
        of echo times, 2), an even number of them; pairs of echoes, shape (pairs, 3): the earlier
        one, the later one and their difference; and what the product of their signals counts,
        float32, shape (R2*, pairs, 4): the real and the imaginary part for S, then for D.
    """
    times = model.echo_times_s
    first, second = np.triu_indices(len(times))
    apart, difference = _alike(
        times[second] - times[first], _ALIKE_RAD / (2 * np.pi * np.abs(frequencies_hz).max())
    )
    turn = np.exp(-2j * np.pi * np.outer(frequencies_hz, apart))
    waves = np.zeros((len(frequencies_hz), len(apart) + len(apart) % 2, 2), np.float32)
    waves[:, : len(apart), 0], waves[:, : len(apart), 1] = turn.real, -turn.imag
    tried = (0.0,) if len(times) == 2 else _R2STAR_OF_THREE if len(times) == 3 else R2STAR_TRIED
    forms = _forms(times, np.asarray(model.fat), model.common_phase, np.array(tried), first, second)
    return waves, np.stack([first, second, difference], 1), forms


@njit(cache=True, nogil=True, error_model="numpy")
def _forms(times, fat, common_phase, tried, first, second):
    """What the product of the signals of pairs of echoes counts, as `search_tables` has it."""
    forms = np.empty((len(tried), len(first), 4), np.float32)
    water, fatty = np.empty(len(times)), np.empty(len(times), np.complex128)
    for r in range(len(tried)):
        energy, shared = 0.0, 0j
        for n in range(len(times)):
            water[n] = math.exp(-tried[r] * (times[n] - times[0]))
            fatty[n] = water[n] * fat[n]
            energy += water[n] ** 2
            shared += water[n] * fatty[n]
        if common_phase:
            shared = complex(shared.real, 0.0)
        of_fat = 0.0
        for n in range(len(times)):
            fatty[n] -= shared * (water[n] / energy)
            of_fat += fatty[n].real ** 2 + fatty[n].imag ** 2
        for n in range(len(times)):
            water[n] /= math.sqrt(energy)
            fatty[n] *= 1 / math.sqrt(of_fat)
        for pair in range(len(first)):
            a, b = first[pair], second[pair]
            both = 1 if a == b else 2  # the pair the other way round adds its conjugate
            sums = both * (water[a] * water[b] + fatty[a] * np.conj(fatty[b]))
            mixed = -1j * both * (water[a] * np.conj(fatty[b]) - fatty[a] * water[b])
            forms[r, pair, 0], forms[r, pair, 1] = sums.real, sums.imag
            forms[r, pair, 2] = mixed.real if common_phase else 0
            forms[r, pair, 3] = mixed.imag if common_phase else 0
    return forms


def _alike(values: np.ndarray, most: float) -> tuple[np.ndarray, np.ndarray]:
    """Means of values that differ by up to `most`, and the index of each value's."""
    order = np.argsort(values, kind="stable")
    group = np.empty(len(values), int)
    count, first = -1, -np.inf
    for n in order:
        if values[n] > first + most:
            count, first = count + 1, values[n]
        group[n] = count
    return np.bincount(group, values) / np.bincount(group), group


@njit(cache=True, nogil=True)
def scratch(tables):
    """Arrays that `residual_curves` writes over."""
    waves, pairs, forms = tables
    return (
        np.empty((2 * (pairs[-1, 1] + 1), LANES), np.float32),
        np.empty((len(forms), waves.shape[1], 4 * LANES), np.float32),
        np.empty(2 * LANES, np.float32),
        np.empty((len(forms), LANES), np.float32),
    )


@njit(cache=True, nogil=True)
def residual_curves(signals, first, tables, arrays, curves, energy):
    """Least-squares residuals of LANES voxels over the frequencies, the least over R2*.

    From four echoes on that is also between the R2* tried.

    Args:
        signals: complex64, shape (voxels, echoes).
        first: the first one; after the last voxel it is repeated.
        tables: of `search_tables`.
        arrays: of `scratch`.
        curves: become the residuals, float32, shape (frequencies, LANES).
        energy: becomes that of the signals, float32, shape (LANES,).
    """
    signal, coefficients, work, left = arrays
    waves, pairs, forms = tables
    for i in range(LANES):
        v = min(first + i, len(signals) - 1)
        total = np.float32(0)
        for n in range(signals.shape[1]):
            total += signals[v, n].real * signals[v, n].real
            total += signals[v, n].imag * signals[v, n].imag
        energy[i] = max(total, np.float32(1e-36))
        unit = 1 / np.sqrt(energy[i])  # without it squares of the energy would overflow
        for n in range(signals.shape[1]):
            signal[2 * n, i] = unit * signals[v, n].real
            signal[2 * n + 1, i] = unit * signals[v, n].imag
    coefficients[:] = 0
    for p in range(len(pairs)):
        _add_pair(signal, pairs[p], forms[:, p], coefficients, work)
    for g in range(len(waves)):
        _residuals(coefficients, waves[g], work, left)
        _least_over_r2star(left, curves[g], signals.shape[1] > 3)
        for i in range(LANES):
            curves[g, i] *= energy[i]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _add_pair(signal, pair, forms, coefficients, work):
    """Add the product of two echoes to the coefficients of their difference, for all R2*."""
    m, n = 2 * pair[0], 2 * pair[1]
    ar, ai, br, bi = signal[m], signal[m + 1], signal[n], signal[n + 1]
    for i in range(LANES):
        work[_S + i] = ar[i] * br[i] + ai[i] * bi[i]
        work[_D + i] = ar[i] * bi[i] - ai[i] * br[i]
    for r in range(len(forms)):
        sr, si, dr, di = forms[r, 0], forms[r, 1], forms[r, 2], forms[r, 3]
        own = coefficients[r, pair[2]]
        for i in range(LANES):
            re, im = work[_S + i], work[_D + i]
            own[i] += sr * re - si * im
            own[_SI + i] += sr * im + si * re
            own[_DR + i] += dr * re - di * im
            own[_DI + i] += dr * im + di * re


@njit(cache=True, nogil=True, fastmath=_FAST)
def _residuals(coefficients, waves, work, left):
    """What is left of unit energy at one frequency, of each R2*."""
    half, unit, zero = np.float32(0.5), np.float32(1), np.float32(0)
    for r in range(len(left)):
        own = left[r]
        for i in range(LANES):
            work[_S + i] = work[_D + i] = 0
        for k in range(0, len(waves), 2):  # two at once spare half of the loads and stores
            c, s, d, t = waves[k, 0], waves[k, 1], waves[k + 1, 0], waves[k + 1, 1]
            one, two = coefficients[r, k], coefficients[r, k + 1]
            for i in range(LANES):
                work[_S + i] += c * one[i] + s * one[_SI + i] + d * two[i] + t * two[_SI + i]
                work[_D + i] += (
                    c * one[_DR + i] + s * one[_DI + i] + d * two[_DR + i] + t * two[_DI + i]
                )
        for i in range(LANES):
            total, across = work[_S + i], work[_D + i]
            apart = np.sqrt(max((total - across) * (total + across), zero))
            own[i] = unit - half * (total + apart)


@njit(cache=True, nogil=True, fastmath=_FAST)
def _least_over_r2star(left, curve, between):
    """Least over R2* of residuals of shape (R2*, LANES), if asked also between those tried.

    The least of the parabola through three R2* in turn, there by the cubic through four. Steps are
    those of the square root of R2*, about the same between all that are tried. Without it an R2*
    between them costs the truth more than exchanged water and fat whose R2* happens to be tried.
    With three echoes a free R2* would leave too little residual to tell the two apart.
    """
    tried = len(left)
    half, two = np.float32(0.5), np.float32(2)
    zero = np.float32(0)
    one, three, sixth = np.float32(1), np.float32(3), np.float32(1 / 6)
    for i in range(LANES):
        curve[i] = left[0, i]
    for r in range(1, tried):
        for i in range(LANES):
            curve[i] = min(curve[i], left[r, i])
    if not between:
        return
    for r in range(1, tried - 1):
        low = -half if r > 1 else -np.float32(_BEYOND)
        high = half if r < tried - 2 else np.float32(_BEYOND)
        a = min(r - 1, tried - 4)
        for i in range(LANES):
            slope = half * (left[r + 1, i] - left[r - 1, i])
            bend = max(left[r + 1, i] + left[r - 1, i] - two * left[r, i], np.float32(1e-35))
            at = min(max(-slope / bend, low), high)
            third = left[a + 3, i] - left[a, i] + three * (left[a + 1, i] - left[a + 2, i])
            third = third * at * (at * at - one) * sixth
            least = left[r, i] + at * (slope + half * at * bend) + third
            curve[i] = max(min(curve[i], least), zero)
