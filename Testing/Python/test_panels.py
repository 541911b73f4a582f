"""The panels' own code on PySide6, offscreen, against stand-ins for Slicer's widgets."""

import csv
import gc
import json
import sys
import threading
import types
import weakref
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

from MarrowAssessLib.scene import headless

headless.start()

import panel_stand_ins as panels  # noqa: E402
import pydicom  # noqa: E402
import slicer  # noqa: E402
from dicom_files import classic_slice, enhanced  # noqa: E402
from MarrowAssessLib.catalogue.anatomy import Role  # noqa: E402
from MarrowAssessLib.catalogue.contrasts import Contrast  # noqa: E402
from MarrowAssessLib.catalogue.parameter_names import VOLUME_PARAMETERS  # noqa: E402
from MarrowAssessLib.commands.demo import _write_ute  # noqa: E402
from MarrowAssessLib.placement import clicks  # noqa: E402
from MarrowAssessLib.prediction.score_file import Model, Score, write_score  # noqa: E402
from MarrowAssessLib.sample.tibia import SITE, Tibia  # noqa: E402
from MarrowAssessLib.scene import choices, segments, views  # noqa: E402
from MarrowAssessLib.scene.choices import chosen_volumes  # noqa: E402
from MarrowAssessLib.scene.chosen_inputs import console_command  # noqa: E402
from MarrowAssessLib.scene.edits import add_regions  # noqa: E402
from MarrowAssessLib.scene.placing import placing_options  # noqa: E402
from MarrowAssessLib.scene.shown import shows_3d  # noqa: E402
from MarrowAssessLib.scene.visibility import overlay_displays  # noqa: E402
from MarrowAssessLib.study.acquisition_facts import field_strength_t, times_ms  # noqa: E402
from MarrowAssessLib.study.regions import Region  # noqa: E402
from MarrowAssessLib.study.study import Study  # noqa: E402
from panel_stand_ins import click, type_into, wait  # noqa: E402
from PDFFMapperLib.images.volume import Volume  # noqa: E402
from PDFFMapperLib.scene.folders import put_beside  # noqa: E402
from PDFFMapperLib.scene.mapping import chosen_settings, table_of  # noqa: E402
from PDFFMapperLib.scene.segments import mask_to_node, masks_of_segments  # noqa: E402
from PDFFMapperLib.scene.studies import study_of  # noqa: E402
from PDFFMapperLib.scene.volumes import volume_from_node, volume_to_node  # noqa: E402
from PDFFMapperLib.spectroscopy.simulate import Truth, simulated  # noqa: E402
from PDFFMapperLib.ute.cortex import NO_DARK_RING, NO_RING  # noqa: E402
from PDFFMapperLib.ute.echoes import ute_series  # noqa: E402
from PDFFMapperLib.ute.maps import NO_BONE  # noqa: E402
from PDFFMapperLib.ute.regions import porosity_index  # noqa: E402
from PDFFMapperLib.water_fat.recipe import WATER_FAT  # noqa: E402
from PySide6.QtCore import Qt  # noqa: E402
from PySide6.QtTest import QTest  # noqa: E402
from PySide6.QtWidgets import QFormLayout  # noqa: E402
from spectrum_files import write_rda  # noqa: E402
from stand_ins import load_module  # noqa: E402
from vtkmodules.util.numpy_support import vtk_to_numpy  # noqa: E402

NO_MORE = types.SimpleNamespace(echo_times_s=None, sigma=None)  # settings of a UTE series
APPLICATION = panels.application()
pytestmark = pytest.mark.usefixtures("desktop")


def test_apply_says_what_is_missing(panel):
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Choose at least one image or map."
    assert not panel.ui.placeButton.enabled and not panel.ui.findColumnButton.enabled
    assert panel.ui.placeButton.toolTip == "Choose at least one image or map."
    assert panel.ui.verdictLabel.text.startswith("No assessment yet")


def test_each_contrast_has_its_selector(panel, sample):
    for parameter in VOLUME_PARAMETERS.values():
        selector = getattr(panel.ui, parameter.replace("Volume", "Selector"))
        form = selector.qobject.parent().layout()
        assert selector.toolTip and form.labelForField(selector.qobject).text().endswith(":")
        assert selector.qobject.listed() == list(sample.volumes.values()), parameter
        selector.setCurrentNode(sample.volumes["T2"])
        assert getattr(panel._parameterNode, parameter) is sample.volumes["T2"], parameter


def test_opening_the_panel_chooses_the_study_and_apply_shows_results(panel, sample):
    panel.enter()
    assert panel.ui.pdffSelector.currentNode() is sample.volumes["PDFF"]
    assert panel.ui.segmentationSelector.currentNode() is sample.segmentation
    assert panel.ui.applyButton.enabled
    type_into(panel.ui.ageLineEdit, "34")
    panel.ui.sexComboBox.setCurrentText("M")
    panel.ui.applyButton.click()
    assert "L2 Marrow PDFF 4.0&nbsp;%: below" in panel.ui.verdictLabel.text
    assert panel.ui.resultsTableView.node.GetNumberOfRows() > 50
    assert panel.ui.showChartButton.enabled and panel.ui.exportButton.enabled
    assert panel.ui.applyButton.text == "Apply"


@pytest.mark.parametrize("name", ["panel", "mapper"])
def test_what_is_in_a_folder_is_shown_in_both_panels(name, request, tmp_path, monkeypatch):
    shown = request.getfixturevalue(name)
    classic_slice(tmp_path, "1.dcm", 0, np.ones((6, 5), np.uint16), SeriesDescription="sag t1")
    asked = types.SimpleNamespace(getExistingDirectory=lambda *_: str(tmp_path))
    monkeypatch.setattr(sys.modules["qt"], "QFileDialog", asked, raising=False)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: None, raising=False)
    shown.ui.inspectButton.click()
    assert "#3 sag t1" in shown.ui.inspectionText.plainText
    assert not shown.ui.inspectionText.qobject.isHidden()
    progress, shown.frame.progress = shown.frame.progress, lambda part: False
    shown.ui.inspectionText.plainText = ""
    shown.ui.inspectButton.click()
    assert shown.ui.inspectionText.plainText == ""
    assert "Canceled; the folder was not read to its end." in shown.ui.folderLabel.text
    shown.frame.progress = progress
    shown.ui.inspectButton.click()
    assert "#3 sag t1" in shown.ui.inspectionText.plainText
    assert "Canceled" not in shown.ui.folderLabel.text


def dicom_study(folder):
    """A T1 and a STIR of one patient, and a series that lacks a slice."""
    pixels = np.ones((6, 5), np.uint16)
    common = {"MagneticFieldStrength": 1.5, "PatientAge": "045Y", "PatientBirthDate": "",
              "FrameOfReferenceUID": "1.2.8", "StudyInstanceUID": "1.2.7"}  # fmt: skip
    for uid, name, places, timing in (
        ("1.2.1", "sag t1 tse", range(4), {"RepetitionTime": 600.0, "EchoTime": 11.0}),
        ("1.2.2", "sag t2 tirm", range(4), {"RepetitionTime": 4000.0, "EchoTime": 60.0}),
        ("1.2.3", "ax t2", (0, 1, 3, 4), {"RepetitionTime": 4000.0, "EchoTime": 90.0}),
    ):
        facts = {**common, **timing, "series": uid, "SeriesDescription": name}
        for k in places:
            classic_slice(folder, f"{uid}.{k}.dcm", k, pixels, **facts)


def test_a_dicom_study_is_loaded_from_its_folder(panel, tmp_path, monkeypatch):
    dicom_study(tmp_path)
    shown = []
    show = lambda **layers: shown.append(layers)  # noqa: E731
    monkeypatch.setattr(slicer.util, "setSliceViewerLayers", show)
    panel.folder.load(str(tmp_path))
    wait()
    assert panel.ui.t1Selector.currentNode().GetName() == "sag t1 tse"
    assert panel.ui.fsT2Selector.currentNode().GetName() == "sag t2 tirm"
    assert panel.ui.ageLineEdit.text == "45 years" and panel.ui.sexComboBox.currentText == "F"
    t1 = panel.ui.t1Selector.currentNode()
    assert volume_from_node(t1).attributes["MagneticFieldStrength"] == 1.5
    assert shown == [{"background": t1, "foreground": None, "fit": True}]
    said = panel.ui.folderLabel.text
    assert said.startswith("Loaded: 2 volumes. Left out: Series 3 'ax t2'") and "missing" in said
    assert not panel.ui.folderLabel.qobject.isHidden()
    assert not panel.ui.readAgainButton.enabled  # nothing came from Slicer's own loaders
    before = slicer.mrmlScene.GetNumberOfNodes()
    monkey = panel.frame.progress
    panel.frame.progress = lambda fraction: False
    panel.folder.load(str(tmp_path))
    panel.frame.progress = monkey
    assert panel.ui.folderLabel.text == "Canceled; nothing was loaded."
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def another_study(folder, uid="1.2.9", **facts):
    """A T1 of another patient, whose header tells no sex."""
    folder.mkdir()
    told = {"series": f"{uid}.1", "SeriesDescription": "sag t1 tse", "PatientID": "other"}
    told |= {"PatientSex": "", "PatientAge": "012Y", "PatientBirthDate": ""}
    told |= {"StudyDate": "20250301", "RepetitionTime": 600.0, "EchoTime": 11.0, **facts}
    for k in range(4):
        pixels = np.ones((6, 5), np.uint16)
        classic_slice(folder, f"{k}.dcm", k, pixels, StudyInstanceUID=uid, **told)
    return str(folder)


def test_a_study_that_is_loaded_is_measured_in_place_of_another_patients(panel, sample, tmp_path):
    """The views showed the new study, and the old one's images were measured on."""
    panel.enter()
    wait()
    parameters, ui = panel._parameterNode, panel.ui
    parameters.ageYears, parameters.sex, parameters.glucoseMmolL = 34.0, "M", 9.0
    ui.applyButton.click()
    wait()
    assert panel.results.rows and ui.visitRow.qobject.isHidden()
    regions = parameters.segmentation
    parameters.autoUpdate, parameters.scores = False, "old.json"
    panel.files.show()
    panel.folder.load(another_study(tmp_path / "new"))
    wait()
    (t1,) = (n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if study_of(n))
    assert list(chosen_volumes(parameters).values()) == [t1]
    assert (parameters.ageYears, parameters.sex, parameters.segmentation) == (12, "not known", None)
    assert (parameters.glucoseMmolL, parameters.scores) == (0, "")
    assert ui.scoresLineEdit.text == "" and not panel.results.rows and not ui.applyButton.enabled
    said = ui.folderLabel.text
    assert said.startswith("Loaded: 1 volumes. They are chosen in place of the images before;")
    box = ui.visitComboBox.qobject
    assert not ui.visitRow.qobject.isHidden() and box.currentIndex() == 1
    listed = ["Images of no study", "Study (20250301)"]
    assert [box.itemText(n) for n in range(box.count())] == listed
    box.activated.emit(0)
    wait()
    assert parameters.segmentation is regions and t1 not in chosen_volumes(parameters).values()
    parameters.t1Volume = t1
    assert "Of no study, so perhaps of another patient: T2" in ui.studyLabel.text


def test_regions_and_files_of_another_study_count_no_more(panel, sample, tmp_path):
    """Points, a segmentation that names no image, and files that were typed and refused."""
    from MarrowAssessLib.scene.choices import chosen_markups

    panel.enter()
    wait()
    parameters, ui = panel._parameterNode, panel.ui
    parameters.autoUpdate = False
    slicer.mrmlScene.RemoveNode(sample.segmentation)
    drawn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "of a file")
    drawn.GetSegmentation().AddEmptySegment("L3", "L3 marrow")
    parameters.segmentation = drawn
    point = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "L3 marrow")
    point.AddControlPoint(*sample.centers_ras["L3"])
    assert chosen_markups(parameters) == [point]
    type_into(ui.spectraLineEdit, f"L3={tmp_path}/nowhere.rda")
    type_into(ui.ageLineEdit, "old")
    assert "nowhere.rda" in ui.filesHintLabel.text and "'old'" in ui.ageHintLabel.text
    panel.folder.load(another_study(tmp_path / "new"))
    wait()
    assert parameters.segmentation is None and chosen_markups(parameters) == []
    assert ui.spectraLineEdit.text == ui.filesHintLabel.text == ""
    assert ui.ageLineEdit.text == "12 years" and ui.ageHintLabel.text == ""
    later = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "L4 marrow")
    later.AddControlPoint(0, 0, 0)
    assert chosen_markups(parameters) == [later]
    ui.visitComboBox.qobject.activated.emit(0)
    wait()
    assert parameters.segmentation is drawn and chosen_markups(parameters) == [point]
    ui.visitComboBox.qobject.activated.emit(1)
    wait()
    assert parameters.segmentation is None and chosen_markups(parameters) == [later]
    for node in [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
                 if not study_of(n)]:  # fmt: skip
        slicer.mrmlScene.RemoveNode(node)
    assert chosen_markups(parameters) == [later]  # the other's images are gone, its points not


def test_points_stay_with_their_study_where_images_of_another_are_chosen_by_hand(panel):
    """They were counted in another patient's images: no study holds points."""
    from MarrowAssessLib.scene.choices import chosen_markups

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    held = []
    for name in ("one", "other"):
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), name)
        volume = Volume(np.ones((4, 4, 4), np.float32), np.eye(4))
        held.append([volume_to_node(volume, f"{kind} {name}") for kind in ("t1_tse", "t2_tse")])
        study_of_patient(patient, name, "20250301", held[-1], "MR")
    (t1, t2), (other_t1, other_t2) = held
    panel.enter()
    wait()
    parameters = panel._parameterNode
    parameters.t1Volume, parameters.t2Volume = t1, t2
    wait()
    point = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "L3 marrow")
    point.AddControlPoint(1, 1, 1)
    parameters.t2Volume = None  # the same study
    assert chosen_markups(parameters) == [point]
    parameters.t2Volume = other_t2  # of two: the panel says so
    parameters.t1Volume = other_t1
    assert chosen_markups(parameters) == []
    parameters.t1Volume, parameters.t2Volume = t1, None
    assert chosen_markups(parameters) == [point]


def test_a_visit_whose_images_a_script_removed_leaves_the_box(panel, sample, tmp_path):
    panel.enter()
    wait()
    panel.folder.load(another_study(tmp_path / "new"))
    wait()
    assert not panel.ui.visitRow.qobject.isHidden()
    for node in [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
                 if not study_of(n)]:  # fmt: skip
        slicer.mrmlScene.RemoveNode(node)
    chosen = chosen_volumes(panel._parameterNode)
    panel.visit.onVisit(0)  # before the box is filled anew
    assert chosen_volumes(panel._parameterNode) == chosen and panel.ui.visitRow.qobject.isHidden()


def test_a_removed_visit_leaves_the_box_by_itself(panel, sample, tmp_path):
    panel.enter()
    wait()
    panel.folder.load(another_study(tmp_path / "new"))
    wait()
    (t1,) = chosen_volumes(panel._parameterNode).values()
    for node in [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if n is not t1]:
        slicer.mrmlScene.RemoveNode(node)
    wait()
    assert panel.ui.visitRow.qobject.isHidden()


def test_many_images_take_one_line(panel, sample):
    """Seven took eight lines, and the matrix lay out of sight on a small screen."""
    panel.enter()
    wait()
    parameters, label = panel._parameterNode, panel.ui.studyLabel
    assert len(chosen_volumes(parameters)) == len(label.toolTip.split("<br>")) == 7
    assert len(label.text.splitlines()) == 1 and label.text.endswith("that these are right.")
    parameters.waterVolume = parameters.t1Volume  # what is wrong is said
    wait()
    assert label.text.splitlines()[1:] == ["T1 is chosen as T1 and water: one of them is wrong."]
    for name in list(VOLUME_PARAMETERS.values()):
        if name not in ("t1Volume", "t2Volume"):
            setattr(parameters, name, None)
    wait()
    first = "Check that these are right:\nT1: T1 (by its name)\nT2: T2 (by its name)"
    assert label.text == first


def test_all_numbers_have_the_digits_that_people_read_and_the_scene_all(panel, sample):
    applied(panel)
    from MarrowAssessLib.catalogue.quantities import QUANTITIES

    shown, saved = panel.ui.resultsTableView.node, live_table(panel)
    assert shown.GetScene() is None and saved.GetScene() is slicer.mrmlScene
    columns = {saved.GetColumnName(n): n for n in range(saved.GetNumberOfColumns())}
    rows = range(saved.GetNumberOfRows())

    def told(table, name):
        return [table.GetTable().GetColumn(columns[name]).GetValue(row) for row in rows]

    keys, values, seen = told(saved, "Key"), told(saved, "Value"), told(shown, "Value")
    for key, value, read in zip(keys, values, seen, strict=True):
        assert read == pytest.approx(round(value, QUANTITIES[key].digits), nan_ok=True)
    assert seen != values
    scores = [one for one in told(shown, "z-score") if one == one]
    assert scores and all(one == round(one, 1) for one in scores)
    assert told(shown, "Site") == told(saved, "Site")
    before = panel.ui.resultsTableView.node
    panel.ui.applyButton.click()
    assert panel.ui.resultsTableView.node is before  # as the user has widened it


def live_table(panel):
    from MarrowAssessLib.scene.shown import live_results

    return live_results(panel._parameterNode.segmentation).table


@pytest.mark.parametrize(
    "said,shown",
    [
        ("x: not in percent; give its scale, such as --scale PDFF=0.1.", "; bring"),
        ("x: no PDFF; check it, or give the map's scale as --scale PDFF=FACTOR.", ", or bring"),
        ("x: expected in %, so give --scale PDFF=100.", ", so bring"),
        ("x: none of ADC; give the factor to its unit, as --scale ADC=FACTOR.", "; bring"),
    ],
)
def test_every_advice_of_a_scale_is_told_without_the_option(said, shown):
    from MarrowAssessLib.study.map_scale import without_scale

    assert without_scale(said).endswith(f"{shown} the map to its unit first.")
    assert "--" not in without_scale(said)


def test_files_that_a_script_chooses_are_shown(panel, sample, press_files):
    applied(panel)
    panel._parameterNode.spectra = chosen = f"L3={press_files[0]}"
    wait()
    assert panel.ui.spectraLineEdit.text == chosen
    type_into(panel.ui.uteLineEdit, "tibial diaphysis=nowhere.nii.gz")
    panel._parameterNode.ageYears = 40.0  # what is typed and refused stays
    wait()
    assert panel.ui.uteLineEdit.text.endswith("nowhere.nii.gz") and panel.ui.filesHintLabel.text
    assert panel.ui.spectraLineEdit.text == chosen


def test_images_of_a_study_that_come_by_themselves_fill_no_roles_beside_others(
    panel, sample, tmp_path
):
    """Dropped, or loaded by the DICOM module: offered as a visit."""
    from PDFFMapperLib.scene.dicom import load_dicom

    panel.enter()
    wait()
    parameters = panel._parameterNode
    parameters.t1Volume = None
    before = chosen_volumes(parameters)
    load_dicom(another_study(tmp_path / "new"))
    wait()
    assert chosen_volumes(parameters) == before
    assert not panel.ui.visitRow.qobject.isHidden()
    assert panel.ui.visitComboBox.qobject.currentIndex() == 0


def test_series_of_one_study_are_loaded_one_after_another(panel, tmp_path):
    panel.folder.load(another_study(tmp_path / "t1"))
    wait()
    t1 = panel._parameterNode.t1Volume
    times = {"RepetitionTime": 4000.0, "EchoTime": 60.0, "SeriesDescription": "sag t2 tirm"}
    later = another_study(tmp_path / "stir", "1.2.9", **times, series="1.2.9.2")
    panel.folder.load(later)
    wait()
    parameters = panel._parameterNode
    assert parameters.t1Volume is t1 and parameters.fsT2Volume.GetName() == "sag t2 tirm"
    assert study_of(parameters.fsT2Volume) == study_of(t1) and panel.ui.visitRow.qobject.isHidden()
    panel.folder.load(another_study(tmp_path / "other", "1.2.10"))
    wait()
    assert parameters.t1Volume is not t1 and parameters.fsT2Volume is None
    assert panel.ui.visitComboBox.qobject.count() == 2


def test_a_study_that_cannot_be_mapped_takes_no_place(mapper, tmp_path):
    """The images of before were chosen again, beside words that they were not."""
    load_module("MarrowAssess").MarrowAssessLogic().loadMapperSample()
    mapper.enter()
    chosen = list(mapper.frame.parameters.echoNodes)
    mapper.folder.load(another_study(tmp_path / "t1"))
    wait()
    assert list(mapper.frame.parameters.echoNodes) == chosen
    assert mapper.ui.folderLabel.text == "Loaded: 1 volumes."


