"""Texture of marrow as measured quantities: rules of size, plane and gray levels."""

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method
from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.measures.measure import measure
from MarrowAssessLib.measures.measurement import Skipped
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study
from MarrowAssessLib.texture.discretization import Discretization
from MarrowAssessLib.texture.features import Aggregation
from MarrowAssessLib.texture.region import region_texture
from PDFFMapperLib.images.volume import Volume

THICK = np.diag([4.0, 1.0, 1.0, 1.0])  # sagittal slices of 4 mm: the slice axis is i
SHAPE = (16, 18, 8)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(4)
    smooth = rng.normal(45, 5, SHAPE).astype(np.float32)
    coarse = smooth + 12 * (np.indices(SHAPE[:2]).sum(0) % 2)[..., None].astype(np.float32)
    return {"smooth": Volume(smooth, THICK, "smooth"), "coarse": Volume(coarse, THICK, "coarse")}


def study_of(volume, shape=SHAPE, contrast=Contrast.PDFF):
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(0, n) for n in shape)] = True
    return Study({contrast: volume}, [Region.from_mask("L3 marrow", Role.MARROW, "L3", mask)])


def by_key(study, **settings):
    measured = measure(study, Settings(texture=True, **settings))
    return {one.quantity: one for one in measured.measurements}, measured.skipped


def test_texture_is_measured_when_asked_for(images):
    plain = measure(study_of(images["smooth"]), Settings())
    assert not any("texture" in one.quantity for one in plain.measurements)
    found, _ = by_key(study_of(images["smooth"]))
    rows = [q for q in QUANTITIES.values() if q.method is Method.TEXTURE]
    assert {q.key for q in rows if q.images == (Contrast.PDFF,)} <= set(found)


def test_a_coarser_pattern_has_more_contrast_and_less_homogeneity(images):
    smooth, _ = by_key(study_of(images["smooth"]))
    coarse, _ = by_key(study_of(images["coarse"]))
    for key, more in (("contrast", True), ("dissimilarity", True), ("homogeneity", False)):
        one, other = coarse[f"pdff_texture_{key}"].value, smooth[f"pdff_texture_{key}"].value
        assert (one > other) == more
    # white noise of 5 points in bins of 2.5: differences of neighbors have twice its variance
    assert smooth["pdff_texture_contrast"].value == pytest.approx(2 * (5 / 2.5) ** 2, rel=0.1)


def test_neighbors_lie_in_the_acquired_plane_and_it_is_said(images):
    how = by_key(study_of(images["smooth"]))[0]["pdff_texture_contrast"].how
    assert how.startswith("2.5D, merged; bins of 2.5 from 0; ")
    shuffled = images["smooth"].with_array(images["smooth"].array[:, :, [3, 1, 7, 5, 0, 2, 6, 4]])
    one = by_key(study_of(shuffled))[0]["pdff_texture_entropy"].value
    other = by_key(study_of(images["smooth"]))[0]["pdff_texture_entropy"].value
    assert one == pytest.approx(other)
    cubic = Volume(images["smooth"].array, np.eye(4), "cubic")
    assert by_key(study_of(cubic))[0]["pdff_texture_contrast"].how.startswith("3D, merged")


def test_signals_in_arbitrary_units_get_32_levels_of_their_own(images):
    study = study_of(images["smooth"], contrast=Contrast.T1)
    brighter = study_of(
        images["smooth"].with_array(7 * images["smooth"].array), contrast=Contrast.T1
    )
    one, other = (by_key(each)[0]["t1_texture_contrast"] for each in (study, brighter))
    assert one.value == pytest.approx(other.value, rel=1e-3)
    low, high = np.percentile(study.regions[0].values(images["smooth"].array), (1, 99))
    limits = f"32 levels of {(high - low) / 32:.4g} from {low:.4g} to {high:.4g}"
    assert one.how == f"2.5D, merged; 32 bins from percentile 1 to 99; {limits}"


def test_small_regions_give_no_texture_or_a_caution(images):
    found, skipped = by_key(study_of(images["smooth"], (8, 9, 4)))
    reason = "L3 marrow: 288 voxels have a value; texture needs 300 or more"
    assert Skipped("pdff_texture_contrast", reason) in skipped
    assert "pdff_texture_contrast" not in found
    found, _ = by_key(study_of(images["smooth"], (10, 10, 8)))
    assert "depends on the region's size" in found["pdff_texture_contrast"].cautions[0]
    found, _ = by_key(study_of(images["smooth"]))
    assert "region's size" not in " ".join(found["pdff_texture_contrast"].cautions)
    _, skipped = by_key(study_of(images["smooth"], (16, 4, 8)))
    assert any("4 voxels across; texture needs 5" in one.reason for one in skipped)


