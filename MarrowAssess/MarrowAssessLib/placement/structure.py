"""One click to a region: marrow, disc, muscle, CSF, fat, air or an organ."""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import Role, is_other_bone
from MarrowAssessLib.placement.body import MARGIN_MM, Placement, place_body
from MarrowAssessLib.placement.disc import place_disc
from MarrowAssessLib.placement.judgment import require_inside
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.placement.organ import ORGANS, place_organ
from MarrowAssessLib.placement.tissue import grow


def place(
    volume: Volume,
    point_ras: np.ndarray,
    role: Role,
    site: str = "",
    *,
    margin_mm: float | None = None,
    options: PlacingOptions = AS_USUAL,
) -> Placement:
    """Find the structure of a given role round a point.

    Args:
        volume: T1, T2, STIR, gradient echo, water, fat or PDFF image; of organs PET or CT, too.
        point_ras: mm; inside the structure.
        role: what the point was put on.
        site: canonical site for the region's name, "" if unknown.
        margin_mm: distance between the structure's border and the ROI; None takes the role's own;
            organs have theirs.
        options: what the ROI leaves out, see PlacingOptions.

    Raises:
        ValueError: the point is outside the volume, or the role is that of a lesion.
    """
    point = np.asarray(point_ras, dtype=float)
    require_inside(volume, point)
    if role is Role.LESION:
        raise ValueError(
            "No click finds a lesion's border; draw the lesion in a segmentation or label image."
        )
    if role in ORGANS:
        return place_organ(volume, point, role)
    margin = MARGIN_MM[role] if margin_mm is None else margin_mm
    if role is Role.MARROW and not is_other_bone(site):
        return place_body(volume, point, site, margin, options=options)
    if role is Role.DISC:
        return place_disc(volume, point, site, margin)
    return grow(volume, point, role, site, margin, options)
