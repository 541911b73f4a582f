"""The page of a cohort: what was measured, failed and is odd, and how it was acquired."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.cohort.tables import CohortResult, copies_text
from MarrowAssessLib.references.expected import AgeCurve, age_curve
from MarrowAssessLib.report.age_plot import bands
from MarrowAssessLib.report.axes import LEFT, Frame, axis, picture, ticks
from MarrowAssessLib.report.page import page, shown, table

ODD_Z, FEWEST = 3.5, 10  # robust z (Iglewicz and Hoaglin 1993), and values that it needs
MOST_PLOTS, MOST_ODD, MOST_NAMED = 12, 48, 3
KEY_Y = 27  # between title and plot
_COLORS = {"F": "#d55e00", "M": "#0072b2", None: "#5f5f5f"}  # Okabe and Ito 2008
_SEXES = {"F": "women", "M": "men", None: "sex unknown"}


@dataclass(frozen=True)
class Odd:
    """A value far from the cohort's others.

    Attributes:
        study, quantity, site, value: which.
        z: distance from the median in robust SDs.
        median: of the cohort.
    """

    study: str
    quantity: str
    site: str
    value: float
    z: float
    median: float


def cohort_page(result: CohortResult, folder: Path) -> str:
    """One HTML page that names nobody.

    Args:
        result: of the cohort.
        folder: where it was written; reports are linked relative to it.
    """
    patients = len({row["patient"] or row["study"] for row in result.rows})
    tiles = [("studies", result.done + result.failed), ("measured", result.done),
             ("failed", result.failed), ("patients", patients)]  # fmt: skip
    parts = [
        '<div class="tiles">',
        *(f"<div><b>{number}</b>{name}</div>" for name, number in tiles),
        "</div>",
        *_failures(result.failures),
        *(f"<p>{escape(one)}</p>" for one in copies_text(result.rows)),
        *_odd(outliers(result.rows), folder),
        *_plots(result.rows),
        *_numbers(result.rows),
        *_acquired(result.acquired),
    ]
    return page("Cohort", parts)


def outliers(rows: Sequence[Mapping]) -> list[Odd]:
    """Values with a robust z beyond 3.5 among all of their quantity and site, farthest first."""
    found = []
    for (quantity, site), own in _by_place(rows).items():
        values = np.array([row["value"] for row in own], float)
        median = float(np.median(values))
        mad = float(np.median(np.abs(values - median)))
        if len(values) < FEWEST or mad == 0:
            continue
        for row, z in zip(own, 0.6745 * (values - median) / mad, strict=True):
            if abs(z) > ODD_Z:
                found.append(Odd(row["study"], quantity, site, row["value"], float(z), median))
    return sorted(found, key=lambda one: -abs(one.z))


def _by_place(rows: Iterable[Mapping]) -> dict[tuple[str, str], list[Mapping]]:
    """Rows with a value, by quantity and site."""
    found: dict[tuple[str, str], list[Mapping]] = {}
    for row in rows:
        if row["value"] is not None and math.isfinite(row["value"]):
            found.setdefault((row["quantity"], row["site"] or ""), []).append(row)
    return found


def _failures(failures: Sequence[tuple[str, str]]) -> list[str]:
    if not failures:
        return []
    by_reason: dict[str, list[str]] = {}
    for study, reason in failures:
        by_reason.setdefault(reason, []).append(study)
    rows = []
    for reason, studies in sorted(by_reason.items(), key=lambda one: -len(one[1])):
        more = " ..." if len(studies) > MOST_NAMED else ""
        rows.append([str(len(studies)), reason, ", ".join(studies[:MOST_NAMED]) + more])
    return ["<h2>Failed</h2>", table(("Studies", "Why", "Which"), rows)]


def _odd(found: Sequence[Odd], folder: Path) -> list[str]:
    heading = (
        f"<h2>Far from the others</h2><p class='fine'>Robust z beyond {ODD_Z} (median and median "
        f"deviation of at least {FEWEST} values of one quantity and site): look whether region and "
        "image are right.</p>"
    )
    if not found:
        return [heading, "<p>None.</p>"]
    by_study: dict[str, list[Odd]] = {}
    for one in found:
        by_study.setdefault(one.study, []).append(one)
    cards = [_card(study, odd, folder) for study, odd in list(by_study.items())[:MOST_ODD]]
    more = len(by_study) - len(cards)
    rest = f"<p class='fine'>{more} more studies are not shown.</p>" if more else ""
    return [heading, '<div class="odd">', *cards, "</div>", rest]


def _card(study: str, odd: Sequence[Odd], folder: Path) -> str:
    """A study's picture, its odd values and a link to its report."""
    picture = folder / "studies" / study / "thumbnail.png"
    shown_picture = ""
    if picture.is_file():
        data = base64.b64encode(picture.read_bytes()).decode()
        shown_picture = f'<img alt="regions" src="data:image/png;base64,{data}">'
    lines = [
        f"<p>{escape(_name(one.quantity))} {escape(one.site)}: <b>{_value(one.quantity, one.value)}"
        f"</b> (median {_value(one.quantity, one.median)}; z {one.z:+.1f})</p>"
        for one in odd[:MOST_NAMED]
    ]
    more = f"<p class='fine'>{len(odd) - MOST_NAMED} more</p>" if len(odd) > MOST_NAMED else ""
    link = f'<a href="studies/{quote(study)}/report.html">{escape(study)}</a>'
    return f"<article>{shown_picture}<div>{link}{''.join(lines)}{more}</div></article>"


