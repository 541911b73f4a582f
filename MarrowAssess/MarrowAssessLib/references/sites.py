"""How a source's site stands for the site that was asked."""

from __future__ import annotations

from functools import lru_cache

from MarrowAssessLib.catalogue.anatomy import SPINE_REGIONS, VERTEBRAE, parse_site

_LEVELS = {
    **{
        name: tuple(v for v in VERTEBRAE if v[0] == letter and v != "L6")
        for letter, name in SPINE_REGIONS.items()
    },
    "spine": tuple(v for v in VERTEBRAE if v != "L6"),
}


@lru_cache(maxsize=1024)
def parse_reference_site(site: str) -> str:
    """As `anatomy.parse_site`, and "spine"."""
    return "spine" if site.strip().lower() == "spine" else parse_site(site)


@lru_cache(maxsize=1024)
def levels(site: str) -> frozenset[str]:
    """The vertebrae that a site or group names, empty outside the spine."""
    if site in _LEVELS:
        return frozenset(_LEVELS[site])
    ends = site.split("-")
    if not all(end in VERTEBRAE for end in ends):
        return frozenset()
    first, last = VERTEBRAE.index(ends[0]), VERTEBRAE.index(ends[-1])
    return frozenset(v for v in VERTEBRAE[first : last + 1] if v != "L6" or "L6" in ends)


@lru_cache(maxsize=1024)
def match_site(known: str, asked: str) -> tuple[int, str] | None:
    """How well a source's site stands for the asked one: (rank, note), None if not at all.

    0 the same site; 1 a group of levels that holds the asked one (L1-L4 for L2); 2 levels that
    make up at least half of the asked group (L1-L4 for lumbar); 3 two or more levels of the same
    spine region (L1-L2 for L3). A side is dropped. Outside the spine only the same site matches.
    """
    if not known or known == asked:
        return 0, ""
    bare = " ".join(word for word in asked.split() if word not in ("left", "right"))
    if known == bare:
        return 0, ""
    have, want = levels(known), levels(bare)
    if not have or not want:
        return None
    if want <= have:
        return 1, f"the reference was measured at {known} together"
    if have <= want and 2 * len(have) >= len(want):
        return 2, f"the reference was measured at {known}"
    if len(have) > 1 and {v[0] for v in want} == {v[0] for v in have}:
        return 3, f"the reference was measured at {known}, not at {asked}"
    return None
