"""The age reference: what is traceable, what scores, what is refused."""

import argparse
import itertools
import json
import math
import os
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import OTHER_SITES, VERTEBRAE
from MarrowAssessLib.catalogue.patient import parse_sex
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.commands import references as references_command
from MarrowAssessLib.references.age_fit import MIN_CONTROLS, FittedCurve, fit_age_curve
from MarrowAssessLib.references.beside import context_values, thresholds
from MarrowAssessLib.references.cohort_csv import read_control_cohort
from MarrowAssessLib.references.control_cohort import (
    save_control_cohort,
    stored_cohorts,
)
from MarrowAssessLib.references.expected import (
    PERCENTILES,
    age_curve,
    expected,
    no_reference_reason,
)
from MarrowAssessLib.references.marrow_patterns import marrow_conversion, t1_disc_pattern
from MarrowAssessLib.references.notes import notes_on
from MarrowAssessLib.references.records import ages_text, in_band
from MarrowAssessLib.references.sites import match_site
from scipy import stats

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "MarrowAssess" / "Resources" / "References"
SHARED = Path(os.environ.get("MARROWASSESS_SHARED", ROOT.parent / "shared"))
SCORING_EVIDENCE = ("page", "seed", "derived", "own cohort")
DATA = json.loads((FOLDER / "references.json").read_text(encoding="utf-8"))
FINDINGS = json.loads((FOLDER / "findings_by_age.json").read_text(encoding="utf-8"))["findings"]
ENTRIES = [
    entry
    for part in ("norms", "context", "thresholds", "t1_disc", "conversion", "notes",
                 "repeatability", "model_inputs")
    for entry in DATA[part]
] + FINDINGS  # fmt: skip


@pytest.fixture(autouse=True)
def no_cohorts_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("MARROWASSESS_COHORTS", str(tmp_path / "cohorts"))


@pytest.fixture(scope="module")
def literature():
    path = SHARED / "references" / "references.json"
    if not path.is_file():
        pytest.skip(f"the literature table {path} is not here")
    return {record["id"]: record for record in json.loads(path.read_text(encoding="utf-8"))}


# --- the data -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["references", "findings_by_age"])
def test_data_follow_their_schema(name):
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads((FOLDER / f"{name}.json").read_text("utf-8")), schema)


def test_every_record_named_has_a_source_and_every_source_is_used():
    named = {name for e in ENTRIES for name in e["records"] + e.get("derived_from", [])}
    assert named == set(DATA["records"])
    assert {r["source"] for r in DATA["records"].values()} == set(DATA["sources"])


def test_every_record_of_the_literature_is_used_or_set_aside_with_a_reason(literature):
    aside = [name for entry in DATA["set_aside"] for name in entry["records"]]
    assert len(aside) == len(set(aside))
    assert not set(aside) & set(DATA["records"])
    assert set(aside) | set(DATA["records"]) == set(literature)


def test_evidence_and_doi_are_those_of_the_literature(literature):
    corrected = {(c["record"], c["field"]) for c in DATA["corrections"]}
    for name, record in DATA["records"].items():
        assert record["evidence"] == literature[name]["evidence"], name
        doi = literature[name]["doi"]
        if doi and (name, "doi") not in corrected:
            assert DATA["sources"][record["source"]]["doi"] == doi, name


def test_norms_are_the_numbers_of_their_records(literature):
    corrected = {(c["record"], c["field"]): c["used"] for c in DATA["corrections"]}
    for norm in DATA["norms"]:
        (name,) = norm["records"]
        record = literature[name]
        assert norm["mean"] == record["value"], name
        if not norm["derived_from"]:
            assert norm["sd"] == record["sd"], name
        assert norm["sex"] == record["sex"], name
        for ours, theirs in (("age_min", "age_min_years"), ("age_max", "age_max_years")):
            given = corrected.get((name, theirs), record[theirs])
            # An end that the source leaves open is closed only with a note saying so.
            assert norm[ours] == given or (given is None and norm["age_note"]), (name, ours)
        assert norm["n"] in (record["n"], None), name


@pytest.mark.parametrize(
    ("name", "whole", "groups", "n"),
    [
        ("R011", (49, 37.17, 8.67), [(12, "R001"), (15, "R003"), (9, "R005")], 13),
        ("R012", (107, 37.13, 11.63), [(30, "R002"), (9, "R004"), (27, "R006")], 41),
    ],
)
def test_derived_groups_follow_from_the_published_ones(name, whole, groups, n):
    norms = {norm["records"][0]: norm for norm in DATA["norms"]}
    total, total_mean, total_sd = whole
    means = {record: norms[record]["mean"] for _, record in groups}
    mean = (total * total_mean - sum(k * means[r] for k, r in groups)) / n
    squares = (total - 1) * total_sd**2 - n * (mean - total_mean) ** 2
    squares -= sum(
        (k - 1) * norms[r]["sd"] ** 2 + k * (means[r] - total_mean) ** 2 for k, r in groups
    )
    assert norms[name]["mean"] == pytest.approx(mean, abs=0.05)
    assert norms[name]["sd"] == pytest.approx(math.sqrt(squares / (n - 1)), abs=0.05)


