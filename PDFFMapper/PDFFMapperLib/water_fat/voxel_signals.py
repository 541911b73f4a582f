"""Echo signals of chosen voxels, with what was found wrong with the acquisition put right."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit


@dataclass(frozen=True)
class EchoError:
    """Echo n is multiplied by exp(sum over j of patterns[j, n] (amplitude_j + i phase_j)).

    Attributes:
        kind: what it is, as in "odd/even" or "first echo".
        patterns: over the echoes, shape (patterns, echoes).
        powers: of the position (-1 to 1 along slices, rows, columns), shape (terms, 3).
        phase: coefficients of the phases in rad, polynomials of the position, shape (patterns,
            terms).
        amplitude: of each pattern, shape (patterns,).
    """

    kind: str
    patterns: np.ndarray
    powers: np.ndarray
    phase: np.ndarray
    amplitude: np.ndarray

    def phases(self, place: np.ndarray) -> np.ndarray:
        """Phase of each pattern at positions of shape (voxels, 3), shape (voxels, patterns)."""
        return position_terms(place, self.powers) @ self.phase.T

    def exponents(self, place: np.ndarray) -> np.ndarray:
        """Exponent of each echo, complex, shape (voxels, echoes)."""
        return self.exponents_by(position_terms(place, self.powers))

    def exponents_by(self, basis: np.ndarray) -> np.ndarray:
        """The same by the terms of positions, shape (voxels, terms)."""
        return (self.amplitude + 1j * (basis @ self.phase.T)) @ self.patterns


@dataclass(frozen=True)
class VoxelSignals:
    """Echoes as the model of water and fat expects them, gathered a part at a time.

    Attributes:
        echoes: complex64 as acquired, shape (echoes, slices, rows, columns).
        conjugated: their precession sense is the opposite one.
        error: of the phases (and amplitudes) of the echoes, to take off.
    """

    echoes: np.ndarray
    conjugated: bool = False
    error: EchoError | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return self.echoes.shape[1:]

    def at(self, index: np.ndarray) -> np.ndarray:
        """Signals of voxels by flat index, complex64, shape (voxels, echoes)."""
        signals = _gathered(self.echoes.reshape(len(self.echoes), -1), np.ascontiguousarray(index))
        if self.conjugated:
            np.conjugate(signals, out=signals)
        if self.error is not None:
            signals = without_error(signals, self.error.exponents(self.place(index)))
        return signals

    def place(self, index: np.ndarray) -> np.ndarray:
        """Positions from -1 to 1 along each axis (0 along an axis of one), shape (voxels, 3)."""
        last = np.maximum(np.array(self.shape) - 1, 1)
        at = np.stack(np.unravel_index(index, self.shape), -1)
        return np.where(np.array(self.shape) > 1, 2 * at / last - 1, 0.0)

    def with_error(self, error: EchoError | None) -> VoxelSignals:
        """The same echoes with another error taken off."""
        return replace(self, error=error)


@njit(cache=True, nogil=True)
def _gathered(echoes, index):
    """Signals of voxels, shape (voxels, echoes), from echoes of shape (echoes, all voxels)."""
    signals = np.empty((len(index), len(echoes)), echoes.dtype)
    for v in range(len(index)):
        for n in range(len(echoes)):
            signals[v, n] = echoes[n, index[v]]
    return signals


@njit(cache=True, nogil=True)
def position_terms(place: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """Values of the polynomial's terms at positions, (voxels, 3), shape (voxels, terms)."""
    terms = np.ones((len(place), len(powers)))
    for v in range(len(place)):
        for t in range(len(powers)):
            for axis in range(place.shape[1]):
                for _ in range(powers[t, axis]):
                    terms[v, t] *= place[v, axis]
    return terms


@njit(cache=True, nogil=True)
def without_error(signals: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Signals, complex, shape (voxels, echoes), with the error of their exponents taken off."""
    right = np.empty(signals.shape, np.complex64)
    for v in range(len(signals)):
        for n in range(signals.shape[1]):
            size, turn = np.exp(-exponents[v, n].real), -exponents[v, n].imag
            right[v, n] = signals[v, n] * complex(size * np.cos(turn), size * np.sin(turn))
    return right
