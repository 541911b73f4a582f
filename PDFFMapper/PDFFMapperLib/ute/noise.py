"""Noise of UTE images: its SD in the corners, where there is air, and how far it is correlated.

Where the scanner has masked the air, a repeated image or the residual of decays tells it.

The magnitude of one receiver is Rician; the root of the sum of squares of n is noncentral chi: its
square has 2n terms of the noise's variance where a Rician one has 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from scipy.special import gammaln
from scipy.stats import chi2

_CORNER = 8  # a corner is one eighth of rows and columns
_LEAST_PIXELS = 5
_ONE_RECEIVER = 1.75, 2.1  # mean over SD of its noise, 1.913 of a Rayleigh distribution
_LAGS = 3
_LEAST_PAIRS = 100
_LOW = (0.25, 0.5)  # quantiles of what decays leave
_DECAYS, _STRONG_T2STAR_MS = 3, (2.0, 200.0)  # sums that hold decays of strong voxels
BY_DIFFERENCE = "it is the SD of what two like images differ by, over 1.41"
_STRONG, _REPEAT_ROUNDS = 10.0, 3  # times the noise, where magnitudes scatter as one channel does


@dataclass(frozen=True)
class Noise:
    """What the background tells.

    Attributes:
        sigma: SD of the noise in one channel, in the images' unit.
        share: of voxels that are independent; radial images have coloured noise.
        told: where it is from, as people read it.
        coils: how many receivers' squares were summed.
    """

    sigma: float
    share: float
    told: str
    coils: int = 1


def noise_of(images: np.ndarray, sigma: float | None = None, coils: float = 1) -> Noise:
    """Noise of magnitude images by their corners.

    Args:
        images: shape (images, slices, rows, columns).
        sigma: where it is known; the correlation is then measured only.
        coils: how many receivers the images are the root of the sum of squares of.

    Raises:
        ValueError: the noise is not given, and no corner holds air with noise of one receiver.
    """
    corners = [corner for image in images for corner in _corners(image)]
    found, reasons, coils = [], [], round(coils)
    among = f" of {coils} receivers" if coils > 1 else ""
    for corner in corners:
        try:
            found.append((_sigma_of(corner, coils), corner))
        except ValueError as error:
            reasons.append(str(error))
    if sigma is not None:
        share = _independent_share([corner for _, corner in found])
        return Noise(float(sigma), share, f"noise {sigma:.4g}{among} as given", coils)
    if not found and air_is_masked(images):
        raise ValueError(
            "The air around the limb is masked, so that the corners tell no noise; give it "
            f"(--sigma): {BY_DIFFERENCE}."
        )
    if not found:
        raise ValueError(
            "The noise could not be measured in the corners of the images; give it (--sigma), or "
            f"say how many receivers were summed (--coils). The first corner: {reasons[0]}"
        )
    measured = float(np.median([one for one, _ in found]))
    air = [corner for one, corner in found if abs(one / measured - 1) < 0.2]
    told = f"noise {measured:.4g}{among}, of the images' corners"
    return Noise(measured, _independent_share(air), told, coils)


def noise_of_repeat(image: np.ndarray, repeat: np.ndarray, coils: float = 1) -> Noise:
    """Noise by the difference of one image and its repetition, where both stand above it.

    Raises:
        ValueError: too few voxels do.
    """
    apart = (image.astype(float) - repeat) / 2**0.5
    mean = (image.astype(float) + repeat) / 2
    known = np.isfinite(mean)
    strong = known & (mean > np.median(mean[known]))
    for _ in range(_REPEAT_ROUNDS):
        sigma = 1.4826 * float(np.median(np.abs(apart[strong]))) if strong.any() else 0.0
        strong = known & (mean > _STRONG * max(coils, 1) ** 0.5 * sigma)
    if not sigma > 0 or strong.sum() < _LEAST_PAIRS:
        raise ValueError(
            "The repeated image tells no noise: fewer than 100 voxels stand 10 times above their "
            "difference, or both images are the same."
        )
    share = _independent_share([np.where(strong, apart, np.nan)])
    told = f"noise {sigma:.4g}, of a repeated image"
    return Noise(sigma, share, told, round(coils))


def air_is_masked(images: np.ndarray) -> bool:
    """Whether the scanner has set the corners of all images to 0, shape (images, slices, ...)."""
    return all(np.mean(corner <= 0) > 0.05 for one in images for corner in _corners(one))


def noise_of_decays(images: np.ndarray, te_ms: np.ndarray, coils: float = 1) -> Noise:
    """Noise by what sums of decays leave of strong voxels; fat, which beats, leaves more.

    Both the lowest quarter and the lowest half of voxels tell it, and must agree.

    Raises:
        ValueError: fewer than six echoes, too few voxels, or most of them leave more than noise.
    """
    free = len(te_ms) - _DECAYS
    if free < 3:
        raise ValueError(
            f"The air around the limb is masked and {len(te_ms)} echoes do not tell the noise by "
            "their decay, which six do; give it (--sigma), or a repeated image (--repeat): "
            f"{BY_DIFFERENCE}."
        )
    decays = np.exp(-np.asarray(te_ms)[:, None] / np.geomspace(*_STRONG_T2STAR_MS, 60))
    rest = np.linalg.svd(decays)[0][:, _DECAYS:]
    left = np.tensordot(rest.T, images.astype(float), 1)
    square, least = np.sum(left**2, axis=0), images.min(axis=0)
    strong = np.isfinite(square) & (least > np.median(least[least > 0])) & (square > 0)
    quarter = half = 0.0
    for _ in range(_REPEAT_ROUNDS):
        if strong.any():
            quarter, half = np.sqrt(np.quantile(square[strong], _LOW) / chi2.ppf(_LOW, free))
        strong = np.isfinite(square) & (least > _STRONG * max(coils, 1) ** 0.5 * quarter)
    if strong.sum() < _LEAST_PAIRS or not half < 1.04 * quarter:
        raise ValueError(
            "The air around the limb is masked, and what decays leave of strong voxels is not "
            "noise alone; give it (--sigma), or a repeated image (--repeat)."
        )
    quiet = strong & (square < chi2.ppf(0.95, free) * quarter**2)
    share = _independent_share([np.where(quiet, one, np.nan) for one in left])
    told = f"noise {quarter:.4g}, of what decays leave of strong voxels, as the air is masked"
    return Noise(float(quarter), share, told, round(coils))


def coils_of(settings: SimpleNamespace) -> float:
    """How many receivers' squares were summed, as settings tell; 1 where they do not."""
    return getattr(settings, "coils", None) or 1


