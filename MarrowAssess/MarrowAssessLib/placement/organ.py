"""Liver, spleen or blood pool from one click: a sphere or a cylinder of a fixed size inside.

They are what uptake of marrow is compared with: 3 cm of the right lobe of the liver, 10 mm or more
from its edge, and 2 cm of the aorta, 1 cm wide. Of the spleen, which is thinner, 2 cm are taken,
5 mm or more from its edge (our choice). A region holds as many voxels as its volume has, those
nearest to its middle, so that the volume is right on the coarse grid of a PET, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PDFFMapperLib.images.volume import Volume
from scipy import ndimage

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.placement.body import Placement, ball, box_round, depth_mm, distance_from
from MarrowAssessLib.placement.robust import MAD_TO_SD
from MarrowAssessLib.study.regions import Region


@dataclass(frozen=True)
class Organ:
    """What is taken of an organ.

    Attributes:
        radius_mm: of the sphere or cylinder.
        inside_mm: at least, from its side to the organ's edge.
        moved_mm: at most, from the click.
        length_mm: of a cylinder, 0 for a sphere.
        side: of the body on which it lies: 1 right, -1 left, 0 either.
        smooth_mm: SD of the Gaussian that noise is reduced with; what is narrow bears less.
    """

    radius_mm: float
    inside_mm: float
    moved_mm: float
    length_mm: float = 0.0
    side: int = 0
    smooth_mm: float = 4.0

    @property
    def volume_mm3(self) -> float:
        """Of the sphere or cylinder."""
        length = self.length_mm or 4 / 3 * self.radius_mm
        return float(np.pi * self.radius_mm**2 * length)


ORGANS = {
    Role.LIVER: Organ(15.0, 10.0, moved_mm=25.0, side=1),
    Role.SPLEEN: Organ(10.0, 5.0, moved_mm=15.0, side=-1),
    Role.BLOOD: Organ(5.0, 1.0, moved_mm=6.0, length_mm=20.0, smooth_mm=1.5),
}
NEAR = 0.7  # of the radius, round a click: the organ's level and noise
# How far an organ's signals lie from its level: so many SD of noise, but at least and at most so
# much of the level (half of what it stands out of fat or lung by; noise of a PET).
VARIES, LEAST_APART, MOST_APART = 3, 0.25, 0.4
# Thinner bridges to other organs are cut, smaller vessels and noise filled; one voxel at least.
NECK_MM = GAP_MM = 3.0
STEP_MM = 8.0  # between the voxels in which the body's middle is looked for
DIRECTIONS, MOVED_COST = 90, 0.1  # of a vessel's axis; per mm from the click
WIDEST_MM = 40.0  # of an aorta; more is a chamber of the heart, or its wall was not seen


def place_organ(volume: Volume, point: np.ndarray, role: Role) -> Placement:
    """The sphere or cylinder of an organ next to a click that lies deep enough inside.

    Args:
        volume: PET, CT as `ct.as_seen` shows it, or MR image.
        point: RAS mm, inside the organ.
        role: liver, spleen or blood pool.

    Raises:
        ValueError: nothing wide enough is alike at the click.
    """
    organ = ORGANS[role]
    reach = organ.moved_mm
    deep = organ.radius_mm + organ.inside_mm
    box = box_round(volume, point, reach + deep + max(organ.length_mm, organ.smooth_mm))
    distance = distance_from(volume, box, point)
    mask, level = _like(volume, box, distance, organ)
    if not mask.any():
        raise ValueError(
            f"No {role.value} was found at the click: what is alike there is too narrow, or holds "
            "no value; click in its middle."
        )
    depth = depth_mm(mask, volume.spacing)
    unsure = []
    if organ.length_mm:
        center, axis, inside = _along_vessel(volume, box, depth, distance, point, organ)
        if 2 * depth[distance <= 2 * reach].max() > WIDEST_MM:
            unsure.append(
                f"What lies round the click is wider than {WIDEST_MM / 10:g} cm: the wall of the "
                "aorta was not seen (on a PET, blood and vertebrae are alike), or it is no aorta; "
                "click it on a CT or MR image of the same examination, where there is one."
            )
    else:
        axis = np.zeros(3)
        center, inside = _deep_enough(volume, box, depth, distance, reach, deep)
    if inside < deep:
        unsure.append(
            f"The {role.value} was found {max(inside, 0):.0f} mm round the middle of the region "
            f"only; {deep:g} mm are wanted, for {organ.inside_mm:g} mm from its edge."
        )
    across = organ.side * (point[0] - _middle(volume, point, level))
    if across < 0:
        unsure.append(_other_side(role))
    roi = Region(role.value, role, "", _nearest(volume, box, center, axis, organ), _start(box))
    roi.cautions.extend(unsure)
    return Placement(Region(f"{role.value} body", role, "", mask, _start(box)), roi, unsure)


def _other_side(role: Role) -> str:
    if role is Role.LIVER:
        return "The click lies left of the body's middle; the right lobe of the liver is usual."
    return "The click lies right of the body's middle, and the spleen lies left."


def _start(box: tuple[slice, ...]) -> tuple[int, ...]:
    return tuple(part.start for part in box)


def _like(
    volume: Volume, box: tuple[slice, ...], distance: np.ndarray, organ: Organ
) -> tuple[np.ndarray, float]:
    """What in a box is connected with the click and like it there, and its level."""
    values = volume.array[box].astype(np.float32)
    seen = np.isfinite(values)
    near = seen & (distance <= max(NEAR * organ.radius_mm, float(volume.spacing.max())))
    if not near.any():
        return np.zeros(values.shape, bool), 0.0
    sd = organ.smooth_mm / volume.spacing[::-1]
    smooth = ndimage.gaussian_filter(np.where(seen, values, np.median(values[near])), sd)
    level = float(np.median(smooth[near]))
    noise = MAD_TO_SD * float(np.median(np.abs(smooth[near] - level)))
    apart = LEAST_APART * abs(level), MOST_APART * abs(level)
    like = seen & (np.abs(smooth - level) <= np.clip(VARIES * noise, *apart))
    parts, _ = ndimage.label(ndimage.binary_opening(like, _ball(NECK_MM, volume.spacing)))
    here = np.bincount(parts[near], minlength=2)
    here[0] = 0
    mask = parts == here.argmax() if here.any() else np.zeros_like(like)
    gap = _ball(GAP_MM, volume.spacing)
    pad = [(n, n) for n in gap.shape]
    filled = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(mask, pad), gap))
    return filled[tuple(slice(n, -n) for n, _ in pad)] | mask, level


def _ball(radius_mm: float, spacing: np.ndarray) -> np.ndarray:
    """A ball as a structuring element [k, j, i], in which each direction has a voxel at least."""
    return ball(1.0, spacing / np.maximum(radius_mm, spacing))


def _deep_enough(
    volume: Volume,
    box: tuple[slice, ...],
    depth: np.ndarray,
    distance: np.ndarray,
    reach: float,
    deep: float,
) -> tuple[np.ndarray, float]:
    """The middle (RAS) of a sphere next to the click, and how deep it lies."""
    able = (depth >= deep) & (distance <= reach)
    if able.any():
        at = np.argmin(np.where(able, distance, np.inf))
    else:
        at = np.argmax(np.where(distance <= reach, depth, -np.inf))
    kji = np.array(np.unravel_index(at, depth.shape))
    return volume.to_ras((kji + _start(box))[::-1]), float(depth[tuple(kji)])


def _along_vessel(
    volume: Volume,
    box: tuple[slice, ...],
    depth: np.ndarray,
    distance: np.ndarray,
    point: np.ndarray,
    organ: Organ,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Middle and axis of a cylinder that lies deepest, near the click; of equals the most upright.

    Returns:
        Middle (RAS), direction, and the depth of its axis where that is least.
    """
    turn = np.arange(DIRECTIONS) * np.pi * (3 - np.sqrt(5))  # evenly over half a ball
    up = 1 - np.arange(DIRECTIONS) / DIRECTIONS
    flat = np.sqrt(1 - up**2)
    axes = np.stack([flat * np.cos(turn), flat * np.sin(turn), up], -1)
    near = distance <= max(organ.moved_mm, float(volume.spacing.max()))
    near &= depth >= 0.7 * depth[near].max()
    kji = np.argwhere(near)
    centers = volume.to_ras((kji + _start(box))[:, ::-1])
    along = np.linspace(-0.5, 0.5, 9)[:, None] * organ.length_mm
    enough = organ.radius_mm + 4 * organ.inside_mm
    best = (-np.inf, point, axes[0], 0.0)
    for axis in axes:
        places = centers[:, None] + along * axis
        ijk = volume.ras_to_ijk(places.reshape(-1, 3)) - _start(box)[::-1]
        seen = ndimage.map_coordinates(depth, ijk[:, ::-1].T, order=1, cval=0.0)
        least = seen.reshape(len(centers), -1).min(axis=1)
        worth = np.minimum(least, enough) - MOVED_COST * distance[near]
        at = int(np.argmax(worth))
        if worth[at] > best[0]:
            best = (worth[at], centers[at], axis, float(least[at]))
    return best[1:]