def test_a_series_of_another_study_takes_the_place_of_the_mapped_one(mapper, tmp_path):
    mapper.enter()
    loaded, said = [], []
    for uid, folder, name in (
        ("1.2.9", "one", "sag dixon w"),
        ("1.2.10", "two", "sag dixon w"),
        ("1.2.10", "again", "sag dixon f"),
    ):
        facts = {"SeriesDescription": name, "series": f"{uid}.{len(loaded)}"}
        mapper.folder.load(another_study(tmp_path / folder, uid, **facts))
        wait()
        loaded.append(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")[-1])
        said.append(mapper.ui.folderLabel.text)
        if folder != "again":
            assert mapper.frame.parameters.waterVolume is loaded[-1]
        if folder == "two":
            assert not any(mapper.frame.parameters.mapNodes)
        mapper.frame.parameters.mapNodes = [loaded[0]]
    assert mapper.frame.parameters.waterVolume is loaded[1]
    assert said == [
        "Loaded: 1 volumes.",
        "Loaded: 1 volumes. They take the place of the images that were chosen.",
        "Loaded: 1 volumes. Of the study that is chosen: its chosen images stay.",
    ]


def test_regions_of_a_dicom_folder_are_shown_and_chosen(panel, tmp_path):
    pytest.importorskip("highdicom")
    from MarrowAssessLib.dicom_out.export import write_dicom
    from MarrowAssessLib.findings.assessment import assess
    from PDFFMapperLib.dicom.folder import read_dicom_folder

    dicom_study(tmp_path)
    t1 = next(one for one in read_dicom_folder(tmp_path) if "t1" in one.description).volumes[0]
    mask = np.zeros(t1.array.shape, bool)
    mask[:, :2, :2] = True
    regions = [
        Region.from_mask("L3 marrow", Role.MARROW, "L3", mask),
        Region.from_mask("left psoas muscle", Role.MUSCLE, "left psoas", mask[:, ::-1]),
    ]
    write_dicom(assess(Study({Contrast.T1: t1}, regions, 45, "F")), tmp_path / "ours")
    panel.folder.load(str(tmp_path))
    wait()
    said = "Regions of the DICOM segmentation segmentation.dcm: 2."
    assert said in panel.ui.folderLabel.text
    names = segments.segment_names(panel._parameterNode.segmentation)
    assert names == ["L3 marrow", "left psoas muscle"]


def test_images_that_slicer_stacked_are_read_again(mapper, tmp_path, monkeypatch):
    """Slicer shows an enhanced file of three echoes as one volume of three times the slices."""
    frames = [
        (k, np.full((5, 4), 10 * echo + k, np.uint16), {"echo_time": 2.0 * echo})
        for echo in (1, 2, 3)
        for k in range(3)
    ]
    file = enhanced(tmp_path / "one.dcm", frames, SeriesDescription="mgre")
    files = {"1.2.3": str(file)}
    database = types.SimpleNamespace(fileForInstance=lambda uid: files.get(uid, ""))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    stacked = volume_to_node(Volume(np.ones((9, 5, 4), np.int16), np.eye(4), "3: mgre"))
    stacked.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    mapper.enter()
    parameters = mapper.frame.parameters
    parameters.echoNodes = [stacked]
    said = mapper.ui.folderLabel.text
    assert said.startswith("'3: mgre' is one volume here, but 3 by its DICOM files. Press Read")
    mapper.ui.readAgainButton.click()
    wait()
    chosen = list(parameters.echoNodes)
    assert mapper.ui.folderLabel.text == "Loaded: 3 volumes."
    values = [np.unique(volume_from_node(node).array).tolist() for node in chosen]
    assert values == [[10, 11, 12], [20, 21, 22], [30, 31, 32]]
    assert [mapper.tabs[0].table.item(row, 2).text() for row in range(3)] == ["2", "4", "6"]
    assert not mapper.ui.readAgainButton.enabled
    files.clear()
    with pytest.raises(ValueError, match="1 of its 1 DICOM files are no longer in Slicer's"):
        mapper.logic.readAgain([stacked])
    with pytest.raises(ValueError, match="None of these images was loaded from DICOM"):
        mapper.logic.readAgain(chosen)


def test_a_role_keeps_the_image_that_is_read_again(panel, tmp_path, monkeypatch):
    """Philips scales slices for display: 100 and 100 are 50 and 100 as measured."""
    files = {}
    for k, (slope, scale) in enumerate(((1.0, 2.0), (1.0, 1.0))):
        facts = {"Manufacturer": "Philips", "RescaleSlope": slope, "RescaleIntercept": 0}
        facts |= {"series": "1.2.1", "SeriesDescription": "t1 tse", "SeriesNumber": 5}
        path = classic_slice(tmp_path, f"{k}.dcm", k, np.full((6, 5), 100, np.uint16), **facts)
        data = pydicom.dcmread(path)
        data.private_block(0x2005, "Philips MR Imaging DD 001", True).add_new(0x0E, "FL", scale)
        data.save_as(path)
        files[f"1.2.1.{k}"] = str(path)
    database = types.SimpleNamespace(fileForInstance=lambda uid: files.get(uid, ""))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    node = volume_to_node(Volume(np.full((2, 6, 5), 100, np.int16), np.eye(4), "5: t1 tse"))
    node.SetAttribute("DICOM.instanceUIDs", "1.2.1.0 1.2.1.1")
    panel.enter()
    panel._parameterNode.t1Volume = node
    assert "has Philips' display scaling" in panel.ui.folderLabel.text
    panel.ui.readAgainButton.click()
    wait()
    assert panel._parameterNode.t1Volume is not node
    array = volume_from_node(panel._parameterNode.t1Volume).array
    assert [float(value) for value in array[:, 0, 0]] == [50, 100]


def test_images_age_and_sex_come_from_the_dicom_study(panel, tmp_path, monkeypatch):
    from PDFFMapperLib.images.volume import Volume
    from PDFFMapperLib.scene.volumes import volume_to_node

    facts = {"PatientAge": "045Y", "PatientSex": "F", "RepetitionTime": 600.0, "EchoTime": 11.0}
    files = {}
    for uid, series, tesla in (("1.2.1", "sag t1 tse", 1.5), ("1.2.2", "sag t2 tirm", 3.0)):
        facts |= {"SeriesDescription": series, "MagneticFieldStrength": tesla}
        pixels = np.ones((6, 5), np.uint16)
        files[uid] = str(classic_slice(tmp_path, f"{uid}.dcm", 0, pixels, **facts))
        node = volume_to_node(Volume(np.ones((2, 6, 5), np.int16), np.eye(4), f"series {uid}"))
        node.SetAttribute("DICOM.instanceUIDs", f"{uid} {uid}.9")
    database = types.SimpleNamespace(fileForInstance=lambda uid: files.get(uid, ""))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    panel.enter()
    assert panel.ui.t1Selector.currentNode().GetName() == "series 1.2.1"
    assert panel.ui.fsT2Selector.currentNode().GetName() == "series 1.2.2"
    assert panel.ui.ageLineEdit.text == "45 years"
    assert panel.ui.sexComboBox.currentText == "F"
    assert panel._parameterNode.fieldStrengthT == 0  # nothing was typed; the images tell it
    t1, stir = (
        volume_from_node(selector.currentNode())
        for selector in (panel.ui.t1Selector, panel.ui.fsT2Selector)
    )
    regions = [Region("L3 marrow", Role.MARROW, "L3", np.ones((1, 1, 1), bool))]
    study = Study({Contrast.T1: t1}, regions)
    assert field_strength_t(study) == 1.5 and times_ms(study, Contrast.T1) == (600.0, 11.0, None)
    assert field_strength_t(Study({Contrast.FS_T2: stir}, regions)) == 3.0
    assert panel.ui.imagesCollapsibleButton.collapsed
    lines = panel.ui.studyLabel.text.splitlines()
    assert lines[1:] == [
        "T1: series 1.2.1 (by its DICOM header)",
        "FS T2: series 1.2.2 (by its DICOM header)",
    ]


def test_an_age_and_a_sex_that_a_header_cannot_tell_are_asked_for(panel, tmp_path, monkeypatch):
    from PDFFMapperLib.images.volume import Volume
    from PDFFMapperLib.scene.volumes import volume_to_node

    facts = {"PatientAge": "55", "PatientSex": "W", "PatientBirthDate": ""}
    facts |= {"RepetitionTime": 600.0, "EchoTime": 11.0}
    pixels = np.ones((6, 5), np.uint16)
    file = classic_slice(tmp_path, "a.dcm", 0, pixels, SeriesDescription="sag t1 tse", **facts)
    node = volume_to_node(Volume(np.ones((2, 6, 5), np.int16), np.eye(4), "series"))
    node.SetAttribute("DICOM.instanceUIDs", "1.2.1")
    database = types.SimpleNamespace(fileForInstance=lambda uid: str(file))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    panel.enter()
    hint = panel.ui.ageHintLabel
    assert panel.ui.ageLineEdit.text == ""
    assert "header's age '55'" in hint.text and "header's sex 'W'" in hint.text
    type_into(panel.ui.ageLineEdit, "x")
    assert hint.text == "'x' is no age; write 34, 12.5, 8 months, or nothing."
    type_into(panel.ui.ageLineEdit, "55")
    assert "age '55'" not in hint.text and "sex 'W'" in hint.text
    panel._parameterNode.sex = "F"
    assert hint.text == ""


def test_results_are_exported_as_dicom_of_their_study(panel, tmp_path, monkeypatch):
    from MarrowAssessLib.scene.segments import regions_to_node
    from pydicom.uid import generate_uid

    pytest.importorskip("highdicom", reason="highdicom is not installed")
    uid, study, place = (generate_uid() for _ in range(3))
    facts = {"series": uid, "StudyInstanceUID": study, "FrameOfReferenceUID": place}
    facts |= {"SeriesDescription": "sag t1 tse", "RepetitionTime": 600.0, "EchoTime": 11.0}
    (tmp_path / "in").mkdir()
    files = {}
    for k in range(4):
        pixels = np.full((12, 10), 300, np.uint16)
        pixels[:, 6:] = 200
        path = classic_slice(tmp_path / "in", f"{k}.dcm", k, pixels, InstanceNumber=k + 1, **facts)
        files[f"{k}"] = str(path)
    assert not panel.ui.exportDicomButton.enabled
    panel.folder.load(str(tmp_path / "in"))
    wait()
    t1 = panel.ui.t1Selector.currentNode()
    masks = np.zeros((2, 4, 12, 10), bool)
    masks[0, 1:3, 2:9, 1:5], masks[1, :, 2:9, 6:9] = True, True
    regions = [
        Region("L3 marrow", Role.MARROW, "L3", masks[0]),
        Region("psoas muscle", Role.MUSCLE, "psoas", masks[1]),
    ]
    panel._parameterNode.segmentation = regions_to_node(regions, t1)
    panel._parameterNode.exportFolder = tmp_path
    applied(panel)
    monkeypatch.setattr(slicer.util, "showStatusMessage", lambda *said: None, raising=False)
    panel.ui.exportDicomButton.click()
    made = tmp_path / "dicom"
    data = pydicom.dcmread(made / "segmentation.dcm")
    assert (data.StudyInstanceUID, data.FrameOfReferenceUID) == (study, place)
    from MarrowAssessLib.sources.segmentations import regions_from_segmentation

    (one, two) = regions_from_segmentation(
        made / "segmentation.dcm", [volume_from_node(t1)]
    ).regions
    assert [np.array_equal(region.full_mask((4, 12, 10)), mask)
            for region, mask in zip((one, two), masks, strict=True)] == [True, True]  # fmt: skip
    assert (made / "report.dcm").is_file()

    by_slicer = volume_to_node(volume_from_node(t1), "by Slicer")
    by_slicer.RemoveAttribute("MarrowAssessDicom")
    export = panel.logic.exportDicom
    panel.logic.assess({"T1": by_slicer}, panel._parameterNode.segmentation, resample=True)
    with pytest.raises(ValueError, match="None of these images was loaded from DICOM, or they"):
        export(tmp_path / "none")
    by_slicer.SetAttribute("DICOM.instanceUIDs", "0 1 2 3")
    database = types.SimpleNamespace(fileForInstance=lambda uid: files.get(uid, ""))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    export(tmp_path / "database", anonymous=True)
    assert not pydicom.dcmread(tmp_path / "database" / "report.dcm").PatientName
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"this is a file where a folder|cannot be written to"):
        export(tmp_path / "file" / "deeper")
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[0, 3] = 30
    from PDFFMapperLib.scene.volumes import vtk_matrix

    moved.SetMatrixTransformToParent(vtk_matrix(matrix))
    by_slicer.SetAndObserveTransformNodeID(moved.GetID())
    with pytest.raises(ValueError, match="None of these images was loaded from DICOM, or they"):
        export(tmp_path / "none")
    by_slicer.SetAndObserveTransformNodeID(None)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "highdicom", None)
        with pytest.raises(ValueError, match=r"in Slicer with slicer\.util\.pip_install"):
            export(tmp_path / "none")
    panel.logic.session.forget()
    with pytest.raises(ValueError, match="There is nothing to export yet; measure the regions"):
        export(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_vbq_is_compared_at_the_field_strength_that_was_typed(panel, sample):
    """1.5 T 2.769 +- .494, 3 T 2.199 +- .432 (R411, R412); the sample's headers say 3 T."""
    applied(panel)
    expected = {}
    for typed in (0.0, 1.5):
        panel.ui.fieldStrengthSpinBox.value = typed
        wait()
        (row,) = [row for row in panel.results.rows if row.key == "vbq"]
        expected[typed] = row.expected
    assert expected == {0.0: "1.35-3.05", 1.5: "1.80-3.74"}


def test_pet_takes_glucose_and_waits_where_the_body_lies_apart(panel, phantom):
    """A block of a body, 14 mm higher on the CT, and the sample's facts of PET."""
    volumes = {}
    for name, moved, facts in (("PET", 0, phantom.pet_volume().attributes), ("CT", 14, {})):
        grid = np.diag([4.0, 4.0, 2.0, 1.0])
        grid[:3, 3] = -96
        array = np.full((96, 49, 49), 0.0 if name == "PET" else -1000.0, np.float32)
        array[16 + moved // 2 : 80 + moved // 2, 8:40, 8:40] = 1.0 if name == "PET" else 40.0
        image = Volume(array, grid, name, {"Modality": "CT", **facts})
        volumes[name] = volume_to_node(image)
    panel.enter()
    parameters = panel._parameterNode
    parameters.suvVolume, parameters.ctVolume = volumes["PET"], volumes["CT"]
    point = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    point.AddControlPoint(0, 0, 0, "L3 marrow")
    parameters.pointRadiusMm = 12.0
    panel.ui.applyButton.click()
    keys = {row.key for row in panel.results.rows}
    assert "marrow_suv" not in keys
    reasons = [one.reason for one in panel.logic.assessment.skipped]
    assert any("the body lies apart on PET and CT by" in reason for reason in reasons)
    said = panel.ui.verdictLabel.text
    assert "SUV was not measured: the body lies apart" in said and "--" not in said
    panel.ui.acceptShiftCheckBox.checked = True
    panel.ui.applyButton.click()
    assert parameters.acceptShift and "marrow_suv" in {row.key for row in panel.results.rows}
    assert "SUV was not measured" not in panel.ui.verdictLabel.text
    for typed, told in ((5.5, 0), (14.0, 1)):
        panel.ui.glucoseSpinBox.value = typed
        wait()
        cautions = {c for r in panel.logic.assessment.results for c in r.cautions}
        assert sum("Blood glucose was 14 mmol/l" in c for c in cautions) == told
    assert "glucoseMmolL=14.0, acceptShift=True" in console_command(parameters)
    panel.ui.leanMassComboBox.currentText = "James"
    wait()
    (sul,) = [r.measurement for r in panel.logic.assessment.results
              if r.measurement.quantity == "marrow_sul"]  # fmt: skip
    assert "James 1976" in sul.how and "leanMass='James'" in console_command(parameters)


def test_a_click_in_an_image_of_another_grid_is_measured_with_the_regions_that_are_there(
    panel, sample, phantom
):
    pet = volume_to_node(phantom.pet_volume(), "PET")
    panel.enter()
    parameters = panel._parameterNode
    parameters.suvVolume = pet
    applied(panel)
    before = len(panel.results.rows)
    parameters.placeRole, parameters.placeSite = "muscle", "left psoas"
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        view.SetBackgroundVolumeID(pet.GetID())
    panel.ui.placeButton.checked = True
    click(panel, sample.segmentation.GetSegmentCenterRAS("left psoas muscle"))
    assert panel.ui.placingLabel.text.startswith("Placed: left psoas muscle")
    assert panel.ui.gridRow.qobject.isHidden() and len(panel.results.rows) == before
    above = np.array(sample.centers_ras["L1"]) + [0, 0, 1000.0]
    pet.SetOrigin(*(np.array(pet.GetOrigin()) + [0, 0, 1000.0]))
    click(panel, above)
    said = panel.ui.placingLabel.text
    assert "'PET' shows this point" in said and "grid of 'T1', which ends before it" in said


@pytest.mark.parametrize("made", ["none", "empty", "imported"])
def test_a_pet_in_front_is_clicked_on_the_grid_on_which_is_measured(panel, sample, phantom, made):
    """The segmentation is made by the click, by the selector, or loaded: none knows an image."""
    pet, drawn = volume_to_node(phantom.pet_volume(), "PET"), sample.segmentation
    psoas = drawn.GetSegmentCenterRAS("left psoas muscle")
    panel.enter()
    parameters = panel._parameterNode
    parameters.suvVolume = pet
    if made == "imported":
        drawn.SetNodeReferenceID(drawn.GetReferenceImageGeometryReferenceRole(), "")
    else:
        new = {"none": None, "empty": slicer.mrmlScene.AddNewNodeByClass}[made]
        parameters.segmentation = new and new("vtkMRMLSegmentationNode", "new")
    panel.ui.placeButton.checked = True
    for shown, role, site, point in (
        (pet, "muscle", "left psoas", psoas),
        (sample.volumes["T1"], "marrow", "L4", sample.centers_ras["L4"]),
    ):
        for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            view.SetBackgroundVolumeID(shown.GetID())
        parameters.placeRole, parameters.placeSite = role, site
        click(panel, point)
        assert panel.ui.placingLabel.text.startswith("Placed: "), panel.ui.placingLabel.text
    wait()
    regions = segments.regions_from_node(parameters.segmentation, sample.volumes["T1"])
    assert {"left psoas muscle", "L4 marrow"} <= {one.name for one in regions}
    panel.ui.applyButton.click()
    assert panel.ui.gridRow.qobject.isHidden()
    assert "L4" in panel.results.matrix.sites and not parameters.resample


def test_the_first_regions_choose_the_grid_of_an_empty_segmentation(panel, sample):
    """As those that are found or imported do; a click is drawn on it later."""
    t1, moved = sample.volumes["T1"], slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    sample.volumes["T2"].SetAndObserveTransformNodeID(moved.GetID())
    empty = segments.regions_to_node([], t1, "empty")
    (region,) = segments.regions_from_node(sample.segmentation, t1, segment_ids=["L3 marrow"])
    add_regions(empty, sample.volumes["T2"], [region])
    assert segments.drawn_on(empty) is sample.volumes["T2"]
    assert empty.GetTransformNodeID() == moved.GetID()
    add_regions(empty, t1, [replace(region, name="other")])
    assert segments.drawn_on(empty) is sample.volumes["T2"]


def test_repeatability_stands_beside_a_clicked_number(panel, sample):
    applied(panel)
    columns = [title.split("\n")[0] for title in panel.results.matrix.columns]
    cell = panel.results.matrix.sites.index("L3"), columns.index("PDFF")
    panel.ui.resultsTable.qobject.cellClicked.emit(*cell)
    assert "Repeatability: within-subject CV 2.16 % (n 99" in panel.ui.cellLabel.text


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
    assert "L3 Marrow PDFF 2.0&nbsp;%: below" in panel.ui.verdictLabel.text


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
    assess = panel.logic.assessParameters
    panel.logic.assessParameters = lambda *a, **k: (calls.append(1), assess(*a, **k))[1]
    panel.measuring.schedule()
    wait()
    assert len(calls) == 1


def test_leaving_stops_observing_and_entering_resumes(panel, sample):
    applied(panel)
    before = panel.ui.verdictLabel.text
    panel.exit()
    sample.segmentation.GetSegmentation().RemoveSegment("L2 marrow")
    wait()
    assert panel.ui.verdictLabel.text == before
    panel.enter()  # what was edited elsewhere is measured
    wait()
    assert panel.ui.verdictLabel.text != before


def test_closing_the_scene_empties_the_panel_and_a_new_study_works(panel, sample):
    applied(panel)
    slicer.mrmlScene.Clear(False)
    assert not panel.ui.applyButton.enabled
    assert panel.ui.verdictLabel.text.startswith("No assessment yet")
    load_module("MarrowAssess").MarrowAssessLogic().loadSample()
    applied(panel)
    assert "L2 Marrow PDFF" in panel.ui.verdictLabel.text


def test_the_parameter_node_is_kept_when_the_panel_lets_go_of_it(panel):
    """Slicer's observers of it stay; cleared with the Python object they end Slicer later."""
    node = weakref.ref(panel._parameterNode.parameterNode)
    panel.setParameterNode(None)
    gc.collect()
    assert node() is not None


@pytest.mark.parametrize("name", ["panel", "mapper"])
def test_opening_a_panel_again_leaves_nothing_of_the_last_time(name, request):
    """What stayed would read all parameters at every change: the panel would get ever slower."""
    shown = request.getfixturevalue(name)
    shown.enter()
    before = weakref.ref(shown.frame.parameters)
    shown.exit()
    shown.enter()
    gc.collect()
    assert shown.frame.parameters and before() is None


def test_a_choice_is_measured_at_once_and_a_drag_after_a_while(panel, sample):
    applied(panel)
    panel._parameterNode.erosionMm = 1.0
    assert panel.measuring.scheduled and panel.measuring._timer.interval == 0
    wait()
    panel.measuring.schedule()
    assert panel.measuring.scheduled and panel.measuring._timer.interval >= 150
    wait()
    panel.measuring._pause_ms = 900  # of a large study
    panel._parameterNode.erosionMm = 1.1  # a held arrow
    assert panel.measuring.scheduled and panel.measuring._timer.interval == 900


def test_numbers_of_other_choices_go_where_measuring_is_refused(panel, sample, monkeypatch):
    applied(panel)
    panel._parameterNode.glucoseMmolL = 0.5
    wait()
    assert "Blood glucose 0.5 mmol/l" in panel.ui.verdictLabel.text
    assert not panel.results.matrix.cells and not panel.results.rows
    assert not panel.ui.exportButton.enabled and not panel.ui.exportDicomButton.enabled
    told = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, **_: told.append(text))
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False, raising=False)
    panel.ui.copyButton.click()
    assert "Nothing was copied." in told[0] and "Blood glucose 0.5 mmol/l" in told[0]
    panel._parameterNode.glucoseMmolL = 5.0
    wait()
    assert panel.results.matrix.cells and panel.ui.exportButton.enabled


