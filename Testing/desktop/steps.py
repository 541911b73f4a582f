"""What a user does in both tutorials, step by step; each step says what it found wrong.

A desk has the mouse, the keyboard and the panels: `slicer_desk.Desk` is a real Slicer under X,
`Testing/Python/test_desktop_steps.py` has one of stand-ins for Slicer's widgets. Steps that need a
study of their own begin with `desk.load_sample()`, which closes what was open.
"""

import json
import pathlib
import tempfile

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.parameter_names import VOLUME_PARAMETERS
from MarrowAssessLib.scene import choices, segments, shown, visibility

NARROW_PX = 400  # of a panel with its margins and scroll bar
ROLES_OF_SAMPLE = ("T1", "T2", "FS T2", "PDFF")


def check(condition, said):
    """Stop with what is wrong."""
    if not condition:
        raise AssertionError(said)


def only(panel, *roles):
    """Choose no image but these."""
    parameters = panel._parameterNode
    for name in choices.chosen_volumes(parameters):
        if name not in roles:
            setattr(parameters, VOLUME_PARAMETERS[Contrast(name)], None)


def drawn(panel):
    """The segments of the chosen segmentation."""
    return panel._parameterNode.segmentation.GetSegmentation()


def names_in(segments):
    """Names of segments, sorted."""
    return sorted(segments.GetSegment(one).GetName() for one in segments.GetSegmentIDs())


def labels_of(panel):
    """What the labels in the views say."""
    node = panel.results.segmentation.GetNodeReference("MarrowAssess.labels")
    return [node.GetNthControlPointLabel(n) for n in range(node.GetNumberOfControlPoints())]


def text_of(desk, panel, site, column):
    """What the cell of a number says."""
    return panel.results.matrix.cells[desk.cell(panel, site, column)].text


def has(panel, column):
    """Whether the matrix has a column."""
    return column in [title.split("\n")[0] for title in panel.results.matrix.columns]


def roles_in(study):
    """The roles that the line about the study names."""
    return [line.split(":")[0] for line in study.replace("<br>", "\n").split("\n") if ": " in line]


# The first tutorial -----------------------------------------------------------------------------


def images_loaded_while_the_panel_is_open_are_taken(desk):
    """The panel is open before the study is: its images find their roles."""
    panel = desk.open("MarrowAssess")
    check(not panel.ui.applyButton.enabled, "Apply can be pressed without a study.")
    desk.shot("nothing_loaded")
    desk.load_sample()
    study = panel.ui.studyLabel.toolTip
    missing = [role for role in ROLES_OF_SAMPLE if f"{role}: " not in study]
    check(not missing, f"{missing} are not recognized: {study}")


def both_panels_are_narrow(desk):
    """A panel needs no more than 400 pixels, whatever its sections and tabs show."""
    for name in ("PDFFMapper", "MarrowAssess"):
        needed = desk.narrowest(desk.open(name))
        check(needed <= NARROW_PX, f"{name} needs {needed} pixels.")


def study_to_answer(desk):
    """Sample study, age typed, one press: the lesion of L2 stands out."""
    panel = desk.open("MarrowAssess")
    desk.type(panel.ui.ageLineEdit, "34")
    desk.choose(panel.ui.sexComboBox, "M")
    desk.click(panel.ui.applyButton)
    words = panel.ui.verdictLabel.text
    check("L2 Marrow PDFF 4.0&nbsp;%: below" in words, f"The lesion is not told: {words}")
    check(not panel.ui.show3DButton.checked, "Show 3D is pressed before anything was shown.")
    desk.shot("study_to_answer")
    for spelled in (True, False):
        desk.click_last_line(panel.ui.verdictLabel)
        said = "of 41 at or below, 40 were" in panel.ui.verdictLabel.text
        check(said == spelled, f"What is said without a z-score: {panel.ui.verdictLabel.text}")


