"""Small stand-ins for PythonQt, CTK and qMRML on PySide6, so that panel code runs offscreen.

A test with them is reported as "against stand-ins": it shows that the panel's own code runs and
does what it should, not that Slicer's widgets do.
"""

import enum
import functools
import itertools
import os
import pathlib
import sys
import time
import types
from pkgutil import resolve_name

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets
from stand_ins import Choice, WithinRange, load_module


def has_property(qobject, name):
    """Whether Qt knows a property; asked of the class, since an object's own meta-object that is
    made for the question may be gone before it answers."""
    return type(qobject).staticMetaObject.indexOfProperty(name) >= 0


class Proxy:
    """A Qt object as PythonQt shows it: properties are attributes, signals connect by signature."""

    def __init__(self, qobject):
        object.__setattr__(self, "qobject", qobject)

    def __getattr__(self, name):
        if has_property(self.qobject, name):
            return self.qobject.property(name)
        value = getattr(self.qobject, name)
        if not callable(value):
            return value

        def method(*arguments):
            found = value(*(one.qobject if isinstance(one, Proxy) else one for one in arguments))
            return Proxy(found) if isinstance(found, QtWidgets.QWidget) else found

        return method

    def __setattr__(self, name, value):
        assert has_property(self.qobject, name), f"no Qt property {name}"
        assert self.qobject.setProperty(name, value), f"{name} cannot be {value!r}"

    def connect(self, signature, slot):
        getattr(self.qobject, signature.split("(")[0]).connect(slot)


TIMERS = []  # those of the panels of a test
BOXES = []  # its node selectors that observe the scene


def made_by_code(kind):
    """A class whose objects PythonQt makes for code, with the values of its enumerations."""
    values = {
        one.name: one
        for enumeration in vars(kind).values()
        if isinstance(enumeration, enum.EnumMeta)
        for one in enumeration
    }
    make = {"__new__": lambda cls, *arguments: new(kind, arguments)}
    return type(kind.__name__, (), values | make)


def new(kind, arguments):
    return Proxy(kind(*(one.qobject if isinstance(one, Proxy) else one for one in arguments)))


def kept(name, kind):
    """A Qt property that only keeps its value."""
    return QtCore.Property(
        kind,
        lambda self: vars(self).get(name),
        lambda self, value: vars(self).update({name: value}),
    )


class QTimer(Proxy):
    singleShot = staticmethod(QtCore.QTimer.singleShot)

    def __init__(self):
        super().__init__(QtCore.QTimer())
        TIMERS.append(self.qobject)


class qMRMLWidget(QtWidgets.QWidget):
    def setMRMLScene(self, scene):
        for child in self.findChildren(QtWidgets.QWidget):
            if hasattr(child, "takeScene"):
                child.takeScene(scene)


class ctkCollapsibleButton(QtWidgets.QGroupBox):
    text = QtCore.Property(str, QtWidgets.QGroupBox.title, QtWidgets.QGroupBox.setTitle)
    folded = False

    def setCollapsed(self, folded):
        self.folded = folded
        self.showContents()

    def showContents(self):
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(not self.folded)
        self.setMaximumHeight(22 if self.folded else 16777215)

    def childEvent(self, event):
        super().childEvent(event)
        if self.folded:
            self.showContents()

    collapsed = QtCore.Property(bool, lambda self: self.folded, setCollapsed)


class ctkDirectoryButton(QtWidgets.QPushButton):
    directory = QtCore.Property(
        str, QtWidgets.QPushButton.text, lambda self, text: self.setText(text)
    )


class ctkPathLineEdit(QtWidgets.QLineEdit):
    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)
    valid = False
    currentPath = QtCore.Property(
        str, QtWidgets.QLineEdit.text, lambda self, text: self.setCurrentPath(text)
    )
    nameFilters = kept("_filters", list)

    def __init__(self, *args):
        super().__init__(*args)
        self.textChanged.connect(self.tell)

    def setCurrentPath(self, path):
        self.setText(path)

    def tell(self, path):
        before, self.valid = self.valid, pathlib.Path(path).is_file()
        if self.valid:  # CTK tells of nothing else, not even of an emptied line
            self.currentPathChanged.emit(path)
        if self.valid != before:
            self.validInputChanged.emit(self.valid)


