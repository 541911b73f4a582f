"""A user's own control cohorts, kept beside the built-in data.

Only the fitted curves are stored, never the values of single controls.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PDFFMapperLib.images.json_file import write_json

from MarrowAssessLib.references.age_fit import FittedCurve


@dataclass(frozen=True)
class CohortCurve:
    """The curve of one quantity, site and sex ("M", "F" or "both")."""

    quantity: str
    site: str
    sex: str
    curve: FittedCurve


@dataclass(frozen=True)
class ControlCohort:
    """A named set of curves; `origin` is the name of the file they came from."""

    name: str
    origin: str
    curves: tuple[CohortCurve, ...]


def cohort_folder() -> Path:
    """Where control cohorts are kept: $MARROWASSESS_COHORTS, else ~/.marrowassess/cohorts."""
    return _as_path(
        os.environ.get("MARROWASSESS_COHORTS") or os.path.expanduser("~/.marrowassess/cohorts")
    )


_as_path = lru_cache(maxsize=4)(Path)  # asked for with every number that is compared


def save_control_cohort(cohort: ControlCohort) -> Path:
    """Store a cohort as <cohort folder>/<name>.json, replacing one of the same name."""
    path = cohort_folder() / f"{safe_name(cohort.name)}.json"
    write_json(path, cohort)
    return path


def stored_cohorts() -> tuple[ControlCohort, ...]:
    """The stored cohorts, in the order of their names.

    Raises:
        ValueError: a file in the folder is not a stored cohort.
    """
    folder = cohort_folder()
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    paths = [folder / name for name in names]
    return tuple(_load_unchanged(path, path.stat().st_mtime_ns) for path in paths)


@lru_cache(maxsize=64)
def _load_unchanged(path: Path, modified_ns: int) -> ControlCohort:
    return load_control_cohort(path)


def load_control_cohort(path: Path) -> ControlCohort:
    """Read one stored cohort.

    Raises:
        ValueError: the file is not a stored cohort.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        curves = tuple(
            CohortCurve(
                c["quantity"],
                c["site"],
                c["sex"],
                FittedCurve(
                    **{k: tuple(v) if isinstance(v, list) else v for k, v in c["curve"].items()}
                ),
            )
            for c in stored["curves"]
        )
        return ControlCohort(stored["name"], stored["origin"], curves)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: this is not a stored control cohort; remove it or add the cohort again."
        ) from error


def safe_name(name: str) -> str:
    """The name as a file can have it.

    Raises:
        ValueError: nothing is left of it.
    """
    safe = re.sub(r"[^\w-]+", "-", name).strip("-")
    if not safe:
        raise ValueError(f"'{name}' cannot name a control cohort; use letters and digits.")
    return safe
