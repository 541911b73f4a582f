"""A small picture of a study: the slice with most of its regions, outlined, as PNG."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from MarrowAssessLib.study.study import Study

LONGEST = 160  # pixels of the longer side
OUTLINE = (230, 159, 0)  # orange that stays apart for color-blind eyes


def write_thumbnail(study: Study, path: str | Path) -> None:
    """Write the slice of the regions' grid on which most of their voxels lie.

    The image is the first on that grid, else the grid's own, from its 2nd to 98th percentile.
    """
    Path(path).write_bytes(_png(_picture(study)))


def _picture(study: Study) -> np.ndarray:
    """Shape (rows, columns, 3), 0-255, with square pixels."""
    grid = study.grid
    image = next((v for v in study.volumes.values() if v.same_grid(grid)), grid)
    shape = grid.array.shape
    counts, masks = np.zeros(shape[0]), [region.full_mask(shape) for region in study.regions]
    for mask in masks:
        counts += mask.sum(axis=(1, 2))
    k = int(counts.argmax())
    across, down = (float(one) for one in image.spacing[:2])
    size = np.array([shape[1] * down, shape[2] * across])
    rows, columns = np.maximum(np.rint(size * LONGEST / size.max()).astype(int), 1)
    j = (np.arange(rows) + 0.5) * shape[1] // rows
    i = (np.arange(columns) + 0.5) * shape[2] // columns
    at = np.ix_(j.astype(int), i.astype(int))
    values = np.nan_to_num(np.asarray(image.array[k], float))
    low, high = np.percentile(values, (2, 98))
    gray = np.clip((values[at] - low) / (high - low or 1), 0, 1)
    picture = np.repeat((255 * gray).astype(np.uint8)[..., None], 3, axis=2)
    for mask in masks:
        shown = mask[k][at]
        inner = np.zeros_like(shown)
        inner[1:-1, 1:-1] = shown[:-2, 1:-1] & shown[2:, 1:-1] & shown[1:-1, :-2] & shown[1:-1, 2:]
        picture[shown & ~inner] = OUTLINE
    return picture


def _png(picture: np.ndarray) -> bytes:
    """A PNG file of shape (rows, columns, 3), 8 bits (RFC 2083)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    rows, columns, _ = picture.shape
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    lines = b"".join(b"\0" + line.tobytes() for line in picture)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
