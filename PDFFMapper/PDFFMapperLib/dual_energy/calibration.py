"""CT numbers of bone mineral, yellow and red marrow at two beams, by tube voltages and body size.

Tables are made from spectra and cross-sections (Testing/benchmarks/dual_energy_table.py). Bone
mineral's CT number over that of marrow falls at the low tube voltage as the body hardens the beam:
so does the dual-energy ratio.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from PDFFMapperLib.install.resources import resource_path

HAP_DENSITY = 3160.0  # mg/cm^3 of pure hydroxyapatite
WATER_DENSITY = 998.0  # at 20 degrees Celsius
LEAST_KV_APART = 30.0
RATIO_ERROR = 0.03  # of a DE ratio between body sizes and scanners
MARROW_ERROR_HU = 5.0  # of the CT numbers of red and yellow marrow


@dataclass(frozen=True)
class Calibration:
    """CT numbers in HU at the low and the high beam, each of shape (..., 2).

    Attributes:
        hap: pure hydroxyapatite of 3.16 g/cm^3.
        yellow, red: pure marrow of either kind.
        told: where it comes from.
    """

    hap: np.ndarray
    yellow: np.ndarray
    red: np.ndarray
    told: str

    @property
    def de_ratio(self) -> np.ndarray:
        """Rise at the low over that at the high beam as mineral replaces half-fat marrow."""
        marrow = (self.yellow + self.red) / 2
        rise = self.hap - marrow
        return rise[..., 0] / rise[..., 1]

    def with_de_ratio(self, ratio: float | np.ndarray) -> Calibration:
        """Another CT number of mineral at the low beam, so that the DE ratio is this one."""
        marrow = (self.yellow + self.red) / 2
        hap = np.array(self.hap, float)
        hap[..., 0] = marrow[..., 0] + ratio * (hap[..., 1] - marrow[..., 1])
        return replace(self, hap=hap)


@lru_cache(maxsize=1)
def _tables() -> dict:
    path = resource_path("PDFFMapperLib", "dual_energy.json")
    return json.loads(path.read_text(encoding="utf-8"))


def known_pairs() -> tuple[str, ...]:
    """Pairs of tube voltages with a table, such as "90/Sn150"."""
    return tuple(_tables()["kv_pairs"])


def of_kv_pair(pair: str, water_cm: float | np.ndarray) -> Calibration:
    """The table of a pair of tube voltages for a body of so many cm of water.

    Args:
        pair: such as "90/Sn150".
        water_cm: water-equivalent diameter; an array gives one calibration for each.

    Raises:
        ValueError: no such pair, or a body beyond the table.
    """
    tables = _tables()
    if pair not in tables["kv_pairs"]:
        raise ValueError(
            f"There is no table of the tube voltages {pair} kV; there are "
            f"{', '.join(known_pairs())}. Give a calibration of your own."
        )
    sizes = tables["water_cm"]
    water = np.asarray(water_cm, float)
    if not ((water >= sizes[0]) & (water <= sizes[-1])).all():
        raise ValueError(
            f"The body is {water.min():.0f} to {water.max():.0f} cm of water; tables reach from "
            f"{sizes[0]} to {sizes[-1]} cm: state its diameter, or a calibration of your own."
        )
    rows = {
        name: np.stack([np.interp(water, sizes, np.array(values)[:, n]) for n in (0, 1)], -1)
        for name, values in tables["kv_pairs"][pair].items()
    }
    return Calibration(told=f"table of {pair} kV", **rows)


def of_kev(low: float, high: float) -> Calibration:
    """The table of two virtual monoenergetic images.

    Raises:
        ValueError: an energy beyond the table, or two that are too close.
    """
    table = _tables()["kev"]
    energies = np.array(table["energies"], float)
    for one in (low, high):
        if not energies[0] <= one <= energies[-1]:
            raise ValueError(
                f"{one:g} keV lies beyond the table of {energies[0]:g} to {energies[-1]:g} keV."
            )
    if high - low < LEAST_KV_APART:
        raise ValueError(
            f"{low:g} and {high:g} keV are too close; give two images {LEAST_KV_APART:g} keV apart "
            "and more (best are 40 or 50 with 140 to 200)."
        )
    at = np.log([low, high])
    rows = {
        name: np.exp(np.interp(at, np.log(energies), np.log(np.array(table[name]) + 1000))) - 1000
        for name in ("hap", "yellow", "red")
    }
    return Calibration(told=f"table of {low:g}/{high:g} keV", **rows)


def published(pair: str) -> Calibration:
    """A maker's own calibration of a pair of tube voltages; its mineral is known by ratio alone.

    Raises:
        ValueError: none is published.
    """
    found = _tables()["published"].get(pair)
    if found is None:
        raise ValueError(
            f"No maker's calibration of {pair} kV is published; there are "
            f"{', '.join(_tables()['published'])}. Give a calibration of your own."
        )
    return _by_ratio(found["yellow"], found["red"], found["de_ratio"], f"published for {pair} kV")


def stated(text: str) -> Calibration:
    """A calibration of the user: CT numbers of yellow and red marrow at both beams, and DE ratio.

    Args:
        text: "YELLOW_LOW,YELLOW_HIGH,RED_LOW,RED_HIGH,DE_RATIO", or with the CT numbers of pure
            hydroxyapatite at both beams in place of the ratio.

    Raises:
        ValueError: other numbers than these.
    """
    try:
        numbers = [float(one) for one in re.split(r"[,;\s]+", text.strip())]
    except ValueError:
        numbers = []
    if len(numbers) not in (5, 6) or not np.isfinite(numbers).all():
        raise ValueError(
            f"'{text}' is no calibration; expected are the CT numbers of yellow and red marrow at "
            "the low and high beam and the DE ratio: -115,-82,75,60,1.81."
        )
    yellow, red = np.array(numbers[:2]), np.array(numbers[2:4])
    if len(numbers) == 6:
        return Calibration(np.array(numbers[4:]), yellow, red, "stated")
    return _by_ratio(yellow, red, numbers[4], "stated")


def _by_ratio(yellow: object, red: object, ratio: float, told: str) -> Calibration:
    """Of marrow and DE ratio; mineral at the high beam is that of a body of 30 cm behind Sn150."""
    high = np.interp(
        30, _tables()["water_cm"], np.array(_tables()["kv_pairs"]["90/Sn150"]["hap"])[:, 1]
    )
    made = Calibration(
        np.array([0.0, high]), np.asarray(yellow, float), np.asarray(red, float), told
    )
    return made.with_de_ratio(ratio)
