"""What the parameter node of the MarrowAssess module says: images, patient, regions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import slicer
from PDFFMapperLib.images.patient import PatientFacts, shown_age
from PDFFMapperLib.scene.origin import dicom_file
from PDFFMapperLib.scene.studies import study_of
from PDFFMapperLib.scene.volumes import facts_from_node, set_fact, volume_from_node

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.parameter_names import NOT_KNOWN, VOLUME_PARAMETERS
from MarrowAssessLib.scene.images import (
    grid_node,
    guess_contrast,
    guess_inputs,
    map_contrast,
    shown_first,
)
from MarrowAssessLib.scene.markups import region_markups
from MarrowAssessLib.scene.segments import drawn_on
from MarrowAssessLib.scene.visits import Visit, of_one_visit, patients_of, regions_of, visits
from MarrowAssessLib.study.acquisition_facts import KEYWORDS

GROUND = "MarrowAssessGround"  # attribute of a volume: the role it was guessed, and why
MEASURED = "MarrowAssess.measured"  # reference of regions to an image of the study they are of
_UNREAD = "MarrowAssessUnread"  # what its header holds for age and sex that tells neither
SEPARATOR = ";"


def chosen_volumes(parameters: object) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
    """The chosen volume nodes by name of their contrast."""
    chosen = {c.value: getattr(parameters, key) for c, key in VOLUME_PARAMETERS.items()}
    return {name: node for name, node in chosen.items() if node is not None}


def chosen_contrasts(parameters: object) -> dict[Contrast, slicer.vtkMRMLScalarVolumeNode]:
    """The chosen volume nodes by their contrast."""
    return {Contrast(name): node for name, node in chosen_volumes(parameters).items()}


def chosen_markups(parameters: object) -> list[slicer.vtkMRMLMarkupsNode]:
    """The markups that count as regions: those of the chosen images' visit."""
    if not parameters.useMarkups:
        return []
    regions = region_markups(slicer.util.getNodesByClass("vtkMRMLMarkupsNode"))
    return _drawn_here(regions, list(chosen_volumes(parameters).values())) if regions else []


def age_years(parameters: object) -> float | None:
    """The patient's age, None where it is not known."""
    return parameters.ageYears if parameters.ageYears >= 0 else None


def sex(parameters: object) -> str | None:
    """The patient's sex, None where it is not known."""
    return parameters.sex if parameters.sex != NOT_KNOWN else None


def unread_patient(parameters: object) -> str:
    """What the chosen images' headers hold for an age or sex that is still not known, in words."""
    known = PatientFacts(age_years(parameters), sex(parameters))
    for node in chosen_volumes(parameters).values():
        age_text, sex_text = (node.GetAttribute(f"{_UNREAD}{what}") for what in ("Age", "Sex"))
        known = known.completed(PatientFacts(unread_age=age_text or "", unread_sex=sex_text or ""))
    return " ".join(known.unread)


def listed(text: str) -> list[str]:
    """What a line of spectra, UTE series or scores lists: "L3=te20.rda,te30.rda; L1=press.rda"."""
    return [one.strip() for one in text.split(SEPARATOR) if one.strip()]


def scalar_volumes() -> list[slicer.vtkMRMLScalarVolumeNode]:
    """The images and maps of the scene, no label maps."""
    return [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if node.GetClassName() == "vtkMRMLScalarVolumeNode"
    ]


def images_of_no_study() -> tuple[slicer.vtkMRMLScalarVolumeNode, ...]:
    """The images that lie in no study and may be measured."""
    return tuple(node for node in scalar_volumes() if not study_of(node) and guess_contrast(node))


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
        if guess.patient.unread:
            node.SetAttribute(f"{_UNREAD}Age", guess.patient.unread_age)
            node.SetAttribute(f"{_UNREAD}Sex", guess.patient.unread_sex)
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
    segmentations = _drawn_here(segmentations, list(chosen_volumes(parameters).values()))
    if parameters.segmentation is None and len(segmentations) == 1:
        parameters.segmentation = segmentations[0]
    return found


def _drawn_here(
    regions: Iterable[slicer.vtkMRMLNode],
    images: Sequence[slicer.vtkMRMLScalarVolumeNode],
) -> list[slicer.vtkMRMLNode]:
    """Those regions of the images' visit; of no study, they are of the one they were drawn in."""
    of_study = bool(images) and all(map(study_of, images))

    def fits(one: slicer.vtkMRMLNode) -> bool:
        source = one.GetNodeReference(MEASURED)
        if source is None and one.GetAttribute(MEASURED):
            return False  # of images that are gone
        if source is None and one.IsA("vtkMRMLSegmentationNode"):
            source = drawn_on(one)
        if source is None or source in images:
            return True
        return bool(of_one_visit([source], images)) and not (of_study and not study_of(source))

    return [one for one in of_one_visit(regions, images) if fits(one)]


