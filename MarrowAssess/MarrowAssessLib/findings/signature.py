"""Red, yellow and pathologic marrow: what their signal should be, and what is seen."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from MarrowAssessLib.catalogue.anatomy import Role, spine_region
from MarrowAssessLib.measures.measurement import Measured, Measurement
from MarrowAssessLib.study.regions import PERCENTILES, Region
from MarrowAssessLib.study.study import Study

MARROW_REVIEW_DOI = "10.3348/jksr.2024.0039"
SOURCE = f"doi {MARROW_REVIEW_DOI} (review of marrow MRI in children)"
WORDS = ("low", "intermediate", "high")
MARROW_TYPES = ("red", "yellow", "pathologic")

# Expected finding per sequence and marrow type, as the review words them.
EXPECTED = {
    "T1": {"red": "intermediate", "yellow": "high", "pathologic": "low"},
    "T2": {"red": "intermediate", "yellow": "high", "pathologic": "high"},
    "fat-suppressed T2": {"red": "intermediate", "yellow": "low", "pathologic": "high"},
    "chemical shift": {"red": "drop", "yellow": "drop", "pathologic": "no drop"},
    "enhancement": {"red": "enhances", "yellow": "none", "pathologic": "enhances"},
}

# The review gives words; these are the numbers that this software puts on them: the ratios of
# marrow to muscle at which low becomes intermediate and intermediate becomes high. The lower limit
# on T1 is published (Carroll 1997, doi 10.1002/jmri.1880070224); the others are conventions.
WORD_LIMITS = {
    "T1": (1.0, 2.0),
    "T2": (1.0, 3.0),
    "fat-suppressed T2": (1.0, 2.0),
}
# Opposed/in-phase 0.80; published cut-offs are 0.80, 0.82 and 0.856 (records R110, R298, R297).
SIGNAL_DROP_LIMIT_PERCENT = 20.0
ENHANCEMENT_LIMIT_PERCENT = 10.0  # convention: above the repeatability of signal
HOMOGENEOUS_SPREAD = 0.25  # robust coefficient of variation; convention
_OR = " or "
CLEAR_LEAD = 0.25  # of match between the best and the next type; convention


@dataclass(frozen=True)
class Finding:
    """One sequence's word for a marrow region, such as T1 "low".

    Where the number's interval allows several words the word names them, "intermediate or high";
    it then speaks against the other types, and for none.
    """

    sequence: str
    word: str
    evidence: str
    suppressed: str = ""

    @property
    def words(self) -> list[str]:
        """What it may be."""
        return self.word.split(_OR)

    @property
    def sure(self) -> bool:
        """Whether the interval allows one word alone."""
        return len(self.words) == 1


@dataclass
class Signature:
    """How a marrow region compares with red, yellow and pathologic marrow.

    Attributes:
        region, site: which marrow.
        findings: one per sequence that was there.
        match: share of the findings for or against each type that are for it, 0 to 1.
        disagree: for each type, the sequences that speak against it.
        best: the type that matches best, or "indeterminate".
        flip_flop: T1 signal lost while fat-suppressed T2 is homogeneously bright; None where
            T1 and fat-suppressed T2 are not both there (or the T1 rule does not hold).
        cautions: when the rule does not hold.
    """

    region: str
    site: str
    findings: list[Finding]
    match: dict[str, float]
    disagree: dict[str, list[str]]
    best: str
    flip_flop: bool | None
    cautions: list[str] = field(default_factory=list)


def signatures(study: Study, measured: Measured) -> list[Signature]:
    """The signature of every marrow region that has at least one finding."""
    found = []
    for region in study.with_role(Role.MARROW):
        own = [m for m in measured.measurements if m.measured[0] == region.name]
        one = signature(region, own, study)
        if one.findings:
            found.append(one)
    return found


def signature(region: Region, measurements: list[Measurement], study: Study) -> Signature:
    """Compare one marrow region's measurements with the three marrow types.

    Source of the expected findings: doi 10.3348/jksr.2024.0039.
    """
    by_quantity = {m.quantity: m for m in measurements if m.site == region.site and m.comparable}
    infant = study.age_years is not None and study.age_years < 1
    findings = []
    for sequence, prefix in (("T1", "t1"), ("T2", "t2"), ("fat-suppressed T2", "fs_t2")):
        finding = _brightness(
            sequence,
            by_quantity.get(f"{prefix}_marrow_muscle"),
            by_quantity.get(f"{prefix}_marrow_disc"),
        )
        if finding and sequence == "T1" and infant and finding.word == "low":
            finding = Finding(
                "T1",
                "low",
                finding.evidence,
                "under 1 year normal red marrow may be darker than disc and muscle on T1, so "
                "this finding counts for no type",
            )
        if finding:
            findings.append(finding)
    if drop := by_quantity.get("signal_drop"):
        word = _OR.join(possible_words(drop, (SIGNAL_DROP_LIMIT_PERCENT,), ("no drop", "drop")))
        suppressed = (
            "in infants normal marrow holds too little fat to drop in opposed phase, so this "
            "finding counts for no type"
            if infant and word == "no drop"
            else ""
        )
        evidence = f"signal drop {drop.value:.0f} % (limit {SIGNAL_DROP_LIMIT_PERCENT:.0f} %)"
        if word:
            findings.append(Finding("chemical shift", word, evidence, suppressed))
    if enhancement := by_quantity.get("enhancement"):
        limits, words = (ENHANCEMENT_LIMIT_PERCENT,), ("none", "enhances")
        evidence = f"{enhancement.value:+.0f} % (limit {ENHANCEMENT_LIMIT_PERCENT:.0f} %)"
        if word := _OR.join(possible_words(enhancement, limits, words)):
            findings.append(Finding("enhancement", word, evidence))
    told = [finding for finding in findings if not finding.suppressed]
    sure = [finding for finding in told if finding.sure]
    agree = {kind: sum(f.word == EXPECTED[f.sequence][kind] for f in sure) for kind in MARROW_TYPES}
    disagree = {
        kind: [f.sequence for f in told if EXPECTED[f.sequence][kind] not in f.words]
        for kind in MARROW_TYPES
    }
    match = {
        kind: n / (n + len(disagree[kind])) if n or disagree[kind] else float("nan")
        for kind, n in agree.items()
    }
    ranked = sorted(MARROW_TYPES, key=lambda kind: -match[kind])
    clear = len(sure) >= 2 and match[ranked[0]] - match[ranked[1]] >= CLEAR_LEAD
    return Signature(
        region=region.name,
        site=region.site,
        findings=findings,
        match=match,
        disagree=disagree,
        best=ranked[0] if clear and match[ranked[0]] > 0.5 else "indeterminate",
        flip_flop=_flip_flop(findings, by_quantity.get("fs_t2_marrow_muscle")),
        cautions=_cautions(region, study, findings),
    )


def possible_words(
    one: Measurement, limits: Sequence[float], words: Sequence[str]
) -> Sequence[str]:
    """The words that a number's 95 % interval allows; none where it allows all of them.

    Args:
        one: the number; one without an interval is taken at its value.
        limits: from low to high; the n-th word holds up to the n-th limit.
        words: one more than limits.
    """
    first, last = (bisect_left(limits, end) for end in one.ci95 or (one.value, one.value))
    return words[first : last + 1] if last - first < len(limits) else ()


def _brightness(
    sequence: str, to_muscle: Measurement | None, to_disc: Measurement | None
) -> Finding | None:
    """Low, intermediate or high, relative to muscle and, on T1, to disc as well.

    On T1, marrow surely as dark as muscle or disc is low, and a ratio whose interval holds that
    limit leaves it to the other one. The disc tells only "low" and the rest apart; on T2 discs vary
    from black (degenerated) to very bright (young), no scale alone.
    """
    limits = WORD_LIMITS[sequence]
    if sequence != "T1":
        words = possible_words(to_muscle, limits, WORDS) if to_muscle else ()
        named = (("muscle", to_muscle), ("disc", to_disc))
    else:
        muscle = possible_words(to_muscle, limits, WORDS) if to_muscle else ()
        disc = possible_words(to_disc, limits[:1], ("low", "")) if to_disc else ()
        if ("low",) in (muscle, disc):
            words = ("low",)
        else:
            words = muscle or (WORDS[1:] if disc else ())
            if disc:
                words = tuple(word for word in words if word != "low")
        named = (("muscle", to_muscle if muscle else None), ("disc", to_disc))
    if not words:
        return None
    told = ", ".join(f"marrow/{tissue} {one.value:.2f}" for tissue, one in named if one)
    of_muscle = any(tissue == "muscle" and one for tissue, one in named)
    low, high = limits
    shown = f"muscle limits {low:g} and {high:g}" if of_muscle else f"limit {low:g}"
    return Finding(sequence, _OR.join(words), f"{told} ({shown})")


def _flip_flop(findings: list[Finding], fs_t2: Measurement | None) -> bool | None:
    may_be = {f.sequence: f.words for f in findings if not f.suppressed}
    if "T1" not in may_be or "fat-suppressed T2" not in may_be:
        return None
    low, high = (fs_t2.statistics.percentiles[PERCENTILES.index(p)] for p in (25, 75))
    homogeneous = (high - low) / 1.349 <= HOMOGENEOUS_SPREAD * fs_t2.statistics.median
    t1, bright = may_be["T1"], may_be["fat-suppressed T2"]
    if "low" not in t1 or "high" not in bright or not homogeneous:
        return False
    return True if t1 == ["low"] and bright == ["high"] else None


def _cautions(region: Region, study: Study, findings: list[Finding]) -> list[str]:
    age, site = study.age_years, region.site
    bare = site.removeprefix("left ").removeprefix("right ")
    cautions = [f"{f.sequence}: {f.suppressed}." for f in findings if f.suppressed]
    words = {f.sequence: f.word for f in findings}
    dark_or_bright = words.get("T1") == "low" or words.get("fat-suppressed T2") == "high"
    if age is None and dark_or_bright:
        cautions.append("Age is not known: under 1 year the T1 rule does not hold.")
    if bare in ("foot", "hand", "calcaneus") and (age is None or age < 18):
        cautions.append(
            "Small islands of red marrow, bright on fat-suppressed T2, are common in the feet and "
            "hands of children and mean no disease."
        )
    near_growth_plate = ("distal femur", "proximal tibia", "distal tibia", "proximal humerus",
                         "proximal femur", "femoral epiphysis")  # fmt: skip
    if bare in near_growth_plate and (age is None or 9 <= age < 18):
        cautions.append(
            "Focal edema around a closing growth plate is a normal finding in adolescents."
        )
    axial = spine_region(site) or bare in ("ilium", "iliac crest", "sacrum", "sternum", "skull")
    if (age is None or age >= 18) and (
        words.get("T1") == "low" or (words.get("T1") == "intermediate" and not axial)
    ):
        cautions.append(
            "Reconversion to red marrow (anemia, smoking, obesity, endurance sport, growth "
            "factors) can look like this; it usually stays brighter than muscle on T1."
        )
    if spine_region(site) and dark_or_bright:
        cautions.append(
            "Fracture, edema beside a degenerated disc, metal and recent treatment give the same "
            "signal; look at the images."
        )
    if len([f for f in findings if f.sure and not f.suppressed]) == 1:
        cautions.append("One sequence alone does not make a signature.")
    return cautions
