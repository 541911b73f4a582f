"""Nodes to study, and an assessment that follows what the user edits, on Slicer's real scene."""

import json
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from MarrowAssessLib.scene import headless
from MarrowAssessLib.sources.inputs import StudyInputs

headless.start()

import slicer  # noqa: E402
from dicom_files import classic_slice  # noqa: E402
from MarrowAssessLib.catalogue.anatomy import Role  # noqa: E402
from MarrowAssessLib.catalogue.contrasts import Contrast  # noqa: E402
from MarrowAssessLib.catalogue.parameter_names import VOLUME_PARAMETERS  # noqa: E402
from MarrowAssessLib.catalogue.quantities import QUANTITIES  # noqa: E402
from MarrowAssessLib.catalogue.terminology import tissues  # noqa: E402
from MarrowAssessLib.findings.assessment import assess  # noqa: E402
from MarrowAssessLib.findings.statement import OPEN, RULE, Statement  # noqa: E402
from MarrowAssessLib.findings.verdict import notes, said_without_reference, verdict  # noqa: E402
from MarrowAssessLib.measures.book import Settings  # noqa: E402
from MarrowAssessLib.report.colors import CHANGE_COLORS, NO_REFERENCE_COLOR  # noqa: E402
from MarrowAssessLib.report.data import as_dict  # noqa: E402
from MarrowAssessLib.sample.phantom import lumbar_phantom  # noqa: E402
from MarrowAssessLib.scene.assessment import _doi  # noqa: E402
from MarrowAssessLib.scene.charts import outdate_charts  # noqa: E402
from MarrowAssessLib.scene.choices import on_other_grids  # noqa: E402
from MarrowAssessLib.scene.files import load_scene, save_scene  # noqa: E402
from MarrowAssessLib.scene.images import guess_inputs, shown_first  # noqa: E402
from MarrowAssessLib.scene.live_results import show_live  # noqa: E402
from MarrowAssessLib.scene.markups import region_markups  # noqa: E402
from MarrowAssessLib.scene.result_rows import PLAIN_SIGNAL, result_rows  # noqa: E402
from MarrowAssessLib.scene.segments import regions_to_node  # noqa: E402
from MarrowAssessLib.scene.session import Session  # noqa: E402
from MarrowAssessLib.scene.shown import live_results  # noqa: E402
from MarrowAssessLib.scene.study import study_from_nodes  # noqa: E402
from MarrowAssessLib.scene.tables import chart_series  # noqa: E402
from MarrowAssessLib.scene.views import chart_of  # noqa: E402
from MarrowAssessLib.scene.visibility import show_overlay  # noqa: E402
from MarrowAssessLib.study.regions import Region  # noqa: E402
from PDFFMapperLib.images.volume import Volume  # noqa: E402
from PDFFMapperLib.scene.volumes import set_fact, volume_from_node, volume_to_node  # noqa: E402

SPACING = np.diag([1.0, 1.0, 2.0, 1.0])


@pytest.fixture(autouse=True)
def empty_scene():
    slicer.mrmlScene.Clear(False)


@pytest.fixture
def spine():
    """A PDFF map of 30 % with two vertebrae of 40 and 20 %, as nodes."""
    array = np.full((10, 40, 40), 30, np.float32)
    array[3:7, 5:15, 10:25] = 40
    array[3:7, 22:32, 10:25] = 20
    node = volume_to_node(Volume(array, SPACING, "PDFF"))

    def body(site, rows):
        mask = np.zeros(array.shape, bool)
        mask[4:6, rows, 12:23] = True
        return Region.from_mask(f"{site} marrow", Role.MARROW, site, mask)

    segmentation = regions_to_node([body("L2", slice(7, 13)), body("L3", slice(24, 30))], node)
    return node, segmentation


def cells(table, column):
    array = table.GetTable().GetColumnByName(column)
    return [array.GetValue(n) for n in range(array.GetNumberOfTuples())]


