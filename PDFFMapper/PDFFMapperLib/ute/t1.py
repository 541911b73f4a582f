"""T1 of bone by UTE images of several flip angles or repetition times.

S = A fxy (1 - E)/(1 - fz E), E = exp(-TR/T1), of a spoiled sequence whose pulse leaves fxy across
and fz along the field: of bone by several TR in ISMRM 2018, abstract 1249, by several flip angles
in ISMRM 2019, abstract 4973; both functions of the hard pulse are solved in `steady_state`. T1 and
amplitude of a region by the likelihood of all its voxels; the true flip angle is the nominal one
times B1+, which is taken from elsewhere, voxel by voxel where it is a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from scipy.stats import chi2, t

from PDFFMapperLib.images.attributes import number_of
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.recipe import check_one_grid
from PDFFMapperLib.ute.answer import RegionValue
from PDFFMapperLib.ute.b1_map import b1_of
from PDFFMapperLib.ute.components import Model, RegionFit
from PDFFMapperLib.ute.echoes import UteImages, check_alike, check_first_echo
from PDFFMapperLib.ute.motion import without_motion
from PDFFMapperLib.ute.noise import coils_of, noise_of
from PDFFMapperLib.ute.region_signal import CHI2_95, RegionSignal
from PDFFMapperLib.ute.regions import region_signals
from PDFFMapperLib.ute.steady_state import hard_pulse, spoiled
from PDFFMapperLib.water_fat.echo_train import field_strength

T1_MS = (10.0, 5000.0)
MOST_SPREAD = 0.2  # SD over T1 beyond which a region tells none
B1_STEP = 0.05  # by which B1+ is moved to show what it does
LEAST_CHANCE = 0.001  # of noise alone, below which signals contradict the model
_B1_BIN = 0.005
_STARTS = ((100.0,), (300.0,), (1000.0,))


@dataclass(frozen=True)
class T1Images:
    """Images that differ in flip angle or repetition time.

    Attributes:
        images: magnitudes; in place of echo times they are numbered.
        flips_deg, trs_ms: of each.
        pulse_ms, t2star_ms: of the hard pulse, and of bone, which decays in it.
        b1: true over nominal flip angle of voxels, NaN where unknown; None where it is taken to be
            1.
    """

    images: UteImages
    flips_deg: np.ndarray
    trs_ms: np.ndarray
    pulse_ms: float
    t2star_ms: float
    b1: np.ndarray | None

    def fields(self, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The different B1+ of voxels, and which of them each voxel has."""
        if self.b1 is None:
            return np.ones(1), np.zeros(np.count_nonzero(inside), np.int32)
        own = self.b1[inside]
        _, which = np.unique(np.rint(own / _B1_BIN), return_inverse=True)
        return np.bincount(which, own) / np.bincount(which), which.astype(np.int32)

    def pulses(self, b1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Magnetization across and along after the pulse on 1; shape (B1+, images)."""
        left = [
            [hard_pulse(one * flip, self.pulse_ms, self.t2star_ms) for flip in self.flips_deg]
            for one in b1
        ]
        return tuple(np.moveaxis(np.array(left), -1, 0))

    def shown(self, t1_ms: float, pulses: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Signal by a magnetization of 1; shape (B1+, images)."""
        return spoiled(*pulses, self.trs_ms, t1_ms)


def t1_images(images: Sequence[Volume], settings: SimpleNamespace) -> T1Images:
    """The images with their flip angles and repetition times, of headers or as stated.

    Args:
        images: magnitudes of one echo time.
        settings: `same_gain`, `echo_times_s`, `flips_deg` and `trs_ms` (one for each image, or
            None), `pulse`, `t2star`, `b1_map`, and the noise.

    Raises:
        ValueError: the gain is not known to be the same; echo times differ or are too late; angles
            or times are missing or all alike; images are no magnitudes; grids differ; the B1+ map
            is none.
    """
    if not settings.same_gain:
        raise ValueError(
            "T1 by several acquisitions needs the same receiver gain in all of them, which their "
            "headers do not tell; check it at the scanner and state it (--same-gain)."
        )
    _check_echo_times(images, settings.echo_times_s)
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
    phased = sum(np.iscomplexobj(image.array) for image in images)
    if phased:
        raise ValueError(
            f"T1 is fitted to magnitude images; {phased} of these {len(images)} are complex: give "
            "their magnitudes."
        )
    signal = np.stack([image.array for image in images]).astype(np.float32, copy=False)
    if np.nanmin(signal) < 0:
        raise ValueError("T1 is fitted to magnitude images; these have negative values.")
    noise = noise_of(signal, settings.sigma, coils_of(settings))
    signal, notes, off = without_motion(signal, images[0], settings)
    field_t = field_strength([image.attributes for image in images])
    order = np.arange(len(images), dtype=float)
    data = UteImages(signal, order, noise, field_t, images[0], notes, off_voxels=off)
    b1 = None if settings.b1_map is None else b1_of(settings.b1_map, images[0])
    return T1Images(data, flips, trs, settings.pulse or 0.0, settings.t2star or np.inf, b1)


def _check_echo_times(images: Sequence[Volume], stated_s: Sequence[float] | None) -> None:
    if stated_s is None:
        times_ms = [number_of(one.attributes, "EchoTime") for one in images]
    else:
        times_ms = [1e3 * one for one in stated_s]
    if len(times_ms) != len(images):
        raise ValueError(
            f"{len(images)} images need as many echo times; {len(times_ms)} were given."
        )
    check_alike(times_ms, "echo times", "ms", "T1 needs one in all, as signals decay with T2*")
    if times_ms[0] is not None:
        check_first_echo(times_ms[0])


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


def t1_rows(data: T1Images, inside: np.ndarray) -> list[RegionValue]:
    """T1 of a region, and what a B1+ that is 5 % higher would make of it.

    Signals of three and more images that noise does not explain widen the interval, by Student's
    t of what the model leaves of them.

    Raises:
        ValueError: as `region_signals`; B1+ is not known in it; no T1 explains the signals, or
            they leave it open.
    """
    if data.b1 is not None and np.isnan(data.b1[inside]).any():
        raise ValueError("the B1+ map has no value in a part of the region")
    signals = region_signals(data.images, inside)
    b1, which = data.fields(inside & np.isfinite(data.images.signal).all(axis=0))
    share = np.bincount(which) / len(which)
    fit = _fitted(data, signals, b1, share)
    low, high = T1_MS
    if not 1.001 * low < fit.found[1] < 0.999 * high:
        raise ValueError(
            f"no T1 from {low:g} to {high:g} ms explains its signals; check the gains, flip angles "
            "and repetition times"
        )
    allowed, held = _allowed(fit, signals)
    t1 = fit.component(1, allowed=allowed)
    sd = t1.bound_sd * (allowed / CHI2_95) ** 0.5
    if not sd <= MOST_SPREAD * t1.value:
        noisy = "more signal, voxels, or flip angles farther apart help"
        why = noisy if allowed == CHI2_95 else f"{held}; check the gains, flip angles and B1+"
        raise ValueError(
            f"the images leave T1 open (SD {sd:.0f} ms at best, of {t1.value:.0f} ms); {why}"
        )
    moved = _fitted(data, signals, (1 + B1_STEP) * b1, share).found[1]
    known = (
        "B1+ taken as nominal" if data.b1 is None else f"B1+ by voxel, {b1 @ share:.3g} on average"
    )
    note = f"{known}; {held}"
    return [
        RegionValue("T1", t1.value, t1.lower, t1.upper, "ms", t1.bound_sd, note),
        RegionValue("T1 if B1+ is 5 % higher", *3 * (float(moved),), "ms"),
    ]


def _allowed(fit: RegionFit, signals: Sequence[RegionSignal]) -> tuple[float, str]:
    """By how much the deviance may rise in a 95 % interval, and what the interval holds."""
    free = len(signals) - 2
    if free < 1 or fit.least < chi2.isf(LEAST_CHANCE, free):
        return CHI2_95, "the interval holds noise alone"
    peaks = np.array([one.peak for one in signals])
    off = 100 * np.max(np.abs(peaks / fit.model.signal(fit.found, fit.te_ms) - 1))
    return float(t.isf(0.025, free) ** 2 * fit.misfit**2), (
        f"signals are up to {off:.2g} % off one T1, {fit.misfit:.1f} times what noise explains, "
        "and the interval holds that"
    )


def _fitted(
    data: T1Images, signals: Sequence[RegionSignal], b1: np.ndarray, share: np.ndarray
) -> RegionFit:
    """Fit of amplitude and T1 to a region in which each B1+ has a share of the voxels."""
    pulses = data.pulses(b1)

    def shown(t1_ms: float) -> np.ndarray:
        return share @ data.shown(t1_ms, pulses)

    unit = shown(_STARTS[1][0]).max()  # so that the amplitude is about a signal

    def signal(parameters: Sequence[float], _: object) -> np.ndarray:
        return parameters[0] * shown(parameters[1]) / unit

    def gradient(parameters: Sequence[float], _: object) -> np.ndarray:
        here, step = shown(parameters[1]) / unit, 1e-4 * parameters[1]
        moved = shown(parameters[1] + step) / unit
        return np.stack([here, parameters[0] * (moved - here) / step], axis=-1)

    model = Model(signal, gradient, (T1_MS,), _STARTS)
    return RegionFit(signals, np.arange(len(signals)), model)
