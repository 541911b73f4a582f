"""The table of region values that the UTE command writes."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.files import written_whole
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.ute.answer import RegionValue
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


def of_ute(
    path: Path,
    maps: Sequence[ParametricMap],
    labels: np.ndarray,
    images: Sequence[Volume],
    settings: SimpleNamespace,
) -> None:
    """One row per label and number; a region without one has its reason.

    Raises:
        ValueError: no region has a number.
    """
    read, measure = _OF_METHOD[maps[0].provenance["method"]]
    data = read(images, settings)
    if maps[0].provenance["method"] == "tri-component":
        known = settings.t2star_pore, settings.t2star_fat
        measure = _of(tri_component, *known)
    elif maps[0].provenance["method"] == "bi-component":
        measure = _of(bi_component, pools_of(settings, images[0]))
        if settings.reference_label is not None:
            measure = _with_water(data, labels, images, settings, measure)
    rows, refused = [], {}
    for label in np.unique(labels[labels > 0]):
        inside = labels == label
        try:
            found = measure(data, inside)
        except ValueError as error:
            refused[int(label)] = str(error)
            continue
        print(f"Region {label}, {inside.sum()} voxels: " + "; ".join(one.told() for one in found))
        rows += [(int(label), int(inside.sum()), one) for one in found]
    if not rows:
        label, reason = next(iter(refused.items()))
        raise ValueError(f"Region {label}: {reason}.")
    for label, reason in refused.items():
        print(f"Region {label} has no value: {reason}.")
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerow(
            ["region", "voxels", "quantity", "value", "lower95", "upper95", "unit"]
            + ["cramer_rao_sd", "note"]
        )
        for label, voxels, one in rows:
            numbers = [f"{n:.6g}" for n in (one.value, one.lower, one.upper)]
            sd = f"{one.bound_sd:.6g}" if np.isfinite(one.bound_sd) else ""
            table.writerow([label, voxels, one.quantity, *numbers, one.unit, sd, one.note])
        for label, reason in refused.items():
            table.writerow([label, int((labels == label).sum()), "", "", "", "", "", "", reason])


def _with_water(
    data: UteImages,
    labels: np.ndarray,
    images: Sequence[Volume],
    settings: SimpleNamespace,
    measure: Callable,
) -> Callable[[UteImages, np.ndarray], list[RegionValue]]:
    """The rows of two components with water densities against the region of a reference.

    Raises:
        ValueError: no region has its number, or what the densities need is not stated.
    """
    label = settings.reference_label
    reference = labels == (int(label) if label.isdigit() else -1)
    if not reference.any():
        raise ValueError(f"No region has the reference's number {label} (--reference-label).")
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
