"""What an assessment says in a few sentences: its verdict, and what to know beside the numbers."""

from __future__ import annotations

from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.findings.result import Assessment, Headline
from MarrowAssessLib.findings.statement import PLAIN_SIGNAL_SAYS, UNUSUAL
from MarrowAssessLib.findings.summary import headlines
from MarrowAssessLib.references.expected import SEX_NOT_KNOWN
from MarrowAssessLib.sources import spectra
from MarrowAssessLib.study.map_scale import without_options

SAID_KINDS = ("frequency", "rule", "modelled", "published")


def verdict(assessment: Assessment) -> str:
    """The outcome in a few sentences, one a line: values outside the expected range, then notes."""
    texture = sum(result.is_texture for result in assessment.results)
    also = f"; {texture} texture features" if texture else ""
    lines = [
        f"{len(assessment.results) - texture} measurements, {len(assessment.scored)} with a "
        f"reference, {len(assessment.outside)} outside the expected 95 % range{also}."
    ]
    lines += [f"{result.sentence}." for result in assessment.outside]
    said = [f"{line.text.rstrip('.')}." for line in said_without_reference(assessment)]
    return "\n".join(lines + notes(assessment) + said)


def nothing_measured(assessment: Assessment) -> str:
    """Why an assessment has no number at all."""
    images = ", ".join(contrast.value for contrast in assessment.study.volumes)
    regions = ", ".join(region.name for region in assessment.study.regions)
    single = (s for s in assessment.skipped if not QUANTITIES[s.quantity].site_in_definition)
    reasons = list(dict.fromkeys(one.reason for one in single))
    said = (
        f"Nothing can be measured on {images} in {regions}"
        + (f" ({'; '.join(reasons)})" if reasons else "")
        + "; give images and regions that go together, such as marrow with muscle or disc on T1, "
        "or any region on a PDFF map."
    )
    return " ".join([said, *assessment.study.notes])  # such as what was not found, and why


def said_without_reference(assessment: Assessment) -> list[Headline]:
    """What frequencies, rules, a model and publications say of values without a z-score."""
    return [line for line in headlines(assessment) if line.kind in SAID_KINDS]


def notes(assessment: Assessment) -> list[str]:
    """What to know beside the numbers, each on a short line: signatures, what is unusual, doubts,
    a missing age, what was left out.
    """
    found = [f"{image}: {why}" for image, why in assessment.contradicted.items()]
    pathologic = [one.region for one in assessment.signatures if one.best == "pathologic"]
    if pathologic:
        found.append(f"The signals look like pathologic marrow: {', '.join(pathologic)}.")
    for one in assessment.scores:
        said = "; ".join([one.text, *one.limits, *one.card[:1]])
        found.append(f"Score of your own training: {said}.")
    lines = headlines(assessment)
    said = [line for line in lines if line.kind in SAID_KINDS]
    if unusual := [line.what for line in said if line.tone == UNUSUAL]:
        found.append(f"Unusual by what is published: {'; '.join(unusual)}.")
    lacks_age = assessment.study.age_years is None  # said below, once
    found += [line.says for line in lines if line.kind == "nothing" and not lacks_age]
    if alone := assessment.unmeasured:
        names = ", ".join(region.name for region in alone)
        found.append(f"{names}: the plain signal only. {PLAIN_SIGNAL_SAYS}")
    found += _refused(assessment, bool(alone))
    why = (one.reason for one in assessment.skipped if one.quantity == "mrs_pdff")
    found += [f"{spectra.OF} {without_options(reason)}." for reason in why]
    if not any(one.measurement.quantity == "middle_height" for one in assessment.results):
        why = (one.reason for one in assessment.skipped if one.quantity == "height_loss")
        found += [f"No heights: {reason.rstrip('.')}." for reason in list(why)[:1]]
    if assessment.doubtful:
        names = ", ".join(region.name for region in assessment.doubtful)
        found.append(f"Doubtful, so without a verdict until you have looked: {names}.")
    if lacks_age:
        found.append("Give the patient's age to compare with what is expected.")
    keys = (r.measurement.quantity for r in assessment.results if SEX_NOT_KNOWN in r.no_reference)
    if of_a_sex := ", ".join(QUANTITIES[key].name for key in dict.fromkeys(keys)):
        found.append(f"Give the patient's sex to compare {of_a_sex} with what is expected.")
    if left_out := assessment.study.inputs.get("left out"):
        found.append(f"Left out: {left_out}.")
    return found + [note for note in assessment.notes if not note.startswith(spectra.OF)]


def _refused(assessment: Assessment, plain: bool) -> list[str]:
    """Images that nothing could be measured of, and why; plain signals are told elsewhere."""
    measured = {
        image for one in assessment.results for image in QUANTITIES[one.measurement.quantity].images
    }
    found = []
    for contrast in assessment.study.volumes:
        of_it = (s.reason for s in assessment.skipped if contrast in QUANTITIES[s.quantity].images)
        if plain and not contrast.on_own_grid:
            continue
        if contrast not in measured and (reason := next(of_it, "")):
            name = contrast.value.replace("_", " ")
            found.append(f"{name} was not measured: {without_options(reason)}.")
    return found
