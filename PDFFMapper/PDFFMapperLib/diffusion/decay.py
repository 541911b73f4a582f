"""Whether the images of a series decay with b as tissue can: mistakes that all voxels share.

Whatever a voxel holds, its signal is a sum of exponentials of b, and so is that of all voxels
together. The logarithm of such a sum only falls, and ever less steeply. An image of another gain
or echo time, a wrong b-value, exchanged images or a map among them break that, perfusion, kurtosis
and the noise floor do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from PDFFMapperLib.images.attributes import number_of
from PDFFMapperLib.images.volume import Volume

_RISES = 1.05  # of the images of the highest b over those of the lowest; noise is alike in all
_TOLD, _REFUSED = 1.08, 1.2  # over what others allow; abdomens that breathe reach 1.06
_ENOUGH = 500  # voxels over which noise, and what moves, average out
_FASTEST = 4.0  # 10^-3 mm^2/s of a whole image; water at 37 degrees C has 3.0
_LARGEST = 3000  # s/mm^2, more than bodies are measured with
_DROP = 0.15  # of the logarithm at the lowest b in nine of ten voxels; abdomens have -0.1
_LOST = 0.5  # of the others' brightness; directions along and across muscle differ by .57
_NO_CHANCE = 16  # voxels that are not 0; fewer whole gray levels may be alike at two b-values
_OTHER_TE, _OTHER_TR = 0.02, 0.1  # share of the longest by which times differ


def check_times(images: Sequence[Volume], notes: list[str]) -> None:
    """Refuse other echo times and tell other repetition times by the headers, in ms.

    Raises:
        ValueError: the echo times differ.
    """
    for key, title, most in (
        ("EchoTime", "echo", _OTHER_TE),
        ("RepetitionTime", "repetition", _OTHER_TR),
    ):
        times = {number_of(one.attributes, key) for one in images} - {None, 0.0}
        if not times or max(times) - min(times) <= most * max(times):
            continue
        listed = f"{min(times):g} to {max(times):g} ms"
        if key == "EchoTime":
            raise ValueError(
                f"The diffusion images have {title} times of {listed}: T2 would be taken for "
                "diffusion; give images of one echo time."
            )
        notes.append(
            f"The diffusion images have {title} times of {listed}: where that is not breathing, "
            "T1 is taken for diffusion."
        )


def without_copies(
    stack: np.ndarray, b_values: np.ndarray, groups: np.ndarray, notes: list[str]
) -> np.ndarray:
    """Which images are to be used: one given twice counts once, and no noise can be told by it.

    Images of very few voxels are alike by chance, and are kept.

    Args:
        stack: all images, shape (slices, rows, columns, n).
        b_values: of each, in s/mm^2, rising, shape (n,).
        groups: equal for repeats of one direction and b-value, shape (n,).
        notes: gets a sentence on what was left out.

    Raises:
        ValueError: images of b-values apart are the same in every voxel.
    """
    first: dict[int, int] = {}
    kept = np.ones(b_values.size, bool)
    for n, b in enumerate(b_values):
        image = stack[..., n]
        m = first.setdefault(hash(image.tobytes()), n)
        if m == n or not np.array_equal(image, stack[..., m], equal_nan=True):
            continue
        if np.count_nonzero(np.nan_to_num(image)) < _NO_CHANCE:
            continue
        if b > 1.03 * b_values[m] + 0.5:
            raise ValueError(
                f"The images at b = {b_values[m]:g} and {b:g} s/mm^2 are the same in every voxel, "
                "so one of them is a copy; give the true image of each b-value."
            )
        kept[n] = groups[n] != groups[m]
    if not kept.all():
        notes.append(
            f"{np.count_nonzero(~kept)} image(s) are the same in every voxel as one before, of the "
            "same b-value and direction, and were left out as copies."
        )
    return np.flatnonzero(kept)


def check_decay(signal: np.ndarray, b_values: np.ndarray, notes: list[str]) -> None:
    """Refuse images that are brighter than any tissue allows, and tell what is likely wrong.

    Args:
        signal: shape (..., n).
        b_values: in s/mm^2, rising, shape (n,).
        notes: gets the sentences.

    Raises:
        ValueError: the images at one b are brighter than those at others allow.
    """
    voxels = np.maximum(np.nan_to_num(signal), 0).reshape(-1, b_values.size)
    totals = voxels.sum(axis=0, dtype=np.float64)
    if totals[-1] > _RISES * totals[0]:
        raise ValueError(
            f"The images at b = {b_values[-1]:g} s/mm^2 are brighter than those at "
            f"{b_values[0]:g}; check the order of the b-values."
        )
    if b_values[-1] > _LARGEST:
        notes.append(
            f"A b-value of {b_values[-1]:g} s/mm^2 is more than bodies are measured with: if it "
            "is in another unit, the ADC is wrong by that factor."
        )
    if (voxels > 0).all(axis=1).sum() < _ENOUGH or totals.min() <= 0 or b_values.size < 2:
        return
    logs = np.log(totals)
    fall = (logs[0] - logs[-1]) / (b_values[-1] - b_values[0]) * 1e3
    if fall > _FASTEST:
        notes.append(
            f"All voxels together decay by {fall:.2g} x 10^-3 mm^2/s, faster than free water "
            "(3.0): the b-values may be too small, as by a factor of 10."
        )
    excess, wrong, others = _largest_excess(logs, b_values)
    if excess <= np.log(_TOLD):
        return
    sentence = (
        f"The images at b = {wrong:g} s/mm^2 are {100 * np.expm1(excess):.0f} % brighter than "
        f"those at {others} allow for any tissue: b-values are wrong or in another order, or "
        "images differ in gain or echo time, or one is a map;"
    )
    if excess > np.log(_REFUSED):
        raise ValueError(f"{sentence} correct the b-values, or leave such images out.")
    notes.append(f"{sentence} the ADC, D and f are wrong then.")


def note_directions(signal: np.ndarray, b_values: np.ndarray, notes: list[str]) -> None:
    """Tell an image that is much darker than the others of its b-value: one lost to motion.

    Args:
        signal: shape (..., n), all directions and repeats.
        b_values: of each, in s/mm^2, shape (n,).
        notes: gets the sentences.
    """
    totals = np.nansum(np.maximum(signal, 0), axis=tuple(range(signal.ndim - 1)), dtype=np.float64)
    for b in np.unique(b_values):
        alike = totals[b_values == b]
        usual = float(np.median(alike))
        if alike.size > 2 and alike.min() < _LOST * usual:
            notes.append(
                f"One of the {alike.size} images at b = {b:g} s/mm^2 has "
                f"{100 * alike.min() / usual:.0f} % of the brightness of the others, as after "
                "motion; the ADC reads too high with it: leave it out."
            )


def note_drop(signal: np.ndarray, b_values: np.ndarray, notes: list[str]) -> None:
    """Tell where the lowest b stands over the decay of the others in all tissue of an image.

    Perfusion does that in some tissue, another gain in all.

    Args:
        signal: of the voxels with signal, shape (voxels, n).
        b_values: in s/mm^2, rising, shape (n,).
        notes: gets the sentence.
    """
    signal = signal[(signal > 0).all(axis=1)]
    if b_values.size < 3 or len(signal) < _ENOUGH:
        return
    logs = np.log(signal)
    line = np.polynomial.polynomial.polyfit(b_values[1:], logs[:, 1:].T, 1)
    drop = np.percentile(logs[:, 0] - line[0] - line[1] * b_values[0], 10)
    if drop > _DROP:
        notes.append(
            f"Nine of ten voxels are over {100 * np.expm1(drop):.0f} % brighter at b = "
            f"{b_values[0]:g} s/mm^2 than the decay of the others: unless all tissue here is "
            "perfused, these images have another gain, and f and the ADC are too high; leave "
            f"them out (--b-range {b_values[1]:g} {b_values[-1]:g})."
        )


def _largest_excess(logs: np.ndarray, b_values: np.ndarray) -> tuple[float, float, str]:
    """By how much one image is over what lower and higher b-values allow, its b, and theirs."""
    found = [(0.0, 0.0, "")]
    for i, j in combinations(range(len(logs)), 2):
        found.append((logs[j] - logs[i], b_values[j], f"{b_values[i]:g}"))
    for i, j, k in combinations(range(len(logs)), 3):
        part = (b_values[j] - b_values[i]) / (b_values[k] - b_values[i])
        straight = (1 - part) * logs[i] + part * logs[k]
        found.append((logs[j] - straight, b_values[j], f"{b_values[i]:g} and {b_values[k]:g}"))
    return max(found)
