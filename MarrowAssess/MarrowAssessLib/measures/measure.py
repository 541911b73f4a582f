"""Everything that a study's images and regions give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress, share, tell

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method, Quantity
from MarrowAssessLib.measures.book import Book, Settings
from MarrowAssessLib.measures.cautions import add_cautions
from MarrowAssessLib.measures.chemical_shift import fat_signal_fraction, opposed_phase
from MarrowAssessLib.measures.composition import yellow_share
from MarrowAssessLib.measures.dual_energy import ct_column, ct_gradient, ct_value
from MarrowAssessLib.measures.heights import body_shape, body_signal, deformity_index
from MarrowAssessLib.measures.m_score import snr_score
from MarrowAssessLib.measures.maps import map_value
from MarrowAssessLib.measures.measurement import Measured, Measurement, Skipped
from MarrowAssessLib.measures.muscle import cross_section
from MarrowAssessLib.measures.signal_ratios import enhancement, tissue_ratio
from MarrowAssessLib.measures.spectroscopy import spectral_value
from MarrowAssessLib.measures.texture import texture
from MarrowAssessLib.measures.uptake import uptake
from MarrowAssessLib.measures.ute import bone_value
from MarrowAssessLib.measures.vbq import levels_over_csf
from MarrowAssessLib.measures.whole_body import whole_body
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study

OUTLIERS = (
    "No voxel is trimmed; voxels that are NaN or infinite are left out and counted. "
    "Ratios are of medians, which single bright vessels or streaks do not move."
)


def _yellow_shares(book: Book, quantity: Quantity) -> list[Measurement]:
    found = map_value(book, quantity)
    return [yellow_share(pdff) for pdff in found if isinstance(pdff, Measurement)]


METHODS: dict[Method, Callable[[Book, Quantity], list[Measurement | Skipped]]] = {
    Method.TISSUE_RATIO: tissue_ratio,
    Method.OPPOSED_RATIO: opposed_phase,
    Method.SIGNAL_DROP: opposed_phase,
    Method.FAT_IF_WATER_DOMINATES: opposed_phase,
    Method.FAT_IF_FAT_DOMINATES: opposed_phase,
    Method.ENHANCEMENT: enhancement,
    Method.LEVELS_OVER_CSF: levels_over_csf,
    Method.SNR_SCORE: snr_score,
    Method.MAP_VALUE: map_value,
    Method.CT_VALUE: ct_value,
    Method.CT_GRADIENT: ct_gradient,
    Method.CT_COLUMN: ct_column,
    Method.YELLOW_SHARE: _yellow_shares,
    Method.CROSS_SECTION: cross_section,
    Method.TEXTURE: texture,
    Method.BODY_SHAPE: body_shape,
    Method.DEFORMITY: deformity_index,
    Method.BODY_SIGNAL: body_signal,
    Method.SPECTRUM: spectral_value,
    Method.BONE: bone_value,
    **dict.fromkeys(
        (
            Method.SKELETAL_PART,
            Method.DIFFUSION_VOLUME,
            Method.GLOBAL_ADC,
            Method.ADC_SHARE,
            Method.FOCAL_LESIONS,
        ),
        whole_body,
    ),
    **dict.fromkeys(
        (
            Method.UPTAKE,
            Method.UPTAKE_MAX,
            Method.UPTAKE_PEAK,
            Method.UPTAKE_TOTAL,
            Method.UPTAKE_LEAN,
            Method.UPTAKE_RATIO,
            Method.UPTAKE_SCORE,
            Method.UPTAKE_SCORE_PEAK,
            Method.LIMB_RATIO,
            Method.LIMB_SPREAD,
        ),
        uptake,
    ),
}


def measure(
    study: Study,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Measure everything that the study's volumes and regions give.

    Args:
        study: volumes and regions on one grid.
        settings: see Settings.
        progress: called with the fraction done; return False to cancel.

    Raises:
        ValueError: an empty region, a divisor that is not positive, a map in another unit.
        InterruptedError: progress asked to cancel.
    """
    settings = settings or Settings()
    spacing = study.grid.spacing
    regions = [_eroded(region, settings.erosion_mm, spacing) for region in study.regions]
    volumes = dict(study.volumes)
    if {Contrast.WATER, Contrast.FAT} <= set(volumes) and Contrast.FAT_FRACTION not in volumes:
        volumes[Contrast.FAT_FRACTION] = fat_signal_fraction(
            volumes[Contrast.WATER], volumes[Contrast.FAT]
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


def _measure(book: Book, quantities: Iterable[Quantity]) -> Measured:
    outcomes = [
        outcome
        for quantity in quantities
        if quantity.method in METHODS and set(quantity.images) <= set(book.acquired)
        for outcome in METHODS[quantity.method](book, quantity)
    ]
    measured = Measured(
        [one for one in outcomes if isinstance(one, Measurement)],
        [one for one in outcomes if isinstance(one, Skipped)],
    )
    for measurement in measured.measurements:
        add_cautions(book, measurement)
    return measured


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
