"""Cautions and refusals of the measuring core, each provoked by the least that gives it."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role, spine_levels
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.measures.measure import measure
from MarrowAssessLib.placement.body import _doubts, painted_body
from MarrowAssessLib.placement.clicks import regions_from_clicks
from MarrowAssessLib.placement.following import corrected, follow_column
from MarrowAssessLib.placement.options import PlacingOptions
from MarrowAssessLib.placement.structure import place
from MarrowAssessLib.placement.vertebra import RAYS, Box, Surface
from MarrowAssessLib.sources.labels import parse_label_rule
from MarrowAssessLib.study.bias_field import corrected as without_shading
from MarrowAssessLib.study.regions import Region, rasterize
from MarrowAssessLib.study.study import Study
from PDFFMapperLib.images.markups_file import read_markups
from PDFFMapperLib.images.shapes import Shape
from PDFFMapperLib.images.volume import Volume

SHAPE = (6, 120, 20)
ROWS = {"L1": 0, "L2": 20, "L3": 40, "L4": 60}


def block(name, role, site, first, rows=10, slices=slice(1, 5)):
    mask = np.zeros(SHAPE, bool)
    mask[slices, first : first + rows, 5:15] = True
    return Region.from_mask(name, role, site, mask)


def marrow():
    return [block(f"{level} marrow", Role.MARROW, level, row) for level, row in ROWS.items()]


def study(regions, **signals) -> Study:
    rng = np.random.default_rng(0)
    volumes = {
        Contrast[name]: Volume(
            (np.broadcast_to(signal, SHAPE) + rng.normal(0, 0.5, SHAPE)).astype(np.float32),
            np.eye(4),
            name,
        )
        for name, signal in signals.items()
    }
    return Study(volumes, list(regions))


def cautions(of: Study, quantity: str, settings: Settings | None = None) -> str:
    found = measure(of, settings).measurements
    return " ".join(c for m in found if m.quantity == quantity for c in m.cautions)


def skipped(of: Study, quantity: str, settings: Settings | None = None) -> list[str]:
    return [one.reason for one in measure(of, settings).skipped if one.quantity == quantity]


COUNT = len(RAYS.directions)
AIR = block("air", Role.NOISE, "", 100)
CSF = block("L3 CSF", Role.CSF, "L3", 80)
SCORE = Settings(m_score_reference=(80.0, 10.0))


@pytest.mark.parametrize(("signal", "told"), [(-1.0, True), (0.0, True), (1.0, False)])
def test_marrow_without_signal_is_told(signal, told):
    one = study([*marrow(), block("psoas", Role.MUSCLE, "psoas", 80)], T1=60.0)
    one.volumes[Contrast.T1].array[:, :10] = signal
    said = f"The median signal of L1 marrow is {signal:g}, which no tissue has on a magnitude image"
    assert (said in cautions(one, "t1_marrow_muscle")) is told


@pytest.mark.parametrize(("opposed", "low"), [(60.0, 20.0), (98.0, 1.0), (120.0, None)])
def test_a_ratio_above_1_allows_no_fat_fraction(opposed, low):
    """|1 - 2 F| is 1 at most; the ratio itself and the drop are told all the same."""
    one = study([block("L3 marrow", Role.MARROW, "L3", 0)], OPPOSED_PHASE=opposed, IN_PHASE=100.0)
    found = {m.quantity: m.value for m in measure(one).measurements}
    assert found["opposed_in_ratio"] == pytest.approx(opposed / 100, abs=0.005)
    if low is None:
        assert not {"opposed_fat_fraction_low", "opposed_fat_fraction_high"} & found.keys()
    else:
        assert found["opposed_fat_fraction_low"] == pytest.approx(low, abs=0.3)
        assert found["opposed_fat_fraction_high"] == pytest.approx(100 - low, abs=0.3)


def test_few_voxels_and_voxels_left_out_are_told():
    small = block("L3 marrow", Role.MARROW, "L3", 40, rows=1, slices=slice(1, 2))
    assert "L3 marrow has only 10 voxels." in cautions(study([small], PDFF=40.0), "marrow_pdff")
    one = study(marrow(), PDFF=40.0)
    one.volumes[Contrast.PDFF].array[1, 40:42, 5:10] = np.nan
    assert "10 of 400 voxels of L3 marrow are not finite and were left out." in cautions(
        one, "marrow_pdff"
    )


def test_a_second_region_of_the_same_tissue_and_site_is_told():
    twin = block("L3 CSF again", Role.CSF, "L3", 100)
    told = cautions(study([*marrow(), CSF, twin], T1=100.0), "vbq")
    assert "Several regions are of the same tissue and site: L3 CSF again was not used." in told


def test_what_opposed_phase_cannot_tell_is_said():
    told = cautions(study(marrow(), IN_PHASE=100.0, OPPOSED_PHASE=60.0), "opposed_fat_fraction_low")
    assert "cannot tell a fat fraction from its complement" in told


@pytest.mark.parametrize(("pdff", "side"), [(20, "more cellular than the red"),
                                            (90, "fattier than the yellow")])  # fmt: skip
def test_a_fat_fraction_beyond_the_scale_of_marrow_is_told(pdff, side):
    told = cautions(study(marrow(), PDFF=float(pdff)), "marrow_yellow")
    assert f"PDFF {pdff} % is {side} end of the scale (40 to 80 %)" in told
    assert "Implied composition: " in told and " % protein, " in told


def test_the_m_score_says_what_it_needs_and_holds_for():
    with_air = study([*marrow(), AIR], T1=100.0)
    assert "Holds only for the scanner and protocol" in cautions(with_air, "m_score", SCORE)
    assert skipped(with_air, "m_score") == ["no reference mean and SD of this scanner was given"]
    fewer = study([*marrow()[:3], AIR], T1=100.0)
    assert skipped(fewer, "m_score", SCORE) == ["marrow regions at L1, L2, L3 and L4 are needed"]
    assert skipped(study(marrow(), T1=100.0), "m_score", SCORE) == [
        "no noise (air) region was given"
    ]
    with_air.volumes[Contrast.T1].array[:, 100:110] = 0
    with pytest.raises(ValueError, match="so it is no noise; the scanner may have masked"):
        measure(with_air, SCORE)


def test_vbq_without_csf_says_so():
    assert skipped(study(marrow(), T1=100.0), "vbq") == ["no CSF region at L3"]
    assert skipped(study(marrow(), T1=100.0), "vbq_s1") == ["no marrow region at S1"]


def test_a_fraction_in_a_region_of_a_map_in_percent_is_refused():
    one = study(marrow(), PDFF=0.0)
    array = one.volumes[Contrast.PDFF].array
    array[:] = 0.4
    array[0, 110:112] = 90.0  # 0.3 % of the voxels
    with pytest.raises(ValueError, match="which looks like a fraction; PDFF is expected in %"):
        measure(one)


def test_a_muscle_that_ends_at_its_largest_section_is_told():
    # Axis k is superior: the first slice is the largest.
    mask = np.zeros(SHAPE, bool)
    mask[1, 0:10, 5:15] = mask[2:5, 0:5, 5:15] = True
    muscle = Region.from_mask("psoas", Role.MUSCLE, "psoas", mask)
    assert "The largest section is at the region's end" in cautions(
        study([muscle], T1=100.0), "muscle_csa"
    )
    whole = block("psoas", Role.MUSCLE, "psoas", 0)
    whole.mask[0, :5] = False
    assert "region's end" not in cautions(study([whole], T1=100.0), "muscle_csa")


def test_a_muscle_cut_by_the_image_s_edge_is_told():
    inside = np.zeros(SHAPE, bool)
    inside[1:4, 5:10, 5:15] = inside[2, 4:10, 5:15] = True
    cut = np.zeros(SHAPE, bool)
    cut[1:4, :5, :10] = True
    for mask, told in ((inside, False), (cut, True)):
        muscle = Region.from_mask("psoas", Role.MUSCLE, "psoas", mask)
        said = cautions(study([muscle], T1=100.0), "muscle_csa")
        assert ("is cut by the image's edge" in said) is told


def test_a_body_at_the_image_s_end_may_lie_partly_outside():
    """Axis k is superior, j anterior; from side to side stacks end everywhere."""
    for box, said in (
        ((slice(0, 3), slice(20, 30), slice(5, 10)), "reaches the lower edge"),
        ((slice(SHAPE[0] - 3, SHAPE[0]), slice(20, 30), slice(5, 10)), "reaches the upper edge"),
        ((slice(1, 3), slice(0, 10), slice(5, 10)), "reaches the back edge"),
        ((slice(1, 3), slice(20, 30), slice(0, 10)), ""),
    ):
        mask = np.zeros(SHAPE, bool)
        mask[box] = True
        body = Region.from_mask("L3 marrow", Role.MARROW, "L3", mask)
        told = cautions(study([body], PDFF=40.0), "marrow_pdff")
        assert said in told and ("of the image and may go on beyond it" in told) is bool(said)


def test_muscles_are_told_slice_by_slice_with_their_largest_section():
    from MarrowAssessLib.measures.muscle import muscle_sections

    mask = np.zeros(SHAPE, bool)
    mask[1, 4:8, 5:15] = mask[2, 4:10, 5:15] = mask[4, 4:9, 5:15] = True
    one = study([Region.from_mask("psoas", Role.MUSCLE, "psoas", mask)], PDFF=5.0)
    pdff = one.volumes[Contrast.PDFF].array
    pdff[1], pdff[2] = 5.0, 9.0
    pdff[2, 4, 5:15] = np.nan
    pdff[4] = np.nan
    found = muscle_sections(one)
    assert [s.number for s in found] == [2, 3, 5]
    assert [s.area_cm2 for s in found] == pytest.approx([0.4, 0.6, 0.5])
    assert [s.fat_percent for s in found] == [5.0, 9.0, None]
    assert [s.largest for s in found] == [False, True, False]
    steps = np.diff([s.position_mm for s in found])
    assert steps == pytest.approx(one.grid.spacing[2] * np.array([1, 2]))
    assert {s.fat_map for s in found} == {"PDFF"}
    largest = next(m for m in measure(one).measurements if m.quantity == "muscle_csa")
    assert largest.value == pytest.approx(0.6)


@pytest.mark.parametrize("margin", [-1.0, float("inf")])
def test_a_margin_that_cannot_be_is_refused(margin):
    with pytest.raises(ValueError, match="expected 0 mm or more"):
        Settings(margin)


def test_names_that_stand_twice_are_refused():
    with pytest.raises(ValueError, match="Region names must be unique; used twice: L3 CSF"):
        study([CSF, CSF], T1=1.0)


def test_n4_without_signal_is_refused():
    with pytest.raises(ValueError, match="N4 needs positive signal; there is none"):
        without_shading(Volume(np.zeros(SHAPE, np.float32), np.eye(4), "T1"))


def test_shapes_and_labels_that_cannot_be_are_refused(tmp_path):
    grid = Volume(np.zeros(SHAPE, np.float32), np.eye(4), "T1")
    far = Shape("sphere", "L3", np.array([[500.0, 0, 0]]), 4.0)
    with pytest.raises(ValueError, match="L3 lies outside T1; draw it inside the image"):
        rasterize(far, grid, Role.MARROW, "L3")
    with pytest.raises(ValueError, match="does not say what a label means"):
        parse_label_rule("marrow:L3")
    with pytest.raises(ValueError, match="4, 5 or 6 lumbar vertebrae are expected, not 7"):
        spine_levels(7)


@pytest.mark.parametrize(
    ("markup", "words"),
    [
        ({"type": "Line"}, "points, closed curves and ROI boxes can be regions"),
        ({"type": "ClosedCurve"}, "has 1 points, needs 3"),
        ({"type": "ROI", "insideOut": True}, "is inside out; a region is its inside"),
    ],
)
def test_markups_that_are_no_region_are_refused(tmp_path, markup, words):
    path = tmp_path / "a.mrk.json"
    points = {"name": "L3", "controlPoints": [{"label": "L3", "position": [0, 0, 0]}]}
    path.write_text(json.dumps({"markups": [points | markup]}))
    with pytest.raises(ValueError, match=words):
        read_markups(path)


def surface(half, axes=None, support=1.0, radii=1.0):
    box = Box(np.zeros(3), np.eye(3) if axes is None else axes, np.array(half, float))
    return Surface(box, np.full(COUNT, radii), np.full(COUNT, support))


def turned(degrees):
    a = np.deg2rad(degrees)
    return np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (surface((60, 17, 13)), r"The body is \d+ mm wide; 26 to 64 mm is usual."),
        (surface((22, 18, 6.8)), "The body is flat for its depth; it may be a disc or fractured."),
        (surface((22, 17, 13), support=0.1), "The border is faint: most of it lies on no clear"),
        (surface((22, 17, 13), turned(-50)), r"The body leans \d+ degrees to the"),
    ],
)  # fmt: skip
def test_an_unlikely_body_is_doubted(found, words):
    import re

    usual = _doubts(surface((22, 17, 13)), 2.0, 0.0, np.zeros(3))
    assert usual == []
    doubts = _doubts(found, 2.0, 0.0, np.zeros(3))
    assert any(re.match(words, one) for one in doubts), doubts
    moved = _doubts(surface((22, 17, 13)), 2.0, 99.0, np.zeros(3))
    assert moved == ["The result depends on where inside the body the click is."]


def test_clicks_that_do_not_go_together_are_refused(phantom):
    volume = phantom.volumes[Contrast.T1]
    with pytest.raises(ValueError, match="'L6' is not a vertebra of a spine with 5 lumbar"):
        follow_column(volume, np.zeros(3), "L6")
    found = follow_column(volume, np.zeros(3), "L3")
    with pytest.raises(ValueError, match="Give either a point inside the body or the painted"):
        corrected(volume, found, "L3")
    with pytest.raises(ValueError, match="The column is followed from one vertebra"):
        regions_from_clicks(volume, {"L3": np.zeros(3), "L4": np.zeros(3)})


@pytest.mark.parametrize(("sd", "told"), [(35.0, True), (15.0, False)])
def test_a_click_into_a_mixture_is_told(sd, told):
    """A quarter of the tissue's level: muscle and marrow vary less, what is mixed more."""
    array = np.random.default_rng(0).normal(100, sd, (40, 40, 40)).astype(np.float32)
    volume = Volume(array, np.diag([1.5, 1.5, 1.5, 1.0]), "T1")
    placed = place(volume, volume.to_ras(np.full(3, 19.5)), Role.MUSCLE)
    assert ("The tissue round the click is not uniform." in placed.unsure) is told


