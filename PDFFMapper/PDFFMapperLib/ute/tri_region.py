"""Three components of a region, by its complex signals where the images tell them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from PDFFMapperLib.ute.answer import RegionValue
from PDFFMapperLib.ute.echoes import UteImages, check_three_components
from PDFFMapperLib.ute.regions import refuse_open, region_signals, rows_of
from PDFFMapperLib.ute.tri_component import TriComponent, fit_tri_component
from PDFFMapperLib.ute.tri_phase import TOLD, fit_phased_components


def tri_component(
    images: UteImages,
    inside: np.ndarray,
    t2star_pore_ms: float | None = None,
    t2star_fat_ms: float | None = None,
) -> tuple[TriComponent, list[RegionValue]]:
    """Three components of a region, and their rows.

    Raises:
        ValueError: as `check_three_components` and `region_signals`; phases do not tell fat from
            water; the data leave the bound share open by more than 15 points.
    """
    phased = images.phased is not None
    check_three_components(images.te_ms, images.field_t, phased)
    signals, stated = region_signals(images, inside), (t2star_pore_ms, t2star_fat_ms)
    if phased:
        held = images.phased[:, inside]
        held = held[:, np.isfinite(held).all(axis=0)]
        noise, te_ms = images.noise, images.te_ms
        fit, told = fit_phased_components(
            held, te_ms, images.field_t, noise.sigma, noise.share, *stated
        )
        if told < TOLD:
            raise ValueError(
                "its phases do not tell on which side of water its fat lies; give the magnitudes "
                "alone"
            )
    else:
        fit = fit_tri_component(signals, images.te_ms, images.field_t, *stated)
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
    rows[0] = replace(rows[0], note="of complex signals" if phased else "of magnitudes")
    return fit, rows
