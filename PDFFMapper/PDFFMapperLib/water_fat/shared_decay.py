"""The R2* that voxels share whose own echoes hardly tell one.

Noise spreads the estimates of such voxels unevenly and loses the fast ones: their mean is too low,
and what noise chose among them is off in PDFF too. Their likelihoods are sound. The R2* of a
neighborhood is where the voxels together are most likely, each with water, fat, phase and
off-resonance of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit

from PDFFMapperLib.maps.progress import run_parallel
from PDFFMapperLib.water_fat.field_map import ChemicalShiftModel
from PDFFMapperLib.water_fat.neighborhood import is_dark, number, slice_ends
from PDFFMapperLib.water_fat.signal_mask import spread
from PDFFMapperLib.water_fat.voxel_fit import FAT, RELATIVE_PHASE, RESIDUAL, WATER

_TRIED = np.array([*range(-100, 600, 50), *range(600, 1301, 100)], float)  # R2* in 1/s
_MOST = 8.0  # of minus the log-likelihood that one voxel counts: it may be of another tissue
_REACH = (1, 5, 5)  # voxels that are asked together, those of one color
_SCALE = 0.1  # usual difference of voxels of one tissue in signal, as by the coil
_APART = 3.1  # normal deviates, over which echoes of two voxels are not those of one tissue
_ENOUGH = 12  # voxels alike that tell an R2*; else all around do
_CHUNK = 10_000


def shared_r2star(
    mask: np.ndarray,
    chosen: np.ndarray,
    noise: np.ndarray,
    model: ChemicalShiftModel,
    signals: Callable[[np.ndarray], np.ndarray],
    fit: Callable[[np.ndarray, float], np.ndarray],
) -> np.ndarray:
    """R2* of the chosen voxels around each of them, and its SD, in 1/s, shape (2, chosen voxels).

    Those around are asked whose echoes, means of 3 x 3 voxels alike, are as large within noise and
    a scale of a tenth: beside a border of tissues it is no mean of both. Noise alone parts hardly
    any, so that it does not choose who is asked. Asked are those of one color (`is_dark`):
    by the others it can be judged what is kept, without the noise of what is judged.

    Args:
        mask: the voxels of a fit.
        chosen: of these, the ones that share, by their place.
        noise: SD of each voxel of the mask.
        model: echo times and fat.
        signals: echoes of voxels, by their place, shape (voxels, echoes).
        fit: fits voxels, by their place, at an R2*; see `fit_voxels`.
    """
    costs = np.empty((len(chosen), len(_TRIED)), np.float32)
    sizes = np.ones((len(chosen), len(model.echo_times_s) + 1), np.float32)
    of_model = model.echo_times_s, model.fat, model.common_phase

    def weigh(start: int) -> None:
        here = slice(start, start + _CHUNK)
        part = chosen[here]
        sizes[here, :-1] = np.abs(signals(part)) / noise[part, None]
        cost = np.empty((len(_TRIED), len(part)), np.float32)
        for each, decay in zip(cost, _TRIED, strict=True):
            _costs(fit(part, decay), noise[part], decay, *of_model, each)
        cost = np.nan_to_num(np.minimum(cost - cost.min(0), _MOST), nan=_MOST)
        costs[here] = cost.T

    run_parallel(weigh, range(0, len(chosen), _CHUNK))
    sharing = np.zeros(len(noise), bool)
    sharing[chosen] = True
    sharing = spread(mask, sharing, False, bool)
    ends, where = slice_ends(sharing), np.empty(mask.shape, np.int32)
    run_parallel(lambda k: number(sharing[k], ends[k], where[k]), range(len(mask)))
    echoes, slices = len(model.echo_times_s), np.flatnonzero(np.diff(ends))
    # Of chi-squared (Wilson and Hilferty).
    most = echoes * (1 - 2 / (9 * echoes) + _APART * math.sqrt(2 / (9 * echoes))) ** 3
    means, shared = np.empty((len(chosen), echoes + 1), np.float32), np.empty((2, len(chosen)))
    run_parallel(lambda k: _smooth(where, k, sizes, most, means), slices)
    run_parallel(lambda k: _share(where, k, costs, means, most, _TRIED, *shared), slices)
    return shared


@njit(cache=True, nogil=True, error_model="numpy")
def _smooth(where, k, sizes, most, means):
    """Means of the sizes of alike neighbors in plane, of a slice's voxels, and of how many.

    Args:
        where: number of each voxel of the volume, -1 where it does not share.
        k: the slice.
        sizes: of the echoes of each voxel, in noise SDs, and how many voxels these are the mean of.
        most: squared difference of sizes, in its variance, of voxels that go together.
        means: become the result, alike.
    """
    rows, columns = where.shape[1:]
    for j in range(rows):
        for i in range(columns):
            v = where[k, j, i]
            if v < 0:
                continue
            means[v] = 0
            for b in range(max(j - 1, 0), min(j + 2, rows)):
                for a in range(max(i - 1, 0), min(i + 2, columns)):
                    other = where[k, b, a]
                    if other >= 0 and _apart_by(sizes[v], sizes[other]) < most:
                        means[v] += sizes[other]
            means[v, :-1] /= means[v, -1]


@njit(cache=True, nogil=True, error_model="numpy")
def _share(where, k, costs, sizes, most, tried, shared, sds):
    """Where the costs of the voxels that go together are lowest, and the SD, of a slice's voxels.

    Args:
        where, k, sizes, most: as `_smooth` has them.
        costs: of each voxel and R2* tried.
        tried: R2* in 1/s.
        shared, sds: become the result.
    """
    slices, rows, columns = where.shape
    alike, total = np.empty((2, len(tried)), np.float32)
    for j in range(rows):
        for i in range(columns):
            v = where[k, j, i]
            if v < 0:
                continue
            alike[:] = total[:] = 0
            count, dark = 0, is_dark(k, j, i)
            for c in range(max(k - _REACH[0], 0), min(k + _REACH[0] + 1, slices)):
                for b in range(max(j - _REACH[1], 0), min(j + _REACH[1] + 1, rows)):
                    for a in range(max(i - _REACH[2], 0), min(i + _REACH[2] + 1, columns)):
                        other = where[c, b, a]
                        if other < 0 or is_dark(c, b, a) != dark:
                            continue
                        for x in range(len(tried)):
                            total[x] += costs[other, x]
                        if _apart_by(sizes[v], sizes[other]) < most:
                            count += 1
                            for x in range(len(tried)):
                                alike[x] += costs[other, x]
            shared[v], sds[v] = _lowest(alike if count >= _ENOUGH else total, tried)


@njit(cache=True, nogil=True, error_model="numpy")
def _apart_by(sizes, others):
    """Squared difference of two voxels' echoes in its variance: noise, and a common scale."""
    square = along = mean = 0.0
    for n in range(len(sizes) - 1):
        apart, both = sizes[n] - others[n], 0.5 * (sizes[n] + others[n])
        square += apart * apart
        along += apart * both
        mean += both * both
    variance = 1 / sizes[-1] + 1 / others[-1]
    return (square - along * along / (mean + variance / _SCALE**2)) / variance


