"""A marrow spectrum: fat fraction, T2, composition of fat, each with interval or refusal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress, tell
from PDFFMapperLib.spectroscopy.files import read_spectra
from PDFFMapperLib.spectroscopy.fit import (
    Fitted,
    best_choice,
    carried,
    fit,
    interval,
)
from PDFFMapperLib.spectroscopy.model import Choice, Quantity, SpectrumModel
from PDFFMapperLib.spectroscopy.poor_shim import (
    COUPLINGS_SD,
    Averaged,
    baseline_note,
    beside_baselines,
    with_baseline,
    with_larger_couplings,
    with_line_shape,
)
from PDFFMapperLib.spectroscopy.prepare import Prepared, halves, prepared
from PDFFMapperLib.spectroscopy.quality import (
    APART_PPM,
    COLD_APART_PPM,
    MOST_TIMES,
    Displacement,
    Echo,
    Peak,
    Quality,
    apart_ppm,
    displacement,
    echo_table,
    judged,
    peak_table,
    share_inside,
    stretched,
    times_of_noise,
)
from PDFFMapperLib.spectroscopy.quantities import quantities, quantity_of
from PDFFMapperLib.spectroscopy.recipe import HAMILTON
from PDFFMapperLib.spectroscopy.rows import NONE, NOT_FOR_T1, PRESS, ROWS, STEAM
from PDFFMapperLib.spectroscopy.spectrum import Series, Spectrum

CONSTRAINED, FREE, PRIOR = "constrained", "free", "prior"
PRIOR_NDB, PRIOR_NMIDB = (2.9, 0.3), (0.8, 0.25)
DETERMINED = 0.5
WIDEST_COMPOSITION_PPM, WIDEST_PPM = 80 / 127.7, 120 / 127.7
RATIO_WIDENED = 1.5
LEAST_SNR = 3.0
LEAST_SEPARABLE = 0.05
ALARMING_OVERLAP, LEAST_OVERLAP = 0.85, 0.20
# Of the first point off the top of the echo: what is said (scanners leave 0.1 to 0.3 ms), and what
# is too late for a fraction.
LATE_S, TOO_LATE_S = 4e-4, 2.5e-3
LATE_WEIGHT = 0.05  # of fits that are late, from which it is said that they count
APART_OFF_PPM, APART_SDS = 0.12, 2.0  # of water from methylene; what susceptibility does is less
STRETCHED, STRETCHED_SDS = 0.03, 2.0  # of all distances between lines; what is said
GAIN_OFF, GAIN_SDS = 0.03, 6.0
LONG_TR_MS, LONG_TM_MS = 5000.0, 50.0  # where T1 of water and fat no longer, or begin to, matter
SAME_TIME = 1.05  # ratio up to which two repetition, inversion or mixing times count as one
FEWEST_HALVED, HALVES_SDS = 4, 3.0  # averages whose halves are compared, and how far they may lie
LEAST_IN_BONE = 0.98  # of a voxel; masks end between voxels

METHOD = (
    f"Water and ten fat peaks of a triglyceride ({HAMILTON}) were fitted "
    "over -1 to 8 ppm, with Voigt lines (asymmetric, or turned in phase by eddy currents, where "
    "the data ask for it and noise alone is left) and J modulation, by maximum likelihood; fits "
    "with smooth baselines count beside one without by what the data say for each (Bayesian "
    "information criterion). Intervals are of the profile likelihood, and hold how fits differ "
    "further than by noise."
)

SKEWED = "Lines are asymmetric, alike in fat and water: the field within the voxel is skewed."
TURNED = "All lines turn in phase as eddy currents turn them, which was fitted{}."
LONGER = (
    "Distances between fat's lines are {:.1f} % {} than published ones, which was fitted; in "
    "marrow they are up to 3 % longer, more by a wrong dwell time or frequency."
)
OR_MEASURED = " (--water-reference would take it from water alone)"
COUPLINGS = (
    "Of the coupling constants those of methyl (6.9 Hz) and of olefinic to allylic protons (7 Hz) "
    "stand in a published simulation (SimnTG); 7 Hz for the rest of the chain, 10.9 Hz of olefins "
    "to each other and -11.9, 5.9 and 4.3 Hz of glycerol are not confirmed by a source: that "
    "simulation has 5.9 Hz within CH2 of glycerol and 11.4 to 11.9 Hz to its CH, the other way "
    f"round. All are taken as known to {100 * COUPLINGS_SD:g} % (SD), which intervals hold."
)
PRESS_FACTOR = (
    "J evolution of PRESS, to the echo and from it on, is that of density matrices, with two "
    "echoes of equal length where the first echo time is not known; on real spectra of 30 ms at 3 "
    "T a first echo of 8 ms would read up to 2 points of fat less; state the first echo time where "
    "you know it (--te1)."
)
FIRST_ECHO = (
    "J evolution of PRESS, to the echo and from it on, is that of density matrices, with the first "
    "echo time as stated: {} ms."
)
STEAM_FACTOR = (
    "The mixing time of STEAM is not known, so its zero-quantum coherence was taken as the mean "
    "over mixing times; state it (--tm)."
)
ZERO_QUANTUM = (
    "J evolution of STEAM, to the echo and from it on, is that of density matrices, with the "
    "zero-quantum coherence of its mixing time."
)


@dataclass(frozen=True)
class Value:
    """One number: key of ROWS, which answer it is, value, SD and 95 % interval in its unit.

    `alike_sd` is the part of the SD that is alike in spectra acquired alike (couplings).
    """

    key: str
    answer: str
    value: float
    sd: float
    ci95: tuple[float, float]
    alike_sd: float = 0.0


@dataclass
class Analysis:
    """Everything a spectrum says.

    Attributes:
        values: numbers, the constrained answer of each first.
        refused: keys of ROWS and why there is no number.
        peaks: area, place and width of each.
        echoes: of each spectrum, what it shows uncorrected.
        quality: of the spectrum.
        fitted: the constrained fit, for pictures; None in a grid but for its first voxel.
        correlation: of UI with the fat fraction.
        determined: share of the composition that the data tell beside the prior: of ndb and nmidb.
        displacement: of fat against water, where bandwidths were stated.
        cautions, notes: sentences to read with the numbers; how they came about.
        voxel_ras: 4x4 matrix from the unit cube to RAS mm, None where unknown.
        provenance: how it was made, see Recipe.
    """

    values: list[Value]
    refused: dict[str, str]
    peaks: list[Peak]
    echoes: list[Echo]
    quality: Quality
    fitted: Fitted | None
    correlation: float
    determined: tuple[float, float]
    displacement: Displacement | None
    cautions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    voxel_ras: np.ndarray | None = None
    provenance: dict[str, object] = field(default_factory=dict)

    def get(self, key: str, answer: str = CONSTRAINED) -> Value | None:
        """A number, None where it was refused."""
        return next((v for v in self.values if (v.key, v.answer) == (key, answer)), None)


_COMPOSITION = (
    "ndb", "nmidb", "unsaturation", "olefinic_share", "olefinic_methylene", "fpufa", "fmufa",
    "fsfa", "chain_length",
)  # fmt: skip


def analyze(
    spectra: Sequence[Spectrum],
    settings: SimpleNamespace,
    progress: Progress | None = None,
) -> Analysis:
    """Fit the spectra of one voxel.

    Args:
        spectra: one for each echo time.
        settings: the options of the recipe (`recipe.MRS`, which calls this).
        progress: called with the fraction done before each fit; returning False cancels.

    Raises:
        ValueError: one sentence that says what is wrong or missing.
        InterruptedError: canceled.
    """
    ready = prepared(
        spectra, settings.sequence, settings.sense, settings.center_ppm,
        _reference(settings.water_reference),
    )  # fmt: skip
    series, cautions = ready.series, []
    choice, with_t2 = _choice(series, settings, cautions)
    choice = replace(choice, suppressed=ready.suppressed)
    tell(progress, 0.0, "Fitting spectra")
    averaged, of_lines = _with_lines(best_choice(series, choice), settings)
    averaged = with_larger_couplings(averaged)
    best = averaged.fits[0]
    tell(progress, 0.4, "Fitting spectra")
    _check_gains(best)
    quality = judged(best)
    shift = displacement(series, settings.bandwidths_hz, spectra[0].voxel_ras)
    refused = _refusals(series, best, quality, ready.suppressed, with_t2, shift)
    answers = {CONSTRAINED: averaged}
    for answer, of_one in ((FREE, _with_free_areas), (PRIOR, _with_prior)):
        answers[answer] = _of_all(of_one, averaged)
        tell(progress, 0.6, "Fitting spectra")
    free, prior = answers[FREE].fits[0], answers[PRIOR].fits[0]
    determined = tuple(
        1 - (prior.sd(quantities(prior.model)[key]) / sd) ** 2
        for key, (_, sd) in (("ndb", PRIOR_NDB), ("nmidb", PRIOR_NMIDB))
    )
    if min(determined) < DETERMINED and "ndb" not in refused:
        cautions.append(
            f"Of ndb the data tell {100 * max(determined[0], 0):.0f} % and of nmidb "
            f"{100 * max(determined[1], 0):.0f} % beside what is known of people; below "
            f"{100 * DETERMINED:g} % the composition is not determined."
        )
        for key in _COMPOSITION:
            refused.setdefault(key, "the data do not determine the composition of fat")
    if not settings.chain_length:
        refused.pop("chain_length", None)
    tell(progress, 0.8, "Fitting spectra")
    values = _values(answers, refused, quality)
    cautions += _cautions(best, series, shift, refused)
    if "signal_fat_fraction" not in refused:
        cautions += [*_left_out(averaged), *_hidden(averaged), *_perhaps_late(averaged)]
    cautions += _outside(spectra[0].voxel_ras, settings.bone)
    of_halves, apart = _halves(spectra, ready, best.model.choice)
    cautions += apart
    of_best = quantities(best.model)
    if best.model.choice.baseline_sds:
        fraction = "the fat fraction", of_best["fraction"], "points"
        of_lines.append(baseline_note(averaged, *fraction))
    notes = [METHOD, *_of_coupling(series), *of_lines, *of_halves, *ready.notes]
    return Analysis(
        values, refused, peak_table(best, free), echo_table(free), quality, best,
        _correlation(best, of_best["unsaturation"], of_best["fraction"]),
        determined, shift, cautions, notes,
        spectra[0].voxel_ras,
    )  # fmt: skip


def _reference(given: object) -> Spectrum | None:
    """The water reference, read where it is a file."""
    if given is None or isinstance(given, Spectrum):
        return given
    if isinstance(given, (str, PathLike)):
        return read_spectra([given])[0]
    raise ValueError(f"water_reference is a spectrum or its file, not {given!r:.80}.")


def _with_lines(best: Fitted, settings: SimpleNamespace) -> tuple[Averaged, list[str]]:
    """The fits with a line shape and baselines, where they are allowed, and what came of it."""
    said = [SKEWED] if best.model.choice.skew else []
    if best.model.choice.turned:
        said.append(TURNED.format(OR_MEASURED if settings.water_reference is None else ""))
    if best.model.choice.stretch:
        stretch = best.model.value(best.theta, "stretch")
        said.append(LONGER.format(100 * abs(stretch), "longer" if stretch > 0 else "shorter"))
    if settings.line_shape:
        best = with_line_shape(best)
        said.append(
            "The data ask for no line shape beside Voigt's."
            if best.model.choice.shape is None
            else "All lines share a shape that was deconvolved from the lipids; intervals are as "
            "wide as the residual without it asks."
        )
    if not settings.baseline:
        return beside_baselines(best), said
    return with_baseline(best), said


def _of_all(of_one: Callable[[Fitted, Fitted | None], Fitted], averaged: Averaged) -> Averaged:
    """The same done to every fit; each starts where the one before has come to."""

    found: list[Fitted] = []
    for one in averaged.fits:
        found.append(of_one(one, found[-1] if found else None))
    larger = averaged.larger and of_one(averaged.larger, found[0])
    return replace(averaged, fits=tuple(found), larger=larger)


def _left_out(averaged: Averaged) -> list[str]:
    """Where baselines move the fat fraction, and not by chance."""
    found = averaged.beside(quantity_of("fraction"))
    if found is None or abs(found.smooth - found.without) < 1.96 * max(found.sd, found.apart_sd):
        return []
    said = f"Fits with smooth baselines give a fat fraction of {found.smooth:.1f} %"
    if averaged.fits[0].model.choice.baseline_sds:
        return [f"{said} instead of {found.without:.1f} %, and were taken, as the data ask."]
    return [f"{said}; intervals were widened to hold what they say (--baseline gives it)."]


def _hidden(averaged: Averaged) -> list[str]:
    """Where intervals are wide for a baseline that a delay may hide."""
    beside = averaged.hidden
    if beside is None:
        return []
    return [
        "The first point lies off the top of the echo; with lines this wide a smooth baseline may "
        f"hide behind that. With one the fat fraction is {beside.smooth:.0f} +- "
        f"{beside.smooth_sd:.1f} % (SD), which intervals hold (--baseline gives it)."
    ]


def _perhaps_late(averaged: Averaged) -> list[str]:
    """Where fits of a signal that starts late count, and the likeliest is none of them."""
    late = [abs(one.model.value(one.theta, "delay")) for one in averaged.fits]
    counted = np.array(late) > LATE_S
    if counted[0] or averaged.weights @ counted < LATE_WEIGHT:
        return []
    return [
        f"The first point may lie {1e3 * late[int(np.argmax(counted))]:.1f} ms off the top of the "
        "echo: the data say little less for that. Were points cut off or put in front?"
    ]


def _of_coupling(series: Series) -> list[str]:
    """What the J factors of a sequence rest on."""
    tm_known, te1_known = (bool(np.isfinite(x).all()) for x in (series.tm_ms, series.te1_ms))
    first = FIRST_ECHO.format(", ".join(f"{te:g}" for te in np.unique(series.te1_ms)))
    said = {
        PRESS: [COUPLINGS, first if te1_known else PRESS_FACTOR],
        STEAM: [COUPLINGS, ZERO_QUANTUM if tm_known else STEAM_FACTOR],
    }
    return said.get(series.sequence, [])


def _choice(series: Series, settings: SimpleNamespace, cautions: list[str]) -> tuple[Choice, bool]:
    """The model's choices, and whether the fat fraction is one of protons."""
    known = {}
    _check_stated_times(settings)
    echo_times = np.unique(series.te_ms)
    t2 = len(echo_times) > 1 and np.ptp(echo_times) >= 10
    if not t2:
        for tissue in ("water", "fat"):
            if (stated := getattr(settings, f"t2_{tissue}_ms")) is not None:
                known[f"{tissue}_r2"] = 1000 / stated
    for tissue in ("water", "fat"):
        if (stated := getattr(settings, f"t1_{tissue}_ms")) is not None:
            if not np.all(np.isfinite(series.tr_ms)):
                raise ValueError(
                    "T1 was stated, but the repetition time is not known; state it (--tr, ms)."
                )
            known[f"{tissue}_r1"] = 1000 / stated
    stated = any(name.endswith("_r1") for name in known)
    t1 = _tells_t1(series, stated) and not stated
    most = 1.0 if settings.three_double_bonds else 0.5
    with_t2 = t2 or {"water_r2", "fat_r2"} <= set(known)
    if not t1 and not stated:
        cautions += _saturation(series)
    lengths = settings.chain_length
    return Choice(t2=t2, t1=t1, chain_length=lengths, polyunsaturated=most, known=known), with_t2


