"""Where regions are placed, and how, as the parameter node of the module says."""

from __future__ import annotations

from dataclasses import dataclass

import slicer
from PDFFMapperLib.scene.folders import put_beside

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions
from MarrowAssessLib.scene.choices import chosen_contrasts, clicked_nodes
from MarrowAssessLib.scene.segments import drawn_on, regions_to_node


@dataclass(frozen=True)
class Placing:
    """Where and how regions are placed.

    Attributes:
        segmentation: takes them.
        volume_node: the image in which clicks are read.
        options: how many lumbar vertebrae there are, and what regions leave out.
    """

    segmentation: slicer.vtkMRMLSegmentationNode
    volume_node: slicer.vtkMRMLScalarVolumeNode
    options: PlacingOptions = AS_USUAL


def placing(parameters: object, contrast: Contrast | None = None) -> Placing:
    """What the parameter node says; where it has no segmentation, it gets an empty one.

    Args:
        parameters: the parameter node.
        contrast: of the image that is drawn on; None takes the one that is shown, and draws on the
            grid on which is measured, which is that of a PET only where there is nothing else.

    Raises:
        ValueError: no image is chosen.
    """
    volumes = chosen_contrasts(parameters)
    if not volumes:
        raise ValueError("Choose at least one image or map.")
    volume, grid = [volumes[contrast]] * 2 if contrast else clicked_nodes(parameters)
    if parameters.segmentation is None:
        parameters.segmentation = new_segmentation(grid)
    elif drawn_on(parameters.segmentation) is None:  # a loaded one, or its image is gone
        parameters.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(grid)
    return Placing(parameters.segmentation, volume, placing_options(parameters))


def placing_options(parameters: object) -> PlacingOptions:
    """How many lumbar vertebrae there are, and what new regions leave out."""
    chosen = {"vein": parameters.leaveOutVein, "fat": parameters.leaveOutFat}
    leave_out = [name for name, wanted in chosen.items() if wanted]
    return PlacingOptions(parameters.lumbarVertebrae, leave_out)


def new_segmentation(
    volume_node: slicer.vtkMRMLScalarVolumeNode,
) -> slicer.vtkMRMLSegmentationNode:
    """An empty segmentation on a volume's grid."""
    made = regions_to_node([], volume_node, "Regions")
    put_beside(made, volume_node)
    return made
