"""`marrowassess train`: a score from one's own cohort, honestly validated."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PDFFMapperLib.maps.progress import Progress

from MarrowAssessLib.prediction.cohort_table import CohortTable, cohort_table
from MarrowAssessLib.prediction.model_card import (
    Comparison,
    exploratory_reason,
    model_card,
    population,
    refuse_too_few,
)
from MarrowAssessLib.prediction.score_file import Score, refuse_other_file, write_score
from MarrowAssessLib.prediction.stability import STABLE_ICC, feature_stability
from MarrowAssessLib.prediction.training import FOREST, LOGISTIC, METHODS, Recipe, train
from MarrowAssessLib.prediction.validation import (
    REPEATS,
    Validation,
    better_than,
    performance,
    permutations,
    scanners_left_out,
    validate,
)

# Simple models that a score has to beat: name, and which columns they use.
_SIMPLE = (
    ("mean PDFF alone", ("PDFF_original_Q4LE",)),
    ("age and sex", ("age", "sex")),
)


_BY_HAND = (
    "The predictors were named by hand; if these patients' outcomes were looked at for that, the "
    "figures are too good."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess train`."""
    parser.add_argument("features", nargs="+", type=Path, help="radiomics.csv of the patients")
    parser.add_argument(
        "--outcomes", type=Path, required=True, help="CSV: subject, the outcome (0 or 1), scanner"
    )
    parser.add_argument("--outcome", required=True, metavar="COLUMN", help="what to predict")
    parser.add_argument(
        "--tissue", default="marrow", help="of the regions whose features count (default: marrow)"
    )
    parser.add_argument("--method", choices=METHODS, default=LOGISTIC)
    parser.add_argument(
        "--predictors", nargs="+", metavar="COLUMN", help="only these (default: all that compare)"
    )
    parser.add_argument(
        "--with-growing", action="store_true", help="also features that grow with the volume"
    )
    parser.add_argument(
        "--stability",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="stability.csv of `radiomics --stability`: only features that stay are learned from",
    )
    parser.add_argument("--repeats", type=int, default=REPEATS, help="of the cross-validation")
    parser.add_argument(
        "--permutations",
        type=int,
        default=200,
        help="for the p-value and an honest interval; 0 for none",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("marrow-score.json"), help="score file")


def run(args: argparse.Namespace) -> int:
    """Join, validate, train and write the score; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is written.
    """
    refuse_other_file(args.out)
    versions = {"numpy": np.__version__}
    if args.method == FOREST:
        try:
            import sklearn
        except ModuleNotFoundError:
            raise ValueError(
                "A forest needs scikit-learn; install it with: pip install 'marrowassess[ml]'."
            ) from None
        versions["scikit-learn"] = sklearn.__version__
    whole = cohort_table(args.features, args.outcomes, args.outcome, args.tissue)
    for note in whole.notes:
        print(note)
    refuse_too_few(whole.outcome)
    table = _candidates(whole, args.predictors, args.with_growing)
    candidates = len(table.predictors)  # all count, also those that are dropped next
    if args.stability:
        table = _stable(table, args.stability)
    recipes = _recipes(args.method, len(table.predictors), args.seed)
    given = table.values, table.outcome, table.predictors, recipes
    say = _progress("Cross-validation")
    validation = validate(*given, args.repeats, args.seed, say)
    by_chance = None
    if args.permutations:
        say = _progress("Permutations")
        by_chance = permutations(*given, args.permutations, args.seed, say)
    widening = by_chance.widening if by_chance else 1.0
    reached = performance(validation, args.seed, widening)
    comparisons = _comparisons(whole, validation, args, widening)
    most = max(set(validation.chosen), key=validation.chosen.count)
    model = train(table.values, table.outcome, table.predictors, most)
    used = [table.predictors.index(name) for name in model.predictors]
    left_out = scanners_left_out(
        table.values, table.outcome, table.predictors, most, table.scanners
    )
    card = model_card(
        table,
        validation,
        reached,
        comparisons,
        by_chance,
        left_out,
        versions,
        population(whole),
        candidates,
    )
    if args.predictors:
        card["chosen_by_hand"] = _BY_HAND
    score = Score(
        args.outcome,
        model,
        validation.fold_models,
        table.settings,
        np.nanpercentile(table.values[:, used], (1, 99), axis=0).T,
        card,
        exploratory_reason(table.outcome, candidates),
        table.tissue,
    )
    write_score(score, args.out)
    print(card["summary"])
    if args.predictors:
        print(_BY_HAND)
    if score.exploratory:
        print(f"This score is {score.exploratory}; no patient's report shows it.")
    print(f"Score: {args.out}")
    return 0


def _candidates(table: CohortTable, wanted: list[str] | None, with_growing: bool) -> CohortTable:
    """The columns to learn from: those asked for, else all that compare between volumes."""
    from MarrowAssessLib.texture.table import FEATURES

    if wanted:
        if unknown := [name for name in wanted if name not in table.predictors]:
            raise ValueError(f"No column is called {', '.join(unknown)}, or it does not vary.")
        names = wanted
    else:
        grows = () if with_growing else tuple(f"_{one.code}" for one in FEATURES if one.grows)
        names = [name for name in table.predictors if not name.endswith(grows)]
    places = [table.predictors.index(name) for name in names]
    return replace(table, predictors=tuple(names), values=table.values[:, places])


def _stable(table: CohortTable, files: list[Path]) -> CohortTable:
    """Without the features whose ICC may be below STABLE_ICC, or that were not tested."""
    agreement = feature_stability(files)
    kept = [
        n
        for n, name in enumerate(table.predictors)
        if name not in table.measured or (name in agreement and agreement[name].low >= STABLE_ICC)
    ]
    if not kept:
        raise ValueError(
            f"No feature has an ICC of {STABLE_ICC:g} or more (lower limit); nothing can be "
            "learned from these regions."
        )
    print(f"{len(kept)} of {len(table.predictors)} features are stable.")
    names = tuple(table.predictors[n] for n in kept)
    return replace(table, predictors=names, values=table.values[:, kept])


def _recipes(method: str, candidates: int, seed: int) -> list[Recipe]:
    keeps = sorted({min(number, candidates) for number in (5, 10, 20)})
    if method == FOREST:
        return [Recipe(FOREST, seed=seed)]
    return [Recipe(LOGISTIC, keep, strength) for keep in keeps for strength in (0.01, 0.1, 1.0)]


def _comparisons(
    table: CohortTable, validation: Validation, args: argparse.Namespace, widening: float
) -> list[Comparison]:
    found = []
    for name, columns in _SIMPLE:
        if not set(columns) < set(table.predictors):
            continue
        places = [table.predictors.index(column) for column in columns]
        simple = validate(
            table.values[:, places], table.outcome, columns, [Recipe(LOGISTIC, None, 1.0)],
            args.repeats, args.seed,
        )  # fmt: skip
        difference, low, high = better_than(validation, simple, args.seed, widening)
        found.append(Comparison(name, simple.auc, difference, (low, high)))
    return found


def _progress(what: str) -> Progress:
    shown = -1

    def say(done: float) -> bool:
        nonlocal shown
        if int(10 * done) > shown:
            shown = int(10 * done)
            print(f"{what} {10 * shown} %", file=sys.stderr, flush=True)
        return True

    return say
