"""How far a PDFF may be off because tissue's fat has another spectrum than the fit assumes.

A map is fitted with one spectrum. If the fat of a tissue had another one of those published for
tissue, the true PDFF of a reading would be another too; the range over these spectra is a
systematic error, alike in every voxel of that PDFF, that no averaging takes away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from PDFFMapperLib.water_fat.spectra import FatSpectrum, fat_spectrum

PLAUSIBLE = ("ren_marrow", "hamilton_liver", "hamilton_liver_6", "ismrm_challenge", "zhong_liver")
"""Spectra of six peaks or more that were published for tissue of the body."""

ERROR_AT = np.arange(0.0, 101.0, 10.0)
"""PDFF readings in percent that `spectrum_error` speaks of."""

_R2STAR_PER_S = 60.0  # of marrow; up to 150 the error is other by .5 points, 1-2 in pure fat
_STEPS = 15
_LARGEST_STEP = np.array([[0.2], [0.2], [0.5], [20.0], [50.0]])  # water, fat, rad, Hz, 1/s
_WORST_CONDITION = 1e4
_FEWEST_ECHOES = 4  # three are solved exactly, with poles where no fit is stable


def spectrum_error(
    used: FatSpectrum,
    echo_times_s: np.ndarray,
    field_strength_t: float,
    plausible: Sequence[str] = PLAUSIBLE,
) -> list[list[float]] | None:
    """True minus read PDFF, lowest and highest over the plausible spectra, at `ERROR_AT`.

    Args:
        used: spectrum that the map was fitted with.
        echo_times_s: in seconds.
        field_strength_t: in tesla.
        plausible: names of the spectra that the tissue may have.

    Returns:
        Two lists of percentage points: the lowest (at most 0) and the highest (at least 0) errors.
        None for fewer than four echoes, and where with a spectrum the fit does not settle or the
        reading does not rise with the true PDFF.
    """
    times = np.asarray(echo_times_s, float)
    if len(times) < _FEWEST_ECHOES:
        return None
    assumed = used.modulation(times, field_strength_t)
    errors = [np.zeros_like(ERROR_AT)]  # the spectrum used may be the right one
    for name in plausible:
        true = fat_spectrum(name).modulation(times, field_strength_t)
        read = _read(ERROR_AT / 100, true, assumed, times)
        if not (np.diff(read) > 0).all():
            return None
        # At the ends of the scale the line through the last two goes on.
        slopes = np.diff(read)[[0, -1]] / np.diff(ERROR_AT)[[0, -1]]
        found = np.interp(ERROR_AT, read, ERROR_AT)
        found = np.where(ERROR_AT < read[0], (ERROR_AT - read[0]) / slopes[0], found)
        found = np.where(ERROR_AT > read[-1], 100 + (ERROR_AT - read[-1]) / slopes[1], found)
        errors.append(found - ERROR_AT)
    return [[round(float(x), 3) for x in ends] for ends in (np.min(errors, 0), np.max(errors, 0))]


def error_of(attributes: Mapping[str, object], pdff_percent: float) -> tuple[float, float] | None:
    """The lowest and highest error of a reading, of a map that carries "FatSpectrumError".

    None where the map does not carry it, as a scanner's own.
    """
    known = attributes.get("FatSpectrumError")
    if not _is_table(known):
        return None
    low, high = (float(np.interp(pdff_percent, ERROR_AT, ends)) for ends in known)
    return low, high


def _is_table(known: object) -> bool:
    return (
        isinstance(known, Sequence)
        and len(known) == 2
        and all(isinstance(ends, Sequence) and len(ends) == len(ERROR_AT) for ends in known)
    )


def _read(
    fractions: np.ndarray, true: np.ndarray, assumed: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """PDFF in percent that a fit with the assumed fat reads of noise-free signals of the true one.

    Gauss-Newton from the truth, all fractions at once; unknown are water, fat, their common phase,
    off-resonance and R2*. NaN where that does not settle, or the echoes do not tell water from fat.
    """
    signal = (1 - fractions[:, None]) + fractions[:, None] * true
    signal = signal * np.exp(-_R2STAR_PER_S * times)
    count = len(fractions)
    found = np.stack([1 - fractions, fractions, *np.zeros((2, count)),
                      np.full(count, _R2STAR_PER_S)])  # fmt: skip
    for _ in range(_STEPS):
        water, fat, phase, off, rate = (one[:, None] for one in found)
        turn = np.exp(1j * (phase + 2 * np.pi * off * times) - rate * times)
        model = (water + fat * assumed) * turn
        slopes = np.stack(
            [turn, assumed * turn, 1j * model, 2j * np.pi * times * model, -times * model], axis=-1
        )
        slopes = np.concatenate([slopes.real, slopes.imag], axis=1)
        left = np.concatenate([(signal - model).real, (signal - model).imag], axis=1)
        size = np.linalg.norm(slopes, axis=1, keepdims=True)
        step = np.linalg.pinv(slopes / size) @ left[..., None]
        step = (step[..., 0] / size[:, 0]).T
        found = found + np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
    settled = (np.abs(step) < 1e-3 * _LARGEST_STEP).all()
    if not settled or np.linalg.cond(slopes / size).max() > _WORST_CONDITION:
        return np.full(count, np.nan)
    return 100 * found[1] / (found[0] + found[1])
