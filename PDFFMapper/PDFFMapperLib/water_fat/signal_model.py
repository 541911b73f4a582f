"""Which model echoes follow: precession sense, phases of water and fat, phase errors of echoes.

Rival explanations are fitted to a sample of voxels: none, odd against even echoes, the first or
any single echo, interleaved trains, a lead of fat, phases of water and fat of their own, in both
precession senses. They are compared by the likelihood ratio of each voxel (`relative_residuals`),
and the simplest is taken that is hardly less likely than the freest, in which every echo has a
phase error of its own: by less than 2 % of the residual, or 4 standard errors. Where two that
explain the echoes alike would give another PDFF, the data are refused.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from PDFFMapperLib.maps.progress import run_parallel
from PDFFMapperLib.water_fat.echo_errors import (
    FREE,
    LEAD,
    ODD_EVEN,
    TRAINS,
    ErrorFit,
    Sample,
    capped,
    echo_of,
    find_error,
    find_gain,
    kinds,
)
from PDFFMapperLib.water_fat.field_map import (
    ChemicalShiftModel,
    find_off_resonance,
    fit_from,
    fit_from_candidates,
    noise_sd,
    relative_residuals,
)
from PDFFMapperLib.water_fat.mixed import fit_mixed_from_candidates
from PDFFMapperLib.water_fat.neighborhood import flat_index
from PDFFMapperLib.water_fat.odd_echo import echo_that_contradicts, poor_share
from PDFFMapperLib.water_fat.spectra import GYROMAGNETIC_RATIO_MHZ_PER_T
from PDFFMapperLib.water_fat.voxel_fit import (
    CONVERGED,
    FAT,
    FRACTION,
    FRACTION_VARIANCE,
    OFFSET,
    R2STAR,
    RELATIVE_PHASE,
    RESIDUAL,
    WATER,
)
from PDFFMapperLib.water_fat.voxel_signals import VoxelSignals, without_error

_SAMPLE = 600  # voxels
_DIMMEST = 0.1  # share of the voxels left out; voxels with water and fat tell most
_SLAB = 12_000  # voxels, where that leaves doubt
_USUAL_R2STAR_PER_S = 40.0
_TRIED = 2  # candidates of the field per voxel
_FEW = 40  # voxels under which no phase error is looked for
_BETTER = 0.02  # least mean relative fall of the residual that asks for an explanation
_BETTER_OF_FEW = 0.07  # the same of the mean residual; exchanged voxels make up to .06 of it
# The first where only two numbers per voxel remain as residual (four echoes and phases of their
# own): a misfit of any kind, such as motion leaves, then looks like a phase error.
_BETTER_OF_TWO = 0.25
_SMALL_GAIN = 0.1  # mean relative fall of the residual up to which noise may explain it
_OWN = 1.1  # times the residual from which water and fat are given phases of their own
_SURE = 4.0  # standard errors
_FIELD_MISFIT = 1.08  # times the noise of the images; right echoes leave 1.0 in one field
_FAR_WORSE = 1.5  # times what the likelier sense leaves, from which the other one is out
_SURE_OF_FEW = 2.5  # the same where few voxels decide
_COMPARED = 4_000  # voxels by which a lead is found in one field
_ROUNDING = 1e-6  # rad, of a lead that is none
_HINT = 0.08  # rad; right echoes show 0.06 at most
_ABOVE_NOISE = 3.0  # SDs
_AGREE = 0.25  # of a lead, by which voxels with signal in all echoes may tell another one
_LED = 1.01  # times what it leaves, that all others leave
_CLEAR = 8.0  # the same where every voxel has a field of its own
_HARDLY = 20.0  # the same up to which noise may tell it
_OVER_ERRORS = 16.0  # the same against what leaves less, of echoes off in phase; wrong ones 6 to 8
_AS_NOISE = 1.5  # times the noise of the images that a good explanation may leave
_MOST_OF_FREE = 2.0  # the same of one that may be anything; cold fat makes 1.6
_UNEXPLAINED = 0.15  # share of the signal that no explanation may leave, if that is over the noise
_TAIL = 0.02  # share of voxels that a right explanation may leave poorly fitted
_LONG_TAIL = 0.12  # the same where no single echo is to blame
_LITTLE = 0.05  # rad, root mean square; a phase error whose form in space hardly matters
_MUCH_LEAD = 0.3  # rad; as of echo times wrong by a twentieth of a turn of fat
_MAIN_PEAK_PPM = 3.4  # of fat, from water
_NO_MORE = 1.1  # times what phases leave, up to which a gain is the simpler explanation
_RIVAL = 1.3  # times the least residual up to which an explanation is looked for


class LeftOver(ValueError):
    """The best explanation leaves far more than noise in too many voxels."""


@dataclass(frozen=True)
class SignalModel:
    """What was found.

    Attributes:
        model: with or without a common phase.
        signals: conjugated where needed, and with the phase error of the echoes taken off.
        error: the phase error and its uncertainty, None if there is none.
        notes: a sentence on each finding.
        mixed: index of the echo whose phase is not to be used (`mixed`), None if all are.
    """

    model: ChemicalShiftModel
    signals: VoxelSignals
    error: ErrorFit | None
    notes: list[str]
    mixed: int | None = None


def find_signal_model(
    echoes: np.ndarray,
    background_noise: float,
    mask: np.ndarray,
    model: ChemicalShiftModel,
    voxel_size_mm: tuple[float, float, float],
    precession: str = "auto",
    common_phase: bool | None = None,
    readout: str = "auto",
    r2star_per_s: float | None = None,
    header_readout: str | None = None,
) -> SignalModel:
    """The model that a sample of bright voxels supports.

    Args:
        echoes: complex64, shape (echoes, slices, rows, columns).
        background_noise: of these images, see `signal_mask`.
        mask: voxels to draw from.
        model: echo times, fat signal, field strength.
        voxel_size_mm: along slices, rows, columns.
        precession: "as given", "conjugated" or "auto".
        common_phase: whether water and fat share a phase; None to find it.
        readout: "unipolar" (no phase error), "bipolar" (of odd/even echoes) or "auto".
        r2star_per_s: R2* where it is known.
        header_readout: "monopolar" or "bipolar" as the header says, which decides between rivals
            that the echoes cannot tell apart; None if it does not say.

    Raises:
        LeftOver: what explains the echoes best leaves too much.
        ValueError: the precession sense cannot be told though it matters, rival explanations of a
            phase error would give another PDFF, or a bipolar readout of three echoes.
    """
    if len(echoes) < 4 and readout == "bipolar":
        raise ValueError(_THREE_BIPOLAR)
    sample = _Sample(echoes, background_noise, mask, voxel_size_mm, r2star_per_s)
    senses = [False, True] if precession == "auto" else [precession == "conjugated"]
    plain = _plains(sample, replace(model, common_phase=True), senses)
    plain = _with_lead_of_one_field(sample, plain) if common_phase is None else plain
    own = replace(plain[0].model, common_phase=False)
    # Three echoes with phases of their own leave nothing to check an R2* by.
    own_sample, own_readout = sample, readout
    bare = 2 * len(echoes) <= own.unknowns(r2star_per_s)
    if bare:
        own_sample, own_readout = sample.with_r2star(_USUAL_R2STAR_PER_S), "unipolar"
    differ, chosen = 0.0, None
    if common_phase is not False:
        leads = common_phase is None and len(echoes) > 3
        instead = (own_sample, own, senses, own_readout) if leads and readout == "auto" else None
        for own_phases in (instead, None):  # which may have been tried in vain
            chosen = _explanation(sample, plain, readout, leads, own_phases)
            differ = _over_own_phases(chosen.case, sample, own_sample, own, own_readout)
            if differ > _OWN or chosen.other or not own_phases:
                break
    by_own = common_phase is False or (common_phase is None and differ > _OWN)
    if by_own:  # what a wrong common phase leaves must not decide the sense
        of_own = _plains(own_sample, own, senses)
        sample, chosen = own_sample, _explanation(own_sample, of_own, own_readout, False)
    _refuse_gain_of_phases(chosen.case, sample, plain)
    notes = [_decided(chosen, sample)] if len(senses) == 2 else []
    case, rivals = _told_by_header(chosen, header_readout if readout == "auto" else None)
    if readout == "auto":
        _check_explained(case, sample)
    mixed = _off_in_phase(case, sample, readout)
    if common_phase is None:
        mixed = _check_contradiction(case, sample, readout, mixed)
    _check_rivals(case, rivals)
    notes += _checked_gain(case, sample)
    lead = float(np.angle(case.model.fat / model.fat)[0])
    if not by_own:
        model = case.model
        notes.append(_phases(lead, model, common_phase, differ))
    else:
        lead += _lead_of_fat(case.fits)
        model = _with_lead(own, case, own_sample if bare else None)
        if common_phase is None:
            notes.append(_OWN_PHASES.format(differ) + _times_hint(lead, model))
    without = _no_error(case, chosen.freest, len(echoes), readout, header_readout)
    notes += without if mixed is None else [_MIXED.format(mixed + 1, len(echoes))]
    signals = VoxelSignals(echoes, case.conjugated, case.error and case.error.error)
    return SignalModel(model, signals, case.error, notes, mixed)


class _Sample:
    """Voxels from all over the mask but the dimmest, and what all fits share."""

    def __init__(self, echoes, background_noise, mask, voxel_size_mm, r2star_per_s):
        self.echoes, self.mask, self.voxel_size_mm = echoes, mask, voxel_size_mm
        self.r2star_per_s = r2star_per_s
        index = flat_index(mask)
        index = index[:: max(1, len(index) // (2 * _SAMPLE))]
        volume = VoxelSignals(echoes)
        largest = np.abs(volume.at(index)).max(1)  # in others water and fat may cancel
        index = index[largest >= np.quantile(largest, _DIMMEST)]
        # Many echoes tell as much by fewer voxels.
        index = index[:: max(1, round(len(index) * len(echoes) / (6 * _SAMPLE)))]
        self.signals, self.place = volume.at(index), volume.place(index)
        self.energy = (np.abs(self.signals) ** 2).sum(1)
        self.background_noise = background_noise

    def slab(self) -> np.ndarray:
        """The mask in slices around its middle that hold enough voxels, as a mask."""
        counts = self.mask.sum((1, 2))
        first = last = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
        while counts[first : last + 1].sum() < _SLAB and (first > 0 or last < len(counts) - 1):
            first, last = max(first - 1, 0), min(last + 1, len(counts) - 1)
        slab = np.zeros_like(self.mask)
        slab[first : last + 1] = self.mask[first : last + 1]
        return slab

    def freedom(self, model: ChemicalShiftModel) -> int:
        """Numbers of a voxel beyond the unknowns of a model."""
        return 2 * self.signals.shape[1] - model.unknowns(self.r2star_per_s)

    def of(self, conjugated: bool) -> Sample:
        """The sample in a precession sense, to fit errors to."""
        signals = self.signals.conj() if conjugated else self.signals
        return Sample(signals, self.place, self.r2star_per_s)

    def simulated(self, case: _Case) -> _Sample:
        """The voxels as a case explains them (see there), with noise of the SD that it leaves."""
        other, (usable, signals) = copy(self), _simulated(case)
        other.signals = signals.conj() if case.conjugated else signals
        other.place, other.energy = self.place[usable], (np.abs(signals) ** 2).sum(1)
        return other

    def with_r2star(self, r2star_per_s: float) -> _Sample:
        other = copy(self)
        other.r2star_per_s = r2star_per_s
        return other


@dataclass
class _Case:
    """The sample fitted under one explanation.

    Attributes:
        conjugated: the precession sense.
        model: with the lead of fat, if that is part of the explanation.
        error: the phase error of the echoes and its fit, None without one.
        fits: of the sample.
        noise: SD left.
        parts: how much it assumes: 0 for nothing, else the number of phase errors.
        lead: phase of fat before water, in rad.
        by_noise: by how much freer ones leave less residual where it is right, by noise alone, and
            the standard error of that.
    """

    conjugated: bool
    model: ChemicalShiftModel
    error: ErrorFit | None
    fits: np.ndarray
    noise: float
    parts: int
    lead: float = 0.0
    by_noise: tuple[float, float] = (0.0, 0.0)


@dataclass
class _Explanation:
    """What explains the sample.

    Attributes:
        case: the simplest one that does.
        other: the best in the other precession sense that is as simple, None if not asked for.
        freest: the one in the same sense that may have any phase error.
        rivals: those in the same sense that explain it as simply.
    """

    case: _Case
    other: _Case | None
    freest: _Case
    rivals: list[_Case]


def _explanation(sample, plain, readout, leads: bool, instead=None) -> _Explanation:
    """The simplest explanation that leaves hardly more residual than the best one.

    Args:
        sample: voxels.
        plain: cases without an error, of each sense to try.
        readout: what it may be.
        leads: whether fat may lead.
        instead: sample, model, senses and readout of phases of their own; where these explain the
            echoes without an error and better than any error here, rivals are not looked for.
    """
    model, plain = plain[0].model, [replace(case) for case in plain]  # `by_noise` is changed
    cases = {case.conjugated: [case] for case in plain}
    freest: dict[bool, _Case] = {}
    for case in plain:
        # A sense that needs no error is not disproved by the other one if that fits far worse.
        done = [
            each for each in freest.values() if not _worse(cases[each.conjugated][0], each, sample)
        ]
        if any(case.noise > 2 * each.noise for each in done):
            continue
        made = _freer(sample, model, case, readout, leads)
        cases[case.conjugated] = made
        freest[case.conjugated] = min(made, key=lambda case: case.noise)
        case.by_noise = _gain_by_noise(sample, case, freest[case.conjugated], readout, leads)
    if readout == "auto":
        least = min(free.noise for free in freest.values())
        wanting = any(_worse(cases[sense][0], free, sample) for sense, free in freest.items())
        if wanting and instead and _own_phases_explain(sample, model, *instead, least / _OWN):
            best = min(freest.values(), key=lambda case: case.noise)
            return _Explanation(best, None, best, [best])
        for sense, free in freest.items():
            if free.noise < _RIVAL * least and _worse(cases[sense][0], free, sample):
                rivals = _rivals(sample, model, cases[sense][1:], leads)
                cases[sense] += rivals
                best = min(rivals, key=lambda case: case.noise)
                if best.noise < free.noise:
                    freest[sense] = best
    every = [case for some in cases.values() for case in some]
    if readout == "bipolar":
        every = [case for case in every if case.error]
    if not every:
        raise ValueError(
            f"The phase error of a bipolar readout cannot be found: it needs {_FEW} voxels with "
            f"signal and more echoes than the unknowns take; {len(sample.signals)} voxels and "
            f"{sample.signals.shape[1]} echoes were given."
        )
    best = min(every, key=lambda case: case.noise)
    explaining = [case for case in every if not _worse(case, best, sample)]
    fewest = min(case.parts for case in explaining)
    simplest = [case for case in explaining if case.parts == fewest]
    case = min(simplest, key=lambda case: case.noise)
    rivals = [each for each in simplest if each.conjugated == case.conjugated]
    others = [each for each in every if each.conjugated != case.conjugated and each.parts <= fewest]
    other = min(others, key=lambda case: case.noise) if others else None
    return _Explanation(case, other, freest.get(case.conjugated, case), rivals)


def _own_phases_explain(sample, model, own_sample, own, senses, readout, least: float) -> bool:
    """Whether phases of their own leave less than `least`, and need no error of the echoes for it.

    With few echoes they mimic an error of odd against even ones, which the freest search may have
    missed; that is searched from scratch before.
    """
    plain = _plains(own_sample, own, senses)[0]
    if plain.noise >= least:
        return False
    freer = _freer(own_sample, own, plain, readout, False)
    if any(_worse(plain, each, own_sample) for each in freer):
        return False
    given = sample.of(plain.conjugated)
    found = find_error(ODD_EVEN, given, model)
    again = find_error(FREE, given, model, False, found)
    cases = (
        _case(sample, model, plain.conjugated, kind, each)
        for kind, each in ((ODD_EVEN, found), (FREE, again))
    )
    return all(plain.noise < case.noise / _OWN for case in cases)


def _over_own_phases(case: _Case, sample, own_sample, own, readout: str) -> float:
    """How many times the residual of phases of their own a common one leaves, beyond noise."""
    # Noise makes the few residuals of three echoes differ; what leaves less than it is no misfit.
    if own_sample is not sample and case.noise < sample.background_noise:
        return 1.0
    forced = "bipolar" if case.error and readout != "unipolar" else "unipolar"
    plain = _plain(own_sample, own, case.conjugated)
    rival = min(each.noise for each in _freer(own_sample, own, plain, forced, False))
    differ = case.noise / max(rival, 1e-30)
    return differ / _by_noise(own_sample, sample, own, case) if differ > _OWN else differ


def _by_noise(own_sample, sample, own: ChemicalShiftModel, case: _Case) -> float:
    """How many times the residual a common phase leaves where only noise tells it from own ones.

    At little signal the freer model follows the noise, and its residual is less than its number of
    unknowns lets expect. Signals are simulated from the fits, and fitted by both models.
    """
    left, (_, signals) = [], _simulated(case)
    for each, model in ((sample, case.model), (own_sample, own)):
        fitted = fit_from_candidates(signals, model, each.r2star_per_s, _TRIED)
        left.append(_noise(each, model, fitted))
    return max(left[0] / max(left[1], 1e-30), 1.0)


def _gain_by_noise(sample, plain: _Case, free: _Case, readout: str, leads: bool):
    """By how much a freer case leaves less residual than a right one by noise alone.

    At little signal phase errors follow the noise, and what they gain is more than a chance. Asked
    only of a gain so small that this may be all of it.
    """
    gain, error = relative_residuals(plain.fits, free.fits, sample.energy)
    if gain > _SMALL_GAIN or not _worse(plain, free, sample):
        return 0.0, 0.0
    other = sample.simulated(plain)
    right = _plain(other, plain.model, plain.conjugated)
    freer = min(_freer(other, plain.model, right, readout, leads), key=lambda case: case.noise)
    by_noise, scatter = relative_residuals(right.fits, freer.fits, other.energy)
    return max(by_noise, 0.0), max(scatter, error)


def _simulated(case: _Case) -> tuple[np.ndarray, np.ndarray]:
    """Which voxels a case without an error of the echoes fits, and signals like theirs.

    These are of the fits, in the sense of the case, with noise of the SD that it leaves.
    """
    columns = np.isfinite(case.fits).any(0)  # an R2* that is known has no variance
    usable = np.isfinite(case.fits[:, columns]).all(1) & (case.fits[:, CONVERGED] > 0)
    fits, times = case.fits[usable].astype(float), case.model.echo_times_s
    wave = np.exp(np.outer(2j * np.pi * fits[:, OFFSET] - fits[:, R2STAR], times))
    clean = (fits[:, [WATER]] + fits[:, [FAT]] * case.model.fat) * wave
    noise = np.random.default_rng(0).standard_normal((2, *clean.shape)) * case.noise
    return usable, (clean + noise[0] + 1j * noise[1]).astype(np.complex64)


def _check_explained(case: _Case, sample: _Sample) -> None:
    """Refuse echoes of which the best explanation leaves far too much."""
    left = case.noise * np.sqrt(2 * sample.signals.shape[1] / sample.energy.mean())
    if left > _UNEXPLAINED and case.noise > 5 * sample.background_noise:
        raise ValueError(
            f"No model explains these echoes: {100 * left:.0f} % of the signal is left by the best,"
            f" an error of {_named(case)}. Tried were phase errors of odd against even echoes, of "
            "single echoes, of interleaved trains and of fat, in both precession senses. Check the "
            "order of the echoes, their times and the scale of their phase."
        )
    over = case.noise / max(sample.background_noise, 1e-30)
    free = case.error and case.error.error.kind == FREE and abs(case.lead) > _MUCH_LEAD
    if free and over > _MOST_OF_FREE:
        raise LeftOver(
            f"An error of every echo and a lead of fat by {case.lead:.2f} rad would explain these "
            f"echoes best, but leave {over:.1f} times the noise of the images: something else is "
            "wrong. Check the order of the echoes, their times, the field strength, and that all "
            "are of one scale."
        )


def _off_in_phase(case: _Case, sample: _Sample, readout: str) -> int | None:
    """Index of the single echo of which the phase alone is off, where the others and its magnitude
    determine a voxel without it; else None. What is off by little is corrected and loses nothing.
    """
    numbers = 2 * sample.signals.shape[1] - 1
    if readout != "auto" or not case.error or case.error.error.kind in (ODD_EVEN, TRAINS, FREE):
        return None
    if np.sqrt(np.mean(case.error.error.phases(sample.place) ** 2)) < _LITTLE:
        return None
    enough = numbers > case.model.unknowns(sample.r2star_per_s) + 1
    return echo_of(case.error.error.kind) if enough else None


def _check_contradiction(
    case: _Case, sample: _Sample, readout: str, mixed: int | None
) -> int | None:
    """Refuse an echo that others contradict, and a phase error that explains one voxel in ten less.

    Of a right explanation hardly a voxel is left with far more than noise, but for flow and edges.
    Where the readout was said and nothing else is assumed, such voxels are only marked.

    Returns:
        Index of the echo of which the magnitude, but not the phase, agrees with the others: `mixed`
        or one found here; None if there is no such.
    """
    given = sample.of(case.conjugated)
    signals, count = given.signals, given.signals.shape[1]
    if case.error:
        signals = without_error(signals, case.error.error.exponents(sample.place))
    unknowns = case.model.unknowns(sample.r2star_per_s)
    share = poor_share(signals, case.fits[:, RESIDUAL], unknowns, sample.background_noise)
    if mixed is not None and share >= _TAIL:  # its phase may be no polynomial
        share = min(share, _poor_mixed(signals, case.model, sample.r2star_per_s, mixed))
    if len(signals) < _FEW or 2 * count <= unknowns or share < _TAIL:
        return mixed
    assumed = f"An error of {_named(case)}" if case.parts else ""
    if not case.model.common_phase and not assumed:
        assumed = "That water and fat have phases of their own"
    if readout != "auto" and not assumed:
        return mixed  # nothing is made of the misfit; the voxels are marked
    odd = echo_that_contradicts(signals, case.model, sample.r2star_per_s, share)
    if odd is not None and readout == "auto" and 2 * count > unknowns + 3:
        if _poor_mixed(signals, case.model, sample.r2star_per_s, odd) < _TAIL:
            return odd
    if odd is not None:
        raise ValueError(
            f"Echo {odd + 1} of {count} does not fit the others in {100 * share:.0f} % of the "
            "voxels, and not by its phase alone; without it they are explained. The patient may "
            "have moved, or it is of another series: leave that echo out."
        )
    if assumed and share > (_TAIL if count < 4 else _LONG_TAIL):
        raise LeftOver(
            f"{assumed} would explain these echoes best, but leaves far more than noise in "
            f"{100 * share:.0f} % of the voxels: something else is wrong, such as motion between "
            "the echoes. Leave out the echoes in question, or say what the readout was."
        )
    return mixed


def _poor_mixed(signals, model: ChemicalShiftModel, r2star_per_s: float | None, echo: int) -> float:
    """Share of voxels left with far more than noise where the phase of an echo is not used."""
    fits = fit_mixed_from_candidates(signals, model, r2star_per_s, echo)
    return poor_share(signals, fits[:, RESIDUAL], model.unknowns(r2star_per_s) + 1)


def _told_by_header(chosen: _Explanation, readout: str | None) -> tuple[_Case, list[_Case]]:
    """The explanation, and its rivals, of those that the header's readout leaves."""
    case = chosen.case
    rivals = [each for each in chosen.rivals if each.conjugated == case.conjugated]
    of_readout = [bool(each.error and each.error.error.kind == ODD_EVEN) for each in rivals]
    left = [each for each, alternates in zip(rivals, of_readout, strict=True)
            if alternates == (readout == "bipolar")]  # fmt: skip
    if readout is None or not left or not any(of_readout):
        return case, rivals
    return min(left, key=lambda case: case.noise), left


