"""CSF in the canal that the network sees: fluid alone, neither roots nor cord nor epidural fat."""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.volume import Volume
from scipy import ndimage

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.placement.body import Placement
from MarrowAssessLib.placement.find_spine import Spine, canal_chance
from MarrowAssessLib.placement.star_surface import sample
from MarrowAssessLib.placement.vertebra import Surface
from MarrowAssessLib.study.regions import Region

SLABS = (1.0, 1.6, 2.2)
"""Half of the slab's height over half of the body's: a longer one where too little is found."""
WALL_MM = 1.5  # from the canal's wall
CORE_MM = 3.0  # from the wall: neither ligament nor epidural fat reaches there
DARK_LEVEL = 0.25  # quantile of the core's signals that is fluid's where fluid is dark
BRIGHT_SHARE = 0.8  # of the core's brightest tenth: fluid where it is bright
ALIKE = 0.35  # of the spread of signals in the canal: so far fluid may differ from its clearest
USABLE_MM3, LEAST_MM3 = 250.0, 100.0
BRIGHT = 1.3  # canal over marrow: then CSF is what is bright


def csf_of(
    volume: Volume, spine: Spine, body: Surface, site: str, fluid: Volume | None = None
) -> Placement:
    """CSF behind a body.

    Where CSF is bright (T2, STIR), the brightest even part of the canal's inside is fluid, for
    roots and cord are darker; where it is dark (T1), the darkest, for roots, fat and the wall's
    partial volume are brighter.

    Args:
        volume: image to draw on.
        spine: as found in it.
        body: the vertebra's surface.
        site: its level.
        fluid: an image on which CSF is bright, of the same patient by its header.
    """
    shown = fluid or volume
    for slab in SLABS:
        mask, offset, depth = _canal(volume, spine, body, slab)
        roi = np.zeros_like(mask)
        core = depth >= min(CORE_MM, 0.8 * depth.max())
        if mask.any():
            values = _smooth_values(volume, shown, mask.shape, offset)
            marrow = _marrow_level(shown, body)
            bright = fluid is not None or np.quantile(values[core], 0.9) > BRIGHT * marrow
            roi = _even_part(values, depth > WALL_MM, core, bright)
        if roi.sum() * volume.voxel_volume_mm3 >= USABLE_MM3:
            break
    name = f"{site} CSF"
    whole = Region.from_mask(f"{name} body", Role.CSF, site, mask, offset)
    region = Region.from_mask(name, Role.CSF, site, roi, offset)
    found = Placement(whole, region, [])
    if roi.sum() * volume.voxel_volume_mm3 < LEAST_MM3:
        found.doubt("Little CSF was found behind the body; place it by hand.")
    return found


def _canal(volume, spine, body, slab) -> tuple[np.ndarray, tuple[int, int, int], np.ndarray]:
    """The canal behind a body on the volume's grid, its offset, and depth from its wall, mm."""
    box = body.box
    reach = np.array([11.0, 34.0, slab * box.half[2]])
    middle = box.center - box.half[1] * box.axes[1]
    corners = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T * reach
    ijk = volume.ras_to_ijk(middle + corners @ box.axes)
    size = np.array(volume.array.shape[::-1])
    low = np.clip(np.floor(ijk.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(ijk.max(axis=0)) + 1, 0, size).astype(int)
    i, j, k = np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij")
    points = volume.to_ras(np.stack([i, j, k], -1).reshape(-1, 3))
    local = (points - middle) @ box.axes.T
    near = (np.abs(local) <= reach).all(axis=1)
    chance = np.zeros(len(points), np.float32)
    at = spine.frame.ras_to_ijk(points[near])
    chance[near] = np.nan_to_num(sample(canal_chance(spine.chances), at))
    mask = np.ascontiguousarray((chance > 0.5).reshape(i.shape).transpose(2, 1, 0))
    depth = ndimage.distance_transform_edt(
        np.pad(mask, 1, mode="edge"), sampling=volume.spacing[::-1]
    )[1:-1, 1:-1, 1:-1]
    offset = tuple(int(n) for n in low[::-1])
    return mask, offset, np.where(mask, depth, 0.0)


def _smooth_values(volume, shown, shape, offset) -> np.ndarray:
    k, j, i = np.indices(shape)
    grid = np.stack([i + offset[2], j + offset[1], k + offset[0]], -1)
    points = volume.to_ras(grid.reshape(-1, 3))
    values = sample(np.asarray(shown.array, np.float32), shown.ras_to_ijk(points))
    values = np.nan_to_num(values.reshape(shape), nan=float(np.nanmedian(values)))
    return ndimage.gaussian_filter(values, 0.8 / volume.spacing[::-1])


def _marrow_level(shown: Volume, body: Surface) -> float:
    steps = np.stack(np.meshgrid(*[np.linspace(-0.4, 0.4, 5)] * 3), -1).reshape(-1, 3)
    points = body.box.center + (steps * body.box.half) @ body.box.axes
    values = sample(np.asarray(shown.array, np.float32), shown.ras_to_ijk(points))
    return float(abs(np.nanmedian(values))) if np.isfinite(values).any() else 0.0


def _even_part(values, inside, core, bright) -> np.ndarray:
    """The part of the inside, in one piece, that is fluid by the signals of the canal's core."""
    if bright:
        fluid = values >= BRIGHT_SHARE * np.quantile(values[core], 0.9)
    else:
        level, low, high = np.quantile(values[core], [DARK_LEVEL, 0.1, 0.9])
        fluid = np.abs(values - level) <= ALIKE * max(high - low, 0.05 * abs(level))
    labels, count = ndimage.label(inside & fluid)
    sizes = np.bincount(labels[inside & fluid], minlength=count + 1)
    sizes[0] = 0
    return labels == sizes.argmax() if sizes.any() else np.zeros_like(inside)
