"""How often something is seen in normal people of an age: the only evidence there is for much of
what routine images show of children.

The facts are in Resources/References/findings_by_age.json. A frequency says how common a finding is
and nothing more: it has an interval, and neither a p-value nor a percentile is made of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from PDFFMapperLib.install.resources import resource_path

from MarrowAssessLib.catalogue.patient import check_age, parse_sex
from MarrowAssessLib.references.records import Record, ages_text, in_band, records_of, shown_end
from MarrowAssessLib.references.sites import match_site

UNUSUAL_PERCENT = 15.0
"""What fewer normal people show is called unusual; a convention of this software."""
UNCOMMON_PERCENT = 5.5
"""Upper end of the interval below which a finding is called uncommon."""


@dataclass(frozen=True)
class Frequency:
    """How often normal people of an age show a finding.

    Attributes:
        id: such as "F02".
        finding: in words.
        sites: where it was looked for.
        age_min, age_max: completed years; None without upper end.
        sex: "M", "F" or "both".
        k, n: counts as printed; None where the source prints a percentage alone.
        percent, interval: share with its exact 95 % interval (Clopper and Pearson 1934), %.
        interval_kind: what the interval counts.
        counted: "persons", "bones" or "sites".
        anywhere: seen anywhere in a region, so that one bone shows it at most as often.
        quantity, side, limit: the measured number that tells it ("above" or "at most" the limit);
            quantity is None where no number does.
        note: what to know, or None.
        by_eye: why no measured number tells it, None where one does.
    """

    id: str
    finding: str
    sites: tuple[str, ...]
    age_min: float
    age_max: float | None
    sex: str
    k: int | None
    n: int | None
    percent: float
    interval: tuple[float, float]
    interval_kind: str
    counted: str
    anywhere: bool
    quantity: str | None
    side: str | None
    limit: float | None
    records: tuple[Record, ...]
    note: str | None
    by_eye: str | None

    @property
    def scores(self) -> bool:
        """Whether it may say more than itself: read twice, not from memory."""
        return all(record.verified and record.evidence != "memory" for record in self.records)

    @property
    def text(self) -> str:
        """The finding and how many normal people show it, with the interval and counts."""
        low, high = self.interval
        counts = f", {self.k} of {self.n}" if self.n else ""
        return (
            f"{self.finding}: {self.percent:g} % of {self.people} ({low:.0f}-{high:.0f} %{counts})"
        )

    @property
    def people(self) -> str:
        """Whom it was counted in, such as "normal children of 5-15 years"."""
        if self.age_max is not None and self.age_max < 20:
            who = "boys" if self.sex == "M" else "girls" if self.sex == "F" else "children"
        else:
            who = {"M": "men", "F": "women"}.get(self.sex, "people")
        of = "" if self.counted == "persons" else f"{self.counted} of "
        if self.age_min == 0 and self.age_max == 0:
            return f"{of}normal {who} under 1 year"
        return f"{of}normal {who} of {ages_text(self.age_min, self.age_max)}"

    @property
    def shown_end(self) -> float:
        """Where its ages end in a picture, years."""
        return shown_end(self.age_min, self.age_max)

    def share(self, shown: bool) -> tuple[float, tuple[float, float]]:
        """Share of normal people who show the finding, or who do not, with its interval, %."""
        if shown:
            return self.percent, self.interval
        low, high = self.interval
        return 100 - self.percent, (100 - high, 100 - low)


@lru_cache(maxsize=1)
def all_frequencies() -> tuple[Frequency, ...]:
    """Every finding of the data, in its order."""
    path = resource_path("MarrowAssessLib", "References/findings_by_age.json")
    entries = json.loads(path.read_text(encoding="utf-8"))["findings"]
    return tuple(
        Frequency(
            **{
                **{k: v for k, v in entry.items() if k != "interval_percent"},
                "sites": tuple(entry["sites"]),
                "interval": tuple(entry["interval_percent"]),
                "records": records_of(entry),
            }
        )
        for entry in entries
    )


def frequencies(
    site: str,
    age_years: float,
    sex: str | None = None,
    quantity: str | None = None,
) -> list[Frequency]:
    """The findings that were counted at a site, age and sex.

    Args:
        site: as `anatomy.parse_site` reads it.
        age_years: of the patient.
        sex: "M", "F" or None; without it those of one sex do not apply.
        quantity: only those that this number tells; None for all.

    Raises:
        ValueError: impossible age or unknown sex.
    """
    age, sex = check_age(age_years), parse_sex(sex)
    return [
        one
        for one in all_frequencies()
        if (quantity is None or one.quantity == quantity)
        and in_band({"age_min": one.age_min, "age_max": one.age_max}, age)
        and one.sex in ("both", sex)
        and any(match_site(known, site) for known in one.sites)
    ]
