"""An assessment shown on the user's own segmentation and markups, updated in place.

Table, charts and overlay are references of the segmentation, so that a saved scene finds them again
and a new assessment replaces what the last one showed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
from PDFFMapperLib.scene.folders import put_in_folder

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method
from MarrowAssessLib.catalogue.terminology import tissues
from MarrowAssessLib.findings.result import Assessment, Headline, Result
from MarrowAssessLib.findings.statement import UNUSUAL
from MarrowAssessLib.findings.summary import headlines
from MarrowAssessLib.follow_up.change import Change
from MarrowAssessLib.scene.assessment import (
    CURVE_ATTRIBUTE,
    age_chart,
    age_points,
    change_results,
    results_table,
    site_results,
)
from MarrowAssessLib.scene.change_nodes import show_changes
from MarrowAssessLib.scene.color_key import ROLES as KEY_ROLES
from MarrowAssessLib.scene.color_key import show_color_key
from MarrowAssessLib.scene.height_lines import ROLES as HEIGHT_ROLES
from MarrowAssessLib.scene.height_lines import show_height_legend, show_height_lines
from MarrowAssessLib.scene.overlay import SCORED, place_labels, show_results, shows_3d
from MarrowAssessLib.scene.result_rows import PLAIN_SIGNAL, ResultRow
from MarrowAssessLib.scene.segments import known_segments
from MarrowAssessLib.scene.spectrum_chart import (
    SPECTRUM_ATTRIBUTE,
    shows_spectrum,
    spectrum_charts,
)
from MarrowAssessLib.scene.tables import point_labels, remove_chart, set_points
from MarrowAssessLib.sources import spectra
from MarrowAssessLib.study.regions import Region

PLAIN_SIGNAL_SAYS = "It says nothing by itself: place a muscle or a disc for a ratio."
TABLE = "MarrowAssess.table"
CHART = "MarrowAssess.chart"
FOLDER = "MarrowAssess results"
LABEL_SCALE = 3.4  # smaller than in pictures: four views share the screen
LABEL_SEPARATION_MM = 20.0  # of a line, in a view that shows a whole spine
SAID_KINDS = ("frequency", "rule", "modelled", "published")
COLORS = "MarrowAssess.z-score.colors"
_OVERLAY = ("MarrowAssess.labels", "MarrowAssess.label.lines", HEIGHT_ROLES[0])


@dataclass
class LiveResults:
    """The nodes that show the last assessment of a segmentation."""

    table: slicer.vtkMRMLTableNode
    charts: list[slicer.vtkMRMLPlotChartNode]


def show_live(
    assessment: Assessment,
    segmentation: slicer.vtkMRMLSegmentationNode,
    markups: Sequence[slicer.vtkMRMLMarkupsNode] = (),
    overlay: bool = True,
    names: bool = False,
    changes: Sequence[Change] = (),
) -> LiveResults:
    """Show an assessment; what an earlier one showed on this segmentation is replaced.

    Args:
        assessment: of this segmentation's segments and these markups.
        segmentation: its segments are colored; tables and charts become its references.
        markups: colored by z-score, too.
        overlay: whether regions are colored and labelled.
        names: whether every region is named, not only those that stand out.
        changes: since an earlier visit; regions are then colored by them in place of z-scores.
    """
    table = _update_table(assessment.results, segmentation)
    charts = _update_charts(assessment, segmentation)
    show_changes(segmentation, changes)
    if overlay:
        segments = segmentation.GetSegmentation()
        drawn = {segments.GetSegment(one).GetName() for one in segments.GetSegmentIDs()}
        shown = site_results(assessment, brief=True, names=names)
        if changes:
            shown = change_results(assessment, changes, names)
        made = show_results(segmentation, [one for one in shown if one.region_name in drawn])
        made.labels.GetDisplayNode().SetTextScale(LABEL_SCALE)
        lines = 2 if any("\n" in one.label for one in shown) else 1
        place_labels(made, lines * LABEL_SEPARATION_MM)
        show_height_lines(segmentation, assessment.results, made.layout)
        show_overlay(segmentation, True)
        show_in_3d(segmentation, shows_3d(segmentation))
        _color_markups(markups, {one.region_name: one.color for one in shown})
    return LiveResults(table, charts)


def live_results(segmentation: slicer.vtkMRMLSegmentationNode) -> LiveResults | None:
    """What is shown of a segmentation, as in a scene that was saved; None if nothing is."""
    table = segmentation.GetNodeReference(TABLE)
    return LiveResults(table, _charts(segmentation)) if table else None


def clear_live(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """Show nothing of a segmentation whose regions are gone; an empty table stays for the next."""
    if live_results(segmentation) is None:
        return
    _update_table((), segmentation)
    for chart in _charts(segmentation):
        remove_chart(chart)
    segmentation.RemoveNodeReferenceIDs(CHART)
    show_changes(segmentation, ())
    show_overlay(segmentation, False)


def outdate_charts() -> None:
    """Have every age chart drawn anew by the next assessment: the references have changed."""
    for chart in slicer.util.getNodesByClass("vtkMRMLPlotChartNode"):
        if key := chart.GetAttribute(CURVE_ATTRIBUTE):
            chart.SetAttribute(CURVE_ATTRIBUTE, f"{key}|before")


def remove_live(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """Remove all that shows a segmentation's results, with a segmentation that goes."""
    for chart in _charts(segmentation):
        remove_chart(chart)
    show_changes(segmentation, ())
    if legend := _legend_of(segmentation):
        slicer.mrmlScene.RemoveNode(legend)
    for role in (TABLE, *_OVERLAY, COLORS, *KEY_ROLES, *HEIGHT_ROLES):
        if node := segmentation.GetNodeReference(role):
            shown = getattr(node, "GetNumberOfDisplayNodes", int)()  # tables and colors have none
            for display in [node.GetNthDisplayNode(n) for n in range(shown)]:
                slicer.mrmlScene.RemoveNode(display)
            slicer.mrmlScene.RemoveNode(node)


