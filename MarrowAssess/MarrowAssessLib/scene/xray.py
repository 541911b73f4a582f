"""Sizes on a radiograph in the viewer: Slicer's lines become lines of the X-ray form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import slicer
from PDFFMapperLib.images.identity import short_hash
from PDFFMapperLib.images.json_file import read_json, write_json
from PDFFMapperLib.scene.origin import instances_of
from PDFFMapperLib.scene.volumes import ijk_to_world, volume_from_node

from MarrowAssessLib.findings.xray import SCHEMA, read_line
from MarrowAssessLib.scene.choices import scalar_volumes
from MarrowAssessLib.sources.radiograph import RadiographScale, radiograph_scale

FORM = "xray_form.json"


def write_form(folder: str | Path, dicom_file: Callable[[str], str] | None = None) -> Path:
    """Write the form of the scene's lines; one that is there already is completed.

    Raises:
        ValueError: as measured_form, the form that is there is damaged, or it cannot be written.
    """
    file = Path(folder) / FORM
    before = read_json(file, "an X-ray form") if file.exists() else None
    form = measured_form(None, before, dicom_file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, form)
    except OSError as error:
        raise ValueError(
            f"The form cannot be written to '{folder}' ({error.strerror}); choose a folder that "
            "you may write to."
        ) from error
    return file


def measured_form(
    lines: Sequence[slicer.vtkMRMLMarkupsLineNode] | None = None,
    before: Mapping | None = None,
    dicom_file: Callable[[str], str] | None = None,
) -> dict:
    """An X-ray form with the sizes of lines, for the reader to complete.

    Args:
        lines: each named by what it measures, such as "definite metaphyseal lucent band of the
            left distal femur"; None: all of the scene.
        before: a form that is completed; its other lines and what the reader wrote stay.
        dicom_file: the file of a DICOM instance UID, "" for none.

    Raises:
        ValueError: there is no line, its name is no sign or that of another line, or its
            radiograph tells no mm; or the form before is damaged, or of another radiograph or
            scale.
    """
    if lines is None:
        lines = slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode")
    if not lines:
        raise ValueError(
            "There is no line; draw one over the band or lesion and name it by what it is, such as "
            "'definite focal lysis of the left distal femur'."
        )
    found, scales = {}, {}
    for line in lines:
        sign = read_line(line.GetName())
        size, scale, image = line_size(line, dicom_file)
        place = sign["sign"], sign["site"], sign["side"]
        if place in found:
            raise ValueError(
                f"Line '{line.GetName()}' is the second of its sign, side and bone; the form has "
                "one size of each, so keep one line."
            )
        found[place] = sign | {"size_mm": round(size, 1)}
        scales[image] = scale
    if len(scales) > 1:
        raise ValueError("The lines lie on several radiographs; make a form of each.")
    ((image, scale),) = scales.items()
    of = {
        "radiograph": short_hash(volume_from_node(image, copy=False)),
        "pixel_spacing_mm": scale.spacing_mm[0],
        "magnification": scale.magnification,
    }
    kept = dict(before or {"schema": SCHEMA, "day": None, "reader": "", "view": "", "quality": ""})
    others = [
        one
        for one in _lines(kept)
        if (one.get("sign"), str(one.get("site")).lower(), one.get("side")) not in found
    ]
    sizes = any(one.get("size_mm") is not None for one in others)
    rescaled = any(kept.get(key) != of[key] for key in ("pixel_spacing_mm", "magnification"))
    if kept.get("radiograph", of["radiograph"]) != of["radiograph"] or (sizes and rescaled):
        raise ValueError(
            "The form that is there already is of another radiograph, or its sizes are of another "
            "scale; choose another folder."
        )
    return kept | of | {"findings": [*others, *found.values()]}


def _lines(form: Mapping) -> list[dict]:
    lines = form.get("findings", [])
    if not isinstance(lines, list) or not all(isinstance(one, dict) for one in lines):
        raise ValueError("X-ray form: findings are a list of signs, each an object.")
    return lines


def line_size(
    line: slicer.vtkMRMLMarkupsLineNode, dicom_file: Callable[[str], str] | None = None
) -> tuple[float, RadiographScale, slicer.vtkMRMLScalarVolumeNode]:
    """A line's length in mm on the radiograph that it lies on, the scale, and the radiograph.

    Raises:
        ValueError: the line is not finished, lies on no radiograph or on several, or its scale is
            not known.
    """
    name = line.GetName()
    placed = [line.GetNthControlPointPositionStatus(n) == line.PositionDefined for n in range(2)]
    if line.GetNumberOfControlPoints() != 2 or not all(placed):
        raise ValueError(f"Line '{name}' has not both of its ends yet; place them.")
    ends = slicer.util.arrayFromMarkupsControlPoints(line, world=True)
    on = [node for node in scalar_volumes() if _lies_on(ends, node)]
    if len(on) != 1:
        raise ValueError(
            f"Line '{name}' lies on {len(on)} radiographs; draw it on one image of a single slice."
        )
    (across, down, _) = np.abs(np.diff(_indices(ends, on[0]), axis=0)[0])
    scale = _scale(on[0], dicom_file)
    return scale.size_mm(down, across), scale, on[0]


def _indices(points: np.ndarray, node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    matrix = np.linalg.inv(ijk_to_world(node))
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _lies_on(ends: np.ndarray, node: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether an image is a single slice (i, j, 1) and both points lie in it."""
    size = node.GetImageData().GetDimensions() if node.GetImageData() else (0, 0, 0)
    at = _indices(ends, node)
    inside = (at[:, :2] >= -0.5).all() and (at[:, :2] <= np.array(size[:2]) - 0.5).all()
    return size[2] == 1 and bool(inside) and bool((np.abs(at[:, 2]) <= 1).all())


def _scale(
    node: slicer.vtkMRMLScalarVolumeNode, dicom_file: Callable[[str], str] | None
) -> RadiographScale:
    uids = instances_of(node)
    if file := dicom_file(uids[0]) if uids and dicom_file else "":
        return radiograph_scale(file)
    column, row, _ = node.GetSpacing()
    if row == column == 1.0:  # what images without a spacing get
        raise ValueError(
            f"Nothing tells how large a pixel of '{node.GetName()}' is; load the radiograph from "
            "DICOM, or set its spacing in the Volumes module."
        )
    return RadiographScale((row, column), None)
