"""Signal of marrow over that of another tissue, and after over before contrast agent."""

from __future__ import annotations

import math

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.quantities import Quantity
from MarrowAssessLib.measures.book import Book, one_value, ratio
from MarrowAssessLib.measures.measurement import Measurement, Skipped
from MarrowAssessLib.study.regions import Region

FAR_APART_MM = 30.0  # no disc beside its body is; the nearest muscle found is 33 mm away or more
# How far coil shading may move the logarithm of a ratio, for each mm between the two centers: the
# 95th percentile of |ln(uncorrected / N4)| of marrow/muscle, at 146 levels of 18 real images (T1,
# T2, TIRM, gradient echo; muscle 33 to 218 mm away). It was 0.0057 at 29 levels of the three T1
# images, at most 0.0070. So widened, no T1 ratio took the other side of 1 than with N4.
SHADING_PER_MM = 0.0052
DARKER_AFTER_CONTRAST = 0.8  # more than noise, motion and coil shading take from the signal


def tissue_ratio(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """Marrow over the nearest region of another tissue, one for each marrow region."""
    (contrast,) = quantity.images
    found: list[Measurement | Skipped] = []
    for region in book.of(quantity.measured):
        other = book.nearest(region, quantity.divided_by)
        if other is None:
            continue
        top = book.statistics(quantity, region, contrast)
        bottom = book.divisor(quantity, other, contrast)
        if one_value(top, bottom):
            said = f"{contrast.value} has one value in {region.name} and {other.name}"
            found.append(Skipped(quantity.key, said))
            continue
        value, ci = ratio(top, bottom)
        one = Measurement(
            quantity.key, region.site, value, (region.name,), (other.name,), top, bottom, ci
        )
        distance = book.distance_mm(region, other)
        if not book.settings.n4 and distance > FAR_APART_MM:
            _widen(one, SHADING_PER_MM * distance)
            held = "; the interval holds what it may do" if one.ci95 else ""
            one.cautions.append(  # alike at every level, so that a report says it once
                f"The {other.role.value} lies over {FAR_APART_MM:g} mm away and coil shading was "
                f"not corrected (N4){held}."
            )
        found.append(one)
    given = {region.role for region in book.drawn}  # but perhaps where the image has no values
    needed = (quantity.measured, quantity.divided_by)
    if missing := " and no ".join(role.value for role in needed if role not in given):
        found.append(Skipped(quantity.key, f"no {missing} region was given"))
    return found


def _widen(one: Measurement, log_half: float) -> None:
    """Add a 95 % error of a ratio's logarithm to its interval, as one that another visit shares."""
    if one.ci95 is None:
        return
    low, high = one.ci95
    factor = math.exp(math.hypot(math.log(high / one.value), log_half))
    one.ci95 = one.value / factor, one.value * factor
    wide, narrow = (one.ci95[1] - one.ci95[0]), (high - low)
    one.alike_sd = math.sqrt(wide**2 - narrow**2) / (2 * 1.96)


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
