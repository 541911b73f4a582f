"""Maps of water and fat: what the recipes compute. NaN where not to be trusted, reasons beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.kinds import find_kind, map_kind
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.maps.progress import Progress, share
from PDFFMapperLib.maps.recipe import check_one_grid
from PDFFMapperLib.water_fat.echo_train import EchoTrain, echo_train
from PDFFMapperLib.water_fat.exchanged import fat_under_skin, find_exchanged
from PDFFMapperLib.water_fat.field_map import ChemicalShiftModel
from PDFFMapperLib.water_fat.magnitude import magnitude_water_fat
from PDFFMapperLib.water_fat.magnitude_rivals import checked_against_rivals
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.neighborhood import over_together, sum_around
from PDFFMapperLib.water_fat.products import (
    FatFraction,
    checked_images,
    fat_fraction_of_images,
    two_point_fat_fraction,
)
from PDFFMapperLib.water_fat.recipe import SPECTRA
from PDFFMapperLib.water_fat.separation import (
    SWAP_MARGIN,
    USELESS_PDFF,
    Doubt,
    WaterFatResult,
    separate_water_fat,
)
from PDFFMapperLib.water_fat.signal_mask import background_noise, signal_mask
from PDFFMapperLib.water_fat.spectra import FatSpectrum, fat_spectrum, spectrum_from_peaks
from PDFFMapperLib.water_fat.spectrum_choice import spectrum_error
from PDFFMapperLib.water_fat.t1_bias import t1_corrected_fat_fraction
from PDFFMapperLib.water_fat.two_echoes import (
    TwoEchoes,
    change_by_r2star,
    separate_two_echoes,
)
from PDFFMapperLib.water_fat.two_flip_angles import two_flip_angles
from PDFFMapperLib.water_fat.voxel_fit import R2STAR_RANGE
from PDFFMapperLib.water_fat.voxel_signals import VoxelSignals

# field of the result: kind of map
_MAPS = {
    "pdff_percent": "PDFF",
    "magnitude_fraction_percent": "FF_magnitude",
    "r2star_per_s": "R2star",
    "r2star_water_per_s": "R2star_water",
    "r2star_fat_per_s": "R2star_fat",
    "t2star_ms": "T2star",
    "water": "water",
    "fat": "fat",
    "off_resonance_hz": "field",
    "residual_percent": "residual_percent",
    "pdff_sd": "PDFF_SD",
    "r2star_sd": "R2star_SD",
}
# The others show where and why the fit went wrong, and stay whole for that.
_TRUSTED_ONLY = ("PDFF", "FF_magnitude", "R2star", "R2star_water", "R2star_fat", "T2star")
_MOST_UNLIKE = 0.25  # share of the voxels that an earlier field may not explain
_BY_CHANCE = 0.002  # the same, that noise or an edge may leave over
_MOST_AT_RISK = 0.5  # share of the voxels; beyond, what is left is not to be trusted either
_SURELY_UNDER_SKIN = 0.3  # share of fat there less that deeper, by which precession is told
_SLICES_OF_SKIN = 16
_FEW_ECHOES = 4  # whose sense a phase error may turn
_RISING_PER_S = -10.0  # median R2* where fat is little; pure water leaves 0
_FATTY_RISING_PER_S = -40.0  # elsewhere; fat of another spectrum or temperature leaves down to -30
_LITTLE_FAT = 15.0  # percent
_JUDGED = 0.05  # share of the voxels with little fat that R2* is judged by
_SOME_FAT, _FEW_FOR_FAT = 10.0, 500  # percent, and voxels under which nothing is said of them
_LONG_S = 0.04  # echo time; of water-fat imaging the longest is shorter
_LEAST_TOLD = 0.05  # share of the voxels, the R2* of fewer was chosen by noise
_CHOSEN_SDS = 2.0  # times the share not told, under 0; noise takes simulated muscle 1.6 down
_ABOUT_EQUAL = 10.0  # points from 50 % within which exchanging water and fat changes little
_MOST_BEYOND = 5.0  # points below 0 or over 100 % to which errors, averaged, may take a fraction
_REASONS = {0: "confident"} | {
    int(doubt): doubt.name.lower().replace("_", " ").replace("r2star", "R2*") for doubt in Doubt
}
_REASONS[int(Doubt.CANCELED)] = "signals cancel"  # "canceled" would be the user's doing


def of_complex_echoes(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None
) -> list[ParametricMap]:
    """Maps of a multi-echo series, from its magnitudes where it has no phase.

    Raises:
        ValueError: echo times or field strength are missing, or as the separation.
    """
    train = _train(images, settings)
    if not train.is_complex:
        if settings.r2star_per_s is not None or settings.r2star_model != "single":
            raise ValueError(
                "A known R2* and other R2* models need complex echoes; magnitudes are fitted with "
                "one R2*."
            )
        return _of_magnitudes(images, train, settings, progress)
    like = _like(train)
    data = multi_echo(
        np.moveaxis(train.signal, -1, 0),
        train.echo_times_s,
        train.field_strength_t,
        like.spacing[::-1].tolist(),
    )
    data.readout = images[0].attributes.get("ReadoutMode")
    result = separate_water_fat(
        data,
        _spectrum(settings),
        _mask(settings, like),
        precession=settings.precession,
        common_phase=None if settings.common_phase else False,
        readout=settings.readout,
        r2star_per_s=settings.r2star_per_s,
        r2star_model=settings.r2star_model,
        progress=progress,
    )
    if settings.precession == "auto" and len(data.echoes) <= _FEW_ECHOES:
        _check_skin(result, data.voxel_size_mm)
    signals = VoxelSignals(data.echoes, error=result.echo_error)
    result.facts["notes"] += checked_against_rivals(
        signals, result.mask, data.echo_times_s, data.field_strength_t, _spectrum(settings)
    )
    return _separated(result, like, train, settings, images[0].attributes)


def _check_skin(result: WaterFatResult, voxel_size_mm: Sequence[float]) -> None:
    """Refuse a precession sense that puts water under the skin and fat deeper, as no body has it.

    A small phase error of few echoes may look like the other sense, in single voxels as in one
    field. A few slices tell. (Many echoes are sure, and a specimen in water is no error.)
    """
    few = slice(None, None, max(1, len(result.mask) // _SLICES_OF_SKIN))
    pair = np.nan_to_num(np.abs(np.stack([result.water[few], result.fat[few]])))
    if fat_under_skin(*pair, result.confident[few], voxel_size_mm) < -_SURELY_UNDER_SKIN:
        found, other = "'as given'", "conjugated"
        if result.facts["conjugated"]:
            found, other = other, found
        raise ValueError(
            f"By the precession sense found ({found}) water lies under the skin and fat deeper: "
            "echoes off in phase, wrong echo times or another field strength may have exchanged "
            f"them. Check these, state the sense (--precession {other}, or {found} if that is "
            "right), and look at the water image."
        )


def of_magnitude_echoes(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None
) -> list[ParametricMap]:
    """Maps of the magnitudes of a multi-echo series, its phase left unused.

    Raises:
        ValueError: as for `of_complex_echoes`.
    """
    return _of_magnitudes(images, _train(images, settings), settings, progress)


def of_scanner_images(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None
) -> list[ParametricMap]:
    """The fat fraction of the scanner's own water and fat images, exchanged regions put right.

    Raises:
        ValueError: a value is negative or complex, or the images seem to be exchanged throughout.
    """
    water, fat = images
    sizes = None if settings.exchanged == "as given" else water.spacing[::-1].tolist()
    mask, repair = _mask(settings, water), settings.exchanged == "repair"
    result = fat_fraction_of_images(water.array, fat.array, mask, sizes, repair)
    return _fractions(result, water, {}, settings)


def of_in_and_opposed_phase(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None
) -> list[ParametricMap]:
    """Both readings of the fat fraction of in- and opposed-phase magnitudes.

    A second in-phase echo gives R2* of each voxel, and the first is brought to the opposed echo's
    time with it (Bydder 2008, doi 10.1016/j.mri.2007.08.012). Echo times are checked against the
    field strength where both are known.

    Raises:
        ValueError: echo times are missing or are not in and opposed phase.
    """
    times_s = settings.echo_times_s
    if times_s is None:
        times_s = [float(one.attributes.get("EchoTime", np.nan)) / 1000 for one in images]
    elif len(times_s) != len(images):
        raise ValueError(
            f"{len(images)} echo times are expected, in phase and opposed phase in turn; "
            f"{len(times_s)} were given."
        )
    field = settings.field_strength_t or images[0].attributes.get("MagneticFieldStrength")
    facts, checked, mask = {}, None, _mask(settings, images[0])
    if np.isfinite(times_s[:2]).all() and (field or settings.echo_times_s is not None):
        checked = tuple(times_s[:2])
        facts["echo_times_s"] = [float(time) for time in times_s]
        facts["field_strength_t"] = field
    in_phase, opposed = images[0].array, images[1].array
    known = settings.r2star_per_s or 0.0
    if len(images) == 2:
        result = two_point_fat_fraction(in_phase, opposed, checked, field, known, mask)
        return _fractions(result, images[0], facts, settings)
    if known:
        raise ValueError("A known R2* and a second in-phase image to find it by: give one of them.")
    if not np.isfinite(times_s).all() or times_s[2] <= times_s[0]:
        raise ValueError(
            "Three points need the echo times of all three images, the second in-phase one after "
            f"the first; given were {', '.join(f'{1000 * time:g}' for time in times_s)} ms."
        )
    two_point_fat_fraction(in_phase, opposed, checked, field)  # checks the echo times
    first, second = in_phase.astype(float), images[2].array.astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2star = np.log(first / second) / (times_s[2] - times_s[0])
    r2star = np.clip(np.where(np.isfinite(r2star), r2star, 0.0), 0.0, None)
    at_opposed = first * np.exp(-r2star * (times_s[1] - times_s[0]))
    result = two_point_fat_fraction(at_opposed, opposed, mask=mask)
    result.limits = [each for each in result.limits if not each.startswith("R2*")]
    shown = np.where(result.mask, r2star, np.nan).astype(np.float32)
    return _fractions(result, images[0], facts, settings, {"R2star": shown})


def of_two_complex_echoes(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None
) -> list[ParametricMap]:
    """The fat fraction of two complex echoes, with R2* as stated.

    Raises:
        ValueError: there are not two complex echoes, they do not tell water from fat, a field map
            does not fit, or the sense of precession is neither stated nor shown.
    """
    train = _train(images, settings)
    if not train.is_complex or len(train.echo_times_s) != 2:
        raise ValueError(
            f"Two complex echoes are expected, {len(train.echo_times_s)} "
            f"{'complex' if train.is_complex else 'magnitude'} ones were given; three and more are "
            "of the method complex, two magnitudes of in and opposed phase."
        )
    like, fat = _like(train), _spectrum(settings)
    modulation = fat.modulation(train.echo_times_s, train.field_strength_t)
    model = ChemicalShiftModel(train.echo_times_s, modulation, train.field_strength_t)
    decay, told = _stated_decay(settings, like, model)
    field = settings.field_map
    if field is not None:
        check_one_grid(field, like)
    echoes = np.ascontiguousarray(np.moveaxis(train.signal, -1, 0))
    noise = background_noise(echoes)
    with_signal = signal_mask(echoes, noise)
    mask = _mask(settings, like)
    mask = with_signal if mask is None else mask
    mask = mask & np.isfinite(echoes).all(0) & (np.abs(np.nan_to_num(echoes)).max(0) > 0)
    of_field = None if field is None else field.array
    unknown = mask & ~np.isfinite(decay if of_field is None else decay + of_field)
    mask &= ~unknown
    if not mask.any():
        raise ValueError(
            "There is nothing to fit: no voxel of the mask has a finite signal, and values in the "
            "maps of field and R2* where these are given."
        )
    echoes = np.nan_to_num(echoes)
    sizes = tuple(like.spacing[::-1].tolist())

    def separated(conjugated: bool) -> TwoEchoes:
        turned = echoes.conj() if conjugated else echoes
        half = 0.5 * conjugated
        done = share(progress, half, half + 0.5) if settings.precession == "auto" else progress
        return separate_two_echoes(turned, model, mask, sizes, noise, decay, of_field, done)

    result, conjugated, by = _by_sense(separated, settings, with_signal, sizes)
    pair = np.nan_to_num(np.abs(np.stack([result.water, result.fat])))
    found = find_exchanged(*pair, mask & with_signal, sizes)
    limits = [
        told,
        "T1 weighting is not corrected: this is not a PDFF.",
        "Two echoes do not tell the sense of precession, and with the wrong one water and fat are "
        f"exchanged; it is {'the opposite of that given' if conjugated else 'as given'} ({by}).",
    ]
    shown = fat_under_skin(*pair, mask & with_signal, sizes)
    if shown < -_SURELY_UNDER_SKIN:
        limits.append(
            "Water lies under the skin and fat deeper: the sense of precession may be the other "
            "one; look at the water image."
        )
    if unknown.any():
        limits.append(
            f"{np.count_nonzero(unknown)} voxels with signal have no value in the maps of field "
            f"or R2* given (R2* is from {R2STAR_RANGE[0]:g} to {R2STAR_RANGE[1]:g} 1/s), and get "
            "none."
        )
    facts = {
        "summary": f"2 complex echoes at {', '.join(f'{1e3 * t:.4g}' for t in model.echo_times_s)} "
        f"ms, {model.field_strength_t:g} T; fat spectrum: {dict(SPECTRA).get(fat.name, fat.name)}",
        "reading": train.notes,
        "conjugated": conjugated,
        "field": "found from the echoes" if field is None else "given",
        "noise_sd": result.noise_sd,
        "limits": limits,
    }
    exchanged = found.sure | found.doubtful
    maps = _two_echo_maps(result, mask, exchanged, like, facts)
    return _with_t1_correction(maps, images[0].attributes, settings)


def _by_sense(
    separated: Callable[[bool], TwoEchoes],
    settings: SimpleNamespace,
    with_signal: np.ndarray,
    voxel_size_mm: tuple[float, float, float],
) -> tuple[TwoEchoes, bool, str]:
    """Water and fat in the sense of precession that is stated or shown, that sense and why.

    An earlier field shows it; without one, that fat lies under the skin does.
    """
    stated = settings.precession != "auto"
    senses = (settings.precession == "conjugated",) if stated else (False, True)
    if settings.field_map is not None:
        return _by_field({each: separated(each) for each in senses})
    for conjugated in senses:
        result = separated(conjugated)
        if stated:
            return result, conjugated, "stated"
        pair = np.nan_to_num(np.abs(np.stack([result.water, result.fat])))
        shown = fat_under_skin(*pair, np.isfinite(result.percent) & with_signal, voxel_size_mm)
        if shown > _SURELY_UNDER_SKIN:
            return result, conjugated, "fat lies under the skin"
        if not shown < -_SURELY_UNDER_SKIN:
            break
    raise ValueError(
        "Two echoes do not tell the sense of precession, with the wrong one water and fat are "
        "exchanged, and these images do not show which of them lies under the skin: state it "
        "(--precession 'as given' or conjugated), and look at the water image."
    )


def _by_field(tried: Mapping[bool, TwoEchoes]) -> tuple[TwoEchoes, bool, str]:
    """The sense of precession, of those tried, in which the field given explains the echoes.

    In a good shim both may; that is no matter where they give the same, as of water and fat just
    in phase and opposed.
    """
    conjugated, result = min(tried.items(), key=lambda each: each[1].unlike)
    if result.unlike >= _MOST_UNLIKE:
        raise ValueError(
            f"The field map given does not explain these echoes in {100 * result.unlike:.0f} % of "
            "the voxels; expected is the off-resonance in Hz, of the same position and shim, in "
            "the echoes' sense of precession."
        )
    if len(tried) == 1:
        return result, conjugated, "stated"
    other = tried[not conjugated]
    if other.unlike + _BY_CHANCE > 2 * (result.unlike + _BY_CHANCE):
        return result, conjugated, "the field map fits it"
    whole = np.isfinite(result.percent_sd)
    apart = np.abs(result.percent - other.percent)[whole] > _ABOUT_EQUAL
    if apart.mean() > _BY_CHANCE:
        raise ValueError(
            "The field map given explains these echoes in either sense of precession, and with "
            "the wrong one water and fat are exchanged: state it (--precession 'as given' or "
            "conjugated), and look at the water image."
        )
    return result, conjugated, "the field map fits both, which give the same"


def _stated_decay(
    settings: SimpleNamespace, like: Volume, model: ChemicalShiftModel
) -> tuple[float | np.ndarray, str]:
    """R2* in 1/s as stated, NaN where a map has none, 0 if it is not; and a sentence on it."""
    stated = settings.r2star_per_s
    if stated is not None and settings.r2star_map is not None:
        raise ValueError("A known R2* and a map of R2*: give one of them.")
    if settings.r2star_map is not None:
        check_one_grid(settings.r2star_map, like)
        decay, (low, high) = settings.r2star_map.array, R2STAR_RANGE
        decay = np.where((decay >= low) & (decay <= high), decay, np.nan)
        return decay, "R2* was taken from the map given."
    change = [change_by_r2star(model, percent) for percent in (10.0, 50.0)]
    how = "is not corrected" if stated is None else f"was taken for {stated:g} 1/s everywhere"
    return stated or 0.0, (
        f"Two echoes do not tell R2*, which {how}: each 10 1/s more that it is adds "
        f"{change[0]:.1f} points to a fat fraction of 10 % and {change[1]:.1f} to one of 50 %."
    )


def _two_echo_maps(
    result: TwoEchoes,
    mask: np.ndarray,
    exchanged: np.ndarray,
    like: Volume,
    facts: Mapping[str, object],
) -> list[ParametricMap]:
    doubt = np.where(mask, 0, Doubt.LOW_SIGNAL).astype(np.uint8)
    with np.errstate(invalid="ignore"):
        risk = result.swap_margin < SWAP_MARGIN
    imprecise = np.zeros_like(mask)
    sd = result.percent_sd[mask] / 100
    imprecise[mask] = over_together(mask, sd, USELESS_PDFF) | ~(sd < 2 * USELESS_PDFF)
    # By the voxels around: by its own value, noise would choose what is kept, and bias it.
    values = np.nan_to_num(result.percent[mask]).clip(-100, 200)
    usual = sum_around(mask, values) / sum_around(mask, np.ones_like(values))
    risk[mask] &= np.abs(usual - 50) > _ABOUT_EQUAL
    if (at_risk := (risk | result.misfit)[mask].mean()) > _MOST_AT_RISK:
        raise ValueError(
            f"In {100 * at_risk:.0f} % of the voxels water and fat may be exchanged: these two "
            + (
                "echoes and the field map given do not tell the field. Check that this is in Hz "
                "and smooth, and of the same position and shim."
                if facts["field"] == "given"
                else "echoes do not tell the field. Give a field map of an earlier scan "
                "(--field-map)."
            )
        )
    doubt[(risk | exchanged) & mask] |= np.uint8(Doubt.SWAP_RISK)
    doubt[result.misfit] |= np.uint8(Doubt.POOR_FIT)
    doubt[imprecise] |= np.uint8(Doubt.IMPRECISE)
    beyond = np.zeros_like(mask)
    beyond[mask] = np.abs(usual - 50) > 50 + _MOST_BEYOND
    if told := int(np.count_nonzero(beyond & (doubt == 0))):
        sentence = (
            f"Around {told} voxel{'s' * (told > 1)} the fat fraction is over {_MOST_BEYOND:g} "
            "points below 0 or over 100 %, as of no tissue: the R2* taken is not that there, or "
            "the field is wrong; marked as a poor fit. Check the map of R2*, or give one "
            "(--r2star-map)."
        )
        facts = {**facts, "limits": [*facts["limits"], sentence]}
    doubt[beyond] |= np.uint8(Doubt.POOR_FIT)
    percent = np.where(doubt == 0, result.percent, np.float32(np.nan))
    whole = (result.water + result.fat)[mask]
    signals = (0.0, float(np.nanpercentile(whole, 99)))
    maps = [
        ParametricMap(
            kind, like.with_array(values, kind.name), facts, window=kind.window or signals
        )
        for kind, values in (
            (map_kind("FF"), percent),
            (map_kind("FF_SD"), result.percent_sd),
            (map_kind("water"), result.water),
            (map_kind("fat"), result.fat),
            (map_kind("field"), result.off_resonance_hz),
        )
    ]
    codes = (0, Doubt.LOW_SIGNAL, Doubt.POOR_FIT, Doubt.SWAP_RISK, Doubt.IMPRECISE)
    reasons = {int(code): _REASONS[int(code)] for code in codes}
    return [
        *maps,
        ParametricMap(map_kind("doubt"), like.with_array(doubt, "doubt"), facts, reasons),
    ]


def of_two_flip_angles(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None
) -> list[ParametricMap]:
    """PDFF without T1 bias and T1 of water and fat, from water and fat at two flip angles.

    Raises:
        ValueError: flip angles or repetition time are missing, differ or cannot be; a value is
            negative or complex.
    """
    pairs = [
        checked_images(one.array, other.array, "water", "fat")
        for one, other in (images[:2], images[2:])
    ]
    given = (settings.low_flip_deg, settings.high_flip_deg)
    flips = tuple(
        _acquired(images[2 * n : 2 * n + 2], "FlipAngle", "flip angle", given[n]) for n in (0, 1)
    )
    repetition = _acquired(images, "RepetitionTime", "repetition time", settings.tr_ms)
    b1 = settings.b1_percent / 100
    if settings.b1 is not None:
        check_one_grid(settings.b1, images[0])
        b1 = np.nan_to_num(settings.b1.array / 100)
    mask = _mask(settings, images[0])
    limits = [
        "It is a PDFF if water and fat were separated with R2* and the peaks of fat; both scans "
        "must have one gain and scale.",
        "Magnitude images never fall below 0: noise raises low and lowers high fractions.",
    ]
    result = two_flip_angles(*zip(*pairs, strict=True), flips, repetition, b1, mask, limits)
    if settings.b1 is None:
        limits.append(
            f"B1 was taken for {settings.b1_percent:g} % everywhere: an error of 10 % changes T1 "
            "by about 20 %."
        )
    facts = {
        "flip_angles_deg": list(flips),
        "repetition_time_ms": repetition,
        "typical_t1_ms": dict(zip(("water", "fat"), result.typical_ms, strict=True)),
        "noise_sd": result.noise_sd,
        "limits": limits,
    }
    values = (result.pdff_percent, result.pdff_sd, *result.t1_ms, *result.t1_sd_ms)
    names = ("PDFF_T1corrected", "PDFF_SD", "T1_water", "T1_fat", "T1_water_SD", "T1_fat_SD")
    maps = [
        ParametricMap(map_kind(name), images[0].with_array(each, name), facts)
        for name, each in zip(names, values, strict=True)
        if np.isfinite(each).any()
    ]
    doubt = np.where(result.mask, 0, Doubt.LOW_SIGNAL).astype(np.uint8)
    doubt[result.imprecise] = Doubt.IMPRECISE
    reasons = {n: _REASONS[n] for n in (0, int(Doubt.LOW_SIGNAL), int(Doubt.IMPRECISE))}
    doubt = images[0].with_array(doubt, "doubt")
    return [*maps, ParametricMap(map_kind("doubt"), doubt, facts, reasons)]


def _acquired(images: Sequence[Volume], keyword: str, name: str, given: float | None) -> float:
    """What headers say of images that must agree, or what is given in its place."""
    if given is not None:
        return float(given)
    stated = {round(float(one.attributes.get(keyword) or 0), 3) for one in images}
    if len(stated) > 1 or 0 in stated:
        raise ValueError(
            f"The {name} of {', '.join(one.name for one in images)} is missing or differs in the "
            "headers; state it."
        )
    return stated.pop()


def _train(images: Sequence[Volume], settings: SimpleNamespace) -> EchoTrain:
    unit = None if settings.echo_times_s is None else "s"
    train = echo_train(images, settings.echo_times_s, unit, settings.field_strength_t)
    if train.field_strength_t is None:
        raise ValueError("The field strength is not known; give it in tesla (--field).")
    return train if settings.leave_out is None else _without(train, settings.leave_out)


def _without(train: EchoTrain, leave_out: str) -> EchoTrain:
    """The train without some echoes, given by their numbers from 1 in the order of echo times."""
    count = len(train.echo_times_s)
    try:
        numbers = sorted({int(word) for word in leave_out.split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 1 or numbers[-1] > count:
        raise ValueError(
            f"Echoes to leave out are numbers from 1 to {count}, as 6 or 1,6; given was "
            f"{leave_out!r}."
        )
    kept = np.delete(np.arange(count), [number - 1 for number in numbers])
    listed = ", ".join(f"{n} ({1000 * train.echo_times_s[n - 1]:.4g} ms)" for n in numbers)
    return replace(
        train,
        signal=train.signal[..., kept],
        echo_times_s=train.echo_times_s[kept],
        notes=[*train.notes, f"Left out as asked: echo {listed} of {count}."],
    )


def _like(train: EchoTrain) -> Volume:
    return Volume(np.empty(train.signal.shape[:3], np.uint8), train.ijk_to_ras, "the echoes")


def _mask(settings: SimpleNamespace, like: Volume) -> np.ndarray | None:
    if settings.mask is None:
        return None
    check_one_grid(settings.mask, like)
    return settings.mask.array > 0


def _spectrum(settings: SimpleNamespace) -> FatSpectrum:
    if settings.peaks is None:
        return fat_spectrum(settings.fat_spectrum)
    try:
        pairs = [tuple(map(float, peak.split(":"))) for peak in settings.peaks.split(",")]
        ppm, amplitudes = zip(*pairs, strict=True)
    except ValueError:
        raise ValueError(
            f"Peaks are expected as -3.4:0.7,-2.6:0.13,..., given was {settings.peaks!r}."
        ) from None
    return spectrum_from_peaks(ppm, amplitudes)


def _of_magnitudes(
    images: Sequence[Volume],
    train: EchoTrain,
    settings: SimpleNamespace,
    progress: Progress | None,
) -> list[ParametricMap]:
    like = _like(train)
    result = magnitude_water_fat(
        np.abs(np.moveaxis(train.signal, -1, 0)),
        train.echo_times_s,
        train.field_strength_t,
        _spectrum(settings),
        _mask(settings, like),
        progress=progress,
    )
    return _separated(result, like, train, settings, images[0].attributes)


def _separated(
    result: WaterFatResult,
    like: Volume,
    train: EchoTrain,
    settings: SimpleNamespace,
    header: Mapping[str, object],
) -> list[ParametricMap]:
    """All maps of a separation."""
    _check_decay(result)
    if settings.mask is None or train.echo_times_s[-1] > _LONG_S:
        result.facts["notes"] += _nowhere_fat(result)
    times = ", ".join(f"{1000 * time:.4g}" for time in train.echo_times_s)
    spectrum = result.facts["fat_spectrum"]
    facts = {
        "summary": f"{len(train.echo_times_s)} {'complex' if train.is_complex else 'magnitude'} "
        f"echoes at {times} ms, {train.field_strength_t:g} T; fat spectrum: "
        f"{dict(SPECTRA).get(spectrum, spectrum)}",
        "reading": train.notes,
        **result.facts,
    }
    facts["algorithm"] = facts.pop("method")
    whole = np.nan_to_num(result.water) + np.nan_to_num(result.fat)
    signals = (0.0, float(np.percentile(whole[result.mask], 99)))  # of water and fat alike
    used = _spectrum(settings)
    of_spectrum = {"FatSpectrum": used.name}
    if error := spectrum_error(used, train.echo_times_s, train.field_strength_t):
        of_spectrum["FatSpectrumError"] = error
    maps = []
    for key, name in _MAPS.items():
        values = getattr(result, key)
        if values is None or not np.isfinite(values).any():
            continue
        if name in _TRUSTED_ONLY:
            values = np.where(result.confident, values, np.float32(np.nan))
        kind, volume = map_kind(name), like.with_array(values, name)
        if name in ("PDFF", "FF_magnitude"):
            volume.attributes |= of_spectrum
        maps.append(ParametricMap(kind, volume, facts, window=kind.window or signals))
    doubt = like.with_array(result.doubt, "doubt")
    maps.append(ParametricMap(map_kind("doubt"), doubt, facts, _REASONS))
    confident = like.with_array(result.confident, "confident")
    maps.append(ParametricMap(map_kind("confident"), confident, facts))
    return _with_t1_correction(maps, header, settings)


def _nowhere_fat(result: WaterFatResult) -> list[str]:
    """A sentence where no voxel holds fat: echoes in which it is in phase with water say so too."""
    sure = result.confident & np.isfinite(result.pdff_sd)
    if np.count_nonzero(sure) < _FEW_FOR_FAT:
        return []
    most = np.percentile(result.pdff_percent[sure] - 2 * result.pdff_sd[sure], 99)
    if most > _SOME_FAT:
        return []
    return [
        f"There is fat nowhere (over {_SOME_FAT:g} % in less than one voxel of 100): if the images "
        "show marrow or skin, fat was saturated, or these are spin echoes, in each of which water "
        "and fat are in phase, and this is no PDFF."
    ]


def _check_decay(result: WaterFatResult) -> None:
    """Refuse signals that grow from echo to echo: no tissue's do, those in another order do."""
    told = result.confident & np.isfinite(result.r2star_per_s) & np.isfinite(result.r2star_sd)
    if np.count_nonzero(told) <= _LEAST_TOLD * np.count_nonzero(result.mask):
        return
    judged, among, limit = told, result.mask, _FATTY_RISING_PER_S
    lean = told & (result.pdff_percent < _LITTLE_FAT)
    if np.count_nonzero(lean) > _JUDGED * np.count_nonzero(told):
        fatty = result.pdff_percent >= _LITTLE_FAT
        judged, among, limit = lean, result.mask & ~fatty, _RISING_PER_S
    median, sd = np.median(result.r2star_per_s[judged]), np.median(result.r2star_sd[judged])
    untold = 1 - np.count_nonzero(judged) / np.count_nonzero(among)
    if median < min(limit, -_CHOSEN_SDS * untold * sd):
        raise ValueError(
            f"Signals grow with the echo time (median R2* {median:.0f} 1/s), which those of no "
            "tissue do; check the order of the images and their echo times (and the fat spectrum)."
        )


