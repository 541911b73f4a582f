"""Where labels stand beside the anatomy: in one column, apart, near their regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GAP_MM = 15.0  # between the anatomy and the labels
LINE_SHIFT_MM = 1.5


@dataclass(frozen=True)
class Place:
    """Where a region lies: its center and the corners of its box, (3,) RAS mm."""

    center: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Layout:
    """The plane that regions and labels are seen in; labels stand at its right edge.

    Attributes:
        name: "sagittal" or "coronal".
        normal: RAS axis (0-2) across the plane.
        across: RAS axis along which labels stand beside the anatomy, on its negative side.
        viewer: side (-1 or 1) of the plane along its normal that the viewer is on.
        slice_view: Slicer's view of that orientation.
        slice_right: RAS direction of the slice view's right edge.
        camera: RAS direction from the anatomy to the 3D camera.
    """

    name: str
    normal: int
    across: int
    viewer: int
    slice_view: str
    slice_right: tuple[float, float, float]
    camera: tuple[float, float, float]


# Labels behind the spine, seen from the left and somewhat from the front and above.
SAGITTAL = Layout("sagittal", 0, 1, -1, "Yellow", (0, -1, 0), (-0.80, 0.56, 0.22))
# Labels at the patient's left, seen from the front and somewhat from the left and above.
CORONAL = Layout("coronal", 1, 0, 1, "Green", (-1, 0, 0), (-0.30, 0.93, 0.22))


def choose_layout(places: list[Place]) -> Layout:
    """Coronal where regions lie side by side, as hips do; else sagittal."""
    if not places:
        return SAGITTAL
    right, anterior, _ = np.ptp([place.center for place in places], axis=0)
    return CORONAL if right > max(60.0, anterior) else SAGITTAL


def label_anchors(
    places: list[Place], layout: Layout, separation_mm: float, heights_mm: Sequence[float]
) -> np.ndarray:
    """Where labels begin: beside all regions, each at its region's height where there is room.

    Labels stand on their anchors and none ends above all regions: the image, and a view with it,
    may end there.

    Args:
        heights_mm: of the labels' text.

    Returns:
        (n, 3) RAS mm, in one plane, moved up or down as little as keeps them apart.
    """
    anchors = np.array([place.center for place in places], float).reshape(-1, 3)
    if len(anchors):
        anchors[:, layout.normal] = np.median(anchors[:, layout.normal])
        anchors[:, layout.across] = min(place.low[layout.across] for place in places) - GAP_MM
        highest = max(place.high[2] for place in places) - np.asarray(heights_mm)
        anchors[:, 2] = spread(np.minimum(anchors[:, 2], highest), separation_mm)
    return anchors


def label_lines(places: list[Place], anchors: np.ndarray, layout: Layout) -> np.ndarray:
    """(n, 2, 3) ends in RAS mm of the lines from regions to their labels.

    They lie in the labels' plane where the region reaches it, a little towards the viewer, or a
    slice shown there in 3D would hide them.
    """
    lines = np.empty((len(places), 2, 3))
    shift = layout.viewer * LINE_SHIFT_MM
    for line, place, anchor in zip(lines, places, anchors, strict=True):
        line[:] = place.center, anchor
        plane = anchor[layout.normal]
        if place.low[layout.normal] <= plane <= place.high[layout.normal]:
            line[0, layout.normal] = plane + shift
        line[1, layout.normal] += shift
    return lines


def spread(values: np.ndarray, separation: float) -> np.ndarray:
    """The values least moved (in squares) so that no two are closer than the separation."""
    order = np.argsort(values, kind="stable")
    steps = separation * np.arange(len(values))
    blocks: list[tuple[float, int]] = []  # pooled neighbors: mean and count
    for value in values[order] - steps:
        blocks.append((float(value), 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (low, n), (high, m) = blocks[-2:]
            blocks[-2:] = [((low * n + high * m) / (n + m), n + m)]
    result = np.empty(len(values))
    result[order] = np.repeat([mean for mean, _ in blocks], [n for _, n in blocks]) + steps
    return result
