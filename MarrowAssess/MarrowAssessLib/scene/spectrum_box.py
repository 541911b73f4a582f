"""The voxels of spectra, as boxes in the views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import slicer
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from MarrowAssessLib.scene.click_mode import clicks_stay
from MarrowAssessLib.scene.markups import OWN_MARKUPS
from MarrowAssessLib.scene.shown import BOX, SPECTRUM_ATTRIBUTE, referred

if TYPE_CHECKING:  # opening a panel waits for no fit
    from PDFFMapperLib.spectroscopy.analysis import Analysis

COLOR = (1.0, 0.9, 0.2)


def show_boxes(
    segmentation: slicer.vtkMRMLSegmentationNode, spectra: Mapping[str, Analysis]
) -> list[slicer.vtkMRMLMarkupsROINode]:
    """Have the views show the voxel of each spectrum, and no other.

    Args:
        segmentation: refers to the boxes, and gives them its transform.
        spectra: of each site; one that does not tell its place has no box.
    """
    boxes = {site: one.voxel_ras for site, one in spectra.items()}
    wanted = {site: matrix for site, matrix in boxes.items() if matrix is not None}
    shown = {one.GetAttribute(SPECTRUM_ATTRIBUTE): one for one in referred(segmentation, BOX)}
    for site in shown.keys() - wanted.keys():
        _remove(shown.pop(site))
    for site, matrix in wanted.items():
        if site not in shown:
            shown[site] = _new_box(site)
            segmentation.AddNodeReferenceID(BOX, shown[site].GetID())
        _place(shown[site], matrix)
        shown[site].SetAndObserveTransformNodeID(segmentation.GetTransformNodeID())
    return list(shown.values())


def _new_box(site: str) -> slicer.vtkMRMLMarkupsROINode:
    with clicks_stay():
        node = slicer.mrmlScene.AddNewNodeByClass(
            "vtkMRMLMarkupsROINode", f"{OWN_MARKUPS} spectrum of {site}"
        )
    node.SetAttribute(SPECTRUM_ATTRIBUTE, site)
    node.SetLocked(True)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSelectedColor(*COLOR)
    display.SetColor(*COLOR)
    display.SetFillVisibility(False)  # regions keep their color
    display.SetUseGlyphScale(False)
    display.SetGlyphSize(0.1)
    display.SetHandlesInteractive(False)
    display.SetPropertiesLabelVisibility(False)
    return node


def _place(node: slicer.vtkMRMLMarkupsROINode, matrix: np.ndarray) -> None:
    sides = np.linalg.norm(matrix[:3, :3], axis=0)
    frame = np.eye(4)
    frame[:3, :3] = matrix[:3, :3] / sides
    if np.linalg.det(frame[:3, :3]) < 0:  # the box is the same
        frame[:3, 2] *= -1
    frame[:3, 3] = matrix[:3, 3]
    node.SetSize(*sides)
    placed = vtkMatrix4x4()
    placed.DeepCopy(frame.ravel())
    node.SetAndObserveObjectToNodeMatrix(placed)


def _remove(node: slicer.vtkMRMLMarkupsROINode) -> None:
    slicer.mrmlScene.RemoveNode(node.GetDisplayNode())
    slicer.mrmlScene.RemoveNode(node)