def _fractions(
    result: FatFraction,
    like: Volume,
    facts: Mapping[str, object],
    settings: SimpleNamespace,
    others: Mapping[str, np.ndarray] | None = None,
) -> list[ParametricMap]:
    """Maps of two points or of scanner water and fat images, which are not PDFF, and others."""
    facts = {**facts, "limits": result.limits}
    readings = {"FF": result.percent}
    if result.other_percent is not None:
        readings = {
            "FF_water_dominant": result.percent,
            "FF_fat_dominant": result.other_percent,
        }
    maps = [
        ParametricMap(map_kind(name), like.with_array(values, name), facts)
        for name, values in {**readings, **(others or {})}.items()
    ]
    doubt = np.where(result.mask, 0, Doubt.LOW_SIGNAL).astype(np.uint8)
    codes = [0, int(Doubt.LOW_SIGNAL)]
    if result.doubtful is not None and result.doubtful.any():
        doubt[result.doubtful] = Doubt.SWAP_RISK
        codes.append(int(Doubt.SWAP_RISK))
    reasons = {code: _REASONS[code] for code in codes}
    maps.append(ParametricMap(map_kind("doubt"), like.with_array(doubt, "doubt"), facts, reasons))
    if result.exchanged is not None:
        exchanged = like.with_array(result.exchanged.astype(np.uint8), "exchanged")
        maps.append(ParametricMap(map_kind("exchanged"), exchanged, facts))
    return _with_t1_correction(maps, like.attributes, settings)


