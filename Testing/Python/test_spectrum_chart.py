"""A fitted spectrum in the Slicer scene."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from MarrowAssessLib.scene import headless

headless.start()

import slicer  # noqa: E402
from MarrowAssessLib.scene.spectrum_box import show_boxes  # noqa: E402
from MarrowAssessLib.scene.spectrum_chart import spectrum_charts  # noqa: E402
from MarrowAssessLib.scene.tables import chart_series, remove_chart  # noqa: E402
from PDFFMapperLib.spectroscopy.fit import fit  # noqa: E402
from PDFFMapperLib.spectroscopy.model import Choice  # noqa: E402
from PDFFMapperLib.spectroscopy.simulate import Truth, simulated  # noqa: E402
from vtkmodules.vtkCommonMath import vtkMatrix4x4  # noqa: E402


def test_a_spectrum_is_a_chart_of_data_fit_components_and_residual():
    slicer.mrmlScene.Clear(False)
    rng = np.random.default_rng(0)
    fitted = fit(simulated(Truth(40.0), [20.0, 30.0], 400, rng), Choice())
    charts = spectrum_charts("L3", fitted)
    assert [one.GetTitle() for one in charts] == [
        "Spectrum of L3, TE 20 ms", "Spectrum of L3, TE 30 ms",
    ]  # fmt: skip
    series = chart_series(charts[0])
    assert [s.GetName() for s in series] == ["measured", "water", "fat", "fit", "residual"]
    assert {s.GetXColumnName() for s in series} == {"Shift"}
    assert len({s.GetColor() for s in series}) == 5
    table = series[0].GetTableNode()
    assert table.GetColumnUnitLabel("Shift") == "ppm" and table.GetLocked()

    def column(name):
        values = table.GetTable().GetColumnByName(name)
        return np.array([values.GetValue(n) for n in range(values.GetNumberOfTuples())])

    ppm = column("Shift")
    fat = np.abs(ppm - 1.3) < 0.2
    assert ppm[np.argmax(column("fat"))] == pytest.approx(1.3, abs=0.1)
    assert ppm[np.argmax(column("water"))] == pytest.approx(4.67, abs=0.15)
    assert column("fit") == pytest.approx(column("water") + column("fat"))
    left = column("measured") - column("fit")
    shift = column("residual") - left
    assert shift == pytest.approx(np.full(len(ppm), shift[0])) and shift[0] < 0
    assert np.abs(left[fat]).max() < 0.15  # noise, not a peak
    for one in charts:
        remove_chart(one)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0


def test_the_voxel_of_a_spectrum_is_a_box_in_the_frame_of_the_image():
    slicer.mrmlScene.Clear(False)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    oblique = np.eye(4)
    oblique[:3, :3] = turn * (12.0, -15.0, 18.0)  # of left hand, as scanners may write it
    oblique[:3, 3] = 5.0, -20.0, 40.0
    spectra = {"L3": SimpleNamespace(voxel_ras=oblique), "L4": SimpleNamespace(voxel_ras=None)}
    (box,) = show_boxes(segmentation, spectra)
    assert box.GetSize() == pytest.approx((12.0, 15.0, 18.0)) and box.GetLocked()
    assert box.GetCenterWorld() == pytest.approx((5.0, -20.0, 40.0))
    matrix = vtkMatrix4x4()
    matrix.DeepCopy(box.GetObjectToWorldMatrix())
    to_world = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
    assert np.linalg.det(to_world) == pytest.approx(1.0)
    corner = np.linalg.solve(to_world, oblique @ (0.5, 0.5, 0.5, 1.0))
    assert np.abs(corner[:3]) == pytest.approx([6.0, 7.5, 9.0])
    oblique[:3, 3] = 6.0, -20.0, 40.0
    assert show_boxes(segmentation, spectra) == [box]  # it moves with the next assessment
    assert box.GetCenterWorld() == pytest.approx((6.0, -20.0, 40.0))
    assert show_boxes(segmentation, {}) == []
    for kind in ("vtkMRMLMarkupsROINode", "vtkMRMLMarkupsROIDisplayNode"):
        assert slicer.mrmlScene.GetNumberOfNodesByClass(kind) == 0
