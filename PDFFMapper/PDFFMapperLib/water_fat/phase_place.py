"""Whether the phases of echoes belong to the voxels whose magnitudes they were given with.

Phase images whose slices are in another order, or that are mirrored, fit the magnitudes wherever
neighbors hold the same tissue. Water and fat fix how magnitude and phase go together over the
echoes: where the phases of the place given and of another place differ most, the right ones fit.
"""

from __future__ import annotations

import numpy as np

from PDFFMapperLib.water_fat.field_map import ChemicalShiftModel, fit_from_candidates
from PDFFMapperLib.water_fat.neighborhood import flat_index
from PDFFMapperLib.water_fat.voxel_fit import RESIDUAL
from PDFFMapperLib.water_fat.voxel_signals import VoxelSignals

_SEARCHED, _JUDGED, _FEW = 8_000, 150, 40  # voxels
_TRIED = 2  # candidates of the field per voxel
# Mean difference over sum of the squared residuals, and standard errors, of another place. Of right
# phases it is negative (-0.1 to -0.9), of slices that are alike 0, and up to 0.17 where a gain of
# odd against even echoes was taken for something else.
_BETTER, _SURE = 0.25, 4.0
# In words, which axis (slices, rows, columns) is mirrored, and by how many slices they are moved.
_ELSEWHERE = (
    ("in reversed order of slices", 0, 0),
    ("from the slice before", None, -1),
    ("from the slice after", None, 1),
    ("mirrored along the columns", 1, 0),
    ("mirrored along the rows", 2, 0),
)


def refuse_phases_of_another_place(
    signals: VoxelSignals, mask: np.ndarray, model: ChemicalShiftModel
) -> None:
    """Refuse echoes whose magnitudes the phases of another slice, or mirrored ones, fit better.

    Args:
        signals: of the volume, with what was found wrong put right.
        mask: voxels with signal; those are compared that have it in both places.
        model: echo times and fat.

    Raises:
        ValueError: naming where the phases that fit are.
    """
    index = flat_index(mask)
    index = index[:: max(1, len(index) // _SEARCHED)]
    place, given, found = np.stack(np.unravel_index(index, mask.shape)), signals.at(index), []
    for words, mirrored, moved in _ELSEWHERE:
        other = place.copy()
        other[0] += moved
        if mirrored is not None:
            other[mirrored] = mask.shape[mirrored] - 1 - other[mirrored]
        usable = (other[0] >= 0) & (other[0] < mask.shape[0])
        other = np.ravel_multi_index(other, mask.shape, mode="clip")
        usable &= mask.ravel()[other]
        if np.count_nonzero(usable) < _FEW:
            continue
        instead = signals.at(other[usable])
        mean, error = _better(*_most_apart(given[usable], instead, model.echo_times_s), model)
        if mean > max(_BETTER, _SURE * error):
            found.append((mean, words))
    if found:
        raise ValueError(
            f"The phases fit the magnitudes if they are taken {max(found)[1]}, and not as given. "
            "Bring the magnitude and phase images into one order of slices and one orientation."
        )


def _most_apart(given: np.ndarray, instead: np.ndarray, times: np.ndarray) -> tuple:
    """The voxels whose signals differ most by the phases of both places, but for a phase and field.

    Returns:
        Their signals as given, and with the phases of the other place; shape (voxels, echoes).
    """
    size = np.abs(instead)
    turned = np.divide(instead, size, out=np.ones_like(instead), where=size > 0)
    known = np.linalg.qr(np.stack([np.ones(len(times)), times], 1))[0]
    apart = np.unwrap(np.angle(given * turned.conj()), axis=1)
    apart -= (apart @ known) @ known.T
    signal = np.abs(given) ** 2
    most = np.argsort((np.minimum(apart**2, 1) * signal).sum(1))[-_JUDGED:]
    return given[most], np.abs(given[most]) * turned[most]


def _better(given: np.ndarray, instead: np.ndarray, model) -> tuple[float, float]:
    """How much less the other phases leave, from -1 to 1, and its standard error."""
    energy = (np.abs(given) ** 2).sum(1)
    left, right = (
        np.minimum(np.nan_to_num(fits[:, RESIDUAL].astype(float), nan=np.inf), energy)
        for fits in (fit_from_candidates(each, model, None, _TRIED) for each in (given, instead))
    )
    relative = (left - right) / np.maximum(left + right, 1e-9 * energy)
    return float(relative.mean()), float(relative.std() / np.sqrt(len(relative)))
