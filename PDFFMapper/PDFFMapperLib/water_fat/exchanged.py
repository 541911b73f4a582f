"""Regions in which a scanner's water and fat images are exchanged: found, and put right.

Two-point reconstructions exchange water and fat over whole regions, with sharp borders across
which the sum of the two goes on (Graf 2025, arXiv 2502.14659). Nothing in a single voxel tells
it, but much around it does, and no anatomy needs to be known:

- In the images themselves most of the body is right. How often a voxel of that depth under the
  skin, of that brightness (T1 weighting makes fat bright) and with that much of the minor share
  is found, against the same voxel exchanged, is its evidence.
- The border of an exchanged region lies where exchanging makes neighbors alike, for water and for
  fat; elsewhere a border costs. The best division of the whole body is a minimum cut of a graph
  (Greig 1989, doi 10.1111/j.2517-6161.1989.tb01764.x).
- Whole slices show by their neighbors: a slice is like the next one, or like it with water and fat
  exchanged, what was water and what was fat. The fewer are doubtful, of halves all.
- Seams that are left are of regions that were not found; slices with some are doubtful.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from PDFFMapperLib.water_fat.seams import torn_slices

_NODE_MM = 5.0  # distance of the voxels that the first division looks at
_SKIN_MM = 12.0  # skin and the fat under it
_SKIN_SHARE = 0.35  # most of a limb's half width that it takes
_DEPTHS = (0.35, 1.0)  # of that
_LEVELS = 8
_MINOR_SHARES = (0.03, 0.06, 0.1, 0.16, 0.25, 0.36)
_MOST_EVIDENCE = 2.0  # ln, of one voxel
_WEIGHT = 0.5  # of a node's evidence: neighbors are alike and count as half
_ROUNDS = 3
_LEAST_ML = 5.0
_LEAST_DETACHED_ML = 20.0  # of a part of the body, or of the mask, with no neighbors to compare
LEAST_VOXELS = 1000  # with signal; among fewer nothing tells what is usual
_SURE_EVIDENCE = 0.4  # ln, mean of the region
_SURE_BORDER = 0.55  # share of the border across which exchanging makes neighbors alike
_SURE_MIXTURE = 0.05  # share of the rarer of water and fat in the region
_SEAM = (1, 5, 5)  # voxels around the border of a sure region, which are doubtful
_DETACHED = 0.03  # most of the surface of a part of the body that touches others
_LIKE_EXCHANGED = 0.7  # of the difference of slices that exchanging may leave; 3 to 20 where right
_LEAST_OF_EACH = 0.08  # share of water, and of fat, in a slice that tells of the next one
_TURNED = 0.6  # mean of the shares of water that is fat in the next slice, and of fat that is water
_FEWER = 0.4  # of slices and voxels, most that may be exchanged
_WATER_UNDER_SKIN, _FAT_BELOW = 0.3, 0.6  # shares of fat under the skin and deeper, if exchanged


@dataclass
class Exchanged:
    """Where water and fat are exchanged; arrays have the images' shape.

    Attributes:
        sure: voxels to be exchanged back.
        doubtful: voxels that may be exchanged, and may be right.
        throughout: the two images seem to be given for one another.
        volumes_ml: of the regions in `sure`.
        torn: how many slices are doubtful for their seams.
    """

    sure: np.ndarray
    doubtful: np.ndarray
    throughout: bool = False
    volumes_ml: list[float] = field(default_factory=list)
    torn: int = 0


def find_exchanged(
    water: np.ndarray, fat: np.ndarray, mask: np.ndarray, voxel_size_mm: Sequence[float]
) -> Exchanged:
    """Regions whose water and fat are exchanged.

    Args:
        water: magnitudes, shape (slices, rows, columns).
        fat: likewise, on the same scale.
        mask: voxels with signal.
        voxel_size_mm: along slices, rows, columns.
    """
    found = Exchanged(np.zeros(mask.shape, bool), np.zeros(mask.shape, bool))
    if np.count_nonzero(mask) < LEAST_VOXELS:
        return found
    pair = np.where(mask, np.stack([water, fat]), 0).astype(np.float32)
    turned = _exchanged_slices(pair, mask)
    if not _is_few(turned, mask):
        found.doubtful = mask.copy()
        return found
    fat_leads = pair[1] > pair[0]
    depth = _depth(mask, voxel_size_mm)
    found.throughout = _throughout(depth, fat_leads, mask)
    cells = _cells(pair, depth, mask)
    step = [max(1, round(_NODE_MM / size)) for size in voxel_size_mm]
    nodes = tuple(  # at least one where all of an axis is less than their distance
        slice(min(one, size) // 2, None, one) for one, size in zip(step, mask.shape, strict=True)
    )
    costs = _borders(pair[(slice(None), *nodes)], mask[nodes])
    flipped = np.zeros(mask.shape, bool)
    for _ in range(_ROUNDS):
        evidence = _evidence(cells, fat_leads, flipped, mask)
        before = flipped
        around = ndimage.uniform_filter(evidence, step, mode="nearest")
        coarse = _divided(_WEIGHT * around[nodes], costs, mask[nodes])
        flipped = _spread(coarse, nodes, mask)
        if (before == flipped).all():
            break
    if flipped.any():
        costs = _borders(pair, mask)
        flipped = _refined(_WEIGHT / np.prod(step) * evidence, costs, flipped, mask, step)
        _judge(found, fat_leads, mask, flipped, evidence, costs, voxel_size_mm)
        found.doubtful |= _enclosed(mask, found.sure | found.doubtful)
        wide, narrow = found.sure, found.sure | ~mask
        near = ndimage.maximum_filter(wide, _SEAM) & ~ndimage.minimum_filter(narrow, _SEAM)
        found.doubtful |= near & mask
        found.sure &= ~near
    # Doubtful only: slices through skin and the fat below it look exchanged as well.
    found.doubtful |= mask & turned[:, None, None] & ~found.sure
    torn = torn_slices(np.where(found.sure, pair[::-1], pair), mask & ~found.doubtful)
    found.doubtful |= mask & torn[:, None, None]
    found.sure &= ~torn[:, None, None]
    found.torn = int(torn.sum())
    return found


def _exchanged_slices(pair: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Slices that are exchanged as a whole against the others, which hold more voxels, bool."""
    turned = np.zeros(len(mask), bool)
    for k in range(1, len(mask)):
        both = mask[k - 1] & mask[k]
        turned[k] = turned[k - 1] ^ _turns(pair[:, k - 1, both], pair[:, k, both])
    inside = mask.sum((1, 2))
    if 2 * inside[turned].sum() > inside.sum():
        turned = ~turned
    return turned


