"""Errors of echoes in phase and gain, found from the echoes themselves.

Echoes read with alternating gradient polarity differ by a phase (eddy currents, gradient delays)
that is smooth, mostly linear along the readout, and by a small factor of the amplitude (Lu 2008,
doi 10.1002/mrm.21583; Yu 2010, doi 10.1002/jmri.22111). The first echo has eddy currents of its own
(Yu 2011, doi 10.1002/mrm.22840), interleaved trains differ where the field drifts between them, and
fat may lead water. Each is a pattern over the echoes times a smooth function of the position. From
many voxels of different composition it can be told from water, fat, off-resonance and R2*: its few
coefficients are fitted to all at once, the unknowns of each voxel being free (variable projection;
in each voxel by itself: Peterson and Mansson 2014, doi 10.1002/mrm.24657), so that the PDFF loses
hardly any precision.

Echoes of another gain or scale, as of two acquisitions put together, are such a pattern too. Of few
echoes water, fat and R2* of a voxel take so much of it that hardly more than noise is left; many
voxels of different composition tell it all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit

from PDFFMapperLib.maps.progress import run_parallel
from PDFFMapperLib.water_fat.error_kernel import normal_equations, project
from PDFFMapperLib.water_fat.field_map import (
    ChemicalShiftModel,
    fit_from,
    fit_from_candidates,
    frequencies_of_one_period,
    noise_sd,
)
from PDFFMapperLib.water_fat.residual_curves import residual_curves, scratch, search_tables
from PDFFMapperLib.water_fat.voxel_fit import FAT, FRACTION, LANES, OFFSET, R2STAR, RESIDUAL, WATER
from PDFFMapperLib.water_fat.voxel_signals import EchoError, position_terms, without_error

ODD_EVEN, FIRST, TRAINS, FREE = "odd/even", "first echo", "interleaved trains", "every echo"
LEAD = "fat lead"  # no echo is wrong, but fat has a phase of its own

_TRIED_PER_TURN = 48  # phases tried where the search starts
_STEEPEST = 3.0  # rad from the center of the volume to its edge
_SLOPES = 31
_STARTS = 3
_PROFILED = 250  # voxels
_STEPS = 8
_FEW = 6_000  # voxels that determine a phase
_LARGEST_SD = 0.5  # points of PDFF that the uncertainty of an amplitude error may cost

_LEAST_GAIN = 0.06  # ln of a gain; wrong fat spectra imitate less
_GAIN_LEAVES = 0.8  # of the squared residual, that a gain leaves at most
_SURE_GAIN_LEAVES = 0.6  # the same of one that is refused
_GAIN_NOISE = 1.25  # times the noise of the images, that it leaves at most; other faults leave more
_GAIN_SNR = 8.0  # of the echoes' root mean square; noise under it biases fits as a gain does
_GAIN_HARM = 1.0  # points by which it changes the PDFF of one voxel in four

# Powers of the position along slices, rows, columns.
_LINEAR = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
_QUADRATIC = ((2, 0, 0), (0, 2, 0), (0, 0, 2), (1, 1, 0), (1, 0, 1), (0, 1, 1))


def patterns(kind: str, echo_times_s: np.ndarray) -> np.ndarray:
    """Patterns over the echoes of a kind of error, shape (patterns, echoes)."""
    count = len(echo_times_s)
    sign = (-1.0) ** np.arange(count)
    if kind == ODD_EVEN:
        return sign[None]
    if kind == TRAINS:
        centered = echo_times_s - echo_times_s.mean()
        return np.stack([sign, sign * centered / np.abs(centered).max()])
    if kind == LEAD:
        return np.zeros((0, count))
    if kind == FREE:  # all that is neither a common phase nor off-resonance
        known = np.stack([np.ones(count), echo_times_s / echo_times_s[-1]], 1)
        return np.linalg.svd(known)[0][:, 2:].T
    return np.eye(count)[None, echo_of(kind)]


def echo_of(kind: str) -> int:
    """Index of the echo that an error of a single one is of."""
    return 0 if kind == FIRST else int(kind.removeprefix("echo ")) - 1


def kinds(echoes: int) -> list[str]:
    """Kinds of error that so many echoes can show, the fewest patterns first."""
    if echoes < 4:  # one pattern is all there is
        return [ODD_EVEN]
    single = [f"echo {n + 1}" for n in range(1, echoes)]
    # With four echoes two patterns are all there is.
    return [ODD_EVEN, FIRST, *single, *([TRAINS] if echoes > 4 else []), FREE]


@dataclass(frozen=True)
class ErrorFit:
    """A sample of voxels fitted together with an error of the echoes.

    Attributes:
        error: the error found.
        lead: phase of fat over that of the model, in rad; 0 if it was not fitted.
        covariance: of the phases (patterns x terms), then the amplitudes, then the lead.
        fits: of the sample without the error, as `fit_voxels` has it.
        pdff_by: change of each voxel's PDFF, in points, by each unknown of the covariance; shape
            (voxels, unknowns); NaN in voxels without a fit.
    """

    error: EchoError
    lead: float
    covariance: np.ndarray
    fits: np.ndarray
    pdff_by: np.ndarray

    @property
    def phase_sd(self) -> float:
        """Standard deviation of the constant part of the first pattern's phase, in rad."""
        return float(np.sqrt(self.covariance[0, 0]))

    @property
    def amplitude_sd(self) -> float:
        """Standard deviation of the amplitude of the first pattern."""
        place = self.error.phase.size
        return float(np.sqrt(self.covariance[place, place]))

    @property
    def lead_sd(self) -> float:
        """Standard deviation of the lead of fat, in rad."""
        return float(np.sqrt(self.covariance[-1, -1]))

    @property
    def pdff_sd(self) -> float:
        """What the uncertainty of the error leaves of the PDFF, in points, in the median voxel.

        No mean: where water and fat nearly cancel a few voxels would make all of it.
        """
        variance = np.einsum("vi,ij,vj->v", self.pdff_by, self.covariance, self.pdff_by)
        return float(np.sqrt(np.nanmedian(np.maximum(variance, 0))))

    @property
    def pdff_by_amplitude(self) -> float:
        """Median change of PDFF, in points, by an amplitude of 1 of the first pattern."""
        return float(np.nanmedian(np.abs(self.pdff_by[:, self.error.phase.size])))


