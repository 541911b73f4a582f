"""Echo signals of chosen voxels, with what was found wrong with the acquisition put right."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class OddEvenError:
    """Echo n is multiplied by exp((-1)^n (e + i p)), e and p polynomials of the position.

    Attributes:
        powers: of the position (-1 to 1 along slices, rows, columns), shape (terms, 3).
        phase: coefficients of p in rad, shape (terms,).
        amplitude: coefficients of e, shape (terms,).
    """

    powers: np.ndarray
    phase: np.ndarray
    amplitude: np.ndarray

    def exponent(self, place: np.ndarray) -> np.ndarray:
        """e + i p at positions of shape (voxels, 3), complex, shape (voxels,)."""
        return position_terms(place, self.powers) @ (self.amplitude + 1j * self.phase)


@dataclass(frozen=True)
class VoxelSignals:
    """Echoes as the model of water and fat expects them, gathered a part at a time.

    Attributes:
        echoes: complex64 as acquired, shape (echoes, slices, rows, columns).
        conjugated: their precession sense is the opposite one.
        odd_even: error of a bipolar readout to take off.
    """

    echoes: np.ndarray
    conjugated: bool = False
    odd_even: OddEvenError | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return self.echoes.shape[1:]

    def at(self, index: np.ndarray) -> np.ndarray:
        """Signals of voxels by flat index, complex64, shape (voxels, echoes)."""
        flat = self.echoes.reshape(len(self.echoes), -1)
        signals = np.ascontiguousarray(flat[:, index].T)
        if self.conjugated:
            np.conjugate(signals, out=signals)
        if self.odd_even is not None:
            signals = without_odd_even(signals, self.odd_even.exponent(self.place(index)))
        return signals

    def place(self, index: np.ndarray) -> np.ndarray:
        """Positions from -1 to 1 along each axis (0 along an axis of one), shape (voxels, 3)."""
        last = np.maximum(np.array(self.shape) - 1, 1)
        at = np.stack(np.unravel_index(index, self.shape), -1)
        return np.where(np.array(self.shape) > 1, 2 * at / last - 1, 0.0)

    def with_odd_even(self, error: OddEvenError | None) -> VoxelSignals:
        """The same echoes with another error taken off."""
        return replace(self, odd_even=error)


def position_terms(place: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """Values of the polynomial's terms, shape (voxels, terms)."""
    return (place[:, None, :] ** powers).prod(-1)


def without_odd_even(signals: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Signals, shape (voxels, echoes), with the error of an exponent (voxels,) taken off."""
    factor = np.exp(-exponent)[:, None]
    result = np.empty(signals.shape, np.complex64)
    result[:, ::2] = signals[:, ::2] * factor
    result[:, 1::2] = signals[:, 1::2] / factor
    return result
