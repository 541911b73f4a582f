"""What both panels do alike: live with the parameter node, run jobs, compile ahead of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

import qt
import slicer
from slicer.i18n import tr as _
from vtkmodules.vtkCommonCore import vtkCommand

from PDFFMapperLib.install.ahead import compile_ahead, will_compile

BAR_AFTER_S = 0.5  # of a job; a bar that comes and goes moves what is below it
SHOWN_EVERY_S = 0.1  # what changes more often costs views and widgets more than it tells


class PanelFrame:
    """A panel's parameter node, and its jobs: errors are shown, Apply becomes Cancel.

    Attributes:
        parameters: the parameter node that the panel is connected with, None without.
        running: whether a job runs.
        canceled: whether the last one was canceled.
    """

    def __init__(
        self,
        ui: object,
        changed: Callable[[], None],
        done: Callable[[], None],
        rehearsal: str = "",
    ) -> None:
        """Args:
        ui: the panel's widgets; it has an applyButton and a progressBar.
        changed: called when a choice has changed.
        done: called after every job.
        rehearsal: uses all that is compiled for this panel, see `install.ahead`.
        """
        self.parameters = None
        self.running = False
        self.canceled = False
        self._ui, self._changed, self._done = ui, changed, done
        self._rehearsal = rehearsal
        self._gui_tags: list[int] = []  # of connections of rows
        self._node = None
        self._tags: list[int] = []  # of observers of the parameter node
        self._started = self._shown = 0.0
        self._timers: list[qt.QTimer] = []

    @property
    def busy(self) -> bool:
        """Whether a job runs or is about to."""
        return self.running or any(timer.active for timer in self._timers)

    def timer(self, delay_ms: int, job: Callable[[], None]) -> qt.QTimer:
        """A timer that, started, runs a job once after a delay."""
        timer = qt.QTimer()
        timer.setSingleShot(True)
        timer.setInterval(delay_ms)
        timer.connect("timeout()", job)
        self._timers.append(timer)
        return timer

    def connect(self, parameters: object | None) -> None:
        """Connect the panel with another parameter node, or with none, which stops the timers."""
        if parameters is None:
            for timer in self._timers:
                timer.stop()
        if self.parameters:
            for tag in self._gui_tags:
                self.parameters.disconnectGui(tag)
            for tag in self._tags:
                self.parameters.RemoveObserver(tag)
        self.parameters = parameters
        if parameters:
            # Kept to the end: Python's garbage collector would clear observers of it while the node
            # lives on; closing the scene then ends Slicer.
            self._node = parameters.parameterNode
            # disconnectGui leaves an observer behind, which keeps the parameters alive and reading
            # on a node that outlives scenes: with every opening of the panel all got slower.
            self._tags, observe = [], parameters.AddObserver
            parameters.AddObserver = lambda *what: self._tags.append(observe(*what))
            self._gui_tags = [parameters.connectGui(self._ui)]
            parameters.AddObserver(vtkCommand.ModifiedEvent, lambda *event: self._changed())
            del parameters.AddObserver

    def connect_rows(self, widgets: Mapping[str, object]) -> None:
        """Connect widgets that were made since, by the names of their parameters."""
        vars(self._ui).update(widgets)
        named = {
            name: widget
            for name, widget in widgets.items()
            if widget.property("SlicerParameterName")
        }
        # What observes the node for the first connection writes to the widgets of all.
        self.parameters.AddObserver = lambda *what: None
        self._gui_tags.append(self.parameters.connectParametersToGui(named))
        del self.parameters.AddObserver

    def compile_ahead(self) -> None:
        """Have the first use compiled for in the background; not in tests."""
        if not slicer.app.testingEnabled():
            compile_ahead(self._rehearsal)

    @property
    def will_compile(self) -> bool:
        """Whether the next use has to wait for the compiler."""
        return will_compile(self._rehearsal)

    def cancel(self) -> None:
        """End the running job at its next step."""
        self.canceled = True

    def progress(self, fraction: float) -> bool:
        """Show how far the job is; False once the user cancels."""
        now = time.monotonic()
        if now - self._shown > SHOWN_EVERY_S or fraction >= 1:
            self._ui.progressBar.value = round(100 * fraction)
            self._ui.progressBar.visible = now - self._started > BAR_AFTER_S
            slicer.app.processEvents()
            self._shown = time.monotonic()
        return not self.canceled

    @contextlib.contextmanager
    def working(self, failure: str, cancelable: bool = False) -> Iterator[None]:
        """Run a job.

        Args:
            failure: what is said above an error.
            cancelable: whether Apply becomes Cancel; the job then calls `progress`.
        """
        self.running, self.canceled, self._started = True, False, time.monotonic()
        button, bar = self._ui.applyButton, self._ui.progressBar
        text = button.text
        if cancelable:
            button.text, button.enabled = _("Cancel"), True
            button.toolTip = _("Stop; the scene stays as it was.")
            bar.value = 0
        slicer.app.processEvents()  # shown before the work begins
        try:
            with slicer.util.tryWithErrorDisplay(failure, waitCursor=not cancelable):
                yield
        finally:
            self.running = False
            bar.visible = False
            button.text = text
            self._done()
