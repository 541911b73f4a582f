"""Change between visits against measurement error: rates, bounds, refusals, what is written."""

import csv
import json
import math

import numpy as np
import pytest
from MarrowAssessLib.commands.main import main
from MarrowAssessLib.findings.follow_up import (
    DECREASE,
    INCREASE,
    NOT_COMPARABLE,
    WITHIN,
    MeasurementError,
    error_of_pairs,
    follow_up,
    judged,
    published_error,
)

PAIRS = 10_000


def flags(first, second, error):
    """Shares of pairs that are flagged; as `judged`, which the next test holds against it."""
    from scipy.stats import t

    difference = np.log(second / first) if error.proportional else second - first
    return np.abs(difference) > t.ppf(0.975, error.n) * math.sqrt(2) * error.sd


@pytest.mark.parametrize("proportional", [False, True])
def test_one_in_twenty_is_flagged_without_change_and_four_in_five_of_true_ones(proportional):
    rng = np.random.default_rng(3)
    error = MeasurementError(0.08 if proportional else 1.7, proportional, 10**6, "simulated")
    noise = error.sd * rng.standard_normal((PAIRS, 2))
    values = 40 * np.exp(noise) if proportional else 40 + noise
    flagged = flags(*values.T, error)
    assert 0.045 <= flagged.mean() <= 0.055
    for (first, second), one in zip(values[:300], flagged, strict=False):
        assert (judged(first, second, error)[-1] != WITHIN) == one
    reach = 1.5 * 1.96 * math.sqrt(2) * error.sd
    moved = values[:, 1] * math.exp(reach) if proportional else values[:, 1] + reach
    assert flags(values[:, 0], moved, error).mean() >= 0.8


@pytest.mark.parametrize("pairs", [10, 20, 35])
def test_an_error_from_few_pairs_flags_no_more_often(pairs):
    rng = np.random.default_rng(pairs)
    flagged = []
    for _ in range(100):
        error = error_of_pairs(rng.normal(50, 2, (pairs, 2)), "own")
        error = MeasurementError(error.sd, False, error.n, "") if not error.proportional else error
        flagged.append(flags(*rng.normal(50, 2, (PAIRS, 2)).T, error).mean())
    assert np.mean(flagged) == pytest.approx(0.05, abs=0.009)


def test_bounds_are_those_of_the_closed_form():
    cv = 0.145  # ADC of lesions: +49 / -33 %
    error = MeasurementError(math.sqrt(math.log1p(cv**2)), True, 10**6, "")
    low, high, _, _ = judged(100, 100, error)
    assert (round(high - 100), round(100 - low)) == (49, 33)
    error = MeasurementError(1.7, False, 10**6, "")
    low, high, p, verdict = judged(30, 36, error)
    assert (low, high) == pytest.approx((30 - 4.712, 30 + 4.712), abs=0.001)
    assert verdict == INCREASE and p == pytest.approx(0.0126, abs=0.0001)
    assert judged(30, 36, error, (3, 3))[-1] == WITHIN  # the regions' own intervals are wider
    assert judged(36, 30, error)[-1] == DECREASE


def test_published_errors_are_those_that_were_read():
    assert published_error("marrow_pdff").sd == pytest.approx(0.0216, abs=0.0002)
    assert published_error("muscle_pdff") is None  # an ICC is no error
    assert published_error("marrow_suv") is None


def test_own_pairs_choose_their_kind_and_are_refused_where_they_tell_nothing():
    rng = np.random.default_rng(0)
    level = rng.uniform(10, 90, 200)
    pairs = level[:, None] * np.exp(0.1 * rng.standard_normal((200, 2)))
    grows = error_of_pairs(pairs, "own")
    assert grows.proportional and grows.sd == pytest.approx(0.1, rel=0.15)
    with pytest.raises(ValueError, match="10 or more are expected"):
        error_of_pairs(pairs[:9], "own")
    with pytest.raises(ValueError, match="all repeated values are equal, so they tell no error"):
        error_of_pairs(np.full((10, 2), 5.0), "own")


