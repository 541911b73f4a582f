"""Multi-echo gradient-echo images: checked, sorted, and as complex numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


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
    echoes = _four_dimensional(echoes)
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
    radians, note = phase_in_radians(phase, phase_range)
    echoes = np.empty(magnitude.shape, np.complex64)
    echoes.real = magnitude * np.cos(radians)
    echoes.imag = magnitude * np.sin(radians)
    made = multi_echo(echoes, echo_times_s, field_strength_t, voxel_size_mm)
    made.notes.append(note)
    return made


_PHASE_SCALES = (
    # lowest, highest value, what it is; the values that mean -pi and pi
    (-np.pi, np.pi, "radians", (-np.pi, np.pi)),
    (0.0, 2 * np.pi, "radians from 0 to 2 pi", (-np.pi, np.pi)),
    (-180.0, 180.0, "degrees", (-180.0, 180.0)),
    (0.0, 360.0, "degrees from 0 to 360", (-180.0, 180.0)),
    (-3142.0, 3142.0, "milliradians (GE, Philips)", (-1000 * np.pi, 1000 * np.pi)),
    (0.0, 4095.0, "12 bits, 0 to 4095 (Siemens, Philips)", (0.0, 4096.0)),
    (-2048.0, 2047.0, "12 bits, -2048 to 2047", (-2048.0, 2048.0)),
    (-4096.0, 4095.0, "-4096 to 4094 (Siemens, rescaled)", (-4096.0, 4096.0)),
    (0.0, 65535.0, "16 bits, 0 to 65535", (0.0, 65536.0)),
    (-32768.0, 32767.0, "16 bits, -32768 to 32767", (-32768.0, 32768.0)),
)


def phase_in_radians(
    phase: np.ndarray, phase_range: tuple[float, float] | None = None
) -> tuple[np.ndarray, str]:
    """Phase in radians (float32) and a sentence on how it was scaled.

    A scaling is recognized when the stored values fill its range: noise and off-resonance make
    real phase images do so.

    Raises:
        ValueError: no known scaling is filled by these values.
    """
    phase = np.asarray(phase)
    if phase_range is None:
        lowest, highest = float(np.nanmin(phase)), float(np.nanmax(phase))
        for low, high, what, values in _PHASE_SCALES:
            margin = 0.002 * (high - low)
            inside = low - margin <= lowest and highest <= high + margin
            # Filled: nine tenths of the span is used.
            if inside and highest - lowest >= 0.9 * (high - low):
                phase_range, note = values, f"Phase was read as {what}."
                break
        else:
            raise ValueError(
                f"The phase images hold values from {lowest:g} to {highest:g}, which fits no known "
                "scaling; say which stored values mean -pi and pi."
            )
    else:
        note = f"Phase was read as given: {phase_range[0]:g} to {phase_range[1]:g} is -pi to pi."
    low, high = phase_range
    if high <= low:
        raise ValueError(f"A phase range must increase; {low:g} to {high:g} was given.")
    scale = 2 * np.pi / (high - low)
    radians = (phase.astype(np.float32) - np.float32((low + high) / 2)) * np.float32(scale)
    return radians, note


def checked_echo_times(
    echo_times_s: Sequence[float], count: int, least: int
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Sorted echo times in s, the order that sorts the echoes, and an empty list for notes.

    Raises:
        ValueError: not one per echo, too few, not positive, repeated, or not in seconds.
    """
    times = np.asarray(echo_times_s, float).ravel()
    if len(times) != count:
        raise ValueError(
            f"There must be one echo time per echo; {len(times)} times and {count} echoes were "
            "given."
        )
    if count < least:
        raise ValueError(
            f"{count} echoes were given where at least {least} are needed"
            + ("; use the two-point method for in and opposed phase." if count == 2 else ".")
        )
    if not (np.isfinite(times).all() and (times > 0).all()):
        raise ValueError(f"Echo times must be above 0; given were {_listed(times)}.")
    if times.max() > 0.3:
        unit = "microseconds" if times.max() > 300 else "milliseconds"
        raise ValueError(
            f"Echo times are expected in seconds; {_listed(times)} look like {unit}: divide by "
            f"{1_000_000 if unit == 'microseconds' else 1000}."
        )
    if times.max() < 3e-4:
        raise ValueError(
            f"Echo times are expected in seconds; {_listed(times)} are too short to be true."
        )
    order = np.argsort(times, kind="stable")
    times = times[order]
    if (np.diff(times) < 1e-6).any():
        twice = times[1:][np.diff(times) < 1e-6][0]
        raise ValueError(
            f"Echo times must differ; {1000 * twice:g} ms is given twice. Average repeated "
            "echoes first, or correct the times."
        )
    return times, order, []


def echo_times_to_seconds(values: Sequence[float]) -> tuple[np.ndarray, str]:
    """Echo times in s from s, ms or us, told apart by size, and the unit found.

    The longest echo time of a multi-echo series lies between 0.5 and 300 ms, so that the three
    units cannot be confused.

    Raises:
        ValueError: the longest time fits no unit.
    """
    times = np.asarray(values, float).ravel()
    longest = float(times.max()) if len(times) else 0.0
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if 5e-4 <= longest * scale < 0.3 and (unit != "s" or longest < 0.3):
            return times * scale, unit
    raise ValueError(
        f"Echo times {_listed(times)} are neither seconds, milliseconds nor microseconds of a "
        "multi-echo series (longest from 0.5 to 300 ms)."
    )


def checked_field_strength(field_strength_t: float) -> float:
    """The field strength if it is one.

    Raises:
        ValueError: not between 0.05 and 12 T.
    """
    value = float(field_strength_t)
    if not 0.05 <= value <= 12:
        hint = ""
        if 400 <= value <= 120_000:
            hint = f"; in gauss this would be {value / 10_000:g} T"
        elif 12 < value < 400:
            hint = f"; as a proton frequency in MHz this would be {value / 42.577:.2f} T"
        raise ValueError(f"Field strength is expected in tesla, {value:g} was given{hint}.")
    return value


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


def _four_dimensional(echoes: np.ndarray) -> np.ndarray:
    if echoes.ndim == 3:
        echoes = echoes[:, None]
    if echoes.ndim != 4:
        raise ValueError(
            "Echoes are expected with shape (echoes, slices, rows, columns); the given shape is "
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


def _listed(times: np.ndarray) -> str:
    return ", ".join(f"{time:g}" for time in times)