class qMRMLTableView(QtWidgets.QTableView):
    node = None

    def takeScene(self, scene):
        pass

    def mrmlTableNode(self):
        return self.node

    def setMRMLTableNode(self, node):
        self.node = node
        self.setModel(None)
        if node is not None:
            self.kept = QtWidgets.QTableWidget(0, 0)
            self.setModel(self.kept.model())
            self.model()
        self.resizeColumnsToContents()

    def model(self):
        """As the node is now, which Slicer's follows; columns keep their widths."""
        if self.node is not None:
            self.kept.setColumnCount(self.node.GetNumberOfColumns())
            self.kept.setRowCount(self.node.GetNumberOfRows())
            for column in range(self.node.GetNumberOfColumns()):
                title = QtWidgets.QTableWidgetItem(self.node.GetColumnName(column))
                self.kept.setHorizontalHeaderItem(column, title)
                for row in range(self.node.GetNumberOfRows()):
                    text = self.node.GetCellText(row, column)
                    self.kept.setItem(row, column, QtWidgets.QTableWidgetItem(text))
        return super().model()


class qMRMLNodeComboBox(QtWidgets.QComboBox):
    currentNodeChanged = QtCore.Signal()
    scene = None
    nodeTypes = kept("_types", list)
    noneEnabled, showChildNodeTypes = kept("_none", bool), kept("_children", bool)
    addEnabled, removeEnabled, renameEnabled = (kept(f"_{n}", bool) for n in "are")

    def setMRMLScene(self, scene):
        self.takeScene(scene)

    def takeScene(self, scene):
        if self.scene is None:
            self.tag = scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self.onNodeGoes)
            BOXES.append(self)
        self.scene = scene

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeGoes(self, scene, event, node):
        """The row of a node goes, and the combo box chooses its neighbor, as Slicer's does."""
        if not shiboken6.isValid(self):
            scene.RemoveObserver(self.tag)
        elif node is self.currentNode() and not scene.IsClosing():
            left = [one for one in self.listed() if one is not node]
            self.setCurrentNode(left[0] if left else None)

    def listed(self):
        kinds = self.property("nodeTypes") or []
        scene = self.scene
        nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())] if scene else []
        return [one for one in nodes if any(one.IsA(kind) for kind in kinds)]

    def currentNode(self):
        return slicer.mrmlScene.GetNodeByID(self.property("chosen") or "")

    def setCurrentNode(self, node):
        self.setProperty("chosen", node.GetID() if node else "")
        self.clear()
        self.addItem(node.GetName() if node else "None")
        self.currentNodeChanged.emit()


class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    checkedNodesChanged = QtCore.Signal()

    def checkedNodes(self):
        ids = self.property("checkedIDs") or []
        return [node for one in ids if (node := slicer.mrmlScene.GetNodeByID(one))]

    def setCheckState(self, node, state):
        ids = [one for one in (self.property("checkedIDs") or []) if one != node.GetID()]
        if state == QtCore.Qt.Checked:
            ids.append(node.GetID())
        self.setProperty("checkedIDs", ids)
        self.clear()
        self.addItem(", ".join(one.GetName() for one in self.checkedNodes()))
        self.checkedNodesChanged.emit()


CUSTOM = [
    qMRMLWidget, ctkCollapsibleButton, ctkDirectoryButton, ctkPathLineEdit, qMRMLTableView,
    qMRMLNodeComboBox, qMRMLCheckableNodeComboBox,
]  # fmt: skip


