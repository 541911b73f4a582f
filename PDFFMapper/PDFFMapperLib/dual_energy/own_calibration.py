"""A calibration of one's own scanner: measured in regions, kept with scanner and beams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from PDFFMapperLib.dual_energy.calibration import HAP_DENSITY, Calibration
from PDFFMapperLib.dual_energy.decomposition import TYPICAL_HAP, seen_of, three_materials
from PDFFMapperLib.dual_energy.pair import kev_of, kv_of, kv_pair_of
from PDFFMapperLib.images.attributes import scanner_of
from PDFFMapperLib.images.json_file import read_json, write_json
from PDFFMapperLib.images.volume import Volume

KIND = "dual-energy calibration"
FEWEST_VOXELS = 30
_MATERIALS = ("yellow", "red", "hap")
# What each may measure at either beam.
_FAT_HU, _CELLS_HU, _MINERAL_HU = (-200.0, -20.0), (0.0, 150.0), (5.0, 3000.0)


def beams_of(low: Volume, high: Volume, kv_pair: str = "auto") -> str:
    """As "90/Sn150 kV" or "50/200 keV", "" where neither headers nor the user tell.

    Args:
        low, high: the pair.
        kv_pair: tube voltages that the user stated, in place of the headers'.
    """
    energies = kev_of(low), kev_of(high)
    if all(energies):
        return f"{energies[0]:g}/{energies[1]:g} keV"
    if kv_pair == "auto":
        if None in (kv_of(low), kv_of(high)):
            return ""
        kv_pair = kv_pair_of(low, high)
    return f"{kv_pair} kV"


def of_regions(
    low: Volume,
    high: Volume,
    labels: np.ndarray,
    yellow: int,
    red: int,
    mineral: Calibration | tuple[int, float],
) -> Calibration:
    """A calibration by mean CT numbers of regions.

    Args:
        low, high: the pair.
        labels: numbers of regions on their grid.
        yellow: label of pure fat, such as that below the skin.
        red: label of tissue without fat that stands for red marrow: muscle or spleen.
        mineral: label of a phantom's insert and its hydroxyapatite in water, mg/cm^3; or the table
            for these beams and this body, whose mineral is taken.

    Raises:
        ValueError: a label without enough voxels, or whose CT numbers are not of such tissue.
    """
    fat = _mean(low, high, labels, yellow, "fat", _FAT_HU)
    cells = _mean(low, high, labels, red, "muscle or spleen", _CELLS_HU)
    if isinstance(mineral, Calibration):
        told = f"own fat and cells, mineral of {mineral.told}"
        return replace(mineral, yellow=fat, red=cells, told=told)
    label, content = mineral
    if not 0 < content < HAP_DENSITY:
        raise ValueError(
            f"The insert holds {content:g} mg/cm^3; a number between 0 and {HAP_DENSITY:g} is "
            "expected."
        )
    seen = _mean(low, high, labels, label, "mineral in water", _MINERAL_HU)
    share = content / HAP_DENSITY  # the rest of its volume is water of 0 HU
    return Calibration(seen / share, fat, cells, f"own regions and insert of {content:g} mg/cm^3")


def beside_table(of: Calibration, table: Calibration) -> str:
    """What a vertebra of 100 mg/cm^3 in half-yellow marrow by the table reads with another one.

    Fat below the skin is darker and muscle brighter than either marrow, so that mineral shifts.
    """
    seen = seen_of(table, TYPICAL_HAP).astype(np.float32)
    found = three_materials(seen[:1], seen[1:], of)
    return (
        f"Marrow of {TYPICAL_HAP:g} mg/cm^3, 50 % yellow by the {table.told}, reads "
        f"{found.hap[0]:.0f} mg/cm^3 and {found.yellow[0]:.0f} % with this calibration."
    )


def _mean(
    low: Volume,
    high: Volume,
    labels: np.ndarray,
    label: int,
    what: str,
    within: tuple[float, float],
) -> np.ndarray:
    inside = labels == label
    if np.count_nonzero(inside) < FEWEST_VOXELS:
        raise ValueError(
            f"Label {label} ({what}) has {np.count_nonzero(inside)} voxels; {FEWEST_VOXELS} or "
            "more are expected."
        )
    found = np.array([float(np.mean(one.array[inside])) for one in (low, high)])
    if not ((found > within[0]) & (found < within[1])).all():
        raise ValueError(
            f"Label {label} measures {found[0]:.0f} and {found[1]:.0f} HU, which is no {what}; "
            f"{within[0]:g} to {within[1]:g} HU are expected."
        )
    return found


def write_calibration(
    path: str | Path, of: Calibration, low: Volume, high: Volume, kv_pair: str = "auto"
) -> None:
    """Keep a calibration with the scanner and the beams (see `beams_of`) it is of."""
    content = {
        "kind": KIND,
        "scanner": scanner_of(low.attributes),
        "beams": beams_of(low, high, kv_pair),
        "told": of.told,
        **{name: [round(float(n), 2) for n in getattr(of, name)] for name in _MATERIALS},
    }
    write_json(path, content)


def read_calibration(
    path: str | Path, low: Volume, high: Volume, kv_pair: str = "auto"
) -> Calibration:
    """A kept calibration, for images of the scanner and beams (see `beams_of`) it is of.

    Raises:
        FileNotFoundError, ValueError: no such file, no calibration, or one of another scanner or
            of other beams.
    """
    path = Path(path)
    content = read_json(path, f"a {KIND}")
    if content.get("kind") != KIND:
        raise ValueError(f"{path.name}: this is no {KIND}; make one with `calibrate`.")
    numbers = {name: _pair_of(content, name, path) for name in _MATERIALS}
    for what, verb, of, here in (
        ("scanner", "is", content.get("scanner"), scanner_of(low.attributes)),
        ("beams", "are", content.get("beams"), beams_of(low, high, kv_pair)),
    ):
        if of and here and of != here:
            raise ValueError(
                f"{path.name}: the {what} of this calibration {verb} {of}, of the images {here}; "
                "measure a calibration for them."
            )
    return Calibration(told=f"{path.stem} ({content.get('told', 'own')})", **numbers)


def _pair_of(content: Mapping[str, object], name: str, path: Path) -> np.ndarray:
    value = content.get(name)
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(isinstance(n, (int, float)) and np.isfinite(n) for n in value)
    ):
        raise ValueError(f"{path.name}: '{name}' must be two CT numbers, low and high.")
    return np.array(value, float)
