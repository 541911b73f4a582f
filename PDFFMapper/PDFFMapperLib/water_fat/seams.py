"""Seams: borders across which water turns to fat as only an exchange turns it.

Between tissues the signal changes, and a voxel at the border holds some of both. At the border of
an exchanged region water turns to fat from one voxel to the next, with one signal, and the voxels
on each side are alike. Where fat is as bright as water anyway that tells nothing.
"""

from __future__ import annotations

import numpy as np

_CLEARLY = 0.3  # of their sum, by which water and fat differ in a voxel that is mostly one of them
_DIM = 0.3  # of the usual signal
_ALIKE = 0.2  # of the signal, by which two voxels alike differ at most
_APART = 4  # voxels, over a border and what is mixed there
_UNLIKE = 0.5  # typical difference (of logarithms) of the signals on both sides of a border
_MANY = 50  # places of seams in an image; of 2,391 right ones so unlike none had over 27
_MANY_IN_SLICE = 5


def torn_slices(pair: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Slices through which a seam goes, bool, shape (slices,).

    Args:
        pair: water and fat, shape (2, slices, rows, columns).
        mask: voxels with signal to look at, bool.
    """
    places, unlike = np.zeros(len(mask), int), [np.zeros(0, np.float32)]
    total = pair.sum(0)
    clear = mask & (np.abs(pair[0] - pair[1]) > _CLEARLY * total)
    clear &= total > _DIM * (np.median(total[mask]) if mask.any() else np.inf)
    leads = np.where(clear, np.where(pair[1] > pair[0], 1, -1), 0).astype(np.int8)
    for axis in (1, 2):
        along = [np.moveaxis(each, axis, 0) for each in (pair[0], pair[1], total, leads)]
        places += _seams(*along).sum((0, 2))
        unlike.append(_unlike(*along[2:]))
    unlike = np.concatenate(unlike)
    if places.sum() < _MANY or np.median(unlike) < _UNLIKE:
        return np.zeros(len(mask), bool)
    return places >= _MANY_IN_SLICE


def _seams(water, fat, total, leads) -> np.ndarray:
    """Whether a seam lies between neighbors along the first axis, with two voxels on each side."""
    inner, outer = slice(1, -2), slice(2, -1)
    level = _ALIKE * 0.5 * (total[:-1] + total[1:])
    same = np.abs(water[1:] - water[:-1]) + np.abs(fat[1:] - fat[:-1]) < level
    turned = np.abs(fat[outer] - water[inner]) + np.abs(water[outer] - fat[inner])
    across = (turned < level[1:-1]) & (leads[inner] * leads[outer] < 0)
    return across & same[:-2] & same[2:]


def _unlike(total, leads) -> np.ndarray:
    """Differences (of logarithms) of the signals of water and fat a border apart."""
    border = leads[:-_APART] * leads[_APART:] < 0
    return np.abs(np.log(total[_APART:][border] / total[:-_APART][border]))
