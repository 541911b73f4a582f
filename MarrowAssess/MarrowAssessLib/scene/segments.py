"""Regions as segments of the Slicer scene, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import slicer
from PDFFMapperLib.images.volume import Volume, lies_outside
from PDFFMapperLib.scene.volumes import (
    ijk_to_world,
    numpy_matrix,
    volume_from_node,
    world_matrix,
)
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.terminology import role_and_site, terminology_entry, tissues
from MarrowAssessLib.study.regions import JUDGED_RIGHT, Region
from MarrowAssessLib.study.study import OtherGrid

ROLE_TAG = "MarrowAssess.Role"
SITE_TAG = "MarrowAssess.Site"
CAUTIONS_TAG = "MarrowAssess.Cautions"
DOUBTFUL_TAG = "MarrowAssess.Doubtful"
LABELMAP = "Binary labelmap"
GRID_TOLERANCE_MM = 0.01


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
            to_volume = world_to_ijk @ to_world @ _image_matrix(image)
            if _same_lattice(to_volume, image.GetExtent(), volume_node.GetSpacing()):
                mask, offset = _cropped_label(image, segment.GetLabelValue(), boxes)
                placed = _onto_grid(mask, offset, np.rint(to_volume).astype(int), shape)
        if placed is None:
            _require(resample, f"Segment '{segment.GetName()}'", volume_node)
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
    mask, first = _cropped_label(image, segment.GetLabelValue(), {})
    to_ras = _image_matrix(image)
    ijk = np.argwhere(mask)[:, ::-1] + first
    return ijk @ to_ras[:3, :3].T + to_ras[:3, 3]


def segment_labels(node: slicer.vtkMRMLNode) -> set[int]:
    """The label values in a label map volume or of a segmentation's segments, without 0."""
    if node.IsA("vtkMRMLSegmentationNode"):
        segments = node.GetSegmentation()
        return {segments.GetSegment(one).GetLabelValue() for one in segments.GetSegmentIDs()}
    return {int(value) for value in np.unique(_label_volume(node).array)} - {0}


def labels_on_grid(
    node: slicer.vtkMRMLNode, volume_node: slicer.vtkMRMLVolumeNode, resample: bool = False
) -> tuple[np.ndarray, bool]:
    """The labels of a label map volume or segmentation as an array [k, j, i] on a volume's grid.

    Args:
        node: label map, or segmentation whose segments keep their label values.
        volume_node: whose grid is wanted.
        resample: whether labels on another grid are resampled (nearest neighbor).

    Returns:
        The labels, and whether they were resampled.

    Raises:
        ValueError: no voxels, values that are not whole, or another grid without `resample`.
    """
    grid = volume_from_node(volume_node)
    if node.IsA("vtkMRMLSegmentationNode"):
        return _segment_label_array(node, volume_node, resample)
    labels = _label_volume(node)
    if labels.same_grid(grid):
        return labels.array, False
    _require(resample, f"Label map '{node.GetName()}'", volume_node)
    k, j, i = np.indices(grid.array.shape, sparse=True)
    to_labels = np.linalg.inv(labels.ijk_to_ras) @ grid.ijk_to_ras
    at = [
        np.rint(row[0] * i + row[1] * j + row[2] * k + row[3]).astype(int) for row in to_labels[:3]
    ]
    sizes = labels.array.shape[::-1]
    inside = np.logical_and.reduce([(0 <= a) & (a < n) for a, n in zip(at, sizes, strict=True)])
    i, j, k = (np.clip(a, 0, n - 1) for a, n in zip(at, sizes, strict=True))
    return np.where(inside, labels.array[k, j, i], 0), True


def _segment_label_array(
    node: slicer.vtkMRMLSegmentationNode, volume_node: slicer.vtkMRMLVolumeNode, resample: bool
) -> tuple[np.ndarray, bool]:
    labels = np.zeros(volume_node.GetImageData().GetDimensions()[::-1], np.int32)
    segments = node.GetSegmentation()
    world_to_ijk, to_world = np.linalg.inv(ijk_to_world(volume_node)), world_matrix(node)
    moved = False
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        image = segment.GetRepresentation(LABELMAP)
        same = image is not None and _same_lattice(
            world_to_ijk @ to_world @ _image_matrix(image),
            image.GetExtent(),
            volume_node.GetSpacing(),
        )
        if not same:
            _require(resample, f"Segment '{segment.GetName()}'", volume_node)
            moved = True
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume_node)
        if mask is not None:
            labels[mask > 0] = segment.GetLabelValue()
    return labels, moved


