"""PET in regions of any grid: known uptake, ratios, scores, and what is said beside them."""

import copy
import json

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.commands.main import main
from MarrowAssessLib.findings.assessment import assess
from MarrowAssessLib.follow_up.changes import follow_up
from MarrowAssessLib.measures.book import Book, Settings
from MarrowAssessLib.measures.measure import measure
from MarrowAssessLib.measures.suv_peak import suv_peak
from MarrowAssessLib.measures.uptake import deauville, uptake
from MarrowAssessLib.report.data import as_dict
from MarrowAssessLib.report.modalities import matrix
from MarrowAssessLib.study.coverage import coverage
from MarrowAssessLib.study.regions import Region
from MarrowAssessLib.study.study import Study
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.volume import Volume

BALLS = {  # name: role, site, center (RAS, mm), uptake
    "L1 marrow": (Role.MARROW, "L1", (-40, -40, 30), 1.5),
    "L2 marrow": (Role.MARROW, "L2", (-40, -40, -30), 2.0),
    "left femoral diaphysis marrow": (Role.MARROW, "left femoral diaphysis", (40, -40, -30), 4.0),
    "liver": (Role.LIVER, "", (40, 40, 30), 2.2),
    "blood pool": (Role.BLOOD, "", (-40, 40, 30), 1.5),
}
RADIUS_MM = 16.0
LIVER = QUANTITIES["liver_suv"]
FACTS = {
    "Modality": "PT", "Tracer": "FDG", "UptakeTime": 60.0, "ActivityPerWeight": 4.0,
    "RadionuclideHalfLife": 6586.0, "LeanBodyShare": 0.75,
    "LeanBodyShareJames": 0.7, "Units": "g/ml",
}  # fmt: skip


def pet(background=0.5, values=(), **facts):
    """Balls of known uptake on the PET's own grid, turned against that of the regions."""
    turn = np.deg2rad(20)
    axes = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    grid = np.eye(4)
    grid[:3, :3] = axes * (4.0, 4.0, 3.3)
    grid[:3, 3] = -grid[:3, :3] @ (24.0, 24.0, 24.0)
    image = Volume(np.full((49, 49, 49), background, np.float32), grid, "SUV", {**FACTS, **facts})
    k, j, i = np.indices(image.array.shape)
    places = image.to_ras(np.stack([i, j, k], -1))
    for name, (_, _, center, value) in BALLS.items():
        near = np.linalg.norm(places - center, axis=-1) < RADIUS_MM + 4
        image.array[near] = dict(values).get(name, value)
    return image


def regions(radius=RADIUS_MM, names=tuple(BALLS)):
    """The balls as they were drawn on a grid of 2 mm; and that grid."""
    grid = np.diag([2.0, 2.0, 2.0, 1.0])
    grid[:3, 3] = -75
    drawn_on = Volume(np.zeros((76, 76, 76), np.uint8), grid, "MR")
    k, j, i = np.indices(drawn_on.array.shape)
    places = drawn_on.to_ras(np.stack([i, j, k], -1))
    found = [
        Region.from_mask(
            name, *BALLS[name][:2], np.linalg.norm(places - BALLS[name][2], axis=-1) < radius
        )
        for name in names
    ]
    return found, drawn_on


def study(image=None, age=50, radius=RADIUS_MM, names=tuple(BALLS)):
    drawn, drawn_on = regions(radius, names)
    return Study({Contrast.SUV: image or pet()}, drawn, age, "F", drawn_on=drawn_on)


def values(one):
    return {(m.quantity, m.measured[0]): m for m in measure(one).measurements}


# --- the region on another grid ---


def test_a_region_keeps_its_volume_on_another_grid():
    (ball,), drawn_on = regions(names=("L1 marrow",))
    image = pet()
    found = coverage(ball, drawn_on, image)
    volume = float(found.weights.sum()) * image.voxel_volume_mm3
    assert volume == pytest.approx(ball.voxels * drawn_on.voxel_volume_mm3, rel=0.01)
    assert found.inside > 0.99 and found.weights.max() == 1
    own = coverage(ball, drawn_on, drawn_on)
    assert (own.weights == ball.mask).all() and own.offset == ball.offset


def test_a_voxel_counts_by_its_part_inside():
    grid, image = np.diag([1.0, 1.0, 1.0, 1.0]), np.diag([4.0, 4.0, 4.0, 1.0])
    image[:3, 3] = 1.5  # its first voxel holds the first four of the other in each direction
    mask = np.zeros((8, 8, 8), bool)
    mask[:4, :4, :6] = True
    region = Region.from_mask("L1 marrow", Role.MARROW, "L1", mask)
    found = coverage(region, Volume(mask, grid), Volume(np.zeros((2, 2, 2)), image))
    np.testing.assert_allclose(found.weights, [[[1, 0.5], [0, 0]], [[0, 0], [0, 0]]])


