"""What the first Apply and the first click need, made while the user does something else."""

from __future__ import annotations

import contextlib
import gc
import logging
from importlib import import_module
from threading import Thread

import qt
import slicer
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.install.packages import missing_packages
from PDFFMapperLib.maps.progress import tell
from PDFFMapperLib.panel.frame import PanelFrame
from PDFFMapperLib.scene.volumes import volume_from_node

from MarrowAssessLib.scene.choices import clicked_nodes

APART_MS, LENT_S = 30, 0.02
LARGEST_VOXELS = 20_000_000  # a larger image takes too long to copy
# What the first Apply and the first click import; opening the panel waits for none of it.
OF_APPLY = (
    "MarrowAssessLib.findings.assessment", "MarrowAssessLib.findings.verdict",
    "MarrowAssessLib.follow_up.since", "MarrowAssessLib.panel.result_words",
    "MarrowAssessLib.report.data", "MarrowAssessLib.scene.chosen_inputs",
    "MarrowAssessLib.scene.column", "MarrowAssessLib.scene.live_results",
    "MarrowAssessLib.scene.study", "MarrowAssessLib.sources.spectra",
)  # fmt: skip


class WorkAhead:
    """A thread that works while Slicer waits for its user, and ends where a job begins.

    Slicer keeps Python's lock while it waits for events, and a thread alone would stand still: a
    timer lets it work for LENT_S, again and again. It is a thread, no chunks and no other process,
    because the click finds here what was made: compiled code, tables, and the spine. It works on
    copies of voxels by numpy and compiled code, and touches neither Qt nor MRML.
    """

    def __init__(self, frame: PanelFrame) -> None:
        """Args:
        frame: the panel's; its jobs end what is made ahead, which begins again after them.
        """
        self._frame = frame
        self._thread: Thread | None = None
        self._stopped = False
        self._of: tuple[str, str, str] | None = None  # what is made, or was: image, grid, and sex
        self._error: Exception | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(APART_MS)
        self._timer.connect("timeout()", self._lend)

    @property
    def works(self) -> bool:
        """Whether there is something left to do."""
        return self._thread is not None and self._thread.is_alive()

    def follow(self) -> None:
        """Begin with the image and sex that are chosen, once; not in tests."""
        parameters = self._frame.parameters
        if slicer.app.testingEnabled() or not parameters:
            return
        nodes = clicked_nodes(parameters)
        if nodes is None:
            return
        of = nodes[0].GetID(), nodes[1].GetID(), parameters.sex
        if of == self._of:
            return
        if self.works:
            self._stopped = True  # what is chosen now begins when the thread has ended
            return
        if missing_packages() or self._frame.will_compile:
            return
        self._of = of
        images = [node.GetImageData() for node in nodes]
        if any(one is not None and one.GetNumberOfPoints() > LARGEST_VOXELS for one in images):
            return
        with contextlib.suppress(ValueError):  # no voxels, say: what needs them tells
            volume = volume_from_node(nodes[0])
            grid = volume if nodes[1] is nodes[0] else volume_from_node(nodes[1])
            self._begin(volume, grid, parameters.sex)

    def stop(self) -> None:
        """Do no more of it: the scene closes, or the panel goes."""
        self._stopped, self._of = True, None

    def _begin(self, volume: Volume, grid: Volume, sex: str) -> None:
        self._stopped = False
        self._thread = Thread(target=self._work, args=(volume, grid, sex), daemon=True)
        self._thread.start()
        self._timer.start()

    def _lend(self) -> None:
        """Time for the thread; where it has ended, begin with what is chosen now."""
        if not self._frame.running:
            self._thread.join(LENT_S)
        if not self.works:
            gc.enable()  # not by the thread, which would collect while it ends
        if self.works or self._frame.running:
            self._timer.start()
            return
        if self._error is not None:  # told here: the console is Qt's
            logging.warning("Nothing was made ahead of the first click: %r", self._error)
            self._error = None
        if self._of is not None:  # made to its end
            gc.collect()  # looks through compiled code for .1 s: now, not within the first Apply
        self.follow()

    def _goes_on(self, _done: float = 0.0) -> bool:
        return not self._stopped and not self._frame.running

    def _work(self, volume: Volume, grid: Volume, sex: str) -> None:
        gc.disable()  # garbage of Qt and VTK is for the main thread to take away
        try:
            self._make(volume, grid, sex)
        except InterruptedError:
            self._of = None
        except Exception as error:
            self._error = error

    def _make(self, volume: Volume, grid: Volume, sex: str) -> None:
        from PDFFMapperLib.images.resampling import resampled

        from MarrowAssessLib.placement.clicks import find_ahead
        from MarrowAssessLib.references.distributions import all_distributions
        from MarrowAssessLib.references.modelled import PREDICTED, modelled_curve

        for name in OF_APPLY:
            import_module(name)
        all_distributions("marrow_pdff")  # the curves through published groups
        for quantity in PREDICTED:
            tell(self._goes_on, 0)
            modelled_curve(quantity, sex if sex in ("F", "M") else None)
        same = volume.same_grid(grid)
        find_ahead(volume if same else resampled(volume, grid), self._goes_on)
