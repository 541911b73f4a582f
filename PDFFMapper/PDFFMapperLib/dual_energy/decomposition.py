"""From two CT numbers of a voxel to bone mineral and marrow.

Three materials with their volume conserved (Liu 2009, doi 10.1118/1.3097632), projection along the
direction of calcium as scanners do it, and mineral beside water by mass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit

from PDFFMapperLib.dual_energy.calibration import (
    HAP_DENSITY,
    MARROW_ERROR_HU,
    RATIO_ERROR,
    WATER_DENSITY,
    Calibration,
)

DENSE_MG = 600.0  # of mineral: cortex, whose share of marrow nothing tells
DENSE = 8  # in the map of reasons
TYPICAL_HAP = 100.0  # mg/cm^3 of a vertebra, half of whose marrow is yellow


@dataclass(frozen=True)
class Linear:
    """value = low * HU at the low beam + high * HU at the high one + constant."""

    low: float
    high: float
    constant: float

    def __call__(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The value of each voxel, float32 of float32."""
        found = low * np.float32(self.low)
        found += high * np.float32(self.high)
        found += np.float32(self.constant)
        return found

    def sd(self, covariance: np.ndarray) -> float:
        """Standard deviation, of the (2, 2) covariance of both CT numbers."""
        weights = np.array([self.low, self.high])
        return float(np.sqrt(weights @ covariance @ weights))


@dataclass(frozen=True)
class Volumes:
    """Shares of a voxel's volume as linear functions of its CT numbers."""

    hap: Linear
    yellow: Linear


def volume_shares(of: Calibration) -> Volumes:
    """The shares of mineral and yellow marrow; red marrow is the rest of the volume.

    Raises:
        ValueError: the three materials lie on one line, so that nothing tells them apart.
    """
    matrix = np.vstack([np.stack([of.hap, of.yellow, of.red], -1), np.ones(3)])
    if abs(np.linalg.det(matrix)) < 1e-6 * np.abs(matrix[:2]).max() ** 2:
        raise ValueError(
            "The calibration cannot tell mineral from marrow: its three materials lie on one line."
        )
    inverse = np.linalg.inv(matrix)
    return Volumes(Linear(*inverse[0]), Linear(*inverse[1]))


@dataclass(frozen=True)
class Marrow:
    """What three materials make of two images.

    Attributes:
        hap: mg/cm^3 of the voxel.
        yellow: share of yellow in marrow, %.
        vnca: CT number of the marrow alone, HU, of the mixed image.
    """

    hap: np.ndarray
    yellow: np.ndarray
    vnca: np.ndarray


def three_materials(
    low: np.ndarray, high: np.ndarray, of: Calibration, low_weight: float = 0.5
) -> Marrow:
    """Decompose CT numbers (float32, any shape) with the volume conserved.

    Args:
        low, high: HU at either beam.
        of: their calibration.
        low_weight: of the low beam in the mixed image that `vnca` is told for.
    """
    seen = np.stack([low.ravel(), high.ravel(), np.ones(low.size)]).astype(low.dtype)
    made = decompose(seen, weights_of(of, low_weight).astype(low.dtype))
    return Marrow(*(one.reshape(low.shape) for one in made[:3]))


def weights_of(of: Calibration, low_weight: float = 0.5) -> np.ndarray:
    """What `decompose` multiplies CT numbers by, of shape (4, 3): low, high and a constant.

    Raises:
        ValueError: see `volume_shares`.
    """
    shares = volume_shares(of)
    mineral, yellow, water = (
        np.array([one.low, one.high, one.constant])
        for one in (shares.hap, shares.yellow, hap_beside_water(of))
    )
    mixing = np.array([low_weight, 1 - low_weight])
    marrow = np.append(mixing, 0.0) - mineral * (mixing @ of.hap)  # of the mixed image
    return np.stack([HAP_DENSITY * mineral, 100 * yellow, marrow, water])


