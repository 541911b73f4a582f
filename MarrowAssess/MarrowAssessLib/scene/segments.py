"""Regions as segments of the Slicer scene, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import slicer
from PDFFMapperLib.images.volume import lies_outside
from PDFFMapperLib.scene.lattice import (
    LABELMAP,
    cropped_label,
    image_matrix,
    onto_grid,
    same_lattice,
)
from PDFFMapperLib.scene.volumes import (
    ijk_to_world,
    world_matrix,
)
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.terminology import role_and_site, terminology_entry, tissues
from MarrowAssessLib.study.regions import JUDGED_RIGHT, Region
from MarrowAssessLib.study.study import require_resampling

ROLE_TAG = "MarrowAssess.Role"
SITE_TAG = "MarrowAssess.Site"
CAUTIONS_TAG = "MarrowAssess.Cautions"
DOUBTFUL_TAG = "MarrowAssess.Doubtful"
PIECES_TAG = "MarrowAssess.Pieces"


def regions_to_node(
    regions: Sequence[Region], volume_node: slicer.vtkMRMLVolumeNode, name: str = "Regions"
) -> slicer.vtkMRMLSegmentationNode:
    """Add regions as a segmentation on a volume's grid, one coded segment each.

    The segment's ID is the region's name. Regions share labelmap layers where they do not overlap.

    Raises:
        ValueError: two regions have one name, or a region lies outside the volume.
    """
    names = [region.name for region in regions]
    if twice := {one for one in names if names.count(one) > 1}:
        raise ValueError(f"Region names must differ; given twice: {', '.join(sorted(twice))}.")
    for region in regions:
        _require_inside(region, volume_node)
    shape = volume_node.GetImageData().GetDimensions()[::-1]
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    set_grid(node, volume_node)
    matrix = vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    layers = _layers(regions, shape)
    images = [_labelmap(array, offset, matrix) for array, offset in layers.arrays]
    modified = node.StartModify()
    for region, layer, label in zip(regions, layers.layer, layers.label, strict=True):
        segment = _segment(region, images[layer], label)
        node.GetSegmentation().AddSegment(segment, region.name)
    node.EndModify(modified)
    return node


def set_grid(
    segmentation: slicer.vtkMRMLSegmentationNode, volume_node: slicer.vtkMRMLVolumeNode
) -> None:
    """Let an empty segmentation be drawn on a volume's grid, where that volume lies."""
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    segmentation.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())