def _check_stated_times(settings: SimpleNamespace) -> None:
    """A fraction that is corrected in water or in fat alone is none of protons nor of signals."""
    for time in ("t2", "t1"):
        given = [x for x in ("water", "fat") if getattr(settings, f"{time}_{x}_ms") is not None]
        if len(given) == 1:
            other = "fat" if given == ["water"] else "water"
            raise ValueError(
                f"{time.upper()} of {given[0]} was stated and that of {other} was not; state both "
                f"or neither (--{time}-water, --{time}-fat, ms)."
            )


def _tells_t1(series: Series, stated: bool) -> bool:
    """Whether three repetition, inversion or mixing times tell T1.

    Raises:
        ValueError: they do, but for the repetition time; or two differ and T1 is not stated.
    """
    levels = _levels(series)
    tells = max(map(len, levels.values())) > 2
    if tells and not np.all(np.isfinite(series.tr_ms)):
        raise ValueError(
            "Repetition, inversion or mixing times differ, but T1 follows from them only where "
            "the repetition time of all spectra is known; state it (--tr, ms)."
        )
    for name, two in levels.items():
        if len(two) == 2 and not (tells or stated):
            times = (
                f"{two[0]:g} ms and none" if np.isinf(two[1]) else f"{two[0]:g} and {two[1]:g} ms"
            )
            raise ValueError(
                f"Spectra of two {name} times ({times}) were given, whose T1 weights differ; "
                "T1 follows from three or more. Give those of one, or state T1 (--t1-water, "
                "--t1-fat, ms)."
            )
    return tells


