"""The rows that draw regions: clicks, the whole spine, levels, and taking back."""

from __future__ import annotations

from collections.abc import Callable

import qt
from PDFFMapperLib.panel.frame import PanelFrame
from slicer.i18n import tr as _

from MarrowAssessLib.panel.words import ask_for_packages, column_text, enable, placed_text
from MarrowAssessLib.scene.choices import chosen_volumes
from MarrowAssessLib.scene.click_mode import ClickMode


class PlacingRow:
    """Buttons, and the line below them that says what was drawn.

    Attributes:
        clicks: takes clicks in the views while one of the two buttons is pressed.
    """

    def __init__(
        self,
        ui: object,
        frame: PanelFrame,
        logic: object,
        doubtful: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        """Args:
        ui: the panel's widgets.
        frame: runs the jobs and holds the parameter node.
        logic: the module's.
        doubtful: shows the doubts of a region by its name.
        changed: measures again.
        """
        self._ui, self._frame, self._logic = ui, frame, logic
        self._doubtful, self._changed = doubtful, changed
        self._take = self._button = None  # what is done with a click, and whose button is pressed
        self.clicks = ClickMode(
            self.takeClick, self.stop, lambda take: qt.QTimer.singleShot(0, take)
        )
        ui.findSpineButton.connect("clicked(bool)", self.onFindSpineButton)
        ui.placeButton.connect("toggled(bool)", self.onPlaceToggled)
        ui.findColumnButton.connect("toggled(bool)", self.onFindColumnToggled)
        ui.undoButton.connect("clicked(bool)", self.onUndoButton)
        ui.levelsUpButton.connect("clicked(bool)", self.onLevelsUpButton)
        ui.levelsDownButton.connect("clicked(bool)", self.onLevelsDownButton)

    def say(self, text: str) -> None:
        """Show a sentence below the buttons."""
        self._ui.placingLabel.text = text

    def check(self) -> None:
        """Enable what can be done, and say in the tooltips of the rest what is missing."""
        parameters = self._frame.parameters
        if parameters:
            self._ui.placeButton.text = _("Place {role}").format(role=parameters.placeRole)
        images = bool(parameters and chosen_volumes(parameters))
        missing = "" if images else _("Choose at least one image or map.")
        enable(
            self._ui.placeButton,
            missing,
            _("Click into a structure in a slice view: its region is drawn and measured at once."),
        )
        enable(
            self._ui.findSpineButton,
            missing,
            _("Find the vertebrae, discs, CSF and muscles, measure them and show the results."),
        )
        if images and not parameters.placeSite:
            missing = _("Give the level that you will click, such as L3, under Place.")
        enable(
            self._ui.findColumnButton,
            missing,
            _("Click into the body of the level given under Place: the spine's levels are found."),
        )
        segmentation = parameters.segmentation if parameters else None
        self._ui.undoButton.enabled = self._logic.session.can_undo(segmentation)
        drawn = bool(segmentation and segmentation.GetSegmentation().GetNumberOfSegments())
        self._ui.levelsUpButton.enabled = self._ui.levelsDownButton.enabled = drawn

    def onPlaceToggled(self, checked: bool) -> None:
        """Start or stop placing regions by clicks."""
        self._toggle(checked, self._ui.placeButton, self.placeRegion)

    def onFindColumnToggled(self, checked: bool) -> None:
        """Start or stop finding the column by a click."""
        self._toggle(checked, self._ui.findColumnButton, self.findColumn)

    def _toggle(self, checked: bool, button: object, take: Callable[[object], str]) -> None:
        """Take clicks in the views for one of the two buttons."""
        if not checked:
            if button is self._button:
                self.stop()
            return
        self.stop()
        self._button, self._take = button, take
        self.clicks.start()
        self.say(_("Click into the structure in a slice view; a right click ends placing."))

    def stop(self) -> None:
        """Take no more clicks, and release the button."""
        self.clicks.stop()
        button, self._button, self._take = self._button, None, None
        if button is not None:
            button.checked = False

    def takeClick(self, position) -> None:
        """Draw what was clicked."""
        take = self._take
        if take is None or self._frame.running:
            return
        if self._frame.will_compile:
            self.say(_("Compiling for this computer, once: this click takes up to half a minute."))
        with self._frame.working(_("Nothing was placed."), True):
            ask_for_packages(self.say)
            if take == self.findColumn:
                self.say(_("Finding the levels; Cancel stands in for Apply."))
            try:
                said = take(position)
            except ValueError as error:  # said in the panel; a popup at a missed click is not
                self.say(str(error))
                return
            self.say(said)
            self._changed()

    def placeRegion(self, position) -> str:
        """One click, one region and what hangs on it; returns what was done, and the doubts."""
        frame = self._frame
        placed = self._logic.placeRegion(frame.parameters, position, frame.progress)
        if placed is None:
            return _("Canceled; nothing was placed.")
        if placed.region.doubtful:
            self._doubtful(placed.region.name)
        return placed_text(placed)

    def findColumn(self, position) -> str:
        """One click, the whole spine, and the button is released; returns what was found."""
        column = self._logic.findColumn(self._frame.parameters, position, self._frame.progress)
        self.stop()
        return column_text(column)

    def onFindSpineButton(self) -> None:
        """Find the spine by itself, measure it and show the results."""
        self.stop()
        with self._frame.working(_("The spine was not found."), True):
            ask_for_packages(self.say)
            self.say(_("Finding the spine; Cancel stands in for Apply."))
            try:
                column = self._logic.findSpine(self._frame.parameters, self._frame.progress)
            except Exception as error:  # a popup shows it as well, and goes
                self.say(str(error))
                raise
            self.say(column_text(column))
            if column is not None:
                self._changed()

    def onUndoButton(self) -> None:
        """Take back the last placement, import or change of levels."""
        with self._frame.working(_("There is nothing to take back.")):
            self._logic.undo(self._frame.parameters.segmentation)
            self.say(_("Taken back."))
            self._changed()

    def onLevelsUpButton(self) -> None:
        """Name every level one vertebra nearer to the head."""
        self._shift(-1)

    def onLevelsDownButton(self) -> None:
        """Name every level one vertebra nearer to the feet."""
        self._shift(1)

    def _shift(self, shift: int) -> None:
        with self._frame.working(_("The levels were not renamed.")):
            ask_for_packages(self.say)
            names = self._logic.shiftLevels(self._frame.parameters, shift)
            self.say(_("Now named: {names}.").format(names=", ".join(names)))
            self._changed()
