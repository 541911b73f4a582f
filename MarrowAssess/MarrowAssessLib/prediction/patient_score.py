"""A trained score for a patient: its probability with its interval, and what limits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MarrowAssessLib.prediction.cohort_table import number_in, of_tissue
from MarrowAssessLib.prediction.score_file import Model, Score

NO_DIAGNOSIS = "For research use only; a score is no diagnosis."


@dataclass(frozen=True)
class PatientScore:
    """A patient's probability of the outcome.

    Attributes:
        subject: as in the table.
        outcome: what the score predicts.
        probability, low, high: of the score, and of the outer folds' models.
        outside: predictors beyond the 1st to 99th percentile of the training patients.
        missing: predictors without a value.
        predictors: how many the score has.
        card: what must be known of the score, its first line first.
    """

    subject: str
    outcome: str
    probability: float
    low: float
    high: float
    outside: tuple[str, ...]
    missing: tuple[str, ...]
    predictors: int
    card: tuple[str, ...]

    @property
    def text(self) -> str:
        """The probability with its interval, and for what."""
        return (
            f"{100 * self.probability:.0f} % ({100 * self.low:.0f} to {100 * self.high:.0f} %) "
            f"for {self.outcome}"
        )

    @property
    def limits(self) -> list[str]:
        """Where the patient is unlike those of the training."""
        found = []
        if self.outside:
            of = f"{len(self.outside)} of {self.predictors}"
            found.append(f"extrapolates in {of}: {', '.join(self.outside)}")
        if self.missing:
            found.append(f"without a value: {', '.join(self.missing)}")
        return found


def refuse_exploratory(score: Score) -> None:
    """Keep a score of too few patients out of a report.

    Raises:
        ValueError: it is exploratory.
    """
    if score.exploratory:
        raise ValueError(
            f"The score for {score.outcome} is {score.exploratory}; no patient's report shows it. "
            "`marrowassess score` prints it for research."
        )


def predictors(score: Score) -> set[str]:
    """Names of the columns that the score or a fold's model takes."""
    models: tuple[Model, ...] = (score.model, *score.fold_models)
    return {name for model in models for name in model.predictors}


def card_lines(card: dict[str, object]) -> list[str]:
    """The model card in a few lines; what it does not tell is left out."""
    lines = []
    if "patients" in card:
        lines.append(
            f"trained on {card['patients']} patients, {card.get('with_outcome')} with the outcome, "
            f"from {card.get('candidates')} candidate predictors"
        )
    for what, counts in dict(card.get("population") or {}).items():
        lines.append(f"{what}: " + ", ".join(f"{name} {n}" for name, n in dict(counts).items()))
    if "validation" in card:
        lines.append(f"validated by {card['validation']}")
    if reached := card.get("performance"):
        lines.append(
            f"calibration slope {reached['calibration_slope']:.2f} and intercept "
            f"{reached['calibration_intercept']:.2f} (1 and 0 are right), Brier "
            f"{reached['brier']:.2f}, sensitivity {100 * reached['sensitivity']:.0f} %, "
            f"specificity {100 * reached['specificity']:.0f} %"
        )
    lines += [one["sentence"] for one in card.get("comparisons") or []]
    lines += [str(card[key]) for key in ("chosen_by_hand", "context") if key in card]
    return lines


def scored(score: Score, rows: Sequence[dict[str, str]]) -> list[PatientScore]:
    """Each subject's probability; several regions of its tissue by their median, as in training.

    Raises:
        ValueError: settings differ from those of the training or are not told, no predictor is
            there, or no region is of the score's tissue.
    """
    names = predictors(score)
    rows, _ = of_tissue(rows, score.tissue)
    for row in rows:
        for image, text in score.settings.items():
            own = [name for name in names if name.startswith(f"{image}_")]
            here = row.get(f"{image}_settings", "")
            if any(row.get(name, "").strip() for name in own) and here != text:
                raise ValueError(
                    f"{image} of '{row.get('subject', '')}' was measured with other settings "
                    f"({here or 'none are told'}) than the score was trained with ({text})."
                )
    by_subject: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_subject.setdefault(row.get("subject", "").strip(), []).append(row)
    return [_scored(score, subject, own) for subject, own in by_subject.items()]


def _scored(score: Score, subject: str, rows: list[dict[str, str]]) -> PatientScore:
    values = {
        name: _median([number_in(row.get(name, ""), subject, name) for row in rows])
        for name in sorted(predictors(score))
    }
    own = np.array([values[name] for name in score.model.predictors])
    if not np.isfinite(own).any():
        raise ValueError(f"'{subject}' has none of the score's predictors; measure them first.")
    by_model = [
        float(model.probability(np.array([[values[name] for name in model.predictors]]))[0])
        for model in (score.model, *score.fold_models)
    ]
    beyond = (own < score.ranges[:, 0]) | (own > score.ranges[:, 1])
    return PatientScore(
        subject,
        score.outcome,
        by_model[0],
        min(by_model),
        max(by_model),
        tuple(name for name, out in zip(score.model.predictors, beyond, strict=True) if out),
        tuple(name for name in score.model.predictors if not np.isfinite(values[name])),
        len(score.model.predictors),
        tuple(filter(None, (str(score.card.get("summary", "")), *card_lines(score.card)))),
    )


def _median(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else float("nan")
