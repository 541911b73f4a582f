"""Label tables of published segmentation tools, read as tissue roles and sites.

A whole vertebra (body with arch and processes) is marrow and cortex together: such regions carry a
caution, since the ROI should be the body eroded by a margin.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.study.regions import Region

WHOLE_VERTEBRA = "The label holds the whole vertebra with its arch and cortex, not only the body."
WHOLE_BONE = "The label holds the whole bone with its cortex."
NO_LEVEL = "The label holds several vertebrae or discs without telling their levels."


class LabelMeaning(NamedTuple):
    """What one label of a convention stands for.

    Attributes:
        role: tissue.
        site: canonical site (see anatomy.parse_site), "" where the label does not tell.
        caution: what to keep in mind about its numbers, "" for none.
    """

    role: Role
    site: str
    caution: str = ""


def _vertebrae(
    labels: range | list[int], names: list[str], caution: str
) -> dict[int, LabelMeaning]:
    return {
        n: LabelMeaning(Role.MARROW, name, caution) for n, name in zip(labels, names, strict=True)
    }


def _discs(labels: range | list[int], names: list[str]) -> dict[int, LabelMeaning]:
    return {n: LabelMeaning(Role.DISC, name) for n, name in zip(labels, names, strict=True)}


def _sided(left: int, role: Role, name: str, caution: str = "") -> dict[int, LabelMeaning]:
    """A left structure and the right one, whose label is the next."""
    return {
        left: LabelMeaning(role, f"left {name}", caution),
        left + 1: LabelMeaning(role, f"right {name}", caution),
    }


_CERVICAL = [f"C{n}" for n in range(1, 8)]
_THORACIC = [f"T{n}" for n in range(1, 13)]
_LUMBAR = [f"L{n}" for n in range(1, 7)]
_DOWN = _CERVICAL + _THORACIC + _LUMBAR


def _pairs(names: list[str]) -> list[str]:
    return [f"{a}-{b}" for a, b in pairwise(names)]


def _totalsegmentator_total_mr() -> dict[int, LabelMeaning]:
    return {
        18: LabelMeaning(Role.MARROW, "sacrum", WHOLE_BONE),
        19: LabelMeaning(Role.MARROW, "", f"{NO_LEVEL} {WHOLE_VERTEBRA}"),
        20: LabelMeaning(Role.DISC, "", NO_LEVEL),
        **_sided(30, Role.MARROW, "proximal humerus", WHOLE_BONE),
        **_sided(32, Role.MARROW, "scapula", WHOLE_BONE),
        **_sided(34, Role.MARROW, "clavicle", WHOLE_BONE),
        **_sided(36, Role.MARROW, "proximal femur", WHOLE_BONE),
        **_sided(38, Role.MARROW, "ilium", WHOLE_BONE),
        **_sided(40, Role.MUSCLE, "gluteus"),
        **_sided(42, Role.MUSCLE, "gluteus"),
        **_sided(44, Role.MUSCLE, "gluteus"),
        **_sided(46, Role.MUSCLE, "erector spinae"),
        **_sided(48, Role.MUSCLE, "psoas"),
    }


def _totalsegmentator_vertebrae_mr() -> dict[int, LabelMeaning]:
    up = (_CERVICAL + _THORACIC + _LUMBAR[:5])[::-1]
    return {
        1: LabelMeaning(Role.MARROW, "sacrum", WHOLE_BONE),
        **_vertebrae(range(2, 26), up, WHOLE_VERTEBRA),
    }


def _totalspineseg() -> dict[int, LabelMeaning]:
    return {
        2: LabelMeaning(Role.CSF, ""),
        **_vertebrae(range(11, 18), _CERVICAL, WHOLE_VERTEBRA),
        **_vertebrae(range(21, 33), _THORACIC, WHOLE_VERTEBRA),
        **_vertebrae(range(41, 47), _LUMBAR, WHOLE_VERTEBRA),
        50: LabelMeaning(Role.MARROW, "sacrum", WHOLE_BONE),
        **_discs(range(63, 68), _pairs(_CERVICAL[1:])),
        71: LabelMeaning(Role.DISC, "C7-T1"),
        **_discs(range(72, 83), _pairs(_THORACIC)),
        91: LabelMeaning(Role.DISC, "T12-L1"),
        **_discs(range(92, 97), _pairs(_LUMBAR)),
        100: LabelMeaning(Role.DISC, "L5-S1", "With six lumbar vertebrae this disc is L6-S1."),
    }


def _musclemap() -> dict[int, LabelMeaning]:
    return {
        **_sided(5101, Role.MUSCLE, "multifidus"),
        **_sided(5111, Role.MUSCLE, "erector spinae"),
        **_sided(5121, Role.MUSCLE, "psoas"),
        **_sided(5131, Role.MUSCLE, "quadratus lumborum"),
        **_sided(6101, Role.MUSCLE, "gluteus"),
        **_sided(6111, Role.MUSCLE, "gluteus"),
        **_sided(6121, Role.MUSCLE, "gluteus"),
        **_sided(6151, Role.MARROW, "ilium", WHOLE_BONE),
        6160: LabelMeaning(Role.MARROW, "sacrum", WHOLE_BONE),
        **_sided(6171, Role.MARROW, "proximal femur", WHOLE_BONE),
    }


def _spineps_vertebrae() -> dict[int, LabelMeaning]:
    below = {n: f"{a}-{b}" for n, (a, b) in enumerate(pairwise(_DOWN), 1)}
    below[24] = "L5-S1"  # below L5; L6 (25) is rare, and its disc is L6-S1
    below[25] = "L6-S1"
    return {
        **_vertebrae(range(1, 26), _DOWN, WHOLE_VERTEBRA),
        26: LabelMeaning(Role.MARROW, "sacrum", WHOLE_BONE),
        28: LabelMeaning(Role.MARROW, "T13", WHOLE_VERTEBRA),
        128: LabelMeaning(Role.DISC, "T13-L1"),
        **{
            100 + n: LabelMeaning(Role.DISC, site)
            for n, site in below.items()
            if site != "C1-C2"  # there is no such disc
        },
    }


def _spineps_parts() -> dict[int, LabelMeaning]:
    return {
        26: LabelMeaning(Role.MARROW, "sacrum", WHOLE_BONE),
        49: LabelMeaning(Role.MARROW, "", NO_LEVEL),
        100: LabelMeaning(Role.DISC, "", NO_LEVEL),
    }


CONVENTIONS: dict[str, dict[int, LabelMeaning]] = {
    "TotalSegmentator total_mr": _totalsegmentator_total_mr(),
    "TotalSegmentator vertebrae_mr": _totalsegmentator_vertebrae_mr(),
    "TotalSpineSeg": _totalspineseg(),
    "MuscleMap": _musclemap(),
    "SPINEPS vertebrae": _spineps_vertebrae(),
    "SPINEPS subregions": _spineps_parts(),
}
"""Label value -> meaning, by convention; labels of no use here (organs, cord) are left out.

