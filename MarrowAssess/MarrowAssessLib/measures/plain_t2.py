"""Whether an image given as T2 shows tissues as a plain T2 does, by its own signals."""

from __future__ import annotations

from collections.abc import Sequence

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement

DARK_CSF = 0.75  # of marrow: 0.4 to 0.5 on three T1, 1.8 to 4.3 on six T2
# By muscle, whose T2 is the shortest: CSF had 5.8 to 13 and marrow 2.3 to 5.7 times its signal on
# five T2, 2.0 to 2.5 and 1.0 to 1.2 on two TIRM, 1.2 to 1.3 and 0.4 to 0.7 on five gradient echoes,
# about 2 and 0.3 by ADC. Iron and sclerosis darken marrow alone, flow CSF alone.
DULL_CSF, DULL_MARROW = 3.0, 1.3
# Of muscle: CSF had 0.67 to 0.71 on three T1. CSF that flows is dark on T2, but a void to a quarter
# of its signal, by the signal equations, leaves 0.94 and more beside muscle of 25 % fat.
FLOWING_CSF = 0.85


def contradiction(book: Book, measured: Sequence[Measurement]) -> str:
    """Why the T2 image is none, as a sentence; "" where nothing speaks against it.

    Args:
        book, measured: of undoubted regions alone.
    """
    if Contrast.T2 not in book.acquired:
        return ""
    marrow, muscle, csf = (
        book.level(Contrast.T2, role) for role in (Role.MARROW, Role.MUSCLE, Role.CSF)
    )
    if csf < DARK_CSF * marrow and not csf > FLOWING_CSF * muscle:  # muscle may be missing
        why = f"CSF has {100 * csf / marrow:.0f} % of marrow's signal"
    elif csf < DULL_CSF * muscle and marrow < DULL_MARROW * muscle:
        why = (
            f"CSF is only {csf / muscle:.1f} times and marrow {marrow / muscle:.1f} times as "
            "bright as muscle"
        )
    else:
        return ""
    return (
        f"By its signals this may be no plain T2, so nothing is compared with it: {why}. It may be "
        "a T1, a gradient echo, fat-suppressed or a map, or what counts as muscle may be fat. "
        "Look, and name the image or the muscle anew."
    )
