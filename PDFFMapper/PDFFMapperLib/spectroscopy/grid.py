"""Grids of voxels (MRSI) fitted voxel by voxel; each stands alone and nothing is reconstructed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from PDFFMapperLib.maps.progress import Progress, tell
from PDFFMapperLib.spectroscopy.analysis import Analysis
from PDFFMapperLib.spectroscopy.files import stated_spectra
from PDFFMapperLib.spectroscopy.nifti_mrs import is_nifti_name, read_nifti_grid
from PDFFMapperLib.spectroscopy.recipe import MRS
from PDFFMapperLib.spectroscopy.spectrum import Spectrum


@dataclass(frozen=True)
class GridVoxel:
    """One voxel: its index, where its middle lies (RAS mm; NaN where unknown), and what was found.

    `found` is None where nothing could be, for the `reason`.
    """

    index: tuple[int, int, int]
    ras: tuple[float, float, float]
    found: Analysis | None
    reason: str = ""


def read_voxel(
    path: Path, index: tuple[int, int, int], facts: Mapping[str, object]
) -> list[Spectrum]:
    """The spectra of one voxel of a NIfTI-MRS grid; `facts` are what the user states of it.

    Raises:
        ValueError: it is no NIfTI-MRS, or has no such voxel.
    """
    grid = _grid(path)
    if index not in grid:
        last = ", ".join(str(most) for most in max(grid))
        raise ValueError(
            f"{path.name}: there is no voxel {', '.join(map(str, index))}; the last one is {last}."
        )
    return stated_spectra(path, grid[index], facts)


def _grid(path: Path) -> dict[tuple[int, int, int], list[Spectrum]]:
    if not is_nifti_name(path):
        raise ValueError(
            f"{path.name}: a grid is read from NIfTI-MRS (.nii, .nii.gz); convert it with spec2nii."
        )
    return read_nifti_grid(path)


def fit_grid(
    path: Path,
    facts: Mapping[str, object],
    settings: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> list[GridVoxel]:
    """Fit every voxel of a NIfTI-MRS file.

    Args:
        path: of the file.
        facts: what the user states of all of them; it goes before the JSON file beside it.
        settings: options of `recipe.MRS`.
        progress: called before each voxel; returning False cancels.

    Raises:
        ValueError: it is no NIfTI-MRS, or no voxel has a value; the first one's reason.
        InterruptedError: canceled.
    """
    voxels, grid = [], _grid(path)
    for n, (index, spectra) in enumerate(grid.items()):
        tell(progress, n / len(grid), "Fitting voxels")
        matrix = spectra[0].voxel_ras
        ras = (np.nan,) * 3 if matrix is None else tuple(float(x) for x in matrix[:3, 3])
        try:
            found = MRS.measure(stated_spectra(path, spectra, facts), **(settings or {}))
        except ValueError as error:
            voxels.append(GridVoxel(index, ras, None, str(error)))
            continue
        if any(one.found for one in voxels):  # models hold a signal for each peak
            found = replace(found, fitted=None)
        voxels.append(GridVoxel(index, ras, found))
    if all(one.found is None for one in voxels):
        raise ValueError(voxels[0].reason)
    return voxels
