"""What a user does in both tutorials, step by step; each step says what it found wrong.

A desk has the mouse, the keyboard and the panels: `slicer_desk.Desk` is a real Slicer under X,
`Testing/Python/test_desktop_steps.py` has one of stand-ins for Slicer's widgets.
"""


def check(condition, said):
    """Stop with what is wrong."""
    if not condition:
        raise AssertionError(said)


def study_to_answer(desk):
    """Sample study, age typed, one press: the lesion of L2 stands out."""
    desk.load_sample()
    panel = desk.open("MarrowAssess")
    study = panel.ui.studyLabel.text
    check("T1: T1" in study and "PDFF: PDFF" in study, f"The study is not recognized: {study}")
    desk.type(panel.ui.ageLineEdit, "34")
    desk.choose(panel.ui.sexComboBox, "M")
    desk.click(panel.ui.applyButton)
    words = panel.ui.verdictLabel.text
    check("L2 Marrow PDFF 4.0 %: below" in words, f"The lesion is not told: {words}")
    check(not panel.ui.show3DButton.checked, "Show 3D is pressed before anything was shown.")
    desk.shot("study_to_answer")


def cell_leads_to_region(desk):
    """A click on a number centers its region and names its reference."""
    panel = desk.open("MarrowAssess")
    desk.click_cell(panel.ui.resultsTable, *desk.cell(panel, "L2", "PDFF"))
    said = panel.ui.cellLabel.text
    check(said.startswith("L2 Marrow PDFF 4.0 %") and "Reference: " in said, said)
    check(abs(desk.slice_center()[2] - desk.sample.centers_ras["L2"][2]) < 3, "L2 is not shown.")
    desk.shot("cell_leads_to_region")


def three_d_and_curve_and_back(desk):
    """3D appears at the first press; an age curve goes away again."""
    panel = desk.open("MarrowAssess")
    desk.click(panel.ui.show3DButton)
    check(panel.lib.views.shows_3d(panel.segmentation()), "3D is not shown at the first press.")
    desk.shot("three_d")
    before = desk.layout()
    desk.click(panel.ui.showChartButton)
    desk.shot("age_curve")
    desk.click(panel.ui.showChartButton)
    check(desk.layout() == before, "The layout before the age curve did not come back.")


def ages_are_what_was_typed(desk):
    """Fast typing, months, and nothing."""
    panel = desk.open("MarrowAssess")
    for typed, years in (("12.5", 12.5), ("0.5", 0.5), ("8 months", 8 / 12), ("", -1.0)):
        desk.type(panel.ui.ageLineEdit, typed)
        found = panel._parameterNode.ageYears
        check(abs(found - years) < 1e-6, f"'{typed}' became {found} years.")
    desk.type(panel.ui.ageLineEdit, "34")


def three_clicks_three_regions(desk):
    """Every click draws a region, the first one named by the user, the others by neighbors."""
    panel = desk.open("MarrowAssess")
    parameters = panel._parameterNode
    parameters.segmentation = panel.logic.addSegmentation(desk.sample.volumes["T1"])
    desk.type(panel.ui.placeSiteLineEdit, "L3")
    desk.click(panel.ui.placeButton)
    drawn = parameters.segmentation.GetSegmentation()
    for number, level in enumerate(("L3", "L2", "L4"), start=1):
        desk.click_slice(desk.sample.centers_ras[level])
        count = drawn.GetNumberOfSegments()
        check(count == number, f"{number} clicks, {count} regions. {panel.ui.placingLabel.text}")
    names = sorted(drawn.GetSegment(one).GetName() for one in drawn.GetSegmentIDs())
    check(names == ["L2 marrow", "L3 marrow", "L4 marrow"], f"Named {names}.")
    desk.shot("three_clicks")
    desk.click(panel.ui.placeButton)
    for number in (2, 1, 0):
        desk.click(panel.ui.undoButton)
        check(drawn.GetNumberOfSegments() == number, "Undo did not take the last region back.")


def column_from_one_click(desk):
    """The column, with reasons to look; a doubtful region gets its verdict by one press."""
    panel = desk.open("MarrowAssess")
    desk.type(panel.ui.placeSiteLineEdit, "L3")
    desk.click(panel.ui.findColumnButton)
    desk.click_slice(desk.sample.centers_ras["L3"])
    said = panel.ui.placingLabel.text
    check(said.startswith("Found: ") and "L3" in said, said)
    doubts = panel.lib.segments.doubts(panel.segmentation())
    check(doubts, "Nothing is doubtful at the volume's edge.")
    desk.shot("column")
    desk.click(panel.ui.rightButton)
    left = panel.lib.segments.doubts(panel.segmentation())
    check(len(left) == len(doubts) - 1, "Region is right did not end a doubt.")


def removed_image_empties_its_role(desk):
    """A removed image is not replaced by another one."""
    import slicer

    panel = desk.open("MarrowAssess")
    slicer.mrmlScene.RemoveNode(desk.sample.volumes["PDFF"])
    desk.wait()
    check(panel._parameterNode.pdffVolume is None, "Another image took the role of PDFF.")
    check("PDFF" not in panel.ui.verdictLabel.text, "Numbers of the removed image stay.")


def closed_scene_leaves_nothing(desk):
    """Nothing of the previous patient stays in either panel."""
    import slicer

    panel = desk.open("MarrowAssess")
    slicer.mrmlScene.Clear(0)
    desk.wait()
    texts = [panel.ui.verdictLabel.text, panel.ui.placingLabel.text, panel.ui.studyLabel.text]
    check("L2" not in " ".join(texts), f"Left of the previous patient: {texts}")
    check(panel.ui.ageLineEdit.text == "", "The previous patient's age stays.")
    desk.shot("closed_scene")


def maps_are_made_and_sent(desk):
    """Echoes become maps, and MarrowAssess takes them."""
    desk.load_mapper_sample()
    panel = desk.open("PDFFMapper")
    desk.click(panel.ui.applyButton)
    said = panel.ui.statusLabel.text
    check("PDFF" in said, f"No map was made: {said}")
    desk.shot("maps")
    desk.click(panel.ui.sendButton)
    chosen = desk.panel("MarrowAssess").logic.getParameterNode()
    check(chosen.pdffVolume is not None, "The maps were not sent.")
    desk.shot("sent")


STEPS = (
    study_to_answer,
    cell_leads_to_region,
    three_d_and_curve_and_back,
    ages_are_what_was_typed,
    three_clicks_three_regions,
    column_from_one_click,
    removed_image_empties_its_role,
    closed_scene_leaves_nothing,
    maps_are_made_and_sent,
)
