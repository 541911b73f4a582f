"""What is expected at an age: published distributions, cut-offs and patterns, with their sources.

The facts are in Resources/References/references.json; each names the records it comes from. Only
records that were read on a page ("page"), stand in the founding reviews ("seed") or follow from
those by arithmetic ("derived"), and whose source was read a second time, are distributions that
score a value. Records from memory, read once, without an age range or of selected patients are
context: shown beside the value, never scoring it. Cut-offs are shown with their accuracy and never
become a verdict.

How `expected` chooses where several distributions apply, in this order:
1. the user's own control cohort;
2. an age band of at most 40 years before one that spans adult life;
3. the most specific site (see `match_site`);
4. the patient's sex before both sexes together;
5. evidence: read before derived;
6. the larger group.
The other sources stay beside it; nothing is averaged, and no age outside a source's band is
answered.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from PDFFMapperLib.resources import resource_path

from MarrowAssessLib.age_fit import from_power_scale, to_power_scale
from MarrowAssessLib.anatomy import SPINE_REGIONS, VERTEBRAE, parse_site
from MarrowAssessLib.control_cohort import (
    SITE_IN_DEFINITION,
    CohortCurve,
    ControlCohort,
    check_age,
    parse_sex,
    stored_cohorts,
)
from MarrowAssessLib.quantities import QUANTITIES

SCORING_EVIDENCE = ("page", "seed", "derived", "own cohort")
PERCENTILES = (3, 10, 50, 90, 97)
Z_LIMIT = 1.96
"""|z| beyond which a value lies outside the expected 95 % range."""
WIDE_BAND_YEARS = 40
CONTEXT_YEARS = 15
WELL_SIZED_COHORT = 120
"""Controls that CLSI EP28-A3c asks for a reference interval."""

_NORMAL = NormalDist()
_LEVELS = {
    **{
        name: tuple(v for v in VERTEBRAE if v[0] == letter and v != "L6")
        for letter, name in SPINE_REGIONS.items()
    },
    "spine": tuple(v for v in VERTEBRAE if v != "L6"),
}
_OTHER_TECHNIQUES = {
    "marrow_pdff": ("marrow_fat_signal_fraction", "marrow_mrs_fat", "marrow_water_fraction"),
    "muscle_pdff": ("muscle_fat_signal_fraction",),
}


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


@dataclass(frozen=True)
class Distribution:
    """How a quantity is distributed in one source.

    Values are normal on a power scale: `power` 1 is the value itself, 0 its logarithm, 0.5 its
    square root; `location` and `scale` are mean and SD on that scale. `mean` and `sd` are those
    of the plain value as published (of a fitted cohort: the median and half the 16-84 % range).
    `age_min` to `age_max` are completed years, `age_max` None where the source sets no upper end.
    `site_note` says how the source's site was matched; `n` is None where the source does not say.
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
    site_note: str
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
        return _ages_text(self.age_min, self.age_max)

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