def test_canceling_n4_leaves_the_scene_as_it_was(panel, sample):
    panel.enter()
    panel.ui.n4CheckBox.checked = True
    before = slicer.mrmlScene.GetNumberOfNodes()
    progress = panel.frame.progress

    def press_cancel(fraction):
        panel.ui.applyButton.click()
        return progress(fraction)

    panel.frame.progress = press_cancel
    panel.ui.applyButton.click()
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert panel.ui.verdictLabel.text == "No assessment yet: the regions are not measured."
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
    panel.placing.placeRegion = lambda position: taken.append(position) or "Placed."
    panel.ui.placeButton.checked = True
    click(panel, (1.0, 2.0, 3.0))
    assert taken == [(1.0, 2.0, 3.0)]
    (node,) = slicer.util.getNodes("MarrowAssess click").values()
    assert node.GetNumberOfControlPoints() == 0
    panel.ui.placeButton.checked = False
    assert not panel.placing.clicks.active
    assert not slicer.mrmlScene.GetNodesByName("MarrowAssess click").GetNumberOfItems()
    assert slicer.mrmlScene.GetNumberOfNodes() >= before


def test_export_writes_a_report(panel, sample, tmp_path, monkeypatch):
    monkeypatch.setattr(slicer.util, "showStatusMessage", lambda *_: None, raising=False)
    applied(panel)
    panel._parameterNode.exportFolder = tmp_path / "report"
    panel.ui.exportButton.click()
    assert (tmp_path / "report" / "report.html").is_file()
    address = (tmp_path / "report" / "report.html").as_uri()
    assert panel.ui.reportLabel.text == f'<a href="{address}">Open the report</a>'
    applied(panel)
    assert panel.ui.reportLabel.text == ""  # it was of the numbers before
    taken = tmp_path / "report" / "report.html" / "below a file"
    with pytest.raises(ValueError, match=r"cannot be written to '.*' \(.*\); choose a folder that"):
        panel.logic.exportReport(taken, sample.segmentation)


def matrix_of(panel):
    table = panel.ui.resultsTable.qobject
    columns = [table.horizontalHeaderItem(n).text() for n in range(table.columnCount())]
    rows = [table.verticalHeaderItem(n).text() for n in range(table.rowCount())]
    return table, rows, columns


def cell_at(panel, site, column):
    _table, rows, columns = matrix_of(panel)
    return rows.index(site), columns.index(column)


def test_results_are_a_matrix_from_head_to_foot_colored_and_marked(panel, sample):
    from MarrowAssessLib.report.colors import z_color

    applied(panel)
    table, rows, columns = matrix_of(panel)
    assert rows[:7] == ["L1", "L2", "L3", "L4", "L5", "S1", "L1-L4"]
    assert rows[7:] == sorted(rows[7:]) and "left psoas" in rows
    assert columns[:3] == ["PDFF\n%", "T1/disc", "T1/muscle"] and columns[-1] == "VBQ"
    lesion, normal = (table.item(*cell_at(panel, site, "PDFF\n%")) for site in ("L2", "L3"))
    assert (lesion.text(), normal.text()) == ("4.0 ▼", "36.0 ●")
    (row,) = [
        one for one in panel.results.rows if (one.site, one.quantity) == ("L3", "Marrow PDFF")
    ]
    assert normal.background().color().getRgbF()[:3] == pytest.approx(z_color(row.z), abs=0.01)
    assert lesion.foreground().color().name() == "#ffffff"  # on dark blue
    assert normal.foreground().color().name() == "#000000"
    tip = lesion.toolTip()
    assert "95 % interval" in tip and "z-score -" in tip and "Reference: " in tip
    assert table.item(*cell_at(panel, "S1", "PDFF\n%")).text() == "42.0"  # no reference, no mark
    assert table.item(*cell_at(panel, "L3", "VBQ")) is None
    assert "look like pathologic marrow: L2 marrow" in panel.ui.verdictLabel.text
    assert "L2 Marrow PDFF 4.0&nbsp;%: below" in panel.ui.verdictLabel.text
    assert panel.ui.studyLabel.text == (
        "T1, T2, FS T2, in phase, opposed phase, T1 post, PDFF: check under Images that these are "
        "right."
    )
    assert panel.ui.studyLabel.toolTip.startswith("T1: T1 (by its name)<br>")


def test_units_above_the_matrix_have_powers(panel, sample):
    applied(panel)
    adc = volume_from_node(sample.volumes["PDFF"])
    panel._parameterNode.adcVolume = volume_to_node(adc.with_array(adc.array / 50), "ADC")
    panel.ui.applyButton.click()
    assert "ADC\n10⁻³ mm²/s" in matrix_of(panel)[2]


def test_the_matrix_is_as_high_as_its_rows(panel, sample):
    applied(panel)
    table = panel.ui.resultsTable.qobject
    rows = sum(table.rowHeight(n) for n in range(table.rowCount()))
    assert table.minimumHeight() == table.maximumHeight() > rows


def test_all_numbers_show_site_and_value_beside_the_quantity(panel, sample):
    applied(panel)
    table = panel.ui.resultsTableView.qobject
    titles = [table.model().headerData(n, Qt.Horizontal) for n in range(3)]
    assert titles == ["Quantity", "Site", "Value"]
    assert sum(table.columnWidth(n) for n in range(3)) < 330  # in a panel of 400 pixels
    table.setColumnWidth(0, 300)  # by the user
    panel._parameterNode.ageYears = 50.0
    wait()
    assert panel.logic.assessment.study.age_years == 50
    assert table.columnWidth(0) == 300


def test_words_that_get_shorter_leave_no_gap(panel, sample):
    panel.ui.resultsCollapsibleButton.qobject.resize(400, 600)
    applied(panel)
    long = panel.ui.verdictLabel.minimumHeight
    panel._parameterNode.segmentation = panel.logic.addSegmentation(sample.volumes["T1"])
    short = panel.ui.verdictLabel.minimumHeight
    assert panel.ui.verdictLabel.text.startswith("No assessment yet")
    assert 0 < short < long / 2


def test_a_long_doubt_has_room(panel, sample):
    panel.ui.resultsCollapsibleButton.qobject.resize(400, 600)
    applied(panel)
    drawn = sample.segmentation.GetSegmentation()
    segment = drawn.GetSegment(drawn.GetSegmentIdBySegmentName("L3 marrow"))
    segment.SetTag(segments.DOUBTFUL_TAG, "1")
    segment.SetTag(segments.CAUTIONS_TAG, json.dumps(["One reason of many words, wrapped."] * 4))
    panel.results.show()
    assert (
        panel.ui.doubtLabel.minimumHeight > 2 * panel.ui.doubtLabel.qobject.fontMetrics().height()
    )


def test_a_click_on_a_number_shows_region_reference_and_curve(panel, sample, monkeypatch):
    applied(panel)
    plot = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotViewNode", "plot")
    table = panel.ui.resultsTable.qobject
    table.cellClicked.emit(*cell_at(panel, "L2", "PDFF\n%"))
    views = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    heights = [view.GetSliceToRAS().GetElement(2, 3) for view in views]
    assert max(abs(height - sample.centers_ras["L2"][2]) for height in heights) < 3
    said = panel.ui.cellLabel.text
    (row,) = [
        one for one in panel.results.rows if (one.site, one.quantity) == ("L2", "Marrow PDFF")
    ]
    assert said.startswith(f"L2 Marrow PDFF 4.0 %, expected {row.expected}, below\n")
    assert f"Reference: {row.source}" in said
    assert plot.GetPlotChartNode().GetTitle().startswith("Marrow PDFF by age")
    opened = []
    desktop = panels.qt_module().QDesktopServices
    monkeypatch.setattr(desktop, "openUrl", lambda url: opened.append(url.toString()))
    table.cellDoubleClicked.emit(*cell_at(panel, "L2", "PDFF\n%"))
    assert opened == [f"https://doi.org/{row.doi}"] and row.doi.startswith("10.")
    table.cellDoubleClicked.emit(*cell_at(panel, "S1", "PDFF\n%"))  # published, not scored
    (row,) = [
        one for one in panel.results.rows if (one.site, one.quantity) == ("S1", "Marrow PDFF")
    ]
    assert row.z is None and opened[1:] == [f"https://doi.org/{row.doi}"]
    table.cellClicked.emit(*cell_at(panel, "L3", "T1/disc"))  # no curve
    assert panel.ui.cellLabel.text.startswith("L3 T1 marrow/disc 1.47")


def test_an_earlier_visit_shows_what_changed_in_repeatability_coefficients(
    panel, sample, tmp_path, monkeypatch
):
    """The matrix takes the change's color and words, and z-scores again once it is emptied."""
    from MarrowAssessLib.report.colors import change_color
    from MarrowAssessLib.report.data import as_dict

    panel.ui.resultsCollapsibleButton.collapsed = False
    applied(panel)
    earlier = as_dict(panel.logic.assessment, ())
    for one in earlier["measurements"]:
        if one["quantity"] == "marrow_pdff" and one["site"] == "L3":
            one["value"], one["ci95"] = one["value"] / 1.2, None
    file = tmp_path / "assessment.json"
    file.write_text(json.dumps(earlier))
    panel.ui.earlierVisitPath.currentPath = str(file)[:-3]  # as it is typed
    assert panel._parameterNode.earlierVisit == ""
    panel.ui.earlierVisitPath.currentPath = str(file)
    panel.measuring.onTimeout()
    table, _, _ = matrix_of(panel)
    cell = table.item(*cell_at(panel, "L3", "PDFF\n%"))
    (change,) = (
        c for c in panel.logic.changesOf(sample.segmentation)
        if (c.quantity, c.site) == ("marrow_pdff", "L3")
    )  # fmt: skip
    assert cell.text() == f"{change.size:+.1f} RC ▲" and change.size > 2
    color = cell.background().color()
    assert (color.redF(), color.greenF(), color.blueF()) == pytest.approx(
        change_color(change.size), abs=0.01
    )
    assert "more than measurement error (unchanged:" in cell.toolTip()
    still = table.item(*cell_at(panel, "L4", "PDFF\n%"))
    assert still.text().endswith("0.0 RC ●") and "within measurement error" in still.toolTip()
    panel.ui.earlierVisitPath.currentPath = ""
    panel.measuring.onTimeout()
    table, _, _ = matrix_of(panel)
    assert "RC" not in table.item(*cell_at(panel, "L3", "PDFF\n%")).text()
    file.write_text("{}")
    panel.ui.earlierVisitPath.currentPath = str(file)
    panel.measuring.onTimeout()
    assert "assess the images again with this version" in panel.ui.verdictLabel.text


def visit_of(date, percent):
    """A study of the subject hierarchy with one PDFF map and regions on it."""
    from MarrowAssessLib.scene.segments import regions_to_node

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), f"Spine ({date})")
    hierarchy.SetItemAttribute(study, "DICOM.StudyDate", date)
    grid = np.diag([2.0, 2.0, 2.0, 1.0])
    values = np.full((12, 12, 12), 5, np.float32)  # around the body
    values[2:10, 2:10, 2:10] = percent
    node = volume_to_node(Volume(values, grid, "PDFF"), "PDFF")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(study, node),
                            study)  # fmt: skip
    mask = np.zeros((12, 12, 12), bool)
    mask[2:10, 2:10, 2:10] = True
    regions = regions_to_node([Region("L3 marrow", Role.MARROW, "L3", mask)], node, "Regions")
    put_beside(regions, node)
    return node, regions


