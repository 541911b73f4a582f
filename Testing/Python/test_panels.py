"""The panels' own code on PySide6, offscreen, against stand-ins for Slicer's widgets."""

import sys

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

from MarrowAssessLib import headless

headless.start()

import panel_stand_ins as panels  # noqa: E402
import slicer  # noqa: E402
from stand_ins import load_module  # noqa: E402

APPLICATION = panels.Application()


@pytest.fixture(autouse=True)
def desktop(monkeypatch, drawn_once):
    slicer.mrmlScene.Clear(False)
    for name in ("MarrowAssess", "PDFFMapper"):
        module = load_module(name)
        parameter_class = getattr(module, f"{name}ParameterNode")
        for key, value in vars(panels.ParameterGui).items():
            if not key.startswith("__"):
                monkeypatch.setattr(parameter_class, key, value, raising=False)
    monkeypatch.setattr(slicer, "app", APPLICATION, raising=False)
    monkeypatch.setitem(sys.modules, "qt", panels.qt_module())
    monkeypatch.setattr(slicer.util, "loadUI", panels.load_ui, raising=False)
    monkeypatch.setattr(
        slicer.util, "childWidgetVariables", panels.child_widget_variables, raising=False
    )
    monkeypatch.setattr(slicer.util, "setSliceViewerLayers", lambda **_: None)


def wait(seconds=0.5):
    import time

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        APPLICATION.processEvents()
        time.sleep(0.01)


@pytest.fixture
def panel():
    made = panels.make_widget(load_module("MarrowAssess"), "MarrowAssess")
    yield made
    made.cleanup()


@pytest.fixture
def sample():
    return load_module("MarrowAssess").MarrowAssessLogic().loadSample()


@pytest.fixture
def mapper():
    made = panels.make_widget(load_module("PDFFMapper"), "PDFFMapper")
    yield made
    made.cleanup()


def test_apply_says_what_is_missing(panel):
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Choose at least one image or map."
    assert panel.ui.verdictLabel.text.startswith("No assessment yet")


def test_opening_the_panel_chooses_the_study_and_apply_shows_results(panel, sample):
    panel.enter()
    assert panel.ui.pdffSelector.currentNode() is sample.volumes["PDFF"]
    assert panel.ui.segmentationSelector.currentNode() is sample.segmentation
    assert panel.ui.applyButton.enabled
    panel.ui.ageSpinBox.value = 34.0
    panel.ui.sexComboBox.setCurrentText("M")
    panel.ui.applyButton.click()
    assert "L2 Marrow PDFF 4.0 %: below" in panel.ui.verdictLabel.text
    assert panel.ui.resultsTableView.node.GetNumberOfRows() > 50
    assert panel.ui.showChartButton.enabled and panel.ui.exportButton.enabled
    assert panel.ui.applyButton.text == "Apply"


def applied(panel):
    panel.enter()
    panel._parameterNode.ageYears, panel._parameterNode.sex = 34.0, "M"
    panel.ui.applyButton.click()


def shown_pdff(panel):
    table = panel.ui.resultsTableView.node.GetTable()
    quantity, site, value = (table.GetColumnByName(n) for n in ("Quantity", "Site", "Value"))
    return {
        site.GetValue(row): value.GetValue(row)
        for row in range(table.GetNumberOfRows())
        if quantity.GetValue(row) == "Marrow PDFF"
    }


def test_a_painted_segment_updates_the_results(panel, sample):
    applied(panel)
    array = slicer.util.arrayFromVolume(sample.volumes["PDFF"])
    assert "L3 Marrow PDFF" not in panel.ui.verdictLabel.text
    array[:] = np.where(np.isclose(array, 36), 2.0, array)  # L3 as a lesion ...
    full = slicer.util.arrayFromSegmentBinaryLabelmap(
        sample.segmentation, "L3 marrow", sample.volumes["T1"]
    )
    full[full.any(axis=(1, 2)).argmax()] = 0  # ... and a slice of it erased
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        full, sample.segmentation, "L3 marrow", sample.volumes["T1"]
    )
    wait()
    assert "L3 Marrow PDFF 2.0 %: below" in panel.ui.verdictLabel.text


def test_a_moved_point_updates_the_results(panel, sample):
    point = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    point.AddControlPoint(*sample.centers_ras["L3"], "T10 marrow")
    applied(panel)
    assert shown_pdff(panel)["T10"] == pytest.approx(sample.true_pdff["L3"], abs=0.5)
    point.SetNthControlPointPosition(0, *sample.centers_ras["L2"])
    wait()
    assert shown_pdff(panel)["T10"] == pytest.approx(sample.true_pdff["L2"], abs=0.5)


def test_without_automatic_update_an_edit_waits_for_apply(panel, sample):
    applied(panel)
    before = panel.ui.verdictLabel.text
    panel.ui.autoUpdateCheckBox.checked = False
    sample.segmentation.GetSegmentation().RemoveSegment("L2 marrow")
    wait()
    assert panel.ui.verdictLabel.text == before
    panel.ui.applyButton.click()
    assert panel.ui.verdictLabel.text != before


def test_an_update_does_not_trigger_itself(panel, sample):
    applied(panel)
    calls = []
    assess = panel.logic.assess
    panel.logic.assess = lambda *a, **k: (calls.append(1), assess(*a, **k))[1]
    panel.scheduleUpdate()
    wait(1.0)
    assert len(calls) == 1