def show_segmentation(segmentation: slicer.vtkMRMLSegmentationNode | None, visible: bool) -> None:
    """Show or hide a segmentation that has results, with its labels and legend."""
    if segmentation is None or segmentation.GetScene() is None:  # none, or it is gone
        return
    if live_results(segmentation) and (display := segmentation.GetDisplayNode()):
        display.SetVisibility(visible)
        show_labels(segmentation, visible)


def show_labels(segmentation: slicer.vtkMRMLSegmentationNode | None, visible: bool) -> None:
    """Show or hide labels and legend, where there are any."""
    if segmentation is None:
        return
    for role in _OVERLAY:
        node = segmentation.GetNodeReference(role)
        if node is not None:
            node.SetDisplayVisibility(visible)
    show_height_legend(segmentation, visible)
    show_color_key(segmentation, visible)
    if legend := _legend_of(segmentation):
        legend.SetVisibility(visible and legend.GetAttribute(SCORED) == "yes")


def legend_visible(segmentation: slicer.vtkMRMLSegmentationNode | None) -> bool:
    """Whether the views show what the colors of a segmentation mean."""
    legend = _legend_of(segmentation) if segmentation else None
    return bool(legend and legend.GetVisibility())


def _legend_of(
    segmentation: slicer.vtkMRMLSegmentationNode,
) -> slicer.vtkMRMLColorLegendDisplayNode | None:
    display = segmentation.GetDisplayNode()
    return slicer.modules.colors.logic().GetColorLegendDisplayNode(display) if display else None


def overlay_displays(
    segmentation: slicer.vtkMRMLSegmentationNode,
) -> list[slicer.vtkMRMLDisplayNode]:
    """What shows a segmentation's regions, labels and legends."""
    nodes = [segmentation, *map(segmentation.GetNodeReference, (*_OVERLAY, *KEY_ROLES))]
    shown = [d for n in nodes if n and (d := getattr(n, "GetDisplayNode", lambda: None)())]
    legend_of = slicer.modules.colors.logic().GetColorLegendDisplayNode
    return shown + [legend for one in shown if (legend := legend_of(one))]


