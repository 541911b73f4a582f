"""Three components of complex images of bone, with phase and off-resonance.

Every voxel has a phase and an off-resonance of its own; both are found by the model and turned
back, and the voxels' mean is fitted with what both have in common left free. To first order that is
the maximum likelihood of all voxels together, and its bound that of one voxel over their root.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from PDFFMapperLib.ute.components import GaussianLikelihood, Model, RegionFit, gaussian_sd
from PDFFMapperLib.ute.region_signal import RegionSignal
from PDFFMapperLib.ute.tri_component import (
    TriComponent,
    shares_of,
    stated_t2stars,
    three_components,
)

FARTHEST_HZ, _STEP_HZ = 600.0, 5.0  # of a voxel's off-resonance
TOLD = 10.0  # of the deviance between both ways in which fat may turn
LEAST_VOXEL_SNR = 20.0  # of the first echo; below it intervals hold the truth too rarely
MOST_MISFIT = 1.5  # beyond it echoes have phases of their own (eddy currents, delays)
LEAST_KEPT = 0.9  # of voxels within FARTHEST_HZ
_ROUNDS = 3
_CHUNK = 1000  # voxels


@dataclass(frozen=True)
class PhasedTri:
    """Three components by complex signals.

    Attributes:
        fit: the shares.
        told: by how much its deviance lies below that with fat on water's other side, over the
            misfit squared where that is above 1.
        reversed: whether the images' phases turn against the field.
        kept: share of voxels within `FARTHEST_HZ`; the others were left out.
    """

    fit: TriComponent
    told: float
    reversed: bool
    kept: float

    @property
    def doubt(self) -> str:
        """Why it does not count; empty where it does."""
        if self.kept < LEAST_KEPT:
            return f"{100 * (1 - self.kept):.0f} % of voxels lie over {FARTHEST_HZ:g} Hz off"
        if self.fit.misfit > MOST_MISFIT:
            return (
                f"phases of echoes differ from three components' by {self.fit.misfit:.1f} times "
                "the noise (eddy currents, delays, gain)"
            )
        if self.told < TOLD:
            return "phases do not tell on which side of water its fat lies"
        return ""


class PhasedFit(RegionFit):
    """A model of real and imaginary parts fitted to the mean of a region's voxels."""

    def __init__(
        self,
        mean: np.ndarray,
        te_ms: np.ndarray,
        sd: float,
        model: Model,
        known: Mapping[int, float],
        start: Sequence[float] | None = None,
    ) -> None:
        """Fit it to complex means in noise of `sd`; from `start`, else from the model's own."""
        self.te_ms, self.model, self.known, self.priors = te_ms, model, dict(known), {}
        parts = GaussianLikelihood(np.concatenate([mean.real, mean.imag]), sd)
        self._fit(parts, 1.1 * float(np.abs(mean).max()), start)
        self.sds = gaussian_sd(self.found, te_ms, sd, model, known)

    @property
    def misfit(self) -> float:
        """Root of the deviance by degree of freedom; about 1 for a true model."""
        free = 2 * len(self.te_ms) - len(self.found) + len(self.known)
        return float((self.least / max(free, 1)) ** 0.5)


def fit_phased_components(
    voxels: np.ndarray,
    te_ms: Sequence[float],
    field_t: float,
    sigma: float,
    share: float = 1.0,
    t2star_pore_ms: float | None = None,
    t2star_fat_ms: float | None = None,
) -> PhasedTri:
    """Fit three components to a region's complex signals.

    Args:
        voxels: complex, shape (echoes, voxels).
        te_ms: of the echoes.
        field_t: field strength in tesla.
        sigma: SD of the noise of a real or imaginary part.
        share: of voxels that are independent.
        t2star_pore_ms, t2star_fat_ms: where known.

    Returns:
        The fit, and what speaks against it.
    """
    te_ms = np.asarray(te_ms, float)
    known = stated_t2stars(t2star_pore_ms, t2star_fat_ms)
    model = three_components(field_t, phased=True)
    signals = [RegionSignal(np.abs(one), sigma, share) for one in voxels]
    start = RegionFit(signals, te_ms, three_components(field_t), known).found
    found = []
    for turned in (voxels, voxels.conj()):
        fit = None
        for _ in range(_ROUNDS):
            shape = start if fit is None else fit.found[:6]
            signal = _complex(model.signal((*shape, 0, 0), te_ms))
            mean, kept = on_one_phase(turned, te_ms, signal, sigma)
            sd = sigma / max(kept * share, 1.0) ** 0.5
            fit = PhasedFit(mean, te_ms, sd, model, known, None if fit is None else fit.found)
        found.append((fit.least, fit, mean, kept, sd))
    straight = found[0][0] <= found[1][0]
    (least, fit, mean, kept, sd), (other, *_) = found if straight else found[::-1]
    pore = three_components(field_t, "pore", phased=True)
    swapped = fit.found.copy()
    swapped[1] = 1 - fit.found[1] - fit.found[2]
    shares = shares_of(fit, PhasedFit(mean, te_ms, sd, pore, known, swapped))
    told = (other - least) / max(fit.misfit, 1.0) ** 2
    return PhasedTri(shares, told, not straight, kept / voxels.shape[1])


def on_one_phase(
    voxels: np.ndarray, te_ms: np.ndarray, signal: np.ndarray, sigma: float
) -> tuple[np.ndarray, int]:
    """The mean of voxels, shape (echoes,), each turned back by the phase and frequency it has.

    What noise does to phase and frequency lifts the mean by half of their variance at an echo.
    Voxels beyond `FARTHEST_HZ` are left out, unless all are; the second value counts the others.
    """
    turn = 2e-3j * np.pi * te_ms
    hertz = np.arange(-FARTHEST_HZ, FARTHEST_HZ + _STEP_HZ, _STEP_HZ)
    seen = signal.conj() * np.exp(-np.multiply.outer(hertz, turn))
    total, kept = np.zeros(len(te_ms), complex), 0
    for first in range(0, voxels.shape[1], _CHUNK):
        chunk = voxels[:, first : first + _CHUNK]
        alike = np.abs(seen @ chunk)
        best = alike.argmax(axis=0)
        near = (best > 0) & (best < len(hertz) - 1)
        chunk, alike, best = chunk[:, near], alike[:, near], best[near]
        before, here, after = (alike[best + step, np.arange(len(best))] for step in (-1, 0, 1))
        bend = np.minimum(before - 2 * here + after, -1e-12 * here - 1e-300)
        hz = hertz[best] + _STEP_HZ * np.clip((before - after) / (2 * bend), -1, 1)
        turned = chunk * np.exp(-np.multiply.outer(turn, hz))
        turned *= np.exp(-1j * np.angle(signal.conj() @ turned))
        total, kept = total + turned.sum(axis=1), kept + len(best)
    if not kept:
        return voxels.mean(axis=1), 0
    columns = np.stack([np.ones_like(te_ms), 2e-3 * np.pi * te_ms], axis=-1)
    inner = np.linalg.inv(columns.T @ (np.abs(signal[:, None]) ** 2 * columns))
    variance = sigma**2 * np.einsum("kp,pq,kq->k", columns, inner, columns)
    return total / kept / (1 + variance / 2), kept


def _complex(parts: np.ndarray) -> np.ndarray:
    real, imaginary = np.split(parts, 2)
    return real + 1j * imaginary
