"""Regions from a Slicer markups file (.mrk.json)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PDFFMapperLib.images.markups_file import read_markups
from PDFFMapperLib.images.shapes import Shape
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.terminology import NoTissue, role_and_site
from MarrowAssessLib.study.regions import Region, rasterize


def regions_from_markups(
    path: str | Path, volume: Volume, point_radius_mm: float = 4.0
) -> tuple[list[Region], list[str]]:
    """Regions of a Slicer markups file, on a volume's grid; each shape's name tells its tissue.

    Returns:
        The regions, and the shapes that were left out with the reason in parentheses.

    Raises:
        FileNotFoundError, ValueError: see read_markups and shapes.rasterize; or no shape's name
            tells a tissue.
    """
    regions, left_out = rasterize_named(read_markups(path, point_radius_mm), volume)
    if left_out and not regions:
        raise ValueError(
            f"{path}: no shape tells its tissue (left out: {', '.join(left_out)}); name them by "
            "site and role, such as 'L3 marrow' or 'L4-L5 disc'."
        )
    return regions, left_out


def named_shapes(shapes: Sequence[Shape]) -> tuple[list[tuple[Shape, Role, str]], list[str]]:
    """Shapes with the tissue and site of their names, and those left out with the reason."""
    beside = [shape.name for shape in shapes]
    found, left_out = [], []
    for shape in shapes:
        try:
            found.append((shape, *role_and_site(shape.name, beside=beside)))
        except NoTissue as error:
            left_out.append(f"{shape.name} (no tissue named: {error.why})")
    return found, left_out


def rasterize_named(shapes: Sequence[Shape], volume: Volume) -> tuple[list[Region], list[str]]:
    """The regions of shapes on a volume's grid, and those left out with the reason.

    Raises:
        ValueError: a shape holds no voxel of the volume.
    """
    found, left_out = named_shapes(shapes)
    return [rasterize(shape, volume, role, site) for shape, role, site in found], left_out
