"""Diffusion series from files: a DICOM folder, one 4D file, or one 3D file per b-value."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from PDFFMapperLib.dicom.folder import read_dicom_folder
from PDFFMapperLib.dicom.selection import diffusion_volumes, split_source
from PDFFMapperLib.diffusion.scheme import read_bval
from PDFFMapperLib.images.bids import bids_images, bids_root, stem_of
from PDFFMapperLib.images.files import is_dicom, read_series, read_volume
from PDFFMapperLib.images.volume import Volume

_SAME_LENGTH = 0.02


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
    path, chosen = split_source(paths[0]) if len(paths) == 1 else (None, "")
    if path is not None and path.is_dir() and bids_root(path):
        images = bids_images(path, ["dwi"])
        if len(images) > 1:
            raise ValueError(f"{path}: {len(images)} diffusion images are here; name one of them.")
        path = images[0] if images else path
    if path is not None and (path.is_dir() or (path.is_file() and is_dicom(path))):
        found = read_dicom_folder(path)
        count = None if b_values is None else len(b_values)
        volumes = diffusion_volumes(found, series or chosen, count, str(path)).read()
    elif path is not None:
        volumes = read_series(path)
        beside = path.with_name(stem_of(path) + ".bval")
        if b_values is None and beside.is_file():
            b_values = read_bval(beside)
            notes.append(f"b-values from {beside.name}.")
            if directions is None and beside.with_suffix(".bvec").is_file():
                directions = beside.with_suffix(".bvec")
    else:
        volumes = [read_volume(path) for path in paths]
    for volume in volumes:
        if not volume.same_grid(volumes[0]):
            raise ValueError(
                f"{volume.name} and {volumes[0].name} are not on one grid; resample them first."
            )
        notes += volume.notes
    if directions is not None:
        vectors = read_bvec(directions, len(volumes))
        if b_values is not None:
            b_values = _scaled(b_values, vectors, directions.name, notes)
        for volume, vector in zip(volumes, vectors, strict=True):
            length = float(np.linalg.norm(vector))
            if length > 0:
                volume.attributes["DiffusionGradientOrientation"] = (vector / length).tolist()
    return volumes, None if b_values is None else list(b_values), list(dict.fromkeys(notes))


def read_bvec(path: Path, count: int) -> np.ndarray:
    """Gradient vectors of an FSL .bvec file, shape (count, 3), as they stand.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not hold three rows of `count` finite numbers.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    try:
        rows = np.loadtxt(path, ndmin=2)
    except ValueError:
        raise ValueError(f"{path.name}: three rows of numbers are expected.") from None
    if rows.shape == (3, count):
        rows = rows.T
    if rows.shape != (count, 3) or not np.isfinite(rows).all():
        raise ValueError(
            f"{path.name}: 3 x {count} numbers are expected for {count} images, found were "
            f"{rows.shape[0]} x {rows.shape[1]}."
        )
    return rows


def _scaled(
    b_values: Sequence[float], vectors: np.ndarray, name: str, notes: list[str]
) -> list[float]:
    """b-values times the squared length of their vectors, where lengths differ among them.

    Scanners with free gradient tables, MRtrix and Slicer keep one b-value and shorten vectors.
    """
    values = np.asarray(b_values, float)
    if len(values) != len(vectors):
        return values.tolist()  # the scheme says that the counts differ
    lengths = np.linalg.norm(vectors, axis=1)
    weighted = lengths[(values > 0) & (lengths > 0)]
    if not weighted.size or np.ptp(weighted) <= _SAME_LENGTH * weighted.max():
        if weighted.size and abs(weighted.max() - 1) > _SAME_LENGTH:
            notes.append(f"{name}: all vectors have length {weighted.max():.3g}; taken as 1.")
        return values.tolist()
    if weighted.max() > 1 + _SAME_LENGTH or np.unique(values[values > 0]).size > 1:
        raise ValueError(
            f"{name}: its vectors have lengths from {weighted.min():.3g} to {weighted.max():.3g}, "
            "and the b-values differ too, so it is unclear whether lengths scale them; normalize "
            "the vectors, or give the true b-values."
        )
    notes.append(
        f"{name}: vectors are shorter than 1 (down to {weighted.min():.3g}): b-values were "
        "multiplied by their squared length."
    )
    return (values * lengths**2).round(3).tolist()


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
