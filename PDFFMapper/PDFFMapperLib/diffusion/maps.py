"""Diffusion fits as parametric maps with units, fixed windows and provenance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from PDFFMapperLib.diffusion.adc import AdcFit
from PDFFMapperLib.diffusion.ivim import IvimFit
from PDFFMapperLib.diffusion.ivim_bayes import IvimPosterior
from PDFFMapperLib.diffusion.kurtosis import KurtosisFit
from PDFFMapperLib.diffusion.model_choice import MODELS, ModelChoice
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.parametric_map import ParametricMap

DIFFUSIVITY = "10^-3 mm^2/s"
_SIGNAL = "signal"

# field of the fit: name, title, unit, window (None: 0 to the 99th percentile), color
_MAPS = {
    "adc": ("ADC", "Apparent diffusion coefficient", DIFFUSIVITY, (0.0, 2.0), "Grey"),
    "d": ("D", "Diffusion coefficient", DIFFUSIVITY, (0.0, 2.0), "Grey"),
    "d_star": ("Dstar", "Pseudo-diffusion coefficient", DIFFUSIVITY, (0.0, 60.0), "Inferno"),
    "f": ("f", "Perfusion fraction", "%", (0.0, 30.0), "Inferno"),
    "f_d_star": ("fDstar", "f x D*", DIFFUSIVITY, (0.0, 10.0), "Inferno"),
    "k": ("K", "Excess kurtosis", "", (0.0, 2.0), "Viridis"),
    "s0": ("S0", "Signal at b = 0", _SIGNAL, None, "Grey"),
    "residual": ("residual", "Root mean square residual", _SIGNAL, None, "Grey"),
    "r_squared": ("R2", "Share of the signal's variance explained", "", (0.0, 1.0), "Viridis"),
    "adc_sd": ("ADC_SD", "Standard deviation of ADC", DIFFUSIVITY, (0.0, 0.5), "Viridis"),
    "d_sd": ("D_SD", "Standard deviation of D", DIFFUSIVITY, (0.0, 0.5), "Viridis"),
    "d_star_sd": ("Dstar_SD", "Standard deviation of D*", DIFFUSIVITY, (0.0, 30.0), "Viridis"),
    "f_sd": ("f_SD", "Standard deviation of f", "%", (0.0, 15.0), "Viridis"),
    "f_d_star_sd": ("fDstar_SD", "Standard deviation of f D*", DIFFUSIVITY, (0.0, 5.0), "Viridis"),
    "k_sd": ("K_SD", "Standard deviation of K", "", (0.0, 1.0), "Viridis"),
    "s0_sd": ("S0_SD", "Standard deviation of S0", _SIGNAL, None, "Viridis"),
    "valid": ("valid", "Voxels that were fitted", "", (0.0, 1.0), "Grey"),
    "at_bound": ("at_bound", "Voxels whose estimate lies at a limit", "", (0.0, 1.0), "Grey"),
    "d_star_identifiable": (
        "Dstar_identifiable",
        "Voxels whose data tell D*",
        "",
        (0.0, 1.0),
        "Grey",
    ),
    "typical": (
        "typical",
        "Voxels that the learned distribution explains",
        "",
        (0.0, 1.0),
        "Grey",
    ),
}  # fmt: skip


def diffusion_maps(
    fit: AdcFit | KurtosisFit | IvimFit | IvimPosterior,
    like: Volume,
    provenance: Mapping[str, object],
) -> list[ParametricMap]:
    """All maps of a fit.

    Args:
        fit: its arrays have the shape of `like`.
        like: a volume on the same grid.
        provenance: method, settings and inputs, JSON-ready.
    """
    maps = []
    for key, (name, title, unit, window, color) in _MAPS.items():
        values = getattr(fit, key, None)
        if values is None:
            continue
        if unit == "%":
            values = 100 * values
        if window is None:
            shown = values[np.isfinite(values)]
            window = (0.0, float(np.percentile(shown, 99)) if shown.size else 1.0)
        maps.append(
            ParametricMap(
                name, _on_grid(like, values, name), unit, window, color, title, dict(provenance)
            )
        )
    return maps


def model_map(choice: ModelChoice, like: Volume, provenance: Mapping[str, object]) -> ParametricMap:
    """The chosen model per voxel: 0 none, 1 mono-exponential, 2 kurtosis, 3 IVIM."""
    title = "Model chosen by AICc: " + ", ".join(f"{n + 1} {name}" for n, name in enumerate(MODELS))
    volume = _on_grid(like, (choice.best + 1).astype(np.uint8), "model")
    return ParametricMap("model", volume, "", (0.0, 3.0), "Viridis", title, dict(provenance))


def _on_grid(like: Volume, values: np.ndarray, name: str) -> Volume:
    return Volume(values, like.ijk_to_ras.copy(), name)
