"""UTE series from files: a DICOM folder, one 4D file, or one 3D file per echo time."""

from __future__ import annotations

import argparse
from pathlib import Path

from PDFFMapperLib.commands.echo_files import ECHO_TIMES, read_echoes
from PDFFMapperLib.commands.options import typed_numbers
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.echo_units import unit_of_echo_times


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is read, and what its files do not tell."""
    parser.add_argument(
        "images",
        nargs="*",
        type=Path,
        help="a DICOM folder, one 4D file, or one 3D file per echo time: magnitude or complex",
    )
    parser.add_argument("--echo-times", metavar="LIST", help="as 0.032,0.2,2.2; in ms")
    parser.add_argument("--unit", choices=("s", "ms", "us"), help="of the echo times")
    parser.add_argument(
        "--sidecar", nargs="+", type=Path, help="JSON with echo times (default: beside the files)"
    )
    parser.add_argument("--series", help="number, key or part of the description (several: 3,4)")


def read(args: argparse.Namespace) -> tuple[list[Volume], dict[str, object], list[str]]:
    """The images that the arguments name, settings and notes that go with them.

    Raises:
        ValueError: no images, or echo times whose unit must be asked for or that do not fit.
    """
    times = typed_numbers(args.echo_times, "Echo times", ECHO_TIMES)
    if times and args.unit is None and min(times) > 0 and unit_of_echo_times(times) != "ms":
        raise ValueError(
            f"The echo times {args.echo_times} look like s or us; say which by --unit, since ms "
            "are usual for UTE."
        )
    volumes, found, notes = read_echoes(
        args.images, (), (), times, args.unit, args.sidecar or (), args.series
    )
    return volumes, {"echo_times_s": found}, notes


def stated(args: argparse.Namespace) -> dict[str, object]:
    """Settings of single images: none, their headers tell the echo time."""
    return {}
