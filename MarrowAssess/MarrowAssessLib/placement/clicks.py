"""Points put in structures of an image, and the regions that are found from them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import Role, parse_site
from MarrowAssessLib.catalogue.terminology import role_and_site
from MarrowAssessLib.placement.column import Column, corrected, follow_column
from MarrowAssessLib.placement.structure import place
from MarrowAssessLib.study.regions import Region, doubt

Point = Sequence[float]  # right, anterior, superior; mm


def parse_click(text: str) -> tuple[str, tuple[float, ...]]:
    """Read "L3=1.5,-20,33": what was clicked, and where (RAS, mm).

    Raises:
        ValueError: the text is not of that form.
    """
    name, _, numbers = text.rpartition("=")
    try:
        point = tuple(float(number) for number in re.split(r"[,\s]+", numbers.strip()))
    except ValueError:
        point = ()
    if not name.strip() or len(point) != 3 or not np.isfinite(point).all():
        raise ValueError(
            f"'{text}' is no point; expected NAME=R,A,S in mm (right, anterior, superior), such as "
            "L3=1.5,-20,33."
        )
    return name.strip(), point


def regions_from_clicks(
    volume: Volume,
    column: Mapping[str, Point] | None = None,
    places: Mapping[str, Point] | None = None,
    lumbar: int = 5,
    leave_out: Collection[str] = (),
) -> tuple[list[Region], str]:
    """Find regions from points in an image, as the clicks in the panel do.

    Args:
        volume: image.
        column: a vertebra ("L3") and a point in it, from which the column is followed.
        places: structures by name ("L2 marrow", "left psoas muscle", "fat") and points in them. A
            vertebra replaces the column's, and what hangs on it is found anew.
        lumbar: how many lumbar vertebrae there are.
        leave_out: "vein" of marrow, "fat" of muscle, see `placement.place`.

    Returns:
        The measurement ROIs, doubtful where their cautions say why they may be wrong, and a
        sentence on what the column found and missed ("" without one).

    Raises:
        ValueError: an unknown name, a point outside the image, or nothing found at it.
    """
    found: Column | None = None
    regions: dict[tuple[Role, str], Region] = {}
    for level, point in (column or {}).items():
        if found is not None:
            raise ValueError("The column is followed from one vertebra; put points in others.")
        site = parse_site(level)
        _require_inside(volume, level, point)
        at = np.asarray(point, float)
        found = follow_column(volume, at, site, lumbar=lumbar, leave_out=leave_out)
        seed = found.bodies[site]
        if not seed.roi.voxels:
            raise ValueError(" ".join([f"No vertebra was found at {level}.", *seed.unsure]))
    for name, point in (places or {}).items():
        role, site = role_and_site(name)
        _require_inside(volume, name, point)
        at = np.asarray(point, float)
        if found is not None and role is Role.MARROW and site and "-" not in site:
            found = corrected(volume, found, site, point_ras=at, lumbar=lumbar, leave_out=leave_out)
            placed = found.bodies[site]
        else:
            placed = place(volume, at, role, site, leave_out=leave_out)
        if not placed.roi.voxels:
            raise ValueError(" ".join([f"Nothing was found at {name}.", *placed.unsure]))
        regions[role, site] = placed.roi
    said = ""
    if found is not None:
        everything = found.regions()
        missed = [region.name for region in everything if not region.voxels]
        said = f"found {', '.join(found.bodies)}"
        said += f"; not found: {', '.join(missed)}" if missed else ""
        regions = {(r.role, r.site): r for r in everything if r.voxels} | regions
    doubt(regions.values())
    return list(regions.values()), said


def _require_inside(volume: Volume, name: str, point: Point) -> None:
    if not volume.holds(np.asarray(point, float)):
        where = ", ".join(f"{value:g}" for value in point)
        raise ValueError(
            f"{name}: the point {where} (RAS, mm) lies outside {volume.name}; put it inside."
        )
