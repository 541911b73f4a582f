"""A 3D image on its voxel grid, as plain numpy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_PIECE = 3_000  # points of a product: OpenBLAS shares larger ones among its threads


@dataclass(frozen=True)
class SourceSlices:
    """Where the slices of an image that was read from DICOM lie.

    Attributes:
        frames: file and frame in it (from 0) of each slice, in order of k.
        shape, ijk_to_ras: of the image as it was read.
        tiled: whether several slices share one frame, as in mosaics.
    """

    frames: tuple[tuple[Path, int], ...]
    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray
    tiled: bool = False

    @property
    def grid(self) -> Volume:
        """The voxels of the image as it was read, without values."""
        return Volume(np.empty(self.shape, bool), self.ijk_to_ras, "the source")


@dataclass
class Volume:
    """A scalar image with its place in the patient.

    Attributes:
        array: voxel values, shape (slices, rows, columns), that is indexed [k, j, i]
            as in ``slicer.util.arrayFromVolume``.
        ijk_to_ras: 4x4 matrix from (i, j, k, 1) voxel indices to millimeters in RAS.
        name: what to call it in messages and reports.
        attributes: acquisition facts by their DICOM keyword ("EchoTime" in ms,
            "MagneticFieldStrength" in T ...); never the patient's identity.
        notes: sentences about how it was read that anyone who uses it should see.
        slices: of the DICOM files that it was read from, kept when it is resampled; None for other
            images.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray
    name: str = "volume"
    attributes: dict[str, object] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    slices: SourceSlices | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.ijk_to_ras = np.asarray(self.ijk_to_ras, dtype=float)
        if self.array.ndim != 3:
            raise ValueError(
                f"{self.name}: a 3D volume is expected, this one has {self.array.ndim} dimensions "
                f"{self.array.shape}; choose one 3D frame of it."
            )
        if self.ijk_to_ras.shape != (4, 4) or abs(np.linalg.det(self.ijk_to_ras[:3, :3])) < 1e-12:
            raise ValueError(f"{self.name}: its voxel-to-patient matrix cannot be inverted.")

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size in mm along i, j, k."""
        return np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm^3."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3])))

    def with_array(self, array: np.ndarray, name: str | None = None) -> Volume:
        """Another image on the same grid."""
        return Volume(
            array,
            self.ijk_to_ras.copy(),
            name or self.name,
            dict(self.attributes),
            [*self.notes],
            self.slices,
        )

    def same_grid(self, other: Volume, tolerance_mm: float | None = None) -> bool:
        """Whether both grids have the same shape and no voxel lies further apart than that.

        By default that is a twentieth of the smallest voxel length (0.01 mm at least): tools round
        positions to fewer digits than others.
        """
        if self.array.shape != other.array.shape:
            return False
        if np.array_equal(self.ijk_to_ras, other.ijk_to_ras):
            return True
        if tolerance_mm is None:
            tolerance_mm = max(0.01, 0.05 * float(self.spacing.min()))
        extent = np.array(self.array.shape[::-1])
        corners = np.stack(np.meshgrid(*[(0, n - 1) for n in extent], indexing="ij"), -1)
        corners = np.c_[corners.reshape(-1, 3), np.ones(8)]
        apart = corners @ (self.ijk_to_ras - other.ijk_to_ras).T
        return bool(np.abs(apart[:, :3]).max() <= tolerance_mm)

    def in_order_of(self, other: Volume) -> Volume:
        """The same image with its voxels in another's order, where only that order differs.

        Tools turn axes round or exchange them; no value changes. An image on another grid is
        returned as it is.
        """
        if self.same_grid(other):
            return self
        step = np.linalg.inv(self.ijk_to_ras) @ other.ijk_to_ras
        turned = np.rint(step[:3, :3])
        if not np.array_equal(np.abs(turned).sum(axis=0), np.ones(3)):
            return self
        source = np.abs(turned).argmax(axis=0)  # which own axis runs along each of the other's
        if len(set(source.tolist())) != 3:
            return self
        array = self.array.transpose([2 - axis for axis in source[::-1]])
        flips = [slice(None, None, int(turned[source[n], n])) for n in (2, 1, 0)]
        matrix = self.ijk_to_ras.copy()
        matrix[:3, :3] = self.ijk_to_ras[:3, :3] @ turned
        shape = np.array(self.array.shape[::-1])
        start = np.where(turned.sum(axis=1) < 0, shape - 1, 0)
        matrix[:3, 3] = self.to_ras(start)
        found = Volume(array[tuple(flips)], matrix, self.name, dict(self.attributes), [*self.notes])
        return found if found.same_grid(other) else self

    def ras_to_ijk(self, points_ras: np.ndarray) -> np.ndarray:
        """Continuous (i, j, k) indices of RAS points in mm, shape (..., 3)."""
        points = np.asarray(points_ras, dtype=float)
        inverse = np.linalg.inv(self.ijk_to_ras)
        return product(points, inverse[:3, :3].T) + inverse[:3, 3]

    def holds(self, point_ras: np.ndarray) -> bool:
        """Whether a RAS point in mm lies in one of its voxels."""
        ijk = np.rint(self.ras_to_ijk(point_ras))
        return bool(np.all((ijk >= 0) & (ijk < self.array.shape[::-1])))

    def to_ras(self, points_ijk: np.ndarray) -> np.ndarray:
        """RAS positions in mm of (i, j, k) indices, shape (..., 3)."""
        points = np.asarray(points_ijk, dtype=float)
        return product(points, self.ijk_to_ras[:3, :3].T) + self.ijk_to_ras[:3, 3]


def product(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``points @ matrix`` of many points (..., 3) by pieces so small that they stay on this core.

    The threads that a larger product wakes spin for long after it, beside whatever comes next.
    """
    rows = points.reshape(-1, points.shape[-1])
    if len(rows) <= _PIECE:
        return points @ matrix
    found = np.empty((len(rows), *matrix.shape[1:]), np.result_type(rows, matrix))
    for start in range(0, len(rows), _PIECE):
        np.matmul(rows[start : start + _PIECE], matrix, out=found[start : start + _PIECE])
    return found.reshape(*points.shape[:-1], *matrix.shape[1:])


def placed_twice(*volumes: Volume) -> Volume | None:
    """The first of them whose file says in two ways where it is, and they disagree."""
    return next((one for one in volumes if "PlacementsApartMm" in one.attributes), None)


def lies_outside(what: str, image: str, then: str = "") -> str:
    """The sentence that something is not inside an image, and what to do; else the bare reason."""
    return f"{what} lies outside {image}" + (f"; {then}." if then else "")


def grids_differ(one: Volume, other: Volume, remedy: str = "resample one of them first") -> str:
    """The sentence that two images do not share their voxel grid, and what to do."""

    def described(volume: Volume) -> str:
        size = "x".join(map(str, volume.array.shape[::-1]))
        return f"{size} voxels of {' x '.join(f'{s:.2f}' for s in volume.spacing)} mm"

    if twice := placed_twice(one, other):
        return (
            f"{one.name} is not where {other.name} is. {twice.notes[0]} Make the two agree (set "
            "both to the one in which the regions were drawn)."
        )
    alike = one.array.shape == other.array.shape and np.allclose(one.spacing, other.spacing)
    where = ", placed or oriented differently" if alike else ""
    return (
        f"{one.name} ({described(one)}) is on another voxel grid than {other.name} "
        f"({described(other)}{where}); {remedy}."
    )
