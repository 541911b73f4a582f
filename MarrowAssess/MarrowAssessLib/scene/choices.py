"""What the parameter node of the MarrowAssess module says: images, patient, regions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields

import slicer
from PDFFMapperLib.images.patient import shown_age
from PDFFMapperLib.scene.frames import dicom_file
from PDFFMapperLib.scene.volumes import facts_from_node, set_fact, volume_from_node

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.parameter_names import NOT_KNOWN, VOLUME_PARAMETERS
from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.prediction.score_file import read_score
from MarrowAssessLib.scene.study import (
    grid_node,
    guess_inputs,
    map_contrast,
    region_markups,
)
from MarrowAssessLib.scene.visits import Visit, of_one_visit, regions_of
from MarrowAssessLib.study.acquisition_facts import KEYWORDS
from MarrowAssessLib.study.inputs import StudyInputs

GROUND = "MarrowAssessGround"  # attribute of a volume: the role it was guessed, and why
SEPARATOR = ";"


def chosen_volumes(parameters: object) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
    """The chosen volume nodes by name of their contrast."""
    chosen = {c.value: getattr(parameters, key) for c, key in VOLUME_PARAMETERS.items()}
    return {name: node for name, node in chosen.items() if node is not None}


def chosen_contrasts(parameters: object) -> dict[Contrast, slicer.vtkMRMLScalarVolumeNode]:
    """The chosen volume nodes by their contrast."""
    return {Contrast(name): node for name, node in chosen_volumes(parameters).items()}


def chosen_markups(parameters: object) -> list[slicer.vtkMRMLMarkupsNode]:
    """The markups that count as regions."""
    if not parameters.useMarkups:
        return []
    return region_markups(slicer.util.getNodesByClass("vtkMRMLMarkupsNode"))


def age_years(parameters: object) -> float | None:
    """The patient's age, None where it is not known."""
    return parameters.ageYears if parameters.ageYears >= 0 else None


def sex(parameters: object) -> str | None:
    """The patient's sex, None where it is not known."""
    return parameters.sex if parameters.sex != NOT_KNOWN else None


def chosen_spectra(parameters: object) -> list[str]:
    """The spectra that were given, each such as "L3=te20.rda,te30.rda"."""
    return listed(parameters.spectra)


def listed(text: str) -> list[str]:
    """What a line lists, such as "L3=te20.rda,te30.rda; L1=press.rda"."""
    return [one.strip() for one in text.split(SEPARATOR) if one.strip()]


def chosen_scores(parameters: object) -> list[str]:
    """The files of the scores that were given."""
    return listed(parameters.scores)


def scalar_volumes() -> list[slicer.vtkMRMLScalarVolumeNode]:
    """The images and maps of the scene, no label maps."""
    return [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if node.GetClassName() == "vtkMRMLScalarVolumeNode"
    ]


def choose_guessed(
    parameters: object,
    nodes: Iterable[slicer.vtkMRMLScalarVolumeNode],
) -> bool:
    """Fill what is not chosen yet from names and DICOM headers; whether images were chosen.

    Args:
        parameters: the parameter node.
        nodes: the volumes that may be chosen, where they are of the visit that is.
    """
    nodes = of_one_visit(list(nodes), chosen_volumes(parameters).values())
    if not nodes:
        return False
    guess = guess_inputs(nodes, dicom_file())
    found = False
    for node in nodes:
        _keep_acquisition(node, guess.acquisitions[node.GetID()])
    for contrast, node in guess.volumes.items():
        key = VOLUME_PARAMETERS.get(contrast)
        if key and getattr(parameters, key) is None:
            node.SetAttribute(GROUND, f"{contrast.value}: {guess.grounds[contrast]}")
            setattr(parameters, key, node)
            found = True
    if parameters.ageYears < 0 and guess.patient.age_years is not None:
        parameters.ageYears = round(shown_age(guess.patient.age_years), 3)
    if parameters.sex == NOT_KNOWN and guess.patient.sex in ("F", "M"):
        parameters.sex = guess.patient.sex
    segmentations = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    segmentations = of_one_visit(segmentations, chosen_volumes(parameters).values())
    if parameters.segmentation is None and len(segmentations) == 1:
        parameters.segmentation = segmentations[0]
    return found


def choose_visit(parameters: object, visit: Visit) -> None:
    """Choose a visit's images, regions and age in place of those of another; see choose_guessed."""
    with slicer.util.NodeModify(parameters.parameterNode):
        for name in VOLUME_PARAMETERS.values():
            setattr(parameters, name, None)
        parameters.segmentation = regions_of(visit)
        parameters.ageYears = -1.0  # of another day
        choose_guessed(parameters, visit.images)


def _keep_acquisition(node: slicer.vtkMRMLScalarVolumeNode, header: dict[str, object]) -> None:
    """Keep on a node what references need of its DICOM header: Slicer's loaders leave it out."""
    known = facts_from_node(node)
    for keyword in KEYWORDS:
        if keyword in header and keyword not in known:
            set_fact(node, keyword, header[keyword])


def choose_maps(parameters: object, nodes: Iterable[slicer.vtkMRMLScalarVolumeNode]) -> bool:
    """Choose maps of PDFFMapper by what they say they are; whether any was."""
    found = {contrast: node for node in nodes if (contrast := map_contrast(node))}
    for contrast, node in found.items():
        if contrast in VOLUME_PARAMETERS:
            setattr(parameters, VOLUME_PARAMETERS[contrast], node)
    return bool(found)