@pytest.mark.parametrize(("amplitude", "noise", "told"), [(40.0, 0.0, True), (15.0, 25.0, False)])
def test_a_muscle_that_varies_is_told_and_one_that_is_noisy_is_not(amplitude, noise, told):
    """Waves of 8 mm, as of a joint or of fat between fibers; noise from voxel to voxel is none."""
    across = np.sin(2 * np.pi * np.arange(40) * 1.5 / 8)
    array = 100 + amplitude * np.broadcast_to(across, (40, 40, 40))
    array = array + np.random.default_rng(0).normal(0, noise, array.shape)
    volume = Volume(array.astype(np.float32), np.diag([1.5, 1.5, 1.5, 1.0]), "T1")
    placed = place(volume, volume.to_ras(np.full(3, 19.5)), Role.MUSCLE)
    words = "Its signal varies much for a muscle's; fat, bone or a joint may be in it."
    assert (words in placed.unsure) is told
    assert (words in placed.roi.cautions) is told


def test_a_tiny_region_is_told():
    array = np.full((40, 40, 40), 100.0, np.float32)
    array[18:22, 18:22, 18:22] = 20.0
    volume = Volume(array, np.diag([1.5, 1.5, 1.5, 1.0]), "T1")
    middle = volume.to_ras(np.full(3, 19.5))
    placed = place(volume, middle, Role.FAT, margin_mm=0.5)
    assert any("smaller than 60 mm^3; its statistics are coarse" in one for one in placed.unsure)