@dataclass(frozen=True)
class Expectation:
    """What is expected of a quantity at a site, age and sex.

    Attributes:
        distribution: the one that scores (see the module's rule).
        others: other sources that apply, kept beside it.
        cautions: what the reader must know, the distribution's own first.
    """

    quantity: str
    site: str
    age_years: float
    sex: str | None
    distribution: Distribution
    others: tuple[Distribution, ...]
    cautions: tuple[str, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        """The records behind the scoring distribution."""
        return self.distribution.records

    @property
    def expected_range(self) -> tuple[float, float]:
        """The central 95 % of the scoring distribution."""
        return self.distribution.expected_range

    def z_score(self, value: float) -> float:
        """SDs above what is expected."""
        return self.distribution.z_score(value)

    def percentile(self, value: float) -> float:
        """Percentile (0-100) of a value."""
        return self.distribution.percentile(value)

    def verdict(self, value: float) -> str:
        """ "below", "within" or "above" the expected range; "" for NaN."""
        return _verdict(self.distribution, value)

    def dissenting(self, value: float) -> tuple[Distribution, ...]:
        """The other sources that would give another verdict."""
        return tuple(d for d in self.others if _verdict(d, value) != self.verdict(value))

    @property
    def spread(self) -> str:
        """How far the sources differ, in words."""
        if not self.others:
            return "one source"
        quantity = QUANTITIES[self.quantity]
        all_of_them = (self.distribution, *self.others)
        means = [d.mean for d in all_of_them]
        gap = max(means) - min(means)
        listed = "; ".join(
            f"{d.source} {d.mean:.{quantity.digits}f} ± {d.sd:.{quantity.digits}f}"
            for d in all_of_them
        )
        return (
            f"{len(means)} sources ({listed}): means differ by {quantity.format(gap)}, "
            f"{gap / self.distribution.sd:.1f} SD of the one used"
        )


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


@dataclass(frozen=True)
class Note:
    """A trend, caution or fact about a quantity."""

    kind: str
    text: str
    records: tuple[Record, ...]


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


@dataclass(frozen=True)
class AgeCurve:
    """Percentiles over age, for a plot.

    Attributes:
        ages_years: shape (n,), increasing; a band's two ends are two points.
        percentiles: shape (5, n), the values at PERCENTILES; NaN separates bands with a gap.
        sources: short names of the sources, in the order of age.
    """

    ages_years: np.ndarray
    percentiles: np.ndarray
    sources: tuple[str, ...]


def expected(
    quantity: str, site: str, age_years: float | None, sex: str | None = None
) -> Expectation | None:
    """What is expected of a quantity; None where no reference applies.

    Args:
        quantity: a key of QUANTITIES.
        site: as `anatomy.parse_site` reads it; "" for quantities whose definition fixes it (VBQ).
        age_years: age in years; None if unknown (then nothing is expected).
        sex: "M", "F" or None; without it only distributions of both sexes together apply.

    Raises:
        ValueError: unknown quantity, site or sex, or an impossible age.
    """
    query = _Query(quantity, site, age_years, sex)
    applying = query.applying()
    if not applying:
        return None
    chosen, *rest = applying
    others, cohorts = [], {chosen.cohort}
    for one in rest:
        # The same people seen through a coarser group are no second opinion; measured again, yes.
        again = one.cohort == chosen.cohort and _group(one) == _group(chosen)
        if again or one.cohort not in cohorts:
            others.append(one)
            cohorts.add(one.cohort)
    notes = tuple(n.text for n in notes_on(quantity, query.age, query.site) if n.kind == "caution")
    return Expectation(
        quantity,
        query.site,
        query.age,
        query.sex,
        chosen,
        tuple(others),
        (*chosen.cautions, *notes),
    )


def no_reference_reason(
    quantity: str, site: str, age_years: float | None, sex: str | None = None
) -> str:
    """Why `expected` gives None, in one sentence; "" where it gives a reference."""
    query = _Query(quantity, site, age_years, sex)
    if query.applying():
        return ""
    name = QUANTITIES[quantity].name
    known = _all_distributions(quantity)
    if not known:
        return f"no reference: no published distribution of {name} is in the reference data"
    at_site = [d for d in known if match_site(d.site, query.site)]
    if not at_site:
        sites = ", ".join(dict.fromkeys(d.site for d in known))
        return f"no reference: {name} is covered at {sites}, not at {query.site or 'no named site'}"
    where = f" at {query.site}" if query.site else ""
    if query.age is None:
        return f"no reference: {name}{where} depends on age, and the age is not known"
    at_age = [d for d in at_site if _has_age(d, query.age)]
    if not at_age:
        return (
            f"no reference: {name}{where} covers {_covered_ages(at_site)}; this is "
            f"{query.age:g} years"
        )
    sexes = "; ".join(
        f"{_SEX_WORDS[d.sex]} {d.mean:g} ± {d.sd:g} ({d.source})"
        for d in sorted(at_age, key=lambda d: d.sex)
    )
    asked = f"not for {_SEX_WORDS[query.sex]}" if query.sex else "and the sex is not known"
    return f"no reference: {name}{where} is known for {sexes}, {asked}"


def thresholds(
    quantity: str, site: str = "", age_years: float | None = None, sex: str | None = None
) -> list[Threshold]:
    """Published cut-offs that may be read beside a value; see the cautions of each."""
    query = _Query(quantity, site, age_years, sex)
    return [
        Threshold(
            quantity,
            entry["applies_to"],
            entry["side"],
            entry["value"],
            entry["meaning"],
            entry["accuracy"],
            entry["caution"],
            _records(entry),
        )
        for entry in _data()["thresholds"]
        if entry["quantity"] == quantity
        and (not entry["site"] or match_site(entry["site"], query.site))
        and (entry["sex"] == "both" or query.sex in (None, entry["sex"]))
        and _in_band(entry, query.age)
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
    query = _Query(quantity, site, age_years, sex)
    others = _OTHER_TECHNIQUES.get(quantity, ()) if other_techniques else ()
    found = []
    for entry in _data()["context"] + _published_as_context(others):
        if entry["quantity"] != quantity and not (entry["quantity"] in others and entry["healthy"]):
            continue
        if entry["site"] and query.site and not match_site(entry["site"], query.site):
            continue
        if not _in_band(entry, query.age) or entry["sex"] not in (
            "both",
            query.sex or entry["sex"],
        ):
            continue
        mean_age, age = entry["mean_age"], query.age
        if mean_age is not None and age is not None and abs(mean_age - age) > CONTEXT_YEARS:
            continue
        ages = _ages_text(entry["age_min"], entry["age_max"])
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
                _records(entry)[0],
            )
        )
    return found


