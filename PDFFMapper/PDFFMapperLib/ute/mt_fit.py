"""Macromolecular fraction of a bone by UTE-MT: two pools fitted through the real pulse train.

UTE-MT of bone by a two-pool model: Ma 2018 (doi 10.1002/mrm.26846, abstract read). The closed form
that such papers use stands beside it; what it reads depends on spokes and their excitation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from PDFFMapperLib.ute.answer import RegionValue
from PDFFMapperLib.ute.components import Model, RegionFit
from PDFFMapperLib.ute.mt_protocol import MOST_B0_HZ, MtImages
from PDFFMapperLib.ute.mt_train import Train, TwoPools, ramani, rates_of, train_signals
from PDFFMapperLib.ute.region_signal import RegionSignal
from PDFFMapperLib.ute.regions import refuse_open, region_signals, rows_of
from PDFFMapperLib.ute.shaft import beside_cavity

MMF, T2M, EXCHANGE, T2W, R1, B1 = range(1, 7)  # places of the parameters; the amplitude is first
LIMITS = ((0.02, 0.95), (3.0, 60.0), (0.3, 300.0), (0.02, 30.0), (0.1, 100.0), (0.5, 1.6))
_STARTS = ((0.5, 15.0, 10.0, 0.5), (0.25, 10.0, 25.0, 3.0))
_STEP = 1e-4  # of a parameter, for its slope
MOST_FAR = 0.05  # of a region's voxels that may lie too far from resonance
WIDE = 4.0  # an interval of exchange that spans such a factor tells nothing
FAR_OUT = (
    "{count} voxels of the bone lie "
    + f"{MOST_B0_HZ:g} Hz and more from resonance and were left out."
)
FAT_UNKNOWN = (
    "Marrow fat has no MT and its share was not stated (fat_percent), so it is taken for none: "
    "keep voxels next to the endosteum out of the region."
)
FAT_LEFT_OUT = (
    "Marrow fat has no MT and its share was not stated (fat_percent): {count} voxels within two of "
    "the marrow cavity were left out."
)
_NODES = np.array([-1.0, 1.0])  # in SDs: two of equal weight have the mean and SD of all


@dataclass(frozen=True)
class MtFit:
    """Two pools of a region.

    Attributes:
        train: as the region sees it.
        fit: through the real train; see the places of its parameters above.
        closed: by the closed form.
        rows: MMF, T2m, exchange, MMF by the closed form.
        notes: what to read with them.
        inside: voxels that were fitted.
    """

    train: Train
    fit: RegionFit
    closed: RegionFit
    rows: list[RegionValue]
    notes: list[str]
    inside: np.ndarray


def mt_model(
    train: Train,
    b1_spread: float = 0.0,
    fat: float = 0.0,
    signals: Callable[..., np.ndarray] = train_signals,
) -> Model:
    """Signals of (amplitude, MMF, T2m in us, exchange in 1/s, T2w in ms, R1 in 1/s, B1).

    Args:
        train: the protocol; its last image may be one without a pulse.
        b1_spread: relative SD of B1 in the region.
        fat: share of fat in the signal without MT.
        signals: `train_signals` or `ramani`.
    """
    held: list[tuple[tuple[float, ...], np.ndarray, np.ndarray]] = []

    def both(parameters: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        key = tuple(parameters)
        if not held or held[0][0] != key:
            amplitude, *rest = parameters
            steps = _STEP * np.array(rest)
            found = shown(
                np.vstack([rest, np.array(rest) + np.diag(steps)]), train, b1_spread, fat, signals
            )
            slopes = [found[0], *(amplitude * (found[1:] - found[0]) / steps[:, None])]
            held[:] = [(key, amplitude * found[0], np.stack(slopes, axis=-1))]
        return held[0][1:]

    return Model(
        lambda parameters, _: both(parameters)[0],
        lambda parameters, _: both(parameters)[1],
        LIMITS,
        (),
    )


def shown(
    rows: np.ndarray,
    train: Train,
    b1_spread: float = 0.0,
    fat: float = 0.0,
    signals: Callable[..., np.ndarray] = train_signals,
) -> np.ndarray:
    """Signals of an amplitude of 1, shape (P, C), of P rows of `mt_model`'s other parameters."""
    if fat:
        found = shown(rows, _with_plain(train), b1_spread, 0.0, signals)
        return (1 - fat) * found[:, :-1] / found[:, -1:] + fat
    if b1_spread <= 0.005:
        return signals(train, TwoPools(*rows.T))
    *others, b1 = rows.T
    each = [signals(train, TwoPools(*others, b1 * (1 + b1_spread * z))) for z in _NODES]
    return np.mean(each, axis=0)


def _with_plain(train: Train) -> Train:
    """The protocol with an image without MT behind it."""
    return Train(
        **{
            **vars(train),
            "flips_deg": np.append(train.flips_deg, 0.0),
            "offsets_hz": np.append(train.offsets_hz, train.offsets_hz.max()),
        }
    )


