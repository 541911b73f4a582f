"""Charts and their lines as nodes of the Slicer scene."""

from __future__ import annotations

import slicer

TITLE_FONT, TEXT_FONT = 15, 12
LEGEND_FONT = 9  # the legend stands beside a plot that is a quarter of the window


def hex_color(color: str) -> tuple[float, ...]:
    """Red, green and blue (0-1) of a color written "#rrggbb"."""
    return tuple(int(color[k : k + 2], 16) / 255 for k in (1, 3, 5))


def new_chart(title: str, across: str, up: str, name: str = "") -> slicer.vtkMRMLPlotChartNode:
    """Add a chart without lines; `across` and `up` name its axes, `name` the node."""
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", name or title)
    chart.SetTitle(title)
    chart.SetXAxisTitle(across)
    chart.SetYAxisTitle(up)
    chart.SetTitleFontSize(TITLE_FONT)
    chart.SetAxisTitleFontSize(TEXT_FONT)
    chart.SetLegendFontSize(LEGEND_FONT)
    return chart


def line_series(
    name: str, table: slicer.vtkMRMLTableNode, column: str, over: str = "Age"
) -> slicer.vtkMRMLPlotSeriesNode:
    """A line of a table's column over another one."""
    series = plot_series(name, table, column, over)
    series.SetPlotType(series.PlotTypeScatter)
    series.SetMarkerStyle(series.MarkerStyleNone)
    return series


def plot_series(
    name: str, table: slicer.vtkMRMLTableNode, column: str, over: str = "Age"
) -> slicer.vtkMRMLPlotSeriesNode:
    """A series of a table's column over another one."""
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(over)
    series.SetYColumnName(column)
    return series
