"""DICOM into the scene by this software's own reader, as the command line reads it."""

from __future__ import annotations

from pathlib import Path

import slicer

from PDFFMapperLib.dicom.folder import read_dicom_folder
from PDFFMapperLib.dicom.selection import named_series, refuse_beside_unreadable, split_source
from PDFFMapperLib.scene.folders import put_in_folder
from PDFFMapperLib.scene.volumes import volume_to_node


def load_dicom(source: str | Path) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Load every volume of the series that are meant, in a folder of the subject hierarchy.

    Where Slicer's own loaders stack the contrasts of an enhanced file, lose its phase or take a
    series apart, this reads each volume with its echo time, b-value and component.

    Args:
        source: a DICOM file or folder, with "#" and what names a series of it.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is loaded.
    """
    path, chosen = split_source(source)
    if not path.exists():
        raise FileNotFoundError(f"{source}: there is no such file or folder.")
    found = read_dicom_folder(path)
    wanted = named_series(found, chosen)
    if not wanted:
        raise ValueError(f"{path}: no series is named '{chosen}'.")
    refuse_beside_unreadable(found, [volume for one in wanted for volume in one.contents])
    volumes = [volume for one in wanted for volume in one.volumes]
    nodes = [volume_to_node(volume) for volume in volumes]
    put_in_folder(wanted[0].description, nodes)
    return nodes
