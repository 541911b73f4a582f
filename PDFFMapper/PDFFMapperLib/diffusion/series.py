"""A diffusion series ready to fit: trace-weighted images, their b-values, noise and mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.diffusion.noise import sigma_from_background, sigma_from_repeats
from PDFFMapperLib.diffusion.scatter import prepared
from PDFFMapperLib.diffusion.scheme import diffusion_scheme, trace_weighted
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.recipe import check_one_grid

LEAST_SNR = 3.0
"""Signal over noise at the lowest b-value under which a voxel is left out; air has 1.25."""


@dataclass
class DiffusionSeries:
    """Trace-weighted images ready to fit.

    Attributes:
        signal: shape (slices, rows, columns, n), one image per b-value.
        b_values: in s/mm^2, rising, shape (n,).
        averages: how many images went into each.
        like: a volume on the same grid.
        repeats: images of one direction and b-value taken more than once, shape (..., m), or None.
        sigma: noise SD of one image, or None where the fit is to measure it.
        sigma_from: "residuals", "repeats", "background" or "given".
        mask: voxels to fit.
        notes: sentences about what was repaired, combined or left out.
    """

    signal: np.ndarray
    b_values: np.ndarray
    averages: np.ndarray
    like: Volume
    repeats: np.ndarray | None = None
    sigma: float | None = None
    sigma_from: str = "residuals"
    mask: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)


def diffusion_series(images: Sequence[Volume], settings: SimpleNamespace) -> DiffusionSeries:
    """Combine repeats and directions, keep the b-values asked for, find noise and mask.

    Args:
        images: one volume per b-value and direction, see `diffusion_scheme`.
        settings: the options of the diffusion recipes.

    Raises:
        ValueError: grids differ, b-values are missing or none is left, noise cannot be measured as
            asked, or an empty mask.
    """
    for image in images[1:]:
        check_one_grid(image, images[0])
    scheme = diffusion_scheme(images, settings.b_values)
    stack = np.stack([images[n].array for n in scheme.order], axis=-1)
    numbers, counts = np.unique(scheme.groups, return_counts=True)
    repeats = stack[..., scheme.groups == numbers[counts.argmax()]] if counts.max() > 1 else None
    b_values, averages = scheme.b_values, np.ones(scheme.b_values.size)
    series = DiffusionSeries(stack, b_values, averages, images[0], repeats, notes=scheme.notes)
    if np.unique(b_values).size < b_values.size:
        series.signal, series.b_values, series.averages = trace_weighted(stack, scheme)
        series.notes.append(
            f"{stack.shape[-1]} images were combined into {series.b_values.size}: repeats by their "
            "mean, directions by their geometric mean (trace)."
        )
    _keep_b_values(series, settings.lowest_b, settings.highest_b)
    _find_noise(series, settings)
    _find_mask(series, settings)
    return series


def _keep_b_values(series: DiffusionSeries, low: float, high: float | None) -> None:
    high = np.inf if high is None else high
    kept = (series.b_values >= low) & (series.b_values <= high)
    if not kept.any():
        raise ValueError(f"No b-value lies within {low:g} to {high:g} s/mm^2.")
    if not kept.all():
        series.signal, series.b_values = series.signal[..., kept], series.b_values[kept]
        series.averages = series.averages[kept]


def _find_noise(series: DiffusionSeries, settings: SimpleNamespace) -> None:
    sigma, background = settings.sigma, settings.background
    if sigma is not None and background is not None:
        raise ValueError("Give the noise or a background to measure it in, not both.")
    if background is not None:
        check_one_grid(background, series.like)
        if series.averages.min() > 1:
            raise ValueError("The background of averaged images is not Rayleigh; give the noise.")
        single = series.averages == 1
        samples = series.signal[background.array > 0][:, single]
        series.sigma, series.sigma_from = sigma_from_background(samples), "background"
        return
    if sigma is None and series.repeats is not None and series.b_values.size < 3:
        series.notes.append("Two b-values leave no residual: noise measured from repeats.")
        sigma = "repeats"
    if sigma == "repeats":
        if series.repeats is None:
            raise ValueError("No image was repeated: the noise cannot be measured from repeats.")
        series.sigma, series.sigma_from = sigma_from_repeats(series.repeats), "repeats"
    elif sigma is not None:
        try:
            series.sigma, series.sigma_from = float(sigma), "given"
        except ValueError:
            raise ValueError(f"The noise is a number or 'repeats', not {sigma!r}.") from None


def _find_mask(series: DiffusionSeries, settings: SimpleNamespace) -> None:
    """The mask given, else the voxels whose signal at the lowest b-value stands out of the noise.

    Not by the brightest tissue: marrow whose fat is suppressed is dim beside the spleen.
    """
    if settings.mask is not None:
        check_one_grid(settings.mask, series.like)
        series.mask = settings.mask.array > 0
        if not series.mask.any():
            raise ValueError("The mask is empty: no voxel is marked to be fitted.")
        return
    lowest = series.signal[..., series.b_values == series.b_values.min()].mean(-1, dtype=float)
    sigma = series.sigma
    if sigma is None:
        voxels = prepared(
            series.signal,
            series.b_values,
            parameters=1,
            model="Diffusion",
            sigma=None,
            averages=series.averages,
            mask=None,
            noise=settings.noise,
        )
        sigma = None if voxels.sigma is None else voxels.noise
    series.mask = lowest > (0.0 if sigma is None else LEAST_SNR * sigma)
    if not series.mask.any():
        raise ValueError(
            f"No voxel's signal at b = {series.b_values.min():g} s/mm^2 reaches "
            f"{LEAST_SNR:g} noise SDs; check the images, or give a mask."
        )
