"""What the reference holds, as one table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.references.distributions import Distribution, all_distributions
from MarrowAssessLib.references.findings_by_age import all_frequencies
from MarrowAssessLib.references.modelled import FIRST_AGE_YEARS, PREDICTED
from MarrowAssessLib.references.records import Record, ages_text, data, records_of
from MarrowAssessLib.references.repeatability import repeatability


class Known(NamedTuple):
    """One line: what is known of a quantity, of which ages and sites, from whom."""

    quantity: str
    what: str
    ages: str
    sites: str
    n: str
    sources: str


def overview() -> list[Known]:
    """Scoring references, frequencies, cut-offs, model and repeatability of every quantity."""
    rows: list[Known] = []
    for key, quantity in QUANTITIES.items():
        scoring = all_distributions(key)
        if scoring:
            rows.append(_scoring(quantity.name, scoring))
        counted = [one for one in all_frequencies() if one.quantity == key and one.scores]
        if counted:
            ages = _listed(ages_text(one.age_min, one.age_max) for one in counted)
            sites = _listed(site for one in counted for site in one.sites)
            names = _names(record for one in counted for record in one.records)
            rows.append(Known(quantity.name, "frequency", ages, sites, "", names))
        rules = [t for t in data()["thresholds"] if t["quantity"] == key]
        if rules:
            ages = _span((rule["age_min"], rule["age_max"]) for rule in rules)
            names = _names(r for rule in rules for r in records_of(rule))
            rows.append(Known(quantity.name, "cut-off", ages, "", "", names))
        if key in PREDICTED:
            ages = ages_text(FIRST_AGE_YEARS, None)
            rows.append(Known(quantity.name, "modelled", ages, "lumbar", "", "signal equations"))
        if known := repeatability(key):
            rows.append(
                Known(quantity.name, "repeats", "", "", str(known.n), _names(known.records))
            )
    return rows


def _scoring(name: str, found: list[Distribution]) -> Known:
    sizes = sorted({one.n for one in found if one.n})
    n = f"{sizes[0]}-{sizes[-1]}" if len(sizes) > 1 else str(sizes[0]) if sizes else "unknown"
    return Known(
        name,
        "scores",
        _span((one.age_min, one.age_max) for one in found),
        _listed(one.site for one in found),
        n,
        _names(record for one in found for record in one.records),
    )


def _span(bands: Iterable[tuple[float | None, float | None]]) -> str:
    lows, highs = zip(*bands, strict=True)
    low = None if None in lows else min(lows)
    return ages_text(low, None if None in highs else max(highs))


def _names(records: Iterable[Record]) -> str:
    return _listed(record.source for record in records)


def _listed(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(word for word in words if word))
