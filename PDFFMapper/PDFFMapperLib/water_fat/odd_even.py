"""Odd/even echo errors of bipolar readouts, found from the echoes themselves.

Echoes read with alternating gradient polarity differ by a phase (eddy currents, gradient delays)
that is smooth, mostly linear along the readout, and by a small factor of the amplitude (Lu 2008,
doi 10.1002/mrm.21583; Yu 2010, doi 10.1002/jmri.22111). Interleaved trains differ the same way
where the field drifts between them. From four echoes on, the phase can be told from water, fat,
off-resonance and R2* in every voxel (Peterson and Mansson 2014, doi 10.1002/mrm.24657); here its
few coefficients are fitted to many voxels at once, all other unknowns of each voxel being free
(variable projection), so that the PDFF loses hardly any precision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit

from PDFFMapperLib.water_fat.field_map import (
    ChemicalShiftModel,
    fit_from,
    fit_from_candidates,
    frequencies_of_one_period,
    noise_sd,
    residual_curve,
    search_tables,
)
from PDFFMapperLib.water_fat.voxel_fit import FAT, FRACTION, OFFSET, R2STAR, RESIDUAL, WATER
from PDFFMapperLib.water_fat.voxel_signals import OddEvenError, position_terms, without_odd_even

_TRIED_PER_TURN = 48  # phases tried where the search starts
_STEEPEST = 3.0  # rad from the center of the volume to its edge
_SLOPES = 31
_STARTS = 4
_PROFILED = 250  # voxels
_STEPS = 6
_FEW = 6_000  # voxels that determine a phase
_LARGEST_SD = 0.5  # points of PDFF that the uncertainty of an amplitude error may cost

# Powers of the position along slices, rows, columns.
_LINEAR = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
_QUADRATIC = ((2, 0, 0), (0, 2, 0), (0, 0, 2), (1, 1, 0), (1, 0, 1), (0, 1, 1))


@dataclass(frozen=True)
class OddEvenFit:
    """A sample of voxels fitted together with an odd/even error.

    Attributes:
        error: the error found.
        covariance: of the phase and then the amplitude coefficients.
        fits: of the sample without the error, as `fit_voxels` has it.
        pdff_per_rad: change of each voxel's PDFF, in points, by 1 rad of phase error.
        pdff_per_amplitude: the same by an amplitude exponent of 1.
    """

    error: OddEvenError
    covariance: np.ndarray
    fits: np.ndarray
    pdff_per_rad: np.ndarray
    pdff_per_amplitude: np.ndarray

    @property
    def phase_sd(self) -> float:
        """Standard deviation of the constant part of the phase, in rad."""
        return float(np.sqrt(self.covariance[0, 0]))

    @property
    def amplitude_sd(self) -> float:
        """Standard deviation of the constant part of the amplitude exponent."""
        terms = len(self.error.powers)
        return float(np.sqrt(self.covariance[terms, terms]))


def find_odd_even(
    signals: np.ndarray,
    place: np.ndarray,
    model: ChemicalShiftModel,
    r2star_per_s: float | None = None,
) -> OddEvenFit:
    """The odd/even phase error, linear in space, that fits a sample of voxels best.

    Args:
        signals: complex64, shape (voxels, echoes), four echoes or more.
        place: positions from -1 to 1 along slices, rows, columns, shape (voxels, 3).
        model: echo times, fat signal and field strength.
        r2star_per_s: R2* where it is known.
    """
    powers = _varying(_LINEAR, place)
    found = []
    for start in _starts(signals, place, model, powers):
        error = OddEvenError(powers, start, np.zeros(len(powers)))
        found.append(_refined(signals, place, model, r2star_per_s, error, None, False))
    scores = []
    for each in found:
        residuals = each.fits[:, RESIDUAL]
        scores.append(np.minimum(residuals, 30 * np.median(residuals)).sum())
    # Some echo times make different phases fit alike, each with another field; the PDFF is the
    # same, and the smallest phase is the likeliest.
    good = [each for each, score in zip(found, scores, strict=True) if score < 1.03 * min(scores)]
    return min(good, key=lambda each: np.abs(each.error.exponent(place)).mean())


def with_amplitude(fit: OddEvenFit, signals, place, model, r2star_per_s) -> OddEvenFit:
    """The fit of `find_odd_even` with a difference of amplitude, to compare other models by."""
    starts_hz = np.nan_to_num(fit.fits[:, OFFSET])
    return _refined(signals, place, model, r2star_per_s, fit.error, starts_hz, True)


def refine_odd_even(
    signals: np.ndarray,
    place: np.ndarray,
    model: ChemicalShiftModel,
    r2star_per_s: float | None,
    error: OddEvenError,
    starts_hz: np.ndarray,
) -> tuple[OddEvenFit, str]:
    """The error again where the field is known, with quadratic terms and amplitude if they show.

    The amplitude counts only if water-dominant and fat-dominant voxels agree on it, since a
    wrong fat spectrum looks like one, and if its uncertainty costs the PDFF under half a point.

    Args:
        signals: as acquired, otherwise as in `find_odd_even`.
        place: see `find_odd_even`.
        model: see `find_odd_even`.
        r2star_per_s: see `find_odd_even`.
        error: what `find_odd_even` found.
        starts_hz: off-resonance of the voxels, to start from.

    Returns:
        The fit, and a sentence on the amplitude.
    """
    few = slice(None, None, max(1, len(signals) // _FEW))
    sample = signals[few], place[few]
    given = model, r2star_per_s, replace(error, amplitude=np.zeros_like(error.amplitude))
    if len(sample[0]) >= 1000:
        powers = _varying(_LINEAR + _QUADRATIC, place)
        phase = np.concatenate([error.phase, np.zeros(len(powers) - len(error.phase))])
        curved = model, r2star_per_s, OddEvenError(powers, phase, 0 * phase)
        plain = _refined(*sample, *curved, starts_hz[few], False)
        bent = slice(len(error.phase), len(powers))
        bend, spread = plain.error.phase[bent], plain.covariance[bent, bent]
        # Chi-squared of as many degrees of freedom; terms without need would only add noise.
        freedom = len(bend)
        if freedom and bend @ np.linalg.solve(spread, bend) > freedom + 5 * np.sqrt(2 * freedom):
            given = curved
    plain = _refined(*sample, *given, starts_hz[few], False)
    both = _refined(*sample, *given, starts_hz[few], True)
    if abs(both.error.amplitude[0]) > 2 * both.amplitude_sd:
        both = _refined(signals, place, model, r2star_per_s, both.error, starts_hz, True)
    value, sd = float(both.error.amplitude[0]), both.amplitude_sd
    effect = float(np.mean(np.abs(both.pdff_per_amplitude)))
    if abs(value) < 4 * sd:
        return _without_bias(plain, sample[1], model, r2star_per_s, False), (
            f"The amplitudes of odd and even echoes do not differ ({200 * value:.1f} +- "
            f"{200 * sd:.1f} %)."
        )
    parts = []
    fatty = plain.fits[:, FRACTION] >= 0.5
    for part in (fatty, ~fatty):
        if part.sum() >= 50:
            alone = _refined(*(each[part] for each in sample), *given, starts_hz[few][part], True)
            parts.append((float(alone.error.amplitude[0]), alone.amplitude_sd))
    agree = len(parts) == 2 and abs(parts[0][0] - parts[1][0]) < max(
        4 * np.hypot(parts[0][1], parts[1][1]), 0.25 * abs(value)
    )
    if agree and sd * effect < _LARGEST_SD and abs(value) < 0.3:
        return _without_bias(both, place, model, r2star_per_s, True), (
            f"Odd and even echoes differ in amplitude by {200 * value:.1f} +- {200 * sd:.1f} %, "
            "which was corrected; uncorrected it would change the PDFF by "
            f"{abs(value) * effect:.1f} points on average, and its uncertainty leaves "
            f"{sd * effect:.2f} points."
        )
    return _without_bias(plain, sample[1], model, r2star_per_s, False), (
        "An amplitude difference of odd and even echoes cannot be told from an error of the fat "
        f"spectrum here and was not corrected; 1 % would change the PDFF by {effect / 200:.1f} "
        "points on average."
    )


def _without_bias(fit: OddEvenFit, place, model, r2star_per_s, fit_amplitude) -> OddEvenFit:
    """The fit without the bias that noise causes through the unknowns of each voxel.

    The bias is that of fits to signals simulated from the fit, with noise and with its
    opposite, so that only what is even in the noise remains.
    """
    usable = np.flatnonzero(np.isfinite(fit.fits).all(1))
    usable = usable[:: max(1, len(usable) // _FEW)]
    fits, place = fit.fits[usable], place[usable]
    times = model.echo_times_s
    decay = np.exp(np.outer(2j * np.pi * fits[:, OFFSET] - fits[:, R2STAR], times))
    clean = (fits[:, [WATER]] + fits[:, [FAT]] * model.fat) * decay
    clean = without_odd_even(clean, -fit.error.exponent(place))
    unknowns = (5 if model.common_phase else 6) - (r2star_per_s is not None)
    spread = noise_sd(fits[:, RESIDUAL], clean, unknowns)
    noise = np.random.default_rng(0).standard_normal((2, *clean.shape)) * spread
    noise = (noise[0] + 1j * noise[1]).astype(np.complex64)
    phase, amplitude = np.zeros_like(fit.error.phase), np.zeros_like(fit.error.amplitude)
    for signals in (clean + noise, clean - noise):
        again = _refined(
            signals, place, model, r2star_per_s, fit.error, fits[:, OFFSET], fit_amplitude
        )
        phase += (again.error.phase - fit.error.phase) / 2
        amplitude += (again.error.amplitude - fit.error.amplitude) / 2
    error = fit.error
    error = replace(error, phase=error.phase - phase, amplitude=error.amplitude - amplitude)
    return replace(fit, error=error)


def _varying(powers, place: np.ndarray) -> np.ndarray:
    """The terms that the positions of a sample can tell apart."""
    distinct = [len(np.unique(place[:, axis])) for axis in range(3)]
    return np.array(
        [each for each in powers if all(p < d for p, d in zip(each, distinct, strict=True))]
    )


def _starts(signals, place, model, powers) -> list[np.ndarray]:
    """The few (constant, slopes) of the phase, in rad, that profiles of the residual favor."""
    stride = max(1, len(signals) // _PROFILED)
    signals, place = signals[::stride], place[::stride]
    # Half a turn more is a factor of -1 on all echoes. With equidistant echoes a quarter turn more
    # looks like a change of the field by half its period.
    turn = np.pi / 2 if model.echo_spacing_s else np.pi
    count = round(_TRIED_PER_TURN * turn / (2 * np.pi))
    step = turn / count
    phases = np.arange(count) * step
    tables, inverse = search_tables(model, frequencies_of_one_period(model))
    costs = _profile(signals, np.exp(-1j * phases), tables, inverse, model.common_phase)
    least = costs.min(1, keepdims=True)
    energy = (np.abs(signals) ** 2).sum(1, keepdims=True)
    noise = 2 * np.median(least) / signals.shape[1]
    costs = np.minimum((costs - least) / (noise + 0.02**2 * energy + 1e-30), 30)

    lines = [(0, 0.0)]
    for term in range(1, len(powers)):
        values = np.unique(place[:, np.argmax(powers[term])])
        # Steps between neighboring positions must be well under the period of the phase.
        steepest = min(_STEEPEST, 0.25 * turn / np.diff(values).max())
        lines += [(term, s) for s in np.linspace(-steepest, steepest, _SLOPES) if abs(s) > 1e-9]
    totals = np.empty((len(lines), count))
    for row, (term, slope) in enumerate(lines):
        moved = np.round(slope * position_terms(place, powers[term : term + 1]) / step).astype(int)
        totals[row] = np.take_along_axis(costs, (moved + np.arange(count)) % count, 1).mean(0)
    starts = []
    best = totals.min()
    for _ in range(_STARTS):
        row, column = np.unravel_index(np.argmin(totals), totals.shape)
        # A flat phase, if it is about as good; other minima only if they are in question.
        if totals[row, column] > best + 0.3 * (np.median(costs.mean(1)) - best) and starts:
            break
        term, slope = lines[row]
        start = np.zeros(len(powers))
        start[0] = phases[column] - (turn if phases[column] > turn / 2 else 0)
        start[term] += slope
        starts.append(start)
        apart = np.abs((np.arange(count) - column + count // 2) % count - count // 2) * step
        for other, (other_term, other_slope) in enumerate(lines):
            if slope == 0 or (other_term == term and abs(other_slope - slope) < 0.5):
                totals[other, apart < 0.3] = np.inf
    return starts


@njit(cache=True, nogil=True)
def _profile(signals, factors, tables, inverse, common_phase):
    """Least residual over frequencies and R2*, shape (voxels, factors), of each phase error."""
    count = tables.shape[3]
    work = np.empty((4, count), np.float32)
    curve = np.empty(count, np.float32)
    turned = np.empty(signals.shape[1], np.complex64)
    result = np.empty((len(signals), len(factors)), np.float32)
    for v in range(len(signals)):
        for f in range(len(factors)):
            for n in range(signals.shape[1]):
                factor = factors[f] if n % 2 == 0 else factors[f].conjugate()
                turned[n] = signals[v, n] * factor
            residual_curve(
                turned, tables, inverse, common_phase, work[0], work[1], work[2], work[3], curve
            )
            least = curve[0]
            for g in range(1, count):
                least = min(least, curve[g])
            result[v, f] = least
    return result


def _refined(signals, place, model, r2star_per_s, error, starts_hz, fit_amplitude) -> OddEvenFit:
    """Gauss-Newton steps from an error, the unknowns of each voxel projected out."""
    terms = len(error.powers)
    count = terms + fit_amplitude
    basis = position_terms(place, error.powers)
    sign = (-1.0) ** np.arange(signals.shape[1])
    covariance = np.zeros((2 * terms, 2 * terms))
    for _ in range(_STEPS):
        corrected = without_odd_even(signals, basis @ (error.amplitude + 1j * error.phase))
        if starts_hz is None:
            fits = fit_from_candidates(corrected, model, r2star_per_s, tried=2)
        else:
            fits = fit_from(corrected, model, r2star_per_s, starts_hz)
        residual, columns, signal = _linearized(corrected, fits, model, r2star_per_s is None)
        usable = np.isfinite(columns).all((1, 2)) & np.isfinite(residual).all(1)
        columns[~usable] = np.eye(columns.shape[1])[:, : columns.shape[2]]
        residual[~usable], signal[~usable] = 0, 0
        q, r = np.linalg.qr(columns)
        effects = np.stack([_real(1j * sign * signal), _real(sign * signal)], 2)
        shadows = q.swapaxes(1, 2) @ effects
        free = effects - q @ shadows
        squares = (residual**2).sum(1)
        unknowns = columns.shape[2]
        freedom = residual.shape[1] - unknowns
        noise = noise_sd(squares[usable], signals[usable], unknowns) ** 2
        weight = 1 / (noise * np.maximum(1, squares / (3 * freedom * noise)))
        design = free[:, :, 0, None] * basis[:, None, :]
        if fit_amplitude:
            design = np.concatenate([design, free[:, :, 1:]], 2)
        flat = design.reshape(-1, count) * np.repeat(weight, residual.shape[1])[:, None]
        normal = flat.T @ design.reshape(-1, count)
        normal += 1e-9 * np.trace(normal) / count * np.eye(count)
        inverse = np.linalg.inv(normal)
        kept = np.arange(count)
        covariance[np.ix_(kept, kept)] = inverse
        move = inverse @ (flat.T @ residual.ravel())
        largest = np.abs(move).max()
        if largest < 2e-4:
            break
        move *= min(1, 0.5 / largest)
        amplitude = error.amplitude.copy()
        amplitude[0] += move[terms:].sum()
        error = replace(error, phase=error.phase + move[:terms], amplitude=amplitude)
    slopes = -np.linalg.solve(r, shadows)
    gradient = _fraction_gradient(fits, model, unknowns)
    by = 100 * np.einsum("vp,vpe->ve", gradient, slopes)
    by[~usable] = 0
    return OddEvenFit(error, covariance, fits, by[:, 0], by[:, 1])


def _real(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values.real, values.imag], 1)


def _linearized(signals, fits, model, fit_decay):
    """Residual, derivatives by a voxel's own unknowns, and model signal, around its fit.

    Returns:
        real residual, shape (voxels, 2 echoes); derivatives, shape (voxels, 2 echoes, unknowns),
        by water, fat (real and imaginary unless of a common phase), phase, off-resonance and R2*;
        complex signal, shape (voxels, echoes).
    """
    fits = fits.astype(float)
    times = model.echo_times_s - model.echo_times_s[0]
    wave = np.exp(np.outer(2j * np.pi * fits[:, OFFSET] - fits[:, R2STAR], times))
    both = np.stack([wave, wave * model.fat], 2)
    if model.common_phase:
        decay = np.exp(-fits[:, R2STAR] * model.echo_times_s[0])
        signal = (both @ (fits[:, [WATER, FAT]] * decay[:, None])[..., None])[..., 0]
        phase = np.exp(1j * np.angle((signal.conj() * signals).sum(1)))
        signal = signal * phase[:, None]
        both = both * phase[:, None, None]
        columns = [both[..., 0], both[..., 1], 1j * signal]
    else:
        conjugate = both.conj().swapaxes(1, 2)
        linear = np.linalg.solve(conjugate @ both, conjugate @ signals[..., None])
        signal = (both @ linear)[..., 0]
        columns = [both[..., 0], 1j * both[..., 0], both[..., 1], 1j * both[..., 1]]
    columns.append(2j * np.pi * times * signal)
    if fit_decay:
        columns.append(-times * signal)
    return _real(signals - signal), np.stack([_real(each) for each in columns], 2), signal


def _fraction_gradient(fits, model, unknowns) -> np.ndarray:
    """Derivative of the fat fraction by each unknown, amplitudes being those at the first echo."""
    fits = fits.astype(float)
    decay = np.exp(-fits[:, R2STAR] * model.echo_times_s[0])
    water, fat = fits[:, WATER] * decay, fits[:, FAT] * decay
    total = np.maximum(water + fat, 1e-30)
    gradient = np.zeros((len(fits), unknowns))
    gradient[:, 0] = -fat / total**2
    gradient[:, 1 if model.common_phase else 2] = water / total**2
    return gradient
