"""Regions from a label map, by rules that say what its values mean."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from PDFFMapperLib.images.mask import refuse_image
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import Role, parse_role, parse_site
from MarrowAssessLib.study.regions import Region


@dataclass(frozen=True)
class LabelRule:
    """What one value of a label map means."""

    value: int
    role: Role
    site: str


def parse_label_rule(text: str) -> LabelRule:
    """Read "2=marrow:L5" (label value, tissue role, site; the site may be missing).

    Raises:
        ValueError: the text is not of that form.
    """
    match = re.fullmatch(r"\s*(\d+)\s*=\s*([^:]+?)\s*(?::\s*(.*?)\s*)?", text)
    if not match or int(match[1]) == 0:
        raise ValueError(
            f"'{text}' does not say what a label means; expected VALUE=ROLE:SITE, such as "
            "2=marrow:L5, with VALUE above 0."
        )
    return LabelRule(int(match[1]), parse_role(match[2]), parse_site(match[3] or ""))


def region_name(role: Role, site: str) -> str:
    """What a region of that tissue at that site is called."""
    word = "CSF" if role is Role.CSF else role.value
    return f"{site} {word}".strip()


def regions_from_labels(labels: Volume, rules: list[LabelRule]) -> list[Region]:
    """One region per rule, from a label map; values without a rule are left out.

    Raises:
        ValueError: the map is not of whole numbers, a value does not occur in it, or one is
            given two meanings.
    """
    check_labels(labels)
    meanings: dict[int, LabelRule] = {}
    for rule in rules:
        other = meanings.setdefault(rule.value, rule)
        if other != rule:
            raise ValueError(
                f"{labels.name}: label {rule.value} was said to be "
                f"{region_name(other.role, other.site)} and {region_name(rule.role, rule.site)}; "
                "say one of them."
            )
    array = labels.array
    boxes = _boxes(array, {rule.value for rule in rules})
    regions = []
    for rule in rules:
        name, box = region_name(rule.role, rule.site), boxes[rule.value]
        if box is None:
            present = ", ".join(f"{value:.0f}" for value in np.unique(array[array > 0])) or "none"
            raise ValueError(
                f"{labels.name}: label {rule.value} ({name}) is empty; labels in this map: "
                f"{present}."
            )
        offset = tuple(s.start for s in box)
        regions.append(Region(name, rule.role, rule.site, array[box] == rule.value, offset))
    return regions


def check_labels(labels: Volume) -> None:
    """Refuse an image that is no label map.

    Raises:
        ValueError: it is not of whole numbers, or its values are those of an image.
    """
    array = labels.array
    if array.dtype.kind == "f" and not (
        np.isfinite(array).all() and (array == np.round(array)).all()
    ):
        raise ValueError(f"{labels.name}: a label map holds whole numbers; this one does not.")
    refuse_image(labels)


def _boxes(array: np.ndarray, values: set[int]) -> dict[int, tuple[slice, ...] | None]:
    """The bounding box of each value, None where it does not occur."""
    from scipy.ndimage import find_objects

    numbers = {value: value for value in values}
    if array.dtype == bool:
        array = array.view(np.uint8)
    elif array.dtype.itemsize > 2:
        # find_objects makes a list as long as the largest value, and that can be anything here.
        numbers = {value: n for n, value in enumerate(values, 1)}
        wide, array = array, np.zeros(array.shape, np.uint16)
        for value, n in numbers.items():
            array[wide == value] = n
    boxes = find_objects(array)
    return {v: boxes[n - 1] if n <= len(boxes) else None for v, n in numbers.items()}