def test_of_a_region_smaller_than_the_parts_no_more_than_all_lies_inside():
    """One voxel of 1 mm holds the center of a part of 2 mm."""
    region = Region.from_mask("L1 marrow", Role.MARROW, "L1", np.ones((1, 1, 1), bool))
    grid, image = np.eye(4), np.diag([12.0, 12.0, 12.0, 1.0])
    grid[:3, 3] = 1.0
    found = coverage(region, Volume(region.mask, grid), Volume(np.zeros((1, 1, 1)), image))
    assert found.weights.sum() == pytest.approx(6**-3)
    assert found.inside == 1


@pytest.mark.parametrize("rounding", [-1e-13, 1e-13])
def test_the_last_digit_of_a_grid_covers_no_other_voxels(rounding):
    """Parts of PET voxels whose centers lie between two voxels of the region."""
    mask = np.zeros((12, 12, 12), bool)
    mask[3:9, 3:9, 3:9] = True
    region = Region.from_mask("L3 marrow", Role.MARROW, "L3", mask)
    pet = np.diag([2.0, 2.0, 2.0, 1.0])
    pet[:3, 3] = 0.25
    grid, moved = np.eye(4), np.eye(4)
    moved[:3, 3] = rounding
    image = Volume(np.zeros((6, 6, 6)), pet, "SUV")
    one, other = (coverage(region, Volume(mask, at), image) for at in (grid, moved))
    assert one.weights.sum() * 8 == 6**3
    assert np.array_equal(one.weights, other.weights)


@pytest.mark.parametrize("radius_mm", [10.0, 14.0])
def test_the_peak_of_a_sphere_is_its_uptake_wherever_it_lies(radius_mm):
    rng = np.random.default_rng(2)
    axis = (np.arange(17 * 8) + 0.5) / 2 - 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    for _ in range(3):
        c = 32 + rng.uniform(-2, 2, 3)
        inside = (x - c[0]) ** 2 + (y - c[1]) ** 2 + (z - c[2]) ** 2 < radius_mm**2
        seen = 4 * inside.reshape(17, 8, 17, 8, 17, 8).mean((1, 3, 5)).astype(np.float32)
        peak = suv_peak(seen, np.argwhere(seen > 2), np.full(3, 4.0))
        assert peak == pytest.approx(4, rel=0.01)


# --- numbers ---


def test_uptake_of_known_balls():
    found = values(study())
    for key, expected in {
        ("marrow_suv", "L1 marrow"): 1.5,
        ("marrow_suv_max", "L2 marrow"): 2.0,
        ("marrow_suv_peak", "L2 marrow"): 2.0,
        ("marrow_sul", "L1 marrow"): 1.5 * 0.75,
        ("liver_suv", "liver"): 2.2,
        ("blood_suv", "blood pool"): 1.5,
        ("marrow_liver_suv", "L1 marrow"): 1.5 / 2.2,
        ("marrow_blood_suv", "L2 marrow"): 2 / 1.5,
        ("limb_axial_suv", "left femoral diaphysis marrow"): 2.0,
        ("limb_spread_suv", "left femoral diaphysis marrow"): 1.0,
    }.items():
        assert found[key].value == pytest.approx(expected, rel=1e-3), key
    (region,), drawn_on = regions(names=("L1 marrow",))
    smaller = region.eroded(3.0, drawn_on.spacing)
    total = found["marrow_suv_total", "L1 marrow"].value
    assert total == pytest.approx(1.5 * smaller.voxels * 8 / 1000, rel=0.01)
    one = found["marrow_suv", "L1 marrow"]
    assert one.systematic == pytest.approx(
        one.value * np.hypot(0.0224, np.log(2) * 60 / 6586), rel=0.01
    )
    assert not found["marrow_suv", "L1 marrow"].cautions


def test_lean_mass_by_either_formula():
    """Of a man of 70 kg and 175 cm James gives 57.2 kg; of one too heavy for its height nothing."""
    for formula, share, year in (("Janmahasatian", 0.75, 2005), ("James", 0.7, 1976)):
        found = measure(study(), Settings(lean_mass=formula)).measurements
        own = {m.measured: m for m in found if m.quantity == "marrow_sul"}
        assert own["L1 marrow",].value == pytest.approx(1.5 * share, rel=1e-3)
        assert f"({formula} {year}" in own["L1 marrow",].how
    heavy = pet(LeanBodyShareJames=-0.2)
    found = measure(study(heavy), Settings(lean_mass="James"))
    reasons = {s.reason for s in found.skipped if s.quantity == "marrow_sul"}
    assert reasons == {"James's formula gives no lean body mass at this weight and height"}
    old = pet()
    del old.attributes["LeanBodyShareJames"]
    found = measure(study(old), Settings(lean_mass="James"))
    reasons = {s.reason for s in found.skipped if s.quantity == "marrow_sul"}
    assert reasons == {
        "the PET was read by an older version, without James's formula; load it again"
    }
    with pytest.raises(
        ValueError, match="Lean body mass by 'Hume': expected Janmahasatian or James"
    ):
        Settings(lean_mass="Hume")