def test_cut_offs_and_context_are_the_numbers_of_their_records(literature):
    for entry in DATA["thresholds"]:
        assert entry["value"] in [literature[name]["value"] for name in entry["records"]], entry
    for entry in DATA["context"]:
        record = literature[entry["records"][0]]
        published = f"{record['value']} {record['sd']}"
        shown = entry["value"].split("(")[0].replace(record["unit"] or "", "")
        shown = shown.replace(QUANTITIES[entry["quantity"]].unit, "")
        for number in re.findall(r"\d*\.?\d+", shown):
            assert float(number) in [float(x) for x in re.findall(r"\d*\.?\d+", published)], entry


def test_only_records_read_twice_and_never_memory_score():
    for norm in DATA["norms"]:
        for name in norm["records"]:
            assert DATA["records"][name]["evidence"] in SCORING_EVIDENCE, name
            assert DATA["records"][name]["verified"], name
    for record in DATA["records"].values():
        reading = DATA["sources"][record["source"]]["second_reading"]
        assert not record["verified"] or (reading and record["evidence"] != "memory")


@pytest.mark.parametrize(
    ("quantity", "site", "age", "values"),
    [
        ("marrow_suv", "L2-L4", 45, ["1.75 ± 0.44"]),
        ("marrow_suv", "L2-L4", 75, ["1.18 ± 0.17"]),
        ("marrow_cxcr4", "L3", 50, ["4.44 ± 1.24", "6.45 ± 2.34"]),
        ("liver_suv", "", 50, ["2.17 ± 0.44", "1.85 ± 0.435", "1.88 ± 0.409", "1.89 ± 0.414"]),
        ("liver_suv", "", 9, ["1.36 ± 0.44"]),
        ("blood_suv", "", 50, ["1.55 ± 0.38"]),
        ("blood_suv", "", 9, ["0.98 ± 0.32"]),
        ("marrow_vnca_projected", "L3", 50, ["-65.8", "3.3", "-13.3"]),
    ],
)
def test_what_was_read_once_of_pet_and_ct_stands_beside_and_never_scores(
    quantity, site, age, values
):
    beside = context_values(quantity, site, age, "F")
    for value in values:
        assert any(value in one.value for one in beside), value
    assert all(one.why_not for one in beside)
    assert expected(quantity, site, age, "F") is None


@pytest.mark.parametrize(
    ("site", "cut_offs"),
    [
        ("C5", {-21.9}), ("T8", {-42.8}), ("L3", {-56.9}), ("left ilium", {-66.3}),
        ("sternum", set()),
    ],
)  # fmt: skip
def test_cut_offs_of_virtual_non_calcium_are_those_of_the_site(site, cut_offs):
    of_every_site = {-44.9, -42.2, 7.15}
    found = thresholds("marrow_vnca_projected", site, 50, "F")
    assert {one.value for one in found} == of_every_site | cut_offs
    assert all(not record.verified for one in found for record in one.records)
    assert thresholds("marrow_vnca", site, 50, "F") == []  # another method's, so never beside it
    assert expected("marrow_vnca_projected", site, 50, "F") is None


@pytest.mark.parametrize(("site", "known"), [("T8", {958}), ("L3", {958}), ("sternum", set())])
def test_the_cut_off_of_fat_beside_hydroxyapatite_stands_beside_vertebrae(site, known):
    found = thresholds("marrow_fat_hap", site, 50, "F")
    assert {one.value for one in found} == known
    assert thresholds("marrow_fat_hap", site, 20, "F") == []  # red marrow reads above it
    assert expected("marrow_fat_hap", site, 50, "F") is None


@pytest.mark.parametrize("quantity", ["t1_marrow_muscle", "t1_marrow_disc"])
def test_what_holds_for_infants_is_said_only_where_the_age_is_not_known(quantity):
    (unknown,) = thresholds(quantity, "L3")
    assert unknown.caution.startswith("Not valid under one year")
    assert [one.caution for one in thresholds(quantity, "L3", 34)] == [None]
    assert thresholds(quantity, "L3", 0.5) == []


def test_quantities_and_sites_of_the_data_are_known():
    known = {*OTHER_SITES, "erector spinae", "psoas", "multifidus", "paraspinal"}
    for entry in ENTRIES:
        for quantity in entry.get("quantities", [entry.get("quantity")]):
            assert quantity is None or quantity in QUANTITIES, entry
        for site in entry.get("sites", [entry.get("site", "")]):
            bare = re.sub(r"^(left|right) ", "", site)
            assert not bare or bare in known or match_site("spine", bare), entry


# --- expected -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "mean", "sd", "record"),
    [
        (("vbq", "", 45, None, 3.0), 2.199, 0.432, "R412"),
        (("vbq", "", 75, "F", 1.5), 2.769, 0.494, "R411"),
        (("vbq", "", 14, "F"), 2.62, 0.62, "R408"),
        (("vbq", "", 45, None), 2.56, 0.63, "R130"),
        (("vbq", "L3", 65, "M"), 3.27, 0.57, "R134"),
        (("marrow_adc", "L4", 10, "M"), 0.6, 0.09, "R163"),
        (("marrow_adc", "L1", 10, "M"), 0.54, 0.07, "R164"),
        (("marrow_adc", "L2", 60, None), 0.47, 0.08, "R165"),
        (("enhancement", "T12", 40, "F"), 87.17, 54.13, "R118"),
        (("enhancement", "L5", 70, "M"), 25.38, 15.43, "R121"),
        (("enhancement", "L5", 50.5, None), 58.21, 44.65, "R116"),
        (("muscle_pdff", "left psoas", 30, "M"), 4.5, 1.5, "R064"),
        (("muscle_fat_signal_fraction", "multifidus", 50, "F"), 21.14, 6.77, "R070"),
        (("marrow_fat_signal_fraction", "right distal femur", 50, "M"), 93, 2, "R249"),
    ],
)
def test_expected_is_the_published_distribution(question, mean, sd, record):
    found = expected(*question)
    assert (found.distribution.mean, found.distribution.sd) == (mean, sd)
    assert [r.id for r in found.records] == [record]


