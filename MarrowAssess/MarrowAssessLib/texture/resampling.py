"""Images and masks on voxels of another size, with the centers of both grids aligned (IBSI 2.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from PDFFMapperLib.images.volume import Volume
from scipy import ndimage

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.texture.flat import flat

_CUBIC, _LINEAR = 3, 1


def resampled(
    image: np.ndarray,
    spacing_mm: tuple[float, float, float],
    new_spacing_mm: tuple[float, float, float],
    order: int,
) -> np.ndarray:
    """An image on voxels of another size.

    Args:
        image: (slices, rows, columns).
        spacing_mm: between its slices, rows and columns.
        new_spacing_mm: wanted; an axis whose spacing stays is not interpolated.
        order: of the spline; 1 is linear, 3 cubic.

    Raises:
        ValueError: a spacing that is not above 0.
    """
    old, new = np.asarray(spacing_mm, float), np.asarray(new_spacing_mm, float)
    if not (np.isfinite([old, new]).all() and (old > 0).all() and (new > 0).all()):
        raise ValueError(f"Voxel spacings are above 0 mm; given were {old} and {new}.")
    scale = new / old
    shape = np.ceil(np.round(np.array(image.shape) / scale, 6)).astype(int)
    axes = (
        (size - 1) / 2 + (np.arange(n) - (n - 1) / 2) * step
        for size, n, step in zip(image.shape, shape, scale, strict=True)
    )
    where = np.meshgrid(*axes, indexing="ij")
    return ndimage.map_coordinates(
        np.asarray(image, float), where, order=order, mode="nearest", prefilter=order > 1
    )


def resampled_mask(
    mask: np.ndarray,
    spacing_mm: tuple[float, float, float],
    new_spacing_mm: tuple[float, float, float],
) -> np.ndarray:
    """A mask likewise: voxels of which at least half lie inside, by linear interpolation."""
    return resampled(mask.astype(float), spacing_mm, new_spacing_mm, order=1) >= 0.5 - 1e-9


def at_spacing(
    volumes: Mapping[Contrast, Volume], regions: Sequence[Region], spacing_mm: float
) -> tuple[dict[Contrast, Volume], list[Region]]:
    """Images and regions on voxels of one side, so that a cohort's textures compare.

    Thick slices stay as they are: only the sides in their plane change. Voxels that are nearly
    cubes become cubes. Images are interpolated by cubic splines; a voxel without a value makes
    those without one of which it would have made more than half.

    Raises:
        ValueError: a spacing that is not above 0.
    """
    (first, *_) = volumes.values()
    old = tuple(first.spacing[::-1])
    axis = int(np.argmax(old))
    new = tuple(old[n] if flat(old) and n == axis else spacing_mm for n in range(3))
    made = {contrast: _volume_at(volume, old, new) for contrast, volume in volumes.items()}
    shape = first.array.shape
    masks = [resampled_mask(one.full_mask(shape), old, new) for one in regions]
    moved = [
        replace(one, mask=cut.mask, offset=cut.offset)
        for one, mask in zip(regions, masks, strict=True)
        for cut in [Region.from_mask(one.name, one.role, one.site, mask)]
    ]
    return made, moved


def _volume_at(volume: Volume, old: tuple[float, ...], new: tuple[float, ...]) -> Volume:
    array = volume.array.astype(float)
    known = np.isfinite(array)
    if not known.all() and known.any():
        nearest = ndimage.distance_transform_edt(~known, old, False, True)
        array = array[tuple(nearest)]
    found = resampled(array, old, new, _CUBIC)
    if not known.all():
        found[~resampled_mask(known, old, new)] = np.nan
    step = np.array(new[::-1]) / np.array(old[::-1])
    sizes, made = np.array(volume.array.shape[::-1]), np.array(found.shape[::-1])
    origin = (sizes - 1) / 2 - (made - 1) / 2 * step  # of the new grid, in old voxels
    to_old = np.diag([*step, 1.0])
    to_old[:3, 3] = origin
    return replace(volume.with_array(found), ijk_to_ras=volume.ijk_to_ras @ to_old)