def test_lean_mass_leads_for_children_and_between_visits():
    """SUL stands first, and SUV by body weight beside it; of adults the other way round."""
    visits = {}
    for age, first in ((15.9, "marrow_sul"), (16, "marrow_suv"), (None, "marrow_suv")):
        assessment = assess(study(age=age))
        keys = [r.measurement.quantity for r in assessment.results]
        both = [key for key in dict.fromkeys(keys) if key in ("marrow_sul", "marrow_suv")]
        assert both[0] == first and len(both) == 2
        if age != 16:  # whose SUV has words of published values, and so the color
            assert assessment.color_of("L1 marrow").measurement.quantity == first
        visits[age] = as_dict(assessment, [])
        heads = matrix(visits[age]).split("</thead>")[0]
        assert ("<th>SUL<" in heads) == (age == 15.9)
    bare = pet()
    del bare.attributes["LeanBodyShare"]
    assert assess(study(bare, age=9)).color_of("L1 marrow").measurement.quantity == "marrow_suv"
    later = copy.deepcopy(visits[16])
    later["measurements"][0]["value"] *= 1.01
    changes = follow_up([visits[16], later], [0, 90])
    pair = [c.quantity for c in changes if c.measured == ("L1 marrow",)]
    assert pair.index("marrow_sul") == pair.index("marrow_suv") - 1
    said = {(c.quantity, c.site, c.measured_now): "x" for c in changes}
    heads = matrix(visits[16], said).split("</thead>")[0]
    assert heads.index("SUL") < heads.index("SUVmean")
    james = as_dict(assess(study(age=16), Settings(lean_mass="James")), [])
    reasons = {c.quantity: c.reason for c in follow_up([visits[16], james], [0, 90])}
    assert reasons["marrow_sul"] == "it was measured with other settings" != reasons["marrow_suv"]


def test_the_interval_holds_the_mean_of_correlated_noise():
    from scipy.ndimage import gaussian_filter

    rng, held = np.random.default_rng(0), 0
    k, j, i = np.indices((9, 12, 12))
    ball = (k - 4) ** 2 / 12 + (j - 6) ** 2 / 20 + (i - 6) ** 2 / 20 < 1
    drawn = [Region.from_mask("liver", Role.LIVER, "", ball)]  # taken as drawn
    image = Volume(np.zeros(ball.shape), np.diag([4, 4, 4, 1]), "SUV", dict(FACTS))
    for _ in range(200):
        noise = gaussian_filter(rng.normal(size=(15, 18, 18)), 0.6)[3:-3, 3:-3, 3:-3]
        noisy = image.with_array(1.5 + 0.5 * noise)
        (one,) = uptake(Book({Contrast.SUV: noisy}, {}, drawn, drawn, Settings()), LIVER)
        held += one.ci95[0] <= 1.5 <= one.ci95[1]
    assert held >= 0.93 * 200 and one.ci95[1] - one.ci95[0] < 0.15


@pytest.mark.parametrize(
    ("value", "score"), [(1.5, 2), (1.6, 3), (2.2, 3), (2.3, 4), (4.4, 4), (4.5, 5)]
)
def test_the_five_point_score(value, score):
    found, words = deauville(value, blood=1.5, liver=2.2)
    assert found == score
    assert words.startswith(f"{score} ")


def test_the_limit_of_score_5_may_be_3_times_liver():
    for times, score in ((2.0, 5), (3.0, 4)):
        made = measure(study(pet(values=[("L1 marrow", 5.5)])), Settings(five_times=times))
        (one,) = [
            m for m in made.measurements if m.quantity == "marrow_deauville" and m.site == "L1"
        ]
        assert one.value == score and one.how == f"5 above {times:g} times liver"
    with pytest.raises(ValueError, match="Score 5 from 4 times liver: expected 2 or 3"):
        Settings(five_times=4.0)