@pytest.mark.parametrize(
    ("question", "band", "record"),
    [
        (("marrow_pdff", "L1-L4", 25, "M"), (32.0, 8.0), "R001"),
        (("marrow_pdff", "L2", 29.9, "F"), (27.2, 6.0), "R002"),
        (("marrow_pdff", "lumbar", 30, "female"), (27.3, 6.2), "R004"),
        (("marrow_pdff", "L3", 79.9, "F"), (49.34, 7.75), "R006"),
    ],
)
def test_the_band_stands_beside_the_curve(question, band, record):
    found = expected(*question)
    assert found.distribution.smooth and found.distribution.sex == found.sex
    said = "A curve fitted to groups of ages of one center; the bands stand beside it."
    assert said in found.cautions
    assert [(d.mean, d.sd, d.records[0].id) for d in found.others] == [(*band, record)]


def test_z_percentile_and_range_count_the_size_of_the_group():
    # Tschischka 2018: 49 children, 0.60 +- 0.09.
    found = expected("marrow_adc", "L3", 10, "M")
    person = 0.09 * math.sqrt(1 + 1 / 49)
    half = stats.t.ppf(0.975, 48) * person
    assert found.expected_range == pytest.approx((0.6 - half, 0.6 + half))
    share = stats.t.cdf(2.0, 48)
    assert found.percentile(0.6 + 2 * person) == pytest.approx(100 * share)
    assert found.z_score(0.6 + 2 * person) == pytest.approx(stats.norm.ppf(share))
    assert found.z_score(0.6 + half) == pytest.approx(1.96, abs=1e-3)
    verdicts = [found.verdict(0.6 + k * half) for k in (-1.01, 0, 1.01, math.nan)]
    assert verdicts == ["below", "within", "above", ""]
    assert math.isnan(found.z_score(math.nan)) and math.isnan(found.percentile(math.nan))


def test_a_group_of_unknown_size_says_so():
    found = expected("vbq", "", 45, "F")
    assert found.expected_range == pytest.approx((2.56 - 1.96 * 0.63, 2.56 + 1.96 * 0.63), abs=1e-4)
    assert found.distribution.limit_intervals is None
    assert any("Group size not stated" in text for text in found.cautions)


def test_skewed_enhancement_is_log_normal_with_the_published_moments():
    told = expected("enhancement", "L3", 60, "F")
    assert "Skewed: a log-normal shape is assumed." in told.cautions
    found = told.distribution
    same = stats.lognorm(s=found.scale, scale=math.exp(found.location))
    assert same.mean() == pytest.approx(17.98) and same.std() == pytest.approx(13.80)
    assert found.percentile(40) == pytest.approx(100 * same.cdf(40))
    assert found.expected_range[0] > 0
    assert found.percentile(0) == 0 and found.percentile(-5) == 0
    assert found.value_at(90) == pytest.approx(same.ppf(0.9))


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (("marrow_pdff", "L2", 12, "M"), "covers 20-79 years; this is 12 years"),
        (("marrow_pdff", "L2", 8 / 12, "M"), "covers 20-79 years; this is 8 months"),
        (("marrow_pdff", "L2", 80, "M"), "covers 20-79 years"),
        (("marrow_pdff", "iliac crest", 40, "M"), "not at iliac crest"),
        (("marrow_pdff", "T12", 40, "M"), "not at T12"),
        (("marrow_pdff", "L2", 40, None), "the sex is not known"),
        (("marrow_pdff", "L2", None, "M"), "age is not known"),
        (("marrow_r2star", "L3", 40, "M"), "no published distribution"),
        (("vbq_cervical", "", 40, "M"), "no published distribution"),
        (("vbq", "", 19.9, "M"), "covers 11-18 years and 20 years and older"),
        (("muscle_pdff", "psoas", 80, "M"), "covers 18-67 years"),
        (("enhancement", "L3", 8, "M"), "covers 18 years and older"),
        (
            ("vbq", "", 45, "F", 0.3),
            "VBQ depends on field strength (2.77 ± 0.49 at 1.5 T and 2.20 ± 0.43 at 3 T), and no "
            "source is near 0.3 T",
        ),
        (("vbq", "", 45, "F", 7.0), "no source is near 7 T"),
    ],
)
def test_no_reference_says_why(question, words):
    assert expected(*question) is None
    reason = no_reference_reason(*question)
    assert reason.startswith("no reference: ") and words in reason


def test_a_reference_needs_no_reason():
    assert no_reference_reason("vbq", "", 40, None) == ""


@pytest.mark.parametrize(
    ("quantity", "site", "field_t"),
    [("vbq", "", 1.0), ("vbq", "", 5.0), ("vbq", "", None), ("marrow_pdff", "L3", 0.3)],
)
def test_a_field_not_far_from_the_sources_or_that_does_not_matter_keeps_them(
    quantity, site, field_t
):
    assert expected(quantity, site, 45, "F", field_t) is not None
    assert no_reference_reason(quantity, site, 45, "F", field_t) == ""