def cell_leads_to_region(desk):
    """A click on a number centers its region and names its reference."""
    panel = desk.open("MarrowAssess")
    desk.click_cell(panel.ui.resultsTable, *desk.cell(panel, "L2", "PDFF"))
    said = panel.ui.cellLabel.text
    check(said.startswith("L2 Marrow PDFF 4.0 %") and "Reference: " in said, said)
    check(abs(desk.slice_center()[2] - desk.sample.centers_ras["L2"][2]) < 3, "L2 is not shown.")
    desk.shot("cell_leads_to_region")


def three_d_and_curve_and_back(desk):
    """3D appears at the first press; an age curve names its points and goes away again."""
    panel = desk.open("MarrowAssess")
    desk.click(panel.ui.show3DButton)
    check(shown.shows_3d(panel.results.segmentation), "3D is not shown at the first press.")
    desk.shot("three_d")
    before = desk.layout()
    desk.click(panel.ui.showChartButton)
    desk.shot("age_curve")
    chart = panel.results.chart
    count = chart.GetNumberOfPlotSeriesNodes()
    named = [chart.GetNthPlotSeriesNode(n).GetName() for n in range(count)]
    check("L2  4.0 %" in named, f"The points are named {named}.")
    desk.click(panel.ui.showChartButton)
    check(desk.layout() == before, "The layout before the age curve did not come back.")
    desk.click(panel.ui.showChartButton)
    desk.click(panel.ui.show3DButton)
    check(desk.layout() == before, "Show 3D does not lead from the age curve back to 3D.")
    check(shown.shows_3d(panel.results.segmentation), "3D was hidden behind the age curve.")
    desk.click(panel.ui.show3DButton)
    check(not shown.shows_3d(panel.results.segmentation), "3D cannot be hidden.")


def only_what_stands_out_has_a_label(desk):
    """The lesion is named in the views, the others when they are asked for."""
    panel = desk.open("MarrowAssess")
    labels = labels_of(panel)
    check("L2 PDFF 4.0 % below\nlike pathologic marrow" in labels, f"Labels: {labels}")
    check(not any(one.startswith(("L1", "L3", "L5")) for one in labels), f"Labels: {labels}")
    desk.click(panel.ui.showNamesCheckBox)
    check({"L1", "L3", "L5"} <= set(labels_of(panel)), f"Labels on request: {labels_of(panel)}")
    desk.shot("all_names")
    desk.click(panel.ui.showNamesCheckBox)
    check(labels_of(panel) == labels, "The names do not go away.")


def a_dark_style_has_lighter_words(desk):
    """In a dark style what lies outside is told in a lighter color."""
    from MarrowAssessLib.panel.result_words import VERDICT_COLORS

    panel = desk.open("MarrowAssess")
    for dark in (True, False):
        desk.dark(dark)
        words = panel.ui.verdictLabel.text
        check(words.count(VERDICT_COLORS["below"][dark]) == 1, f"{'dark' * dark}: {words}")
        if dark:
            desk.shot("dark")


def nothing_covers_anything(desk):
    """With every section open, no widget is drawn over another one, and no name is cut."""
    panel = desk.open("MarrowAssess")
    desk.unfold(panel.ui.reportCollapsibleButton)
    desk.unfold(panel.ui.tableCollapsibleButton)
    check(not (over := desk.covered(panel)), f"Drawn over each other: {over}")
    check(not (cut := desk.cut_titles(panel.ui.resultsTable)), f"Cut: {cut}")
    desk.shot("all_open")
    desk.fold(panel.ui.tableCollapsibleButton)
    desk.fold(panel.ui.reportCollapsibleButton)


