"""All that UTE images say of one bone: its cortex, ratios and waters, or why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress, tell
from PDFFMapperLib.maps.recipe import check_one_grid
from PDFFMapperLib.ute.answer import Bone, RegionValue
from PDFFMapperLib.ute.cortex import LAYERS, Cortex, find_cortex
from PDFFMapperLib.ute.echoes import (
    UteImages,
    check_component_echoes,
    ute_pair,
    ute_series,
)
from PDFFMapperLib.ute.regions import (
    bi_component,
    high_field_note,
    porosity_index,
    suppression_ratio,
    transfer_ratio,
)

ENDOSTEUM = (
    "Fat off resonance is blurred by a radial readout, so the endosteal layer may hold marrow."
)
NO_VOXEL = "no voxel is cortex alone; the PI of the fitted ring holds"


def measure_bone(
    series: Sequence[Volume],
    settings: SimpleNamespace,
    progress: Progress | None = None,
) -> Bone:
    """Everything that a UTE series gives of one bone.

    Args:
        series: one volume per echo.
        settings: the options of `recipe.BONE`, which calls this; the bone is where `mask` is above
            0.
        progress: called with the fraction done; returning False cancels.

    Raises:
        ValueError: as `ute_series` and `find_cortex`; grids differ.
        InterruptedError: canceled.
    """
    tell(progress, 0.0, "Measuring bone")
    bone = settings.mask
    data = ute_series(series, settings)
    first = series[int(np.argmin([abs(te - data.te_ms[0]) for te in _times(series, settings)]))]
    pairs = []
    for name, other, measure in (
        ("SR", settings.suppressed, suppression_ratio),
        ("MTR", settings.transferred, transfer_ratio),
    ):
        if other is not None:
            check_one_grid(other, data.grid)
            pairs.append((name, ute_pair([first, other], settings), measure))
    found = Bone({}, {}, [], "")
    if bone is None:
        found.cortex = find_cortex(data, settings.psf, point_of(settings.point))
        inside = found.cortex.bone
        for row in cortex_values(found.cortex, data):
            found.values[row.quantity] = row
        found.cautions += [*found.cortex.notes, ENDOSTEUM]
        found.how = f"cortex found in {len(found.cortex.rings)} slices"
    else:
        check_one_grid(bone, data.grid)
        inside = bone.array > 0
        found.how = f"bone as given, {int(inside.sum())} voxels"
    times = ", ".join(f"{te:.4g}" for te in data.te_ms)
    found.how = f"UTE at TE {times} ms; {found.how}; {data.noise.told}"
    found.notes = list(data.notes)
    _take(found, "PI", lambda: porosity_index(data, inside), inside)
    if len(data.te_ms) > 2:
        _take(found, "bound_fraction", lambda: _components(data, inside), inside)
    for name, pair, measure in pairs:
        found.notes += [f"{name}: {note}" for note in pair.notes]
        _take(found, name, lambda m=measure, p=pair: m(p, inside), inside)
    if "bound_fraction" in found.values:
        found.cautions += high_field_note(data.field_t)
    return found


def _times(series: Sequence[Volume], settings: SimpleNamespace) -> list[float]:
    """Echo times in ms, as the series has them; it was read before."""
    if settings.echo_times_s is not None:
        return [1e3 * time for time in settings.echo_times_s]
    return [float(one.attributes["EchoTime"]) for one in series]


def _components(data: UteImages, inside: np.ndarray) -> list[RegionValue]:
    check_component_echoes(data.te_ms)
    return bi_component(data, inside)[1]


def _take(
    found: Bone, name: str, measure: Callable[[], list[RegionValue]], inside: np.ndarray
) -> None:
    """The rows of a quantity, or why it has none."""
    try:
        if not inside.any():
            raise ValueError(NO_VOXEL)
        found.values |= {row.quantity: row for row in measure()}
    except ValueError as error:
        found.refused[name] = str(error).rstrip(".")


def cortex_values(cortex: Cortex, data: UteImages) -> list[RegionValue]:
    """Thickness and area of a found cortex, PI without partial volume, and PI of its layers."""
    rows = [_row("thickness", *cortex.thickness_mm(), "mm")]
    rows += [_row(f"thickness, {name}", *one, "mm") for name, one in cortex.sectors.items()]
    rows.append(_row("area", *cortex.area_mm2(), "mm^2"))
    rows.append(_row("PI of the fitted ring", *_fitted_porosity(cortex), "%"))
    for n, name in enumerate(LAYERS, 1):
        layer = cortex.bone & (cortex.layer == n)
        try:
            row = porosity_index(data, layer)[0] if layer.any() else None
        except ValueError:
            row = None
        if row:
            label = f"PI, {name} third"
            rows.append(RegionValue(label, row.value, row.lower, row.upper, "%", note=row.note))
    return rows


def _row(name: str, value: float, sd: float, unit: str) -> RegionValue:
    return RegionValue(name, value, value - 1.96 * sd, value + 1.96 * sd, unit)


def _fitted_porosity(cortex: Cortex) -> tuple[float, float]:
    """PI by the levels of cortex in both echoes, free of partial volume, and its SD."""
    levels = np.array([ring.levels[:, 1] for ring in cortex.rings.values()])
    sds = np.array([ring.level_sd for ring in cortex.rings.values()])
    mean = levels.mean(axis=0)
    sd = np.sqrt(np.sum(sds**2, axis=0)) / len(sds)
    early, late = mean
    ratio = float(late / early)
    return 100 * ratio, 100 * float(np.hypot(sd[1] / early, ratio * sd[0] / early))


def point_of(text: str | None) -> list[float] | None:
    """A point as R,A,S in mm; None where none is given.

    Raises:
        ValueError: these are not three numbers.
    """
    if not text:
        return None
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != 3 or not np.isfinite(found).all():
        raise ValueError(f"A point needs three numbers R,A,S in mm; '{text}' was given.")
    return found