def test_no_age_outside_the_band_of_the_source_is_answered():
    sites = ["", "L1", "L3", "L5", "T8", "lumbar", "psoas", "erector spinae", "distal femur"]
    ages = [0, 0.5, 5, 17.9, 18, 20.99, 29.99, 38, 50.5, 60, 70, 79.99, 88.9, 89, 100]
    answered = 0
    for quantity, site, age, sex in itertools.product(QUANTITIES, sites, ages, ("M", "F", None)):
        found = expected(quantity, site, age, sex)
        if found:
            answered += 1
            for one in (found.distribution, *found.others):
                assert one.age_min <= age
                assert one.age_max is None or age < one.age_max + 1
                assert one.evidence in SCORING_EVIDENCE and one.verified
                assert sex or one.sex == "both"
        assert (found is None) == bool(no_reference_reason(quantity, site, age, sex))
    assert answered > 100


def test_sources_that_differ_stay_side_by_side():
    found = expected("marrow_adc", "L1", 12, "F")
    assert [d.records[0].id for d in found.others] == ["R163"]
    assert "2 sources" in found.spread and "0.06" in found.spread
    assert found.verdict(0.70) == "above"
    assert [d.source for d in found.dissenting(0.70)] == ["Tschischka 2018"]
    assert found.dissenting(0.55) == ()
    assert expected("muscle_pdff", "psoas", 30, "M").spread == "one source"


def test_the_same_people_are_no_second_opinion_but_a_repeat_is():
    assert expected("enhancement", "L3", 40, "F").others == ()
    assert [d.records[0].id for d in expected("vbq", "", 25).others] == ["R127", "R411", "R412"]


def test_vbq_is_compared_at_its_field_strength():
    unknown = expected("vbq", "", 45, "F")
    assert any("which is not known here" in text for text in unknown.cautions)
    # 3.3 is within the decade's range and that of 1.5 T, and above that of 3 T.
    assert unknown.verdict(3.3) == "within"
    assert [d.records[0].id for d in unknown.dissenting(3.3)] == ["R412"]
    known = expected("vbq", "", 45, "F", 3.0)
    assert known.verdict(3.3) == "above"
    assert {d.records[0].id for d in known.others} == {"R130"}
    assert not any("which is not known here" in text for text in known.cautions)
    low = expected("vbq", "", 45, "F", 1.0)
    assert any("no reference is of 1 T" in text for text in low.cautions)


def test_site_matching():
    assert match_site("L1-L4", "L1-L4")[0] == 0
    assert match_site("L1-L4", "L2") == (1, "the reference was measured at L1-L4 together")
    assert match_site("L1-L4", "lumbar")[0] == 2
    assert match_site("L1-L4", "L5")[0] == 3
    assert match_site("T10-L5", "T11")[0] == 1
    assert match_site("L1", "L2") is None
    assert match_site("L1-L4", "T12") is None
    assert match_site("psoas", "left psoas") == (0, "")
    assert match_site("femoral head", "proximal femur") is None
    assert match_site("L1-L4", "femoral head") is None
    assert (
        "The reference was measured at L1-L4 together."
        in expected("marrow_pdff", "L2", 25, "M").cautions
    )


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (("pdff", "L2", 40, "M"), "Unknown quantity"),
        (("marrow_pdff", "elbow", 40, "M"), "Unknown site"),
        (("marrow_pdff", "L2", -1, "M"), "not possible"),
        (("marrow_pdff", "L2", math.nan, "M"), "not possible"),
        (("marrow_pdff", "L2", 400, "M"), "not possible"),
        (("marrow_pdff", "L2", 40, "x"), "Unknown sex"),
    ],
)
def test_questions_that_cannot_be_read(question, words):
    with pytest.raises(ValueError, match=words):
        expected(*question)


def test_sexes():
    assert [parse_sex(x) for x in ("m", "Female", "O", "", None)] == ["M", "F", None, None, None]


# --- cut-offs, context, notes, patterns ---------------------------------------------------------


def test_cut_offs_are_for_adults_and_the_right_tissue():
    values = [t.value for t in thresholds("vbq", "", 60, "F")]
    assert 3.05 in values and 2.7 in values
    assert [t.value for t in thresholds("vbq", "", 12, "F")] == [3.18]
    assert thresholds("m_score", "", 60, "M") == []
    assert {t.applies_to for t in thresholds("signal_drop", "L3", 60)} == {"lesion", "fracture"}
    assert thresholds("signal_drop", "femoral head", 60) == []
    (rule,) = thresholds("t1_marrow_disc", "L3", 10)
    assert rule.crossed(1.0) and not rule.crossed(1.01)
    assert thresholds("t1_marrow_disc", "L3", 0.9) == []


def test_memory_is_shown_as_unverified_only():
    near, far = (
        [one.value for one in context_values("marrow_fat_signal_fraction", "L1", age)]
        for age in (71, 72)
    )
    assert "52.6 ± 10.2 %" in near and "52.6 ± 10.2 %" not in far  # of people of 56 years
    memory = [c for c in context_values("marrow_pdff", "L2", 65) if c.record.evidence == "memory"]
    assert memory and all(c.record.reading == "unverified" for c in memory)
    of_all = (expected("marrow_pdff", "L2", 65, "F").distribution, *expected(
        "marrow_pdff", "L2", 65, "F").others)  # fmt: skip
    assert {r.evidence for d in of_all for r in d.records} <= {"page", "derived"}