def _check_rivals(case: _Case, rivals: list[_Case]) -> None:
    """Refuse what is explained as well, and as simply, by an error that gives another PDFF."""
    for rival in rivals:
        if not _same_fractions(*[100 * each.fits[:, FRACTION] for each in (case, rival)]):
            raise ValueError(
                f"The phases of the echoes can be explained by an error of {_named(case)} as well "
                f"as of {_named(rival)}, which would give another PDFF. Say what the readout was, "
                "or leave the echo in question out."
            )


def _refuse_gain_of_phases(case: _Case, sample: _Sample, plains: list[_Case]) -> None:
    """Refuse echoes of another gain that phases would explain, which are less simple.

    Args:
        case: the explanation.
        sample: voxels.
        plains: cases without an error, of each sense to try, in which water and fat share a phase.
    """
    if _too_few_for_gain(sample) or not (case.parts or not case.model.common_phase):
        return
    for plain in plains:
        signals = sample.of(plain.conjugated)
        gain = find_gain(signals, plain.model, plain.fits, sample.background_noise)
        if not (gain and gain.is_sure):
            continue
        if gain.noise < case.noise * (_NO_MORE if gain.is_large else 1 / _NO_MORE):
            raise ValueError(f"{gain}. {_ONE_SCALE}")


def _checked_gain(case: _Case, sample: _Sample) -> list[str]:
    """A sentence where a gain of some echoes would explain them better; refuse where it is sure."""
    if _too_few_for_gain(sample) or (case.error and case.error.error.kind == ODD_EVEN):
        return []  # amplitudes of odd against even echoes are corrected
    signals = sample.of(case.conjugated)
    if case.error:
        exponents = case.error.error.exponents(sample.place)
        signals = replace(signals, signals=without_error(signals.signals, exponents))
    gain = find_gain(signals, case.model, case.fits, sample.background_noise)
    if not (gain and gain.is_large):
        return []
    if gain.is_sure:
        raise ValueError(f"{gain}. {_ONE_SCALE}")
    return [f"{gain}; check that all echoes are of one acquisition and scale."]


