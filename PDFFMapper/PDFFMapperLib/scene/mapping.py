"""From what is chosen in a scene to maps: nodes, settings, what is missing, sensible defaults.

`parameters` is PDFFMapper's parameter node, or anything with such attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pkgutil import resolve_name
from typing import TYPE_CHECKING

import numpy as np
import slicer

from PDFFMapperLib.dicom.series_role import guess_role
from PDFFMapperLib.images.attributes import number_of
from PDFFMapperLib.maps.progress import Progress
from PDFFMapperLib.maps.recipe import IMAGE, REGION, Family, Input, Option, Recipe
from PDFFMapperLib.recipes import FAMILIES
from PDFFMapperLib.scene.frames import Frame, frames_from_nodes, set_frame_fact
from PDFFMapperLib.scene.origin import dicom_file
from PDFFMapperLib.scene.studies import study_of

if TYPE_CHECKING:  # what computes is imported when maps are made
    from PDFFMapperLib.images.volume import Volume
    from PDFFMapperLib.maps.parametric_map import ParametricMap
    from PDFFMapperLib.ute.answer import RegionNumbers

MAGNITUDE = "magnitude"
COMPONENTS = (MAGNITUDE, "phase", "real", "imaginary")
UTE = "ute"  # role of the inputs of its family
ULTRASHORT_MS = 0.2  # the first echo of UTE is earlier
TABLE = "MarrowAssess.numbers"  # reference of the first map: the table of its regions
NUMBERS = ("Region", "Voxels", "Quantity", "Value", "Lower 95 %", "Upper 95 %", "Unit", "Note")
SAID_NUMBERS = 3
MOST_OF_VOXEL = 50.0  # %
DRAWN = (slicer.vtkMRMLSegmentationNode, slicer.vtkMRMLMarkupsNode)
BONE = "mask"  # the option whose segments are measured one by one


def chosen_recipe(parameters: object, family: Family) -> Recipe:
    """The recipe that the panel's list shows."""
    return family.recipe(getattr(parameters, family.parameter))


def chosen_nodes(parameters: object, recipe: Recipe) -> list[slicer.vtkMRMLNode]:
    """The nodes chosen for a recipe's inputs, in their order."""
    nodes = []
    for one in recipe.inputs:
        found = getattr(parameters, one.parameter)
        nodes.extend(found if one.series else [found])  # Slicer refuses to add its lists
    return [node for node in nodes if node is not None]


def chosen_settings(parameters: object, recipe: Recipe) -> dict[str, object]:
    """A recipe's options as chosen; 0 is what a spin box shows for None."""
    settings = {
        option.name: _value(parameters, option)
        for option in recipe.options
        if option.parameter and _has_meaning(parameters, option, recipe)
    }
    return {name: value for name, value in settings.items() if value is not None}


def missing(parameters: object, recipe: Recipe) -> Input | Option | None:
    """The first input or option that has to be given yet, None if nothing."""
    for one in recipe.inputs:
        found = getattr(parameters, one.parameter)
        if not one.optional and not (any(found) if one.series else found):
            return one
    for option in recipe.options:
        if option.required and _has_meaning(parameters, option, recipe):
            if _value(parameters, option) is None:
                return option
    return None


def shown_options(parameters: object, recipe: Recipe) -> list[Option]:
    """The options that have a meaning for a recipe and what else is chosen."""
    return [
        option
        for option in recipe.options
        if option.parameter and _has_meaning(parameters, option, recipe)
    ]


def all_choices(parameters: object) -> list[tuple]:
    """Recipes, images and settings of all families, to tell whether any has changed."""
    recipes = [chosen_recipe(parameters, family) for family in FAMILIES]
    return [
        (
            recipe.id,
            [node.GetID() for node in chosen_nodes(parameters, recipe)],
            {
                name: value.GetID() if isinstance(value, slicer.vtkMRMLNode) else value
                for name, value in chosen_settings(parameters, recipe).items()
            },
        )
        for recipe in recipes
    ]


