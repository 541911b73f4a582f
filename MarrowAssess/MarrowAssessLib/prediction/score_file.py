"""A trained score as one JSON document of plain numbers: written, checked, read, evaluated.

Nothing in it is ever run as code. numpy alone evaluates it, so it opens in Slicer and outlives the
library that trained it.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from PDFFMapperLib.images.files import written_whole

FORMAT = "marrowassess score 2"
LARGEST_BYTES = 50_000_000


@dataclass(frozen=True)
class Tree:
    """A decision tree as arrays over its nodes; `left` is -1 at leaves.

    Attributes:
        feature: predictor that a node looks at.
        threshold: at or below goes left.
        left, right: node that follows; always later in the arrays than the node itself.
        value: probability of the outcome at a leaf.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray


@dataclass(frozen=True)
class Model:
    """What turns predictors into a probability.

    Attributes:
        predictors: names of the columns, in order.
        center, scale, fill: per predictor: subtracted, divided by, and put for a missing value.
        coefficients, intercept: of a logistic score; empty for a forest.
        trees: of a forest, else empty.
    """

    predictors: tuple[str, ...]
    center: np.ndarray
    scale: np.ndarray
    fill: np.ndarray
    coefficients: np.ndarray
    intercept: float = 0.0
    trees: tuple[Tree, ...] = ()

    def probability(self, values: np.ndarray) -> np.ndarray:
        """Probability of the outcome (n,) of predictors (n, predictors); NaN is missing."""
        filled = np.where(np.isfinite(values), values, self.fill)
        if self.trees:
            return np.mean([_at_leaf(tree, filled) for tree in self.trees], 0)
        linear = (filled - self.center) / self.scale @ self.coefficients + self.intercept
        return 1 / (1 + np.exp(-np.clip(linear, -700, 700)))


@dataclass(frozen=True)
class Score:
    """A model with what a reader must know of it.

    Attributes:
        outcome: what it predicts.
        model: of all patients.
        fold_models: of the outer folds; their spread gives a patient's interval.
        settings: by image: the settings of its features that a patient's must equal.
        ranges: (predictors, 2): 1st and 99th percentile of the training values.
        card: the model card, JSON-ready: population, validation, calibration, versions.
        tissue: of the regions whose features it takes.
        exploratory: why no patient's report may show it; "" if it may.
    """

    outcome: str
    model: Model
    fold_models: tuple[Model, ...]
    settings: dict[str, str]
    ranges: np.ndarray
    card: dict[str, object] = field(default_factory=dict)
    exploratory: str = ""
    tissue: str = "marrow"


def write_score(score: Score, path: str | Path) -> None:
    """Write a score; the file appears whole or not at all.

    Raises:
        ValueError: it would be larger than what `read_score` reads.
    """
    content = {
        "format": FORMAT,
        "outcome": score.outcome,
        "exploratory": score.exploratory,
        "tissue": score.tissue,
        "settings": score.settings,
        "ranges": score.ranges.tolist(),
        "model": _plain(score.model),
        "fold_models": [_plain(one) for one in score.fold_models],
        "card": score.card,
    }
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    if len(text) > LARGEST_BYTES:
        raise ValueError(
            f"{path}: the score takes {len(text) / 1e6:.0f} MB; 50 MB are the most, so train a "
            "logistic score on this many patients."
        )
    with written_whole(Path(path)) as temporary:
        temporary.write_text(text, "utf-8")


def refuse_other_file(path: str | Path) -> None:
    """Refuse to replace a file that is no score.

    Raises:
        ValueError: so it is.
    """
    path = Path(path)
    if path.exists():
        with open(path, encoding="utf-8", errors="replace") as file:
            if '"format": "marrowassess score' not in file.read(200):
                raise ValueError(f"{path} exists and is no score; choose another name.")


