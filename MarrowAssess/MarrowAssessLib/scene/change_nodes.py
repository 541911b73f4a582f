"""What changed since an earlier visit, as a table and charts of the scene."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
from PDFFMapperLib.scene.folders import put_beside
from PDFFMapperLib.scene.tables import Column, table_to_node

from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.follow_up.change import NOT_COMPARABLE, Change
from MarrowAssessLib.scene.plots import line_series, new_chart
from MarrowAssessLib.scene.shown import referred
from MarrowAssessLib.scene.tables import chart_series, remove_chart

TABLE, CHART = "MarrowAssess.changes", "MarrowAssess.change.chart"
LINES = "MarrowAssess.lines"  # attribute of a chart: its quantity and sites
DAY = "Day"


def show_changes(segmentation: slicer.vtkMRMLSegmentationNode, changes: Sequence[Change]) -> None:
    """Show changes as a table and one chart for each quantity that can color a region.

    Args:
        segmentation: refers to both; what it showed before is replaced.
        changes: with none, table and charts are removed.
    """
    table = segmentation.GetNodeReference(TABLE)
    if not changes:
        for node in [table] if table else []:
            slicer.mrmlScene.RemoveNode(node)
        for chart in referred(segmentation, CHART):
            remove_chart(chart)
        return
    made = table_to_node("MarrowAssess changes", _columns(changes), table)
    if table is None:
        made.SetLocked(True)
        segmentation.SetNodeReferenceID(TABLE, made.GetID())
        put_beside(made, segmentation)
    _show_charts(segmentation, changes)


def _columns(changes: Sequence[Change]) -> list[Column]:
    return [
        Column("Quantity", [QUANTITIES[one.quantity].name for one in changes]),
        Column("Site", [one.site or ", ".join(one.measured) for one in changes]),
        Column("Earlier", [one.first for one in changes], "", "in the unit of the next but one"),
        Column("Now", [one.second for one in changes]),
        Column("Unit", [QUANTITIES[one.quantity].unit or "ratio" for one in changes]),
        Column("Unchanged low", [one.low for one in changes], "", "19 of 20 unchanged people"),
        Column("Unchanged high", [one.high for one in changes]),
        Column("Change", [one.size for one in changes], "RC", "repeatability coefficients"),
        Column("Verdict", [one.verdict for one in changes]),
        Column("Reason", [one.reason for one in changes]),
        Column("Days", [one.days for one in changes], "", "1 where ages do not tell them"),
    ]


def _show_charts(segmentation: slicer.vtkMRMLSegmentationNode, changes: Sequence[Change]) -> None:
    groups: dict[str, list[Change]] = {}
    for one in changes:
        if one.verdict != NOT_COMPARABLE and QUANTITIES[one.quantity].color_rank is not None:
            groups.setdefault(one.quantity, []).append(one)
    known = {one.GetAttribute(LINES): one for one in referred(segmentation, CHART)}
    for quantity, group in groups.items():
        key = "|".join([quantity, *(one.name for one in group)])
        if chart := known.pop(key, None):
            table_to_node("", _lines(group), chart_series(chart)[0].GetTableNode())
            for series, one in zip(chart_series(chart), group, strict=True):
                series.SetName(_label(one))
            continue
        chart = _chart(quantity, group)
        chart.SetAttribute(LINES, key)
        segmentation.AddNodeReferenceID(CHART, chart.GetID())
        put_beside(chart, segmentation)
    for chart in known.values():
        remove_chart(chart)


def _chart(quantity: str, group: Sequence[Change]) -> slicer.vtkMRMLPlotChartNode:
    row = QUANTITIES[quantity]
    chart = new_chart(
        f"{row.name} since the earlier visit",
        "Days since" if group[0].days > 1 else "Earlier visit (0) and this one (1)",
        f"{row.name} ({row.unit})" if row.unit else row.name,
        f"{row.name} since earlier",
    )
    table = table_to_node(f"{chart.GetName()} lines", _lines(group))
    for n, one in enumerate(group):
        series = line_series(_label(one), table, str(n), DAY)
        series.SetMarkerStyle(series.MarkerStyleCircle)
        series.SetUniqueColor()
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart


def _lines(group: Sequence[Change]) -> list[Column]:
    columns = [Column(DAY, [0.0, group[0].days])]
    return columns + [Column(str(n), [one.first, one.second]) for n, one in enumerate(group)]


def _label(one: Change) -> str:
    return f"{one.site or ', '.join(one.measured)}  {one.size:+.1f} RC"
