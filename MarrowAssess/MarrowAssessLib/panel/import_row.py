"""The rows that bring regions of other tools in: their label maps, or the tools themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from PDFFMapperLib.panel.frame import PanelFrame
from slicer.i18n import tr as _

from MarrowAssessLib.panel.words import ask_for_packages, enable
from MarrowAssessLib.scene.choices import chosen_volumes
from MarrowAssessLib.scene.label_nodes import segment_labels
from MarrowAssessLib.sources.label_maps import CONVENTIONS, fitting_conventions
from MarrowAssessLib.sources.tools import TOOLS


class ImportRow:
    """A selector with the tool that made it, and the tools that can be run."""

    def __init__(
        self,
        ui: object,
        frame: PanelFrame,
        logic: object,
        placing: object,
        changed: Callable[[], None],
    ) -> None:
        """Args:
        ui: the panel's widgets.
        frame: runs the jobs and holds the parameter node.
        logic: the module's.
        placing: the PlacingRow; takes no clicks meanwhile, and says what was done.
        changed: measures again.
        """
        self._ui, self._frame, self._logic = ui, frame, logic
        self._placing, self._say, self._changed = placing, placing.say, changed
        ui.importSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onNode)
        ui.importToolComboBox.connect("currentIndexChanged(int)", self.check)
        ui.importButton.connect("clicked(bool)", self.onImportButton)
        for tool in TOOLS:
            ui.segmentWithComboBox.addItem(tool)
        ui.segmentWithButton.connect("clicked(bool)", self.onSegmentWithButton)

    def onNode(self, node=None) -> None:
        """Offer the label tables that fit a label map or segmentation; ambiguous, the user says."""
        source = self._ui.importSelector.currentNode()
        fitting = []
        if source is not None:
            with contextlib.suppress(ValueError):  # no voxels, or no label map
                fitting = fitting_conventions(segment_labels(source))
        tools = self._ui.importToolComboBox
        tools.clear()
        tools.addItem(_("Choose the tool that made it"))
        for name in [*fitting, *(one for one in CONVENTIONS if one not in fitting)]:
            tools.addItem(name)
        tools.currentIndex = 1 if len(fitting) == 1 else 0
        self.check()

    def check(self, index=None) -> None:
        """Enable what can be done, and say in the tooltips of the rest what is missing."""
        parameters = self._frame.parameters
        no_image = _("Choose at least one image or map.")
        if parameters and chosen_volumes(parameters):
            no_image = ""
        if not self._ui.importSelector.currentNode():
            missing = _("Choose a label map or segmentation.")
        elif self._ui.importToolComboBox.currentIndex < 1:
            missing = _("Choose the tool that made it: the labels alone do not tell.")
        else:
            missing = no_image
        enable(self._ui.importButton, missing, _("Add its regions to the segmentation."))
        does = _("Run it on the image it is made for; this may take many minutes.")
        enable(self._ui.segmentWithButton, no_image, does)

    def onImportButton(self) -> None:
        """Add the regions of another tool."""
        with self._frame.working(_("Nothing was imported.")):
            regions = self._logic.importLabels(
                self._frame.parameters,
                self._ui.importSelector.currentNode(),
                self._ui.importToolComboBox.currentText,
            )
            names = ", ".join(region.name for region in regions)
            self._say(_("Imported: {names}.").format(names=names))
            self._changed()

    def onSegmentWithButton(self) -> None:
        """Run a tool of others that the user has installed, and add its regions."""
        self._placing.stop()
        with self._frame.working(_("Nothing was segmented."), True):
            ask_for_packages(self._say)
            tool = self._ui.segmentWithComboBox.currentText
            self._tool_says(_("{tool} runs; Cancel stands in for Apply.").format(tool=tool))
            try:
                found = self._logic.segmentWith(self._frame.parameters, tool, self._tool_says)
            except InterruptedError:
                self._say(_("Canceled; nothing was placed."))
                return
            except ValueError as error:  # not installed, or made for other images
                from MarrowAssessLib.study.map_scale import without_options

                self._say(without_options(str(error)))
                return
            self._say(" ".join(found.notes))
            self._changed()

    def _tool_says(self, line: str) -> bool:
        """Show what a running tool printed last; False once the user cancels."""
        self._say(line)
        return self._frame.progress(0.0)