def drawn_on(
    segmentation: slicer.vtkMRMLSegmentationNode,
) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The volume on whose grid a segmentation is drawn, None where none is known."""
    return segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())


def region_segment(region: Region, volume_node: slicer.vtkMRMLVolumeNode) -> slicer.vtkSegment:
    """A region on a volume's grid as a coded segment with a labelmap of its own.

    Raises:
        ValueError: the region lies outside the volume.
    """
    _require_inside(region, volume_node)
    matrix = vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    ((array, offset),) = _layers([region], region.mask.shape).arrays
    return _segment(region, _labelmap(array, offset, matrix), 1)


def _segment(region: Region, image: slicer.vtkOrientedImageData, label: int) -> slicer.vtkSegment:
    segment = slicer.vtkSegment()
    segment.SetName(region.name)
    segment.SetColor(*tissues()[region.role].color)
    segment.SetTag(
        segment.GetTerminologyEntryTagName(), terminology_entry(region.role, region.site)
    )
    segment.SetTag(ROLE_TAG, region.role.value)
    segment.SetTag(SITE_TAG, region.site)
    if region.cautions:
        segment.SetTag(CAUTIONS_TAG, _tag_text(region.cautions))
    if region.doubtful:
        segment.SetTag(DOUBTFUL_TAG, "1")
    if region.pieces:
        segment.SetTag(PIECES_TAG, "1")
    segment.AddRepresentation(LABELMAP, image)
    segment.SetLabelValue(label)
    return segment


def _tag_text(sentences: Sequence[str]) -> str:
    # A bar ends a tag in .seg.nrrd files.
    return json.dumps(sentences).replace("|", "\\u007c")


def _require_inside(region: Region, volume_node: slicer.vtkMRMLVolumeNode) -> None:
    shape = volume_node.GetImageData().GetDimensions()[::-1]
    if any(part.stop > n for part, n in zip(region.box, shape, strict=True)):
        part = f"A part of {region.name}"
        raise ValueError(lies_outside(part, volume_node.GetName(), "draw it on this image's grid"))


def regions_from_node(
    node: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLVolumeNode,
    resample: bool = False,
    segment_ids: Sequence[str] | None = None,
) -> list[Region]:
    """The segments as regions on a volume's grid, roles and sites from tags, codes or names.

    Args:
        node: the segmentation; parent transforms of both nodes are honored.
        volume_node: the volume to measure.
        resample: whether segments drawn on another grid are resampled (nearest neighbor).
        segment_ids: the segments wanted; all if None.

    Raises:
        ValueError: a segment's role is unknown, or its grid differs and `resample` is not set.
    """
    segmentation = node.GetSegmentation()
    shape = volume_node.GetImageData().GetDimensions()[::-1]
    world_to_ijk = np.linalg.inv(ijk_to_world(volume_node))
    to_world = world_matrix(node)
    boxes: dict[str, list] = {}
    regions = []
    beside = segment_names(node)
    wanted = segmentation.GetSegmentIDs() if segment_ids is None else segment_ids
    for segment_id in wanted:
        segment = segmentation.GetSegment(segment_id)
        role, site, cautions = segment_identity(segment, beside)
        image = segment.GetRepresentation(LABELMAP)
        placed = None
        if image is not None:
            to_volume = world_to_ijk @ to_world @ image_matrix(image)
            if same_lattice(to_volume, image.GetExtent(), volume_node.GetSpacing()):
                mask, offset = cropped_label(image, segment.GetLabelValue(), boxes)
                placed = onto_grid(mask, offset, np.rint(to_volume).astype(int), shape)
        if placed is None:
            require_resampling(resample, f"Segment '{segment.GetName()}'", volume_node.GetName())
            full = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume_node)
            region = Region.from_mask(segment.GetName(), role, site, full > 0)
            region.cautions = [*cautions, "Resampled from another voxel grid."]
        else:
            mask, offset, lost = placed
            region = Region(segment.GetName(), role, site, mask, offset, cautions)
            if lost:
                part = f"A part of {region.name} ({lost} voxels)"
                said = lies_outside(part, volume_node.GetName(), "it was left out")
                region.cautions = [*cautions, said]
        region.doubtful = is_doubtful(segment)
        region.pieces = segment_tag(segment, PIECES_TAG) == "1"
        regions.append(region)
    return regions


def is_doubtful(segment: slicer.vtkSegment) -> bool:
    """Whether a placed segment may be another structure and nobody has judged it right."""
    return segment_tag(segment, DOUBTFUL_TAG) == "1"


def doubts(segmentation: slicer.vtkMRMLSegmentationNode | None) -> dict[str, list[str]]:
    """The names of doubtful segments, each with the reasons."""
    if segmentation is None or segmentation.GetScene() is None:
        return {}
    doubtful = (one.segment for one in known_segments(segmentation) if is_doubtful(one.segment))
    return {one.GetName(): segment_identity(one)[2] for one in doubtful}


def judge_right(segment: slicer.vtkSegment) -> None:
    """Take a doubtful segment as right; its cautions stay, and say so."""
    cautions = segment_identity(segment)[2]
    segment.SetTag(CAUTIONS_TAG, _tag_text([*cautions, JUDGED_RIGHT]))
    segment.SetTag(DOUBTFUL_TAG, "0")


def segment_points(segment: slicer.vtkSegment) -> np.ndarray:
    """The (n, 3) RAS positions in mm of a segment's voxels, before any parent transform.

    Raises:
        ValueError: the segment is a surface without voxels.
    """
    image = segment.GetRepresentation(LABELMAP)
    if image is None:
        raise ValueError(
            f"Segment '{segment.GetName()}' has no voxels; create its binary labelmap first."
        )
    mask, first = cropped_label(image, segment.GetLabelValue(), {})
    to_ras = image_matrix(image)
    ijk = np.argwhere(mask)[:, ::-1] + first
    return ijk @ to_ras[:3, :3].T + to_ras[:3, 3]


@dataclass
class _Layers:
    """Label arrays that hold all regions, cropped, and where each region went."""

    arrays: list[tuple[np.ndarray, tuple[int, int, int]]]
    layer: list[int]
    label: list[int]


def _layers(regions: Sequence[Region], shape: tuple[int, ...]) -> _Layers:
    filled = [region for region in regions if region.mask.size]
    start = np.min([r.offset for r in filled], axis=0) if filled else np.zeros(3, int)
    stop = (
        np.max([np.add(r.offset, r.mask.shape) for r in filled], axis=0)
        if filled
        else np.ones(3, int)
    )
    kind = np.uint8 if len(regions) < 256 else np.uint16
    arrays: list[np.ndarray] = []
    layers = _Layers([], [], [])
    for label, region in enumerate(regions, start=1):
        box = tuple(
            slice(o - s, o - s + n)
            for o, s, n in zip(region.offset, start, region.mask.shape, strict=True)
        )
        if not region.mask.size:
            box = (slice(0, 0),) * 3
        free = (n for n, array in enumerate(arrays) if not array[box][region.mask].any())
        number = next(free, len(arrays))
        if number == len(arrays):
            arrays.append(np.zeros(stop - start, kind))
        arrays[number][box][region.mask] = label
        layers.layer.append(number)
        layers.label.append(label)
    layers.arrays = [(array, tuple(int(s) for s in start)) for array in arrays]
    return layers


def _labelmap(
    array: np.ndarray, offset: tuple[int, int, int], ijk_to_ras: vtkMatrix4x4
) -> slicer.vtkOrientedImageData:
    k, j, i = offset
    nk, nj, ni = array.shape
    image = slicer.vtkOrientedImageData()
    image.SetExtent(i, i + ni - 1, j, j + nj - 1, k, k + nk - 1)
    image.SetImageToWorldMatrix(ijk_to_ras)
    image.GetPointData().SetScalars(numpy_to_vtk(array.ravel(), deep=True))
    return image


def segment_identity(
    segment: slicer.vtkSegment, beside: Iterable[str] = ()
) -> tuple[Role, str, list[str]]:
    """Role, site and cautions of a segment, from its tags, codes or name.

    `beside` are the names of all segments of its segmentation, see terminology.role_and_site.

    Raises:
        NoTissue: none of them tells the role.
    """

    def tag(name: str) -> str:
        # vtkSegment.GetTag writes into a C++ string, which Python passes as a list-like reference.
        return segment_tag(segment, name)

    cautions = json.loads(tag(CAUTIONS_TAG) or "[]")
    if tag(ROLE_TAG):
        return Role(tag(ROLE_TAG)), tag(SITE_TAG), cautions
    role, site = role_and_site(segment.GetName(), tag(segment.GetTerminologyEntryTagName()), beside)
    return role, site, cautions


@dataclass(frozen=True)
class KnownSegment:
    """A segment whose tissue is known."""

    id: str
    segment: slicer.vtkSegment
    role: Role
    site: str


def known_segments(segmentation: slicer.vtkMRMLSegmentationNode) -> list[KnownSegment]:
    """The segments whose tissue is known; the others are left alone."""
    segments, beside = segmentation.GetSegmentation(), segment_names(segmentation)
    found = []
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        try:
            role, site, _ = segment_identity(segment, beside)
        except ValueError:
            continue
        found.append(KnownSegment(segment_id, segment, role, site))
    return found


def segment_names(segmentation: slicer.vtkMRMLSegmentationNode) -> list[str]:
    """The names of all segments."""
    segments = segmentation.GetSegmentation()
    return [segments.GetSegment(one).GetName() for one in segments.GetSegmentIDs()]


def segment_tag(segment: slicer.vtkSegment, name: str) -> str:
    """The text of a segment's tag, "" where it has none."""
    from vtkmodules.vtkCommonCore import reference

    value = reference("")
    return str(value) if segment.GetTag(name, value) else ""
