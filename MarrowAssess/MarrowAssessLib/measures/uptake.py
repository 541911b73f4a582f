"""Uptake of marrow on PET: mean, highest and peak SUV, lean SUV, beside liver and blood pool.

Regions come from any grid and are measured on the PET's own: a voxel that a region cuts counts by
the part inside it. Marrow regions are taken 3 mm smaller, about half the resolution of a scanner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PDFFMapperLib.images.volume import Volume, lies_outside

from MarrowAssessLib.catalogue.anatomy import OUTSIDE, Role, spine_region
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.lean_mass import lean_first
from MarrowAssessLib.catalogue.patient import age_text
from MarrowAssessLib.catalogue.quantities import Method, Quantity
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement, Skipped, mean_of_levels
from MarrowAssessLib.measures.suv_peak import suv_peak
from MarrowAssessLib.study.body_shift import BodyShift, body_shift, spine_shift
from MarrowAssessLib.study.coverage import Coverage, coverage
from MarrowAssessLib.study.regions import PERCENTILES, Region, Statistics, effective_samples

MARGIN_MM = 3.0
FEW_PET_VOXELS = 10
_MEASURED = (Role.MARROW, Role.LIVER, Role.SPLEEN, Role.BLOOD, Role.LESION)
_MOST_OUTSIDE = 0.1
_AXIAL = ("sacrum", "ilium", "iliac crest", "sternum")
_LIMBS = ("femoral", "femur", "tibia", "tibial", "humerus", "humeral")
# Normal tissue in 132 adults (Boktor 2013, doi 10.2967/jnumed.112.108530): mean and SD.
_NORMAL = {Role.LIVER: (2.17, 0.44), Role.BLOOD: (1.55, 0.38)}
_UPTAKE_MIN = {"FDG": (55, 75), "Pentixafor": (45, 75)}
_ACTIVITY = {"FDG": (0.5, 15.0), "Pentixafor": (0.5, 5.0)}  # MBq/kg
_PERCENT_ERRORS = (1.0, 2.0)  # of the weight and of the activity
_F18_S = 6586.0
CHILD_YEARS = 18
MOST_GLUCOSE = 11.0  # mmol/l
SHIFT_TOLD_MM, SHIFT_REFUSED_MM = 5.0, 10.0
FEWEST_BODIES = 3  # whose shift tells that of the spine
_SHAFT = "diaphysis"
# Of each formula of lean body mass: the fact of the PET that holds it over weight, and its source.
_LEAN = {
    "Janmahasatian": ("LeanBodyShare", "Janmahasatian 2005"),
    "James": ("LeanBodyShareJames", "James 1976, with 128 and 148"),
}
_ROUNDING = 1e-5  # of sums in single precision, as SUVpeak is one
_SCORES = (Method.UPTAKE_SCORE, Method.UPTAKE_SCORE_PEAK)


@dataclass(frozen=True)
class Uptake:
    """What one region holds on the PET.

    Attributes:
        region: as it was drawn.
        statistics: of its voxels, each weighted by its part inside; volume is the covered one.
        mean_half: half of the 95 % interval of the mean, by as many independent samples as the
            correlation of neighboring voxels leaves; NaN for fewer than two.
        highest: of the voxels that lie inside by half or more.
        peak: highest mean of 1 cm^3; NaN where the image holds no such sphere.
        cover: the region on the PET's grid.
        cautions: sentences to read with its numbers.
    """

    region: Region
    statistics: Statistics
    mean_half: float
    highest: float
    peak: float
    cover: Coverage
    cautions: tuple[str, ...]


def uptake(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """A quantity of PET in every region of its tissue."""
    tracer = book.acquired[Contrast.SUV].attributes.get("Tracer", "")
    if (quantity.key == "marrow_cxcr4") != (tracer == "Pentixafor") and quantity.key in (
        "marrow_cxcr4",
        "marrow_suv",
    ):
        return []
    if tracer not in ("", "FDG") and quantity.method in _SCORES:
        return [Skipped(quantity.key, "the five-point score is made for FDG, not for this tracer")]
    apart = [one for one in book.of_all(_apart) if one[1].length_mm > SHIFT_REFUSED_MM]
    if apart and not book.settings.accept_shift:
        what, shift = apart[0]
        return [
            Skipped(
                quantity.key,
                f"{what} by {shift.told()}; look at both, register them (--register-pet), or "
                "accept it (--accept-shift, or the option of the panel) where regions fit the PET "
                "all the same",
            )
        ]
    found = _METHODS[quantity.method](book, quantity)
    cautions = book.of_all(_cautions)
    for one in found:
        if isinstance(one, Measurement):
            one.cautions += [c for c in cautions if c not in one.cautions]
    return found


def _apart(book: Book) -> list[tuple[str, BodyShift]]:
    """What lies elsewhere on the PET, in words, and by how much: body and spine, where known."""
    pet, ct = book.acquired[Contrast.SUV], book.acquired.get(Contrast.CT)
    inside = np.zeros(pet.array.shape, np.float32)
    bodies = [one for one in _of(book, Role.MARROW) if spine_region(one.region.site)]
    for cover in (one.cover for one in bodies):
        inside[cover.box] = np.maximum(inside[cover.box], cover.weights)
    spine = spine_shift(pet, inside) if len(bodies) >= FEWEST_BODIES else None
    found = [
        ("the body lies apart on PET and CT", body_shift(pet, ct) if ct is not None else None),
        ("the spine lies apart on PET and in its regions", spine),
    ]
    return [(what, shift) for what, shift in found if shift]


# --- regions on the PET -------------------------------------------------------------------------


def _uptakes(book: Book) -> dict[str, Uptake | str]:
    """Of every region of marrow, liver, spleen, blood pool and lesions; or why there is none."""
    image = book.acquired[Contrast.SUV]
    return {
        one.name: _uptake(_placed(one, book), book, image)
        for one in book.drawn
        if one.role in _MEASURED
    }


def _placed(region: Region, book: Book) -> Region:
    """A lesion without a site where it lies: at that of the marrow it meets, else outside."""
    if region.role is not Role.LESION or region.site:
        return region
    from MarrowAssessLib.placement.body import with_rim  # loads a compiler

    inside = region.full_mask(book.grid.array.shape)
    marrow = (with_rim(one, book.grid) for one in book.drawn if one.role is Role.MARROW)
    met = next((one for one in marrow if one.values(inside).any()), None)
    return replace(region, site=met.site if met else OUTSIDE)


def _uptake(region: Region, book: Book, image: Volume) -> Uptake | str:
    cautions: list[str] = []
    inner = region
    if region.role is Role.MARROW:
        margin = max(MARGIN_MM, book.settings.erosion_mm)
        try:
            inner = region.eroded(margin, book.grid.spacing)
        except ValueError:
            cautions.append(
                f"{region.name} is too thin to take {margin:g} mm off for PET; it was used as "
                "drawn, and tissue around it is in its numbers."
            )
    cover = coverage(inner, book.grid, image)
    if cover.inside < 1 - _MOST_OUTSIDE:
        if not cover.weights.any():
            return lies_outside(region.name, "the PET")
        cautions.append(f"Only {100 * cover.inside:.0f} % of {region.name} lies inside the PET.")
    values = np.asarray(image.array[cover.box], float)
    weights = np.where(np.isfinite(values), cover.weights, 0.0).astype(float)
    if not weights.any():
        return f"the PET holds no value in {region.name}"
    if weights.sum() < FEW_PET_VOXELS:
        cautions.append(
            f"{region.name} covers only {weights.sum():.1f} voxels of the PET, whose resolution "
            "mixes it with what lies around."
        )
    return _measured(region, cover, values, weights, image, cautions)


def _measured(
    region: Region,
    cover: Coverage,
    values: np.ndarray,
    weights: np.ndarray,
    image: Volume,
    cautions: list[str],
) -> Uptake:
    used = weights > 0
    held, parts = values[used], weights[used]
    mean = float(np.average(held, weights=parts))
    sd = float(np.sqrt(np.average((held - mean) ** 2, weights=parts)))
    from scipy.special import stdtrit

    core = weights >= min(0.5, float(weights.max()))
    samples = effective_samples(np.where(core, values - mean, 0.0), core)
    quantiles = _weighted_quantiles(held, parts, (*(q / 100 for q in PERCENTILES), 0.5))
    half = float("nan")
    if samples >= 2:
        half = float(stdtrit(samples - 1, 0.975)) * sd / np.sqrt(samples - 1)
    statistics = Statistics(
        voxels=int(np.count_nonzero(used)),
        excluded=int(np.count_nonzero(cover.weights)) - int(np.count_nonzero(used)),
        volume_mm3=float(weights.sum()) * image.voxel_volume_mm3,
        mean=mean,
        median=quantiles[-1],
        sd=sd,
        percentiles=tuple(quantiles[:-1]),
        median_se=1.2533 * half / 1.96,  # of a normal distribution
        step=0.0,
    )
    inside = np.argwhere(core) + cover.offset
    peak = suv_peak(image.array, inside, image.spacing)
    highest = float(values[core].max())
    return Uptake(region, statistics, half, highest, peak, cover, tuple(cautions))


def _weighted_quantiles(
    values: np.ndarray, weights: np.ndarray, shares: tuple[float, ...]
) -> list[float]:
    """Quantiles by linear interpolation; of equal weights as numpy's."""
    order = np.argsort(values, kind="stable")
    weights = weights[order]
    at = np.cumsum(weights) - weights / 2
    at -= at[0]
    return [float(q) for q in np.interp(shares, at / (at[-1] or 1.0), values[order])]