def an_earlier_visit_shows_what_changed(desk):
    """A report of the numbers is an earlier visit of later ones, until its line is emptied."""
    panel = desk.open("MarrowAssess")
    desk.unfold(panel.ui.reportCollapsibleButton)
    with tempfile.TemporaryDirectory() as folder:
        panel._parameterNode.exportFolder = pathlib.Path(folder)
        desk.click(panel.ui.exportButton)
        desk.add(desk.sample.volumes["PDFF"], 6.0)
        desk.type(panel.ui.earlierVisitPath, f"{folder}/assessment.json")
        shown = text_of(desk, panel, "L2", "PDFF")
        check(shown == "+5.9 RC ▲", f"From 4 to 10 % is shown as {shown}.")
        desk.shot("earlier_visit")
        desk.type(panel.ui.earlierVisitPath, f"{folder}/assess")
        shown = text_of(desk, panel, "L2", "PDFF")
        check(shown.startswith("10.0"), f"A half-typed visit: {shown}")
    desk.add(desk.sample.volumes["PDFF"], -6.0)
    desk.type(panel.ui.earlierVisitPath, "")
    desk.click(panel.ui.applyButton)
    check(text_of(desk, panel, "L2", "PDFF").startswith("4.0"), "The visit stays.")
    desk.fold(panel.ui.reportCollapsibleButton)


def ages_are_what_was_typed(desk):
    """Fast typing, months, and nothing; without an age there is no z-score and no legend."""
    panel = desk.open("MarrowAssess")
    for typed, years in (("12.5", 12.5), ("0.5", 0.5), ("8 months", 8 / 12), ("", -1.0)):
        desk.type(panel.ui.ageLineEdit, typed)
        found = panel._parameterNode.ageYears
        check(abs(found - years) < 1e-6, f"'{typed}' became {found} years.")
    check(
        "to compare with what is expected" in panel.ui.verdictLabel.text, panel.ui.verdictLabel.text
    )
    legend = visibility.legend_of(panel.results.segmentation)
    check(not legend.GetVisibility(), "A legend of nothing.")
    desk.type(panel.ui.ageLineEdit, "thirty")
    check(desk.is_shown(panel.ui.ageHintLabel), "What is no age is not told.")
    desk.shot("no_age")
    desk.type(panel.ui.ageLineEdit, "34")
    check(legend.GetVisibility(), "The legend is gone.")


# Placing ----------------------------------------------------------------------------------------


def three_clicks_three_regions(desk):
    """Every click draws a region, the first one named by the user, the others by neighbors."""
    panel = desk.open("MarrowAssess")
    old = panel.results.segmentation
    panel._parameterNode.segmentation = panel.logic.addSegmentation(desk.sample.volumes["T1"])
    desk.wait()
    check(not old.GetDisplayNode().GetVisibility(), "The overlay of the other regions stays.")
    desk.type(panel.ui.placeSiteLineEdit, "L3")
    desk.click(panel.ui.placeButton)
    for number, level in enumerate(("L3", "L2", "L4"), start=1):
        desk.click_slice(desk.sample.centers_ras[level])
        count = drawn(panel).GetNumberOfSegments()
        check(count == number, f"{number} clicks, {count} regions. {panel.ui.placingLabel.text}")
    names = names_in(drawn(panel))
    check(names == ["L2 marrow", "L3 marrow", "L4 marrow"], f"Named {names}.")
    desk.shot("three_clicks")
    desk.click(panel.ui.placeButton)
    check(not panel.placing.clicks.active, "Placing does not end.")
    for number in (2, 1, 0):
        desk.click(panel.ui.undoButton)
        check(drawn(panel).GetNumberOfSegments() == number, "Undo left the last region.")


def every_tissue_is_placed_by_a_click(desk):
    """Disc, muscle, CSF and fat are drawn where they are clicked, each under its tissue's name."""
    panel = desk.open("MarrowAssess")
    tissues = {
        "disc": "L3-L4 disc", "muscle": "left psoas muscle", "csf": "L3 CSF", "fat": "fat",
    }  # fmt: skip
    for number, (tissue, like) in enumerate(tissues.items(), start=1):
        desk.choose(panel.ui.placeRoleComboBox, tissue)
        desk.click(panel.ui.placeButton)
        desk.click_slice(desk.sample.segmentation.GetSegmentCenterRAS(like))
        desk.click(panel.ui.placeButton)
        names = names_in(drawn(panel))
        check(len(names) == number, f"{tissue}: {names}. {panel.ui.placingLabel.text}")
        check(any(tissue in name.lower() for name in names), f"{tissue}: {names}")
    desk.shot("tissues")
    for _ in tissues:
        desk.click(panel.ui.undoButton)
    check(not names_in(drawn(panel)), f"Undo left {names_in(drawn(panel))}.")
    desk.choose(panel.ui.placeRoleComboBox, "marrow")


