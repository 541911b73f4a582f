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
from PDFFMapperLib.water_fat.neighborhood import sum_around
from PDFFMapperLib.water_fat.voxel_fit import FAT, RELATIVE_PHASE, RESIDUAL, WATER

_TRIED = np.array([*range(-100, 600, 50), *range(600, 1301, 100)], float)  # R2* in 1/s
_MOST = 8.0  # of minus the log-likelihood that one voxel counts: it may be of another tissue
_CHUNK = 10_000


def shared_r2star(
    mask: np.ndarray,
    chosen: np.ndarray,
    noise: np.ndarray,
    model: ChemicalShiftModel,
    fit: Callable[[np.ndarray, float], np.ndarray],
) -> np.ndarray:
    """R2* of the chosen voxels around each of them, and its SD, in 1/s, shape (2, chosen voxels).

    Args:
        mask: the voxels of a fit.
        chosen: of these, the ones that share, by their place.
        noise: SD of each voxel of the mask.
        model: echo times and fat.
        fit: fits voxels, by their place, at an R2*; see `fit_voxels`.
    """
    costs = np.empty((len(_TRIED), len(chosen)), np.float32)
    of_model = model.echo_times_s, model.fat, model.common_phase

    def weigh(start: int) -> None:
        part = chosen[start : start + _CHUNK]
        for cost, decay in zip(costs[:, start : start + _CHUNK], _TRIED, strict=True):
            fits = fit(part, decay)
            _costs(fits, noise[part], decay, *of_model, cost)
        here = costs[:, start : start + _CHUNK]
        here[:] = np.nan_to_num(np.minimum(here - here.min(0), _MOST), nan=_MOST)

    run_parallel(weigh, range(0, len(chosen), _CHUNK))
    spread = np.zeros(len(noise), np.float32)
    for cost in costs:
        spread[chosen] = cost
        cost[:] = sum_around(mask, spread)[chosen]
    return _lowest(costs)


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


def _lowest(costs: np.ndarray) -> np.ndarray:
    """Where a parabola through the least of the costs and its neighbors is lowest, and its SD."""
    least = np.clip(costs.argmin(0), 1, len(costs) - 2)
    voxel = np.arange(costs.shape[1])
    x0, x1, x2 = (_TRIED[least + step] for step in (-1, 0, 1))
    y0, y1, y2 = (costs[least + step, voxel] for step in (-1, 0, 1))
    before, after = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    bend = np.maximum((after - before) / (x2 - x0), 1e-6)
    lowest = np.clip((x0 + x1) / 2 - before / (2 * bend), x0, x2)
    return np.stack([lowest, np.sqrt(0.5 / bend)])
