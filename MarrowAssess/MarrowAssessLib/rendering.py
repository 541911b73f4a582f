"""Pictures of the scene, rendered offscreen through Slicer's own displayable managers.

The views carry the names of Slicer's default layout ("1", "Yellow"), so that a saved scene opens
in the desktop with the same camera, slice and background.
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
SLICE_IN_3D = (700, 700)  # pixels of its texture
BACKGROUND = ((0.05, 0.06, 0.08), (0.16, 0.18, 0.22))  # bottom and top
# From the patient's left, somewhat in front and above: front is left, as in sagittal slices.
CAMERA_DIRECTION_RAS = (-0.80, 0.56, 0.22)
VIEW_ANGLE_DEGREES = 20.0
SMOOTHING = 0.8  # of segment surfaces, 0-1: hides the steps of thick slices
LEGEND_WIDTH_PIXELS = 170
MARGIN_PIXELS = 45

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


def render_3d(
    path: str | Path,
    overlay: Overlay,
    slice_of: slicer.vtkMRMLScalarVolumeNode | None = None,
    size: tuple[int, int] = SIZE_3D,
) -> None:
    """Write a PNG of the colored regions in 3D with legend and labels.

    Args:
        path: the .png file; it appears whole or not at all.
        overlay: the nodes from overlay.show_results.
        slice_of: a volume whose sagittal slice through the labels shows the anatomy around.
        size: width and height in pixels.

    Raises:
        headless.RuntimeMissing: pictures cannot be rendered on this machine.
    """
    view = _View3D(size)
    segmentation = overlay.segmentation.GetSegmentation()
    segmentation.SetConversionParameter("Smoothing factor", str(SMOOTHING))
    overlay.segmentation.RemoveClosedSurfaceRepresentation()
    overlay.segmentation.CreateClosedSurfaceRepresentation()
    if slice_of is not None:
        _show_slice(overlay, slice_of, SLICE_IN_3D)
    view.announce(overlay.legend)
    view.fit(_corners(_bounds(overlay)), _label_points(overlay), _label_width(overlay, view.node))
    view.save(path)
    view.close()


def render_slice(
    path: str | Path,
    overlay: Overlay,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    size: tuple[int, int] = SIZE_SLICE,
) -> None:
    """Write a PNG of the sagittal slice through the labels with the colored regions over it.

    Raises:
        headless.RuntimeMissing: pictures cannot be rendered on this machine.
    """
    headless.require_rendering()
    logic = _show_slice(overlay, volume_node, size)
    view = _SliceView(logic, size)
    view.announce(overlay.legend)
    view.save(path)
    view.close()


class _View:
    """An offscreen window with the displayable managers of one Slicer view."""

    def __init__(self, size: tuple[int, int]) -> None:
        headless.require_rendering()
        self.renderer = vtkRenderer()
        self.window = vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(4)
        self.window.SetSize(*size)
        self.window.SetDPI(96)
        self.window.SetNumberOfLayers(2)  # the legend has its own
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

    def announce(self, node: slicer.vtkMRMLNode) -> None:
        """Tell this view's managers of a node that was in the scene before them.

        The color legend's manager looks for legends only when they are added.
        """
        slicer.mrmlScene.InvokeEvent(slicer.vtkMRMLScene.NodeAddedEvent, node)

    def save(self, path: str | Path) -> None:
        self.window.Render()
        grab = vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.ShouldRerenderOff()
        with written_whole(path) as temporary:
            writer = vtkPNGWriter()
            writer.SetInputConnection(grab.GetOutputPort())
            writer.SetFileName(str(temporary))
            writer.Write()

    def close(self) -> None:
        self.managers.SetMRMLDisplayableNode(None)
        self.window.Finalize()


class _View3D(_View):
    """Slicer's first 3D view, offscreen."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__(size)
        self.node = slicer.mrmlScene.GetSingletonNode("1", "vtkMRMLViewNode")
        self.node.SetBackgroundColor(*BACKGROUND[0])
        self.node.SetBackgroundColor2(*BACKGROUND[1])
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        self.node.SetOrientationMarkerType(self.node.OrientationMarkerTypeAxes)
        self.node.SetOrientationMarkerSize(self.node.OrientationMarkerSizeSmall)
        self.renderer.SetUseDepthPeeling(True)
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        self.manage(factory, _MANAGERS_3D, self.node)

    def fit(self, points: np.ndarray, anchors: np.ndarray, label_width: float) -> None:
        """Fill the window with points and labels, right of the legend.

        Args:
            points: (n, 3) RAS mm that must be seen.
            anchors: (m, 3) where the labels begin.
            label_width: pixels that the widest label takes to the right of its anchor.
        """
        width, height = self.window.GetSize()
        towards = np.array(CAMERA_DIRECTION_RAS) / np.linalg.norm(CAMERA_DIRECTION_RAS)
        right = np.cross([0, 0, 1.0], towards)
        right /= np.linalg.norm(right)
        up = np.cross(towards, right)
        seen = np.concatenate([points, anchors])
        x, y = seen @ right, seen @ up
        # Labels keep their size in pixels: what they need is taken from the width before scaling.
        reach = max(float(x.max()), float((anchors @ right).max()) if len(anchors) else -np.inf)
        free = width - LEGEND_WIDTH_PIXELS - 2 * MARGIN_PIXELS - label_width
        mm_per_pixel = max(
            (reach - x.min()) / max(free, 100.0), np.ptp(y) / (height - 2 * MARGIN_PIXELS)
        )
        # The block of anatomy and labels stands in the middle of what the legend leaves.
        block = (reach - x.min()) / mm_per_pixel + label_width
        left = LEGEND_WIDTH_PIXELS + (width - LEGEND_WIDTH_PIXELS - block) / 2
        center_x = x.min() + (width / 2 - left) * mm_per_pixel
        center_y = (y.max() + y.min()) / 2
        focus = right * center_x + up * center_y + towards * float((seen @ towards).mean())
        distance = height * mm_per_pixel / 2 / np.tan(np.radians(VIEW_ANGLE_DEGREES / 2))
        manager = self.managers.GetDisplayableManagerByClassName("vtkMRMLCameraDisplayableManager")
        camera = manager.GetCameraNode()
        camera.SetViewAngle(VIEW_ANGLE_DEGREES)
        camera.SetFocalPoint(*focus)
        camera.SetPosition(*(focus + distance * towards))
        camera.SetViewUp(0, 0, 1)
        self.renderer.ResetCameraClippingRange()