def test_context_of_other_techniques_is_healthy_and_of_that_age():
    child = context_values("marrow_pdff", "L3", 8, "M", other_techniques=True)
    assert "75.2 %" in [c.value for c in child]
    assert all(c.healthy for c in child if c.quantity != "marrow_pdff")
    assert not [c for c in child if c.record.id == "R284"]


@pytest.mark.parametrize(
    ("quantity", "site", "value"),
    [
        ("mrs_ndb", "L5", "2.95 ± 0.21"),
        ("mrs_nmidb", "L5", "0.94 ± 0.16"),
        ("mrs_t2_water", "L3", "21.1 ms"),
        ("mrs_fsfa", "tibial diaphysis", "29.1 ± 3.5 %"),
        ("mrs_pdff", "L3", "36.8 %"),
        ("mrs_pdff", "femoral neck", "81.3 ± 8.1 %"),
        ("mrs_ndb", "L3", None),
        ("mrs_unsaturation", "L3", None),  # no source of that definition was read
    ],
)
def test_what_was_read_of_spectra_stands_beside_them(quantity, site, value):
    found = context_values(quantity, site, 45, "F", other_techniques=True)
    assert value in [one.value for one in found] or (value is None and not found)
    assert all(one.healthy and one.why_not for one in found)
    assert expected(quantity, site, 45, "F") is None


def test_cautions_by_age():
    infant = [n.text for n in notes_on("signal_drop", 0.5) if n.kind == "caution"]
    assert any("does not lose signal" in text for text in infant)
    adult = [n.text for n in notes_on("signal_drop", 40) if n.kind == "caution"]
    assert not any("does not lose signal" in text for text in adult)


@pytest.mark.parametrize(
    ("age", "pattern", "rule_holds"),
    [
        (3 / 365, "darker", False),
        (7 / 12, "darker or equal", False),
        (0.99, "darker or equal", False),
        (3, "slightly brighter", True),
        (11, "brighter", True),
        (60, "brighter", True),
    ],
)
def test_vertebra_against_disc_by_age(age, pattern, rule_holds):
    found = t1_disc_pattern(age)
    assert (found.expected, found.rule_holds) == (pattern, rule_holds)
    assert found.records


@pytest.mark.parametrize(
    ("site", "age", "marrow"),
    [
        ("L3", 10, "red"),
        ("L3", 45, "converting"),
        ("left femoral diaphysis", 0.5, "red"),
        ("femoral diaphysis", 5, "converting"),
        ("femoral diaphysis", 17, "yellow"),
        ("distal femur", 5, "red"),
        ("distal femur", 15, "converting"),
        ("distal femur", 25, "yellow"),
        ("femoral head", 0.1, "red"),
        ("femoral head", 30, "yellow"),
        ("intertrochanteric", 40, "converting"),
        ("intertrochanteric", 60, "yellow"),
        ("sternum", 70, "red"),
        ("mandible", 0.1, "red"),
        ("mandible", 12, "yellow"),
    ],
)
def test_marrow_conversion(site, age, marrow):
    found = marrow_conversion(site, age)
    assert found.marrow == marrow
    assert found.records and found.text


def test_conversion_where_no_source_says():
    silent = [s for s in (*OTHER_SITES, *VERTEBRAE) if marrow_conversion(s, 10) is None]
    assert silent == ["scapula", "clavicle"]


def test_marrow_never_turns_back():
    order = ["red", "converting", "yellow"]
    for entry in DATA["conversion"]:
        steps = [(s["from_age"], order.index(s["marrow"])) for s in entry["steps"]]
        assert steps == sorted(steps) and steps[0][0] == 0


# --- curves over age ----------------------------------------------------------------------------


def test_age_curve_steps_as_the_sources_do():
    curve = age_curve("muscle_pdff", "psoas", "F")
    assert list(curve.ages_years) == [18, 38, 38, 68]
    assert list(curve.percentiles[2]) == pytest.approx([4.5, 4.5, 6.9, 6.9])
    upper = 4.5 + 1.5 * math.sqrt(1 + 1 / 38) * stats.t.ppf(0.97, 37)
    assert curve.percentiles[-1, 0] == pytest.approx(upper)
    assert (np.diff(curve.percentiles, axis=0) > 0).all()
    assert age_curve("marrow_r2star", "L2", "F") is None
    assert age_curve("marrow_pdff", "L2") is None


def test_age_curve_through_groups_has_no_steps():
    curve = age_curve("marrow_pdff", "L2", "F")
    assert (curve.ages_years[0], curve.ages_years[-1]) == (20, pytest.approx(80))
    assert 0 <= np.diff(curve.percentiles[2]).min() and np.diff(curve.percentiles[2]).max() < 0.5
    assert curve.sources == ("Baum 2018",)


def test_age_curve_is_what_is_expected_at_each_age():
    curve = age_curve("marrow_adc", "L1", "M")
    starts, ends = curve.ages_years[::2], curve.ages_years[1::2]
    for k, age in enumerate((starts + ends) / 2):
        found = expected("marrow_adc", "L1", age, "M").distribution
        assert curve.percentiles[2, 2 * k] == pytest.approx(found.value_at(50))


