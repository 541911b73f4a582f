"""Noise of UTE images: its SD in the corners, where there is air, and how far it is correlated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from PDFFMapperLib.diffusion.noise import sigma_from_background

_CORNER = 8  # a corner is one eighth of rows and columns
_LEAST_PIXELS = 5
_LAGS = 3
_LEAST_PAIRS = 100


@dataclass(frozen=True)
class Noise:
    """What the background tells.

    Attributes:
        sigma: SD of the noise in one channel, in the images' unit.
        share: of voxels that are independent; radial images have coloured noise.
        told: where it is from, as people read it.
    """

    sigma: float
    share: float
    told: str


def noise_of(images: np.ndarray, sigma: float | None = None) -> Noise:
    """Noise of magnitude images by their corners.

    Args:
        images: shape (images, slices, rows, columns).
        sigma: where it is known; the correlation is then measured only.

    Raises:
        ValueError: the noise is not given, and no corner holds air with noise of one receiver.
    """
    corners = [corner for image in images for corner in _corners(image)]
    found, reasons = [], []
    for corner in corners:
        try:
            found.append((sigma_from_background(corner), corner))
        except ValueError as error:
            reasons.append(str(error))
    if sigma is not None:
        share = _independent_share([corner for _, corner in found])
        return Noise(float(sigma), share, f"noise {sigma:.4g} as given")
    if not found:
        raise ValueError(
            "The noise could not be measured in the corners of the images; give it (--sigma). The "
            f"first corner: {reasons[0]}"
        )
    measured = float(np.median([one for one, _ in found]))
    air = [corner for one, corner in found if abs(one / measured - 1) < 0.2]
    return Noise(measured, _independent_share(air), f"noise {measured:.4g}, of the images' corners")


def _corners(image: np.ndarray) -> list[np.ndarray]:
    rows, columns = (max(n // _CORNER, min(_LEAST_PIXELS, n // 2)) for n in image.shape[1:])
    ends = [(slice(None, n), slice(-n, None)) for n in (rows, columns)]
    return [image[:, row, column].astype(float) for row in ends[0] for column in ends[1]]


def _independent_share(corners: list[np.ndarray]) -> float:
    """1 over the sum of the noise's correlations with all neighbors, axis by axis.

    The correlation of squared magnitudes is the square of that of the complex noise.
    """
    return 1 / float(np.prod([_correlated(corners, axis) for axis in range(3)]))


def _correlated(corners: list[np.ndarray], axis: int) -> float:
    """Sum of the noise's correlations along an axis, until they are chance."""
    total = 1.0
    for lag in range(1, _LAGS + 1):
        pairs = [_lagged(corner**2, axis, lag) for corner in corners]
        if sum(len(one) for one, _ in pairs) < _LEAST_PAIRS:
            break
        one, other = (np.concatenate([pair[n] for pair in pairs]) for n in (0, 1))
        squared = float(np.corrcoef(one, other)[0, 1])
        if squared < 3 / len(one) ** 0.5:
            break
        total += 2 * squared**0.5
    return total


def _lagged(values: np.ndarray, axis: int, lag: int) -> tuple[np.ndarray, np.ndarray]:
    n = values.shape[axis]
    first = np.take(values, range(n - lag), axis) if n > lag else np.empty(0)
    second = np.take(values, range(lag, n), axis) if n > lag else np.empty(0)
    return first.ravel(), second.ravel()