def _nearest(
    volume: Volume, box: tuple[slice, ...], center: np.ndarray, axis: np.ndarray, organ: Organ
) -> np.ndarray:
    """As many voxels as the volume has, those nearest to a middle or deepest in a cylinder."""
    kji = np.stack(np.meshgrid(*[np.arange(p.start, p.stop) for p in box], indexing="ij"), -1)
    apart = volume.to_ras(kji[..., ::-1]) - center
    along = np.abs(apart @ axis)
    across = np.sqrt(np.maximum((apart**2).sum(-1) - along**2, 0))
    far = across / organ.radius_mm
    if organ.length_mm:
        far = np.maximum(far, along / (organ.length_mm / 2))
    count = max(round(organ.volume_mm3 / volume.voxel_volume_mm3), 1)
    mask = np.zeros(far.shape, bool)
    mask.ravel()[np.argsort(far, axis=None, kind="stable")[:count]] = True
    return mask


def _middle(volume: Volume, point: np.ndarray, level: float) -> float:
    """Where the middle of the body lies at the height of a point, RAS mm to the right."""
    step = np.maximum(np.round(STEP_MM / volume.spacing).astype(int), 1)
    kji = np.stack(
        np.meshgrid(
            *[np.arange(0, n, s) for n, s in zip(volume.array.shape, step[::-1], strict=True)],
            indexing="ij",
        ),
        -1,
    )
    places = volume.to_ras(kji[..., ::-1])
    with np.errstate(invalid="ignore"):
        body = volume.array[tuple(np.moveaxis(kji, -1, 0))] > 0.1 * level
    body &= np.abs(places[..., 2] - point[2]) <= 2 * STEP_MM
    if not body.any():
        return float(point[0])
    return float(np.mean(np.quantile(places[body][:, 0], (0.02, 0.98))))
