"""Change between visits of one person, held against how far two examinations differ anyway.

Repeatability coefficient: Bland and Altman 1986, doi 10.1016/S0140-6736(86)90837-8; Raunig 2015,
doi 10.1177/0962280214537344. Holm 1979 for several comparisons.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.measures.whole_body import response
from MarrowAssessLib.references.repeatability import repeatability

WITHIN, INCREASE, DECREASE = "within error", "increase", "decrease"
NOT_COMPARABLE = "not comparable"
FEWEST_PAIRS = 10
_LARGEST_VOLUME_RATIO = 2.0
_SETTINGS = ("erosion_mm", "n4")
_COLUMNS = ("subject", "quantity", "site", "value1", "value2")
_DAYS_A_YEAR = 365.25
_AGE_SLACK_YEARS = 1.1  # ages in whole years, and a birthday between


@dataclass(frozen=True)
class MeasurementError:
    """How far single examinations of unchanged marrow scatter.

    Attributes:
        sd: within-subject SD: in the quantity's unit, or of the value's logarithm.
        proportional: whether it is of the logarithm.
        n: pairs behind it, which are its degrees of freedom.
        source: where it comes from.
    """

    sd: float
    proportional: bool
    n: int
    source: str


@dataclass(frozen=True)
class Change:
    """One quantity at one site on two days.

    Attributes:
        first, second: the values; `low` and `high`: between which the second lies in 19 of 20
            unchanged people.
        p: of no change; NaN where nothing is known of the error.
        verdict: WITHIN, INCREASE, DECREASE or NOT_COMPARABLE, with the reason.
        adjusted: whether the change stands among all comparisons (Holm).
    """

    quantity: str
    site: str
    days: float
    first: float
    second: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    verdict: str = NOT_COMPARABLE
    reason: str = ""
    error: MeasurementError | None = None
    adjusted: bool = False

    @property
    def percent(self) -> float:
        """Change in % of the first value; NaN where that is not above 0."""
        return 100 * (self.second / self.first - 1) if self.first > 0 else math.nan


def judged(
    first: float, second: float, error: MeasurementError, se: tuple[float, float] = (0.0, 0.0)
) -> tuple[float, float, float, str]:
    """Bounds of the second value without change, p of no change, and the verdict.

    Args:
        first, second: the two values, above 0 for a proportional error.
        error: of single examinations; the larger one of it and of `se` is used.
        se: standard errors of the two values from their regions, in their unit.
    """
    from scipy.stats import t

    if error.proportional:
        own = math.hypot(se[0] / first, se[1] / second) / math.sqrt(2)
        difference = math.log(second / first)
    else:
        own = math.hypot(*se) / math.sqrt(2)
        difference = second - first
    spread = math.sqrt(2) * max(error.sd, own)
    reach = float(t.ppf(0.975, error.n)) * spread
    p = 2 * float(t.sf(abs(difference) / spread, error.n))
    low, high = (
        (first * math.exp(-reach), first * math.exp(reach))
        if error.proportional
        else (first - reach, first + reach)
    )
    verdict = WITHIN if p >= 0.05 else INCREASE if difference > 0 else DECREASE
    return low, high, p, verdict


def published_error(quantity: str) -> MeasurementError | None:
    """The published repeatability of a quantity; None without one that was read in its source."""
    known = repeatability(quantity)
    if known is None or any(record.evidence == "memory" for record in known.records):
        return None
    source = f"{known.text}: {', '.join(record.id for record in known.records)}"
    if known.change_percent is not None:
        cv = known.change_percent / 100 / (1.96 * math.sqrt(2))
        return MeasurementError(math.sqrt(math.log1p(cv**2)), True, known.n, source)
    if known.change is not None:
        return MeasurementError(known.change / (1.96 * math.sqrt(2)), False, known.n, source)
    return None


def error_of_pairs(values: np.ndarray, source: str) -> MeasurementError:
    """The error that repeated examinations show.

    It is proportional where the differences grow with the values (Spearman, p below 0.05).

    Args:
        values: shape (pairs, 2), in the quantity's unit.
        source: named beside results.

    Raises:
        ValueError: fewer than 10 pairs, or all of them agree.
    """
    from scipy.stats import spearmanr

    if len(values) < FEWEST_PAIRS:
        raise ValueError(
            f"{source}: {len(values)} pairs of repeated examinations; {FEWEST_PAIRS} or more are "
            "expected."
        )
    difference = values[:, 1] - values[:, 0]
    if not np.any(difference):
        raise ValueError(f"{source}: all repeated values are equal, so they tell no error.")
    size = np.abs(difference)
    proportional = False
    if (values > 0).all() and np.ptp(size) > 0:
        grows = spearmanr(size, values.mean(axis=1))
        proportional = bool(grows.statistic > 0 and grows.pvalue < 0.05)
    if proportional:
        difference = np.diff(np.log(values), axis=1)[:, 0]
    sd = float(np.sqrt(np.mean(difference**2) / 2))
    return MeasurementError(sd, proportional, len(values), source)


def read_repeatability(path: str | Path) -> dict[str, MeasurementError]:
    """The errors of a site's own repeated examinations, by quantity.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, a value is no number, or pairs are too few.
    """
    path = Path(path)
    pairs: dict[str, list[tuple[float, float]]] = {}
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = csv.DictReader(stream)
        if missing := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
            raise ValueError(
                f"{path.name}: column {', '.join(missing)} is missing; expected are "
                f"{', '.join(_COLUMNS)}."
            )
        for row in rows:
            try:
                pair = float(row["value1"]), float(row["value2"])
                if not all(map(math.isfinite, pair)) or row["quantity"] not in QUANTITIES:
                    raise ValueError
            except (TypeError, ValueError):
                raise ValueError(
                    f"{path.name}, line {rows.line_num}: a known quantity and two numbers are "
                    "expected."
                ) from None
            pairs.setdefault(row["quantity"], []).append(pair)
    return {
        quantity: error_of_pairs(np.array(values), f"{path.name}, {len(values)} pairs")
        for quantity, values in pairs.items()
    }


def fault_of(visit: Mapping) -> str:
    """What is wrong with a stored assessment, as far as it is compared; "" for nothing."""
    patient, settings = visit.get("patient"), visit.get("settings")
    if not isinstance(patient, dict) or patient.get("sex", 0) not in (None, "F", "M"):
        return "who the patient is"
    if not _number_or_none(patient.get("age_years", "")):
        return "the patient's age"
    if not isinstance(settings, dict) or any(key not in settings for key in _SETTINGS):
        return "its settings"
    measurements = visit.get("measurements")
    if not isinstance(measurements, list):
        return "its measurements"
    faulty = (n for n, one in enumerate(measurements, 1) if not _is_measurement(one))
    return next((f"measurement {n}" for n in faulty), "")


def _is_measurement(one: object) -> bool:
    if not isinstance(one, dict) or one.get("quantity") not in set(QUANTITIES):
        return False
    statistics, ci = one.get("statistics"), one.get("ci95")
    numbers = [one.get("value", ""), *(ci if isinstance(ci, list) else [])]
    if statistics is not None:
        volume = statistics.get("volume_mm3") if isinstance(statistics, dict) else None
        numbers.append("" if volume is None else volume)
    names = one.get("measured", [])
    return (
        isinstance(one.get("site"), str)
        and isinstance(one.get("doubtful"), list)
        and isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and all(map(_number_or_none, numbers))
        and (ci is None or (isinstance(ci, list) and len(ci) == 2))
    )


def _number_or_none(value: object) -> bool:
    if value is None:
        return True
    return not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)


def follow_up(
    visits: Sequence[Mapping],
    days: Sequence[float],
    own: Mapping[str, MeasurementError] | None = None,
) -> list[Change]:
    """Each later visit against the first.

    Args:
        visits: two or more assessments as in assessment.json, of one person.
        days: of each visit, the first one's day first.
        own: errors from own repeated examinations, which go before published ones.

    Raises:
        ValueError: not two visits, days that do not fit or rise, or two persons.
    """
    if len(visits) < 2 or len(days) != len(visits):
        raise ValueError(
            f"{len(visits)} assessments and {len(days)} days were given; two or more assessments "
            "with a day each are expected."
        )
    if any(later <= earlier for earlier, later in pairwise(days)):
        raise ValueError("The days of the visits must rise; give the visits in their order.")
    _refuse_two_persons(visits, days)
    first = _by_place(visits[0])
    changes = []
    for visit, day in zip(visits[1:], days[1:], strict=True):
        same = all(visit["settings"][k] == visits[0]["settings"][k] for k in _SETTINGS)
        now = _by_place(visit)
        for place in (one for one in now if one in first):
            for before, m in _paired(first[place], now[place]):
                changes.append(_change(before, m, day - days[0], same, own or {}))
    return _with_holm(changes)


def _by_place(visit: Mapping) -> dict[tuple[str, str], list[Mapping]]:
    """The measurements of each quantity and site."""
    found: dict[tuple[str, str], list[Mapping]] = {}
    for one in visit["measurements"]:
        found.setdefault((one["quantity"], one["site"]), []).append(one)
    return found


def _paired(before: Sequence[Mapping], now: Sequence[Mapping]) -> list[tuple[Mapping, Mapping]]:
    """Which number of a site is compared with which: of several regions those of the same name."""
    if len(before) == len(now) == 1:
        return [(before[0], now[0])]
    named = {tuple(one["measured"]): one for one in before}
    return [(named[key], m) for m in now if (key := tuple(m["measured"])) in named]


def _change(
    before: Mapping, now: Mapping, days: float, same: bool, own: Mapping[str, MeasurementError]
) -> Change:
    quantity, x1, x2 = now["quantity"], before["value"], now["value"]
    made = Change(quantity, now["site"], days, *(math.nan if x is None else x for x in (x1, x2)))
    error = own.get(quantity) or published_error(quantity)
    reason = _not_comparable(before, now, same)
    if not reason and (x1 is None or x2 is None):
        reason = "a value is missing"
    elif not reason and error is None:
        reason = "no repeatability is known of this quantity"
        if quantity == "global_adc" and min(x1, x2) > 0:
            reason = response(x1, x2)
    elif not reason and error.proportional and min(x1, x2) <= 0:
        reason = "the error is proportional, and a value is not above 0"
    if reason:
        return replace(made, reason=reason)
    low, high, p, verdict = judged(x1, x2, error, (_se(before), _se(now)))
    return replace(made, low=low, high=high, p=p, verdict=verdict, error=error)


def _not_comparable(before: Mapping, now: Mapping, same: bool) -> str:
    if not same:
        return "erosion or coil correction (N4) differ between the visits"
    if before["doubtful"] or now["doubtful"]:
        return "a region may be another structure"
    if before.get("how") != now.get("how"):
        return "it was measured with other settings"
    volumes = [m["statistics"]["volume_mm3"] for m in (before, now) if m.get("statistics")]
    if len(volumes) == 2 and max(volumes) > _LARGEST_VOLUME_RATIO * min(volumes):
        return "the region's volume differs by more than a factor of 2"
    return ""


def _se(measurement: Mapping) -> float:
    ci = measurement.get("ci95")
    return (ci[1] - ci[0]) / (2 * 1.96) if ci and None not in ci else 0.0


def _refuse_two_persons(visits: Sequence[Mapping], days: Sequence[float]) -> None:
    people = [visit["patient"] for visit in visits]
    sexes = {person["sex"] for person in people if person["sex"]}
    ages = [(p["age_years"], day) for p, day in zip(people, days, strict=True) if p["age_years"]]
    apart = [abs((age - ages[0][0]) - (day - ages[0][1]) / _DAYS_A_YEAR) for age, day in ages[1:]]
    if len(sexes) > 1 or any(one > _AGE_SLACK_YEARS for one in apart):
        raise ValueError(
            "The assessments are of different persons (sex, or age at these days, does not fit); "
            "give visits of one person."
        )


def _with_holm(changes: list[Change]) -> list[Change]:
    """Mark the changes that stand among all that were compared."""
    ranked = sorted((c.p, n) for n, c in enumerate(changes) if not math.isnan(c.p))
    standing = set()
    for place, (p, n) in enumerate(ranked):
        if p > 0.05 / (len(ranked) - place):
            break
        standing.add(n)
    return [replace(c, adjusted=n in standing) for n, c in enumerate(changes)]