def _sigma_of(corner: np.ndarray, coils: int) -> float:
    """SD of the noise in one channel of a corner of air.

    Raises:
        ValueError: it is no noise of so many receivers; of how many, if that can be told.
    """
    held = corner[np.isfinite(corner)]
    if held.size < _LEAST_PAIRS or np.mean(held <= 0) > 0.05 or np.ptp(held) == 0:
        raise ValueError("It holds fewer than 100 values, or the scanner has masked it.")
    ratio = float(held.mean() / held.std())
    expected = _mean_over_sd(coils)
    low, high = (0.9 * expected, 1.1 * expected) if coils > 1 else _ONE_RECEIVER
    if not low < ratio < high:
        among = f"{coils} receivers" if coils > 1 else "one receiver"
        likely = max((ratio**2 + 1) / 4, 1)
        other = f"about {likely:.0f} would give it, or " if round(likely) != coils else ""
        raise ValueError(
            f"The background's mean over SD is {ratio:.2f}, where noise of {among} gives "
            f"{expected:.2f}; {other}it holds signal."
        )
    return float(np.sqrt(np.mean(held**2) / (2 * coils)))


def _mean_over_sd(coils: int) -> float:
    """Of the chi distribution of noise alone."""
    mean = np.sqrt(2) * np.exp(gammaln(coils + 0.5) - gammaln(coils))
    return float(mean / np.sqrt(2 * coils - mean**2))


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
        known = np.isfinite(one) & np.isfinite(other)
        one, other = one[known], other[known]
        if len(one) < _LEAST_PAIRS:
            break
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