def _too_few_for_gain(sample: _Sample) -> bool:
    return len(sample.signals) < _FEW or sample.signals.shape[1] < 4


_ONE_SCALE = "Bring all echoes to one gain and scale, or leave these out (--leave-out)."


def _named(case: _Case) -> str:
    return (
        ("the phase of fat" if case.lead else "no echo")
        if case.error is None
        else _KINDS.get(case.error.error.kind, f"{case.error.error.kind} alone")
    )


_KINDS = {
    ODD_EVEN: "odd against even echoes",
    TRAINS: "interleaved trains with another field each",
    FREE: "every echo by itself",
    LEAD: "the phase of fat",
}


def _plain(sample, model: ChemicalShiftModel, conjugated: bool) -> _Case:
    fits = fit_from_candidates(sample.of(conjugated).signals, model, sample.r2star_per_s, _TRIED)
    return _Case(conjugated, model, None, fits, _noise(sample, model, fits), 0)


def _plains(sample, model: ChemicalShiftModel, senses: list[bool]) -> list[_Case]:
    """Cases without an error, of each sense, the best first."""
    cases: list[_Case] = []
    run_parallel(lambda sense: cases.append(_plain(sample, model, sense)), senses)
    return sorted(cases, key=lambda case: (case.noise, case.conjugated))


