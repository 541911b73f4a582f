"""Measurements: signal ratios, VBQ, M-score and map statistics of a study's regions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import Role, level_index, spine_region
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.study.regions import Region, Statistics, statistics
from MarrowAssessLib.study.study import Study

FEW_VOXELS = 20
FAR_APART_MM = 60.0
DARKER_AFTER_CONTRAST = 0.8  # more than noise, motion and coil shading take from the signal
COARSE = 0.02  # of the median: steps of the stored signal that deserve a word
OUTLIERS = (
    "No voxel is trimmed; voxels that are NaN or infinite are left out and counted. "
    "Ratios are of medians, which single bright vessels or streaks do not move."
)


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        erosion_mm: margin taken off every region but noise, to keep partial volume out; a disc
            or CSF region that is too thin for it is used as drawn, with a caution.
        n4: divide T1, T2 and fat-suppressed T2 by their N4 bias field first.
        m_score_reference: mean and SD of the L1-L4 SNR of the site's own young controls.
    """

    erosion_mm: float = 0.0
    n4: bool = False
    m_score_reference: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.erosion_mm) and self.erosion_mm >= 0):
            raise ValueError(f"Erosion margin {self.erosion_mm} mm: expected 0 mm or more.")
        mean, sd = self.m_score_reference or (0.0, 1.0)
        if not (np.isfinite([mean, sd]).all() and sd > 0):
            raise ValueError(
                f"M-score reference {mean:g}, {sd:g}: expected a mean and an SD above 0."
            )


@dataclass
class Measurement:
    """One number with what it was made from.

    Attributes:
        quantity: key in quantities.QUANTITIES.
        site: canonical site, such as "L3" or "L1-L4".
        value: in the quantity's unit.
        regions: names of the regions used, the measured ones first.
        statistics: of the measured region (of all levels' voxels for VBQ and means of levels).
        reference_statistics: of the region it is divided by, if any.
        ci95: 95 % interval from the spread inside the regions (not from drawing them anew).
        value_without_n4: the same number from the uncorrected image, where N4 was used.
        cautions: sentences to read with the number.
    """

    quantity: str
    site: str
    value: float
    regions: list[str]
    statistics: Statistics | None = None
    reference_statistics: Statistics | None = None
    ci95: tuple[float, float] | None = None
    value_without_n4: float | None = None
    cautions: list[str] = field(default_factory=list)

    @property
    def unit(self) -> str:
        """The quantity's unit, "" for a plain ratio."""
        return QUANTITIES[self.quantity].unit


@dataclass(frozen=True)
class Skipped:
    """A quantity that the study's volumes would give, and why it is not there."""

    quantity: str
    reason: str


@dataclass
class Measured:
    """All measurements of a study, and what could not be measured."""

    measurements: list[Measurement]
    skipped: list[Skipped]


# Contrasts whose ratio is of the same voxels carry the same coil shading and need no N4.
_N4_CONTRASTS = (Contrast.T1, Contrast.T2, Contrast.FS_T2)
_RATIO_QUANTITIES = {
    Contrast.T1: ("t1_marrow_muscle", "t1_marrow_disc"),
    Contrast.FS_T2: ("fs_t2_marrow_muscle", "fs_t2_marrow_disc"),
    Contrast.T2: ("t2_marrow_muscle", "t2_marrow_disc"),
}
# The quantity of a map in marrow, in muscle and in any other tissue.
_MAP_QUANTITIES = {
    Contrast.FAT_FRACTION: (
        "marrow_fat_signal_fraction",
        "muscle_fat_signal_fraction",
        "region_fat_fraction",
    ),
    Contrast.PDFF: ("marrow_pdff", "muscle_pdff", "region_pdff"),
    Contrast.R2STAR: ("marrow_r2star", "region_r2star", "region_r2star"),
    Contrast.ADC: ("marrow_adc", "region_adc", "region_adc"),
    Contrast.D: ("marrow_d", "region_d", "region_d"),
    Contrast.DSTAR: ("marrow_dstar", "region_dstar", "region_dstar"),
    Contrast.F: ("marrow_f", "region_f", "region_f"),
}
# Beyond these a map is not in the unit it should be in.
_PLAUSIBLE = {
    Contrast.FAT_FRACTION: (-20.0, 120.0, "percent"),
    Contrast.PDFF: (-20.0, 120.0, "percent"),
    Contrast.R2STAR: (-50.0, 2000.0, "1/s"),
    Contrast.ADC: (-0.5, 6.0, "10^-3 mm^2/s"),
    Contrast.D: (-0.5, 6.0, "10^-3 mm^2/s"),
    Contrast.DSTAR: (-1.0, 1000.0, "10^-3 mm^2/s"),
    Contrast.F: (-20.0, 120.0, "percent"),
}
# What the signal of marrow and muscle does not go below in the right unit.
_LEAST = {Contrast.R2STAR: 2.0, Contrast.ADC: 0.01, Contrast.D: 0.01, Contrast.DSTAR: 0.1}