def marrow_alone_shows_its_signal(desk):
    """Marrow on T1 and nothing else: the plain median, and what is missing."""
    panel = desk.open("MarrowAssess")
    only(panel, "T1")
    desk.click(panel.ui.placeButton)
    desk.click_slice(desk.sample.centers_ras["L3"])
    desk.click(panel.ui.placeButton)
    desk.click(panel.ui.applyButton)
    words = panel.ui.verdictLabel.text
    check("place a muscle or a disc for a ratio" in words, f"What is missing is not told: {words}")
    check(panel.results.matrix.columns == ("T1 signal",), f"Shown: {panel.results.matrix.columns}")
    desk.shot("marrow_alone")


def a_doubtful_region_waits_for_a_look(desk):
    """A level named against its neighbors gets no verdict until somebody says it is right."""
    panel = desk.open("MarrowAssess")
    panel._parameterNode.pdffVolume = desk.sample.volumes["PDFF"]
    desk.type(panel.ui.placeSiteLineEdit, "L1")
    desk.click(panel.ui.placeButton)
    desk.click_slice(desk.sample.centers_ras["L2"])
    desk.click(panel.ui.placeButton)
    doubts = segments.doubts(panel.results.segmentation)
    said = "Named L1 as given; its neighbors tell L2."
    check(said in " ".join(doubts.get("L1 marrow", [])), f"Doubts: {doubts}")
    check(
        desk.is_shown(panel.ui.doubtRow) and said in panel.ui.doubtLabel.text,
        "The doubt is not told.",
    )
    cell = panel.results.matrix.cells[desk.cell(panel, "L1", "PDFF")]
    check(cell.text.endswith("?"), f"Its number reads {cell.text}.")
    check("L1 Marrow PDFF" not in panel.ui.verdictLabel.text, "It has a verdict.")
    check("L1 doubtful" in labels_of(panel), f"Labels: {labels_of(panel)}")
    check(not (over := desk.covered(panel)), f"Drawn over each other: {over}")
    desk.shot("doubtful")
    desk.click(panel.ui.lookButton)
    desk.click(panel.ui.rightButton)
    check(not segments.doubts(panel.results.segmentation), "The doubt stays.")
    check("L1 Marrow PDFF 4.0&nbsp;%: below" in panel.ui.verdictLabel.text, "It has no verdict.")


def column_from_one_click(desk):
    """The column from a click into L3: told, measured, no surfaces before 3D is wanted."""
    panel = desk.open("MarrowAssess")
    panel._parameterNode.segmentation = panel.logic.addSegmentation(desk.sample.volumes["T1"])
    desk.type(panel.ui.placeSiteLineEdit, "L3")
    desk.click(panel.ui.findColumnButton)
    desk.click_slice(desk.sample.centers_ras["L3"])
    said = panel.ui.placingLabel.text
    check(said.startswith("Found: ") and "L3" in said, said)
    check("L2 Marrow PDFF" in panel.ui.verdictLabel.text, panel.ui.verdictLabel.text)
    check(not drawn(panel).ContainsRepresentation("Closed surface"), "Surfaces nobody asked for.")
    check(not (over := desk.covered(panel)), f"Drawn over each other: {over}")
    desk.shot("column")


def spine_from_one_press(desk):
    """A DICOM study, its patient's name in Korean: roles and patient told, one press, an answer."""
    desk.load_dicom_study()
    panel = desk.open("MarrowAssess")
    study = panel.ui.studyLabel.text
    check(study.count("by its DICOM header") == 2, f"Not told by the header: {study}")
    check(roles_in(study) == ["T1", "FS T2"], f"Roles: {study}")
    patient = panel.ui.ageLineEdit.text, panel.ui.sexComboBox.currentText
    check(patient == ("34 years", "M"), f"The patient is {patient}.")
    desk.shot("dicom")
    desk.click(panel.ui.findSpineButton)
    check(panel.ui.placingLabel.text.startswith("Found: "), panel.ui.placingLabel.text)
    check("L2 T1 marrow/disc" in panel.ui.verdictLabel.text, panel.ui.verdictLabel.text)
    desk.shot("spine")


