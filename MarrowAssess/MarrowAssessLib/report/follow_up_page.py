"""Several visits of one person as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from PDFFMapperLib.install.software import VERSION

from MarrowAssessLib.catalogue.about import RESEARCH_USE
from MarrowAssessLib.catalogue.patient import MONTHS_UNTIL_YEARS, age_text
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method
from MarrowAssessLib.follow_up.change import NO_ERROR, NOT_COMPARABLE, Change, Trend, counts
from MarrowAssessLib.follow_up.course import Course, Place
from MarrowAssessLib.report.colors import BAND_COLORS, change_color, luminance
from MarrowAssessLib.report.shared import chip, filled, reference_line, report_style
from MarrowAssessLib.report.trend_plot import ERROR_COLOR, Point, shared_ends, trend_plot_svg

ARROWS = {"increase": "▲", "decrease": "▼", "within error": "●", NOT_COMPARABLE: "?"}
MOST_PLOTS, MOST_LINES, MOST_DAYS = 36, 12, 8  # on the page; tables and CSV have all
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def follow_up_page(course: Course) -> str:
    """The page."""
    fields = {
        "style": report_style(),
        "research_use": escape(RESEARCH_USE),
        "patient": escape(_patient(course)),
        "cautions": _cautions(course),
        "glance": _glance(course),
        "trends": _trend_plots(course),
        "tables": _tables(course),
        "methods": "".join(f"<li>{escape(one)}</li>" for one in _methods(course)),
        "references": "".join(map(reference_line, _records(course))) or "<li>None was used.</li>",
    }
    return filled("follow_up.html", fields)


def _patient(course: Course) -> str:
    sex = {"F": "female", "M": "male"}.get(course.sex, "sex unknown")
    ages = [one for one in course.ages_years if one is not None]
    shown = list(dict.fromkeys(_age(one) for one in (ages[:1] + ages[-1:])))
    if len(shown) > 1 and shown[0].split()[1:] == shown[1].split()[1:]:
        shown[0] = shown[0].split()[0]  # "8 to 14 months"
    age = " to ".join(shown) or "age unknown"
    days = ", ".join(f"{day:g}" for day in course.days)
    return f"{age}, {sex}; {len(course.days)} visits, on day {days}"


def _age(years: float) -> str:
    """In whole months of infants, else to a tenth of a year."""
    if years < MONTHS_UNTIL_YEARS:
        return age_text(round(years * 12) / 12)
    return age_text(round(years, 1))


def _cautions(course: Course) -> str:
    if not course.cautions:
        return ""
    listed = "".join(f"<li>{escape(one)}</li>" for one in course.cautions)
    return f"<h2>Beware</h2><ul class=caution>{listed}</ul>"


def _glance(course: Course) -> str:
    """In words what changed, on the last day on which each could be compared."""
    last = [s[-1] for s in course.series.values()]
    changed = sorted((c for c in last if c.changed), key=lambda c: (not c.adjusted, -abs(c.size)))
    lines = [f"<li>{_chip(one)} {_changed_words(one)}</li>" for one in changed[:MOST_LINES]]
    if len(changed) > MOST_LINES:
        lines.append(f"<li>{len(changed) - MOST_LINES} more are in the tables below.</li>")
    compared = sum(one.verdict != NOT_COMPARABLE for one in last)
    if not compared:
        lines = ["<li>Nothing could be compared; the tables say why.</li>"]
    elif not changed:
        lines = [
            f"<li>Nothing changed by more than measurement error in {compared} comparisons.</li>"
        ]
    moving = [one for one in course.trends if one.moves]
    lines += [
        f"<li><b>{escape(_trend_name(one))}</b> {_slope_words(one)}</li>"
        for one in moving[:MOST_LINES]
    ]
    return f"<ul class=glance>{''.join(lines)}</ul><p>{escape(counts(course.changes))}</p>"


def _changed_words(one: Change) -> str:
    shown = QUANTITIES[one.quantity].format
    word = "rose" if one.verdict == "increase" else "fell"
    percent = "" if math.isnan(one.percent) else f" ({one.percent:+.0f} % of it)"
    holds = "" if one.adjusted else "; among so many comparisons it may be chance"
    return (
        f"<b>{escape(one.name)}</b> {word} from {shown(one.first)} to {shown(one.second)}"
        f"{percent} in {one.days:g} days; unchanged it would be {_between(one)}{holds}."
    )


def _between(one: Change) -> str:
    quantity = QUANTITIES[one.quantity]
    return f"{one.low:.{quantity.digits}f} to {quantity.format(one.high)}"


def _trend_name(one: Trend) -> str:
    return f"{one.site or ', '.join(one.measured)} {QUANTITIES[one.quantity].name}".strip()


def _slope_words(one: Trend) -> str:
    """The slope per year with its interval."""
    quantity = QUANTITIES[one.quantity]
    digits = quantity.digits + 1
    slope, low, high = (one.per_year(x) for x in (one.slope, one.low, one.high))
    unit = {"%": "percentage points"}.get(quantity.unit, quantity.unit)
    unit = f"{unit} per year".strip()
    word = "no trend" if not one.moves else "rises" if slope > 0 else "falls"
    return (
        f"{word} over {len(one.days)} visits: {slope:+.{digits}f} {unit} "
        f"(95 % {low:+.{digits}f} to {high:+.{digits}f})."
    )


def _chip(one: Change) -> str:
    """The change in repeatability coefficients on its color."""
    rgb = change_color(one.size)
    known = math.isfinite(one.size)
    text = f"{ARROWS[one.verdict]} {one.size:+.1f} RC" if known else "not comparable"
    return chip(text, rgb, light=luminance(rgb) < 0.55)


def _trend_plots(course: Course) -> str:
    """Small plots, what changed first; what cannot be judged is folded."""
    series = {place: s for place, s in course.series.items() if not _is_texture(place[0])}
    judged = {p: s for p, s in series.items() if any(math.isfinite(one.low) for one in s)}
    colored = {p: s for p, s in series.items() if QUANTITIES[p[0]].color_rank is not None}
    others = {p: s for p, s in colored.items() if p not in judged}
    text = _plots(course, judged)
    if folded := _plots(course, others):
        text += (
            "<details><summary>Without a verdict<small>What is not comparable, or whose "
            f"repeatability nobody has published.</small></summary><div>{folded}</div></details>"
        )
    return f"<h2>Trends</h2>{trend_key(course)}{text}" if text else ""


def trend_figures(course: Course, quantities: Sequence[str]) -> str:
    """One plot for each of these quantities that was judged: the site that changed most."""
    text = ""
    for quantity in quantities:
        own = [s for place, s in course.series.items() if place[0] == quantity]
        own = [s for s in own if any(math.isfinite(one.low) for one in s)]
        if own:
            most = min(own, key=_urgency)
            known = QUANTITIES[quantity]
            unit = f" ({known.unit})" if known.unit else ""
            name = f"{most[0].site} {known.name}{unit}"
            text += _plot(course, most[0].place, most, _ends([most]), _marks(course), name)
    return text


def _marks(course: Course) -> list[tuple[float, str]]:
    """Day and letter of each therapy."""
    return [(one.day, _LETTERS[n % 26]) for n, one in enumerate(course.therapies)]


def _is_texture(quantity: str) -> bool:
    return QUANTITIES[quantity].method is Method.TEXTURE


def _plots(course: Course, series: Mapping[Place, Sequence[Change]]) -> str:
    """The plots of these places by quantity, the most urgent ones where there are many."""
    ranked = sorted(series, key=lambda place: _urgency(series[place]))
    chosen = set(ranked[:MOST_PLOTS])
    marks = _marks(course)
    text = ""
    for quantity in dict.fromkeys(place[0] for place in ranked):
        shown = [place for place in series if place[0] == quantity and place in chosen]
        if not shown:
            continue
        ends = _ends([series[place] for place in shown])
        plots = "".join(_plot(course, place, series[place], ends, marks) for place in shown)
        known = QUANTITIES[quantity]
        unit = f" ({known.unit})" if known.unit else ""
        text += f"<h3>{escape(known.name)}{escape(unit)}</h3><div class=trends>{plots}</div>"
    left = len(series) - len(chosen)
    return text + (f"<p>{left} more are in the tables only.</p>" if left else "")


def _urgency(series: Sequence[Change]) -> tuple:
    last = series[-1]
    size = abs(last.size) if math.isfinite(last.size) else -1.0
    return not any(one.changed for one in series), -size


def _ends(shown: Sequence[Sequence[Change]]) -> tuple[float, float]:
    values: list[float] = []
    for series in shown:
        first = series[0]
        values += [first.first, first.low, first.high]
        values += [one.second for one in series]
    return shared_ends(values)


def _plot(
    course: Course,
    place: Place,
    series: Sequence[Change],
    ends: tuple[float, float],
    marks: Sequence[tuple[float, str]],
    name: str = "",
) -> str:
    first = series[0]
    points = [Point(first.first_day, first.first, 1.96 * first.se[0])]
    for one in series:
        comparable = one.verdict != NOT_COMPARABLE or one.reason == NO_ERROR
        verdict = one.verdict if one.changed else ""
        day = one.first_day + one.days
        points.append(Point(day, one.second, 1.96 * one.se[1], verdict, comparable))
    judged = next((one for one in series if math.isfinite(one.low)), None)
    picture = trend_plot_svg(
        name or first.site or ", ".join(first.measured),
        points,
        ends,
        (judged.low, judged.high) if judged else None,
        course.expected.get(place, {}),
        marks,
    )
    last = series[-1]
    said = _chip(last) if last.verdict != NOT_COMPARABLE else escape(f"? {last.reason}")
    if trend := course.trend(place):
        said += f"<br>{_slope_words(trend)}" if math.isfinite(trend.slope) else ""
    return f"<figure>{picture}<figcaption>{said}</figcaption></figure>"


def trend_key(course: Course) -> str:
    """What bands, marks and letters of the plots mean."""
    items = [
        f'<li><i style="background:{ERROR_COLOR};opacity:.25"></i>unchanged: measurement error '
        "round the first value</li>",
        f'<li><i style="background:{BAND_COLORS[0]}"></i>expected at this age (95 %)</li>',
        "<li>▲ ▼ beyond measurement error</li><li>● within</li><li>✕ not comparable</li>"
        "<li>bars: 95 % interval of the region</li>",
    ]
    items += [
        f"<li><b>{_LETTERS[n % 26]}</b> day {one.day:g}: {escape(one.what)} "
        f"{escape(', '.join(one.sites))}</li>"
        for n, one in enumerate(course.therapies)
    ]
    return f"<ul class=key>{''.join(items)}</ul>"


def _tables(course: Course) -> str:
    """A table for each quantity, open where something changed."""
    by_quantity: dict[str, list[list[Change]]] = {}
    texture = 0
    for place, series in course.series.items():
        if _is_texture(place[0]):
            texture += 1
        else:
            by_quantity.setdefault(place[0], []).append(series)
    ranked = sorted(by_quantity, key=lambda q: min(map(_urgency, by_quantity[q])))
    text = "".join(_table(course, quantity, by_quantity[quantity]) for quantity in ranked)
    return text + (f"<p>{texture} texture features are in the CSV only.</p>" if texture else "")


def _table(course: Course, key: str, own: Sequence[Sequence[Change]]) -> str:
    quantity = QUANTITIES[key]
    days = course.days if len(course.days) <= MOST_DAYS else (course.days[0], course.days[-1])
    trended = any(one.quantity == key and math.isfinite(one.slope) for one in course.trends)
    head = "<th>Site</th><th>Verdict</th><th class=num>Change</th>"
    head += "".join(f"<th class=num>Day {day:g}</th>" for day in days)
    head += "<th class=num>Unchanged</th><th class=num>p</th>"
    head += "<th class=num>Per year (95 %)</th>" if trended else ""
    rows = "".join(_row(course, series, days, trended) for series in own)
    changed = sum(any(one.changed for one in series) for series in own)
    open_ = sum(series[-1].verdict == NOT_COMPARABLE for series in own)
    told = f"{changed} of {len(own)} beyond measurement error"
    told += f"; {open_} not comparable" if open_ else ""
    every = [one for series in own for one in series]
    notes = dict.fromkeys(f"Error: {one.error.source}." for one in every if one.error)
    notes |= dict.fromkeys(
        f"Used where wider: {one.error_used}." for one in every if one.error_used[:3] == "the"
    )
    notes |= dict.fromkeys(
        f"Not comparable: {one.reason}." for one in every if one.verdict == NOT_COMPARABLE
    )
    listed = "".join(f"<li>{escape(one)}</li>" for one in notes)
    unit = f" ({quantity.unit})" if quantity.unit else ""
    return (
        f"<details{' open' if changed else ''}><summary>{escape(quantity.name)}{escape(unit)}"
        f"<small>{told}</small></summary><div class=scroll><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div><ul>{listed}</ul></details>"
    )


def _row(course: Course, series: Sequence[Change], days: Sequence[float], trended: bool) -> str:
    last, digits = series[-1], QUANTITIES[series[-1].quantity].digits

    def number(value: float) -> str:
        return f"{value:.{digits}f}" if math.isfinite(value) else "-"

    at = {series[0].first_day: series[0].first}
    at |= {one.first_day + one.days: one.second for one in series}
    change = last.second - last.first - last.drift
    shown = f"{change:+.{digits}f}" if math.isfinite(change) else "-"
    shown += f" ({last.percent:+.0f} %)" if math.isfinite(last.percent) else ""
    shown += f", age {last.drift:+.{digits}f} taken off" if last.drift else ""
    known = math.isfinite(last.low)
    cells = [shown, *(number(at.get(day, math.nan)) for day in days)]
    cells += [f"{number(last.low)} to {number(last.high)}" if known else "-"]
    cells += ["-" if math.isnan(last.p) else "< 0.001" if last.p < 0.001 else f"{last.p:.3f}"]
    if trended:
        trend = course.trend(last.place)
        if trend and math.isfinite(trend.slope):
            values = (trend.per_year(x) for x in (trend.slope, trend.low, trend.high))
            cells.append("{} ({} to {})".format(*(f"{v:+.{digits}f}" for v in values)))
        else:
            cells.append("-")
    kind = " class=open" if last.verdict == NOT_COMPARABLE else ""
    return (
        f"<tr{kind}><th>{escape(last.site or ', '.join(last.measured))}</th><td>{_chip(last)}</td>"
        + "".join(f"<td class=num>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
    )


def _methods(course: Course) -> list[str]:
    used = {one.error.n for one in course.changes if one.error}
    lines = [
        f"MarrowAssess {VERSION}.",
        "RC is the repeatability coefficient: by how much two examinations of unchanged marrow "
        "differ at most 19 times in 20. A change beyond 1 RC is more than measurement error; 1 in "
        "20 unchanged numbers is beyond it by chance, so Holm's adjustment stands beside.",
        "The larger of the published or own error and of the regions' own intervals is used.",
    ]
    if used and min(used) < 100:
        lines.append(
            "Errors from few pairs are judged by Student's t with their degrees of freedom."
        )
    if course.trends:
        lines.append(
            "Slopes: weighted least squares with weights of the error; nothing is extrapolated."
        )
    if any(one.drift for one in course.changes):
        lines.append("What the age reference expects between the days was subtracted.")
    return lines


def _records(course: Course) -> list:
    known = {r.id: r for one in course.changes if one.error for r in one.error.records}
    return [known[key] for key in sorted(known)]
