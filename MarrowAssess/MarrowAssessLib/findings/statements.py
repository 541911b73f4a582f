"""What can honestly be said about a number besides a verdict on a distribution.

Four kinds, in the order of their weight: how often normal people of the age show the same
(frequency), published cut-offs and findings (rule), what the physics of the sequence predicts
(modelled), and published values that do not score (published). A tone goes with some: "expected"
or "unusual"; the others leave it open. None of them is a p-value, a percentile or a diagnosis.
"""

from __future__ import annotations

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.findings.signature import (
    MARROW_REVIEW_DOI,
    WORD_LIMITS,
    WORDS,
    possible_words,
)
from MarrowAssessLib.findings.statement import (
    EXPECTED,
    FREQUENCY,
    MODELLED,
    OPEN,
    PUBLISHED,
    RULE,
    UNUSUAL,
    Statement,
)
from MarrowAssessLib.measures.measurement import Measurement
from MarrowAssessLib.references.beside import Threshold, context_values
from MarrowAssessLib.references.findings_by_age import (
    UNCOMMON_PERCENT,
    UNUSUAL_PERCENT,
    Frequency,
    frequencies,
)
from MarrowAssessLib.references.modelled import (
    PREDICTED,
    VERDICT_FROM_YEARS,
    Sequence,
    modelled_band,
)
from MarrowAssessLib.references.notes import notes_on
from MarrowAssessLib.study.acquisition_facts import field_strength_t, shading_corrected, times_ms
from MarrowAssessLib.study.study import Study

ABOVE, AT_MOST = "above", "at most"
# What a number on one side of a finding's limit looks like.
_LOOKS = {
    ("t1_marrow_disc", 1.0, ABOVE): "brighter than disc",
    ("t1_marrow_disc", 1.0, AT_MOST): "no brighter than disc",
    ("t1_marrow_muscle", 1.0, ABOVE): "brighter than muscle",
    ("t1_marrow_muscle", 1.0, AT_MOST): "no brighter than muscle",
    ("fs_t2_marrow_muscle", 1.0, ABOVE): "brighter than muscle on fat-suppressed T2",
    ("fs_t2_marrow_muscle", 1.0, AT_MOST): "no brighter than muscle on fat-suppressed T2",
    ("fs_t2_marrow_muscle", 2.0, ABOVE): "bright on fat-suppressed T2 (over twice muscle)",
    ("fs_t2_marrow_muscle", 2.0, AT_MOST): "not bright on fat-suppressed T2 (up to twice muscle)",
    ("signal_drop", 20.0, ABOVE): "loses signal in opposed phase",
    ("signal_drop", 20.0, AT_MOST): "loses no signal in opposed phase (less than 20 %)",
}
GENANT_DOI = "10.1002/jbmr.5650080915"
UPTAKE_SCORES = ("marrow_deauville", "marrow_deauville_peak", "lesion_deauville")
UPTAKE_SCORE_DOI = "10.1200/JCO.2013.53.5229"  # Barrington 2014
LOW_PERCENT = 20.0  # of height lost, from which bodies are graded
_CARROLL = ("t1_marrow_disc", "t1_marrow_muscle")
_WORDED = {"fs_t2_marrow_muscle": "fat-suppressed T2", "t2_marrow_muscle": "T2"}
_MOST_PUBLISHED = 3
ADULT_YEARS = 18
"""From when on publications without an age range, all of adults, are worth showing."""


def statements(
    measurement: Measurement, study: Study, cutoffs: list[Threshold], n4: bool, scored: bool
) -> list[Statement]:
    """What can be said about a number; without an age only the rules.

    Args:
        measurement: the number.
        study: its images, for field strength, times and shading.
        cutoffs: the published cut-offs that hold at this age.
        n4: whether coil shading was corrected.
        scored: whether a distribution scores it; then neither model nor other publications do.
    """
    found = _frequency_statements(measurement, study)
    found += _rules(measurement, study, cutoffs, scored)
    if study.age_years is not None and not scored:
        found += _modelled(measurement, study, n4)
        found += [] if found else _published(measurement, study)
    return found


def comparable_by(quantity: str) -> str:
    """What would make a number comparable that has no published distribution; "" if unknown."""
    needs = QUANTITIES[quantity].images
    plain = (Contrast.T1, Contrast.T2, Contrast.FS_T2, Contrast.IN_PHASE, Contrast.OPPOSED_PHASE)
    if not needs or needs[0] not in plain:
        return "own controls"
    return "a PDFF map, or own controls"