def a_spectrum_and_a_score_are_given(desk):
    """A spectrum typed as a file joins the matrix and leads to its plot; a score is given."""
    desk.load_sample()
    panel = desk.open("MarrowAssess")
    desk.type(panel.ui.ageLineEdit, "34")
    desk.click(panel.ui.applyButton)
    with tempfile.TemporaryDirectory() as folder:
        spectrum, score = desk.write_spectrum_and_score(pathlib.Path(folder))
        desk.unfold(panel.ui.optionsCollapsibleButton)
        desk.type(panel.ui.spectraLineEdit, f"L3={folder}/nowhere.rda")
        check("nowhere.rda" in panel.ui.filesHintLabel.text, panel.ui.filesHintLabel.text)
        desk.shot("spectrum_refused")
        desk.type(panel.ui.spectraLineEdit, f"L3={spectrum}")
        said = panel.ui.filesHintLabel.text
        check(has(panel, "Fat signal fraction, MRS"), f"The spectrum has no numbers: {said}")
        desk.type(panel.ui.scoresLineEdit, str(score))
        words = panel.ui.verdictLabel.text
        check("for fracture" in words, f"No score is given: {panel.ui.filesHintLabel.text}")
        desk.shot("spectrum_and_score")
        place = desk.cell(panel, "L3", "Fat signal fraction, MRS")
        desk.click_cell(panel.ui.resultsTable, *place)
        desk.click(panel.ui.showChartButton)
        title = panel.results.chart.GetTitle()
        check(title.startswith("Spectrum of L3"), f"The number leads to {title}.")
        desk.shot("spectrum")
        desk.click(panel.ui.showChartButton)
        desk.type(panel.ui.spectraLineEdit, "")
        desk.type(panel.ui.scoresLineEdit, "")
        check(not has(panel, "Fat signal fraction, MRS"), "The spectrum stays.")
        check("for fracture" not in panel.ui.verdictLabel.text, "The score stays.")


def mr_and_pet_of_one_day_are_one_study(desk):
    """A PET that has a DICOM study of its own takes its role beside the MRI of that day."""
    desk.load_sample()
    panel = desk.open("MarrowAssess")
    desk.add_pet_of_the_day()
    roles = roles_in(panel.ui.studyLabel.toolTip)
    check("SUV" in roles and "T1" in roles, f"Recognized: {roles}")
    check("one patient and day" in panel.ui.studyLabel.text, panel.ui.studyLabel.text)
    desk.show(panel.ui.studyLabel)
    desk.shot("mr_and_pet")


