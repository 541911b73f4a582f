"""One click to a vertebral body: pose search, then an optimal star-shaped surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.placement.robust import MAD_TO_SD, robust_fit
from MarrowAssessLib.placement.star_surface import box_rays, optimal_surface, sample

RAY_COUNTS = np.array([14, 12, 10])  # cells along right, front, head: rays about 3 mm apart
RAYS = box_rays(tuple(RAY_COUNTS.tolist()))
STEP = 0.03  # between radii, relative to the template: 0.4 to 0.7 mm
RELATIVE_RADII = np.arange(0.1, 1.76, STEP)
LABELS = slice(13, 50)  # the radii a surface may take: 0.49 ... 1.57 of the template

# Pose search: slices beside the seed's (mm), and how much unlike signal inside the box costs.
SLABS_MM = np.array([-10.0, -5.0, 0.0, 5.0, 10.0])
SOFT_EDGE = 0.12  # change per mm, relative to marrow, that counts as half an edge
# Where the search looks, mm: far beyond any body (usual depth 21 to 46, height 13 to 38), so that
# the ends bind nothing; every second millimeter.
EVERY = 2
BACK_MM, BELOW_MM = 44, 40  # the farthest back wall and lower endplate from the seed
DEPTHS_MM, HEIGHTS_MM = (20, 48), (12, 42)
PATCH_MM, SLAB_MM = 101, 72  # side of the patch that is turned, half that of what it is cut from
TILTS_SEARCHED_DEG = np.arange(-64.0, 33.0, 8.0)  # a steep sacrum to a kyphotic thoracic spine
# What the rectangle's prior and its inside weigh beside the mean edges of its four sides, and how
# far signals beside the seed's slice may differ (SD of the logarithm) to be looked at as well.
PRIOR_WEIGHT, INSIDE_WEIGHT, SLABS_SD = 0.15, 3.0, 0.2
UNLIKE_SD, DARKEST = 0.4, 0.05  # of the logarithm of signal over marrow: fully unlike; clipped at
HALF_WIDTH_TO_DEPTH = 0.7  # until the sides are looked for
# The sides: columns from -40 to 40 mm, a width of 24 mm at least that holds the middle.
ACROSS_MM, LEAST_WIDTH_MM, BEYOND_MIDDLE_MM = 40, 24, 4
WIDTH_SD_MM = 6.0
USUAL_LIKENESS = 0.75  # of the likeness in the middle: what a column is worth when it is a body's
TILTS_WITHIN_SD = 3  # of what is expected: others are not searched
SEED_MM = 2  # round the seed: its signal is the marrow's level
# Where marrow is looked at to find the sides: share of the half depth and height, and places there;
# so near to the middle (mm) that it is marrow for sure; a change of signal beyond which no more
# counts; which part of what lies beside is the darkest and the brightest; round the endplates.
CORE_DEPTH, CORE_HEIGHT = (0.6, 7), (0.55, 5)
MIDDLE_MM, MOST_CHANGE, BESIDE_PERCENT, PLATE_MM = 3, 5, (10, 90), 4
LEAST_LEVEL = 0.3  # of the median: a plane through marrow falls no lower inside the body

# Surface: what an edge, a mm of marrow-like signal and a mm^2 of distance weigh against each
# other. Set by eye on real spines; half of REGION or PRIOR, or a third more of PRIOR or
# STIFFNESS, moved the benchmark's median Dice by at most 0.005.
EDGE, REGION, STIFFNESS, PRIOR = 2.0, 0.6, 0.5, 0.075
BELOW_FACE = 0.999  # of a ray's largest part: it meets the cube's face, not its edge
NEIGHBORS_APART = 3  # most labels between adjacent rays: 1.2 to 2 mm
SWEEPS_FIRST, SWEEPS = 8, 14  # of belief propagation; more move no label of the benchmark
# Marrow's level is a plane through the core of the current surface (not its very center, where the
# vein enters), every seventh sample of it; the plane may leave the middle's level so far.
CORE, VEIN, EVERY_CORE, LEVEL_ENDS = 0.85, 0.2, 7, (0.4, 2.5)
# How likely a signal is inside and outside: histograms of signal over marrow, up to three times it;
# what lies so many mm beyond the surface is outside; what the odds of one sample weigh at most; how
# far a histogram is smoothed (bins), and how much of it is left to signals that were not met.
LARGEST, BINS_PER_LEVEL, OUTSIDE_MM, ODDS_ENDS = 3, 20, (1.0, 7.0), (-2, 1.5)
BINS = LARGEST * BINS_PER_LEVEL + 1
HISTOGRAM_SD, HISTOGRAM_REACH, UNMET = 1.5, 4, 0.15
BEYOND_MM = (0.5, 6.0)  # beyond the surface: the signals that marrow falls or rises to
SIDE_RAYS = 0.99  # of the part to the right or left: a ray that meets a side
TEXTURE_SD = 1.5  # of marrow's own spread: a change within it is no edge
EDGE_WIDTHS_MM = (1.5, 3.0, 5.0)  # sharp in the slice, blurred across thick slices
FAINT = 0.25  # mean strength of a face's edges at which it moves half as far as they say
MOVED_MM = 6.0  # a pose that moves more when searched again is doubtful
ROUND_FRONT, SQUARE_BACK, HOLLOW = 1.7, 6.0, 0.05  # the template's shape, see `_template`
CORNERS = 8  # power: how sharp the template's edges are seen from the side
PLATE_TO_WAIST = 1.5  # hollow of an endplate over that of the waist, so that both keep the size
SURELY_INSIDE = 0.4  # of the least radius: the template is nowhere nearer to its center
CORTEX_MM = 1.0  # dark cortex and ligament, which blur may hide beside a brighter tissue
HALFWAY = 0.42  # exp(-(0.5 / 0.42)^2 / 2) is 1/2
TEXTURE = 0.15  # relative change of signal that marrow's own texture may reach
DRIFT, BESIDE_MM = 0.35, 22.0  # the same across a body; from where its sides have ended
# Moving the box to its surface: rays of a face's middle part (and of an endplate's for its tilt),
# a turn (rad) and half sizes (mm) beyond which no body is followed.
FACE_PART, PLATE_PART, MOST_TURN = 0.75, 0.9, 0.2
LEAST_HALF_MM, MOST_HALF_MM = (14, 10, 7), (32, 24, 20)
PAINTED_PERCENT = 97  # of a painted body's voxels: its half sizes, without single voxels
WIDTH_TO_DEPTH = 1.33  # approximate; a soft prior (lumbar about 1.2 to 1.5, thoracic about 1.1)


@dataclass
class Box:
    """A vertebral body's place: an oriented box.

    Attributes:
        center: RAS, mm.
        axes: rows are unit vectors to the patient's right, front and head, as the body is tilted.
        half: half sizes along them, mm.
    """

    center: np.ndarray
    axes: np.ndarray
    half: np.ndarray


def tilted_axes(sagittal_deg: float, coronal_deg: float = 0.0) -> np.ndarray:
    """Unit vectors right, front, head (rows) of a body whose head end is tilted to the back."""
    a, b = np.deg2rad([sagittal_deg, coronal_deg])
    pitch = np.array([[1, 0, 0], [0, np.cos(a), np.sin(a)], [0, -np.sin(a), np.cos(a)]])
    roll = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    return pitch @ roll


def tilt_deg(box: Box) -> float:
    """Tilt of a box's axis: positive where its head end lies to the back, as at T12."""
    head = box.axes[2]
    return float(np.rad2deg(np.arctan2(-head[1], head[2])))


