"""An assessment shown on the user's own segmentation and markups, updated in place.

Table, charts and overlay are references of the segmentation, so that a saved scene finds them again
and a new assessment replaces what the last one showed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import slicer
from PDFFMapperLib.scene.folders import put_in_folder

from MarrowAssessLib.scene.assessment import (
    change_results,
    results_table,
    site_results,
)
from MarrowAssessLib.scene.change_nodes import show_changes
from MarrowAssessLib.scene.charts import update_charts
from MarrowAssessLib.scene.color_key import ROLES as KEY_ROLES
from MarrowAssessLib.scene.height_lines import ROLES as HEIGHT_ROLES
from MarrowAssessLib.scene.height_lines import show_height_lines
from MarrowAssessLib.scene.overlay import place_labels, show_results
from MarrowAssessLib.scene.shown import (
    CHART,
    OVERLAY,
    TABLE,
    LiveResults,
    live_results,
    referred,
    shows_3d,
)
from MarrowAssessLib.scene.spectrum_box import show_boxes
from MarrowAssessLib.scene.tables import remove_chart
from MarrowAssessLib.scene.visibility import legend_of, show_in_3d, show_overlay

if TYPE_CHECKING:  # opening a panel waits for none of them
    from MarrowAssessLib.findings.result import Assessment, Result
    from MarrowAssessLib.follow_up.change import Change

FOLDER = "MarrowAssess results"
LABEL_SCALE = 3.4  # smaller than in pictures: four views share the screen
LABEL_SEPARATION_MM = 20.0  # of a line, in a view that shows a whole spine
COLORS = "MarrowAssess.z-score.colors"


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
    charts = update_charts(assessment, segmentation)
    show_boxes(segmentation, assessment.study.spectra)
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


def clear_live(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """Show nothing of a segmentation whose regions are gone; an empty table stays for the next."""
    if live_results(segmentation) is None:
        return
    _update_table((), segmentation)
    for chart in referred(segmentation, CHART):
        remove_chart(chart)
    segmentation.RemoveNodeReferenceIDs(CHART)
    show_boxes(segmentation, {})
    show_changes(segmentation, ())
    show_overlay(segmentation, False)


def remove_live(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """Remove all that shows a segmentation's results, with a segmentation that goes."""
    for chart in referred(segmentation, CHART):
        remove_chart(chart)
    show_boxes(segmentation, {})
    show_changes(segmentation, ())
    if legend := legend_of(segmentation):
        slicer.mrmlScene.RemoveNode(legend)
    for role in (TABLE, *OVERLAY, COLORS, *KEY_ROLES, *HEIGHT_ROLES):
        if node := segmentation.GetNodeReference(role):
            shown = getattr(node, "GetNumberOfDisplayNodes", int)()  # tables and colors have none
            for display in [node.GetNthDisplayNode(n) for n in range(shown)]:
                slicer.mrmlScene.RemoveNode(display)
            slicer.mrmlScene.RemoveNode(node)


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


def _color_markups(
    markups: Sequence[slicer.vtkMRMLMarkupsNode], colors: dict[str, tuple[float, float, float]]
) -> None:
    for node in markups:
        names = [node.GetName()]
        names += [node.GetNthControlPointLabel(n) for n in range(node.GetNumberOfControlPoints())]
        named = [name for name in names if name in colors]
        if named and node.GetDisplayNode():
            node.GetDisplayNode().SetSelectedColor(*colors[named[0]])
