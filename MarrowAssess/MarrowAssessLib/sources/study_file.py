"""A study as a file: images, regions and patient in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from PDFFMapperLib.images.json_file import read_json

from MarrowAssessLib.catalogue.contrasts import by_contrast
from MarrowAssessLib.catalogue.patient import parse_age, parse_sex
from MarrowAssessLib.placement.options import PlacingOptions
from MarrowAssessLib.sources.inputs import StudyFiles
from MarrowAssessLib.sources.labels import parse_label_rule


def read_study_file(path: str | Path) -> StudyFiles:
    """Read a study file (JSON); paths are relative to it.

    Example: {"age_years": 45, "sex": "F", "volumes": {"T1": "t1.nii.gz", "STIR": "stir.nii.gz"},
    "labels": "labels.nii.gz", "label_rules": ["2=marrow:L5"], "markups": ["rois.mrk.json"]};
    instead of drawn regions, points to find them from: "column": {"L3": [1.5, -20, 33]},
    "places": {"fat": [0, -70, 33]}, "lumbar": 5, "leave_out": ["vein", "fat"]; and "right":
    ["L1 marrow"], doubtful regions that were looked at.

    Raises:
        FileNotFoundError, ValueError: no such file, not JSON, an unknown key or a value of another
            kind.
    """
    path = Path(path)
    return study_files(read_json(path, "a study file"), path.parent, str(path))


def study_files(content: dict, here: Path, path: str) -> StudyFiles:
    """The files that a study file names, and what it says of them.

    Args:
        content: as of a study file.
        here: the folder that paths are relative to.
        path: what it is called in sentences.

    Raises:
        ValueError: an unknown key, or a value of another kind.
    """
    if unknown := sorted(set(content) - set(_STUDY_FILE)):
        raise ValueError(
            f"{path}: unknown key {', '.join(unknown)}; expected: {', '.join(sorted(_STUDY_FILE))}."
        )
    content = {key: value for key, value in content.items() if value is not None}
    for key, value in content.items():
        fits, words = _STUDY_FILE[key]
        if not fits(value):
            raise ValueError(f"{path}: '{key}' must be {words}; this is {json.dumps(value)}.")
    try:
        return _study_files(content, here)
    except ValueError as error:  # no age, no sex, no role ...
        raise ValueError(f"{path}: {error}") from error


def _study_files(content: dict, here: Path) -> StudyFiles:
    as_they_are = (
        "resample", "subject", "labels_of", "segment_with", "refine", "column", "places", "right",
    )  # fmt: skip
    arguments = {key: content[key] for key in as_they_are if key in content}
    placing = {key: content[key] for key in ("lumbar", "leave_out") if key in content}
    if placing:
        arguments["options"] = PlacingOptions(**placing)
    if "age_years" in content:
        age = content["age_years"]
        arguments["age_years"] = parse_age(age) if isinstance(age, str) else float(age)
    if "sex" in content:
        arguments["sex"] = parse_sex(content["sex"])
    if "point_radius_mm" in content:
        arguments["point_radius_mm"] = float(content["point_radius_mm"])
    arguments["volumes"] = by_contrast(
        (role, here / file) for role, file in content.get("volumes", {}).items()
    )
    arguments["rules"] = [parse_label_rule(text) for text in content.get("label_rules", [])]
    arguments["scale"] = by_contrast(content.get("scale", {}).items())
    for key in ("labels", "segmentation"):
        if key in content:
            arguments[key] = here / content[key]
    if "markups" in content:
        listed = content["markups"]
        arguments["markups"] = [here / m for m in ([listed] if isinstance(listed, str) else listed)]
    return StudyFiles(**arguments)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < 1e300  # JSON allows numbers of any length


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_points(value: object) -> bool:
    points = value.values() if isinstance(value, dict) else [None]
    return all(isinstance(p, list) and len(p) == 3 and all(map(_is_number, p)) for p in points)


_POINTS = (_are_points, 'an object of names and points in mm (RAS), such as {"L3": [1.5, -20, 33]}')

# What each key of a study file must hold, in code and in words.
_STUDY_FILE: dict[str, tuple[Callable[[object], bool], str]] = {
    "volumes": (
        lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
        'an object of roles and files, such as {"T1": "t1.nii.gz"}',
    ),
    "labels": (_is_text, "a file name"),
    "label_rules": (_are_texts, 'a list of texts such as ["2=marrow:L5"]'),
    "labels_of": (_is_text, 'the tool that made the labels, such as "TotalSpineSeg"'),
    "segmentation": (_is_text, "a file name"),
    "segment_with": (_is_text, 'an installed tool, such as "TotalSpineSeg"'),
    "refine": (lambda value: isinstance(value, bool), "true or false"),
    "markups": (lambda value: _is_text(value) or _are_texts(value), "a list of file names"),
    "column": (lambda value: value == "auto" or _are_points(value), f'"auto", or {_POINTS[1]}'),
    "places": _POINTS,
    "lumbar": (lambda value: value in (4, 5, 6), "4, 5 or 6"),
    "leave_out": (_are_texts, 'a list of "vein" and "fat"'),
    "right": (_are_texts, 'a list of names such as ["L1 marrow"]'),
    "age_years": (
        lambda value: _is_number(value) or _is_text(value),
        'a number of years, or an age as people write it, such as "8 months"',
    ),
    "sex": (_is_text, '"F" or "M"'),
    "subject": (lambda value: isinstance(value, str), "a text"),
    "resample": (lambda value: isinstance(value, bool), "true or false"),
    "point_radius_mm": (_is_number, "a number"),
    "scale": (
        lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
        'an object of roles and factors, such as {"ADC": 0.001}',
    ),
}
