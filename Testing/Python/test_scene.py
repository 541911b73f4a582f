import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from MarrowAssessLib.scene import headless

headless.start()

import slicer  # noqa: E402
from MarrowAssessLib.catalogue.anatomy import MUSCLES, OTHER_SITES, VERTEBRAE, Role  # noqa: E402
from MarrowAssessLib.catalogue.terminology import (  # noqa: E402
    role_and_site,
    site_codes,
    terminology_entry,
    tissues,
)
from MarrowAssessLib.scene import files as scene  # noqa: E402
from MarrowAssessLib.scene.segments import ROLE_TAG, SITE_TAG, regions_from_node, regions_to_node  # noqa: E402
from MarrowAssessLib.scene.shown import point_labels  # noqa: E402
from MarrowAssessLib.scene.tables import (  # noqa: E402
    AgeChart,
    AgePoint,
    Column,
    age_chart_to_node,
    chart_series,
    remove_chart,
    set_points,
    table_to_node,
)
from MarrowAssessLib.sources.segmentations import regions_from_segmentation  # noqa: E402
from MarrowAssessLib.study.regions import Region  # noqa: E402
from PDFFMapperLib.images.volume import Volume  # noqa: E402
from PDFFMapperLib.scene.folders import put_in_folder  # noqa: E402
from PDFFMapperLib.scene.markups import shapes_from_node  # noqa: E402
from PDFFMapperLib.scene.regions import masks_of_node  # noqa: E402
from PDFFMapperLib.scene.volumes import volume_from_node, volume_to_node, vtk_matrix  # noqa: E402

OBLIQUE = np.array(
    [[0.8, 0.36, 0.0, -31.0], [-0.6, 0.48, 0.0, 12.5], [0.0, 0.0, -3.5, 77.0], [0, 0, 0, 1]]
)


@pytest.fixture(autouse=True)
def empty_scene():
    slicer.mrmlScene.Clear(False)


@pytest.fixture
def volume():
    array = np.random.default_rng(1).integers(0, 4000, (7, 9, 11)).astype(np.int16)
    return Volume(array, OBLIQUE, "T1", {"EchoTime": 12.0, "MagneticFieldStrength": 1.5})


@pytest.fixture
def regions():
    def region(name, role, site, box, cautions=()):
        mask = np.zeros((7, 9, 11), bool)
        mask[box] = True
        made = Region.from_mask(name, role, site, mask)
        made.cautions = list(cautions)
        return made

    return [
        region("L3 marrow", Role.MARROW, "L3", np.s_[1:4, 2:5, 3:8], ["eroded: 1 mm | 2 voxels"]),
        region("L3 center", Role.MARROW, "L3", np.s_[2:3, 3:4, 4:6]),  # inside the first
        region("L3-L4 disc", Role.DISC, "L3-L4", np.s_[4:5, 2:5, 3:8]),
        region("CSF", Role.CSF, "L3", np.s_[0:7, 6:9, 10:11]),
        region("left psoas", Role.MUSCLE, "left psoas", np.s_[6:7, 0:1, 0:1]),
        region("S1 marrow", Role.MARROW, "S1", np.s_[5:6, 5:6, 5:6]),
        region("air", Role.NOISE, "", np.s_[0:1, 0:2, 0:2]),
    ]


def transform_node(matrix):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    node.SetMatrixTransformToParent(vtk_matrix(matrix))
    return node


def assert_same_regions(found, expected):
    assert [r.name for r in found] == [r.name for r in expected]
    for one, other in zip(found, expected, strict=True):
        assert (one.role, one.site, one.offset) == (other.role, other.site, other.offset)
        assert one.cautions == other.cautions
        np.testing.assert_array_equal(one.mask, other.mask)


# Volumes


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int16, np.float16, np.float32, ">i2"])
def test_volume_goes_into_the_scene_and_back(volume, kind):
    volume.array = (volume.array % 2).astype(kind)
    back = volume_from_node(volume_to_node(volume))
    np.testing.assert_array_equal(back.array, volume.array.astype(float))
    np.testing.assert_allclose(back.ijk_to_ras, OBLIQUE, atol=1e-12)
    assert back.name == "T1"
    assert back.attributes == volume.attributes