def read_score(path: str | Path) -> Score:
    """Read a score and check that it can be evaluated.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is too large, no score of this format, or its numbers contradict each other.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: there is no such score; choose its file where it is now, or leave it out."
        )
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise ValueError(f"{path}: {size / 1e6:.0f} MB; a score has at most 50 MB.")
    try:
        content = json.loads(path.read_text("utf-8"))
        found = content["format"]
        if found != FORMAT:
            raise ValueError(f"{path}: its format is '{found}'; expected is '{FORMAT}'.")
        score = Score(
            str(content["outcome"]),
            _model(content["model"]),
            tuple(_model(one) for one in content["fold_models"]),
            {str(key): str(value) for key, value in content["settings"].items()},
            np.array(content["ranges"], float),
            dict(content["card"]),
            str(content["exploratory"]),
            str(content["tissue"]),
        )
        for model in (score.model, *score.fold_models):
            _check(model)
        if score.ranges.shape != (len(score.model.predictors), 2):
            raise ValueError("one range for each predictor was expected")
        if not np.isfinite(score.ranges).all():
            raise ValueError("a range is not a number")
    except (KeyError, TypeError, AttributeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: this is no score ({error}).") from error
    except ValueError as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path}: this is no score that can be used: {error}.") from error
    return score


def _at_leaf(tree: Tree, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float32)  # as it was trained
    node = np.zeros(len(values), int)
    row = np.arange(len(values))
    while (inner := tree.left[node] >= 0).any():
        goes_left = values[row, tree.feature[node]] <= tree.threshold[node]
        node = np.where(inner, np.where(goes_left, tree.left[node], tree.right[node]), node)
    return tree.value[node]


def _plain(model: Model) -> dict[str, object]:
    plain: dict[str, object] = {
        "predictors": list(model.predictors),
        "center": model.center.tolist(),
        "scale": model.scale.tolist(),
        "fill": model.fill.tolist(),
        "coefficients": model.coefficients.tolist(),
        "intercept": float(model.intercept),
    }
    plain["trees"] = [
        {key: _packed(value) for key, value in asdict(tree).items()} for tree in model.trees
    ]
    return plain


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(np.asarray(values, "<f8").tobytes()).decode("ascii")


def _unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f8")


def _model(plain: dict) -> Model:
    trees = []
    for one in plain["trees"]:
        arrays = {key: _unpacked(one[key]) for key in Tree.__dataclass_fields__}
        for key in ("feature", "left", "right"):
            if not np.isfinite(arrays[key]).all():
                raise ValueError("a tree's nodes are no numbers")
            arrays[key] = arrays[key].astype(int)
        trees.append(Tree(**arrays))
    return Model(
        tuple(str(name) for name in plain["predictors"]),
        *(np.array(plain[key], float) for key in ("center", "scale", "fill", "coefficients")),
        float(plain["intercept"]),
        tuple(trees),
    )


def _check(model: Model) -> None:
    number = len(model.predictors)
    lengths = {len(model.center), len(model.scale), len(model.fill)}
    if lengths != {number} or (not model.trees and len(model.coefficients) != number):
        raise ValueError("one value for each predictor was expected")
    values = np.concatenate([model.center, model.scale, model.fill, model.coefficients])
    if not np.isfinite([*values, model.intercept]).all() or (model.scale <= 0).any():
        raise ValueError("a coefficient or scale is not a number above its limit")
    for tree in model.trees:
        _check_tree(tree, number)


def _check_tree(tree: Tree, predictors: int) -> None:
    nodes = len(tree.left)
    same = {len(getattr(tree, key)) for key in Tree.__dataclass_fields__} == {nodes}
    if not same or nodes == 0:
        raise ValueError("a tree's arrays differ in length")
    inner = tree.left >= 0
    here = np.arange(nodes)[inner]
    for child in (tree.left[inner], tree.right[inner]):
        if (child <= here).any() or (child >= nodes).any():
            raise ValueError("a tree has a cycle or points outside itself")
    if ((tree.feature[inner] < 0) | (tree.feature[inner] >= predictors)).any():
        raise ValueError("a tree looks at a predictor that is not there")
    if not (np.isfinite(tree.threshold[inner]).all() and np.isfinite(tree.value).all()):
        raise ValueError("a tree's values are not numbers")
