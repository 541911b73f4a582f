"""Segmentations drawn elsewhere: Slicer's .seg.nrrd of any version, and DICOM segmentations."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PDFFMapperLib.dicom.segmentation import DicomSegment, is_segmentation, read_segmentation
from PDFFMapperLib.images.files import metadata_of, read_image, volume_from_image
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import parse_role, parse_site
from MarrowAssessLib.catalogue.terminology import NoTissue, role_and_site
from MarrowAssessLib.study.regions import Region

# How the description of a DICOM segment begins where it may be another structure.
DOUBTFUL = "Doubtful:"
PIECES = "Pieces of muscle."  # and the whole of it where no area of it means anything


@dataclass
class Segmentation:
    """The regions of a segmentation.

    Attributes:
        grid: a volume that stands for the grid they are on.
        regions: segments whose name or codes tell a tissue.
        left_out: the others, with the reason in parentheses.
        notes: how it was read.
    """

    grid: Volume
    regions: list[Region]
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def regions_from_segmentation(path: str | Path, likes: Sequence[Volume] = ()) -> Segmentation:
    """The regions of a Slicer segmentation (.seg.nrrd) or a DICOM segmentation.

    Role and site come from the segment's tags where this software wrote them, else from its
    terminology or its name. Segments that tell no tissue, and empty ones, are left out.

    Args:
        path: of the file.
        likes: volumes that a DICOM segmentation may have been drawn on.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or no segment tells a tissue.
    """
    path = Path(path)
    found = _of_dicom(path, likes) if is_segmentation(path) else _of_slicer(path)
    if not found.regions:
        raise ValueError(
            f"{path}: no segment tells its tissue (left out: {', '.join(found.left_out)}); name "
            "them by site and role, such as 'L3 marrow' or 'L4-L5 disc', or give a terminology."
        )
    return found


def _of_dicom(path: Path, likes: Sequence[Volume]) -> Segmentation:
    read = read_segmentation(path, likes)
    found = Segmentation(read.grid, [], notes=read.notes)
    beside = [segment.label for segment in read.segments]
    for segment in read.segments:
        name = segment.label or f"segment {segment.number}"
        tags = {"TerminologyEntry": _entry(segment), **_cautions(segment)}
        _take(found, name, tags, read.masks[segment.number], beside)
    return found


def _entry(segment: DicomSegment) -> str:
    """The codes as Slicer writes them into a segment's terminology entry."""
    parts = [("", "", ""), segment.type_code, segment.type_side]
    regions = [segment.region, segment.region_side]
    return "~".join(["", *map("^".join, parts), "", *map("^".join, regions)])


def _cautions(segment: DicomSegment) -> dict[str, str]:
    """What this software wrote of a region that must be known, as tags."""
    if not segment.is_ours or not segment.description:
        return {}
    if segment.description == PIECES:
        return {"MarrowAssess.Pieces": "1"}
    doubtful = segment.description.startswith(DOUBTFUL)
    text = segment.description.removeprefix(DOUBTFUL).strip()
    return {
        "MarrowAssess.Cautions": json.dumps([text] if text else []),
        "MarrowAssess.Doubtful": "1" if doubtful else "0",
    }


def _of_slicer(path: Path) -> Segmentation:
    import SimpleITK as sitk

    image = read_image(path)
    keys = metadata_of(image)
    components = image.GetNumberOfComponentsPerPixel()
    layers = sitk.GetArrayFromImage(image)
    layers = layers[..., None] if components == 1 else layers
    if layers.ndim != 4:
        raise ValueError(f"{path}: a 3D segmentation is expected, this one is {layers.ndim - 1}D.")
    numbers = [int(found[1]) for key in keys if (found := re.fullmatch(r"Segment(\d+)_Name", key))]
    count = len(numbers)
    if not count:
        raise ValueError(
            f"{path}: this file holds no named segment; give a label map with --label VALUE=ROLE."
        )
    kinds = [keys.get(f"Segmentation_{word}Representation", "") for word in ("Master", "Source")]
    if any("fractional" in kind.lower() for kind in kinds):
        raise ValueError(
            f"{path}: its segments are fractional, so it does not say where they end; in Slicer "
            "make the binary label map the master representation and save it again."
        )
    if components > 1 and not any(f"Segment{n}_Layer" in keys for n in numbers):
        if count != components:  # Slicer up to 4.10 wrote one component a segment
            raise ValueError(
                f"{path}: it has {count} segments in {components} layers and does not say which "
                "lies in which layer; save it again with a newer Slicer."
            )
    first = sitk.VectorIndexSelectionCast(image, 0) if components > 1 else image
    found = Segmentation(volume_from_image(first, path.name), [])
    beside = [keys[f"Segment{number}_Name"] for number in numbers]
    taken: dict[tuple[int, int], str] = {}
    for place, number in enumerate(sorted(numbers)):
        field_of = {
            key: keys[f"Segment{number}_{key}"]
            for key in ("Name", "LabelValue", "Layer", "Tags")
            if f"Segment{number}_{key}" in keys
        }
        name = field_of["Name"]
        try:
            value = int(field_of.get("LabelValue", 1))
            layer = int(field_of.get("Layer", place if components > 1 else 0))
            if layer < 0:
                raise ValueError("negative")
            mask = layers[..., layer] == value
        except (ValueError, IndexError) as error:
            raise ValueError(f"{path}: segment '{name}' has no valid label or layer.") from error
        if (other := taken.setdefault((layer, value), name)) != name:
            raise ValueError(
                f"{path}: segments '{other}' and '{name}' have one label ({value}) in one layer, "
                "so the file does not say which voxels are whose; save it again with a newer "
                "Slicer."
            )
        pairs = [tag.split(":", 1) for tag in field_of.get("Tags", "").split("|") if ":" in tag]
        _take(found, name, dict(pairs), mask, beside)
    return found


def _take(
    found: Segmentation, name: str, tags: dict[str, str], mask: np.ndarray, beside: Sequence[str]
) -> None:
    """Add a segment as a region, or say why it is none; `beside` are the names of all."""
    if "MarrowAssess.Role" in tags:
        role = parse_role(tags["MarrowAssess.Role"])
        site = parse_site(tags.get("MarrowAssess.Site", ""))
    else:
        try:
            role, site = role_and_site(name, tags.get("TerminologyEntry", ""), beside)
        except NoTissue as error:
            found.left_out.append(f"{name} (no tissue named: {error.why})")
            return
    region = Region.from_mask(name, role, site, mask)
    region.cautions = json.loads(tags.get("MarrowAssess.Cautions", "[]"))
    region.doubtful = tags.get("MarrowAssess.Doubtful") == "1"
    region.pieces = tags.get("MarrowAssess.Pieces") == "1"
    if region.voxels:
        found.regions.append(region)
    else:
        found.left_out.append(f"{name} (empty)")