def test_volume_array_has_the_axis_order_of_slicer(volume):
    node = volume_to_node(volume)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), volume.array)
    assert node.GetImageData().GetScalarComponentAsDouble(10, 8, 6, 0) == volume.array[6, 8, 10]


def test_volume_under_a_transform_is_read_where_it_lies_in_the_world(volume):
    turn = np.array([[0, -1, 0, 5], [1, 0, 0, -6], [0, 0, 1, 7], [0, 0, 0, 1.0]])
    node = volume_to_node(volume)
    node.SetAndObserveTransformNodeID(transform_node(turn).GetID())
    np.testing.assert_allclose(volume_from_node(node).ijk_to_ras, turn @ OBLIQUE, atol=1e-9)


def test_volume_under_a_warp_is_refused(volume):
    node = volume_to_node(volume)
    warp = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    warp.SetAndObserveTransformToParent(slicer.vtkOrientedBSplineTransform())
    node.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(ValueError, match="non-linear transform 'warp'"):
        volume_from_node(node)


def test_volume_without_voxels_is_refused():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    with pytest.raises(ValueError, match="'nothing' has no voxels"):
        volume_from_node(node)


# Regions


def test_regions_go_into_the_scene_and_back_exactly(volume, regions):
    volume_node = volume_to_node(volume)
    node = regions_to_node(regions, volume_node)
    assert_same_regions(regions_from_node(node, volume_node), regions)


def test_slicer_itself_sees_the_same_voxels(volume, regions):
    volume_node = volume_to_node(volume)
    node = regions_to_node(regions, volume_node)
    for region in regions:
        seen = slicer.util.arrayFromSegmentBinaryLabelmap(node, region.name, volume_node)
        np.testing.assert_array_equal(seen > 0, region.full_mask(volume.array.shape))


def test_regions_that_do_not_overlap_share_a_layer(volume, regions):
    node = regions_to_node(regions, volume_to_node(volume))
    assert node.GetSegmentation().GetNumberOfLayers() == 2


def test_an_empty_region_stays_empty(volume):
    empty = Region.from_mask("nothing", Role.FAT, "", np.zeros(volume.array.shape, bool))
    volume_node = volume_to_node(volume)
    (back,) = regions_from_node(regions_to_node([empty], volume_node), volume_node)
    assert back.voxels == 0


def test_regions_follow_their_transformed_volume(volume, regions):
    volume_node = volume_to_node(volume)
    moved = transform_node(np.array([[1, 0, 0, 50], [0, 0, -1, 3], [0, 1, 0, 4], [0, 0, 0, 1.0]]))
    volume_node.SetAndObserveTransformNodeID(moved.GetID())
    node = regions_to_node(regions, volume_node)
    assert_same_regions(regions_from_node(node, volume_node), regions)
    volume_node.HardenTransform()  # the volume alone: both still lie at the same place
    assert_same_regions(regions_from_node(node, volume_node), regions)


def test_regions_are_read_on_the_same_voxels_stored_in_another_order(volume, regions):
    node = regions_to_node(regions, volume_to_node(volume))
    # The same image, its k axis reversed and i and j exchanged.
    k = volume.array.shape[0] - 1
    swap = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, k], [0, 0, 0, 1.0]])
    other = Volume(volume.array.transpose(0, 2, 1)[::-1], OBLIQUE @ swap, "turned")
    found = regions_from_node(node, volume_to_node(other))
    for one, expected in zip(found, regions, strict=True):
        np.testing.assert_array_equal(
            np.sort(one.values(other.array)), np.sort(expected.values(volume.array))
        )
        full = expected.full_mask(volume.array.shape)
        turned = full.transpose(0, 2, 1)[::-1]
        np.testing.assert_array_equal(one.full_mask(other.array.shape), turned)


def test_another_grid_is_refused_and_resampled_when_asked(volume, regions):
    node = regions_to_node(regions[:1], volume_to_node(volume))
    finer = OBLIQUE @ np.diag([0.5, 0.5, 0.5, 1])
    finer[:3, 3] = (OBLIQUE @ [-0.25, -0.25, -0.25, 1])[:3]
    fine_node = volume_to_node(Volume(np.zeros((14, 18, 22), np.uint8), finer, "fine"))
    with pytest.raises(ValueError, match="'L3 marrow' is not drawn on the voxel grid of 'fine'"):
        regions_from_node(node, fine_node)
    (region,) = regions_from_node(node, fine_node, resample=True)
    assert region.voxels == 8 * regions[0].voxels
    assert "Resampled from another voxel grid." in region.cautions


