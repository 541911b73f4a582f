"""What to read with a number because of the regions and the signal it was made from."""

from __future__ import annotations

import numpy as np

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement
from MarrowAssessLib.study.regions import Statistics

FEW_VOXELS = 20
OF_LEVELS = (
    Method.MAP_VALUE, Method.YELLOW_SHARE, Method.LEVELS_OVER_CSF, Method.SNR_SCORE,
)  # fmt: skip
"""What several levels are measured by in one image on the grid of the regions."""
WHOLE = (Role.MARROW, Role.DISC)  # structures of which a part does not stand for the whole
COARSE = 0.02  # of the median: steps of the stored signal that deserve a word


def add_cautions(book: Book, measurement: Measurement) -> None:
    """Add those of its regions, of how few voxels they hold, and of how the signal is stored."""
    quantity = QUANTITIES[measurement.quantity]
    cautions = measurement.cautions
    for name in measurement.regions:
        region = book.regions.get(name)
        if region is None:  # a spectrum's voxel or a bone of a UTE series
            continue
        cautions += [c for c in region.cautions if c not in cautions]
        if region.role in WHOLE and (side := book.of_all(_cut_by, name)):
            cautions.append(f"{name} reaches the {side} of the image and may go on beyond it.")
        if region.voxels < FEW_VOXELS and quantity.method is not Method.CROSS_SECTION:
            cautions.append(f"{name} has only {region.voxels} voxels.")
    if quantity.site_in_definition:
        used = [book.regions[name] for name in measurement.regions]
        places = {(one.role, one.site) for one in used}
        others = [r for r in book.regions.values() if r.name not in measurement.regions]
        if twins := [r.name for r in others if (r.role, r.site) in places]:
            cautions.append(
                f"Several regions are of the same tissue and site: {', '.join(twins)} was not used."
            )
    divisor = measurement.reference_statistics
    if divisor and divisor.step and divisor.step / divisor.median > COARSE:
        cautions.append(
            f"The signal of {measurement.regions[-1]} is stored in coarse steps (median "
            f"{divisor.median:.0f}), which rounds this ratio to about "
            f"{100 * divisor.step / divisor.median:.0f} %."
        )
    measured, first = measurement.statistics, measurement.measured[0]
    if measured and divisor and measured.median <= 0:
        cautions.append(
            f"The median signal of {first} is {measured.median:g}, which no "
            "tissue has on a magnitude image; check where it was drawn."
        )
    left_out = [said for name, one in _parts(book, measurement) for said in _left_out(name, one)]
    cautions += dict.fromkeys(left_out)


def _parts(book: Book, measurement: Measurement) -> list[tuple[str, Statistics]]:
    """The regions whose voxels make a number, and what these say in its image."""
    quantity, divisor = QUANTITIES[measurement.quantity], measurement.reference_statistics
    below = [(measurement.regions[-1], divisor)] if divisor else []
    if measurement.statistics:
        return [(measurement.measured[0], measurement.statistics), *below]
    if len(measurement.measured) < 2 or quantity.method not in OF_LEVELS:
        return below
    regions = [book.regions[name] for name in measurement.measured]
    levels = [(one.name, book.statistics(quantity, one, quantity.images[0])) for one in regions]
    return [*levels, *below]


def _left_out(name: str, values: Statistics) -> list[str]:
    """How many voxels of a region hold no value, if any."""
    whole = values.excluded + values.voxels
    if values.excluded > values.voxels:
        return [
            f"Only {values.voxels} of {whole} voxels of {name} hold a value: it may not stand for "
            "the region; look at why the others were left out."
        ]
    if values.excluded:
        return [f"{values.excluded} of {whole} voxels of {name} are not finite and were left out."]
    return []


def _cut_by(book: Book, name: str) -> str:
    """Which end of the image a region as drawn reaches, "" for none.

    From side to side sagittal stacks hold few slices, and what is drawn ends where they do.
    """
    region = next(one for one in book.drawn if one.name == name)
    axes = book.grid.ijk_to_ras[:3, :3] / book.grid.spacing
    for axis, length in enumerate(book.grid.array.shape):
        counts = np.count_nonzero(region.mask, axis=tuple(n for n in range(3) if n != axis))
        first = region.offset[axis]
        direction = axes[:, 2 - axis]
        along = int(np.argmax(np.abs(direction)))
        if along == 0 or length < 3:
            continue
        for index, at_end in ((0, first == 0), (-1, first + counts.size == length)):
            if at_end and counts[index]:
                up = int((direction[along] > 0) == (index == -1))
                return (("back edge", "front edge"), ("lower edge", "upper edge"))[along - 1][up]
    return ""
