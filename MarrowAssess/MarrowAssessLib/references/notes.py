"""Trends, cautions and facts about quantities, which hold at some ages and sites."""

from __future__ import annotations

from dataclasses import dataclass

from MarrowAssessLib.references.records import Record, data, in_band, records_of
from MarrowAssessLib.references.sites import match_site, parse_reference_site


@dataclass(frozen=True)
class Note:
    """A trend, caution or fact about a quantity; `of_age` where it holds at some ages only."""

    kind: str
    text: str
    records: tuple[Record, ...]
    of_age: bool = False


def notes_on(quantity: str, age_years: float | None = None, site: str = "") -> list[Note]:
    """Trends, cautions and facts about a quantity that hold at an age and site."""
    at = parse_reference_site(site)
    return [
        Note(
            entry["kind"],
            entry["text"],
            records_of(entry),
            (entry["age_min"], entry["age_max"]) != (None, None),
        )
        for entry in data()["notes"]
        if quantity in entry["quantities"]
        and in_band(entry, age_years)
        and (not entry["site"] or not at or match_site(entry["site"], at))
    ]
