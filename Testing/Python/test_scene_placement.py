"""Placing, naming, importing and taking back regions, on Slicer's real scene."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from MarrowAssessLib.scene import headless
from MarrowAssessLib.sources.inputs import StudyInputs

headless.start()

import slicer  # noqa: E402
from MarrowAssessLib.catalogue.anatomy import MUSCLES, Role  # noqa: E402
from MarrowAssessLib.catalogue.contrasts import Contrast  # noqa: E402
from MarrowAssessLib.catalogue.parameter_names import VOLUME_PARAMETERS  # noqa: E402
from MarrowAssessLib.placement.level_names import neighbor_site  # noqa: E402
from MarrowAssessLib.scene.column import (  # noqa: E402
    correct_painted,
    corrected_column,
    place_click,
    place_column,
    renamed_column,
)
from MarrowAssessLib.scene.edits import Change, add_regions, import_labels, take_back  # noqa: E402
from MarrowAssessLib.scene.label_nodes import segment_labels  # noqa: E402
from MarrowAssessLib.scene.placement import (  # noqa: E402
    Click,
    known_levels,
    place_region,
    read_click,
    shift_levels,
)
from MarrowAssessLib.scene.placing import placing  # noqa: E402
from MarrowAssessLib.scene.segments import (  # noqa: E402
    regions_from_node,
    regions_to_node,
    segment_points,
)
from MarrowAssessLib.scene.session import Session  # noqa: E402
from MarrowAssessLib.scene.study import study_from_nodes  # noqa: E402
from MarrowAssessLib.sources.label_maps import fitting_conventions  # noqa: E402
from MarrowAssessLib.study.regions import Region  # noqa: E402
from PDFFMapperLib.images.volume import Volume  # noqa: E402
from PDFFMapperLib.scene.volumes import (  # noqa: E402
    ijk_to_world,
    volume_from_node,
    volume_to_node,
)

GRID = np.array([[-1.0, 0, 0, 20], [0, -1, 0, 30], [0, 0, 2, -40], [0, 0, 0, 1]])
SHAPE = (40, 30, 30)


@pytest.fixture(autouse=True)
def empty_scene():
    slicer.mrmlScene.Clear(False)


@pytest.fixture
def image():
    return volume_to_node(Volume(np.full(SHAPE, 100, np.int16), GRID, "T1"))


def block(name, role, site, k):
    mask = np.zeros(SHAPE, bool)
    mask[k, 10:20, 10:20] = True
    return Region.from_mask(name, role, site, mask)


@pytest.fixture
def segmentation(image):
    return regions_to_node(
        [
            block("L3 marrow", Role.MARROW, "L3", slice(20, 30)),
            block("L3-L4 disc", Role.DISC, "L3-L4", slice(16, 18)),
            block("left psoas muscle", Role.MUSCLE, "left psoas", slice(2, 4)),
        ],
        image,
    )


def names(segmentation):
    segments = segmentation.GetSegmentation()
    return [segments.GetSegment(one).GetName() for one in segments.GetSegmentIDs()]


def test_known_levels_lie_where_they_are_in_the_world(segmentation):
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    moved.SetMatrixTransformToParent(_shift(5, 6, 7))
    segmentation.SetAndObserveTransformNodeID(moved.GetID())
    levels = {one.site: one for one in known_levels(segmentation)}
    assert set(levels) == {"L3", "L3-L4"}
    np.testing.assert_allclose(levels["L3"].center, [20 - 14.5 + 5, 30 - 14.5 + 6, 9 + 7])


def _shift(*xyz):
    from PDFFMapperLib.scene.volumes import vtk_matrix

    matrix = np.eye(4)
    matrix[:3, 3] = xyz
    return vtk_matrix(matrix)


def test_levels_are_moved_with_their_codes_and_taken_back(segmentation, image):
    new, change = shift_levels(segmentation, -1)
    assert new == ["L2 marrow", "L2-L3 disc"]
    assert names(segmentation) == ["L2 marrow", "L2-L3 disc", "left psoas muscle"]
    found = {r.name: r.site for r in regions_from_node(segmentation, image)}
    assert found == {"L2 marrow": "L2", "L2-L3 disc": "L2-L3", "left psoas muscle": "left psoas"}
    take_back(segmentation, change)
    assert names(segmentation) == ["L3 marrow", "L3-L4 disc", "left psoas muscle"]
    assert {r.site for r in regions_from_node(segmentation, image)} == {
        "L3",
        "L3-L4",
        "left psoas",
    }


def test_a_level_that_would_leave_the_spine_renames_nothing(segmentation):
    with pytest.raises(ValueError, match="leave the spine"):
        shift_levels(segmentation, -30)
    assert names(segmentation)[0] == "L3 marrow"
    muscle = regions_to_node([], slicer.util.getNode("T1"))
    with pytest.raises(ValueError, match="No region has a level"):
        shift_levels(muscle, 1)


def test_replacing_a_region_is_taken_back_voxel_by_voxel(segmentation, image):
    before = {r.name: r.full_mask(SHAPE) for r in regions_from_node(segmentation, image)}
    change = add_regions(
        segmentation,
        image,
        [
            block("L3 marrow", Role.MARROW, "L3", slice(22, 24)),
            block("L2 marrow", Role.MARROW, "L2", slice(34, 38)),
        ],
    )
    changed = {r.name: r.voxels for r in regions_from_node(segmentation, image)}
    assert changed["L3 marrow"] == 200 and changed["L2 marrow"] == 400
    take_back(segmentation, change)
    after = {r.name: r.full_mask(SHAPE) for r in regions_from_node(segmentation, image)}
    assert set(after) == set(before)
    for name, mask in before.items():
        np.testing.assert_array_equal(after[name], mask)


def test_regions_keep_their_names_apart_after_levels_were_moved(segmentation, image):
    shift_levels(segmentation, 1)  # the segment with the ID "L3 marrow" is now named L4
    add_regions(segmentation, image, [block("L3 marrow", Role.MARROW, "L3", slice(34, 38))])
    found = {r.name: r.voxels for r in regions_from_node(segmentation, image)}
    assert found["L4 marrow"] == 1000 and found["L3 marrow"] == 400


# Import ---------------------------------------------------------------------------------------


def label_map(array, matrix=GRID):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    image = volume_to_node(Volume(array.astype(np.int16), matrix, "copied"))
    node.CopyContent(image)
    slicer.mrmlScene.RemoveNode(image)
    return node


@pytest.fixture
def total_spine():
    array = np.zeros(SHAPE, int)
    array[20:30, 10:20, 10:20] = 43  # L3
    array[10:18, 10:20, 10:20] = 44  # L4
    array[18:20, 10:20, 10:20] = 94  # L3-L4
    array[5:35, 22:26, 12:18] = 2  # canal
    array[5:35, 23:25, 13:15] = 1  # cord, of no use here
    return array


def test_the_tool_that_made_a_label_map_is_told_where_its_labels_tell(total_spine):
    assert fitting_conventions(segment_labels(label_map(total_spine))) == ["TotalSpineSeg"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({5, 6}, {"TotalSegmentator vertebrae_mr", "SPINEPS vertebrae"}),
        ({5, 6, 105}, {"SPINEPS vertebrae"}),
        (set(range(1, 51)), {"TotalSegmentator total_mr"}),
        ({43}, {"TotalSegmentator total_mr", "TotalSpineSeg"}),
        ({41, 42, 49, 60, 61, 100}, {"SPINEPS subregions"}),
        ({5111, 5112, 7101}, {"MuscleMap"}),
        ({1, 2, 900}, set()),
        (set(), set()),
    ],
)
def test_labels_that_tools_share_do_not_tell(labels, expected):
    assert set(fitting_conventions(labels)) == expected


def test_a_label_map_is_imported(image, total_spine):
    target = regions_to_node([], image)
    regions, change = import_labels(target, image, label_map(total_spine), "TotalSpineSeg")
    assert {r.name for r in regions} == {"L3 marrow", "L4 marrow", "L3-L4 disc", "unnamed csf"}
    found = {r.name: r for r in regions_from_node(target, image)}
    np.testing.assert_array_equal(found["L3 marrow"].full_mask(SHAPE), total_spine == 43)
    np.testing.assert_array_equal(found["unnamed csf"].full_mask(SHAPE), total_spine == 2)
    assert "whole vertebra" in found["L3 marrow"].cautions[0]
    take_back(target, change)
    assert names(target) == []


def test_a_segmentation_loaded_from_labels_is_imported_by_its_label_values(image, total_spine):
    source = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nifti")
    source.SetReferenceImageGeometryParameterFromVolumeNode(image)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.ImportLabelmapToSegmentationNode(label_map(total_spine), source)
    assert fitting_conventions(segment_labels(source)) == ["TotalSpineSeg"]
    target = regions_to_node([], image)
    import_labels(target, image, source, "TotalSpineSeg")
    found = {r.name: r for r in regions_from_node(target, image)}
    np.testing.assert_array_equal(found["L4 marrow"].full_mask(SHAPE), total_spine == 44)


def test_labels_on_another_grid_are_refused_and_resampled_when_asked(image, total_spine):
    finer = GRID @ np.diag([0.5, 0.5, 0.5, 1])
    finer[:3, 3] = (GRID @ [-0.25, -0.25, -0.25, 1])[:3]
    fine = total_spine.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    source = label_map(fine, finer)
    target = regions_to_node([], image)
    with pytest.raises(ValueError, match="not drawn on the voxel grid of 'T1'"):
        import_labels(target, image, source, "TotalSpineSeg")
    import_labels(target, image, source, "TotalSpineSeg", resample=True)
    found = {r.name: r for r in regions_from_node(target, image)}
    np.testing.assert_array_equal(found["L3 marrow"].full_mask(SHAPE), total_spine == 43)
    assert "Resampled from another voxel grid." in found["L3 marrow"].cautions


def test_an_image_is_no_label_map(image):
    ratio = volume_to_node(Volume(np.full(SHAPE, 0.5, np.float32), GRID, "ratio"))
    with pytest.raises(ValueError, match="'ratio' is no label map"):
        import_labels(regions_to_node([], image), image, ratio, "TotalSpineSeg")


# Clicks ---------------------------------------------------------------------------------------


@pytest.fixture
def clicked(drawn_once):
    from MarrowAssessLib.sample.nodes import load_sample

    sample = load_sample()
    return sample, sample.volumes["T1"], regions_to_node([], sample.volumes["T1"])


def test_the_body_next_to_a_named_one_gets_its_level(clicked):
    sample, image, target = clicked
    place_region(target, image, sample.centers_ras["L3"], "marrow", "L3")
    # The site still says L3; the neighbor knows better.
    for level in ("L2", "L1", "L4"):
        region, _ = place_region(target, image, sample.centers_ras[level], "marrow", "L3")
        assert (region.name, region.site) == (f"{level} marrow", level)
    assert names(target) == ["L3 marrow", "L2 marrow", "L1 marrow", "L4 marrow"]


def test_a_site_given_against_the_neighbors_is_kept_and_doubted(clicked):
    sample, image, target = clicked
    place_region(target, image, sample.centers_ras["L3"], "marrow", "L3")
    region, _ = place_region(target, image, sample.centers_ras["L2"], "marrow", "T12")
    assert region.name == "T12 marrow"
    assert "Named T12 as given; its neighbors tell L2." in region.cautions


def test_a_body_out_of_reach_of_named_ones_gets_a_number(clicked):
    sample, image, target = clicked
    place_region(target, image, sample.centers_ras["L3"], "marrow", "L3")
    region, _ = place_region(target, image, sample.centers_ras["L5"], "marrow")
    assert region.name == "marrow 1"


def test_a_column_is_found_and_taken_back_and_canceled(clicked):
    sample, image, target = clicked
    with pytest.raises(InterruptedError):
        place_column(target, image, sample.centers_ras["L3"], "L3", progress=lambda part: False)
    assert names(target) == []
    drawn, change = place_column(target, image, sample.centers_ras["L3"], "L3")
    assert {"L2", "L3", "L4"} <= set(drawn.column.bodies)
    take_back(target, change)
    assert names(target) == []


def test_levels_of_a_real_spine_are_named_by_their_neighbors(shared):
    from PDFFMapperLib.images.files import read_volume

    volume = read_volume(shared / "cases" / "spine" / "DzZ_T1.nii.gz")
    labels = read_volume(shared / "cases" / "spine" / "DzZ_T1_vertebrae.nii.gz").array
    levels = {"S1": 1, "L5": 2, "L4": 3, "L3": 4, "L2": 5, "L1": 6, "T12": 7}
    centers = {
        level: volume.to_ras(np.argwhere(labels == label).mean(axis=0)[::-1])
        for level, label in levels.items()
    }
    image = volume_to_node(volume)
    target = regions_to_node([], image)
    place_region(target, image, centers["L3"], "marrow", "L3")
    known = known_levels(target)
    assert {
        level: neighbor_site(known, center, Role.MARROW) for level, center in centers.items()
    } == {"S1": "", "L5": "", "L4": "L4", "L3": "L3", "L2": "L2", "L1": "", "T12": ""}
    for level in ("L4", "L5", "S1", "L2", "L1", "T12"):
        region, _ = place_region(target, image, centers[level], "marrow")
        assert region.site == level


# Corrections of a column ----------------------------------------------------------------------


@pytest.fixture
def column(clicked):
    """The sample's T1, a segmentation with the column found in it, and that column."""
    sample, image, target = clicked
    drawn, _ = place_column(target, image, sample.centers_ras["L3"], "L3")
    return sample, image, target, drawn


