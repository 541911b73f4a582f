"""A spectrum as nodes of the Slicer scene: data, fit, components and residual of each echo time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import slicer
from PDFFMapperLib.scene.tables import Column, table_to_node

from MarrowAssessLib.scene.plots import hex_color, line_series, new_chart
from MarrowAssessLib.scene.shown import SPECTRUM_ATTRIBUTE

if TYPE_CHECKING:  # opening a panel waits for no fit
    from PDFFMapperLib.spectroscopy.fit import Fitted

_CONTENT = "MarrowAssess.spectrum.content"
SHIFT = "Shift"
RESIDUAL_COLOR = "#666666"
BELOW = 0.12  # of the highest peak, how far the residual is drawn below the spectrum


def spectrum_charts(site: str, fitted: Fitted) -> list[slicer.vtkMRMLPlotChartNode]:
    """Add a table and a chart for each echo time of a fitted spectrum; each knows its site.

    The shift runs upward to the right, since Slicer's charts cannot turn an axis.

    Args:
        site: such as "L3".
        fitted: see PDFFMapperLib.spectroscopy.fit.
    """
    charts = [
        _chart(f"Spectrum of {site}", fitted, k) for k in range(len(fitted.model.series.fids))
    ]
    for chart in charts:
        chart.SetAttribute(SPECTRUM_ATTRIBUTE, site)
        chart.SetAttribute(_CONTENT, _content(fitted))
    return charts


def shows_spectrum(chart: slicer.vtkMRMLPlotChartNode, site: str, fitted: Fitted) -> bool:
    """Whether a chart is of this very spectrum."""
    known = chart.GetAttribute(SPECTRUM_ATTRIBUTE), chart.GetAttribute(_CONTENT)
    return known == (site, _content(fitted))


def _content(fitted: Fitted) -> str:
    return hashlib.sha256(fitted.model.series.fids.tobytes()).hexdigest()


def _chart(name: str, fitted: Fitted, k: int) -> slicer.vtkMRMLPlotChartNode:
    from PDFFMapperLib.spectroscopy.plot import COLORS, curves

    one = curves(fitted, k)
    title = f"{name}, TE {one.te_ms:g} ms"
    lowest = min(0.0, float(one.measured.min()), float(one.fit.min()))
    lines = {
        "measured": one.measured,
        "water": one.water,
        "fat": one.fat,
        "fit": one.fit,
        "residual": one.residual + lowest - BELOW,
    }
    columns = [Column(SHIFT, one.ppm.tolist(), "ppm")]
    columns += [Column(key, values.tolist()) for key, values in lines.items()]
    table = table_to_node(title, columns)
    table.SetLocked(True)
    chart = new_chart(title, "Chemical shift (ppm)", "Signal over its highest; residual below")
    for key in lines:
        series = line_series(key, table, key, SHIFT)
        series.SetColor(*hex_color(COLORS.get(key, RESIDUAL_COLOR)))
        series.SetLineWidth(3 if key == "measured" else 2)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart
