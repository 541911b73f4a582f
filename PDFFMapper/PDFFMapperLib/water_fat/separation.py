"""Water-fat separation of complex multi-echo images: PDFF, R2*, their SDs and confidence."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntFlag
from functools import partial

import numpy as np
from numba import njit

from PDFFMapperLib.maps.progress import Progress, run_parallel, share, tell
from PDFFMapperLib.water_fat.echo_errors import ODD_EVEN, ErrorFit, Sample, refine_error
from PDFFMapperLib.water_fat.field_map import ChemicalShiftModel, find_off_resonance, fit_from
from PDFFMapperLib.water_fat.holes import fill_holes
from PDFFMapperLib.water_fat.mixed import fit_mixed
from PDFFMapperLib.water_fat.multi_echo import MultiEcho
from PDFFMapperLib.water_fat.neighborhood import (
    by_parts,
    flat_index,
    over_together,
    put,
    slice_ends,
    sum_around,
)
from PDFFMapperLib.water_fat.phase_place import refuse_phases_of_another_place
from PDFFMapperLib.water_fat.shared_decay import shared_r2star
from PDFFMapperLib.water_fat.signal_mask import background_noise, signal_mask, spread
from PDFFMapperLib.water_fat.signal_model import (
    LeftOver,
    SignalModel,
    check_conditioning,
    find_signal_model,
)
from PDFFMapperLib.water_fat.spectra import FatSpectrum, fat_spectrum
from PDFFMapperLib.water_fat.two_decays import COLUMNS as DECAY_COLUMNS
from PDFFMapperLib.water_fat.two_decays import fit_two_decays, information_gain
from PDFFMapperLib.water_fat.voxel_fit import (
    COLUMNS,
    CONVERGED,
    FAT,
    FRACTION,
    FRACTION_BIAS,
    FRACTION_VARIANCE,
    OFFSET,
    R2STAR,
    R2STAR_BIAS,
    R2STAR_VARIANCE,
    RELATIVE_PHASE,
    RESIDUAL,
    TOTAL_VARIANCE,
    WATER,
)
from PDFFMapperLib.water_fat.voxel_signals import EchoError, VoxelSignals

_CHUNK = 10_000  # voxels per fitted piece
SWAP_MARGIN = 20.0  # cost of exchanging water and fat under which it is a risk
_LEAST_TOTAL = 1.0  # SDs of water plus fat under which their ratio means nothing
_SURELY_THERE = 4.0  # SDs of water or fat over which its magnitude hardly feels the noise
FOLLOWED = 1.25  # times the noise of the images that a model may leave which the data follow
MORE_THAN_NOISE = (
    "The fit leaves {:.1f} times the noise of the images: motion, flow, other fat than that of the "
    "spectrum, or wrong echo times, field strength or scale of an echo do so, and the PDFF may be "
    "wrong."
)
_AGREED = 1.6  # scatter across the common phase of a neighborhood over that of noise
_R2STAR_UNKNOWN_SD = 150.0  # 1/s; wider than the range of tissues
_R2STAR_SPREAD = 50.0  # 1/s; SD of R2* around the mean of its neighborhood, taken widely
_HIDDEN_R2STAR_PER_S = 100.0  # typical SD around over which an own R2* is not to be relied on
_MISFIT = 2.0  # times the noise of the images that a model leaves which mostly is misfit
_FEWEST_TO_SHARE = 147  # voxels, of a whole neighborhood
_VAGUE_PDFF = 0.05  # typical SD around over which water and fat are exchanged where R2* is hidden
USELESS_PDFF = 0.08  # typical SD around that leaves no PDFF
_MOST_PDFF_SD = 0.32  # of one voxel; a nearer limit takes away the fast decays that noise makes
_LEAST_SIGNAL = 5.0  # noise SDs that the largest echo of a neighborhood should have
_MANY = 50_000  # voxels that tell the usual residual and noise
_ERROR_SAMPLE = 16_000  # voxels to fit an error of the echoes to


class Doubt(IntFlag):
    """Why a voxel's values should not be trusted; 0 is none."""

    LOW_SIGNAL = 1  # around here no echo has 5 noise SDs
    POOR_FIT = 2  # residual over 3 noise SDs and over 5 % of the signal
    SWAP_RISK = 4  # water and fat could as well be exchanged
    FAILED = 8  # no fit; the values are NaN
    R2STAR_BORROWED = 16  # the echoes do not tell R2*; the fit expected that of the neighborhood
    CANCELED = 64  # water plus fat within an SD of 0; the PDFF is NaN
    IMPRECISE = 32  # decay so fast, or noise so strong, around here that the PDFF is not known


