"""Multi-echo gradient-echo images: checked, sorted, and as complex numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from PDFFMapperLib.echo_units import checked_echo_times, checked_field_strength, phase_in_radians


@dataclass
class MultiEcho:
    """Complex images of one multi-echo acquisition; made by the functions below.

    Attributes:
        echoes: complex64, shape (echoes, slices, rows, columns), by increasing echo time.
        echo_times_s: increasing, shape (echoes,).
        field_strength_t: field strength.
        voxel_size_mm: along slices, rows, columns.
        notes: what was found and changed while reading, one sentence each.
    """

    echoes: np.ndarray
    echo_times_s: np.ndarray
    field_strength_t: float
    voxel_size_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    notes: list[str] = field(default_factory=list)


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
            f"Complex echoes are expected, {echoes.dtype} values were given; give magnitude and "
            "phase, real and imaginary parts, or use the magnitude-only fit."
        )
    times, order, notes = checked_echo_times(echo_times_s, len(echoes), least=3)
    echoes = four_dimensional(echoes)
    field_strength_t = checked_field_strength(field_strength_t)
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


def multi_echo_from_parts(
    real: np.ndarray,
    imaginary: np.ndarray,
    echo_times_s: Sequence[float],
    field_strength_t: float,
    voxel_size_mm: Sequence[float] | None = None,
) -> MultiEcho:
    """As `multi_echo`, from real and imaginary parts of one scale.

    Raises:
        ValueError: as `multi_echo`; or neither part is ever negative, as with unsigned storage.
    """
    real, imaginary = _pair(real, imaginary, "real", "imaginary")
    if min(np.nanmin(real), np.nanmin(imaginary)) >= 0:
        raise ValueError(
            "Real and imaginary parts should have both signs; these are nowhere negative. Subtract "
            "the stored offset (often 2048 or 32768), or give them as magnitude and phase."
        )
    echoes = real.astype(np.complex64)
    echoes.imag = imaginary
    return multi_echo(echoes, echo_times_s, field_strength_t, voxel_size_mm)


def multi_echo_from_magnitude_phase(
    magnitude: np.ndarray,
    phase: np.ndarray,
    echo_times_s: Sequence[float],
    field_strength_t: float,
    voxel_size_mm: Sequence[float] | None = None,
    phase_range: tuple[float, float] | None = None,
) -> MultiEcho:
    """As `multi_echo`, from magnitude and phase in any of the vendors' scalings.

    Args:
        magnitude: not negative.
        phase: any type, also unsigned integers.
        echo_times_s: see `multi_echo`.
        field_strength_t: see `multi_echo`.
        voxel_size_mm: see `multi_echo`.
        phase_range: stored values that mean -pi and pi; recognized when None.

    Raises:
        ValueError: as `multi_echo`; negative magnitudes; or a phase scaling not recognized.
    """
    magnitude, phase = _pair(magnitude, phase, "magnitude", "phase")
    if np.nanmin(magnitude) < 0:
        raise ValueError(
            "Magnitudes must not be negative; if these are real and imaginary parts, give them as "
            "such."
        )
    if phase_range is None:
        (radians,), note = phase_in_radians([phase])
    else:
        low, high = phase_range
        if high <= low:
            raise ValueError(f"A phase range must increase; {low:g} to {high:g} was given.")
        radians = (phase.astype(np.float32) - (low + high) / 2) * (2 * np.pi / (high - low))
        note = f"Phase was read as given: {low:g} to {high:g} is -pi to pi."
    echoes = np.empty(magnitude.shape, np.complex64)
    echoes.real = magnitude * np.cos(radians)
    echoes.imag = magnitude * np.sin(radians)
    made = multi_echo(echoes, echo_times_s, field_strength_t, voxel_size_mm)
    made.notes.append(note)
    return made


def _pair(first, second, first_name, second_name):
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape:
        raise ValueError(
            f"The {first_name} images have shape {first.shape}, the {second_name} images "
            f"{second.shape}; they must be alike."
        )
    for each, name in ((first, first_name), (second, second_name)):
        if np.iscomplexobj(each):
            raise ValueError(f"The {name} images are complex; give them as complex echoes.")
        if not np.isfinite(each).any():
            raise ValueError(f"The {name} images hold no finite value.")
    return first, second


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
