"""How long a user waits: every action of both panels in a real Slicer, by mouse and keyboard.

SLICER --no-splash --disable-settings --additional-module-paths MarrowAssess PDFFMapper \
    --python-script Testing/desktop/times.py

For each action: s to the first change on the screen (or of the mouse pointer), s to the last one,
the longest time without a change between the two, and whether it shows progress and Cancel. Nothing
is asserted. It needs an X display and xdotool; MARROWASSESS_DESKTOP_OUT takes times.txt.
"""

import contextlib
import functools
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback

import qt
import slicer

sys.path.insert(0, os.path.dirname(__file__))
import slicer_desk
import steps

HERE = pathlib.Path(__file__).parent
STILL_S = 0.6  # without a change: the action has ended
LOOK_S = 0.35  # for hovering to have been painted
FIRST_GOAL_S, END_GOAL_S = 0.3, 2.0
LONGEST_S = 300


class Watch:
    """The times at which the screen changes, told by a process of its own."""

    def __init__(self):
        self._process = subprocess.Popen(
            ["python3", str(HERE / "screen_watch.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LD_"))},
        )  # fmt: skip
        os.set_blocking(self._process.stdout.fileno(), False)
        self._rest = b""
        self.pressed, self.pressing = None, False

    def press(self, what):
        """Press the mouse where it is ("click") or "return"; `pressed` is the time of it."""
        self.pressed, self.pressing = None, True
        self._process.stdin.write(f"{what}\n".encode())
        self._process.stdin.flush()

    def changes(self):
        """Those since the last call."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._process.stdout.fileno(), 65536):
                self._rest += chunk
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            if line.startswith(b"pressed"):
                self.pressed, self.pressing = float(line.split()[1]), False
        return [float(line) for line in lines if not line.startswith(b"pressed")]

    def end(self):
        self._process.stdin.close()


class TimedDesk(slicer_desk.Desk):
    """A desk whose presses and keys are timed under the name of what is done."""

    def __init__(self):
        self.watch, self.name, self.rows = Watch(), None, []

    @contextlib.contextmanager
    def timed(self, name):
        """Time the events inside; the last one counts, those before it lead there."""
        self.name, self._events = name, []
        try:
            yield
        except Exception:
            self.say(f"{name}: {traceback.format_exc(limit=2)}")
        finally:
            self.name = None
        if self._events:
            self.rows.append((name, *self._events[-1]))
            first, end, gap, cancel = self._events[-1]
            if not end:
                self.say(f"{name:<52}   nothing to be seen")
                return
            self.say(
                f"{name:<52} {first:6.2f} {end:7.2f} {gap:6.2f}  {'yes' if cancel else '-':<6}"
                f"{'' if first <= FIRST_GOAL_S else ' FIRST'}"
                f"{'' if end <= END_GOAL_S or cancel else ' END'}"
            )

    def say(self, line):
        print(line, flush=True)
        with open(slicer_desk.OUT / "times.txt", "a") as file:
            print(line, file=file)

    def follow(self, do):
        """Do something, and wait until the screen is still and no panel works."""
        self.watch.changes()
        self.watch.pressed = None
        started = time.monotonic()
        do()
        returned = time.monotonic()
        changes, cancel = [], False
        while True:
            slicer.app.processEvents()
            cancel = cancel or self.can_cancel()
            changes += self.watch.changes()
            now = time.monotonic()
            last = changes[-1] if changes else returned
            since = max(last, returned, self.watch.pressed or 0.0)
            still = now - since > STILL_S and not (self.watch.pressing or self.busy())
            if still or now - started > LONGEST_S:
                break
            time.sleep(0.005)
        started = self.watch.pressed or started
        times = [one - started for one in changes if one >= started]
        if not times:
            return 0.0, 0.0, 0.0, cancel
        gaps = [b - a for a, b in itertools.pairwise(times)]
        return times[0], times[-1], max(gaps, default=0.0), cancel

    def can_cancel(self):
        """Whether a panel has shown its progress bar, or a dialog with one."""
        return self.saw_progress

    def event(self, do):
        self.saw_progress = False
        found = self.follow(do)
        if self.name:
            self._events.append(found)

    def press(self, widget, x, y):
        slicer_desk.move_to(widget, x, y)
        self.quiet()
        self.event(lambda: self.watch.press("click"))

    def quiet(self):
        """Until hovering has been painted."""
        end = time.monotonic() + LOOK_S
        while time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.01)

    def type(self, line, text):
        self.click(line)
        slicer_desk.xdotool("key", "ctrl+a", "Delete")
        slicer_desk.xdotool("type", "--delay", 15, text)
        self.quiet()
        self.event(lambda: self.watch.press("return"))

    def choose(self, box, text):
        self.click(box)
        slicer_desk.xdotool("type", "--delay", 15, text)
        self.quiet()
        self.event(lambda: self.watch.press("return"))

    def call(self, do):
        """Time what a dialog or another module would call."""
        self.quiet()
        self.event(do)


def watch_progress(desk):
    """Note in a desk when a panel shows progress and Cancel."""
    for name in ("MarrowAssess", "PDFFMapper"):
        frame = desk.panel(name).frame
        working = frame.working

        def noted(failure, cancelable=False, working=working):
            desk.saw_progress = desk.saw_progress or cancelable
            return working(failure, cancelable)

        frame.working = noted
    make = slicer.util.createProgressDialog

    def shown(*arguments, **properties):
        desk.saw_progress = True
        return make(*arguments, **properties)

    slicer.util.createProgressDialog = shown


def marrow(desk):
    """Every action of MarrowAssess."""
    with desk.timed("Open MarrowAssess"):
        desk.call(lambda: slicer.util.selectModule("MarrowAssess"))
    panel = desk.panel("MarrowAssess")
    slicer.util.selectModule("PDFFMapper")
    desk.wait()
    with desk.timed("Open PDFFMapper again"):
        desk.call(lambda: slicer.util.selectModule("PDFFMapper"))
    watch_progress(desk)
    with desk.timed("Open MarrowAssess again"):
        desk.call(lambda: slicer.util.selectModule("MarrowAssess"))
    ui = panel.ui
    with desk.timed("A box that does nothing (Slicer's own time)"):
        desk.click(ui.leaveOutVeinCheckBox)
    desk.click(ui.leaveOutVeinCheckBox)
    folder = pathlib.Path(tempfile.mkdtemp())
    desk.write_dicom_study(folder)
    with desk.timed("Load DICOM, 2 series (after its dialog)"):
        desk.call(lambda: panel.folder.load(str(folder)))
    with desk.timed("What is in a folder (after its dialog)"):
        desk.call(lambda: panel.folder.inspect(str(folder)))
    panel.ui.inspectionText.visible = False
    with desk.timed("Find spine and measure, first time"):
        desk.click(ui.findSpineButton)
    with desk.timed("Find spine and measure, again"):
        desk.click(ui.findSpineButton)
    with desk.timed("Close the scene"):
        desk.call(lambda: slicer.mrmlScene.Clear(0))
    desk.open("SampleData")
    with desk.timed("Load the sample, in Sample Data"):
        desk.click(desk.sample_button("LumbarSpine"))
    slicer.util.selectModule("MarrowAssess")
    desk.wait()
    desk.sample = desk.loaded_sample()
    with desk.timed("Type the age"):
        desk.type(ui.ageLineEdit, "34")
    with desk.timed("Choose the sex"):
        desk.choose(ui.sexComboBox, "M")
    for again in ("first time", "again"):
        with desk.timed(f"Apply, {again}"):
            desk.click(ui.applyButton)
    with desk.timed("Age changed, with results"):
        desk.type(ui.ageLineEdit, "55")
    with desk.timed("Field strength typed"):
        desk.type(ui.fieldStrengthSpinBox, "1.5")
    desk.type(ui.ageLineEdit, "34")
    results(desk, panel)
    desk.click(ui.show3DButton)  # surfaces are made anew with each region while they are shown
    images(desk, panel)
    options(desk, panel)
    report(desk, panel, folder)
    regions(desk, panel)


def results(desk, panel):
    """Section 2."""
    ui = panel.ui
    for site, column in (("L2", "PDFF"), ("L3", "T1/muscle"), ("L1-L4", "VBQ")):
        with desk.timed(f"Number clicked: {site} {column}"):
            desk.click_cell(ui.resultsTable, *desk.cell(panel, site, column))
    for what in ("first time", "off", "again"):
        with desk.timed(f"Show 3D, {what}"):
            desk.click(ui.show3DButton)
    with desk.timed("Age curve, first time"):
        desk.click(ui.showChartButton)
    with desk.timed("Number clicked beside the curve: L4 PDFF"):
        desk.click_cell(ui.resultsTable, *desk.cell(panel, "L4", "PDFF"))
    with desk.timed("Age curve, off"):
        desk.click(ui.showChartButton)
    for box, name in (
        (ui.showOverlayCheckBox, "Color regions by z-score"),
        (ui.showNamesCheckBox, "Name every level"),
    ):
        for _ in range(2):
            with desk.timed(f"{name}, {'off' if box.checked else 'on'}"):
                desk.click(box)
    with desk.timed("Statements without a z-score: show"):
        desk.click_last_line(ui.verdictLabel)
    with desk.timed("All numbers, opened"):
        desk.unfold(ui.tableCollapsibleButton)
    desk.fold(ui.tableCollapsibleButton)


def images(desk, panel):
    """Section 1."""
    ui = panel.ui
    for section, name in (
        (ui.imagesCollapsibleButton, "Images"),
        (ui.mapsCollapsibleButton, "Maps"),
    ):
        with desk.timed(f"{name}, opened"):
            desk.unfold(section)
    for selector, name in ((ui.t2Selector, "T2"), (ui.pdffSelector, "PDFF")):
        node = selector.currentNode()
        for wanted, what in ((None, "None"), (node, "the image")):
            with desk.timed(f"{name} := {what}, with results"):
                desk.call(lambda s=selector, n=wanted: s.setCurrentNode(n))
    desk.fold(ui.mapsCollapsibleButton)
    desk.fold(ui.imagesCollapsibleButton)


def options(desk, panel):
    """How regions are measured."""
    ui = panel.ui
    with desk.timed("Options, opened"):
        desk.unfold(ui.optionsCollapsibleButton)
    with desk.timed("Erosion margin 1 mm"):
        desk.type(ui.erosionSpinBox, "1")
    desk.type(ui.erosionSpinBox, "0")
    for box, name in (
        (ui.textureCheckBox, "Texture of marrow"),
        (ui.fracturesCheckBox, "Heights of vertebral bodies"),
        (ui.resampleCheckBox, "Resample onto one grid"),
        (ui.useMarkupsCheckBox, "Markups are regions too"),
        (ui.autoUpdateCheckBox, "Update while edited"),
    ):
        for what in ("toggled", "toggled back"):
            with desk.timed(f"{name}, {what}"):
                desk.click(box)
    with desk.timed("Correct coil shading (N4), toggled"):
        desk.click(ui.n4CheckBox)
    with desk.timed("Apply with N4"):
        desk.click(ui.applyButton)
    with desk.timed("Correct coil shading (N4), toggled back"):
        desk.click(ui.n4CheckBox)
    desk.fold(ui.optionsCollapsibleButton)


def report(desk, panel, folder):
    """The report."""
    ui = panel.ui
    desk.unfold(ui.reportCollapsibleButton)
    panel._parameterNode.exportFolder = folder / "report"
    for again in ("first time", "again"):
        with desk.timed(f"Export report, {again}"):
            desk.click(ui.exportButton)
    with desk.timed("Copy for the console"):
        desk.click(ui.copyButton)
    with desk.timed("Add to my controls"):
        desk.click(ui.addControlButton)
    desk.fold(ui.reportCollapsibleButton)


def regions(desk, panel):
    """Section 3."""
    ui = panel.ui
    sample = desk.sample
    drawn = sample.segmentation
    with desk.timed("Segmentation := another, empty one"):
        desk.call(
            lambda: setattr(
                panel._parameterNode, "segmentation",
                panel.logic.addSegmentation(sample.volumes["T1"]),
            )
        )  # fmt: skip
    desk.type(ui.placeSiteLineEdit, "L3")
    with desk.timed("Place, pressed"):
        desk.click(ui.placeButton)
    for n, level in enumerate(("L3", "L2", "L4")):
        with desk.timed(f"Marrow clicked: {level}{' (first)' if not n else ''}"):
            desk.click_slice(sample.centers_ras[level])
    with desk.timed("Place, released"):
        desk.click(ui.placeButton)
    for tissue, like in (
        ("disc", "L3-L4 disc"), ("muscle", "left psoas muscle"), ("csf", "L3 CSF"), ("fat", "fat"),
        ("noise", "fat"),
    ):  # fmt: skip
        with desk.timed(f"Tissue chosen: {tissue}"):
            desk.choose(ui.placeRoleComboBox, tissue)
        desk.click(ui.placeButton)
        with desk.timed(f"{tissue} clicked"):
            desk.click_slice(drawn.GetSegmentCenterRAS(like))
        desk.click(ui.placeButton)
    for box, name in (
        (ui.leaveOutVeinCheckBox, "Leave out vein"),
        (ui.leaveOutFatCheckBox, "Leave out fat"),
    ):
        with desk.timed(name):
            desk.click(box)
        desk.click(box)
    desk.choose(ui.placeRoleComboBox, "marrow")
    desk.type(ui.placeSiteLineEdit, "L1")
    desk.click(ui.placeButton)
    with desk.timed("Marrow clicked with doubt: L5 named L1"):
        desk.click_slice(sample.centers_ras["L5"])
    desk.click(ui.placeButton)
    if ui.doubtRow.visible:
        with desk.timed("Look at it"):
            desk.click(ui.lookButton)
        with desk.timed("Region is right"):
            desk.click(ui.rightButton)
    with desk.timed("Levels up"):
        desk.click(ui.levelsUpButton)
    with desk.timed("Levels down"):
        desk.click(ui.levelsDownButton)
    with desk.timed("Undo"):
        desk.click(ui.undoButton)
    with desk.timed("Lumbar vertebrae := 6"):
        desk.choose(ui.lumbarComboBox, "6")
    desk.choose(ui.lumbarComboBox, "5")
    desk.type(ui.placeSiteLineEdit, "L3")
    desk.click(ui.findColumnButton)
    with desk.timed("Find column, clicked in L3"):
        desk.click_slice(sample.centers_ras["L3"])
    with desk.timed("Find spine and measure, sample"):
        desk.click(ui.findSpineButton)
    desk.unfold(ui.optionsCollapsibleButton)
    for what in ("on a found spine", "off again"):
        with desk.timed(f"Heights of vertebral bodies, {what}"):
            desk.click(ui.fracturesCheckBox)
    desk.fold(ui.optionsCollapsibleButton)
    others(desk, panel)


def others(desk, panel):
    """Labels of other tools."""
    ui = panel.ui
    t1 = desk.sample.volumes["T1"]
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(desk.sample.segmentation, "L4 marrow", t1)
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    labels.CopyContent(t1)
    slicer.util.updateVolumeFromArray(labels, (44 * (mask > 0)).astype("int16"))
    with desk.timed("Other tools, opened"):
        desk.unfold(ui.importCollapsibleButton)
    with desk.timed("Labels chosen"):
        desk.call(lambda: ui.importSelector.setCurrentNode(labels))
    with desk.timed("Made by: TotalSpineSeg"):
        desk.choose(ui.importToolComboBox, "TotalSpineSeg")
    with desk.timed("Import"):
        desk.click(ui.importButton)
    with desk.timed("Segment with a tool that is not installed"):
        subprocess.Popen(["sh", "-c", "sleep 2.5; xdotool key Return"])  # closes the popup
        desk.click(ui.segmentWithButton)
    desk.fold(ui.importCollapsibleButton)


def mapper(desk):
    """Every action of PDFFMapper."""
    desk.close_scene()
    with desk.timed("Open PDFFMapper once more"):
        desk.call(lambda: slicer.util.selectModule("PDFFMapper"))
    panel = desk.panel("PDFFMapper")
    desk.open("SampleData")
    with desk.timed("Load the sample's echoes, in Sample Data"):
        desk.click(desk.sample_button("LumbarSpineEchoes"))
    slicer.util.selectModule("PDFFMapper")
    desk.wait()
    ui = panel.ui
    for again in ("first time", "again"):
        with desk.timed(f"Fit PDFF, {again}"):
            desk.click(ui.applyButton)
    with desk.timed("Echo time typed"):
        table = panel.tabs[0].table
        desk.call(lambda: table.item(0, 2).setText("1.2"))
    for wanted in ("water and fat", "echoes"):
        with desk.timed(f"Method := {wanted}"):
            desk.choose(panel.tabs[0].widgets["dixonInput"], wanted)
    bar = ui.tabWidget.tabBar()
    for n, family in enumerate(panel.tabs):
        with desk.timed(f"Tab: {family.family.title}"):
            place = bar.tabRect(n).center()
            desk.press(bar, place.x(), place.y())
        if family.family.command == "ivim":
            box = family.widgets["diffusionModel"]
            for recipe in family.family.recipes:
                with desk.timed(f"Model := {recipe.choice}"):
                    desk.call(functools.partial(box.setCurrentText, recipe.choice))
                with desk.timed(f"Fit {recipe.choice}"):
                    if ui.applyButton.enabled:
                        desk.click(ui.applyButton)
    bar_place = bar.tabRect(0).center()
    desk.press(bar, bar_place.x(), bar_place.y())
    with desk.timed("Send to MarrowAssess"):
        desk.click(ui.sendButton)


def large(desk):
    """Two images of 512 x 512 x 120 voxels."""
    desk.close_scene()
    panel = desk.open("MarrowAssess")
    ui = panel.ui
    desk.add_large_images()
    with desk.timed("512 x 512 x 120: find spine and measure"):
        desk.click(ui.findSpineButton)
    with desk.timed("512 x 512 x 120: Apply"):
        desk.click(ui.applyButton)
    found = panel._parameterNode.segmentation
    desk.show_slices(panel._parameterNode.t1Volume)
    panel._parameterNode.segmentation = panel.logic.addSegmentation(panel._parameterNode.t1Volume)
    desk.type(ui.placeSiteLineEdit, "L3")
    desk.click(ui.placeButton)
    for level in ("L3", "L2"):
        with desk.timed(f"512 x 512 x 120: marrow clicked, {level}"):
            desk.click_slice(found.GetSegmentCenterRAS(f"{level} marrow"))
    desk.click(ui.placeButton)
    with desk.timed("512 x 512 x 120: undo"):
        desk.click(ui.undoButton)


def main():
    """All of them, then the count of those within the goals."""
    slicer.util.mainWindow().showMaximized()
    slicer.app.setCursorFlashTime(0)
    (slicer_desk.OUT / "times.txt").unlink(missing_ok=True)
    slicer.util.selectModule("PDFFMapper")
    slicer.app.processEvents()
    desk = TimedDesk()
    desk.saw_progress = False
    desk.say(f"{'action':<52}  first     end    gap  cancel")
    for part in (marrow, mapper, large):
        try:
            part(desk)
        except Exception:
            desk.say(traceback.format_exc())
    late = [row for row in desk.rows if row[1] > FIRST_GOAL_S]
    long = [row for row in desk.rows if row[2] > END_GOAL_S and not row[4]]
    desk.say(
        f"{len(desk.rows)} actions: {len(late)} show nothing within {FIRST_GOAL_S} s, "
        f"{len(long)} take over {END_GOAL_S:g} s without progress and Cancel."
    )
    desk.watch.end()
    steps.check(desk.rows, "Nothing was timed.")
    slicer.util.exit(0)


if __name__ == "__main__":
    qt.QTimer.singleShot(1000, main)