def empty_roles(parameters: object, node: slicer.vtkMRMLNode) -> bool:
    """Choose nothing where a node that goes was chosen; whether it was."""
    held = [
        key
        for key in (*VOLUME_PARAMETERS.values(), "segmentation", "earlierRegions")
        if getattr(parameters, key) is node
    ]
    for key in held:
        setattr(parameters, key, None)
    return bool(held)


def ground_of(role: str, node: slicer.vtkMRMLNode) -> str:
    """What told that a volume has this role, "" where the user did."""
    guessed, _, ground = (node.GetAttribute(GROUND) or "").partition(": ")
    return ground if guessed == role else ""


def in_two_roles(parameters: object) -> list[tuple[str, list[str]]]:
    """Each volume that is chosen more than once, by its name, and the roles it has."""
    roles: dict[str, list[str]] = {}
    names = {}
    for name, node in chosen_volumes(parameters).items():
        roles.setdefault(node.GetID(), []).append(name)
        names[node.GetID()] = node.GetName()
    return [(names[one], held) for one, held in roles.items() if len(held) > 1]


def on_other_grids(parameters: object) -> list[str]:
    """What each chosen volume is called that lies on another grid than the regions and must not."""
    volumes = chosen_contrasts(parameters)
    if len(volumes) < 2:
        return []
    on = volume_from_node(grid_node(volumes, parameters.segmentation))
    return [
        f"{contrast.value.replace('_', ' ')} ({node.GetName()})"
        for contrast, node in volumes.items()
        if not (contrast.on_own_grid or volume_from_node(node).same_grid(on))
    ]


def measured_choices(parameters: object) -> tuple:
    """What the numbers depend on, to tell whether it has changed."""
    names = ("ageYears", "sex", "useMarkups", "pointRadiusMm", "erosionMm", "n4", "texture")
    names += ("fractures", "fieldStrengthT", "resample", "showOverlay", "showNames", "earlierVisit")
    names += ("glucoseMmolL", "acceptShift", "leanMass", "spectra", "scores")
    nodes = [*chosen_volumes(parameters).items(), ("regions", parameters.segmentation)]
    nodes += [("earlier", parameters.earlierRegions)]
    chosen = [(name, node.GetID() if node else None) for name, node in nodes]
    return chosen, [getattr(parameters, name) for name in names]


def study_inputs(parameters: object) -> StudyInputs:
    """Images, regions and patient as chosen."""
    return StudyInputs(
        chosen_contrasts(parameters),
        parameters.segmentation,
        chosen_markups(parameters),
        age_years(parameters),
        sex(parameters),
        parameters.resample,
        parameters.pointRadiusMm,
        parameters.fieldStrengthT or None,
        chosen_spectra(parameters),
    )


def settings(parameters: object, scores: Iterable[str] = ()) -> Settings:
    """How to measure, as chosen; scores are read from their files."""
    return Settings(
        parameters.erosionMm,
        parameters.n4,
        texture=parameters.texture,
        fractures=parameters.fractures,
        scores=tuple(read_score(file) for file in scores),
        glucose_mmol_l=parameters.glucoseMmolL or None,
        accept_shift=parameters.acceptShift,
        lean_mass=parameters.leanMass,
    )


def console_command(parameters: object) -> str:
    """The line that does in the Python console what the panel does."""

    def node(one: slicer.vtkMRMLNode) -> str:
        return f"slicer.mrmlScene.GetNodeByID({one.GetID()!r})"

    images = ", ".join(f"{n!r}: {node(v)}" for n, v in chosen_volumes(parameters).items())
    inputs, words = study_inputs(parameters), [f"{{{images}}}"]
    if inputs.segmentation:
        words.append(node(inputs.segmentation))
    if inputs.markups:
        words.append(f"markups=[{', '.join(node(one) for one in inputs.markups)}]")
    if inputs.age_years is not None:
        words.append(f"age={inputs.age_years:g}")
    if inputs.sex:
        words.append(f"sex={inputs.sex!r}")
    for chosen in (inputs, settings(parameters)):
        for one in fields(chosen):
            value = getattr(chosen, one.name)
            if value != one.default and value and one.name not in _BY_NODE:
                words.append(f"{in_console(one.name)}={value!r}")
    if scores := chosen_scores(parameters):
        words.append(f"scores={scores!r}")
    if parameters.earlierRegions:  # before a file, as in the panel
        words.append(f"earlierVisit={node(parameters.earlierRegions)}")
    elif parameters.earlierVisit:
        words.append(f"earlierVisit={parameters.earlierVisit!r}")
    return (
        "from MarrowAssess import MarrowAssessLogic; "
        f"assessment = MarrowAssessLogic().assess({', '.join(words)})"
    )


_BY_NODE = ("volumes", "segmentation", "markups", "age_years", "sex")


def in_console(name: str) -> str:
    """What an attribute of StudyInputs or Settings is called in the console: "erosionMm" ..."""
    first, *others = name.split("_")
    return first + "".join(one.capitalize() for one in others)


def from_console(given: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Attributes of StudyInputs and of Settings, by what the console calls them.

    Raises:
        TypeError: there is no such attribute.
    """
    known = [{in_console(one.name): one.name for one in fields(c)} for c in (StudyInputs, Settings)]
    if unknown := sorted(set(given).difference(*known)):
        raise TypeError(f"assess() has no argument {', '.join(unknown)}.")
    return tuple(
        {names[name]: value for name, value in given.items() if name in names} for names in known
    )