def study_of_patient(patient, name, date, nodes, modality):
    """A DICOM study of the subject hierarchy, as Slicer's loader makes it."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(patient, name)
    hierarchy.SetItemAttribute(study, "DICOM.StudyDate", date)
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(study, node)
        hierarchy.SetItemParent(item, study)
        if modality:
            hierarchy.SetItemAttribute(item, "DICOM.Modality", modality)


@pytest.mark.parametrize(
    "day,modality,together",
    [
        ("20250301", "PT", True),
        ("20250302", "PT", False),  # another day
        ("20250301", "MR", False),  # before and after something, perhaps
        ("20250301", "", False),  # of the T1 nothing is known
    ],
)
def test_mr_and_pet_of_one_day_are_one_visit_though_two_studies(panel, day, modality, together):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    values = np.ones((4, 4, 4), np.float32)
    t1, pet = (
        volume_to_node(Volume(values, np.eye(4), name, facts), name)
        for name, facts in (("t1_tse_sag", {}), ("pet", {"Modality": "PT", "Units": "g/ml"}))
    )
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study_of_patient(patient, "Spine", "20250301", [t1], modality and "MR")
    put_beside(volume_to_node(Volume(values, np.eye(4), "ADC"), "ADC"), t1)  # maps say no modality
    put_beside(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels"), t1)
    study_of_patient(patient, "Whole body", day, [pet], modality)
    panel.enter()
    wait()
    parameters, ui = panel._parameterNode, panel.ui
    chosen = parameters.t1Volume is t1, parameters.suvVolume is pet
    box = ui.visitComboBox.qobject
    if together:
        assert chosen == (True, True) and ui.visitRow.qobject.isHidden()
        assert "Studies of one patient and day: Spine + Whole body." in ui.studyLabel.text
        return
    assert sum(chosen) == 1
    assert [box.itemText(n) for n in range(box.count())] == ["Spine", "Whole body"]
    assert "one patient and day" not in ui.studyLabel.text
    parameters.t1Volume, parameters.suvVolume = t1, pet  # by hand
    assert "nothing may fit together: Spine, Whole body." in ui.studyLabel.text


def test_two_studies_are_not_mixed_and_are_compared_side_by_side(panel, monkeypatch):
    """The newer study is measured at first; the other takes images and regions in its place."""
    from MarrowAssessLib.scene.change_nodes import CHART
    from MarrowAssessLib.scene.shown import referred
    from MarrowAssessLib.scene.tables import chart_series

    def table_column(table, name):
        column = next(
            n for n in range(table.GetNumberOfColumns()) if table.GetColumnName(n) == name
        )
        return [table.GetCellText(n, column) for n in range(table.GetNumberOfRows())]

    later, earlier = visit_of("20250301", 45.0), visit_of("20240301", 30.0)
    added = []
    while len(shown_in := slicer.util.getNodesByClass("vtkMRMLViewNode")) < 2:
        added.append(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLViewNode"))
        added[-1].SetLayoutName(str(len(shown_in) + 1))
    shown_in = sorted(shown_in, key=lambda view: view.GetLayoutName())[:2]
    panel.enter()
    wait()
    parameters, ui = panel._parameterNode, panel.ui
    assert (parameters.pdffVolume, parameters.segmentation) == later
    box = ui.visitComboBox.qobject
    assert not ui.visitRow.qobject.isHidden()
    assert [box.itemText(n) for n in range(box.count())] == [
        "Spine (20240301)", "Spine (20250301)",
    ]  # fmt: skip
    assert box.currentIndex() == 1
    parameters.earlierRegions = earlier[1]
    with pytest.raises(ValueError, match="'Regions' was not measured yet: choose its study"):
        panel.measuring.onApplyButton()
    for number, visit in enumerate((earlier, later)):
        box.activated.emit(number)
        assert (parameters.pdffVolume, parameters.segmentation) == visit
        ui.applyButton.click()
        wait()
        assert box.currentIndex() == number
    cell = ui.resultsTable.qobject.item(*cell_at(panel, "L3", "PDFF\n%"))
    assert cell.text().endswith("RC ▲")
    key = later[1].GetNodeReference("MarrowAssess.color.key.colors")
    names = [key.GetColorName(n) for n in range(key.GetNumberOfColors())]
    assert names == ["not comparable", "within error"]
    table = later[1].GetNodeReference("MarrowAssess.changes")
    assert (table_column(table, "Earlier")[0], table_column(table, "Now")[0]) == ("30", "45")
    (chart,) = referred(later[1], CHART)
    (line,) = chart_series(chart)
    assert line.GetName() == "L3  " + cell.text().removesuffix(" ▲")
    assert table_column(line.GetTableNode(), "0") == ["30", "45"]
    ui.sideBySideButton.click()
    shown = [regions.GetDisplayNode() for _, regions in (earlier, later)]
    assert [[one.IsDisplayableInView(view.GetID()) for view in shown_in] for one in shown] == [
        [True, False], [False, True],
    ]  # fmt: skip
    assert [view.GetLayoutLabel() for view in shown_in] == ["earlier", "now"]
    assert all(one.GetVisibility() and one.GetVisibility3D() for one in shown)
    of_both = [one for _, regions in (earlier, later) for one in overlay_displays(regions)]
    assert len(of_both) > 2 and all(one.GetVisibility3D() for one in of_both)
    ui.applyButton.click()  # measured anew, its labels stay where it is shown
    labels = later[1].GetNodeReference("MarrowAssess.labels").GetDisplayNode()
    assert not labels.IsDisplayableInView(shown_in[0].GetID())
    ui.sideBySideButton.click()
    assert not shown[0].GetVisibility() and shown[1].IsDisplayableInView(shown_in[0].GetID())
    ui.changeMapButton.click()
    shown = earlier[0].GetNodeReference("MarrowAssess.change.map")
    assert np.nanmedian(slicer.util.arrayFromVolume(shown)) == pytest.approx(15, abs=0.1)
    assert float(table_column(earlier[0].GetNodeReference("MarrowAssess.shares"), "Risen")[0]) > 90
    for number in (1, 0, 1):  # the map of the change takes no role
        box.activated.emit(number)
        assert (parameters.pdffVolume, parameters.segmentation) == (earlier, later)[number]
    parameters.segmentation = None
    assert not ui.sideBySideButton.enabled and not ui.changeMapButton.enabled
    assert ui.changeMapButton.toolTip == "Choose the regions of this visit."
    parameters.segmentation = later[1]
    assert ui.changeMapButton.enabled

    def fail(*_):
        raise ValueError("no surface")

    with monkeypatch.context() as patch:
        patch.setattr(views, "show_3d", fail)
        for button in (ui.sideBySideButton, ui.show3DButton):
            button.checked = False
            button.click()
            assert not button.checked
    parameters.earlierRegions = None
    assert not ui.sideBySideButton.enabled and not ui.changeMapButton.enabled
    ui.applyButton.click()
    assert not referred(later[1], CHART) and not later[1].GetNodeReference("MarrowAssess.changes")
    assert line.GetScene() is None and key.GetNumberOfColors() == 3
    slicer.mrmlScene.RemoveNode(earlier[0])
    with pytest.raises(ValueError, match="The earlier visit's image is gone; load it and measure"):
        panel.logic.session.change_map(earlier[1], later[1])
    for view in added:
        slicer.mrmlScene.RemoveNode(view)


def test_lines_on_a_radiograph_become_an_x_ray_form(panel, tmp_path):
    panel._parameterNode.exportFolder = tmp_path
    volume_to_node(Volume(np.zeros((1, 30, 30), np.int16), np.diag([0.2, 0.2, 1.0, 1.0])), "hand")
    line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "L")
    for end in (1, 3):
        line.AddControlPointWorld(1, end, 0)
    with pytest.raises(ValueError, match="'L' is no line of the X-ray form"):
        panel.results.onXrayButton()
    assert not any(tmp_path.iterdir())
    line.SetName("possible fracture of the hand")
    panel.ui.xrayButton.click()
    (sign,) = json.loads((tmp_path / "xray_form.json").read_text())["findings"]
    assert sign["size_mm"] == 2.0


def test_every_record_of_a_number_opens_at_its_doi(panel, sample):
    applied(panel)
    table = panel.ui.resultsTable.qobject
    table.cellClicked.emit(*cell_at(panel, "L2", "T1/disc"))
    (row,) = [
        one for one in panel.results.rows if (one.site, one.quantity) == ("L2", "T1 marrow/disc")
    ]
    assert row.records and all(doi.startswith("10.") for _, _, doi in row.records if doi)
    links = panel.ui.recordsLabel.text
    publications = {(source, doi) for _, source, doi in row.records}
    assert len(publications) < len(row.records)  # each stands there once
    for source, doi in publications:
        keys = [key for key, *of_it in row.records if of_it == [source, doi]]
        name = f"{source} [{', '.join(keys)}]"
        assert links.count(f'<a href="https://doi.org/{doi}">{name}</a>' if doi else name) == 1
    said = panel.ui.recordsLabel.text
    panel.results.show()  # measured anew, a number stays chosen
    assert panel.ui.recordsLabel.text == said
    panel.results.onClicked(0, panel.ui.resultsTable.qobject.columnCount() - 1)  # an empty cell
    assert panel.ui.recordsLabel.text == "" and panel.ui.recordsLabel.qobject.isHidden()
    panel.ui.resultsTable.qobject.cellClicked.emit(*cell_at(panel, "L2", "T1/disc"))
    assert panel.ui.recordsLabel.text and panel.ui.cellLabel.text
    panel.ui.resultsTable.qobject.cellClicked.emit(
        len(panel.results.matrix.sites), 0
    )  # an empty cell
    assert panel.ui.recordsLabel.text == panel.ui.cellLabel.text == ""


def test_a_normal_patient_is_added_to_my_controls(panel, sample, tmp_path, monkeypatch):
    monkeypatch.setenv("MARROWASSESS_COHORTS", str(tmp_path))
    assert not panel.ui.addControlButton.enabled
    applied(panel)
    panel.ui.addControlButton.click()
    assert panel.ui.cellLabel.text.startswith("'controls' holds 1 study now. 10 anchor T1 and STIR")
    with open(tmp_path / "controls.controls.csv", newline="") as file:
        stored = {(row["quantity"], row["site"]): row for row in csv.DictReader(file)}
    row = stored["marrow_pdff", "L3"]
    assert float(row["value"]) == pytest.approx(sample.true_pdff["L3"], abs=0.5)
    assert (row["sex"], float(row["age_years"])) == ("M", 34.0)
    panel.ui.addControlButton.click()
    assert "in the cohort 'controls' already" in panel.ui.cellLabel.text
    panel._parameterNode.ageYears = -1.0
    panel.ui.applyButton.click()
    panel.ui.addControlButton.click()
    assert "the patient's age is not known" in panel.ui.cellLabel.text


@pytest.fixture
def press_files(tmp_path):
    """A spectrum of 40 % fat as two files, TE 20 and 30 ms."""
    series = simulated(Truth(40.0), [20.0, 30.0], 400, np.random.default_rng(0))
    files = [tmp_path / f"te{te:.0f}.rda" for te in series.te_ms]
    for file, fid, te in zip(files, series.fids, series.te_ms, strict=True):
        write_rda(file, fid, te_ms=te, dwell_s=series.dwell_s, mhz=series.frequency_mhz)
    return files


def test_a_spectrum_joins_the_numbers_and_leads_to_its_plot(panel, sample, press_files):
    applied(panel)
    ui, parameters = panel.ui, panel._parameterNode
    before = len(panel.results.rows)
    panel.files.addSpectra([str(file) for file in press_files])
    type_into(panel.ui.scoresLineEdit, "")  # looked at, left
    assert panel.ui.filesHintLabel.text.startswith("Type the level in place")
    assert ui.spectraLineEdit.text.startswith("?=") and "level" in ui.filesHintLabel.text
    typed = f"L3={press_files[0]},{press_files[1]}"
    type_into(ui.spectraLineEdit, typed)
    assert parameters.spectra == typed and not ui.filesHintLabel.text
    assert parameters.scores == ""
    row, column = cell_at(panel, "L3", "PDFF, MRS\n%")
    found = panel.results.matrix.cells[row, column].row
    assert float(found.value.split()[0]) == pytest.approx(40.0, abs=1.5)
    assert "of this spectrum lies in the marrow of L2 and 0 % in that of L3; check" in found.details
    assert {"mrs_t2_water", "mrs_ndb"} < {row.key for row in panel.results.rows}
    assert "Hamilton" not in ui.verdictLabel.text  # the method stands in the report
    spectra = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    spectra = [one for one in spectra if one.GetTitle().startswith("Spectrum of L3")]
    assert [one.GetTitle()[-5:] for one in spectra] == ["20 ms", "30 ms"]
    panel.results.onClicked(row, column)
    assert panel.results.chart is spectra[0]
    assert ui.showChartButton.text == "Spectrum"
    panel.results.onClicked(*cell_at(panel, "L2", "PDFF\n%"))
    assert ui.showChartButton.text == "Age curve"
    panel.results.onClicked(row, column)
    panel.measuring.onApplyButton()  # measured again, the plots stay as they are
    assert panel.results.chart is spectra[0]
    assert f"spectra=[{typed!r}]" in console_command(parameters)
    assert "Spectrum of L3" not in ui.verdictLabel.text
    type_into(ui.spectraLineEdit, f"L3={press_files[0]}")  # too few for a PDFF
    said = "Spectrum of L3: one echo time and no T2 stated; T2 of water in healthy marrow"
    assert said in ui.verdictLabel.text and "--" not in ui.verdictLabel.text
    type_into(ui.spectraLineEdit, "")
    assert len(panel.results.rows) == before
    assert not slicer.mrmlScene.GetNodesByName("Spectrum of L3, TE 20 ms").GetNumberOfItems()


def test_a_spectrum_that_cannot_be_read_is_said_and_changes_nothing(panel, sample, press_files):
    applied(panel)
    ui, parameters = panel.ui, panel._parameterNode
    for typed, said in (
        ("L3=nowhere.rda", "nowhere.rda"),
        (str(press_files[0]), "expected SITE=FILE"),
        (f"?={press_files[0]}", "'?'"),
    ):
        type_into(ui.spectraLineEdit, typed)
        assert said in ui.filesHintLabel.text, typed
        assert parameters.spectra == "" and ui.spectraLineEdit.text == typed
        assert "behind the files" not in ui.filesHintLabel.text
    type_into(ui.spectraLineEdit, f"L2={press_files[1]} --t2-water 20")
    assert "(--t2-water, --t2-fat, ms). Type options behind the" in ui.filesHintLabel.text
    panel.frame.progress = lambda fraction: False
    type_into(ui.spectraLineEdit, f"L2={press_files[1]}")  # fitted by no test before
    assert ui.filesHintLabel.text.startswith("Canceled") and parameters.spectra == ""
    asked = []
    panel.frame.progress = lambda fraction: asked.append(fraction) or False
    type_into(ui.spectraLineEdit, f"L2={press_files[1]}")  # the same once more
    assert asked


def test_a_fit_that_breaks_off_leaves_no_word_of_fitting(panel, sample, press_files, monkeypatch):
    applied(panel)
    ui, tried = panel.ui, []

    def fit(*_):
        tried.append(ui.filesHintLabel.text)
        raise MemoryError("no memory")

    monkeypatch.setattr("MarrowAssessLib.sources.spectra.fit_site_spectra", fit)
    ui.spectraLineEdit.text = f"L3={press_files[0]}"
    for _ in range(2):  # may succeed the second time: it is tried again
        with pytest.raises(MemoryError):
            panel.files.onSpectra()
        assert ui.filesHintLabel.text == "" and panel._parameterNode.spectra == ""
    assert tried == ["Fitting; Cancel stands in for Apply."] * 2 and not panel.frame.running


@pytest.fixture(scope="module")
def tibia():
    return Tibia(snr=40.0, radius=14.0, thickness=5.0, size=48)


def test_a_bone_on_ute_joins_the_numbers(panel, sample, tibia, tmp_path):
    applied(panel)
    ui, parameters = panel.ui, panel._parameterNode
    before = len(panel.results.rows)
    _write_ute(tibia.volumes(3), file := tmp_path / "ute.nii.gz")
    panel.files.addUte(str(file))
    assert ui.uteLineEdit.text == f"?={file}" and "the bone" in ui.filesHintLabel.text
    for typed, said in (
        (f"?={file}", "'?'"),
        (f"{SITE}={tmp_path}/nowhere.nii.gz", "nowhere.nii.gz"),
        (f"{SITE}={file} --point 1000,0,0", "lies outside the images"),
    ):
        type_into(ui.uteLineEdit, typed)
        assert said in ui.filesHintLabel.text, typed
        assert parameters.ute == ""
    panel.frame.progress = lambda *_: False
    type_into(ui.uteLineEdit, f"{SITE}={file}")
    assert ui.filesHintLabel.text.startswith("Canceled") and parameters.ute == ""
    del panel.frame.progress
    type_into(ui.uteLineEdit, "")
    type_into(ui.uteLineEdit, f"{SITE}={file}")
    assert parameters.ute == f"{SITE}={file}" and not ui.filesHintLabel.text
    found = {row.key: row for row in panel.results.rows}
    assert "Motion against" not in ui.verdictLabel.text  # it was still
    table = panel.ui.resultsTableView.node
    how = next(n for n in range(table.GetNumberOfColumns()) if table.GetColumnName(n) == "How")
    told = [table.GetCellText(n, how) for n in range(table.GetNumberOfRows())]
    assert any("Motion against the first image, across edges: 0.0" in one for one in told)
    assert float(found["ute_thickness"].value.split()[0]) == pytest.approx(
        tibia.thickness_mm, abs=0.05
    )
    assert "ute_pi_fitted" in found and len(panel.results.rows) > before
    assert f"ute=['{SITE}={file}']" in console_command(parameters)
    type_into(ui.uteLineEdit, "")
    assert len(panel.results.rows) == before


def test_scores_of_one_s_own_are_given_with_their_limits(panel, sample, tmp_path, monkeypatch):
    from MarrowAssessLib.panel import files_row

    applied(panel)
    ui, parameters = panel.ui, panel._parameterNode
    model = Model(
        ("PDFF_original_F0", "age"), np.array([30.0, 50]), np.array([10.0, 10]),
        np.array([30.0, 50]), np.array([0.0, 0.0]),
    )  # fmt: skip
    ranges = np.array([[0.0, 100], [50, 80]])
    score = Score("fracture", model, (model,), {}, ranges, {"summary": "Mean PDFF does as well."})
    write_score(score, tmp_path / "score.json")
    type_into(ui.scoresLineEdit, str(tmp_path / "score.json"))
    assert parameters.scores == str(tmp_path / "score.json")
    said = ui.verdictLabel.text
    assert "50 % (50 to 50 %) for fracture" in said and "Mean PDFF does as well" in said
    assert "extrapolates in 1 of 2: age" in said and "without a value: PDFF_original_F0" in said
    write_score(replace(score, outcome="death"), tmp_path / "death.json")
    asked = types.SimpleNamespace(getOpenFileNames=lambda *_: [str(tmp_path / "death.json")])
    monkeypatch.setattr(files_row.qt, "QFileDialog", asked, raising=False)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: None, raising=False)
    for _again in range(2):
        ui.scoresButton.click()
        wait()
    assert "for fracture" in ui.verdictLabel.text and "for death" in ui.verdictLabel.text
    both = [str(tmp_path / "score.json"), str(tmp_path / "death.json")]
    assert f"scores={both!r}" in console_command(parameters)
    type_into(ui.scoresLineEdit, "")
    assert parameters.scores == "" and "fracture" not in ui.verdictLabel.text


def test_an_exploratory_score_is_refused_where_it_is_chosen(panel, sample, tmp_path):
    applied(panel)
    model = Model(("age",), np.zeros(1), np.ones(1), np.zeros(1), np.zeros(1))
    score = Score("fracture", model, (), {}, np.array([[0.0, 99]]), {}, exploratory="of 9 patients")
    write_score(score, tmp_path / "score.json")
    type_into(panel.ui.scoresLineEdit, str(tmp_path / "score.json"))
    assert "no patient's report shows it" in panel.ui.filesHintLabel.text
    assert panel._parameterNode.scores == ""
    write_score(replace(score, exploratory="", fold_models=(model,)), tmp_path / "good.json")
    type_into(panel.ui.scoresLineEdit, str(tmp_path / "good.json"))
    assert panel._parameterNode.scores and not panel.ui.filesHintLabel.text
    type_into(panel.ui.scoresLineEdit, f"{tmp_path / 'good.json'}; {tmp_path / 'score.json'}")
    assert panel._parameterNode.scores == ""  # none is given under another's name
    assert panel.ui.filesHintLabel.text
    type_into(panel.ui.scoresLineEdit, "")
    assert not panel.ui.filesHintLabel.text


def test_an_age_curve_leads_back_to_the_layout_before(panel, sample):
    applied(panel)
    layout = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLayoutNode", "layout")
    layout.SetViewArrangement(layout.SlicerLayoutFourUpView)
    panel.ui.showChartButton.click()
    assert layout.GetViewArrangement() != layout.SlicerLayoutFourUpView
    chart = slicer.app.layoutManager().plotWidget(0).plotView().chart()
    assert not chart.GetLegend().GetInline()  # beside the curves, which it covered
    panel.ui.showChartButton.click()
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpView
    panel.ui.showChartButton.click()
    panel.ui.show3DButton.click()  # 3D is seen again
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpView
    panel.ui.showChartButton.click()
    assert panel.ui.show3DButton.checked
    panel.ui.show3DButton.click()  # it was shown behind the plot
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpView
    assert panel.ui.show3DButton.checked and not panel.ui.showChartButton.checked
    assert shows_3d(sample.segmentation)
    button = panel.ui.showChartButton
    without = cell_at(panel, "S1", "T1/disc")  # green by a rule, and no curve
    panel.results.onClicked(*without)
    assert not button.enabled and button.toolTip == "No age curve of S1 T1 marrow/disc is known."
    row = panel.results.matrix.cells[without].row
    assert row.verdict == "no z-score" and ", no z-score" in panel.ui.cellLabel.text
    panel.results.onClicked(*cell_at(panel, "L3", "PDFF\n%"))
    assert button.enabled
    button.click()
    panel.results.onClicked(*without)  # the plot is still of L3 PDFF
    assert button.enabled and "No age curve of S1 T1 marrow" in panel.ui.cellLabel.text
    slicer.mrmlScene.RemoveNode(sample.segmentation)  # a plot of nothing does not stay
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpView
    assert not panel.ui.showChartButton.checked
    slicer.mrmlScene.RemoveNode(layout)


def test_why_there_is_no_age_curve_is_said(panel, sample):
    """Without an age it was said that none is known."""
    panel.enter()
    button = panel.ui.showChartButton
    assert not button.enabled and button.toolTip == "Nothing is measured yet."
    panel._parameterNode.ageYears = -1.0
    panel.ui.applyButton.click()
    panel.results.onClicked(*cell_at(panel, "L3", "PDFF\n%"))
    assert not button.enabled
    assert button.toolTip == "There is no age curve without the patient's age."


def test_show_3d_is_not_pressed_before_anything_is_shown(panel, sample):
    sample.segmentation.GetSegmentation().RemoveRepresentation("Closed surface")
    applied(panel)
    assert not panel.ui.show3DButton.checked
    assert not sample.segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    regions, *others = overlay_displays(sample.segmentation)
    assert others and not any(one.GetVisibility3D() for one in others)  # labels of nothing
    assert regions.GetVisibility3D()  # as the Segment Editor's button needs it
    progress, panel.frame.progress = panel.frame.progress, lambda fraction: False  # canceled
    panel.ui.show3DButton.click()
    assert not panel.ui.show3DButton.checked
    panel.frame.progress = progress
    panel.ui.show3DButton.click()
    assert shows_3d(sample.segmentation)
    panel.ui.show3DButton.click()
    assert not shows_3d(sample.segmentation)
    assert not any(one.GetVisibility3D() for one in overlay_displays(sample.segmentation))
    panel.ui.applyButton.click()  # what is made anew does not come back alone
    assert not any(one.GetVisibility3D() for one in overlay_displays(sample.segmentation))
    panel.ui.show3DButton.click()
    assert all(one.GetVisibility3D() for one in overlay_displays(sample.segmentation))


@pytest.fixture
def ahead(panel, sample, monkeypatch):
    """The work ahead of the sample's first click, as in a desktop whose code is compiled."""
    panel.enter()
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False, raising=False)
    monkeypatch.setattr(type(panel.frame), "will_compile", False)
    clicks._FOUND.clear()
    panel.ahead.follow()
    assert panel.ahead.works
    return panel.ahead


def test_the_spine_of_the_first_click_is_found_while_nobody_waits(ahead, panel, sample):
    while ahead.works:
        wait(0.02)
    (found,) = clicks._FOUND.values()
    panel._parameterNode.segmentation = None
    panel._parameterNode.placeRole, panel._parameterNode.placeSite = "marrow", "L3"
    wait()
    panel.ui.placeButton.checked = True
    click(panel, sample.centers_ras["L3"])
    assert panel.ui.placingLabel.text and list(clicks._FOUND.values()) == [found]
    for name in list(choices.chosen_volumes(panel._parameterNode)):
        setattr(panel._parameterNode, VOLUME_PARAMETERS[Contrast(name)], None)
    while ahead.works:  # of the next in front, until it goes too
        wait(0.02)
    panel._parameterNode.t1Volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    ahead.follow()
    assert not ahead.works  # nor of one without voxels


def test_what_is_made_ahead_is_made_once_and_asks_nothing_more(ahead, monkeypatch):
    wait()
    assert not ahead.works
    monkeypatch.setattr(
        "MarrowAssessLib.panel.ahead.missing_packages", lambda: pytest.fail("asked")
    )
    ahead.follow()
    assert not ahead.works


def test_python_collects_once_all_is_made_ahead_and_not_after_each_job(ahead, monkeypatch):
    collected = []
    monkeypatch.setattr("MarrowAssessLib.panel.ahead.gc.collect", lambda: collected.append(1))
    ahead.stop()  # as a job does; it begins again
    while ahead.works:
        wait(0.02)
    wait()
    assert ahead._of is not None and collected == [1]


def test_no_garbage_of_the_panel_goes_in_the_thread_that_works_ahead(ahead):
    """Widgets and nodes must not: Qt and VTK end them in the main thread alone."""
    gone_in = []

    class Widget:
        def __init__(self):
            self.itself = self

        def __del__(self):
            gone_in.append(threading.current_thread())

    Widget()
    while ahead.works:
        wait(0.02)
    wait()
    assert gone_in == [threading.main_thread()] and gc.isenabled()


def test_a_click_finds_what_was_made_ahead_of_it_also_on_another_grid(ahead, panel, sample):
    """A T2 in front, on whose own grid no region is drawn."""
    coarse = volume_from_node(sample.volumes["T2"])
    matrix = coarse.ijk_to_ras.copy()
    matrix[:3, :2] *= 2
    other = volume_to_node(Volume(coarse.array[:, ::2, ::2].copy(), matrix, "coarse T2"))
    panel._parameterNode.t2Volume = other
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        view.SetBackgroundVolumeID(other.GetID())
    ahead.follow()
    wait()
    while ahead.works:
        wait(0.02)
    (found,) = clicks._FOUND
    panel._parameterNode.placeRole, panel._parameterNode.placeSite = "marrow", "L3"
    panel.ui.placeButton.checked = True
    click(panel, sample.centers_ras["L3"])
    assert list(clicks._FOUND) == [found]
    assert found[1] == volume_from_node(sample.volumes["T1"]).ijk_to_ras.tobytes()


def test_a_button_ends_what_is_made_ahead_which_begins_again(ahead, panel, monkeypatch):
    done, held = panel.onJobDone, []
    monkeypatch.setattr(panel.frame, "_done", lambda: held.append(len(clicks._FOUND)) or done())
    panel.ui.findSpineButton.click()
    assert held == [0] * len(held) != []  # nothing was found beside the button's own search
    wait()
    assert len(clicks._FOUND) == 1


def test_closing_the_scene_ends_what_is_done_ahead(ahead):
    slicer.mrmlScene.Clear(False)
    while ahead.works:
        wait(0.02)
    assert not clicks._FOUND


def test_what_is_made_ahead_begins_again_after_it_was_stopped(ahead):
    ahead.stop()
    ahead.follow()  # as the next opening of the panel does, before the thread has ended
    assert ahead._timer.active  # without the time that it lends, the thread does not end in Slicer
    wait()
    assert len(clicks._FOUND) == 1 and not ahead.works


def test_an_error_ahead_of_a_click_is_told_by_the_panel_not_by_its_thread(
    panel, sample, monkeypatch, caplog
):
    def broken(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(clicks, "find_ahead", broken)
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False, raising=False)
    monkeypatch.setattr(type(panel.frame), "will_compile", False)
    panel.enter()
    wait()
    (told,) = caplog.records
    assert "ahead of the first click: RuntimeError('broken')" in told.getMessage()
    assert told.threadName == "MainThread"


