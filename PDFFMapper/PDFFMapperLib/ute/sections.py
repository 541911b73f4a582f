"""Sections across a bone: slices of the images, or planes across a bone that runs far obliquely.

A section takes voxels as they are, each where it lies along the bone's axis: along a straight bone
the signal does not change, so that a voxel says the same of a section as one in its plane. Nothing
is interpolated; noise and blur stay those of the images.

Places in the images are in mm along the array's axes, the one along the bone first.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy import ndimage

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.ute.curve import Curve

MOST_UNLIKE = 1.6  # of a voxel's longest over its shortest side; simulated up to 1.5


@dataclass(frozen=True)
class Sections:
    """What slices and planes have in common.

    Attributes:
        axis: of the images' arrays that runs along the bone.
        grid: of the images.
        through: a point of the bone's axis, mm.
        along: unit vector along it.
        off: SD of its direction, in each of two, rad.
    """

    axis: int
    grid: Volume
    through: np.ndarray = field(default_factory=lambda: np.zeros(3))
    along: np.ndarray = field(default_factory=lambda: np.array([1.0, 0.0, 0.0]))
    off: float = 0.0

    @cached_property
    def mm(self) -> np.ndarray:
        """Sides of a voxel."""
        sides = np.asarray(self.grid.spacing[::-1], float)
        return np.array([sides[self.axis], *np.delete(sides, self.axis)])

    @property
    def sides(self) -> np.ndarray:
        """Sides of a voxel that lie in a section, mm."""
        raise NotImplementedError

    @property
    def voxel_mm(self) -> float:
        """Side of a voxel, in which a blur is told."""
        return float(self.sides.mean())

    @property
    def longest_mm(self) -> float:
        """Side of a voxel in a section where it is longest."""
        return float(self.sides.max())

    @property
    def tilt_deg(self) -> float:
        """Between the bone and the normal of the slices."""
        return float(np.rad2deg(np.arccos(min(abs(self.along[0]), 1.0))))

    @property
    def off_share(self) -> float:
        """SD of an area by that of the bone's direction, over the area."""
        return 0.0

    @cached_property
    def plane(self) -> np.ndarray:
        """Unit vectors of both axes of a section, shape (2, 3): near rows and columns."""
        row = np.eye(3)[1 + int(abs(self.along[1]) > 0.9)]
        row = row - row @ self.along * self.along
        row /= np.linalg.norm(row)
        return np.stack([row, np.cross(self.along, row)])

    @property
    def axes(self) -> np.ndarray:
        """Unit vectors of both axes of a section in RAS, shape (2, 3)."""
        order = [2 - n for n in (self.axis, *(n for n in range(3) if n != self.axis))]
        axes = self.grid.ijk_to_ras[:3, order]
        return self.plane @ (axes / np.linalg.norm(axes, axis=0)).T

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the images, slices along the bone first."""
        shape = self.grid.array.shape
        return (shape[self.axis], *np.delete(shape, self.axis))

    def voxels(self, k: int) -> tuple[np.ndarray, ...]:
        """Where a section's voxels lie in the images: an index of slices, rows, columns."""
        raise NotImplementedError

    def points(self, k: int, places: np.ndarray) -> np.ndarray:
        """Places of a section in the images, mm; shapes (..., 2) and (..., 3)."""
        raise NotImplementedError

    def across(self, mask: np.ndarray) -> list[int]:
        """Sections that hold voxels of a mask."""
        raise NotImplementedError

    def blur(self, psf_voxels: float) -> np.ndarray:
        """Covariance in a section of what blurs each axis of the images by some sides, mm^2."""
        return self.plane @ np.diag((psf_voxels * self.mm) ** 2) @ self.plane.T

    def places(self, voxels: tuple[np.ndarray, ...]) -> np.ndarray:
        """Of voxels in a section, mm; shape (voxels, 2)."""
        return (np.stack(voxels, axis=-1) * self.mm - self.through) @ self.plane.T

    def middles(self, mask: np.ndarray) -> dict[int, np.ndarray]:
        """Of a mask's voxels in each section that holds some, mm."""
        found = {}
        for k in self.across(mask):
            voxels = self.voxels(k)
            inside = mask[voxels]
            found[k] = self.places(tuple(one[inside] for one in voxels)).mean(axis=0)
        return found

    def values(self, mask: np.ndarray, k: int, places: np.ndarray) -> np.ndarray:
        """The nearest voxel's at places in a section, shape (..., 2); 0 outside the images."""
        at = np.moveaxis(self.points(k, places) / self.mm, -1, 0)
        return ndimage.map_coordinates(mask.astype(np.uint8), at, order=0)

    def beyond(self, k: int, places: np.ndarray) -> np.ndarray:
        """Whether places in a section, shape (..., 2), lie outside the images."""
        at = self.points(k, places) / self.mm
        return ((at < -0.5) | (at > np.array(self.shape) - 0.5)).any(axis=-1)

    def holds(self, k: int, curve: Curve, reach: float) -> bool:
        """Whether a ring and its reach lie within the images, where they have to."""
        return True

    def around(
        self, k: int, curve: Curve, reach: float
    ) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Voxels within a ring and its reach: where they lie in the images and in the section."""
        voxels = self.voxels(k)
        places = self.places(voxels)
        away = np.linalg.norm(places - curve.center, axis=1)
        near = away < np.linalg.norm(curve.points - curve.center, axis=1).max() + reach
        return tuple(one[near] for one in voxels), places[near]

    def turned(self, middles: dict[int, np.ndarray]) -> Sections:
        """Across the line through the middles of a bone in these sections; by three and more."""
        if len(middles) < 3:
            return self
        points = np.array([self.points(k, middle) for k, middle in middles.items()])
        through, along, off = _line(points, np.array(list(middles)))
        return replace(self, through=through, along=along, off=off)


@dataclass(frozen=True)
class Slices(Sections):
    """Slices of images, their voxels seen along the bone.

    Attributes:
        profile: SD of their blur along the normal, of its side; as in them if not given.
        slope: of the wall along the bone (RMS), by which it tapers, bends or is slightly oblique.
    """

    profile: float | None = None
    slope: float = 0.0
    name, one = "slices", "slice"
    left_out = "slices along the bone tell no ring of cortex"

    @property
    def sides(self) -> np.ndarray:
        """Of rows and columns."""
        return self.mm[1:]

    @property
    def thick(self) -> bool:
        """Whether slices are much thicker than their voxels wide."""
        return bool(self.mm[0] > MOST_UNLIKE * self.mm[1:].min())

    @property
    def off_share(self) -> float:
        """As of `Sections`: an area goes with the cosine."""
        return float(np.tan(np.deg2rad(self.tilt_deg)) * self.off)

    def blur(self, psf_voxels: float) -> np.ndarray:
        """As of `Sections`."""
        sides = psf_voxels * self.mm
        if self.profile is not None:
            sides[0] = self.profile * self.mm[0]
        leaning = (sides[0] * self.slope) ** 2 * np.eye(2)
        return self.plane @ np.diag(sides**2) @ self.plane.T + leaning

    def blurred_by(self, profile: float) -> float:
        """SD of what a profile adds to the blur of an oblique or leaning wall, mm."""
        lean = np.hypot(np.sin(np.deg2rad(self.tilt_deg)), self.slope)
        return float(profile * self.mm[0] * lean)

    def voxels(self, k: int) -> tuple[np.ndarray, ...]:
        """As of `Sections`."""
        rows, columns = np.indices(self.shape[1:]).reshape(2, -1)
        return np.full(rows.shape, k), rows, columns

    def points(self, k: int, places: np.ndarray) -> np.ndarray:
        """As of `Sections`: in the slice, along the bone."""
        height = k * self.mm[0] - self.through[0]
        inside = np.linalg.solve(self.plane[:, 1:], np.eye(2))
        flat = (places - self.plane[:, 0] * height) @ inside.T + self.through[1:]
        return np.concatenate([np.full((*flat.shape[:-1], 1), k * self.mm[0]), flat], axis=-1)

    def across(self, mask: np.ndarray) -> list[int]:
        """As of `Sections`."""
        return [int(k) for k in np.flatnonzero(mask.any(axis=(1, 2)))]


@dataclass(frozen=True)
class Planes(Sections):
    """Layers of voxels between planes across a bone, as thick as a voxel's longest side."""

    name, one = "planes across it", "plane"
    left_out = "planes across the bone reach beyond the images or tell no ring of cortex"

    @property
    def sides(self) -> np.ndarray:
        """All of them."""
        return self.mm

    @cached_property
    def _layers(self) -> tuple[np.ndarray, np.ndarray]:
        """Voxels in order of their layers, and the layer of each of these."""
        parts = np.ix_(*(np.arange(n) * mm for n, mm in zip(self.shape, self.mm, strict=True)))
        height = sum(c * one for c, one in zip(self.along, parts, strict=True))
        height = (height - self.along @ self.through) / self.longest_mm
        layer = np.rint(height).astype(np.int32).ravel()
        order = np.argsort(layer, kind="stable")
        return order, layer[order]

    def voxels(self, k: int) -> tuple[np.ndarray, ...]:
        """As of `Sections`."""
        order, layer = self._layers
        found = order[slice(*np.searchsorted(layer, [k, k + 1]))]
        return np.unravel_index(found, self.shape)

    def points(self, k: int, places: np.ndarray) -> np.ndarray:
        """As of `Sections`."""
        return self.through + k * self.longest_mm * self.along + places @ self.plane

    def across(self, mask: np.ndarray) -> list[int]:
        """As of `Sections`."""
        order, layer = self._layers
        return [int(k) for k in np.unique(layer[mask.ravel()[order]])]

    def cut(self, mask: np.ndarray, layers: range, half_mm: float) -> np.ndarray:
        """A mask's nearest voxels in planes, as squares of some mm to each side of the axis.

        Their sides are `voxel_mm`; shape (layers, n, n).
        """
        side = np.arange(-np.ceil(half_mm / self.voxel_mm), half_mm / self.voxel_mm + 1)
        places = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1) * self.voxel_mm
        return np.stack([self.values(mask, k, places) for k in layers])

    def holds(self, k: int, curve: Curve, reach: float) -> bool:
        """As of `Sections`."""
        return not self.beyond(k, curve.points + reach * curve.normals).any()


def _line(points: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """A line through points: one of it, its direction by the median of all pairs' slopes, its SD.

    Theil and Sen's, which a wrong ring does not move. Directions rise along the images.
    """
    one, other = np.triu_indices(len(points), 1)
    along = np.median((points[other] - points[one]) / (order[other] - order[one])[:, None], axis=0)
    along = along / np.linalg.norm(along) * (1 if along[0] >= 0 else -1)
    through = np.median(points, axis=0)
    height = (points - through) @ along
    rest = points - through - height[:, None] * along
    scatter = np.median(np.sum((rest - rest.mean(axis=0)) ** 2, axis=1)) / (2 * np.log(2))
    spread = np.sum((height - height.mean()) ** 2) * (1 - 2 / len(points))
    return through, along, float(np.sqrt(scatter / spread))