def test_voxels_outside_a_smaller_volume_are_counted(volume, regions):
    node = regions_to_node(regions[:1], volume_to_node(volume))
    smaller = volume_to_node(Volume(volume.array[:3], OBLIQUE, "part"))
    (region,) = regions_from_node(node, smaller)
    assert region.voxels == 2 * 3 * 5
    assert "A part of L3 marrow (15 voxels) lies outside part; it was left out." in region.cautions


def test_region_names_must_differ(volume, regions):
    with pytest.raises(ValueError, match="given twice: L3 marrow"):
        regions_to_node([regions[0], regions[0]], volume_to_node(volume))


def test_region_outside_the_volume_is_refused(volume, regions):
    part = volume_to_node(Volume(volume.array[:3], OBLIQUE, "part"))
    with pytest.raises(ValueError, match="A part of L3 marrow lies outside part; draw it"):
        regions_to_node(regions[:1], part)


def test_seg_nrrd_is_read_by_its_codes_or_names(volume, regions, tmp_path):
    volume_node = volume_to_node(volume)
    regions[4].pieces = True
    node = regions_to_node(regions, volume_node)
    segmentation = node.GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        segment.RemoveTag(ROLE_TAG)
        segment.RemoveTag(SITE_TAG)
    segmentation.GetSegment("CSF").SetName("Segment_7")  # the codes alone tell what it is
    segmentation.GetSegment("left psoas").SetTag("TerminologyEntry", "")  # the name alone does
    node.AddDefaultStorageNode()
    path = tmp_path / "drawn.seg.nrrd"
    node.GetStorageNode().SetFileName(str(path))
    assert node.GetStorageNode().WriteData(node)
    read = regions_from_segmentation(path).regions
    found = {r.name: (r.role, r.site) for r in read}
    assert found["Segment_7"] == (Role.CSF, "L3")
    assert found["left psoas"] == (Role.MUSCLE, "left psoas")
    assert found["L3-L4 disc"] == (Role.DISC, "L3-L4")
    assert found["S1 marrow"] == (Role.MARROW, "S1")
    for regions_read in (read, regions_from_node(node, volume_node)):
        assert [r.name for r in regions_read if r.pieces] == ["left psoas"]


# Terminology


def test_segments_carry_the_codes_of_role_and_site():
    entry = terminology_entry(Role.MARROW, "L3")
    assert "SCT^14016003^Bone marrow" in entry
    assert "SCT^36470004^L3 vertebra" in entry
    assert "SCT^84020006^L4/L5 disc" in terminology_entry(Role.DISC, "L4-L5")
    assert terminology_entry(Role.MARROW, "left iliac crest").endswith(
        "SCT^29850006^Iliac crest~SCT^7771000^Left"
    )


def test_slicer_parses_the_codes():
    entry = slicer.vtkSlicerTerminologyEntry()
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    assert logic.DeserializeTerminologyEntry(terminology_entry(Role.MARROW, "left rib"), entry)
    assert entry.GetTypeObject().GetCodeValue() == "14016003"
    assert entry.GetRegionObject().GetCodeMeaning() == "Rib"
    assert entry.GetRegionModifierObject().GetCodeMeaning() == "Left"


def test_slicer_loads_the_terminology_files():
    from MarrowAssessLib.catalogue import terminology
    from PDFFMapperLib.install.resources import resource_path

    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    tissues_file = str(resource_path("MarrowAssessLib", terminology.TISSUES_FILE))
    sites_file = str(resource_path("MarrowAssessLib", terminology.SITES_FILE))
    assert logic.LoadTerminologyFromFile(tissues_file) == "MarrowAssess tissues"
    assert logic.LoadRegionContextFromFile(sites_file) == "MarrowAssess sites"