def _levels(series: Series) -> dict[str, list[float]]:
    """The repetition, inversion and mixing times that differ, ms; no inversion is an infinite one.

    Repetition or mixing times at all of which T1 matters little are none.
    """
    tr_ms, ti_ms, tm_ms = (
        np.unique(x[np.isfinite(x)]) for x in (series.tr_ms, series.ti_ms, series.tm_ms)
    )
    if ti_ms.size and np.any(np.isnan(series.ti_ms)):
        ti_ms = np.append(ti_ms, np.inf)
    if np.all(tr_ms >= LONG_TR_MS):
        tr_ms = tr_ms[:0]
    if np.all(tm_ms <= LONG_TM_MS):
        tm_ms = tm_ms[:0]
    levels: dict[str, list[float]] = {"repetition": [], "inversion": [], "mixing": []}
    for found, times in zip(levels.values(), (tr_ms, ti_ms, tm_ms), strict=True):
        for time in map(float, times):
            if not found or time > SAME_TIME * found[-1]:
                found.append(time)
    return levels


def _saturation(series: Series) -> list[str]:
    """What T1 may do where it is neither fitted nor stated."""
    shortest = np.nanmin(series.tr_ms) if np.any(np.isfinite(series.tr_ms)) else np.nan
    if not shortest >= LONG_TR_MS:
        said = f"the repetition time is {'unknown' if np.isnan(shortest) else f'{shortest:g} ms'}"
    elif np.any(np.isfinite(series.ti_ms)):
        said = "there is an inversion"
    elif np.any(series.tm_ms > LONG_TM_MS):
        said = f"the mixing time is {np.nanmax(series.tm_ms):g} ms"
    else:
        return []
    return [f"{NOT_FOR_T1}{said}, and water of marrow, slower than fat, may read low."]