def _with_t1_correction(
    maps: Sequence[ParametricMap], facts: Mapping[str, object], settings: SimpleNamespace
) -> list[ParametricMap]:
    """Maps, and if asked for after each fat fraction the same without T1 bias.

    Raises:
        ValueError: flip angle, repetition time or a T1 is not known, or cannot be; see t1_bias.
    """
    if not settings.correct_t1:
        return list(maps)
    if settings.t1_water_ms is None or settings.t1_fat_ms is None:
        raise ValueError(
            "Give the T1 of water and of fat, or switch the T1 correction off; none is assumed."
        )
    flip = settings.flip_angle_deg or facts.get("FlipAngle")
    repetition = settings.repetition_time_ms or facts.get("RepetitionTime")
    if not flip or not repetition:
        raise ValueError(
            "Flip angle or repetition time is not in the header; give both to correct T1 bias."
        )
    used = {
        "flip_angle_deg": float(flip),
        "repetition_time_ms": float(repetition),
        "t1_water_ms": settings.t1_water_ms,
        "t1_fat_ms": settings.t1_fat_ms,
    }
    corrected = []
    for made in maps:
        corrected.append(made)
        if kind := find_kind(f"{made.kind.id}_T1corrected"):
            values = t1_corrected_fat_fraction(
                made.volume.array,
                used["flip_angle_deg"],
                used["repetition_time_ms"] / 1000,
                used["t1_water_ms"] / 1000,
                used["t1_fat_ms"] / 1000,
            ).astype(np.float32)
            change = float(np.nanmedian(made.volume.array - values))
            facts_of_it = {
                **made.provenance,
                "t1_correction": used,
                "t1_bias_of_the_median_voxel_percent": change,
            }
            volume = made.volume.with_array(values, kind.name)
            corrected.append(ParametricMap(kind, volume, facts_of_it))
    return corrected
