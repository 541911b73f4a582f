"""Vials of a phantom: their true PDFF from a table, and what a map shows of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PDFFMapperLib.images.tables import read_csv
from PDFFMapperLib.images.volume import Volume, grids_differ

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.sources.labels import check_labels
from MarrowAssessLib.sources.volume_source import read_source
from MarrowAssessLib.study.map_scale import in_stated_unit, scale_advice, without_scale

COLUMNS = ("label", "pdff")
LEAST_VOXELS = 10
LEAST_SHARE = 0.5  # of a vial's voxels that must have a value


@dataclass(frozen=True)
class Vial:
    """One vial: its value in the label map, and its true PDFF in percent."""

    label: int
    pdff: float


@dataclass(frozen=True)
class Scan:
    """What one map shows of the vials.

    Attributes:
        condition: scanner, site or protocol.
        pdff: mean of each vial in percent.
        sd: of its voxels.
        used, voxels: voxels with a value, and all, of each vial.
    """

    condition: str
    pdff: np.ndarray
    sd: np.ndarray
    used: np.ndarray
    voxels: np.ndarray


def read_vials(path: str | Path) -> list[Vial]:
    """A CSV table with columns label and pdff (percent), in the order of its lines.

    Raises:
        FileNotFoundError, ValueError: no table of that kind; one sentence.
    """
    path = Path(path)
    rows = read_csv(path, "a table of true values (percent)", COLUMNS)
    vials = [_vial(row, f"{path.name}, line {n}") for n, row in rows]
    labels = [vial.label for vial in vials]
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise ValueError(f"{path.name}: label {min(twice)} is there twice; keep one line of it.")
    if vials and 0 < max(vial.pdff for vial in vials) <= 1:
        raise ValueError(
            f"{path.name}: no true value is above 1, as if they were fractions; give percent."
        )
    return vials


def _vial(row: dict, where: str) -> Vial:
    try:
        vial = Vial(int(row["label"]), float(row["pdff"]))
    except (TypeError, ValueError):
        raise ValueError(
            f"{where}: label '{row['label']}' and pdff '{row['pdff']}' are no whole number and "
            "number."
        ) from None
    if vial.label < 1 or not 0 <= vial.pdff <= 100 or not math.isfinite(vial.pdff):
        raise ValueError(
            f"{where}: label {vial.label} with {vial.pdff:g} % is given; labels are above 0, true "
            "values from 0 to 100 percent."
        )
    return vial


def read_pdff(source: str) -> Volume:
    """A PDFF map in percent.

    Raises:
        FileNotFoundError, ValueError: it cannot be read, or is in another scale.
    """
    volume, _ = in_stated_unit(read_source(source, Contrast.PDFF), Contrast.PDFF)
    if advice := scale_advice(volume, Contrast.PDFF):
        raise ValueError(without_scale(advice))
    return volume


def measured(condition: str, pdff: Volume, labels: Volume, vials: list[Vial]) -> Scan:
    """Mean PDFF of each vial.

    Raises:
        ValueError: other grids, no label map, or a vial with too few voxels that have a value.
    """
    labels = labels.in_order_of(pdff)
    if not labels.same_grid(pdff):
        raise ValueError(
            grids_differ(labels, pdff, "draw the vials on this map, and give --vials once a scan")
        )
    check_labels(labels)
    found = [pdff.array[labels.array == vial.label] for vial in vials]
    values = [inside[np.isfinite(inside)] for inside in found]
    for vial, inside, own in zip(vials, found, values, strict=True):
        if len(own) < max(LEAST_VOXELS, LEAST_SHARE * len(inside)):
            raise ValueError(
                f"{condition}, {pdff.name}: vial {vial.label} has a value in {len(own)} of "
                f"{len(inside)} voxels; at least {LEAST_VOXELS}, and half of them, are needed. "
                "Draw it inside the vial, or leave its line out of the table."
            )
    return Scan(
        condition,
        np.array([own.mean(dtype=float) for own in values]),
        np.array([own.std(dtype=float) for own in values]),
        np.array([len(own) for own in values]),
        np.array([len(inside) for inside in found]),
    )
