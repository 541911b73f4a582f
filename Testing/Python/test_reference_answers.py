"""References that answer: limits of small groups, frequencies, rules, the model, the summary."""

import itertools
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.commands.terminal import summary
from MarrowAssessLib.findings.assessment import assess
from MarrowAssessLib.findings.statement import OPEN
from MarrowAssessLib.findings.statements import (
    AT_MOST,
    _frequency_statement,
    comparable_by,
    statements,
)
from MarrowAssessLib.findings.summary import headlines
from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.measures.measurement import Measurement
from MarrowAssessLib.references import group_curve, own_controls
from MarrowAssessLib.references.beside import thresholds
from MarrowAssessLib.references.distributions import all_distributions, published
from MarrowAssessLib.references.expected import expected
from MarrowAssessLib.references.findings_by_age import (
    all_frequencies,
    frequencies,
)
from MarrowAssessLib.references.group_curve import AgeGroup, fit_group_curves
from MarrowAssessLib.references.limits import limit_interval, prediction_t
from MarrowAssessLib.references.modelled import (
    PREDICTED,
    Sequence,
    modelled_band,
    modelled_curve,
)
from MarrowAssessLib.references.records import data
from MarrowAssessLib.references.repeatability import repeatability
from MarrowAssessLib.report import html, sources_plot
from MarrowAssessLib.report.html import write_html
from MarrowAssessLib.report.sources_plot import sources_svg
from MarrowAssessLib.sample.phantom import CHILD, lumbar_phantom
from MarrowAssessLib.study.study import Study
from phantoms.flat_maps import with_map
from scipy import stats

FINDINGS = json.loads(
    (Path(__file__).resolve().parents[2] / "MarrowAssess/Resources/References/findings_by_age.json")
    .read_text("utf-8")
)["findings"]  # fmt: skip
DRAWS = 10_000


@pytest.fixture(autouse=True)
def no_cohorts_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("MARROWASSESS_COHORTS", str(tmp_path / "cohorts"))


@pytest.fixture(scope="module")
def study(phantom):
    return phantom.study()


def of(study, *contrasts, **patient):
    return replace(study, volumes={c: study.volumes[c] for c in contrasts}, **patient)


def one_number(study, quantity, value, half=0.02, site="L3", **patient):
    """The statements about a number whose 95 % interval is value -+ half."""
    patient = {"age_years": 10.0, "sex": "F", **patient}
    measurement = Measurement(quantity, site, value, ("x",), ci95=(value - half, value + half))
    cutoffs = thresholds(quantity, site, patient["age_years"], patient["sex"])
    return statements(measurement, replace(study, **patient), cutoffs, False, False)


# --- limits of small groups ---------------------------------------------------------------------


SCORING = [d for found in published().values() for d in found]


@pytest.mark.parametrize("one", SCORING, ids=lambda d: d.records[0].id)
def test_of_normal_people_five_percent_lie_outside_every_reference(one):
    # Each time a group of n is drawn, its mean and SD are estimated, and one more person comes.
    rng = np.random.default_rng(int(one.records[0].id[1:]))
    location, scale = np.full(DRAWS, one.location), np.full(DRAWS, one.scale)
    if one.n:
        location = rng.normal(one.location, one.scale / math.sqrt(one.n), DRAWS)
        scale = one.scale * np.sqrt(rng.chisquare(one.n - 1, DRAWS) / (one.n - 1))
    person = rng.normal(one.location, one.scale, DRAWS)
    factor = prediction_t(0.975, one.dof) * math.sqrt(1 + one.mean_variance)
    outside = np.mean(np.abs(person - location) > factor * scale)
    assert 0.04 < outside < 0.06
    # The distribution uses that factor.
    away = one.value_at(97.5)
    assert (math.log(away) if one.power == 0 else away) == pytest.approx(
        one.location + factor * one.scale
    )


def test_plain_limits_would_flag_too_many_after_a_small_group():
    shares = [2 * stats.t.sf(1.96 / math.sqrt(1 + 1 / n), n - 1) for n in (9, 30)]
    assert shares == pytest.approx([0.100, 0.064], abs=0.001)


