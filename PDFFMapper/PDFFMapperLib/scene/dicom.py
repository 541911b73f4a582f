"""DICOM into the scene by this software's own reader, as the command line reads it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import slicer

from PDFFMapperLib.dicom.folder import (
    DicomFolder,
    DicomSeries,
    named_series,
    objects_left_out,
    read_dicom_files,
    read_dicom_folder,
    refuse_beside_unreadable,
)
from PDFFMapperLib.dicom.selection import split_source
from PDFFMapperLib.dicom.volume import DicomVolume
from PDFFMapperLib.images.volume import SourceSlices, Volume
from PDFFMapperLib.maps.progress import Progress, share, tell
from PDFFMapperLib.scene.folders import put_in_folder
from PDFFMapperLib.scene.origin import instances_of, keep_patient
from PDFFMapperLib.scene.studies import put_in_study
from PDFFMapperLib.scene.volumes import ijk_to_world, volume_to_node

_LISTING = 0.3  # of the time is for headers
_TOKEN = "MarrowAssessDicom"  # of a node: finds its slices in this session; tells nothing itself
_slices: dict[str, SourceSlices] = {}


@dataclass
class LoadedDicom:
    """What was loaded.

    Attributes:
        nodes: one for each volume.
        notes: what was repaired, joined or left out.
        again: where nodes were read again, the new ones by the ID of the old one.
        others: files of the folder that are no images, and what they are.
    """

    nodes: list[slicer.vtkMRMLScalarVolumeNode]
    notes: list[str]
    again: dict[str, list[slicer.vtkMRMLScalarVolumeNode]] = field(default_factory=dict)
    others: dict[Path, str] = field(default_factory=dict)

    def sentences(self) -> list[str]:
        """The notes, and how many files are no images."""
        return [*self.notes, *objects_left_out(self.others.values())]


def load_dicom(source: str | Path, progress: Progress | None = None) -> LoadedDicom:
    """Load every volume of the series that are meant; several of a series go into a folder.

    Where Slicer's own loaders stack the contrasts of an enhanced file, lose its phase or take a
    series apart, this reads each volume with its echo time, b-value and component. Of a whole
    folder what cannot be read is left out and told.

    Args:
        source: a DICOM file or folder, with "#" and what names a series of it.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is loaded.
        InterruptedError: canceled; nothing is loaded.
    """
    path, chosen = split_source(source)
    if not path.exists():
        raise FileNotFoundError(f"{source}: there is no such file or folder.")
    found = read_dicom_folder(path, share(progress, 0, _LISTING))
    wanted = named_series(found, chosen)
    if not wanted:
        raise ValueError(f"{path}: no series is named '{chosen}'.")
    loaded = _loaded(found, wanted, str(path), bool(chosen), progress)[0]
    counted = objects_left_out(found.others.values())
    loaded.notes = [note for note in loaded.notes if note not in counted]
    loaded.others = dict(found.others)
    return loaded


def load_again(
    nodes: Sequence[slicer.vtkMRMLNode],
    dicom_file: Callable[[str], str],
    progress: Progress | None = None,
) -> LoadedDicom:
    """Load the files of nodes that Slicer's DICOM loaders made, as this software reads them.

    Args:
        nodes: those of other origin are left as they are.
        dicom_file: the file of a DICOM instance UID, "" for none
            (``slicer.dicomDatabase.fileForInstance``).

    Raises:
        ValueError: none of them is from DICOM, a file is gone, or cannot be read.
        InterruptedError: canceled; nothing is loaded.
    """
    files = {node.GetID(): files_of(node, dicom_file) for node in nodes if instances_of(node)}
    if not files:
        raise ValueError("None of these images was loaded from DICOM; nothing can be read again.")
    every = list(dict.fromkeys(file for of_one in files.values() for file in of_one))
    where = ", ".join(node.GetName() for node in nodes if node.GetID() in files)
    found = read_dicom_files(every, where, share(progress, 0, _LISTING))
    if not found:
        raise ValueError(f"{where}: no DICOM image is in its files. {' '.join(found.notes)}")
    loaded, volumes = _loaded(found, found, where, True, progress)
    for node_id, held in files.items():
        of_node = [n for n, volume in enumerate(volumes) if volume.files & set(held)]
        loaded.again[node_id] = [loaded.nodes[n] for n in of_node]
    return loaded


def read_otherwise(node: slicer.vtkMRMLNode, dicom_file: Callable[[str], str]) -> str:
    """What reading a node's DICOM files again would change, "" for nothing; reads headers only."""
    try:
        found = read_dicom_files(files_of(node, dicom_file), node.GetName())
    except (ValueError, OSError):
        return ""
    volumes = [volume for series in found for volume in series.contents]
    if len(volumes) > 1 and node.IsA("vtkMRMLScalarVolumeNode"):
        return f"'{node.GetName()}' is one volume here, but {len(volumes)} by its DICOM files."
    if any("display scaling differs" in note for series in found for note in series.notes):
        return f"'{node.GetName()}' has Philips' display scaling, which differs between its slices."
    if any(volume.attributes.get("Modality") == "PT" for volume in volumes):
        return f"'{node.GetName()}' is PET; read again it is SUV."
    return ""


