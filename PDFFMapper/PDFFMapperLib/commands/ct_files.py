"""The two images of dual-energy CT from files: a DICOM folder that holds both, or one each."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from PDFFMapperLib.dicom.folder import read_dicom_folder
from PDFFMapperLib.dicom.selection import is_dicom_source, read_source
from PDFFMapperLib.dicom.series_role import guess_role
from PDFFMapperLib.dual_energy.pair import SAME_PLACE_MM
from PDFFMapperLib.images.foreign import archive_of
from PDFFMapperLib.images.resampling import resampled
from PDFFMapperLib.images.sidecar import with_stated_facts
from PDFFMapperLib.images.volume import Volume, grids_differ

LEAST_SHARED = 0.5  # of the low energy's voxels, where the high one is interpolated


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is read."""
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        help="a DICOM folder with both energies, or two images, low and high: files, or "
        "folder#series",
    )
    parser.add_argument(
        "--resample",
        action="store_true",
        help="interpolate the high energy where it lies on another grid than the low one",
    )


def read(args: argparse.Namespace) -> tuple[list[Volume], dict[str, object], list[str]]:
    """The low and the high image, no settings, and notes.

    Raises:
        FileNotFoundError, ValueError: not two images, or a folder that does not settle which.
    """
    paths = args.images
    for path in paths:
        if path.is_file() and (told := archive_of(path)):
            raise ValueError(f"{path}: {told}")
    if len(paths) == 1 and paths[0].is_file() and not is_dicom_source(paths[0]):
        raise ValueError(
            f"{paths[0]}: one image was given; two are expected, low and high energy, or a DICOM "
            "folder with both."
        )
    if len(paths) == 1:
        images = _of_folder(paths[0])
    elif len(paths) == 2:
        images = [read_source(path) for path in paths]
        images = [
            with_stated_facts(image, path) if Path(path).is_file() else image
            for image, path in zip(images, paths, strict=True)
        ]
    else:
        raise ValueError(f"{len(paths)} images were given; two are expected, low and high energy.")
    notes = [note for image in images for note in image.notes]
    if args.resample and not images[0].same_grid(images[1], SAME_PLACE_MM):
        notes.append(
            f"{images[1].name} was interpolated linearly onto the grid of {images[0].name}; "
            "both must be of one scan, since nothing was registered."
        )
        images[1] = resampled(images[1], images[0])
        if (shared := float(np.mean(np.isfinite(images[1].array)))) < LEAST_SHARED:
            raise ValueError(
                f"Both images share {100 * shared:.0f} % of {images[0].name}, less than "
                f"{100 * LEAST_SHARED:.0f} %; they are hardly of one scan."
            )
    elif not images[0].same_grid(images[1]):
        raise ValueError(grids_differ(images[1], images[0], "ask for resampling (--resample)"))
    return images, {}, list(dict.fromkeys(notes))


def _of_folder(folder: Path) -> list[Volume]:
    found = read_dicom_folder(folder)
    by_role: dict[str, list] = {"ct_low": [], "ct_high": []}
    for series in found:
        for volume in series.contents if not series.problem else ():
            role = guess_role(volume.attributes)
            if role in by_role:
                by_role[role].append(volume)
    # Tube voltages come before monoenergetic images, which are made of them.
    plain = {
        role: [v for v in volumes if "VMI" not in v.attributes.get("ImageType", ())] or volumes
        for role, volumes in by_role.items()
    }
    counts = {role: len(volumes) for role, volumes in plain.items()}
    if set(counts.values()) != {1}:
        raise ValueError(
            f"{folder}: {counts['ct_low']} series look like low and {counts['ct_high']} like high "
            f"energy; name one of each, as {folder}#SERIES. {' '.join(found.notes)}".strip()
        )
    return [volumes[0].read() for volumes in plain.values()]