def side_of(measurement: Measurement, limit: float) -> str:
    """ABOVE or AT_MOST where the number's whole 95 % interval lies there; else OPEN."""
    if measurement.ci95 is None:
        return OPEN
    low, high = measurement.ci95
    return ABOVE if low > limit else AT_MOST if high <= limit else OPEN


# --- frequencies --------------------------------------------------------------------------------


def _frequency_statements(measurement: Measurement, study: Study) -> list[Statement]:
    if study.age_years is None or not measurement.site:
        return []
    return [
        _frequency_statement(one, side_of(measurement, one.limit), measurement.ci95 is None)
        for one in frequencies(measurement.site, study.age_years, study.sex, measurement.quantity)
        if one.scores
    ]


def _frequency_statement(one: Frequency, side: str, unknown: bool = False) -> Statement:
    if side == OPEN:
        why = "it has no interval beside" if unknown else "its interval holds"
        text = (
            f"{why} the limit of {one.limit:g}: no statement; {one.finding}: "
            f"{one.percent:g} % of {one.people} {_interval(one.interval)}"
        )
        return Statement(FREQUENCY, OPEN, text, one.records)
    shown = side == one.side
    percent, interval = one.share(shown)
    looks = _LOOKS[one.quantity, one.limit, side]
    if one.anywhere and shown:
        text = (
            f"{looks}; {one.finding} is seen in {percent:g} % of {one.people} "
            f"{_interval(interval)}, at this place less often"
        )
        return Statement(FREQUENCY, OPEN, text, one.records)
    least = "at least " if one.anywhere else ""
    if percent >= 50:
        text = f"{looks}, as in {least}{percent:g} % of {one.people} {_interval(interval)}"
    elif interval[1] <= UNCOMMON_PERCENT:
        text = f"{looks}: uncommon (at most {interval[1]:.0f} %) in {one.people}"
    else:
        text = f"{looks}: seen in {least}{percent:g} % of {one.people} {_interval(interval)}"
    tone = UNUSUAL if percent < UNUSUAL_PERCENT and not one.anywhere else EXPECTED
    return Statement(FREQUENCY, tone, text, one.records)


def _interval(ends: tuple[float, float]) -> str:
    return f"({ends[0]:.0f}-{ends[1]:.0f} %)"


# --- rules --------------------------------------------------------------------------------------


def _rules(
    measurement: Measurement, study: Study, cutoffs: list[Threshold], scored: bool
) -> list[Statement]:
    quantity, value = measurement.quantity, measurement.value
    read = [c for c in cutoffs if all(r.evidence != "memory" for r in c.records)]
    if quantity in UPTAKE_SCORES:
        return [Statement(RULE, OPEN, measurement.words, (), UPTAKE_SCORE_DOI)]
    if measurement.words:
        tone = {ABOVE: UNUSUAL, AT_MOST: EXPECTED}.get(side_of(measurement, LOW_PERCENT), OPEN)
        return [Statement(RULE, tone, measurement.words, (), GENANT_DOI)]
    if quantity in _CARROLL:
        return [_carroll(measurement, one) for one in read if one.applies_to == "marrow"]
    if quantity in ("signal_drop", "opposed_in_ratio"):
        return _of_lesions(measurement, [c for c in read if c.applies_to != "marrow"])
    if quantity in _WORDED:
        return _worded(measurement, study)
    return [
        Statement(
            RULE,
            OPEN,
            f"{one.side} {one.value:g}, a cut-off for {one.meaning}"
            + (f" ({one.accuracy})" if one.accuracy else ""),
            one.records,
        )
        for one in read
        if one.applies_to == "marrow" and one.crossed(value) and not scored
    ]


def _carroll(measurement: Measurement, rule: Threshold) -> Statement:
    """The published ratio of 1, above which marrow was normal and below which infiltrated."""
    side = side_of(measurement, rule.value)
    unsure = (
        "on no sure side of" if measurement.ci95 else "without an interval, so on no sure side of"
    )
    where = {ABOVE: "above", AT_MOST: "at or below"}.get(side, unsure)
    tone = {ABOVE: EXPECTED, AT_MOST: UNUSUAL}.get(side, OPEN)
    return Statement(RULE, tone, f"{where} {rule.value:g}: {rule.accuracy}", rule.records)


