"""How much a quantity differs between two examinations of somebody who has not changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from MarrowAssessLib.references.records import Record, data, records_of


@dataclass(frozen=True)
class Repeatability:
    """A published repeatability.

    Attributes:
        quantity: key of QUANTITIES.
        statistic: such as "within-subject CV".
        value, unit: as printed.
        n, population: who was examined again.
        change_percent: difference, in % of the value, that two examinations of unchanged marrow
            exceed 1 time in 20; None where the source gives it otherwise or not.
        change: the same in the quantity's unit.
    """

    quantity: str
    statistic: str
    value: float
    unit: str
    n: int
    population: str
    change_percent: float | None
    change: float | None
    records: tuple[Record, ...]

    def change_of(self, value: float) -> float | None:
        """The smallest difference from a value, in its unit, that is more than repeatability."""
        if self.change is not None:
            return self.change
        return None if self.change_percent is None else abs(value) * self.change_percent / 100

    @property
    def text(self) -> str:
        """In words, such as "within-subject CV 2.16 % (99 postmenopausal women ...)"."""
        return f"{self.statistic} {self.value:g} {self.unit}".rstrip() + (
            f" (n {self.n}, {self.population})"
        )


@cache
def repeatability(quantity: str) -> Repeatability | None:
    """The published repeatability of a quantity; None where there is none."""
    for entry in data()["repeatability"]:
        if entry["quantity"] == quantity:
            return Repeatability(**{**entry, "records": records_of(entry)})
    return None
