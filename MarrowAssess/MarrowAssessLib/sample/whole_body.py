"""Whole-body diffusion of the digital spine: two table positions that overlap, with known truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PDFFMapperLib.diffusion.series import DiffusionSeries
from PDFFMapperLib.diffusion.stations import Joined, Station, join, station
from PDFFMapperLib.images.volume import Volume

B_VALUES = (50.0, 900.0)  # s/mm^2
TE_MS = 90.0
GAIN = 1.3  # of the upper station over the lower one
SHARED = 0.15  # of the slices, that both stations hold


class Tissue(Protocol):
    """What diffusion images show of a tissue; see `phantom.Tissue`."""

    density: float
    pdff: float
    t2_ms: float
    d: float
    dstar: float
    f: float


def signal(tissue: Tissue) -> np.ndarray:
    """Fat-suppressed signal at both b-values, 1 for free water."""
    b = np.array(B_VALUES) / 1000
    decay = tissue.f * np.exp(-b * tissue.dstar) + (1 - tissue.f) * np.exp(-b * tissue.d)
    return tissue.density * (1 - tissue.pdff) * np.exp(-TE_MS / tissue.t2_ms) * decay


def true_adc(tissue: Tissue) -> float:
    """ADC between the two b-values without noise, 10^-3 mm^2/s."""
    low, high = signal(tissue)
    return 1000 * float(np.log(low / high)) / (B_VALUES[1] - B_VALUES[0])


def stations(
    drawing: Volume, tissues: Sequence[Tissue], noise_sd: float, seed: int
) -> list[Station]:
    """Two stations of axial slices, the lower one first.

    Args:
        drawing: index of the tissue of every voxel, sagittal, its rows going down.
        tissues: by that index.
        noise_sd: of the complex signal, as a share of free water's.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed + 500)
    axial = drawing.array.transpose(1, 0, 2)[::-1]  # from the feet up
    seen = np.array([signal(one) for one in tissues], np.float32)[axial]
    ijk_to_ras = drawing.ijk_to_ras[:, [0, 2, 1, 3]].copy()  # along i, k and j of the drawing
    ijk_to_ras[:3, 3] = drawing.to_ras(np.array([0, len(axial) - 1, 0]))
    ijk_to_ras[:3, 2] *= -1
    middle, shared = len(axial) // 2, round(SHARED * len(axial) / 2)
    made = []
    for part, gain in ((slice(0, middle + shared), 1.0), (slice(middle - shared, None), GAIN)):
        noise = noise_sd * rng.standard_normal((2, *seen[part].shape), np.float32)
        measured = 1000 * gain * np.hypot(seen[part] + noise[0], noise[1])
        grid = ijk_to_ras.copy()
        grid[:3, 3] += part.start * grid[:3, 2]
        like = Volume(measured[..., 0], grid, "station", {"Modality": "MR"})
        mask = measured[..., 0] > 3000 * noise_sd
        b_values, once = np.array(B_VALUES), np.ones(2)
        made.append(station(DiffusionSeries(measured, b_values, once, like, mask=mask)))
    return made


def whole_body(drawing: Volume, tissues: Sequence[Tissue], noise_sd: float, seed: int) -> Joined:
    """The stations joined, on the grid of the drawing; see `stations`."""
    made = join(stations(drawing, tissues, noise_sd, seed))
    for name in ("adc", "low", "high"):
        setattr(made, name, getattr(made, name).in_order_of(drawing))
    return made
