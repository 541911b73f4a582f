"""Whether a limb moved between UTE images: a rigid fit of their edges, whatever their contrast.

How strong edges are (the gradient's length) in one image is fitted as a multiple of that in the
first, carried by a small shift and turn: Gauss-Newton on least squares, from coarse to fine. A
ratio of misaligned edges is no porosity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
from scipy.ndimage import (
    binary_dilation,
    distance_transform_edt,
    gaussian_filter,
    map_coordinates,
    spline_filter,
)

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.ute.motion_kernel import (
    ONE,
    SEEN,
    STRENGTH,
    products_of,
    strength_and_slopes,
)

FOUND, MOVED = "Motion against the first image, across edges:", "after it was moved back"
MOST_VOXELS = 0.25  # of shift across the edges of bone
LEAST_OFF = 0.05  # voxels (SD): a still limb is found within 0.1
_UNTOLD = 0.2  # voxels: an SD above it tells no shift
_FACTORS = (4, 2, 1)  # of pixels taken together, coarse to fine
_LEAST_SIDE = 16  # pixels that a slice must keep
_SLICES, _PLACES = 24, 40_000  # most that are compared; a quarter of these of coarse pixels
_TURNING_SLICES = 5  # fewer tell no motion out of their plane
_PLANAR, _CHI2_999 = (1, 2, 3), 16.3  # what moves in the slices; least that tells the other three
_ALIKE = 12.0  # pixels of noise smoothed by 1 pixel that are worth one
_STRONGEST = 0.9  # of edges: what is above counts as one
_NEAR, _NEAR_SD = 4, 0.1  # pixels round the bone, and the error of its edges alone
_STEPS, _HALVINGS, _LONGEST, _SHORTEST = 12, 4, 1.5, 0.005  # steps in voxels


@dataclass(frozen=True)
class Motion:
    """Where a limb lies in an image, against the first one.

    Attributes:
        shift: of the images' middle along slices, rows, columns, in voxels.
        turn: in radians about the same axes.
        voxels: what 95 of 100 edges moved less than, across themselves.
        sd: of that, by the misfit; where it is above 0.2 the images share too few edges.
    """

    shift: np.ndarray
    turn: np.ndarray
    voxels: float
    sd: float

    @property
    def told(self) -> bool:
        """Whether the images tell it."""
        return self.sd <= _UNTOLD


def without_motion(
    signal: np.ndarray, grid: Volume, settings: SimpleNamespace
) -> tuple[np.ndarray, list[str], float]:
    """The images, moved onto the first where that is asked for, and what was found.

    Args:
        signal: magnitudes, shape (images, slices, rows, columns); moved where they lie.
        grid: of the images.
        settings: `register` (move them) and `mask` (bone), where they have them.

    Returns:
        Images, notes, and how far the later ones may be off, in voxels (SD): what was measured and
        left, with its error; a quarter voxel where that could not be told.

    Raises:
        ValueError: an image is more than a quarter voxel off at the edges of bone.
    """
    mask, spacing = getattr(settings, "mask", None), np.asarray(grid.spacing[::-1], float)
    bone = mask.array > 0 if mask is not None and mask.same_grid(grid) else None
    register = getattr(settings, "register", False)
    found, untold, moved, off = [], [], False, LEAST_OFF
    for n, image in enumerate(signal[1:], 2):
        one = motion_of(signal[0], image, spacing, bone)
        words, left = f"{one.voxels:.2f}", one
        if register and one.told and one.voxels > one.sd:
            back = carried(image, one, spacing)
            after = motion_of(signal[0], back, spacing, bone)
            if after.told:
                image[...], left, moved = back, after, True
                words += f" ({left.voxels:.2f} {MOVED})"
        if not one.told:
            untold.append(str(n))
            off = max(off, MOST_VOXELS)
            continue
        if left.voxels - left.sd > MOST_VOXELS:
            way = "could not move it onto the first" if register else "moves images onto the first"
            raise ValueError(
                f"Image {n} is {left.voxels:.2f} voxels off the first across the edges of bone and "
                f"limb, and {MOST_VOXELS:g} are allowed, since a ratio of misaligned edges is none "
                f"of bone; --register {way}."
            )
        found.append(words)
        off = max(off, float(np.hypot(left.voxels, left.sd)))
    notes = []
    if found:
        notes.append(f"{FOUND} {', '.join(found)} voxels.")
    if moved:
        notes.append(
            "Moving images back smooths them: their noise is lower than the one told, which is of "
            "images as acquired."
        )
    if untold:
        notes.append(
            f"Whether the limb moved in image {', '.join(untold)} could not be told: it shares too "
            "few edges with the first; look at both."
        )
    return signal, notes, off


def is_still(note: str) -> bool:
    """Whether a note of `without_motion` tells that no image moved by more than is allowed."""
    told = re.findall(r"\d+\.\d+", note) if note.startswith(FOUND) and MOVED not in note else []
    return bool(told) and max(map(float, told)) <= MOST_VOXELS


def motion_of(
    first: np.ndarray, other: np.ndarray, spacing_mm: np.ndarray, bone: np.ndarray | None = None
) -> Motion:
    """Motion from one magnitude image to another, shapes (slices, rows, columns).

    All edges tell it best. Where those of soft tissue are gone, as after suppression, those near
    the `bone` do, whose levels on both sides shift them by a tenth of a voxel or so.
    """
    apart = -(-len(first) // _SLICES)
    images = first[::apart], other[::apart]
    spacing = np.asarray(spacing_mm, float) * (apart, 1, 1)
    middle = (len(first) - 1) / 2 / apart  # of all slices, not of those compared
    at = np.zeros(6)
    for factor in _FACTORS:
        if factor > 1 and min(first.shape[1:]) // factor < _LEAST_SIDE:
            continue
        at[1:3] /= factor
        fit = None  # before the next one is made: both would take twice the memory
        edges = [_edges(one, factor) for one in images]
        fit = _Fit(*edges, spacing * (1, factor, factor), middle, factor > 1)
        at, covariance = fit.solved(at)
        at[1:3] *= factor
    if len(fit.open) > len(_PLANAR) and not _leaves_plane(at, covariance, fit.open):
        fit.open = list(_PLANAR)
        at[[0, 4, 5]] = 0
        at, covariance = fit.solved(at)
    found = _summed(at, covariance, fit, apart)
    if found.told or bone is None or not bone[::apart].any():
        return found
    near = binary_dilation(bone[::apart], np.ones((1, 2 * _NEAR + 1, 2 * _NEAR + 1), bool))
    fit = None  # as above
    fit = _Fit(*edges, spacing, middle, False, near)
    found = _summed(*fit.solved(np.zeros(6)), fit, apart)
    return replace(found, sd=float(np.hypot(found.sd, _NEAR_SD)))


def carried(image: np.ndarray, motion: Motion, spacing_mm: np.ndarray) -> np.ndarray:
    """An image where the first one lies, by cubic splines; NaN where it has no value.

    Voxels reach half a voxel beyond their middle, the outermost ones too.
    """
    gone, moved = ~np.isfinite(image), np.empty_like(image)
    lost = gone.astype(np.float32) if gone.any() else None
    if lost is not None:  # the nearest value there: a step to 0 would ring into its neighbors
        nearest = distance_transform_edt(gone, return_distances=False, return_indices=True)
        image = image[tuple(nearest)]
    smooth = spline_filter(image)
    for k, one in enumerate(moved):
        places = _carried_places(image.shape, k, motion, np.asarray(spacing_mm, float))
        found = map_coordinates(smooth, places, order=3, cval=np.nan, prefilter=False)
        if lost is not None:
            found[map_coordinates(lost, places, order=1) > 0.01] = np.nan
        one[...] = np.maximum(found, 0).reshape(one.shape)
    return moved


def _carried_places(
    shape: tuple[int, ...], k: int, motion: Motion, spacing: np.ndarray
) -> np.ndarray:
    """Where a motion carries the voxels of a slice, shape (3, voxels)."""
    places = np.stack(np.broadcast_arrays(float(k), *np.indices(shape[1:], float)))
    places, last = places.reshape(3, -1), np.array(shape)[:, None] - 1
    at = np.array([*motion.shift, *motion.turn])
    places = places + _moved_by(at, (places - last / 2) * spacing[:, None], spacing)
    if (motion.shift[0], *motion.turn[1:]) == (0, 0, 0):
        places[0] = np.round(places[0])  # each slice for itself
    return np.where(np.abs(places - last / 2) < (last + 1) / 2, places.clip(0, last), places)


def _edges(image: np.ndarray, factor: int) -> np.ndarray:
    """The gradient's length in each slice of a smoothed image, pixels taken together."""
    rows, columns = (n // factor for n in image.shape[1:])
    found = np.empty((len(image), rows, columns), np.float32)
    for one, edges in zip(image, found, strict=True):
        one = np.nan_to_num(one[: rows * factor, : columns * factor].astype(np.float32))
        parts = [one[n::factor, m::factor] for n in range(factor) for m in range(factor)]
        np.hypot(*np.gradient(gaussian_filter(sum(parts) / len(parts), 1)), out=edges)
    return found


def _moved_by(at: np.ndarray, mm: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Voxels by which three shifts (voxels) and turns (radians) move places, shape (3, N).

    `mm`: the places from the middle that turns are about.
    """
    return at[:3, None] + np.cross(at[3:], mm.T).T / spacing[:, None]


def _changed_by(slopes: np.ndarray, mm: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """What each of three shifts and turns changes at places of known slopes; shape (6, N)."""
    return np.concatenate([slopes, np.cross(mm.T, (slopes / spacing[:, None]).T).T])


class _Fit:
    """Edges of a first image fitted to those of another.

    Attributes:
        other: strength of edges; `places` are those of the first that count, voxels.
        edges: strength and slopes of the first there.
        middle: that turns are about, voxels; `spacing` of these, mm.
        open: which of three shifts and three turns are fitted.
    """

    def __init__(
        self,
        first: np.ndarray,
        other: np.ndarray,
        spacing: np.ndarray,
        middle: float,
        coarse: bool,
        near: np.ndarray | None = None,
    ) -> None:
        self.other, self.spacing = other, spacing
        self.open = [0, 1, 2, 3, 4, 5] if len(first) >= _TURNING_SLICES else list(_PLANAR)
        if coarse:
            self.open = [n for n in self.open if n in (1, 2)]
        last = np.array(first.shape) - 1
        self.middle = np.array([middle, *last[1:] / 2])
        self.places = _places(first.shape, _PLACES // 4 if coarse else _PLACES, near)
        self.edges = strength_and_slopes(first, self.places)
        self.reach = self._reach()

    def _reach(self) -> np.ndarray:
        """By how many voxels a shift of 1 voxel or a turn of 1 radian moves places, RMS."""
        away = zip(self.places.T, self.middle, strict=True)
        square = np.array([np.mean((one - at) ** 2) for one, at in away]) * self.spacing**2
        turns = [
            sum(square[3 - n - k] / self.spacing[k] ** 2 for k in range(3) if k != n)
            for n in range(3)
        ]
        return np.sqrt([1.0, 1.0, 1.0, *turns])

    def solved(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shift and turn, and their covariance (of what is open); infinite if they share none."""
        seen = self._seen(at)
        for _ in range(_STEPS):
            factor, step, covariance = self._step(seen)
            if not factor > 0:
                break
            step *= min(1.0, _LONGEST / max(np.abs(step * self.reach).max(), 1e-12))
            for _ in range(_HALVINGS):
                tried = self._seen(at + step)
                if self._alike(tried) > self._alike(seen):
                    break
                step = step / 2
            else:
                break
            at, seen = at + step, tried
            if np.abs(step * self.reach).max() < _SHORTEST:
                break
        factor, _, covariance = self._step(seen)
        return at, covariance if factor > 0 else np.full_like(covariance, np.inf)

    def _seen(self, at: np.ndarray) -> np.ndarray:
        """What both images show at places that a motion carries; see `products_of`."""
        facts = self.places, self.edges, self.middle, self.spacing
        return products_of(self.other, *facts, at)

    def _alike(self, seen: np.ndarray) -> float:
        """How alike edges are: their correlation; -1 where half of the places leave the image."""
        if seen[ONE, ONE] < 0.5 * len(self.places):
            return -1.0
        both = [STRENGTH, SEEN]
        mean = seen[ONE, both] / seen[ONE, ONE]
        own = seen[np.ix_(both, both)] / seen[ONE, ONE] - np.outer(mean, mean)
        spread = own[0, 0] * own[1, 1]
        return float(own[0, 1] / spread**0.5) if spread > 0 else 0.0

    def _step(self, seen: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """How much stronger the other's edges are, what would move them together, covariance."""
        columns = [STRENGTH, ONE, *(2 + n for n in self.open)]
        square, right = seen[np.ix_(columns, columns)], seen[columns, SEEN]
        told = square + np.diag(1e-6 * np.diag(square) + 1e-12)  # weakly told directions stay
        found = np.linalg.solve(told, right)
        factor, step = float(found[0]), np.zeros(6)
        rest = seen[SEEN, SEEN] - 2 * found @ right + found @ square @ found
        rest = max(rest, 0.0) / max(seen[ONE, ONE], 1) * _ALIKE
        inner = np.linalg.inv(told)[2:, 2:]
        if factor == 0:
            return 0.0, step, inner
        step[self.open] = -found[2:] / factor
        return factor, step, inner * rest / factor**2


def _places(shape: tuple[int, ...], most: int, near: np.ndarray | None) -> np.ndarray:
    """Places of an image that are compared, of those `near` bone; shape (places, 3).

    Between pixels in both images: edges that are interpolated in one alone stick to its grid.
    """
    size = int(np.prod(shape)) if near is None else np.count_nonzero(near)
    count = min(size, most)
    places = np.random.default_rng(0).random((count, 3), np.float32)
    drawn = np.arange(count)
    if size > count:  # one of each of so many equal parts
        drawn = ((drawn + places[:, 0]) * (size / count)).astype(int)
    drawn = drawn if near is None else _voxels_of(near, drawn)
    places[:, 1:] -= 0.5
    places[:, 0] = 0
    for column, at, n in zip(places.T, np.unravel_index(drawn, shape), shape, strict=True):
        column += at
        np.clip(column, 0, n - 1, out=column)
    return places


def _voxels_of(near: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Of voxels that are `near` in order, where those that are `drawn` lie among all."""
    counts = np.count_nonzero(near, axis=(1, 2))
    ends, found = np.cumsum(counts), []
    for k, (first, end) in enumerate(zip(ends - counts, ends, strict=True)):
        of_slice = drawn[(drawn >= first) & (drawn < end)] - first
        found.append(k * near[k].size + np.flatnonzero(near[k])[of_slice])
    return np.concatenate(found)


def _leaves_plane(at: np.ndarray, covariance: np.ndarray, opened: list[int]) -> bool:
    """Whether edges tell a motion out of the slices; those of a straight shaft tell none."""
    out = [n for n, one in enumerate(opened) if one not in _PLANAR]
    moved = at[[opened[n] for n in out]]
    own = covariance[np.ix_(out, out)]
    return bool(np.isfinite(own).all() and moved @ np.linalg.pinv(own) @ moved > _CHI2_999)


def _summed(at: np.ndarray, covariance: np.ndarray, fit: _Fit, apart: int) -> Motion:
    """Motion across the strongest edges."""
    counted = fit.edges[:, 0] >= np.quantile(fit.edges[:, 0], _STRONGEST)
    slopes = fit.edges[counted, 1:].T.astype(float)
    across = slopes / np.maximum(np.linalg.norm(slopes, axis=0), 1e-12)
    mm = (fit.places[counted] - fit.middle).T * fit.spacing[:, None]
    moved = _changed_by(across, mm, fit.spacing)
    of_open = moved[fit.open]
    voxels = float(np.quantile(np.abs(at @ moved), 0.95))
    with np.errstate(invalid="ignore"):
        sd = float(np.sqrt(np.mean(np.einsum("pn,pq,qn->n", of_open, covariance, of_open))))
    return Motion(at[:3] * (apart, 1, 1), at[3:], voxels, sd if np.isfinite(sd) else np.inf)
