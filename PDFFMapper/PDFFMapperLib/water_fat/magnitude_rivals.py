"""What would explain magnitudes better than their order, echo times, field and scale as given.

Each voxel is fitted as given and as if echoes had been exchanged, were those of the next echo time,
of another field, or in part of another gain. Phases do not matter, so that complex echoes are asked
alike. Of right echoes none of these leaves less; of five and more a wrong one shows by what is
left, at noise at which single voxels do not tell it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from PDFFMapperLib.water_fat.echo_errors import capped, gain_patterns, gain_sentence
from PDFFMapperLib.water_fat.magnitude_kernel import fit_sides
from PDFFMapperLib.water_fat.signal_mask import noise_of_air
from PDFFMapperLib.water_fat.spectra import FatSpectrum
from PDFFMapperLib.water_fat.voxel_signals import VoxelSignals

_SAMPLE = 800  # voxels
_OF_MANY = 4  # one voxel of so many is asked first
_FEW = 100
_LEAST_ECHOES = 5  # four leave one number per voxel, which much else explains
_DIMMEST = 0.1  # share of the voxels left out
_LEAVES = 0.8  # of the squared residual; of right echoes rivals leave 1.1 times it and more
_LEAVES_UNSEEN = 0.5  # the same where air does not tell the noise
_AS_NOISE = 1.25  # times the noise of air, that is left at most
_OVER_NOISE = 1.1  # times the noise of air, over which a gain is looked for
_AS_SCALED = 1.5  # the same with a gain, which scales the noise of the one or the other
_RISING_PER_S = -10.0  # least median R2*
# Least range of fat fractions; of one composition, other or cold fat leaves as much as these.
_LEAST_RANGE = 0.2
_FIELDS_T = (1.5, 3.0)
_LEAST_GAIN, _LARGE_GAIN, _MOST_STEP = 0.06, 0.15, 0.3  # ln; bipolar readouts make up to a tenth
_STEPS = 4
_HARM = 1.0  # points by which the PDFF of one voxel in four changes


def checked_against_rivals(
    echoes: VoxelSignals,
    mask: np.ndarray,
    echo_times_s: np.ndarray,
    field_strength_t: float,
    spectrum: FatSpectrum,
) -> list[str]:
    """Refuse echoes that something else explains better than what was given.

    A small gain, as of the odd echoes of a bipolar readout, is only told.

    Args:
        echoes: complex, with their known error to take off, or magnitudes.
        mask: voxels to draw from.
        echo_times_s: in seconds, increasing.
        field_strength_t: in tesla.
        spectrum: fat peaks.

    Returns:
        A sentence where a small gain explains them.

    Raises:
        ValueError: naming what would explain them.
    """
    index = np.flatnonzero(mask)
    count = len(echo_times_s)
    if count < _LEAST_ECHOES or len(index) < _FEW:
        return []
    signals = np.abs(echoes.at(index[:: max(1, len(index) // _SAMPLE)])).astype(np.float32)
    largest = signals.max(1)
    signals = np.ascontiguousarray(signals[largest >= np.quantile(largest, _DIMMEST)])
    air, freedom = noise_of_air(echoes.echoes), count - 3
    noise = air or 0.0
    fat = spectrum.modulation(echo_times_s, field_strength_t)
    given = _fits(signals, echo_times_s, fat, noise)
    squares = _left(given)
    if np.ptp(np.percentile(_fraction(given), [5, 95])) < _LEAST_RANGE:
        return []
    tried = []
    for words, moved, times, field in _rivals(signals, echo_times_s, field_strength_t):
        other = spectrum.modulation(times, field)
        few = np.ascontiguousarray(moved[::_OF_MANY])
        if _left(_fits(few, times, other, noise)) > _left(given[::_OF_MANY]):
            continue  # as of right echoes; all voxels are asked where these leave it open
        fits = _fits(moved, times, other, noise)
        if np.median(fits[:, 2]) > _RISING_PER_S:
            tried.append((_left(fits), words))
    (left, words), size = min(tried, default=(np.inf, "")), np.inf
    explained = _explains(left, squares, air and _AS_NOISE * air, freedom)
    if not explained and (air is None or squares > freedom * (_OVER_NOISE * air) ** 2):
        left, words, size = _gain(signals, echo_times_s, fat, noise, given)
        explained = _explains(left, squares, air and _AS_SCALED * air, freedom)
    if not explained:
        return []
    sentence = (
        f"The brightness of these {count} echoes is explained better {words}: it leaves "
        f"{100 * left / squares:.0f} % of the squared residual. Check the order of the images, "
        "their echo times, the field strength, and that all are of one gain and scale."
    )
    if abs(size) > _LARGE_GAIN:
        raise ValueError(sentence)
    return [sentence]


def _explains(left: float, squares: float, most_noise: float | None, freedom: int) -> bool:
    if most_noise is None:
        return left < _LEAVES_UNSEEN * squares
    return left < _LEAVES * squares and left < freedom * most_noise**2


def _rivals(
    signals: np.ndarray, times: np.ndarray, field: float
) -> Iterator[tuple[str, np.ndarray, np.ndarray, float]]:
    """What may be wrong, in words, with the signals, echo times and field that would be right."""
    count = len(times)
    for other in _FIELDS_T:
        if abs(other / field - 1) > 0.1:
            yield f"by {other:g} T than by the {field:g} T given", signals, times, other
    step = float(times[1] - times[0])
    for late in (-step, step):
        if times[0] + late > 0:
            side = "shorter" if late < 0 else "longer"
            words = f"by echo times {1000 * step:.2f} ms {side} than given"
            yield words, signals, times + late, field
    yield "in the opposite order", np.ascontiguousarray(signals[:, ::-1]), times, field
    for first in range(count - 1):
        order = np.arange(count)
        order[[first, first + 1]] = first + 1, first
        words = f"with echoes {first + 1} and {first + 2} exchanged"
        yield words, np.ascontiguousarray(signals[:, order]), times, field


def _fits(signals, times, fat, noise) -> np.ndarray:
    """The better side of each voxel's fit, as `fit_sides` has it, shape (voxels, 7)."""
    fits = fit_sides(signals, times, fat, noise)
    return fits[np.arange(len(fits)), np.nan_to_num(fits[..., 6], nan=np.inf).argmin(1)]


