"""Voxel by voxel what changed since an earlier visit: colors over its image, a table of shares."""

from __future__ import annotations

import numpy as np
import slicer
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.scene.folders import put_beside
from PDFFMapperLib.scene.maps import show_map
from PDFFMapperLib.scene.tables import Column, table_to_node
from PDFFMapperLib.scene.volumes import volume_to_node

from MarrowAssessLib.catalogue.quantities import Quantity
from MarrowAssessLib.follow_up.change_map import BodyChange, ChangeMap
from MarrowAssessLib.report.colors import CHANGE_COLORS
from MarrowAssessLib.scene.images import OF_CHANGE
from MarrowAssessLib.scene.overlay import style_legend

MAP, COLORS, TABLE = "MarrowAssess.change.map", "MarrowAssess.change.colors", "MarrowAssess.shares"
SHARE_OF_WINDOW = 0.3  # of the quantity's own window: 30 points of PDFF, 60 1/s of R2*
# Of the colors of changes the outer ones: each voxel that is shown has changed.
_FALLEN, _RISEN = CHANGE_COLORS[:3], CHANGE_COLORS[-3:]
_STOPS = (-1.0, -0.5, -1e-3, 1e-3, 0.5, 1.0)  # of the limit
_HUGE = 1e30


def show_change_map(
    found: ChangeMap, quantity: Quantity, image: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLScalarVolumeNode:
    """Show voxels that changed by more than their error, with a legend, and a table of the shares.

    Purple has fallen and orange has risen, as in the other views of changes; what stayed within
    its error, lies in no body or cannot be trusted is NaN, and the image shows through.

    Args:
        found: on the grid of the earlier visit.
        quantity: whose map it is.
        image: of the earlier visit; map and table shown with it before are replaced.
    """
    known = [one for role in (MAP, COLORS, TABLE) if (one := image.GetNodeReference(role))]
    if (before := image.GetNodeReference(MAP)) is not None:
        known += [before.GetNthDisplayNode(n) for n in range(before.GetNumberOfDisplayNodes())]
    for one in known:
        slicer.mrmlScene.RemoveNode(one)
    beyond = np.where(found.beyond, found.change.array, np.nan).astype(np.float32)
    name = f"{quantity.name} change beyond error"
    # Without facts of the image that it lies on: it is neither that image nor its map.
    node = volume_to_node(Volume(beyond, found.change.ijk_to_ras, name, {"Map": OF_CHANGE}))
    kind = quantity.images[0].kind
    unit = "points" if kind.unit == "%" else kind.unit
    told = f"change of {kind.symbol or kind.id}" + (f" ({unit})" if unit else "")
    node.SetDescription(f"Voxels beyond their error: {told}")
    limit = SHARE_OF_WINDOW * (kind.window[1] - kind.window[0])
    _color(node, limit, image)
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(node.GetDisplayNode())
    legend.SetTitleText(f"voxels: {unit or kind.id}")  # that of regions, in RC, stands beside it
    legend.SetLabelFormat("%+.0f" if limit >= 5 else "%+.1f")
    legend.SetPosition(0.22, 0.73)
    legend.SetSize(0.07, 0.52)  # letters about as large as beside it
    style_legend(legend)
    legend.SetVisibility(True)
    table = table_to_node(f"{quantity.name} change, shares of marrow", _columns(found.bodies))
    table.SetLocked(True)
    for one, role in ((node, MAP), (table, TABLE)):
        image.SetNodeReferenceID(role, one.GetID())
        put_beside(one, image)
    show_map(node, image)
    return node


def _color(
    node: slicer.vtkMRMLScalarVolumeNode, limit: float, image: slicer.vtkMRMLScalarVolumeNode
) -> None:
    colors = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLProceduralColorNode", "Change of voxels")
    function = colors.GetColorTransferFunction()
    function.RemoveAllPoints()
    for stop, color in zip(_STOPS, (*_FALLEN, *_RISEN), strict=True):
        function.AddRGBPoint(stop * limit, *color)
    colors.SetTypeToUser()
    colors.SetAttribute("Category", "MarrowAssess")
    image.SetNodeReferenceID(COLORS, colors.GetID())
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(colors.GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(-limit, limit)
    display.SetThreshold(-_HUGE, _HUGE)  # NaN lies in no range: what is below shows through
    display.ApplyThresholdOn()
    display.SetInterpolate(False)  # NaN beside a voxel that changed would hide it


def _columns(bodies: list[BodyChange]) -> list[Column]:
    def share(one: BodyChange, which: str) -> float | None:
        return 100 * getattr(one.response, which) if one.response else None

    return [
        Column("Site", [one.site for one in bodies]),
        *(
            Column(title, [share(one, which) for one in bodies], "%", "of the body's marrow")
            for title, which in (("Risen", "up"), ("Fallen", "down"), ("Same", "same"))
        ),
        Column("Error", [one.response and one.response.beyond for one in bodies], "", "of a voxel"),
        Column("Failed", [one.failed for one in bodies], "", "why a body has no map"),
    ]
