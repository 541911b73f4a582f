"""One click to a region: vertebral marrow, disc, muscle, CSF, fat or air round a point."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PDFFMapperLib.volume import Volume
from scipy import ndimage

from MarrowAssessLib.anatomy import Role
from MarrowAssessLib.regions import Region
from MarrowAssessLib.vertebra import (
    MOVED_MM,
    BodyPrior,
    Surface,
    fit_body,
    template_points,
    usual_body,
    voxelize,
)

# Adult bodies from T8 to S1, with room: Gilad and Nissan 1986; Panjabi et al. 1992.
WIDTH_MM, DEPTH_MM, HEIGHT_MM = (26.0, 64.0), (21.0, 46.0), (13.0, 38.0)
REACH_MM = {Role.MUSCLE: 18.0, Role.CSF: 16.0, Role.FAT: 14.0, Role.NOISE: 12.0}
MARGIN_MM = {
    Role.MARROW: 3.0, Role.DISC: 1.5, Role.MUSCLE: 2.0, Role.CSF: 1.5, Role.FAT: 1.5,
    Role.NOISE: 2.0,
}  # fmt: skip


@dataclass
class Placement:
    """What one click found.

    Attributes:
        body: the structure.
        roi: the measurement ROI inside it, a margin away from its border.
        unsure: sentences, why the result may be wrong; empty where nothing looks wrong.
        surface: the fitted surface (vertebral bodies only).
        score: how box-like the outline is (vertebral bodies only; about 1 to 2.5 for clear ones).
    """

    body: Region
    roi: Region
    unsure: list[str] = field(default_factory=list)
    surface: Surface | None = None
    score: float = float("nan")


def place(
    volume: Volume,
    point_ras: np.ndarray,
    role: Role,
    site: str = "",
    *,
    margin_mm: float | None = None,
    keep_fat: bool = True,
    keep_vein: bool = True,
) -> Placement:
    """Find the structure of a given role round a point.

    Args:
        volume: T1, T2, STIR, gradient echo, water, fat or PDFF image.
        point_ras: mm; inside the structure.
        role: what the point was put on.
        site: canonical site for the region's name, "" if unknown.
        margin_mm: distance between the structure's border and the ROI; None takes the role's own.
        keep_fat: muscle only: keep fat streaks in the ROI.
        keep_vein: marrow only: keep the basivertebral vein and other outliers in the ROI.

    Raises:
        ValueError: the point is outside the volume.
    """
    point = np.asarray(point_ras, dtype=float)
    i, j, k = np.rint(volume.ras_to_ijk(point)).astype(int)
    if not all(0 <= n < size for n, size in zip((k, j, i), volume.array.shape, strict=True)):
        raise ValueError(
            f"The point {np.round(point, 1).tolist()} (RAS, mm) lies outside {volume.name}; "
            "click inside the image."
        )
    margin = MARGIN_MM[role] if margin_mm is None else margin_mm
    if role is Role.MARROW:
        return place_body(volume, point, site, margin, keep_vein)
    if role is Role.DISC:
        from MarrowAssessLib.column import place_disc

        return place_disc(volume, point, site, margin)
    return _grow(volume, point, role, site, margin, keep_fat)


def place_body(
    volume: Volume,
    point: np.ndarray,
    site: str = "",
    margin_mm: float = 3.0,
    keep_vein: bool = True,
    prior: BodyPrior | None = None,
) -> Placement:
    """A vertebral body round a point (see `place`), with what is expected of it if known."""
    surface, score, moved = fit_body(volume, point, prior or usual_body(site))
    mask, offset = voxelize(volume, surface)
    name = f"{site} marrow".strip()
    body = Region(f"{name} body", Role.MARROW, site, mask, offset)
    roi_mask = eroded(mask, volume, margin_mm) & _central(volume, surface, mask.shape, offset)
    if not keep_vein:
        roi_mask &= _typical(volume.array[body.box], roi_mask)
    roi = Region(name, Role.MARROW, site, roi_mask, offset)
    unsure = _doubts(surface, score, moved, point)
    if not roi.voxels:
        unsure.append(f"Nothing is left {margin_mm:g} mm inside the body.")
    roi.cautions.extend(unsure)
    return Placement(body, roi, unsure, surface, score)


def _doubts(surface: Surface, score: float, moved: float, point: np.ndarray) -> list[str]:
    doubts = []
    corners = template_points(surface)
    width, depth, height = np.ptp(corners, axis=0)
    for value, (low, high), what in (
        (width, WIDTH_MM, "wide"), (depth, DEPTH_MM, "deep"), (height, HEIGHT_MM, "high"),
    ):  # fmt: skip
        if not low <= value <= high:
            doubts.append(
                f"The body is {value:.0f} mm {what}; {low:.0f} to {high:.0f} mm is usual."
            )
    seen = np.isfinite(surface.support)
    if seen.mean() < 0.94:
        doubts.append("The body touches the edge of the volume.")
    if score < 0.4:
        doubts.append("No clear box-like outline was found round the click.")
    if np.median(surface.support[seen]) < 0.4:
        doubts.append("The border is faint: less than half of it lies on a clear edge.")
    if moved > MOVED_MM:
        doubts.append("The result depends on where inside the body the click is.")
    if not surface.contains(point[None])[0]:
        doubts.append("The click lies outside the body that was found.")
    return doubts


def eroded(mask: np.ndarray, volume: Volume, margin_mm: float) -> np.ndarray:
    """The voxels deeper inside a mask than a margin in mm (beyond the mask is outside)."""
    if not mask.any() or margin_mm <= 0:
        return mask.copy()
    padded = np.pad(mask, 1)
    depth = ndimage.distance_transform_edt(padded, sampling=volume.spacing[::-1])
    # Distance is measured to the next voxel's center; the border is half a voxel nearer.
    inside = depth - 0.5 * volume.spacing.min() >= margin_mm
    return inside[1:-1, 1:-1, 1:-1]


def _central(
    volume: Volume, surface: Surface, shape: tuple[int, ...], offset: tuple[int, int, int]
) -> np.ndarray:
    """The middle 80 % of a body's width: thick slices blur its sides into muscle and vessels."""
    k, j, i = np.ogrid[tuple(slice(o, o + n) for o, n in zip(offset, shape, strict=True))]
    right = surface.box.axes[0] @ volume.ijk_to_ras[:3, :3]
    start = surface.box.axes[0] @ (volume.ijk_to_ras[:3, 3] - surface.box.center)
    across = right[0] * i + right[1] * j + right[2] * k + start
    return np.abs(across) <= 0.8 * surface.box.half[0]


