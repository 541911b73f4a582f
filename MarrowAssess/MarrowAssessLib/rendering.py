"""Pictures of the scene, rendered offscreen through Slicer's own displayable managers.

The views carry the names of Slicer's default layout ("1", "Yellow"), so that a saved scene opens
in the desktop with the same cameras, slices and background.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
from PDFFMapperLib.files import written_whole
from vtkmodules.vtkCommonCore import vtkCommand
from vtkmodules.vtkInteractionStyle import vtkInteractorStyleUser
from vtkmodules.vtkIOImage import vtkPNGWriter
from vtkmodules.vtkRenderingCore import (
    vtkActor2D,
    vtkImageMapper,
    vtkRenderer,
    vtkRenderWindow,
    vtkRenderWindowInteractor,
    vtkWindowToImageFilter,
)

from MarrowAssessLib import headless
from MarrowAssessLib.overlay import Overlay

SIZE_3D = (1400, 1000)
SIZE_SLICE = (1000, 1000)
BACKGROUND = ((0.05, 0.06, 0.08), (0.16, 0.18, 0.22))  # bottom and top
# From the patient's left, somewhat in front and above: front is left, as in sagittal slices.
CAMERA_DIRECTION_RAS = (-0.80, 0.56, 0.22)

_MANAGERS_3D = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
_MANAGERS_2D = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)


class _View:
    """An offscreen window with the displayable managers of one Slicer view."""

    def __init__(self, size: tuple[int, int], layers: int = 1) -> None:
        headless.require_rendering()
        self.renderer = vtkRenderer()
        self.window = vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(8)
        self.window.SetSize(*size)
        self.window.SetNumberOfLayers(layers)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()

    def manage(self, factory: object, names: tuple[str, ...], node: object) -> None:
        for name in names:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.managers.SetRenderer(self.renderer)
        self.managers.Initialize(factory, self.renderer)
        self.managers.SetMRMLDisplayableNode(node)

    def save(self, path: str | Path) -> None:
        self.window.Render()
        grab = vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.SetInputBufferTypeToRGB()
        with written_whole(path) as temporary:
            writer = vtkPNGWriter()
            writer.SetInputConnection(grab.GetOutputPort())
            writer.SetFileName(str(temporary))
            writer.Write()


class View3D(_View):
    """Slicer's first 3D view, offscreen."""

    def __init__(self, size: tuple[int, int] = SIZE_3D) -> None:
        super().__init__(size)
        application = slicer.modules.application_logic
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(application)
        application.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddViewNode("1")
        self.node.SetBackgroundColor(*BACKGROUND[0])
        self.node.SetBackgroundColor2(*BACKGROUND[1])
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        self.node.SetOrientationMarkerType(self.node.OrientationMarkerTypeAxes)
        self.node.SetOrientationMarkerSize(self.node.OrientationMarkerSizeMedium)
        self.renderer.SetUseDepthPeeling(True)
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        self.manage(factory, _MANAGERS_3D, self.node)

    def look(self, bounds: np.ndarray, direction: tuple[float, float, float]) -> None:
        """Point the camera at a box (xmin, xmax, ymin ...) in RAS from a direction."""
        camera = self.managers.GetDisplayableManagerByClassName(
            "vtkMRMLCameraDisplayableManager"
        ).GetCameraNode()
        low, high = bounds[0::2], bounds[1::2]
        center, radius = (low + high) / 2, np.linalg.norm(high - low) / 2
        camera.GetCamera().SetViewAngle(24)
        distance = radius / np.sin(np.radians(12))
        towards = np.array(direction) / np.linalg.norm(direction)
        camera.SetFocalPoint(*center)
        camera.SetPosition(*(center + distance * towards))
        camera.SetViewUp(0, 0, 1)
        camera.ResetClippingRange()


class SliceView(_View):
    """One of Slicer's slice views, offscreen."""

    def __init__(
        self, name: str = "Yellow", orientation: str = "Sagittal", size: tuple = SIZE_SLICE
    ) -> None:
        super().__init__(size, layers=2)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        overlay = vtkRenderer()
        overlay.GetActiveCamera().ParallelProjectionOn()
        overlay.SetLayer(1)
        self.window.AddRenderer(overlay)
        application = slicer.modules.application_logic
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application)
        application.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        self.manage(factory, _MANAGERS_2D, self.node)
        self.interactor.SetInteractorStyle(vtkInteractorStyleUser())
        # The desktop draws the slice's pixels with a widget of its own; here an actor does.
        self.pixels = vtkImageMapper()
        self.pixels.SetColorWindow(255)
        self.pixels.SetColorLevel(127.5)
        actor = vtkActor2D()
        actor.SetMapper(self.pixels)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)
        self.logic.AddObserver(vtkCommand.ModifiedEvent, self._connect_pixels)

    def _connect_pixels(self, *_: object) -> None:
        self.pixels.SetInputConnection(self.logic.GetImageDataConnection())

    def show(self, volume_node: slicer.vtkMRMLScalarVolumeNode, offset_mm: float) -> None:
        """Fit a volume into the view at a slice offset."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume_node.GetID())
        self.logic.ResizeSliceNode(*self.window.GetSize())
        self.logic.FitSliceToBackground()
        self.logic.SetSliceOffset(offset_mm)
        self._connect_pixels()


def render_3d(
    path: str | Path,
    overlay: Overlay,
    size: tuple[int, int] = SIZE_3D,
    slice_of: slicer.vtkMRMLScalarVolumeNode | None = None,
) -> None:
    """Write a PNG of the colored regions in 3D with legend and labels.

    Args:
        path: the .png file; it appears whole or not at all.
        overlay: the nodes from overlay.show_results.
        size: width and height in pixels.
        slice_of: a volume whose sagittal slice through the labels stands behind the regions.

    Raises:
        headless.RuntimeMissing: pictures cannot be rendered on this machine.
    """
    view = View3D(size)
    overlay.segmentation.CreateClosedSurfaceRepresentation()
    bounds = np.zeros(6)
    overlay.segmentation.GetRASBounds(bounds)
    view.look(bounds, CAMERA_DIRECTION_RAS)
    view.save(path)


def render_slice(
    path: str | Path,
    overlay: Overlay,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    size: tuple[int, int] = SIZE_SLICE,
) -> None:
    """Write a PNG of the sagittal slice through the labels with the colored regions over it."""
    view = SliceView(size=size)
    center = np.zeros(3)
    overlay.labels.GetNthControlPointPositionWorld(0, center)
    view.show(volume_node, float(center[0]))
    view.save(path)
