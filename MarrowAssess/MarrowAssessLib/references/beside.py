"""What is known beside an expected range: cut-offs, and values that do not score.

Records from memory, read once, without an age range or of selected patients are context: shown
beside the value, never scoring it. Cut-offs are shown with their accuracy and never become a
verdict.
"""

from __future__ import annotations

from dataclasses import dataclass

from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.references.question import Question
from MarrowAssessLib.references.records import Record, ages_text, data, in_band, records_of
from MarrowAssessLib.references.sites import match_site

CONTEXT_YEARS = 15
_OTHER_TECHNIQUES = {
    "marrow_pdff": ("marrow_fat_signal_fraction", "marrow_mrs_fat", "marrow_water_fraction"),
    "mrs_pdff": ("marrow_mrs_fat",),
    "mrs_signal_fat_fraction": ("marrow_mrs_fat",),
    "muscle_pdff": ("muscle_fat_signal_fraction",),
}


@dataclass(frozen=True)
class Threshold:
    """A published cut-off: shown beside a value, never a verdict.

    `applies_to` is "marrow" or what it was found for ("lesion", "fracture"), where crossing it
    says nothing about other marrow.
    """

    quantity: str
    applies_to: str
    side: str
    value: float
    meaning: str
    accuracy: str | None
    caution: str | None
    records: tuple[Record, ...]

    def crossed(self, value: float) -> bool:
        """Whether the value lies on the side that the cut-off names."""
        tests = {
            "above": value > self.value,
            "below": value < self.value,
            "at or below": value <= self.value,
        }
        return tests[self.side]


@dataclass(frozen=True)
class ContextValue:
    """A published value that does not score, and why not."""

    quantity: str
    site: str
    sex: str
    ages: str
    healthy: bool
    n: int | None
    value: str
    population: str
    why_not: str
    record: Record
    of_known_age: bool


def thresholds(
    quantity: str, site: str = "", age_years: float | None = None, sex: str | None = None
) -> list[Threshold]:
    """Published cut-offs that may be read beside a value; see the cautions of each."""
    query = Question(quantity, site, age_years, sex)
    return [
        Threshold(
            quantity,
            entry["applies_to"],
            entry["side"],
            entry["value"],
            entry["meaning"],
            entry["accuracy"],
            entry["caution"] or (entry.get("without_age") if query.age is None else None),
            records_of(entry),
        )
        for entry in data()["thresholds"]
        if entry["quantity"] == quantity
        and (not entry["site"] or match_site(entry["site"], query.site))
        and (entry["sex"] == "both" or query.sex in (None, entry["sex"]))
        and in_band(entry, query.age)
    ]


def context_values(
    quantity: str,
    site: str = "",
    age_years: float | None = None,
    sex: str | None = None,
    other_techniques: bool = False,
) -> list[ContextValue]:
    """Published values that do not score: unverified, without age range, selected groups.

    With `other_techniques` also healthy groups measured by techniques that give something similar
    but not the same (spectroscopy or signal fat fraction beside PDFF). Groups whose mean age is
    more than CONTEXT_YEARS away are left out.
    """
    query = Question(quantity, site, age_years, sex)
    others = _OTHER_TECHNIQUES.get(quantity, ()) if other_techniques else ()
    found = []
    for entry in data()["context"] + _published_as_context(others):
        if entry["quantity"] != quantity and not (entry["quantity"] in others and entry["healthy"]):
            continue
        if entry["site"] and query.site and not match_site(entry["site"], query.site):
            continue
        if not in_band(entry, query.age) or entry["sex"] not in (
            "both",
            query.sex or entry["sex"],
        ):
            continue
        mean_age, age = entry["mean_age"], query.age
        if mean_age is not None and age is not None and abs(mean_age - age) > CONTEXT_YEARS:
            continue
        ages = ages_text(entry["age_min"], entry["age_max"])
        if entry["age_min"] is None and entry["age_max"] is None and mean_age is not None:
            ages = f"mean age {mean_age:g} years"
        found.append(
            ContextValue(
                entry["quantity"],
                entry["site"],
                entry["sex"],
                ages,
                entry["healthy"],
                entry["n"],
                entry["value"],
                entry["population"],
                entry["why_not"],
                records_of(entry)[0],
                entry["age_min"] is not None or mean_age is not None,
            )
        )
    return found


def _published_as_context(quantities: tuple[str, ...]) -> list[dict]:
    """Distributions of other techniques, in the form of context entries."""
    return [
        {
            **entry,
            "value": f"{entry['mean']:g} ± {entry['sd']:g} {QUANTITIES[entry['quantity']].unit}",
            "why_not": "another technique",
            "healthy": True,
            "mean_age": None,
        }
        for entry in data()["norms"]
        if entry["quantity"] in quantities
    ]
