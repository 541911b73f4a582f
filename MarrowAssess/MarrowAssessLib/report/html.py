"""An assessment as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from PDFFMapperLib.images import json_file
from PDFFMapperLib.images.files import written_whole
from PDFFMapperLib.install.software import VERSION
from PDFFMapperLib.maps.units import with_powers
from PDFFMapperLib.spectroscopy.plot import spectrum_svg

from MarrowAssessLib.catalogue.about import RESEARCH_USE
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.patient import age_text
from MarrowAssessLib.catalogue.quantities import (
    QUANTITIES,
    TEXTURE_CONTEXT,
    TEXTURE_FEATURES,
    TEXTURE_IMAGES,
    Quantity,
)
from MarrowAssessLib.findings.form import Field, forms
from MarrowAssessLib.findings.result import Assessment, Headline, Result
from MarrowAssessLib.findings.signature import EXPECTED, MARROW_TYPES, SOURCE
from MarrowAssessLib.findings.statement import Statement, cited_text
from MarrowAssessLib.follow_up.side_by_side import findings, grouped
from MarrowAssessLib.measures.muscle import Section
from MarrowAssessLib.measures.whole_body import lesion_adc
from MarrowAssessLib.prediction.patient_score import NO_DIAGNOSIS
from MarrowAssessLib.references.limits import percentile_text
from MarrowAssessLib.references.records import Record
from MarrowAssessLib.report.age_plot import age_plot_svg
from MarrowAssessLib.report.colors import STATEMENT_COLORS, z_color
from MarrowAssessLib.report.histogram import adc_histogram_svg
from MarrowAssessLib.report.modalities import matrix
from MarrowAssessLib.report.shared import chip, figure, filled, reference_line
from MarrowAssessLib.study.acquisition_facts import acquisition

_BESIDE_MR = {
    Contrast.SUV, Contrast.CT, Contrast.VNCA, Contrast.VNCA_PROJECTED, Contrast.HAP,
    Contrast.YELLOW_SHARE,
}  # fmt: skip


def write_html(
    assessment: Assessment,
    headlines: Sequence[Headline],
    path: str | Path,
    pictures: Mapping[str, Path] | None = None,
) -> None:
    """Write one HTML page with its pictures inside, for a phone, a screen or paper.

    Args:
        assessment: what it says.
        headlines: what it says first.
        path: of the page.
        pictures: caption to PNG file, in the order shown.
    """
    page = _html(assessment, headlines, pictures or {})
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _html(
    assessment: Assessment, headlines: Sequence[Headline], pictures: Mapping[str, Path]
) -> str:
    fields = {
        "research_use": escape(RESEARCH_USE),
        "patient": escape(_patient(assessment)),
        "glance": _glance(assessment, headlines),
        "pictures": "".join(figure(file, name, name) for name, file in pictures.items()),
        "modalities": _modalities(assessment),
        "plots": _plots(assessment),
        "signatures": _signatures(assessment),
        "of_age": _of_age(assessment),
        "scores": _scores(assessment),
        "forms": _forms(assessment),
        "fits": _lesions(assessment) + _spectra(assessment),
        "measurements": _measurement_tables(assessment),
        "not_measured": "".join(
            f"<li>{escape(QUANTITIES[s.quantity].name)}: {escape(s.reason)}</li>"
            for s in assessment.skipped
        ),
        "methods": "".join(f"<li>{escape(one)}</li>" for one in _methods(assessment)),
        "references": "".join(reference_line(record) for record in assessment.records),
    }
    return with_powers(filled("report.html", fields))


def _patient(assessment: Assessment) -> str:
    study = assessment.study
    age = age_text(study.age_years) or "age unknown"
    sex = {"F": "female", "M": "male"}.get(study.sex, "sex unknown")
    return ", ".join(filter(None, (study.subject, age, sex)))


def _glance(assessment: Assessment, headlines: Sequence[Headline]) -> str:
    """The few lines a reader in a hurry needs: what is outside or unusual, what as expected."""
    lines = "".join(_glance_line(line) for line in headlines)
    return f"<ul class=glance>{lines}</ul><p>{escape(assessment.counts_text)}</p>"


def _modalities(assessment: Assessment) -> str:
    """Sites down, modalities across, where more than MR was measured; and what meets."""
    measured = {result.measurement.quantity for result in assessment.results}
    if not any(_BESIDE_MR.intersection(QUANTITIES[one].images) for one in measured):
        return ""
    visit = {
        "patient": {"age_years": assessment.study.age_years},
        "acquisition": acquisition(assessment.study),
        "measurements": [_stored(one) for one in assessment.results],
    }
    met = "".join(f"<li>{escape(one)}</li>" for one in grouped(findings(visit)))
    return (
        f"<h2>Modalities side by side</h2><div class=scroll>{matrix(visit)}</div>"
        f"<ul class=met>{met}</ul>"
    )


def _stored(result: Result) -> dict:
    """What the table and its rules read of a measurement, as it is stored."""
    one = result.measurement
    found = {
        "quantity": one.quantity,
        "site": one.site,
        "measured": one.measured,
        "value": one.value,
        "ci95": one.ci95,
        "z": result.z,
        "verdict": result.verdict,
        "doubtful": result.doubtful,
    }
    return json_file.plain(found)


def _glance_line(line: Headline) -> str:
    chip = _chip(line.result) if line.result else _tone_chip(line.tone) if line.what else ""
    what = f"<b>{escape(line.what)}</b> " if line.what else ""
    cited = cited_text(line.records)
    source = f" <small>[{escape(cited)}]</small>" if cited else ""
    return f"<li>{chip} {what}{escape(line.says)}{source}</li>"


def _tone_chip(tone: str) -> str:
    """A statement's word on its color; nothing where it is open."""
    return chip(tone, STATEMENT_COLORS[tone], light=False) if tone else ""