def test_the_curve_of_vbq_is_that_of_the_field_strength():
    """1.5 T 2.769 +- .494, 3 T 2.199 +- .432 (R411, R412)."""
    middle = {t: age_curve("vbq", "", "F", t).percentiles[2, -1] for t in (1.5, 3.0)}
    assert middle == pytest.approx({1.5: 2.769, 3.0: 2.199})


# --- control cohorts ----------------------------------------------------------------------------


def truth_mean(age):
    return 25 + 22 / (1 + np.exp(-(age - 52) / 7))


def truth_sd(age):
    return 4 + 0.06 * age


def cohort_values(rng, n):
    ages = rng.uniform(18, 82, n)
    return ages, rng.normal(truth_mean(ages), truth_sd(ages))


def test_fitted_percentiles_cover_what_they_say():
    # The true share below each fitted percentile, over ages and 20 cohorts of 300.
    rng = np.random.default_rng(20)
    ages = np.linspace(20, 80, 31)
    shares = []
    for _ in range(20):
        curve = fit_age_curve(*cohort_values(rng, 300))
        z = stats.norm.ppf(np.array(PERCENTILES) / 100)
        fitted = np.array([[curve.value_at(age, k) for age in ages] for k in z])
        shares.append(100 * stats.norm.cdf(fitted, truth_mean(ages), truth_sd(ages)))
    mean = np.mean(shares, axis=(0, 2))
    assert mean == pytest.approx(PERCENTILES, abs=1.0)
    # No age goes badly wrong either.
    assert np.abs(np.mean(shares, axis=0)[2] - 50).max() < 8


def test_small_cohorts_are_covered_too():
    rng = np.random.default_rng(21)
    inside = []
    for _ in range(200):
        ages = rng.uniform(20, 60, 30)
        curve = fit_age_curve(ages, rng.normal(30, 5, 30))
        ends = [curve.value_at(float(np.median(ages)), z) for z in (-1.96, 1.96)]
        inside.append(np.diff(stats.norm.cdf(ends, 30, 5))[0])
    # Mean and SD of 30 values leave 93.7 % of a normal within 1.96 estimated SDs.
    ideal = 2 * stats.t.cdf(1.96 / math.sqrt(1 + 1 / 30), 29) - 1
    assert np.mean(inside) == pytest.approx(ideal, abs=0.01)


def test_a_straight_line_with_constant_sd_stays_simple():
    rng = np.random.default_rng(22)
    simple = 0
    for _ in range(20):
        ages = rng.uniform(20, 80, 150)
        curve = fit_age_curve(ages, rng.normal(20 + 0.3 * ages, 4))
        simple += len(curve.mean_coefficients) == 2 and curve.power == 1
    assert simple >= 15


def test_skew_is_found_and_normal_values_are_left_alone():
    rng = np.random.default_rng(23)
    ages = rng.uniform(20, 80, 200)
    skewed = fit_age_curve(ages, np.exp(rng.normal(3 - 0.01 * ages, 0.6)))
    assert skewed.power == 0
    location, scale = skewed.at(50)
    assert location == pytest.approx(2.5, abs=0.15) and scale == pytest.approx(0.6, abs=0.1)
    assert fit_age_curve(ages, rng.normal(40, 6, 200)).power == 1


def test_fit_of_an_exact_line_is_the_least_squares_line():
    rng = np.random.default_rng(24)
    ages = np.linspace(20, 70, MIN_CONTROLS)
    values = 10 + 0.5 * ages + rng.normal(0, 1, MIN_CONTROLS)
    curve = fit_age_curve(ages, values)
    assert len(curve.mean_coefficients) == 2 and len(curve.log_sd_coefficients) == 1
    slope, intercept = np.polyfit(ages, values, 1)
    assert curve.at(40)[0] == pytest.approx(intercept + 40 * slope)
    residual = values - intercept - slope * ages
    assert curve.at(40)[1] == pytest.approx(np.sqrt(residual @ residual / (MIN_CONTROLS - 2)))


def test_no_extrapolation():
    curve = FittedCurve(20, 60, 30, 1.0, (), (30.0,), (1.0,))
    assert curve.at(60)[0] == 30
    with pytest.raises(ValueError, match="outside the control cohort's ages"):
        curve.at(60.1)


@pytest.mark.parametrize(
    ("ages", "values", "words"),
    [
        (np.arange(10.0), np.arange(10.0), "too few"),
        (np.arange(30.0), np.ones(30), "same value"),
        (np.arange(30.0), 3 * np.arange(30.0), "follow age exactly"),
        (np.arange(30.0), np.arange(29.0), "One age per value"),
        (np.arange(30.0), np.full(30, np.nan), "finite"),
    ],
)
def test_cohorts_that_cannot_be_fitted(ages, values, words):
    with pytest.raises(ValueError, match=words):
        fit_age_curve(ages, values)


def write_csv(path, rows, header="quantity,site,sex,age_years,value"):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def cohort_rows(quantity="marrow_pdff", site="L3", sex="F", n=60, seed=30):
    ages, values = cohort_values(np.random.default_rng(seed), n)
    return [f"{quantity},{site},{sex},{a:.2f},{v:.3f}" for a, v in zip(ages, values, strict=True)]


def test_own_controls_are_compared_at_any_field_strength(tmp_path):
    rows = cohort_rows("vbq", "")
    save_control_cohort(read_control_cohort(write_csv(tmp_path / "low field.csv", rows)))
    found = expected("vbq", "", 45, "F", 0.3)
    assert found.distribution.evidence == "own cohort" and not found.others