def _freer(sample, model, plain: _Case, readout: str, leads: bool) -> list[_Case]:
    """The freest cases that a readout allows: any phase error, one of odd/even echoes, or none."""
    if len(sample.signals) < _FEW or sample.freedom(model) <= 0:
        return [plain]
    given, conjugated = sample.of(plain.conjugated), plain.conjugated
    if readout == "unipolar":
        wanted = [(LEAD, True)] if leads else []
    else:
        kind = ODD_EVEN if readout == "bipolar" else FREE
        wanted = [(kind, lead) for lead in ([False, True] if leads else [False])]
    cases = [plain] * (1 + len(wanted))

    def fit(n: int) -> None:
        kind, lead = wanted[n]
        found = find_error(kind, given, model, lead)
        cases[n + 1] = _case(sample, model, conjugated, kind, found)

    run_parallel(fit, range(len(wanted)))
    return cases


def _rivals(sample, model, freest: list[_Case], leads: bool) -> list[_Case]:
    """Cases of fewer parts than the freest, and the freest again from the best of them.

    Args:
        sample: voxels.
        model: echo times and fat.
        freest: cases of one sense with any phase error, without and with a lead of fat.
        leads: whether fat may lead.
    """
    free = min(freest, key=lambda case: case.noise)
    given, conjugated = sample.of(free.conjugated), free.conjugated
    leads = leads and bool(free.lead) and _worse(freest[0], free, sample)
    single = [kind for kind in kinds(given.signals.shape[1]) if kind != FREE]
    tried = [(kind, lead) for lead in ([False, True] if leads else [False]) for kind in single]
    cases = []
    if leads:
        cases.append(_case(sample, model, conjugated, LEAD, find_error(LEAD, given, model, True)))
    # From the nearest to the freest. If that explains less than it, or leaves more than noise, a
    # search from scratch, and from its best the freest again.
    for search in (False, True):
        for kind, lead in tried:
            found = find_error(kind, given, model, lead, free.error, search)
            cases.append(_case(sample, model, conjugated, kind, found))
        best = min(cases, key=lambda case: case.noise)
        enough = best.noise < _AS_NOISE * sample.background_noise
        if enough and not search and not _worse(best, free, sample):
            return cases
    if best.error:
        again = find_error(FREE, given, model, bool(best.lead), best.error)
        cases.append(_case(sample, model, conjugated, FREE, again))
    return cases


