"""Whether the phases of echoes belong to the voxels whose magnitudes they were given with.

Phase images whose slices are in another order, or that are mirrored, fit the magnitudes wherever
neighbors hold the same tissue. Water and fat fix how magnitude and phase go together over the
echoes: where the phases of the place given and of another place differ most, the right ones fit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from PDFFMapperLib.maps.progress import run_parallel
from PDFFMapperLib.water_fat.field_map import (
    ChemicalShiftModel,
    fit_from_candidates,
    relative_residuals,
)
from PDFFMapperLib.water_fat.neighborhood import flat_index
from PDFFMapperLib.water_fat.voxel_fit import RESIDUAL
from PDFFMapperLib.water_fat.voxel_signals import VoxelSignals

_SEARCHED, _JUDGED, _FEW = 8_000, 150, 40  # voxels
_TRIED = 2  # candidates of the field per voxel
# Mean difference over sum of the squared residuals, and standard errors, of another place. Of right
# phases it is negative (-0.1 to -0.9), of slices that are alike 0, but up to 0.3 where the model is
# wrong, as of another fat, and leaves much more than noise in either place.
_BETTER, _MUCH_BETTER, _SURE = 0.25, 0.5, 4.0
_AS_NOISE = 2.5  # times the noise of the images, that a good fit leaves in three voxels of four


def refuse_phases_of_another_place(
    signals: VoxelSignals, mask: np.ndarray, model: ChemicalShiftModel, noise: float
) -> None:
    """Refuse echoes whose magnitudes the phases of another slice, or mirrored ones, fit better.

    Args:
        signals: of the volume, with what was found wrong put right.
        mask: voxels with signal; those are compared that have it in both places.
        model: echo times and fat.
        noise: SD of the real part in the images.

    Raises:
        ValueError: naming where the phases that fit are.
    """
    index = flat_index(mask)
    index = index[:: max(1, len(index) // _SEARCHED)]
    place, given = np.stack(np.unravel_index(index, mask.shape)), signals.at(index)
    found: list[tuple[float, str]] = []

    def compare(elsewhere: tuple[str, np.ndarray]) -> None:
        words, other = elsewhere
        usable = (other[0] >= 0) & (other[0] < mask.shape[0])
        other = np.ravel_multi_index(other, mask.shape, mode="clip")
        usable &= mask.ravel()[other]
        if np.count_nonzero(usable) < _FEW:
            return
        instead = signals.at(other[usable])
        mean, error, left = _better(*_most_apart(given[usable], instead, model.echo_times_s), model)
        least = _BETTER if left < _AS_NOISE * noise else _MUCH_BETTER
        if mean > max(least, _SURE * error):
            found.append((mean, words))

    run_parallel(compare, _elsewhere(place, mask.shape))
    if found:
        raise ValueError(
            f"The phases fit the magnitudes if they are taken {max(found)[1]}, and not as given. "
            "Bring the magnitude and phase images into one order of slices and one orientation."
        )


def _elsewhere(place: np.ndarray, shape: tuple) -> Iterator[tuple[str, np.ndarray]]:
    """Where the phases may be, in words, and of each voxel (slice, row, column; some outside)."""
    (slices, rows, columns), number = place, np.arange(shape[0])
    every_second = np.concatenate([number[::2], number[1::2]])
    for words, order in (
        ("in reversed order of slices", number[::-1]),
        ("from the slice before", number - 1),
        ("from the slice after", number + 1),
        ("with every second slice first", every_second),
        ("in the order that an interleaved one was put in", np.argsort(every_second)),
    ):
        yield words, np.stack([order[slices], rows, columns])
    yield "mirrored along the columns", np.stack([slices, shape[1] - 1 - rows, columns])
    yield "mirrored along the rows", np.stack([slices, rows, shape[2] - 1 - columns])


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
    strength = (np.minimum(apart**2, 1) * signal).sum(1)
    most = np.argpartition(strength, -min(_JUDGED, len(strength)))[-_JUDGED:]
    return given[most], np.abs(given[most]) * turned[most]


def _better(given: np.ndarray, instead: np.ndarray, model) -> tuple[float, float, float]:
    """How much less the other phases leave, from -1 to 1, its standard error, and the SD that they
    leave in three voxels of four."""
    fits = fit_from_candidates(np.concatenate([given, instead]), model, None, _TRIED)
    left, right = np.split(fits, 2)
    energy = (np.abs(given) ** 2).sum(1)
    squares = np.minimum(np.nan_to_num(right[:, RESIDUAL].astype(float), nan=np.inf), energy)
    freedom = max(2 * given.shape[1] - model.unknowns(None), 1)
    sd = np.sqrt(np.percentile(squares, 75) / freedom)
    return *relative_residuals(left, right, energy), float(sd)
