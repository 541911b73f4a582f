"""Structured forms that a reader fills in, with what was measured beside each field.

PET after the fields of IMPeTUs, whole-body diffusion after the patterns of MY-RADS and the response
of MET-RADS-P. Table 3 of MET-RADS-P was read, and the names of response categories of MY-RADS in
an abstract (doi 10.1148/rg.250082), those of ONCO-RADS in another (Hu 2024, doi
10.1186/s40644-024-00665-z): no class of the others is coded, and none is chosen here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from MarrowAssessLib.catalogue.anatomy import OUTSIDE
from MarrowAssessLib.measures.measurement import Measurement

READER = "____"
INCIDENTAL = (
    "1 normal   2 benign, highly likely   3 benign, likely   4 malignant, likely   "
    "5 malignant, highly likely"
)
RESPONSES = (
    "1 highly likely responding   2 likely responding   3 no change   4 likely progressing   "
    "5 highly likely progressing"
)


@dataclass(frozen=True)
class Field:
    """One line of a form.

    Attributes:
        name: of the field.
        measured: what this software measured for it, "" where nothing is.
        choices: words that the reader chooses from, or a line to write on.
    """

    name: str
    measured: str
    choices: str = READER


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
        Field("Marrow, five-point score", _range(scores), "1   2   3   4   5"),
        Field("Marrow of limbs", _numbers(limbs, " regions above liver and blood pool")),
        Field(
            "Hottest region drawn",
            f"{highest.site or highest.measured[0]}, {highest.words}",
            READER,
        ),
        Field("Focal lesions, number", f"{len(focal)} drawn" if focal else "", READER),
        Field("Hottest focal lesion, five-point score", _hottest(focal), "1   2   3   4   5"),
        Field("Osteolyses on CT, number", ""),
        Field("Extramedullary, paramedullary disease", _hottest(outside), "no   yes: site, score"),
        Field("Fractures, height grade", _numbers(found.get("height_grade", [])), "no   yes"),
        Field("G-CSF, anemia, infection, chemotherapy within 4 weeks", "", "no   yes: which"),
    )
    return Form(
        "PET of marrow (fields of IMPeTUs)",
        "Made for myeloma, the five-point score for lymphoma; elsewhere by analogy.",
        fields,
    )


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
        Field("Pattern", "", "normal   focal   diffuse   focal on diffuse   micronodular"),
        Field("Focal lesions above 5 mm", f"{total} ({parts})" if parts else total),
        Field("Total diffusion volume", f"{volume.value:.1f} ml"),
        Field("Global ADC", f"{adc.value:.2f} x 10^-3 mm^2/s"),
        Field(
            f"ADC below, between and above {found['adc_low_share'][0].how}",
            " / ".join(f"{one:.0f} %" for one in shares),
        ),
        Field("ADC of marrow by part", marrow),
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
