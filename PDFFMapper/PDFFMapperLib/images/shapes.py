"""The simple shapes people draw, as voxels: circle on a slice, sphere, box, closed curve."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from PDFFMapperLib.images.volume import Volume, lies_outside

_UNNAMED = "F|P|PL|PointList|MarkupsFiducial"  # how Slicer calls lists that nobody has named


@dataclass
class Shape:
    """A drawn shape in patient space.

    Attributes:
        kind: "sphere", "circle", "box" or "closed curve".
        name: what the user called it.
        points_ras: control points in mm, shape (n, 3): the center of a circle or box, the centers
            of spheres that make one region, the outline of a closed curve.
        radius_mm: of a sphere or circle.
        size_mm: of a box, along its own axes.
        axes: of a box, its axes as the columns of a 3x3 matrix in RAS.
    """

    kind: str
    name: str
    points_ras: np.ndarray
    radius_mm: float = 0.0
    size_mm: np.ndarray = field(default_factory=lambda: np.zeros(3))
    axes: np.ndarray = field(default_factory=lambda: np.eye(3))


def voxels_inside(shape: Shape, volume: Volume) -> tuple[np.ndarray, tuple[int, int, int]]:
    """The voxels of `volume` whose centers lie inside the shape.

    A circle covers the acquired slice (constant k) nearest its center. A closed curve covers the
    voxels whose centers project inside its outline and lie within half a voxel of its plane.

    Returns:
        Booleans in a box of the volume's [k, j, i], and (k, j, i) of that box's first voxel.

    Raises:
        ValueError: the shape holds no voxel of the volume.
    """
    center, half_extent = _bounding_sphere(shape)
    box = _voxel_box(volume, center, half_extent)
    shape_kji = tuple(s.stop - s.start for s in box)
    if min(shape_kji) <= 0:
        raise ValueError(lies_outside(shape.name, volume.name, "draw it inside the image"))
    indices = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in box], indexing="ij"), -1)
    mask = _INSIDE[shape.kind](shape, volume, indices[..., ::-1])
    if not mask.any():
        raise ValueError(
            f"{shape.name}: this shape holds no voxel center of {volume.name} "
            f"(voxels of {' x '.join(f'{s:.1f}' for s in volume.spacing)} mm); make it larger, or "
            "draw it on a slice of that image."
        )
    return mask, tuple(s.start for s in box)


def masks_of_shapes(shapes: Sequence[Shape], volume: Volume) -> dict[str, np.ndarray]:
    """The voxels of shapes on all of an image's grid, by their names.

    Raises:
        ValueError: there is none, two have one name, one is a point, whose size nobody drew, or
            holds no voxel of the image.
    """
    found: dict[str, np.ndarray] = {}
    if not shapes:
        raise ValueError("These markups hold no shape; draw a closed curve or an ROI box.")
    for shape in shapes:
        if shape.kind == "sphere":
            raise ValueError(
                f"'{shape.name}' is a point, which tells no size; draw a closed curve or an ROI "
                "box instead."
            )
        if shape.name in found:
            raise ValueError(f"Two shapes are called '{shape.name}'; rename one.")
        mask, offset = voxels_inside(shape, volume)
        whole = found[shape.name] = np.zeros(volume.array.shape, bool)
        whole[tuple(slice(o, o + n) for o, n in zip(offset, mask.shape, strict=True))] = mask
    return found


def spheres(name: str, labels: Sequence[str], points: np.ndarray, radius_mm: float) -> list[Shape]:
    """The spheres of a point list: one region for each label.

    Slicer numbers the points of a list by itself ("L3 marrow-1", "L3 marrow_2", or "F-1" where the
    list was renamed later): those are the list's region, as are points without a label.

    Args:
        name: of the list.
        labels: of the points.
        points: centers in mm (RAS), shape (n, 3).
        radius_mm: of each.
    """
    found: dict[str, list[np.ndarray]] = {}
    for label, point in zip(labels, points, strict=True):
        own = re.fullmatch(rf"({re.escape(name)}|{_UNNAMED})?[\s_-]*\d*", label.strip())
        found.setdefault(name if own else label, []).append(point)
    return [Shape("sphere", one, np.array(some), radius_mm) for one, some in found.items()]


def _bounding_sphere(shape: Shape) -> tuple[np.ndarray, float]:
    center = shape.points_ras.mean(axis=0)
    reach = float(np.linalg.norm(shape.points_ras - center, axis=1).max())
    return center, reach + shape.radius_mm + float(np.linalg.norm(shape.size_mm)) / 2


def _voxel_box(volume: Volume, center: np.ndarray, reach_mm: float) -> tuple[slice, slice, slice]:
    """Voxels whose centers can lie within that reach (and half a voxel) of the center."""
    middle = volume.ras_to_ijk(center)
    rows = np.linalg.norm(np.linalg.inv(volume.ijk_to_ras[:3, :3]), axis=1)
    half = reach_mm * rows + 1
    size = volume.array.shape[::-1]
    low = np.clip(np.floor(middle - half), 0, size).astype(int)
    high = np.clip(np.ceil(middle + half) + 1, 0, size).astype(int)
    return tuple(slice(int(a), int(b)) for a, b in zip(low[::-1], high[::-1], strict=True))


def _in_sphere(shape: Shape, volume: Volume, ijk: np.ndarray) -> np.ndarray:
    places = volume.to_ras(ijk)
    inside = np.zeros(ijk.shape[:-1], bool)
    for center in shape.points_ras:
        inside |= np.linalg.norm(places - center, axis=-1) <= shape.radius_mm
    return inside


def _in_circle(shape: Shape, volume: Volume, ijk: np.ndarray) -> np.ndarray:
    slice_index = round(float(volume.ras_to_ijk(shape.points_ras[0])[2]))
    normal = _normal(volume)
    apart = volume.to_ras(ijk) - shape.points_ras[0]
    in_plane = apart - (apart @ normal)[..., None] * normal
    return (np.linalg.norm(in_plane, axis=-1) <= shape.radius_mm) & (ijk[..., 2] == slice_index)


def _in_box(shape: Shape, volume: Volume, ijk: np.ndarray) -> np.ndarray:
    along = (volume.to_ras(ijk) - shape.points_ras[0]) @ shape.axes
    # A voxel center on a face belongs to one side only, so that adjoining boxes share none.
    half = shape.size_mm / 2 + 1e-6
    return np.all((along >= -half) & (along < half - 2e-6), axis=-1)


def _in_closed_curve(shape: Shape, volume: Volume, ijk: np.ndarray) -> np.ndarray:
    from skimage.measure import points_in_poly

    center = shape.points_ras.mean(axis=0)
    across, down, normal = np.linalg.svd(shape.points_ras - center)[2]
    apart = volume.to_ras(ijk) - center
    # Half the distance that one voxel step covers along the curve's normal.
    half_thickness = np.abs(volume.ijk_to_ras[:3, :3].T @ normal).max() / 2
    height = apart @ normal + 1e-6 * half_thickness  # a plane midway belongs to one slice only
    near = (height >= -half_thickness) & (height < half_thickness)
    outline = (shape.points_ras - center) @ np.c_[across, down]
    mask = np.zeros(ijk.shape[:-1], bool)
    mask[near] = points_in_poly(apart[near] @ np.c_[across, down], outline)
    return mask


def _normal(volume: Volume) -> np.ndarray:
    normal = np.cross(volume.ijk_to_ras[:3, 0], volume.ijk_to_ras[:3, 1])
    return normal / np.linalg.norm(normal)


_INSIDE = {
    "sphere": _in_sphere,
    "circle": _in_circle,
    "box": _in_box,
    "closed curve": _in_closed_curve,
}
