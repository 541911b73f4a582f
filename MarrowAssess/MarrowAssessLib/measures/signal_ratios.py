"""Signal of marrow over that of another tissue, and after over before contrast agent."""

from __future__ import annotations

from MarrowAssessLib.catalogue.anatomy import Role, spine_region
from MarrowAssessLib.catalogue.quantities import Quantity
from MarrowAssessLib.measures.book import Book, one_value, ratio
from MarrowAssessLib.measures.measurement import Measurement, Skipped
from MarrowAssessLib.measures.shading import hold_shading
from MarrowAssessLib.study.bias_field import is_normalized
from MarrowAssessLib.study.regions import Region

FAR_APART_MM = 30.0  # no disc beside its body is; the nearest muscle found is 31 mm away or more
DARKER_AFTER_CONTRAST = 0.8  # more than noise, motion and coil shading take from the signal


def tissue_ratio(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """Marrow over the nearest region of another tissue, one for each marrow region."""
    (contrast,) = quantity.images
    found: list[Measurement | Skipped] = []
    for region in book.of(quantity.measured):
        nearest = book.nearest(region, quantity.divided_by, book.image(quantity, contrast))
        if nearest is None:
            continue
        other, part = nearest
        top = book.statistics(quantity, region, contrast)
        bottom = book.divisor(quantity, part, contrast)
        if one_value(top, bottom):
            said = f"{contrast.value} has one value in {region.name} and {other.name}"
            found.append(Skipped(quantity.key, said))
            continue
        value, ci = ratio(top, bottom)
        one = Measurement(
            quantity.key, region.site, value, (region.name,), (other.name,), top, bottom, ci
        )
        distance = book.distance_mm(region, part)
        if not book.settings.n4 and distance > FAR_APART_MM:
            normalized = is_normalized(book.acquired[contrast])
            hold_shading(one, distance, bool(spine_region(region.site)), normalized)
            held = "; the interval holds what it may do" if one.ci95 else ""
            if not normalized:  # alike at every level, so that a report says it once
                one.cautions.append(
                    f"The {other.role.value} lies over {FAR_APART_MM:g} mm away and coil shading "
                    f"was not corrected (N4){held}."
                )
        found.append(one)
    given = {region.role for region in book.drawn}  # but perhaps where the image has no values
    needed = (quantity.measured, quantity.divided_by)
    if missing := " and no ".join(role.value for role in needed if role not in given):
        found.append(Skipped(quantity.key, f"no {missing} region was given"))
    return found


def enhancement(book: Book, quantity: Quantity) -> list[Measurement] | list[Skipped]:
    """From both images as acquired: N4 would find another field in each of them."""
    if flat := book.flat(quantity):
        return [Skipped(quantity.key, flat)]
    return [_enhancement(book, quantity, region) for region in book.of(quantity.measured)]


def _enhancement(book: Book, quantity: Quantity, region: Region) -> Measurement:
    after, before = quantity.images
    top = book.statistics(quantity, region, after)
    bottom = book.divisor(quantity, region, before)
    value, ci = ratio(top, bottom)
    percent = tuple(100 * (r - 1) for r in ci) if ci else None
    one = Measurement(
        quantity.key, region.site, 100 * (value - 1), (region.name,), (), top, bottom, percent
    )
    # Nothing darkens after gadolinium in marrow or fat unless the two images differ.
    judges = [region, *book.of(Role.FAT)]
    if darker := [judge.name for judge in judges if _darkens(book, quantity, judge)]:
        one.cautions.append(
            f"{' and '.join(darker)} darker after contrast than before: one image may be "
            "fat-suppressed or scaled otherwise, and then this percentage means nothing."
        )
    return one


def _darkens(book: Book, quantity: Quantity, region: Region) -> bool:
    after, before = (book.statistics(quantity, region, c).median for c in quantity.images)
    return after < DARKER_AFTER_CONTRAST * before
