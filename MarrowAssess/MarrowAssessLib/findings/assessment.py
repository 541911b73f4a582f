"""Measurements beside what is expected at the patient's age: z-score, percentile, verdict."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from PDFFMapperLib.maps.progress import Progress

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.lean_mass import lean_first
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.findings.result import Assessment, Result
from MarrowAssessLib.findings.signature import signatures
from MarrowAssessLib.findings.statement import DOUBTFUL, NOT_COMPARED
from MarrowAssessLib.findings.statements import comparable_by, statements
from MarrowAssessLib.measures.book import Settings
from MarrowAssessLib.measures.heights import HEIGHTS
from MarrowAssessLib.measures.measure import OUTLIERS, measure
from MarrowAssessLib.measures.measurement import Measured, Measurement, order
from MarrowAssessLib.measures.shading import NORMALIZED_PER_MM, PER_MM
from MarrowAssessLib.measures.signal_ratios import FAR_APART_MM
from MarrowAssessLib.measures.spectroscopy import SPECTRA
from MarrowAssessLib.measures.spectrum_and_map import beside_map
from MarrowAssessLib.measures.spectrum_place import elsewhere
from MarrowAssessLib.measures.ute import UTE
from MarrowAssessLib.prediction.patient_score import PatientScore, refuse_exploratory
from MarrowAssessLib.references.beside import thresholds as published_cutoffs
from MarrowAssessLib.references.expected import (
    expected,
    in_far_field,
    no_reference_reason,
)
from MarrowAssessLib.references.findings_by_age import frequencies
from MarrowAssessLib.references.marrow_patterns import (
    marrow_conversion,
    t1_disc_pattern,
)
from MarrowAssessLib.references.records import Record, fat_spectrum_of
from MarrowAssessLib.study.acquisition_facts import field_strength_t
from MarrowAssessLib.study.bias_field import N4_METHOD
from MarrowAssessLib.study.study import Study

_PDFF = (Contrast.PDFF,)


def assess(
    study: Study,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Assessment:
    """Measure a study and set each value beside its age and sex reference.

    Raises:
        ValueError: a score is exploratory, or see measure.measure.
        InterruptedError: see measure.measure.
    """
    settings = settings or Settings()
    for score in settings.scores:
        refuse_exploratory(score)
    measured = measure(study, settings, progress)
    age, field_t = study.age_years, field_strength_t(study)
    sites = sorted({region.site for region in study.with_role(Role.MARROW) if region.site})
    found = [marrow_conversion(site, age) for site in sites] if age is not None else []
    seen = [f for site in sites for f in frequencies(site, age, study.sex)] if found else []
    scores, not_given = _scores(study, settings, measured)
    return Assessment(
        study=study,
        settings=settings,
        results=[
            _result(m, study, settings, field_t)
            for m in sorted(measured.measurements, key=partial(order, lean=lean_first(age)))
        ],
        signatures=signatures(*_without_doubtful(study, measured)),
        skipped=measured.skipped,
        contradicted=measured.contradicted,
        t1_pattern=t1_disc_pattern(age) if age is not None else None,
        conversions=[conversion for conversion in found if conversion],
        by_eye=list(dict.fromkeys(one for one in seen if one.by_eye and one.scores)),
        scores=scores,
        methods=_methods(settings)
        + ([SPECTRA] if study.spectra else [])
        + ([UTE] if study.bones else []),
        notes=not_given + _misplaced(study) + _beside_maps(study),
    )


def _misplaced(study: Study) -> list[str]:
    """Of spectra whose box lies in another level than that of their name."""
    found = [elsewhere(*one, study.regions, study.grid) for one in study.spectra.items()]
    return [text for text in found if text]


def _beside_maps(study: Study) -> list[str]:
    """Of spectra and the PDFF map in the same voxel; where they differ the number says it."""
    if not (study.spectra and Contrast.PDFF in study.volumes):
        return []
    pdff = study.volumes[Contrast.PDFF]
    found = [beside_map(site, one, pdff) for site, one in study.spectra.items()]
    return [one.text for one in found if one and not one.apart]


def _scores(
    study: Study, settings: Settings, measured: Measured
) -> tuple[list[PatientScore], list[str]]:
    """The patient's scores, and why some cannot be given."""
    if not settings.scores:
        return [], []
    from MarrowAssessLib.findings.scores import score_of_study

    found, not_given = [], []
    for score in settings.scores:
        try:
            found.append(score_of_study(score, study, measured.corrected))
        except ValueError as error:
            not_given.append(f"The score for {score.outcome} is not given. {error}")
    return found, not_given


