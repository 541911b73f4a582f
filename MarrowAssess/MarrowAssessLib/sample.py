"""The digital lumbar spine as nodes of the scene: sample data that needs no download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
from PDFFMapperLib.volume_nodes import volume_to_node

from MarrowAssessLib.anatomy import Role
from MarrowAssessLib.contrasts import Contrast
from MarrowAssessLib.phantom import TISSUES, lumbar_phantom
from MarrowAssessLib.scene import put_in_folder, regions_to_node, show_in_slices


@dataclass
class SampleNodes:
    """What the sample adds to the scene, and what is true of it.

    Attributes:
        volumes: by contrast ("T1" ... "PDFF"); the PDFF is the true one.
        segmentation: marrow, discs, CSF, muscles and fat.
        true_pdff: in %, of the marrow by site.
        centers_ras: of the marrow regions by site, in mm.
    """

    volumes: dict[str, slicer.vtkMRMLScalarVolumeNode]
    segmentation: slicer.vtkMRMLSegmentationNode
    true_pdff: dict[str, float]
    centers_ras: dict[str, np.ndarray]


def load_sample() -> SampleNodes:
    """Draw the spine (man of 34 years, lesion in L2) and add it to the scene."""
    phantom = lumbar_phantom()
    pdff = 100 * np.array([tissue.pdff for tissue in TISSUES.values()], np.float32)
    volumes = {contrast.value: volume for contrast, volume in phantom.volumes.items()}
    volumes[Contrast.PDFF.value] = phantom.tissue.with_array(pdff[phantom.tissue.array], "PDFF")
    nodes = {name: volume_to_node(volume, name) for name, volume in volumes.items()}
    regions = [region for region in phantom.study().regions if region.role is not Role.NOISE]
    segmentation = regions_to_node(regions, nodes["T1"], "Regions")
    put_in_folder("MarrowAssess sample", [*nodes.values(), segmentation])
    show_in_slices(nodes["T1"])
    marrow = [region for region in regions if region.role is Role.MARROW]
    return SampleNodes(
        nodes,
        segmentation,
        {one.site: 100 * TISSUES[one.site].pdff for one in marrow if one.site in TISSUES},
        {one.site: phantom.tissue.to_ras(one.centroid_ijk()) for one in marrow},
    )
