"""All that UTE images say of one bone: its cortex, ratios and waters, or why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.mask import inside_of
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress, tell
from PDFFMapperLib.maps.recipe import check_one_grid
from PDFFMapperLib.ute.answer import Bone, RegionValue
from PDFFMapperLib.ute.cortex import Cortex, find_cortex
from PDFFMapperLib.ute.cortex_budget import cortex_budget
from PDFFMapperLib.ute.echoes import (
    LEAST_COMPONENT_ECHOES,
    UteImages,
    check_component_echoes,
    porosity_echoes,
    ute_pair,
    ute_series,
)
from PDFFMapperLib.ute.noise import air_is_masked
from PDFFMapperLib.ute.regions import (
    NOISE_ALONE,
    bi_component,
    first_echo_note,
    high_field_note,
    porosity_index,
    refuse_open,
    rows_of,
    suppression_ratio,
    transfer_ratio,
)
from PDFFMapperLib.ute.ring_levels import ratio_of_levels

ENDOSTEUM = (
    "Fat off resonance is blurred by a radial readout, so the endosteal layer may hold marrow."
)
OF_RING = " of the fitted ring"
BY_EDGES = "one for all slices, by all voxels around both edges"
NO_VOXEL = "no voxel is cortex alone; what is told of the fitted ring holds"


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
            pair = _pair(first, other, settings, data)
            pairs.append((name, replace(pair, te_ms=np.full(2, data.te_ms[0])), measure))
    found = Bone({}, {}, [], "")
    if bone is None:
        found.cortex = find_cortex(data, settings.psf, points_of(settings.point))
        inside = found.cortex.bone
        for row in cortex_values(found.cortex, data):
            found.values[row.quantity] = row
        found.values |= {
            row.quantity: row for row in cortex_budget(found.cortex, data, settings.psf)
        }
        if len(data.te_ms) > 2:
            _take(found, f"bound_fraction{OF_RING}", lambda: ring_components(found.cortex, data))
        found.cautions += [*found.cortex.notes, ENDOSTEUM]
        found.how = f"cortex found in {len(found.cortex.rings)} {found.cortex.sections.name}"
    else:
        check_one_grid(bone, data.grid)
        inside = inside_of(bone, "the bone")
        found.how = f"bone as given, {int(inside.sum())} voxels"
    times = ", ".join(f"{te:.4g}" for te in data.te_ms)
    found.how = f"UTE at TE {times} ms; {found.how}; {data.noise.told}"
    found.notes = list(data.notes)
    if not inside.any():
        waters = ["bound_fraction"] if len(data.te_ms) > 2 else []
        found.refused |= dict.fromkeys(("PI", *waters, *(name for name, *_ in pairs)), NO_VOXEL)
    else:
        _take(found, "PI", lambda: porosity_index(data, inside))
        if len(data.te_ms) > 2:
            _take(found, "bound_fraction", lambda: _components(data, inside))
    if len(data.te_ms) == 1:  # whose ring has no PI either
        _take(found, "PI", lambda: porosity_index(data, inside))
    for name, pair, measure in pairs:
        found.notes += [f"{name}: {note}" for note in pair.notes]
        if inside.any():
            _take(found, name, lambda m=measure, p=pair: m(p, inside))
        if found.cortex is not None:
            _take(found, f"{name}{OF_RING}", lambda n=name, p=pair: ring_ratio(found.cortex, p, n))
            parts = part_values(found.cortex, lambda i, m=measure, p=pair: m(p, i))
            found.values |= {row.quantity: row for row in parts}
    if {"bound_fraction", f"bound_fraction{OF_RING}"} & set(found.values):
        found.cautions += high_field_note(data.field_t)
    return found


def _pair(first: Volume, other: Volume, settings: SimpleNamespace, data: UteImages) -> UteImages:
    """The first echo and its image with a preparation; of masked air the series tells the noise.

    Raises:
        ValueError: as `ute_pair`.
    """
    if settings.sigma is not None or not air_is_masked(np.stack([first.array, other.array])):
        return ute_pair([first, other], settings)
    known = SimpleNamespace(**{**vars(settings), "sigma": data.noise.sigma})
    pair = ute_pair([first, other], known)
    return replace(pair, notes=[*pair.notes, "its air is masked, so that the series' noise holds"])


def _times(series: Sequence[Volume], settings: SimpleNamespace) -> list[float]:
    """Echo times in ms, as the series has them; it was read before."""
    if settings.echo_times_s is not None:
        return [1e3 * time for time in settings.echo_times_s]
    return [float(one.attributes["EchoTime"]) for one in series]


def _components(data: UteImages, inside: np.ndarray) -> list[RegionValue]:
    check_component_echoes(data.te_ms)
    return bi_component(data, inside)[1]


def _take(found: Bone, name: str, measure: Callable[[], list[RegionValue]]) -> None:
    """The rows of a quantity, or why it has none."""
    try:
        found.values |= {row.quantity: row for row in measure()}
    except ValueError as error:
        found.refused[name] = str(error).rstrip(".")


def cortex_values(cortex: Cortex, data: UteImages) -> list[RegionValue]:
    """Thickness and area of a found cortex, PI without partial volume, and ratios of its parts."""
    rows = [_row("thickness", *cortex.thickness_mm(), "mm")]
    rows += [_row(f"thickness, {name}", *one, "mm") for name, one in cortex.sectors.items()]
    rows.append(_row("area", *cortex.area_mm2(), "mm^2"))
    if len(data.te_ms) > 1:
        rows.append(_fitted_porosity(cortex, data))
        rows += part_values(cortex, lambda inside: porosity_index(data, inside))
    if len(data.te_ms) >= LEAST_COMPONENT_ECHOES:
        rows += part_values(cortex, lambda inside: _components(data, inside))
    return rows


def slice_values(cortex: Cortex) -> list[dict[str, float | list[float]]]:
    """Thickness and area of each section, with their SD by noise; PI of two echoes."""
    found = []
    for k, ring in cortex.rings.items():
        row = {
            cortex.sections.one: k,
            "thickness_mm": list(ring.mean_thickness()),
            "area_mm2": list(ring.area()),
        }
        if len(ring.levels) > 1:
            ratio = ratio_of_levels([ring.told], cortex.model_sd_mm).times(100)
            row["PI_percent"] = [ratio.value, ratio.lower, ratio.upper]
        found.append(row)
    return found


def part_values(
    cortex: Cortex, measure: Callable[[np.ndarray], list[RegionValue]]
) -> list[RegionValue]:
    """The first number of each third and side of a cortex; a part that tells none has none."""
    rows = []
    for part, inside in cortex.parts().items():
        try:
            row = measure(inside)[0]
        except ValueError:
            continue
        rows.append(replace(row, quantity=f"{row.quantity}, {part}"))
    return rows


def _row(name: str, value: float, sd: float, unit: str) -> RegionValue:
    return RegionValue(name, value, value - 1.96 * sd, value + 1.96 * sd, unit)


def _fitted_porosity(cortex: Cortex, data: UteImages) -> RegionValue:
    """PI by the levels of cortex in both echoes, one for all slices, free of partial volume."""
    ratio = ratio_of_levels([r.told for r in cortex.rings.values()], cortex.model_sd_mm).times(100)
    te_ms = data.te_ms[porosity_echoes(data.te_ms)[1]]
    note = f"at TE {te_ms:.3g} ms{first_echo_note(data.te_ms[0])}, {BY_EDGES}"
    if ratio.lower == 0:
        note += f"; {NOISE_ALONE}"
    ends = ratio.value, ratio.lower, ratio.upper
    return RegionValue(f"PI{OF_RING}", *ends, "%", note=note)


def ring_components(cortex: Cortex, data: UteImages) -> list[RegionValue]:
    """Bound and pore water by the levels of cortex in all echoes, free of partial volume.

    Raises:
        ValueError: as `check_component_echoes`; the levels leave the fraction open.
    """
    check_component_echoes(data.te_ms)
    fit = cortex.levels_in(data).components(data.te_ms)
    refuse_open(
        fit.bound_percent.bound_sd, "levels leave its bound fraction open", "more echoes help"
    )
    each = (
        ("bound_fraction", fit.bound_percent, "%"),
        ("T2star_bound", fit.t2star_bound_ms, "ms"),
        ("T2star_pore", fit.t2star_pore_ms, "ms"),
    )
    rows = rows_of([(f"{name}{OF_RING}", one, unit) for name, one, unit in each])
    return [replace(rows[0], note=BY_EDGES), *rows[1:]]


def ring_ratio(cortex: Cortex, pair: UteImages, name: str) -> list[RegionValue]:
    """SR or MTR by the levels of cortex in both images, free of partial volume.

    Raises:
        ValueError: the level in the second is noise, for SR.
    """
    levels = cortex.levels_in(pair)
    ratio = levels.ratio() if name == "SR" else levels.turned().ratio().times(-100, 100)
    ends = ratio.value, ratio.lower, ratio.upper
    return [RegionValue(f"{name}{OF_RING}", *ends, "" if name == "SR" else "%", note=BY_EDGES)]


def points_of(text: str | None) -> np.ndarray | None:
    """One or two points as R,A,S in mm, shape (points, 3); None where none is given.

    Raises:
        ValueError: these are not three or six numbers.
    """
    if not text:
        return None
    try:
        found = np.array([float(part) for part in text.split(",")])
    except ValueError:
        found = np.zeros(0)
    if found.size not in (3, 6) or not np.isfinite(found).all():
        raise ValueError(
            f"A point needs three numbers R,A,S in mm, two points six; '{text}' was given."
        )
    return found.reshape(-1, 3)