def _is_few(turned: np.ndarray, mask: np.ndarray) -> bool:
    """Whether slices are few enough to be the exchanged ones; of halves none is known right."""
    inside = mask.sum((1, 2))
    return all(each[turned].sum() <= _FEWER * each.sum() for each in (inside, inside > 0))


def _turns(before: np.ndarray, here: np.ndarray) -> bool:
    """Whether water and fat, shape (2, voxels), are exchanged in one of two neighboring slices.

    Muscle beside a slice of fat under the skin is like it exchanged as well, but nothing turns from
    water to fat there.
    """
    apart, exchanged = np.abs(before - here).sum(), np.abs(before - here[::-1]).sum()
    was_fat, is_fat = before[1] > before[0], here[1] > here[0]
    of_each = was_fat, ~was_fat
    if min(map(np.count_nonzero, of_each)) <= _LEAST_OF_EACH * len(was_fat):
        return False
    turned = np.mean([(was_fat != is_fat)[each].mean() for each in of_each])
    return bool(exchanged < _LIKE_EXCHANGED * apart and turned > _TURNED)


def fat_under_skin(
    water: np.ndarray, fat: np.ndarray, mask: np.ndarray, voxel_size_mm: Sequence[float]
) -> float:
    """Share of voxels that are fat under the skin, less that deeper in the body.

    About 0.1 to 0.6 in a body, the negative of it where water and fat are exchanged throughout; NaN
    where too few voxels lie under the skin or deeper.
    """
    layer = np.digitize(_depth(mask, voxel_size_mm), _DEPTHS)
    under, deeper = mask & (layer == 1), mask & (layer == 2)
    if min(np.count_nonzero(under), np.count_nonzero(deeper)) < LEAST_VOXELS:
        return float("nan")
    return float((fat > water)[under].mean() - (fat > water)[deeper].mean())


