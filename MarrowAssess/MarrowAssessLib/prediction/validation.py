"""Nested cross-validation by patient, and what it says of a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PDFFMapperLib.maps.progress import Progress, tell

from MarrowAssessLib.prediction.score_file import Model
from MarrowAssessLib.prediction.training import Recipe, fit, prepare, train

OUTER, INNER, REPEATS = 5, 5, 20
DRAWS = 2000


@dataclass(frozen=True)
class Validation:
    """Predictions of patients by models that never saw them.

    Attributes:
        outcome: (patients,) bool.
        predictions: (repeats, patients), out-of-fold probabilities. Figures of merit are means
            over repeats: the mean of the probabilities would be another, larger model, and by
            chance its AUC strays twice as far from 0.5.
        called: (patients,), share of the repeats in which the patient lay above the cut that the
            inner folds chose (Youden).
        fold_models: of the first repeat.
        chosen: recipes that the inner folds chose.
        fold: (repeats, patients): only patients of one fold are compared, whose probabilities come
            from one model; between folds levels differ, which pulls the AUC down (Airola 2011,
            doi 10.1016/j.csda.2010.11.018). None compares all.
    """

    outcome: np.ndarray
    predictions: np.ndarray
    called: np.ndarray
    fold_models: tuple[Model, ...]
    chosen: tuple[Recipe, ...]
    fold: np.ndarray | None = None

    @property
    def auc(self) -> float:
        """Mean over repeats."""
        return float(np.mean(self.aucs()))

    def aucs(self, here: np.ndarray | slice = slice(None)) -> list[float]:
        """AUC of each repeat, of some of the patients only if wanted."""
        fold = [None] * len(self.predictions) if self.fold is None else self.fold[:, here]
        rows = zip(self.predictions[:, here], fold, strict=True)
        return [auc(self.outcome[here], row, one) for row, one in rows]


@dataclass(frozen=True)
class Performance:
    """How well predictions agree with outcomes.

    Attributes:
        auc: area under the ROC curve, with its 95 % interval: patients drawn anew, widened by
            what training on other patients adds, where that is known (see `Permutations`).
        brier: mean squared difference of probability and outcome.
        calibration_slope, calibration_intercept: 1 and 0 are right.
        calibration_error: mean distance of predicted and seen share over fifths of patients.
        sensitivity, specificity: at the cut chosen inside.
    """

    auc: float
    auc_ci95: tuple[float, float]
    brier: float
    calibration_slope: float
    calibration_intercept: float
    calibration_error: float
    sensitivity: float
    specificity: float


def folds(outcome: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Fold of each patient, with like shares of the outcome in each."""
    fold = np.empty(len(outcome), int)
    start = 0
    for one in (True, False):
        members = rng.permutation(np.flatnonzero(outcome == one))
        fold[members] = (start + np.arange(len(members))) % number
        start += len(members)
    return fold


def validate(
    values: np.ndarray,
    outcome: np.ndarray,
    names: Sequence[str],
    recipes: Sequence[Recipe],
    repeats: int = REPEATS,
    seed: int = 0,
    progress: Progress | None = None,
    calls: bool = True,
) -> Validation:
    """Out-of-fold predictions; the recipe is chosen in folds of the training part alone.

    Args:
        values: (patients, predictors), one row a patient.
        outcome: (patients,) bool.
        names: of the predictors.
        recipes: candidates.
        repeats: of the outer folds.
        seed: of the folds.
        calls: whether cuts are wanted; without them a single recipe needs no inner folds.

    Raises:
        InterruptedError: progress asked to cancel.
    """
    rng = np.random.default_rng(seed)
    predictions = np.empty((repeats, len(outcome)))
    called = np.zeros(len(outcome))
    models, chosen = [], []
    of_repeat = np.empty((repeats, len(outcome)), int)
    for repeat in range(repeats):
        of_repeat[repeat] = outer = folds(outcome, OUTER, rng)
        for n in range(OUTER):
            tell(progress, (repeat + n / OUTER) / repeats, "Cross-validation")
            inside = outer != n
            recipe, cut = recipes[0], np.nan
            if calls or len(recipes) > 1:
                recipe, cut = _choose(values[inside], outcome[inside], names, recipes, rng)
            model = train(values[inside], outcome[inside], names, recipe)
            predicted = predict(model, values[~inside], names)
            predictions[repeat, ~inside] = predicted
            called[~inside] += predicted >= cut
            chosen.append(recipe)
            if repeat == 0:
                models.append(model)
    return Validation(
        outcome, predictions, called / repeats, tuple(models), tuple(chosen), of_repeat
    )


