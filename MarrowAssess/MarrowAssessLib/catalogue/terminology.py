"""DICOM/SNOMED codes of roles and sites, and what a segment's name or codes say it holds.

The codes are in ``Resources/Terminologies``, in the form that Slicer's Terminologies module loads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from PDFFMapperLib.install.resources import resource_path

from MarrowAssessLib.catalogue.anatomy import MUSCLES, Role
from MarrowAssessLib.catalogue.segment_names import read_name

TISSUES_FILE = "Terminologies/MarrowAssessTissues.term.json"
SITES_FILE = "Terminologies/MarrowAssessSites.term.json"


@dataclass(frozen=True)
class Code:
    """A coded concept: its value, coding scheme ("SCT", "DCM") and meaning."""

    value: str
    scheme: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.scheme}^{self.value}^{self.meaning}"

    @classmethod
    def of(cls, item: dict) -> Code:
        """The code of an entry of a terminology file."""
        return cls(item["CodeValue"], item["CodingSchemeDesignator"], item["CodeMeaning"])


NO_CODE = Code("", "", "")
SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}


@dataclass(frozen=True)
class Tissue:
    """A role's codes and the color (0-1) that its segments have before they are scored."""

    category: Code
    type: Code
    color: tuple[float, float, float]


@cache
def tissues() -> dict[Role, Tissue]:
    """The codes of every role."""
    categories = _read(TISSUES_FILE)["SegmentationCodes"]["Category"]
    return {
        Role(item["marrowAssessRole"]): Tissue(
            Code.of(category),
            Code.of(item),
            tuple(channel / 255 for channel in item["recommendedDisplayRGBValue"]),
        )
        for category in categories
        for item in category["Type"]
    }


@cache
def site_codes() -> dict[str, Code]:
    """The code of every coded site without its side; some share that of the region around them."""
    codes = {}
    for item in _read(SITES_FILE)["AnatomicCodes"]["AnatomicRegion"]:
        exact = [item["marrowAssessSite"]] if "marrowAssessSite" in item else []
        for site in exact + item.get("marrowAssessParts", []):
            codes[site] = Code.of(item)
    return codes


def site_and_side(site: str) -> tuple[Code | None, str]:
    """The code of a site, None where it has none, and its side ("left", "right", "")."""
    side, bare = _split_side(site)
    return site_codes().get(bare), side


def terminology_entry(role: Role, site: str) -> str:
    """What Slicer keeps in a segment's "TerminologyEntry" tag: category, type, region and side."""
    tissue = tissues()[role]
    side, bare = _split_side(site)
    region = site_codes().get(bare, NO_CODE)
    modifier = SIDES.get(side, NO_CODE) if region != NO_CODE else NO_CODE
    tissue_context = _read(TISSUES_FILE)["SegmentationCategoryTypeContextName"]
    site_context = _read(SITES_FILE)["AnatomicContextName"]
    parts = [tissue_context, tissue.category, tissue.type, NO_CODE, site_context, region, modifier]
    return "~".join(str(part) for part in parts)


class NoTissue(ValueError):
    """A region's name and codes tell no tissue; `why` is the reason alone."""

    def __init__(self, name: str, why: str) -> None:
        self.why = why
        roles = ", ".join(role.value for role in Role)
        super().__init__(
            f"'{name}' tells no tissue role: {why}; name it by site and role, such as "
            f"'L3 marrow' or 'L4-L5 disc', or give it a terminology; the roles are {roles}."
        )


def role_and_site(name: str, entry: str = "", beside: Iterable[str] = ()) -> tuple[Role, str]:
    """Tissue role and site of a segment, from its terminology entry or else its name.

    Args:
        name: the segment's name, such as "L3 marrow", "L4-L5 disc", "vertebrae_L3", "csf_L3".
            A bare vertebra or bone means its marrow, a bare "L4-L5" the disc.
        entry: its "TerminologyEntry" tag, "" for none.
        beside: the names of the other regions of its file, see segment_names.read_name.

    Raises:
        NoTissue: neither tells the role; the message says why.
    """
    role, site = _from_entry(entry)
    try:
        named_role, named_site = read_name(name, beside)
    except ValueError as why:
        if role is None:
            raise NoTissue(name, str(why)) from None
        named_role, named_site = role, ""
    # The code may be that of a region around the site (S1 is coded as sacrum); the name knows more.
    if role is None or named_role is role:
        return named_role, named_site or site
    return role, site


def _from_entry(entry: str) -> tuple[Role | None, str]:
    fields = [field.split("^") for field in entry.split("~")]
    values = [field[1] if len(field) == 3 else "" for field in fields] + [""] * 7
    type_value, type_side, region, side = values[2], values[3], values[5], values[6].rstrip("|")
    roles = {tissue.type.value: role for role, tissue in tissues().items()}
    sites = {
        item["CodeValue"]: item["marrowAssessSite"]
        for item in _read(SITES_FILE)["AnatomicCodes"]["AnatomicRegion"]
        if "marrowAssessSite" in item
    }
    if type_value in roles:
        return roles[type_value], _with_side(sites.get(region, ""), side)
    if type_value in sites:  # TotalSegmentator and others code the structure itself: "L3 vertebra"
        site = sites[type_value]
        return _role_of_site(site), _with_side(site, type_side)
    return None, ""


def _role_of_site(site: str) -> Role:
    _, bare = _split_side(site)
    if "-" in bare:
        return Role.DISC
    return Role.MUSCLE if bare in MUSCLES else Role.MARROW


def _split_side(site: str) -> tuple[str, str]:
    side, _, bare = site.partition(" ")
    return (side, bare) if side in SIDES else ("", site)


def _with_side(site: str, value: str) -> str:
    side = next((name for name, code in SIDES.items() if code.value == value), "")
    return f"{side} {site}".strip() if site else ""


@cache
def _read(relative: str) -> dict:
    return json.loads(resource_path("MarrowAssessLib", relative).read_text(encoding="utf-8"))