def pdff_by_site(table):
    name = QUANTITIES["marrow_pdff"].name
    rows = zip(cells(table, "Quantity"), cells(table, "Site"), cells(table, "Value"), strict=True)
    return {site: value for quantity, site, value in rows if quantity == name}


def paint(segmentation, site, box):
    """What a brush of the Segment Editor does: another labelmap in the segment."""
    segment_id = f"{site} marrow"
    image = slicer.vtkOrientedImageData()
    segmentation.GetBinaryLabelmapRepresentation(segment_id, image)
    full = np.zeros((10, 40, 40), np.uint8)
    full[box] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        full,
        segmentation,
        segment_id,
        segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole()),
    )


def node_count():
    return slicer.mrmlScene.GetNumberOfNodes()


def test_study_reads_segments_and_inputs(spine):
    volume, segmentation = spine
    study = study_from_nodes(
        StudyInputs({Contrast.PDFF: volume}, segmentation, age_years=40, sex="F")
    )
    assert [(r.name, r.role, r.site) for r in study.regions] == [
        ("L2 marrow", Role.MARROW, "L2"),
        ("L3 marrow", Role.MARROW, "L3"),
    ]
    assert [r.voxels for r in study.regions] == [132, 132]
    assert study.inputs == {"PDFF": "PDFF", "segmentation": "Regions"}


def test_segments_that_name_no_tissue_or_are_empty_are_left_out_and_named(spine):
    volume, segmentation = spine
    segmentation.GetSegmentation().AddEmptySegment("other", "Segment_1")
    segmentation.GetSegmentation().AddEmptySegment("L4", "L4 marrow")
    study = study_from_nodes(StudyInputs({Contrast.PDFF: volume}, segmentation))
    assert [r.site for r in study.regions] == ["L2", "L3"]
    assert study.inputs["left out"] == (
        "Segment_1 (no tissue named: no word of it names a tissue or a site), L4 marrow (empty)"
    )


def test_markups_are_regions_where_their_name_tells_a_tissue(spine):
    volume, _ = spine
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "clicks")
    points.AddControlPoint(17, 10, 10, "L2 marrow")
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "landmarks")
    other.AddControlPoint(17, 10, 10, "tip of the conus")
    assert region_markups([points, other]) == [points]
    study = study_from_nodes(
        StudyInputs({Contrast.PDFF: volume}, markups=[points], point_radius_mm=3.0)
    )
    sphere = study.regions[0]
    assert (sphere.role, sphere.site) == (Role.MARROW, "L2")
    k, j, i = np.indices((10, 40, 40))
    inside = (i - 17) ** 2 + (j - 10) ** 2 + (2 * k - 10) ** 2 <= 3.0**2
    assert sphere.voxels == inside.sum()
    assert set(sphere.values(study.volumes[Contrast.PDFF].array)) == {40}


def test_grids_that_differ_are_refused_unless_resampled(spine):
    volume, segmentation = spine
    coarse = volume_to_node(Volume(np.ones((10, 20, 20), np.float32), SPACING * 2, "T1"))
    chosen = {Contrast.T1: coarse, Contrast.PDFF: volume}
    with pytest.raises(ValueError, match="another voxel grid"):
        study_from_nodes(StudyInputs(chosen, segmentation))
    study = study_from_nodes(StudyInputs(chosen, segmentation, resample=True))
    assert study.volumes[Contrast.T1].array.shape == (10, 40, 40)
    assert "resampled onto the grid of PDFF" in study.inputs["T1"]


def test_no_volume_and_no_region_say_what_to_do(spine):
    volume, _ = spine
    with pytest.raises(ValueError, match="at least one image"):
        study_from_nodes(StudyInputs({}))
    with pytest.raises(ValueError, match="No region says what it holds"):
        study_from_nodes(StudyInputs({Contrast.PDFF: volume}))


