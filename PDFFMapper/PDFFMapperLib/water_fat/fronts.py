"""Sweeps over a volume whose voxels wait for those before them, on all cores.

The volume is cut into tiles of slices and rows. A tile may begin when that of the slices before it
and that of the rows before it are done, so that those of one diagonal front run side by side, and
the result is that of one core.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

Tile = tuple[int, int, int, int]
"""First slice, the one beyond the last, first row, the one beyond the last."""

_MOST = 16  # tiles along an axis


def sweep(work: Callable[[Tile], None], shape: tuple[int, ...], least: int, forward: bool) -> None:
    """Call ``work(tile)`` for the tiles of a volume in the order of its voxels, or against it.

    Args:
        work: of one tile; releases the interpreter's lock.
        shape: slices, rows, columns.
        least: voxels that are worth a tile.
        forward: from the first voxel on; else from the last one back.
    """
    fronts = _fronts(shape, least)
    if len(fronts) == 1:
        work(fronts[0][0])
        return
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for front in fronts if forward else reversed(fronts):
            for _ in pool.map(work, front):
                pass


def _fronts(shape: tuple[int, ...], least: int) -> list[list[Tile]]:
    slices, rows, columns = shape
    # About as many tiles along both axes, at least of one slice and one row.
    count = max(1.0, math.sqrt(slices * rows * columns / least))
    along = min(slices, _MOST, max(1, round(count)))
    across = min(rows, _MOST, max(1, round(count * count / along)))
    high = [slices * n // along for n in range(along + 1)]
    wide = [rows * n // across for n in range(across + 1)]
    fronts: list[list[Tile]] = [[] for _ in range(along + across - 1)]
    for a in range(along):
        for b in range(across):
            fronts[a + b].append((high[a], high[a + 1], wide[b], wide[b + 1]))
    return fronts