def test_the_interval_of_a_limit_holds_the_true_limit():
    rng, n = np.random.default_rng(5), 12
    low, high = limit_interval(0.025, n - 1, 1 / n)
    groups = rng.normal(0, 1, (20_000, n))
    mean, sd = groups.mean(1), groups.std(1, ddof=1)
    held = (mean + low * sd < stats.norm.ppf(0.025)) & (stats.norm.ppf(0.025) < mean + high * sd)
    assert held.mean() == pytest.approx(0.95, abs=0.005)
    upper = limit_interval(0.975, n - 1, 1 / n)
    assert upper == pytest.approx((-high, -low))


# --- the curve through groups -------------------------------------------------------------------


def test_a_woman_of_forty_by_the_curve():
    found = expected("marrow_pdff", "L2", 40, "F").distribution
    low, high = found.expected_range
    assert (round(low), round(high)) == (16, 46)
    (a, b), (c, d) = found.limit_intervals
    assert [round(x) for x in (a, b, c, d)] == pytest.approx([13, 19, 42, 49], abs=1)


def test_of_normal_people_five_percent_lie_outside_the_curve(monkeypatch):
    # Truth: a line; its groups are drawn, the curve is fitted anew, and more people come.
    monkeypatch.setattr(group_curve, "BOOTSTRAPS", 30)
    rng, shares = np.random.default_rng(3), []

    def people(ages):
        return rng.normal(24 + 0.3 * (ages - 20), 7)

    for _ in range(150):
        groups = []
        for start, stop, n in ((20, 30, 12), (30, 40, 15), (40, 60, 13), (60, 80, 20)) * 2:
            values = people(rng.uniform(start, stop, n))
            groups.append(AgeGroup(start, stop, n, values.mean(), values.std(ddof=1)))
        fitted = fit_group_curves.__wrapped__((tuple(groups[:4]), tuple(groups[4:])))
        for curve in fitted:
            ages = rng.uniform(20, 80, 40)
            mean, mean_sd = np.array([curve.at(age) for age in ages]).T
            limit = prediction_t(0.975, curve.dof) * np.hypot(curve.sd, mean_sd)
            shares.append(np.mean(np.abs(people(ages) - mean) > limit))
    assert 0.04 < np.mean(shares) < 0.06


def test_the_curve_never_falls_and_is_not_extrapolated():
    groups = (
        AgeGroup(20, 30, 10, 30, 5), AgeGroup(30, 40, 10, 28, 5), AgeGroup(40, 60, 10, 35, 5),
    )  # fmt: skip
    (curve,) = fit_group_curves((groups,))
    means = [curve.at(age)[0] for age in range(20, 60)]
    assert np.diff(means).min() >= -1e-9
    with pytest.raises(ValueError, match="no extrapolation"):
        curve.at(60)
    with pytest.raises(ValueError, match="three groups"):
        fit_group_curves((groups[:2],))


def test_children_and_vbq_have_no_curve():
    assert not [d for d in all_distributions("vbq") if d.smooth]
    assert all(d.age_min >= 20 for d in all_distributions("marrow_pdff") if d.smooth)


# --- frequencies --------------------------------------------------------------------------------


