"""Regions of interest: voxel sets with a tissue role and a site, and their statistics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from PDFFMapperLib.images.shapes import Shape, voxels_inside
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import Role

PERCENTILES = (5, 10, 25, 75, 90, 95)
_SHARES = np.array((*PERCENTILES, 50)) / 100
JUDGED_RIGHT = "Looked at and judged right."
_ROUNDING_MM = 1e-6  # of a grid that was saved as text: a voxel at the margin stays at it


@dataclass
class Region:
    """A set of voxels on some volume's grid.

    Attributes:
        name: unique name among the regions of a study, such as "L3 marrow".
        role: tissue it holds.
        site: canonical site name (see anatomy.parse_site), "" where none is known.
        mask: boolean, indexed [k, j, i]; it is cropped to the smallest box that holds the region.
        offset: (k, j, i) of that box's first voxel in the volume; before, of the mask given.
        cautions: sentences that anyone who reads its numbers should see.
        doubtful: whether they say that it may be another structure, and nobody has judged it
            right; its numbers then get no verdict.
        outline: of the whole vertebral body that the region lies in, where it was found (a
            placement.vertebra.Surface).
        pieces: whether it is samples of muscles, found for their signal: no area of it means
            anything.
    """

    name: str
    role: Role
    site: str
    mask: np.ndarray
    offset: tuple[int, int, int] = (0, 0, 0)
    cautions: list[str] = field(default_factory=list)
    doubtful: bool = False
    outline: object | None = None
    pieces: bool = False

    def __post_init__(self) -> None:
        axes = [np.flatnonzero(self.mask.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
        if not axes[0].size:
            self.mask, self.offset = np.zeros((0, 0, 0), bool), (0, 0, 0)
            return
        box = tuple(slice(int(a[0]), int(a[-1]) + 1) for a in axes)
        self.mask = np.ascontiguousarray(self.mask[box])
        self.offset = tuple(int(o) + s.start for o, s in zip(self.offset, box, strict=True))

    @classmethod
    def from_mask(cls, name: str, role: Role, site: str, mask: np.ndarray) -> Region:
        """From a mask of the whole volume."""
        return cls(name, role, site, mask)

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

    def centroid_ijk(self) -> np.ndarray:
        """Mean (i, j, k) index of its voxels."""
        return (np.argwhere(self.mask).mean(axis=0) + self.offset)[::-1]

    def eroded(self, margin_mm: float, spacing_mm: np.ndarray) -> Region:
        """The voxels further than `margin_mm` from every voxel outside the region.

        A region that is one voxel thick, as drawn on a slice, is eroded within its plane.

        Args:
            margin_mm: margin that keeps partial volume out; 0 returns the region itself.
            spacing_mm: voxel size along i, j, k.

        Raises:
            ValueError: nothing is left.
        """
        if margin_mm <= 0 or not self.voxels:
            return self
        from scipy.ndimage import distance_transform_edt

        # Padding counts the volume's border as outside, which errs on the side of purity; but a
        # region drawn on one slice is eroded within its plane.
        pads = [(1, 1) if length > 1 else (0, 0) for length in self.mask.shape]
        sampling = np.asarray(spacing_mm)[::-1]
        distance = distance_transform_edt(np.pad(self.mask, pads), sampling=sampling)
        inner = tuple(slice(1, -1) if pad[0] else slice(None) for pad in pads)
        kept = (distance > margin_mm + _ROUNDING_MM)[inner]
        if not kept.any():
            raise ValueError(
                f"{self.name}: no voxel is left after eroding {margin_mm:g} mm; "
                "use a smaller margin or a larger region."
            )
        return replace(self, mask=kept, cautions=list(self.cautions))


@dataclass(frozen=True)
class Statistics:
    """What a region's voxels say in one image; every finite voxel counts, none is trimmed.

    Attributes:
        voxels: finite voxels used.
        excluded: voxels left out because they are NaN or infinite.
        volume_mm3: volume of the voxels used.
        mean, median, sd: of the values (sd with n - 1; NaN for one voxel).
        percentiles: at PERCENTILES (linear interpolation).
        median_se: standard error of the median, with neighboring voxels' correlation and the
            rounding of the signal counted.
        step: 1 where the signal is stored in whole numbers, which rounds the median; else 0.
    """

    voxels: int
    excluded: int
    volume_mm3: float
    mean: float
    median: float
    sd: float
    percentiles: tuple[float, ...]
    median_se: float
    step: float


def statistics(region: Region, array: np.ndarray, voxel_volume_mm3: float) -> Statistics:
    """Statistics of a region in an image on its grid, array indexed [k, j, i].

    Raises:
        ValueError: the region is empty or holds no finite value.
    """
    if not region.voxels:
        raise ValueError(f"{region.name}: this region is empty; draw it again or leave it out.")
    box = np.asarray(array[region.box], dtype=np.float64)
    finite = region.mask & np.isfinite(box)
    values = box[finite]
    if not values.size:
        raise ValueError(f"{region.name}: this region holds no finite value (all NaN or infinite).")
    mean = float(values.mean())
    sd = float(values.std(ddof=1)) if values.size > 1 else float("nan")
    step = 1.0 if (values == np.round(values)).all() else 0.0
    values.sort()  # once for all quantiles
    quantiles = _quantiles(values, _SHARES)
    spread = _median_se(values, np.where(finite, box - mean, 0.0), finite)
    return Statistics(
        voxels=int(values.size),
        excluded=region.voxels - int(values.size),
        volume_mm3=values.size * voxel_volume_mm3,
        mean=mean,
        median=float(quantiles[-1]),
        sd=sd,
        percentiles=tuple(float(q) for q in quantiles[:-1]),
        median_se=float(np.hypot(spread, step / np.sqrt(12))),
        step=step,
    )


def _quantiles(ordered: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Quantiles of sorted values by linear interpolation, to the last digit as numpy's."""
    at = shares * (ordered.size - 1)
    below = at.astype(int)
    left, right, part = ordered[below], ordered[np.ceil(at).astype(int)], at - below
    step = right - left
    return np.where(part < 0.5, left + step * part, right - step * (1 - part))


