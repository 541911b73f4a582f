"""Distributions of a quantity: those of the literature and those of the user's own cohorts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

from MarrowAssessLib.references.age_fit import from_power_scale, to_power_scale
from MarrowAssessLib.references.control_cohort import CohortCurve, ControlCohort, stored_cohorts
from MarrowAssessLib.references.records import Record, ages_text, data, records_of

SCORING_EVIDENCE = ("page", "seed", "derived", "own cohort")
Z_LIMIT = 1.96
"""|z| beyond which a value lies outside the expected 95 % range."""
WELL_SIZED_COHORT = 120
"""Controls that CLSI EP28-A3c asks for a reference interval."""

_NORMAL = NormalDist()
_POWER_WORDS = {0.0: "the logarithm", 0.5: "the square root"}


@dataclass(frozen=True)
class Distribution:
    """How a quantity is distributed in one source.

    Values are normal on a power scale: `power` 1 is the value itself, 0 its logarithm, 0.5 its
    square root; `location` and `scale` are mean and SD on that scale. `mean` and `sd` are those
    of the plain value as published (of a fitted cohort: the median and half the 16-84 % range).
    `age_min` to `age_max` are completed years, `age_max` None where the source sets no upper end.
    `n` is None where the source does not say.
    """

    quantity: str
    site: str
    sex: str
    age_min: float
    age_max: float | None
    n: int | None
    mean: float
    sd: float
    power: float
    location: float
    scale: float
    population: str
    cohort: str
    records: tuple[Record, ...]
    cautions: tuple[str, ...]

    @property
    def source(self) -> str:
        """Short name of the source."""
        return self.records[0].source

    @property
    def evidence(self) -> str:
        """Evidence of its records."""
        return self.records[0].evidence

    @property
    def verified(self) -> bool:
        """Whether every record was read a second time."""
        return all(record.verified for record in self.records)

    @property
    def ages(self) -> str:
        """The age band, as "20-29 years"."""
        return ages_text(self.age_min, self.age_max)

    def z_score(self, value: float) -> float:
        """SDs above the mean, on the scale where the values are normal; NaN stays NaN."""
        return (to_power_scale(value, self.power) - self.location) / self.scale

    def percentile(self, value: float) -> float:
        """Percentile (0-100) of a value, by the normal distribution of its scale."""
        z = self.z_score(value)
        return math.nan if math.isnan(z) else 100 * 0.5 * math.erfc(-z / math.sqrt(2))

    def value_at(self, percentile: float) -> float:
        """The value at a percentile (0-100, ends excluded)."""
        scaled = self.location + self.scale * _NORMAL.inv_cdf(percentile / 100)
        return from_power_scale(scaled, self.power)

    @property
    def expected_range(self) -> tuple[float, float]:
        """The central 95 %: location -+ 1.96 scale, back on the scale of the value."""
        spread = Z_LIMIT * self.scale
        return from_power_scale(self.location - spread, self.power), from_power_scale(
            self.location + spread, self.power
        )

    def verdict(self, value: float) -> str:
        """'below', 'within' or 'above' the expected range; empty for NaN."""
        z = self.z_score(value)
        if math.isnan(z):
            return ""
        return "below" if z < -Z_LIMIT else "above" if z > Z_LIMIT else "within"

    def has_age(self, age_years: float) -> bool:
        """Whether the source covers an age; bands of publications are completed years."""
        if self.evidence == "own cohort":
            return self.age_min <= age_years <= self.age_max
        return self.age_min <= age_years and (self.age_max is None or age_years < self.age_max + 1)


def all_distributions(quantity: str, age: float | None = None) -> list[Distribution]:
    """Own cohorts (at an age, else at their youngest) and published distributions."""
    own = [
        _own_distribution(cohort, curve, age)
        for cohort in stored_cohorts()
        for curve in cohort.curves
        if curve.quantity == quantity
    ]
    return [*own, *published().get(quantity, ())]


def _own_distribution(cohort: ControlCohort, part: CohortCurve, age: float | None) -> Distribution:
    curve = part.curve
    within = min(max(curve.age_min if age is None else age, curve.age_min), curve.age_max)
    location, scale = curve.at(within)
    low, middle, high = (from_power_scale(location + k * scale, curve.power) for k in (-1, 0, 1))
    name = f"control cohort '{cohort.name}'"
    cautions = []
    if curve.n < WELL_SIZED_COHORT:
        cautions.append(
            f"{curve.n} controls; {WELL_SIZED_COHORT} are recommended for a reference interval "
            "(CLSI EP28-A3c)."
        )
    if curve.power != 1:
        cautions.append(f"Skewed: a normal shape of {_POWER_WORDS[curve.power]} is assumed.")
    record = Record(
        f"cohort:{cohort.name}", name, f"{name}, from {cohort.origin}", None, "own cohort", True
    )
    return Distribution(
        quantity=part.quantity,
        site=part.site,
        sex=part.sex,
        age_min=curve.age_min,
        age_max=curve.age_max,
        n=curve.n,
        mean=middle,
        sd=(high - low) / 2,
        power=curve.power,
        location=location,
        scale=scale,
        population=f"{curve.n} controls of the user",
        cohort=name,
        records=(record,),
        cautions=tuple(cautions),
    )


@lru_cache(maxsize=1)
def published() -> dict[str, tuple[Distribution, ...]]:
    """The built-in distributions by quantity."""
    by_quantity: dict[str, list[Distribution]] = {}
    for entry in data()["norms"]:
        records = records_of(entry)
        mean, sd = entry["mean"], entry["sd"]
        if entry["distribution"] == "lognormal":
            # Moments of the logarithm from those of the value.
            scale = math.sqrt(math.log1p((sd / mean) ** 2))
            power, location = 0.0, math.log(mean) - scale**2 / 2
        else:
            power, location, scale = 1.0, mean, sd
        skewed = "Skewed: a log-normal shape is assumed." if power == 0 else None
        by_quantity.setdefault(entry["quantity"], []).append(
            Distribution(
                quantity=entry["quantity"],
                site=entry["site"],
                sex=entry["sex"],
                age_min=entry["age_min"],
                age_max=entry["age_max"],
                n=entry["n"],
                mean=mean,
                sd=sd,
                power=power,
                location=location,
                scale=scale,
                population=entry["population"],
                cohort=data()["sources"][data()["records"][records[0].id]["source"]]["cohort"],
                records=records,
                cautions=tuple(
                    text for text in (entry["caution"], entry["age_note"], skewed) if text
                ),
            )
        )
    return {quantity: tuple(found) for quantity, found in by_quantity.items()}
