"""What the scanner did, from volumes and sidecars: echo trains, b-values, and a series' role."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from PDFFMapperLib.dicom_facts import component_of_image_type, without_ge_offset
from PDFFMapperLib.echo_units import (
    checked_field_strength,
    echo_times_in_seconds,
    number_of,
    phase_in_radians,
)
from PDFFMapperLib.volume import Volume

PROTON_MHZ_PER_T = 42.577478518  # CODATA 2018, gamma / 2 pi of the free proton
# Below this b-value (s/mm^2) even blood-like diffusion of 0.02 mm^2/s loses under 0.2 % of signal.
NEARLY_ZERO_B = 0.1
_MAPS = {
    "ADC", "EADC", "FA", "W", "F", "WATER", "FAT", "IP", "OP", "OOP", "IN_PHASE", "INPHASE",
    "OUT_PHASE", "OPP_PHASE", "OPPOSED_PHASE", "FF", "FAT_FRACTION", "FATFRACTION", "FAT_FRAC",
    "WF", "WATER_FRACTION", "PDFF", "R2_STAR", "T2_STAR", "R2S", "T2S", "R2STAR", "T2STAR",
    "T2_STAR_UNSPECIFIED", "R2_STAR_UNSPECIFIED", "ADC_UNSPECIFIED", "T1 MAP", "T2 MAP",
    "B0 MAP", "SUB",
}  # fmt: skip


# --- echo trains --------------------------------------------------------------------------------


@dataclass
class EchoTrain:
    """A multi-echo series ready for water-fat separation or a T2*/R2* fit.

    Attributes:
        signal: complex64, or float32 magnitude, shape (slices, rows, columns, echoes).
        echo_times_s: echo times in seconds, ascending, shape (echoes,).
        field_strength_t: main magnetic field in T, None if nobody told.
        ijk_to_ras: 4x4 matrix from voxel indices to RAS mm.
        imaging_frequency_mhz: proton frequency in MHz where known.
        notes: sentences about what was sorted, converted or left out.
    """

    signal: np.ndarray
    echo_times_s: np.ndarray
    field_strength_t: float | None
    ijk_to_ras: np.ndarray
    imaging_frequency_mhz: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_complex(self) -> bool:
        """Whether phase is known."""
        return np.iscomplexobj(self.signal)


def echo_train(
    volumes: Sequence[Volume],
    echo_times: Sequence[float] | None = None,
    unit: str | None = None,
    field_strength_t: float | None = None,
) -> EchoTrain:
    """Put the volumes of a multi-echo acquisition together.

    Magnitude is paired with phase, or real with imaginary, by echo time; phase is brought to
    radians (`phase_in_radians`). Scanner-made maps among the volumes (water, fat, R2* ...) are left
    out.

    Args:
        volumes: one per echo and image component, with "EchoTime" (ms, as DICOM has it) and
            "ImageComponent" attributes as `dicom` gives them. Without the latter a volume
            is taken for magnitude if nothing in it is negative.
        echo_times: one per volume, in place of the attributes, e.g. typed or from a sidecar.
        unit: "s", "ms" or "us"; if None it is found from the size of `echo_times`, and is ms in
            attributes.
        field_strength_t: in place of the attributes.

    Raises:
        ValueError: echo times are missing, repeated or of unclear unit; components do not
            pair up; grids or field strengths differ; the scale of the phase is unclear.
    """
    if not len(volumes):
        raise ValueError("No volume was given; at least one echo is needed.")
    notes: list[str] = []
    if echo_times is not None:
        if len(echo_times) != len(volumes):
            raise ValueError(
                f"{len(echo_times)} echo times were given for {len(volumes)} volumes; "
                "give one per volume."
            )
        times = echo_times_in_seconds(echo_times, unit)
        used = list(zip(volumes, times.tolist(), strict=True))
    else:
        echoes = [volume for volume in volumes if not _is_map(volume.attributes)]
        if len(echoes) < len(volumes):
            notes.append(
                f"{len(volumes) - len(echoes)} scanner-made map(s) among the volumes left out."
            )
        if not echoes:
            raise ValueError("All volumes are maps made by the scanner; no echo is among them.")
        times = _stated_echo_times_s(echoes, unit)
        used = list(zip(echoes, times.tolist(), strict=True))
    first = used[0][0]
    for volume, _ in used:
        if not volume.same_grid(first):
            raise ValueError(
                f"'{volume.name}' and '{first.name}' are on different voxel grids; "
                "all echoes must share one."
            )
    strength, frequency = field_strength([volume.attributes for volume, _ in used])
    strength = strength if field_strength_t is None else field_strength_t
    if strength is not None:
        checked_field_strength(strength)

    by_component: dict[str, dict[float, Volume]] = {}
    for volume, time in used:
        same = by_component.setdefault(_component(volume), {})
        known = next((other for other in same if math.isclose(other, time, rel_tol=1e-4)), None)
        if known is not None:
            raise ValueError(
                f"Echo time {time * 1e3:g} ms is there twice ('{same[known].name}' and "
                f"'{volume.name}'); give each echo once."
            )
        same[time] = volume
    if any(list(echoes) != sorted(echoes) for echoes in by_component.values()):
        notes.append("Echoes were sorted by echo time.")
    signal, times = _paired(by_component, notes)
    return EchoTrain(signal, np.array(times), strength, first.ijk_to_ras.copy(), frequency, notes)


def field_strength(
    facts: Iterable[Mapping[str, object]],
) -> tuple[float | None, float | None]:
    """Field strength in T and proton frequency in MHz that all headers agree on.

    A strength in gauss or a missing one is taken from the frequency.

    Raises:
        ValueError: headers disagree, or a strength is impossible and no frequency corrects it.
    """
    strengths, frequencies = set(), set()
    for one in facts:
        strength = number_of(one, "MagneticFieldStrength")
        frequency = number_of(one, "ImagingFrequency")
        if strength and strength > 0:
            strengths.add(round(strength, 2))
        if frequency and 1 < frequency < 1000:
            frequencies.add(round(frequency, 6))
    if len(strengths) > 1 and max(strengths) > 1.02 * min(strengths):
        raise ValueError(
            f"The volumes were made at different field strengths ({sorted(strengths)} T)."
        )
    strength = strengths.pop() if strengths else None
    frequency = float(np.mean(list(frequencies))) if frequencies else None
    implied = frequency / PROTON_MHZ_PER_T if frequency else None
    if implied and (strength is None or abs(strength / 1e4 / implied - 1) < 0.1):
        strength = round(implied, 2)
    if strength is not None:
        checked_field_strength(strength)
    if strength and implied and abs(implied / strength - 1) > 0.1:
        raise ValueError(
            f"The header says {strength:g} T but a proton frequency of {frequency:g} MHz, "
            f"which is {implied:.2f} T; give the field strength."
        )
    return strength, frequency


def _stated_echo_times_s(volumes: Sequence[Volume], unit: str | None) -> np.ndarray:
    """Echo times of the attributes, which DICOM gives in ms."""
    values = [number_of(volume.attributes, "EchoTime") for volume in volumes]
    for volume, value in zip(volumes, values, strict=True):
        if not value:
            raise ValueError(
                f"'{volume.name}' has no echo time; give the echo times or a JSON sidecar."
            )
    if unit is None and max(values) <= 0.15:
        raise ValueError(
            f"The longest EchoTime is {max(values):g}; ms are expected and this looks like "
            "seconds: say which unit it is."
        )
    return echo_times_in_seconds(values, unit or "ms")


def _is_map(attributes: Mapping[str, object]) -> bool:
    return any(word in _MAPS for word in _image_type(attributes)[2:])


def _image_type(attributes: Mapping[str, object]) -> list[str]:
    return _words(attributes.get("ImageType"))


def _component(volume: Volume) -> str:
    stated = volume.attributes.get("ImageComponent")
    if stated in ("magnitude", "phase", "real", "imaginary"):
        return str(stated)
    if np.nanmin(volume.array) < 0:
        raise ValueError(
            f"'{volume.name}' has negative values and does not say whether it is phase, real or "
            "imaginary; set its ImageComponent."
        )
    return "magnitude"


def _paired(
    components: dict[str, dict[float, Volume]], notes: list[str]
) -> tuple[np.ndarray, list[float]]:
    """Complex echoes if they can be had, else magnitude, along the last axis."""
    have = {name for name, echoes in components.items() if echoes}
    for pair in (("real", "imaginary"), ("magnitude", "phase")):
        if not have >= set(pair):
            continue
        times = _common_times(components, *pair)
        one, other = ([components[name][time].array for time in times] for name in pair)
        if len(have) > 2:
            notes.append(f"Only the {pair[0]} and {pair[1]} images were used.")
        if pair[0] == "real":
            if min(float(np.min(part)) for part in (*one, *other)) >= 0:
                raise ValueError(
                    "Real and imaginary images hold no negative value; an offset must have been "
                    "added: subtract it, or give the rescaled images."
                )
        else:
            _check_magnitude(one)
            facts = components["phase"][times[0]].attributes
            other, note = phase_in_radians(other, facts)
            notes.append(note)
        signal = np.empty((*one[0].shape, len(times)), dtype=np.complex64)
        for n, (a, b) in enumerate(zip(one, other, strict=True)):
            if pair[0] == "real":
                signal.real[..., n], signal.imag[..., n] = a, b
            else:
                signal.real[..., n], signal.imag[..., n] = a * np.cos(b), a * np.sin(b)
        return signal, times
    if have == {"magnitude"}:
        times = sorted(components["magnitude"])
        echoes = [components["magnitude"][time].array for time in times]
        _check_magnitude(echoes)
        return np.stack(echoes, -1).astype(np.float32), times
    wanted = "magnitude with phase, real with imaginary, or magnitude alone"
    raise ValueError(f"Only {' and '.join(sorted(have))} images were given; expected {wanted}.")


def _check_magnitude(echoes: Sequence[np.ndarray]) -> None:
    if min(float(np.min(echo)) for echo in echoes) < 0:  # false for NaN, which fits mask out
        raise ValueError(
            "A magnitude image holds negative values; it is real, phase or a map: set its "
            "ImageComponent or leave it out."
        )


def _common_times(components: dict[str, dict[float, Volume]], one: str, other: str) -> list[float]:
    """Echo times of a pair of components, which must be the same; the first one's are taken."""
    first, second = sorted(components[one]), sorted(components[other])
    if len(first) != len(second) or not np.allclose(first, second, rtol=1e-4):
        listed = [", ".join(f"{time * 1e3:g}" for time in times) for times in (first, second)]
        hint = ""
        if other == "phase" and len(second) == 1 < len(first):
            hint = "; a single phase image is often the phase difference of two echoes"
        raise ValueError(
            f"There are {one} images at {listed[0]} ms but {other} images at {listed[1]} ms{hint}; "
            f"give both at each echo, or leave out the {other} images."
        )
    for a, b in zip(first, second, strict=True):
        components[other][a] = components[other][b]
    return first


