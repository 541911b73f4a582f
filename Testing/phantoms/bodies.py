"""Digital vertebral bodies of known heights, and losses planted in drawn ones."""

from __future__ import annotations

import numpy as np
from MarrowAssessLib.fracture.heights import measure_body
from MarrowAssessLib.placement.vertebra import Surface, tilted_axes
from PDFFMapperLib.images.volume import Volume
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import map_coordinates

APART_MM = 34.0  # from the middle of one body to that of the next
CENTERS = (0.15, 0.5, 0.85)  # of the zones heights are measured over, shares of the depth


def grid(bodies: int, spacing_mm: tuple[float, float, float] = (2.0, 1.0, 1.0)) -> Volume:
    """An empty image for so many bodies, one above the other."""
    size = np.array([70, 80, 36 * bodies + 34]) / spacing_mm
    matrix = np.diag([*spacing_mm, 1.0])
    matrix[:3, 3] = [-35.0, -40.0, -17.0 - 18 * bodies]
    return Volume(np.zeros(np.rint(size).astype(int)[::-1], np.float32), matrix, "digital spine")


def body(
    volume: Volume,
    center: tuple[float, float, float],
    heights_mm: tuple[float, float, float],
    *,
    depth_mm: float = 32.0,
    width_mm: float = 44.0,
    tilt_deg: float = 0.0,
) -> np.ndarray:
    """A box-like body whose anterior, middle and posterior heights are those given.

    Height is smooth between the zones' middles and goes on as the wedge does before and behind
    them; half of it lies above, half below the middle plane.
    """
    middle = int(volume.ras_to_ijk(np.array(center))[2])
    first = max(middle - 40, 0)
    result = np.zeros(volume.array.shape, bool)
    near = result[first : middle + 40]
    k, j, i = np.indices(near.shape)
    points = volume.to_ras(np.stack([i, j, k + first], -1).reshape(-1, 3)) - center
    x, y, z = (points @ tilted_axes(tilt_deg).T).T
    slope = (heights_mm[2] - heights_mm[0]) / (CENTERS[2] - CENTERS[0])
    ends = heights_mm[0] - slope * CENTERS[0], heights_mm[2] + slope * (1 - CENTERS[2])
    height = PchipInterpolator((0.0, *CENTERS, 1.0), (ends[0], *heights_mm, ends[1]))
    inside = (np.abs(x / width_mm * 2) ** 4 + np.abs(y / depth_mm * 2) ** 8) <= 1
    inside &= np.abs(z) <= height(0.5 - y / depth_mm) / 2
    near[:] = inside.reshape(near.shape)
    return result


def column(
    heights_mm: dict[str, tuple[float, float, float]],
    spacing_mm: tuple[float, float, float] = (2.0, 1.0, 1.0),
    tilt_deg: float = 0.0,
) -> tuple[Volume, dict[str, np.ndarray]]:
    """Bodies by level from head to foot."""
    volume = grid(len(heights_mm), spacing_mm)
    return volume, {
        level: body(volume, center(n, len(heights_mm)), three, tilt_deg=tilt_deg)
        for n, (level, three) in enumerate(heights_mm.items())
    }


def center(n: int, bodies: int) -> tuple[float, float, float]:
    """The middle of the nth body from above of a column, off the voxels' grid; RAS, mm."""
    return 0.3, -0.2, APART_MM * ((bodies - 1) / 2 - n) + 0.4


def reduced(
    volume: Volume, mask: np.ndarray, surface: Surface, kind: str, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """A drawn body with a share of its height taken away, and what is kept of its three heights.

    Every column of it along the body's head axis is pressed toward the lower endplate: by `share`
    everywhere ("crush"), or at the front, falling to nothing at the back ("wedge").
    """
    heights = measure_body(surface)
    front, back = heights.walls_ras
    along = (front - back) / np.linalg.norm(front - back)
    pressed = {
        "crush": lambda depth: np.full(np.shape(depth), share),
        "wedge": lambda depth: share * (1 - np.clip(depth, 0, 1)),
    }[kind]
    floor, slope = _plane(heights.points_ras[3:], back, along, heights.head)
    where = np.argwhere(mask)
    box = tuple(slice(a, b + 1) for a, b in zip(where.min(axis=0), where.max(axis=0), strict=True))
    k, j, i = (one.ravel() for one in np.mgrid[box])
    points = volume.to_ras(np.c_[i, j, k])
    y = (points - back) @ along
    above = (points - back) @ heights.head - (floor + slope * y)
    pulled = above / (1 - pressed(1 - y / heights.depth_mm)) - above
    ijk = volume.ras_to_ijk(points + (np.maximum(pulled, 0))[:, None] * heights.head)
    inside = map_coordinates(mask.astype(np.float32), ijk[:, ::-1].T, order=1) > 0.5
    result = np.zeros_like(mask)
    result[box] = inside.reshape(result[box].shape)
    return result, 1 - pressed(np.array(CENTERS))


def _plane(
    points: np.ndarray, origin: np.ndarray, along: np.ndarray, head: np.ndarray
) -> tuple[float, float]:
    """Height above `origin` of a line through points, and its slope along the depth."""
    slope, height = np.polyfit((points - origin) @ along, (points - origin) @ head, 1)
    return float(height), float(slope)
