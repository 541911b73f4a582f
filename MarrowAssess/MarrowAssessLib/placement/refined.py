"""Vertebrae that somebody else drew, shrunk to the measurement ROI of the body found inside each.

A label of a whole vertebra holds its arch and cortex, one of a body its cortex; names stay those of
the labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress, share

from MarrowAssessLib.catalogue.anatomy import VERTEBRAE, Role
from MarrowAssessLib.placement.ct import as_seen
from MarrowAssessLib.placement.find_spine import find_spine
from MarrowAssessLib.placement.found_outline import found_outlines
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.placement.spine_column import FOUND, body_at
from MarrowAssessLib.study.regions import Region

LEAST_INSIDE = 0.7  # of a found body that lies in the drawn vertebra, so that both are one
NOT_REFINED = "No sure vertebral body was found in it; it was measured as it was drawn."
REFINED = "Shrunk to the measurement region of the body found inside: {}."


def refined(
    volume: Volume,
    regions: Sequence[Region],
    options: PlacingOptions = AS_USUAL,
    progress: Progress | None = None,
) -> tuple[list[Region], list[str]]:
    """Regions in which each vertebra is the measurement ROI of the body found inside it.

    Args:
        volume: image on the regions' grid.
        regions: as drawn; what is no vertebra of known level stays as it is.
        options: what the ROI leaves out.
        progress: takes the fraction done; returning False cancels.

    Returns:
        The regions, and a sentence that names the shrunk ones.

    Raises:
        ValueError: no vertebra is drawn, or no spine is found in the image.
        InterruptedError: canceled.
    """
    if not any(map(_is_vertebra, regions)):
        raise ValueError("There is no vertebra to refine; give a label map or a tool (--refine).")
    seen = as_seen(volume)
    spine = find_spine([seen], progress=progress)
    outlines = found_outlines(seen, spine, share(progress, FOUND, 1))
    bodies = [spine.frame.to_ras(np.argwhere(body.mask)[:, ::-1]) for body in spine.bodies]
    found, names = [], []
    for region in regions:
        if not _is_vertebra(region):
            found.append(region)
            continue
        inside = [_share_inside(volume, region, points) for points in bodies]
        best = int(np.argmax(inside))
        placed = None
        if inside[best] >= LEAST_INSIDE:
            center = spine.bodies[best].center
            placed = body_at(seen, spine, outlines, center, region.site, options)
        if placed is None or placed.unsure:
            region.cautions.append(NOT_REFINED)
            found.append(region)
        else:
            placed.roi.name = region.name
            found.append(placed.roi)
            names.append(region.site)
    return found, [REFINED.format(", ".join(names))] if names else []


def _is_vertebra(region: Region) -> bool:
    return region.role is Role.MARROW and region.site in VERTEBRAE


def _share_inside(volume: Volume, region: Region, points_ras: np.ndarray) -> float:
    """Share of points that lie in a region."""
    kji = np.rint(volume.ras_to_ijk(points_ras)).astype(int)[:, ::-1] - np.array(region.offset)
    there = ((kji >= 0) & (kji < np.array(region.mask.shape))).all(axis=1)
    held = region.mask[tuple(kji[there].T)]
    return float(np.count_nonzero(held) / len(points_ras))