# --- sidecars -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sidecar:
    """Acquisition facts from a BIDS-like JSON file; None where it does not say.

    Attributes:
        echo_times_s: one or several echo times in seconds.
        field_strength_t: main field in T.
        imaging_frequency_mhz: proton frequency in MHz.
        attributes: the same and more as volume attributes ("EchoTime" and "RepetitionTime" in
            ms, "ImageComponent" ...).
        notes: what was converted.
    """

    echo_times_s: np.ndarray | None
    field_strength_t: float | None
    imaging_frequency_mhz: float | None
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
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    try:
        facts = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name}: this is not a JSON file ({error}).") from error
    if not isinstance(facts, dict):
        raise ValueError(f"{path.name}: a JSON object with named values is expected.")
    notes: list[str] = []
    values = next((facts[key] for key in ("EchoTimes", "EchoTime") if key in facts), None)
    numbered = sorted(
        (int(match[1]), key) for key in facts if (match := re.fullmatch(r"EchoTime(\d+)", key))
    )
    if values is None and numbered:
        values = [facts[key] for _, key in numbered]
    times = None
    if values is not None:
        try:
            times = echo_times_in_seconds(np.atleast_1d(np.asarray(values, dtype=float)), unit)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path.name}: {error}") from error
        given = float(np.max(np.asarray(values, dtype=float)))
        if not math.isclose(given, float(times.max()), rel_tol=1e-9):
            by = "ms" if math.isclose(given * 1e-3, float(times.max()), rel_tol=1e-9) else "us"
            notes.append(f"{path.name}: echo times were read as {by}, not as the seconds of BIDS.")
    numbers = {}
    for key in ("MagneticFieldStrength", "ImagingFrequency"):
        value = facts.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise ValueError(f"{path.name}: {key} must be a positive number, not {value!r}.")
        numbers[key] = float(value)
    strength, frequency = field_strength([numbers])
    attributes: dict[str, object] = {
        key: facts[key]
        for key in ("Manufacturer", "SeriesDescription", "ImageType", "FlipAngle", "RescaleType")
        if key in facts
    }
    if strength is not None:
        attributes["MagneticFieldStrength"] = strength
    if frequency is not None:
        attributes["ImagingFrequency"] = frequency
    if times is not None and times.size == 1:
        attributes["EchoTime"] = float(times[0]) * 1e3
    for key in ("RepetitionTime", "InversionTime"):
        if (seconds := number_of(facts, key)) is not None:
            attributes[key] = seconds * 1e3
    if component := component_of_image_type(_image_type(facts)):
        attributes["ImageComponent"] = component
    return Sidecar(times, strength, frequency, attributes, notes)


