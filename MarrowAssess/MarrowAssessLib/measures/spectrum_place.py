"""Whether the voxel of a spectrum lies in the level that it is named after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.spectroscopy.quality import points_kji

from MarrowAssessLib.catalogue.anatomy import Role, is_other_bone, level_index, skeletal_region

if TYPE_CHECKING:  # a study without spectra does not wait for it
    from collections.abc import Iterable

    from PDFFMapperLib.spectroscopy.analysis import Analysis

    from MarrowAssessLib.study.regions import Region

MOST = 0.5  # of a box, in another level than that of its name


def elsewhere(site: str, spectrum: Analysis, regions: Iterable[Region], grid: Volume) -> str | None:
    """A sentence where a spectrum's box lies in the marrow of another level.

    It does where that level holds more of it than its own and its middle, or most of it.

    Args:
        site: that the spectrum is named after.
        spectrum: whose header tells where its box lies.
        regions: as drawn.
        grid: a volume on their grid, in the same frame of the patient.

    Returns:
        None where it does not, or the header tells no place.
    """
    if spectrum.voxel_ras is None:
        return None
    box = points_kji(spectrum.voxel_ras, grid.ijk_to_ras)
    middle = np.linalg.inv(grid.ijk_to_ras) @ spectrum.voxel_ras[:, 3:]
    center = np.rint(middle[:3]).astype(int)[::-1]
    share, holds = {site: 0.0}, set()
    for region in regions:
        if region.role is Role.MARROW and (region.site == site or _exclude(site, region.site)):
            held = float(_inside(region, box).mean())
            share[region.site] = share.get(region.site, 0.0) + held
            if _inside(region, center)[0]:
                holds.add(region.site)
    other = max(share, key=share.get)
    if share[other] <= share[site] or not (other in holds or share[other] > MOST):
        return None
    return (
        f"{site}: {100 * share[other]:.0f} % of the box of this spectrum lies in the marrow of "
        f"{other} and {100 * share[site]:.0f} % in that of {site}; check the name of the spectrum, "
        "the names of the levels, and whether the patient moved between both."
    )


def _exclude(one: str, other: str) -> bool:
    """Whether no marrow is of both sites, as of two vertebrae, of two sides, of spine and femur.

    Sacrum and S1 share marrow, as do proximal femur and femoral neck; of "lumbar" or "V2" nothing
    tells which vertebrae they are.
    """
    levels = [level_index(site) for site in (one, other)]
    if None not in levels:
        return levels[0] != levels[1]
    if not all(level_index(site) is not None or is_other_bone(site) for site in (one, other)):
        return False
    sides = {site.split()[0] for site in (one, other)}
    return {"left", "right"} <= sides or skeletal_region(one) != skeletal_region(other)


def _inside(region: Region, kji: np.ndarray) -> np.ndarray:
    """Which of the points (k, j, i), shape (3, points), lie in a region."""
    at = kji - np.array(region.offset)[:, None]
    near = ((at >= 0) & (at < np.array(region.mask.shape)[:, None])).all(axis=0)
    found = np.zeros(kji.shape[1], bool)
    found[near] = region.mask[tuple(at[:, near])]
    return found