def _case(sample, model, conjugated: bool, kind: str, found: ErrorFit) -> _Case:
    if found.lead:
        model = replace(model, fat=model.fat * np.exp(1j * found.lead))
    parts = len(found.error.patterns) + (found.lead != 0)
    parts += kind == FREE  # each pattern may stand for anything
    noise = _noise(sample, model, found.fits)
    error = None if kind == LEAD else found
    return _Case(conjugated, model, error, found.fits, noise, parts, found.lead)


def _noise(sample, model, fits) -> float:
    # The mean, since a model may fail in the few voxels with fat; a few wild ones are capped.
    mean = float(np.nanmean(capped(fits[:, RESIDUAL])))
    least = 1e-12 * sample.energy.mean()
    return float(np.sqrt(max(mean, least) / max(sample.freedom(model), 1)))


def _worse(case: _Case, best: _Case, sample) -> bool:
    """Whether a case leaves so much more residual than the best that it does not explain it.

    Either most voxels have a little more, or the few that hold water and fat have a lot.
    """
    freedom = sample.freedom(case.model)
    # An error makes up for the one number that three echoes leave, whatever it is.
    if case is best or (freedom == 1 and not case.parts and case.noise < sample.background_noise):
        return False
    mean, error = relative_residuals(case.fits, best.fits, sample.energy)
    least = _BETTER_OF_TWO if freedom == 2 else _BETTER
    mean, error = mean - case.by_noise[0], np.hypot(error, case.by_noise[1])
    if mean > least and mean > _SURE * error:
        return True
    first, second = (np.nan_to_num(each.fits[:, RESIDUAL].astype(float)) for each in (case, best))
    most = 30 * np.median(second)
    excess = np.minimum(first, most) - np.minimum(second, most)
    usual = np.minimum(second, most).mean()
    spread = excess.std() / np.sqrt(len(excess))
    least = _BETTER_OF_FEW * (least / _BETTER)
    return bool(excess.mean() > least * usual and excess.mean() > _SURE_OF_FEW * spread)


