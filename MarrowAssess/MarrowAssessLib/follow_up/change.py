"""One number on two or more days, and what is said of its change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.follow_up.errors import MeasurementError
from MarrowAssessLib.follow_up.visits import DAYS_A_YEAR

WITHIN, INCREASE, DECREASE = "within error", "increase", "decrease"
NOT_COMPARABLE = "not comparable"
NO_ERROR = "no repeatability is known of this quantity"
PER_DAYS = 30.0


@dataclass(frozen=True)
class Change:
    """One quantity at one site on two days.

    Attributes:
        measured: names of the regions at the first visit, which tell several of one site apart.
        measured_now: and at the second.
        first_day, days: the day of the first value, and how much later the second is.
        first, second: the values; `low` and `high`: between which the second lies in 19 of 20
            unchanged people.
        se: standard errors of the values by their regions; 0 where not known.
        drift: expected by age between the days, which was subtracted; 0 unless asked for.
        size: the change in repeatability coefficients: beyond +-1 it is more than error.
        p: of no change; NaN where nothing is known of the error.
        verdict: WITHIN, INCREASE, DECREASE or NOT_COMPARABLE, with the reason.
        error_used: "repeatability" or "the regions' own intervals", whichever is wider.
        adjusted: whether the change stands among all comparisons (Holm).
    """

    quantity: str
    site: str
    measured: tuple[str, ...]
    first_day: float
    days: float
    first: float
    second: float
    se: tuple[float, float] = (0.0, 0.0)
    drift: float = 0.0
    low: float = math.nan
    high: float = math.nan
    size: float = math.nan
    p: float = math.nan
    verdict: str = NOT_COMPARABLE
    reason: str = ""
    error: MeasurementError | None = None
    error_used: str = ""
    adjusted: bool = False
    measured_now: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str, str, tuple[str, ...]]:
        """What is compared: quantity, site and regions."""
        return self.quantity, self.site, self.measured

    @property
    def percent(self) -> float:
        """Change in % of the first value; NaN where that is not above 0."""
        return 100 * (self.second / self.first - 1) if self.first > 0 else math.nan

    @property
    def changed(self) -> bool:
        """Whether it is more than measurement error."""
        return self.verdict in (INCREASE, DECREASE)

    @property
    def name(self) -> str:
        """Site (or region) and quantity, as people read them."""
        where, what = self.site or ", ".join(self.measured), QUANTITIES[self.quantity].name
        return what if what.lower().startswith(where.lower()) else f"{where} {what}"

    @property
    def sentence(self) -> str:
        """What was found, as one sentence without a full stop."""
        shown = QUANTITIES[self.quantity].format
        return (
            f"{self.name}: {self.verdict} from {shown(self.first)} to {shown(self.second)} in "
            f"{self.days:g} days (unchanged: {shown(self.low)} to {shown(self.high)})"
        )


@dataclass(frozen=True)
class Trend:
    """One quantity at one site over all visits that are comparable with the first.

    Attributes:
        days, values, se: of each visit.
        slope, low, high: per 30 days, with 95 % interval; NaN where the error is not known.
        theil_sen: per 30 days, the median of the slopes of all pairs.
        first_flagged: the first day of a change beyond error; None where there is none.
        nadir: day and value of the lowest.
        error: that the interval comes from.
    """

    quantity: str
    site: str
    measured: tuple[str, ...]
    days: tuple[float, ...]
    values: tuple[float, ...]
    se: tuple[float, ...]
    slope: float
    low: float
    high: float
    theil_sen: float
    first_flagged: float | None
    nadir: tuple[float, float]
    error: MeasurementError | None

    @property
    def moves(self) -> bool:
        """Whether the interval of the slope leaves 0 out."""
        return self.low > 0 or self.high < 0

    def per_year(self, per_30_days: float) -> float:
        """A slope per year."""
        return per_30_days * DAYS_A_YEAR / PER_DAYS


def counts(changes: Sequence[Change]) -> str:
    """How much was compared, and how much of it changes by chance."""
    compared = [change for change in changes if change.verdict != NOT_COMPARABLE]
    changed = sum(change.changed for change in compared)
    standing = sum(change.adjusted for change in changes)
    return (
        f"{len(compared)} compared, {changed} beyond measurement error "
        f"({0.05 * len(compared):.1f} expected by chance; {standing} stand after adjustment by "
        f"Holm), {len(changes) - len(compared)} not comparable. For research use only."
    )