class ParameterGui:
    """connectGui() and what goes with it, for the parameter nodes of stand_ins."""

    def connectGui(self, ui):
        named = ((one.qobject.property("SlicerParameterName"), one) for one in vars(ui).values())
        return self.connectParametersToGui({name: one for name, one in named if name})

    def connectParametersToGui(self, mapping):
        connections = vars(self).setdefault("connections", {})
        tag = len(connections)
        connections[tag] = []
        for name, proxy in mapping.items():
            widget = proxy.qobject
            signal, slot, write = self.wire(name, widget)
            connections[tag].append((name, widget, signal, slot, write))
            self.write(name, widget, write)
        self.AddObserver("ModifiedEvent", lambda *_: self.toGui())  # for good, as Slicer does
        return tag

    def disconnectGui(self, tag):
        for _, _, signal, slot, _ in self.connections[tag]:
            signal.disconnect(slot)
        self.connections[tag] = []

    def toGui(self):
        for name, widget, _, _, write in itertools.chain(*self.connections.values()):
            self.write(name, widget, write)

    def write(self, name, widget, write):
        blocked = widget.blockSignals(True)
        write(getattr(self, name))
        widget.blockSignals(blocked)

    def wire(self, name, widget):
        def take(read):
            return lambda *_: setattr(self, name, read())

        if isinstance(widget, qMRMLNodeComboBox):
            signal, read, write = (
                widget.currentNodeChanged,
                widget.currentNode,
                widget.setCurrentNode,
            )
        elif isinstance(widget, QtWidgets.QCheckBox):
            signal, read, write = widget.toggled, widget.isChecked, widget.setChecked
        elif isinstance(widget, QtWidgets.QDoubleSpinBox):
            for note in self.annotations[name]:
                if isinstance(note, WithinRange):
                    widget.setRange(note.minimum, note.maximum)
            signal, read, write = widget.valueChanged, widget.value, widget.setValue
        elif isinstance(widget, QtWidgets.QComboBox):
            (choice,) = [note for note in self.annotations[name] if isinstance(note, Choice)]
            widget.clear()
            widget.addItems([str(one) for one in choice.choices])
            signal, read, write = (
                widget.currentIndexChanged,
                lambda: choice.choices[widget.currentIndex()],
                lambda value: widget.setCurrentIndex(choice.choices.index(value)),
            )
        elif isinstance(widget, QtWidgets.QLineEdit):
            signal, read, write = widget.textChanged, widget.text, widget.setText
        else:
            signal, read, write = (
                widget.clicked,
                lambda: pathlib.Path(widget.text()),
                lambda path: widget.setText(str(path)),
            )
        slot = take(read)
        signal.connect(slot)
        return signal, slot, write

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        return self.parameterNode.RemoveObserver(tag)


def forget_panels():
    """Panels of earlier tests are told of nothing more."""
    TIMERS.clear()
    for box in BOXES:
        box.scene.RemoveObserver(box.tag)
    BOXES.clear()


def quiet(kind, context, message):
    """Leave out that the .ui connects signals which only Slicer's widgets have."""
    if not message.startswith("QObject::connect"):
        print(message)


class Layout:
    """``slicer.app.layoutManager()``: one plot view, in which VTK's own chart is."""

    plotViewCount = 1

    def __init__(self):
        from vtkmodules.vtkChartsCore import vtkChartXY
        from vtkmodules.vtkRenderingContext2D import vtkContextScene

        self._chart, self._scene = vtkChartXY(), vtkContextScene()
        self._scene.AddItem(self._chart)

    def plotWidget(self, number):
        view = types.SimpleNamespace(chart=lambda: self._chart)
        return types.SimpleNamespace(plotView=lambda: view)


class Application:
    """``slicer.app`` as far as the panels use it."""

    defaultScenePath = "scenes"

    def __init__(self):
        QtCore.qInstallMessageHandler(quiet)
        self.application = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
        self.layout = Layout()

        self.slots = {}  # of the last panel, by signal

    def connect(self, signature, slot):
        self.slots[signature] = slot

    def disconnect(self, signature, slot):
        if self.slots.get(signature) == slot:
            del self.slots[signature]

    def applicationLogic(self):
        return slicer.modules.application_logic

    def processEvents(self):
        self.application.processEvents()

    def clipboard(self):
        return self.application.clipboard()

    def testingEnabled(self):
        return True

    def layoutManager(self):
        return self.layout

    def setOverrideCursor(self, cursor):
        pass

    def restoreOverrideCursor(self):
        pass


@functools.cache
def application():
    """The one application."""
    return Application()


def wait(seconds=0.0):
    """Let the panel work for a while, and until it has nothing more to do.

    A job that waits for a pause of its user is run at once: no test sits such pauses out.
    """
    end = time.monotonic() + seconds
    application().processEvents()
    while time.monotonic() < end or any(timer.isActive() for timer in TIMERS):
        if time.monotonic() < end:
            time.sleep(0.005)
        else:
            for timer in [one for one in TIMERS if one.isActive()]:
                timer.stop()
                timer.timeout.emit()
        application().processEvents()