# --- diffusion ----------------------------------------------------------------------------------


@dataclass
class DiffusionScheme:
    """The b-values of a diffusion series, ascending.

    Attributes:
        b_values: s/mm^2, ascending, shape (n,).
        directions: gradient unit vectors, shape (n, 3), NaN where b is 0 or none is known; None if
            none is known at all. LPS from DICOM.
        order: which of the given volumes each entry is, shape (n,): stack them as
            ``np.stack([volumes[n].array for n in scheme.order], -1)``. Maps among the
            volumes are not in it.
        groups: shape (n,), entries with equal numbers are repeats of one direction and b-value.
        notes: sentences about what was repaired or left out.
    """

    b_values: np.ndarray
    directions: np.ndarray | None
    order: np.ndarray
    groups: np.ndarray
    notes: list[str] = field(default_factory=list)


def diffusion_scheme(
    volumes: Sequence[Volume], b_values: Sequence[float] | None = None
) -> DiffusionScheme:
    """The b-values and order of the volumes of a diffusion series.

    Values are read from "DiffusionBValue" (as `dicom_facts` finds it, private elements of Siemens,
    GE, Philips and UIH included) or a node's "DWMRI_b-value". What is certain is repaired: GE's
    offset of 1e9; values under 0.1 that Philips writes to number its b = 0 repeats; a Siemens 0
    where the sequence name tells the b-value.

    Args:
        volumes: the volumes, or any objects with ``name`` and ``attributes`` (`DicomVolume`).
        b_values: s/mm^2, one per volume, in place of the attributes (a .bval file, typed ones).

    Raises:
        ValueError: b-values are missing, negative, all 0, or cannot be told from what the scanner
            wrote.
    """
    notes: list[str] = []
    if b_values is not None:
        if len(b_values) != len(volumes):
            raise ValueError(
                f"{len(b_values)} b-values were given for {len(volumes)} volumes; "
                "give one per volume."
            )
        chosen = list(range(len(volumes)))
        values = [float(value) for value in b_values]
    else:
        chosen = [n for n, one in enumerate(volumes) if not _is_derived(one.attributes)]
        if len(chosen) < len(volumes):
            notes.append(
                f"{len(volumes) - len(chosen)} volume(s) without diffusion weighting of their own "
                "(ADC and other maps) left out."
            )
        values = [_stated_b_value(volumes[n]) for n in chosen]
    attributes = [volumes[n].attributes for n in chosen]
    values = _repaired_b_values(values, attributes, notes, given=b_values is not None)
    chosen, values, attributes = _without_doubled_traces(chosen, values, attributes, notes)

    keys = [
        () if value == 0 else _direction_key(facts)
        for value, facts in zip(values, attributes, strict=True)
    ]
    sequence = sorted(range(len(values)), key=lambda n: values[n])
    shells = _shell_numbers(np.array([values[n] for n in sequence]))
    groups: dict[tuple, int] = {}
    numbers = [
        groups.setdefault((shell, keys[n]), len(groups))
        for n, shell in zip(sequence, shells, strict=True)
    ]
    vectors = np.full((len(values), 3), np.nan)
    for row, n in enumerate(sequence):
        vector = attributes[n].get("DiffusionGradientOrientation")
        if values[n] > 0 and isinstance(vector, (list, tuple)) and len(vector) == 3:
            vectors[row] = vector
    return DiffusionScheme(
        b_values=np.array([values[n] for n in sequence]),
        directions=vectors if np.isfinite(vectors).any() else None,
        order=np.array([chosen[n] for n in sequence]),
        groups=np.array(numbers),
        notes=notes,
    )