def measure(
    study: Study,
    settings: Settings | None = None,
    progress: Callable[[float], bool] | None = None,
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
    plain = _measure(study, volumes, regions, replace(settings, n4=False))
    if not settings.n4:
        return plain
    todo = [contrast for contrast in _N4_CONTRASTS if contrast in volumes]
    for n, contrast in enumerate(todo):
        if progress and not progress(n / len(todo)):
            raise InterruptedError("Canceled during N4 bias-field correction.")
        from MarrowAssessLib.study.bias_field import corrected

        volumes[contrast] = corrected(volumes[contrast])
    result = _measure(study, volumes, regions, settings)
    before = {(m.quantity, m.site, tuple(m.regions)): m.value for m in plain.measurements}
    for measurement in result.measurements:
        if _uses_n4(measurement.quantity):
            key = (measurement.quantity, measurement.site, tuple(measurement.regions))
            measurement.value_without_n4 = before[key]
    return result


def fat_signal_fraction(water: Volume, fat: Volume) -> Volume:
    """100 fat / (water + fat) of reconstructed water and fat images; NaN without signal.

    This is no PDFF unless the scanner corrected both for T1, R2* and the fat spectrum.
    """
    w, f = (np.asarray(one.array, np.float32) for one in (water, fat))
    whole = w + f
    share = np.divide(100 * f, whole, out=np.full_like(whole, np.nan), where=whole > 0)
    return water.with_array(share, "fat fraction of water and fat")


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


def _uses_n4(quantity: str) -> bool:
    return quantity.startswith(("t1_", "t2_", "fs_t2_", "vbq"))


def _measure(
    study: Study, volumes: dict[Contrast, Volume], regions: list[Region], settings: Settings
) -> Measured:
    book = _Book(study.grid, volumes, regions, settings.n4)
    acquired = _Book(study.grid, study.volumes, regions, n4=False)
    measurements: list[Measurement] = []
    skipped: list[Skipped] = []
    for contrast, (to_muscle, to_disc) in _RATIO_QUANTITIES.items():
        if contrast in volumes:
            for quantity, role in ((to_muscle, Role.MUSCLE), (to_disc, Role.DISC)):
                found = _tissue_ratios(book, contrast, quantity, role)
                measurements += found
                if not found:
                    skipped.append(Skipped(quantity, _missing_roles(book, role)))
    if Contrast.IN_PHASE in volumes and Contrast.OPPOSED_PHASE in volumes:
        for region in book.of(Role.MARROW):
            measurements += _opposed_phase(book, region)
    if Contrast.T1 in volumes and Contrast.T1_POST in volumes:
        measurements += [_enhancement(acquired, region) for region in book.of(Role.MARROW)]
    for contrast in (contrast for contrast in _MAP_QUANTITIES if contrast in volumes):
        for outcome in _map_values(book, contrast):
            (measurements if isinstance(outcome, Measurement) else skipped).append(outcome)
    measurements += [_composition(m) for m in measurements if m.quantity == "marrow_pdff"]
    measurements += [_cross_section(book, region) for region in study.with_role(Role.MUSCLE)]
    if Contrast.T1 in volumes:
        for definition in VBQ_DEFINITIONS:
            outcome = _vbq(book, definition)
            (measurements if isinstance(outcome, Measurement) else skipped).append(outcome)
        outcome = _m_score(study, book, settings)
        (measurements if isinstance(outcome, Measurement) else skipped).append(outcome)
    for measurement in measurements:
        _add_cautions(book, measurement)
    return Measured(measurements, skipped)


class _Book:
    """Statistics of every region in every volume, computed once when first asked for."""

    def __init__(
        self, grid: Volume, volumes: dict[Contrast, Volume], regions: list[Region], n4: bool
    ):
        self.grid = grid
        self.n4 = n4
        self.volumes = volumes
        self.regions = {region.name: region for region in regions}
        self._statistics: dict[tuple[str, Contrast], Statistics] = {}
        self._centers: dict[str, np.ndarray] = {}

    def of(self, role: Role) -> list[Region]:
        return [region for region in self.regions.values() if region.role is role]

    def at(self, role: Role, site: str) -> Region | None:
        return next((r for r in self.regions.values() if (r.role, r.site) == (role, site)), None)

    def statistics(self, region: Region, contrast: Contrast) -> Statistics:
        key = (region.name, contrast)
        if key not in self._statistics:
            volume = self.volumes[contrast]
            try:
                one = statistics(region, volume.array, volume.voxel_volume_mm3)
            except ValueError as error:
                raise ValueError(f"{volume.name}: {error}") from error
            self._statistics[key] = one
        return self._statistics[key]

    def divisor(self, region: Region, contrast: Contrast) -> Statistics:
        one = self.statistics(region, contrast)
        if not (one.median > 0 and one.mean > 0):
            raise ValueError(
                f"{self.volumes[contrast].name}: the median signal of {region.name} is "
                f"{one.median:g}, so nothing can be divided by it; check where it was drawn."
            )
        return one

    def center(self, region: Region) -> np.ndarray:
        if region.name not in self._centers:
            self._centers[region.name] = self.grid.to_ras(region.centroid_ijk())
        return self._centers[region.name]

    def distance_mm(self, one: Region, other: Region) -> float:
        return float(np.linalg.norm(self.center(one) - self.center(other)))

    def nearest(self, region: Region, role: Role) -> Region | None:
        others = [r for r in self.of(role) if r.voxels]
        return min(others, key=lambda other: self.distance_mm(region, other), default=None)


def _missing_roles(book: _Book, role: Role) -> str:
    missing = [r.value for r in (Role.MARROW, role) if not book.of(r)]
    return f"no {' and no '.join(missing)} region was given"


def _ratio(top: Statistics, bottom: Statistics) -> tuple[float, tuple[float, float] | None]:
    """Ratio of two medians with its 95 % interval (first-order error propagation on the log)."""
    value = top.median / bottom.median
    if not (top.median > 0 and np.isfinite(top.median_se) and np.isfinite(bottom.median_se)):
        return value, None
    spread = np.hypot(top.median_se / top.median, bottom.median_se / bottom.median)
    factor = float(np.exp(1.96 * spread))
    return value, (value / factor, value * factor)


def _tissue_ratios(book: _Book, contrast: Contrast, quantity: str, role: Role) -> list[Measurement]:
    """Marrow over the nearest region of another tissue, one for each marrow region."""
    found = []
    for region in book.of(Role.MARROW):
        other = book.nearest(region, role)
        if other is None:
            continue
        top, bottom = book.statistics(region, contrast), book.divisor(other, contrast)
        value, ci = _ratio(top, bottom)
        one = Measurement(quantity, region.site, value, [region.name, other.name], top, bottom, ci)
        if not book.n4 and (distance := book.distance_mm(region, other)) > FAR_APART_MM:
            one.cautions.append(
                f"{other.name} lies {distance:.0f} mm away and coil shading was not corrected (N4)."
            )
        found.append(one)
    return found


def _opposed_phase(book: _Book, region: Region) -> list[Measurement]:
    """Opposed/in-phase ratio, signal drop, and the two fat fractions the ratio allows.

    |1 - 2 FF| = opposed/in-phase holds for equal relaxation, a single fat peak exactly opposed
    to water, and one sign unknown: FF and 100 % - FF give the same ratio.
    """
    top = book.statistics(region, Contrast.OPPOSED_PHASE)
    bottom = book.divisor(region, Contrast.IN_PHASE)
    ratio, ci = _ratio(top, bottom)
    interval = lambda f: tuple(sorted((f(ci[0]), f(ci[1])))) if ci else None  # noqa: E731
    one = Measurement("opposed_in_ratio", region.site, ratio, [region.name], top, bottom, ci)
    drop = lambda r: 100 * (1 - r)  # noqa: E731
    low = lambda r: 50 * (1 - r)  # noqa: E731
    high = lambda r: 50 * (1 + r)  # noqa: E731
    found = [one, replace(one, quantity="signal_drop", value=drop(ratio), ci95=interval(drop))]
    if ratio <= 1:
        found += [
            replace(one, quantity=quantity, value=f(ratio), ci95=interval(f))
            for quantity, f in (
                ("opposed_fat_fraction_low", low),
                ("opposed_fat_fraction_high", high),
            )
        ]
        for implied in found[2:]:
            implied.cautions = [
                "Opposed phase cannot tell a fat fraction from its complement to 100 %; "
                "both are shown. T1 weighting, R2* and the fat peaks are not corrected."
            ]
    return found


def _enhancement(book: _Book, region: Region) -> Measurement:
    """From both images as acquired: N4 would find another field in each of them."""
    top = book.statistics(region, Contrast.T1_POST)
    bottom = book.divisor(region, Contrast.T1)
    ratio, ci = _ratio(top, bottom)
    percent = tuple(100 * (r - 1) for r in ci) if ci else None
    one = Measurement(
        "enhancement", region.site, 100 * (ratio - 1), [region.name], top, bottom, percent
    )
    # Nothing darkens after gadolinium in marrow or fat unless the two images differ.
    judges = [region, *book.of(Role.FAT)]
    if darker := [judge.name for judge in judges if _darkens(book, judge)]:
        one.cautions.append(
            f"{' and '.join(darker)} darker after contrast than before: one image may be "
            "fat-suppressed or scaled otherwise, and then this percentage means nothing."
        )
    return one


def _darkens(book: _Book, region: Region) -> bool:
    before, after = (book.statistics(region, c).median for c in (Contrast.T1, Contrast.T1_POST))
    return after < DARKER_AFTER_CONTRAST * before


def _map_values(book: _Book, contrast: Contrast) -> list[Measurement | Skipped]:
    """A map's value in every region but noise, and the mean of L1-L4 of marrow."""
    in_marrow, in_muscle, elsewhere = _MAP_QUANTITIES[contrast]
    by_role = {Role.MARROW: in_marrow, Role.MUSCLE: in_muscle}
    found: list[Measurement | Skipped] = []
    for region in book.regions.values():
        quantity = by_role.get(region.role, elsewhere)
        if region.role is Role.NOISE:
            continue
        if not np.isfinite(region.values(book.volumes[contrast].array)).any() and region.voxels:
            # A map marks voxels that could not be fitted as NaN; that is no mistake of the user's.
            found.append(Skipped(quantity, f"the map holds no value in {region.name}"))
        else:
            found.append(_map_value(book, contrast, quantity, region))
    return found + _lumbar_mean([m for m in found if m.quantity == in_marrow])


def _map_value(book: _Book, contrast: Contrast, quantity: str, region: Region) -> Measurement:
    """Median of a quantitative map in a region, refused where its unit cannot be right."""
    one = book.statistics(region, contrast)
    _check_unit(book.volumes[contrast], contrast, region, one)
    half = 1.96 * one.median_se
    ci = (one.median - half, one.median + half) if np.isfinite(half) else None
    return Measurement(quantity, region.site, one.median, [region.name], one, None, ci)


def _check_unit(volume: Volume, contrast: Contrast, region: Region, one: Statistics) -> None:
    low, high, unit = _PLAUSIBLE[contrast]
    tissue = region.role in (Role.MARROW, Role.MUSCLE)
    too_small = tissue and 0 < one.median < _LEAST.get(contrast, 0.0)
    if too_small or not low <= one.median <= high:
        raise ValueError(
            f"{volume.name}: the median in {region.name} is {one.median:g}, which is no "
            f"{contrast.value} in {unit}; give its scale, such as "
            f"--scale {contrast.value}={1000 if too_small else 0.001:g}."
        )
    if unit == "percent" and tissue and 0 < one.median <= 1:
        highest = float(np.nanmax(region.values(volume.array)))
        if highest <= 1.0 and np.mean(volume.array > 1.5) < 0.01:
            raise ValueError(
                f"{volume.name}: values in {region.name} reach {highest:.2f} at most, which looks "
                f"like a fraction; {contrast.value} is expected in percent, so give --scale "
                f"{contrast.value}=100."
            )


def _lumbar_mean(found: list[Measurement | Skipped]) -> list[Measurement]:
    """The mean of L1 ... L4, the site most lumbar references are given for."""
    by_site = {m.site: m for m in reversed(found) if isinstance(m, Measurement)}
    if not all(f"L{n}" in by_site for n in range(1, 5)):
        return []
    levels = [by_site[f"L{n}"] for n in range(1, 5)]
    value = float(np.mean([m.value for m in levels]))
    ci = None
    if all(m.ci95 for m in levels):
        half = float(np.sqrt(sum(((m.ci95[1] - m.ci95[0]) / 2) ** 2 for m in levels))) / 4
        ci = (value - half, value + half)
    names = [name for m in levels for name in m.regions]
    return [Measurement(levels[0].quantity, "L1-L4", value, names, None, None, ci)]


@dataclass(frozen=True)
class Composition:
    """What marrow of a fat fraction would be made of, between red and yellow marrow, in percent."""

    yellow_share: float
    water: float
    protein: float
    fat: float


def composition(pdff_percent: float) -> Composition:
    """Composition on the line from red (40 water, 20 protein, 40 fat) to yellow (15, 5, 80).

    PDFF stands for the fat share here, as in the reviews; it does not see protein, so by proton
    density alone the same two marrows would have a PDFF of 50 % and 84 %. Below 40 % and above
    80 % the nearer end is returned.

    Source: red and yellow end members as in doi 10.3348/jksr.2024.0039 and
    doi 10.1007/s11547-020-01239-2.
    """
    share = float(np.clip((pdff_percent - 40) / 40, 0, 1))
    return Composition(100 * share, 40 - 25 * share, 20 - 15 * share, 40 + 40 * share)


def _composition(pdff: Measurement) -> Measurement:
    implied = composition(pdff.value)
    one = replace(pdff, quantity="marrow_yellow", value=implied.yellow_share, ci95=None)
    one.cautions = [
        f"Implied composition: {implied.water:.0f} % water, {implied.protein:.0f} % protein, "
        f"{implied.fat:.0f} % fat."
    ]
    if not 40 <= pdff.value <= 80:
        side = "more cellular than the red" if pdff.value < 40 else "fattier than the yellow"
        one.cautions.append(
            f"PDFF {pdff.value:.0f} % is {side} end of the scale (40 to 80 %); the end is shown."
        )
    return one


def _cross_section(book: _Book, region: Region) -> Measurement:
    """Largest area across the voxel axis nearest the body's long axis, in cm^2, without erosion."""
    axes = np.abs(book.grid.ijk_to_ras[2, :3]) / book.grid.spacing
    along = int(np.argmax(axes))  # 0, 1, 2 = i, j, k
    counts = np.count_nonzero(region.mask, axis=tuple(a for a in range(3) if a != 2 - along))
    area_mm2 = counts.max() * book.grid.voxel_volume_mm3 / book.grid.spacing[along]
    one = Measurement("muscle_csa", region.site, float(area_mm2) / 100, [region.name])
    if counts.size > 1 and counts.argmax() in (0, counts.size - 1):
        one.cautions.append("The largest section is at the region's end; it may go on beyond it.")
    return one


@dataclass(frozen=True)
class VBQDefinition:
    """Which vertebrae over which CSF make a vertebral bone quality score."""

    quantity: str
    site: str
    levels: tuple[str, ...]
    csf_sites: tuple[str, ...]
    statistic: str


VBQ_DEFINITIONS = [
    VBQDefinition("vbq", "L1-L4", ("L1", "L2", "L3", "L4"), ("L3",), "median"),
    VBQDefinition("vbq_mean", "L1-L4", ("L1", "L2", "L3", "L4"), ("L3",), "mean"),
    VBQDefinition("vbq_l1", "L1", ("L1",), ("L1",), "median"),
    VBQDefinition("vbq_s1", "S1", ("S1",), ("S1", "L5-S1", "L5"), "median"),
    VBQDefinition("vbq_cervical", "C3-C6", ("C3", "C4", "C5", "C6"), ("C5",), "median"),
    VBQDefinition("vbq_thoracic", "T5-T8", ("T5", "T6", "T7", "T8"), ("T7",), "median"),
]


def _vbq(book: _Book, definition: VBQDefinition) -> Measurement | Skipped:
    """Vertebral bone quality: the levels' middle signal over CSF, on T1 without contrast.

    Source: Ehresman et al. 2020, Spine J 20:556, doi 10.1016/j.spinee.2019.10.018; single
    level, cervical, thoracic and S1 variants as named in the references.
    """
    bodies = [book.at(Role.MARROW, level) for level in definition.levels]
    if missing := [s for s, b in zip(definition.levels, bodies, strict=True) if b is None]:
        return Skipped(definition.quantity, f"no marrow region at {', '.join(missing)}")
    found = [csf for site in definition.csf_sites if (csf := book.at(Role.CSF, site))]
    if not found:
        return Skipped(definition.quantity, f"no CSF region at {' or '.join(definition.csf_sites)}")
    csf = found[0]
    levels = [book.statistics(body, Contrast.T1) for body in bodies]
    bottom = book.divisor(csf, Contrast.T1)
    names = [body.name for body in bodies] + [csf.name]
    if definition.statistic == "mean":
        value = float(np.mean([one.mean for one in levels])) / bottom.mean
    else:
        value = float(np.median([one.median for one in levels])) / bottom.median
    one = Measurement(definition.quantity, definition.site, value, names, None, bottom)
    if len(levels) == 1:
        one.statistics = levels[0]
    one.ci95 = _vbq_interval(value, levels, bottom)
    axis = np.abs(book.grid.ijk_to_ras[0, :3]) / book.grid.spacing
    across = int(np.argmax(axis))
    widths = [b.mask.shape[2 - across] * book.grid.spacing[across] for b in bodies]
    if max(widths) > 20:
        one.cautions.append(
            "Measured over whole vertebral bodies; published values and cut-offs come from "
            "regions on the mid-sagittal slice."
        )
    return one


def _vbq_interval(
    value: float, levels: list[Statistics], bottom: Statistics
) -> tuple[float, float] | None:
    """95 % interval of a median of levels: the middle one or two carry it."""
    ordered = sorted(levels, key=lambda one: one.median)
    middle = ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1]
    top_se = np.sqrt(sum(one.median_se**2 for one in middle)) / len(middle)
    top = np.mean([one.median for one in middle])
    spread = np.hypot(top_se / top, bottom.median_se / bottom.median)
    if not np.isfinite(spread):
        return None
    factor = float(np.exp(1.96 * spread))
    return value / factor, value * factor


