"""A line that names a file, kept with a choice of the parameter node."""

from __future__ import annotations

import os

from PDFFMapperLib.panel.frame import PanelFrame


class PathLine:
    """A ctkPathLineEdit: the choice is the file that it names, "" of none and while it is typed."""

    def __init__(self, line: object, frame: PanelFrame, choice: str) -> None:
        """Args:
        line: the widget.
        frame: holds the parameter node.
        choice: name of the parameter.
        """
        self._line, self._frame, self._choice = line, frame, choice
        line.connect("currentPathChanged(QString)", self.onPath)
        # An emptied or half-typed line tells this alone.
        line.connect("validInputChanged(bool)", self.onPath)

    def show(self, anew: bool = True) -> None:
        """Show what is chosen; not anew, a line that is being typed stays."""
        parameters, line = self._frame.parameters, self._line
        chosen = getattr(parameters, self._choice) if parameters else ""
        if (anew or chosen) and line.currentPath != chosen:
            line.currentPath = chosen

    def onPath(self, changed: object = None) -> None:
        """Choose the file that the line names."""
        parameters = self._frame.parameters
        path = self._line.currentPath.strip()
        path = path if os.path.isfile(path) else ""
        if not parameters or (path and path == getattr(parameters, self._choice)):
            return
        setattr(parameters, self._choice, path)
