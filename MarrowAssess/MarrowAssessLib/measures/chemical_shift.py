"""Opposed and in phase, water and fat images: what they tell of the fat fraction."""

from __future__ import annotations

from collections.abc import Callable

from MarrowAssessLib.catalogue.quantities import Method, Quantity
from MarrowAssessLib.measures.book import Book, ratio
from MarrowAssessLib.measures.heights import low_bodies
from MarrowAssessLib.measures.measurement import Measurement, Skipped

_FROM_RATIO: dict[Method, Callable[[float], float]] = {
    Method.OPPOSED_RATIO: lambda r: r,
    Method.SIGNAL_DROP: lambda r: 100 * (1 - r),
    Method.FAT_IF_WATER_DOMINATES: lambda r: 50 * (1 - r),
    Method.FAT_IF_FAT_DOMINATES: lambda r: 50 * (1 + r),
}


def opposed_phase(book: Book, quantity: Quantity) -> list[Measurement] | list[Skipped]:
    """Opposed/in-phase ratio, signal drop, and the two fat fractions the ratio allows.

    |1 - 2 FF| = opposed/in-phase holds for equal relaxation, a single fat peak exactly opposed
    to water, and one sign unknown: FF and 100 % - FF give the same ratio.
    """
    from MarrowAssessLib.fracture.edema import PUBLISHED_RATIOS

    if flat := book.flat(quantity):
        return [Skipped(quantity.key, flat)]
    opposed, in_phase = quantity.images
    implied = quantity.method in (Method.FAT_IF_WATER_DOMINATES, Method.FAT_IF_FAT_DOMINATES)
    of_ratio = _FROM_RATIO[quantity.method]
    found = []
    for region in book.of(quantity.measured):
        top = book.statistics(quantity, region, opposed)
        bottom = book.divisor(quantity, region, in_phase)
        value, ci = ratio(top, bottom)
        if implied and value > 1:
            continue
        interval = tuple(sorted(of_ratio(end) for end in ci)) if ci else None
        one = Measurement(
            quantity.key, region.site, of_ratio(value), (region.name,), (), top, bottom, interval
        )
        if quantity.method is Method.OPPOSED_RATIO and region.site in low_bodies(book):
            one.cautions.append(PUBLISHED_RATIOS)
        if implied:
            one.cautions.append(
                "Opposed phase cannot tell a fat fraction from its complement to 100 %; "
                "both are shown. T1 weighting, R2* and the fat peaks are not corrected."
            )
        found.append(one)
    return found
