"""An assessment in a few lines: what report, panel and terminal say first."""

from __future__ import annotations

from MarrowAssessLib.catalogue.anatomy import VERTEBRAE
from MarrowAssessLib.catalogue.quantities import QUANTITIES
from MarrowAssessLib.findings.result import Assessment, Headline, Result
from MarrowAssessLib.findings.signature import MARROW_REVIEW_DOI
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
from MarrowAssessLib.findings.statements import comparable_by

_WEIGHT = {UNUSUAL: 0, OPEN: 1, EXPECTED: 2}
_MOST_OPEN_LINES = 6


def headlines(assessment: Assessment) -> list[Headline]:
    """The lines in the order of their weight; never empty.

    Values outside their range, signatures, what is unusual by a frequency or rule, regions in
    doubt, what is at a limit or modelled, what is as expected, and what nothing could be said of.
    """
    spoken = _spoken(assessment)
    lines = [
        Headline(image, why, OPEN, "caution") for image, why in assessment.contradicted.items()
    ]
    lines += _outside(assessment) + _signatures(assessment)
    lines += [one for one in spoken if one.tone == UNUSUAL]
    lines += _doubtful(assessment)
    lines += _open(spoken, assessment)[:_MOST_OPEN_LINES]
    lines += [one for one in spoken if one.tone == EXPECTED]
    if assessment.scored and not assessment.outside:
        says = "No value that has a reference lies outside its 95 % range."
        lines.append(Headline("", says, EXPECTED, "verdict"))
    age_lacks = assessment.study.age_years is None
    told = spoken or assessment.contradicted or _all_doubted(assessment)
    if not assessment.scored and (age_lacks or not told):
        lines.append(Headline("", _why_nothing(assessment), OPEN, "nothing"))
    pattern = assessment.t1_pattern
    if pattern and not pattern.rule_holds:
        ids = tuple(record.id for record in pattern.records)
        lines.append(Headline("Caution", pattern.text, OPEN, "caution", records=ids))
    return lines


def _doubtful(assessment: Assessment) -> list[Headline]:
    """Regions that are doubted for the same reasons share a line: a level's doubts are of all."""
    groups: dict[str, list[str]] = {}
    for region in assessment.doubtful:
        groups.setdefault(" ".join(region.cautions), []).append(region.name)
    says = "numbers get no verdict until somebody has looked"
    return [
        Headline(f"Doubtful: {', '.join(names)}", f"{says}: {reasons}", OPEN, "doubtful")
        for reasons, names in groups.items()
    ]


def _open(spoken: list[Headline], assessment: Assessment) -> list[Headline]:
    """What has no tone; mere publications only where nothing firmer speaks."""
    firmer = assessment.scored or any(one.kind != PUBLISHED for one in spoken)
    return [one for one in spoken if one.tone == OPEN and not (firmer and one.kind == PUBLISHED)]


def _outside(assessment: Assessment) -> list[Headline]:
    lines = []
    for result in assessment.outside:
        what, says = result.sentence.split(": ", 1)
        source = result.expectation.distribution.source
        ids = tuple(record.id for record in result.expectation.records)
        lines.append(Headline(what, f"{says} ({source})", UNUSUAL, "verdict", result, ids))
    return lines


def _signatures(assessment: Assessment) -> list[Headline]:
    lines = []
    for one in assessment.signatures:
        name = one.site or one.region
        if one.flip_flop:
            says = "flip-flop sign: T1 signal lost, fat-suppressed T2 homogeneously bright"
            lines.append(Headline(name, says, UNUSUAL, "signature", source=MARROW_REVIEW_DOI))
        if one.best == "pathologic":
            against = one.disagree["pathologic"]
            but = f", against it: {', '.join(against)}" if against else ""
            share = 100 * one.match["pathologic"]
            says = f"signal matches pathologic marrow in {share:.0f} % of the sequences{but}"
            lines.append(Headline(name, says, UNUSUAL, "signature", source=MARROW_REVIEW_DOI))
    return lines


def _spoken(assessment: Assessment) -> list[Headline]:
    """Statements about unscored values; sites of which the same can be said share a line."""
    groups: dict[tuple[str, tuple[Statement, ...]], list[Result]] = {}
    unscored = [r for r in assessment.results if r.z is None and r.statements]
    for result in sorted(unscored, key=_rank):
        if QUANTITIES[result.measurement.quantity].color_rank is None:
            continue  # another form of a quantity that has a color
        key = result.measurement.quantity, tuple(_worth_saying(result.statements))
        groups.setdefault(key, []).append(result)
    lines = [_statement_line(results, said) for (_, said), results in groups.items()]
    return sorted(lines, key=lambda line: (_WEIGHT[line.tone], line.kind == PUBLISHED))


def _worth_saying(said: list[Statement]) -> list[Statement]:
    """Without a modelled band that only agrees with what is published."""
    firmer = [one for one in said if one.kind in (FREQUENCY, RULE)]
    return [one for one in said if one.kind != MODELLED or not one.agrees or not firmer]


def _statement_line(results: list[Result], said: tuple[Statement, ...]) -> Headline:
    ids = dict.fromkeys(record.id for one in said for record in one.records)
    return Headline(
        _of_sites(results),
        "; ".join(one.text for one in said),
        results[0].tone,
        said[0].kind,
        None,
        tuple(ids),
        next((one.source for one in said if one.source), ""),
    )


def _rank(result: Result) -> int:
    rank = QUANTITIES[result.measurement.quantity].color_rank
    return len(QUANTITIES) if rank is None else rank


def _of_sites(results: list[Result]) -> str:
    """Such as "L1-L4 T1 marrow/disc 1.21-1.35"."""
    quantity = QUANTITIES[results[0].measurement.quantity]
    names = [r.measurement.site or r.measurement.measured[0] for r in results]
    values = [r.measurement.value for r in results]
    low, high = (f"{v:.{quantity.digits}f}" for v in (min(values), max(values)))
    value = low if low == high else f"{low} to {high}"
    return f"{_site_list(names)} {quantity.name} {value} {quantity.unit}".rstrip()


def _site_list(names: list[str]) -> str:
    """Neighboring vertebrae as one run: "L1-L4", "L1, L3 and sacrum"."""
    levels = [VERTEBRAE.index(n) for n in names if n in VERTEBRAE and n != "L6"]
    run = sorted(levels)
    if len(run) > 2 and len(run) == len(names) and run == list(range(run[0], run[-1] + 1)):
        return f"{VERTEBRAE[run[0]]}-{VERTEBRAE[run[-1]]}"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _all_doubted(assessment: Assessment) -> bool:
    """Then references may speak of the values, but their regions are doubtful: that is said."""
    return bool(assessment.results) and all(one.doubtful for one in assessment.results)


def _why_nothing(assessment: Assessment) -> str:
    if assessment.study.age_years is None:
        return "No value could be compared with an age reference: the patient's age is not known."
    compared = (one for one in assessment.results if not one.doubtful)
    wants = {comparable_by(one.measurement.quantity) for one in compared}
    return (
        "No published reference, frequency or rule speaks of these values at this age; "
        f"{min(wants, default='own controls')} would make them comparable."
    )
