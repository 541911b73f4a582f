"""Filters whose responses are measured like the image: mean, LoG, Laws, Gabor, wavelets.

Definitions: IBSI-2, Whybra et al. 2024, Radiology 310:e231319, doi 10.1148/radiol.231319.
Everywhere `image` is (slices, rows, columns); `boundary` says how it goes on outside: "zero",
"nearest", "periodic" or "mirror" (which begins with the edge voxel again).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import permutations, product

import numpy as np
from scipy import fft

Box = tuple[slice, slice, slice]  # the part of the response that is wanted; all of it if None
LOG_CUT = 4  # sigma
BOUNDARIES = {"zero": "constant", "nearest": "edge", "periodic": "wrap", "mirror": "symmetric"}
_LAWS = {
    "L5": np.array([1, 4, 6, 4, 1]) / np.sqrt(70),
    "E5": np.array([-1, -2, 0, 2, 1]) / np.sqrt(10),
    "S5": np.array([-1, 0, 2, 0, -1]) / np.sqrt(6),
    "W5": np.array([-1, 2, 0, -2, 1]) / np.sqrt(10),
    "R5": np.array([1, -4, 6, -4, 1]) / np.sqrt(70),
    "L3": np.array([1, 2, 1]) / np.sqrt(6),
    "E3": np.array([-1, 0, 1]) / np.sqrt(2),
    "S3": np.array([-1, 2, -1]) / np.sqrt(6),
}
_SEPARABLE_TURNS = [
    (axes, signs) for axes in permutations(range(3)) for signs in product((False, True), repeat=3)
]


def mean_filter(
    image: np.ndarray, size: int, boundary: str = "mirror", in_slice: bool = False
) -> np.ndarray:
    """Mean of a cube (or square in the slice) of `size` voxels, an odd number.

    Raises:
        ValueError: an even size.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"A mean filter has an odd number of voxels; given was {size}.")
    kernel = np.full(size, 1 / size)
    return _separable(image, [None if in_slice else kernel, kernel, kernel], boundary)


def laplacian_of_gaussian(
    image: np.ndarray,
    sigma_mm: float,
    spacing_mm: Sequence[float],
    boundary: str = "mirror",
    in_slice: bool = False,
    box: Box | None = None,
) -> np.ndarray:
    """Laplacian (per voxel^2) of a Gaussian cut off at 4 sigma; negative on bright blobs.

    Args:
        sigma_mm: of the Gaussian.
        spacing_mm: between slices, rows and columns.
        in_slice: filter each slice on its own.
        box: only this part of the response is made.
    """
    sigma = sigma_mm / np.asarray(spacing_mm, float)
    axes = (1, 2) if in_slice else (0, 1, 2)
    gauss, curved = [None] * 3, [None] * 3
    for axis in axes:
        reach = int(np.floor(LOG_CUT * sigma[axis] + 0.5))
        x = np.arange(-reach, reach + 1)
        gauss[axis] = np.exp(-(x**2) / (2 * sigma[axis] ** 2)) / (np.sqrt(2 * np.pi) * sigma[axis])
        curved[axis] = gauss[axis] * (x**2 / sigma[axis] ** 2 - 1) / sigma[axis] ** 2
    turned = ([curved[n] if n == axis else gauss[n] for n in range(3)] for axis in axes)
    return sum(_separable(image, kernels, boundary, box) for kernels in turned)


def laws(
    image: np.ndarray,
    kernels: str,
    boundary: str = "mirror",
    rotation_invariant: bool = True,
    energy_voxels: int | None = None,
    in_slice: bool = False,
) -> np.ndarray:
    """Laws' kernels along columns, rows and slices, such as "E5L5S5" ("L5S5" in the slice).

    Args:
        kernels: names in the order columns, rows, slices.
        rotation_invariant: the highest response over all turns by right angles.
        energy_voxels: mean of the absolute response over this reach on each side; none if None.

    Raises:
        ValueError: an unknown kernel or another number of them than axes.
    """
    names = [kernels[n : n + 2] for n in range(0, len(kernels), 2)]
    if any(name not in _LAWS for name in names) or len(names) != (2 if in_slice else 3):
        raise ValueError(
            f"Laws kernels are {'two' if in_slice else 'three'} of {', '.join(_LAWS)}; "
            f"given was {kernels}."
        )
    chosen = [_LAWS[name] for name in reversed(names)]
    chosen = [None, *chosen] if in_slice else chosen

    response = _pooled(image, chosen, boundary, rotation_invariant, np.maximum)
    if energy_voxels is None:
        return response
    return mean_filter(np.abs(response), 2 * energy_voxels + 1, boundary, in_slice)