@njit(cache=True)
def _integrals(slabs, weights, cosine, sine, size, soft):
    """Edges and unlikeness of sagittal patches turned by an angle, averaged, as running sums.

    Returns (edges along u summed over v, edges along v summed over u, edges summed over both,
    unlikeness to the level 1 summed over both).
    """
    half = size // 2
    limit = slabs.shape[1] - 2
    mid = slabs.shape[1] // 2
    turned = np.empty((size, size), np.float32)
    eu = np.zeros((size, size), np.float32)
    ev = np.zeros((size, size), np.float32)
    other = np.zeros((size, size), np.float32)
    for n in range(slabs.shape[0]):
        for a in range(size):
            for b in range(size):
                u, v = a - half, b - half
                y = min(max(mid + u * cosine - v * sine, 0.0), limit + 0.5)
                z = min(max(mid + u * sine + v * cosine, 0.0), limit + 0.5)
                iy, iz = int(y), int(z)
                fy, fz = y - iy, z - iz
                value = (slabs[n, iy, iz] * (1 - fz) + slabs[n, iy, iz + 1] * fz) * (1 - fy) + (
                    slabs[n, iy + 1, iz] * (1 - fz) + slabs[n, iy + 1, iz + 1] * fz
                ) * fy
                turned[a, b] = value
                ratio = np.log(max(value, DARKEST)) / UNLIKE_SD
                other[a, b] += weights[n] * min(1.0, ratio * ratio)
        for a in range(1, size - 1):
            for b in range(1, size - 1):
                gu = abs(turned[a + 1, b] - turned[a - 1, b]) * 0.5
                gv = abs(turned[a, b + 1] - turned[a, b - 1]) * 0.5
                eu[a, b] += weights[n] * gu / (gu + soft)
                ev[a, b] += weights[n] * gv / (gv + soft)
    su = np.zeros((size, size + 1), np.float32)  # su[a, b]: max over a +- 1, summed over b' < b
    sv = np.zeros((size + 1, size), np.float32)
    both = np.zeros((size + 1, size + 1), np.float32)
    unlike = np.zeros((size + 1, size + 1), np.float32)
    for a in range(1, size - 1):
        for b in range(size):
            su[a, b + 1] = su[a, b] + max(eu[a - 1, b], eu[a, b], eu[a + 1, b])
    for b in range(1, size - 1):
        for a in range(size):
            sv[a + 1, b] = sv[a, b] + max(ev[a, b - 1], ev[a, b], ev[a, b + 1])
    for a in range(size):
        row = 0.0
        far = 0.0
        for b in range(size):
            row += max(eu[a, b], ev[a, b])
            far += other[a, b]
            both[a + 1, b + 1] = both[a, b + 1] + row
            unlike[a + 1, b + 1] = unlike[a, b + 1] + far
    return su, sv, both, unlike


