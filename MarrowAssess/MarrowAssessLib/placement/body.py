"""A vertebral body and its measurement ROI from one click, and what every placement shares."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from PDFFMapperLib.images.volume import Volume
from scipy import ndimage

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.placement.narrow import continued, is_narrow
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.placement.robust import MAD_TO_SD
from MarrowAssessLib.placement.star_surface import sample
from MarrowAssessLib.placement.vertebra import (
    MOVED_MM,
    BodyPrior,
    Box,
    Surface,
    fit_body,
    scaled,
    surface_of_mask,
    template_points,
    tilt_deg,
    usual_body,
    voxelize,
)
from MarrowAssessLib.study.regions import Region

CLEAR = 0.5  # least score: change at the four borders in sagittal slices, less that inside
FAINT_BORDER = 0.30  # median share of marrow's contrast that is lost within about 3 mm
IRREGULAR = 0.10  # standard deviation of the radii relative to the template
TILTS_DEG = (-60.0, 30.0)  # front to back: from the sacrum to the most kyphotic thoracic body
# Size of a young child to an adult, and the depth of a body below which it is sought at that size;
# larger children are found as adults.
CHILD, CHILD_DEPTH_MM = 0.65, 24.0
TYPICAL_SD = 2.5  # robust standard deviations of marrow within which it is no vein or hot spot
CHILD_CLEARER = 2  # times CLEAR: a small box may lie in an adult's S1, too
CENTRAL = 2 / 3  # of the half width: slices of 3 to 5 mm blur the sides into muscle and vessels
# Adult bodies from T8 to S1 with much room (approximate; only decides what is flagged).
WIDTH_MM, DEPTH_MM, HEIGHT_MM = (26.0, 64.0), (21.0, 46.0), (13.0, 38.0)
LEAST_SEEN = 0.94  # share of the border inside the image: a face of the body may be cut
FLAT = 0.6  # height to depth; about 0.7 to 1 is usual, discs have 0.2 to 0.4
# How far a tissue's own signals lie from its level: so many SD of the noise round the click, but so
# much of the level at least; and where that level is taken (mm, each way).
ALIKE_SD, LEAST_ALIKE = 10, 0.12
SIGNAL_AT_MM = (-4.0, -2.0, 0.0, 2.0, 4.0)
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

    def doubt(self, sentence: str) -> None:
        """One more reason why it may be wrong."""
        self.unsure.append(sentence)
        self.roi.cautions.append(sentence)


def place_body(
    volume: Volume,
    point: np.ndarray,
    site: str = "",
    margin_mm: float = MARGIN_MM[Role.MARROW],
    prior: BodyPrior | None = None,
    options: PlacingOptions = AS_USUAL,
) -> Placement:
    """A vertebral body round a point (see `place`), with what is expected of it if known."""
    surface, score, unsure = _fitted(volume, point, prior or usual_body(site))
    if unsure and prior is None:
        small = _fitted(volume, point, scaled(usual_body(site), CHILD))
        if not small[2] and small[1] > max(score, CHILD_CLEARER * CLEAR):
            surface, score, unsure = small
    mask, offset = voxelize(volume, surface)
    body = Region(f"{site} marrow body".strip(), Role.MARROW, site, mask, offset)
    return with_roi(volume, body, surface, margin_mm, options, unsure, score)


def with_roi(
    volume: Volume,
    body: Region,
    surface: Surface,
    margin_mm: float,
    options: PlacingOptions,
    unsure: list[str],
    score: float = float("nan"),
) -> Placement:
    """A body with the measurement ROI inside it."""
    mask = eroded(body.mask, volume, margin_mm)
    if not is_narrow(volume):
        mask &= _central(volume, surface, mask.shape, body.offset)
    if "vein" in options.leave_out:
        mask &= _typical(volume.array[body.box], mask)
    roi = Region(f"{body.site} marrow".strip(), Role.MARROW, body.site, mask, body.offset)
    if not roi.voxels:
        unsure.append(f"Nothing is left {margin_mm:g} mm inside the body.")
    roi.cautions.extend(unsure)
    roi.outline = surface
    return Placement(body, roi, unsure, surface, score)


def with_rim(region: Region, grid: Volume) -> Region:
    """The whole body of marrow that was found in it: its rim is left out of numbers alone."""
    if region.role is not Role.MARROW or region.outline is None:
        return region
    mask, offset = voxelize(grid, region.outline)
    return replace(region, mask=mask, offset=offset)


def _fitted(
    volume: Volume, point: np.ndarray, prior: BodyPrior
) -> tuple[Surface, float, list[str]]:
    """The surface, its score and the doubts; small bodies are sought as an adult's, scaled."""
    size = CHILD if prior.depth_mm[0] < CHILD_DEPTH_MM else 1.0
    grid = volume.ijk_to_ras.copy()
    grid[:3] /= size
    adult = Volume(volume.array, grid, volume.name)
    surface, score, moved = fit_body(adult, point / size, scaled(prior, 1 / size))
    unsure = _doubts(surface, score, moved, point / size, size)
    box = Box(surface.box.center * size, surface.box.axes, surface.box.half * size)
    return replace(surface, box=box), score, unsure


