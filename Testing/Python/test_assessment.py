from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.findings.assessment import assess
from MarrowAssessLib.findings.summary import headlines
from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.sources.labels import parse_label_rule
from MarrowAssessLib.sources.study_files import read_study
from MarrowAssessLib.study.study import Study
from phantoms.flat_maps import with_map

MARKUPS = Path(__file__).resolve().parents[1] / "markups"

LEVELS = ["S1", "L5", "L4", "L3", "L2", "L1", "T12"]
RULES = [parse_label_rule(f"{n}=marrow:{level}") for n, level in enumerate(LEVELS, start=1)]

pytestmark = pytest.mark.usefixtures("computed_once")  # N4


@pytest.fixture(autouse=True)
def no_own_cohorts(tmp_path, monkeypatch):
    monkeypatch.setenv("MARROWASSESS_COHORTS", str(tmp_path / "cohorts"))


def result(assessment, quantity, site):
    (one,) = [
        r
        for r in assessment.results
        if (r.measurement.quantity, r.measurement.site) == (quantity, site)
    ]
    return one


def test_z_score_and_verdict_follow_the_published_distribution(phantom):
    # Tschischka 2018 (R163): 49 children, L1-L5: 0.60 +- 0.09.
    person = 0.09 * (1 + 1 / 49) ** 0.5
    study = with_map(
        phantom.study(), Contrast.ADC, {"L3 marrow": 0.60, "L4 marrow": 0.60 + 2.2 * person,
                                "L5 marrow": 0.60 - person}, age_years=10.0, sex="F",
    )  # fmt: skip
    assessment = assess(study)
    one = result(assessment, "marrow_adc", "L3")
    assert one.z == pytest.approx(0, abs=1e-5)
    assert one.percentile == pytest.approx(50, abs=1e-3)
    assert [record.id for record in one.expectation.records] == ["R163"]
    assert (one.tone, one.expected_text) == ("expected", "0.42-0.78 10^-3 mm^2/s")
    above = result(assessment, "marrow_adc", "L4")
    assert (above.verdict, above.tone) == ("above", "unusual")
    assert 1.96 < above.z < 2.2
    below = result(assessment, "marrow_adc", "L5")
    assert (below.z, below.verdict) == (pytest.approx(-0.99, abs=0.01), "within")


def test_no_age_or_no_source_gives_no_verdict(phantom):
    for patient, words in (
        ({"age_years": None}, "age is not known"),
        ({"age_years": 5.0, "sex": "F"}, "no reference"),
        ({"age_years": 90.0, "sex": "F"}, "no reference"),
    ):
        study = with_map(phantom.study(), Contrast.PDFF, {"L1 marrow": 30.0}, **patient)
        one = result(assess(study), "marrow_pdff", "L1")
        assert one.verdict == "no reference"
        assert one.z is None
        assert words in one.no_reference


@pytest.mark.parametrize(("field_t", "verdict"), [(3.0, "above"), (0.3, "no reference")])
def test_vbq_far_from_the_field_strength_of_every_source_is_not_judged(phantom, field_t, verdict):
    patient = {"age_years": 45.0, "sex": "F", "field_strength_t": field_t}
    pdff = with_map(phantom.study(), Contrast.PDFF, {"L1 marrow": 40.0}, **patient)
    whole = phantom.study()
    (csf,) = [r for r in whole.regions if r.name == "L3 CSF"]
    kept = [csf, replace(csf, name="L1 CSF", site="L1")]
    kept += [r for r in whole.regions if r.role is Role.MARROW]
    signal = {r.name: 80.0 if r.role is Role.MARROW else 20.0 for r in kept}
    t1 = with_map(replace(whole, regions=kept), Contrast.T1, signal, **patient)
    one = result(assess(t1), "vbq", "L1-L4")  # of 4, beyond every cut-off
    judged = verdict == "above"
    assert (one.verdict, one.z is not None, bool(one.cutoffs)) == (verdict, judged, judged)
    assert ("no source is near 0.3 T" in one.no_reference) is not judged
    assert not any(s.kind == "rule" for s in one.statements)
    assert bool(result(assess(t1), "vbq_l1", "L1").cutoffs) is judged  # it was told at any field
    assert result(assess(pdff), "marrow_pdff", "L1").verdict == "within"