def masks(segmentation, image):
    regions = regions_from_node(segmentation, image)
    shape = slicer.util.arrayFromVolume(image).shape
    return {region.name: region.full_mask(shape) for region in regions}


def changed(before, after):
    names = {**before, **after}
    return {
        name
        for name in names
        if not (name in before and name in after and np.array_equal(before[name], after[name]))
    }


def paint(segmentation, image, name, mask):
    segment_id = segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), segmentation, segment_id, image
    )


def erase_a_slice(segmentation, image, name):
    mask = masks(segmentation, image)[name]
    mask[mask.any(axis=(1, 2)).argmax()] = False
    paint(segmentation, image, name, mask)
    return mask


BESIDE_L3 = {
    "L2-L3 disc",
    "L3-L4 disc",
    "L3 CSF",
    "paraspinal muscle",
    *(f"{side} {muscle} muscle" for side in ("left", "right") for muscle in MUSCLES[:2]),
}


def test_a_click_on_a_body_of_the_column_renews_what_was_found_from_it_and_nothing_else(column):
    sample, image, target, drawn = column
    before = masks(target, image)
    aside = sample.centers_ras["L3"] + [4.0, 5.0, 3.0]
    placed = place_click(target, image, aside, "marrow", "L3", column=drawn)
    after = masks(target, image)
    assert placed.region.name == "L3 marrow"
    assert {region.name for region in placed.renewed} == BESIDE_L3
    assert set(after) == set(before) and not placed.kept and not placed.gone
    assert changed(before, after) <= {"L3 marrow", *BESIDE_L3}
    shape = before["L3 marrow"].shape
    for region in (placed.region, *placed.renewed):
        np.testing.assert_array_equal(after[region.name], region.full_mask(shape))
    take_back(target, placed.change)
    assert not changed(before, masks(target, image))


