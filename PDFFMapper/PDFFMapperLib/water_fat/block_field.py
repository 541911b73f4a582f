"""Off-resonance of blocks of voxels over a whole volume, by message passing.

A Markov random field over all blocks, air included, so that separate parts (islands) are tied to
each other through the gaps, is minimized by sequential tree-reweighted message passing (Kolmogorov
2006, doi 10.1109/TPAMI.2006.200). What neighbors are expected to differ by is measured where the
echoes tell it, so that a steep field is no reason to swap water and fat; where the residual is
periodic the labels form a circle, and the field is unwrapped afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numba import njit

from PDFFMapperLib.maps.progress import Progress, run_parallel, tell
from PDFFMapperLib.water_fat import fronts
from PDFFMapperLib.water_fat.voxel_signals import VoxelSignals

# Hz/mm/T: by how much the change of the field may usually differ from the expected one, where that
# was measured and where it could not be; larger differences cost linearly.
_MEASURED_SPREAD = 0.8
_UNKNOWN_SPREAD = 4.0
_ALIKE = 0.8  # least squared correlation of the echoes of neighbors of like composition
_FEW = 0.25  # pairs per voxel of a block that say as much of its change as the mean of the volume
_FARTHEST = 10.0  # spreads after which a jump costs no more
_SWEEPS = 20
_SETTLED = 1e-3  # share of the blocks with signal that still change
_TILE = 500  # blocks
_AT_ONCE = 4  # jumps between labels


@dataclass(frozen=True)
class FieldSteps:
    """Change of the off-resonance from each block to the next one along each axis.

    Attributes:
        hz: expected change, float32, shape (3, *shape of the blocks).
        spread_hz: by how much it may usually differ, alike.
    """

    hz: np.ndarray
    spread_hz: np.ndarray


def expected_steps(
    signals: VoxelSignals,
    mask: np.ndarray,
    factors: tuple[int, int, int],
    voxel_size_mm: tuple[float, float, float],
    echo_times_s: np.ndarray,
    field_strength_t: float,
) -> FieldSteps:
    """What the off-resonance of neighboring blocks is expected to differ by.

    Neighbors of like composition differ by a phase that grows with the echo time, whatever water
    and fat they hold. Where there are none the change is taken to be the mean of the volume.

    Args:
        signals: the echoes of the volume.
        mask: voxels with signal, bool, shape (slices, rows, columns).
        factors: voxels per block along each axis.
        voxel_size_mm: along slices, rows, columns.
        echo_times_s: increasing, shape (echoes,).
        field_strength_t: field strength.
    """
    blocks = tuple(math.ceil(n / f) for n, f in zip(mask.shape, factors, strict=True))
    spacing = np.diff(echo_times_s)
    products = np.empty((3, *blocks, len(echo_times_s)), np.complex64)
    pairs = np.empty((3, *blocks), np.float32)
    gradient = np.empty((3, *blocks))  # Hz per voxel

    def add_slab(k: int) -> None:
        products[:, k] = pairs[:, k] = 0
        first = k * factors[0]
        slab = mask[first : first + factors[0] + 1]  # and the slice beyond it
        index = np.flatnonzero(slab)
        row = np.full(slab.size, -1, np.int32)
        row[index] = np.arange(len(index), dtype=np.int32)
        own = int(np.searchsorted(index, factors[0] * mask[0].size))
        _add_products(
            signals.at(index + first * mask[0].size),
            own,
            index,
            row,
            np.array(slab.shape),
            np.array(factors),
            k,
            products,
            pairs,
        )
        turns = products[:, k, ..., 1:] * products[:, k, ..., :-1].conj()
        weight = np.abs(turns)
        slope = (weight * np.angle(turns) * spacing).sum(-1) / (2 * np.pi)
        gradient[:, k] = slope / np.maximum((weight * spacing**2).sum(-1), 1e-30)

    run_parallel(add_slab, range(blocks[0]))
    steps, spread = np.zeros((2, 3, *blocks), np.float32)
    few = _FEW * math.prod(factors)

    def expect(axis: int) -> None:
        count, sums = pairs[axis], pairs[axis] * gradient[axis]
        mean = sums.sum() / max(count.sum(), 1)
        if factors[axis] > 1:  # else the pairs of a block are those with the next one
            sums, count = (each + np.roll(each, -1, axis) for each in (sums, count))
        steps[axis] = factors[axis] * (sums + few * mean) / (count + few)
        known = count / (count + few)
        spread[axis] = _MEASURED_SPREAD * known + _UNKNOWN_SPREAD * (1 - known)
        spread[axis] *= field_strength_t * voxel_size_mm[axis] * factors[axis]

    run_parallel(expect, range(3))
    return FieldSteps(steps, spread)


@njit(cache=True, nogil=True)
def _add_products(signals, own, index, row, shape, factors, k, products, pairs):
    """Add products of the echoes of neighbors to those of their block, for `own` voxels of a slab.

    Args:
        signals: of the voxels `index` of the slab, the first `own` of which belong to the blocks.
        row: of each voxel of the slab in `signals`, -1 where there is none.
        shape: of the slab.
        factors: voxels per block along each axis.
        k: of the slab.
        products: shape (3, slabs, rows and columns of blocks, echoes), along each axis; added to.
        pairs: number of neighbors, shape (3, slabs, rows and columns of blocks); added to.
    """
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    unit = np.empty(len(signals), np.float32)
    for v in range(len(signals)):
        energy = np.float32(0)
        for n in range(signals.shape[1]):
            energy += signals[v, n].real ** 2 + signals[v, n].imag ** 2
        unit[v] = 1 / np.sqrt(max(energy, np.float32(1e-36)))
    turned = np.empty(signals.shape[1], np.complex64)
    for v in range(own):
        place = (index[v] // strides[0], index[v] // strides[1] % shape[1], index[v] % shape[2])
        j, i = place[1] // factors[1], place[2] // factors[2]
        for axis in range(3):
            if place[axis] + 1 == shape[axis]:
                continue
            other = row[index[v] + strides[axis]]
            if other < 0:
                continue
            both = unit[v] * unit[other]
            real = imag = np.float32(0)
            for n in range(signals.shape[1]):
                turned[n] = signals[other, n] * np.conj(signals[v, n])
                real += turned[n].real
                imag += turned[n].imag
            if (real * both) ** 2 + (imag * both) ** 2 > _ALIKE:
                pairs[axis, k, j, i] += 1
                for n in range(signals.shape[1]):
                    products[axis, k, j, i, n] += both * turned[n]


def block_field(
    costs: np.ndarray,
    label_hz: np.ndarray,
    center: np.ndarray,
    period_hz: float,
    steps: FieldSteps,
    progress: Progress | None = None,
) -> np.ndarray:
    """Off-resonance of blocks in Hz, float32, shape of the blocks.

    Args:
        costs: of each block and label, float32, shape (*shape of the blocks, labels).
        label_hz: equidistant, shape (labels,).
        center: what a label costs in any block, shape (labels,).
        period_hz: off-resonance after which the labels begin anew; 0 if they do not.
        steps: what neighbors are expected to differ by.
        progress: called with the fraction done; answering False cancels.

    Raises:
        InterruptedError: canceled.
    """
    shape, labels = costs.shape[:3], len(label_hz)
    with_signal, total = np.empty(shape, bool), np.empty(costs.shape, np.float32)
    messages, center = np.empty((3, *costs.shape), np.float32), center.astype(np.float32)

    def begin(k: int) -> None:
        messages[:, k] = 0
        _add_center(costs[k], center, total[k], with_signal[k])

    run_parallel(begin, range(shape[0]))
    total, messages = total.reshape(-1, labels), messages.reshape(3, -1, labels)
    given = (
        total,
        np.array(shape),
        steps.hz.reshape(3, -1),
        steps.spread_hz.reshape(3, -1),
        label_hz[1] - label_hz[0],
        period_hz > 0,
    )
    best = np.full(len(total), -1)
    for sweep in range(_SWEEPS):
        tell(progress, sweep / _SWEEPS)
        before = best
        for forward in (True, False):
            work = partial(_sweep_blocks, *given, messages, forward)
            run_parallel(*fronts.sweep(work, shape, _TILE, forward))
        best = np.zeros(len(total), np.int64)
        label = partial(_label_blocks, *given, messages, best)
        run_parallel(*fronts.sweep(label, shape, _TILE, True))
        if np.mean((best != before)[with_signal.ravel()]) < _SETTLED:
            break
    field = label_hz[best].reshape(shape)
    if period_hz:
        field = unwrapped(field, period_hz)
    return field.astype(np.float32)


@njit(cache=True, nogil=True)
def _add_center(costs, center, total, with_signal):
    """Costs of the labels of a slice's blocks with those in any block, and which blocks differ."""
    for j in range(costs.shape[0]):
        for i in range(costs.shape[1]):
            with_signal[j, i] = False
            for x in range(len(center)):
                total[j, i, x] = costs[j, i, x] + center[x]
                with_signal[j, i] |= costs[j, i, x] != costs[j, i, 0]


