"""Models of a score: logistic ones, and forests by scikit-learn, kept as plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MarrowAssessLib.prediction.elastic_net import elastic_net
from MarrowAssessLib.prediction.score_file import Model, Tree

LOGISTIC, FOREST = "logistic", "forest"
METHODS = (LOGISTIC, FOREST)
TREES, SMALLEST_LEAF = 500, 5
L1_SHARE = 0.5  # of the elastic net's penalty


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; everything in it is done inside the data it is given.

    Attributes:
        method: LOGISTIC (elastic net) or FOREST.
        keep: number of features that are kept, those that differ most between the classes; None
            keeps all.
        strength: inverse strength of the elastic net (scikit-learn's C).
        seed: of the forest.
    """

    method: str = LOGISTIC
    keep: int | None = None
    strength: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Prepared:
    """Training patients' values, filled and scaled by these patients alone.

    Attributes:
        filled, scaled: (patients, predictors).
        center, scale: per predictor; the scale of one that does not vary is infinite.
        fill: per predictor, put for a missing value.
        outcome: (patients,) bool.
        apart: per predictor, the absolute difference of the class means of `scaled`.
    """

    filled: np.ndarray
    scaled: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    fill: np.ndarray
    outcome: np.ndarray
    apart: np.ndarray


def prepare(values: np.ndarray, outcome: np.ndarray) -> Prepared:
    """Fill and scale (patients, predictors); NaN is missing."""
    fill = _median(values)
    filled = np.where(np.isfinite(values), values, fill)
    center, scale = filled.mean(0), filled.std(0)
    scale = np.where(scale > 1e-12 * np.maximum(1, np.abs(center)), scale, np.inf)
    scaled = (filled - center) / scale
    apart = np.abs(scaled[outcome].mean(0) - scaled[~outcome].mean(0))
    return Prepared(filled, scaled, center, scale, fill, outcome, apart)


def train(values: np.ndarray, outcome: np.ndarray, names: Sequence[str], recipe: Recipe) -> Model:
    """Fill, scale, select and fit on these rows alone.

    Args:
        values: (patients, predictors); NaN is missing.
        outcome: (patients,) bool.
        names: of the predictors.
        recipe: see Recipe.

    Raises:
        ModuleNotFoundError: a forest, and scikit-learn is not installed.
    """
    return fit(prepare(values, outcome), names, recipe)


def fit(given: Prepared, names: Sequence[str], recipe: Recipe) -> Model:
    """Select and fit; see train."""
    kept = _most_different(given.apart, recipe.keep)
    usable = kept[np.isfinite(given.scale[kept])]
    kept = usable if len(usable) else kept[:1]
    scale = np.where(np.isfinite(given.scale[kept]), given.scale[kept], 1.0)
    parts = tuple(names[n] for n in kept), given.center[kept], scale, given.fill[kept]
    if recipe.method == FOREST:
        trees = _forest(given.filled[:, kept], given.outcome, recipe)
        return Model(*parts, np.zeros(len(kept)), 0.0, trees)
    fitted = elastic_net(given.scaled[:, kept], given.outcome, recipe.strength, L1_SHARE)
    return Model(*parts, *fitted)


def _median(values: np.ndarray) -> np.ndarray:
    if np.isfinite(values).all():
        return np.median(values, 0)
    some = np.isfinite(values).any(0)
    middle = np.zeros(values.shape[1])
    middle[some] = np.nanmedian(values[:, some], 0)
    return middle


def _most_different(apart: np.ndarray, keep: int | None) -> np.ndarray:
    """The features whose class means differ most (all are scaled alike), in their order."""
    if keep is None or keep >= apart.size:
        return np.arange(apart.size)
    return np.sort(np.argsort(-apart, kind="stable")[:keep])


def _forest(values: np.ndarray, outcome: np.ndarray, recipe: Recipe) -> tuple[Tree, ...]:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        TREES, min_samples_leaf=SMALLEST_LEAF, random_state=recipe.seed
    ).fit(values, outcome)
    return tuple(_plain_tree(one.tree_) for one in forest.estimators_)


def _plain_tree(tree) -> Tree:
    share = tree.value[:, 0, :] / tree.value[:, 0, :].sum(1, keepdims=True)
    value = share[:, 1] if share.shape[1] > 1 else np.zeros(len(share))
    return Tree(
        tree.feature.astype(int), tree.threshold.astype(float), tree.children_left.astype(int),
        tree.children_right.astype(int), value,
    )  # fmt: skip
