"""Whether an image is folded over from head to foot: what lies beyond one end shows at the other.

A discrete Fourier transform's image is periodic: what lies beyond its lower end is laid on its
upper one, and so the last row goes on in the first one. Of an image that is cut out of a larger one
the two ends show parts of the body that have nothing to do with each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PDFFMapperLib.images.volume import Volume
from scipy import ndimage

from MarrowAssessLib.placement.found_spine import ONE_OR_MORE, Spine

# What is compared of two rows: detail between these (SD of Gaussians from front to back). What is
# broader (air round the body, the coil's reach) is alike at both ends of any image.
FINE_MM, BROAD_MM = 1.0, 15.0
# Correlation of the two ends, and by how much more than of either with rows between. None of 110
# real images has both; folded by a seventh of their rows 98 to 100 % of them have.
ALIKE, MORE_ALIKE = 0.5, 0.15
LEAST_DETAIL = 0.25  # SD of a row over the median of all: less is a margin without an image
# Share of a row's pixels unlike the next one, over the median of all: where it is less a drawn
# frame, or the rim of a round or corrected field of view, runs through the row, alike at both ends.
# Of 87 real images cut to such a rim 6 to 7 % are still taken for folded (half without this).
LEAST_FILLED = 0.6
LEAST_ROWS = 40
BETWEEN = np.linspace(0.25, 0.75, 12)  # shares of the rows: far from both ends
FOLDED_PART = 0.3  # of the image, from either end: how deep a fold reaches is not told
FOLDED = "{} is folded over: what lies beyond its upper or lower end shows at the other one."
IN_FOLD = "The outline is not certain: an image is folded over there."


def doubt_fold(volumes: Sequence[Volume], spine: Spine) -> list[int]:
    """Which bodies of a spine may lie in a fold of an image that it was found in.

    Each fold is noted, and where the lowest body may lie in one its level is doubted.
    """
    centers = np.array([body.center for body in spine.bodies])
    doubted = set()
    for volume in volumes:
        if ends := folded_over(volume):
            spine.notes.append(FOLDED.format(volume.name))
            doubted.update(_near_ends(volume, ends, centers))
    certain = spine.lowest and not spine.unsure_lowest
    if certain and len(spine.bodies) - 1 in doubted:
        spine.unsure_lowest = "the image is folded over where the lowest body lies"
        spine.lowest_off = ONE_OR_MORE
    return sorted(doubted)


def _near_ends(volume: Volume, ends: tuple[int, int], points_ras: np.ndarray) -> list[int]:
    """Which of points lie in the parts that a fold may reach: of the rows from end to end."""
    first, last = ends
    places = (volume.ras_to_ijk(points_ras)[:, _axes(volume)[0]] - first) / (last - first)
    return [int(n) for n in np.flatnonzero(np.abs(places - 0.5) > 0.5 - FOLDED_PART)]


def folded_over(volume: Volume) -> tuple[int, int] | None:
    """First and last row that a folded image fills: as alike as neighbors; None without a fold.

    They must also be more alike than either is with rows between: what runs along the whole image
    (a table, an artifact) is no fold.
    """
    rows, step_mm = _rows(volume)
    seen = _seen(rows)
    if len(seen) < LEAST_ROWS:
        return None
    between = np.quantile(seen, BETWEEN, method="nearest")
    first, last, *others = (_detail(rows[n], step_mm) for n in (seen[0], seen[-1], *between))
    usual = max(_alike(end, one) for end in (first, last) for one in others)
    if _alike(first, last) <= max(ALIKE, usual + MORE_ALIKE):
        return None
    return int(seen[0]), int(seen[-1])


def _seen(rows: np.ndarray) -> np.ndarray:
    """Which rows the image fills."""
    varied, filled = np.array([_content(row) for row in rows]).T
    whole = filled > LEAST_FILLED * np.median(filled)
    return np.flatnonzero(whole & (varied > LEAST_DETAIL * np.median(varied)))


def _content(row: np.ndarray) -> tuple[float, float]:
    """SD of a row's signals, and the share of its pixels that are unlike the next one."""
    seen = np.nan_to_num(row)
    return float(np.std(seen, dtype=float)), float(np.mean(seen[:, 1:] != seen[:, :-1]))


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _detail(row: np.ndarray, step_mm: float) -> np.ndarray:
    """Detail from front to back, its root with its sign: skin fat alone makes no two rows alike."""
    fine, broad = (
        ndimage.gaussian_filter1d(np.nan_to_num(row.astype(np.float32)), sd_mm / step_mm, axis=1)
        for sd_mm in (FINE_MM, BROAD_MM)
    )
    detail = fine - broad
    return np.sign(detail) * np.sqrt(np.abs(detail))


def _rows(volume: Volume) -> tuple[np.ndarray, float]:
    """The image with rows from head to foot first, to the front last; its pixels there, mm."""
    head, front = _axes(volume)
    rows = np.moveaxis(volume.array, (2 - head, 2 - front), (0, 2))
    return rows, float(volume.spacing[front])


def _axes(volume: Volume) -> tuple[int, int]:
    """Which of the image's axes i, j, k runs from head to foot, and which to the front."""
    directions = np.abs(volume.ijk_to_ras[:3, :3] / volume.spacing)
    head = int(directions[2].argmax())
    return head, max((n for n in range(3) if n != head), key=lambda n: directions[1, n])
