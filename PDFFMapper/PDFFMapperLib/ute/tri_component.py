"""Bound water, pore water and marrow fat of bone: three T2* components.

S(TE) = A (b exp(-TE/T2*b) + p exp(-TE/T2*p) + f F(TE) exp(-TE/T2*f)), b + p + f = 1, with F the
product's nine-peak spectrum of marrow fat (Ren 2008); its magnitude, or all of it with a phase and
an off-resonance (`tri_phase`). The tri-component fit with a multi-peak model of fat is that of
ISMRM 2018, 5155 (abstract read; Lu 2019 not read). Fractions are of apparent signals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from PDFFMapperLib.ute.components import (
    T2STAR_BOUND_MS,
    T2STAR_PORE_MS,
    Component,
    Model,
    RegionFit,
)
from PDFFMapperLib.ute.region_signal import RegionSignal
from PDFFMapperLib.water_fat.spectra import fat_spectrum

T2STAR_FAT_MS = (2.0, 40.0)
MOST_OFF_HZ = 100.0  # that all voxels together may lie off, once each is on its own frequency
PORE, FAT = 4, 5  # places of their T2*
_STARTS = ((0.7, 0.1, 0.35, 3.0, 10.0), (0.5, 0.2, 0.5, 6.0, 15.0), (0.85, 0.05, 0.3, 2.0, 6.0))


@dataclass(frozen=True)
class TriComponent:
    """Three components of a region; shares in percent of the signal at TE 0, T2* in ms."""

    bound_percent: Component
    pore_percent: Component
    fat_percent: Component
    t2star_bound_ms: Component
    t2star_pore_ms: Component
    t2star_fat_ms: Component
    amplitude: float
    misfit: float


def three_components(field_t: float, first: str = "bound", phased: bool = False) -> Model:
    """The model with parameters amplitude, share of the first water, share of fat, three T2*.

    Args:
        field_t: field strength in tesla.
        first: "bound" or "pore", whose share is a parameter; that of the other follows.
        phased: of real and then imaginary parts, not of magnitudes; a phase (rad) and an
            off-resonance (Hz) are parameters then.
    """
    spectrum = fat_spectrum()
    shown = _parts_of if phased else _size_of

    def parts(parameters: Sequence[float], te_ms: np.ndarray) -> tuple[np.ndarray, ...]:
        _, share, fat, *t2stars = parameters[:6]
        other = 1 - share - fat
        shares = (share, other, fat) if first == "bound" else (other, share, fat)
        turn = spectrum.modulation(te_ms / 1e3, field_t)
        decays = np.exp(-te_ms[:, None] / np.array(t2stars)) * np.stack(
            [np.ones_like(turn), np.ones_like(turn), turn], axis=-1
        )
        if phased:
            phase, hz = parameters[6:]
            decays *= np.exp(1j * (phase + 2e-3 * np.pi * hz * te_ms))[:, None]
        return np.array(shares), decays, decays @ np.array(shares)

    def signal(parameters: Sequence[float], te_ms: np.ndarray) -> np.ndarray:
        whole = parts(parameters, te_ms)[2]
        return parameters[0] * shown(whole, whole)

    def gradient(parameters: Sequence[float], te_ms: np.ndarray) -> np.ndarray:
        shares, decays, whole = parts(parameters, te_ms)
        own, other = (0, 1) if first == "bound" else (1, 0)
        by = [decays[:, own] - decays[:, other], decays[:, 2] - decays[:, other]]
        by += [
            share * decays[:, n] * te_ms / parameters[3 + n] ** 2 for n, share in enumerate(shares)
        ]
        if phased:
            by += [1j * whole, 2e-3j * np.pi * te_ms * whole]
        rows = [parameters[0] * shown(one, whole) for one in by]
        return np.stack([shown(whole, whole), *rows], axis=-1)

    limits = ((0.0, 1.0), (0.0, 1.0), T2STAR_BOUND_MS, T2STAR_PORE_MS, T2STAR_FAT_MS)
    starts = _STARTS
    if first == "pore":
        starts = tuple((1 - a - f, f, *rest) for a, f, *rest in _STARTS)
    if phased:
        limits = (*limits, (-np.pi, np.pi), (-MOST_OFF_HZ, MOST_OFF_HZ))
        starts = tuple((*one, 0.0, 0.0) for one in starts)
    return Model(signal, gradient, limits, starts)


def _parts_of(change: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Real and imaginary parts of a change of a complex signal."""
    return np.concatenate([change.real, change.imag])


def _size_of(change: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The change of its magnitude."""
    return (whole.conj() * change).real / np.maximum(np.abs(whole), 1e-12)


def fit_tri_component(
    signals: Sequence[RegionSignal],
    te_ms: Sequence[float],
    field_t: float,
    t2star_pore_ms: float | None = None,
    t2star_fat_ms: float | None = None,
) -> TriComponent:
    """Fit three components to a region's magnitudes; stated T2* are taken as known."""
    known = stated_t2stars(t2star_pore_ms, t2star_fat_ms)
    return shares_of(
        *(
            RegionFit(signals, te_ms, three_components(field_t, first), known)
            for first in ("bound", "pore")
        )
    )


def stated_t2stars(pore_ms: float | None, fat_ms: float | None) -> dict[int, float]:
    """Known parameters, by their place."""
    stated = {PORE: pore_ms, FAT: fat_ms}
    return {n: value for n, value in stated.items() if value is not None}


def shares_of(fit: RegionFit, other: RegionFit) -> TriComponent:
    """The shares of two fits, the first water of which is bound and pore water."""
    rows = [fit.component(1, 100), other.component(1, 100), fit.component(2, 100)]
    rows += [fit.component(n) for n in (3, 4, 5)]
    return TriComponent(*rows, float(fit.found[0]), fit.misfit)
