"""All sources of a quantity at any age: groups, curves, counted findings, and the model."""

from __future__ import annotations

from dataclasses import dataclass

from MarrowAssessLib.references.distributions import Distribution, all_distributions
from MarrowAssessLib.references.findings_by_age import Frequency, all_frequencies
from MarrowAssessLib.references.modelled import ModelledCurve
from MarrowAssessLib.references.sites import match_site

GROUP, COUNTED, MODEL = "group", "counted finding", "model"
MODEL_LABEL = "modelled, not published: 95 % at 1.5 or 3 T"


def sources_of(
    quantity: str, site: str = "", sex: str | None = None
) -> tuple[list[Distribution], list[Frequency]]:
    """Distributions and frequencies of a quantity at any age.

    Args:
        quantity: a key of QUANTITIES.
        site: only sources that stand for it; "" for all.
        sex: "M" or "F" leaves out those of the other; None shows all.
    """
    found = [
        one
        for one in all_distributions(quantity)
        if (not site or match_site(one.site, site)) and sex in (None, one.sex, *_both(one))
    ]
    counted = [
        one
        for one in all_frequencies()
        if one.quantity == quantity
        and (not site or any(match_site(known, site) for known in one.sites))
        and sex in (None, one.sex, *_both(one))
    ]
    return found, counted


@dataclass(frozen=True)
class Outline:
    """What one source says, as a line over age.

    Attributes:
        label: source, n and what it is, short.
        ages, values: corners: a group's 95 % range, a finding's limit, or the model's band.
        kind: GROUP, COUNTED or MODEL.
    """

    label: str
    ages: tuple[float, ...]
    values: tuple[float, ...]
    kind: str


def outlines(
    quantity: str, site: str, sex: str | None, model: ModelledCurve | None = None
) -> list[Outline]:
    """Every group and counted finding of a quantity, and a model, to be drawn beside its curve."""
    found, counted = sources_of(quantity, site, sex)
    lines = []
    for one in (d for d in found if not d.smooth):
        (low, high), start, end = one.expected_range, one.age_min, one.shown_end
        size = f"n {one.n}" if one.n else "n not stated"
        field = f" at {one.field_strength_t:g} T" if one.field_strength_t else ""
        label = f"{one.source}{field}, {one.ages}, {size}"
        ages, values = (start, end, end, start, start), (low, low, high, high, low)
        lines.append(Outline(label, ages, values, GROUP))
    for one in counted:
        start, end = one.age_min, one.shown_end
        low, high = one.interval
        label = f"{one.side} {one.limit:g}: {one.percent:g} % ({low:.0f}-{high:.0f} %)"
        label += f" of {one.people}" + (", anywhere" if one.anywhere else "")
        lines.append(Outline(label, (start, end), (one.limit, one.limit), COUNTED))
    if model:
        ages, values = model.ages_years, model.low
        ages, values = ages + ages[::-1] + ages[:1], values + model.high[::-1] + values[:1]
        lines.append(Outline(MODEL_LABEL, ages, values, MODEL))
    return lines


def _both(one: Distribution | Frequency) -> tuple[str | None, ...]:
    return ("M", "F") if one.sex == "both" else ()
