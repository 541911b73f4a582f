"""Whole-body diffusion: marrow by part of the skeleton, lesions' volume, ADC, shares and number.

Lesions are regions that somebody drew, or proposed ones (`propose`) that were looked at. Total
diffusion volume and global ADC follow Blackledge 2014 (doi 10.1371/journal.pone.0091779).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import OUTSIDE, Role, skeletal_region
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import Method, Quantity
from MarrowAssessLib.measures.book import VIABLE_ADC, Book
from MarrowAssessLib.measures.measurement import Measurement, Skipped
from MarrowAssessLib.study.regions import Region, effective_samples, statistics

OVER_MUSCLE = 5.0  # high-b signal: 3.2 + 2 x 0.9 of 100 healthy people (Colombo 2021, b 900)
FOCAL_MM = 5.0
NOISE_FLOOR_ADC = 0.007  # 10^-3 mm^2/s, by magnitudes and proposing at SNR 10
CHILD_YEARS = 18
_FEWEST, LEAST_PARTS = 5, 3


@dataclass(frozen=True)
class Proposal:
    """Lesions to look at.

    Attributes:
        mask: indexed [k, j, i].
        muscle: median high-b signal of muscle.
        threshold: signal above which a voxel may be of a lesion.
        told: how they were found, in a sentence.
    """

    mask: np.ndarray
    muscle: float
    threshold: float
    told: str


def propose(
    adc: Volume,
    high: Volume,
    regions: list[Region],
    over_muscle: float = OVER_MUSCLE,
    adc_limits: tuple[float, float] = VIABLE_ADC,
) -> Proposal:
    """Voxels of marrow that are bright on diffusion and whose ADC is that of viable tumor.

    Components smaller than a ball of 5 mm are left out.

    Args:
        adc: in 10^-3 mm^2/s.
        high: image of the highest b-value.
        regions: marrow, within which is looked, and muscle, on the same grid.
        over_muscle: times the median signal of muscle.
        adc_limits: lowest and highest ADC.

    Raises:
        ValueError: no marrow or no muscle region, muscle without signal, or limits in no order.
    """
    from scipy.ndimage import label

    marrow = [one for one in regions if one.role is Role.MARROW]
    muscle = [one for one in regions if one.role is Role.MUSCLE]
    if not (marrow and muscle):
        missing = "marrow" if not marrow else "muscle"
        raise ValueError(
            f"No region of {missing} was given; lesions are sought in marrow and compared with "
            "muscle. Give a segmentation of the skeleton with a muscle, or let spine and muscles "
            "be found (--column auto on T1 or a water image): no mask of the whole skeleton is "
            "made from MRI."
        )
    if not (over_muscle > 0 and adc_limits[0] < adc_limits[1]):
        raise ValueError(
            f"{over_muscle:g} times muscle and an ADC of {adc_limits[0]:g} to {adc_limits[1]:g} "
            "are no limits; expected are a number above 0 and a lower before a higher one."
        )
    usual = float(np.nanmedian(np.concatenate([one.values(high.array) for one in muscle])))
    if not usual > 0:
        raise ValueError(f"The median signal of muscle is {usual:g}; check where it was drawn.")
    skeleton = _united(marrow, adc.array.shape)
    with np.errstate(invalid="ignore"):
        found = skeleton & (high.array > over_muscle * usual)
        found &= (adc.array >= adc_limits[0]) & (adc.array <= adc_limits[1])
    parts, _ = label(found)
    sizes = np.bincount(parts.ravel()) * adc.voxel_volume_mm3
    large = sizes >= _ball_mm3(FOCAL_MM)
    large[0] = False
    told = (
        f"Proposed: marrow above {over_muscle:g} times muscle (signal {over_muscle * usual:.4g}) "
        f"with an ADC of {adc_limits[0]:g} to {adc_limits[1]:g} x 10^-3 mm^2/s, "
        f"{np.count_nonzero(large)} pieces of more than {FOCAL_MM:g} mm; "
        f"{np.count_nonzero(sizes[1:] > 0) - np.count_nonzero(large)} smaller ones left out."
    )
    return Proposal(large[parts], usual, over_muscle * usual, told)


def _united(regions: Sequence[Region], shape: tuple[int, ...]) -> np.ndarray:
    """The voxels of any of the regions, indexed [k, j, i]."""
    mask = np.zeros(shape, bool)
    for one in regions:
        mask[one.box] |= one.mask
    return mask


def _ball_mm3(diameter: float) -> float:
    return float(np.pi / 6 * diameter**3)


# --- quantities ---------------------------------------------------------------------------------


def whole_body(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """A quantity of whole-body diffusion; nothing where no lesion is drawn."""
    if quantity.method is Method.SKELETAL_PART:
        return _by_part(book, quantity)
    lesions = book.of_all(_lesions)
    if lesions is None:
        return []
    if not np.isfinite(lesions.values(book.acquired[Contrast.ADC].array)).any():
        return [Skipped(quantity.key, "the map holds no value in the lesions")]
    made = _METHODS[quantity.method](book, quantity, lesions)
    cautions = book.of_all(_cautions)
    for one in made:
        one.cautions += cautions
    return made


def _lesions(book: Book) -> Region | None:
    """All lesions as one region, each voxel once."""
    drawn = [one for one in book.drawn if one.role is Role.LESION]
    if not drawn:
        return None
    mask = _united(drawn, book.grid.array.shape)
    return Region.from_mask(", ".join(one.name for one in drawn), Role.LESION, "", mask)


def _measurement(book: Book, quantity: Quantity, value: float) -> Measurement:
    names = tuple(one.name for one in book.drawn if one.role is Role.LESION)
    return Measurement(quantity.key, "", float(value), names)


def _volume(book: Book, quantity: Quantity, lesions: Region) -> list[Measurement]:
    ml = lesions.voxels * book.grid.voxel_volume_mm3 / 1000
    return [_measurement(book, quantity, ml)]


def _global_adc(book: Book, quantity: Quantity, lesions: Region) -> list[Measurement]:
    image = book.acquired[Contrast.ADC]
    one = statistics(lesions, image.array, image.voxel_volume_mm3)
    made = _measurement(book, quantity, one.median)
    half = adc_half(lesions, image.array)
    made.statistics = one
    made.ci95 = (one.median - half, one.median + half) if np.isfinite(half) else None
    return [made]


def adc_half(lesions: Region, adc: np.ndarray) -> float:
    """Half of the 95 % interval of the median ADC of lesions, 10^-3 mm^2/s.

    That of a median of as many independent samples as the correlation of neighbors leaves, and by
    how much the noise floor of magnitude images and limits of signal move ADC at SNR 10, which no
    number of voxels averages out. NaN for fewer than two samples.
    """
    box = adc[lesions.box]
    used = lesions.mask & np.isfinite(box)
    values = box[used].astype(float)
    samples = effective_samples(np.where(used, box - values.mean(), 0.0), used)
    if samples < 2:
        return float("nan")
    of_median = 1.2533 * values.std(ddof=1) / np.sqrt(samples)
    return float(1.96 * np.hypot(of_median, NOISE_FLOOR_ADC))


def _share(book: Book, quantity: Quantity, lesions: Region) -> list[Measurement]:
    values = book.of_all(_lesion_values)
    low, high = book.settings.adc_limits
    within = {
        "adc_low_share": values < low,
        "adc_middle_share": (values >= low) & (values <= high),
        "adc_high_share": values > high,
    }[quantity.key]
    made = _measurement(book, quantity, 100 * np.mean(within))
    made.how = f"limits {low:g} and {high:g} x 10^-3 mm^2/s"
    return [made]


def _focal(book: Book, quantity: Quantity, lesions: Region) -> list[Measurement]:
    """How many lesions larger than 5 mm lie in each part of the skeleton, and in all."""
    from scipy.ndimage import find_objects, label

    parts, _ = label(lesions.mask)
    counts: dict[str, int] = {}
    for n, box in enumerate(find_objects(parts), 1):
        mask = parts[box] == n
        if np.count_nonzero(mask) * book.grid.voxel_volume_mm3 < _ball_mm3(FOCAL_MM):
            continue
        offset = tuple(o + s.start for o, s in zip(lesions.offset, box, strict=True))
        part = _part_of(Region("", Role.LESION, "", mask, offset), book)
        counts[part] = counts.get(part, 0) + 1
    made = [_measurement(book, quantity, sum(counts.values()))]
    for part, count in sorted(counts.items()):
        one = _measurement(book, quantity, count)
        one.site = part
        made.append(one)
    return made


def _part_of(lesion: Region, book: Book) -> str:
    """The part of the skeleton that most of a lesion lies in."""
    held: dict[str, int] = {}
    full = lesion.full_mask(book.grid.array.shape)
    for one in book.drawn:
        if one.role is Role.MARROW and (inside := int(np.count_nonzero(full[one.box] & one.mask))):
            part = skeletal_region(one.site)
            held[part] = held.get(part, 0) + inside
    return max(held, key=lambda part: held[part]) if held else OUTSIDE


def _by_part(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """A map's median in all marrow drawn in each part of the skeleton, where there are three."""
    image = book.acquired[quantity.images[0]]
    groups: dict[str, list[Region]] = {}
    for one in book.regions.values():
        if one.role is Role.MARROW and one.site:
            groups.setdefault(skeletal_region(one.site), []).append(one)
    if len(groups) < LEAST_PARTS:
        return []
    made: list[Measurement | Skipped] = []
    for part, regions in groups.items():
        mask = _united(regions, image.array.shape)
        joined = Region.from_mask(part, Role.MARROW, "", mask)
        if np.isfinite(joined.values(image.array)).sum() < _FEWEST:
            made.append(Skipped(quantity.key, f"the map holds no value in the {part}"))
            continue
        one = statistics(joined, image.array, image.voxel_volume_mm3)
        names = tuple(region.name for region in regions)
        made.append(Measurement(quantity.key, part, one.median, names, statistics=one))
    return made


