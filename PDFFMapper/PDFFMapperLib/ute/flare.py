"""How far the wall of a bone leans from its axis, as rings of neighboring planes tell it.

A plane cuts a leaning wall thicker by 1 over the cosine. Where it leans far, as at a femoral head
or shaft, its blur is wider too, and the ring takes marrow for cortex.
"""

from __future__ import annotations

import numpy as np

from PDFFMapperLib.ute.curve import Curve, harmonics, placed

MOST_LEAN_DEG = 15.0  # of a simulated neck PI reads 1 point too high from 22 on, 7 from 35
_NEAR, _LEAST_NEAR = 2, 3  # planes to each side, and of all these, that tell a lean
_USUAL = 0.95  # of a ring's wall


def leans(walls: dict[int, tuple[Curve, np.ndarray]], apart_mm: float) -> dict[int, np.ndarray]:
    """Angle of the wall with the planes' normal at the points of each curve, rad.

    Args:
        walls: by plane a curve in the wall and points of its middle, shape (points, 2), mm.
        apart_mm: between planes.

    Of planes with enough others beside them.
    """
    found = {}
    for k, (curve, _) in walls.items():
        near = [other for other in walls if abs(other - k) <= _NEAR]
        if len(near) < _LEAST_NEAR:
            continue
        phi = np.arange(len(curve.points)) * 2 * np.pi / len(curve.points)
        away = []
        for other in near:
            angle, distance = placed(curve, walls[other][1])
            angle, first = np.unique(angle % (2 * np.pi), return_index=True)
            away.append(np.interp(phi, angle, distance[first], period=2 * np.pi))
        heights = np.array(near) * apart_mm
        heights = heights - heights.mean()
        found[k] = np.arctan(heights @ np.array(away) / (heights @ heights))
    return found


def slope_of(lean: dict[int, np.ndarray]) -> float:
    """How steeply the wall leaves the axis (RMS), as it does all around or on opposite sides.

    What changes faster around a ring is mostly noise.
    """
    if not lean:
        return 0.0
    slopes = np.tan(list(lean.values())).T
    basis = harmonics(np.arange(len(slopes)) * 2 * np.pi / len(slopes), 1)
    smooth = basis @ np.linalg.lstsq(basis, slopes, rcond=None)[0]
    return float(np.sqrt(np.mean(smooth**2)))


def tube_of(lean: dict[int, np.ndarray]) -> list[int]:
    """Planes in which the wall leans little, as in those beside them that told its lean."""
    most = np.deg2rad(MOST_LEAN_DEG)
    far = [k for k, one in lean.items() if np.quantile(np.abs(one), _USUAL) > most]
    return [k for k in lean if all(abs(k - other) > _NEAR for other in far)]
