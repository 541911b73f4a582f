"""The first steps of the voxelwise water-fat fit, many voxels at once.

Each number of the fit is a row of LANES voxels, so that the compiler turns every loop over them
into vector instructions; sine, cosine and exponential are polynomials for the same reason. Voxels
that have not settled after a few steps are left to the fit of single voxels (`voxel_fit`), whose
steps these are.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LANES = 64
STARTS_PER_S = (5.0, 30.0, 80.0, 160.0, 320.0, 640.0)
"""R2* that a fit may start from."""
_STEPS = 6
_MAX = 6  # unknowns

# Rows of the workspace.
_COS, _SIN, _FADE, _TURN, _CHANGE, _LEFT, _BEST = range(7)
_WW, _FF, _WFR, _WFI, _Z0R, _Z0I, _Z1R, _Z1I = range(7, 15)
_L0, _L1, _L2, _L3 = range(15, 19)  # water, fat; or their real and imaginary parts
_BACKR, _BACKI = 19, 20
_RIGHT = 21  # of the trial, _MAX rows, then those accepted, then the step
_NORMAL = _RIGHT + 3 * _MAX  # of the trial, _MAX * _MAX rows, then those accepted, then the factor
_ROWS = _NORMAL + 3 * _MAX * _MAX
_FAST = {"contract", "reassoc", "nsz", "arcp"}


@njit(cache=True, nogil=True)
def first_steps(
    signals, times, fat, common_phase, fixed_r2star, starts_hz, prior_r2star, prior_weight
):
    """Off-resonance and R2* of each voxel from its start, and whether they have settled.

    Args: see `fit_voxels`.

    Returns:
        off-resonance in Hz, R2* in 1/s, float64; settled, bool; each of shape (voxels,).
    """
    voxels, echoes = signals.shape
    offsets, decays = np.empty(voxels), np.empty(voxels)
    settled = np.zeros(voxels, np.bool_)
    fit_decay = np.isnan(fixed_r2star)
    sig = np.empty((2 * echoes, LANES))
    left = np.empty((3 * echoes, LANES))  # real and imaginary residual, decay
    columns = np.empty((2 * _MAX * echoes, LANES))
    work = np.empty((_ROWS, LANES))
    offset, r2star, at, rate = np.empty(LANES), np.empty(LANES), np.empty(LANES), np.empty(LANES)
    prior, weight = np.empty(LANES), np.empty(LANES)
    residual, damping, taken = np.empty(LANES), np.empty(LANES), np.ones(LANES)
    active, converged = np.empty(LANES, np.bool_), np.empty(LANES, np.bool_)
    span = times[-1] - times[0]
    count = (3 if common_phase else 4) + (2 if fit_decay else 1)
    for first in range(0, voxels, LANES):
        for i in range(LANES):
            v = min(first + i, voxels - 1)
            for n in range(echoes):
                sig[2 * n, i] = signals[v, n].real
                sig[(2 * n + 1), i] = signals[v, n].imag
            offset[i] = starts_hz[v]
            prior[i], weight[i] = prior_r2star[v], prior_weight[v]
            damping[i], active[i], converged[i] = 0.0, True, False
        if fit_decay:
            _best_start(sig, times, fat, common_phase, offset, prior, weight, left, work, r2star)
        else:
            r2star[:] = fixed_r2star
        _solve(sig, times, fat, common_phase, offset, r2star, left, work)
        _equations(times, fat, common_phase, fit_decay, left, columns, work, count)
        for i in range(LANES):
            residual[i] = work[_LEFT, i] + weight[i] * (r2star[i] - prior[i]) ** 2
        taken[:] = 1.0
        _accept(taken, work, count)
        for _ in range(_STEPS):
            _step(common_phase, fit_decay, span, prior, weight, r2star, damping, work, count)
            for i in range(LANES):
                at[i] = offset[i] + work[_TURN, i]
                rate[i] = r2star[i] + work[_CHANGE, i]
            _solve(sig, times, fat, common_phase, at, rate, left, work)
            _equations(times, fat, common_phase, fit_decay, left, columns, work, count)
            going = False
            for i in range(LANES):
                turn, change = work[_TURN, i], work[_CHANGE, i]
                trial = work[_LEFT, i] + weight[i] * (rate[i] - prior[i]) ** 2
                small = abs(turn) * 2 * math.pi * span < 3e-4 and abs(change) * span < 3e-4
                better = active[i] and trial <= residual[i] * (1 + 1e-9) + 1e-30
                if better:
                    offset[i], r2star[i], residual[i] = at[i], rate[i], trial
                    damping[i] = damping[i] * 0.2 if damping[i] > 1e-3 else 0.0
                else:
                    damping[i] = max(damping[i] * 10, 0.1)
                taken[i] = 1.0 if better else 0.0
                converged[i] = converged[i] or (active[i] and small)
                active[i] = active[i] and not small
                going = going or active[i]
            if not going:
                break
            _accept(taken, work, count)
        for i in range(min(LANES, voxels - first)):
            offsets[first + i], decays[first + i] = offset[i], r2star[i]
            settled[first + i] = converged[i]
    return offsets, decays, settled


@njit(cache=True, nogil=True, fastmath=_FAST)
def _waves(time, after, offset, r2star, work):
    """exp(-2 pi i offset time) and exp(-R2* after) of each lane."""
    for i in range(LANES):
        turn = offset[i] * time
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
        work[_SIN, i], work[_COS, i] = 2 * sine * cosine, 1 - 2 * sine * sine
        z = min(max(r2star[i] * after * (-1 / 256), -0.25), 0.25)
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
        work[_FADE, i] = fade


@njit(cache=True, nogil=True, fastmath=_FAST)
def _best_start(sig, times, fat, common_phase, offset, prior, weight, left, work, r2star):
    """The R2* of STARTS_PER_S with the least residual, into `r2star`."""
    echoes = times.size
    for i in range(LANES):
        work[_BEST, i] = np.inf
        work[_LEFT, i] = 0.0
    for n in range(echoes):
        _waves(times[n], 0.0, offset, r2star, work)
        for i in range(LANES):
            re, im = sig[2 * n, i], sig[(2 * n + 1), i]
            c, s = work[_COS, i], work[_SIN, i]
            left[3 * n, i] = re * c - im * s
            left[(3 * n + 1), i] = re * s + im * c
            work[_LEFT, i] += re * re + im * im
    for start in STARTS_PER_S:
        ww = ff = 0.0
        wf = 0j
        for i in range(LANES):
            work[_Z0R, i] = work[_Z0I, i] = 0.0
            work[_Z1R, i] = work[_Z1I, i] = 0.0
        for n in range(echoes):
            fade = math.exp(-start * (times[n] - times[0]))
            fr, fi = fat[n].real * fade, fat[n].imag * fade
            ww += fade * fade
            ff += fr * fr + fi * fi
            wf += fade * complex(fr, fi)
            for i in range(LANES):
                re, im = left[3 * n, i], left[(3 * n + 1), i]
                work[_Z0R, i] += fade * re
                work[_Z0I, i] += fade * im
                work[_Z1R, i] += fr * re + fi * im
                work[_Z1I, i] += fr * im - fi * re
        cross = wf.real**2 if common_phase else wf.real**2 + wf.imag**2
        scale = 1 / max(ww * ff - cross, 1e-12 * ww * ff)
        p, q, o, oi = ff * scale, ww * scale, -wf.real * scale, -wf.imag * scale
        for i in range(LANES):
            ar, ai = work[_Z0R, i], work[_Z0I, i]
            br, bi = work[_Z1R, i], work[_Z1I, i]
            hermitian = p * (ar * ar + ai * ai) + q * (br * br + bi * bi)
            dot, turned = ar * br + ai * bi, ar * bi - ai * br
            if common_phase:
                hermitian += 2 * o * dot
                real = (
                    p * (ar * ar - ai * ai) + q * (br * br - bi * bi) + 2 * o * (ar * br - ai * bi)
                )
                imag = 2 * (p * ar * ai + q * br * bi + o * (ar * bi + ai * br))
                hermitian = 0.5 * (hermitian + math.sqrt(real * real + imag * imag))
            else:
                hermitian += 2 * (o * dot - oi * turned)
            trial = work[_LEFT, i] - hermitian + weight[i] * (start - prior[i]) ** 2
            better = trial < work[_BEST, i]
            work[_BEST, i] = trial if better else work[_BEST, i]
            r2star[i] = start if better else r2star[i]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _solve(sig, times, fat, common_phase, offset, r2star, left, work):
    """Best amplitudes at an off-resonance and R2*; residuals in the frame of the model."""
    echoes = times.size
    for row in range(_WW, _Z1I + 1):
        for i in range(LANES):
            work[row, i] = 0.0
    for n in range(echoes):
        fr, fi = fat[n].real, fat[n].imag
        size = fr * fr + fi * fi
        _waves(times[n], times[n] - times[0], offset, r2star, work)
        for i in range(LANES):
            re, im = sig[2 * n, i], sig[(2 * n + 1), i]
            c, s, fade = work[_COS, i], work[_SIN, i], work[_FADE, i]
            re, im = re * c - im * s, re * s + im * c
            left[3 * n, i] = re
            left[(3 * n + 1), i] = im
            left[(3 * n + 2), i] = fade
            square = fade * fade
            work[_WW, i] += square
            work[_FF, i] += square * size
            work[_WFR, i] += square * fr
            work[_WFI, i] += square * fi
            work[_Z0R, i] += fade * re
            work[_Z0I, i] += fade * im
            work[_Z1R, i] += fade * (fr * re + fi * im)
            work[_Z1I, i] += fade * (fr * im - fi * re)
    for i in range(LANES):
        ww, ff = work[_WW, i], work[_FF, i]
        wr, wi = work[_WFR, i], work[_WFI, i]
        ar, ai = work[_Z0R, i], work[_Z0I, i]
        br, bi = work[_Z1R, i], work[_Z1I, i]
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
            b0, b1 = ar * c + ai * s, br * c + bi * s
            water, fatty = (ff * b0 - wr * b1) * scale, (ww * b1 - wr * b0) * scale
            sign = 1.0 if water + fatty >= 0 else -1.0
            work[_L0, i], work[_L1, i] = sign * water, sign * fatty
            work[_L2, i], work[_L3, i] = 0.0, 0.0
            work[_BACKR, i], work[_BACKI, i] = sign * c, -sign * s
        else:
            scale = 1 / max(ww * ff - wr * wr - wi * wi, 1e-12 * ww * ff)
            work[_L0, i] = (ff * ar - wr * br + wi * bi) * scale
            work[_L1, i] = (ff * ai - wr * bi - wi * br) * scale
            work[_L2, i] = (ww * br - wr * ar - wi * ai) * scale
            work[_L3, i] = (ww * bi - wr * ai + wi * ar) * scale
            work[_BACKR, i], work[_BACKI, i] = 1.0, 0.0
        work[_LEFT, i] = 0.0
    for n in range(echoes):
        fr, fi = fat[n].real, fat[n].imag
        for i in range(LANES):
            re, im = left[3 * n, i], left[(3 * n + 1), i]
            fade = left[(3 * n + 2), i]
            c, s = work[_BACKR, i], work[_BACKI, i]
            if common_phase:
                water, other = work[_L0, i], 0.0
                fatty, turned = work[_L1, i], 0.0
            else:
                water, other = work[_L0, i], work[_L1, i]
                fatty, turned = work[_L2, i], work[_L3, i]
            real = re * c - im * s - (water + fatty * fr - turned * fi) * fade
            imag = re * s + im * c - (other + fatty * fi + turned * fr) * fade
            left[3 * n, i] = real
            left[(3 * n + 1), i] = imag
            work[_LEFT, i] += real * real + imag * imag


@njit(cache=True, nogil=True, fastmath=_FAST)
def _equations(times, fat, common_phase, fit_decay, left, columns, work, count):
    """Normal matrix and right side of the trial, see `normal_equations` and `_jacobian`."""
    echoes = times.size
    place = 3 if common_phase else 4
    for n in range(echoes):
        fr, fi = fat[n].real, fat[n].imag
        after = times[n] - times[0]
        base = 2 * _MAX * n
        for i in range(LANES):
            fade = left[(3 * n + 2), i]
            if common_phase:
                water, other = work[_L0, i], 0.0
                fatty, turned = work[_L1, i], 0.0
            else:
                water, other = work[_L0, i], work[_L1, i]
                fatty, turned = work[_L2, i], work[_L3, i]
            real = (water + fatty * fr - turned * fi) * fade
            imag = (other + fatty * fi + turned * fr) * fade
            columns[base, i], columns[base + 1, i] = fade, 0.0
            if common_phase:
                columns[base + 2, i] = fr * fade
                columns[base + 3, i] = fi * fade
                columns[base + 4, i] = -imag
                columns[base + 5, i] = real
            else:
                columns[base + 2, i], columns[base + 3, i] = 0.0, fade
                columns[base + 4, i] = fr * fade
                columns[base + 5, i] = fi * fade
                columns[base + 6, i] = -fi * fade
                columns[base + 7, i] = fr * fade
            columns[base + 2 * place, i] = -2 * math.pi * after * imag
            columns[base + (2 * place + 1), i] = 2 * math.pi * after * real
            if fit_decay:
                columns[base + (2 * place + 2), i] = -after * real
                columns[base + (2 * place + 3), i] = -after * imag
    for p in range(count):
        right = _RIGHT + p
        for i in range(LANES):
            work[right, i] = 0.0
        for n in range(echoes):
            base, here = 2 * (_MAX * n + p), 3 * n
            for i in range(LANES):
                work[right, i] += (
                    columns[base, i] * left[here, i] + columns[base + 1, i] * left[here + 1, i]
                )
        for q in range(p + 1):
            entry = _NORMAL + p * _MAX + q
            for i in range(LANES):
                work[entry, i] = 0.0
            for n in range(echoes):
                one, two = 2 * (_MAX * n + p), 2 * (_MAX * n + q)
                for i in range(LANES):
                    work[entry, i] += (
                        columns[one, i] * columns[two, i]
                        + columns[one + 1, i] * columns[two + 1, i]
                    )


@njit(cache=True, nogil=True)
def _accept(chosen, work, count):
    """Keep the trial's equations where chosen (1, else 0)."""
    for p in range(count):
        _keep(chosen, work[_RIGHT + p], work[_RIGHT + _MAX + p])
        for q in range(p + 1):
            entry = _NORMAL + p * _MAX + q
            _keep(chosen, work[entry], work[entry + _MAX * _MAX])


