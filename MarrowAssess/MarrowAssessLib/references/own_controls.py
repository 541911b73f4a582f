"""A cohort that grows from past results, and what few controls of any age are enough for.

Each normal study that is added gives one row for each number to <cohort folder>/<name>.controls.csv
(quantity, site, sex, age, value; no name, and a digest of its numbers so that none is
added twice). From 20 of one quantity, site and sex on they are fitted over age like any cohort.

Ten are enough for a "scanner-anchored" reference of plain signal ratios: their level on this
scanner comes from the controls, the shift from the controls' ages to the patient's from the model
(references/modelled.py, 5 years and older), and both uncertainties are in the interval.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PDFFMapperLib.images.tables import read_csv, write_rows

from MarrowAssessLib.catalogue.anatomy import spine_region
from MarrowAssessLib.catalogue.patient import check_age
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method
from MarrowAssessLib.references.age_fit import MIN_CONTROLS, fit_age_curve
from MarrowAssessLib.references.control_cohort import (
    CohortCurve,
    ControlCohort,
    cohort_folder,
    safe_name,
    save_control_cohort,
)
from MarrowAssessLib.references.modelled import log_median_by_draw

ANCHORED = ("t1_marrow_muscle", "t1_marrow_disc", "fs_t2_marrow_muscle")
MIN_ANCHORS = 10
ANCHOR_AGE_YEARS = 5.0
MODEL_FIELD_T = 1.5  # the shift with age is the same within 2 % at 3 T
COLUMNS = ("quantity", "site", "sex", "age_years", "value", "study")
_SUFFIX = ".controls.csv"


@dataclass(frozen=True)
class Control:
    """One number of one control."""

    quantity: str
    site: str
    sex: str
    age_years: float
    value: float
    study: str


@dataclass(frozen=True)
class Anchor:
    """A quantity's level on one scanner.

    Attributes:
        name: of the cohort.
        ages, sexes, log_values: one for each control: its age, sex ("M", "F" or "") and the mean
            logarithm of its lumbar levels.
    """

    name: str
    ages: tuple[float, ...]
    sexes: tuple[str, ...]
    log_values: tuple[float, ...]

    def at(self, quantity: str, age_years: float, sex: str | None) -> tuple[float, float, float]:
        """Mean and SD of the logarithm at an age, and the variance of that mean over the SD's."""
        of_controls = [_shift(quantity, a, s) for a, s in zip(self.ages, self.sexes, strict=True)]
        of_patient = _shift(quantity, age_years, sex or "")
        # The model's common unknowns move all ages together; what is left is the shift's error.
        apart = of_patient - np.mean(of_controls, axis=0)
        levels = [v - m.mean() for v, m in zip(self.log_values, of_controls, strict=True)]
        sd = float(np.std(levels, ddof=1))
        location = float(np.mean(levels) + of_patient.mean())
        return location, sd, 1 / len(levels) + float(np.var(apart)) / sd**2