_METHODS = {
    Method.DIFFUSION_VOLUME: _volume,
    Method.GLOBAL_ADC: _global_adc,
    Method.ADC_SHARE: _share,
    Method.FOCAL_LESIONS: _focal,
}


def lesion_adc(regions: Sequence[Region], adc: Volume) -> np.ndarray:
    """ADC of every voxel of lesions that has one, each once; empty without lesions."""
    drawn = [one for one in regions if one.role is Role.LESION]
    values = adc.array[_united(drawn, adc.array.shape)]
    return values[np.isfinite(values)]


def _cautions(book: Book) -> list[str]:
    """What to read with every number of lesions."""
    cautions: list[str] = []
    image = book.acquired.get(Contrast.DWI)
    b = image.attributes.get("DiffusionBValue") if image is not None else None
    if b is not None and not 750 <= float(b) <= 1050:
        cautions.append(
            f"The diffusion images are of b = {float(b):g} s/mm^2; limits of lesions are of 800 to "
            "1000."
        )
    values = book.of_all(_lesion_values)
    if np.mean(values > VIABLE_ADC[1]) > 0.5:
        cautions.append(
            "More than half of the lesions has an ADC above 1.4: bright by long T2 "
            "(shine-through), as edema, treated or cystic tissue is, not by dense cells."
        )
    if book.age_years is not None and book.age_years < CHILD_YEARS:
        cautions.append(
            "Red marrow of children is bright on diffusion images as lesions are; limits are of "
            "adults."
        )
    return cautions


