"""Models of a score, trained by scikit-learn and kept as plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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


def train(values: np.ndarray, outcome: np.ndarray, names: Sequence[str], recipe: Recipe) -> Model:
    """Fill, scale, select and fit on these rows alone.

    Args:
        values: (patients, predictors); NaN is missing.
        outcome: (patients,) bool.
        names: of the predictors.
        recipe: see Recipe.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    fill = np.nan_to_num(_median(values))
    filled = np.where(np.isfinite(values), values, fill)
    center, scale = filled.mean(0), filled.std(0)
    scale = np.where(scale > 1e-12 * np.maximum(1, np.abs(center)), scale, np.inf)
    scaled = (filled - center) / scale
    kept = _most_different(scaled, outcome, recipe.keep)
    usable = kept[np.isfinite(scale[kept])]
    kept = usable if len(usable) else kept[:1]
    scale = np.where(np.isfinite(scale), scale, 1.0)
    chosen = tuple(names[n] for n in kept)
    parts = chosen, center[kept], scale[kept], fill[kept]
    if recipe.method == FOREST:
        return Model(*parts, np.zeros(len(kept)), 0.0, _forest(filled[:, kept], outcome, recipe))
    coefficients, intercept = _elastic_net(scaled[:, kept], outcome, recipe.strength)
    return Model(*parts, coefficients, intercept)


def _median(values: np.ndarray) -> np.ndarray:
    some = np.isfinite(values).any(0)
    middle = np.zeros(values.shape[1])
    middle[some] = np.nanmedian(values[:, some], 0)
    return middle


def _most_different(scaled: np.ndarray, outcome: np.ndarray, keep: int | None) -> np.ndarray:
    """Features in the order of the absolute difference of class means (all are scaled alike)."""
    if keep is None or keep >= scaled.shape[1]:
        return np.arange(scaled.shape[1])
    apart = np.abs(scaled[outcome].mean(0) - scaled[~outcome].mean(0))
    return np.sort(np.argsort(-apart, kind="stable")[:keep])


def _elastic_net(
    scaled: np.ndarray, outcome: np.ndarray, strength: float
) -> tuple[np.ndarray, float]:
    import sklearn
    from sklearn.linear_model import LogisticRegression

    named = {} if _version(sklearn.__version__) >= (1, 8) else {"penalty": "elasticnet"}
    fit = LogisticRegression(
        C=strength, l1_ratio=L1_SHARE, solver="saga", max_iter=5000, tol=1e-3, random_state=0,
        **named,
    ).fit(scaled, outcome)  # fmt: skip
    return fit.coef_[0].astype(float), float(fit.intercept_[0])


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])


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
