"""What changed since one earlier visit, for where the day of either is not known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from MarrowAssessLib.follow_up.change import Change
from MarrowAssessLib.follow_up.changes import follow_up
from MarrowAssessLib.follow_up.visits import DAYS_A_YEAR, read_visit


def changes_since(earlier: Mapping, now: Mapping) -> list[Change]:
    """Each number beside an earlier visit's.

    Days are taken from the ages, and are 1 where those do not tell them.

    Args:
        earlier, now: assessments as in assessment.json.

    Raises:
        ValueError: the visits are of different persons, or have nothing in common.
    """
    ages = [visit["patient"]["age_years"] for visit in (earlier, now)]
    days = 1.0
    if None not in ages:
        days = max(1.0, (ages[1] - ages[0]) * DAYS_A_YEAR)
    changes = follow_up([earlier, now], [0.0, days])
    if not changes:
        raise ValueError("The earlier visit has no quantity at one site in common with this one.")
    return changes


def earlier_visit(path: str | Path) -> dict:
    """An earlier visit's assessment.json.

    Raises:
        ValueError: there is no such file, or it is none.
    """
    try:
        return read_visit(Path(path))
    except OSError as error:
        raise ValueError(
            f"The earlier visit '{Path(path).name}' cannot be read; choose its assessment.json."
        ) from error
