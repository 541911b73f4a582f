"""Statistics of cohorts: printed textbook values, closed forms, and what the tables say."""

import csv
import json
import math

import numpy as np
import pytest
from MarrowAssessLib.cohort.comparison import ALL_SITES, comparison
from MarrowAssessLib.commands.main import main
from MarrowAssessLib.statistics.agreement import components, iccs
from MarrowAssessLib.statistics.change import slope
from MarrowAssessLib.statistics.curves import reference_curve
from MarrowAssessLib.statistics.groups import (
    auc,
    benjamini_hochberg,
    compared,
    hodges_lehmann,
    holm,
)
from MarrowAssessLib.statistics.repeatability import (
    agreement,
    pooled_repeatability,
    repeatability,
)

# Bland and Altman 1986, table 1: peak flow (l/min) by a Wright meter, twice, and a mini meter.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
AGAIN = [490, 397, 512, 401, 470, 611, 415, 431, 638, 429, 420, 633, 275, 492, 165, 372, 421]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
# Shrout and Fleiss 1979, table 2: six subjects by four judges.
JUDGES = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)


TWELVE = np.array([
    [41.8, 41.7, 39.4], [47.2, 48.0, 44.7], [43.8, 46.8, 44.4], [34.3, 35.7, 36.1],
    [36.8, 35.4, 38.2], [39.8, 36.8, 35.5], [44.3, 44.1, 41.9], [41.5, 41.7, 38.9],
    [42.8, 44.3, 43.9], [33.6, 28.1, 29.1], [46.8, 44.2, 47.7], [41.3, 37.9, 41.9],
])  # fmt: skip
# Days, in part, and values of nine patients.
DAYS = [0, 100, 200, 400, 800]
VISITS = (
    [45.56, 45.88], [44.4, 46.9, 47.43], [29.74, 29.69, 31.27, 31.14],
    [40.23, 39.56, 41.58, 41.98, 44.76], [37.96, 38.02], [39.56, 40.74, 41.82],
    [31.44, 31.57, 31.56, 31.74], [46.28, 48.66, 49.94, 48.13, 51.62], [32.39, 34.21],
)  # fmt: skip


def test_other_programs_say_the_same():
    """pingouin 0.7.0 (ICC), statsmodels 0.15.0 (MixedLM, REML), gamlss 0.1.0 (NO, linear)."""
    said = {one.form: one for one in iccs(TWELVE)}
    values = {form: round(one.value, 6) for form, one in said.items()}
    assert values == {"ICC(1,1)": 0.883504, "ICC(2,1)": 0.883557, "ICC(3,1)": 0.884774}
    assert {(round(one.low, 2), round(one.high, 2)) for one in said.values()} == {(0.73, 0.96)}
    found = slope([(DAYS[: len(values)], values) for values in VISITS])
    assert found.per_year == pytest.approx(1.957129, abs=2e-4)
    curve = reference_curve(*people(300, 7))
    lines = {percent: (ages, values) for percent, ages, values in curve.lines()}
    for age, mean, sd in ((30, 34.917, 2.2625), (50, 44.424, 3.1636), (70, 53.931, 4.4238)):
        low, middle, high = (np.interp(age, *lines[percent]) for percent in (10, 50, 90))
        assert middle == pytest.approx(mean, abs=1e-3)
        # Theirs is the SD of highest likelihood; ours counts the two coefficients of the mean.
        assert (high - low) / 2 / 1.28155 == pytest.approx(sd * math.sqrt(300 / 298), rel=2e-3)


def test_bland_and_altman_1986():
    found = agreement(np.column_stack([MINI, WRIGHT]))
    assert (found.n, round(found.bias, 1), round(found.sd, 1)) == (17, -2.1, 38.8)
    assert found.lower == pytest.approx(-2.1 - 1.96 * 38.77, abs=0.1)
    # The same paper: interval of the bias -22.0 to 17.8.
    assert (round(found.bias_low, 1), round(found.bias_high, 1)) == (-22.0, 17.8)
    assert found.lower_low < found.lower < found.lower_high < found.bias
    assert found.upper - found.upper_low < found.upper_high - found.upper  # they are not even
    # Within-subject SD of the Wright meter: 15.3 (Bland and Altman 1996, BMJ 313:744).
    known = repeatability(list(np.column_stack([WRIGHT, AGAIN])))
    assert (known.n, known.df, round(known.wsd, 1)) == (17, 17, 15.3)
    assert known.rc == pytest.approx(2.772 * known.wsd, rel=1e-3)
    # chi-square with 17 degrees of freedom: 7.564 and 30.191
    assert known.rc_low == pytest.approx(known.rc * math.sqrt(17 / 30.191), rel=1e-4)
    assert known.rc_high == pytest.approx(known.rc * math.sqrt(17 / 7.564), rel=1e-4)


