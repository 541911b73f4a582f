"""The rows for what is no image: spectra of marrow, and scores of one's own training."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from PDFFMapperLib.panel.frame import PanelFrame
from slicer.i18n import tr as _

from MarrowAssessLib.scene.choices import SEPARATOR, listed


class FilesRow:
    """Files are read before they are chosen; what is wrong is said and changes nothing."""

    def __init__(self, ui: object, frame: PanelFrame) -> None:
        """Args:
        ui: the panel's widgets.
        frame: runs the fit of spectra and holds the parameter node.
        """
        self._ui, self._frame = ui, frame
        self._refused: str | None = None  # spectra as they stand in the line
        self._scores = ""  # as they stood in the line, refused or not
        ui.spectraLineEdit.connect("editingFinished()", self.onSpectra)
        ui.spectraButton.connect("clicked(bool)", self.onSpectraButton)
        ui.scoresLineEdit.connect("editingFinished()", self.onScores)
        ui.scoresButton.connect("clicked(bool)", self.onScoresButton)

    def show(self) -> None:
        """Show what is chosen."""
        parameters = self._frame.parameters
        self._ui.spectraLineEdit.text = parameters.spectra if parameters else ""
        self._refused = None
        self._scores = self._ui.scoresLineEdit.text = parameters.scores if parameters else ""
        self._hint("")

    def onSpectraButton(self) -> None:
        """Ask for the files of one voxel's spectra; its level is still to be typed."""
        files = qt.QFileDialog.getOpenFileNames(
            slicer.util.mainWindow(), _("Spectra of one voxel, one file for each echo time")
        )
        if files:
            self.addSpectra(files)

    def addSpectra(self, files: list[str]) -> None:
        """Add the files of one voxel to the line, in front of which its level is to be typed."""
        self._list(self._ui.spectraLineEdit, f"?={','.join(files)}")
        self._ui.spectraLineEdit.setFocus()
        self._hint(_("Type the level in place of the question mark, such as L3."))

    def onSpectra(self) -> None:
        """Fit the spectra that were typed and choose them."""
        text, frame = self._ui.spectraLineEdit.text.strip(), self._frame
        if (
            not frame.parameters
            or frame.running
            or text in (frame.parameters.spectra, self._refused)
        ):
            return
        from MarrowAssessLib.sources.spectra import fit_site_spectra

        self._refused = text
        self._hint(_("Fitting the spectra; Cancel stands in for Apply.") if text else "")
        with frame.working(_("The spectra could not be fitted."), True):
            problem = _problem(lambda: fit_site_spectra(listed(text), frame.progress))
        self._hint(str(problem or ""))
        if not isinstance(problem, ValueError):  # canceled, or files that may be there next time
            self._refused = None
        if not problem:
            frame.parameters.spectra = text

    def onScoresButton(self) -> None:
        """Ask for files of scores, and choose them beside those that are."""
        files = qt.QFileDialog.getOpenFileNames(
            slicer.util.mainWindow(), _("Scores of your own training"), "", "*.json"
        )
        if files:
            self._list(self._ui.scoresLineEdit, *files)
            self.onScores()

    def onScores(self) -> None:
        """Choose the scores that were typed, which a patient's report may show, or none."""
        text, parameters = self._ui.scoresLineEdit.text.strip(), self._frame.parameters
        if not parameters or text == parameters.scores == self._scores:
            return
        from MarrowAssessLib.prediction.patient_score import refuse_exploratory
        from MarrowAssessLib.prediction.score_file import read_score

        self._scores = text
        problem = _problem(lambda: [refuse_exploratory(read_score(one)) for one in listed(text)])
        self._hint(str(problem or ""))
        parameters.scores = "" if problem else text  # no others than the line shows

    def _list(self, line: object, *new: str) -> None:
        """Add to what a line lists."""
        line.text = f"{SEPARATOR} ".join(dict.fromkeys([*listed(line.text), *new]))

    def _hint(self, text: str) -> None:
        """Say below the lines what is wrong with them."""
        self._ui.filesHintLabel.text = text
        self._ui.filesHintLabel.visible = bool(text)


def _problem(job: Callable[[], object]) -> ValueError | OSError | None:
    """What kept a job from being done, None of nothing."""
    try:
        job()
    except InterruptedError:
        return InterruptedError(_("Canceled; nothing was chosen."))
    except (ValueError, OSError) as error:
        return error
    return None
