"""Density of one pool against a reference: bound water by IR-UTE or STAIR, phosphorus by 31P.

density = density of the reference x signal / its signal x factors of both: steady state with or
without inversion, decay in the hard pulse and until TE. Phosphorus and bound water of bone against
samples of known density: Zhao 2017 (doi 10.1371/journal.pone.0173995, abstract read). STAIR is the
same at a short TR; Ma 2020, which names it for trabecular bone, was not read: what is computed here
is derived in `inversion`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.attributes import number_of
from PDFFMapperLib.images.json_file import read_json
from PDFFMapperLib.images.mask import inside_of
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.recipe import check_one_grid
from PDFFMapperLib.ute.answer import RegionValue
from PDFFMapperLib.ute.coil_profile import profile_of, profile_ratio
from PDFFMapperLib.ute.components import Model, RegionFit
from PDFFMapperLib.ute.echoes import UteImages
from PDFFMapperLib.ute.inversion import Inversion, adiabatic_inversion
from PDFFMapperLib.ute.motion import without_motion
from PDFFMapperLib.ute.noise import coils_of, noise_of
from PDFFMapperLib.ute.protocol_file import MOST, number, numbers, part
from PDFFMapperLib.ute.region_signal import RegionSignal
from PDFFMapperLib.ute.regions import region_signals
from PDFFMapperLib.ute.registration import images_off
from PDFFMapperLib.ute.steady_state import hard_pulse

GYRO_MHZ_T = {"1H": 42.577, "31P": 17.235}
MOST_LEFT = 0.1  # of a pool that should be nulled
LEAST_TRS = 3
_WHERE = "the density protocol"
_T1_MS = (10.0, 5000.0)
NEEDED = (
    "A density needs its protocol (--density-protocol): a JSON file with nucleus, tr_ms, te_ms, "
    "flip_deg, pulse_ms, ti_ms if inverted, pool (t1_ms, t1_sd_ms, t2star_ms, inversion), "
    "reference (density, t1_ms, t2star_ms, inversion) and others."
)


@dataclass(frozen=True)
class Pool:
    """One kind of protons or phosphorus.

    Attributes:
        name: "bound water", "pore water", "fat" ...
        t1_ms, t1_sd_ms, t2star_ms: NaN where not stated.
        turned: what the inversion makes of 1.
        density: in mol/L, NaN where not stated.
    """

    name: str
    t1_ms: float
    t1_sd_ms: float
    t2star_ms: float
    turned: float
    density: float


@dataclass(frozen=True)
class Densities:
    """Images of one or several repetition times, what made them, and the receive profile."""

    images: UteImages
    trains: list[Inversion]
    te_ms: float
    flip_deg: float
    pulse_ms: float
    nucleus: str
    pool: Pool
    reference: Pool
    others: list[Pool]
    inside_reference: np.ndarray
    protocol: dict[str, object]
    profile: np.ndarray | None = None

    def shown(self, pool: Pool, n: int = 0, t1_ms: float | None = None) -> float:
        """Signal of one mol/L of a pool at TE in image n."""
        across, along = hard_pulse(self.flip_deg, self.pulse_ms, pool.t2star_ms)
        seen = self.trains[n].seen(t1_ms or pool.t1_ms, pool.turned, along)
        return across * seen * float(np.exp(-self.te_ms / pool.t2star_ms))

    @property
    def unit(self) -> str:
        """As printed."""
        return f"mol {self.nucleus}/L"


def density_images(images: Sequence[Volume], settings: SimpleNamespace) -> Densities:
    """The images with their protocol.

    Args:
        images: magnitudes of one TE: one, or three and more of different TR.
        settings: `density_protocol` (path), `reference_region` (volume), `sigma`.

    Raises:
        ValueError: the protocol lacks something, is of another nucleus, or there is no reference.
    """
    if settings.density_protocol is None:
        raise ValueError(NEEDED)
    told = read_json(Path(settings.density_protocol))
    top = ("nucleus", "tr_ms", "te_ms", "flip_deg", "pulse_ms", "pool", "reference")
    if missing := [key for key in top if key not in told]:
        raise ValueError(f"The density protocol does not tell {', '.join(missing)}. {NEEDED}")
    nucleus = str(told["nucleus"])
    _check_nucleus(nucleus, images)
    trains = _trains(told, len(images))
    sample = settings.reference_region
    inside_sample = None if sample is None else inside_of(sample, "the reference")
    if inside_sample is None or not inside_sample.any():
        raise ValueError(
            "A density needs the voxels of a reference of known density in the same image "
            "(--reference-region)."
        )
    for one in [*images[1:], sample]:
        check_one_grid(one, images[0])
    signal = np.stack([image.array for image in images]).astype(np.float32, copy=False)
    if np.nanmin(signal) < 0:
        raise ValueError("Densities are of magnitude images; these have negative values.")
    noise = noise_of(signal, settings.sigma, coils_of(settings))
    signal, notes, off = without_motion(signal, images[0], settings)
    # The field strength, which 31P headers tell by a frequency that protons do not have, is unused.
    data = UteImages(
        signal, np.arange(len(images), dtype=float), noise, None, images[0], notes, off_voxels=off
    )
    return Densities(
        data,
        trains,
        *(number(told, key, _WHERE) for key in ("te_ms", "flip_deg", "pulse_ms")),
        nucleus,
        _pool(told["pool"], "the pool", told),
        _pool(told["reference"], "the reference", told, ("density", "t1_ms", "t2star_ms")),
        _others(told),
        inside_sample,
        told,
        profile_of(settings, images[0]),
    )


def _check_nucleus(nucleus: str, images: Sequence[Volume]) -> None:
    if nucleus not in GYRO_MHZ_T:
        raise ValueError(f"The nucleus of a density is 1H or 31P; {nucleus} was given.")
    for image in images:
        said = str(image.attributes.get("ImagedNucleus") or "")
        field, frequency = (
            number_of(image.attributes, key)
            for key in ("MagneticFieldStrength", "ImagingFrequency")
        )
        if not said and field and frequency:
            while frequency > 1e3:  # kHz or Hz, as some tools write
                frequency /= 1e3
            ratio = frequency / field
            said = min(GYRO_MHZ_T, key=lambda one: abs(GYRO_MHZ_T[one] - ratio))
        if said and said.replace("^", "") != nucleus:
            raise ValueError(
                f"{image.name} is an image of {said}, and the protocol is of {nucleus}; their "
                "densities are of different atoms."
            )


def _trains(told: dict[str, object], count: int) -> list[Inversion]:
    lists = {key: numbers(told, key, _WHERE) for key in ("tr_ms", "ti_ms") if key in told}
    if any(len(one) != count for one in lists.values()) or count == 2:
        raise ValueError(
            f"{count} images need tr_ms (and ti_ms, if inverted) of each in the density protocol; "
            f"one image gives a density, {LEAST_TRS} and more repetition times give T1 too."
        )
    one = {"spokes": 1, "spoke_ms": 0.0, **told}
    spokes = int(number(one, "spokes", _WHERE, 1)), number(one, "spoke_ms", _WHERE)
    tis = lists.get("ti_ms", [None] * count)
    trains = [Inversion(tr, ti, *spokes) for tr, ti in zip(lists["tr_ms"], tis, strict=True)]
    for one in trains:
        if not (one.fits() and one.tr_ms > 0):
            raise ValueError(
                f"{one.spokes} spokes around TI {one.ti_ms or 0:g} ms do not fit into a TR of "
                f"{one.tr_ms:g} ms; check the density protocol."
            )
    return trains


def _pool(
    own: object,
    name: str,
    told: dict[str, object],
    needed: Sequence[str] = ("t1_ms", "t1_sd_ms", "t2star_ms"),
) -> Pool:
    own = part(own, name, _WHERE)
    each = {key: number(own, key, name) for key in needed}
    t2star, turned = each["t2star_ms"], 1.0
    if not min(t2star, each["t1_ms"]) > 0:
        raise ValueError(f"T1 and T2* of {name} are expected above 0; check the density protocol.")
    if "ti_ms" in told:
        if "inversion" not in own and "inversion_pulse" in told:
            turned = adiabatic_inversion(t2star, **_inversion_pulse(told))
        else:
            turned = number(own, "inversion", name, -1, 1)
    density = number(own, "density", name) if "density" in own else np.nan
    title = str(own.get("name", name))
    return Pool(title, each["t1_ms"], each.get("t1_sd_ms", 0.0), t2star, turned, density)


def _others(told: dict[str, object]) -> list[Pool]:
    """Pools that should be nulled."""
    others = told.get("others", [])
    if not isinstance(others, list):
        others = [others]
    return [_pool(one, f"pool {n} of others", told) for n, one in enumerate(others, 1)]


def _inversion_pulse(told: dict[str, object]) -> dict[str, float]:
    """Arguments of `adiabatic_inversion`."""
    where = "inversion_pulse"
    pulse = part(told[where], where, _WHERE)
    needed, free = ("pulse_ms", "peak_hz", "width_hz"), ("sharpness", "offset_hz")
    if odd := sorted(set(pulse) - {*needed, *free}):
        raise ValueError(
            f"inversion_pulse of the density protocol holds {odd[0]}, which is none of: "
            f"{', '.join((*needed, *free))}."
        )
    each = {key: number(pulse, key, where) for key in needed}
    return each | {key: number(pulse, key, where, -MOST) for key in free if key in pulse}


def density_rows(data: Densities, inside: np.ndarray) -> tuple[list[RegionValue], list[str], Pool]:
    """Density of a region with its interval and budget, T1 of three and more TR, and residuals.

    Returns:
        Rows, what to read with them, and the pool with its T1 as fitted or stated.

    Raises:
        ValueError: as `regions.region_signals`.
    """
    pool, rows = data.pool, []
    signals = region_signals(data.images, inside)
    sample = region_signals(data.images, data.inside_reference, (0,))[0]
    if len(data.trains) >= LEAST_TRS:
        t1 = _t1(data, signals).component(1)
        rows.append(RegionValue("T1", t1.value, t1.lower, t1.upper, "ms", t1.bound_sd))
        pool = replace(pool, t1_ms=t1.value, t1_sd_ms=t1.bound_sd)
    scale = scale_of(data, pool) * profile_ratio(data.profile, data.inside_reference, inside)
    value = scale * signals[0].value / sample.value
    by_noise = [one.sigma / one.independent**0.5 / one.value for one in (signals[0], sample)]
    ends = [scale_of(data, pool, pool.t1_ms + sign * pool.t1_sd_ms) for sign in (1, -1)]
    off = {
        "noise": value * np.hypot(*by_noise),
        f"T1 of {pool.name}": value * abs(ends[0] - ends[1]) / 2 / scale_of(data, pool),
    }
    if len(data.trains) >= LEAST_TRS:
        name = f"registration, {data.images.off_voxels:.2g} voxel"
        off[name] = value * _by_registration(data, inside, pool)
    residuals, notes, above = _residuals(data, pool)
    off |= above
    sd = float(np.sqrt(sum(one**2 for one in off.values())))
    note = f"{value / 2:.3g} mol of water a liter" if data.nucleus == "1H" else ""
    low, high = max(value - 1.96 * sd, 0.0), value + 1.96 * sd
    rows.insert(0, RegionValue(pool.name, float(value), low, high, data.unit, note=note))
    rows += residuals
    rows += [
        RegionValue(f"budget: {name} (SD)", *3 * (float(one),), data.unit)
        for name, one in off.items()
    ]
    return rows, notes, pool


def _by_registration(data: Densities, inside: np.ndarray, pool: Pool) -> float:
    """By what share (SD) the density moves with T1 where the other TR lie beside the first."""
    moved = [_t1(data, region_signals(*one)).found[1] for one in images_off(data.images, inside)]
    usual = scale_of(data, pool)
    return float(np.linalg.norm([scale_of(data, pool, t1) / usual - 1 for t1 in moved]))


def scale_of(data: Densities, pool: Pool, t1_ms: float | None = None) -> float:
    """Density of a pool that shines as the reference does."""
    return data.reference.density * data.shown(data.reference) / data.shown(pool, 0, t1_ms)


def _residuals(
    data: Densities, pool: Pool
) -> tuple[list[RegionValue], list[str], dict[str, float]]:
    """What is left of pools that should be nulled, what to say of it, and what it adds (SD)."""
    rows, notes, added = [], [], {}
    train = data.trains[0]
    for one in data.others:
        if train.ti_ms is None:
            continue
        across, along = hard_pulse(data.flip_deg, data.pulse_ms, one.t2star_ms)
        left = train.left(one.t1_ms, one.t1_sd_ms, one.turned, along)
        ends = [
            train.seen(max(one.t1_ms + z * one.t1_sd_ms, 1.0), one.turned, along)
            for z in (-1.96, 1.96)
        ]
        plain = Inversion(train.tr_ms, None, train.spokes, train.spoke_ms)
        usual = plain.seen(one.t1_ms, 1.0, along)
        best = train.nulling_ms(one.t1_ms, one.turned, along)
        nulled = "no TI nulls it" if best is None else f"its nulling TI is {best:.1f} ms"
        rows.append(
            RegionValue(
                f"left of {one.name}", 100 * left / usual,
                *sorted(100 * end / usual for end in ends), "%",
                note=f"of what it shows without inversion, by the spread of its T1; {nulled}",
            )
        )  # fmt: skip
        if left > MOST_LEFT * usual:
            notes.append(
                f"TI {train.ti_ms:g} ms leaves {100 * left / usual:.0f} % of {one.name}, more "
                f"than 10 %; {nulled}."
            )
        if np.isfinite(one.density):
            decay = np.exp(-data.te_ms / one.t2star_ms)
            share = left * across * decay / data.shown(pool)
            added[f"what is left of {one.name}"] = abs(float(one.density * share))
    return rows, notes, added


def _t1(data: Densities, signals: Sequence[RegionSignal]) -> RegionFit:
    """T1 of the pool by images of several TR, each at its own TI."""
    unit = data.shown(data.pool)  # so that the amplitude is a signal

    def signal(parameters: Sequence[float], _: object) -> np.ndarray:
        each = [data.shown(data.pool, n, parameters[1]) for n in range(len(data.trains))]
        return parameters[0] * np.array(each) / unit

    def gradient(parameters: Sequence[float], _: object) -> np.ndarray:
        here, step = signal(parameters, _), 1e-4 * parameters[1]
        moved = signal((parameters[0], parameters[1] + step), _)
        return np.stack([here / max(parameters[0], 1e-9), (moved - here) / step], axis=-1)

    model = Model(signal, gradient, (_T1_MS,), ((data.pool.t1_ms,),))
    return RegionFit(signals, np.arange(len(signals)), model)
