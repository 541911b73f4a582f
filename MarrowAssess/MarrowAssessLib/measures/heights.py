"""Heights, height loss and edema of vertebral bodies as quantities."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from MarrowAssessLib.catalogue.anatomy import VERTEBRAE, Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import Quantity
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement, Skipped
from MarrowAssessLib.sources.label_maps import WHOLE_VERTEBRA
from MarrowAssessLib.study.regions import Region

if TYPE_CHECKING:
    from PDFFMapperLib.images.volume import Volume

    from MarrowAssessLib.fracture.edema import MarrowSignal
    from MarrowAssessLib.fracture.grade import HeightLoss, SpineHeights
    from MarrowAssessLib.fracture.heights import BodyHeights
    from MarrowAssessLib.placement.vertebra import Surface

HEIGHTS = (
    "Heights are measured on the bodies' outlines, in the bodies' own axes, over 8-22, 43-57 and "
    "78-92 % of the depth; expected heights come from the nearest two bodies above and below "
    "without low height. Grades: Genant et al. 1993, doi 10.1002/jbmr.5650080915. Intervals hold "
    "the spread of outlines. Endplates of bodies that were found lie at the image's edges, those "
    "that were drawn as drawn. A wedge by Eastell lies more than 3 SD below the level's Ha/Hp, by "
    "McCloskey against the expected Hp as well. A low height is described, not explained."
)
SHARP = (Contrast.T1, Contrast.T2, Contrast.FS_T2)  # on which endplates are seen, the best first
FAR_APART = 0.6  # gap between bodies over their height; discs have about 0.2 to 0.4
SMALL_REGIONS = (
    "the regions lie further apart than discs are high; heights need whole vertebral bodies, not "
    "the measurement regions inside them"
)
_LEADING = "height_loss"  # the row that tells why there are no heights, and that carries the words

_VALUES: dict[str, Callable[[HeightLoss], float | None]] = {
    "height_loss": lambda one: None if one.grade is None else one.loss,
    "height_grade": lambda one: one.grade,
    "anterior_height": lambda one: one.heights.anterior_mm,
    "middle_height": lambda one: one.heights.middle_mm,
    "posterior_height": lambda one: one.heights.posterior_mm,
    "wedge_ratio": lambda one: one.heights.wedge,
    "concavity_ratio": lambda one: one.heights.concavity,
    "posterior_ratio": lambda one: one.posterior_ratio,
    "endplate_depression": lambda one: max(one.heights.depression_mm),
    "body_kyphosis": lambda one: one.heights.kyphosis_deg,
    "posterior_bulge": lambda one: one.heights.bulge_mm,
}


def body_shape(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """One number of every vertebral body's shape, if heights are asked for."""
    if not book.settings.fractures:
        return []
    regions, spine, refused = book.of_all(_heights)
    leads = quantity.key == _LEADING
    found: list[Measurement | Skipped] = []
    if leads:
        found += [Skipped(quantity.key, reason) for reason in refused]
    for level, body in spine.bodies.items():
        value = _VALUES[quantity.key](body)
        if value is None or not np.isfinite(value):
            if leads:
                found.append(Skipped(quantity.key, body.text))
            continue
        one = Measurement(quantity.key, level, float(value), (regions[level].name,))
        one.how = "outline found" if regions[level].outline else "outline as drawn"
        if leads:
            one.ci95, one.words = body.loss_ci95, _words(book, level, body)
            one.lines_ras = np.stack(np.split(body.heights.points_ras, 2), axis=1)
            one.cautions += body.cautions
        elif quantity.key == "height_grade":
            one.ci95 = body.grade_range and tuple(float(end) for end in body.grade_range)
            one.cautions += body.cautions
        elif quantity.key == "wedge_ratio" and body.wedge_z is not None:
            one.how += f"; z {body.wedge_z:+.1f} at {level} (doi 10.1007/s00276-010-0746-x); "
            one.how += body.wedge_by_sd
        found.append(one)
    return found


def low_bodies(book: Book) -> dict[str, tuple[int, float]]:
    """Grade and loss (%) of each body of grade 1 or more, by level; none where not asked for."""
    if not book.settings.fractures:
        return {}
    bodies = book.of_all(_heights)[1].bodies
    return {level: (one.grade, one.loss) for level, one in bodies.items() if one.grade}


