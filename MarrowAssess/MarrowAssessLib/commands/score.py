"""`marrowassess score`: a trained score for new patients, with its interval and its limits."""

from __future__ import annotations

import argparse
from pathlib import Path

from MarrowAssessLib.prediction.cohort_table import read_table
from MarrowAssessLib.prediction.patient_score import NO_DIAGNOSIS, card_lines, scored
from MarrowAssessLib.prediction.score_file import read_score


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
        print(f"{one.subject}: {one.text}")
        for line in one.limits:
            print(f"  {line}")
    print(NO_DIAGNOSIS)
    return 0
