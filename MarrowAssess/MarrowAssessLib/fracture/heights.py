"""Six heights of a vertebral body, in its own axes, from its outline between the voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.fracture.endplates import at_edges

if TYPE_CHECKING:  # which loads a compiler
    from MarrowAssessLib.placement.vertebra import Surface

# Shares of the body's depth, 0 at its front. The outermost 8 % hold the rounded rim and its
# osteophytes. Five lines each fall into the front, middle and back zone.
DEPTHS = np.linspace(0.08, 0.92, 25)
FRONT, MIDDLE, BACK = slice(0, 5), slice(10, 15), slice(20, 25)  # 8-22, 43-57, 78-92 %
ACROSS = np.array([-0.5, -0.2, 0.0, 0.2, 0.5])  # of the half width; the middle three give heights
CENTRAL = slice(1, 4)
WALL = np.linspace(0.1, 0.9, 17)  # of the back wall, from below
TURNS, HALVINGS = 4, 12
PIT_MM, PIT_WIDTH = 3.0, 0.3  # an endplate's pit: at least so deep, at most such a share of depth
BEYOND_MM = 1.0  # image that must follow an endplate, so that it is one


@dataclass(frozen=True)
class BodyHeights:
    """Sizes of one vertebral body.

    Attributes:
        anterior_mm, middle_mm, posterior_mm: medians of the endplates' distance over 8-22, 43-57
            and 78-92 % of the depth, on three sagittal lines in the middle of the body.
        depth_mm: front to back wall at half height.
        kyphosis_deg: between the endplates, positive where the front is lower.
        depression_mm: of the upper and lower endplate, below the line between the front and the
            back zone.
        pit: whether an endplate's depression is deep and narrow, as a Schmorl's node is; the middle
            height then is that of the pit.
        bulge_mm: of the back wall behind the line between its ends; 0 where it is hollow.
        points_ras: (6, 3) upper front, middle, back, then the lower three, mm.
        walls_ras: (2, 3) front and back wall, mm.
        head: (3,) unit vector along which heights are measured.
    """

    anterior_mm: float
    middle_mm: float
    posterior_mm: float
    depth_mm: float
    kyphosis_deg: float
    depression_mm: tuple[float, float]
    pit: bool
    bulge_mm: float
    points_ras: np.ndarray
    walls_ras: np.ndarray
    head: np.ndarray

    @property
    def mm(self) -> np.ndarray:
        """Anterior, middle and posterior height."""
        return np.array([self.anterior_mm, self.middle_mm, self.posterior_mm])

    @property
    def wedge(self) -> float:
        """Anterior over posterior height."""
        return self.anterior_mm / self.posterior_mm

    @property
    def concavity(self) -> float:
        """Middle over posterior height."""
        return self.middle_mm / self.posterior_mm


def measure_body(surface: Surface, image: Volume | None = None) -> BodyHeights:
    """The heights of a body from its outline, and from an image's edges near it where one is given.

    Its axes are found from the outline itself: the head axis is the mean of the endplates' normals,
    for heights along the image's axes follow the body's tilt more than its shape.

    Raises:
        ValueError: the outline has no two endplates and walls.
    """
    axes, center = surface.box.axes, surface.box.center
    for _ in range(TURNS):
        center, depth = _middle(surface, center, axes)
        upper, lower = _endplates(surface, center, axes, depth)
        center = center + (np.nanmedian(upper) + np.nanmedian(lower)) / 2 * axes[2]
        axes = _turned(axes, surface.box.half[0], depth, upper, lower)
    center, depth = _middle(surface, center, axes)
    upper, lower = _endplates(surface, center, axes, depth)
    ends = np.stack([upper[CENTRAL], lower[CENTRAL]])
    if image is not None:
        starts = _starts(surface, center, axes, depth)[CENTRAL]
        ends[0] = at_edges(image, starts, axes[2], ends[0])
        ends[1] = -at_edges(image, starts, -axes[2], -ends[1])
    zones = (FRONT, MIDDLE, BACK)
    heights = [float(np.nanmedian(ends[0][:, zone] - ends[1][:, zone])) for zone in zones]
    along = depth * (0.5 - DEPTHS)
    profiles = np.nanmedian(ends, axis=1)
    hollows = [_hollow(along, profiles[0]), _hollow(along, -profiles[1])]
    slopes = [np.polyfit(along, profile, 1)[0] for profile in profiles]
    points = [
        center + np.median(along[zone]) * axes[1] + np.median(profile[zone]) * axes[2]
        for profile in profiles
        for zone in zones
    ]
    walls = [center + side * depth / 2 * axes[1] for side in (1, -1)]
    return BodyHeights(
        *heights,
        depth_mm=depth,
        kyphosis_deg=float(np.rad2deg(np.arctan(slopes[1]) - np.arctan(slopes[0]))),
        depression_mm=tuple(float(max(0.0, depths[5:20].max())) for depths in hollows),
        pit=any(_is_pit(depths) for depths in hollows),
        bulge_mm=_bulge(surface, center, axes, depth, profiles),
        points_ras=np.array(points),
        walls_ras=np.array(walls),
        head=axes[2],
    )


def cut_by_image(heights: BodyHeights, grid: Volume) -> bool:
    """Whether the image ends at one of the body's endplates or at its front or back wall."""
    outward = np.concatenate([np.tile(heights.head, (3, 1)), np.tile(-heights.head, (3, 1))])
    along = heights.walls_ras[0] - heights.walls_ras[1]
    along = along / np.linalg.norm(along)
    points = np.concatenate([heights.points_ras, heights.walls_ras])
    outward = np.concatenate([outward, [along, -along]])
    ijk = grid.ras_to_ijk(points + BEYOND_MM * outward)
    return bool(((ijk < -0.5) | (ijk > np.array(grid.array.shape[::-1]) - 0.5)).any())


