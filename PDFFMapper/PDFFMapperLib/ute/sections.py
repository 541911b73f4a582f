"""Sections across a bone: slices of the images, or planes across a bone that runs obliquely.

A plane takes the voxels of a layer as they are, each where it lies: along a straight bone the
signal does not change, so that a voxel says the same of a section as one in its plane. Nothing is
interpolated; noise and blur stay those of the images.

Places in the images are in mm along the array's axes, the one along the bone first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.ute.curve import Curve, box_around
from PDFFMapperLib.ute.motion import Motion, carried

MOST_UNLIKE = 1.6  # of a voxel's longest over its shortest side; simulated up to 1.5


@dataclass(frozen=True)
class Slices:
    """Slices of images.

    Attributes:
        axis: of the images' arrays that runs along the bone.
        grid: of the images.
    """

    axis: int
    grid: Volume
    name, one = "slices", "slice"
    left_out = "slices along the bone tell no ring of cortex"

    @property
    def mm(self) -> np.ndarray:
        """Spacing of rows and columns."""
        return np.delete(self.grid.spacing[::-1], self.axis)

    @property
    def voxel_mm(self) -> float:
        """Side of a voxel, in which a blur is told."""
        return float(self.mm.mean())

    @property
    def longest_mm(self) -> float:
        """Side of a voxel in a section where it is longest."""
        return float(self.mm.max())

    @property
    def axes(self) -> np.ndarray:
        """Unit vectors of both axes of a section in RAS, shape (2, 3)."""
        return _unit_axes(self.grid, self.axis)[1:]

    def across(self, mask: np.ndarray) -> list[int]:
        """Sections that hold voxels of a mask."""
        return [int(k) for k in np.flatnonzero(mask.any(axis=(1, 2)))]

    def middle(self, mask: np.ndarray, k: int) -> np.ndarray:
        """Of a mask's voxels in a section, mm."""
        return np.argwhere(mask[k]).mean(axis=0) * self.mm

    def values(self, mask: np.ndarray, k: int, places: np.ndarray) -> np.ndarray:
        """The nearest voxel's at places in a section (mm), shape (2, ...); 0 outside."""
        at = places / self.mm.reshape(2, *(1,) * (places.ndim - 1))
        return ndimage.map_coordinates(mask[k].astype(np.uint8), at, order=0)

    def images(self, stack: np.ndarray, k: int) -> np.ndarray:
        """What a ring of a section is fitted to, of images (n, slices, rows, columns)."""
        return stack[:, k]

    def shifted(self, pair: np.ndarray, k: int, shift: Sequence[float]) -> np.ndarray:
        """As `images`, the second moved by voxels of rows and columns."""
        moved = Motion(np.array([0.0, *shift]), np.zeros(3), max(shift), 0.0)
        return np.stack([pair[0, k], carried(pair[1:, k], moved, (1.0, *self.mm))[0]])

    def around(self, k: int, curve: Curve, reach: float) -> tuple[tuple, np.ndarray]:
        """Voxels around a ring: where they lie in an image, and in the section (n, 2), mm."""
        shape = np.delete(self.grid.array.shape, self.axis)
        box = box_around(curve, reach, shape, self.mm)
        index = np.stack(np.mgrid[box], axis=-1).reshape(-1, 2)
        return (k, *index.T), index * self.mm