def test_own_cohort_comes_first_and_is_named(tmp_path):
    cohort = read_control_cohort(write_csv(tmp_path / "our 3T.csv", cohort_rows()))
    assert cohort.name == "our-3T"
    for mark in ";\t":  # as spreadsheets of other countries write it
        path = tmp_path / "our 3T.csv"
        path.write_text(path.read_text().replace(",", mark))
        assert read_control_cohort(path) == cohort
        path.write_text(path.read_text().replace(".", ","))
        if mark == ";":  # there a comma is the decimal
            assert read_control_cohort(path) == cohort
            for stated in ("sep=;\n", '"sep=;"\r\n'):  # Excel's own first line
                path.write_text(stated + path.read_text().removeprefix("sep=;\n"))
                assert read_control_cohort(path) == cohort
            path.write_text(path.read_text() + "marrow_pdff;L3;Q;40;30\n")
            with pytest.raises(ValueError, match="line 63: Unknown sex 'Q'"):
                read_control_cohort(path)
        else:  # where it may part thousands
            with pytest.raises(ValueError, match=r"line 2: age_years '\d+,\d+' is not a number"):
                read_control_cohort(path)
        write_csv(path, cohort_rows())
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([first, *(f"{row},5" for row in rest)]))  # a value of 35,5
    with pytest.raises(ValueError, match=r"3T.csv, line 2: there are more cells than columns;"):
        read_control_cohort(path)
    path.write_text("\n".join([first, *(f"{row},," for row in rest)]))  # as a spreadsheet fills up
    assert read_control_cohort(path) == cohort
    save_control_cohort(cohort)
    assert stored_cohorts() == (cohort,)
    found = expected("marrow_pdff", "L3", 30, "F")
    assert found.distribution.source == "control cohort 'our-3T'"
    assert found.records[0].id == "cohort:our-3T"
    assert "60 controls" in found.cautions[0]
    assert [d.source for d in found.others] == ["Baum 2018"]
    location, scale = cohort.curves[0].curve.at(30)
    assert found.z_score(location) == pytest.approx(0)
    assert 1.8 < found.z_score(location + 2 * scale) < 2  # 60 controls are not all people
    assert found.distribution.mean == pytest.approx(truth_mean(30), abs=4)
    # Outside its ages, or for men, the published ones are back.
    young = min(18.0, cohort.curves[0].curve.age_min)
    assert expected("marrow_pdff", "L3", young - 0.5, "F") is None
    assert expected("marrow_pdff", "L3", 30, "M").distribution.source == "Baum 2018"


def test_own_cohort_draws_a_smooth_curve(tmp_path):
    save_control_cohort(read_control_cohort(write_csv(tmp_path / "a.csv", cohort_rows(n=200))))
    curve = age_curve("marrow_pdff", "L3", "F")
    assert "control cohort 'a'" in curve.sources
    inside = (curve.ages_years > 20) & (curve.ages_years < 80)
    assert np.abs(np.diff(curve.percentiles[2, inside])).max() < 2
    assert (np.diff(curve.ages_years) >= 0).all()


def test_a_cohort_gives_quantities_without_publication_a_reference(tmp_path):
    rows = [row for sex in "MF" for row in cohort_rows("marrow_r2star", "L1-L4", sex, 30, ord(sex))]
    save_control_cohort(read_control_cohort(write_csv(tmp_path / "r2.csv", rows), "scanner B"))
    assert expected("marrow_r2star", "L2", 50, "M").distribution.n == 30
    assert expected("marrow_r2star", "L2", 50, None) is None


def test_a_cohort_of_vbq_needs_no_site(tmp_path):
    rows = cohort_rows("vbq", "L1-L4", "", 40)
    save_control_cohort(read_control_cohort(write_csv(tmp_path / "vbq.csv", rows)))
    found = expected("vbq", "", 50, "F")
    assert found.distribution.source == "control cohort 'vbq'"
    assert found.others[0].source == "Normative VBQ, scan 1"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["pdff,L3,F,40,30"], "line 2: unknown quantity 'pdff'"),
        (["marrow_pdff,elbow,F,40,30"], "line 2: Unknown site 'elbow'"),
        (["marrow_pdff,,F,40,30"], "line 2: marrow_pdff needs a site"),
        (["marrow_pdff,L3,F,40,30", "marrow_pdff,L3,F,-4,30"], "line 3: Age -4"),
        (["marrow_pdff,L3,F,40,abc"], "line 2: value 'abc' is not a number"),
        (["marrow_pdff,L3,F,40,nan"], "line 2: value 'nan' is not a finite number"),
        (["marrow_pdff,L3,F,40"], "line 2: value 'None' is not a number"),
        (["marrow_pdff,L3,Q,40,30"], "line 2: Unknown sex 'Q'"),
        (["marrow_pdff,L3,F,40,30"], "1 controls are too few"),
        ([], "no rows"),
    ],
)
def test_cohort_files_that_cannot_be_read(tmp_path, rows, words):
    with pytest.raises(ValueError, match=words):
        read_control_cohort(write_csv(tmp_path / "bad.csv", rows))


