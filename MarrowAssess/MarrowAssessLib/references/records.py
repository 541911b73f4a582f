"""The reference data file: its records and their sources."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from PDFFMapperLib.install.resources import resource_path

OPEN_END_YEARS = 30  # how far a band without upper end is drawn


@dataclass(frozen=True)
class Record:
    """One fact's origin.

    Attributes:
        id: its name in the literature table, or "cohort:<name>".
        source: short name, as "Baum 2018".
        citation: the full reference.
        doi: digital object identifier, None where unknown.
        evidence: "page", "seed", "derived", "memory" or "own cohort".
        verified: the source was read a second time and agreed.
    """

    id: str
    source: str
    citation: str
    doi: str | None
    evidence: str
    verified: bool

    @property
    def reading(self) -> str:
        """What stands behind it, in words."""
        if self.evidence == "own cohort":
            return "own control cohort"
        if self.evidence == "memory":
            return "unverified"
        if self.evidence == "derived":
            return "derived from values read twice" if self.verified else "derived"
        return f"{self.evidence}, {'read twice' if self.verified else 'read once'}"


@lru_cache(maxsize=1)
def data() -> dict:
    """The content of Resources/References/references.json; see its schema."""
    path = resource_path("MarrowAssessLib", "References/references.json")
    return json.loads(path.read_text(encoding="utf-8"))


def _record(name: str) -> Record:
    entry = data()["records"][name]
    source = data()["sources"][entry["source"]]
    return Record(
        name,
        source["name"],
        source["citation"],
        source["doi"],
        entry["evidence"],
        entry["verified"],
    )


def fat_spectrum_of(record: Record) -> str | None:
    """The fat spectrum (see water_fat.spectra) that a source fitted; None where it is not known."""
    entry = data()["records"].get(record.id)
    return data()["sources"][entry["source"]].get("fat_spectrum") if entry else None


def records_of(entry: dict) -> tuple[Record, ...]:
    """The records that an entry of the data names."""
    return tuple(_record(name) for name in entry["records"])


def in_band(entry: dict, age: float | None) -> bool:
    """Whether an entry holds at an age; ends are completed years, an unknown age always fits."""
    if age is None:
        return True
    low, high = entry["age_min"], entry["age_max"]
    return (low is None or low <= age) and (high is None or age < high + 1)


def shown_end(low: float, high: float | None) -> float:
    """Where a band of completed years ends in a picture: an open one after 30 years."""
    return low + OPEN_END_YEARS if high is None else high + 1


def ages_text(low: float | None, high: float | None) -> str:
    """An age band in words."""
    if low is None and high is None:
        return "age range not stated"
    if low is None:
        return f"up to {high:g} years"
    if high is None:
        return f"{low:g} years and older"
    return f"{low:g}-{high:g} years" if high > 0 else "under 1 year"
