"""The module files: static checks of panel against code, and their logic against stand-ins."""

import ast
import os
import re
import subprocess
import sys
import threading
import types
import xml.etree.ElementTree as ElementTree
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from conftest import REPOSITORY
from PDFFMapperLib.recipes import FAMILIES

MODULES = ["MarrowAssess", "PDFFMapper"]

# Classes of Qt, CTK and Slicer 5.10 that a panel may use, and what connects them to parameters
# (Base/Python/slicer/parameterNodeWrapper/guiConnectors.py).
WIDGET_CLASSES = {
    "QCheckBox", "QComboBox", "QDoubleSpinBox", "QLabel", "QLineEdit", "QPlainTextEdit",
    "QProgressBar", "QPushButton", "QTabWidget", "QTableWidget", "QToolButton", "QWidget",
    "ctkCollapsibleButton", "ctkDirectoryButton", "ctkPathLineEdit", "qMRMLCheckableNodeComboBox",
    "qMRMLNodeComboBox", "qMRMLTableView", "qMRMLWidget",
}  # fmt: skip
CONNECTED_TYPES = {
    "QCheckBox": ("bool",),
    "QComboBox": ("Choice",),
    "QDoubleSpinBox": ("WithinRange",),
    "QLineEdit": ("str",),
    "ctkDirectoryButton": ("pathlib.Path",),
    "qMRMLNodeComboBox": ("vtkMRML",),
}
TITLE_ONLY = (
    "QLabel",
    "QPlainTextEdit",
    "QTabWidget",
    "QProgressBar",
    "QWidget",
    "ctkCollapsibleButton",
)


def panel(module):
    return ElementTree.parse(REPOSITORY / module / "Resources" / "UI" / f"{module}.ui").getroot()


def source(module):
    return (REPOSITORY / module / f"{module}.py").read_text()


def widgets(module):
    return {one.get("name"): one for one in panel(module).iter("widget")}


def string_property(widget, name):
    found = [p for p in widget.findall("property") if p.get("name") == name]
    return "".join(found[0].itertext()).strip() if found else ""


def parameters(module):
    """The types of a parameter node, as text."""
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from stand_ins import load_module

    load_module(module)  # with stand-ins for what Slicer keeps it with
    kept = resolve_name(f"{module}Lib.panel.parameters:{module}ParameterNode")
    return {name: str(kind) for name, kind in kept.__annotations__.items()}


@pytest.mark.parametrize("module", MODULES)
def test_every_widget_the_code_uses_is_in_the_panel(module):
    files = [
        *REPOSITORY.glob(f"{module}/{module}*/panel/*.py"),
        *REPOSITORY.glob("PDFFMapper/*/panel/f*.py"),
    ]
    code = source(module) + "".join(one.read_text() for one in files)
    used = set(re.findall(r"\b_?ui\.(\w+)", code))
    assert used
    made = {one.parameter for family in FAMILIES for one in (*family.inputs, *family.options)}
    assert used <= set(widgets(module)) | (made if module == "PDFFMapper" else set())


@pytest.mark.parametrize("module", MODULES)
def test_panel_uses_widgets_that_slicer_has(module):
    assert {one.get("class") for one in widgets(module).values()} <= WIDGET_CLASSES
    custom = {one.findtext("class") for one in panel(module).iter("customwidget")}
    used = {one.get("class") for one in widgets(module).values()}
    assert custom == {name for name in used if name.startswith(("ctk", "qMRML"))}