def _phases(lead: float, model, common_phase: bool | None, differ: float) -> str:
    if common_phase and differ > _OWN:
        return (
            "Water and fat were taken to share a phase, though one each would leave "
            f"{differ:.1f} times less residual: the PDFF may be wrong."
        )
    if abs(lead) > _ROUNDING:
        return (
            "Water and fat were found to have different phases at echo time 0; fat leads by "
            f"{lead:.2f} rad, which was taken into account.{_times_hint(lead, model)}"
        )
    how = "taken" if common_phase else "found"
    return f"Water and fat were {how} to share their phase at echo time 0."


def _times_hint(lead: float, model: ChemicalShiftModel) -> str:
    """A sentence: wrong echo times would explain a lead of fat as well. Nothing of a small one."""
    if abs(lead) < _MUCH_LEAD:
        return ""
    fat_hz = _MAIN_PEAK_PPM * GYROMAGNETIC_RATIO_MHZ_PER_T * model.field_strength_t
    late_ms = 1000 * lead / (2 * np.pi * fat_hz)
    return (
        f" Echo times stated about {abs(late_ms):.1f} ms too {'long' if lead > 0 else 'short'} "
        f"would do the same: check them and the field strength, since {500 / fat_hz:.1f} ms more "
        "or less would exchange water and fat."
    )


def _with_lead(own: ChemicalShiftModel, case: _Case, bare: _Sample | None) -> ChemicalShiftModel:
    """The model with the mean lead of fat; of three echoes (`bare`) only if that fits better."""
    lead = _lead_of_fat(case.fits)
    led = replace(own, fat=own.fat * np.exp(1j * lead))
    if bare is not None:  # a lead of three echoes may be anything
        tried = [replace(each, common_phase=True) for each in (own, led)]
        without, with_it = (_plain(bare, each, case.conjugated).noise for each in tried)
        return led if 1.1 * with_it < without else own
    return led


def _lead_of_fat(fits: np.ndarray) -> float:
    """Mean phase of fat relative to water at echo time 0 (rad) where the fits agree on one."""
    weight = np.nan_to_num(fits[:, WATER] * fits[:, FAT] * fits[:, CONVERGED])
    mean = np.sum(weight * np.exp(1j * np.nan_to_num(fits[:, RELATIVE_PHASE])))
    return float(np.angle(mean)) if abs(mean) > 0.3 * weight.sum() > 0 else 0.0