def test_cohort_units_are_checked(tmp_path):
    fractions = [f"marrow_pdff,L3,F,{20 + k},{0.2 + k / 100}" for k in range(30)]
    with pytest.raises(ValueError, match="does not look like %"):
        read_control_cohort(write_csv(tmp_path / "f.csv", fractions))
    adc = [f"marrow_adc,L3,F,{20 + k},{400 + k}" for k in range(30)]
    with pytest.raises(ValueError, match="does not look like 10"):
        read_control_cohort(write_csv(tmp_path / "a.csv", adc))
    header = "quantity,site,sex,age_years,value,unit"
    with pytest.raises(ValueError, match="the unit of marrow_pdff is '%', not 'fraction'"):
        read_control_cohort(
            write_csv(tmp_path / "u.csv", ["marrow_pdff,L3,F,40,30,fraction"], header)
        )


def test_cohort_columns_are_checked(tmp_path):
    bad = write_csv(tmp_path / "c.csv", ["marrow_pdff,F,40,30"], "quantity,sex,age,value")
    with pytest.raises(ValueError, match="column site, age_years is missing"):
        read_control_cohort(bad)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_control_cohort(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x01" * 50)
    with pytest.raises(ValueError, match=r"b\.csv"):
        read_control_cohort(tmp_path / "b.csv")


def test_a_damaged_store_is_named(tmp_path):
    folder = tmp_path / "cohorts"
    folder.mkdir()
    (folder / "x.json").write_text('{"name": "x"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"x\.json: this is not a stored control cohort"):
        expected("marrow_pdff", "L3", 40, "F")


# --- command ------------------------------------------------------------------------------------


def run(capsys, *words):
    parser = argparse.ArgumentParser()
    references_command.add_arguments(parser)
    code = references_command.run(parser.parse_args(words))
    return code, capsys.readouterr().out


def test_command_prints_value_range_source_and_cautions(capsys):
    words = "--quantity marrow_pdff --site L2 --age 25 --sex F --value 45".split()
    code, text = run(capsys, *words)
    assert code == 0
    for part in (
        "above the expected range",
        "z +2.4",
        "12.0 to 41.9 %",
        "14.7 to 39.7 %",
        "10.3389/fendo.2018.00141",
    ):
        assert part in text
    assert (
        "[R002; page, read twice]" in text
        and "The reference was measured at L1-L4 together." in text
    )
    assert max(map(len, text.splitlines())) <= references_command.WIDTH


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("age", [0.2, 8, 45])
def test_command_has_a_text_for_every_quantity(capsys, quantity, age):
    code, text = run(capsys, "--quantity", quantity, "--site", "L3", "--age", str(age))
    assert code == 0 and QUANTITIES[quantity].name in text
    assert "None" not in text and "nan" not in text.split()


def test_command_says_what_marrow_to_expect(capsys):
    text = run(capsys, "--site", "L3", "--age", "0.5")[1]
    assert "red marrow" in text and "does not hold" in text.replace("\n           ", " ")
    assert "T1" not in run(capsys, "--site", "mandible", "--age", "5")[1]
    with pytest.raises(ValueError, match="Give --quantity"):
        run(capsys, "--age", "5")


def test_command_adds_a_cohort(capsys, tmp_path):
    path = write_csv(tmp_path / "mine.csv", cohort_rows())
    text = run(capsys, "--add-cohort", str(path), "--name", "mine")[1]
    assert "marrow_pdff L3 F: 60 controls" in text
    text = run(capsys, "--quantity", "marrow_pdff", "--site", "L3", "--age", "40", "--sex", "F")[1]
    assert "control cohort 'mine'" in text


def test_unverified_and_lesion_cut_offs_are_not_called_crossed(capsys):
    for quantity, value in (("enhancement", "90"), ("signal_drop", "5")):
        text = run(capsys, "--quantity", quantity, "--site", "L3", "--age", "60", "--value", value)[
            1
        ]
        assert "cut-offs" in text and "crossed" not in text
    text = run(capsys, "--quantity", "vbq", "--age", "60", "--value", "3.1")[1]
    assert text.count("crossed") == 3


@pytest.mark.parametrize(
    ("age", "record"),
    [(17.99, None), (18, "R058"), (37.99, "R058"), (38, "R059"), (67.99, "R059"), (68, None)],
)
def test_an_age_band_ends_with_its_last_completed_year(age, record):
    found = expected("muscle_pdff", "erector spinae", age)
    assert (found and found.records[0].id) == record


def test_own_cohort_comes_before_a_source_of_the_images_field_strength(tmp_path):
    published = expected("vbq", "", 30, field_strength_t=3.0).distribution
    assert published.field_strength_t == 3.0
    rng = np.random.default_rng(1)
    rows = [f"vbq,,,{age:.1f},{2.5 + rng.normal(0, 0.3):.2f}" for age in np.linspace(18, 70, 25)]
    save_control_cohort(read_control_cohort(write_csv(tmp_path / "few.csv", rows)))
    found = expected("vbq", "", 30, field_strength_t=3.0)
    assert found.distribution.source == "control cohort 'few'"
    assert published.source in [one.source for one in found.others]


def test_an_entry_holds_to_the_end_of_its_last_completed_year():
    entry = {"age_min": 9, "age_max": 17}
    held = [age for age in (8.99, 9, 17.99, 18, None) if in_band(entry, age)]
    assert held == [9, 17.99, None]


def test_age_bands_in_words():
    assert ages_text(0, 0) == "under 1 year"
    assert (ages_text(1, 3), ages_text(18, None)) == ("1-3 years", "18 years and older")
