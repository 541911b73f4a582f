"""Diffusion-weighted signals checked and laid out for voxel-by-voxel fits, run in blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from PDFFMapperLib.maps.progress import Progress, run_parallel

BLOCK = 8192


class Known(TypedDict, total=False):
    """What is known of a series beside its signals of shape (..., n), for every fit.

    Keys:
        sigma: noise standard deviation of a single image in signal units, a number or one per
            voxel; if None it is measured from the residuals of the whole series.
        averages: how many images were averaged into each of the n; 1 if not given.
        mask: voxels to fit, shape (...); all if not given.
        noise: "rician" for magnitude images (if not given), "gaussian" for real-valued ones.
    """

    sigma: float | np.ndarray | None
    averages: Sequence[float] | None
    mask: np.ndarray | None
    noise: str


@dataclass
class Voxels:
    """The voxels that can be fitted, out of a series.

    Attributes:
        shape: the image's shape without the b-value axis.
        signal: all signals, shape (voxels, measurements), as given.
        usable: flat indices of the voxels to fit.
        everywhere: flat indices of the voxels that could be fitted, the mask ignored.
        b: b-values in ms/um^2 (1000 s/mm^2), so that D comes out in um^2/ms = 10^-3 mm^2/s.
        averages: images averaged into each measurement.
        sigma: noise standard deviation of a single image, shape (voxels,), or None if unknown.
        precision: variance of that noise over the variance with which signals scatter, shape
            (voxels,), at most 1.
        rician: whether the signals are magnitudes.
    """

    shape: tuple[int, ...]
    signal: np.ndarray
    usable: np.ndarray
    everywhere: np.ndarray
    b: np.ndarray
    averages: np.ndarray
    sigma: np.ndarray | None
    precision: np.ndarray | None = None
    rician: bool = True

    def block(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Flat indices and signals (float64) of a run of usable voxels."""
        index = self.usable[start:stop]
        return index, np.ascontiguousarray(self.signal[index], dtype=np.float64)

    def sample(self, count: int) -> np.ndarray:
        """Flat indices of at most `count` usable voxels, evenly spread."""
        if self.usable.size <= count:
            return self.usable
        return self.usable[np.linspace(0, self.usable.size - 1, count).astype(int)]

    @property
    def noise(self) -> float | np.ndarray:
        """Sigma as one number if it is one, else as an image."""
        if self.sigma.size and self.sigma.strides == (0,):
            return float(self.sigma[0])
        return self.image(self.sigma)

    def image(self, values: np.ndarray) -> np.ndarray:
        """Values of all voxels, shape (voxels,), in the image's shape."""
        return values.reshape(self.shape)


@dataclass(kw_only=True)
class VoxelFit:
    """What a fit tells beside its parameters; arrays have the image's shape.

    Attributes:
        residual: root mean square residual in signal units, NaN where the fit failed.
        r_squared: share of the signal's variance over b that the model explains, likewise.
        log_likelihood: at the estimate, up to a constant that all models of a voxel share.
        valid: voxels that were fitted.
        sigma: receiver noise of a single image that was used, one number or per voxel as given;
            NaN where it could not be known.
    """

    residual: np.ndarray
    r_squared: np.ndarray
    log_likelihood: np.ndarray
    valid: np.ndarray
    sigma: float | np.ndarray


def checked_b_values(b_values: Sequence[float]) -> np.ndarray:
    """b-values as an array, refused if they cannot be s/mm^2.

    Raises:
        ValueError: not finite, negative, above 10^5, or all below 10 s/mm^2.
    """
    b = np.asarray(b_values, dtype=float)
    if b.ndim != 1 or b.size == 0:
        raise ValueError(f"b-values are expected as one list of numbers, given was {b_values!r}.")
    listed = ", ".join(f"{value:g}" for value in b)
    if not np.isfinite(b).all() or (b < 0).any():
        raise ValueError(f"b-values must be finite and not negative, given were {listed}.")
    if b.max() > 1e5:
        raise ValueError(
            f"b-values above 100000 s/mm^2 ({listed}) are not physical; "
            "GE stores b + 10^9 in its private tag: subtract that first."
        )
    if b.max() < 10:
        raise ValueError(
            f"b-values are expected in s/mm^2, given were {listed}: none reaches 10. "
            "If they are in ms/um^2, multiply them by 1000."
        )
    return b