@pytest.mark.parametrize(
    ("site", "age", "words"),
    [
        ("distal femur", 17.9, "Focal edema around a closing growth plate"),
        ("distal femur", 12.0, "Focal edema around a closing growth plate is a normal finding"),
        ("L3", 40.0, "Fracture, edema beside a degenerated disc, metal and recent treatment"),
        ("foot", 10.0, "Small islands of red marrow, bright on fat-suppressed T2"),
        ("distal femur", 40.0, "Reconversion to red marrow"),
        ("L3", None, "Age is not known: under 1 year the T1 rule does not hold."),
    ],
)
def test_what_looks_like_disease_and_is_none_is_named(site, age, words):
    from MarrowAssessLib.findings.assessment import assess

    dark = block("marrow", Role.MARROW, site, 0)
    muscle = block("psoas", Role.MUSCLE, "psoas", 20)
    t1 = np.full(SHAPE, 100.0)
    t1[:, 0:10] = 60.0
    one = study([dark, muscle], T1=t1)
    one.age_years = age
    (signature,) = assess(one).signatures
    assert any(caution.startswith(words) for caution in signature.cautions), signature.cautions
    t1[:, 0:10] = 150.0
    other = study([block("marrow", Role.MARROW, "clivus", 0), muscle], T1=t1)
    other.age_years = 30.0 if age is None else age
    (bright,) = assess(other).signatures
    assert not any(c.startswith(words) for c in bright.cautions) or words.startswith("Reconv")