def _m_score(study: Study, book: _Book, settings: Settings) -> Measurement | Skipped:
    """(SNR of L1-L4 - reference mean) / reference SD, with SNR = mean signal / SD of air.

    Source: Bandirali et al. 2015, Eur Radiol, doi 10.1007/s00330-015-3699-y. Always from the
    uncorrected T1: N4 changes the noise from place to place.
    """
    if settings.m_score_reference is None:
        return Skipped("m_score", "no reference mean and SD of this scanner was given")
    bodies = [book.at(Role.MARROW, f"L{n}") for n in range(1, 5)]
    if None in bodies:
        return Skipped("m_score", "marrow regions at L1, L2, L3 and L4 are needed")
    air = next(iter(book.of(Role.NOISE)), None)
    if air is None:
        return Skipped("m_score", "no noise (air) region was given")
    t1 = study.volumes[Contrast.T1]
    noise = statistics(air, t1.array, t1.voxel_volume_mm3)
    if not noise.sd > 0:
        raise ValueError(
            f"{t1.name}: the signal of {air.name} does not vary (SD {noise.sd:g}), so it is no "
            "noise; the scanner may have masked the background. Draw it elsewhere or leave it out."
        )
    signal = np.mean([statistics(b, t1.array, t1.voxel_volume_mm3).mean for b in bodies])
    mean, sd = settings.m_score_reference
    score = (float(signal) / noise.sd - mean) / sd
    names = [body.name for body in bodies] + [air.name]
    one = Measurement("m_score", "L1-L4", score, names, None, noise)
    one.cautions.append("Holds only for the scanner and protocol its reference was measured on.")
    return one