def _chip(result: Result) -> str:
    if result.z is None and result.tone:
        return _tone_chip(result.tone)
    text = f"z {result.z:+.1f}" if result.z is not None else result.verdict
    return chip(text, z_color(result.z), light=result.z is None or abs(result.z) > 2)


def _forms(assessment: Assessment) -> str:
    """Structured forms with what was measured, for a reader to fill in."""
    text = ""
    for form in forms([one.measurement for one in assessment.results]):
        rows = "".join(
            f"<tr><th>{escape(f.name)}</th><td>{escape(f.measured)}</td>"
            f"<td class=words>{_choices(f)}</td></tr>"
            for f in form.fields
        )
        text += (
            f"<h2>{escape(form.title)}</h2><p>{escape(form.note)}</p><div class=scroll>"
            "<table class=form><thead><tr><th>Field</th><th>Measured</th><th>Reader</th></tr>"
            f"</thead><tbody>{rows}</tbody></table></div>"
        )
    return text


def _choices(field: Field) -> str:
    """A box to tick for each choice of a field, or a line to write on."""
    return " ".join(f"<span>&#9744;&nbsp;{escape(one)}</span>" for one in field.choices) or "____"


def _spectra(assessment: Assessment) -> str:
    """Each spectrum with fit, components and residual."""
    shown = "".join(
        f"<figure class=plot>{spectrum_svg(one.fitted, f'Spectrum of {site}')}</figure>"
        for site, one in assessment.study.spectra.items()
    )
    return f'<h2>Spectra</h2><section class="pictures">{shown}</section>' if shown else ""


def _lesions(assessment: Assessment) -> str:
    """How often each ADC occurs in the lesions."""
    adc = assessment.study.volumes.get(Contrast.ADC)
    values = lesion_adc(assessment.study.regions, adc) if adc is not None else ()
    if not len(values):
        return ""
    limits = assessment.settings.adc_limits
    plot = adc_histogram_svg(values, limits, "ADC of all lesions (% of their volume)")
    shown = f"<figure class=plot>{plot}</figure>"
    return f'<h2>Lesions on diffusion</h2><section class="pictures">{shown}</section>'