def test_an_edit_updates_table_and_chart_in_place(spine):
    volume, segmentation = spine

    def update():
        study = study_from_nodes(
            StudyInputs({Contrast.PDFF: volume}, segmentation, age_years=40, sex="F")
        )
        return show_live(assess(study), segmentation)

    first = update()
    assert pdff_by_site(first.table)["L2"] == pytest.approx(40)
    assert first.charts
    nodes = node_count()
    paint(segmentation, "L2", np.s_[4:6, 24:30, 12:23])  # onto the body of 20 %
    second = update()
    assert second.table is first.table and second.charts == first.charts
    assert pdff_by_site(second.table)["L2"] == pytest.approx(20)
    assert node_count() == nodes
    shown = [one.GetName() for one in chart_series(second.charts[0])]
    assert "L2  20.0 %" in shown


def test_a_change_of_age_and_back_leaves_no_nodes_behind(spine):
    volume, segmentation = spine

    def update(age):
        study = study_from_nodes(
            StudyInputs({Contrast.PDFF: volume}, segmentation, age_years=age, sex="F")
        )
        return show_live(assess(study), segmentation)

    update(40)
    nodes = node_count()
    assert not update(None).charts
    assert node_count() < nodes
    assert update(40).charts
    assert node_count() == nodes


def test_results_lie_in_a_folder_beside_the_segmentation(spine):
    volume, segmentation = spine
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study_item = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    item = hierarchy.CreateItem(study_item, segmentation)
    shown = show_live(
        assess(study_from_nodes(StudyInputs({Contrast.PDFF: volume}, segmentation, age_years=40))),
        segmentation,
    )
    folders = {
        hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
        for node in [shown.table, *shown.charts]
    }
    assert len(folders) == 1
    assert hierarchy.GetItemParent(folders.pop()) == hierarchy.GetItemParent(item) == study_item


def test_hiding_the_overlay_gives_tissue_colors_back(spine):
    volume, segmentation = spine
    study = study_from_nodes(
        StudyInputs({Contrast.PDFF: volume}, segmentation, age_years=40, sex="F")
    )
    show_live(assess(study), segmentation)
    display = segmentation.GetDisplayNode()
    labels = segmentation.GetNodeReference("MarrowAssess.labels")
    assert labels.GetDisplayVisibility()
    tissue = pytest.approx(tissues()[Role.MARROW].color)
    assert tuple(display.GetSegmentColor("L2 marrow")) != tissue
    show_overlay(segmentation, False)
    assert not labels.GetDisplayVisibility()
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(display)
    assert not legend.GetVisibility()
    assert tuple(display.GetSegmentColor("L2 marrow")) == tissue


def test_a_saved_scene_finds_its_results_again(spine, tmp_path):
    volume, segmentation = spine
    study = study_from_nodes(
        StudyInputs({Contrast.PDFF: volume}, segmentation, age_years=40, sex="F")
    )
    titles = [chart.GetTitle() for chart in show_live(assess(study), segmentation).charts]
    save_scene(tmp_path / "scene.mrb")
    load_scene(tmp_path / "scene.mrb")
    loaded = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    found = live_results(loaded)
    assert pdff_by_site(found.table)["L3"] == pytest.approx(20)
    assert [chart.GetTitle() for chart in found.charts] == titles


def test_verdict_names_what_lies_outside_and_what_was_left_out(spine):
    volume, segmentation = spine
    segmentation.GetSegmentation().AddEmptySegment("other", "Segment_1")
    volume_array = slicer.util.arrayFromVolume(volume)
    volume_array[3:7, 5:15, 10:25] = 4
    study = study_from_nodes(
        StudyInputs({Contrast.PDFF: volume}, segmentation, age_years=34, sex="M")
    )
    text = verdict(assess(study))
    assert "L2 Marrow PDFF 4.0 %: below the expected" in text
    assert "Left out: Segment_1 (no tissue named: no word" in text
    study.sex = None  # a reference of men and one of women are known
    asked = "Give the patient's sex to compare Marrow PDFF with what is expected."
    assert asked in verdict(assess(study)) and asked not in text
    study.age_years = None
    said = verdict(assess(study))
    assert said.count("age") == said.count("Give the patient's age") == 1


