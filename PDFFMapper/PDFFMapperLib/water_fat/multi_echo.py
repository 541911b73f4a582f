"""Complex multi-echo gradient-echo images, checked and sorted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from PDFFMapperLib.water_fat.echo_units import checked_echo_times, checked_field_strength


@dataclass
class MultiEcho:
    """Complex images of one multi-echo acquisition; made by `multi_echo`.

    Attributes:
        echoes: complex64, shape (echoes, slices, rows, columns), by increasing echo time.
        echo_times_s: increasing, shape (echoes,).
        field_strength_t: field strength.
        voxel_size_mm: along slices, rows, columns.
        notes: what was found and changed while reading, one sentence each.
        readout: what the header says of it, "monopolar" or "bipolar"; None if it does not.
    """

    echoes: np.ndarray
    echo_times_s: np.ndarray
    field_strength_t: float
    voxel_size_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    notes: list[str] = field(default_factory=list)
    readout: str | None = None


def multi_echo(
    echoes: np.ndarray,
    echo_times_s: Sequence[float],
    field_strength_t: float,
    voxel_size_mm: Sequence[float] | None = None,
) -> MultiEcho:
    """Complex echoes, checked and sorted by echo time.

    Args:
        echoes: complex, shape (echoes, slices, rows, columns); (echoes, rows, columns) is one
            slice.
        echo_times_s: in seconds, one per echo, all different, in any order.
        field_strength_t: field strength in tesla.
        voxel_size_mm: along slices, rows, columns; 1 mm if not given.

    Raises:
        ValueError: what was given is not that; the message says what to do.
    """
    echoes = np.asarray(echoes)
    if not np.iscomplexobj(echoes):
        raise ValueError(
            f"Complex echoes are expected, {echoes.dtype} values were given; join magnitude and "
            "phase, or real and imaginary parts, or use the magnitude-only fit."
        )
    times, order = checked_echo_times(echo_times_s, len(echoes), least=3)
    echoes = four_dimensional(echoes)
    field_strength_t = checked_field_strength(field_strength_t)
    notes = []
    if (order != np.arange(len(order))).any():
        echoes = echoes[order]
        notes.append("The echoes were sorted by echo time.")
    return MultiEcho(
        np.ascontiguousarray(echoes, np.complex64),
        times,
        field_strength_t,
        _voxel_size(voxel_size_mm),
        notes,
    )


def four_dimensional(echoes: np.ndarray, name: str = "Echoes") -> np.ndarray:
    """Echoes of shape (echoes, slices, rows, columns), also if they are of one slice.

    Raises:
        ValueError: they have another number of dimensions; the message begins with `name`.
    """
    if echoes.ndim == 3:
        echoes = echoes[:, None]
    if echoes.ndim != 4:
        raise ValueError(
            f"{name} are expected with shape (echoes, slices, rows, columns); the given shape is "
            f"{echoes.shape}."
        )
    return echoes


def _voxel_size(voxel_size_mm: Sequence[float] | None) -> tuple[float, float, float]:
    if voxel_size_mm is None:
        return (1.0, 1.0, 1.0)
    sizes = tuple(float(size) for size in voxel_size_mm)
    if len(sizes) != 3 or not all(0 < size < 1000 for size in sizes):
        raise ValueError(
            f"Voxel sizes in mm are expected along slices, rows and columns; {sizes} was given."
        )
    return sizes