def notes_on(quantity: str, age_years: float | None = None, site: str = "") -> list[Note]:
    """Trends, cautions and facts about a quantity that hold at an age and site."""
    query = _Query(quantity, site, age_years, None)
    return [
        Note(entry["kind"], entry["text"], _records(entry))
        for entry in _data()["notes"]
        if quantity in entry["quantities"]
        and _in_band(entry, query.age)
        and (not entry["site"] or not query.site or match_site(entry["site"], query.site))
    ]


def t1_disc_pattern(age_years: float) -> T1DiscPattern:
    """Vertebra against disc on T1: darker at birth, equal at 7 months, brighter from 5 years.

    Raises:
        ValueError: an impossible age.
    """
    age = check_age(age_years)
    entry = next(
        e for e in _data()["t1_disc"] if e["age_max"] is None or e["age_min"] <= age < e["age_max"]
    )
    return T1DiscPattern(entry["expected"], entry["text"], entry["rule_holds"], _records(entry))


def marrow_conversion(site: str, age_years: float) -> MarrowConversion | None:
    """Red, converting or yellow marrow at a site and age; None where no source says.

    Raises:
        ValueError: unknown site or impossible age.
    """
    age = check_age(age_years)
    bare = _parse_site(site)
    for entry in _data()["conversion"]:
        if any(match_site(known, bare) for known in entry["sites"]):
            step = [s for s in entry["steps"] if s["from_age"] <= age][-1]
            return MarrowConversion(bare, step["marrow"], entry["text"], _records(entry))
    return None


