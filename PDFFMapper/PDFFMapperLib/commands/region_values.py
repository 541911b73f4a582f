"""Tables of region values that the commands write beside their maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.diffusion.model_choice import MODELS
from PDFFMapperLib.diffusion.pooled import PooledFit, fit_pooled
from PDFFMapperLib.diffusion.series import diffusion_series
from PDFFMapperLib.images.tables import write_table
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.kinds import DIFFUSIVITY
from PDFFMapperLib.maps.parametric_map import ParametricMap

_UNITS = {"adc": DIFFUSIVITY, "d": DIFFUSIVITY, "d_star": DIFFUSIVITY, "f": "%", "s0": "signal"}
_SAID = ("PDFF", "FF", "R2star", "HAP", "VNCa")  # of maps whose means are printed
_MODELS = {"adc": MODELS[:1], "adc-wls": MODELS[:1], "kurtosis": MODELS[:2]}


def of_maps(
    path: Path,
    maps: Sequence[ParametricMap],
    regions: Mapping[str, np.ndarray],
    images: Sequence[Volume],
    settings: SimpleNamespace,
) -> None:
    """Mean, SD and median per region over confident voxels; the same printed for fractions."""
    doubt = next((each.volume.array for each in maps if each.kind.id == "doubt"), None)
    rows = []
    for region, inside in regions.items():
        used = inside if doubt is None else inside & (doubt == 0)
        for each in maps:
            unit = each.kind.unit
            if unit not in ("%", "1/s", "ms", "Hz", "HU", "mg/cm^3"):
                continue
            values = each.volume.array[used]
            values = values[np.isfinite(values)]
            numbers = ["", "", ""]
            if values.size:
                numbers = [f"{f(values):.6g}" for f in (np.mean, np.std, np.median)]
            rows.append([region, each.name, unit, int(inside.sum()), values.size, *numbers])
            if each.name.startswith(_SAID) and "SD" not in each.name:
                shown = f"mean {numbers[0]} {unit}" if values.size else "no usable voxel"
                count = f"{values.size} of {np.count_nonzero(inside)} voxels"
                print(f"Region {region}, {each.name}: {shown} ({count})")
    columns = ["region", "map", "unit", "voxels", "used", "mean", "sd", "median"]
    write_table(path, columns, rows)


def of_diffusion(
    path: Path,
    maps: Sequence[ParametricMap],
    regions: Mapping[str, np.ndarray],
    images: Sequence[Volume],
    settings: SimpleNamespace,
) -> None:
    """One pooled fit per region: a row for each model and parameter, the supported one printed."""
    facts = maps[0].provenance
    series = diffusion_series(images, settings)
    fits = {
        name: fit_pooled(
            series.signal,
            series.b_values,
            inside,
            sigma=facts["sigma"],
            averages=series.averages,
            models=_MODELS.get(facts["method"], MODELS),
        )
        for name, inside in regions.items()
    }
    _write_pooled(path, fits)


def _write_pooled(path: Path, fits: dict[str, PooledFit]) -> None:
    """One row per region, model and parameter; the same printed for the supported model."""
    rows = []
    for region, pooled in fits.items():
        for name, fit in pooled.fits.items():
            for parameter, e in fit.estimates.items():
                scale = 100 if parameter == "f" else 1
                numbers = [f"{scale * value:.6g}" for value in (e.value, e.lower, e.upper)]
                about = [region, pooled.voxels, name, name == pooled.best, parameter]
                rows.append([*about, *numbers, _UNITS.get(parameter, ""), e.closed])
    write_table(
        path,
        ["region", "voxels", "model", "supported", "parameter"]
        + ["value", "lower95", "upper95", "unit", "identifiable"],
        rows,
    )
    for region, pooled in fits.items():
        print(f"Region {region}, {pooled.voxels} voxels, supported model {pooled.best}:")
        for parameter, e in pooled.fits[pooled.best].estimates.items():
            scale = 100 if parameter == "f" else 1
            known = "" if e.closed else ", not identifiable"
            print(
                f"  {parameter} {scale * e.value:.4g} ({scale * e.lower:.4g} to "
                f"{scale * e.upper:.4g}) {_UNITS.get(parameter, '')}{known}".rstrip()
            )
