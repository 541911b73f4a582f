"""Options that name a study's images, regions and patient, shared by the measuring commands."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from PDFFMapperLib.images.identity import without_names

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.sources.inputs import StudyFiles
from MarrowAssessLib.sources.label_maps import CONVENTIONS


def add_study_options(parser: argparse.ArgumentParser) -> None:
    """Images, regions and patient."""
    images = parser.add_argument_group("images")
    images.add_argument(
        "--volume", action="append", default=[], metavar="ROLE=FILE",
        help=f"an image and what it shows: {', '.join(c.value for c in Contrast)} (STIR and TIRM "
        "are FS_T2); FILE may be a DICOM folder, or folder#series number",
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
    regions.add_argument(
        "--segmentation", metavar="FILE", help="Slicer (.seg.nrrd) or DICOM segmentation"
    )
    regions.add_argument(
        "--segment-with", metavar="TOOL",
        help="run a tool that you have installed with its weights (TotalSegmentator, "
        "TotalSpineSeg or SPINEPS) and take its regions; nothing is downloaded",
    )  # fmt: skip
    regions.add_argument(
        "--refine", action="store_true", help="shrink drawn vertebrae to the found bodies inside"
    )
    regions.add_argument("--markups", action="append", metavar="FILE", help="markups (.mrk.json)")
    regions.add_argument(
        "--column", metavar="auto|LEVEL=R,A,S",
        help="auto: finds vertebrae, discs, CSF and muscles by itself, as is done where no region "
        "is given; or a point (RAS, mm) in a vertebra of known level, in T1 or else the first "
        "image, which settles the names (L3=1.5,-20,33)",
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
        "--right", action="append", metavar="NAME",
        help="a doubtful region that you have looked at and judged right, such as 'L1 marrow'; "
        "without that its numbers get no verdict",
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
    patient.add_argument("--age", help="34, 0.5, '8 months'")
    patient.add_argument("--sex", help="F or M")
    patient.add_argument("--subject", metavar="TEXT", help="a name to print on the report")
    patient.add_argument(
        "--keep-names",
        action="store_true",
        help="keep names of files, folders and series in the results; they may be the patient's",
    )


def study_files(args: argparse.Namespace) -> tuple[StudyFiles, list[str]]:
    """What to read, and what reading a folder had to say.

    Raises:
        FileNotFoundError, ValueError: an option, file or folder that cannot be used.
    """
    from MarrowAssessLib.catalogue.contrasts import by_contrast
    from MarrowAssessLib.catalogue.patient import parse_age, parse_sex
    from MarrowAssessLib.placement.options import AUTO
    from MarrowAssessLib.sources.labels import parse_label_rule
    from MarrowAssessLib.sources.study_file import read_study_file
    from MarrowAssessLib.sources.volume_source import guess_study

    notes: list[str] = []
    files = read_study_file(args.study) if args.study else StudyFiles({})
    typed = by_contrast(_pairs(args.volume, "--volume", "T1=t1.nii.gz"))
    files = replace(files, volumes={**files.volumes, **typed}, keep_names=args.keep_names)
    if args.dicom:
        guessed = guess_study(args.dicom, files.volumes)
        patient, known = guessed.patient, guessed.patient.sex in ("F", "M")
        files = replace(
            files,
            volumes=guessed.sources | files.volumes,
            age_years=patient.age_years if files.age_years is None else files.age_years,
            sex=files.sex or (patient.sex if known else None),
        )
        notes += guessed.notes
    given: dict[str, object] = {
        key: value
        for key in (
            "labels", "labels_of", "segmentation", "segment_with", "markups", "subject", "right",
            "resample", "refine",
        )
        if (value := getattr(args, key))
    }  # fmt: skip
    if args.scale:
        given["scale"] = by_contrast(
            (role, _number(factor, "--scale"))
            for role, factor in _pairs(args.scale, "--scale", "ADC=0.001")
        )
    if args.label:
        given["rules"] = [parse_label_rule(text) for text in args.label]
    if args.column:
        auto = args.column.strip().lower() == AUTO
        given["column"] = AUTO if auto else dict([parse_click(args.column)])
    if args.place:
        given["places"] = _with_points(files.places or {}, args.place)
    placing = {key: getattr(args, key) for key in ("lumbar", "leave_out") if getattr(args, key)}
    if placing:
        given["options"] = replace(files.options, **placing)
    for key, value in (
        ("age_years", parse_age(args.age or "")),
        ("sex", parse_sex(args.sex)),
        ("point_radius_mm", args.point_radius_mm),
    ):
        if value is not None:
            given[key] = value
    if not args.keep_names:
        notes = [without_names(note, [args.dicom or ""]) for note in notes]
    return replace(files, **given), notes


def _with_points(
    known: Mapping[str, Sequence[float]], texts: list[str]
) -> dict[str, Sequence[float]]:
    """Points by name, those of --place added."""
    places = dict(known)
    for text in texts:
        name, point = parse_click(text)
        if name in places:
            raise ValueError(f"--place {text}: {name} is placed twice; keep one point.")
        places[name] = point
    return places


def parse_click(text: str) -> tuple[str, tuple[float, ...]]:
    """Read "L3=1.5,-20,33": what was clicked, and where (RAS, mm).

    Raises:
        ValueError: the text is not of that form.
    """
    name, _, numbers = text.rpartition("=")
    try:
        point = tuple(float(number) for number in re.split(r"[,\s]+", numbers.strip()))
    except ValueError:
        point = ()
    if not name.strip() or len(point) != 3 or not all(map(math.isfinite, point)):
        raise ValueError(
            f"'{text}' is no point; expected NAME=R,A,S in mm (right, anterior, superior), such as "
            "L3=1.5,-20,33."
        )
    return name.strip(), point


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