def _check_gains(fitted: Fitted) -> None:
    """Refuse echo times that were scaled differently: one is larger than the others predict."""
    model = fitted.model
    if len(model.data) < 4:
        return
    predicted, _ = model.predict(fitted.theta)
    power = np.sum(np.abs(predicted) ** 2, axis=1)
    scale = np.sum((predicted.conj() * model.data).real, axis=1) / power
    sd = fitted.spread / np.sqrt(power)
    worst = int(np.argmax(np.abs(scale - 1)))
    if abs(scale[worst] - 1) > max(GAIN_OFF, GAIN_SDS * sd[worst]):
        raise ValueError(
            f"The spectrum at TE {model.series.te_ms[worst]:g} ms is {scale[worst]:.2f} times what "
            "the others predict; they were scaled differently (receiver gain), so no T2 follows "
            "from them; give them with one gain, or leave it out."
        )


def _refusals(
    series: Series,
    fitted: Fitted,
    quality: Quality,
    suppressed: bool,
    with_t2: bool,
    shift: Displacement | None,
) -> dict[str, str]:
    """What is not given, and why."""
    refused: dict[str, str] = {}
    fractions = ("pdff", "signal_fat_fraction")
    of_fat = [*fractions, "t2_fat", "t1_fat", *_COMPOSITION]
    model, theta = fitted.model, fitted.theta
    sd = np.sqrt(np.maximum(np.diag(fitted.covariance), 0))
    late = abs(model.value(theta, "delay")) >= TOO_LATE_S
    found = {x: _seen(fitted, x) for x in ("fat", "water")}
    widths = {"fat": quality.fwhm_fat_hz, "water": quality.fwhm_water_hz}  # of what is not, nothing
    widest = max((widths[x] for x in widths if found[x]), default=0.0) / series.frequency_mhz
    too_wide = f"lines of {widest * series.frequency_mhz:.0f} Hz are too wide"
    if widest > (WIDEST_COMPOSITION_PPM if late else WIDEST_PPM):  # which tell no delay
        refused |= dict.fromkeys(fractions, too_wide)
    for tissue, keys in (("fat", of_fat), ("water", [*fractions, "t2_water", "t1_water"])):
        amount, its_sd = theta[model.at[tissue]], sd[model.at[tissue]]
        if not found[tissue]:
            other = "water" if tissue == "fat" else "fat"
            most = (amount + LEAST_SNR * its_sd) / (
                amount + LEAST_SNR * its_sd + model.value(theta, other)
            )
            for key in keys:
                refused.setdefault(
                    key,
                    f"no peak of {tissue} above {LEAST_SNR:g} SD; it is at most "
                    f"{100 * most:.1f} % of the signal",
                )
    if suppressed:
        for key in (*fractions, "t2_water", "t1_water"):
            refused.setdefault(key, "water was suppressed")
    if widest > WIDEST_COMPOSITION_PPM:
        for key in _COMPOSITION:
            refused.setdefault(key, too_wide)
    if late:
        for key in [*fractions, *_COMPOSITION]:
            refused.setdefault(
                key,
                f"the first point lies {1e3 * TOO_LATE_S:g} ms or further off the top of the echo; "
                "points are missing, or were put in front",
            )
    if shift is not None and shift.overlap < LEAST_OVERLAP:
        for key in fractions:
            refused.setdefault(
                key, f"the boxes of fat and water share {100 * shift.overlap:.0f} % of their volume"
            )
    if not with_t2:
        refused.setdefault(
            "pdff",
            "one echo time and no T2 stated (--t2-water, --t2-fat); T2 of water in healthy marrow "
            "is 11 to 43 ms (Ruschke 2021, doi 10.1002/nbm.4439)",
        )
    return refused


