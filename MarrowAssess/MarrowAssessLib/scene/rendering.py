"""Pictures of the scene, rendered offscreen through Slicer's own displayable managers.

The views carry the names of Slicer's default layout ("1", "Green", "Yellow"), so that a saved scene
opens in the desktop with the same camera, slice and background.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
from PDFFMapperLib.images.files import written_whole
from PDFFMapperLib.scene.volumes import volume_from_node, world_matrix
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

from MarrowAssessLib.report.label_layout import CORONAL, SAGITTAL, Layout
from MarrowAssessLib.scene import headless
from MarrowAssessLib.scene.overlay import Overlay, place_labels
from MarrowAssessLib.scene.segments import segment_points

SIZE_3D = (1400, 1000)
SIZE_SLICE = (1000, 1000)
SLICE_IN_3D = (700, 700)  # pixels of its texture
BACKGROUND = ((0.05, 0.06, 0.08), (0.16, 0.18, 0.22))  # bottom and top
VIEW_ANGLE_DEGREES = 20.0
DPI = 96
UP = np.array([0.0, 0.0, 1.0])
LINE_HEIGHT = 1.0  # of the labels' text, as a share of its size
LETTER_WIDTH = 0.48  # of Slicer's font, as a share of its size
LEGEND_WIDTH = 0.11  # share of the picture's width
MARGIN = 0.045  # share of the picture's height
LABELS_WIDTH = 0.5  # most that labels may take of the picture's width
TEXT_SCALE = 0.2 / 1000  # of Slicer's text (whose factor is 0.2 by default) per pixel of height
SMALLEST_TEXT = 0.6  # of its usual size, that long labels are shrunk to

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
        slice_of: a volume whose slice through the labels shows the anatomy around.
        size: width and height in pixels.

    Raises:
        headless.RuntimeMissing: pictures cannot be rendered on this machine.
    """
    overlay.segmentation.CreateClosedSurfaceRepresentation()
    view = _View3D(size)
    view.scale_text(overlay)
    _arrange_labels(overlay, *_axes_3d(overlay.layout), size)
    for name in (SAGITTAL.slice_view, CORONAL.slice_view):
        _slice_logic(name).GetSliceNode().SetSliceVisible(False)
    if slice_of is not None:
        _set_window(overlay, slice_of)
        _show_slice(overlay, slice_of, SLICE_IN_3D).GetSliceNode().SetSliceVisible(True)
    view.announce(overlay.legend)
    view.announce(overlay.key)
    view.fit(overlay)
    view.save(path)
    view.close()


def render_slice(
    path: str | Path,
    overlay: Overlay,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    size: tuple[int, int] = SIZE_SLICE,
) -> None:
    """Write a PNG of the slice through the labels with the colored regions over it.

    Raises:
        headless.RuntimeMissing: pictures cannot be rendered on this machine.
    """
    headless.require_rendering()
    _arrange_labels(overlay, np.array(overlay.layout.slice_right), UP, size)
    _set_window(overlay, volume_node)
    logic = _show_slice(overlay, volume_node, size)
    view = _SliceView(logic, size)
    view.scale_text(overlay)
    view.announce(overlay.legend)
    view.announce(overlay.key)
    view.save(path)
    view.close()