def test_a_drawn_focus_is_measured_and_lies_in_marrow_or_outside():
    """A lesion in L2, and one where no marrow is drawn: hotter than 2 times the liver."""
    names = ("L1 marrow", "L2 marrow", "liver", "blood pool")
    drawn, drawn_on = regions(names=names)
    (hot,), _ = regions(RADIUS_MM, ("left femoral diaphysis marrow",))
    focus, _ = regions(8.0, ("L2 marrow",))
    drawn += [
        Region("node", Role.LESION, "", hot.mask, hot.offset),
        Region("focus", Role.LESION, "", focus[0].mask, focus[0].offset),
        Region("named", Role.LESION, "sternum", focus[0].mask, focus[0].offset),
    ]
    image = pet(values={"left femoral diaphysis marrow": 5.0})
    one = Study({Contrast.SUV: image}, drawn, 50, "F", drawn_on=drawn_on)
    found = values(one)
    sites = {name: found["lesion_suv_max", name].site for name in ("node", "focus", "named")}
    assert sites == {"node": "outside drawn marrow", "focus": "L2", "named": "sternum"}
    assert found["lesion_suv_max", "node"].value == pytest.approx(5.0)
    assert found["lesion_deauville", "node"].value == 5
    assert found["lesion_deauville", "focus"].value == 3  # 2.0 between blood and liver
    assert ("lesion_suv_max", "L1 marrow") not in found
    (result,) = [r for r in assess(one).results if r.measurement.quantity == "lesion_deauville"
                 and r.measurement.measured == ("node",)]  # fmt: skip
    assert result.statements[0].source == "10.1200/JCO.2013.53.5229"
    from MarrowAssessLib.findings.form import forms

    held = {field.name: field.measured for field in forms(measure(one).measurements)[0].fields}
    assert held["Focal lesions, number and sites"] == "2 drawn as regions: L2, sternum"
    outside = "Foci outside drawn marrow: bone that was not drawn, or extramedullary"
    assert held[outside].startswith("node, 5 of the five-point")
    assert held["Extramedullary disease"] == ""  # whether a focus is that, no region tells


@pytest.mark.parametrize(("found", "site"), [(True, "L2"), (False, "outside drawn marrow")])
def test_a_focus_in_the_rim_of_a_found_body_lies_in_it(found, site):
    """Regions of found bodies are about 3 mm smaller than those."""
    from MarrowAssessLib.placement.vertebra import surface_of_mask

    (body,), drawn_on = regions(names=("L2 marrow",))
    roi = body.eroded(5.0, drawn_on.spacing)
    if found:
        roi.outline = surface_of_mask(drawn_on, body.mask, body.offset, np.eye(3))
    rim = np.zeros(body.mask.shape, bool)
    rim[7:9, 7:9, :2] = body.mask[7:9, 7:9, :2]
    focus = Region("focus", Role.LESION, "", rim, body.offset)
    one = Study({Contrast.SUV: pet()}, [roi, focus], 50, "F", drawn_on=drawn_on)
    assert values(one)["lesion_suv_max", "focus"].site == site


@pytest.mark.parametrize("tracer", ["Pentixafor", "other"])
def test_the_score_of_fdg_is_not_given_to_another_tracer(tracer):
    from MarrowAssessLib.findings.form import forms

    scores = {"marrow_deauville", "marrow_deauville_peak"}
    made = measure(study(pet(Tracer=tracer)))
    assert not scores & {m.quantity for m in made.measurements}
    reasons = {s.quantity: s.reason for s in made.skipped}
    assert all("five-point score is made for FDG" in reasons[one] for one in scores)
    assert not forms(made.measurements)
    unknown = measure(study(pet(Tracer=""))).measurements  # cautioned, see below
    assert scores <= {m.quantity for m in unknown}


def test_the_score_is_a_rule_with_its_source():
    results = assess(study()).results
    (limb,) = [r for r in results if r.measurement.quantity == "marrow_deauville_peak"
               and "femoral" in r.measurement.site]  # fmt: skip
    assert limb.measurement.value == 4
    (said,) = limb.statements
    assert said.source == "10.1200/JCO.2013.53.5229" and "above liver" in said.text
    assert limb.z is None


def test_uptake_of_pentixafor_is_a_quantity_of_its_own():
    found = values(study(pet(Tracer="Pentixafor")))
    assert found["marrow_cxcr4", "L1 marrow"].value == pytest.approx(1.5)
    assert ("marrow_suv", "L1 marrow") not in found


# --- what is said ---


@pytest.mark.parametrize(
    ("facts", "values", "age", "words"),
    [
        ({"Tracer": ""}, {}, 50, "does not tell its tracer"),
        ({"Tracer": "other"}, {}, 50, "tracer is not FDG"),
        ({"UptakeTime": 90.0}, {}, 50, "began 90 min after the injection; 55 to 75 min are usual"),
        ({"ActivityPerWeight": 40.0}, {}, 50, "40 MBq/kg of FDG were injected; 0.5 to 15"),
        ({}, {"liver": 5.0}, 50, "liver has an SUVmean of 5.00, outside 1.31 to 3.03"),
        ({}, {"blood pool": 0.5}, 50, "blood pool has an SUVmean of 0.50, outside 0.81 to 2.29"),
        ({}, {}, 9, "In children uptake by body weight rises with growth"),
    ],
)
def test_cautions_of_the_image(facts, values, age, words):
    found = measure(study(pet(values=values, **facts), age)).measurements
    for one in found:
        assert any(words in caution for caution in one.cautions), one.quantity


def test_tissue_of_children_is_not_judged_by_adults():
    for age, told in ((17.9, False), (18, True)):
        found = measure(study(pet(values={"liver": 5.0}), age)).measurements
        said = [c for one in found for c in one.cautions if "of 132 adults" in c]
        assert bool(said) is told


