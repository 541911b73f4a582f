"""Runs inside Slicer: the steps with real mouse and keyboard events, by xdotool.

Slicer runs it as --python-script; `test_in_slicer.py` says where the outcome goes.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback

import qt
import slicer
import vtk

sys.path.insert(0, os.path.dirname(__file__))
import steps
from scene_desk import SceneDesk

OUT = pathlib.Path(os.environ["MARROWASSESS_DESKTOP_OUT"])
LONGEST_S = 300  # a step's work; an unoptimized Slicer is slow
SHORTEST_S = 0.6  # after which a panel's delayed work has begun
CANCEL_AFTER_S = 1.5
ROUND_S = 0.01  # between two looks at the events
SETTLED_S = 0.2
MARK = 8  # from the left of a check box to its mark, pixels
LINE = 11  # from the end of a label into its last line, pixels
TITLE = 12  # from the corner of a section to its title, pixels


def xdotool(*arguments):
    """One real event."""
    subprocess.run(["xdotool", *map(str, arguments)], check=True)


def move_to(widget, x, y):
    """Put the mouse at a place of a widget: the screen's pixels are smaller on a scaled one."""
    place, scale = widget.mapToGlobal(qt.QPoint(round(x), round(y))), widget.devicePixelRatioF()
    xdotool("mousemove", round(place.x() * scale), round(place.y() * scale))


