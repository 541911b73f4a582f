"""Regions of interest: voxel sets with a tissue role and a site, and their statistics."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from MarrowAssessLib.anatomy import Role


@dataclass
class Region:
    """A set of voxels on some volume's grid.

    Attributes:
        name: unique name among the regions of a study, such as "L3 marrow".
        role: tissue it holds.
        site: canonical site name (see anatomy.parse_site), "" where none is known.
        mask: boolean, the smallest box that holds the region, indexed [k, j, i].
        offset: (k, j, i) of that box's first voxel in the volume.
        cautions: sentences that anyone who reads its numbers should see.
    """

    name: str
    role: Role
    site: str
    mask: np.ndarray
    offset: tuple[int, int, int] = (0, 0, 0)
    cautions: list[str] = field(default_factory=list)

    @classmethod
    def from_mask(cls, name: str, role: Role, site: str, mask: np.ndarray) -> Region:
        """Crop a whole-volume mask to its bounding box; an empty mask stays empty."""
        axes = [np.flatnonzero(mask.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
        if not axes[0].size:
            return cls(name, role, site, np.zeros((0, 0, 0), bool))
        box = tuple(slice(int(a[0]), int(a[-1]) + 1) for a in axes)
        offset = tuple(s.start for s in box)
        return cls(name, role, site, np.ascontiguousarray(mask[box]), offset)

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """Where the region's mask lies in the volume."""
        return tuple(slice(o, o + n) for o, n in zip(self.offset, self.mask.shape, strict=True))

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return int(np.count_nonzero(self.mask))

    def values(self, array: np.ndarray) -> np.ndarray:
        """The region's voxel values in an image on the same grid, as a flat array."""
        return array[self.box][self.mask]

    def full_mask(self, shape: tuple[int, int, int]) -> np.ndarray:
        """The region as a boolean mask of the whole volume."""
        full = np.zeros(shape, bool)
        full[self.box] = self.mask
        return full
