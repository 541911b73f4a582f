"""Three components of a region, by its complex signals where the images tell them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from PDFFMapperLib.ute.answer import RegionValue
from PDFFMapperLib.ute.echoes import LEAST_THREE_ECHOES, UteImages, check_three_components
from PDFFMapperLib.ute.regions import refuse_open, region_signals, rows_of
from PDFFMapperLib.ute.tri_component import TriComponent, fit_tri_component
from PDFFMapperLib.ute.tri_phase import FARTHEST_HZ, LEAST_VOXEL_SNR, fit_phased_components


def tri_component(
    images: UteImages,
    inside: np.ndarray,
    t2star_pore_ms: float | None = None,
    t2star_fat_ms: float | None = None,
) -> tuple[TriComponent, list[RegionValue]]:
    """Three components of a region, and their rows.

    Complex signals are fitted with their phases where these can be trusted, else their magnitudes;
    the first row's note tells which, and why.

    Raises:
        ValueError: as `check_three_components` and `region_signals`; the data leave the bound
            share open by more than 15 points.
    """
    phased = images.phased is not None
    check_three_components(images.te_ms, images.field_t, phased)
    signals, stated = region_signals(images, inside), (t2star_pore_ms, t2star_fat_ms)
    fit, note = _by_phases(images, inside, signals[0].snr, stated) if phased else (None, "")
    if fit is None:
        if len(images.te_ms) < LEAST_THREE_ECHOES:
            raise ValueError(
                f"{note}, and without phases three components need seven echo times; "
                f"{len(images.te_ms)} were given"
            )
        fit = fit_tri_component(signals, images.te_ms, images.field_t, *stated)
        note = f"of magnitudes, since {note}" if note else "of magnitudes"
    refuse_open(
        fit.bound_percent.bound_sd,
        "echoes leave its three components open",
        "state T2* of pore water and fat, or give more signal, voxels or echoes",
    )
    rows = rows_of(
        (
            ("bound_fraction", fit.bound_percent, "%"),
            ("pore_fraction", fit.pore_percent, "%"),
            ("bone_fat", fit.fat_percent, "%"),
            ("T2star_bound", fit.t2star_bound_ms, "ms"),
            ("T2star_pore", fit.t2star_pore_ms, "ms"),
            ("T2star_fat", fit.t2star_fat_ms, "ms"),
        )
    )
    rows[0] = replace(rows[0], note=note)
    return fit, rows


def _by_phases(
    images: UteImages,
    inside: np.ndarray,
    snr: float,
    stated: tuple[float | None, float | None],
) -> tuple[TriComponent | None, str]:
    """The fit of complex signals and what is said of it; None and the reason where none counts."""
    if snr < LEAST_VOXEL_SNR:
        return None, (
            f"its first echo is {snr:.0f} times the noise of a voxel; phases need "
            f"{LEAST_VOXEL_SNR:g}"
        )
    held = images.phased[:, inside]
    held = held[:, np.isfinite(held).all(axis=0)]
    noise = images.noise
    found = fit_phased_components(
        held, images.te_ms, images.field_t, noise.sigma, noise.share, *stated
    )
    if found.doubt:
        return None, found.doubt
    sense = "against" if found.reversed else "with"
    left = round((1 - found.kept) * held.shape[1])
    out = f", {left} voxels over {FARTHEST_HZ:g} Hz off left out" if left else ""
    return found.fit, f"of complex signals, phases turning {sense} the field{out}"
