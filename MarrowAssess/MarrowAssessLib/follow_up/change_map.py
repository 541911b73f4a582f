"""What changed since an earlier visit, voxel by voxel in each body that is found again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress

from MarrowAssessLib.catalogue.anatomy import Role, level_index
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Quantity
from MarrowAssessLib.follow_up.errors import MeasurementError, published_error
from MarrowAssessLib.follow_up.registration import RigidBody, overlap, register_body
from MarrowAssessLib.follow_up.response_map import ResponseMap, response_map
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study

# Images that bodies are found again by, the first choice first; else the map itself.
_ANATOMY = (
    Contrast.T1, Contrast.T2, Contrast.FS_T2, Contrast.IN_PHASE, Contrast.OPPOSED_PHASE,
    Contrast.WATER, Contrast.FAT,
)  # fmt: skip


@dataclass(frozen=True)
class Moment:
    """One visit.

    Attributes:
        image: of the anatomy, by which bodies are found again.
        map: of the quantity, NaN where it is not to be trusted.
        regions: bodies; of the second visit they tell where each is expected, and may be none.
        grid: that the regions lie on; of the first visit image and map lie on it too.
    """

    image: Volume
    map: Volume
    regions: Sequence[Region]
    grid: Volume


@dataclass(frozen=True)
class BodyChange:
    """What became of one body: where it was found, and its change; or why there is none.

    Attributes:
        site: of the body.
        body, response: None where it failed.
        overlap: Dice with the region of the second visit, None without one.
        failed: one sentence, "" where it did not.
    """

    site: str
    body: RigidBody | None = None
    response: ResponseMap | None = None
    overlap: float | None = None
    failed: str = ""


@dataclass(frozen=True)
class ChangeMap:
    """The change of all bodies.

    Attributes:
        change: second minus first, float32 on the first visit's grid; NaN outside bodies and where
            either map is not to be trusted.
        beyond: where it is more than a voxel's error.
        bodies: in the order of the regions.
    """

    change: Volume
    beyond: np.ndarray
    bodies: list[BodyChange]


def change_map(
    first: Moment,
    second: Moment,
    error: MeasurementError | None = None,
    progress: Progress | None = None,
) -> ChangeMap:
    """Find each body of the first visit at the second and subtract the maps there.

    Args:
        first, second: the visits.
        error: of single examinations of the quantity; see `response_map`.
        progress: called with the share that is done; returns False to cancel.

    Raises:
        InterruptedError: canceled.
    """
    shape = first.grid.array.shape
    change, beyond = np.full(shape, np.nan, np.float32), np.zeros(shape, bool)
    later = {one.site: one for one in second.regions}
    bodies = []
    for n, region in enumerate(first.regions):
        if progress and not progress(n / len(first.regions)):
            raise InterruptedError
        try:
            found = _body_change(first, second, region, later.get(region.site), error)
        except ValueError as failed:
            bodies.append(BodyChange(region.site, failed=str(failed)))
            continue
        bodies.append(found)
        seen = found.response.change
        inside = np.isfinite(seen)
        change[inside] = seen[inside]
        beyond[inside] = np.abs(seen[inside]) > found.response.beyond
    return ChangeMap(first.grid.with_array(change, "change"), beyond, bodies)


def _body_change(
    first: Moment,
    second: Moment,
    region: Region,
    later: Region | None,
    error: MeasurementError | None,
) -> BodyChange:
    expected = second.grid.to_ras(later.centroid_ijk()) if later else None
    body = register_body(first.image, region, second.image, expected)
    response = response_map(first.map, second.map, region, body, error)
    share = overlap(body, first.image, region, second.grid, later) if later else None
    return BodyChange(region.site, body, response, share)


def change_of_studies(
    first: Study, second: Study, progress: Progress | None = None
) -> tuple[Quantity, Contrast, ChangeMap]:
    """The change of the first map that both visits hold: PDFF, ADC, R2* ... of vertebral marrow.

    A map on a grid of its own, as PET's, is left out: brought onto a finer one, its voxels are
    interpolated, and their noise no longer tells what is more than an error.

    Returns:
        The quantity, the image that bodies were found again by, and their change.

    Raises:
        InterruptedError: canceled.
        ValueError: there is no such map or body, or no body was found again.
    """
    both = first.volumes.keys() & second.volumes.keys()
    known = (one for one in QUANTITIES.values() if one.of_map and one.measured is Role.MARROW)
    maps = [
        one
        for one in known
        if one.color_rank is not None
        and one.images[0] in both
        and first.volumes[one.images[0]].same_grid(first.grid)
    ]
    if not maps:
        raise ValueError(
            "The visits have no map in common on the grid of the earlier regions; choose PDFF, "
            "R2*, ADC or another map of both."
        )
    quantity = min(maps, key=lambda one: one.color_rank)
    held = quantity.images[0]
    shown = next((one for one in _ANATOMY if one in both), held)
    moments = [
        Moment(one.volumes[shown], one.volumes[held], _bodies(one), one.grid)
        for one in (first, second)
    ]
    if not moments[0].regions:
        raise ValueError("The earlier visit has no marrow region of a vertebra; draw one.")
    found = change_map(*moments, published_error(quantity.key), progress)
    if all(one.failed for one in found.bodies):
        raise ValueError(found.bodies[0].failed)
    return quantity, shown, found


def _bodies(study: Study) -> list[Region]:
    return [one for one in study.with_role(Role.MARROW) if level_index(one.site) is not None]
