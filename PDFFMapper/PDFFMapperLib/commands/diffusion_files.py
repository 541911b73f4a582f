"""Diffusion series from files: a DICOM folder, one 4D file, or one 3D file per b-value."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from PDFFMapperLib.dicom.folder import read_dicom_folder
from PDFFMapperLib.diffusion.scheme import diffusion_scheme, read_bval
from PDFFMapperLib.images.files import read_series, read_volume
from PDFFMapperLib.images.volume import Volume


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
    parser.add_argument("--series", help="key or part of the description of the DICOM series")


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
) -> tuple[list[Volume], Sequence[float] | None, list[str]]:
    """The volumes of a diffusion series in a DICOM folder, a 4D file or 3D files.

    Args:
        paths: one folder, one 4D file, or one 3D file per b-value.
        b_values: in s/mm^2, one per image; from DICOM or the .bval file beside it if None.
        directions: FSL .bvec file.
        series: key or part of the description of a DICOM series.

    Returns:
        Volumes; the b-value of each in s/mm^2, None where headers tell them; notes on the reading.

    Raises:
        ValueError: no diffusion series, or several of them.
    """
    notes: list[str] = []
    if len(paths) == 1 and paths[0].is_dir():
        volumes = _dicom_volumes(paths[0], series, notes)
    elif len(paths) == 1:
        volumes = read_series(paths[0])
        beside = paths[0].with_name(paths[0].name.split(".nii")[0].split(".nrrd")[0] + ".bval")
        if b_values is None and beside.is_file():
            b_values = read_bval(beside)
            notes.append(f"b-values from {beside.name}.")
    else:
        volumes = [read_volume(path) for path in paths]
    if directions is not None:
        for volume, vector in zip(volumes, _vectors(directions, len(volumes)), strict=True):
            volume.attributes["DiffusionGradientOrientation"] = vector.tolist()
    return volumes, None if b_values is None else [float(b) for b in b_values], notes


def _dicom_volumes(folder: Path, wanted: str | None, notes: list[str]) -> list[Volume]:
    """The volumes of the one diffusion series in the folder."""
    found, reasons = [], []
    for each in read_dicom_folder(folder):
        if wanted and wanted != each.key and wanted.lower() not in each.description.lower():
            continue
        try:
            scheme = diffusion_scheme(each.contents)
        except ValueError as error:
            reasons.append(f"{each.description or each.key}: {error}")
            continue
        if np.unique(scheme.b_values).size > 1:
            found.append(each)
    if len(found) != 1:
        what = "; ".join(f"{each.key} ({each.description})" for each in found)
        raise ValueError(
            f"{folder}: {'several' if found else 'no'} diffusion series found"
            + (f": {what}; choose one with --series." if found else f". {' '.join(reasons)}")
        )
    notes += found[0].notes
    return found[0].volumes


def _vectors(path: Path, count: int) -> np.ndarray:
    try:
        rows = np.loadtxt(path, ndmin=2)
    except ValueError:
        raise ValueError(f"{path.name}: three rows of numbers are expected.") from None
    if rows.shape == (3, count):
        rows = rows.T
    if rows.shape != (count, 3):
        raise ValueError(
            f"{path.name}: 3 x {count} numbers are expected for {count} images, found were "
            f"{rows.shape[0]} x {rows.shape[1]}."
        )
    return rows


def _given_b_values(text: str | None, path: Path | None) -> list[float] | np.ndarray | None:
    if text is not None and path is not None:
        raise ValueError("Give --b-values or --bval, not both.")
    if path is not None:
        return read_bval(path)
    if text is None:
        return None
    try:
        return [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise ValueError(f"b-values are expected as 0,50,100,..., given was {text!r}.") from None
