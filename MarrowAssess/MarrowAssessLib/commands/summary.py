"""`marrowassess summary`: all modalities of one patient on one page."""

from __future__ import annotations

import argparse
from pathlib import Path

PAGE, RECORD = "summary.html", "summary.json"
VIEW = "overlay_3d.png"  # beside an assessment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess summary`."""
    parser.add_argument(
        "assessments", nargs="+", type=Path, metavar="assessment.json",
        help="of each modality and visit; those of one day stand together",
    )  # fmt: skip
    parser.add_argument("--days", required=True, metavar="LIST", help="of each, as 0,0,90")
    parser.add_argument(
        "--repeatability", type=Path, metavar="CSV", help="own repeated examinations, see follow-up"
    )
    parser.add_argument(
        "--therapy", action="append", default=[], metavar="DAY=WHAT[:SITES]", help="see follow-up"
    )
    parser.add_argument(
        "--xray", action="append", default=[], type=Path, metavar="xray.json", help="of `xray`"
    )
    parser.add_argument(
        "--response", action="append", default=[], type=Path, metavar="FILE",
        help="marrow and blood of acute myeloid leukemia (JSON: day, marrow_blasts_percent, "
        "before_percent, neutrophils_1e9_l, platelets_1e9_l, circulating_blasts, "
        "extramedullary_disease, auer_rods)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")


def run(args: argparse.Namespace) -> int:
    """Read, put side by side and write the page; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is written.
    """
    from PDFFMapperLib.images.json_file import read_json, write_json
    from PDFFMapperLib.images.outputs import output_set, refuse_foreign
    from PDFFMapperLib.install.software import MAKER

    from MarrowAssessLib.catalogue.about import RESEARCH_USE
    from MarrowAssessLib.findings.marrow_response import read_response
    from MarrowAssessLib.findings.xray import read_form
    from MarrowAssessLib.follow_up.changes import Comparing
    from MarrowAssessLib.follow_up.compare import course
    from MarrowAssessLib.follow_up.errors import read_repeatability
    from MarrowAssessLib.follow_up.side_by_side import findings, grouped
    from MarrowAssessLib.follow_up.visits import joined, parse_therapy, read_days, read_visit
    from MarrowAssessLib.report.summary_page import Summary, summary_page

    refuse_foreign(args.out, RECORD, (PAGE,))
    given = read_days(args.days)
    visits, days = joined([read_visit(path) for path in args.assessments], given)
    own = read_repeatability(args.repeatability) if args.repeatability else {}
    therapies = [parse_therapy(text) for text in args.therapy]
    found = course(visits, days, own, Comparing(therapies=therapies)) if len(days) > 1 else None
    views = [
        (day, path.with_name(VIEW))
        for path, day in zip(args.assessments, given, strict=True)
        if path.with_name(VIEW).is_file()
    ]
    contents = [read_json(path, "an X-ray form") for path in args.xray]
    xrays = [read_form(one.get("form", one)) for one in contents]
    responses = [read_response(read_json(path, "a response form")) for path in args.response]
    page = summary_page(Summary(visits, days, found, views, xrays, responses))
    met = findings(visits[-1])
    with output_set(args.out, RECORD) as folder:
        (folder / PAGE).write_text(page, encoding="utf-8")
        record = {
            "software": MAKER,
            "research_use": RESEARCH_USE,
            "findings": [vars(one) for one in met],
            "responses": [one.word for one in responses],
        }
        write_json(folder / RECORD, record)
    print("\n".join(grouped(met)))
    for one in responses:
        print(one.text)
    print(f"Page: {args.out / PAGE}")
    return 0
