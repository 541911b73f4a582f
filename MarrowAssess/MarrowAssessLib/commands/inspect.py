"""`marrowassess inspect`: what was found in a folder, and what each image is taken for."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from PDFFMapperLib.dicom.inventory import FoundSeries, FoundVolume, Inventory, inventory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess inspect`."""
    parser.add_argument("folder", help="a folder of DICOM or image files, or one file")
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def run(args: argparse.Namespace) -> int:
    """List the folder; 0 on success.

    Raises:
        FileNotFoundError: there is no such folder or file.
    """
    found = inventory(args.folder)
    if args.json:
        print(json.dumps(asdict(found), indent=1))
    else:
        print("\n".join(lines(found, args.folder)))
    return 0


def lines(found: Inventory, folder: str) -> list[str]:
    """The inventory as text, one line for an image."""
    text = [f"{folder}: {len(found.series)} series or image files."]
    if found.age_years is not None or found.sex:
        age = "" if found.age_years is None else f"{found.age_years:.1f} years"
        text.append("Patient: " + ", ".join(filter(None, [age, found.sex])) + ".")
    for series in found.series:
        text += _series_lines(series)
    text += [f"Left out: {reason}" for reason in found.left_out]
    return text + found.acquisitions


def _series_lines(series: FoundSeries) -> list[str]:
    text = [f"#{series.name} {series.description}"]
    if series.problem:
        text.append(f"   cannot be used: {series.problem}")
    text += [f"   {_volume_line(volume)}" for volume in series.volumes]
    return text + [f"   note: {note}" for note in series.notes]


def _volume_line(volume: FoundVolume) -> str:
    size = " x ".join(map(str, volume.size))
    spacing = " x ".join(f"{length:.2f}" for length in volume.spacing_mm)
    facts = [
        volume.component,
        "" if volume.echo_time_ms is None else f"TE {volume.echo_time_ms:g} ms",
        "" if volume.repetition_time_ms is None else f"TR {volume.repetition_time_ms:g} ms",
        "" if volume.b_value is None else f"b {volume.b_value:g} s/mm^2",
    ]
    role = volume.role or "no certain role"
    told = ", ".join(filter(None, facts))
    return f"{volume.name}: {role} ({volume.ground}); {size} voxels of {spacing} mm; {told}".rstrip(
        "; "
    )
