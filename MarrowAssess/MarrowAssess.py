"""MarrowAssess in the Slicer desktop: bone marrow ratios and maps beside their age reference."""

import contextlib
import html
import logging
import os
import pathlib
import time
from typing import Annotated

import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

# Slicer logs everything: numba would fill its log with each step of compiling.
logging.getLogger("numba").setLevel(logging.WARNING)

HOMEPAGE = "https://github.com/MarrowAssess/MarrowAssess"
UPDATE_DELAY_MS = 150  # after the last change of a stroke or a drag
ROLES = ["marrow", "disc", "muscle", "csf", "fat", "noise"]
NOT_KNOWN = "not known"
# Blue and orange are told apart with every common kind of color blindness and read on light and
# dark panels; the sign and the word say the same.
VERDICT_SIGNS = {"below": "▼", "within": "●", "above": "▲"}
VERDICT_COLORS = {"below": "#2a7fc4", "above": "#c8640a"}
LISTED_OUTSIDE = 6  # values outside the expected range that the panel spells out


class MarrowAssess(ScriptedLoadableModule):
    """The module as Slicer's module list shows it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MarrowAssess")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        self.parent.dependencies = []
        self.parent.contributors = ["The MarrowAssess authors"]
        self.parent.helpText = (
            _(
                "Measures bone marrow on MRI and shows each number beside what is published "
                "for the patient's age and sex. For research use only. "
            )
            + f'<a href="{HOMEPAGE}">{HOMEPAGE}</a>'
        )
        self.parent.acknowledgementText = _(
            "Every reference value names its publication in the results table."
        )
        slicer.app.connect("startupCompleted()", onStartupCompleted)


def onStartupCompleted() -> None:
    """Register sample data and the plugin of Segment Statistics."""
    registerSampleData()
    registerSegmentStatistics()


def registerSampleData() -> None:
    """Offer the digital lumbar spine in the Sample Data module; it is computed, not downloaded."""
    import SampleData

    icons = os.path.join(os.path.dirname(__file__), "Resources", "Icons")
    for name, icon, load in (
        ("LumbarSpine", "MarrowAssess", MarrowAssessLogic.loadSample),
        ("LumbarSpineEchoes", "PDFFMapper", MarrowAssessLogic.loadMapperSample),
    ):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="MarrowAssess",
            sampleName=f"MarrowAssess{name}",
            uris=[],
            fileNames=[],
            nodeNames=[],
            loadFiles=[],
            checksums=[],
            thumbnailFileName=os.path.join(icons, f"{icon}.png"),
            customDownloader=lambda source, load=load: load(MarrowAssessLogic()),
        )


def registerSegmentStatistics() -> None:
    """Let the Segment Statistics module report our measurements."""
    from MarrowAssessLib.scene.statistics_plugin import MarrowAssessStatisticsPlugin
    from SegmentStatistics import SegmentStatisticsLogic

    if MarrowAssessStatisticsPlugin not in SegmentStatisticsLogic.registeredPlugins:
        SegmentStatisticsLogic.registerPlugin(MarrowAssessStatisticsPlugin())


@parameterNodeWrapper
class MarrowAssessParameterNode:
    """What the user chose; saved with the scene. Results are references of the segmentation.

    ageYears is -1 where the age is not known.
    """

    t1Volume: vtkMRMLScalarVolumeNode
    t2Volume: vtkMRMLScalarVolumeNode
    fsT2Volume: vtkMRMLScalarVolumeNode
    t1PostVolume: vtkMRMLScalarVolumeNode
    inPhaseVolume: vtkMRMLScalarVolumeNode
    opposedPhaseVolume: vtkMRMLScalarVolumeNode
    waterVolume: vtkMRMLScalarVolumeNode
    fatVolume: vtkMRMLScalarVolumeNode
    pdffVolume: vtkMRMLScalarVolumeNode
    r2starVolume: vtkMRMLScalarVolumeNode
    adcVolume: vtkMRMLScalarVolumeNode
    dVolume: vtkMRMLScalarVolumeNode
    dStarVolume: vtkMRMLScalarVolumeNode
    fVolume: vtkMRMLScalarVolumeNode
    ageYears: Annotated[float, WithinRange(-1, 120)] = -1.0
    sex: Annotated[str, Choice([NOT_KNOWN, "F", "M"])] = NOT_KNOWN
    segmentation: vtkMRMLSegmentationNode
    useMarkups: bool = True
    pointRadiusMm: Annotated[float, WithinRange(0.5, 50)] = 4.0
    placeRole: Annotated[str, Choice(ROLES)] = "marrow"
    placeSite: str = ""
    lumbarVertebrae: Annotated[int, Choice([4, 5, 6])] = 5
    leaveOutVein: bool = False
    leaveOutFat: bool = False
    erosionMm: Annotated[float, WithinRange(0, 10)] = 0.0
    n4: bool = False
    resample: bool = False
    autoUpdate: bool = True
    showOverlay: bool = True
    exportFolder: pathlib.Path


class MarrowAssessWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._updateTimer = None
        self._observedRegions = []  # (object, tag)
        self._shownSegmentation = None
        self._rows = []
        self._choices = None
        self.clicks = None
        self._onClick = None
        self._placingButton = None
        self._running = False
        self._canceled = False

    def setup(self) -> None:
        """Build the panel and connect it; called when the module is opened first."""
        import qt

        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MarrowAssess.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        from MarrowAssessLib.scene.click_mode import ClickMode

        self.logic = MarrowAssessLogic()
        self.clicks = ClickMode(
            self.takeClick, self.stopPlacing, lambda take: qt.QTimer.singleShot(0, take)
        )
        self._updateTimer = qt.QTimer()
        self._updateTimer.setSingleShot(True)
        self._updateTimer.setInterval(UPDATE_DELAY_MS)
        self._updateTimer.connect("timeout()", self.onUpdateTimeout)
        self.fitColumns()

        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.placeButton.connect("toggled(bool)", self.onPlaceToggled)
        self.ui.findColumnButton.connect("toggled(bool)", self.onFindColumnToggled)
        self.ui.undoButton.connect("clicked(bool)", self.onUndoButton)
        self.ui.levelsUpButton.connect("clicked(bool)", self.onLevelsUpButton)
        self.ui.levelsDownButton.connect("clicked(bool)", self.onLevelsDownButton)
        self.ui.importSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onImportNode)
        self.ui.importToolComboBox.connect("currentIndexChanged(int)", self.checkCanImport)
        self.ui.importButton.connect("clicked(bool)", self.onImportButton)
        self.ui.resultsTable.connect("cellClicked(int,int)", self.onResultClicked)
        self.ui.show3DButton.connect("toggled(bool)", self.onShow3DToggled)
        self.ui.showChartButton.connect("clicked(bool)", self.onShowChartButton)
        self.ui.exportButton.connect("clicked(bool)", self.onExportButton)
        self.ui.copyButton.connect("clicked(bool)", self.onCopyButton)
        self.ui.showOverlayCheckBox.connect("toggled(bool)", self.onShowOverlayToggled)
        self.initializeParameterNode()
        self.onImportNode()

    def cleanup(self) -> None:
        """Called before the widget is destroyed."""
        self._updateTimer.stop()
        self.stopPlacing()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        """Called each time the user opens this module; regions may have been edited elsewhere."""
        self.initializeParameterNode()
        if self.logic.assessmentOf(self.segmentation()):
            self.scheduleUpdate()

    def exit(self) -> None:
        """Called each time the user opens another module; edits there do not run ours."""
        self._updateTimer.stop()
        self.stopPlacing()
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        """The parameter node goes with the scene; a running job ends."""
        self._canceled = True
        self._updateTimer.stop()
        self.stopPlacing()
        self.setParameterNode(None)
        self.logic.forget()
        self.showAssessment()

    def onSceneEndClose(self, caller, event) -> None:
        """A new parameter node where the panel is open."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller, event) -> None:
        """A saved scene is shown as it was left."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Observe the parameter node and choose sensible inputs where none are chosen."""
        self.setParameterNode(self.logic.getParameterNode())
        self.logic.chooseDefaultInputs(self._parameterNode)
        if self.logic.chosenVolumes(self._parameterNode):
            self.ui.imagesCollapsibleButton.collapsed = True  # the line above names them
        self.onParametersModified()
        self.showAssessment()

    def setParameterNode(self, parameterNode) -> None:
        """Connect the panel with another parameter node, or with none."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self.removeObserver(
                self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified
            )
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(
                self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified
            )
        self.observeRegions()
        self.checkCanApply()

    def onParametersModified(self, caller=None, event=None) -> None:
        """A choice has changed."""
        parameters = self._parameterNode
        self.observeRegions()
        self.checkCanApply()
        self.ui.studyLabel.text = self.logic.studySummary(parameters)
        self.ui.placeButton.text = _("Place {role}").format(role=parameters.placeRole)
        if parameters.segmentation is not self._shownSegmentation:
            self.logic.showLabels(self._shownSegmentation, False)
            self.logic.showLabels(parameters.segmentation, parameters.showOverlay)
            self.showAssessment()
        choices = self.logic.measuredChoices(parameters)
        if choices != self._choices:  # not at every letter typed as a site
            self._choices = choices
            self.scheduleUpdate()

    def checkCanApply(self) -> None:
        """Enable what can be done, and say in the tooltips of the rest what is missing."""
        if self._running:
            return
        parameters, segmentation = self._parameterNode, self.segmentation()
        missing = self.logic.missingInputs(parameters) if parameters else _("There is no scene.")
        self.enable(self.ui.applyButton, missing, _("Measure the regions."))
        copies = _("Copy a line for the Python console that does what this panel does.")
        self.enable(self.ui.copyButton, missing, copies)
        images = bool(parameters and self.logic.chosenVolumes(parameters))
        missing = "" if images else _("Choose at least one image or map.")
        self.enable(
            self.ui.placeButton,
            missing,
            _("Click into a structure in a slice view: its region is drawn and measured at once."),
        )
        if images and not parameters.placeSite:
            missing = _("Give the level that you will click, such as L3, under Place.")
        self.enable(
            self.ui.findColumnButton,
            missing,
            _("Click into the body of the level given under Place: the spine's levels are found."),
        )
        self.ui.undoButton.enabled = self.logic.canUndo(segmentation)
        drawn = bool(segmentation and segmentation.GetSegmentation().GetNumberOfSegments())
        self.ui.levelsUpButton.enabled = self.ui.levelsDownButton.enabled = drawn
        self.checkCanImport()

    def enable(self, button, missing: str, does: str) -> None:
        """Enable a button, or say in its tooltip what is missing; a pressed one stays enabled."""
        button.enabled = not missing or button.checked
        button.toolTip = missing or does

    def segmentation(self):
        """The chosen segmentation, None where there is none."""
        return self._parameterNode.segmentation if self._parameterNode else None

    # Live update --------------------------------------------------------------------------------

    def observeRegions(self) -> None:
        """Observe what regions and images depend on, and nothing else."""
        # Not by addObserver(): it would keep closed segmentations in memory.
        for observed, tag in self._observedRegions:
            observed.RemoveObserver(tag)
        self._observedRegions = []
        if not self._parameterNode:
            return
        for observed, events in self.logic.observedEvents(self._parameterNode):
            for event in events:
                tag = observed.AddObserver(event, self.onRegionsModified)
                self._observedRegions.append((observed, tag))

    def onRegionsModified(self, caller=None, event=None) -> None:
        """A segment was painted, a markup or transform moved, or a node came or went."""
        if self._running or slicer.mrmlScene.IsBatchProcessing():
            return
        if caller is slicer.mrmlScene:
            self.observeRegions()
        self.checkCanApply()
        self.scheduleUpdate()

    def scheduleUpdate(self) -> None:
        """Measure again soon, also in the middle of a drag; N4 is slow and waits for Apply."""
        parameters = self._parameterNode
        if parameters and parameters.autoUpdate and not parameters.n4 and not self._running:
            if self._rows and not self._updateTimer.active:
                self._updateTimer.start()

    def onUpdateTimeout(self) -> None:
        """Measure again; what is wrong is said in the panel, a popup at every stroke is not."""
        if self._running or not self._parameterNode:
            return
        started = time.monotonic()
        self._running = True
        try:
            self.measureChanged()
        except ValueError as error:
            self.ui.verdictLabel.text = html.escape(str(error))
        finally:
            self._running = False
        # Half of the time is left for the drag itself.
        elapsed_ms = round(1000 * (time.monotonic() - started))
        self._updateTimer.setInterval(max(UPDATE_DELAY_MS, elapsed_ms))

    # Apply --------------------------------------------------------------------------------------

    def onApplyButton(self) -> None:
        """Measure the regions; while that runs the button cancels."""
        if self._running:
            self._canceled = True
            return
        with self.working(_("The regions could not be measured."), self._parameterNode.n4):
            self.logic.assessParameters(self._parameterNode, self.onProgress)
            self.showAssessment()

    @contextlib.contextmanager
    def working(self, failure: str, cancelable: bool):
        """Run a job: errors are shown, and Apply becomes Cancel where the job takes a while."""
        self._running, self._canceled = True, False
        if cancelable:
            self.ui.applyButton.text = _("Cancel")
            self.ui.applyButton.toolTip = _("Stop; the scene stays as it was.")
            self.ui.applyButton.enabled = True
            self.ui.progressBar.value = 0
            self.ui.progressBar.visible = True
            slicer.app.processEvents()  # shown before the work begins
        try:
            with slicer.util.tryWithErrorDisplay(failure):
                yield
        finally:
            self._running = False
            self.ui.progressBar.visible = False
            self.ui.applyButton.text = _("Apply")
            self.observeRegions()
            self.checkCanApply()

    def onProgress(self, fraction: float) -> bool:
        """Show how far the work is; False once the user cancels."""
        self.ui.progressBar.value = round(100 * fraction)
        slicer.app.processEvents()
        return not self._canceled

    # Results ------------------------------------------------------------------------------------

    def showAssessment(self) -> None:
        """Verdict, tables and buttons for what is known of the chosen segmentation."""
        segmentation = self.segmentation()
        self._shownSegmentation = segmentation
        shown = self.logic.liveResults(segmentation)
        self._rows = self.logic.resultRows(segmentation)
        fresh = self.logic.assessmentOf(segmentation) is not None
        self.ui.verdictLabel.text = self.verdictText(fresh)
        self.fillResults()
        self.ui.resultsTableView.setMRMLTableNode(shown.table if shown else None)
        self.ui.showChartButton.enabled = bool(shown and shown.charts)
        self.ui.exportButton.enabled = fresh
        self.ui.show3DButton.enabled = segmentation is not None
        blocked = self.ui.show3DButton.blockSignals(True)
        self.ui.show3DButton.checked = self.logic.shows3D(segmentation)
        self.ui.show3DButton.blockSignals(blocked)

    def verdictText(self, fresh: bool) -> str:
        """The outcome as rich text: how many values lie outside, which, and what else to know."""
        if not self._rows:
            return _("No assessment yet: choose images, place a region, read its numbers here.")
        scored = [row for row in self._rows if row.expected]
        outside = [row for row in scored if row.verdict in VERDICT_COLORS]
        lines = [
            _(
                "{measured} measurements, {scored} with a reference, {outside} outside the "
                "expected 95 % range."
            ).format(measured=len(self._rows), scored=len(scored), outside=len(outside))
        ]
        for row in outside[:LISTED_OUTSIDE]:
            finding = f"{row.site} {row.quantity} {row.value}: {self.verdictWord(row.verdict)}"
            colored = (
                f'<span style="color:{VERDICT_COLORS[row.verdict]}">{VERDICT_SIGNS[row.verdict]} '
                f"<b>{html.escape(finding.strip())}</b></span>"
            )
            lines.append(
                _("{finding} the expected {range}").format(
                    finding=colored, range=html.escape(row.expected)
                )
            )
        if len(outside) > LISTED_OUTSIDE:
            count = len(outside) - LISTED_OUTSIDE
            lines.append(_("{count} more are in the table.").format(count=count))
        if fresh:
            lines += [html.escape(note) for note in self.logic.notes()]
        else:
            lines.append(_("As saved with the scene; Apply measures again."))
        return "<br>".join(lines)

    def verdictWord(self, verdict: str) -> str:
        """A verdict in the user's language."""
        words = {
            "below": _("below"),
            "within": _("within"),
            "above": _("above"),
            "no reference": _("no reference"),
        }
        return words[verdict]

    def fillResults(self) -> None:
        """List the measurements, those outside the expected range first."""
        import qt

        table, header = self.ui.resultsTable, self.ui.resultsTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.Fixed)  # else every cell resizes all columns
        table.setRowCount(len(self._rows))
        for number, row in enumerate(self._rows):
            measurement = f"{row.site} {row.quantity}".strip()
            sign = VERDICT_SIGNS.get(row.verdict)
            verdict = f"{sign} {self.verdictWord(row.verdict)}" if sign else "–"
            cells = (measurement, row.value, row.expected or _("no reference"), verdict)
            for column, text in enumerate(cells):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(row.details)
                if row.verdict in VERDICT_COLORS:
                    item.setForeground(qt.QBrush(qt.QColor(VERDICT_COLORS[row.verdict])))
                table.setItem(number, column, item)
        self.fitColumns()
        table.resizeRowsToContents()

    def fitColumns(self) -> None:
        """The name of a measurement takes the room that the other columns leave."""
        import qt

        header = self.ui.resultsTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)

    def onResultClicked(self, row: int, column: int) -> None:
        """Show the measured region in the slice views."""
        if row < len(self._rows):
            self.logic.jumpTo(self.segmentation(), self._rows[row].regions)

    def onShowOverlayToggled(self, checked: bool) -> None:
        """Color the regions by z-score or by tissue."""
        if self.segmentation() and not checked:
            self._running = True
            try:
                self.logic.hideOverlay(self.segmentation())
            finally:
                self._running = False
        else:
            self.scheduleUpdate()

    def onShow3DToggled(self, checked: bool) -> None:
        """Show or hide the segments in 3D views; shown, they fill them."""
        if self.segmentation():
            self.logic.show3D(self.segmentation(), checked)
            if checked:
                self.logic.lookAt(self.segmentation())

    def onShowChartButton(self) -> None:
        """Show the next age curve, the most urgent first; the layout gets a plot as asked for."""
        shown = self.logic.liveResults(self.segmentation())
        if shown and shown.charts:
            urgent = self._rows[0].quantity if self._rows else ""
            charts = sorted(shown.charts, key=lambda one: not one.GetName().startswith(urgent))
            slicer.modules.plots.logic().ShowChartInLayout(self.logic.nextChart(charts))

    def onExportButton(self) -> None:
        """Write the report."""
        with slicer.util.tryWithErrorDisplay(_("The report was not written."), waitCursor=True):
            files = self.logic.exportReport(self._parameterNode.exportFolder)
            slicer.util.showStatusMessage(_("Written: {file}").format(file=files[0]), 5000)

    def onCopyButton(self) -> None:
        """Copy what the panel does as a line for the Python console."""
        slicer.app.clipboard().setText(self.logic.consoleCommand(self._parameterNode))
        slicer.util.showStatusMessage(_("Copied; paste it into the Python console."), 5000)

    # Placing ------------------------------------------------------------------------------------

    def onPlaceToggled(self, checked: bool) -> None:
        """Start or stop placing regions by clicks."""
        self.togglePlacing(checked, self.ui.placeButton, self.placeRegion)

    def onFindColumnToggled(self, checked: bool) -> None:
        """Start or stop finding the column by a click."""
        self.togglePlacing(checked, self.ui.findColumnButton, self.findColumn)

    def togglePlacing(self, checked: bool, button, onClick) -> None:
        """Take clicks in the views for one of the two buttons."""
        if not checked:
            if button is self._placingButton:
                self.stopPlacing()
            return
        self.stopPlacing()
        self._placingButton, self._onClick = button, onClick
        self.clicks.start()
        self.ui.placingLabel.text = _(
            "Click into the structure in a slice view; a right click ends placing."
        )

    def stopPlacing(self) -> None:
        """Take no more clicks, and release the button."""
        self.clicks.stop()
        button, self._placingButton, self._onClick = self._placingButton, None, None
        if button is not None:
            button.checked = False

    def takeClick(self, position) -> None:
        """Draw what was clicked."""
        onClick = self._onClick
        if onClick is None or self._running:
            return
        with self.working(_("Nothing was placed."), onClick == self.findColumn):
            self.ensurePackages()
            try:
                said = onClick(position)
            except ValueError as error:  # said in the panel; a popup at a missed click is not
                self.ui.placingLabel.text = str(error)
                return
            self.ui.placingLabel.text = said
            self.measureChanged()

    def placeRegion(self, position) -> str:
        """One click, one region and what hangs on it; returns what was done, and the doubts."""
        placed = self.logic.placeRegion(self._parameterNode, position)
        said = [_("Placed: {name}.").format(name=placed.region.name), *placed.region.cautions]
        if placed.renewed:
            names = ", ".join(region.name for region in placed.renewed)
            said.append(_("Renewed with it: {names}.").format(names=names))
        if placed.kept:
            names = ", ".join(placed.kept)
            said.append(_("Kept as edited by hand: {names}.").format(names=names))
        if placed.gone:
            said.append(_("No longer found: {names}.").format(names=", ".join(placed.gone)))
        said += [f"{one.name}: {caution}" for one in placed.renewed for caution in one.cautions]
        return " ".join(said)

    def findColumn(self, position) -> str:
        """One click, the whole spine, and the button is released; returns what was found."""
        column = self.logic.findColumn(self._parameterNode, position, self.onProgress)
        self.stopPlacing()
        if column is None:
            return _("Canceled; nothing was placed.")
        said = [_("Found: {levels}.").format(levels=", ".join(column.bodies)), *column.unsure]
        beside = [one for one in column.regions() if one.role.value != "marrow"]
        if doubtful := [one.name for one in beside if one.voxels and one.cautions]:
            said.append(_("Look at {names}, too.").format(names=", ".join(doubtful)))
        if missed := [one.name for one in beside if not one.voxels]:
            said.append(_("Not found: {names}.").format(names=", ".join(missed)))
        return " ".join(said)

    def measureChanged(self) -> None:
        """Measure after regions were changed; with N4 that waits for Apply."""
        parameters = self._parameterNode
        if parameters and self.logic.missingInputs(parameters):
            self.logic.clearResults(parameters.segmentation)
        elif parameters and not parameters.n4:
            self.logic.assessParameters(parameters)
        self.showAssessment()

    def ensurePackages(self) -> None:
        """Ask for the packages that Slicer lacks."""
        from PDFFMapperLib.install.packages import ensure_packages

        ensure_packages("MarrowAssess")

    def onUndoButton(self) -> None:
        """Take back the last placement, import or change of levels."""
        with self.working(_("There is nothing to take back."), False):
            self.logic.undo(self.segmentation())
            self.ui.placingLabel.text = _("Taken back.")
            self.measureChanged()

    def onLevelsUpButton(self) -> None:
        """Name every level one vertebra nearer to the head."""
        self.shiftLevels(-1)

    def onLevelsDownButton(self) -> None:
        """Name every level one vertebra nearer to the feet."""
        self.shiftLevels(1)

    def shiftLevels(self, shift: int) -> None:
        """Rename the levels and measure again."""
        with self.working(_("The levels were not renamed."), False):
            names = self.logic.shiftLevels(self._parameterNode, shift)
            self.ui.placingLabel.text = _("Now named: {names}.").format(names=", ".join(names))
            self.measureChanged()

    # Import -------------------------------------------------------------------------------------

    def onImportNode(self, node=None) -> None:
        """Offer the label tables that fit a label map or segmentation; ambiguous, the user says."""
        source = self.ui.importSelector.currentNode()
        fitting, others = self.logic.labelTables(source)
        tools = self.ui.importToolComboBox
        tools.clear()
        tools.addItem(_("Choose the tool that made it"))
        for name in [*fitting, *others]:
            tools.addItem(name)
        tools.currentIndex = 1 if len(fitting) == 1 else 0
        self.checkCanImport()

    def checkCanImport(self, index=None) -> None:
        """Enable Import, or say in its tooltip what is missing."""
        if not self.ui.importSelector.currentNode():
            missing = _("Choose a label map or segmentation.")
        elif self.ui.importToolComboBox.currentIndex < 1:
            missing = _("Choose the tool that made it: the labels alone do not tell.")
        elif not self._parameterNode or not self.logic.chosenVolumes(self._parameterNode):
            missing = _("Choose at least one image or map.")
        else:
            missing = ""
        self.enable(self.ui.importButton, missing, _("Add its regions to the segmentation."))

    def onImportButton(self) -> None:
        """Add the regions of another tool."""
        with self.working(_("Nothing was imported."), False):
            regions = self.logic.importLabels(
                self._parameterNode,
                self.ui.importSelector.currentNode(),
                self.ui.importToolComboBox.currentText,
            )
            names = ", ".join(region.name for region in regions)
            self.ui.placingLabel.text = _("Imported: {names}.").format(names=names)
            self.measureChanged()


