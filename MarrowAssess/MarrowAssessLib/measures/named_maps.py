"""Whether a map shows what it was given as, by what it says of tissues that are known.

CSF, discs and muscle are water in everybody: whatever marrow is, a PDFF map shows no fat in them,
an ADC map the motion of water, and a map of R2* or T2* their slow decay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement

MOST_FAT, FAT_IN_WATER = 60.0, 30.0  # percent; noise has 50, as what T1 weighting darkens may be
FAT_IN_DISC, OF_MARROW = 10.0, 0.5  # percent, and of marrow's: on three T1 0.6 to 0.7
LEAST_TOP = 15.0  # percent: fat beside the spine has 90, and noise alone goes as far
# 10^-3 mm^2/s: free water of 37 °C has 3.0, discs 1 to 2.
SLOW_CSF, SLOW_DISC = 1.5, 0.5
# 1/s: T2 alone gives muscle 25 and discs 7 to 20, and field over a voxel CSF up to 15.
SLOW_MUSCLE, SLOWEST_DISC, FASTEST_CSF = 10.0, 3.0, 15.0
FAST_CSF, FAST_DISC = 0.3, 0.5  # of marrow; on three T1 0.4 to 0.5 and 0.6 to 0.7 of its signal
SHORT_MUSCLE = 1.3  # marrow over muscle, whose T2* is 25 to 35 ms; bone destroyed goes beyond


def contradiction(book: Book, measured: Sequence[Measurement], contrast: Contrast) -> str:
    """Why a map is none of its name, as a sentence; "" where nothing speaks against it.

    Args:
        book, measured: of undoubted regions alone.
        contrast: what the map was given as.
    """
    if contrast not in book.acquired:
        return ""
    csf, disc, muscle, marrow = (
        book.level(contrast, role) for role in (Role.CSF, Role.DISC, Role.MUSCLE, Role.MARROW)
    )
    if len(book.of(Role.DISC)) < 2:  # one alone may have fused to fat, or hold gas
        disc = np.nan
    elif contrast in (Contrast.PDFF, Contrast.FAT_FRACTION):
        disc = book.level(contrast, Role.DISC, np.min)
    top = float(np.nanmax(book.acquired[contrast].array))
    if not (why := _JUDGES[contrast](csf, disc, muscle, marrow, top)):
        return ""
    return (
        f"By its values this may be no map of {contrast.kind.title}, so nothing is compared with "
        f"it: {why}. Look, and name the map anew."
    )


def _of_fat_signal(csf: float, disc: float, muscle: float, marrow: float, top: float) -> str:
    for what, value in (("CSF", csf), ("discs", disc)):
        if value > MOST_FAT:
            return f"{what} would hold {value:.0f} % of fat (water and fat may be exchanged)"
    return ""


def _of_fat(csf: float, disc: float, muscle: float, marrow: float, top: float) -> str:
    if why := _of_fat_signal(csf, disc, muscle, marrow, top):
        return why
    if disc > FAT_IN_WATER:
        return f"discs would hold {disc:.0f} % of fat"
    if disc > FAT_IN_DISC and disc > OF_MARROW * marrow:
        return f"discs would hold {disc:.0f} % of fat, where marrow holds {marrow:.0f} %"
    if top < LEAST_TOP and csf > marrow:
        return f"no voxel would hold more than {top:.1f} % of fat, and CSF more than marrow"
    return ""


def _of_diffusion(csf: float, disc: float, muscle: float, marrow: float, top: float) -> str:
    if csf < SLOW_CSF:
        return f"CSF has {csf:.2f}, where free water has 3.0 10^-3 mm^2/s"
    if disc < SLOW_DISC and np.isnan(csf):  # dark discs hold noise
        return f"discs have {disc:.2f}, where they have 1 to 2 10^-3 mm^2/s"
    return ""


def _of_rates(csf: float, disc: float, muscle: float, marrow: float, top: float) -> str:
    if csf > max(marrow, FASTEST_CSF):
        return "CSF would decay faster than marrow"
    if csf > FASTEST_CSF and csf > FAST_CSF * marrow and disc > FAST_DISC * marrow:
        return (
            f"CSF would decay {csf / marrow:.1f} times and discs {disc / marrow:.1f} times as fast "
            "as marrow"
        )
    if muscle < SLOW_MUSCLE:
        return f"muscle would decay by {muscle:.2g} 1/s, less than its T2 allows"
    if disc < SLOWEST_DISC:
        return f"discs would decay by {disc:.2g} 1/s, less than their T2 allows"
    return ""


def _of_times(csf: float, disc: float, muscle: float, marrow: float, top: float) -> str:
    if marrow > SHORT_MUSCLE * muscle and csf < muscle:
        return "CSF would decay faster and marrow slower than muscle"
    return ""


_JUDGES: dict[Contrast, Callable[..., str]] = {
    Contrast.PDFF: _of_fat,
    Contrast.FAT_FRACTION: _of_fat_signal,
    Contrast.ADC: _of_diffusion,
    Contrast.R2STAR: _of_rates,
    Contrast.T2STAR: _of_times,
}
NAMED_MAPS = tuple(_JUDGES)
