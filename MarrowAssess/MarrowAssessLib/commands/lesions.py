"""`marrowassess lesions`: propose lesions on whole-body diffusion, to look at and edit."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.json_file import write_json
from PDFFMapperLib.images.outputs import output_set, refuse_foreign
from PDFFMapperLib.install.software import MAKER

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.commands.study_options import add_study_options, study_files
from MarrowAssessLib.measures.whole_body import OVER_MUSCLE, VIABLE_ADC, propose
from MarrowAssessLib.placement.body import with_rim

RECORD, LABELS = "lesions.json", "lesions.nrrd"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess lesions`."""
    add_study_options(parser)
    parser.add_argument(
        "--over-muscle", type=float, default=OVER_MUSCLE, metavar="TIMES",
        help="signal of the highest b-value over that of muscle (default 5.0: mean and two SDs of "
        "healthy marrow, Colombo 2021)",
    )  # fmt: skip
    parser.add_argument(
        "--adc-limits", nargs=2, type=float, default=VIABLE_ADC, metavar=("LOW", "HIGH"),
        help="10^-3 mm^2/s (default 0.6 1.4)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for results")


def run(args: argparse.Namespace) -> int:
    """Read, propose and write lesions.nrrd; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is written.
    """
    from MarrowAssessLib.sources.study_files import read_study

    refuse_foreign(args.out, RECORD, (LABELS,))
    files, notes = study_files(args)
    study = read_study(files)
    missing = [one.value for one in (Contrast.ADC, Contrast.DWI) if one not in study.volumes]
    if missing:
        raise ValueError(
            f"Lesions are sought on an ADC map and the image of the highest b-value; give "
            f"{' and '.join(missing)} too (--volume)."
        )
    adc, high = study.volumes[Contrast.ADC], study.volumes[Contrast.DWI]
    limits = tuple(args.adc_limits)
    regions = [with_rim(one, adc) for one in study.regions]
    found = propose(adc, high, regions, args.over_muscle, limits)
    ml = float(np.count_nonzero(found.mask)) * adc.voxel_volume_mm3 / 1000
    record = {
        "software": MAKER,
        "told": found.told,
        "muscle_signal": found.muscle,
        "threshold": found.threshold,
        "adc_limits": limits,
        "volume_ml": round(ml, 3),
        "notes": [*study.notes, *notes],
    }
    with output_set(args.out, RECORD) as folder:
        write_volume(adc.with_array(found.mask.astype(np.uint8), "lesions"), folder / LABELS)
        write_json(folder / RECORD, record)
    print(f"{found.told} {ml:.1f} ml.")
    print(
        f"Look at {args.out / LABELS} and edit it, then measure with --labels {LABELS} "
        "--label 1=lesion beside the segmentation of the skeleton."
    )
    return 0