def _cells(pair: np.ndarray, depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Of each voxel the number of its cell: depth, brightness and minor share.

    Brightness is that of water plus fat over a smooth field of sensitivity, which no exchange
    changes.
    """
    total = np.maximum(pair.sum(0), 1e-30)
    minor = np.digitize(pair.min(0) / total, _MINOR_SHARES)
    level = np.zeros(mask.shape, np.float32)
    level[mask] = _without_trend(np.log(total[mask]), mask)
    few = level[mask][:: max(1, np.count_nonzero(mask) // 100_000)]
    bright = np.digitize(level, np.quantile(few, np.arange(1, _LEVELS) / _LEVELS))
    cell = np.digitize(depth, _DEPTHS) * _LEVELS + bright
    return cell * (len(_MINOR_SHARES) + 1) + minor


def _without_trend(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Values of a mask less the polynomial of second degree in place that comes nearest to them."""
    places = [
        2 * (each / max(size - 1, 1)) - 1
        for each, size in zip(np.nonzero(mask), mask.shape, strict=True)
    ]
    z, y, x = (each.astype(np.float32) for each in places)
    terms = np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z], 1)
    few = slice(None, None, max(1, len(x) // 20_000))
    return values - terms @ np.linalg.lstsq(terms[few], values[few], rcond=1e-6)[0]


def _depth(mask: np.ndarray, voxel_size_mm: Sequence[float]) -> np.ndarray:
    """Distance in plane to the air around the body, 1 where fat under the skin usually ends.

    What the image cuts off is no air. A thin limb has less fat than the trunk.
    """
    depth = np.full(mask.shape, np.inf, np.float32)
    for k, inside in enumerate(mask):
        body = ndimage.binary_fill_holes(ndimage.binary_closing(inside, np.ones((3, 3))) | inside)
        if body.all():
            continue
        distance = ndimage.distance_transform_edt(body, sampling=voxel_size_mm[1:])
        parts, count = ndimage.label(body)
        deepest = np.r_[0, ndimage.maximum(distance, parts, np.arange(1, count + 1))]
        depth[k] = distance / np.clip(_SKIN_SHARE * deepest, 1e-3, _SKIN_MM)[parts]
    return depth


def _throughout(depth: np.ndarray, fat_leads: np.ndarray, mask: np.ndarray) -> bool:
    """Whether water lies under the skin and fat deeper."""
    layer = np.digitize(depth, _DEPTHS)
    under, deeper = mask & (layer == 1), mask & (layer == 2)
    return bool(
        min(np.count_nonzero(under), np.count_nonzero(deeper)) >= LEAST_VOXELS
        and fat_leads[under].mean() < _WATER_UNDER_SKIN
        and fat_leads[deeper].mean() > _FAT_BELOW
    )


def _evidence(cells, fat_leads, flipped, mask) -> np.ndarray:
    """For each voxel to be right: ln of how often its like is found, over the same exchanged.

    What is found is counted with the regions that are taken for exchanged put right.
    """
    leads = fat_leads ^ flipped
    size = int(cells.max()) + 1
    count = np.stack(
        [np.bincount(cells[mask & side], minlength=size) for side in (~leads, leads)]
    ).astype(float)
    count += 1e-4 * count.sum()
    of_water = np.log(count[0] / count[1]).clip(-_MOST_EVIDENCE, _MOST_EVIDENCE)[cells]
    return np.where(mask, np.where(fat_leads, -of_water, of_water), 0).astype(np.float32)


def _borders(pair: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """Per axis, what a border between neighbors costs: nothing where exchanging one makes them
    alike, 1 within tissue; less where there is little signal."""
    total = pair.sum(0)
    usual = max(float(np.median(total[mask])), 1e-30) if mask.any() else 1.0
    costs = []
    for axis in range(3):
        first, second = (
            np.moveaxis(pair, axis + 1, 1)[:, part] for part in (slice(None, -1), slice(1, None))
        )
        sums = first.sum(0) + second.sum(0)
        same = np.abs(first - second).sum(0)
        exchanged = np.abs(first - second[::-1]).sum(0)
        like = np.clip((same - 2 * exchanged) / np.maximum(0.5 * sums, 1e-30), 0, 1)
        weight = np.minimum(np.minimum(first.sum(0), second.sum(0)) / (0.5 * usual), 1)
        both = np.moveaxis(mask, axis, 0)
        costs.append((weight * (1 - like) + 0.01) * (both[:-1] & both[1:]))
    return costs


def _divided(evidence: np.ndarray, costs: list[np.ndarray], free: np.ndarray) -> np.ndarray:
    """Voxels on the exchanged side of the least cut, bool.

    Args:
        evidence: for being right, of each voxel.
        costs: per axis, of a border between neighbors, with the axis in front.
        free: voxels to divide.
    """
    number = np.full(free.shape, -1)
    number[free] = np.arange(free.sum())
    right, count = evidence[free], int(free.sum())
    source, sink = count, count + 1
    tails, heads, sizes = [], [], []
    for axis, cost in enumerate(costs):
        along = np.moveaxis(number, axis, 0)
        kept = (along[:-1] >= 0) & (along[1:] >= 0) & (cost > 0)
        one, other = along[:-1][kept], along[1:][kept]
        tails += [one, other]
        heads += [other, one]
        sizes += [cost[kept], cost[kept]]
    ahead, behind = np.flatnonzero(right > 0), np.flatnonzero(right < 0)
    tails += [np.full(len(ahead), source), behind]
    heads += [ahead, np.full(len(behind), sink)]
    sizes += [right[ahead], -right[behind]]
    sizes = np.round(1000 * np.concatenate(sizes)).astype(np.int32)
    graph = coo_matrix(
        (sizes, (np.concatenate(tails), np.concatenate(heads))), shape=(count + 2, count + 2)
    ).tocsr()
    rest = graph - maximum_flow(graph, source, sink).flow
    rest.data = np.maximum(rest.data, 0)
    rest.eliminate_zeros()
    reached = breadth_first_order(rest, source, return_predecessors=False)
    exchanged = np.ones(count + 2, bool)
    exchanged[reached] = False
    result = np.zeros(free.shape, bool)
    result[free] = exchanged[:count]
    return result


def _spread(coarse: np.ndarray, nodes: tuple[slice, ...], mask: np.ndarray) -> np.ndarray:
    """A division of nodes brought to all voxels, each as its nearest node."""
    for axis, (part, size) in enumerate(zip(nodes, mask.shape, strict=True)):
        nearest = np.round((np.arange(size) - part.start) / part.step).astype(int)
        coarse = np.take(coarse, nearest.clip(0, coarse.shape[axis] - 1), axis)
    return coarse & mask


def _refined(evidence, costs, flipped, mask, step) -> np.ndarray:
    """The division with its border at single voxels: those within a node of it are divided anew."""
    size = tuple(2 * one + 1 for one in step)
    near = ndimage.maximum_filter(flipped, size) & ~ndimage.minimum_filter(flipped | ~mask, size)
    free, pull = near & mask, evidence.copy()
    for axis, cost in enumerate(costs):
        inside, outside = (np.moveaxis(each, axis, 0) for each in (free, mask & ~free))
        known = np.where(np.moveaxis(flipped, axis, 0), -1.0, 1.0)
        drawn = np.moveaxis(pull, axis, 0)
        drawn[:-1] += cost * (inside[:-1] & outside[1:]) * known[1:]
        drawn[1:] += cost * (inside[1:] & outside[:-1]) * known[:-1]
    return np.where(free, _divided(pull, costs, free), flipped)


def _judge(found, fat_leads, mask, flipped, evidence, costs, voxel_size_mm) -> None:
    """Put each region with the sure or the doubtful ones, or with neither.

    Sure is what holds water and fat, as anatomy does everywhere, with a border across which both
    go on when exchanged, or without one; a region of one tissue may as well be an organ.
    """
    parts, count = ndimage.label(flipped)
    ml = np.bincount(parts.ravel(), minlength=count + 1) * np.prod(voxel_size_mm) / 1000
    numbers = np.arange(1, count + 1)
    against = np.r_[0, ndimage.mean(-evidence, parts, numbers)]
    fat = np.r_[0, ndimage.mean(fat_leads, parts, numbers)]
    seamless, touching, surface = (np.zeros(count + 1) for _ in range(3))
    for axis, cost in enumerate(costs):
        along, body = np.moveaxis(parts, axis, 0), np.moveaxis(mask, axis, 0)
        one, other = slice(None, -1), slice(1, None)
        for mine, beside in ((one, other), (other, one)):
            outside = (along[mine] > 0) & (along[beside] != along[mine])
            touch = outside & body[beside]
            surface += np.bincount(along[mine][outside], minlength=count + 1)
            touching += np.bincount(along[mine][touch], minlength=count + 1)
            seamless += np.bincount(along[mine][touch], 1 - cost[touch], minlength=count + 1)
    for n in numbers:
        mixed = min(fat[n], 1 - fat[n]) > _SURE_MIXTURE
        detached = touching[n] <= _DETACHED * surface[n]
        if ml[n] < (_LEAST_DETACHED_ML if detached else _LEAST_ML) or (detached and not mixed):
            continue
        clear = detached or seamless[n] > _SURE_BORDER * touching[n]
        if clear and mixed and against[n] > _SURE_EVIDENCE:
            found.sure |= parts == n
            found.volumes_ml.append(float(ml[n]))
        else:
            found.doubtful |= parts == n


def _enclosed(mask: np.ndarray, flipped: np.ndarray) -> np.ndarray:
    """Islands in a slice that lie in what is exchanged and did not go with it, as an organ without
    its like elsewhere."""
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    parts, count = ndimage.label(mask & ~flipped, in_plane)
    area = np.bincount(parts.ravel(), minlength=count + 1)
    exchanged_area = np.zeros(count + 1)
    for of_slice, exchanged in zip(parts, flipped, strict=True):
        exchanged_area[np.unique(of_slice)] = np.count_nonzero(exchanged)
    touching, around = np.zeros(count + 1), np.zeros(count + 1)
    for axis in (1, 2):
        along, beyond = np.moveaxis(parts, axis, 0), np.moveaxis(flipped, axis, 0)
        one, other = slice(None, -1), slice(1, None)
        for mine, beside in ((one, other), (other, one)):
            rim = (along[mine] > 0) & (along[beside] == 0)
            around += np.bincount(along[mine][rim], minlength=count + 1)
            touching += np.bincount(along[mine][rim & beyond[beside]], minlength=count + 1)
    island = (area < exchanged_area) & (touching > 0.5 * around)
    island[0] = False
    return island[parts]
