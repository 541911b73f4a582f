"""The noise of a diffusion series, given or measured, and how far its voxels scatter beyond it.

Two things are told apart. The receiver's noise (sigma) sets the Rician floor of magnitude images.
Motion and pulsation make signals scatter more, the more the brighter, but raise no floor. So sigma
is taken from the brightness class with the least noise (air, if the images show it), and each
voxel's measurements count for as much as their own class scatters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from PDFFMapperLib.diffusion import ivim_kernel, log_polynomial_kernel
from PDFFMapperLib.diffusion.log_polynomial_kernel import GAUSSIAN
from PDFFMapperLib.diffusion.noise import chi_squared_quantile, rician_mean
from PDFFMapperLib.diffusion.voxelwise import Known, Voxels, prepare

if TYPE_CHECKING:  # from Python 3.11 on
    from typing import Unpack

_SAMPLE = 6000
_CLASS = 300
_CLASSES = 12
_AIR = 2.3
"""Mean over SD below which the darkest classes are air; it is 1.91 there, 2.27 at an SNR of 1."""


def prepared(
    signal: np.ndarray,
    b_values: Sequence[float],
    *,
    parameters: int,
    model: str,
    noise: str = "rician",
    **known: Unpack[Known],
) -> Voxels:
    """The voxels to fit with their noise; sigma stays None where it cannot be measured.

    Arguments as for `voxelwise.prepare`. All voxels of the images serve to measure the noise, not
    only those in the mask.

    Raises:
        ValueError: unknown noise, or as `voxelwise.prepare`.
    """
    if noise not in ("rician", "gaussian"):
        raise ValueError(f'The noise is "rician" or "gaussian", not {noise!r}.')
    voxels = prepare(signal, b_values, parameters=parameters, model=model, **known)
    voxels.precision = np.broadcast_to(np.float32(1), voxels.signal.shape[:1])
    voxels.rician = noise == "rician"
    _measure(voxels)
    return voxels


def _measure(voxels: Voxels) -> None:
    """Set sigma, if it is not given, and the precision."""
    index = voxels.everywhere
    if not _models(voxels):
        return
    if index.size > _SAMPLE:
        index = index[np.linspace(0, index.size - 1, _SAMPLE).astype(int)]
    signal = np.ascontiguousarray(voxels.signal[index], dtype=np.float64)
    share = voxels.averages / voxels.averages.sum()
    level = signal @ share
    order = np.argsort(level)
    if voxels.sigma is not None:
        centers, scatter, errors = _scatter_by_class(voxels, signal, level, voxels.sigma[index])
        # Only scatter that is surely more than the given noise counts.
        excess = scatter * (1 - 2 * errors)
    else:
        unit = np.full(index.size, max(np.median(level), 1e-30) / 30)
        for _ in range(2):
            centers, scatter, errors = _scatter_by_class(voxels, signal, level, unit)
            scatter = scatter * np.interp(centers, level[order], unit[order])
            scatter = np.maximum(scatter, 1e-5 * centers.max())
            unit = np.interp(level, centers, scatter)
        floor = np.mean(scatter[scatter <= scatter.min() * (1 + 4 * errors)])
        voxels.sigma = np.broadcast_to(float(floor), voxels.signal.shape[:1])
        excess = scatter / floor
    excess = np.interp(voxels.signal @ share.astype(np.float32), centers, np.maximum(excess, 1.0))
    voxels.precision = (excess**-2).astype(np.float32)


def _models(voxels: Voxels) -> list[str]:
    """The curves that leave residuals to measure: the flexible ones where there are enough."""
    count, distinct = voxels.b.size, np.unique(voxels.b).size
    if count > 4 and distinct >= 4:
        return ["ivim", "kurtosis"]
    return ["mono-exponential"] if count > 2 else []


def _scatter_by_class(
    voxels: Voxels, signal: np.ndarray, level: np.ndarray, unit: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median signal, noise in `unit` and its relative error of each brightness class."""
    order = np.argsort(level)
    classes = np.array_split(order, int(np.clip(level.size // _CLASS, 1, _CLASSES)))
    ones = np.ones(unit.size)
    found = []
    for model in _models(voxels):
        if model == "ivim":
            degrees = voxels.b.size - 4
            out = ivim_kernel.fit_voxels(signal, unit, ones, voxels.b, voxels.averages, False)
        else:
            order_of_b = 2 if model == "kurtosis" else 1
            degrees = voxels.b.size - order_of_b - 1
            out = log_polynomial_kernel.fit_voxels(
                signal, unit, ones, voxels.b, voxels.averages, order_of_b, GAUSSIAN
            )
        squares = out[9].astype(float) ** 2 * voxels.averages.sum() / unit**2
        squares[~np.isfinite(squares)] = np.inf
        medians = np.array([np.median(squares[members]) for members in classes])
        found.append(np.sqrt(medians / chi_squared_quantile(0.5, degrees)))
    scatter = np.minimum.reduce(found)
    scatter[~np.isfinite(scatter)] = 1.0
    if voxels.rician:
        height = np.array([np.median(level[members] / unit[members]) for members in classes])
        ratio = height / np.maximum(scatter, 1e-12)
        scatter = scatter / _rician_narrowing(ratio)
        # In air the mean is known to be sqrt(pi / 2) sigma, averaged images or not.
        air = (ratio < _AIR) & (height < 1.6 * height[0])
        if air.any():
            members = np.concatenate([m for m, one in zip(classes, air, strict=True) if one])
            scatter[air] = np.mean(level[members] / unit[members]) / np.sqrt(np.pi / 2)
    centers = np.array([np.median(level[members]) for members in classes])
    errors = np.array([1.2 / np.sqrt(2 * degrees * members.size) for members in classes])
    return centers, scatter, errors


def _rician_narrowing(mean_over_sd: np.ndarray) -> np.ndarray:
    """SD of magnitudes over sigma, from their mean over SD; Koay and Basser, JMR 2006,
    doi 10.1016/j.jmr.2006.01.016.
    """
    nu = np.linspace(0.0, 12.0, 241)
    sd = np.sqrt(2 + nu**2 - rician_mean(nu) ** 2)
    return np.interp(mean_over_sd, rician_mean(nu) / sd, sd, right=1.0)
