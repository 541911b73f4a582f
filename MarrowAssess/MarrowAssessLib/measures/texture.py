"""Texture of marrow as quantities: the features that reviews of marrow imaging name."""

from __future__ import annotations

from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import Quantity
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement, Skipped
from MarrowAssessLib.study.regions import Region

# Width of the gray levels of values that have a unit (points of %, 1/s, 10^-3 mm^2/s).
BIN_WIDTHS = {Contrast.PDFF: 2.5, Contrast.R2STAR: 5.0, Contrast.ADC: 0.05}
BINS = 32  # of signals in arbitrary units


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
    from MarrowAssessLib.texture.discretization import Discretization
    from MarrowAssessLib.texture.region import region_texture

    width = BIN_WIDTHS.get(contrast)
    bins = Discretization(bin_width=width) if width else Discretization(bins=BINS)
    spacing = volume.spacing[::-1]  # of array axes k, j, i
    return region_texture(volume.array[region.box].astype(float), region.mask, spacing, bins)