def test_exact_limits_hold_one_in_twenty_times():
    """For 5 pairs, where the usual approximate interval is too narrow above and below."""
    rng = np.random.default_rng(0)
    found = [agreement(np.column_stack([np.zeros(5), rng.normal(size=5)])) for _ in range(1500)]
    held = np.mean([one.upper_low < 1.96 < one.upper_high for one in found])
    assert 0.932 < held < 0.968  # three standard errors


def test_regions_together_are_counted_as_patients():
    """Patients differ in how repeatable they are; regions as units would hold 83 in 100."""
    rng = np.random.default_rng(4)
    held = []
    for _ in range(1200):
        sds = np.sqrt(rng.chisquare(8, 50) / 8)
        found = pooled_repeatability([list(rng.normal(0, sd, (4, 2))) for sd in sds])
        held.append(found.rc_low < 1.96 * math.sqrt(2) < found.rc_high)
    assert 0.925 < np.mean(held) < 0.965  # 94.4 of 20,000, three standard errors
    # Where all are alike it is the chi-square interval of that many pairs, about.
    alike = pooled_repeatability([list(rng.normal(0, 1, (4, 2))) for _ in range(400)])
    assert (alike.n, alike.df) == (400, 1600)
    assert math.log(alike.rc_high / alike.rc_low) == pytest.approx(
        2 * 1.96 / math.sqrt(3200), rel=0.1
    )
    same = pooled_repeatability([[np.array([1.0, 2.0]), np.array([2.0, 3.0])]] * 3)
    six = repeatability([np.array([1.0, 2.0])] * 6)
    assert (same.rc_low, same.rc_high) == pytest.approx((six.rc_low, six.rc_high))
    uneven = [[np.array([0.0, 1e-9])], [np.array([0.0, 1e-9])], [np.array([0.0, 5.0])]]
    assert pooled_repeatability(uneven) is None


def test_differences_that_grow_with_the_value():
    rng = np.random.default_rng(1)
    size = rng.uniform(10, 60, 60)
    assert agreement(np.column_stack([size, 1.1 * size])).p_proportional < 0.001
    assert agreement(np.column_stack([size, size + rng.normal(0, 1, 60)])).p_proportional > 0.05


def test_nothing_can_be_said_of_too_little():
    assert repeatability([np.array([1.0]), np.array([2.0])]) is None
    assert repeatability([np.array([1.0, 1.0]), np.array([2.0, 2.0])]) is None  # no scatter
    assert agreement(np.array([[1, 2], [2, 3]])) is None
    assert agreement(np.array([[1, 2], [2, 3], [4, 5]])) is None  # they differ by the same
    assert pooled_repeatability([[np.array([1.0, 2.0])]] * 2) is None  # two patients
    assert pooled_repeatability([[np.array([1.0, 1.0])]] * 3) is None  # no scatter
    assert iccs(np.array([[1, 2.0], [3, 4], [np.nan, 1], [np.nan, 2]])) == []
    assert iccs(np.repeat([[0.1], [0.2], [0.7]], 3, axis=1)) == []  # no scatter but by rounding
    assert components(np.ones((4, 2))) is None
    assert compared([1, 2], [1, 2, 3]) is None and compared([1, 1, 1], [1, 2, 3]) is None
    assert slope([(np.array([0, 100]), np.array([1, 2]))] * 4) is None
    assert math.isnan(repeatability([np.array([-3.0, 1.0])]).wcv_percent)


