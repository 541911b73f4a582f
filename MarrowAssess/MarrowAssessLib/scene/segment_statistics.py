"""Measurements of each segment by name, for tables that list segments."""

from __future__ import annotations

import slicer

from MarrowAssessLib.catalogue.parameter_names import VOLUME_PARAMETERS
from MarrowAssessLib.findings.assessment import assess
from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.scene.images import guess_contrast
from MarrowAssessLib.scene.study import study_from_nodes
from MarrowAssessLib.sources.inputs import StudyInputs


def segment_results(
    segmentation: slicer.vtkMRMLSegmentationNode,
    volume: slicer.vtkMRMLScalarVolumeNode | None = None,
    texture: bool = False,
) -> dict[str, dict[str, float]]:
    """Values by segment name and quantity, z-scores as quantity + "_z"; each segment's own.

    Args:
        segmentation: what to measure.
        volume: measured by its name and header where the MarrowAssess module works on another
            segmentation.
        texture: measure the texture of marrow as well.

    Raises:
        ValueError: see scene_study.study_from_nodes and assessment.assess.
    """
    chosen = slicer.mrmlScene.GetSingletonNode("MarrowAssess", "vtkMRMLScriptedModuleNode")
    volumes, age, sex, settings, resample = {}, None, None, Settings(texture=texture), False
    field_t = None
    if chosen is not None and chosen.GetNodeReference("segmentation") is segmentation:
        found = {c: chosen.GetNodeReference(key) for c, key in VOLUME_PARAMETERS.items()}
        volumes = {contrast: node for contrast, node in found.items() if node is not None}
        age = float(chosen.GetParameter("ageYears") or -1)
        age = age if age >= 0 else None
        sex = chosen.GetParameter("sex")
        sex = sex if sex in ("F", "M") else None
        field_t = float(chosen.GetParameter("fieldStrengthT") or 0) or None
        settings = Settings(
            float(chosen.GetParameter("erosionMm") or 0),
            chosen.GetParameter("n4") == "True",
            texture=texture,
        )
        resample = chosen.GetParameter("resample") == "True"
    if not volumes and volume is not None and (contrast := guess_contrast(volume)):
        volumes = {contrast: volume}
    if not volumes:
        return {}
    study = study_from_nodes(
        StudyInputs(
            volumes,
            segmentation,
            age_years=age,
            sex=sex,
            resample=resample,
            field_strength_t=field_t,
        )
    )
    values: dict[str, dict[str, float]] = {}
    for result in assess(study, settings).results:
        if len(result.measurement.measured) > 1:
            continue  # of several levels: no segment's own value
        of_segment = values.setdefault(result.measurement.measured[0], {})
        quantity = result.measurement.quantity
        of_segment[quantity] = result.measurement.value
        if result.z is not None:
            of_segment[quantity + "_z"] = result.z
    return values
