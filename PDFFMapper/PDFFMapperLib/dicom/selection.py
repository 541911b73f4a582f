"""Which volume or series of a DICOM folder is meant by a name.

Volumes are named "folder", "folder#7" (series number), "folder#sag t1" (description), "folder#1f0a"
(key), each with ":2" behind it for the second volume of the series.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from PDFFMapperLib.dicom.folder import (
    DicomFolder,
    DicomSeries,
    chosen_series,
    listing,
    read_dicom_files,
    read_dicom_folder,
    refuse_beside_unreadable,
    selector,
)
from PDFFMapperLib.dicom.preamble import is_dicom
from PDFFMapperLib.dicom.volume import DicomVolume
from PDFFMapperLib.images.files import read_volume
from PDFFMapperLib.images.volume import Volume


def split_source(source: str | Path) -> tuple[Path, str]:
    """A folder or file, and what is chosen of it; an existing path is taken with its "#"."""
    if Path(source).exists():
        return Path(source), ""
    path, found, chosen = str(source).rpartition("#")
    while found and not Path(path).exists() and "#" in path:
        path, _, more = path.rpartition("#")
        chosen = f"{more}#{chosen}"
    return (Path(path), chosen) if found and Path(path).exists() else (Path(source), "")


def read_source(
    source: str | Path,
    what: str = "the image",
    fits: Callable[[Mapping[str, object]], bool] = lambda _: False,
) -> Volume:
    """Read an image file, a DICOM file, or the volume of a DICOM folder that is meant.

    Args:
        source: a file or folder, with "#" and what is chosen of it (see above).
        what: for the sentence where several volumes could be meant.
        fits: tells by a volume's attributes whether it is preferred where the source does not tell.

    Raises:
        FileNotFoundError, ValueError: one sentence; several candidates are listed.
    """
    path, chosen = split_source(source)
    if path.is_file() and not is_dicom(path) and not chosen:
        return read_volume(path)
    if not path.exists():
        raise FileNotFoundError(f"{source}: there is no such file or folder.")
    found = read_dicom_folder(path)
    series, volume = _choose(found, path, chosen, what, fits)
    refuse_beside_unreadable(found, [volume])
    read = volume.read()
    said = [*found.notes, *series.notes]
    if path.is_file() and volume.shape[0] == 1:
        said.append(f"{path.name}: one slice was read; name its folder to take the whole series.")
    read.notes += [note for note in said if note not in read.notes]
    return read


def is_dicom_source(source: str | Path) -> bool:
    """Whether a source is a folder, or a DICOM file."""
    path, _ = split_source(source)
    return path.is_dir() or (path.is_file() and is_dicom(path))


def series_of_sources(sources: Sequence[str | Path]) -> tuple[DicomFolder, str]:
    """The series of several DICOM folders and files, each narrowed by "#", and what to call them.

    Raises:
        FileNotFoundError, ValueError: one of them holds no DICOM image, or not what is named.
    """
    paths = [split_source(source) for source in sources]
    where = ", ".join(str(path) for path, _ in paths[:3]) + (" ..." if len(paths) > 3 else "")
    if len(paths) == 1:
        path, chosen = paths[0]
        found = read_dicom_folder(path)
        return DicomFolder(
            chosen_series(found, chosen, where), found.notes, found.unreadable
        ), where
    if not any(chosen for _, chosen in paths) and all(path.is_file() for path, _ in paths):
        return read_dicom_files(list(dict.fromkeys(path for path, _ in paths)), where), where
    series: dict[tuple[Path, str], DicomSeries] = {}
    notes, unreadable = [], []
    for path, chosen in paths:
        found = read_dicom_folder(path)
        series |= {(path, one.key): one for one in chosen_series(found, chosen, str(path))}
        notes += found.notes
        unreadable += found.unreadable
    return DicomFolder(series.values(), dict.fromkeys(notes), dict.fromkeys(unreadable)), where


def _choose(
    found: DicomFolder,
    path: Path,
    chosen: str,
    what: str,
    fits: Callable[[Mapping[str, object]], bool],
) -> tuple[DicomSeries, DicomVolume]:
    match = re.fullmatch(r"(.*?)(?::(\d+))?", chosen)
    name, number = match[1], match[2]
    wanted = chosen_series(found, name, str(path))
    pairs = [(one, volume) for one in wanted for volume in one.contents]
    if number:
        pairs = [
            (one, one.contents[int(number) - 1])
            for one in wanted
            if 0 < int(number) <= len(one.contents)
        ]
    preferred = [pair for pair in pairs if fits(pair[1].attributes)]
    # One that cannot be read may be the one that is meant.
    broken = [one for one in wanted if one.problem and (not preferred or fits(one.facts))]
    if broken:
        others = f"; to take another series, name it, such as {path}#" if pairs else "."
        others += f"{selector(found, *pairs[0])}." if pairs else ""
        raise ValueError(broken[0].problem.removesuffix(".") + others)
    fitting = preferred or pairs
    if len(fitting) > 1 and _all_the_same([volume for _, volume in fitting]):
        series, volume = fitting[0]
        series.notes.append(
            f"{len(fitting) - 1} identical second copy of this image, as another series, was "
            "left out."
        )
        return series, volume
    if len(fitting) == 1:
        return fitting[0]
    which = f"series '{chosen}'" if chosen else "this folder"
    offers = ", ".join(
        f"{path}#{selector(found, one, volume)} ({volume.name})" for one, volume in fitting[:12]
    )
    raise ValueError(
        f"{path}: {which} holds {len(fitting)} volumes that could be {what}; name one of: "
        f"{offers or 'none'}. Series here: {listing(found)}."
    )


def _all_the_same(volumes: list[DicomVolume]) -> bool:
    """Whether volumes of several series hold the same voxels at the same place."""
    first = volumes[0]
    told = ("EchoTime", "DiffusionBValue", "ImageComponent", "ImageType")
    if any(one.attributes.get(key) != first.attributes.get(key) for one in volumes for key in told):
        return False
    if any(
        one.shape != first.shape or not np.allclose(one.ijk_to_ras, first.ijk_to_ras, atol=1e-3)
        for one in volumes
    ):
        return False
    try:
        arrays = [one.read().array for one in volumes]
    except ValueError:
        return False
    return all(np.array_equal(array, arrays[0]) for array in arrays)