def test_rows_of_the_panel_are_those_of_the_table(spine, tmp_path):
    volume, segmentation = spine
    slicer.util.arrayFromVolume(volume)[3:7, 5:15, 10:25] = 4
    study = study_from_nodes(
        StudyInputs({Contrast.PDFF: volume}, segmentation, age_years=34, sex="M")
    )
    assessment = assess(study)
    said = "low on T1; seen in 3 %"
    for result in assessment.results:
        result.statements.append(Statement(RULE, OPEN, said, ()))
    table = show_live(assessment, segmentation).table
    assert table.GetLocked()
    rows = result_rows(table)
    assert len(rows) == len(assessment.results)
    assert all(said in row.details.split("\n") for row in rows)  # a line of its own, and whole
    assert (rows[0].site, rows[0].value, rows[0].verdict) == ("L2", "4.0 %", "below")
    assert rows[0].regions == ("L2 marrow",)
    first = next(r for r in assessment.results if r.measurement.site == "L2" and r.expectation)
    assert rows[0].z == pytest.approx(first.z) and rows[0].expected == first.expected_text
    assert [row.z is None for row in rows] == sorted(row.z is None for row in rows)
    save_scene(tmp_path / "scene.mrb")
    load_scene(tmp_path / "scene.mrb")
    loaded = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    again = result_rows(live_results(loaded).table)
    assert [(r.site, r.quantity, r.value, r.expected) for r in again] == [
        (r.site, r.quantity, r.value, r.expected) for r in rows
    ]


def test_texture_is_counted_apart_from_measurements(empty_scene):
    array = np.random.default_rng(0).normal(40, 5, (10, 40, 40))
    volume = volume_to_node(Volume(array.astype(np.float32), SPACING, "PDFF"))
    mask = np.zeros(array.shape, bool)
    mask[3:7, 5:17, 10:25] = True
    body = Region.from_mask("L3 marrow", Role.MARROW, "L3", mask)
    segmentation = regions_to_node([body], volume)
    study = study_from_nodes(StudyInputs({Contrast.PDFF: volume}, segmentation))
    plain, textured = (assess(study, Settings(texture=one)) for one in (False, True))
    number = len(plain.results)
    assert verdict(plain).startswith(f"{number} measurements, 0 with a reference, 0 outside")
    assert verdict(textured).startswith(f"{number} measurements, 0 with a reference, 0 outside")
    assert "95 % range; 9 texture features." in verdict(textured)
    rows = result_rows(show_live(textured, segmentation).table)
    assert sum(row.is_texture for row in rows) == 9
    assert sum(row.is_measured for row in rows) == number
    assert not replace(rows[0], key=PLAIN_SIGNAL).is_measured


def test_quantities_are_told_apart_by_their_names():
    assert len({quantity.name for quantity in QUANTITIES.values()}) == len(QUANTITIES)


def test_a_pet_on_its_own_grid_asks_for_no_resampling():
    parameters = types.SimpleNamespace(
        **dict.fromkeys(VOLUME_PARAMETERS.values()), segmentation=None
    )
    parameters.t1Volume = volume_to_node(Volume(np.zeros((2, 3, 4), np.int16), SPACING, "T1"))
    parameters.suvVolume = volume_to_node(Volume(np.zeros((3, 3, 3)), 4 * SPACING, "PET"))
    assert on_other_grids(parameters) == []
    parameters.t2Volume = parameters.suvVolume
    assert on_other_grids(parameters) == ["T2 (PET)"]


def test_a_dicom_file_that_is_gone_tells_nothing_and_stops_nothing(tmp_path):
    node = volume_to_node(Volume(np.zeros((2, 3, 4), np.int16), SPACING, "T1"))
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    text = tmp_path / "note.txt"
    text.write_text("not DICOM")
    for file in (tmp_path / "gone.dcm", text):
        guess = guess_inputs([node], {"1.2.3": str(file)}.get)
        assert guess.volumes == {Contrast.T1: node}
        assert guess.patient.age_years is None