def _typical(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Voxels within 2.5 robust standard deviations of the median: without vein or hot spots."""
    middle = np.median(values[mask]) if mask.any() else 0.0
    spread = 1.4826 * np.median(np.abs(values[mask] - middle)) if mask.any() else 0.0
    return np.abs(values - middle) <= 2.5 * max(spread, 1e-9)


def _grow(
    volume: Volume, point: np.ndarray, role: Role, site: str, margin_mm: float, keep_fat: bool
) -> Placement:
    """Connected tissue like that at the point, within the role's reach."""
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
        tolerance = max(3 * noise, 0.25 * abs(level))
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
    roi_mask = eroded(filled if role is Role.MUSCLE else mask, volume, margin_mm)
    if role is Role.MUSCLE and not keep_fat:
        roi_mask &= like
    if not roi_mask.any():
        unsure.append(
            f"Too little {role.value} was found round the click for a margin of {margin_mm:g} mm."
        )
    elif roi_mask.sum() * volume.voxel_volume_mm3 < 60:
        unsure.append("The region is smaller than 60 mm^3; its statistics are coarse.")
    if any(s.start == 0 or s.stop == n for s, n in zip(box, volume.array.shape, strict=True)):
        edge = np.ones_like(mask)
        edge[1:-1, 1:-1, 1:-1] = False
        sides = mask & edge & (distance < reach - volume.spacing.max())
        if sides.any():
            unsure.append("The region touches the edge of the volume.")
    if noise > 0.25 * abs(level) and role is not Role.NOISE:
        unsure.append("The tissue round the click is not uniform.")
    if role is Role.NOISE and level > 0.1 * float(np.percentile(volume.array, 99)):
        unsure.append("The click does not look like air: its signal is not low.")
    body = Region(f"{name} body", role, site, filled, offset)
    roi = Region(name, role, site, roi_mask, offset, list(unsure))
    return Placement(body, roi, unsure)


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


def ball(radius_mm: float, spacing: np.ndarray) -> np.ndarray:
    """A ball as a structuring element [k, j, i], for a spacing in mm along i, j, k."""
    half = np.floor(radius_mm / spacing[::-1]).astype(int)
    k, j, i = np.ogrid[tuple(slice(-h, h + 1) for h in half)]
    return (k * spacing[2]) ** 2 + (j * spacing[1]) ** 2 + (i * spacing[0]) ** 2 <= radius_mm**2
