"""What must be known of a score before anybody uses it (after TRIPOD+AI).

Collins et al. 2024, BMJ 385:e078378, doi 10.1136/bmj-2023-078378. A card holds counts and figures,
no patient's name or row.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np
from PDFFMapperLib.install.software import MAKER

from MarrowAssessLib.prediction.cohort_table import SEXES, CohortTable
from MarrowAssessLib.prediction.patient_score import NO_DIAGNOSIS
from MarrowAssessLib.prediction.sample_size import FEWEST_PER_CLASS, patients_needed
from MarrowAssessLib.prediction.validation import (
    DRAWS,
    Performance,
    Permutations,
    Validation,
    calibration_curve,
    net_benefit,
)

ANTICIPATED_AUC = 0.75
RISKS = (0.1, 0.2, 0.3, 0.5)
PUBLISHED = (
    "Published for comparison, other data: random forest for non-union AUC 0.860 (n = 505, "
    "doi 10.1007/s00586-022-07431-4); PDFF radiomics AUC 0.901/0.887 in a review."
)


@dataclass(frozen=True)
class Comparison:
    """The score against a simple model on the same patients."""

    name: str
    auc: float
    difference: float
    ci95: tuple[float, float]

    @property
    def sentence(self) -> str:
        """Whether the score is shown to be better."""
        low, high = self.ci95
        what = f"{self.difference:+.2f} ({low:+.2f} to {high:+.2f}) in AUC against {self.name}"
        return f"{'Better' if low > 0 else 'Not shown to be better'}: {what}."


def refuse_too_few(outcome: np.ndarray) -> None:
    """Say so where nothing can be learned.

    Raises:
        ValueError: fewer than FEWEST_PER_CLASS patients in either class.
    """
    cases = int(outcome.sum())
    others = len(outcome) - cases
    if min(cases, others) < FEWEST_PER_CLASS:
        raise ValueError(
            f"{cases} patients with and {others} without the outcome; a score needs "
            f"{FEWEST_PER_CLASS} of each at the least. Collect more before training."
        )


def exploratory_reason(outcome: np.ndarray, candidates: int) -> str:
    """Why a score of this cohort is exploratory; "" if the cohort is large enough."""
    needed = patients_needed(candidates, float(outcome.mean()), ANTICIPATED_AUC)
    if len(outcome) >= needed:
        return ""
    return (
        f"exploratory: {len(outcome)} of {needed} patients needed for {candidates} candidate "
        f"predictors at an anticipated AUC of {ANTICIPATED_AUC:g} (Riley 2019, all candidates "
        "count, also those that were dropped)"
    )


def model_card(
    table: CohortTable,
    validation: Validation,
    reached: Performance,
    comparisons: list[Comparison],
    by_chance: Permutations | None,
    left_out: dict[str, float],
    versions: dict[str, str],
    people: dict[str, dict[str, int]],
    candidates: int,
) -> dict[str, object]:
    """The card, JSON-ready; its first line is what matters most."""
    first = next((c.sentence for c in comparisons if c.ci95[0] <= 0), None)
    low, high = reached.auc_ci95
    summary = f"AUC {reached.auc:.2f} ({low:.2f} to {high:.2f}) in patients the model never saw."
    if by_chance is None:
        summary += " The interval is too narrow: without permutations training counts as certain."
    number = len(validation.predictions)
    repeats = f"{number} repeat{'s' if number > 1 else ''}"
    by_scanner = {}
    for scanner in sorted(set(table.scanners) - {""}):
        here = np.array([one == scanner for one in table.scanners])
        if 0 < table.outcome[here].sum() < here.sum():
            by_scanner[scanner] = {
                "patients": int(here.sum()),
                "auc": float(np.mean(validation.aucs(here))),
            }
    return {
        "summary": f"{first} {summary}" if first else summary,
        "research_use": NO_DIAGNOSIS,
        "outcome": table.outcome_name,
        "patients": len(table.outcome),
        "with_outcome": int(table.outcome.sum()),
        "population": people,
        "tissue": table.tissue,
        "candidates": candidates,
        "after_stability": len(table.predictors),
        "missing_values": int(np.sum(~np.isfinite(table.values))),
        "validation": f"nested 5 x 5 folds by patient, {repeats}, {DRAWS} draws",
        "performance": asdict(reached),
        "calibration_curve": [asdict(point) for point in calibration_curve(validation)],
        "net_benefit": {
            f"{risk:g}": net_benefit(table.outcome, validation.predictions, risk) for risk in RISKS
        },
        "permutation_p": by_chance.p if by_chance else None,
        "interval_widening": by_chance.widening if by_chance else None,
        "comparisons": [{**asdict(c), "sentence": c.sentence} for c in comparisons],
        "by_scanner": by_scanner,
        "scanner_left_out": left_out,
        "notes": list(table.notes),
        "context": PUBLISHED,
        "software": MAKER,
        "versions": versions,
        "table_sha256": table.digest,
    }


def population(table: CohortTable) -> dict[str, dict[str, int]]:
    """Patients by ten years of age, sex and scanner, as far as the tables tell."""
    found: dict[str, dict[str, int]] = {}
    if "age" in table.predictors:
        ages = table.values[:, table.predictors.index("age")]
        decades = [f"{int(a // 10) * 10}-{int(a // 10) * 10 + 9}" for a in ages if np.isfinite(a)]
        found["age"] = dict(
            sorted(Counter(decades).items(), key=lambda one: int(one[0].split("-")[0]))
        )
    if "sex" in table.predictors:
        words = {number: word for word, number in SEXES.items()}
        sexes = table.values[:, table.predictors.index("sex")]
        found["sex"] = dict(Counter(words.get(s, f"{s:g}") for s in sexes if np.isfinite(s)))
    if any(table.scanners):
        found["scanner"] = dict(Counter(name or "not told" for name in table.scanners))
    return found