@pytest.mark.parametrize("module", MODULES)
def test_panel_names_are_unique(module):
    names = [one.get("name") for one in panel(module).iter("widget")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("module", MODULES)
def test_parameter_names_and_types_match_their_widgets(module):
    typed = parameters(module)
    shown = {}
    for name, widget in widgets(module).items():
        if parameter := string_property(widget, "SlicerParameterName"):
            assert parameter in typed, f"{name} is connected to an unknown parameter"
            assert parameter not in shown, f"{parameter} is connected twice"
            shown[parameter] = widget
            allowed = CONNECTED_TYPES[widget.get("class")]
            assert any(word in typed[parameter] for word in allowed), (name, typed[parameter])
    assert shown or module == "PDFFMapper"  # whose rows follow from recipes


@pytest.mark.parametrize("module", MODULES)
def test_every_scene_widget_receives_the_scene(module):
    connected = {c.findtext("receiver") for c in panel(module).iter("connection")}
    needing = {
        name
        for name, widget in widgets(module).items()
        if widget.get("class").startswith("qMRML") and widget.get("class") != "qMRMLWidget"
    }
    assert connected == needing


@pytest.mark.parametrize("module", MODULES)
def test_everything_to_use_has_a_tooltip(module):
    bare = [
        name
        for name, widget in widgets(module).items()
        if widget.get("class") not in (*TITLE_ONLY, "qMRMLWidget")
        and not string_property(widget, "toolTip")
    ]
    assert not bare


@pytest.mark.parametrize("module", MODULES)
def test_every_spin_box_shows_its_unit(module):
    boxes = [w for w in widgets(module).values() if w.get("class") == "QDoubleSpinBox"]
    assert boxes or module == "PDFFMapper"  # whose rows follow from recipes
    assert all(string_property(box, "suffix") for box in boxes)


@pytest.mark.parametrize("module", MODULES)
def test_node_selectors_ask_for_classes_slicer_core_has(module):
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    for widget in widgets(module).values():
        if widget.get("class") in ("qMRMLNodeComboBox", "qMRMLCheckableNodeComboBox"):
            types = [text.strip() for text in string_property(widget, "nodeTypes").split()]
            known = [t for t in types if t != "vtkMRMLMultiVolumeNode"]  # a module of the desktop
            assert known and all(hasattr(slicer, name) for name in known)


@pytest.mark.parametrize("module", MODULES)
def test_loading_a_module_file_imports_nothing_heavy(module):
    own = {f"{module}Lib"}  # whose rows alone are loaded: see the next tests
    allowed = {"slicer", "qt", "ctk", "vtk", *own, *sys.stdlib_module_names}
    imported = set()
    for node in ast.parse(source(module)).body:
        if isinstance(node, ast.Import):
            imported |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported <= allowed


def test_what_the_rows_of_recipes_load_is_light():
    code = (
        "import sys; import PDFFMapperLib.recipes; print(*{n.split('.')[0] for n in sys.modules})"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "PDFFMapper")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    heavy = {"scipy", "numba", "SimpleITK", "skimage", "pydicom", "slicer", "vtkmodules"}
    assert not heavy & set(done.stdout.split())


def test_opening_a_panel_does_not_wait_for_scipy_or_numba():
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    code = (
        "import sys; from MarrowAssessLib.scene import headless; headless.start(); "
        "import MarrowAssessLib.scene.session; print(*{n.split('.')[0] for n in sys.modules})"
    )
    paths = os.pathsep.join(str(REPOSITORY / module) for module in MODULES)
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert not {"scipy", "numba", "SimpleITK", "skimage"} & set(done.stdout.split())


@pytest.mark.parametrize("module", MODULES)
def test_no_bare_except_and_no_styling(module):
    assert not re.search(r"except\s*:", source(module))
    assert "setStyleSheet" not in source(module)
    assert "styleSheet" not in ElementTree.tostring(panel(module), encoding="unicode")


SHOWN = ("text", "toolTip", "plainText", "title", "helpText", "acknowledgementText")
SAYS = ("say", "_say", "_hint", "working", "showStatusMessage", "enable", "tryWithErrorDisplay")


def untranslated(code):
    """Words in code that a user reads and `_` does not translate, with their lines."""
    found = []
    for node in ast.walk(ast.parse(code)):
        words = []
        if isinstance(node, ast.Assign):
            if any(isinstance(one, ast.Attribute) and one.attr in SHOWN for one in node.targets):
                words = [node.value]
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            words = node.args if name in SAYS else []
        found += [
            f"{one.lineno}: {one.value}"
            for one in words
            if isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value
        ]
    return found


@pytest.mark.parametrize("module", MODULES)
def test_what_a_user_reads_is_translatable(module):
    files = [REPOSITORY / module / f"{module}.py", *REPOSITORY.glob(f"{module}/*/panel/*.py")]
    assert len(files) > 3
    left = {one.name: found for one in files if (found := untranslated(one.read_text()))}
    assert not left
    assert untranslated('label.text = "words"\nsay("words")\nlabel.text = _("words")') == [
        "1: words", "2: words",
    ]  # fmt: skip


# --- against stand-ins --------------------------------------------------------------------------


@pytest.fixture
def scene():
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from MarrowAssessLib.scene import headless

    headless.start()
    import slicer

    slicer.mrmlScene.Clear(False)
    return slicer.mrmlScene


@pytest.fixture
def marrow(scene, drawn_once):
    from stand_ins import load_module

    return load_module("MarrowAssess")


@pytest.fixture
def sample(marrow):
    return marrow.MarrowAssessLogic().loadSample()


def values(assessment, quantity="marrow_pdff"):
    return {
        r.measurement.site: r.measurement.value
        for r in assessment.results
        if r.measurement.quantity == quantity
    }


def test_importing_the_module_files_loads_nothing_else():
    # In a process of its own: here they are imported already.
    code = (
        "import sys; sys.path[:0] = ['MarrowAssess', 'PDFFMapper', 'Testing']\n"
        "import slicer, vtk, stand_ins\n"
        "slicer.util\n"
        "before = set(sys.modules)\n"
        "for name in ('MarrowAssess', 'PDFFMapper'):\n"
        "    stand_ins.load_module(name)\n"
        "new = {one.split('.')[0] for one in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names) \n"
        "    - {'slicer', 'SegmentStatisticsPlugins'}))\n"  # the stand-ins themselves
    )
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(["MarrowAssess", "PDFFMapper"])


def test_compiling_stays_out_of_the_log_of_a_desktop_that_logs_everything():
    code = (
        "import sys; sys.path[:0] = ['MarrowAssess', 'PDFFMapper', 'Testing']\n"
        "import logging; logging.basicConfig(level=logging.DEBUG)\n"
        "import stand_ins\n"
        "for n, name in enumerate(('MarrowAssess', 'PDFFMapper')):\n"
        "    logging.getLogger('numba').setLevel(logging.NOTSET)\n"
        "    stand_ins.load_module(name)\n"
        "    import numba\n"
        "    assert numba.njit(lambda x: x + n)(1) == 1 + n\n"
    )
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "numba" not in done.stderr


class SampleDataLogic:
    """The signature of Slicer 5.10's Modules/Scripted/SampleData/SampleData.py."""

    registered: ClassVar = []

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFiles=None,
        loadFileProperties=None,
        checksums=None,
        loadFileType=None,
    ):
        assert len(uris) == len(fileNames) == len(nodeNames) == len(loadFiles) == len(checksums)
        SampleDataLogic.registered.append(
            (category, sampleName, thumbnailFileName, customDownloader)
        )


