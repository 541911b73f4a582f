"""Levels of the spine by their neighbors: which one a click is on, and all moved by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from MarrowAssessLib.catalogue.anatomy import Role, column_levels, spine_levels

# Distance of neighbors over the height of one as drawn: 1.1 to 2.1 among the placed bodies of seven
# lumbar volumes and a phantom, while the body after the next was 2.4 and more away.
PITCH_PER_HEIGHT = 1.55
ASIDE = 0.75  # of that distance, from the line of the spine: more is beside it
# A right click may lie so far past the center of the next level: rims of L5 and S1 under a steep
# sacrum do by up to 11 mm (18 mm with a spur); the level after the next is 18 mm away in newborns.
TILTED_MM = 12.0
# Distance of two levels over the steps between their names and over a body's height, outside of
# which one of the names is wrong: neighbors had 1.1 to 2.1.
STEP_PER_HEIGHT = 1.05, 2.2
# Between two vertebrae a click lies within .66 of its step (36 spines, clicks 3 mm off, up to eight
# steps), and .15 more for each step beyond them, of which so many are looked at.
SURELY_OFF, MORE_BEYOND, STEPS_BEYOND = 0.75, 0.15, 3
# Distance of cervical neighbors over that of lumbar ones; thoracic ones lie between, rising.
NECK_PITCH = 0.5
# How far from a whole step a click may be to be named; it is put near the center.
TOLERANCE = {Role.MARROW: 0.42, Role.DISC: 0.25, Role.CSF: 0.5}


@dataclass(frozen=True)
class KnownLevel:
    """A vertebra or disc that has its name.

    Attributes:
        site: such as "L3" or "L3-L4".
        center: (3,) RAS mm.
        height_mm: of the vertebral body from head to foot; of no use for discs.
    """

    site: str
    center: np.ndarray
    height_mm: float


def neighbor_site(
    known: Sequence[KnownLevel], point_ras: np.ndarray, role: Role, lumbar: int = 5
) -> str:
    """The level of a click by the named levels next to it, "" where they do not settle it.

    Only the same level, the next one and the disc between are told: further away, a level may
    have been left out.

    Args:
        known: named vertebrae and discs.
        point_ras: mm, the click; near the center of what was clicked.
        role: of what was clicked; marrow, disc or (beside a vertebra) CSF.
        lumbar: how many lumbar vertebrae there are.
    """
    levels = spine_levels(lumbar)
    placed = sorted(
        ((index, one) for one in known if (index := _index(one.site, levels)) is not None),
        key=lambda pair: float(np.linalg.norm(pair[1].center - point_ras)),
    )
    if not placed or role not in TOLERANCE:
        return ""
    index, nearest = placed[0]
    step = _step(placed)
    pitch = float(np.linalg.norm(step))
    if not pitch:
        return ""
    moved = np.asarray(point_ras, float) - nearest.center
    steps = float(moved @ step) / pitch**2
    if role is Role.CSF:  # it lies behind the vertebra; only its height counts
        steps = -moved[2] / pitch
    elif np.linalg.norm(moved - steps * step) > ASIDE * pitch:
        return ""
    elif len(placed) == 1:  # the spine may lean either way
        steps = np.sign(steps) * float(np.linalg.norm(moved)) / pitch
    half = 0.5 if role is Role.DISC else 0.0
    position = index + steps
    found = round(position - half) + half
    allowed = 0.5 if role is Role.CSF else 1.0
    if abs(position - found) > TOLERANCE[role] or abs(found - index) > allowed:
        return ""
    if not 0 <= found <= len(levels) - 1:
        return ""
    return _name(found, levels)


def out_of_order(
    known: Sequence[KnownLevel], point_ras: np.ndarray, site: str, lumbar: int = 5
) -> KnownLevel | None:
    """The nearest level that a point named `site` lies clearly past, from head to foot."""
    levels = spine_levels(lumbar)
    named = _index(site, levels)
    if named is None:
        return None
    wrong = [
        one
        for one in known
        if (index := _index(one.site, levels)) is not None
        and np.sign(index - named) * (one.center[2] - point_ras[2]) > TILTED_MM
    ]
    return min(wrong, key=lambda one: abs(one.center[2] - point_ras[2]), default=None)


def told_from_afar(
    known: Sequence[KnownLevel], point_ras: np.ndarray, site: str, lumbar: int = 5
) -> str:
    """The level of a point by two vertebrae that need not be next to it, "" where `site` may be it.

    They are the nearest ones above and below, or the two nearest, with the point few steps beyond.
    Steps become shorter from the lumbar spine to the neck.

    Args:
        known: named vertebrae and discs.
        point_ras, site: mm; a vertebra or disc, and what it is said to be.
        lumbar: how many lumbar vertebrae there are.
    """
    levels = spine_levels(lumbar)
    named, along = _index(site, levels), _along(levels)
    bodies = sorted(
        ((levels.index(one.site), one.center) for one in known if one.site in levels),
        key=lambda body: body[0],
    )
    seen = []  # steps beyond two vertebrae, those from one to the other, and the place
    for (upper, top), (lower, bottom) in combinations(bodies, 2):
        if lower > upper and (top != bottom).any():
            axis = bottom - top
            share = float((point_ras - top) @ axis / (axis @ axis))
            place = _at(along, along[upper] + share * (along[lower] - along[upper]))
            beyond = max(0.0, upper - place, place - lower)
            seen.append((beyond, lower - upper, place))
    beyond, _, place = min(seen, default=(STEPS_BEYOND + 1, 0, 0))
    if named is None or beyond > STEPS_BEYOND:
        return ""
    if abs(place - named) <= SURELY_OFF + MORE_BEYOND * beyond:
        return ""
    half = named % 1
    found = round(place - half) + half
    if not 0 <= found <= len(levels) - 1:
        return ""
    return _name(found, levels)


def agreeing(
    known: Sequence[KnownLevel], point_ras: np.ndarray, site: str, lumbar: int = 5
) -> list[KnownLevel]:
    """The known levels without vertebrae whose names the others, and a click's, outvote.

    A vertebra is outvoted that contradicts two or more, and each of these fewer than it: by their
    order, or their distance for the steps between their names.

    Args:
        known: named vertebrae and discs.
        point_ras, site: of the click, which has a vote where its name is known.
        lumbar: how many lumbar vertebrae there are.
    """
    levels = spine_levels(lumbar)
    bodies = [one for one in known if one.site in levels]
    click = [KnownLevel(site, np.asarray(point_ras, float), 0.0)] if site in levels else []
    voters = [*bodies, *click]
    against = [{n for n, b in enumerate(voters) if _contradict(a, b, levels)} for a in voters]
    outvoted = [
        one
        for one, others in zip(bodies, against, strict=False)
        if len(others) > 1 and all(len(against[n]) < len(others) for n in others)
    ]
    return [one for one in known if not any(one is other for other in outvoted)]


def _contradict(one: KnownLevel, other: KnownLevel, levels: list[str]) -> bool:
    """Whether the names of two vertebrae cannot both be right; a height of 0 is not known."""
    steps = levels.index(other.site) - levels.index(one.site)
    if not steps:
        return False  # the same one, drawn anew
    moved = other.center - one.center
    if np.sign(steps) * moved[2] > TILTED_MM:
        return True
    heights = [height for height in (one.height_mm, other.height_mm) if height]
    low, high = STEP_PER_HEIGHT
    return not low < float(np.linalg.norm(moved)) / abs(steps) / np.mean(heights) < high


def shifted_site(site: str, shift: int, lumbar: int = 5) -> str:
    """A level moved by so many vertebrae (+1: toward the feet); other sites stay as they are.

    Raises:
        ValueError: it would leave the spine.
    """
    levels = column_levels(lumbar)
    ends = site.split("-")
    if not all(end in levels for end in ends):
        return site
    moved = [levels.index(end) + shift for end in ends]
    if not all(0 <= index < len(levels) for index in moved):
        raise ValueError(f"Moving {site} by {shift} would leave the spine (C2 ... S4).")
    return "-".join(levels[index] for index in moved)


def _index(site: str, levels: list[str]) -> float | None:
    """Position of a vertebra (0, 1 ...) or of a disc (0.5, 1.5 ...) among levels."""
    ends = site.split("-")
    if not all(end in levels for end in ends):
        return None
    return sum(levels.index(end) for end in ends) / len(ends)


def _along(levels: list[str]) -> np.ndarray:
    """Where each vertebra lies along the spine, in distances of lumbar neighbors from the first."""
    lower = [{"C": 0.0, "T": int(level[1:]) / 13}.get(level[0], 1.0) for level in levels]
    pitch = NECK_PITCH + (1 - NECK_PITCH) * np.array(lower)
    return np.concatenate([[0.0], np.cumsum((pitch[1:] + pitch[:-1]) / 2)])


def _at(along: np.ndarray, length: float) -> float:
    """The index of a place along the spine; beyond its ends it goes on."""
    outside = min(length, 0.0) / NECK_PITCH + max(length - along[-1], 0.0)
    return float(np.interp(length, along, np.arange(along.size))) + outside


def _name(index: float, levels: list[str]) -> str:
    """The vertebra (0, 1 ...) or the disc (0.5, 1.5 ...) with that position among levels."""
    upper = int(index)
    return levels[upper] if index == upper else f"{levels[upper]}-{levels[upper + 1]}"


def _step(placed: Sequence[tuple[float, KnownLevel]]) -> np.ndarray:
    """From one vertebra to the next toward the feet near the first, mm; 0 where not known."""
    index, nearest = placed[0]
    for other, one in placed[1:]:
        if 0 < abs(other - index) <= 2:
            return (one.center - nearest.center) / (other - index)
    down = np.array([0.0, 0.0, -1.0])
    return down * (0.0 if index % 1 else PITCH_PER_HEIGHT * nearest.height_mm)
