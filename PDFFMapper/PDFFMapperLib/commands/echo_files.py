"""Multi-echo series from files: a DICOM or BIDS folder, 4D files, or one 3D file per echo."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from PDFFMapperLib.commands.options import typed_numbers
from PDFFMapperLib.dicom.acquisitions import echo_volumes
from PDFFMapperLib.dicom.selection import is_dicom_source, series_of_sources
from PDFFMapperLib.images.bids import bids_images, bids_name, bids_root, inherited_facts
from PDFFMapperLib.images.files import read_series
from PDFFMapperLib.images.json_file import read_json
from PDFFMapperLib.images.sidecar import (
    Sidecar,
    common_unit,
    other_than_typed,
    read_sidecar,
    sidecar_of_image,
)
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.echo_units import PHASE_UNITS, echo_times_in_seconds

BIDS_SUFFIXES = ("MEGRE", "MESE")
ECHO_TIMES = "1.2,2.4"  # as they are typed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is read, and what its files do not tell."""
    parser.add_argument(
        "images",
        nargs="*",
        type=Path,
        help="a DICOM or BIDS folder, one 4D file, or one 3D file per echo: magnitude, real parts, "
        "or complex",
    )
    parser.add_argument("--phase", nargs="+", type=Path, metavar="FILE", help="phase images")
    parser.add_argument(
        "--phase-unit",
        choices=tuple(PHASE_UNITS),
        help="how phase images are written, where their files do not say it: radians, "
        "milliradians, degrees, or a turn from -4096 to 4096 or from 0 to 4095",
    )
    parser.add_argument(
        "--imaginary", nargs="+", type=Path, metavar="FILE", help="imaginary parts (images: real)"
    )
    parser.add_argument("--echo-times", metavar="LIST", help="as 1.2,2.4,3.6; ms, s or us")
    parser.add_argument("--unit", choices=("s", "ms", "us"), help="of the echo times")
    parser.add_argument(
        "--sidecar", nargs="+", type=Path, help="JSON with echo times (default: beside the files)"
    )
    parser.add_argument(
        "--series", help="number, key or part of the description of the DICOM series (several: 3,4)"
    )
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
        typed_numbers(args.echo_times, "Echo times", ECHO_TIMES),
        args.unit,
        args.sidecar or (),
        args.series,
    )
    if args.phase_unit:
        phases = [one for one in volumes if one.attributes.get("ImageComponent") == "phase"]
        if not phases:
            raise ValueError("--phase-unit is given, but no image is phase; name them by --phase.")
        for one in phases:
            one.attributes["Units"] = PHASE_UNITS[args.phase_unit]
    return volumes, {"echo_times_s": times}, notes


def stated(args: argparse.Namespace) -> dict[str, object]:
    """Settings of single images that the arguments state."""
    times = typed_numbers(args.echo_times, "Echo times", ECHO_TIMES)
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
    """The volumes of a multi-echo series in a DICOM or BIDS folder or in image files.

    Args:
        images: one folder, one 4D file, or one 3D file per echo; complex files hold both parts.
        phase: phase images in the same order, if any.
        imaginary: imaginary parts, if `images` are real parts.
        echo_times: one per echo; from DICOM or sidecars if None.
        unit: of the echo times; recognized if None.
        sidecars: one JSON for all or one per image; those that hold for the images if empty.
        series: number, key or part of the description of DICOM series, several by commas.

    Returns:
        Volumes; the echo time of each in s, None where headers tell them; notes on the reading.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no echoes, or echo times that do not fit them.
    """
    images = _images_of_bids(list(images))
    if phase and imaginary:
        raise ValueError("Give phase images or imaginary parts, not both.")
    groups = [(images, "real" if imaginary else "magnitude" if phase else None)]
    if phase or imaginary:
        groups.append((list(phase or imaginary), "phase" if phase else "imaginary"))
    if dicom := [is_dicom_source(path) for paths, _ in groups for path in paths]:
        if any(dicom) and not all(dicom):
            raise ValueError(
                "Some images are DICOM and some are image files; give all in one of the two."
            )
    if any(dicom):
        return _dicom_echoes(groups, series or "", echo_times, unit, sidecars)
    volumes, parts, notes = [], [], []
    for paths, component in groups:
        echoes = _named_parts([echo for path in paths for echo in read_series(path)])
        contents = _sidecar_facts(
            paths, sidecars, echoes, unit if echo_times is None else None, notes
        )  # the unit is that of the times given
        stated = _stated_times(contents, echoes)
        if _in_channels(echoes, len(paths), echo_times, stated):
            echoes = _named_parts(_parts_of_channels(echoes, notes))
        if echo_times is not None:
            given = _given_times(echo_times, unit, echoes)
            notes += other_than_typed("echo times", 1e3 * given, 1e3 * np.array(stated), "ms")
            stated = given
        elif (count := _count_of_times(contents)) and np.isnan(stated).any():
            raise ValueError(
                f"{paths[0].name}: {count} echo times stand beside it for {len(echoes)} images; "
                "give one each (--echo-times)."
            )
        parts.append(stated)
        for echo in echoes:
            if component:
                echo.attributes["ImageComponent"] = component
            notes += echo.notes
        volumes += echoes
    times = np.concatenate(_of_both_parts(parts))
    known = bool(len(times)) and np.isfinite(times).all()
    return volumes, [float(time) for time in times] if known else None, [*dict.fromkeys(notes)]