def unwrapped(field_hz: np.ndarray, period_hz: float) -> np.ndarray:
    """A field known up to multiples of a period, made continuous and its mean nearest to 0.

    Neighbors are joined in the order of how little they differ (a minimum spanning tree).
    """
    field = field_hz.astype(float)
    if any((np.abs(np.diff(field, axis=axis)) > period_hz / 2).any() for axis in range(field.ndim)):
        field -= period_hz * _turns(field, period_hz)
    return field - period_hz * np.round(field.mean() / period_hz)


def _turns(field: np.ndarray, period: float) -> np.ndarray:
    """Periods by which each node is over the one that its tree begins at."""
    nodes = np.arange(field.size).reshape(field.shape)
    pairs = [
        (np.delete(nodes, -1, axis).ravel(), np.delete(nodes, 0, axis).ravel())
        for axis in range(field.ndim)
    ]
    first, second = np.concatenate(pairs, axis=1)
    step = (field.ravel()[second] - field.ravel()[first]) / period
    turns = np.round(step).astype(np.int64)
    order = np.argsort(np.abs(step - turns), kind="stable")
    joined = _turns_joined(first[order], second[order], turns[order], field.size)
    return joined.reshape(field.shape)


@njit(cache=True, nogil=True)
def _turns_joined(first, second, turns, count):
    """Periods by which each node is over the root of its tree, pairs being joined in their order.

    Kruskal's minimum spanning tree by union-find, in which each node holds its periods over the
    node above it. `turns` is by how many the second of a pair is over the first.
    """
    above, over = np.arange(count), np.zeros(count, np.int64)
    for pair in range(first.size):
        root, its = _root(first[pair], above, over)
        other, others = _root(second[pair], above, over)
        if root != other:
            above[other] = root
            over[other] = its + turns[pair] - others
    return np.array([_root(node, above, over)[1] for node in range(count)])


