"""Off-resonance found globally over a whole volume, before the voxelwise water-fat fit.

How it works: per voxel the least-squares residual of the water-fat model is computed over a grid
of off-resonance frequencies (variable projection; water and fat of one phase in closed form,
Berglund 2012, doi 10.1002/mrm.23119, extended to real amplitudes by Bydder 2011,
doi 10.1016/j.mri.2010.08.011). Its local minima are the candidates: the true frequency and
those of swapped water and fat. Residuals averaged over blocks of about 6 mm feed a Markov random
field over the whole volume (`block_field`). The same message passing among the candidates of all
voxels, drawn to the field of the blocks, gives each voxel its start, and by min-marginals the risk
that water and fat are swapped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

import numpy as np
from numba import njit

from PDFFMapperLib.maps.progress import Progress, run_parallel, share, tell
from PDFFMapperLib.water_fat import fronts
from PDFFMapperLib.water_fat.block_field import block_field, expected_steps, huber
from PDFFMapperLib.water_fat.neighborhood import flat_index, number
from PDFFMapperLib.water_fat.residual_curves import (
    R2STAR_TRIED,
    residual_curves,
    scratch,
    search_tables,
)
from PDFFMapperLib.water_fat.spectra import GYROMAGNETIC_RATIO_MHZ_PER_T
from PDFFMapperLib.water_fat.voxel_fit import LANES, RESIDUAL, fit_voxels
from PDFFMapperLib.water_fat.voxel_signals import VoxelSignals

_SAMPLES_PER_LOBE = 8  # grid points per 1/(last - first echo time)
_SAMPLES_OF_TWO = 64  # the same with two echoes, whose residual is 0 at each candidate
_CANDIDATES = 4
_BLOCK_MM = 6.0
_GRADIENT_HZ_PER_MM_PER_T = 1.6  # usual off-resonance change; larger ones cost linearly
_MISFIT = 0.02  # relative model error that keeps strong voxels from overruling smoothness
_COST_CAP = 30.0
_COARSE_CAP = 0.5  # most that disagreeing with the coarse field costs a voxel
_FINE_SWEEPS = 20
_SETTLED = 2e-4  # share of voxels that still change
_FINE_WEIGHT = 0.5
_FINE_CAP = 30.0
_TILE = 4_000  # voxels
_BAND = 5_000  # voxels of a slab searched by one core at once


@dataclass(frozen=True)
class ChemicalShiftModel:
    """What the fit knows of the acquisition.

    Attributes:
        echo_times_s: increasing echo times, shape (echoes,).
        fat: complex signal of unit fat at these times, shape (echoes,).
        field_strength_t: field strength.
        common_phase: water and fat share the phase at echo time 0.
    """

    echo_times_s: np.ndarray
    fat: np.ndarray
    field_strength_t: float
    common_phase: bool = True

    @property
    def echo_spacing_s(self) -> float | None:
        """The spacing of equidistant echoes (to 1 %), else None."""
        steps = np.diff(self.echo_times_s)
        return float(steps.mean()) if np.ptp(steps) <= 0.01 * steps.mean() else None

    @cached_property
    def period_hz(self) -> float:
        """Off-resonance that changes no echo but by a common phase; 0 if there is none.

        It is one over the largest step (to 1 %) of which all echo spacings are multiples, as where
        trains are interleaved or echoes left out. Over ten times the shift of fat it is of no use.
        """
        steps = np.diff(self.echo_times_s)
        ppm_hz = GYROMAGNETIC_RATIO_MHZ_PER_T * self.field_strength_t
        for parts in range(1, 9):
            step = steps.sum() / np.round(steps / steps.min() * parts).sum()
            if 1 / step > 35 * ppm_hz:
                break
            if np.abs(steps / step - np.round(steps / step)).max() <= 0.01:
                return float(1 / step)
        return 0.0

    def unknowns(self, r2star_per_s: float | None) -> int:
        """How many numbers each voxel's fit has to find; a given R2* is none of them."""
        return (5 if self.common_phase else 6) - (r2star_per_s is not None)


