"""Maps of bone at ultrashort echo times. NaN where not to be trusted, reasons beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.maps.progress import Progress, tell
from PDFFMapperLib.ute.answer import RegionValue
from PDFFMapperLib.ute.bone import (
    ENDOSTEUM,
    cortex_values,
    points_of,
    ring_components,
    slice_values,
)
from PDFFMapperLib.ute.bone_maps import (
    FLOOR,
    bone_of,
    doubt_of,
    drawn_of,
    facts_of,
    maps_of,
    region_of,
    tell_region,
)
from PDFFMapperLib.ute.components import BiComponent, known_t2star_sd
from PDFFMapperLib.ute.cortex import find_cortex
from PDFFMapperLib.ute.cortex_budget import cortex_budget
from PDFFMapperLib.ute.echoes import (
    UteImages,
    bone_echo,
    check_component_echoes,
    cortex_echoes,
    echo_series,
    outer_echoes,
    porosity_echoes,
    ute_pair,
    ute_series,
    without_floor,
)
from PDFFMapperLib.ute.region_signal import bessels, information_of
from PDFFMapperLib.ute.regions import (
    bi_component,
    echo_ratio,
    high_field_note,
    porosity_index,
    suppression_ratio,
    transfer_ratio,
)
from PDFFMapperLib.ute.steady_state import pools_of

VOXELS = "Voxel ratios scatter and are for looking; a region's number is that of all its signal."
NO_BONE = (
    "The map is of all voxels, as no bone is given for it: numbers are those of bone that is drawn "
    "(--mask) or of a shaft's cortex that is found (--method cortex)."
)
_STEPS, _LEAST_INFORMATION = 10, 0.5  # of the fit of a voxel's amplitudes
_CHUNK = 2000  # voxels
Measure = Callable[[UteImages, np.ndarray], list[RegionValue]]


def of_porosity(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None = None
) -> list[ParametricMap]:
    """PI of voxels.

    Raises:
        ValueError: as `ute_series` and `porosity_echoes`.
    """
    data = ute_series(images, settings)
    return _later_over_early("PI", data, settings, porosity_echoes(data.te_ms), porosity_index)


def of_echo_ratio(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None = None
) -> list[ParametricMap]:
    """The last echo over the first one, of voxels.

    Raises:
        ValueError: as `echo_series` and `outer_echoes`.
    """
    data = echo_series(images, settings)
    return _later_over_early("echo_ratio", data, settings, outer_echoes(data.te_ms), echo_ratio)


def of_suppression(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None = None
) -> list[ParametricMap]:
    """SR of voxels.

    Raises:
        ValueError: as `ute_pair`.
    """
    data = ute_pair(images, settings)
    return _ratio_maps("SR", data, settings, (0, 1), suppression_ratio, lambda a, b: a / b)


def of_transfer(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None = None
) -> list[ParametricMap]:
    """MTR of voxels.

    Raises:
        ValueError: as `ute_pair`.
    """
    data = ute_pair(images, settings)
    lost = (0, 1), transfer_ratio, lambda off, on: 100 * (1 - on / off)
    return _ratio_maps("MTR", data, settings, *lost)


def of_components(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None = None
) -> list[ParametricMap]:
    """Bound fraction of voxels, with the T2* of all bone and drawn towards its fraction.

    Raises:
        ValueError: as `ute_series`, `check_component_echoes` and `regions.bi_component`.
        InterruptedError: canceled.
    """
    data = ute_series(images, settings)
    check_component_echoes(data.te_ms)
    inside, notes = bone_of(data, settings, bone_echo(data.te_ms))
    doubt = doubt_of(data, inside, without_floor(data, 0))
    pools = pools_of(settings, images[0])
    try:
        fit, rows = bi_component(data, doubt == 0, pools)
    except ValueError as error:
        raise ValueError(f"The mapped bone: {error}.") from None
    fraction, sd, kept = _voxels(data, doubt == 0, fit, progress)
    notes.append(
        f"Voxels hold T2* of all bone, {fit.t2star_bound_ms.value:.2g} and "
        f"{fit.t2star_pore_ms.value:.2g} ms, and {100 * kept:.0f} % of their own deviation from "
        f"its fraction; noise explains the rest."
    )
    facts = facts_of(data, notes + high_field_note(data.field_t))
    tell_region(facts, "All bone", rows)
    facts["cramer_rao_sd"] = {one.quantity: one.bound_sd for one in rows}
    return maps_of(data, {"bound_fraction": fraction, "bound_fraction_SD": sd}, doubt, facts)


def of_cortex(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None = None
) -> list[ParametricMap]:
    """Share of cortex of voxels, and PI of those that are cortex alone where echoes tell it.

    Raises:
        ValueError: as `ute_series`, `porosity_echoes` and `find_cortex`.
    """
    data = ute_series(images, settings)
    drawn = drawn_of(data, settings)
    cortex = find_cortex(data, settings.psf, points_of(settings.point), drawn)
    rows, more = cortex_values(cortex, data), []
    rows += cortex_budget(cortex, data, settings.psf)
    if len(data.te_ms) > 2:
        try:
            rows += ring_components(cortex, data)
            more = high_field_note(data.field_t)
        except ValueError as error:
            more = [f"Two components of the fitted ring: {str(error).rstrip('.')}."]
    signal = [without_floor(data, n) for n in cortex_echoes(data.te_ms)]
    doubt = doubt_of(data, cortex.bone, signal[0])
    arrays = {"cortex_share": signal[0]}  # in whose memory the share is put below
    if len(signal) > 1:
        doubt[(doubt == 0) & ~(signal[1] > 0)] |= FLOOR
        with np.errstate(divide="ignore", invalid="ignore"):
            arrays["PI"] = _percent(*signal)
        more.append(VOXELS)
    facts = facts_of(data, [*cortex.notes, ENDOSTEUM, *more])
    tell_region(facts, "Cortex", rows)
    facts["slices"] = slice_values(cortex)
    maps = maps_of(data, arrays, doubt, facts)
    np.multiply(cortex.share, 100, out=maps[0].volume.array)
    maps[0].volume.array[cortex.share <= 0.005] = np.nan
    return maps


def _percent(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """A ratio in the place of what lies above, which nothing needs any more."""
    above /= below
    above *= 100
    return above


def _later_over_early(
    kind: str,
    data: UteImages,
    settings: SimpleNamespace,
    echoes: tuple[int, int],
    measure: Measure,
) -> list[ParametricMap]:
    maps = _ratio_maps(kind, data, settings, echoes, measure, _percent)
    for one in maps:
        one.provenance["second_echo_ms"] = round(float(data.te_ms[echoes[1]]), 4)
    return maps


def _ratio_maps(
    kind: str,
    data: UteImages,
    settings: SimpleNamespace,
    which: tuple[int, int],
    measure: Measure,
    ratio: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> list[ParametricMap]:
    """A ratio of two images' voxels, and of the bone where it is given; this first, as it takes
    memory of its own."""
    inside = region_of(data, settings)
    facts = facts_of(data, [VOXELS])
    if settings.mask is None:
        facts["notes"].append(NO_BONE)
    else:
        try:
            tell_region(facts, "All bone", measure(data, inside))
        except ValueError as error:
            facts["notes"].append(f"The bone has no number: {error}.")
    strong, weak = (without_floor(data, n) for n in which)
    doubt = doubt_of(data, inside, strong)
    doubt[(doubt == 0) & ~(weak > 0)] |= FLOOR
    with np.errstate(divide="ignore", invalid="ignore"):
        values = ratio(strong, weak)
    del strong, weak
    return maps_of(data, {kind: values}, doubt, facts)


def _voxels(
    data: UteImages, inside: np.ndarray, fit: BiComponent, progress: Progress | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Bound fraction and its SD in percent, and which share of a voxel's own deviation was kept."""
    sigma, te_ms = data.noise.sigma, data.te_ms
    t2stars = fit.t2star_bound_ms.value, fit.t2star_pore_ms.value
    basis = np.exp(-te_ms[:, None] / np.array(t2stars))
    held = data.signal[:, inside]
    own = np.empty(held.shape[1])
    total = np.empty(held.shape[1])
    for start in range(0, held.shape[1], _CHUNK):
        tell(progress, start / held.shape[1])
        here = slice(start, start + _CHUNK)
        bound, pore = amplitudes(held[:, here] / float(sigma), basis, data.noise.coils)
        total[here] = bound + pore
        own[here] = bound / total[here]
    region = fit.bound_percent.value / 100
    noise = _own_variance(total, region, t2stars, te_ms, data.noise.coils)
    spread = max(float(np.mean((own - region) ** 2 - noise)), 0.0)
    kept = spread / (spread + noise)
    common = (fit.bound_percent.upper - fit.bound_percent.lower) / 3.92 / 100
    fraction = np.full(inside.shape, np.nan, np.float32)
    sd = fraction.copy()
    fraction[inside] = 100 * (region + kept * (own - region))
    sd[inside] = 100 * np.sqrt(kept * noise + common**2)
    return fraction, sd, float(kept.mean())