def _seen(fitted: Fitted, tissue: str) -> bool:
    """Whether water or fat stands above LEAST_SNR SD where the signal starts.

    At the top of the echo a late signal tells less of it: that is for the interval to say.
    """
    model, theta = fitted.model, fitted.theta
    names = (tissue, f"{tissue}_lorentz", f"{tissue}_gauss", "delay")
    amount, rate, curve, late = (model.value(theta, name) for name in names)
    slopes = (1.0, -amount * late, -amount * late**2 / 2, -amount * (rate + curve * late))
    slope = np.zeros(len(theta))
    for name, by in zip(names, slopes, strict=True):
        if name in model.at:
            slope[model.at[name]] = by
    return bool(amount >= LEAST_SNR * np.sqrt(max(slope @ fitted.covariance @ slope, 0.0)))


def _with_free_areas(best: Fitted, last: Fitted | None) -> Fitted:
    """The fit with areas of fat that are not those of a triglyceride."""
    series, choice = best.model.series, replace(best.model.choice, free=True)
    free = fit(series, choice, last and carried(last, SpectrumModel(series, choice)))
    if best.model.choice.shape is not None:
        free.ratio = max(free.ratio, best.ratio)
    return free


def _with_prior(best: Fitted, last: Fitted | None) -> Fitted:
    """The fit with what is known of people's fat."""

    def soft(model: SpectrumModel) -> list[tuple[Quantity, float, float]]:
        of = quantities(model)
        return [
            (of[key], mean, best.spread / sd)
            for key, (mean, sd) in (("ndb", PRIOR_NDB), ("nmidb", PRIOR_NMIDB))
        ]

    series, choice = best.model.series, best.model.choice
    start = carried(last or best, SpectrumModel(series, choice))
    found = fit(series, choice, start, prior=soft)
    found.ratio = best.ratio
    return found


