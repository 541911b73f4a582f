"""Visits of one person compared: changes, trends, and what to beware of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.follow_up.change import Change
from MarrowAssessLib.follow_up.changes import Comparing, follow_up
from MarrowAssessLib.follow_up.course import Course, Place
from MarrowAssessLib.follow_up.errors import MeasurementError
from MarrowAssessLib.follow_up.trends import trends
from MarrowAssessLib.follow_up.visits import differences, mismatch, unchecked

LOW_PDFF = 10.0  # %


def course(
    visits: Sequence[Mapping],
    days: Sequence[float],
    repeatability: Mapping[str, MeasurementError] | None = None,
    how: Comparing | None = None,
) -> Course:
    """Compare visits; the arguments are those of `changes.follow_up`.

    Raises:
        ValueError: see `changes.follow_up`, or the visits have nothing in common.
    """
    how = how or Comparing()
    changes = follow_up(visits, days, repeatability, how)
    if not changes:
        raise ValueError("The visits have no quantity at one site in common.")
    people = [visit["patient"] for visit in visits]
    sexes = {one["sex"] for one in people if one["sex"]}
    return Course(
        tuple(days),
        tuple(one["age_years"] for one in people),
        sexes.pop() if len(sexes) == 1 else None,
        changes,
        trends(changes),
        _expected(visits, days, changes),
        tuple(sorted(how.therapies, key=lambda one: one.day)),
        _cautions(visits, days, changes),
    )


def _expected(
    visits: Sequence[Mapping], days: Sequence[float], changes: Sequence[Change]
) -> dict[Place, dict[float, tuple[float, float]]]:
    places = {(one.quantity, one.site): one.place for one in changes}
    found: dict[Place, dict[float, tuple[float, float]]] = {}
    for visit, day in zip(visits, days, strict=True):
        for one in visit["measurements"]:
            expected, place = one.get("expected"), places.get((one["quantity"], one["site"]))
            if expected and place:
                found.setdefault(place, {})[day] = tuple(expected["range95"])
    return found


def _cautions(
    visits: Sequence[Mapping], days: Sequence[float], changes: Sequence[Change]
) -> list[str]:
    cautions = []
    if wrong := mismatch(visits, days):
        cautions.append(
            f"{wrong[0].upper()}{wrong[1:]} does not fit one person; compared because it was said "
            "to be one."
        )
    if told := unchecked(visits):
        cautions.append(told)
    for visit, day in zip(visits[1:], days[1:], strict=True):
        by_difference: dict[str, list[str]] = {}
        for quantity in dict.fromkeys(one.quantity for one in changes):
            differs, _ = differences(visits[0], visit, quantity)
            if differs:
                by_difference.setdefault(differs, []).append(QUANTITIES[quantity].name)
        for differs, names in by_difference.items():
            cautions.append(f"Acquired otherwise on day {day:g}: {differs}; of {', '.join(names)}.")
    low = [one for one in changes if one.changed and max(one.first, one.second) < LOW_PDFF]
    if any(one.quantity == "marrow_pdff" and one.error.records for one in low):
        cautions.append(
            f"Marrow PDFF below {LOW_PDFF:g} %: the published error is a share of the value, found "
            "in fatty lumbar marrow; so far below it that share is too small an error."
        )
    if any(one.changed and one.error.records and one.quantity == "marrow_hap" for one in changes):
        cautions.append(
            "Bone mineral of marrow: the published error is that of a spine phantom; patients, who "
            "are laid down again, differ more."
        )
    here = {(one.quantity, one.site) for one in changes}
    gone = [one for one in visits[0]["measurements"] if (one["quantity"], one["site"]) not in here]
    if gone:
        cautions.append(f"{len(gone)} numbers of the first visit are in no later one.")
    return cautions
