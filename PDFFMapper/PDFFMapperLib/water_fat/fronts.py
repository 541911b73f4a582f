"""Sweeps over a volume whose voxels wait for those before them, on all cores.

The volume is cut into tiles of slices and rows. A tile can begin when that of the slices before it
and that of the rows before it are done, so that those of a diagonal run side by side, and the
result is that of one core.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from threading import Condition

Tile = tuple[int, int, int, int]
"""First slice, the one beyond the last, first row, the one beyond the last."""
Place = tuple[int, int]
"""Of a tile along slices and rows."""

_MOST = 16  # tiles along an axis


def sweep(
    work: Callable[[Tile], None], shape: tuple[int, ...], least: int, forward: bool
) -> tuple[Callable[[int], None], range]:
    """What `run_parallel` is to do, and how often, to call ``work(tile)`` for the tiles of a
    volume in the order of its voxels, or against it.

    Args:
        work: of one tile; releases the interpreter's lock.
        shape: slices, rows, columns.
        least: voxels that are worth a tile.
        forward: from the first voxel on; else from the last one back.
    """
    tiles = _tiles(shape, least)
    step, changed = (1 if forward else -1), Condition()
    waits = {(a, b): ((a - step, b) in tiles) + ((a, b - step) in tiles) for a, b in tiles}
    # Those that can begin, along diagonals: what most others wait for comes first.
    ready = [(step * (a + b), a, b) for (a, b), before in waits.items() if not before]
    failed = []

    def next_one(_: int) -> None:
        try:
            with changed:
                changed.wait_for(lambda: ready or failed)
                if failed:
                    return
                _, a, b = heapq.heappop(ready)
            work(tiles[a, b])
            with changed:
                for after in {(a + step, b), (a, b + step)} & tiles.keys():
                    waits[after] -= 1
                    if not waits[after]:
                        heapq.heappush(ready, (step * sum(after), *after))
                        changed.notify()
        except BaseException as error:  # also an interrupt: those that wait would wait forever
            with changed:
                failed.append(error)
                changed.notify_all()
            raise

    return next_one, range(len(tiles))


def _tiles(shape: tuple[int, ...], least: int) -> dict[Place, Tile]:
    slices, rows, columns = shape
    # About as many tiles along both axes, at least of one slice and one row.
    count = max(1.0, math.sqrt(slices * rows * columns / least))
    along = min(slices, _MOST, max(1, round(count)))
    across = min(rows, _MOST, max(1, round(count * count / along)))
    high = [slices * n // along for n in range(along + 1)]
    wide = [rows * n // across for n in range(across + 1)]
    return {
        (a, b): (high[a], high[a + 1], wide[b], wide[b + 1])
        for a in range(along)
        for b in range(across)
    }
