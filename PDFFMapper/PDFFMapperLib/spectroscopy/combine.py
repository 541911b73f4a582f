"""From averages and coils to one signal: whitened coil combination, aligned averages."""

from __future__ import annotations

import numpy as np

from PDFFMapperLib.spectroscopy.spectrum import noise_alone

CORRUPTED_SDS = 5.0
ALIGNED_POINTS = 256
TURNED_SDS = 5.0  # that an average has of what all have in common, to be turned by quarters
OFFSET_SDS = 8.0  # of its mean from 0, and half of that between halves, that a constant end keeps


def combined(fids: np.ndarray, dwell_s: float) -> tuple[np.ndarray, list[str]]:
    """One signal of a voxel.

    Coils are weighted by the first singular vector of the whitened signal; averages are aligned in
    frequency and phase, and those that deviate by more than 5 robust SD are left out.

    Args:
        fids: complex, shape (averages, coils, points).
        dwell_s: seconds between points.

    Returns:
        The signal, shape (points,), the mean of averages; and sentences about what was done.
    """
    notes = []
    averages, coils, _ = fids.shape
    fids, offset = _without_offset(fids)
    if offset > 0:
        notes.append(
            f"A constant of {100 * offset:.2g} % of the largest value, which the end of the signal "
            "shows, was taken off."
        )
    fids, cycled = _without_cycle(fids)
    if cycled:
        notes.append(
            f"{cycled} of {averages} averages lie an eighth of a turn or more from the first in "
            "phase, as in a phase cycle or by drift, and were turned back by quarters."
        )
    one = fids[:, 0]
    if coils > 1:
        one = _coils(fids)
        notes.append(f"{coils} coils were combined by their signal and noise.")
    if averages > 1:
        one, left_out = _aligned(one, dwell_s)
        if left_out:
            notes.append(
                f"{left_out} of {averages} averages were left out: they deviate by more than "
                f"{CORRUPTED_SDS:g} robust SD."
            )
    return one.mean(axis=0), notes


def _without_offset(fids: np.ndarray) -> tuple[np.ndarray, float]:
    """Signals without the constants that receivers add, and the largest over the largest value."""
    mean = fids.mean(axis=0)
    tail = mean[:, noise_alone(fids.shape[2])]
    middle = tail.shape[1] // 2
    offset, sd = tail.mean(axis=1), tail.std(axis=1) / np.sqrt(tail.shape[1])
    moved = tail[:, :middle].mean(axis=1) - tail[:, middle:].mean(axis=1)
    constant = (np.abs(offset) > OFFSET_SDS * sd) & (np.abs(moved) <= OFFSET_SDS / 2 * sd)
    offset = np.where(constant, offset, 0)
    return fids - offset[:, None], float(np.max(np.abs(offset)) / np.max(np.abs(mean)))


def _without_cycle(fids: np.ndarray) -> tuple[np.ndarray, int]:
    """Averages by quarter turns in the phase of the first, and how many were turned.

    Those whose phase is not known well, in noise or beside one with a spike, stay as they are.
    """
    if len(fids) == 1:
        return fids, 0
    early = fids[:, :, :ALIGNED_POINTS].reshape(len(fids), -1)
    phases, sizes, _ = np.linalg.svd(early, full_matrices=False)
    alike = sizes[0] * phases[:, 0]
    noise = np.sum(sizes[1:] ** 2) / (len(sizes) - 1)  # of an average, squared
    of_value = noise / early.shape[1]
    surely = np.abs(alike) ** 2 * (sizes[0] ** 2 - sizes[1] ** 2) > (
        TURNED_SDS**2 * of_value * (sizes[0] ** 2 - sizes[1] ** 2 + noise)
    )
    quarters = np.rint(np.angle(alike * alike[0].conj()) / (np.pi / 2)).astype(int) % 4
    quarters[~(surely & surely[0])] = 0
    return fids * ((-1j) ** quarters)[:, None, None], int(np.sum(quarters != 0))


def _coils(fids: np.ndarray) -> np.ndarray:
    """The coils' weighted sum for each average."""
    points = fids.shape[2]
    tail = np.moveaxis(fids[:, :, noise_alone(points)], 1, 0).reshape(fids.shape[1], -1)
    tail = tail - tail.mean(axis=1, keepdims=True)
    covariance = tail @ tail.conj().T / tail.shape[1]
    values, vectors = np.linalg.eigh(covariance)
    whiten = (vectors / np.sqrt(np.maximum(values, values.max() * 1e-12))) @ vectors.conj().T
    mean = fids.mean(axis=0)
    left, _, _ = np.linalg.svd(whiten @ mean[:, : points // 2], full_matrices=False)
    weights = left[:, 0].conj() @ whiten
    signal = np.einsum("c,acp->ap", weights, fids)
    return signal * np.exp(-1j * np.angle(signal[:, 0].mean()))


def _aligned(fids: np.ndarray, dwell_s: float) -> tuple[np.ndarray, int]:
    """Averages brought to the median one's frequency and phase; corrupted ones are left out."""
    t = np.arange(fids.shape[1]) * dwell_s
    near = fids[:, :ALIGNED_POINTS]
    typical = np.median(near.real, axis=0) + 1j * np.median(near.imag, axis=0)
    for _ in range(3):
        # one Gauss-Newton step for frequency and phase of each average
        turning = np.array([1j * typical, 2j * np.pi * t[: len(typical)] * typical])
        matrix = (turning @ turning.conj().T).real
        right = ((near - typical) @ turning.conj().T).real
        phase, hz = np.linalg.solve(matrix, right.T)
        turned = np.exp(-1j * (phase[:, None] + 2 * np.pi * hz[:, None] * t))
        fids = fids * turned
        near = fids[:, :ALIGNED_POINTS]
        typical = np.median(near.real, axis=0) + 1j * np.median(near.imag, axis=0)
    off = np.sqrt(np.mean(np.abs(near - typical) ** 2, axis=1))
    middle = np.median(off)
    robust_sd = max(1.4826 * np.median(np.abs(off - middle)), 0.02 * middle)
    kept = off <= middle + CORRUPTED_SDS * robust_sd
    return fids[kept], int(np.sum(~kept))