def test_leaving_stops_observing_and_entering_resumes(panel, sample):
    applied(panel)
    before = panel.ui.verdictLabel.text
    panel.exit()
    sample.segmentation.GetSegmentation().RemoveSegment("L2 marrow")
    wait()
    assert panel.ui.verdictLabel.text == before
    panel.enter()
    panel.ui.applyButton.click()
    assert panel.ui.verdictLabel.text != before


def test_closing_the_scene_empties_the_panel_and_a_new_study_works(panel, sample):
    applied(panel)
    slicer.mrmlScene.Clear(False)
    assert not panel.ui.applyButton.enabled
    assert panel.ui.verdictLabel.text.startswith("No assessment yet")
    load_module("MarrowAssess").MarrowAssessLogic().loadSample()
    applied(panel)
    assert "L2 Marrow PDFF" in panel.ui.verdictLabel.text


def test_canceling_n4_leaves_the_scene_as_it_was(panel, sample):
    panel.enter()
    panel.ui.n4CheckBox.checked = True
    before = slicer.mrmlScene.GetNumberOfNodes()
    progress = panel.onProgress

    def press_cancel(fraction):
        panel.ui.applyButton.click()
        return progress(fraction)

    panel.onProgress = press_cancel
    panel.ui.applyButton.click()
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert panel.ui.verdictLabel.text.startswith("No assessment yet")
    assert panel.ui.applyButton.text == "Apply"


def test_the_overlay_can_be_switched_off_and_on(panel, sample):
    applied(panel)
    labels = sample.segmentation.GetNodeReference("MarrowAssess.labels")
    panel.ui.showOverlayCheckBox.checked = False
    assert not labels.GetDisplayVisibility()
    panel.ui.showOverlayCheckBox.checked = True
    wait()
    assert labels.GetDisplayVisibility()


def test_placing_takes_clicks_and_cleans_up(panel, sample):
    panel.enter()
    before = slicer.mrmlScene.GetNumberOfNodes()
    taken = []
    panel.placeRegion = lambda position: taken.append(position) or "Placed."
    panel.ui.placeButton.checked = True
    node = panel._clickNode
    node.AddControlPoint(1.0, 2.0, 3.0)
    wait(0.1)
    assert taken == [[1.0, 2.0, 3.0]]
    assert node.GetNumberOfControlPoints() == 0
    panel.ui.placeButton.checked = False
    assert panel._clickNode is None
    assert not slicer.mrmlScene.GetNodesByName("MarrowAssess click").GetNumberOfItems()
    assert slicer.mrmlScene.GetNumberOfNodes() >= before


def test_export_writes_a_report(panel, sample, tmp_path, monkeypatch):
    monkeypatch.setattr(slicer.util, "showStatusMessage", lambda *_: None, raising=False)
    applied(panel)
    panel._parameterNode.exportFolder = tmp_path / "report"
    panel.ui.exportButton.click()
    assert (tmp_path / "report" / "report.html").is_file()


def test_mapper_lists_frames_and_takes_typed_values(mapper):
    load_module("MarrowAssess").MarrowAssessLogic().loadMapperSample()
    mapper.enter()
    assert mapper.ui.echoTable.rowCount == 12 and mapper.ui.bValueTable.rowCount == 10
    assert mapper.ui.echoTable.item(0, 2).text() == "1.2"
    mapper.ui.echoTable.item(0, 2).setText("1.25")
    assert mapper.logic.frames(mapper._parameterNode.echoNodes)[0].volume.attributes[
        "EchoTime"
    ] == pytest.approx(1.25)
    mapper.ui.echoTable.item(0, 2).setText("soon")
    assert "'soon' is not a number" in mapper.ui.statusLabel.text
    assert mapper.ui.echoTable.item(0, 2).text() == "1.25"


def test_mapper_says_what_is_missing_and_follows_its_tabs(mapper):
    assert not mapper.ui.applyButton.enabled
    assert mapper.ui.applyButton.toolTip.startswith("Check the echoes")
    mapper.ui.tabWidget.setCurrentIndex(1)
    assert mapper.ui.applyButton.toolTip == "Check the diffusion images."


def test_mapper_maps_diffusion_cancels_and_sends(mapper, monkeypatch):
    monkeypatch.setattr(slicer.util, "selectModule", lambda *_: None, raising=False)
    sample = load_module("MarrowAssess").MarrowAssessLogic().loadMapperSample()
    mapper.enter()
    mapper.ui.tabWidget.setCurrentIndex(1)
    before = slicer.mrmlScene.GetNumberOfNodes()
    progress = mapper.onProgress
    mapper.onProgress = lambda part: (mapper.ui.applyButton.click(), progress(part))[1]
    mapper.ui.applyButton.click()
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert mapper.ui.statusLabel.text == "Canceled; nothing was changed."
    mapper.onProgress = progress
    mapper.ui.applyButton.click()
    assert "Apparent diffusion coefficient" in mapper.ui.statusLabel.text
    mapper.ui.sendButton.click()
    chosen = load_module("MarrowAssess").MarrowAssessLogic().getParameterNode()
    assert chosen.adcVolume.GetName() == "ADC"
    assert sample.diffusion[0] is not None