@njit(cache=True, nogil=True)
def _root(node, above, over):
    """The root of a node's tree and the periods of the node over it; halves the path to it."""
    periods = 0
    while above[node] != node:
        over[node] += over[above[node]]
        above[node] = above[above[node]]
        periods += over[node]
        node = above[node]
    return node, periods


@njit(cache=True, nogil=True)
def huber(jump):
    """Quadratic to 2, then linear."""
    jump = abs(jump)
    return jump * jump / 2 if jump < 2 else 2 * jump - 2


@njit(cache=True, nogil=True)
def _jump_cost(jump):
    """Cost of a difference in spreads: Huber's, then constant."""
    return huber(min(abs(jump), _FARTHEST))


@njit(cache=True, nogil=True, fastmath=True)
def _pass_message(source, message, share, expected, spread, step, circular, padded, jumps):
    """message(x) <- min over y of share * source(y) - message(y) + cost of the jump from y to x.

    `padded` is scratch of three times the labels and _AT_ONCE, large values outside the middle
    third; `jumps` is scratch of twice the labels and _AT_ONCE.
    """
    labels = source.size
    first = labels + _AT_ONCE
    middle = padded[first : first + labels]
    smallest = np.float32(1e30)
    for x in range(labels):
        middle[x] = share * source[x] - message[x]
        smallest = min(smallest, middle[x])
    if circular:
        below, above = padded[_AT_ONCE:first], padded[first + labels :]
        for x in range(labels):
            below[x] = above[x] = middle[x]
    ceiling = smallest + np.float32(_jump_cost(_FARTHEST))
    for x in range(labels):
        message[x] = ceiling
    reach = _FARTHEST * spread / step
    if circular:
        reach = min(reach, 0.5 * labels)
        expected -= labels * step * np.round(expected / (labels * step))
    least = max(math.ceil(expected / step - reach), 1 - labels)
    most = min(math.floor(expected / step + reach), labels - 1)
    count = max(most - least + 1, 0)
    count += -count % _AT_ONCE  # those past the last do no harm
    start, per_label = np.float32((least * step - expected) / spread), np.float32(step / spread)
    farthest = np.float32(_FARTHEST)
    for n in range(count):
        jumps[n] = huber(min(abs(start + np.float32(n) * per_label), farthest))
    for n in range(0, count, _AT_ONCE):
        zero, one, two, three = jumps[n], jumps[n + 1], jumps[n + 2], jumps[n + 3]
        before = padded[first - least - n - 3 :]
        for x in range(labels):
            near = min(before[x + 3] + zero, before[x + 2] + one)
            far = min(before[x + 1] + two, before[x] + three)
            message[x] = min(message[x], min(near, far))
    for x in range(labels):
        message[x] -= smallest