class SegmentStatisticsLogic:
    registeredPlugins: ClassVar = []

    @staticmethod
    def registerPlugin(plugin):
        SegmentStatisticsLogic.registeredPlugins.append(type(plugin))


def test_sample_data_and_statistics_are_registered_once_slicer_has_started(marrow, monkeypatch):
    import slicer

    for name, logic in (
        ("SampleData", SampleDataLogic),
        ("SegmentStatistics", SegmentStatisticsLogic),
    ):
        stand_in = types.ModuleType(name)
        setattr(stand_in, f"{name}Logic", logic)
        monkeypatch.setitem(sys.modules, name, stand_in)
    if "qt" not in sys.modules:
        monkeypatch.setitem(sys.modules, "qt", types.ModuleType("qt"))
    for _ in range(2):
        marrow.onStartupCompleted()
    (plugin,) = SegmentStatisticsLogic.registeredPlugins
    assert plugin.__name__ == "MarrowAssessStatisticsPlugin"
    _category, name, picture, load = SampleDataLogic.registered[0]
    assert name == "MarrowAssessLumbarSpine"
    assert (REPOSITORY / picture).is_file()
    assert all((REPOSITORY / one[2]).is_file() for one in SampleDataLogic.registered)
    told = []
    application = types.SimpleNamespace(
        processEvents=lambda: None, applicationLogic=lambda: slicer.modules.application_logic
    )
    monkeypatch.setattr(slicer, "app", application, raising=False)
    waiting = types.SimpleNamespace(
        wasCanceled=False,
        close=lambda: told.append("closed"),
        deleteLater=lambda: told.append("deleted"),
    )
    qt = types.ModuleType("qt")
    qt.Qt = types.SimpleNamespace(WindowModal="modal for the window")
    monkeypatch.setattr("MarrowAssessLib.panel.sample_data.qt", qt)

    def ask(labelText, windowModality):
        told.append(labelText)
        assert windowModality == qt.Qt.WindowModal
        return waiting

    monkeypatch.setattr(slicer.util, "createProgressDialog", ask, raising=False)
    monkeypatch.setattr(slicer.util, "showStatusMessage", lambda text, ms: told.append(text))
    load(None)  # the button in the Sample Data module
    assert slicer.util.getNode("PDFF") is not None
    assert told[:3] == ["Drawing the digital lumbar spine ...", "closed", "deleted"]
    assert told[3] == "The digital lumbar spine is loaded." and waiting.value > 50
    waiting.wasCanceled = True
    for *_names, again in SampleDataLogic.registered:
        before = slicer.mrmlScene.GetNumberOfNodes()
        again(None)
        assert told[-1] == "Canceled; nothing was loaded."
        assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_a_sample_is_canceled_while_its_images_are_drawn(marrow, scene, monkeypatch):
    from MarrowAssessLib.sample.nodes import load_mapper_sample
    from MarrowAssessLib.sample.phantom import LumbarPhantom

    drawn, asked = threading.Event(), []
    for name in ("echo_volumes", "diffusion_volumes"):
        monkeypatch.setattr(LumbarPhantom, name, lambda self: drawn.wait(5) and [])
    before = scene.GetNumberOfNodes()
    with pytest.raises(InterruptedError):
        load_mapper_sample(lambda done: asked.append(done) or len(asked) < 5)
    drawn.set()
    assert max(asked) == 0.3 and scene.GetNumberOfNodes() == before