def pet_and_dual_energy_are_measured(desk):
    """CT at two energies becomes maps, which are measured beside PET and shown."""
    desk.load_sample()
    panel = desk.open("MarrowAssess")
    desk.type(panel.ui.ageLineEdit, "34")
    desk.choose(panel.ui.sexComboBox, "M")
    pet, low, high = desk.add_pet_and_ct()
    panel = desk.open("PDFFMapper")
    desk.show_tab(panel, "Dual energy")
    panel.frame.parameters.ctLowVolume, panel.frame.parameters.ctHighVolume = low, high
    desk.unfold(panel.ui.dectAdvanced)
    desk.type(panel.ui.waterCm, "30")
    desk.click(panel.ui.applyButton)
    check("VNCa" in panel.ui.statusLabel.text, panel.ui.statusLabel.text)
    desk.shot("dual_energy")
    desk.click(panel.ui.sendButton)
    panel = desk.open("MarrowAssess")
    study = panel.ui.studyLabel.toolTip
    missing = [one for one in ("SUV: SUV", "VNCa: VNCa") if one not in study]
    check(not missing, f"{missing} are not recognized: {study}")
    desk.click(panel.ui.applyButton)
    missing = [one for one in ("SUVmean", "VNCa") if not has(panel, one)]
    check(not missing, f"{missing} are not in the matrix: {panel.results.matrix.columns}")
    for column, value in (("SUVmean", 5.0), ("VNCa", 54.5)):  # of the infiltrated level
        row, number = desk.cell(panel, "L2", column)
        shown = text_of(desk, panel, "L2", column)
        check(abs(float(shown.split()[0]) - value) < 0.2 * value, f"L2 {column} is {shown}.")
        desk.click_cell(panel.ui.resultsTable, row, number)
        check(
            abs(desk.slice_center()[2] - desk.sample.centers_ras["L2"][2]) < 3, "L2 is elsewhere."
        )
        check(not (over := desk.covered(panel)), f"Drawn over each other: {over}")
        desk.shot(f"pet_ct_{column}")
    desk.unfold(panel.ui.optionsCollapsibleButton)
    desk.type(panel.ui.glucoseSpinBox, "12")
    told = panel.results.matrix.cells[desk.cell(panel, "L2", "SUVmean")].row.details
    check("Blood glucose was 12 mmol/l" in told, told)
    desk.move(pet, 20)
    desk.click(panel.ui.applyButton)
    said = panel.ui.verdictLabel.text
    check(not has(panel, "SUVmean"), "PET is measured 20 mm from the CT.")
    check("SUV was not measured: " in said and "--" not in said, f"Why is not told: {said}")
    desk.shot("pet_apart")
    desk.click(panel.ui.acceptShiftCheckBox)
    check(has(panel, "SUVmean"), f"Accepted, it is not: {panel.ui.verdictLabel.text}")
    desk.click(panel.ui.acceptShiftCheckBox)
    desk.type(panel.ui.glucoseSpinBox, "0")
    desk.fold(panel.ui.optionsCollapsibleButton)


def two_visits_are_compared_side_by_side(desk):
    """Of two studies in one scene each is measured by itself; then both stand in 3D."""
    desk.load_sample()
    panel = desk.open("MarrowAssess")
    earlier, later = desk.add_earlier_visit(6.0)
    parameters = panel._parameterNode
    desk.unfold(panel.ui.studyCollapsibleButton)
    for visit, count in ((earlier, 1), (later, len(desk.sample.volumes))):
        desk.choose(panel.ui.visitComboBox, visit)
        chosen = choices.chosen_volumes(parameters)
        check(len(chosen) == count, f"{visit} has {list(chosen)}.")
        desk.click(panel.ui.applyButton)
        if visit == earlier:
            before = parameters.segmentation
    desk.unfold(panel.ui.reportCollapsibleButton)
    parameters.earlierRegions = before
    desk.wait()
    shown = text_of(desk, panel, "L3", "PDFF")
    check(shown.endswith("RC ▲"), f"The change is shown as {shown}.")
    layout = desk.layout()
    desk.click(panel.ui.sideBySideButton)
    check(desk.layout() != layout, "The layout has one 3D view.")
    desk.shot("two_visits")
    desk.click(panel.ui.sideBySideButton)
    check(desk.layout() == layout, "The layout did not come back.")
    count = desk.count("vtkMRMLScalarVolumeNode")
    desk.click(panel.ui.changeMapButton)
    added = desk.count("vtkMRMLScalarVolumeNode") - count
    check(added == 1, f"{added} maps of the change were shown.")
    desk.shot("change_map")
    desk.fold(panel.ui.reportCollapsibleButton)


def lines_on_a_radiograph_become_a_form(desk):
    """A line over a lesion, named by what it is, becomes a size of the X-ray form."""
    desk.close_scene()
    desk.add_radiograph("definite focal lysis of the left distal femur", 30.0)
    panel = desk.open("MarrowAssess")
    desk.unfold(panel.ui.reportCollapsibleButton)
    with tempfile.TemporaryDirectory() as folder:
        panel._parameterNode.exportFolder = pathlib.Path(folder)
        desk.click(panel.ui.xrayButton)
        form = json.loads((pathlib.Path(folder) / "xray_form.json").read_text())
    sizes = [(one["sign"], one["size_mm"]) for one in form["findings"]]
    check(sizes == [("focal lysis", 30.0)], f"The form says {sizes}.")
    desk.shot("radiograph")
    desk.fold(panel.ui.reportCollapsibleButton)