@njit(cache=True)
def _best_rectangle(
    slabs, weights, tilts, tilt_costs, size, soft, mean_ap, sd_ap, mean_si, sd_si, inner
):
    """Search tilt and rectangle round the patch's middle.

    Returns (score, the same without the prior, index of the tilt, u0, u1, v0, v1).
    """
    best = (np.float32(-1e9), np.float32(0), 0, 0, 0, 0, 0)
    half = size // 2
    for t in range(tilts.size):
        su, sv, both, unlike = _integrals(
            slabs, weights, np.cos(tilts[t]), np.sin(tilts[t]), size, soft
        )
        for u0 in range(half - BACK_MM, half - 1, EVERY):
            for u1 in range(
                max(u0 + DEPTHS_MM[0], half + 2), min(u0 + DEPTHS_MM[1], size - 2), EVERY
            ):
                ap = u1 - u0
                prior_u = tilt_costs[t] + 0.5 * ((ap - mean_ap) / sd_ap) ** 2
                for v0 in range(half - BELOW_MM, half - 1, EVERY):
                    for v1 in range(
                        max(v0 + HEIGHTS_MM[0], half + 2), min(v0 + HEIGHTS_MM[1], size - 2), EVERY
                    ):
                        si = v1 - v0
                        back = (su[u0, v1 - 1] - su[u0, v0 + 2]) / (si - 3)
                        front = (su[u1, v1 - 1] - su[u1, v0 + 2]) / (si - 3)
                        low = (sv[u1 - 1, v0] - sv[u0 + 2, v0]) / (ap - 3)
                        high = (sv[u1 - 1, v1] - sv[u0 + 2, v1]) / (ap - 3)
                        a, b, c, d = u0 + 3, u1 - 2, v0 + 3, v1 - 2
                        inside = both[b, d] - both[a, d] - both[b, c] + both[a, c]
                        apart = unlike[b, d] - unlike[a, d] - unlike[b, c] + unlike[a, c]
                        inside = (inside + apart) / ((b - a) * (d - c))
                        prior = prior_u + 0.5 * ((si - mean_si) / sd_si) ** 2
                        found = low + high + back + front - inner * inside
                        score = found - PRIOR_WEIGHT * prior
                        if score > best[0]:
                            best = (
                                np.float32(score),
                                np.float32(found),
                                t,
                                u0 - half,
                                u1 - half,
                                v0 - half,
                                v1 - half,
                            )
    return best


@dataclass(frozen=True)
class BodyPrior:
    """What is expected of a body before looking: mean and spread.

    The defaults are approximate sizes of adults from T10 to S1, with room for others: soft priors.
    (Anatomy to the millimeter: thoracic Panjabi et al. 1991, doi
    10.1097/00007632-199108000-00006; from one height, Kunkel et al. 2010, doi
    10.1111/j.1469-7580.2009.01187.x.)

    Attributes:
        tilt_deg: of the body's axis, see `tilt_deg`, and its spread.
        depth_mm: front to back.
        height_mm: lower to upper endplate.
    """

    tilt_deg: tuple[float, float] = (0.0, 30.0)
    depth_mm: tuple[float, float] = (33.0, 5.0)
    height_mm: tuple[float, float] = (26.0, 5.0)


LUMBAR = BodyPrior(depth_mm=(33.0, 4.0), height_mm=(27.0, 3.5))
THORACIC = BodyPrior(depth_mm=(29.0, 4.5), height_mm=(23.0, 4.0))
SACRAL = BodyPrior(tilt_deg=(-40.0, 15.0))


def usual_body(level: str) -> BodyPrior:
    """What is usual for a vertebra of known level; see `BodyPrior`."""
    if level.startswith("L") and "-" not in level:
        return LUMBAR
    if level.startswith("T") and "-" not in level:
        return THORACIC
    if level == "S1":
        return SACRAL
    return BodyPrior()


def scaled(prior: BodyPrior, factor: float) -> BodyPrior:
    """The same expectation for a body of another size."""
    depth, height = ((factor * a, factor * b) for a, b in (prior.depth_mm, prior.height_mm))
    return BodyPrior(prior.tilt_deg, depth, height)