def test_shrout_and_fleiss_1979():
    """The intervals are those that McGraw and Wong's formulas give, as in R's psych::ICC."""
    found = {one.form: one for one in iccs(JUDGES)}
    assert {form: round(one.value, 2) for form, one in found.items()} == {
        "ICC(1,1)": 0.17, "ICC(2,1)": 0.29, "ICC(3,1)": 0.71,
    }  # fmt: skip
    ends = {form: (round(one.low, 2), round(one.high, 2)) for form, one in found.items()}
    assert ends == {
        "ICC(1,1)": (-0.13, 0.72), "ICC(2,1)": (0.02, 0.76), "ICC(3,1)": (0.34, 0.95),
    }  # fmt: skip
    missing = np.vstack([JUDGES, [1, np.nan, 3, 4]])
    assert iccs(missing) == iccs(JUDGES)
    # Their mean squares: 11.24 between subjects, 32.49 between judges, 1.02 residual.
    parts = components(JUDGES)
    assert parts.patient == pytest.approx(math.sqrt((11.24 - 1.02) / 4), abs=0.01)
    assert parts.rater == pytest.approx(math.sqrt((32.49 - 1.02) / 6), abs=0.01)
    assert parts.residual == pytest.approx(math.sqrt(1.02), abs=0.01)


def test_groups_without_covariates_are_the_closed_forms():
    rng = np.random.default_rng(2)
    a, b = rng.normal(40, 5, 12), rng.normal(46, 9, 20)
    found = compared(a, b)
    assert found.difference == pytest.approx(b.mean() - a.mean())
    se = math.sqrt(a.var(ddof=1) / 11 + b.var(ddof=1) / 19)  # HC3 of two means
    assert found.high - found.difference == pytest.approx(2.0423 * se, rel=1e-4)  # t(30)
    pooled = math.sqrt((11 * a.var(ddof=1) + 19 * b.var(ddof=1)) / 30)
    assert found.effect == pytest.approx((1 - 3 / 119) * found.difference / pooled)
    assert found.shift == pytest.approx(np.median(b[:, None] - a[None, :]))
    from scipy.stats import mannwhitneyu

    assert found.auc == pytest.approx(mannwhitneyu(b, a).statistic / (12 * 20))
    above = np.array([np.mean(a < one) for one in b])  # DeLong's placements, one by one
    below = np.array([np.mean(b > one) for one in a])
    se = math.sqrt(above.var(ddof=1) / 20 + below.var(ddof=1) / 12)
    area, low, high = auc(a, b)
    slope_of_logit = area * (1 - area)
    assert math.log(high / (1 - high)) - math.log(low / (1 - low)) == pytest.approx(
        2 * 1.96 * se / slope_of_logit
    )
    assert hodges_lehmann(np.array([1.0, 2, 3]), np.array([4.0, 5, 6])) == (3, 1, 5)
    assert math.isnan(auc(np.arange(3), np.arange(5, 8))[1])  # apart: no interval


def test_a_difference_that_age_makes_is_none():
    """Group B is older by 20 years, and the value grows by 0.4 a year."""
    rng = np.random.default_rng(3)
    age_a, age_b = rng.normal(40, 8, 60), rng.normal(60, 8, 60)
    a, b = (20 + 0.4 * age + rng.normal(0, 2, 60) for age in (age_a, age_b))
    assert compared(a, b).low > 5
    adjusted = compared(a, b, [("age", age_a, age_b), ("sex", np.ones(60), np.ones(60))])
    assert adjusted.low < 0 < adjusted.high and adjusted.adjusted_for == ("age",)
    unknown = age_a.copy()
    unknown[0] = np.nan
    assert compared(a, b, [("age", unknown, age_b)]).adjusted_for == ()


def test_several_comparisons():
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg(p) == pytest.approx([0.02, 0.04, 0.04, 0.02])


def test_a_balanced_slope_is_the_mean_of_the_patients_slopes():
    rng = np.random.default_rng(4)
    days = np.array([0, 365.25, 2 * 365.25])
    own = [(days, 30 + rng.normal(0, 5) + 1.5 * np.arange(3) + rng.normal(0, 1, 3))
           for _ in range(20)]  # fmt: skip
    found = slope(own)
    slopes = np.array([np.polyfit(np.arange(3), values, 1)[0] for _, values in own])
    assert found.per_year == pytest.approx(slopes.mean())
    half = 2.093 * slopes.std(ddof=1) / math.sqrt(20)  # t(19); the jackknife of a mean is its SE
    assert found.high - found.per_year == pytest.approx(half, rel=1e-3)
    assert (found.n, found.visits) == (20, 60) and found.p < 0.001


