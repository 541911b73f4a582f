"""Multi-peak spectra of fat and the signal they give at the echo times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from PDFFMapperLib.install.resources import resource_path

GYROMAGNETIC_RATIO_MHZ_PER_T = 42.577478518
"""Proton gyromagnetic ratio / 2 pi (CODATA 2018)."""

WATER_PPM = 4.7
"""Water's shift from tetramethylsilane near body temperature, to which peak lists refer."""


@dataclass(frozen=True)
class FatSpectrum:
    """Fat peaks relative to water.

    Attributes:
        name: how it is chosen and stamped into results.
        ppm: chemical shifts from water; fat's main peak is near -3.4.
        amplitudes: relative proton numbers, sum 1.
        citation: where the numbers were published.
    """

    name: str
    ppm: tuple[float, ...]
    amplitudes: tuple[float, ...]
    citation: str = ""

    def frequencies_hz(self, field_strength_t: float) -> np.ndarray:
        """Frequency of each peak relative to water, in Hz."""
        return GYROMAGNETIC_RATIO_MHZ_PER_T * field_strength_t * np.array(self.ppm)

    def modulation(self, echo_times_s: np.ndarray, field_strength_t: float) -> np.ndarray:
        """Complex signal of unit fat at the echo times, shape (echoes,)."""
        turns = np.outer(echo_times_s, self.frequencies_hz(field_strength_t))
        return np.exp(2j * np.pi * turns) @ np.array(self.amplitudes)


def fat_spectrum_names() -> list[str]:
    """Names that `fat_spectrum` knows, the default first."""
    library = _library()
    return sorted(library["spectra"], key=lambda name: (name != library["default"], name))


def fat_spectrum(name: str | None = None) -> FatSpectrum:
    """A published spectrum by name; marrow (Ren 2008, nine peaks) by default.

    Raises:
        ValueError: no such name.
    """
    library = _library()
    name = name or library["default"]
    if name not in library["spectra"]:
        raise ValueError(
            f"There is no fat spectrum named {name!r}; choose one of "
            f"{', '.join(fat_spectrum_names())}."
        )
    entry = library["spectra"][name]
    citation = entry["citation"] + (f", doi {entry['doi']}" if entry["doi"] else "")
    return spectrum_from_peaks(entry["ppm"], entry["amplitudes"], name, citation)


def spectrum_from_peaks(
    ppm: Sequence[float], amplitudes: Sequence[float], name: str = "user", citation: str = ""
) -> FatSpectrum:
    """A spectrum from a list of peaks, whose reference is recognized and checked.

    The strongest peak (methylene) tells what the shifts refer to: -4 to -2.9 ppm is relative to
    water, 0.9 to 1.7 ppm relative to tetramethylsilane (4.7 ppm is then subtracted).

    Raises:
        ValueError: lists of different length, amplitudes that are not positive, or a strongest
            peak that fits neither reference.
    """
    shifts, weights = np.asarray(ppm, float).ravel(), np.asarray(amplitudes, float).ravel()
    if len(shifts) == 0 or len(shifts) != len(weights):
        raise ValueError(
            f"A fat spectrum needs one amplitude per peak; {len(shifts)} shifts and "
            f"{len(weights)} amplitudes were given."
        )
    if not (np.isfinite(shifts).all() and np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("Fat peaks need finite shifts in ppm and amplitudes of at least 0.")
    if weights.sum() == 0:
        raise ValueError("A fat spectrum needs at least one amplitude above 0.")
    main = shifts[np.argmax(weights)]
    if 0.9 <= main <= 1.7:
        shifts = shifts - WATER_PPM
    elif not -4.0 <= main <= -2.9:
        raise ValueError(
            f"The strongest fat peak is given at {main:g} ppm; expected is about -3.4 ppm relative "
            "to water or about 1.3 ppm relative to tetramethylsilane. Check the sign and the "
            "reference of the shifts."
        )
    return FatSpectrum(name, tuple(shifts), tuple(weights / weights.sum()), citation)


def _library() -> dict:
    path = resource_path("PDFFMapperLib", "fat_spectra.json")
    return json.loads(path.read_text(encoding="utf-8"))
