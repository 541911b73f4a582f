"""Whole-body diffusion: series taken at several table positions, joined into one image.

Each station has its own gain, so signals step from one to the next; ADC does not and is never
rescaled. Where two stations overlap both are told, and the signal images are brought to one gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.diffusion.series import DiffusionSeries, diffusion_series
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress, tell

SAME_AXES, SAME_PLACE_MM = 0.999, 1.0
BETWEEN_SLICES = 0.05  # of a slice: closer than this slices are taken as they lie
WHOLE_GAP = 0.6  # of a slice beyond the next one's place: one is missing
SAME_B = 0.1  # of a b-value
BRIGHT = 0.2  # of the 98th percentile: signal that steps are measured in
FEWEST = 50  # voxels of an overlap
ADC_APART = 0.1  # of the median ADC


@dataclass
class Station:
    """One table position.

    Attributes:
        low, high: trace images at the lowest and the highest b-value.
        adc: in 10^-3 mm^2/s, NaN where there is no signal.
        b_values: of `low` and `high`, s/mm^2.
        notes: sentences about its images.
    """

    low: Volume
    high: Volume
    adc: Volume
    b_values: tuple[float, float]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """What the overlap of two stations tells, going up.

    Attributes:
        slices: that both hold.
        signal: upper over lower signal at the lowest b-value; NaN where nothing tells.
        adc: upper less lower median ADC, 10^-3 mm^2/s; NaN likewise.
    """

    slices: int
    signal: float
    adc: float


@dataclass
class Joined:
    """The whole body.

    Attributes:
        adc, low, high: as those of a `Station`; the signals at the gain of the middle station.
        steps: between neighbors, from the lowest station up.
        notes: what was interpolated, steps, and what could not be compared.
        provenance: how it was made, see Recipe.
    """

    adc: Volume
    low: Volume
    high: Volume
    steps: list[Step]
    notes: list[str]
    provenance: dict[str, object] = field(default_factory=dict)


def of_stations(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None = None
) -> Joined:
    """The whole body from the images of all stations; those on one grid are of one station.

    Args:
        images: one volume per station, b-value and direction.
        settings: the options of `recipe.STATIONS`, which calls this.
        progress: called with the fraction done; returning False cancels.

    Raises:
        ValueError: as `diffusion_series`, `station` and `join`; b-values of another number.
        InterruptedError: canceled.
    """
    b_values = settings.b_values
    if b_values is not None and len(b_values) != len(images):
        raise ValueError(
            f"{len(images)} images were given with {len(b_values)} b-values; one for each is "
            "expected."
        )
    members: list[list[int]] = []
    for n, image in enumerate(images):
        own = next((m for m in members if image.same_grid(images[m[0]])), None)
        members.append([n]) if own is None else own.append(n)
    unset = {"highest_b": None, "sigma": None, "background": None, "mask": None}
    stations = []
    for n, own in enumerate(members):
        tell(progress, n / len(members), "Fitting stations")
        b_own = None if b_values is None else [b_values[m] for m in own]
        chosen = SimpleNamespace(**{**vars(settings), **unset, "b_values": b_own})
        stations.append(station(diffusion_series([images[m] for m in own], chosen)))
    joined = join(stations)
    joined.notes += adc_steps(joined)
    return joined


def station(series: DiffusionSeries) -> Station:
    """ADC of one table position by least squares on the logarithm of its trace images.

    Raises:
        ValueError: fewer than two b-values.
    """
    b = np.asarray(series.b_values, float)
    if np.unique(b).size < 2:
        raise ValueError(f"{series.like.name}: an ADC needs two b-values; there is only {b[0]:g}.")
    per_log = (-1000 * (b - b.mean()) / np.sum((b - b.mean()) ** 2)).astype(np.float32)
    adc = np.zeros(series.signal.shape[:3], np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        for n, weight in enumerate(per_log):
            adc += weight * np.log(series.signal[..., n], dtype=np.float32)
    adc[~(np.isfinite(adc) & series.mask)] = np.nan
    like = series.like
    series.note_floor()
    return Station(
        like.with_array(np.ascontiguousarray(series.signal[..., b.argmin()], np.float32), "low b"),
        like.with_array(np.ascontiguousarray(series.signal[..., b.argmax()], np.float32), "high b"),
        like.with_array(adc, "ADC"),
        (float(b.min()), float(b.max())),
        series.notes,
    )


def join(stations: Sequence[Station]) -> Joined:
    """One image of all stations, along their slices; each slice is of the station that holds it
    furthest from its end.

    Args:
        stations: in any order.

    Raises:
        ValueError: one position, other b-values, voxels or places beside each other, or a gap.
    """
    if len(stations) < 2:
        raise ValueError("These images are of one table position; give the series of two or more.")
    _check_alike(stations)
    first = stations[0].adc
    along = first.ijk_to_ras[:3, 2] / first.spacing[2]
    thick = float(first.spacing[2])
    starts = np.array([one.adc.ijk_to_ras[:3, 3] @ along for one in stations]) / thick
    order = np.argsort(starts)
    stations, starts = [stations[n] for n in order], starts[order] - starts.min()
    notes: list[str] = []
    placed = [_on_slices(one, at, notes) for one, at in zip(stations, starts, strict=True)]
    begin = [int(np.floor(at + BETWEEN_SLICES)) for at in starts]
    end = [b + len(one.adc.array) for b, one in zip(begin, placed, strict=True)]
    _check_gaps(starts, stations, thick)
    steps = [
        _step(placed[n], placed[n + 1], begin[n + 1] - begin[n], end[n] - begin[n + 1])
        for n in range(len(placed) - 1)
    ]
    gains = _gains(steps)
    notes += _told(steps) + _own_notes(stations)
    grid = stations[0].adc.ijk_to_ras.copy()
    shape = (max(end), *first.array.shape[1:])
    made = {}
    for name in ("adc", "low", "high"):
        array = np.full(shape, np.nan, np.float32)
        for n, one in enumerate(placed):
            low, high = begin[n], end[n]
            if n:
                low = max(low, (begin[n] + end[n - 1]) // 2)
            if n + 1 < len(placed):
                high = min(high, (begin[n + 1] + end[n]) // 2)
            part = getattr(one, name).array[low - begin[n] : high - begin[n]]
            array[low:high] = part if name == "adc" else part / np.float32(gains[n])
        facts = {"DiffusionBValue": stations[0].b_values[name == "high"]} if name != "adc" else {}
        made[name] = Volume(array, grid.copy(), getattr(placed[0], name).name, facts)
    return Joined(**made, steps=steps, notes=notes)


def _check_alike(stations: Sequence[Station]) -> None:
    one = stations[0]
    for n, other in enumerate(stations[1:], 2):
        apart = np.abs(np.subtract(one.b_values, other.b_values))
        if (apart > np.maximum(SAME_B * np.array(one.b_values), 5)).any():
            raise ValueError(
                f"Station {n} has b-values {other.b_values[0]:g} and {other.b_values[1]:g}, the "
                f"first {one.b_values[0]:g} and {one.b_values[1]:g}: their ADC cannot be joined."
            )
        a, b = one.adc, other.adc
        axes = (a.ijk_to_ras[:3, :3] / a.spacing, b.ijk_to_ras[:3, :3] / b.spacing)
        same = (np.sum(axes[0] * axes[1], axis=0) > SAME_AXES).all()
        if not same or not np.allclose(a.spacing, b.spacing, rtol=0.01):
            raise ValueError(
                f"Station {n} has other voxels or another direction than the first; reconstruct "
                "all stations alike."
            )
        moved = np.linalg.inv(axes[0]) @ (b.ijk_to_ras[:3, 3] - a.ijk_to_ras[:3, 3])
        if a.array.shape[1:] != b.array.shape[1:] or np.abs(moved[:2]).max() > SAME_PLACE_MM:
            raise ValueError(
                f"Station {n} lies beside the first or is of another size; only stations that "
                "follow each other along their slices are joined."
            )


def _on_slices(one: Station, at: float, notes: list[str]) -> Station:
    """The station on the slices of the lowest one: between them by linear interpolation."""
    part = at - np.floor(at + BETWEEN_SLICES)
    if part <= BETWEEN_SLICES:
        return one
    notes.append(
        f"A station begins {part:.2f} of a slice beside those of the lowest; its slices were "
        "interpolated."
    )

    def shifted(volume: Volume) -> Volume:
        padded = np.concatenate([volume.array[:1], volume.array])
        weight = np.float32(part)
        return volume.with_array(weight * padded[:-1] + (1 - weight) * padded[1:])

    return Station(shifted(one.low), shifted(one.high), shifted(one.adc), one.b_values)


def _check_gaps(starts: np.ndarray, stations: Sequence[Station], thick: float) -> None:
    for n, (lower, upper) in enumerate(pairwise(range(len(stations)))):
        gap = starts[upper] - starts[lower] - len(stations[lower].adc.array)
        if gap > WHOLE_GAP:
            raise ValueError(
                f"{gap * thick:.0f} mm without an image lie between stations {n + 1} and {n + 2}, "
                "counted from the lowest: a station is missing."
            )


def _step(lower: Station, upper: Station, offset: int, slices: int) -> Step:
    """Compare what both hold: `slices` of them, from `offset` on in the lower."""
    nan = float("nan")
    if slices < 1:
        return Step(0, nan, nan)
    below, above = lower.low.array[offset : offset + slices], upper.low.array[:slices]
    bright = np.minimum(below, above) > BRIGHT * np.nanpercentile(below, 98)
    adc = lower.adc.array[offset : offset + slices], upper.adc.array[:slices]
    bright &= np.isfinite(adc[0]) & np.isfinite(adc[1])
    if np.count_nonzero(bright) < FEWEST:
        return Step(slices, nan, nan)
    signal = float(np.median(above[bright] / below[bright]))
    return Step(slices, signal, float(np.median(adc[1][bright]) - np.median(adc[0][bright])))


def _gains(steps: Sequence[Step]) -> np.ndarray:
    """The gain of each station over that of the middle one; unknown steps count as none."""
    ratios = [one.signal if np.isfinite(one.signal) else 1.0 for one in steps]
    gains = np.cumprod([1.0, *ratios])
    return gains / gains[len(gains) // 2]


def _told(steps: Sequence[Step]) -> list[str]:
    notes: list[str] = []
    for n, one in enumerate(steps, 1):
        between = f"Stations {n} and {n + 1} (from the lowest)"
        if not np.isfinite(one.signal):
            notes.append(
                f"{between} do not overlap in enough tissue: steps of signal and ADC between them "
                "are not known."
            )
            continue
        notes.append(
            f"{between} overlap by {one.slices} slices: the signal steps by "
            f"{100 * (one.signal - 1):+.0f} %, which was evened, the ADC by {one.adc:+.2f}."
        )
    return notes


def _own_notes(stations: Sequence[Station]) -> list[str]:
    """What the images of stations tell, once; with their numbers where it is not of all."""
    holding: dict[str, list[int]] = {}
    for n, one in enumerate(stations, 1):
        for note in dict.fromkeys(one.notes):
            holding.setdefault(note, []).append(n)
    return [
        note
        if len(numbers) == len(stations)
        else f"Station {', '.join(map(str, numbers))} (from the lowest): {note}"
        for note, numbers in holding.items()
    ]


def adc_steps(joined: Joined) -> list[str]:
    """Sentences about stations whose ADC disagrees where they overlap."""
    usual = float(np.nanmedian(joined.adc.array))
    return [
        f"The ADC of stations {n} and {n + 1} differs by {100 * abs(one.adc) / usual:.0f} % where "
        "they overlap; it is not rescaled, so compare lesions within a station."
        for n, one in enumerate(joined.steps, 1)
        if np.isfinite(one.adc) and abs(one.adc) > ADC_APART * usual
    ]