def trace_weighted(
    signals: np.ndarray, scheme: DiffusionScheme
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One signal per b-value: repeats averaged, then the geometric mean over directions.

    The geometric mean of signals exp(-b D_n) is exp(-b mean(D_n)), so that the ADC of the result is
    the mean diffusivity whatever the anisotropy. Volumes of one b-value that
    nothing tells apart count as repeats.

    Args:
        signals: shape (..., n), in the scheme's order.
        scheme: its b-values and groups.

    Returns:
        Signals of shape (..., m), float32; the m distinct b-values (s/mm^2); and how many volumes
        each was made from. A voxel with a negative or missing signal in any direction is NaN.
    """
    if signals.shape[-1] != scheme.b_values.size:
        raise ValueError(
            f"{signals.shape[-1]} volumes were given for a scheme of {scheme.b_values.size}."
        )
    shells = _shell_numbers(scheme.b_values)
    count = int(shells.max()) + 1
    result = np.empty((*signals.shape[:-1], count), dtype=np.float32)
    for shell in range(count):
        members = np.flatnonzero(shells == shell)
        directions = [
            signals[..., members[scheme.groups[members] == group]].mean(-1, dtype=np.float32)
            for group in np.unique(scheme.groups[members])
        ]
        if len(directions) == 1:
            result[..., shell] = directions[0]
            continue
        log_sum = np.zeros(signals.shape[:-1], dtype=np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):  # log 0 is -inf, whose exp is 0
            for one in directions:
                log_sum += np.log(one)
        result[..., shell] = np.exp(log_sum / len(directions))
    means = np.array([scheme.b_values[shells == shell].mean() for shell in range(count)])
    return result, means, np.bincount(shells, minlength=count)


def read_bval(path: str | Path) -> np.ndarray:
    """Read the b-values (s/mm^2) of an FSL .bval file: one row or one column of numbers.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = [
            [float(word) for word in line.replace(",", " ").split()]
            for line in text.splitlines()
            if line.strip()
        ]
    except (UnicodeDecodeError, ValueError):
        raise ValueError(f"{path.name}: a row or column of b-values is expected.") from None
    if not rows or (len(rows) > 1 and any(len(row) != 1 for row in rows)):
        raise ValueError(
            f"{path.name}: one row or one column of b-values is expected, it has {len(rows)} rows."
        )
    values = np.array([value for row in rows for value in row])
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(f"{path.name}: b-values must be numbers of 0 or more.")
    return values


def _is_derived(attributes: Mapping[str, object]) -> bool:
    return any(
        word.startswith(("ADC", "EADC", "FA", "FRACTIONAL")) for word in _image_type(attributes)[2:]
    ) or "ADC" in _image_type(attributes)


def _stated_b_value(volume: Volume) -> float:
    for key in ("DiffusionBValue", "DWMRI_b-value", "b-value", "b_value"):
        value = volume.attributes.get(key)
        if value is None:
            continue
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ValueError(f"'{volume.name}': its b-value '{value}' is not a number.") from None
    raise ValueError(
        f"'{volume.name}' has no b-value; give the b-values or a .bval file with one per volume."
    )


def _repaired_b_values(
    values: list[float],
    attributes: list[Mapping[str, object]],
    notes: list[str],
    given: bool,
) -> list[float]:
    """b-values with known faults of scanners corrected where that is certain."""
    if not values:
        raise ValueError("No diffusion volume was given.")
    if any(not math.isfinite(value) or value < 0 for value in values):
        raise ValueError(
            f"b-values must be numbers of 0 or more; given: {', '.join(map(str, values))}."
        )
    repaired = [without_ge_offset(value) for value in values]
    if repaired != values:
        notes.append("An offset of 1e9 that GE adds was taken off the b-values.")
    tiny = sorted({value for value in repaired if 0 < value < NEARLY_ZERO_B})
    if tiny:
        repaired = [0.0 if value < NEARLY_ZERO_B else value for value in repaired]
        notes.append(
            f"b-values {', '.join(f'{value:g}' for value in tiny)} s/mm2 are taken as 0: the "
            "scanner numbers its repeats at b = 0 that way."
        )
    if not given:
        repaired = _siemens_low_b(repaired, attributes, notes)
    if max(repaired) == 0:
        raise ValueError(
            f"All b-values ({len(repaired)}) are 0, so the scanner did not write them: give the "
            "b-values of the protocol, one per volume."
        )
    if max(repaired) > 50_000:
        raise ValueError(f"A b-value of {max(repaired):g} s/mm2 is impossible; check the unit.")
    return repaired


def _siemens_low_b(
    values: list[float], attributes: list[Mapping[str, object]], notes: list[str]
) -> list[float]:
    """Siemens may write low b-values as 0; its sequence names ("*ep_b50t") tell the true ones."""
    zeros = [
        n
        for n, value in enumerate(values)
        if value == 0 and "SIEMENS" in str(attributes[n].get("Manufacturer", "")).upper()
    ]
    named = [_named_b_value(attributes[n]) for n in zeros]
    for n, name in zip(zeros, named, strict=True):
        if name:
            values[n] = name
            notes.append(f"b = {name:g} s/mm2 was written as 0; its sequence name tells it.")
    private = [
        n
        for n, name in zip(zeros, named, strict=True)
        if name is None
        and str(attributes[n].get("DiffusionBValueSource", "")).startswith("Siemens")
    ]
    if len(private) > 1 and any(values):
        raise ValueError(
            f"{len(private)} volumes of this Siemens series are marked b = 0, and nothing tells "
            "whether they are repeats or low b-values, which Siemens writes as 0: give the "
            "b-values of the protocol, one per volume."
        )
    return values


def _named_b_value(attributes: Mapping[str, object]) -> float | None:
    match = re.search(r"(?:^|[_*])b(\d+)(?:t|#\d+|_|$)", str(attributes.get("SequenceName", "")))
    return float(match[1]) if match else None


def _without_doubled_traces(
    chosen: list[int],
    values: list[float],
    attributes: list[Mapping[str, object]],
    notes: list[str],
) -> tuple[list[int], list[float], list[Mapping[str, object]]]:
    """Leave out trace images where the directions that they were made from are there too."""
    traces = [_is_trace(facts) for facts in attributes]
    keep = [
        not (
            traces[n]
            and any(
                not traces[m]
                and abs(values[m] - values[n]) <= 0.03 * values[n]
                and _direction_key(attributes[m])
                for m in range(len(values))
            )
            and values[n] > 0
        )
        for n in range(len(values))
    ]
    if all(keep):
        return chosen, values, attributes
    notes.append(
        f"{keep.count(False)} trace image(s) made by the scanner left out: their directions are "
        "there too."
    )
    kept = [n for n, good in enumerate(keep) if good]
    return [chosen[n] for n in kept], [values[n] for n in kept], [attributes[n] for n in kept]


def _is_trace(attributes: Mapping[str, object]) -> bool:
    return (
        str(attributes.get("DiffusionDirectionality", "")).upper() in ("ISOTROPIC", "I")
        or "TRACEW" in _image_type(attributes)
        or attributes.get("GEDiffusionKind") == 15
    )


def _direction_key(attributes: Mapping[str, object]) -> tuple:
    """What tells diffusion directions apart; opposite gradients weight alike and count as one."""
    vector = attributes.get("DiffusionGradientOrientation") or attributes.get(
        "GEDiffusionDirection"
    )
    if isinstance(vector, (list, tuple)) and len(vector) == 3:
        rounded = tuple(round(float(part), 2) + 0.0 for part in vector)
        return max(rounded, tuple(-part + 0.0 for part in rounded))
    kind = attributes.get("GEDiffusionKind")
    return ("kind", kind) if kind in (3, 4, 5) else ()


def _shell_numbers(sorted_b: np.ndarray) -> np.ndarray:
    """Number ascending b-values; those within 3 % (scanner rounding) share a number."""
    shells = np.zeros(sorted_b.size, dtype=int)
    start = sorted_b[0] if sorted_b.size else 0.0
    for n in range(1, sorted_b.size):
        new = sorted_b[n] > 1.03 * start + 0.5
        shells[n] = shells[n - 1] + new
        start = sorted_b[n] if new else start
    return shells


# --- roles --------------------------------------------------------------------------------------

_IMAGE_TYPE_ROLES = {
    "W": "water", "WATER": "water", "F": "fat", "FAT": "fat",
    "IP": "in_phase", "IN_PHASE": "in_phase", "INPHASE": "in_phase",
    "OP": "opposed_phase", "OOP": "opposed_phase", "OUT_PHASE": "opposed_phase",
    "OPP_PHASE": "opposed_phase", "OPPOSED_PHASE": "opposed_phase",
    "FF": "pdff", "FAT_FRACTION": "pdff", "FATFRACTION": "pdff", "FAT_FRAC": "pdff",
    "PDFF": "pdff",
}  # fmt: skip


def guess_role(attributes: Mapping[str, object], description: str | None = None) -> str | None:
    """What a series is for, from its attributes and description; None if they do not settle it.

    Returns one of "T1", "T2", "STIR", "in_phase", "opposed_phase", "water", "fat", "pdff",
    "t1_post", "adc", "dwi", "multi_echo". A guess to show and confirm, never to rely on: names that
    contradict the timing, phase images, T2*, FLAIR and fat-suppressed T1 without contrast give
    None.
    """
    if attributes.get("ImageComponent") in ("phase", "real", "imaginary"):
        return None
    text = description if description is not None else str(attributes.get("SeriesDescription", ""))
    text = f" {re.sub(r'[^a-z0-9+*]+', ' ', text.lower())} "
    kind = _image_type(attributes)

    if re.search(
        r" (loc|localizer|localiser|scout|survey|sub|subtraction|map|t[12]map|pd|pdw) ", text
    ):
        return None
    if re.search(r" (fa|colfa|color ?fa|eadc) ", text) or {"FA", "EADC", "T1 MAP", "T2 MAP"} & set(
        kind
    ):
        return None
    if _is_derived(attributes) or re.search(r" d?adc |apparent diffusion", text):
        return "adc"
    if (
        "DIFFUSION" in kind
        or "DiffusionBValue" in attributes
        or "NumberOfBValues" in attributes
        or re.search(r" (dwi|dwibs|ivim|diff|diffusion|trace|tracew|dti) ", text)
    ):
        return "dwi"
    if re.search(r" (tensor|r2\*|r2star|t2\*|t2star|swi|b0 ?map|b1 ?map) ", text):
        return None
    roles = {_IMAGE_TYPE_ROLES[word] for word in kind[2:] if word in _IMAGE_TYPE_ROLES}
    roles = roles or _named_dixon_roles(text)
    weighting = _weighting(attributes, text)
    contrast = _has_contrast(attributes, text)
    if len(roles) > 1:
        return None
    if roles:
        role = roles.pop()
        if role == "water" and contrast:
            return "t1_post"
        if weighting == "T2":  # the water image is a fat-suppressed T2, the in-phase one a plain T2
            return {"water": "STIR", "in_phase": "T2"}.get(role)
        return role
    if (number_of(attributes, "NumberOfEchoes") or 1) >= 3 or re.search(
        r" (multi ?echo|mecho|megre|mgre|ideal ?iq|q ?dixon|mdixon ?quant|dixon ?quant) ", text
    ):
        spin_echo = "SE" in _words(attributes.get("ScanningSequence"))  # T2 mapping
        return None if spin_echo else "multi_echo"

    inversion = number_of(attributes, "InversionTime") or 0.0
    if inversion > 1000:
        return None  # FLAIR, T1 FLAIR, MP-RAGE
    if re.search(r" (stir|tirm) ", text) or (
        80 <= inversion <= 280 and "IR" in _words(attributes.get("ScanningSequence"))
    ):
        return "STIR"
    suppressed = re.search(r" (fs|fatsat|fat ?sat|spair|spir|fat suppressed|fatsup|chess) ", text)
    if weighting == "T1":
        return "t1_post" if contrast else None if suppressed else "T1"
    if weighting == "T2":
        return "STIR" if suppressed else "T2"
    return None


def _has_contrast(attributes: Mapping[str, object], text: str) -> bool:
    if re.search(r" (pre|without|non|no|w o|nativ|native|ohne) ", text):
        return False
    return bool(
        attributes.get("ContrastBolusAgent")
        or re.search(
            r" (gd|gad|gado|post(km|gd|contrast)?|\+ ?c|ce|km|mdc|contrast|dotarem|gadovist) |\+c ",
            text,
        )
    )


def _named_dixon_roles(text: str) -> set[str]:
    dixon = re.search(r" (dixon|vibe|ideal|flex|lava|mdixon|qdixon) ", text)
    patterns = {
        "opposed_phase": r" (opp|opposed|opposed ?phase|out ?of ?phase|oop|out ?phase) ",
        "in_phase": r" (in ?phase|ip|in (and )?(out|opp)) ",
        "pdff": r" (pdff|ff|fat ?fraction|fatfrac) ",
    }
    if dixon:
        patterns["in_phase"] += "| in $"
        patterns["opposed_phase"] += "| (op|out) $"
        patterns["water"] = r" (w|water) "
        patterns["fat"] = r" (f|fat) (?!sat|sup|fraction)"
    return {role for role, pattern in patterns.items() if re.search(pattern, text)}


def _weighting(attributes: Mapping[str, object], text: str) -> str | None:
    """T1 or T2 by name, if the timing does not contradict; by timing alone for spin echo."""
    names = {name.upper() for name in re.findall(r" (t1|t2)(?:w|wi)?(?= )", text)}
    if re.search(r" t1(?:w|wi)? ", text) and re.search(r" t2(?:w|wi)? ", text):
        return None
    repetition, echo = number_of(attributes, "RepetitionTime"), number_of(attributes, "EchoTime")
    timed = None
    if repetition and echo:
        if _gradient_echo(attributes):
            return "T1" if names == {"T1"} else None
        if repetition <= 1000 and echo <= 35:
            timed = "T1"
        elif repetition >= 1500 and echo >= 60:
            timed = "T2"
        if names == {"T2"} and repetition >= 1500 and echo >= 30:
            timed = "T2"
        if names and timed not in names:
            return None
        if not names and "SE" not in _words(attributes.get("ScanningSequence")):
            return None
        return timed
    return next(iter(names)) if len(names) == 1 else None


def _gradient_echo(attributes: Mapping[str, object]) -> bool:
    words = _words(attributes.get("ScanningSequence"))
    return "GR" in words and "SE" not in words


def _words(value: object) -> list[str]:
    if isinstance(value, str):
        value = value.replace(",", "\\").split("\\")
    return [str(word).strip().upper() for word in value or []]
