"""`marrowassess compare`: what a cohort's table says of repeats, readers, groups and change."""

from __future__ import annotations

import argparse
from pathlib import Path

from PDFFMapperLib.images.json_file import write_json
from PDFFMapperLib.images.outputs import output_set, refuse_foreign
from PDFFMapperLib.images.tables import write_rows
from PDFFMapperLib.install.software import MAKER

from MarrowAssessLib.catalogue.about import RESEARCH_USE

PAGE, RECORD = "compare.html", "compare.json"
TABLES = ("repeatability", "agreement", "groups", "change", "curves", "controls")
EPILOG = """examples:
  marrowassess compare results --out compared
  marrowassess compare test_retest --repeats --out compared
  marrowassess compare volunteers --normal all --out compared

RESULTS is a folder that `marrowassess cohort` wrote. Groups, days and readers come from the columns
group, days, reader, scanner and center of its CSV list. With --repeats the visits of a patient are
repeated examinations of unchanged marrow; without it they are visits over time.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess compare`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("results", type=Path, help="folder that `marrowassess cohort` wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--repeats", action="store_true", help="visits are repeats of unchanged marrow"
    )
    parser.add_argument(
        "--normal", metavar="GROUP",
        help="fit reference curves over age to this group of normal people; all: to everybody",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Compare and write tables and page; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is written.
    """
    from MarrowAssessLib.cohort.comparison import comparison
    from MarrowAssessLib.cohort.tables import read_measurements
    from MarrowAssessLib.report.compare_page import compare_page

    refuse_foreign(args.out, RECORD, (PAGE, *(f"{name}.csv" for name in TABLES)))
    found = comparison(read_measurements(args.results), args.repeats, args.normal)
    with output_set(args.out, RECORD) as folder:
        for name, rows in found.tables.items():
            columns = list(dict.fromkeys(key for row in rows for key in row))
            write_rows(folder / f"{name}.csv", columns, rows)
        (folder / PAGE).write_text(compare_page(found), encoding="utf-8")
        record = {"software": MAKER, "research_use": RESEARCH_USE, "notes": found.notes}
        write_json(folder / RECORD, record)
    for name, rows in found.tables.items():
        print(f"{name}: {len(rows)} rows")
    for note in found.notes:
        print(note)
    print(f"Page: {args.out / PAGE}")
    return 0