# What goes wrong --------------------------------------------------------------------------------


def another_grid_is_asked_for_in_place(desk):
    """An image on another voxel grid is named, with a button that resamples it."""
    desk.load_sample()
    panel = desk.open("MarrowAssess")
    panel._parameterNode.t2Volume = desk.coarse_copy(desk.sample.volumes["T2"])
    desk.click(panel.ui.applyButton)
    asked = panel.ui.gridLabel.text
    check(desk.is_shown(panel.ui.gridRow) and "T2 (coarse)" in asked, f"Asked: {asked}")
    check("--" not in asked, f"Options of the command line in the panel: {asked}")
    desk.shot("other_grid")
    desk.click(panel.ui.resampleButton)
    check(not desk.is_shown(panel.ui.gridRow) and panel.results.rows, "It was not resampled.")


def a_canceled_correction_says_so(desk):
    """N4 is canceled: the numbers are as they were, and the panel says so."""
    panel = desk.open("MarrowAssess")
    before = [row.value for row in panel.results.rows]
    panel._parameterNode.autoUpdate = False
    panel._parameterNode.n4 = True
    desk.click_and_cancel(panel, panel.ui.applyButton)
    check(panel.ui.cellLabel.text.startswith("Canceled"), panel.ui.cellLabel.text)
    check([row.value for row in panel.results.rows] == before, "The numbers have changed.")
    panel._parameterNode.n4 = False
    panel._parameterNode.autoUpdate = True


def removed_image_empties_its_role(desk):
    """A removed image is not replaced by another one."""
    panel = desk.open("MarrowAssess")
    desk.remove(desk.sample.volumes["PDFF"])
    check(panel._parameterNode.pdffVolume is None, "Another image took the role of PDFF.")
    check("PDFF" not in panel.ui.verdictLabel.text, "Numbers of the removed image stay.")
    panel._parameterNode.t2Volume = desk.sample.volumes["T1"]
    desk.wait()
    check("T1 is chosen as T1 and T2" in panel.ui.studyLabel.text, panel.ui.studyLabel.text)
    desk.shot("two_roles")


def removed_regions_take_their_results_along(desk):
    """A removed segmentation leaves no labels, tables, charts or words."""
    panel = desk.open("MarrowAssess")
    desk.type(panel.ui.ageLineEdit, "34")
    before = desk.count("vtkMRMLTableNode"), desk.count("vtkMRMLPlotChartNode")
    check(all(before), f"Nothing was shown: {before}")
    desk.remove(panel.results.segmentation)
    left = [desk.count(f"vtkMRML{kind}Node") for kind in ("MarkupsFiducial", "Table", "PlotChart")]
    check(left == [0, 0, 0], f"Left: {left} labels, tables, charts.")
    check(panel.ui.verdictLabel.text.startswith("No assessment"), panel.ui.verdictLabel.text)


def closed_scene_leaves_nothing(desk):
    """Nothing of the previous patient stays in either panel."""
    desk.load_sample()
    panel = desk.open("MarrowAssess")
    desk.type(panel.ui.ageLineEdit, "34")
    desk.click(panel.ui.applyButton)
    check("L2" in panel.ui.verdictLabel.text, "Nothing was shown.")
    before = desk.layout()
    desk.click(panel.ui.showChartButton)
    desk.close_scene()
    check(desk.layout() == before, "The age curve's empty plot stays.")
    texts = [panel.ui.verdictLabel.text, panel.ui.placingLabel.text, panel.ui.studyLabel.text]
    check("L2" not in " ".join(texts), f"Left of the previous patient: {texts}")
    check(panel.ui.ageLineEdit.text == "", "The previous patient's age stays.")
    check(not desk.is_shown(panel.ui.resultsTable), "The previous patient's numbers stay.")
    desk.shot("closed_scene")


# The second tutorial ----------------------------------------------------------------------------


