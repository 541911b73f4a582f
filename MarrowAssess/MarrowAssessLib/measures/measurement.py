"""What measuring gives: numbers with what they were made from, and what could not be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import level_index, spine_region
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Quantity, listed_at
from MarrowAssessLib.study.regions import Region, Statistics


@dataclass
class Measurement:
    """One number with what it was made from.

    Attributes:
        quantity: key in quantities.QUANTITIES.
        site: canonical site, such as "L3" or "L1-L4".
        value: in the quantity's unit.
        measured: names of the regions that were measured; several for a value of several levels.
        divided_by: names of the regions that their signal was divided by, if any.
        statistics: of the measured region; None where there are several.
        reference_statistics: of the region it is divided by, if any.
        ci95: 95 % interval from the spread inside the regions (not from drawing them anew); of a
            ratio to a tissue far away also from coil shading that was not corrected.
        value_without_n4: the same number from the uncorrected image, where N4 was used.
        words: what the number means by its own rule, such as "grade 2 wedge"; "" for most.
        how: settings that the number depends on and that differ from image to image, if any.
        systematic: error that all regions of the image share (calibration, weight, clock), in the
            quantity's unit; `ci95` does not hold it. None where none is known.
        alike_sd: of an error that is alike in another visit measured alike; `ci95` holds it.
        cautions: sentences to read with the number.
        comparable: whether references may stand beside it.
        lines_ras: of a body's height loss, the three lines its heights are measured along, from
            the upper to the lower endplate, front to back; shape (3, 2, 3), mm.
    """

    quantity: str
    site: str
    value: float
    measured: tuple[str, ...]
    divided_by: tuple[str, ...] = ()
    statistics: Statistics | None = None
    reference_statistics: Statistics | None = None
    ci95: tuple[float, float] | None = None
    value_without_n4: float | None = None
    words: str = ""
    how: str = ""
    systematic: float | None = None
    alike_sd: float = 0.0
    cautions: list[str] = field(default_factory=list)
    comparable: bool = True
    lines_ras: np.ndarray | None = None

    @property
    def unit(self) -> str:
        """The quantity's unit, "" for a plain ratio."""
        return QUANTITIES[self.quantity].unit

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of all regions used, the measured ones first."""
        return self.measured + self.divided_by


@dataclass(frozen=True)
class Skipped:
    """A quantity that the study's volumes would give, and why it is not there."""

    quantity: str
    reason: str


@dataclass
class Measured:
    """All measurements of a study, and what could not be measured.

    Attributes:
        corrected: the images that N4 corrected.
        contradicted: by image, why it is not what it was given as, by its own signals.
    """

    measurements: list[Measurement]
    skipped: list[Skipped]
    corrected: dict[Contrast, Volume] = field(default_factory=dict)
    contradicted: dict[str, str] = field(default_factory=dict)


def median_of(
    quantity: Quantity, region: Region, one: Statistics, cautions: Sequence[str] = ()
) -> Measurement:
    """A region's median with its 95 % interval."""
    half = 1.96 * one.median_se
    ci = (one.median - half, one.median + half) if np.isfinite(half) else None
    made = Measurement(quantity.key, region.site, one.median, (region.name,), (), one, ci95=ci)
    made.cautions += cautions
    return made


def order(measurement: Measurement, lean: bool = False) -> tuple:
    """Sort key: by quantity as listed, then down the spine, groups of levels, other sites last.

    Args:
        measurement: what is sorted.
        lean: whether SUL leads, see quantities.listed_at.
    """
    level = level_index(measurement.site) if spine_region(measurement.site) else None
    several = len(measurement.measured) > 1
    down = 1e3 if level is None else level
    return listed_at(measurement.quantity, lean), several, down, measurement.site


def mean_of_levels(
    quantity: Quantity, found: list[Measurement | Skipped]
) -> list[Measurement | Skipped]:
    """The mean of the levels that a quantity is given for; nothing where one is missing."""
    by_site = {one.site: one for one in reversed(found) if isinstance(one, Measurement)}
    if not quantity.levels or not all(level in by_site for level in quantity.levels):
        return []
    levels = [by_site[level] for level in quantity.levels]
    value = float(np.mean([one.value for one in levels]))
    ci = None
    if all(one.ci95 for one in levels):
        halves = [(one.ci95[1] - one.ci95[0]) / 2 for one in levels]
        half = float(np.sqrt(sum(half**2 for half in halves))) / len(levels)
        ci = (value - half, value + half)
    names = tuple(name for one in levels for name in one.measured)
    made = Measurement(quantity.key, quantity.site_of_levels, value, names, ci95=ci)
    if len(hows := {one.how for one in levels}) == 1:
        made.how = hows.pop()
    errors = [one.systematic for one in levels]
    if None not in errors:
        made.systematic = float(np.mean(errors))
    return [made]
