"""What the user chose in MarrowAssess, as Slicer keeps it in the parameter node of the module."""

import pathlib
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

from MarrowAssessLib.catalogue.lean_mass import LEAN_MASS
from MarrowAssessLib.catalogue.parameter_names import NOT_KNOWN, VOLUME_PARAMETERS

ROLES = ["marrow", "disc", "muscle", "csf", "fat", "noise", "liver", "spleen", "blood pool"]


def with_volumes(cls: type) -> type:
    """Give a parameter class the image of each contrast."""
    cls.__annotations__ |= dict.fromkeys(VOLUME_PARAMETERS.values(), vtkMRMLScalarVolumeNode)
    return cls


@parameterNodeWrapper
@with_volumes
class MarrowAssessParameterNode:
    """What the user chose; saved with the scene. Results are references of the segmentation.

    The images are added to it, see VOLUME_PARAMETERS. ageYears is -1 where the age is not known,
    fieldStrengthT 0 where the images are to tell it, and glucoseMmolL 0 where nobody measured it.
    """

    ageYears: Annotated[float, WithinRange(-1, 120)] = -1.0
    sex: Annotated[str, Choice([NOT_KNOWN, "F", "M"])] = NOT_KNOWN
    fieldStrengthT: Annotated[float, WithinRange(0, 15)] = 0.0
    segmentation: vtkMRMLSegmentationNode
    useMarkups: bool = True
    pointRadiusMm: Annotated[float, WithinRange(0.5, 50)] = 4.0
    placeRole: Annotated[str, Choice(ROLES)] = "marrow"
    placeSite: str = ""
    lumbarVertebrae: Annotated[int, Choice([4, 5, 6])] = 5
    leaveOutVein: bool = False
    leaveOutFat: bool = False
    erosionMm: Annotated[float, WithinRange(0, 10)] = 0.0
    n4: bool = False
    texture: bool = False
    fractures: bool = False
    resample: bool = False
    glucoseMmolL: Annotated[float, WithinRange(0, 50)] = 0.0
    acceptShift: bool = False
    leanMass: Annotated[str, Choice(list(LEAN_MASS))] = LEAN_MASS[0]
    spectra: str = ""
    ute: str = ""
    scores: str = ""
    autoUpdate: bool = True
    showOverlay: bool = True
    showNames: bool = False
    earlierVisit: str = ""
    earlierRegions: vtkMRMLSegmentationNode
    exportFolder: pathlib.Path
