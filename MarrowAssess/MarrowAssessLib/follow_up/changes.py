"""Change between visits of one person, held against how far two examinations differ anyway.

Holm 1979 for several comparisons (Scand J Stat 6, 65-70).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from MarrowAssessLib.catalogue.quantities import listed_at
from MarrowAssessLib.follow_up.change import DECREASE, INCREASE, NO_ERROR, WITHIN, Change
from MarrowAssessLib.follow_up.errors import MeasurementError, judged, published_error
from MarrowAssessLib.follow_up.levels import levels_shifted
from MarrowAssessLib.follow_up.visits import (
    DAYS_A_YEAR,
    Between,
    Therapy,
    check_days,
    differences,
    not_comparable,
    refuse_one_twice,
    refuse_two_persons,
)
from MarrowAssessLib.measures.whole_body import response
from MarrowAssessLib.references.expected import expected
from MarrowAssessLib.statistics.groups import holm


@dataclass(frozen=True)
class Comparing:
    """How visits are compared.

    Attributes:
        reproducibility: errors from own examinations on two scanners.
        therapies: what happened on which day.
        without_age_drift: subtract what is expected of age between the days, where a smooth
            reference tells it.
        same_person: compare although age, sex or identifier do not fit.
    """

    reproducibility: Mapping[str, MeasurementError] = field(default_factory=dict)
    therapies: Sequence[Therapy] = ()
    without_age_drift: bool = False
    same_person: bool = False


@dataclass(frozen=True)
class Errors:
    """The measurement errors to judge by.

    Attributes:
        own: of own repeated examinations on one scanner, which go before published ones.
        across: of the same people on two scanners; without one such visits are not comparable.
    """

    own: Mapping[str, MeasurementError] = field(default_factory=dict)
    across: Mapping[str, MeasurementError] = field(default_factory=dict)

    def of(self, quantity: str, other_scanner: bool) -> MeasurementError | None:
        """The error of a quantity, None where nothing is known."""
        if other_scanner:
            return self.across.get(quantity)
        return self.own.get(quantity) or published_error(quantity)


def follow_up(
    assessments: Sequence[Mapping],
    days: Sequence[float],
    repeatability: Mapping[str, MeasurementError] | None = None,
    how: Comparing | None = None,
) -> list[Change]:
    """Each later visit against the first, by quantities; SUL, where both have it, before SUV.

    Args:
        assessments: two or more visits as in assessment.json, of one person.
        days: of each visit, the first one's day first.
        repeatability: errors from own repeated examinations, which go before published ones.
        how: see Comparing.

    Raises:
        ValueError: not two visits, days that do not fit or rise, or two persons.
    """
    how = how or Comparing()
    check_days(assessments, days)
    refuse_one_twice(assessments, days)
    if not how.same_person:
        refuse_two_persons(assessments, days)
    errors = Errors(repeatability or {}, how.reproducibility)
    first = _by_place(assessments[0])
    changes = []
    for visit, day in zip(assessments[1:], days[1:], strict=True):
        between = Between(
            (assessments[0], visit),
            tuple(one for one in how.therapies if days[0] < one.day <= day),
            levels_shifted(assessments[0], visit),
        )
        now = _by_place(visit)
        both = [one for one in now if one in first]
        for at in sorted(both, key=lambda one: listed_at(one[0], lean=True)):
            for before, m in _paired(first[at], now[at]):
                made = _unjudged(before, m, days[0], day - days[0])
                if how.without_age_drift:
                    made = replace(made, drift=_age_drift(made, assessments[0]["patient"]))
                changes.append(_change(made, before, m, between, errors))
    return _with_holm(changes)


def _by_place(visit: Mapping) -> dict[tuple[str, str], list[Mapping]]:
    """The measurements of each quantity and site."""
    found: dict[tuple[str, str], list[Mapping]] = {}
    for one in visit["measurements"]:
        found.setdefault((one["quantity"], one["site"]), []).append(one)
    return found


def _paired(before: Sequence[Mapping], now: Sequence[Mapping]) -> list[tuple[Mapping, Mapping]]:
    """Which number of a site is compared with which: of several regions those of the same name."""
    if len(before) == len(now) == 1:
        return [(before[0], now[0])]
    named = {tuple(one["measured"]): one for one in before}
    return [(named[key], m) for m in now if (key := tuple(m["measured"])) in named]


def _unjudged(before: Mapping, now: Mapping, first_day: float, days: float) -> Change:
    values = (math.nan if one["value"] is None else one["value"] for one in (before, now))
    # The first visit's name, so that a site keeps it over all visits.
    measured = tuple(before.get("measured", ()))
    se = _se(before), _se(now)
    made = Change(now["quantity"], now["site"], measured, first_day, days, *values, se)
    return replace(made, measured_now=tuple(now.get("measured", ())))


def _change(
    made: Change,
    before: Mapping,
    now: Mapping,
    between: Between,
    errors: Errors,
) -> Change:
    quantity = made.quantity
    _, other_scanner = differences(*between.visits, quantity)
    error = errors.of(quantity, other_scanner)
    x1, x2 = made.first, made.second - made.drift
    reason = not_comparable(before, now, between, error is not None)
    if not reason and math.isnan(x1 + x2):
        reason = "a value is missing"
    elif not reason and error is None:
        reason = NO_ERROR
    elif not reason and error.proportional and min(x1, x2) <= 0:
        reason = "the error is proportional, and a value is not above 0"
    if reason:
        return replace(made, reason=reason)
    found = judged(x1, x2, error, made.se)
    if quantity == "global_adc" and min(made.first, made.second) > 0:
        made = replace(made, reason=response(made.first, made.second))
    verdict = WITHIN if found.p >= 0.05 else INCREASE if found.size > 0 else DECREASE
    return replace(
        made,
        low=found.low + made.drift,
        high=found.high + made.drift,
        size=found.size,
        p=found.p,
        verdict=verdict,
        error=error,
        error_used="the regions' own intervals" if found.by_regions else "repeatability",
    )


def _se(measurement: Mapping) -> float:
    """By its interval, without what is alike in both visits."""
    ci = measurement.get("ci95")
    if not ci or None in ci:
        return 0.0
    sd, alike_sd = (ci[1] - ci[0]) / (2 * 1.96), measurement.get("alike_sd") or 0.0
    return math.sqrt(max(sd**2 - alike_sd**2, 0.0))


def _age_drift(made: Change, patient: Mapping) -> float:
    """How far the middle of a smooth age reference moves between the days; 0 without one."""
    if patient["age_years"] is None or made.site == "" or math.isnan(made.second):
        return 0.0
    later = patient["age_years"] + made.days / DAYS_A_YEAR
    found = [
        expected(made.quantity, made.site, age, patient["sex"])
        for age in (patient["age_years"], later)
    ]
    if None in found or not all(one.distribution.smooth for one in found):
        return 0.0
    first, second = (one.distribution.value_at(50) for one in found)
    return second - first


def _with_holm(changes: list[Change]) -> list[Change]:
    """Mark the changes that stand among all that were compared."""
    tested = [n for n, one in enumerate(changes) if not math.isnan(one.p)]
    adjusted = holm([changes[n].p for n in tested])
    standing = {n for n, p in zip(tested, adjusted, strict=True) if p <= 0.05}
    return [replace(c, adjusted=n in standing) for n, c in enumerate(changes)]