def test_a_score_of_a_scene_that_knew_one_is_still_given(marrow, scene):
    logic = marrow.MarrowAssessLogic()
    node = logic.getParameterNode().parameterNode
    node.SetParameter("scoreFile", "/data/score.json")
    parameters = logic.getParameterNode()
    assert parameters.scores == "/data/score.json"
    parameters.scores = ""
    assert logic.getParameterNode().scores == ""  # emptied, it stays so


def test_what_measures_is_named_in_the_console(marrow, sample):
    """The sixth argument has been the erosion in mm, which is not taken for another."""
    with pytest.raises(TypeError, match="positional argument"):
        marrow.MarrowAssessLogic().assess(sample.volumes, sample.segmentation, (), 34, "M", 2.0)
    with pytest.raises(TypeError, match=r"assess\(\) has no argument erosion\."):
        marrow.MarrowAssessLogic().assess(sample.volumes, sample.segmentation, erosion=2.0)


def test_console_assess_recovers_the_truth_of_the_sample(marrow, sample):
    from MarrowAssessLib.scene.shown import live_results

    logic = marrow.MarrowAssessLogic()
    assessment = logic.assess(sample.volumes, sample.segmentation, age=34, sex="M")
    found = values(assessment)
    for site, truth in sample.true_pdff.items():
        assert found[site] == pytest.approx(truth, abs=0.5)
    assert "L2 Marrow PDFF" in logic.verdict()
    assert live_results(sample.segmentation).table.GetNumberOfRows() == len(assessment.results)


def test_moving_a_point_measures_what_it_moves_into(marrow, sample, scene):
    logic = marrow.MarrowAssessLogic()
    point = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    point.AddControlPoint(*sample.centers_ras["L3"], "marrow")
    for site in ("L3", "L2"):
        point.SetNthControlPointPosition(0, *sample.centers_ras[site])
        result = logic.assess({"PDFF": sample.volumes["PDFF"]}, markups=[point])
        assert values(result)[""] == pytest.approx(sample.true_pdff[site], abs=0.5)


def test_parameters_choose_inputs_and_say_what_is_missing(marrow, scene):
    from MarrowAssessLib.panel.words import missing_inputs

    logic = marrow.MarrowAssessLogic()
    chosen = logic.getParameterNode()
    chosen.exportFolder = "/tmp"
    assert missing_inputs(chosen) == "Choose at least one image or map."
    sample = logic.loadSample()
    logic.chooseDefaultInputs(chosen)
    assert chosen.t1Volume is sample.volumes["T1"]
    assert chosen.pdffVolume is sample.volumes["PDFF"]
    assert chosen.segmentation is sample.segmentation
    assert missing_inputs(chosen) == ""
    chosen.segmentation = None
    chosen.useMarkups = False
    assert "segmentation" in missing_inputs(chosen)


