"""Acquisition facts from the JSON file beside an image."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from PDFFMapperLib.images.attributes import (
    component_of_image_type,
    image_type_of,
    number_of,
)
from PDFFMapperLib.images.bids import bids_name, inherited_facts
from PDFFMapperLib.images.json_file import read_json
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.made_by import how_made
from PDFFMapperLib.water_fat.echo_train import field_strength
from PDFFMapperLib.water_fat.echo_units import echo_times_in_seconds, unit_of_echo_times

_KEPT = ("Manufacturer", "SeriesDescription", "ImageType", "FlipAngle", "RescaleType", "Units",
         "ImagedNucleus")  # fmt: skip


@dataclass(frozen=True)
class Sidecar:
    """Acquisition facts from a BIDS-like JSON file; None where it does not say.

    Attributes:
        echo_times_s: one or several echo times in seconds.
        attributes: what it says as volume attributes ("EchoTime" and "RepetitionTime" in ms,
            "MagneticFieldStrength" in T, "ImagingFrequency" in MHz, "ImageComponent" ...).
        notes: what was converted.
    """

    echo_times_s: np.ndarray | None
    attributes: dict[str, object]
    notes: list[str] = field(default_factory=list)


def read_sidecar(path: str | Path, unit: str | None = None) -> Sidecar:
    """Read echo times and field strength from a JSON sidecar.

    Read are "EchoTime" or "EchoTimes" (a number or list; seconds by the BIDS rule, otherwise the
    unit is found from their size and noted), "EchoTime1", "EchoTime2" ..., "MagneticFieldStrength"
    (T) and "ImagingFrequency" (MHz).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, or a value in it makes no sense.
    """
    path = Path(path)
    return _sidecar(read_json(path), path.name, unit)


def sidecar_of_image(image: str | Path, unit: str | None = None) -> Sidecar | None:
    """What the JSON files that hold for an image say (see `bids.sidecars_of`), None without any.

    In a BIDS data set facts are inherited from files further up, and the part that an image shows
    is told by its name.

    Raises:
        ValueError: as for `read_sidecar`.
    """
    image = Path(image)
    facts, names = inherited_facts(image)
    component = bids_name(image).component
    if not facts and component is None:
        return None
    side = _sidecar(facts, names[-1] if names else image.name, unit)
    if component is not None:
        side.attributes["ImageComponent"] = component
    return side


def common_unit(facts: Iterable[Mapping[str, object]]) -> str | None:
    """The unit of the echo times of several JSON files, judged on all of them together.

    One alone may mislead: 0.14 is an ultrashort echo in ms, or a late one in s.
    """
    written: list[float] = []
    for one in facts:
        with contextlib.suppress(TypeError, ValueError):  # told where each is read
            written += np.ravel(np.asarray(_written_echo_times(one), float)).tolist()
    known = [value for value in written if math.isfinite(value)]
    return unit_of_echo_times(known) if known else None


def with_stated_facts(volume: Volume, path: str | Path) -> Volume:
    """An image with what the JSON files that hold for it say; what its own header says wins.

    Of a map that was made here the record beside it is heard too.

    Raises:
        ValueError: as for `read_sidecar`.
    """
    if side := sidecar_of_image(path):
        volume.attributes = {**side.attributes, **volume.attributes}
    volume.attributes = {**how_made(path), **volume.attributes}
    return volume


def _written_echo_times(facts: Mapping[str, object]) -> object:
    """What stands there as echo times, None if nothing."""
    values = next((facts[key] for key in ("EchoTimes", "EchoTime") if key in facts), None)
    numbered = sorted(
        (int(match[1]), key) for key in facts if (match := re.fullmatch(r"EchoTime(\d+)", key))
    )
    return [facts[key] for _, key in numbered] if values is None and numbered else values


def _sidecar(facts: dict[str, object], name: str, unit: str | None) -> Sidecar:
    notes: list[str] = []
    values = _written_echo_times(facts)
    times = None
    if values is not None:
        try:
            written = np.atleast_1d(np.asarray(values, dtype=float))
            if written.ndim > 1:
                raise ValueError
        except (TypeError, ValueError):
            raise ValueError(
                f"{name}: echo times must be numbers, in seconds, not {values!r:.60}."
            ) from None
        try:
            times = echo_times_in_seconds(written, unit)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        given = float(np.max(written))
        if not math.isclose(given, float(times.max()), rel_tol=1e-9):
            by = "ms" if math.isclose(given * 1e-3, float(times.max()), rel_tol=1e-9) else "us"
            notes.append(f"{name}: echo times were read as {by}, not as the seconds of BIDS.")
    numbers = {}
    for key in ("MagneticFieldStrength", "ImagingFrequency"):
        value = facts.get(key)
        if value is None:
            continue
        number = None if isinstance(value, bool) else number_of(facts, key)
        if number is None or not number > 0:
            raise ValueError(f"{name}: {key} must be a positive number, not {value!r}.")
        numbers[key] = number
    strength = field_strength([numbers])
    attributes: dict[str, object] = {key: facts[key] for key in _KEPT if key in facts}
    if strength is not None:
        attributes["MagneticFieldStrength"] = strength
    if "ImagingFrequency" in numbers:
        attributes["ImagingFrequency"] = numbers["ImagingFrequency"]
    if times is not None and times.size == 1:
        attributes["EchoTime"] = float(times[0]) * 1e3
    for key in ("RepetitionTime", "InversionTime"):
        if (seconds := number_of(facts, key)) is not None:
            attributes[key] = seconds * 1e3
    if component := component_of_image_type(image_type_of(facts)):
        attributes["ImageComponent"] = component
    return Sidecar(times, attributes, notes)


def other_than_typed(
    what: str, typed: Sequence[float], stated: Sequence[object], unit: str
) -> list[str]:
    """A sentence where the files state other values than somebody typed, which are used."""
    try:
        found = np.array(stated, float)
    except (TypeError, ValueError):  # not all of them state one
        return []
    if len(found) != len(typed) or not np.isfinite(found).all():
        return []
    if np.allclose(found, typed, rtol=0.02, atol=0.01):
        return []
    here, there = (", ".join(f"{one:g}" for one in np.round(ones, 3)) for ones in (typed, found))
    return [f"The {what} given ({here} {unit}) are used; the files state {there} {unit}."]
