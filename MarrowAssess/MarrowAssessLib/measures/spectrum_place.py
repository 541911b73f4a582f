"""Whether the voxel of a spectrum lies in the level that it is named after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.spectroscopy.quality import points_kji

from MarrowAssessLib.catalogue.anatomy import Role

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
        if region.role is Role.MARROW and region.site:
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


def _inside(region: Region, kji: np.ndarray) -> np.ndarray:
    """Which of the points (k, j, i), shape (3, points), lie in a region."""
    at = kji - np.array(region.offset)[:, None]
    near = ((at >= 0) & (at < np.array(region.mask.shape)[:, None])).all(axis=0)
    found = np.zeros(kji.shape[1], bool)
    found[near] = region.mask[tuple(at[:, near])]
    return found
