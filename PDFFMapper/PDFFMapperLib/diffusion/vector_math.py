"""Functions without branches or calls, which compilers apply to several b-values at once.

Single precision (`..._single`) takes half the time.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numba.cpython.unsafe.numbers import viewer

LEAST_EXPONENT = -60.0
LEAST, LARGE = 1e-30, 3.75  # arguments of `bessel`: the least it takes, and where it is faster
LEAST_SINGLE = 1e-4  # the least of `bessel_single`, whose powers of 3.75 / x are finite
_MANTISSA = np.int64((1 << 52) - 1)
_ONE = np.int64(0x3FF << 52)
_4096 = np.int64(0x40B << 52)
"""Its bits: a whole number below, moved by 40 places, is added to it."""
_MANTISSA_SINGLE, _ONE_SINGLE = np.int32((1 << 23) - 1), np.int32(127 << 23)
_ROUNDING = np.float32(1.5 * 2**23)
_SQRT2 = np.float32(math.sqrt(2.0))


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
def exp_single(x):
    """exp(x) for x <= 0; relative error below 1e-6, exp(-60) below that."""
    y = max(x, np.float32(LEAST_EXPONENT)) * np.float32(1.44269504)
    whole = np.int32(y - np.float32(0.5))
    r = y - np.float32(whole)  # -0.5 to 0.5, 2^r by its series
    p = np.float32(1.3333558e-3) + r * np.float32(1.5403530e-4)
    p = np.float32(5.5504109e-2) + r * (np.float32(9.6181291e-3) + r * p)
    p = np.float32(1.0) + r * (np.float32(0.69314718) + r * (np.float32(0.24022651) + r * p))
    return p * viewer(np.int32((whole + np.int32(127)) << np.int32(23)), np.float32)


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
def log_single(x):
    """ln(x) for normal numbers x > 0; error below 1e-6 of its size or of 1."""
    bits = viewer(x, np.int32)
    exponent = np.float32(bits >> np.int32(23)) - np.float32(126.5)
    mantissa = viewer(np.int32((bits & _MANTISSA_SINGLE) | _ONE_SINGLE), np.float32)
    z = (mantissa - _SQRT2) / (mantissa + _SQRT2)
    w = z * z
    series = np.float32(2 / 5) + w * (np.float32(2 / 7) + w * np.float32(2 / 9))
    series = np.float32(2.0) + w * (np.float32(2 / 3) + w * series)
    return np.float32(math.log(2.0)) * exponent + z * series


# Not to be taken for x - (x + 1.5 x 2^23) + 1.5 x 2^23 = 0, as all of fastmath would.
@njit(cache=True, fastmath={"contract", "nsz", "arcp", "nnan", "ninf"}, nogil=True)
def power_of_two(x):
    """2^x in single precision, |x| < 126; relative error below 7.9e-05."""
    shifted = x + _ROUNDING  # its last bits are those of the whole number next to x
    r = x - (shifted - _ROUNDING)
    p = np.float32(0.24261113) + r * np.float32(0.05517167)
    p = np.float32(0.99992807) + r * (np.float32(0.69326099) + r * p)
    power = viewer(shifted, np.int32) << np.int32(23)
    return viewer(np.int32(viewer(p, np.int32) + power), np.float32)


def _bessel_in(real, log):
    """`bessel` in double or single precision, with its logarithm."""

    @njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
    def bessel(x, large):
        """ln(I0(x) exp(-x)) and I1(x) / I0(x) from x = LEAST or LEAST_SINGLE; Abramowitz and Stegun
        9.8.1-4, error below 1e-6. `large` promises x >= 3.75 and saves a third of the time.
        """
        inverse = real(1.0) / x
        u = real(3.75) * inverse
        p0 = real(-0.02057706) + u * (
            real(0.02635537) + u * (real(-0.01647633) + u * real(0.00392377))
        )
        p0 = real(0.00225319) + u * (real(-0.00157565) + u * (real(0.00916281) + u * p0))
        p0 = real(0.39894228) + u * (real(0.01328592) + u * p0)
        p1 = real(0.02282967) + u * (
            real(-0.02895312) + u * (real(0.01787654) - u * real(0.00420059))
        )
        p1 = real(-0.00362018) + u * (real(0.00163801) + u * (real(-0.01031555) + u * p1))
        p1 = real(0.39894228) + u * (real(-0.03988024) + u * p1)
        if large:
            return real(0.5) * log(p0 * p0 * inverse), p1 / p0
        t = x * x * real(1.0 / 3.75**2)
        i0 = real(1.2067492) + t * (real(0.2659732) + t * (real(0.0360768) + t * real(0.0045813)))
        i0 = real(1.0) + t * (real(3.5156229) + t * (real(3.0899424) + t * i0))
        i1 = real(0.15084934) + t * (
            real(0.02658733) + t * (real(0.00301532) + t * real(0.00032411))
        )
        i1 = x * (real(0.5) + t * (real(0.87890594) + t * (real(0.51498869) + t * i1)))
        low = x < real(3.75)
        log_i0 = log(i0 if low else p0 * math.sqrt(inverse)) - (x if low else real(0.0))
        return log_i0, (i1 if low else p1) / (i0 if low else p0)

    return bessel


def _rician_information_in(real):
    """`rician_information` in double or single precision."""

    @njit(cache=True, fastmath=True, nogil=True, error_model="numpy", inline="always")
    def rician_information(nu):
        """Fisher information on nu >= 0 in one Rician sample of unit noise; error below 3e-5.

        A polynomial in nu^2 / (nu^2 + 3) through the integrals of `noise.INFORMATION_TABLE`.
        """
        rest = real(3.0) / (nu * nu + real(3.0))
        t = real(1.0) - rest
        p = real(-44.19901) + t * (real(47.58974) + t * (real(-28.04584) + t * real(6.770186)))
        p = real(-10.81115) + t * (real(26.06055) + t * p)
        p = real(-1.996095) + t * (real(3.797855) + t * p)
        return real(1.0) - rest * (real(1.0) + t * p)

    return rician_information


bessel, bessel_single = _bessel_in(np.float64, log_positive), _bessel_in(np.float32, log_single)
rician_information = _rician_information_in(np.float64)
rician_information_single = _rician_information_in(np.float32)
