"""The rows for files: spectra of marrow, UTE series of bones, scores of one's own training."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name

import qt
import slicer
from PDFFMapperLib.panel.frame import PanelFrame
from slicer.i18n import tr as _

from MarrowAssessLib.scene.choices import SEPARATOR, listed

FIT_SPECTRA = "MarrowAssessLib.sources.spectra:fit_site_spectra"
MEASURE_UTE = "MarrowAssessLib.sources.ute:measure_site_ute"


@dataclass
class _Fitted:
    """A line of files that are fitted before they are chosen.

    Attributes:
        line: the widget.
        choice: name of the parameter.
        fit: "module:function" of what the line lists and progress; keeps what it has fitted.
        fails: what is said where it cannot.
        refused: what was, as it stands in the line.
    """

    line: object
    choice: str
    fit: str
    fails: str
    refused: str | None = None


class FilesRow:
    """Files are read before they are chosen; what is wrong is said and changes nothing."""

    def __init__(self, ui: object, frame: PanelFrame) -> None:
        """Args:
        ui: the panel's widgets.
        frame: runs the fits and holds the parameter node.
        """
        self._ui, self._frame = ui, frame
        spectra, bones = ui.spectraLineEdit, ui.uteLineEdit
        self._spectra = _Fitted(spectra, "spectra", FIT_SPECTRA, _("No spectrum was fitted."))
        self._ute = _Fitted(bones, "ute", MEASURE_UTE, _("No bone was measured."))
        self._lines = {"spectra": spectra, "ute": bones, "scores": ui.scoresLineEdit}
        self._known = dict.fromkeys(self._lines, "")  # what the lines were told to be chosen
        self._scores = ""  # as they stood in the line, refused or not
        spectra.connect("editingFinished()", self.onSpectra)
        bones.connect("editingFinished()", self.onUte)
        ui.spectraButton.connect("clicked(bool)", self.onSpectraButton)
        ui.uteButton.connect("clicked(bool)", self.onUteButton)
        ui.scoresLineEdit.connect("editingFinished()", self.onScores)
        ui.scoresButton.connect("clicked(bool)", self.onScoresButton)

    def show(self, anew: bool = True) -> None:
        """Show what is chosen; unless `anew`, where others have chosen it: what is typed stays.

        What chooses another patient shows it anew: neither a refused file nor its hint is theirs.
        """
        parameters = self._frame.parameters
        chosen = {name: getattr(parameters, name) if parameters else "" for name in self._lines}
        others = [name for name, text in chosen.items() if anew or text != self._known[name]]
        if not others:
            return
        for name in others:
            self._lines[name].text = self._known[name] = chosen[name]
        for one in (self._spectra, self._ute):
            one.refused = None if one.choice in others else one.refused
        self._scores = self._ui.scoresLineEdit.text
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

    def onUteButton(self) -> None:
        """Ask for the UTE series of one bone; its name is still to be typed."""
        file = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), _("UTE series of one bone, a file of all echoes")
        )
        if file:
            self.addUte(file)

    def addUte(self, file: str) -> None:
        """Add the series of one bone to the line, in front of which its name is to be typed."""
        self._list(self._ui.uteLineEdit, f"?={file}")
        self._ui.uteLineEdit.setFocus()
        self._hint(_("Type the bone in place of the question mark, such as tibial diaphysis."))

    def onSpectra(self) -> None:
        """Fit the spectra that were typed and choose them."""
        self._fit(self._spectra)

    def onUte(self) -> None:
        """Measure the bones that were typed and choose them."""
        self._fit(self._ute)

    def _fit(self, one: _Fitted) -> None:
        text, frame = one.line.text.strip(), self._frame
        if (
            not frame.parameters
            or frame.running
            or text in (getattr(frame.parameters, one.choice), one.refused)
        ):
            return
        fit = resolve_name(one.fit)
        one.refused, problem = text, None
        self._hint(_("Fitting; Cancel stands in for Apply.") if text else "")
        try:
            with frame.working(one.fails, True):
                problem = _problem(lambda: fit(listed(text), frame.progress))
        finally:
            self._hint(_said(problem))
            if not isinstance(problem, ValueError):  # canceled, failed, or files that may be there
                one.refused = None  # next time
        if not problem:
            self._choose(one.choice, text)

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
        self._choose("scores", "" if problem else text)  # no others than the line shows

    def _choose(self, name: str, text: str) -> None:
        """Choose files, which the line shows already."""
        self._known[name] = text
        setattr(self._frame.parameters, name, text)

    def _list(self, line: object, *new: str) -> None:
        """Add to what a line lists."""
        line.text = f"{SEPARATOR} ".join(dict.fromkeys([*listed(line.text), *new]))

    def _hint(self, text: str) -> None:
        """Say below the lines what is wrong with them."""
        self._ui.filesHintLabel.text = text
        self._ui.filesHintLabel.visible = bool(text)


def _said(problem: Exception | None) -> str:
    """What is wrong, and where the options go that it names (--sense); "" where nothing is."""
    text = str(problem or "")
    if re.search(r"--[a-z]", text):
        return _("{text} Type options behind the files in this line.").format(text=text)
    return text


def _problem(job: Callable[[], object]) -> ValueError | OSError | None:
    """What kept a job from being done, None of nothing."""
    try:
        job()
    except InterruptedError:
        return InterruptedError(_("Canceled; nothing was chosen."))
    except (ValueError, OSError) as error:
        return error
    return None
