"""An assessment as JSON and CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from PDFFMapperLib.images import json_file
from PDFFMapperLib.images.tables import write_rows
from PDFFMapperLib.install.software import VERSION

from MarrowAssessLib.catalogue.about import RESEARCH_USE
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.findings.result import Assessment, Headline, Result
from MarrowAssessLib.findings.signature import SOURCE, Signature
from MarrowAssessLib.findings.statement import Statement, listed_verdict
from MarrowAssessLib.measures.muscle import Section
from MarrowAssessLib.measures.whole_body import lesion_adc
from MarrowAssessLib.prediction.patient_score import PatientScore
from MarrowAssessLib.report.histogram import BIN, adc_shares
from MarrowAssessLib.study.acquisition_facts import acquisition
from MarrowAssessLib.study.regions import PERCENTILES

SCHEMA = "marrowassess-assessment-1"


def write_json(assessment: Assessment, headlines: Sequence[Headline], path: str | Path) -> None:
    """Write everything as JSON (schema: Resources/Schemas/assessment.schema.json)."""
    json_file.write_json(path, as_dict(assessment, headlines))


def write_csv(assessment: Assessment, path: str | Path) -> None:
    """Write one tidy row per measurement."""
    rows = [_row(assessment, result) for result in assessment.results]
    write_rows(path, list(_COLUMNS), rows)


def rows_of(assessment: Assessment) -> list[dict]:
    """The rows of `write_csv`; values as they are, None where there is none."""
    return [json_file.plain(_row(assessment, result)) for result in assessment.results]


def write_sections(sections: Sequence[Section], path: str | Path) -> None:
    """Write one row per slice of a muscle."""
    write_rows(path, [field.name for field in fields(Section)], map(asdict, sections))


def as_dict(assessment: Assessment, headlines: Sequence[Headline]) -> dict:
    """The report as plain data, following the JSON schema."""
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
            **({"id_hash": study.patient_hash} if study.patient_hash else {}),
        },
        "acquisition": acquisition(study),
        "inputs": study.inputs,
        "settings": {
            "erosion_mm": assessment.settings.erosion_mm,
            "n4": assessment.settings.n4,
            "m_score_reference": assessment.settings.m_score_reference,
            "fractures": assessment.settings.fractures,
            "texture": assessment.settings.texture,
            "glucose_mmol_l": assessment.settings.glucose_mmol_l,
            "accept_shift": assessment.settings.accept_shift,
            "adc_limits": list(assessment.settings.adc_limits),
        },
        "methods": assessment.methods,
        "summary": [line.text for line in headlines],
        "parameter_maps": assessment.parameter_maps,
        "measurements": [_measurement(assessment, result) for result in assessment.results],
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
        "seen_by_eye": [
            {"finding": one.text, "why": one.by_eye, "records": [r.id for r in one.records]}
            for one in assessment.by_eye
        ],
        "scores": [_score(one) for one in assessment.scores],
        "muscle_sections": [json_file.plain(asdict(one)) for one in assessment.muscle_sections],
        "lesion_adc_histogram": _histogram(assessment),
        "skipped": [{"quantity": s.quantity, "reason": s.reason} for s in assessment.skipped],
        "notes": assessment.notes,
        "references": [
            {
                "id": record.id,
                "source": record.source,
                "citation": record.citation,
                "doi": record.doi,
                "evidence": record.evidence,
                "verified": record.verified,
            }
            for record in assessment.records
        ],
    }


def _histogram(assessment: Assessment) -> dict | None:
    """Percent of the lesions' volume in bins of ADC; None without lesions."""
    adc = assessment.study.volumes.get(Contrast.ADC)
    values = lesion_adc(assessment.study.regions, adc) if adc is not None else ()
    if not len(values):
        return None
    return {"bin": BIN, "unit": "10^-3 mm^2/s", "percent": adc_shares(values).tolist()}


def _score(one: PatientScore) -> dict:
    return {
        "outcome": one.outcome,
        "probability": one.probability,
        "low": one.low,
        "high": one.high,
        "outside": list(one.outside),
        "missing": list(one.missing),
        "card": list(one.card),
    }