@dataclass
class WaterFatResult:
    """Maps on the grid of the echoes, shape (slices, rows, columns); NaN outside `mask`.

    Only `water`, `fat` and `off_resonance_hz`, which are looked at, have values beyond it: in holes
    of the body that hold too little signal to be fitted (`holes`), unless a mask was given.

    Attributes:
        pdff_percent: 100 F / (W + F), signed: noise may carry it below 0 or above 100. Where water
            and fat have phases of their own, 100 |F| / (|W| + |F|) without the bias of noise.
        r2star_per_s: R2*, signed for the same reason; drawn to that of the voxels around where
            noise hides it in this one (`Doubt.R2STAR_BORROWED`). Where it typically does so around
            here it is NaN, and the PDFF expects the R2* that the voxels share; where the model
            leaves twice the noise these are `Doubt.IMPRECISE`.
        water: signal of water at echo time 0; its magnitude where phases are not common.
        fat: signal of fat at echo time 0, likewise.
        off_resonance_hz: field map.
        residual_percent: root mean square residual over root mean square signal.
        pdff_sd: standard deviation of the PDFF by the Fisher information, in points.
        r2star_sd: the same of R2*, in 1/s; NaN where R2* was not fitted.
        noise: noise SD of the real (and imaginary) part, pooled over a neighborhood.
        doubt: `Doubt` bits, uint8; 0 where confident. Outside the mask LOW_SIGNAL.
        mask: the voxels fitted.
        facts: method, settings and what was found, JSON-ready.
        echo_error: the phase error of the echoes that was taken off, None if there was none.
        r2star_water_per_s: R2* of water where it was fitted apart from that of fat, else NaN; None
            if that was not asked for. `r2star_per_s` is the single one everywhere.
        r2star_fat_per_s: R2* of fat, likewise.
    """

    pdff_percent: np.ndarray
    r2star_per_s: np.ndarray
    water: np.ndarray
    fat: np.ndarray
    off_resonance_hz: np.ndarray
    residual_percent: np.ndarray
    pdff_sd: np.ndarray
    r2star_sd: np.ndarray
    noise: np.ndarray
    doubt: np.ndarray
    mask: np.ndarray
    facts: dict[str, object] = field(default_factory=dict)
    echo_error: EchoError | None = None
    r2star_water_per_s: np.ndarray | None = None
    r2star_fat_per_s: np.ndarray | None = None

    @property
    def confident(self) -> np.ndarray:
        """Voxels whose values can be used, bool."""
        return self.mask & (self.doubt == 0)

    @property
    def magnitude_fraction_percent(self) -> np.ndarray:
        """100 |F| / (|W| + |F|), as other software has it; noise draws it away from 0 and 100."""
        water, fat = np.abs(self.water), np.abs(self.fat)
        return 100 * fat / np.where(self.mask & (water + fat > 0), water + fat, np.nan)

    @property
    def t2star_ms(self) -> np.ndarray:
        """T2* in ms; NaN where R2* is not above 0."""
        return np.divide(
            1000.0,
            self.r2star_per_s,
            out=np.full_like(self.r2star_per_s, np.nan),
            where=self.r2star_per_s > 0,
        )


def separate_water_fat(
    data: MultiEcho,
    spectrum: FatSpectrum | None = None,
    mask: np.ndarray | None = None,
    precession: str = "auto",
    common_phase: bool | None = None,
    readout: str = "auto",
    r2star_per_s: float | None = None,
    r2star_model: str = "single",
    progress: Progress | None = None,
) -> WaterFatResult:
    """PDFF and R2* from three or more complex echoes.

    The field map is found globally (`field_map`), then each voxel is fitted by maximum
    likelihood (`voxel_fit`).

    Args:
        data: from `multi_echo` and its siblings.
        spectrum: fat peaks; marrow (Ren 2008) by default.
        mask: voxels to fit, bool; by default those with signal (`signal_mask`).
        precession: "as given" (fat precesses with exp(+i 2 pi f t), f < 0 from water),
            "conjugated" (the opposite), or "auto": found from the asymmetry of the fat spectrum.
        common_phase: whether water and fat have one phase at echo time 0, which lowers the noise
            of the PDFF, or each its own. By default one, unless the data contradict it.
        readout: "unipolar" (the phases are right), "bipolar" (an error of odd against even echoes
            is fitted, see `echo_errors`), or "auto": what explains the echoes is found.
        r2star_per_s: a known R2* instead of a fitted one.
        r2star_model: "single" (one R2* for water and fat), "separate" (one each), or "select":
            separate where the corrected Akaike criterion of the neighborhood prefers it.
        progress: called with the fraction done; returning False cancels.

    Raises:
        ValueError: nothing to fit, or the precession sense cannot be told though it matters.
        InterruptedError: canceled.
    """
    spectrum, notes = spectrum or fat_spectrum(), list(data.notes)
    _check_choices(data, precession, readout, r2star_model, r2star_per_s)
    noise, whole = background_noise(data.echoes), mask is None
    mask = _usable(data.echoes, mask, noise, notes)
    times, field_t = data.echo_times_s, data.field_strength_t
    fat = spectrum.modulation(times, field_t)
    model = ChemicalShiftModel(times, fat, field_t, common_phase is not False)
    check_conditioning(model, r2star_per_s)
    asked = precession, common_phase, readout, r2star_per_s, data.readout
    settled = _settled((data.echoes, noise, mask, model, data.voxel_size_mm), *asked)
    model, signals, error, mixed = settled.model, settled.signals, settled.error, settled.mixed
    notes += settled.notes
    _check_phases(model, r2star_model)
    searchable = _searchable(signals, mask, model, mixed)
    if model.unknowns(None) < 2 * len(model.echo_times_s):  # else any phases fit
        refuse_phases_of_another_place(*searchable, noise)

    found = find_off_resonance(
        *searchable, data.voxel_size_mm, r2star_per_s, share(progress, 0.0, 0.7)
    )
    if error is not None and mixed is None:
        error, sentences = _refined_error(signals, mask, model, r2star_per_s, found)
        signals = signals.with_error(error.error)
        notes += sentences
    fitted = _fit_voxels(signals, mask, model, r2star_per_s, found, mixed, noise, progress)
    result = _maps(mask, fitted, found, model, _signed(model, noise, fitted, notes))
    result.echo_error = signals.error
    if r2star_model != "single":
        notes.append(
            _separate_decays(result, signals, model, fitted.columns, r2star_model == "select")
        )
    notes += _without_r2star(result)
    asked = r2star_per_s, found.noise, mixed
    filled = _fill_holes(result, signals, model, fitted.columns, *asked) if whole else {}
    result.facts = _facts(data, spectrum, model, fat, signals.conjugated, error) | {
        "r2star": "fitted" if r2star_per_s is None else f"fixed at {r2star_per_s:g} 1/s",
        "r2star_model": r2star_model,
        "mixed_echo": None if mixed is None else mixed + 1,
        "noise_sd": float(found.noise),
        "notes": notes,
        **filled,
    }
    tell(progress, 1.0)
    return result


