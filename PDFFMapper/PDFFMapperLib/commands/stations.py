"""`marrowassess stations`: whole-body diffusion of several table positions, joined; its ADC."""

from __future__ import annotations

import argparse
from pathlib import Path

from PDFFMapperLib.commands.diffusion_files import B_VALUES, read_diffusion
from PDFFMapperLib.commands.options import option_arguments, option_values, typed_numbers
from PDFFMapperLib.diffusion.recipe import STATIONS
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.identity import without_names
from PDFFMapperLib.images.json_file import write_json
from PDFFMapperLib.images.outputs import output_set, refuse_foreign

RECORD = "stations.json"
FILES = {"adc": "stations_ADC.nrrd", "low": "stations_low.nrrd", "high": "stations_high.nrrd"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess stations`."""
    parser.add_argument(
        "stations", nargs="+", type=Path, metavar="STATION",
        help="a diffusion series for each table position: a DICOM folder, folder#series, or one "
        "4D file with its .bval",
    )  # fmt: skip
    parser.add_argument("--b-values", metavar="LIST", help="s/mm^2 of each station, as 50,800")
    option_arguments(parser, STATIONS.options)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for results")


def run(args: argparse.Namespace) -> int:
    """Read, join and write; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is written.
    """
    refuse_foreign(args.out, RECORD, FILES.values())
    if len(set(map(Path.resolve, args.stations))) < len(args.stations):
        raise ValueError("One station is given twice; give each table position once.")
    typed = typed_numbers(args.b_values, "b-values", B_VALUES)
    images, b_values, notes = [], [], []
    for source in args.stations:
        volumes, stated, said = read_diffusion([source], typed)
        images += volumes
        b_values += stated or []
        notes += said
    settings = option_values(args, STATIONS.options)
    joined = STATIONS.measure(images, b_values=b_values or None, **settings)
    notes = list(dict.fromkeys([*joined.notes, *notes]))
    notes = [without_names(note, args.stations) for note in notes]
    stations = len(joined.steps) + 1
    record = {
        **joined.provenance,
        "inputs": [f"station {n}" for n in range(1, stations + 1)],
        "stations": stations,
        "b_values": [one.attributes["DiffusionBValue"] for one in (joined.low, joined.high)],
        "steps": joined.steps,
        "notes": notes,
    }
    with output_set(args.out, RECORD) as folder:
        for name, file in FILES.items():
            write_volume(getattr(joined, name), folder / file)
        write_json(folder / RECORD, record)
    print(f"{stations} stations joined: {args.out / FILES['adc']}")
    for note in notes:
        print(f"  {note}")
    return 0