def age_curve(quantity: str, site: str, sex: str | None = None) -> AgeCurve | None:
    """Percentiles over the ages that sources cover, None where none does.

    At each age it is the distribution that `expected` would use: flat within the age band of a
    publication (steps where bands meet; sources do not support more), smooth for a control cohort.
    A band without upper end is drawn for 30 years.

    Raises:
        ValueError: unknown quantity, site or sex.
    """
    query = _Query(quantity, site, None, sex)
    of_site = [d for d in _all_distributions(quantity) if match_site(d.site, query.site)]
    if not of_site:
        return None
    ends = sorted({float(end) for d in of_site for end in (d.age_min, _upper_end(d))})
    ages, values, sources = [], [], []
    for start, stop in pairwise(ends):
        middle = expected(quantity, site, (start + stop) / 2, sex)
        if middle is None:
            if ages and not math.isnan(values[-1][0]):
                ages.append(start)
                values.append([math.nan] * len(PERCENTILES))
            continue
        smooth = middle.distribution.evidence == "own cohort"
        for age in np.linspace(start, stop, 41 if smooth else 2):
            found = expected(quantity, site, age, sex) if smooth else middle
            ages.append(float(age))
            values.append([found.distribution.value_at(p) for p in PERCENTILES])
        if middle.distribution.source not in sources:
            sources.append(middle.distribution.source)
    if not ages:
        return None
    return AgeCurve(np.array(ages), np.array(values).T, tuple(sources))


def match_site(known: str, asked: str) -> tuple[int, str] | None:
    """How well a source's site stands for the asked one: (rank, note), None if not at all.

    0 the same site; 1 a group of levels that holds the asked one (L1-L4 for L2); 2 levels that
    make up at least half of the asked group (L1-L4 for lumbar); 3 two or more levels of the same
    spine region (L1-L2 for L3). A side is dropped. Outside the spine only the same site matches.
    """
    if not known or known == asked:
        return 0, ""
    bare = " ".join(word for word in asked.split() if word not in ("left", "right"))
    if known == bare:
        return 0, ""
    have, want = _levels(known), _levels(bare)
    if not have or not want:
        return None
    if want <= have:
        return 1, f"{known} stands for {asked}"
    if have <= want and 2 * len(have) >= len(want):
        return 2, f"{known} stands for {asked}"
    if len(have) > 1 and {v[0] for v in want} == {v[0] for v in have}:
        return 3, f"measured at {known}, not at {asked}"
    return None


class _Query:
    """A checked question."""

    def __init__(self, quantity: str, site: str, age_years: float | None, sex: str | None):
        if quantity not in QUANTITIES:
            raise ValueError(
                f"Unknown quantity '{quantity}'; expected one of: {', '.join(QUANTITIES)}."
            )
        self.quantity = quantity
        self.site = "" if quantity in SITE_IN_DEFINITION else _parse_site(site)
        self.age = None if age_years is None else check_age(age_years)
        self.sex = parse_sex(sex)

    def applying(self) -> list[Distribution]:
        """The distributions for this question, the one to use first."""
        if self.age is None:
            return []
        ranked = []
        for one in _all_distributions(self.quantity, self.age):
            site = match_site(one.site, self.site)
            if site is None or not _has_age(one, self.age) or one.sex not in ("both", self.sex):
                continue
            wide = one.age_max is None or one.age_max - one.age_min > WIDE_BAND_YEARS
            own = one.evidence == "own cohort"
            order = (
                not own,
                wide and not own,
                site[0],
                len(_levels(one.site)),
                one.sex == "both",
                one.evidence == "derived",
                -(one.n or 0),
            )
            ranked.append((order, len(ranked), _with_site_note(one, site[1])))
        return [one for _, _, one in sorted(ranked, key=lambda r: r[:2])]


_SEX_WORDS = {"M": "men", "F": "women", "both": "both sexes"}


@lru_cache(maxsize=1)
def _data() -> dict:
    path = resource_path(__file__, "References/references.json")
    return json.loads(path.read_text(encoding="utf-8"))


def _record(name: str) -> Record:
    entry = _data()["records"][name]
    source = _data()["sources"][entry["source"]]
    return Record(
        name,
        source["name"],
        source["citation"],
        source["doi"],
        entry["evidence"],
        entry["verified"],
    )


def _records(entry: dict) -> tuple[Record, ...]:
    return tuple(_record(name) for name in entry["records"])


