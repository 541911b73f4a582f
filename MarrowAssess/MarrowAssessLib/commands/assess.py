"""`marrowassess assess`: from image files to a report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from MarrowAssessLib.sources.label_maps import CONVENTIONS

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
    images = parser.add_argument_group("images")
    images.add_argument(
        "--volume", action="append", default=[], metavar="ROLE=FILE",
        help="an image and what it shows: T1, T2, FS_T2 (or STIR, TIRM), in_phase, opposed_phase, "
        "T1_post, water, fat, fat_fraction, PDFF, R2star, ADC, D, Dstar, f; FILE may be a DICOM "
        "folder, or folder#series number",
    )  # fmt: skip
    images.add_argument("--dicom", metavar="FOLDER", help="take every volume whose role is certain")
    images.add_argument("--study", metavar="FILE", help="a study file (JSON) instead of options")
    images.add_argument(
        "--scale", action="append", default=[], metavar="ROLE=FACTOR",
        help="multiply a map to bring it to its unit (PDFF %%, ADC 10^-3 mm^2/s): ADC=0.001",
    )  # fmt: skip
    regions = parser.add_argument_group("regions")
    regions.add_argument("--labels", metavar="FILE", help="label map; say with --label what it is")
    regions.add_argument(
        "--label", action="append", default=[], metavar="VALUE=ROLE:SITE",
        help="what a label means: 4=marrow:L3, 9=csf:L3, 12=muscle:psoas, 20=noise",
    )  # fmt: skip
    regions.add_argument(
        "--labels-of", metavar="TOOL",
        help="the tool that made the label map, instead of --label: "
        + ", ".join(map(repr, CONVENTIONS)),
    )  # fmt: skip
    regions.add_argument("--segmentation", metavar="FILE", help="Slicer segmentation (.seg.nrrd)")
    regions.add_argument("--markups", action="append", metavar="FILE", help="markups (.mrk.json)")
    regions.add_argument(
        "--column", metavar="LEVEL=R,A,S",
        help="a point (RAS, mm) in a vertebra of known level, in T1 or else the first image: finds "
        "vertebrae, discs, CSF and muscles (L3=1.5,-20,33)",
    )  # fmt: skip
    regions.add_argument(
        "--place", action="append", default=[], metavar="NAME=R,A,S",
        help="a point in one structure, to find it: 'L2 marrow', 'L3-L4 disc', "
        "'psoas muscle left', CSF, fat, noise",
    )  # fmt: skip
    regions.add_argument(
        "--lumbar", type=int, choices=(4, 5, 6), help="how many lumbar vertebrae (default 5)"
    )
    regions.add_argument(
        "--leave-out", action="append", choices=("vein", "fat"),
        help="of regions found from points: the basivertebral vein and hot spots of marrow, fat "
        "streaks of muscle",
    )  # fmt: skip
    regions.add_argument(
        "--point-radius-mm", type=float, metavar="MM", help="of points (default 4)"
    )
    regions.add_argument(
        "--resample", action="store_true", help="bring images on other grids to that of the regions"
    )
    regions.add_argument(
        "--erode-mm", type=float, default=0.0, metavar="MM", help="take a margin off each region"
    )
    patient = parser.add_argument_group("patient")
    patient.add_argument("--age", type=float, metavar="YEARS", help="6 months is 0.5")
    patient.add_argument("--sex", choices=("F", "M"))
    patient.add_argument("--subject", metavar="TEXT", help="a name to print on the report")
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
    from MarrowAssessLib.study.study import read_study

    reference = tuple(args.m_score_reference) if args.m_score_reference else None
    settings = Settings(args.erode_mm, args.n4, reference, args.texture)
    arguments, notes = _study_arguments(args)
    refuse_output_file(args.out)
    say("Reading")
    study = read_study(**arguments)
    say("Correcting coil shading and measuring" if args.n4 else "Measuring")
    assessment = assess(study, settings)
    if not assessment.results:
        raise ValueError(_nothing_measured(assessment))
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
            lines.append(
                f"{result.measurement.site:16} {name:24} {result.text:>12}  expected "
                f"{result.expected_text:16} z {result.z:+5.1f}  {result.verdict}"
            )
    for one in assessment.signatures:
        flip = ", flip-flop sign" if one.flip_flop else ""
        lines.append(f"{one.site or one.region:16} signature: {one.best}{flip}")
    scored = sum(result.expectation is not None for result in assessment.results)
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


def _study_arguments(args: argparse.Namespace) -> tuple[dict, list[str]]:
    from MarrowAssessLib.placement.clicks import parse_click
    from MarrowAssessLib.sources.volume_source import guess_study
    from MarrowAssessLib.study.study import by_contrast, parse_label_rule, read_study_file

    notes: list[str] = []
    if args.study:
        arguments = read_study_file(args.study)
    else:
        arguments = {"volumes": {}}
    arguments["volumes"] |= by_contrast(_pairs(args.volume, "--volume", "T1=t1.nii.gz"))
    if args.dicom:
        guessed = guess_study(args.dicom, arguments["volumes"])
        arguments["volumes"] = guessed.sources | arguments["volumes"]
        arguments.setdefault("age_years", guessed.patient.age_years)
        known = guessed.patient.sex in ("F", "M")
        arguments.setdefault("sex", guessed.patient.sex if known else None)
        notes += guessed.notes
    if args.scale:
        arguments["scale"] = by_contrast(
            (role, _number(factor, "--scale"))
            for role, factor in _pairs(args.scale, "--scale", "ADC=0.001")
        )
    if args.label:
        arguments["rules"] = [parse_label_rule(text) for text in args.label]
    if args.column:
        arguments["column"] = dict([parse_click(args.column)])
    for text in args.place:
        name, point = parse_click(text)
        if name in arguments.setdefault("places", {}):
            raise ValueError(f"--place {text}: {name} is placed twice; keep one point.")
        arguments["places"][name] = point
    for key in (
        "labels", "labels_of", "segmentation", "markups", "lumbar", "leave_out", "sex", "subject",
    ):  # fmt: skip
        if getattr(args, key):
            arguments[key] = getattr(args, key)
    for key, given in (("age_years", args.age), ("point_radius_mm", args.point_radius_mm)):
        if given is not None:
            arguments[key] = given
    if args.resample:
        arguments["resample"] = True
    return arguments, notes


def _pairs(texts: list[str], option: str, example: str) -> list[tuple[str, str]]:
    for text in texts:
        if "=" not in text or not all(part.strip() for part in text.split("=", 1)):
            raise ValueError(f"{option} {text}: expected ROLE=..., such as {example}.")
    return [tuple(part.strip() for part in text.split("=", 1)) for text in texts]


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{option}: '{text}' is not a number.") from None


def refuse_output_file(out: str) -> None:
    """Say so before anything is computed where results cannot go.

    Raises:
        ValueError: there is a file of that name.
    """
    if Path(out).exists() and not Path(out).is_dir():
        raise ValueError(f"--out {out}: this is a file; name a folder.")
