"""The spine network: what each place of a sagittal image is, from three neighboring slices.

A U-Net of about 250,000 weights, trained on generated anatomy alone; Resources/SpineNetwork holds
weights, generator, training and their account. This is its forward pass.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from functools import cache

import numpy as np
from numba import njit
from PDFFMapperLib.install.resources import resource_path
from PDFFMapperLib.maps.progress import Progress, run_parallel
from scipy import ndimage

PIXEL_MM = 1.5
"""Of the slices that the network sees."""
SLICE_STEP_MM = 4.0
"""From one of its three slices to the next."""
_WINDOW = 31
# As in training (Resources/SpineNetwork/appearance.py): the largest signal, the SD of an even
# place, and where contrast ends. Others need another training.
_TOP_PERCENT, _LEAST_SD, _CONTRAST_ENDS = 99.5, 0.02, (-4, 6)
AIR, LEAST_SEEN = 0.1, 0.02  # of the signal; of a row or column: less is a margin of air, which
MARGIN = 8  # pixels of it aside is not looked at
_LEVELS = 5
_COARSEST = 2 ** (_LEVELS - 1)


class Structure(IntEnum):
    """What the network tells apart, in its order."""

    OTHER = 0
    BODY = 1  # outer shell of a body's marrow
    CORE = 2  # deeper than about 3 mm: one piece in each body
    DISC = 3
    FLUID = 4  # in the canal
    SACRUM = 5  # below S1, and the alae
    POSTERIOR = 6
    CORTEX = 7  # of the bodies
    PSOAS = 8
    ERECTOR = 9
    NERVE = 10  # cord and roots in the canal


FINDING = "Finding the spine"  # as its cancellation is told


@cache
def weights() -> dict[str, np.ndarray]:
    """The trained weights; convolutions as (outputs, inputs, 3, 3)."""
    with np.load(resource_path("MarrowAssessLib", "SpineNetwork/weights.npz")) as file:
        return prepared(dict(file))


def prepared(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Stored weights of half precision in the precision that they are computed with."""
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def local_contrast(slices: np.ndarray) -> np.ndarray:
    """Slices (n, rows, columns) less their mean and over their SD within 45 mm: no coil shading."""
    top = np.percentile(slices, _TOP_PERCENT)
    x = (np.minimum(slices, top) / max(top, 1e-6)).astype(np.float32)
    size = (1, _WINDOW, _WINDOW)

    def smooth(image):
        return ndimage.uniform_filter(ndimage.uniform_filter(image, size), size)

    mean = smooth(x)
    variance = smooth(x * x) - mean * mean
    return np.clip((x - mean) / (np.sqrt(np.maximum(variance, 0)) + _LEAST_SD), *_CONTRAST_ENDS)


