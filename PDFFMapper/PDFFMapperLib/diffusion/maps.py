"""Maps of diffusion: what the recipes compute. NaN where not to be trusted, reasons beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntFlag
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.diffusion.adc import AdcFit, fit_adc
from PDFFMapperLib.diffusion.ivim import IvimFit, fit_ivim, fit_ivim_segmented
from PDFFMapperLib.diffusion.ivim_bayes import IvimPosterior, fit_ivim_hierarchical
from PDFFMapperLib.diffusion.kurtosis import KurtosisFit, fit_kurtosis
from PDFFMapperLib.diffusion.model_choice import MODELS, ModelChoice, choose_model
from PDFFMapperLib.diffusion.series import DiffusionSeries, diffusion_series
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.kinds import map_kind
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.maps.progress import Progress

Fit = AdcFit | KurtosisFit | IvimFit | IvimPosterior

# field of the fit: kind of map
_MAPS = {
    "adc": "ADC",
    "d": "D",
    "d_star": "Dstar",
    "f": "f",
    "f_d_star": "fDstar",
    "k": "K",
    "s0": "S0",
    "residual": "residual",
    "r_squared": "R2",
    "adc_sd": "ADC_SD",
    "d_sd": "D_SD",
    "d_star_sd": "Dstar_SD",
    "f_sd": "f_SD",
    "f_d_star_sd": "fDstar_SD",
    "k_sd": "K_SD",
    "s0_sd": "S0_SD",
    "valid": "valid",
    "at_bound": "at_bound",
    "d_star_identifiable": "Dstar_identifiable",
    "typical": "typical",
}


class Doubt(IntFlag):
    """Why values of a voxel should not be trusted; 0 is none."""

    LOW_SIGNAL = 1  # outside the mask: by default no signal over the noise
    AT_LIMIT = 2  # the estimate lies at a limit of what is allowed
    DSTAR_UNKNOWN = 4  # the data do not tell D*; it is NaN, D and f can be used
    FAILED = 8  # no fit; the values are NaN
    ATYPICAL = 16  # not like the distribution learned: the voxel keeps its own fit


_REASONS = {0: "confident"} | {
    int(doubt): doubt.name.lower().replace("_", " ").replace("dstar", "D*") for doubt in Doubt
}


def adc(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None
) -> list[ParametricMap]:
    """Maps of the maximum-likelihood ADC."""
    return _fitted(images, settings, progress, fit_adc)


def adc_wls(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None
) -> list[ParametricMap]:
    """Maps of the ADC by weighted least squares."""
    return _fitted(images, settings, progress, fit_adc, method="wls")


def full(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None
) -> list[ParametricMap]:
    """Maps of the full IVIM fit."""
    return _fitted(images, settings, progress, fit_ivim)


def segmented(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None
) -> list[ParametricMap]:
    """Maps of the segmented IVIM fit."""
    return _fitted(images, settings, progress, fit_ivim_segmented, threshold=settings.threshold_b)


def hierarchical(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None
) -> list[ParametricMap]:
    """Maps of the hierarchical IVIM fit."""
    return _fitted(images, settings, progress, fit_ivim_hierarchical)


def kurtosis(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None
) -> list[ParametricMap]:
    """Maps of the kurtosis fit."""
    return _fitted(images, settings, progress, fit_kurtosis)


def model_choice(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None
) -> list[ParametricMap]:
    """The model that AICc prefers, and the maps of each model that are its own."""
    series = diffusion_series(images, settings)
    choice = choose_model(
        series.signal, series.b_values, **_options(series, settings), progress=progress
    )
    series.note_floor(_taken_off(choice.ivim, settings))
    facts = _facts(series, choice.ivim, settings)
    maps = [_model_map(choice, series.like, facts)]
    for fit, names in (
        (choice.mono_exponential, ("ADC",)),
        (choice.kurtosis, ("K",)),
        (choice.ivim, ("D", "Dstar", "f", "doubt")),
    ):
        maps += [made for made in _maps(fit, series, facts) if made.name in names]
    return maps


def _fitted(
    images: Sequence[Volume],
    settings: SimpleNamespace,
    progress: Progress | None,
    fit_series: Callable[..., Fit],
    **more: object,
) -> list[ParametricMap]:
    series = diffusion_series(images, settings)
    options = _options(series, settings)
    fit = fit_series(series.signal, series.b_values, **options, **more, progress=progress)
    series.note_floor(np.nan if more.get("method") == "wls" else _taken_off(fit, settings))
    facts = _facts(series, fit, settings)
    maps = _maps(fit, series, facts)
    if settings.choose_model:
        choice = choose_model(series.signal, series.b_values, **{**options, "sigma": fit.sigma})
        maps.append(_model_map(choice, series.like, facts))
    return maps


def _options(series: DiffusionSeries, settings: SimpleNamespace) -> dict[str, object]:
    return {
        "sigma": series.sigma,
        "averages": series.averages,
        "mask": series.mask,
        "noise": settings.noise,
    }


def _taken_off(fit: Fit, settings: SimpleNamespace) -> float:
    """Noise whose floor a fit takes off; NaN for none."""
    return float(np.median(fit.sigma)) if settings.noise == "rician" else np.nan


def _facts(series: DiffusionSeries, fit: Fit, settings: SimpleNamespace) -> dict[str, object]:
    sigma = np.asarray(fit.sigma, dtype=float)
    listed = ", ".join(f"{b:g}" for b in series.b_values)
    noise = f"{float(np.median(sigma)):.4g}" if np.isfinite(sigma).all() else "unknown"
    return {
        "summary": f"b-values (s/mm^2): {listed}; noise SD of one image {noise}",
        "noise": settings.noise.capitalize(),
        "sigma": float(np.median(sigma)) if np.isfinite(sigma).all() else None,
        "sigma_from": series.sigma_from,
        "b_values_s_per_mm2": series.b_values.tolist(),
        "averages": series.averages.tolist(),
        "notes": series.notes,
    }


def _maps(fit: Fit, series: DiffusionSeries, facts: dict[str, object]) -> list[ParametricMap]:
    """All maps of a fit, D* without the voxels whose data do not tell it."""
    doubt = _doubt(fit, series.mask)
    maps = []
    for key, name in _MAPS.items():
        values = getattr(fit, key, None)
        if values is None:
            continue
        kind = map_kind(name)
        values = 100 * values if kind.unit == "%" else values
        if name == "Dstar":
            values = np.where(fit.d_star_identifiable, values, np.float32(np.nan))
        maps.append(ParametricMap(kind, _on_grid(series.like, values, name), facts))
    volume = _on_grid(series.like, doubt, "doubt")
    return [*maps, ParametricMap(map_kind("doubt"), volume, facts, _REASONS)]


def _doubt(fit: Fit, mask: np.ndarray) -> np.ndarray:
    doubt = np.zeros(mask.shape, np.uint8)
    doubt[~mask] = Doubt.LOW_SIGNAL
    doubt[mask & ~fit.valid] = Doubt.FAILED
    for name, meaning, where in (
        ("at_bound", Doubt.AT_LIMIT, True),
        ("d_star_identifiable", Doubt.DSTAR_UNKNOWN, False),
        ("typical", Doubt.ATYPICAL, False),
    ):
        if (values := getattr(fit, name, None)) is not None:
            doubt[fit.valid & (values == where)] |= np.uint8(meaning)
    return doubt


def _model_map(choice: ModelChoice, like: Volume, facts: dict[str, object]) -> ParametricMap:
    volume = _on_grid(like, (choice.best + 1).astype(np.uint8), "model")
    codes = {0: "none"} | {n + 1: name for n, name in enumerate(MODELS)}
    return ParametricMap(map_kind("model"), volume, facts, codes)


def _on_grid(like: Volume, values: np.ndarray, name: str) -> Volume:
    return Volume(values, like.ijk_to_ras.copy(), name)
