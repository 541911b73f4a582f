"""MarrowAssess in the Slicer desktop: bone marrow ratios and maps beside their age reference."""

import os
import pathlib
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

HOMEPAGE = "https://github.com/MarrowAssess/MarrowAssess"
UPDATE_DELAY_MS = 150  # after the last change of a stroke or a drag
ROLES = ["marrow", "disc", "muscle", "csf", "fat", "noise"]
NOT_KNOWN = "not known"


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
    for name, description, icon, load in (
        ("LumbarSpine", "Images, PDFF and regions", "MarrowAssess", MarrowAssessLogic.loadSample),
        ("LumbarSpineEchoes", "Echoes and DWI", "PDFFMapper", MarrowAssessLogic.loadMapperSample),
    ):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="MarrowAssess",
            sampleName=f"MarrowAssess{name}",
            sampleDescription=f"Digital lumbar spine, lesion in L2: {description}",
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
    from MarrowAssessLib.statistics_plugin import MarrowAssessStatisticsPlugin
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
        self._clickNode = None
        self._onClick = None
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
        self.logic = MarrowAssessLogic()
        self._updateTimer = qt.QTimer()
        self._updateTimer.setSingleShot(True)
        self._updateTimer.setInterval(UPDATE_DELAY_MS)
        self._updateTimer.connect("timeout()", self.onUpdateTimeout)

        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.placeButton.connect("toggled(bool)", self.onPlaceToggled)
        self.ui.findColumnButton.connect("toggled(bool)", self.onFindColumnToggled)
        self.ui.show3DButton.connect("toggled(bool)", self.onShow3DToggled)
        self.ui.showChartButton.connect("clicked(bool)", self.onShowChartButton)
        self.ui.exportButton.connect("clicked(bool)", self.onExportButton)
        self.ui.showOverlayCheckBox.connect("toggled(bool)", self.onShowOverlayToggled)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called before the widget is destroyed."""
        self._updateTimer.stop()
        self.stopPlacing()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """Called each time the user opens another module; edits there do not run ours."""
        self._updateTimer.stop()
        self.stopPlacing()
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        """The parameter node goes with the scene."""
        self._updateTimer.stop()
        self.stopPlacing()
        self.setParameterNode(None)
        self.showAssessment()

    def onSceneEndClose(self, caller, event) -> None:
        """A new parameter node where the panel is open."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Observe the parameter node and choose sensible inputs where none are chosen."""
        self.setParameterNode(self.logic.getParameterNode())
        self.logic.chooseDefaultInputs(self._parameterNode)
        self.observeRegions()
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
        self.observeRegions()
        self.checkCanApply()
        self.ui.placeButton.text = _("Place {role}").format(role=self._parameterNode.placeRole)
        self.scheduleUpdate()

    def checkCanApply(self) -> None:
        """Enable Apply, or say in its tooltip what is missing."""
        if self._running:
            return
        missing = self.logic.missingInputs(self._parameterNode) if self._parameterNode else ""
        self.ui.applyButton.enabled = bool(self._parameterNode) and not missing
        self.ui.applyButton.toolTip = missing or _("Measure the regions.")

    # Live update --------------------------------------------------------------------------------

    def observeRegions(self) -> None:
        """Observe the segmentation and the markups that are regions, and nothing else."""
        self.removeObservers(self.onRegionsModified)
        if not self._parameterNode:
            return
        scene = slicer.mrmlScene
        events = [
            (scene, slicer.vtkMRMLScene.NodeAddedEvent),
            (scene, slicer.vtkMRMLScene.NodeRemovedEvent),
        ]
        segmentation = self._parameterNode.segmentation
        if segmentation:
            events += [
                (segmentation.GetSegmentation(), event)
                for event in (
                    slicer.vtkSegmentation.SourceRepresentationModified,
                    slicer.vtkSegmentation.SegmentAdded,
                    slicer.vtkSegmentation.SegmentRemoved,
                    slicer.vtkSegmentation.SegmentModified,
                )
            ]
        if self._parameterNode.useMarkups:
            for markup in slicer.util.getNodesByClass("vtkMRMLMarkupsNode"):
                if not markup.GetName().startswith("MarrowAssess"):
                    events += [
                        (markup, slicer.vtkMRMLMarkupsNode.PointModifiedEvent),
                        (markup, slicer.vtkMRMLMarkupsNode.PointRemovedEvent),
                    ]
        for observed, event in events:
            self.addObserver(observed, event, self.onRegionsModified)

    def onRegionsModified(self, caller=None, event=None) -> None:
        """A segment was painted, a markup moved, or a node came or went."""
        if self._running or slicer.mrmlScene.IsBatchProcessing():
            return
        if caller is slicer.mrmlScene:
            self.observeRegions()
        self.checkCanApply()
        self.scheduleUpdate()

    def scheduleUpdate(self) -> None:
        """Measure again once changes have paused; N4 takes seconds and waits for Apply."""
        parameters = self._parameterNode
        if parameters and parameters.autoUpdate and not parameters.n4 and not self._running:
            if self.logic.assessment is not None:
                self._updateTimer.start()

    def onUpdateTimeout(self) -> None:
        """Measure again; what is wrong is said in the panel, a popup at every stroke is not."""
        if self._running or not self._parameterNode:
            return
        if self.logic.missingInputs(self._parameterNode):
            return
        self._running = True
        try:
            self.logic.assessParameters(self._parameterNode)
        except ValueError as error:
            self.ui.verdictLabel.text = str(error)
        else:
            self.showAssessment()
        finally:
            self._running = False

    # Apply --------------------------------------------------------------------------------------

    def onApplyButton(self) -> None:
        """Measure the regions; while that runs the button cancels."""
        if self._running:
            self._canceled = True
            return
        self._running, self._canceled = True, False
        self.ui.applyButton.text = _("Cancel")
        self.ui.applyButton.toolTip = _("Stop; the scene stays as it was.")
        self.ui.progressBar.visible = self._parameterNode.n4
        try:
            with slicer.util.tryWithErrorDisplay(_("The regions could not be measured.")):
                self.logic.assessParameters(self._parameterNode, self.onProgress)
                self.showAssessment()
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

    def showAssessment(self) -> None:
        """Verdict, table and buttons for what is known of the chosen segmentation."""
        segmentation = self._parameterNode.segmentation if self._parameterNode else None
        shown = self.logic.liveResults(segmentation)
        self.ui.resultsTableView.setMRMLTableNode(shown.table if shown else None)
        self.ui.showChartButton.enabled = bool(shown and shown.charts)
        self.ui.exportButton.enabled = bool(shown and self.logic.assessment)
        if not shown:
            self.ui.verdictLabel.text = _("No assessment yet.")
        elif self.logic.assessment:
            self.ui.verdictLabel.text = self.logic.verdict()
        else:
            self.ui.verdictLabel.text = _("Results as saved with the scene; Apply measures again.")

    def onShowOverlayToggled(self, checked: bool) -> None:
        """Color the regions by z-score or by tissue."""
        if self._parameterNode and self._parameterNode.segmentation and not checked:
            self._running = True
            self.logic.hideOverlay(self._parameterNode.segmentation)
            self._running = False
        else:
            self.scheduleUpdate()

    def onShow3DToggled(self, checked: bool) -> None:
        """Show or hide the segments in 3D views."""
        if self._parameterNode and self._parameterNode.segmentation:
            self.logic.show3D(self._parameterNode.segmentation, checked)

    def onShowChartButton(self) -> None:
        """Show the next age curve; a layout with a plot is chosen because the user asks for one."""
        shown = self.logic.liveResults(self._parameterNode.segmentation)
        slicer.modules.plots.logic().ShowChartInLayout(self.logic.nextChart(shown.charts))

    def onExportButton(self) -> None:
        """Write the report."""
        with slicer.util.tryWithErrorDisplay(_("The report was not written."), waitCursor=True):
            files = self.logic.exportReport(self._parameterNode.exportFolder)
            slicer.util.showStatusMessage(_("Written: {file}").format(file=files[0]), 5000)

    # Placing ------------------------------------------------------------------------------------

    def onPlaceToggled(self, checked: bool) -> None:
        """Start or stop placing regions by clicks."""
        self.togglePlacing(checked, self.ui.findColumnButton, self.placeRegion)

    def onFindColumnToggled(self, checked: bool) -> None:
        """Start or stop finding the column by a click."""
        self.togglePlacing(checked, self.ui.placeButton, self.findColumn)

    def togglePlacing(self, checked: bool, otherButton, onClick) -> None:
        """Take clicks in the views for one of the two buttons."""
        if not checked:
            self.stopPlacing()
            return
        otherButton.checked = False
        node = slicer.mrmlScene.AddNewNodeByClass(
            "vtkMRMLMarkupsFiducialNode", "MarrowAssess click"
        )
        node.SetSaveWithScene(False)
        node.SetHideFromEditors(True)
        node.CreateDefaultDisplayNodes()
        self._clickNode, self._onClick = node, onClick
        self.addObserver(
            node, slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent, self.onPointPlaced
        )
        logic = slicer.modules.markups.logic()
        logic.SetActiveList(node)
        logic.StartPlaceMode(True)

    def stopPlacing(self) -> None:
        """Leave place mode and remove the temporary node."""
        node, self._clickNode, self._onClick = self._clickNode, None, None
        if node is None:
            return
        self.removeObserver(
            node, slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent, self.onPointPlaced
        )
        slicer.app.applicationLogic().GetInteractionNode().SwitchToViewTransformMode()
        slicer.mrmlScene.RemoveNode(node)
        self.ui.placeButton.checked = False
        self.ui.findColumnButton.checked = False

    def onPointPlaced(self, caller, event) -> None:
        """A click: its point is taken away and its region drawn once the event is over."""
        import qt

        qt.QTimer.singleShot(0, self.takeClick)

    def takeClick(self) -> None:
        """Draw what was clicked."""
        node = self._clickNode
        if node is None or not node.GetNumberOfDefinedControlPoints():
            return
        position = [0.0, 0.0, 0.0]
        node.GetNthControlPointPositionWorld(0, position)
        node.RemoveAllControlPoints()
        onClick = self._onClick
        self._running = True
        try:
            with slicer.util.tryWithErrorDisplay(_("Nothing was placed."), waitCursor=True):
                doubts = onClick(position)
                if not self._parameterNode.n4:
                    self.logic.assessParameters(self._parameterNode)
                    self.showAssessment()
                if doubts:
                    self.ui.verdictLabel.text = "\n".join([*doubts, self.ui.verdictLabel.text])
        finally:
            self._running = False
            self.observeRegions()
            self.checkCanApply()

    def placeRegion(self, position):
        """One click, one region; returns doubts about it."""
        self.ensurePackages()
        return self.logic.placeRegion(self._parameterNode, position)

    def findColumn(self, position):
        """One click, the whole spine, and the button is released; returns doubts about it."""
        self.ensurePackages()
        doubts = self.logic.findColumn(self._parameterNode, position)
        self.stopPlacing()
        return doubts

    def ensurePackages(self) -> None:
        """Ask for the packages that Slicer lacks."""
        from PDFFMapperLib.packages import ensure_packages

        ensure_packages("MarrowAssess")


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
            MarrowAssessLib.assessment.Assessment, or None when canceled; the scene is then as it
            was.

        Raises:
            ValueError: one sentence that says what is wrong.
        """
        from MarrowAssessLib.assessment import assess
        from MarrowAssessLib.contrasts import parse_contrast
        from MarrowAssessLib.live_results import show_live
        from MarrowAssessLib.ratios import Settings
        from MarrowAssessLib.scene_study import study_from_nodes

        byContrast = {parse_contrast(name): node for name, node in volumes.items()}
        study = study_from_nodes(
            byContrast, segmentation, markups, age, sex, resample, pointRadiusMm
        )
        try:
            assessment = assess(study, Settings(erosionMm, n4), progress)
        except InterruptedError:
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
        from MarrowAssessLib.parameter_names import VOLUME_PARAMETERS

        chosen = {c.value: getattr(parameters, key) for c, key in VOLUME_PARAMETERS.items()}
        return {name: node for name, node in chosen.items() if node is not None}

    def chosenMarkups(self, parameters):
        """The markups that count as regions."""
        from MarrowAssessLib.scene_study import region_markups

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

    def chooseDefaultInputs(self, parameters) -> None:
        """Fill what is not chosen yet from names and DICOM headers."""
        from MarrowAssessLib.parameter_names import VOLUME_PARAMETERS
        from MarrowAssessLib.scene_study import guess_inputs

        if parameters.exportFolder == pathlib.Path():
            parameters.exportFolder = pathlib.Path(slicer.app.defaultScenePath) / "MarrowAssess"
        if self.chosenVolumes(parameters):
            return
        nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if not nodes:
            return
        database = getattr(slicer, "dicomDatabase", None)
        guess = guess_inputs(nodes, database.fileForInstance if database else None)
        for contrast, node in guess.volumes.items():
            setattr(parameters, VOLUME_PARAMETERS[contrast], node)
        if parameters.ageYears < 0 and guess.patient.age_years is not None:
            parameters.ageYears = round(guess.patient.age_years, 2)
        if parameters.sex == NOT_KNOWN and guess.patient.sex in ("F", "M"):
            parameters.sex = guess.patient.sex
        segmentations = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        if parameters.segmentation is None and len(segmentations) == 1:
            parameters.segmentation = segmentations[0]

    def chooseMaps(self, parameters, nodes) -> bool:
        """Choose maps of PDFFMapper by what they say they are; whether any was."""
        from MarrowAssessLib.parameter_names import VOLUME_PARAMETERS
        from MarrowAssessLib.scene_study import map_contrast

        found = {contrast: node for node in nodes if (contrast := map_contrast(node))}
        for contrast, node in found.items():
            setattr(parameters, VOLUME_PARAMETERS[contrast], node)
        return bool(found)

    def addSegmentation(self, volume):
        """An empty segmentation on a volume's grid."""
        from MarrowAssessLib.scene import regions_to_node

        return regions_to_node([], volume, "Regions")

    def placeRegion(self, parameters, position):
        """Draw the structure at a point (RAS mm) into the chosen segmentation, as a segment.

        Returns:
            Sentences, why the region may be wrong; empty where nothing looks wrong.

        Raises:
            ValueError: no structure can be told there.
        """
        from PDFFMapperLib.packages import require_packages

        require_packages("MarrowAssess")
        from MarrowAssessLib.scene_placement import place_region

        return place_region(
            *self.placingNodes(parameters), position, parameters.placeRole, parameters.placeSite
        ).cautions

    def findColumn(self, parameters, position):
        """Find and name the levels of the spine from a point (RAS mm) in one body.

        Returns:
            Sentences, what may be wrong; empty where nothing looks wrong.

        Raises:
            ValueError: the level of the body is not given in the site.
        """
        from PDFFMapperLib.packages import require_packages

        require_packages("MarrowAssess")
        from MarrowAssessLib.scene_placement import place_column

        return place_column(*self.placingNodes(parameters), position, parameters.placeSite).unsure

    def placingNodes(self, parameters):
        """The segmentation that takes placed regions, and the image in which clicks are taken."""
        volumes = self.chosenVolumes(parameters)
        if not volumes:
            raise ValueError(_("Choose at least one image or map."))
        volume = next(iter(volumes.values()))
        if parameters.segmentation is None:
            parameters.segmentation = self.addSegmentation(volume)
        return parameters.segmentation, volume

    def liveResults(self, segmentation):
        """Table and charts shown for a segmentation, None if there are none."""
        if segmentation is None:
            return None
        from MarrowAssessLib.live_results import live_results

        return live_results(segmentation)

    def verdict(self) -> str:
        """The last assessment in a few sentences."""
        from MarrowAssessLib.live_results import verdict

        return verdict(self.assessment) if self.assessment else ""

    def hideOverlay(self, segmentation) -> None:
        """Give the segments their tissue's color back; hide labels and legend."""
        from MarrowAssessLib.live_results import show_overlay

        show_overlay(segmentation, False)

    def show3D(self, segmentation, visible: bool) -> None:
        """Show or hide a segmentation in 3D views."""
        if visible:
            segmentation.CreateClosedSurfaceRepresentation()
        segmentation.CreateDefaultDisplayNodes()
        segmentation.GetDisplayNode().SetVisibility3D(visible)

    def nextChart(self, charts):
        """The age curves one after the other."""
        self._chart = (self._chart + 1) % len(charts)
        return charts[self._chart]

    def exportReport(self, folder):
        """Write report.html, measurements.csv and assessment.json; returns their paths.

        Raises:
            ValueError: nothing was measured yet.
        """
        from MarrowAssessLib.outputs import write_outputs
        from MarrowAssessLib.report import Report

        if self.assessment is None:
            raise ValueError(_("There is nothing to report yet; press Apply first."))
        return write_outputs(Report(self.assessment), folder, show=False)

    def loadSample(self):
        """Add the digital lumbar spine, images, PDFF and regions; returns a SampleNodes."""
        from MarrowAssessLib.sample import load_sample

        return load_sample()

    def loadMapperSample(self):
        """Add the spine's echoes and diffusion images for PDFFMapper; returns MapperSampleNodes."""
        from MarrowAssessLib.sample import load_mapper_sample

        return load_mapper_sample()


