"""PDFFMapper in the Slicer desktop: maps from chemical-shift and diffusion MRI."""

import logging

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

REHEARSAL = "PDFFMapperLib.install.rehearsal:play"
HOMEPAGE = "https://github.com/MarrowAssess/MarrowAssess"
BEFORE_WIDGETS, AFTER_WIDGETS = 1000.0, -1000.0  # priorities of observers
LOADING_DELAY_MS = 150  # after a volume was added, when its loader has named it


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
        slicer.app.connect("startupCompleted()", onStartupCompleted)


def onStartupCompleted() -> None:
    """Import the panel's rows while nobody waits for it: neither for Slicer nor for the panel."""
    import PDFFMapperLib.panel.folder_row
    import PDFFMapperLib.panel.recipe_tab  # noqa: F401


class PDFFMapperWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.frame = None
        self.folder = None
        self.tabs = []
        self._shown = None  # the choices that the panel shows
        self._volumesTimer = None
        self._new = []  # IDs of images that were loaded while the panel is open

    def setup(self) -> None:
        """Build the panel; called when the module is opened first, and `enter` after it."""
        from PDFFMapperLib.panel.folder_row import FolderRow
        from PDFFMapperLib.panel.frame import PanelFrame
        from PDFFMapperLib.panel.recipe_tab import RecipeTab
        from PDFFMapperLib.recipes import FAMILIES

        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/PDFFMapper.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = PDFFMapperLogic()
        self.frame = PanelFrame(self.ui, self.onParametersModified, self.checkCanApply, REHEARSAL)
        for family in FAMILIES:
            tab = RecipeTab(family, self.say, self.frame.connect_rows)
            self.tabs.append(tab)
            self.ui.tabWidget.addTab(tab.page, _(family.title))
        self.tab().build()
        self.folder = FolderRow(
            self.ui, self.frame, self.chosenNodes, self.takeAgain, self.takeLoaded
        )
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneChanged)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(
            scene, scene.EndBatchProcessEvent, self.onSceneChanged, priority=AFTER_WIDGETS
        )
        self.addObserver(scene, scene.NodeAddedEvent, self.onNodeAdded)
        self.addObserver(
            scene, scene.NodeAboutToBeRemovedEvent, self.onNodeGoes, priority=BEFORE_WIDGETS
        )
        self._volumesTimer = self.frame.timer(LOADING_DELAY_MS, self.takeNewVolumes)
        self.ui.tabWidget.connect("currentChanged(int)", self.onTab)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.sendButton.connect("clicked(bool)", self.onSendButton)
        self.ui.statusLabel.connect("linkActivated(QString)", self.onStatusLink)
        self.checkCanApply()
        if self.parent.isEntered:  # reloaded while it is open; nobody enters it again
            self.enter()

    def cleanup(self) -> None:
        """Called before the widget is destroyed."""
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        from PDFFMapperLib.install.packages import missing_packages

        if self.frame.parameters:  # a new scene was opened in it
            self.chooseDefaults()
        else:
            self.initializeParameterNode()
        if missing := missing_packages():
            needed = _("Maps need {packages}: Apply asks for it; installing takes about a minute.")
            self.say(needed.format(packages=", ".join(missing)))
        else:
            self.frame.compile_ahead()

    def exit(self) -> None:
        """Called each time the user opens another module."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        """The parameter node goes with the scene, and all that was said of it; a job ends."""
        self.frame.cancel()
        self.setParameterNode(None)
        self._new = []
        self.say("")
        self.folder.say("")

    def onSceneStartImport(self, caller, event) -> None:
        """Lists of nodes are emptied while a scene is read, which nobody chose."""
        self.setParameterNode(None)

    def onSceneChanged(self, caller, event) -> None:
        """A new parameter node where the panel is open."""
        if self.parent.isEntered and self.frame.parameters is None:
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, caller, event, node) -> None:
        """Images that are loaded while the panel is open may be those that are missing."""
        if self.frame.parameters and node.IsA("vtkMRMLVolumeNode"):
            self._new.append(node.GetID())
            self._volumesTimer.start()

    def takeNewVolumes(self) -> None:
        """Choose what was loaded where nothing is chosen yet; else offer it."""
        if self.frame.parameters and not self.frame.running and not self.chooseDefaults():
            self.offerNew()

    def chooseDefaults(self) -> bool:
        """Choose what the scene holds where nothing is chosen; a tab that can map it comes up."""
        chosen = self.logic.chooseDefaultInputs(self.frame.parameters)
        if chosen:
            self._new = []
            self.bringReadyTab()
        return chosen

    def offerNew(self) -> None:
        """Say what was loaded beside the chosen images, which are not given up unasked."""
        from html import escape

        from PDFFMapperLib.scene.mapping import choose_beside

        new = self.newImages()
        if not new:
            self._new = []
            return
        said = _("{count} images were loaded beside the chosen ones, such as '{name}':")
        links = [f'<a href="in place">{_("take them in place of the chosen ones")}</a>']
        if choose_beside(self.frame.parameters, new, really=False):
            links.append(f'<a href="beside">{_("add them")}</a>')
        said = escape(said.format(count=len(new), name=new[0].GetName()))
        self.say(f"{said} {', '.join(links)}")

    def newImages(self):
        """What was loaded and may be mapped, and is not chosen."""
        from PDFFMapperLib.scene.mapping import not_chosen

        nodes = [slicer.mrmlScene.GetNodeByID(one) for one in self._new]
        return not_chosen(self.frame.parameters, [node for node in nodes if node])

    def onStatusLink(self, link) -> None:
        """Take the images that were offered."""
        from PDFFMapperLib.scene.mapping import choose_beside, choose_in_place

        parameters, new = self.frame.parameters, self.newImages()
        self._new = []
        self.say("")
        if new and not self.frame.running:
            (choose_in_place if link == "in place" else choose_beside)(parameters, new)
            self.bringReadyTab()

    def bringReadyTab(self) -> None:
        """Where the tab in front misses images, the first that can map comes up."""
        if self.tab().missing():
            ready = [n for n, tab in enumerate(self.tabs) if not tab.missing()]
            if ready:
                self.ui.tabWidget.currentIndex = ready[0]

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeGoes(self, caller, event, node) -> None:
        """What a removed node was chosen for empties, before selectors choose its neighbor."""
        from PDFFMapperLib.scene.mapping import forget_node

        if self.frame.parameters and not slicer.mrmlScene.IsClosing():
            forget_node(self.frame.parameters, node)

    def initializeParameterNode(self) -> None:
        """Observe the parameter node and choose sensible inputs where none are chosen."""
        parameters = self.logic.getParameterNode()
        chosen = self.logic.chooseDefaultInputs(parameters)
        self.setParameterNode(parameters)
        if chosen:
            self.bringReadyTab()

    def setParameterNode(self, parameterNode) -> None:
        """Connect the panel with another parameter node, or with none."""
        self.frame.connect(parameterNode)
        for tab in self.tabs:
            tab.connect(parameterNode)
        self._shown = self.choices()
        self.checkCanApply()

    def onTab(self, index) -> None:
        """Another tab comes to the front."""
        self.tab().build()
        self.onParametersModified()

    def onParametersModified(self, caller=None) -> None:
        """Show what the choices need; what was said of others is true no more."""
        if self.choices() != self._shown:
            self._shown = self.choices()
            if not self.frame.running:
                self.say("")
            for tab in self.tabs:
                tab.show()
        self.checkCanApply()

    def choices(self):
        """What the maps would be made from, to see whether it has changed."""
        from PDFFMapperLib.scene.mapping import all_choices

        parameters = self.frame.parameters
        return parameters and (self.tab().family.command, all_choices(parameters))

    def chosenNodes(self):
        """The images that are chosen in the tab in front."""
        return self.tab().chosen_nodes()

    def takeAgain(self, loaded) -> None:
        """Choose images that were read again for what the old ones were chosen for."""
        from PDFFMapperLib.recipes import FAMILIES
        from PDFFMapperLib.scene.dicom import put_in_place

        names = {one.parameter for family in FAMILIES for one in family.inputs}
        put_in_place(self.frame.parameters, names, loaded.again)

    def takeLoaded(self, loaded) -> None:
        """Choose images that were loaded in place of those of another study."""
        from PDFFMapperLib.scene.mapping import choose_loaded

        parameters = self.frame.parameters
        replaced = choose_loaded(parameters, loaded.nodes) if parameters else None
        if replaced:
            self.bringReadyTab()
            loaded.notes.insert(0, _("They take the place of the images that were chosen."))
        elif replaced is False:
            loaded.notes.insert(0, _("Of the study that is chosen: its chosen images stay."))

    def tab(self):
        """The tab in front."""
        return self.tabs[self.ui.tabWidget.currentIndex]

    def say(self, text: str) -> None:
        """Show a sentence below the buttons."""
        self.ui.statusLabel.text = text

    def checkCanApply(self) -> None:
        """Enable Apply, or say in its tooltip what is missing."""
        if self.frame.running:
            return
        parameters = self.frame.parameters
        missing = self.tab().missing()
        self.ui.applyButton.enabled = not missing
        self.ui.applyButton.toolTip = missing or self.tab().makes()
        made = [one for one in parameters.mapNodes if one] if parameters else []
        self.ui.sendButton.enabled = bool(made) and self.logic.isMeasured(made)
        does = _("Choose the maps just made as inputs of MarrowAssess and open it.")
        without = _("None of these maps is one that MarrowAssess measures.")
        self.ui.sendButton.toolTip = without if made and not self.ui.sendButton.enabled else does
        self.folder.check()

    def onApplyButton(self) -> None:
        """Compute the maps; while that runs the button cancels."""
        if self.frame.running:
            self.frame.cancel()
            return
        self.ui.applyButton.setFocus()  # a number that is being typed counts; macOS leaves it
        computing = _("Computing.")
        if self.frame.will_compile:
            computing = _("Compiling for this computer, once: this fit takes up to a minute.")
        self.say(computing)
        try:
            with self.frame.working(_("The maps could not be computed."), True):
                self._computeMaps()
        finally:
            if self.ui.statusLabel.text == computing:  # an error was shown
                self.say("")

    def _computeMaps(self) -> None:
        from PDFFMapperLib.install.packages import ensure_packages
        from PDFFMapperLib.scene.mapping import said_of_table, table_of
        from PDFFMapperLib.scene.maps import said_of_maps, show_map

        ensure_packages("PDFFMapper")
        parameters, tab = self.frame.parameters, self.tab()  # another may come to the front
        source = tab.chosen_nodes()[0]
        try:
            nodes = self.logic.mapParameters(parameters, tab.family, self.frame.progress)
        except ValueError as error:
            said = tab.in_titles(str(error))
            tab.unfold_for(said)
            raise ValueError(said) from error
        if nodes is None:
            self.say(_("Canceled; nothing was changed."))
            return
        parameters.mapNodes = nodes
        show_map(nodes[0], source)
        names = ", ".join(node.GetName() for node in nodes)
        made = _("Made beside the images: {names}.").format(names=names)
        said = [made, *said_of_maps(nodes)]
        if table := table_of(nodes[0]):
            numbers = said_of_table(table)
            said.append(_("Numbers of the bone: table '{name}'.").format(name=table.GetName()))
            said += [f"{numbers}."] if numbers else []
        self.say(tab.in_titles(" ".join(said)))

    def onSendButton(self) -> None:
        """Choose the maps in MarrowAssess and open it."""
        with slicer.util.tryWithErrorDisplay(_("The maps were not sent.")):
            parameters = self.frame.parameters
            maps = [node for node in parameters.mapNodes if node is not None]
            self.logic.sendToMarrowAssess(maps, parameters)
            slicer.util.selectModule("MarrowAssess")


class PDFFMapperLogic(ScriptedLoadableModuleLogic):
    """What the panel does, for scripts and the Python console.

    Example::

        logic = PDFFMapperLogic()
        pdff, r2star, *others = logic.mapPDFF([getNode("magnitude"), getNode("phase")])
        adc, *others = logic.make("ivim", "adc", [getNode("dwi")], lowest_b=200)
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)

    def getParameterNode(self):
        """The module's parameter node, typed."""
        from PDFFMapperLib.panel.parameters import PDFFMapperParameterNode

        node = super().getParameterNode()
        with slicer.util.NodeModify(node):  # its defaults are written at once
            return PDFFMapperParameterNode(node)

    def make(self, command, method, nodes, progress=None, **settings):
        """Maps by any recipe of PDFFMapperLib.recipes, in a folder beside their source.

        Args:
            command: of its family, such as "pdff" or "ute".
            method: its id, such as "complex" or "full".
            nodes: volumes of a series (vector, diffusion and multi-volumes and sequences count as
                the volumes they hold), or one volume per input.
            progress: called with the fraction done; returning False cancels.
            settings: by the names of the recipe's options; images are volume nodes, regions
                segmentations, closed curves or ROI boxes.

        Returns:
            The volume nodes, or None when canceled; the scene is then as it was. What the bone or
            its segments say is a table, PDFFMapperLib.scene.mapping.table_of(nodes[0]).

        Raises:
            ValueError: one sentence that says what is wrong.
            PackagesMissing: a Python package is not installed; says how to.
        """
        from PDFFMapperLib.install.compiled_cache import forget_stale_code
        from PDFFMapperLib.install.packages import require_packages

        require_packages("PDFFMapper")
        forget_stale_code("PDFFMapperLib")
        from PDFFMapperLib.recipes import FAMILIES
        from PDFFMapperLib.scene.mapping import make_maps

        family = next((one for one in FAMILIES if one.command == command), None)
        if family is None:
            commands = ", ".join(one.command for one in FAMILIES)
            raise ValueError(
                _("There is no family '{command}'; there are {commands}.").format(
                    command=command, commands=commands
                )
            )
        recipe = family.recipe(method)
        return make_maps(recipe, _(family.folder), nodes, settings, progress, family.numbers)

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
        """PDFF (%), R2* (1/s), water, fat and field map (Hz) of a multi-echo series; see make().

        Args:
            nodes: volumes of all echoes, magnitude and phase, real and imaginary, or magnitude
                alone.
            fieldStrengthT: in T; None takes the header's.
            fatSpectrum: name of the fat model; marrow if None.
            precession: "auto", "as given" or "conjugated".
            commonPhase: water and fat share one phase at echo time 0.
            t1Correction: None, or (T1 of water, T1 of fat, flip angle, repetition time) in ms and
                degrees, to map the fat fraction without T1 bias as well; None for one of the last
                two takes the header's.
            progress: called with the fraction done; returning False cancels.
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

    def mapWaterFat(self, water, fat, t1Correction=None):
        """Fat signal fraction (%) of the scanner's own water and fat images; no PDFF; see make().

        Args:
            water, fat: volumes on one grid.
            t1Correction: as in mapPDFF().
        """
        return self.make("pdff", "water-fat", [water, fat], **self._t1Settings(t1Correction))

    def mapInOpposed(
        self, inPhase, opposedPhase, secondInPhase=None, fieldStrengthT=None, t1Correction=None
    ):
        """Both readings of the fat signal fraction (%) of in- and opposed-phase images; see make().

        Args:
            inPhase, opposedPhase: magnitude volumes on one grid.
            secondInPhase: a later in-phase echo, to correct R2*, which is mapped then.
            fieldStrengthT: in T, to check the echo times; None takes the header's.
            t1Correction: as in mapPDFF().
        """
        nodes = [node for node in (inPhase, opposedPhase, secondInPhase) if node is not None]
        settings = {"field_strength_t": fieldStrengthT, **self._t1Settings(t1Correction)}
        return self.make("pdff", "in-opposed", nodes, **settings)

    def mapDiffusion(self, nodes, model="ADC", lowestB=0.0, thresholdB=200.0, progress=None):
        """ADC, IVIM or kurtosis maps (10^-3 mm^2/s, %) of a diffusion series; see make().

        Args:
            nodes: volumes of all b-values.
            model: a method of "ivim", as the panel or the command line calls it.
            lowestB: s/mm^2; lower b-values are left out of the ADC.
            thresholdB: s/mm^2; the segmented fit takes D from here on.
            progress: called with the fraction done; returning False cancels.
        """
        settings = {"ADC": {"lowest_b": lowestB}, "IVIM, segmented": {"threshold_b": thresholdB}}
        return self.make("ivim", model, nodes, progress, **settings.get(model, {}))

    def _t1Settings(self, t1Correction):
        names = ("t1_water_ms", "t1_fat_ms", "flip_angle_deg", "repetition_time_ms")
        given = dict(zip(names, t1Correction or (), strict=False))
        return {**given, "correct_t1": True} if given else {}

    def mapParameters(self, parameters, family, progress=None):
        """Compute what the parameter node says for one family of recipes; see make()."""
        from PDFFMapperLib.scene.mapping import chosen_nodes, chosen_recipe, chosen_settings

        recipe = chosen_recipe(parameters, family)
        nodes, settings = chosen_nodes(parameters, recipe), chosen_settings(parameters, recipe)
        return self.make(family.command, recipe.id, nodes, progress, **settings)

    def inspect(self, folder) -> str:
        """What is in a folder: series, roles and their ground, times, b-values, what is left out.

        Raises:
            FileNotFoundError: there is no such folder.
        """
        from PDFFMapperLib.dicom.inventory import inventory, lines

        return "\n".join(lines(inventory(folder), folder))

    def loadDicom(self, source):
        """Load volumes as the command line reads them; returns their nodes, with their facts.

        Args:
            source: a DICOM file or folder, or one series of it ("folder#7", "folder#sag t1").

        Raises:
            FileNotFoundError, ValueError: one sentence that says what is wrong.
        """
        from PDFFMapperLib.scene.dicom import load_dicom

        loaded = load_dicom(source)
        for note in loaded.sentences():
            logging.info(note)
        return loaded.nodes

    def readAgain(self, nodes):
        """Load the DICOM files of nodes that Slicer loaded, as loadDicom() does; the new nodes.

        Raises:
            ValueError: none of them is from DICOM, or a file is gone or cannot be read.
        """
        from PDFFMapperLib.scene.dicom import load_again
        from PDFFMapperLib.scene.origin import dicom_file

        return load_again(nodes, dicom_file()).nodes

    def frames(self, nodes):
        """The 3D frames that nodes hold, each with its facts.

        Raises:
            ValueError: a node holds no volume.
        """
        from PDFFMapperLib.scene.frames import frames_from_nodes
        from PDFFMapperLib.scene.origin import dicom_file

        return frames_from_nodes(nodes, dicom_file())

    def setFrameFact(self, frame, keyword: str, text: str) -> None:
        """Keep a typed "EchoTime" (ms), "DiffusionBValue" (s/mm^2) or "ImageComponent" of a frame.

        Raises:
            ValueError: it is not a number of 0 or more, or not a component.
        """
        from PDFFMapperLib.scene.mapping import set_typed_fact

        set_typed_fact(frame, keyword, text)

    def chooseDefaultInputs(self, parameters) -> bool:
        """Choose volumes by name or header, where none are chosen; whether any was."""
        from PDFFMapperLib.scene.mapping import choose_defaults

        return choose_defaults(parameters, slicer.util.getNodesByClass("vtkMRMLVolumeNode"))

    def isMeasured(self, nodes) -> bool:
        """Whether MarrowAssess measures any of these maps, or the images of fat fractions."""
        from MarrowAssessLib.scene.images import map_contrast

        return any(map_contrast(node) or self._isFraction(node) for node in nodes)

    def _isFraction(self, node) -> bool:
        """Whether it is a fat fraction that is no PDFF, which is measured from its images."""
        from PDFFMapperLib.scene.volumes import facts_from_node

        return str(facts_from_node(node).get("Map", "")).startswith("FF")

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
        from PDFFMapperLib.recipes import FAMILIES
        from PDFFMapperLib.scene.mapping import chosen_recipe

        from MarrowAssess import MarrowAssessLogic

        logic = MarrowAssessLogic()
        chosen = logic.getParameterNode()
        sent = logic.chooseMaps(chosen, nodes)
        if parameters and any(map(self._isFraction, nodes)):
            for one in chosen_recipe(parameters, FAMILIES[0]).inputs:
                image = None if one.series else getattr(parameters, one.parameter)
                if image is not None and hasattr(chosen, one.parameter):
                    setattr(chosen, one.parameter, image)
                    sent = True
        if not sent:
            raise ValueError(_("None of these maps is one that MarrowAssess measures."))


class PDFFMapperTest(ScriptedLoadableModuleTest):
    """Known truth in the desktop, see PDFFMapperLib.panel.self_test."""

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def marrow(self):
        """The logic of MarrowAssess, which has the sample data and takes maps."""
        from MarrowAssess import MarrowAssessLogic

        return MarrowAssessLogic()

    def runTest(self):
        """Run everything, where the packages are there that maps need."""
        from PDFFMapperLib.install.packages import missing_packages
        from PDFFMapperLib.panel.self_test import STEPS

        if missing := missing_packages():
            self.delayDisplay(f"Not tested, because these are not installed: {missing}")
            return
        for step in STEPS:
            self.setUp()
            step(self)
