"""Age curves as nodes of the Slicer scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import slicer
from PDFFMapperLib.scene.tables import Column, column_array, table_to_node

from MarrowAssessLib.report.colors import FREQUENCY_COLOR, MODEL_COLOR, SOURCE_COLORS
from MarrowAssessLib.scene.plots import hex_color, line_series, new_chart, plot_series
from MarrowAssessLib.scene.shown import PERSON

if TYPE_CHECKING:  # opening a panel waits for none of it
    from MarrowAssessLib.references.sources import Outline

# The shapes of five markers say the same as their colors: points of one age stand above each
# other, and their names in the legend.
POINT_COLORS = (*(SOURCE_COLORS[n] for n in (1, 0, 2, 3)), "#000000")
POINT_SIZE = 11
OUTLINE_WIDTH = 1.5  # pixels; of thinner lines Slicer 5.10 leaves some out
TWICE = 2  # VTK complains of lines of one point, also where no line is drawn


@dataclass
class AgePoint:
    """One of the patient's values.

    Attributes:
        label: where it was measured, such as "L3".
        age_years: of the patient.
        value: on the vertical axis.
        text: as people read it, such as "22.0 %".
    """

    label: str
    age_years: float
    value: float
    text: str


@dataclass
class AgeChart:
    """What is expected over age, and the patient's values on it.

    Attributes:
        title: such as "Marrow PDFF, lumbar".
        axis: the vertical axis with its unit, such as "PDFF (%)".
        ages: (n,) years.
        percentiles: percentile (5, 50 ...) to its (n,) values; NaN where there is no reference.
        points: the patient's.
        sources: what is drawn beside the curve: groups' ranges, counted findings, the model.
    """

    title: str
    axis: str
    ages: np.ndarray
    percentiles: dict[float, np.ndarray]
    points: list[AgePoint]
    sources: Sequence[Outline] = ()


def age_chart_to_node(curve: AgeChart) -> slicer.vtkMRMLPlotChartNode:
    """Add an age curve as tables, plot series and a chart: percentile lines, sources, patient."""
    chart = new_chart(curve.title, "Age (years)", curve.axis)
    for series in [*_percentile_series(curve), *_source_series(curve)]:
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    set_points(chart, curve.points)
    return chart


def set_points(chart: slicer.vtkMRMLPlotChartNode, points: Sequence[AgePoint]) -> None:
    """Show the patient's values on a chart, in the place of those it showed before.

    Each is a series of its own, so that the legend names it, in the order in which they are given.
    """
    table = chart.GetNodeReference(PERSON) or _person_table(chart)
    for series in _point_series(chart)[len(points) :]:
        chart.RemovePlotSeriesNodeID(series.GetID())
        slicer.mrmlScene.RemoveNode(series)
    _set_columns(table, points)
    shown = _point_series(chart)
    for number, point in enumerate(points):
        series = shown[number] if number < len(shown) else _add_point(chart, table, number)
        series.SetName(f"{point.label}  {point.text}".strip())
    table.Modified()


def chart_series(chart: slicer.vtkMRMLPlotChartNode) -> list[slicer.vtkMRMLPlotSeriesNode]:
    """The lines and points of a chart."""
    return [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]


def remove_chart(chart: slicer.vtkMRMLPlotChartNode) -> None:
    """Remove a chart with its lines, points and tables."""
    series = chart_series(chart)
    tables = {one.GetTableNode() for one in series}
    for node in [chart, *series, *tables]:
        slicer.mrmlScene.RemoveNode(node)


def _person_table(chart: slicer.vtkMRMLPlotChartNode) -> slicer.vtkMRMLTableNode:
    """The table of the patient's values, which a chart has not had."""
    table = table_to_node(f"{chart.GetTitle()} patient", [Column("Age", TWICE * [0.0], "years")])
    chart.SetNodeReferenceID(PERSON, table.GetID())
    return table


