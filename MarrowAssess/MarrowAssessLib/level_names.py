"""Levels of the spine by their neighbors: which one a click is on, and all moved by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MarrowAssessLib.anatomy import Role
from MarrowAssessLib.column import spine_levels

# Distance of neighbors over the height of one as drawn: 1.1 to 2.1 among the placed bodies of seven
# lumbar volumes and a phantom, while the body after the next was 2.4 and more away.
PITCH_PER_HEIGHT = 1.55
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
    pitch = _pitch(placed)
    if not pitch:
        return ""
    moved = np.asarray(point_ras, float) - nearest.center
    # CSF lies behind the vertebra; only its height counts.
    distance = abs(moved[2]) if role is Role.CSF else float(np.linalg.norm(moved))
    steps = -np.sign(moved[2]) * distance / pitch  # towards the feet, as levels are counted
    half = 0.5 if role is Role.DISC else 0.0
    position = index + steps
    found = round(position - half) + half
    allowed = 0.5 if role is Role.CSF else 1.0
    if abs(position - found) > TOLERANCE[role] or abs(found - index) > allowed:
        return ""
    if not 0 <= found <= len(levels) - 1:
        return ""
    upper = int(found)
    return levels[upper] if found == upper else f"{levels[upper]}-{levels[upper + 1]}"


def shifted_site(site: str, shift: int, lumbar: int = 5) -> str:
    """A level moved by so many vertebrae (+1: toward the feet); other sites stay as they are.

    Raises:
        ValueError: it would leave the spine.
    """
    levels = [*spine_levels(lumbar), "S2", "S3"]
    ends = site.split("-")
    if not all(end in levels for end in ends):
        return site
    moved = [levels.index(end) + shift for end in ends]
    if not all(0 <= index < len(levels) for index in moved):
        raise ValueError(f"Moving {site} by {shift} would leave the spine (C2 ... S3).")
    return "-".join(levels[index] for index in moved)


def _index(site: str, levels: list[str]) -> float | None:
    """Position of a vertebra (0, 1 ...) or of a disc (0.5, 1.5 ...) among levels."""
    ends = site.split("-")
    if not all(end in levels for end in ends):
        return None
    return sum(levels.index(end) for end in ends) / len(ends)


def _pitch(placed: Sequence[tuple[float, KnownLevel]]) -> float:
    """Distance of one vertebra to the next near the first of them, in mm; 0 where not known."""
    index, nearest = placed[0]
    for other, one in placed[1:]:
        if 0 < abs(other - index) <= 2:
            return float(np.linalg.norm(one.center - nearest.center)) / abs(other - index)
    return 0.0 if index % 1 else PITCH_PER_HEIGHT * nearest.height_mm
