"""The row of both panels that brings images in: load DICOM, read it again, look into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import slicer
from slicer.i18n import tr as _

from PDFFMapperLib.panel.frame import PanelFrame
from PDFFMapperLib.scene.origin import dicom_file, instances_of

if TYPE_CHECKING:  # opening a panel waits for no reader
    from PDFFMapperLib.scene.dicom import LoadedDicom

MOST_FILES = 500  # whose headers are read to tell what reading again would change


class FolderRow:
    """Buttons, the sentence below them, and what was found in a folder."""

    def __init__(
        self,
        ui: object,
        frame: PanelFrame,
        chosen: Callable[[], Iterable[slicer.vtkMRMLNode]],
        taken: Callable[[LoadedDicom], None],
        beside: Callable[[LoadedDicom], None] = lambda loaded: None,
    ) -> None:
        """Args:
        ui: the panel's widgets; it has the buttons, folderLabel and inspectionText.
        frame: runs the jobs.
        chosen: the images that are chosen.
        taken: called when images were read again, to choose them.
        beside: called when a folder was loaded, to take of its other files what it can.
        """
        self._ui, self._frame, self._chosen, self._taken = ui, frame, chosen, taken
        self._beside = beside
        self._known: dict[tuple[str, ...], str] = {}
        self._said = ""
        ui.loadDicomButton.connect("clicked(bool)", self.onLoadButton)
        ui.readAgainButton.connect("clicked(bool)", self.onAgainButton)
        ui.inspectButton.connect("clicked(bool)", self.onInspectButton)

    def check(self) -> None:
        """Enable what can be done, and say where the chosen images would read otherwise."""
        find = dicom_file()
        nodes = [node for node in self._chosen() if find and instances_of(node)]
        self._ui.readAgainButton.enabled = bool(nodes)
        told = [said for node in nodes if (said := self._otherwise(node, find))]
        if told:
            told.append(_("Press Read again to take them as they are there."))
        text = " ".join(filter(None, [self._said, *told]))
        self._ui.folderLabel.text = text
        self._ui.folderLabel.visible = bool(text)

    def say(self, text: str) -> None:
        """Show a sentence below the buttons."""
        self._said = text
        self.check()

    def onLoadButton(self, checked: bool = False) -> None:
        """Ask for a folder and load the DICOM series in it."""
        if folder := _asked_folder(_("Folder of DICOM files")):
            self.load(folder)

    def load(self, source: str) -> None:
        """Load the DICOM series of a folder."""

        def job() -> LoadedDicom:
            from PDFFMapperLib.scene.dicom import load_dicom

            loaded = load_dicom(source, self._frame.progress)
            self._beside(loaded)
            return loaded

        self._run(job)

    def onAgainButton(self, checked: bool = False) -> None:
        """Read the chosen images again and choose what was read."""
        from PDFFMapperLib.scene.dicom import load_again

        nodes = [node for node in self._chosen() if instances_of(node)]
        if loaded := self._run(lambda: load_again(nodes, dicom_file(), self._frame.progress)):
            self._taken(loaded)

    def onInspectButton(self, checked: bool = False) -> None:
        """Ask for a folder and show what is in it."""
        if folder := _asked_folder(_("Folder of DICOM or image files")):
            self.inspect(folder)

    def inspect(self, folder: str) -> None:
        """Show what is in a folder."""
        from PDFFMapperLib.dicom.inventory import inventory, lines

        self.say("")
        with self._frame.working(_("The folder cannot be read."), True):
            try:
                found = inventory(folder, self._frame.progress)
            except InterruptedError:
                self.say(_("Canceled; the folder was not read to its end."))
                return
            self._ui.inspectionText.plainText = "\n".join(lines(found, folder))
            self._ui.inspectionText.visible = True

    def _run(self, job: Callable[[], LoadedDicom]) -> LoadedDicom | None:
        """Load in a job that can be canceled; what was loaded, None if nothing."""
        self.say("")
        with self._frame.working(_("The images could not be loaded."), True):
            try:
                loaded = job()
            except InterruptedError:
                self.say(_("Canceled; nothing was loaded."))
                return None
            if loaded.nodes:
                first = loaded.nodes[0]
                slicer.util.setSliceViewerLayers(background=first, foreground=None, fit=True)
            said = _("Loaded: {count} volumes.").format(count=len(loaded.nodes))
            self.say(" ".join([said, *loaded.sentences()]))
            return loaded

    def _otherwise(self, node: slicer.vtkMRMLNode, find: Callable[[str], str]) -> str:
        key = (node.GetID(), *instances_of(node))
        if key not in self._known:
            from PDFFMapperLib.scene.dicom import read_otherwise

            short = len(key) - 1 <= MOST_FILES
            self._known[key] = read_otherwise(node, find) if short else ""
        return self._known[key]


def _asked_folder(title: str) -> str:
    import qt

    return qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title)
