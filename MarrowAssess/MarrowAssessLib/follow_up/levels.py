"""Whether the levels of two visits are named alike: a body keeps its volume, not its name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from MarrowAssessLib.catalogue.anatomy import level_index

FEWEST_LEVELS = 6  # with fewer, bodies of other levels fit by chance
_AGREE = 0.06  # of logarithms of volumes: how well the same bodies repeat
_BETTER = 0.5  # how much better one level up or down must fit


def levels_shifted(before: Mapping, now: Mapping) -> str:
    """Why levels of two visits may be named one apart, "" where nothing tells so.

    Args:
        before, now: assessments as in assessment.json.
    """
    volumes = [_log_volumes(visit) for visit in (before, now)]
    same = _apart(*volumes, 0)
    for shift, word in ((1, "below"), (-1, "above")):
        other = _apart(*volumes, shift)
        if other < min(_AGREE, _BETTER * same):
            return (
                "the levels may be named one apart: the volumes fit those of the level "
                f"{word} better"
            )
    return ""


def _log_volumes(visit: Mapping) -> dict[float, float]:
    """The logarithm of the volume of marrow measured at each single level, by its number."""
    found = {}
    for one in visit["measurements"]:
        level = level_index(one["site"]) if one["site"] and "-" not in one["site"] else None
        statistics = one.get("statistics")
        if level is not None and statistics and len(one.get("measured", ())) == 1:
            found.setdefault(level, float(np.log(statistics["volume_mm3"])))
    return found


def _apart(before: Mapping[float, float], now: Mapping[float, float], shift: int) -> float:
    """Root mean square of the differences with one visit's names moved; inf for few levels."""
    if len(before.keys() & now.keys()) < FEWEST_LEVELS:
        return np.inf
    both = [(v, now[level + shift]) for level, v in before.items() if level + shift in now]
    return float(np.sqrt(np.mean(np.square(np.diff(both, axis=1)))))