def _of_lesions(measurement: Measurement, cutoffs: list[Threshold]) -> list[Statement]:
    """Cut-offs that were found for lesions and fractures: whether all or none are crossed."""
    if not cutoffs:
        return []
    unit = QUANTITIES[measurement.quantity].unit
    ends = sorted({one.value for one in cutoffs})
    span = f"{ends[0]:g}-{ends[-1]:g} {unit}".strip()
    crossed = [one.crossed(measurement.value) for one in cutoffs]
    records = tuple({r.id: r for one in cutoffs for r in one.records}.values())
    if all(crossed):
        text, tone = f"beyond every cut-off ({span}) for malignant lesions and fractures", UNUSUAL
    elif not any(crossed):
        text = f"on the benign side of every cut-off ({span}) for malignant lesions and fractures"
        tone = EXPECTED
    else:
        text, tone = f"between the cut-offs ({span}) for malignant lesions and fractures", OPEN
    return [Statement(RULE, tone, text, records)]


def _worded(measurement: Measurement, study: Study) -> list[Statement]:
    """Low, intermediate or high, as a review words it, or what of these the interval allows.

    Nothing where it allows all of them, or where all normal children are high.
    """
    sequence = _WORDED[measurement.quantity]
    if study.age_years is not None and study.age_years < 4:
        return []
    low, high = limits = WORD_LIMITS[sequence]
    words = possible_words(measurement, limits, WORDS) if measurement.ci95 else ()
    if not words:
        return []
    meaning = {
        "low": "yellow marrow is low" if sequence != "T2" else "no marrow is low",
        "intermediate": "red marrow is intermediate",
        "high": "pathologic marrow is high" + (" and yellow too" if sequence == "T2" else ""),
    }
    meant = "; ".join(meaning[word] for word in words)
    text = (
        f"{' or '.join(words)} on {sequence} ({meant}; limits {low:g} and {high:g} by convention)"
    )
    return [Statement(RULE, OPEN, text, (), MARROW_REVIEW_DOI)]


# --- model and publications ---------------------------------------------------------------------


def _modelled(measurement: Measurement, study: Study, n4: bool) -> list[Statement]:
    quantity, contrast = measurement.quantity, QUANTITIES[measurement.quantity].images[:1]
    if quantity not in PREDICTED:  # before headers are read for it
        return []
    if contrast == (Contrast.FS_T2,) and not shading_corrected(study, Contrast.FS_T2, n4):
        return []
    sequence = Sequence(*times_ms(study, contrast[0])) if contrast else Sequence()
    band = modelled_band(
        quantity, measurement.site, study.age_years, study.sex, field_strength_t(study), sequence
    )
    if band is None:
        return []
    verdict, known = band.verdict(measurement.value), QUANTITIES[quantity]
    ends = measurement.ci95 or (measurement.value,)
    sure = all(band.verdict(end) == verdict for end in ends)
    fields = " and ".join(f"{field:g}" for field in band.fields_t)
    text = (
        f"{'' if sure or verdict == 'within' else 'not surely '}{verdict} what a model of the "
        f"sequence predicts at {fields} T: "
        f"{band.low:.{known.digits}f} to {known.format(band.high)} (modelled, not published)"
    )
    calls = quantity in ("opposed_in_ratio", "signal_drop")
    unusual = calls and study.age_years >= VERDICT_FROM_YEARS and verdict != "within" and sure
    tone = UNUSUAL if unusual else OPEN
    return [Statement(MODELLED, tone, text, band.records, agrees=verdict == "within")]


def _published(measurement: Measurement, study: Study) -> list[Statement]:
    """Facts of the age, then values that do not score and why not."""
    quantity, site = measurement.quantity, measurement.site
    found = [
        Statement(PUBLISHED, OPEN, note.text.rstrip("."), note.records)
        for note in notes_on(quantity, study.age_years, site)
        if note.of_age
    ]
    found += [
        Statement(
            PUBLISHED,
            OPEN,
            f"published, not scored: {QUANTITIES[one.quantity].name} {one.value} in "
            f"{one.population} ({one.ages}; {one.why_not})",
            (one.record,),
        )
        for one in context_values(quantity, site, study.age_years, study.sex, True)
        if one.healthy
        and one.record.evidence != "memory"
        and (one.of_known_age or study.age_years >= ADULT_YEARS)
    ]
    return found[:_MOST_PUBLISHED]
