"""An assessment as JSON, CSV and one self-contained HTML page."""

from __future__ import annotations

import base64
import csv
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from PDFFMapperLib.images.files import written_whole
from PDFFMapperLib.images.tables import plain_cell
from PDFFMapperLib.install.resources import resource_path
from PDFFMapperLib.install.software import VERSION

from MarrowAssessLib.catalogue.about import RESEARCH_USE
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.findings.assessment import Assessment, Result
from MarrowAssessLib.findings.signature import EXPECTED, MARROW_TYPES, SOURCE, Signature
from MarrowAssessLib.measures.measurement import Measurement
from MarrowAssessLib.references.records import Record
from MarrowAssessLib.report.age_plot import age_plot_svg, same_reference
from MarrowAssessLib.report.colors import z_color

SCHEMA = "marrowassess-assessment-1"


@dataclass
class Report:
    """What goes into a report besides the assessment itself.

    Attributes:
        pictures: caption to PNG file, in the order shown.
        true_value: for the digital phantom, the truth behind a measurement.
        notes: sentences for the reader, such as why a picture is missing.
        parameter_maps: provenance of maps that were computed on the way, by name.
    """

    assessment: Assessment
    pictures: dict[str, Path] = field(default_factory=dict)
    true_value: Callable[[Measurement], float | None] | None = None
    notes: list[str] = field(default_factory=list)
    parameter_maps: dict[str, dict] = field(default_factory=dict)


def write_json(report: Report, path: str | Path) -> None:
    """Write everything as JSON (schema: Resources/Schemas/assessment.schema.json)."""
    text = json.dumps(as_dict(report), indent=1, allow_nan=False)
    with written_whole(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def write_csv(report: Report, path: str | Path) -> None:
    """Write one tidy row per measurement."""
    rows = [_row(report, result) for result in report.assessment.results]
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, list(_COLUMNS))
        writer.writeheader()
        writer.writerows({key: plain_cell(value) for key, value in row.items()} for row in rows)


def write_html(report: Report, path: str | Path) -> None:
    """Write one HTML page with its pictures inside, for a phone, a screen or paper."""
    page = _html(report)
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


# --- data ---------------------------------------------------------------------------------------


def as_dict(report: Report) -> dict:
    """The report as plain data, following the JSON schema."""
    assessment = report.assessment
    study = assessment.study
    pattern = assessment.t1_pattern
    return {
        "schema": SCHEMA,
        "software": {"name": "MarrowAssess", "version": VERSION},
        "research_use": RESEARCH_USE,
        "patient": {
            "age_years": study.age_years,
            "sex": study.sex,
            "subject": study.subject,
        },
        "inputs": study.inputs,
        "settings": {
            "erosion_mm": assessment.settings.erosion_mm,
            "n4": assessment.settings.n4,
            "m_score_reference": assessment.settings.m_score_reference,
        },
        "methods": assessment.methods,
        "parameter_maps": report.parameter_maps,
        "measurements": [_measurement(report, result) for result in assessment.results],
        "signatures": [_signature(one) for one in assessment.signatures],
        "t1_versus_disc_at_this_age": pattern
        and {
            "expected": pattern.expected,
            "text": pattern.text,
            "rule_holds": pattern.rule_holds,
            "records": [record.id for record in pattern.records],
        },
        "marrow_expected": [
            {
                "site": c.site,
                "marrow": c.marrow,
                "text": c.text,
                "records": [r.id for r in c.records],
            }
            for c in assessment.conversions
        ],
        "skipped": [{"quantity": s.quantity, "reason": s.reason} for s in assessment.skipped],
        "notes": report.notes,
        "references": [
            {
                "id": record.id,
                "source": record.source,
                "citation": record.citation,
                "doi": record.doi,
                "evidence": record.evidence,
                "verified": record.verified,
            }
            for record in _records(assessment)
        ],
    }


