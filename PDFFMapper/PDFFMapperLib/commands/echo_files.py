"""Multi-echo series from files: a DICOM folder, 4D files, or one 3D file per echo."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from PDFFMapperLib.dicom.folder import read_dicom_folder
from PDFFMapperLib.images.files import read_series
from PDFFMapperLib.images.sidecar import read_sidecar
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.echo_units import echo_times_in_seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is read, and what its files do not tell."""
    parser.add_argument(
        "images",
        nargs="*",
        type=Path,
        help="a DICOM folder, one 4D file, or one 3D file per echo: magnitude, or real parts",
    )
    parser.add_argument("--phase", nargs="+", type=Path, metavar="FILE", help="phase images")
    parser.add_argument(
        "--imaginary", nargs="+", type=Path, metavar="FILE", help="imaginary parts (images: real)"
    )
    parser.add_argument("--echo-times", metavar="LIST", help="as 1.2,2.4,3.6; ms, s or us")
    parser.add_argument("--unit", choices=("s", "ms", "us"), help="of the echo times")
    parser.add_argument(
        "--sidecar", nargs="+", type=Path, help="JSON with echo times (default: beside the files)"
    )
    parser.add_argument("--series", help="key or part of the description of the DICOM series")
    parser.add_argument(
        "--magnitude-only", action="store_true", help="the same as --method magnitude"
    )


def read(args: argparse.Namespace) -> tuple[list[Volume], dict[str, object], list[str]]:
    """The images that the arguments name, settings and notes that go with them.

    Raises:
        ValueError: no echoes, or echo times that do not fit them.
    """
    if args.magnitude_only:
        if args.method not in (None, "magnitude"):
            raise ValueError(f"--magnitude-only and --method {args.method}: give one of them.")
        args.method = "magnitude"
    volumes, times, notes = read_echoes(
        args.images,
        args.phase or (),
        args.imaginary or (),
        _listed(args.echo_times),
        args.unit,
        args.sidecar or (),
        args.series,
    )
    return volumes, {"echo_times_s": times}, notes


def stated(args: argparse.Namespace) -> dict[str, object]:
    """Settings of single images that the arguments state."""
    times = _listed(args.echo_times)
    return {} if times is None else {"echo_times_s": list(echo_times_in_seconds(times, args.unit))}


def read_echoes(
    images: Sequence[Path],
    phase: Sequence[Path] = (),
    imaginary: Sequence[Path] = (),
    echo_times: Sequence[float] | None = None,
    unit: str | None = None,
    sidecars: Sequence[Path] = (),
    series: str | None = None,
) -> tuple[list[Volume], list[float] | None, list[str]]:
    """The volumes of a multi-echo series in a DICOM folder or in image files.

    Args:
        images: one folder, one 4D file, or one 3D file per echo.
        phase: phase images in the same order, if any.
        imaginary: imaginary parts, if `images` are real parts.
        echo_times: one per echo; from DICOM or sidecars if None.
        unit: of the echo times; recognized if None.
        sidecars: one JSON for all or one per image; those beside the images if empty.
        series: key or part of the description of DICOM series.

    Returns:
        Volumes; the echo time of each in s, None where headers tell them; notes on the reading.

    Raises:
        ValueError: no echoes, or echo times that do not fit them.
    """
    if len(images) == 1 and images[0].is_dir():
        volumes = _dicom_echoes(images[0], series)
        times = None
        if echo_times is not None:
            times = echo_times_in_seconds(echo_times, unit).tolist()
        return volumes, times, []
    if phase and imaginary:
        raise ValueError("Give phase images or imaginary parts, not both.")
    groups = [(images, "real" if imaginary else "magnitude" if phase else None)]
    if phase or imaginary:
        groups.append((phase or imaginary, "phase" if phase else "imaginary"))
    volumes, times, notes = [], [], []
    for paths, component in groups:
        echoes = [echo for path in paths for echo in read_series(path)]
        stated = _sidecar_facts(paths, sidecars, echoes, unit, notes)
        if echo_times is not None and len(echo_times) != len(echoes):
            raise ValueError(
                f"{len(echo_times)} echo times were given for {len(echoes)} echoes; give one each."
            )
        times += list(stated if echo_times is None else echo_times_in_seconds(echo_times, unit))
        for echo in echoes:
            if component:
                echo.attributes["ImageComponent"] = component
        volumes += echoes
    known = np.isfinite(times).all()
    return volumes, [float(time) for time in times] if known else None, [*dict.fromkeys(notes)]


def _sidecar_facts(paths, sidecars, echoes, unit, notes) -> np.ndarray:
    """Echo times in s of the echoes (NaN-free only if stated); other facts go to attributes."""
    found = list(sidecars) or [beside for path in paths if (beside := _beside(path)).is_file()]
    contents = [read_sidecar(path, unit) for path in found]
    stated = [c.echo_times_s for c in contents if c.echo_times_s is not None]
    notes += [note for content in contents for note in content.notes]
    for content in contents:
        if len(contents) in (1, len(echoes)):
            targets = echoes if len(contents) == 1 else [echoes[contents.index(content)]]
            for echo in targets:
                facts = {k: v for k, v in content.attributes.items() if k != "EchoTime"}
                echo.attributes.update({**facts, **echo.attributes})
    times = np.concatenate(stated) if stated else np.empty(0)
    return times if len(times) == len(echoes) else np.full(len(echoes), np.nan)


def _beside(path: Path) -> Path:
    name = path.name
    for ending in (".nii.gz", ".nii", ".nrrd", ".mha"):
        name = name.removesuffix(ending)
    return path.with_name(name + ".json")


def _dicom_echoes(folder: Path, wanted: str | None) -> list[Volume]:
    """All volumes of the multi-echo series of a folder; phase may be a series of its own."""
    chosen = []
    for each in read_dicom_folder(folder):
        named = not wanted or wanted == each.key or wanted.lower() in each.description.lower()
        if named and any("EchoTime" in content.attributes for content in each.contents):
            chosen.append(each)
    if not wanted:
        several = [
            each
            for each in chosen
            if len({content.attributes.get("EchoTime") for content in each.contents}) > 1
        ]
        chosen = several or chosen
    if not chosen:
        raise ValueError(f"{folder}: no series with echo times found.")
    return [volume for each in chosen for volume in each.volumes]


def _listed(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise ValueError(f"Echo times are expected as 1.2,2.4,..., given was {text!r}.") from None