def _plots(assessment: Assessment) -> str:
    study = assessment.study
    if study.age_years is None:
        return ""
    plots = []
    for shared in assessment.shared_references:
        if expected := shared.curve() or shared.model():
            points = [(r.measurement.site, r.measurement.value) for r in shared.results]
            plots.append(
                age_plot_svg(expected, shared.title, shared.quantity.unit, points, study.age_years)
            )
    if not plots:
        return ""
    shown = "".join(f"<figure class=plot>{plot}</figure>" for plot in plots)
    return f'<h2>Beside the age reference</h2><section class="pictures">{shown}</section>'


def _of_age(assessment: Assessment) -> str:
    """The marrow expected at each site, and what is for the eye to tell."""
    lines = dict.fromkeys(
        f"{one.marrow.capitalize()} marrow is expected: {one.text.rstrip('.')} "
        f"[{cited_text(tuple(r.id for r in one.records))}]"
        for one in assessment.conversions
    )
    lines |= dict.fromkeys(
        f"Judge by eye, {one.text}; {one.by_eye} [{cited_text(tuple(r.id for r in one.records))}]"
        for one in assessment.by_eye
    )
    if not lines:
        return ""
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h2>Normal at this age</h2><ul>{listed}</ul>"


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
    kinds = "".join(f"<th class=num>{kind}</th>" for kind in MARROW_TYPES)
    return (
        "<div class=scroll><table><thead><tr><th>Site</th><th>Best match</th><th>Flip-flop</th>"
        f"{kinds}{head}</tr></thead><tbody>{''.join(rows)}{expected}</tbody></table></div>"
        f"<ul>{listed}</ul><p><small>Expected findings: {escape(SOURCE)}. The review gives words; "
        "the limits between them (shown when a cell is pointed at) are this software's. Where an "
        "interval allows two words both stand, and count only against the types of neither."
        "</small></p>"
    )


def _scores(assessment: Assessment) -> str:
    """Scores of one's own training, with what limits them and their model cards."""
    if not assessment.scores:
        return ""
    shown = []
    for one in assessment.scores:
        limits = "".join(f"<li class=caution>{escape(line)}</li>" for line in one.limits)
        card = "".join(f"<li>{escape(line)}</li>" for line in one.card)
        shown.append(
            f"<p><b>{escape(one.text)}</b></p><ul>{limits}</ul><details><summary>The score's card"
            f"<small>{escape(NO_DIAGNOSIS)}</small></summary><ul>{card}</ul></details>"
        )
    return f"<h2>Scores of your own training</h2>{''.join(shown)}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.0f} %"


def _measurement_tables(assessment: Assessment) -> str:
    """One table per quantity, folded, with its scored ones open; texture in one for all."""
    results = [r for r in assessment.results if not r.is_texture]
    tables = []
    for quantity in dict.fromkeys(r.measurement.quantity for r in results):
        own = [r for r in results if r.measurement.quantity == quantity]
        scored = any(r.expectation for r in own)
        tables.append(_measurement_table(assessment, quantity, own, scored))
    texture = _texture_table([r for r in assessment.results if r.is_texture])
    return "".join(tables) + texture + _sections_table(assessment.muscle_sections)


def _texture_table(results: list[Result]) -> str:
    """Features side by side, one row for each image and region."""
    if not results:
        return ""
    rows: dict[tuple[Contrast, str], dict[str, Result]] = {}
    for one in results:
        known = QUANTITIES[one.measurement.quantity]
        (region,), site = one.measurement.measured, one.measurement.site
        shown = region if site in region else f"{site}: {region}"
        rows.setdefault((known.images[0], shown), {})[known.feature] = one
    shown = {code for found in rows.values() for code in found}
    named = {code: (name, ibsi) for code, _, name, _, ibsi in TEXTURE_FEATURES if code in shown}
    head = "".join(
        f"<th>{escape(name.capitalize())}<br><small>{escape(ibsi)} {code}</small></th>"
        for code, (name, ibsi) in named.items()
    )
    images = {image: name for image, _, name, _ in TEXTURE_IMAGES}
    body, told = [], []
    for image, name in images.items():
        own = {region: found for (of, region), found in rows.items() if of is image}
        for n, (region, found) in enumerate(own.items()):
            cells = "".join(f"<td class=num>{_number_text(found.get(code))}</td>" for code in named)
            first = f"<th rowspan={len(own)}>{name}</th>" if n == 0 else ""
            body.append(f"<tr>{first}<th>{escape(region)}</th>{cells}</tr>")
        every = [r for found in own.values() for r in found.values()]
        hows = {region: next(iter(one.values())).measurement.how for region, one in own.items()}
        told += [f"<li>{name}, {escape(where)}: {escape(how)}.</li>" for where, how in hows.items()]
        told += [
            f"<li class=caution>{name}: {escape(text)}</li>"
            for text in dict.fromkeys(c for r in every for c in r.cautions)
        ]
        context = TEXTURE_CONTEXT.get(image, ()) if own else ()
        told += [f"<li>{name}, published with other settings: {escape(t)}</li>" for t in context]
    return (
        "<details open><summary>Texture<small>Gray levels of neighboring voxels of marrow, as the "
        "IBSI defines them (code below each name). It describes; no published value is a reference "
        "for it, and it is no fracture risk.</small></summary><div class=scroll><table><thead><tr>"
        f"<th>Image</th><th>Region</th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        f"</div><ul>{''.join(told)}</ul></details>"
    )


