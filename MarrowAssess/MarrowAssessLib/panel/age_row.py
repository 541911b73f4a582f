"""The row in which the patient's age is typed as people say it: 34, 6 months, 3 weeks."""

from __future__ import annotations

from PDFFMapperLib.panel.frame import PanelFrame

from MarrowAssessLib.catalogue.patient import age_text, parse_age
from MarrowAssessLib.scene.choices import unread_patient

TYPING_DELAY_MS = 700  # after the last letter of an age


class AgeRow:
    """The line with the age and the hint below it."""

    def __init__(self, ui: object, frame: PanelFrame) -> None:
        """Args:
        ui: the panel's widgets; it has ageLineEdit and ageHintLabel.
        frame: holds the parameter node, whose ageYears is -1 where the age is not known.
        """
        self._ui, self._frame = ui, frame
        self._typed = -1.0
        self._fault = ""
        self._timer = frame.timer(TYPING_DELAY_MS, self.take)
        ui.ageLineEdit.connect("textEdited(QString)", self.onEdited)
        ui.ageLineEdit.connect("editingFinished()", self.take)

    def onEdited(self, text: str) -> None:
        """The age is taken when the typing pauses."""
        self._timer.start()

    def stop(self) -> None:
        """Wait for no more letters."""
        self._timer.stop()

    def take(self) -> None:
        """Take the age that was typed; what is no age is said and changes nothing."""
        self.stop()
        parameters = self._frame.parameters
        if not parameters:
            return
        try:
            age = parse_age(self._ui.ageLineEdit.text)
        except ValueError as error:
            self._fault = str(error)
            self._hint()
            return
        self._fault = ""
        self._typed = -1.0 if age is None else age
        if parameters.ageYears != self._typed:
            parameters.ageYears = self._typed
        self._hint()

    def show(self, anew: bool = True) -> None:
        """Write the chosen age as people read it; unless `anew`, not over what was typed."""
        parameters = self._frame.parameters
        age = parameters.ageYears if parameters else -1.0
        if age != self._typed or anew:
            self._typed, self._fault = age, ""
            self._ui.ageLineEdit.text = age_text(age if age >= 0 else None)
        self._hint()

    def _hint(self) -> None:
        """Say below the age what is wrong with it, or what the images' headers hold instead."""
        parameters = self._frame.parameters
        text = self._fault or (unread_patient(parameters) if parameters else "")
        self._ui.ageHintLabel.text = text
        self._ui.ageHintLabel.visible = bool(text)