def type_into(proxy, text):
    """Replace what a line edit holds, key by key, and leave it."""
    from PySide6.QtTest import QTest

    proxy.qobject.selectAll()
    QTest.keyClick(proxy.qobject, QtCore.Qt.Key_Delete)
    QTest.keyClicks(proxy.qobject, text)
    QTest.keyClick(proxy.qobject, QtCore.Qt.Key_Return)
    wait()


def click(panel, point):
    """A click at a point, as the views hand it to the markups node that is being placed."""
    selection = application().applicationLogic().GetSelectionNode()
    slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID()).AddControlPoint(*point)
    wait()


def install(monkeypatch):
    """Let the module files find a desktop for one test."""
    for name in ("MarrowAssess", "PDFFMapper"):
        load_module(name)  # with stand-ins for what Slicer keeps it with
        parameter_class = resolve_name(f"{name}Lib.panel.parameters:{name}ParameterNode")
        for key, value in vars(ParameterGui).items():
            if not key.startswith("__"):
                monkeypatch.setattr(parameter_class, key, value, raising=False)
    monkeypatch.setattr(slicer, "app", application(), raising=False)
    monkeypatch.setitem(sys.modules, "qt", qt_module())
    monkeypatch.setitem(sys.modules, "ctk", types.ModuleType("ctk"))
    sys.modules["ctk"].ctkCollapsibleButton = made_by_code(ctkCollapsibleButton)
    for kind in (qMRMLNodeComboBox, qMRMLCheckableNodeComboBox):
        monkeypatch.setattr(slicer, kind.__name__, made_by_code(kind), raising=False)
    monkeypatch.setattr(slicer.util, "loadUI", load_ui, raising=False)
    monkeypatch.setattr(slicer.util, "childWidgetVariables", child_widget_variables, raising=False)
    monkeypatch.setattr(slicer.util, "setSliceViewerLayers", lambda **_: None)


def load_ui(path):
    """``slicer.util.loadUI``."""
    loader = QtUiTools.QUiLoader()
    for one in CUSTOM:
        loader.registerCustomWidget(one)
    return Proxy(loader.load(str(path)))


def child_widget_variables(widget):
    """``slicer.util.childWidgetVariables``."""
    children = widget.qobject.findChildren(QtWidgets.QWidget)
    return types.SimpleNamespace(
        **{
            child.objectName(): Proxy(child)
            for child in children
            if child.objectName() and not child.objectName().startswith("qt_")
        }
    )


def qt_module():
    """The ``qt`` module."""
    module = types.ModuleType("qt")
    module.QTimer = QTimer
    for name in ("QWidget", "QFormLayout", "QVBoxLayout", "QComboBox", "QDoubleSpinBox",
                 "QCheckBox", "QLineEdit", "QTableWidget"):  # fmt: skip
        setattr(module, name, made_by_code(getattr(QtWidgets, name)))
    module.Qt = QtCore.Qt
    module.QTableWidgetItem = QtWidgets.QTableWidgetItem
    module.QHeaderView = QtWidgets.QHeaderView
    module.QSizePolicy = QtWidgets.QSizePolicy
    module.QBrush = QtGui.QBrush
    module.QColor = QtGui.QColor
    module.QPalette = QtGui.QPalette
    module.QUrl = QtCore.QUrl
    module.QDesktopServices = QtGui.QDesktopServices
    return module


def make_widget(module, name, entered=False):
    """The panel of a module, set up and open; `entered`: as one that is reloaded while it is."""
    shown = QtWidgets.QWidget()
    shown.setLayout(QtWidgets.QVBoxLayout())
    widget = getattr(module, f"{name}Widget")(types.SimpleNamespace(isEntered=entered))
    widget.layout = types.SimpleNamespace(
        addWidget=lambda proxy: shown.layout().addWidget(proxy.qobject)
    )
    widget.shown = shown
    folder = pathlib.Path(module.__file__).parent / "Resources"
    widget.resourcePath = lambda relative: folder / relative
    widget.setup()
    widget.parent.isEntered = True
    return widget
