"""A user's own control cohort, read from a CSV and fitted over age."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
from PDFFMapperLib.images.tables import read_csv

from MarrowAssessLib.catalogue.anatomy import parse_site
from MarrowAssessLib.catalogue.patient import check_age, parse_sex
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.references.age_fit import fit_age_curve
from MarrowAssessLib.references.control_cohort import CohortCurve, ControlCohort, safe_name

COLUMNS = ("quantity", "site", "sex", "age_years", "value")
# Medians outside these ranges come from another unit (a fraction for a percentage, mm^2/s ...).
_PLAUSIBLE_MEDIAN = {"%": (1.0, 1000.0), "10^-3 mm^2/s": (0.02, 100.0), "1/s": (5.0, 5000.0)}


def read_control_cohort(csv_path: str | Path, name: str | None = None) -> ControlCohort:
    """Read a CSV with the columns quantity, site, sex, age_years, value (and optionally unit).

    One row is one control's value, in the quantity's unit. Rows of the same quantity, site and
    sex make one curve. The site is ignored where the quantity's definition fixes it; an empty sex
    means both.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, or a row cannot be read (with its line number), or values
            look like another unit, or a group has too few controls.
    """
    path = Path(csv_path)
    groups: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for line, row in read_csv(path, "a list of controls", COLUMNS):
        try:
            key, age, value = _read_row(row)
        except ValueError as error:
            raise ValueError(f"{path.name}, line {line}: {error}") from None
        groups[key].append((age, value))
    if not groups:
        raise ValueError(f"{path.name}: the file holds no rows of controls.")
    curves = []
    for (quantity, site, sex), points in sorted(groups.items()):
        ages, values = np.array(points).T
        try:
            _check_unit(quantity, values)
            curves.append(CohortCurve(quantity, site, sex, fit_age_curve(ages, values)))
        except ValueError as error:
            group = " ".join(word for word in (quantity, site, sex) if word)
            raise ValueError(f"{path.name}, {group}: {error}") from None
    return ControlCohort(safe_name(name or path.stem), path.name, tuple(curves))


def _read_row(row: dict[str, str]) -> tuple[tuple[str, str, str], float, float]:
    quantity = (row["quantity"] or "").strip()
    if quantity not in QUANTITIES:
        raise ValueError(f"unknown quantity '{quantity}'; one of {', '.join(QUANTITIES)}.")
    unit = QUANTITIES[quantity].unit
    given = (row.get("unit") or "").strip()
    if given and given != unit:
        raise ValueError(f"the unit of {quantity} is '{unit}', not '{given}'; convert the values.")
    age = check_age(_number(row["age_years"], "age_years"))
    value = _number(row["value"], "value")
    fixed = QUANTITIES[quantity].site_in_definition  # kept without one
    site = "" if fixed else parse_site(row["site"] or "")
    if not site and not fixed:
        raise ValueError(f"{quantity} needs a site, such as L3 or L1-L4.")
    return (quantity, site, parse_sex(row["sex"]) or "both"), age, value


def _number(text: str | None, column: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        raise ValueError(f"{column} '{text}' is not a number.") from None
    if not math.isfinite(number):
        raise ValueError(f"{column} '{text}' is not a finite number.")
    return number


def _check_unit(quantity: str, values: np.ndarray) -> None:
    unit = QUANTITIES[quantity].unit
    low, high = _PLAUSIBLE_MEDIAN.get(unit, (-math.inf, math.inf))
    median = float(np.median(values))
    if not low <= abs(median) <= high:
        raise ValueError(
            f"the median is {median:g}, which does not look like {unit}; give values in {unit}."
        )
