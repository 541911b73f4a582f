"""Diffusion series from files: a DICOM folder, one 4D file, or one 3D file per b-value."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from PDFFMapperLib.commands.options import typed_numbers
from PDFFMapperLib.dicom.acquisitions import diffusion_volumes
from PDFFMapperLib.dicom.selection import is_dicom_source, series_of_sources
from PDFFMapperLib.diffusion.scheme import read_bval
from PDFFMapperLib.diffusion.stated import (
    read_bvec,
    scaled_by_gradients,
    set_gradients,
    take_stated_diffusion,
)
from PDFFMapperLib.images.bids import bids_images, bids_root
from PDFFMapperLib.images.files import read_series
from PDFFMapperLib.images.sidecar import other_than_typed
from PDFFMapperLib.images.volume import Volume, grids_differ

BIDS_SUFFIXES = ("dwi",)
B_VALUES = "0,50,100"  # as they are typed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is read, and what its files do not tell."""
    parser.add_argument(
        "images", nargs="+", type=Path, help="a DICOM folder, one 4D file, or one 3D file per b"
    )
    parser.add_argument("--b-values", metavar="LIST", help="s/mm^2, as 0,50,100,400,800")
    parser.add_argument(
        "--bval", type=Path, help="FSL b-value file (default: the one beside the 4D file)"
    )
    parser.add_argument("--bvec", type=Path, help="FSL direction file, for series of directions")
    parser.add_argument(
        "--series",
        help="number, key or part of the description of the DICOM series (several: 5,6,7)",
    )


def read(args: argparse.Namespace) -> tuple[list[Volume], dict[str, object], list[str]]:
    """The images that the arguments name, settings and notes that go with them.

    Raises:
        ValueError: no diffusion series, several of them, or b-values that do not fit.
    """
    b_values = _given_b_values(args.b_values, args.bval)
    volumes, b_values, notes = read_diffusion(args.images, b_values, args.bvec, args.series)
    return volumes, {"b_values": b_values}, notes


def read_diffusion(
    paths: Sequence[Path],
    b_values: Sequence[float] | None = None,
    directions: Path | None = None,
    series: str | None = None,
) -> tuple[list[Volume], list[float] | None, list[str]]:
    """The volumes of a diffusion acquisition, their b-values where not in the headers, and notes.

    Args:
        paths: one DICOM or BIDS folder, one 4D file, or one 3D file per b-value.
        b_values: in s/mm^2, one per image; from DICOM, NRRD or the .bval file beside it if None.
        directions: FSL .bvec file; that beside a 4D file if None. Vectors shorter than 1 scale
            their b-value by their squared length.
        series: number, key or part of the description of DICOM series, several by commas.

    Returns:
        Volumes, b-values (None: in the volumes' attributes), notes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no diffusion series, several of them, or grids differ.
    """
    paths, notes = list(paths), []
    if len(paths) == 1 and paths[0].is_dir() and bids_root(paths[0]):
        images = bids_images(paths[0], BIDS_SUFFIXES)
        if len(images) > 1:
            raise ValueError(
                f"{paths[0]}: {len(images)} diffusion images are here; name one of them."
            )
        paths = images or paths
    dicom = [is_dicom_source(path) for path in paths]
    if any(dicom) and not all(dicom):
        raise ValueError(
            "Some images are DICOM and some are image files; give all in one of the two."
        )
    if all(dicom):
        found, where = series_of_sources(paths)
        count = None if b_values is None else len(b_values)
        volumes = diffusion_volumes(found, series or "", count, where).read()
    else:
        volumes = []
        for path in paths:
            read = read_series(path)
            if any(one.attributes.get("ComplexFile") for one in read):
                raise ValueError(
                    f"{path}: its images are complex, and diffusion is fitted to magnitudes; save "
                    "their magnitudes."
                )
            if b_values is None:
                notes += take_stated_diffusion(read, path, directions if len(paths) == 1 else None)
            volumes += read
    for volume in volumes:
        if not volume.same_grid(volumes[0]):
            raise ValueError(grids_differ(volume, volumes[0]))
        notes += volume.notes
    if b_values is not None:
        headers = [volume.attributes.get("DiffusionBValue") for volume in volumes]
        notes += other_than_typed("b-values", b_values, headers, "s/mm^2")
    if directions is not None and (b_values is not None or len(paths) > 1 or all(dicom)):
        vectors = read_bvec(directions, len(volumes))
        if b_values is not None:
            b_values = scaled_by_gradients(b_values, vectors, directions.name, notes)
        set_gradients(volumes, vectors)
    return volumes, None if b_values is None else list(b_values), list(dict.fromkeys(notes))


def _given_b_values(text: str | None, path: Path | None) -> list[float] | np.ndarray | None:
    if text is not None and path is not None:
        raise ValueError("Give --b-values or --bval, not both.")
    return read_bval(path) if path else typed_numbers(text, "b-values", B_VALUES)
