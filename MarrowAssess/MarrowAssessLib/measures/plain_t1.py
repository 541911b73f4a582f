"""Whether an image given as T1 shows marrow as plain T1 does, by its own signals.

Where fat is suppressed or out of phase, or the image is a T2, normal marrow would read as
infiltrated or as strong bone: what is published of plain T1 must not stand beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement

# Of the disc's signal. Untreated Gaucher marrow has 1.29 +- 0.31 (record R419), and water alone,
# by the signal equations, more than this; healthy marrow of two volunteers on fat-suppressed
# gradient echoes had 0.16 to 0.24.
DARKEST = 0.5
_OF_T1 = (Method.TISSUE_RATIO, Method.LEVELS_OVER_CSF, Method.SNR_SCORE)


def contradiction(book: Book, measured: Sequence[Measurement]) -> str:
    """Why the T1 image is none, as a sentence; "" where nothing speaks against it."""
    if Contrast.T1 not in book.acquired:
        return ""
    right = [one for one in measured if not any(_doubtful(book, name) for name in one.regions)]
    discs = [one.value for one in right if one.quantity == "t1_marrow_disc"]
    over_csf = [
        one.value for one in right if QUANTITIES[one.quantity].method is Method.LEVELS_OVER_CSF
    ]
    if discs and (middle := float(np.median(discs))) < DARKEST:
        why = f"marrow has {100 * middle:.0f} % of the disc's signal, less than infiltrated marrow"
    elif over_csf and float(np.median(over_csf)) < 1:
        why = "CSF is brighter than marrow"
    else:
        return ""
    return (
        f"By its signals this is no plain T1, so nothing is compared with it: {why}. Fat may be "
        "suppressed or out of phase, or it is a T2; sclerosis and iron darken marrow so, too."
    )


def mark(measured: Sequence[Measurement], why: str) -> None:
    """Take what was measured on T1 out of all comparison, and say why."""
    for one in measured:
        quantity = QUANTITIES[one.quantity]
        if quantity.images == (Contrast.T1,) and quantity.method in _OF_T1:
            one.comparable = False
            one.cautions.append(why)


def _doubtful(book: Book, name: str) -> bool:
    return name in book.regions and book.regions[name].doubtful
