"""What marrow looks like at an age: T1 against disc, and red-to-yellow conversion by site."""

from __future__ import annotations

from dataclasses import dataclass

from MarrowAssessLib.catalogue.patient import check_age
from MarrowAssessLib.references.records import Record, data, records_of
from MarrowAssessLib.references.sites import match_site, parse_reference_site


@dataclass(frozen=True)
class T1DiscPattern:
    """Vertebra against disc on T1 at an age.

    `expected` is "darker", "darker or equal", "slightly brighter" or "brighter"; `rule_holds` is
    False where "darker than disc or muscle means infiltration" must not be used.
    """

    expected: str
    text: str
    rule_holds: bool
    records: tuple[Record, ...]


@dataclass(frozen=True)
class MarrowConversion:
    """Marrow expected at a site and age: "red", "converting" or "yellow"."""

    site: str
    marrow: str
    text: str
    records: tuple[Record, ...]


def t1_disc_pattern(age_years: float) -> T1DiscPattern:
    """Vertebra against disc on T1: darker at birth, equal at 7 months, brighter from 5 years.

    Raises:
        ValueError: an impossible age.
    """
    age = check_age(age_years)
    entry = next(
        e for e in data()["t1_disc"] if e["age_max"] is None or e["age_min"] <= age < e["age_max"]
    )
    return T1DiscPattern(entry["expected"], entry["text"], entry["rule_holds"], records_of(entry))


def marrow_conversion(site: str, age_years: float) -> MarrowConversion | None:
    """Red, converting or yellow marrow at a site and age; None where no source says.

    Raises:
        ValueError: unknown site or impossible age.
    """
    age = check_age(age_years)
    bare = parse_reference_site(site)
    for entry in data()["conversion"]:
        if any(match_site(known, bare) for known in entry["sites"]):
            step = [s for s in entry["steps"] if s["from_age"] <= age][-1]
            return MarrowConversion(bare, step["marrow"], entry["text"], records_of(entry))
    return None
