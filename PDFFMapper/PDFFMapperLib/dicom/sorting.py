"""The slices of one series sorted into 3D volumes, none of which may lack a slice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np

from PDFFMapperLib.dicom.elements import SLICE_COUNTS, number_in, numbers_in, texts_in
from PDFFMapperLib.dicom.facts import component_of, direction_of, energy_of, is_scanner_map
from PDFFMapperLib.dicom.frames import Frame

_POSITION_TOLERANCE_MM = 0.01
_SPACING_TOLERANCE = 0.02
# Beds of a PET join a little off the grid: a step may differ by this share of a slice, and no slice
# may lie further from an even grid than that.
_JOIN_TOLERANCE = 0.15
_QUARTER = 0.25  # of a voxel
_MOST_TILT = 0.01  # of a direction cosine
_ROUNDING_MM = 0.08  # how far positions of one decimal place lie off, obliquely


def _rounded_b_value(frame: Frame) -> float:
    return round(frame.b_value or 0.0, 4)


def _rounded(name: object) -> Callable[[Frame], object]:
    def value(frame: Frame) -> object:
        return tuple(round(number, 3) for number in numbers_in(frame.header, name))

    return value


# What may tell volumes at the same place apart, surest first.
_SURE_KEYS: list[Callable[[Frame], object]] = [
    lambda frame: tuple(texts_in(frame.header, "StackID")),
    lambda frame: component_of(frame.header),
    lambda frame: tuple(texts_in(frame.header, "ImageType")),
    lambda frame: energy_of(frame.header),
    _rounded("KVP"),
    lambda frame: frame.echo_time_ms,
    _rounded("EchoNumbers"),
    _rounded_b_value,
    lambda frame: direction_of(frame.header)[1],
    _rounded("InversionTime"),
    _rounded("FlipAngle"),
    _rounded("TemporalPositionIdentifier"),
]
_OTHER_KEYS: list[Callable[[Frame], object]] = [
    _rounded("AcquisitionNumber"),
    _rounded("TriggerTime"),
    _rounded("RepetitionTime"),
    lambda frame: tuple(texts_in(frame.header, "SequenceName")),
]


def sort_frames(frames: list[Frame], label: str, notes: list[str]) -> list[list[Frame]]:
    """The frames of each volume of a series, in order: by slice within, by contrast among them.

    Args:
        frames: of one series.
        label: what messages call the series.
        notes: sentences about what was repaired or looks odd are added here.

    Raises:
        ValueError: slices are missing, doubled or not evenly spaced.
    """
    volumes = []
    for plane in _same_plane(frames):
        volumes += _volumes_of_plane(plane, label, notes)
    _equalize_scaling(volumes, notes)
    volumes.sort(key=_order)
    for volume in volumes:
        planned = max(int(number_in(volume[0].header, tag) or 0) for tag in SLICE_COUNTS)
        note = f"{label}: the scanner made {planned} slices, only {len(volume)} are here."
        if 1 < len(volume) < planned and note not in notes:
            notes.append(note)
    if any(len(volume) == 1 and not volume[0].thickness_mm for volume in volumes):
        notes.append(f"{label}: the thickness of a single slice is unknown: 1 mm is taken.")
    return volumes


def _same_plane(frames: list[Frame]) -> list[list[Frame]]:
    """Frames that share matrix, voxel size and orientation; a localizer has several planes."""
    planes: list[list[Frame]] = []
    for frame in frames:
        for plane in planes:
            first = plane[0]
            if (
                frame.shape == first.shape
                and _close(frame.orientation, first.orientation, _tilt_of(first))
                and _close(frame.pixel_spacing, first.pixel_spacing)
            ):
                plane.append(frame)
                break
        else:
            planes.append([frame])
    return planes


def _close(ones: Iterable[float], others: Iterable[float], tolerance: float = 1e-3) -> bool:
    return all(abs(one - other) < tolerance for one, other in zip(ones, others, strict=True))


def _tilt_of(frame: Frame) -> float:
    """How far a direction cosine may differ: the corner of a slice moves by a quarter of a voxel.

    Scanners that follow the patient, and headers rounded to few digits, differ from slice to slice.
    """
    extent = max(n * mm for n, mm in zip(frame.shape, frame.pixel_spacing, strict=True))
    return max(1e-3, min(_QUARTER * min(frame.pixel_spacing) / extent, _MOST_TILT))


def _volumes_of_plane(frames: list[Frame], label: str, notes: list[str]) -> list[list[Frame]]:
    """Volumes with one frame at each place, sorted along the normal, checked for gaps."""
    normal = frames[0].normal
    depth = np.array([frame.position @ normal for frame in frames])
    _number_places(frames, depth)
    stations = _stations(frames, normal)
    volumes = []
    for station in stations:
        volumes += _split(station, label, notes)
    for station in stations:
        members = {id(frame) for frame in station}
        places = sorted({frame.place for frame in station})
        for volume in volumes:
            if id(volume[0]) in members and len(volume) != len(places):
                missing = len(places) - len(volume)
                raise ValueError(
                    f"{label}: a volume ({volume[0].summary}) lacks {missing} of "
                    f"{len(places)} slices that its siblings have; copy the series again."
                )
    blocks = []
    for volume in volumes:
        volume.sort(key=lambda frame: frame.place)
        _check_contrast(volume, label)
        parts = _blocks(volume, normal)
        if len(parts) > 1:
            note = (
                f"{label}: its slices are {len(parts)} blocks with gaps between them; each block "
                "is a volume of its own."
            )
            if note not in notes:
                notes.append(note)
        for part in parts:
            _check_spacing(part, normal, label, notes)
        blocks += parts
    return blocks


def _number_places(frames: list[Frame], depth: np.ndarray) -> None:
    """Number the distinct places along the normal."""
    order = np.argsort(depth, kind="stable")
    # Scanners round positions of one place differently, by far less than a slice.
    tolerance = max(_POSITION_TOLERANCE_MM, 0.02 * frames[0].thickness_mm)
    steps = np.diff(depth[order]) > tolerance
    for n, place in zip(order, np.concatenate([[0], np.cumsum(steps)]), strict=True):
        frames[n].place = int(place)


def _stations(frames: list[Frame], normal: np.ndarray) -> list[list[Frame]]:
    """Stacks that lie side by side, as the stations of a whole-spine series do."""
    if len({frame.place for frame in frames}) == len(frames):
        return [frames]
    stations: list[tuple[np.ndarray, list[Frame]]] = []
    for frame in frames:
        across = frame.position - (frame.position @ normal) * normal
        for place, members in stations:
            if np.abs(across - place).max() < 0.5:
                members.append(frame)
                break
        else:
            stations.append((across, [frame]))
    return [members for _, members in stations]


def _split(frames: list[Frame], label: str, notes: list[str]) -> list[list[Frame]]:
    """Split frames until each place is taken once, by the facts that tell volumes apart.

    A fact is used only when each of its values covers the same places: one that changes from slice
    to slice (a trigger time, say) does not tell volumes apart.
    """
    places = {frame.place for frame in frames}
    if len(places) == len(frames):
        return [frames]
    partial: list[list[Frame]] | None = None
    for value in [*_SURE_KEYS, *_OTHER_KEYS]:
        groups: dict[object, list[Frame]] = {}
        for frame in frames:
            groups.setdefault(value(frame), []).append(frame)
        if len(groups) == 1:
            continue
        parts = list(groups.values())
        if all({frame.place for frame in part} == places for part in parts):
            return [volume for part in parts for volume in _split(part, label, notes)]
        if partial is None and value in _SURE_KEYS:
            partial = parts
    counts = {place: 0 for place in places}
    for frame in frames:
        counts[frame.place] += 1
    if len(set(counts.values())) == 1:
        return _repeats(frames, label, notes)
    if partial:  # some slice is missing: go on, so that the volume can be named
        return [volume for part in partial for volume in _split(part, label, notes)]
    usual = min(counts.values())
    doubled = sum(count > usual for count in counts.values())
    raise ValueError(
        f"{label}: {doubled} slice place(s) are taken more often than the other "
        f"{len(places) - doubled}, and nothing in the header tells the images apart; "
        "remove doubled files or copy the series again."
    )


def _repeats(frames: list[Frame], label: str, notes: list[str]) -> list[list[Frame]]:
    """Images alike in all facts, dealt out to volumes by instance number."""
    volumes: dict[int, list[Frame]] = {}
    seen: dict[int, int] = {}
    for frame in sorted(frames, key=lambda frame: frame.instance):
        turn = seen.get(frame.place, 0)
        seen[frame.place] = turn + 1
        volumes.setdefault(turn, []).append(frame)
    note = f"{label}: repeats that the header does not tell apart are in order of instance number."
    if note not in notes:
        notes.append(note)
    return list(volumes.values())


def _check_contrast(frames: list[Frame], label: str) -> None:
    """Refuse volumes that mix contrasts, as leftovers of several incomplete volumes would."""
    for name, element in (
        ("echo time", lambda frame: frame.echo_time_ms),
        ("b-value", _rounded_b_value),
    ):
        values = [element(frame) or 0.0 for frame in frames]
        if max(values) > 1.01 * min(values) + 0.01:
            raise ValueError(
                f"{label}: slices of one volume have different {name}s ({min(values):g} to "
                f"{max(values):g}), so several volumes are incomplete; copy the series again."
            )
    if len({component_of(frame.header) for frame in frames}) > 1:
        raise ValueError(
            f"{label}: one volume mixes magnitude, phase, real or imaginary slices, so several "
            "volumes are incomplete; copy the series again."
        )


def _blocks(frames: list[Frame], normal: np.ndarray) -> list[list[Frame]]:
    """Parallel slices with gaps between blocks, as one block a disc; one block as a rule.

    A gap parts blocks, and is no missing slice, where it is no whole number of steps, or of three
    steps and more while the instance numbers run on across it. Each block must be evenly spaced.
    """
    if len(frames) < 4:
        return [frames]
    steps = np.diff([frame.position @ normal for frame in frames])
    step = float(np.median(steps))
    gaps = np.flatnonzero(steps > (1 + _JOIN_TOLERANCE) * step)
    if not gaps.size:
        return [frames]
    numbers = np.diff([frame.instance for frame in frames])
    within = np.delete(numbers, gaps)
    run_on = within.size > 0 and (within == within[0]).all() and bool(within[0])
    for gap in gaps:
        count = steps[gap] / step
        if abs(count - round(count)) < 0.1 and not (
            count > 2.5 and run_on and numbers[gap] == within[0]
        ):
            return [frames]
    cuts = [0, *(gaps + 1), len(frames)]
    parts = [frames[a:b] for a, b in pairwise(cuts)]
    even = np.abs(np.delete(steps, gaps) - step).max() <= _SPACING_TOLERANCE * step
    return parts if even and min(map(len, parts)) > 1 else [frames]


def _check_spacing(frames: list[Frame], normal: np.ndarray, label: str, notes: list[str]) -> None:
    """Refuse volumes whose slices are not evenly spaced along their normal."""
    if len(frames) < 2:
        return
    positions = np.array([frame.position for frame in frames])
    steps = np.diff(positions @ normal)
    step = float(np.median(steps))
    tolerance = _SPACING_TOLERANCE * step + _POSITION_TOLERANCE_MM
    odd = np.flatnonzero(np.abs(steps - step) > tolerance)
    even = np.linspace(0, 1, len(frames)) * steps.sum() + positions[0] @ normal
    aside = float(np.abs(positions @ normal - even).max())
    uneven = float(np.abs(steps - step).max())
    rounded = uneven < 2 * _ROUNDING_MM and aside < min(_ROUNDING_MM, 0.25 * step)
    if odd.size and (rounded or max(uneven, aside) < _JOIN_TOLERANCE * step):
        why = "as rounded positions are" if rounded else "as where beds join"
        notes.append(
            f"{label}: its slices are {steps.min():.2f} to {steps.max():.2f} mm apart, {why}; they "
            f"are taken as even, which moves none by more than {aside:.2f} mm."
        )
    elif odd.size:
        n = int(odd[0])
        raise ValueError(
            f"{label} ({frames[0].summary}): slices {n + 1} and {n + 2} of {len(frames)} are "
            f"{steps[n]:.2f} mm apart, the others {step:.2f} mm; a slice is missing or the spacing "
            "is uneven; copy the series again."
        )
    across = positions - np.outer(positions @ normal, normal)
    aside = np.abs(across - across.mean(axis=0)).max()
    pixel = max(frames[0].pixel_spacing)
    if aside > max(0.05 * pixel, min(_ROUNDING_MM, _QUARTER * pixel)) + _POSITION_TOLERANCE_MM:
        raise ValueError(
            f"{label}: its slices are not stacked along their normal (they drift {aside:.2f} mm "
            "sideways); reformat the series on the scanner."
        )
    stated = abs(number_in(frames[0].header, "SpacingBetweenSlices") or 0.0)
    if stated and step > 1.9 * stated and abs(step / stated - round(step / stated)) < 0.02:
        notes.append(
            f"{label}: slices are {step:.2f} mm apart but the header says {stated:.2f} mm; "
            "every other slice may be missing."
        )


def _equalize_scaling(groups: list[list[Frame]], notes: list[str]) -> None:
    """Bring Philips images with different display scales to one scale.

    Philips: displayed value = stored * RescaleSlope + RescaleIntercept; the value as measured is
    displayed / (RescaleSlope * scale slope (2005,100E)) (Chenevert et al. 2014,
    doi 10.1593/tlo.13811). Within most series the product is constant and the displayed
    value is kept; where it varies, the measured one is used. Maps beside the images (fat fraction,
    R2*) have a scale of their own and are in their unit as displayed.
    """
    images = [f for group in groups for f in group if not is_scanner_map(f.header)]
    for component in ("magnitude", "real", "imaginary", None):
        frames = [frame for frame in images if component_of(frame.header) == component]
        if not frames or any(not frame.display_scale for frame in frames):
            continue
        factors = np.array([frame.slope * frame.display_scale for frame in frames])
        if np.ptp(factors) <= 1e-4 * abs(factors).max():
            continue
        for frame, factor in zip(frames, factors, strict=True):
            frame.slope, frame.intercept = frame.slope / factor, frame.intercept / factor
        notes.append(
            "Philips display scaling differs between images: values were brought to one scale "
            "with the scale slope (2005,100E)."
        )


def _order(frames: list[Frame]) -> tuple:
    header = frames[0].header
    components = ["magnitude", "phase", "real", "imaginary", None]
    return (
        components.index(component_of(header)),
        " ".join(texts_in(header, "ImageType")),
        number_in(header, "EchoTime") or 0.0,
        frames[0].b_value or 0.0,
        number_in(header, "InversionTime") or 0.0,
        number_in(header, "FlipAngle") or 0.0,
        number_in(header, "TemporalPositionIdentifier") or 0.0,
        number_in(header, "AcquisitionNumber") or 0.0,
        min(frame.instance for frame in frames),
    )