def make_maps(
    recipe: Recipe,
    folder: str,
    nodes: Sequence[slicer.vtkMRMLNode],
    settings: Mapping[str, object],
    progress: Progress | None = None,
    numbers: str = "",
) -> list[slicer.vtkMRMLScalarVolumeNode] | None:
    """Maps as volume nodes in a folder beside their source; None if canceled, or all or none.

    Beside them lie a table of what the bone or its segments say (see `table_of`), and what was
    found as a segmentation, to be edited.

    Args:
        recipe: see PDFFMapperLib.recipes.
        folder: its name.
        nodes: of the series, or one per input.
        settings: by the names of the recipe's options; images and regions are nodes.
        numbers: of the recipe's family, that gives numbers of regions.

    Raises:
        ValueError: one sentence that says what is wrong.
    """
    from PDFFMapperLib.scene.folders import put_beside
    from PDFFMapperLib.scene.maps import maps_to_nodes
    from PDFFMapperLib.scene.regions import masks_of_node
    from PDFFMapperLib.scene.segments import mask_to_node

    frames = frames_from_nodes(nodes, dicom_file())
    if not recipe.inputs[0].series:
        for frame in frames:
            if frame.count > 1:
                raise ValueError(
                    f"'{frame.node.GetName()}' holds {frame.count} images; choose volumes with one "
                    "image each."
                )
    volumes = [frame.volume for frame in frames]
    given = {name: _as_volume(value, volumes[0]) for name, value in settings.items()}
    try:
        maps = recipe.make(volumes, progress, **given)
    except InterruptedError:
        return None
    bone, told = settings.get(BONE), None
    if numbers:
        regions = masks_of_node(bone, volumes[0]) if isinstance(bone, DRAWN) else {}
        told = resolve_name(numbers)(maps, regions, volumes, recipe.chosen(given))
    made = maps_to_nodes(maps, folder, nodes[0])
    beside = [mask_to_node(_found(one), made[0]) for one in maps if one.kind.region]
    if told:
        beside.append(_table(f"Numbers ({recipe.id})", told))
        made[0].SetNodeReferenceID(TABLE, beside[-1].GetID())
    for one in beside:
        put_beside(one, made[0])
    return made


