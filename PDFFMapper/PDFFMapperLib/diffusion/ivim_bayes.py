"""Hierarchical (empirical Bayes) IVIM: learn how D, D* and f are distributed, then fit each voxel.

The distribution of (D, D*, f) over the voxels is a histogram on a grid, with no assumed shape, so
that a region of two tissues keeps two peaks. It is found by maximum likelihood with
expectation-maximization (Kiefer and Wolfowitz, Ann. Math. Stat. 1956,
doi 10.1214/aoms/1177728066; Laird, JASA 1978, doi 10.1080/01621459.1978.10480103), started from
the weak prior of the voxel-wise fit, which also keeps the weight of a few voxels throughout. Each
voxel's posterior is then summed over the whole grid: no approximation of its shape, no chains. S0
is integrated out with a flat prior. Orton et al., MRM 2014, doi 10.1002/mrm.24649, introduced the
hierarchical prior, as one Gaussian sampled by Markov chain Monte Carlo.

What the whole region cannot tell is not learned either: with no b-value low enough to see a fast
compartment decay, D* of all voxels settles at the upper end of what the images allow. Mind
`d_star_identifiable`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from PDFFMapperLib.diffusion.ivim import IvimFit, fit_prepared, prepared
from PDFFMapperLib.diffusion.ivim_kernel import PRIOR_EXCESS, PRIOR_LOG_SD
from PDFFMapperLib.diffusion.vector_math import (
    LEAST_SINGLE,
    bessel_single,
    exp_single,
    power_of_two,
    viewer,
)
from PDFFMapperLib.diffusion.voxelwise import Known, Voxels, run_blocks
from PDFFMapperLib.maps.progress import Progress, share, tell

if TYPE_CHECKING:  # from Python 3.11 on
    from typing import Unpack

LEARNING_VOXELS = 14_000
LEARNING_CYCLES = 20
"""Each of three EM steps. Few, so that chance does not make spikes of a broad distribution; many
enough that its tails do not stay as heavy as those of the weak prior that they start from."""
WEAK_PRIOR_VOXELS = 10.0
"""The weak prior counts as much as that many voxels of the region."""
_LEARNING_SIZE = 2**23
_TOLD_AFTER = 1000  # voxels
_LONGEST_STRIDE = 20.0
_BANDWIDTH = 0.4
"""Share of Scott's bandwidth, which is for smoothing samples, not what EM already kept smooth."""
_NODES_PER_SD = 1.1
_NODES_MIN, _NODES_MAX = 16, 28
_DSTAR_NODES = 14
_TOLD = 20
_TOO_CLEAR = 1e6
"""Half the squared signal over noise beyond which single precision cannot tell nodes apart, and
no prior is needed: such voxels (SNR above 500) keep their own fit."""
_BITS = np.float32(math.log2(math.e))
"""Log-likelihoods over the grid are those to the base of 2, whose powers are the cheapest."""
_LEAST_POWER, _LARGEST_POWER = np.float32(-43), np.float32(43)
_RAISED = np.float32(60)  # so that powers that matter are above 0
_TABLED = np.float32(-5.5 * math.log2(math.e))
"""Nodes less likely than the best by this are not learned from."""
_MISFIT = 3.0
"""A voxel whose best grid node is less likely than its own fit by this (ln) keeps its own fit."""


@dataclass
class IvimDistribution:
    """How D, D* and f are distributed over the voxels of a region.

    Attributes:
        d_edges: cell edges in 10^-3 mm^2/s, shape (n_d + 1,).
        d_star_edges: likewise, shape (n_dstar + 1,).
        f_edges: likewise, as fractions, shape (n_f + 1,).
        weights: probability of each cell, shape (n_dstar, n_f, n_d); they sum to 1.
    """

    d_edges: np.ndarray
    d_star_edges: np.ndarray
    f_edges: np.ndarray
    weights: np.ndarray

    @property
    def d(self) -> np.ndarray:
        """Centers of the cells along D."""
        return 0.5 * (self.d_edges[1:] + self.d_edges[:-1])

    @property
    def d_star(self) -> np.ndarray:
        """Centers (geometric) of the cells along D*."""
        return np.sqrt(self.d_star_edges[1:] * self.d_star_edges[:-1])

    @property
    def f(self) -> np.ndarray:
        """Centers of the cells along f."""
        return 0.5 * (self.f_edges[1:] + self.f_edges[:-1])


