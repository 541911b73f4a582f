"""Maps of a BIDS subject as a derivative data set, each by its suffix or as ``desc-..._map``.

Suffixes and units: https://github.com/bids-standard/bids-specification, schema/objects/suffixes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from PDFFMapperLib.images.attributes import RECORD
from PDFFMapperLib.images.bids import bids_name, bids_root
from PDFFMapperLib.images.bids_derivative import describe, refuse_bids_out
from PDFFMapperLib.images.files import write_volume, written_whole
from PDFFMapperLib.images.json_file import write_json
from PDFFMapperLib.images.outputs import output_set
from PDFFMapperLib.install.software import VERSION
from PDFFMapperLib.maps.kinds import MapKind
from PDFFMapperLib.maps.parametric_map import ParametricMap

_WHAT = "Parametric maps"  # by which the derivative data set is called
_OF_ONE_IMAGE = ("echo", "part", "desc")  # entities that a series of images has no single one of
_IVIM = ("D", "Dstar", "f", "fDstar")  # their letters alone tell little
_SECONDS = "ms"  # unit of times here; BIDS has them in s
_MASKS = ("valid", "confident", "exchanged", "at_bound", "Dstar_identifiable", "typical")
README = f"""Parametric maps, made by MarrowAssess {VERSION}.

R2starmap (1/s), T2starmap (s), S0map, MTRmap and ADC (10^-3 mm^2/s) are suffixes of BIDS. Other
maps have none and are called by what they are: desc-PDFF_map (%), desc-IVIMD_map (10^-3 mm^2/s),
desc-IVIMf_map (%), desc-doubt_map (why a voxel has no value) ...; the JSON file beside each has its
unit and its sources. Voxels without a value are NaN; some tools read those of NIfTI as 0, and
desc-confident_mask says which can be used. For research use only.
"""


def write_bids_maps(
    maps: Sequence[ParametricMap], images: Sequence[Path], folder: Path, prefix: str
) -> list[Path]:
    """Write maps into a derivative data set, whose other subjects and maps stay.

    Args:
        maps: of one series.
        images: files of a BIDS data set that it was read from.
        folder: of the derivative data set.
        prefix: of the record that lists them.

    Returns:
        The images written.

    Raises:
        ValueError: the images are of no BIDS data set or name no subject, or `folder` is no place
            for one.
        OSError: a file could not be written whole.
    """
    root = checked_source(images, folder)
    every = [bids_name(one).entities for one in images]
    held = [
        f"{key}-{value}"
        for key, value in every[0].items()
        if key not in _OF_ONE_IMAGE and all(one.get(key) == value for one in every)
    ]
    place = folder / images[0].absolute().parent.relative_to(root)
    sources = [f"bids:raw:{one.absolute().relative_to(root).as_posix()}" for one in images]
    describe(root, folder, _WHAT, README)
    with written_whole(folder / ".bidsignore") as file:
        file.write_text(f"*_{RECORD}\n", encoding="utf-8")
    stem = "_".join(held)
    record = f"{stem}_desc-{prefix}_{RECORD}"
    with output_set(place, record) as made:
        for one in maps:
            _write_map(one, sources, made, stem)
        write_json(made / record, {"software": f"MarrowAssess {VERSION}", "sources": sources})
        written = sorted(file.name for file in made.glob("*.nii.gz"))
    return [place / one for one in written]


def checked_source(images: Sequence[Path], folder: Path) -> Path:
    """The root of the data set whose images maps would be of.

    Raises:
        ValueError: see write_bids_maps.
    """
    if not images:
        raise ValueError("--bids-out: no image of a BIDS data set was named; leave it out.")
    root = refuse_bids_out(images[0], folder, _WHAT)
    for one in images:
        if bids_root(one) != root:
            raise ValueError(
                f"--bids-out: {one.name} is not of the data set {root.name} as {images[0].name} "
                "is; give images of one data set."
            )
    if "sub" not in bids_name(images[0]).entities:
        raise ValueError(
            f"--bids-out: {images[0].name} names no subject (sub-LABEL_...), by which its maps "
            "would be called; leave --bids-out out."
        )
    return root


def bids_ending(kind: MapKind) -> str:
    """How a map's file name ends: by its suffix in BIDS, else by what it is."""
    if kind.bids:
        return kind.bids
    label = re.sub(r"[^A-Za-z0-9]", "", kind.id)
    label = f"IVIM{label}" if kind.id.removesuffix("_SD") in _IVIM else label
    return f"desc-{label}_{'mask' if kind.id in _MASKS else 'map'}"


def _write_map(one: ParametricMap, sources: list[str], folder: Path, stem: str) -> None:
    array, unit = one.volume.array, one.kind.unit
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if unit == _SECONDS and one.kind.bids:
        array, unit = array * np.float32(1e-3), "s"
    path = folder / f"{stem}_{bids_ending(one.kind)}"
    write_volume(one.volume.with_array(array, one.name), f"{path}.nii.gz")
    about = {
        "Description": one.title,
        **({"Units": unit} if unit and unit != "signal" else {}),
        "Sources": sources,
        "EstimationSoftware": f"MarrowAssess {VERSION}",
        "Provenance": one.provenance,
        **({"Codes": one.codes} if one.codes else {}),
    }
    write_json(f"{path}.json", about)
