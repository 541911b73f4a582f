"""Whether a score's AUC and its interval may be believed: outcomes by chance, and a planted effect.

    python Testing/benchmarks/scores.py null --minutes 9 --out scores.csv      run again to add
    python Testing/benchmarks/scores.py planted --minutes 9 --out scores.csv
    python Testing/benchmarks/scores.py summary scores.csv

Cohorts of 60 and 60 patients; training is that of `marrowassess train` with its defaults (nested
5 x 5 folds, nine recipes, 20 repeats, intervals widened by 200 permutations).

null: one table of 200 features, independent or resting on ten common causes as texture features
do, and 200 outcomes dealt out by chance.
planted: two of 1,050 features differ by 0.8 SD; the AUC in folds (one repeat) against that on
100,000 fresh patients, of the models of the folds and of the model of all patients.

Measured, null: mean AUC 0.499 and 0.500 (independent, correlated); the intervals of 95.5 and 97.5 %
of 200 outcomes each hold 0.50, 96.5 % of all 400 (standard error 0.9); plain intervals hold it
in 95 and 96 %, so what training adds to their width is small in these tables and itself uncertain.
Planted, 1,549 cohorts: 0.660 in folds, 0.664 of the folds' models and 0.686 of the model of all on
fresh patients: in folds the AUC reads 0.026 lower (standard error 0.002) than what the final score
reaches, because that is trained on all patients, its models in folds on four fifths.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "MarrowAssess"), str(ROOT / "PDFFMapper")]

PATIENTS = 120
REPEATS, OUTCOMES = 20, 200
KINDS = ("independent", "correlated")
COLUMNS = ("what", "kind", "seed", "auc", "low", "high", "truth", "of_folds", "widening")
EFFECT, EFFECTIVE, CANDIDATES = 0.8, 2, 1050


def cohort(kind: str, seed: int, features: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Values of (patients, features) that know nothing of the outcome, and the outcome."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(PATIENTS, features))
    if kind == "correlated":
        causes = rng.normal(size=(PATIENTS, 10)) @ rng.normal(size=(10, features)) / np.sqrt(10)
        values = 0.5 * values + causes
    return values, np.repeat([True, False], PATIENTS // 2)


def names_of(values: np.ndarray) -> list[str]:
    """Names of features."""
    return [f"F{n}" for n in range(values.shape[1])]


def recipes(values: np.ndarray) -> list:
    """As `train` tries them."""
    from MarrowAssessLib.commands.train import _recipes

    return _recipes("logistic", values.shape[1], 0)


@cache
def widening(kind: str) -> float:
    """What `train` takes from the permutations of the one table."""
    from MarrowAssessLib.prediction.validation import permutations

    values, outcome = cohort(kind, 0)
    return permutations(values, outcome, names_of(values), recipes(values), OUTCOMES).widening


def null(seed: int) -> tuple:
    """AUC and its interval of one outcome dealt out by chance."""
    from MarrowAssessLib.prediction.validation import performance, validate

    kind = KINDS[seed % 2]
    values, outcome = cohort(kind, 0)
    dealt = np.random.default_rng(1_000_000 + seed).permutation(outcome)
    found = validate(values, dealt, names_of(values), recipes(values), REPEATS, seed)
    reached = performance(found, seed, widening(kind))
    return ("null", kind, seed, reached.auc, *reached.auc_ci95, 0.5, "", widening(kind))


def planted(seed: int) -> tuple:
    """AUC of 60 and 60 where two features differ by 0.8 SD, and on 100,000 fresh patients."""
    from MarrowAssessLib.prediction.training import train
    from MarrowAssessLib.prediction.validation import performance, validate

    values, outcome = cohort("independent", seed, CANDIDATES)
    values[outcome, :EFFECTIVE] += EFFECT
    names, tried = names_of(values), recipes(values)
    found = validate(values, outcome, names, tried, 1, seed)
    reached = performance(found, seed)
    most = max(set(found.chosen), key=found.chosen.count)
    model = train(values, outcome, names, most)
    real = _fresh_auc(model, names, seed)
    of_folds = np.mean([_fresh_auc(one, names, seed) for one in found.fold_models])
    return ("planted", "independent", seed, reached.auc, *reached.auc_ci95, real, of_folds, "")


def _fresh_auc(model, names: list[str], seed: int) -> float:
    """On 100,000 patients that no model has seen."""
    from MarrowAssessLib.prediction.validation import auc

    places = [names.index(name) for name in model.predictors]
    rng = np.random.default_rng(10_000 + seed)
    fresh = rng.normal(size=(100_000, len(places)))
    truth = np.arange(len(fresh)) % 2 == 0
    for column, place in enumerate(places):
        if place < EFFECTIVE:
            fresh[truth, column] += EFFECT
    return auc(truth, model.probability(fresh))


def summary(paths: list[Path]) -> None:
    """Mean AUC and how often its interval holds the truth; how far folds are from the truth."""
    rows = [row for path in paths for row in csv.DictReader(path.open(newline=""))]
    for kind in KINDS:
        own = [r for r in rows if (r["what"], r["kind"]) == ("null", kind)]
        if own:
            reached, low, high, wide = _columns(own, "auc", "low", "high", "widening")
            held = (low <= 0.5) & (0.5 <= high)
            print(
                f"null, {kind}, {len(own)} outcomes: AUC {reached.mean():.3f}, SD "
                f"{reached.std():.3f}; intervals (widened by {wide.mean():.2f}) hold 0.50 in "
                f"{100 * held.mean():.1f} %"
            )
    own = [r for r in rows if r["what"] == "planted"]
    if own:
        reached, real, of_folds = _columns(own, "auc", "truth", "of_folds")
        print(
            f"planted, {len(own)} cohorts: AUC in folds {reached.mean():.3f}; on fresh patients "
            f"{of_folds.mean():.3f} of the folds' models, {real.mean():.3f} of the model of all. "
            f"In folds less fresh: {_mean_and_error(reached - of_folds)} of the same models, "
            f"{_mean_and_error(reached - real)} of the model of all"
        )


def _columns(rows: list[dict[str, str]], *names: str) -> list[np.ndarray]:
    return [np.array([float(row[name]) for row in rows]) for name in names]


def _mean_and_error(values: np.ndarray) -> str:
    return f"{values.mean():+.3f} (standard error {values.std() / np.sqrt(len(values)):.3f})"


def main() -> None:
    """Run or sum up; rows are added to the file, so that a later run goes on."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("null", "planted", "summary"))
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.what == "summary":
        summary(args.files)
        return
    if not args.out.exists():
        args.out.write_text(",".join(COLUMNS) + "\n")
    stored = list(csv.DictReader(args.out.open(newline="")))
    seed = 1 + max((int(r["seed"]) for r in stored if r["what"] == args.what), default=-1)
    end = time.monotonic() + 60 * args.minutes
    while time.monotonic() < end and not (args.what == "null" and seed >= OUTCOMES * len(KINDS)):
        row = null(seed) if args.what == "null" else planted(seed)
        with args.out.open("a", newline="") as file:
            csv.writer(file).writerow(row)
        seed += 1


if __name__ == "__main__":
    main()
