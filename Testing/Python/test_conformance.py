"""A phantom's report against closed forms, and the whole command on maps of known truth."""

import csv
import json
import math

import numpy as np
import pytest
from MarrowAssessLib.commands.main import main
from MarrowAssessLib.report.conformance_text import claims, conformance_text, judged, spectrum_notes
from MarrowAssessLib.sources.vials import Vial, measured
from MarrowAssessLib.statistics.conformance import conformance, reproducibility
from MarrowAssessLib.statistics.repeatability import repeatability
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.volume import Volume
from scipy import stats

TRUTH = np.array([0.0, 10.0, 20.0, 40.0, 60.0, 80.0])
ZERO_MEAN = np.array([0.2, -0.2, 0.1, -0.1, 0.3, -0.3])


def test_a_line_is_found_again_with_its_bias():
    found = conformance(TRUTH, {"A": [0.98 * TRUTH + 1.5]}).by_condition["A"]
    assert found.slope.value == pytest.approx(0.98) and found.r_squared == pytest.approx(1)
    assert found.intercept.value == pytest.approx(1.5)
    assert found.bias.value == pytest.approx(1.5 - 0.02 * TRUTH.mean())
    assert found.slope.low == pytest.approx(0.98, abs=1e-9)
    single = conformance(TRUTH, {"A": [TRUTH]})
    assert claims(single) == ["None: claims of change need repeated scans or several conditions."]


def test_bias_and_line_have_the_intervals_of_the_textbook():
    measured = TRUTH + 0.5 + ZERO_MEAN
    found = conformance(TRUTH, {"A": [measured]}).by_condition["A"]
    expected = stats.ttest_1samp(measured - TRUTH, 0).confidence_interval(0.95)
    assert (found.bias.low, found.bias.high) == pytest.approx(tuple(expected))
    line = stats.linregress(TRUTH, measured)
    reach = stats.t.ppf(0.975, len(TRUTH) - 2)
    assert found.slope.high == pytest.approx(line.slope + reach * line.stderr)
    assert found.intercept.low == pytest.approx(line.intercept - reach * line.intercept_stderr)
    assert found.r_squared == pytest.approx(line.rvalue**2)
    half = 1.96 * ZERO_MEAN.std(ddof=1)
    assert found.limits == pytest.approx((0.5 - half, 0.5 + half))
    assert found.p_quadratic > 0.05


def test_a_curve_is_no_line():
    curved = TRUTH - 0.002 * TRUTH * (80 - TRUTH) + 0.1 * ZERO_MEAN
    found = conformance(TRUTH, {"A": [curved]})
    assert found.overall.p_quadratic < 0.001
    assert "The relation is curved" in conformance_text(found, [], [])


def test_repeats_that_differ_by_a_known_amount():
    """Differences of +-d between two scans: wSD is d / sqrt 2, RC is 1.96 d."""
    half = 0.2 * np.array([1, -1, 1, -1, 1, -1])
    found = conformance(TRUTH, {"A": [TRUTH + half, TRUTH - half]})
    assert found.repeatability.rc == pytest.approx(1.96 * 0.4)
    df = len(TRUTH)
    low, high = (math.sqrt(df / stats.chi2.ppf(q, df)) for q in (0.975, 0.025))
    assert found.repeatability.rc_low == pytest.approx(1.96 * 0.4 * low)
    assert found.repeatability.rc_high == pytest.approx(1.96 * 0.4 * high)
    assert found.scan_shift.value == pytest.approx(0) and found.reproducibility is None
    assert "A measured change of 0.78 points or more on one scanner" in claims(found)[0]
    text = conformance_text(found, [], [])
    assert "Reproducibility: not told; it needs scans that differ of two NAMEs" in text
    assert "Limits of a profile are those that you give." in text
    assert "of 1 condition; nothing is said outside of that range." in text