def test_cautions_of_regions():
    image = pet(values={"liver": 2.2})
    small = values(study(image, radius=3.9))["marrow_suv", "L1 marrow"]
    assert any("too thin to take 3 mm off for PET" in c for c in small.cautions)
    assert any("voxels of the PET, whose resolution mixes" in c for c in small.cautions), small
    lean = values(study(image, age=12))["marrow_sul", "L1 marrow"]
    said = "Both formulas of lean body mass, Janmahasatian's and James', are of adults; at 12 years"
    assert any(said in c for c in lean.cautions)
    grown = values(study(image, age=16))["marrow_sul", "L1 marrow"]
    assert not any("formulas of lean body mass" in c for c in grown.cautions)


@pytest.mark.parametrize("beside", [2.5, 9.0])  # of marrow of 1.5
def test_a_sphere_of_suv_peak_in_hotter_tissue_is_told(beside):
    hot = pet()
    k, j, i = np.indices(hot.array.shape)
    away = np.linalg.norm(hot.to_ras(np.stack([i, j, k], -1)) - BALLS["L1 marrow"][2], axis=-1)
    hot.array[(away > 14) & (away < 20)] = beside
    found = values(study(hot))
    said = "reaches into hotter tissue beside"
    for key in ("marrow_suv_peak", "marrow_deauville_peak"):
        assert any(f"{said} L1 marrow" in c for c in found[key, "L1 marrow"].cautions), key
        assert not any(said in c for c in found[key, "L2 marrow"].cautions), key
    assert not any(said in c for c in found["marrow_deauville", "L1 marrow"].cautions)


def test_a_region_that_the_pet_does_not_hold():
    image = pet()
    cut = Volume(image.array[:, :, 13:], image.ijk_to_ras.copy(), "SUV", image.attributes)
    cut.ijk_to_ras[:3, 3] = image.to_ras(np.array([13, 0, 0]))
    found = measure(study(cut))
    cautions = [c for m in found.measurements for c in m.cautions]
    assert any("of L2 marrow lies inside the PET" in c for c in cautions)
    far = Volume(image.array, image.ijk_to_ras.copy(), "SUV", image.attributes)
    far.ijk_to_ras[:3, 3] += 500
    reasons = {one.reason for one in measure(study(far)).skipped}
    assert "L1 marrow lies outside the PET" in reasons
    empty = image.with_array(np.full_like(image.array, np.nan))
    empty.array[0, 0, 0] = 1.0
    reasons = {one.reason for one in measure(study(empty)).skipped}
    assert "the PET holds no value in L1 marrow" in reasons


def test_what_is_missing_is_said():
    bare = pet()
    del bare.attributes["LeanBodyShare"], bare.attributes["LeanBodyShareJames"]
    reasons = {s.reason for s in measure(study(bare, names=("L1 marrow",))).skipped}
    assert "the PET's header tells no weight and height for lean mass" in reasons
    assert {"no liver region was given", "no blood pool region was given"} <= reasons
    image = pet()
    thin = image.with_array(image.array[23:26])
    thin.ijk_to_ras[:3, 3] = image.to_ras(np.array([0, 0, 23]))
    drawn, drawn_on = regions(names=("L1 marrow", "liver", "blood pool"))
    for one in drawn:
        one.offset = (30, *one.offset[1:])
    made = measure(Study({Contrast.SUV: thin}, drawn, drawn_on=drawn_on))
    reasons = {(s.quantity, s.reason) for s in made.skipped}
    for key in ("marrow_suv_peak", "marrow_deauville_peak"):
        assert (key, "no sphere of 1 cm^3 round L1 marrow lies in the PET") in reasons
    assert any(m.quantity == "marrow_deauville" for m in made.measurements)


def test_activity_is_no_suv():
    activity = pet()
    activity.array *= 5000
    with pytest.raises(ValueError, match="no SUV in g/ml but activity"):
        study(activity)


def test_texture_is_not_made_of_regions_on_another_grid(tmp_path):
    from MarrowAssessLib.commands.main import main
    from PDFFMapperLib.images.files import write_volume

    drawn, drawn_on = regions(names=("L1 marrow",))
    labels = drawn_on.with_array(drawn[0].full_mask(drawn_on.array.shape).astype(np.uint8))
    write_volume(labels, tmp_path / "labels.nrrd")
    write_volume(pet(), tmp_path / "pet.nrrd")
    arguments = ["radiomics", "--volume", f"SUV={tmp_path / 'pet.nrrd'}", "--labels",
                 str(tmp_path / "labels.nrrd"), "--label", "1=marrow:L1", "--out",
                 str(tmp_path / "out")]  # fmt: skip
    assert main(arguments) == 2
    arguments[0], arguments[-1] = "assess", str(tmp_path / "assessed")
    assert main([*arguments, "--no-scene"]) == 0  # no resampling is needed to measure