def test_cohorts_say_where_they_are_weak(tmp_path, monkeypatch):
    from MarrowAssessLib.references.age_fit import fit_age_curve
    from MarrowAssessLib.references.cohort_csv import read_control_cohort
    from MarrowAssessLib.references.control_cohort import save_control_cohort
    from MarrowAssessLib.references.expected import expected

    monkeypatch.setenv("MARROWASSESS_COHORTS", str(tmp_path / "cohorts"))
    header = "quantity,site,sex,age_years,value\n"
    path = tmp_path / "own.csv"
    path.write_text(header)
    with pytest.raises(ValueError, match="the file holds no rows of controls"):
        read_control_cohort(path)
    path.write_text(header + "marrow_pdff,,F,40,30\n")
    with pytest.raises(ValueError, match="marrow_pdff needs a site, such as L3 or L1-L4"):
        read_control_cohort(path)
    with pytest.raises(ValueError, match="Ages and values of controls must be finite"):
        fit_age_curve(np.arange(30.0), np.full(30, np.nan))
    rng = np.random.default_rng(0)
    ages = np.linspace(20, 70, 100)
    values = 20 * np.exp(0.9 * rng.normal(size=100))
    rows = "".join(
        f"marrow_adc,L3,,{a:.1f},{v / 50:.4f}\n" for a, v in zip(ages, values, strict=True)
    )
    path.write_text(header + rows)
    save_control_cohort(read_control_cohort(path))
    told = " ".join(expected("marrow_adc", "L3", 40).cautions)
    assert "100 controls; 120 are recommended for a reference interval" in told
    assert "Skewed: a normal shape of" in told