def leave_markups(before: Sequence[slicer.vtkMRMLScalarVolumeNode], parameters: object) -> bool:
    """Let points that count be those of images chosen before, where the study is another now.

    Returns:
        Whether the chosen images are of one visit.
    """
    images = list(chosen_volumes(parameters).values())
    studies = {bool(study_of(one)) for one in images}
    if len(studies) != 1 or len(of_one_visit(images, images[:1])) < len(images):
        return False
    before = [one for one in before if one.GetScene()]
    here = [one for one in of_one_visit(before, images) if bool(study_of(one)) in studies]
    if before and not here:
        _leave((), before)
    return True


def _leave_regions(parameters: object) -> None:
    """Let regions that no study holds and no image is known of be those of the chosen images."""
    drawn = [parameters.segmentation] if parameters.segmentation else []
    drawn = [one for one in drawn if drawn_on(one) is None]
    _leave(drawn, list(chosen_volumes(parameters).values()))


def _leave(
    drawn: Sequence[slicer.vtkMRMLSegmentationNode],
    images: Sequence[slicer.vtkMRMLScalarVolumeNode],
) -> None:
    if not images:
        return
    markups = region_markups(slicer.util.getNodesByClass("vtkMRMLMarkupsNode"))
    for one in _drawn_here([*drawn, *markups], images):
        if not study_of(one) and not one.GetAttribute(MEASURED):
            one.SetNodeReferenceID(MEASURED, images[0].GetID())
            one.SetAttribute(MEASURED, "1")  # a reference goes with its image


def choose_loaded(parameters: object, nodes: Sequence[slicer.vtkMRMLScalarVolumeNode]) -> bool:
    """Choose images that were loaded, unless they may belong to the chosen ones; whether it did.

    They belong to them where they are of one visit. What is not chosen yet is left to
    `choose_guessed`.
    """
    chosen = list(chosen_volumes(parameters).values())
    if not chosen or not nodes:
        return False
    if any(study_of(node) for node in of_one_visit(nodes, chosen)):
        return False
    visit = (visits(nodes) or [Visit((), "", tuple(nodes))])[-1]
    choose_visit(parameters, visit, another=0 in patients_of(nodes))
    return True


def choose_visit(parameters: object, visit: Visit, another: bool = False) -> None:
    """Choose a visit's images, regions and age in place of those of another; see choose_guessed.

    What else is known of another patient is forgotten: sex, spectra, scores and the like. Where
    the hierarchy names no patient, `another` tells that it is one.
    """
    another |= patients_of(chosen_volumes(parameters).values()) != patients_of(visit.images)
    _leave_regions(parameters)
    with slicer.util.NodeModify(parameters.parameterNode):
        for name in VOLUME_PARAMETERS.values():
            setattr(parameters, name, None)
        drawn = _drawn_here(regions_of(visit), visit.images)
        parameters.segmentation = drawn[-1] if drawn else None
        parameters.ageYears = -1.0  # of another day
        if another:
            parameters.sex, parameters.earlierVisit, parameters.earlierRegions = NOT_KNOWN, "", None
            parameters.spectra = parameters.ute = parameters.scores = ""
            parameters.glucoseMmolL = parameters.fieldStrengthT = 0.0
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


def clicked_nodes(
    parameters: object,
) -> tuple[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLScalarVolumeNode] | None:
    """The chosen image that is shown, and that on whose grid a click in it draws; None without."""
    volumes = chosen_contrasts(parameters)
    if not volumes:
        return None
    drawn = drawn_on(parameters.segmentation) if parameters.segmentation is not None else None
    return shown_first(volumes.values())[0], drawn or grid_node(volumes, None)


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
    names += ("glucoseMmolL", "acceptShift", "leanMass", "spectra", "ute", "scores")
    nodes = [*chosen_volumes(parameters).items(), ("regions", parameters.segmentation)]
    nodes += [("earlier", parameters.earlierRegions)]
    chosen = [(name, node.GetID() if node else None) for name, node in nodes]
    return chosen, [getattr(parameters, name) for name in names]
