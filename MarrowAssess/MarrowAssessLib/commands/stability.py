"""`marrowassess stability`: which features of a cohort stay what they are, and how repeatable."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from PDFFMapperLib.images.tables import write_table

from MarrowAssessLib.prediction.stability import STABLE_ICC, feature_stability, repeatability

COLUMNS = (
    *("feature", "icc", "icc_low", "icc_high", "stable"),
    *("repeatability_coefficient", "within_sd", "repeated_regions"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess stability`."""
    parser.add_argument(
        "files", nargs="+", type=Path, help="stability.csv of `radiomics --stability`"
    )
    parser.add_argument(
        "--repeats",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="radiomics.csv of patients who were scanned again, all scans of all of them",
    )
    parser.add_argument("--out", type=Path, default=Path("stability-report.csv"))


def run(args: argparse.Namespace) -> int:
    """Write ICC(2,1) and repeatability of every feature; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is written.
    """
    if args.out.exists() and not args.out.read_text("utf-8", "replace").startswith(COLUMNS[0]):
        raise ValueError(f"{args.out} was not made by this software; choose another name.")
    agreement = feature_stability(args.files)
    repeated = repeatability(args.repeats) if args.repeats else {}
    lines = []
    for name in dict.fromkeys((*agreement, *repeated)):
        icc, repeat = agreement.get(name), repeated.get(name)
        stable = "" if icc is None else "yes" if icc.low >= STABLE_ICC else "no"
        figures = dataclasses.astuple(icc) if icc else ("", "", "")
        lines.append(
            (name, *figures, stable, *(dataclasses.astuple(repeat) if repeat else ("", "", "")))
        )
    write_table(args.out, COLUMNS, lines)
    stable = sum(one.low >= STABLE_ICC for one in agreement.values())
    print(
        f"{stable} of {len(agreement)} features are stable (lower limit of the ICC "
        f"{STABLE_ICC:g} or more): {args.out}"
    )
    return 0
