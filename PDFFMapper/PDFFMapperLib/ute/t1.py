"""T1 of bone by UTE images of several flip angles or repetition times.

S = A fxy (1 - E)/(1 - fz E), E = exp(-TR/T1), of a spoiled sequence whose pulse leaves fxy across
and fz along the field: of bone by several TR in ISMRM 2018, abstract 1249, by several flip angles
in ISMRM 2019, abstract 4973; both functions of the hard pulse are solved in `steady_state`. T1 and
amplitude of a region by the likelihood of all its voxels; the true flip angle is the nominal one
times B1+, which is taken from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.attributes import number_of
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.recipe import check_one_grid
from PDFFMapperLib.ute.answer import RegionValue
from PDFFMapperLib.ute.components import Component, Model, RegionFit
from PDFFMapperLib.ute.echoes import UteImages
from PDFFMapperLib.ute.motion import without_motion
from PDFFMapperLib.ute.noise import coils_of, noise_of
from PDFFMapperLib.ute.regions import region_signals
from PDFFMapperLib.ute.steady_state import hard_pulse, spoiled
from PDFFMapperLib.water_fat.echo_train import field_strength

T1_MS = (10.0, 5000.0)
MOST_SPREAD = 0.2  # SD over T1 beyond which a region tells none
B1_STEP = 0.05  # by which B1+ is moved to show what it does
_STARTS = ((100.0,), (300.0,), (1000.0,))


@dataclass(frozen=True)
class T1Images:
    """Images that differ in flip angle or repetition time.

    Attributes:
        images: magnitudes; their echo times are not used.
        flips_deg, trs_ms: of each.
        pulse_ms, t2star_ms: of the hard pulse, and of bone, which decays in it.
        b1: true over nominal flip angle of voxels; None where it is taken to be 1.
    """

    images: UteImages
    flips_deg: np.ndarray
    trs_ms: np.ndarray
    pulse_ms: float
    t2star_ms: float
    b1: np.ndarray | None

    def shown(self, t1_ms: float, b1: float = 1.0) -> np.ndarray:
        """Signal of each image by a magnetization of 1."""
        each = []
        for flip, tr in zip(self.flips_deg, self.trs_ms, strict=True):
            each.append(spoiled(*hard_pulse(b1 * flip, self.pulse_ms, self.t2star_ms), tr, t1_ms))
        return np.array(each)

    def b1_of(self, inside: np.ndarray) -> float:
        """Mean of a region."""
        return 1.0 if self.b1 is None else float(np.mean(self.b1[inside]))


def t1_images(images: Sequence[Volume], settings: SimpleNamespace) -> T1Images:
    """The images with their flip angles and repetition times, of headers or as stated.

    Args:
        images: magnitudes of one echo time.
        settings: `flips_deg` and `trs_ms` (one for each image, or None), `pulse`, `t2star`,
            `b1_map`, and the noise.

    Raises:
        ValueError: angles or times are missing or all alike; grids differ; the B1+ map is none.
    """
    flips = _each(images, settings.flips_deg, "FlipAngle", "flip angles", "deg")
    trs = _each(images, settings.trs_ms, "RepetitionTime", "repetition times", "ms")
    if len(set(zip(flips, trs, strict=True))) < 2:
        raise ValueError(
            "T1 needs images of two and more flip angles or repetition times; these are "
            f"{len(images)} of {flips[0]:g} deg and TR {trs[0]:g} ms."
        )
    if settings.pulse and settings.t2star is None:
        raise ValueError(
            "Bone decays in a pulse of a stated length; state its T2* too (--t2star), or leave "
            "--pulse out."
        )
    for one in images[1:]:
        check_one_grid(one, images[0])
    signal = np.stack([image.array for image in images]).astype(np.float32)
    if np.iscomplexobj(images[0].array) or np.nanmin(signal) < 0:
        raise ValueError("T1 is fitted to magnitude images; these have negative values.")
    noise = noise_of(signal, settings.sigma, coils_of(settings))
    signal, notes = without_motion(signal, images[0], settings)
    field_t = field_strength([image.attributes for image in images])
    order = np.arange(len(images), dtype=float)
    data = UteImages(signal, order, noise, field_t, images[0], notes)
    b1 = _b1(settings.b1_map, images[0])
    return T1Images(data, flips, trs, settings.pulse or 0.0, settings.t2star or np.inf, b1)


def _each(
    images: Sequence[Volume], stated: Sequence[float] | None, key: str, words: str, unit: str
) -> np.ndarray:
    """One value of each image."""
    found = [number_of(one.attributes, key) for one in images] if stated is None else list(stated)
    if len(found) != len(images) or not all(found) or min(found) <= 0:
        flag = {"FlipAngle": "--flips-deg", "RepetitionTime": "--trs-ms"}[key]
        raise ValueError(
            f"T1 needs the {words} of all {len(images)} images, which headers or {flag} tell; "
            f"known are {', '.join(f'{one:g}' for one in found if one) or 'none'} {unit}."
        )
    return np.array(found, float)


def _b1(volume: Volume | None, image: Volume) -> np.ndarray | None:
    if volume is None:
        return None
    check_one_grid(volume, image)
    held = volume.array[np.isfinite(volume.array) & (volume.array > 0)]
    median = float(np.median(held)) if held.size else 0.0
    if not 0.3 <= median <= 2:
        raise ValueError(
            "A B1+ map is expected as true over nominal field, about 1; its median is "
            f"{median:.3g}. Divide a map in percent by 100."
        )
    return np.asarray(volume.array, float)


def t1_rows(data: T1Images, inside: np.ndarray) -> list[RegionValue]:
    """T1 of a region, and what a B1+ that is 5 % higher would make of it.

    Raises:
        ValueError: as `region_signals`; B1+ is not known in it; the images leave T1 open.
    """
    if data.b1 is not None and not (data.b1[inside] > 0).all():
        raise ValueError("the B1+ map has no value in a part of the region")
    signals, b1 = region_signals(data.images, inside), data.b1_of(inside)
    t1 = _fitted(data, signals, b1)
    if not t1.bound_sd <= MOST_SPREAD * t1.value:
        raise ValueError(
            f"the images leave T1 open (SD {t1.bound_sd:.0f} ms at best, of {t1.value:.0f} ms); "
            "more signal, voxels, or flip angles farther apart help"
        )
    moved = _fitted(data, signals, (1 + B1_STEP) * b1).value
    known = "B1+ taken as nominal" if data.b1 is None else f"at B1+ {b1:.3g}"
    note = f"{known}; the interval holds noise alone"
    return [
        RegionValue("T1", t1.value, t1.lower, t1.upper, "ms", t1.bound_sd, note),
        RegionValue("T1 if B1+ is 5 % higher", *3 * (moved,), "ms"),
    ]


def _fitted(data: T1Images, signals: Sequence, b1: float) -> Component:
    unit = data.shown(_STARTS[1][0], b1).max()  # so that the amplitude is about a signal

    def signal(parameters: Sequence[float], _: object) -> np.ndarray:
        return parameters[0] * data.shown(parameters[1], b1) / unit

    def gradient(parameters: Sequence[float], _: object) -> np.ndarray:
        here, step = data.shown(parameters[1], b1) / unit, 1e-4 * parameters[1]
        moved = data.shown(parameters[1] + step, b1) / unit
        return np.stack([here, parameters[0] * (moved - here) / step], axis=-1)

    model = Model(signal, gradient, (T1_MS,), _STARTS)
    return RegionFit(signals, np.arange(len(signals)), model).component(1)