def test_an_infant_s_report_suppresses_the_t1_rule(phantom):
    study = phantom.study()
    study.age_years = 0.25
    assessment = assess(study)
    assert assessment.t1_pattern.rule_holds is False
    assert not any(one.flip_flop for one in assessment.signatures)


def test_regions_are_colored_by_their_most_specific_scored_value(phantom):
    study = phantom.study()
    pdff = with_map(phantom.study(), Contrast.PDFF, {"L3 marrow": 36.0}).volumes[Contrast.PDFF]
    study.volumes[Contrast.PDFF] = pdff
    assessment = assess(study)
    assert assessment.color_of("L3 marrow").measurement.quantity == "marrow_pdff"
    del study.volumes[Contrast.PDFF]
    assert assess(study).color_of("L3 marrow").measurement.quantity == "enhancement"


def test_what_is_unusual_by_a_rule_is_not_hidden_by_another_number_within_its_range(phantom):
    assessment = assess(phantom.study())
    inside = result(assessment, "enhancement", "L2")
    assert inside.verdict == "within"
    color = assessment.color_of("L2 marrow")
    assert color.z is None and color.tone == "unusual"
    assert assessment.color_of("L3 marrow").measurement.quantity == "enhancement"


def test_a_doubtful_region_scores_nothing_and_enters_no_signature(phantom):
    study = phantom.study()
    study.age_years, study.sex = 34.0, "M"
    study.volumes[Contrast.PDFF] = with_map(
        phantom.study(), Contrast.PDFF, {"L2 marrow": 4.0, "L3 marrow": 36.0}
    ).volumes[Contrast.PDFF]
    sure = assess(study)
    assert result(sure, "marrow_pdff", "L2").verdict == "below"
    assert "pathologic" in {one.best for one in sure.signatures if one.region == "L2 marrow"}
    (lesion,) = [region for region in study.regions if region.name == "L2 marrow"]
    lesion.doubtful = True
    unsure = assess(study)
    assert [one.name for one in unsure.doubtful] == ["L2 marrow"]
    own = [one for one in unsure.results if "L2 marrow" in one.measurement.regions]
    assert {one.verdict for one in own} == {"doubtful"}
    assert {one.measurement.quantity for one in own} >= {"vbq", "marrow_pdff", "t1_marrow_disc"}
    assert all(one.z is None and one.percentile is None for one in own)
    assert all(one.doubtful == ("L2 marrow",) for one in own)
    assert not [one for one in unsure.signatures if one.region == "L2 marrow"]
    assert result(unsure, "marrow_pdff", "L3").verdict == "within"


def test_regions_that_are_doubted_alike_share_a_line(phantom):
    """As those of a spine whose levels are doubted: the one reason is said once."""
    study = phantom.study()
    doubts = {"L2 marrow": ["Of one reason."], "L3 marrow": ["Of one reason."], "L4 marrow": ["B."]}
    for region in study.regions:
        if region.name in doubts:
            region.doubtful, region.cautions[:] = True, doubts[region.name]
    lines = [one.text for one in headlines(assess(study)) if one.kind == "doubtful"]
    says = "numbers get no verdict until somebody has looked"
    assert lines == [
        f"Doubtful: L2 marrow, L3 marrow: {says}: Of one reason.",
        f"Doubtful: L4 marrow: {says}: B.",
    ]