def test_what_is_said_of_a_found_spine_says_each_doubt_once(marrow):
    from MarrowAssessLib.catalogue.anatomy import Role
    from MarrowAssessLib.panel.words import column_text
    from MarrowAssessLib.placement.column import Column
    from MarrowAssessLib.study.regions import Region

    def disc(site: str, *cautions: str) -> SimpleNamespace:
        roi = Region(f"{site} disc", Role.DISC, site, np.ones((1, 1, 1), bool), (0, 0, 0))
        roi.cautions += cautions
        return SimpleNamespace(roi=roi, body=roi)

    column = Column({}, {"L1-L2": disc("L1-L2", "One."), "L2-L3": disc("L2-L3", "One.")})
    column.discs["L3-L4"] = disc("L3-L4", "One.", "Two.")
    column.discs["L4-L5"] = disc("L4-L5", "Three.")
    column.discs["L4-L5"].roi.mask[:] = False
    said = column_text(column)
    looked_at = "Look at L1-L2 disc, L2-L3 disc: One. Look at L3-L4 disc: One. Two."
    assert said.endswith(f"{looked_at} Not found: L4-L5 disc. Three.")


def test_assessing_parameters_follows_their_settings(marrow, sample):
    logic = marrow.MarrowAssessLogic()
    chosen = logic.getParameterNode()
    chosen.exportFolder = "/tmp"
    logic.chooseDefaultInputs(chosen)
    chosen.ageYears, chosen.sex, chosen.erosionMm = 34.0, "M", 1.0
    assessment = logic.assessParameters(chosen)
    assert (assessment.study.age_years, assessment.study.sex) == (34.0, "M")
    assert assessment.settings.erosion_mm == 1.0
    chosen.ageYears, chosen.sex = -1.0, "not known"
    assessment = logic.assessParameters(chosen)
    assert assessment.study.age_years is None and assessment.study.sex is None


def test_a_cancel_leaves_the_scene_as_it_was(marrow, sample, scene):
    logic = marrow.MarrowAssessLogic()
    before = [scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())]
    assert (
        logic.assess(
            {"T1": sample.volumes["T1"]}, sample.segmentation, n4=True, progress=lambda part: False
        )
        is None
    )
    assert [scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())] == before


def test_bad_input_adds_no_node(marrow, sample, scene):
    count = scene.GetNumberOfNodes()
    with pytest.raises(ValueError, match="Age"):
        marrow.MarrowAssessLogic().assess(sample.volumes, sample.segmentation, age=-3)
    with pytest.raises(TypeError, match=r"assess\(\) has no argument erosion_mm"):
        marrow.MarrowAssessLogic().assess(sample.volumes, sample.segmentation, erosion_mm=1.0)
    assert scene.GetNumberOfNodes() == count


def test_report_is_exported_after_an_assessment_only(marrow, sample, tmp_path):
    logic = marrow.MarrowAssessLogic()
    with pytest.raises(ValueError, match="nothing to report yet"):
        logic.exportReport(tmp_path)
    logic.assess({"PDFF": sample.volumes["PDFF"]}, sample.segmentation, age=34, sex="M")
    written = logic.exportReport(tmp_path / "report")
    assert {file.name for file in written} >= {
        "report.html",
        "measurements.csv",
        "muscle_sections.csv",
        "assessment.json",
    }


def test_segment_statistics_reports_each_segment_s_own_value(marrow, sample):
    from MarrowAssessLib.scene.segment_statistics import segment_results

    logic = marrow.MarrowAssessLogic()
    by_name = segment_results(sample.segmentation, sample.volumes["PDFF"])
    assert by_name["L3 marrow"]["marrow_pdff"] == pytest.approx(sample.true_pdff["L3"], abs=0.5)
    assert "marrow_pdff_z" not in by_name["L3 marrow"]  # nobody told the age
    chosen = logic.getParameterNode()
    chosen.exportFolder = "/tmp"
    logic.chooseDefaultInputs(chosen)
    chosen.ageYears, chosen.sex = 34.0, "M"
    by_name = segment_results(sample.segmentation)
    assert by_name["L2 marrow"]["marrow_pdff_z"] < -2
    assert by_name["L2 marrow"]["t1_marrow_muscle"] > 0
    assert not any("vbq" in values for values in by_name.values())  # of four levels, no segment's


