"""b-values and gradients that stand beside an image file: FSL's .bval and .bvec, or JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from PDFFMapperLib.images.bids import beside, inherited_facts
from PDFFMapperLib.images.volume import Volume

_SAME_LENGTH = 0.02
# How JSON files call b-values, without signs and in lower case.
_NAMES = ("diffusionbvalue", "diffusionbvalues", "bvalue", "bvalues", "bval", "bvals")


def take_stated_diffusion(
    volumes: Sequence[Volume], path: Path, gradients: Path | None = None
) -> list[str]:
    """Give the volumes of a file the b-values and gradients beside it; returns what to say.

    What the volumes say themselves wins. A .bval file comes before JSON; in a BIDS data set both
    may stand further up.

    Args:
        volumes: of the file, in its order.
        path: of the file.
        gradients: a .bvec file in place of the one beside it.

    Raises:
        ValueError: they are no numbers, or not one for each volume.
    """
    values, name = None, ""
    if not any("DiffusionBValue" in one.attributes for one in volumes):
        values, name = _stated_b_values(path)
    if values is None:
        if gradients is not None:
            set_gradients(volumes, read_bvec(gradients, len(volumes)))
        return []
    if len(values) != len(volumes):
        raise ValueError(
            f"{name}: {len(values)} b-values are in it for {len(volumes)} images of {path.name}; "
            "give one each (--b-values)."
        )
    notes = [f"b-values from {name}."]
    gradients = gradients or beside(path, ".bvec")
    if gradients is not None:
        vectors = read_bvec(gradients, len(volumes))
        values = scaled_by_gradients(values, vectors, gradients.name, notes)
        set_gradients(volumes, vectors)
    for volume, value in zip(volumes, values, strict=True):
        volume.attributes["DiffusionBValue"] = float(value)
    return notes


def set_gradients(volumes: Sequence[Volume], vectors: np.ndarray) -> None:
    """Keep gradients, shape (n, 3), as unit vectors of the volumes; those of length 0 are none."""
    for volume, vector in zip(volumes, vectors, strict=True):
        length = float(np.linalg.norm(vector))
        if length > 0:
            volume.attributes["DiffusionGradientOrientation"] = (vector / length).tolist()


def _stated_b_values(path: Path) -> tuple[list[float] | None, str]:
    """The b-values for a file, and the name of the file that holds them; None for none."""
    if (file := beside(path, ".bval")) is not None:
        from PDFFMapperLib.diffusion.scheme import read_bval

        return read_bval(file).tolist(), file.name
    facts, files = inherited_facts(path)
    for key, value in facts.items():
        if re.sub(r"[^a-z]", "", key.lower()) in _NAMES and value is not None:
            try:
                numbers = np.atleast_1d(np.asarray(value, float))
            except (TypeError, ValueError):
                numbers = np.array([np.nan])
            if numbers.ndim != 1 or not np.isfinite(numbers).all() or (numbers < 0).any():
                raise ValueError(
                    f"{files[-1]}: {key} must be numbers of 0 or more, not {str(value)[:60]}."
                )
            return numbers.tolist(), files[-1]
    return None, ""


def read_bvec(path: Path, count: int) -> np.ndarray:
    """Gradient vectors of an FSL .bvec file, shape (count, 3), as they stand.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not hold three rows of `count` finite numbers.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    try:
        rows = np.loadtxt(path, ndmin=2)
    except ValueError:
        raise ValueError(f"{path.name}: three rows of numbers are expected.") from None
    if rows.shape == (3, count):
        rows = rows.T
    if rows.shape != (count, 3) or not np.isfinite(rows).all():
        raise ValueError(
            f"{path.name}: 3 x {count} numbers are expected for {count} images, found were "
            f"{rows.shape[0]} x {rows.shape[1]}."
        )
    return rows


def scaled_by_gradients(
    b_values: Sequence[float], vectors: np.ndarray, name: str, notes: list[str]
) -> list[float]:
    """b-values times the squared length of their vectors, where lengths differ among them.

    Scanners with free gradient tables, MRtrix and Slicer keep one b-value and shorten vectors.

    Raises:
        ValueError: b-values differ, too, so that lengths may or may not be a part of them.
    """
    values = np.asarray(b_values, float)
    if len(values) != len(vectors):
        return values.tolist()  # the scheme says that the counts differ
    lengths = np.linalg.norm(vectors, axis=1)
    weighted = lengths[(values > 0) & (lengths > 0)]
    if not weighted.size or np.ptp(weighted) <= _SAME_LENGTH * weighted.max():
        if weighted.size and abs(weighted.max() - 1) > _SAME_LENGTH:
            notes.append(f"{name}: all vectors have length {weighted.max():.3g}; taken as 1.")
        return values.tolist()
    if weighted.max() > 1 + _SAME_LENGTH or np.unique(values[values > 0]).size > 1:
        raise ValueError(
            f"{name}: its vectors have lengths from {weighted.min():.3g} to {weighted.max():.3g}, "
            "and the b-values differ too, so it is unclear whether lengths scale them; normalize "
            "the vectors, or give the true b-values."
        )
    notes.append(
        f"{name}: vectors are shorter than 1 (down to {weighted.min():.3g}): b-values were "
        "multiplied by their squared length."
    )
    return (values * lengths**2).round(3).tolist()