def add_study(path: str | Path, name: str = "controls") -> tuple[str, int]:
    """Add the numbers of a normal study; refits the cohort's curves.

    Args:
        path: assessment.json of the study.
        name: of the cohort.

    Returns:
        The cohort's name and how many studies it holds now.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no assessment, has no age or no number, or was added before.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    try:
        stored = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(_no_assessment(path)) from error
    return add_assessment(stored, path, name)


def add_assessment(
    stored: dict, where: str | Path = "This study", name: str = "controls"
) -> tuple[str, int]:
    """Add an assessment as `report.data.as_dict` gives it; see add_study."""
    found = _controls_of(stored, where)
    name = safe_name(name)
    known = read_controls(name)
    if found[0].study in {one.study for one in known}:
        raise ValueError(f"{where}: this study is in the cohort '{name}' already.")
    everything = [*known, *found]
    file = cohort_folder() / f"{name}{_SUFFIX}"
    write_rows(file, COLUMNS, map(vars, everything))
    if curves := _curves(everything):
        save_control_cohort(ControlCohort(name, file.name, curves))
    return name, len({one.study for one in everything})


def added_text(name: str, count: int) -> str:
    """What a cohort holds now, and what it is enough for."""
    return (
        f"'{name}' holds {count} {'study' if count == 1 else 'studies'} now. {MIN_ANCHORS} anchor "
        f"T1 and STIR ratios on this scanner ({ANCHOR_AGE_YEARS:g} years and older); {MIN_CONTROLS}"
        " of one sex and site make a curve of any quantity."
    )


def read_controls(name: str) -> list[Control]:
    """The rows of a growing cohort, none where there is no such cohort.

    Raises:
        ValueError: a row cannot be read.
    """
    path = cohort_folder() / f"{name}{_SUFFIX}"
    return list(_rows(path, path.stat().st_mtime_ns)) if path.is_file() else []


def anchors(quantity: str) -> list[Anchor]:
    """The levels of a quantity on the scanners that have enough controls."""
    if quantity not in ANCHORED:
        return []
    found = []
    for path in sorted(cohort_folder().glob(f"*{_SUFFIX}")):
        name = path.name.removesuffix(_SUFFIX)
        of_study: dict[str, list[Control]] = defaultdict(list)
        for one in read_controls(name):
            lumbar = spine_region(one.site) == "lumbar"
            if one.quantity == quantity and lumbar and one.age_years >= ANCHOR_AGE_YEARS:
                of_study[one.study].append(one)
        if len(of_study) >= MIN_ANCHORS:
            firsts = [rows[0] for rows in of_study.values()]
            logs = [np.mean([math.log(r.value) for r in rows]) for rows in of_study.values()]
            found.append(
                Anchor(
                    name,
                    tuple(one.age_years for one in firsts),
                    tuple(one.sex for one in firsts),
                    tuple(map(float, logs)),
                )
            )
    return found


def _controls_of(stored: dict, where: str | Path) -> list[Control]:
    try:
        patient, numbers = stored["patient"], stored["measurements"]
        age, sex = patient["age_years"], patient["sex"] or ""
        rows = [(m["quantity"], m["site"], m["value"], m["doubtful"]) for m in numbers]
    except (KeyError, TypeError) as error:
        raise ValueError(_no_assessment(where)) from error
    if age is None:
        raise ValueError(f"{where}: the patient's age is not known; assess again with the age.")
    same = json.dumps([age, sex, [row[:3] for row in rows]])
    study = hashlib.sha256(same.encode()).hexdigest()[:12]
    found = [
        Control(quantity, site, sex, check_age(age), float(value), study)
        for quantity, site, value, doubtful in rows
        if quantity in QUANTITIES
        and site
        and value is not None
        and value > 0
        and not doubtful
        # Textures compare only with equal voxels and gray levels, which are not kept here.
        and QUANTITIES[quantity].method is not Method.TEXTURE
    ]
    if not found:
        raise ValueError(f"{where}: it holds no number of a named site that is not in doubt.")
    return found


def _no_assessment(where: str | Path) -> str:
    return f"{where}: this is no assessment; give the assessment.json of a result."


@lru_cache(maxsize=16)
def _rows(path: Path, modified_ns: int) -> tuple[Control, ...]:
    try:
        return tuple(
            Control(
                row["quantity"],
                row["site"],
                row["sex"],
                check_age(float(row["age_years"])),
                float(row["value"]),
                row["study"],
            )
            for _line, row in read_csv(path, "a stored list of controls", COLUMNS)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: this is not a stored list of controls; remove it or add the studies again."
        ) from error


def _curves(controls: list[Control]) -> tuple[CohortCurve, ...]:
    """A curve for each quantity, site and sex that has enough controls."""
    groups: dict[tuple[str, str, str], list[Control]] = defaultdict(list)
    for one in controls:
        fixed = QUANTITIES[one.quantity].site_in_definition
        groups[one.quantity, "" if fixed else one.site, one.sex or "both"].append(one)
    found = []
    for (quantity, site, sex), rows in sorted(groups.items()):
        values = np.array([row.value for row in rows])
        if len(rows) >= MIN_CONTROLS and np.ptp(values) > 0:
            ages = np.array([row.age_years for row in rows])
            found.append(CohortCurve(quantity, site, sex, fit_age_curve(ages, values)))
    return tuple(found)


def _shift(quantity: str, age_years: float, sex: str) -> np.ndarray:
    return _of_year(quantity, round(age_years), sex or None)


@lru_cache(maxsize=512)
def _of_year(quantity: str, age_years: int, sex: str | None) -> np.ndarray:
    return log_median_by_draw(quantity, float(age_years), sex, MODEL_FIELD_T)
