"""The statistics of every region in every image of a study, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import Role, spine_region
from MarrowAssessLib.catalogue.contrasts import SIGNALS, Contrast
from MarrowAssessLib.catalogue.lean_mass import LEAN_MASS
from MarrowAssessLib.catalogue.quantities import Quantity
from MarrowAssessLib.prediction.score_file import Score
from MarrowAssessLib.study.regions import Region, Statistics, statistics

if TYPE_CHECKING:  # a study without spectra and bones waits for neither
    from PDFFMapperLib.spectroscopy.analysis import Analysis
    from PDFFMapperLib.ute.answer import Bone

T = TypeVar("T")


PART_MM = 25.0  # of a muscle beside a level: so far up and down from what is nearest to it
DIGITS = 3  # of mm: of places alike far the first is taken, also on a grid saved as text
VIABLE_ADC = (0.6, 1.4)  # 10^-3 mm^2/s, of dense tumor


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        erosion_mm: margin taken off every region but noise, to keep partial volume out; a disc
            or CSF region that is too thin for it is used as drawn, with a caution.
        n4: divide T1, T2 and fat-suppressed T2 by their N4 bias field first.
        m_score_reference: mean and SD of the L1-L4 SNR of the site's own young controls.
        texture: measure the texture of marrow as well.
        fractures: measure the heights of vertebral bodies as well.
        scores: of one's own training, to be given for the patient.
        glucose_mmol_l: of blood at the injection of FDG, None where unknown.
        adc_limits: between which lesions are counted as viable, 10^-3 mm^2/s.
        five_times: liver from which on the five-point score is 5: 2 or 3.
        lean_mass: formula of the lean body mass of SUL, one of LEAN_MASS.
        accept_shift: measure PET in regions of other images although the body lies elsewhere.
    """

    erosion_mm: float = 0.0
    n4: bool = False
    m_score_reference: tuple[float, float] | None = None
    texture: bool = False
    fractures: bool = False
    scores: tuple[Score, ...] = ()
    glucose_mmol_l: float | None = None
    accept_shift: bool = False
    adc_limits: tuple[float, float] = VIABLE_ADC
    five_times: float = 2.0
    lean_mass: str = LEAN_MASS[0]

    def __post_init__(self) -> None:
        if not (np.isfinite(self.erosion_mm) and self.erosion_mm >= 0):
            raise ValueError(f"Erosion margin {self.erosion_mm} mm: expected 0 mm or more.")
        if self.glucose_mmol_l is not None and not 1 <= self.glucose_mmol_l <= 50:
            raise ValueError(
                f"Blood glucose {self.glucose_mmol_l:g} mmol/l: expected 1 to 50 (mg/dl over 18)."
            )
        if self.five_times not in (2.0, 3.0):
            raise ValueError(f"Score 5 from {self.five_times:g} times liver: expected 2 or 3.")
        if self.lean_mass not in LEAN_MASS:
            raise ValueError(
                f"Lean body mass by '{self.lean_mass}': expected {' or '.join(LEAN_MASS)}."
            )
        low, high = self.adc_limits
        if not 0 < low < high:
            raise ValueError(
                f"ADC limits {low:g} and {high:g}: expected are a lower and a higher one above 0."
            )
        mean, sd = self.m_score_reference or (0.0, 1.0)
        if not (np.isfinite([mean, sd]).all() and sd > 0):
            raise ValueError(
                f"M-score reference {mean:g}, {sd:g}: expected a mean and an SD above 0."
            )


