"""Muscle, CSF, fat or air: connected tissue like that at a point."""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.volume import Volume
from scipy import ndimage

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.placement.body import MARGIN_MM, Placement, ball, eroded
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.study.regions import Region

REACH_MM = {Role.MUSCLE: 18.0, Role.CSF: 16.0, Role.FAT: 14.0, Role.NOISE: 12.0}

TOUCHES_EDGE = "The region touches the edge of the volume."


def grow(
    volume: Volume,
    point: np.ndarray,
    role: Role,
    site: str,
    margin_mm: float | None = None,
    options: PlacingOptions = AS_USUAL,
) -> Placement:
    """Connected tissue like that at the point (RAS, mm), within the role's reach.

    See `structure.place`.
    """
    margin = MARGIN_MM[role] if margin_mm is None else margin_mm
    reach = REACH_MM[role]
    box = _box_round(volume, point, reach)
    values = volume.array[box].astype(np.float32)
    distance = _distance(volume, box, point)
    smooth = ndimage.gaussian_filter(values, 0.7 / volume.spacing[::-1])
    near = distance <= max(2.5, volume.spacing.max() * 0.75)
    level = float(np.median(values[near]))
    noise = 1.4826 * float(np.median(np.abs(values[near] - level)))
    if role is Role.NOISE:
        ceiling = level + 6 * max(noise, 0.01 * float(volume.array.max()))
        like = smooth <= ceiling
    else:
        tolerance = max(3 * noise, alike(level, noise, 0.25))
        like = np.abs(smooth - level) <= tolerance
    like &= distance <= reach
    opened = ndimage.binary_opening(like, ball(1.2, volume.spacing)) | (near & like)
    labels, _ = ndimage.label(opened)
    here = np.bincount(labels[near & opened], minlength=2)
    here[0] = 0
    mask = labels == here.argmax() if here.any() else np.zeros_like(opened)
    filled = ndimage.binary_closing(np.pad(mask, 4), ball(2.5, volume.spacing))[4:-4, 4:-4, 4:-4]
    filled = (filled | mask) & (distance <= reach)
    offset = tuple(s.start for s in box)
    name = f"{site} {role.value}".strip()
    unsure = []
    roi_mask = eroded(filled if role is Role.MUSCLE else mask, volume, margin)
    roi_mask = _piece_at(roi_mask, distance)
    if role is Role.MUSCLE and "fat" in options.leave_out:
        roi_mask &= like
    if not roi_mask.any():
        unsure.append(
            f"Too little {role.value} was found round the click for a margin of {margin:g} mm."
        )
    elif roi_mask.sum() * volume.voxel_volume_mm3 < 60:
        unsure.append("The region is smaller than 60 mm^3; its statistics are coarse.")
    if any(s.start == 0 or s.stop == n for s, n in zip(box, volume.array.shape, strict=True)):
        edge = np.ones_like(mask)
        edge[1:-1, 1:-1, 1:-1] = False
        sides = mask & edge & (distance < reach - volume.spacing.max())
        if sides.any():
            unsure.append(TOUCHES_EDGE)
    if noise > 0.25 * abs(level) and role is not Role.NOISE:
        unsure.append("The tissue round the click is not uniform.")
    if role is Role.NOISE and level > 0.1 * float(np.percentile(volume.array, 99)):
        unsure.append("The click does not look like air: its signal is not low.")
    body = Region(f"{name} body", role, site, filled, offset)
    roi = Region(name, role, site, roi_mask, offset, list(unsure))
    return Placement(body, roi, unsure)


def alike(level: float, noise: float, most: float) -> float:
    """How far from a tissue's level its own signals may lie.

    That is `most` of the level (texture, shading), but less where the tissue round the click is
    more even than that, so that a neighbor of nearly the same signal stays out.
    """
    return float(np.clip(10 * noise, 0.12 * abs(level), most * abs(level)))


def _piece_at(mask: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """The largest connected piece among those as near the click as any, give or take 3 mm.

    What hangs on the rest by a neck that the margin takes away is most likely another tissue.
    """
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    numbers = np.arange(1, count + 1)
    nearest = ndimage.minimum(distance, pieces, numbers)
    sizes = np.where(nearest <= nearest.min() + 3.0, np.bincount(pieces.ravel())[1:], 0)
    return pieces == numbers[sizes.argmax()]


def _box_round(volume: Volume, point: np.ndarray, reach_mm: float) -> tuple[slice, slice, slice]:
    ijk = volume.ras_to_ijk(point)
    half = np.ceil(reach_mm / volume.spacing) + 1
    low = np.maximum(np.rint(ijk - half), 0).astype(int)
    high = np.minimum(np.rint(ijk + half) + 1, volume.array.shape[::-1]).astype(int)
    return tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))


def _distance(volume: Volume, box: tuple[slice, slice, slice], point: np.ndarray) -> np.ndarray:
    k, j, i = np.ogrid[box]
    moved = np.zeros(np.broadcast_shapes(k.shape, j.shape, i.shape))
    for axis in range(3):
        row = volume.ijk_to_ras[axis]
        moved += (row[0] * i + row[1] * j + row[2] * k + row[3] - point[axis]) ** 2
    return np.sqrt(moved)