def test_arguments_of_the_statistics_are_checked():
    from MarrowAssessLib.references.group_curve import fit_group_curves
    from MarrowAssessLib.study.regions import judge_right
    from MarrowAssessLib.texture.discretization import Discretization
    from MarrowAssessLib.texture.resampling import resampled

    with pytest.raises(ValueError, match="A curve needs at least three groups of ages"):
        fit_group_curves(((),))
    with pytest.raises(ValueError, match="'L9' cannot be judged right: doubtful regions are none"):
        judge_right(marrow(), ["L9"])
    with pytest.raises(ValueError, match="A bin width is a number above 0"):
        Discretization(bin_width=-1.0)
    with pytest.raises(ValueError, match=r"Expected 2 to \d+ bins; given were 1"):
        Discretization(bins=1)
    with pytest.raises(ValueError, match="The region has no voxel, so it has no gray levels"):
        Discretization(bins=8).levels(np.zeros(SHAPE), np.zeros(SHAPE, bool))
    with pytest.raises(ValueError, match="Voxel spacings are above 0 mm"):
        resampled(np.zeros(SHAPE), (1.0, 1.0, 0.0), (1.0, 1.0, 1.0), 1)


def in_the_air(phantom):
    """A point behind the patient, 5 to 6 mm from the skin."""
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(phantom.tissue.array == 0, 1))[1:-1, 1:-1, 1:-1]
    return phantom.tissue.to_ras(np.argwhere(depth > 3)[0][::-1].astype(float))


def test_a_disc_clicked_in_air_is_refused_or_doubted(phantom):
    clicked = {"L3-L4 disc": in_the_air(phantom)}
    with pytest.raises(ValueError, match=r"Nothing is left 1.5 mm inside the disc"):
        regions_from_clicks(phantom.volumes[Contrast.T1], places=clicked)
    (region,), _ = regions_from_clicks(phantom.volumes[Contrast.FS_T2], places=clicked)
    assert any(one.endswith("mm high; 3 to 20 mm is usual.") for one in region.cautions)
    assert any(one.startswith("Body beside it: ") for one in region.cautions)


def test_muscles_that_are_unlike_or_between_the_bodies_are_doubted():
    from MarrowAssessLib.placement.body import Placement
    from MarrowAssessLib.placement.tissue import _compare_sides, _keep_beside

    array = np.full(SHAPE, 100.0, np.float32)
    array[:, 20:30] = 250.0
    volume = Volume(array, np.eye(4), "T1")

    def muscle(side, first):
        region = block(f"{side} psoas", Role.MUSCLE, f"{side} psoas", first)
        return Placement(region, region, [])

    pair = {side: muscle(side, first) for side, first in (("left", 0), ("right", 20))}
    _compare_sides(volume, pair)
    for one in pair.values():
        assert one.roi.cautions == [
            "Its signal differs much from the other side's; one may be fat or bone."
        ]
    alike = {side: muscle(side, first) for side, first in (("left", 0), ("right", 40))}
    _compare_sides(volume, alike)
    assert not any(one.unsure for one in alike.values())
    between = muscle("left", 0)
    wide = Box(np.array([10.0, 5.0, 3.0]), np.eye(3), np.array([30.0, 17.0, 13.0]))
    _keep_beside(volume, between, (wide, wide))
    assert between.unsure == ["No psoas was found beside the disc; place it by hand."]