def visit(age=50.0, sex="F", **values):
    """An assessment as in assessment.json, as far as it is read here."""
    return {
        "schema": "marrowassess-assessment-1",
        "patient": {"age_years": age, "sex": sex, "subject": "Mueller"},
        "settings": {"erosion_mm": 0.0, "n4": False},
        "measurements": [
            {"quantity": quantity, "site": "L3", "value": value, "ci95": None, "doubtful": [],
             "how": "", "statistics": {"volume_mm3": 1000.0}}
            for quantity, value in values.items()
        ],
    }  # fmt: skip


def written(folder, *visits):
    paths = []
    for n, one in enumerate(visits):
        paths.append(folder / f"visit_{n}.json")
        paths[-1].write_text(json.dumps(one))
    return [str(path) for path in paths]


def test_command_writes_table_and_page_without_names(tmp_path, capsys):
    files = written(
        tmp_path,
        visit(marrow_pdff=40.0, marrow_r2star=60.0, marrow_d=0.5),
        visit(50.3, marrow_pdff=46.0, marrow_r2star=61.0, marrow_d=0.5),
    )
    out = tmp_path / "out"
    assert main(["follow-up", *files, "--days", "0,90", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "L3 Marrow PDFF: increase from 40.0 % to 46.0 % in 90 days" in printed
    assert "2 compared, 1 beyond measurement error (0.1 expected by chance; 1 stand" in printed
    with (out / "follow_up.csv").open(newline="") as stream:
        rows = {row["quantity"]: row for row in csv.DictReader(stream)}
    assert [rows[q]["verdict"] for q in ("marrow_pdff", "marrow_r2star", "marrow_d")] == [
        INCREASE, WITHIN, NOT_COMPARABLE,
    ]  # fmt: skip
    assert rows["marrow_d"]["reason"] == "no repeatability is known of this quantity"
    page = (out / "follow_up.html").read_text()
    assert "increase (stands among all)" in page and "within-subject CV 2.16 %" in page
    assert not any("Mueller" in path.read_text() for path in out.iterdir())

    own = tmp_path / "own.csv"
    lines = [f"{n},marrow_pdff,L3,40,{40 + (-1) ** n * 6}" for n in range(12)]
    own.write_text("\n".join(["subject,quantity,site,value1,value2", *lines]))
    command = ["follow-up", *files, "--days", "0,90", "--out", str(out)]
    assert main([*command, "--repeatability", str(own)]) == 0
    assert "0 beyond measurement error" in capsys.readouterr().out


def test_what_cannot_be_compared_says_why():
    first = visit(marrow_pdff=40.0)

    def reason(**changes):
        second = visit(marrow_pdff=60.0)
        settings = changes.pop("settings", {})
        second["measurements"][0] |= changes
        second["settings"] |= settings
        (change,) = follow_up([first, second], [0, 30])
        assert change.verdict == NOT_COMPARABLE and math.isnan(change.p)
        return change.reason

    assert (
        reason(settings={"n4": True}) == "erosion or coil correction (N4) differ between the visits"
    )
    assert reason(doubtful=["L3 marrow"]) == "a region may be another structure"
    assert reason(how="bins of 5") == "it was measured with other settings"
    assert reason(statistics={"volume_mm3": 2500.0}).startswith("the region's volume differs")
    assert reason(value=None) == "a value is missing"
    assert reason(value=-1.0).startswith("the error is proportional")


def test_holm_keeps_what_stands_among_all():
    first = visit(marrow_pdff=40.0, marrow_r2star=60.0, marrow_adc=0.9)
    for value, stands in ((43.0, False), (45.0, True)):
        now = visit(marrow_pdff=value, marrow_r2star=60.5, marrow_adc=0.9)
        pdff, r2star, _ = follow_up([first, now], [0, 9])
        assert (pdff.verdict, pdff.adjusted, r2star.adjusted) == (INCREASE, stands, False)


def refused(arguments, capsys):
    capsys.readouterr()
    assert main(arguments) == 2
    return capsys.readouterr().err


def test_refusals(tmp_path, capsys):
    one, two = written(tmp_path, visit(marrow_pdff=40.0), visit(50.1, marrow_pdff=41.0))
    out = ["--out", str(tmp_path / "out")]
    assert "1 assessments and 1 days were given" in refused(
        ["follow-up", one, "--days", "0", *out], capsys
    )
    for days in ("0,0", "9,3"):
        assert "The days of the visits must rise" in refused(
            ["follow-up", one, two, "--days", days, *out], capsys
        )
    assert "numbers with commas are expected" in refused(
        ["follow-up", one, two, "--days", "0,x", *out], capsys
    )
    for n, other in enumerate((visit(50, "M", marrow_pdff=1.0), visit(62, marrow_pdff=1.0))):
        (folder := tmp_path / str(n)).mkdir()
        (path,) = written(folder, other)
        assert "are of different persons" in refused(
            ["follow-up", one, path, "--days", "0,30", *out], capsys
        )
    (folder := tmp_path / "old").mkdir()
    (old,) = written(folder, visit() | {"schema": "marrowassess-assessment-0"})
    assert "assess the images again with this version" in refused(
        ["follow-up", one, old, "--days", "0,30", *out], capsys
    )
    (folder := tmp_path / "nothing").mkdir()
    (path,) = written(folder, visit(vbq=2.0))
    assert "no quantity at one site in common" in refused(
        ["follow-up", one, path, "--days", "0,30", *out], capsys
    )
    table = tmp_path / "own.csv"
    for content, words in (
        ("subject,quantity\n", "is missing; expected are"),
        ("subject,quantity,site,value1,value2\n1,marrow_pdff,L3,x,4\n", "and two numbers are"),
    ):
        table.write_text(content)
        command = ["follow-up", one, two, "--days", "0,30", "--repeatability", str(table), *out]
        assert words in refused(command, capsys)
    assert not (tmp_path / "out").exists()


def test_of_two_regions_at_one_site_those_of_one_name_are_compared():
    def two(marrow, lesion):
        made = visit(marrow_pdff=marrow)
        other = visit(marrow_pdff=lesion)["measurements"][0]
        made["measurements"][0]["measured"] = ["L3 marrow"]
        made["measurements"].append(other | {"measured": ["L3 marrow lesion"]})
        return made

    changes = follow_up([two(40.0, 5.0), two(40.5, 5.1)], [0, 90])
    assert [(one.first, one.second) for one in changes] == [(40.0, 40.5), (5.0, 5.1)]
    assert {one.verdict for one in changes} == {"within error"}
    one_less = two(40.5, 5.1)
    del one_less["measurements"][0]
    assert [(c.first, c.second) for c in follow_up([two(40.0, 5.0), one_less], [0, 90])] == [
        (5.0, 5.1)
    ]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"patient": 7}, "who the patient is"),
        ({"patient": {"sex": None, "age_years": "old"}}, "the patient's age"),
        ({"settings": {}}, "its settings"),
        ({"measurements": {"a": 1}}, "its measurements"),
        ({"measurements": [1]}, "measurement 1"),
        ({"measurements": [{"quantity": "x"}]}, "measurement 1"),
    ],
)
def test_a_damaged_assessment_says_what_is_damaged(tmp_path, capsys, change, fault):
    one, two = written(tmp_path, visit(marrow_pdff=40.0) | change, visit(marrow_pdff=41.0))
    command = ["follow-up", one, two, "--days", "0,30", "--out", str(tmp_path / "out")]
    assert f"this assessment is damaged ({fault})" in refused(command, capsys)


def test_a_value_that_is_no_number_is_damage(tmp_path):
    from MarrowAssessLib.findings.follow_up import fault_of

    for key, value in (
        ("value", "40"), ("value", math.nan), ("ci95", [1]), ("ci95", ["a", "b"]), ("site", 3),
        ("statistics", {"volume_mm3": None}), ("measured", "L3"), ("doubtful", "no"),
    ):  # fmt: skip
        damaged = visit(marrow_pdff=40.0)
        assert fault_of(damaged) == ""
        damaged["measurements"][0] |= {key: value}
        assert fault_of(damaged) == "measurement 1"


def test_the_response_of_lesions_is_told_beside_its_error():
    (change,) = follow_up([visit(global_adc=0.8), visit(global_adc=1.2)], [0, 90], {})
    assert change.verdict == NOT_COMPARABLE
    assert "+50 %): criteria of RAC 1" in change.reason and "measurement error" in change.reason
