"""Response of acute myeloid leukemia by the marrow and blood values that somebody enters.

ELN 2017, table 6 (doi 10.1182/blood-2016-08-733196; the table was read). Images give no such
response; they stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

SOURCE = "ELN 2017, table 6, doi 10.1182/blood-2016-08-733196"
_NUMBERS = ("marrow_blasts_percent", "neutrophils_1e9_l", "platelets_1e9_l")
_ANSWERS = ("circulating_blasts", "extramedullary_disease")
_OPTIONAL = ("auer_rods",)


@dataclass(frozen=True)
class MarrowResponse:
    """What is entered, on one day.

    Attributes:
        day: of the marrow.
        marrow_blasts_percent: of the marrow's cells; `before_percent` before treatment, None
            where it is not known.
        neutrophils_1e9_l, platelets_1e9_l: of blood.
        circulating_blasts, extramedullary_disease: whether there are any.
        auer_rods: whether any blast has them; None where that was not looked for.
    """

    day: float
    marrow_blasts_percent: float
    neutrophils_1e9_l: float
    platelets_1e9_l: float
    circulating_blasts: bool
    extramedullary_disease: bool
    before_percent: float | None = None
    auer_rods: bool | None = None

    @property
    def word(self) -> str:
        """ "CR", "CRi", "MLFS" or "PR" by the table, "" where none is met."""
        recovered = self.neutrophils_1e9_l >= 1.0, self.platelets_1e9_l >= 100.0
        clear = not (self.circulating_blasts or self.extramedullary_disease or self.auer_rods)
        if self.marrow_blasts_percent < 5 and clear:
            return "CR" if all(recovered) else "CRi" if any(recovered) else "MLFS"
        halved = (
            self.before_percent is not None
            and self.marrow_blasts_percent <= self.before_percent / 2
        )
        if 5 <= self.marrow_blasts_percent <= 25 and halved and clear and all(recovered):
            return "PR"
        return ""

    @property
    def text(self) -> str:
        """What the values meet, as one sentence."""
        with_rods = "" if self.auer_rods is not None else "; Auer rods were not stated"
        cells = "; 200 cells or a cellularity of 10 % are needed" if self.word == "MLFS" else ""
        return (
            f"Day {self.day:g}: {self.marrow_blasts_percent:g} % blasts in marrow, neutrophils "
            f"{self.neutrophils_1e9_l:g} and platelets {self.platelets_1e9_l:g} x 10^9/l meet "
            f"{self.word or 'neither CR, CRi, MLFS nor PR'}{with_rods}{cells} ({SOURCE})."
        )

    def beside(self, cellular_sites: int) -> str:
        """A line where images and marrow disagree, "" where they do not."""
        clear = self.word in ("CR", "CRi", "MLFS")
        if clear and cellular_sites:
            return (
                f"Imaging and marrow disagree: {self.word} by marrow, cellular marrow by images at "
                f"{cellular_sites} sites."
            )
        return ""


def read_response(content: Mapping) -> MarrowResponse:
    """The form from a JSON object.

    Raises:
        ValueError: a value is missing or cannot be.
    """
    numbers = {}
    for name in ("day", *_NUMBERS, *(["before_percent"] if "before_percent" in content else [])):
        value = content.get(name)
        known = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not known or not math.isfinite(value) or (name != "day" and value < 0):
            raise ValueError(f"Response form: {name} is {value!r}; a number from 0 is expected.")
        numbers[name] = float(value)
    asked = (*_ANSWERS, *(name for name in _OPTIONAL if name in content))
    answers = {name: content.get(name) for name in asked}
    if not all(isinstance(one, bool) for one in answers.values()):
        raise ValueError(f"Response form: {' and '.join(asked)} are true or false.")
    if unknown := sorted(set(content) - {*numbers, *answers}):
        raise ValueError(f"Response form: {', '.join(unknown)} is not known.")
    return MarrowResponse(**numbers, **answers)
