"""What is expected at an age: published distributions with their sources.

The facts are in Resources/References/references.json; each names the records it comes from. Only
records that were read on a page ("page"), stand in the founding reviews ("seed") or follow from
those by arithmetic ("derived"), and whose source was read a second time, are distributions that
score a value. For the others, and for cut-offs, see `references.beside`.

How `expected` chooses where several distributions apply, in this order:
1. the user's own control cohort;
2. the study's field strength, where the quantity depends on it and it is known; where every
   source's is over FAR_FIELD times it or below, none but own cohorts applies;
3. a curve over age through published groups before the groups, which stand beside it;
4. an age band of at most 40 years before one that spans adult life;
5. the most specific site (see `match_site`);
6. the patient's sex before both sexes together;
7. evidence: read before derived;
8. the larger group.
The other sources stay beside it; nothing is averaged, and no age outside a source's band is
answered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from MarrowAssessLib.catalogue.patient import SEX_WORDS, age_text
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.references.distributions import Distribution, all_distributions, published
from MarrowAssessLib.references.notes import notes_on
from MarrowAssessLib.references.own_controls import ANCHOR_AGE_YEARS, Anchor, anchors
from MarrowAssessLib.references.question import Question
from MarrowAssessLib.references.records import Record, ages_text
from MarrowAssessLib.references.sites import levels, match_site

PERCENTILES = (3, 10, 50, 90, 97)
WIDE_BAND_YEARS = 40
SAME_FIELD_T = 0.3
FAR_FIELD = 2.0  # times: T1 and so weighting are others; VBQ falls by a fifth from 1.5 to 3 T

SEX_NOT_KNOWN = "and the sex is not known"  # ends why there is no reference


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
        """'below', 'within' or 'above' the expected range; empty for NaN."""
        return self.distribution.verdict(value)

    def dissenting(self, value: float) -> tuple[Distribution, ...]:
        """The other sources that would give another verdict."""
        return tuple(d for d in self.others if d.verdict(value) != self.verdict(value))

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
            f"{d.source}{', curve over age,' if d.smooth else ''} {d.mean:.{quantity.digits}f} "
            f"± {d.sd:.{quantity.digits}f}"
            for d in all_of_them
        )
        return (
            f"{len(means)} sources ({listed}): means differ by {quantity.format(gap)}, "
            f"{gap / self.distribution.sd:.1f} SD of the one used"
        )


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
    quantity: str,
    site: str,
    age_years: float | None,
    sex: str | None = None,
    field_strength_t: float | None = None,
) -> Expectation | None:
    """What is expected of a quantity; None where no reference applies.

    Args:
        quantity: a key of QUANTITIES.
        site: as `anatomy.parse_site` reads it; "" for quantities whose definition fixes it (VBQ).
        age_years: age in years; None if unknown (then nothing is expected).
        sex: "M", "F" or None; without it only distributions of both sexes together apply.
        field_strength_t: of the images, tesla; None if unknown (then a quantity that depends on it
            is compared with every field strength there is, and says so).

    Raises:
        ValueError: unknown quantity, site or sex, or an impossible age.
    """
    query = Question(quantity, site, age_years, sex, field_strength_t)
    applying = _applying(query)
    if not applying:
        return None
    chosen, *rest = applying
    others, people = [], {_people(chosen)}
    for one in rest:
        # The same people seen through a coarser group are no second opinion; measured again, or
        # as the band behind a curve, yes.
        again = one.cohort == chosen.cohort and (_group(one) == _group(chosen) or chosen.smooth)
        if again or _people(one) not in people:
            others.append(one)
            people.add(_people(one))
    field = _field_caution(query, applying)
    notes = tuple(n.text for n in notes_on(quantity, query.age, query.site) if n.kind == "caution")
    return Expectation(
        quantity,
        query.site,
        query.age,
        query.sex,
        chosen,
        tuple(others),
        (*chosen.cautions, *field, *notes),
    )


def no_reference_reason(
    quantity: str,
    site: str,
    age_years: float | None,
    sex: str | None = None,
    field_strength_t: float | None = None,
) -> str:
    """Why `expected` gives None, in one sentence; "" where it gives a reference."""
    query = Question(quantity, site, age_years, sex, field_strength_t)
    if _applying(query):
        return ""
    name = QUANTITIES[quantity].name
    known = all_distributions(quantity)
    if not known:
        return f"no reference: no published distribution of {name} is in the reference data"
    at_site = [d for d in known if match_site(d.site, query.site)]
    if not at_site:
        sites = ", ".join(dict.fromkeys(d.site for d in known))
        return f"no reference: {name} is covered at {sites}, not at {query.site or 'no named site'}"
    where = f" at {query.site}" if query.site else ""
    if query.age is None:
        return f"no reference: {name}{where} depends on age, and the age is not known"
    if in_far_field(quantity, query.field_strength_t):
        return (
            f"no reference: {name}{where} depends on field strength ({_by_field(quantity)}), and "
            f"no source is near {query.field_strength_t:g} T"
        )
    at_age = [d for d in at_site if d.has_age(query.age)]
    if not at_age:
        return (
            f"no reference: {name}{where} covers {_covered_ages(at_site)}; this is "
            f"{age_text(query.age)}"
        )
    sexes = "; ".join(
        f"{SEX_WORDS[d.sex]} {d.mean:g} ± {d.sd:g} ({d.source})"
        for d in sorted(at_age, key=lambda d: d.sex)
        if not d.smooth
    )
    asked = f"not for {SEX_WORDS[query.sex]}" if query.sex else SEX_NOT_KNOWN
    return f"no reference: {name}{where} is known for {sexes}, {asked}"


def in_far_field(quantity: str, field_strength_t: float | None) -> bool:
    """Whether a quantity depends on field strength and no source is near that of the images."""
    measured_alike = "vbq" if quantity.startswith("vbq") else quantity  # of other vertebrae
    known = {d.field_strength_t for d in published().get(measured_alike, ())} - {None}
    if not field_strength_t or not known:
        return False
    return all(max(f / field_strength_t, field_strength_t / f) > FAR_FIELD for f in known)


def age_curve(
    quantity: str, site: str, sex: str | None = None, field_strength_t: float | None = None
) -> AgeCurve | None:
    """Percentiles over the ages that sources cover, None where none does.

    At each age it is the distribution that `expected` would use: smooth for a control cohort and
    for a curve through published groups, else flat within the age band of a publication.
    A band without upper end is drawn for 30 years.

    Raises:
        ValueError: unknown quantity, site or sex.
    """
    query = Question(quantity, site, None, sex, field_strength_t)
    of_site = [d for d in all_distributions(quantity) if match_site(d.site, query.site)]
    if not of_site:
        return None

    def used(age: float) -> Distribution | None:
        return next(iter(_applying(Question(quantity, site, age, sex, field_strength_t))), None)

    ends = sorted({float(end) for d in of_site for end in (d.age_min, d.shown_end)})
    ages, values, sources = [], [], []
    for start, stop in pairwise(ends):
        middle = used((start + stop) / 2)
        if middle is None:
            if ages and not math.isnan(values[-1][0]):
                ages.append(start)
                values.append([math.nan] * len(PERCENTILES))
            continue
        for age in np.linspace(start, stop, 41 if middle.smooth else 2):
            # Each end belongs to the next stretch; the curve is the same up to it.
            within = min(max(age, start), stop - 1e-6) if age > start else age
            found = used(within) if middle.smooth else middle
            ages.append(float(age))
            values.append([found.value_at(p) for p in PERCENTILES])
        if middle.source not in sources:
            sources.append(middle.source)
    if not ages:
        return None
    return AgeCurve(np.array(ages), np.array(values).T, tuple(sources))


def _applying(query: Question) -> list[Distribution]:
    """The distributions for a question, the one to use first."""
    if query.age is None:
        return []
    ranked = []
    far = in_far_field(query.quantity, query.field_strength_t)
    anchored = _anchored(query.quantity, query.age, query.sex)
    for one in [*anchored, *all_distributions(query.quantity, query.age)]:
        site = match_site(one.site, query.site)
        if site is None or not one.has_age(query.age) or one.sex not in ("both", query.sex):
            continue
        wide = one.age_max is None or one.age_max - one.age_min > WIDE_BAND_YEARS
        own = one.evidence == "own cohort"
        of_field = _field_match(one, query)
        if of_field is False or (far and not own):
            continue
        order = (
            not own,
            not of_field,
            not one.smooth,
            wide and not own,
            site[0],
            len(levels(one.site)),
            one.sex == "both",
            one.evidence == "derived",
            -(one.n or 0),
        )
        ranked.append((order, len(ranked), _with_site_note(one, site[1])))
    return [one for _, _, one in sorted(ranked, key=lambda r: r[:2])]


def _field_match(one: Distribution, query: Question) -> bool | None:
    """Whether a source's field strength is that of the images; None where one is not known."""
    if one.field_strength_t is None or query.field_strength_t is None:
        return None
    return abs(one.field_strength_t - query.field_strength_t) < SAME_FIELD_T


