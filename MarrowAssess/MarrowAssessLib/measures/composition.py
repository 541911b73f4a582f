"""What marrow of a fat fraction would be made of, between red and yellow marrow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from MarrowAssessLib.catalogue.quantities import Quantity
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.maps import map_value
from MarrowAssessLib.measures.measurement import Measurement


@dataclass(frozen=True)
class Composition:
    """What marrow of a fat fraction would be made of, between red and yellow marrow, in percent."""

    yellow_share: float
    water: float
    protein: float
    fat: float


def composition(pdff_percent: float) -> Composition:
    """Composition on the line from red (40 water, 20 protein, 40 fat) to yellow (15, 5, 80).

    PDFF stands for the fat share here, as in the reviews; it does not see protein, so by proton
    density alone the same two marrows would have a PDFF of 50 % and 84 %. Below 40 % and above
    80 % the nearer end is returned.

    Source: red and yellow end members as in doi 10.3348/jksr.2024.0039 and
    doi 10.1007/s11547-020-01239-2.
    """
    share = float(np.clip((pdff_percent - 40) / 40, 0, 1))
    return Composition(100 * share, 40 - 25 * share, 20 - 15 * share, 40 + 40 * share)


def yellow_shares(book: Book, quantity: Quantity) -> list[Measurement]:
    """The shares of yellow marrow that PDFF implies."""
    return [_yellow_share(one) for one in map_value(book, quantity) if isinstance(one, Measurement)]


def _yellow_share(pdff: Measurement) -> Measurement:
    """The share of yellow marrow that a PDFF implies."""
    implied = composition(pdff.value)
    one = replace(pdff, value=implied.yellow_share, ci95=None)
    one.cautions = [
        f"Implied composition: {implied.water:.0f} % water, {implied.protein:.0f} % protein, "
        f"{implied.fat:.0f} % fat."
    ]
    if not 40 <= pdff.value <= 80:
        side = "more cellular than the red" if pdff.value < 40 else "fattier than the yellow"
        one.cautions.append(
            f"PDFF {pdff.value:.0f} % is {side} end of the scale (40 to 80 %); the end is shown."
        )
    return one
