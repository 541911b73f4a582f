"""`marrowassess calibrate`: one's own calibration of dual-energy CT, for `dect --calibration`."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace

from PDFFMapperLib.commands import ct_files
from PDFFMapperLib.commands.regions import label_map
from PDFFMapperLib.dual_energy.maps import calibrations_of
from PDFFMapperLib.dual_energy.own_calibration import beside_table, of_regions, write_calibration
from PDFFMapperLib.dual_energy.pair import check_images
from PDFFMapperLib.dual_energy.recipe import KV_PAIR, WATER


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess calibrate`."""
    ct_files.add_arguments(parser)
    parser.add_argument("--regions", type=Path, required=True, help="label map on the CT's grid")
    parser.add_argument(
        "--yellow", type=int, required=True, metavar="LABEL", help="of fat below the skin"
    )
    parser.add_argument(
        "--red", type=int, required=True, metavar="LABEL", help="of muscle or spleen"
    )
    parser.add_argument(
        "--insert", metavar="LABEL=MG/CM3",
        help="of a phantom's hydroxyapatite in water, as 3=200; without it mineral is that of the "
        "table for these beams and this body",
    )  # fmt: skip
    for option in (KV_PAIR, WATER):
        kind = float if option is WATER else None
        parser.add_argument(option.flag, dest=option.name, type=kind, help=option.help)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="as own.json")


def run(args: argparse.Namespace) -> int:
    """Measure the regions and write the calibration; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is written.
    """
    if args.out.suffix != ".json" or args.out.exists():
        raise ValueError(f"{args.out}: give the name of a new .json file.")
    (low, high), _, notes = ct_files.read(args)
    check_images(low, high)
    chosen = SimpleNamespace(
        calibration=None, kv_pair=args.kv_pair or "auto", water_cm=args.water_cm
    )
    slices, _ = calibrations_of(low, high, chosen, notes)
    table = slices[len(slices) // 2]
    mineral = _insert(args.insert) if args.insert else table
    made = of_regions(low, high, label_map(args.regions, low), args.yellow, args.red, mineral)
    write_calibration(args.out, made, low, high, chosen.kv_pair)
    for note in notes:
        print(note)
    print(
        f"Fat {made.yellow[0]:.0f} and {made.yellow[1]:.0f} HU, cells {made.red[0]:.0f} and "
        f"{made.red[1]:.0f} HU, dual-energy ratio {float(made.de_ratio):.2f} ({made.told})."
    )
    print(beside_table(made, table))
    print(f"Wrote {args.out}; use it with dect --calibration {args.out}")
    return 0


def _insert(text: str) -> tuple[int, float]:
    label, _, mineral = text.partition("=")
    try:
        return int(label), float(mineral)
    except ValueError:
        raise ValueError(
            f"--insert {text}: expected LABEL=MG/CM3, such as 3=200 for label 3 of 200 mg/cm^3."
        ) from None