def decompose(seen: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mineral (mg/cm^3), yellow share (%), CT number of the marrow and mineral beside water.

    Args:
        seen: CT numbers at both beams and a row of ones, of shape (3, voxels).
        weights: see `weights_of`; of the same type.
    """
    made = weights @ seen
    made[1:3] /= 1 - made[0] / HAP_DENSITY
    return made


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def decompose_slice(low, high, weights, doubt, hap, yellow, vnca, water):
    """The same of a slice of an image in one pass over it, which memory allows just once.

    Args:
        low, high: CT numbers (j, i) of any type.
        weights: as of `decompose`, float32.
        doubt: uint8, why a voxel has no value; dense bone is marked as `DENSE`.
        hap, yellow, vnca, water: float32, are filled; NaN where there is doubt, and of dense bone
            but for its mineral.
    """
    w = weights
    none, one = np.float32(np.nan), np.float32(1)
    per, dense = np.float32(1 / HAP_DENSITY), np.float32(DENSE_MG)
    for j in range(low.shape[0]):
        for i in range(low.shape[1]):
            a, b = np.float32(low[j, i]), np.float32(high[j, i])
            mineral = w[0, 0] * a + w[0, 1] * b + w[0, 2]
            rest = one / (one - mineral * per)
            known = doubt[j, i] == 0
            marrow = known and mineral <= dense
            hap[j, i] = mineral if known else none
            water[j, i] = w[3, 0] * a + w[3, 1] * b + w[3, 2] if known else none
            yellow[j, i] = (w[1, 0] * a + w[1, 1] * b + w[1, 2]) * rest if marrow else none
            vnca[j, i] = (w[2, 0] * a + w[2, 1] * b + w[2, 2]) * rest if marrow else none
            if known and not marrow:
                doubt[j, i] = DENSE


def sd_of(
    made: np.ndarray, of: Calibration, covariance: np.ndarray, low_weight: float = 0.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What noise leaves in voxels of these values, to first order.

    Both are shares of marrow: with v of mineral, value = raw / (1 - v), and the more mineral, the
    more noise.

    Args:
        made: HAP, yellow share and VNCa (and more, not looked at), of shape (3 or 4, ...).
        of: calibration of one body size.
        covariance: (2, 2) of the two CT numbers, HU^2.
        low_weight: see `three_materials`.

    Returns:
        SD of HAP (mg/cm^3), yellow share (%) and VNCa (HU), NaN where there is no value.
    """
    steps = weights_of(of, low_weight)[:3, :2]  # per HU at either beam
    mineral = steps[0] / HAP_DENSITY
    rest = 1 - made[0] / HAP_DENSITY
    found = [np.where(np.isfinite(made[0]), np.sqrt(steps[0] @ covariance @ steps[0]), np.nan)]
    for value, step in ((made[1], steps[1]), (made[2], steps[2])):
        own, both, of_mineral = (
            step @ covariance @ step,
            2 * (step @ covariance @ mineral),
            mineral @ covariance @ mineral,
        )
        found.append(np.sqrt(own + both * value + of_mineral * value**2) / np.abs(rest))
    return tuple(one.astype(made.dtype) for one in found)


def projected(of: Calibration, low_weight: float = 0.5) -> Linear:
    """Virtual non-calcium as scanners make it: along calcium onto the line of red and yellow.

    Raises:
        ValueError: calcium runs along that line.
    """
    ratio = float(of.de_ratio)
    slope = (of.red[0] - of.yellow[0]) / (of.red[1] - of.yellow[1])
    if abs(ratio - slope) < 0.05:
        raise ValueError(
            f"The calibration cannot tell calcium from marrow: both have a ratio of {ratio:.2f}."
        )
    # d = (x_L - R_L - s (x_H - R_H))/(r - s); VNCa = w (x_L - r d) + (1 - w)(x_H - d)
    taken = low_weight * ratio + (1 - low_weight)
    per = taken / (ratio - slope)
    constant = per * (of.red[0] - slope * of.red[1])
    return Linear(low_weight - per, 1 - low_weight + per * slope, constant)


def hap_beside_water(of: Calibration) -> Linear:
    """Mineral in mg/cm^3 where the rest is taken as water, as vendors report it."""
    per_hap = (1 + of.hap / 1000) / HAP_DENSITY  # of water's attenuation, per mg/cm^3
    inverse = np.linalg.inv(np.stack([per_hap, np.full(2, 1 / WATER_DENSITY)], -1))
    first = inverse[0]
    return Linear(first[0] / 1000, first[1] / 1000, float(first.sum()))


def voxel_sd(of: Calibration, covariance: np.ndarray, low_weight: float = 0.5) -> np.ndarray:
    """What noise of both images leaves in one voxel of `TYPICAL`.

    Args:
        of: calibration of one body size.
        covariance: (2, 2) of the two CT numbers, HU^2.
        low_weight: see `three_materials`.

    Returns:
        SD of HAP (mg/cm^3), yellow share (%) and VNCa (HU), to first order.
    """
    step = 1.0
    seen = seen_of(of, TYPICAL_HAP)
    change = np.stack(
        [
            _result(of, seen + step * beam, low_weight)
            - _result(of, seen - step * beam, low_weight)
            for beam in np.eye(2)
        ],
        -1,
    ) / (2 * step)
    return np.sqrt(np.einsum("ai,ij,aj->a", change, covariance, change))


def systematic_error(of: Calibration, low_weight: float = 0.5) -> np.ndarray:
    """What errors of the calibration leave in such a voxel, the same for all of an image.

    Those of the DE ratio (0.03) and of red and yellow marrow (5 HU at each beam), as independent.

    Returns:
        Of HAP, yellow share and VNCa, as `voxel_sd`.
    """
    seen = seen_of(of, TYPICAL_HAP)
    usual = _result(of, seen, low_weight)
    changed = [of.with_de_ratio(of.de_ratio + RATIO_ERROR)]
    for beam in np.eye(2) * MARROW_ERROR_HU:
        changed.append(replace(of, yellow=of.yellow + beam))
        changed.append(replace(of, red=of.red + beam))
    changes = [_result(one, seen, low_weight) - usual for one in changed]
    return np.sqrt(sum(change**2 for change in changes))


def seen_of(of: Calibration, hap: float) -> np.ndarray:
    """CT numbers of so much mineral (mg/cm^3) in marrow that is half yellow."""
    share = hap / HAP_DENSITY
    return share * of.hap + (1 - share) * (of.yellow + of.red) / 2


def _result(of: Calibration, seen: np.ndarray, low_weight: float) -> np.ndarray:
    made = three_materials(seen[:1], seen[1:], of, low_weight)
    return np.array([made.hap[0], made.yellow[0], made.vnca[0]])