def sagittal_box(
    volume: Volume, seed_ras: np.ndarray, prior: BodyPrior | None = None
) -> tuple[Box, float, float]:
    """The best box round a seed in the sagittal slices near it, its score, and that without prior.

    The width is anatomy's guess (1.4 times the depth).
    """
    prior = prior or BodyPrior()
    to_ijk = np.linalg.inv(volume.ijk_to_ras)
    extent = SLAB_MM
    grid = np.arange(-extent, extent + 1.0)
    y, z = np.meshgrid(grid, grid, indexing="ij")
    slabs = []
    for x in SLABS_MM:
        points = seed_ras + np.c_[np.full(y.size, x), y.ravel(), z.ravel()]
        values = sample(volume.array, points @ to_ijk[:3, :3].T + to_ijk[:3, 3])
        slabs.append(np.nan_to_num(values).reshape(y.shape))
    slabs = np.array(slabs)
    seed = slice(extent - SEED_MM, extent + SEED_MM + 1)
    near = np.median(slabs[:, seed, seed], axis=(1, 2))
    level = max(near[len(SLABS_MM) // 2], 1e-6)
    slabs /= level
    weights = np.exp(-(np.log(np.maximum(near / level, DARKEST)) ** 2) / (2 * SLABS_SD**2))
    weights[len(SLABS_MM) // 2] = 1.0  # the seed's own, even where there is no signal
    weights = (weights / weights.sum()).astype(np.float32)
    tilts = TILTS_SEARCHED_DEG
    expected, spread = prior.tilt_deg
    tilts = tilts[
        np.abs(tilts - np.clip(expected, tilts[0], tilts[-1])) <= TILTS_WITHIN_SD * spread
    ]
    costs = 0.5 * ((tilts - expected) / spread) ** 2
    score, evidence, t, u0, u1, v0, v1 = _best_rectangle(
        slabs, weights, np.deg2rad(tilts), costs.astype(np.float32), PATCH_MM, SOFT_EDGE,
        *prior.depth_mm, *prior.height_mm, INSIDE_WEIGHT,
    )  # fmt: skip
    axes = tilted_axes(tilts[t])
    middle = np.array([0.0, (u0 + u1) / 2, (v0 + v1) / 2])
    half = np.array([HALF_WIDTH_TO_DEPTH * (u1 - u0), (u1 - u0) / 2, (v1 - v0) / 2])
    return Box(seed_ras + middle @ axes, axes, half), float(score), float(evidence)


def widen(volume: Volume, box: Box) -> Box:
    """Find the body's left and right end for a box found in one sagittal slice."""
    to_ijk = np.linalg.inv(volume.ijk_to_ras)
    across = np.arange(-ACROSS_MM, ACROSS_MM + 1.0)
    front = _spread(*CORE_DEPTH) * box.half[1]
    up = _spread(*CORE_HEIGHT) * box.half[2]
    inside = _sample_grid(volume, to_ijk, box, across, front, up)  # (x, y, z)
    near = np.abs(across) <= MIDDLE_MM
    marrow = _linear_level(inside, across, front, up, near)
    # Marrow may drift across the body (a dark core), up to half of the way to what lies beside it.
    change = np.clip(inside / marrow - 1, -1, MOST_CHANGE)
    beside = change[np.abs(across) >= BESIDE_MM]
    lowest, highest = (
        np.nanpercentile(beside, BESIDE_PERCENT) if np.isfinite(beside).any() else (0, 0)
    )
    fallen = _gone(np.minimum(change, 0), -lowest, DRIFT)
    risen = _gone(np.maximum(change, 0), highest, DRIFT)
    likeness = _seen_mean(1 - np.fmax(fallen, risen), (1, 2))
    edges = []
    for side in (-1, 1):
        steps = side * box.half[2] + np.arange(-PLATE_MM, PLATE_MM + 1.0)
        plate = _sample_grid(volume, to_ijk, box, across, front, steps) / marrow.mean()
        slope = np.abs(plate[:, :, 2:] - plate[:, :, :-2]) / 2
        edges.append(_seen_mean((slope / (slope + SOFT_EDGE)).max(axis=2), 1))
    evidence = likeness * (edges[0] + edges[1]) / 2
    evidence -= USUAL_LIKENESS * np.median(evidence[near])
    total = np.concatenate([[0.0], np.cumsum(evidence)])
    expected = WIDTH_TO_DEPTH * 2 * box.half[1]
    best = (-np.inf, 0, 0)
    for a in range(0, ACROSS_MM - BEYOND_MIDDLE_MM + 1):
        for b in range(max(ACROSS_MM + BEYOND_MIDDLE_MM, a + LEAST_WIDTH_MM), across.size):
            score = total[b + 1] - total[a] - 0.5 * ((b - a - expected) / WIDTH_SD_MM) ** 2
            best = max(best, (score, a, b))
    left, right = across[best[1]], across[best[2]]
    middle = np.array([(left + right) / 2, 0, 0]) @ box.axes
    half = np.array([(right - left) / 2, box.half[1], box.half[2]])
    return Box(box.center + middle, box.axes, half)


def _spread(end: float, count: int) -> np.ndarray:
    return np.linspace(-end, end, count)


def _seen_mean(values: np.ndarray, axis: int | tuple[int, int]) -> np.ndarray:
    """Mean of the finite values; 0 where there is none."""
    seen = np.isfinite(values)
    return np.where(seen, values, 0.0).sum(axis=axis) / np.maximum(seen.sum(axis=axis), 1)


def _sample_grid(volume, to_ijk, box, across, front, up):
    grid = np.stack(np.meshgrid(across, front, up, indexing="ij"), -1)
    points = box.center + grid.reshape(-1, 3) @ box.axes
    return sample(volume.array, points @ to_ijk[:3, :3].T + to_ijk[:3, 3]).reshape(grid.shape[:3])


def _linear_level(inside, across, front, up, near):
    """Marrow's level as a plane in (front, up), from the columns `near`; constant across."""
    y, z = np.meshgrid(front, up, indexing="ij")
    design = np.c_[np.ones(y.size), y.ravel(), z.ravel()]
    columns = inside[near].reshape(-1, y.size)
    seen = np.isfinite(columns).any(axis=0)
    if not seen.any():
        return np.ones((1, *y.shape))  # outside the image
    values = np.nanmedian(columns[:, seen], axis=0)
    fit = robust_fit(design[seen], values)
    return np.maximum(
        (design @ fit).reshape(1, *y.shape), LEAST_LEVEL * np.abs(np.nanmedian(values)) + 1e-9
    )


@njit(cache=True)
def _template(x, y, z):
    """How far the template's surface lies from the center, relative to the cube's, at (x, y, z).

    Seen from above a vertebral body is round in front and square behind; seen from the side it has
    a waist and hollow endplates. The hollows are about 1 mm of a usual body (endplates: Wang et
    al. 2012, doi 10.1007/s00586-012-2415-8). Front and back were fitted to labeled bodies; T1, T2,
    STIR and gradient echo, each apart, gave 1.6 to 1.7 and 6 to 8.
    """
    power = ROUND_FRONT if y > 0 else SQUARE_BACK
    around = (abs(x) ** power + abs(y) ** power) ** (CORNERS / power)
    radius = (around + z**CORNERS) ** (-1 / CORNERS)
    # Each hollow has a mean of about 1 over its face, so that the box keeps the body's size.
    waist = max(1 - z * z, 0.0)
    radius *= 1 - HOLLOW * (waist - 2 / 3)
    return radius * (1 - PLATE_TO_WAIST * HOLLOW * max(1 - x * x - y * y, 0.0))


@njit(cache=True)
def _template_all(directions):
    out = np.empty(len(directions))
    for n in range(len(directions)):
        out[n] = _template(directions[n, 0], directions[n, 1], directions[n, 2])
    return out


def template_radii(directions: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Rays of the template: from the center to the surface of a vertebra's body, (n, 3) mm."""
    return directions * half * _template_all(np.ascontiguousarray(directions))[:, None]


@dataclass
class Surface:
    """A star-shaped surface round a box's center.

    Attributes:
        box: center, axes and template size.
        radii: (rays,) relative to the template.
        support: (rays,) strength of the edge met, 0 ... 1; NaN outside the volume.
    """

    box: Box
    radii: np.ndarray
    support: np.ndarray

    def contains(self, points_ras: np.ndarray) -> np.ndarray:
        """Whether RAS points, shape (n, 3), lie inside."""
        to_box = self.box.axes / self.box.half[:, None]
        lattice = np.zeros(RAY_COUNTS + 1, np.float32)
        lattice[tuple(_LATTICE.T)] = self.radii
        points = np.ascontiguousarray(points_ras, dtype=float)
        sure, most = SURELY_INSIDE * self.radii.min(), self.radii.max()  # whatever the direction
        return _inside(points, self.box.center, to_box, lattice, sure, most)


_LATTICE = np.rint((RAYS.directions + 1) / 2 * RAY_COUNTS).astype(int)


@njit(cache=True)
def _inside(points, center, to_box, lattice, sure, most):
    """Whether points lie inside radii given on the lattice of a cube's surface."""
    counts = np.array(lattice.shape) - 1
    out = np.zeros(points.shape[0], np.bool_)
    unit = np.empty(3)
    low = np.empty(3, np.int64)
    part = np.empty(3)
    for n in range(points.shape[0]):
        reach = 1e-9
        for a in range(3):
            unit[a] = 0.0
            for b in range(3):
                unit[a] += to_box[a, b] * (points[n, b] - center[b])
            reach = max(reach, abs(unit[a]))
        if reach > most:
            continue
        if reach < sure:
            out[n] = True
            continue
        for a in range(3):
            unit[a] /= reach
            where = min(max((unit[a] + 1) / 2 * counts[a], 0.0), float(counts[a]))
            low[a] = min(int(where), counts[a] - 1)
            part[a] = where - low[a]
        radius = 0.0  # the lattice's inner nodes never weigh: the point lies on the surface
        for corner in range(8):
            weight = 1.0
            i, j, k = corner & 1, corner >> 1 & 1, corner >> 2
            weight *= part[0] if i else 1 - part[0]
            weight *= part[1] if j else 1 - part[1]
            weight *= part[2] if k else 1 - part[2]
            radius += weight * lattice[low[0] + i, low[1] + j, low[2] + k]
        out[n] = reach <= radius * _template(unit[0], unit[1], unit[2])
    return out


def refine(volume: Volume, box: Box, rounds: int = 2) -> Surface:
    """Fit the optimal star-shaped surface, moving and resizing the box with it."""
    to_ijk = np.linalg.inv(volume.ijk_to_ras)
    radii = np.ones(len(RAYS.directions))
    for turn in range(rounds):
        last = turn + 1 == rounds
        rays = template_radii(RAYS.directions, box.half)
        local = rays[:, None, :] * RELATIVE_RADII[None, :, None]
        points = (box.center + local.reshape(-1, 3) @ box.axes) @ to_ijk[:3, :3].T + to_ijk[:3, 3]
        values = sample(volume.array, points).reshape(local.shape[:2])
        depth = face_distance(rays)
        unary, support = ray_costs(values, local, depth, radii)
        labels = optimal_surface(
            np.ascontiguousarray(unary[:, LABELS]),
            RAYS.neighbors,
            depth * STEP,
            STIFFNESS,
            NEIGHBORS_APART,
            SWEEPS if last else SWEEPS_FIRST,
        )
        radii = RELATIVE_RADII[LABELS][labels]
        met = (labels + LABELS.start)[:, None]
        chosen = np.take_along_axis(support, met, 1)[:, 0]
        chosen[~np.isfinite(np.take_along_axis(values, met, 1)[:, 0])] = np.nan
        if not last:
            box, radii = _rebox(box, rays, radii, np.nan_to_num(chosen))
    return Surface(box, radii, chosen)


def face_distance(rays: np.ndarray) -> np.ndarray:
    """Distance of a template's rays' ends from its center, each along its face's normal, mm."""
    return (np.abs(rays) * (np.abs(RAYS.directions) > BELOW_FACE)).max(axis=1)


def ray_costs(values, local, depth, radii, prior=None):
    """Cost of ending each ray at each radius, and the strength of the edge there.

    Args:
        values: (rays, radii) signal.
        local: (rays, radii, 3) positions in the box's axes, mm.
        depth: (rays,) template's distance from the center along its face's normal, mm.
        radii: (rays,) the current surface, relative to the template.
        prior: weight of the distance from the current surface; None: of that from the template.
    """
    t = RELATIVE_RADII
    volume_weight = (t[None, :] ** 2) * np.linalg.norm(local[:, -1], axis=1)[:, None] ** 3
    core = t[None, :] < CORE * radii[:, None]
    core &= t[None, :] > VEIN
    flat = local[core]
    design = np.c_[np.ones(len(flat)), flat]
    pick = slice(None, None, EVERY_CORE)
    fit = robust_fit(design[pick], values[core][pick])
    middle = max(float(fit[0]), 1e-6)
    marrow = np.clip(middle + local @ fit[1:], *(middle * end for end in LEVEL_ENDS))
    g = np.clip(values / marrow, 0, LARGEST)
    seen = np.isfinite(g)
    bins = np.where(seen, g * BINS_PER_LEVEL, 0).astype(int)
    mm = depth[:, None] * (t[None, :] - radii[:, None])
    inside = seen & core
    outside = seen & (mm > OUTSIDE_MM[0]) & (mm < OUTSIDE_MM[1])
    p_in = _density(bins[inside], volume_weight[inside])
    p_out = _density(bins[outside], volume_weight[outside])
    odds = np.clip(np.log(p_in / p_out), *ODDS_ENDS)
    odds = np.where(seen, odds[bins], 0.0)
    gain = np.cumsum(odds * depth[:, None] * STEP, axis=1)
    # Not at the sides: slices of 3 to 5 mm blur them more than cortex is thick.
    cortex = np.where(np.abs(RAYS.directions[:, 0]) < SIDE_RAYS, CORTEX_MM, 0.0) / (STEP * depth)
    beyond = (mm > BEYOND_MM[0]) & (mm < BEYOND_MM[1])
    departed = _departed(g, seen, inside, beyond, cortex)
    support = np.zeros_like(g)
    for width_mm in EDGE_WIDTHS_MM:
        support += _rise(departed, depth, width_mm) / len(EDGE_WIDTHS_MM)
    cost = -REGION * gain - EDGE * support
    if prior is None:
        cost += PRIOR * (depth[:, None] * (t[None, :] - 1)) ** 2
    else:
        cost += prior * (depth[:, None] * (t[None, :] - radii[:, None])) ** 2
    return cost.astype(np.float32), support


def _departed(g, seen, inside, beyond, cortex):
    """How far signals have left the marrow's level, 0 ... 1: about 1/2 halfway to what lies beyond.

    Falling and rising are measured apart, each by the lowest and highest signal that its ray meets
    beyond the surface, and never finer than marrow's own texture. Between marrow and a brighter
    tissue lie dark cortex and ligament, which blur may hide: marrow ends `cortex` radii (one per
    ray) before the signal rises.
    """
    spread = MAD_TO_SD * np.median(np.abs(g[inside] - 1)) if inside.any() else 0.0
    texture = max(TEXTURE_SD * spread, TEXTURE)
    there = seen & beyond
    highest = np.where(there, g, 1.0).max(axis=1, keepdims=True)
    lowest = np.where(there, g, 1.0).min(axis=1, keepdims=True)
    fall = _gone(np.minimum(g - 1, 0), 1 - lowest, texture)
    rise = _gone(np.maximum(g - 1, 0), highest - 1, texture)
    return np.fmax(fall, _earlier(rise, cortex))


def _gone(change, reach, texture):
    """0 ... 1 for a change of signal, 1/2 at half its reach."""
    return 1 - np.exp(-(change**2) / (2 * np.maximum(texture, HALFWAY * reach) ** 2))


def _earlier(profiles, shift):
    """Each row moved toward its start by so many (fractional) places."""
    last = profiles.shape[1] - 1
    place = np.minimum(np.arange(last + 1) + shift[:, None], last)
    low = np.minimum(place.astype(int), last - 1)
    before = np.take_along_axis(profiles, low, 1)
    after = np.take_along_axis(profiles, low + 1, 1)
    return before + (place - low) * (after - before)


@njit(cache=True)
def _rise(departed, depth, width_mm):
    """How much each profile departs from marrow over a width; 0 where it is not seen.

    Thin dark cortex and ligament before bright CSF, disc or fat is where marrow ends: past it the
    signal has departed already, so that the second, often stronger edge does not count.
    """
    rays, count = departed.shape
    out = np.zeros((rays, count), np.float32)
    for n in range(rays):
        half = width_mm / (2 * STEP * depth[n])
        for m in range(count):
            low, high = m - half, m + half
            if low < 0 or high > count - 1:
                continue
            a, b = int(low), int(high)
            b1 = min(b + 1, count - 1)
            before = departed[n, a] * (1 - low + a) + departed[n, a + 1] * (low - a)
            after = departed[n, b] * (1 - high + b) + departed[n, b1] * (high - b)
            if after > before:
                out[n, m] = after - before
    return out


def _density(bins, weights):
    """Smoothed histogram with a floor, so that no signal is impossible."""
    histogram = np.bincount(bins, weights, minlength=BINS)[:BINS]
    places = np.arange(-HISTOGRAM_REACH, HISTOGRAM_REACH + 1)
    kernel = np.exp(-(places**2) / (2 * HISTOGRAM_SD**2))
    smooth = np.convolve(histogram, kernel / kernel.sum(), mode="same")
    return (1 - UNMET) * smooth / max(smooth.sum(), 1e-12) + UNMET / BINS


def _rebox(box, rays, radii, support):
    """Move, resize and tilt the box to its surface's faces, each as far as its edges are seen."""
    d = RAYS.directions
    surface = rays * radii[:, None]
    center, half = np.zeros(3), np.zeros(3)
    for axis in range(3):
        flat = np.abs(np.delete(d, axis, 1)).max(axis=1) < FACE_PART
        low, high = (
            1 + _shift(radii[face] - 1, support[face])
            for face in (flat & (d[:, axis] < -SIDE_RAYS), flat & (d[:, axis] > SIDE_RAYS))
        )
        center[axis] = box.half[axis] * (high - low) / 2
        half[axis] = box.half[axis] * (high + low) / 2
    slopes = []
    for side in (-1, 1):
        plate = (d[:, 2] * side > SIDE_RAYS) & (np.abs(d[:, :2]).max(axis=1) < PLATE_PART)
        design = np.c_[np.ones(plate.sum()), surface[plate, :2]]
        slopes.append(robust_fit(design, surface[plate, 2])[1:])
    across, along = np.mean(slopes, axis=0)
    turned = tilted_axes(
        np.rad2deg(np.clip(np.arctan(along), -MOST_TURN, MOST_TURN)),
        -np.rad2deg(np.clip(np.arctan(across), -MOST_TURN, MOST_TURN)),
    )
    half = np.clip(half, LEAST_HALF_MM, MOST_HALF_MM)
    new = Box(box.center + center @ box.axes, turned @ box.axes, half)
    return new, np.ones(len(d))


def _shift(moves, support):
    """Median move of a face's rays, drawn to none the fainter their edges are."""
    seen = float(support.mean())
    return np.median(moves) * seen / (seen + FAINT)


def fit_body(
    volume: Volume, point_ras: np.ndarray, prior: BodyPrior | None = None
) -> tuple[Surface, float, float]:
    """Fit a vertebral body round a point.

    Returns:
        The surface, the pose search's evidence for a box, and how far the
        box moved, in mm, when the search was repeated from its own center.
    """
    first, first_score, first_evidence = sagittal_box(volume, point_ras, prior)
    first = widen(volume, first)
    box, score, evidence = sagittal_box(volume, first.center, prior)
    box = widen(volume, box)
    # The width is the least certain: only a move in the sagittal plane tells of a doubtful pose.
    moved = float(np.linalg.norm((box.axes @ (box.center - first.center))[1:]))
    if moved > MOVED_MM and first_score > score:
        box, evidence = first, first_evidence
    return refine(volume, box), evidence, moved


def template_points(surface: Surface) -> np.ndarray:
    """The surface's points in its box's axes (right, front, head), mm from the box's center."""
    return template_radii(RAYS.directions, surface.box.half) * surface.radii[:, None]


def voxelize(volume: Volume, surface: Surface) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Voxels whose center lies inside a surface: the mask and its (k, j, i) offset."""
    outline = surface.box.center + template_points(surface) @ surface.box.axes
    offset, places = voxels_holding(volume, outline)
    return surface.contains(places.reshape(-1, 3)).reshape(places.shape[:3]), offset


def voxels_holding(
    volume: Volume, points_ras: np.ndarray, spare: int = 0
) -> tuple[tuple[int, int, int], np.ndarray]:
    """The smallest part of a grid that holds points, shape (n, 3) in mm, and spare voxels round it.

    Returns:
        The part's offset (k, j, i), and where its voxels lie, shape (K, J, I, 3), RAS in mm.
    """
    ijk = volume.ras_to_ijk(points_ras)
    size = np.array(volume.array.shape[::-1])
    low = np.clip(np.floor(ijk.min(axis=0)) - spare, 0, size).astype(int)[::-1]
    high = np.clip(np.ceil(ijk.max(axis=0)) + 1 + spare, 0, size).astype(int)[::-1]
    ranges = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
    k, j, i = np.meshgrid(*ranges, indexing="ij")
    return tuple(int(n) for n in low), volume.to_ras(np.stack([i, j, k], -1))


def corners(middle: np.ndarray, axes: np.ndarray, reach_mm: np.ndarray) -> np.ndarray:
    """The corners of a tilted box, (8, 3) RAS in mm, from its middle and half sides along axes."""
    return middle + (np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T * reach_mm) @ axes


def surface_of_mask(
    volume: Volume, mask: np.ndarray, offset: tuple[int, int, int], axes: np.ndarray
) -> Surface:
    """The star-shaped surface of a painted body, with given axes (rows right, front, head).

    Args:
        volume: the image's grid.
        mask: boolean [k, j, i], a crop of the grid that starts at `offset` (k, j, i).
        offset: see `mask`.
        axes: of a neighbor or of the body that was there before.
    """
    voxels = volume.to_ras(np.argwhere(mask)[:, ::-1] + np.array(offset)[::-1])
    center = voxels.mean(axis=0)
    half = np.maximum(
        np.percentile(np.abs((voxels - center) @ axes.T), PAINTED_PERCENT, axis=0), 1.0
    )
    box = Box(center, axes, half)
    rays = template_radii(RAYS.directions, half)
    local = rays[:, None, :] * RELATIVE_RADII[None, :, None]
    points = center + local.reshape(-1, 3) @ axes
    padded = np.pad(mask, 1).astype(np.float32)
    ijk = volume.ras_to_ijk(points) - np.array(offset)[::-1] + 1
    share = np.nan_to_num(sample(padded, ijk)).reshape(local.shape[:2])
    last = np.clip((share > 0.5).sum(axis=1, keepdims=True) - 1, 0, len(RELATIVE_RADII) - 2)
    here, next_ = (np.take_along_axis(share, last + n, 1)[:, 0] for n in (0, 1))
    between = np.where(here > next_, (here - 0.5) / np.maximum(here - next_, 1e-6), 0.5)
    radii = RELATIVE_RADII[0] + STEP * (last[:, 0] + np.clip(between, 0.0, 1.0))
    return Surface(box, np.maximum(radii, RELATIVE_RADII[0]), np.ones(len(radii)))
