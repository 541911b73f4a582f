"""PDFFMapper in the Slicer desktop: maps from chemical-shift and diffusion MRI."""

import logging
from typing import Annotated

import slicer
import vtk
from slicer import vtkMRMLNode, vtkMRMLScalarVolumeNode
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
SPECTRA = [
    "ren_marrow",
    "hamilton_liver",
    "hamilton_liver_6",
    "hernando_phantom",
    "ismrm_challenge",
    "yu_3",
    "zhong_liver",
]
ECHOES, WATER_FAT, IN_OPPOSED = "echoes", "water and fat", "in and opposed phase"
MODELS = [
    "ADC",
    "IVIM",
    "IVIM, segmented",
    "IVIM, hierarchical",
    "Kurtosis",
    "Best model (AICc)",
]
DIXON_TAB = 0
# The rows of the panel that each choice needs; the others are hidden.
DIXON_ROWS = {
    ECHOES: (
        "echoInputsComboBox",
        "echoTable",
        "fieldStrengthSpinBox",
        "fatSpectrumComboBox",
        "precessionComboBox",
        "commonPhaseCheckBox",
    ),
    WATER_FAT: ("waterSelector", "fatSelector"),
    IN_OPPOSED: (
        "inPhaseSelector",
        "opposedPhaseSelector",
        "secondInPhaseSelector",
        "echoTable",
        "fieldStrengthSpinBox",
    ),
}
T1_ROWS = ("flipAngleSpinBox", "repetitionTimeSpinBox", "t1WaterSpinBox", "t1FatSpinBox")
MODEL_ROWS = {"ADC": ("lowestBSpinBox",), "IVIM, segmented": ("thresholdSpinBox",)}