def _values(answers: dict[str, Averaged], refused: dict[str, str], quality: Quality) -> list[Value]:
    """Every number that is not refused."""
    values = []
    fraction = "signal_fat_fraction" if "pdff" in refused else "pdff"
    for answer, averaged in answers.items():
        fitted = averaged.fits[0]
        for key, quantity in quantities(fitted.model).items():
            named = fraction if key == "fraction" else key
            if named in refused:
                continue
            if answer == FREE and key == "unsaturation" and quality.separability < LEAST_SEPARABLE:
                refused["unsaturation (free)"] = "the olefinic peak does not stand apart from water"
                continue
            if answer != CONSTRAINED and key not in ("fraction", "unsaturation", "ndb", "nmidb"):
                continue
            value, sd = quantity(fitted.theta)[0], fitted.sd(quantity)
            ends = (value - 1.96 * sd, value + 1.96 * sd)
            if answer == CONSTRAINED:
                ends = interval(fitted, quantity, sd)
            if sd > 0:
                mean, spread = averaged.value(quantity_of(key))
                ends = tuple(mean + (end - value) * spread / sd for end in ends)
                value, sd = mean, spread
            most = 100.0 if ROWS[named].unit == "%" else np.inf
            if ends[1] < 0 or ends[0] > most:
                refused[named] = f"{value:.0f} % is none of chains with two double bonds at most"
                continue
            value, *ends = (float(one) for one in np.clip([value, *ends], 0.0, most))
            alike_sd = averaged.of_couplings(quantity_of(key)) if sd > 0 else 0.0
            values.append(Value(named, answer, value, sd, tuple(ends), alike_sd))
    return values


