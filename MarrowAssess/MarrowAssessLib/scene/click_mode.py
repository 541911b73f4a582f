"""Taking clicks in the views one after the other, by the place mode of Slicer's markups."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import slicer

from MarrowAssessLib.scene import headless


class ClickMode:
    """From `start` until `stop`, or until the user leaves place mode, clicks are handed over."""

    def __init__(
        self,
        on_click: Callable[[tuple[float, float, float]], None],
        on_end: Callable[[], None],
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        """Args:
        on_click: takes each click's position, RAS mm in the world.
        on_end: called when the user leaves place mode by a right click or the toolbar.
        later: runs a function once the event that is being handled is over.
        """
        self._on_click, self._on_end, self._later = on_click, on_end, later
        self._node: slicer.vtkMRMLMarkupsFiducialNode | None = None
        self._tag: int | None = None

    @property
    def active(self) -> bool:
        """Whether clicks are taken."""
        return self._node is not None

    def start(self) -> None:
        """Take clicks from now on; a node that does not outlive them holds the next one."""
        self.stop()
        node = slicer.vtkMRMLMarkupsFiducialNode()
        node.SetName("MarrowAssess click")
        node.SetSaveWithScene(False)
        node.SetHideFromEditors(True)
        self._node = slicer.mrmlScene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        node.AddObserver(node.PointPositionDefinedEvent, lambda *_: self._later(self._take))
        logic = slicer.modules.markups.logic()
        logic.SetActiveList(node)
        logic.StartPlaceMode(True)
        interaction = headless.application_logic().GetInteractionNode()
        self._tag = interaction.AddObserver(
            interaction.InteractionModeChangedEvent, self._mode_changed
        )

    def stop(self) -> None:
        """Take no more clicks."""
        node, self._node = self._node, None
        if node is None:
            return
        headless.application_logic().GetInteractionNode().RemoveObserver(self._tag)
        slicer.modules.markups.logic().SetActiveList(None)  # leaves place mode, too
        slicer.mrmlScene.RemoveNode(node)

    def _mode_changed(self, interaction: slicer.vtkMRMLInteractionNode, event: str) -> None:
        if interaction.GetCurrentInteractionMode() != interaction.Place:
            self.stop()
            self._on_end()

    def _take(self) -> None:
        """Hand over the clicks that have come in, the first one first."""
        node = self._node
        if node is None or not node.GetNumberOfDefinedControlPoints():
            return
        positions = []
        for n in range(node.GetNumberOfControlPoints()):
            if node.GetNthControlPointPositionStatus(n) == node.PositionDefined:
                position = [0.0, 0.0, 0.0]
                node.GetNthControlPointPositionWorld(n, position)
                positions.append(tuple(position))
        node.RemoveAllControlPoints()
        for position in positions:
            if node is self._node:
                self._on_click(position)


@contextlib.contextmanager
def clicks_stay() -> Iterator[None]:
    """Let the markups node that takes the user's clicks go on doing so while others are added.

    Slicer's markups logic makes every markups node that is added the active one.
    """
    selection = headless.application_logic().GetSelectionNode()
    kind, active = selection.GetActivePlaceNodeClassName(), selection.GetActivePlaceNodeID()
    try:
        yield
    finally:
        selection.SetReferenceActivePlaceNodeClassName(kind)
        selection.SetActivePlaceNodeID(active)