def test_the_image_that_is_shown_takes_the_clicks():
    from MarrowAssessLib.scene.files import show_in_slices

    nodes = [
        volume_to_node(Volume(np.zeros((2, 3, 4), np.int16), SPACING, n)) for n in ("T1", "T2")
    ]
    assert shown_first(nodes) == nodes
    show_in_slices(nodes[1])
    assert shown_first(nodes) == nodes[::-1]


def test_inputs_are_guessed_from_names_and_headers(tmp_path):
    grid = np.zeros((2, 3, 4), np.int16)
    named = volume_to_node(Volume(grid, SPACING, "T1"))
    facts = {"SeriesDescription": "sag t2 tse stir", "RepetitionTime": 4000.0, "EchoTime": 60.0}
    stir = volume_to_node(Volume(grid, SPACING, "5: series", facts))
    twins = [volume_to_node(Volume(grid, SPACING, "PDFF")) for _ in range(2)]
    guess = guess_inputs([named, stir, *twins])
    assert guess.volumes == {Contrast.T1: named, Contrast.FS_T2: stir}  # two PDFFs: the user's turn


def test_an_exported_report_names_no_node(tmp_path):
    """Loaders name nodes by what was typed at the scanner, which may be the patient's name."""
    mask = np.zeros((4, 12, 12), bool)
    mask[1:3, 3:9, 3:9] = True
    array = np.where(mask, 40, 10).astype(np.float32)
    pdff = volume_to_node(Volume(array, SPACING, "4: Doe^Jane PDFF"))
    ball = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "L3 marrow")
    ball.AddControlPoint(*volume_from_node(pdff).to_ras([5, 5, 1]), "L3 marrow")
    session = Session()
    session.assess(StudyInputs({Contrast.PDFF: pdff}, None, [ball]))
    files = session.export(None, tmp_path)
    said = "".join(file.read_text() for file in files)
    assert "Doe" not in said and "PDFF: image " in said


def test_age_sex_and_contrast_come_from_the_dicom_file_of_a_node(tmp_path):
    pixels = np.ones((6, 5), np.uint16)
    facts = {
        "SeriesDescription": "sag t2 tse stir",
        "PatientAge": "045Y",
        "PatientSex": "F",
        "RepetitionTime": 4000.0,
        "EchoTime": 60.0,
    }
    file = classic_slice(tmp_path, "1.dcm", 0, pixels, **facts)
    node = volume_to_node(Volume(np.zeros((2, 3, 4), np.int16), SPACING, "7: unnamed"))
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    guess = guess_inputs([node], {"1.2.3": str(file)}.get)
    assert guess.volumes == {Contrast.FS_T2: node}
    assert guess.patient.sex == "F"
    assert guess.patient.age_years == pytest.approx(45, abs=1)


def test_the_label_of_a_lesion_says_so_where_its_color_does_not(phantom):
    from MarrowAssessLib.scene.assessment import site_results

    study = phantom.study()
    study.volumes = {c: study.volumes[c] for c in (Contrast.T1, Contrast.FS_T2)}
    labels = {one.region_name: one.label for one in site_results(assess(study))}
    assert labels["L2 marrow"].startswith("L2  T1 marrow/disc")  # VBQ is of L1-L4, not of L2
    assert labels["L2 marrow"].endswith("\nsignature: pathologic")
    assert not any("signature" in label for name, label in labels.items() if name != "L2 marrow")


def test_the_label_of_a_number_at_a_limit_gives_no_verdict(phantom):
    from MarrowAssessLib.scene.assessment import site_results

    study = phantom.study()
    study.volumes = {Contrast.T1: study.volumes[Contrast.T1]}
    assessment = assess(study)
    for one in assessment.results:
        one.statements = [replace(said, tone="") for said in one.statements]
    labels = {one.region_name: one.label for one in site_results(assessment)}
    assert labels["L3 marrow"].endswith("\nno verdict")
    for one in assessment.results:
        one.statements.clear()
    labels = {one.region_name: one.label for one in site_results(assessment)}
    assert labels["L3 marrow"].endswith("\nno reference")