def _set_columns(table: slicer.vtkMRMLTableNode, points: Sequence[AgePoint]) -> None:
    """A column for the ages and one for each value; nodes are kept, as new ones cost more."""
    while table.GetNumberOfColumns() > len(points) + 1:
        table.RemoveColumn(table.GetNumberOfColumns() - 1)
    for number in range(table.GetNumberOfColumns(), len(points) + 1):
        array, kind = column_array(TWICE * [0.0])
        array.SetName(f"Value {number}")
        table.AddColumn(array)
        table.SetColumnType(array.GetName(), kind)
    values = table.GetTable()
    for number, point in enumerate(points, 1):
        table.SetColumnDescription(f"Value {number}", point.label)
        for row in range(TWICE):
            values.GetColumn(0).SetValue(row, point.age_years)
            values.GetColumn(number).SetValue(row, point.value)
    values.Modified()


def _add_point(
    chart: slicer.vtkMRMLPlotChartNode, table: slicer.vtkMRMLTableNode, number: int
) -> slicer.vtkMRMLPlotSeriesNode:
    """The marker of one more of the patient's values."""
    series = plot_series(table.GetColumnName(number + 1), table, table.GetColumnName(number + 1))
    series.SetPlotType(series.PlotTypeScatter)
    series.SetLineStyle(series.LineStyleNone)
    markers = (
        series.MarkerStyleCircle,
        series.MarkerStyleSquare,
        series.MarkerStyleDiamond,
        series.MarkerStylePlus,
        series.MarkerStyleCross,
    )
    turn = number // len(POINT_COLORS)  # another shape for a color that comes again
    series.SetMarkerStyle(markers[(number + turn) % len(markers)])
    series.SetMarkerSize(POINT_SIZE)
    series.SetColor(*hex_color(POINT_COLORS[number % len(POINT_COLORS)]))
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return series


def _point_series(chart: slicer.vtkMRMLPlotChartNode) -> list[slicer.vtkMRMLPlotSeriesNode]:
    table = chart.GetNodeReference(PERSON)
    return [series for series in chart_series(chart) if series.GetTableNode() is table]


def _percentile_series(curve: AgeChart) -> list[slicer.vtkMRMLPlotSeriesNode]:
    bands = sorted(curve.percentiles)
    if not bands:
        return []
    table = table_to_node(
        f"{curve.title} reference",
        [Column("Age", [float(age) for age in curve.ages], "years")]
        + [Column(f"P{p:g}", [float(v) for v in curve.percentiles[p]]) for p in bands],
    )
    found = []
    for percentile in reversed(bands):  # the legend names them as they lie above each other
        # The further from the median, the fainter: the nested bands read as one distribution.
        distance = abs(percentile - 50) / 50
        series = line_series(f"P{percentile:g}", table, f"P{percentile:g}")
        series.SetLineStyle(series.LineStyleSolid if distance == 0 else series.LineStyleDash)
        series.SetLineWidth(3 if distance == 0 else 2)
        series.SetColor(*(0.20 + 0.45 * distance,) * 3)
        found.append(series)
    return found


def _source_series(curve: AgeChart) -> list[slicer.vtkMRMLPlotSeriesNode]:
    """A thin outline in a color of its own for each source."""
    from MarrowAssessLib.references.sources import COUNTED, MODEL

    found = []
    for n, one in enumerate(curve.sources):
        columns = [Column("Age", list(one.ages), "years"), Column("Value", list(one.values))]
        series = line_series(
            one.label, table_to_node(f"{curve.title}, {one.label}", columns), "Value"
        )
        series.SetLineStyle(series.LineStyleDot if one.kind == MODEL else series.LineStyleSolid)
        series.SetLineWidth(OUTLINE_WIDTH)
        color = {COUNTED: FREQUENCY_COLOR, MODEL: MODEL_COLOR}.get(one.kind)
        color = color or SOURCE_COLORS[n % len(SOURCE_COLORS)]
        series.SetColor(*hex_color(color))
        found.append(series)
    return found
