"""The rows that measure: Apply, the live update behind a drag, and where voxel grids differ."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from PDFFMapperLib.maps.progress import Progress
from PDFFMapperLib.panel.frame import PanelFrame
from slicer.i18n import tr as _

from MarrowAssessLib.panel.words import enable, missing_inputs, other_grid
from MarrowAssessLib.scene.choices import measured_choices
from MarrowAssessLib.scene.visibility import show_overlay
from MarrowAssessLib.study.study import OtherGrid

if TYPE_CHECKING:  # opening a panel waits for none of them
    from MarrowAssessLib.findings.result import Assessment

UPDATE_DELAY_MS = 150  # after the last change of a stroke or a drag


class MeasuringRow:
    """Measures what is chosen when the user asks, and soon after anything has changed."""

    def __init__(self, ui: object, frame: PanelFrame, logic: object, results: object) -> None:
        """Args:
        ui: the panel's widgets.
        frame: runs the jobs and holds the parameter node.
        logic: the module's.
        results: the ResultsPane.
        """
        self._ui, self._frame, self._logic, self._results = ui, frame, logic, results
        self._timer = frame.timer(UPDATE_DELAY_MS, self.onTimeout)
        self._pause_ms = UPDATE_DELAY_MS
        self._choices = None  # that the numbers shown were measured with
        self._refused = False  # numbers are gone that another choice may bring back
        ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        ui.resampleButton.connect("clicked(bool)", self.onResampleButton)
        ui.showOverlayCheckBox.connect("toggled(bool)", self.onShowOverlayToggled)
        self.hideQuestion()

    def check(self) -> None:
        """Enable Apply, or say in its tooltip what is missing."""
        parameters = self._frame.parameters
        missing = missing_inputs(parameters) if parameters else _("There is no scene.")
        enable(self._ui.applyButton, missing, _("Measure the regions."))
        copies = _("Copy a line for the Python console that does what this panel does.")
        enable(self._ui.copyButton, missing, copies)

    def followChoices(self) -> None:
        """Measure again soon where a choice has changed on which the numbers depend."""
        choices = measured_choices(self._frame.parameters)
        if choices != self._choices:  # not at every letter typed as a site
            self._choices = choices
            self.schedule(0 if self._pause_ms == UPDATE_DELAY_MS else None)  # a held arrow drags

    @property
    def scheduled(self) -> bool:
        """Whether it is about to measure again."""
        return self._timer.active

    def schedule(self, delay_ms: int | None = None) -> None:
        """Measure again soon, also in the middle of a drag; N4 is slow and waits for Apply."""
        parameters = self._frame.parameters
        if parameters and parameters.autoUpdate and not parameters.n4 and not self._frame.running:
            if (self._results.rows or self._refused) and not self._timer.active:
                self._timer.start(self._pause_ms if delay_ms is None else delay_ms)

    def onTimeout(self) -> None:
        """Measure again; what is wrong is said in the panel, a popup at every stroke is not."""
        if self._frame.running or not self._frame.parameters:
            return
        started = time.monotonic()
        self._frame.running = True
        try:
            self.measureChanged()
        finally:
            self._frame.running = False
        # Half of the time is left for the drag itself.
        elapsed_ms = round(1000 * (time.monotonic() - started))
        self._pause_ms = max(UPDATE_DELAY_MS, elapsed_ms)

    def onApplyButton(self) -> None:
        """Measure the regions; while that runs the button cancels."""
        if self._frame.running:
            self._frame.cancel()
            return
        self._ui.applyButton.setFocus()  # a number that is being typed counts; macOS leaves it
        with self._frame.working(_("The regions could not be measured."), True):
            if self.measure(self._frame.progress) is None and self._frame.canceled:
                self._results.say(_("Canceled; the results are as they were before."))

    def onResampleButton(self) -> None:
        """Measure with what is on another grid resampled."""
        self._frame.parameters.resample = True
        with self._frame.working(_("The regions could not be measured."), True):
            self.measure(self._frame.progress)

    def onShowOverlayToggled(self, checked: bool) -> None:
        """Color the regions by z-score or by tissue."""
        segmentation = self._results.segmentation
        if not segmentation or checked:
            self.schedule()
            return
        self._frame.running = True
        try:
            show_overlay(segmentation, False)
        finally:
            self._frame.running = False

    def hideQuestion(self) -> None:
        """Ask no more whether to resample."""
        self._ui.gridRow.visible = False

    def onEmptied(self) -> None:
        """What was measured is gone: unless it is measured anew, its numbers go as well."""
        parameters = self._frame.parameters
        if not parameters.autoUpdate:
            self._logic.session.clear_results(parameters.segmentation)
            self._results.show()

    def measure(self, progress: Progress | None = None) -> Assessment | None:
        """Measure, and show the results; of other voxel grids it is asked in place."""
        parameters = self._frame.parameters
        self.hideQuestion()
        try:
            assessment = self._logic.assessParameters(parameters, progress)
        except OtherGrid as error:
            self._logic.session.clear_results(parameters.segmentation)
            self._ui.gridLabel.text = other_grid(parameters, error)
            self._ui.gridRow.visible = True
            assessment = None
        except (ValueError, OSError) as error:  # what was measured before was measured otherwise
            self._refused = True
            self._logic.session.clear_results(parameters.segmentation)
            self._results.show()
            if "--" in str(error):  # options of the command are no rows of the panel
                from MarrowAssessLib.study.map_scale import without_options, without_scale

                raise ValueError(without_options(without_scale(str(error)))) from error
            raise
        self._refused = False
        if assessment is not None or not self._frame.canceled:
            self._results.show()
        return assessment

    def measureChanged(self) -> None:
        """Measure after regions were changed; with N4 that waits for Apply."""
        parameters = self._frame.parameters
        if not parameters:
            return
        if missing_inputs(parameters):
            self._logic.session.clear_results(parameters.segmentation)
        elif not parameters.n4:
            try:
                self.measure()
            except (ValueError, OSError) as error:  # a popup at every stroke is not right
                from html import escape

                self._ui.verdictLabel.text = escape(str(error))
                self._results.make_room()
            return
        self._results.show()