def test_texture_is_the_same_in_panel_segment_statistics_and_command(
    marrow, sample, plugin, tmp_path
):
    import csv

    import slicer
    from MarrowAssessLib.commands import main as cli
    from MarrowAssessLib.scene.segments import known_segments
    from PDFFMapperLib.images.files import write_volume
    from PDFFMapperLib.scene.volumes import volume_from_node

    # The command, on files.
    given = []
    for name in ("T1", "PDFF"):
        image = volume_from_node(sample.volumes[name])
        write_volume(image, tmp_path / f"{name}.nrrd")
        given += ["--volume", f"{name}={tmp_path / f'{name}.nrrd'}"]
    labels = np.zeros(image.array.shape, np.uint8)
    for value, one in enumerate(known_segments(sample.segmentation), 1):
        if one.role.value == "marrow":
            drawn = slicer.util.arrayFromSegmentBinaryLabelmap(
                sample.segmentation, one.id, sample.volumes["T1"]
            )
            labels[drawn > 0] = value
            given += ["--label", f"{value}=marrow:{one.site}"]
    write_volume(image.with_array(labels), tmp_path / "labels.nrrd")
    given += ["--labels", str(tmp_path / "labels.nrrd")]
    out = tmp_path / "result"
    assert cli.main(["assess", *given, "--texture", "--no-scene", "--out", str(out)]) == 0
    with open(out / "measurements.csv", encoding="utf-8", newline="") as file:
        told = {
            (row["quantity"], row["site"]): float(row["value"])
            for row in csv.DictReader(file)
            if "_texture_" in row["quantity"]
        }
    assert len(told) == 2 * 9 * len({site for _, site in told}) and ("t1_texture_asm", "L3") in told
    # The panel's logic.
    logic = marrow.MarrowAssessLogic()
    parameters = logic.getParameterNode()
    parameters.exportFolder = "/tmp"
    parameters.t1Volume, parameters.pdffVolume = sample.volumes["T1"], sample.volumes["PDFF"]
    parameters.segmentation = sample.segmentation
    assert not any("_texture_" in r.measurement.quantity for r in measured(logic, parameters))
    parameters.texture = True
    shown = {
        (r.measurement.quantity, r.measurement.site): r.measurement.value
        for r in measured(logic, parameters)
        if "_texture_" in r.measurement.quantity
    }
    assert shown == pytest.approx(told, rel=1e-12)
    # Segment Statistics: as soon as one of its keys is requested.
    plugin.keys = ["pdff_texture_contrast", "t1_texture_asm", "marrow_pdff"]
    segments = sample.segmentation.GetSegmentation()
    for site in ("L2", "L4"):
        found = plugin.computeStatistics(segments.GetSegmentIdBySegmentName(f"{site} marrow"))
        for key in plugin.keys[:2]:
            assert found[key] == pytest.approx(told[key, site], rel=1e-12)


def test_heights_of_a_found_spine_in_the_panel(marrow, sample):
    """Bodies of one height: no loss. A painted body's outline is not known any more."""
    import slicer
    from MarrowAssessLib.scene.chosen_inputs import console_command

    logic = marrow.MarrowAssessLogic()
    parameters = logic.getParameterNode()
    parameters.t1Volume = sample.volumes["T1"]
    parameters.segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    parameters.showOverlay = False
    logic.findSpine(parameters)
    assert not any(r.measurement.quantity == "height_loss" for r in measured(logic, parameters))
    parameters.fractures = True
    assert "fractures=True" in console_command(parameters)
    results = measured(logic, parameters)
    loss = {r.measurement.site: r.measurement for r in results if "loss" in r.measurement.quantity}
    assert set(loss) >= {"L1", "L2", "L3", "L4"}
    assert all(abs(one.value) < 10 and "grade 0" in one.words for one in loss.values())
    heights = [r.measurement for r in results if r.measurement.quantity == "posterior_height"]
    assert all(one.how == "outline found" for one in heights)
    # 27 mm, less 1.2 mm of cortex and .87 mm of hollow at each endplate.
    healthy = [one.value for one in heights if one.site in ("L1", "L3", "L4")]
    assert healthy == pytest.approx([22.9] * 3, abs=1.2)
    check_lines_of_heights(logic, parameters, loss, heights)
    segment = parameters.segmentation.GetSegmentation().GetSegmentIdBySegmentName("L2 marrow")
    drawn = slicer.util.arrayFromSegmentBinaryLabelmap(
        parameters.segmentation, segment, sample.volumes["T1"]
    )
    drawn[:, : drawn.shape[1] // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        drawn, parameters.segmentation, segment, sample.volumes["T1"]
    )
    how = {
        r.measurement.site: r.measurement.how
        for r in measured(logic, parameters)
        if r.measurement.quantity == "posterior_height"
    }
    assert how["L3"] == "outline found"
    assert how.get("L2") != "outline found"


