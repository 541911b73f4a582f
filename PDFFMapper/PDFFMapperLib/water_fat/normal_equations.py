"""Small least-squares problems inside compiled fits: normal equations and their solution."""

from __future__ import annotations

import math

from numba import njit


@njit(cache=True, nogil=True)
def normal_equations(columns, residual, count, normal, right):
    """Normal matrix (lower triangle) and right side of complex columns, unknowns being real.

    Args:
        columns: derivatives by each unknown, shape (unknowns, samples).
        residual: data minus model, shape (samples,).
        count: unknowns to use.
        normal: becomes the matrix.
        right: becomes the right side.
    """
    for p in range(count):
        total = 0.0
        for n in range(residual.size):
            c = columns[p, n]
            total += c.real * residual[n].real + c.imag * residual[n].imag
        right[p] = total
        for q in range(p + 1):
            total = 0.0
            for n in range(residual.size):
                c, d = columns[p, n], columns[q, n]
                total += c.real * d.real + c.imag * d.imag
            normal[p, q] = total


@njit(cache=True, nogil=True)
def factorize(matrix, count):
    """Cholesky factor in the lower triangle, in place; False where the matrix is singular."""
    for p in range(count):
        diagonal = matrix[p, p]
        for q in range(p):
            total = matrix[p, q]
            for m in range(q):
                total -= matrix[p, m] * matrix[q, m]
            matrix[p, q] = total / matrix[q, q]
        total = diagonal
        for m in range(p):
            total -= matrix[p, m] * matrix[p, m]
        if not total > 1e-10 * diagonal:
            return False
        matrix[p, p] = math.sqrt(total)
    return True


@njit(cache=True, nogil=True)
def substitute(factor, right, count):
    """Solve by a Cholesky factor, in place."""
    for p in range(count):
        for m in range(p):
            right[p] -= factor[p, m] * right[m]
        right[p] /= factor[p, p]
    for p in range(count - 1, -1, -1):
        for m in range(p + 1, count):
            right[p] -= factor[m, p] * right[m]
        right[p] /= factor[p, p]


@njit(cache=True, nogil=True)
def invert(factor, count, inverse):
    """Inverse of a matrix from its Cholesky factor."""
    for column in range(count):
        vector = inverse[column]
        for p in range(count):
            vector[p] = 1.0 if p == column else 0.0
        substitute(factor, vector, count)