def _name(quantity: str) -> str:
    return QUANTITIES[quantity].name if quantity in QUANTITIES else quantity


def _value(quantity: str, value: float) -> str:
    return QUANTITIES[quantity].format(value) if quantity in QUANTITIES else shown(value)


def _plots(rows: Sequence[Mapping]) -> list[str]:
    """Of each quantity its site with most values, over age, on what is expected there."""
    largest: dict[str, tuple[str, list[Mapping]]] = {}
    for (quantity, site), own in _by_place(rows).items():
        aged = [row for row in own if row["age_years"] is not None]
        if aged and len(aged) > len(largest.get(quantity, ("", []))[1]):
            largest[quantity] = (site, aged)
    chosen = list(largest.items())[:MOST_PLOTS]
    if not chosen:
        return []
    pictures = [
        f"<figure>{one}</figure>"
        for quantity, (site, own) in chosen
        for one in _plots_of(quantity, site, own)
    ]
    more = len(largest) - len(chosen)
    said = f" {more} more quantities are in the table." if more else ""
    return [
        f"<h2>Over age</h2><p class='fine'>Bands: 3rd to 97th and 10th to 90th percentile, where a "
        f"reference is known; women and men apart where it tells them apart.{said}</p>",
        '<div class="plots">', *pictures, "</div>",
    ]  # fmt: skip


def _plots_of(quantity: str, site: str, rows: Sequence[Mapping]) -> list[str]:
    """One plot, or one of each sex where the reference is of one."""
    curve = age_curve(quantity, site) if quantity in QUANTITIES else None
    if curve is not None or quantity not in QUANTITIES:
        return [_plot(quantity, site, "", rows, curve)]
    curves = {sex: age_curve(quantity, site, sex) for sex in ("F", "M")}
    if not any(curves.values()):
        return [_plot(quantity, site, "", rows, None)]
    by_sex = [(sex, [row for row in rows if (row["sex"] or None) == sex]) for sex in _SEXES]
    return [_plot(quantity, site, _SEXES[sex], own, curves.get(sex)) for sex, own in by_sex if own]


