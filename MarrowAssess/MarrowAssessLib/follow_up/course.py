"""All that is known of a person's visits together: changes, trends, what to beware of."""

from __future__ import annotations

from dataclasses import dataclass, field

from MarrowAssessLib.follow_up.change import Change, Trend
from MarrowAssessLib.follow_up.visits import Therapy

Place = tuple[str, str, tuple[str, ...]]  # quantity, site and regions


@dataclass(frozen=True)
class Course:
    """What a page about several visits says.

    Attributes:
        days: of each visit.
        ages_years, sex: of the person, None where not known.
        changes: of each later visit against the first.
        trends: of what has three or more comparable visits.
        expected: the expected 95 % range of each day, where there is a reference.
        therapies: what happened on which day.
        cautions: sentences to read first.
    """

    days: tuple[float, ...]
    ages_years: tuple[float | None, ...]
    sex: str | None
    changes: list[Change]
    trends: list[Trend]
    expected: dict[Place, dict[float, tuple[float, float]]]
    therapies: tuple[Therapy, ...] = ()
    cautions: list[str] = field(default_factory=list)

    @property
    def series(self) -> dict[Place, list[Change]]:
        """The changes of each place in the order of days, as the first visit lists them."""
        found: dict[Place, list[Change]] = {}
        for one in self.changes:
            found.setdefault(one.place, []).append(one)
        return found

    def trend(self, place: Place) -> Trend | None:
        """The trend of a place, None with fewer than three visits."""
        return next((t for t in self.trends if (t.quantity, t.site, t.measured) == place), None)