def _left(fits: np.ndarray) -> float:
    return float(np.nanmean(capped(fits[:, 3].astype(float))))


def _fraction(fits: np.ndarray) -> np.ndarray:
    return fits[:, 1] / np.maximum(fits[:, 0] + fits[:, 1], 1e-30)


def _gain(signals, times, fat, noise, given) -> tuple[float, str, float]:
    """What the gain that explains most leaves (infinite of none), it in words, and its ln."""
    found = [(np.inf, "", 0.0)]
    for pattern in gain_patterns(len(times)):
        size, fits = 0.0, given
        for _ in range(_STEPS):
            moved = (signals * np.exp(-size * pattern)).astype(np.float32)
            size += _step(moved, fits, pattern, times, fat)
            moved = (signals * np.exp(-size * pattern)).astype(np.float32)
            fits = _fits(moved, times, fat, noise)
        change = np.percentile(np.abs(_fraction(fits) - _fraction(given)), 75) * 100
        if abs(size) > _LEAST_GAIN and change > _HARM:
            found.append((_left(fits), f"if {gain_sentence(pattern, size)}", size))
    return min(found)


def _step(signals, fits, pattern, times, fat) -> float:
    """By how much (ln) the gain of a pattern is to grow, the unknowns of voxels projected out."""
    fits = fits.astype(float)
    whole = fits[:, [0]] + fits[:, [1]] * fat
    size, decay = np.maximum(np.abs(whole), 1e-30), np.exp(-np.minimum(fits[:, [2]] * times, 50))
    model = size * decay
    by_fat = (whole.real * fat.real + whole.imag * fat.imag) / size * decay
    slopes = np.stack([whole.real / size * decay, by_fat, -times * model], -1)
    usable = np.isfinite(fits).all(1) & np.isfinite(slopes).all((1, 2))
    taken = np.linalg.qr(slopes[usable])[0]

    def left(values):
        return values - np.einsum("vnj,vmj,vm->vn", taken, taken, values)

    effect, residual = left((model * pattern)[usable]), left((signals - model)[usable])
    squares = (residual**2).sum(1)
    weight = np.minimum(1, 9 * np.median(squares) / np.maximum(squares, 1e-30))
    wanted = (weight[:, None] * effect * residual).sum() / (weight[:, None] * effect**2).sum()
    return float(np.clip(wanted, -_MOST_STEP, _MOST_STEP))
