"""Everything that a study's images and regions give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress, share, tell

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method, Quantity
from MarrowAssessLib.measures import (
    exchanged_phases,
    named_maps,
    plain_t1,
    plain_t2,
    suppressed_fat,
)
from MarrowAssessLib.measures.book import Book, Settings
from MarrowAssessLib.measures.cautions import add_cautions
from MarrowAssessLib.measures.measurement import Measured, Measurement, Skipped
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study

OUTLIERS = (
    "No voxel is trimmed; voxels that are NaN or infinite are left out and counted. "
    "Ratios are of medians, which single bright vessels or streaks do not move."
)
_JUDGES = {
    Contrast.T1: plain_t1.contradiction,
    Contrast.T2: plain_t2.contradiction,
    Contrast.FS_T2: suppressed_fat.contradiction,
    Contrast.OPPOSED_PHASE: exchanged_phases.contradiction,
    **{one: partial(named_maps.contradiction, contrast=one) for one in named_maps.NAMED_MAPS},
}  # of what an image or map was given as
_OF_IMAGE = (
    Method.TISSUE_RATIO, Method.LEVELS_OVER_CSF, Method.SNR_SCORE, Method.OPPOSED_RATIO,
    Method.SIGNAL_DROP, Method.FAT_IF_WATER_DOMINATES, Method.FAT_IF_FAT_DOMINATES,
    Method.MAP_VALUE, Method.SKELETAL_PART, Method.YELLOW_SHARE,
)  # fmt: skip


def measure(
    study: Study,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Measure everything that the study's volumes and regions give.

    Args:
        study: volumes and regions on one grid.
        settings: see Settings.

    Raises:
        ValueError: an empty region, a divisor that is not positive, a map in another unit.
        InterruptedError: progress asked to cancel.
    """
    settings = settings or Settings()
    spacing = study.grid.spacing
    regions = [_eroded(region, settings.erosion_mm, spacing) for region in study.regions]
    volumes = dict(study.volumes)
    if {Contrast.WATER, Contrast.FAT} <= set(volumes) and Contrast.FAT_FRACTION not in volumes:
        volumes[Contrast.FAT_FRACTION] = _fat_signal_fraction(
            volumes[Contrast.WATER], volumes[Contrast.FAT], volumes.get(Contrast.PDFF)
        )

    def book(corrected: dict[Contrast, Volume], settings: Settings) -> Book:
        return Book(
            volumes,
            corrected,
            study.regions,
            regions,
            settings,
            study.age_years,
            study.grid,
            study.spectra,
            study.bones,
        )

    quantities, plain = list(QUANTITIES.values()), book({}, replace(settings, n4=False))
    if not settings.n4:
        return _measure(plain, quantities)
    corrected = without_coil_shading(volumes, progress)
    result = _measure(book(corrected, settings), quantities)
    by_n4 = _measure(plain, [quantity for quantity in quantities if quantity.n4])
    before = {_identity(one): one.value for one in by_n4.measurements}
    for one in result.measurements:
        if QUANTITIES[one.quantity].n4:
            one.value_without_n4 = before[_identity(one)]
    return replace(result, corrected=corrected)


def without_coil_shading(
    volumes: Mapping[Contrast, Volume], progress: Progress | None = None
) -> dict[Contrast, Volume]:
    """The images of every quantity that bias-field correction applies to, corrected.

    Raises:
        InterruptedError: progress asked to cancel.
    """
    from MarrowAssessLib.study.bias_field import N4, corrected

    needed = dict.fromkeys(c for row in QUANTITIES.values() if row.n4 for c in row.images)
    todo = [contrast for contrast in needed if contrast in volumes]
    found = {}
    for n, contrast in enumerate(todo):
        tell(progress, n / len(todo), N4)
        part = share(progress, n / len(todo), (n + 1) / len(todo))
        found[contrast] = corrected(volumes[contrast], part)
    return found


def _fat_signal_fraction(water: Volume, fat: Volume, pdff: Volume | None) -> Volume:
    """100 fat / (water + fat) of reconstructed water and fat images; NaN without signal.

    This is no PDFF unless the scanner corrected both for T1, R2* and the fat spectrum. Where
    PDFFMapper's PDFF has no value none is given either: its images show noise in compact bone.
    """
    w, f = (np.asarray(one.array, np.float32) for one in (water, fat))
    whole = w + f
    share = np.divide(100 * f, whole, out=np.full_like(whole, np.nan), where=whole > 0)
    if pdff is not None and "FatSpectrum" in pdff.attributes:  # not a scanner's
        share[np.isnan(pdff.array)] = np.nan
    return water.with_array(share, "fat fraction of water and fat")


def _measure(book: Book, quantities: Iterable[Quantity]) -> Measured:
    outcomes: list[Measurement | Skipped] = []
    for quantity in quantities:
        if quantity.method.function and set(quantity.images) <= set(book.acquired):
            seen, outside = book.within(quantity)
            outcomes += quantity.method.measure(seen, quantity)
            outcomes += [Skipped(quantity.key, text) for text in outside]
    measured = Measured(
        [one for one in outcomes if isinstance(one, Measurement)],
        [one for one in outcomes if isinstance(one, Skipped)],
    )
    for measurement in measured.measurements:
        add_cautions(book, measurement)
    _judge(book, measured)
    return measured


def _judge(book: Book, measured: Measured) -> None:
    """Where undoubted regions say that an image is none of its name, compare it with nothing."""
    right = book.undoubted()
    doubtful = book.regions.keys() - right.regions.keys()
    sure = [one for one in measured.measurements if doubtful.isdisjoint(one.regions)]
    for contrast, judge in _JUDGES.items():
        if why := judge(right, sure):
            measured.contradicted[contrast.value] = why
            _mark(measured.measurements, contrast, why)


def _mark(measured: Sequence[Measurement], contrast: Contrast, why: str) -> None:
    """Take what was measured on one image out of all comparison, and say why."""
    for one in measured:
        quantity = QUANTITIES[one.quantity]
        if contrast in quantity.images and quantity.method in _OF_IMAGE:
            one.comparable = False
            one.cautions.append(why)


def _identity(one: Measurement) -> tuple:
    return one.quantity, one.site, one.measured, one.divided_by


def _eroded(region: Region, margin_mm: float, spacing_mm: np.ndarray) -> Region:
    """The region without its margin; discs and CSF too thin for it stay as drawn, and say so."""
    if region.role is Role.NOISE:
        return region
    try:
        return region.eroded(margin_mm, spacing_mm)
    except ValueError:
        if region.role not in (Role.DISC, Role.CSF):
            raise
        caution = f"{region.name} is too thin to erode by {margin_mm:g} mm; it was used as drawn."
        return replace(region, cautions=[*region.cautions, caution])
