"""Texture of marrow as quantities: the features that reviews of marrow imaging name."""

from __future__ import annotations

from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import Quantity
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement, Skipped
from MarrowAssessLib.study.regions import Region


def texture(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """One texture feature of every region of the quantity's tissue, if texture is asked for."""
    if not book.settings.texture:
        return []
    (contrast,) = quantity.images
    found: list[Measurement | Skipped] = []
    for region in book.of(quantity.measured):
        volume = book.image(quantity, contrast)
        try:
            one = book.once(_region_texture, region, volume, contrast)
        except ValueError as error:
            found.append(Skipped(quantity.key, f"{region.name}: {error}"))
            continue
        value = one.features[quantity.feature]
        measurement = Measurement(quantity.key, region.site, value, (region.name,), how=one.how)
        measurement.cautions += one.cautions
        found.append(measurement)
    return found


def _region_texture(region: Region, volume: Volume, contrast: Contrast):
    from MarrowAssessLib.texture.discretization import discretization_of
    from MarrowAssessLib.texture.region import region_texture

    values = volume.array[region.box].astype(float)
    spacing = volume.spacing[::-1]  # of array axes k, j, i
    return region_texture(values, region.mask, spacing, discretization_of(contrast))
