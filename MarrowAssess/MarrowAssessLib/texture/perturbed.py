"""A region and its image changed as another observer, scan or setting would change them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

AS_DRAWN = "as drawn"
NOISE_DRAWS = 5


@dataclass(frozen=True)
class Perturbed:
    """One variant: what was changed, and what features are counted from.

    Attributes:
        name: what was changed.
        values, mask: the image round the region, and the region.
        coarser: how much wider bins of gray levels are than those of the region as drawn.
    """

    name: str
    values: np.ndarray
    mask: np.ndarray
    coarser: float = 1.0


def perturbations(values: np.ndarray, mask: np.ndarray, slice_axis: int) -> Iterator[Perturbed]:
    """The region as drawn, a voxel smaller, moved by a voxel, noisier, and in other gray levels.

    Args:
        values: the image round the region, at least a voxel wider on each side in the slice.
        mask: bool, same shape.
        slice_axis: the axis across slices; outlines and moves stay in the slice.
    """
    plain = Perturbed(AS_DRAWN, values, mask)
    yield plain
    cross = ndimage.generate_binary_structure(3, 1)
    cross[tuple(slice(None) if n != slice_axis else [0, 2] for n in range(3))] = False
    yield replace(plain, name="a voxel smaller", mask=ndimage.binary_erosion(mask, cross))
    for axis in (axis for axis in range(3) if axis != slice_axis):
        for step in (-1, 1):
            yield replace(
                plain, name=f"moved {step:+d} on axis {axis}", mask=_moved(mask, axis, step)
            )
    rng = np.random.default_rng(0)
    sigma = noise_sigma(values, slice_axis, mask)
    for n in range(NOISE_DRAWS):
        noisy = values + rng.normal(0, sigma, values.shape)
        yield replace(plain, name=f"noise, draw {n + 1}", values=noisy)
    for factor, words in ((2, "half the gray levels"), (0.5, "twice the gray levels")):
        yield replace(plain, name=words, coarser=factor)


def noise_sigma(values: np.ndarray, slice_axis: int, mask: np.ndarray | None = None) -> float:
    """SD of the noise by the second differences of each slice, in the mask if one is given.

    Source: Immerkaer 1996, doi 10.1006/cviu.1996.0060. Fine texture counts as noise, so this is
    an upper bound in marrow.
    """
    image = np.moveaxis(np.asarray(values, float), slice_axis, 0)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], float)[None]
    response = ndimage.convolve(image, kernel, mode="nearest")[:, 1:-1, 1:-1]
    if mask is not None:
        response = response[np.moveaxis(mask, slice_axis, 0)[:, 1:-1, 1:-1]]
    response = np.abs(response[np.isfinite(response)])
    return float(np.sqrt(np.pi / 2) * response.mean() / 6) if response.size else 0.0


def _moved(mask: np.ndarray, axis: int, step: int) -> np.ndarray:
    moved = np.zeros_like(mask)
    to, since = [slice(None)] * 3, [slice(None)] * 3
    to[axis], since[axis] = (slice(1, None), slice(None, -1)) if step > 0 else (
        slice(None, -1), slice(1, None)
    )  # fmt: skip
    moved[tuple(to)] = mask[tuple(since)]
    return moved