def test_where_all_is_doubted_no_reference_is_said_to_be_missing(phantom):
    study = phantom.study()
    study.age_years = 55.0
    assert "doubtful" not in assess(study).counts_text
    for region in study.regions:
        region.doubtful, region.cautions[:] = True, ["Of one reason."]
    unsure = assess(study)
    assert result(unsure, "vbq", "L1-L4").expectation
    assert {one.kind for one in headlines(unsure)} == {"doubtful"}
    count = len(unsure.results)
    assert f"; {count} without a verdict, being of doubtful regions." in unsure.counts_text
    study.age_years = None
    assert "age is not known" in headlines(assess(study))[-1].says


def test_a_value_of_several_levels_colors_none_of_them(phantom):
    study = phantom.study()
    t1 = {Contrast.T1: study.volumes[Contrast.T1]}
    kept = [r for r in study.regions if r.role.value in ("marrow", "csf")]
    assessment = assess(Study(t1, kept, 50.0, "F"))
    assert result(assessment, "vbq", "L1-L4").z is not None
    assert assessment.color_of("L3 marrow") is None


def read_case(shared: Path, patient: str, volumes: dict[Contrast, str]) -> Study:
    spine = shared / "cases" / "spine"
    return read_study(
        {contrast: spine / f"{name}.nii.gz" for contrast, name in volumes.items()},
        labels=spine / f"{patient}_T1_vertebrae.nii.gz",
        rules=RULES,
        markups=[MARKUPS / f"{patient}.mrk.json"],
        age_years=30.0,
        sex="M",
    )


def test_vbq_and_ratios_of_a_real_spine(shared):
    study = read_case(shared, "DzZ", {Contrast.T1: "DzZ_T1"})
    assessment = assess(study, Settings(erosion_mm=2.0))
    vbq = result(assessment, "vbq", "L1-L4")
    t1 = study.volumes[Contrast.T1].array
    # An independent way to the same number, from the eroded masks with scipy.
    from scipy.ndimage import distance_transform_edt, median

    named = {region.name: region for region in study.regions}
    levels = []
    for name in ("L1 marrow", "L2 marrow", "L3 marrow", "L4 marrow", "L3 CSF"):
        region = named[name]
        inside = distance_transform_edt(np.pad(region.mask, 1))[1:-1, 1:-1, 1:-1] > 2
        levels.append(float(median(t1[region.box], inside, 1)))
    assert vbq.measurement.value == pytest.approx(np.median(levels[:4]) / levels[4], rel=1e-9)
    assert vbq.measurement.value == pytest.approx(2.8)
    assert vbq.expectation is not None
    assert result(assessment, "t1_marrow_disc", "L3").measurement.value == pytest.approx(56 / 36)
    assert result(assessment, "t1_marrow_muscle", "L3").measurement.value == pytest.approx(56 / 32)


@pytest.fixture(scope="module")
def patient(shared):
    """One with strong shading of a surface coil."""
    return read_case(shared, "AK-a", {Contrast.T1: "AK-a_T1", Contrast.FS_T2: "AK-a_TIRM"})


def test_n4_evens_out_the_vertebrae_under_a_surface_coil(patient):
    from MarrowAssessLib.study.bias_field import corrected

    volume, bodies = patient.volumes[Contrast.FS_T2], patient.with_role(Role.MARROW)

    def unevenness(array: np.ndarray) -> float:
        medians = [np.median(body.values(array)) for body in bodies]
        return float(np.std(medians) / np.mean(medians))

    assert unevenness(volume.array) == pytest.approx(0.143, abs=0.001)
    assert unevenness(corrected(volume).array) < 0.045  # reached: .040


def test_signature_of_a_real_patient_with_and_without_n4(patient):
    plain, corrected = assess(patient), assess(patient, Settings(n4=True))
    assert len(plain.signatures) == len(corrected.signatures) == len(LEVELS)
    for one in corrected.results:
        m = one.measurement
        if m.quantity.startswith(("t1_", "fs_t2_", "vbq")):
            assert m.value_without_n4 == result(plain, m.quantity, m.site).measurement.value
            assert m.value != m.value_without_n4
