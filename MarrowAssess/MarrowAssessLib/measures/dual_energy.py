"""Marrow on CT: CT number without mineral, mineral, yellow share; shafts of long bones plain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from PDFFMapperLib.images.attributes import BESIDE_WATER, image_type_of, number_of
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import Role, level_index, spine_region
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method, Quantity
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.heights import low_bodies
from MarrowAssessLib.measures.measurement import Measurement, Skipped, mean_of_levels, median_of
from MarrowAssessLib.study.regions import Region, Statistics, statistics

MARGIN_MM = 2.0  # keeps cortex out
NOISY = {"HU": 10.0, "mg/cm^3": 10.0}  # standard error beyond which nothing is compared
DENSE_MG = 350.0  # of the mean over 3 x 3 x 3 voxels, so that noise sends no marrow beyond it
MUCH_DENSE = 0.1  # of a region's voxels, from which on it is said
IODINE_HU = 80.0
SHAFTS = ("femoral diaphysis", "humeral diaphysis", "tibial diaphysis")
THICK_MM = 5.0
CALCIUM_LEFT_HU = 300.0
RED_PERCENT = 40.0
YOUNG_YEARS = 25
_FEWEST = 5
_VNCA = (Contrast.VNCA, Contrast.VNCA_PROJECTED)


def ct_value(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """A map's median in every marrow region, 2 mm inside, and the mean of levels.

    A plain CT is measured in the shafts of long bones alone: elsewhere it shows mineral.
    """
    found = book.of_all(_of_regions, quantity.images[0])
    levels = mean_of_levels(quantity, found)
    for one in levels:
        parts = [p for p in found if isinstance(p, Measurement) and p.site in quantity.levels]
        one.comparable = all(part.comparable for part in parts)
        one.cautions += _of_low_bodies(book, quantity.levels)
    return [*found, *levels]


def _of_regions(book: Book, contrast: Contrast) -> list[Measurement | Skipped]:
    """What a map gives in every region, for the quantities that rest on it as well."""
    rows = QUANTITIES.values()
    (quantity,) = (q for q in rows if q.method is Method.CT_VALUE and q.images == (contrast,))
    if contrast is not Contrast.CT and (iodine := book.of_all(_iodine)):
        return [Skipped(quantity.key, iodine)]
    drawn = [one for one in book.drawn if _is_marrow(one)]
    if contrast is Contrast.CT:
        drawn = [one for one in drawn if one.site.endswith(SHAFTS)]
    return [_value(book, quantity, region) for region in drawn]


def ct_column(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """The mean over every vertebra that was drawn, each by the volume that was measured."""
    levels = _by_level(book, quantity)
    if len(levels) < 2:
        return []
    ordered = [levels[level] for level in sorted(levels)]
    volumes = np.array([one.statistics.volume_mm3 for one in ordered])
    means = np.array([one.statistics.mean for one in ordered])
    made = Measurement(
        quantity.key,
        f"{ordered[0].site}-{ordered[-1].site}",
        float(np.average(means, weights=volumes)),
        tuple(one.measured[0] for one in ordered),
        how=", ".join(filter(None, (f"{len(ordered)} vertebrae", ordered[0].how))),
        systematic=ordered[0].systematic,
    )
    between = [n for n in np.arange(min(levels), max(levels)) if n not in levels]
    if between:
        made.cautions.append(
            f"{len(between)} of the levels in between were not measured; the mean leaves them out."
        )
    made.cautions += _of_low_bodies(book, [one.site for one in ordered])
    return [made]


def ct_gradient(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """Slope of the map over the levels from T11 to L5, of three and more."""
    within = (level_index("T11"), level_index("L5"))
    by_level = {
        n: one for n, one in _by_level(book, quantity).items() if within[0] <= n <= within[1]
    }
    if len(by_level) < 3:
        return [Skipped(quantity.key, "three levels from T11 to L5 are needed")]
    ordered = [by_level[level] for level in sorted(by_level)]
    slope = np.polyfit(sorted(by_level), [one.value for one in ordered], 1)[0]
    site = f"{ordered[0].site}-{ordered[-1].site}"
    names = tuple(one.measured[0] for one in ordered)
    made = Measurement(quantity.key, site, float(slope), names, how=ordered[0].how)
    made.cautions += _of_low_bodies(book, [one.site for one in ordered])
    return [made]


def _by_level(book: Book, quantity: Quantity) -> dict[float, Measurement]:
    """What each single vertebra gave, by its place down the spine."""
    return {
        level: one
        for one in book.of_all(_of_regions, quantity.images[0])
        if isinstance(one, Measurement) and len(one.measured) == 1 and spine_region(one.site)
        for level in [level_index(one.site)]
        if level is not None
    }


def _iodine(book: Book) -> str:
    """Why a material image cannot be trusted: the blood on the plain CT holds contrast agent."""
    image = book.acquired.get(Contrast.CT)
    if image is None:
        return ""
    for region in book.drawn:
        if region.role is not Role.BLOOD:
            continue
        blood = float(np.nanmedian(region.values(image.array)))
        if blood > IODINE_HU:
            return (
                f"{region.name} measures {blood:.0f} HU on the CT, so contrast agent was given; "
                "iodine would be taken for bone mineral"
            )
    return ""


def _is_marrow(region: Region) -> bool:
    return region.role is Role.MARROW


def _value(book: Book, quantity: Quantity, region: Region) -> Measurement | Skipped:
    (contrast,) = quantity.images
    volume = book.acquired[contrast]
    cautions: list[str] = []
    margin = max(MARGIN_MM, book.settings.erosion_mm)
    try:
        inner = region.eroded(margin, book.grid.spacing)
    except ValueError:
        inner = region
        cautions.append(
            f"{region.name} is too thin to take {margin:g} mm off on CT; cortex may be in it."
        )
    inner = _without_dense(book, inner, cautions)
    if np.isfinite(inner.values(volume.array)).sum() < min(_FEWEST, inner.voxels):
        return Skipped(quantity.key, f"the CT map holds no value in {region.name}")
    one = statistics(inner, volume.array, volume.voxel_volume_mm3)
    if contrast is Contrast.VNCA_PROJECTED and one.percentiles[-1] > CALCIUM_LEFT_HU:
        return Skipped(
            quantity.key,
            f"{region.name} still holds {one.percentiles[-1]:.0f} HU (95th percentile), so calcium "
            "was not taken out: a virtual non-contrast image is none without calcium",
        )
    made = median_of(quantity, region, one, cautions)
    made.systematic = number_of(volume.attributes, "SystematicError")
    made.how = _how(volume)
    _compare(book, quantity, made, one)
    return made


def _how(volume: Volume) -> str:
    """What two examinations must share to be compared: calibration, mixing and kernel."""
    facts = volume.attributes
    share = number_of(facts, "LowShare")
    parts = (
        _scanner_s_mineral(volume),
        facts.get("Calibration"),
        None if share is None else f"share of low energy {share:g}",
        facts.get("ConvolutionKernel") and f"kernel {facts['ConvolutionKernel']}",
    )
    return ", ".join(str(part) for part in parts if part)


_SCANNER_S = "the scanner's own map of mineral"


def _scanner_s_mineral(volume: Volume) -> str:
    """What a map of mineral is called that takes no account of marrow's fat, "" for another map.

    The other material of its pair is not read; GE names it in the description, as in HAP(Fat).
    """
    if volume.attributes.get("Materials") == BESIDE_WATER:
        return f"{BESIDE_WATER}, not corrected for fat"
    if "MAT_SPECIFIC" not in image_type_of(volume.attributes):
        return ""
    fat = "fat" in str(volume.attributes.get("SeriesDescription", "")).lower()
    return _SCANNER_S + (" beside fat" if fat else "")


def _without_dense(book: Book, region: Region, cautions: list[str]) -> Region:
    """Without cortex, sclerosis and metal where mineral tells them; dense all over, as it is."""
    mineral = book.acquired.get(Contrast.HAP)
    if mineral is None:
        return region
    from scipy.ndimage import uniform_filter

    box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in region.box)
    around = uniform_filter(np.nan_to_num(mineral.array[box]).astype(np.float32), 3)
    inside = tuple(
        slice(s.start - b.start, s.stop - b.start) for s, b in zip(region.box, box, strict=True)
    )
    kept = region.mask & (around[inside] <= DENSE_MG)
    left_out = 1 - np.count_nonzero(kept) / region.voxels
    if not left_out or np.count_nonzero(kept) < _FEWEST:
        return region
    if left_out > MUCH_DENSE:
        cautions.append(
            f"{100 * left_out:.0f} % of {region.name} holds more than {DENSE_MG:.0f} mg/cm^3 of "
            "mineral (cortex, sclerosis or metal) and was left out."
        )
    return replace(region, mask=kept, cautions=list(region.cautions))


def _of_low_bodies(book: Book, levels: Iterable[str]) -> list[str]:
    """What to read with the numbers of bodies whose height is low, where heights are measured."""
    low = book.of_all(low_bodies)
    return [
        f"{level} has lost {low[level][1]:.0f} % of its height (grade {low[level][0]}): pressed "
        "bone holds more mineral, and edema or blood in a fracture is no marrow; read it apart."
        for level in levels
        if level in low
    ]


def _compare(book: Book, quantity: Quantity, made: Measurement, one: Statistics) -> None:
    """Say what limits the number, and whether references may stand beside it."""
    name, limit = made.measured[0], NOISY.get(quantity.unit)
    made.cautions += _of_low_bodies(book, [made.site])
    if limit is not None and one.median_se > limit:
        made.comparable = False
        made.cautions.append(
            f"{name} is too noisy on CT (standard error {one.median_se:.0f} {quantity.unit}): its "
            "value is shown without comparison."
        )
    if quantity.images[0] is Contrast.HAP and one.median > DENSE_MG:
        made.cautions.append(
            f"{name} holds {one.median:.0f} mg/cm^3 of mineral: cortex, a fracture, sclerosis or "
            "metal is in it."
        )
    mineral = quantity.images[0] is Contrast.HAP and book.acquired[Contrast.HAP]
    kind = _scanner_s_mineral(mineral) if mineral else ""
    if kind == _SCANNER_S or kind.startswith(BESIDE_WATER):
        made.cautions.append(
            "The map of mineral is taken as made beside water, as most are: 100 mg/cm^3 then "
            "read 86 in red, 73 in half-fat and 61 in yellow marrow (computed for 90/Sn150 kV and "
            "a body of 30 cm)."
        )
    if (thick := float(book.grid.spacing.max())) > THICK_MM:
        made.cautions.append(f"Slices of {thick:g} mm mix marrow with cortex and discs.")
    if quantity.images[0] is Contrast.CT and (iodine := book.of_all(_iodine)):
        made.comparable = False
        made.cautions.append(f"{iodine[0].upper()}{iodine[1:].split(';')[0]}; it brightens marrow.")
    if quantity.images[0] in _VNCA and (red := book.of_all(_red)):
        made.comparable = False
        made.cautions.append(
            f"{red}: red marrow looks like infiltration on virtual non-calcium images (AUC 0.72, "
            "Wang 2024), so no cut-off is shown."
        )


def _red(book: Book) -> str:
    """Why marrow may be red and normal here, "" where nothing says so."""
    if book.age_years is not None and book.age_years < YOUNG_YEARS:
        return f"Under {YOUNG_YEARS} years"
    image = book.acquired.get(Contrast.YELLOW_SHARE)
    if image is None:
        return ""
    held = [region.values(image.array) for region in book.drawn if _is_marrow(region)]
    medians = [np.nanmedian(values) for values in held if np.isfinite(values).any()]
    share = float(np.median(medians)) if medians else np.nan
    return f"Marrow is {share:.0f} % yellow" if share < RED_PERCENT else ""