class PDFFMapper(ScriptedLoadableModule):
    """The module as Slicer's module list shows it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("PDFFMapper")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        self.parent.dependencies = []
        self.parent.contributors = ["The MarrowAssess authors"]
        self.parent.helpText = (
            _(
                "Maps of proton density fat fraction and R2* from multi-echo gradient echoes, and "
                "of ADC and IVIM from diffusion images. For research use only. "
            )
            + f'<a href="{HOMEPAGE}">{HOMEPAGE}</a>'
        )
        self.parent.acknowledgementText = _("Every map records its method and its fat spectrum.")


@parameterNodeWrapper
class PDFFMapperParameterNode:
    """What the user chose; saved with the scene. Typed echo times and b-values are on the images.

    fieldStrengthT, flipAngleDeg and repetitionTimeMs are 0 where the header's is taken; the T1 are
    0 until the user gives them.
    """

    dixonInput: Annotated[str, Choice([ECHOES, WATER_FAT, IN_OPPOSED])] = ECHOES
    echoNodes: list[vtkMRMLNode]
    waterVolume: vtkMRMLScalarVolumeNode
    fatVolume: vtkMRMLScalarVolumeNode
    inPhaseVolume: vtkMRMLScalarVolumeNode
    opposedPhaseVolume: vtkMRMLScalarVolumeNode
    secondInPhaseVolume: vtkMRMLScalarVolumeNode
    fieldStrengthT: Annotated[float, WithinRange(0, 12)] = 0.0
    fatSpectrum: Annotated[str, Choice(SPECTRA)] = "ren_marrow"
    precession: Annotated[str, Choice(["auto", "as given", "conjugated"])] = "auto"
    commonPhase: bool = True
    correctT1: bool = False
    flipAngleDeg: Annotated[float, WithinRange(0, 180)] = 0.0
    repetitionTimeMs: Annotated[float, WithinRange(0, 20000)] = 0.0
    t1WaterMs: Annotated[float, WithinRange(0, 10000)] = 0.0
    t1FatMs: Annotated[float, WithinRange(0, 10000)] = 0.0
    dwiNodes: list[vtkMRMLNode]
    diffusionModel: Annotated[str, Choice(MODELS)] = "ADC"
    lowestB: Annotated[float, WithinRange(0, 10000)] = 0.0
    thresholdB: Annotated[float, WithinRange(1, 10000)] = 200.0
    mapNodes: list[vtkMRMLNode]


class PDFFMapperWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._frames = {}
        self._fillingTables = False
        self._tableNodeIDs = None
        self._running = False
        self._canceled = False

    def setup(self) -> None:
        """Build the panel and connect it; called when the module is opened first."""
        import qt

        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/PDFFMapper.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = PDFFMapperLogic()
        for table in (self.ui.echoTable, self.ui.bValueTable):
            header = table.horizontalHeader()
            header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
            header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
            table.verticalHeader().setVisible(False)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.ui.echoInputsComboBox.connect("checkedNodesChanged()", self.onEchoNodesChecked)
        self.ui.dwiInputsComboBox.connect("checkedNodesChanged()", self.onDwiNodesChecked)
        self.ui.echoTable.connect("cellChanged(int,int)", self.onEchoTableEdited)
        self.ui.bValueTable.connect("cellChanged(int,int)", self.onBValueTableEdited)
        self.ui.tabWidget.connect("currentChanged(int)", self.checkCanApply)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.sendButton.connect("clicked(bool)", self.onSendButton)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called before the widget is destroyed."""
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """Called each time the user opens another module."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        """The parameter node goes with the scene; a running job ends."""
        self._canceled = True
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event) -> None:
        """A new parameter node where the panel is open."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Observe the parameter node and choose sensible inputs where none are chosen."""
        parameters = self.logic.getParameterNode()
        self.logic.chooseDefaultInputs(parameters)
        self.setParameterNode(parameters)

    def setParameterNode(self, parameterNode) -> None:
        """Connect the panel with another parameter node, or with none."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self.removeObserver(
                self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified
            )
        self._parameterNode = parameterNode
        self._tableNodeIDs = None
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(
                self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified
            )
            self.checkNodes(self.ui.echoInputsComboBox, self._parameterNode.echoNodes)
            self.checkNodes(self.ui.dwiInputsComboBox, self._parameterNode.dwiNodes)
        self.onParametersModified()

    def onParametersModified(self, caller=None, event=None) -> None:
        """Show what the choices need, and whether they are complete."""
        if self._parameterNode:
            self.showRows()
            if self.tableNodes() != self._tableNodeIDs:
                self.fillTables()
        self.checkCanApply()

    def showRows(self) -> None:
        """Show the rows that the kind of images and the model need, hide the others."""
        parameters = self._parameterNode
        shown = {*DIXON_ROWS[parameters.dixonInput], *MODEL_ROWS.get(parameters.diffusionModel, ())}
        if parameters.correctT1:
            shown.update(T1_ROWS)
        rows = {*T1_ROWS}.union(*DIXON_ROWS.values(), *MODEL_ROWS.values())
        for name in rows:
            getattr(self.ui, name).visible = name in shown
            if label := getattr(self.ui, f"{name}Label", None):
                label.visible = name in shown

    # Inputs -------------------------------------------------------------------------------------

    def checkNodes(self, comboBox, nodes) -> None:
        """Check exactly these nodes in a combo box."""
        import qt

        blocked = comboBox.blockSignals(True)
        for node in comboBox.checkedNodes():
            comboBox.setCheckState(node, qt.Qt.Unchecked)
        for node in nodes:
            if node is not None:
                comboBox.setCheckState(node, qt.Qt.Checked)
        comboBox.blockSignals(blocked)

    def onEchoNodesChecked(self) -> None:
        """Other echoes are chosen."""
        if self._parameterNode:
            self._parameterNode.echoNodes = list(self.ui.echoInputsComboBox.checkedNodes())

    def onDwiNodesChecked(self) -> None:
        """Other diffusion images are chosen."""
        if self._parameterNode:
            self._parameterNode.dwiNodes = list(self.ui.dwiInputsComboBox.checkedNodes())

    def tableNodes(self):
        """The IDs of the nodes whose frames belong into the two tables."""
        parameters = self._parameterNode
        return [
            [node.GetID() for node in nodes]
            for nodes in (self.logic.dixonNodes(parameters), self.logic.dwiNodes(parameters))
        ]

    def fillTables(self) -> None:
        """Show each frame with its echo time or b-value."""
        self._fillingTables = True
        self._tableNodeIDs = self.tableNodes()
        parameters = self._parameterNode
        try:
            self._frames = {
                "echo": self.fillTable(
                    self.ui.echoTable,
                    self.logic.dixonNodes(parameters),
                    ("ImageComponent", "EchoTime"),
                ),
                "dwi": self.fillTable(
                    self.ui.bValueTable, self.logic.dwiNodes(parameters), ("DiffusionBValue",)
                ),
            }
        finally:
            self._fillingTables = False

    def fillTable(self, table, nodes, keywords):
        """Fill one table; what cannot be read is said in the status line."""
        import qt

        try:
            frames = self.logic.frames(nodes)
        except ValueError as error:
            self.ui.statusLabel.text = str(error)
            frames = []
        table.setRowCount(len(frames))
        for row, frame in enumerate(frames):
            name = qt.QTableWidgetItem(frame.volume.name)
            name.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled)
            table.setItem(row, 0, name)
            for column, keyword in enumerate(keywords, start=1):
                value = frame.volume.attributes.get(keyword, "")
                text = f"{value:g}" if isinstance(value, float) else str(value)
                table.setItem(row, column, qt.QTableWidgetItem(text))
        return frames

    def onEchoTableEdited(self, row: int, column: int) -> None:
        """An echo time or component was typed."""
        keyword = ("", "ImageComponent", "EchoTime")[column]
        self.takeTyped(self.ui.echoTable, "echo", row, column, keyword)

    def onBValueTableEdited(self, row: int, column: int) -> None:
        """A b-value was typed."""
        self.takeTyped(self.ui.bValueTable, "dwi", row, column, ("", "DiffusionBValue")[column])

    def takeTyped(self, table, kind: str, row: int, column: int, keyword: str) -> None:
        """Keep what was typed on the image's node, or say why not and show the old value."""
        if self._fillingTables or not keyword:
            return
        try:
            self.logic.setFrameFact(
                self._frames[kind][row], keyword, table.item(row, column).text()
            )
        except ValueError as error:
            self.ui.statusLabel.text = str(error)
        else:
            self.ui.statusLabel.text = ""
        self.fillTables()

    def checkCanApply(self, caller=None, event=None) -> None:
        """Enable Apply, or say in its tooltip what is missing."""
        if self._running:
            return
        missing = _("There is no scene.")
        if self._parameterNode:
            missing = self.logic.missingInputs(self._parameterNode, self.dixon())
        self.ui.applyButton.enabled = not missing
        self.ui.applyButton.toolTip = missing or _("Compute the maps.")
        self.ui.sendButton.enabled = bool(self._parameterNode and any(self._parameterNode.mapNodes))

    def dixon(self) -> bool:
        """Whether the Dixon tab is in front."""
        return self.ui.tabWidget.currentIndex == DIXON_TAB

    # Apply --------------------------------------------------------------------------------------

    def onApplyButton(self) -> None:
        """Compute the maps; while that runs the button cancels."""
        if self._running:
            self._canceled = True
            return
        self._running, self._canceled = True, False
        self.ui.applyButton.text = _("Cancel")
        self.ui.applyButton.toolTip = _("Stop; the scene stays as it was.")
        self.ui.progressBar.value = 0
        self.ui.progressBar.visible = True
        computing = _("Computing; the first time takes a few seconds longer.")
        self.ui.statusLabel.text = computing
        slicer.app.processEvents()  # shown before the work begins
        try:
            with slicer.util.tryWithErrorDisplay(_("The maps could not be computed.")):
                from PDFFMapperLib.install.packages import ensure_packages

                ensure_packages("PDFFMapper")
                nodes = self.logic.mapParameters(self._parameterNode, self.dixon(), self.onProgress)
                self.showMaps(nodes)
        finally:
            self._running = False
            self.ui.progressBar.visible = False
            self.ui.applyButton.text = _("Apply")
            if self.ui.statusLabel.text == computing:  # an error was shown
                self.ui.statusLabel.text = ""
            self.checkCanApply()

    def onProgress(self, fraction: float) -> bool:
        """Show how far the work is; False once the user cancels."""
        self.ui.progressBar.value = round(100 * fraction)
        slicer.app.processEvents()
        return not self._canceled

    def showMaps(self, nodes) -> None:
        """Show the first map in the slice views and say what was made."""
        if nodes is None:
            self.ui.statusLabel.text = _("Canceled; nothing was changed.")
            return
        from PDFFMapperLib.scene.maps import show_map

        self._parameterNode.mapNodes = nodes
        show_map(nodes[0])
        self.ui.statusLabel.text = _("Made beside the images: {names}.").format(
            names=", ".join(node.GetName() for node in nodes)
        )

    def onSendButton(self) -> None:
        """Choose the maps in MarrowAssess and open it."""
        with slicer.util.tryWithErrorDisplay(_("The maps were not sent.")):
            maps = [node for node in self._parameterNode.mapNodes if node is not None]
            self.logic.sendToMarrowAssess(maps, self._parameterNode)
            slicer.util.selectModule("MarrowAssess")


