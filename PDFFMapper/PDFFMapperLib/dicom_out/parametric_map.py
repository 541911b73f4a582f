"""Maps as DICOM Parametric Map objects (PS3.3, A.75), by highdicom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from PDFFMapperLib.dicom_out.source import (
    SCHEME,
    Source,
    equipment,
    finish,
    made_of_headers,
    planes,
    save,
)
from PDFFMapperLib.images.volume import grids_differ
from PDFFMapperLib.install.software import MAKER
from PDFFMapperLib.maps.kinds import UNIT_CODES, MapKind, map_kind
from PDFFMapperLib.maps.parametric_map import ParametricMap

FAILED = "NaN where no value could be determined."
_SD = "_SD"
_IVIM = ("D", "Dstar", "f")
# Where a source says it was, as a code; readers ask for one, and the body holds everything.
_REGIONS = {
    "SPINE": ("421060004", "Spine"),
    "CSPINE": ("122494005", "Cervical spine"),
    "TSPINE": ("122495006", "Thoracic spine"),
    "LSPINE": ("122496007", "Lumbar spine"),
    "PELVIS": ("816092008", "Pelvis"),
    "ABDOMEN": ("818981001", "Abdomen"),
    "CHEST": ("816094009", "Chest"),
    "HEAD": ("69536005", "Head"),
    "BRAIN": ("12738006", "Brain"),
    "KNEE": ("72696002", "Knee"),
    "HIP": ("29836001", "Hip"),
}
_ANYWHERE = ("38266002", "Entire body")
_FIRST = 11  # of the series numbers of maps beside their source


def dicom_maps(maps: Sequence[ParametricMap]) -> list[ParametricMap]:
    """The maps that become DICOM objects: those of numbers; masks and maps of reasons do not."""
    return [one for one in maps if one.volume.array.dtype.kind == "f"]


def write_dicom_maps(maps: Sequence[ParametricMap], source: Source, folder: Path) -> list[Path]:
    """Write each map of numbers as ``<name>.dcm``, 32-bit float, NaN where it failed.

    Raises:
        ValueError: a map lies on another grid.
    """
    paths = []
    for n, one in enumerate(dicom_maps(maps)):
        path = folder / f"{one.name}.dcm"
        save(parametric_map(one, source, _FIRST + n), path)
        paths.append(path)
    return paths


def parametric_map(one: ParametricMap, source: Source, number: int) -> Dataset:
    """A map as a Parametric Map object.

    Raises:
        ValueError: it lies on another grid than the source.
    """
    import highdicom

    own = source.slices.grid
    if not one.volume.same_grid(own):
        raise ValueError(grids_differ(one.volume, own, "DICOM maps lie on their source's grid"))
    array = one.volume.array.astype(np.float32)
    low, high = one.window
    with made_of_headers():
        made = highdicom.pm.ParametricMap(
            source_images=source.headers,
            further_source_images=source.others or None,
            pixel_array=array,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[_mapping(one, array)],
            voi_lut_transformations=[
                highdicom.VOILUTTransformation(
                    window_center=(low + high) / 2, window_width=high - low
                )
            ],
            content_description=one.kind.title[:64],
            content_label=one.name.upper()[:16],
            series_description=f"{MAKER.split(',')[0]}: {one.kind.title}"[:64],
            **planes(source),
            **equipment(number, source),
        )
    made.DerivationDescription = f"{one.title}. {FAILED} {_method(one)} {MAKER}."[:1024]
    finish(made, source)
    made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_anatomy(source)]
    return made


def _anatomy(source: Source) -> Dataset:
    """Where the source says it was; which side, where it says that."""
    from highdicom.sr import CodedConcept

    header = source.first
    value, meaning = _REGIONS.get(str(header.get("BodyPartExamined") or ""), _ANYWHERE)
    side = str(header.get("Laterality") or "")
    item = Dataset()
    item.AnatomicRegionSequence = [CodedConcept(value, "SCT", meaning)]
    item.FrameLaterality = side if side in ("L", "R") else "U"
    return item


def _mapping(one: ParametricMap, array: np.ndarray) -> Dataset:
    import highdicom

    kind = one.kind
    finite = array[np.isfinite(array)]
    limits = (float(finite.min()), float(finite.max())) if finite.size else one.window
    unit = UNIT_CODES.get(kind.unit, UNIT_CODES[""])
    made = highdicom.pm.RealWorldValueMapping(
        lut_label=one.name[:16],
        lut_explanation=f"{kind.title}; NaN: not determined"[:64],
        unit=Code(*unit),
        value_range=limits,
        slope=1.0,
        intercept=0.0,
        quantity_definition=Code(*quantity_code(kind)),
    )
    if kind.id.endswith(_SD):
        made.QuantityDefinitionSequence.append(
            _said(("121401", "DCM", "Derivation"), ("386136009", "SCT", "Standard Deviation"))
        )
    if kind.id.removesuffix(_SD) in _IVIM:
        made.QuantityDefinitionSequence.append(
            _said(
                ("370129005", "SCT", "Measurement Method"),
                ("113251", "DCM", "Bi-exponential (IVIM) diffusion model"),
            )
        )
    return made


def quantity_code(kind: MapKind) -> tuple[str, str, str]:
    """What a map is of: a DICOM code where there is one, else the kind's name in our scheme.

    The standard deviation of a coded quantity has that quantity's code.
    """
    of = map_kind(kind.id.removesuffix(_SD))
    return of.code or (of.id, SCHEME, of.title)


def _said(name: tuple[str, str, str], value: tuple[str, str, str]) -> Dataset:
    """A coded content item."""
    from highdicom.sr import CodeContentItem

    return CodeContentItem(Code(*name), Code(*value))


def _method(one: ParametricMap) -> str:
    for key in ("algorithm", "method", "summary"):
        if text := one.provenance.get(key):
            return f"{str(text).rstrip('.')}."
    return ""