class Book:
    """What a quantity is measured from: regions, images and their statistics.

    Attributes:
        acquired: the images as they were read, by contrast.
        corrected: those that N4 corrected; see `image`.
        drawn: the regions as they were drawn.
        regions: those that are measured (eroded, if asked for), by name.
        settings: see Settings.
        age_years: of the patient, None where unknown.
        spectra: of marrow, by site.
        bones: on UTE series, by site.
    """

    def __init__(
        self,
        acquired: Mapping[Contrast, Volume],
        corrected: Mapping[Contrast, Volume],
        drawn: Sequence[Region],
        regions: Sequence[Region],
        settings: Settings,
        age_years: float | None = None,
        grid: Volume | None = None,
        spectra: Mapping[str, Analysis] | None = None,
        bones: Mapping[str, Bone] | None = None,
    ):
        self.acquired = dict(acquired)
        self.corrected = dict(corrected)
        self.drawn = list(drawn)
        self.regions = {region.name: region for region in regions}
        self.settings = settings
        self.age_years = age_years
        self.spectra = dict(spectra or {})
        self.bones = dict(bones or {})
        self._grid = grid
        self._statistics: dict[tuple[str, int], Statistics] = {}
        self._centers: dict[str, np.ndarray] = {}
        self._voxels: dict[str, np.ndarray] = {}
        self._parts: dict[tuple[str, int], Region] = {}
        self._once: dict[tuple, object] = {}

    @property
    def grid(self) -> Volume:
        """An image that stands for the grid of the regions."""
        return self._grid or next(iter(self.acquired.values()))

    def of(self, role: Role) -> list[Region]:
        """The regions of one tissue."""
        return [region for region in self.regions.values() if region.role is role]

    def at(self, role: Role, site: str) -> Region | None:
        """The first region of a tissue at a site."""
        return next((r for r in self.regions.values() if (r.role, r.site) == (role, site)), None)

    def within(self, quantity: Quantity) -> tuple[Book, list[str]]:
        """The book of what the quantity's images cover, and which regions they do not.

        Images of one study differ in their field of view: a T2 may end below a body seen on T1.
        (Maps have voxels without a value anywhere: `maps.map_value` tells those.)
        """
        covered, said = dict(self.regions), []
        needed = (
            set(Role) if quantity.measured is None else {quantity.measured, quantity.divided_by}
        )
        for contrast in [one for one in quantity.images if one in SIGNALS]:
            image = self.acquired[contrast]
            outside = [one for one in covered.values() if self.once(_without_value, one, image)]
            for region in outside:
                del covered[region.name]
            names = [one.name for one in outside if one.role in needed]
            if names:
                verb = "lies" if len(names) == 1 else "lie"
                said.append(f"{', '.join(names)} {verb} where {contrast.value} has no values")
        if len(covered) == len(self.regions):
            return self, []
        return self._of(covered), said

    def undoubted(self) -> Book:
        """The book of the regions of which nothing says that they may be another structure."""
        return self._of({name: one for name, one in self.regions.items() if not one.doubtful})

    def _of(self, regions: dict[str, Region]) -> Book:
        book = copy(self)
        book.regions, book._once = regions, {}
        return book

    def image(self, quantity: Quantity, contrast: Contrast) -> Volume:
        """The image that a quantity is measured in: corrected where that applies to it."""
        if quantity.n4 and contrast in self.corrected:
            return self.corrected[contrast]
        return self.acquired[contrast]

    def statistics(self, quantity: Quantity, region: Region, contrast: Contrast) -> Statistics:
        """Of a region, in the image that the quantity is measured in.

        Raises:
            ValueError: the region is empty or holds no finite value.
        """
        volume = self.image(quantity, contrast)
        key = (region.name, id(volume))
        if key not in self._statistics:
            try:
                one = statistics(region, volume.array, volume.voxel_volume_mm3)
            except ValueError as error:
                raise ValueError(f"{volume.name}: {error}") from error
            self._statistics[key] = one
        return self._statistics[key]

    def divisor(self, quantity: Quantity, region: Region, contrast: Contrast) -> Statistics:
        """Statistics that something can be divided by.

        Raises:
            ValueError: the median or mean is not above 0, or see `statistics`.
        """
        one = self.statistics(quantity, region, contrast)
        if not (one.median > 0 and one.mean > 0):
            raise ValueError(
                f"{self.image(quantity, contrast).name}: the median signal of {region.name} is "
                f"{one.median:g}, so nothing can be divided by it; check where it was drawn."
            )
        return one

    def level(self, contrast: Contrast, role: Role, of: Callable[..., float] = np.median) -> float:
        """The median, or `of`, of a tissue's medians as acquired, of marrow in vertebrae; or NaN.

        Regions that read 0 are left out: maps are 0 where nothing was measured.
        """
        found = []
        for one in self.of(role):
            values = one.values(self.acquired[contrast].array)
            values = values[np.isfinite(values)]
            if values.size and (role is not Role.MARROW or spine_region(one.site)):
                found.append(float(np.median(values)))
        found = [value for value in found if value]
        return float(of(found)) if found else np.nan

    def once(
        self, compute: Callable[..., T], region: Region, volume: Volume, *arguments: object
    ) -> T:
        """`compute(region, volume, ...)`, kept for the next quantity that asks for the same."""
        key = (compute, region.name, id(volume), *arguments)
        if key not in self._once:
            try:
                self._once[key] = compute(region, volume, *arguments)
            except ValueError as error:
                self._once[key] = error
        if isinstance(self._once[key], ValueError):
            raise self._once[key]
        return self._once[key]

    def of_all(self, compute: Callable[..., T], *arguments: object) -> T:
        """`compute(self, ...)`, kept for the next quantity that asks for the same."""
        key = (compute, *arguments)
        if key not in self._once:
            self._once[key] = compute(self, *arguments)
        return self._once[key]

    def flat(self, quantity: Quantity) -> str:
        """That each of the quantity's images has one value throughout, "" where one has not."""
        images = [self.acquired[contrast].array for contrast in quantity.images]
        if any(np.fmin.reduce(one, axis=None) < np.fmax.reduce(one, axis=None) for one in images):
            return ""
        names = " and ".join(contrast.value for contrast in quantity.images)
        return f"{names} have one value everywhere"

    def distance_mm(self, one: Region, other: Region) -> float:
        """Between the centers of two regions."""
        return float(np.linalg.norm(self._center(one) - self._center(other)))

    def mean_distance_mm(self, several: Sequence[Region], other: Region) -> float:
        """Between the middle of several regions' centers and the center of another one."""
        middle = np.mean([self._center(one) for one in several], axis=0)
        return float(np.linalg.norm(middle - self._center(other)))

    def nearest(self, region: Region, role: Role, image: Volume) -> tuple[Region, Region] | None:
        """The region of another tissue whose center is nearest, and what of it is measured.

        Muscle runs along several levels: of it that is the part within `PART_MM` of the voxel
        nearest to the region, where the image has values, and its center counts.
        """
        others = [one for one in self.of(role) if one.voxels]
        if role is Role.MUSCLE:
            pairs = [(one, self._part_near(region, one, image)) for one in others]
        else:
            pairs = [(one, one) for one in others]
        away = [round(self.distance_mm(region, part), DIGITS) for _, part in pairs]
        return pairs[away.index(min(away))] if pairs else None

    def _part_near(self, region: Region, other: Region, image: Volume) -> Region:
        name = f"{other.name} near {region.name}"
        if (name, id(image)) not in self._parts:
            places = self._places(other)
            away = np.linalg.norm(places - self._center(region), axis=1)
            away[~np.isfinite(other.values(image.array))] = np.inf
            nearest = places[away.round(DIGITS).argmin()]
            near = np.linalg.norm(places - nearest, axis=1).round(DIGITS) <= PART_MM
            mask = other.mask.copy()
            mask[other.mask] = near
            part = other if near.all() else replace(other, name=name, mask=mask)
            self._parts[name, id(image)] = part
        return self._parts[name, id(image)]

    def _places(self, region: Region) -> np.ndarray:
        """RAS of a region's voxels, shape (n, 3), mm."""
        if region.name not in self._voxels:
            at = np.argwhere(region.mask) + region.offset
            self._voxels[region.name] = self.grid.to_ras(at[:, ::-1])
        return self._voxels[region.name]

    def _center(self, region: Region) -> np.ndarray:
        if region.name not in self._centers:
            self._centers[region.name] = self.grid.to_ras(region.centroid_ijk())
        return self._centers[region.name]


def _without_value(region: Region, image: Volume) -> bool:
    return region.voxels > 0 and not np.isfinite(region.values(image.array)).any()


def one_value(*parts: Statistics) -> bool:
    """Whether all voxels of several regions hold one and the same value: that is no signal."""
    return all(one.sd == 0 and one.median == parts[0].median for one in parts)


def ratio(top: Statistics, bottom: Statistics) -> tuple[float, tuple[float, float] | None]:
    """Ratio of two medians with its 95 % interval (first-order error propagation on the log)."""
    value = top.median / bottom.median
    if not (top.median > 0 and np.isfinite(top.median_se) and np.isfinite(bottom.median_se)):
        return value, None
    spread = np.hypot(top.median_se / top.median, bottom.median_se / bottom.median)
    factor = float(np.exp(1.96 * spread))
    return value, (value / factor, value * factor)