def _require(resample: bool, what: str, volume_node: slicer.vtkMRMLVolumeNode) -> None:
    if not resample:
        raise OtherGrid(
            f"{what} is not drawn on the voxel grid of '{volume_node.GetName()}'; ask for "
            "resampling (option 'Resample onto one grid'), or choose that volume as its source."
        )


def _label_volume(node: slicer.vtkMRMLVolumeNode) -> Volume:
    labels = volume_from_node(node)
    if not np.array_equal(labels.array, np.rint(labels.array)):
        raise ValueError(f"'{node.GetName()}' is no label map: its values are not whole numbers.")
    return labels.with_array(labels.array.astype(np.int32))


def _image_matrix(image: slicer.vtkOrientedImageData) -> np.ndarray:
    matrix = vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return numpy_matrix(matrix)


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


def _same_lattice(to_volume: np.ndarray, extent: tuple[int, ...], spacing: tuple) -> bool:
    """Whether segment voxels fall on volume voxels: whole steps along swapped or flipped axes."""
    whole = np.rint(to_volume)
    if not np.array_equal(np.abs(whole[:3, :3]).sum(axis=0), np.ones(3)):
        return False
    corners = np.array([[i, j, k, 1] for i in extent[:2] for j in extent[2:4] for k in extent[4:]])
    apart = (corners @ (to_volume - whole).T)[:, :3] * spacing
    return bool(np.abs(apart).max() <= GRID_TOLERANCE_MM)


def _cropped_label(
    image: slicer.vtkOrientedImageData, label: int, boxes: dict[str, list]
) -> tuple[np.ndarray, np.ndarray]:
    """A label's cropped [k, j, i] mask and the (i, j, k) index of its first voxel."""
    scalars = image.GetPointData().GetScalars()
    extent = image.GetExtent()
    if scalars is None or min(image.GetDimensions()) < 1:
        return np.zeros((0, 0, 0), bool), np.zeros(3, int)
    array = vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1])
    key = image.GetAddressAsString("vtkObject")
    if key not in boxes:  # segments share layers: look for all labels of a layer at once
        from scipy.ndimage import find_objects  # a third of a panel's opening, which needs none

        boxes[key] = find_objects(array.astype(np.int32, copy=False))
    found = boxes[key][label - 1] if label <= len(boxes[key]) else None
    if found is None:
        return np.zeros((0, 0, 0), bool), np.zeros(3, int)
    first = np.array([found[2].start, found[1].start, found[0].start])
    return array[found] == label, first + [extent[0], extent[2], extent[4]]


def _onto_grid(
    mask: np.ndarray, first_ijk: np.ndarray, to_volume: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, tuple[int, int, int], int]:
    """Mask and (k, j, i) offset on the volume's grid, and how many voxels fall outside it."""
    if not mask.size:
        return mask, (0, 0, 0), 0
    last_ijk = first_ijk + np.array(mask.shape[::-1]) - 1
    ends = np.stack([first_ijk, last_ijk]) @ to_volume[:3, :3].T + to_volume[:3, 3]
    turn = to_volume[:3, :3]
    source_axis = np.abs(turn).argmax(axis=1)  # for each volume axis i, j, k: the segment's axis
    order = [2 - source_axis[2 - axis] for axis in range(3)]  # the same for k, j, i indexing
    turned = mask.transpose(order)
    flips = [slice(None, None, int(turn[2 - axis].sum())) for axis in range(3)]
    turned = turned[tuple(flips)]
    start = ends.min(axis=0)[::-1]
    inside = tuple(
        slice(max(0, -s), max(0, min(n, size - s)))
        for s, n, size in zip(start, turned.shape, shape, strict=True)
    )
    kept = np.ascontiguousarray(turned[inside])
    offset = tuple(int(max(0, s)) for s in start)
    lost = int(np.count_nonzero(turned)) - int(np.count_nonzero(kept))
    return (kept, offset, lost) if kept.size else (np.zeros((0, 0, 0), bool), (0, 0, 0), lost)
