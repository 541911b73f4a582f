"""What magnitudes are, told by the air around the body: its noise is scattered as magnitudes are.

The magnitude of noise follows Rayleigh's distribution, |real part| the half-normal and squared
magnitudes the exponential one. Of each the mean square over the squared mean, and the share of
values under a fifth of the mean, are known.
"""

from __future__ import annotations

import numpy as np

from PDFFMapperLib.water_fat.signal_mask import blocks_of

_RELATED = 0.4  # most correlation of a block of air between the first and the last echo
_ALIKE = 1.3  # most ratio of the levels of a block in both
_AS_DARK = 1.5  # times the dark blocks' level, up to which a block is air
_LEAST_BLOCKS = 12
_LOW = 0.2  # of the mean
# What images are: least and most of the mean square over the squared mean, and of the share of low
# values. Of magnitudes these are 1.27 and 0.03 (1.22 to 1.37 and 0.02 to 0.04 in five series), of
# half-normal values 1.57 and 0.13, of exponential ones, drawn apart by ghosts, 2 and 0.18.
_KINDS = {
    "absolute values of real or imaginary parts": ((1.45, 1.7), (0.1, 0.155)),
    "squared magnitudes": ((1.75, 2.5), (0.13, 0.26)),
}


def refuse_no_magnitudes(images: np.ndarray) -> None:
    """Refuse images given as magnitudes whose air is not that of magnitudes.

    Args:
        images: not negative, of one object, shape (images, slices, rows, columns).

    Raises:
        ValueError: naming what they are.
    """
    first, last = (blocks_of(np.nan_to_num(images[n].astype(float))) for n in (0, -1))
    usable = ((first > 0).mean(-1) > 0.9) & ((last > 0).mean(-1) > 0.9)
    first, last = first[usable], last[usable]
    if len(first) < _LEAST_BLOCKS:
        return
    one, other = first.mean(-1), last.mean(-1)
    product = ((first - one[:, None]) * (last - other[:, None])).mean(-1)
    related = np.abs(product) > _RELATED * first.std(-1) * last.std(-1)
    alike = np.maximum(one, other) < _ALIKE * np.minimum(one, other)
    air = alike & ~related & (one < _AS_DARK * np.quantile(one, 0.02))
    if np.count_nonzero(air) < _LEAST_BLOCKS:
        return
    seen = [(_spread(part[air]), _low(part[air])) for part in (first, last)]
    for name, limits in _KINDS.items():
        inside = [
            low < value < high
            for values in seen
            for value, (low, high) in zip(values, limits, strict=True)
        ]
        if all(inside):
            raise ValueError(
                f"These images are {name}, not magnitudes: so the noise of their air is scattered. "
                "Give magnitudes, or real and imaginary images as such."
            )


def _spread(blocks: np.ndarray) -> float:
    """Mean square over squared mean of blocks, each by itself as noise may differ from place to
    place; of few values it is too low by about what is added."""
    ratio = float(np.median((blocks**2).mean(-1) / blocks.mean(-1) ** 2))
    return 1 + (ratio - 1) * (1 + 2 / blocks.shape[-1])


def _low(blocks: np.ndarray) -> float:
    return float((blocks < _LOW * blocks.mean(-1, keepdims=True)).mean())