def _settled(given: tuple, precession, common_phase, readout, *rest) -> SignalModel:
    """The model of the echoes; a refusal tells if a bipolar readout, once stated, would hold.

    A stated unipolar one would always: it makes nothing of the misfit.
    """
    try:
        return find_signal_model(*given, precession, common_phase, readout, *rest)
    except LeftOver as refusal:
        if readout != "auto":
            raise
        try:
            find_signal_model(*given, precession, common_phase, "bipolar", *rest)
        except ValueError:
            raise refusal from None
        raise LeftOver(
            f"{refusal} If it was bipolar (see the protocol: its readout mode, or no fly-back), "
            "state that (readout 'bipolar'): an error of odd against even echoes alone leaves far "
            "more than noise in fewer voxels, and they are fitted."
        ) from None


def _facts(data, spectrum, model, fat, conjugated, error) -> dict[str, object]:
    return {
        "method": "complex multi-echo, global field map, voxelwise maximum likelihood",
        "fat_spectrum": spectrum.name,
        "fat_spectrum_citation": spectrum.citation,
        "fat_ppm": [float(x) for x in spectrum.ppm],
        "fat_amplitudes": [float(x) for x in spectrum.amplitudes],
        "echo_times_s": [float(x) for x in data.echo_times_s],
        "field_strength_t": data.field_strength_t,
        "common_phase": model.common_phase,
        "fat_phase_lead_rad": float(np.angle((model.fat / fat)[0])),
        "conjugated": conjugated,
        "echo_error": None if error is None else _error_facts(error),
    }


def _check_choices(data, precession, readout, r2star_model, r2star_per_s) -> None:
    if precession not in ("auto", "as given", "conjugated"):
        raise ValueError(
            f"Precession is 'auto', 'as given' or 'conjugated'; {precession!r} was given."
        )
    if readout not in ("auto", "unipolar", "bipolar"):
        raise ValueError(f"Readout is 'auto', 'unipolar' or 'bipolar'; {readout!r} was given.")
    if r2star_model not in ("single", "separate", "select"):
        raise ValueError(
            f"The R2* model is 'single', 'separate' or 'select'; {r2star_model!r} was given."
        )
    if r2star_model != "single" and (len(data.echoes) < 4 or r2star_per_s is not None):
        raise ValueError(
            "An R2* each for water and fat needs at least four echoes and no fixed R2*; "
            f"{len(data.echoes)} echoes were given."
        )


def _check_phases(model, r2star_model) -> None:
    if r2star_model != "single" and not model.common_phase:
        raise ValueError(
            "Water and fat have phases of their own in these data, with which an R2* each "
            "cannot be determined; use the single R2*."
        )


@dataclass
class _Fits:
    """The voxels of the mask fitted.

    Attributes:
        columns: as `fit_voxels` has them, shape (voxels, columns).
        signal_energy: sum of the squared echoes, shape (voxels,).
        dark: around here no echo has signal enough, bool.
        freedom: numbers per voxel that no unknown takes.
        noise: SD around each voxel.
        failed: no fit, bool.
        borrowed: R2* was drawn to that around, bool.
        hidden: around here noise hides R2*; the fit expected the one that the voxels share, bool.
        imprecise: around here noise is more than the fit bears, bool.
    """

    columns: np.ndarray
    signal_energy: np.ndarray
    dark: np.ndarray
    freedom: int
    noise: np.ndarray
    failed: np.ndarray
    borrowed: np.ndarray
    hidden: np.ndarray
    imprecise: np.ndarray


def _searchable(signals: VoxelSignals, mask, model, mixed: int | None):
    """Signals, mask and model to find the field by: without an echo whose phase is off."""
    count = len(signals.echoes)
    if mixed is not None and count > 4:
        kept = np.delete(np.arange(count), mixed)
        echoes = signals.echoes[1:] if mixed == 0 else signals.echoes[kept]
        signals = VoxelSignals(echoes, signals.conjugated)
        model = replace(model, echo_times_s=model.echo_times_s[kept], fat=model.fat[kept])
    # With three echoes, phases of their own leave too little residual to find the field by.
    return signals, mask, replace(model, common_phase=model.common_phase or count == 3)