def _middle(surface: Surface, center: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, float]:
    """The point halfway between front and back wall, and their distance, at half height."""
    starts = center + (surface.box.half[0] * ACROSS[CENTRAL])[:, None] * axes[0]
    reaches = [_reach(surface, starts, side * axes[1]) for side in (1, -1)]
    if np.isnan(reaches).all():
        raise ValueError("The outline is not that of a vertebral body: its middle lies outside it.")
    front, back = (float(np.nanmedian(one)) for one in reaches)
    return center + (front - back) / 2 * axes[1], front + back


def _endplates(
    surface: Surface, center: np.ndarray, axes: np.ndarray, depth: float
) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower endplate over `ACROSS` and `DEPTHS`, mm along the head axis."""
    starts = _starts(surface, center, axes, depth).reshape(-1, 3)
    shape = (len(ACROSS), len(DEPTHS))
    upper = _reach(surface, starts, axes[2]).reshape(shape)
    lower = -_reach(surface, starts, -axes[2]).reshape(shape)
    # Beside the middle, a round front may end before the lines do.
    if not np.isfinite(upper[CENTRAL]).any(axis=0).all():
        raise ValueError("The outline is not that of a vertebral body: it has no two endplates.")
    return upper, lower


def _starts(surface: Surface, center: np.ndarray, axes: np.ndarray, depth: float) -> np.ndarray:
    """Points of the middle plane over `ACROSS` and `DEPTHS`."""
    x = surface.box.half[0] * ACROSS[:, None, None]
    y = depth * (0.5 - DEPTHS)[None, :, None]
    return center + x * axes[0] + y * axes[1]


def _reach(surface: Surface, starts: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Distance from points inside an outline to it, mm; NaN for points outside."""
    low = np.zeros(len(starts))
    high = np.full(len(starts), 2.0 * surface.radii.max() * surface.box.half.max())
    inside = surface.contains(starts)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        within = surface.contains(starts + middle[:, None] * direction)
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    return np.where(inside, (low + high) / 2, np.nan)


def _turned(
    axes: np.ndarray, half_width: float, depth: float, upper: np.ndarray, lower: np.ndarray
) -> np.ndarray:
    """Axes whose head end is the mean of the endplates' normals."""
    x, y = np.meshgrid(half_width * ACROSS, depth * (0.5 - DEPTHS), indexing="ij")
    seen = np.isfinite(upper)
    design = np.c_[np.ones(seen.sum()), x[seen], y[seen]]
    head = np.zeros(3)
    for plate in (upper, lower):
        _, across, along = np.linalg.lstsq(design, plate[seen], rcond=None)[0]
        normal = np.array([-across, -along, 1.0])
        head += normal / np.linalg.norm(normal)
    return unit_axes(head @ axes, axes[1])


def unit_axes(head: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Unit vectors right, front, head (rows): the head as given, the front as near as can be."""
    head = head / np.linalg.norm(head)
    front = front - (front @ head) * head
    front = front / np.linalg.norm(front)
    return np.stack([np.cross(front, head), front, head])


def _hollow(along: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """How deep an endplate lies below the line between its front and back zone, mm."""
    ends = [(np.median(along[zone]), np.median(profile[zone])) for zone in (FRONT, BACK)]
    (y0, z0), (y1, z1) = ends
    return z0 + (z1 - z0) * (along - y0) / (y1 - y0) - profile


def _is_pit(depths: np.ndarray) -> bool:
    deepest = depths.max()
    width = (depths > deepest / 2).mean() * (DEPTHS[-1] - DEPTHS[0])
    return bool(deepest >= PIT_MM and width <= PIT_WIDTH)


def _bulge(
    surface: Surface, center: np.ndarray, axes: np.ndarray, depth: float, profiles: np.ndarray
) -> float:
    """How far the back wall's middle lies behind the line between its ends, mm."""
    high, low = (float(np.median(profile[BACK])) for profile in profiles)
    z = low + (high - low) * WALL
    x = surface.box.half[0] * ACROSS[CENTRAL]
    start = center - depth / 4 * axes[1]
    starts = start + x[:, None, None] * axes[0] + z[None, :, None] * axes[2]
    reach = _reach(surface, starts.reshape(-1, 3), -axes[1]).reshape(len(x), len(z))
    if not np.isfinite(reach).any(axis=0).all():
        return float("nan")
    wall = np.nanmedian(reach, axis=0)
    ends = np.interp(WALL, [WALL[1], WALL[-2]], [np.median(wall[:3]), np.median(wall[-3:])])
    return float(max(0.0, (wall - ends)[4:-4].max()))