def prepare(
    signal: np.ndarray,
    b_values: Sequence[float],
    *,
    parameters: int,
    model: str,
    sigma: float | np.ndarray | None = None,
    averages: Sequence[float] | None = None,
    mask: np.ndarray | None = None,
) -> Voxels:
    """Check a series and find the voxels that can be fitted.

    A voxel is usable when it is in the mask, all its signals are finite, and its signal at the
    lowest b-value is above zero. Others below zero, as interpolation and denoising leave them, are
    measurements.

    Args:
        signal: shape (..., measurements).
        b_values: in s/mm^2, one per measurement, in any order, repeats allowed.
        parameters: number of distinct b-values that the model needs.
        model: what the model is called in messages.
        sigma, averages, mask: see `Known`.

    Raises:
        ValueError: shapes that do not match, too few distinct b-values, or no voxel to fit.
    """
    signal = np.asarray(signal)
    b = checked_b_values(b_values)
    if signal.ndim == 0 or signal.shape[-1] != b.size:
        raise ValueError(
            f"{b.size} b-values were given for a series whose last axis has "
            f"{signal.shape[-1] if signal.ndim else 0} images; one b-value per image is needed."
        )
    if np.iscomplexobj(signal) or not (
        np.issubdtype(signal.dtype, np.floating) or np.issubdtype(signal.dtype, np.integer)
    ):
        raise ValueError(f"Real numbers are expected as signals, given were {signal.dtype}.")
    distinct = np.unique(b).size
    if distinct < parameters:
        raise ValueError(
            f"{model} needs at least {parameters} different b-values, given were {distinct} "
            f"({', '.join(f'{value:g}' for value in np.unique(b))} s/mm^2)."
        )
    shape = signal.shape[:-1]
    flat = signal.reshape(-1, b.size)
    counts = np.ones(b.size) if averages is None else np.asarray(averages, dtype=float)
    if counts.shape != b.shape or not np.isfinite(counts).all() or (counts <= 0).any():
        raise ValueError(f"One positive number of averages per b-value is needed, not {averages}.")

    usable = np.isfinite(flat).all(axis=1)
    usable &= flat[:, b == b.min()].mean(axis=1, dtype=float) > 0
    noise = None
    if sigma is not None:
        noise = np.asarray(sigma, dtype=float)
        if noise.ndim and noise.shape != shape:
            raise ValueError(f"sigma has shape {noise.shape}; a number or {shape} is expected.")
        noise = np.broadcast_to(noise, shape).reshape(-1)
        if np.ndim(sigma) == 0 and not (np.isfinite(noise).all() and (noise > 0).all()):
            raise ValueError(f"sigma must be a positive number, given was {sigma}.")
        usable &= np.isfinite(noise) & (noise > 0)
    everywhere = np.flatnonzero(usable)
    if mask is not None:
        if np.shape(mask) != shape:
            raise ValueError(f"The mask's shape {np.shape(mask)} differs from the image's {shape}.")
        usable &= np.asarray(mask).reshape(-1) > 0
    index = everywhere if mask is None else np.flatnonzero(usable)
    if index.size == 0:
        empty = mask is not None and not np.any(mask)
        raise ValueError(
            "The mask is empty: no voxel is marked to be fitted."
            if empty
            else f"No voxel{' of the mask' if mask is not None else ''} can be fitted: none has "
            "finite signals and one above 0 at the lowest b-value."
        )
    return Voxels(shape, flat, index, everywhere, b / 1000.0, counts, noise)


def run_blocks(
    work: Callable[[int, int], None], count: int, progress: Progress | None = None
) -> None:
    """Call ``work(start, stop)`` over 0..count in blocks, on all cores.

    Raises:
        InterruptedError: canceled.
    """
    run_parallel(
        lambda start: work(start, min(start + BLOCK, count)), range(0, count, BLOCK), progress
    )