@dataclass
class FieldSearch:
    """The chosen start of each voxel's fit.

    Attributes:
        off_resonance_hz: float32, shape (voxels,) in the order of the mask.
        swap_margin: how much worse the best other candidate is, in units of the cost; small or
            negative values are a risk of swapped water and fat. Infinite where there is none.
        noise: SD of the real (and imaginary) part estimated from the residuals.
    """

    off_resonance_hz: np.ndarray
    swap_margin: np.ndarray
    noise: float


def find_off_resonance(
    signals: VoxelSignals,
    mask: np.ndarray,
    model: ChemicalShiftModel,
    voxel_size_mm: tuple[float, float, float],
    r2star_per_s: float | None = None,
    progress: Progress | None = None,
    noise: float | None = None,
) -> FieldSearch:
    """Off-resonance of every voxel of the mask, consistent over the whole volume.

    It is searched from -5 to 5 ppm; where the residual has a period not over twice that, one period
    is searched and then unwrapped.

    Args:
        signals: the echoes of the volume.
        mask: voxels with signal, bool, shape (slices, rows, columns).
        model: echo times, fat signal and field strength.
        voxel_size_mm: along slices, rows, columns.
        r2star_per_s: R2* where it is known, for the noise level only.
        progress: called with the fraction done; returning False cancels.
        noise: SD where no residual tells it, as with two echoes; these have no R2* left.

    Raises:
        InterruptedError: canceled.
    """
    ppm_hz = GYROMAGNETIC_RATIO_MHZ_PER_T * model.field_strength_t
    largest_hz = max(5 * ppm_hz, 0.5 * model.period_hz)
    if signals.error is not None and not model.echo_spacing_s:
        # Its phase may stand for another field, see echo_errors.
        largest_hz += 0.5 / float(np.diff(model.echo_times_s).mean())
    factors = _block_factors(mask.shape, voxel_size_mm)
    block_mm = np.array(factors) * voxel_size_mm
    scale = np.array([_GRADIENT_HZ_PER_MM_PER_T * model.field_strength_t * mm for mm in block_mm])
    grid = _Grid.make(model, largest_hz, float(scale.mean()))
    index = flat_index(mask)
    if noise is None:
        noise = _sample_noise(signals, index, model, r2star_per_s)
    block_cost, candidates, costs, trust = _searched(
        signals, mask, index, model, grid, factors, noise, share(progress, 0.0, 0.6)
    )
    steps = expected_steps(
        signals, mask, factors, voxel_size_mm, model.echo_times_s, model.field_strength_t
    )
    coarse = block_field(
        grid.label_costs(block_cost),
        grid.label_hz,
        0.01 * (grid.label_hz / ppm_hz) ** 2,
        grid.period_hz if grid.circular else 0.0,
        steps,
        share(progress, 0.6, 0.8),
    )
    chosen, margin = _choose(
        mask,
        index,
        candidates,
        costs,
        trust,
        coarse,
        steps.hz,
        steps.spread_hz,
        np.array(factors),
        scale,
        grid.period_hz,
        # With two echoes all exchanged at once would cost nothing but for these turns.
        grid.period_hz if len(model.echo_times_s) > 2 else 0.0,
        share(progress, 0.8, 1.0),
    )
    return FieldSearch(chosen, margin, noise)


