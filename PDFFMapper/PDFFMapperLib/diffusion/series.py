"""A diffusion series ready to fit: trace-weighted images, their b-values, noise and mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.diffusion.decay import (
    check_decay,
    check_times,
    note_directions,
    note_drop,
    without_copies,
)
from PDFFMapperLib.diffusion.floor import level_of_air, note_floor, note_zeros
from PDFFMapperLib.diffusion.motion import note_motion
from PDFFMapperLib.diffusion.noise import sigma_from_background, sigma_from_repeats
from PDFFMapperLib.diffusion.scheme import diffusion_scheme, trace_weighted
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.recipe import check_one_grid
from PDFFMapperLib.water_fat.signal_mask import signal_mask


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
        air: its signal at the highest b-value; NaN where none is seen.
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
    air: float = np.nan
    notes: list[str] = field(default_factory=list)

    def note_floor(self, sigma: float = np.nan) -> None:
        """Add a note where a floor draws the ADC down; of two b-values without noise one stands.

        Args:
            sigma: noise whose floor the fit takes off; NaN for none.
        """
        if self.b_values.size > 2 or self.sigma is not None:
            ends = self.signal[..., [0, -1]][self.mask]
            note_floor(ends, self.air, sigma, self.b_values[-1], self.notes)


def diffusion_series(images: Sequence[Volume], settings: SimpleNamespace) -> DiffusionSeries:
    """Combine repeats and directions, keep the b-values asked for, find noise and mask.

    Args:
        images: one volume per b-value and direction, see `diffusion_scheme`.
        settings: the options of the diffusion recipes.

    Raises:
        ValueError: grids or echo times differ, b-values are missing or none is left, images are
            brighter than tissue allows, or noise cannot be measured as asked.
    """
    for image in images[1:]:
        check_one_grid(image, images[0])
    if empty := [one.name for one in images if not np.nan_to_num(one.array).any()]:
        raise ValueError(
            f"{', '.join(empty)}: this image is empty, it holds no number other than 0; copy the "
            "series again, or leave its b-value out."
        )
    scheme = diffusion_scheme(images, settings.b_values)
    check_times([images[n] for n in scheme.order], scheme.notes)
    stack = np.stack([images[n].array for n in scheme.order], axis=-1)
    kept = without_copies(stack, scheme.b_values, scheme.groups, scheme.notes)
    if kept.size < stack.shape[-1]:
        stack, scheme = stack[..., kept], scheme.of(kept)
    numbers, counts = np.unique(scheme.groups, return_counts=True)
    repeats = stack[..., scheme.groups == numbers[counts.argmax()]] if counts.max() > 1 else None
    b_values, averages = scheme.b_values, np.ones(scheme.b_values.size)
    series = DiffusionSeries(stack, b_values, averages, images[0], repeats, notes=scheme.notes)
    note_directions(stack, b_values, series.notes)
    used = np.flatnonzero(_within(b_values, settings))
    note_motion([stack[..., n] for n in used], b_values[used], series.notes)
    if np.unique(b_values).size < b_values.size:
        series.signal, series.b_values, series.averages = trace_weighted(stack, scheme)
        series.notes.append(
            f"{stack.shape[-1]} images were combined into {series.b_values.size}: repeats by their "
            "mean, directions by their geometric mean (trace)."
        )
    if left_out := int((~np.isfinite(series.signal).all(axis=-1)).sum()):
        series.notes.append(f"{left_out} voxels hold NaN or infinite values and were left out.")
    _keep_b_values(series, settings)
    check_decay(series.signal, series.b_values, series.notes)
    _find_noise(series, settings)
    _find_mask(series, settings)
    series.air = level_of_air(series.signal[..., 0], series.signal[..., -1])
    _note_limits(series)
    return series


def _within(b_values: np.ndarray, settings: SimpleNamespace) -> np.ndarray:
    """Which b-values are asked for."""
    highest = np.inf if settings.highest_b is None else settings.highest_b
    return (b_values >= settings.lowest_b) & (b_values <= highest)


def _keep_b_values(series: DiffusionSeries, settings: SimpleNamespace) -> None:
    kept = _within(series.b_values, settings)
    if not kept.any():
        low, high = settings.lowest_b, settings.highest_b
        wanted = f"from {low:g} upward" if high is None else f"from {low:g} to {high:g}"
        listed = ", ".join(f"{b:g}" for b in series.b_values)
        raise ValueError(f"No b-value lies {wanted} (s/mm^2); there are {listed}.")
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
    if sigma is None and series.repeats is not None and series.b_values.size == 2:
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
    """The mask given, else the voxels whose signal stands out of the noise."""
    if settings.mask is None:
        images = np.moveaxis(np.nan_to_num(series.signal), -1, 0)
        series.mask = signal_mask(images, decays=True, notes=series.notes)
        note_drop(series.signal[series.mask], series.b_values, series.notes)
        return
    check_one_grid(settings.mask, series.like)
    series.mask = settings.mask.array > 0


def _note_limits(series: DiffusionSeries) -> None:
    """Say what these images cannot tell."""
    below = float(np.mean(series.signal[series.mask] < 0)) if series.mask.any() else 0.0
    if below:
        series.notes.append(
            f"{100 * below:.2g} % of the signals are below 0, which no magnitude is: the images "
            "were interpolated, denoised or are real-valued. These count with Gaussian noise."
        )
    note_zeros(series.signal[series.mask], series.b_values, series.notes)
    if series.b_values.size == 2 and series.sigma is None:
        series.notes.append(
            "Two b-values leave no residual: there is no goodness of fit and no standard "
            "deviation, and the noise floor is not corrected, so that the ADC reads low where the "
            "higher b-value has little signal. Give the noise (--sigma or --background) for these."
        )