def _fit_voxels(
    signals, mask, model, r2star_per_s, found, mixed: int | None, background: float, progress
) -> _Fits:
    """Each voxel from its off-resonance, its noise, and again where R2* is not told."""
    fit = fit_from if mixed is None else partial(fit_mixed, echo=mixed)
    index = flat_index(mask)
    fits = np.empty((len(index), COLUMNS), np.float32)
    signal_energy = np.empty(len(index), np.float32)
    largest_echo = np.empty(len(index), np.float32)
    failed = np.empty(len(index), bool)

    def fit_part(start: int) -> None:
        part = slice(start, start + _CHUNK)
        chunk = signals.at(index[part])
        _strength(chunk, signal_energy[part], largest_echo[part])
        fits[part] = fit(chunk, model, r2star_per_s, found.off_resonance_hz[part])
        failed[part] = _failed(fits[part])

    run_parallel(fit_part, range(0, len(index), _CHUNK), share(progress, 0.7, 0.95))
    freedom = 2 * len(model.echo_times_s) - model.unknowns(r2star_per_s) - (mixed is not None)
    if freedom > 0:
        noise = _pooled_noise(mask, fits[:, RESIDUAL], failed, freedom)
    else:  # no residual to tell it by
        noise = np.full(len(fits), found.noise, np.float32)
    dark = _dark(mask, noise, largest_echo)
    borrowed, hidden, imprecise = np.zeros((3, len(fits)), bool)
    if r2star_per_s is None:

        def refit(part, decay, prior=None):
            return fit(
                signals.at(index[part]), model, decay, found.off_resonance_hz[part], prior=prior
            )

        of_pdff, of_r2star = _sds(fits, noise, failed)
        hidden = over_together(mask, of_r2star, _HIDDEN_R2STAR_PER_S)
        hidden &= ~dark  # which are marked
        if np.count_nonzero(hidden) < _FEWEST_TO_SHARE:  # these borrow one by one
            hidden[:] = False
        if hidden.any():
            noise = _share_r2star(
                mask,
                fits,
                noise,
                failed,
                hidden,
                freedom,
                model,
                lambda part: signals.at(index[part]),
                refit,
            )
            of_pdff, _ = _sds(fits, noise, failed)
        imprecise = _imprecise(mask, of_pdff, hidden)
        if _left(noise, background) >= _MISFIT:  # R2* hides it, and the expected R2* holds it too
            imprecise |= hidden
        borrowed = _borrow_r2star(mask, fits, noise, failed, hidden, refit)
        fits[hidden, R2STAR_VARIANCE] = np.inf
    return _Fits(fits, signal_energy, dark, freedom, noise, failed, borrowed, hidden, imprecise)


@njit(cache=True, nogil=True)
def _strength(signals, energy, largest):
    """Sum of the squared echoes of voxels, and the magnitude of the largest."""
    for v in range(len(signals)):
        total = most = np.float32(0)
        for n in range(signals.shape[1]):
            real, imaginary = signals[v, n].real, signals[v, n].imag
            square = real * real + imaginary * imaginary
            total += square
            most = max(most, square)
        energy[v], largest[v] = total, np.sqrt(most)


def _signed(model, background: float, fitted: _Fits, notes: list[str]) -> bool:
    """Whether the phase of a faint part can be trusted: what is left is the images' own noise.

    Where the model leaves more, which is said, that of a small water or fat signal is the misfit's.
    """
    left = _left(fitted.noise, background)
    if left < FOLLOWED:
        return True
    note = MORE_THAN_NOISE.format(left)
    if not model.common_phase:
        note += (
            " The PDFF is therefore made of magnitudes, and noise draws values near 0 and 100 % "
            "inward by up to its SD."
        )
    notes.append(note)
    return model.common_phase


