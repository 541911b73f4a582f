"""Region values of UTE: what counts, with intervals; voxels are for looking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from PDFFMapperLib.ute.answer import RegionValue
from PDFFMapperLib.ute.components import (
    TWO_COMPONENTS,
    BiComponent,
    Component,
    fit_bi_component,
)
from PDFFMapperLib.ute.echoes import (
    FIRST_USUAL_MS,
    LEAST_SNR,
    UteImages,
    bone_echo,
    outer_echoes,
    porosity_echoes,
)
from PDFFMapperLib.ute.region_signal import CHI2_95, Ratio, RegionSignal, ratio_of
from PDFFMapperLib.ute.steady_state import Pools

MOST_FRACTION_SD = 15.0  # points
PI_TES_MS = (2.2, 2.4)  # published cohorts use either
PORE_T2STAR_MS = (3.0, 1.5, 10.0)  # assumed where no later echo tells it: usual, least, most
NOISE_ALONE = "the late signal is not told from noise, so that only the upper end counts"
_HIGH_FIELD_T = 2.5
_DEEP, _LEAST_UNEVEN = 0.6, 0.1  # of a region's largest depth; of its ratio
_TRANSFERRED = -100.0, 100.0  # MTR by the ratio with MT pulse over without
_USUAL_BONE = (1.0, 0.78, 0.35, 3.0)  # signal, bound fraction, both T2* (ms)
HIGH_FIELD = (
    "At 3 T the short-T2* fraction follows porosity poorly: R2 with micro-CT 0.70 at 1.5 T, below "
    "0.5 at 3 T (Seifert 2015, doi 10.1002/nbm.3305)."
)


def region_signals(
    images: UteImages, inside: np.ndarray, which: Sequence[int] | None = None
) -> list[RegionSignal]:
    """The signals of a region in some or all images, of voxels that all of them have.

    Raises:
        ValueError: it holds no voxel, or its first signal is below five times the noise.
    """
    chosen = range(len(images.signal)) if which is None else which
    known = inside.copy()
    for n in chosen:
        known &= np.isfinite(images.signal[n])
    if not known.any():
        raise ValueError("the region holds no voxel with a value in all images")
    noise = images.noise
    signals = [
        RegionSignal(images.signal[n][known], noise.sigma, noise.share, noise.coils) for n in chosen
    ]
    if signals[0].snr < LEAST_SNR:
        raise ValueError(
            f"its signal at the first echo is {signals[0].snr:.1f} times the noise; 5 are needed"
        )
    return signals


def porosity_index(images: UteImages, inside: np.ndarray) -> list[RegionValue]:
    """PI of region signals, and what the same bone would give at TE 2.2 and 2.4 ms.

    Raises:
        ValueError: as `porosity_echoes` and `region_signals`.
    """
    first, late = porosity_echoes(images.te_ms)
    early, later = region_signals(images, inside, (first, late))
    ratio = ratio_of(later, early).times(100)
    te = images.te_ms[late]
    t2star, told = _late_t2star(images, inside, late, later)
    note = f"at TE {te:.3g} ms{first_echo_note(images.te_ms[0])}"
    if ratio.lower == 0:
        note += f"; {NOISE_ALONE}"
    inner = _uneven(images, inside, (late, first), ratio)
    note = _uneven_note(inner) + note
    rows = [
        RegionValue("PI", ratio.value, ratio.lower, ratio.upper, "%", note=note),
        RegionValue("PI per TE", *_ordered(ratio.times(-1 / t2star)), "%/ms", note=told),
    ]
    for other in PI_TES_MS:
        factor = float(np.exp(-(other - te) / t2star))
        name, note = f"PI at TE {other:g} ms", _uneven_note(inner, factor) + told
        rows.append(RegionValue(name, *_ordered(ratio.times(factor)), "%", note=note))
    return rows


def first_echo_note(te_ms: float) -> str:
    """How much higher a PI reads by a first echo that is later than published ones."""
    if te_ms <= FIRST_USUAL_MS:
        return ""
    usual, own = (TWO_COMPONENTS.signal(_USUAL_BONE, np.array([te]))[0] for te in (0.032, te_ms))
    return (
        f" over {te_ms:.3g} ms: about {usual / own:.2f} times as high as over 0.03 to "
        f"{FIRST_USUAL_MS:g} ms, as published ones are"
    )


def _ratio_in(images: UteImages, inside: np.ndarray, which: tuple[int, int]) -> Ratio:
    """The ratio of a region's signals in two images, the first of `which` over the second.

    Raises:
        ValueError: as `region_signals`; nothing is left of what is below.
    """
    signals = region_signals(images, inside, sorted(which))
    above, below = signals if which[0] < which[1] else signals[::-1]
    if below.deviance(0.0) < CHI2_95:
        raise ValueError("its signal after suppression is noise, so it has no ratio")
    return ratio_of(above, below)


def _uneven(
    images: UteImages,
    inside: np.ndarray,
    which: tuple[int, int],
    whole: Ratio,
    scale: tuple[float, float] = (100.0, 0.0),
) -> Ratio | None:
    """What the innermost voxels of a region tell, where that is another ratio than `whole`.

    `which`: images above and below; `scale`: factor and offset of what is told of both ratios.
    """
    try:
        ratio = _ratio_in(images, _innermost(inside), which).times(*scale)
    except ValueError:
        return None
    apart = abs(ratio.value - whole.value)
    met = ratio.lower <= whole.upper and whole.lower <= ratio.upper
    return None if met or apart < _LEAST_UNEVEN * abs(whole.value) else ratio


def _uneven_note(inner: Ratio | None, factor: float = 1.0) -> str:
    """What a region with other innermost voxels says first; ends in "; "."""
    if inner is None:
        return ""
    ratio = inner.times(factor)
    return (
        "the region holds other tissue, as at a rim that is drawn too far out, or bone that "
        f"differs: its innermost voxels alone read {ratio.value:.3g} ({ratio.lower:.3g} to "
        f"{ratio.upper:.3g}); "
    )


def _innermost(inside: np.ndarray) -> np.ndarray:
    """Voxels of a region that lie deep in it, within slices."""
    inner = np.zeros_like(inside)
    box = ndimage.find_objects(inside.astype(np.uint8))[0]
    part = inside[box]
    depth = np.empty(part.shape, np.float32)
    for one, deep in zip(part, depth, strict=True):
        deep[...] = ndimage.distance_transform_edt(np.pad(one, 1))[1:-1, 1:-1]
    inner[box] = depth > max(_DEEP * float(depth.max()), 1.0)
    return inner


def echo_ratio(images: UteImages, inside: np.ndarray) -> list[RegionValue]:
    """The last echo's signal over the first one's.

    Raises:
        ValueError: as `outer_echoes` and `region_signals`.
    """
    first, last = outer_echoes(images.te_ms)
    ratio = _ratio_in(images, inside, (last, first)).times(100)
    note = _uneven_note(_uneven(images, inside, (last, first), ratio))
    note += f"of TE {images.te_ms[last]:.3g} to {images.te_ms[first]:.3g} ms; no porosity index"
    return [RegionValue("echo_ratio", *_ordered(ratio), "%", note=note)]


def _ordered(ratio: Ratio) -> tuple[float, float, float]:
    return ratio.value, ratio.lower, ratio.upper


def _late_t2star(
    images: UteImages, inside: np.ndarray, late: int, later: RegionSignal
) -> tuple[float, str]:
    """T2* of what is left near TE 2.2 ms, in ms, and where it is from."""
    usual, least, most = PORE_T2STAR_MS
    if late + 1 < len(images.te_ms):
        held = images.signal[late + 1][inside]
        noise = images.noise
        last = RegionSignal(held[np.isfinite(held)], noise.sigma, noise.share, noise.coils)
        if 2 * last.sigma / last.independent**0.5 < last.value < later.value:
            apart = images.te_ms[late + 1] - images.te_ms[late]
            found = float(np.clip(apart / np.log(later.value / last.value), least, most))
            return found, f"T2* {found:.2g} ms of the echo after it"
    return usual, f"T2* {usual:g} ms assumed ({least:g} to {most:g} ms are usual)"


def bi_component(
    images: UteImages, inside: np.ndarray, pools: Pools | None = None
) -> tuple[BiComponent, list[RegionValue]]:
    """Two components of a region, and their rows; with `pools` the share of protons too.

    Raises:
        ValueError: as `region_signals`; the data leave the fraction open by more than 15 points.
    """
    fit = fit_bi_component(region_signals(images, inside), images.te_ms)
    refuse_open(
        fit.bound_percent.bound_sd,
        "echoes leave its bound fraction open",
        "more signal, voxels or echoes help",
    )
    rows = rows_of(
        (
            ("bound_fraction", fit.bound_percent, "%"),
            ("T2star_bound", fit.t2star_bound_ms, "ms"),
            ("T2star_pore", fit.t2star_pore_ms, "ms"),
        )
    )
    pair = bone_echo(images.te_ms), 0
    whole = _ratio_in(images, inside, pair).times(100)
    uneven = _uneven_note(_uneven(images, inside, pair, whole))
    if uneven:
        te = images.te_ms[pair[0]]
        note = f"{uneven}all {whole.value:.3g}, both in % of the first signal, at TE {te:.3g} ms"
        rows[0] = replace(rows[0], note=note)
    if pools is not None:
        times = fit.t2star_bound_ms.value, fit.t2star_pore_ms.value
        share = fit.bound_percent
        ends = [
            100 * pools.protons(min(max(one / 100, 0.0), 1.0), *times)
            for one in (share.value, share.lower, share.upper)
        ]
        note = f"T1 {pools.t1_bound_ms:g} and {pools.t1_pore_ms:g} ms, their error not in it"
        rows.append(RegionValue("bound_fraction of protons", *ends, "%", note=note))
    return fit, rows


def refuse_open(sd: float, what: str, hint: str) -> None:
    """Refuse a fraction that the data do not determine.

    Raises:
        ValueError: its least SD is above 15 points.
    """
    if not sd <= MOST_FRACTION_SD:
        raise ValueError(f"the {what} (SD {sd:.0f} points at best, 15 are allowed); {hint}")


def rows_of(components: Sequence[tuple[str, Component, str]]) -> list[RegionValue]:
    """The rows of fitted numbers, each with its name and unit."""
    return [
        RegionValue(name, one.value, one.lower, one.upper, unit, one.bound_sd)
        for name, one, unit in components
    ]


def suppression_ratio(images: UteImages, inside: np.ndarray) -> list[RegionValue]:
    """SR of region signals.

    Raises:
        ValueError: as `region_signals`; nothing is left after suppression.
    """
    ratio = _ratio_in(images, inside, (0, 1))
    note = _uneven_note(_uneven(images, inside, (0, 1), ratio, (1.0, 0.0))).removesuffix("; ")
    return [RegionValue("SR", *_ordered(ratio), "", note=note)]


def transfer_ratio(images: UteImages, inside: np.ndarray) -> list[RegionValue]:
    """MTR of region signals.

    Raises:
        ValueError: as `region_signals`.
    """
    ratio = _ratio_in(images, inside, (1, 0)).times(*_TRANSFERRED)
    note = _uneven_note(_uneven(images, inside, (1, 0), ratio, _TRANSFERRED)).removesuffix("; ")
    return [RegionValue("MTR", *_ordered(ratio), "%", note=note)]


def high_field_note(field_t: float | None) -> list[str]:
    """What stands under every two-component result of 3 T, or of an unknown field."""
    return [HIGH_FIELD] if field_t is None or field_t > _HIGH_FIELD_T else []