@njit(cache=True, nogil=True, error_model="numpy")
def _costs(fits, noise, decay, times, fat, common_phase, costs):
    """Minus the log-likelihood of voxels at an R2*, freed of what draws its slope from 0.

    Noise fits the off-resonance along with it, a curve: to second order (Box 1971, see
    `fit_voxels`) the expected slope at the true R2* is that of minus a quarter of the logarithm of
    the information on off-resonance. Those of water, fat and phase have no part in it.
    """
    echoes = len(times)
    columns = np.empty((5, 2 * echoes))
    last = 3 if common_phase else 4
    for v in range(len(fits)):
        lead = complex(math.cos(fits[v, RELATIVE_PHASE]), math.sin(fits[v, RELATIVE_PHASE]))
        water, other = float(fits[v, WATER]), float(fits[v, FAT]) * lead
        for n in range(echoes):
            fade = math.exp(-decay * times[n])
            signal = (water + other * fat[n]) * fade
            of = (fade + 0j, fat[n] * fade, 1j * signal, 0j, 1j * times[n] * signal)
            if not common_phase:
                of = (of[0], of[1], 1j * fade, 1j * fat[n] * fade, of[4])
            for k in range(5):
                columns[k, 2 * n], columns[k, 2 * n + 1] = of[k].real, of[k].imag
        information = _apart(columns, last)
        costs[v] = fits[v, RESIDUAL] / (2 * noise[v] ** 2) + 0.25 * math.log(
            max(information, 1e-30)
        )


@njit(cache=True, nogil=True, error_model="numpy")
def _apart(columns, count):
    """Squared length of the last column apart from the first ones, which are changed in place."""
    last = len(columns) - 1
    for k in range(count):
        size = (columns[k] * columns[k]).sum()
        for other in range(k + 1, last + 1):
            if other < count or other == last:
                part = (columns[k] * columns[other]).sum() / max(size, 1e-300)
                for n in range(columns.shape[1]):
                    columns[other, n] -= part * columns[k, n]
    return (columns[last] * columns[last]).sum()


@njit(cache=True, nogil=True, error_model="numpy")
def _lowest(costs, tried):
    """Where a parabola through the least of the costs and its neighbors is lowest, and its SD."""
    least = min(max(np.argmin(costs), 1), len(costs) - 2)
    x0, x1, x2 = tried[least - 1], tried[least], tried[least + 1]
    y0, y1, y2 = costs[least - 1], costs[least], costs[least + 1]
    before, after = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    bend = max((after - before) / (x2 - x0), 1e-6)
    lowest = (x0 + x1) / 2 - before / (2 * bend)
    return min(max(lowest, x0), x2), math.sqrt(0.5 / bend)