def test_scanners_that_differ_by_a_known_amount():
    """Two scanners apart by d for every vial: RDC is 1.96 d; interval of one df."""
    found = conformance(TRUTH, {"A": [TRUTH], "B": [TRUTH + 0.6]})
    assert found.reproducibility.rdc.value == pytest.approx(1.96 * 0.6)
    high = 1.96 * 0.6 / math.sqrt(stats.chi2.ppf(0.025, 1))
    assert found.reproducibility.rdc.high == pytest.approx(high)
    assert found.repeatability is None and found.overall.bias.value == pytest.approx(0.3)
    assert "between the conditions" in claims(found)[0]
    text = conformance_text(found, [], [])
    assert "Repeatability: not told; it needs two scans that differ of one NAME" in text


def test_of_what_differs_vial_by_vial_a_part_is_the_mean_s():
    """Two scanners apart by +-d in turn, six vials: each of the two lies d / 2 from their mean."""
    d = 0.6 * np.array([1, -1, 1, -1, 1, -1])
    found = conformance(TRUTH, {"A": [TRUTH], "B": [TRUTH + d]}).reproducibility
    own = 12 * 0.3**2 / 5  # squares over the degrees of freedom, 1 x 5
    assert found.sd == pytest.approx(math.sqrt(own * 5 / 6))
    assert found.rdc.value == pytest.approx(1.96 * math.sqrt(2) * found.sd)


def test_reproducibility_is_the_sd_of_one_measurement_and_its_interval_covers():
    """Scanner .5, scanner by vial .3, scan .2 points: SD .616; 600 phantoms."""
    rng = np.random.default_rng(1)
    true = 1.96 * math.sqrt(2 * (0.5**2 + 0.3**2 + 0.2**2))
    scans = TRUTH + rng.normal(0, 0.2, (600, 5, 2, 6)) + rng.normal(0, 0.3, (600, 5, 1, 6))
    scans += rng.normal(0, 0.5, (600, 5, 1, 1))
    squares, covered = [], []
    for one in scans:
        within = repeatability(one.swapaxes(1, 2).reshape(-1, 2))
        rdc = reproducibility(one.mean(axis=1), [2] * 5, within).rdc
        squares.append(rdc.value**2)
        covered.append(rdc.low <= true <= rdc.high)
    assert math.sqrt(np.mean(squares)) == pytest.approx(true, rel=0.05)
    assert 0.93 < np.mean(covered) < 0.985


def test_scans_that_differ_as_a_whole_are_told():
    found = conformance(TRUTH, {"A": [TRUTH, TRUTH + 1 + 0.1 * ZERO_MEAN]})
    text = conformance_text(found, [], [])
    assert "The scans differ as a whole: vials are no independent repeats" in text


def test_requirements_are_judged_by_the_ends_of_intervals():
    half = 0.1 * np.array([1, -1, 1, -1, 1, -1])
    found = conformance(TRUTH, {"A": [TRUTH + 0.3 + half, TRUTH + 0.3 - half], "B": [TRUTH]})
    rows = {row["requirement"]: row["met"] for row in judged(found, 0.31, 0.5, 0.5)}
    assert rows["A: bias within -0.31 to 0.31 points"]
    assert rows["A: slope within 0.95 to 1.05"] and rows["B: R^2 above 0.9"]
    assert not rows["RC up to 0.5 points"]  # .39, but its interval ends above
    assert found.repeatability.rc < 0.5 < found.repeatability.rc_high
    assert not rows["RDC up to 0.5 points"]
    steep = judged(conformance(TRUTH, {"A": [1.06 * TRUTH]}), None, None, None)
    assert [row["met"] for row in steep] == [False, True]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ((0.0, None, None), "expected are percentage points above 0"),
        ((None, 1.0, None), "--max-rc needs two scans that differ of one NAME"),
        ((None, None, 1.0), "--max-rdc needs scans that differ of two NAMEs"),
    ],
)
def test_limits_that_cannot_be_judged(limits, words):
    with pytest.raises(ValueError, match=words):
        judged(conformance(TRUTH, {"A": [TRUTH]}), *limits)


def test_spectra_are_told():
    assert not spectrum_notes(["hernando_phantom", "hernando_phantom"])
    assert "'ren_marrow', which is of tissue" in spectrum_notes(["ren_marrow"])[0]
    assert "is not recorded; one that is not the vials' own" in spectrum_notes([""])[0]
    assert (
        "different fat spectra (unknown, hernando_phantom)"
        in spectrum_notes(["", "hernando_phantom"])[-1]
    )