def _of_both_parts(times: list[np.ndarray]) -> list[np.ndarray]:
    """Echo times of magnitude and phase, or of both parts: one that states none has the other's."""
    if len(times) == 2 and len(times[0]) == len(times[1]):
        return [np.where(np.isnan(a), b, a) for a, b in (times, times[::-1])]
    return times


def _images_of_bids(images: list[Path]) -> list[Path]:
    """The multi-echo images of a BIDS folder where that is what is given."""
    folder = images[0] if len(images) == 1 else None
    if folder is None or not folder.is_dir() or not bids_root(folder):
        return images
    files = bids_images(folder, BIDS_SUFFIXES)
    _refuse_several(folder, files)
    return files or images


def _refuse_several(folder: Path, files: Sequence[Path]) -> None:
    """Refuse the images of several acquisitions of a BIDS folder: subjects, sessions, runs."""
    acquisitions: dict[tuple, Path] = {}
    for file in files:
        entities = bids_name(file).entities.items()
        key = tuple(pair for pair in entities if pair[0] not in ("echo", "part"))
        acquisitions.setdefault(key, file)
    if len(acquisitions) > 1:
        shown = ", ".join("_".join("-".join(pair) for pair in key) for key in acquisitions)
        raise ValueError(
            f"{folder}: {len(acquisitions)} multi-echo acquisitions are here ({shown}); name the "
            "folder of one, or its files."
        )


def _dicom_echoes(
    groups: Sequence[tuple[list[Path], str | None]],
    chosen: str,
    echo_times: Sequence[float] | None,
    unit: str | None,
    sidecars: Sequence[Path],
) -> tuple[list[Volume], list[float] | None, list[str]]:
    """The echoes of DICOM folders or files; phase may be a series of its own among them."""
    contents = [read_sidecar(path, unit if echo_times is None else None) for path in sidecars]
    if echo_times is None and contents:
        stated = [one.echo_times_s for one in contents if one.echo_times_s is not None]
        echo_times, unit = (np.concatenate(stated), "s") if stated else (None, unit)
    known = echo_times is not None
    volumes: list[Volume] = []
    for sources, component in groups:
        found, where = series_of_sources(sources)
        read = echo_volumes(found, chosen, known, where).read()
        volumes += _of_component(read, component, where) if component else read
    for volume in volumes:
        for content in contents:
            volume.attributes = {**content.attributes, **volume.attributes}
    times = _given_times(echo_times, unit, volumes).tolist() if known else None
    notes = [note for volume in volumes for note in volume.notes]
    if times is not None:
        headers = [volume.attributes.get("EchoTime") for volume in volumes]
        notes += other_than_typed("echo times", 1e3 * np.array(times), headers, "ms")
    notes += [note for content in contents for note in content.notes]
    return volumes, times, list(dict.fromkeys(notes))


def _of_component(volumes: list[Volume], component: str, where: str) -> list[Volume]:
    """The images of a component; where no header tells them, all are what the user says."""
    told = [one for one in volumes if one.attributes.get("ImageComponent") is not None]
    kept = [one for one in volumes if one.attributes.get("ImageComponent") in (None, component)]
    if not kept:
        others = sorted({str(one.attributes["ImageComponent"]) for one in told})
        raise ValueError(f"{where}: {component} images are expected, these are {others[0]}.")
    for one in kept:
        one.attributes["ImageComponent"] = component
    return kept


