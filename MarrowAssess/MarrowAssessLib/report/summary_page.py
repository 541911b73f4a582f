"""All modalities of one patient on one page, for a screen or a sheet of A4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from PDFFMapperLib.install.software import VERSION

from MarrowAssessLib.catalogue.about import RESEARCH_USE
from MarrowAssessLib.catalogue.patient import age_text
from MarrowAssessLib.findings.marrow_response import MarrowResponse
from MarrowAssessLib.findings.xray import HOW_OFTEN, XrayForm
from MarrowAssessLib.follow_up.change import NOT_COMPARABLE, Change
from MarrowAssessLib.follow_up.course import Course
from MarrowAssessLib.follow_up.side_by_side import COLUMNS, findings, grouped
from MarrowAssessLib.report.follow_up_page import ARROWS, trend_figures, trend_key
from MarrowAssessLib.report.modalities import matrix
from MarrowAssessLib.report.shared import figure, filled, report_style

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
        visits: one for each day, of all modalities; see `visits.joined`.
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
    return filled("summary.html", fields)


def _patient(summary: Summary) -> str:
    patient = summary.visits[-1]["patient"]
    sex = {"F": "female", "M": "male"}.get(patient["sex"], "sex unknown")
    age = age_text(patient["age_years"]) or "age unknown"
    return f"{age}, {sex}; day {', '.join(f'{day:g}' for day in summary.days)}"


def _list(lines: Sequence[str], kind: str = "") -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(one)}</li>" for one in lines)
    return f"<ul class={kind or 'met'}>{items}</ul>"


def _matrix(summary: Summary) -> str:
    changes = {}
    if summary.course:
        last = summary.days[-1] - summary.days[0]
        known = [one for one in summary.course.changes if one.days == last]
        changes = {(one.quantity, one.site, one.measured_now): _change(one) for one in known}
    return matrix(summary.visits[-1], changes, MOST_SITES)


def _change(one: Change) -> str:
    if one.verdict == NOT_COMPARABLE:
        return "? change"
    return f"{ARROWS[one.verdict]} {one.size:+.1f} RC"


def _views(summary: Summary) -> str:
    if not summary.views:
        return ""
    figures = "".join(
        figure(file, f"3D view, day {day:g}", f"Day {day:g}")
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
