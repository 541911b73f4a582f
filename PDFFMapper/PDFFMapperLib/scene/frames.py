"""The 3D frames that volume nodes hold, as Slicer's loaders leave them, with echo time or b-value.

One scalar volume is one frame. Vector and multi-volume nodes hold frames as components, sequences
as data nodes. What the user types for a frame is kept on its node and saved with the scene.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import slicer
from vtkmodules.util.numpy_support import vtk_to_numpy

from PDFFMapperLib.images.nrrd import finite_number, keyword_of
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.scene.origin import facts_of_dicom_file
from PDFFMapperLib.scene.volumes import facts_from_node, ijk_to_world, set_fact, volume_from_node


@dataclass
class Frame:
    """One 3D frame and where it came from.

    Attributes:
        volume: its voxels, a view for reading only, and facts.
        node: the node that holds it.
        index: which of the node's frames.
        count: how many frames the node has.
    """

    volume: Volume
    node: slicer.vtkMRMLNode
    index: int
    count: int


def frames_from_nodes(
    nodes: Sequence[slicer.vtkMRMLNode], dicom_file: Callable[[str], str] | None = None
) -> list[Frame]:
    """All frames of some nodes, in their order.

    Args:
        nodes: scalar, vector, diffusion-weighted or multi-volumes, or sequences of volumes.
        dicom_file: the file of a DICOM instance UID, "" for none
            (``slicer.dicomDatabase.fileForInstance``).

    What stands beside an image's file (BIDS JSON, .bval) is heard as on the command line.

    Raises:
        ValueError: a node holds no voxels, or is of another kind; or what stands beside its file
            makes no sense.
    """
    frames = []
    files = {node.GetID(): _file_of(node) for node in nodes}
    unit = _unit_of([file for file in files.values() if file is not None])
    for node in nodes:
        volumes = _volumes(node)
        facts = _dicom_facts(node, dicom_file)
        facts = facts or _file_facts(files[node.GetID()], volumes, unit)
        typed = facts_from_node(node)
        for index, volume in enumerate(volumes):
            volume.attributes = {**facts, **volume.attributes}
            for keyword, value in typed.items():
                if keyword.startswith(_FRAME) and len(value) == len(volumes):
                    if value[index] is not None:
                        volume.attributes[keyword.removeprefix(_FRAME)] = value[index]
                elif not keyword.startswith(_FRAME):
                    volume.attributes[keyword] = value
            frames.append(Frame(volume, node, index, len(volumes)))
    return frames


def set_frame_fact(frame: Frame, keyword: str, value: object) -> None:
    """Keep a fact of one frame, such as its "EchoTime" in ms, on its node."""
    if frame.count == 1 and not frame.node.IsA("vtkMRMLSequenceNode"):
        set_fact(frame.node, keyword, value)
    else:
        values = facts_from_node(frame.node).get(_FRAME + keyword) or [None] * frame.count
        values[frame.index] = value
        set_fact(frame.node, _FRAME + keyword, values)
    frame.volume.attributes[keyword] = value


_FRAME = "Frame."


def _volumes(node: slicer.vtkMRMLNode) -> list[Volume]:
    if node.IsA("vtkMRMLSequenceNode"):
        return _volumes_of_sequence(node)
    if not node.IsA("vtkMRMLVolumeNode"):
        raise ValueError(f"'{node.GetName()}' is no volume and no sequence of volumes.")
    image = node.GetImageData()
    if image is None or image.GetNumberOfScalarComponents() == 1:
        return [volume_from_node(node, copy=False)]
    count = image.GetNumberOfScalarComponents()
    shape = (*image.GetDimensions()[::-1], count)
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)
    labels = _labels_of_components(node, count)
    matrix = ijk_to_world(node)
    return [
        Volume(array[..., n], matrix.copy(), f"{node.GetName()} [{n + 1}]", labels[n])
        for n in range(count)
    ]


def _volumes_of_sequence(node: slicer.vtkMRMLSequenceNode) -> list[Volume]:
    if not node.GetNumberOfDataNodes():
        raise ValueError(f"Sequence '{node.GetName()}' is empty.")
    keyword = keyword_of(node.GetIndexName() or "")
    volumes = []
    for n in range(node.GetNumberOfDataNodes()):
        data = node.GetNthDataNode(n)
        if not data.IsA("vtkMRMLScalarVolumeNode"):
            raise ValueError(f"Sequence '{node.GetName()}' holds no volumes.")
        volume = volume_from_node(data, copy=False)
        volume.name = f"{node.GetName()} [{n + 1}]"
        if keyword and (number := finite_number(node.GetNthIndexValue(n))) is not None:
            volume.attributes.setdefault(keyword, number)
        volumes.append(volume)
    return volumes


def _labels_of_components(node: slicer.vtkMRMLNode, count: int) -> list[dict[str, object]]:
    """What tells the components apart: b-values of a diffusion node, labels of a multi-volume."""
    if node.IsA("vtkMRMLDiffusionWeightedVolumeNode"):
        return [{"DiffusionBValue": float(node.GetBValue(n))} for n in range(count)]
    keyword = keyword_of(node.GetAttribute("MultiVolume.FrameIdentifyingDICOMTagName") or "")
    labels = (node.GetAttribute("MultiVolume.FrameLabels") or "").split(",")
    if not keyword or len(labels) != count:
        return [{} for _ in range(count)]
    numbers = [finite_number(label) for label in labels]
    return [{} if number is None else {keyword: number} for number in numbers]


def _file_of(node: slicer.vtkMRMLNode) -> Path | None:
    """The image file that a node was read from, None where there is none."""
    storage = node.GetStorageNode() if node.IsA("vtkMRMLStorableNode") else None
    file = Path(storage.GetFileName()) if storage and storage.GetFileName() else None
    return file if file is not None and file.is_file() else None


def _unit_of(files: Sequence[Path]) -> str | None:
    """The unit of echo times that what stands beside files tells together."""
    if not files:
        return None
    from PDFFMapperLib.images.bids import inherited_facts
    from PDFFMapperLib.images.sidecar import common_unit

    return common_unit(inherited_facts(file)[0] for file in files)


def _file_facts(file: Path | None, volumes: Sequence[Volume], unit: str | None) -> dict:
    """Facts of all frames from what stands beside a file; those of each go to its volume."""
    if file is None:
        return {}
    from PDFFMapperLib.diffusion.stated import take_stated_diffusion
    from PDFFMapperLib.images.sidecar import sidecar_of_image

    take_stated_diffusion(volumes, file)
    side = sidecar_of_image(file, unit)
    if side is None:
        return {}
    if side.echo_times_s is not None and len(side.echo_times_s) == len(volumes) > 1:
        for volume, time in zip(volumes, side.echo_times_s, strict=True):
            volume.attributes.setdefault("EchoTime", float(time) * 1e3)
    return side.attributes


def _dicom_facts(
    node: slicer.vtkMRMLNode, dicom_file: Callable[[str], str] | None
) -> dict[str, object]:
    facts, _ = facts_of_dicom_file(node, dicom_file)
    if not node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLDiffusionWeightedVolumeNode"):
        for of_one_frame in ("EchoTime", "DiffusionBValue", "ImageComponent"):
            facts.pop(of_one_frame, None)
    return facts
