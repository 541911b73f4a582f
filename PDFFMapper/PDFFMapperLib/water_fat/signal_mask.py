"""Voxels with signal: told from the noise of the images, not from their bright parts.

Marrow with iron is dark beside fat, and after a few ms it is gone. A voxel therefore counts by the
largest of its echoes, and against the noise: that of the air where the images show some, else
that of the finest differences between neighbors.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from PDFFMapperLib.maps.progress import run_parallel

_BLOCK = 8  # voxels in plane
_FALSE_ALARM = 1e-4  # share of the voxels of air that one voxel alone may let pass
_ALIKE = 0.03  # the same where most of the voxels around pass with it
_RAYLEIGH_VARIATION = 0.523  # SD over mean of the magnitude of noise
_RAYLEIGH_SD = 0.655  # SD of the magnitude of noise over that of its real part
_RAYLEIGH_MEAN = 1.2533  # its mean over the same
_DARK = 0.02  # share of voxels, the darkest
_FLOOR = 1.5  # times the largest echo of so many voxels of air, over which there are none
_MANY_DARK = 0.05  # share of the blocks that air has where there is some
_ECHOES_OF_AIR = 6  # that tell its level
_AS_BRIGHT = 0.07  # of the level of air, by which that of echoes differs at most
_RELATED = 0.3  # most correlation of air from echo to echo; tissue of cases has 0.4 to 0.9
_STEADY = 0.05  # of its level, by which air scatters at least
_CALM = 10  # percent of the blocks that are not dark, whose scatter is that of noise alone
_CALMER = 0.95  # of that: air scatters by less; its magnitudes have 0.66 to 0.71 of signal's noise
_WHOLE = 0.95  # share of the image over which there should be no air
_QUIETER = 0.75  # of the noise, under which no block falls
_MOST_QUIETER = 0.25  # share of the blocks that do so all the same, and are not of quieter air
_MANY = 50_000  # voxels that tell what is bright
_DARKEST = 0.005  # of the bright parts; what noise-free images hold under it is not tissue


def spread(
    mask: np.ndarray, values: object, outside: float = np.nan, dtype: type = np.float32
) -> np.ndarray:
    """The values of a mask's voxels, in their order, as a volume of the mask's shape."""
    volume = np.full(mask.shape, outside, dtype)
    volume[mask] = values
    return volume


def signal_mask(
    echoes: np.ndarray,
    noise: float | None = None,
    decays: bool = False,
    notes: list[str] | None = None,
) -> np.ndarray:
    """Voxels with signal over the noise, bool, shape (slices, rows, columns).

    The largest echo of a voxel must pass what noise reaches in one of 10,000 voxels of air, or
    with most of its neighbors in plane what it reaches in one of 30. Air of smoothed magnitudes or
    of the sum of squares of several coils counts by its own level and scatter.

    Args:
        echoes: complex or magnitude, shape (echoes, slices, rows, columns); also images of one
            object that are no echoes.
        noise: `background_noise` of these, if it is known already.
        decays: all tissue is much darker in the last image than in the first, as in diffusion, so
            that two tell the level of air; of others it takes three.
        notes: a sentence is added to these where air counted by its own level, or none was seen.
    """
    echoes = np.asarray(echoes, echoes.dtype.newbyteorder("="))  # compiled code knows no other
    level = np.empty(echoes.shape[1:], np.float32)
    run_parallel(lambda k: _largest(echoes, k, level[k]), range(len(level)))
    some = level.ravel()[:: level.size // _MANY | 1]  # odd: of 256 columns none is left out
    high = float(np.percentile(some, 98)) or float(level.max())
    noise = background_noise(echoes) if noise is None else noise
    floor, spread_of_floor = noise * _RAYLEIGH_MEAN, noise * _RAYLEIGH_SD
    darkest = np.percentile(some[some > 0], 100 * _DARK) if some.any() else 0.0
    of_noise = noise * math.sqrt(-2 * math.log(1 - _DARK ** (1 / len(echoes))))
    if darkest > _FLOOR * of_noise:  # there is no air, or none that scatters as it
        if of_air := _level_of_air(echoes, decays):
            floor, spread_of_floor = of_air
            if notes is not None:
                notes.append(
                    "Air scatters less than noise does (smoothed magnitudes, or several coils): "
                    "what is as dark as the darkest parts, which are alike in all images, was left "
                    "out as air; where that is tissue, give a mask (--mask)."
                )
    alone, together = (
        max(floor + _sds_over_air(len(echoes) / rate) * spread_of_floor, _DARKEST * high)
        for rate in (_FALSE_ALARM, _ALIKE)
    )
    mask = np.empty(level.shape, bool)
    run_parallel(lambda k: _passes(level[k], alone, together, mask[k]), range(len(level)))
    if notes is not None and (share := mask.mean()) > _WHOLE:
        notes.append(
            f"{100 * share:.0f} % of the image was taken for tissue: where more of it is air, "
            "that of smoothed magnitudes or several coils was not recognized; give a mask (--mask)."
        )
    return mask


def _sds_over_air(times: float) -> float:
    """SDs over its mean that the magnitude of noise reaches once in so many times."""
    return (math.sqrt(2 * math.log(times)) - _RAYLEIGH_MEAN) / _RAYLEIGH_SD


def _level_of_air(echoes: np.ndarray, decays: bool) -> tuple[float, float] | None:
    """Mean and SD of air whose magnitudes were smoothed, or combined from several coils.

    They scatter less than noise does, over a level that no differences tell. It is that of the
    darkest blocks, if these are many, as bright in every echo, as no tissue is that decays, scatter
    in each by themselves, and by less than the calmest of the others: what does not decay (water
    that fills the image, fat in diffusion) has the noise of all that has signal. Complex values are
    left alone: their air is 0 on average however it was smoothed.
    """
    if np.iscomplexobj(echoes) or len(echoes) < (2 if decays else 3) or min(echoes.shape[2:]) < 2:
        return None
    skipped = len(echoes) > 3  # of diffusion b = 0 may be averaged otherwise
    count = min(len(echoes) - skipped, _ECHOES_OF_AIR)
    some = np.linspace(skipped, len(echoes) - 1, count).round().astype(int)
    blocks = np.nan_to_num([blocks_of(np.abs(echoes[n])) for n in some], posinf=0)
    blocks = blocks[:, (blocks > 0).mean(-1).min(0) > 0.9]
    largest = blocks.mean(-1).max(0)
    dark = largest < 1.4 * np.quantile(largest, _DARK) if largest.size else np.zeros(0, bool)
    if dark.sum() < max(3, _MANY_DARK * dark.size) or (~dark).sum() < 3:
        return None
    means = blocks.mean(-1)
    shares = blocks / means[..., None]  # the texture of a block is the same in each
    shares = shares.reshape(*means.shape, min(_BLOCK, echoes.shape[2]), -1)
    finest = np.diff(np.diff(np.diff(shares, axis=0), axis=2), axis=3) ** 2
    parts = means[1:] ** -2 + means[:-1] ** -2
    scatter = np.sqrt((np.median(finest, (2, 3)) / parts).mean(0))
    if not np.median(scatter[dark]) < _CALMER * np.percentile(scatter[~dark], _CALM):
        return None
    blocks, means = blocks[:, dark], means[:, dark]
    levels, level = np.median(means, axis=1), float(means.mean())
    within = np.median(blocks.var(-1), axis=1)
    first, last = (blocks - means[..., None])[[0, -1]]
    related = np.median((first * last).mean(-1)) / max(math.sqrt(within[0] * within[-1]), 1e-30)
    sd = math.sqrt(within.mean() + means.var(1).mean())
    apart = max(np.ptp(levels), np.median(np.abs(means[0] - means[-1])) / 2)
    alike = apart < _AS_BRIGHT * level and related < _RELATED
    return (level, sd) if alike and sd > _STEADY * level else None


@njit(cache=True, nogil=True)
def _square(value):
    """The squared magnitude of a real or complex value, in double precision."""
    real, imaginary = float(value.real), float(value.imag)
    return real * real + imaginary * imaginary


@njit(cache=True, nogil=True)
def _largest(echoes, k, level):
    """Magnitude of the largest finite echo of each voxel of slice `k`."""
    largest = np.empty(level.shape[1])
    for j in range(level.shape[0]):
        largest[:] = 0
        for n in range(len(echoes)):  # echo by echo, the compiler makes vectors of it
            for i in range(level.shape[1]):
                square = _square(echoes[n, k, j, i])
                largest[i] = max(largest[i], square if square < np.inf else 0.0)
        for i in range(level.shape[1]):
            level[j, i] = math.sqrt(largest[i])


@njit(cache=True, nogil=True)
def _passes(level, alone, together, mask):
    """Voxels of a slice over a limit alone, or over a lower one with most of those around."""
    rows, columns = level.shape
    for j in range(rows):
        for i in range(columns):
            mask[j, i] = level[j, i] > alone
            if mask[j, i] or not level[j, i] > together:
                continue
            passing = cells = 0
            for b in range(max(j - 1, 0), min(j + 2, rows)):
                for a in range(max(i - 1, 0), min(i + 2, columns)):
                    cells += 1
                    passing += level[b, a] > together
            mask[j, i] = 2 * passing > cells


def background_noise(echoes: np.ndarray) -> float:
    """Noise SD of the real (or imaginary) part; 0 where the images show none.

    It is that of air. Where there is none it is the SD of differences of diagonal neighbors in the
    calmest quarter of the last echo. Whole numbers hold at least the noise of rounding.
    """
    noise = noise_of_air(echoes)
    if noise is not None:
        return noise
    echo = np.nan_to_num(echoes[-1])
    finest = echo[..., 1:, 1:] - echo[..., :-1, 1:] - echo[..., 1:, :-1] + echo[..., :-1, :-1]
    squares = blocks_of(np.abs(finest) ** 2) if finest.size else np.zeros((0, 1))
    squares = np.median(squares[(squares > 0).mean(-1) > 0.9], -1)  # an edge does not count
    # Medians of the exponential distribution and of chi-squared with one degree of freedom.
    parts = 8 * math.log(2) if np.iscomplexobj(echo) else 4 * 0.455 * _RAYLEIGH_SD**2
    calm = math.sqrt(np.percentile(squares, 25) / parts) if len(squares) else 0.0
    return max(calm, _gray_level(echo) / 2)


def noise_of_air(echoes: np.ndarray) -> float | None:
    """Noise SD of the real (or imaginary) part by air; None where none is seen.

    Blocks of air are those in which the magnitude scatters as noise does, alike in the first and
    the last echo but without relation between them. They are of tissue where a quarter of all
    blocks is quieter and not such, as in water and fat images whose air was set to 0.
    """
    echoes = np.asarray(echoes, echoes.dtype.newbyteorder("="))  # compiled code knows no other
    parts = [np.empty(0)] * echoes.shape[1]

    def add_slice(k: int) -> None:
        parts[k] = _block_statistics(echoes[0, k], echoes[-1, k])

    run_parallel(add_slice, range(len(parts)))
    usable, *means, product = np.concatenate(parts, axis=1)
    usable = usable > 0
    first, last, first_square, last_square, product = (each[usable] for each in (*means, product))
    means, squares = np.stack([first, last]), np.stack([first_square, last_square])
    levels = np.sqrt(squares / 2)
    spread = np.maximum(np.sqrt(np.maximum(squares - means**2, 0)), 1e-30)
    variation = spread / np.maximum(means, 1e-30)
    relation = (product - first * last) / (spread[0] * spread[1])
    air = (np.abs(variation - _RAYLEIGH_VARIATION) < 0.12).all(0) & (relation < 0.5)
    air &= levels.max(0) < 1.25 * levels.min(0)
    if air.sum() < max(3, 0.005 * len(usable)):
        return None
    noise = float(np.median(levels[:, air]))
    if ((levels.min(0) < _QUIETER * noise) & ~air).mean() >= _MOST_QUIETER:
        return None  # it is that of tissue that happens to scatter as air does
    return noise


def _block_statistics(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Of each block of a slice: whether it holds values, means of the first and of the last echo,
    of their squares and of their product; shape (6, blocks)."""
    high, wide = (min(_BLOCK, count) for count in first.shape)
    sums = np.zeros((6, first.shape[0] // high, first.shape[1] // wide))
    _add_to_blocks(np.ascontiguousarray(first), np.ascontiguousarray(last), high, wide, sums)
    sums[1:] /= high * wide
    sums[0] = (sums[0] > 0.9 * high * wide) & np.isfinite(sums[3:5]).all(0)
    return sums.reshape(6, -1)


@njit(cache=True, nogil=True)
def _add_to_blocks(first, last, high, wide, sums):
    """Add how many voxels of a block of so many rows and columns hold a value in the first echo,
    and what `_block_statistics` has the means of."""
    for j in range(sums.shape[1] * high):
        for i in range(sums.shape[2] * wide):
            own = sums[:, j // high, i // wide]
            one, other = _square(first[j, i]), _square(last[j, i])
            own[0] += one > 0
            own[1] += math.sqrt(one)
            own[2] += math.sqrt(other)
            own[3] += one
            own[4] += other
            own[5] += math.sqrt(one * other)


def _gray_level(image: np.ndarray) -> float:
    """Step between the values of an image of whole numbers, else 0."""
    for values in (np.stack([image.real, image.imag]), np.abs(image)):
        values = np.unique(values)
        if len(values) > 2 and np.allclose(values, np.round(values), rtol=0, atol=1e-4):
            return float(np.diff(np.round(values)).clip(1).min())
    return 0.0


def blocks_of(image: np.ndarray, size: int = _BLOCK) -> np.ndarray:
    """Values of an image, shape (slices, rows, columns), by squares in plane: (blocks, values)."""
    slices, rows, columns = image.shape
    high, wide = min(size, rows), min(size, columns)
    image = image[:, : rows // high * high, : columns // wide * wide]
    blocks = image.reshape(slices, rows // high, high, columns // wide, wide)
    return blocks.swapaxes(2, 3).reshape(-1, high * wide)
