"""Vertebral bone quality: vertebrae over CSF on T1."""

from __future__ import annotations

import numpy as np

from MarrowAssessLib.catalogue.quantities import Quantity
from MarrowAssessLib.measures.book import Book, one_value
from MarrowAssessLib.measures.measurement import Measurement, Skipped
from MarrowAssessLib.measures.shading import hold_shading
from MarrowAssessLib.study.bias_field import is_normalized
from MarrowAssessLib.study.regions import Region, Statistics

WIDEST_MM = 20.0  # across, of regions that were drawn about the mid-sagittal slice
OPEN = 0.05  # standard error of CSF's median over that: VBQ is wanted to 5 %


def levels_over_csf(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """The levels' middle signal over CSF, on T1 without contrast.

    Source: Ehresman et al. 2020, Spine J 20:556, doi 10.1016/j.spinee.2019.10.018; single
    level, cervical, thoracic and S1 variants as named in the references.
    """
    (contrast,) = quantity.images
    bodies = [book.at(quantity.measured, level) for level in quantity.levels]
    if missing := [s for s, b in zip(quantity.levels, bodies, strict=True) if b is None]:
        return [Skipped(quantity.key, f"no marrow region at {', '.join(missing)}")]
    csfs = (book.at(quantity.divided_by, site) for site in quantity.divisor_sites)
    csf = next((one for one in csfs if one), None)
    if csf is None:
        return [Skipped(quantity.key, f"no CSF region at {' or '.join(quantity.divisor_sites)}")]
    levels = [book.statistics(quantity, body, contrast) for body in bodies]
    bottom = book.divisor(quantity, csf, contrast)
    if one_value(*levels, bottom):
        return [Skipped(quantity.key, f"{contrast.value} has one value in marrow and {csf.name}")]
    if quantity.combined == "mean":
        value = float(np.mean([one.mean for one in levels])) / bottom.mean
    else:
        value = float(np.median([one.median for one in levels])) / bottom.median
    one = Measurement(
        quantity.key,
        quantity.site_of_levels,
        value,
        tuple(body.name for body in bodies),
        (csf.name,),
        levels[0] if len(levels) == 1 else None,
        bottom,
        _interval(value, levels, bottom),
    )
    if not book.settings.n4:
        normalized = is_normalized(book.acquired[contrast])
        hold_shading(one, book.mean_distance_mm(bodies, csf), True, normalized)
    if _widest_mm(book, bodies) > WIDEST_MM:
        one.cautions.append(
            "Measured over whole vertebral bodies; published values and cut-offs come from "
            "regions on the mid-sagittal slice."
        )
    error = bottom.median_se / bottom.median
    if error > OPEN:
        one.cautions.append(
            f"The signal of {csf.name} is open by {196 * error:.0f} % (95 % interval), since it "
            "differs from place to place by what is mixed with the fluid: so is this value."
        )
    return [one]


def _widest_mm(book: Book, bodies: list[Region]) -> float:
    axis = np.abs(book.grid.ijk_to_ras[0, :3]) / book.grid.spacing
    across = int(np.argmax(axis))
    return max(b.mask.shape[2 - across] * book.grid.spacing[across] for b in bodies)


def _interval(
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