def probabilities(
    stack: np.ndarray,
    step_mm: float,
    network: dict[str, np.ndarray] | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """What each place is; what a canceled search has looked at, the next one of it takes.

    Args:
        stack: sagittal slices (slices, rows from the top, columns from the back to the front) with
            pixels of `PIXEL_MM`; any unit.
        step_mm: from slice to slice.
        network: as `prepared`; None takes the trained weights.
        progress: takes the fraction done; returning False cancels.

    Returns:
        Probability of each Structure (11, slices, rows, columns), single precision.

    Raises:
        InterruptedError: canceled.
    """
    network = network or weights()
    key = hashlib.sha256(stack.tobytes()).digest(), stack.shape, step_mm, id(network)
    begun = _BEGUN.get(key)
    if begun is None:
        begun = np.zeros((len(Structure), *stack.shape), np.float32), set(), network
        begun[0][Structure.OTHER] = 1
        _BEGUN.clear()
        _BEGUN[key] = begun
    found, looked_at, _ = begun
    rows, columns = _with_signal(stack)
    images = local_contrast(stack)[:, rows, columns]
    n, high, wide = images.shape
    padded = [-size % _COARSEST for size in (high, wide)]
    images = np.pad(images, ((0, 0), (0, padded[0]), (0, padded[1])), mode="edge")
    away = SLICE_STEP_MM / step_mm

    def look(k: int) -> None:
        if k in looked_at:
            return
        near = [_between_slices(images, k + side * away) for side in (-1, 0, 1)]
        logits = _forward(network, np.stack(near))[:, :high, :wide]
        logits -= logits.max(axis=0)
        np.exp(logits, out=logits)
        np.divide(logits, logits.sum(axis=0), out=found[:, k, rows, columns])
        looked_at.add(k)

    run_parallel(look, range(n), progress, FINDING)
    _BEGUN.pop(key, None)
    return found


_BEGUN: dict[tuple, tuple[np.ndarray, set[int], dict[str, np.ndarray]]] = {}
"""Probabilities of the last stack that was begun, its slices that are done, and the network, which
is held so that its id stays its own."""


def _with_signal(stack: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns between the margins of air."""
    seen = stack > AIR * np.percentile(stack, _TOP_PERCENT)
    kept = []
    for axis in (1, 2):
        some = np.flatnonzero(seen.mean(axis=tuple({0, 1, 2} - {axis})) > LEAST_SEEN)
        low, high = (some[0], some[-1] + 1) if len(some) else (0, stack.shape[axis])
        kept.append(slice(max(low - MARGIN, 0), min(high + MARGIN, stack.shape[axis])))
    return kept[0], kept[1]


def _between_slices(images: np.ndarray, position: float) -> np.ndarray:
    position = float(min(max(position, 0.0), len(images) - 1.0))  # numpy's would double precision
    low = min(int(position), max(len(images) - 2, 0))
    part = position - low
    return images[low] if part == 0 else (1 - part) * images[low] + part * images[low + 1]


def _forward(network: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    passed = []
    for level in range(_LEVELS):
        if level:
            x = np.maximum(
                np.maximum(x[:, ::2, ::2], x[:, 1::2, ::2]),
                np.maximum(x[:, ::2, 1::2], x[:, 1::2, 1::2]),
            )
        x = _block(network, f"down_{level}", x)
        passed.append(x)
    for level in range(_LEVELS - 2, -1, -1):
        x = np.concatenate([x.repeat(2, 1).repeat(2, 2), passed[level]])
        x = _block(network, f"up_{level}", x)
    w, b = network["out_weight"][:, :, 0, 0], network["out_bias"]
    out = np.empty((len(w), *x.shape[1:]), np.float32)
    np.matmul(w, x.swapaxes(0, 1), out=out.swapaxes(0, 1))  # by row, as `product` is by pieces
    out += b[:, None, None]
    return out


def _block(network: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    for k in (0, 1):
        x = _convolved(x, network[f"{name}_{k}_weight"], network[f"{name}_{k}_bias"])
    return x


def _convolved(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """3x3 convolution and ReLU."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    out = np.empty((len(weight), *x.shape[1:]), np.float32)
    _convolve(padded, weight, bias, out)
    return out


@njit(cache=True, fastmath=True, nogil=True)
def _convolve(padded, weight, bias, out):
    """Four outputs at once, row by row: each value read serves twelve products."""
    outputs, rows, columns = out.shape
    sums = np.empty((4, columns), np.float32)
    for y in range(rows):
        for o in range(0, outputs, 4):
            for q in range(4):
                sums[q, :] = bias[min(o + q, outputs - 1)]
            a, b = sums[0], sums[1]
            c, d = sums[2], sums[3]
            for i in range(padded.shape[0]):
                for dy in range(3):
                    row = padded[i, y + dy]
                    a0, a1, a2 = weight[o, i, dy]
                    b0, b1, b2 = weight[min(o + 1, outputs - 1), i, dy]
                    c0, c1, c2 = weight[min(o + 2, outputs - 1), i, dy]
                    d0, d1, d2 = weight[min(o + 3, outputs - 1), i, dy]
                    for x in range(columns):
                        u, v, w = row[x], row[x + 1], row[x + 2]
                        a[x] += a0 * u + a1 * v + a2 * w
                        b[x] += b0 * u + b1 * v + b2 * w
                        c[x] += c0 * u + c1 * v + c2 * w
                        d[x] += d0 * u + d1 * v + d2 * w
            for q in range(min(4, outputs - o)):
                for x in range(columns):
                    out[o + q, y, x] = max(sums[q, x], np.float32(0))
