"""`marrowassess follow-up`: visits of one person, each change beside the measurement error."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from PDFFMapperLib.images.json_file import write_json
from PDFFMapperLib.images.outputs import output_set, refuse_foreign
from PDFFMapperLib.images.tables import write_rows
from PDFFMapperLib.install.software import MAKER

from MarrowAssessLib.catalogue.about import RESEARCH_USE
from MarrowAssessLib.catalogue.quantities import QUANTITIES

if TYPE_CHECKING:
    from MarrowAssessLib.follow_up.change import Change, Trend

TABLE, TRENDS, PAGE, RECORD = "follow_up.csv", "trends.csv", "follow_up.html", "follow_up.json"
COLUMNS = (
    "quantity", "site", "regions", "day1", "day2", "days", "x1", "x2", "unit", "change", "percent",
    "age_drift", "lower", "upper", "rc", "p", "verdict", "adjusted", "comparable", "reason",
    "error", "error_kind", "error_used", "pairs", "error_source",
)  # fmt: skip
TREND_COLUMNS = (
    "quantity", "site", "regions", "visits", "slope_per_30_days", "lower", "upper", "theil_sen",
    "unit", "first_flagged_day", "nadir_day", "nadir",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess follow-up`."""
    parser.add_argument(
        "assessments", nargs="+", type=Path, metavar="assessment.json", help="of each visit"
    )
    parser.add_argument("--days", required=True, metavar="LIST", help="of the visits, as 0,90")
    parser.add_argument(
        "--repeatability", type=Path, metavar="CSV",
        help="own repeated examinations (subject, quantity, site, value1, value2; 10 pairs or "
        "more), which go before published ones",
    )  # fmt: skip
    parser.add_argument(
        "--reproducibility", type=Path, metavar="CSV",
        help="the same of people examined on both scanners; without it visits on two scanners are "
        "not compared",
    )  # fmt: skip
    parser.add_argument(
        "--therapy", action="append", default=[], metavar="DAY=WHAT[:SITES]",
        help="marked in the plots, as 14=G-CSF; sites of radiotherapy and fractures are not "
        "compared across it, as 30=radiotherapy:L2-L4",
    )  # fmt: skip
    parser.add_argument(
        "--without-age-drift", action="store_true",
        help="take off what age alone is expected to change between the days",
    )  # fmt: skip
    parser.add_argument(
        "--same-person", action="store_true",
        help="compare although age, sex or identifier do not fit; the page says so",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")


def run(args: argparse.Namespace) -> int:
    """Compare and write table and page; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is written.
    """
    from MarrowAssessLib.follow_up.change import counts
    from MarrowAssessLib.follow_up.changes import Comparing
    from MarrowAssessLib.follow_up.compare import course
    from MarrowAssessLib.follow_up.errors import read_repeatability
    from MarrowAssessLib.follow_up.visits import parse_therapy, read_days, read_visit
    from MarrowAssessLib.report.follow_up_page import follow_up_page

    refuse_foreign(args.out, RECORD, (TABLE, TRENDS, PAGE))
    visits = [read_visit(path) for path in args.assessments]
    found = course(
        visits,
        read_days(args.days),
        read_repeatability(args.repeatability) if args.repeatability else {},
        Comparing(
            read_repeatability(args.reproducibility) if args.reproducibility else {},
            [parse_therapy(text) for text in args.therapy],
            args.without_age_drift,
            args.same_person,
        ),
    )
    rows = [_row(change) for change in found.changes]
    trends = [_trend_row(trend) for trend in found.trends]
    with output_set(args.out, RECORD) as folder:
        write_rows(folder / TABLE, COLUMNS, rows)
        if trends:
            write_rows(folder / TRENDS, TREND_COLUMNS, trends)
        (folder / PAGE).write_text(follow_up_page(found), encoding="utf-8")
        record = {
            "software": MAKER,
            "research_use": RESEARCH_USE,
            "cautions": found.cautions,
            "changes": rows,
            "trends": trends,
        }
        write_json(folder / RECORD, record)
    for caution in found.cautions:
        print(caution)
    for change in found.changes:
        if change.changed:
            print(change.sentence)
    print(counts(found.changes))
    print(f"Page: {args.out / PAGE}")
    return 0


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _row(one: Change) -> dict:
    error = one.error
    return {
        "quantity": one.quantity,
        "site": one.site,
        "regions": "; ".join(one.measured),
        "day1": one.first_day,
        "day2": one.first_day + one.days,
        "days": one.days,
        "x1": _number(one.first),
        "x2": _number(one.second),
        "unit": QUANTITIES[one.quantity].unit,
        "change": _number(one.second - one.first),
        "percent": _number(one.percent),
        "age_drift": one.drift,
        "lower": _number(one.low),
        "upper": _number(one.high),
        "rc": _number(one.size),
        "p": _number(one.p),
        "verdict": one.verdict,
        "adjusted": one.adjusted,
        "comparable": one.error is not None,
        "reason": one.reason,
        "error": error and error.sd,
        "error_kind": error and ("of the logarithm" if error.proportional else "absolute"),
        "error_used": one.error_used,
        "pairs": error and error.n,
        "error_source": error and error.source,
    }


def _trend_row(one: Trend) -> dict:
    unit = QUANTITIES[one.quantity].unit
    return {
        "quantity": one.quantity,
        "site": one.site,
        "regions": "; ".join(one.measured),
        "visits": len(one.days),
        "slope_per_30_days": _number(one.slope),
        "lower": _number(one.low),
        "upper": _number(one.high),
        "theil_sen": one.theil_sen,
        "unit": f"{unit} per 30 days".strip(),
        "first_flagged_day": one.first_flagged,
        "nadir_day": one.nadir[0],
        "nadir": one.nadir[1],
    }
