"""`marrowassess assess`: from image files to a report."""

from __future__ import annotations

import argparse
from dataclasses import replace

from PDFFMapperLib.dicom_out.source import add_options
from PDFFMapperLib.ute.recipe import BONE

from MarrowAssessLib.catalogue.lean_mass import LEAN_MASS
from MarrowAssessLib.commands.study_options import add_study_options, study_files
from MarrowAssessLib.commands.terminal import say, summary

EXAMPLE = """examples:
  marrowassess assess --volume T1=t1.nii.gz --volume STIR=stir.nii.gz --age 55 --sex F --out result
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
    parser.add_argument(
        "--spectrum", action="append", default=[], metavar="SITE=FILE[,FILE] [OPTIONS]",
        help="spectroscopy of marrow, one file for each echo time, with the options of `spectrum` "
        "after them in one pair of quotes ('L3=press.rda --baseline'); --voxel I J K takes one "
        "voxel of a grid",
    )  # fmt: skip
    parser.add_argument(
        "--ute", action="append", default=[], metavar="SITE=SERIES[,LABELS] [OPTIONS]",
        help="UTE echoes of a bone; its cortex is found by itself without labels. Options follow "
        "in one pair of quotes ('tibial diaphysis=ute.nii.gz --mt mt.nii.gz --same-gain'): "
        + "; ".join(f"{one.flag}: {one.help}" for one in BONE.options if one.flag),
    )  # fmt: skip
    parser.add_argument(
        "--ute-result", action="append", default=[], metavar="SITE=FILE",
        help="ute_maps.json that ute --method mt or density left of a bone",
    )  # fmt: skip
    parser.add_argument("--n4", action="store_true", help="correct coil shading first (N4)")
    parser.add_argument(
        "--field-strength", type=float, metavar="TESLA", help="where the files do not say it"
    )
    parser.add_argument("--texture", action="store_true", help="texture of marrow as well (IBSI)")
    parser.add_argument(
        "--score", action="append", default=[], metavar="FILE",
        help="score of `train`, to be given for the patient",
    )  # fmt: skip
    parser.add_argument(
        "--fractures", action="store_true",
        help="heights of vertebral bodies as well, their loss and grade; labeled and drawn regions "
        "must be whole bodies",
    )  # fmt: skip
    parser.add_argument(
        "--m-score-reference", nargs=2, type=float, metavar=("MEAN", "SD"),
        help="SNR of L1-L4 in young controls on the same scanner",
    )  # fmt: skip
    parser.add_argument(
        "--glucose", type=float, metavar="MMOL/L", help="of blood, when FDG was injected"
    )
    parser.add_argument(
        "--accept-shift", action="store_true",
        help="measure PET although the body lies more than 10 mm elsewhere on the CT",
    )  # fmt: skip
    parser.add_argument(
        "--five-from", type=float, choices=(2.0, 3.0), metavar="TIMES",
        help="times liver from which on the five-point score is 5: 2 (default) or 3",
    )  # fmt: skip
    parser.add_argument(
        "--lean-mass", choices=LEAN_MASS, default=LEAN_MASS[0],
        help="formula of the lean body mass that SUL is made with (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--register-pet", action="store_true",
        help="move the PET onto the CT, else the MR image, as a rigid body first; by how much is "
        "told",
    )  # fmt: skip
    parser.add_argument(
        "--adc-limits", nargs=2, type=float, metavar=("LOW", "HIGH"),
        help="between which ADC lesions count as dense tumor, 10^-3 mm^2/s (default 0.6 1.4)",
    )  # fmt: skip
    parser.add_argument(
        "--patient-key", metavar="FILE",
        help="a secret that stays here (made where there is none): follow-up then knows by a hash "
        "of the DICOM patient identifier whether visits are of one person",
    )  # fmt: skip
    parser.add_argument("--no-scene", action="store_true", help="neither scene nor 3D picture")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where results go")
    add_options(parser, "regions, maps and measurements")
    parser.add_argument(
        "--dicom-pdf", action="store_true", help="with --dicom-out: the report as PDF in DICOM, too"
    )


def run(args: argparse.Namespace) -> int:
    """Read, measure, compare and write; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong, or that these images
            and regions give no measurement; nothing is written.
    """
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.findings.verdict import nothing_measured
    from MarrowAssessLib.measures.book import Settings
    from MarrowAssessLib.prediction.patient_score import refuse_exploratory
    from MarrowAssessLib.prediction.score_file import read_score
    from MarrowAssessLib.scene.outputs import refuse_output_file, write_outputs
    from MarrowAssessLib.sources.study_files import read_study
    from MarrowAssessLib.sources.ute import read_ute_results

    reference = tuple(args.m_score_reference) if args.m_score_reference else None
    scores = tuple(read_score(path) for path in args.score)
    for score in scores:
        refuse_exploratory(score)
    settings = Settings(
        args.erode_mm, args.n4, reference, args.texture, args.fractures, scores,
        args.glucose, args.accept_shift, lean_mass=args.lean_mass,
    )  # fmt: skip
    if args.five_from:
        settings = replace(settings, five_times=args.five_from)
    if args.adc_limits:
        settings = replace(settings, adc_limits=tuple(args.adc_limits))
    files, notes = study_files(args)
    files = replace(
        files, field_strength_t=args.field_strength, spectra=args.spectrum, ute=args.ute
    )
    refuse_output_file(args.out)
    if args.dicom_pdf and not args.dicom_out:
        raise ValueError("--dicom-pdf is written among DICOM objects; name a folder: --dicom-out.")
    say("Reading")
    study = read_study(files)
    if args.patient_key:
        study.patient_hash = _patient_hash(args)
    if args.register_pet:
        from MarrowAssessLib.study.registration import register_pet

        say("Moving the PET")
        notes.append(register_pet(study))
    if args.dicom_out:
        from MarrowAssessLib.dicom_out.export import refuse_no_dicom, write_dicom

        refuse_no_dicom(study)
    read_ute_results(args.ute_result, study)
    say("Correcting coil shading and measuring" if args.n4 else "Measuring")
    assessment = assess(study, settings)
    if not assessment.results:
        raise ValueError(nothing_measured(assessment))
    notes = list(dict.fromkeys([*notes, *study.notes]))
    for note in notes:
        print(note)
    assessment.notes += notes
    if args.dicom_out:
        from MarrowAssessLib.findings.summary import headlines

        say("Writing DICOM")
        glance = [line.text for line in headlines(assessment)] if args.dicom_pdf else None
        objects = write_dicom(assessment, args.dicom_out, args.anonymous, glance)
        print(f"Wrote {len(objects)} DICOM objects to {args.dicom_out}")
    files = write_outputs(assessment, args.out, not args.no_scene, say)
    print("\n".join(summary(assessment)))
    print(f"Report: {files[0]}")
    return 0


def _patient_hash(args: argparse.Namespace) -> str:
    """The hash of the patient's identifier in the DICOM folder, with the user's own key."""
    from pathlib import Path

    from MarrowAssessLib.cohort.inventory import keep_salt, patient_id, read_salt, salted

    identifier = patient_id(Path(args.dicom)) if args.dicom else ""
    if not identifier:
        raise ValueError("--patient-key: a patient identifier is read from --dicom; none is there.")
    key = Path(args.patient_key)
    salt = read_salt(key)
    keep_salt(key, salt)
    return salted(identifier, salt)