def test_another_voxel_grid_is_resampled_on_a_click(panel, sample):
    coarse = volume_from_node(sample.volumes["PDFF"])
    matrix = coarse.ijk_to_ras.copy()
    matrix[:3, :3] *= 2
    other = volume_to_node(Volume(coarse.array[::2, ::2, ::2].copy(), matrix, "coarse PDFF"))
    panel.enter()
    panel._parameterNode.pdffVolume = other
    applied(panel)
    assert panel.ui.gridLabel.text == "Other voxel grid: PDFF (coarse PDFF). Resample?"
    assert not panel.ui.gridRow.qobject.isHidden() and not panel.results.rows
    panel.ui.resampleButton.click()
    assert panel.ui.gridRow.qobject.isHidden()
    assert shown_pdff(panel)["L3"] == pytest.approx(sample.true_pdff["L3"], abs=1.0)


def test_the_panel_counts_texture_apart_from_measurements(panel, sample):
    panel.enter()
    applied(panel)
    before = panel.ui.verdictLabel.text.split(" measurements")[0]
    panel._parameterNode.texture = True
    applied(panel)
    said = panel.ui.verdictLabel.text
    number = sum(row.is_texture for row in panel.results.rows)
    assert number >= 9
    assert said.split(" measurements")[0] == before
    assert f"{number} texture features are in the table." in said


def test_a_placed_region_stays_though_an_image_is_on_another_grid(panel, sample):
    other = volume_to_node(Volume(np.ones((9, 9, 9), np.float32), 5 * np.eye(4), "other"))
    panel.enter()
    panel._parameterNode.segmentation = panel.logic.addSegmentation(sample.volumes["T1"])
    panel._parameterNode.pdffVolume = other
    panel.ui.placeButton.checked = True
    panel.ui.placeSiteLineEdit.text = "L3"
    click(panel, sample.centers_ras["L3"])
    assert panel.ui.placingLabel.text.startswith("Placed: L3 marrow.")
    assert drawn_names(panel) == {"L3 marrow"}
    assert panel.ui.gridLabel.text == "Other voxel grid: PDFF (other). Resample?"
    assert panel.ui.verdictLabel.text == "No assessment yet: the regions are not measured."


def test_marrow_alone_shows_its_signal_and_says_what_is_missing(panel, sample):
    panel.enter()
    wait()
    for name in ("t2Volume", "fsT2Volume", "t1PostVolume", "pdffVolume", "inPhaseVolume"):
        setattr(panel._parameterNode, name, None)
    panel._parameterNode.opposedPhaseVolume = None
    panel._parameterNode.segmentation = panel.logic.addSegmentation(sample.volumes["T1"])
    panel.ui.placeButton.checked = True
    panel.ui.placeSiteLineEdit.text = "L3"
    click(panel, sample.centers_ras["L3"])
    said = panel.ui.verdictLabel.text
    assert "L3 marrow: the plain signal only." in said
    assert "place a muscle or a disc for a ratio" in said
    table = panel.ui.resultsTable.qobject
    array = slicer.util.arrayFromVolume(sample.volumes["T1"])
    median = float(table.item(*cell_at(panel, "L3", "T1 signal")).text())
    assert 0.2 * array.max() < median < array.max()
    panel.ui.placeRoleComboBox.setCurrentText("disc")
    panel.ui.placeSiteLineEdit.text = ""
    click(panel, sample.segmentation.GetSegmentCenterRAS("L3-L4 disc"))
    assert "plain signal" not in panel.ui.verdictLabel.text
    assert "T1/disc" in matrix_of(panel)[2] and "T1 signal" not in matrix_of(panel)[2]


def test_a_dragged_circle_a_resized_box_and_a_moved_transform_update_the_results(panel, sample):
    def ring(center):
        return [
            (center[0], center[1] + a, center[2] + s) for a, s in ((-5, 0), (0, 5), (5, 0), (0, -5))
        ]

    curve = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode", "T10 marrow")
    for point in ring(sample.centers_ras["L3"]):
        curve.AddControlPoint(*point)
    box = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "T9 marrow")
    box.SetCenter(*sample.centers_ras["L3"])
    box.SetSize(8, 8, 8)
    move = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "move")
    box.SetAndObserveTransformNodeID(move.GetID())
    applied(panel)
    truth = sample.true_pdff
    assert shown_pdff(panel)["T10"] == pytest.approx(truth["L3"], abs=0.5)
    assert shown_pdff(panel)["T9"] == pytest.approx(truth["L3"], abs=0.5)
    for n, point in enumerate(ring(sample.centers_ras["L2"])):
        curve.SetNthControlPointPosition(n, *point)
    wait()
    assert shown_pdff(panel)["T10"] == pytest.approx(truth["L2"], abs=0.5)
    voxels = shown_voxels(panel)["T9"]
    box.SetSize(4, 4, 4)
    wait()
    assert shown_voxels(panel)["T9"] < voxels
    assert shown_pdff(panel)["T9"] == pytest.approx(truth["L3"], abs=0.5)
    from PDFFMapperLib.scene.volumes import vtk_matrix

    matrix = np.eye(4)
    matrix[:3, 3] = sample.centers_ras["L2"] - sample.centers_ras["L3"]
    move.SetMatrixTransformToParent(vtk_matrix(matrix))
    wait()
    assert shown_pdff(panel)["T9"] == pytest.approx(truth["L2"], abs=0.5)


def shown_voxels(panel):
    table = panel.ui.resultsTableView.node.GetTable()
    site, voxels = (table.GetColumnByName(name) for name in ("Site", "Voxels"))
    return {site.GetValue(row): voxels.GetValue(row) for row in range(table.GetNumberOfRows())}


def test_results_follow_in_the_middle_of_a_drag(panel, sample):
    point = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    point.AddControlPoint(*sample.centers_ras["L3"], "T10 marrow")
    applied(panel)
    calls = []
    assess = panel.logic.assessParameters
    panel.logic.assessParameters = lambda *a, **k: (calls.append(1), assess(*a, **k))[1]
    for step in range(40):  # up to 2 s without a pause
        point.SetNthControlPointPosition(0, *(sample.centers_ras["L3"] + [0, 0, 0.1 * step]))
        QTest.qWait(50)
        if len(calls) == 2:
            return
    raise AssertionError(f"{len(calls)} assessments while it was dragged")


def test_regions_are_imported_named_anew_and_taken_back(panel, sample):
    panel.enter()
    array = slicer.util.arrayFromVolume(sample.volumes["PDFF"])
    labels = np.where(np.isclose(array, sample.true_pdff["L3"]), 43, 0).astype(np.int16)
    labels[:3, :3, :3] = 94
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    node.CopyContent(sample.volumes["T1"])
    slicer.util.updateVolumeFromArray(node, labels)
    panel._parameterNode.segmentation = panel.logic.addSegmentation(sample.volumes["T1"])
    assert not panel.ui.importButton.enabled
    assert "Choose a label map" in panel.ui.importButton.toolTip
    panel.ui.importSelector.setCurrentNode(node)
    assert panel.ui.importToolComboBox.currentText == "TotalSpineSeg"
    panel.ui.importButton.click()
    assert panel.ui.placingLabel.text == "Imported: L3 marrow, L3-L4 disc."
    assert shown_pdff(panel) == {"L3": pytest.approx(sample.true_pdff["L3"], abs=0.5)}
    panel.ui.levelsUpButton.click()
    assert panel.ui.placingLabel.text == "Now named: L2 marrow, L2-L3 disc."
    assert set(shown_pdff(panel)) == {"L2"}
    panel.ui.undoButton.click()
    assert set(shown_pdff(panel)) == {"L3"}
    panel.ui.undoButton.click()
    assert not panel._parameterNode.segmentation.GetSegmentation().GetNumberOfSegments()
    assert not panel.ui.undoButton.enabled
    assert not panel.results.matrix.cells  # numbers go with their regions
    assert panel.ui.verdictLabel.text.startswith("No assessment yet")


def test_a_tool_of_others_is_run_from_the_panel(panel, sample, tmp_path, monkeypatch):
    """A stand-in program that leaves a label map as TotalSpineSeg does: L3 is 43."""
    from PDFFMapperLib.images.files import write_volume

    panel.enter()
    button, tools = panel.ui.segmentWithButton, panel.ui.segmentWithComboBox
    assert [tools.itemText(n) for n in range(tools.count)] == [
        "TotalSegmentator", "TotalSpineSeg", "SPINEPS",
    ]  # fmt: skip
    tools.setCurrentText("TotalSpineSeg")
    monkeypatch.setenv("PATH", str(tmp_path))
    panel.importing.onSegmentWithButton()
    said = panel.ui.placingLabel.text
    assert said.startswith("TotalSpineSeg is not installed") and "--" not in said
    t1 = volume_from_node(sample.volumes["T1"])
    pdff = slicer.util.arrayFromVolume(sample.volumes["PDFF"])
    l3 = np.isclose(pdff, sample.true_pdff["L3"]).astype(np.int16)
    write_volume(t1.with_array(43 * l3), tmp_path / "map.nii.gz")
    weights = tmp_path / "data"
    for n in (1, 2):
        (weights / f"Dataset10{n}_TotalSpineSeg_step{n}").mkdir(parents=True)
    monkeypatch.setenv("TOTALSPINESEG_DATA", str(weights))
    program = tmp_path / "totalspineseg"
    program.write_text(
        f'#!/bin/sh\n/bin/mkdir "$2/step2_output"\n/bin/cp {tmp_path}/map.nii.gz '
        '"$2/step2_output/sub-image_T1w.nii.gz"\n'
    )
    program.chmod(0o755)
    slicer.mrmlScene.RemoveNode(sample.segmentation)  # where it is left, it may be chosen again
    wait()
    button.click()
    assert "Regions were drawn by TotalSpineSeg" in panel.ui.placingLabel.text
    assert shown_pdff(panel) == {"L3": pytest.approx(sample.true_pdff["L3"], abs=0.5)}
    panel.ui.undoButton.click()
    assert not panel._parameterNode.segmentation.GetSegmentation().GetNumberOfSegments()
    program.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    monkeypatch.setattr(panel.frame, "progress", lambda fraction: False)
    button.click()
    assert panel.ui.placingLabel.text == "Canceled; nothing was placed."
    assert not panel._parameterNode.segmentation.GetSegmentation().GetNumberOfSegments()


def test_removing_every_region_clears_the_results_and_a_new_one_brings_them_back(panel, sample):
    applied(panel)
    segments = sample.segmentation.GetSegmentation()
    kept = slicer.vtkSegment()
    kept.DeepCopy(segments.GetSegment("L3 marrow"))
    segments.RemoveAllSegments()
    wait()
    assert not panel.results.matrix.cells
    assert not panel.ui.showChartButton.enabled and not panel.ui.exportButton.enabled
    segments.AddSegment(kept, "L3 marrow")
    panel.ui.applyButton.click()
    assert set(shown_pdff(panel)) == {"L3"}
    assert panel.ui.showChartButton.enabled


def test_typing_a_site_measures_nothing_and_an_age_does(panel, sample):
    applied(panel)
    calls = []
    assess = panel.logic.assessParameters
    panel.logic.assessParameters = lambda *a, **k: (calls.append(1), assess(*a, **k))[1]
    panel.ui.placeSiteLineEdit.text = "L3"
    panel.ui.placeRoleComboBox.setCurrentText("disc")
    wait()
    assert not calls
    type_into(panel.ui.ageLineEdit, "70")
    wait()
    assert calls == [1]
    assert panel.logic.assessment.study.age_years == 70.0


def test_labels_that_several_tools_share_wait_for_the_user(panel, sample):
    panel.enter()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    node.CopyContent(sample.volumes["T1"])
    labels = np.zeros(slicer.util.arrayFromVolume(node).shape, np.int16)
    labels[20:30] = 5
    slicer.util.updateVolumeFromArray(node, labels)
    panel.ui.importSelector.setCurrentNode(node)
    assert panel.ui.importToolComboBox.currentIndex == 0
    assert not panel.ui.importButton.enabled
    assert "labels alone do not tell" in panel.ui.importButton.toolTip


def test_a_click_places_measures_and_can_be_taken_back(panel, sample):
    panel.enter()
    panel._parameterNode.segmentation = panel.logic.addSegmentation(sample.volumes["T1"])
    panel._parameterNode.placeSite = "L3"
    panel.ui.placeButton.checked = True
    for level in ("L3", "L2"):
        click(panel, sample.centers_ras[level])
        assert panel.ui.placingLabel.text.startswith(f"Placed: {level} marrow.")
    assert shown_pdff(panel)["L2"] == pytest.approx(sample.true_pdff["L2"], abs=0.5)
    click(panel, (900, 900, 900))
    assert "lies outside" in panel.ui.placingLabel.text
    panel.ui.undoButton.click()
    assert set(shown_pdff(panel)) == {"L3"}


def test_marrow_placed_with_the_box_checked_leaves_hot_spots_out(panel, sample):
    from MarrowAssessLib.scene.segments import regions_from_node

    panel.enter()
    volume = sample.volumes["T1"]
    panel._parameterNode.segmentation = panel.logic.addSegmentation(volume)
    panel._parameterNode.placeSite = "L3"
    center = volume_from_node(volume).ras_to_ijk(np.array(sample.centers_ras["L3"]))
    i, j, k = np.rint(center).astype(int)
    image = slicer.util.arrayFromVolume(volume)
    image[k, j - 1 : j + 2, i - 4] = 3 * image.max()
    slicer.util.arrayFromVolumeModified(volume)
    panel.ui.placeButton.checked = True
    highest = []
    for without in (False, True):
        panel.ui.leaveOutVeinCheckBox.checked = without
        click(panel, sample.centers_ras["L3"])
        (roi,) = regions_from_node(panel._parameterNode.segmentation, volume)
        highest.append(roi.values(image).max() == image.max())
    assert highest == [True, False]
    panel.ui.leaveOutFatCheckBox.checked = True
    assert placing_options(panel._parameterNode).leave_out == ["vein", "fat"]


def test_leaving_place_mode_releases_the_button(panel, sample):
    panel.enter()
    assert "such as L3" in panel.ui.findColumnButton.toolTip
    panel.ui.placeSiteLineEdit.text = "L3"
    assert panel.ui.findColumnButton.enabled
    panel.ui.placeButton.checked = True
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    panel.ui.findColumnButton.checked = True
    assert not panel.ui.placeButton.checked and panel.ui.findColumnButton.checked
    interaction.SwitchToViewTransformMode()  # what a right click does
    assert not panel.ui.findColumnButton.checked
    assert not slicer.mrmlScene.GetNodesByName("MarrowAssess click").GetNumberOfItems()


def test_a_number_brings_its_image_to_the_front(panel, sample, monkeypatch):
    applied(panel)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")

    def layers(background, foreground):
        for view in composites:
            view.SetBackgroundVolumeID(background and background.GetID())
            view.SetForegroundVolumeID(foreground and foreground.GetID())

    def show(background, foreground):
        layers(background, foreground)
        shown.append(background.GetName())

    layers(sample.volumes["T1"], None)
    shown = []
    monkeypatch.setattr(slicer.util, "setSliceViewerLayers", show)
    click_cell = panel.ui.resultsTable.qobject.cellClicked.emit
    for column in ("T1/disc", "PDFF\n%", "PDFF\n%", "T1/disc"):
        click_cell(*cell_at(panel, "L2", column))
    assert shown == ["PDFF", "T1"]
    layers(sample.volumes["T1"], sample.volumes["PDFF"])
    for view in composites:
        view.SetForegroundOpacity(0.5)
    click_cell(*cell_at(panel, "L2", "PDFF\n%"))  # seen through
    assert shown == ["PDFF", "T1"]
    click_cell(*cell_at(panel, "L2", "T1/disc"))
    assert shown == ["PDFF", "T1", "T1"]


def test_finding_the_column_shows_progress_and_can_be_canceled(panel, sample):
    panel.enter()
    panel._parameterNode.segmentation = panel.logic.addSegmentation(sample.volumes["T1"])
    panel._parameterNode.placeSite = "L3"
    progress = panel.frame.progress
    panel.frame.progress = lambda part: (panel.ui.applyButton.click(), progress(part))[1]
    panel.ui.findColumnButton.checked = True
    click(panel, sample.centers_ras["L3"])
    assert panel.ui.placingLabel.text == "Canceled; nothing was placed."
    assert not panel._parameterNode.segmentation.GetSegmentation().GetNumberOfSegments()
    panel.frame.progress = progress
    panel.ui.findColumnButton.checked = True
    click(panel, sample.centers_ras["L3"])
    assert panel.ui.placingLabel.text.startswith("Found: ")
    assert not panel.ui.findColumnButton.checked
    assert {"L2", "L3", "L4"} <= set(shown_pdff(panel))


def test_a_deleted_image_leaves_its_role_empty_and_its_numbers_go(panel, sample):
    applied(panel)
    before = {row.quantity for row in panel.results.rows}
    slicer.mrmlScene.RemoveNode(sample.volumes["T1"])
    wait()
    assert panel.ui.t1Selector.currentNode() is None
    assert panel.ui.t2Selector.currentNode() is sample.volumes["T2"]
    after = {row.quantity for row in panel.results.rows}
    assert {"T1 marrow/muscle", "T1 marrow/disc", "VBQ"} <= before - after
    panel.exit()
    panel.enter()
    assert panel.ui.t1Selector.currentNode() is None  # nothing is guessed into it


def test_a_deleted_map_takes_its_rows_along_without_automatic_update_too(panel, sample):
    panel.enter()
    panel.ui.autoUpdateCheckBox.checked = False
    applied(panel)
    slicer.mrmlScene.RemoveNode(sample.volumes["PDFF"])
    wait()
    assert panel.ui.pdffSelector.currentNode() is None
    assert not panel.results.rows
    assert panel.ui.verdictLabel.text == "No assessment yet: the regions are not measured."


def test_one_image_in_two_roles_is_told(panel, sample):
    panel.enter()
    assert "one of them is wrong" not in panel.ui.studyLabel.text
    panel.ui.t2Selector.setCurrentNode(sample.volumes["T1"])
    assert "T1 is chosen as T1 and T2: one of them is wrong." in panel.ui.studyLabel.text


def test_a_deleted_segmentation_takes_all_that_shows_its_results_along(panel, sample):
    before = set(slicer.util.getNodes(useLists=True))
    applied(panel)
    assert len(set(slicer.util.getNodes(useLists=True)) - before) > 4
    slicer.mrmlScene.RemoveNode(sample.segmentation)
    wait()
    left = set(slicer.util.getNodes(useLists=True)) - before
    assert not {name for name in left if "MarrowAssess" in name and "results" not in name}
    assert not slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
    assert not slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    assert not slicer.util.getNodesByClass("vtkMRMLTableNode")
    assert panel.ui.segmentationSelector.currentNode() is None
    assert panel.ui.verdictLabel.text.startswith("No assessment yet")
    assert not panel.ui.exportButton.enabled and not panel.ui.undoButton.enabled


def test_nothing_of_the_previous_patient_stays(panel, sample):
    applied(panel)
    panel.ui.placeButton.checked = True
    click(panel, sample.centers_ras["L3"])
    assert "L3" in panel.ui.placingLabel.text
    slicer.mrmlScene.Clear(False)
    wait()
    assert panel.ui.placingLabel.text.startswith("Choose a tissue")
    assert panel.ui.studyLabel.text.startswith("No image is chosen")
    assert panel.ui.ageLineEdit.text == "" and panel.ui.sexComboBox.currentText == "not known"
    assert not panel.results.matrix.cells
    assert panel.logic.assessment is None


@pytest.mark.parametrize(
    ("typed", "years", "shown"),
    [
        ("12.5", 12.5, "12.5"),
        ("0.5", 0.5, "0.5"),
        ("8 months", 8 / 12, "8 months"),
        ("34 years", 34.0, "34 years"),
        ("", -1.0, ""),
    ],
)
def test_an_age_is_what_was_typed(panel, sample, typed, years, shown):
    panel.enter()
    panel._parameterNode.ageYears = 60.0
    assert panel.ui.ageLineEdit.text == "60 years"
    type_into(panel.ui.ageLineEdit, typed)
    assert panel._parameterNode.ageYears == pytest.approx(years)
    assert panel.ui.ageLineEdit.text == shown


@pytest.mark.parametrize(
    ("name", "key", "typed", "value"),
    [("erosionSpinBox", "erosionMm", "1.5", 1.5), ("glucoseSpinBox", "glucoseMmolL", "12.5", 12.5),
     ("fieldStrengthSpinBox", "fieldStrengthT", "2.89", 2.89)],
)  # fmt: skip
def test_a_number_is_what_was_typed(panel, sample, name, key, typed, value):
    """Taken letter by letter, 1 became "1.0 mm" before its .5 was typed."""
    panel.enter()
    type_into(getattr(panel.ui, name), typed)
    assert getattr(panel._parameterNode, key) == pytest.approx(value)


def test_a_number_that_was_not_left_yet_counts_for_apply(panel, sample):
    """On macOS a click on a button does not take the focus from the box that is typed into."""
    panel.enter()
    box, button = panel.ui.erosionSpinBox.qobject, panel.ui.applyButton.qobject
    button.setFocusPolicy(Qt.TabFocus)
    panel.ui.optionsCollapsibleButton.collapsed = False
    box.window().show()
    assert QTest.qWaitForWindowActive(box.window())
    box.setFocus()
    box.selectAll()
    QTest.keyClicks(box, "1.5")
    assert panel._parameterNode.erosionMm != 1.5
    QTest.mouseClick(button, Qt.LeftButton)
    assert panel._parameterNode.erosionMm == 1.5
    assert panel.logic.session.assessment_of(sample.segmentation).settings.erosion_mm == 1.5