def test_voxels_without_a_value_are_left_out(images):
    array = images["smooth"].array.copy()
    array[4:6, 4:6] = np.nan
    study = study_of(images["smooth"].with_array(array))
    (region,) = study.regions
    found = region_texture(
        array.astype(float), region.mask, np.array([1, 1, 4.0]), Discretization(bin_width=2.5)
    )
    assert found.voxels == np.prod(SHAPE) - 4 * SHAPE[2]
    assert found.aggregation is Aggregation.PLANE_MERGED
    assert np.isfinite(by_key(study)[0]["pdff_texture_contrast"].value)


def test_the_number_without_bias_correction_stands_beside(images):
    study = study_of(images["smooth"], contrast=Contrast.T1)
    found, _ = by_key(study, n4=True)
    plain, _ = by_key(study)
    contrast = found["t1_texture_contrast"]
    assert contrast.value_without_n4 == plain["t1_texture_contrast"].value


def test_every_row_names_its_definition():
    rows = [q for q in QUANTITIES.values() if q.method is Method.TEXTURE]
    assert len(rows) == 36
    assert all(f"IBSI {q.feature}" in q.meaning for q in rows)


def test_the_report_shows_texture_as_one_table(images):
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.report import html

    study = study_of(images["smooth"])
    study.volumes[Contrast.T1] = images["coarse"]
    assessment = assess(study, Settings(texture=True))
    page = html._measurement_tables(assessment)
    assert page.count("<summary>Texture") == 1 and "PDFF texture" not in page
    table = page[page.index("<summary>Texture") :]
    assert table.count("<tr>") == 3  # head, L3 on PDFF, L3 on T1
    contrast = next(
        r for r in assessment.results if r.measurement.quantity == "pdff_texture_contrast"
    )
    assert f"<td class=num>{contrast.measurement.value:.1f}</td>" in table
    assert "ACUI" in table and "bins of 2.5 from 0" in table and "32 bins" in table
    assert f"{len(assessment.results) - 18} measurements" in assessment.counts_text
    assert assessment.counts_text.endswith("18 texture features.")
    assert "inverse difference moment WF0Z" in table
    assert "T1, published with other settings: Lumbar, 50 women" in table
    assert "Burian 2019" in table
    limits = contrast.measurement.how.rpartition("; ")[2]
    assert f"PDFF, L3 marrow: 2.5D, merged; bins of 2.5 from 0; {limits}." in table
    assert "Texture" not in html._measurement_tables(assess(study))


def test_own_controls_score_texture_with_a_caution(images, tmp_path, monkeypatch):
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.findings.result import SAME_TEXTURE
    from MarrowAssessLib.references.cohort_csv import read_control_cohort
    from MarrowAssessLib.references.control_cohort import save_control_cohort

    monkeypatch.setenv("MARROWASSESS_COHORTS", str(tmp_path / "cohorts"))
    study = study_of(images["smooth"])
    study.age_years = 40.0

    def contrast():
        found = assess(study, Settings(texture=True)).results
        return next(r for r in found if r.measurement.quantity == "pdff_texture_contrast")

    assert contrast().z is None and SAME_TEXTURE not in contrast().cautions
    own = np.random.default_rng(0).normal(contrast().measurement.value, 1.0, 40)
    rows = [f"pdff_texture_contrast,L3,,{20 + n},{value}" for n, value in enumerate(own)]
    (tmp_path / "own.csv").write_text("\n".join(["quantity,site,sex,age_years,value", *rows]))
    save_control_cohort(read_control_cohort(tmp_path / "own.csv"))
    assert abs(contrast().z) < 1
    assert SAME_TEXTURE in contrast().cautions


def test_two_regions_of_one_site_have_a_row_each_in_the_report(images):
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.report import html

    study = study_of(images["smooth"], (16, 9, 8))
    mask = np.zeros(SHAPE, bool)
    mask[:, 9:] = True
    study.regions.append(Region.from_mask("lesion", Role.MARROW, "L3", mask))
    assessment = assess(study, Settings(texture=True))
    table = html._texture_table([r for r in assessment.results if r.is_texture])
    contrast = [
        r.measurement.value
        for r in assessment.results
        if r.measurement.quantity == "pdff_texture_contrast"
    ]
    assert len(contrast) == 2
    assert all(f"<td class=num>{value:.1f}</td>" in table for value in contrast)
    assert table.count("<tr>") == 3
    assert "<th>L3 marrow</th>" in table and "<th>L3: lesion</th>" in table