def _sample_noise(signals, index, model, r2star_per_s) -> float:
    """Noise SD by the fits of a thousand voxels."""
    sample = signals.at(index[:: max(1, len(index) // 1000)])
    unknowns = model.unknowns(r2star_per_s)
    if 2 * len(model.echo_times_s) <= unknowns:  # nothing would remain
        r2star_per_s, unknowns = R2STAR_TRIED[0], unknowns - 1
    fits = fit_from_candidates(sample, model, r2star_per_s, tried=1)
    return noise_sd(fits[:, RESIDUAL], sample, unknowns)


def _searched(signals, mask, index, model, grid: _Grid, factors, noise: float, progress):
    """Residual curves of all voxels.

    Returns:
        costs of the frequencies per block; candidates of each voxel, their costs and its trust.
    """
    tables = search_tables(model, grid.frequencies_hz)
    blocks = tuple(math.ceil(n / f) for n, f in zip(mask.shape, factors, strict=True))
    # Large arrays are made empty and set to 0 on all cores: `np.zeros` leaves their many small
    # pages to be found one by one.
    block_cost = np.empty((*blocks, len(grid.frequencies_hz)), np.float32)
    candidates = np.empty((len(index), _CANDIDATES), np.float32)
    costs = np.empty((len(index), _CANDIDATES), np.float32)
    trust = np.empty(len(index), np.float32)
    slices, rows, columns = mask.shape

    def search_band(band: tuple[int, int, int]) -> None:
        slab, first, last = band
        block_rows = slice(first, last)
        block_cost[slab, block_rows] = 0
        first, last = first * factors[1], min(last * factors[1], rows)
        for k in range(slab * factors[0], min((slab + 1) * factors[0], slices)):
            ends = (k * rows + np.array([first, last])) * columns
            part = slice(*np.searchsorted(index, ends))
            _search(
                signals.at(index[part]),
                index[part],
                np.array(mask.shape),
                np.array(factors),
                tables,
                model.common_phase,
                grid.frequencies_hz,
                grid.period_hz,
                # An end that leads to a minimum beyond it is none: all voxels would share it to
                # the last digit, and agree better than those of a field that noise spreads.
                -np.inf,
                2 * noise**2,
                block_cost,
                candidates[part],
                costs[part],
                trust[part],
            )
        # Errors of the model are shared by neighbors: n voxels count as sqrt(n).
        block_cost[slab, block_rows] /= math.sqrt(math.prod(factors))

    count = max(1, min(blocks[1], round(len(index) / blocks[0] / _BAND)))
    ends = [blocks[1] * n // count for n in range(count + 1)]
    bands = [(slab, *pair) for slab in range(blocks[0]) for pair in pairwise(ends)]
    run_parallel(search_band, bands, progress)
    if len(model.echo_times_s) == 2:  # small for its mixture alone, and no residual tells
        trust[:] = 1
    return block_cost, candidates, costs, trust


def sample_candidates(signals: np.ndarray, model: ChemicalShiftModel) -> np.ndarray:
    """Local minima of the residual of single voxels, best first, in Hz.

    Args:
        signals: complex64, shape (voxels, echoes).
        model: echo times, fat signal and field strength.

    Returns:
        float32, shape (voxels, 4); the best is repeated where there are fewer.
    """
    frequencies = frequencies_of_one_period(model)
    tables = search_tables(model, frequencies)
    signals = np.ascontiguousarray(signals)
    candidates = np.empty((len(signals), _CANDIDATES), np.float32)
    costs = np.empty((len(signals), _CANDIDATES), np.float32)
    _search(
        signals,
        np.zeros(len(signals), np.int64),
        np.ones(3, np.int64),
        np.ones(3, np.int64),
        tables,
        model.common_phase,
        frequencies,
        model.period_hz,
        np.inf,
        1.0,
        np.zeros((1, 1, 1, len(frequencies)), np.float32),
        candidates,
        costs,
        np.empty(len(signals), np.float32),
    )
    return np.where(np.isfinite(costs), candidates, candidates[:, :1])


def frequencies_of_one_period(model: ChemicalShiftModel) -> np.ndarray:
    """Frequencies (Hz) over the period of the residual, else +- 5 ppm."""
    ppm_hz = GYROMAGNETIC_RATIO_MHZ_PER_T * model.field_strength_t
    return _Grid.make(model, 0.5 * model.period_hz or 5 * ppm_hz).frequencies_hz


@dataclass(frozen=True)
class _Grid:
    """Frequencies at which residuals are computed, some of which are labels of the search.

    Where the residual is periodic one period is computed, and if all of it is searched the labels
    form a circle: the last is next to the first.
    """

    frequencies_hz: np.ndarray
    period_hz: float  # 0: not periodic
    label_hz: np.ndarray
    label_index: np.ndarray
    circular: bool

    @classmethod
    def make(
        cls, model: ChemicalShiftModel, largest_hz: float, label_step_hz: float | None = None
    ) -> _Grid:
        """For a search from minus to plus `largest_hz` with labels about `label_step_hz` apart."""
        span = model.echo_times_s[-1] - model.echo_times_s[0]
        of_two = len(model.echo_times_s) == 2
        sampling = 1 / (span * (_SAMPLES_OF_TWO if of_two else _SAMPLES_PER_LOBE))
        if label_step_hz is None:
            label_step_hz = sampling
        finest = min(label_step_hz, sampling)
        stride = max(1, round(label_step_hz / sampling))
        period = model.period_hz
        if period:
            count = 2 * stride * math.ceil(max(16, period / finest) / (2 * stride))
            step = period / count
            circular = 2 * largest_hz >= period
            last = count // 2 if circular else stride * math.ceil(largest_hz / step / stride)
            labels = np.arange(-last, last + (not circular), stride)
            return cls(np.arange(count) * step, period, labels * step, labels % count, circular)
        last = stride * math.ceil(largest_hz / finest / stride)
        frequencies = np.arange(-last, last + 1) * (largest_hz / last)
        labels = np.arange(0, 2 * last + 1, stride)
        return cls(frequencies, 0.0, frequencies[labels], labels, False)

    def label_costs(self, costs: np.ndarray) -> np.ndarray:
        """Costs of the labels, the least among the frequencies up to half a label away."""
        reach = (self.label_index[1] - self.label_index[0]) % len(self.frequencies_hz) // 2
        index = self.label_index + np.arange(-reach, reach + 1)[:, None]
        if self.period_hz:
            index %= len(self.frequencies_hz)
        else:
            index = index.clip(0, len(self.frequencies_hz) - 1)
        least = np.empty((*costs.shape[:-1], len(self.label_index)), costs.dtype)

        run_parallel(lambda k: _least_of(costs[k], index, least[k]), range(len(costs)))
        return least


@njit(cache=True, nogil=True)
def _least_of(costs, index, least):
    """The least of the costs of each block of a slab at the places `index`, (places, labels)."""
    for j in range(costs.shape[0]):
        for i in range(costs.shape[1]):
            for x in range(index.shape[1]):
                least[j, i, x] = costs[j, i, index[0, x]]
                for n in range(1, len(index)):
                    least[j, i, x] = min(least[j, i, x], costs[j, i, index[n, x]])


def fit_from(
    signals: np.ndarray,
    model: ChemicalShiftModel,
    r2star_per_s: float | None,
    starts_hz: np.ndarray,
    prior: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """`fit_voxels` of a model; R2* is fitted where it is None, with a prior if one is given."""
    if prior is None:
        prior = (np.zeros(len(signals), np.float32),) * 2
    return fit_voxels(
        np.ascontiguousarray(signals),
        model.echo_times_s,
        model.fat,
        model.common_phase,
        np.nan if r2star_per_s is None else float(r2star_per_s),
        np.ascontiguousarray(starts_hz, np.float32),
        *(np.ascontiguousarray(each, np.float32) for each in prior),
    )


def fit_from_candidates(
    signals: np.ndarray,
    model: ChemicalShiftModel,
    r2star_per_s: float | None = None,
    tried: int = _CANDIDATES,
) -> np.ndarray:
    """The best of the fits of single voxels from several candidates, as `fit_voxels` has it."""
    starts = sample_candidates(signals, model)
    fits = np.stack([fit_from(signals, model, r2star_per_s, starts[:, c]) for c in range(tried)])
    residuals = np.where(np.isfinite(fits[..., RESIDUAL]), fits[..., RESIDUAL], np.inf)
    return np.take_along_axis(fits, residuals.argmin(0)[None, :, None], 0)[0]


def noise_sd(residuals: np.ndarray, signals: np.ndarray, unknowns: int) -> float:
    """Noise SD of the real (and imaginary) part from sums of squared residuals of voxels.

    The median of chi-squared (Wilson and Hilferty) is used, so that poor fits of a few voxels do
    not count.
    """
    freedom = max(2 * signals.shape[1] - unknowns, 1)
    median = freedom * (1 - 2 / (9 * freedom)) ** 3
    energy = float(np.mean(np.abs(signals) ** 2))
    variance = float(np.nanmedian(residuals)) / median
    return math.sqrt(max(variance, 1e-12 * energy, 1e-30))


def relative_residuals(
    first: np.ndarray, second: np.ndarray, energy: np.ndarray
) -> tuple[float, float]:
    """How much larger the residuals of the first fits are than those of the second.

    Each voxel counts by the difference relative to its own sum. That is tanh(ln(a / b) / 2) of the
    residuals a and b: of the log-likelihood ratio per sample where each voxel has a noise of its
    own, but bounded, so that a few voxels of wild residual do not decide.

    Args:
        first: as `fit_voxels` has them.
        second: of the same voxels.
        energy: squared signal of each voxel, the most that a failed fit leaves.

    Returns:
        The mean, and its standard error.
    """
    a, b = (np.nan_to_num(fits[:, RESIDUAL].astype(float), nan=np.inf) for fits in (first, second))
    a, b = np.minimum(a, energy), np.minimum(b, energy)
    relative = (a - b) / np.maximum(a + b, 1e-10 * energy)
    return float(relative.mean()), float(relative.std() / np.sqrt(len(relative)) + 1e-9)


@njit(cache=True, nogil=True)
def _search(
    signals,
    index,
    shape,
    factors,
    tables,
    common_phase,
    frequencies,
    period,
    beyond,
    noise_energy,
    block_cost,
    candidates,
    costs,
    trust,
):
    """Residual curves: their best local minima per voxel, and their sums per block.

    `trust` of a voxel becomes its signal over what noise and model leave unexplained. `beyond` is
    the cost beyond the ends of the frequencies: infinite where an end may be a minimum.
    """
    arrays = scratch(tables)
    curves = np.empty((frequencies.size, LANES), np.float32)
    curve = np.full(frequencies.size + 2, beyond, np.float32)  # and those next to its ends
    inside = curve[1:-1]
    energy, (smallest, scale) = np.empty(LANES, np.float32), np.empty((2, LANES), np.float32)
    cap = np.float32(_COST_CAP)
    freedom = max(2 * signals.shape[1] - (5 if common_phase else 6), 1)
    for first in range(0, len(signals), LANES):
        residual_curves(signals, first, tables, arrays, curves, energy)
        smallest[:] = np.float32(np.inf)
        for g in range(frequencies.size):
            for i in range(LANES):
                smallest[i] = min(smallest[i], curves[g, i])
        for i in range(LANES):
            # What no frequency explains (motion, flow) makes a voxel count less, as more noise
            # would.
            unexplained = max(noise_energy + _MISFIT**2 * energy[i], 2 * smallest[i] / freedom)
            scale[i] = 1 / unexplained
        for g in range(frequencies.size):
            for i in range(LANES):
                curves[g, i] = (curves[g, i] - smallest[i]) * scale[i]
        for v in range(first, min(first + LANES, len(signals))):
            trust[v] = np.sqrt(energy[v - first] * scale[v - first])
            for g in range(frequencies.size):
                inside[g] = curves[g, v - first]
            if period > 0:
                curve[0], curve[-1] = inside[-1], inside[0]
            k = index[v] // (shape[1] * shape[2]) // factors[0]
            j = index[v] // shape[2] % shape[1] // factors[1]
            block = block_cost[k, j, index[v] % shape[2] // factors[2]]
            for g in range(frequencies.size):
                block[g] += min(inside[g], cap)
            _add_candidates(curve, frequencies, candidates[v], costs[v])


@njit(cache=True, nogil=True)
def _add_candidates(curve, frequencies, candidates, costs):
    """The best local minima of a voxel's costs, of one more beyond each end of the frequencies.

    Where there are fewer their costs are infinite.
    """
    step = frequencies[1] - frequencies[0]
    found = 0
    for g in range(frequencies.size):
        before, here, after = curve[g], curve[g + 1], curve[g + 2]
        if here <= before and here < after:
            shift = 0.0
            bend = before + after - 2 * here
            if np.isfinite(bend) and bend > 0:
                shift = 0.5 * (before - after) / bend
                here -= 0.25 * (before - after) * shift
            place = found if found < _CANDIDATES else _CANDIDATES
            while place > 0 and costs[place - 1] > here:
                if place < _CANDIDATES:
                    costs[place] = costs[place - 1]
                    candidates[place] = candidates[place - 1]
                place -= 1
            if place < _CANDIDATES:
                costs[place] = here
                candidates[place] = frequencies[g] + shift * step
                found = min(found + 1, _CANDIDATES)
    for c in range(found, _CANDIDATES):
        costs[c] = np.inf
        candidates[c] = 0


def _block_factors(shape, voxel_size_mm) -> tuple[int, int, int]:
    """Voxels per block along each axis: about 6 mm, and at least eight blocks per axis."""
    return tuple(
        max(1, min(round(_BLOCK_MM / mm), n // 8))
        for n, mm in zip(shape, voxel_size_mm, strict=True)
    )


def _choose(
    mask,
    index,
    candidates,
    costs,
    trust,
    coarse,
    steps_hz,
    spread_hz,
    factors,
    scale_hz,
    period_hz,
    fold_hz,
    progress,
):
    """The candidate of each voxel that agrees with the coarse field and with its neighbors.

    Message passing as for the blocks, over voxels and their candidates, until hardly any voxel
    changes.

    Returns:
        The frequency chosen per voxel, and how much worse the best other one is (min-marginals).
    """
    where = np.empty(mask.shape, np.int32)
    found = np.empty(len(index), np.int8)
    ends = np.searchsorted(index, np.arange(len(mask) + 1) * mask[0].size)
    messages = np.empty((len(index), 3, _CANDIDATES), np.float32)

    def settle(k: int) -> None:
        part = slice(ends[k], ends[k + 1])
        messages[part] = 0
        number(mask[k], ends[k], where[k])
        field = np.empty(ends[k + 1] - ends[k], np.float32)
        _interpolate(coarse, k, factors, mask[k], field)
        _settle_costs(candidates[part], costs[part], found[part], field, scale_hz.mean(), period_hz)

    run_parallel(settle, range(len(mask)))
    given = (
        where,
        candidates,
        costs,
        found,
        trust,
        steps_hz / factors[:, None, None, None].astype(np.float32),
        *(np.arange(n) // factor for n, factor in zip(mask.shape, factors, strict=True)),
        (factors[:, None, None, None] / spread_hz).astype(np.float32),
        np.float32(fold_hz or np.inf),
    )
    chosen = np.zeros(len(index), np.float32)
    margin = np.empty(len(index), np.float32)

    def pass_on(forward: bool, changed: list[int], tile: fronts.Tile) -> None:
        changed.append(_pass_candidate_messages(*given, messages, chosen, margin, forward, tile))

    for sweep in range(_FINE_SWEEPS):
        tell(progress, sweep / _FINE_SWEEPS)
        changed: list[int] = []  # by tiles
        for forward in (True, False):
            work = partial(pass_on, forward, changed)
            run_parallel(*fronts.sweep(work, mask.shape, _TILE, forward))
        if sum(changed) < _SETTLED * len(index):
            break
    return chosen, margin


@njit(cache=True, nogil=True)
def _interpolate(coarse, k, factors, mask, field):
    """Values of blocks at the voxels of slice `k`'s mask, linear between their centers.

    Args:
        coarse: of the blocks, float32.
        k: the slice.
        factors: voxels per block along each axis.
        mask: of the slice.
        field: becomes the values, shape (voxels,).
    """
    one, n = np.float32(1), 0
    sides, ends = np.empty((2, 2), np.float32)
    below, above, up = _between(k, factors[0], coarse.shape[0])
    for j in range(mask.shape[0]):
        before, after, down = _between(j, factors[1], coarse.shape[1])
        for i in range(mask.shape[1]):
            if mask[j, i]:
                left, right, along = _between(i, factors[2], coarse.shape[2])
                for side, i_block in enumerate((left, right)):
                    for end, j_block in enumerate((before, after)):
                        low, high = coarse[below, j_block, i_block], coarse[above, j_block, i_block]
                        ends[end] = low * (one - up) + high * up
                    sides[side] = ends[0] * (one - down) + ends[1] * down
                field[n] = sides[0] * (one - along) + sides[1] * along
                n += 1


@njit(cache=True, nogil=True)
def _between(place, factor, count):
    """Of `count` blocks the one before a voxel, the one after it and what that one counts."""
    at = min(max((place + 0.5) / factor - 0.5, 0.0), count - 1.0)
    low = min(int(at), max(count - 2, 0))
    return low, min(low + 1, count - 1), np.float32(at - low)


@njit(cache=True, nogil=True)
def _settle_costs(candidates, costs, found, field, scale, period):
    """Bring candidates to the period of the coarse field, add their distance from it and count
    them; one at least, the coarse field.
    """
    for v in range(len(field)):
        if not np.isfinite(costs[v, 0]):
            candidates[v, 0], costs[v, 0] = field[v], 0.0
        found[v] = 0
        for c in range(_CANDIDATES):
            if not np.isfinite(costs[v, c]):
                break
            found[v] += 1
            if period > 0:
                turns = np.round((field[v] - candidates[v, c]) / period)
                candidates[v, c] += np.float32(turns * period)
            costs[v, c] = min(costs[v, c], _COST_CAP)
            costs[v, c] += min(huber((candidates[v, c] - field[v]) / scale), _COARSE_CAP)


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _alike(trust, other):
    """How firmly two voxels bind each other: the ratio of their trust."""
    return min(trust, other) / max(max(trust, other), np.float32(1e-30))


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _cost_apart(apart, period, firmness):
    """Cost of neighbors that differ by so much (Hz) more than is expected, but for the period."""
    half, two = np.float32(0.5), np.float32(2)
    apart = abs(apart)
    jump = min(apart, abs(apart - period)) * firmness
    cost = half * jump * jump if jump < two else two * jump - two
    return min(np.float32(_FINE_WEIGHT) * cost, np.float32(_FINE_CAP))


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _pass_candidate_messages(
    where,
    candidates,
    costs,
    found,
    trust,
    slope,
    slab,
    band,
    file,
    firmness,
    period,
    messages,
    chosen,
    margin,
    forward,
    tile,
):
    """Message passing over the voxels of a tile of slices and rows, in their order or against it.

    After going against it `chosen` is the candidate of each voxel, those after it being decided,
    and `margin` how much worse the best other one is (min-marginals).

    Returns:
        How many voxels were given another candidate.

    Args:
        where: number of each voxel of the volume, -1 outside the mask.
        found: candidates that each voxel has.
        trust: signal of each voxel over what noise and model leave unexplained. Neighbors count
            by the ratio of theirs: what the voxels of a lung have is not the field of the liver
            beside them, while tissues that the model explains alike count whole, however bright.
        slope: expected change of the field per voxel along each axis, by blocks.
        firmness: one over what it may usually differ by from that, 1/Hz, alike: what neighbors
            that are no like tissue hardly tell binds them less.
        slab, band, file: block of each slice, row and column.
        period: neighbors' fields in Hz are compared up to this; infinite: as they are.
        tile: first and last slice, first and last row; the last are beyond it.
    """
    slices, rows, columns = where.shape
    belief = np.empty(_CANDIDATES, np.float32)
    fresh = np.empty(_CANDIDATES, np.float32)
    preceding, following = np.empty(3, np.int64), np.empty(3, np.int64)
    first_k, last_k, first_j, last_j = tile
    changed = 0
    for kk in range(first_k, last_k):
        k = kk if forward else first_k + last_k - 1 - kk
        for jj in range(first_j, last_j):
            j = jj if forward else first_j + last_j - 1 - jj
            for ii in range(columns):
                i = ii if forward else columns - 1 - ii
                v = where[k, j, i]
                if v < 0:
                    continue
                preceding[0] = where[k - 1, j, i] if k > 0 else -1
                preceding[1] = where[k, j - 1, i] if j > 0 else -1
                preceding[2] = where[k, j, i - 1] if i > 0 else -1
                following[0] = where[k + 1, j, i] if k + 1 < slices else -1
                following[1] = where[k, j + 1, i] if j + 1 < rows else -1
                following[2] = where[k, j, i + 1] if i + 1 < columns else -1
                own = found[v]
                before = after = 0
                for c in range(own):
                    belief[c] = costs[v, c]
                for axis in range(3):
                    if preceding[axis] >= 0:
                        before += 1
                        for c in range(own):
                            belief[c] += messages[preceding[axis], axis, c]
                    if following[axis] >= 0:
                        after += 1
                        for c in range(own):
                            belief[c] += messages[v, axis, c]
                if not forward:
                    for c in range(own):
                        fresh[c] = belief[c]
                    for axis in range(3):
                        other = following[axis]
                        if other < 0:
                            continue
                        change = slope[axis, slab[k], band[j], file[i]] - chosen[other]
                        firm = firmness[axis, slab[k], band[j], file[i]]
                        alike = _alike(trust[v], trust[other])
                        for c in range(own):
                            cost = _cost_apart(candidates[v, c] + change, period, firm)
                            fresh[c] += alike * cost - messages[v, axis, c]
                    best = 0
                    for c in range(1, own):
                        if fresh[c] < fresh[best]:
                            best = c
                    changed += chosen[v] != candidates[v, best]
                    chosen[v] = candidates[v, best]
                    least = np.float32(np.inf)
                    for c in range(own):
                        if c != best:
                            least = min(least, belief[c] - belief[best])
                    margin[v] = least
                share = np.float32(1.0 / max(before, after, 1))
                for axis in range(3):
                    other = following[axis] if forward else preceding[axis]
                    if other < 0:
                        continue
                    edge = v if forward else other
                    if forward:
                        at = slab[k], band[j], file[i]
                        change = slope[axis, at[0], at[1], at[2]]
                    else:
                        at = slab[k - (axis == 0)], band[j - (axis == 1)], file[i - (axis == 2)]
                        change = -slope[axis, at[0], at[1], at[2]]
                    firm = firmness[axis, at[0], at[1], at[2]]
                    alike = _alike(trust[v], trust[other])
                    its = found[other]
                    for d in range(its):
                        fresh[d] = np.float32(1e30)
                    for c in range(own):
                        base = share * belief[c] - messages[edge, axis, c]
                        moved = candidates[v, c] + change
                        for d in range(its):
                            cost = _cost_apart(moved - candidates[other, d], period, firm)
                            fresh[d] = min(fresh[d], base + alike * cost)
                    smallest = fresh[0]
                    for d in range(1, its):
                        smallest = min(smallest, fresh[d])
                    for d in range(its):
                        messages[edge, axis, d] = fresh[d] - smallest
    return changed
