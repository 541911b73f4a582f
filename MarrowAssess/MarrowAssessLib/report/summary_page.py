"""All modalities of one patient on one page, for a screen or a sheet of A4."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from PDFFMapperLib.install.resources import resource_path
from PDFFMapperLib.install.software import VERSION

from MarrowAssessLib.catalogue.about import RESEARCH_USE
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.findings.marrow_response import MarrowResponse
from MarrowAssessLib.findings.xray import HOW_OFTEN, XrayForm
from MarrowAssessLib.follow_up.change import NOT_COMPARABLE, Change
from MarrowAssessLib.follow_up.course import Course
from MarrowAssessLib.follow_up.side_by_side import COLUMNS, cells, findings, grouped, sites
from MarrowAssessLib.report.colors import z_color
from MarrowAssessLib.report.follow_up_page import ARROWS, trend_figures, trend_key
from MarrowAssessLib.report.shared import report_style

MOST_SITES, MOST_VIEWS, MOST_FINDINGS = 12, 4, 6  # so that the sheet stays one
NO_RESPONSE = (
    "No response of leukemia is assigned from images. Extramedullary disease (19 % of acute "
    "myeloid leukemia at diagnosis) is looked for by eye, and may outlast remission; a focus drawn "
    "as a lesion on PET is measured."
)


@dataclass(frozen=True)
class Summary:
    """What the page is made of.

    Attributes:
        visits: one for each day, of all modalities; see `side_by_side.joined`.
        days: of them.
        course: of several days; None of one.
        views: day and PNG of the 3D view, all of one color scale.
        xrays, responses: forms that a reader filled in.
    """

    visits: Sequence[Mapping]
    days: Sequence[float]
    course: Course | None = None
    views: Sequence[tuple[float, Path]] = ()
    xrays: Sequence[XrayForm] = field(default=())
    responses: Sequence[MarrowResponse] = field(default=())


def summary_page(summary: Summary) -> str:
    """The page."""
    template = resource_path("MarrowAssessLib", "Report/summary.html").read_text(encoding="utf-8")
    met = findings(summary.visits[-1])
    lines = grouped(met)
    fields = {
        "style": report_style(),
        "patient": escape(_patient(summary)),
        "research_use": escape(RESEARCH_USE),
        "cautions": _list(summary.course.cautions if summary.course else (), "caution"),
        "matrix": _matrix(summary),
        "findings": _list(
            lines[:MOST_FINDINGS]
            + ([f"{len(lines) - MOST_FINDINGS} more."] if len(lines) > MOST_FINDINGS else [])
            or ["No rule is met."]
        ),
        "views": _views(summary),
        "trends": _trends(summary),
        "others": _others(summary, sum("cellular" in one.text for one in met)),
        "fine": escape(
            f"MarrowAssess {VERSION}. Value with 95 % interval of the region; z beside its age "
            "reference; arrow: beyond (▲ ▼) or within (●) measurement error since the first day, "
            "? not comparable. Findings are put side by side; none of it is a diagnosis. "
            f"{NO_RESPONSE}"
        ),
    }
    return re.sub(r"{{(\w+)}}", lambda match: fields[match[1]], template)


def _patient(summary: Summary) -> str:
    patient = summary.visits[-1]["patient"]
    sex = {"F": "female", "M": "male"}.get(patient["sex"], "sex unknown")
    age = patient["age_years"]
    shown = "age unknown" if age is None else f"{round(age, 1):g} years"
    return f"{shown}, {sex}; day {', '.join(f'{day:g}' for day in summary.days)}"


def _list(lines: Sequence[str], kind: str = "") -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(one)}</li>" for one in lines)
    return f"<ul class={kind or 'met'}>{items}</ul>"


def _matrix(summary: Summary) -> str:
    """Sites down, modalities across; the last day's values."""
    found = cells(summary.visits[-1])
    columns = [name for name, _ in COLUMNS if any(column == name for _, column in found)]
    changes = {}
    if summary.course:
        last = summary.days[-1] - summary.days[0]
        known = [one for one in summary.course.changes if one.days == last]
        changes = {(one.quantity, one.site, one.measured_now): one for one in known}
    heads = "".join(f"<th>{escape(one)}<small>{_unit(found, one)}</small></th>" for one in columns)
    rows = []
    listed = sites(found)
    for site in listed[:MOST_SITES]:
        texts = "".join(f"<td>{_cell(found.get((site, c)), changes)}</td>" for c in columns)
        rows.append(f"<tr><th>{escape(site or 'all')}</th>{texts}</tr>")
    if not rows:
        return "<p>None of the quantities of this page was measured.</p>"
    more = len(listed) - MOST_SITES
    note = f"<p>{more} more sites are in the report.</p>" if more > 0 else ""
    return (
        f"<table class=matrix><thead><tr><th>Site</th>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>{note}"
    )


def _unit(found: Mapping[tuple[str, str], Mapping], column: str) -> str:
    one = next(m for (_, name), m in found.items() if name == column)
    return escape(QUANTITIES[one["quantity"]].unit or "ratio")


def _cell(one: Mapping | None, changes: Mapping[tuple, Change]) -> str:
    if one is None:
        return "-"
    quantity = QUANTITIES[one["quantity"]]
    text = f"<b>{one['value']:.{quantity.digits}f}</b> "
    z = one.get("z")
    if one["doubtful"]:
        text += "<small>doubtful</small>"
    elif z is None:
        text += "<small class=in>no ref.</small>"
    else:
        color = ",".join(str(round(255 * c)) for c in z_color(z))
        ink = "#fff" if abs(z) > 2 else "#111"
        text += f'<span class=chip style="background:rgb({color});color:{ink}">z {z:+.1f}</span>'
    ci = one.get("ci95")
    if ci and None not in ci:
        text += f"<small>{ci[0]:.{quantity.digits}f} to {ci[1]:.{quantity.digits}f}</small>"
    change = changes.get((one["quantity"], one["site"], tuple(one.get("measured", ()))))
    if change:
        known = change.verdict != NOT_COMPARABLE
        shown = f"{ARROWS[change.verdict]} {change.size:+.1f} RC" if known else "? change"
        text += f"<small>{shown}</small>"
    return text


def _views(summary: Summary) -> str:
    if not summary.views:
        return ""
    figures = "".join(
        f'<figure><img alt="3D view, day {day:g}" src="data:image/png;base64,'
        f'{base64.b64encode(file.read_bytes()).decode()}"><figcaption>Day {day:g}</figcaption>'
        "</figure>"
        for day, file in summary.views[:MOST_VIEWS]
    )
    return f"<h2>Regions by z-score, one scale</h2><div class=views>{figures}</div>"


def _trends(summary: Summary) -> str:
    """One plot for each quantity of the page: the site that changed most."""
    if summary.course is None:
        return ""
    shown = [quantity for _, quantities in COLUMNS for quantity in quantities]
    figures = trend_figures(summary.course, shown)
    return f"<h2>Trends</h2>{trend_key(summary.course)}<div class=trends>{figures}</div>"


def _others(summary: Summary, cellular: int) -> str:
    lines = [f"X-ray, day {one.day:g}: {one.summary}" for one in summary.xrays]
    lines += [f"How often: {HOW_OFTEN}"] if lines else []
    for one in summary.responses:
        lines += [one.text, one.beside(cellular)]
    lines = [one for one in lines if one]
    return f"<h2>Read and entered</h2>{_list(lines)}" if lines else ""