def exact_interval(k: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion k/n in % (Clopper and Pearson 1934)."""
    low, high = stats.beta.ppf(0.025, k, n - k + 1), stats.beta.ppf(0.975, k + 1, n - k)
    return 0.0 if k == 0 else 100 * low, 100.0 if k == n else 100 * high


def test_intervals_of_frequencies_are_exact():
    for one in all_frequencies():
        if one.n is not None:
            assert exact_interval(one.k, one.n) == pytest.approx(one.interval, abs=0.11), one.id
            assert one.percent == pytest.approx(100 * one.k / one.n, abs=0.6), one.id
    assert exact_interval(0, 70) == pytest.approx((0, 5.13), abs=0.01)


@pytest.mark.parametrize(("share", "n"), [(0.1, 10), (0.3, 196), (0.05, 70), (0.9, 41)])
def test_intervals_of_frequencies_cover(share, n):
    counts = np.arange(n + 1)
    ends = np.array([exact_interval(int(k), n) for k in counts]) / 100
    held = (ends[:, 0] <= share) & (share <= ends[:, 1])
    assert stats.binom.pmf(counts, n, share)[held].sum() >= 0.95


def test_where_no_count_is_printed_the_interval_is_that_of_the_group_it_names():
    for entry in (e for e in FINDINGS if e["n"] is None):
        inside = entry["interval_kind"].rsplit("(", 1)[1].removesuffix(")").split(" of ")
        lower, upper = (int(k) for k in (inside[0].split(" to ") * 2)[:2])
        n = int(inside[1])
        ends = exact_interval(lower, n)[0], exact_interval(upper, n)[1]
        assert entry["interval_percent"] == pytest.approx(ends, abs=0.11), entry["id"]


def test_brighter_counts_only_with_its_whole_interval(study):
    (clear, *_) = one_number(study, "t1_marrow_disc", 1.10, 0.05)
    assert clear.text == (
        "brighter than disc, as in 90 % of normal children of 5-15 years (56-100 %)"
    )
    assert clear.tone == "expected" and [r.id for r in clear.records] == ["R079"]
    (darker, *_) = one_number(study, "t1_marrow_disc", 0.90, 0.05)
    assert darker.text.startswith("no brighter than disc: seen in 10 % of normal children")
    assert darker.tone == "unusual"
    (limit, *_) = one_number(study, "t1_marrow_disc", 1.02, 0.05)
    assert "no statement" in limit.text and limit.tone == ""


def test_what_almost_nobody_shows_is_called_uncommon():
    (counted,) = [f for f in all_frequencies() if [r.id for r in f.records] == ["R079"]]
    nearly_all = replace(counted, percent=98.0, interval=(96.0, 100.0))
    said = _frequency_statement(nearly_all, AT_MOST)
    assert said.text.startswith("no brighter than disc: uncommon (at most 4 %) in normal children")
    assert said.tone == "unusual"


def test_an_infant_s_dark_marrow_is_expected_and_no_rule_speaks(study):
    said = one_number(study, "t1_marrow_disc", 0.8, age_years=0.5)
    assert [s.kind for s in said] == ["frequency"] and said[0].tone == "expected"
    assert "as in 87 % of normal children under 1 year (60-98 %)" in said[0].text
    drop = one_number(study, "signal_drop", 3, 4, age_years=0.5)
    assert drop[0].tone == "expected" and "under 1 year" in drop[0].text


def test_what_is_seen_anywhere_binds_a_single_bone_from_one_side(study):
    bright = next(s for s in one_number(study, "fs_t2_marrow_muscle", 2.6) if s.records)
    assert bright.tone == "" and "at this place less often" in bright.text
    dark = next(s for s in one_number(study, "fs_t2_marrow_muscle", 1.2) if s.records)
    assert dark.tone == "expected" and "as in at least 70.4 %" in dark.text
    bone = one_number(study, "fs_t2_marrow_muscle", 2.6, site="left calcaneus", age_years=8)
    assert bone[0].tone == "unusual" and "seen in 11.2 % of bones" in bone[0].text


def test_findings_of_one_sex_need_the_sex():
    knee = [f.id for f in frequencies("distal femur", 13, "M", "fs_t2_marrow_muscle")]
    assert "F15" in knee
    for sex in ("F", None):
        assert "F15" not in [f.id for f in frequencies("distal femur", 13, sex)]


def test_a_finding_read_once_gives_no_statement(study):
    once = [f.id for f in all_frequencies() if not f.scores]
    assert once == ["F18"]
    assert "F18" in [f.id for f in frequencies("distal femur", 30, "F")]
    said = one_number(study, "t1_marrow_muscle", 1.5, site="distal femur", age_years=30)
    assert "R473" not in {r.id for s in said for r in s.records}


# --- rules and the model ------------------------------------------------------------------------


def test_carroll_s_rule_in_its_own_counts(study):
    at_limit = next(
        s for s in one_number(study, "t1_marrow_disc", 1.02, 0.05, age_years=40) if s.kind == "rule"
    )
    assert at_limit.text.startswith("on no sure side of 1: of 41 at or below, 40 were infiltrated")
    tones = {
        value: next(
            s.tone for s in one_number(study, "t1_marrow_muscle", value, age_years=40)
            if s.kind == "rule"
        )
        for value in (0.8, 1.3)
    }  # fmt: skip
    assert tones == {0.8: "unusual", 1.3: "expected"}


def test_a_number_without_an_interval_lies_on_no_side(study):
    measurement = Measurement("t1_marrow_disc", "L3", 1.6, ("L3 marrow",))
    study.age_years = 40.0
    said = statements(measurement, study, thresholds("t1_marrow_disc", "L3", 40), False, False)
    assert any(
        s.text.startswith("without an interval, so on no sure side of 1: of 41") for s in said
    )
    assert not any("its interval" in s.text for s in said)
    counted = next(f for f in all_frequencies() if f.scores)
    of_none = _frequency_statement(counted, OPEN, unknown=True)
    assert of_none.text.startswith("it has no interval beside the limit of")


@pytest.mark.parametrize(("drop", "tone"), [(5, "unusual"), (25, ""), (60, "expected")])
def test_signal_drop_against_all_cut_offs(study, drop, tone):
    rule = next(s for s in one_number(study, "signal_drop", drop, age_years=50) if s.kind == "rule")
    assert rule.tone == tone and "15-35 %" in rule.text
    assert "R109" not in [r.id for r in rule.records]  # from memory


def test_the_model_reproduces_its_figures():
    disc = modelled_band("t1_marrow_disc", "L3", 45)
    assert (disc.low, disc.high) == pytest.approx((0.87, 2.10), abs=0.07)
    ratio = modelled_band("opposed_in_ratio", "L3", 45, None, 1.5)
    assert (ratio.low, ratio.high) == pytest.approx((0.05, 0.55), abs=0.03)
    drop = modelled_band("signal_drop", "L3", 45, None, 1.5)
    assert drop.low == pytest.approx(100 * (1 - ratio.high))


def test_the_model_is_drawn_as_a_band_apart_from_what_is_published(study):
    curve = modelled_curve("t1_marrow_disc")
    assert curve.ages_years[0] == 2.0
    at = curve.ages_years.index(45.0)
    assert (curve.low[at], curve.high[at]) == pytest.approx((0.87, 2.10), abs=0.07)
    assert modelled_curve("marrow_pdff") is None
    drawn = sources_svg("t1_marrow_disc")
    assert "Lumbar, modelled, not published: 95 % at 1.5 or 3 T" in drawn and "R079" in drawn
    assert "modelled" not in sources_svg("marrow_pdff") + sources_svg("t1_marrow_disc", "T5")
    assert drawn.count('stroke="#5f5f5f"') == 2  # the limits of two counted findings
    # Nothing else is known of opposed over in phase by age.
    assert sources_svg("opposed_in_ratio").count("<polygon") == 1


def test_the_report_draws_the_model_only_where_it_speaks(study, tmp_path):
    def drawn(**patient):
        one = assess(of(study, Contrast.T1, Contrast.FS_T2, **patient))
        write_html(one, headlines(one), tmp_path / "r.html")
        page = (tmp_path / "r.html").read_text()
        return re.findall(r"<title>(T1 m.*?|Fat.*?) by age.*?</title>", page)

    ratios = ["T1 marrow/muscle", "T1 marrow/disc"]
    # Not STIR, whose coil shading was not corrected; and nothing of an infant.
    assert drawn(age_years=45.0, sex="F") == ratios
    assert drawn(age_years=0.5, sex="F") == []


def test_a_picture_holds_only_sites_of_which_the_same_is_known():
    """The model speaks of lumbar vertebrae; findings at other sites have a picture of their own."""
    study = lumbar_phantom().study()
    t1 = {Contrast.T1: study.volumes[Contrast.T1]}
    names = {"L1 marrow": "T9", "L2 marrow": "L2", "L3 marrow": "L3"}
    regions = [
        replace(r, name=r.name.replace(r.site, names.get(r.name, r.site)), site=names[r.name])
        if r.name in names
        else r
        for r in study.regions
        if r.role is not Role.MARROW or r.name in names
    ]
    one = assess(Study(t1, regions, 10.0, "F"))
    shown = [s for s in one.shared_references if s.quantity.key == "t1_marrow_muscle"]
    sites = {tuple(r.measurement.site for r in s.results): s for s in shown}
    assert set(sites) >= {("L2", "L3")} and len({s.key for s in shown}) == len(shown)
    assert all(("T9" in group) == (s.site == "T9") for group, s in sites.items())
    assert sites["L2", "L3"].model() and sites["L2", "L3"].title == "T1 marrow/muscle by age, women"
    thoracic = [s for group, s in sites.items() if "T9" in group]
    assert all(s.model() is None and ", T9, " in s.title for s in thoracic)


def test_one_limit_alone_can_be_drawn(monkeypatch):
    one = next(f for f in all_frequencies() if f.quantity == "signal_drop")
    monkeypatch.setattr(sources_plot, "sources_of", lambda *_: ([], [one]))
    monkeypatch.setattr(sources_plot, "modelled_curve", lambda *_: None)
    drawn = sources_svg("signal_drop")
    assert "nan" not in drawn and ">20<" in drawn


def test_the_model_is_silent_where_it_does_not_hold():
    for quantity in PREDICTED:
        assert modelled_band(quantity, "L3", 1.9) is None
        assert modelled_band(quantity, "L3", 2.0) is not None
        assert modelled_band(quantity, "distal femur", 30) is None
        assert modelled_band(quantity, "L3", 30, field_strength_t=7.0) is None
    assert modelled_band("vbq", "L3", 30) is None
    assert modelled_band("marrow_pdff", "L3", 30) is None


def test_known_times_and_field_make_the_band_narrower():
    wide = modelled_band("t1_marrow_disc", "L3", 45)
    narrow = modelled_band("t1_marrow_disc", "L3", 45, None, 3.0, Sequence(600, 10))
    assert wide.fields_t == (1.5, 3.0) and narrow.fields_t == (3.0,)
    assert narrow.high - narrow.low < wide.high - wide.low


def test_only_opposed_phase_from_fifteen_is_called_unusual_by_the_model(study):
    def tone(quantity, value, age):
        said = one_number(study, quantity, value, age_years=age)
        return next(s.tone for s in said if s.kind == "modelled")

    assert tone("opposed_in_ratio", 0.98, 16) == "unusual"
    assert tone("opposed_in_ratio", 1.5, 14) == ""
    assert tone("t1_marrow_disc", 0.2, 40) == ""


@pytest.mark.parametrize(
    ("half", "words", "tone"), [(0.05, "above what", "unusual"), (0.5, "not surely above what", "")]
)
def test_a_number_whose_interval_reaches_the_modelled_band_is_not_surely_outside(
    study, half, words, tone
):
    """Of marrow over muscle 130 mm away 0.6 was "below", with an interval of 0.3 to 1.2."""
    said = one_number(study, "opposed_in_ratio", 0.98, half, age_years=50)
    (modelled,) = [s for s in said if s.kind == "modelled"]
    assert (modelled.text.startswith(words), modelled.tone) == (True, tone)
    (within,) = [
        s
        for s in one_number(study, "opposed_in_ratio", 0.4, half, age_years=50)
        if s.kind == "modelled"
    ]
    assert within.text.startswith("within what") and within.agrees


def test_stir_under_coil_shading_has_no_modelled_band(study):
    measurement = Measurement("fs_t2_marrow_muscle", "L3", 1.4, ("x",), ci95=(1.3, 1.5))
    adult = replace(study, age_years=50.0)

    def kinds(one, n4):
        return [s.kind for s in statements(measurement, one, [], n4, False)]

    assert "modelled" not in kinds(adult, False)
    assert "modelled" in kinds(adult, True)
    normalized = adult.volumes[Contrast.FS_T2].with_array(adult.volumes[Contrast.FS_T2].array)
    normalized.attributes = {"ImageType": "ORIGINAL\\PRIMARY\\M\\NORM"}
    by_scanner = replace(adult, volumes={Contrast.FS_T2: normalized})
    assert "modelled" in kinds(by_scanner, False)


def test_repeatability_as_published():
    assert repeatability("marrow_pdff").change_of(40) == pytest.approx(2.77 * 0.0216 * 40, abs=0.01)
    assert repeatability("marrow_adc").change_of(0.5) == pytest.approx(0.074)
    assert repeatability("vbq").change_of(2.5) == 0.99
    assert repeatability("marrow_r2star").text.startswith("within-subject CV 2.7 %")
    assert repeatability("muscle_pdff").change_of(5) is None
    assert repeatability("t1_marrow_disc") is None


# --- what is said first -------------------------------------------------------------------------

STUDIES = {
    "T1 and STIR": (Contrast.T1, Contrast.FS_T2),
    "in and opposed phase": (Contrast.IN_PHASE, Contrast.OPPOSED_PHASE),
}


@pytest.mark.parametrize("age", [0.5, 2, 5, 10, 15, 25, 45, 70])
@pytest.mark.parametrize("kind", STUDIES)
def test_no_routine_study_is_left_without_an_answer(study, kind, age):
    for sex in ("F", "M"):
        lines = headlines(assess(of(study, *STUDIES[kind], age_years=float(age), sex=sex)))
        assert any(line.kind in ("frequency", "rule", "modelled") for line in lines)
        text = " ".join(line.text for line in lines)
        assert "none applies" not in text and "No published reference" not in text


def test_every_statement_is_traced_to_records_or_to_the_review(study):
    known, dois = data()["records"], {s["doi"] for s in data()["sources"].values()}
    seen = set()
    for age, kind in itertools.product((0.5, 2.0, 10.0, 16.0, 45.0, 70.0), STUDIES):
        assessment = assess(of(study, *STUDIES[kind], age_years=age, sex="F"))
        for line in headlines(assessment):
            assert set(line.records) <= set(known)
            untraced = not line.records and line.source not in dois
            assert not untraced or line.kind in ("doubtful", "nothing", "verdict"), line
        for result in assessment.results:
            for one in result.statements:
                assert one.records or one.source in dois
                seen.add(one.kind)
    assert seen >= {"frequency", "rule", "modelled", "published"}


def test_the_terminal_says_a_rule_first_too(study):
    one = assess(of(study, Contrast.T1, Contrast.FS_T2, age_years=55.0, sex="F"))
    rule = "L2 T1 marrow/disc 0.86: at or below 1: of 41 at or below, 40 were infiltrated"
    said = summary(one)
    first = said[: said.index("")]
    assert any(line.startswith(f"unusual   {rule}") for line in first)


def test_columns_at_the_terminal_stand_below_each_other(study):
    values = {"L3 marrow": 24.0, "right psoas muscle": 8.0}
    said = summary(assess(with_map(study, Contrast.PDFF, values, age_years=40.0, sex="M")))
    places = {line.index("  expected ") for line in said if "  expected " in line[10:]}
    assert len(places) == 1 and sum("  expected " in line[10:] for line in said) > 1


def test_lines_of_weight_come_first_and_sites_share_a_line(study):
    lines = headlines(assess(of(study, Contrast.T1, Contrast.FS_T2, age_years=10.0, sex="F")))
    tones = [line.tone for line in lines]
    assert tones == sorted(tones, key=["unusual", "", "expected"].index)
    normal = [line for line in lines if line.tone == "expected"]
    assert normal[0].what.startswith("L1, L3, L4, L5 and S1 T1 marrow/disc")
    assert "R079" in normal[0].records


def test_mere_publications_are_said_first_only_where_nothing_firmer_speaks(study):
    child = {"age_years": 6.0, "sex": "M"}
    pdff = with_map(study, Contrast.PDFF, {"L3 marrow": 24.0}, **child)
    assert "published" in {line.kind for line in headlines(assess(pdff))}
    both = replace(pdff, volumes={**pdff.volumes, Contrast.T1: study.volumes[Contrast.T1]})
    both = assess(both)
    assert "published" in {s.kind for r in both.results for s in r.statements}
    assert "published" not in {line.kind for line in headlines(both)}


def test_that_nothing_lies_outside_is_said(study):
    alone = replace(study, regions=[one for one in study.regions if one.name == "L3 marrow"])
    for pdff, said in ((42.0, True), (90.0, False)):
        one = assess(with_map(alone, Contrast.PDFF, {"L3 marrow": pdff}, age_years=55.0, sex="F"))
        lines = [line.text for line in headlines(one)]
        assert ("No value that has a reference lies outside its 95 % range." in lines) == said


def test_nothing_says_what_is_missing(study):
    infant = assess(of(study, Contrast.T2, age_years=0.5, sex="F"), Settings())
    (line,) = [one for one in headlines(infant) if one.kind == "nothing"]
    assert "a PDFF map, or own controls" in line.says
    reasons = {r.no_reference for r in infant.results}
    assert any("would make it comparable" in reason for reason in reasons)
    assert "0 with a reference" in infant.counts_text


def test_a_child_s_pdff_says_what_is_published_though_nothing_scores(study):
    measurement = Measurement("marrow_pdff", "L3", 24.0, ("x",), ci95=(23, 25))
    said = statements(measurement, replace(study, age_years=6.0, sex="M"), [], False, False)
    assert {s.kind for s in said} == {"published"} and all(s.tone == "" for s in said)
    text = " ".join(s.text for s in said)
    assert "20-40 % fat from birth to 9 years" in text and "all below 10 %" in text


def test_the_sample_child_s_report_tells_normal_from_infiltrated_marrow():
    phantom = lumbar_phantom(CHILD)
    girl = of(phantom.study(), Contrast.T1, Contrast.FS_T2)
    assert (girl.age_years, girl.sex) == (6.0, "F")
    assessment = assess(girl)
    tones = {}
    for result in assessment.results:
        one = result.measurement
        if one.quantity == "t1_marrow_disc":
            assert one.value == pytest.approx(phantom.true_value(one), rel=0.03)
            tones[one.site] = result.tone
    infiltrated = {"L2", "L4"}
    assert {site for site, tone in tones.items() if tone == "unusual"} == infiltrated
    assert {site for site, tone in tones.items() if tone == "expected"} == {"L1", "L3", "L5", "S1"}
    first = headlines(assessment)[0]
    assert first.tone == "unusual" and first.what in infiltrated
    # A body of the girl is two thirds as high as the man's.
    heights = [
        np.ptp(np.nonzero(r.mask)[1]) * np.linalg.norm(girl.grid.ijk_to_ras[:3, 1])
        for r in girl.regions
        if r.name == "L3 marrow"
    ]
    assert heights[0] == pytest.approx(0.65 * 19, abs=2.5)


def test_what_no_number_tells_is_left_to_the_eye_with_its_reason(study):
    for one in all_frequencies():
        assert (one.quantity is None) == bool(one.by_eye), one.id
    seen = assess(replace(study, age_years=6.0, sex="F")).by_eye
    assert [one.id for one in seen] == ["F03", "F04"]
    assert assess(replace(study, age_years=40.0, sex="F")).by_eye == []
    pelvis = replace(study.regions[0], site="sacrum", name="sacrum marrow")
    found = assess(replace(study, regions=[pelvis], age_years=12.0))
    assert {one.id for one in found.by_eye} == {"F11", "F12", "F13"}
    assert {r.id for one in found.by_eye for r in one.records} <= {r.id for r in found.records}
    page = html._of_age(found)
    assert "rim-like bright T2 signal on the sacral side" in page and "72 % of normal" in page
    assert html._of_age(assess(replace(study, age_years=None))) == ""


def test_what_would_make_a_number_comparable_is_no_option_of_the_command_line():
    assert {comparable_by(key) for key in QUANTITIES} == {
        "own controls", "a PDFF map, or own controls",
    }  # fmt: skip


# --- own controls -------------------------------------------------------------------------------


def control_study(folder, number, age, sex, ratio, **changes):
    """The assessment.json of a normal study, as far as it is read."""
    numbers = [
        {"quantity": "t1_marrow_disc", "site": site, "value": ratio * k, "doubtful": []}
        for site, k in (("L2", 0.99), ("L3", 1.01))
    ]
    stored = {"patient": {"age_years": age, "sex": sex}, "measurements": numbers, "n": number}
    path = folder / f"study {number}.json"
    path.write_text(json.dumps(stored | changes), encoding="utf-8")
    return path


def test_ten_controls_of_any_age_anchor_a_ratio(tmp_path):
    # Truth: the model's median at each age times 1.3 on this scanner, people spread by 8 %.
    rng = np.random.default_rng(8)
    ages = rng.uniform(20, 75, 12)
    for number, age in enumerate(ages):
        median = math.exp(own_controls._shift("t1_marrow_disc", age, "F").mean())
        ratio = 1.3 * median * math.exp(rng.normal(0, 0.08))
        assert expected("t1_marrow_disc", "L3", 10.0, "F") is None or number >= 10
        name, count = own_controls.add_study(control_study(tmp_path, number, age, "F", ratio))
        assert (name, count) == ("controls", number + 1)
    found = expected("t1_marrow_disc", "L3", 10.0, "F")
    truth = 1.3 * math.exp(own_controls._shift("t1_marrow_disc", 10, "F").mean())
    assert found.distribution.mean == pytest.approx(truth, rel=0.06)
    assert found.distribution.source == "own controls 'controls'"
    assert any("Scanner-anchored" in text for text in found.cautions)
    low, high = found.expected_range
    assert low < truth * math.exp(-2 * 0.08) and high > truth * math.exp(2 * 0.08)
    # Far from the controls' ages the shift is less certain, and the interval wider.
    adult = expected("t1_marrow_disc", "L3", float(np.median(ages)), "F")
    assert found.distribution.mean_variance > adult.distribution.mean_variance
    # Below the model's trust nothing is anchored, nor away from the lumbar spine.
    assert expected("t1_marrow_disc", "L3", 4.0, "F") is None
    assert expected("t1_marrow_disc", "T8", 10.0, "F") is None


def test_the_shift_with_age_hardly_depends_on_field_strength():
    from MarrowAssessLib.references.modelled import log_median_by_draw

    for quantity in ("t1_marrow_disc", "t1_marrow_muscle"):
        shifts = [
            np.mean(log_median_by_draw(quantity, 10.0, "F", field))
            - np.mean(log_median_by_draw(quantity, 45.0, "F", field))
            for field in (1.5, 3.0)
        ]
        assert abs(shifts[0] - shifts[1]) < 0.02


def test_twenty_added_studies_make_a_curve_of_their_own(tmp_path):
    rng = np.random.default_rng(9)
    for number in range(20):
        path = control_study(tmp_path, number, 20.0 + 2 * number, "M", 1.5 + rng.normal(0, 0.1))
        own_controls.add_study(path, "our 3T")
    found = expected("t1_marrow_disc", "L3", 40.0, "M").distribution
    assert found.source == "control cohort 'our-3T'" and found.n == 20


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patient": {"age_years": None, "sex": "F"}}, "age is not known"),
        ({"measurements": []}, "no number of a named site"),
        ({"patient": {}}, "this is no assessment"),
    ],
)
def test_studies_that_cannot_be_controls(tmp_path, changes, words):
    path = control_study(tmp_path, 1, 30, "F", 1.5, **changes)
    with pytest.raises(ValueError, match=words):
        own_controls.add_study(path)


def test_a_study_is_added_once_and_doubtful_numbers_never(tmp_path):
    path = control_study(tmp_path, 1, 30, "F", 1.5)
    own_controls.add_study(path)
    with pytest.raises(ValueError, match="in the cohort 'controls' already"):
        own_controls.add_study(path)
    named = json.loads(path.read_text())  # the same numbers, the report printed with a name
    named["patient"]["subject"] = "volunteer 7"
    with pytest.raises(ValueError, match="in the cohort 'controls' already"):
        own_controls.add_assessment(named)
    numbers = [
        {"quantity": "t1_marrow_disc", "site": "L2", "value": 1.2, "doubtful": ["L2 marrow"]},
        {"quantity": "t1_marrow_disc", "site": "L3", "value": 1.4, "doubtful": []},
    ]
    # texture compares only with equal voxels and gray levels, which a cohort does not keep
    texture = {"quantity": "t1_texture_contrast", "site": "L3", "value": 9.0, "doubtful": False}
    numbers.append(texture)
    own_controls.add_study(control_study(tmp_path, 2, 30, "F", 1.5, measurements=numbers))
    assert [c.value for c in own_controls.read_controls("controls")][-1] == 1.4
    assert len(own_controls.read_controls("controls")) == 3
    with pytest.raises(FileNotFoundError, match="no such file"):
        own_controls.add_study(tmp_path / "none.json")
