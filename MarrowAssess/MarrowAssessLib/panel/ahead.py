"""What the first Apply and the first click need, made while the user does something else."""

from __future__ import annotations

import contextlib
from threading import Thread

import qt
import slicer
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.install.packages import missing_packages
from PDFFMapperLib.panel.frame import PanelFrame
from PDFFMapperLib.scene.volumes import volume_from_node

from MarrowAssessLib.scene.choices import chosen_contrasts
from MarrowAssessLib.scene.study import shown_first

EVERY_MS, LENT_S = 50, 0.02
LARGEST_VOXELS = 20_000_000  # a larger image takes too long to copy


class WorkAhead:
    """A thread that works while Slicer waits for its user.

    Slicer keeps Python's lock while it waits for events, and a thread alone would stand still: a
    timer lets it work for LENT_S, again and again.
    """

    def __init__(self, frame: PanelFrame) -> None:
        """Args:
        frame: the panel's; nothing is lent to the thread while its jobs run.
        """
        self._frame = frame
        self._thread: Thread | None = None
        self._stopped = False
        self._of: tuple[str, str] | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(EVERY_MS)
        self._timer.connect("timeout()", self._lend)

    @property
    def works(self) -> bool:
        """Whether there is something left to do."""
        return self._thread is not None and self._thread.is_alive()

    def follow(self) -> None:
        """Begin with the image and sex that are chosen, once; not in tests."""
        if slicer.app.testingEnabled() or self.works or not self._frame.parameters:
            return
        images = chosen_contrasts(self._frame.parameters)
        if not images or missing_packages():
            return
        node, sex = shown_first(images.values())[0], self._frame.parameters.sex
        if self._of == (node.GetID(), sex) or self._frame.will_compile:
            return
        self._of = node.GetID(), sex
        image = node.GetImageData()
        if image is not None and image.GetNumberOfPoints() > LARGEST_VOXELS:
            return
        with contextlib.suppress(ValueError):  # no voxels, say: what needs them tells
            self.begin(volume_from_node(node), sex)

    def begin(self, volume: Volume, sex: str) -> None:
        """Begin with an image and a sex."""
        self._stopped = False
        self._thread = Thread(target=self._work, args=(volume, sex), daemon=True)
        self._thread.start()
        self._timer.start()

    def stop(self) -> None:
        """Do no more of it: the scene closes, or the panel goes."""
        self._stopped, self._of = True, None
        self._timer.stop()

    def _lend(self) -> None:
        if not self._frame.running:
            self._thread.join(LENT_S)
        if not self.works:
            self._timer.stop()

    def _work(self, volume: Volume, sex: str) -> None:
        from MarrowAssessLib.placement.clicks import find_ahead
        from MarrowAssessLib.references.modelled import PREDICTED, modelled_curve

        for quantity in PREDICTED:
            modelled_curve(quantity, sex if sex in ("F", "M") else None)
        find_ahead(volume, lambda _done: not self._stopped)