def test_pet_beside_mr_is_measured_on_its_own_grid():
    drawn, drawn_on = regions()
    t1 = drawn_on.with_array(np.full(drawn_on.array.shape, 100, np.int16))
    both = Study({Contrast.SUV: pet(), Contrast.T1: t1}, drawn, 50, "F")
    assert both.grid is t1
    assert values(both)["marrow_suv", "L2 marrow"].value == pytest.approx(2, rel=1e-3)


# --- glucose, growth plates, PET beside CT ---


def test_glucose_is_cautioned_and_checked():
    (one, *_) = measure(study(), Settings(glucose_mmol_l=14.0)).measurements
    assert any("glucose was 14 mmol/l; above 11 tissue takes less FDG" in c for c in one.cautions)
    (one, *_) = measure(study(), Settings(glucose_mmol_l=5.5)).measurements
    assert not one.cautions
    with pytest.raises(ValueError, match="Blood glucose 120 mmol/l: expected 1 to 50"):
        Settings(glucose_mmol_l=120.0)


def test_growth_plates_count_for_no_limb_of_a_child():
    child, adult = study(age=9), study(age=50)
    for one in (child, adult):
        one.regions[1].site = "left proximal femur"
    numbers = {(m.quantity, m.measured): m.value for m in measure(child).measurements}
    spread = [v for (quantity, _), v in numbers.items() if quantity == "limb_spread_suv"]
    assert spread == [1]  # the shaft
    (spread,) = [m for m in measure(adult).measurements if m.quantity == "limb_spread_suv"]
    assert len(spread.measured) == 2
    between = study(pet(values={"blood pool": 50.0, "liver": 1.0}), age=50)
    numbers = {m.quantity: m.value for m in measure(between).measurements}
    assert numbers["limb_spread_suv"] == 0  # above one of the two is not above both
    child.regions[2].site = "left distal femur"
    assert not any(m.quantity.startswith("limb_") for m in measure(child).measurements)


def body_on_ct(moved=(0.0, 0.0, 0.0)):
    """A trunk on PET and the same on CT, moved by mm to the right, front and head."""
    grid = np.diag([4.0, 4.0, 4.0, 1.0])
    grid[:3, 3] = -96
    image = Volume(np.zeros((49, 49, 49), np.float32), grid, "SUV", dict(FACTS))
    k, j, i = np.indices(image.array.shape)
    x, y, z = np.moveaxis(image.to_ras(np.stack([i, j, k], -1)), -1, 0)
    image.array[((x / 70) ** 2 + (y / 55) ** 2 < 1) & (abs(z) < 80 + x / 4)] = 1.0
    fine = np.diag([2.0, 2.0, 5.0, 1.0])
    fine[:3, 3] = -96
    ct = Volume(np.full((39, 97, 97), -1000, np.int16), fine, "CT", {"Modality": "CT"})
    k, j, i = np.indices(ct.array.shape)
    x, y, z = np.moveaxis(ct.to_ras(np.stack([i, j, k], -1)) - moved, -1, 0)
    ct.array[((x / 70) ** 2 + (y / 55) ** 2 < 1) & (abs(z) < 80 + x / 4)] = 40
    return image, ct


def test_the_shift_of_the_body_between_pet_and_ct():
    from MarrowAssessLib.study.body_shift import body_shift

    found = body_shift(*body_on_ct())
    assert np.abs(found.mm).max() < 1 and found.dice > 0.97
    found = body_shift(*body_on_ct((8.0, -6.0, 12.0)))
    np.testing.assert_allclose(found.mm, (-8, 6, -12), atol=1.5)  # of the PET
    assert found.dice < 0.95
    pet_image, ct = body_on_ct()
    ct.ijk_to_ras[0, 3] += 1000
    assert body_shift(pet_image, ct) is None


def spine_on_pet(phantom, mm):
    """The sample's PET, moved; bodies as they were drawn, and PET's own facts."""

    image = phantom.pet_volume()
    image.ijk_to_ras[:3, 3] += mm
    bodies = [one for one in phantom.skeleton() if one.role is Role.MARROW]
    return Study({Contrast.SUV: image}, bodies, 34, "M", drawn_on=phantom.tissue)


@pytest.mark.parametrize(
    ("mm", "told", "measured"), [((0, 0, 0), 0, 7), ((0, 0, 8), 1, 7), ((-4, 2, -14), 0, 0)]
)
def test_a_spine_that_lies_apart_is_told_and_then_refused(phantom, mm, told, measured):
    from MarrowAssessLib.study.body_shift import spine_shift
    from MarrowAssessLib.study.coverage import coverage

    one = spine_on_pet(phantom, mm)
    pet_image = one.volumes[Contrast.SUV]
    inside = np.zeros(pet_image.array.shape, np.float32)
    for cover in (
        coverage(r.eroded(3, one.grid.spacing), one.grid, pet_image) for r in one.regions
    ):
        inside[cover.box] = np.maximum(inside[cover.box], cover.weights)
    np.testing.assert_allclose(spine_shift(pet_image, inside).mm, mm, atol=3.5)
    assert spine_shift(pet_image, 0 * inside) is None
    even = pet_image.with_array(np.ones_like(pet_image.array))
    assert spine_shift(even, inside) is None
    result = measure(one)
    numbers = [m for m in result.measurements if m.quantity == "marrow_suv" and m.site != "L1-L4"]
    assert len(numbers) == measured
    words = {c for m in numbers for c in m.cautions if c.startswith("The spine lies apart on PET")}
    assert len(words) == told
    assert all("regions may miss their tissue on the PET" in one for one in words)
    if not measured:
        reasons = {one.reason for one in result.skipped}
        assert any("look at both, register them (--register-pet)" in one for one in reasons)
        accepted = measure(one, Settings(accept_shift=True)).measurements
        assert any(m.quantity == "marrow_suv" for m in accepted)