def table_of(node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLTableNode | None:
    """The table of what a bone's regions say, made with a first map; None without one."""
    return node.GetNodeReference(TABLE)


def said_of_table(table: slicer.vtkMRMLTableNode) -> str:
    """The first numbers of such a table, with their intervals and units; "" where it has none."""
    said = []
    for row in range(table.GetNumberOfRows()):
        region, _, quantity, value, low, high, unit, _ = (
            table.GetCellText(row, column) for column in range(len(NUMBERS))
        )
        if quantity and "," not in quantity and value != "nan":  # a part's: "thickness, left"
            said.append(f"{region}, {quantity}: {value} ({low} to {high}) {unit}".rstrip())
    return "; ".join(said[:SAID_NUMBERS])


def set_typed_fact(frame: Frame, keyword: str, text: str) -> None:
    """Keep what was typed for a frame: "ImageComponent", or a number such as "EchoTime" in ms.

    Raises:
        ValueError: it is no component, or not a number of 0 or more.
    """
    text = text.strip().lower()
    if keyword == "ImageComponent":
        if text not in COMPONENTS:
            raise ValueError(f"A component is {', '.join(COMPONENTS)}, not '{text}'.")
        set_frame_fact(frame, keyword, text)
        return
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e5:
        raise ValueError(f"'{text}' is not a number of 0 or more.")
    set_frame_fact(frame, keyword, value)


def choose_defaults(
    parameters: object,
    nodes: Iterable[slicer.vtkMRMLVolumeNode],
) -> bool:
    """Choose the volumes whose name or header says what they are, where none are chosen; whether
    any was.
    """
    inputs: dict[str, Input] = {}
    for one in (one for family in FAMILIES for one in family.inputs):
        found = getattr(parameters, one.parameter)
        if any(found) if one.series else found:
            return False
        inputs.setdefault(one.role, one)  # of UTE that is the series; which of a pair is not told
    by_role = _by_role(nodes)
    for role, one in inputs.items():
        found = by_role.get(role, [])
        if one.series:
            if found:
                setattr(parameters, one.parameter, found)
        elif found and found[0].IsA("vtkMRMLScalarVolumeNode"):
            setattr(parameters, one.parameter, found[0])
    for family in FAMILIES:
        ready = [recipe for recipe in family.recipes if missing(parameters, recipe) is None]
        if ready and chosen_recipe(parameters, family) not in ready:
            setattr(parameters, family.parameter, ready[0].choice)
    return any(by_role.get(role) for role in inputs)


def choose_loaded(parameters: object, nodes: Sequence[slicer.vtkMRMLVolumeNode]) -> bool | None:
    """Choose images that were loaded in place of those of another study, see `choose_in_place`.

    Returns:
        Whether it did; None where nothing was chosen, which is left to `choose_defaults`, or
        none of the images can be mapped.
    """
    studies = {study_of(node) for node in _all_chosen(parameters)}
    if not studies or not not_chosen(parameters, nodes):
        return None
    if studies & {study_of(node) for node in nodes} - {0}:
        return False
    choose_in_place(parameters, nodes)
    return True


def choose_in_place(parameters: object, nodes: Sequence[slicer.vtkMRMLVolumeNode]) -> None:
    """Choose images in place of all that are chosen, whose regions and maps are forgotten."""
    for node in _all_chosen(parameters):
        forget_node(parameters, node)
    for option in (one for family in FAMILIES for one in family.options if one.parameter):
        if option.type in (IMAGE, REGION):
            setattr(parameters, option.parameter, None)
    parameters.mapNodes = []
    choose_defaults(parameters, nodes)


def not_chosen(
    parameters: object, nodes: Sequence[slicer.vtkMRMLVolumeNode]
) -> list[slicer.vtkMRMLVolumeNode]:
    """Those of these images that could be mapped and are not chosen."""
    roles = {one.role for family in FAMILIES for one in family.inputs}
    chosen = _all_chosen(parameters)
    found = (one for role, held in _by_role(nodes).items() if role in roles for one in held)
    return list(dict.fromkeys(one for one in found if one not in chosen))


def choose_beside(
    parameters: object, nodes: Sequence[slicer.vtkMRMLVolumeNode], really: bool = True
) -> bool:
    """Choose images beside those that are: to their series, and for what none is chosen.

    Args:
        really: whether they are chosen; else it is only told whether any could be.
    """
    by_role, chosen = _by_role(nodes), {}
    for one in (one for family in FAMILIES for one in family.inputs):
        held, new = getattr(parameters, one.parameter), by_role.get(one.role, [])
        if one.series:
            held = [node for node in held if node is not None]
            if more := [node for node in new if node not in held]:
                chosen.setdefault(one.role, (one.parameter, [*held, *more]))
        elif held is None and new and new[0].IsA("vtkMRMLScalarVolumeNode"):
            chosen.setdefault(one.role, (one.parameter, new[0]))
    for name, value in chosen.values() if really else ():
        setattr(parameters, name, value)
    return bool(chosen)


def _all_chosen(parameters: object) -> set[slicer.vtkMRMLVolumeNode]:
    inputs = {one.parameter for family in FAMILIES for one in family.inputs}
    held = (getattr(parameters, name) for name in inputs)
    lists = ([found] if hasattr(found, "GetID") else found or [] for found in held)
    return {node for found in lists for node in found if node is not None}


def _by_role(
    nodes: Iterable[slicer.vtkMRMLVolumeNode],
) -> dict[str, list[slicer.vtkMRMLVolumeNode]]:
    """Images by the role that their name or header tells; maps have none."""
    by_role: dict[str, list[slicer.vtkMRMLVolumeNode]] = {}
    held = [(one, frames_from_nodes([one], dicom_file())) for one in nodes if one.GetImageData()]
    if echoes := _ute_series(held):
        by_role[UTE] = echoes
    for node, frames in held:
        for frame in frames[:1]:
            facts = frame.volume.attributes
            if "Map" not in facts:
                name = None if "SeriesDescription" in facts else node.GetName()
                role = guess_role({**facts, "ImageComponent": "magnitude"}, name)
                by_role.setdefault(role, []).append(node)
    return by_role


def _ute_series(
    held: Sequence[tuple[slicer.vtkMRMLVolumeNode, Sequence[Frame]]],
) -> list[slicer.vtkMRMLVolumeNode]:
    """The nodes of the one UTE series: echoes of a sequence on a grid, from an ultrashort one on.

    Two such series, or images of one echo time (one of them may be suppressed), are not guessed.
    """
    series: dict[tuple, list[tuple[float, slicer.vtkMRMLVolumeNode]]] = {}
    for node, frames in held:
        for frame in frames:
            facts, time = frame.volume.attributes, number_of(frame.volume.attributes, "EchoTime")
            if (
                "Map" in facts
                or time is None
                or facts.get("ImageComponent", MAGNITUDE) != MAGNITUDE
            ):
                continue
            timing = [number_of(facts, one) for one in ("FlipAngle", "RepetitionTime")]
            grid = (frame.volume.ijk_to_ras.round(4) + 0.0).tobytes()  # -0.0 is 0.0
            key = frame.volume.array.shape, grid, *timing
            series.setdefault(key, []).append((time, node))
    found = []
    for echoes in series.values():
        times = [time for time, _ in echoes]
        if len(times) == len(set(times)) > 1 and min(times) < ULTRASHORT_MS:
            ordered = sorted(echoes, key=lambda echo: echo[0])
            found.append(list(dict.fromkeys(node for _, node in ordered)))
    return found[0] if len(found) == 1 else []


def forget_node(parameters: object, node: slicer.vtkMRMLNode) -> None:
    """Empty what a node was chosen for; another image does not take its place."""
    for one in (one for family in FAMILIES for one in family.inputs):
        found = getattr(parameters, one.parameter)
        if one.series and node in found:
            left = [other for other in found if other is not None and other is not node]
            setattr(parameters, one.parameter, left)
        elif found is node:
            setattr(parameters, one.parameter, None)
    for option in (one for family in FAMILIES for one in family.options if one.parameter):
        if option.type in (IMAGE, REGION) and getattr(parameters, option.parameter) is node:
            setattr(parameters, option.parameter, None)
    if node in parameters.mapNodes:
        left = [other for other in parameters.mapNodes if other is not None and other is not node]
        parameters.mapNodes = left


def _as_volume(value: object, grid: Volume) -> object:
    """A chosen node as a volume on the images' grid; what is no node stays what it is."""
    from PDFFMapperLib.scene.regions import mask_of_node
    from PDFFMapperLib.scene.volumes import volume_from_node

    if isinstance(value, DRAWN):
        return mask_of_node(value, grid)
    return volume_from_node(value) if isinstance(value, slicer.vtkMRMLVolumeNode) else value


def _found(share: ParametricMap) -> Volume:
    """The voxels of which a map of shares gives more than half."""
    inside = np.nan_to_num(share.volume.array) > MOST_OF_VOXEL
    return share.volume.with_array(inside.astype(np.uint8), share.kind.region)


def _table(name: str, told: RegionNumbers) -> slicer.vtkMRMLTableNode:
    """One row for each number, and for each region that has none."""
    from PDFFMapperLib.scene.tables import Column, table_to_node

    rows = [
        (name, voxels, one.quantity, one.value, one.lower, one.upper, one.unit, one.note)
        for name, voxels, one in told.rows
    ]
    rows += [(name, voxels, "", *[None] * 3, "", why) for name, voxels, why in told.refused]
    columns = zip(NUMBERS, zip(*rows, strict=True), strict=True)
    return table_to_node(name, [Column(title, list(values)) for title, values in columns])


def _has_meaning(parameters: object, option: Option, recipe: Recipe) -> bool:
    switch = next((one for one in recipe.options if one.name == option.only_with), None)
    return switch is None or bool(getattr(parameters, switch.parameter))


def _value(parameters: object, option: Option) -> object:
    value = getattr(parameters, option.parameter)
    return None if option.default is None and not value else value