def files_of(node: slicer.vtkMRMLNode, dicom_file: Callable[[str], str]) -> list[Path]:
    """The DICOM files that a node was loaded from.

    Raises:
        ValueError: one of them is gone.
    """
    files = [dicom_file(uid) for uid in instances_of(node)]
    gone = sum(not file or not Path(file).is_file() for file in files)
    if gone:
        raise ValueError(
            f"'{node.GetName()}': {gone} of its {len(files)} DICOM files are no longer in Slicer's "
            "database; import the study again."
        )
    return list(dict.fromkeys(map(Path, files)))


def slices_of(
    node: slicer.vtkMRMLScalarVolumeNode, dicom_file: Callable[[str], str] | None
) -> SourceSlices | None:
    """The DICOM slices that a node lies on; None where it is not from DICOM, or was moved since.

    Args:
        node: loaded by this software in this session, or by Slicer's DICOM loaders.
        dicom_file: as for `load_again`; None without a DICOM database.

    Raises:
        ValueError: a file is gone, or cannot be read.
    """
    here = Volume(np.empty(node.GetImageData().GetDimensions()[::-1], bool), ijk_to_world(node))
    known = _slices.get(node.GetAttribute(_TOKEN) or "")
    candidates = [known] if known else []
    if not known and dicom_file and instances_of(node):
        found = read_dicom_files(files_of(node, dicom_file), node.GetName())
        candidates = [volume.slices for series in found for volume in series.volumes]
    for one in candidates:
        if one is not None and one.grid.in_order_of(here).same_grid(here):
            return one
    return None


def put_in_place(
    parameters: object,
    names: Iterable[str],
    again: dict[str, list[slicer.vtkMRMLScalarVolumeNode]],
) -> None:
    """Choose nodes that were read again for what the old ones were chosen for.

    A single image that became several is chosen for nothing: which of them is meant is to be told.

    Args:
        parameters: the parameter node.
        names: of its images and lists of images.
        again: see `LoadedDicom`.
    """
    for name in names:
        held = getattr(parameters, name)
        if held is None:
            continue
        if hasattr(held, "GetID"):
            new = again.get(held.GetID(), [held])
            setattr(parameters, name, new[0] if len(new) == 1 else None)
            continue
        new = [one for old in held if old is not None for one in again.get(old.GetID(), [old])]
        setattr(parameters, name, list(dict.fromkeys(new)))


def _loaded(
    found: DicomFolder,
    wanted: Sequence[DicomSeries],
    where: str,
    all_of_them: bool,
    progress: Progress | None,
) -> tuple[LoadedDicom, list[DicomVolume]]:
    """Read series and then add their nodes, so that all or none are there."""
    broken = [one.problem for one in wanted if one.problem]
    whole = [one for one in wanted if not one.problem]
    if broken and (all_of_them or not whole):
        raise ValueError(f"{where}: {broken[0]}")
    volumes = [volume for one in whole for volume in one.contents]
    refuse_beside_unreadable(found, volumes)
    step = share(progress, _LISTING, 1)
    read = []
    for n, one in enumerate(whole):
        tell(step, n / len(whole), f"Reading {where}")
        read.append(one.volumes)
    nodes, notes = [], list(found.notes)
    for one, of_series in zip(whole, read, strict=True):
        made = [volume_to_node(volume) for volume in of_series]
        for node in made:
            keep_patient(node, one.patient)
        for node, volume in zip(made, of_series, strict=True):
            if volume.slices is not None:
                node.SetAttribute(_TOKEN, uuid.uuid4().hex)
                _slices[node.GetAttribute(_TOKEN)] = volume.slices
        put_in_study(made, one.study, one.visit.key)
        if len(made) > 1:
            put_in_folder(one.description, made, beside=made[0])
        nodes += made
        notes += [*one.notes, *(note for volume in of_series for note in volume.notes)]
    notes += [f"Left out: {problem}" for problem in broken]
    return LoadedDicom(nodes, list(dict.fromkeys(notes))), volumes
