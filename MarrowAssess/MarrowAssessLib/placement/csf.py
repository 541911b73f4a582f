"""CSF in the canal behind a body, from the image alone."""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.volume import Volume
from scipy import ndimage

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.placement.body import MARGIN_MM, Placement, alike, eroded, signal_round
from MarrowAssessLib.placement.robust import MAD_TO_SD
from MarrowAssessLib.placement.star_surface import sample
from MarrowAssessLib.placement.vertebra import Surface, corners, template_points, voxels_holding
from MarrowAssessLib.study.regions import Region

# The canal is 15 to 25 mm deep and wide: how far CSF is sought behind the body's back wall and to
# its sides; the middle of it may be so near to the wall (posterior ligament, epidural fat), so far.
DEEP_MM, ASIDE_MM = 24.0, 12.0
NEAREST_MM, FARTHEST_MM = 3, 15
MIDDLE_ASIDE_MM = 8  # the sac's middle lies at most so far from that of the body
WALL_WITHIN_MM = 8.0  # of the body's middle: where its back wall is looked up
EDGE_MM = 2  # from a patch's middle to its edge
ASIDE_COST = 0.02  # spread that a patch may have less for each mm that it lies aside
CROSS_SECTIONS = (0.9, 9)  # share of the body's half height, and how many: one axial picture
FLOOR = 0.25  # of marrow's signal: unevenness is relative to no less, for CSF may have next to none
REACH_MM = 9.0  # from the middle of the sac, behind and to the sides
HEIGHT_SHARE = 0.8  # of the body's: beyond, discs bulge into the canal
CORE_MM = 2.5  # round the middle of the sac: CSF alone
BRIGHT, DARK = 0.35, 0.25  # of its level: how far CSF varies where it is bright (roots), and dark
FAINT = 0.1  # of marrow's signal, likewise where CSF has next to none: noise
LEAST_MM3 = 100.0


def csf_beside(volume: Volume, body: Surface, site: str) -> Placement:
    """CSF in the canal behind a body, clear of the body, fat and the canal's wall."""
    box = body.box
    points_local = template_points(body)
    central = (np.abs(points_local[:, [0, 2]]) < WALL_WITHIN_MM).all(axis=1)
    wall = points_local[central & (points_local[:, 1] < 0), 1]
    wall = float(np.median(wall)) if wall.size else -box.half[1]
    x = np.arange(-ASIDE_MM, ASIDE_MM + 1)
    y = wall - np.arange(0.0, DEEP_MM)
    end, count = CROSS_SECTIONS
    z = np.linspace(-end, end, count) * box.half[2]
    grid = np.stack(np.meshgrid(x, y, z, indexing="ij"), -1)
    ras = box.center + grid.reshape(-1, 3) @ box.axes
    values = sample(volume.array, volume.ras_to_ijk(ras)).reshape(grid.shape[:3])
    seen = np.isfinite(values).any(axis=2)
    axial = np.full(seen.shape, np.nan, values.dtype)
    axial[seen] = np.nanmedian(values[seen], axis=1)
    marrow = abs(signal_round(volume, box.center))
    # The most uniform patch of the canal relative to its signal (or, where CSF has next to none, as
    # on fat images, to a part of marrow's).
    spread = np.full(axial.shape, np.inf)
    for a in np.flatnonzero(np.abs(x) < MIDDLE_ASIDE_MM):
        for b in range(NEAREST_MM, FARTHEST_MM):
            patch = axial[_round(a), _round(b)]
            if np.isfinite(patch).all():
                scale = max(abs(patch.mean()) + FLOOR * marrow, 1e-9)
                spread[a, b] = patch.std() / scale + ASIDE_COST * abs(x[a])
    a, b = np.unravel_index(np.argmin(spread), spread.shape)
    middle = box.center + np.array([x[a], y[b], 0.0]) @ box.axes
    reach = np.array([REACH_MM, REACH_MM, HEIGHT_SHARE * box.half[2]])
    patched = bool(np.isfinite(spread[a, b]))  # not where the image ends before the canal
    level = float(np.median(axial[_round(a), _round(b)])) if patched else np.nan
    offset, points = voxels_holding(volume, corners(middle, box.axes, reach))
    local = (points - middle) @ box.axes.T
    near = (np.abs(local) <= reach).all(axis=-1)
    here = volume.array[
        offset[0] : offset[0] + near.shape[0],
        offset[1] : offset[1] + near.shape[1],
        offset[2] : offset[2] + near.shape[2],
    ].astype(float)
    # Roots in bright CSF make it uneven; on T1 fat and wall are much brighter than CSF.
    core = here[(np.abs(local) <= [CORE_MM, CORE_MM, reach[2]]).all(axis=-1)]
    noise = MAD_TO_SD * float(np.nanmedian(np.abs(core - level))) if core.size and patched else 0.0
    tolerance = alike(level, noise, BRIGHT if level > marrow else DARK)
    tolerance = max(tolerance, FAINT * marrow)
    mask = near & (np.abs(here - level) <= tolerance)
    labels, count = ndimage.label(ndimage.binary_opening(mask, iterations=1))
    unsure = []
    if count:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        mask = labels == sizes.argmax()
    roi_mask = eroded(mask, volume, MARGIN_MM[Role.CSF])
    if roi_mask.sum() * volume.voxel_volume_mm3 < LEAST_MM3:
        unsure.append("Little CSF was found behind the body; place it by hand.")
    name = f"{site} CSF"
    return Placement(
        Region(f"{name} body", Role.CSF, site, mask, offset),
        Region(name, Role.CSF, site, roi_mask, offset, list(unsure)),
        unsure,
    )


def _round(middle: int) -> slice:
    return slice(middle - EDGE_MM, middle + EDGE_MM + 1)
