"""How much of a body's marrow went up, down or stayed: the parametric response map.

Voxel by voxel after rigid registration of the body; Galban 2009, doi 10.1038/nm.1919.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.follow_up.errors import MeasurementError
from MarrowAssessLib.follow_up.registration import RigidBody, values_at
from MarrowAssessLib.study.regions import Region

FEWEST_VOXELS = 20


@dataclass(frozen=True)
class ResponseMap:
    """What changed in one body.

    Attributes:
        site: of the body.
        change: second minus first at each voxel of the first map; NaN outside the region and
            where either map is not to be trusted.
        beyond: by how much a voxel has to differ to be more than its error.
        voxels: that both maps hold.
        up, down, same: shares of them, which sum to 1.
    """

    site: str
    change: np.ndarray
    beyond: float
    voxels: int
    up: float
    down: float
    same: float


def response_map(
    first: Volume,
    second: Volume,
    region: Region,
    body: RigidBody,
    error: MeasurementError | None = None,
) -> ResponseMap:
    """The change of a map in a body.

    Args:
        first, second: the same map at both visits, NaN where it is not to be trusted.
        region: of the body, on the grid of `first`.
        body: where it lies at the second visit.
        error: of single examinations; a voxel's error is this or the maps' noise, the larger one.

    Raises:
        ValueError: too few voxels hold a value at both visits.
    """
    inside = region.full_mask(first.array.shape)
    seen = values_at(second, body.matrix, first)
    used = inside & np.isfinite(first.array) & np.isfinite(seen)
    if used.sum() < FEWEST_VOXELS:
        raise ValueError(
            f"{region.name}: {int(used.sum())} voxels hold a value at both visits; {FEWEST_VOXELS} "
            "are expected."
        )
    change = np.where(used, seen - first.array, np.nan)
    noise = math.hypot(_noise(first.array, used), _noise(seen, used))
    known = 0.0
    if error is not None:
        mean = abs(float(first.array[used].mean()))
        known = math.sqrt(2) * error.sd * (mean if error.proportional else 1.0)
    beyond = 1.96 * max(noise, known)
    values = change[used]
    up, down = float(np.mean(values > beyond)), float(np.mean(values < -beyond))
    return ResponseMap(region.site, change, beyond, int(used.sum()), up, down, 1 - up - down)


def _noise(array: np.ndarray, used: np.ndarray) -> float:
    """SD of noise: half a difference of neighbors in a row, without what the anatomy adds."""
    pairs = used[:, :, 1:] & used[:, :, :-1]
    apart = np.diff(array, axis=2)[pairs]
    return 1.4826 * float(np.median(np.abs(apart))) / math.sqrt(2) if apart.size else 0.0