def _measurement(assessment: Assessment, result: Result) -> dict:
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
        "words": measurement.words,
        "how": measurement.how,
        "systematic_error": measurement.systematic,
        "alike_sd": measurement.alike_sd,
        "true_value": assessment.true_value(measurement) if assessment.true_value else None,
        "expected": None,
        "no_reference": result.no_reference,
        "z": result.z,
        "percentile": result.percentile,
        "verdict": result.verdict,
        "tone": result.tone,
        "statements": [_statement(one) for one in result.statements],
        "repeatability": _repeatability(result),
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
            "limits95": chosen.limit_intervals,
            "ages": chosen.ages,
            "sex": chosen.sex,
            "site": chosen.site,
            "population": chosen.population,
            "records": [record.id for record in expectation.records],
            "sources": expectation.spread,
        }
    return json_file.plain(found)


def _statement(one: Statement) -> dict:
    return {
        "kind": one.kind,
        "tone": one.tone,
        "text": one.text,
        "records": [record.id for record in one.records],
        "source": one.source,
    }


def _repeatability(result: Result) -> dict | None:
    """How far two examinations of unchanged marrow differ, where it is published."""
    known = result.repeatability
    if known is None:
        return None
    return {
        "text": known.text,
        "change": known.change_of(result.measurement.value),
        "records": [record.id for record in known.records],
    }


def _statistics(one) -> dict | None:
    if one is None:
        return None
    return {
        "voxels": one.voxels,
        "excluded": one.excluded,
        "volume_mm3": one.volume_mm3,
        "mean": one.mean,
        "median": one.median,
        "sd": one.sd,
        **{f"p{p}": value for p, value in zip(PERCENTILES, one.percentiles, strict=True)},
    }


def _signature(one: Signature) -> dict:
    return json_file.plain(
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


_PERCENTILES = tuple(f"p{p}" for p in PERCENTILES)
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
    "words": lambda m: m["words"],
    "how": lambda m: m["how"],
    "systematic_error": lambda m: m["systematic_error"],
    "expected_mean": lambda m: m["expected"] and m["expected"]["mean"],
    "expected_sd": lambda m: m["expected"] and m["expected"]["sd"],
    "expected_low": lambda m: m["expected"] and m["expected"]["range95"][0],
    "expected_high": lambda m: m["expected"] and m["expected"]["range95"][1],
    "z": lambda m: m["z"],
    "percentile": lambda m: m["percentile"],
    "verdict": lambda m: listed_verdict(m["verdict"], m["tone"]),
    "tone": lambda m: m["tone"],
    "statements": lambda m: "; ".join(one["text"] for one in m["statements"]),
    "doubtful": lambda m: "; ".join(m["doubtful"]),
    "references": lambda m: " ".join(m["expected"]["records"]) if m["expected"] else None,
    "no_reference": lambda m: m["no_reference"],
    "regions": lambda m: "; ".join(m["regions"]),
    **{
        name: (lambda m, name=name: m["statistics"] and m["statistics"][name])
        for name in ("voxels", "volume_mm3", "mean", "median", "sd", *_PERCENTILES)
    },
    "cautions": lambda m: " ".join(m["cautions"]),
    **{
        name: (lambda m, name=name: m[name])
        for name in ("age_years", "sex", "subject", "software", "settings", "inputs", "maps")
    },
}


def _row(assessment: Assessment, result: Result) -> dict:
    study, settings = assessment.study, assessment.settings
    of_all = {
        "age_years": study.age_years,
        "sex": study.sex,
        "subject": study.subject,
        "software": f"MarrowAssess {VERSION}",
        "settings": f"erosion {settings.erosion_mm:g} mm; N4 {'on' if settings.n4 else 'off'}",
        "inputs": assessment.inputs_text,
        "maps": " ".join(assessment.map_methods),
    }
    data = _measurement(assessment, result) | of_all
    return {column: of(data) for column, of in _COLUMNS.items()}
