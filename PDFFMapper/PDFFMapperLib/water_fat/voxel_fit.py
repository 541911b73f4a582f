"""Voxelwise least-squares fit of water, fat, R2* and off-resonance to complex echoes.

Maximum likelihood for Gaussian noise by variable projection (Golub and Pereyra 2003, doi
10.1088/0266-5611/19/2/201): water, fat and their phase in closed form, off-resonance and R2* by
damped Gauss-Newton. Nothing is clipped: water, fat and R2* may come out slightly negative by
noise, so that averages over a region stay unbiased at 0 % and 100 %.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from PDFFMapperLib.water_fat.normal_equations import factorize, invert, normal_equations, substitute
from PDFFMapperLib.water_fat.voxel_lanes import first_steps

R2STAR_RANGE = (-200.0, 3000.0)
"""R2* in 1/s beyond which a fit counts as failed."""

_MAX_STEPS = 20

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


@njit(cache=True, nogil=True)
def fit_voxels(
    signals, times, fat, common_phase, fixed_r2star, spacing, starts_hz, prior_r2star, prior_weight
):
    """Fit each voxel from its start.

    Args:
        signals: complex64, shape (voxels, echoes).
        times: echo times in s, shape (echoes,).
        fat: complex signal of unit fat, shape (echoes,).
        common_phase: water and fat share one phase; else the fat fraction is |F|/(|W|+|F|).
        fixed_r2star: R2* in 1/s, or NaN to fit it.
        spacing: echo spacing in s of equidistant echoes, else 0.
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
    columns = np.empty((6, echoes), np.complex128)
    rotated = np.empty(echoes, np.complex128)
    decay = np.empty(echoes)
    normal = np.empty((6, 6))
    right = np.empty(6)
    linear = np.empty(4)
    covariance = np.empty((6, 6))
    shift = np.empty(6)
    fit_decay = np.isnan(fixed_r2star)
    span = times[-1] - times[0]
    amplitudes = 3 if common_phase else 4
    count = amplitudes + (2 if fit_decay else 1)
    offsets, decays, settled = first_steps(
        signals, times, fat, common_phase, fixed_r2star, starts_hz, prior_r2star, prior_weight
    )
    for v in range(voxels):
        signal = signals[v]
        offset = offsets[v]
        expected, weight = float(prior_r2star[v]), float(prior_weight[v])
        r2star, converged = decays[v], bool(settled[v])
        residual = _solve(
            signal, times, fat, common_phase, spacing, offset, r2star, rotated, decay, linear
        )
        residual += weight * (r2star - expected) ** 2
        damping = 0.0
        limit = 0.15 / span
        for _ in range(0 if converged else _MAX_STEPS):
            _jacobian(times, fat, common_phase, fit_decay, rotated, decay, linear, columns)
            normal_equations(columns, rotated, count, normal, right)
            if weight > 0:
                normal[count - 1, count - 1] += weight
                right[count - 1] += weight * (expected - r2star)
            for p in range(amplitudes, count):
                normal[p, p] *= 1 + damping
            if not factorize(normal, count):
                break
            substitute(normal, right, count)
            turn = min(max(right[amplitudes], -limit), limit)
            change = right[amplitudes + 1] if fit_decay else 0.0
            change = min(max(change, -1 / span), 1 / span)
            before = residual
            residual = _solve(
                signal,
                times,
                fat,
                common_phase,
                spacing,
                offset + turn,
                r2star + change,
                rotated,
                decay,
                linear,
            )
            residual += weight * (r2star + change - expected) ** 2
            small = abs(turn) * 2 * math.pi * span < 3e-4 and abs(change) * span < 3e-4
            if residual <= before * (1 + 1e-9) + 1e-30:
                offset += turn
                r2star += change
                damping = damping * 0.2 if damping > 1e-3 else 0.0
                if small:
                    converged = True
                    break
            else:
                if small:
                    converged = True
                residual = _solve(
                    signal, times, fat, common_phase, spacing, offset, r2star, rotated, decay,
                    linear,
                )  # fmt: skip
                residual += weight * (r2star - expected) ** 2
                if converged:
                    break
                damping = max(damping * 10, 0.1)
        if fit_decay and not R2STAR_RANGE[0] < r2star < R2STAR_RANGE[1]:
            converged = False
        _jacobian(times, fat, common_phase, fit_decay, rotated, decay, linear, columns)
        normal_equations(columns, rotated, count, normal, right)
        if weight > 0:
            normal[count - 1, count - 1] += weight
            residual -= weight * (r2star - expected) ** 2
        fraction_variance = decay_variance = fraction_bias = decay_bias = total_variance = np.nan
        if factorize(normal, count):
            invert(normal, count, covariance)
            _second_order_bias(
                times, common_phase, fit_decay, columns, covariance, count, right, shift
            )
            _fraction_gradient(common_phase, linear, right)
            fraction_variance = fraction_bias = 0.0
            total_variance = _total_variance(common_phase, linear, covariance)
            for p in range(amplitudes):
                fraction_bias += right[p] * shift[p]
                for q in range(amplitudes):
                    fraction_variance += right[p] * covariance[p, q] * right[q]
            fraction_bias += 0.5 * _fraction_curvature(common_phase, linear, covariance)
            if fit_decay:
                decay_variance, decay_bias = covariance[count - 1, count - 1], shift[count - 1]
        else:
            converged = False
        if common_phase:
            water, fat_signal, relative = linear[0], linear[1], 0.0
            fraction = fat_signal / max(water + fat_signal, 1e-30)
        else:
            water = math.hypot(linear[0], linear[1])
            fat_signal = math.hypot(linear[2], linear[3])
            product = complex(linear[2], linear[3]) * complex(linear[0], -linear[1])
            relative = math.atan2(product.imag, product.real)
            fraction = fat_signal / max(water + fat_signal, 1e-30)
        # Amplitudes refer to the first echo inside the solver; back to echo time 0.
        back = math.exp(min(r2star * times[0], 50.0))
        out = result[v]
        out[WATER], out[FAT], out[FRACTION] = water * back, fat_signal * back, fraction
        out[OFFSET], out[R2STAR], out[RESIDUAL] = offset, r2star, residual
        out[FRACTION_VARIANCE], out[R2STAR_VARIANCE] = fraction_variance, decay_variance
        out[FRACTION_BIAS], out[R2STAR_BIAS] = fraction_bias, decay_bias
        out[CONVERGED], out[RELATIVE_PHASE] = converged, relative
        out[TOTAL_VARIANCE] = total_variance
    return result