def painted_body(
    volume: Volume,
    mask: np.ndarray,
    axes: np.ndarray,
    site: str,
    options: PlacingOptions = AS_USUAL,
) -> Placement:
    """A body as somebody painted it, with its measurement ROI.

    Args:
        volume: image.
        mask: the body, boolean, on the volume's grid.
        axes: rows are unit vectors to its right, front and head.
        site: its level.
        options: see PlacingOptions.

    Raises:
        ValueError: nothing is painted, or the mask lies on another grid.
    """
    if mask.shape != volume.array.shape:
        raise ValueError(
            f"The painted {site} has {mask.shape} voxels, {volume.name} {volume.array.shape}; "
            "paint on the image's grid."
        )
    body = Region.from_mask(f"{site} marrow body", Role.MARROW, site, mask.astype(bool))
    if not body.voxels:
        raise ValueError(f"The painted {site} is empty; paint the vertebral body.")
    surface = surface_of_mask(volume, body.mask, body.offset, axes)
    return with_roi(volume, body, surface, MARGIN_MM[Role.MARROW], options, [])


def _doubts(
    surface: Surface, score: float, moved: float, point: np.ndarray, size: float = 1.0
) -> list[str]:
    """Why a body may be none; its lengths are an adult's, the patient's `size` times those."""
    doubts = []
    corners = template_points(surface)
    width, depth, height = np.ptp(corners, axis=0)
    for value, (low, high), what in (
        (width, WIDTH_MM, "wide"), (depth, DEPTH_MM, "deep"), (height, HEIGHT_MM, "high"),
    ):  # fmt: skip
        if not low <= value <= high:
            doubts.append(
                f"The body is {size * value:.0f} mm {what}; {size * low:.0f} to "
                f"{size * high:.0f} mm is usual."
            )
    if height < FLAT * depth:
        doubts.append("The body is flat for its depth; it may be a disc or fractured.")
    seen = np.isfinite(surface.support)
    if seen.mean() < LEAST_SEEN:
        doubts.append("The body touches the edge of the volume.")
    if score < CLEAR:
        doubts.append("No clear box-like outline was found round the click.")
    if not seen.any() or np.median(surface.support[seen]) < FAINT_BORDER:
        doubts.append("The border is faint: most of it lies on no clear edge.")
    if surface.radii.std() > IRREGULAR:
        doubts.append("The outline is unlike a vertebral body's.")
    tilt = tilt_deg(surface.box)
    if not TILTS_DEG[0] <= tilt <= TILTS_DEG[1]:
        where = "back" if tilt > 0 else "front"
        doubts.append(f"The body leans {abs(tilt):.0f} degrees to the {where}; that is unusual.")
    if moved > MOVED_MM:
        doubts.append("The result depends on where inside the body the click is.")
    if not surface.contains(point[None])[0]:
        doubts.append("The body that was found lies beside where it was clicked or expected.")
    return doubts


def eroded(mask: np.ndarray, volume: Volume, margin_mm: float) -> np.ndarray:
    """The voxels deeper inside a mask than a margin in mm (beyond the mask is outside).

    Beyond the sides of a narrow image it goes on.
    """
    if not mask.any() or margin_mm <= 0:
        return mask.copy()
    if is_narrow(volume):
        wider, own = continued(mask, volume, margin_mm)
        return depth_mm(wider, volume.spacing)[own] >= margin_mm
    return depth_mm(mask, volume.spacing) >= margin_mm