def _cautions(
    best: Fitted, series: Series, shift: Displacement | None, refused: Collection[str]
) -> list[str]:
    said = []
    if best.ratio > RATIO_WIDENED:
        why = "line shape, eddy currents or motion"
        if best.ratio > MOST_TIMES:
            why = "a filter took the noise away, as apodization does; give the signal without"
        said.append(
            f"The fit leaves {times_of_noise(best.ratio)} times the noise ({why}); intervals were "
            "widened by that."
        )
    if series.sequence == NONE:
        said.append("Not corrected for J coupling, which lowers ndb at the echo times of PRESS.")
    if not {"signal_fat_fraction", "t2_water"} & set(refused):
        said += _of_times(best)
    model, theta = best.model, best.theta
    for name, words in (("share", "nmidb"), ("ndb", "ndb")):
        value, place = theta[model.at[name]], model.at[name]
        if words not in refused and not model.low[place] < value < model.high[place]:
            said.append(f"{words} lies at the end of what is possible for triglycerides.")
    if shift is not None and LEAST_OVERLAP <= shift.overlap < ALARMING_OVERLAP:
        said.append(
            f"Fat and water come from boxes that share {100 * shift.overlap:.0f} % of their volume."
        )
    return said


def _of_times(best: Fitted) -> list[str]:
    """What shows that points are missing, or that a time or frequency is stated wrongly."""
    said = []
    late = best.model.value(best.theta, "delay")
    if abs(late) > LATE_S:
        side, done = ("after", "cut off") if late > 0 else ("before", "put in front")
        said.append(
            f"The first point lies {1e3 * abs(late):.1f} ms {side} the top of the echo, as if "
            f"points were {done}; how the signal starts was taken from the model. Give it from "
            "the top of the echo on."
        )
    apart, sd = apart_ppm(best)
    stretch, stretch_sd = stretched(best)
    told = abs(stretch) > max(STRETCHED, STRETCHED_SDS * stretch_sd)
    of_cold, _ = stretched(best, min(max(apart, APART_PPM), COLD_APART_PPM))  # if water is
    if told and abs(of_cold) > max(STRETCHED, STRETCHED_SDS * stretch_sd):
        said.append(
            f"Fat's lines and water lie {100 * abs(stretch):.1f} % "
            f"{'further apart' if stretch > 0 else 'nearer together'} than they should; check "
            "the dwell time and the frequency: if one is wrong, so are widths and shifts, and "
            "beyond 10 % the fat fraction."
        )
    elif told or abs(apart - APART_PPM) > APART_OFF_PPM + APART_SDS * sd:
        said.append(
            f"Water lies {apart:.2f} ppm from methylene, where {APART_PPM:.2f} ppm is expected at "
            "37 degrees C (3.5 at room temperature); if the temperature is not why, check the "
            "dwell time and the frequency."
        )
    return said