def check_lines_of_heights(logic, parameters, loss, heights):
    """Three lines of each body, front to back, colored by its grade; gone with the rest."""
    import slicer
    from MarrowAssessLib.scene.live_results import remove_live
    from MarrowAssessLib.scene.visibility import show_overlay
    from vtkmodules.util.numpy_support import vtk_to_numpy

    parameters.showOverlay = True
    nodes = [slicer.mrmlScene.GetNthNode(n) for n in range(slicer.mrmlScene.GetNumberOfNodes())]
    before = {node.GetID() for node in nodes}
    measured(logic, parameters)
    node = parameters.segmentation.GetNodeReference("MarrowAssess.heights")
    mesh, display = node.GetPolyData(), node.GetDisplayNode()
    grades = vtk_to_numpy(mesh.GetCellData().GetArray("Grade"))
    assert mesh.GetNumberOfLines() == 3 * len(loss) and set(grades) == {0.0}
    ends = vtk_to_numpy(mesh.GetPoints().GetData()).reshape(-1, 3, 2, 3)
    backs = {site: lines[2] for site, lines in zip(loss, ends, strict=True)}
    for one in heights:
        upper, lower = backs[one.site]
        assert np.linalg.norm(upper - lower) == pytest.approx(one.value, abs=0.7)
        assert upper[2] > lower[2]
    assert all((lines[0, :, 1] > lines[2, :, 1]).all() for lines in ends)  # front to back
    assert display.GetVisibility() and display.GetColorNode().GetColorName(2) == "grade 2"
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(display)
    assert legend.GetVisibility()
    show_overlay(parameters.segmentation, False)
    assert not display.GetVisibility() and not legend.GetVisibility()
    parameters.fractures = False
    measured(logic, parameters)
    assert not node.GetPolyData().GetNumberOfLines() and not legend.GetVisibility()
    parameters.fractures, parameters.showOverlay = True, False
    remove_live(parameters.segmentation)
    assert parameters.segmentation.GetNodeReference("MarrowAssess.heights") is None
    nodes = [slicer.mrmlScene.GetNthNode(n) for n in range(slicer.mrmlScene.GetNumberOfNodes())]
    left = {node.GetID() for node in nodes} - before
    assert left <= {parameters.segmentation.GetDisplayNodeID()}


def measured(logic, parameters):
    return logic.assessParameters(parameters).results


@pytest.fixture
def plugin(marrow, sample):
    import slicer
    from MarrowAssessLib.scene.statistics_plugin import MarrowAssessStatisticsPlugin

    made = MarrowAssessStatisticsPlugin()
    made.parameterNode = slicer.vtkMRMLScriptedModuleNode()
    made.parameterNode.SetParameter("Segmentation", sample.segmentation.GetID())
    made.parameterNode.SetParameter("ScalarVolume", sample.volumes["PDFF"].GetID())
    return made


def test_statistics_plugin_describes_every_key_with_unit_and_code(plugin):
    assert set(plugin.defaultKeys) <= set(plugin.keys)
    assert not any("." in key for key in plugin.keys)
    for key in plugin.keys:
        info = plugin.getMeasurementInfo(key)
        assert info["name"] and info["description"]
        assert info["unitsDicomCode"], key
    pdff = plugin.getMeasurementInfo("marrow_pdff")
    assert pdff["units"] == "%"
    assert "129100" in pdff["quantityDicomCode"]
    assert plugin.getMeasurementInfo("marrow_pdff_z")["units"] == "SD"
    assert plugin.getMeasurementInfo("something else") is None