@pytest.mark.parametrize(
    ("truth", "measured", "words"),
    [
        ([0, 50, 50], {"A": [[0, 50, 50]]}, "2 different true values are given"),
        ([0, 50, 60], {"A": [[0, 50]]}, "one measured PDFF for each vial"),
        ([0, 50, 60], {"A": [[0, 50, np.nan]]}, "one measured PDFF for each vial"),
        ([0, 50, 60], {}, "one measured PDFF for each vial"),
    ],
)
def test_what_cannot_be_compared(truth, measured, words):
    with pytest.raises(ValueError, match=words):
        conformance(truth, measured)


@pytest.fixture
def phantom(tmp_path):
    """Six vials of 20 x 20 voxels, two scans of one scanner and one of another .4 points above."""
    rng = np.random.default_rng(0)
    labels = np.zeros((2, 30, 200), np.uint8)
    for n in range(6):
        labels[:, 5:25, 30 * n + 5 : 30 * n + 25] = n + 1
    truth = np.r_[0, TRUTH][labels]
    ijk_to_ras = np.diag([2.0, 2.0, 5.0, 1.0])
    write_volume(Volume(labels, ijk_to_ras), tmp_path / "vials.nrrd")
    for name, shift in (("a1", 0.0), ("a2", 0.0), ("b", 0.4)):
        pdff = (truth + shift + rng.normal(0, 1, labels.shape)).astype(np.float32)
        pdff[0, 6, 6] = np.nan
        write_volume(Volume(pdff, ijk_to_ras), tmp_path / f"{name}.nrrd")
    lines = [f"{n},{pdff:g}" for n, pdff in enumerate(TRUTH, 1)]
    (tmp_path / "vials.csv").write_text("label,pdff\n" + "\n".join(lines) + "\n")
    return tmp_path


def command(folder, *more, scans=("A=a1.nrrd", "A=a2.nrrd", "B=b.nrrd"), vials=("vials.nrrd",)):
    arguments = ["conformance", "--truth", str(folder / "vials.csv"), "--out", str(folder / "out")]
    for scan in scans:
        name, parted, file = scan.partition("=")
        arguments += ["--scan", f"{name}{parted}{folder / file if parted else ''}"]
    for file in vials:
        arguments += ["--vials", str(folder / file)]
    return main([*arguments, *more])


def test_command(phantom, capsys):
    assert command(phantom, "--max-bias", "0.6", "--max-rc", "0.5") == 0
    printed = capsys.readouterr().out
    assert "6 vials of 0 to 80 %, 3 scans of 2 conditions" in printed
    assert "met: B: bias within -0.6 to 0.6 points" in printed
    assert "The fat spectrum of a map is not recorded" in printed
    for published in (
        "Oil-water vials of 0-100 %",
        "Agar vials, four sites",
        "Vials of PDFF 0-30 %",
        "Liver against spectroscopy",
    ):
        assert published in printed
    assert {file.name for file in (phantom / "out").iterdir()} == {
        "conformance.json", "conformance.txt", "conformance.svg"
    }  # fmt: skip
    record = json.loads((phantom / "out" / "conformance.json").read_text())
    result = record["result"]
    assert result["by_condition"]["B"]["bias"]["value"] == pytest.approx(0.4, abs=0.06)
    assert result["reproducibility"]["rdc"]["value"] == pytest.approx(1.96 * 0.4, abs=0.15)
    # One voxel of 800 has no value; means of 800 voxels of SD 1 scatter by .035.
    assert record["scans"][0]["used"][0] == 799 and record["scans"][0]["voxels"][0] == 800
    assert result["repeatability"]["wsd"] == pytest.approx(0.035, abs=0.025)
    picture = (phantom / "out" / "conformance.svg").read_text()
    assert picture.count("<circle") == 3 * 6 + 2 and "True PDFF (%)" in picture


