"""Mixed fitting: an echo whose phase is off counts by its magnitude alone, the others whole.

So the eddy currents of the first echo (mixed magnitude/complex fitting: doi 10.1002/mrm.22840) can
look like anything in space and do not bias the fat fraction.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from PDFFMapperLib.water_fat.field_map import ChemicalShiftModel, fit_from, fit_from_candidates
from PDFFMapperLib.water_fat.voxel_fit import (
    FAT,
    FRACTION_VARIANCE,
    OFFSET,
    R2STAR,
    R2STAR_VARIANCE,
    RELATIVE_PHASE,
    WATER,
)

_ROUNDS = 20
_SETTLED, _MOST = 1e-3, 0.9  # rad; by which the phase taken changes at most in so many voxels
_SLOWEST = 0.95  # largest factor from step to step that is believed


def fit_mixed(
    signals: np.ndarray,
    model: ChemicalShiftModel,
    r2star_per_s: float | None,
    starts_hz: np.ndarray,
    echo: int,
    prior: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """As `fit_from`, but the phase of one echo is not used.

    The echo is given the phase that the model has there, and fitted again, until that settles:
    the maximum likelihood where its phase is an unknown of each voxel.

    Args:
        signals: complex64, shape (voxels, echoes).
        model: echo times and fat.
        r2star_per_s: R2* where it is known.
        starts_hz: off-resonance to start from, shape (voxels,).
        echo: index of the echo.
        prior: see `fit_from`.
    """
    signals, size = signals.copy(), np.abs(signals[:, echo])
    fits = _without(signals, model, r2star_per_s, starts_hz, echo)
    phase, step = _phase_at(signals, fits, model, echo), None
    for _ in range(_ROUNDS):
        signals[:, echo] = size * np.exp(1j * phase)
        starts = np.where(np.isfinite(fits[:, OFFSET]), fits[:, OFFSET], starts_hz)
        fits = fit_from(signals, model, r2star_per_s, starts, prior)
        before = step
        step = _phase_at(signals, fits, model, echo) - phase
        step -= 2 * np.pi * np.round(step / (2 * np.pi))
        phase = phase + step
        if np.quantile(np.abs(step), _MOST) < _SETTLED:
            break
        if before is not None:  # the steps shrink by a factor: to where they lead (Aitken)
            ratio = np.clip(step * before / np.maximum(before**2, 1e-12), 0, _SLOWEST)
            phase, step = phase + step * ratio / (1 - ratio), None
    _widen(fits, model, r2star_per_s, echo)
    return fits


def fit_mixed_from_candidates(signals, model, r2star_per_s, echo: int) -> np.ndarray:
    """As `fit_mixed`, the off-resonance of single voxels being searched in the other echoes."""
    kept = np.delete(np.arange(signals.shape[1]), echo)
    fewer = replace(model, echo_times_s=model.echo_times_s[kept], fat=model.fat[kept])
    part = np.ascontiguousarray(signals[:, kept])
    starts = fit_from_candidates(part, fewer, r2star_per_s)[:, OFFSET]
    return fit_mixed(signals, model, r2star_per_s, np.nan_to_num(starts), echo)


def _without(signals, model, r2star_per_s, starts_hz, echo: int) -> np.ndarray:
    """The fit of the other echoes, if they suffice; else of all."""
    kept = np.delete(np.arange(signals.shape[1]), echo)
    unknowns = (5 if model.common_phase else 6) - (r2star_per_s is not None)
    if 2 * len(kept) <= unknowns:
        return fit_from(signals, model, r2star_per_s, starts_hz)
    fewer = replace(model, echo_times_s=model.echo_times_s[kept], fat=model.fat[kept])
    return fit_from(np.ascontiguousarray(signals[:, kept]), fewer, r2star_per_s, starts_hz)


def _parts(fits, model) -> tuple[np.ndarray, np.ndarray]:
    """Water and fat at each echo but for a phase of the voxel, shape (voxels, echoes)."""
    fits = fits.astype(float)
    wave = np.exp(np.outer(2j * np.pi * fits[:, OFFSET] - fits[:, R2STAR], model.echo_times_s))
    fat = fits[:, [FAT]] * np.exp(1j * fits[:, [RELATIVE_PHASE]]) * model.fat
    return fits[:, [WATER]] * wave, fat * wave


def _phase_at(signals, fits, model, echo: int) -> np.ndarray:
    """Phase of the model at an echo, in rad; 0 where the fit failed."""
    water, fat = _parts(fits, model)
    signal = water + fat
    along = (signal.conj() * signals).sum(1)
    return np.nan_to_num(np.angle(signal[:, echo] * along))


def _widen(fits, model, r2star_per_s, echo: int) -> None:
    """Variances of fraction and R2* without the phase of the echo, which the fit counted."""
    times = model.echo_times_s - model.echo_times_s[0]
    water, fat = _parts(fits, model)
    unit = [each / np.where(fits[:, [column]] == 0, 1, fits[:, [column]])
            for each, column in ((water, WATER), (fat, FAT))]  # fmt: skip
    signal = water + fat
    columns = [unit[0], unit[1], 1j * signal, 2j * np.pi * times * signal]
    if not model.common_phase:
        columns.append(1j * fat)
    if r2star_per_s is None:
        columns.append(-times * signal)
    columns = np.stack(columns, 2)
    size = np.abs(signal[:, echo])
    along = (signal[:, echo] / np.where(size > 0, size, 1)).conj()[:, None]
    whole = np.concatenate([columns.real, columns.imag], 1)
    kept = whole.copy()
    kept[:, echo] = (along * columns[:, echo]).real
    kept[:, len(times) + echo] = 0
    usable = np.isfinite(whole).all((1, 2))
    total = np.maximum(fits[:, WATER] + fits[:, FAT], 1e-30).astype(float)
    gradient = np.zeros((len(fits), columns.shape[2]))
    gradient[:, 0], gradient[:, 1] = -fits[:, FAT] / total**2, fits[:, WATER] / total**2
    last = np.zeros(columns.shape[2])
    last[-1] = 1
    for by, column in ((gradient, FRACTION_VARIANCE), (last, R2STAR_VARIANCE)):
        if column == R2STAR_VARIANCE and r2star_per_s is not None:
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            wider = _variance(kept, by, usable) / _variance(whole, by, usable)
        fits[:, column] *= np.where(np.isfinite(wider), np.maximum(wider, 1), np.nan)


def _variance(columns, by, usable) -> np.ndarray:
    """Variance of what has the derivatives `by`, for noise of SD 1; NaN where it is singular."""
    scale = np.sqrt((columns**2).sum(1, keepdims=True))
    scale = np.where(usable[:, None, None] & (scale > 0), scale, 1)
    columns = np.where(usable[:, None, None], columns / scale, 0)
    normal = columns.swapaxes(1, 2) @ columns + 1e-9 * np.eye(columns.shape[2])
    by = np.broadcast_to(by, (len(columns), columns.shape[2])) / scale[:, 0]
    return (by * np.linalg.solve(normal, by[..., None])[..., 0]).sum(1)
