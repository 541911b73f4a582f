"""One click to a vertebral body: pose search, then an optimal star-shaped surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from PDFFMapperLib.volume import Volume
from scipy import ndimage

from MarrowAssessLib.star_surface import box_rays, optimal_surface, sample

RAY_COUNTS = np.array([14, 12, 10])  # cells along right, front, head: rays about 3 mm apart
RAYS = box_rays(tuple(RAY_COUNTS.tolist()))
STEP = 0.03  # between radii, relative to the template: 0.4 to 0.7 mm
RELATIVE_RADII = np.arange(0.1, 1.76, STEP)
LABELS = slice(13, 50)  # the radii a surface may take: 0.49 ... 1.57 of the template

# Pose search: slices beside the seed's (mm), and how much unlike signal inside the box costs.
SLABS_MM = np.array([-10.0, -5.0, 0.0, 5.0, 10.0])
SOFT_EDGE = 0.12  # change per mm, relative to marrow, that counts as half an edge

# Surface: what an edge, a mm of marrow-like signal and a mm^2 of distance weigh against each
# other. Set by eye on real spines; doubling PRIOR or adding half to EDGE moved the median Dice
# of the benchmark by less than 0.005.
EDGE, REGION, STIFFNESS, PRIOR = 2.0, 0.6, 0.35, 0.055
EDGE_WIDTHS_MM = (1.5, 3.0, 5.0)  # sharp in the slice, blurred across thick slices
MOVED_MM = 6.0  # a pose that moves more when searched again is doubtful
CORTEX_MM = 0.8  # cortical shell and bony endplate: 0.4 to 1 mm in anatomical studies


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
    """Unit vectors right, front, head (rows) of a body tilted forward by an angle."""
    a, b = np.deg2rad([sagittal_deg, coronal_deg])
    pitch = np.array([[1, 0, 0], [0, np.cos(a), np.sin(a)], [0, -np.sin(a), np.cos(a)]])
    roll = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    return pitch @ roll


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
                ratio = np.log(max(value, 0.05)) / 0.4
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
        for u0 in range(half - 44, half - 1, 2):
            for u1 in range(max(u0 + 20, half + 2), min(u0 + 48, size - 2), 2):
                ap = u1 - u0
                prior_u = tilt_costs[t] + 0.5 * ((ap - mean_ap) / sd_ap) ** 2
                for v0 in range(half - 40, half - 1, 2):
                    for v1 in range(max(v0 + 12, half + 2), min(v0 + 42, size - 2), 2):
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
                        score = found - 0.15 * prior
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

    The defaults cover T10 to S1 of adults (depth 28-36 mm, height 21-29 mm; Panjabi et al. 1992,
    Gilad and Nissan 1986) with room for others.

    Attributes:
        tilt_deg: forward tilt of the body's axis and its spread.
        depth_mm: front to back.
        height_mm: lower to upper endplate.
    """

    tilt_deg: tuple[float, float] = (0.0, 30.0)
    depth_mm: tuple[float, float] = (33.0, 5.0)
    height_mm: tuple[float, float] = (26.0, 5.0)


def usual_body(level: str) -> BodyPrior:
    """What is usual for a vertebra of known level; see `BodyPrior`."""
    if level.startswith("L") and "-" not in level:
        return BodyPrior(depth_mm=(33.0, 4.0), height_mm=(27.0, 3.5))
    if level.startswith("T") and "-" not in level:
        return BodyPrior(depth_mm=(29.0, 4.5), height_mm=(23.0, 4.0))
    return BodyPrior()