def test_every_role_is_coded_and_codes_agree_with_dicom():
    assert set(tissues()) == set(Role)
    concepts = pytest.importorskip("pydicom.sr._concepts_dict").concepts
    known = {
        (scheme, value): meaning
        for scheme in ("SCT", "DCM")
        for meanings in concepts[scheme].values()
        for value, (meaning, _) in meanings.items()
    }
    vertebrae_and_discs = [s for s in site_codes() if s.split("-")[0] in VERTEBRAE]
    for site in vertebrae_and_discs:
        code = site_codes()[site]
        assert (code.scheme, code.value) in known, site
        if "vertebra" in code.meaning or "disc" in code.meaning:
            assert site.replace("-", "/") in code.meaning


@pytest.mark.parametrize("site", [*VERTEBRAE, "L4-L5", "T12-L1", *OTHER_SITES, *MUSCLES])
def test_role_and_site_come_back_from_name_and_codes(site):
    role = Role.DISC if "-" in site else Role.MUSCLE if site in MUSCLES else Role.MARROW
    entry = terminology_entry(role, site)
    assert role_and_site(f"{site} {role.value}", entry) == (role, site)
    assert role_and_site(f"{site} {role.value}") == (role, site)
    if site not in ("T1", "T2"):  # also images
        assert role_and_site(site) == (role, site)


@pytest.mark.parametrize(
    ("name", "entry", "expected"),
    [
        ("vertebrae_L3", "", (Role.MARROW, "L3")),
        ("csf_L3", "", (Role.CSF, "L3")),
        ("Disc L4/L5", "", (Role.DISC, "L4-L5")),
        ("subcutaneous fat", "", (Role.FAT, "")),
        ("L2", "x~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~x~^^~^^", (Role.MARROW, "L2")),
        (
            "drawn by hand",
            "Total Segmentator~SCT^123037004^Anatomical Structure~SCT^36470004^L3 vertebra~^^~"
            "Anatomic codes - DICOM master list~^^~^^|",
            (Role.MARROW, "L3"),
        ),
        (
            "muscle, left",
            "x~SCT^123037004^Anatomical Structure~SCT^44947003^Erector spinae muscle~"
            "SCT^7771000^Left~x~^^~^^|",
            (Role.MUSCLE, "left erector spinae"),
        ),
    ],
)
def test_names_and_codes_of_other_tools_are_understood(name, entry, expected):
    assert role_and_site(name, entry) == expected


@pytest.mark.parametrize("name", ["Segment_1", "kidney", ""])
def test_a_name_that_tells_nothing_is_refused(name):
    with pytest.raises(ValueError, match="tells no tissue role"):
        role_and_site(name)


# Markups


def test_points_boxes_and_closed_curves_are_read_in_the_world():
    turn = np.array([[0, -1, 0, 5], [1, 0, 0, -6], [0, 0, 1, 7], [0, 0, 0, 1.0]])
    parent = transform_node(turn).GetID()

    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    points.AddControlPoint(1, 2, 3, "L3 CSF")
    points.AddControlPoint(4, 5, 6, "L4")
    points.UnsetNthControlPointPosition(1)
    points.SetAndObserveTransformNodeID(parent)
    (point,) = shapes_from_node(points, 3.0)
    assert (point.kind, point.name, point.radius_mm) == ("sphere", "L3 CSF", 3.0)
    np.testing.assert_allclose(point.points_ras, [[3, -5, 10]])

    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "psoas muscle")
    roi.SetCenter(1, 2, 3)
    roi.SetSize(10, 20, 30)
    roi.SetAndObserveTransformNodeID(parent)
    (box,) = shapes_from_node(roi)
    assert (box.kind, box.name) == ("box", "psoas muscle")
    np.testing.assert_allclose(box.points_ras, [[3, -5, 10]])
    np.testing.assert_allclose(box.size_mm, [10, 20, 30])
    np.testing.assert_allclose(box.axes, turn[:3, :3], atol=1e-12)

    curve = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode", "L3 marrow")
    curve.SetCurveTypeToLinear()
    for a, s in ((0, 0), (10, 0), (10, 20), (0, 20)):
        curve.AddControlPoint(7, a, s)
    (drawn,) = shapes_from_node(curve)
    assert drawn.kind == "closed curve"
    a, s = drawn.points_ras[:, 1], drawn.points_ras[:, 2]
    area = abs(np.sum(a * np.roll(s, -1) - s * np.roll(a, -1))) / 2
    assert area == pytest.approx(200)
    np.testing.assert_allclose(drawn.points_ras[:, 0], 7)