def show_in_3d(segmentation: slicer.vtkMRMLSegmentationNode, visible: bool) -> None:
    """Show or hide labels of regions and what their colors mean in 3D views, as the regions."""
    for display in overlay_displays(segmentation):
        if display is not segmentation.GetDisplayNode():
            display.SetVisibility3D(visible)


def show_overlay(segmentation: slicer.vtkMRMLSegmentationNode, visible: bool) -> None:
    """Show or hide labels and legend; hidden, the segments have their tissue's color again."""
    show_labels(segmentation, visible)
    if visible:
        return
    display = segmentation.GetDisplayNode()
    if display is None:
        return
    modified = display.StartModify()
    for known in known_segments(segmentation):  # one of unknown tissue keeps its color
        display.UnsetSegmentOverrideColor(known.id)
        display.SetSegmentOpacity3D(known.id, 1.0)
        display.SetSegmentVisibility2DFill(known.id, True)
        if not np.allclose(known.segment.GetColor(), tissues()[known.role].color, atol=0.01):
            known.segment.SetColor(*tissues()[known.role].color)  # scenes of version 0.1
    display.EndModify(modified)


def plain_rows(assessment: Assessment) -> list[ResultRow]:
    """The median signal of marrow that nothing else is known of, so that a click shows something.

    Alone it says nothing: it depends on coil and protocol.
    """
    rows = []
    study = assessment.study
    for region in _unmeasured(assessment):
        for contrast, volume in study.volumes.items():
            if contrast.on_own_grid:
                continue
            median = float(np.nanmedian(region.values(volume.array)))
            name = f"{contrast.value.replace('_', ' ')} signal"
            details = f"Median of {region.voxels} voxels. {PLAIN_SIGNAL_SAYS}"
            rows.append(
                ResultRow(
                    region.site, name, f"{median:.4g}", "", "no reference", None, details,
                    (region.name,), PLAIN_SIGNAL,
                )
            )  # fmt: skip
    return rows


def _unmeasured(assessment: Assessment) -> list[Region]:
    measured = {
        name
        for one in assessment.results
        if QUANTITIES[one.measurement.quantity].method is not Method.TEXTURE
        for name in one.measurement.measured
    }
    marrow = assessment.study.with_role(Role.MARROW)
    return [region for region in marrow if region.name not in measured]


def verdict(assessment: Assessment) -> str:
    """The outcome in a few sentences, one a line: values outside the expected range, then notes."""
    texture = sum(result.is_texture for result in assessment.results)
    also = f"; {texture} texture features" if texture else ""
    lines = [
        f"{len(assessment.results) - texture} measurements, {len(assessment.scored)} with a "
        f"reference, {len(assessment.outside)} outside the expected 95 % range{also}."
    ]
    lines += [f"{result.sentence}." for result in assessment.outside]
    said = [f"{line.text.rstrip('.')}." for line in said_without_reference(assessment)]
    return "\n".join(lines + notes(assessment) + said)


def said_without_reference(assessment: Assessment) -> list[Headline]:
    """What frequencies, rules, a model and publications say of values without a z-score."""
    return [line for line in headlines(assessment) if line.kind in SAID_KINDS]


