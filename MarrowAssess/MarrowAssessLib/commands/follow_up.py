"""`marrowassess follow-up`: visits of one person, each change beside the measurement error."""

from __future__ import annotations

import argparse
import csv
import html
import json
import math
from collections.abc import Sequence
from pathlib import Path

from PDFFMapperLib.images.json_file import read_json
from PDFFMapperLib.images.outputs import output_set, refuse_foreign
from PDFFMapperLib.images.tables import plain_cell
from PDFFMapperLib.install.software import MAKER

from MarrowAssessLib.catalogue.about import RESEARCH_USE
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.findings.follow_up import NOT_COMPARABLE, WITHIN, Change, fault_of

ASSESSMENT = "marrowassess-assessment-1"  # the schema that is read
TABLE, PAGE, RECORD = "follow_up.csv", "follow_up.html", "follow_up.json"
COLUMNS = (
    "quantity", "site", "days", "x1", "x2", "unit", "change", "percent", "lower", "upper", "p",
    "verdict", "adjusted", "reason", "error", "error_kind", "pairs", "error_source",
)  # fmt: skip
_STYLE = (
    "body{font:16px/1.4 sans-serif;max-width:60rem;margin:1rem auto;padding:0 1rem}"
    "div{overflow-x:auto}table{border-collapse:collapse;width:100%}"
    "td,th{padding:.3rem .6rem;border-bottom:1px solid #ccc;text-align:left}"
    "tr.changed{background:#fff1d6}tr.open{color:#666}"
)


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
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")


def run(args: argparse.Namespace) -> int:
    """Compare and write table and page; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is written.
    """
    from MarrowAssessLib.findings.follow_up import follow_up, read_repeatability

    refuse_foreign(args.out, RECORD, (TABLE, PAGE))
    visits = [_read(path) for path in args.assessments]
    own = read_repeatability(args.repeatability) if args.repeatability else {}
    changes = follow_up(visits, _days(args.days), own)
    if not changes:
        raise ValueError("The visits have no quantity at one site in common.")
    rows = [_row(change) for change in changes]
    with output_set(args.out, RECORD) as folder:
        with (folder / TABLE).open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            writer.writerows({key: plain_cell(value) for key, value in row.items()} for row in rows)
        (folder / PAGE).write_text(_page(changes), encoding="utf-8")
        record = {"software": MAKER, "research_use": RESEARCH_USE, "changes": rows}
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for change in changes:
        if change.verdict not in (WITHIN, NOT_COMPARABLE):
            print(_sentence(change))
    print(summary(changes))
    return 0


def summary(changes: Sequence[Change]) -> str:
    """How much was compared, and how much of it changes by chance."""
    compared = [change for change in changes if change.verdict != NOT_COMPARABLE]
    changed = [change for change in compared if change.verdict != WITHIN]
    standing = sum(change.adjusted for change in changes)
    return (
        f"{len(compared)} compared, {len(changed)} beyond measurement error "
        f"({0.05 * len(compared):.1f} expected by chance; {standing} stand after adjustment by "
        f"Holm), {len(changes) - len(compared)} not comparable. For research use only."
    )


def _read(path: Path) -> dict:
    content = read_json(path, "an assessment")
    if content.get("schema") != ASSESSMENT:
        raise ValueError(
            f"{path.name}: its schema is '{content.get('schema', 'none')}' where {ASSESSMENT} is "
            "expected; assess the images again with this version."
        )
    if fault := fault_of(content):
        raise ValueError(f"{path.name}: this assessment is damaged ({fault}); assess again.")
    return content


def _days(text: str) -> list[float]:
    try:
        days = [float(word) for word in text.split(",")]
    except ValueError:
        days = [math.nan]
    if not all(map(math.isfinite, days)):
        raise ValueError(f"--days {text}: numbers with commas are expected, such as 0,90.")
    return days


def _row(one: Change) -> dict:
    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    error = one.error
    return {
        "quantity": one.quantity,
        "site": one.site,
        "days": one.days,
        "x1": number(one.first),
        "x2": number(one.second),
        "unit": QUANTITIES[one.quantity].unit,
        "change": number(one.second - one.first),
        "percent": number(one.percent),
        "lower": number(one.low),
        "upper": number(one.high),
        "p": number(one.p),
        "verdict": one.verdict,
        "adjusted": one.adjusted,
        "reason": one.reason,
        "error": error and error.sd,
        "error_kind": error and ("of the logarithm" if error.proportional else "absolute"),
        "pairs": error and error.n,
        "error_source": error and error.source,
    }


def _sentence(one: Change) -> str:
    quantity = QUANTITIES[one.quantity]
    return (
        f"{one.site} {quantity.name}: {one.verdict} from {quantity.format(one.first)} to "
        f"{quantity.format(one.second)} in {one.days:g} days (unchanged: "
        f"{quantity.format(one.low)} to {quantity.format(one.high)})"
    )


def _page(changes: Sequence[Change]) -> str:
    heads = ("Site", "Quantity", "Days", "First", "Now", "Unchanged", "Verdict", "Error by")
    lines = []
    for one in changes:
        quantity = QUANTITIES[one.quantity]
        kind = "open" if one.verdict == NOT_COMPARABLE else "changed"
        kind = "" if one.verdict == WITHIN else kind
        values = (quantity.format(v) if math.isfinite(v) else "-" for v in (one.first, one.second))
        known = one.error is not None
        between = f"{quantity.format(one.low)} to {quantity.format(one.high)}" if known else "-"
        word = f"{one.verdict}{' (stands among all)' if one.adjusted else ''}"
        word += f": {one.reason}" if one.reason else ""
        cells = (
            one.site, quantity.name, f"{one.days:g}", *values, between, word,
            one.error.source if known else "-",
        )  # fmt: skip
        texts = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr class="{kind}">{texts}</tr>')
    head = "".join(f"<th>{one}</th>" for one in heads)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Follow-up</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>Change between visits</h1>"
        f"<p>{html.escape(summary(changes))}</p><div><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div><p>{html.escape(RESEARCH_USE)}</p>"
        "</body></html>\n"
    )