def test_the_discs_follow_a_body_that_had_been_found_in_the_wrong_place(column):
    sample, image, target, drawn = column
    expected = masks(target, image)
    below = sample.centers_ras["L3"] - [0.0, 0.0, 17.0]
    wrong = corrected_column(drawn, "L3", click=Click(below, Role.MARROW, "L3")).column
    before = masks(target, image)
    placed = place_click(target, image, sample.centers_ras["L3"], "marrow", column=wrong)
    assert placed.region.site == "L3"
    after = masks(target, image)
    wrong_names = ("L3 marrow", "L3-L4 disc")  # the disc above is seen whatever lies below it
    nothing = np.zeros_like(after["L3 marrow"])  # no disc had room below the wrong body
    for name in ("L3 marrow", "L2-L3 disc", "L3-L4 disc"):
        assert name not in wrong_names or overlap(before.get(name, nothing), expected[name]) < 0.9
        assert overlap(after[name], expected[name]) > 0.9


def overlap(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_regions_edited_by_hand_are_left_alone_by_later_clicks(column):
    sample, image, target, drawn = column
    painted = erase_a_slice(target, image, "L2-L3 disc")
    segments = target.GetSegmentation()
    segments.RemoveSegment(segments.GetSegmentIdBySegmentName("L3 CSF"))
    segments.GetSegment(segments.GetSegmentIdBySegmentName("left psoas muscle")).SetName("mine")
    before = masks(target, image)
    for _ in range(2):  # the second click knows it, too
        placed = place_click(target, image, sample.centers_ras["L3"], "marrow", column=drawn)
        drawn = placed.column
        assert set(placed.kept) == {"L2-L3 disc", "L3 CSF", "left psoas muscle"}
        after = masks(target, image)
        assert set(after) == set(before)
        np.testing.assert_array_equal(after["L2-L3 disc"], painted)
        np.testing.assert_array_equal(after["mine"], before["mine"])


def test_a_painted_roi_measures_itself_and_yields_only_to_a_click_on_its_body(column):
    sample, image, target, drawn = column
    before = masks(target, image)
    painted = erase_a_slice(target, image, "L3 marrow")
    assert changed(before, masks(target, image)) == {"L3 marrow"}
    placed = place_click(target, image, sample.centers_ras["L4"], "marrow", column=drawn)
    assert placed.region.site == "L4"
    np.testing.assert_array_equal(masks(target, image)["L3 marrow"], painted)
    placed = place_click(target, image, sample.centers_ras["L3"], "marrow", column=placed.column)
    assert "L3 marrow" not in placed.kept
    assert overlap(masks(target, image)["L3 marrow"], before["L3 marrow"]) > 0.95


def test_a_region_that_was_taken_back_or_put_back_as_it_was_is_not_edited(column):
    sample, image, target, drawn = column
    drawn_mask = masks(target, image)["L2-L3 disc"]
    erase_a_slice(target, image, "L2-L3 disc")
    paint(target, image, "L2-L3 disc", drawn_mask)
    placed = place_click(target, image, sample.centers_ras["L3"], "marrow", column=drawn)
    assert not placed.kept
    take_back(target, placed.change)
    again = place_click(target, image, sample.centers_ras["L3"], "marrow", column=drawn)
    assert not again.kept


def test_a_body_next_to_the_end_joins_the_column_with_its_disc(column):
    _, image, target, drawn = column
    top = next(iter(drawn.column.bodies))
    before = masks(target, image)
    bodies = {name: body for name, body in drawn.column.bodies.items() if name != top}
    below = next(iter(bodies))
    place = target.GetSegmentation()
    for name in (f"{top} marrow", f"{top}-{below} disc"):
        place.RemoveSegment(place.GetSegmentIdBySegmentName(name))
    from dataclasses import replace

    discs = {k: v for k, v in drawn.column.discs.items() if k != f"{top}-{below}"}
    short = replace(
        drawn,
        column=replace(drawn.column, bodies=bodies, discs=discs),
        drawn={key: one for key, one in drawn.drawn.items() if top not in key[1].split("-")},
    )
    center = drawn.column.bodies[top].surface.box.center
    placed = place_click(target, image, center, "marrow", column=short)
    assert placed.region.name == f"{top} marrow"
    assert {region.name for region in placed.renewed} == {
        f"{top}-{below} disc",
        "paraspinal muscle",
    }
    assert set(masks(target, image)) == set(before)


def test_levels_that_were_moved_are_followed(column):
    sample, image, target, drawn = column
    _, _ = shift_levels(target, -1)
    drawn = renamed_column(drawn, -1)
    before = masks(target, image)
    placed = place_click(target, image, sample.centers_ras["L3"], "marrow", column=drawn)
    assert placed.region.name == "L2 marrow"
    assert {"L1-L2 disc", "L2-L3 disc"} <= {region.name for region in placed.renewed}
    assert not placed.kept and set(masks(target, image)) == set(before)


def test_another_image_or_a_moved_one_is_clicked_alone(column):
    sample, image, target, drawn = column
    before = masks(target, image)
    other = place_click(
        target, sample.volumes["T2"], sample.centers_ras["L3"], "marrow", column=drawn
    )
    assert not other.renewed
    assert changed(before, masks(target, image)) <= {"L3 marrow"}
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    moved.SetMatrixTransformToParent(_shift(5, 6, 7))
    image.SetAndObserveTransformNodeID(moved.GetID())
    assert not drawn.lies_in(image)
    with pytest.raises(ValueError, match="'T1' was moved since the column was found in it"):
        correct_painted(drawn, "L3 marrow")
    target.SetAndObserveTransformNodeID(moved.GetID())
    session = Session()
    session._done(target, Change(), drawn)
    study = study_from_nodes(StudyInputs({Contrast.T1: image}, target))
    session._bring_outlines(study, target)  # they lie where the image was
    assert not any(region.outline for region in study.regions)
    image.SetAndObserveTransformNodeID(None)
    target.SetAndObserveTransformNodeID(None)
    study = study_from_nodes(StudyInputs({Contrast.T1: image}, target))
    session._bring_outlines(study, target)
    assert {r.site for r in study.with_role(Role.MARROW) if r.outline} >= {"L1", "L2", "L4"}


def test_the_last_step_is_taken_back_though_an_earlier_one_was_the_same(image):
    """A region drawn, deleted by hand, and drawn again after another one."""
    session, target = Session(), regions_to_node([], image)
    for name, k in (("L3 marrow", 4), ("L2 marrow", 14), ("L3 marrow", 24)):
        change = add_regions(target, image, [block(name, Role.MARROW, name[:2], slice(k, k + 4))])
        session._done(target, change, None)
        if k == 4:
            target.GetSegmentation().RemoveSegment("L3 marrow")
    session.undo(target)
    assert names(target) == ["L2 marrow"]
    session.undo(target)
    assert names(target) == []


def test_a_painted_body_gives_its_roi_and_discs(column):
    _, image, target, drawn = column
    shape = slicer.util.arrayFromVolume(image).shape
    body = drawn.column.bodies["L3"].body.full_mask(shape)
    heights = volume_from_node(image).to_ras(np.argwhere(body)[:, ::-1].astype(float))[:, 2]
    half = body.copy()
    half[body] = heights < heights.max() - 6  # a lowered upper endplate
    paint(target, image, "L3 marrow", half)
    before = masks(target, image)
    placed = correct_painted(drawn, "L3 marrow")
    after = masks(target, image)
    assert after["L3 marrow"].any() and not (after["L3 marrow"] & ~half).any()
    assert np.count_nonzero(after["L3 marrow"]) < np.count_nonzero(half)
    assert np.count_nonzero(after["L2-L3 disc"]) > 1.2 * np.count_nonzero(before["L2-L3 disc"])
    assert changed(before, after) <= {"L3 marrow", *BESIDE_L3}
    take_back(target, placed.change)
    assert not changed(before, masks(target, image))
    half[body] = heights < heights.max() - 12  # the disc becomes higher than any
    paint(target, image, "L3 marrow", half)
    placed = correct_painted(drawn, "L3 marrow")
    said = "L2-L3 disc beside it: The disc is "
    assert any(one.startswith(said) for one in placed.region.cautions), placed.region.cautions
    take_back(target, placed.change)
    half[body] = heights > heights.max() - 2  # a sliver has no middle
    paint(target, image, "L3 marrow", half)
    painted = masks(target, image)
    with pytest.raises(ValueError, match="Nothing was found there"):
        correct_painted(drawn, "L3 marrow")
    assert not changed(painted, masks(target, image))
    with pytest.raises(ValueError, match="no segment 'T1 marrow'"):
        correct_painted(drawn, "T1 marrow")
    with pytest.raises(ValueError, match="no level of this column"):
        correct_painted(drawn, "left psoas muscle")


def test_csf_clicked_anew_replaces_that_of_the_column(column):
    _, image, target, drawn = column
    csf = next(iter(np.argwhere(masks(target, image)["L3 CSF"])))[::-1]
    point = volume_from_node(image).to_ras(csf.astype(float))
    placed = place_click(target, image, point, "csf", "L3", column=drawn)
    assert placed.column is drawn and not placed.renewed
    assert [name for name in names(target) if "csf" in name.lower()] == ["L3 csf"]


@pytest.mark.parametrize("offset", [-26.0, -17.0, 14.0])
def test_a_vertebra_that_lies_wrong_is_meant_by_a_click_where_its_neighbors_expect_it(
    column, offset
):
    sample, image, target, _ = column
    segments = target.GetSegmentation()
    for site in ("L2-L3 disc", "L3-L4 disc", "L3 marrow"):
        mask = masks(target, image)[site]
        down = np.linalg.inv(ijk_to_world(image))[:3, :3] @ [0, 0, offset]
        shift = [int(round(n)) for n in down[::-1]]
        segments.RemoveSegment(segments.GetSegmentIdBySegmentName(site))
        role = Role.DISC if "disc" in site else Role.MARROW
        region = Region.from_mask(site, role, site.split()[0], np.roll(mask, shift, (0, 1, 2)))
        add_regions(target, image, [region])
    volume = volume_from_node(image)
    for level in ("L2", "L3", "L4"):
        click = read_click(target, volume, sample.centers_ras[level], "marrow", "L3")
        assert click.site == level


def test_a_disc_is_not_taken_for_the_vertebra_that_is_named_in_the_panel(column):
    sample, image, target, drawn = column
    before = masks(target, image)
    disc = (sample.centers_ras["L3"] + sample.centers_ras["L4"]) / 2
    with pytest.raises(ValueError, match="tell that the L3-L4 disc was clicked"):
        place_click(target, image, disc, "marrow", "L3", column=drawn)
    assert not changed(before, masks(target, image))


# Doubtful clicks ------------------------------------------------------------------------------


def test_marrow_clicked_in_other_tissues_is_doubted(column):
    sample, image, target, _ = column
    for tissue in ("L2-L3 disc", "L3 CSF", "left psoas muscle", "right erector spinae muscle"):
        point = spot(target, image, tissue)
        trial = regions_to_node([], image)
        region, _ = place_region(trial, image, sample.centers_ras["L3"], "marrow", "L3")
        region, _ = place_region(trial, image, point, "marrow")
        assert region.cautions, tissue
        (kept,) = [r for r in regions_from_node(trial, image) if r.name == region.name]
        assert kept.cautions == region.cautions


def spot(segmentation, image, name):
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(masks(segmentation, image)[name])
    inner = np.unravel_index(depth.argmax(), depth.shape)
    return volume_from_node(image).to_ras(np.array(inner[::-1], float))


@pytest.mark.parametrize("role", ["marrow", "muscle", "csf", "disc"])
def test_air_without_signal_is_refused_for_marrow_and_doubted_for_the_rest(role):
    array = np.zeros((60, 60, 60), np.float32)
    array[10:50, 10:30, 10:50] = np.random.default_rng(0).normal(100, 3, (40, 20, 40))
    grid = np.diag([-1.0, -1.0, 1.0, 1.0])
    grid[:3, 3] = [30, 30, -30]
    image = volume_to_node(Volume(array, grid, "T1"))
    target = regions_to_node([], image)
    air = [0.0, -15.0, 0.0]
    if role in ("marrow", "disc"):  # of a disc nothing is found
        with pytest.raises(ValueError, match=r"no signal round this point|Nothing was found"):
            place_region(target, image, air, role)
        assert names(target) == []
    else:
        region, _ = place_region(target, image, air, role)
        assert "There is no signal round the click: is it air?" in region.cautions


def test_a_region_over_another_tissue_s_segment_is_doubted(column):
    _, image, target, _ = column
    point = spot(target, image, "left psoas muscle")
    region, _ = place_region(target, image, point, "csf")
    assert "It overlaps left psoas muscle: one of the two is wrong." in region.cautions


def test_a_vertebra_is_not_drawn_far_from_where_it_is(clicked):
    sample, image, target = clicked
    place_region(target, image, sample.centers_ras["L3"], "marrow", "L3")
    with pytest.raises(ValueError, match=r"L3 is drawn already, .* mm from this click"):
        place_region(target, image, sample.centers_ras["L5"], "marrow", "L3")
    assert names(target) == ["L3 marrow"]
    region, _ = place_region(target, image, sample.centers_ras["L5"], "marrow", "L5")
    assert region.site == "L5"


def test_the_panel_and_the_command_line_judge_a_click_alike(clicked, phantom):
    """Marrow, air and a wrong tissue, clicked in the scene and in a file."""
    from MarrowAssessLib.placement.clicks import place_clicked, regions_from_clicks

    sample, image, _ = clicked
    volume = phantom.volumes[Contrast.T1]
    air = np.array([-46.0, -95.0, 29.0])
    clicks = [
        ("marrow", "L3", sample.centers_ras["L3"]),
        ("marrow", "L3", air),
        ("muscle", "left psoas", sample.centers_ras["L3"]),
        ("csf", "L3", air),
    ]
    for role, site, point in clicks:
        empty = regions_to_node([], image)
        region, _ = place_region(empty, image, point, role, site, find=place_clicked)
        (other,), _ = regions_from_clicks(volume, places={f"{site} {role}": point})
        assert region.cautions == other.cautions, (role, site)
        assert (region.offset, region.voxels) == (other.offset, other.voxels)


def test_a_session_and_a_segment_say_what_they_lack(image):
    with pytest.raises(ValueError, match="There is nothing to add yet; measure the regions first"):
        Session().add_to_controls(regions_to_node([], image))
    surface = slicer.vtkSegment()
    surface.SetName("L3 marrow")
    with pytest.raises(ValueError, match="'L3 marrow' has no voxels; create its binary labelmap"):
        segment_points(surface)
    nothing = SimpleNamespace(**dict.fromkeys(VOLUME_PARAMETERS.values()))
    with pytest.raises(ValueError, match="Choose at least one image or map"):
        placing(nothing)
