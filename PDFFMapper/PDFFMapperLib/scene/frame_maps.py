"""Maps from frames: PDFF and R2* of echoes, fat fractions of two images, diffusion maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from PDFFMapperLib.diffusion.adc import fit_adc
from PDFFMapperLib.diffusion.ivim import fit_ivim, fit_ivim_segmented
from PDFFMapperLib.diffusion.ivim_bayes import fit_ivim_hierarchical
from PDFFMapperLib.diffusion.kurtosis import fit_kurtosis
from PDFFMapperLib.diffusion.maps import diffusion_maps, model_map
from PDFFMapperLib.diffusion.model_choice import choose_model
from PDFFMapperLib.diffusion.scheme import diffusion_scheme, trace_weighted
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.install.software import MAKER
from PDFFMapperLib.maps.kinds import map_kind
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.water_fat.echo_train import echo_train
from PDFFMapperLib.water_fat.magnitude import magnitude_water_fat
from PDFFMapperLib.water_fat.maps import fat_fraction_maps, water_fat_maps
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.products import fat_fraction_of_images, two_point_fat_fraction
from PDFFMapperLib.water_fat.separation import separate_water_fat
from PDFFMapperLib.water_fat.signal_mask import signal_mask
from PDFFMapperLib.water_fat.spectra import fat_spectrum

MEASURED = ("PDFF", "R2star", "T2star")
ADC = "ADC"
IVIM = "IVIM"
IVIM_SEGMENTED = "IVIM, segmented"
IVIM_HIERARCHICAL = "IVIM, hierarchical"
KURTOSIS = "Kurtosis"
MODEL_CHOICE = "Best model (AICc)"
MODELS = (ADC, IVIM, IVIM_SEGMENTED, IVIM_HIERARCHICAL, KURTOSIS, MODEL_CHOICE)


def water_fat_frame_maps(
    echoes: Sequence[Volume],
    field_strength_t: float | None = None,
    spectrum: str | None = None,
    precession: str = "auto",
    common_phase: bool = True,
    progress: Callable[[float], bool] | None = None,
) -> list[ParametricMap] | None:
    """Maps of a multi-echo series, from complex echoes or from magnitudes; None if canceled.

    Values that should not be trusted are NaN; the map "doubt" says why.

    Args:
        echoes: one volume per echo and component, see `echo_train`.
        field_strength_t: in place of the header's.
        spectrum: name of the fat spectrum; marrow if None.
        precession: of complex echoes, see water_fat.separate_water_fat.
        common_phase: water and fat share a phase at echo time 0 unless the echoes contradict it;
            else each has its own.
        progress: called with the fraction done; returning False cancels.

    Raises:
        ValueError: echo times or field strength are missing; see the modules used.
    """
    train = echo_train(echoes, field_strength_t=field_strength_t)
    if train.field_strength_t is None:
        raise ValueError("The field strength is not in the header; give it in T.")
    like = Volume(np.empty(train.signal.shape[:3], np.uint8), train.ijk_to_ras, "echo")
    signal = np.moveaxis(train.signal, -1, 0)
    times, field, model = train.echo_times_s, train.field_strength_t, fat_spectrum(spectrum)
    if train.is_complex:
        data = multi_echo(signal, times, field, like.spacing[::-1])
        fit = separate_water_fat(
            data,
            model,
            precession=precession,
            common_phase=None if common_phase else False,
            progress=progress,
        )
    else:
        fit = magnitude_water_fat(signal, times, field, model, progress=progress)
    if fit is None:
        return None
    inputs = {
        "software": MAKER,
        "inputs": [volume.name for volume in echoes],
        "reading": train.notes,
    }
    return [
        replace(made, volume=_confident(made.volume, fit.confident))
        if made.name in MEASURED
        else made
        for made in water_fat_maps(fit, like, inputs)
    ]


def _confident(volume: Volume, mask: np.ndarray) -> Volume:
    return volume.with_array(np.where(mask, volume.array, np.nan).astype(np.float32))


def water_fat_image_maps(water: Volume, fat: Volume) -> list[ParametricMap]:
    """The fat fraction of the scanner's own water and fat images.

    Raises:
        ValueError: grids differ, or a value is negative or complex.
    """
    _check_one_grid([water, fat])
    result = fat_fraction_of_images(water.array, fat.array)
    return fat_fraction_maps(result, water, {"software": MAKER, "inputs": [water.name, fat.name]})


def in_opposed_maps(
    in_phase: Volume,
    opposed_phase: Volume,
    second_in_phase: Volume | None = None,
    field_strength_t: float | None = None,
) -> list[ParametricMap]:
    """Both readings of the fat fraction of in- and opposed-phase magnitudes.

    A second in-phase echo gives R2* of each voxel, and the first is brought to the opposed echo's
    time with it (Bydder 2008, doi 10.1016/j.mri.2007.08.012). Echo times are checked against the
    field strength where both are known.

    Args:
        in_phase: magnitude; "EchoTime" in ms among its attributes if known.
        opposed_phase: likewise.
        second_in_phase: likewise; its echo time and those of the others are then needed.
        field_strength_t: in place of the header's.

    Raises:
        ValueError: grids differ, echo times are missing or are not in and opposed phase.
    """
    images = [one for one in (in_phase, opposed_phase, second_in_phase) if one is not None]
    _check_one_grid(images)
    times_s = [float(one.attributes.get("EchoTime", np.nan)) / 1000 for one in images]
    field = field_strength_t or in_phase.attributes.get("MagneticFieldStrength")
    facts = {"software": MAKER, "inputs": [one.name for one in images]}
    checked = None
    if np.isfinite(times_s[:2]).all() and field is not None:
        checked, facts["echo_times_ms"] = times_s[:2], [1000 * time for time in times_s]
    if second_in_phase is None:
        result = two_point_fat_fraction(in_phase.array, opposed_phase.array, checked, field)
        return fat_fraction_maps(result, in_phase, facts)
    if not np.isfinite(times_s).all() or times_s[2] <= times_s[0]:
        raise ValueError(
            "Three points need the echo times of all three images, the second in-phase one after "
            f"the first; given were {', '.join(f'{1000 * time:g}' for time in times_s)} ms."
        )
    first, second = in_phase.array.astype(float), second_in_phase.array.astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2star = np.log(first / second) / (times_s[2] - times_s[0])
    r2star = np.clip(np.where(np.isfinite(r2star), r2star, 0.0), 0.0, None)
    at_opposed = first * np.exp(-r2star * (times_s[1] - times_s[0]))
    two_point_fat_fraction(first, opposed_phase.array, checked, field)  # checks the echo times
    result = two_point_fat_fraction(at_opposed, opposed_phase.array)
    result.limits = [each for each in result.limits if not each.startswith("R2*")]
    maps = fat_fraction_maps(result, in_phase, facts)
    shown = in_phase.with_array(np.where(result.mask, r2star, np.nan).astype(np.float32), "R2star")
    facts = {**facts, "method": "R2* of two in-phase echoes"}
    return [*maps, ParametricMap(map_kind("R2star"), shown, facts)]


def _check_one_grid(images: Sequence[Volume]) -> None:
    for one in images[1:]:
        if not one.same_grid(images[0]):
            raise ValueError(
                f"'{one.name}' and '{images[0].name}' are on different voxel grids; they must "
                "share one (Resample Scalar Volume makes them)."
            )


def diffusion_frame_maps(
    images: Sequence[Volume],
    model: str = ADC,
    lowest_b: float = 0.0,
    threshold_b: float = 200.0,
    progress: Callable[[float], bool] | None = None,
) -> list[ParametricMap] | None:
    """Maps of a diffusion series, directions averaged to the trace; None if canceled.

    Args:
        images: one volume per b-value and direction, see `diffusion_scheme`.
        model: one of MODELS; MODEL_CHOICE adds the map of the model that AICc prefers.
        lowest_b: s/mm^2; lower b-values are left out of the ADC.
        threshold_b: s/mm^2; the segmented fit takes D from here on.
        progress: called with the fraction done; returning False cancels.

    Raises:
        ValueError: b-values are missing, grids differ, or too few b-values for the model.
    """
    scheme = diffusion_scheme(images)
    first = images[int(scheme.order[0])]
    _check_one_grid([first, *(images[n] for n in scheme.order)])
    signals = np.stack([images[n].array.astype(np.float32) for n in scheme.order], -1)
    signals, b_values, counts = trace_weighted(signals, scheme)
    mask = signal_mask(np.moveaxis(np.nan_to_num(signals), -1, 0))
    given = {"mask": mask, "averages": counts, "progress": progress}
    if model == ADC:
        fit = fit_adc(signals, b_values, b_range=(lowest_b, np.inf), **given)
    elif model == IVIM:
        fit = fit_ivim(signals, b_values, **given)
    elif model == IVIM_SEGMENTED:
        fit = fit_ivim_segmented(signals, b_values, threshold=threshold_b, **given)
    elif model == IVIM_HIERARCHICAL:
        fit = fit_ivim_hierarchical(signals, b_values, **given)
    elif model == KURTOSIS:
        fit = fit_kurtosis(signals, b_values, **given)
    elif model == MODEL_CHOICE:
        fit = choose_model(signals, b_values, **given)
    else:
        raise ValueError(f"Unknown diffusion model '{model}'; choose of {', '.join(MODELS)}.")
    if fit is None:
        return None
    provenance = {
        "software": MAKER,
        "method": model,
        "b_values": [float(b) for b in b_values],
        "images_per_b_value": [int(n) for n in counts],
        "notes": scheme.notes,
        "inputs": [images[n].name for n in scheme.order],
    }
    if model == ADC:
        provenance["lowest_b"] = lowest_b
    if model == IVIM_SEGMENTED:
        provenance["threshold_b"] = threshold_b
    if model == MODEL_CHOICE:
        return [
            model_map(fit, first, provenance),
            *_by_model(fit.mono_exponential, first, provenance, ("ADC",)),
            *_by_model(fit.kurtosis, first, provenance, ("K",)),
            *_by_model(fit.ivim, first, provenance, ("D", "Dstar", "f")),
        ]
    return diffusion_maps(fit, first, provenance)


def _by_model(fit, like: Volume, provenance: dict, names: Sequence[str]) -> list[ParametricMap]:
    return [made for made in diffusion_maps(fit, like, provenance) if made.name in names]