def amplitudes(held: np.ndarray, basis: np.ndarray, coils: int = 1) -> np.ndarray:
    """Both amplitudes of voxels by maximum likelihood under noise of SD 1 of some receivers.

    Fisher scoring; an echo of noise alone keeps half of the weight of one without, since steps as
    long as its information tells would go too far.

    Args:
        held: magnitudes, shape (echoes, voxels).
        basis: decay of each component, shape (echoes, 2).

    Returns:
        Shape (2, voxels).
    """
    root = np.sqrt(np.maximum(held**2 - 2 * coils, 0.01))
    found = np.einsum("ck,kv->cv", np.linalg.pinv(basis), root)
    short, long = basis.T
    products = np.stack([short * short, short * long, long * long])
    for _ in range(_STEPS):
        nu = np.maximum(np.einsum("kc,cv->kv", basis, found), 0)
        score = np.einsum("kc,kv->cv", basis, held * bessels(held * nu, coils)[1] - nu)
        weight = np.maximum(information_of(nu, coils), _LEAST_INFORMATION)
        one, both, other = np.einsum("pk,kv->pv", products, weight)
        whole = one * other - both * both
        found[0] += (other * score[0] - both * score[1]) / whole
        found[1] += (one * score[1] - both * score[0]) / whole
    return found


def _own_variance(
    total: np.ndarray, fraction: float, t2stars: tuple[float, float], te_ms: np.ndarray, coils: int
) -> np.ndarray:
    """Least variance of a voxel's fraction with T2* known, by its signal; by a table."""
    low, high = np.log(max(float(np.min(total)), 1.0)), np.log(float(np.max(total)) + 1)
    nodes = np.linspace(low, high, 40)
    sds = [known_t2star_sd((np.exp(n), fraction, *t2stars), te_ms, coils) for n in nodes]
    return np.interp(np.log(np.maximum(total, 1.0)), nodes, np.square(sds))