class _View:
    """An offscreen window with the displayable managers of one Slicer view."""

    def __init__(self, size: tuple[int, int]) -> None:
        headless.require_rendering()
        self.renderer = vtkRenderer()
        self.window = vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        # Multisampling doubles the time of software rendering; FXAA smooths edges almost for free.
        self.window.SetMultiSamples(0)
        self.renderer.UseFXAAOn()
        self.window.SetSize(*size)
        self.window.SetDPI(DPI)
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

    def scale_text(self, overlay: Overlay) -> None:
        self.screen_scale = self.node.GetScreenScaleFactor()
        self.node.SetScreenScaleFactor(_text_scale(overlay, self.window.GetSize()))

    def save(self, path: str | Path) -> None:
        self.window.Render()
        grab = vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.ShouldRerenderOff()
        with written_whole(path) as temporary:
            writer = vtkPNGWriter()
            writer.SetInputConnection(grab.GetOutputPort())
            writer.SetCompressionLevel(3)
            writer.SetFileName(str(temporary))
            writer.Write()

    def close(self) -> None:
        self.node.SetScreenScaleFactor(self.screen_scale)
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
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        self.manage(factory, _MANAGERS_3D, self.node)

    def fit(self, overlay: Overlay) -> None:
        """Point the camera so that regions and labels fill the window beside the legend."""
        right, up = _axes_3d(overlay.layout)
        towards = np.cross(right, up)
        frame = _frame(overlay, right, up, self.window.GetSize())
        half_height = self.window.GetSize()[1] * frame.mm_per_pixel / 2
        distance = half_height / np.tan(np.radians(VIEW_ANGLE_DEGREES / 2))
        manager = self.managers.GetDisplayableManagerByClassName("vtkMRMLCameraDisplayableManager")
        camera = manager.GetCameraNode()
        camera.SetViewAngle(VIEW_ANGLE_DEGREES)
        camera.SetFocalPoint(*frame.center)
        camera.SetPosition(*(frame.center + distance * towards))
        camera.SetViewUp(0, 0, 1)
        self.renderer.ResetCameraClippingRange()


class _SliceView(_View):
    """A slice view, offscreen."""

    def __init__(self, logic: slicer.vtkMRMLSliceLogic, size: tuple[int, int]) -> None:
        super().__init__(size)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        self.node = logic.GetSliceNode()
        self.node.SetOrientationMarkerType(self.node.OrientationMarkerTypeAxes)
        self.node.SetOrientationMarkerSize(self.node.OrientationMarkerSizeSmall)
        self.node.SetRulerType(self.node.RulerTypeThin)
        # The desktop draws the slice's pixels with a widget of its own; here an actor does, added
        # before the managers so that the segments' colors blend with it.
        pixels = vtkImageMapper()
        pixels.SetColorWindow(255)
        pixels.SetColorLevel(127.5)
        pixels.SetInputConnection(logic.GetImageDataConnection())
        actor = vtkActor2D()
        actor.SetMapper(pixels)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)
        self.manage(factory, _MANAGERS_2D, self.node)
        self.interactor.SetInteractorStyle(vtkInteractorStyleUser())


def _show_slice(
    overlay: Overlay, volume_node: slicer.vtkMRMLScalarVolumeNode, size: tuple[int, int]
) -> slicer.vtkMRMLSliceLogic:
    """The slice through the labels in Slicer's view of that orientation, framing the regions."""
    logic = _slice_logic(overlay.layout.slice_view)
    node = logic.GetSliceNode()
    node.SetOrientation(overlay.layout.name.capitalize())
    logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume_node.GetID())
    logic.ResizeSliceNode(*size)
    frame = _frame(overlay, np.array(overlay.layout.slice_right), UP, size)
    across, down = (pixels * frame.mm_per_pixel for pixels in size)
    node.SetFieldOfView(across, down, node.GetFieldOfView()[2])
    center, labels = frame.center.copy(), _label_points(overlay)
    if len(labels):
        center[overlay.layout.normal] = labels[0, overlay.layout.normal]
    node.JumpSliceByCentering(*center)
    return logic


def _slice_logic(view_name: str) -> slicer.vtkMRMLSliceLogic:
    return headless.application_logic().GetSliceLogicByLayoutName(view_name)


