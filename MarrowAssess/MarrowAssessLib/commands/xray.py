"""`marrowassess xray`: a reader's structured form of a radiograph, checked and compared."""

from __future__ import annotations

import argparse
from pathlib import Path

TABLE, RECORD, REPORT = "xray.csv", "xray.json", "xray.dcm"
COLUMNS = ("day", "view", "sign", "form", "site", "side", "certainty", "size_mm", "course")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess xray`."""
    parser.add_argument("form", type=Path, metavar="form.json", help="as the reader filled it in")
    parser.add_argument(
        "--earlier", type=Path, metavar="form.json", help="tells which signs are new, same or gone"
    )
    parser.add_argument(
        "--dicom", type=Path, metavar="FILE",
        help=f"the radiograph, to write the form as a DICOM structured report of it ({REPORT})",
    )  # fmt: skip
    parser.add_argument(
        "--anonymous", action="store_true", help="that report without who the patient is"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")


def run(args: argparse.Namespace) -> int:
    """Check the form, compare it and write it; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is written.
    """
    from PDFFMapperLib.images.json_file import write_json
    from PDFFMapperLib.images.outputs import output_set, refuse_foreign
    from PDFFMapperLib.images.tables import write_rows
    from PDFFMapperLib.install.software import MAKER

    from MarrowAssessLib.catalogue.about import RESEARCH_USE
    from MarrowAssessLib.findings.xray import read_form

    refuse_foreign(args.out, RECORD, (TABLE, REPORT))
    form = read_form(_content(args.form))
    if args.earlier:
        form = form.beside(read_form(_content(args.earlier)))
    report = _report(form, args.dicom, args.anonymous) if args.dicom else None
    content = form.as_dict()
    with output_set(args.out, RECORD) as folder:
        rows = ({"day": form.day, "view": form.view, **one} for one in content["findings"])
        write_rows(folder / TABLE, COLUMNS, rows)
        if report is not None:
            from PDFFMapperLib.dicom_out.source import save

            save(report, folder / REPORT)
        record = {"form": content, "software": MAKER, "research_use": RESEARCH_USE}
        write_json(folder / RECORD, record)
    print(form.summary)
    print(f"How often: {content['how_often']} For research use only.")
    return 0


def _report(form: object, radiograph: Path, anonymous: bool) -> object:
    from PDFFMapperLib.dicom_out.source import refuse_without_highdicom, source_of_file

    from MarrowAssessLib.dicom_out.xray_report import xray_report

    refuse_without_highdicom()
    return xray_report(form, source_of_file(radiograph, anonymous))


def _content(path: Path) -> dict:
    """A form as filled in, or as written here before."""
    from PDFFMapperLib.images.json_file import read_json

    content = read_json(path, "an X-ray form")
    written = content.get("form")
    return written if isinstance(written, dict) else content
