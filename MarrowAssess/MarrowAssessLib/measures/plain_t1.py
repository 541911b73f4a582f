"""Whether an image given as T1 shows marrow as plain T1 does, by its own signals.

Where fat is suppressed or out of phase, or the image is a T2, normal marrow would read as
infiltrated or as strong bone: what is published of plain T1 must not stand beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PDFFMapperLib.images.attributes import number_of

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement

# Of the disc's signal. Untreated Gaucher marrow has 1.29 +- 0.31 (record R419), and water alone,
# by the signal equations, more than this; healthy marrow of two volunteers on fat-suppressed
# gradient echoes had 0.16 to 0.24.
DARKEST = 0.5
EXCHANGED = 1.3  # marrow/muscle on T1 over that on T2; 0.3 in a volunteer, 3 when exchanged


def contradiction(book: Book, measured: Sequence[Measurement]) -> str:
    """Why the T1 image is none, as a sentence; "" where nothing speaks against it.

    Args:
        book, measured: of undoubted regions alone.
    """
    if Contrast.T1 not in book.acquired:
        return ""
    discs = [one.value for one in measured if one.quantity == "t1_marrow_disc"]
    over_csf = [
        one.value for one in measured if QUANTITIES[one.quantity].method is Method.LEVELS_OVER_CSF
    ]
    if not _header_tells_order(book) and (exchanged := _exchanged(measured)):
        return exchanged
    if discs and (middle := float(np.median(discs))) < DARKEST:
        why = f"marrow has {100 * middle:.0f} % of the disc's signal, less than infiltrated marrow"
    elif over_csf and float(np.median(over_csf)) < 1:
        why = "CSF is brighter than marrow"
    else:
        return ""
    return (
        f"By its signals this may be no plain T1, so nothing is compared with it: {why}. Fat may "
        "be suppressed or out of phase, or it is a T2; sclerosis and iron darken marrow so, too."
    )


def _header_tells_order(book: Book) -> bool:
    """Whether by their headers the T1 has the earlier echo of T1 and T2."""
    images = (book.acquired.get(contrast) for contrast in (Contrast.T1, Contrast.T2))
    t1, t2 = (number_of(one.attributes, "EchoTime") if one else None for one in images)
    return bool(t1 and t2 and t1 < t2)


def _exchanged(measured: Sequence[Measurement]) -> str:
    """Muscle is darker on T2 than on T1, beside marrow: its T2 is the shortest."""
    found = {quantity: {} for quantity in ("t1_marrow_muscle", "t2_marrow_muscle")}
    for one in measured:
        found.get(one.quantity, {})[one.site] = one.value
    on_t1, on_t2 = found.values()
    sites = [site for site in on_t1 if site in on_t2]
    if not sites:
        return ""
    first, second = (float(np.median([on[site] for site in sites])) for on in (on_t1, on_t2))
    if first < max(EXCHANGED * second, 1):  # no T2 shows marrow darker than muscle without iron
        return ""
    return (
        f"This image and the T2 may be exchanged, so nothing is compared with it: marrow is "
        f"{first:.1f} times as bright as muscle in it and {second:.1f} times in the T2, where "
        "muscle should be the darker one; or fat is suppressed there. Name the images anew."
    )