@dataclass(frozen=True)
class Sample:
    """Voxels to fit an error to.

    Attributes:
        signals: complex64, shape (voxels, echoes).
        place: positions from -1 to 1 along slices, rows, columns, shape (voxels, 3).
        r2star_per_s: R2* where it is known.
        starts_hz: off-resonance of each voxel to start from; None to find it.
    """

    signals: np.ndarray
    place: np.ndarray
    r2star_per_s: float | None = None
    starts_hz: np.ndarray | None = None

    def part(self, which: np.ndarray | slice) -> Sample:
        """Some of the voxels."""
        starts = None if self.starts_hz is None else self.starts_hz[which]
        signals, place = (np.ascontiguousarray(one[which]) for one in (self.signals, self.place))
        return replace(self, signals=signals, place=place, starts_hz=starts)


def find_error(
    kind: str,
    sample: Sample,
    model: ChemicalShiftModel,
    fit_lead: bool = False,
    like: ErrorFit | None = None,
    search: bool = True,
) -> ErrorFit:
    """The error of a kind, its phases linear in space, that fits a sample of voxels best.

    Args:
        kind: see `kinds`.
        sample: at least a few dozen voxels.
        model: echo times, fat signal and field strength.
        fit_lead: fit a phase by which fat leads water, too.
        like: an error of another kind to start from its nearest, beside what a search finds.
        search: try many phases of a single pattern; else start from `like`, or from no error.
    """
    given = patterns(kind, model.echo_times_s)
    powers = _varying(_LINEAR, sample.place)
    blank = EchoError(
        kind, given, powers, np.zeros((len(given), len(powers))), np.zeros(len(given))
    )
    starts = []
    if search and len(given) == 1:
        for phase in _starts(given[0], sample, model, powers):
            starts.append((replace(blank, phase=phase[None]), 0.0))
    if search and kind == LEAD:
        starts.append((blank, _lead_start(sample, model)))
    if like is not None and like.error.phase.shape[1] == len(powers):
        phase = _nearest(given, like.error, model.echo_times_s)
        starts.append((replace(blank, phase=phase), like.lead if fit_lead else 0.0))
    starts = starts or [(blank, 0.0)]
    found = [_refined(sample, model, error, lead, False, fit_lead) for error, lead in starts]
    scores = [capped(each.fits[:, RESIDUAL]).sum() for each in found]
    # Some echo times make different phases fit alike, each with another field; the PDFF is the
    # same, and the smallest phase is the likeliest.
    good = [each for each, score in zip(found, scores, strict=True) if score < 1.03 * min(scores)]
    return min(good, key=lambda each: np.abs(each.error.phases(sample.place)).sum())


