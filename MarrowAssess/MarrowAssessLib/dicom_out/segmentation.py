"""Regions as a DICOM Segmentation (PS3.3, A.51), by highdicom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PDFFMapperLib.dicom_out.source import (
    MAKER,
    Source,
    equipment,
    finish,
    made_of_headers,
    planes,
)
from PDFFMapperLib.install.software import VERSION
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from MarrowAssessLib.catalogue.terminology import SIDES, site_and_side, tissues
from MarrowAssessLib.dicom_out.codes import labels_of, plain
from MarrowAssessLib.sources.segmentations import DOUBTFUL, PIECES
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study

LARGEST_BYTES = 2_000_000_000  # what a DICOM element of 32-bit length holds, with room
_DESCRIPTION = 1024  # characters
_ALGORITHMS = {  # by how a study's regions came about (keys of Study.inputs)
    "spine": "AUTOMATIC", "segmented with": "AUTOMATIC", "points": "SEMIAUTOMATIC",
    "labels": "MANUAL", "segmentation": "MANUAL", "markups": "MANUAL",
}  # fmt: skip


def segmentation(study: Study, source: Source, masks: Sequence[np.ndarray]) -> Dataset:
    """One binary segment for each region that holds a voxel.

    Args:
        study: with the regions.
        source: what the object belongs to.
        masks: of the regions on the source's grid, indexed [k, j, i].

    Raises:
        ValueError: the object would be larger than DICOM allows.
    """
    import highdicom

    size = sum(int(mask.any(axis=(1, 2)).sum()) * mask[0].size // 8 for mask in masks)
    if size > LARGEST_BYTES:
        raise ValueError(
            f"The segmentation would hold {size / 1e9:.1f} GB, more than a DICOM object can; "
            "export fewer regions at a time."
        )
    kind = _algorithm_type(study)
    labels = labels_of([region.name for region in study.regions])
    segments = [
        _description(n, region, labels[region.name], source, kind)
        for n, region in enumerate(study.regions, start=1)
    ]
    with made_of_headers():
        made = highdicom.seg.Segmentation(
            source_images=source.headers,
            further_source_images=source.others or None,
            pixel_array=np.stack(masks, axis=-1).astype(np.uint8),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            content_label="MARROW",
            content_description="Regions of interest of MarrowAssess",
            series_description=f"{MAKER}: regions",
            **planes(source),
            **equipment(1, source),
        )
    for item, region in zip(made.SegmentSequence, study.regions, strict=True):
        if text := _told(region):
            item.SegmentDescription = text
    finish(made, source)
    return made


def masks_on(study: Study, source: Source) -> tuple[list[np.ndarray], str]:
    """The regions on the source's slices, and a sentence where they had to be brought there.

    Raises:
        ValueError: a region does not meet any slice.
    """
    shape = study.grid.array.shape
    full = [region.full_mask(shape) for region in study.regions]
    own = source.slices.grid
    if study.grid.same_grid(own):
        return full, ""
    from PDFFMapperLib.images.resampling import nearest

    moved = [
        nearest(study.grid.with_array(mask.astype(np.uint8)), own).array.astype(bool)
        for mask in full
    ]
    if lost := [r.name for r, mask in zip(study.regions, moved, strict=True) if not mask.any()]:
        raise ValueError(
            f"{', '.join(lost)}: no slice of the DICOM images lies in this region, so it cannot be "
            "written as DICOM; draw the regions on the DICOM images."
        )
    return moved, (
        "In DICOM the regions were brought to the slices of the source images, each voxel to the "
        "nearest; the measurements are those of the regions as they were drawn."
    )


def _description(number: int, region: Region, label: str, source: Source, kind: str) -> Dataset:
    import highdicom
    from highdicom.sr import CodedConcept

    tissue = tissues()[region.role]
    site, side = site_and_side(region.site)
    made = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=plain(tissue.category),
        segmented_property_type=plain(tissue.type),
        algorithm_type=kind,
        algorithm_identification=None
        if kind == "MANUAL"
        else highdicom.AlgorithmIdentificationSequence(
            MAKER, Code("123110", "DCM", "Artificial Intelligence"), VERSION
        ),
        tracking_uid=source.tracking_uid(region.name),
        tracking_id=label,
        anatomic_regions=[plain(site)] if site else None,
        display_color=highdicom.color.CIELabColor(*_lab(tissue.color)),
    )
    if side and site:
        item = made.AnatomicRegionSequence[0]
        item.AnatomicRegionModifierSequence = [CodedConcept.from_code(plain(SIDES[side]))]
    return made


def _told(region: Region) -> str:
    """What must be known of a region, as `sources.segmentations` reads it again."""
    if region.pieces:  # nothing is said of it otherwise
        return PIECES
    text = " ".join(region.cautions)
    return (f"{DOUBTFUL} {text}" if region.doubtful else text)[:_DESCRIPTION]


def _algorithm_type(study: Study) -> str:
    """How the regions came about; several ways together are SEMIAUTOMATIC."""
    ways = {way for key, way in _ALGORITHMS.items() if key in study.inputs}
    return ways.pop() if len(ways) == 1 else "SEMIAUTOMATIC"


def _lab(color: tuple[float, float, float]) -> tuple[float, float, float]:
    from skimage.color import rgb2lab

    return tuple(float(value) for value in rgb2lab(np.array([[color]]))[0, 0])