def _plot(
    quantity: str, site: str, who: str, rows: Sequence[Mapping], curve: AgeCurve | None
) -> str:
    """A scatter plot over age as SVG."""
    ages = [float(row["age_years"]) for row in rows]
    values = [float(row["value"]) for row in rows]
    of_curve = [] if curve is None else curve.percentiles[np.isfinite(curve.percentiles)]
    frame = Frame(axis(min(ages), max(ages)), axis(min([*values, *of_curve]),
                                                   max([*values, *of_curve])))  # fmt: skip
    low, high = frame.ages[0], frame.ages[-1]
    if curve is not None:
        frame = Frame(axis(min(low, curve.ages_years[0]), max(high, curve.ages_years[-1])),
                      frame.values)  # fmt: skip
    unit = QUANTITIES[quantity].unit if quantity in QUANTITIES else ""
    title = f"{_name(quantity)} {site}".strip() + (f" ({unit})" if unit else "")
    title += f", {who}" if who else ""
    present = [] if who else [s for s in _SEXES if any((r["sex"] or None) == s for r in rows)]
    points = [
        f'<circle cx="{frame.x(age):.1f}" cy="{frame.y(value):.1f}" r="2.6" fill="'
        f'{_COLORS.get(row["sex"] or None, "#5f5f5f")}" fill-opacity="0.7"/>'
        for row, age, value in zip(rows, ages, values, strict=True)
    ]
    key = [
        f'<circle cx="{LEFT + 6 + 90 * n}" cy="{KEY_Y}" r="4" fill="{_COLORS[sex]}"/>'
        f'<text x="{LEFT + 14 + 90 * n}" y="{KEY_Y + 4}">{_SEXES[sex]}</text>'
        for n, sex in enumerate(present)
    ]
    expected = bands(frame, curve) if curve is not None else []
    return picture(title, [*ticks(frame), *expected, *points, *key], f"{title}, n = {len(rows)}")


def _numbers(rows: Sequence[Mapping]) -> list[str]:
    """A line for each quantity and site: how many, where they lie, how many are outside."""
    lines = []
    for (quantity, site), own in _by_place(rows).items():
        low, middle, high = np.percentile([row["value"] for row in own], (25, 50, 75))
        verdicts = Counter(row["verdict"] for row in own)
        doubtful = sum(bool(row["doubtful"]) for row in own)
        known = any(verdicts[word] for word in ("below", "within", "above"))
        counts = [str(verdicts[word]) if known else "" for word in ("below", "within", "above")]
        ends = f"{_value(quantity, low)} to {_value(quantity, high)}"
        lines.append([_name(quantity), site, str(len(own)), _value(quantity, middle), ends,
                      *counts, str(doubtful or "")])  # fmt: skip
    heads = ("Quantity", "Site", "n", "Median", "Quartiles", "Below", "Within", "Above", "Doubtful")
    said = "Below, within and above the expected 95 % range of age and sex, where one is known."
    return ["<h2>Numbers</h2>", f"<p class='fine'>{said}</p>", table(heads, lines)]


def _acquired(acquired: Sequence[Mapping[str, Mapping]]) -> list[str]:
    """How often each way of acquiring an image occurs."""
    columns = {"Manufacturer": "Manufacturer", "ManufacturerModelName": "Model",
               "ManufacturersModelName": "Model", "MagneticFieldStrength": "Field (T)",
               "RepetitionTime": "TR (ms)", "EchoTime": "TE (ms)",
               "spacing_mm": "Voxel (mm)"}  # fmt: skip
    heads = list(dict.fromkeys(columns.values()))
    counts: Counter = Counter()
    for study in acquired:
        for image, facts in study.items():
            told = {columns[k]: _fact(v) for k, v in facts.items() if k in columns}
            counts[(image, *(told.get(head, "") for head in heads))] += 1
    rows = [[str(n), *key] for key, n in sorted(counts.items(), key=lambda one: -one[1])]
    used = [n for n, head in enumerate(["", "", *heads]) if n < 2 or any(row[n] for row in rows)]
    named = ["Studies", "Image", *heads]
    return ["<h2>Acquisition</h2>", table([named[n] for n in used],
                                          [[row[n] for n in used] for row in rows])]  # fmt: skip


def _fact(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
