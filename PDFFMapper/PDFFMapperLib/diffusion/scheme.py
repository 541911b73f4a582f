"""The b-values and directions of a diffusion series, repaired where scanners are known to err."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from PDFFMapperLib.dicom.facts import named_b_value, without_ge_offset
from PDFFMapperLib.images.attributes import image_type_of, is_diffusion_map
from PDFFMapperLib.images.volume import Volume

# Below this b-value (s/mm^2) even blood-like diffusion of 0.02 mm^2/s loses under 0.2 % of signal.
NEARLY_ZERO_B = 0.1


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

    def of(self, entries: np.ndarray) -> DiffusionScheme:
        """That of these entries alone."""
        directions = None if self.directions is None else self.directions[entries]
        return DiffusionScheme(
            self.b_values[entries],
            directions,
            self.order[entries],
            self.groups[entries],
            self.notes,
        )


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
        chosen = [n for n, one in enumerate(volumes) if not is_diffusion_map(one.attributes)]
        if len(chosen) < len(volumes):
            notes.append(
                f"{len(volumes) - len(chosen)} volume(s) without diffusion weighting of their own "
                "(ADC and other maps) left out."
            )
        values = _stated_b_values([volumes[n] for n in chosen], notes)
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
        each was made from. Where a direction is below 0, as interpolation and denoising leave it,
        the arithmetic mean stands in; a missing signal is NaN.
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
        trace = np.exp(log_sum / len(directions))
        below = np.minimum.reduce(directions) < 0  # no logarithm
        trace[below] = np.mean([one[below] for one in directions], axis=0)
        result[..., shell] = trace
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


def _stated_b_values(volumes: Sequence[Volume], notes: list[str]) -> list[float]:
    """The b-values of the headers; a lone image without one beside weighted ones is b = 0.

    Toshiba and Canon write none into their b = 0 images, which is certain only where no image says
    that it is b = 0 and only one, or its repeats, says nothing.
    """
    stated = [_stated_b_value(volume) for volume in volumes]
    silent = [n for n, value in enumerate(stated) if value is None]
    known = [value for value in stated if value is not None]
    if not silent:
        return known
    if known and min(known) > 0 and len(silent) <= max(1, len(stated) // 3):
        notes.append(
            f"{len(silent)} image(s) without a b-value beside weighted ones were taken as b = 0."
        )
        return [0.0 if value is None else value for value in stated]
    raise ValueError(
        f"'{volumes[silent[0]].name}' has no b-value; give the b-values or a .bval file with one "
        "per volume."
    )


def _stated_b_value(volume: Volume) -> float | None:
    for key in ("DiffusionBValue", "DWMRI_b-value", "b-value", "b_value"):
        value = volume.attributes.get(key)
        if value is None:
            continue
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ValueError(f"'{volume.name}': its b-value '{value}' is not a number.") from None
    return None


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
    named = [named_b_value(attributes[n].get("SequenceName")) for n in zeros]
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
        or "TRACEW" in image_type_of(attributes)
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