class MarrowAssessTest(ScriptedLoadableModuleTest):
    """Known truth in the desktop: the digital lumbar spine and what its tissues are."""

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run everything."""
        self.setUp()
        self.test_assessOfSample()
        self.setUp()
        self.test_markupFollows()
        self.setUp()
        self.test_panel()

    def test_assessOfSample(self):
        """PDFF of every level as drawn; L2 is the lesion."""
        self.delayDisplay("Assessing the digital lumbar spine")
        logic = MarrowAssessLogic()
        sample = logic.loadSample()
        assessment = logic.assess(sample.volumes, sample.segmentation, age=34, sex="M")
        found = {
            result.measurement.site: result.measurement.value
            for result in assessment.results
            if result.measurement.quantity == "marrow_pdff"
        }
        for site, truth in sample.true_pdff.items():
            self.assertAlmostEqual(found[site], truth, delta=1.0)
        verdicts = {
            result.measurement.site: result.verdict
            for result in assessment.results
            if result.measurement.quantity == "marrow_pdff"
        }
        self.assertEqual(verdicts["L2"], "below")
        self.assertEqual(verdicts["L3"], "within")
        shown = logic.liveResults(sample.segmentation)
        self.assertGreater(shown.table.GetNumberOfRows(), 0)
        self.assertGreater(len(shown.charts), 0)

    def test_markupFollows(self):
        """A point in L3, moved into L2, measures L2."""
        self.delayDisplay("Moving a point")
        logic = MarrowAssessLogic()
        sample = logic.loadSample()
        point = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
        centers = sample.centers_ras
        point.AddControlPoint(*centers["L3"], "marrow")
        values = []
        for site in ("L3", "L2"):
            point.SetNthControlPointPosition(0, *centers[site])
            result = logic.assess({"PDFF": sample.volumes["PDFF"]}, markups=[point])
            values += [
                r.measurement.value
                for r in result.results
                if r.measurement.quantity == "marrow_pdff"
            ]
        self.assertAlmostEqual(values[0], sample.true_pdff["L3"], delta=1.0)
        self.assertAlmostEqual(values[1], sample.true_pdff["L2"], delta=1.0)

    def test_panel(self):
        """The panel chooses the sample's images, applies, and survives closing the scene."""
        self.delayDisplay("Using the panel")
        sample = MarrowAssessLogic().loadSample()
        slicer.util.selectModule("MarrowAssess")
        widget = slicer.util.getModuleWidget("MarrowAssess")
        widget.initializeParameterNode()
        parameters = widget.logic.getParameterNode()
        self.assertEqual(parameters.pdffVolume, sample.volumes["PDFF"])
        parameters.ageYears, parameters.sex = 34.0, "M"
        parameters.segmentation = sample.segmentation
        self.assertTrue(widget.ui.applyButton.enabled)
        widget.onApplyButton()
        self.assertIn("L2 Marrow PDFF", widget.ui.verdictLabel.text)
        slicer.mrmlScene.Clear()
        self.assertFalse(widget.ui.applyButton.enabled)