def _measurement(report: Report, result: Result) -> dict:
    measurement, expectation = result.measurement, result.expectation
    found = {
        "quantity": measurement.quantity,
        "name": QUANTITIES[measurement.quantity].name,
        "site": measurement.site,
        "value": measurement.value,
        "unit": measurement.unit,
        "ci95": measurement.ci95,
        "regions": measurement.regions,
        "measured": measurement.measured,
        "divided_by": measurement.divided_by,
        "statistics": _statistics(measurement.statistics),
        "reference_statistics": _statistics(measurement.reference_statistics),
        "value_without_n4": measurement.value_without_n4,
        "how": measurement.how,
        "true_value": report.true_value(measurement) if report.true_value else None,
        "expected": None,
        "no_reference": result.no_reference,
        "z": result.z,
        "percentile": result.percentile,
        "verdict": result.verdict,
        "doubtful": list(result.doubtful),
        "cutoffs": [
            {
                "side": cutoff.side,
                "value": cutoff.value,
                "meaning": cutoff.meaning,
                "applies_to": cutoff.applies_to,
                "accuracy": cutoff.accuracy,
                "records": [record.id for record in cutoff.records],
            }
            for cutoff in result.cutoffs
        ],
        "cautions": result.cautions,
    }
    if expectation:
        chosen = expectation.distribution
        found["expected"] = {
            "mean": chosen.mean,
            "sd": chosen.sd,
            "n": chosen.n,
            "range95": expectation.expected_range,
            "ages": chosen.ages,
            "sex": chosen.sex,
            "site": chosen.site,
            "population": chosen.population,
            "records": [record.id for record in expectation.records],
            "sources": expectation.spread,
        }
    return _finite(found)


def _statistics(one) -> dict | None:
    if one is None:
        return None
    p5, p25, p75, p95 = one.percentiles
    return {
        "voxels": one.voxels,
        "excluded": one.excluded,
        "volume_mm3": one.volume_mm3,
        "mean": one.mean,
        "median": one.median,
        "sd": one.sd,
        "p5": p5,
        "p25": p25,
        "p75": p75,
        "p95": p95,
    }


def _signature(one: Signature) -> dict:
    return _finite(
        {
            "region": one.region,
            "site": one.site,
            "best": one.best,
            "match": one.match,
            "disagree": one.disagree,
            "flip_flop": one.flip_flop,
            "findings": [
                {
                    "sequence": f.sequence,
                    "word": f.word,
                    "evidence": f.evidence,
                    "suppressed": f.suppressed,
                }
                for f in one.findings
            ],
            "cautions": one.cautions,
            "source": SOURCE,
        }
    )


