"""Grids of voxels (MRSI) fitted voxel by voxel; each stands alone and nothing is reconstructed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from PDFFMapperLib.maps.progress import Progress, tell
from PDFFMapperLib.spectroscopy.analysis import Analysis
from PDFFMapperLib.spectroscopy.files import stated_spectra
from PDFFMapperLib.spectroscopy.nifti_mrs import is_nifti_name, read_nifti_grid
from PDFFMapperLib.spectroscopy.recipe import MRS
from PDFFMapperLib.spectroscopy.spectrum import Spectrum

FEWEST_SHARED = 32  # voxels; starting a process takes as long as ten (1.4 and 0.13 CPU-s)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


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
    processes: int = 1,
) -> list[GridVoxel]:
    """Fit every voxel of a NIfTI-MRS file.

    Args:
        path: of the file.
        facts: what the user states of all of them; it goes before the JSON file beside it.
        settings: options of `recipe.MRS`.
        progress: called as voxels are done; returning False cancels.
        processes: that share a grid of FEWEST_SHARED voxels or more, as threads gain nothing on
            fits of small arrays. More than one only in a program whose main module may be
            imported again, which Slicer's is not.

    Raises:
        ValueError: it is no NIfTI-MRS, or no voxel has a value; the first one's reason.
        InterruptedError: canceled.
    """
    tasks = [
        (index, stated_spectra(path, spectra, facts)) for index, spectra in _grid(path).items()
    ]
    settings = settings or {}
    voxels: list[GridVoxel] = []
    with ExitStack() as ending:
        fitted = (_fitted(task, settings) for task in tasks)
        if processes > 1 and len(tasks) >= FEWEST_SHARED:
            pool = ending.enter_context(
                ProcessPoolExecutor(processes, get_context("spawn"), _keep, (settings,))
            )
            ending.callback(pool.shutdown, wait=False, cancel_futures=True)
            with _one_thread_each():  # here they start, and read it
                fitted = pool.map(_fitted_apart, tasks)
        for n, one in enumerate(fitted):
            voxels.append(one)
            tell(progress, (n + 1) / len(tasks), "Fitting voxels")
    if all(one.found is None for one in voxels):
        raise ValueError(voxels[0].reason)
    first = next(n for n, one in enumerate(voxels) if one.found)
    voxels[first] = _fitted(tasks[first], settings, whole=True)
    return voxels


_Task = tuple[tuple[int, int, int], list[Spectrum]]


def _fitted(task: _Task, settings: Mapping[str, object], whole: bool = False) -> GridVoxel:
    """One voxel; without its fit, which holds a signal for each peak, unless the whole is asked."""
    index, spectra = task
    matrix = spectra[0].voxel_ras
    ras = (np.nan,) * 3 if matrix is None else tuple(float(x) for x in matrix[:3, 3])
    try:
        found = MRS.measure(spectra, **settings)
    except ValueError as error:
        return GridVoxel(index, ras, None, str(error))
    return GridVoxel(index, ras, found if whole else replace(found, fitted=None))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started within share no small product: their threads would wait for each other."""
    kept = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_settings: Mapping[str, object] = {}  # of a process that fits some of a grid's voxels


def _keep(settings: Mapping[str, object]) -> None:
    global _settings
    _settings = settings


def _fitted_apart(task: _Task) -> GridVoxel:
    return _fitted(task, _settings)