Sources, read in their public repositories: wasserth/TotalSegmentator map_to_binary.py;
neuropoly/totalspineseg labels_maps/tss_map.json; MuscleMap/MuscleMap README;
Hendrik-code/spineps README (instance mask with VERIDAH's labels; semantic subregion mask).
"""

# What the same tools label besides: organs, cord, arches, endplates.
_OTHER_LABELS: dict[str, set[int]] = {
    "TotalSegmentator total_mr": set(range(1, 51)),
    "TotalSegmentator vertebrae_mr": set(),
    "TotalSpineSeg": {1, 47},
    "MuscleMap": set(range(1101, 8163)),
    "SPINEPS vertebrae": set(range(201, 229)),
    "SPINEPS subregions": {*range(41, 51), 60, 61, 62},
}


def known_labels(convention: str) -> set[int]:
    """Every label that a convention knows, of use here or not."""
    return set(CONVENTIONS[convention]) | _OTHER_LABELS[convention]


def fitting_conventions(labels: set[int]) -> list[str]:
    """The conventions that know each of these labels and the meaning of some, the best first.

    Conventions share values: where more than one fits, the labels alone do not tell.
    """
    shares = {
        name: len(labels & set(table))
        for name, table in CONVENTIONS.items()
        if labels <= known_labels(name)
    }
    return sorted((name for name in shares if shares[name]), key=lambda name: -shares[name])


# A transitional vertebra (its label) changes what discs beside it are called (theirs).
_TRANSITIONAL = {
    "SPINEPS vertebrae": {28: {119: "T12-T13"}, 25: {124: "L5-L6"}},
    "TotalSpineSeg": {46: {100: "L6-S1"}},
}


def _with_transitional(convention: str, present: set[int]) -> dict[int, LabelMeaning]:
    """A convention's table as it is for the vertebrae that are there."""
    table = dict(CONVENTIONS[convention])
    for vertebra, discs in _TRANSITIONAL.get(convention, {}).items():
        if vertebra in present:
            table |= {disc: LabelMeaning(Role.DISC, site) for disc, site in discs.items()}
    return table


def regions_of_convention(labels: np.ndarray, convention: str) -> list[Region]:
    """Regions of a label volume [k, j, i] of a known convention, in the order of their labels.

    Labels of the same role and site (the three gluteal muscles) become one region.

    Raises:
        ValueError: the convention is unknown, or none of its labels is present.
    """
    if convention not in CONVENTIONS:
        raise ValueError(
            f"Unknown label convention '{convention}'; expected one of: {', '.join(CONVENTIONS)}."
        )
    present = np.unique(labels).astype(int).tolist()
    table = _with_transitional(convention, set(present))
    merged: dict[LabelMeaning, list[int]] = {}
    for value in present:
        if value in table:
            merged.setdefault(table[value], []).append(value)
    if not merged:
        raise ValueError(
            f"No label of {convention} is in this segmentation; check which tool and task made it."
        )
    regions = []
    for meaning, values in merged.items():
        name = f"{meaning.site or 'unnamed'} {meaning.role.value}"
        mask = labels == values[0]
        for value in values[1:]:
            mask |= labels == value
        region = Region.from_mask(name, meaning.role, meaning.site, mask)
        if meaning.caution:
            region.cautions.append(meaning.caution)
        regions.append(region)
    return regions
