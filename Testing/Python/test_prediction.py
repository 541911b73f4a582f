"""Trained scores: what is refused, what a leak would show, and what a file gives back."""

import csv
import dataclasses
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.commands import main as cli
from MarrowAssessLib.findings.assessment import assess
from MarrowAssessLib.findings.verdict import notes
from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.prediction import score_file
from MarrowAssessLib.prediction.cohort_table import _without_empty, cohort_table, read_table
from MarrowAssessLib.prediction.elastic_net import elastic_net
from MarrowAssessLib.prediction.model_card import (
    PUBLISHED,
    exploratory_reason,
    population,
    refuse_too_few,
)
from MarrowAssessLib.prediction.patient_score import NO_DIAGNOSIS, card_lines, scored
from MarrowAssessLib.prediction.sample_size import cox_snell_r2, patients_needed
from MarrowAssessLib.prediction.score_file import Model, Score, Tree, read_score, write_score
from MarrowAssessLib.prediction.stability import Agreement, feature_stability, icc_2_1
from MarrowAssessLib.prediction.validation import (
    Validation,
    auc,
    better_than,
    calibration_curve,
    folds,
    net_benefit,
    performance,
    permutations,
    validate,
    youden_cut,
)
from MarrowAssessLib.report.data import as_dict
from MarrowAssessLib.report.html import write_html
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study
from MarrowAssessLib.texture.table import radiomics_rows
from PDFFMapperLib.images.volume import Volume

SETTINGS = "voxels 4.00 x 0.70 x 0.70 mm; 2.5D, merged; bins of 2.5 from 0"
NAMES = tuple(f"PDFF_original_F{n}" for n in range(200))


