"""Which features stay what they are when a region or image changes a little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MarrowAssessLib.prediction.cohort_table import (
    feature_columns,
    number_in,
    one_setting,
    read_table,
)
from MarrowAssessLib.statistics.agreement import iccs

STABLE_ICC = 0.75
FEWEST_REGIONS = 5


@dataclass(frozen=True)
class Agreement:
    """Intraclass correlation of single values with its 95 % interval."""

    icc: float
    low: float
    high: float


def icc_2_1(values: np.ndarray) -> Agreement:
    """ICC(2,1), absolute agreement, two-way random effects; see `statistics.agreement`.

    Args:
        values: (regions, variants), finite.

    Raises:
        ValueError: fewer than three regions or two variants.
    """
    n, k = values.shape
    if n < 3 or k < 2:
        raise ValueError(f"An ICC needs three regions and two variants; given were {n} and {k}.")
    if np.ptp(values.mean(1)) == 0:  # regions do not differ
        return Agreement(0.0, 0.0, 0.0)
    found = {one.form: one for one in iccs(values)}
    if not found:  # variants do not
        return Agreement(1.0, 1.0, 1.0)
    one = found["ICC(2,1)"]
    return Agreement(one.value, one.low, one.high)


def feature_stability(files: Sequence[str | Path]) -> dict[str, Agreement]:
    """Agreement of every feature over the variants of `radiomics --stability`, all files together.

    A region that lacks a variant, or the feature in one of them, is left out for that feature; a
    feature with fewer than FEWEST_REGIONS regions has no agreement.

    Raises:
        ValueError: no stability file, or fewer than FEWEST_REGIONS regions have every variant.
    """
    keys = ("subject", "region", "variant")
    rows = []
    for path in files:
        rows += (read := read_table(path))
        if not set(keys) <= set(read[0]):
            raise ValueError(f"{path}: expected stability.csv of `radiomics --stability`.")
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    regions: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in rows:
        regions.setdefault((row["subject"], row["region"]), {})[row["variant"]] = row
    whole = [own for own in regions.values() if len(own) == len(variants)]
    if len(whole) < FEWEST_REGIONS:
        raise ValueError(
            f"{len(whole)} regions have every variant; stability needs {FEWEST_REGIONS} or more."
        )
    found = {}
    for name in dict.fromkeys(name for row in rows for name in row if name not in keys):
        cells = [[number_in(own[v].get(name, ""), own[v]["subject"], name) for v in variants]
                 for own in whole]  # fmt: skip
        values = np.array(cells)
        known = np.isfinite(values).all(1)
        if known.sum() >= FEWEST_REGIONS:
            found[name] = icc_2_1(values[known])
    return found


@dataclass(frozen=True)
class Repeatability:
    """How far two scans of one region lie apart.

    Attributes:
        coefficient: 2.77 within-region SD: below it lie 95 % of the differences of two scans.
        within_sd: SD between scans of a region, pooled over regions.
        regions: scanned twice or more.
    """

    coefficient: float
    within_sd: float
    regions: int


def repeatability(files: Sequence[str | Path]) -> dict[str, Repeatability]:
    """Repeatability of every feature from `radiomics` of patients who were scanned again.

    Rows of one subject and region are its scans. Bland and Altman 1999,
    doi 10.1177/096228029900800204.

    Raises:
        ValueError: settings differ, an image stands twice, or no region was scanned twice.
    """
    rows = [row for path in files for row in read_table(path)]
    one_setting(rows)
    scans: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        own = scans.setdefault((row.get("subject", ""), row.get("region", "")), [])
        if row.get("images") and any(row["images"] == other["images"] for other in own):
            raise ValueError(
                f"{row['region']} of '{row['subject']}' was measured twice on the same image; "
                "give each scan once."
            )
        own.append(row)
    repeated = [own for own in scans.values() if len(own) > 1]
    if not repeated:
        raise ValueError("No region of a patient was scanned twice; give the tables of both scans.")
    found = {}
    for name in feature_columns(rows):
        groups = [[number_in(r.get(name, ""), r["subject"], name) for r in own] for own in repeated]
        known = [[v for v in group if np.isfinite(v)] for group in groups]
        known = [group for group in known if len(group) > 1]
        if known:
            square = sum(np.var(group) * len(group) for group in known)
            within = float(np.sqrt(square / sum(len(group) - 1 for group in known)))
            found[name] = Repeatability(2.77 * within, within, len(known))
    return found