def _median_se(values: np.ndarray, residual: np.ndarray, mask: np.ndarray) -> float:
    """Standard error of the median from order statistics of sorted values at the effective sample
    size.

    Interpolated and smoothed voxels repeat their neighbors. The integral of the autocorrelation
    along each axis, up to where it falls below 0.1, says how many voxels make one independent
    sample. Of fewer than four (a gradient through the region) order statistics say nothing; the
    wider interval of Student's t is taken, whose samples spread by what theory adds for so few.
    """
    effective = effective_samples(residual, mask)
    if effective < 2:
        return float("nan")
    if effective < 4:
        from scipy.special import stdtrit

        wide = stdtrit(effective - 1, 0.975) / 1.96
        return float(wide * np.sqrt(np.pi / 2) * values.std() / np.sqrt(effective - 1))
    half = 0.98 / np.sqrt(effective)  # 1.96 standard errors of a binomial proportion at 1/2
    low, high = _quantiles(values, np.clip([0.5 - half, 0.5 + half], 0.0, 1.0))
    return float((high - low) / (2 * 1.96))


def effective_samples(residual: np.ndarray, mask: np.ndarray) -> float:
    """Number of independent samples among correlated voxels.

    Args:
        residual: values minus their mean, 0 outside the mask, indexed [k, j, i].
        mask: which voxels count.
    """
    count = np.count_nonzero(mask)
    variance = float(np.einsum("kji,kji->", residual, residual)) / max(count, 1)
    if variance == 0:
        return float(count)
    correlated = 1.0
    for axis, length in enumerate(mask.shape):
        scale = 1.0
        for lag in range(1, min(length, 20)):
            ahead = tuple(slice(lag, None) if a == axis else slice(None) for a in range(3))
            behind = tuple(slice(None, -lag) if a == axis else slice(None) for a in range(3))
            pairs = np.count_nonzero(mask[ahead] & mask[behind])
            if not pairs:
                break
            covariance = np.einsum("kji,kji->", residual[ahead], residual[behind]) / pairs
            correlation = covariance / variance
            if correlation < 0.1:
                break
            scale += 2 * correlation
        correlated *= scale
    return count / correlated


def rasterize(shape: Shape, volume: Volume, role: Role, site: str) -> Region:
    """The voxels of `volume` whose centers lie inside the shape, as a region.

    Raises:
        ValueError: the shape holds no voxel of the volume.
    """
    return Region(shape.name, role, site, *voxels_inside(shape, volume))


def doubt(regions: Iterable[Region]) -> None:
    """Mark regions that were just placed as doubtful where their cautions give a reason."""
    for region in regions:
        region.doubtful = bool(region.cautions)


def judge_right(regions: Iterable[Region], names: Iterable[str]) -> None:
    """Take doubtful regions as right, as somebody has looked; their cautions stay, and say so.

    Raises:
        ValueError: there is no region of that name.
    """
    by_name = {region.name.casefold(): region for region in regions}
    for name in names:
        region = by_name.get(name.strip().casefold())
        if region is None:
            listed = ", ".join(one.name for one in by_name.values() if one.doubtful) or "none"
            raise ValueError(f"'{name}' cannot be judged right: doubtful regions are {listed}.")
        if region.doubtful:
            region.doubtful = False
            region.cautions.append(JUDGED_RIGHT)
