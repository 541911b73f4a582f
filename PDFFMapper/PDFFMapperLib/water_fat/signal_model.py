"""Which model echoes follow: precession sense, phases of water and fat, odd/even echo errors.

All of it is found on a sample of voxels, by the residuals of fits under each possibility.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from PDFFMapperLib.water_fat.field_map import (
    ChemicalShiftModel,
    find_off_resonance,
    fit_from,
    fit_from_candidates,
    noise_sd,
)
from PDFFMapperLib.water_fat.odd_even import OddEvenFit, find_odd_even, with_amplitude
from PDFFMapperLib.water_fat.voxel_fit import (
    CONVERGED,
    FAT,
    FRACTION,
    FRACTION_VARIANCE,
    RELATIVE_PHASE,
    RESIDUAL,
    WATER,
)
from PDFFMapperLib.water_fat.voxel_signals import VoxelSignals

_SAMPLE = 600  # voxels
_SLAB = 12_000  # voxels, where that leaves doubt
_USUAL_R2STAR_PER_S = 40.0
_TRIED = 2  # candidates of the field per voxel
_FEW = 40  # voxels under which no odd/even error is looked for
_BETTER = 0.02  # least mean relative fall of the residual that shows an odd/even error
# The same where only two numbers per voxel remain as residual (four echoes and phases of their
# own): a misfit of any kind, such as motion leaves, then looks like an odd/even error.
_BETTER_OF_TWO = 0.25
_SURE = 4.0  # standard errors
_CLEAR = 8.0  # the same where every voxel has a field of its own


@dataclass(frozen=True)
class SignalModel:
    """What was found.

    Attributes:
        model: with or without a common phase.
        signals: conjugated where needed, and with the odd/even error taken off.
        odd_even: the odd/even error and its uncertainty, None if there is none.
        notes: a sentence on each finding.
    """

    model: ChemicalShiftModel
    signals: VoxelSignals
    odd_even: OddEvenFit | None
    notes: list[str]


def find_signal_model(
    echoes: np.ndarray,
    mask: np.ndarray,
    model: ChemicalShiftModel,
    voxel_size_mm: tuple[float, float, float],
    precession: str = "auto",
    common_phase: bool | None = None,
    readout: str = "auto",
    r2star_per_s: float | None = None,
    largest_off_resonance_hz: float | None = None,
) -> SignalModel:
    """The model that a sample of bright voxels supports.

    Args:
        echoes: complex64, shape (echoes, slices, rows, columns).
        mask: voxels to draw from.
        model: echo times, fat signal, field strength.
        voxel_size_mm: along slices, rows, columns.
        precession: "as given", "conjugated" or "auto".
        common_phase: whether water and fat share a phase; None to find it.
        readout: "unipolar" (no odd/even error), "bipolar" (one is fitted) or "auto".
        r2star_per_s: R2* where it is known.
        largest_off_resonance_hz: see `find_off_resonance`.

    Raises:
        ValueError: the precession sense cannot be told though it matters, or a bipolar readout of
            three echoes.
    """
    if len(echoes) < 4:
        if readout == "bipolar":
            raise ValueError(
                "The phase error of a bipolar readout cannot be told from fat with three echoes; "
                "at least four are needed."
            )
        readout = "unipolar"
    sample = _Sample(echoes, mask, voxel_size_mm, r2star_per_s, largest_off_resonance_hz)
    senses = [False, True] if precession == "auto" else [precession == "conjugated"]
    shared, own = replace(model, common_phase=True), replace(model, common_phase=False)
    # Three echoes with phases of their own leave nothing to check an R2* by.
    own_sample = sample
    if 2 * len(echoes) <= _unknowns(own, r2star_per_s):
        own_sample = sample.with_r2star(_USUAL_R2STAR_PER_S)
    cases, differ = [], 0.0
    if common_phase is not False:
        cases = [_fitted(sample, shared, sense, readout) for sense in senses]
        best = min(cases, key=lambda case: case.noise)
        forced = "bipolar" if best.shows else "unipolar"
        rival = _fitted(own_sample, own, best.conjugated, forced)
        differ = best.noise / max(rival.noise, 1e-30)
    notes, by_own = [], common_phase is False or differ > 1.1
    if by_own:  # what a wrong common phase leaves must not decide the sense
        own_cases = [_fitted(own_sample, own, sense, readout) for sense in senses]
        case, sentence = _sense(own_cases, own_sample, own)
    else:
        case, sentence = _sense(cases, sample, shared)
    if len(senses) == 2:
        notes.append(sentence)
    if common_phase or not by_own:
        model = shared
        case = next(each for each in cases if each.conjugated == case.conjugated)
        if common_phase is None:
            notes.append("Water and fat were found to share their phase at echo time 0.")
        elif by_own:
            notes.append(
                "Water and fat were taken to share a phase, though one each would leave "
                f"{differ:.1f} times less residual: the PDFF may be wrong."
            )
    else:
        lead = _lead_of_fat(case.fits)
        if own_sample is not sample:  # a lead of three echoes may be anything; it must fit better
            led = replace(shared, fat=own.fat * np.exp(1j * lead))
            tried = [
                _fitted(own_sample, each, case.conjugated, readout).noise for each in (shared, led)
            ]
            lead = lead if 1.1 * tried[1] < tried[0] else 0.0
        model = replace(own, fat=own.fat * np.exp(1j * lead))
        if common_phase is None:
            note = (
                "Water and fat were found to have different phases at echo time 0 (a common phase "
                f"leaves {differ:.1f} times the residual); "
            )
            led = replace(model, common_phase=True)
            rival = _fitted(sample, led, case.conjugated, "bipolar" if case.shows else readout)
            if rival.noise <= 1.1 * case.noise:
                model, case = led, rival
                note += f"fat leads by {lead:.2f} rad, which was taken into account."
            else:
                note += "each was given its own."
            notes.append(note)
    if len(echoes) < 4:
        notes.append(
            "Three echoes cannot show a phase error of odd against even echoes: if the readout was "
            "bipolar, the PDFF may be wrong by many points."
        )
    elif case.found and not case.shows:
        notes.append(_absence(case.found))
    odd_even = case.found if case.shows else None
    signals = VoxelSignals(echoes, case.conjugated, odd_even and odd_even.error)
    return SignalModel(model, signals, odd_even, notes)


class _Sample:
    """The brighter half of voxels from all over the mask, and what all fits share."""

    def __init__(self, echoes, mask, voxel_size_mm, r2star_per_s, largest_off_resonance_hz):
        self.echoes, self.mask, self.voxel_size_mm = echoes, mask, voxel_size_mm
        self.r2star_per_s = r2star_per_s
        self.largest_off_resonance_hz = largest_off_resonance_hz
        index = np.flatnonzero(mask)
        index = index[:: max(1, len(index) // (2 * _SAMPLE))]
        volume = VoxelSignals(echoes)
        energy = (np.abs(volume.at(index)) ** 2).sum(1)
        index = index[energy >= np.median(energy)]
        self.signals, self.place = volume.at(index), volume.place(index)
        self.energy = (np.abs(self.signals) ** 2).sum(1)

    def slab(self) -> np.ndarray:
        """The mask in slices around its middle that hold enough voxels, as a mask."""
        counts = self.mask.sum((1, 2))
        first = last = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
        while counts[first : last + 1].sum() < _SLAB and (first > 0 or last < len(counts) - 1):
            first, last = max(first - 1, 0), min(last + 1, len(counts) - 1)
        slab = np.zeros_like(self.mask)
        slab[first : last + 1] = self.mask[first : last + 1]
        return slab

    def with_r2star(self, r2star_per_s: float) -> _Sample:
        other = copy(self)
        other.r2star_per_s = r2star_per_s
        return other


@dataclass
class _Case:
    """The sample fitted in one precession sense, without and with an odd/even error.

    Attributes:
        conjugated: the sense.
        plain: fits without.
        found: the fit with one, None if none was tried.
        shows: there is one.
        noise: SD left by the better model.
    """

    conjugated: bool
    plain: np.ndarray
    found: OddEvenFit | None
    shows: bool
    noise: float

    @property
    def fits(self) -> np.ndarray:
        return self.found.fits if self.found and self.shows else self.plain


def _lead_of_fat(fits: np.ndarray) -> float:
    """Mean phase of fat relative to water at echo time 0 (rad) where the fits agree on one."""
    weight = np.nan_to_num(fits[:, WATER] * fits[:, FAT] * fits[:, CONVERGED])
    mean = np.sum(weight * np.exp(1j * np.nan_to_num(fits[:, RELATIVE_PHASE])))
    return float(np.angle(mean)) if abs(mean) > 0.3 * weight.sum() > 0 else 0.0


def _fitted(sample: _Sample, model: ChemicalShiftModel, conjugated: bool, readout: str) -> _Case:
    unknowns = _unknowns(model, sample.r2star_per_s)
    signals = sample.signals.conj() if conjugated else sample.signals
    plain = fit_from_candidates(signals, model, sample.r2star_per_s, _TRIED)
    found, shows = None, False
    if readout != "unipolar" and len(signals) >= _FEW and 2 * signals.shape[1] > unknowns + 1:
        found = find_odd_even(signals, sample.place, model, sample.r2star_per_s)
        mean, error = _relative(plain, found.fits, sample.energy)
        freedom = 2 * signals.shape[1] - unknowns
        least = _BETTER_OF_TWO if freedom <= 2 else _BETTER
        shows = readout == "bipolar" or (mean > least and mean > _SURE * error)
        if shows:
            found = with_amplitude(found, signals, sample.place, model, sample.r2star_per_s)
    residuals = (found.fits if found and shows else plain)[:, RESIDUAL]
    # The mean, since a model may fail in the few voxels with fat; a few wild ones are capped.
    mean = float(np.nanmean(np.minimum(residuals, 30 * np.nanmedian(residuals))))
    noise = np.sqrt(max(mean, 1e-12 * sample.energy.mean()) / (2 * signals.shape[1] - unknowns))
    return _Case(conjugated, plain, found, shows, float(noise))


def _unknowns(model: ChemicalShiftModel, r2star_per_s: float | None) -> int:
    return (5 if model.common_phase else 6) - (r2star_per_s is not None)


def _relative(first: np.ndarray, second: np.ndarray, energy: np.ndarray) -> tuple[float, float]:
    """How much larger the residuals of the first fits are than those of the second.

    Each voxel counts by the difference relative to its own sum, which is robust to a few of wild
    residual.

    Returns:
        The mean, and its standard error.
    """
    a, b = (np.nan_to_num(fits[:, RESIDUAL].astype(float), nan=np.inf) for fits in (first, second))
    a, b = np.minimum(a, energy), np.minimum(b, energy)
    relative = (a - b) / np.maximum(a + b, 1e-10 * energy)
    return float(relative.mean()), float(relative.std() / np.sqrt(len(relative)) + 1e-9)


def _absence(found: OddEvenFit) -> str:
    sd = found.phase_sd
    effect = float(np.median(np.abs(found.pdff_per_rad)))
    phase = float(found.error.phase[0])
    if abs(phase) > _SURE * sd:
        return (
            f"Odd and even echoes seem to differ in phase by twice {phase:.3f} rad, which cannot "
            "be told from other misfit and was not corrected (it would change the PDFF by "
            f"{abs(phase) * effect:.0f} points); if the readout was bipolar, say so."
        )
    text = f"No phase error of odd against even echoes was found (SD {sd:.3f} rad"
    if 2 * sd * effect > 1:
        return f"{text}), but one that changes the PDFF by {2 * sd * effect:.0f} points could hide."
    return text + ")."


def _sense(cases: list[_Case], sample: _Sample, model) -> tuple[_Case, str]:
    """The precession sense by the likelihood of fits, which fat's side peaks make differ.

    Where both fit alike but give the same PDFF, the sense does not matter.
    """
    if len(cases) == 1:
        return cases[0], ""
    given, other = cases
    with_error = _bipolar(cases, sample, model)
    for case in cases:
        case.shows &= with_error  # a unipolar readout in one sense may look bipolar in the other
    fits = [case.found.fits if with_error else case.plain for case in cases]
    score = _likelihood_ratio(fits, sample.signals, model, sample.r2star_per_s)
    if abs(score) < _CLEAR:
        # Single voxels may exchange water and fat as they like; in one field they may not.
        slab = sample.slab()
        fits = [_fits_in_one_field(sample, slab, model, case, with_error) for case in cases]
        signals = VoxelSignals(sample.echoes).at(np.flatnonzero(slab))
        score = _likelihood_ratio(fits, signals, model, sample.r2star_per_s)
    if score >= _SURE:
        return given, "The precession sense was found to be as given."
    if score <= -_SURE:
        return other, "The data were conjugated: their precession sense is the opposite one."
    if _same_fractions(*[100 * each[:, FRACTION] for each in fits]):
        return given, (
            "The precession sense cannot be told from these data; both give the same PDFF, and it "
            "was taken as given."
        )
    raise ValueError(
        "The precession sense cannot be told from these data and it would change the PDFF; say "
        "whether it is 'as given' or 'conjugated'."
    )


def _fits_in_one_field(sample, slab, model, case, with_error) -> np.ndarray:
    """Fits of the voxels of a slab, in the one precession sense, from a field found for it."""
    error = case.found.error if with_error else None
    signals = VoxelSignals(sample.echoes, case.conjugated, error)
    # With three echoes, phases of their own leave too little residual to find the field by.
    shared = replace(model, common_phase=model.common_phase or len(sample.echoes) == 3)
    field = find_off_resonance(
        signals,
        slab,
        shared,
        sample.voxel_size_mm,
        sample.largest_off_resonance_hz,
        sample.r2star_per_s,
    )
    index = np.flatnonzero(slab)
    return fit_from(signals.at(index), model, sample.r2star_per_s, field.off_resonance_hz)


def _bipolar(cases: list[_Case], sample: _Sample, model: ChemicalShiftModel) -> bool:
    """Whether an odd/even error is needed in the sense that fits better without one."""
    if not all(case.found for case in cases):
        return False
    plain = [case.plain for case in cases]
    score = _likelihood_ratio(plain, sample.signals, model, sample.r2star_per_s)
    return cases[0 if score >= 0 else 1].shows or all(case.shows for case in cases)


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
    unknowns = _unknowns(model, r2star_per_s)
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