def _lesion_values(book: Book) -> np.ndarray:
    return lesion_adc(book.drawn, book.acquired[Contrast.ADC])


# --- response -----------------------------------------------------------------------------------

REPEATABLE_PERCENT = 40.0  # of one myeloma lesion between scans


def response(before: float, after: float) -> str:
    """What a change of global ADC (10^-3 mm^2/s) meets of MET-RADS-P table 3; the reader decides.

    Raises:
        ValueError: an ADC that is not above 0.
    """
    if not (before > 0 and after > 0):
        raise ValueError(f"ADC {before:g} and {after:g}: expected are numbers above 0.")
    percent = 100 * (after / before - 1)
    rise = f"ADC {before:.2f} to {after:.2f} ({percent:+.0f} %)"
    if (before <= 1.4 < after) or percent >= REPEATABLE_PERCENT:
        met = "criteria of RAC 1 (from up to 1.4 to above 1.4, or 40 % and more)"
    elif (before <= 1.0 < after < 1.4) or 25 < percent < 40:
        met = "criteria of RAC 2 (from up to 1.0 to below 1.4, or more than 25 % and below 40 %)"
    else:
        met = "no measured criterion of RAC 1 or 2; RAC 3 to 5 are by eye"
    return (
        f"{rise}: {met}. One lesion repeats within {REPEATABLE_PERCENT:.0f} % between scans "
        "(myeloma; 15 % for normal marrow), so less is inside measurement error."
    )
