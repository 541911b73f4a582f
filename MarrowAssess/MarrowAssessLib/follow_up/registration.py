"""One vertebral body found again at a later visit: rigid, from the region of the first visit.

Normalized cross-correlation of the anatomical images inside the body's neighborhood, by SimpleITK.
Marrow itself may change; endplates, cortex and discs round it hold the body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PDFFMapperLib.images.files import image_from_volume
from PDFFMapperLib.images.volume import LPS_TO_RAS, Volume

from MarrowAssessLib.study.regions import Region

MARGIN_MM = 6.0  # round the body, so that endplates and cortex are seen
FURTHEST_MM = 25.0  # from where the body was expected
LEAST_NCC = 0.5  # under which nothing was found
SAME_NCC = 0.01  # by which it may fall where a body already lies where it was expected
LEAST_VOXELS = 8  # along each axis, for the filters
STARTS_DEG = (-7.0, 0.0, 7.0)  # tilts that are tried in the sagittal plane


class NotRegistered(ValueError):
    """The body was not found at the later visit."""


@dataclass(frozen=True)
class RigidBody:
    """Where a body of the first visit lies at the second.

    Attributes:
        site: of the body.
        matrix: 4x4, RAS mm of the first visit to RAS mm of the second.
        ncc_before, ncc_after: correlation of both images in the body where it was expected, and
            where it was found.
        moved_mm: of the body's center, from where it was expected.
        turned_deg: about all axes together.
    """

    site: str
    matrix: np.ndarray
    ncc_before: float
    ncc_after: float
    moved_mm: float
    turned_deg: float


def register_body(
    first: Volume, region: Region, second: Volume, expected_ras: np.ndarray | None = None
) -> RigidBody:
    """Find the body of a region again.

    Args:
        first, second: the same kind of image at both visits, on any grids.
        region: of the body, on the grid of `first`.
        expected_ras: its center at the second visit, mm; None where the patient lies alike.

    Raises:
        NotRegistered: it correlates no better than where it was expected, or too little, or lies
            more than 25 mm from there.
    """
    center = first.to_ras(region.centroid_ijk())
    expected = center if expected_ras is None else np.asarray(expected_ras, float)
    fixed, mask = _neighborhood(first, region)
    start = np.eye(4)
    start[:3, 3] = expected - center
    moving = _where_it_may_lie(second, fixed, start)
    found = [_registered(fixed, mask, moving, start, center, tilt) for tilt in STARTS_DEG]
    before = _ncc(fixed, mask, second, start)
    scored = [(_ncc(fixed, mask, second, one), n) for n, one in enumerate(found)]
    after, n = max(scored)
    if not after >= max(before - SAME_NCC, LEAST_NCC):
        raise NotRegistered(
            f"{region.name}: it was not found again (correlation {after:.2f}, {before:.2f} where "
            f"it was expected, {LEAST_NCC:g} at least)."
        )
    matrix, after = (found[n], after) if after > before else (start, before)
    moved = float(np.linalg.norm((matrix @ [*center, 1.0])[:3] - expected))
    if moved > FURTHEST_MM:
        raise NotRegistered(
            f"{region.name}: it was found {moved:.0f} mm from where it was expected, which is more "
            f"than {FURTHEST_MM:g} mm and may be another level."
        )
    turned = np.degrees(np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1)))
    return RigidBody(region.site, matrix, before, after, moved, float(turned))


def _neighborhood(volume: Volume, region: Region) -> tuple[Volume, np.ndarray]:
    """The image round a body, and the mask of its neighborhood in that image."""
    from scipy.ndimage import distance_transform_edt

    pad = np.ceil((MARGIN_MM + 2) / volume.spacing[::-1]).astype(int)
    low = np.maximum(np.array(region.offset) - pad, 0)
    high = np.minimum(np.array(region.offset) + region.mask.shape + pad, volume.array.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    grid = volume.ijk_to_ras.copy()
    grid[:3, 3] = volume.to_ras(low[::-1])
    part = Volume(np.nan_to_num(volume.array[box]).astype(np.float32), grid, volume.name)
    body = region.full_mask(volume.array.shape)[box]
    near = distance_transform_edt(~body, sampling=volume.spacing[::-1]) <= MARGIN_MM
    return part, near


def _where_it_may_lie(second: Volume, fixed: Volume, start: np.ndarray) -> Volume:
    """The part of the second image that a neighborhood may be found in: the filters of SimpleITK,
    which take most of the time, run over all that they are given."""
    ends = np.stack(np.meshgrid(*[(0, n - 1) for n in fixed.array.shape[::-1]]), -1).reshape(-1, 3)
    carried = np.linalg.inv(second.ijk_to_ras) @ start @ fixed.ijk_to_ras
    at = ends @ carried[:3, :3].T + carried[:3, 3]
    room = (FURTHEST_MM + MARGIN_MM) / second.spacing
    low = np.maximum(np.floor(at.min(axis=0) - room), 0).astype(int)
    high = np.minimum(np.ceil(at.max(axis=0) + room) + 1, second.array.shape[::-1]).astype(int)
    if (high - low < LEAST_VOXELS).any():  # it lies outside, or the image is thin
        low, high = np.zeros(3, int), np.array(second.array.shape[::-1])
    grid = second.ijk_to_ras.copy()
    grid[:3, 3] = second.to_ras(low)
    box = tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))
    return Volume(np.nan_to_num(second.array[box]).astype(np.float32), grid, second.name)


def _registered(
    fixed: Volume,
    mask: np.ndarray,
    moving: Volume,
    start: np.ndarray,
    center: np.ndarray,
    tilt_deg: float,
) -> np.ndarray:
    """The rigid transform (RAS) that makes both images agree best, from one start."""
    import SimpleITK as sitk

    lps_center = (LPS_TO_RAS @ [*center, 1.0])[:3]
    lps_shift = LPS_TO_RAS[:3, :3] @ start[:3, 3]
    transform = sitk.Euler3DTransform(
        lps_center.tolist(), float(np.radians(tilt_deg)), 0.0, 0.0, lps_shift.tolist()
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(image_from_volume(fixed.with_array(mask)))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 120, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([2.0, 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(image_from_volume(fixed), image_from_volume(moving))
    rotation = np.array(transform.GetMatrix()).reshape(3, 3)
    lps = np.eye(4)
    lps[:3, :3] = rotation
    moved = lps_center + np.array(transform.GetTranslation())
    lps[:3, 3] = moved - rotation @ lps_center
    return LPS_TO_RAS @ lps @ LPS_TO_RAS


def values_at(second: Volume, matrix: np.ndarray, first: Volume) -> np.ndarray:
    """Values of a volume where a transform (RAS) carries each voxel of another; NaN outside."""
    from scipy.ndimage import map_coordinates

    across = np.linalg.inv(second.ijk_to_ras) @ matrix @ first.ijk_to_ras
    k, j, i = np.meshgrid(*map(np.arange, first.array.shape), indexing="ij", sparse=True)
    at = [
        across[axis, 0] * i + across[axis, 1] * j + across[axis, 2] * k + across[axis, 3]
        for axis in (2, 1, 0)
    ]
    values = second.array.astype(np.float32)
    return map_coordinates(values, np.stack(at), order=1, mode="constant", cval=np.nan)


def _ncc(fixed: Volume, mask: np.ndarray, second: Volume, matrix: np.ndarray) -> float:
    """Correlation of both images inside the mask; -1 where too little of it is covered."""
    seen = values_at(second, matrix, fixed)
    used = mask & np.isfinite(seen)
    if used.sum() < 0.7 * mask.sum():
        return -1.0
    one, other = fixed.array[used], seen[used]
    if not (np.ptp(one) and np.ptp(other)):
        return -1.0
    return float(np.corrcoef(one, other)[0, 1])


def overlap(body: RigidBody, first: Volume, region: Region, second: Volume, later: Region) -> float:
    """Dice of a region carried to the second visit and the region that was drawn there.

    Raises:
        NotRegistered: they do not meet, as where levels are named otherwise.
    """
    drawn = second.with_array(later.full_mask(second.array.shape).astype(np.float32))
    seen = np.nan_to_num(values_at(drawn, body.matrix, first)) > 0.5
    inside = region.full_mask(first.array.shape)
    meets = np.count_nonzero(seen & inside)
    if not meets:
        raise NotRegistered(
            f"{region.name}: carried to the second visit it does not meet the region of the same "
            "name there; levels may be shifted."
        )
    return 2 * meets / (np.count_nonzero(seen) + np.count_nonzero(inside))