@njit(cache=True, nogil=True)
def _keep(chosen, trial, kept):
    for i in range(LANES):
        kept[i] = trial[i] if chosen[i] > 0 else kept[i]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _step(common_phase, fit_decay, span, prior, weight, r2star, damping, work, count):
    """Damped Gauss-Newton step of off-resonance and R2* by Cholesky factorization."""
    place = 3 if common_phase else 4
    first, factor, step = _NORMAL + _MAX * _MAX, _NORMAL + 2 * _MAX * _MAX, _RIGHT + 2 * _MAX
    for p in range(count):
        for q in range(p + 1):
            here, there = factor + p * _MAX + q, first + p * _MAX + q
            for i in range(LANES):
                value = work[there, i]
                if p == q and fit_decay and p == count - 1:
                    value += weight[i]
                if p == q and p >= place:
                    value *= 1 + damping[i]
                work[here, i] = value
        here, there = step + p, _RIGHT + _MAX + p
        for i in range(LANES):
            value = work[there, i]
            if fit_decay and p == count - 1:
                value += weight[i] * (prior[i] - r2star[i])
            work[here, i] = value
    for p in range(count):
        own = factor + p * _MAX + p
        for q in range(p + 1):
            here = factor + p * _MAX + q
            for m in range(q):
                one, two = factor + p * _MAX + m, factor + q * _MAX + m
                for i in range(LANES):
                    work[here, i] -= work[one, i] * work[two, i]
            if q < p:
                two = factor + q * _MAX + q
                for i in range(LANES):
                    work[here, i] *= work[two, i]
        for i in range(LANES):  # its inverse; of a singular matrix tiny, and so the step
            work[own, i] = 1 / math.sqrt(max(work[own, i], 1e-30)) if work[own, i] > 0 else 0.0
        here = step + p
        for m in range(p):
            one, two = factor + p * _MAX + m, step + m
            for i in range(LANES):
                work[here, i] -= work[one, i] * work[two, i]
        for i in range(LANES):
            work[here, i] *= work[own, i]
    for p in range(count - 1, place - 1, -1):
        here, own = step + p, factor + p * _MAX + p
        for m in range(p + 1, count):
            one, two = factor + m * _MAX + p, step + m
            for i in range(LANES):
                work[here, i] -= work[one, i] * work[two, i]
        for i in range(LANES):
            work[here, i] *= work[own, i]
    limit = 0.15 / span
    for i in range(LANES):
        turn = work[(step + place), i]
        work[_TURN, i] = min(max(turn, -limit), limit)
        change = work[(step + place + 1), i] if fit_decay else 0.0
        work[_CHANGE, i] = min(max(change, -1 / span), 1 / span)
