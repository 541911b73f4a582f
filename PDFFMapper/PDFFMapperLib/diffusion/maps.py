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
from PDFFMapperLib.maps.kinds import map_kind
from PDFFMapperLib.maps.parametric_map import ParametricMap

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
    for key, name in _MAPS.items():
        values = getattr(fit, key, None)
        if values is not None:
            kind = map_kind(name)
            values = 100 * values if kind.unit == "%" else values
            maps.append(ParametricMap(kind, _on_grid(like, values, name), dict(provenance)))
    return maps


def model_map(choice: ModelChoice, like: Volume, provenance: Mapping[str, object]) -> ParametricMap:
    """The chosen model per voxel: 0 none, 1 mono-exponential, 2 kurtosis, 3 IVIM."""
    volume = _on_grid(like, (choice.best + 1).astype(np.uint8), "model")
    codes = {0: "none"} | {n + 1: name for n, name in enumerate(MODELS)}
    return ParametricMap(map_kind("model"), volume, dict(provenance), codes)


def _on_grid(like: Volume, values: np.ndarray, name: str) -> Volume:
    return Volume(values, like.ijk_to_ras.copy(), name)
