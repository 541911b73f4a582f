"""Slicer's scene and logics without its desktop, from the slicer-core package.

In the desktop everything here does nothing: the application has made its scene already.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

INSTALL_SCENE = 'pip install "MarrowAssess[headless]"'
INSTALL_RENDERING = (
    "Debian and Ubuntu: apt-get install libegl1 libgl1-mesa-dri; "
    "Fedora: dnf install mesa-libEGL mesa-dri-drivers"
)

# The name of a module in slicer.modules, and the class of its logic in slicer-core.
_MODULES = {
    "colors": "vtkSlicerColorLogic",
    "data": "vtkSlicerDataModuleLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "models": "vtkSlicerModelsLogic",
    "plots": "vtkSlicerPlotsLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "tables": "vtkSlicerTablesLogic",
    "texts": "vtkSlicerTextsLogic",
    "transforms": "vtkSlicerTransformLogic",
    "units": "vtkSlicerUnitsLogic",
    "volumes": "vtkSlicerVolumesLogic",
}

# Exits with 0 only where a picture can be drawn; VTK crashes the process where it cannot.
_DRAW_ONE_PIXEL = """
import vtkmodules.vtkRenderingOpenGL2
from vtkmodules.vtkRenderingCore import vtkRenderer, vtkRenderWindow
window = vtkRenderWindow()
window.SetOffScreenRendering(1)
window.SetSize(8, 8)
window.AddRenderer(vtkRenderer())
window.Render()
assert window.GetRGBACharPixelData
"""


class RuntimeMissing(RuntimeError):
    """Something that has to be installed is not; the message says what and how."""


def in_desktop() -> bool:
    """Whether this runs inside the Slicer application."""
    slicer = sys.modules.get("slicer")
    return slicer is not None and hasattr(slicer, "app")


def start() -> None:
    """Make ``slicer.mrmlScene`` and ``slicer.modules.<name>.logic()`` as the desktop has them.

    Does nothing in the desktop or when already started.

    Raises:
        RuntimeMissing: slicer-core is not installed.
    """
    try:
        import slicer
    except ImportError as error:
        raise RuntimeMissing(
            f"The Slicer scene needs the slicer-core package ({error}): {INSTALL_SCENE}"
        ) from error
    if in_desktop() or getattr(slicer, "mrmlScene", None):
        return
    if not hasattr(slicer, "vtkMRMLScene"):
        raise RuntimeMissing(
            f"The Python package 'slicer' found at {slicer.__file__} is not Slicer's: "
            f"{INSTALL_SCENE}"
        )
    slicer.mrmlScene = slicer.vtkMRMLScene()
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    slicer.mrmlScene.AddNode(crosshair)
    application = _application_logic()
    slicer.modules = _Modules(application)
    _add_views(application)


def application_logic() -> object:
    """Slicer's application logic, which holds the views' logics."""
    import slicer

    return slicer.app.applicationLogic() if in_desktop() else slicer.modules.application_logic


def rendering_available() -> bool:
    """Whether pictures can be rendered here."""
    return in_desktop() or bool(_render_window_class())


def require_rendering() -> None:
    """Prepare offscreen rendering.

    Raises:
        RuntimeMissing: no offscreen graphics library works here; says what to install.
    """
    if in_desktop():
        return
    window_class = _render_window_class()
    if not window_class:
        raise RuntimeMissing(
            "Pictures cannot be rendered on this machine because it has no working EGL; "
            f"everything else works. {INSTALL_RENDERING}."
        )
    if sys.platform == "linux":
        os.environ["VTK_DEFAULT_OPENGL_WINDOW"] = window_class


class _Module:
    """Stands for a module of the desktop: what scripts use of it is its logic."""

    def __init__(self, logic: object) -> None:
        self._logic = logic

    def logic(self) -> object:
        return self._logic


class _Modules:
    """``slicer.modules``: one attribute per module, and the application logic they share."""

    def __init__(self, application: object) -> None:
        import slicer

        self.application_logic = application
        for name, class_name in _MODULES.items():
            logic = getattr(slicer, class_name)()
            logic.SetMRMLApplicationLogic(application)
            application.SetModuleLogic(name.capitalize(), logic)
            logic.SetMRMLScene(slicer.mrmlScene)
            setattr(self, name, _Module(logic))


def _application_logic() -> object:
    import slicer
    from vtkmodules.vtkCommonCore import vtkCollection

    scene = slicer.mrmlScene
    directory = tempfile.TemporaryDirectory(prefix="marrowassess-", ignore_cleanup_errors=True)
    atexit.register(directory.cleanup)
    application = slicer.vtkSlicerApplicationLogic()
    # The directories come before the scene: setting the scene looks files up in them.
    application.SetHomeDirectory(directory.name)
    application.SetShareDirectory("share")
    (Path(directory.name) / "share" / "ColorFiles").mkdir(parents=True)
    application.SetTemporaryPath(directory.name)
    application.SetMRMLScene(scene)
    application.SetSliceLogics(vtkCollection())
    application.SetViewLogics(vtkCollection())
    application.GetColorLogic().SetMRMLScene(scene)
    application.GetColorLogic().AddDefaultColorNodes()
    for factory in (
        slicer.vtkMRMLSliceViewDisplayableManagerFactory,
        slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
    ):
        factory.GetInstance().SetMRMLApplicationLogic(application)
    patient_right_is_screen_left = True
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, patient_right_is_screen_left)
    # Scenes are packed into and out of .mrb in the cache directory of the remote data logic.
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.SetMRMLScene(scene)
    remote.SetMRMLApplicationLogic(application)
    (Path(directory.name) / ".slicer-cache").touch()  # marks a directory that may be emptied
    remote.GetCacheManager().SetRemoteCacheDirectory(directory.name)
    remote.AddDataIOToScene()
    application.remote_logic = remote
    return application


def _add_views(application: object) -> None:
    """The slice and 3D views of Slicer's default layout; they take a window when rendered."""
    import slicer

    for name, orientation in (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal")):
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(slicer.mrmlScene)
        logic.AddSliceNode(name).SetOrientation(orientation)
        application.GetSliceLogics().AddItem(logic)
    logic = slicer.vtkMRMLViewLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(slicer.mrmlScene)
    logic.AddViewNode("1")
    application.GetViewLogics().AddItem(logic)


@cache
def _render_window_class() -> str:
    """The VTK render window class that draws offscreen here, "" where none does."""
    if sys.platform != "linux":
        return "vtkRenderWindow"
    for name in ("vtkEGLRenderWindow", "vtkOSOpenGLRenderWindow"):
        environment = {**os.environ, "VTK_DEFAULT_OPENGL_WINDOW": name}
        command = [sys.executable, "-c", _DRAW_ONE_PIXEL]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, timeout=120)
        except subprocess.TimeoutExpired:
            continue
        if done.returncode == 0:
            return name
    return ""
