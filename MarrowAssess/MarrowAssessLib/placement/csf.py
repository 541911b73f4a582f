"""CSF in the canal behind a body, from the image alone."""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.volume import Volume
from scipy import ndimage

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.placement.body import MARGIN_MM, Placement, alike, eroded, signal_round
from MarrowAssessLib.placement.star_surface import sample
from MarrowAssessLib.placement.vertebra import Surface, template_points
from MarrowAssessLib.study.regions import Region


def csf_beside(volume: Volume, body: Surface, site: str) -> Placement:
    """CSF in the canal behind a body, clear of the body, fat and the canal's wall."""
    box = body.box
    points_local = template_points(body)
    central = (np.abs(points_local[:, 0]) < 8) & (np.abs(points_local[:, 2]) < 8)
    wall = points_local[central & (points_local[:, 1] < 0), 1]
    wall = float(np.median(wall)) if wall.size else -box.half[1]
    x = np.arange(-12, 13.0)
    y = wall - np.arange(0.0, 24.0)
    z = np.linspace(-0.9, 0.9, 9) * box.half[2]
    grid = np.stack(np.meshgrid(x, y, z, indexing="ij"), -1)
    ras = box.center + grid.reshape(-1, 3) @ box.axes
    values = sample(volume.array, volume.ras_to_ijk(ras)).reshape(grid.shape[:3])
    axial = np.nanmedian(values, axis=2)
    marrow = abs(signal_round(volume, box.center))
    # The most uniform 5 mm patch of the canal, centered 3 to 14 mm behind the wall, relative to
    # its signal (or, where CSF has next to none, as on fat images, to a part of marrow's).
    spread = np.full(axial.shape, np.inf)
    for a in range(5, 20):
        for b in range(3, 15):
            patch = axial[a - 2 : a + 3, b - 2 : b + 3]
            if np.isfinite(patch).all():
                scale = max(abs(patch.mean()) + 0.25 * marrow, 1e-9)
                spread[a, b] = patch.std() / scale + 0.02 * abs(x[a])
    a, b = np.unravel_index(np.argmin(spread), spread.shape)
    middle = box.center + np.array([x[a], y[b], 0.0]) @ box.axes
    reach = np.array([9.0, 9.0, 0.8 * box.half[2]])
    level = float(np.median(axial[a - 2 : a + 3, b - 2 : b + 3]))
    corners = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T * reach
    ijk = volume.ras_to_ijk(middle + corners @ box.axes)
    size = np.array(volume.array.shape[::-1])
    low = np.clip(np.floor(ijk.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(ijk.max(axis=0)) + 1, 0, size).astype(int)
    i, j, k = np.meshgrid(*[np.arange(p, q) for p, q in zip(low, high, strict=True)], indexing="ij")
    local = (volume.to_ras(np.stack([i, j, k], -1)) - middle) @ box.axes.T
    offset = tuple(int(n) for n in low[::-1])
    near = (np.abs(local) <= reach).all(axis=-1).transpose(2, 1, 0)
    here = volume.array[
        offset[0] : offset[0] + near.shape[0],
        offset[1] : offset[1] + near.shape[1],
        offset[2] : offset[2] + near.shape[2],
    ].astype(float)
    # Roots in bright CSF make it uneven; on T1 fat and wall are much brighter than CSF.
    core = here[(np.abs(local) <= [2.5, 2.5, reach[2]]).all(axis=-1).transpose(2, 1, 0)]
    noise = 1.4826 * float(np.nanmedian(np.abs(core - level))) if core.size else 0.0
    tolerance = alike(level, noise, 0.35 if level > marrow else 0.25)
    tolerance = max(tolerance, 0.1 * marrow)  # noise, where CSF has next to no signal
    mask = near & (np.abs(here - level) <= tolerance)
    labels, count = ndimage.label(ndimage.binary_opening(mask, iterations=1))
    unsure = []
    if count:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        mask = labels == sizes.argmax()
    roi_mask = eroded(mask, volume, MARGIN_MM[Role.CSF])
    if roi_mask.sum() * volume.voxel_volume_mm3 < 100:
        unsure.append("Little CSF was found behind the body; place it by hand.")
    name = f"{site} CSF"
    return Placement(
        Region(f"{name} body", Role.CSF, site, mask, offset),
        Region(name, Role.CSF, site, roi_mask, offset, list(unsure)),
        unsure,
    )