@njit(cache=True, nogil=True)
def _solve(signal, times, fat, common_phase, spacing, offset_hz, r2star, rotated, decay, linear):
    """Best amplitudes at an off-resonance and R2*; returns the sum of squared residuals.

    `rotated` becomes the residual in the frame of the model (off-resonance, and with a common
    phase that phase, removed), `decay` the decay from the first echo. `linear` becomes (water,
    fat, phase, 0) or (water real, imaginary, fat real, imaginary).
    """
    echoes = signal.size
    first = times[0]
    angle = -2 * math.pi * offset_hz
    if spacing > 0:
        step = complex(math.cos(angle * spacing), math.sin(angle * spacing))
        fade = math.exp(-r2star * spacing)
        turn, weight = complex(math.cos(angle * first), math.sin(angle * first)), 1.0
        for n in range(echoes):
            rotated[n] = signal[n] * turn
            decay[n] = weight
            turn *= step
            weight *= fade
    else:
        for n in range(echoes):
            turn = complex(math.cos(angle * times[n]), math.sin(angle * times[n]))
            rotated[n] = signal[n] * turn
            decay[n] = math.exp(-r2star * (times[n] - first))
    ww = ff = 0.0
    wf, z0, z1 = 0j, 0j, 0j
    for n in range(echoes):
        square = decay[n] * decay[n]
        ww += square
        ff += square * (fat[n].real ** 2 + fat[n].imag ** 2)
        wf += square * fat[n]
        z0 += decay[n] * rotated[n]
        z1 += decay[n] * fat[n].conjugate() * rotated[n]
    residual = 0.0
    if common_phase:
        determinant = ww * ff - wf.real * wf.real
        if determinant <= 1e-12 * ww * ff:
            determinant = 1e-12 * ww * ff
        form = (ff * z0 * z0 + ww * z1 * z1 - 2 * wf.real * z0 * z1) / determinant
        phase = 0.5 * math.atan2(form.imag, form.real)
        back = complex(math.cos(phase), -math.sin(phase))
        b0, b1 = (z0 * back).real, (z1 * back).real
        water = (ff * b0 - wf.real * b1) / determinant
        fat_signal = (ww * b1 - wf.real * b0) / determinant
        if water + fat_signal < 0:
            water, fat_signal, back, phase = -water, -fat_signal, -back, phase + math.pi
        for n in range(echoes):
            rotated[n] = rotated[n] * back - (water + fat_signal * fat[n]) * decay[n]
            residual += rotated[n].real ** 2 + rotated[n].imag ** 2
        linear[0], linear[1], linear[2], linear[3] = water, fat_signal, phase, 0.0
    else:
        determinant = ww * ff - (wf.real**2 + wf.imag**2)
        if determinant <= 1e-12 * ww * ff:
            determinant = 1e-12 * ww * ff
        w = (ff * z0 - wf * z1) / determinant
        f = (ww * z1 - wf.conjugate() * z0) / determinant
        for n in range(echoes):
            rotated[n] -= (w + f * fat[n]) * decay[n]
            residual += rotated[n].real ** 2 + rotated[n].imag ** 2
        linear[0], linear[1], linear[2], linear[3] = w.real, w.imag, f.real, f.imag
    return residual