@lru_cache(maxsize=1)
def _published() -> dict[str, tuple[Distribution, ...]]:
    """The built-in distributions by quantity."""
    by_quantity: dict[str, list[Distribution]] = {}
    for entry in _data()["norms"]:
        records = _records(entry)
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
                cohort=_data()["sources"][_data()["records"][records[0].id]["source"]]["cohort"],
                records=records,
                site_note="",
                cautions=tuple(
                    text for text in (entry["caution"], entry["age_note"], skewed) if text
                ),
            )
        )
    return {quantity: tuple(found) for quantity, found in by_quantity.items()}


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
        for entry in _data()["norms"]
        if entry["quantity"] in quantities
    ]


def _all_distributions(quantity: str, age: float | None = None) -> list[Distribution]:
    """Own cohorts (at an age, else at their youngest) and published distributions."""
    own = [
        _own_distribution(cohort, curve, age)
        for cohort in stored_cohorts()
        for curve in cohort.curves
        if curve.quantity == quantity
    ]
    return [*own, *_published().get(quantity, ())]


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
        site_note="",
        cautions=tuple(cautions),
    )


_POWER_WORDS = {0.0: "the logarithm", 0.5: "the square root"}


def _with_site_note(one: Distribution, note: str) -> Distribution:
    if not note:
        return one
    fields = {**one.__dict__, "site_note": note, "cautions": (f"{note}.", *one.cautions)}
    return Distribution(**fields)


def _parse_site(site: str) -> str:
    return "spine" if site.strip().lower() == "spine" else parse_site(site)


def _levels(site: str) -> frozenset[str]:
    """The vertebrae that a site or group names, empty outside the spine."""
    if site in _LEVELS:
        return frozenset(_LEVELS[site])
    ends = site.split("-")
    if not all(end in VERTEBRAE for end in ends):
        return frozenset()
    first, last = VERTEBRAE.index(ends[0]), VERTEBRAE.index(ends[-1])
    return frozenset(v for v in VERTEBRAE[first : last + 1] if v != "L6" or "L6" in ends)


def _has_age(one: Distribution, age: float) -> bool:
    if one.evidence == "own cohort":
        return one.age_min <= age <= one.age_max
    return one.age_min <= age and (one.age_max is None or age < one.age_max + 1)


def _upper_end(one: Distribution) -> float:
    """Where a curve of this distribution ends, years."""
    if one.age_max is None:
        return one.age_min + 30
    return one.age_max if one.evidence == "own cohort" else one.age_max + 1


def _in_band(entry: dict, age: float | None) -> bool:
    if age is None:
        return True
    low, high = entry["age_min"], entry["age_max"]
    return (low is None or low <= age) and (high is None or age < high + 1)


def _group(one: Distribution) -> tuple:
    return one.site, one.sex, one.age_min, one.age_max


def _verdict(one: Distribution, value: float) -> str:
    z = one.z_score(value)
    if math.isnan(z):
        return ""
    return "below" if z < -Z_LIMIT else "above" if z > Z_LIMIT else "within"


def _ages_text(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return "age range not stated"
    if low is None:
        return f"up to {high:g} years"
    return f"{low:g} years and older" if high is None else f"{low:g}-{high:g} years"


def _covered_ages(distributions: list[Distribution]) -> str:
    """The ages that any of them covers, bands that meet joined: "20-79 years"."""
    joined: list[tuple[float, float | None]] = []
    for low, high in sorted(
        ((d.age_min, d.age_max) for d in distributions), key=lambda band: band[0]
    ):
        if joined and (joined[-1][1] is None or low <= joined[-1][1] + 1):
            last_low, last_high = joined[-1]
            ends_open = last_high is None or high is None
            joined[-1] = (last_low, None if ends_open else max(last_high, high))
        else:
            joined.append((low, high))
    return " and ".join(_ages_text(low, high) for low, high in joined)
