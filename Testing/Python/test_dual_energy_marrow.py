"""Marrow on dual-energy maps: numbers of known maps, cautions, and the sample's PET and CT."""

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.commands.demo import _dual_energy_maps
from MarrowAssessLib.findings.assessment import assess
from MarrowAssessLib.measures.measure import measure
from MarrowAssessLib.sample.other_modalities import reference_regions
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study
from PDFFMapperLib.images.volume import Volume

SHAPE, LEVELS = (12, 50, 14), ("T12", "L1", "L2", "L3", "L4")
VNCA, PROJECTED, HAP = Contrast.VNCA, Contrast.VNCA_PROJECTED, Contrast.HAP


def study(values, sd=3.0, age=50, slices_mm=2.0, thick=12):
    """Maps whose levels have a value each, going down by `step`."""
    rng = np.random.default_rng(0)
    regions = []
    for n, level in enumerate(LEVELS):
        mask = np.zeros(SHAPE, bool)
        mask[:thick, 10 * n : 10 * n + 8] = True
        regions.append(Region.from_mask(f"{level} marrow", Role.MARROW, level, mask))
    volumes = {}
    for contrast, (first, step) in values.items():
        array = rng.normal(first, sd, SHAPE)
        for n, region in enumerate(regions):
            array[region.box][region.mask] += n * step
        grid = np.diag([2.0, 2.0, slices_mm, 1.0])
        volumes[contrast] = Volume(array.astype(np.float32), grid, contrast.value)
    return Study(volumes, regions, age, "F")


def found(*arguments, **changes):
    measured = measure(study(*arguments, **changes))
    return {(m.quantity, m.site): m for m in measured.measurements}, measured.skipped


def said(numbers):
    return {caution for one in numbers.values() for caution in one.cautions}


def test_values_levels_and_gradient():
    numbers, _ = found({VNCA: (-40.0, -5.0), HAP: (100.0, 10.0)})
    assert numbers["marrow_vnca", "L2"].value == pytest.approx(-50, abs=1)
    assert numbers["marrow_vnca", "L1-L4"].value == pytest.approx(-52.5, abs=1)
    assert numbers["vnca_gradient", "T12-L4"].value == pytest.approx(-5, abs=0.3)
    assert numbers["marrow_hap", "T12"].value == pytest.approx(100, abs=1)
    assert all("edge of the image" in caution for caution in said(numbers))


def test_the_systematic_error_stands_beside():
    one = study({HAP: (100.0, 0.0)})
    one.volumes[HAP].attributes["SystematicError"] = 19.9
    (first, *_) = measure(one).measurements
    assert first.how == "systematic error about 19.9 mg/cm^3 (calibration)"


def test_cut_offs_stand_beside_the_scanner_s_kind_alone():
    results = {
        (r.measurement.quantity, r.measurement.site): r
        for r in assess(study({VNCA: (10.0, 0.0), PROJECTED: (10.0, 0.0)})).results
    }
    assert not results["marrow_vnca", "L2"].cutoffs
    crossed = results["marrow_vnca_projected", "L2"]
    assert {one.value for one in crossed.cutoffs} >= {-44.9, -56.9}
    assert crossed.z is None and all(one.tone == "" for one in crossed.statements)


@pytest.mark.parametrize(
    ("values", "changes", "words", "compared"),
    [
        ({PROJECTED: (10.0, 0.0)}, {"age": 20}, "Under 25 years: red marrow looks like", False),
        (
            {PROJECTED: (10.0, 0.0), Contrast.YELLOW_SHARE: (20.0, 0.0)},
            {},
            "Marrow is 20 % yellow: red marrow looks like",
            False,
        ),
        ({PROJECTED: (10.0, 0.0)}, {"sd": 300.0}, "is too noisy on CT (standard error", False),
        ({HAP: (400.0, 0.0)}, {}, "of mineral: cortex, a fracture, sclerosis", True),
        ({HAP: (100.0, 0.0)}, {"slices_mm": 6.0}, "Slices of 6 mm mix marrow", True),
        ({HAP: (100.0, 0.0)}, {"thick": 2}, "is too thin to take 2 mm off on CT", True),
    ],
)
def test_cautions(values, changes, words, compared):
    one = study(values, **changes)
    if "sd" in changes:  # noise of one sign more than the other moves no p95 over the limit
        one.volumes[PROJECTED].array[:] = np.minimum(one.volumes[PROJECTED].array, 250)
    results = [r for r in assess(one).results if r.measurement.site == "L2"]
    assert any(words in c for r in results for c in r.measurement.cautions)
    (judged,) = [r for r in results if r.measurement.quantity != "marrow_ct_yellow"]
    assert judged.measurement.comparable is compared
    assert compared or not (judged.cutoffs or judged.statements)
    assert compared or judged.no_reference.startswith("its cautions say why")


def test_what_gives_no_number_says_why():
    _, skipped = found({PROJECTED: (400.0, 0.0)})
    assert any("calcium was not taken out" in one.reason for one in skipped)
    one = study({VNCA: (-40.0, 0.0)})
    one.volumes[VNCA].array[:, 10:] = np.nan
    reasons = {s.reason for s in measure(one).skipped}
    assert "the CT map holds no value in L2 marrow" in reasons
    assert "three levels from T11 to L5 are needed" in reasons


def test_the_sample_s_pet_and_ct_have_their_truth(phantom):
    """All four modalities of one patient; the child's are the same code."""
    one = phantom.study()
    one.volumes = {Contrast.SUV: phantom.pet_volume(), **_dual_energy_maps(phantom)[0]}
    marrow = [region for region in one.regions if region.role is Role.MARROW]
    one.regions = marrow + reference_regions(phantom.tissue)
    checked = 0
    for result in assess(one).results:
        measured = result.measurement
        truth = phantom.true_value(measured)
        close = {"marrow_suv": 0.06, "marrow_hap": 5, "marrow_vnca": 6, "marrow_ct_yellow": 8}
        if truth is not None:
            assert measured.value == pytest.approx(truth, abs=close[measured.quantity])
            checked += 1
    assert checked > 20
    scores = {r.measurement.site: r.measurement.value for r in assess(one).results
              if r.measurement.quantity == "marrow_deauville"}  # fmt: skip
    assert scores["L2"] == 5 and scores["L3"] == 2
