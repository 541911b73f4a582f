"""Regions from files, on the grid of the images: a label map, or Slicer's markups (.mrk.json)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from PDFFMapperLib.dicom.selection import read_source
from PDFFMapperLib.images.markups_file import SUFFIX, read_markups
from PDFFMapperLib.images.mask import refuse_image
from PDFFMapperLib.images.shapes import masks_of_shapes
from PDFFMapperLib.images.volume import Volume, grids_differ

MOST_REGIONS = 1000


class LabelRegions(Mapping):
    """The regions of a label map by their numbers as text; a mask is made when it is asked for."""

    def __init__(self, labels: np.ndarray) -> None:
        self._labels = labels
        self._numbers = {str(one): one for one in np.unique(labels[labels > 0])}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._labels == self._numbers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


def named_regions(path: Path, like: Volume) -> Mapping[str, np.ndarray]:
    """The voxels of each label, or of each closed curve and ROI box, by its name.

    Raises:
        FileNotFoundError, ValueError: see `label_map`, `markups_file.read_markups` and
            `shapes.masks_of_shapes`.
    """
    if path.name.endswith(SUFFIX):
        return masks_of_shapes(read_markups(path), like)
    return LabelRegions(label_map(path, like))


def drawn_mask(path: Path, like: Volume) -> Volume:
    """A mask, or all voxels of closed curves and ROI boxes, on the grid of the images.

    Raises:
        FileNotFoundError, ValueError: see `on_grid` and `named_regions`.
    """
    if not path.name.endswith(SUFFIX):
        return on_grid(path, like)
    inside = np.logical_or.reduce(list(named_regions(path, like).values()))
    return like.with_array(inside.astype(np.uint8), path.name.removesuffix(SUFFIX))


def label_map(path: Path, like: Volume) -> np.ndarray:
    """The numbers of regions on the grid of the images, 0 outside.

    Raises:
        FileNotFoundError, ValueError: no such file, another grid, or no map of labels.
    """
    labels = on_grid(path, like)
    array = labels.array
    if not np.isfinite(array).all() or (array % 1 != 0).any() or (array < 0).any():
        raise ValueError(f"{path}: a label map holds whole numbers from 0 on; this one does not.")
    refuse_image(labels)
    found = np.unique(array[array > 0])
    if not 0 < found.size <= MOST_REGIONS:
        raise ValueError(
            f"{path}: {found.size} labels are in this map; 1 to {MOST_REGIONS} are expected."
        )
    return array.astype(np.int64)


def on_grid(path: Path, like: Volume) -> Volume:
    """An image, such as a mask, from a file or DICOM folder, that must lie on another's grid.

    Raises:
        FileNotFoundError, ValueError: it cannot be read, or lies on another grid.
    """
    image = read_source(path).in_order_of(like)
    if not image.same_grid(like):
        raise ValueError(grids_differ(image, like, f"resample {path.name}"))
    return image
