"""The charts of an assessment: age curves and spectra, references of its segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import slicer

from MarrowAssessLib.scene.shown import (
    CHART,
    CURVE_ATTRIBUTE,
    SPECTRUM_ATTRIBUTE,
    TABLE,
    point_labels,
    referred,
)
from MarrowAssessLib.scene.spectrum_chart import (
    shows_spectrum,
    spectrum_charts,
)
from MarrowAssessLib.scene.tables import (
    AgeChart,
    AgePoint,
    age_chart_to_node,
    remove_chart,
    set_points,
)

if TYPE_CHECKING:  # opening a panel waits for none of them
    from MarrowAssessLib.findings.result import Assessment, SharedReference


def update_charts(
    assessment: Assessment, segmentation: slicer.vtkMRMLSegmentationNode
) -> list[slicer.vtkMRMLPlotChartNode]:
    """The age charts; those of the same curve keep their node and take the new points."""
    study = assessment.study
    groups = {shared.key: shared for shared in assessment.shared_references}
    fits = {site: spectrum.fitted for site, spectrum in study.spectra.items()}
    old, drawn = {}, {}
    for chart in referred(segmentation, CHART):
        key = chart.GetAttribute(CURVE_ATTRIBUTE)  # None in scenes of version 0.1
        site = chart.GetAttribute(SPECTRUM_ATTRIBUTE)
        if site in fits and shows_spectrum(chart, site, fits[site]):
            drawn.setdefault(site, []).append(chart)
        elif key in groups and point_labels(chart):  # none in scenes of earlier versions
            old[key] = chart
        else:
            remove_chart(chart)
    charts = []
    for key, shared in groups.items():
        if key in old:
            set_points(old[key], age_points(shared, study.age_years))
            charts.append(old[key])
        elif chart := age_chart(shared, study.age_years):
            charts.append(chart)
    for site, fitted in fits.items():
        charts += drawn.get(site) or spectrum_charts(site, fitted)
    known = referred(segmentation, CHART)
    if new := [chart for chart in charts if chart not in known]:
        for chart in new:  # the others stay: each reference has Slicer look at every region
            segmentation.AddNodeReferenceID(CHART, chart.GetID())
        _put_beside(segmentation.GetNodeReference(TABLE), charts)
    return charts


def outdate_charts() -> None:
    """Have every age chart drawn anew by the next assessment: the references have changed."""
    for chart in slicer.util.getNodesByClass("vtkMRMLPlotChartNode"):
        if key := chart.GetAttribute(CURVE_ATTRIBUTE):
            chart.SetAttribute(CURVE_ATTRIBUTE, f"{key}|before")


def _put_beside(table: slicer.vtkMRMLTableNode, nodes: Sequence[slicer.vtkMRMLNode]) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(table))
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(folder, node)
        hierarchy.SetItemParent(item, folder)


def age_chart(shared: SharedReference, age_years: float) -> slicer.vtkMRMLPlotChartNode | None:
    """The chart of results that share a reference, with all its sources; None without any."""
    from MarrowAssessLib.references.expected import PERCENTILES
    from MarrowAssessLib.references.sources import outlines

    curve, quantity = shared.curve(), shared.quantity
    site = shared.results[0].measurement.site
    sources = outlines(quantity.key, site, shared.sex, shared.model())
    if curve is None and not sources:
        return None
    chart = age_chart_to_node(
        AgeChart(
            shared.title,
            f"{quantity.name} ({quantity.unit})" if quantity.unit else quantity.name,
            curve.ages_years if curve else np.array([]),
            dict(zip(PERCENTILES, curve.percentiles, strict=True)) if curve else {},
            age_points(shared, age_years),
            sources,
        )
    )
    chart.SetAttribute(CURVE_ATTRIBUTE, shared.key)
    return chart


def age_points(shared: SharedReference, age_years: float) -> list[AgePoint]:
    """The values of results that share one reference curve."""
    return [
        AgePoint(
            one.measurement.site or one.measurement.measured[0],
            age_years,
            one.measurement.value,
            one.text,
        )
        for one in shared.results
    ]
