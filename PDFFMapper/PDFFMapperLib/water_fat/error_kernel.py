"""Gauss-Newton equations of an error of the echoes, the unknowns of each voxel projected out.

Around its fit the echoes of a voxel change linearly with its own unknowns (water, fat, phase,
off-resonance, R2*) and with the error. What these unknowns cannot take of the effects of the error
(Gram-Schmidt) determines it (variable projection).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from PDFFMapperLib.water_fat.voxel_fit import FAT, OFFSET, R2STAR, WATER


@njit(cache=True, nogil=True, error_model="numpy")
def project(signals, fits, patterns, fat, times_s, common_phase, fit_decay):
    """What the unknowns of each voxel cannot take of the effects of an error.

    Effects are those of a phase (rad) of each pattern, of an amplitude of each, and of a lead of
    fat (rad).

    Args:
        signals: without the error, complex64, shape (voxels, echoes).
        fits: of these, as `fit_voxels` has them.
        patterns: over the echoes, shape (patterns, echoes).
        fat: signal of unit fat, complex, shape (echoes,).
        times_s: of the echoes, shape (echoes,).
        common_phase: water and fat share a phase.
        fit_decay: R2* is an unknown.

    Returns:
        products of the effects, shape (voxels, effects, effects), and of the effects with the
        residual, (voxels, effects); squared residual, (voxels,); change of the PDFF in points by
        each effect, (voxels, effects). Of voxels without a fit the first three are 0, this NaN.
    """
    (voxels, echoes), given = signals.shape, len(patterns)
    effects, unknowns = 2 * given + 1, (4 if common_phase else 5) + fit_decay
    products, along = np.zeros((voxels, effects, effects)), np.zeros((voxels, effects))
    squares, by = np.zeros(voxels), np.empty((voxels, effects))
    water = np.empty(echoes, np.complex128)
    fatty, model = np.empty_like(water), np.empty_like(water)
    # Real and imaginary parts: by the unknowns, by the effects, and of the residual.
    rows, left = np.empty((unknowns + effects + 1, 2, echoes)), unknowns + effects
    taken = np.zeros((unknowns, len(rows)))
    slope = np.empty(unknowns)
    for v in range(voxels):
        fit = fits[v]
        offset, decay = 2 * np.pi * float(fit[OFFSET]), float(fit[R2STAR])
        for n in range(echoes):
            since = times_s[n] - times_s[0]
            wave = np.exp(-decay * since) * complex(np.cos(offset * since), np.sin(offset * since))
            water[n], fatty[n] = wave, wave * fat[n]
        faded = np.exp(-decay * times_s[0])
        own, its = float(fit[WATER]) * faded, float(fit[FAT]) * faded
        a, b = _amplitudes(water, fatty, signals[v], own, its, common_phase)
        for n in range(echoes):
            model[n] = a * water[n] + b * fatty[n]
            _put(rows, left, n, signals[v, n] - model[n])
            since = times_s[n] - times_s[0]
            if common_phase:
                unit = a * (1 / own) if own != 0 else b * (1 / its)  # of floats NaN, not an error
                _put(rows, 0, n, unit * water[n])
                _put(rows, 1, n, unit * fatty[n])
                _put(rows, 2, n, 1j * model[n])
            else:
                _put(rows, 0, n, water[n])
                _put(rows, 1, n, 1j * water[n])
                _put(rows, 2, n, fatty[n])
                _put(rows, 3, n, 1j * fatty[n])
            _put(rows, unknowns - fit_decay - 1, n, 2j * np.pi * since * model[n])
            if fit_decay:
                _put(rows, unknowns - 1, n, -since * model[n])
            for p in range(given):
                _put(rows, unknowns + p, n, 1j * patterns[p, n] * model[n])
                _put(rows, unknowns + given + p, n, patterns[p, n] * model[n])
            _put(rows, left - 1, n, 1j * b * fatty[n])
        for e in range(effects):
            by[v, e] = np.nan
        square = _product(rows, left, left)
        if not _orthogonalize(rows, unknowns, taken):
            continue
        squares[v] = square
        total = max(own + its, 1e-30)
        for e in range(effects):
            along[v, e] = _product(rows, unknowns + e, left)
            for f in range(e + 1):
                product = _product(rows, unknowns + e, unknowns + f)
                products[v, e, f] = products[v, f, e] = product
            for p in range(unknowns - 1, -1, -1):
                slope[p] = -taken[p, unknowns + e]
                for q in range(p + 1, unknowns):
                    slope[p] -= taken[p, q] * slope[q]
                slope[p] /= taken[p, p]
            of_fat = slope[1 if common_phase else 2]
            by[v, e] = 100 * (own * of_fat - its * slope[0]) / total**2
    return products, along, squares, by


@njit(cache=True, nogil=True)
def _put(rows, p, n, value):
    rows[p, 0, n], rows[p, 1, n] = value.real, value.imag


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _product(rows, p, q):
    total = 0.0
    for n in range(rows.shape[2]):
        total += rows[p, 0, n] * rows[q, 0, n] + rows[p, 1, n] * rows[q, 1, n]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _amplitudes(water, fatty, signals, own, its, common_phase):
    """Of water and fat at the first echo, complex: of one phase, or by least squares."""
    if common_phase:
        seen = 0j
        for n in range(len(signals)):
            seen += np.conj(own * water[n] + its * fatty[n]) * signals[n]
        phase = seen * (1 / abs(seen)) if abs(seen) > 0 else 1 + 0j
        return own * phase, its * phase
    of_water = of_fat = 0.0
    both = first = second = 0j
    for n in range(len(signals)):
        of_water += water[n].real ** 2 + water[n].imag ** 2
        of_fat += fatty[n].real ** 2 + fatty[n].imag ** 2
        both += np.conj(water[n]) * fatty[n]
        first += np.conj(water[n]) * signals[n]
        second += np.conj(fatty[n]) * signals[n]
    over = 1 / (of_water * of_fat - abs(both) ** 2)
    return (
        (of_fat * first - both * second) * over,
        (of_water * second - np.conj(both) * first) * over,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _orthogonalize(rows, unknowns, taken):
    """Make the first rows orthonormal and take them off the others; False where that fails.

    `taken` becomes what was taken, as R of a QR decomposition has it.
    """
    for p in range(unknowns):
        size = np.sqrt(_product(rows, p, p))
        if not 0 < size < np.inf:
            return False
        taken[p, p] = size
        for n in range(rows.shape[2]):
            rows[p, 0, n] /= size
            rows[p, 1, n] /= size
        for q in range(p + 1, len(rows)):
            shared = _product(rows, p, q)
            taken[p, q] = shared
            for n in range(rows.shape[2]):
                rows[q, 0, n] -= shared * rows[p, 0, n]
                rows[q, 1, n] -= shared * rows[p, 1, n]
    return True


@njit(cache=True, nogil=True)
def normal_equations(products, along, weight, basis, given):
    """Sums over voxels for the error's phases (patterns x terms), amplitudes and the lead.

    Args:
        products, along: of `project`.
        weight: of each voxel.
        basis: terms of each voxel's position, shape (voxels, terms).
        given: number of patterns.

    Returns:
        the matrix and the right side, shapes (unknowns, unknowns) and (unknowns,).
    """
    terms = basis.shape[1]
    phases = given * terms
    count = phases + products.shape[1] - given
    matrix, right = np.zeros((count, count)), np.zeros(count)
    factor, effect = np.ones(count), np.empty(count, np.int64)
    for c in range(count):
        effect[c] = c // terms if c < phases else c - phases + given
    for v in range(len(products)):
        if weight[v] == 0:
            continue
        for c in range(phases):
            factor[c] = basis[v, c % terms]
        for c in range(count):
            one = weight[v] * factor[c]
            right[c] += one * along[v, effect[c]]
            for d in range(c + 1):
                matrix[c, d] += one * factor[d] * products[v, effect[c], effect[d]]
    for c in range(count):
        for d in range(c):
            matrix[d, c] = matrix[c, d]
    return matrix, right
