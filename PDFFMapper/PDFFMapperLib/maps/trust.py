"""Masks that lie beside map files and say where their values can be trusted.

Maps leave their recipe with NaN where they cannot. Files of version 0.1 did not, and ITK's NIfTI
reader, which is Slicer's, turns NaN into 0: the mask beside them tells.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from PDFFMapperLib.images.files import read_volume
from PDFFMapperLib.images.volume import Volume, grids_differ
from PDFFMapperLib.maps.kinds import KINDS


def mask_beside(path: str | Path) -> Path | None:
    """The mask of a map's file ("x_PDFF.nrrd": "x_confident.nrrd"), None where there is none."""
    path = Path(path)
    for kind in KINDS:
        prefix, found, ending = path.name.rpartition(f"_{kind.name}.")
        if found and kind.mask:
            mask = path.with_name(f"{prefix}_{kind.mask}.{ending}")
            return mask if mask.is_file() else None
    return None


def where_trusted(volume: Volume, path: str | Path) -> tuple[Volume, str]:
    """A map that was read from a file, NaN where the mask beside it says no.

    Args:
        volume: the map, in any order of its voxels.
        path: of its file.

    Returns:
        The map, and the name of the mask's file, "" where there is none.

    Raises:
        ValueError: the mask lies on another voxel grid.
    """
    found = mask_beside(path)
    if found is None:
        return volume, ""
    mask = read_volume(found)
    trusted = _on_grid_of(mask, volume) != 0
    return volume.with_array(np.where(trusted, volume.array, np.nan)), found.name


def usable(doubt: np.ndarray, meanings: dict[int, str]) -> str:
    """How many voxels of a map of reasons can be used, and why the others with signal cannot.

    Args:
        doubt: bits of reasons; 1 is no signal, or outside the mask.
        meanings: of each bit, and of 0.
    """
    fitted = doubt & 1 == 0
    if not fitted.any():
        return "No voxel has a value of its own: none with signal lies wholly in the bone or mask."
    reasons = []
    for bit, meaning in meanings.items():
        count = int(np.count_nonzero(doubt[fitted] & bit))
        if bit > 1 and count:
            reasons.append(f"{meaning} {count}")
    why = f" ({', '.join(reasons)})" if reasons else ""
    sure = int(np.count_nonzero(doubt == 0))
    left = int(doubt.size - fitted.sum())
    percent = 100 * left / max(doubt.size, 1)
    share = f"{percent:.2g} % of all" if percent < 10 else f"{percent:.0f} % of all"
    others = f"; {left} more ({share}) have no signal or lie outside the mask" if left else ""
    return f"{int(fitted.sum())} voxels fitted, {sure} with confidence{why}{others}."


def _on_grid_of(mask: Volume, volume: Volume) -> np.ndarray:
    """The mask's voxels in the order of the volume's, which Slicer may have turned round."""
    mask = mask.in_order_of(volume)
    if not mask.same_grid(volume):
        raise ValueError(
            grids_differ(mask, volume, "move this mask away from it or make the maps again")
        )
    return mask.array
