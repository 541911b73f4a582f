"""The visits that are compared: stored assessments, whose they are, and what may be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

from PDFFMapperLib.images.json_file import read_json
from PDFFMapperLib.water_fat.echo_train import SAME_FIELD_T

from MarrowAssessLib.catalogue.anatomy import level_index, parse_site
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.findings.statement import NOT_COMPARED

ASSESSMENT = "marrowassess-assessment-1"  # the schema that is read
SETTINGS = ("erosion_mm", "n4")
_LARGEST_VOLUME_RATIO = 2.0
DAYS_A_YEAR = 365.25
_AGE_SLACK_YEARS = 1.1  # ages in whole years, and a birthday between
_UPTAKE_APART_MIN = 10.0
_SETTING_SHARE = 0.1  # by which times and b-values may differ
DAMAGING = ("radiotherapy", "fracture")  # therapies after which marrow is other marrow
# Facts of an image that must agree, and what they are called; numbers by share or difference.
_SAME = (
    ("method", "the method"), ("fat_model", "the fat model"), ("sequence", "the sequence"),
    ("kernel", "the kernel"), ("kvp", "the tube voltage"), ("uptake_type", "the kind of SUV"),
    ("tracer", "the tracer"), ("reconstruction", "the reconstruction"),
)  # fmt: skip
_ALIKE = (
    ("echo_time_ms", "the echo time"), ("repetition_time_ms", "the repetition time"),
    ("inversion_time_ms", "the inversion time"), ("b_values", "b-values"),
)  # fmt: skip


@dataclass(frozen=True)
class Therapy:
    """What happened on a day.

    Attributes:
        day: on the scale of the visits.
        what: such as "G-CSF" or "radiotherapy".
        sites: where, () for the whole patient.
    """

    day: float
    what: str
    sites: tuple[str, ...] = ()

    @property
    def damaging(self) -> bool:
        """Whether marrow of its sites is not the same afterwards."""
        return bool(self.sites) and self.what.lower() in DAMAGING


@dataclass(frozen=True)
class Between:
    """Two visits and what lies between them.

    Attributes:
        visits: the earlier and the later assessment.
        therapies: what happened.
        shifted: why their levels may be named one apart, "" where nothing tells so.
    """

    visits: tuple[Mapping, Mapping]
    therapies: tuple[Therapy, ...] = ()
    shifted: str = ""


def parse_therapy(text: str) -> Therapy:
    """Read "14=G-CSF" or "30=radiotherapy:L2-L4": day, what, and where.

    Raises:
        ValueError: the text is not of that form.
    """
    day, _, rest = text.partition("=")
    what, _, sites = rest.partition(":")
    try:
        number = float(day)
        if not math.isfinite(number) or not what.strip():
            raise ValueError
    except ValueError:
        raise ValueError(
            f"--therapy {text}: a day and what was given are expected, such as 14=G-CSF or "
            "30=radiotherapy:L2-L4."
        ) from None
    named = tuple(parse_site(one) for one in sites.split(",") if one.strip())
    return Therapy(number, what.strip(), named)


def read_days(text: str) -> list[float]:
    """Days as "0,90".

    Raises:
        ValueError: they are no numbers.
    """
    try:
        days = [float(word) for word in text.split(",")]
    except ValueError:
        days = [math.nan]
    if not all(map(math.isfinite, days)):
        raise ValueError(f"--days {text}: numbers with commas are expected, such as 0,90.")
    return days


def read_visit(path: Path) -> dict:
    """A stored assessment.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no assessment of a version that is read, or it is damaged.
    """
    content = read_json(path, "an assessment")
    if content.get("schema") != ASSESSMENT:
        raise ValueError(
            f"{path.name}: its schema is '{content.get('schema', 'none')}' where {ASSESSMENT} is "
            "expected; assess the images again with this version."
        )
    if fault := fault_of(content):
        raise ValueError(f"{path.name}: this assessment is damaged ({fault}); assess again.")
    return content


def joined(visits: Sequence[Mapping], days: Sequence[float]) -> tuple[list[dict], list[float]]:
    """Assessments of one day as one visit: MR, CT and PET are measured apart.

    Raises:
        ValueError: days do not fit or fall, or settings of one day differ.
    """
    if len(visits) != len(days):
        raise ValueError(
            f"{len(visits)} assessments and {len(days)} days were given; a day each is expected."
        )
    if list(days) != sorted(days):
        raise ValueError("The days of the assessments must not fall; give them in their order.")
    found: dict[float, dict] = {}
    for visit, day in zip(visits, days, strict=True):
        if day not in found:
            found[day] = {**visit, "measurements": list(visit["measurements"])}
            continue
        one = found[day]
        if any(one["settings"][key] != visit["settings"][key] for key in SETTINGS):
            raise ValueError(
                f"Day {day:g}: erosion or coil correction (N4) differ between its assessments."
            )
        known = {_place(m) for m in one["measurements"]}
        one["measurements"] += [m for m in visit["measurements"] if _place(m) not in known]
        one["acquisition"] = {**visit.get("acquisition", {}), **one.get("acquisition", {})}
        one["patient"] = {
            key: visit["patient"].get(key) if one["patient"].get(key) in (None, "") else value
            for key, value in {**visit["patient"], **one["patient"]}.items()
        }
    return list(found.values()), list(found)


def fault_of(visit: Mapping) -> str:
    """What is wrong with a stored assessment, as far as it is compared; "" for nothing."""
    patient, settings = visit.get("patient"), visit.get("settings")
    if not isinstance(patient, dict) or patient.get("sex", 0) not in (None, "F", "M"):
        return "who the patient is"
    if not isinstance(patient.get("id_hash", ""), str):
        return "who the patient is"
    if not _number_or_none(patient.get("age_years", "")):
        return "the patient's age"
    if not isinstance(settings, dict) or any(key not in settings for key in SETTINGS):
        return "its settings"
    images = visit.get("acquisition", {})
    if not isinstance(images, dict) or not all(isinstance(one, dict) for one in images.values()):
        return "how its images were acquired"
    measurements = visit.get("measurements")
    if not isinstance(measurements, list):
        return "its measurements"
    faulty = (n for n, one in enumerate(measurements, 1) if not _is_measurement(one))
    return next((f"measurement {n}" for n in faulty), "")


def _is_measurement(one: object) -> bool:
    if not isinstance(one, dict) or one.get("quantity") not in set(QUANTITIES):
        return False
    statistics, ci = one.get("statistics"), one.get("ci95")
    numbers = [one.get("value", ""), one.get("alike_sd"), *(ci if isinstance(ci, list) else [])]
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


def _place(one: Mapping) -> tuple:
    return one["quantity"], one["site"], tuple(one.get("measured", ()))


def check_days(visits: Sequence[Mapping], days: Sequence[float]) -> None:
    """Refuse what is no series of visits.

    Raises:
        ValueError: not two visits, or days that do not fit or rise.
    """
    if len(visits) < 2 or len(days) != len(visits):
        raise ValueError(
            f"{len(visits)} assessments and {len(days)} days were given; two or more assessments "
            "with a day each are expected."
        )
    if any(later <= earlier for earlier, later in pairwise(days)):
        raise ValueError("The days of the visits must rise; give the visits in their order.")


def mismatch(visits: Sequence[Mapping], days: Sequence[float]) -> str:
    """What tells that visits are of different persons, "" for nothing."""
    people = [visit["patient"] for visit in visits]
    known = {person.get("id_hash") for person in people if person.get("id_hash")}
    sexes = {person["sex"] for person in people if person["sex"]}
    ages = [(p["age_years"], day) for p, day in zip(people, days, strict=True) if p["age_years"]]
    apart = [abs((age - ages[0][0]) - (day - ages[0][1]) / DAYS_A_YEAR) for age, day in ages[1:]]
    wrong = [
        *(["the patient's identifier"] if len(known) > 1 else []),
        *(["the sex"] if len(sexes) > 1 else []),
        *(["the age at these days"] if any(one > _AGE_SLACK_YEARS for one in apart) else []),
    ]
    return " and ".join(wrong)


def refuse_two_persons(visits: Sequence[Mapping], days: Sequence[float]) -> None:
    """Raise ValueError where visits are of different persons."""
    if wrong := mismatch(visits, days):
        raise ValueError(
            f"The assessments are of different persons ({wrong} does not fit); give visits of one "
            "person, or --same-person if you know that they are."
        )


def refuse_one_twice(visits: Sequence[Mapping], days: Sequence[float]) -> None:
    """Raise ValueError where two days hold the same numbers: no two examinations give those."""
    for (n, one), (m, other) in combinations(enumerate(visits), 2):
        if one["measurements"] and one["measurements"] == other["measurements"]:
            raise ValueError(
                f"Days {days[n]:g} and {days[m]:g} have the same numbers to the last digit: one "
                "assessment was given twice, or one examination was assessed twice; give each "
                "visit its own."
            )


def differences(before: Mapping, now: Mapping, quantity: str) -> tuple[str, bool]:
    """What differs in how a quantity's images were acquired ("" for nothing known to).

    The second: whether it is the scanner alone, which own pairs of two scanners can answer for.
    """
    found, scanner = [], []
    for contrast in QUANTITIES[quantity].images:
        one, other = (v.get("acquisition", {}).get(contrast.value, {}) for v in (before, now))
        found += _image_differences(one, other)
        for key, word in (("scanner", "the scanner"), ("device", "the machine")):
            if key in one and key in other and one[key] != other[key]:
                scanner.append(f"{word} differs")
    found, scanner = list(dict.fromkeys(found)), list(dict.fromkeys(scanner))
    return ", ".join(found or scanner[:1]), not found and bool(scanner)


def _image_differences(one: Mapping, other: Mapping) -> list[str]:
    both = one.keys() & other.keys()
    found = [f"{word} differs" for key, word in _SAME if key in both and one[key] != other[key]]
    for key, word in _ALIKE:
        if key in both and not _alike(one[key], other[key]):
            found.append(f"{word} differ{'s' if key != 'b_values' else ''} by more than 10 %")
    field = "field_strength_t"
    if field in both and abs(one[field] - other[field]) >= SAME_FIELD_T:
        found.append(f"the field strength differs ({one[field]:g} and {other[field]:g} T)")
    uptake = "uptake_time_min"
    if uptake in both and abs(one[uptake] - other[uptake]) > _UPTAKE_APART_MIN:
        found.append("uptake times lie more than 10 min apart")
    return found


def _alike(one: object, other: object) -> bool:
    """Whether numbers, or lists of as many numbers, differ by 10 % at most."""
    lists = [list(x) if isinstance(x, list | tuple) else [x] for x in (one, other)]
    return len(lists[0]) == len(lists[1]) and all(
        abs(a - b) <= _SETTING_SHARE * max(abs(a), abs(b)) for a, b in zip(*lists, strict=True)
    )


def unchecked(visits: Sequence[Mapping]) -> str:
    """A sentence where a visit does not say how its images were acquired, else ""."""
    silent = [n for n, visit in enumerate(visits, 1) if not _says_scanner(visit)]
    if not silent:
        return ""
    listed = ", ".join(map(str, silent))
    return (
        f"Visit {listed}: scanner and field strength are not in its file, so whether they are the "
        "same was not checked."
    )


def _says_scanner(visit: Mapping) -> bool:
    facts = visit.get("acquisition", {}).values()
    return any("scanner" in one or "field_strength_t" in one for one in facts)


def not_comparable(before: Mapping, now: Mapping, between: Between, across: bool) -> str:
    """Why two measurements must not be compared, "" where they may.

    Args:
        across: whether an error of examinations on two scanners is known.
    """
    visits = between.visits
    if any(visits[0]["settings"][key] != visits[1]["settings"][key] for key in SETTINGS):
        return "erosion or coil correction (N4) differ between the visits"
    if before["doubtful"] or now["doubtful"]:
        return "a region may be another structure"
    if before.get("how") != now.get("how"):
        return "it was measured with other settings"
    if len({one.get("no_reference") == NOT_COMPARED for one in (before, now)}) == 2:
        return f"of one visit's value {NOT_COMPARED}"  # its image may be none, or hold an agent
    differs, scanner_alone = differences(*visits, now["quantity"])
    if differs and not (scanner_alone and across):
        return differs
    volumes = [m["statistics"]["volume_mm3"] for m in (before, now) if m.get("statistics")]
    if len(volumes) == 2 and max(volumes) > _LARGEST_VOLUME_RATIO * min(volumes):
        return "the region's volume differs by more than a factor of 2"
    if between.shifted and now["site"] and level_index(now["site"].split("-")[0]) is not None:
        return between.shifted
    for one in between.therapies:
        if one.damaging and any(_touches(site, now["site"]) for site in one.sites):
            return f"{one.what} of this site lies between the visits"
    return ""


def _touches(treated: str, site: str) -> bool:
    """Whether a site is one of those that a name covers, such as L3 of L2-L4."""
    spans = [[level_index(end) for end in name.split("-")] for name in (treated, site)]
    if any(None in span for span in spans):
        return treated.lower() == site.lower()
    return spans[0][0] <= spans[1][-1] and spans[1][0] <= spans[0][-1]
