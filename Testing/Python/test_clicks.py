"""Regions on the command line and in a study file without drawing: points, other tools' labels."""

import contextlib
import csv
import json
import re
from threading import Event, Thread

import numpy as np
import pytest
from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.commands import main as cli
from MarrowAssessLib.commands.study_options import parse_click
from MarrowAssessLib.placement import clicks
from MarrowAssessLib.placement.clicks import find_ahead, place_clicked, regions_from_clicks
from MarrowAssessLib.placement.judgment import Click, click_doubts, read_click
from MarrowAssessLib.placement.level_names import KnownLevel
from MarrowAssessLib.sample.phantom import TISSUES
from MarrowAssessLib.sources.labels import parse_label_rule
from MarrowAssessLib.sources.study_files import read_study
from MarrowAssessLib.study.regions import Region
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.volume import Volume
from scipy import ndimage

pytestmark = pytest.mark.usefixtures("computed_once")


@pytest.fixture(scope="module")
def drawn(phantom):
    return phantom


def middle(drawn, tissue):
    """A point of a tissue, RAS mm: the voxel next to the middle of its largest slice."""
    mask = drawn.tissue.array == list(TISSUES).index(tissue)
    k = mask.sum(axis=(1, 2)).argmax()
    at = np.argwhere(mask[k])
    j, i = at[((at - at.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    return drawn.tissue.to_ras(np.array([i, j, k], float))


def as_text(point):
    return ",".join(f"{value:.2f}" for value in point)


def share(drawn, region, tissue):
    """How much of a region lies in a tissue."""
    mask = region.full_mask(drawn.tissue.array.shape)
    return np.mean(drawn.tissue.array[mask] == list(TISSUES).index(tissue))


@pytest.fixture(scope="module")
def by_options(drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clicks")
    write_volume(drawn.volumes[Contrast.T1], folder / "t1.nii.gz")
    code = cli.main([
        "assess", "--volume", f"T1={folder / 't1.nii.gz'}",
        "--column", f"L3={as_text(middle(drawn, 'L3'))}",
        "--place", f"fat={as_text(middle(drawn, 'fat'))}",
        "--age", "60", "--sex", "F", "--no-scene", "--out", str(folder / "out"),
    ])  # fmt: skip
    assert code == 0
    return folder


def test_paraspinal_muscle_that_was_drawn_is_kept_for_the_one_that_is_found(by_options, drawn):
    labels = np.zeros(drawn.tissue.array.shape, np.int16)
    labels[:3, :3, :3] = 2
    write_volume(drawn.tissue.with_array(labels), by_options / "labels.nii.gz")
    images = {Contrast.T1: by_options / "t1.nii.gz"}
    more = {"labels": by_options / "labels.nii.gz"}
    for site, voxels in (("psoas", None), ("paraspinal", [27])):
        more["rules"] = [parse_label_rule(f"2=muscle:{site}")]
        study = read_study(images, column={"L3": middle(drawn, "L3")}, **more)
        found = [one.voxels for one in study.regions if one.name == "paraspinal muscle"]
        assert len(found) == 1 and voxels in (None, found)


def rows(folder):
    with (folder / "measurements.csv").open(newline="") as stream:
        return {(r["quantity"], r["site"]): r for r in csv.DictReader(stream)}


def test_one_point_gives_the_bone_quality_of_the_labels(drawn, by_options):
    image, tissue = drawn.volumes[Contrast.T1].array, drawn.tissue.array

    def median(name):
        return np.median(image[tissue == list(TISSUES).index(name)])

    truth = np.median([median(name) for name in ("L1", "L2", "L3", "L4")]) / median("csf")
    assert float(rows(by_options / "out")["vbq", "L1-L4"]["value"]) == pytest.approx(
        truth, rel=0.03
    )


def test_the_report_says_from_which_points(drawn, by_options):
    text = (by_options / "out" / "assessment.json").read_text()
    said = json.loads(text)["inputs"]["points"]
    assert said.startswith("in T1: L3 at ")
    assert "fat at " in said
    assert "found T12, L1, L2, L3, L4, L5" in said


def test_a_study_file_says_the_same_as_options(drawn, by_options):
    content = {
        "volumes": {"T1": "t1.nii.gz"}, "age_years": 60, "sex": "F",
        "column": {"L3": [round(value, 2) for value in middle(drawn, "L3").tolist()]},
        "places": {"fat": [round(value, 2) for value in middle(drawn, "fat").tolist()]},
    }  # fmt: skip
    (by_options / "study.json").write_text(json.dumps(content))
    out = by_options / "again"
    study = str(by_options / "study.json")
    assert cli.main(["assess", "--study", study, "--no-scene", "--out", str(out)]) == 0
    assert rows(out) == rows(by_options / "out")


def test_a_doubtful_region_gets_its_verdict_once_it_is_judged_right(drawn, by_options, tmp_path):
    def assess(*more):
        code = cli.main([
            "assess", "--volume", f"T1={by_options / 't1.nii.gz'}",
            "--column", f"L3={as_text(middle(drawn, 'L3'))}",
            "--age", "60", "--sex", "F", "--no-scene", "--out", str(tmp_path / "out"), *more,
        ])  # fmt: skip
        return code, rows(tmp_path / "out") if code == 0 else {}

    muscle = ["--place", f"T5 marrow={as_text(middle(drawn, 'psoas'))}"]
    _, found = assess(*muscle)
    doubted = found["t1_marrow_disc", "T5"]
    assert (doubted["verdict"], doubted["z"]) == ("doubtful", "")
    assert "T5 marrow" in doubted["doubtful"].split("; ")
    names = doubted["doubtful"].split("; ")
    _, found = assess(*muscle, *(word for name in names for word in ("--right", name)))
    judged = found["t1_marrow_disc", "T5"]
    assert judged["verdict"] != "doubtful" and judged["doubtful"] == ""
    assert "Looked at and judged right." in judged["cautions"]
    assert assess("--right", "L9 marrow")[0] != 0


def test_fat_streaks_of_muscle_are_left_out_on_request(drawn, tmp_path):
    image = drawn.volumes[Contrast.T1]
    point = middle(drawn, "psoas")
    i, _, k = np.rint(image.ras_to_ijk(point)).astype(int)
    array = image.array.copy()
    array[k, :, i] = np.median(array[drawn.tissue.array == list(TISSUES).index("fat")])
    write_volume(image.with_array(array), tmp_path / "t1.nii.gz")
    assess = [
        "assess", "--volume", f"T1={tmp_path / 't1.nii.gz'}", "--no-scene",
        "--place", f"psoas muscle={as_text(point)}",
    ]  # fmt: skip
    area = {}
    for name, more in (("kept", []), ("left out", ["--leave-out", "fat"])):
        out = tmp_path / name
        assert cli.main([*assess, *more, "--out", str(out)]) == 0
        area[name] = float(rows(out)["muscle_csa", "psoas"]["value"])
        said = json.loads((out / "assessment.json").read_text())["inputs"]["points"]
        assert ("left out: fat" in said) == bool(more)
    voxel = 1.5 * 2.5 / 100  # cm^2 in an axial slice; smoothing may take one more on each side
    assert 0.9 * voxel < area["kept"] - area["left out"] < 3.1 * voxel


def test_a_later_point_replaces_a_body_and_leaves_the_others(drawn):
    volume = drawn.volumes[Contrast.T1]
    column = {"L3": middle(drawn, "L3")}
    before, _ = regions_from_clicks(volume, column)
    after, _ = regions_from_clicks(volume, column, {"L2 marrow": middle(drawn, "L2")})
    assert [region.name for region in after] == [region.name for region in before]
    for one, other in zip(before, after, strict=True):
        if one.site not in ("L2", "L1-L2", "L2-L3", "paraspinal"):
            assert one.offset == other.offset and np.array_equal(one.mask, other.mask), one.name
    (body,) = [region for region in after if region.name == "L2 marrow"]
    assert share(drawn, body, "L2") > 0.98


def test_single_structures_are_found(drawn):
    names = {"L4 marrow": "L4", "fat": "fat", "L3-L4 disc": "disc", "left psoas muscle": "psoas"}
    volume = drawn.volumes[Contrast.T1]
    points = {name: middle(drawn, tissue) for name, tissue in names.items()}
    regions, said = regions_from_clicks(volume, places=points)
    assert said == ""
    for region, tissue in zip(regions, names.values(), strict=True):
        assert share(drawn, region, tissue) > 0.95, region.name


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--column", "L3=1,2"], "'L3=1,2' is no point; expected NAME=R,A,S in mm"),
        (["--column", "L3=0,0,9999"], "L3: the point 0, 0, 9999 (RAS, mm) lies outside"),
        (["--column", "L9=0,0,0"], "Unknown site 'L9'"),
        (["--place", "wood=0,0,0"], "wood"),
        (["--place", "fat=0,0,0", "--place", "fat=1,1,1"], "fat is placed twice"),
        (["--place", "L3 lesion=0,0,0"], "No click finds a lesion's border; draw the lesion"),
    ],
)
def test_bad_points_give_one_sentence_and_no_output(
    by_options, options, sentence, tmp_path, capsys
):
    out = tmp_path / "out"
    volume = f"T1={by_options / 't1.nii.gz'}"
    assert cli.main(["assess", "--volume", volume, *options, "--out", str(out)]) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_labels_of_another_tool(drawn, by_options, tmp_path):
    """TotalSpineSeg: 43 is L3, 44 L4, 2 the canal, 94 the disc between L3 and L4."""
    image, tissue = drawn.volumes[Contrast.T1], drawn.tissue.array
    labels = np.zeros(tissue.shape, np.uint8)
    for value, name in ((43, "L3"), (44, "L4"), (2, "csf"), (94, "disc")):
        labels[tissue == list(TISSUES).index(name)] = value
    write_volume(image.with_array(labels), tmp_path / "labels.nii.gz")
    out = tmp_path / "out"
    arguments = [
        "assess", "--volume", f"T1={by_options / 't1.nii.gz'}", "--labels",
        str(tmp_path / "labels.nii.gz"), "--no-scene", "--out", str(out),
    ]  # fmt: skip
    assert cli.main(arguments) == 2  # which tool made them is never guessed
    assert cli.main([*arguments, "--labels-of", "TotalSpineSeg"]) == 0
    content = json.loads((out / "assessment.json").read_text())
    assert re.fullmatch(
        r"image [0-9a-f]{8} \(labels of TotalSpineSeg\)", content["inputs"]["labels"]
    )
    assert {"L3", "L4"} <= {site for _, site in rows(out)}
    assert "the whole vertebra with its arch" in (out / "report.html").read_text()


def in_air(drawn):
    """Four points in the air behind the patient, 5 to 6 mm from the skin."""
    depth = ndimage.distance_transform_edt(np.pad(drawn.tissue.array == 0, 1))[1:-1, 1:-1, 1:-1]
    deep = np.argwhere(depth > 3)
    chosen = deep[np.linspace(0, len(deep) - 1, 4).astype(int)]
    return [drawn.tissue.to_ras(kji[::-1].astype(float)) for kji in chosen]


@pytest.mark.parametrize("name", ["L3 marrow", "CSF L3", "psoas muscle"])
def test_clicks_in_air_are_refused_or_doubted(drawn, name):
    dark = 0
    for contrast in (Contrast.T1, Contrast.FS_T2, Contrast.OPPOSED_PHASE):
        for point in in_air(drawn):
            try:
                (region,), _ = regions_from_clicks(drawn.volumes[contrast], places={name: point})
            except ValueError:
                continue
            assert region.cautions, (name, contrast, point)
            in_tissue = region.full_mask(drawn.tissue.array.shape) & (drawn.tissue.array > 0)
            if name == "L3 marrow" and not in_tissue.any():
                assert "The region is almost as dark as air." in region.cautions
                dark += 1
    assert dark == (3 if name == "L3 marrow" else 0)


def test_a_click_waits_for_no_search_that_is_under_way(drawn):
    """Of another image ahead of its click, nor of one whose progress asks for the click."""
    point, begun, canceled = middle(drawn, "L2"), Event(), Event()
    within = []

    def clicked(progress):
        image = drawn.volumes[Contrast.T1]
        return place_clicked(image, point, Role.MARROW, "L2", progress=progress)

    def ahead():
        with contextlib.suppress(InterruptedError):
            find_ahead(
                drawn.volumes[Contrast.FS_T2], lambda _: begun.set() or not canceled.wait(60)
            )

    def again(_done):
        if not within:
            within.append(None)
            tells = iter(range(200))  # more than a search needs; waiting would end after them
            within.append(clicked(lambda _: next(tells, None) is not None))
        return True

    clicks._FOUND.clear()
    thread = Thread(target=ahead, daemon=True)
    thread.start()
    assert begun.wait(60)
    placed = clicked(again)
    assert thread.is_alive() and placed.roi.voxels == within[1].roi.voxels > 0
    (found,) = clicks._FOUND
    canceled.set()
    thread.join()
    assert list(clicks._FOUND) == [found]  # what is canceled leaves it


@pytest.mark.filterwarnings("error::RuntimeWarning")  # none of means of nothing
def test_a_column_clicked_in_air_is_doubted_or_refused(drawn):
    volume = drawn.volumes[Contrast.T1]
    regions, _ = regions_from_clicks(volume, {"L3": in_air(drawn)[0]})
    (seed,) = [region for region in regions if region.name == "L3 marrow"]
    assert "The region is almost as dark as air." in seed.cautions
    nothing = volume.with_array(np.where(drawn.tissue.array == 0, 0, volume.array))
    with pytest.raises(ValueError, match="no signal round this point"):
        regions_from_clicks(nothing, {"L3": in_air(drawn)[0]})
    nan = volume.with_array(np.where(drawn.tissue.array == 0, np.nan, volume.array))
    with pytest.raises(ValueError, match="The image has no values round this point; click inside"):
        regions_from_clicks(nan, {"L3": in_air(drawn)[0]})


def test_a_column_whose_clicked_body_holds_no_region_is_refused(drawn):
    volume, point = drawn.volumes[Contrast.T1], middle(drawn, "L3")
    at = np.rint(volume.ras_to_ijk(point)).astype(int)[::-1]
    few = volume.array[tuple(slice(n - r, n + r + 1) for n, r in zip(at, (1, 2, 2), strict=True))]
    place = volume.ijk_to_ras.copy()
    place[:3, 3] = volume.to_ras((at - (1, 2, 2))[::-1])
    with pytest.raises(
        ValueError, match=r"No vertebra was found at L3\. .*Nothing is left 3 mm inside"
    ):
        regions_from_clicks(Volume(few, place, "few"), {"L3": point})


@pytest.mark.parametrize("share, said", [(0.04, True), (0.06, False)])
def test_marrow_darker_than_a_twentieth_of_what_is_bright_is_doubted(share, said):
    """Air is darker, marrow has a tenth of it and more in every contrast."""
    array = np.full((12, 12, 12), 1000.0)
    array[4:8, 4:8, 4:8] = 1000 * share
    volume = Volume(array, np.eye(4), "T1")
    region = Region.from_mask("L3 marrow", Role.MARROW, "L3", array < 900)
    doubts = click_doubts(Click(np.full(3, 5.0), Role.MARROW, "L3"), volume, region, [])
    assert doubts == ["The region is almost as dark as air."] * said


@pytest.mark.parametrize("role, said", [(Role.NOISE, False), (Role.CSF, True)])
def test_only_what_is_not_for_the_noise_is_doubted_in_air(role, said):
    """Air that the scanner has set to 0."""
    volume = Volume(np.zeros((9, 9, 9)), np.eye(4), "T1")
    doubts = read_click(volume, (4, 4, 4), role).doubts
    assert doubts == ("There is no signal round the click: is it air?",) * said


@pytest.mark.parametrize("beside_mm, refused", [(45, True), (42, False)])
def test_a_vertebra_is_drawn_anew_up_to_one_pitch_from_where_it_is(beside_mm, refused):
    """43.4 mm of a body 28 mm high: beyond that another body was clicked."""
    volume = Volume(np.ones((101, 9, 101)), np.eye(4), "T1")
    drawn = KnownLevel("L3", np.array([50.0, 4.0, 50.0]), 28.0)
    held = {(Role.MARROW, "L3")}
    point = (50.0 + beside_mm, 4.0, 50.0)
    if refused:
        with pytest.raises(ValueError, match="L3 is drawn already, 45 mm from this click"):
            read_click(volume, point, Role.MARROW, "L3", known=[drawn], held=held)
    else:
        assert read_click(volume, point, Role.MARROW, "L3", known=[drawn], held=held).site == "L3"


@pytest.mark.parametrize(
    ("site", "up_mm", "said"),
    [
        ("L1", -74.0, "Named L1 as given, but it lies below L3."),
        ("L5", 74.0, "Named L5 as given, but it lies above L3."),
        ("L4-L5", 62.0, "Named L4-L5 as given, but it lies above L3."),
        ("L5", -74.0, ""),
        ("L1", 74.0, ""),
        ("left ilium", 74.0, ""),
    ],
)
def test_a_level_out_of_order_is_doubted(site, up_mm, said):
    """Two levels away no neighbor tells the name, but head and foot do."""
    volume = Volume(np.ones((301, 9, 9)), np.eye(4), "T1")
    drawn = KnownLevel("L3", np.array([4.0, 4.0, 150.0]), 24.0)
    role = Role.DISC if "-" in site else Role.MARROW
    click = read_click(volume, (4.0, 4.0, 150.0 + up_mm), role, site, known=[drawn])
    assert (click.site, click.doubts) == (site, (said,) * bool(said))


@pytest.mark.parametrize(
    ("known", "clicked", "said"),  # names by the levels on which they stand
    [
        ({3: "L3", 2: "L2", 5: "T12"}, "L4", False),  # order
        ({3: "L3", 2: "L2", 5: "S1"}, "L4", False),  # distance for the steps between the names
        ({3: "L3", 5: "T12"}, "L4", False),  # the click has a vote
        ({5: "T12"}, "L4", True),  # one against one: either may be wrong
        ({3: "L3", 2: "L2", 5: "L5"}, "L1", True),  # the click itself is named wrong
        ({1: "L1", 0: "T12"}, "L2", True),  # so far away neither has it as its neighbor
        ({1: "L1", 0: "T12"}, "L4", False),
    ],
)
def test_a_name_that_the_others_outvote_raises_no_doubt_of_right_ones(known, clicked, said):
    """Beside one vertebra of a wrong name a third of right clicks on real spines were doubted."""
    volume = Volume(np.ones((301, 9, 9)), np.eye(4), "T1")

    def at(level):
        return np.array([4.0, 4.0, 150.0 + 36 * (3 - level)])

    bodies = [KnownLevel(site, at(level), 26.0) for level, site in known.items()]
    click = read_click(volume, at(4), Role.MARROW, clicked, known=bodies)
    assert (click.site, bool(click.doubts)) == (clicked, said)


@pytest.mark.parametrize(("past_mm", "said"), [(10.0, False), (14.0, True)])
def test_the_rim_of_l5_may_lie_below_the_center_of_s1(past_mm, said):
    """Centers of L5 and S1 were 15 mm apart from head to foot in two of 19 real spines."""
    volume = Volume(np.ones((301, 81, 9)), np.eye(4), "T2")
    drawn = KnownLevel("S1", np.array([4.0, 10.0, 150.0]), 23.0)
    click = read_click(volume, (4.0, 50.0, 150.0 - past_mm), Role.MARROW, "L5", known=[drawn])
    assert any("lies below S1" in doubt for doubt in click.doubts) == said


@pytest.mark.parametrize("shared, said", [(9, True), (7, False)])
def test_regions_that_share_more_than_a_tenth_of_the_smaller_are_doubted(shared, said):
    """80 voxels of CSF: a border's width of 8 may be common."""
    mask, other = np.zeros((2, 20, 20), bool), np.zeros((2, 20, 20), bool)
    mask[0] = True
    other[1, :10, :8] = True
    other[1].flat[np.flatnonzero(other[1])[:shared]] = False
    other[0].flat[:shared] = True
    volume = Volume(np.ones(mask.shape), np.eye(4), "T2")
    region = Region.from_mask("L3 marrow", Role.MARROW, "L3", mask)
    csf = Region.from_mask("L3 CSF", Role.CSF, "L3", other)
    doubts = click_doubts(Click(np.zeros(3), Role.MARROW, "L3"), volume, region, [csf])
    assert doubts == ["It overlaps L3 CSF: one of the two is wrong."] * said


@pytest.mark.parametrize("site", ["left femoral diaphysis", "right ilium"])
def test_marrow_of_another_bone_is_what_is_alike_within_its_cortex(site, monkeypatch):
    """The vertebra's search cut it to a box and doubted it as unlike a vertebral body."""
    monkeypatch.setattr(clicks, "find_spine", lambda *_, **__: pytest.fail("a spine was sought"))
    noise = np.random.default_rng(1).standard_normal((12, 100, 100))
    k, j, i = np.mgrid[:12, :100, :100]
    radius = np.hypot(j - 50, i - 50)
    signal = np.select([radius < 15, radius < 20], [260.0, 10.0], 90.0) + 6 * noise
    grid = np.diag([1.0, 1.0, 4.0, 1.0])
    femur = Volume(signal.astype(np.float32), grid, "femur")
    point = femur.to_ras(np.array([50.0, 50.0, 6.0]))
    one = place_clicked(femur, point, Role.MARROW, site)
    assert one.unsure == [] and one.roi.name == f"{site} marrow"
    deep = np.hypot(k * 4 - 24, radius) <= 14  # of the sphere of 20 mm that is looked at
    expected = (radius < 12) & deep
    found = one.roi.full_mask(signal.shape)
    assert not (found & (radius >= 13)).any() and found[expected].mean() > 0.95
    assert np.median(signal[found]) == pytest.approx(260, abs=1)


def test_a_point_is_judged_by_what_is_found_already(drawn):
    volume = drawn.volumes[Contrast.T1]
    column = {"L3": middle(drawn, "L3")}
    muscle = {"L3 CSF": middle(drawn, "psoas"), "L2 marrow": middle(drawn, "L1")}
    regions, _ = regions_from_clicks(volume, column, muscle)
    cautions = {(region.role.value, region.site): region.cautions for region in regions}
    (overlap,) = (c for c in cautions["csf", "L3"] if c.startswith("It overlaps"))
    assert overlap.endswith("psoas muscle: one of the two is wrong.")
    assert "Named L2 as given; its neighbors tell L1." in cautions["marrow", "L2"]
    between = (middle(drawn, "L1") + middle(drawn, "L2")) / 2
    regions, _ = regions_from_clicks(volume, column, {"T9 marrow": between})
    (one,) = [region for region in regions if region.site == "T9"]
    assert "Its neighbors tell that L1-L2 disc was clicked." in one.cautions


def test_marrow_of_another_bone_is_placed_beside_a_column(drawn):
    """It was refused as no vertebra of the column."""
    column, point = {"L3": middle(drawn, "L3")}, middle(drawn, "fat")
    volume = drawn.volumes[Contrast.T1]
    regions, _ = regions_from_clicks(volume, column, {"left ilium marrow": point})
    (ilium,) = [region for region in regions if region.site == "left ilium"]
    assert share(drawn, ilium, "fat") > 0.95 and len(regions) > 10


def test_csf_without_a_level_gets_that_of_its_neighbors(drawn):
    volume = drawn.volumes[Contrast.T1]
    (l3,) = [r for r in drawn.study().regions if r.name == "L3 marrow"]
    at = volume.to_ras(l3.centroid_ijk())
    csf = np.argwhere(drawn.tissue.array == list(TISSUES).index("csf"))
    places = drawn.tissue.to_ras(csf[:, ::-1].astype(float))
    point = places[np.abs(places - [at[0], at[1] - 25, at[2]]).sum(axis=1).argmin()]
    (found,), _ = regions_from_clicks(volume, places={"csf": point}, drawn=[l3])
    assert (found.site, found.name) == ("L3", "L3 csf")


def test_points_are_read_with_commas_or_spaces():
    assert parse_click("L3 marrow = 1.5, -20 33") == ("L3 marrow", (1.5, -20.0, 33.0))
