"""Clicks into a view, by real mouse events through Slicer's own markups interaction.

The views, logics and nodes are slicer-core's; the panel's widgets are stand-ins.
"""

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

import slicer
from MarrowAssessLib.scene import headless

needs_rendering = pytest.mark.skipif(
    not headless.rendering_available(),
    reason=f"no working EGL here. {headless.INSTALL_RENDERING}",
)
pytestmark = [pytest.mark.usefixtures("desktop"), needs_rendering]

# What is clicked one after the other: segments of the sample.
CLICKED = {
    "marrow": ["L3 marrow", "L2 marrow", "L4 marrow"],
    "disc": ["L3-L4 disc", "L2-L3 disc", "L1-L2 disc"],
    "muscle": ["left psoas muscle", "right erector spinae muscle", "right psoas muscle"],
    "csf": ["L3 CSF", "L1 CSF"],
    "fat": ["fat", "fat"],
    "noise": ["fat", "fat"],  # moved behind the back, into air
}


@pytest.fixture
def view(sample):
    from slice_view import SliceView

    made = SliceView(sample.volumes["T1"], sample.centers_ras["L3"])
    yield made
    made.close()


@pytest.mark.parametrize("labels", [True, False], ids=["labels", "no labels"])
@pytest.mark.parametrize("role", CLICKED)
def test_every_click_draws_a_region(panel, sample, view, desktop, role, labels):
    panel.enter()
    parameters = panel._parameterNode
    parameters.segmentation = panel.logic.addSegmentation(sample.volumes["T1"])
    parameters.showOverlay, parameters.placeRole = labels, role
    panel.ui.placeButton.checked = True
    drawn = parameters.segmentation.GetSegmentation()
    apart = np.array([0.0, -12.0, 0.0]) if role == "noise" else np.zeros(3)
    for number, name in enumerate(CLICKED[role], start=1):
        point = np.array(sample.segmentation.GetSegmentCenterRAS(name)) + apart
        view.press(point + [0.0, 0.0, 3.0 * number if role in ("fat", "noise") else 0.0])
        desktop.wait(0.05)
        assert drawn.GetNumberOfSegments() == number, panel.ui.placingLabel.text
        assert panel.ui.placeButton.checked
    assert not slicer.mrmlScene.GetNodesByName("MarrowAssess labels-2").GetNumberOfItems()


def test_a_right_click_ends_placing(panel, sample, view, desktop):
    panel.enter()
    panel.ui.placeButton.checked = True
    view.press(sample.centers_ras["L3"], "Right")
    desktop.wait(0.05)
    assert not panel.ui.placeButton.checked and not panel.placing.clicks.active


def test_a_list_that_the_user_was_placing_stays_the_active_one(sample):
    from MarrowAssessLib.scene.click_mode import clicks_stay

    logic, selection = slicer.modules.markups.logic(), headless.application_logic()
    selection = selection.GetSelectionNode()
    mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "mine")
    logic.SetActiveList(mine)
    with clicks_stay():
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "ours")
    assert selection.GetActivePlaceNodeID() == mine.GetID()
