"""Functions without branches or calls, which compilers apply to several b-values at once."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numba.cpython.unsafe.numbers import viewer

LEAST_EXPONENT = -60.0
LEAST, LARGE = 1e-30, 3.75  # arguments of `bessel`: the least it takes, and where it is faster
_MANTISSA = np.int64((1 << 52) - 1)
_ONE = np.int64(0x3FF << 52)
_4096 = np.int64(0x40B << 52)
"""Its bits: a whole number below, moved by 40 places, is added to it."""


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def exp_negative(x):
    """exp(x) for x <= 0; relative error below 1e-8, exp(-60) below that."""
    y = max(x, LEAST_EXPONENT) * (1.0 / 1024.0)
    z = 1.0 + y * (1.0 + y * (0.5 + y * (1 / 6 + y * (1 / 24 + y * (1 / 120 + y / 720)))))
    z *= z
    z *= z
    z *= z
    z *= z
    z *= z
    z *= z
    z *= z
    z *= z
    z *= z
    return z * z


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def log_positive(x):
    """ln(x) for normal numbers x > 0; absolute error below 1e-9."""
    bits = viewer(x, np.int64)
    exponent = viewer(((bits >> 52) << 40) | _4096, np.float64) - (4096.0 + 1022.5)
    mantissa = viewer((bits & _MANTISSA) | _ONE, np.float64)
    z = (mantissa - math.sqrt(2.0)) / (mantissa + math.sqrt(2.0))
    w = z * z
    series = 2.0 + w * (2 / 3 + w * (2 / 5 + w * (2 / 7 + w * (2 / 9 + w * (2 / 11)))))
    return math.log(2.0) * exponent + z * series


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def bessel(x, large):
    """ln(I0(x) exp(-x)) and I1(x) / I0(x) for x > 0; Abramowitz and Stegun 9.8.1-4, error below
    1e-6. `large` promises x >= 3.75 and saves a third of the time.
    """
    inverse = 1.0 / x
    u = 3.75 * inverse
    p0 = -0.02057706 + u * (0.02635537 + u * (-0.01647633 + u * 0.00392377))
    p0 = 0.00225319 + u * (-0.00157565 + u * (0.00916281 + u * p0))
    p0 = 0.39894228 + u * (0.01328592 + u * p0)
    p1 = 0.02282967 + u * (-0.02895312 + u * (0.01787654 - u * 0.00420059))
    p1 = -0.00362018 + u * (0.00163801 + u * (-0.01031555 + u * p1))
    p1 = 0.39894228 + u * (-0.03988024 + u * p1)
    if large:
        return 0.5 * log_positive(p0 * p0 * inverse), p1 / p0
    t = x * x * (1.0 / 3.75**2)
    i0 = 1.2067492 + t * (0.2659732 + t * (0.0360768 + t * 0.0045813))
    i0 = 1.0 + t * (3.5156229 + t * (3.0899424 + t * i0))
    i1 = 0.15084934 + t * (0.02658733 + t * (0.00301532 + t * 0.00032411))
    i1 = x * (0.5 + t * (0.87890594 + t * (0.51498869 + t * i1)))
    low = x < 3.75
    log_i0 = log_positive(i0 if low else p0 * math.sqrt(inverse)) - (x if low else 0.0)
    return log_i0, (i1 if low else p1) / (i0 if low else p0)


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def rician_information(nu):
    """Fisher information on nu >= 0 in one Rician sample of unit noise; error below 3e-5.

    A polynomial in nu^2 / (nu^2 + 3) through the integrals of `noise.INFORMATION_TABLE`.
    """
    rest = 3.0 / (nu * nu + 3.0)
    t = 1.0 - rest
    p = -44.19901 + t * (47.58974 + t * (-28.04584 + t * 6.770186))
    p = -1.996095 + t * (3.797855 + t * (-10.81115 + t * (26.06055 + t * p)))
    return 1.0 - rest * (1.0 + t * p)
