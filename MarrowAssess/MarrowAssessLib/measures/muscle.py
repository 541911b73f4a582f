"""The size of a muscle, and its area and fat slice by slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import Quantity
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study

_FAT_MAPS = (Contrast.PDFF, Contrast.FAT_FRACTION)


@dataclass(frozen=True)
class Section:
    """One slice of a drawn muscle, across the voxel axis nearest the body's long axis.

    Attributes:
        region, site: the muscle.
        number: of the slice in the image, from 1.
        position_mm: of its center from foot to head (S of RAS).
        area_cm2: of the voxels drawn.
        fat_percent: mean of the finite voxels of `fat_map`; None without such.
        fat_map: "PDFF" or "fat_fraction", "" for none.
        largest: whether no other slice of the muscle is larger.
    """

    region: str
    site: str
    number: int
    position_mm: float
    area_cm2: float
    fat_percent: float | None
    fat_map: str
    largest: bool


def muscle_sections(study: Study) -> list[Section]:
    """Every slice of every muscle of a study, as drawn, region by region from the first slice."""
    muscles = [one for one in study.with_role(Role.MUSCLE) if not one.pieces]
    fat = next((one for one in _FAT_MAPS if one in study.volumes), None)
    return [section for one in muscles for section in _sections(study, one, fat)]


def cross_section(book: Book, quantity: Quantity) -> list[Measurement]:
    """Largest area across the voxel axis nearest the body's long axis, in cm^2, without erosion."""
    return [
        _cross_section(book, quantity, region)
        for region in book.drawn
        if region.role is quantity.measured and not region.pieces
    ]


def _cross_section(book: Book, quantity: Quantity, region: Region) -> Measurement:
    areas = _areas_cm2(region, book.grid)
    one = Measurement(quantity.key, region.site, float(areas.max()), (region.name,))
    if areas.size > 1 and areas.argmax() in (0, areas.size - 1):
        one.cautions.append("The largest section is at the region's end; it may go on beyond it.")
    largest = np.moveaxis(region.mask, _across(book.grid), 0)[areas.argmax()]
    sides = [n for n in range(3) if n != _across(book.grid)]
    if _on_edge(
        largest, [region.offset[n] for n in sides], [book.grid.array.shape[n] for n in sides]
    ):
        one.cautions.append(
            f"The largest section of {region.name} is cut by the image's edge; its area is "
            "that of the part inside."
        )
    return one


def _sections(study: Study, region: Region, fat: Contrast | None) -> list[Section]:
    axis = _across(study.grid)
    areas = _areas_cm2(region, study.grid)
    masks = np.moveaxis(region.mask, axis, 0)
    values = np.moveaxis(study.volumes[fat].array[region.box], axis, 0) if fat else None
    found = []
    for n in np.flatnonzero(areas):
        places = np.argwhere(np.moveaxis(masks[n : n + 1], 0, axis)).mean(axis=0)
        places += region.offset
        places[axis] += n
        held = values[n][masks[n]] if fat else np.empty(0)
        held = held[np.isfinite(held)]
        found.append(
            Section(
                region.name,
                region.site,
                region.offset[axis] + int(n) + 1,
                float(study.grid.to_ras(places[::-1])[2]),
                float(areas[n]),
                float(held.mean()) if held.size else None,
                fat.value if fat else "",
                bool(areas[n] == areas.max()),
            )
        )
    return found


def _across(grid: Volume) -> int:
    """The array axis (0, 1, 2 = k, j, i) nearest the body's long axis."""
    return 2 - int(np.argmax(np.abs(grid.ijk_to_ras[2, :3]) / grid.spacing))


def _areas_cm2(region: Region, grid: Volume) -> np.ndarray:
    """The area of each slice of a region's box."""
    axis = _across(grid)
    counts = np.count_nonzero(region.mask, axis=tuple(n for n in range(3) if n != axis))
    return counts * grid.voxel_volume_mm3 / grid.spacing[2 - axis] / 100


def _on_edge(mask: np.ndarray, offset: list[int], shape: list[int]) -> bool:
    """Whether a section has voxels in the first or last row or column of its slice."""
    for axis, (first, length) in enumerate(zip(offset, shape, strict=True)):
        ends = np.flatnonzero(mask.any(axis=1 - axis))[[0, -1]] + first
        if ends[0] == 0 or ends[1] == length - 1:
            return True
    return False
