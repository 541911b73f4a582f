"""Maps from frames: PDFF and R2* of echoes, ADC and IVIM of diffusion images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from PDFFMapperLib.acquisition import diffusion_scheme, echo_train, trace_weighted
from PDFFMapperLib.adc import fit_adc
from PDFFMapperLib.diffusion_maps import diffusion_maps
from PDFFMapperLib.fat_spectra import fat_spectrum
from PDFFMapperLib.ivim import fit_ivim, fit_ivim_segmented
from PDFFMapperLib.multi_echo import multi_echo
from PDFFMapperLib.parametric_map import ParametricMap
from PDFFMapperLib.volume import Volume
from PDFFMapperLib.water_fat import WaterFatResult, separate_water_fat, signal_mask

ADC, IVIM, IVIM_SEGMENTED = "ADC", "IVIM", "IVIM, segmented"


def water_fat_maps(
    echoes: Sequence[Volume],
    field_strength_t: float | None = None,
    spectrum: str | None = None,
    precession: str = "auto",
    common_phase: bool = True,
    progress: Callable[[float], bool] | None = None,
) -> list[ParametricMap] | None:
    """PDFF, R2*, water, fat, field map and uncertainty of a multi-echo series; None if canceled.

    Args:
        echoes: one volume per echo and component, see acquisition.echo_train.
        field_strength_t: in place of the header's.
        spectrum: name of the fat spectrum; marrow if None.
        precession, common_phase, progress: see water_fat.separate_water_fat.

    Raises:
        ValueError: echo times or field strength are missing, or phase is; see the modules used.
    """
    train = echo_train(echoes, field_strength_t=field_strength_t)
    if train.field_strength_t is None:
        raise ValueError("The field strength is not in the header; give it in T.")
    if not train.is_complex:
        raise ValueError(
            "Only magnitude images were given; PDFF that is unbiased in low fat needs phase, or "
            "real and imaginary images, of every echo."
        )
    grid = Volume(np.empty(train.signal.shape[:3], np.uint8), train.ijk_to_ras, "PDFF")
    data = multi_echo(
        np.moveaxis(train.signal, -1, 0),
        train.echo_times_s,
        train.field_strength_t,
        grid.spacing[::-1],
    )
    fit = separate_water_fat(
        data,
        fat_spectrum(spectrum),
        precession=precession,
        common_phase=common_phase,
        progress=progress,
    )
    if fit is None:
        return None
    notes = [*train.notes, *fit.facts.get("notes", [])]
    inputs = [volume.name for volume in echoes]
    return _maps_of(fit, grid, {**fit.facts, "notes": notes, "inputs": inputs})


def _maps_of(
    fit: WaterFatResult, grid: Volume, provenance: dict[str, object]
) -> list[ParametricMap]:
    def made(name, values, unit, window, color, title, only_confident=True):
        array = np.where(fit.confident, values, np.nan) if only_confident else values
        volume = grid.with_array(np.asarray(array, np.float32), name)
        return ParametricMap(name, volume, unit, window, color, title, dict(provenance))

    shown = np.concatenate([fit.water[fit.confident], fit.fat[fit.confident]])
    bright = float(np.percentile(shown, 99)) if shown.size else 1.0
    field = fit.off_resonance_hz[fit.mask]
    reach = float(np.nanpercentile(np.abs(field), 99)) if field.size else 1.0
    return [
        made("PDFF", fit.pdff_percent, "%", (0, 100), "Viridis", "Proton density fat fraction"),
        made("R2star", fit.r2star_per_s, "1/s", (0, 200), "Inferno", "R2*"),
        made("water", fit.water, "signal", (0, bright), "Grey", "Water", False),
        made("fat", fit.fat, "signal", (0, bright), "Grey", "Fat", False),
        made("field", fit.off_resonance_hz, "Hz", (-reach, reach), "Grey", "Off-resonance", False),
        made("PDFF_SD", fit.pdff_sd, "%", (0, 10), "Viridis", "Standard deviation of PDFF"),
        made("R2star_SD", fit.r2star_sd, "1/s", (0, 50), "Viridis", "Standard deviation of R2*"),
    ]


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
