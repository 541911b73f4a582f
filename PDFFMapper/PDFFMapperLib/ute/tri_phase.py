"""Three components of complex images of bone, with phase and off-resonance.

Every voxel has a phase and an off-resonance of its own; both are found by the model and turned
back, and the voxels' mean is fitted with what both have in common left free. To first order that is
the maximum likelihood of all voxels together, and its bound that of one voxel over their root.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from PDFFMapperLib.ute.components import Model, RegionFit, gaussian_sd
from PDFFMapperLib.ute.region_signal import RegionSignal
from PDFFMapperLib.ute.tri_component import (
    TriComponent,
    shares_of,
    stated_t2stars,
    three_components,
)

FARTHEST_HZ, _STEP_HZ = 600.0, 5.0  # of a voxel's off-resonance
TOLD = 10.0  # of the deviance between both ways in which fat may turn
_ROUNDS = 3


class _Together:
    """The likelihood of real and imaginary parts in noise of one SD."""

    def __init__(self, held: np.ndarray, sd: float) -> None:
        self.held, self.sd = held, sd

    def around(self, signal: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Deviance, and score and information of each value."""
        away = (self.held - signal) / self.sd
        return float(away @ away), away / self.sd, np.full(len(away), 1 / self.sd**2)


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
        self.signals = _Together(np.concatenate([mean.real, mean.imag]), sd)
        self.te_ms, self.model, self.known, self.priors = te_ms, model, dict(known), {}
        top = 1.1 * float(np.abs(mean).max())
        self.limits = np.array([(0.0, 20 * top), *model.limits])
        starts = [(top, *one) for one in model.starts] if start is None else [start]
        self.least, self.found = min((self.at({}, one) for one in starts), key=lambda one: one[0])
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
) -> tuple[TriComponent, float]:
    """Fit three components to a region's complex signals.

    Args:
        voxels: complex, shape (echoes, voxels).
        te_ms: of the echoes.
        field_t: field strength in tesla.
        sigma: SD of the noise of a real or imaginary part.
        share: of voxels that are independent.
        t2star_pore_ms, t2star_fat_ms: where known.

    Returns:
        The fit, and by how much its deviance lies below that with fat on water's other side.
    """
    te_ms = np.asarray(te_ms, float)
    known = stated_t2stars(t2star_pore_ms, t2star_fat_ms)
    sd = sigma / max(voxels.shape[1] * share, 1.0) ** 0.5
    model = three_components(field_t, phased=True)
    signals = [RegionSignal(np.abs(one), sigma, share) for one in voxels]
    start = RegionFit(signals, te_ms, three_components(field_t), known).found
    found = []
    for turned in (voxels, voxels.conj()):
        fit = None
        for _ in range(_ROUNDS):
            shape = start if fit is None else fit.found[:6]
            mean = on_one_phase(turned, te_ms, _complex(model.signal((*shape, 0, 0), te_ms)), sigma)
            fit = PhasedFit(mean, te_ms, sd, model, known, None if fit is None else fit.found)
        found.append((fit.least, fit, mean))
    found.sort(key=lambda one: one[0])
    (least, fit, mean), (other, *_) = found
    pore = three_components(field_t, "pore", phased=True)
    swapped = fit.found.copy()
    swapped[1] = 1 - fit.found[1] - fit.found[2]
    return shares_of(fit, PhasedFit(mean, te_ms, sd, pore, known, swapped)), other - least


def on_one_phase(
    voxels: np.ndarray, te_ms: np.ndarray, signal: np.ndarray, sigma: float
) -> np.ndarray:
    """The mean of voxels, shape (echoes,), each turned back by the phase and frequency it has.

    What noise does to phase and frequency lifts the mean by half of their variance at an echo.
    """
    turn = 2e-3j * np.pi * te_ms
    hertz = np.arange(-FARTHEST_HZ, FARTHEST_HZ + _STEP_HZ, _STEP_HZ)
    alike = np.abs((signal.conj() * np.exp(-np.multiply.outer(hertz, turn))) @ voxels)
    best = np.clip(alike.argmax(axis=0), 1, len(hertz) - 2)
    at = np.arange(voxels.shape[1])
    before, here, after = (alike[best + step, at] for step in (-1, 0, 1))
    bend = np.minimum(before - 2 * here + after, -1e-12 * here - 1e-300)
    hz = hertz[best] + _STEP_HZ * np.clip((before - after) / (2 * bend), -1, 1)
    turned = voxels * np.exp(-np.multiply.outer(turn, hz))
    turned *= np.exp(-1j * np.angle(signal.conj() @ turned))
    columns = np.stack([np.ones_like(te_ms), 2e-3 * np.pi * te_ms], axis=-1)
    inner = np.linalg.inv(columns.T @ (np.abs(signal[:, None]) ** 2 * columns))
    variance = sigma**2 * np.einsum("kp,pq,kq->k", columns, inner, columns)
    return turned.mean(axis=1) / (1 + variance / 2)


def _complex(parts: np.ndarray) -> np.ndarray:
    real, imaginary = np.split(parts, 2)
    return real + 1j * imaginary