def noise_cohort(seed, effect=0.0, patients=120, features=200):
    rng = np.random.default_rng(seed)
    outcome = np.repeat([True, False], patients // 2)
    values = rng.normal(size=(patients, features))
    values[outcome, :2] += effect
    return values, outcome


def write_cohort(folder, values, outcome, settings=SETTINGS):
    names = NAMES[: values.shape[1]]
    with open(folder / "features.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["subject", "region", "tissue", "site", "PDFF_settings", *names])
        for n, row in enumerate(values):
            table.writerow([f"P{n}", "L3 marrow", "marrow", "L3", settings, *map(float, row)])
    with open(folder / "outcomes.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["subject", "fracture", "scanner"])
        for n, one in enumerate(outcome):
            table.writerow([f"P{n}", int(one), "AB"[n % 2]])
    return folder / "features.csv", folder / "outcomes.csv"


def test_a_table_that_is_none_is_told(tmp_path):
    with pytest.raises(ValueError, match="this is a folder where a file is expected"):
        read_table(tmp_path)
    (tmp_path / "a.csv").write_bytes(b"NRRD\x8b\xff")
    with pytest.raises(ValueError, match=r"a.csv: this is no CSV file in UTF-8; save it so\."):
        read_table(tmp_path / "a.csv")


def edit(path, row, column, text):
    rows = read_table(path)
    rows[row][column] = text
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)


@pytest.fixture
def cohort(tmp_path):
    return write_cohort(tmp_path, *noise_cohort(0, patients=30, features=5))


# --- sample size ---


def test_sample_size_of_the_published_example():
    """24 predictors and a Cox-Snell R^2 of 0.288 need 623 (Riley 2020, doi 10.1136/bmj.m441)."""
    from MarrowAssessLib.prediction import sample_size

    assert np.ceil(sample_size._by_shrinkage(24, 0.288, 0.9)) == 623


def test_r2_of_an_auc_agrees_with_drawn_patients():
    from scipy.special import expit
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    outcome = rng.random(400_000) < 0.2
    apart = np.sqrt(2) * norm.ppf(0.8)
    risk = expit(np.log(0.25) + apart * (rng.normal(size=outcome.size) + apart * outcome)
                 - apart**2 / 2)  # fmt: skip
    gained = np.mean(np.where(outcome, np.log(risk / 0.2), np.log((1 - risk) / 0.8)))
    assert cox_snell_r2(0.2, 0.8) == pytest.approx(1 - np.exp(-2 * gained), rel=0.02)


def test_sample_size_refuses_what_cannot_be():
    with pytest.raises(ValueError, match="prevalence between 0 and 1"):
        patients_needed(5, 1.0, 0.8)


def test_small_cohorts_are_refused_or_exploratory():
    with pytest.raises(ValueError, match="9 patients with and 30 without"):
        refuse_too_few(np.repeat([True, False], [9, 30]))
    outcome = np.repeat([True, False], 60)
    assert "120 of" in exploratory_reason(outcome, 1050)
    assert exploratory_reason(np.repeat([True, False], 600), 2) == ""


# --- the fit ---


@pytest.mark.parametrize("strength", [0.01, 0.1, 1.0, 100.0])
def test_the_elastic_net_is_at_its_optimum(strength):
    """The conditions of the minimum hold: no predictor pulls more than its penalty holds."""
    rng = np.random.default_rng(1)
    scaled, outcome = rng.normal(size=(90, 15)), np.arange(90) % 3 == 0
    scaled[outcome, :3] += 1
    found, intercept = elastic_net(scaled, outcome, strength, 0.5)
    risk = 1 / (1 + np.exp(-scaled @ found - intercept))
    assert np.sum(outcome - risk) == pytest.approx(0, abs=1e-6)
    pull = strength * scaled.T @ (outcome - risk) - 0.5 * found
    np.testing.assert_allclose(pull[found != 0], 0.5 * np.sign(found[found != 0]), atol=1e-6)
    assert (np.abs(pull[found == 0]) <= 0.5 + 1e-6).all()


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_elastic_net_is_scikit_learns_and_stands_separable_classes():
    linear_model = pytest.importorskip("sklearn.linear_model", reason="no scikit-learn")
    rng = np.random.default_rng(2)
    outcome = np.arange(60) < 25
    scaled = rng.normal(size=(60, 8)) + 4 * outcome[:, None]
    theirs = linear_model.LogisticRegression(
        C=10.0, l1_ratio=0.5, penalty="elasticnet", solver="saga", max_iter=100_000, tol=1e-10
    ).fit(scaled, outcome)
    found, intercept = elastic_net(scaled, outcome, 10.0, 0.5)
    np.testing.assert_allclose(found, theirs.coef_[0], atol=1e-4)  # SAGA stops that early
    assert intercept == pytest.approx(theirs.intercept_[0], abs=1e-4)


# --- validation ---


def test_a_selection_outside_the_folds_would_lie_and_ours_does_not():
    """Noise alone: picking features before the cross-validation gives a high AUC."""
    from MarrowAssessLib.prediction.training import Recipe

    honest, leaking = [], []
    for seed in range(6):
        values, outcome = noise_cohort(100 + seed)
        recipes = [Recipe(keep=10, strength=0.1)]
        one = validate(values, outcome, NAMES, recipes, repeats=1, seed=seed)
        honest.append(one.auc)
        apart = np.abs(values[outcome].mean(0) - values[~outcome].mean(0))
        best = np.argsort(-apart)[:10]
        names = [NAMES[n] for n in best]
        one = validate(values[:, best], outcome, names, recipes, repeats=1, seed=seed)
        leaking.append(one.auc)
    assert np.mean(honest) == pytest.approx(0.5, abs=0.08)
    assert np.mean(leaking) > 0.7


def test_a_planted_effect_is_found():
    from MarrowAssessLib.prediction.training import Recipe, train

    values, outcome = noise_cohort(3, effect=1.2)
    recipes = [Recipe(keep=5, strength=0.1)]
    found = validate(values, outcome, NAMES, recipes, repeats=2)
    reached = performance(found)
    fresh, truth = noise_cohort(99, effect=1.2, patients=20_000)
    model = train(values, outcome, NAMES, recipes[0])
    places = [NAMES.index(name) for name in model.predictors]
    assert reached.auc == pytest.approx(auc(truth, model.probability(fresh[:, places])), abs=0.06)
    low, high = reached.auc_ci95
    assert low < reached.auc < high
    assert reached.sensitivity > 0.6
    assert reached.specificity > 0.6


def test_random_outcomes_spread_more_than_patients_drawn_anew():
    from MarrowAssessLib.prediction.training import Recipe

    values, outcome = noise_cohort(7, patients=60, features=100)
    found = permutations(values, outcome, NAMES[:100], [Recipe(keep=5, strength=0.1)], 25)
    assert 1.1 < found.widening < 2
    assert found.p > 0.02
    values[outcome, 0] += 3
    found = permutations(values, outcome, NAMES[:100], [Recipe(keep=5, strength=0.1)], 9)
    assert found.p == pytest.approx(0.1)
    with pytest.raises(InterruptedError, match="Permuting was canceled"):
        permutations(values, outcome, NAMES[:100], [Recipe()], 9, progress=lambda _: False)


def test_levels_that_differ_between_folds_do_not_pull_the_auc_down():
    """A model of each fold with the right order and a level of its own is right."""
    rng = np.random.default_rng(0)
    outcome = np.arange(100) % 2 == 0
    fold = np.repeat(np.arange(5), 20)
    level = rng.normal(0, 3, 5)[fold] + outcome
    one = Validation(outcome, level[None], np.zeros(100), (), (), fold[None])
    assert one.auc == 1
    assert dataclasses.replace(one, fold=None).auc < 0.8
    assert one.aucs(np.arange(100) < 20) == [1]


def test_every_patient_is_predicted_by_models_that_never_saw_it():
    from MarrowAssessLib.prediction.training import Recipe

    values, outcome = noise_cohort(5, patients=60)
    recipes = [Recipe(keep=3)]
    plain = validate(values, outcome, NAMES, recipes, repeats=1)
    fold = folds(outcome, 5, np.random.default_rng(0))
    changed = values.copy()
    changed[fold == 0] += np.random.default_rng(1).normal(size=changed[fold == 0].shape)
    other = validate(changed, outcome, NAMES, recipes, repeats=1)
    assert plain.fold_models[0] != other.fold_models[1]
    np.testing.assert_array_equal(
        plain.fold_models[0].coefficients, other.fold_models[0].coefficients
    )


def test_folds_hold_like_shares():
    outcome = np.repeat([True, False], [22, 41])
    fold = folds(outcome, 5, np.random.default_rng(0))
    assert {int(outcome[fold == n].sum()) for n in range(5)} <= {4, 5}
    assert {int((fold == n).sum()) for n in range(5)} <= {12, 13}


def test_figures_of_merit_by_hand():
    outcome = np.array([True, True, False, False])
    probability = np.array([0.9, 0.4, 0.6, 0.1])
    assert auc(outcome, probability) == 0.75
    assert auc(outcome, np.full(4, 0.5)) == 0.5
    # within folds: 0.9 over 0.6, and 0.4 over 0.1; the pair that is wrong lies in two folds
    assert auc(outcome, probability, np.array([0, 1, 0, 1])) == 1
    assert auc(outcome, probability, np.array([0, 0, 1, 1])) == 0.75  # no pair within one
    assert youden_cut(outcome, np.array([0.9, 0.8, 0.6, 0.1])) == 0.8
    assert net_benefit(outcome, probability, 0.5) == pytest.approx(0.25 - 0.25)
    one = Validation(outcome, probability[None], np.array([1, 0, 1, 0.0]), (), ())
    narrow, wide = (performance(one, widening=factor).auc_ci95 for factor in (1, 1.2))
    assert 0.75 - wide[0] == pytest.approx(min(0.75, 1.2 * (0.75 - narrow[0])))
    assert performance(one).brier == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
    assert performance(one).sensitivity == performance(one).specificity == 0.5
    assert better_than(one, one) == (0, 0, 0)


def test_calibration_of_probabilities_that_are_right():
    rng = np.random.default_rng(0)
    risk = rng.random(20_000) * 0.8 + 0.1
    outcome = rng.random(20_000) < risk
    found = performance(Validation(outcome[:5000], risk[None, :5000], np.zeros(5000), (), ()))
    assert found.calibration_slope == pytest.approx(1, abs=0.15)
    assert found.calibration_intercept == pytest.approx(0, abs=0.1)
    assert found.calibration_error < 0.03
    curve = calibration_curve(Validation(outcome, risk[None], np.zeros(20_000), (), ()))
    assert [point.patients for point in curve] == [4000] * 5
    for point in curve:
        assert point.ci95[0] < point.predicted < point.ci95[1]
    few = Validation(np.arange(50) % 10 == 0, np.linspace(0, 1, 50)[None], np.zeros(50), (), ())
    # Wilson's interval of 1 of 10 (Brown 2001, doi 10.1214/ss/1009213286): 1.8 to 40.4 %
    assert calibration_curve(few)[0].ci95 == pytest.approx((0.018, 0.404), abs=0.001)


def test_cross_validation_can_be_canceled():
    from MarrowAssessLib.prediction.training import Recipe

    with pytest.raises(InterruptedError, match=r"Cross-validation was canceled\."):
        validate(*noise_cohort(0), NAMES, [Recipe()], progress=lambda _: False)


# --- stability ---


def test_icc_of_the_published_table():
    """Six subjects, four judges: ICC(2,1) 0.29 (Shrout and Fleiss 1979, tables 2 and 4)."""
    table = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    found = icc_2_1(np.array(table, float))
    assert round(found.icc, 2) == 0.29
    assert (round(found.low, 2), round(found.high, 2)) == (0.02, 0.76)
    assert icc_2_1(np.array([[1.0, 1], [2, 2], [5, 5]])) == Agreement(1, 1, 1)
    with pytest.raises(ValueError, match="three regions and two variants; given were 2 and 3"):
        icc_2_1(np.array([[1.0, 5, 2], [2, 1, 9]]))


def test_a_feature_that_no_variant_changes_agrees_wholly():
    """Means of equal numbers are rounded, and so may scatter be that there is none of."""
    for variants in range(2, 8):
        same = np.repeat([[0.1], [0.2], [0.7], [0.3], [0.9]], variants, axis=1)
        assert icc_2_1(same) == Agreement(1, 1, 1)
        found = icc_2_1(same * (1 + 1e-9 * np.arange(variants)))
        assert (found.icc, found.low, found.high) == pytest.approx((1, 1, 1))


def test_features_that_do_not_stay_are_left_out(cohort, tmp_path, capsys):
    rng = np.random.default_rng(0)
    with open(tmp_path / "stability.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["subject", "region", "variant", NAMES[0], NAMES[1]])
        for region in range(8):
            for variant in range(4):
                steady = region + 0.01 * rng.normal()
                table.writerow(["X", f"R{region}", f"v{variant}", steady, rng.normal()])
    found = feature_stability([tmp_path / "stability.csv"])
    assert found[NAMES[0]].low > 0.9
    assert found[NAMES[1]].low < 0.5
    given = ["--outcomes", str(cohort[1]), "--outcome", "fracture", "--repeats", "1"]
    files = ["--stability", str(tmp_path / "stability.csv"), "--out", str(tmp_path / "s.json")]
    assert cli.main(["train", str(cohort[0]), *given, *files, "--permutations", "0"]) == 0
    assert "1 of 5 features are stable" in capsys.readouterr().out
    # what was not measured on images needs no stability, whatever its name
    before = cohort[1].read_text()
    with_column(cohort[1], "kyphotic_angle", [7 * row % 30 for row in range(30)])
    assert cli.main(["train", str(cohort[0]), *given, *files, "--permutations", "0"]) == 0
    assert "2 of 6 features are stable" in capsys.readouterr().out
    cohort[1].write_text(before)
    edit(tmp_path / "stability.csv", 0, NAMES[0], "")  # one region less, not one feature
    assert NAMES[0] in feature_stability([tmp_path / "stability.csv"])
    rows = read_table(tmp_path / "stability.csv")
    for row in range(len(rows)):
        edit(tmp_path / "stability.csv", row, NAMES[0], str(rng.normal()))
    assert cli.main(["train", str(cohort[0]), *given, *files, "--permutations", "0"]) == 2
    assert "No feature has an ICC of 0.75" in capsys.readouterr().err


def test_stability_of_few_regions_is_refused(tmp_path):
    (tmp_path / "s.csv").write_text("subject,region,variant,a\nX,R,v,1\nX,R,w,2\n")
    with pytest.raises(ValueError, match="1 regions have every variant"):
        feature_stability([tmp_path / "s.csv"])
    (tmp_path / "s.csv").write_text("subject,region,a\nX,R,1\n")
    with pytest.raises(ValueError, match=r"expected stability\.csv of"):
        feature_stability([tmp_path / "s.csv"])


def test_a_report_of_stability_and_repeated_scans(cohort, tmp_path, capsys):
    rng = np.random.default_rng(0)
    with open(tmp_path / "s.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["subject", "region", "variant", NAMES[0], NAMES[1]])
        table.writerows(
            ["X", f"R{region}", f"v{variant}", region + 0.01 * variant, rng.normal()]
            for region in range(8)
            for variant in range(4)
        )
    again = tmp_path / "again.csv"
    again.write_text(cohort[0].read_text())
    apart = np.array([[float(row[n]) for n in NAMES[:5]] for row in read_table(cohort[0])])
    moved = rng.normal(size=apart.shape)
    for row, values in enumerate(apart + moved):
        edit(again, row, NAMES[0], str(values[0]))
    run = ["stability", str(tmp_path / "s.csv"), "--repeats", str(cohort[0]), str(again)]
    out = tmp_path / "report.csv"
    for _ in range(2):  # its own report may be replaced
        assert cli.main([*run, "--out", str(out)]) == 0
        assert "1 of 2 features are stable" in capsys.readouterr().out
    found = {row["feature"]: row for row in read_table(out)}
    assert (found[NAMES[0]]["stable"], found[NAMES[1]]["stable"]) == ("yes", "no")
    within = np.sqrt(np.mean(moved[:, 0] ** 2) / 2)  # of pairs: half the squared difference
    assert float(found[NAMES[0]]["repeatability_coefficient"]) == pytest.approx(2.77 * within)
    assert found[NAMES[0]]["repeated_regions"] == "30"
    assert float(found[NAMES[2]]["within_sd"]) == 0
    assert cli.main([*run, "--out", str(again)]) == 2
    assert "was not made by this software" in capsys.readouterr().err
    assert cli.main([*run[:-1], "--out", str(out)]) == 2
    assert "No region of a patient was scanned twice" in capsys.readouterr().err
    for path in (cohort[0], again):
        with_column(path, "images", ["a1b2"] * 30)
    assert cli.main([*run, "--out", str(out)]) == 2
    assert "measured twice on the same image" in capsys.readouterr().err


# --- tables ---


def test_regions_of_a_patient_become_their_median(cohort):
    features, outcomes = cohort
    edit(features, 1, "subject", "P0")
    edit(features, 2, "subject", "P0")
    rows = read_table(outcomes)
    with open(outcomes, "w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(row for row in rows if row["subject"] not in ("P1", "P2"))
    found = cohort_table([features], outcomes, "fracture")
    own = [float(row[NAMES[0]]) for row in read_table(features)[:3]]
    assert found.values[0, 0] == np.median(own)
    assert found.scanners[:2] == ("A", "B")


@pytest.mark.parametrize(
    ("file", "row", "column", "text", "message"),
    [
        (0, 3, "PDFF_settings", "other bins", "PDFF was measured with other settings in 'P3 L3"),
        (0, 3, NAMES[0], "1;5", "'1;5' is not a number"),
        (0, 3, "subject", "", "names no subject"),
        (0, 3, "subject", "Q", "'Q' has features but no outcome"),
        (1, 3, "fracture", "2", "expected are 0 and 1 only"),
        (1, 3, "subject", "P2", "'P2' stands twice; keep one row"),
        (1, 3, "subject", "", "expected the columns subject and fracture"),
    ],
)
def test_tables_that_would_mislead_are_refused(cohort, file, row, column, text, message):
    edit(cohort[file], row, column, text)
    with pytest.raises(ValueError, match=message):
        cohort_table([cohort[0]], cohort[1], "fracture")


def test_leaks_are_refused(tmp_path):
    values, outcome = noise_cohort(0, patients=30, features=5)
    values[:, 4] = outcome
    features, outcomes = write_cohort(tmp_path, values, outcome)
    with pytest.raises(ValueError, match="F4 alone tells the classes apart without one exception"):
        cohort_table([features], outcomes, "fracture")
    values[:, 4] = np.arange(30)
    values[7] = values[3]
    features, outcomes = write_cohort(tmp_path, values, outcome)
    with pytest.raises(ValueError, match="'P3' and 'P7' have the same values"):
        cohort_table([features], outcomes, "fracture")
    with_column(outcomes, "age", range(30))  # other ages make no other patients
    with pytest.raises(ValueError, match="'P3' and 'P7' have the same values"):
        cohort_table([features], outcomes, "fracture")
    text = features.read_text().replace(NAMES[0], "fracture")
    features.write_text(text)
    with pytest.raises(ValueError, match="stands among the features"):
        cohort_table([features], outcomes, "fracture")


def with_column(path, name, texts):
    rows = read_table(path)
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, [*rows[0], name])
        table.writeheader()
        table.writerows(row | {name: text} for row, text in zip(rows, texts, strict=True))


def test_what_follows_from_the_outcome_is_refused_and_a_strong_feature_is_told(cohort):
    features, outcomes = cohort
    before = features.read_text(), outcomes.read_text()
    strong = [40 + row if row < 15 else 39 - row for row in range(30)]  # 15 cases come first
    for row, value in enumerate(strong):
        edit(features, row, NAMES[2], str(value))
    found = cohort_table([features], outcomes, "fracture")
    assert found.predictors == NAMES[:5]
    assert "F2 alone tells the classes apart without one exception; make sure" in found.notes[0]
    edit(features, 0, NAMES[2], "20")
    assert not cohort_table([features], outcomes, "fracture").notes
    for row in range(30):  # two levels are a word for the class, not a measurement
        edit(features, row, NAMES[2], "1" if row < 15 else "0")
    with pytest.raises(ValueError, match="F2 alone tells the classes apart"):
        cohort_table([features], outcomes, "fracture")
    features.write_text(before[0])
    with_column(outcomes, "days_in_hospital", strong)  # not measured on images
    with pytest.raises(ValueError, match="days_in_hospital alone tells the classes apart"):
        cohort_table([features], outcomes, "fracture")
    outcomes.write_text(before[1])
    for row in range(30):
        edit(outcomes, row, "scanner", "A" if row < 15 else "B")
    with pytest.raises(ValueError, match="the scanner tells the outcome"):
        cohort_table([features], outcomes, "fracture")
    edit(outcomes, 0, "scanner", "B")
    cohort_table([features], outcomes, "fracture")


def test_signals_over_a_tissue_that_few_patients_have_are_left_out_and_it_is_said(cohort):
    features, outcomes = cohort
    with_column(
        features, "T1_over_disc_ACUI", ["" if row < 12 else 7 * row % 30 for row in range(30)]
    )
    with_column(
        features, "T1_over_muscle_ACUI", ["" if row == 3 else 7 * row % 30 for row in range(30)]
    )
    found = cohort_table([features], outcomes, "fracture")
    assert found.notes == ("T1_over_disc is left out: it is missing in 40 % of the patients.",)
    assert found.predictors == (*NAMES[:5], "T1_over_muscle_ACUI")
    # a file that begins without the columns does not hide them
    lines = features.read_text().splitlines(keepends=True)
    other = features.with_name("other.csv")
    other.write_text("".join([lines[0], *lines[10:]]))
    rows = [line.rsplit(",", 2)[0] + "\n" for line in lines[:10]]
    features.write_text("".join(rows))
    found = cohort_table([features, other], outcomes, "fracture")
    assert "T1_over_muscle is left out: it is missing in 30 %" in found.notes[1]


def test_tissues_are_not_mixed_in_a_patient(cohort, score):
    features, outcomes = cohort
    plain = cohort_table([features], outcomes, "fracture")
    rows = read_table(features)
    muscle = [row | {"region": "psoas", "tissue": "muscle", NAMES[0]: "900"} for row in rows]
    with open(features, "w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows + muscle)
    found = cohort_table([features], outcomes, "fracture")
    assert found.notes == ("Regions of muscle are left out; patients compare by marrow.",)
    np.testing.assert_array_equal(found.values, plain.values)
    assert cohort_table([features], outcomes, "fracture", "muscle").settings == plain.settings
    with pytest.raises(ValueError, match="No region is of disc, only of marrow, muscle"):
        cohort_table([features], outcomes, "fracture", "disc")
    given = patient(PDFF_original_F0="3", age="50") | {"tissue": "marrow"}
    (alone,) = scored(score, [given])
    (one,) = scored(score, [given, given | {"tissue": "muscle", "PDFF_original_F0": "900"}])
    assert one == alone


def test_what_is_told_of_patients_who_are_not_alike(cohort):
    features, outcomes = cohort
    edit(features, 4, "site", "T12")
    with open(outcomes, "a") as file:
        file.write("Q,1,A\n")
    without, sites = cohort_table([features], outcomes, "fracture").notes
    assert without == "1 patients of the outcome table have no features."
    assert sites.startswith("Patients were measured at different sites")


def test_sex_is_told_in_letters_and_an_infinite_value_is_missing(cohort):
    features, outcomes = cohort
    with_column(outcomes, "sex", ["F", "m", *"MF" * 14])
    edit(features, 3, NAMES[0], "inf")
    found = cohort_table([features], outcomes, "fracture")
    assert found.values[:4, -1].tolist() == [0, 1, 1, 0]
    assert np.isnan(found.values[3, 0])
    people = population(found)
    assert people == {"sex": {"F": 15, "M": 15}, "scanner": {"A": 15, "B": 15}}
    with_column(features, "sex", range(30))
    with pytest.raises(ValueError, match="sex stands in both tables; keep one"):
        cohort_table([features], outcomes, "fracture")


def test_a_value_that_is_missing_in_one_class_only_is_refused(tmp_path):
    values, outcome = noise_cohort(0, patients=60, features=3)
    outcome[:] = np.arange(60) < 10
    features, outcomes = write_cohort(tmp_path, values, outcome)
    for row in range(10):
        edit(features, row, NAMES[1], "")
    with pytest.raises(ValueError, match="F1 is missing in one class and in no other"):
        cohort_table([features], outcomes, "fracture")


def test_one_image_under_two_names_is_refused(cohort):
    features, outcomes = cohort
    lines = features.read_text().splitlines()
    for n, line in enumerate(lines):
        lines[n] = line + (",images" if n == 0 else f",image{n} map{n}")
    lines[9] = lines[9].replace("map9", "map4")
    features.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="'P3' and 'P8' were measured on the same image"):
        cohort_table([features], outcomes, "fracture")
    features.write_text("\n".join(lines).replace("image9 map4", "image9 map9"))
    assert "images" not in cohort_table([features], outcomes, "fracture").predictors


def test_missing_and_malformed_columns(cohort, tmp_path):
    features, outcomes = cohort
    for row in range(12):
        edit(features, row, NAMES[1], "")
    with pytest.raises(ValueError, match="missing in 40 % of the patients"):
        cohort_table([features], outcomes, "fracture")
    (tmp_path / "bom.csv").write_text("﻿subject,a\nP0,1\n", encoding="utf-8")
    assert read_table(tmp_path / "bom.csv") == [{"subject": "P0", "a": "1"}]
    (tmp_path / "commas.csv").write_text("subject,a\nP0,1,5\n")
    with pytest.raises(ValueError, match="decimal points, not commas"):
        read_table(tmp_path / "commas.csv")
    (tmp_path / "empty.csv").write_text("subject,a\n")
    with pytest.raises(ValueError, match="a header and at least one row"):
        read_table(tmp_path / "empty.csv")
    (tmp_path / "latin.csv").write_bytes(b"subject,a\nM\xfcller,1\n")
    with pytest.raises(ValueError, match="no CSV file in UTF-8"):
        read_table(tmp_path / "latin.csv")
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n")
    with pytest.raises(ValueError, match="two columns have one name"):
        read_table(tmp_path / "twice.csv")


def test_an_outcome_of_one_class_is_refused(cohort):
    features, outcomes = cohort
    for row in range(30):
        edit(outcomes, row, "fracture", "1")
    with pytest.raises(ValueError, match="'fracture' is 1 in every patient"):
        cohort_table([features], outcomes, "fracture")


def test_constant_features_are_no_predictors(cohort):
    features, outcomes = cohort
    for row in range(30):
        for name in NAMES[:5]:
            edit(features, row, name, "1")
    edit(features, 0, NAMES[0], "2")
    for row in range(1, 30):
        edit(features, row, NAMES[1], str(7 * row % 30))
    found = cohort_table([features], outcomes, "fracture")
    assert found.predictors == NAMES[:2]


def test_patients_who_differ_in_nothing_are_refused():
    with pytest.raises(ValueError, match="No feature differs between the patients"):
        _without_empty(np.ones((30, 2)), list(NAMES[:2]))


# --- the file ---


@pytest.fixture
def score():
    tree = Tree(
        np.array([0, 0, 1, 0, 0]), np.array([0.5, 0, -1.0, 0, 0]), np.array([1, -1, 3, -1, -1]),
        np.array([2, -1, 4, -1, -1]), np.array([0.5, 0.1, 0.6, 0.3, 0.9]),
    )  # fmt: skip
    logistic = Model(("PDFF_original_F0", "age"), np.array([1.0, 50]), np.array([2.0, 10]),
                     np.array([1.0, 50]), np.array([0.7, -0.3]), 0.2)  # fmt: skip
    forest = dataclasses.replace(logistic, trees=(tree,), coefficients=np.zeros(2))
    ranges = np.array([[0.0, 5], [20, 80]])
    return Score("fracture", logistic, (logistic, forest), {"PDFF": SETTINGS}, ranges, {"n": 3})


def test_probabilities_by_hand(score):
    logistic, forest = score.fold_models
    expected = 1 / (1 + np.exp(-(0.7 * (3 - 1) / 2 - 0.3 * (60 - 50) / 10 + 0.2)))
    assert logistic.probability(np.array([[3.0, 60]]))[0] == pytest.approx(expected)
    values = np.array([[0.4, 0], [0.6, -2.0], [0.6, 0.0], [np.nan, np.nan]])
    assert forest.probability(values).tolist() == [0.1, 0.3, 0.9, 0.9]  # missing: 1 and 50


def test_a_file_gives_the_same_score_back(score, tmp_path):
    write_score(score, tmp_path / "s.json")
    again = read_score(tmp_path / "s.json")
    values = np.random.default_rng(0).normal(1, 5, (50, 2))
    for one, other in zip((score.model, *score.fold_models), (again.model, *again.fold_models),
                          strict=True):  # fmt: skip
        np.testing.assert_array_equal(one.probability(values), other.probability(values))
    assert card_lines({"n": 3}) == [] and card_lines({"context": PUBLISHED}) == [PUBLISHED]
    assert (again.outcome, again.settings, again.card) == ("fracture", score.settings, {"n": 3})


def broken(content, *keys, value):
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return content


def packed(*values):
    import base64

    return base64.b64encode(np.array(values, "<f8").tobytes()).decode()


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("format",), "marrowassess score 1", r"its format is '.* 1'; expected is"),
        (("model", "coefficients"), [0.7, float("nan")], "a coefficient or scale is not a number"),
        (("model", "scale"), [0.0, 1.0], "a coefficient or scale is not a number"),
        (("model", "fill"), [0.0], "one value for each predictor"),
        (("ranges",), [[0, float("nan")], [0, 1]], "a range is not a number"),
        (("ranges",), [[0, 1]], "one range for each predictor"),
        (("fold_models", 1, "trees", 0, "left"), packed(1, -1, 0, -1, -1), "a tree has a cycle"),
        (("fold_models", 1, "trees", 0, "right"), packed(2, -1, 9, -1, -1), "points outside"),
        (("fold_models", 1, "trees", 0, "feature"), packed(0, 0, 7, 0, 0), "predictor that is not"),
        (("fold_models", 1, "trees", 0, "value"), packed(1, 1, 1, 1, np.nan), "values are not num"),
        (("fold_models", 1, "trees", 0, "value"), packed(1, 1), "differ in length"),
        (("fold_models", 1, "trees", 0, "left"), packed(np.nan, 0), "nodes are no numbers"),
        (("model",), 7, "this is no score"),
    ],
)
def test_files_that_cannot_be_trusted_are_refused(score, tmp_path, keys, value, message):
    write_score(score, tmp_path / "s.json")
    content = broken(json.loads((tmp_path / "s.json").read_text()), *keys, value=value)
    (tmp_path / "s.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_score(tmp_path / "s.json")


def test_a_file_that_could_not_be_read_is_not_written(score, tmp_path, monkeypatch):
    monkeypatch.setattr(score_file, "LARGEST_BYTES", 1000)
    with pytest.raises(ValueError, match="the score takes 0 MB; 50 MB are the most"):
        write_score(score, tmp_path / "s.json")
    assert not list(tmp_path.iterdir())


def test_a_score_that_was_moved_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"s\.json: there is no such score; choose its"):
        read_score(tmp_path / "s.json")


def test_a_huge_file_is_not_read(tmp_path):
    with open(tmp_path / "s.json", "wb") as file:
        file.truncate(60_000_000)
    with pytest.raises(ValueError, match="60 MB; a score has at most 50 MB"):
        read_score(tmp_path / "s.json")


def test_a_forest_equals_scikit_learns():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from MarrowAssessLib.prediction import training
    from sklearn.ensemble import RandomForestClassifier

    values, outcome = noise_cohort(1, effect=1.0, patients=80, features=6)
    model = training.train(values, outcome, NAMES[:6], training.Recipe(training.FOREST))
    theirs = RandomForestClassifier(
        training.TREES, min_samples_leaf=training.SMALLEST_LEAF, random_state=0
    ).fit(values, outcome)
    fresh, _ = noise_cohort(2, effect=1.0, patients=80, features=6)
    np.testing.assert_allclose(
        model.probability(fresh), theirs.predict_proba(fresh)[:, 1], atol=1e-12
    )


# --- for a patient ---


def patient(**values):
    return {"subject": "X", "PDFF_settings": SETTINGS, **values}


def test_a_patient_is_scored_with_what_limits_it(score):
    (one,) = scored(score, [patient(PDFF_original_F0="9", age="")])
    assert one.outside == ("PDFF_original_F0",)
    assert one.missing == ("age",)
    assert one.low <= one.probability <= one.high
    assert one.low == 0.9  # the forest of a fold
    with pytest.raises(ValueError, match="other settings"):
        scored(score, [patient(PDFF_original_F0="3") | {"PDFF_settings": "bins of 5"}])
    with pytest.raises(ValueError, match=r"other settings \(none are told\)"):
        scored(score, [{"subject": "X", "PDFF_original_F0": "3"}])
    with pytest.raises(ValueError, match="'X', age: 'old' is not a number"):
        scored(score, [patient(age="old")])
    with pytest.raises(ValueError, match="none of the score's predictors"):
        scored(score, [patient()])


def study_with_texture(age=55.0):
    """Two bodies and muscle on T1, and the rows that a cohort would hold of them."""
    rng = np.random.default_rng(0)
    array = rng.normal(100, 10, (4, 40, 40))
    boxes = {"L3": np.s_[:, 2:18, 2:18], "L4": np.s_[:, 22:38, 2:18], "": np.s_[:, 2:38, 25:38]}
    regions = []
    for site, box in boxes.items():
        mask = np.zeros(array.shape, bool)
        mask[box] = True
        role = Role.MARROW if site else Role.MUSCLE
        regions.append(Region.from_mask(f"{site} {role.value}".strip(), role, site, mask))
    volume = Volume(array, np.diag([0.7, 0.7, 4.0, 1.0]), "T1")
    study = Study({Contrast.T1: volume}, regions, age, "F")
    rows = [r for r in radiomics_rows(study.volumes, regions) if r.tissue == "marrow"]
    return study, rows


def score_on(rows, *names):
    """A score whose probability of the first predictor's value can be told by hand."""
    n = len(names)
    model = Model(names, np.zeros(n), np.ones(n), np.zeros(n), np.r_[0.5, np.zeros(n - 1)])
    other = dataclasses.replace(model, intercept=1.0)
    ranges = np.tile([-1.0, 1e9], (n, 1))
    return Score("fracture", model, (other,), dict(rows[0].settings), ranges, {"summary": "AUC"})


def test_a_report_gives_the_score_of_its_own_regions(tmp_path):
    study, rows = study_with_texture()
    names = "T1_over_muscle_8ZQL", "T1_original_ACUI", "age", "sex"
    own = float(np.median([row.values[names[0]] for row in rows]))
    assessment = assess(study, Settings(scores=(score_on(rows, *names),)))
    (one,) = assessment.scores
    assert one.probability == pytest.approx(1 / (1 + np.exp(-0.5 * own)))
    assert (one.low, one.high) == pytest.approx((one.probability, 1 / (1 + np.exp(-0.5 * own - 1))))
    assert not one.missing and not one.outside
    write_html(assessment, [], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert f"<b>{one.text}</b>" in page and NO_DIAGNOSIS in page
    assert any(f"Score of your own training: {one.text}" in line for line in notes(assessment))
    assert as_dict(assessment, [])["scores"][0]["probability"] == one.probability
    study.regions[0].doubtful = True
    own = rows[1].values[names[0]]
    (one,) = assess(study, Settings(scores=(score_on(rows, *names),))).scores
    assert one.probability == pytest.approx(1 / (1 + np.exp(-0.5 * own)))


def test_scores_that_no_report_shows(monkeypatch):
    study, rows = study_with_texture()
    good = score_on(rows, "T1_original_ACUI")
    few = dataclasses.replace(good, exploratory="exploratory: 60 of 900 patients needed")
    with pytest.raises(ValueError, match="60 of 900 patients needed; no patient's report shows it"):
        assess(study, Settings(scores=(few,)))

    def said(score):
        assessment = assess(study, Settings(scores=(score,)))
        assert not assessment.scores
        return assessment.notes[0]

    other = dataclasses.replace(good, settings={"T1": "voxels 1 x 1 x 1 mm"})
    assert (
        "The score for fracture is not given. T1 of 'this patient' was measured with other"
        in said(other)
    )
    of_fat = dataclasses.replace(good, tissue="fat")
    assert said(of_fat).endswith("There is no region of fat that can be relied on.")
    for name in ("T1_LawsE5L5S5_ACUI", "T1_Gabor3mm6mm1_ACUI"):
        asked = said(score_on(rows, "T1_original_ACUI", name))
        assert "of Laws or Gabor filters; measure them by `marrowassess radiomics`" in asked
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    filtered = score_on(rows, "T1_LoG1mm_ACUI")
    assert "need PyWavelets; install it with: pip install" in said(filtered)


def test_training_and_scoring_by_command(tmp_path, capsys, monkeypatch):
    features, outcomes = write_cohort(tmp_path, *noise_cohort(4, 1.2, patients=60, features=12))
    out = tmp_path / "score.json"
    few = ["--repeats", "1", "--permutations", "3", "--out", str(out)]
    train = ["train", str(features), "--outcomes", str(outcomes), "--outcome", "fracture", *few]
    assert cli.main(train) == 0
    printed = capsys.readouterr().out
    assert "in patients the model never saw" in printed
    assert "too narrow" not in printed
    assert "This score is exploratory: 60 of" in printed
    card = json.loads(out.read_text())["card"]
    assert card["permutation_p"] == pytest.approx(0.25)  # of 3 none reached it
    assert set(card["by_scanner"]) == set(card["scanner_left_out"]) == {"A", "B"}
    assert all(0.5 < one <= 1 for one in card["scanner_left_out"].values())
    assert "chosen_by_hand" not in card
    assert "1 repeat," in card["validation"]
    assert sum(point["patients"] for point in card["calibration_curve"]) == 60
    assert "P0" not in out.read_text()  # no patient's name
    assert cli.main(["score", str(features), "--score", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "exploratory" in printed
    assert printed.count(" for fracture") == 60
    assert "trained on 60 patients, 30 with the outcome, from 12 candidate predictors" in printed
    assert "scanner: A 30, B 30" in printed and "calibration slope" in printed
    given = ["assess", "--volume", "T1=none.nii", "--score", str(out), "--out", str(tmp_path)]
    assert cli.main(given) == 2
    assert "no patient's report shows it" in capsys.readouterr().err
    assert cli.main([*train, "--predictors", *NAMES[:3]]) == 0
    assert "predictors were named by hand" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert cli.main([*train, "--method", "forest"]) == 2
    assert "A forest needs scikit-learn; install it with: pip" in capsys.readouterr().err
    assert cli.main([*train[:-1], str(outcomes)]) == 2
    assert "outcomes.csv exists and is no score" in capsys.readouterr().err
    assert cli.main([*train, "--predictors", "height"]) == 2
    assert "No column is called height" in capsys.readouterr().err


@pytest.mark.parametrize("told_by", ["PDFF_original_Q4LE", NAMES[1]])
def test_a_score_that_does_not_beat_the_mean_pdff_says_so_first(tmp_path, capsys, told_by):
    values, outcome = noise_cohort(5, patients=60, features=6)
    columns = ["PDFF_original_Q4LE", *NAMES[1:6]]
    values[outcome, columns.index(told_by)] += 2
    features, outcomes = write_cohort(tmp_path, values, outcome)
    features.write_text(features.read_text().replace(NAMES[0] + ",", columns[0] + ",", 1))
    out = tmp_path / "score.json"
    few = ["--repeats", "2", "--permutations", "0", "--out", str(out)]
    given = ["train", str(features), "--outcomes", str(outcomes), "--outcome", "fracture", *few]
    assert cli.main(given) == 0
    first = json.loads(out.read_text())["card"]["summary"]
    assert first.startswith("Not shown to be better: ") == (told_by == columns[0])
    assert ("in AUC against mean PDFF alone" in first) == (told_by == columns[0])
    assert first in capsys.readouterr().out


@pytest.mark.parametrize("stage", ["Cross-validation 0 %", "Permutations 0 %"])
def test_a_kill_during_training_leaves_nothing(tmp_path, stage):
    features, outcomes = write_cohort(tmp_path, *noise_cohort(4, patients=30, features=5))
    (tmp_path / "out").mkdir()
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from MarrowAssessLib.commands.main import main\nsys.exit(main(sys.argv[1:]))"
    )
    given = [str(features), "--outcomes", str(outcomes), "--outcome", "fracture"]
    repeats = ["--repeats", "1" if "Perm" in stage else "1000", "--permutations", "10000"]
    out = ["--out", str(tmp_path / "out" / "score.json")]
    with subprocess.Popen(
        [sys.executable, "-c", code, "train", *given, *repeats, *out],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as running:
        for line in running.stderr:
            if stage in line:
                break
        running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    assert list((tmp_path / "out").iterdir()) == []