def test_rows_are_told_by_their_key_not_by_what_a_cell_says(spine):
    volume, segmentation = spine
    study = study_from_nodes(
        StudyInputs({Contrast.PDFF: volume}, segmentation, age_years=34, sex="M")
    )
    table = show_live(assess(study), segmentation).table
    before = [(row.quantity, row.value, row.details) for row in result_rows(table)]
    names = table.GetTable().GetColumnByName("Quantity")
    for n in range(names.GetNumberOfValues()):
        names.SetValue(n, "typed over")
    assert [(row.quantity, row.value, row.details) for row in result_rows(table)] == before


@pytest.mark.parametrize("column", ["Quantity", "Key"])
def test_a_row_of_no_known_quantity_is_shown_as_it_stands(spine, column):
    volume, segmentation = spine
    study = study_from_nodes(
        StudyInputs({Contrast.PDFF: volume}, segmentation, age_years=34, sex="M")
    )
    table = show_live(assess(study), segmentation).table
    if column == "Quantity":  # a table of version 0.1 has no keys
        table.RemoveColumn(table.GetColumnIndex("Key"))
        assert {row.quantity for row in result_rows(table)} >= {"Marrow PDFF"}
    cell = table.GetTable().GetColumnByName(column)
    for n in range(cell.GetNumberOfValues()):
        cell.SetValue(n, "marrow_of_the_future")
    rows = result_rows(table)
    shown = "Marrow PDFF" if column == "Key" else "marrow_of_the_future"
    assert any(row.quantity == shown and row.value == "20.00 %" for row in rows)


def test_a_child_s_ratio_has_a_chart_of_frequencies():
    study = lumbar_phantom().study()
    segmentation = regions_to_node(study.regions, volume_to_node(study.volumes[Contrast.T1]))
    charts = show_live(assess(replace(study, age_years=10.0, sex="F")), segmentation).charts
    by_title = {chart.GetTitle(): chart for chart in charts}
    chart = by_title["T1 marrow/disc by age, women"]
    names = [chart.GetNthPlotSeriesNode(n).GetName() for n in range(2)]
    assert "90 % of normal 5-15 years: above 1" in names
    again = show_live(assess(replace(study, age_years=11.0, sex="F")), segmentation).charts
    assert chart in again


def test_the_panel_says_a_rule_first():
    study = lumbar_phantom().study()
    t1 = {Contrast.T1: study.volumes[Contrast.T1]}
    said = notes(assess(replace(study, volumes=t1, age_years=55.0, sex="F")))
    assert said[0].startswith("Unusual by what is published: L2 T1 marrow/disc 0.86")
    said = said_without_reference(assess(replace(study, volumes=t1, age_years=55.0, sex="F")))
    assert said[0].says.startswith("at or below 1: of 41 at or below, 40 were")


def test_an_adult_s_ratio_has_a_chart_of_the_model():
    study = lumbar_phantom().study()
    segmentation = regions_to_node(study.regions, volume_to_node(study.volumes[Contrast.T1]))
    charts = show_live(assess(replace(study, age_years=45.0, sex="F")), segmentation).charts
    by_title = {chart.GetTitle(): chart for chart in charts}
    chart = by_title["T1 marrow/disc by age, women"]
    drawn = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    (series,) = [one for one in drawn if one.GetName() == "modelled, not published"]
    ages = series.GetTableNode().GetTable().GetColumnByName("Age")
    assert (ages.GetRange(0)[0], ages.GetRange(0)[1]) == (2.0, 80.0)


