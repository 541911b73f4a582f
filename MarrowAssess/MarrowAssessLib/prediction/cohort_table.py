"""A cohort for training: features of regions joined with patients' outcomes, or refused."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PDFFMapperLib.images.files import checked_name

from MarrowAssessLib.texture.feature import OVER

MOST_MISSING = 0.2  # share of a column
SEXES = {"F": 0.0, "M": 1.0}
_TEXT_COLUMNS = ("subject", "region", "tissue", "site", "images")
_SETTINGS = "_settings"


@dataclass(frozen=True)
class CohortTable:
    """One row a patient.

    Attributes:
        patients: their names in the tables; never written to a score.
        values: (patients, predictors); NaN is missing.
        predictors: column names.
        outcome: (patients,) bool.
        outcome_name: column of the outcome table.
        scanners: per patient; "" where not given.
        tissue: of the regions.
        measured: names of the predictors that were measured, not taken from the outcome table.
        notes: sentences on what was left out and what to look at.
        settings: by image: what its features depend on, the same for every row.
        digest: SHA-256 of predictors, values and outcomes, to tell tables apart.
    """

    patients: tuple[str, ...]
    values: np.ndarray
    predictors: tuple[str, ...]
    outcome: np.ndarray
    outcome_name: str
    scanners: tuple[str, ...]
    settings: dict[str, str]
    digest: str
    tissue: str = ""
    measured: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def read_table(path: str | Path) -> list[dict[str, str]]:
    """Rows of a CSV file with a header; a byte-order mark is passed over.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no text, no header or row, or a row of another length (decimal commas).
    """
    path = checked_name(Path(path))
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"{path}: this is no CSV file in UTF-8; save it so.") from None
    if len(lines) < 2:
        raise ValueError(f"{path}: expected a header and at least one row.")
    header = lines[0]
    if len(set(header)) < len(header):
        raise ValueError(f"{path}: two columns have one name.")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            raise ValueError(
                f"{path}, line {number}: {len(line)} values for {len(header)} columns; write "
                "decimal points, not commas, and separate columns by commas."
            )
    return [dict(zip(header, line, strict=True)) for line in lines[1:]]


def cohort_table(
    feature_files: Sequence[str | Path],
    outcome_file: str | Path,
    outcome: str,
    tissue: str = "marrow",
) -> CohortTable:
    """Join features and outcomes by the column "subject"; regions of a patient by their median.

    The outcome table has the columns subject, the outcome (0 or 1) and, if wanted, scanner; its
    other columns of numbers become predictors too, and sex as F or M.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no region of the tissue, settings that differ between rows, a patient or an
            image twice, an outcome that is not two classes, stands among the features or follows
            from the scanner, too many values missing.
    """
    rows, notes = of_tissue([row for path in feature_files for row in read_table(path)], tissue)
    settings = one_setting(rows)
    _refuse_shared_images(rows)
    outcomes = {}
    for row in read_table(outcome_file):
        subject = row.get("subject", "").strip()
        if not subject or outcome not in row:
            raise ValueError(f"{outcome_file}: expected the columns subject and {outcome}.")
        if subject in outcomes:
            raise ValueError(f"{outcome_file}: '{subject}' stands twice; keep one row.")
        outcomes[subject] = row
    skipped = {*_TEXT_COLUMNS, "scanner", "date", outcome}
    columns = [c for c in feature_columns(rows) if c not in skipped]
    if any(outcome in row for row in rows):
        raise ValueError(f"The outcome '{outcome}' stands among the features; take it out.")
    patients, values = _by_patient(rows, columns, outcomes)
    notes += _unlike(rows, outcomes.keys() - set(patients))
    _refuse_twins(patients, values)
    extra = [c for c in next(iter(outcomes.values())) if c not in skipped]
    if twice := [c for c in extra if c in columns]:
        raise ValueError(f"{', '.join(twice)} stands in both tables; keep one of them.")
    more = [[number_in(outcomes[p][c], p, c) for c in extra] for p in patients]
    values = np.column_stack([values, np.reshape(more, (len(patients), len(extra)))])
    flags = _classes([outcomes[p][outcome] for p in patients], outcome)
    values, columns, dropped = _without_empty(values, [*columns, *extra])
    measured = frozenset(columns) - set(extra)
    warned = _refuse_leak(values, columns, flags, measured)
    digest = hashlib.sha256("|".join(columns).encode())
    digest.update(np.ascontiguousarray(values).tobytes())
    digest.update(flags.tobytes())
    scanners = tuple(outcomes[p].get("scanner", "").strip() for p in patients)
    _refuse_scanner(scanners, flags)
    return CohortTable(
        tuple(patients), values, tuple(columns), flags, outcome, scanners, settings,
        digest.hexdigest(), tissue, measured, (*notes, *dropped, *warned),
    )  # fmt: skip


def of_tissue(
    rows: Sequence[dict[str, str]], tissue: str
) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """The rows of a tissue, and what is to be said of the others.

    Rows without a tissue stay: they come from another table than that of `radiomics`.

    Raises:
        ValueError: no row is of the tissue.
    """
    kept = [row for row in rows if row.get("tissue", "").strip() in ("", tissue)]
    others = sorted({row.get("tissue", "").strip() for row in rows} - {"", tissue})
    if not kept:
        raise ValueError(f"No region is of {tissue}, only of {', '.join(others)}.")
    said = f"Regions of {', '.join(others)} are left out; patients compare by {tissue}."
    return kept, (said,) if others else ()


def _unlike(rows: Sequence[dict[str, str]], without: set[str]) -> tuple[str, ...]:
    """What is to be said of patients without features and of those measured at other sites."""
    said = [f"{len(without)} patients of the outcome table have no features."] if without else []
    sites: dict[str, set[str]] = {}
    for row in rows:
        sites.setdefault(row["subject"].strip(), set()).add(row.get("site", "").strip())
    if len({frozenset(one) for one in sites.values()}) > 1:
        said.append(
            "Patients were measured at different sites; texture differs between them, so check "
            "that both classes were measured alike."
        )
    return tuple(said)


def feature_columns(rows: Sequence[dict[str, str]]) -> list[str]:
    """The columns of numbers that were measured, of all rows."""
    every = dict.fromkeys(column for row in rows for column in row)
    return [c for c in every if c not in _TEXT_COLUMNS and not c.endswith(_SETTINGS)]


def one_setting(rows: Sequence[dict[str, str]]) -> dict[str, str]:
    """The settings of each image.

    Raises:
        ValueError: they differ between rows.
    """
    found: dict[str, tuple[str, str]] = {}
    for row in rows:
        for column, text in row.items():
            if not column.endswith(_SETTINGS) or not text:
                continue
            image = column.removesuffix(_SETTINGS)
            here = f"{row.get('subject', '')} {row.get('region', '')}".strip()
            other, first = found.setdefault(image, (text, here))
            if other != text:
                raise ValueError(
                    f"{image} was measured with other settings in '{here}' ({text}) than in "
                    f"'{first}' ({other}); features compare only with equal settings, so resample "
                    "the images or leave such studies out."
                )
    return {image: text for image, (text, _) in found.items()}


def _by_patient(
    rows: Sequence[dict[str, str]], columns: Sequence[str], outcomes: dict[str, dict[str, str]]
) -> tuple[list[str], np.ndarray]:
    own: dict[str, list[list[float]]] = {}
    for row in rows:
        subject = row.get("subject", "").strip()
        if not subject:
            raise ValueError(
                "A row of the features names no subject; give --subject when measuring."
            )
        if subject not in outcomes:
            raise ValueError(f"'{subject}' has features but no outcome; add a row or leave it out.")
        own.setdefault(subject, []).append([number_in(row.get(c, ""), subject, c) for c in columns])
    middle = []
    for of_patient in own.values():
        known = np.array(of_patient, float)
        some = np.isfinite(known).any(0)
        one = np.full(len(columns), np.nan)
        one[some] = np.nanmedian(known[:, some], 0)
        middle.append(one)
    return list(own), np.array(middle)


def number_in(text: str, subject: str, column: str) -> float:
    """The number in a cell; NaN where it is empty or infinite; sex is 0 (F) or 1 (M).

    Raises:
        ValueError: the cell holds another word.
    """
    text = text.strip()
    if not text:
        return float("nan")
    if column == "sex" and text.upper() in SEXES:
        return SEXES[text.upper()]
    try:
        number = float(text)
    except ValueError:
        raise ValueError(
            f"'{subject}', {column}: '{text}' is not a number; code words as numbers."
        ) from None
    return number if math.isfinite(number) else float("nan")


def _classes(texts: Sequence[str], outcome: str) -> np.ndarray:
    if set(texts) - {"0", "1"}:
        raise ValueError(
            f"The outcome '{outcome}' holds {', '.join(sorted(set(texts))[:4])}; expected are 0 "
            "and 1 only."
        )
    if len(set(texts)) == 1:
        raise ValueError(
            f"The outcome '{outcome}' is {texts[0]} in every patient; a score needs both classes."
        )
    return np.array([text == "1" for text in texts])


def _refuse_twins(patients: Sequence[str], values: np.ndarray) -> None:
    seen: dict[bytes, str] = {}
    for name, row in zip(patients, values, strict=True):
        key = np.nan_to_num(row, nan=-1e300).tobytes()
        if np.isfinite(row).any() and key in seen:
            raise ValueError(
                f"'{seen[key]}' and '{name}' have the same values: one patient under two names "
                "would stand on both sides of a split; leave one out."
            )
        seen[key] = name


def _without_empty(
    values: np.ndarray, columns: list[str]
) -> tuple[np.ndarray, list[str], tuple[str, ...]]:
    """What differs between patients and is known of most; signals over a tissue are optional."""
    missing = np.mean(~np.isfinite(values), 0)
    dropped: dict[str, int] = {}
    kept = missing < 1
    for n, (share, column) in enumerate(zip(missing, columns, strict=True)):
        if share <= MOST_MISSING or share == 1:
            continue
        if OVER not in column:
            raise ValueError(
                f"{column} is missing in {100 * share:.0f} % of the patients; {MOST_MISSING:.0%} "
                "is the most that may be filled in, so take the column out or measure it."
            )
        kept[n] = False
        group = column.rpartition("_")[0]
        dropped[group] = max(dropped.get(group, 0), round(100 * share))
    varies = kept.copy()
    varies[kept] = np.nanstd(values[:, kept], 0) > 0
    if not varies.any():
        raise ValueError("No feature differs between the patients.")
    said = tuple(
        f"{group} is left out: it is missing in {share} % of the patients."
        for group, share in dropped.items()
    )
    return values[:, varies], [c for c, keep in zip(columns, varies, strict=True) if keep], said


def _refuse_shared_images(rows: Sequence[dict[str, str]]) -> None:
    """An image under two names is one patient, also where regions were drawn anew."""
    owner: dict[str, str] = {}
    for row in rows:
        subject = row.get("subject", "").strip()
        for digest in row.get("images", "").split():
            if owner.setdefault(digest, subject) != subject:
                raise ValueError(
                    f"'{owner[digest]}' and '{subject}' were measured on the same image: one "
                    "patient under two names would stand on both sides of a split; leave one out."
                )


def _refuse_scanner(scanners: Sequence[str], outcome: np.ndarray) -> None:
    names = sorted(set(scanners) - {""})
    if len(names) < 2:
        return
    classes = [{bool(o) for s, o in zip(scanners, outcome, strict=True) if s == n} for n in names]
    if all(len(one) == 1 for one in classes):
        raise ValueError(
            "Every scanner has patients of one class only, so the scanner tells the outcome and a "
            "score would learn the scanner; add patients of both classes of at least one scanner."
        )


def _refuse_leak(
    values: np.ndarray, columns: Sequence[str], outcome: np.ndarray, measured: frozenset[str]
) -> tuple[str, ...]:
    """Refuse what follows from the outcome; say which measured features tell it by themselves.

    A column of the outcome table, or one of two levels, that separates the classes is the outcome
    under another name. A measured feature may be that good, above all in a small cohort.
    """
    perfect = []
    for column, name in zip(values.T, columns, strict=True):
        known = np.isfinite(column)
        if (known == outcome).all() or (known != outcome).all():
            raise ValueError(
                f"{name} is missing in one class and in no other, so its absence tells the "
                "outcome; take it out."
            )
        cases, others = column[known & outcome], column[known & ~outcome]
        if not (cases.size and others.size):
            continue
        if cases.min() <= others.max() and cases.max() >= others.min():
            continue
        if name not in measured or len(np.unique(column[known])) == 2:
            raise ValueError(
                f"{name} alone tells the classes apart without one exception: it is the outcome "
                "under another name, or follows from it; take it out."
            )
        perfect.append(name)
    if not perfect:
        return ()
    more = f" and {len(perfect) - 3} more" if len(perfect) > 3 else ""
    return (
        f"{', '.join(perfect[:3])}{more} alone tells the classes apart without one exception; "
        "make sure that regions were drawn and images chosen without knowing the outcome.",
    )