def test_what_files_and_sources_state_is_checked(tmp_path):
    from MarrowAssessLib.sources.study_file import read_study_file
    from MarrowAssessLib.sources.study_files import read_study
    from MarrowAssessLib.study.map_scale import in_stated_unit
    from PDFFMapperLib.images.files import write_volume

    kelvin = Volume(np.full(SHAPE, 300.0), np.eye(4), "PDFF", {"Units": "K"})
    with pytest.raises(ValueError, match="states the unit 'K', which is none of PDFF"):
        in_stated_unit(kelvin, Contrast.PDFF)
    for contrast in (Contrast.T1, Contrast.OPPOSED_PHASE):  # PDFF as T1 has marrow above muscle
        for facts in ({"Units": "%"}, {"RescaleType": "10^-6 mm2/s"}, {"Units": "/s"}):
            with pytest.raises(ValueError, match=f"so it is a map and no {contrast.value} image"):
                in_stated_unit(Volume(np.full(SHAPE, 30.0), np.eye(4), "x", facts), contrast)
        adc = Volume(np.ones(SHAPE), np.eye(4), "x", {"ImageType": ["DERIVED", "PRIMARY", "ADC"]})
        with pytest.raises(ValueError, match=f"a map of diffusion and no {contrast.value} image"):
            in_stated_unit(adc, contrast)
        for facts in ({"Units": "1"}, {"Units": "arbitrary"}, {"RescaleType": "US"}, {}):
            image = Volume(np.full(SHAPE, 30.0), np.eye(4), "x", facts)
            assert in_stated_unit(image, contrast) == (image, "")
    share, said = in_stated_unit(
        Volume(np.full(SHAPE, 0.3), np.eye(4), "PDFF", {"Units": "fraction"}), Contrast.PDFF
    )
    assert share.array[0, 0, 0] == pytest.approx(30) and "times 100" in said
    again, said = in_stated_unit(share, Contrast.PDFF)  # as when a scaled map is measured again
    assert again.array[0, 0, 0] == pytest.approx(30) and said == ""
    write_volume(kelvin.with_array(np.ones(SHAPE, np.int16)), tmp_path / "t1.nrrd")
    with pytest.raises(ValueError, match="Say what labels mean once: by rules, or as those of"):
        read_study(
            {Contrast.T1: tmp_path / "t1.nrrd"},
            labels=tmp_path / "t1.nrrd",
            rules=[parse_label_rule("1=marrow:L3")],
            labels_of="TotalSpineSeg",
        )
    (tmp_path / "study.json").write_text('{"volumes": {"T1": "t1.nrrd"}, "sex": 3}')
    with pytest.raises(ValueError, match=r"'sex' must be .* this is 3"):
        read_study_file(tmp_path / "study.json")
    (tmp_path / "study.json").write_text('{"volumes": {"T1": "t1.nrrd"}, "ages": 3}')
    with pytest.raises(ValueError, match=r"study.json: unknown key ages; expected: age_years, "):
        read_study_file(tmp_path / "study.json")


def body_at(z):
    box = Box(np.array([0.0, 0.0, z]), np.eye(3), np.array([22.0, 17.0, 13.0]))
    return replace(surface((22, 17, 13)), box=box)


def test_a_disc_that_the_network_does_not_see_is_what_lies_between():
    from MarrowAssessLib.placement.disc import disc_seen

    grid = np.eye(4)
    grid[:3, 3] = [-30, -25, -40]
    volume = Volume(np.full((80, 50, 60), 100.0, np.float32), grid, "T1")
    pair = body_at(18.0), body_at(-18.0)
    unseen = disc_seen(volume, volume.with_array(np.zeros(volume.array.shape)), *pair, "L3-L4")
    said = "The disc is hardly seen: it is what lies between the bodies."
    assert said in unseen.unsure and said in unseen.roi.cautions
    assert unseen.body.voxels > 1000


