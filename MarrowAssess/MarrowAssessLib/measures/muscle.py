"""The size of a muscle."""

from __future__ import annotations

import numpy as np

from MarrowAssessLib.catalogue.quantities import Quantity
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement
from MarrowAssessLib.study.regions import Region


def cross_section(book: Book, quantity: Quantity) -> list[Measurement]:
    """Largest area across the voxel axis nearest the body's long axis, in cm^2, without erosion."""
    regions = (region for region in book.drawn if region.role is quantity.measured)
    return [_cross_section(book, quantity, region) for region in regions]


def _cross_section(book: Book, quantity: Quantity, region: Region) -> Measurement:
    axes = np.abs(book.grid.ijk_to_ras[2, :3]) / book.grid.spacing
    along = int(np.argmax(axes))  # 0, 1, 2 = i, j, k
    counts = np.count_nonzero(region.mask, axis=tuple(a for a in range(3) if a != 2 - along))
    area_mm2 = counts.max() * book.grid.voxel_volume_mm3 / book.grid.spacing[along]
    one = Measurement(quantity.key, region.site, float(area_mm2) / 100, (region.name,))
    if counts.size > 1 and counts.argmax() in (0, counts.size - 1):
        one.cautions.append("The largest section is at the region's end; it may go on beyond it.")
    return one