def test_what_is_no_age_is_said_and_the_old_one_kept(panel, sample):
    panel.enter()
    type_into(panel.ui.ageLineEdit, "60")
    type_into(panel.ui.ageLineEdit, "sixty")
    assert panel.ui.ageHintLabel.text.startswith("'sixty' is no age; write 34, 12.5, 8 months")
    assert panel._parameterNode.ageYears == 60.0
    type_into(panel.ui.ageLineEdit, "61")
    assert panel.ui.ageHintLabel.text == ""


def test_images_loaded_while_the_panel_is_open_are_recognized(panel):
    panel.enter()
    for name in ("t1_tse_sag", "t2_tirm_sag"):
        volume_to_node(Volume(np.ones((2, 6, 5), np.int16), np.eye(4), name))
    wait()
    assert panel.ui.t1Selector.currentNode().GetName() == "t1_tse_sag"
    assert panel.ui.fsT2Selector.currentNode().GetName() == "t2_tirm_sag"
    volume_to_node(Volume(np.ones((2, 6, 5), np.int16), np.eye(4), "t1_tse_sag later"))
    wait()
    assert panel.ui.t1Selector.currentNode().GetName() == "t1_tse_sag"


def test_of_several_images_of_a_kind_the_sagittal_one_is_chosen_and_said(panel):
    panel.enter()
    thick = {0: np.diag([4.0, 1, 1, 1]), 2: np.diag([1.0, 1, 4, 1])}
    for name, axis in (("t1_tse a", 0), ("t1_tse b", 2), ("t2_tse a", 0), ("t2_tse b", 0)):
        volume_to_node(Volume(np.zeros((5, 6, 7), np.int16), thick[axis], name))
    wait()
    assert panel.ui.t1Selector.currentNode().GetName() == "t1_tse a"
    assert "T1: t1_tse a (by its name, the sagittal one of 2)" in panel.ui.studyLabel.text
    assert panel.ui.t2Selector.currentNode() is None  # two are: the user chooses
    panel.ui.t2Selector.setCurrentNode(slicer.util.getNode("t2_tse b"))
    assert "T2: t2_tse b" in panel.ui.studyLabel.text.splitlines()  # no ground: the user's choice


def test_a_refusal_names_no_option_that_the_panel_has_not(panel, sample):
    applied(panel)
    panel._parameterNode.adcVolume = sample.volumes["T1"]
    wait()
    said = panel.ui.verdictLabel.text
    assert said.endswith("this map is not in 10^-3 mm^2/s; bring the map to its unit first."), said


def test_another_style_recolors_what_was_said(panel, sample):
    from PySide6 import QtGui

    applied(panel)
    panel.results.onClicked(1, 0)
    cell, links = panel.ui.cellLabel.text, panel.ui.recordsLabel.text
    dark = QtGui.QPalette()
    dark.setColor(QtGui.QPalette.Window, QtGui.QColor(40, 40, 40))
    panel.ui.verdictLabel.qobject.setPalette(dark)
    (style,) = slicer.app.slots.values()
    style(dark)
    wait()
    assert "color:#79bcf2" in panel.ui.verdictLabel.text
    assert panel.ui.cellLabel.text == cell and panel.ui.recordsLabel.text == links
    panel.exit()
    style(dark)  # chosen while another module is open
    wait()
    panel.enter()
    assert panel.ui.cellLabel.text == cell and panel.ui.recordsLabel.text == links
    assert "color:#79bcf2" in panel.ui.verdictLabel.text
    panel.cleanup()
    assert not slicer.app.slots


def test_a_dark_panel_has_lighter_words(panel, sample):
    from PySide6 import QtGui

    applied(panel)
    assert "#1f6cae" in panel.ui.verdictLabel.text
    dark = QtGui.QPalette()
    dark.setColor(QtGui.QPalette.Window, QtGui.QColor(40, 40, 40))
    panel.ui.verdictLabel.qobject.setPalette(dark)
    panel.ui.applyButton.click()
    assert "#79bcf2" in panel.ui.verdictLabel.text


def test_only_what_is_outside_has_a_label_of_short_lines_in_sagittal_and_3d_views(panel, sample):
    applied(panel)
    node = sample.segmentation.GetNodeReference("MarrowAssess.labels")
    labels = [node.GetNthControlPointLabel(n) for n in range(node.GetNumberOfControlPoints())]
    assert labels[0] == "L2 PDFF 4.0 % below\nlike pathologic marrow"
    assert not any(label.startswith(("L1 ", "L3 ", "S1 ")) for label in labels)
    assert max(len(line) for label in labels for line in label.split("\n")) <= 26
    display = node.GetDisplayNode()
    yellow = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeYellow")
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    assert display.IsDisplayableInView(yellow.GetID()) and display.GetSliceProjection()
    assert not display.IsDisplayableInView(red.GetID())
    view = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLViewNode")
    assert display.IsDisplayableInView(view.GetID())


def test_every_level_is_named_when_asked_for(panel, sample):
    applied(panel)
    panel.ui.showNamesCheckBox.checked = True
    wait()
    node = sample.segmentation.GetNodeReference("MarrowAssess.labels")
    labels = [node.GetNthControlPointLabel(n) for n in range(node.GetNumberOfControlPoints())]
    assert sorted(labels) == [
        "L1", "L2 PDFF 4.0 % below\nlike pathologic marrow", "L3", "L4", "L5", "S1",
    ]  # fmt: skip


def test_colors_without_a_z_score_have_a_key(panel, sample):
    from MarrowAssessLib.scene.overlay import views_of

    applied(panel)
    key = sample.segmentation.GetNodeReference("MarrowAssess.color.key").GetDisplayNode()
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(key)
    colors = key.GetColorNode()
    names = [colors.GetColorName(n) for n in range(colors.GetNumberOfColors())]
    assert names == ["no verdict", "as expected", "unusual"]
    assert legend.GetVisibility()  # of S1, by its ratios
    labels = sample.segmentation.GetNodeReference("MarrowAssess.labels").GetDisplayNode()
    assert views_of(legend) == views_of(labels) != []  # not in each of four views
    panel.ui.showOverlayCheckBox.checked = False
    assert not legend.GetVisibility()
    panel.ui.showOverlayCheckBox.checked = True
    sample.segmentation.GetSegmentation().RemoveSegment("S1 marrow")
    wait()
    assert not legend.GetVisibility()  # all others have a z-score
    slicer.mrmlScene.RemoveNode(sample.segmentation)
    assert key.GetScene() is None and colors.GetScene() is None


def test_what_is_said_without_a_z_score_stands_behind_a_link(panel, sample):
    applied(panel)
    brief = panel.ui.verdictLabel.text
    assert brief.index("L2 Marrow PDFF 4.0&nbsp;%: below") < brief.index(
        "look like pathologic marrow"
    )
    assert brief.index("Unusual by what is published: L2 T1") < brief.index(" measurements, ")
    assert "of 41 at or below, 40 were" not in brief and "statements without a z-score" in brief
    label = panel.ui.verdictLabel.qobject
    assert label.textInteractionFlags() & Qt.LinksAccessibleByMouse
    label.linkActivated.emit("said")
    assert "at or below 1: of 41 at or below, 40 were" in panel.ui.verdictLabel.text
    panel.ui.verdictLabel.qobject.linkActivated.emit("said")
    assert panel.ui.verdictLabel.text == brief


def test_nothing_offers_to_resample_before_a_grid_differs(panel):
    assert panel.ui.gridRow.qobject.isHidden()


def test_ten_labels_stand_apart(panel, sample):
    from MarrowAssessLib.scene.live_results import LABEL_SEPARATION_MM

    for name in ("L1", "L3", "L4", "L5", "S1"):
        segment = sample.segmentation.GetSegmentation().GetSegment(f"{name} marrow")
        segment.SetTag("MarrowAssess.Doubtful", "1")
    applied(panel)
    node = sample.segmentation.GetNodeReference("MarrowAssess.labels")
    assert node.GetNumberOfControlPoints() == 6
    heights = sorted(node.GetNthControlPointPositionWorld(n)[2] for n in range(6))
    assert np.diff(heights).min() >= LABEL_SEPARATION_MM - 0.1


def test_muscle_placed_at_a_level_has_a_row_of_its_own():
    from MarrowAssessLib.scene.matrix import result_matrix
    from MarrowAssessLib.scene.result_rows import ResultRow

    rows = [
        ResultRow("L3", f"{name} PDFF", value, "", "no reference", None, "", (f"L3 {tissue}",), key)
        for name, tissue, value, key in (
            ("Marrow", "marrow", "36.0 %", "marrow_pdff"),
            ("Muscle", "muscle", "4.0 %", "muscle_pdff"),
        )
    ]
    matrix = result_matrix(rows)
    assert matrix.sites == ("L3", "L3 muscle") and matrix.columns == ("PDFF\n%",)
    assert [matrix.cells[row, 0].text for row in (0, 1)] == ["36.0", "4.0"]


def test_there_is_no_legend_without_a_z_score(panel, sample):
    panel.enter()
    panel.ui.applyButton.click()  # without age
    legend = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLColorLegendDisplayNode")
    assert not legend.GetVisibility()
    type_into(panel.ui.ageLineEdit, "34")
    assert legend.GetVisibility()


def test_measuring_needs_no_package_that_slicer_lacks(panel, sample, monkeypatch):
    """Levels and import ask for what is missing; a region drawn by hand needs nothing."""
    import sys

    from PDFFMapperLib.install import packages

    for name in [one for one in sys.modules if one.split(".")[-1] in ("vertebra", "star_surface")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    asked = []
    monkeypatch.setattr(packages, "missing_packages", lambda: ["numba>=0.60"])
    monkeypatch.setattr(packages, "ensure_packages", asked.append)
    applied(panel)
    assert "L2 Marrow PDFF 4.0&nbsp;%: below" in panel.ui.verdictLabel.text
    assert not asked
    from MarrowAssessLib.panel.words import ask_for_packages

    ask_for_packages(panel.placing.say)
    assert asked == ["MarrowAssess"]
    assert panel.ui.placingLabel.text.startswith("Installing numba>=0.60, once; this takes")


def test_one_press_finds_the_spine_measures_and_shows(panel, sample):
    pytest.importorskip("MarrowAssessLib.placement.spine_column")
    panel.enter()
    panel._parameterNode.segmentation = None
    type_into(panel.ui.ageLineEdit, "34")
    panel.ui.sexComboBox.setCurrentText("M")
    slicer.mrmlScene.RemoveNode(sample.segmentation)
    assert panel.ui.findSpineButton.enabled
    panel.ui.findSpineButton.click()
    wait()
    assert panel.ui.placingLabel.text.startswith("Found: ")
    assert {"L2", "L3", "L4"} <= {row.site for row in panel.results.rows}
    assert "PDFF\n%" in matrix_of(panel)[2]
    panel.ui.undoButton.click()
    assert not drawn_names(panel)


def test_the_first_click_in_an_image_can_be_canceled(panel, sample):
    from MarrowAssessLib.placement import clicks

    clicks._FOUND.clear()
    panel.enter()
    panel._parameterNode.segmentation = panel.logic.addSegmentation(sample.volumes["T1"])
    progress = panel.frame.progress
    panel.frame.progress = lambda part: (panel.ui.applyButton.click(), progress(part))[1]
    panel.ui.placeButton.checked = True
    click(panel, sample.centers_ras["L3"])
    assert panel.ui.placingLabel.text == "Canceled; nothing was placed."
    assert not drawn_names(panel) and panel.ui.placeButton.checked
    panel.frame.progress = progress
    click(panel, sample.centers_ras["L3"])
    assert drawn_names(panel) == {"marrow 1"}


def test_finding_the_spine_can_be_canceled(panel, sample):
    pytest.importorskip("MarrowAssessLib.placement.spine_column")
    panel.enter()
    panel._parameterNode.segmentation = panel.logic.addSegmentation(sample.volumes["T1"])
    progress = panel.frame.progress
    panel.frame.progress = lambda part: (panel.ui.applyButton.click(), progress(part))[1]
    panel.ui.findSpineButton.click()
    assert panel.ui.placingLabel.text == "Canceled; nothing was placed."
    assert not drawn_names(panel)


def test_a_spine_that_is_not_found_leaves_its_reason_in_the_line(panel):
    flat = Volume(np.full((4, 5, 6), 100.0, np.float32), np.eye(4), "t1_femur")
    node = volume_to_node(flat, "t1_femur")
    panel.enter()
    panel._parameterNode.t1Volume = node
    with pytest.raises(ValueError, match="the spine is found where it covers"):
        panel.placing.onFindSpineButton()
    assert "the spine is found where it covers" in panel.ui.placingLabel.text


CUT_ROWS = 31  # of 1.5 mm


def test_finding_the_column_says_why_to_look(panel, sample):
    panel.enter()
    whole = volume_from_node(sample.volumes["T1"])
    rows = whole.array.shape[1] - CUT_ROWS  # from the head: L1 is cut in its lower third
    cut = Volume(whole.array[:, -rows:], whole.ijk_to_ras.copy(), "T1")
    cut.ijk_to_ras[:3, 3] += CUT_ROWS * whole.ijk_to_ras[:3, 1]
    panel._parameterNode.t1Volume = volume_to_node(cut, "T1 cut")
    panel._parameterNode.segmentation = panel.logic.addSegmentation(panel._parameterNode.t1Volume)
    panel._parameterNode.placeSite = "L3"
    panel.ui.findColumnButton.checked = True
    said = []
    progress = panel.frame.progress
    panel.frame.progress = lambda part: said.append(panel.ui.placingLabel.text) or progress(part)
    click(panel, sample.centers_ras["L3"])
    assert said[0] == "Finding the levels; Cancel stands in for Apply."
    doubts = segments.doubts(panel._parameterNode.segmentation)
    assert doubts == {"L1 marrow": ["The body is cut by the edge of the image."]}
    assert "Look at: L1." in panel.ui.placingLabel.text
    assert panel.ui.doubtLabel.text.startswith("Doubtful: L1 marrow. The body is cut by the edge")


@pytest.fixture
def column(panel, sample):
    """The panel after the column was found from a click into L3."""
    panel.enter()
    panel._parameterNode.segmentation = panel.logic.addSegmentation(sample.volumes["T1"])
    panel._parameterNode.placeSite = "L3"
    panel.ui.findColumnButton.checked = True
    click(panel, sample.centers_ras["L3"])
    assert panel.ui.placingLabel.text.startswith("Found: ")
    panel.ui.placeButton.checked = True
    return panel


def drawn_names(panel):
    segments = panel._parameterNode.segmentation.GetSegmentation()
    return {segments.GetSegment(one).GetName() for one in segments.GetSegmentIDs()}


def test_a_second_click_renews_what_hangs_on_its_body_and_says_so(column, sample):
    before = drawn_names(column)
    column._parameterNode.segmentation.GetSegmentation().RemoveSegment("L3-L4 disc")
    click(column, sample.centers_ras["L4"] + [0.0, 4.0, 3.0])
    said = column.ui.placingLabel.text
    assert said.startswith("Placed: L4 marrow.")
    renewed = said.split("Renewed with it: ")[1].split(".")[0].split(", ")
    assert "L4-L5 disc" in renewed and "left psoas muscle" in renewed
    assert "L2-L3 disc" not in renewed and "L3 CSF" not in renewed
    assert "Kept as edited by hand: L3-L4 disc." in said
    assert drawn_names(column) == before - {"L3-L4 disc"}
    column.ui.undoButton.click()  # the click
    column.ui.undoButton.click()  # the column
    assert not drawn_names(column)
    click(column, sample.centers_ras["L3"])
    assert column.ui.placingLabel.text.startswith("Placed: L3 marrow.")
    assert "Renewed" not in column.ui.placingLabel.text


def test_the_column_is_followed_through_levels_and_forgotten_with_scene_or_segmentation(
    column, sample
):
    column.ui.levelsUpButton.click()
    click(column, sample.centers_ras["L3"])
    assert "Renewed with it: L1-L2 disc" in column.ui.placingLabel.text
    column.ui.undoButton.click()
    column.ui.undoButton.click()
    click(column, sample.centers_ras["L3"])
    assert "Renewed with it: L2-L3 disc" in column.ui.placingLabel.text
    found_in = column._parameterNode.segmentation
    column._parameterNode.segmentation = column.logic.addSegmentation(sample.volumes["T1"])
    click(column, sample.centers_ras["L3"])
    assert "Renewed" not in column.ui.placingLabel.text
    assert column.logic.session.column_of(found_in) is not None
    slicer.mrmlScene.Clear(False)
    assert column.logic.session.column_of(found_in) is None


def test_a_click_on_the_wrong_tissue_is_said_and_stays_with_its_numbers(column, sample, tmp_path):
    segmentation = column._parameterNode.segmentation
    psoas = segmentation.GetSegmentCenterRAS("left psoas muscle")
    click(column, psoas)
    assert column.ui.placingLabel.text.startswith("L3 is drawn already, ")
    column.ui.placeSiteLineEdit.text = ""
    click(column, psoas)
    said = column.ui.placingLabel.text
    assert said.startswith("Placed: marrow 1. ")
    caution = said.removeprefix("Placed: marrow 1. ").split(". ")[0]
    assert caution
    rows = [row for row in column.results.rows if row.regions[0] == "marrow 1"]
    assert rows and all(caution in row.details for row in rows)
    table = column.ui.resultsTableView.node.GetTable()
    cautions, regions = (table.GetColumnByName(name) for name in ("Cautions", "Regions"))
    own = [n for n in range(table.GetNumberOfRows()) if regions.GetValue(n) == "marrow 1"]
    assert own and all(caution in cautions.GetValue(n) for n in own)
    column.logic.exportReport(tmp_path)
    for file in ("report.html", "measurements.csv"):
        assert caution in (tmp_path / file).read_text()


def test_a_doubtful_region_has_no_verdict_until_it_is_judged_right(panel, sample, tmp_path):
    from MarrowAssessLib.report.colors import NO_REFERENCE_COLOR

    applied(panel)
    assert "L2 Marrow PDFF 4.0&nbsp;%: below" in panel.ui.verdictLabel.text
    assert panel.ui.doubtRow.qobject.isHidden()
    segment = sample.segmentation.GetSegmentation().GetSegment("L2 marrow")
    segment.SetTag("MarrowAssess.Cautions", '["Its two halves lie apart."]')
    segment.SetTag("MarrowAssess.Doubtful", "1")
    wait()
    said = panel.ui.verdictLabel.text
    assert "L2 Marrow PDFF" not in said and "look like pathologic marrow" not in said
    assert "Doubtful, so without a verdict until you have looked: L2 marrow." in said
    assert not panel.ui.doubtRow.qobject.isHidden()
    assert panel.ui.doubtLabel.text == "Doubtful: L2 marrow. Its two halves lie apart."
    (row,) = [
        one for one in panel.results.rows if (one.site, one.quantity) == ("L2", "Marrow PDFF")
    ]
    assert row.verdict == "doubtful" and row.z is None and "Its two halves" in row.details
    means = [one for one in panel.results.rows if "L2 marrow" in one.regions and one.site != "L2"]
    assert means and all(one.verdict == "doubtful" for one in means)  # VBQ and means of levels
    color = sample.segmentation.GetDisplayNode().GetSegmentColor("L2 marrow")
    assert tuple(color) == pytest.approx(NO_REFERENCE_COLOR, abs=0.01)
    labels = sample.segmentation.GetNodeReference("MarrowAssess.labels")
    texts = [labels.GetNthControlPointLabel(n) for n in range(labels.GetNumberOfControlPoints())]
    assert any(text.startswith("L2") and text.endswith("doubtful") for text in texts)
    panel.logic.exportReport(tmp_path)
    assert "Doubtful: L2 marrow" in (tmp_path / "report.html").read_text()
    assert "pathologic marrow in" not in (tmp_path / "report.html").read_text()
    with (tmp_path / "measurements.csv").open(newline="") as stream:
        written = {(one["quantity"], one["site"]): one for one in csv.DictReader(stream)}
    assert written["marrow_pdff", "L2"]["verdict"] == "doubtful"
    assert written["marrow_pdff", "L2"]["doubtful"] == "L2 marrow"

    panel.ui.rightButton.click()
    wait()
    assert "L2 Marrow PDFF 4.0&nbsp;%: below" in panel.ui.verdictLabel.text
    assert "look like pathologic marrow: L2 marrow" in panel.ui.verdictLabel.text
    assert panel.ui.doubtRow.qobject.isHidden()
    (row,) = [
        one for one in panel.results.rows if (one.site, one.quantity) == ("L2", "Marrow PDFF")
    ]
    assert "Its two halves lie apart. Looked at and judged right." in row.details
    panel.ui.undoButton.click()
    assert panel.ui.doubtLabel.text == "Doubtful: L2 marrow. Its two halves lie apart."


def test_a_region_that_is_placed_with_doubts_is_doubtful_and_a_better_click_ends_it(column, sample):
    column.ui.placeSiteLineEdit.text = ""
    click(column, column._parameterNode.segmentation.GetSegmentCenterRAS("left psoas muscle"))
    said = column.ui.doubtLabel.text
    assert said.startswith("Doubtful: marrow 1. ") and said.endswith("as well: T12 marrow.")
    rows = [one for one in column.results.rows if one.regions[0] == "marrow 1"]
    assert rows and all(one.verdict == "doubtful" for one in rows)
    column.ui.undoButton.click()
    cut = "Doubtful: T12 marrow. The body is cut by the edge of the image."  # by 1 to 2 mm
    assert column.ui.doubtLabel.text == cut


def test_a_painted_body_is_taken_as_one_on_the_console(column, sample):
    with pytest.raises(ValueError, match="Find the column first"):
        load_module("MarrowAssess").MarrowAssessLogic().correctPainted(
            column._parameterNode, "L3 marrow"
        )
    placed = column.logic.correctPainted(column._parameterNode, "L3 marrow")
    assert placed.region.name == "L3 marrow"
    assert {"L2-L3 disc", "L3-L4 disc"} <= {region.name for region in placed.renewed}
    assert column.logic.session.can_undo(column._parameterNode.segmentation)


def test_a_saved_scene_is_shown_as_it_was_left(panel, sample, tmp_path):
    from MarrowAssessLib.scene.files import load_scene, save_scene

    applied(panel)
    wait()  # the sample's images have been taken
    panel._parameterNode.erosionMm = 1.0
    panel._parameterNode.t2Volume = None
    panel.ui.applyButton.click()
    rows = [(row.site, row.quantity, row.value) for row in panel.results.rows]
    save_scene(tmp_path / "scene.mrb")
    load_scene(tmp_path / "scene.mrb")
    assert panel.ui.pdffSelector.currentNode().GetName() == "PDFF"
    assert panel.ui.ageLineEdit.text == "34 years"
    assert panel.ui.erosionSpinBox.value == 1.0
    assert [(row.site, row.quantity, row.value) for row in panel.results.rows] == rows
    assert "L2 Marrow PDFF 4.0&nbsp;%: below" in panel.ui.verdictLabel.text
    assert panel.ui.verdictLabel.text.endswith("As saved with the scene; Apply measures again.")
    assert panel.ui.showChartButton.enabled and not panel.ui.exportButton.enabled
    panel._parameterNode.segmentation.GetSegmentation().RemoveSegment("L2 marrow")
    wait()  # an edit measures again, as it did before
    assert panel._parameterNode.t2Volume is None  # what was not chosen is not chosen by itself
    assert panel.ui.exportButton.enabled
    assert "L2" not in shown_pdff(panel)


def test_another_segmentation_shows_its_own_results(panel, sample):
    applied(panel)
    other = panel.logic.addSegmentation(sample.volumes["T1"])
    labels = sample.segmentation.GetNodeReference("MarrowAssess.labels")
    assert labels.GetDisplayVisibility()
    panel.ui.segmentationSelector.setCurrentNode(other)
    assert panel.ui.verdictLabel.text.startswith("No assessment yet")
    assert not panel.ui.exportButton.enabled
    assert not labels.GetDisplayVisibility()  # else labels of both would lie on each other
    panel.ui.segmentationSelector.setCurrentNode(sample.segmentation)
    assert labels.GetDisplayVisibility()
    assert "L2 Marrow PDFF" in panel.ui.verdictLabel.text
    assert panel.ui.exportButton.enabled


def test_the_copied_line_does_in_the_console_what_the_panel_does(panel, sample, monkeypatch):
    monkeypatch.setattr(slicer.util, "showStatusMessage", lambda *_: None, raising=False)
    point = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    point.AddControlPoint(*sample.centers_ras["L3"], "T10 marrow")
    applied(panel)
    panel._parameterNode.erosionMm = 1.5
    panel.ui.applyButton.click()
    panel.ui.copyButton.click()
    console = {"slicer": slicer}
    exec(APPLICATION.clipboard().text(), console)
    texts = [
        [r.text for r in one.results] for one in (console["assessment"], panel.logic.assessment)
    ]
    assert texts[0] == texts[1]
    assert console["assessment"].settings.erosion_mm == 1.5
    assert console["assessment"].study.sex == "M"


def test_maps_that_are_handed_over_bring_the_rest_of_the_study(panel, sample):
    from PDFFMapperLib.scene.volumes import set_fact

    made = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "PDFF of the echoes")
    made.CopyContent(sample.volumes["PDFF"])
    set_fact(made, "Map", "PDFF")
    logic = load_module("MarrowAssess").MarrowAssessLogic()
    assert logic.chooseMaps(logic.getParameterNode(), [made])
    panel.enter()
    assert panel.ui.pdffSelector.currentNode() is made
    assert panel.ui.t1Selector.currentNode() is sample.volumes["T1"]
    assert panel.ui.segmentationSelector.currentNode() is sample.segmentation


