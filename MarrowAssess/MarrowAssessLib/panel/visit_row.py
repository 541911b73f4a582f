"""The rows that choose a visit, and an earlier one since when changes are shown."""

from __future__ import annotations

import os
from collections.abc import Callable

from PDFFMapperLib.panel.frame import PanelFrame
from PDFFMapperLib.scene.studies import study_of
from slicer.i18n import tr as _

from MarrowAssessLib.panel.words import enable
from MarrowAssessLib.scene import views
from MarrowAssessLib.scene.choices import (
    choose_visit,
    chosen_volumes,
    images_of_no_study,
    scalar_volumes,
)
from MarrowAssessLib.scene.visits import Visit, visits


class VisitRow:
    """Which study is measured, where there are several; the earlier visit, in 3D beside it."""

    def __init__(
        self, ui: object, frame: PanelFrame, logic: object, another: Callable[[], None]
    ) -> None:
        """Args:
        ui: the panel's widgets.
        frame: holds the parameter node.
        logic: the module's.
        another: called when another study was chosen.
        """
        self._ui, self._frame, self._logic, self._another = ui, frame, logic, another
        self._visits = []
        self._both = self._layout = None  # the regions that are shown side by side
        ui.earlierVisitPath.connect("currentPathChanged(QString)", self.onEarlier)
        # An emptied or half-typed line tells this alone.
        ui.earlierVisitPath.connect("validInputChanged(bool)", self.onEarlier)
        ui.visitComboBox.connect("activated(int)", self.onVisit)
        ui.sideBySideButton.connect("toggled(bool)", self.onSideBySide)
        ui.changeMapButton.connect("clicked(bool)", self.onChangeMap)

    def show(self, anew: bool = True) -> None:
        """Show what is chosen; not anew, a line that is being typed stays."""
        parameters, line = self._frame.parameters, self._ui.earlierVisitPath
        earlier = parameters.earlierVisit if parameters else ""
        if (anew or earlier) and line.currentPath != earlier:
            line.currentPath = earlier
        self._visits = self._listed()
        self._ui.visitRow.visible = len(self._visits) > 1
        if len(self._visits) > 1:
            self._fill()
        self.check()

    def _listed(self) -> list[Visit]:
        """The visits of the scene; images of no study are one, unless chosen with those of one."""
        found = visits(scalar_volumes())
        if not found:  # asked at every change of a choice
            return found
        chosen = chosen_volumes(self._frame.parameters).values()
        if len({bool(study_of(one)) for one in chosen}) == 1 and (loose := images_of_no_study()):
            found.insert(0, Visit((0,), _("Images of no study"), loose))
        return found

    def _fill(self) -> None:
        box = self._ui.visitComboBox
        shown = {study_of(node) for node in chosen_volumes(self._frame.parameters).values()}
        blocked = box.blockSignals(True)
        box.clear()
        for number, visit in enumerate(self._visits):
            box.addItem(visit.name)
            if shown & set(visit.items):
                box.currentIndex = number
        box.blockSignals(blocked)

    def check(self) -> None:
        """Enable what can be done, and say in the tooltip of the rest what is missing."""
        parameters = self._frame.parameters
        earlier = parameters.earlierRegions if parameters else None
        missing = ""
        if not earlier or earlier is parameters.segmentation:
            missing = _("Choose the regions of an earlier visit that is in this scene.")
        elif not parameters.segmentation:
            missing = _("Choose the regions of this visit.")
        if missing and self._both:
            self._ui.sideBySideButton.checked = False
        does = _("Show both visits in two 3D views, the earlier one first; again to return.")
        enable(self._ui.sideBySideButton, missing, does)
        does = _(
            "Find each vertebra of the earlier visit again, and show over its image which voxels "
            "changed by more than their error: purple has fallen, orange has risen."
        )
        enable(self._ui.changeMapButton, missing, does)

    def onVisit(self, number: int) -> None:
        """Measure another study: its images take the roles, its regions are chosen."""
        visit = self._visits[number]
        if not all(image.GetScene() for image in visit.images):  # removed a moment ago
            self.show(anew=False)
            return
        choose_visit(self._frame.parameters, visit)
        self._another()

    def onEarlier(self, changed: object = None) -> None:
        """Choose the file that the line names: none while it is typed."""
        path = self._ui.earlierVisitPath.currentPath.strip()
        path = path if os.path.isfile(path) else ""
        parameters = self._frame.parameters
        if parameters and not (path and path == parameters.earlierVisit):
            parameters.earlierVisit = path

    def onChangeMap(self, clicked: bool = False) -> None:
        """Show voxel by voxel what changed since the earlier visit."""
        parameters = self._frame.parameters
        with self._frame.working(_("The change cannot be shown."), True):
            self._logic.showChangeMap(
                parameters.earlierRegions, parameters.segmentation, self._frame.progress
            )

    def onSideBySide(self, checked: bool) -> None:
        """Show two visits in 3D, or the later one alone."""
        from MarrowAssessLib.scene.side_by_side import show_both, show_one

        if not checked:
            both, self._both = self._both, None
            if both:
                show_one(*both)
                views.restore_layout(self._layout)
            return
        parameters = self._frame.parameters
        both = parameters.earlierRegions, parameters.segmentation
        try:
            with self._frame.working(_("3D cannot be shown."), True):
                if all(views.show_3d(one, True, self._frame.progress) for one in both):
                    self._both, self._layout = both, show_both(*both)
        finally:
            if not self._both:
                self._ui.sideBySideButton.checked = False