def wavelet(
    image: np.ndarray,
    name: str,
    band: str,
    level: int = 1,
    boundary: str = "mirror",
    rotation_invariant: bool = True,
    box: Box | None = None,
) -> np.ndarray:
    """A band of the undecimated separable wavelet transform.

    Args:
        name: of the wavelet in PyWavelets, such as "haar", "db2", "coif1".
        band: L or H along columns, rows and slices, such as "LLH"; two letters in the slice.
        level: of the decomposition; kernels are stretched by zeros from one to the next.
        rotation_invariant: the mean response over all turns by right angles.
        box: only this part of the response is made.

    Raises:
        ModuleNotFoundError: PyWavelets is not installed.
        ValueError: a band that is not two or three letters L or H.
    """
    import pywt

    if len(band) not in (2, 3) or set(band) - set("LH"):
        raise ValueError(f"A wavelet band is three letters L or H, such as LLH; given was {band}.")
    low, high = pywt.Wavelet(name).filter_bank[:2]
    pair = {"L": np.asarray(low), "H": np.asarray(high)}
    below = [_stretched(pair["L"], 2**n) for n in range(level - 1)]
    here = {letter: _stretched(kernel, 2 ** (level - 1)) for letter, kernel in pair.items()}
    chains = [[*below, here[letter]] for letter in reversed(band)]
    chains = [None] * (3 - len(band)) + chains
    return _pooled(image, chains, boundary, rotation_invariant, np.add, box)


def gabor(
    image: np.ndarray,
    sigma_mm: float,
    wavelength_mm: float,
    aspect: float,
    angles_rad: Sequence[float],
    spacing_mm: float,
    boundary: str = "mirror",
    all_planes: bool = False,
) -> np.ndarray:
    """Modulus of Gabor filters in the slice, averaged over the angles.

    Args:
        sigma_mm: of the Gaussian along the wave.
        wavelength_mm: of the wave.
        aspect: the Gaussian is sigma / aspect wide across the wave.
        angles_rad: of the wave in the slice; clockwise from the columns.
        spacing_mm: of the square pixels.
        all_planes: average also over the planes of the two other axes (cubic voxels).
    """
    kernels = [
        _gabor_kernel(sigma_mm / spacing_mm, wavelength_mm / spacing_mm, aspect, angle)
        for angle in angles_rad
    ]
    planes = ((0, 1, 2), (1, 2, 0), (2, 0, 1)) if all_planes else ((0, 1, 2),)
    total = np.zeros(image.shape)
    for axes in planes:
        turned = np.transpose(np.asarray(image, float), axes)
        total += np.transpose(_moduli(turned, kernels, boundary), np.argsort(axes))
    return total / (len(planes) * len(kernels))


def _gabor_kernel(sigma: float, wavelength: float, aspect: float, angle: float) -> np.ndarray:
    """Complex, square, with sigma and wavelength in pixels."""
    reach = int(np.ceil(7 * max(sigma, sigma / aspect)))
    row, column = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along = column * np.cos(angle) + row * np.sin(angle)
    across = row * np.cos(angle) - column * np.sin(angle)
    envelope = np.exp(-(along**2 + (aspect * across) ** 2) / (2 * sigma**2))
    return envelope * np.exp(2j * np.pi * along / wavelength)


