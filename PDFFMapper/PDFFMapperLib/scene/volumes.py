"""Volumes as nodes of the Slicer scene, and back.

Runs unchanged in the desktop and on slicer-core. Arrays and matrices are converted here because
slicer.util, on slicer-core, would import all of VTK for it (0.7 s).
"""

from __future__ import annotations

import json

import numpy as np
import slicer
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from PDFFMapperLib.images.volume import Volume

ATTRIBUTE_PREFIX = "MarrowAssess."


def vtk_matrix(array: np.ndarray) -> vtkMatrix4x4:
    """A 4x4 array as a VTK matrix."""
    matrix = vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, float).ravel())
    return matrix


def numpy_matrix(matrix: vtkMatrix4x4) -> np.ndarray:
    """A VTK matrix as a 4x4 array."""
    # Not by GetData(): before VTK 9.4 it gives Python a pointer.
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def volume_to_node(volume: Volume, name: str | None = None) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a volume to the scene with its IJKToRAS and acquisition facts."""
    array = volume.array
    if array.dtype == bool:
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    # Filled before it is added: each change of a node in the scene updates Slicer's lists.
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(name or volume.name)
    image = vtkImageData()
    image.SetDimensions(array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(array.ravel(), deep=True))
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(vtk_matrix(volume.ijk_to_ras))
    for keyword, value in volume.attributes.items():
        set_fact(node, keyword, value)
    slicer.mrmlScene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    return node


def volume_from_node(node: slicer.vtkMRMLScalarVolumeNode, copy: bool = True) -> Volume:
    """A volume node where it lies in the world, parent transforms included.

    Args:
        node: with one value per voxel.
        copy: its voxels, else a view of them for reading only.

    Raises:
        ValueError: it has no voxels, several values per voxel, or a non-linear parent transform.
    """
    if node.GetImageData() is None:
        raise ValueError(f"Volume '{node.GetName()}' has no voxels; load or choose another.")
    if node.GetImageData().GetNumberOfScalarComponents() != 1:
        raise ValueError(
            f"Volume '{node.GetName()}' has {node.GetImageData().GetNumberOfScalarComponents()} "
            "values per voxel; a scalar volume is expected."
        )
    image = node.GetImageData()
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    array = array.copy() if copy else array
    return Volume(array, ijk_to_world(node), node.GetName(), facts_from_node(node))


def facts_from_node(node: slicer.vtkMRMLNode) -> dict[str, object]:
    """The acquisition facts that a node carries as attributes, by DICOM keyword."""
    return {
        key.removeprefix(ATTRIBUTE_PREFIX): json.loads(node.GetAttribute(key))
        for key in node.GetAttributeNames()
        if key.startswith(ATTRIBUTE_PREFIX)
    }


def set_fact(node: slicer.vtkMRMLNode, keyword: str, value: object) -> None:
    """Keep an acquisition fact, read or typed, on a node; it is saved with the scene."""
    node.SetAttribute(ATTRIBUTE_PREFIX + keyword, json.dumps(value, default=str))


def ijk_to_world(node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """The 4x4 matrix from voxel indices to RAS mm in the world, parent transforms included.

    Raises:
        ValueError: a parent transform is not linear.
    """
    matrix = vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return world_matrix(node) @ numpy_matrix(matrix)


def world_matrix(node: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    """The 4x4 matrix of a node's parent transforms, identity without one.

    Raises:
        ValueError: a parent transform is not linear.
    """
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise ValueError(
            f"'{node.GetName()}' lies under the non-linear transform '{parent.GetName()}'; "
            "harden it (right click in the Data module) first."
        )
    matrix = vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return numpy_matrix(matrix)