def test_other_or_empty_markups_are_refused():
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "none")
    with pytest.raises(ValueError, match="'none' has no placed points"):
        shapes_from_node(empty)
    line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "ruler")
    line.AddControlPoint(0, 0, 0)
    with pytest.raises(ValueError, match="'ruler' is a Line; points, an ROI box or a closed curve"):
        shapes_from_node(line)
    curve = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode", "begun")
    for count in (1, 2):
        curve.AddControlPoint(10 * count, 0, 0)
        with pytest.raises(ValueError, match=f"curve 'begun' has {count} points, needs 3"):
            shapes_from_node(curve)
    grid = Volume(np.zeros((9, 9, 9), np.float32), np.eye(4), "T1")
    box = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    box.SetCenter(4, 4, 4)
    box.SetSize(3, 3, 3)
    assert masks_of_node(box, grid)["box"].sum() == 27
    box.SetInsideOut(True)
    with pytest.raises(ValueError, match="ROI box 'box' is inside out; a region is its inside"):
        masks_of_node(box, grid)


# Tables, plots, scenes


def results_table():
    return table_to_node(
        "Results",
        [
            Column("Site", ["L1", "L2"]),
            Column("Voxels", [120, 130]),
            Column("PDFF", [41.5, None], "%", "Proton density fat fraction"),
        ],
    )


def test_table_has_types_and_units():
    node = results_table()
    assert [node.GetTable().GetColumn(n).GetDataTypeAsString() for n in range(3)] == [
        "string",
        "int",
        "double",
    ]
    assert node.GetColumnUnitLabel("PDFF") == "%"
    assert node.GetColumnDescription("PDFF") == "Proton density fat fraction"
    assert node.GetTable().GetColumn(2).GetValue(0) == 41.5
    assert np.isnan(node.GetTable().GetColumn(2).GetValue(1))


def test_table_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        table_to_node("T", [Column("a", [1]), Column("b", [1, 2])])


def age_curve():
    ages = np.linspace(0, 18, 7)
    percentiles = {p: ages + p / 10 for p in (5, 25, 50, 75, 95)}
    return AgeChart(
        "Marrow PDFF",
        "PDFF (%)",
        ages,
        percentiles,
        [AgePoint("L2", 9.0, 4.0, "4.0 %"), AgePoint("L3", 9.0, 22.0, "22.0 %")],
    )


def test_age_curve_becomes_a_chart_of_percentiles_and_patient_points():
    chart = age_chart_to_node(age_curve())
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    lines = ["P95", "P75", "P50", "P25", "P5"]  # as they lie above each other
    assert [s.GetName() for s in series] == [*lines, "L2  4.0 %", "L3  22.0 %"]
    table = series[2].GetTableNode().GetTable()
    median = table.GetColumnByName(series[2].GetYColumnName())
    assert [median.GetValue(n) for n in range(7)] == pytest.approx(age_curve().percentiles[50])
    assert [point(one) for one in series[-2:]] == [(9.0, 4.0), (9.0, 22.0)]
    assert series[-1].GetMarkerStyle() != series[-2].GetMarkerStyle()
    assert chart.GetXAxisTitle() == "Age (years)"
    assert chart.GetYAxisTitle() == "PDFF (%)"


def test_all_sources_and_frequencies_stand_on_the_chart():
    from MarrowAssessLib.references.sources import outlines, sources_of

    found, _ = sources_of("marrow_pdff", "L3", "F")
    bands = [one for one in found if not one.smooth]
    assert len(bands) >= 4 and {one.sex for one in bands} <= {"F", "both"}
    curve = age_curve()
    curve.sources = outlines("marrow_pdff", "L3", "F") + outlines("t1_marrow_disc", "L3", "F")
    chart = age_chart_to_node(curve)
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    names = [one.GetName() for one in series]
    assert names[-1] == "L3  22.0 %"
    own = [one for one in bands if one.source == bands[0].source]
    sizes = "-".join(dict.fromkeys(f"{f(one.n for one in own)}" for f in (min, max)))
    table = series[names.index(f"{bands[0].source}, n {sizes}")].GetTableNode().GetTable()
    corners = [table.GetColumnByName("Value").GetValue(n) for n in range(6 * len(own))]
    for n, one in enumerate(own):  # a box for each group, a NaN between two
        box = corners[6 * n : 6 * n + 6]
        assert (min(box[:5]), max(box[:5])) == pytest.approx(one.expected_range)
        assert np.isnan(box[5])
    assert len(own) > 1 and max(map(len, names)) <= 40
    assert min(one.GetLineWidth() for one in series) >= 1.5  # thinner, Slicer drew half a box
    counted = "90 % of normal 5-15 years: above 1"
    table = series[names.index(counted)].GetTableNode().GetTable()
    assert [table.GetColumnByName("Age").GetValue(n) for n in range(2)] == [5, 16]
    assert [table.GetColumnByName("Value").GetValue(n) for n in range(2)] == [1, 1]