def scanners_left_out(
    values: np.ndarray,
    outcome: np.ndarray,
    names: Sequence[str],
    recipe: Recipe,
    scanners: Sequence[str],
) -> dict[str, float]:
    """AUC on each scanner's patients of a model that was trained on those of all the others.

    Scanners on which one class is missing, there or in the rest, are left out.
    """
    found = {}
    for scanner in sorted(set(scanners) - {""}):
        here = np.array([one == scanner for one in scanners])
        if len(set(outcome[here])) == len(set(outcome[~here])) == 2:
            model = train(values[~here], outcome[~here], names, recipe)
            found[scanner] = auc(outcome[here], predict(model, values[here], names))
    return found


def predict(model: Model, values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """A model's probabilities of rows of the whole table (its columns named `names`)."""
    place = {name: n for n, name in enumerate(names)}
    return model.probability(values[:, [place[name] for name in model.predictors]])


def _choose(
    values: np.ndarray,
    outcome: np.ndarray,
    names: Sequence[str],
    recipes: Sequence[Recipe],
    rng: np.random.Generator,
) -> tuple[Recipe, float]:
    """The recipe with the highest inner AUC, and the Youden cut of its inner predictions."""
    inner = folds(outcome, INNER, rng)
    predicted = np.empty((len(recipes), len(outcome)))
    for n in range(INNER):
        inside = inner != n
        given = prepare(values[inside], outcome[inside])
        for which, recipe in enumerate(recipes):
            model = fit(given, names, recipe)
            predicted[which, ~inside] = predict(model, values[~inside], names)
    reached = [auc(outcome, row) for row in predicted]
    best = int(np.argmax(reached))
    return recipes[best], youden_cut(outcome, predicted[best])


def auc(outcome: np.ndarray, probability: np.ndarray, fold: np.ndarray | None = None) -> float:
    """Share of pairs in which the patient with the outcome lies higher; ties count half.

    Args:
        outcome: (patients,) bool.
        probability: (patients,).
        fold: (patients,), only pairs within a fold count, if there are any.
    """
    from scipy.stats import rankdata

    if fold is not None:
        parts = [fold == one for one in np.unique(fold)]
        pairs = [int(outcome[p].sum()) * int((~outcome[p]).sum()) for p in parts]
        if any(pairs):
            found = [
                n * auc(outcome[p], probability[p]) for p, n in zip(parts, pairs, strict=True) if n
            ]
            return sum(found) / sum(pairs)
    rank = rankdata(probability)
    cases = int(outcome.sum())
    others = len(outcome) - cases
    return float((rank[outcome].sum() - cases * (cases + 1) / 2) / (cases * others))


def youden_cut(outcome: np.ndarray, probability: np.ndarray) -> float:
    """The cut with the highest sum of sensitivity and specificity; at or above counts as called."""
    cuts = np.unique(probability)
    sensitivity = [(probability[outcome] >= cut).mean() for cut in cuts]
    specificity = [(probability[~outcome] < cut).mean() for cut in cuts]
    return float(cuts[np.argmax(np.add(sensitivity, specificity))])


@dataclass(frozen=True)
class Permutations:
    """What the same training gives for outcomes dealt out by chance.

    Attributes:
        p: share of them whose AUC reaches that of the real outcome.
        widening: SD of their AUCs over the SD that drawing patients anew, with the models as they
            are, would make believe; at least 1. Training differs with the patients, too.
    """

    p: float
    widening: float


def permutations(
    values: np.ndarray,
    outcome: np.ndarray,
    names: Sequence[str],
    recipes: Sequence[Recipe],
    number: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> Permutations:
    """Train and validate on outcomes dealt out by chance; arguments as for `validate`.

    Each is validated in two repeats: what they share is the spread that remains with many.

    Raises:
        InterruptedError: progress asked to cancel.
    """
    rng = np.random.default_rng(seed + 1)
    reached = validate(values, outcome, names, recipes, 2, seed, calls=False).auc
    by_chance, believed = np.empty((number, 2)), []
    for n in range(number):
        tell(progress, n / number, "Permuting")
        dealt = rng.permutation(outcome)
        one = validate(values, dealt, names, recipes, 2, seed + n, calls=False)
        by_chance[n] = one.aucs()
        believed.append(np.var(_deviations(dealt, one.predictions, n)))
    p = (np.sum(by_chance.mean(1) >= reached) + 1) / (number + 1)
    spread = np.mean(np.prod(by_chance - 0.5, axis=1)) / np.mean(believed)
    return Permutations(float(p), float(np.sqrt(max(1.0, spread))))


def performance(validation: Validation, seed: int = 0, widening: float = 1.0) -> Performance:
    """What out-of-fold predictions are worth; for `widening` see Permutations."""
    outcome, predictions = validation.outcome, validation.predictions
    limits = validation.auc + np.percentile(_deviations(outcome, predictions, seed), (2.5, 97.5))
    slope, intercept = np.mean([_calibration(outcome, row) for row in predictions], axis=0)
    return Performance(
        validation.auc,
        _widened(validation.auc, limits, widening),
        float(np.mean((predictions - outcome) ** 2)),
        float(slope),
        float(intercept),
        float(np.mean([_calibration_error(outcome, row) for row in predictions])),
        float(validation.called[outcome].mean()),
        float(1 - validation.called[~outcome].mean()),
    )


def better_than(
    one: Validation, other: Validation, seed: int = 0, widening: float = 1.0
) -> tuple[float, float, float]:
    """Difference of two AUCs of the same patients and its paired 95 % interval."""
    difference = one.auc - other.auc
    apart = _deviations(one.outcome, one.predictions, seed)
    apart = apart - _deviations(other.outcome, other.predictions, seed)
    low, high = difference + widening * np.percentile(apart, (2.5, 97.5))
    return difference, float(low), float(high)


def _widened(middle: float, limits: np.ndarray, widening: float) -> tuple[float, float]:
    low, high = middle + widening * (limits - middle)
    return float(max(low, 0.0)), float(min(high, 1.0))


def _deviations(outcome: np.ndarray, predictions: np.ndarray, seed: int) -> np.ndarray:
    """How the AUC of each repeat moves with patients drawn anew: (repeats, DRAWS).

    Each class keeps its size, and all repeats see the same draws. The mean over repeats moves less
    than one of them does, but not less than with other patients' training: intervals are those of
    a single repeat.
    """
    rng = np.random.default_rng(seed)
    sizes = int(outcome.sum()), int((~outcome).sum())
    times = [rng.multinomial(size, np.full(size, 1 / size), DRAWS) for size in sizes]
    found = []
    for row in predictions:
        cases, others = row[outcome, None], row[None, ~outcome]
        above = (cases > others) + 0.5 * (cases == others)
        drawn = np.einsum("dj,dj->d", times[0] @ above, times[1]) / above.size
        found.append(drawn - above.mean())
    return np.array(found)


@dataclass(frozen=True)
class CalibrationPoint:
    """A fifth of the patients: what was predicted and what was seen, with its 95 % interval."""

    patients: int
    predicted: float
    seen: float
    ci95: tuple[float, float]


def calibration_curve(validation: Validation) -> list[CalibrationPoint]:
    """Fifths of the patients by their mean prediction; Wilson's interval (1927) of the share."""
    predicted, outcome = validation.predictions.mean(0), validation.outcome
    points = []
    for part in np.array_split(np.argsort(predicted, kind="stable"), min(5, len(outcome))):
        n, share, z = len(part), float(outcome[part].mean()), 1.96
        middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
        ends = float(max(middle - half, 0)), float(min(middle + half, 1))
        points.append(CalibrationPoint(n, float(predicted[part].mean()), share, ends))
    return points


def _calibration_error(outcome: np.ndarray, probability: np.ndarray) -> float:
    fifths = np.array_split(np.argsort(probability, kind="stable"), min(5, len(outcome)))
    return sum(
        len(part) * abs(probability[part].mean() - outcome[part].mean()) for part in fifths
    ) / len(outcome)


def _calibration(outcome: np.ndarray, probability: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of a logistic fit of the outcome on the logit (Newton's method)."""
    logit = np.log(np.clip(probability, 1e-6, 1 - 1e-6) / np.clip(1 - probability, 1e-6, 1 - 1e-6))
    design = np.column_stack([logit, np.ones(len(logit))])
    beta = np.zeros(2)
    for _ in range(50):
        risk = 1 / (1 + np.exp(-design @ beta))
        weight = np.maximum(risk * (1 - risk), 1e-9)
        step = np.linalg.lstsq(design.T * weight @ design, design.T @ (outcome - risk), rcond=None)
        beta += np.clip(step[0], -5, 5)
        if np.abs(step[0]).max() < 1e-9:
            break
    return float(beta[0]), float(beta[1])


def net_benefit(outcome: np.ndarray, predictions: np.ndarray, risk: float) -> float:
    """Of treating patients at or above a risk (Vickers 2006, doi 10.1177/0272989X06295361).

    Args:
        outcome: (patients,) bool.
        predictions: (..., patients), averaged over repeats.
        risk: between 0 and 1.
    """
    treated = predictions >= risk
    true, false = (treated & outcome).mean(), (treated & ~outcome).mean()
    return float(true - false * risk / (1 - risk))