SELF_TESTS = [
    "assess_of_sample", "segment_follows", "markup_follows", "placing", "import_of_labels",
    "report", "saved_scene", "panel",
]  # fmt: skip


@pytest.mark.parametrize("name", SELF_TESTS)
def test_the_desktop_s_self_test_holds_against_stand_ins(panel, name, tmp_path, monkeypatch):
    """Its code runs; that it passes in the desktop is for the desktop to say."""
    from MarrowAssessLib.scene import files as scene

    for function, stand_in in {
        "tempDirectory": lambda: str(tmp_path),
        "saveScene": lambda path: scene.save_scene(path) is None,
        "loadScene": lambda path: scene.load_scene(path) is None,
        "getModuleWidget": lambda module: panel,
        "mainWindow": lambda: None,
    }.items():
        monkeypatch.setattr(slicer.util, function, stand_in, raising=False)
    case = load_module("MarrowAssess").MarrowAssessTest()
    case.setUp()
    from MarrowAssessLib.panel import self_test

    getattr(self_test, name)(case)


def ute_nodes(tibia):
    """The first and a late echo of a tibia in the scene, chosen in PDFFMapper's panel."""
    return [volume_to_node(one) for one in tibia.volumes(3, (0.032, 2.2), 3)]


def numbers_of(node):
    """The rows of a table of regions, by region and quantity: value and ends."""
    table = table_of(node).GetTable()
    rows = [[table.GetValue(n, k) for k in range(8)] for n in range(table.GetNumberOfRows())]
    return {
        (row[0].ToString(), row[2].ToString()): tuple(one.ToDouble() for one in row[3:6])
        for row in rows
    }