def test_a_chart_is_drawn_anew_where_the_references_are_others(spine):
    """Its outlines would be those of before: another field strength, controls that were added."""
    volume, segmentation = spine
    study = study_from_nodes(
        StudyInputs({Contrast.PDFF: volume}, segmentation, age_years=40, sex="F")
    )
    first = show_live(assess(study), segmentation).charts
    at_3_t = show_live(assess(replace(study, field_strength_t=3.0)), segmentation).charts
    assert at_3_t and not set(at_3_t) & set(first)
    outdate_charts()
    assert chart_of(at_3_t, result_rows(live_results(segmentation).table)[0])
    after = show_live(assess(replace(study, field_strength_t=3.0)), segmentation).charts
    assert after and not set(after) & set(at_3_t)


def test_what_was_said_of_reading_the_images_is_said_in_the_panel(spine):
    volume, segmentation = spine
    set_fact(volume, "Units", "fraction")
    slicer.util.updateVolumeFromArray(volume, slicer.util.arrayFromVolume(volume) / 100)
    session = Session()
    session.assess(StudyInputs({Contrast.PDFF: volume}, segmentation, age_years=40, sex="F"))
    said = "PDFF: the file states 'fraction'; values were times 100."
    assert said in notes(session.assessment_of(segmentation))


def test_a_report_counts_segments_that_were_left_out_and_names_none(spine, tmp_path):
    volume, segmentation = spine
    segmentation.GetSegmentation().AddEmptySegment("doe", "Jane Doe, liver")
    session = Session()
    session.assess(StudyInputs({Contrast.PDFF: volume}, segmentation, age_years=40, sex="F"))
    said = "".join(file.read_text() for file in session.export(segmentation, tmp_path))
    assert "Doe" not in said and "1 segment (no tissue named)" in said


def test_the_doi_is_that_of_what_speaks_first():
    """Not of a cut-off or of repeatability, which say nothing about this number."""
    study = lumbar_phantom().study()
    t1 = {Contrast.T1: study.volumes[Contrast.T1]}
    results = assess(replace(study, volumes=t1, age_years=45.0, sex="F")).results
    (one,) = [
        r
        for r in results
        if (r.measurement.quantity, r.measurement.site) == ("t1_marrow_muscle", "L3")
    ]
    assert one.expectation is None and one.statements
    first = next(d for s in one.statements for d in (*(r.doi for r in s.records), s.source) if d)
    assert _doi(one) == first
    silent = replace(one, statements=[])
    assert silent.records and _doi(silent) == ""


def test_a_chart_of_a_scene_without_keys_is_made_anew(spine):
    volume, segmentation = spine
    study = study_from_nodes(
        StudyInputs({Contrast.PDFF: volume}, segmentation, age_years=40, sex="F")
    )
    shown = show_live(assess(study), segmentation)
    nodes = node_count()
    for chart in shown.charts:
        chart.RemoveAttribute("MarrowAssess.curve")
    again = show_live(assess(study), segmentation)
    assert [c.GetTitle() for c in again.charts] == [c.GetTitle() for c in shown.charts]
    assert not set(again.charts) & set(shown.charts)
    assert node_count() == nodes


def test_a_scene_of_version_0_1_opens_and_takes_new_results():
    load_scene(Path(__file__).resolve().parents[1] / "scenes" / "version_0_1.mrb")
    segmentation = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    (volume,) = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    saved = live_results(segmentation)
    rows = [(row.site, row.quantity, row.value) for row in result_rows(saved.table)]
    assert ("L3", "Marrow PDFF", "20.0 %") in rows and ("L2", "Marrow PDFF", "40.0 %") in rows
    study = study_from_nodes(
        StudyInputs({Contrast.PDFF: volume}, segmentation, age_years=40, sex="F")
    )
    shown = show_live(assess(study), segmentation)
    assert shown.table is saved.table
    measured = [(row.site, row.quantity, row.value) for row in result_rows(shown.table)]
    assert sorted(measured) == sorted(rows)  # what lies outside may be told by other references
    assert len(shown.charts) == len(saved.charts) == 1


