"""MarrowAssess in the Slicer desktop: bone marrow ratios and maps beside their age reference."""

import logging
import pathlib

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
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
BEFORE_WIDGETS = 1000.0  # priority of an observer
REHEARSAL = "MarrowAssessLib.sample.rehearsal:play"


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
    from MarrowAssessLib.panel.sample_data import register_sample_data

    register_sample_data()
    registerSegmentStatistics()


def registerSegmentStatistics() -> None:
    """Let the Segment Statistics module report our measurements."""
    from MarrowAssessLib.scene.statistics_plugin import register

    register()


class MarrowAssessWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: its rows live in MarrowAssessLib.panel, this keeps them with scene and choices."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self.frame = self.ahead = self._watch = None
        self.images = self.folder = self.age = self.visit = self.files = None  # its rows
        self.placing = self.importing = self.measuring = self.results = None

    def setup(self) -> None:
        """Build the panel and connect it; called when the module is opened first."""
        from MarrowAssessLib.panel.age_row import AgeRow
        from MarrowAssessLib.panel.ahead import WorkAhead
        from MarrowAssessLib.panel.files_row import FilesRow
        from MarrowAssessLib.panel.images_row import ImagesRow
        from MarrowAssessLib.panel.import_row import ImportRow
        from MarrowAssessLib.panel.measuring_row import MeasuringRow
        from MarrowAssessLib.panel.placing_row import PlacingRow
        from MarrowAssessLib.panel.results import ResultsPane
        from MarrowAssessLib.panel.visit_row import VisitRow
        from MarrowAssessLib.scene.region_watch import RegionWatch
        from PDFFMapperLib.panel.folder_row import FolderRow
        from PDFFMapperLib.panel.frame import PanelFrame

        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MarrowAssess.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = logic = MarrowAssessLogic()
        self.frame = frame = PanelFrame(ui, self.onParametersModified, self.onJobDone, REHEARSAL)
        self.ahead = WorkAhead(frame)
        self._watch = RegionWatch(self.onRegionsModified)
        self.visit = VisitRow(ui, frame, logic, self.onAnotherStudy)
        self.images = ImagesRow(ui, frame, logic, self.visit, self.onAnotherStudy)
        self.folder = FolderRow(
            ui, frame, self.images.chosen, self.images.takeAgain, self.images.takeLoaded
        )
        self.age = AgeRow(ui, frame)
        self.results = ResultsPane(ui, frame, logic.session, self.measureChanged)
        self.measuring = MeasuringRow(ui, frame, logic, self.results)
        self.placing = PlacingRow(ui, frame, logic, self.results.show_doubt, self.measureChanged)
        self.importing = ImportRow(ui, frame, logic, self.placing, self.measureChanged)
        self.files = FilesRow(ui, frame)
        ui.copyButton.connect("clicked(bool)", self.onCopyButton)

        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneChanged)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneChanged)
        self.addObserver(scene, scene.NodeAddedEvent, self.onNodeAdded)
        self.addObserver(
            scene, scene.NodeAboutToBeRemovedEvent, self.onNodeGoes, priority=BEFORE_WIDGETS
        )
        self.initializeParameterNode()
        self.importing.onNode()

    def cleanup(self) -> None:
        """Called before the widget is destroyed."""
        self.disconnectScene()
        self.removeObservers()
        if self.results:
            self.results.cleanup()

    def enter(self) -> None:
        """Called each time the user opens this module; regions may have been edited elsewhere."""
        if not self._parameterNode:
            self.initializeParameterNode()
        elif self.logic.chooseDefaultInputs(self._parameterNode):  # `setup` has done the rest
            self.images.fold()
        self.frame.compile_ahead()
        self.ahead.follow()
        if self.logic.session.assessment_of(self._parameterNode.segmentation):
            self.measuring.schedule()

    def exit(self) -> None:
        """Called each time the user opens another module; edits there do not run ours."""
        self.disconnectScene()

    def disconnectScene(self) -> None:
        """Follow nothing any more."""
        self.ahead.stop()
        self.placing.stop()
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        """The parameter node goes with the scene, and all that was said of it; a job ends."""
        self.frame.cancel()
        self.disconnectScene()
        self.logic.session.forget()
        self.folder.say("")
        self.placing.say(_("Choose a tissue, press Place, click into it in a view."))
        self.images.show()
        self.measuring.hideQuestion()
        self.age.show()
        self.files.show()
        self.results.show()
        self.ui.resultsCollapsibleButton.repaint()  # seen before Slicer has taken down the scene

    def onSceneChanged(self, caller, event) -> None:
        """A new parameter node where the panel is open; a saved scene is shown as it was left."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, caller, event, node) -> None:
        """An image that is loaded while the panel is open may be one that is missing."""
        self.images.onAdded(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeGoes(self, caller, event, node) -> None:
        """The role of a node that is removed empties, before selectors choose its neighbor."""
        from MarrowAssessLib.scene.choices import empty_roles

        if slicer.mrmlScene.IsClosing() or not node.IsA("vtkMRMLDisplayableNode"):
            return  # charts and tables, which go by the dozen, have no role
        if node.IsA("vtkMRMLSegmentationNode"):
            self.logic.session.forget(node)
        if node.IsA("vtkMRMLScalarVolumeNode"):
            self.images.onGone()
        if self._parameterNode and empty_roles(self._parameterNode, node):
            self.measuring.onEmptied()

    def initializeParameterNode(self) -> None:
        """Observe the parameter node and choose sensible inputs where none are chosen."""
        parameters = self.logic.getParameterNode()
        self.images.chooseDefaults(parameters)
        self.setParameterNode(parameters)
        self.age.show()
        self.visit.show()
        self.files.show()
        self.onParametersModified()
        self.results.show()

    def onAnotherStudy(self) -> None:
        """Another study was chosen: what was typed for the one before, and refused, is gone."""
        for row in (self.age, self.visit, self.files):
            row.show()

    def setParameterNode(self, parameterNode) -> None:
        """Connect the panel with another parameter node, or with none."""
        self.frame.connect(parameterNode)
        self._watch.follow(parameterNode)
        self.checkCanApply()

    @property
    def _parameterNode(self):
        return self.frame.parameters if self.frame else None

    def onParametersModified(self) -> None:
        """A choice has changed."""
        self.images.leaveMarkups()
        self._watch.follow(self._parameterNode)
        self.checkCanApply()
        self.images.show()
        self.visit.show(anew=False)
        self.age.show(anew=False)
        self.files.show(anew=False)
        self.results.followChoice()
        self.results.make_room()  # the study's line has changed
        self.measuring.followChoices()
        self.ahead.follow()

    def checkCanApply(self) -> None:
        """Enable what can be done, and say in the tooltips of the rest what is missing."""
        if not self.frame.running:
            for row in (self.measuring, self.placing, self.folder, self.importing):
                row.check()

    def onRegionsModified(self, caller=None, event=None) -> None:
        """A segment was painted, a markup or transform moved, or a node came or went."""
        if self.frame.running or slicer.mrmlScene.IsBatchProcessing():
            return
        if caller is slicer.mrmlScene:
            self._watch.follow(self._parameterNode)
        self.checkCanApply()
        self.measuring.schedule()

    def measureChanged(self) -> None:
        """Measure after a row has changed regions."""
        self.measuring.measureChanged()

    def onJobDone(self) -> None:
        """A job has ended: regions may be others, and what is said of them."""
        self.results.make_room()
        self._watch.follow(self._parameterNode)
        self.checkCanApply()

    def onCopyButton(self) -> None:
        """Copy what the panel does as a line for the Python console."""
        from MarrowAssessLib.scene.chosen_inputs import console_command

        with slicer.util.tryWithErrorDisplay(_("Nothing was copied.")):
            slicer.app.clipboard().setText(console_command(self._parameterNode))
            slicer.util.showStatusMessage(_("Copied; paste it into the Python console."), 5000)


class MarrowAssessLogic(ScriptedLoadableModuleLogic):
    """What the panel does, for scripts and the Python console.

    Example::

        logic = MarrowAssessLogic()
        assessment = logic.assess({"T1": getNode("t1")}, getNode("Regions"), age=45, sex="F")
        print(logic.verdict())
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._session = None

    @property
    def session(self):
        """What was drawn and measured, see MarrowAssessLib.scene.session.Session."""
        if self._session is None:
            from MarrowAssessLib.scene.session import Session

            self._session = Session()
        return self._session

    @property
    def assessment(self):
        """The last one, None before the first."""
        return self._session.last if self._session else None

    def getParameterNode(self):
        """The module's parameter node, typed."""
        from MarrowAssessLib.panel.parameters import MarrowAssessParameterNode

        node = super().getParameterNode()
        with slicer.util.NodeModify(node):  # its defaults are written at once
            if score := node.GetParameter("scoreFile"):  # of a scene saved when there was one
                node.SetParameter("scores", score)
                node.UnsetParameter("scoreFile")
            return MarrowAssessParameterNode(node)

    def assess(
        self,
        volumes,
        segmentation=None,
        markups=(),
        age=None,
        sex=None,
        *,
        overlay=True,
        allNames=False,
        earlierVisit=None,
        scores=(),
        progress=None,
        **more,
    ):
        """Measure regions, compare with the age reference, and show the results in the scene.

        Args:
            volumes: volume nodes by contrast: "T1", "T2", "FS_T2" (or "STIR"), "T1_post",
                "in_phase", "opposed_phase", "water", "fat", "PDFF" (%), "R2star" (1/s),
                "T2star" (ms), "ADC", "D", "Dstar" (10^-3 mm^2/s), "f" (%).
            segmentation: segments named like "L3 marrow"; results are shown on it. Where none is
                given, an empty one is made to hold them.
            markups: ROI boxes, closed curves and points named like that.
            age: in years (6 months is 0.5), None where not known.
            sex: "F" or "M", None where not known.
            overlay: color the regions by z-score.
            allNames: name every level in the views, not only those that stand out.
            earlierVisit: assessment.json of an earlier visit, or its segmentation that was
                measured before: regions are colored by what changed since, in repeatability
                coefficients; see changesOf().
            scores: files of scores of one's own training, to be given for the patient.
            progress: called with the fraction done; returning False cancels.
            more: the other attributes of MarrowAssessLib.sources.inputs.StudyInputs and of
                MarrowAssessLib.measures.book.Settings, named as erosionMm, n4, texture, fractures,
                resample, pointRadiusMm, fieldStrengthT, spectra, ute, glucoseMmolL, acceptShift,
                leanMass ("Janmahasatian" or "James").

        Returns:
            MarrowAssessLib.findings.assessment.Assessment, or None when canceled; the scene is
            then as it was.

        Raises:
            ValueError: one sentence that says what is wrong.
            OSError: a file of spectra, a score or an earlier visit cannot be read.
        """
        from MarrowAssessLib.catalogue.contrasts import parse_contrast
        from MarrowAssessLib.measures.book import Settings
        from MarrowAssessLib.prediction.score_file import read_score
        from MarrowAssessLib.scene.chosen_inputs import from_console
        from MarrowAssessLib.sources.inputs import StudyInputs

        images = {parse_contrast(name): node for name, node in volumes.items()}
        of_study, of_settings = from_console(more)
        read = tuple(read_score(file) for file in scores)
        return self.session.assess(
            StudyInputs(images, segmentation, markups, age, sex, **of_study),
            Settings(scores=read, **of_settings),
            overlay,
            allNames,
            earlierVisit,
            progress,
        )

    def assessParameters(self, parameters, progress=None):
        """Measure what the parameter node says; see assess()."""
        from MarrowAssessLib.scene.choices import listed
        from MarrowAssessLib.scene.chosen_inputs import settings, study_inputs

        assessment = self.session.assess(
            study_inputs(parameters),
            settings(parameters, listed(parameters.scores)),
            parameters.showOverlay,
            parameters.showNames,
            parameters.earlierRegions or parameters.earlierVisit,
            progress,
        )
        if assessment is not None and parameters.segmentation is None:
            parameters.segmentation = self.session.shown_on(assessment)
        return assessment

    def chooseDefaultInputs(self, parameters) -> bool:
        """Where no image is chosen yet, choose by names and DICOM; whether any was."""
        from MarrowAssessLib.scene.choices import choose_guessed, chosen_volumes, scalar_volumes

        if parameters.exportFolder == pathlib.Path():
            parameters.exportFolder = pathlib.Path(slicer.app.defaultScenePath) / "MarrowAssess"
        if chosen_volumes(parameters):
            return False
        return choose_guessed(parameters, scalar_volumes())

    def showChangeMap(self, earlier, now, progress=None):
        """Show which voxels changed between two measured segmentations; None when canceled."""
        return self.session.change_map(earlier, now, progress)

    def chooseMaps(self, parameters, nodes) -> bool:
        """Choose maps of PDFFMapper by what they say they are; whether any was."""
        from MarrowAssessLib.scene.choices import choose_maps

        self.chooseDefaultInputs(parameters)
        return choose_maps(parameters, nodes)

    def addSegmentation(self, volume):
        """An empty segmentation on a volume's grid."""
        from MarrowAssessLib.scene.placing import new_segmentation

        return new_segmentation(volume)

    def placeRegion(self, parameters, position, progress=None):
        """Draw the structure at a point (RAS mm) into the chosen segmentation, as a segment.

        A body of the column that was found before in the same image is corrected: the discs, CSF
        and muscles found from it are drawn anew unless they were edited by hand.

        Returns:
            MarrowAssessLib.scene.column.Placed; the cautions of its region say why it may be wrong.
            None when canceled: `progress` is called with the fraction done, and answers False.

        Raises:
            ValueError: no structure can be told there.
        """
        role, site = parameters.placeRole, parameters.placeSite
        return self.session.place(self._placing(parameters), position, role, site, progress)

    def correctPainted(self, parameters, segmentName, level=""):
        """Take a painted segment as a whole vertebral body of the column that was found before.

        Its measurement ROI, the discs beside it, and CSF and muscles found from it are drawn anew.
        Painting alone changes the painted region only.

        Returns:
            MarrowAssessLib.scene.column.Placed.

        Raises:
            ValueError: there is no column or no such segment; see scene_column.correct_painted.
        """
        from MarrowAssessLib.scene.placing import placing_options

        options = placing_options(parameters)
        return self.session.correct_painted(parameters.segmentation, segmentName, level, options)

    def findSpine(self, parameters, progress=None):
        """Find and name the levels of the spine in the chosen images, without a click.

        Returns:
            MarrowAssessLib.placement.column.Column, or None when canceled.

        Raises:
            ValueError: no spine was found.
        """
        from MarrowAssessLib.scene.choices import chosen_contrasts

        self._requirePackages()  # before what needs them is imported
        from MarrowAssessLib.placement.spine_column import images_of_spine

        volumes = chosen_contrasts(parameters)
        drawn_on = images_of_spine(list(volumes)).drawn_on if volumes else None
        where = self._placing(parameters, drawn_on)
        return self.session.find_spine(where, volumes, progress)

    def findColumn(self, parameters, position, progress=None):
        """Find and name the levels of the spine from a point (RAS mm) in one body.

        Returns:
            MarrowAssessLib.placement.column.Column, or None when canceled.

        Raises:
            ValueError: the level of the body is not given in the site.
        """
        where = self._placing(parameters)
        return self.session.find_column(where, position, parameters.placeSite, progress)

    def shiftLevels(self, parameters, shift: int):
        """Name every level so many vertebrae nearer to the feet (-1: head); returns new names.

        Raises:
            ValueError: there is no level, or one would leave the spine.
        """
        return self.session.shift_levels(parameters.segmentation, shift, parameters.lumbarVertebrae)

    def importLabels(self, parameters, node, convention: str):
        """Add the regions of another tool's label map or segmentation; returns the regions.

        Args:
            parameters: the parameter node; says segmentation, image and resampling.
            node: label map volume, or segmentation whose segments kept their label values.
            convention: one of MarrowAssessLib.sources.label_maps.CONVENTIONS.

        Raises:
            ValueError: no label of the convention, or another voxel grid.
        """
        from MarrowAssessLib.scene.placing import placing

        where = placing(parameters)
        return self.session.import_labels(where, node, convention, parameters.resample)

    def segmentWith(self, parameters, tool: str, progress=None):
        """Run a tool of others and add its regions; see MarrowAssessLib.sources.other_tools.

        Args:
            parameters: the parameter node; says images and segmentation.
            tool: one of MarrowAssessLib.sources.tools.TOOLS.
            progress: takes the last line that the tool printed; returning False ends it.

        Returns:
            MarrowAssessLib.sources.other_tools.Segmented.

        Raises:
            ValueError: it is not installed, has no weights, is made for other images or failed.
            InterruptedError: canceled.
        """
        from MarrowAssessLib.scene.choices import chosen_contrasts
        from MarrowAssessLib.scene.placing import placing
        from MarrowAssessLib.sources.tools import image_for, tool_named

        contrast = image_for(tool_named(tool), list(chosen_contrasts(parameters)))
        where = placing(parameters, contrast)
        return self.session.segment_with(where, contrast, tool, progress)

    def undo(self, segmentation) -> None:
        """Take back the last placement, import or change of levels of a segmentation.

        Raises:
            ValueError: there is none.
        """
        self.session.undo(segmentation)

    def _placing(self, parameters, contrast=None):
        """Where and how regions are drawn, which needs packages that Slicer lacks."""
        self._requirePackages()
        from MarrowAssessLib.scene.placing import placing

        return placing(parameters, contrast)

    def _requirePackages(self) -> None:
        from PDFFMapperLib.install.compiled_cache import forget_stale_code
        from PDFFMapperLib.install.packages import require_packages

        require_packages("MarrowAssess")
        forget_stale_code("PDFFMapperLib", "MarrowAssessLib")

    def changesOf(self, segmentation):
        """What changed since the earlier visit, in repeatability coefficients; [] without one."""
        return self.session.changes_of(segmentation)

    def verdict(self) -> str:
        """The last assessment in a few sentences."""
        from MarrowAssessLib.findings.verdict import verdict

        return verdict(self.assessment) if self.assessment else ""

    def exportReport(self, folder, segmentation=None):
        """Write report.html, measurements.csv and assessment.json; returns their paths.

        Args:
            folder: takes them.
            segmentation: whose results; those shown last if None.

        Raises:
            ValueError: nothing was measured yet.
        """
        return self.session.export(segmentation, folder)

    def exportDicom(self, folder, segmentation=None, anonymous=False, progress=None):
        """Write regions, maps and measurements as DICOM objects; returns their paths.

        They belong to the DICOM study of the images, and are written by highdicom.

        Args:
            folder: takes them.
            segmentation: whose results; those shown last if None.
            anonymous: without who the patient is.
            progress: called with the fraction done; returning False cancels: returns None.

        Raises:
            ValueError: nothing was measured yet, highdicom is missing, or no image is from DICOM.
        """
        return self.session.export_dicom(segmentation, folder, anonymous, progress)

    def loadSample(self):
        """Add the digital lumbar spine, images, PDFF and regions; returns a SampleNodes."""
        from MarrowAssessLib.sample.nodes import load_sample

        return load_sample()

    def loadMapperSample(self):
        """Add the spine's echoes and diffusion images for PDFFMapper; returns MapperSampleNodes."""
        from MarrowAssessLib.sample.nodes import load_mapper_sample

        return load_mapper_sample()


class MarrowAssessTest(ScriptedLoadableModuleTest):
    """The tutorial in the desktop, see MarrowAssessLib.panel.self_test."""

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run everything."""
        from MarrowAssessLib.panel.self_test import STEPS

        for step in STEPS:
            self.setUp()
            step(self)