def point(series):
    """Age and value of a series of one point."""
    table = series.GetTableNode().GetTable()
    columns = series.GetXColumnName(), series.GetYColumnName()
    return tuple(table.GetColumnByName(name).GetValue(0) for name in columns)


def test_points_follow_their_numbers_and_go_with_their_levels():
    chart = age_chart_to_node(age_curve())
    names = lambda: [one.GetName() for one in chart_series(chart)][5:]  # noqa: E731
    kept = chart_series(chart)[-1]
    set_points(chart, [AgePoint("L2", 9.5, 5.0, "5.0 %"), AgePoint("L3", 9.5, 21.0, "21.0 %")])
    assert names() == ["L2  5.0 %", "L3  21.0 %"]
    assert chart_series(chart)[-1] is kept and point(kept) == (9.5, 21.0)
    set_points(chart, [AgePoint("L4", 9.5, 30.0, "30.0 %")])
    assert names() == ["L4  30.0 %"] and point_labels(chart) == ["L4"]
    remove_chart(chart)
    for kind in ("PlotChart", "PlotSeries", "Table"):
        assert not slicer.util.getNodesByClass(f"vtkMRML{kind}Node")


def test_nodes_are_put_in_a_folder_beside_the_study(volume):
    volume_node = volume_to_node(volume)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "MRI")
    hierarchy.CreateItem(study, volume_node)
    table = results_table()
    folder = put_in_folder("MarrowAssess", [table], beside=volume_node)
    assert hierarchy.GetItemParent(folder) == study
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(table)) == folder


def test_volume_is_shown_in_every_slice_view(volume):
    node = volume_to_node(volume)
    scene.show_in_slices(node)
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert len(composites) == 3
    assert {one.GetBackgroundVolumeID() for one in composites} == {node.GetID()}


READ_BACK = """
import json, sys
import numpy as np
from MarrowAssessLib.scene import headless
headless.start()
import slicer
from MarrowAssessLib.scene import files as scene
from MarrowAssessLib.scene.segments import regions_from_node
from PDFFMapperLib.scene.volumes import volume_from_node
scene.load_scene(sys.argv[1])
volume_node = slicer.util.getNode("T1")
volume = volume_from_node(volume_node)
node = slicer.util.getNode("Regions")
regions = regions_from_node(node, volume_node)
table = slicer.util.getNode("Results")
hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
print(json.dumps({
    "array": volume.array.tolist(), "ijk_to_ras": volume.ijk_to_ras.tolist(),
    "attributes": volume.attributes,
    "regions": [[r.name, r.role.value, r.site, r.offset, r.mask.tolist(), r.cautions]
                for r in regions],
    "colors": {r.name: node.GetSegmentation().GetSegment(r.name).GetColor() for r in regions},
    "types": [table.GetTable().GetColumn(n).GetDataTypeAsString() for n in range(3)],
    "missing": bool(np.isnan(table.GetTable().GetColumn(2).GetValue(1))),
    "unit": table.GetColumnUnitLabel("PDFF"),
    "series": slicer.util.getNode("Marrow PDFF").GetNumberOfPlotSeriesNodes(),
    "folder": hierarchy.GetItemName(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(table))),
}))
"""