@njit(cache=True, nogil=True, fastmath=True)
def _sweep_blocks(cost, shape, expected, spread, step_hz, circular, messages, forward, tile):
    """Tree-reweighted message passing over the blocks of a tile, in or against their order.

    There is one message per block and axis: to the next block after a forward sweep, from it after
    a backward one.
    """
    labels = cost.shape[1]
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    belief = np.empty(labels, np.float32)
    padded = np.full(3 * labels + _AT_ONCE, 1e30, np.float32)
    jumps = np.empty(2 * labels + _AT_ONCE, np.float32)
    place = np.empty(3, np.int64)
    slices, rows, columns = tile[1] - tile[0], tile[3] - tile[2], shape[2]
    for step in range(slices * rows * columns):
        at = step if forward else slices * rows * columns - 1 - step
        place[0] = tile[0] + at // (rows * columns)
        place[1] = tile[2] + at // columns % rows
        place[2] = at % columns
        node = place[0] * strides[0] + place[1] * strides[1] + place[2]
        for x in range(labels):
            belief[x] = cost[node, x]
        before = after = 0
        for axis in range(3):
            if place[axis] > 0:
                incoming = messages[axis, node - strides[axis]]
                for x in range(labels):
                    belief[x] += incoming[x]
                before += 1
            if place[axis] < shape[axis] - 1:
                incoming = messages[axis, node]
                for x in range(labels):
                    belief[x] += incoming[x]
                after += 1
        share = np.float32(1 / max(before, after, 1))
        for axis in range(3):
            if forward and place[axis] < shape[axis] - 1:
                edge, change = node, expected[axis, node]
            elif not forward and place[axis] > 0:
                edge = node - strides[axis]
                change = -expected[axis, edge]
            else:
                continue
            _pass_message(
                belief,
                messages[axis, edge],
                share,
                change,
                spread[axis, edge],
                step_hz,
                circular,
                padded,
                jumps,
            )


@njit(cache=True, nogil=True, fastmath=True)
def _label_blocks(cost, shape, expected, spread, step_hz, circular, messages, best, tile):
    """The label of each block of a tile after a backward sweep, earlier ones being decided."""
    labels = cost.shape[1]
    around, half = np.float32(labels), np.float32(0.5)
    turns = 1 / around if circular else np.float32(0)
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    belief = np.empty(labels, np.float32)
    place = np.empty(3, np.int64)
    rows, columns = tile[3] - tile[2], shape[2]
    for at in range((tile[1] - tile[0]) * rows * columns):
        place[0] = tile[0] + at // (rows * columns)
        place[1] = tile[2] + at // columns % rows
        place[2] = at % columns
        node = place[0] * strides[0] + place[1] * strides[1] + place[2]
        for x in range(labels):
            belief[x] = cost[node, x]
        for axis in range(3):
            if place[axis] < shape[axis] - 1:
                incoming = messages[axis, node]
                for x in range(labels):
                    belief[x] += incoming[x]
            if place[axis] > 0:
                other = node - strides[axis]
                expected_at = np.float32(best[other] + expected[axis, other] / step_hz)
                per_label = np.float32(step_hz / spread[axis, other])
                for x in range(labels):
                    apart = np.float32(x) - expected_at
                    apart -= around * np.floor(apart * turns + half)
                    belief[x] += _jump_cost(apart * per_label)
        best[node] = np.argmin(belief)
