"""Echo times, phase and field strength in SI units, whatever they were written in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from PDFFMapperLib.images.attributes import number_of


def echo_times_in_seconds(values: Sequence[float], unit: str | None = None) -> np.ndarray:
    """Echo times in seconds; the unit is found from their size when it is not given.

    MRI echo times lie between about 0.03 ms and 0.3 s, so a longest echo up to 0.15 must be
    seconds, one of 1 to 300 milliseconds, and one from 1000 microseconds. What lies between is
    refused.

    Raises:
        ValueError: a value is not a positive number, or the unit stays unclear.
    """
    times = np.atleast_1d(np.asarray(values, dtype=float))
    listed = ", ".join(f"{value:g}" for value in times)
    if not times.size or not np.isfinite(times).all() or (times <= 0).any():
        raise ValueError(f"Echo times must be positive numbers; given: {listed or 'none'}.")
    factors = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
    if unit is not None and unit not in factors:
        raise ValueError(f"Unknown unit '{unit}' of echo times; expected s, ms or us.")
    if unit is None and (unit := unit_of_echo_times(times)) is None:
        raise ValueError(
            f"The unit of the echo times {listed} is unclear; say whether they are s, ms or us."
        )
    seconds = times * factors[unit]
    if seconds.min() < 1e-5 or seconds.max() > 1.0:
        raise ValueError(
            f"Echo times {listed} {unit} are outside what MRI uses (0.01 ms to 1 s); "
            "check their unit."
        )
    return seconds


def unit_of_echo_times(values: Sequence[float]) -> str | None:
    """The unit of echo times by the longest of them; None where that does not tell."""
    longest = float(np.max(values))
    if longest <= 0.15:
        return "s"
    if 1 <= longest <= 300:
        return "ms"
    return "us" if longest >= 1000 else None


def checked_echo_times(
    echo_times_s: Sequence[float], count: int, least: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sorted echo times in s, and the order that sorts the echoes.

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
            + (
                "; two complex ones are of the method two-echo, magnitudes of in and opposed phase."
                if count == 2
                else "."
            )
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
    return times, order


def checked_field_strength(field_strength_t: float) -> float:
    """The field strength if it is one.

    Raises:
        ValueError: not between 0.01 and 21 T.
    """
    value = float(field_strength_t)
    if not 0.01 <= value <= 21:
        hint = ""
        if 400 <= value <= 120_000:
            hint = f"; in gauss this would be {value / 10_000:g} T"
        elif 21 < value < 400:
            hint = f"; as a proton frequency in MHz this would be {value / 42.577:.2f} T"
        raise ValueError(f"Field strength is expected in tesla, {value:g} was given{hint}.")
    return value


def phase_in_radians(
    phases: Sequence[np.ndarray], attributes: Mapping[str, object] | None = None
) -> tuple[list[np.ndarray], str]:
    """Phase images of one acquisition in radians, and a sentence that tells their scale.

    The scale is taken from the header where it is certain (Siemens' rescaling of 12 bits to
    -4096 ... 4094; milliradians named as such), else from the range that the values fill: radians,
    milliradians (Philips, GE), degrees, or a full turn over 12, 13 or 16 bits.

    Args:
        phases: the phase images of all echoes, rescaled as the header says, any shape.
        attributes: their common attributes.

    Raises:
        ValueError: no value is finite, all are the same, or they fill no known range.
    """
    facts = attributes or {}
    finite = [phase[np.isfinite(phase)] for phase in phases]
    if not any(part.size for part in finite):
        raise ValueError("The phase images hold no finite value.")
    low = min(float(part.min()) for part in finite if part.size)
    high = max(float(part.max()) for part in finite if part.size)
    if low == high:
        raise ValueError(f"A phase image is {low:g} everywhere; it holds no phase.")
    scale = _stated_phase_scale(facts, low, high) or _filled_phase_scale(low, high)
    if scale is None:
        raise ValueError(
            f"The phase images run from {low:g} to {high:g}, which fits no known scale of phase "
            "(radians, milliradians, degrees, 12, 13 or 16 bits per turn); convert them to radians."
        )
    factor = np.float32(2 * np.pi / (scale.high - scale.low))
    converted = [(phase - np.float32(scale.zero)) * factor for phase in phases]
    return converted, f"Phase was read as {scale.name}."


class _PhaseScale(NamedTuple):
    """A way to write phase: a turn runs from `low` to `high`, and `zero` is phase 0."""

    low: float
    high: float
    zero: float
    name: str


_RADIANS = _PhaseScale(-math.pi, math.pi, 0.0, "radians")
_MILLIRADIANS = _PhaseScale(-1000 * math.pi, 1000 * math.pi, 0.0, "milliradians")
_SIEMENS = _PhaseScale(-4096.0, 4096.0, 0.0, "a turn from -4096 to 4096 (Siemens)")
_SIEMENS_STORED = _PhaseScale(0.0, 4096.0, 2048.0, "a turn from 0 to 4096 (Siemens, stored values)")
_PHASE_UNITS = {
    **dict.fromkeys(("rad", "radian", "radians"), "rad"),
    **dict.fromkeys(("mrad", "millirad", "milliradians", "mradian"), "mrad"),
    **dict.fromkeys(("deg", "degree", "degrees"), "deg"),
}
# What people may say of phase, and how attributes have it.
PHASE_UNITS = {
    "rad": "rad", "mrad": "mrad", "deg": "deg",
    "+-4096": "turn of 8192", "0-4095": "turn of 4096",
}  # fmt: skip
_PHASE_SCALES = [
    _RADIANS,
    _PhaseScale(0.0, 2 * math.pi, 0.0, "radians from 0 to 2 pi"),
    _MILLIRADIANS,
    _PhaseScale(0.0, 2000 * math.pi, 0.0, "milliradians from 0 to 2 pi"),
    _PhaseScale(-180.0, 180.0, 0.0, "degrees"),
    _PhaseScale(0.0, 360.0, 0.0, "degrees from 0 to 360"),
    _SIEMENS,
    _SIEMENS_STORED,
    _PhaseScale(-2048.0, 2048.0, 0.0, "a turn from -2048 to 2048"),
    _PhaseScale(-32768.0, 32768.0, 0.0, "a turn over signed 16 bits"),
    _PhaseScale(0.0, 65536.0, 32768.0, "a turn over unsigned 16 bits"),
]


def _stated_phase_scale(facts: Mapping[str, object], low: float, high: float) -> _PhaseScale | None:
    units = [str(facts.get(key, "")).lower().strip() for key in ("Units", "RescaleType")]
    for kind, one_turn in (("mrad", 2000 * math.pi), ("rad", 2 * math.pi), ("deg", 360.0)):
        if any(_PHASE_UNITS.get(unit) == kind for unit in units):
            for scale in _PHASE_SCALES:
                rounding = 0.02 * one_turn
                if (
                    math.isclose(scale.high - scale.low, one_turn)
                    and scale.low - rounding <= low
                    and high <= scale.high + rounding
                ):
                    return scale
    for scale, unit in ((_SIEMENS, "turn of 8192"), (_SIEMENS_STORED, "turn of 4096")):
        if unit in units:
            if low < scale.low or high > scale.high:
                raise ValueError(
                    f"The phase images run from {low:g} to {high:g}, beyond {scale.name}, which "
                    "was stated."
                )
            return scale
    maker = str(facts.get("Manufacturer", "")).upper()
    slope, intercept = number_of(facts, "RescaleSlope"), number_of(facts, "RescaleIntercept")
    if "SIEMENS" in maker and slope == 2 and intercept == -4096 and -4096 <= low and high <= 4096:
        return _SIEMENS
    if "PHILIPS" in maker and intercept is not None:
        if abs(intercept + 3142) < 2 and max(-low, high) < 3200:
            return _MILLIRADIANS
        if abs(intercept + math.pi) < 0.01 and max(-low, high) < 3.2:
            return _RADIANS
    return None


def _filled_phase_scale(low: float, high: float) -> _PhaseScale | None:
    """The one scale whose range the values fill to 90 % and leave by no more than rounding."""
    fitting = []
    for scale in _PHASE_SCALES:
        turn = scale.high - scale.low
        inside = low >= scale.low - 0.0005 * turn and high <= scale.high + 0.0005 * turn
        if inside and high - low >= 0.9 * turn:
            fitting.append(scale)
    return fitting[0] if len(fitting) == 1 else None


def _listed(times: np.ndarray) -> str:
    return ", ".join(f"{time:g}" for time in times)
