"""The row that names an earlier visit, since when changes are shown."""

from __future__ import annotations

import os

from PDFFMapperLib.panel.frame import PanelFrame


class VisitRow:
    """A line with the assessment.json of an earlier visit; what is none counts as empty."""

    def __init__(self, ui: object, frame: PanelFrame) -> None:
        """Args:
        ui: the panel's widgets.
        frame: holds the parameter node.
        """
        self._line, self._frame = ui.earlierVisitPath, frame
        self._line.connect("currentPathChanged(QString)", self.onPath)
        # An emptied or half-typed line tells this alone.
        self._line.connect("validInputChanged(bool)", self.onPath)

    def show(self, anew: bool = True) -> None:
        """Show what is chosen; not anew, a line that is being typed stays."""
        parameters = self._frame.parameters
        chosen = parameters.earlierVisit if parameters else ""
        if (anew or chosen) and self._line.currentPath != chosen:
            self._line.currentPath = chosen

    def onPath(self, changed: object = None) -> None:
        """Color by what changed since the chosen visit, or end that."""
        path = self._line.currentPath.strip()
        if self._frame.parameters:
            self._frame.parameters.earlierVisit = path if os.path.isfile(path) else ""