# Slicer reverses the slices of volumes whose axes are left-handed (as OBLIQUE's are) when it reads
# them from a file; every voxel must still lie at its place in the patient.
@pytest.mark.parametrize("matrix", [OBLIQUE, OBLIQUE @ np.diag([1, 1, -1, 1.0])])
def test_scene_is_the_same_when_a_fresh_process_opens_it(volume, regions, matrix, tmp_path):
    volume = Volume(volume.array, matrix, volume.name, volume.attributes)
    volume_node = volume_to_node(volume)
    node = regions_to_node(regions, volume_node)
    node.GetSegmentation().GetSegment("CSF").SetColor(0.25, 0.5, 0.75)
    chart = age_chart_to_node(age_curve())
    put_in_folder("MarrowAssess", [node, results_table(), chart])
    path = tmp_path / "new folder" / "patient.mrb"
    scene.save_scene(path)
    assert [p.name for p in path.parent.iterdir()] == ["patient.mrb"]

    paths = [p for p in sys.path if p.rstrip("/").endswith(("MarrowAssess", "PDFFMapper"))]
    code = f"import sys; sys.path[:0] = {paths!r}\n" + READ_BACK
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    back = json.loads(done.stdout)
    read = Volume(np.array(back["array"]), np.array(back["ijk_to_ras"]))
    k, j, i = np.indices(volume.array.shape)
    placed = read.ras_to_ijk(volume.to_ras(np.stack([i, j, k], axis=-1)))
    there = tuple(np.rint(placed).astype(int)[..., ::-1].transpose(3, 0, 1, 2))
    np.testing.assert_allclose(placed, np.rint(placed), atol=1e-4)
    np.testing.assert_array_equal(read.array[there], volume.array)
    assert back["attributes"] == volume.attributes
    for found, region in zip(back["regions"], regions, strict=True):
        name, role, site, offset, mask, cautions = found
        assert (name, role, site) == (region.name, region.role.value, region.site)
        full = Region(name, region.role, site, np.array(mask), tuple(offset)).full_mask(
            read.array.shape
        )
        np.testing.assert_array_equal(full[there], region.full_mask(volume.array.shape))
        assert cautions == region.cautions
    assert back["colors"]["CSF"] == pytest.approx([0.25, 0.5, 0.75], abs=1e-5)
    assert back["types"] == ["string", "int", "double"]
    assert back["missing"]
    assert back["unit"] == "%"
    assert back["series"] == 7
    assert back["folder"] == "MarrowAssess"


def test_a_broken_scene_file_leaves_the_scene_as_it_was(volume, tmp_path):
    volume_to_node(volume)
    whole = tmp_path / "whole.mrb"
    scene.save_scene(whole)
    broken = tmp_path / "broken.mrb"
    broken.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(ValueError, match="not a whole Slicer scene"):
        scene.load_scene(broken)
    damaged = bytearray(whole.read_bytes())
    with zipfile.ZipFile(whole) as archive:
        first = archive.infolist()[0]
    damaged[first.header_offset + 7] |= 8  # its name is said to be UTF-8
    damaged[first.header_offset + 30] = 0xC5
    broken.write_bytes(damaged)
    with pytest.raises(ValueError, match="not a whole Slicer scene"):
        scene.load_scene(broken)
    assert slicer.util.getNode("T1") is not None
    with pytest.raises(FileNotFoundError):
        scene.load_scene(tmp_path / "absent.mrb")
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("broken/broken.mrml", "<MRML><no")
    with pytest.raises(ValueError, match=r"(?s)the scene did not load\. .*Syntax error"):
        scene.load_scene(broken)


def test_a_scene_is_saved_as_mrb_only(tmp_path):
    with pytest.raises(ValueError, match=r"saved as \.mrb"):
        scene.save_scene(tmp_path / "scene.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_scene_that_cannot_be_written_leaves_no_file(tmp_path):
    """The name is as long as a file's may be; that of the scene inside would be longer."""
    with pytest.raises(OSError, match=r"the scene could not be saved\. ."):
        scene.save_scene(tmp_path / ("a" * 251 + ".mrb"))
    assert list(tmp_path.iterdir()) == []


def test_a_column_needs_a_level_and_the_spine_an_image(volume, regions):
    from MarrowAssessLib.scene.column import place_column, place_spine

    node = volume_to_node(volume)
    segmentation = regions_to_node(regions, node)
    with pytest.raises(ValueError, match="Say which vertebra you click, such as L3, under Place"):
        place_column(segmentation, node, [0, 0, 0], "")
    with pytest.raises(ValueError, match="No image was chosen; choose one that shows the spine"):
        place_spine(segmentation, {})