_THREE_BIPOLAR = (
    "The phase error of a bipolar readout cannot be told from fat with three echoes; at least four "
    "are needed."
)
_OWN_PHASES = (
    "Water and fat were found to have different phases at echo time 0 (a common phase leaves "
    "{:.1f} times the residual); each was given its own."
)
_MIXED = (
    "Echo {} of {} is off in phase, but not in magnitude; it counts by its magnitude alone (mixed "
    "fitting), so that its phase error, whatever it looks like in space, does not matter."
)
_HIDDEN = {
    None: "Three echoes can hide a phase error of odd against even echoes: if the readout was "
    "bipolar, the PDFF may be wrong by many points.",
    "bipolar": "The header says that the readout was bipolar; three echoes hide its phase error, "
    "and the PDFF may be wrong by many points.",
    "monopolar": "The header says that the readout was monopolar; a phase error of odd against "
    "even echoes, which three echoes would hide, is not expected.",
}


def _no_error(case: _Case, freest: _Case, echoes: int, readout: str, header: str | None):
    """What is said where no phase error was found: a sentence, or none."""
    if case.error:
        return []
    if echoes < 4:
        return [_HIDDEN[header]]
    return [_absence(case, freest)] if readout != "unipolar" and freest.error else []


def _absence(case: _Case, freest: _Case) -> str:
    found = freest.error
    sizes = np.abs(found.error.phase[:, 0])
    sd = float(np.sqrt(np.diag(found.covariance)[: found.error.phase.size].mean()))
    change = 100 * float(np.nanmedian(np.abs(freest.fits[:, FRACTION] - case.fits[:, FRACTION])))
    if sizes.max() > _SURE * sd and change > 0.25:
        return (
            f"The echoes seem to be off in phase by up to {sizes.max():.2f} rad, which cannot be "
            f"told from other misfit and was not corrected (it would change the PDFF by "
            f"{change:.1f} points); if the readout was bipolar, say so."
        )
    text = f"No phase error of odd against even or of single echoes was found (SD {sd:.3f} rad"
    if 2 * found.pdff_sd > 1:
        return (
            f"{text}), but one that changes the PDFF by {2 * found.pdff_sd:.0f} points could hide."
        )
    return text + ")."


def _decided(found: _Explanation, sample: _Sample) -> str:
    """A sentence on the precession sense; it is told by the fits, which fat's side peaks differ.

    Where both fit alike but give the same PDFF, the sense does not matter. Where the other sense
    is the likelier one, `found.case` is changed to it.
    """
    score, fits = _sense_score(found.case, found.other, sample)
    untold = score == 0 and _same_fractions(*[100 * each[:, FRACTION] for each in fits])
    if score < 0 or (untold and found.case.conjugated):
        found.case, found.other = found.other, found.case
    case = found.case
    if score:
        return _SENSES[case.conjugated]
    if untold:
        return (
            "The precession sense cannot be told from these data; both give the same PDFF, and it "
            "was taken as given."
        )
    why = f" if {_named(case)} {'is' if case.parts else ''} off in phase" if case.parts else ""
    raise ValueError(
        f"The precession sense cannot be told from these data{why} and it would change the PDFF; "
        "say whether it is 'as given' or 'conjugated'."
    )


def _sense_score(case: _Case, other: _Case | None, sample: _Sample):
    """By how many standard errors a case is likelier than that of the other sense, and their fits.

    0 where neither decides.
    """
    if other is None or other.noise > 3 * case.noise:
        return np.inf, []
    fits, model = [case.fits, other.fits], case.model
    score = alone = _likelihood_ratio(fits, sample.signals, model, sample.r2star_per_s)
    if abs(score) < (_HARDLY if len(sample.echoes) == 4 else _CLEAR):  # these follow errors most
        # Single voxels may exchange water and fat as they like; in one field they may not.
        slab = sample.slab()
        fits = [_fits_in_one_field(sample, slab, each) for each in (case, other)]
        signals = VoxelSignals(sample.echoes).at(np.flatnonzero(slab))
        score = _likelihood_ratio(fits, signals, model, sample.r2star_per_s)
        # What neither sense explains, as a lead of fat that three echoes hide, decides nothing.
        left, of_other = sorted(_noise(sample, model, each) for each in fits)
        if len(sample.echoes) == 3 and model.common_phase and of_other < _FAR_WORSE * left:
            score *= left < _FIELD_MISFIT * sample.background_noise
    if score <= -_SURE and case.parts > 1:
        _check_explained(other, sample)
        return 0.0, fits
    # Several errors make up for the sense of few echoes, as where a gain is at fault.
    anything = case.lead and case.parts > 3 and sample.signals.shape[1] < 5
    by_noise = score if abs(alone) < _CLEAR else alone
    likelier = score >= _SURE and not anything and not _follows_noise(case, other, sample, by_noise)
    least = _OVER_ERRORS if case.parts or other.parts else _SURE
    less_likely = score <= -least and alone < _SURE  # else neither explains both, as a lead of fat
    return score if likelier or less_likely else 0.0, fits


def _follows_noise(case: _Case, other: _Case, sample: _Sample, score: float) -> bool:
    """Whether a sense is hardly likelier, and would be were the other one right.

    Where most echoes are near the noise, single voxels follow it, in one sense better.
    """
    if score >= _HARDLY or case.parts or other.parts:
        return False
    as_other = sample.simulated(other)
    fits = [_plain(as_other, each.model, each.conjugated).fits for each in (case, other)]
    return _likelihood_ratio(fits, as_other.signals, case.model, sample.r2star_per_s) >= 0


