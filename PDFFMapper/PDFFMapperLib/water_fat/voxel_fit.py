"""Voxelwise least-squares fit of water, fat, R2* and off-resonance to complex echoes.

Maximum likelihood for Gaussian noise by variable projection (Golub and Pereyra 2003, doi
10.1088/0266-5611/19/2/201): water, fat and their phase in closed form, off-resonance and R2* by
damped Gauss-Newton. Nothing is clipped: water, fat and R2* may come out slightly negative by
noise, so that averages over a region stay unbiased at 0 % and 100 %.

Each number of the fit is a row of LANES voxels, so that the compiler turns every loop over them
into vector instructions; sine, cosine and exponential are polynomials for the same reason. All
that a step needs are sums over the echoes (`_sums`). Time is counted from the first echo in units
of the span of the echoes, off-resonance in rad and R2* as the decay over that span.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

R2STAR_RANGE = (-200.0, 3000.0)
"""R2* in 1/s beyond which a fit counts as failed."""

LANES = 32
_STARTS_PER_S = (5.0, 30.0, 80.0, 160.0, 320.0, 640.0)  # R2* that a fit may start from
_STEPS = (6, 20)  # at most, of all voxels and then of those not settled
_SMALL = 3e-4  # a step that settles a voxel, in rad or decay over the span
_FAST = {"contract", "reassoc", "nsz", "arcp"}

# Columns of the result of fit_voxels.
(
    WATER,
    FAT,
    FRACTION,
    OFFSET,
    R2STAR,
    RESIDUAL,
    FRACTION_VARIANCE,
    R2STAR_VARIANCE,
    CONVERGED,
    FRACTION_BIAS,
    R2STAR_BIAS,
    RELATIVE_PHASE,
    TOTAL_VARIANCE,
) = range(13)
COLUMNS = 13

# Rows of the workspace, LANES apart: so laid out in one array the compiler knows them distinct.
(
    _OFFSET,  # rad over the span, of the state and of the trial
    _DECAY,
    _AT,
    _RATE,
    _PRIOR,  # decay expected, and its weight
    _WEIGHT,
    _ENERGY,
    _COST,  # squared residuals and prior, of the state and of the trial
    _TRIED,
    _DAMPING,
    _ACTIVE,  # 1 or 0
    _SETTLED,
    _TURN,  # the step
    _CHANGE,
    _W,  # water and fat; real and imaginary parts, with a common phase in its frame
    _WI,
    _F,
    _FI,
    _BACK,  # cosine and sine of minus the common phase
    _BACKI,
    _H33,  # equations of off-resonance and R2* with the amplitudes projected out
    _H34,
    _H44,
    _M2,  # their diagonal elements before that
    _G3,
    _G4,
    _TAKEN,  # 1 where the trial becomes the state, else 0
) = range(0, 27 * LANES, LANES)
# Sums over the echoes of the squared decay times 1, real, imaginary part and square of fat, for
# powers 0 to 2 of the time; of the signal times decay, and times that of fat, for powers 0 and 1.
_A, _B, _C, _D = (range(first * LANES, (first + 3) * LANES, LANES) for first in (27, 30, 33, 36))
_A0, _A1, _A2 = _A
_B0, _B1, _B2 = _B
_C0, _C1, _C2 = _C
_D0, _D1, _D2 = _D
_Y0, _YI0, _Z0, _ZI0, _Y1, _YI1, _Z1, _ZI1 = range(39 * LANES, 47 * LANES, LANES)
_COS, _SIN, _FADE = range(47 * LANES, 50 * LANES, LANES)
# What the second derivatives of the model add up to, a polynomial of the time: times 1, f and m.
(
    _P0I,
    _P1R,
    _P1I,
    _Q0I,
    _Q1R,
    _Q1I,
    _R0R,
    _R1R,
    _R1I,
    _R2R,
    _R2I,
) = range(50 * LANES, 61 * LANES, LANES)
# Covariance of the fraction, then of R2*, with water, fat, phase, off-resonance and R2*.
_OF_FRACTION, _OF_DECAY = 61 * LANES, 68 * LANES
_W_, _WI_, _F_, _FI_, _PHASE_, _OFFSET_, _DECAY_ = range(0, 7 * LANES, LANES)
# The sums of that polynomial with the derivatives by these, and the squared residuals.
_U, _UI, _V, _VI, _K0, _K1, _K2, _LEFT = range(75 * LANES, 83 * LANES, LANES)
_VARIANCE, _TOTAL, _BIAS, _DECAY_BIAS = range(83 * LANES, 87 * LANES, LANES)
_SIZE = 87 * LANES


@njit(cache=True, nogil=True, error_model="numpy")
def fit_voxels(
    signals, times, fat, common_phase, fixed_r2star, starts_hz, prior_r2star, prior_weight
):
    """Fit each voxel from its start.

    Args:
        signals: complex64, shape (voxels, echoes).
        times: echo times in s, shape (echoes,).
        fat: complex signal of unit fat, shape (echoes,).
        common_phase: water and fat share one phase; else the fat fraction is |F|/(|W|+|F|).
        fixed_r2star: R2* in 1/s, or NaN to fit it.
        starts_hz: off-resonance to start from, shape (voxels,).
        prior_r2star: R2* expected before the fit, shape (voxels,).
        prior_weight: noise variance over the variance of R2* around that, shape (voxels,); 0 where
            nothing is expected.

    Returns:
        float32, shape (voxels, 13): water, fat (magnitudes unless of a common phase), fat
        fraction (0 to 1, signed), off-resonance in Hz, R2* in 1/s, sum of squared residuals,
        variances of the fat fraction and of R2* for noise of SD 1 (to be multiplied by the noise
        variance), 1 where converged, the second-order bias of fraction and R2*, likewise per
        noise variance (Box 1971, doi 10.1111/j.2517-6161.1971.tb00871.x; not that of magnitudes),
        the phase of fat relative to water in rad (0 where common), and the variance of water plus
        fat at the first echo relative to its square, likewise.
    """
    voxels, echoes = signals.shape
    result = np.empty((voxels, COLUMNS), np.float32)
    span = times[-1] - times[0]
    after = (times - times[0]) / span
    fit_decay = np.isnan(fixed_r2star)
    offsets, decays = np.empty(voxels), np.empty(voxels)
    settled = np.zeros(voxels, np.bool_)
    signal = np.empty((2 * echoes, LANES))
    turned = np.empty((2 * echoes, LANES))
    work = np.zeros(_SIZE)
    order = np.arange(voxels)
    for again in range(2):
        chosen = order[~settled] if again else order
        for first in range(0, len(chosen), LANES):
            count = min(LANES, len(chosen) - first)
            for i in range(LANES):
                v = chosen[first + min(i, count - 1)]
                work[_ENERGY + i] = 0.0
                for n in range(echoes):
                    real, imag = signals[v, n].real, signals[v, n].imag
                    signal[2 * n, i], signal[2 * n + 1, i] = real, imag
                    work[_ENERGY + i] += real * real + imag * imag
                work[_OFFSET + i] = offsets[v] if again else 2 * math.pi * span * starts_hz[v]
                work[_DECAY + i] = decays[v] if again else span * fixed_r2star
                work[_PRIOR + i] = span * prior_r2star[v]
                work[_WEIGHT + i] = prior_weight[v] / span**2
            if fit_decay and not again:
                _best_start(signal, after, times[0] / span, fat, common_phase, span, turned, work)
            _descend(
                signal, after, times[0] / span, fat, common_phase, fit_decay, _STEPS[again], work
            )
            for i in range(LANES):
                work[_AT + i], work[_RATE + i] = work[_OFFSET + i], work[_DECAY + i]
            _sums(signal, after, times[0] / span, fat, work)
            _amplitudes(common_phase, work)
            _covariance(common_phase, fit_decay, work)
            _second_order_bias(signal, after, times[0] / span, fat, common_phase, work)
            for i in range(count):
                v = chosen[first + i]
                offsets[v], decays[v] = work[_OFFSET + i], work[_DECAY + i]
                settled[v] = work[_SETTLED + i] > 0
                _write(times[0], span, common_phase, fit_decay, i, work, result[v])
    return result


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _waves(time, after, work):
    """exp(-i offset time) and exp(-decay after) of the trial of each lane."""
    for i in range(LANES):
        turn = work[_AT + i] * time * (0.5 / math.pi)
        turn -= np.floor(turn + 0.5)
        x = -0.5 * math.pi * turn  # a quarter of the angle
        y = x * x
        sine = x * (
            1 + y * (-1 / 6 + y * (1 / 120 + y * (-1 / 5040 + y * (1 / 362880 - y / 39916800))))
        )
        cosine = 1 + y * (
            -0.5
            + y * (1 / 24 + y * (-1 / 720 + y * (1 / 40320 - y * (1 / 3628800 - y / 479001600))))
        )
        sine, cosine = 2 * sine * cosine, 1 - 2 * sine * sine
        work[_SIN + i], work[_COS + i] = 2 * sine * cosine, 1 - 2 * sine * sine
        z = min(max(work[_RATE + i] * after * (-1 / 256), -0.25), 0.25)
        fade = 1 + z * (
            1 + z * (0.5 + z * (1 / 6 + z * (1 / 24 + z * (1 / 120 + z * (1 / 720 + z / 5040)))))
        )
        fade *= fade
        fade *= fade
        fade *= fade
        fade *= fade
        fade *= fade
        fade *= fade
        fade *= fade
        fade *= fade
        work[_FADE + i] = fade


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _best_start(signal, after, first, fat, common_phase, span, turned, work):
    """The R2* of _STARTS_PER_S with the least residual, as the decay of each lane.

    `turned` becomes the signal without its off-resonance.
    """
    echoes = after.size
    for i in range(LANES):
        work[_AT + i], work[_RATE + i] = work[_OFFSET + i], 0.0
        work[_COST + i] = np.inf
    for n in range(echoes):
        _waves(after[n] + first, 0.0, work)
        real, imag = signal[2 * n], signal[2 * n + 1]
        along, across = turned[2 * n], turned[2 * n + 1]
        for i in range(LANES):
            c, s = work[_COS + i], work[_SIN + i]
            along[i] = real[i] * c - imag[i] * s
            across[i] = real[i] * s + imag[i] * c
    for start in _STARTS_PER_S:
        ww = ff = 0.0
        wf = 0j
        for i in range(4 * LANES):
            work[_Y0 + i] = 0.0
        for n in range(echoes):
            fade = math.exp(-start * span * after[n])
            fr, fi = fat[n].real * fade, fat[n].imag * fade
            ww += fade * fade
            ff += fr * fr + fi * fi
            wf += fade * complex(fr, fi)
            along, across = turned[2 * n], turned[2 * n + 1]
            for i in range(LANES):
                re, im = along[i], across[i]
                work[_Y0 + i] += fade * re
                work[_YI0 + i] += fade * im
                work[_Z0 + i] += fr * re + fi * im
                work[_ZI0 + i] += fr * im - fi * re
        for i in range(LANES):
            work[_A0 + i], work[_D0 + i] = ww, ff
            work[_B0 + i], work[_C0 + i] = wf.real, wf.imag
            work[_RATE + i] = start * span
        _amplitudes(common_phase, work)
        for i in range(LANES):
            better = work[_TRIED + i] < work[_COST + i]
            work[_COST + i] = work[_TRIED + i] if better else work[_COST + i]
            work[_DECAY + i] = work[_RATE + i] if better else work[_DECAY + i]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _sums(signal, after, first, fat, work):
    """The sums over the echoes at the trial."""
    for i in range(20 * LANES):
        work[_A0 + i] = 0.0
    for n in range(after.size):
        fr, fi = fat[n].real, fat[n].imag
        size, t = fr * fr + fi * fi, after[n]
        _waves(t + first, t, work)
        real, imag = signal[2 * n], signal[2 * n + 1]
        for i in range(LANES):
            fade = work[_FADE + i]
            c, s = fade * work[_COS + i], fade * work[_SIN + i]
            re, im = real[i] * c - imag[i] * s, real[i] * s + imag[i] * c
            zr, zi = fr * re + fi * im, fr * im - fi * re
            work[_Y0 + i] += re
            work[_YI0 + i] += im
            work[_Z0 + i] += zr
            work[_ZI0 + i] += zi
            work[_Y1 + i] += t * re
            work[_YI1 + i] += t * im
            work[_Z1 + i] += t * zr
            work[_ZI1 + i] += t * zi
        for i in range(LANES):
            fade = work[_FADE + i]
            zero = fade * fade
            one = zero * t
            two = one * t
            work[_A0 + i] += zero
            work[_A1 + i] += one
            work[_A2 + i] += two
            work[_B0 + i] += zero * fr
            work[_B1 + i] += one * fr
            work[_B2 + i] += two * fr
            work[_C0 + i] += zero * fi
            work[_C1 + i] += one * fi
            work[_C2 + i] += two * fi
            work[_D0 + i] += zero * size
            work[_D1 + i] += one * size
            work[_D2 + i] += two * size


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _amplitudes(common_phase, work):
    """Best water and fat, and what they leave of the energy (with the prior's part), by sums."""
    for i in range(LANES):
        ww, ff, wr, wi = work[_A0 + i], work[_D0 + i], work[_B0 + i], work[_C0 + i]
        ar, ai, br, bi = work[_Y0 + i], work[_YI0 + i], work[_Z0 + i], work[_ZI0 + i]
        if common_phase:
            scale = 1 / max(ww * ff - wr * wr, 1e-12 * ww * ff)
            real = (
                ff * (ar * ar - ai * ai) + ww * (br * br - bi * bi) - 2 * wr * (ar * br - ai * bi)
            )
            imag = 2 * (ff * ar * ai + ww * br * bi - wr * (ar * bi + ai * br))
            size = math.sqrt(real * real + imag * imag) + 1e-300
            # Half the angle of (real, imag), by the larger of its cosine and sine.
            larger = math.sqrt(0.5 * (1 + abs(real) / size))
            lesser = 0.5 * abs(imag) / size / larger
            c = larger if real >= 0 else lesser
            s = lesser if real >= 0 else larger
            s = s if imag >= 0 else -s
            first, second = ar * c + ai * s, br * c + bi * s
            water, fatty = (ff * first - wr * second) * scale, (ww * second - wr * first) * scale
            explained = water * first + fatty * second
            sign = 1.0 if water + fatty >= 0 else -1.0
            work[_W + i], work[_F + i] = sign * water, sign * fatty
            work[_BACK + i], work[_BACKI + i] = sign * c, -sign * s
        else:
            scale = 1 / max(ww * ff - wr * wr - wi * wi, 1e-12 * ww * ff)
            water, waterim = (
                (ff * ar - wr * br + wi * bi) * scale,
                (ff * ai - wr * bi - wi * br) * scale,
            )
            fatty, fattyim = (
                (ww * br - wr * ar - wi * ai) * scale,
                (ww * bi - wr * ai + wi * ar) * scale,
            )
            explained = water * ar + waterim * ai + fatty * br + fattyim * bi
            work[_W + i], work[_WI + i] = water, waterim
            work[_F + i], work[_FI + i] = fatty, fattyim
        apart = work[_RATE + i] - work[_PRIOR + i]
        work[_TRIED + i] = work[_ENERGY + i] - explained + work[_WEIGHT + i] * apart * apart


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _equations(common_phase, work):
    """Equations of off-resonance and decay at the trial, amplitudes projected out, by sums.

    Derivatives of the model m by them are i t m and -t m; those by the amplitudes are 1, fat f
    (and i m, by the phase) times the decay.
    """
    for i in range(LANES):
        w, f = work[_W + i], work[_F + i]
        ww, wr, wi, ff = work[_A0 + i], work[_B0 + i], work[_C0 + i], work[_D0 + i]
        w1, r1, i1, f1 = work[_A1 + i], work[_B1 + i], work[_C1 + i], work[_D1 + i]
        w2, r2, i2, f2 = work[_A2 + i], work[_B2 + i], work[_C2 + i], work[_D2 + i]
        yr, yi, zr, zi = work[_Y1 + i], work[_YI1 + i], work[_Z1 + i], work[_ZI1 + i]
        if common_phase:
            c, s = work[_BACK + i], work[_BACKI + i]
            m0 = w * w * ww + 2 * w * f * wr + f * f * ff
            m1 = w * w * w1 + 2 * w * f * r1 + f * f * f1
            m2 = w * w * w2 + 2 * w * f * r2 + f * f * f2
            # Products of the derivatives by water, fat, phase (rows) with those by the two.
            a0, a1, a2 = -f * i1, w * i1, m1
            b0, b1 = -(w * w1 + f * r1), -(w * r1 + f * f1)
            # Cholesky factor of the amplitudes' block.
            l00 = 1 / ww
            l10 = wr * l00
            d1 = max(ff - l10 * wr, 1e-12 * ff)
            c20, c21 = -f * wi, w * wi
            l20 = c20 * l00
            u21 = c21 - l10 * c20
            l11 = 1 / d1
            l21 = u21 * l11
            d2 = max(m0 - l20 * c20 - l21 * u21, 1e-12 * m0 + 1e-300)
            a1 -= l10 * a0
            a2 -= l20 * a0 + l21 * a1
            b1 -= l10 * b0
            b2 = -l20 * b0 - l21 * b1
            l22 = 1 / d2
            h33 = m2 - a0 * a0 * l00 - a1 * a1 * l11 - a2 * a2 * l22
            h34 = -a0 * b0 * l00 - a1 * b1 * l11 - a2 * b2 * l22
            h44 = m2 - b0 * b0 * l00 - b1 * b1 * l11 - b2 * b2 * l22
            real, imag = w * yr + f * zr, w * yi + f * zi
            real, imag = real * c - imag * s, real * s + imag * c
        else:
            v, g = work[_WI + i], work[_FI + i]
            cr, ci = w * f + v * g, w * g - v * f  # conjugate of water, times fat
            water2, fat2 = w * w + v * v, f * f + g * g
            m1 = water2 * w1 + fat2 * f1 + 2 * (cr * r1 - ci * i1)
            m2 = water2 * w2 + fat2 * f2 + 2 * (cr * r2 - ci * i2)
            # Products of water's and fat's derivatives with t m.
            ar, ai = w * w1 + f * r1 - g * i1, v * w1 + f * i1 + g * r1
            br, bi = w * r1 + v * i1 + f * f1, v * r1 - w * i1 + g * f1
            scale = 1 / max(ww * ff - wr * wr - wi * wi, 1e-12 * ww * ff)
            # Projection of t m on both; i t m and -t m are alike but for a factor.
            kept = (
                ff * (ar * ar + ai * ai)
                + ww * (br * br + bi * bi)
                - 2 * (wr * (ar * br + ai * bi) - wi * (ar * bi - ai * br))
            ) * scale
            h33 = h44 = m2 - kept
            h34 = 0.0
            real = w * yr + v * yi + f * zr + g * zi
            imag = w * yi - v * yr + f * zi - g * zr
        apart = work[_RATE + i] - work[_PRIOR + i]
        keep = work[_TAKEN + i] > 0
        work[_H33 + i] = h33 if keep else work[_H33 + i]
        work[_H34 + i] = h34 if keep else work[_H34 + i]
        work[_H44 + i] = h44 + work[_WEIGHT + i] if keep else work[_H44 + i]
        work[_M2 + i] = m2 if keep else work[_M2 + i]
        work[_G3 + i] = imag if keep else work[_G3 + i]
        work[_G4 + i] = m1 - real - work[_WEIGHT + i] * apart if keep else work[_G4 + i]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _descend(signal, after, first, fat, common_phase, fit_decay, steps, work):
    """Damped Gauss-Newton steps of each lane from its off-resonance and decay."""
    for i in range(LANES):
        work[_AT + i], work[_RATE + i] = work[_OFFSET + i], work[_DECAY + i]
        work[_TAKEN + i] = work[_ACTIVE + i] = 1.0
        work[_SETTLED + i] = work[_DAMPING + i] = 0.0
    _sums(signal, after, first, fat, work)
    _amplitudes(common_phase, work)
    _equations(common_phase, work)
    for i in range(LANES):
        work[_COST + i] = work[_TRIED + i]
    for _ in range(steps):
        for i in range(LANES):
            damping = work[_DAMPING + i]
            h33 = work[_H33 + i] + damping * work[_M2 + i]
            h34 = work[_H34 + i]
            h44 = work[_H44 + i] + damping * (work[_M2 + i] + work[_WEIGHT + i])
            g3, g4 = work[_G3 + i], work[_G4 + i]
            if fit_decay:
                scale = 1 / max(h33 * h44 - h34 * h34, 1e-20 * h33 * h44 + 1e-300)
                turn, change = (h44 * g3 - h34 * g4) * scale, (h33 * g4 - h34 * g3) * scale
            else:
                turn, change = g3 / max(h33, 1e-300), 0.0
            turn = min(max(turn, -0.3 * math.pi), 0.3 * math.pi)
            change = min(max(change, -1.0), 1.0)
            work[_TURN + i], work[_CHANGE + i] = turn, change
            work[_AT + i] = work[_OFFSET + i] + turn
            work[_RATE + i] = work[_DECAY + i] + change
        _sums(signal, after, first, fat, work)
        _amplitudes(common_phase, work)
        going = 0.0
        for i in range(LANES):
            step = max(abs(work[_TURN + i]), abs(work[_CHANGE + i]))
            active, damping = work[_ACTIVE + i], work[_DAMPING + i]
            rounding = 1e-14 * work[_ENERGY + i]
            better = work[_TRIED + i] <= work[_COST + i] * (1 + 1e-9) + rounding
            taken = active if better else 0.0
            work[_TAKEN + i] = taken
            work[_OFFSET + i] = work[_AT + i] if taken > 0 else work[_OFFSET + i]
            work[_DECAY + i] = work[_RATE + i] if taken > 0 else work[_DECAY + i]
            work[_COST + i] = work[_TRIED + i] if taken > 0 else work[_COST + i]
            less = damping * 0.2 if damping > 1e-3 else 0.0
            work[_DAMPING + i] = less if better else max(damping * 10, 0.1)
            small = active if step < _SMALL else 0.0
            work[_SETTLED + i] = max(work[_SETTLED + i], small)
            work[_ACTIVE + i] = active - small
            going += active - small
        if going == 0:
            break
        _equations(common_phase, work)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _covariance(common_phase, fit_decay, work):
    """Covariances for noise of SD 1 at the state of each lane; NaN where they are singular.

    With P the amplitudes' block of the normal matrix and S the rest with these projected out, they
    are the blocks of the inverse by S and P. See `_equations` for the elements.
    """
    for i in range(LANES):
        w, f = work[_W + i], work[_F + i]
        ww, wr, wi, ff = work[_A0 + i], work[_B0 + i], work[_C0 + i], work[_D0 + i]
        w1, r1, i1, f1 = work[_A1 + i], work[_B1 + i], work[_C1 + i], work[_D1 + i]
        w2, r2, i2, f2 = work[_A2 + i], work[_B2 + i], work[_C2 + i], work[_D2 + i]
        weight = work[_WEIGHT + i]
        if common_phase:
            m0 = w * w * ww + 2 * w * f * wr + f * f * ff
            m1 = w * w * w1 + 2 * w * f * r1 + f * f * f1
            m2 = w * w * w2 + 2 * w * f * r2 + f * f * f2
            x, y = -f * wi, w * wi
            k00, k01, k02 = ff * m0 - y * y, x * y - wr * m0, wr * y - x * ff
            k11, k12, k22 = ww * m0 - x * x, wr * x - ww * y, ww * ff - wr * wr
            determinant = ww * k00 + wr * k01 + x * k02
            bad = 1.0 if determinant > 1e-12 * ww * ff * m0 else np.nan
            over = bad / determinant
            a0, a1 = -f * i1, w * i1
            b0, b1 = -(w * w1 + f * r1), -(w * r1 + f * f1)
            c0, c1, c2 = (
                (k00 * a0 + k01 * a1 + k02 * m1) * over,
                (k01 * a0 + k11 * a1 + k12 * m1) * over,
                (k02 * a0 + k12 * a1 + k22 * m1) * over,
            )
            d0, d1, d2 = (
                (k00 * b0 + k01 * b1) * over,
                (k01 * b0 + k11 * b1) * over,
                (k02 * b0 + k12 * b1) * over,
            )
            h33 = m2 - a0 * c0 - a1 * c1 - m1 * c2
            h34 = -a0 * d0 - a1 * d1 - m1 * d2
            h44 = m2 + weight - b0 * d0 - b1 * d1
            s33, s34, s44 = 1 / h33, 0.0, 0.0
            sound = h33 > 1e-10 * m2
            if fit_decay:
                both = h33 * h44 - h34 * h34
                sound = sound and both > 1e-10 * h33 * (m2 + weight)
                s33, s34, s44 = h44 / both, -h34 / both, h33 / both
            s33 = s33 if sound else np.nan
            e0, e1, e2 = -(c0 * s33 + d0 * s34), -(c1 * s33 + d1 * s34), -(c2 * s33 + d2 * s34)
            g0, g1, g2 = -(c0 * s34 + d0 * s44), -(c1 * s34 + d1 * s44), -(c2 * s34 + d2 * s44)
            v00 = k00 * over - c0 * e0 - d0 * g0
            v01 = k01 * over - c0 * e1 - d0 * g1
            v11 = k11 * over - c1 * e1 - d1 * g1
            v02 = k02 * over - c0 * e2 - d0 * g2
            v12 = k12 * over - c1 * e2 - d1 * g2
            v22 = k22 * over - c2 * e2 - d2 * g2
            work[_P0I + i], work[_P1R + i], work[_P1I + i] = 2 * v02, -2 * g0, 2 * e0
            work[_Q0I + i], work[_Q1R + i], work[_Q1I + i] = 2 * v12, -2 * g1, 2 * e1
            work[_R0R + i], work[_R1R + i], work[_R1I + i] = -v22, -2 * e2, -2 * g2
            work[_R2R + i], work[_R2I + i] = s44 - s33, -2 * s34
            total = max(w + f, 1e-30)
            per = 1 / (total * total)
            gw, gf = -f * per, w * per
            vw, vf = v00 * gw + v01 * gf, v01 * gw + v11 * gf
            work[_VARIANCE + i] = gw * vw + gf * vf
            work[_TOTAL + i] = (v00 + 2 * v01 + v11) * per
            # The fraction's own curvature.
            work[_BIAS + i] = (f * v00 + (f - w) * v01 - w * v11) * per / total
            work[_OF_FRACTION + _W_ + i], work[_OF_FRACTION + _F_ + i] = vw, vf
            work[_OF_FRACTION + _WI_ + i], work[_OF_FRACTION + _FI_ + i] = 0.0, 0.0
            work[_OF_FRACTION + _PHASE_ + i] = v02 * gw + v12 * gf
            work[_OF_FRACTION + _OFFSET_ + i] = e0 * gw + e1 * gf
            work[_OF_FRACTION + _DECAY_ + i] = g0 * gw + g1 * gf
            work[_OF_DECAY + _W_ + i], work[_OF_DECAY + _F_ + i] = g0, g1
            work[_OF_DECAY + _WI_ + i], work[_OF_DECAY + _FI_ + i] = 0.0, 0.0
            work[_OF_DECAY + _PHASE_ + i] = g2
            work[_OF_DECAY + _OFFSET_ + i], work[_OF_DECAY + _DECAY_ + i] = s34, s44
        else:
            v, g = work[_WI + i], work[_FI + i]
            cr, ci = w * f + v * g, w * g - v * f
            water2, fat2 = w * w + v * v, f * f + g * g
            m2 = water2 * w2 + fat2 * f2 + 2 * (cr * r2 - ci * i2)
            ar, ai = w * w1 + f * r1 - g * i1, v * w1 + f * i1 + g * r1
            br, bi = w * r1 + v * i1 + f * f1, v * r1 - w * i1 + g * f1
            determinant = ww * ff - wr * wr - wi * wi
            over = (1.0 if determinant > 1e-10 * ww * ff else np.nan) / determinant
            xr, xi = (ff * ar - wr * br + wi * bi) * over, (ff * ai - wr * bi - wi * br) * over
            zr, zi = (ww * br - wr * ar - wi * ai) * over, (ww * bi - wr * ai + wi * ar) * over
            left = m2 - (ar * xr + ai * xi + br * zr + bi * zi)
            s33 = 1 / left if left > 1e-10 * m2 else np.nan
            s44 = 1 / (left + weight) if fit_decay else 0.0
            twice = 2 * (s33 - s44)
            work[_P0I + i], work[_P1R + i], work[_P1I + i] = 0.0, twice * xr, twice * xi
            work[_Q0I + i], work[_Q1R + i], work[_Q1I + i] = 0.0, twice * zr, twice * zi
            work[_R0R + i], work[_R1R + i], work[_R1I + i] = 0.0, 0.0, 0.0
            work[_R2R + i], work[_R2I + i] = s44 - s33, 0.0
            water, fatty = max(math.sqrt(water2), 1e-30), max(math.sqrt(fat2), 1e-30)
            per = 1 / ((water + fatty) * (water + fatty))
            pr, pi, qr, qi = w / water, v / water, f / fatty, g / fatty
            sr = xr * pr + xi * pi + zr * qr + zi * qi
            si = xr * pi - xi * pr + zr * qi - zi * qr
            # Of water and fat alone, with the sum of magnitudes.
            ur = (ff * pr - wr * qr + wi * qi) * over
            ui = (ff * pi - wr * qi - wi * qr) * over
            tr = (ww * qr - wr * pr - wi * pi) * over
            ti = (ww * qi - wr * pi + wi * pr) * over
            alone = pr * ur + pi * ui + qr * tr + qi * ti
            work[_TOTAL + i] = (alone + s33 * si * si + s44 * sr * sr) * per
            less, more = -fatty * per, water * per
            pr, pi, qr, qi = pr * less, pi * less, qr * more, qi * more
            sr = xr * pr + xi * pi + zr * qr + zi * qi
            si = xr * pi - xi * pr + zr * qi - zi * qr
            ur = (ff * pr - wr * qr + wi * qi) * over + xr * s44 * sr - xi * s33 * si
            ui = (ff * pi - wr * qi - wi * qr) * over + xi * s44 * sr + xr * s33 * si
            tr = (ww * qr - wr * pr - wi * pi) * over + zr * s44 * sr - zi * s33 * si
            ti = (ww * qi - wr * pi + wi * pr) * over + zi * s44 * sr + zr * s33 * si
            work[_VARIANCE + i] = pr * ur + pi * ui + qr * tr + qi * ti
            work[_BIAS + i] = 0.0
            work[_OF_FRACTION + _W_ + i], work[_OF_FRACTION + _WI_ + i] = ur, ui
            work[_OF_FRACTION + _F_ + i], work[_OF_FRACTION + _FI_ + i] = tr, ti
            work[_OF_FRACTION + _PHASE_ + i] = 0.0
            work[_OF_FRACTION + _OFFSET_ + i] = -s33 * si
            work[_OF_FRACTION + _DECAY_ + i] = s44 * sr
            work[_OF_DECAY + _W_ + i], work[_OF_DECAY + _WI_ + i] = xr * s44, xi * s44
            work[_OF_DECAY + _F_ + i], work[_OF_DECAY + _FI_ + i] = zr * s44, zi * s44
            work[_OF_DECAY + _PHASE_ + i] = work[_OF_DECAY + _OFFSET_ + i] = 0.0
            work[_OF_DECAY + _DECAY_ + i] = s44


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _second_order_bias(signal, after, first, fat, common_phase, work):
    """Bias of fraction and R2* per noise variance, -1/2 C J' tr(C H), and the squared residuals.

    The model depends on phase, off-resonance and R2* as an exponential, so that its second
    derivative by any unknown and one of these is the first one times i, i t or -t. Their trace
    with the covariance is a polynomial of t times 1, fat and the model (rows from _P0I on).
    """
    for i in range(8 * LANES):
        work[_U + i] = 0.0
    for i in range(LANES):
        if common_phase:
            work[_WI + i], work[_FI + i] = 0.0, 0.0
        else:
            work[_BACK + i], work[_BACKI + i] = 1.0, 0.0
    for n in range(after.size):
        fr, fi, t = fat[n].real, fat[n].imag, after[n]
        square = t * t
        _waves(t + first, t, work)
        real, imag = signal[2 * n], signal[2 * n + 1]
        for i in range(LANES):
            fade, c, s = work[_FADE + i], work[_COS + i], work[_SIN + i]
            w, v, f, g = work[_W + i], work[_WI + i], work[_F + i], work[_FI + i]
            back, across = work[_BACK + i], work[_BACKI + i]
            mr, mi = w + f * fr - g * fi, v + f * fi + g * fr
            re, im = real[i] * c - imag[i] * s, real[i] * s + imag[i] * c
            re, im = re * back - im * across - fade * mr, re * across + im * back - fade * mi
            work[_LEFT + i] += re * re + im * im
            pr, pi = t * work[_P1R + i], work[_P0I + i] + t * work[_P1I + i]
            qr, qi = t * work[_Q1R + i], work[_Q0I + i] + t * work[_Q1I + i]
            rr = work[_R0R + i] + t * work[_R1R + i] + square * work[_R2R + i]
            ri = t * work[_R1I + i] + square * work[_R2I + i]
            fade *= fade
            br = fade * (pr + fr * qr - fi * qi + mr * rr - mi * ri)
            bi = fade * (pi + fr * qi + fi * qr + mr * ri + mi * rr)
            work[_U + i] += br
            work[_UI + i] += bi
            work[_V + i] += fr * br + fi * bi
            work[_VI + i] += fr * bi - fi * br
            across = mr * bi - mi * br
            work[_K0 + i] += across
            work[_K1 + i] += t * across
            work[_K2 + i] += t * (mr * br + mi * bi)
    for i in range(LANES):
        u, ui, v, vi = work[_U + i], work[_UI + i], work[_V + i], work[_VI + i]
        k0, k1, k2 = work[_K0 + i], work[_K1 + i], work[_K2 + i]
        work[_BIAS + i] -= 0.5 * (
            u * work[_OF_FRACTION + _W_ + i]
            + ui * work[_OF_FRACTION + _WI_ + i]
            + v * work[_OF_FRACTION + _F_ + i]
            + vi * work[_OF_FRACTION + _FI_ + i]
            + k0 * work[_OF_FRACTION + _PHASE_ + i]
            + k1 * work[_OF_FRACTION + _OFFSET_ + i]
            - k2 * work[_OF_FRACTION + _DECAY_ + i]
        )
        work[_DECAY_BIAS + i] = -0.5 * (
            u * work[_OF_DECAY + _W_ + i]
            + ui * work[_OF_DECAY + _WI_ + i]
            + v * work[_OF_DECAY + _F_ + i]
            + vi * work[_OF_DECAY + _FI_ + i]
            + k0 * work[_OF_DECAY + _PHASE_ + i]
            + k1 * work[_OF_DECAY + _OFFSET_ + i]
            - k2 * work[_OF_DECAY + _DECAY_ + i]
        )


@njit(cache=True, nogil=True, error_model="numpy")
def _write(first_s, span, common_phase, fit_decay, i, work, out):
    """The result of lane `i`; its parts, see `fit_voxels`."""
    w, v, f, g = work[_W + i], work[_WI + i], work[_F + i], work[_FI + i]
    water, fat, relative = w, f, 0.0
    if not common_phase:
        water, fat = math.sqrt(w * w + v * v), math.sqrt(f * f + g * g)
        relative = math.atan2(g * w - f * v, f * w + g * v)
    decay = work[_DECAY + i] / span
    converged = work[_SETTLED + i] > 0 and not math.isnan(work[_VARIANCE + i])
    out[R2STAR_VARIANCE] = out[R2STAR_BIAS] = np.nan
    if fit_decay:
        converged = converged and R2STAR_RANGE[0] < decay < R2STAR_RANGE[1]
        out[R2STAR_VARIANCE] = work[_OF_DECAY + _DECAY_ + i] / (span * span)
        out[R2STAR_BIAS] = work[_DECAY_BIAS + i] / span
    # Amplitudes refer to the first echo inside the solver; back to echo time 0.
    back = math.exp(min(decay * first_s, 50.0))
    out[WATER], out[FAT], out[FRACTION] = water * back, fat * back, fat / max(water + fat, 1e-30)
    out[OFFSET], out[R2STAR] = work[_OFFSET + i] / (2 * math.pi * span), decay
    out[RESIDUAL], out[CONVERGED], out[RELATIVE_PHASE] = work[_LEFT + i], converged, relative
    out[FRACTION_VARIANCE], out[FRACTION_BIAS] = work[_VARIANCE + i], work[_BIAS + i]
    out[TOTAL_VARIANCE] = work[_TOTAL + i]