def _set_window(overlay: Overlay, volume_node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Set window and level so that the regions come out mid-gray, however bright the fat is."""
    volume = volume_from_node(volume_node)
    segmentation = overlay.segmentation.GetSegmentation()
    to_world = world_matrix(overlay.segmentation)
    values = []
    for segment_id in segmentation.GetSegmentIDs():
        points = segment_points(segmentation.GetSegment(segment_id))[::7]
        ijk = np.rint(volume.ras_to_ijk(points @ to_world[:3, :3].T + to_world[:3, 3])).astype(int)
        i, j, k = ijk[((ijk >= 0) & (ijk < volume.array.shape[::-1])).all(axis=1)].T
        values.append(volume.array[k, j, i].astype(float))
    inside = np.concatenate(values) if values else np.zeros(0)
    inside = inside[np.isfinite(inside)]
    if not inside.size:
        return
    dark, bright = min(0.0, float(inside.min())), float(np.percentile(inside, 99))
    display = volume_node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(dark, dark + max(1.7 * (bright - dark), 1e-6))


@dataclass
class _Frame:
    """The part of a plane that a window shows: its center (RAS mm) and scale."""

    center: np.ndarray
    mm_per_pixel: float


def _frame(overlay: Overlay, right: np.ndarray, up: np.ndarray, size: tuple[int, int]) -> _Frame:
    """Regions and labels as large as fits between the legend on the left and the window's edges.

    Labels keep their size in pixels: what they need is taken from the width before scaling.
    """
    width, height = size
    legend, margin = LEGEND_WIDTH * width, MARGIN * height
    label_width = _label_width(overlay, _text_scale(overlay, size))
    points = np.concatenate([_corners(_bounds(overlay)), _label_points(overlay)])
    x, y = points @ right, points @ up
    free = max(width - legend - 2 * margin - label_width, 0.1 * width)
    mm_per_pixel = max(np.ptp(x) / free, np.ptp(y) / (height - 2 * margin))
    block = np.ptp(x) / mm_per_pixel + label_width
    left = legend + max(0.0, (width - legend - block) / 2)
    center_x = x.min() + (width / 2 - left) * mm_per_pixel
    forward = np.cross(right, up)
    depth = float((points @ forward).mean())
    center = right * center_x + up * (y.max() + y.min()) / 2 + forward * depth
    return _Frame(center, float(mm_per_pixel))


def _axes_3d(layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """The window's right and up directions (RAS) as the 3D camera sees them."""
    towards = np.array(layout.camera) / np.linalg.norm(layout.camera)
    right = np.cross(UP, towards)
    right /= np.linalg.norm(right)
    return right, np.cross(towards, right)


def _arrange_labels(
    overlay: Overlay, right: np.ndarray, up: np.ndarray, size: tuple[int, int]
) -> None:
    """Keep the labels apart by what their lines take at this picture's scale."""
    labels = overlay.labels
    texts = [labels.GetNthControlPointLabel(n) for n in range(labels.GetNumberOfControlPoints())]
    lines = max((len(text.splitlines()) for text in texts), default=1)
    pixels = (lines * LINE_HEIGHT + 0.3) * _letter_size(overlay, _text_scale(overlay, size))
    for _ in range(2):  # spread labels may need a smaller scale, and so more millimeters
        frame = _frame(overlay, right, up, size)
        place_labels(overlay, pixels * frame.mm_per_pixel)


def _text_scale(overlay: Overlay, size: tuple[int, int]) -> float:
    """Screen scale factor at which the labels suit the picture's size and leave room beside."""
    width, height = size
    usual = TEXT_SCALE * height
    widest = _label_width(overlay, usual)
    return usual * np.clip(LABELS_WIDTH * width / max(widest, 1.0), SMALLEST_TEXT, 1.0)


def _label_width(overlay: Overlay, scale_factor: float) -> float:
    """About the pixels that the widest label takes at a screen scale factor."""
    labels = overlay.labels
    texts = [labels.GetNthControlPointLabel(n) for n in range(labels.GetNumberOfControlPoints())]
    longest = max((len(line) for text in texts for line in text.splitlines()), default=0)
    return LETTER_WIDTH * longest * _letter_size(overlay, scale_factor)


def _letter_size(overlay: Overlay, scale_factor: float) -> float:
    """Pixels of the labels' font size at a screen scale factor."""
    display = overlay.labels.GetDisplayNode()
    # As vtkSlicerMarkupsWidgetRepresentation sets the size of its text.
    points = display.GetTextProperty().GetFontSize() * display.GetTextScale() * scale_factor * 5
    return points * DPI / 72


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