# --- quantities ---------------------------------------------------------------------------------


def _of(book: Book, role: Role) -> list[Uptake]:
    found = book.of_all(_uptakes).values()
    return [one for one in found if isinstance(one, Uptake) and one.region.role is role]


def _skipped(book: Book, quantity: Quantity) -> list[Skipped]:
    roles = {one.name: one.role for one in book.drawn}
    return [
        Skipped(quantity.key, why)
        for name, why in book.of_all(_uptakes).items()
        if isinstance(why, str) and roles[name] is quantity.measured
    ]


def _value(quantity: Quantity, of: Uptake, value: float, half: float) -> Measurement:
    ci = (float(value - half), float(value + half)) if np.isfinite(half) else None
    return Measurement(
        quantity.key, of.region.site, value, (of.region.name,), (), of.statistics, ci95=ci,
        cautions=list(of.cautions),
    )  # fmt: skip


def _systematic(image: Volume) -> float:
    """Share that weight, activity and a clock 1 min off add to every SUV of an image alike."""
    half_life = float(image.attributes.get("RadionuclideHalfLife", _F18_S))
    percent = np.hypot(np.hypot(*_PERCENT_ERRORS), 100 * np.log(2) * 60 / half_life)
    return float(percent) / 100


def _mean(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    share = _systematic(book.acquired[Contrast.SUV])
    found = [
        _value(quantity, one, one.statistics.mean, one.mean_half)
        for one in _of(book, quantity.measured)
    ]
    for one in found:
        one.systematic = abs(one.value) * share
    return [*found, *_skipped(book, quantity), *mean_of_levels(quantity, found)]


def _highest(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    nan = float("nan")
    return [_value(quantity, one, one.highest, nan) for one in _of(book, quantity.measured)]


def _peak(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    return [_by_peak(quantity, one, one.peak) for one in _of(book, quantity.measured)]


def _by_peak(quantity: Quantity, one: Uptake, value: float) -> Measurement | Skipped:
    """A number that comes of SUVpeak, and what to know of its sphere; or why there is none."""
    if not np.isfinite(one.peak):
        why = f"no sphere of 1 cm^3 round {one.region.name} lies in the PET"
        return Skipped(quantity.key, why)
    made = _value(quantity, one, value, float("nan"))
    if one.peak > one.highest * (1 + _ROUNDING):
        made.cautions.append(
            f"The sphere of SUVpeak reaches into hotter tissue beside {one.region.name}."
        )
    return made


def _total(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    return [
        _value(quantity, one, *(n * one.statistics.volume_mm3 / 1000 for n in pair))
        for one in _of(book, quantity.measured)
        for pair in [(one.statistics.mean, one.mean_half)]
    ]


def _lean(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    formula = book.settings.lean_mass
    fact, source = _LEAN[formula]
    facts = book.acquired[Contrast.SUV].attributes
    share = facts.get(fact)
    if share is None:
        why = "the PET's header tells no weight and height for lean mass"
        if any(other in facts for other, _ in _LEAN.values()):
            why = "the PET was read by an older version, without James's formula; load it again"
        return [Skipped(quantity.key, why)]
    if share <= 0:
        why = f"{formula}'s formula gives no lean body mass at this weight and height"
        return [Skipped(quantity.key, why)]
    found = [
        _value(quantity, one, one.statistics.mean * share, one.mean_half * share)
        for one in _of(book, quantity.measured)
    ]
    error = _systematic(book.acquired[Contrast.SUV])
    for one in found:
        one.how = f"SUV times lean body mass over weight ({source})"
        one.systematic = abs(one.value) * error
    if lean_first(book.age_years):
        for one in found:
            one.cautions.append(
                "Both formulas of lean body mass, Janmahasatian's and James', are of adults; at "
                f"{age_text(book.age_years)} they are extrapolated."
            )
    return [*found, *mean_of_levels(quantity, found)]


def _divisor(book: Book, role: Role) -> Uptake | None:
    """The largest region of a tissue that something can be divided by."""
    able = [one for one in _of(book, role) if one.statistics.mean > 0]
    return max(able, key=lambda one: one.statistics.volume_mm3, default=None)


def _ratio(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    below = _divisor(book, quantity.divided_by)
    if below is None:
        return [Skipped(quantity.key, f"no {quantity.divided_by.value} region was given")]
    found = []
    for one in _of(book, quantity.measured):
        value = one.statistics.mean / below.statistics.mean
        errors = (u.mean_half / u.statistics.mean for u in (one, below))
        made = _value(quantity, one, value, abs(value) * float(np.hypot(*errors)))
        found.append(
            replace(
                made,
                divided_by=(below.region.name,),
                reference_statistics=below.statistics,
                cautions=[*one.cautions, *below.cautions],
            )
        )
    return [*found, *mean_of_levels(quantity, found)]


def _deauville(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """Marrow against blood pool and liver, as the five-point scale does it for lymphoma."""
    blood, liver = _divisor(book, Role.BLOOD), _divisor(book, Role.LIVER)
    if blood is None or liver is None:
        missing = Role.BLOOD if blood is None else Role.LIVER
        return [Skipped(quantity.key, f"no {missing.value} region was given")]
    of_peak = quantity.method is Method.UPTAKE_SCORE_PEAK
    below = (blood.statistics.mean, liver.statistics.mean)
    found: list[Measurement | Skipped] = []
    for one in _of(book, quantity.measured):
        value = one.peak if of_peak else one.statistics.mean
        score, words = deauville(value, *below, book.settings.five_times)
        if of_peak:
            made = _by_peak(quantity, one, float(score))
        else:
            made = _value(quantity, one, float(score), float("nan"))
        if isinstance(made, Measurement):
            made.words, made.divided_by = words, (blood.region.name, liver.region.name)
            made.how = f"5 above {book.settings.five_times:g} times liver"
        found.append(made)
    return found


def deauville(value: float, blood: float, liver: float, times: float = 2.0) -> tuple[int, str]:
    """Score and words by measured uptake; 1, no uptake, cannot be told from 2 by a number.

    The limit between 4 and 5 is 2 to 3 times liver (Barrington 2014, doi 10.1200/JCO.2013.53.5229).
    """
    if value <= blood:
        return 2, "2 or 1 of the five-point scale: not above blood pool"
    if value <= liver:
        return 3, "3 of the five-point scale: above blood pool, not above liver"
    if value <= times * liver:
        return 4, f"4 of the five-point scale: above liver, up to {times:g} times"
    return 5, f"5 of the five-point scale: above {times:g} times liver"


def _limb_ratio(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """Highest voxel of the limbs over that of spine and pelvis."""
    marrow = _of(book, Role.MARROW)
    limbs = _limbs(book)
    axial = [one for one in marrow if _is_axial(one.region.site)]
    if not (limbs and axial):
        return []
    top, bottom = (max(group, key=lambda one: one.highest) for group in (limbs, axial))
    made = _value(quantity, top, top.highest / bottom.highest, float("nan"))
    return [
        replace(
            made, site="", divided_by=(bottom.region.name,), reference_statistics=bottom.statistics
        )
    ]


def _limb_spread(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """How many regions of the limbs lie above both blood pool and liver."""
    limbs = _limbs(book)
    blood, liver = _divisor(book, Role.BLOOD), _divisor(book, Role.LIVER)
    if not limbs or blood is None or liver is None:
        return []
    limit = max(blood.statistics.mean, liver.statistics.mean)
    names = tuple(one.region.name for one in limbs)
    count = sum(one.statistics.mean > limit for one in limbs)
    below = (blood.region.name, liver.region.name)
    how = f"of {len(limbs)} regions of limbs"
    return [Measurement(quantity.key, "", float(count), names, below, how=how)]


def _limbs(book: Book) -> list[Uptake]:
    """Regions of limbs; of children the shafts alone, since growth plates take up tracer."""
    limbs = [one for one in _of(book, Role.MARROW) if _in_limb(one.region.site)]
    if book.age_years is not None and book.age_years < CHILD_YEARS:
        return [one for one in limbs if _SHAFT in one.region.site]
    return limbs


def _in_limb(site: str) -> bool:
    return any(word in _LIMBS for word in site.split())


def _is_axial(site: str) -> bool:
    return bool(spine_region(site)) or any(site.endswith(one) for one in _AXIAL)


_METHODS = {
    Method.UPTAKE: _mean,
    Method.UPTAKE_MAX: _highest,
    Method.UPTAKE_PEAK: _peak,
    Method.UPTAKE_TOTAL: _total,
    Method.UPTAKE_LEAN: _lean,
    Method.UPTAKE_RATIO: _ratio,
    Method.UPTAKE_SCORE: _deauville,
    Method.UPTAKE_SCORE_PEAK: _deauville,
    Method.LIMB_RATIO: _limb_ratio,
    Method.LIMB_SPREAD: _limb_spread,
}


# --- cautions of the whole image ----------------------------------------------------------------


def _cautions(book: Book) -> list[str]:
    """What to read with every number of this PET: tracer, times, activity, reference tissue."""
    facts = book.acquired[Contrast.SUV].attributes
    tracer = facts.get("Tracer", "")
    cautions: list[str] = []
    if not tracer:
        cautions.append("The PET does not tell its tracer; what is beside its numbers is of FDG.")
    elif tracer == "other":
        cautions.append("The PET's tracer is not FDG, which what is beside its numbers is of.")
    low, high = _UPTAKE_MIN.get(tracer, (0, np.inf))
    minutes = facts.get("UptakeTime")
    if minutes is not None and not low <= minutes <= high:
        cautions.append(
            f"The PET began {minutes:.0f} min after the injection; {low} to {high} min are usual "
            f"for {tracer}, and uptake changes meanwhile."
        )
    low, high = _ACTIVITY.get(tracer, (0.0, np.inf))
    activity = facts.get("ActivityPerWeight")
    if activity is not None and not low <= activity <= high:
        cautions.append(
            f"{activity:g} MBq/kg of {tracer} were injected; {low:g} to {high:g} are usual: check "
            "weight and activity."
        )
    child = book.age_years is not None and book.age_years < CHILD_YEARS
    if child:
        cautions.append(
            "In children uptake by body weight rises with growth, the liver's too (Debnath "
            "2024), and growth plates take up tracer: keep them "
            "out of regions; limbs are compared by their shafts alone."
        )
    glucose = book.settings.glucose_mmol_l
    if glucose is not None and glucose > MOST_GLUCOSE and tracer in ("", "FDG"):
        cautions.append(
            f"Blood glucose was {glucose:g} mmol/l; above {MOST_GLUCOSE:g} tissue takes less FDG."
        )
    for what, shift in book.of_all(_apart):
        if shift.length_mm > SHIFT_TOLD_MM:
            agree = f" (outlines agree by {shift.dice:.2f}, Dice)" if shift.dice >= 0 else ""
            cautions.append(
                f"{what[0].upper()}{what[1:]} by {shift.told()}{agree}: regions may miss their "
                "tissue on the PET."
            )
        if shift.within_mm > SHIFT_REFUSED_MM:
            cautions.append(
                f"Where vertebrae lie on the PET is not certain: {shift.within_mm:.0f} mm up or "
                "down uptake fits about as well, since bodies and discs differ little on it."
            )
    ct = book.acquired.get(Contrast.CT)
    frames = {facts.get("FrameOfReference"), ct and ct.attributes.get("FrameOfReference")} - {None}
    if len(frames) > 1:
        cautions.append(
            "PET and CT are of different frames of reference by their headers, so not of one "
            "examination; compare where the body lies."
        )
    if tracer in ("", "FDG") and not child:
        cautions += _unusual_tissue(book)
    return cautions


def _unusual_tissue(book: Book) -> list[str]:
    cautions: list[str] = []
    for role, (mean, sd) in _NORMAL.items():
        one = _divisor(book, role)
        low, high = mean - 1.96 * sd, mean + 1.96 * sd
        if one is not None and not low <= one.statistics.mean <= high:
            cautions.append(
                f"{one.region.name} has an SUVmean of {one.statistics.mean:.2f}, outside "
                f"{low:.2f} to {high:.2f} of 132 adults (Boktor 2013): check weight, activity, "
                "times and where it was drawn before any number of marrow."
            )
    return cautions
