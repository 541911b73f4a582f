"""Maps of bound water, pore water and fat: voxels with all bone's T2*, drawn towards its shares."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.maps.progress import Progress
from PDFFMapperLib.ute.bone_maps import bone_of, doubt_of, facts_of, maps_of, tell_region
from PDFFMapperLib.ute.echoes import (
    UteImages,
    bone_echo,
    check_three_components,
    phased_series,
    without_floor,
)
from PDFFMapperLib.ute.region_signal import information_of
from PDFFMapperLib.ute.regions import high_field_note
from PDFFMapperLib.ute.tri_component import TriComponent, three_components
from PDFFMapperLib.ute.tri_region import tri_component

_CHUNK = 2000  # voxels


def of_three(
    images: Sequence[Volume], settings: SimpleNamespace, progress: Progress | None = None
) -> list[ParametricMap]:
    """Bound-water, pore-water and fat share of voxels.

    Raises:
        ValueError: as `phased_series`, `check_three_components` and `tri_region.tri_component`.
    """
    data = phased_series(images, settings)
    check_three_components(data.te_ms, data.field_t, data.phased is not None)
    inside, notes = bone_of(data, settings, bone_echo(data.te_ms))
    doubt = doubt_of(data, inside, without_floor(data, 0))
    known = settings.t2star_pore, settings.t2star_fat
    try:
        fit, rows = tri_component(data, doubt == 0, *known)
    except ValueError as error:
        raise ValueError(f"The mapped bone: {error}.") from None
    bound, fat, kept = _voxels(data, doubt == 0, fit)
    notes.append(
        f"Voxels hold T2* of all bone and {100 * kept:.0f} % of their own deviation from its "
        "shares, told to first order; noise explains the rest."
    )
    if data.phased is not None:
        notes.append("Voxels are of magnitudes, whatever the whole bone is fitted with.")
    facts = facts_of(data, notes + high_field_note(data.field_t))
    tell_region(facts, "All bone", rows)
    facts["cramer_rao_sd"] = {one.quantity: one.bound_sd for one in rows}
    shares = {"bound_fraction": bound, "pore_fraction": 100 - bound - fat, "bone_fat": fat}
    return maps_of(data, shares, doubt, facts)


def _voxels(
    data: UteImages, inside: np.ndarray, fit: TriComponent
) -> tuple[np.ndarray, np.ndarray, float]:
    """Bound and fat share of voxels in percent, and how much of their own deviation was kept.

    To first order around the region's shares a signal is linear in amplitude and both shares times
    amplitude: one small matrix serves all voxels.
    """
    region = np.array([fit.bound_percent.value, fit.fat_percent.value]) / 100
    t2stars = [x.value for x in (fit.t2star_bound_ms, fit.t2star_pore_ms, fit.t2star_fat_ms)]
    gradient = three_components(data.field_t).gradient((1.0, *region, *t2stars), data.te_ms)[:, :3]
    sigma = data.noise.sigma
    weight = information_of(fit.amplitude / sigma * gradient[:, 0], data.noise.coils)
    spread = np.linalg.inv(gradient.T @ (weight[:, None] * gradient))
    held = np.stack([without_floor(data, n)[inside] for n in range(len(data.te_ms))])
    found = np.einsum("pk,kv->pv", spread @ (gradient.T * weight), held)
    del held
    amplitude, own = np.maximum(found[0], sigma), found[1:]
    own /= amplitude
    variance = (sigma / amplitude) ** 2
    prior = own @ own.T / own.shape[1] - variance.mean() * spread[1:, 1:]
    values, vectors = np.linalg.eigh(prior)
    prior = (vectors * np.maximum(values, 0)) @ vectors.T
    kept = 0.0
    for start in range(0, own.shape[1], _CHUNK):
        here = slice(start, start + _CHUNK)
        noise = np.multiply.outer(variance[here], spread[1:, 1:])
        gain = prior @ np.linalg.inv(prior + noise)
        own[:, here] = np.einsum("vab,bv->av", gain, own[:, here])
        kept += float(gain[:, 0, 0].sum())
    maps = np.full((2, *inside.shape), np.nan, np.float32)
    for one, share, shift in zip(maps, region, own, strict=True):
        one[inside] = 100 * (share + shift)
    return maps[0], maps[1], kept / own.shape[1]