def depth_mm(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """How deep each voxel [k, j, i] lies inside a mask, mm; beyond the mask is outside.

    Rounded, so that a voxel at a margin stays at it on a grid that was saved as text.

    Args:
        mask: boolean.
        spacing: mm along i, j, k.
    """
    # Thick voxels are divided (by an odd number), so that distance ends at their faces.
    parts = (2 * (spacing / spacing.min() / 2).astype(int) + 1)[::-1]
    fine = np.pad(mask, 1)
    for axis, count in enumerate(parts):
        fine = fine.repeat(count, axis)
    step = spacing[::-1] / parts
    depth = ndimage.distance_transform_edt(fine, sampling=step) - step.min() / 2
    return np.round(depth[tuple(slice(n + n // 2, -n, n) for n in parts)], 5)


def _central(
    volume: Volume, surface: Surface, shape: tuple[int, ...], offset: tuple[int, int, int]
) -> np.ndarray:
    """The middle of a body's width, see `CENTRAL`."""
    k, j, i = np.ogrid[tuple(slice(o, o + n) for o, n in zip(offset, shape, strict=True))]
    right = surface.box.axes[0] @ volume.ijk_to_ras[:3, :3]
    start = surface.box.axes[0] @ (volume.ijk_to_ras[:3, 3] - surface.box.center)
    across = right[0] * i + right[1] * j + right[2] * k + start
    return np.abs(across) <= CENTRAL * surface.box.half[0]


def _typical(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Voxels near the median, see `TYPICAL_SD`: without vein or hot spots; those without value."""
    there = values[mask & np.isfinite(values)]
    if not there.size:
        return mask
    middle = np.median(there)
    spread = MAD_TO_SD * np.median(np.abs(there - middle))
    return ~(np.abs(values - middle) > TYPICAL_SD * max(spread, 1e-9))


def ball(radius_mm: float, spacing: np.ndarray) -> np.ndarray:
    """A ball as a structuring element [k, j, i], for a spacing in mm along i, j, k."""
    half = np.floor(radius_mm / spacing[::-1]).astype(int)
    k, j, i = np.ogrid[tuple(slice(-h, h + 1) for h in half)]
    return (k * spacing[2]) ** 2 + (j * spacing[1]) ** 2 + (i * spacing[0]) ** 2 <= radius_mm**2


def box_round(volume: Volume, point: np.ndarray, reach_mm: float) -> tuple[slice, slice, slice]:
    """The voxels [k, j, i] that lie within a reach of a point (RAS, mm), and some beyond."""
    ijk = volume.ras_to_ijk(point)
    half = np.ceil(reach_mm / volume.spacing) + 1
    low = np.maximum(np.rint(ijk - half), 0).astype(int)
    high = np.minimum(np.rint(ijk + half) + 1, volume.array.shape[::-1]).astype(int)
    return tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))


def distance_from(volume: Volume, box: tuple[slice, slice, slice], point: np.ndarray) -> np.ndarray:
    """Of each voxel of a box from a point (RAS), mm."""
    k, j, i = np.ogrid[box]
    moved = np.zeros(np.broadcast_shapes(k.shape, j.shape, i.shape))
    for axis in range(3):
        row = volume.ijk_to_ras[axis]
        moved += (row[0] * i + row[1] * j + row[2] * k + row[3] - point[axis]) ** 2
    return np.sqrt(moved)


def alike(level: float, noise: float, most: float) -> float:
    """How far from a tissue's level its own signals may lie.

    That is `most` of the level (texture, shading), but less where the tissue round the click is
    more even than that, so that a neighbor of nearly the same signal stays out.
    """
    return float(np.clip(ALIKE_SD * noise, LEAST_ALIKE * abs(level), most * abs(level)))


def signal_round(volume: Volume, point: np.ndarray) -> float:
    """The median signal within 4 mm of a point (RAS, mm), 0 where there is none."""
    grid = np.stack(np.meshgrid(*[SIGNAL_AT_MM] * 3), -1).reshape(-1, 3)
    values = sample(volume.array, volume.ras_to_ijk(point + grid))
    return float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0
