"""A cohort as a CSV list: one study a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PDFFMapperLib.images.tables import check_cells, table_of

from MarrowAssessLib.catalogue.contrasts import parse_contrast

EXTRA = ("group", "scanner", "center", "reader", "days")  # of comparisons; kept as they are
_NAMES = ("study", "patient", "session")
_ALSO = {"age": "age_years", "id": "study", "subject": "patient", "visit": "session"}
_TEXTS = ("labels", "labels_of", "segmentation", "segment_with", "sex")
_LISTS = ("label_rules", "markups", "leave_out", "right")
_NUMBERS = ("age_years", "lumbar", "point_radius_mm")
_JSON = ("column", "places", "scale")


@dataclass(frozen=True)
class ListedStudy:
    """One study of a list or of a BIDS data set.

    Attributes:
        name: of its own among all.
        content: as of a study file; paths are relative to the list's or data set's folder.
        patient, session: as they are called there, "" where that is not said.
        columns: name and value of what else is known, for the tables.
    """

    name: str
    content: dict
    patient: str = ""
    session: str = ""
    columns: tuple[tuple[str, str], ...] = ()


def listed_studies(path: Path) -> list[ListedStudy]:
    """The studies of a CSV list.

    Its columns: study, patient, session (study may be missing where the others name it); one for
    each image by its role, such as T1 or PDFF; keys of a study file, such as age_years, sex,
    labels, label_rules (several parted by ";"), column; and of EXTRA.

    Raises:
        ValueError: a column is not known, a line has no name or more cells than there are columns,
            or two have the same name.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if "\0" in text:  # a spreadsheet
            raise UnicodeError
    except UnicodeError:
        raise ValueError(
            f"{path.name}: a folder of studies or a CSV list of them in UTF-8 is expected; unpack "
            "an archive first."
        ) from None
    if text.lstrip().startswith("{"):
        raise ValueError(
            f"{path.name}: this is one study file; name the folder that it lies in, each study "
            "file or folder of which is a study."
        )
    rows, before = table_of(text)
    columns = {name: _column(name, path) for name in rows.fieldnames or () if name.strip()}
    found: dict[str, ListedStudy] = {}
    for row in rows:
        where = f"{path.name}, line {rows.line_num + before}"
        check_cells(row, where)
        cells = {
            columns[name]: value.strip()
            for name, value in row.items()
            if name in columns and value and value.strip()
        }
        if not cells:
            continue
        one = _study(cells, where)
        if one.name in found:
            raise ValueError(
                f"{where}: this study was listed before; give every "
                "study a name of its own (column study), or every visit its session."
            )
        found[one.name] = one
    if not found:
        raise ValueError(f"{path.name}: this list holds no study.")
    return [found[name] for name in sorted(found)]


def _column(name: str, path: Path) -> str:
    """What a column is called here: a key, or "volume ROLE"."""
    word = name.strip().lower().replace(" ", "_")
    word = _ALSO.get(word, word)
    if word in (*_NAMES, *EXTRA, *_TEXTS, *_LISTS, *_NUMBERS, *_JSON, "resample"):
        return word
    try:
        return f"volume {parse_contrast(name.strip()).value}"
    except ValueError:
        raise ValueError(
            f"{path.name}: column '{name}' is not known; expected are {', '.join(_NAMES)}, images "
            f"by their role such as T1, keys of a study file such as age_years, sex, labels, "
            f"label_rules, column, and {', '.join(EXTRA)}."
        ) from None


def _study(cells: Mapping[str, str], where: str) -> ListedStudy:
    patient, session = cells.get("patient", ""), cells.get("session", "")
    name = cells.get("study") or "/".join(filter(None, (patient, session)))
    if not name:
        raise ValueError(f"{where}: the study has no name; give study, or patient and session.")
    content: dict[str, object] = {
        "volumes": {
            key.removeprefix("volume "): value
            for key, value in cells.items()
            if key.startswith("volume ")
        }
    }
    content |= {key: cells[key] for key in _TEXTS if key in cells}
    for key in _LISTS:
        if key in cells:
            content[key] = [part.strip() for part in cells[key].split(";") if part.strip()]
    for key in (*_NUMBERS, *_JSON, "resample"):
        if key in cells:
            content[key] = _value(cells[key])
    extra = tuple((key, cells[key]) for key in EXTRA if key in cells)
    return ListedStudy(name, content, patient, session, extra)


def _value(text: str) -> object:
    """A number, true, false or JSON, else the text, about which reading the study complains."""
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except ValueError:
        return text
