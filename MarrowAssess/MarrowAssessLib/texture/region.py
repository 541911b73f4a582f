"""Texture of one region of an image, by the rules that keep it comparable."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from MarrowAssessLib.texture.discretization import Discretization
from MarrowAssessLib.texture.features import Aggregation, co_occurrence_features, texture_features
from MarrowAssessLib.texture.flat import flat
from MarrowAssessLib.texture.intensity import (
    histogram_features,
    intensity_statistics,
    intensity_volume_features,
)

FEWEST_VOXELS = 300
SIZE_DEPENDENT_BELOW = 1000
FEWEST_ACROSS = 5


@dataclass(frozen=True)
class RegionTexture:
    """Texture of a region and how it was counted.

    Attributes:
        features: value by IBSI code; one code stands for one definition.
        voxels: with a value.
        bins: highest gray level.
        limits: lower edge of the first gray level and upper edge of the highest.
        aggregation: which neighbors, and how slices and directions were put together.
        discretization: how values became gray levels.
        cautions: sentences to read with the values.
    """

    features: dict[str, float]
    voxels: int
    bins: int
    limits: tuple[float, float]
    aggregation: Aggregation
    discretization: Discretization
    cautions: tuple[str, ...]

    @property
    def how(self) -> str:
        """Aggregation and gray levels in words."""
        return f"{self.aggregation.value}; {self.discretization}; {self.levels_text}"

    @property
    def levels_text(self) -> str:
        """Number, limits and width of the gray levels in words."""
        low, high = self.limits
        width = (high - low) / self.bins
        return f"{self.bins} levels of {width:.4g} from {low:.4g} to {high:.4g}"


def region_texture(
    values: np.ndarray,
    mask: np.ndarray,
    spacing_mm: np.ndarray,
    discretization: Discretization,
    complete: bool = False,
    codes: Collection[str] | None = None,
) -> RegionTexture:
    """Texture in the acquired slice plane, or in the volume where voxels are nearly cubes.

    Args:
        values: (axes in any order) of the region's box; NaN and infinite voxels are left out.
        mask: bool, same shape: the region.
        spacing_mm: voxel side along each axis of `values`.
        discretization: how values become gray levels.
        complete: every family; else co-occurrence and first-order features only.
        codes: of every family only those with one of these codes, beside first-order features.

    Raises:
        ValueError: the region is too small for texture; says by how much.
    """
    axis = int(np.argmax(spacing_mm))
    by_slice = flat(spacing_mm)
    aggregation = Aggregation.PLANE_MERGED if by_slice else Aggregation.VOLUME_MERGED
    values, mask = np.moveaxis(values, axis, 0), np.moveaxis(mask, axis, 0)
    counted = mask & np.isfinite(values)
    voxels = int(counted.sum())
    _check_size(counted, voxels, by_slice)
    levels = discretization.levels(values, counted)
    if complete:
        features = texture_features(levels, mask, aggregation, codes)
        features |= _intensity_volume(values[counted], discretization)
    else:
        features = co_occurrence_features(levels, aggregation)
    features |= intensity_statistics(values[counted]) | histogram_features(levels[counted])
    cautions = ()
    if voxels < SIZE_DEPENDENT_BELOW:
        cautions = (
            f"Texture of {voxels} voxels depends on the region's size "
            f"(below {SIZE_DEPENDENT_BELOW}); compare regions of like size only.",
        )
    bins = int(levels.max())
    limits = discretization.limits(values[counted], bins)
    return RegionTexture(features, voxels, bins, limits, aggregation, discretization, cautions)


def _intensity_volume(values: np.ndarray, discretization: Discretization) -> dict[str, float]:
    """On steps of the gray levels' width, or a thousand steps where they have none."""
    if discretization.bin_width:  # what lies below the first level belongs to it
        values = np.maximum(values, discretization.lowest)
    low = values.min()
    step = discretization.bin_width or float(np.ptp(values)) / 1000 or 1.0
    return intensity_volume_features(low + np.round((values - low) / step) * step, step)


def _check_size(counted: np.ndarray, voxels: int, by_slice: bool) -> None:
    if voxels < FEWEST_VOXELS:
        raise ValueError(f"{voxels} voxels have a value; texture needs {FEWEST_VOXELS} or more")
    others = ((1, 2), (0, 2), (0, 1))[1 if by_slice else 0 :]
    sides = [int(counted.any(axis=other).sum()) for other in others]
    if min(sides) < FEWEST_ACROSS:
        raise ValueError(
            f"it is {min(sides)} voxels across; texture needs {FEWEST_ACROSS} or more in each "
            "direction that neighbors are looked for"
        )
