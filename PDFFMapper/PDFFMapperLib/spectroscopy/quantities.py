"""What the parameters of a fit say of a voxel: fat fraction, times, composition, with gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from PDFFMapperLib.spectroscopy.model import Quantity, SpectrumModel
from PDFFMapperLib.spectroscopy.triglyceride import (
    METHYL,
    METHYLENE,
    OLEFINIC,
    proton_slopes,
    protons,
)


def quantities(model: SpectrumModel) -> dict[str, Quantity]:
    """Every quantity of a model, with its gradient; "fraction" is the fat fraction in percent."""
    at = model.at
    fats = [name for name in at if name == "fat" or name.startswith("group")]

    def fraction(theta: np.ndarray) -> tuple[float, np.ndarray]:
        fat, water = sum(theta[at[name]] for name in fats), model.value(theta, "water")
        total = max(fat + water, 1e-150)  # its square is no 0
        slope = np.zeros_like(theta)
        slope[[at[name] for name in fats]] = 100 * water / total**2
        if "water" in at:
            slope[at["water"]] = -100 * fat / total**2
        return 100 * fat / total, slope

    found: dict[str, Quantity] = {"fraction": fraction}
    for tissue in ("water", "fat"):
        for rate, time in (("r2", "t2"), ("r1", "t1")):
            if f"{tissue}_{rate}" in at:
                found[f"{time}_{tissue}"] = _inverse(at[f"{tissue}_{rate}"])
    if model.choice.free:
        found["unsaturation"] = _free_unsaturation(at)
        return found
    by_each = proton_slopes()

    def of_bonds(value, slopes) -> Quantity:
        """From a value of ndb, nmidb and chain length and its derivatives by them."""

        def quantity(theta: np.ndarray) -> tuple[float, np.ndarray]:
            ndb, share = theta[at["ndb"]], theta[at["share"]]
            molecule = ndb, share * ndb, model.chain_length(theta)
            d_ndb, d_nmidb, d_length = slopes(*molecule)
            slope = np.zeros_like(theta)
            slope[at["ndb"]] = d_ndb + share * d_nmidb
            slope[at["share"]] = ndb * d_nmidb
            if "chain_length" in at:
                slope[at["chain_length"]] = d_length
            return value(*molecule), slope

        return quantity

    def share_of(top: np.ndarray, bottom: np.ndarray) -> Quantity:
        """Of protons: a sum of peaks over another, in percent."""

        def value(*molecule: float) -> float:
            peaks = protons(*molecule)
            return 100 * (top @ peaks) / (bottom @ peaks)

        def slopes(*molecule: float) -> tuple[float, ...]:
            peaks = protons(*molecule)
            part, whole = top @ peaks, bottom @ peaks
            return tuple(
                100 * ((top @ by) * whole - part * (bottom @ by)) / whole**2 for by in by_each
            )

        return of_bonds(value, slopes)

    def linear(of_ndb: float, of_nmidb: float, constant: float = 0.0) -> Quantity:
        return of_bonds(
            lambda ndb, nmidb, _: constant + of_ndb * ndb + of_nmidb * nmidb,
            lambda *_: (of_ndb, of_nmidb, 0.0),
        )

    if "chain_length" in at:
        found["chain_length"] = of_bonds(lambda *molecule: molecule[2], lambda *_: (0.0, 0.0, 1.0))
    olefinic, methylene, methyl = np.eye(10)[[OLEFINIC, METHYLENE, METHYL]]
    return found | {
        "ndb": linear(1.0, 0.0),
        "nmidb": linear(0.0, 1.0),
        "unsaturation": share_of(olefinic, olefinic + methylene + methyl),
        "olefinic_share": share_of(olefinic, np.ones(10)),
        "olefinic_methylene": share_of(olefinic, methylene),
        "fpufa": linear(0.0, 100 / 3),
        "fmufa": linear(100 / 3, -200 / 3),
        "fsfa": linear(-100 / 3, 100 / 3, 100.0),
    }


def _inverse(place: int) -> Quantity:
    def milliseconds(theta: np.ndarray) -> tuple[float, np.ndarray]:
        slope = np.zeros_like(theta)
        slope[place] = -1000 / theta[place] ** 2
        return 1000 / theta[place], slope

    return milliseconds


def _free_unsaturation(at: dict[str, int]) -> Quantity:
    """Olefinic over olefinic, methylene and methyl, of free amplitudes."""
    three = [at["group6"], at["group1"], at["group0"]]

    def quantity(theta: np.ndarray) -> tuple[float, np.ndarray]:
        total = max(float(theta[three].sum()), 1e-150)
        slope = np.zeros_like(theta)
        slope[three] = -100 * theta[three[0]] / total**2
        slope[three[0]] += 100 / total
        return 100 * theta[three[0]] / total, slope

    return quantity


def quantity_of(key: str) -> Callable[[SpectrumModel], Quantity]:
    """What finds one of `quantities` in a model."""
    return lambda model: quantities(model)[key]
