"""The fat fraction of a spectrum beside a PDFF map in the same voxel, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PDFFMapperLib.images.attributes import number_of
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.spectroscopy.quality import times_of_noise
from PDFFMapperLib.spectroscopy.rows import NOT_FOR_T1
from PDFFMapperLib.water_fat.spectrum_choice import error_of

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.study.regions import Region, statistics

if TYPE_CHECKING:  # a study without spectra does not wait for it
    from PDFFMapperLib.spectroscopy.analysis import Analysis

LEAST_COVERED = 0.9  # of a spectrum's voxel, by voxels of the map that have a value
FEWEST = 10


class Beside(NamedTuple):
    """A sentence on both, and whether they lie further apart than their intervals explain."""

    text: str
    apart: bool


def beside_map(site: str, spectrum: Analysis, pdff: Volume) -> Beside | None:
    """A spectrum's fat fraction beside the mean of a map over its voxel.

    Both 95 % intervals are taken as of independent errors. The map's is that of a mean of
    independent voxels; what varies within the voxel, which both see, counts as their noise.

    Args:
        site: of the spectrum.
        spectrum: what was found.
        pdff: the map, in percent, in the same frame of the patient.

    Returns:
        None where the spectrum gives no fat fraction or does not tell where its voxel lies.
    """
    value = spectrum.get("pdff") or spectrum.get("signal_fat_fraction")
    if value is None or spectrum.voxel_ras is None:
        return None
    box = _box(site, spectrum.voxel_ras, pdff)
    whole = abs(np.linalg.det(spectrum.voxel_ras[:3, :3])) / pdff.voxel_volume_mm3
    known = int(np.isfinite(box.values(pdff.array)).sum())
    if known < max(FEWEST, LEAST_COVERED * whole):
        share = min(100 * known / whole, 100.0)
        return Beside(
            f"{site}: the PDFF map has values in {share:.0f} % of the spectrum's voxel, so the two "
            "are not compared.",
            False,
        )
    of_map = statistics(box, pdff.array, pdff.voxel_volume_mm3)
    half = 1.96 * of_map.sd / np.sqrt(of_map.voxels)
    off = of_map.mean - value.value
    side = value.ci95[1] - value.value if off > 0 else value.value - value.ci95[0]
    apart = abs(off) > np.hypot(half, side)
    said = (
        f"{site}: over the spectrum's voxel the PDFF map has {of_map.mean:.1f} % on average "
        f"({of_map.mean - half:.1f} to {of_map.mean + half:.1f}), the spectrum {value.value:.1f} % "
        f"({value.ci95[0]:.1f} to {value.ci95[1]:.1f})"
    )
    if not apart:
        return Beside(f"{said}: no further apart than both intervals explain.", False)
    reasons = "; ".join(_reasons(value.key, spectrum, pdff, of_map.mean))
    return Beside(
        f"{said}: {abs(off):.1f} points {'more' if off > 0 else 'less'}, further apart than both "
        f"intervals explain. What makes them differ: {reasons}.",
        True,
    )


def _box(site: str, voxel_ras: np.ndarray, pdff: Volume) -> Region:
    """The voxels of a map whose middles lie in a spectrum's voxel."""
    to_unit = np.linalg.inv(voxel_ras) @ pdff.ijk_to_ras
    corners = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3, indexing="ij")).reshape(3, -1)
    ijk = (np.linalg.inv(to_unit) @ np.vstack([corners, np.ones(8)]))[:3]
    last = np.array(pdff.array.shape)[::-1] - 1
    low = np.clip(np.ceil(ijk.min(axis=1)), 0, last + 1).astype(int)
    high = np.clip(np.floor(ijk.max(axis=1)), -1, last).astype(int)
    axes = [np.arange(a, b + 1) for a, b in zip(low[::-1], high[::-1], strict=True)]
    k, j, i = np.meshgrid(*axes, indexing="ij")
    unit = np.tensordot(to_unit[:3], np.stack([i, j, k, np.ones_like(i)]), axes=1)
    inside = np.all(np.abs(unit) <= 0.5, axis=0)
    return Region(f"voxel of the spectrum of {site}", Role.MARROW, site, inside, tuple(low[::-1]))


def _reasons(key: str, spectrum: Analysis, pdff: Volume, percent: float) -> list[str]:
    """What is known to make the two differ, as far as either tells it."""
    found = [_of_fat_spectrum(pdff, percent)]
    flip, repetition = (number_of(pdff.attributes, x) for x in ("FlipAngle", "RepetitionTime"))
    if flip and repetition:
        found.append(f"T1, by which {flip:g} degrees at TR {repetition:g} ms weight the map")
    series = spectrum.fitted.model.series
    if key == "signal_fat_fraction":
        times = ", ".join(f"{te:g}" for te in series.te_ms)
        found.append(f"T2, not corrected in the spectrum (TE {times} ms)")
    for said in spectrum.cautions:
        if said.startswith(NOT_FOR_T1):
            why = said.removeprefix(NOT_FOR_T1).split(", and water")[0]
            found.append(f"T1, not corrected in the spectrum ({why})")
    if spectrum.fitted.ratio > 1.5:
        times = times_of_noise(spectrum.fitted.ratio)
        found.append(f"the spectrum's fit, which leaves {times} times the noise")
    if spectrum.displacement is None:
        found.append(
            "the box of fat, which lies apart from water's by what its pulses' bandwidths tell"
        )
    return [*found, "the place, if the patient moved between both"]


def _of_fat_spectrum(pdff: Volume, percent: float) -> str:
    """What another fat spectrum than the map's would change."""
    used, errors = pdff.attributes.get("FatSpectrum"), error_of(pdff.attributes, percent)
    if used and errors:
        return (
            f"the map's fat spectrum ({used}), by which alone its PDFF may be "
            f"{-errors[1]:.1f} to {-errors[0]:.1f} points off"
        )
    return f"the map's fat spectrum ({used or 'not known'}), by which PDFF may be some points off"
