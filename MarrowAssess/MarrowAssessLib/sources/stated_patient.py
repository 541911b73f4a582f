"""A patient's age and sex as images state them: their DICOM headers, and the tables of BIDS."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from PDFFMapperLib.images.bids import bids_name, bids_root
from PDFFMapperLib.images.json_file import read_json
from PDFFMapperLib.images.patient import PatientFacts, Visit, shown_age, told_apart
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.patient import age_text, check_age, parse_age, parse_sex

SAME_AGE_YEARS = 1.0  # between series of one study: a birthday, or years rounded and exact
_NOT_KNOWN = ("", "n/a", "na", "nan", "none", "unknown")
_YEARS = {"year": 1.0, "month": 1 / 12, "week": 7 / 365.25, "day": 1 / 365.25}
HEADER, TABLE = "the DICOM header", "the tables of its BIDS data set"


def stated_patient(volume: Volume, path: str | Path) -> tuple[PatientFacts, str, list[str]]:
    """Age and sex of who is on an image, where that is said, and what could not be read there.

    Args:
        volume: as it was read; its DICOM files are asked where it has any.
        path: the file that it was read from.

    Raises:
        ValueError: a table of its BIDS data set is no such table.
    """
    if volume.slices is not None:
        from PDFFMapperLib.dicom.frames import read_facts

        facts = read_facts(volume.slices.frames[0][0])[1]
        sex = facts.sex if facts.sex in ("F", "M") else None
        read = replace(facts, age_years=shown_age(facts.age_years), sex=sex)
        return read, HEADER, []
    facts, notes = bids_patient(Path(path))
    return facts, TABLE, notes


def agreed_patient(
    age_years: float | None, sex: str | None, read: Mapping[Path | str, Volume]
) -> tuple[float | None, str | None, list[str]]:
    """Age and sex of a study: what is given, else what all of its images agree on.

    Args:
        age_years, sex: as given, None where they are not.
        read: the images by the file or folder that each was read from.

    Returns:
        Age, sex, and sentences about what was taken, left out or contradicts.
    """
    notes: list[str] = []
    ages: dict[float, str] = {}
    sexes: dict[str, str] = {}
    unread = PatientFacts()
    for path, volume in read.items():
        facts, ground, said = stated_patient(volume, path)
        notes += said
        unread = unread.completed(facts)
        if facts.age_years is not None:
            ages.setdefault(facts.age_years, ground)
        if facts.sex:
            sexes.setdefault(facts.sex, ground)
    if of := told_apart(_visits(read.values())):
        notes.append(f"The images are of {of}; check that they belong together.")
    if (ages and max(ages) - min(ages) > SAME_AGE_YEARS) or len(sexes) > 1:
        listed = ", ".join([*map(age_text, sorted(ages)), *sorted(sexes)])
        notes.append(
            f"The images state different patients or years ({listed}); check that they belong "
            "together; what differs was not taken from them."
        )
    taken = []
    if ages and max(ages) - min(ages) <= SAME_AGE_YEARS:
        age, ground = next(iter(ages.items()))
        if age_years is None:
            age_years = age
            taken.append((f"age {age_text(age)}", ground))
        elif abs(age - age_years) > SAME_AGE_YEARS:
            notes.append(_contradicted(f"The age {age_text(age_years)}", age_text(age), ground))
    if len(sexes) == 1:
        stated, ground = next(iter(sexes.items()))
        if sex is None:
            sex = stated
            taken.append((f"sex {stated}", ground))
        elif stated != sex:
            notes.append(_contradicted(f"The sex {sex}", stated, ground))
    for ground in dict.fromkeys(ground for _, ground in taken):
        what = " and ".join(text for text, where in taken if where == ground)
        notes.append(f"{what[0].upper()}{what[1:]} by {ground}.")
    notes += replace(unread, age_years=age_years, sex=sex).unread
    return age_years, sex, list(dict.fromkeys(notes))


def _visits(volumes: Iterable[Volume]) -> Iterator[Visit]:
    """Of the images that were read from DICOM."""
    from PDFFMapperLib.dicom.frames import read_visit

    for volume in volumes:
        if volume.slices is not None:
            yield read_visit(volume.slices.frames[0][0])


def _contradicted(given: str, stated: str, ground: str) -> str:
    return f"{given} was given and is used; by {ground} it is {stated}: check which is right."


def bids_patient(image: Path) -> tuple[PatientFacts, list[str]]:
    """Age and sex of the participant of a BIDS image; nothing for other images.

    The age of the session (``sub-*_sessions.tsv``) goes before that of the participant
    (``participants.tsv``); ages are in years unless the JSON beside the table states another unit.

    Raises:
        ValueError: a table is no text with tabs.
    """
    entities = bids_name(image).entities
    root = bids_root(image.parent) if entities.get("sub") else None
    if root is None:
        return PatientFacts(None, None), []
    subject = f"sub-{entities['sub']}"
    tables = [(root / "participants.tsv", "participant_id", subject)]
    if session := entities.get("ses"):
        sessions = root / subject / f"{subject}_sessions.tsv"
        tables.insert(0, (sessions, "session_id", f"ses-{session}"))
    age, sex, notes = None, None, []
    for path, key, name in tables:
        row = _row(path, key, name)
        kind = path.name.removeprefix(f"{subject}_")  # a subject's name is not for results
        if age is None:
            age = _age(row.get("age", ""), path, kind, notes)
        if sex is None and (word := row.get("sex", "") or row.get("gender", "")):
            sex = _sex(word, kind, notes)
    return PatientFacts(age, sex), notes


def _row(path: Path, key: str, name: str) -> dict[str, str]:
    """The row of a table, its columns in lower case; nothing where it is not there."""
    if not path.is_file():
        return {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        rows: Iterable[dict] = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        for row in rows:
            cells = {
                str(column).strip().lower(): "" if value.strip().lower() in _NOT_KNOWN else value
                for column, value in row.items()
                if column is not None and value is not None
            }
            if cells.get(key, "").strip().removeprefix("sub-") == name.removeprefix("sub-"):
                return {column: value.strip() for column, value in cells.items()}
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{path.name}: a table of text with tabs is expected; save it as UTF-8."
        ) from error
    return {}


def _age(text: str, path: Path, kind: str, notes: list[str]) -> float | None:
    if not text:
        return None
    try:
        if text.endswith("+"):  # BIDS: who is older than 89 may be called "89+"
            notes.append(f"{kind}: the age {text} was read as {text[:-1]} years.")
        age = parse_age(text.removesuffix("+"))
        side = path.with_suffix(".json")
        column = (read_json(side) if side.is_file() else {}).get("age")
        unit = str(column.get("Units", "")).lower() if isinstance(column, dict) else ""
        factor = next((years for word, years in _YEARS.items() if unit.startswith(word)), 1.0)
        in_years = any(letter.isalpha() for letter in text)  # "8 months" says it itself
        return None if age is None else shown_age(check_age(age if in_years else age * factor))
    except ValueError:
        notes.append(f"{kind}: the age '{text[:20]}' is no age and was left out.")
        return None


def _sex(word: str, kind: str, notes: list[str]) -> str | None:
    try:
        return parse_sex(word)
    except ValueError:
        notes.append(f"{kind}: the sex '{word[:20]}' is neither M nor F and was left out.")
        return None
