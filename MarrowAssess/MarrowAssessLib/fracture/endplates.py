"""Endplates where the image has its edge, in the sagittal lines that heights are measured on.

A body's outline is smooth and stays near what is expected of a body; its endplates may lie a
millimeter off. Along each line the signal is followed from marrow outward, and the endplate is the
path over the body's depth on which it falls most.
"""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.volume import Volume
from scipy import ndimage

STEP_MM = 0.25
OUTWARD_MM = np.arange(-8.0, 6.0 + STEP_MM / 2, STEP_MM)  # from the outline's endplate
MARROW_MM = (-7.0, -3.0)  # where marrow's level is read
REACH_MM = 4.0  # how far the endplate may move
RISE_MM = 1.5  # width of an edge
HALF_EDGE = 0.1  # fall over that width, relative to marrow, that counts as half an edge
# What a distance from the outline and a step along the depth cost, per mm^2, beside an edge of 1.
# Half or twice of either moved the spread of heights between two images of a patient by < .1 mm.
FROM_OUTLINE, STIFFNESS = 0.05, 0.3
SMOOTH = 1.0  # of signals and path, in steps of the depth (about 1.2 mm)


def at_edges(
    volume: Volume, starts: np.ndarray, outward: np.ndarray, offsets_mm: np.ndarray
) -> np.ndarray:
    """Endplates moved to the image's edges.

    Args:
        volume: the image that shows marrow against endplates.
        starts: (lines, depths, 3) points in the body's middle plane, RAS mm.
        outward: unit vector from there to the endplate.
        offsets_mm: (lines, depths) where the outline has the endplate along it.

    Returns:
        The same where the edges are; unchanged on a line that leaves the image or has no marrow.
    """
    away = offsets_mm[..., None] + OUTWARD_MM
    points = starts[:, :, None, :] + away[..., None] * outward
    kji = volume.ras_to_ijk(points.reshape(-1, 3))[:, ::-1].T
    array = volume.array.astype(np.float32, copy=False)
    values = ndimage.map_coordinates(array, kji, order=1, cval=np.nan).reshape(away.shape)
    moved = offsets_mm.copy()
    for line, signals in enumerate(values):
        if np.isfinite(signals).all():
            moved[line] += _edge(signals)
    return moved


def _edge(signals: np.ndarray) -> np.ndarray:
    """How far outward the edge lies at each depth, mm; signals (depths, places)."""
    signals = ndimage.gaussian_filter1d(signals, SMOOTH, axis=0, mode="nearest")
    within = (OUTWARD_MM >= MARROW_MM[0]) & (OUTWARD_MM <= MARROW_MM[1])
    marrow = ndimage.median_filter(np.median(signals[:, within], axis=1), 9, mode="nearest")
    if marrow.min() <= 0:
        return np.zeros(len(signals))
    relative = signals / marrow[:, None]
    half = round(RISE_MM / 2 / STEP_MM)
    fall = np.zeros_like(relative)
    fall[:, half:-half] = np.maximum(relative[:, : -2 * half] - relative[:, 2 * half :], 0)
    near = np.abs(OUTWARD_MM) <= REACH_MM
    places = OUTWARD_MM[near]
    edges = fall[:, near] / (fall[:, near] + HALF_EDGE)
    cost = FROM_OUTLINE * places**2 - edges
    step = STIFFNESS * (places[:, None] - places[None, :]) ** 2
    path = _cheapest(cost, step)
    return ndimage.gaussian_filter1d(places[path], SMOOTH, mode="nearest")


def _cheapest(cost: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The column in each row of the cheapest path down the rows; `step` [from, to]."""
    total, came = cost[0], []
    for row in cost[1:]:
        ways = total[:, None] + step
        came.append(ways.argmin(axis=0))
        total = ways.min(axis=0) + row
    path = [int(total.argmin())]
    for back in reversed(came):
        path.append(int(back[path[-1]]))
    return np.array(path[::-1])
