"""Whether fat is suppressed in an image given as fat-suppressed T2, by its own signals.

On a plain T2 or T1 the fat of normal marrow is bright and would read as infiltration or edema.
Marrow itself cannot tell; fat under the skin of the back and CSF can, where they are seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement
from MarrowAssessLib.study.regions import Region

# Back fat over erector muscle, in the middle of all levels: 1.7 and 2.2 in two TIRM whose fat is
# left bright near the coil, 6.9 to 11 in five plain T2, 3.3 to 4.0 in three T1.
UNSUPPRESSED = 5.0
DARK_CSF = 0.75  # of marrow: 0.4 to 0.6 on T1, 2.1 on TIRM
BRIGHT_FAT = 1.5  # of marrow, beside dark CSF: 1.8 to 2.8 on T1; infiltration on STIR outshines fat
REACH_MM = 100  # behind muscle
LAYER_MM = 5  # of fat, at the least half


def contradiction(book: Book, measured: Sequence[Measurement]) -> str:
    """Why the fat-suppressed T2 image is none, as a sentence; "" where nothing speaks against it.

    On grids whose axes are not the patient's, and where fat is not in view, nothing does.

    Args:
        book, measured: of undoubted regions alone.
    """
    marrow = [one.value for one in measured if one.quantity == _RATIO.key]
    if not marrow:
        return ""
    seen, _ = book.within(_RATIO)
    fat, csf = _back_fat_over_muscle(seen), _csf_over_marrow(seen)
    if fat > UNSUPPRESSED:
        why = f"fat under the skin of the back is {fat:.0f} times as bright as muscle"
    elif csf < DARK_CSF and fat > BRIGHT_FAT * float(np.median(marrow)):
        why = f"CSF has {100 * csf:.0f} % of marrow's signal"
    else:
        return ""
    return (
        f"By its signals fat is not suppressed in this image, so nothing is compared with it: "
        f"{why}. It may be a plain T2 or T1, or suppression failed. Look, and name the image anew."
    )


def _back_fat_over_muscle(book: Book) -> float:
    """The brightest layer straight behind each level, over muscle; NaN without such muscle."""
    image = book.image(_RATIO, Contrast.FS_T2)
    levels = [image.to_ras(one.centroid_ijk()) for one in _vertebrae(book)]
    signals, behind = [], []
    for muscle in book.of(Role.MUSCLE):
        center = image.to_ras(muscle.centroid_ijk())
        nearest = min(levels, key=lambda level: float(np.linalg.norm(level - center)), default=None)
        if nearest is None:
            continue
        aside, back, _ = np.abs(nearest - center)
        if center[1] < nearest[1] and back > aside:  # no psoas
            signals.append(book.statistics(_RATIO, muscle, Contrast.FS_T2).median)
            behind.append(back)
    if not signals or min(signals) <= 0:
        return np.nan
    steps = np.mean(behind) + np.arange(REACH_MM)
    brightest = []
    for level in levels:
        ijk = np.rint(image.ras_to_ijk(level - np.outer(steps, [0, 1, 0]))).astype(int)
        i, j, k = ijk[((ijk >= 0) & (ijk < image.array.shape[::-1])).all(axis=1)].T
        if len(i) >= LAYER_MM:
            windows = np.lib.stride_tricks.sliding_window_view(image.array[k, j, i], LAYER_MM)
            brightest.append(np.median(windows, axis=1).max())
    return float(np.median(brightest) / np.mean(signals)) if brightest else np.nan


def _csf_over_marrow(book: Book) -> float:
    """NaN where one of them is missing."""
    csf, marrow = (
        [book.statistics(_RATIO, one, Contrast.FS_T2).median for one in regions]
        for regions in (book.of(Role.CSF), _vertebrae(book))
    )
    if not (csf and marrow and np.median(marrow) > 0):
        return np.nan
    return float(np.median(csf) / np.median(marrow))


def _vertebrae(book: Book) -> list[Region]:
    """Marrow that has back muscle behind it."""
    return [one for one in book.of(Role.MARROW) if one.site[:1] in "TL"]


_RATIO = QUANTITIES["fs_t2_marrow_muscle"]