class MarrowAssessLogic(ScriptedLoadableModuleLogic):
    """What the panel does, for scripts and the Python console.

    Example::

        logic = MarrowAssessLogic()
        assessment = logic.assess({"T1": getNode("t1")}, getNode("Regions"), age=45, sex="F")
        print(logic.verdict())
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.assessment = None  # the last one
        self.segmentation = None  # that it is shown on
        self._chart = -1
        self._steps = []  # (segmentation, what was done to it, its column then), the last one last

    def getParameterNode(self):
        """The module's parameter node, typed."""
        return MarrowAssessParameterNode(super().getParameterNode())

    def assess(
        self,
        volumes,
        segmentation=None,
        markups=(),
        age=None,
        sex=None,
        erosionMm=0.0,
        n4=False,
        resample=False,
        pointRadiusMm=4.0,
        overlay=True,
        progress=None,
    ):
        """Measure regions, compare with the age reference, and show the results in the scene.

        Args:
            volumes: volume nodes by contrast: "T1", "T2", "FS_T2" (or "STIR"), "T1_post",
                "in_phase", "opposed_phase", "water", "fat", "PDFF" (%), "R2star" (1/s), "ADC",
                "D", "Dstar" (10^-3 mm^2/s), "f" (%).
            segmentation: segments named like "L3 marrow"; results are shown on it. Where none is
                given, an empty one is made to hold them.
            markups: ROI boxes, closed curves and points named like that.
            age: in years (6 months is 0.5), None where not known.
            sex: "F" or "M", None where not known.
            erosionMm: margin taken off every region in mm.
            n4: correct coil shading first.
            resample: interpolate images and segments that are on another grid.
            pointRadiusMm: radius of the spheres that points become, in mm.
            overlay: color the regions by z-score.
            progress: called with the fraction done; returning False cancels.

        Returns:
            MarrowAssessLib.findings.assessment.Assessment, or None when canceled; the scene is
            then as it was.

        Raises:
            ValueError: one sentence that says what is wrong.
        """
        from MarrowAssessLib.catalogue.contrasts import parse_contrast
        from MarrowAssessLib.findings.assessment import assess
        from MarrowAssessLib.measures.book import Settings
        from MarrowAssessLib.scene.live_results import show_live
        from MarrowAssessLib.scene.study import study_from_nodes

        byContrast = {parse_contrast(name): node for name, node in volumes.items()}
        study = study_from_nodes(
            byContrast, segmentation, markups, age, sex, resample, pointRadiusMm
        )
        try:
            assessment = assess(study, Settings(erosionMm, n4), progress)
        except InterruptedError:
            return None
        if progress is not None and not progress(1.0):
            return None
        if segmentation is None:
            segmentation = self.addSegmentation(next(iter(byContrast.values())))
        show_live(assessment, segmentation, markups, overlay)
        self.assessment, self.segmentation = assessment, segmentation
        return assessment

    def assessParameters(self, parameters, progress=None):
        """Measure what the parameter node says; see assess()."""
        assessment = self.assess(
            self.chosenVolumes(parameters),
            parameters.segmentation,
            self.chosenMarkups(parameters),
            parameters.ageYears if parameters.ageYears >= 0 else None,
            parameters.sex if parameters.sex != NOT_KNOWN else None,
            parameters.erosionMm,
            parameters.n4,
            parameters.resample,
            parameters.pointRadiusMm,
            parameters.showOverlay,
            progress,
        )
        if assessment is not None and parameters.segmentation is None:
            parameters.segmentation = self.segmentation
        return assessment

    def chosenVolumes(self, parameters):
        """The volume nodes that are chosen, by contrast."""
        from MarrowAssessLib.catalogue.parameter_names import VOLUME_PARAMETERS

        chosen = {c.value: getattr(parameters, key) for c, key in VOLUME_PARAMETERS.items()}
        return {name: node for name, node in chosen.items() if node is not None}

    def chosenMarkups(self, parameters):
        """The markups that count as regions."""
        from MarrowAssessLib.scene.study import region_markups

        if not parameters.useMarkups:
            return []
        return region_markups(slicer.util.getNodesByClass("vtkMRMLMarkupsNode"))

    def missingInputs(self, parameters) -> str:
        """What has to be chosen before regions can be measured, "" if nothing."""
        if not self.chosenVolumes(parameters):
            return _("Choose at least one image or map.")
        segmentation = parameters.segmentation
        drawn = segmentation is not None and segmentation.GetSegmentation().GetNumberOfSegments()
        if not drawn and not self.chosenMarkups(parameters):
            return _(
                "Choose a segmentation with segments named like 'L3 marrow', or place a region."
            )
        return ""

    def chooseDefaultInputs(self, parameters) -> bool:
        """Fill what is not chosen yet from names and DICOM headers; whether images were chosen."""
        from MarrowAssessLib.catalogue.parameter_names import VOLUME_PARAMETERS
        from MarrowAssessLib.scene.study import guess_inputs

        if parameters.exportFolder == pathlib.Path():
            parameters.exportFolder = pathlib.Path(slicer.app.defaultScenePath) / "MarrowAssess"
        if self.chosenVolumes(parameters):
            return False
        nodes = [
            node
            for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            if node.GetClassName() == "vtkMRMLScalarVolumeNode"  # no label maps
        ]
        if not nodes:
            return False
        database = getattr(slicer, "dicomDatabase", None)
        guess = guess_inputs(nodes, database.fileForInstance if database else None)
        for contrast, node in guess.volumes.items():
            if contrast in VOLUME_PARAMETERS:
                setattr(parameters, VOLUME_PARAMETERS[contrast], node)
        if parameters.ageYears < 0 and guess.patient.age_years is not None:
            parameters.ageYears = round(guess.patient.age_years, 2)
        if parameters.sex == NOT_KNOWN and guess.patient.sex in ("F", "M"):
            parameters.sex = guess.patient.sex
        segmentations = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        if parameters.segmentation is None and len(segmentations) == 1:
            parameters.segmentation = segmentations[0]
        return bool(guess.volumes)

    def chooseMaps(self, parameters, nodes) -> bool:
        """Choose maps of PDFFMapper by what they say they are; whether any was."""
        from MarrowAssessLib.catalogue.parameter_names import VOLUME_PARAMETERS
        from MarrowAssessLib.scene.study import map_contrast

        self.chooseDefaultInputs(parameters)
        found = {contrast: node for node in nodes if (contrast := map_contrast(node))}
        for contrast, node in found.items():
            if contrast in VOLUME_PARAMETERS:
                setattr(parameters, VOLUME_PARAMETERS[contrast], node)
        return bool(found)

    def studySummary(self, parameters) -> str:
        """What is chosen, in one line."""
        chosen = self.chosenVolumes(parameters)
        if not chosen:
            return _("No image is chosen: load a study, then choose its images below.")
        named = (f"{name.replace('_', ' ')}: {node.GetName()}" for name, node in chosen.items())
        return _("Check that these are right: {images}.").format(images="; ".join(named))

    def consoleCommand(self, parameters) -> str:
        """The line that does in the Python console what the panel does."""

        def node(one):
            return f"slicer.mrmlScene.GetNodeByID({one.GetID()!r})"

        images = ", ".join(f"{n!r}: {node(v)}" for n, v in self.chosenVolumes(parameters).items())
        arguments = [f"{{{images}}}"]
        if parameters.segmentation:
            arguments.append(node(parameters.segmentation))
        if markups := self.chosenMarkups(parameters):
            arguments.append(f"markups=[{', '.join(node(one) for one in markups)}]")
        if parameters.ageYears >= 0:
            arguments.append(f"age={parameters.ageYears:g}")
        if parameters.sex != NOT_KNOWN:
            arguments.append(f"sex={parameters.sex!r}")
        usual = {"erosionMm": 0.0, "n4": False, "resample": False, "pointRadiusMm": 4.0}
        for name, value in usual.items():
            if getattr(parameters, name) != value:
                arguments.append(f"{name}={getattr(parameters, name)!r}")
        return (
            "from MarrowAssess import MarrowAssessLogic; "
            f"assessment = MarrowAssessLogic().assess({', '.join(arguments)})"
        )

    def observedEvents(self, parameters):
        """Objects and their events after which regions or images may have changed."""
        scene = slicer.mrmlScene
        transformed = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        observed = [(scene, [scene.NodeAddedEvent, scene.NodeRemovedEvent])]
        segmentation = parameters.segmentation
        if segmentation:
            kind = slicer.vtkSegmentation
            drawn = [
                kind.SourceRepresentationModified,
                kind.SegmentAdded,
                kind.SegmentRemoved,
                kind.SegmentModified,
            ]
            observed.append((segmentation.GetSegmentation(), drawn))
            observed.append((segmentation, [transformed]))
        if parameters.useMarkups:
            kind = slicer.vtkMRMLMarkupsNode
            moved = [
                kind.PointModifiedEvent,
                kind.PointRemovedEvent,
                vtk.vtkCommand.ModifiedEvent,  # size of a box, name
                transformed,
            ]
            for markup in slicer.util.getNodesByClass("vtkMRMLMarkupsNode"):
                if not markup.GetName().startswith("MarrowAssess"):
                    observed.append((markup, moved))
        for volume in self.chosenVolumes(parameters).values():
            observed.append((volume, [volume.ImageDataModifiedEvent, transformed]))
        return observed

    def addSegmentation(self, volume):
        """An empty segmentation on a volume's grid."""
        from MarrowAssessLib.scene.segments import regions_to_node

        return regions_to_node([], volume, "Regions")

    def placeRegion(self, parameters, position):
        """Draw the structure at a point (RAS mm) into the chosen segmentation, as a segment.

        A body of the column that was found before in the same image is corrected: the discs, CSF
        and muscles found from it are drawn anew unless they were edited by hand.

        Returns:
            MarrowAssessLib.scene.column.Placed; the cautions of its region say why it may be wrong.

        Raises:
            ValueError: no structure can be told there.
        """
        from PDFFMapperLib.install.packages import require_packages

        require_packages("MarrowAssess")
        from MarrowAssessLib.scene.column import place_click

        segmentation, volume = self.placingNodes(parameters)
        placed = place_click(
            segmentation,
            volume,
            position,
            parameters.placeRole,
            parameters.placeSite,
            parameters.lumbarVertebrae,
            self.leftOut(parameters),
            self.columnOf(segmentation),
        )
        self._steps.append((segmentation, placed.change, placed.column))
        return placed

    def leftOut(self, parameters) -> list[str]:
        """What regions that are placed from now on leave out; see placement.place."""
        chosen = {"vein": parameters.leaveOutVein, "fat": parameters.leaveOutFat}
        return [name for name, wanted in chosen.items() if wanted]

    def correctPainted(self, parameters, segmentName, level=""):
        """Take a painted segment as a whole vertebral body of the column that was found before.

        Its measurement ROI, the discs beside it, and CSF and muscles found from it are drawn anew.
        Painting alone changes the painted region only.

        Returns:
            MarrowAssessLib.scene.column.Placed.

        Raises:
            ValueError: there is no column or no such segment; see scene_column.correct_painted.
        """
        from MarrowAssessLib.scene.column import correct_painted

        column = self.columnOf(parameters.segmentation)
        if column is None:
            raise ValueError(_("Find the column first; a painted body corrects it."))
        placed = correct_painted(
            column, segmentName, level, parameters.lumbarVertebrae, self.leftOut(parameters)
        )
        self._steps.append((parameters.segmentation, placed.change, placed.column))
        return placed

    def findColumn(self, parameters, position, progress=None):
        """Find and name the levels of the spine from a point (RAS mm) in one body.

        Returns:
            MarrowAssessLib.placement.column.Column, or None when canceled.

        Raises:
            ValueError: the level of the body is not given in the site.
        """
        from PDFFMapperLib.install.packages import require_packages

        require_packages("MarrowAssess")
        from MarrowAssessLib.scene.column import place_column

        segmentation, volume = self.placingNodes(parameters)
        try:
            drawn, change = place_column(
                segmentation,
                volume,
                position,
                parameters.placeSite,
                parameters.lumbarVertebrae,
                self.leftOut(parameters),
                progress,
            )
        except InterruptedError:
            return None
        self._steps.append((segmentation, change, drawn))
        return drawn.column

    def shiftLevels(self, parameters, shift: int):
        """Name every level so many vertebrae nearer to the feet (-1: head); returns new names.

        Raises:
            ValueError: there is no level, or one would leave the spine.
        """
        from MarrowAssessLib.scene.column import renamed_column
        from MarrowAssessLib.scene.placement import shift_levels

        segmentation, lumbar = parameters.segmentation, parameters.lumbarVertebrae
        if segmentation is None:
            raise ValueError(_("There are no regions yet."))
        column = self.columnOf(segmentation)
        if column is not None:
            column = renamed_column(column, shift, lumbar)
        names, change = shift_levels(segmentation, shift, lumbar)
        self._steps.append((segmentation, change, column))
        return names

    def labelTables(self, node):
        """Names of the label tables that fit a label map or segmentation, and of the others."""
        from MarrowAssessLib.scene.segments import segment_labels
        from MarrowAssessLib.sources.label_maps import CONVENTIONS, fitting_conventions

        fitting = []
        if node is not None:
            with contextlib.suppress(ValueError):  # no voxels, or no label map
                fitting = fitting_conventions(segment_labels(node))
        return fitting, [name for name in CONVENTIONS if name not in fitting]

    def importLabels(self, parameters, node, convention: str):
        """Add the regions of another tool's label map or segmentation; returns the regions.

        Args:
            parameters: the parameter node; says segmentation, image and resampling.
            node: label map volume, or segmentation whose segments kept their label values.
            convention: one of MarrowAssessLib.sources.label_maps.CONVENTIONS.

        Raises:
            ValueError: no label of the convention, or another voxel grid.
        """
        from MarrowAssessLib.scene.placement import import_labels

        segmentation, volume = self.placingNodes(parameters)
        regions, change = import_labels(segmentation, volume, node, convention, parameters.resample)
        self._steps.append((segmentation, change, self.columnOf(segmentation)))
        return regions

    def canUndo(self, segmentation) -> bool:
        """Whether a placement, import or change of levels can be taken back."""
        return any(changed is segmentation for changed, _change, _column in self._steps)

    def columnOf(self, segmentation):
        """The column found last in a segmentation and not taken back, None if there is none."""
        columns = [column for changed, _change, column in self._steps if changed is segmentation]
        return columns[-1] if columns else None

    def undo(self, segmentation) -> None:
        """Take back the last placement, import or change of levels of a segmentation.

        Raises:
            ValueError: there is none.
        """
        from MarrowAssessLib.scene.placement import take_back

        if not self.canUndo(segmentation):
            raise ValueError(_("There is nothing to take back."))
        last = max(n for n, step in enumerate(self._steps) if step[0] is segmentation)
        take_back(segmentation, self._steps.pop(last)[1])

    def placingNodes(self, parameters):
        """The segmentation that takes placed regions, and the image in which clicks are taken."""
        from MarrowAssessLib.scene.study import shown_first

        volumes = self.chosenVolumes(parameters)
        if not volumes:
            raise ValueError(_("Choose at least one image or map."))
        volume = shown_first(volumes.values())[0]
        if parameters.segmentation is None:
            parameters.segmentation = self.addSegmentation(volume)
        return parameters.segmentation, volume

    def forget(self) -> None:
        """Let go of everything of a scene that closes."""
        self.assessment, self.segmentation, self._steps = None, None, []

    def measuredChoices(self, parameters):
        """What the numbers depend on, to tell whether it has changed."""
        names = ("ageYears", "sex", "useMarkups", "pointRadiusMm", "erosionMm", "n4", "resample")
        nodes = [*self.chosenVolumes(parameters).items(), ("regions", parameters.segmentation)]
        chosen = [(name, node.GetID() if node else None) for name, node in nodes]
        return chosen, [getattr(parameters, name) for name in (*names, "showOverlay")]

    def clearResults(self, segmentation) -> None:
        """Show no results of a segmentation whose regions are gone."""
        from MarrowAssessLib.scene.live_results import clear_live

        if segmentation is not None:
            clear_live(segmentation)
            if self.segmentation is segmentation:
                self.assessment = None

    def assessmentOf(self, segmentation):
        """The last assessment if it is of this segmentation, else None."""
        return self.assessment if segmentation and self.segmentation is segmentation else None

    def resultRows(self, segmentation):
        """The measurements shown for a segmentation, those outside the expected range first."""
        shown = self.liveResults(segmentation)
        if shown is None:
            return []
        from MarrowAssessLib.scene.live_results import result_rows

        return result_rows(shown.table)

    def jumpTo(self, segmentation, regionNames) -> None:
        """Center the slice views on the first of these regions that is a segment."""
        segments = segmentation.GetSegmentation() if segmentation else None
        for name in regionNames if segments else ():
            segmentId = segments.GetSegmentIdBySegmentName(name)
            if segmentId:
                center = segmentation.GetSegmentCenterRAS(segmentId)
                slicer.modules.markups.logic().JumpSlicesToLocation(*center, True)
                return

    def liveResults(self, segmentation):
        """Table and charts shown for a segmentation, None if there are none."""
        if segmentation is None:
            return None
        from MarrowAssessLib.scene.live_results import live_results

        return live_results(segmentation)

    def verdict(self) -> str:
        """The last assessment in a few sentences."""
        from MarrowAssessLib.scene.live_results import verdict

        return verdict(self.assessment) if self.assessment else ""

    def notes(self):
        """What to know beside the numbers of the last assessment, a sentence each."""
        from MarrowAssessLib.scene.live_results import notes

        return notes(self.assessment) if self.assessment else []

    def hideOverlay(self, segmentation) -> None:
        """Give the segments their tissue's color back; hide labels and legend."""
        from MarrowAssessLib.scene.live_results import show_overlay

        show_overlay(segmentation, False)

    def showLabels(self, segmentation, visible: bool) -> None:
        """Show or hide labels and legend of a segmentation that has results."""
        from MarrowAssessLib.scene.live_results import live_results, show_labels

        if segmentation and segmentation.GetScene() and live_results(segmentation):
            show_labels(segmentation, visible)

    def show3D(self, segmentation, visible: bool) -> None:
        """Show or hide a segmentation in 3D views."""
        if visible:
            segmentation.CreateClosedSurfaceRepresentation()
        segmentation.CreateDefaultDisplayNodes()
        segmentation.GetDisplayNode().SetVisibility3D(visible)

    def lookAt(self, segmentation) -> None:
        """Turn the cameras of 3D views so that regions and labels stand side by side."""
        from MarrowAssessLib.scene.overlay import look_at_results

        if segmentation.GetSegmentation().GetNumberOfSegments():
            for camera in slicer.util.getNodesByClass("vtkMRMLCameraNode"):
                look_at_results(segmentation, camera)

    def shows3D(self, segmentation) -> bool:
        """Whether 3D views show a segmentation's surfaces."""
        if segmentation is None or segmentation.GetDisplayNode() is None:
            return False
        surfaces = segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
        return bool(surfaces and segmentation.GetDisplayNode().GetVisibility3D())

    def nextChart(self, charts):
        """The age curves one after the other."""
        self._chart = (self._chart + 1) % len(charts)
        return charts[self._chart]

    def exportReport(self, folder):
        """Write report.html, measurements.csv and assessment.json; returns their paths.

        Raises:
            ValueError: nothing was measured yet.
        """
        from MarrowAssessLib.report.report import Report
        from MarrowAssessLib.scene.outputs import write_outputs

        if self.assessment is None:
            raise ValueError(_("There is nothing to report yet; press Apply first."))
        return write_outputs(Report(self.assessment), folder, show=False)

    def loadSample(self):
        """Add the digital lumbar spine, images, PDFF and regions; returns a SampleNodes."""
        from MarrowAssessLib.sample.nodes import load_sample

        return load_sample()

    def loadMapperSample(self):
        """Add the spine's echoes and diffusion images for PDFFMapper; returns MapperSampleNodes."""
        from MarrowAssessLib.sample.nodes import load_mapper_sample

        return load_mapper_sample()