def test_a_cortex_is_found_edited_and_fitted_again_in_the_panel(mapper, tibia):
    ute_nodes(tibia)
    mapper.enter()
    mapper.ui.uteMethod.setCurrentText("Cortex: thickness, area, PI")
    mapper.ui.applyButton.click()
    said, parameters = mapper.ui.statusLabel.text, mapper.frame.parameters
    assert "Numbers of the bone: table 'Numbers (cortex)'. bone, thickness: " in said
    found = numbers_of(parameters.mapNodes[0])
    _, lower, upper = found["bone", "thickness"]
    assert lower < tibia.thickness_mm < upper
    (drawn,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    segment = drawn.GetSegmentation().GetNthSegment(0)
    assert segment.GetName() == "Cortex"
    mask = masks_of_segments(drawn, volume_from_node(parameters.uteNodes[0]))["Cortex"]
    assert (mask == tibia.share()).mean() > 0.99
    # A painted change: a stroke into the marrow, as by Segment Editor.
    voxels = vtk_to_numpy(segment.GetRepresentation("Binary labelmap").GetPointData().GetScalars())
    cortex = voxels.copy()
    voxels.reshape(mask.shape)[:, 20:26, 10:19] = 1
    mapper.ui.uteDrawn.setCurrentNode(drawn)
    before = parameters.mapNodes[0]
    mapper.ui.applyButton.click()
    assert mapper.frame.parameters.mapNodes[0] is not before
    again = numbers_of(mapper.frame.parameters.mapNodes[0])
    assert again["bone", "thickness"] == pytest.approx(found["bone", "thickness"], rel=0.01)
    voxels[:] = 0  # not a ring any more
    voxels.reshape(mask.shape)[:, 20:24, :24] = 1
    with pytest.raises(ValueError, match="encloses no marrow cavity"):
        mapper.onApplyButton()
    voxels[:] = cortex


def test_segments_are_the_regions_of_ute_in_the_panel(mapper, tibia):
    first, _ = ute_nodes(tibia)
    whole = np.repeat(tibia.share()[None], 3, axis=0)
    near = whole & (np.arange(48)[:, None] < 24)
    nodes = segments_node({"whole": whole, "near": near}, first)
    mapper.enter()
    mapper.ui.uteMask.setCurrentNode(nodes)
    mapper.ui.applyButton.click()
    made = mapper.frame.parameters.mapNodes[0]
    found = numbers_of(made)
    data = ute_series([volume_from_node(one) for one in mapper.frame.parameters.uteNodes], NO_MORE)
    for name, mask in (("whole", whole), ("near", near)):
        (row, *_) = porosity_index(data, mask)
        ends = row.value, row.lower, row.upper
        assert found[name, "PI"] == pytest.approx(ends)
    outside = np.isnan(slicer.util.arrayFromVolume(made))
    assert outside[~whole].all() and outside[whole].mean() < 0.1
    # A region without a number keeps its row with the reason; none at all is refused.
    air = np.zeros_like(whole)
    air[:, :3, :3] = True
    nodes.GetSegmentation().RemoveSegment("near")
    add_segment(nodes, "air", air, first)
    mapper.ui.applyButton.click()
    table = table_of(mapper.frame.parameters.mapNodes[0]).GetTable()
    assert (
        "times the noise; 5 are needed" in table.GetValue(table.GetNumberOfRows() - 1, 7).ToString()
    )
    nodes.GetSegmentation().RemoveSegment("whole")
    with pytest.raises(ValueError, match="Region air: its signal"):
        mapper.onApplyButton()
    slicer.mrmlScene.RemoveNode(nodes)
    assert mapper.frame.parameters.uteMask is None


def test_a_curve_drawn_in_the_scene_is_a_region_of_ute(mapper, tibia):
    first, _ = ute_nodes(tibia)
    grid = volume_from_node(first)
    curve = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode", "front")
    for corner in ((18.3, 9.6, 1), (29.3, 9.6, 1), (29.3, 40.4, 1), (18.3, 40.4, 1)):
        curve.AddControlPoint(*grid.to_ras(np.array(corner)))
    curve.SetCurveTypeToLinear()
    mapper.enter()
    mapper.ui.uteMask.setCurrentNode(curve)
    mapper.ui.applyButton.click()
    made = mapper.frame.parameters.mapNodes[0]
    inside = np.zeros(grid.array.shape, bool)
    inside[1, 10:41, 19:30] = True
    data = ute_series([volume_from_node(one) for one in mapper.frame.parameters.uteNodes], NO_MORE)
    (row, *_) = porosity_index(data, inside)
    ends = row.value, row.lower, row.upper
    assert numbers_of(made)["front", "PI"] == pytest.approx(ends)
    assert np.isnan(slicer.util.arrayFromVolume(made))[~inside].all()
    slicer.mrmlScene.RemoveNode(curve)
    assert mapper.frame.parameters.uteMask is None


def test_segments_that_are_no_voxels_of_the_image_are_refused(tibia):
    first, _ = ute_nodes(tibia)
    grid, whole = volume_from_node(first), np.repeat(tibia.share()[None], 3, axis=0)
    node = segments_node({"bone": whole}, first)
    first.SetSpacing(0.4, 0.5, 3.0)
    with pytest.raises(ValueError, match="another voxel grid"):
        masks_of_segments(node, volume_from_node(first))
    first.SetSpacing(0.5, 0.5, 3.0)
    origin = first.GetOrigin()
    first.SetOrigin(origin[0] + 13.0, *origin[1:])  # 26 columns on
    with pytest.raises(ValueError, match=r"\d+ voxels of segment 'bone' lie outside"):
        masks_of_segments(node, volume_from_node(first))
    first.SetOrigin(origin)
    segment = node.GetSegmentation().GetSegment("bone")
    segment.SetName("marrow")
    add_segment(node, "marrow 2", whole, first)
    node.GetSegmentation().GetSegment("marrow 2").SetName("marrow")
    with pytest.raises(ValueError, match="Two segments are called 'marrow'"):
        masks_of_segments(node, grid)
    node.GetSegmentation().RemoveAllSegments()
    with pytest.raises(ValueError, match="holds no segment"):
        masks_of_segments(node, grid)
    add_segment(node, "empty", np.zeros_like(whole), first)
    with pytest.raises(ValueError, match="no voxel inside"):
        masks_of_segments(node, grid)
    node.GetSegmentation().GetSegment("empty").RemoveAllRepresentations()
    with pytest.raises(ValueError, match="has no voxels"):
        masks_of_segments(node, grid)


def segments_node(masks, like):
    """A segmentation of masks, drawn on a volume node's grid."""
    (name, mask), *others = masks.items()
    grid = volume_from_node(like)
    node = mask_to_node(grid.with_array(mask.astype(np.uint8), name), like)
    for name, mask in others:
        add_segment(node, name, mask, like)
    return node


def add_segment(node, name, mask, like):
    other = mask_to_node(volume_from_node(like).with_array(mask.astype(np.uint8), name), like)
    node.GetSegmentation().CopySegmentFromSegmentation(other.GetSegmentation(), name)
    slicer.mrmlScene.RemoveNode(other)


def test_a_mapper_that_is_reloaded_while_it_is_open_is_connected(desktop):
    volume_to_node(Volume(np.zeros((3, 4, 5), np.float32), np.eye(4), "x", {"EchoTime": 1.2}))
    reloaded = desktop.make_widget(load_module("PDFFMapper"), "PDFFMapper", entered=True)
    assert reloaded.frame.parameters and "There is no scene" not in reloaded.ui.applyButton.toolTip
    reloaded.cleanup()


def test_a_tabs_first_opening_leaves_the_words_of_the_others(mapper):
    mapper.enter()
    words = mapper.ui.fatSpectrum.currentText, mapper.ui.readout.currentText
    assert words == ("Marrow, nine peaks (Ren 2008)", "Found")
    mapper.ui.tabWidget.setCurrentIndex(1)
    assert (mapper.ui.fatSpectrum.currentText, mapper.ui.readout.currentText) == words


def test_mapper_lists_frames_and_takes_typed_values(mapper):
    load_module("MarrowAssess").MarrowAssessLogic().loadMapperSample()
    mapper.enter()
    assert mapper.tabs[0].table.rowCount == 12
    assert "as far as the images allow: PDFF, FF_magnitude, R2star" in mapper.ui.applyButton.toolTip
    assert mapper.tabs[0].table.item(0, 2).text() == "1.2"
    mapper.tabs[0].table.item(0, 2).setText("1.25")
    assert mapper.logic.frames(mapper.frame.parameters.echoNodes)[0].volume.attributes[
        "EchoTime"
    ] == pytest.approx(1.25)
    mapper.tabs[0].table.item(0, 2).setText("soon")
    assert "'soon' is not a number" in mapper.ui.statusLabel.text
    assert mapper.tabs[0].table.item(0, 2).text() == "1.25"
    assert mapper.tabs[1].table is None  # rows are made when a tab comes to the front first
    mapper.ui.tabWidget.setCurrentIndex(1)
    assert mapper.tabs[1].table.rowCount == 10


def test_mapper_says_what_is_missing_and_follows_its_tabs(mapper):
    mapper.enter()
    assert not mapper.ui.applyButton.enabled
    assert mapper.ui.applyButton.toolTip.startswith("Choose Echoes: Volumes of one multi-echo")
    mapper.ui.tabWidget.setCurrentIndex(1)
    assert mapper.ui.applyButton.toolTip.startswith("Choose Diffusion images: ")


def shown(mapper, name):
    widget = mapper.tabs[0].table if name == "table" else vars(mapper.ui).get(name)
    return widget is not None and not widget.qobject.isHidden()


def test_a_number_that_was_not_left_yet_counts_for_the_mapper(mapper):
    from PDFFMapperLib.images.volume import Volume
    from PDFFMapperLib.scene.volumes import volume_to_node

    mapper.enter()
    parameters = mapper.frame.parameters
    mapper.ui.dixonInput.setCurrentText("water and fat")
    signal = np.full((4, 12, 12), 500.0, np.float32)
    for name, share in (("water", 0.6), ("fat", 0.4)):
        node = volume_to_node(Volume(share * signal, np.eye(4), name))
        setattr(parameters, f"{name}Volume", node)
    mapper.ui.correctT1.checked = True
    parameters.repetitionTimeMs, parameters.t1WaterMs, parameters.t1FatMs = 10.0, 1000.0, 300.0
    box, button = mapper.ui.flipAngleDeg.qobject, mapper.ui.applyButton.qobject
    button.setFocusPolicy(Qt.TabFocus)
    box.window().show()
    assert QTest.qWaitForWindowActive(box.window())
    box.setFocus()
    box.selectAll()
    QTest.keyClicks(box, "8.5")
    assert parameters.flipAngleDeg != 8.5
    QTest.mouseClick(button, Qt.LeftButton)
    assert parameters.flipAngleDeg == 8.5
    assert parameters.mapNodes[0]


def test_mapper_shows_the_rows_that_the_images_need(mapper):
    mapper.enter()
    assert shown(mapper, "table") and shown(mapper, "fatSpectrum")
    assert not shown(mapper, "waterVolume") and not shown(mapper, "t1WaterMs")
    complex_echoes, parameters = WATER_FAT.recipes[0], mapper.frame.parameters
    assert shown(mapper, "leaveOut")
    assert "leave_out" not in chosen_settings(parameters, complex_echoes)
    mapper.ui.leaveOut.text = "1,6"
    assert chosen_settings(parameters, complex_echoes)["leave_out"] == "1,6"
    mapper.ui.dixonInput.setCurrentText("water and fat")
    assert shown(mapper, "waterVolume") and shown(mapper, "fatVolume")
    assert not shown(mapper, "table") and not shown(mapper, "fatSpectrum")
    assert mapper.ui.applyButton.toolTip.startswith("Choose Water: ")
    mapper.ui.correctT1.checked = True
    assert shown(mapper, "t1WaterMs") and shown(mapper, "flipAngleDeg")
    mapper.ui.dixonInput.setCurrentText("in and opposed phase")
    assert shown(mapper, "secondInPhaseVolume") and shown(mapper, "table")
    mapper.ui.tabWidget.setCurrentIndex(1)
    mapper.ui.diffusionModel.setCurrentText("IVIM, segmented")
    assert shown(mapper, "thresholdB") and not shown(mapper, "lowestB")


def test_every_way_of_ute_shows_its_own_rows(mapper):
    mapper.enter()
    mapper.ui.tabWidget.setCurrentIndex([tab.family.command for tab in mapper.tabs].index("ute"))
    rows = {"uteSigma", "uteSameGain", "utePoint", "utePsf", "uteT1Bound", "uteT2starFat", "uteTr"}
    rows |= {"uteMtProtocol", "uteDensityProtocol", "uteMask", "uteDrawn", "uteB1Map"}
    for choice, own in (
        ("Porosity index", {"uteSigma", "uteMask"}),
        ("Bound and pore water, two T2*", {"uteSigma", "uteT1Bound", "uteTr", "uteMask"}),
        ("Bound water, pore water and fat", {"uteSigma", "uteT2starFat", "uteMask"}),
        (
            "Density against a reference (IR-UTE, STAIR, 31P)",
            {"uteSigma", "uteDensityProtocol", "uteMask"},
        ),
        ("Macromolecular fraction (UTE-MT)", {"uteSigma", "uteMtProtocol", "uteMask", "uteB1Map"}),
        ("Cortex: thickness, area, PI", {"uteSigma", "utePoint", "utePsf", "uteDrawn"}),
        ("Suppression ratio", {"uteSigma", "uteSameGain", "uteMask"}),
        ("Magnetization transfer ratio", {"uteSigma", "uteSameGain", "uteMask"}),
    ):
        mapper.ui.uteMethod.setCurrentText(choice)
        assert {row for row in rows if shown(mapper, row)} == own, choice


def ute_echo(te_ms, **facts):
    attributes = {"EchoTime": te_ms, "FlipAngle": 8.0, "RepetitionTime": 12.0, **facts}
    values = np.full((4, 5, 6), 100.0 - te_ms, np.float32)
    return volume_to_node(Volume(values, np.eye(4), "ute", attributes), f"UTE {te_ms:g}")


def test_ute_echoes_are_chosen_when_a_study_is_opened(mapper):
    late, first = ute_echo(2.2), ute_echo(0.05)
    other = ute_echo(4.6, FlipAngle=15.0)  # of another sequence
    mapper.enter()
    wait()
    assert list(mapper.frame.parameters.uteNodes) == [first, late]
    assert other not in list(mapper.frame.parameters.uteNodes)
    ute = next(tab for tab in mapper.tabs if tab.family.command == "ute")
    assert ute.missing() == ""
    assert ute.table.rowCount == 2
    assert mapper.tab() is ute and mapper.ui.applyButton.enabled
    mapper.ui.tabWidget.currentIndex = 1  # another one is opened to choose its images
    mapper.exit()
    mapper.enter()
    assert mapper.ui.tabWidget.currentIndex == 1


@pytest.mark.parametrize(
    "echoes",
    [
        [(1.2, {}), (2.4, {})],  # no ultrashort one
        [(0.05, {}), (0.05, {}), (2.2, {})],  # one may be suppressed
        [
            (0.05, {}),
            (2.2, {}),
            (0.05, {"FlipAngle": 3.0}),
            (2.2, {"FlipAngle": 3.0}),
        ],  # two series
        [(0.05, {}), (2.2, {"ImageComponent": "phase"})],
        [(0.05, {})],
    ],
)
def test_what_may_be_no_ute_series_is_chosen_by_hand(mapper, echoes):
    for te_ms, facts in echoes:
        ute_echo(te_ms, **facts)
    mapper.enter()
    wait()
    assert not list(mapper.frame.parameters.uteNodes)


def rows(tab):
    """The names of a tab's rows from top to bottom, of methods that are not shown as well."""
    names = {widgets[-1].qobject: name for name, widgets in tab._rows.items()}
    found = []
    for form in (tab.page.qobject.layout(), tab._section_form.qobject):
        # What spans a row is its field as well.
        fields = [form.itemAt(n, QFormLayout.FieldRole) for n in range(form.rowCount())]
        found.append([one.widget() for one in fields])
    assert found[0].pop() is tab._section.qobject  # the advanced ones stand last
    return [names[one] for one in found[0] + found[1]]


def test_rows_are_made_with_their_method_and_keep_their_order(mapper):
    mapper.enter()
    tab = mapper.tabs[0]
    assert "waterVolume" not in vars(mapper.ui) and "t1WaterMs" not in vars(mapper.ui)
    first = rows(tab)
    assert first[:4] == ["method", "echoes", "frames", "field_strength_t"]
    mapper.ui.correctT1.checked = True
    for recipe in reversed(WATER_FAT.recipes):
        mapper.ui.dixonInput.setCurrentText(recipe.choice)
    assert [row for row in rows(tab) if row in first] == first
    inputs = [one.name for one in WATER_FAT.inputs]
    options = [one.name for one in WATER_FAT.options if one.parameter]
    folded = [one.name for one in WATER_FAT.options if one.parameter and one.advanced]
    open_ones = [one for one in options if one not in folded]
    assert rows(tab) == ["method", *inputs, "frames", *open_ones, *folded]


def test_what_rows_are_made_by_is_imported_once_slicer_has_started(desktop, monkeypatch):
    from PDFFMapperLib import panel as modules

    for name in ("folder_row", "recipe_tab"):
        monkeypatch.delitem(sys.modules, f"{modules.__name__}.{name}", raising=False)
        monkeypatch.delattr(modules, name, raising=False)
    load_module("PDFFMapper").onStartupCompleted()
    assert modules.folder_row.FolderRow and modules.recipe_tab.RecipeTab


def two_nodes():
    """Images of one value in the scene."""
    image = Volume(np.full((4, 12, 12), 100.0, np.float32), np.eye(4))
    return [volume_to_node(image, name) for name in ("one", "other")]


def test_what_is_set_before_its_row_is_made_is_kept_and_shown(mapper):
    water, fat = two_nodes()
    mapper.enter()
    parameters = mapper.frame.parameters
    parameters.waterVolume, parameters.fatVolume = water, fat
    parameters.exchanged, parameters.t1WaterMs, parameters.thresholdB = "leave out", 1200.0, 150.0
    assert "waterVolume" not in vars(mapper.ui)
    mapper.exit()  # a saved scene is opened with another method
    parameters = mapper.logic.getParameterNode()
    parameters.dixonInput, parameters.correctT1 = "water and fat", True
    parameters.diffusionModel = "IVIM, segmented"
    mapper.enter()
    parameters = mapper.frame.parameters
    assert mapper.ui.dixonInput.currentText == "water and fat"
    assert mapper.ui.waterVolume.currentNode() is water and mapper.ui.fatVolume.currentNode() is fat
    assert mapper.ui.exchanged.currentText == "Left out" and mapper.ui.t1WaterMs.value == 1200.0
    mapper.ui.tabWidget.setCurrentIndex(1)
    assert mapper.ui.thresholdB.value == 150.0
    assert (parameters.waterVolume, parameters.fatVolume) == (water, fat)
    assert (parameters.exchanged, parameters.t1WaterMs, parameters.thresholdB) == (
        "leave out", 1200.0, 150.0,
    )  # fmt: skip


def test_images_of_a_hidden_row_are_those_that_are_chosen(mapper):
    first, second = two_nodes()
    mapper.enter()
    parameters = mapper.frame.parameters
    parameters.echoNodes = [first]
    parameters.dixonInput = "water and fat"
    parameters.echoNodes = [second]  # by code, while its row is hidden
    mapper.tabs[0].onNodesChecked()  # as when Slicer takes a node out of its list
    assert list(parameters.echoNodes) == [second]


def test_a_row_that_was_made_later_follows_and_is_followed(mapper):
    mapper.enter()
    for opened in ("at once", "again"):
        mapper.ui.dixonInput.setCurrentText("water and fat")
        for title, value in (("Left out", "leave out"), ("Put right where sure", "repair")):
            mapper.ui.exchanged.setCurrentText(title)
            assert mapper.frame.parameters.exchanged == value, opened
        mapper.frame.parameters.exchanged = "as given"
        assert mapper.ui.exchanged.currentText == "Not looked for", opened
        mapper.ui.dixonInput.setCurrentText("echoes")
        mapper.ui.fatSpectrum.setCurrentText("Three peaks (Yu 2008)")
        assert mapper.frame.parameters.fatSpectrum == "yu_3", opened
        mapper.exit()
        mapper.enter()
    mapper.exit()
    mapper.ui.exchanged.setCurrentText("Left out")  # connected with nothing
    assert mapper.logic.getParameterNode().exchanged == "as given"


def test_every_option_of_the_recipes_has_its_row(mapper):
    mapper.enter()
    for n, tab in enumerate(mapper.tabs):
        mapper.ui.tabWidget.setCurrentIndex(n)
        for recipe in tab.family.recipes:
            getattr(mapper.ui, tab.family.parameter).setCurrentText(recipe.choice)
            for option in recipe.options:
                if option.only_with:
                    switches = {one.name: one.parameter for one in recipe.options}
                    getattr(mapper.ui, switches[option.only_with]).checked = True
        for option in tab.family.options:
            if option.parameter:
                widget = getattr(mapper.ui, option.parameter)
                assert widget.toolTip == option.help
                if option.type == "choice":
                    titles = [widget.itemText(n) for n in range(widget.count)]
                    assert titles == [title for _, title in option.choices]
                if option.type == "number":
                    assert widget.suffix.strip() == option.unit.replace("^2", "²")
    # Saved scenes hold these words; they are read again.
    assert mapper.frame.parameters.fatSpectrum == "ren_marrow"
    assert mapper.ui.fatSpectrum.currentText == "Marrow, nine peaks (Ren 2008)"


def test_mapper_takes_typed_echo_times_of_two_points_and_maps_them(mapper):
    signal = np.full((4, 12, 12), 100.0, np.float32)
    for name, array in (("in phase", signal), ("opposed phase", 0.4 * signal)):
        volume_to_node(Volume(array, np.eye(4), name, {"MagneticFieldStrength": 1.5}))
    mapper.enter()
    assert mapper.ui.dixonInput.currentText == "in and opposed phase"
    assert mapper.tabs[0].table.rowCount == 2
    mapper.tabs[0].table.item(0, 2).setText("4.6")
    mapper.tabs[0].table.item(1, 2).setText("2.3")
    mapper.ui.applyButton.click()
    assert "FF_water_dominant" in mapper.ui.statusLabel.text
    assert mapper.ui.sendButton.enabled
    made = mapper.frame.parameters.mapNodes
    assert np.allclose(slicer.util.arrayFromVolume(made[0]), 30, atol=0.1)


def test_mapper_needs_the_t1_that_it_corrects_with(mapper):
    for name in ("x_dixon_W", "x_dixon_F"):
        volume_to_node(Volume(np.full((4, 12, 12), 100.0, np.float32), np.eye(4), name))
    mapper.enter()
    assert mapper.ui.applyButton.enabled
    mapper.ui.correctT1.checked = True
    assert mapper.ui.applyButton.toolTip.startswith("Choose T1 of water: ")
    mapper.ui.t1WaterMs.value, mapper.ui.t1FatMs.value = 1200.0, 350.0
    assert mapper.ui.applyButton.enabled


def test_maps_can_be_sent_after_the_scene_is_opened_again(mapper):
    mapper.enter()
    facts = {"Map": "PDFF"}
    made = volume_to_node(Volume(np.ones((1, 1, 2), np.float32), np.eye(4), "PDFF", facts))
    mapper.frame.parameters.mapNodes = [made]
    mapper.exit()
    mapper.enter()
    assert mapper.ui.sendButton.enabled
    made = volume_to_node(Volume(np.ones((1, 1, 2), np.float32), np.eye(4), "PI", {"Map": "PI"}))
    mapper.frame.parameters.mapNodes = [made]
    assert not mapper.ui.sendButton.enabled
    assert mapper.ui.sendButton.toolTip.startswith("None of these maps is one")


def test_a_saved_scene_keeps_the_images_that_were_chosen(mapper, tmp_path):
    from MarrowAssessLib.scene.files import load_scene, save_scene

    load_module("MarrowAssess").MarrowAssessLogic().loadMapperSample()
    mapper.enter()
    chosen = [node.GetName() for node in mapper.frame.parameters.echoNodes]
    save_scene(tmp_path / "scene.mrb")
    scene = slicer.mrmlScene

    def empties(*_):  # as Slicer's list of nodes to check does while a scene is read
        tab = mapper.tabs[0]
        tab._check(tab.widgets["echoNodes"], [])
        tab.onNodesChecked()

    events = (scene.NodeAddedEvent, scene.EndImportEvent, scene.EndBatchProcessEvent)
    observed = [scene.AddObserver(event, empties) for event in events]
    load_scene(tmp_path / "scene.mrb")
    for one in observed:
        scene.RemoveObserver(one)
    assert len(chosen) == 12
    assert [node.GetName() for node in mapper.frame.parameters.echoNodes] == chosen
    assert mapper.ui.applyButton.enabled


def test_mapper_maps_diffusion_cancels_and_sends(mapper, monkeypatch):
    monkeypatch.setattr(slicer.util, "selectModule", lambda *_: None, raising=False)
    sample = load_module("MarrowAssess").MarrowAssessLogic().loadMapperSample()
    mapper.enter()
    mapper.ui.tabWidget.setCurrentIndex(1)
    before = slicer.mrmlScene.GetNumberOfNodes()
    progress = mapper.frame.progress
    mapper.frame.progress = lambda part: (mapper.ui.applyButton.click(), progress(part))[1]
    mapper.ui.applyButton.click()
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert mapper.ui.statusLabel.text == "Canceled; nothing was changed."
    shown, front = [], mapper.ui.tabWidget.setCurrentIndex
    monkeypatch.setattr(slicer.util, "setSliceViewerLayers", lambda **layers: shown.append(layers))
    mapper.frame.progress = lambda part: (front(0), progress(part))[1]  # another tab meanwhile
    mapper.ui.applyButton.click()
    mapper.frame.progress = progress
    assert mapper.ui.statusLabel.text.startswith("Made beside the images: ADC, ")
    assert shown[0]["foreground"].GetName() == "ADC"
    assert shown[0]["background"] is sample.diffusion[0]
    mapper.ui.sendButton.click()
    chosen = load_module("MarrowAssess").MarrowAssessLogic().getParameterNode()
    assert chosen.adcVolume.GetName() == "ADC"
    assert sample.diffusion[0] is not None


def two_points():
    nodes = []
    for name, share in (("in phase", 1.0), ("opposed phase", 0.4)):
        array = np.full((4, 12, 12), 100.0 * share, np.float32)
        nodes.append(volume_to_node(Volume(array, np.eye(4)), name))
    return nodes


def test_what_was_said_of_the_maps_goes_with_their_inputs(mapper):
    two_points()
    mapper.enter()
    mapper.ui.applyButton.click()
    said = mapper.ui.statusLabel.text
    assert said.startswith("Made beside the images: FF_water_dominant")
    assert "576 voxels fitted, 576 with confidence" in said
    mapper.ui.tabWidget.setCurrentIndex(1)
    assert mapper.ui.statusLabel.text == ""
    mapper.ui.tabWidget.setCurrentIndex(0)
    mapper.ui.applyButton.click()
    assert mapper.ui.statusLabel.text == said
    mapper.ui.correctT1.checked = True
    assert mapper.ui.statusLabel.text == ""


def test_a_mapper_that_fails_does_not_say_that_it_computes(mapper):
    _, opposed_phase = two_points()
    mapper.enter()
    opposed_phase.SetSpacing(2, 2, 2)
    with pytest.raises(ValueError, match="grid"):
        mapper.onApplyButton()
    assert mapper.ui.statusLabel.text == "" and mapper.ui.applyButton.text == "Apply"


def test_the_mapper_names_its_rows_where_the_command_names_options(mapper):
    for te_ms in (0.05, 2.2):
        ute_echo(te_ms)
    mapper.enter()
    wait()
    with pytest.raises(ValueError, match=r"give it \(Noise SD\), or say how .* \(Receivers summed"):
        mapper.onApplyButton()
    said = mapper.tab().in_titles("Name it (--series) or take one (--method echo-ratio).")
    assert said == "Name it or take one (Method echo-ratio)."  # what has no row is left out
    for words in (NO_BONE, NO_RING, NO_DARK_RING):
        assert "--" not in mapper.tab().in_titles(words)


def test_advanced_options_are_folded_and_tell_what_was_changed(mapper):
    mapper.enter()
    ui, parameters = mapper.ui, mapper.frame.parameters
    page, section = mapper.tabs[0].page, ui.pdffAdvanced
    assert section.collapsed and section.text == "Advanced"
    assert ui.fatSpectrum.isVisibleTo(page) and not ui.readout.isVisibleTo(page)
    section.collapsed = False
    assert ui.readout.isVisibleTo(page) and not hasattr(ui, "t1WaterMs")
    ui.readout.setCurrentText("Bipolar")
    ui.leaveOut.setText("6")
    assert section.text == "Advanced, 2 changed"
    ui.dixonInput.setCurrentText("water and fat")
    assert section.text == "Advanced" and ui.exchanged.isVisibleTo(page)
    assert not ui.readout.isVisibleTo(page)
    ui.dixonInput.setCurrentText("echoes")
    section.collapsed = True
    mapper.exit()
    mapper.enter()  # as a scene that is opened again
    assert section.text == "Advanced, 2 changed" and parameters.readout == "bipolar"
    ui.tabWidget.setCurrentIndex(1)
    assert not hasattr(ui, "ivimAdvanced")  # none of its options is


def test_a_refusal_opens_the_advanced_options_that_it_names(mapper):
    for te_ms in (0.05, 2.2):
        ute_echo(te_ms)
    mapper.enter()
    wait()
    assert mapper.ui.uteAdvanced.collapsed
    with pytest.raises(ValueError, match="Noise SD"):
        mapper.onApplyButton()
    assert not mapper.ui.uteAdvanced.collapsed


def test_mapper_shows_nothing_of_the_patient_before(mapper):
    two_points()
    mapper.enter()
    mapper.ui.applyButton.click()
    assert mapper.tabs[0].table.rowCount == 2 and mapper.ui.sendButton.enabled
    slicer.mrmlScene.Clear(False)
    assert mapper.ui.statusLabel.text == ""
    assert mapper.tabs[0].table.rowCount == 0
    assert not mapper.ui.sendButton.enabled and not mapper.ui.applyButton.enabled
    mapper.exit()
    assert mapper.ui.applyButton.toolTip == "There is no scene."


def test_images_loaded_while_the_mapper_is_open_are_chosen(mapper, desktop):
    mapper.enter()
    in_phase, _ = two_points()
    desktop.wait(0.5)
    assert mapper.frame.parameters.inPhaseVolume is in_phase
    assert mapper.ui.dixonInput.currentText == "in and opposed phase"
    assert mapper.ui.applyButton.enabled


def test_images_loaded_beside_the_chosen_ones_are_offered(mapper, desktop):
    """Dropped files come by themselves: nothing is given up or mixed unasked."""
    mapper.enter()
    echo = Volume(np.full((2, 3, 4), 9.0, np.float32), np.eye(4), "echo 1.2 ms", {"EchoTime": 1.2})
    first = volume_to_node(echo, "mgre echo 1")
    desktop.wait(0.5)
    parameters, label = mapper.frame.parameters, mapper.ui.statusLabel
    assert list(parameters.echoNodes) == [first] and label.text == ""
    second = volume_to_node(echo, "mgre echo <2>")
    desktop.wait(0.5)
    assert list(parameters.echoNodes) == [first]
    assert (
        label.text.startswith(
            "1 images were loaded beside the chosen ones, such as 'mgre echo &lt;2&gt;': <a"
        )
        or "&#x27;mgre echo &lt;2&gt;&#x27;" in label.text
    )
    mapper.onStatusLink("beside")
    assert list(parameters.echoNodes) == [first, second] and label.text == ""
    third = volume_to_node(echo, "mgre echo 3")
    desktop.wait(0.5)
    mapper.onStatusLink("in place")
    assert list(parameters.echoNodes) == [third] and label.text == ""
    volume_to_node(Volume(np.ones((1, 1, 2), np.float32), np.eye(4), "m", {"Map": "PDFF"}), "PDFF")
    desktop.wait(0.5)
    assert label.text == ""  # a map is no image to be mapped


def test_a_removed_image_is_not_replaced_by_its_neighbor(mapper):
    in_phase, opposed_phase = two_points()
    mapper.enter()
    mapper.ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(in_phase)
    parameters = mapper.frame.parameters
    assert parameters.inPhaseVolume is None
    assert parameters.opposedPhaseVolume is opposed_phase
    assert mapper.ui.applyButton.toolTip.startswith("Choose In phase: ")
    for node in list(parameters.mapNodes):
        slicer.mrmlScene.RemoveNode(node)
    assert not mapper.ui.sendButton.enabled


def test_maps_lie_over_their_source_where_it_shows_through(mapper, monkeypatch):
    in_phase, _ = two_points()
    shown = {}
    monkeypatch.setattr(slicer.util, "setSliceViewerLayers", lambda **layers: shown.update(layers))
    mapper.enter()
    mapper.ui.applyButton.click()
    made = mapper.frame.parameters.mapNodes[0]
    assert shown == {"background": in_phase, "foreground": made, "foregroundOpacity": 1}
    display = made.GetDisplayNode()
    assert display.GetApplyThreshold() and display.GetLowerThreshold() < -1e29
    assert not display.GetInterpolate()  # NaN would hide half of each neighbor


def test_mapper_says_that_packages_are_missing_and_installs_with_a_sign_of_life(
    mapper, monkeypatch
):
    from PDFFMapperLib.install import packages

    monkeypatch.setattr(packages, "_satisfied", lambda requirement: False)
    mapper.exit()
    mapper.enter()
    assert mapper.ui.statusLabel.text.startswith("Maps need numba")
    seen = []

    class Waiting:
        def __init__(self, labelText, maximum):
            seen.append((labelText, maximum))

        def close(self):
            seen.append("closed")

    def install(names):
        seen.append("installing")
        monkeypatch.setattr(packages, "_satisfied", lambda requirement: True)

    monkeypatch.setattr(slicer.util, "createProgressDialog", Waiting, raising=False)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: True, raising=False)
    monkeypatch.setattr(slicer.util, "pip_install", install, raising=False)
    monkeypatch.setattr(slicer.util, "showStatusMessage", lambda *_: None, raising=False)
    two_points()
    mapper.exit()
    mapper.enter()
    mapper.ui.applyButton.click()
    assert "about a minute" in seen[0][0] and seen[0][1] == 0  # 0: a bar that moves by itself
    assert seen[1:] == ["installing", "closed"]
    assert mapper.ui.statusLabel.text.startswith("Made beside the images")


def test_send_opens_marrow_assess_with_the_maps_chosen(mapper, monkeypatch):
    opened = []
    monkeypatch.setattr(slicer.util, "selectModule", opened.append, raising=False)
    in_phase, opposed_phase = two_points()
    mapper.enter()
    mapper.ui.applyButton.click()
    mapper.ui.sendButton.click()
    assert opened == ["MarrowAssess"]
    chosen = load_module("MarrowAssess").MarrowAssessLogic().getParameterNode()
    assert chosen.inPhaseVolume is in_phase and chosen.opposedPhaseVolume is opposed_phase


@pytest.mark.parametrize("name", ["diffusion", "cancel", "panel"])
def test_the_mapper_s_self_test_holds_against_stand_ins(mapper, name, monkeypatch):
    """Its code runs; that it passes in the desktop is for the desktop to say."""
    monkeypatch.setattr(slicer.util, "getModuleWidget", lambda module: mapper, raising=False)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: None, raising=False)
    case = load_module("PDFFMapper").PDFFMapperTest()
    case.setUp()
    from PDFFMapperLib.panel import self_test

    getattr(self_test, name)(case)
