"""Tissue roles and anatomical sites, and the names people use for them."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache


class Role(str, Enum):
    """What tissue a region holds."""

    MARROW = "marrow"
    MUSCLE = "muscle"
    DISC = "disc"
    CSF = "csf"
    FAT = "fat"
    NOISE = "noise"
    LIVER = "liver"
    SPLEEN = "spleen"
    BLOOD = "blood pool"
    LESION = "lesion"


VERTEBRAE = [
    *[f"C{n}" for n in range(1, 8)],
    *[f"T{n}" for n in range(1, 13)],
    *[f"L{n}" for n in range(1, 7)],
    *[f"S{n}" for n in range(1, 6)],
]
# A thirteenth thoracic vertebra lies between T12 and L1 in few people; no reference covers it.
TRANSITIONAL = {"T13": VERTEBRAE.index("T12") + 0.5}
SPINE_REGIONS = {"C": "cervical", "T": "thoracic", "L": "lumbar", "S": "sacral"}
OTHER_SITES = [
    "clivus", "skull", "mandible", "sternum", "rib", "scapula", "clavicle", "sacrum", "ilium",
    "iliac crest", "acetabulum", "ischium", "pubis", "femoral head", "femoral neck",
    "greater trochanter", "intertrochanteric", "proximal femur", "femoral diaphysis",
    "distal femur", "femoral epiphysis", "patella", "proximal tibia", "tibial diaphysis",
    "distal tibia", "foot", "calcaneus", "humeral head", "proximal humerus", "humeral diaphysis",
    "hand",
]  # fmt: skip
OUTSIDE = "outside drawn marrow"
SKELETAL_PARTS = (
    "cervical spine", "thoracic spine", "lumbosacral spine", "pelvis", "long bones", "skull",
    "ribs and other", OUTSIDE,
)  # fmt: skip
MUSCLES = ["erector spinae", "psoas", "multifidus", "gluteus", "quadratus lumborum", "paraspinal"]

_ROLE_ALIASES = {
    "bone marrow": Role.MARROW,
    "vertebra": Role.MARROW,
    "vertebral body": Role.MARROW,
    "disk": Role.DISC,
    "intervertebral disc": Role.DISC,
    "cerebrospinal fluid": Role.CSF,
    "subcutaneous fat": Role.FAT,
    "air": Role.NOISE,
    "background": Role.NOISE,
    "blood": Role.BLOOD,
    "aorta": Role.BLOOD,
    "descending aorta": Role.BLOOD,
    "aortic arch": Role.BLOOD,
}


def parse_role(text: str) -> Role:
    """The tissue role that a word names.

    Raises:
        ValueError: no role has that name.
    """
    word = " ".join(text.lower().replace("_", " ").split())
    if word in _ROLE_ALIASES:
        return _ROLE_ALIASES[word]
    try:
        return Role(word)
    except ValueError:
        roles = ", ".join(role.value for role in Role)
        raise ValueError(f"Unknown tissue role '{text}'; expected one of: {roles}.") from None


@lru_cache(maxsize=1024)
def parse_site(text: str) -> str:
    """The canonical name of a site, "" for none.

    Vertebrae are "C1" ... "S5" (Th and D are read as T), discs "L4-L5"; "V1", "V2" ... are
    vertebrae of unknown level counted from the lowest one in view; other sites as in OTHER_SITES
    and MUSCLES; a side is kept as "left ..." or "right ...".

    Raises:
        ValueError: no site has that name.
    """
    words = " ".join(text.replace("_", " ").split())
    if not words:
        return ""
    level = r"(?:TH|[CTDLS])\d{1,2}"
    if match := re.fullmatch(rf"({level})(?:\s*[-/]\s*((?:TH|[CTDLS])?\d{{1,2}}))?", words.upper()):
        levels = [_level(match[1])]
        if match[2]:
            lower = match[2] if not match[2].isdigit() else levels[0][0] + match[2]
            levels.append(_level(lower))
        if all(one in VERTEBRAE or one in TRANSITIONAL for one in levels):
            return "-".join(levels)
    if re.fullmatch(r"V\d{1,2}(-V\d{1,2})?", words.upper()):
        return words.upper()
    lower = words.lower()
    side = next((s for s in ("left", "right") if s in lower.split()), "")
    bare = " ".join(w for w in lower.split() if w != side) if side else lower
    if bare in (*OTHER_SITES, *MUSCLES, *SPINE_REGIONS.values(), *SKELETAL_PARTS):
        return f"{side} {bare}".strip()
    if bare in (role.value for role in Role) or bare in _ROLE_ALIASES:
        raise ValueError(
            f"'{text}' is a tissue, no site; say where it is: a vertebra (L1 ... S1), a disc by "
            "its two (L4-L5), or such as proximal femur."
        )
    # A bone is named by its part: of "femur" those that begin alike are told.
    alike = {word[:3] for word in bare.split() if len(word) > 3}
    parts = [site for site in OTHER_SITES if alike & {word[:3] for word in site.split()}]
    if parts:
        raise ValueError(f"Unknown site '{text}'; known are: {', '.join(parts)}.")
    raise ValueError(
        f"Unknown site '{text}'; expected a vertebra (L1 ... S1), a disc (L4-L5) or one of: "
        f"{', '.join((*OTHER_SITES, *MUSCLES))}."
    )


def spine_levels(lumbar: int = 5) -> list[str]:
    """Vertebrae from C2 to S1 of somebody with so many lumbar ones (4, 5 or 6).

    Raises:
        ValueError: another number of them.
    """
    if lumbar not in (4, 5, 6):
        raise ValueError(f"4, 5 or 6 lumbar vertebrae are expected, not {lumbar}.")
    last = {"C": 7, "T": 12, "L": lumbar, "S": 1}
    return [v for v in VERTEBRAE[1:] if int(v[1:]) <= last[v[0]]]


def column_levels(lumbar: int = 5) -> list[str]:
    """The same down to S4: what a found or followed column may hold."""
    return [*spine_levels(lumbar), "S2", "S3", "S4"]


def skeletal_region(site: str) -> str:
    """Which of seven parts of the skeleton a site is of, as forms of whole-body MRI count."""
    part = SPINE_REGIONS.get(site[:1], "") if spine_region(site) else site
    if part in ("lumbar", "sacral", "sacrum"):
        return "lumbosacral spine"
    if part in ("cervical", "thoracic"):
        return f"{part} spine"
    for name, words in _SKELETAL_REGIONS.items():
        if any(word in part for word in words):
            return name
    return "ribs and other"


_SKELETAL_REGIONS = {
    "pelvis": ("ilium", "iliac", "acetabulum", "ischium", "pubis"),
    "skull": ("clivus", "skull", "mandible"),
    "long bones": ("femoral", "femur", "trochanter", "tibia", "humer"),
}


def spine_region(site: str) -> str:
    """The spine region ("lumbar" ...) of a vertebra or disc, "" for other sites."""
    first = site.split("-")[0]
    return SPINE_REGIONS[site[0]] if first in VERTEBRAE or first in TRANSITIONAL else ""


def is_other_bone(site: str) -> bool:
    """Whether a site is in a bone that is no vertebra, such as "left femoral diaphysis"."""
    return site.removeprefix("left ").removeprefix("right ") in OTHER_SITES


def level_index(site: str) -> float | None:
    """Position down the spine: C1 = 0 ..., a disc halfway between its vertebrae; else None."""
    ends = site.split("-")
    places = [VERTEBRAE.index(end) if end in VERTEBRAE else TRANSITIONAL.get(end) for end in ends]
    return None if None in places else sum(places) / len(ends)


def _level(text: str) -> str:
    return re.sub(r"^(TH|D)", "T", text)
