"""What the user chose in PDFFMapper, as Slicer keeps it in the parameter node of the module."""

from typing import Annotated

from slicer import (
    vtkMRMLMarkupsClosedCurveNode,
    vtkMRMLMarkupsROINode,
    vtkMRMLNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
)
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

from PDFFMapperLib.maps.recipe import CHOICE, IMAGE, NUMBER, REGION, SWITCH, Option
from PDFFMapperLib.recipes import FAMILIES

Drawn = vtkMRMLSegmentationNode | vtkMRMLMarkupsClosedCurveNode | vtkMRMLMarkupsROINode | None
"""What a region is chosen from; Slicer lists these nodes in its selector."""


def _kind(option: Option) -> object:
    """What the parameter node holds of an option of a recipe."""
    if option.type == SWITCH:
        return bool
    if option.type == CHOICE:
        return Annotated[str, Choice([value for value, _title in option.choices])]
    if option.type == NUMBER:
        lowest = 0 if option.default is None else option.low
        return Annotated[float, WithinRange(lowest, option.high)]
    return {IMAGE: vtkMRMLScalarVolumeNode, REGION: Drawn}.get(option.type, str)


def with_recipes(cls: type) -> type:
    """Give a parameter class what the recipes ask for; None is shown as 0 or as no text."""
    for family in FAMILIES:
        choices = [recipe.choice for recipe in family.recipes]
        cls.__annotations__[family.parameter] = Annotated[str, Choice(choices)]
        setattr(cls, family.parameter, choices[0])
        for one in family.inputs:
            kind = list[vtkMRMLNode] if one.series else vtkMRMLScalarVolumeNode
            cls.__annotations__[one.parameter] = kind
        for option in family.options:
            if option.parameter:
                cls.__annotations__[option.parameter] = _kind(option)
                if option.type in (IMAGE, REGION):
                    continue  # no node
                nothing = 0.0 if option.type == NUMBER else ""
                value = nothing if option.default is None else option.default
                setattr(cls, option.parameter, value)
    return cls


@parameterNodeWrapper
@with_recipes
class PDFFMapperParameterNode:
    """What the user chose; saved with the scene. Typed echo times and b-values are on the images.

    Images and options of the recipes are added to it; see PDFFMapperLib.recipes.
    """

    mapNodes: list[vtkMRMLNode]
