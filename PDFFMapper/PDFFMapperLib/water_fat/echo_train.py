"""The volumes of a multi-echo series put together, with echo times and field strength."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from PDFFMapperLib.images.attributes import (
    fat_saturated,
    image_type_of,
    number_of,
    product_of_image_type,
    words_of,
)
from PDFFMapperLib.images.volume import Volume, grids_differ
from PDFFMapperLib.water_fat.echo_units import (
    checked_field_strength,
    echo_times_in_seconds,
    phase_in_radians,
)
from PDFFMapperLib.water_fat.spectra import GYROMAGNETIC_RATIO_MHZ_PER_T

SAME_FIELD_T = 0.2  # "3 T" is nominal: 2.89 to 3 T


@dataclass
class EchoTrain:
    """A multi-echo series ready for water-fat separation or a T2*/R2* fit.

    Attributes:
        signal: complex64, or float32 magnitude, shape (slices, rows, columns, echoes).
        echo_times_s: echo times in seconds, ascending, shape (echoes,).
        field_strength_t: main magnetic field in T, None if nobody told.
        ijk_to_ras: 4x4 matrix from voxel indices to RAS mm.
        notes: sentences about what was sorted, converted or left out.
    """

    signal: np.ndarray
    echo_times_s: np.ndarray
    field_strength_t: float | None
    ijk_to_ras: np.ndarray
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
            raise ValueError(grids_differ(volume, first, "all echoes must share one"))
    facts = [volume.attributes for volume, _ in used]
    refuse_spin_echoes([volume for volume, _ in used])
    if all(fat_saturated(one) for one in facts):
        notes.append(
            "The header says that fat was saturated (ScanOptions): fat fractions are too low."
        )
    if field_strength_t is None:
        strength = field_strength(facts)
    else:
        strength = field_strength_t
        checked_field_strength(strength)
        notes += _other_than_given(strength, facts)

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
    return EchoTrain(signal, np.array(times), strength, first.ijk_to_ras.copy(), notes)


def refuse_spin_echoes(volumes: Sequence[Volume]) -> None:
    """Water and fat are in phase at each echo of a refocused train, which decays with T2.

    Spin echoes that encode the chemical shift lie a few ms about one echo time.

    Raises:
        ValueError: headers say that the volumes are such a train.
    """
    facts = [volume.attributes for volume in volumes]
    if not all("SE" in words_of(one.get("ScanningSequence")) for one in facts):
        return
    times_ms = [time for one in facts if (time := number_of(one, "EchoTime"))]
    if times_ms and max(times_ms) > 1.9 * min(times_ms):
        raise ValueError(
            f"These are spin echoes ({min(times_ms):g} to {max(times_ms):g} ms; "
            "ScanningSequence SE), as for a map of T2: in each of them water and fat are in phase. "
            "Water-fat separation and R2* need gradient echoes; choose another series."
        )


def field_strength(facts: Iterable[Mapping[str, object]]) -> float | None:
    """Field strength in T that all headers agree on; None where none tells it.

    The proton frequency is measured and wins over the strength, which is often nominal (Siemens'
    "3 T" are 2.89 T), in gauss or missing; a frequency that contradicts it is refused.

    Raises:
        ValueError: headers disagree, or a strength is impossible and no frequency corrects it.
    """
    strengths, frequencies = set(), set()
    for one in facts:
        strength = number_of(one, "MagneticFieldStrength")
        frequency = number_of(one, "ImagingFrequency") or 0.0
        if strength and strength > 0:
            strengths.add(round(strength, 2))
        # MHz by the standard; some tools write kHz or Hz.
        frequency *= next((f for top, f in ((1e3, 1.0), (1e6, 1e-3), (1e9, 1e-6))
                           if frequency < top), 0.0)  # fmt: skip
        if frequency > 1:
            frequencies.add(round(frequency, 6))
    if len(strengths) > 1 and max(strengths) > 1.02 * min(strengths):
        raise ValueError(
            f"The volumes were made at different field strengths ({sorted(strengths)} T)."
        )
    strength = strengths.pop() if strengths else None
    frequency = float(np.mean(list(frequencies))) if frequencies else None
    implied = frequency / GYROMAGNETIC_RATIO_MHZ_PER_T if frequency else None
    if implied and (
        strength is None or any(abs(strength / unit / implied - 1) < 0.1 for unit in (1, 1e4))
    ):
        strength = round(implied, 3)
    if strength is not None:
        checked_field_strength(strength)
    if strength and implied and abs(implied / strength - 1) > 0.1:
        raise ValueError(
            f"The header says {strength:g} T but a proton frequency of {frequency:g} MHz, "
            f"which is {implied:.2f} T; give the field strength."
        )
    return strength


def _other_than_given(given: float, facts: Sequence[Mapping[str, object]]) -> list[str]:
    """A sentence where the headers tell another field than the given one, which is used."""
    try:
        stated = field_strength(facts)
    except ValueError:
        return [f"The field strength given ({given:g} T) is used; the headers contradict it."]
    if stated is None or abs(stated / given - 1) < 0.02:
        return []
    return [f"The field strength given ({given:g} T) is used; the headers state {stated:g} T."]


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
    return product_of_image_type(image_type_of(attributes)) is not None


def _whole_and_positive(array: np.ndarray) -> bool:
    return float(np.min(array)) >= 0 and not np.any(array % 1)


def _component(volume: Volume) -> str:
    stated = volume.attributes.get("ImageComponent")
    if stated in ("magnitude", "phase", "real", "imaginary"):
        return str(stated)
    if np.nanmin(volume.array) < 0:
        raise ValueError(
            f"'{volume.name}' has negative values and does not say whether it is phase, real or "
            "imaginary; say what it is (--phase; --imaginary beside real parts; the table of "
            "components in the panel)."
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
            if not any(np.any(part) for part in other):
                raise ValueError(
                    "The imaginary images are 0 everywhere, so there is no phase; give the "
                    "magnitudes, or the right images."
                )
            one_file = components["real"][times[0]].attributes.get("ComplexFile")
            parts = (*one, *other)
            # Scanners store whole numbers; what was computed may well be above 0 everywhere.
            if not one_file and all(_whole_and_positive(part) for part in parts):
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
            "A magnitude image holds negative values; it is real, phase or a map: say what it "
            "is (--phase; --imaginary beside real parts) or leave it out."
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