def _finite(value):
    """JSON has no NaN: such numbers become null."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if hasattr(value, "item") else value


def _records(assessment: Assessment) -> list[Record]:
    """Every record the report cites, once."""
    found: dict[str, Record] = {}
    groups = [
        *(r.expectation.records for r in assessment.results if r.expectation),
        *(d.records for r in assessment.results if r.expectation for d in r.expectation.others),
        *(cutoff.records for r in assessment.results for cutoff in r.cutoffs),
        *(conversion.records for conversion in assessment.conversions),
        assessment.t1_pattern.records if assessment.t1_pattern else (),
    ]
    for group in groups:
        found.update({record.id: record for record in group})
    return sorted(found.values(), key=lambda record: record.id)


_COLUMNS: dict[str, Callable[[dict], object]] = {
    "quantity": lambda m: m["quantity"],
    "name": lambda m: m["name"],
    "site": lambda m: m["site"],
    "value": lambda m: m["value"],
    "unit": lambda m: m["unit"],
    "ci95_low": lambda m: m["ci95"][0] if m["ci95"] else None,
    "ci95_high": lambda m: m["ci95"][1] if m["ci95"] else None,
    "true_value": lambda m: m["true_value"],
    "value_without_n4": lambda m: m["value_without_n4"],
    "how": lambda m: m["how"],
    "expected_mean": lambda m: m["expected"] and m["expected"]["mean"],
    "expected_sd": lambda m: m["expected"] and m["expected"]["sd"],
    "expected_low": lambda m: m["expected"] and m["expected"]["range95"][0],
    "expected_high": lambda m: m["expected"] and m["expected"]["range95"][1],
    "z": lambda m: m["z"],
    "percentile": lambda m: m["percentile"],
    "verdict": lambda m: m["verdict"],
    "doubtful": lambda m: "; ".join(m["doubtful"]),
    "references": lambda m: " ".join(m["expected"]["records"]) if m["expected"] else None,
    "no_reference": lambda m: m["no_reference"],
    "regions": lambda m: "; ".join(m["regions"]),
    **{
        name: (lambda m, name=name: m["statistics"] and m["statistics"][name])
        for name in ("voxels", "volume_mm3", "mean", "median", "sd", "p5", "p25", "p75", "p95")
    },
    "cautions": lambda m: " ".join(m["cautions"]),
    **{
        name: (lambda m, name=name: m[name])
        for name in ("age_years", "sex", "subject", "software", "settings", "inputs", "maps")
    },
}


def _row(report: Report, result: Result) -> dict:
    assessment = report.assessment
    study, settings = assessment.study, assessment.settings
    of_all = {
        "age_years": study.age_years,
        "sex": study.sex,
        "subject": study.subject,
        "software": f"MarrowAssess {VERSION}",
        "settings": f"erosion {settings.erosion_mm:g} mm; N4 {'on' if settings.n4 else 'off'}",
        "inputs": _inputs(assessment),
        "maps": " ".join(_map_methods(report)),
    }
    data = _measurement(report, result) | of_all
    return {column: of(data) for column, of in _COLUMNS.items()}


def _inputs(assessment: Assessment) -> str:
    return "; ".join(f"{role}: {name}" for role, name in assessment.study.inputs.items())


def _map_methods(report: Report) -> list[str]:
    return [f"{name}: {_plain(facts)}." for name, facts in report.parameter_maps.items()]


# --- page ---------------------------------------------------------------------------------------


def _html(report: Report) -> str:
    assessment = report.assessment
    template = resource_path("MarrowAssessLib", "Report/report.html").read_text(encoding="utf-8")
    fields = {
        "research_use": escape(RESEARCH_USE),
        "patient": escape(_patient(assessment)),
        "glance": _glance(assessment),
        "pictures": "".join(
            f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,'
            f'{base64.b64encode(file.read_bytes()).decode()}"><figcaption>{escape(caption)}'
            "</figcaption></figure>"
            for caption, file in report.pictures.items()
        ),
        "plots": _plots(assessment),
        "signatures": _signatures(assessment),
        "measurements": _measurement_tables(report),
        "not_measured": "".join(
            f"<li>{escape(QUANTITIES[s.quantity].name)}: {escape(s.reason)}</li>"
            for s in assessment.skipped
        ),
        "methods": "".join(f"<li>{escape(one)}</li>" for one in _methods(report)),
        "references": "".join(_reference(record) for record in _records(assessment)),
    }
    # In one pass, so that braces in a file's or subject's name stay what they are.
    return re.sub(r"{{(\w+)}}", lambda match: fields[match[1]], template)


def _patient(assessment: Assessment) -> str:
    study = assessment.study
    age = "age unknown" if study.age_years is None else f"{study.age_years:g} years"
    sex = {"F": "female", "M": "male"}.get(study.sex, "sex unknown")
    return ", ".join(filter(None, (study.subject, age, sex)))


def _glance(assessment: Assessment) -> str:
    """The few lines a reader in a hurry needs: what is outside, and how much was compared."""
    scored = [r for r in assessment.results if r.z is not None]
    outside = sorted((r for r in scored if r.verdict != "within"), key=lambda r: -abs(r.z))
    lines = [
        f"<li>{_chip(r)} <b>{escape(r.measurement.site)}</b> "
        f"{escape(QUANTITIES[r.measurement.quantity].name)} {escape(r.text)}, {r.verdict} the "
        f"expected {escape(r.expected_text)} "
        f"<small>({escape(r.expectation.distribution.source)})</small></li>"
        for r in outside
    ]
    for one in assessment.signatures:
        if one.flip_flop:
            lines.append(
                f"<li><b>{escape(one.site or one.region)}</b> flip-flop sign: T1 signal lost, "
                "fat-suppressed T2 homogeneously bright</li>"
            )
        if one.best == "pathologic":
            against = one.disagree["pathologic"]
            but = f", against it: {', '.join(against)}" if against else ""
            lines.append(
                f"<li><b>{escape(one.site or one.region)}</b> signal matches pathologic marrow in "
                f"{one.match['pathologic']:.0%} of the sequences{but}</li>"
            )
    lines += [
        f"<li><b>Doubtful: {escape(region.name)}</b> Its numbers get no verdict until somebody has "
        f"looked: {escape(' '.join(region.cautions))}</li>"
        for region in assessment.doubtful
    ]
    if not scored:
        unknown = assessment.study.age_years is None
        why = "the patient's age is not known" if unknown else "none applies"
        lines.append(f"<li>No value could be compared with an age reference: {why}.</li>")
    elif not outside:
        lines.append("<li>No value that has a reference lies outside its 95 % range.</li>")
    summary = (
        f"{len(assessment.results)} measurements, {len(scored)} with a reference for this age"
        f"{' and sex' if assessment.study.sex else ''}, {len(outside)} outside the expected "
        "95 % range (1 in 20 is by chance)."
    )
    pattern = assessment.t1_pattern
    if pattern and not pattern.rule_holds:
        lines.append(f"<li><b>Caution</b> {escape(pattern.text)}</li>")
    return f"<ul class=glance>{''.join(lines)}</ul><p>{summary}</p>"


def _chip(result: Result) -> str:
    red, green, blue = (round(255 * c) for c in z_color(result.z))
    dark = result.z is None or abs(result.z) > 2
    text = f"z {result.z:+.1f}" if result.z is not None else result.verdict
    return (
        f'<span class=chip style="background:rgb({red},{green},{blue});'
        f'color:{"#fff" if dark else "#111"}">{text}</span>'
    )


def _plots(assessment: Assessment) -> str:
    study = assessment.study
    if study.age_years is None:
        return ""
    plots = [
        age_plot_svg(group, study.age_years, study.sex)
        for group in same_reference(assessment.results)
    ]
    return "".join(f"<figure class=plot>{plot}</figure>" for plot in plots if plot)


def _signatures(assessment: Assessment) -> str:
    if not assessment.signatures:
        return "<p>No sequence was there to compare.</p>"
    sequences = [
        s
        for s in EXPECTED
        if any(f.sequence == s for o in assessment.signatures for f in o.findings)
    ]
    head = "".join(f"<th>{escape(s)}</th>" for s in sequences)
    rows = []
    for one in assessment.signatures:
        by_sequence = {f.sequence: f for f in one.findings}
        cells = "".join(
            f'<td title="{escape(by_sequence[s].evidence)}">{escape(by_sequence[s].word)}'
            f"{'*' if by_sequence[s].suppressed else ''}</td>"
            if s in by_sequence
            else "<td>-</td>"
            for s in sequences
        )
        matches = "".join(f"<td class=num>{_share(one.match[kind])}</td>" for kind in MARROW_TYPES)
        flip = {None: "-", True: "yes", False: "no"}[one.flip_flop]
        rows.append(
            f"<tr><th>{escape(one.site or one.region)}</th><td><b>{one.best}</b></td>"
            f"<td>{flip}</td>{matches}{cells}</tr>"
        )
    expected = "".join(
        f"<tr class=expected><th colspan=6>expected of {kind} marrow</th>"
        + "".join(f"<td>{EXPECTED[s][kind]}</td>" for s in sequences)
        + "</tr>"
        for kind in MARROW_TYPES
    )
    cautions = dict.fromkeys(c for one in assessment.signatures for c in one.cautions)
    listed = "".join(f"<li>{escape(c)}</li>" for c in cautions)
    kinds = "".join(f"<th>{kind}</th>" for kind in MARROW_TYPES)
    return (
        "<div class=scroll><table><thead><tr><th>Site</th><th>Best match</th><th>Flip-flop</th>"
        f"{kinds}{head}</tr></thead><tbody>{''.join(rows)}{expected}</tbody></table></div>"
        f"<ul>{listed}</ul><p><small>Expected findings: {escape(SOURCE)}. The review gives words; "
        "the limits between them (shown when a cell is pointed at) are this software's."
        "</small></p>"
    )


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.0f} %"


def _measurement_tables(report: Report) -> str:
    """One table per quantity, folded, with its scored ones open."""
    results = report.assessment.results
    tables = []
    for quantity in dict.fromkeys(r.measurement.quantity for r in results):
        own = [r for r in results if r.measurement.quantity == quantity]
        scored = any(r.expectation for r in own)
        tables.append(_measurement_table(report, quantity, own, scored))
    return "".join(tables)


def _measurement_table(report: Report, key: str, own: list[Result], scored: bool) -> str:
    quantity = QUANTITIES[key]
    with_truth = report.true_value is not None
    with_n4 = any(r.measurement.value_without_n4 is not None for r in own)
    head = (
        "<th>Site</th><th>Value</th><th>95 % interval</th>"
        + ("<th>True</th>" if with_truth else "")
        + ("<th>Without N4</th>" if with_n4 else "")
        + "<th>Expected</th><th>z</th><th>Percentile</th><th>Verdict</th><th>Voxels</th>"
    )
    rows = "".join(_measurement_row(report, r, with_truth, with_n4) for r in own)
    cutoffs = {(c.side, c.value, c.meaning): c for r in own for c in r.cutoffs}
    shown = "".join(
        f"<li>Published cut-off: {c.side} {quantity.format(c.value)}, {escape(c.meaning)}"
        f"{f' ({escape(c.accuracy)})' if c.accuracy else ''}, {escape(_cite(c.records))}</li>"
        for c in cutoffs.values()
    )
    sources = dict.fromkeys(
        f"{r.expectation.spread}; used: {_cite(r.expectation.records)}, "
        f"{r.expectation.distribution.ages}, n = {r.expectation.distribution.n or 'not stated'}"
        for r in own
        if r.expectation
    )
    reasons = dict.fromkeys(r.no_reference for r in own if r.no_reference)
    cautions = dict.fromkeys(c for r in own for c in r.cautions)
    settings = dict.fromkeys(r.measurement.how for r in own if r.measurement.how)
    notes = (
        "".join(f"<li>Reference: {escape(one)}</li>" for one in sources)
        + "".join(f"<li>{escape(one[0].upper() + one[1:])}.</li>" for one in reasons)
        + shown
        + "".join(f"<li>How: {escape(one)}.</li>" for one in settings)
        + "".join(f"<li class=caution>{escape(one)}</li>" for one in cautions)
    )
    unit = f" ({quantity.unit})" if quantity.unit else ""
    return (
        f"<details{' open' if scored else ''}><summary>{escape(quantity.name)}{unit}"
        f"<small>{escape(quantity.meaning)}</small></summary>"
        f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"</div><ul>{notes}</ul></details>"
    )


def _measurement_row(report: Report, result: Result, with_truth: bool, with_n4: bool) -> str:
    measurement = result.measurement
    digits = QUANTITIES[measurement.quantity].digits

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    interval = "-"
    if measurement.ci95:
        interval = f"{number(measurement.ci95[0])} to {number(measurement.ci95[1])}"
    cells = [number(measurement.value), interval]
    if with_truth:
        cells.append(number(report.true_value(measurement)))
    if with_n4:
        cells.append(number(measurement.value_without_n4))
    percentile = "-" if result.percentile is None else _percentile(result.percentile)
    voxels = measurement.statistics.voxels if measurement.statistics else "-"
    return (
        f"<tr><th>{escape(measurement.site or measurement.measured[0])}</th>"
        + "".join(f"<td class=num>{cell}</td>" for cell in cells)
        + f"<td class=num>{escape(result.expected_text) or '-'}</td><td>{_chip(result)}</td>"
        f"<td class=num>{percentile}</td><td>{result.verdict}</td><td class=num>{voxels}</td></tr>"
    )


def _percentile(value: float) -> str:
    if value < 1:
        return "&lt; 1"
    return "&gt; 99" if value > 99 else f"{value:.0f}"


def _cite(records: tuple[Record, ...]) -> str:
    return ", ".join(f"{r.source} [{r.id}]" for r in records)


def _reference(record: Record) -> str:
    doi = (
        f' <a href="https://doi.org/{escape(record.doi)}">doi {escape(record.doi)}</a>'
        if record.doi
        else ""
    )
    return (
        f"<li><b>{escape(record.id)}</b> {escape(record.citation)}{doi} "
        f"<i>({escape(record.reading)})</i></li>"
    )


def _methods(report: Report) -> list[str]:
    assessment = report.assessment
    return [
        f"MarrowAssess {VERSION}.",
        f"Inputs: {_inputs(assessment)}.",
        *assessment.methods,
        *_map_methods(report),
        *report.notes,
    ]


def _plain(facts: dict) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())