def _moduli(image: np.ndarray, kernels: Sequence[np.ndarray], boundary: str) -> np.ndarray:
    """Summed modulus of each slice's convolution with square kernels of one size."""
    reach = len(kernels[0]) // 2
    padded = _padded(image, (0, reach, reach), boundary)
    shape = [fft.next_fast_len(n) for n in padded.shape[1:]]
    transformed = fft.fft2(padded, shape)
    inside = tuple(slice(2 * reach, 2 * reach + n) for n in image.shape[1:])
    total = np.zeros(image.shape)
    for kernel in kernels:
        total += np.abs(fft.ifft2(transformed * fft.fft2(kernel, shape))[(slice(None), *inside)])
    return total


def _stretched(kernel: np.ndarray, factor: int) -> np.ndarray:
    """The kernel with zeros between its values, of odd length so that turning keeps its middle."""
    spaced = np.zeros(len(kernel) * factor + 1)
    spaced[: len(kernel) * factor : factor] = kernel
    return spaced


def _pooled(
    image: np.ndarray,
    kernels: Sequence,
    boundary: str,
    rotation_invariant: bool,
    pool: Callable,
    box: Box | None = None,
) -> np.ndarray:
    """The response, pooled over the proper turns by right angles if wanted."""
    if not rotation_invariant:
        return _separable(image, kernels, boundary, box)
    in_slice = kernels[0] is None
    pooled, number = None, 0
    for axes, flips in _SEPARABLE_TURNS:
        odd = sum(axes[i] > axes[j] for i in range(3) for j in range(i + 1, 3)) % 2
        if (odd + sum(flips)) % 2 or (in_slice and (axes[0] != 0 or flips[0])):
            continue  # a mirror image, or a turn out of the slice
        turned = [
            _flipped(kernels[axis]) if flip else kernels[axis]
            for axis, flip in zip(axes, flips, strict=True)
        ]
        response = _separable(image, turned, boundary, box)
        pooled = response if pooled is None else pool(pooled, response)
        number += 1
    return pooled / number if pool is np.add else pooled


def _flipped(kernel):
    if kernel is None:
        return None
    return [one[::-1] for one in kernel] if isinstance(kernel, list) else kernel[::-1]


def _separable(
    image: np.ndarray, kernels: Sequence, boundary: str, box: Box | None = None
) -> np.ndarray:
    """Convolution along each axis; a kernel of None leaves it, a list is one after the other.

    Along an axis it is the product with one matrix, which is fast and needs no copy of the image
    with a border.
    """
    response = np.asarray(image, float)
    for axis, kernel in enumerate(kernels):
        wanted = slice(None) if box is None else box[axis]
        chain = kernel if isinstance(kernel, list) else [] if kernel is None else [kernel]
        if not chain:
            response = response[(slice(None),) * axis + (wanted,)]
            continue
        matrix = _matrix(reduce(np.convolve, chain), response.shape[axis], boundary, wanted)
        response = np.moveaxis(np.tensordot(matrix, response, (1, axis)), 0, axis)
    return response


def _matrix(kernel: np.ndarray, size: int, boundary: str, wanted: slice) -> np.ndarray:
    """What gives the wanted voxels of a convolution (wanted, size); kernels have odd lengths."""
    reach = len(kernel) // 2
    source = _padded(np.arange(1, size + 1), [reach], boundary) - 1  # -1 where a border is zero
    first = np.arange(size)[wanted]
    place = source[first[:, None] + np.arange(len(kernel))]
    row = np.broadcast_to(np.arange(len(first))[:, None], place.shape)
    weight = np.broadcast_to(kernel[::-1], place.shape)
    known = place >= 0
    matrix = np.zeros((len(first), size))
    np.add.at(matrix, (row[known], place[known]), weight[known])
    return matrix


def _padded(image: np.ndarray, reach: Sequence[int], boundary: str) -> np.ndarray:
    if boundary not in BOUNDARIES:
        raise ValueError(f"Boundary '{boundary}': expected one of {', '.join(BOUNDARIES)}.")
    return np.pad(image, [(n, n) for n in reach], mode=BOUNDARIES[boundary])
