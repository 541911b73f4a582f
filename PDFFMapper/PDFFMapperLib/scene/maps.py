"""Parametric maps as volume nodes: units, codes, fixed window, color, legend and folder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer

from PDFFMapperLib.images.identity import TYPED_FACTS
from PDFFMapperLib.images.sidecar import with_stated_facts
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.kinds import DIFFUSIVITY, UNIT_CODES
from PDFFMapperLib.maps.parametric_map import ParametricMap
from PDFFMapperLib.maps.trust import usable, where_trusted
from PDFFMapperLib.scene.folders import put_in_folder
from PDFFMapperLib.scene.volumes import (
    facts_from_node,
    set_fact,
    volume_from_node,
    volume_to_node,
    world_matrix,
)

_HUGE = 1e30
# Images of MR and of shares say "1", those of CT and PET state theirs in their headers.
_UNITS_OF_MAPS = [UNIT_CODES[unit][0] for unit in ("%", "1/s", "ms", "Hz", DIFFUSIVITY)]


def map_to_node(made: ParametricMap) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a map as a volume node; failed voxels stay NaN."""
    array = made.volume.array
    array = array.astype(np.float32) if array.dtype == np.float64 else array
    volume = made.volume.with_array(array)
    for typed in TYPED_FACTS:  # they may name the patient, and maps are passed on
        volume.attributes.pop(typed, None)
    node = volume_to_node(volume, made.name)
    kind = made.kind
    node.SetVoxelValueUnits(_entry(*UNIT_CODES[kind.unit]))
    if kind.code:
        node.SetVoxelValueQuantity(_entry(*kind.code))
    node.SetDescription(f"{made.title} ({kind.unit})" if kind.unit else made.title)
    set_fact(node, "Map", made.name)
    set_fact(node, "Provenance", made.provenance)
    if made.codes:
        set_fact(node, "Codes", made.codes)
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*made.window)
    display.SetInterpolate(False)  # or a NaN voxel hides half of each neighbor
    if array.dtype.kind == "f":  # NaN lies in no range: what is below shows through
        display.SetThreshold(-_HUGE, _HUGE)
        display.ApplyThresholdOn()
    color = slicer.mrmlScene.GetFirstNodeByName(kind.color)
    if color is not None and color.IsA("vtkMRMLColorNode"):
        display.SetAndObserveColorNodeID(color.GetID())
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(display)
    legend.SetTitleText(kind.legend)
    legend.SetLabelFormat("%.0f" if made.window[1] - made.window[0] >= 5 else "%.1f")
    # Beside the z-scores of MarrowAssess, whose labels take the other side.
    legend.SetPosition(0.13, 0.55)
    legend.SetSize(0.08, 0.42)
    legend.SetVisibility(True)  # in slice views that show this map
    return node


def map_from_node(node: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """A volume node in the world; of a map from a file only where the mask beside it says so.

    What the JSON file beside it states, such as its unit, is heard, else the unit of the node.

    Raises:
        ValueError: as `volume_from_node`, the mask lies on another grid, or the JSON file makes
            no sense.
    """
    volume = volume_from_node(node)
    storage = node.GetStorageNode()
    if storage is not None and storage.GetFileName():
        moved = world_matrix(node)  # masks lie where the map lay before it was moved
        volume.ijk_to_ras = np.linalg.inv(moved) @ volume.ijk_to_ras
        volume, _ = where_trusted(volume, storage.GetFileName())
        volume = with_stated_facts(volume, storage.GetFileName())
        volume.ijk_to_ras = moved @ volume.ijk_to_ras
    unit = node.GetVoxelValueUnits()
    if unit is not None and unit.GetCodeValue() in _UNITS_OF_MAPS:
        volume.attributes.setdefault("Units", unit.GetCodeValue())
    return volume


def show_map(
    node: slicer.vtkMRMLScalarVolumeNode, source: slicer.vtkMRMLVolumeNode | None = None
) -> None:
    """Show a map in the slice views with its legend, over its source where that is an image.

    Where the map is NaN, because its value cannot be trusted, the source shows through in gray.
    """
    if source is not None and source.IsA("vtkMRMLScalarVolumeNode"):
        slicer.util.setSliceViewerLayers(background=source, foreground=node, foregroundOpacity=1)
    else:
        slicer.util.setSliceViewerLayers(background=node, foreground=None)
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(node)
    if legend is not None:
        legend.Modified()  # views draw it only when told; layers that code sets do not tell them


def said_of_maps(nodes: Sequence[slicer.vtkMRMLScalarVolumeNode]) -> list[str]:
    """Sentences on how many voxels of maps can be used and why not the others."""
    said = []
    for node in nodes:
        facts = facts_from_node(node)
        if facts.get("Map") == "doubt":
            codes = {int(code): meaning for code, meaning in facts["Codes"].items()}
            said.append(usable(volume_from_node(node, copy=False).array, codes))
    return said


def maps_to_nodes(
    maps: Sequence[ParametricMap], folder: str, beside: slicer.vtkMRMLNode | None = None
) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Add maps to the scene, in a subject-hierarchy folder beside their source; all or none."""
    nodes: list[slicer.vtkMRMLScalarVolumeNode] = []
    try:
        nodes += [map_to_node(made) for made in maps]
    except (ValueError, RuntimeError):
        for node in nodes:
            slicer.mrmlScene.RemoveNode(node)
        raise
    put_in_folder(folder, nodes, beside)
    return nodes


def _entry(value: str, scheme: str, meaning: str) -> slicer.vtkCodedEntry:
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(value, scheme, meaning)
    return entry
