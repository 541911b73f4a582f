"""Structured forms that a reader fills in, with what was measured beside each field.

PET after the fields of IMPeTUs, as the abstract of its proposal lists them (Nanni 2016, doi
10.1007/s00259-015-3200-9), and the response of Lugano 2014, as a table prints it
(jnm.snmjournals.org/highwire/markup/79263) and an abstract uses it (doi 10.1148/rg.250082).
Whole-body diffusion after the patterns of MY-RADS, as a review in open access draws them
(PMC9935955, figure 7), its response categories (the same abstract) and table 3 of MET-RADS-P;
ONCO-RADS after an abstract (Hu 2024, doi 10.1186/s40644-024-00665-z). The papers of IMPeTUs and
MY-RADS themselves could not be read: how they group numbers of lesions is not coded, and the
software chooses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from MarrowAssessLib.catalogue.anatomy import OUTSIDE
from MarrowAssessLib.measures.measurement import Measurement

SCORES = ("1", "2", "3", "4", "5")
NO_OR_SITE = ("no", "yes: site")
PATTERNS = (
    "normal",
    "focal (above 5 mm, brighter than muscle and marrow)",
    "diffuse (all marrow brighter than muscle)",
    "focal on diffuse",
    "micronodular (many of up to 5 mm)",
)
INCIDENTAL = (
    "1 normal", "2 benign, highly likely", "3 benign, likely", "4 malignant, likely",
    "5 malignant, highly likely",
)  # fmt: skip
RESPONSES = (
    "1 highly likely responding", "2 likely responding", "3 no change", "4 likely progressing",
    "5 highly likely progressing",
)  # fmt: skip
METABOLIC = (
    "first scan", "complete (score 1 to 3, no marrow involved)",
    "partial (4 or 5, less uptake than before)", "stable (4 or 5, unchanged)",
    "progressive (new, recurrent or more uptake)",
)  # fmt: skip


@dataclass(frozen=True)
class Field:
    """One line of a form.

    Attributes:
        name: of the field.
        measured: what this software measured for it, "" where nothing is.
        choices: what the reader chooses from; without them there is a line to write on.
    """

    name: str
    measured: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """A form by its title, with a note on what it is validated for."""

    title: str
    note: str
    fields: tuple[Field, ...]


def forms(measurements: Sequence[Measurement]) -> list[Form]:
    """The forms that a study's measurements call for: PET, whole-body diffusion, both or none."""
    by_quantity: dict[str, list[Measurement]] = {}
    for one in measurements:
        by_quantity.setdefault(one.quantity, []).append(one)
    made = []
    if "marrow_deauville" in by_quantity:
        made.append(_of_pet(by_quantity))
    if "diffusion_volume" in by_quantity:
        made.append(_of_diffusion(by_quantity))
    return made


def _of_pet(found: dict[str, list[Measurement]]) -> Form:
    scores = found["marrow_deauville"]
    highest = max(scores, key=lambda one: one.value)
    limbs = found.get("limb_spread_suv", [])
    lesions = found.get("lesion_deauville", [])
    outside = [one for one in lesions if one.site == OUTSIDE]
    focal = [one for one in lesions if one.site != OUTSIDE]
    fields = (
        Field("Marrow, five-point score", _range(scores), SCORES),
        Field("Marrow of limbs", _numbers(limbs, " regions above liver and blood pool")),
        Field("Hottest region drawn", f"{highest.site or highest.measured[0]}, {highest.words}"),
        Field("Focal lesions, number and sites", _drawn(found.get("lesion_suv_max", []))),
        Field("Hottest focal lesion, five-point score", _hottest(focal), SCORES),
        Field("Osteolyses on CT, number", ""),
        Field("Paramedullary disease", "", NO_OR_SITE),
        Field(
            "Foci outside drawn marrow: bone that was not drawn, or extramedullary",
            _hottest(outside),
            NO_OR_SITE,
        ),
        Field("Extramedullary disease", "", NO_OR_SITE),
        Field("Extramedullary, five-point score", "", SCORES),
        Field("Fractures, height grade", _numbers(found.get("height_grade", [])), NO_OR_SITE),
        Field("Response of marrow (Lugano 2014)", "", METABOLIC),
        Field("G-CSF, anemia, infection, chemotherapy within 4 weeks", "", ("no", "yes: which")),
    )
    return Form(
        "PET of marrow (fields of IMPeTUs)",
        "Made for myeloma, the five-point score for lymphoma; elsewhere by analogy.",
        fields,
    )


def _drawn(lesions: list[Measurement]) -> str:
    """How many regions of foci were drawn in marrow, and where; one region may hold many foci."""
    sites = [one.site or one.measured[0] for one in lesions if one.site != OUTSIDE]
    return f"{len(sites)} drawn as regions: {', '.join(sites)}" if sites else ""


def _hottest(lesions: list[Measurement]) -> str:
    """The highest score of drawn foci, in words; "" without one."""
    if not lesions:
        return ""
    one = max(lesions, key=lambda lesion: lesion.value)
    return f"{one.measured[0]}, {one.words}"


def _of_diffusion(found: dict[str, list[Measurement]]) -> Form:
    lesions = found.get("focal_lesions", [])
    parts = ", ".join(f"{one.site} {one.value:.0f}" for one in lesions if one.site)
    total = next((f"{one.value:.0f}" for one in lesions if not one.site), "")
    marrow = ", ".join(f"{one.site} {one.value:.2f}" for one in found.get("skeletal_adc", []))
    shares = [found[f"adc_{name}_share"][0].value for name in ("low", "middle", "high")]
    (volume,), (adc,) = found["diffusion_volume"], found["global_adc"]
    fields = (
        Field("Pattern", "", PATTERNS),
        Field("Focal lesions above 5 mm", f"{total} ({parts})" if parts else total),
        Field("Total diffusion volume", f"{volume.value:.1f} ml"),
        Field("Global ADC", f"{adc.value:.2f} x 10^-3 mm^2/s"),
        Field(
            f"ADC below, between and above {found['adc_low_share'][0].how}",
            " / ".join(f"{one:.0f} %" for one in shares),
        ),
        Field("ADC of marrow by part", marrow),
        Field("Paramedullary disease (continuous with bone)", "", NO_OR_SITE),
        Field("Extramedullary disease (apart from bone)", "", NO_OR_SITE),
        Field("Response (RAC)", "of two visits by follow-up", RESPONSES),
        Field("Incidental findings (ONCO-RADS)", "", INCIDENTAL),
    )
    return Form(
        "Whole-body diffusion (MY-RADS patterns, MET-RADS-P response)",
        "Made for myeloma and prostate cancer; for leukemia by analogy. ADC of one lesion repeats "
        "within 40 %, of normal marrow within 15 %.",
        fields,
    )


def _range(found: Sequence[Measurement]) -> str:
    values = sorted({int(one.value) for one in found})
    told = " to ".join(dict.fromkeys(str(v) for v in (values[0], values[-1])))
    return f"{told} in {len(found)} regions"


def _numbers(found: Sequence[Measurement], words: str = "") -> str:
    return ", ".join(f"{one.site} {one.value:.0f}{words}".strip() for one in found)
