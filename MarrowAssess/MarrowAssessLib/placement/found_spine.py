"""The spine as it was found in an image: its bodies, and what every place there is."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.placement.spine_network import Structure

ONE_OR_TWO, ONE_OR_MORE = "one or two", "one or more"  # levels by which the lowest may be off
CORTEX_SHARE = 0.5  # of the cortex belongs to the body: an outline runs through its middle
TURNS = 3  # in which a body's axes settle on its endplates
ENDS_PERCENT = (2, 98)  # of a body's voxels along an axis: its ends, without single voxels
HALF_VOXEL_MM = 0.3  # its ends are those of the voxels, not their centers
LEAST_HALF_MM = 2.0
INFANT_DEPTH_MM, INFANT_BODIES = 15.0, 3  # median of so many lowest bodies (approximate)
# An endplate: the outermost voxels of cells (mm, right and front) in the middle part of the
# cross-section; so many at least, none so far (robust SDs, mm) from their plane, a slope of 27
# degrees at most.
SIZE_PERCENT, MIDDLE_PART, CELLS_MM = 95, 0.7, (3.0, 2.0)
LEAST_CELLS, APART_SD, APART_MM, MOST_SLOPE = 8, 2.5, 0.5, 0.5


@dataclass
class FoundBody:
    """A body of the chain.

    Attributes:
        center: RAS, mm.
        up: unit vector along the column there.
        mask: boolean in the frame.
    """

    center: np.ndarray
    up: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class CountDoubt:
    """A place where the number of bodies is not certain.

    Attributes:
        body: index of the body above which (or at which) the count may be another one.
        reading: what else it may be.
    """

    body: int
    reading: str


@dataclass
class Spine:
    """What was found in an image.

    Attributes:
        bodies: from head to foot.
        frame: grid of the network's result: slices to the right, rows down, columns to the front.
        chances: (11, slices, rows, columns) probability of each Structure in the frame.
        lowest: level of the lowest body where the sacrum tells it, "" where it is not in view.
        unsure_lowest: why that level is not certain, "" where it is.
        lowest_off: by how many it may then be wrong.
        count_doubts: places where the number of bodies is not certain.
        notes: other sentences, such as a shift between images.
    """

    bodies: list[FoundBody]
    frame: Volume
    chances: np.ndarray
    lowest: str = ""
    unsure_lowest: str = ""
    lowest_off: str = "one"
    count_doubts: list[CountDoubt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def disc_chance(self) -> np.ndarray:
        """Probability of disc."""
        return self.chances[Structure.DISC]

    def spine_chance(self) -> np.ndarray:
        """Probability of bone, disc or canal."""
        return 1 - self.chances[[Structure.OTHER, Structure.PSOAS, Structure.ERECTOR]].sum(axis=0)

    @cached_property
    def like_an_infant(self) -> bool:
        """Whether the bodies above a sacrum are as small as an infant's ossification centers."""
        lowest = self.bodies[-INFANT_BODIES:]
        depths = [2 * body_axes(body, self.frame)[1][1] for body in lowest]
        return bool(self.lowest) and float(np.median(depths)) < INFANT_DEPTH_MM


def body_chance(chances: np.ndarray) -> np.ndarray:
    """Probability of a body with half of its cortex."""
    marrow = chances[Structure.BODY] + chances[Structure.CORE]
    return marrow + CORTEX_SHARE * chances[Structure.CORTEX]


def canal_chance(chances: np.ndarray) -> np.ndarray:
    """Probability of the canal: fluid, cord and roots."""
    return chances[Structure.FLUID] + chances[Structure.NERVE]


def image_axes(frame: Volume) -> np.ndarray:
    """Rows: unit vectors to the right, front and head."""
    unit = frame.ijk_to_ras[:3, :3] / frame.spacing
    return np.array([unit[:, 2], unit[:, 0], -unit[:, 1]])


def body_axes(body: FoundBody, frame: Volume) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Axes (rows right, front, head) of a body by its endplates, and its half sizes and center."""
    points = frame.to_ras(np.argwhere(body.mask)[:, ::-1])
    axes = _upright(image_axes(frame), body.up)
    center = points.mean(axis=0)
    for _ in range(TURNS):
        local = (points - center) @ axes.T
        slopes = [_slopes(local, side) for side in (-1, 1)]
        slopes = [one for one in slopes if one is not None]
        if not slopes:
            break
        axes = _tilted(axes, np.mean(slopes, axis=0))
    local = (points - center) @ axes.T
    low, high = np.percentile(local, ENDS_PERCENT, axis=0)
    center = center + ((low + high) / 2) @ axes
    return axes, np.maximum((high - low) / 2 + HALF_VOXEL_MM, LEAST_HALF_MM), center


def endplate_deg(body: FoundBody, frame: Volume, side: int) -> float:
    """By how much an endplate (side 1 the upper, -1 the lower) falls to the front of the image.

    NaN where too little of it is seen.
    """
    axes = image_axes(frame)
    own = _upright(axes, body.up)
    points = frame.to_ras(np.argwhere(body.mask)[:, ::-1])
    slopes = _slopes((points - points.mean(axis=0)) @ own.T, side)
    if slopes is None:
        return np.nan
    up = own[2] - slopes[1] * own[1]
    return float(np.rad2deg(np.arctan2(up @ axes[1], up @ axes[2])))


def _slopes(local: np.ndarray, side: int) -> np.ndarray | None:
    """Slopes to the right and to the front of a body's upper (side 1) or lower endplate."""
    plate = _plate(local, side)
    if len(plate) < LEAST_CELLS:
        return None
    design = np.c_[np.ones(len(plate)), plate[:, :2]]
    fit = np.linalg.lstsq(design, plate[:, 2], rcond=None)[0]
    rest = np.abs(plate[:, 2] - design @ fit)
    kept = rest <= APART_SD * np.median(rest) + APART_MM
    fit = np.linalg.lstsq(design[kept], plate[kept, 2], rcond=None)[0]
    return np.clip(fit[1:], -MOST_SLOPE, MOST_SLOPE)


def _tilted(axes: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Axes whose head axis stands on a plane of these slopes."""
    up = axes[2] - slopes[0] * axes[0] - slopes[1] * axes[1]
    return _upright(axes, up / np.linalg.norm(up))


def _upright(axes: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Axes turned as little as possible so that the head axis is `up`."""
    right = axes[0] - (axes[0] @ up) * up
    right /= np.linalg.norm(right)
    return np.array([right, np.cross(up, right), up])


def _plate(local: np.ndarray, side: int) -> np.ndarray:
    """Highest (side 1) or lowest points of a body in the middle part of its cross-section."""
    half = np.percentile(np.abs(local), SIZE_PERCENT, axis=0)
    inner = (np.abs(local[:, :2]) < MIDDLE_PART * half[:2]).all(axis=1)
    local = local[inner]
    cells = np.rint(local[:, :2] / CELLS_MM).astype(int)
    order = np.lexsort((-side * local[:, 2], cells[:, 1], cells[:, 0]))
    sorted_cells = cells[order]
    first = np.ones(len(order), bool)
    first[1:] = (sorted_cells[1:] != sorted_cells[:-1]).any(axis=1)
    return local[order[first]]