def _in_channels(
    echoes: Sequence[Volume],
    files: int,
    echo_times: Sequence[float] | None,
    stated: np.ndarray,
) -> bool:
    """Whether each file holds one complex echo in two channels: there is a time for each file."""
    if not all("Channel" in one.attributes for one in echoes) or len(echoes) != 2 * files:
        return False
    times = set(stated[np.isfinite(stated)].tolist()) if echo_times is None else echo_times
    return len(times) == files


def _parts_of_channels(echoes: list[Volume], notes: list[str]) -> list[Volume]:
    """The two channels of files as real and imaginary parts."""
    notes.append("Files of two channels and one echo time were read as real and imaginary parts.")
    for one in echoes:
        part = "real" if one.attributes["Channel"] == 1 else "imaginary"
        one.attributes["ImageComponent"] = part
    return echoes


def _named_parts(volumes: list[Volume]) -> list[Volume]:
    """Real parts first, then imaginary ones, where a file was complex; else as they are."""
    parts = ["real", "imaginary"]
    if not all(one.attributes.get("ImageComponent") in parts for one in volumes):
        return volumes
    return sorted(volumes, key=lambda one: parts.index(one.attributes["ImageComponent"]))


def _given_times(
    echo_times: Sequence[float], unit: str | None, echoes: Sequence[Volume]
) -> np.ndarray:
    """The given echo times in s, one per volume; parts of complex echoes share theirs."""
    components: dict[object, int] = {}
    for echo in echoes:
        part = echo.attributes.get("ImageComponent")
        components[part] = components.get(part, 0) + 1
    times = echo_times_in_seconds(echo_times, unit)
    if len(times) != len(echoes) and set(components.values()) == {len(times)}:
        taken: dict[object, int] = {}
        result = []
        for echo in echoes:
            part = echo.attributes.get("ImageComponent")
            result.append(times[taken.get(part, 0)])
            taken[part] = taken.get(part, 0) + 1
        return np.array(result)
    if len(times) != len(echoes):
        raise ValueError(
            f"{len(times)} echo times were given for {len(echoes)} echoes; give one each."
        )
    return times


def _sidecar_facts(
    paths: Sequence[Path],
    sidecars: Sequence[Path],
    echoes: Sequence[Volume],
    unit: str | None,
    notes: list[str],
) -> list[Sidecar]:
    """What the JSON files say; facts other than echo times go to the echoes' attributes."""
    written = [read_json(p) for p in sidecars] or [inherited_facts(path)[0] for path in paths]
    unit = unit or common_unit(written)
    if sidecars:
        contents = [read_sidecar(path, unit) for path in sidecars]
    else:
        contents = [one for path in paths if (one := sidecar_of_image(path, unit)) is not None]
    notes += [note for content in contents for note in content.notes]
    if len(contents) == 1 or len(echoes) in (len(contents), 2 * len(contents)):
        for n, echo in enumerate(echoes):  # of complex files the real parts come first
            content = contents[n % len(contents)]
            facts = {k: v for k, v in content.attributes.items() if k != "EchoTime"}
            echo.attributes.update({**facts, **echo.attributes})
    return contents


def _count_of_times(contents: Sequence[Sidecar]) -> int:
    return sum(len(one.echo_times_s) for one in contents if one.echo_times_s is not None)


def _stated_times(contents: Sequence[Sidecar], echoes: Sequence[Volume]) -> np.ndarray:
    """Echo times in s of the echoes, NaN where they are not stated."""
    own = [echo.attributes.get("EchoTime") for echo in echoes]  # ms, as Slicer's NRRD has them
    stated = [content.echo_times_s for content in contents if content.echo_times_s is not None]
    times = np.concatenate(stated) if stated else np.empty(0)
    if len(times) == len(echoes):
        return times
    if times.size and len(echoes) == 2 * len(times):  # a complex file, its sidecar names each once
        return np.concatenate([times, times])
    if not stated and all(own):
        return np.array(own, float) * 1e-3
    return np.full(len(echoes), np.nan)