class MarrowAssessTest(ScriptedLoadableModuleTest):
    """The tutorial in the desktop, on the digital lumbar spine, whose truth is known."""

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run everything."""
        tests = (
            self.test_assessOfSample,
            self.test_segmentFollows,
            self.test_markupFollows,
            self.test_placing,
            self.test_importOfLabels,
            self.test_report,
            self.test_segmentStatistics,
            self.test_savedScene,
            self.test_panel,
        )
        for test in tests:
            self.setUp()
            test()

    def pdffBySite(self, assessment):
        """PDFF in % and verdict by site."""
        return {
            result.measurement.site: (result.measurement.value, result.verdict)
            for result in assessment.results
            if result.measurement.quantity == "marrow_pdff"
        }

    def test_assessOfSample(self):
        """PDFF of every level as drawn; L2 is the lesion; table, charts and legend are there."""
        self.delayDisplay("Assessing the digital lumbar spine")
        logic = MarrowAssessLogic()
        sample = logic.loadSample()
        found = self.pdffBySite(logic.assess(sample.volumes, sample.segmentation, age=34, sex="M"))
        for site, truth in sample.true_pdff.items():
            self.assertAlmostEqual(found[site][0], truth, delta=1.0)
        self.assertEqual(found["L2"][1], "below")
        self.assertEqual(found["L3"][1], "within")
        shown = logic.liveResults(sample.segmentation)
        self.assertGreater(shown.table.GetNumberOfRows(), 0)
        self.assertGreater(len(shown.charts), 0)
        display = sample.segmentation.GetDisplayNode()
        legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(display)
        self.assertTrue(legend.GetVisibility())
        logic.hideOverlay(sample.segmentation)
        self.assertFalse(legend.GetVisibility())

    def test_segmentFollows(self):
        """The voxels of L2, drawn as L3, measure as the lesion."""
        self.delayDisplay("Editing a segment")
        logic = MarrowAssessLogic()
        sample = logic.loadSample()
        source = sample.volumes["T1"]
        lesion = slicer.util.arrayFromSegmentBinaryLabelmap(
            sample.segmentation, "L2 marrow", source
        )
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            lesion, sample.segmentation, "L3 marrow", source
        )
        found = self.pdffBySite(logic.assess({"PDFF": sample.volumes["PDFF"]}, sample.segmentation))
        self.assertAlmostEqual(found["L3"][0], sample.true_pdff["L2"], delta=1.0)

    def test_markupFollows(self):
        """A point in L3, moved into L2, measures L2."""
        self.delayDisplay("Moving a point")
        logic = MarrowAssessLogic()
        sample = logic.loadSample()
        point = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
        centers = sample.centers_ras
        point.AddControlPoint(*centers["L3"], "marrow")
        for site in ("L3", "L2"):
            point.SetNthControlPointPosition(0, *centers[site])
            result = logic.assess({"PDFF": sample.volumes["PDFF"]}, markups=[point])
            value, _verdict = self.pdffBySite(result)[""]
            self.assertAlmostEqual(value, sample.true_pdff[site], delta=1.0)

    def test_placing(self):
        """L3 by a click, L2 named by its neighbor, levels renamed, all taken back."""
        from PDFFMapperLib.install.packages import missing_packages

        if missing := missing_packages():
            self.delayDisplay(f"Placing is not tested: these are not installed: {missing}")
            return
        self.delayDisplay("Placing regions")
        logic = MarrowAssessLogic()
        sample = logic.loadSample()
        parameters = logic.getParameterNode()
        parameters.t1Volume, parameters.pdffVolume = sample.volumes["T1"], sample.volumes["PDFF"]
        parameters.segmentation = logic.addSegmentation(sample.volumes["T1"])
        parameters.placeSite = "L3"
        for site in ("L3", "L2"):
            placed = logic.placeRegion(parameters, sample.centers_ras[site])
            self.assertEqual(placed.region.site, site)
            found = self.pdffBySite(logic.assessParameters(parameters))
            self.assertAlmostEqual(found[site][0], sample.true_pdff[site], delta=1.0)
        self.assertEqual(logic.shiftLevels(parameters, -1), ["L2 marrow", "L1 marrow"])
        for count in (2, 1, 0):
            logic.undo(parameters.segmentation)
            segments = parameters.segmentation.GetSegmentation()
            self.assertEqual(segments.GetNumberOfSegments(), count)
        parameters.placeSite = "L3"
        column = logic.findColumn(parameters, sample.centers_ras["L3"])
        self.assertLessEqual({"L2", "L3", "L4"}, set(column.bodies))
        segments.RemoveSegment("L3-L4 disc")
        placed = logic.placeRegion(parameters, sample.centers_ras["L3"])
        self.assertIn("L2-L3 disc", [region.name for region in placed.renewed])
        self.assertEqual(placed.kept, ["L3-L4 disc"])

    def test_importOfLabels(self):
        """A label map of TotalSpineSeg measures as the segment it was made of."""
        self.delayDisplay("Importing a label map")
        logic = MarrowAssessLogic()
        sample = logic.loadSample()
        drawn = slicer.util.arrayFromSegmentBinaryLabelmap(
            sample.segmentation, "L4 marrow", sample.volumes["T1"]
        )
        labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
        labels.CopyContent(sample.volumes["T1"])
        slicer.util.updateVolumeFromArray(labels, (44 * (drawn > 0)).astype("int16"))
        parameters = logic.getParameterNode()
        parameters.pdffVolume = sample.volumes["PDFF"]
        parameters.segmentation = None
        logic.importLabels(parameters, labels, "TotalSpineSeg")
        found = self.pdffBySite(logic.assessParameters(parameters))
        self.assertAlmostEqual(found["L4"][0], sample.true_pdff["L4"], delta=1.0)

    def test_report(self):
        """The report's files are written."""
        self.delayDisplay("Writing the report")
        logic = MarrowAssessLogic()
        sample = logic.loadSample()
        logic.assess({"PDFF": sample.volumes["PDFF"]}, sample.segmentation, age=34, sex="M")
        written = {file.name for file in logic.exportReport(slicer.util.tempDirectory())}
        self.assertLessEqual({"report.html", "measurements.csv", "assessment.json"}, written)

    def test_segmentStatistics(self):
        """Segment Statistics lists the PDFF of the segments."""
        self.delayDisplay("Using Segment Statistics")
        from SegmentStatistics import SegmentStatisticsLogic

        registerSegmentStatistics()
        sample = MarrowAssessLogic().loadSample()
        statistics = SegmentStatisticsLogic()
        node = statistics.getParameterNode()
        node.SetParameter("Segmentation", sample.segmentation.GetID())
        node.SetParameter("ScalarVolume", sample.volumes["PDFF"].GetID())
        statistics.computeStatistics()
        key = ("L3 marrow", "MarrowAssessStatisticsPlugin.marrow_pdff")
        value = float(statistics.getStatistics()[key])
        self.assertAlmostEqual(value, sample.true_pdff["L3"], delta=1.0)

    def test_savedScene(self):
        """A saved scene brings back choices and results."""
        self.delayDisplay("Saving and loading the scene")
        logic = MarrowAssessLogic()
        sample = logic.loadSample()
        parameters = logic.getParameterNode()
        logic.chooseDefaultInputs(parameters)
        parameters.ageYears, parameters.sex = 34.0, "M"
        parameters.segmentation = sample.segmentation
        logic.assessParameters(parameters)
        rows = [(row.site, row.value) for row in logic.resultRows(sample.segmentation)]
        path = os.path.join(slicer.util.tempDirectory(), "scene.mrb")
        self.assertTrue(slicer.util.saveScene(path))
        slicer.mrmlScene.Clear()
        self.assertTrue(slicer.util.loadScene(path))
        parameters = MarrowAssessLogic().getParameterNode()
        self.assertEqual(parameters.ageYears, 34.0)
        self.assertEqual(parameters.pdffVolume.GetName(), "PDFF")
        found = MarrowAssessLogic().resultRows(parameters.segmentation)
        self.assertEqual([(row.site, row.value) for row in found], rows)

    def test_panel(self):
        """The panel chooses the sample's images, applies, follows, and survives closing."""
        self.delayDisplay("Using the panel")
        sample = MarrowAssessLogic().loadSample()
        widget = slicer.util.getModuleWidget("MarrowAssess")
        if slicer.util.mainWindow():
            slicer.util.selectModule("MarrowAssess")
        widget.enter()
        parameters = widget.logic.getParameterNode()
        self.assertEqual(parameters.pdffVolume, sample.volumes["PDFF"])
        parameters.ageYears, parameters.sex = 34.0, "M"
        parameters.segmentation = sample.segmentation
        self.assertTrue(widget.ui.applyButton.enabled)
        widget.onApplyButton()
        self.assertIn("L2 Marrow PDFF", widget.ui.verdictLabel.text)
        self.assertEqual(widget.ui.resultsTable.item(0, 0).text(), "L2 Marrow PDFF")
        sample.segmentation.GetSegmentation().RemoveSegment("L2 marrow")
        self.assertTrue(widget._updateTimer.active)
        widget.onUpdateTimeout()
        self.assertNotIn("L2 Marrow PDFF", widget.ui.verdictLabel.text)
        widget.ui.placeButton.checked = True
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        self.assertEqual(interaction.GetCurrentInteractionMode(), interaction.Place)
        widget.ui.placeButton.checked = False
        self.assertNotEqual(interaction.GetCurrentInteractionMode(), interaction.Place)
        slicer.mrmlScene.Clear()
        self.assertFalse(widget.ui.applyButton.enabled)