def test_unbalanced_slopes_weigh_patients_by_what_they_tell():
    """Between the pooled line and the mean of slopes; known truth 2 a year."""
    rng = np.random.default_rng(5)
    own = []
    for n in range(200):
        days = np.array([0, 100, 200, 400, 800])[: 2 + n % 4]
        own.append((days, rng.normal(40, 6) + 2 * days / 365.25 + rng.normal(0, 1, len(days))))
    found = slope(own)
    assert found.low < 2 < found.high and found.high - found.low < 0.5


def people(n, seed=0):
    """Ages, and values of mean 20 + 0.5 a year whose SD grows from 2 to 6; skewed by nothing."""
    rng = np.random.default_rng(seed)
    ages = rng.uniform(20, 80, n)
    return ages, 20 + 0.5 * ages + np.exp(np.interp(ages, (20, 80), np.log((2, 6)))) * rng.normal(
        size=n
    )


def test_reference_curves_hold_their_shares_and_find_the_truth():
    curve = reference_curve(*people(1500))
    for percent in (3, 10, 50, 90, 97):
        assert curve.share_below(percent) == pytest.approx(percent, abs=2)
    lines = {percent: (ages, values) for percent, ages, values in curve.lines()}
    at = np.argmin(abs(lines[50][0] - 50))
    age = lines[50][0][at]
    assert lines[50][1][at] == pytest.approx(20 + 0.5 * age, abs=0.5)
    sd = math.exp(np.interp(age, (20, 80), np.log((2, 6))))
    assert lines[97][1][at] - lines[50][1][at] == pytest.approx(1.881 * sd, rel=0.1)
    _, deviation, limit = curve.worm()
    assert np.mean(np.abs(deviation) < limit) > 0.9
    skewed = reference_curve(people(1500)[0], -np.exp(np.random.default_rng(1).normal(size=1500)))
    _, deviation, limit = skewed.worm()  # no power is tried on what is below 0
    assert np.mean(np.abs(deviation) < limit) < 0.2
    assert reference_curve(*people(99)).percents == (10, 50, 90)
    assert reference_curve(*people(19)) is None
    assert reference_curve(np.arange(30.0), np.arange(30.0)) is None


def test_scanners_that_differ_are_told_beside_the_curve():
    """Half of the people on a scanner that reads 4 higher, about one SD at 50 years."""
    ages, values = people(200, 3)
    scanners = ["A", "B"] * 100
    told = reference_curve(ages, values + 4 * np.array([0, 1] * 100)).shifts(scanners)
    assert told["A"][2] < -0.2 and told["B"][1] > 0.2
    assert told["B"][0] - told["A"][0] == pytest.approx(1.0, abs=0.3)
    assert reference_curve(ages, values).shifts(scanners) == {}
    slight = reference_curve(ages, values + np.array([0, 1] * 100))
    assert slight.shifts(scanners) == {}  # p is 0.04: each site and sex is asked
    few = ["A"] * 196 + ["B"] * 4
    assert reference_curve(ages, values + 9 * (np.array(few) == "B")).shifts(few) == {}
    rows = [
        row(f"{n}", 1, "L3", value, scanner=one, age_years=age)
        for n, (age, value, one) in enumerate(zip(ages, values, scanners, strict=True))
    ]
    for one in rows[1::2]:
        one["value"] += 4
    notes = comparison(rows, normal="all").notes
    assert any("L3, F: normal people of scanner B lie +0" in note for note in notes)
    assert any("fit the curve of one scanner alone before it judges" in note for note in notes)


def row(patient, session, site, value, **facts):
    return {
        "study": f"{patient}-{session}", "patient": patient, "session": session,
        "quantity": "marrow_pdff", "site": site, "regions": f"{site} marrow", "value": value,
        "doubtful": "", "sex": "F", "age_years": 50.0, **facts,
    }  # fmt: skip