def test_the_record_of_a_map_names_its_spectrum(phantom, capsys):
    (phantom / "a1.nrrd").rename(phantom / "waterfat_PDFF.nrrd")
    record = {"maps": [{"file": "waterfat_PDFF.nrrd", "facts": {"FatSpectrum": "ren_marrow"}}]}
    (phantom / "waterfat_maps.json").write_text(json.dumps(record))
    assert command(phantom, scans=("A=waterfat_PDFF.nrrd",)) == 0
    assert "'ren_marrow', which is of tissue" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("label,fat\n1,0\n", "column pdff is missing; a table of true values (percent) has"),
        ("label,pdff\n1,\xe7\n", "this is not a CSV text file in UTF-8"),
        ("label,pdff\n1," + "9" * 200_000, "this is not a CSV text file in UTF-8"),
        ("label,pdff\n1,zero\n", "label '1' and pdff 'zero' are no whole number"),
        ("label,pdff\n1,120\n", "line 2: label 1 with 120 % is given; labels are above 0"),
        ("label,pdff\n1,0\n1,5\n", "label 1 is there twice; keep one line"),
        ("label,pdff\n1,0\n2,.1\n3,.5\n", "no true value is above 1, as if they were"),
        ("label,pdff\n1,0\n2,10\n9,20\n", "vial 9 has a value in 0 of 0 voxels"),
        ("label,pdff\n1,0\n2,10\n", "2 different true values are given"),
    ],
)
def test_tables_that_are_refused(phantom, capsys, table, words):
    (phantom / "vials.csv").write_text(table, encoding="latin-1")
    assert command(phantom) == 2
    assert words in capsys.readouterr().err and not (phantom / "out").exists()


def test_a_table_too_large_is_no_table(phantom, capsys, monkeypatch):
    monkeypatch.setattr("PDFFMapperLib.images.tables.LARGEST_BYTES", 8)
    assert command(phantom) == 2
    said = capsys.readouterr().err
    assert "a table of true values (percent) is expected; this file is too large for one" in said


def test_scans_that_are_refused(phantom, capsys):
    assert command(phantom, vials=("vials.nrrd", "vials.nrrd")) == 2
    assert "--vials is given 2 times for 3 scans" in capsys.readouterr().err
    assert command(phantom, scans=("a1.nrrd",)) == 2
    assert "expected NAME=MAP, such as 3T=pdff.nii.gz" in capsys.readouterr().err
    fraction = Volume(np.linspace(0, 1, 12000, dtype=np.float32).reshape(2, 30, 200), np.eye(4))
    write_volume(fraction, phantom / "fraction.nrrd")
    assert command(phantom, scans=("A=fraction.nrrd",)) == 2
    assert "bring the map to its unit first" in capsys.readouterr().err
    fraction.array = fraction.array * 100
    write_volume(fraction, phantom / "elsewhere.nrrd")
    assert command(phantom, scans=("A=elsewhere.nrrd",)) == 2
    assert "draw the vials on this map" in capsys.readouterr().err


def test_the_table_is_read_as_spreadsheets_write_it(phantom):
    from MarrowAssessLib.sources.vials import Vial, read_vials

    with (phantom / "excel.csv").open("w", newline="", encoding="utf-8-sig") as stream:
        csv.writer(stream).writerows([["name", "label", "pdff"], ["oil", 7, 100]])
    assert read_vials(phantom / "excel.csv") == [Vial(7, 100.0)]


@pytest.mark.parametrize(
    ("drawn", "known", "refused"), [(10, 10, False), (9, 9, True), (30, 15, False), (30, 14, True)]
)
def test_a_vial_needs_ten_voxels_and_half_of_its_own(drawn, known, refused):
    values = np.full((2, 5, 4), np.nan, np.float32)
    values.flat[:known] = 40.0
    labels = np.zeros(values.shape, np.uint8)
    labels.flat[:drawn] = 1
    pdff, mask = (Volume(one, np.eye(4), "scan") for one in (values, labels))
    if refused:
        with pytest.raises(
            ValueError, match=f"vial 1 has a value in {known} of {drawn} voxels; at"
        ):
            measured("A", pdff, mask, [Vial(1, 40.0)])
    else:
        assert measured("A", pdff, mask, [Vial(1, 40.0)]).pdff.tolist() == [40.0]