def fit_two_pools(
    signals: Sequence[RegionSignal],
    model: Model,
    r1: tuple[float, float],
    b1: tuple[float, float],
) -> RegionFit:
    """Fit a region; R1 and B1 with their SDs are Gaussian constraints, known where it is 0."""
    stated = {R1: r1, B1: b1}
    known = {n: mean for n, (mean, sd) in stated.items() if sd == 0}
    priors = {n: one for n, one in stated.items() if one[1] > 0}
    starts = tuple((*one, r1[0], b1[0]) for one in _STARTS)
    limits = list(model.limits)
    # Pools that exchange more slowly than they recover have no such slow rate.
    limits[R1 - 1] = max(r1[0] - 4 * r1[1], 0.05), r1[0] + 4 * r1[1]
    limits[EXCHANGE - 1] = limits[R1 - 1][1], limits[EXCHANGE - 1][1]
    model = Model(model.signal, model.gradient, tuple(limits), starts)
    return RegionFit(signals, np.arange(len(signals)), model, known, priors)


def near_resonance(b0_map: np.ndarray) -> np.ndarray:
    """Voxels whose B0 is known and leaves the MT offsets on their side of resonance."""
    return np.abs(b0_map) < MOST_B0_HZ  # not where it is NaN


def macromolecules(data: MtImages, inside: np.ndarray) -> MtFit:
    """Macromolecular fraction, T2 of macromolecules and exchange of a region.

    Raises:
        ValueError: as `regions.region_signals`; no voxel has a B1 or B0, or B0 is no map in Hz; the
            share of fat is not stated and all voxels lie beside the marrow; the data leave the
            fraction open by more than 15 points.
    """
    inside, fat_note = _without_marrow(data, inside)
    if data.b1_map is not None:
        inside = inside & np.isfinite(data.b1_map)
        if not inside.any():
            raise ValueError("no voxel of it has a value in the map of B1+")
    b0, left_out = 0.0, []
    if data.b0_map is not None:
        known = inside & np.isfinite(data.b0_map)
        if not known.any():
            raise ValueError("no voxel of it has a value in the map of B0")
        inside = known & near_resonance(data.b0_map)
        far = int(known.sum() - inside.sum())
        if far > MOST_FAR * known.sum():
            raise ValueError(
                f"a map of B0 is expected in Hz, within {MOST_B0_HZ:g} Hz of resonance; "
                f"{100 * far / known.sum():.0f} % of its voxels lie farther, the farthest at "
                f"{np.abs(data.b0_map[known]).max():.4g}"
            )
        if far:
            left_out = [FAR_OUT.format(count=far)]
        b0 = float(data.b0_map[inside].mean())
    (b1, b1_sd), spread = data.b1, 0.0
    if data.b1_map is not None:
        held = data.b1_map[inside]
        b1, spread = float(held.mean()), float(held.std() / held.mean())
    signals = region_signals(data.images, inside)
    fat = data.fat or 0.0
    train = data.train.seen_from(b0)
    fit = fit_two_pools(signals, mt_model(train, spread, fat), data.r1, (b1, b1_sd))
    closed = mt_model(train, spread, fat, ramani)
    closed = fit_two_pools(signals, closed, (data.r1[0], 0.0), (b1, 0.0))
    refuse_open(
        fit.sds[MMF] * 100,
        "images leave its macromolecular fraction open",
        "more signal, powers, offsets, or a better T1 and B1+ help",
    )
    rows = rows_of(
        (
            ("MMF", fit.component(MMF, 100), "%"),
            ("T2 of macromolecules", fit.component(T2M), "us"),
            ("exchange", fit.component(EXCHANGE), "1/s"),
        )
    )
    rows[2] = _exchange(rows[2], fit.found)
    rows += rows_of((("MMF, closed form", closed.component(MMF, 100), "%"),))
    away = rows[-1].value - rows[0].value
    notes = [
        *left_out,
        f"Two pools through the real train of pulses, {data.train.line_shape} line; the closed "
        f"form of continuous waves reads an MMF of {rows[-1].value:.3g} %, {away:+.2g} points.",
    ]
    return MtFit(train, fit, closed, rows, notes + fat_note, inside)


def _without_marrow(data: MtImages, inside: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The voxels that hold no marrow fat, where its share is not stated, and what to say of it."""
    if data.fat is not None:
        return inside, []
    beside = beside_cavity(inside, data.images.grid)
    if not beside.any():
        return inside, [FAT_UNKNOWN]
    if beside[inside].all():
        raise ValueError(
            "all of it lies within two voxels of the marrow cavity, where fat without MT is mixed "
            "in; state its share (fat_percent, 0 for none)"
        )
    return inside & ~beside, [FAT_LEFT_OUT.format(count=int(beside.sum()))]


def _exchange(row: RegionValue, found: np.ndarray) -> RegionValue:
    """The rate from macromolecules to water, without a value where its interval tells none."""
    back = rates_of(found[MMF], found[EXCHANGE], found[R1])[1]
    if row.upper >= WIDE * row.lower:
        note = "not determined: its interval spans a factor of 4 or more"
        return RegionValue(row.quantity, np.nan, row.lower, row.upper, row.unit, note=note)
    note = f"from macromolecules to water; back {back:.3g} 1/s"
    return RegionValue(row.quantity, row.value, row.lower, row.upper, row.unit, row.bound_sd, note)
