"""Whether the images of a diffusion series lie on each other: patients move between b-values.

Fluid vanishes with b and fat stays, but edges stay where they are, whatever their contrast. So
images are laid on each other by the directions of their edges alone (normalized gradients; Haber
and Modersitzki, MICCAI 2006, doi 10.1007/11866763_89), and a shift counts where it brings nearly
all parts of an image closer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_REACH = 12  # voxels, the farthest shift looked for; at most a quarter of the image
_PART = 12  # voxels in plane of a part that says by itself whether a shift brings it closer
_SLICES = 8  # evenly over a volume; more tell no more
_FAR = 1.5  # voxels, from which a shift is told
_CLOSER = 1.4  # times as like each other; right images are closest as they lie
_SURE = 4.0  # standard errors over the parts; right images have reached 2.9


def note_motion(images: Sequence[np.ndarray], b_values: np.ndarray, notes: list[str]) -> None:
    """Tell images that are shifted in plane against the first.

    Args:
        images: n of shape (slices, rows, columns).
        b_values: of each, in s/mm^2, rising, shape (n,).
        notes: gets the sentence.
    """
    far = np.array([np.hypot(*shift) for shift in shifts_in_plane(images)])
    if far.max(initial=0.0) < _FAR:
        return
    moved = np.unique(b_values[far >= _FAR])
    notes.append(
        f"Images at b = {', '.join(f'{b:g}' for b in moved)} s/mm^2 are shifted by up to "
        f"{far.max():.0f} voxels in plane against those at {b_values[0]:g}, as after motion: the "
        "ADC, D and f are wrong at borders and in small organs; register them, or leave them out."
    )


def shifts_in_plane(images: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """By how many rows and columns each image is shifted against the first; 0 where unsure.

    Args:
        images: each of shape (slices, rows, columns).
    """
    if len(images) < 2 or min(images[0].shape[1:]) < 2 * _PART:
        return [(0, 0)] * len(images)
    slices = len(images[0])
    some = np.unique(np.linspace(0, slices - 1, _SLICES).round().astype(int))
    first = _edges(images[0][some])
    spectrum = np.conj(np.fft.rfft2(first))
    return [(0, 0), *(_shift(first, spectrum, _edges(one[some])) for one in images[1:])]


def _edges(image: np.ndarray) -> np.ndarray:
    """Products of the normalized gradient's components, shape (3, slices, rows, columns): the sum
    of those of two images is the squared cosine between their gradients."""
    image = np.nan_to_num(image)
    down, along = np.gradient(image, axis=(1, 2))
    squares = down**2 + along**2
    edge = np.sqrt(squares[squares > 0]).mean() if squares.any() else 1.0
    weight = 1 / (squares + edge**2)
    return np.stack([down**2, along**2, np.sqrt(2) * down * along]) * weight


def _shift(first: np.ndarray, spectrum: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """The shift by which most edges meet, (0, 0) where parts of the image do not agree on it."""
    shape = first.shape[2:]
    likeness = np.fft.irfft2((spectrum * np.fft.rfft2(other)).sum((0, 1)), shape)
    reach = [min(_REACH, size // 4) for size in shape]
    window = np.ix_(*(np.arange(-most, most + 1) for most in reach))
    near = likeness[window]
    row, column = np.unravel_index(near.argmax(), near.shape)
    shift = int(row) - reach[0], int(column) - reach[1]
    usual = np.median(near)
    if near.max() - usual <= _CLOSER * (likeness[0, 0] - usual):
        return 0, 0
    closer = _parts(first * np.roll(other, (-shift[0], -shift[1]), (2, 3)) - first * other)
    error = closer.std(ddof=1) / np.sqrt(closer.size)
    return shift if closer.mean() > _SURE * error else (0, 0)


def _parts(values: np.ndarray) -> np.ndarray:
    """Sums of an array of shape (3, slices, rows, columns) over each part of each slice."""
    summed = values.sum(0)
    for axis in (1, 2):
        count = summed.shape[axis] // _PART
        summed = np.add.reduceat(summed, np.arange(count) * summed.shape[axis] // count, axis)
    return summed.ravel()
