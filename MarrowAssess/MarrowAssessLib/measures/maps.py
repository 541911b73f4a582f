"""Values of quantitative maps: one for each region, and the mean of levels."""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.spectrum_choice import error_of

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method, Quantity
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement, Skipped, mean_of_levels, median_of
from MarrowAssessLib.study.regions import Region, Statistics

FEWEST = 5  # voxels with a value under which a region has none


def map_value(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """A map's median in every region of the quantity's tissue, and the mean of its levels.

    Raises:
        ValueError: the map is in another unit.
    """
    (contrast,) = quantity.images
    volume = book.image(quantity, contrast)
    found: list[Measurement | Skipped] = []
    for region in _regions(book, quantity):
        trusted = int(np.isfinite(region.values(volume.array)).sum())
        if region.voxels and trusted < min(FEWEST, region.voxels):
            # A map marks voxels that could not be fitted as NaN; that is no mistake of the user's.
            some = (
                f"a value in only {trusted} of {region.voxels} voxels of"
                if trusted
                else "no value in"
            )
            found.append(Skipped(quantity.key, f"the map holds {some} {region.name}"))
            continue
        one = book.statistics(quantity, region, contrast)
        _check_unit(volume, contrast, region, one)
        made = median_of(quantity, region, one)
        if errors := error_of(volume.attributes, one.median):
            made.systematic = max(map(abs, errors))
            made.how = (
                f"fat spectrum {volume.attributes['FatSpectrum']}; the systematic error is what "
                "others published for tissue would change"
            )
        found.append(made)
    return found + mean_of_levels(quantity, found)


def _regions(book: Book, quantity: Quantity) -> list[Region]:
    """Those of the quantity's tissue; without one, those of tissues that have no other row."""
    if quantity.measured is not None:
        return book.of(quantity.measured)
    own = {
        other.measured
        for other in QUANTITIES.values()
        if other.method is Method.MAP_VALUE and other.images == quantity.images
    }
    own |= {Role.NOISE, Role.LIVER, Role.SPLEEN, Role.BLOOD, Role.LESION}
    return [region for region in book.regions.values() if region.role not in own]


def _check_unit(volume: Volume, contrast: Contrast, region: Region, one: Statistics) -> None:
    """Refuse a region's value that no tissue has; the map as a whole was judged before."""
    kind = contrast.kind
    low, high = kind.plausible
    tissue = region.role in (Role.MARROW, Role.MUSCLE)
    too_small = tissue and 0 < one.median < kind.least
    if too_small or not low <= one.median <= high:
        raise ValueError(
            f"{volume.name}: the median in {region.name} is {one.median:g}, which is no "
            f"{contrast.value} in {kind.unit}; check the region, or give the map's scale as "
            f"--scale {contrast.value}=FACTOR."
        )
    if kind.unit == "%" and tissue and 0 < one.median <= 1:
        highest = float(np.nanmax(region.values(volume.array)))
        if highest <= 1.0 and np.mean(volume.array > 1.5) < 0.01:
            raise ValueError(
                f"{volume.name}: values in {region.name} reach {highest:.2f} at most, which looks "
                f"like a fraction; {contrast.value} is expected in %, so give --scale "
                f"{contrast.value}=100."
            )