def test_pet_that_slicer_left_as_activity_is_measured_as_suv(tmp_path, monkeypatch):
    """Its own loader gives Bq/ml; the headers of its files say what makes SUV of it."""
    from MarrowAssessLib.measures.measure import measure
    from test_pet import DECAYED, PET, header

    known = ("PatientWeight", "PatientSize", "PatientSex", "Units", "DecayCorrection",
             "CorrectedImage", "SeriesType", "SeriesDate", "SeriesTime", "AcquisitionDate",
             "AcquisitionTime", "RescaleIntercept",
             "RadiopharmaceuticalInformationSequence")  # fmt: skip
    facts = {key: header()[key].value for key in known} | {"RescaleSlope": 1.0}
    files = {}
    for k in range(3):
        file = classic_slice(tmp_path, f"{k}.dcm", k, np.full((6, 5), 100, np.int16),
                             Modality="PT", sop_class=PET, **facts)  # fmt: skip
        files[f"1.2.{k}"] = str(file)
    activity = np.full((20, 20, 20), 9000.0, np.float32)
    node = volume_to_node(Volume(activity, SPACING, "FDG"))
    node.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    mask = np.zeros(activity.shape, bool)
    mask[2:18, 4:16, 4:16] = True
    region = Region.from_mask("L1 marrow", Role.MARROW, "L1", mask)
    segmentation = regions_to_node([region], node)
    with pytest.raises(ValueError, match="no SUV in g/ml but activity"):
        study_from_nodes(StudyInputs({Contrast.SUV: node}, segmentation))
    database = types.SimpleNamespace(fileForInstance=lambda uid: files.get(uid, ""))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    study = study_from_nodes(StudyInputs({Contrast.SUV: node}, segmentation))
    assert any("became SUV by its DICOM headers" in note for note in study.notes)
    (mean,) = [m for m in measure(study).measurements if m.quantity == "marrow_suv"]
    assert mean.value == pytest.approx(9000 * 70_000 / DECAYED, rel=1e-3)


def test_since_an_earlier_visit_regions_have_the_color_of_their_change(spine, tmp_path):
    """What has fallen by many RC is purple, not the blue or red of z-scores."""
    (volume, node), session, file = spine, Session(), tmp_path / "assessment.json"
    images = {Contrast.PDFF: volume}
    earlier = as_dict(session.assess(StudyInputs(images, node, age_years=34, sex="M")), ())
    for one in earlier["measurements"]:
        if one["site"] == "L3":
            one["doubtful"] = ["L3 marrow"]
        else:
            one["value"], one["ci95"] = one["value"] * 2, None
    file.write_text(json.dumps(earlier))
    session.assess(StudyInputs(images, node, age_years=34.5, sex="M"), earlier=file)

    def color(name):
        return node.GetDisplayNode().GetSegmentOverrideColor(name)

    assert color("L2 marrow") == pytest.approx(CHANGE_COLORS[0], abs=0.01)
    assert color("L3 marrow") == pytest.approx(NO_REFERENCE_COLOR, abs=0.01)
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(node.GetDisplayNode())
    assert legend.GetTitleText() == "regions: RC" and legend.GetVisibility()
    labels = node.GetNodeReference("MarrowAssess.labels")
    assert labels.GetNthControlPointLabel(0).endswith(" RC")
    verdicts = {(c.quantity, c.site): c.verdict for c in session.changes_of(node)}
    assert verdicts["marrow_pdff", "L2"] == "decrease"
    session.assess(StudyInputs(images, node, age_years=34.5, sex="M"))
    assert legend.GetTitleText() == "z-score" and session.changes_of(node) == []
    with pytest.raises(ValueError, match=r"cannot be read; choose its assessment\.json"):
        session.assess(
            StudyInputs(images, node, age_years=34, sex="M"), earlier=tmp_path / "none.json"
        )
    file.write_text(json.dumps(earlier | {"measurements": []}))
    with pytest.raises(ValueError, match="earlier visit has no quantity at one site in common"):
        session.assess(StudyInputs(images, node, age_years=34, sex="M"), earlier=file)
