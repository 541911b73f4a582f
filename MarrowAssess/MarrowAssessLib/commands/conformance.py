"""`marrowassess conformance`: PDFF maps of a phantom against the true values of its vials."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from PDFFMapperLib.images.json_file import write_json
from PDFFMapperLib.images.outputs import output_set, refuse_foreign
from PDFFMapperLib.install.software import MAKER

from MarrowAssessLib.catalogue.about import RESEARCH_USE

RECORD, TEXT, PICTURE = "conformance.json", "conformance.txt", "conformance.svg"
EPILOG = """examples:
  marrowassess conformance --scan 3T=first.nii.gz --scan 3T=second.nii.gz \\
      --vials vials.nii.gz --truth vials.csv --out phantom
  marrowassess conformance --scan A=a.nii.gz --scan B=b.nii.gz --vials a_vials.nii.gz \\
      --vials b_vials.nii.gz --truth vials.csv --max-bias 1.5 --out phantom

Scans of one NAME are repeats of one scanner and protocol; other names are other scanners, sites or
protocols. Echoes become maps by `marrowassess pdff` first, with the fat spectrum of the vials' oil.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess conformance`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument(
        "--scan", action="append", required=True, metavar="NAME=MAP",
        help="a PDFF map in percent (file or DICOM folder) and the scanner or protocol it is of",
    )  # fmt: skip
    parser.add_argument(
        "--vials", action="append", required=True, metavar="FILE",
        help="label map of the vials' insides; once for all scans, or once for each",
    )  # fmt: skip
    parser.add_argument(
        "--truth", required=True, metavar="CSV", help="columns label and pdff (percent)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    for name, what in (("bias", "of the bias"), ("rc", "of RC"), ("rdc", "of RDC")):
        parser.add_argument(
            f"--max-{name}", type=float, metavar="POINTS",
            help=f"requirement of your profile: the interval {what} lies within",
        )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Measure the vials, compare, write text, JSON and picture; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is written.
    """
    from MarrowAssessLib.report.conformance_plot import conformance_svg
    from MarrowAssessLib.report.conformance_text import conformance_text, judged, spectrum_notes
    from MarrowAssessLib.sources.vials import read_vials
    from MarrowAssessLib.statistics.conformance import conformance

    refuse_foreign(args.out, RECORD, (TEXT, PICTURE))
    vials = read_vials(args.truth)
    scans, spectra = _scans(args.scan, args.vials, vials)
    by_condition: dict[str, list] = {}
    for scan in scans:
        by_condition.setdefault(scan.condition, []).append(scan.pdff)
    found = conformance([vial.pdff for vial in vials], by_condition)
    requirements = judged(found, args.max_bias, args.max_rc, args.max_rdc)
    text = conformance_text(found, requirements, spectrum_notes(spectra))
    record = {
        "software": MAKER,
        "research_use": RESEARCH_USE,
        "unit": "%",
        "vials": [vars(vial) for vial in vials],
        "scans": [{k: v if isinstance(v, str) else v.tolist() for k, v in vars(scan).items()}
                  for scan in scans],
        "result": found,
        "requirements": requirements,
        "notes": spectrum_notes(spectra),
    }  # fmt: skip
    with output_set(args.out, RECORD) as folder:
        (folder / TEXT).write_text(text, encoding="utf-8")
        (folder / PICTURE).write_text(
            conformance_svg(found, "PDFF of a phantom: measured minus true"), encoding="utf-8"
        )
        write_json(folder / RECORD, record)
    print(text, end="")
    print(f"Picture: {args.out / PICTURE}")
    return 0


def _scans(scans: Sequence[str], labels: Sequence[str], vials: list) -> tuple[list, list]:
    """Vials of each scan, and the fat spectrum that each map says it was made with."""
    from PDFFMapperLib.images.files import read_volume

    from MarrowAssessLib.sources.vials import measured, read_pdff

    if len(labels) not in (1, len(scans)):
        raise ValueError(
            f"--vials is given {len(labels)} times for {len(scans)} scans; give it once for all, "
            "or once for each in the same order."
        )
    drawn = [read_volume(path) for path in labels]
    drawn *= len(scans) if len(drawn) == 1 else 1
    found, spectra = [], []
    for text, regions in zip(scans, drawn, strict=True):
        name, parted, source = text.partition("=")
        if not parted or not name.strip() or not source:
            raise ValueError(f"--scan {text}: expected NAME=MAP, such as 3T=pdff.nii.gz.")
        pdff = read_pdff(source)
        found.append(measured(name.strip(), pdff, regions, vials))
        spectra.append(str(pdff.attributes.get("FatSpectrum", "")))
    return found, spectra