def test_statistics_plugin_follows_edits_between_runs(plugin, sample):
    first = plugin.computeStatistics("L3 marrow")
    assert first["marrow_pdff"] == pytest.approx(sample.true_pdff["L3"], abs=0.5)
    assert plugin.computeStatistics("L2 marrow")["marrow_pdff"] == pytest.approx(4, abs=0.5)
    slicer_array(sample.volumes["PDFF"])[:] = 12.0
    assert plugin.computeStatistics("L3 marrow")["marrow_pdff"] == pytest.approx(12)


def test_statistics_plugin_tells_segmentations_apart(plugin, sample):
    """A run over other segments begins anew, whatever their IDs are."""
    import slicer

    first = plugin.computeStatistics("L3 marrow")["marrow_pdff"]
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segment = slicer.vtkSegment()
    segment.DeepCopy(sample.segmentation.GetSegmentation().GetSegment("L2 marrow"))
    segment.SetName("L3 marrow")
    other.GetSegmentation().AddSegment(segment, "Segment_1")
    plugin.parameterNode.SetParameter("Segmentation", other.GetID())
    second = plugin.computeStatistics("Segment_1")["marrow_pdff"]
    assert second == pytest.approx(4, abs=0.5) and first > 30


def test_placed_regions_become_segments_and_replace_their_name(marrow, sample):
    from MarrowAssessLib.catalogue.anatomy import Role
    from MarrowAssessLib.scene.placement import add_regions
    from MarrowAssessLib.study.regions import Region

    logic = marrow.MarrowAssessLogic()
    segmentation = logic.addSegmentation(sample.volumes["PDFF"])
    import slicer

    count = slicer.mrmlScene.GetNumberOfNodes()
    for size in (2, 3):
        mask = np.ones((size, size, size), bool)
        region = Region("L3 marrow", Role.MARROW, "L3", mask, (20, 60, 60))
        add_regions(segmentation, sample.volumes["PDFF"], [region])
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    result = logic.assess({"PDFF": sample.volumes["PDFF"]}, segmentation)
    measured = [r.measurement for r in result.results if r.measurement.quantity == "marrow_pdff"]
    assert [(one.site, one.statistics.voxels) for one in measured] == [("L3", 27)]


def test_a_click_draws_the_body_that_was_clicked(marrow, sample, phantom):
    from MarrowAssessLib.catalogue.anatomy import Role
    from MarrowAssessLib.scene.segments import regions_from_node

    logic = marrow.MarrowAssessLogic()
    chosen = logic.getParameterNode()
    chosen.t1Volume, chosen.placeSite = sample.volumes["T1"], "L3"
    logic.placeRegion(chosen, sample.centers_ras["L3"])
    (placed,) = regions_from_node(chosen.segmentation, sample.volumes["T1"])
    assert (placed.name, placed.role, placed.site) == ("L3 marrow", Role.MARROW, "L3")
    marrow_of_l3 = np.isclose(slicer_array(sample.volumes["PDFF"]), sample.true_pdff["L3"])
    assert np.mean(placed.values(marrow_of_l3)) > 0.98
    chosen.placeSite = ""
    logic.placeRegion(chosen, sample.centers_ras["L4"])
    names = [r.name for r in regions_from_node(chosen.segmentation, sample.volumes["T1"])]
    assert names == ["L3 marrow", "L4 marrow"]  # next to L3


def test_one_click_finds_the_levels_around_it(marrow, sample):
    logic = marrow.MarrowAssessLogic()
    chosen = logic.getParameterNode()
    chosen.t1Volume = sample.volumes["T1"]
    with pytest.raises(ValueError, match="which vertebra"):
        logic.findColumn(chosen, sample.centers_ras["L3"])
    chosen.placeSite = "L3"
    logic.findColumn(chosen, sample.centers_ras["L3"])
    segments = chosen.segmentation.GetSegmentation()
    names = {segments.GetSegment(one).GetName() for one in segments.GetSegmentIDs()}
    assert {"L2 marrow", "L3 marrow", "L4 marrow", "L3-L4 disc"} <= names


def slicer_array(node):
    import slicer

    return slicer.util.arrayFromVolume(node)


def test_a_sample_that_is_canceled_late_adds_nothing(scene):
    from MarrowAssessLib.sample.nodes import load_sample

    before = scene.GetNumberOfNodes()
    with pytest.raises(InterruptedError, match="Drawing the digital lumbar spine was canceled"):
        load_sample(lambda done: done < 0.8)
    assert scene.GetNumberOfNodes() == before
