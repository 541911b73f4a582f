"""The rows of images: chosen by what they say, taken as they load, emptied as they go."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

import slicer
from PDFFMapperLib.panel.frame import PanelFrame
from slicer.i18n import tr as _

from MarrowAssessLib.catalogue.parameter_names import VOLUME_PARAMETERS
from MarrowAssessLib.panel.image_selectors import add_selectors
from MarrowAssessLib.panel.words import chosen_images, study_summary
from MarrowAssessLib.scene.choices import (
    choose_guessed,
    choose_loaded,
    chosen_volumes,
    leave_markups,
)

if TYPE_CHECKING:  # opening a panel waits for no reader
    from PDFFMapperLib.scene.dicom import LoadedDicom

LOADING_DELAY_MS = 150  # after an image was added, when its loader has named it


class ImagesRow:
    """The selectors in a section that closes once images are chosen, and a line that names them."""

    def __init__(
        self,
        ui: object,
        frame: PanelFrame,
        logic: object,
        visit: object,
        another: Callable[[], None],
    ) -> None:
        """Args:
        ui: the panel's widgets.
        frame: holds the parameter node.
        logic: the module's.
        visit: the VisitRow, which lists the studies that are loaded.
        another: called when another study was chosen.
        """
        self._ui, self._frame, self._logic, self._visit = ui, frame, logic, visit
        self._another = another
        self._of_one: list[slicer.vtkMRMLScalarVolumeNode] = []  # the last chosen of one visit
        self._new: list[str] = []  # IDs of images that were loaded while the panel is open
        self._timer = frame.timer(LOADING_DELAY_MS, self.takeNew)
        add_selectors(ui)

    def show(self) -> None:
        """Name what is chosen, and what is wrong with it."""
        self._ui.studyLabel.text = study_summary(self._frame.parameters)
        images = chosen_images(self._frame.parameters)
        self._ui.studyLabel.toolTip = "<br>".join(map(escape, images))  # Slicer's tips are HTML

    def leaveMarkups(self) -> None:
        """Points that were drawn stay with their study where another is chosen by hand."""
        parameters = self._frame.parameters
        if parameters and leave_markups(self._of_one, parameters):
            self._of_one = self.chosen()

    def chooseDefaults(self, parameters: object) -> None:
        """Choose the images of the scene by what they say, where none are chosen."""
        self._logic.chooseDefaultInputs(parameters)
        if chosen_volumes(parameters):
            self.fold()

    def fold(self) -> None:
        """Close the section: the line above it names the images."""
        self._ui.imagesCollapsibleButton.collapsed = True

    def onAdded(self, node: slicer.vtkMRMLNode) -> None:
        """An image that is loaded while the panel is open may be one that is missing.

        Those of a scene that is opened are left as they were chosen there.
        """
        if slicer.mrmlScene.IsImporting():
            self._new = []  # its images may have the IDs of those before
        elif self._frame.parameters and node.GetClassName() == "vtkMRMLScalarVolumeNode":
            self._new.append(node.GetID())
            self._timer.start()

    def onGone(self) -> None:
        """An image that goes leaves its study, and the box of visits, once it is gone."""
        if self._frame.parameters:
            self._timer.start()

    def takeNew(self) -> None:
        """Choose new images for roles that are empty, once their loader has named them."""
        nodes = [slicer.mrmlScene.GetNodeByID(one) for one in self._new]
        self._new = []
        if self._frame.parameters:
            if choose_guessed(self._frame.parameters, [node for node in nodes if node]):
                self.fold()
            self._visit.show(anew=False)

    def chosen(self) -> list[slicer.vtkMRMLScalarVolumeNode]:
        """The images that are chosen."""
        parameters = self._frame.parameters
        return list(chosen_volumes(parameters).values()) if parameters else []

    def takeLoaded(self, loaded: LoadedDicom) -> None:
        """Choose a study that was loaded in place of another; show its DICOM segmentations."""
        parameters = self._frame.parameters
        if parameters and choose_loaded(parameters, loaded.nodes):
            said = _("They are chosen in place of the images before; age and sex are of theirs.")
            loaded.notes.insert(0, said)
            self._another()
        self._takeRegions(loaded)

    def _takeRegions(self, loaded: LoadedDicom) -> None:
        """Show the DICOM segmentations of a folder, and choose one where none is chosen."""
        from MarrowAssessLib.scene.dicom_regions import load_segmentations

        drawn = load_segmentations(loaded)
        if drawn and self._frame.parameters and self._frame.parameters.segmentation is None:
            self._frame.parameters.segmentation = drawn[0]

    def takeAgain(self, loaded: LoadedDicom) -> None:
        """Choose images that were read again for the roles of the old ones, else by guess."""
        from PDFFMapperLib.scene.dicom import put_in_place

        put_in_place(self._frame.parameters, VOLUME_PARAMETERS.values(), loaded.again)
        choose_guessed(self._frame.parameters, loaded.nodes)
