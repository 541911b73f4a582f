"""Marrow of the pelvis on CT: the wings of both ilia, by their cortex and the place of S1."""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.study.regions import Region

CORTEX_HU = 180.0
CLOSED_MM = 4.0  # gaps of thin cortex
MARGIN_MM = 4.0  # inside the outer surface, which keeps cortex out
BELOW_MM, ABOVE_MM = 55.0, 45.0  # of the middle of S1
ASIDE_MM, FRONT_MM, BACK_MM = 160.0, 130.0, 110.0
LATERAL_MM = 60.0  # from the middle of S1: the sacrum and its joints lie nearer
LEAST_ML = 3.0
MOST_DENSE_HU = 400.0  # of marrow: sclerosis and cortex are not


def find_pelvis(ct: Volume, s1: np.ndarray) -> list[Region]:
    """Marrow of the wings of left and right ilium, where the CT shows them.

    Bone is closed by its cortex slice by slice; what lies 4 mm inside it and over 60 mm from the
    middle of S1, which leaves out the sacrum and its joints, is an ilium: the largest piece of
    each side. Tried on one CT by eye (both ilia right), and on computed ones.

    Args:
        ct: HU, slices about axial.
        s1: middle of the body of S1, RAS mm.

    Returns:
        Both regions; one that was not found holds no voxel.
    """
    from scipy.ndimage import (
        binary_closing,
        binary_fill_holes,
        distance_transform_edt,
        label,
    )

    box = _box(ct, s1)
    array = ct.array[box]
    if not array.size:
        return [_ilium(side, np.zeros((1, 1, 1), bool), (0, 0, 0)) for side in ("left", "right")]
    step = ct.spacing[:2].mean()
    reach = max(round(CLOSED_MM / step), 1)
    j, i = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disk = j**2 + i**2 <= reach**2
    core = np.zeros(array.shape, bool)
    for k, one in enumerate(array):
        bone = np.pad(one > CORTEX_HU, reach)
        solid = binary_fill_holes(binary_closing(bone, disk))
        inside = distance_transform_edt(solid, sampling=ct.spacing[1::-1])
        core[k] = (inside >= MARGIN_MM)[reach:-reach, reach:-reach] & (one < MOST_DENSE_HU)
    k, j, i = (np.arange(part.start, part.stop) for part in box)
    axis = ct.ijk_to_ras[0, :3]
    right = axis[2] * k[:, None, None] + axis[1] * j[:, None] + axis[0] * i
    right += ct.ijk_to_ras[0, 3] - s1[0]
    regions = []
    for side, beyond in (("left", right < -LATERAL_MM), ("right", right > LATERAL_MM)):
        parts, _ = label(core & beyond)
        sizes = np.bincount(parts.ravel(), minlength=2)[1:]
        mask = parts == sizes.argmax() + 1
        if sizes.max() * ct.voxel_volume_mm3 < 1000 * LEAST_ML:
            mask = np.zeros((1, 1, 1), bool)
        regions.append(_ilium(side, mask, tuple(part.start for part in box)))
    return regions


def _ilium(side: str, mask: np.ndarray, offset: tuple[int, int, int]) -> Region:
    name = f"{side} ilium"
    return Region(f"{name} marrow", Role.MARROW, name, mask, offset)


def _box(ct: Volume, s1: np.ndarray) -> tuple[slice, slice, slice]:
    """The part of the CT around S1 in which the pelvis lies."""
    low = s1 - [ASIDE_MM, BACK_MM, BELOW_MM]
    high = s1 + [ASIDE_MM, FRONT_MM, ABOVE_MM]
    corners = np.stack(np.meshgrid(*np.stack([low, high], 1), indexing="ij"), -1).reshape(-1, 3)
    ijk = ct.ras_to_ijk(corners)
    size = np.array(ct.array.shape[::-1])
    first = np.clip(np.floor(ijk.min(0)), 0, size).astype(int)
    last = np.clip(np.ceil(ijk.max(0)) + 1, first, size).astype(int)
    return tuple(slice(a, b) for a, b in zip(first[::-1], last[::-1], strict=True))
