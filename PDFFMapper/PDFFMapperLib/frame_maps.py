"""Maps from frames: PDFF and R2* of echoes, ADC and IVIM of diffusion images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from PDFFMapperLib.acquisition import diffusion_scheme, echo_train, trace_weighted
from PDFFMapperLib.adc import fit_adc
from PDFFMapperLib.diffusion_maps import diffusion_maps
from PDFFMapperLib.fat_spectra import fat_spectrum
from PDFFMapperLib.ivim import fit_ivim, fit_ivim_segmented
from PDFFMapperLib.magnitude_water_fat import magnitude_water_fat
from PDFFMapperLib.multi_echo import multi_echo
from PDFFMapperLib.parametric_map import ParametricMap
from PDFFMapperLib.volume import Volume
from PDFFMapperLib.water_fat import separate_water_fat, signal_mask
from PDFFMapperLib.water_fat_maps import water_fat_maps

MEASURED = ("PDFF", "R2star", "T2star")
ADC, IVIM, IVIM_SEGMENTED = "ADC", "IVIM", "IVIM, segmented"


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
        echoes: one volume per echo and component, see acquisition.echo_train.
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
    inputs = {"inputs": [volume.name for volume in echoes], "reading": train.notes}
    return [
        replace(made, volume=_confident(made.volume, fit.confident))
        if made.name in MEASURED
        else made
        for made in water_fat_maps(fit, like, inputs)
    ]


def _confident(volume: Volume, mask: np.ndarray) -> Volume:
    return volume.with_array(np.where(mask, volume.array, np.nan).astype(np.float32))


def diffusion_frame_maps(
    images: Sequence[Volume],
    model: str = ADC,
    lowest_b: float = 0.0,
    threshold_b: float = 200.0,
    progress: Callable[[float], bool] | None = None,
) -> list[ParametricMap] | None:
    """Maps of a diffusion series, directions averaged to the trace; None if canceled.

    Args:
        images: one volume per b-value and direction, see acquisition.diffusion_scheme.
        model: ADC, IVIM or IVIM_SEGMENTED.
        lowest_b: s/mm^2; lower b-values are left out of the ADC.
        threshold_b: s/mm^2; the segmented fit takes D from here on.
        progress: called with the fraction done; returning False cancels.

    Raises:
        ValueError: b-values are missing, grids differ, or too few b-values for the model.
    """
    scheme = diffusion_scheme(images)
    first = images[int(scheme.order[0])]
    for n in scheme.order:
        if not images[n].same_grid(first):
            raise ValueError(
                f"'{images[n].name}' and '{first.name}' are on different voxel grids; "
                "all diffusion images must share one."
            )
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
    else:
        raise ValueError(
            f"Unknown diffusion model '{model}'; choose {ADC}, {IVIM} or {IVIM_SEGMENTED}."
        )
    if fit is None:
        return None
    provenance = {
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
    return diffusion_maps(fit, first, provenance)