def row_of_bodies(mm, disc=0.5):
    """Five bodies of 20 mm each 30 mm on a PET of 2 mm voxels, moved; three of them drawn."""
    from scipy.ndimage import gaussian_filter

    k, j, i = np.indices((100, 40, 40)) * 2.0 - np.array([100, 40, 40]).reshape(3, 1, 1, 1)
    column = (np.abs(j) < 16) & (np.abs(i) < 20) & (np.abs(k) < 76)
    body = column & (np.abs((k + 15) % 30 - 15) < 10)
    suv = np.where(body, 1.5, np.where(column, disc, 0.5)).astype(np.float32)
    image = Volume(gaussian_filter(suv, 1.3), np.diag([2.0, 2, 2, 1]), "PET")
    image.ijk_to_ras[2, 3] += mm
    drawn = body & (np.abs(k) < 44)
    return image, np.roll(drawn, -round(mm / 2), 0).astype(np.float32)  # the drawing stays


@pytest.mark.parametrize("mm", [0, 6, -8, 20])
def test_shift_along_a_row_of_vertebrae_is_right(mm):
    from MarrowAssessLib.study.body_shift import spine_shift

    found = spine_shift(*row_of_bodies(mm))
    places = [found.mm] if found.or_mm is None else [found.mm, found.or_mm]
    assert min(np.abs(place - (0, 0, mm)).max() for place in places) < 2.1
    assert len(places) == (1 if abs(mm) < 6 else 2)
    assert found.within_mm < 10


def test_half_a_level_may_lie_either_way_and_is_beyond_what_is_measured():
    from MarrowAssessLib.study.body_shift import spine_shift

    found = spine_shift(*row_of_bodies(16))
    assert sorted(round(place[2]) for place in (found.mm, found.or_mm)) == [-14, 16]
    assert found.length_mm > 10
    assert "vertebrae are alike, and both fit" in found.told()


def test_vertebrae_that_differ_little_from_discs_do_not_tell_their_place():
    from MarrowAssessLib.study.body_shift import spine_shift
    from scipy.ndimage import label

    for disc, certain in ((0.5, True), (1.5, False)):
        image, drawn = row_of_bodies(0, disc)
        assert (spine_shift(image, drawn).within_mm < 10) == certain
        parts, _ = label(drawn)
        bodies = [
            Region.from_mask(f"{level} marrow", Role.MARROW, level, parts == n)
            for n, level in enumerate(("L4", "L3", "L2"), 1)
        ]
        numbers = measure(Study({Contrast.SUV: image}, bodies, 34, "M")).measurements
        said = "Where vertebrae lie on the PET is not certain:"
        assert any(c.startswith(said) for m in numbers for c in m.cautions) != certain
        assert any(m.quantity == "marrow_suv" for m in numbers)


def with_organs(image, ct):
    """Two bones beside each other in the trunk, on both."""
    for one, value in ((image, 3.0), (ct, 600)):
        k, j, i = np.indices(one.array.shape)
        x, y, z = np.moveaxis(one.to_ras(np.stack([i, j, k], -1)), -1, 0)
        if one is ct:
            x, y, z = x - MOVED[0], y - MOVED[1], z - MOVED[2]
        one.array[(abs(y + 25) < 12) & (abs(abs(x) - 30) < 14) & (abs(z) < 60)] = value
    return image, ct


MOVED = (8.0, -6.0, 12.0)


def test_registration_moves_the_grid_of_the_pet_and_says_so():
    from MarrowAssessLib.study.registration import register_pet

    image, ct = with_organs(*body_on_ct(MOVED))
    angle = np.radians(4)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    image.ijk_to_ras = turn @ image.ijk_to_ras
    region = Region.from_mask("L1 marrow", Role.MARROW, "L1", ct.array > 500)
    one = Study({Contrast.SUV: image, Contrast.CT: ct}, [region], 50, drawn_on=ct)
    assert not [m for m in measure(one).measurements if m.quantity == "marrow_suv"]  # apart
    told = register_pet(one)
    assert "8.0 mm right" in told or "7." in told or "8." in told
    assert "turned by" in told and "its voxels are as they were" in told
    moved = one.volumes[Contrast.SUV]
    assert moved.array is image.array
    expected = np.linalg.inv(turn)
    expected[:3, 3] = MOVED
    corners = image.to_ras(np.array([[10, 10, 10], [38, 10, 10], [10, 38, 38]]))
    where = moved.to_ras(np.array([[10, 10, 10], [38, 10, 10], [10, 38, 38]]))
    np.testing.assert_allclose(where, corners @ expected[:3, :3].T + expected[:3, 3], atol=2)
    (found,) = [m for m in measure(one).measurements if m.quantity == "marrow_suv"]
    assert found.value == pytest.approx(3.0, rel=0.03)