def _without_doubtful(study: Study, measured: Measured) -> tuple[Study, Measured]:
    """What may enter a signature."""
    right = [region for region in study.regions if not region.doubtful]
    if len(right) == len(study.regions):
        return study, measured
    if not right:  # a study has regions
        return study, replace(measured, measurements=[])
    names = {region.name for region in right}
    numbers = [m for m in measured.measurements if names.issuperset(m.regions)]
    return replace(study, regions=right), replace(measured, measurements=numbers)


def _result(
    measurement: Measurement, study: Study, settings: Settings, field_t: float | None
) -> Result:
    quantity, site = measurement.quantity, measurement.site
    asked = (quantity, site, study.age_years, study.sex)
    expectation = expected(*asked, field_t)
    told = measurement.comparable and not in_far_field(quantity, field_t)
    cutoffs = published_cutoffs(*asked) if told else []
    doubtful = tuple(
        region.name
        for region in study.regions
        if region.doubtful and region.name in measurement.regions
    )
    reason = ""
    if study.age_years is None:
        reason = "the patient's age is not known"
    elif expectation is None:
        reason = no_reference_reason(*asked, field_t)
        if "no published distribution" in reason:
            reason += f"; {comparable_by(quantity)} would make it comparable"
    found = Result(measurement, expectation, reason, None, None, "no reference", cutoffs, doubtful)
    if doubtful:
        found.verdict = DOUBTFUL
        return found
    if not measurement.comparable:
        return Result(measurement, None, NOT_COMPARED, None, None, "no reference", [])
    if expectation is not None:
        found.z = expectation.z_score(measurement.value)
        found.percentile = expectation.percentile(measurement.value)
        found.verdict = expectation.verdict(measurement.value)
        _add_spectrum_caution(measurement, study, expectation.records[0])
    scored = expectation is not None
    found.statements = statements(measurement, study, cutoffs, settings.n4, scored)
    return found


def _add_spectrum_caution(measurement: Measurement, study: Study, reference: Record) -> None:
    """Say it where the reference's PDFF rests on another fat spectrum than the map's."""
    images = QUANTITIES[measurement.quantity].images
    used = study.volumes[images[0]].attributes.get("FatSpectrum") if images == _PDFF else None
    if used is None or reference.evidence == "own cohort":
        return
    known = fat_spectrum_of(reference)
    far = "some points" if measurement.systematic is None else "up to the systematic error"
    if known is None:
        measurement.cautions.append(
            f"The fat spectrum behind the reference ({reference.source}) is not known; with "
            f"another than the map's ({used}) PDFF differs by {far}."
        )
    elif known != used:
        measurement.cautions.append(
            f"The reference ({reference.source}) was measured with the fat spectrum {known}, the "
            f"map with {used}: by that alone PDFF differs by {far}."
        )


def _methods(settings: Settings) -> list[str]:
    erosion = (
        f"Regions were eroded by {settings.erosion_mm:g} mm (noise was not)."
        if settings.erosion_mm
        else "Regions were used as drawn, without erosion."
    )
    n4 = (
        f"T1, T2 and fat-suppressed T2 were corrected: {N4_METHOD}."
        if settings.n4
        else "No bias-field correction was applied; intervals of marrow over muscle more than "
        f"{FAR_APART_MM:g} mm away and of VBQ hold what coil shading may do: the true ratio may be "
        f"lower by {100 * PER_MM[0]:.2f} % or higher by {100 * PER_MM[1]:.2f} % for each mm (95 % "
        "of what N4 changed in 18 lumbar images); elsewhere than in the spine the latter either "
        f"way, of images that the scanner normalized (NORM) {100 * NORMALIZED_PER_MM:.2f} %."
    )
    interval = (
        "95 % intervals come from the spread and correlation of the voxels inside the regions; "
        "they do not include drawing the regions anew or scanning again."
    )
    return [OUTLIERS, erosion, n4, interval, *([HEIGHTS] if settings.fractures else [])]
