"""The digital lumbar spine as nodes of the scene: sample data that needs no download."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
import slicer
from PDFFMapperLib.maps.progress import Progress, tell
from PDFFMapperLib.scene.folders import put_in_folder
from PDFFMapperLib.scene.volumes import volume_to_node

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.sample.phantom import (
    TISSUES,
    LumbarPhantom,
    lumbar_phantom,
)
from MarrowAssessLib.scene.files import show_in_slices
from MarrowAssessLib.scene.segments import regions_to_node
from MarrowAssessLib.sources.labels import regions_from_labels
from MarrowAssessLib.study.regions import Region

_WHAT = "Drawing the digital lumbar spine"


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


def load_sample(progress: Progress | None = None) -> SampleNodes:
    """Draw the spine (man of 34 years, lesion in L2) and add it to the scene.

    Raises:
        InterruptedError: canceled; nothing was added.
    """
    tell(progress, 0.1, _WHAT)
    phantom = lumbar_phantom()
    tell(progress, 0.5, _WHAT)
    pdff = 100 * np.array([tissue.pdff for tissue in TISSUES.values()], np.float32)
    volumes = {contrast.value: volume for contrast, volume in phantom.volumes.items()}
    volumes[Contrast.PDFF.value] = phantom.tissue.with_array(pdff[phantom.tissue.array], "PDFF")
    tell(progress, 0.8, _WHAT)
    nodes = {name: volume_to_node(volume, name) for name, volume in volumes.items()}
    regions = _regions(phantom)
    segmentation = regions_to_node(regions, nodes["T1"], "Regions")
    put_in_folder("MarrowAssess sample", [*nodes.values(), segmentation])
    show_in_slices(nodes["T1"])
    marrow = [region for region in regions if region.role is Role.MARROW]
    centers = {one.site: phantom.tissue.to_ras(one.centroid_ijk()) for one in marrow}
    return SampleNodes(nodes, segmentation, _true_pdff(regions), centers)


@dataclass
class MapperSampleNodes:
    """What the sample for PDFFMapper adds to the scene, and what is true of it.

    Attributes:
        echoes: real and imaginary images of six echoes.
        diffusion: one image per b-value.
        segmentation: marrow, discs, CSF, muscles and fat.
        true_pdff: in %, of the marrow by site.
    """

    echoes: list[slicer.vtkMRMLScalarVolumeNode]
    diffusion: list[slicer.vtkMRMLScalarVolumeNode]
    segmentation: slicer.vtkMRMLSegmentationNode
    true_pdff: dict[str, float]


def load_mapper_sample(progress: Progress | None = None) -> MapperSampleNodes:
    """Add the spine's multi-echo and diffusion series, as a DICOM loader would leave them.

    Raises:
        InterruptedError: canceled; nothing was added.
    """
    tell(progress, 0.1, _WHAT)
    phantom = lumbar_phantom()
    tell(progress, 0.3, _WHAT)
    pool = ThreadPoolExecutor()  # nearly all the time goes into their noise
    jobs = [pool.submit(draw) for draw in (phantom.echo_volumes, phantom.diffusion_volumes)]
    pool.shutdown(wait=False)  # a cancel does not wait for them
    while wait(jobs, timeout=0.1).not_done:
        tell(progress, 0.3 + 0.25 * sum(job.done() for job in jobs), _WHAT)
    series = [job.result() for job in jobs]
    tell(progress, 0.8, _WHAT)
    regions = _regions(phantom)
    scene = slicer.mrmlScene
    scene.StartState(scene.BatchProcessState)  # Slicer's lists take all nodes at once
    try:
        echoes, diffusion = ([volume_to_node(one, one.name) for one in each] for each in series)
        segmentation = regions_to_node(regions, echoes[0], "Regions")
        put_in_folder("PDFFMapper sample", [*echoes, *diffusion, segmentation])
    finally:
        scene.EndState(scene.BatchProcessState)
    show_in_slices(diffusion[0])
    return MapperSampleNodes(echoes, diffusion, segmentation, _true_pdff(regions))


def _regions(phantom: LumbarPhantom) -> list[Region]:
    # Noise is left out: it is air, and would hide the anatomy.
    regions = regions_from_labels(phantom.labels, phantom.rules)
    return [region for region in regions if region.role is not Role.NOISE]


def _true_pdff(regions: list[Region]) -> dict[str, float]:
    marrow = [region for region in regions if region.role is Role.MARROW]
    return {one.site: 100 * TISSUES[one.site].pdff for one in marrow if one.site in TISSUES}