def _lead_start(sample: Sample, model: ChemicalShiftModel) -> float:
    """The lead of fat, of eight around the circle, with which a few voxels fit best."""
    few = sample.signals[:: max(1, len(sample.signals) // _PROFILED)]
    leads = np.arange(-3, 5) * np.pi / 8  # half a turn more is a fat of the opposite sign
    scores = []
    for lead in leads:
        led = replace(model, fat=model.fat * np.exp(1j * lead))
        scores.append(
            capped(fit_from_candidates(few, led, sample.r2star_per_s, 2)[:, RESIDUAL]).sum()
        )
    return float(leads[np.nanargmin(scores)])


def capped(residuals: np.ndarray) -> np.ndarray:
    """Squared residuals, a few wild ones of which must not decide."""
    return np.minimum(residuals, 30 * np.nanmedian(residuals))


def _nearest(given: np.ndarray, error: EchoError, times: np.ndarray) -> np.ndarray:
    """Phases of patterns nearest to an error, but for a common phase and off-resonance."""
    free = patterns(FREE, times) if len(times) > 2 else np.eye(len(times))
    return np.linalg.pinv((given @ free.T).T) @ (error.patterns @ free.T).T @ error.phase


def refine_error(
    sample: Sample, model: ChemicalShiftModel, error: EchoError
) -> tuple[ErrorFit, str]:
    """The error again where the field is known, with quadratic terms and amplitude if they show.

    The amplitude, of odd against even echoes, counts only if water-dominant and fat-dominant
    voxels agree on it, since a wrong fat spectrum looks like one, and if its uncertainty costs the
    PDFF under half a point.

    Args:
        sample: signals as acquired, and their field.
        model: echo times, fat signal and field strength.
        error: what `find_error` found.

    Returns:
        The fit, and a sentence on the amplitude.
    """
    few = sample.part(slice(None, None, max(1, len(sample.signals) // _FEW)))
    given = replace(error, amplitude=np.zeros_like(error.amplitude))
    if len(few.signals) >= 1000 and len(error.patterns) == 1:
        powers = _varying(_LINEAR + _QUADRATIC, sample.place)
        phase = np.pad(error.phase, ((0, 0), (0, len(powers) - error.phase.shape[1])))
        curved = replace(given, powers=powers, phase=phase)
        plain = _refined(few, model, curved, 0.0, False, False)
        bent = slice(error.phase.shape[1], len(powers))
        bend, spread = plain.error.phase[0, bent], plain.covariance[bent, bent]
        # Chi-squared of as many degrees of freedom; terms without need would only add noise.
        freedom = len(bend)
        if freedom and bend @ np.linalg.solve(spread, bend) > freedom + 5 * np.sqrt(2 * freedom):
            given = curved
    plain = _refined(few, model, given, 0.0, False, False)
    if error.kind != ODD_EVEN:
        return _without_bias(plain, few, model, False), ""
    both = _refined(few, model, given, 0.0, True, False)
    if abs(both.error.amplitude[0]) > 2 * both.amplitude_sd:
        both = _refined(sample, model, both.error, 0.0, True, False)
    else:
        sample = few
    both = _without_bias(both, sample, model, True)  # of three echoes noise alone makes one of 5 %
    value, sd = float(both.error.amplitude[0]), both.amplitude_sd
    effect = both.pdff_by_amplitude
    if abs(value) < 4 * sd:
        return _without_bias(plain, few, model, False), (
            f"The amplitudes of odd and even echoes do not differ ({200 * value:.1f} +- "
            f"{200 * sd:.1f} %)."
        )
    parts = []
    fatty = plain.fits[:, FRACTION] >= 0.5
    for part in (fatty, ~fatty):
        if part.sum() >= 50:
            alone = _refined(few.part(part), model, given, 0.0, True, False)
            parts.append((float(alone.error.amplitude[0]), alone.amplitude_sd))
    agree = len(parts) == 2 and abs(parts[0][0] - parts[1][0]) < max(
        4 * np.hypot(parts[0][1], parts[1][1]), 0.25 * abs(value)
    )
    if agree and sd * effect < _LARGEST_SD and abs(value) < 0.3:
        return both, (
            f"Odd and even echoes differ in amplitude by {200 * value:.1f} +- {200 * sd:.1f} %, "
            "which was corrected; uncorrected it would change the PDFF by "
            f"{abs(value) * effect:.1f} points in a typical voxel, and its uncertainty leaves "
            f"{sd * effect:.2f} points."
        )
    return _without_bias(plain, few, model, False), (
        "An amplitude difference of odd and even echoes cannot be told from an error of the fat "
        f"spectrum here and was not corrected; 1 % would change the PDFF by {effect / 200:.1f} "
        "points in a typical voxel."
    )


def _without_bias(
    fit: ErrorFit, sample: Sample, model: ChemicalShiftModel, fit_amplitude: bool
) -> ErrorFit:
    """The fit without the bias that noise causes through the unknowns of each voxel.

    The bias is that of fits to signals simulated from the fit, with noise and with its
    opposite, so that only what is even in the noise remains.
    """
    usable = np.flatnonzero(np.isfinite(fit.fits).all(1))
    usable = usable[:: max(1, len(usable) // _FEW)]
    fits, place = fit.fits[usable], sample.place[usable]
    times = model.echo_times_s
    decay = np.exp(np.outer(2j * np.pi * fits[:, OFFSET] - fits[:, R2STAR], times))
    clean = (fits[:, [WATER]] + fits[:, [FAT]] * model.fat) * decay
    clean = without_error(clean, -fit.error.exponents(place))
    unknowns = (5 if model.common_phase else 6) - (sample.r2star_per_s is not None)
    spread = noise_sd(fits[:, RESIDUAL], clean, unknowns)
    noise = np.random.default_rng(0).standard_normal((2, *clean.shape)) * spread
    noise = (noise[0] + 1j * noise[1]).astype(np.complex64)
    phase, amplitude = np.zeros_like(fit.error.phase), np.zeros_like(fit.error.amplitude)
    for signals in (clean + noise, clean - noise):
        simulated = Sample(signals, place, sample.r2star_per_s, fits[:, OFFSET])
        again = _refined(simulated, model, fit.error, 0.0, fit_amplitude, False)
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


def _starts(pattern: np.ndarray, sample: Sample, model, powers) -> list[np.ndarray]:
    """The few (constant, slopes) of a pattern's phase, in rad, that residuals favor."""
    stride = max(1, len(sample.signals) // _PROFILED)
    sample = sample.part(slice(None, None, stride))
    signals, place = sample.signals, sample.place
    alternating = bool((np.abs(pattern) == 1).all())
    # Half a turn more of odd against even is a factor of -1 on all echoes. With equidistant echoes
    # a quarter turn more looks like a change of the field by half its period.
    turn = (np.pi / 2 if model.echo_spacing_s else np.pi) if alternating else 2 * np.pi
    count = round((_TRIED_PER_TURN if alternating else _TRIED_PER_TURN / 2) * turn / (2 * np.pi))
    step = turn / count
    phases = np.arange(count) * step
    tables = search_tables(model, frequencies_of_one_period(model))
    factors = np.exp(-1j * phases[:, None] * pattern)
    costs = _profile(signals, factors, tables)
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
def _profile(signals, factors, tables):
    """Least residual over frequencies and R2*, shape (voxels, factors), of each phase error.

    Args:
        signals: complex64, shape (voxels, echoes).
        factors: of the echoes, shape (factors, echoes).
        tables: of `search_tables`.
    """
    arrays = scratch(tables)
    curves = np.empty((len(tables[0]), LANES), np.float32)
    energy = np.empty(LANES, np.float32)
    turned = np.empty(signals.shape, np.complex64)
    result = np.empty((len(signals), len(factors)), np.float32)
    for f in range(len(factors)):
        for v in range(len(signals)):
            for n in range(signals.shape[1]):
                turned[v, n] = signals[v, n] * factors[f, n]
        for first in range(0, len(signals), LANES):
            residual_curves(turned, first, tables, arrays, curves, energy)
            for v in range(first, min(first + LANES, len(signals))):
                least = curves[0, v - first]
                for g in range(1, len(curves)):
                    least = min(least, curves[g, v - first])
                result[v, f] = least
    return result


def _refined(
    sample: Sample,
    model: ChemicalShiftModel,
    error: EchoError,
    lead: float,
    fit_amplitude: bool,
    fit_lead: bool,
    first: np.ndarray | None = None,
) -> ErrorFit:
    """Gauss-Newton steps from an error, the unknowns of each voxel projected out.

    `first` are the fits without the error to begin with, if they are known.
    """
    signals, r2star, times = sample.signals, sample.r2star_per_s, model.echo_times_s
    phases, given = error.phase.size, len(error.patterns)
    basis = position_terms(sample.place, error.powers)
    patterns = np.ascontiguousarray(error.patterns)
    unknowns = model.unknowns(r2star)
    freedom, count = max(2 * signals.shape[1] - unknowns, 1), phases + given + 1
    kept = np.r_[:phases, np.arange(phases, phases + given)[: given * fit_amplitude]]
    kept = np.r_[kept, [phases + given] * fit_lead].astype(int)
    for step in range(_STEPS):
        led = replace(model, fat=model.fat * np.exp(1j * lead)) if lead else model
        corrected = without_error(signals, error.exponents_by(basis))
        if step == 0 and first is not None:
            fits = first
        elif sample.starts_hz is None:
            fits = fit_from_candidates(corrected, led, r2star, tried=2)
        else:
            fits = fit_from(corrected, led, r2star, sample.starts_hz)
        products, along, squares, by = project(
            corrected, fits, patterns, led.fat, times, model.common_phase, r2star is None
        )
        usable = np.isfinite(by[:, -1])
        if not usable.any():
            raise ValueError(
                "Water and fat can be fitted to none of the voxels by which models are compared: "
                "check the echo times, and R2* where it is stated."
            )
        noise = noise_sd(squares[usable], corrected[usable], unknowns) ** 2
        weight = usable / (noise * np.maximum(1, squares / (3 * freedom * noise)))
        normal, move_by = normal_equations(products, along, weight, basis, given)
        normal = normal[np.ix_(kept, kept)]
        normal += 1e-9 * np.trace(normal) / len(kept) * np.eye(len(kept))
        inverse = np.linalg.inv(normal)
        covariance = np.zeros((count, count))
        covariance[np.ix_(kept, kept)] = inverse
        move = np.zeros(count)
        move[kept] = inverse @ move_by[kept]
        largest = np.abs(move).max()
        if largest < 2e-4:
            break
        move *= min(1, 0.5 / largest)
        error = replace(
            error,
            phase=error.phase + move[:phases].reshape(error.phase.shape),
            amplitude=error.amplitude + move[phases : phases + given],
        )
        lead = (lead + float(move[-1]) + np.pi / 2) % np.pi - np.pi / 2
    by_phases = np.einsum("vp,vt->vpt", by[:, :given], basis).reshape(len(by), phases)
    return ErrorFit(error, lead, covariance, fits, np.concatenate([by_phases, by[:, given:]], 1))


@dataclass(frozen=True)
class Gain:
    """A gain that explains echoes better.

    Attributes:
        words: which echoes have how much.
        size: its logarithm.
        left: share of the squared residual that is left with it.
        change: of the PDFF, in points, that one voxel in four exceeds.
        noise: SD that is left with it.
    """

    words: str
    size: float
    left: float
    change: float
    noise: float

    @property
    def is_large(self) -> bool:
        """Whether it is more than wrong fat spectra imitate."""
        return abs(self.size) > _LEAST_GAIN

    @property
    def is_sure(self) -> bool:
        """Whether it explains so much that the PDFF without it is not to be had."""
        return self.left < _SURE_GAIN_LEAVES

    def __str__(self) -> str:
        return (
            f"These echoes are explained better if {self.words}, by which the PDFF changes by "
            f"{self.change:.0f} points and more in a quarter of the voxels: another receiver gain, "
            "another acquisition or another scale of these images"
        )


def gain_patterns(echoes: int) -> np.ndarray:
    """0 for the echoes as they are and 1 for those of another gain, shape (patterns, echoes).

    All from one on, every second, or a single one.
    """
    number = np.arange(echoes)
    later = [number >= first for first in range(1, echoes)]
    single = [number == one for one in range(1, echoes - 1)]
    return np.array([*later, number % 2 == 1, *single], float)


def gain_sentence(pattern: np.ndarray, size: float) -> str:
    """Which echoes have a gain of ln `size`, in words."""
    numbers = [str(n) for n in np.flatnonzero(pattern) + 1]
    which = f"echo {numbers[0]} is" if len(numbers) == 1 else f"echoes {', '.join(numbers)} are"
    return f"{which} {np.exp(size):.2f} times too bright beside the others"


def find_gain(
    sample: Sample, model: ChemicalShiftModel, fits: np.ndarray, background_noise: float
) -> Gain | None:
    """The gain of some echoes that explains a sample of voxels, None where none does.

    Args:
        sample: signals without the phase errors that were found.
        model: echo times, fat signal and field strength.
        fits: of the sample, as `fit_voxels` has them.
        background_noise: SD of the real part in the images.
    """
    freedom = 2 * sample.signals.shape[1] - model.unknowns(sample.r2star_per_s)
    strength = np.sqrt(np.mean(np.abs(sample.signals) ** 2))
    # Phases of their own of four echoes imitate a gain.
    if freedom < 3 or strength < _GAIN_SNR * background_noise:
        return None
    patterns = gain_patterns(sample.signals.shape[1])
    tried: list[ErrorFit | None] = [None] * len(patterns)

    def fit_one(n: int) -> None:
        tried[n] = _fit_gain(patterns[n], sample, model, fits)

    run_parallel(fit_one, range(len(patterns)))
    left = [float(np.nanmean(capped(each.fits[:, RESIDUAL]))) for each in tried]
    best = int(np.argmin(left))
    squares, pattern, fit = left[best], patterns[best], tried[best]
    size = float(fit.error.amplitude[0])
    change = 100 * np.nan_to_num(np.abs(fit.fits[:, FRACTION] - fits[:, FRACTION]))
    gain = Gain(
        gain_sentence(pattern, size),
        size,
        squares / max(float(np.nanmean(capped(fits[:, RESIDUAL]))), 1e-30),
        float(np.percentile(change, 75)),
        float(np.sqrt(squares / freedom)),
    )
    if gain.left > _GAIN_LEAVES or gain.change < _GAIN_HARM:
        return None
    if not gain.is_large and abs(float(fit.error.phase[0, 0])) > abs(size):
        return None  # it is a phase
    return gain if gain.noise < _GAIN_NOISE * background_noise else None


def _fit_gain(
    pattern: np.ndarray, sample: Sample, model: ChemicalShiftModel, fits: np.ndarray
) -> ErrorFit:
    """A factor of the echoes of a pattern, with a phase, that fits a sample of voxels best.

    `fits` are those without one.
    """
    nothing = np.zeros((1, 1)), np.zeros(1)
    error = EchoError("gain", pattern[None], np.array(_LINEAR[:1]), *nothing)
    return _refined(sample, model, error, 0.0, True, False, fits)