def test_the_command_records_how_far_the_pet_was_moved(tmp_path, capsys, monkeypatch):
    told = "The PET was moved 8.0 mm right."  # registration itself is tested above
    monkeypatch.setattr("MarrowAssessLib.study.registration.register_pet", lambda study: told)
    image, ct = body_on_ct()
    marrow = ct.with_array((ct.array > 0).astype(np.uint8))
    for name, one in (("suv", image), ("ct", ct), ("labels", marrow)):
        write_volume(one, tmp_path / f"{name}.nii.gz")
    images = ["--volume", f"SUV={tmp_path}/suv.nii.gz", "--volume", f"CT={tmp_path}/ct.nii.gz"]
    drawn = ["--labels", f"{tmp_path}/labels.nii.gz", "--label", "1=marrow:L1"]
    more = ["--register-pet", "--no-scene", "--out", f"{tmp_path}/out"]
    assert main(["assess", *images, *drawn, *more]) == 0
    record = json.loads((tmp_path / "out" / "assessment.json").read_text())
    assert told in record["notes"] and told in capsys.readouterr().out


def test_what_cannot_be_registered_is_refused(monkeypatch):
    from MarrowAssessLib.study import registration

    image, ct = body_on_ct()
    region = Region.from_mask("L1 marrow", Role.MARROW, "L1", ct.array > 0)
    with pytest.raises(ValueError, match="--register-pet needs a PET"):
        registration.register_pet(Study({Contrast.CT: ct}, [region], 50))
    far = ct.with_array(ct.array)
    far.ijk_to_ras = ct.ijk_to_ras.copy()
    far.ijk_to_ras[0, 3] += 190
    with pytest.raises(ValueError, match="PET and the CT share 4 % of the PET; registration"):
        registration.moved_onto(image, far, "the CT")
    monkeypatch.setattr(registration, "MOST_MM", 5.0)
    with pytest.raises(ValueError, match="more than 5 mm and 20 degrees: the CT and PET do not"):
        registration.moved_onto(*body_on_ct((0.0, 0.0, 12.0)), "the CT")


def test_other_frames_of_reference_are_told():
    image, ct = body_on_ct()
    image.attributes["FrameOfReference"], ct.attributes["FrameOfReference"] = "a", "b"
    region = Region.from_mask("L1 marrow", Role.MARROW, "L1", ct.array > 0)
    one = Study({Contrast.SUV: image, Contrast.CT: ct}, [region], 50, drawn_on=ct)
    cautions = {c for m in measure(one).measurements for c in m.cautions}
    assert any("are of different frames of reference by their headers" in c for c in cautions)


@pytest.mark.parametrize(("mm", "told", "measured"), [(0, 0, 1), (7, 1, 1), (14, 0, 0)])
def test_a_body_that_lies_apart_is_told_and_then_refused(mm, told, measured):
    image, ct = body_on_ct((0.0, 0.0, float(mm)))
    mask = np.zeros(ct.array.shape, bool)
    mask[14:22, 40:56, 40:56] = True
    region = Region.from_mask("L1 marrow", Role.MARROW, "L1", mask)
    one = Study({Contrast.SUV: image, Contrast.CT: ct}, [region], 50, drawn_on=ct)
    result = measure(one)
    numbers = [m for m in result.measurements if m.quantity == "marrow_suv"]
    assert len(numbers) == measured
    words = [c for m in numbers for c in m.cautions if "body lies apart on PET and CT by" in c]
    assert len(words) == told
    if not measured:
        assert any("the body lies apart on PET and CT by" in s.reason for s in result.skipped)
        accepted = measure(one, Settings(accept_shift=True)).measurements
        assert any(m.quantity == "marrow_suv" for m in accepted)


def test_the_form_of_pet():
    from MarrowAssessLib.findings.form import forms

    (form,) = forms(measure(study()).measurements)
    held = {one.name: one.measured for one in form.fields}
    assert held["Marrow, five-point score"] == "2 to 4 in 3 regions"
    assert held["Hottest region drawn"].startswith("left femoral diaphysis, 4 of the five-point")
    assert held["Marrow of limbs"] == "1 regions above liver and blood pool"
    for of_reader in ("Focal lesions, number and sites", "Extramedullary disease"):
        assert held[of_reader] == ""
    assert "elsewhere by analogy" in form.note