def _field_caution(query: Question, applying: list[Distribution]) -> tuple[str, ...]:
    """What to say where the values depend on a field strength that is not known, or not met."""
    name, listed = QUANTITIES[query.quantity].name, _by_field(query.quantity)
    if not listed or any(d.evidence == "own cohort" for d in applying[:1]):
        return ()
    if query.field_strength_t is None:
        return (f"{name} depends on field strength ({listed}), which is not known here.",)
    if not any(d.field_strength_t is not None for d in applying):
        return (
            f"{name} depends on field strength ({listed}); no reference is of "
            f"{query.field_strength_t:g} T and this age.",
        )
    return ()


def _by_field(quantity: str) -> str:
    """What is published at each field strength, "" where the quantity does not depend on it."""
    digits = QUANTITIES[quantity].digits
    return " and ".join(
        f"{d.mean:.{digits}f} ± {d.sd:.{digits}f} at {d.field_strength_t:g} T"
        for d in all_distributions(quantity)
        if d.field_strength_t is not None
    )


def _anchored(quantity: str, age: float, sex: str | None) -> list[Distribution]:
    """What few own controls of any age say of this one; see `own_controls`."""
    if age < ANCHOR_AGE_YEARS:
        return []
    return [_anchored_distribution(quantity, one, age, sex) for one in anchors(quantity)]