class PDFFMapperLogic(ScriptedLoadableModuleLogic):
    """What the panel does, for scripts and the Python console.

    Example::

        logic = PDFFMapperLogic()
        pdff, r2star, *others = logic.mapPDFF([getNode("magnitude"), getNode("phase")])
        adc, *others = logic.mapDiffusion([getNode("dwi")])
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)

    def getParameterNode(self):
        """The module's parameter node, typed."""
        return PDFFMapperParameterNode(super().getParameterNode())

    def mapPDFF(
        self,
        nodes,
        fieldStrengthT=None,
        fatSpectrum=None,
        precession="auto",
        commonPhase=True,
        t1Correction=None,
        progress=None,
    ):
        """PDFF (%), R2* (1/s), water, fat and field map (Hz) of a multi-echo series.

        Args:
            nodes: volumes of all echoes, magnitude and phase, real and imaginary, or magnitude
                alone; vector and multi-volumes and sequences count as the volumes they hold.
            fieldStrengthT: in T; None takes the header's.
            fatSpectrum: name of the fat model; marrow if None.
            precession: "auto", "as given" or "conjugated".
            commonPhase: water and fat share one phase at echo time 0.
            t1Correction: None, or (T1 of water, T1 of fat, flip angle, repetition time) in ms and
                degrees, to map the fat fraction without T1 bias as well; None for one of the last
                two takes the header's.
            progress: called with the fraction done; returning False cancels.

        Returns:
            The volume nodes in a folder beside the source, or None when canceled; the scene is
            then as it was.

        Raises:
            ValueError: one sentence that says what is wrong.
            PackagesMissing: a Python package is not installed; says how to.
        """
        return self.make(
            "pdff",
            "complex",
            nodes,
            progress,
            field_strength_t=fieldStrengthT,
            fat_spectrum=fatSpectrum,
            precession=precession,
            common_phase=commonPhase,
            **self._t1Settings(t1Correction),
        )

    def make(self, command, method, nodes, progress=None, **settings):
        """Maps by a recipe (see PDFFMapperLib.recipes), in a folder beside the source.

        Args:
            command: of the family, "pdff" or "ivim".
            method: of the recipe, such as "complex" or "full".
            nodes: volumes of a series, or one volume per input.
            progress: called with the fraction done; returning False cancels.
            settings: by the names of the recipe's options.

        Returns:
            The volume nodes, or None when canceled; the scene is then as it was.

        Raises:
            ValueError: one sentence that says what is wrong.
            PackagesMissing: a Python package is not installed; says how to.
        """
        from PDFFMapperLib.install.packages import require_packages

        require_packages("PDFFMapper")
        from PDFFMapperLib.recipes import FAMILIES
        from PDFFMapperLib.scene.maps import maps_to_nodes

        family = next(family for family in FAMILIES if family.command == command)
        recipe = family.recipe(method)
        frames = self.frames(nodes)
        if not recipe.inputs[0].series:
            self._checkOneFrameEach(frames)
        maps = recipe.make([frame.volume for frame in frames], progress, **settings)
        return maps and maps_to_nodes(maps, _(family.folder), nodes[0])

    def _t1Settings(self, t1Correction):
        names = ("t1_water_ms", "t1_fat_ms", "flip_angle_deg", "repetition_time_ms")
        given = dict(zip(names, t1Correction or (), strict=False))
        return {**given, "correct_t1": True} if given else {}

    def mapWaterFat(self, water, fat, t1Correction=None):
        """Fat signal fraction (%) of the scanner's own water and fat images; not a PDFF.

        Args:
            water, fat: volumes on one grid.
            t1Correction: as in mapPDFF().

        Returns:
            The volume nodes in a folder beside the source.

        Raises:
            ValueError: one sentence that says what is wrong.
            PackagesMissing: a Python package is not installed; says how to.
        """
        return self.make("pdff", "water-fat", [water, fat], **self._t1Settings(t1Correction))

    def mapInOpposed(
        self, inPhase, opposedPhase, secondInPhase=None, fieldStrengthT=None, t1Correction=None
    ):
        """Both readings of the fat signal fraction (%) of in- and opposed-phase images.

        Args:
            inPhase, opposedPhase: magnitude volumes on one grid.
            secondInPhase: a later in-phase echo, to correct R2*.
            fieldStrengthT: in T, to check the echo times; None takes the header's.
            t1Correction: as in mapPDFF().

        Returns:
            The volume nodes in a folder beside the source: water-dominant, fat-dominant, and R2*
            of three points.

        Raises:
            ValueError: one sentence that says what is wrong.
            PackagesMissing: a Python package is not installed; says how to.
        """
        nodes = [node for node in (inPhase, opposedPhase, secondInPhase) if node is not None]
        return self.make(
            "pdff",
            "in-opposed",
            nodes,
            field_strength_t=fieldStrengthT,
            **self._t1Settings(t1Correction),
        )

    def _checkOneFrameEach(self, frames):
        for frame in frames:
            if frame.count > 1:
                raise ValueError(
                    _("'{name}' holds {count} images; choose volumes with one image each.").format(
                        name=frame.node.GetName(), count=frame.count
                    )
                )

    def mapDiffusion(self, nodes, model="ADC", lowestB=0.0, thresholdB=200.0, progress=None):
        """ADC or IVIM maps (10^-3 mm^2/s, %) of a diffusion series.

        Args:
            nodes: volumes of all b-values; vector, diffusion and multi-volumes and sequences count
                as the volumes they hold.
            model: "ADC", "IVIM", "IVIM, segmented", "IVIM, hierarchical", "Kurtosis", or "Best
                model (AICc)", which maps the model that the data support and its parameters.
            lowestB: s/mm^2; lower b-values are left out of the ADC.
            thresholdB: s/mm^2; the segmented fit takes D from here on.
            progress: called with the fraction done; returning False cancels.

        Returns:
            The volume nodes in a folder beside the source, or None when canceled; the scene is
            then as it was.

        Raises:
            ValueError: one sentence that says what is wrong.
            PackagesMissing: a Python package is not installed; says how to.
        """
        settings = {"ADC": {"lowest_b": lowestB}, "IVIM, segmented": {"threshold_b": thresholdB}}
        return self.make("ivim", model, nodes, progress, **settings.get(model, {}))

    def mapParameters(self, parameters, dixon: bool, progress=None):
        """Compute what the parameter node says; see mapPDFF() and the others."""
        if not dixon:
            return self.mapDiffusion(
                self.dwiNodes(parameters),
                parameters.diffusionModel,
                parameters.lowestB,
                parameters.thresholdB,
                progress,
            )
        nodes = self.dixonNodes(parameters)
        fieldStrengthT = parameters.fieldStrengthT or None
        t1Correction = None
        if parameters.correctT1:
            t1Correction = (
                parameters.t1WaterMs,
                parameters.t1FatMs,
                parameters.flipAngleDeg or None,
                parameters.repetitionTimeMs or None,
            )
        if parameters.dixonInput == WATER_FAT:
            return self.mapWaterFat(*nodes, t1Correction)
        if parameters.dixonInput == IN_OPPOSED:
            return self.mapInOpposed(
                *nodes, fieldStrengthT=fieldStrengthT, t1Correction=t1Correction
            )
        return self.mapPDFF(
            nodes,
            fieldStrengthT,
            parameters.fatSpectrum,
            parameters.precession,
            parameters.commonPhase,
            t1Correction,
            progress,
        )

    def dixonNodes(self, parameters):
        """The nodes chosen for the Dixon tab, in the order of their selectors."""
        if parameters.dixonInput == WATER_FAT:
            nodes = [parameters.waterVolume, parameters.fatVolume]
        elif parameters.dixonInput == IN_OPPOSED:
            nodes = [
                parameters.inPhaseVolume,
                parameters.opposedPhaseVolume,
                parameters.secondInPhaseVolume,
            ]
        else:
            nodes = parameters.echoNodes
        return [node for node in nodes if node is not None]

    def dwiNodes(self, parameters):
        """The nodes chosen for the diffusion tab."""
        return [node for node in parameters.dwiNodes if node is not None]

    def frames(self, nodes):
        """The 3D frames that nodes hold, each with its facts.

        Raises:
            ValueError: a node holds no volume.
        """
        from PDFFMapperLib.scene.frames import frames_from_nodes

        database = getattr(slicer, "dicomDatabase", None)
        return frames_from_nodes(nodes, database.fileForInstance if database else None)

    def setFrameFact(self, frame, keyword: str, text: str) -> None:
        """Keep a typed "EchoTime" (ms), "DiffusionBValue" (s/mm^2) or "ImageComponent" of a frame.

        Raises:
            ValueError: it is not a number of 0 or more, or not a component.
        """
        from PDFFMapperLib.scene.frames import set_frame_fact

        text = text.strip().lower()
        if keyword == "ImageComponent":
            if text not in ("magnitude", "phase", "real", "imaginary"):
                raise ValueError(
                    _("A component is magnitude, phase, real or imaginary, not '{text}'.").format(
                        text=text
                    )
                )
            value = text
        else:
            try:
                value = float(text)
            except ValueError:
                value = -1.0
            if not 0 <= value < 1e5:
                raise ValueError(_("'{text}' is not a number of 0 or more.").format(text=text))
        set_frame_fact(frame, keyword, value)

    def missingInputs(self, parameters, dixon: bool) -> str:
        """What has to be chosen before maps can be made, "" if nothing."""
        if not dixon:
            return "" if self.dwiNodes(parameters) else _("Check the diffusion images.")
        if parameters.dixonInput == WATER_FAT:
            if parameters.waterVolume is None or parameters.fatVolume is None:
                return _("Choose the water and the fat image.")
        elif parameters.dixonInput == IN_OPPOSED:
            if parameters.inPhaseVolume is None or parameters.opposedPhaseVolume is None:
                return _("Choose the in-phase and the opposed-phase image.")
        elif not self.dixonNodes(parameters):
            return _("Check the echoes: magnitude and phase, or real and imaginary.")
        if parameters.correctT1 and not (parameters.t1WaterMs and parameters.t1FatMs):
            return _("Give the T1 of water and of fat, or switch the T1 correction off.")
        return ""

    def chooseDefaultInputs(self, parameters) -> None:
        """Choose the volumes whose name or header says what they are, where none are chosen."""
        from PDFFMapperLib.dicom.series_role import guess_role

        images = {"water": "waterVolume", "fat": "fatVolume"}
        images |= {"in_phase": "inPhaseVolume", "opposed_phase": "opposedPhaseVolume"}
        if any([*parameters.echoNodes, *parameters.dwiNodes]) or any(
            getattr(parameters, name) for name in images.values()
        ):
            return
        found = {}
        for node in slicer.util.getNodesByClass("vtkMRMLVolumeNode"):
            for frame in self.frames([node] if node.GetImageData() else [])[:1]:
                facts = frame.volume.attributes
                if "Map" in facts:
                    continue
                name = None if "SeriesDescription" in facts else node.GetName()
                role = guess_role({**facts, "ImageComponent": "magnitude"}, name)
                found.setdefault(role, []).append(node)
        if "multi_echo" in found:
            parameters.echoNodes = found["multi_echo"]
        if "dwi" in found:
            parameters.dwiNodes = found["dwi"]
        for role, name in images.items():
            if role in found and found[role][0].IsA("vtkMRMLScalarVolumeNode"):
                setattr(parameters, name, found[role][0])
        if not any(parameters.echoNodes):
            if parameters.waterVolume and parameters.fatVolume:
                parameters.dixonInput = WATER_FAT
            elif parameters.inPhaseVolume and parameters.opposedPhaseVolume:
                parameters.dixonInput = IN_OPPOSED

    def sendToMarrowAssess(self, nodes, parameters=None) -> None:
        """Choose maps as inputs of the MarrowAssess module.

        Fat fractions that are no PDFF are measured there from the images themselves, which are
        sent in their place.

        Args:
            nodes: maps that were made here.
            parameters: the parameter node with those images.

        Raises:
            ValueError: none of them is a map that MarrowAssess measures.
        """
        from PDFFMapperLib.scene.volumes import facts_from_node

        from MarrowAssess import MarrowAssessLogic

        logic = MarrowAssessLogic()
        chosen = logic.getParameterNode()
        sent = logic.chooseMaps(chosen, nodes)
        if parameters and any(
            str(facts_from_node(node).get("Map", "")).startswith("FF") for node in nodes
        ):
            for name in ("waterVolume", "fatVolume", "inPhaseVolume", "opposedPhaseVolume"):
                if (image := getattr(parameters, name)) in self.dixonNodes(parameters):
                    setattr(chosen, name, image)
                    sent = True
        if not sent:
            raise ValueError(_("None of these maps is one that MarrowAssess measures."))