class Desk(SceneDesk):
    """Mouse, keyboard and panels of a running Slicer."""

    sample = None

    def wait(self, seconds=SHORTEST_S):
        """Until the panels have nothing more to do, but at least so long.

        What views take to draw does not count: an event may wait behind it on a busy machine.
        """
        rounds = round(seconds / ROUND_S)
        latest = time.monotonic() + LONGEST_S
        while rounds > 0 or self.busy():
            slicer.app.processEvents()
            time.sleep(ROUND_S)
            rounds -= 1
            if time.monotonic() > latest:
                raise TimeoutError(f"A panel was busy for {LONGEST_S} s.")

    def busy(self):
        """Whether a panel works or is about to."""
        return any(self.panel(name).frame.busy for name in ("MarrowAssess", "PDFFMapper"))

    def panel(self, name):
        """A module's panel."""
        return slicer.util.getModuleWidget(name)

    def open(self, name):
        """Open a module, unless it is open."""
        if slicer.util.selectedModule() != name:
            slicer.util.selectModule(name)
        self.wait()
        return self.panel(name)

    def load_sample(self):
        """The digital spine, in place of what was open."""
        self.close_scene()
        self.sample = self.panel("MarrowAssess").logic.loadSample()
        self.wait()

    def sample_button(self, name):
        """The button of a sample in the Sample Data module, which is open."""
        module = slicer.util.getModuleWidget("SampleData")
        return slicer.util.findChild(module.parent, f"MarrowAssess{name}PushButton")

    def loaded_sample(self):
        """The digital spine as the Sample Data module has loaded it."""
        from MarrowAssessLib.sample.nodes import SampleNodes

        volumes = {n.GetName(): n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")}
        regions = slicer.util.getNode("Regions")
        names = [name for name in steps.names_in(regions.GetSegmentation()) if "marrow" in name]
        centers = {name.split()[0]: regions.GetSegmentCenterRAS(name) for name in names}
        return SampleNodes(volumes, regions, {}, centers)

    def load_dicom_study(self):
        """A study through the DICOM module: imported into a database, and its patient loaded."""
        from DICOMLib import DICOMUtils

        self.close_scene()
        with tempfile.TemporaryDirectory() as folder:
            self.write_dicom_study(pathlib.Path(folder))
            with DICOMUtils.TemporaryDICOMDatabase() as database:
                DICOMUtils.importDicom(folder, database)
                (patient,) = database.patients()
                DICOMUtils.loadPatientByUID(patient)
                self.wait()

    def load_mapper_sample(self):
        """The spine's echoes, in place of what was open."""
        self.close_scene()
        self.panel("MarrowAssess").logic.loadMapperSample()
        self.wait()

    def press(self, widget, x, y):
        """Move the mouse to a place of a widget and press it there."""
        move_to(widget, x, y)
        slicer.app.processEvents()
        xdotool("click", 1)
        self.wait()

    def is_shown(self, widget):
        return widget.visible

    def show(self, widget):
        """Scroll to a widget, once the panel has taken its form."""
        self.wait(SETTLED_S)
        area = widget
        while area is not None and not area.inherits("QScrollArea"):
            area = area.parent()
        if area is not None:
            area.ensureWidgetVisible(widget)
            slicer.app.processEvents()

    def click(self, widget):
        """Press a widget, having scrolled to it: a box at its mark, others in their middle."""
        self.show(widget)
        steps.check(widget.visible and widget.enabled, f"{widget.objectName} cannot be pressed.")
        x = MARK if widget.inherits("QCheckBox") else widget.width / 2
        self.press(widget, x, widget.height / 2)

    def click_last_line(self, label):
        """Press the beginning of a label's last line."""
        self.show(label)
        self.press(label, 20, label.height - LINE)

    def click_and_cancel(self, panel, button):
        """Press Apply, and again while it runs."""
        self.show(button)
        move_to(button, button.width / 2, button.height / 2)
        slicer.app.processEvents()
        again = ["xdotool", "click", "1", "sleep", str(CANCEL_AFTER_S), "click", "1"]
        subprocess.Popen(again)
        self.wait(CANCEL_AFTER_S + SHORTEST_S)

    def unfold(self, section):
        """Open a section of the panel."""
        self.fold(section, False)

    def fold(self, section, collapsed=True):
        """Close a section of the panel by its title."""
        self.show(section)
        if section.collapsed != collapsed:
            self.press(section, TITLE, TITLE)
        steps.check(section.collapsed == collapsed, f"{section.objectName} does not open or close.")

    def show_tab(self, panel, title):
        """Press the title of a tab."""
        bar = panel.ui.tabWidget.tabBar()
        (number,) = [n for n in range(bar.count) if bar.tabText(n) == title]
        self.show(bar)
        place = bar.tabRect(number).center()
        self.press(bar, place.x(), place.y())
        steps.check(bar.currentIndex == number, f"The tab {title} does not open.")

    def covered(self, panel):
        """Names of widgets that are drawn over each other."""
        self.wait(SETTLED_S)  # the panel has taken its form
        shown = {}
        for name, widget in vars(panel.ui).items():
            if not widget.inherits("QWidget") or not widget.visible:
                continue
            corner = widget.mapToGlobal(qt.QPoint(0, 0))
            shown[name] = widget, qt.QRect(corner.x(), corner.y(), widget.width, widget.height)
        return [
            (one, other)
            for one, (widget, place) in shown.items()
            for other, (beside, its_place) in shown.items()
            if one < other
            and place.intersects(its_place)
            and not widget.isAncestorOf(beside)
            and not beside.isAncestorOf(widget)
        ]

    def cut_titles(self, table):
        """Titles of a table's columns and rows that their header cannot hold."""
        across, down = table.horizontalHeader(), table.verticalHeader()
        columns = [
            table.horizontalHeaderItem(n).text()
            for n in range(table.columnCount)
            if across.sectionSizeHint(n) > across.sectionSize(n)
        ]
        return columns + (["sites"] if down.sizeHint.width() > down.width else [])

    def narrowest(self, panel):
        """The width that a panel needs with every section open, pixels."""
        area = panel.ui.applyButton
        while not area.inherits("QScrollArea"):
            area = area.parent()
        sections = [one for one in vars(panel.ui).values() if one.inherits("ctkCollapsibleButton")]
        closed = [one for one in sections if one.collapsed]
        for one in closed:
            one.collapsed = False
        self.wait(SETTLED_S)
        needed = area.widget().minimumSizeHint.width() + area.verticalScrollBar().sizeHint.width()
        for one in closed:
            one.collapsed = True
        return needed

    def type(self, line, text):
        """Replace what a line holds, key by key."""
        self.click(line)
        xdotool("key", "ctrl+a", "Delete")
        if text:
            xdotool("type", "--delay", 15, text)
        xdotool("key", "Return")
        self.wait()

    def choose(self, box, text):
        """Open a combo box and choose by arrow keys; words are lost where a machine is slow."""
        self.click(box)
        xdotool("key", "Home", *(["Down"] * box.findText(text)), "Return")
        self.wait()
        steps.check(box.currentText == text, f"{box.objectName} says {box.currentText}.")

    def cell(self, panel, site, column):
        """Row and column of a number."""
        columns = [title.split("\n")[0] for title in panel.results.matrix.columns]
        return panel.results.matrix.sites.index(site), columns.index(column)

    def click_cell(self, table, row, column):
        """Press a cell, having scrolled to the table and within it."""
        self.show(table)
        table.scrollToItem(table.item(row, column))
        slicer.app.processEvents()
        area = table.visualItemRect(table.item(row, column))
        self.press(table.viewport(), area.center().x(), area.center().y())

    def click_slice(self, position):
        """Press a point in the sagittal view, having brought its slice up."""
        view = slicer.app.layoutManager().sliceWidget("Yellow").sliceView()
        node = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeYellow")
        node.JumpSliceByOffsetting(*position)
        slicer.app.processEvents()
        to_xy = vtk.vtkMatrix4x4()
        to_xy.DeepCopy(node.GetXYToRAS())
        to_xy.Invert()
        scale = view.devicePixelRatioF()
        x, y = (one / scale for one in to_xy.MultiplyPoint([*position, 1.0])[:2])
        self.press(view, x, view.height - y)

    def slice_center(self):
        """Where the sagittal view is centered, RAS mm."""
        matrix = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeYellow").GetSliceToRAS()
        return [matrix.GetElement(row, 3) for row in range(3)]

    def layout(self):
        """The layout's number."""
        return slicer.app.layoutManager().layout

    def dark(self, on):
        """Slicer's dark style or its usual one, as its settings change them."""
        slicer.app.setStyle("Dark Slicer" if on else "Slicer")
        slicer.app.setPalette(slicer.app.style().standardPalette())
        self.wait()

    def shot(self, name):
        """Keep what is on the screen."""
        slicer.app.processEvents()
        slicer.util.forceRenderAllViews()
        slicer.util.mainWindow().grab().save(str(OUT / f"{name}.png"))


def main():
    """Every step; those that passed and what was wrong with the others, as JSON."""
    desk, done, failed = Desk(), [], {}
    known = [step.__name__ for step in steps.STEPS]
    slicer.util.mainWindow().showMaximized()
    slicer.app.processEvents()
    for step in steps.STEPS:
        try:
            step(desk)
        except Exception:
            failed[step.__name__] = traceback.format_exc()
            desk.shot(f"failed_{step.__name__}")
        else:
            done.append(step.__name__)
        # Also where Slicer does not live to see the next one.
        outcome = {"steps": known, "done": done, "failed": failed}
        (OUT / "outcome.json").write_text(json.dumps(outcome))
    slicer.util.exit(1 if failed else 0)


if __name__ == "__main__":
    qt.QTimer.singleShot(1000, main)