def _anchored_distribution(
    quantity: str, anchor: Anchor, age: float, sex: str | None
) -> Distribution:
    location, scale, mean_variance = anchor.at(quantity, age, sex)
    n, name = len(anchor.ages), f"own controls '{anchor.name}'"
    low, middle, high = (math.exp(location + k * scale) for k in (-1, 0, 1))
    ages = f"{min(anchor.ages):g}-{max(anchor.ages):g} years"
    record = Record(f"cohort:{anchor.name}", name, name, None, "own cohort", True)
    return Distribution(
        quantity=quantity,
        site="lumbar",
        sex="both",
        age_min=ANCHOR_AGE_YEARS,
        age_max=120,
        n=n,
        mean=middle,
        sd=(high - low) / 2,
        power=0.0,
        location=location,
        scale=scale,
        population=f"{n} controls of the user, {ages}",
        cohort=name,
        records=(record,),
        cautions=(
            f"Scanner-anchored: the level comes from {n} own controls of {ages}, the shift to "
            f"{age:g} years from a model.",
        ),
        dof=n - 1,
        mean_variance=mean_variance,
        smooth=True,
    )


def _people(one: Distribution) -> tuple:
    """Whose values they are: those of another field strength are others'."""
    return one.cohort, one.field_strength_t


def _group(one: Distribution) -> tuple:
    return one.site, one.sex, one.age_min, one.age_max


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
    return " and ".join(ages_text(low, high) for low, high in joined)


def _with_site_note(one: Distribution, note: str) -> Distribution:
    return replace(one, cautions=(f"{note[0].upper()}{note[1:]}.", *one.cautions)) if note else one
