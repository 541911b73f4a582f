"""The steps of Testing/desktop against stand-ins: mouse and keys by Qt, views by Slicer's own.

It shows that the steps can be done and fail where they should; that they pass in the desktop is for
the desktop to say (Testing/desktop/test_in_slicer.py).
"""

import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

import slicer
from MarrowAssessLib.scene import headless

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "desktop"))
import steps
from scene_desk import SceneDesk

pytestmark = pytest.mark.skipif(
    not headless.rendering_available(),
    reason=f"no working EGL here. {headless.INSTALL_RENDERING}",
)


KEYS_MS = 50  # between the keys of one word


class Desk(SceneDesk):
    """Panels on stand-ins, a sagittal view of slicer-core."""

    def __init__(self, panels, stand_ins):
        self.panels, self.stand_ins = panels, stand_ins
        self.sample = self.view = None
        self.views = []

    def wait(self):
        self.stand_ins.wait()

    def panel(self, name):
        return self.panels[name]

    def open(self, name):
        self.panels[name].enter()
        self.wait()
        return self.panels[name]

    def load_sample(self):
        from slice_view import SliceView

        self.close_scene()
        self.sample = self.panels["MarrowAssess"].logic.loadSample()
        self.layout_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLayoutNode", "layout")
        self.layout_node.SetViewArrangement(self.layout_node.SlicerLayoutFourUpView)
        while len(views := slicer.util.getNodesByClass("vtkMRMLViewNode")) < 2:
            self.views.append(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLViewNode"))
            self.views[-1].SetLayoutName(str(len(views) + 1))  # as Slicer's layouts make
        self.view = SliceView(self.sample.volumes["T1"], self.sample.centers_ras["L3"])
        self.wait()

    def load_dicom_study(self):  # by this software's own reader, as there is no database
        from PDFFMapperLib.scene.dicom import load_dicom

        self.close_scene()
        with tempfile.TemporaryDirectory() as folder:
            self.write_dicom_study(Path(folder))
            load_dicom(folder)
            self.wait()

    def load_mapper_sample(self):
        self.close_scene()
        self.panels["MarrowAssess"].logic.loadMapperSample()

    def close_scene(self):
        if self.view:
            self.view.close()
            self.view = None
        super().close_scene()
        while self.views:
            slicer.mrmlScene.RemoveNode(self.views.pop())

    def click(self, proxy):
        from PySide6 import QtCore
        from PySide6.QtTest import QTest

        steps.check(proxy.qobject.isEnabled(), f"{proxy.qobject.objectName()} is disabled.")
        proxy.qobject.resize(proxy.qobject.sizeHint())  # no window lays it out
        QTest.mouseClick(proxy.qobject, QtCore.Qt.LeftButton)
        self.wait()

    def dark(self, on):
        from PySide6 import QtGui, QtWidgets

        palette = QtGui.QPalette(QtGui.QColor("#353535" if on else "#eee"))
        QtWidgets.QApplication.setPalette(palette)
        for told in slicer.app.slots.values():
            told(palette)
        self.wait()

    def click_last_line(self, proxy):
        proxy.qobject.linkActivated.emit("said")

    def click_and_cancel(self, panel, proxy):
        from PySide6 import QtCore
        from PySide6.QtTest import QTest

        def cancel(part):
            QTest.mouseClick(panel.ui.applyButton.qobject, QtCore.Qt.LeftButton)
            return progress(part)

        progress, panel.frame.progress = panel.frame.progress, cancel
        self.click(proxy)
        panel.frame.progress = progress

    def show_tab(self, panel, title):
        tabs = panel.ui.tabWidget.qobject
        titles = [tabs.tabText(n) for n in range(tabs.count())]
        tabs.setCurrentIndex(titles.index(title))
        self.wait()

    def unfold(self, section):
        section.collapsed = False

    def fold(self, section):
        section.collapsed = True

    def is_shown(self, proxy):  # no window is
        return not proxy.qobject.isHidden()

    def covered(self, panel):  # Slicer's widgets only can tell
        return []

    def cut_titles(self, table):
        return []

    def narrowest(self, panel):  # a hidden tab or section counts as well
        return panel.shown.minimumSizeHint().width()

    def type(self, proxy, text):
        self.stand_ins.type_into(proxy, text)

    def choose(self, proxy, text):
        from PySide6 import QtWidgets
        from PySide6.QtTest import QTest

        QtWidgets.QApplication.setKeyboardInputInterval(KEYS_MS)
        self.stand_ins.wait(2e-3 * KEYS_MS)  # or a list takes the keys as those of the last word
        QTest.keyClicks(proxy.qobject, text)
        self.wait()

    def cell(self, panel, site, column):
        columns = [title.split("\n")[0] for title in panel.results.matrix.columns]
        return panel.results.matrix.sites.index(site), columns.index(column)

    def click_cell(self, table, row, column):
        table.qobject.cellClicked.emit(row, column)

    def click_slice(self, position):
        self.view.press(position)
        self.wait()

    def slice_center(self):
        matrix = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeYellow").GetSliceToRAS()
        return [matrix.GetElement(row, 3) for row in range(3)]

    def layout(self):
        return self.layout_node.GetViewArrangement()

    def show(self, proxy):
        pass

    def shot(self, name):
        pass


@pytest.fixture
def desk(panel, mapper, desktop, monkeypatch):
    monkeypatch.setattr(slicer.util, "selectModule", lambda *_: None, raising=False)
    made = Desk({"MarrowAssess": panel, "PDFFMapper": mapper}, desktop)
    yield made
    made.close_scene()


def test_every_step_of_the_tutorials_can_be_done(desk):
    for step in steps.STEPS:
        step(desk)