def _add_cautions(book: _Book, measurement: Measurement) -> None:
    for name in measurement.regions:
        region = book.regions[name]
        measurement.cautions += [c for c in region.cautions if c not in measurement.cautions]
        if region.voxels < FEW_VOXELS and measurement.quantity != "muscle_csa":
            measurement.cautions.append(f"{name} has only {region.voxels} voxels.")
    if measurement.quantity.startswith("vbq") or measurement.quantity == "m_score":
        used = [book.regions[name] for name in measurement.regions]
        places = {(one.role, one.site) for one in used}
        others = [r for r in book.regions.values() if r.name not in measurement.regions]
        if twins := [r.name for r in others if (r.role, r.site) in places]:
            measurement.cautions.append(
                f"Several regions are of the same tissue and site: {', '.join(twins)} was not used."
            )
    divisor = measurement.reference_statistics
    if divisor and divisor.step and divisor.step / divisor.median > COARSE:
        measurement.cautions.append(
            f"The signal of {measurement.regions[-1]} is stored in coarse steps (median "
            f"{divisor.median:.0f}), which rounds this ratio to about "
            f"{100 * divisor.step / divisor.median:.0f} %."
        )
    measured = measurement.statistics
    if measured and divisor and measured.median <= 0:
        measurement.cautions.append(
            f"The median signal of {measurement.regions[0]} is {measured.median:g}, which no "
            "tissue has on a magnitude image; check where it was drawn."
        )
    if measured and measured.excluded:
        measurement.cautions.append(
            f"{measured.excluded} of {measured.excluded + measured.voxels} voxels of "
            f"{measurement.regions[0]} are not finite and were left out."
        )


def order(measurement: Measurement) -> tuple:
    """Sort key: by quantity as listed, then down the spine, other sites last."""
    level = level_index(measurement.site) if spine_region(measurement.site) else None
    keys = list(QUANTITIES)
    return (keys.index(measurement.quantity), 1e3 if level is None else level, measurement.site)
