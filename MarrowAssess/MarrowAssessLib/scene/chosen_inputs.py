"""The inputs and settings of a measurement, from the parameter node and from the console."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields

import slicer

from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.prediction.score_file import read_score
from MarrowAssessLib.scene.choices import (
    age_years,
    chosen_contrasts,
    chosen_markups,
    chosen_volumes,
    listed,
    sex,
)
from MarrowAssessLib.sources.inputs import StudyInputs


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
        listed(parameters.spectra),
        listed(parameters.ute),
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
    if scores := listed(parameters.scores):
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