def test_the_table_of_a_cohort_is_compared():
    rng = np.random.default_rng(6)
    rows = []
    for n in range(12):
        level = rng.normal(40, 5)
        for session in (1, 2):
            for site in ("L3", "L4"):
                facts = {"reader": "ab"[session - 1], "group": "xy"[n % 2]}
                rows.append(row(f"p{n}", session, site, level + rng.normal(0, 1), **facts))
    rows.append(row("p0", 1, "L5", 999.0, doubtful="may be L4"))
    rows.append(row("p0", 1, "S1", math.nan))
    found = comparison(rows, repeats=True)
    assert found.notes == ["1 values of doubtful regions were left out."]
    assert [(one["site"], one["n"]) for one in found.repeatability] == [
        ("L3", 12), ("L4", 12), (ALL_SITES, 12),
    ]  # fmt: skip
    whole = found.repeatability[-1]
    assert whole["df"] == 24 and whole["rc_low"] < whole["rc"] < whole["rc_high"]
    between = {(one["between"], one["form"]) for one in found.agreement}
    assert between == {(b, f"ICC({k},1)") for b in ("session", "reader") for k in (1, 2, 3)}
    assert [(one["site"], one["n_a"], one["n_b"]) for one in found.groups] == [
        ("L3", 6, 6), ("L4", 6, 6), (ALL_SITES, 6, 6),
    ]  # fmt: skip
    assert {"p_holm", "p_bh"} <= set(found.groups[0]) and not found.change

    dated = [one | {"days": str(300 * (one["session"] - 1))} for one in rows]
    later = comparison(dated)
    assert not later.repeatability
    assert [(one["site"], one["group"], one["n"]) for one in later.change] == [
        (site, group, 6) for site in ("L3", "L4") for group in "xy"
    ]
    assert any("Published beside it: 3 T, thoracolumbar" in note for note in later.notes)
    with pytest.raises(ValueError, match="There is nothing to compare: no patient has repeated"):
        comparison([row("p0", 1, "L3", 1.0, days="soon")])


def test_the_command_writes_tables_and_a_page(tmp_path, capsys, monkeypatch):
    tables = pytest.importorskip("MarrowAssessLib.cohort.tables")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    rng = np.random.default_rng(7)
    rows = [
        row(f"p{n}", session, "L3", rng.normal(40 + 8 * (n % 2), 2), group="ab"[n % 2])
        for n in range(16) for session in (1, 2)
    ]  # fmt: skip
    tables.write_measurements(rows, tmp_path)
    command = ["compare", str(tmp_path), "--out", str(tmp_path / "out"), "--repeats"]
    assert main(command) == 0
    assert "groups: 1 rows" in capsys.readouterr().out
    with (tmp_path / "out" / "groups.csv").open(newline="") as stream:
        (one,) = csv.DictReader(stream)
    assert 6 < float(one["difference"]) < 10 and (one["n_a"], one["n_b"]) == ("8", "8")
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "<tr class=stands>" in page and "For research use only" in page
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["notes"] == []
    normal = [
        row(f"n{n}", 1, "L3", value, age_years=float(age), sex="FM"[n % 2], group="ab"[n // 60])
        for n, (age, value) in enumerate(zip(*people(120), strict=True))
    ]
    tables.write_measurements(normal, tmp_path)
    assert main([*command[:-1], "--normal", "a"]) == 0
    with (tmp_path / "out" / "curves.csv").open(newline="") as stream:
        curves = list(csv.DictReader(stream))
    assert [(one["sex"], one["n"], one["below_p3"]) for one in curves] == [
        ("F", "30", ""), ("M", "30", ""),
    ]  # fmt: skip
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "Worm plot: Marrow PDFF L3, women" in page and ">P90<" in page and ">P97<" not in page
    from MarrowAssessLib.references.cohort_csv import read_control_cohort

    cohort = read_control_cohort(tmp_path / "out" / "controls.csv", "ours")
    assert len(cohort.curves) == 2
    tables.write_measurements(rows, tmp_path)

    def refused():
        assert main(command) == 2
        return capsys.readouterr().err

    path = tmp_path / "measurements.parquet"
    path.write_bytes(path.read_bytes()[:-30])
    assert "this is no whole Parquet file; run" in refused()
    monkeypatch.setattr(tables, "SCHEMA", "marrowassess-cohort-9")
    tables.write_measurements(rows, tmp_path)
    monkeypatch.undo()
    assert "its schema is 'marrowassess-cohort-9' where" in refused()
    path.unlink()
    assert "there is no measurements.parquet; name a folder that" in refused()
