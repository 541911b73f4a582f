"""`marrowassess score`: a trained score for new patients, with its interval and its limits."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MarrowAssessLib.prediction.cohort_table import number_in, of_tissue, read_table
from MarrowAssessLib.prediction.score_file import Score, read_score


@dataclass(frozen=True)
class Scored:
    """A patient's probability of the outcome.

    Attributes:
        subject: as in the table.
        probability, low, high: of the score, and of the outer folds' models.
        outside: predictors beyond the 1st to 99th percentile of the training patients.
        missing: predictors without a value.
    """

    subject: str
    probability: float
    low: float
    high: float
    outside: tuple[str, ...]
    missing: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess score`."""
    parser.add_argument("features", type=Path, help="radiomics.csv of one or more patients")
    parser.add_argument("--score", type=Path, required=True, help="score file of `train`")


def run(args: argparse.Namespace) -> int:
    """Print each patient's probability; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong.
    """
    score = read_score(args.score)
    print(score.card.get("summary", ""))
    if score.exploratory:
        print(f"This score is {score.exploratory}.")
    for line in card_lines(score.card):
        print(f"  {line}")
    for one in scored(score, read_table(args.features)):
        print(
            f"{one.subject}: {100 * one.probability:.0f} % "
            f"({100 * one.low:.0f} to {100 * one.high:.0f} %) for {score.outcome}"
        )
        number = len(score.model.predictors)
        if one.outside:
            print(f"  extrapolates in {len(one.outside)} of {number}: {', '.join(one.outside)}")
        if one.missing:
            print(f"  without a value: {', '.join(one.missing)}")
    print("For research use only; a score is no diagnosis.")
    return 0


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


def scored(score: Score, rows: list[dict[str, str]]) -> list[Scored]:
    """Each subject's probability; several regions of its tissue by their median, as in training.

    Raises:
        ValueError: settings differ from those of the training or are not told, no predictor is
            there, or no region is of the score's tissue.
    """
    models = (score.model, *score.fold_models)
    names = {name for model in models for name in model.predictors}
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


def _scored(score: Score, subject: str, rows: list[dict[str, str]]) -> Scored:
    predictors = score.model.predictors
    values = {
        name: _median([number_in(row.get(name, ""), subject, name) for row in rows])
        for model in (score.model, *score.fold_models)
        for name in model.predictors
    }
    own = np.array([values[name] for name in predictors])
    if not np.isfinite(own).any():
        raise ValueError(f"'{subject}' has none of the score's predictors; measure them first.")
    by_model = [
        float(model.probability(np.array([[values[name] for name in model.predictors]]))[0])
        for model in (score.model, *score.fold_models)
    ]
    beyond = (own < score.ranges[:, 0]) | (own > score.ranges[:, 1])
    return Scored(
        subject,
        by_model[0],
        min(by_model),
        max(by_model),
        tuple(name for name, out in zip(predictors, beyond, strict=True) if out),
        tuple(name for name in predictors if not np.isfinite(values[name])),
    )


def _median(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else float("nan")