def _number_text(result: Result | None) -> str:
    if result is None:
        return "-"
    return f"{result.measurement.value:.{QUANTITIES[result.measurement.quantity].digits}f}"


def _sections_table(sections: Sequence[Section]) -> str:
    """Muscles slice by slice, folded, the largest section of each in bold."""
    if not sections:
        return ""
    fat_map = sections[0].fat_map.replace("_", " ")
    fat_map = fat_map[:1].upper() + fat_map[1:]
    rows = []
    for one in sections:
        cells = [f"{one.number}", f"{one.position_mm:.0f}", f"{one.area_cm2:.1f}"]
        if fat_map:
            cells.append("-" if one.fat_percent is None else f"{one.fat_percent:.1f}")
        mark = ("<b>", "</b>") if one.largest else ("", "")
        shown = "".join(f"<td class=num>{mark[0]}{cell}{mark[1]}</td>" for cell in cells)
        rows.append(f"<tr><th>{escape(one.region)}</th>{shown}</tr>")
    fat = f"<th>{escape(fat_map)} (%)</th>" if fat_map else ""
    return (
        "<details><summary>Muscles slice by slice<small>As drawn; the largest section of each is "
        "bold. Position from foot to head (S).</small></summary><div class=scroll><table><thead>"
        f"<tr><th>Region</th><th>Slice</th><th>Position (mm)</th><th>Area (cm^2)</th>{fat}</tr>"
        f"</thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _measurement_table(assessment: Assessment, key: str, own: list[Result], scored: bool) -> str:
    quantity = QUANTITIES[key]
    with_truth = assessment.true_value is not None
    with_n4 = any(r.measurement.value_without_n4 is not None for r in own)
    head = (
        "<th>Site</th><th class=num>Value</th><th class=num>95 % interval</th>"
        + ("<th class=num>True</th>" if with_truth else "")
        + ("<th class=num>Without N4</th>" if with_n4 else "")
        + "<th class=num>Expected</th><th>z</th><th class=num>Percentile</th><th>Verdict</th>"
        "<th class=num>Voxels</th>"
    )
    rows = "".join(_measurement_row(assessment, r, with_truth, with_n4) for r in own)
    cutoffs = {(c.side, c.value, c.meaning): c for r in own for c in r.cutoffs}
    shown = "".join(
        f"<li>Published cut-off: {c.side} {quantity.format(c.value)}, {escape(c.meaning)}"
        f"{f' ({escape(c.accuracy)})' if c.accuracy else ''}, {escape(_cite(c.records))}</li>"
        for c in cutoffs.values()
    )
    sources = dict.fromkeys(
        f"{r.expectation.spread}; used: {_cite(r.expectation.records)}, "
        f"{r.expectation.distribution.ages}, n = {r.expectation.distribution.n or 'not stated'}"
        f"{_limits_text(r)}"
        for r in own
        if r.expectation
    )
    said = dict.fromkeys(_statement_text(one) for r in own for one in r.statements)
    repeat = own[0].repeatability
    reasons = dict.fromkeys(r.no_reference for r in own if r.no_reference)
    cautions = dict.fromkeys(c for r in own for c in r.cautions)
    settings = dict.fromkeys(r.measurement.how for r in own if r.measurement.how)
    notes = (
        "".join(f"<li>Reference: {escape(one)}</li>" for one in sources)
        + "".join(f"<li>{escape(one[0].upper() + one[1:])}.</li>" for one in reasons)
        + "".join(f"<li>{escape(one)}</li>" for one in said)
        + shown
        + (
            f"<li>Repeatability: {escape(repeat.text)}, {escape(_cite(repeat.records))}</li>"
            if repeat
            else ""
        )
        + "".join(f"<li>How: {escape(one)}.</li>" for one in settings)
        + _systematic_text(quantity, own)
        + "".join(f"<li class=caution>{escape(one)}</li>" for one in cautions)
    )
    unit = f" ({quantity.unit})" if quantity.unit else ""
    return (
        f"<details{' open' if scored else ''}><summary>{escape(quantity.name)}{unit}"
        f"<small>{escape(quantity.meaning)}</small></summary>"
        f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"</div><ul>{notes}</ul></details>"
    )


def _systematic_text(quantity: Quantity, own: list[Result]) -> str:
    """What all regions of the image share beside their intervals."""
    errors = [r.measurement.systematic for r in own if r.measurement.systematic is not None]
    if not errors:
        return ""
    low, high = min(errors), max(errors)
    shown = quantity.format(high)
    if f"{low:.{quantity.digits}f}" != f"{high:.{quantity.digits}f}":
        shown = f"{low:.{quantity.digits}f} to {shown}"
    return f"<li>Systematic error, shared by all regions and not in the intervals: {shown}.</li>"


def _statement_text(one: Statement) -> str:
    cited = cited_text(tuple(record.id for record in one.records)) or f"doi {one.source}"
    return f"{one.kind.capitalize()}: {one.text} [{cited}]"


def _limits_text(result: Result) -> str:
    """Where the limits themselves may lie."""
    ends = result.expectation.distribution.limit_intervals
    if ends is None:
        return ""
    quantity = QUANTITIES[result.measurement.quantity]
    low, high = (f"{a:.{quantity.digits}f}-{quantity.format(b)}" for a, b in ends)
    return f"; the population's own limits lie in {low} and {high} (95 %)"


def _measurement_row(
    assessment: Assessment, result: Result, with_truth: bool, with_n4: bool
) -> str:
    measurement = result.measurement
    digits = QUANTITIES[measurement.quantity].digits

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    interval = "-"
    if measurement.ci95:
        interval = f"{number(measurement.ci95[0])} to {number(measurement.ci95[1])}"
    cells = [number(measurement.value), interval]
    if with_truth:
        cells.append(number(assessment.true_value(measurement)))
    if with_n4:
        cells.append(number(measurement.value_without_n4))
    percentile = "-" if result.percentile is None else percentile_text(result.percentile)
    voxels = measurement.statistics.voxels if measurement.statistics else "-"
    return (
        f"<tr><th>{escape(measurement.site or measurement.measured[0])}</th>"
        + "".join(f"<td class=num>{cell}</td>" for cell in cells)
        + f"<td class=num>{escape(result.expected_text) or '-'}</td><td>{_chip(result)}</td>"
        f"<td class=num>{escape(percentile)}</td><td class=words>{_verdict_cell(result)}</td>"
        f"<td class=num>{voxels}</td></tr>"
    )


def _verdict_cell(result: Result) -> str:
    """The verdict; without one, what speaks most firmly of the value."""
    if result.z is None and result.statements:
        firmest = next((s for s in result.statements if s.tone == result.tone), None)
        return escape((firmest or result.statements[0]).text)
    return result.verdict


def _cite(records: tuple[Record, ...]) -> str:
    return ", ".join(f"{r.source} [{r.id}]" for r in records)


def _methods(assessment: Assessment) -> list[str]:
    return [
        f"MarrowAssess {VERSION}.",
        f"Inputs: {assessment.inputs_text}.",
        *assessment.methods,
        *assessment.map_methods,
        *assessment.notes,
    ]
