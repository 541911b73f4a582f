"""What a cohort's table says of repeats, readers, groups and change, for each quantity and site.

Everything counts patients, never regions: of each quantity and site one value a patient and visit,
and where sites are taken together ("all sites") the mean of a patient's sites, or of repeats an
interval that counts patients. Doubtful values are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from operator import attrgetter
from statistics import fmean

import numpy as np
from PDFFMapperLib.images.attributes import number_of

from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.cohort.tables import copies_text
from MarrowAssessLib.statistics.agreement import components, iccs
from MarrowAssessLib.statistics.change import slope
from MarrowAssessLib.statistics.curves import PERCENTS, ReferenceCurve, reference_curve
from MarrowAssessLib.statistics.groups import benjamini_hochberg, compared, holm
from MarrowAssessLib.statistics.repeatability import (
    agreement,
    pooled_repeatability,
    repeatability,
)

ALL_SITES = "all sites"
RATERS = ("reader", "scanner", "center")
_OF_PDFF = (
    "Published beside it: 3 T, thoracolumbar, +6.3 +- 3.1 points in 12 months before a new "
    "fracture against +2.1 +- 2.5 without one (PMC9713243)."
)


@dataclass(slots=True)
class Value:
    """One value of one patient on one visit.

    Attributes:
        quantity, site, regions: what was measured where.
        patient: hashed; the study's where the patient is not known.
        facts: session, group, days, sex, age_years and raters, as far as they are known.
    """

    quantity: str
    site: str
    regions: str
    patient: str
    value: float
    facts: Mapping[str, object]


@dataclass
class Comparison:
    """Rows of each table, by column, and what was left out.

    Attributes:
        repeatability, agreement, groups, change, curves: rows; empty where the table has no such
            data.
        fitted: the curves, one for each row of `curves`.
        controls: quantity, site, sex, age_years and value of the people behind the curves.
        notes: sentences.
    """

    repeatability: list[dict] = field(default_factory=list)
    agreement: list[dict] = field(default_factory=list)
    groups: list[dict] = field(default_factory=list)
    change: list[dict] = field(default_factory=list)
    curves: list[dict] = field(default_factory=list)
    fitted: list[ReferenceCurve] = field(default_factory=list)
    controls: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def tables(self) -> dict[str, list[dict]]:
        """The tables that have rows, by name."""
        names = ("repeatability", "agreement", "groups", "change", "curves", "controls")
        return {name: rows for name in names if (rows := getattr(self, name))}


def comparison(
    rows: Sequence[Mapping], repeats: bool = False, normal: str | None = None
) -> Comparison:
    """All that the rows of a cohort's table allow.

    Args:
        rows: as read by `tables.read_measurements`.
        repeats: whether the visits of a patient are repeated examinations of unchanged marrow.
        normal: the group of normal people whose reference curves are fitted; "all" for everybody.

    Raises:
        ValueError: there is nothing to compare.
    """
    found = Comparison(notes=copies_text(rows))
    values, doubtful = _values(rows)
    if doubtful:
        found.notes.append(f"{doubtful} values of doubtful regions were left out.")
    for (quantity, site, _), own in _by(values, "quantity", "site", "regions").items():
        place = {"quantity": quantity, "site": site}
        if repeats:
            found.repeatability += _repeats(place, own)
            found.agreement += _raters(place, own)
        elif len({one.facts.get("days") for one in own} - {None}) > 1:
            found.change += _changes(place, own)
        found.groups += _groups(place, own)
        if normal:
            _add_curves(found, place, own, normal)
    for quantity, own in _by(values, "quantity").items():
        if len({one.site for one in own}) > 1:
            place = {"quantity": quantity, "site": ALL_SITES}
            if repeats:
                found.repeatability += _pooled(place, own)
            found.groups += _groups(place, own)
    _adjust(found.groups)
    if not found.tables:
        raise ValueError(
            "There is nothing to compare: no patient has repeated visits (--repeats), and no "
            "column group with three patients in each of two groups, or days with five patients' "
            "visits, is there; reference curves (--normal) need 20 people of a sex."
        )
    if any(row["quantity"] == "marrow_pdff" for row in found.change):
        found.notes.append(_OF_PDFF)
    return found


def _values(rows: Iterable[Mapping]) -> tuple[list[Value], int]:
    """The values that are not doubtful, and how many are."""
    found, doubtful = [], 0
    for row in rows:
        value = row.get("value")
        if value is None or not math.isfinite(value):
            continue
        if row.get("doubtful"):
            doubtful += 1
            continue
        facts = {key: row.get(key) for key in ("session", "group", "sex", "age_years", *RATERS)}
        facts["days"] = number_of(row, "days")
        patient = row.get("patient") or row["study"]
        where = row["site"] or "", row.get("regions") or ""
        found.append(Value(row["quantity"], *where, patient, value, facts))
    return found, doubtful


def _by(values: Iterable[Value], *names: str) -> dict[object, list[Value]]:
    """Values by what these attributes say: a text, of several a tuple."""
    key = attrgetter(*names)
    found: dict = {}
    for one in values:
        found.setdefault(key(one), []).append(one)
    return found


def _visits(values: Iterable[Value]) -> list[np.ndarray]:
    """The values of each patient with more than one, in the order of sessions and days."""
    by_patient = _by(values, "patient").values()
    return [
        np.array([one.value for one in sorted(own, key=_when)])
        for own in by_patient
        if len(own) > 1
    ]


def _when(one: Value) -> tuple:
    return one.facts["days"] or 0.0, one.facts["session"] or 0


def _repeats(place: dict, values: list[Value]) -> list[dict]:
    """Within-subject SD and RC; bias and limits of the second against the first visit."""
    visits = _visits(values)
    known = repeatability(visits)
    if known is None:
        return []
    row = place | asdict(known)
    pair = agreement(np.array([one[:2] for one in visits]))
    names = ("bias", "bias_low", "bias_high", "lower", "lower_low", "lower_high", "upper",
             "upper_low", "upper_high", "p_proportional")  # fmt: skip
    return [row | {name: getattr(pair, name) if pair else None for name in names}]


def _pooled(place: dict, values: list[Value]) -> list[dict]:
    """Repeatability of all sites together; its interval counts patients."""
    patients = [
        [np.array([one.value for one in own]) for own in _by(mine, "site", "regions").values()]
        for mine in _by(values, "patient").values()
    ]
    known = pooled_repeatability(patients)
    return [place | asdict(known)] if known else []


def _raters(place: dict, values: list[Value]) -> list[dict]:
    """ICC and SDs between visits, and between readers, scanners and centers that are named."""
    found = []
    for rater in ("session", *RATERS):
        names = sorted({one.facts[rater] for one in values} - {None, ""}, key=str)
        if len(names) < 2:
            continue
        patients = {who: n for n, who in enumerate(sorted({one.patient for one in values}))}
        place_of = {name: n for n, name in enumerate(names)}
        table = np.full((len(patients), len(names)), np.nan)
        for one in values:
            if one.facts[rater] in place_of:
                table[patients[one.patient], place_of[one.facts[rater]]] = one.value
        parts = components(table)
        if parts is None:
            continue
        whole = int(np.isfinite(table).all(axis=1).sum())
        row = place | {"between": rater, "left_out": len(patients) - whole}
        sds = {"sd_patient": parts.patient, "sd_between": parts.rater, "sd_rest": parts.residual}
        for icc in iccs(table):
            low, high = icc.low, icc.high
            numbers = {"n": icc.n, "raters": icc.raters, "icc": icc.value, "low": low, "high": high}
            found.append(row | {"form": icc.form} | numbers | sds)
    return found


def _groups(place: dict, values: list[Value]) -> list[dict]:
    """Each pair of groups, one value a patient: the mean of its visits and sites."""
    patients = [_patient(own) for own in _by(values, "patient").values()]
    names = sorted({one["group"] for one in patients} - {None, ""}, key=str)
    found = []
    for a, b in combinations(names, 2):
        of_a, of_b = ([one for one in patients if one["group"] == name] for name in (a, b))
        numbers = [
            tuple(np.array([one[key] for one in group], float) for group in (of_a, of_b))
            for key in ("value", "age_years", "is_male")
        ]
        covariates = [("age", *numbers[1]), ("sex", *numbers[2])]
        if known := compared(*numbers[0], covariates):
            row = asdict(known)
            row["adjusted_for"] = " and ".join(known.adjusted_for)
            found.append(place | {"a": a, "b": b} | row)
    return found


def _patient(own: list[Value]) -> dict:
    """One value for a patient, whose group is that of the first visit that names one."""
    facts = [one.facts for one in sorted(own, key=_when)]
    sex = next((f["sex"] for f in facts if f["sex"]), None)
    ages = [age for f in facts if (age := f["age_years"]) is not None]
    return {
        "value": fmean(one.value for one in own),
        "group": next((f["group"] for f in facts if f["group"]), None),
        "scanner": next((f["scanner"] for f in facts if f["scanner"]), None),
        "age_years": fmean(ages) if ages else math.nan,
        "is_male": math.nan if sex is None else float(sex == "M"),
    }


def _changes(place: dict, values: list[Value]) -> list[dict]:
    """The common slope over time of each group, or of all."""
    names = sorted({one.facts["group"] for one in values} - {None, ""}, key=str) or [None]
    found = []
    for name in names:
        dated = [
            one
            for one in values
            if one.facts["days"] is not None and (name is None or one.facts["group"] == name)
        ]
        own = [
            (np.array([one.facts["days"] for one in mine]), np.array([v.value for v in mine]))
            for mine in _by(dated, "patient").values()
        ]
        if known := slope(own):
            found.append(place | {"group": name or "all"} | asdict(known))
    return found


def _add_curves(found: Comparison, place: dict, values: list[Value], normal: str) -> None:
    """The reference curve of each sex, of one value a patient: the mean of its visits."""
    people = [_patient(own) for own in _by(values, "patient").values()]
    people = [
        one
        for one in people
        if normal in ("all", one["group"]) and math.isfinite(one["age_years"] + one["is_male"])
    ]
    for sex, is_male in (("F", 0.0), ("M", 1.0)):
        own = [one for one in people if one["is_male"] == is_male]
        numbers = ([one[key] for one in own] for key in ("age_years", "value"))
        curve = reference_curve(*map(np.array, numbers))
        if curve is None:
            continue
        fitted = curve.fitted
        row = place | {"sex": sex, "n": fitted.n, "age_min": fitted.age_min,
                       "age_max": fitted.age_max, "power": fitted.power}  # fmt: skip
        row |= {f"below_p{p}": curve.share_below(p) if p in curve.percents else None
                for p in PERCENTS}  # fmt: skip
        found.curves.append(row)
        found.fitted.append(curve)
        for scanner, (shift, low, high) in curve.shifts([one["scanner"] for one in own]).items():
            found.notes.append(
                f"{QUANTITIES[place['quantity']].name} {place['site']}, {sex}: normal people of "
                f"scanner {scanner} lie {shift:+.1f} SD ({low:+.1f} to {high:+.1f}) from the curve "
                "of all; fit the curve of one scanner alone before it judges a patient."
            )
        found.controls += [
            place | {"sex": sex, "age_years": one["age_years"], "value": one["value"]}
            for one in own
        ]


def _adjust(rows: list[dict]) -> None:
    """Add p adjusted over all group comparisons of the table."""
    if not rows:
        return
    p = [row["p"] for row in rows]
    for row, by_holm, by_bh in zip(rows, holm(p), benjamini_hochberg(p), strict=True):
        row["p_holm"], row["p_bh"] = float(by_holm), float(by_bh)


def unit_of(quantity: str) -> str:
    """The unit of a quantity, "" for a plain ratio or one of another version."""
    return QUANTITIES[quantity].unit if quantity in QUANTITIES else ""
