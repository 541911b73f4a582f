"""Shapes that people draw, as regions of a study."""

from __future__ import annotations

from PDFFMapperLib.images.shapes import Shape, voxels_inside
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.study.regions import Region


def rasterize(shape: Shape, volume: Volume, role: Role, site: str) -> Region:
    """The voxels of `volume` whose centers lie inside the shape, as a region.

    Raises:
        ValueError: the shape holds no voxel of the volume.
    """
    return Region(shape.name, role, site, *voxels_inside(shape, volume))