def deformity_index(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """The sum of all bodies' grades."""
    if not book.settings.fractures:
        return []
    regions, spine, _ = book.of_all(_heights)
    graded = [level for level, body in spine.bodies.items() if body.grade is not None]
    if not graded:
        return []
    site = "-".join(dict.fromkeys((graded[0], graded[-1])))
    names = tuple(regions[level].name for level in graded)
    one = Measurement(quantity.key, site, float(spine.deformity_index), names)
    one.cautions.append(f"Of {len(graded)} bodies in view; the index is meant for T4 to L4.")
    return [one]


def body_signal(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """A body's signal beside that of bodies without low height, or its share of edema."""
    if not book.settings.fractures:
        return []
    regions, _, _ = book.of_all(_heights)
    (contrast,) = quantity.images
    signals, without = book.of_all(_SIGNALS[contrast])
    found: list[Measurement | Skipped] = []
    for level, signal in signals.items():
        share = quantity.key == "edema_share"
        value = 100 * signal.share if share else signal.ratio
        if np.isfinite(value):
            one = Measurement(quantity.key, level, value, (regions[level].name,))
            one.how = f"{signal.text}; worst third z {signal.z:+.1f}"
            one.cautions += signal.cautions
            found.append(one)
    return [*found, *(Skipped(quantity.key, reason) for reason in without.values())]


def _words(book: Book, level: str, body: HeightLoss) -> str:
    """Such as "22-33 %, grade 2 (1-2) wedge, edema (diffuse, 80 % of the body)".

    A body that is surely grade 0 has no interval, so that all such bodies share a line.
    """
    low, high = (round(end) + 0 for end in body.loss_ci95)
    interval = f"{low}{'-' if low >= 0 else ' to '}{high} %"
    words = [body.grade_text] if body.grade_range == (0, 0) else [interval, body.grade_text]
    if Contrast.FS_T2 in book.acquired:
        signal = book.of_all(_SIGNALS[Contrast.FS_T2])[0].get(level)
        words += [signal.text] if signal else []
    return ", ".join(words)


def _heights(book: Book) -> tuple[dict[str, Region], SpineHeights, list[str]]:
    """The regions by level, their heights, and why others have none."""
    from MarrowAssessLib.fracture.grade import assess_heights

    regions: dict[str, Region] = {}
    refused = []
    for region in book.drawn:
        if region.role is not Role.MARROW or region.site not in VERTEBRAE:
            continue
        if WHOLE_VERTEBRA in region.cautions:
            refused.append(f"{region.name} holds the arch as well; heights need the body alone.")
        elif region.site in regions:
            refused.append(f"{region.name}: {regions[region.site].name} was used for its level.")
        else:
            regions[region.site] = region
    regions = dict(sorted(regions.items(), key=lambda item: VERTEBRAE.index(item[0])))
    unsure = [level for level, region in regions.items() if region.doubtful]
    image = next((book.acquired[one] for one in SHARP if one in book.acquired), None)
    images = {level: image for level, region in regions.items() if region.outline and image}
    spine = assess_heights(_outlines(book, regions), book.grid, unsure, images=images)
    drawn = {
        level: body.heights for level, body in spine.bodies.items() if not regions[level].outline
    }
    if _far_apart(drawn):
        refused.append(SMALL_REGIONS)
        spine.bodies.clear()
    return regions, spine, refused + [f"{level}: {why}" for level, why in spine.refused.items()]


def _outlines(book: Book, regions: dict[str, Region]) -> dict[str, Surface]:
    from MarrowAssessLib.fracture.outlines import surfaces_of_masks

    shape = book.grid.array.shape
    drawn = {
        level: region.full_mask(shape) for level, region in regions.items() if not region.outline
    }
    found = surfaces_of_masks(book.grid, drawn)
    return {level: region.outline or found[level] for level, region in regions.items()}


def _far_apart(bodies: dict[str, BodyHeights]) -> bool:
    """Whether neighboring drawn bodies leave more room between them than discs take."""
    shares = [
        np.linalg.norm(bodies[upper].points_ras[4] - bodies[lower].points_ras[1])
        / bodies[upper].middle_mm
        for upper, lower in pairwise(bodies)
        if VERTEBRAE.index(lower) == VERTEBRAE.index(upper) + 1
    ]
    return bool(shares) and float(np.median(shares)) > FAR_APART


def _signals_in(
    contrast: Contrast,
) -> Callable[[Book], tuple[dict[str, MarrowSignal], dict[str, str]]]:
    def signals(book: Book) -> tuple[dict[str, MarrowSignal], dict[str, str]]:
        from MarrowAssessLib.fracture.edema import marrow_signals

        regions, spine, _ = book.of_all(_heights)
        outlines = _outlines(book, {level: regions[level] for level in spine.bodies})
        image = book.acquired[contrast]
        fluid, t1 = _fluid(book, image), book.acquired.get(Contrast.T1)
        return marrow_signals(image, contrast, outlines, spine.unaffected, fluid, t1)

    return signals


def _fluid(book: Book, image: Volume) -> float | None:
    """Signal of CSF that nobody doubts."""
    drawn = [one for one in book.of(Role.CSF) if one.voxels and not one.doubtful]
    return float(np.nanmedian(drawn[0].values(image.array))) if drawn else None


_SIGNALS = {one: _signals_in(one) for one in (Contrast.FS_T2, Contrast.T1, Contrast.PDFF)}