@dataclass
class IvimPosterior:
    """Posterior means per voxel; arrays have the image's shape, failed voxels are NaN.

    Attributes:
        s0: signal at b = 0, given the other means, in signal units.
        d: diffusion coefficient in 10^-3 mm^2/s.
        d_star: pseudo-diffusion coefficient in 10^-3 mm^2/s.
        f: perfusion fraction, 0 to 1.
        f_d_star: f x D* in 10^-3 mm^2/s.
        s0_sd: standard deviation, that of the voxel's own fit.
        d_sd: posterior standard deviation.
        d_star_sd: see `d_sd`.
        f_sd: see `d_sd`.
        f_d_star_sd: see `d_sd`.
        residual: root mean square residual in signal units.
        r_squared: share of the signal's variance over b that the means explain.
        limits: lower and upper limits of the central 95 % of the posterior, shape (6, ...), of
            d, d_star and f in turn; read them with `interval`.
        valid: voxels that were fitted.
        at_bound: voxels whose D* lies at the upper end of what was learned, or that keep their own
            fit, if that lies at a limit.
        d_star_identifiable: voxels whose own data tell about D* (as in `IvimFit`), and whose D*
            is not at the upper end of what was learned.
        typical: voxels that the learned distribution can explain; the others keep their own fit.
        distribution: what was learned.
        sigma: noise of a single image that was used.
    """

    s0: np.ndarray
    d: np.ndarray
    d_star: np.ndarray
    f: np.ndarray
    f_d_star: np.ndarray
    s0_sd: np.ndarray
    d_sd: np.ndarray
    d_star_sd: np.ndarray
    f_sd: np.ndarray
    f_d_star_sd: np.ndarray
    residual: np.ndarray
    r_squared: np.ndarray
    limits: np.ndarray
    valid: np.ndarray
    at_bound: np.ndarray
    d_star_identifiable: np.ndarray
    typical: np.ndarray
    distribution: IvimDistribution
    sigma: float | np.ndarray

    def interval(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper limit of the 95 % interval of "d", "d_star" or "f"."""
        first = {"d": 0, "d_star": 2, "f": 4}[name]
        return self.limits[first], self.limits[first + 1]


def fit_ivim_hierarchical(
    signal: np.ndarray,
    b_values: Sequence[float],
    *,
    distribution: IvimDistribution | None = None,
    progress: Progress | None = None,
    **known: Unpack[Known],
) -> IvimPosterior:
    """Learn the distribution of D, D* and f over the voxels, then estimate each voxel with it.

    Args:
        signal: shape (..., n), as for `ivim.fit_ivim`.
        b_values: n values in s/mm^2.
        distribution: one learned before (from a cohort, say); learned from these voxels if None.
        progress: called with the fraction done; answering False cancels.
        known: see `Known`; the mask is the region whose distribution is learned.

    Raises:
        ValueError: as `ivim.fit_ivim`, or the fit of no voxel converged.
        InterruptedError: canceled.
    """
    voxels = prepared(signal, b_values, **known)
    own = fit_prepared(voxels, None, share(progress, 0.0, 0.3))
    voxels.usable = np.flatnonzero(own.valid.reshape(-1))
    if voxels.usable.size == 0:
        raise ValueError("No voxel could be fitted: there is nothing to learn a distribution from.")
    if distribution is None:
        distribution = _learned(voxels, own, share(progress, 0.3, 0.6))
    grid = _grid(distribution, voxels)
    edges = (distribution.d_edges, distribution.d_star_edges, distribution.f_edges)
    estimates = _estimates(own)
    maps = np.full((19, voxels.signal.shape[0]), np.nan, dtype=np.float32)

    def work(start: int, stop: int) -> None:
        index, block = voxels.block(start, stop)
        out = np.empty((19, index.size), dtype=np.float32)
        _posteriors(
            block, voxels.sigma[index], voxels.precision[index],
            tuple(each[index] for each in estimates), voxels.b, voxels.averages,
            voxels.rician, *grid, *edges, out,
        )  # fmt: skip
        maps[:, index] = out

    run_blocks(work, voxels.usable.size, share(progress, 0.6, 1.0))
    return _result(voxels, own, maps, distribution)


def _estimates(own: IvimFit) -> list[np.ndarray]:
    """S0, D, D* and f of each voxel's own fit, flat."""
    return [getattr(own, name).reshape(-1) for name in ("s0", "d", "d_star", "f")]


def _result(
    voxels: Voxels, own: IvimFit, maps: np.ndarray, distribution: IvimDistribution
) -> IvimPosterior:
    names = ("s0", "d", "d_star", "f", "f_d_star", "d_sd", "d_star_sd", "f_sd", "f_d_star_sd")
    typical = maps[11] <= _MISFIT
    alone = own.valid.reshape(-1) & ~typical
    for row, name in zip(maps, (*names, "residual", "r_squared"), strict=False):
        row[alone] = getattr(own, name).reshape(-1)[alone]
    for n, name in enumerate(("d", "d_star", "f")):
        for side in (0, 1):
            maps[12 + 2 * n + side, alone] = own.interval(name)[side].reshape(-1)[alone]
    # Piled up at the upper end, D* is no estimate: nothing in the region says how fast it is.
    at_end = voxels.image(typical & (maps[18] > 0.5))
    images = {name: voxels.image(row) for name, row in zip(names, maps, strict=False)}
    return IvimPosterior(
        **images,
        s0_sd=own.s0_sd,
        residual=voxels.image(maps[9]),
        r_squared=voxels.image(maps[10]),
        limits=maps[12:18].reshape(6, *voxels.shape),
        valid=own.valid,
        at_bound=(own.at_bound & voxels.image(alone)) | at_end,
        d_star_identifiable=own.d_star_identifiable & ~at_end,
        typical=voxels.image(typical),
        distribution=distribution,
        sigma=own.sigma,
    )


def _learned(voxels: Voxels, own: IvimFit, progress: Progress | None) -> IvimDistribution:
    """Maximum likelihood histogram of up to LEARNING_VOXELS voxels, by EM."""
    index = voxels.sample(LEARNING_VOXELS)
    d, d_star, f, d_sd, f_sd = (
        getattr(own, name).reshape(-1)[index].astype(float)
        for name in ("d", "d_star", "f", "d_sd", "f_sd")
    )
    d_edges = _edges(d, 0.0, max(1.05 * np.quantile(d, 0.998), 0.1), np.median(d_sd))
    f_edges = _edges(f, 0.0, np.clip(1.05 * np.quantile(f, 0.998), 0.05, 1.0), np.median(f_sd))
    # D* no further than the voxels reach whose data tell it: beyond, only misfit could be learned.
    told = own.d_star_identifiable.reshape(-1)[index]
    spread = np.log(d_star[told] if told.sum() >= _TOLD else d_star)
    low, high = np.quantile(spread, [0.005, 0.995])
    d_star_edges = np.exp(_edges(spread, low - 0.01, high + 0.01, None))

    start = IvimDistribution(d_edges, d_star_edges, f_edges, np.empty(0))
    weak = np.exp(-0.5 * (np.log(start.d_star / PRIOR_EXCESS) / PRIOR_LOG_SD) ** 2)
    weak = (
        (weak * np.diff(np.log(d_star_edges)))[:, None, None]
        * np.diff(f_edges)[:, None]
        * np.diff(d_edges)
    )
    start.weights = weak / weak.sum()

    # In random order, because the table may be full before all are in.
    index = np.random.default_rng(0).permutation(index)
    block = np.ascontiguousarray(voxels.signal[index], dtype=np.float64)
    ends = np.zeros(index.size + 1, dtype=np.int32)
    columns = np.empty(_LEARNING_SIZE, dtype=np.uint16)
    values = np.empty(_LEARNING_SIZE, dtype=np.float32)
    estimates, grid = tuple(each[index] for each in _estimates(own)), _grid(start, voxels)
    for first in range(0, index.size, _TOLD_AFTER):
        tell(progress, 0.2 * first / index.size)
        _likelihoods(
            block, voxels.sigma[index], voxels.precision[index], estimates, voxels.b,
            voxels.averages, voxels.rician, *grid, first, min(first + _TOLD_AFTER, index.size),
            ends, columns, values,
        )  # fmt: skip
    if not ends[-1]:
        return start
    # The table holds likelihood times weak prior, so the unknown is the ratio to that prior.
    weak = start.weights.ravel()
    ratio = np.ones(weak.size)
    # A quarter of the voxels goes most of the way.
    parts = ((ends[: ends.size // 4 + 1], 0.2, 0.4), (ends, 0.4, 1.0))
    for part, first, last in parts:
        tell(progress, first)
        used = np.count_nonzero(np.diff(part))
        if used:
            step = partial(_em_step, part, columns, values, weak, used)
            ratio = _extrapolated(step, ratio, weak, share(progress, first, last))
    weights = ratio * weak
    weights = weights.reshape(start.weights.shape)
    for axis, (nodes, edges) in enumerate(
        ((np.log(start.d_star), np.log(d_star_edges)), (start.f, f_edges), (start.d, d_edges))
    ):
        weights = _smoothed(weights, axis, nodes, edges, used)
    return IvimDistribution(d_edges, d_star_edges, f_edges, weights / weights.sum())


def _em_step(
    ends: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    weak: np.ndarray,
    used: int,
    ratio: np.ndarray,
) -> np.ndarray:
    """One step of expectation-maximization of the ratio to the weak prior, over `used` voxels."""
    kept = WEAK_PRIOR_VOXELS / (WEAK_PRIOR_VOXELS + used)
    gain = _gain(ends, columns, values, ratio.astype(np.float32)) / (used * weak)
    step = (1 - kept) * ratio * gain + kept
    return step / (step @ weak)


def _extrapolated(
    step: Callable[[np.ndarray], np.ndarray],
    ratio: np.ndarray,
    weak: np.ndarray,
    progress: Progress | None,
) -> np.ndarray:
    """LEARNING_CYCLES of two EM steps, a leap along their trend in ln(ratio), and one more step.

    Varadhan and Roland, Scand. J. Stat. 2008, doi 10.1111/j.1467-9469.2007.00585.x (SQUAREM).
    """
    for cycle in range(LEARNING_CYCLES):
        tell(progress, cycle / LEARNING_CYCLES)
        start = np.log(ratio)
        once = np.log(step(ratio))
        twice = np.log(step(np.exp(once)))
        speed, change = once - start, twice - 2 * once + start
        stride = math.sqrt((speed**2 @ weak) / max(change**2 @ weak, 1e-30))
        stride = min(max(stride, 1.0), _LONGEST_STRIDE)
        leap = np.clip(start + 2 * stride * speed + stride**2 * change, -30.0, 60.0)
        ratio = np.exp(leap)
        ratio = step(ratio / (ratio @ weak))
    return ratio


def _edges(values: np.ndarray, low: float, high: float, sd: float | None) -> np.ndarray:
    """Cell edges, denser where the values are; as many as their uncertainty `sd` asks for."""
    count = _DSTAR_NODES
    if sd is not None:
        count = int(np.clip(_NODES_PER_SD * (high - low) / max(sd, 1e-9), _NODES_MIN, _NODES_MAX))
    inside = np.sort(values[(values > low) & (values < high)])
    at = np.linspace(low, high, 1001)
    cumulative = 0.5 * np.searchsorted(inside, at) / max(inside.size, 1)
    cumulative += 0.5 * (at - low) / (high - low)
    return np.interp(np.linspace(cumulative[0], cumulative[-1], count + 1), cumulative, at)


def _smoothed(
    weights: np.ndarray, axis: int, nodes: np.ndarray, edges: np.ndarray, count: int
) -> np.ndarray:
    """Weights blurred along one axis, by a part of Scott's bandwidth for `count` points in 3D.

    Maximum likelihood makes spikes of what a few thousand voxels cannot resolve. Scott,
    Multivariate Density Estimation, 1992, doi 10.1002/9780470316849.
    """
    mass = np.moveaxis(weights, axis, -1).reshape(-1, nodes.size).sum(axis=0)
    mean = mass @ nodes
    bandwidth = _BANDWIDTH * math.sqrt(mass @ (nodes - mean) ** 2) * count ** (-1 / 7)
    distance = (nodes[:, None] - nodes) / max(bandwidth, 1e-12)
    kernel = np.exp(-0.5 * distance**2) * np.diff(edges)
    kernel /= kernel.sum(axis=1, keepdims=True)
    return np.moveaxis(np.moveaxis(weights, axis, -1) @ kernel, -1, axis)


def _grid(distribution: IvimDistribution, voxels: Voxels) -> tuple[np.ndarray, ...]:
    """Weighted decays to project signals on (slow, then fast ones), the nodes of D* and f, log2(e)
    / 2 |curve|^2 and the prior of each node.
    """
    d, d_star, f = distribution.d, distribution.d_star, distribution.f
    slow, fast = np.exp(-d[:, None] * voxels.b), np.exp(-d_star[:, None] * voxels.b)
    averages = voxels.averages
    squares = (
        ((1 - f) ** 2)[:, None] * (slow**2 @ averages)
        + (2 * f * (1 - f))[:, None] * ((fast * averages) @ slow.T)[:, None, :]
        + (f**2)[:, None] * (fast**2 @ averages)[:, None, None]
    )
    # Integrating S0 out with a flat prior multiplies the likelihood by 1 / |curve|.
    prior = distribution.weights / np.sqrt(squares)
    return (
        np.ascontiguousarray((np.concatenate([slow, fast]) * averages).T, np.float32),
        d_star.astype(np.float32),
        f.astype(np.float32),
        (0.5 * _BITS / squares).astype(np.float32).reshape(d_star.size, -1),
        (prior / prior.max()).astype(np.float32).reshape(d_star.size, -1),
    )


# What a kernel calls is compiled into it (forceinline). A function left to be called is compiled
# anew with each of its callers, with sums in another order, and which of these all of them call
# differs between the run that compiles and those that load from the cache.
@njit(cache=True, nogil=True)
def _padded(values):
    """Of each measurement, in single precision; zeros fill the last of the compiler's vectors."""
    padded = np.zeros(-(-values.size // 16) * 16, np.float32)
    for k in range(values.size):
        padded[k] = values[k]
    return padded


@njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)
def _project(
    signal, sigma, precision, own, b, averages, rician, v, decays, target, of_f, projected, slow
):
    """Signals freed of the Rician bias at the voxel's own fit, and their projections.

    `b`, `averages` and `target` are `_padded`. `target` gets the signals, `projected` their
    projections on the decays, `slow` the slow part of each node's, where the (f, D) plane is laid
    out as one run, long enough to be vectorized.

    Returns half of what the own fit explains of the squared length, in units of the scatter.
    """
    one = np.float32(1)
    scale = np.float32(1 / sigma[v])
    s0, f = np.float32(own[0][v]) * scale, np.float32(own[3][v])
    d, d_star = np.float32(own[1][v]), np.float32(own[2][v])
    root = np.float32(math.sqrt(precision[v]))
    explained = np.float32(0)
    target[:] = np.float32(0)
    for k in range(signal.shape[1]):
        target[k] = np.float32(signal[v, k]) * scale
    for k in range(b.size):
        m = target[k]
        nu = s0 * ((one - f) * exp_single(-b[k] * d) + f * exp_single(-b[k] * d_star))
        _, ratio = bessel_single(max(m * nu, np.float32(LEAST_SINGLE)), False)
        along = root * (m * ratio if rician and m > np.float32(0) else m)
        expected = root * nu
        target[k] = along
        explained += averages[k] * expected * (along + along - expected)
    projected[:] = np.float32(0)
    for k in range(signal.shape[1]):
        along = target[k]
        for i in range(projected.size):
            projected[i] += decays[k, i] * along
    nodes = slow.size // of_f.size
    for n in range(of_f.size):
        rest, start = one - of_f[n], n * nodes
        for i in range(nodes):
            slow[start + i] = rest * projected[i]
    return np.float32(0.5) * explained


@njit(cache=True, fastmath=True, nogil=True)
def _likelihoods(
    signal, sigma, precision, own, b, averages, rician,
    decays, grid_dstar, grid_f, half_inverse, prior, first, last, ends, columns, values,
):  # fmt: skip
    """Likelihood times prior of the nodes that matter, as some rows of a sparse matrix.

    Rows stay empty when the space given is used up.
    """
    projected = np.empty(decays.shape[1], np.float32)
    slow = np.empty(half_inverse.shape[1], np.float32)
    quick = projected[slow.size // grid_f.size :]
    plane_f = np.repeat(grid_f, slow.size // grid_f.size)
    gained = np.empty(half_inverse.shape, np.float32)
    single_b, counts = _padded(b), _padded(averages)
    target = np.empty(single_b.size, np.float32)
    filled = ends[first]
    for v in range(first, last):
        ends[v + 1] = filled
        if filled + prior.size > columns.size:
            continue
        _project(
            signal, sigma, precision, own, single_b, counts, rician, v,
            decays, target, grid_f, projected, slow,
        )  # fmt: skip
        best = np.int32(0)
        for j in range(quick.size):
            fast, inverse, of_plane = quick[j], half_inverse[j], gained[j]
            for c in range(slow.size):
                product = slow[c] + plane_f[c] * fast
                x = product * product * inverse[c]
                of_plane[c] = x
                # Numbers above 0 are in the order of their bits, whose largest is vectorized.
                bits = viewer(x, np.int32)
                best = bits if bits > best else best
        top = viewer(best, np.float32)
        if top > _TOO_CLEAR * _BITS:
            continue
        for j in range(quick.size):
            for c in range(slow.size):
                x = gained[j, c] - top
                if x > _TABLED:
                    columns[filled] = j * slow.size + c
                    values[filled] = power_of_two(x) * prior[j, c]
                    filled += 1
        ends[v + 1] = filled


@njit(cache=True, fastmath=True, nogil=True)
def _gain(ends, columns, values, ratio):
    """Sum over the voxels of each node's share of the voxel's evidence, over its own ratio."""
    gain = np.zeros(ratio.size, np.float32)
    for v in range(ends.size - 1):
        # Slices of one voxel: with the whole arrays, compilers cannot rule out overlap.
        where, likelihood = columns[ends[v] : ends[v + 1]], values[ends[v] : ends[v + 1]]
        evidence = np.float32(0)
        for c in range(where.size):
            evidence += likelihood[c] * ratio[where[c]]
        if evidence > np.float32(0):
            share = np.float32(1) / evidence
            for c in range(where.size):
                gain[where[c]] += share * likelihood[c]
    return gain


@njit(cache=True, fastmath=True, nogil=True, forceinline=True)
def _limits(mass, edges):
    """Where the cumulative mass, uniform within each cell, reaches 2.5 and 97.5 %."""
    lower = upper = edges[mass.size]
    below, level = 0.0, 0.025
    for i in range(mass.size):
        above = below + mass[i]
        while above >= level:
            at = edges[i] + (edges[i + 1] - edges[i]) * (level - below) / mass[i]
            if level > 0.5:
                return lower, at
            lower, level = at, 0.975
        below = above
    return lower, upper


@njit(cache=True, fastmath=True, nogil=True, forceinline=True)
def _mean_sd(mass, nodes, edges):
    """Mean and standard deviation, the width of the cells included."""
    mean = 0.0
    square = 0.0
    for i in range(mass.size):
        mean += mass[i] * nodes[i]
        square += mass[i] * (nodes[i] * nodes[i] + (edges[i + 1] - edges[i]) ** 2 / 12.0)
    return mean, math.sqrt(max(square - mean * mean, 0.0))


@njit(cache=True, fastmath=True, nogil=True, forceinline=True)
def _over_grid(slow, plane_f, quick, half_inverse, prior, reached, plane, mass, mass_f, mass_f2):
    """Posterior of one voxel, times 2^(_RAISED - reached): summed over D* into `plane`, and per D*
    its mass and those of f and f^2. Returns the log2-likelihood of the best node, less `reached`,
    or -_RAISED where that is less.
    """
    plane[:] = np.float32(0)
    best = np.int32(0)
    least = _RAISED + _LEAST_POWER
    lowered = reached - _RAISED
    for j in range(quick.size):
        fast, inverse, before = quick[j], half_inverse[j], prior[j]
        total = np.float32(0)
        of_f = np.float32(0)
        of_f2 = np.float32(0)
        for c in range(plane.size):
            product = slow[c] + plane_f[c] * fast
            x = product * product * inverse[c] - lowered
            # Numbers above 0 are in the order of their bits, whose largest is vectorized.
            bits = viewer(x, np.int32)
            best = bits if bits > best else best
            y = power_of_two(x if x > least else least) * before[c]
            plane[c] += y
            total += y
            y *= plane_f[c]
            of_f += y
            of_f2 += y * plane_f[c]
        mass[j], mass_f[j], mass_f2[j] = total, of_f, of_f2
    return viewer(best, np.float32) - _RAISED


@njit(cache=True, fastmath=True, nogil=True)
def _posteriors(
    signal, sigma, precision, own, b, averages, rician,
    decays, grid_dstar, grid_f, half_inverse, prior,
    d_edges, d_star_edges, f_edges, out,
):  # fmt: skip
    """Sum the posterior over the grid.

    `out` gets, per voxel: S0, D, D*, f, f D*, standard deviations of the last four, RMS residual,
    R^2, log-likelihood lost against the own fit, limits of D, of D*, of f, mass of the last D*.
    """
    projected = np.empty(decays.shape[1], np.float32)
    # Each an array of its own: parts of one are not vectorized, as they might overlap.
    slow = np.empty(half_inverse.shape[1], np.float32)
    plane = np.empty(half_inverse.shape[1], np.float32)
    nodes = slow.size // grid_f.size
    quick = projected[nodes:]
    plane_f = np.repeat(grid_f, nodes)
    single_b, counts = _padded(b), _padded(averages)
    target, curve = np.empty(single_b.size, np.float32), np.empty(single_b.size, np.float32)
    grid_d = 0.5 * (d_edges[1:] + d_edges[:-1])
    mass_d = np.empty(nodes, np.float32)
    mass_dstar, of_f, of_f2 = np.empty((3, quick.size))
    mass_f = np.empty(grid_f.size, np.float32)
    for v in range(signal.shape[0]):
        explained = _project(
            signal, sigma, precision, own, single_b, counts, rician, v,
            decays, target, grid_f, projected, slow,
        )  # fmt: skip
        for c in range(out.shape[0]):
            out[c, v] = np.nan
        if not explained <= _TOO_CLEAR:
            continue
        reached = explained * _BITS  # about the most, by the own fit
        over = np.float32(0)
        while True:
            top = _over_grid(
                slow, plane_f, quick, half_inverse, prior, reached + over,
                plane, mass_dstar, of_f, of_f2,
            )  # fmt: skip
            if not top > _LARGEST_POWER:
                break
            over += top
        total = product1 = product2 = 0.0
        for j in range(quick.size):
            total += mass_dstar[j]
            product1 += grid_dstar[j] * of_f[j]
            product2 += grid_dstar[j] * grid_dstar[j] * of_f2[j]
        if not total > 0.0:
            continue
        share = 1.0 / total
        product1 *= share
        product2 *= share
        for j in range(quick.size):
            mass_dstar[j] *= share
        mass_d[:] = np.float32(0)
        for n in range(mass_f.size):
            row, of_row = np.float32(0), plane[n * nodes : (n + 1) * nodes]
            for i in range(nodes):
                part = np.float32(share) * of_row[i]
                mass_d[i] += part
                row += part
            mass_f[n] = row

        d, out[5, v] = _mean_sd(mass_d, grid_d, d_edges)
        dstar, out[6, v] = _mean_sd(mass_dstar, grid_dstar, d_star_edges)
        f, out[7, v] = _mean_sd(mass_f, grid_f, f_edges)
        out[1, v], out[2, v], out[3, v], out[4, v] = d, dstar, f, product1
        out[8, v] = math.sqrt(max(product2 - product1 * product1, 0.0))
        out[11, v] = -(top + over) / _BITS
        out[12, v], out[13, v] = _limits(mass_d, d_edges)
        out[14, v], out[15, v] = _limits(mass_dstar, d_star_edges)
        out[16, v], out[17, v] = _limits(mass_f, f_edges)
        out[18, v] = mass_dstar[mass_dstar.size - 1]

        of_fast, of_slow = np.float32(f), np.float32(1.0 - f)
        rate, fast_rate = np.float32(d), np.float32(dstar)
        along = np.float32(0)
        norm = np.float32(0)
        for k in range(single_b.size):
            curve[k] = of_slow * exp_single(-single_b[k] * rate) + of_fast * exp_single(
                -single_b[k] * fast_rate
            )
            along += counts[k] * curve[k] * target[k]
            norm += counts[k] * curve[k] * curve[k]
        s0 = along / norm / math.sqrt(precision[v])
        weight = 0.0
        mean = 0.0
        for k in range(b.size):
            weight += averages[k]
            mean += averages[k] * signal[v, k]
        mean /= weight
        misfit = 0.0
        spread = 0.0
        for k in range(b.size):
            nu = sigma[v] * s0 * curve[k]
            expected = math.sqrt(nu * nu + sigma[v] ** 2) if rician else nu
            misfit += averages[k] * (signal[v, k] - expected) ** 2
            spread += averages[k] * (signal[v, k] - mean) ** 2
        out[0, v] = sigma[v] * s0
        out[9, v] = math.sqrt(misfit / weight)
        out[10, v] = 1.0 - misfit / spread if spread > 0.0 else np.nan