class _SliceView(_View):
    """A slice view, offscreen."""

    def __init__(self, logic: slicer.vtkMRMLSliceLogic, size: tuple[int, int]) -> None:
        super().__init__(size)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        node = logic.GetSliceNode()
        node.SetOrientationMarkerType(node.OrientationMarkerTypeAxes)
        node.SetOrientationMarkerSize(node.OrientationMarkerSizeSmall)
        node.SetRulerType(node.RulerTypeThin)
        self.manage(factory, _MANAGERS_2D, node)
        self.interactor.SetInteractorStyle(vtkInteractorStyleUser())
        # The desktop draws the slice's pixels with a widget of its own; here an actor does.
        pixels = vtkImageMapper()
        pixels.SetColorWindow(255)
        pixels.SetColorLevel(127.5)
        pixels.SetInputConnection(logic.GetImageDataConnection())
        actor = vtkActor2D()
        actor.SetMapper(pixels)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)


def _show_slice(
    overlay: Overlay, volume_node: slicer.vtkMRMLScalarVolumeNode, size: tuple[int, int]
) -> slicer.vtkMRMLSliceLogic:
    """The sagittal slice ("Yellow") through the labels, framing the regions."""
    logic = slicer.modules.application_logic.GetSliceLogicByLayoutName("Yellow")
    node = logic.GetSliceNode()
    node.SetOrientation("Sagittal")
    logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume_node.GetID())
    logic.ResizeSliceNode(*size)
    logic.FitSliceToBackground()
    bounds = _bounds(overlay)
    center = (bounds[0::2] + bounds[1::2]) / 2
    labels = _label_points(overlay)
    node.JumpSlice(labels[0, 0] if len(labels) else center[0], center[1], center[2])
    node.SetSliceVisible(True)
    return logic


def _bounds(overlay: Overlay) -> np.ndarray:
    bounds = np.zeros(6)
    overlay.segmentation.GetRASBounds(bounds)
    return bounds


def _corners(bounds: np.ndarray) -> np.ndarray:
    return np.array(
        [[r, a, s] for r in bounds[0:2] for a in bounds[2:4] for s in bounds[4:6]], float
    )


def _label_points(overlay: Overlay) -> np.ndarray:
    points = np.zeros((overlay.labels.GetNumberOfControlPoints(), 3))
    for n, point in enumerate(points):
        overlay.labels.GetNthControlPointPositionWorld(n, point)
    return points


def _label_width(overlay: Overlay, view_node: slicer.vtkMRMLViewNode) -> float:
    """About the pixels of the widest label; letters of Slicer's font are half as wide as high."""
    labels, display = overlay.labels, overlay.labels.GetDisplayNode()
    # As vtkSlicerMarkupsWidgetRepresentation sets the size of its text.
    scale = display.GetTextScale() * view_node.GetScreenScaleFactor() * 5
    high = display.GetTextProperty().GetFontSize() * scale
    texts = [labels.GetNthControlPointLabel(n) for n in range(labels.GetNumberOfControlPoints())]
    longest = max((len(line) for text in texts for line in text.splitlines()), default=0)
    return 0.5 * high * longest