def notes(assessment: Assessment) -> list[str]:
    """What to know beside the numbers, each on a short line: signatures, what is unusual, doubts,
    a missing age, what was left out.
    """
    found = []
    pathologic = [one.region for one in assessment.signatures if one.best == "pathologic"]
    if pathologic:
        found.append(f"The signals look like pathologic marrow: {', '.join(pathologic)}.")
    for one in assessment.scores:
        said = "; ".join([one.text, *one.limits, *one.card[:1]])
        found.append(f"Score of your own training: {said}.")
    lines = headlines(assessment)
    said = [line for line in lines if line.kind in SAID_KINDS]
    if unusual := [line.what for line in said if line.tone == UNUSUAL]:
        found.append(f"Unusual by what is published: {'; '.join(unusual)}.")
    found += [line.says for line in lines if line.kind == "nothing"]
    if alone := _unmeasured(assessment):
        names = ", ".join(region.name for region in alone)
        found.append(f"{names}: the plain signal only. {PLAIN_SIGNAL_SAYS}")
    found += _refused(assessment, bool(alone))
    why = (one.reason for one in assessment.skipped if one.quantity == "mrs_pdff")
    found += [f"{spectra.OF} {without_options(reason)}." for reason in why]
    if assessment.doubtful:
        names = ", ".join(region.name for region in assessment.doubtful)
        found.append(f"Doubtful, so without a verdict until you have looked: {names}.")
    if assessment.study.age_years is None:
        found.append("Give the patient's age to compare with what is expected.")
    if left_out := assessment.study.inputs.get("left out"):
        found.append(f"Left out: {left_out}.")
    return found + [note for note in assessment.notes if not note.startswith(spectra.OF)]


def _refused(assessment: Assessment, plain: bool) -> list[str]:
    """Images that nothing could be measured of, and why; plain signals are told elsewhere."""
    measured = {
        image for one in assessment.results for image in QUANTITIES[one.measurement.quantity].images
    }
    found = []
    for contrast in assessment.study.volumes:
        of_it = (s.reason for s in assessment.skipped if contrast in QUANTITIES[s.quantity].images)
        if plain and not contrast.on_own_grid:
            continue
        if contrast not in measured and (reason := next(of_it, "")):
            name = contrast.value.replace("_", " ")
            found.append(f"{name} was not measured: {without_options(reason)}.")
    return found


def without_options(text: str) -> str:
    """A sentence without what it says of the command line in brackets."""
    return re.sub(r" \([^()]*--[^()]*\)", "", text)


def _update_table(
    results: Sequence[Result], segmentation: slicer.vtkMRMLSegmentationNode
) -> slicer.vtkMRMLTableNode:
    table = segmentation.GetNodeReference(TABLE)
    if table is not None:
        return results_table(results, table)
    table = results_table(results)
    segmentation.SetNodeReferenceID(TABLE, table.GetID())
    put_in_folder(FOLDER, [table], beside=segmentation)
    return table


def _update_charts(
    assessment: Assessment, segmentation: slicer.vtkMRMLSegmentationNode
) -> list[slicer.vtkMRMLPlotChartNode]:
    """The age charts; those of the same curve keep their node and take the new points."""
    study = assessment.study
    groups = {shared.key: shared for shared in assessment.shared_references}
    fits = {site: spectrum.fitted for site, spectrum in study.spectra.items()}
    old, drawn = {}, {}
    for chart in _charts(segmentation):
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
    known = _charts(segmentation)
    if new := [chart for chart in charts if chart not in known]:
        for chart in new:  # the others stay: each reference has Slicer look at every region
            segmentation.AddNodeReferenceID(CHART, chart.GetID())
        _put_beside(segmentation.GetNodeReference(TABLE), charts)
    return charts


def _put_beside(table: slicer.vtkMRMLTableNode, nodes: Sequence[slicer.vtkMRMLNode]) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(table))
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(folder, node)
        hierarchy.SetItemParent(item, folder)


def _charts(segmentation: slicer.vtkMRMLSegmentationNode) -> list[slicer.vtkMRMLPlotChartNode]:
    count = segmentation.GetNumberOfNodeReferences(CHART)
    nodes = [segmentation.GetNthNodeReference(CHART, n) for n in range(count)]
    return [node for node in nodes if node is not None]


def _color_markups(
    markups: Sequence[slicer.vtkMRMLMarkupsNode], colors: dict[str, tuple[float, float, float]]
) -> None:
    for node in markups:
        names = [node.GetName()]
        names += [node.GetNthControlPointLabel(n) for n in range(node.GetNumberOfControlPoints())]
        named = [name for name in names if name in colors]
        if named and node.GetDisplayNode():
            node.GetDisplayNode().SetSelectedColor(*colors[named[0]])
