"""What moves a fitted cortex besides noise: the blur that is assumed, and echoes that lie apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from PDFFMapperLib.ute.answer import RegionValue
from PDFFMapperLib.ute.cortex import Cortex, facts_of_rings, pair_of, ring_across
from PDFFMapperLib.ute.echoes import UteImages
from PDFFMapperLib.ute.motion import Motion, carried
from PDFFMapperLib.ute.ring import Ring
from PDFFMapperLib.ute.ring_levels import ratio_of_levels

BLUR = 0.05  # by which it is moved to show what it does
APART_VOXELS = 0.1  # within which a shift of the limb is found
_MOST_SLICES = 3  # that are fitted again


def cortex_budget(cortex: Cortex, data: UteImages, psf_voxels: float) -> list[RegionValue]:
    """Errors of thickness (mm) and PI of the ring (points), each by one cause alone.

    Noise and the model of the edges are in the intervals; blur and registration are not. The slices
    first, last and between are fitted again for the last two; a cause has no row where a fit tells
    no ring, nor where there is no later echo.
    """
    keys = list(cortex.rings)
    chosen = sorted({keys[round(n)] for n in np.linspace(0, len(keys) - 1, _MOST_SLICES)})
    sections, facts = cortex.sections, facts_of_rings(data)
    pair = pair_of(data, sections.axis)

    def refitted(blur: float, shift: tuple[float, float]) -> list[Ring]:
        images = shifted(shift) if any(shift) else pair
        rings = []
        for k in chosen:
            was = cortex.rings[k]
            at = was.curve, was.mean_thickness()[0], blur * psf_voxels, facts
            ring = ring_across(sections, images, k, *at).finer()
            rings.append(replace(ring, upright=was.upright))
        return rings

    def shifted(shift: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """Both echoes, the later moved by voxels of rows and columns in slices that are fitted."""
        slices = np.unique(np.concatenate([sections.voxels(k)[0] for k in chosen]))
        motion = Motion(np.array([0.0, *shift]), np.zeros(3), max(shift), 0.0)
        moved = pair[1].copy()
        moved[slices] = carried(pair[1, slices], motion, sections.mm)
        return pair[0], moved

    def again(blur: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        """Mean thickness and PI, less those of the cortex as it is; NaN where there is no ring."""
        try:
            return _thickness_and_pi(refitted(blur, shift)) - usual
        except ValueError:
            return np.full(2, np.nan)

    usual = _thickness_and_pi([cortex.rings[k] for k in chosen])
    by_blur, apart = again(1 + BLUR), np.full(2, np.nan)
    if len(pair) > 1:
        shifts = np.array([again(shift=one) for one in ((APART_VOXELS, 0), (0, APART_VOXELS))])
        apart = np.sqrt(np.mean(shifts**2, axis=0))
    noise = np.sqrt(max(cortex.thickness_mm()[1] ** 2 - cortex.model_sd_mm**2, 0.0))
    thickness, pi = "budget: thickness", "budget: PI of the fitted ring"
    rows = (
        (f"{thickness}, noise (SD)", noise, "mm"),
        (f"{thickness}, model of the edges (SD)", cortex.model_sd_mm, "mm"),
        (f"{thickness}, blur +{100 * BLUR:g} %", by_blur[0], "mm"),
        (f"{thickness}, later echo {APART_VOXELS:g} voxel off", apart[0], "mm"),
        (f"{pi}, blur +{100 * BLUR:g} %", by_blur[1], "%"),
        (f"{pi}, later echo {APART_VOXELS:g} voxel off", apart[1], "%"),
    )
    return [
        RegionValue(name, *3 * (float(value),), unit)
        for name, value, unit in rows
        if np.isfinite(value)
    ]


def _thickness_and_pi(rings: list[Ring]) -> np.ndarray:
    """Means of rings; PI is NaN where one image told them."""
    thickness = np.mean([ring.mean_thickness()[0] for ring in rings])
    one_image = len(rings[0].levels) == 1
    pi = np.nan if one_image else ratio_of_levels([ring.told for ring in rings]).value
    return np.array([thickness, 100 * pi])
