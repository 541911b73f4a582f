"""Distributions of a quantity: those of the literature and those of the user's own cohorts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from MarrowAssessLib.references.age_fit import from_power_scale, to_power_scale
from MarrowAssessLib.references.control_cohort import CohortCurve, ControlCohort, stored_cohorts
from MarrowAssessLib.references.group_curve import AgeGroup, GroupCurve, fit_group_curves
from MarrowAssessLib.references.limits import (
    limit_interval,
    normal_share,
    prediction_t,
    prediction_z,
)
from MarrowAssessLib.references.records import (
    Record,
    ages_text,
    data,
    records_of,
    shown_end,
)

Z_LIMIT = 1.96
"""|z| beyond which a value lies outside the expected 95 % range."""
OUTSIDE_SHARE = 0.025
WELL_SIZED_COHORT = 120
"""Controls that CLSI EP28-A3c asks for a reference interval."""
_POWER_WORDS = {0.0: "the logarithm", 0.5: "the square root"}


@dataclass(frozen=True)
class Distribution:
    """How a quantity is distributed in one source.

    Values are normal on a power scale: `power` 1 is the value itself, 0 its logarithm, 0.5 its
    square root; `location` and `scale` are mean and SD on that scale. `mean` and `sd` are those
    of the plain value as published (of a fitted cohort: the median and half the 16-84 % range).
    `age_min` to `age_max` are completed years, `age_max` None where the source sets no upper end.
    `n` is None where the source does not say.

    `dof` are the degrees of freedom of `scale`, None where the group's size is not known (then
    limits are mean -+ 1.96 SD, too narrow if the group is small); `mean_variance` is the variance
    of `location` over that of a person, 1/n of a plain group. `field_strength_t` is set where the
    values are of one field strength; `smooth` marks a curve over age in place of a band.
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
    dof: float | None = None
    mean_variance: float = 0.0
    field_strength_t: float | None = None
    smooth: bool = False

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

    @property
    def shown_end(self) -> float:
        """Where its band or curve ends in a picture, years; own controls know exact ages."""
        own = self.evidence == "own cohort" and self.age_max is not None
        return self.age_max if own else shown_end(self.age_min, self.age_max)

    def z_score(self, value: float) -> float:
        """Normal score of a new person's value; NaN stays NaN.

        It counts the uncertainty of the group's mean and SD, so that 5 % of new normal people lie
        beyond -+ 1.96 whatever the group's size.
        """
        away = (to_power_scale(value, self.power) - self.location) / self._person_sd
        return prediction_z(away, self.dof)

    @property
    def _person_sd(self) -> float:
        """Of a new person about the estimated mean, on the power scale."""
        return self.scale * math.sqrt(1 + self.mean_variance)

    def percentile(self, value: float) -> float:
        """Percentile (0-100) of a value among new people."""
        z = self.z_score(value)
        return math.nan if math.isnan(z) else 100 * normal_share(z)

    def value_at(self, percentile: float) -> float:
        """The value at a percentile (0-100, ends excluded) of new people."""
        away = prediction_t(percentile / 100, self.dof)
        return from_power_scale(self.location + self._person_sd * away, self.power)

    @property
    def expected_range(self) -> tuple[float, float]:
        """Where 95 % of new normal people lie: location -+ t(n - 1) scale sqrt(1 + 1/n)."""
        return self.value_at(100 * OUTSIDE_SHARE), self.value_at(100 * (1 - OUTSIDE_SHARE))

    @property
    def limit_intervals(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Where the population's own 2.5 and 97.5 % lie (95 % each); None if n is not known."""
        if self.dof is None:
            return None
        ends = []
        for share in (OUTSIDE_SHARE, 1 - OUTSIDE_SHARE):
            low, high = limit_interval(share, self.dof, self.mean_variance)
            ends.append(
                tuple(
                    from_power_scale(self.location + k * self.scale, self.power)
                    for k in (low, high)
                )
            )
        return ends[0], ends[1]

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
    """Own cohorts and curves (at an age, else at their youngest), and published groups."""
    own = [
        _own_distribution(cohort, curve, age)
        for cohort in stored_cohorts()
        for curve in cohort.curves
        if curve.quantity == quantity
    ]
    curves = [
        _curve_distribution(entry, sex, curve, age)
        for entry, sexes in _group_curves()
        if entry["quantity"] == quantity
        for sex, curve in sexes.items()
    ]
    return [*own, *curves, *published().get(quantity, ())]


@lru_cache(maxsize=1)
def _group_curves() -> tuple[tuple[dict, dict[str, GroupCurve]], ...]:
    """The curves through published groups, with the data entry that names the groups."""
    found = []
    for entry in data()["curves"]:
        sexes = {sex: tuple(map(age_group, names)) for sex, names in entry["sexes"].items()}
        curves = fit_group_curves(tuple(sexes.values()))
        found.append((entry, dict(zip(sexes, curves, strict=True))))
    return tuple(found)


def age_group(record: str) -> AgeGroup:
    """The group of ages that a record prints."""
    norm = next(norm for norm in data()["norms"] if record in norm["records"])
    return AgeGroup(norm["age_min"], norm["age_max"] + 1, norm["n"], norm["mean"], norm["sd"])


def _curve_distribution(
    entry: dict, sex: str, curve: GroupCurve, age: float | None
) -> Distribution:
    within = curve.start if age is None else min(max(age, curve.start), curve.stop - 1e-6)
    mean, mean_sd = curve.at(within)
    records = records_of({"records": entry["sexes"][sex]})
    return Distribution(
        quantity=entry["quantity"],
        site=entry["site"],
        sex=sex,
        age_min=entry["age_min"],
        age_max=entry["age_max"],
        n=curve.dof + 2 * len(entry["sexes"][sex]),
        mean=mean,
        sd=curve.sd,
        power=1.0,
        location=mean,
        scale=curve.sd,
        population=entry["population"],
        cohort=data()["sources"][data()["records"][records[0].id]["source"]]["cohort"],
        records=records,
        cautions=("A curve fitted to groups of ages of one center; the bands stand beside it.",),
        dof=curve.dof,
        mean_variance=(mean_sd / curve.sd) ** 2,
        smooth=True,
    )


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
        dof=curve.n - len(curve.mean_coefficients),
        mean_variance=len(curve.mean_coefficients) / curve.n,
        smooth=True,
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
        n = entry["n"]
        size = None if n else "Group size not stated: the limits, mean ± 1.96 SD, may be narrow."
        by_quantity.setdefault(entry["quantity"], []).append(
            Distribution(
                quantity=entry["quantity"],
                site=entry["site"],
                sex=entry["sex"],
                age_min=entry["age_min"],
                age_max=entry["age_max"],
                n=n,
                mean=mean,
                sd=sd,
                power=power,
                location=location,
                scale=scale,
                population=entry["population"],
                cohort=data()["sources"][data()["records"][records[0].id]["source"]]["cohort"],
                records=records,
                cautions=tuple(
                    text for text in (entry["caution"], entry["age_note"], skewed, size) if text
                ),
                dof=n - 1 if n else None,
                mean_variance=1 / n if n else 0.0,
                field_strength_t=entry["field_strength_t"],
            )
        )
    return {quantity: tuple(found) for quantity, found in by_quantity.items()}
