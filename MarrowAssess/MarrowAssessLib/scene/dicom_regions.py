"""DICOM segmentations beside loaded images become segmentations of the scene."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import slicer
from PDFFMapperLib.dicom.segmentation import is_segmentation
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.scene.dicom import LoadedDicom
from PDFFMapperLib.scene.folders import put_beside
from PDFFMapperLib.scene.volumes import volume_from_node

from MarrowAssessLib.scene.segments import regions_to_node
from MarrowAssessLib.sources.segmentations import regions_from_segmentation


def load_segmentations(loaded: LoadedDicom) -> list[slicer.vtkMRMLSegmentationNode]:
    """Add the segmentations that lie on the images that were loaded with them.

    They are taken from what counts as left out; of one that cannot be used a note says why.
    """
    files = [file for file in loaded.others if is_segmentation(file)]
    volumes = [volume_from_node(node) for node in loaded.nodes] if files else []
    nodes = []
    for file in files:
        try:
            nodes.append(_load(file, loaded, volumes))
        except ValueError as why:
            loaded.notes.append(str(why))
            continue
        del loaded.others[file]
        count = nodes[-1].GetSegmentation().GetNumberOfSegments()
        loaded.notes.append(f"Regions of the DICOM segmentation {file.name}: {count}.")
    return nodes


def _load(
    file: Path, loaded: LoadedDicom, volumes: Sequence[Volume]
) -> slicer.vtkMRMLSegmentationNode:
    found = regions_from_segmentation(file, volumes)
    under = [n for n, one in enumerate(volumes) if one.same_grid(found.grid)]
    if not under:
        raise ValueError(
            f"{file.name}: this segmentation lies on the grid of none of the images beside it; "
            "load the images that it was drawn on with it."
        )
    image = loaded.nodes[under[0]]
    node = regions_to_node(found.regions, image)
    put_beside(node, image)
    loaded.notes += found.notes
    if found.left_out:
        loaded.notes.append(f"Segments that were left out: {', '.join(found.left_out)}.")
    return node
