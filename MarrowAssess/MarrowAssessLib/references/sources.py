"""All sources of a quantity at any age: groups, curves, counted findings, and the model."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass

from MarrowAssessLib.references.distributions import Distribution, all_distributions
from MarrowAssessLib.references.findings_by_age import Frequency, all_frequencies
from MarrowAssessLib.references.modelled import ModelledCurve
from MarrowAssessLib.references.records import ages_text
from MarrowAssessLib.references.sites import match_site

GROUP, COUNTED, MODEL = "group", "counted finding", "model"
MODEL_LABEL = "modelled, not published: 95 % at 1.5 or 3 T"
MODEL_NAME = "modelled, not published"
LONGEST_LABEL = 36  # letters: a legend beside a plot leaves the plot two thirds of a view


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
        label: source, n and what it is, short: it stands in a legend.
        ages, values: corners: each group's 95 % range, a finding's limit, or the model's band; a
            NaN ends a line.
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
    groups: dict[str, list[Distribution]] = {}
    for one in (d for d in found if not d.smooth):
        field = f" at {one.field_strength_t:g} T" if one.field_strength_t else ""
        groups.setdefault(f"{one.source}{field}", []).append(one)
    lines = [_boxes(source, group) for source, group in groups.items()]
    for one in counted:
        start, end = one.age_min, one.shown_end
        under = one.age_min == 0 and one.age_max == 0
        ages = "under 1 year" if under else ages_text(one.age_min, one.age_max)
        label = f"{one.percent:g} % of normal {ages}: {one.side} {one.limit:g}"
        lines.append(Outline(label, (start, end), (one.limit, one.limit), COUNTED))
    if model:
        ages, values = model.ages_years, model.low
        ages, values = ages + ages[::-1] + ages[:1], values + model.high[::-1] + values[:1]
        lines.append(Outline(MODEL_NAME, ages, values, MODEL))
    return lines


def _boxes(source: str, groups: list[Distribution]) -> Outline:
    """The 95 % ranges of one source's groups as boxes of one line."""
    ages: list[float] = []
    values: list[float] = []
    for one in groups:
        (low, high), start, end = one.expected_range, one.age_min, one.shown_end
        ages += [start, end, end, start, start, start]
        values += [low, low, high, high, low, math.nan]
    sizes = sorted({one.n for one in groups if one.n})
    n = f", n {'-'.join(str(one) for one in dict.fromkeys((sizes[0], sizes[-1])))}" if sizes else ""
    label = f"{textwrap.shorten(source, LONGEST_LABEL - len(n), placeholder=' …')}{n}"
    return Outline(label, tuple(ages), tuple(values), GROUP)


def _both(one: Distribution | Frequency) -> tuple[str | None, ...]:
    return ("M", "F") if one.sex == "both" else ()
