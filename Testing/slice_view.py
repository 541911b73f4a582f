"""A slice view of the scene that takes real mouse events, offscreen."""

import numpy as np
import slicer
from MarrowAssessLib.scene import headless
from MarrowAssessLib.scene.rendering import _SliceView


class SliceView:
    """Slicer's sagittal view with its displayable managers and interaction."""

    def __init__(self, volume_node, center_ras, size=(400, 400)):
        logic = headless.application_logic().GetSliceLogicByLayoutName("Yellow")
        self.node = logic.GetSliceNode()
        self.node.SetOrientation("Sagittal")
        logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume_node.GetID())
        logic.ResizeSliceNode(*size)
        logic.FitSliceToAll()
        self.node.JumpSliceByCentering(*center_ras)
        self.view = _SliceView(logic, size)
        self.style = slicer.vtkMRMLSliceViewInteractorStyle()
        self.style.SetDisplayableManagers(self.view.managers)
        self.style.SetSliceLogic(logic)
        self.style.SetInteractor(self.view.interactor)
        self.view.window.Render()

    def press(self, point_ras, button="Left"):
        """Move the mouse to a point, having brought its slice up, and press a button there."""
        self.node.JumpSliceByOffsetting(*point_ras)
        to_ras = self.node.GetXYToRAS()
        matrix = [[to_ras.GetElement(row, column) for column in range(4)] for row in range(4)]
        x, y = np.rint(np.linalg.inv(matrix) @ [*point_ras, 1.0])[:2].astype(int)
        interactor = self.view.interactor
        interactor.SetEventInformation(int(x), int(y))
        for event in ("Enter", "MouseMove", f"{button}ButtonPress", f"{button}ButtonRelease"):
            interactor.InvokeEvent(f"{event}Event")

    def close(self):
        """Release the window."""
        self.style.SetInteractor(None)
        self.view.managers.SetMRMLDisplayableNode(None)
        self.view.window.Finalize()
