"""Values of a protocol file: numbers, lists of numbers and parts, or one sentence what is wrong."""

from __future__ import annotations

from collections.abc import Mapping

MOST = 1e9


def number(
    told: Mapping[str, object], key: str, where: str, low: float = 0.0, high: float = MOST
) -> float:
    """A number.

    Args:
        told: what the file holds.
        key: name of the value.
        where: what holds it, for the sentence ("the MT protocol").
        low, high: between which it lies.

    Raises:
        ValueError: it is missing, no number or outside.
    """
    value = told.get(key)
    if not (_is_number(value) and low <= value <= high):
        span = f"from {low:g} on" if high >= MOST else f"from {low:g} to {high:g}"
        given = "none" if value is None else _shown(value)
        raise ValueError(f"{key} of {where} is expected as a number {span}; {given} was given.")
    return float(value)


def numbers(told: Mapping[str, object], key: str, where: str) -> list[float]:
    """A list of numbers; one alone is a list of one.

    Raises:
        ValueError: it is something else.
    """
    value = told.get(key)
    listed = value if isinstance(value, list) else [value]
    if not listed or not all(_is_number(one) and abs(one) <= MOST for one in listed):
        raise ValueError(
            f"{key} of {where} is expected as a list of numbers; {_shown(value)} was given."
        )
    return [float(one) for one in listed]


def part(value: object, name: str, where: str) -> dict[str, object]:
    """An object with named values.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, dict):
        raise ValueError(
            f"{name} of {where} is expected as an object with named values; {_shown(value)} was "
            "given."
        )
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
