"""The numbers of regions: a table of the UTE command, rows of a table in the scene."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.files import written_whole
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.ute.answer import RegionNumbers, RegionValue
from PDFFMapperLib.ute.density import density_images, density_rows
from PDFFMapperLib.ute.echoes import UteImages, echo_series, phased_series, ute_pair, ute_series
from PDFFMapperLib.ute.mt_fit import macromolecules
from PDFFMapperLib.ute.mt_protocol import mt_images
from PDFFMapperLib.ute.regions import (
    bi_component,
    echo_ratio,
    porosity_index,
    suppression_ratio,
    transfer_ratio,
)
from PDFFMapperLib.ute.steady_state import pools_of
from PDFFMapperLib.ute.t1 import t1_images, t1_rows
from PDFFMapperLib.ute.tri_region import tri_component
from PDFFMapperLib.ute.water import water_densities

_OF_METHOD = {
    "porosity-index": (ute_series, porosity_index),
    "echo-ratio": (echo_series, echo_ratio),
    "tri-component": (phased_series, None),  # with their settings
    "bi-component": (ute_series, None),
    "cortex": (ute_series, porosity_index),
    "suppression-ratio": (ute_pair, suppression_ratio),
    "mtr": (ute_pair, transfer_ratio),
    "density": (density_images, lambda data, inside: density_rows(data, inside)[0]),
    "t1": (t1_images, t1_rows),
    "mt": (mt_images, lambda data, inside: macromolecules(data, inside).rows),
}


def _of(fit: Callable, *more: object) -> Callable[[UteImages, np.ndarray], list[RegionValue]]:
    """The rows of a fit with what it is told besides."""
    return lambda images, inside: fit(images, inside, *more)[1]


def region_numbers(
    method: str,
    regions: Mapping[str, np.ndarray],
    images: Sequence[Volume],
    settings: SimpleNamespace,
) -> RegionNumbers:
    """The numbers of each region, by its voxels.

    Raises:
        ValueError: no region has a number.
    """
    read, measure = _OF_METHOD[method]
    data = read(images, settings)
    if method == "tri-component":
        measure = _of(tri_component, settings.t2star_pore, settings.t2star_fat)
    elif method == "bi-component":
        measure = _of(bi_component, pools_of(settings, images[0]))
        if settings.reference_label is not None:
            measure = _with_water(data, regions, images, settings, measure)
    found = RegionNumbers([], [])
    for name, inside in regions.items():
        voxels = int(inside.sum())
        try:
            found.rows.extend((name, voxels, one) for one in measure(data, inside))
        except ValueError as error:
            found.refused.append((name, voxels, str(error).rstrip(".")))
    if not found.rows:
        name, _, reason = found.refused[0]
        raise ValueError(f"Region {name}: {reason}.")
    return found


def of_segments(
    maps: Sequence[ParametricMap],
    regions: Mapping[str, np.ndarray],
    images: Sequence[Volume],
    settings: SimpleNamespace,
) -> RegionNumbers | None:
    """The numbers of segments; where none were given those of the bone that was mapped as one.

    Raises:
        ValueError: see `region_numbers`.
    """
    facts = maps[0].provenance
    if regions:
        return region_numbers(facts["method"], regions, images, settings)
    if "region" not in facts:
        return None
    units, voxels = facts["region_units"], int(np.isfinite(maps[0].volume.array).sum())
    rows = [
        ("bone", voxels, RegionValue(name, np.nan if n is None else n, *ends, units[name]))
        for name, (n, *ends) in facts["region"].items()
    ]
    return RegionNumbers(rows, [])


def of_ute(
    path: Path,
    maps: Sequence[ParametricMap],
    regions: Mapping[str, np.ndarray],
    images: Sequence[Volume],
    settings: SimpleNamespace,
) -> None:
    """One row per region and number; a region without one has its reason.

    Raises:
        ValueError: no region has a number.
    """
    found = region_numbers(maps[0].provenance["method"], regions, images, settings)
    for name, rows in groupby(found.rows, lambda row: row[:2]):
        told = "; ".join(one.told() for *_, one in rows)
        print(f"Region {name[0]}, {name[1]} voxels: {told}")
    for name, _, reason in found.refused:
        print(f"Region {name} has no value: {reason}.")
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerow(
            ["region", "voxels", "quantity", "value", "lower95", "upper95", "unit"]
            + ["cramer_rao_sd", "note"]
        )
        for name, voxels, one in found.rows:
            numbers = [f"{n:.6g}" for n in (one.value, one.lower, one.upper)]
            sd = f"{one.bound_sd:.6g}" if np.isfinite(one.bound_sd) else ""
            table.writerow([name, voxels, one.quantity, *numbers, one.unit, sd, one.note])
        for name, voxels, reason in found.refused:
            table.writerow([name, voxels, "", "", "", "", "", "", reason])


def _with_water(
    data: UteImages,
    regions: Mapping[str, np.ndarray],
    images: Sequence[Volume],
    settings: SimpleNamespace,
    measure: Callable,
) -> Callable[[UteImages, np.ndarray], list[RegionValue]]:
    """The rows of two components with water densities against the region of a reference.

    Raises:
        ValueError: no region has its number, or what the densities need is not stated.
    """
    label = settings.reference_label
    reference = regions.get(label)
    if reference is None:
        raise ValueError(
            f"No region has the reference's number or name {label} (--reference-label)."
        )
    pools = pools_of(settings, images[0])
    needed = ("reference_density", "reference_t1", "reference_t2star")
    missing = [name for name in needed if getattr(settings, name) is None]
    if pools is None or missing:
        flags = [f"--{name.replace('_', '-')}" for name in missing]
        flags = [*([] if pools else ["--t1-bound", "--t1-pore"]), *flags]
        raise ValueError(f"Water densities need {', '.join(flags)} besides the reference's label.")

    def both(images: UteImages, inside: np.ndarray) -> list[RegionValue]:
        if (inside & reference).any():
            raise ValueError("it is the reference")
        rows = water_densities(images, inside, reference, pools, settings)
        return [*measure(images, inside), *rows]

    return both