@njit(cache=True, nogil=True)
def _jacobian(times, fat, common_phase, fit_decay, rotated, decay, linear, columns):
    """Derivatives of the model in its frame: amplitudes, phase, off-resonance (Hz), R2*."""
    for n in range(times.size):
        if common_phase:
            model = (linear[0] + linear[1] * fat[n]) * decay[n]
            columns[0, n] = decay[n]
            columns[1, n] = fat[n] * decay[n]
            columns[2, n] = 1j * model
            p = 3
        else:
            w, f = complex(linear[0], linear[1]), complex(linear[2], linear[3])
            model = (w + f * fat[n]) * decay[n]
            columns[0, n] = decay[n]
            columns[1, n] = 1j * decay[n]
            columns[2, n] = fat[n] * decay[n]
            columns[3, n] = 1j * fat[n] * decay[n]
            p = 4
        columns[p, n] = 2j * math.pi * (times[n] - times[0]) * model
        if fit_decay:
            columns[p + 1, n] = -(times[n] - times[0]) * model


@njit(cache=True, nogil=True)
def _second_order_bias(
    times, common_phase, fit_decay, columns, covariance, count, projected, shift
):
    """Bias of the parameters per noise variance into `shift`: -1/2 C J' tr(C H).

    The model depends on phase, off-resonance and R2* as an exponential, so that its second
    derivative by any parameter p and one of these is the column of p times i, 2 pi i t or -t.
    """
    exponentials = 2 if common_phase else 4  # the first parameter that is in the exponent
    projected[:] = 0
    for n in range(times.size):
        time = times[n] - times[0]
        bend = 0j
        for q in range(exponentials, count):
            if common_phase and q == 2:
                factor = 1j
            elif fit_decay and q == count - 1:
                factor = complex(-time, 0)
            else:
                factor = complex(0, 2 * math.pi * time)
            for p in range(count):
                # Pairs of an amplitude and an exponent occur twice in the trace.
                twice = 2.0 if p < exponentials else 1.0
                bend += twice * covariance[p, q] * factor * columns[p, n]
        for p in range(count):
            c = columns[p, n]
            projected[p] += c.real * bend.real + c.imag * bend.imag
    for p in range(count):
        total = 0.0
        for q in range(count):
            total += covariance[p, q] * projected[q]
        shift[p] = -0.5 * total


@njit(cache=True, nogil=True)
def _fraction_gradient(common_phase, linear, gradient):
    """Derivative of the fat fraction (0 to 1) by each amplitude."""
    gradient[:] = 0
    if common_phase:
        total = max(linear[0] + linear[1], 1e-30)
        gradient[0] = -linear[1] / total**2
        gradient[1] = linear[0] / total**2
    else:
        water = max(math.hypot(linear[0], linear[1]), 1e-30)
        fat = max(math.hypot(linear[2], linear[3]), 1e-30)
        square = (water + fat) ** 2
        for p in range(2):
            gradient[p] = -fat * linear[p] / water / square
            gradient[2 + p] = water * linear[2 + p] / fat / square


@njit(cache=True, nogil=True)
def _fraction_curvature(common_phase, linear, covariance):
    """Trace of the fat fraction's second derivative times the covariance; 0 for magnitudes."""
    if not common_phase:
        return 0.0
    w, f = linear[0], linear[1]
    cube = max(w + f, 1e-30) ** 3
    return (
        2 * f * covariance[0, 0] + 2 * (f - w) * covariance[0, 1] - 2 * w * covariance[1, 1]
    ) / cube


@njit(cache=True, nogil=True)
def _total_variance(common_phase, linear, covariance):
    """Variance of water plus fat, or of the sum of their magnitudes, over its square."""
    if common_phase:
        total = linear[0] + linear[1]
        return (covariance[0, 0] + 2 * covariance[0, 1] + covariance[1, 1]) / max(total**2, 1e-60)
    water, fat = math.hypot(linear[0], linear[1]), math.hypot(linear[2], linear[3])
    variance = 0.0
    for p in range(4):
        for q in range(4):
            one = linear[p] / max(water if p < 2 else fat, 1e-30)
            other = linear[q] / max(water if q < 2 else fat, 1e-30)
            variance += one * covariance[p, q] * other
    return variance / max((water + fat) ** 2, 1e-60)