_SENSES = {
    False: "The precession sense was found to be as given.",
    True: "The data were conjugated: their precession sense is the opposite one.",
}


def _with_lead_of_one_field(sample: _Sample, plain: list[_Case]) -> list[_Case]:
    """Cases without an error, fitted again with a lead of fat if that alone explains one field.

    Single voxels of few echoes change their field, or exchange water and fat, as suits a lead.
    In one field of all voxels it differs from errors of the echoes, and shows to 0.01 rad.
    """
    if len(sample.signals) < _FEW or not _may_lead(sample, plain[0]):
        return plain
    model, senses = plain[0].model, [case.conjugated for case in plain]
    slab = sample.slab()
    index = np.flatnonzero(slab)
    some = slice(None, None, max(1, len(index) // _COMPARED))
    leads, others = [], []
    for conjugated in senses:
        signals = VoxelSignals(sample.echoes, conjugated)
        starts = _field_of(sample, slab, signals, model)[some]
        given = signals.at(index[some]), signals.place(index[some]), sample.r2star_per_s, starts
        given = Sample(*given)
        led = find_error(LEAD, given, model, True, search=False)
        leads.append((_noise(sample, model, led.fits), led, given))
        wrong = find_error(kinds(len(sample.echoes))[-1], given, model, search=False)
        right = fit_from(given.signals, model, sample.r2star_per_s, starts)
        others += [_noise(sample, model, fits) for fits in (right, wrong.fits)]
    left, led, given = min(leads, key=lambda each: each[0])
    alone = left < _FIELD_MISFIT * sample.background_noise and min(others) > _LED * left
    if not alone or abs(led.lead) < _SURE * led.lead_sd:
        return plain
    # Noise of echoes that have decayed imitates a lead.
    above = np.abs(given.signals).min(1) > _ABOVE_NOISE * sample.background_noise
    if above.sum() < _FEW:
        return plain
    same = find_error(LEAD, given.part(above), model, True, search=False)
    if abs(same.lead) > _SURE * same.lead_sd and abs(same.lead / led.lead - 1) < _AGREE:
        return _plains(sample, replace(model, fat=model.fat * np.exp(1j * led.lead)), senses)
    return plain


def _may_lead(sample: _Sample, plain: _Case) -> bool:
    """Whether single voxels hint at a lead of fat; three echoes hide it in them."""
    if len(sample.echoes) == 3:
        return True
    given = replace(sample.of(plain.conjugated), starts_hz=np.nan_to_num(plain.fits[:, OFFSET]))
    led = find_error(LEAD, given, plain.model, True, search=False)
    return abs(led.lead) > max(_HINT, _SURE * led.lead_sd)


def _fits_in_one_field(sample, slab, case: _Case) -> np.ndarray:
    """Fits of the voxels of a slab under an explanation, from a field found for it."""
    error = case.error.error if case.error else None
    signals = VoxelSignals(sample.echoes, case.conjugated, error)
    starts_hz = _field_of(sample, slab, signals, case.model)
    index = np.flatnonzero(slab)
    return fit_from(signals.at(index), case.model, sample.r2star_per_s, starts_hz)


def _field_of(sample, slab, signals: VoxelSignals, model: ChemicalShiftModel) -> np.ndarray:
    """Off-resonance in Hz of the voxels of a slab, of one field."""
    # With three echoes, phases of their own leave too little residual to find the field by.
    shared = replace(model, common_phase=model.common_phase or len(sample.echoes) == 3)
    given = signals, slab, shared, sample.voxel_size_mm, sample.r2star_per_s
    return find_off_resonance(*given).off_resonance_hz


def _same_fractions(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether low, middle and high fat fractions (%) agree within half a point."""
    edges = np.digitize(first, [20, 80])
    apart = [np.nanmedian((second - first)[edges == part]) for part in np.unique(edges)]
    return bool(np.nanmax(np.abs(apart)) < 0.5)


def _likelihood_ratio(
    fits: list[np.ndarray],
    signals: np.ndarray,
    model: ChemicalShiftModel,
    r2star_per_s: float | None,
) -> float:
    """Mean log-likelihood ratio of the first fits over the second in its standard errors."""
    residuals = [each[:, RESIDUAL].astype(float) for each in fits]
    unknowns = model.unknowns(r2star_per_s)
    noise = min(noise_sd(each, signals, unknowns) for each in residuals)
    ratio = (residuals[1] - residuals[0]) / (2 * noise**2)
    if len(ratio) < 20:
        return 0.0
    # A hundredth of the voxels on either side, such as wrong starts, must not decide.
    ratio = np.sort(np.clip(np.nan_to_num(ratio), -20, 20))
    ratio = ratio[len(ratio) // 100 : len(ratio) - len(ratio) // 100]
    return float(ratio.mean() / (ratio.std() / np.sqrt(len(ratio)) + 1e-9))


def check_conditioning(model: ChemicalShiftModel, r2star_per_s: float | None) -> None:
    """Refuse echo times at which water and fat cannot be told apart.

    Raises:
        ValueError: the PDFF would have an SD of 30 points at a signal-to-noise ratio of 50.
    """
    decay = np.exp(-40 * model.echo_times_s)
    signal = ((0.5 + 0.5 * model.fat) * decay)[None].astype(np.complex64)
    fixed = None if r2star_per_s is None else 40.0
    sd = 100 / 50 * np.sqrt(fit_from(signal, model, fixed, np.zeros(1))[0][FRACTION_VARIANCE])
    if not sd < 30:
        raise ValueError(
            "At these echo times water and fat have nearly the same phases in every echo and "
            "cannot be told apart: even at a signal-to-noise ratio of 50 the PDFF of a voxel would "
            f"have an SD of {sd:.0f} points. Check the echo times and the field strength."
        )