def _left(noise: np.ndarray, background: float) -> float:
    """What the model leaves, in the images' own noise."""
    return float(np.median(noise[:: len(noise) // _MANY + 1])) / max(background, 1e-30)


def _usable(
    echoes: np.ndarray, mask: np.ndarray | None, noise: float, notes: list[str]
) -> np.ndarray:
    finite = np.empty(echoes.shape[1:], bool)
    run_parallel(lambda k: _check_finite(echoes, k, finite[k]), range(len(finite)))
    bad = int(finite.size - finite.sum())
    if bad:
        notes.append(f"{bad} voxels hold NaN or infinite values and were left out.")
    if mask is None:
        mask = signal_mask(echoes, noise)
        reason = "no voxel has signal over the noise"
    else:
        mask = np.asarray(mask)
        if mask.shape != echoes.shape[1:]:
            raise ValueError(
                f"The mask has shape {mask.shape}, the echoes {echoes.shape[1:]}; they must agree."
            )
        mask = (mask != 0) & (np.abs(np.where(finite, echoes, 0)).max(0) > 0)
        reason = "no voxel of the mask has a finite signal"
    mask = mask & finite
    if not mask.any():
        raise ValueError(f"There is nothing to fit: {reason}.")
    check_echoes_alive(echoes, mask)
    return mask


@njit(cache=True, nogil=True)
def _check_finite(echoes, k, finite):
    """Voxels of slice `k` all of whose echoes are finite."""
    finite[:] = True
    for n in range(len(echoes)):
        for j in range(finite.shape[0]):
            for i in range(finite.shape[1]):
                finite[j, i] &= np.isfinite(echoes[n, k, j, i])


@njit(cache=True, nogil=True)
def _count_zeros(echoes, k, mask, zeros):
    """Add up the voxels of the mask of slice `k` where each echo is 0."""
    for n in range(len(echoes)):
        count = 0  # by itself, the compiler makes vectors of it
        for j in range(mask.shape[0]):
            for i in range(mask.shape[1]):
                count += mask[j, i] & (echoes[n, k, j, i] == 0)
        zeros[n] += count


def check_echoes_alive(echoes: np.ndarray, mask: np.ndarray) -> None:
    """Refuse echoes that hold nothing where the others have signal.

    Raises:
        ValueError: an echo is exactly 0 in more than half of the mask.
    """
    zeros = np.zeros((mask.shape[0], len(echoes)), np.int64)
    run_parallel(lambda k: _count_zeros(echoes, k, mask[k], zeros[k]), range(len(zeros)))
    for n, nothing in enumerate(zeros.sum(0) / np.count_nonzero(mask)):
        if nothing > 0.5:
            raise ValueError(
                f"Echo {n + 1} of {len(echoes)} is 0 in {100 * nothing:.0f} % of the voxels with "
                "signal: it was not read or not reconstructed. Leave it out, or export it again."
            )


def _refined_error(signals, mask, model, r2star_per_s, found):
    """The error of the echoes by many voxels of known field, and sentences on it."""
    index = np.flatnonzero(mask)
    many = slice(None, None, max(1, len(index) // _ERROR_SAMPLE))
    chosen = index[many]
    place = signals.place(chosen)
    sample = Sample(
        signals.with_error(None).at(chosen), place, r2star_per_s, found.off_resonance_hz[many]
    )
    fit, amplitude_note = refine_error(sample, model, signals.error)
    phases = fit.error.phases(place)
    if fit.error.kind == ODD_EVEN:
        size = (
            f"Odd and even echoes differ in phase, as by a bipolar readout: by twice "
            f"{phases.mean():.3f} rad on average (from {phases.min():.2f} to {phases.max():.2f}, "
            f"SD {fit.phase_sd:.4f})"
        )
    else:
        most = np.abs(phases @ fit.error.patterns).max()
        size = f"A phase error of {fit.error.kind} was found, of up to {most:.2f} rad"
    note = f"{size}, which was corrected; its uncertainty leaves {fit.pdff_sd:.2f} points of PDFF."
    return fit, [note, *([amplitude_note] if amplitude_note else [])]


def _error_facts(fit: ErrorFit) -> dict[str, object]:
    return {
        "kind": fit.error.kind,
        "model": "echo n times exp(sum over patterns of pattern[n] (amplitude + i phase))",
        "patterns": fit.error.patterns.tolist(),
        "powers_of_slice_row_column": fit.error.powers.tolist(),
        "phase_rad": fit.error.phase.tolist(),
        "phase_sd_rad": fit.phase_sd,
        "amplitude": fit.error.amplitude.tolist(),
        "amplitude_sd": fit.amplitude_sd,
        "pdff_sd_percent": fit.pdff_sd,
    }


_MAPS = ("pdff_percent", "r2star_per_s", "water", "fat", "off_resonance_hz", "residual_percent",
         "pdff_sd", "r2star_sd", "noise")  # fmt: skip


def _maps(mask, fitted: _Fits, found, model, signed: bool) -> WaterFatResult:
    fits, failed = fitted.columns, fitted.failed
    if model.common_phase:
        fractions = fits[:, FRACTION]
    else:
        fractions = _magnitude_fraction(mask, fits, failed, fitted.noise, signed)
    volumes = [np.empty(mask.shape, np.float32) for _ in _MAPS]
    doubts, ends = np.empty(mask.shape, np.uint8), slice_ends(mask)

    def fill_slice(k: int) -> None:
        part = slice(ends[k], ends[k + 1])
        values = np.empty((len(_MAPS), ends[k + 1] - ends[k]), np.float32)
        doubt = np.empty(values.shape[1], np.uint8)
        _values(
            fits[part],
            fitted.noise[part],
            fitted.signal_energy[part],
            fitted.freedom,
            np.ascontiguousarray(fractions[part]),
            found.off_resonance_hz[part],
            found.swap_margin[part],
            fitted.dark[part],
            failed[part],
            fitted.borrowed[part],
            fitted.hidden[part],
            fitted.imprecise[part],
            doubt,
            tuple(values),
        )
        for volume, each in zip(volumes, values, strict=True):
            put(each, mask[k], np.nan, volume[k])
        put(doubt, mask[k], _LOW_SIGNAL, doubts[k])

    run_parallel(fill_slice, range(len(mask)))
    return WaterFatResult(**dict(zip(_MAPS, volumes, strict=True)), doubt=doubts, mask=mask)


def _dark(mask, noise, largest_echo) -> np.ndarray:
    """Voxels in whose neighborhood no echo has signal enough, bool."""
    with np.errstate(divide="ignore"):
        level = noise / largest_echo
    return over_together(mask, level, 1 / _LEAST_SIGNAL)


@njit(cache=True, nogil=True)
def _small(bias, sd):
    """A second-order bias where it is one: at most a third of the SD, 0 where unknown."""
    small = min(max(bias, -sd / 3), sd / 3)
    return small if np.isfinite(bias) and np.isfinite(sd) else 0.0


_LOW_SIGNAL, _POOR_FIT, _SWAP_RISK, _FAILED, _BORROWS, _IMPRECISE, _CANCELED = map(int, (
    Doubt.LOW_SIGNAL, Doubt.POOR_FIT, Doubt.SWAP_RISK, Doubt.FAILED, Doubt.R2STAR_BORROWED,
    Doubt.IMPRECISE, Doubt.CANCELED))  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _values(
    fits, noise, energy, freedom, fractions, start_hz, margin, dark, failed, borrowed, hidden,
    imprecise, doubt, maps,
):  # fmt: skip
    """The values of each of `_MAPS` of voxels, and their doubts.

    Args:
        fits: of the voxels, as the next ones: noise SD, sum of the squared echoes.
        freedom: numbers per voxel that no unknown takes.
        fractions: of fat, by the signed or the magnitude signals.
        start_hz: off-resonance where there is no fit.
        margin: cost of exchanging water and fat.
        dark, failed, borrowed, hidden, imprecise: as in `_Fits`.
    """
    for v in range(len(fits)):
        fit, sd = fits[v], noise[v]
        pdff_sd = 100 * sd * np.sqrt(fit[FRACTION_VARIANCE])
        r2star_sd = sd * np.sqrt(fit[R2STAR_VARIANCE])
        residual = np.sqrt(fit[RESIDUAL] / max(energy[v], 1e-30))
        left = np.sqrt(fit[RESIDUAL] / max(freedom + hidden[v], 1))
        canceled = not failed[v] and not sd**2 * fit[TOTAL_VARIANCE] < _LEAST_TOTAL**-2
        doubt[v] = (
            _LOW_SIGNAL * dark[v]
            | _POOR_FIT * (left > 3 * sd and residual > 0.05)
            | _SWAP_RISK * (margin[v] < SWAP_MARGIN)
            | _FAILED * failed[v]
            | _BORROWS * borrowed[v]
            | _IMPRECISE * imprecise[v]
            | _CANCELED * canceled
        )
        for each in maps:
            each[v] = np.nan
        if not failed[v] and not canceled:
            maps[0][v] = 100 * fractions[v] - _small(100 * sd**2 * fit[FRACTION_BIAS], pdff_sd)
            maps[6][v] = pdff_sd
        if not failed[v] and not hidden[v]:
            maps[1][v] = fit[R2STAR] - _small(sd**2 * fit[R2STAR_BIAS], r2star_sd)
            maps[7][v] = r2star_sd
        if not failed[v]:
            maps[2][v], maps[3][v] = fit[WATER], fit[FAT]
        maps[4][v] = start_hz[v] if failed[v] else fit[OFFSET]
        maps[5][v], maps[8][v] = 100 * residual, sd


def _without_r2star(result: WaterFatResult) -> list[str]:
    """In how many confident voxels R2* is not told, and why."""
    counts = np.zeros((len(result.mask), 2), np.int64)
    volumes = result.mask, result.doubt, result.r2star_per_s
    run_parallel(
        lambda k: _count_untold(*(each[k] for each in volumes), counts[k]), range(len(counts))
    )
    untold, confident = counts.sum(0)
    if not untold:
        return []
    share = 100 * untold / confident
    return [
        f"{untold} voxels ({share:.2g} % of the confident ones) have a PDFF but no R2*: noise "
        "hides that of single voxels there, and the PDFF was fitted with the one that the voxels "
        "around share."
    ]


@njit(cache=True, nogil=True)
def _count_untold(mask, doubt, r2star, counts):
    """Count a slice's confident voxels: those without R2*, and all."""
    untold = confident = 0
    for j in range(mask.shape[0]):
        for i in range(mask.shape[1]):
            sure = mask[j, i] & (doubt[j, i] == 0)
            untold += sure & np.isnan(r2star[j, i])
            confident += sure
    counts[:] = untold, confident


def _fill_holes(
    result, signals, model, fits, r2star_per_s, noise: float, mixed: int | None
) -> dict[str, int]:
    """Put water, fat and field into holes of the body; how many voxels, if there are some."""
    fit_voxels = fit_from if mixed is None else partial(fit_mixed, echo=mixed)

    def fit(index, field_hz, expected_per_s):
        weight = np.full(len(index), (noise / _R2STAR_SPREAD) ** 2, np.float32)
        prior = (expected_per_s, weight) if r2star_per_s is None else None
        found = fit_voxels(signals.at(index), model, r2star_per_s, field_hz, prior=prior)
        empty = ~(found[:, WATER] + found[:, FAT] > 0)
        return np.where(empty, np.nan, found[:, [WATER, FAT]].T)

    count = fill_holes(
        (result.water, result.fat, result.off_resonance_hz),
        result.mask,
        result.doubt == 0,
        np.ascontiguousarray(fits[:, R2STAR]),
        fit,
    )
    return {"voxels_of_water_and_fat_only": count} if count else {}


def _separate_decays(result, signals, model, fits, select: bool) -> str:
    """Put fits with an R2* each into the result where they hold; a sentence on where."""
    mask, echoes = result.mask, len(model.echo_times_s)
    index = np.flatnonzero(mask)
    columns = np.empty((len(index), DECAY_COLUMNS), np.float32)

    def fit_part(start: int) -> None:
        part = slice(start, start + _CHUNK)
        columns[part] = fit_two_decays(
            signals.at(index[part]),
            model.echo_times_s,
            model.fat,
            np.ascontiguousarray(fits[part, OFFSET]),
            np.ascontiguousarray(fits[part, R2STAR]),
        )

    run_parallel(fit_part, range(0, len(index), _CHUNK))
    water, fat, of_water, of_fat, offset, squares, variance = columns.T[:7]
    usable = np.isfinite(squares) & (fits[:, CONVERGED] > 0)
    usable &= result.doubt[mask] & Doubt.CANCELED == 0
    noise = _pooled_noise(mask, squares, ~usable, 2 * echoes - 6)
    # The decay of what is hardly there is not told, and spoils the PDFF with it.
    usable &= noise * np.sqrt(variance) < 2 * USELESS_PDFF
    if select:
        sums = []
        for values in (fits[:, RESIDUAL], squares, np.ones(len(index))):
            sums.append(sum_around(mask, np.where(usable, values, 0)))
        chosen = usable & (information_gain(*sums, echoes) > 0)
    else:
        chosen = usable
    energy = (fits[:, RESIDUAL] / (result.residual_percent[mask] / 100) ** 2).astype(np.float32)
    residual = 100 * np.sqrt(squares / np.maximum(energy, 1e-30))
    doubt = result.doubt[mask]
    poor = (np.sqrt(squares / max(2 * echoes - 6, 1)) > 3 * noise) & (residual > 5)
    doubt = np.where(poor, doubt | Doubt.POOR_FIT, doubt & ~np.uint8(Doubt.POOR_FIT))
    for name, values in (
        ("pdff_percent", 100 * fat / np.where(chosen, water + fat, 1)),
        ("water", water),
        ("fat", fat),
        ("off_resonance_hz", offset),
        ("residual_percent", residual),
        ("pdff_sd", 100 * noise * np.sqrt(variance)),
        ("noise", noise),
        ("doubt", doubt),
    ):
        volume = getattr(result, name)
        volume[mask] = np.where(chosen, values, volume[mask])
    for name, values in (("r2star_water_per_s", of_water), ("r2star_fat_per_s", of_fat)):
        setattr(result, name, spread(mask, np.where(chosen, values, np.nan)))
    share = 100 * float(np.mean(chosen))
    if select:
        return f"Water and fat have an R2* each in {share:.0f} % of the voxels, as AICc prefers."
    return f"Water and fat were given an R2* each; the fit of {100 - share:.1f} % kept one."


def _magnitude_fraction(mask, fits, failed, noise, signed: bool) -> np.ndarray:
    """|F| / (|W| + |F|) without the bias of noise, where water and fat have phases of their own.

    A magnitude m of variance v is too large by v / (2 m) to second order, which is taken off as
    far as it is a correction. Where water or fat is under 4 SDs that is still too large on average;
    if the data follow the model (`signed`) its part along the phase that fat has around the voxel
    is taken instead, where the voxels around agree on one as well as their noise allows.
    """
    unit = float(np.median((fits[:, WATER] + fits[:, FAT])[~failed])) if (~failed).any() else 1.0
    water, fat = (np.where(failed, 0, fits[:, column] / unit) for column in (WATER, FAT))
    with np.errstate(invalid="ignore"):
        sd = noise * np.sqrt(fits[:, FRACTION_VARIANCE]) * (water + fat)  # of the lesser one
    sd = np.where(failed | ~np.isfinite(sd), 0, sd)
    parts = [size - _small_part(sd**2, size) for size in (water, fat)]
    if signed:
        relative = np.where(failed, 0, fits[:, RELATIVE_PHASE])
        expected = (4 * noise / unit * (water + fat)) ** 2
        along, agreed = _along_common_phase(mask, water, fat, relative, sd, expected)
        for n, size in enumerate((water, fat)):
            here = agreed & (size < _SURELY_THERE * sd) & (size == np.minimum(water, fat))
            parts[n] = np.where(here, size * along, parts[n])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(failed, np.nan, parts[1] / (parts[0] + parts[1]))


def _small_part(variance, size):
    """The bias of magnitudes, at most a third of them."""
    return np.minimum(variance / np.maximum(2 * size, 1e-30), size / 3)


def _along_common_phase(mask, water, fat, relative, sd, expected):
    """The cosine of each voxel's phase of fat to that around it, and where these agree on one.

    Args:
        mask: the voxels fitted.
        water, fat: magnitudes of these.
        relative: phase of fat before water, in rad.
        sd: of the lesser of the two.
        expected: what noise alone would leave of (water x fat) squared.
    """

    around = partial(sum_around, mask)

    product = water * fat * np.exp(1j * relative)
    # What noise alone would add up to stands for a phase of 0.
    lead = np.angle(around(product.real) + np.sqrt(around(expected)) + 1j * around(product.imag))
    lesser = np.minimum(water, fat)
    faint = lesser < 2 * _SURELY_THERE * sd  # in others a phase that varies would outdo the noise
    across = around(np.where(faint, (lesser * np.sin(relative - lead)) ** 2, 0))
    agreed = across < _AGREED * around(np.where(faint, sd**2, 0))
    return np.cos(relative - lead), agreed


def _imprecise(mask, sd, hidden) -> np.ndarray:
    """Voxels in whose neighborhood the fraction's SD is more than can be borne, bool."""
    imprecise = over_together(mask, sd, USELESS_PDFF) | ~(sd < _MOST_PDFF_SD)
    if hidden.any():
        imprecise |= hidden & over_together(mask, sd, _VAGUE_PDFF)
    return imprecise


def _sds(fits, noise, failed) -> np.ndarray:
    """SDs of the fraction and of R2* (1/s) of voxels, shape (2, voxels); NaN without a fit."""
    sds = np.empty((2, len(fits)), np.float32)
    by_parts(
        lambda part: _write_sds(fits[part], noise[part], failed[part], *sds[:, part]), len(fits)
    )
    return sds


@njit(cache=True, nogil=True)
def _write_sds(fits, noise, failed, of_fraction, of_r2star):
    for v in range(len(fits)):
        of_fraction[v] = of_r2star[v] = np.nan
        if not failed[v]:
            of_fraction[v] = noise[v] * np.sqrt(fits[v, FRACTION_VARIANCE])
            of_r2star[v] = noise[v] * np.sqrt(fits[v, R2STAR_VARIANCE])


def _share_r2star(mask, fits, noise, failed, hidden, freedom, model, signals, refit) -> np.ndarray:
    """Fit voxels again of neighborhoods where noise hides R2*, expecting the one that they share.

    Args:
        mask: the voxels fitted.
        fits: of these, changed in place.
        noise: SD of each.
        failed: have no fit; changed in place.
        hidden: the voxels to fit again, some, bool.
        freedom: numbers per voxel that no unknown takes.
        model: echo times and fat.
        signals: echoes of voxels, by their place in `fits`.
        refit: fits voxels, alike, at an R2* or with a prior of (R2*, weight).

    Returns:
        The noise SD of each voxel, by what these leave now.
    """
    chosen = np.flatnonzero(hidden)
    shared, unsure = shared_r2star(mask, chosen, noise, model, signals, refit)

    def fit_again(start: int) -> None:
        here = slice(start, start + _CHUNK)
        part = chosen[here]
        prior = shared[here], noise[part] ** 2 / (_R2STAR_SPREAD**2 + unsure[here] ** 2)
        fits[part] = refit(part, None, prior)
        failed[part] = _failed(fits[part])

    run_parallel(fit_again, range(0, len(chosen), _CHUNK))
    if freedom <= 0:
        return noise
    # Of these R2* is hardly an unknown any more.
    left = fits[:, RESIDUAL] * np.where(hidden, np.float32(freedom / (freedom + 1)), 1)
    return _pooled_noise(mask, left, failed, freedom)


def _borrow_r2star(mask, fits, noise, failed, hidden, refit) -> np.ndarray:
    """Fit voxels again whose echoes do not tell R2*, expecting that of the voxels around them.

    An R2* far from any tissue's, or none, spoils the PDFF with it. Elsewhere no prior is used, so
    that averages stay unbiased.

    Args:
        mask: the voxels fitted.
        fits: of these, changed in place.
        noise: SD of each.
        failed: have no fit; changed in place.
        refit: fits voxels, by their place in `fits`, with a prior of (mean R2*, weight).

    Returns:
        The voxels fitted again, bool.
    """
    variance, around = np.empty(len(fits)), np.empty(len(fits), np.float32)
    weights, again = np.empty((2, len(fits)), np.float32), np.empty(len(fits), bool)
    by_parts(
        lambda part: _weigh_r2star(
            fits[part], noise[part], failed[part], variance[part], *weights[:, part]
        ),
        len(fits),
    )
    sums = sum_around(mask, weights)
    by_parts(
        lambda part: _hides_r2star(variance[part], *sums[:, part], around[part], again[part]),
        len(fits),
    )
    again &= ~hidden
    chosen = np.flatnonzero(again)

    def fit_again(start: int) -> None:
        part = chosen[start : start + _CHUNK]
        prior = around[part], (noise[part] / _R2STAR_SPREAD) ** 2
        fits[part] = refit(part, None, prior)
        failed[part] = _failed(fits[part])

    run_parallel(fit_again, range(0, len(chosen), _CHUNK))
    return again


@njit(cache=True, nogil=True)
def _weigh_r2star(fits, noise, failed, variance, weights, weighted):
    """The variance of each voxel's R2*, its weight in a mean and its weighted R2*."""
    for v in range(len(fits)):
        variance[v] = float(noise[v]) ** 2 * fits[v, R2STAR_VARIANCE]
        usable = not failed[v] and np.isfinite(variance[v])
        if not usable:
            variance[v] = np.inf
        weights[v] = 1 / (variance[v] + _R2STAR_SPREAD**2)
        weighted[v] = weights[v] * fits[v, R2STAR] if usable else 0


@njit(cache=True, nogil=True)
def _hides_r2star(variance, weights, weighted, around, hidden):
    """The mean R2* around each voxel, from sums of weights, and where noise hides the voxel's."""
    for v in range(len(variance)):
        around[v] = weighted[v] / max(weights[v], np.float32(1e-30))
        # A fast decay has a wider SD and yet is known; by its own R2* the slow would be chosen.
        unknown = max(_R2STAR_UNKNOWN_SD, around[v] / 2)
        hidden[v] = variance[v] >= unknown**2 and weights[v] > 0


def _failed(fits) -> np.ndarray:
    total = fits[:, WATER] + fits[:, FAT]
    return (fits[:, CONVERGED] == 0) | ~(total > 0) | ~np.isfinite(fits[:, RESIDUAL])


def _pooled_noise(mask, residuals, failed, freedom) -> np.ndarray:
    """Noise SD per voxel of the mask from the residuals of its neighborhood.

    Pooling over 7 x 7 in plane and 3 slices leaves the SD an error of a few percent; residuals
    over 30 times the median (vessels, edges) do not spread to their neighbors.
    """
    freedom = max(freedom, 1)
    some = residuals[:: len(failed) // _MANY + 1]
    some = some[~failed[:: len(failed) // _MANY + 1]]
    usual = float(np.median(some)) if some.size else 1.0
    energy, noise = np.empty((2, len(failed)), np.float32), np.empty(len(failed), np.float32)
    by_parts(
        lambda part: _limited(
            np.ascontiguousarray(residuals[part]), failed[part], 30 * usual, *energy[:, part]
        ),
        len(failed),
    )
    pooled = sum_around(mask, energy)
    by_parts(lambda part: _mean_noise(*pooled[:, part], usual, freedom, noise[part]), len(failed))
    return noise


@njit(cache=True, nogil=True)
def _limited(residuals, failed, most, energy, fitted):
    """Residuals of fitted voxels up to a limit, and 1 for each; else 0."""
    for v in range(len(residuals)):
        energy[v] = 0 if failed[v] else min(residuals[v], most)
        fitted[v] = not failed[v]


@njit(cache=True, nogil=True)
def _mean_noise(energy, fitted, usual, freedom, noise):
    """Noise SDs from sums of residuals and of voxels; the usual one where these are few."""
    for v in range(len(noise)):
        mean = energy[v] / fitted[v] if fitted[v] >= 5 else usual
        noise[v] = np.sqrt(max(mean, 1e-30) / freedom)
