"""Whether the in-phase and the opposed-phase image may be exchanged, by their own signals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement

# Opposed over in phase, in the middle of all marrow. Fat only lowers it; untreated metastases had
# 0.99 +- 0.1 (record R295; treated ones 1.03 +- 0.39, R296). Marrow of 17 to 35 % fat, exchanged,
# has 1.5 to 3.3 by 1 / (1 - 2 FF).
EXCHANGED = 1.4


def contradiction(book: Book, measured: Sequence[Measurement]) -> str:
    """Why one image is not what it was given as, as a sentence; "" where nothing says so.

    Args:
        book, measured: of undoubted regions alone.
    """
    if not {Contrast.IN_PHASE, Contrast.OPPOSED_PHASE} <= set(book.acquired):
        return ""
    ratios = [one.value for one in measured if one.quantity == "opposed_in_ratio"]
    if not ratios or (middle := float(np.median(ratios))) < EXCHANGED:
        return ""
    return (
        f"In and opposed phase may be exchanged, so nothing is compared with them: marrow is "
        f"{middle:.1f} times as bright in opposed phase, where fat can only darken it. Look, and "
        "name the images anew; much iron darkens a later echo so, too."
    )
