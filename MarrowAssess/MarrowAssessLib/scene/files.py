"""The Slicer scene as a whole: slice views, saving and loading.

Runs unchanged in the desktop and, after ``headless.start()``, on slicer-core.
"""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from pathlib import Path

import slicer

from MarrowAssessLib.scene import headless


def show_in_slices(volume_node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show a volume as the background of every slice view, fitted."""
    logics = headless.application_logic().GetSliceLogics()
    for logic in (logics.GetItemAsObject(n) for n in range(logics.GetNumberOfItems())):
        logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume_node.GetID())
        logic.FitSliceToBackground()


def save_scene(path: str | Path) -> None:
    """Save the scene as a .mrb that opens in Slicer; the file appears whole or not at all.

    Raises:
        ValueError: the name does not end in .mrb.
        OSError: Slicer could not write it; says why.
    """
    path = Path(path).resolve()
    if path.suffix != ".mrb":
        raise ValueError(f"{path}: a scene is saved as .mrb.")
    path.parent.mkdir(parents=True, exist_ok=True)
    messages = slicer.vtkMRMLMessageCollection()
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent) as directory:
        temporary = Path(directory) / path.name
        if not slicer.mrmlScene.WriteToMRB(str(temporary), None, messages):
            reason = messages.GetAllMessagesAsString()
            raise OSError(f"{path}: the scene could not be saved. {reason}")
        temporary.replace(path)


def load_scene(path: str | Path) -> None:
    """Replace the scene by a .mrb.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a whole .mrb; the scene is left as it was unless a part fails late.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None
            names = [name.replace("\\", "/") for name in archive.namelist()]
            has_scene = any(name.endswith(".mrml") for name in names)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError, UnicodeDecodeError):
        # cut, coded, encrypted or damaged
        whole, has_scene, names = False, False, []
    if outside := [n for n in names if n.startswith("/") or ":" in n or ".." in n.split("/")]:
        raise ValueError(
            f"{path}: this scene would write outside its folder ({outside[0]}); it was not loaded."
        )
    if not (whole and has_scene):
        raise ValueError(f"{path}: this is not a whole Slicer scene (.mrb).")
    messages = slicer.vtkMRMLMessageCollection()
    if not slicer.mrmlScene.ReadFromMRB(str(path), True, messages):
        raise ValueError(f"{path}: the scene did not load. {messages.GetAllMessagesAsString()}")