def maps_are_made_and_sent(desk):
    """Echoes become maps, and MarrowAssess takes them."""
    desk.load_mapper_sample()
    panel = desk.open("PDFFMapper")
    desk.show_tab(panel, "Dixon / PDFF")
    desk.shot("mapper")
    desk.click(panel.ui.applyButton)
    said = panel.ui.statusLabel.text
    check("PDFF" in said, f"No map was made: {said}")
    desk.shot("maps")
    desk.click(panel.ui.sendButton)
    chosen = desk.panel("MarrowAssess").logic.getParameterNode()
    check(chosen.pdffVolume is not None, "The maps were not sent.")
    desk.shot("sent")


def ute_echoes_choose_themselves(desk):
    """Echoes from an ultrashort one on are chosen in their tab, and become a map."""
    desk.add_ute_echoes()
    panel = desk.open("PDFFMapper")
    title = panel.ui.tabWidget.tabText(panel.ui.tabWidget.currentIndex)
    check(title == "UTE", f"The tab {title} is in front.")
    listed = panel.tab().table.rowCount
    check(listed == 3, f"The tab lists {listed} echoes.")
    check(panel.ui.applyButton.enabled, panel.ui.applyButton.toolTip)
    desk.shot("ute")


def methods_bring_their_rows(desk):
    """Rows come with their method, take every choice made in them, and leave the panel narrow."""
    panel = desk.open("PDFFMapper")
    desk.show_tab(panel, "Dixon / PDFF")
    method, parameters = panel.ui.dixonInput, panel.frame.parameters
    for title, value in (("Left out", "leave out"), ("Put right where sure", "repair")):
        desk.choose(method, "water and fat")
        desk.unfold(panel.ui.pdffAdvanced)
        desk.choose(panel.ui.exchanged, title)
        check(parameters.exchanged == value, f"{title} was chosen: {parameters.exchanged}")
        desk.choose(method, "echoes")
        shared = parameters.commonPhase
        desk.click(panel.ui.commonPhase)
        check(parameters.commonPhase != shared, "The box takes no click.")
        check(not desk.is_shown(panel.ui.exchanged), "A row of the other method stays.")
    desk.shot("methods")
    desk.fold(panel.ui.pdffAdvanced)
    for tab in panel.tabs:
        desk.show_tab(panel, tab.family.title)
        for recipe in tab.family.recipes:
            setattr(parameters, tab.family.parameter, recipe.choice)
        desk.wait()
    needed = desk.narrowest(panel)
    check(needed <= NARROW_PX, f"PDFFMapper needs {needed} pixels.")


def closed_scene_leaves_no_maps(desk):
    """Nothing of the previous patient stays in PDFFMapper."""
    panel = desk.open("PDFFMapper")
    desk.close_scene()
    check(panel.ui.statusLabel.text == "", f"Left: {panel.ui.statusLabel.text}")
    check(not panel.ui.applyButton.enabled, "Apply can be pressed without images.")


STEPS = (
    images_loaded_while_the_panel_is_open_are_taken,
    both_panels_are_narrow,
    study_to_answer,
    cell_leads_to_region,
    three_d_and_curve_and_back,
    only_what_stands_out_has_a_label,
    a_dark_style_has_lighter_words,
    nothing_covers_anything,
    an_earlier_visit_shows_what_changed,
    ages_are_what_was_typed,
    three_clicks_three_regions,
    every_tissue_is_placed_by_a_click,
    marrow_alone_shows_its_signal,
    a_doubtful_region_waits_for_a_look,
    column_from_one_click,
    spine_from_one_press,
    a_spectrum_and_a_score_are_given,
    mr_and_pet_of_one_day_are_one_study,
    pet_and_dual_energy_are_measured,
    two_visits_are_compared_side_by_side,
    lines_on_a_radiograph_become_a_form,
    another_grid_is_asked_for_in_place,
    a_canceled_correction_says_so,
    removed_image_empties_its_role,
    removed_regions_take_their_results_along,
    closed_scene_leaves_nothing,
    maps_are_made_and_sent,
    ute_echoes_choose_themselves,
    methods_bring_their_rows,
    closed_scene_leaves_no_maps,
)