def _halves(
    spectra: Sequence[Spectrum], ready: Prepared, choice: Choice
) -> tuple[list[str], list[str]]:
    """What the first and the second half of the averages tell, where files keep them; a caution."""
    fewest = min(len(one.fids) for one in spectra)
    if fewest < FEWEST_HALVED:
        return [], []
    middle = fewest // 2
    if not all(np.any(half) for one in spectra for half in (one.fids[:middle], one.fids[middle:])):
        return [], ["Half of the averages hold no signal; was the scan stopped?"]
    found = []
    for half in halves(spectra, ready):
        fitted = fit(half, choice)  # their phases may be far from that of the whole
        of = quantities(fitted.model)["fraction"]
        found.append((of(fitted.theta)[0], fitted.sd(of)))
    (one, its_sd), (other, other_sd) = found
    said = f"The halves of the averages give fat fractions of {one:.1f} and {other:.1f} %"
    if abs(one - other) <= HALVES_SDS * np.hypot(its_sd, other_sd):
        return [f"{said}."], []
    return [], [f"{said}, further apart than noise explains: something moved or drifted."]


def _outside(voxel_ras: np.ndarray | None, bone: Volume | None) -> list[str]:
    """Whether the voxel leaves the bone that was given."""
    if bone is None:
        return []
    if voxel_ras is None:
        return [
            "The files do not tell where the voxel lies, so nothing says whether it is in bone."
        ]
    share = share_inside(voxel_ras, bone)
    if share >= LEAST_IN_BONE:
        return []
    return [f"{100 * (1 - share):.0f} % of the voxel lies outside the bone that was given."]


def _correlation(fitted: Fitted, one: Quantity, other: Quantity) -> float:
    a, b = one(fitted.theta)[1], other(fitted.theta)[1]
    c = fitted.covariance
    return float((a @ c @ b) / np.sqrt(max((a @ c @ a) * (b @ c @ b), 1e-300)))