class PDFFMapperTest(ScriptedLoadableModuleTest):
    """Known truth in the desktop: the digital lumbar spine."""

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run everything, where the packages are there that maps need."""
        from PDFFMapperLib.install.packages import missing_packages

        if missing := missing_packages():
            self.delayDisplay(f"Not tested, because these are not installed: {missing}")
            return
        self.setUp()
        self.test_mapPDFF()
        self.setUp()
        self.test_mapDiffusion()
        self.setUp()
        self.test_cancel()
        self.setUp()
        self.test_panel()

    def test_mapPDFF(self):
        """Median PDFF of L3 within a point of what was drawn, the same for L2 in MarrowAssess."""
        self.delayDisplay("Mapping PDFF of the digital lumbar spine")
        from MarrowAssess import MarrowAssessLogic

        logic = PDFFMapperLogic()
        sample = MarrowAssessLogic().loadMapperSample()
        nodes = logic.mapPDFF(sample.echoes)
        self.assertEqual(nodes[0].GetVoxelValueUnits().GetCodeValue(), "%")
        logic.sendToMarrowAssess(nodes)
        marrow = MarrowAssessLogic()
        self.assertEqual(marrow.getParameterNode().pdffVolume, nodes[0])
        assessment = marrow.assess({"PDFF": nodes[0]}, sample.segmentation)
        for result in assessment.results:
            site = result.measurement.site
            if result.measurement.quantity == "marrow_pdff" and site in sample.true_pdff:
                self.assertAlmostEqual(result.measurement.value, sample.true_pdff[site], delta=1.0)

    def test_mapDiffusion(self):
        """An ADC map is made in its unit."""
        self.delayDisplay("Mapping diffusion of the digital lumbar spine")
        from MarrowAssess import MarrowAssessLogic

        sample = MarrowAssessLogic().loadMapperSample()
        nodes = PDFFMapperLogic().mapDiffusion(sample.diffusion, "ADC", lowestB=200.0)
        self.assertEqual(nodes[0].GetName(), "ADC")
        self.assertEqual(nodes[0].GetVoxelValueUnits().GetCodeMeaning(), "10^-3 mm^2/s")

    def test_cancel(self):
        """A canceled job leaves the list of nodes as it was."""
        self.delayDisplay("Canceling")
        from MarrowAssess import MarrowAssessLogic

        sample = MarrowAssessLogic().loadMapperSample()
        count = slicer.mrmlScene.GetNumberOfNodes()
        self.assertIsNone(PDFFMapperLogic().mapPDFF(sample.echoes, progress=lambda part: False))
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), count)

    def test_panel(self):
        """The panel lists the echoes, takes typed values, maps, and hands over."""
        self.delayDisplay("Using the panel")
        from MarrowAssess import MarrowAssessLogic

        sample = MarrowAssessLogic().loadMapperSample()
        widget = slicer.util.getModuleWidget("PDFFMapper")
        if slicer.util.mainWindow():
            slicer.util.selectModule("PDFFMapper")
        widget.enter()
        self.assertEqual(widget.ui.echoTable.rowCount, len(sample.echoes))
        self.assertEqual(widget.ui.bValueTable.rowCount, len(sample.diffusion))
        widget.ui.echoTable.item(0, 2).setText("1.25")
        facts = widget.logic.frames(sample.echoes[:1])[0].volume.attributes
        self.assertEqual(facts["EchoTime"], 1.25)
        widget.ui.echoTable.item(0, 2).setText("1.2")
        parameters = widget.logic.getParameterNode()
        parameters.dixonInput = WATER_FAT
        self.assertTrue(widget.ui.fatSelector.isVisibleTo(widget.ui.dixonTab))
        self.assertFalse(widget.ui.echoTable.isVisibleTo(widget.ui.dixonTab))
        self.assertFalse(widget.ui.applyButton.enabled)
        widget.ui.tabWidget.currentIndex = 1
        self.assertTrue(widget.ui.applyButton.enabled)
        widget.onApplyButton()
        self.assertEqual(parameters.mapNodes[0].GetName(), "ADC")
        legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(parameters.mapNodes[0])
        self.assertTrue(legend.GetVisibility())
        self.assertTrue(widget.ui.sendButton.enabled)
        widget.ui.tabWidget.currentIndex = DIXON_TAB
        slicer.mrmlScene.Clear()
        self.assertFalse(widget.ui.applyButton.enabled)