@dataclass(frozen=True)
class Planes:
    """Layers of voxels between planes across a bone, as thick as a voxel's longest side.

    Attributes:
        axis, grid: see `Slices`.
        through: a point of the bone's axis, mm.
        along: unit vector along it.
    """

    axis: int
    grid: Volume
    through: np.ndarray
    along: np.ndarray
    name, one = "planes across it", "plane"
    left_out = "planes across the bone reach beyond the images or tell no ring of cortex"

    @property
    def mm(self) -> np.ndarray:
        """Sides of a voxel."""
        return spacing_along(self.grid, self.axis)

    @property
    def voxel_mm(self) -> float:
        """Side of a voxel, in which a blur is told."""
        return float(self.mm.mean())

    @property
    def longest_mm(self) -> float:
        """Side of a voxel where it is longest."""
        return float(self.mm.max())

    @cached_property
    def plane(self) -> np.ndarray:
        """Unit vectors of both axes of a section, shape (2, 3)."""
        return np.linalg.svd(self.along[None])[2][1:]

    @property
    def axes(self) -> np.ndarray:
        """As of `Slices`."""
        return self.plane @ _unit_axes(self.grid, self.axis)

    @property
    def _shape(self) -> tuple[int, ...]:
        shape = self.grid.array.shape
        return (shape[self.axis], *np.delete(shape, self.axis))

    @cached_property
    def _layers(self) -> tuple[np.ndarray, np.ndarray]:
        """Voxels in order of their layers, and the layer of each of these."""
        parts = np.ix_(*(np.arange(n) * mm for n, mm in zip(self._shape, self.mm, strict=True)))
        height = sum(c * one for c, one in zip(self.along, parts, strict=True))
        height = (height - self.along @ self.through) / self.longest_mm
        layer = np.rint(height).astype(np.int32).ravel()
        order = np.argsort(layer, kind="stable")
        return order, layer[order]

    def _voxels(self, k: int) -> np.ndarray:
        order, layer = self._layers
        return order[slice(*np.searchsorted(layer, [k, k + 1]))]

    def _places(self, voxels: np.ndarray) -> np.ndarray:
        at = np.stack(np.unravel_index(voxels, self._shape), axis=-1) * self.mm
        return (at - self.through) @ self.plane.T

    def across(self, mask: np.ndarray) -> list[int]:
        """As of `Slices`."""
        order, layer = self._layers
        return [int(k) for k in np.unique(layer[mask.ravel()[order]])]

    def middle(self, mask: np.ndarray, k: int) -> np.ndarray:
        """As of `Slices`."""
        voxels = self._voxels(k)
        return self._places(voxels[mask.ravel()[voxels]]).mean(axis=0)

    def values(self, mask: np.ndarray, k: int, places: np.ndarray) -> np.ndarray:
        """As of `Slices`."""
        at = self._points(k, np.moveaxis(places, 0, -1)) / self.mm
        return ndimage.map_coordinates(mask.astype(np.uint8), np.moveaxis(at, -1, 0), order=0)

    def _points(self, k: int, places: np.ndarray) -> np.ndarray:
        """Places of a section in the images, shapes (..., 2) and (..., 3)."""
        return self.through + k * self.longest_mm * self.along + places @ self.plane

    def images(self, stack: np.ndarray, k: int) -> np.ndarray:
        """As of `Slices`; shape (n, voxels)."""
        return stack.reshape(len(stack), -1)[:, self._voxels(k)]

    def shifted(self, pair: np.ndarray, k: int, shift: Sequence[float]) -> np.ndarray:
        """As of `Slices`; rows and columns are those of the images."""
        moved = Motion(np.array([0.0, *shift]), np.zeros(3), max(shift), 0.0)
        return self.images(np.stack([pair[0], carried(pair[1], moved, self.mm)]), k)

    def of_ring(
        self, k: int, curve: Curve, reach: float, blur: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which of a section's voxels lie within a ring's reach, where, and the blur there, mm^2.

        Voxels blur each axis of the images by `blur` of their sides.

        Raises:
            ValueError: the ring reaches beyond the images.
        """
        edge = self._points(k, curve.points + reach * curve.normals) / self.mm
        if (edge < -0.5).any() or (edge > np.array(self._shape) - 0.5).any():
            raise ValueError("it reaches beyond the images")
        near, places = self._near(k, curve, reach)
        return near, places, self.plane @ np.diag((blur * self.mm) ** 2) @ self.plane.T

    def _near(self, k: int, curve: Curve, reach: float) -> tuple[np.ndarray, np.ndarray]:
        places = self._places(self._voxels(k))
        away = np.linalg.norm(places - curve.center, axis=1)
        near = away < np.linalg.norm(curve.points - curve.center, axis=1).max() + reach
        return near, places[near]

    def around(self, k: int, curve: Curve, reach: float) -> tuple[tuple, np.ndarray]:
        """As of `Slices`."""
        near, places = self._near(k, curve, reach)
        return np.unravel_index(self._voxels(k)[near], self._shape), places

    def turned(self, middles: dict[int, np.ndarray]) -> Planes:
        """Across the line through the middles of a bone in these planes, if three and more (mm)."""
        if len(middles) < 3:
            return self
        points = [self._points(k, middle) for k, middle in middles.items()]
        through, along = _line(np.array(points), np.array(list(middles)))
        return Planes(self.axis, self.grid, through, along)


def planes_across(slices: Slices, middles: dict[int, np.ndarray]) -> Planes:
    """Planes across the line through the middles of a bone in slices, mm."""
    mm = spacing_along(slices.grid, slices.axis)
    points = np.array([[k * mm[0], *middle] for k, middle in middles.items()])
    return Planes(slices.axis, slices.grid, *_line(points, points[:, 0]))


def spacing_along(grid: Volume, axis: int) -> np.ndarray:
    """Of an array's axes, that along the bone first; mm."""
    mm = np.asarray(grid.spacing[::-1], float)
    return np.array([mm[axis], *np.delete(mm, axis)])


def _line(points: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A line through points: one of it, and its direction, by the median of all pairs' slopes.

    Theil and Sen's, which a wrong ring does not move.
    """
    one, other = np.triu_indices(len(points), 1)
    along = np.median((points[other] - points[one]) / (order[other] - order[one])[:, None], axis=0)
    along = along / np.linalg.norm(along)
    return np.median(points, axis=0), along


def _unit_axes(grid: Volume, axis: int) -> np.ndarray:
    """Of an array's axes in RAS, that along the bone first; shape (3, 3)."""
    axes = grid.ijk_to_ras[:3, [2 - n for n in (axis, *(n for n in range(3) if n != axis))]]
    return (axes / np.linalg.norm(axes, axis=0)).T