def test_a_disc_is_seen_from_150_mm3_on_and_specks_are_none_of_it():
    from MarrowAssessLib.placement.disc import disc_seen

    grid = np.eye(4)
    grid[:3, 3] = [-30, -25, -40]
    volume = Volume(np.full((80, 50, 60), 100.0, np.float32), grid, "T1")

    def seen(*slabs):
        chance = np.zeros(volume.array.shape, np.float32)
        for slab in slabs:
            chance[slab] = 1
        pair = body_at(18.0), body_at(-18.0)
        found = disc_seen(volume, volume.with_array(chance), *pair, "L3-L4")
        return found, found.body.full_mask(volume.array.shape)

    speck = np.s_[40:41, 25:26, 50:51]
    found, mask = seen(np.s_[36:44, 20:30, 20:40], speck)
    assert not found.unsure and not mask[speck] and 1400 < found.body.voxels <= 1600
    assert not seen(np.s_[38:42, 21:28, 25:33])[0].unsure  # 4 x 7 x 8 mm
    (doubt,) = seen(np.s_[39:42, 21:27, 25:33])[0].unsure  # 3 x 6 x 8 mm
    assert doubt.startswith("The disc is hardly seen")


def test_a_found_body_says_where_network_and_edges_differ_and_where_it_is_cut():
    from MarrowAssessLib.placement.options import AS_USUAL
    from MarrowAssessLib.placement.spine_column import _body

    grid = np.eye(4)
    grid[:3, 3] = [-30, -25, -20]
    volume = Volume(np.full((40, 50, 60), 100.0, np.float32), grid, "T1")
    whole = surface((22, 17, 13))
    assert _body(volume, whole, 0.95, "L3", [], AS_USUAL).unsure == []
    differs = _body(volume, whole, 0.8, "L3", [], AS_USUAL)
    assert differs.unsure == [
        "The body's outline is not certain: its edges lie elsewhere than expected."
    ]
    cut = surface((22, 17, 13))
    cut.support[: COUNT // 10] = np.nan
    assert _body(volume, cut, 0.95, "L3", [], AS_USUAL).roi.cautions == [
        "The body is cut by the edge of the image."
    ]


@pytest.mark.parametrize(("beyond_mm", "told"), [(0.4, True), (1.6, False)])
def test_a_found_body_that_reaches_the_image_s_end_is_cut(beyond_mm, told):
    """Nothing of its outline lies outside, but the image ends above its upper endplate."""
    from MarrowAssessLib.placement.options import AS_USUAL
    from MarrowAssessLib.placement.spine_column import _body

    grid = np.eye(4)
    grid[:3, 3] = [-30, -25, 13 + beyond_mm + 0.5 - 40]  # the last row's middle is .5 mm lower
    volume = Volume(np.full((40, 50, 60), 100.0, np.float32), grid, "T1")
    unsure = _body(volume, surface((22, 17, 13)), 0.95, "L3", [], AS_USUAL).unsure
    assert unsure == ["The body is cut by the edge of the image."] * told


def test_an_image_that_shows_nothing_of_the_spine_is_named():
    from MarrowAssessLib.placement.find_spine import _chances, sagittal_frame

    array = np.random.default_rng(0).normal(100, 10, (48, 32, 2)).astype(np.float32)
    seen = Volume(array, np.diag([4.0, 1.5, 1.5, 1.0]), "T1")
    elsewhere = seen.ijk_to_ras.copy()
    elsewhere[2, 3] = 900.0
    frame = sagittal_frame(seen)
    _, notes = _chances([seen, Volume(array, elsewhere, "T2")], frame, None, None)
    assert notes == ["T2 shows nothing there."]


def test_results_without_slicer_core_say_what_is_missing(tmp_path, monkeypatch):
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.scene.outputs import write_outputs

    monkeypatch.setitem(sys.modules, "slicer", None)
    dark = block("marrow", Role.MARROW, "L3", 0)
    assessment = assess(study([dark, block("psoas", Role.MUSCLE, "psoas", 20)], T1=100.0))
    written = write_outputs(assessment, tmp_path / "out", True, lambda text: None)
    assert [path.name for path in written] == [
        "report.html", "measurements.csv", "muscle_sections.csv", "assessment.json",
    ]  # fmt: skip
    assert assessment.notes[-1].startswith("No 3D overlay and no scene: The Slicer scene needs")


def test_results_without_graphics_say_what_is_missing(tmp_path, monkeypatch):
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from MarrowAssessLib.findings.assessment import assess
    from MarrowAssessLib.scene import headless
    from MarrowAssessLib.scene.outputs import write_outputs

    monkeypatch.setattr(headless, "_render_window_class", lambda: "")
    dark = block("marrow", Role.MARROW, "L3", 0)
    assessment = assess(study([dark, block("psoas", Role.MUSCLE, "psoas", 20)], T1=100.0))
    told = []
    written = write_outputs(assessment, tmp_path / "out", True, told.append)
    assert "scene.mrb" in [path.name for path in written]
    assert not [path for path in written if path.suffix == ".png"]
    assert assessment.notes[-1].startswith("Pictures cannot be rendered on this machine because it")
    assert assessment.notes[-1] in told


def test_a_session_without_work_says_so(tmp_path):
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from MarrowAssessLib.scene import headless

    headless.start()
    from MarrowAssessLib.scene.files import load_scene, save_scene
    from MarrowAssessLib.scene.session import Session

    with pytest.raises(ValueError, match="There are no regions yet"):
        Session().shift_levels(None, 1)
    with pytest.raises(ValueError, match="There is nothing to take back"):
        Session().undo(None)
    with pytest.raises(ValueError, match=r"a scene is saved as .mrb"):
        save_scene(tmp_path / "scene.mrml")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        load_scene(tmp_path / "none.mrb")


def test_a_child_s_body_is_told_in_its_own_millimeters():
    (said,) = _doubts(surface((60, 17, 13)), 2.0, 0.0, np.zeros(3), size=0.65)[:1]
    assert said == "The body is 78 mm wide; 17 to 42 mm is usual."


def test_voxels_without_value_neither_empty_an_roi_nor_silence_a_doubt():
    """Maps hold NaN where no fit was possible, images brought onto a grid beyond their edge."""
    rng = np.random.default_rng(0)
    array = rng.normal(100, 3, (40, 40, 40)).astype(np.float32)
    array[:, :, 30:] = np.nan
    array[18, 18, 18] = np.nan
    volume = Volume(array, np.diag([1.5, 1.5, 1.5, 1.0]), "T1")
    middle = volume.to_ras(np.full(3, 19.5))
    air = place(volume, middle, Role.NOISE)
    assert "The click does not look like air: its signal is not low." in air.unsure
    muscle = place(volume, middle, Role.MUSCLE)
    assert np.isfinite(muscle.roi.values(array)).sum() > 500
    mask = np.zeros(array.shape, bool)
    mask[14:26, 12:28, 10:32] = True
    marrow = painted_body(volume, mask, np.eye(3), "L3", PlacingOptions(leave_out=("vein",)))
    assert marrow.roi.voxels > 500 and not marrow.unsure


def test_what_holds_few_values_is_told_of_means_and_divisors_too():
    bodies = [block(f"L{n} marrow", Role.MARROW, f"L{n}", 12 * n) for n in range(1, 5)]
    pdff = np.full(SHAPE, 40.0)
    pdff[1:4, 24:34] = np.nan
    lumbar = [m for m in measure(study(bodies, PDFF=pdff)).measurements if m.site == "L1-L4"]
    words = "Only 100 of 400 voxels of L2 marrow hold a value"
    assert all(any(words in one for one in m.cautions) for m in lumbar) and lumbar
    muscle = block("psoas", Role.MUSCLE, "psoas", 72)
    t1 = np.full(SHAPE, 100.0)
    t1[1, 72:82] = np.nan
    found = measure(study([bodies[0], muscle], T1=t1)).measurements
    (ratio,) = [m for m in found if m.quantity == "t1_marrow_muscle"]
    assert "100 of 400 voxels of psoas are not finite and were left out." in ratio.cautions


def test_a_place_outside_one_image_is_told_by_the_others_alone():
    """Two images of one patient: where the first shows nothing, the second's answer stands."""
    from MarrowAssessLib.placement.find_spine import _chances, sagittal_frame

    array = np.random.default_rng(0).normal(100, 10, (48, 32, 2)).astype(np.float32)
    one = Volume(array, np.diag([4.0, 1.5, 1.5, 1.0]), "T1")
    other = Volume(array, one.ijk_to_ras, "T2")
    frame = sagittal_frame(one)
    frame.array[:, :20] = np.nan
    chances, _ = _chances([one, other], frame, None, None)
    assert chances.sum(axis=0) == pytest.approx(1, abs=1e-3)