def sagittal_box(
    volume: Volume, seed_ras: np.ndarray, prior: BodyPrior | None = None
) -> tuple[Box, float, float]:
    """The best box round a seed in the sagittal slices near it, its score, and that without prior.

    The width is anatomy's guess (1.4 times the depth).
    """
    prior = prior or BodyPrior()
    to_ijk = np.linalg.inv(volume.ijk_to_ras)
    extent = 72
    grid = np.arange(-extent, extent + 1.0)
    y, z = np.meshgrid(grid, grid, indexing="ij")
    slabs = []
    for x in SLABS_MM:
        points = seed_ras + np.c_[np.full(y.size, x), y.ravel(), z.ravel()]
        values = sample(volume.array, points @ to_ijk[:3, :3].T + to_ijk[:3, 3])
        slabs.append(np.nan_to_num(values).reshape(y.shape))
    slabs = np.array(slabs)
    near = np.median(slabs[:, extent - 2 : extent + 3, extent - 2 : extent + 3], axis=(1, 2))
    level = max(near[len(SLABS_MM) // 2], 1e-6)
    slabs /= level
    weights = np.exp(-(np.log(np.maximum(near / level, 0.05)) ** 2) / (2 * 0.2**2))
    weights = (weights / weights.sum()).astype(np.float32)
    tilts = np.arange(-56.0, 57.0, 8.0)
    costs = 0.5 * ((tilts - prior.tilt_deg[0]) / prior.tilt_deg[1]) ** 2
    score, evidence, t, u0, u1, v0, v1 = _best_rectangle(
        slabs, weights, np.deg2rad(tilts), costs.astype(np.float32), 101, SOFT_EDGE,
        *prior.depth_mm, *prior.height_mm, 3.0,
    )  # fmt: skip
    axes = tilted_axes(tilts[t])
    middle = np.array([0.0, (u0 + u1) / 2, (v0 + v1) / 2])
    half = np.array([0.7 * (u1 - u0), (u1 - u0) / 2, (v1 - v0) / 2])
    return Box(seed_ras + middle @ axes, axes, half), float(score), float(evidence)


def widen(volume: Volume, box: Box) -> Box:
    """Find the body's left and right end for a box found in one sagittal slice."""
    to_ijk = np.linalg.inv(volume.ijk_to_ras)
    across = np.arange(-40.0, 41.0)
    front = np.linspace(-0.6, 0.6, 7) * box.half[1]
    up = np.linspace(-0.55, 0.55, 5) * box.half[2]
    inside = _sample_grid(volume, to_ijk, box, across, front, up)  # (x, y, z)
    near = np.abs(across) <= 3
    marrow = _linear_level(inside, across, front, up, near)
    likeness = _seen_mean(np.exp(-((inside / marrow - 1) ** 2) / (2 * 0.35**2)), (1, 2))
    edges = []
    for side in (-1, 1):
        steps = side * box.half[2] + np.arange(-4.0, 4.1)
        plate = _sample_grid(volume, to_ijk, box, across, front, steps) / marrow.mean()
        slope = np.abs(plate[:, :, 2:] - plate[:, :, :-2]) / 2
        edges.append(_seen_mean((slope / (slope + 0.12)).max(axis=2), 1))
    evidence = likeness * (edges[0] + edges[1]) / 2
    evidence -= 0.75 * np.median(evidence[near])
    total = np.concatenate([[0.0], np.cumsum(evidence)])
    expected = 1.4 * 2 * box.half[1]
    best = (-np.inf, 0, 0)
    for a in range(0, 37):
        for b in range(max(44, a + 24), 81):
            score = total[b + 1] - total[a] - 0.5 * ((b - a - expected) / 6.0) ** 2
            best = max(best, (score, a, b))
    left, right = across[best[1]], across[best[2]]
    middle = np.array([(left + right) / 2, 0, 0]) @ box.axes
    half = np.array([(right - left) / 2, box.half[1], box.half[2]])
    return Box(box.center + middle, box.axes, half)


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
    values = np.nanmedian(inside[near], axis=0).ravel()
    fit = _robust_fit(design, values)
    return np.maximum(
        (design @ fit).reshape(1, *y.shape), 0.3 * np.abs(np.nanmedian(values)) + 1e-9
    )


def _robust_fit(design: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Least squares with Tukey's biweight, four rounds."""
    good = np.isfinite(values)
    design, values = design[good], values[good]
    weight = np.ones(values.size)
    for _ in range(4):
        fit = np.linalg.lstsq(design * weight[:, None], values * weight, rcond=None)[0]
        residual = np.abs(values - design @ fit)
        scale = 4.7 * max(1.48 * np.median(residual), 0.02 * abs(np.median(values)), 1e-12)
        weight = np.clip(1 - (residual / scale) ** 2, 0, 1)
    return fit


def template_radii(directions: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Rays of the template: from the center to the surface of a rounded box, (n, 3) mm.

    Seen from above the rounded box is a superellipse (exponent 3), from the side a box (8).
    """
    x, y, z = np.abs(directions).T
    around = (x**3 + y**3) ** (8 / 3)
    return directions * half * (around + z**8)[:, None] ** (-1 / 8)


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
        unit = (points_ras - self.box.center) @ self.box.axes.T / self.box.half
        reach = np.abs(unit).max(axis=1)
        cube = np.clip(unit / np.maximum(reach, 1e-9)[:, None], -1, 1)
        lattice = np.zeros([c + 1 for c in RAY_COUNTS])
        index = np.rint((RAYS.directions + 1) / 2 * RAY_COUNTS).astype(int)
        lattice[tuple(index.T)] = self.radii
        where = (cube + 1) / 2 * RAY_COUNTS
        # The lattice's inner nodes never weigh: the points lie on the cube's surface.
        radius = ndimage.map_coordinates(lattice, where.T, order=1)
        return (
            reach
            <= np.linalg.norm(template_radii(cube, self.box.half), axis=1)
            / np.maximum(np.linalg.norm(cube * self.box.half, axis=1), 1e-9)
            * radius
        )


def refine(volume: Volume, box: Box, rounds: int = 3) -> Surface:
    """Fit the optimal star-shaped surface, moving and resizing the box with it."""
    to_ijk = np.linalg.inv(volume.ijk_to_ras)
    radii = np.ones(len(RAYS.directions))
    for turn in range(rounds):
        last = turn + 1 == rounds
        rays = template_radii(RAYS.directions, box.half)
        local = rays[:, None, :] * RELATIVE_RADII[None, :, None]
        points = (box.center + local.reshape(-1, 3) @ box.axes) @ to_ijk[:3, :3].T + to_ijk[:3, 3]
        values = sample(volume.array, points).reshape(local.shape[:2])
        # The template's distance from the center along the normal of the ray's face.
        depth = (np.abs(rays) * (np.abs(RAYS.directions) > 0.999)).max(axis=1)
        unary, support = _unary(values, local, depth, radii)
        labels = optimal_surface(
            unary[:, LABELS],
            RAYS.neighbors,
            depth * STEP,
            STIFFNESS,
            3,
            14 if last else 8,
        )
        radii = RELATIVE_RADII[LABELS][labels]
        met = (labels + LABELS.start)[:, None]
        chosen = np.take_along_axis(support, met, 1)[:, 0]
        chosen[~np.isfinite(np.take_along_axis(values, met, 1)[:, 0])] = np.nan
        if not last:
            box, radii = _rebox(box, rays * radii[:, None])
    return Surface(box, radii, chosen)


def _unary(values, local, depth, radii):
    """Cost of ending each ray at each radius, and the strength of the edge there.

    Args:
        values: (rays, radii) signal.
        local: (rays, radii, 3) positions in the box's axes, mm.
        depth: (rays,) template's distance from the center along its face's normal, mm.
        radii: (rays,) the current surface, relative to the template.
    """
    t = RELATIVE_RADII
    volume_weight = (t[None, :] ** 2) * np.linalg.norm(local[:, -1], axis=1)[:, None] ** 3
    core = t[None, :] < 0.85 * radii[:, None]
    core &= t[None, :] > 0.2
    flat = local[core]
    design = np.c_[np.ones(len(flat)), flat]
    pick = slice(None, None, 7)
    fit = _robust_fit(design[pick], values[core][pick])
    middle = max(float(fit[0]), 1e-6)
    marrow = np.clip(middle + local @ fit[1:], 0.4 * middle, 2.5 * middle)
    g = np.clip(values / marrow, 0, 3)
    seen = np.isfinite(g)
    bins = np.where(seen, g * 20, 0).astype(int)
    mm = depth[:, None] * (t[None, :] - radii[:, None])
    inside = seen & core
    outside = seen & (mm > 1.0) & (mm < 7.0)
    p_in = _density(bins[inside], volume_weight[inside])
    p_out = _density(bins[outside], volume_weight[outside])
    odds = np.clip(np.log(p_in / p_out), -2, 1.5)
    odds = np.where(seen, odds[bins], 0.0)
    gain = np.cumsum(odds * depth[:, None] * STEP, axis=1)
    support = np.zeros_like(g)
    for width_mm in EDGE_WIDTHS_MM:
        support += _contrast(g, depth, width_mm, CORTEX_MM) / len(EDGE_WIDTHS_MM)
    cost = -REGION * gain - EDGE * support
    cost += PRIOR * (depth[:, None] * (t[None, :] - 1)) ** 2
    return cost.astype(np.float32), support


@njit(cache=True)
def _contrast(g, depth, width_mm, cortex_mm):
    """Change of each profile over a width, as d / (d + 0.2); 0 where it is not seen.

    Where the signal falls, marrow ends at the edge. Where it rises, thin dark cortex lies between
    marrow and the brighter tissue, and marrow ends a cortex before the edge.
    """
    rays, count = g.shape
    out = np.zeros((rays, count), np.float32)
    for n in range(rays):
        half = width_mm / (2 * STEP * depth[n])
        for m in range(count):
            low, high = m - half, m + half
            if low < 0 or high > count - 1:
                continue
            a, b = int(low), int(high)
            b1 = min(b + 1, count - 1)
            before = g[n, a] * (1 - low + a) + g[n, a + 1] * (low - a)
            after = g[n, b] * (1 - high + b) + g[n, b1] * (high - b)
            change = abs(after - before)
            if not change >= 0:
                continue
            strength = change / (change + 0.2)
            end = m if after < before else int(np.round(m - cortex_mm / (STEP * depth[n])))
            if end >= 0:
                out[n, end] = max(out[n, end], strength)
    return out


def _density(bins, weights):
    """Smoothed histogram of 61 bins with a floor, so that no signal is impossible."""
    histogram = np.bincount(bins, weights, minlength=61)[:61]
    kernel = np.exp(-(np.arange(-4, 5) ** 2) / (2 * 1.5**2))
    smooth = np.convolve(histogram, kernel / kernel.sum(), mode="same")
    return 0.85 * smooth / max(smooth.sum(), 1e-12) + 0.15 / 61


def _rebox(box, surface):
    """Move, resize and tilt the box to the middle of its surface's faces."""
    d = RAYS.directions
    center, half = np.zeros(3), np.zeros(3)
    for axis in range(3):
        flat = np.abs(np.delete(d, axis, 1)).max(axis=1) < 0.75
        high = np.median(surface[flat & (d[:, axis] > 0.99), axis])
        low = np.median(surface[flat & (d[:, axis] < -0.99), axis])
        center[axis], half[axis] = (high + low) / 2, (high - low) / 2
    slopes = []
    for side in (-1, 1):
        plate = (d[:, 2] * side > 0.99) & (np.abs(d[:, :2]).max(axis=1) < 0.9)
        design = np.c_[np.ones(plate.sum()), surface[plate, :2]]
        slopes.append(_robust_fit(design, surface[plate, 2])[1:])
    across, along = np.mean(slopes, axis=0)
    turned = tilted_axes(
        np.rad2deg(np.clip(np.arctan(along), -0.2, 0.2)),
        np.rad2deg(np.clip(np.arctan(across), -0.1, 0.1)),
    )
    half = np.clip(half, [14, 10, 7], [32, 24, 20])
    new = Box(box.center + center @ box.axes, turned @ box.axes, half)
    return new, np.ones(len(d))


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
    ijk = volume.ras_to_ijk(surface.box.center + template_points(surface) @ surface.box.axes)
    size = np.array(volume.array.shape[::-1])
    low = np.clip(np.floor(ijk.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(ijk.max(axis=0)) + 1, 0, size).astype(int)
    i, j, k = np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij")
    inside = surface.contains(volume.to_ras(np.stack([i, j, k], -1).reshape(-1, 3)))
    mask = inside.reshape(i.shape).transpose(2, 1, 0)
    return np.ascontiguousarray(mask), tuple(int(n) for n in low[::-1])
