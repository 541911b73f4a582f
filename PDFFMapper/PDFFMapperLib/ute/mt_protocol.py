"""UTE-MT images with the protocol that made them: a JSON file, since no header tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.json_file import read_json
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.recipe import check_one_grid
from PDFFMapperLib.ute.b1_map import B1_RANGE, b1_of
from PDFFMapperLib.ute.echoes import UteImages
from PDFFMapperLib.ute.motion import without_motion
from PDFFMapperLib.ute.mt_train import LINE_SHAPES, PULSE_SHAPES, Train
from PDFFMapperLib.ute.noise import coils_of, noise_of
from PDFFMapperLib.ute.protocol_file import number, numbers
from PDFFMapperLib.water_fat.echo_train import field_strength

LEAST_OFFSETS, LEAST_POWERS = 4, 2
_NEAREST_HZ = 500.0  # an offset below it is one in kHz
_LISTS = ("flips_deg", "offsets_hz")
_NUMBERS = ("tr_ms", "pulse_ms", "spokes", "spoke_ms", "delay_ms", "excite_deg", "excite_ms")
_OTHERS = ("pulse_shape", "line_shape", "t1_ms", "t1_sd_ms", "b1", "b1_sd", "fat_percent")
MOST_B0_HZ = _NEAREST_HZ  # beyond it an offset would cross the resonance
_WHERE = "the MT protocol"
NEEDED = (
    "UTE-MT needs its protocol, which headers do not tell: a JSON file (--mt-protocol) with "
    "flips_deg and offsets_hz of each image, tr_ms, pulse_ms, pulse_shape, spokes, spoke_ms, "
    "delay_ms, excite_deg, excite_ms, t1_ms and t1_sd_ms."
)


@dataclass(frozen=True)
class MtImages:
    """UTE-MT images ready to fit.

    Attributes:
        images: magnitudes; their echo times are not used.
        train: what made them.
        r1: observed R1 in 1/s and its SD.
        b1: true over nominal field, and its SD; of the map's mean where there is one.
        b1_map: of voxels, NaN where unknown; None where one number is given.
        b0_map: off-resonance of voxels in Hz, NaN where unknown; None where none is given.
        fat: share of fat in the signal without MT, 0 to 1; None where unknown.
        protocol: as it was read.
    """

    images: UteImages
    train: Train
    r1: tuple[float, float]
    b1: tuple[float, float]
    b1_map: np.ndarray | None
    b0_map: np.ndarray | None
    fat: float | None
    protocol: dict[str, object]


def mt_images(images: Sequence[Volume], settings: SimpleNamespace) -> MtImages:
    """The images with their protocol.

    Args:
        images: magnitudes, one for each MT pulse.
        settings: `mt_protocol` (path), `b1_map`, `b0_map` (volumes or None), `sigma`.

    Raises:
        ValueError: grids differ, or the protocol does not tell what the two-pool model needs.
    """
    if settings.mt_protocol is None:
        raise ValueError(NEEDED)
    told = read_json(Path(settings.mt_protocol))
    train = _train(told, len(images))
    r1, (b1, b1_map) = _r1(told), _b1(told, settings.b1_map, images[0])
    for one in images[1:]:
        check_one_grid(one, images[0])
    signal = np.stack([image.array for image in images]).astype(np.float32, copy=False)
    if np.iscomplexobj(images[0].array) or np.nanmin(signal) < 0:
        raise ValueError("UTE-MT is fitted to magnitude images; these have negative values.")
    noise = noise_of(signal, settings.sigma, coils_of(settings))
    signal, notes, off = without_motion(signal, images[0], settings)
    field_t = field_strength([image.attributes for image in images])
    order = np.arange(len(images), dtype=float)
    data = UteImages(signal, order, noise, field_t, images[0], notes, off_voxels=off)
    fat = number(told, "fat_percent", _WHERE, 0, 90) / 100 if "fat_percent" in told else None
    b0_map = _b0(settings.b0_map, images[0])
    return MtImages(data, train, r1, b1, b1_map, b0_map, fat, told)


def _train(told: dict[str, object], count: int) -> Train:
    known = {*_LISTS, *_NUMBERS, *_OTHERS}
    if odd := sorted(set(told) - known):
        raise ValueError(
            f"The MT protocol holds {odd[0]}, which is none of: {', '.join(sorted(known))}."
        )
    if missing := [one for one in (*_LISTS, *_NUMBERS, "pulse_shape") if one not in told]:
        raise ValueError(f"The MT protocol does not tell {', '.join(missing)}. {NEEDED}")
    flips, offsets = (np.array(numbers(told, one, _WHERE)) for one in _LISTS)
    if not len(flips) == len(offsets) == count:
        raise ValueError(
            f"The MT protocol has {len(flips)} flips and {len(offsets)} offsets for {count} "
            "images; give one each."
        )
    pulsed = flips > 0
    if (np.abs(offsets[pulsed]) < _NEAREST_HZ).any():
        raise ValueError(
            f"MT offsets are expected in Hz, {_NEAREST_HZ:g} and more from resonance; "
            f"{', '.join(f'{one:g}' for one in offsets)} were given."
        )
    for words, least, each in (
        ("offsets of the MT pulse", LEAST_OFFSETS, np.abs(offsets[pulsed])),
        ("powers of the MT pulse", LEAST_POWERS, flips[pulsed]),
    ):
        if (found := len(np.unique(each))) < least:
            raise ValueError(
                f"Two pools need at least {least} {words}, {found} given: fewer do not tell the "
                "fraction. MTR needs one pair of images."
            )
    shapes = str(told["pulse_shape"]), str(told.get("line_shape", LINE_SHAPES[0]))
    for shape, allowed in zip(shapes, (PULSE_SHAPES, LINE_SHAPES), strict=True):
        if shape not in allowed:
            raise ValueError(
                f"A shape of the MT protocol is one of {', '.join(allowed)}, not {shape}."
            )
    each = {one: number(told, one, _WHERE, 0, 1e5) for one in _NUMBERS}
    each["spokes"] = int(each["spokes"])
    train = Train(flips, offsets, pulse_shape=shapes[0], line_shape=shapes[1], **each)
    if (
        min(train.spokes, train.pulse_ms, train.excite_ms, train.excite_deg) <= 0
        or train.rest_ms < 0
    ):
        raise ValueError(
            f"An MT pulse of {train.pulse_ms:g} ms and {train.spokes} spokes, {train.spoke_ms:g} "
            f"ms from one to the next, do not fit into a TR of {train.tr_ms:g} ms; check the "
            "protocol."
        )
    return train


def _r1(told: dict[str, object]) -> tuple[float, float]:
    if not {"t1_ms", "t1_sd_ms"} <= set(told):
        raise ValueError(
            "Without T1 the macromolecular fraction is not determined at all; measure it and state "
            "t1_ms and its SD t1_sd_ms in the MT protocol."
        )
    t1, sd = number(told, "t1_ms", _WHERE, 10, 5000), number(told, "t1_sd_ms", _WHERE, 0, 2000)
    return 1e3 / t1, 1e3 * sd / t1**2


def _b1(
    told: dict[str, object], volume: Volume | None, image: Volume
) -> tuple[tuple[float, float], np.ndarray | None]:
    sd = number(told, "b1_sd", _WHERE, 0, 0.5) if "b1_sd" in told else None
    if volume is None:
        if sd is None or "b1" not in told:
            raise ValueError(
                "B1+ wrong by 5 % moves the macromolecular fraction by 7 to 10 points: give a map "
                "(--b1-map), or state b1 (true over nominal) and its accuracy b1_sd in the "
                "protocol."
            )
        return (number(told, "b1", _WHERE, *B1_RANGE), sd), None
    b1 = b1_of(volume, image)
    return (float(np.nanmedian(b1)), sd or 0.0), b1


def _b0(volume: Volume | None, image: Volume) -> np.ndarray | None:
    if volume is None:
        return None
    check_one_grid(volume, image)
    return np.asarray(volume.array, float)
