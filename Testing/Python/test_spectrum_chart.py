"""A fitted spectrum in the Slicer scene."""

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from MarrowAssessLib.scene import headless

headless.start()

import slicer  # noqa: E402
from MarrowAssessLib.scene.spectrum_chart import spectrum_charts  # noqa: E402
from MarrowAssessLib.scene.tables import chart_series, remove_chart  # noqa: E402
from PDFFMapperLib.spectroscopy.fit import fit  # noqa: E402
from PDFFMapperLib.spectroscopy.model import Choice  # noqa: E402
from PDFFMapperLib.spectroscopy.simulate import Truth, simulated  # noqa: E402


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
