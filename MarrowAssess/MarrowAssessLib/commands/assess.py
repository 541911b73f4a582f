"""`marrowassess assess`: from image files to a report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PDFFMapperLib.images.outputs import refuse_foreign

from MarrowAssessLib.commands.study_options import add_study_options, study_arguments

if TYPE_CHECKING:
    from MarrowAssessLib.findings.assessment import Assessment
    from MarrowAssessLib.report.report import Report

EXAMPLE = """examples:
  marrowassess assess --volume T1=t1.nii.gz --volume STIR=stir.nii.gz \\
      --labels vertebrae.nii.gz --label 4=marrow:L3 --markups others.mrk.json \\
      --age 12 --sex F --out result
  marrowassess assess --dicom study_folder --segmentation regions.seg.nrrd --out result
  marrowassess assess --volume T1=t1.nii.gz --column L3=1.5,-20,33 --place fat=0,-70,33 \\
      --age 60 --sex F --out result
  marrowassess assess --study study.json --out result

Regions in a segmentation or markups file are named by what they hold: "L3 marrow", "L3-L4 disc",
"CSF L3", "psoas muscle left", "fat", "noise". Points become spheres.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess assess`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLE
    add_study_options(parser)
    parser.add_argument("--n4", action="store_true", help="correct coil shading first (N4)")
    parser.add_argument("--texture", action="store_true", help="texture of marrow as well (IBSI)")
    parser.add_argument(
        "--m-score-reference", nargs=2, type=float, metavar=("MEAN", "SD"),
        help="SNR of L1-L4 in young controls on the same scanner",
    )  # fmt: skip
    parser.add_argument("--no-scene", action="store_true", help="neither scene nor 3D picture")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where results go")


def run(args: argparse.Namespace) -> int:
    """Read, measure, compare and write; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong, or that these images
            and regions give no measurement; nothing is written.
    """
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.measures.book import Settings
    from MarrowAssessLib.report.report import Report
    from MarrowAssessLib.scene.outputs import write_outputs
    from MarrowAssessLib.sources.study_files import read_study

    reference = tuple(args.m_score_reference) if args.m_score_reference else None
    settings = Settings(args.erode_mm, args.n4, reference, args.texture)
    arguments, notes = study_arguments(args)
    refuse_output_file(args.out)
    say("Reading")
    study = read_study(**arguments)
    say("Correcting coil shading and measuring" if args.n4 else "Measuring")
    assessment = assess(study, settings)
    if not assessment.results:
        raise ValueError(_nothing_measured(assessment))
    notes = list(dict.fromkeys([*notes, *study.notes]))
    for note in notes:
        print(note)
    report = Report(assessment, notes=notes)
    files = write_outputs(report, args.out, not args.no_scene, say)
    print("\n".join(summary(report)))
    print(f"Report: {files[0]}")
    return 0


def summary(report: Report) -> list[str]:
    """The results in a few lines of text: each scored value, then what the signature says."""
    from MarrowAssessLib.catalogue.quantities import QUANTITIES

    assessment = report.assessment
    lines = []
    for result in assessment.results:
        if result.expectation:
            name = QUANTITIES[result.measurement.quantity].name
            z = "      -" if result.z is None else f"z {result.z:+5.1f}"
            lines.append(
                f"{result.measurement.site:16} {name:24} {result.text:>12}  expected "
                f"{result.expected_text:16} {z}  {result.verdict}"
            )
    for one in assessment.signatures:
        flip = ", flip-flop sign" if one.flip_flop else ""
        lines.append(f"{one.site or one.region:16} signature: {one.best}{flip}")
    lines += [
        f"{region.name}: doubtful, its numbers get no verdict. {' '.join(region.cautions)}"
        for region in assessment.doubtful
    ]
    scored = sum(result.z is not None for result in assessment.results)
    lines.append(f"{len(assessment.results)} measurements, {scored} with a reference.")
    return lines


def _nothing_measured(assessment: Assessment) -> str:
    from MarrowAssessLib.catalogue.quantities import QUANTITIES

    images = ", ".join(contrast.value for contrast in assessment.study.volumes)
    regions = ", ".join(region.name for region in assessment.study.regions)
    single = (s for s in assessment.skipped if not QUANTITIES[s.quantity].site_in_definition)
    reasons = list(dict.fromkeys(one.reason for one in single))
    return (
        f"Nothing can be measured on {images} in {regions}"
        + (f" ({'; '.join(reasons)})" if reasons else "")
        + "; give images and regions that go together, such as marrow with muscle or disc on T1, "
        "or any region on a PDFF map."
    )


def say(text: str) -> None:
    """Progress for the person at the terminal, apart from the results on standard output."""
    print(f"{text} ...", file=sys.stderr, flush=True)


def refuse_output_file(out: str) -> None:
    """Say so before anything is computed where results cannot go.

    Raises:
        ValueError: there is a file of that name, or one there that would be replaced is not ours.
    """
    from MarrowAssessLib.scene.outputs import NAMES, RECORD

    if Path(out).exists() and not Path(out).is_dir():
        raise ValueError(f"--out {out}: this is a file; name a folder.")
    refuse_foreign(out, RECORD, NAMES[:2])
