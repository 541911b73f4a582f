"""Fits and spreads that single strange voxels do not bend."""

from __future__ import annotations

import numpy as np

MAD_TO_SD = 1.4826  # standard deviation of normal noise over its median absolute deviation
# Tukey's biweight: 95 % efficient at normal noise, nothing beyond counts; to two digits, as the
# borders of bodies were tuned with it.
BIWEIGHT_SD, BIWEIGHT_MAD_TO_SD = 4.7, 1.48
LEAST_SD = 0.02  # of the median: no fit is taken to be more exact
ROUNDS = 4  # after which the weights stand still
RIDGE = 1e-9  # so that points in one plane still give an answer


def robust_fit(design: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Least squares with Tukey's biweight; a constant where no value is finite.

    Args:
        design: (n, terms).
        values: (n,); what is not finite is left out.
    """
    good = np.isfinite(values)
    if not good.any():
        return np.eye(1, design.shape[1])[0]  # outside the image
    design, values = np.asarray(design[good], float), np.asarray(values[good], float)
    least = max(LEAST_SD * abs(np.median(values)), 1e-12)
    weight = np.ones(values.size)
    ridge = RIDGE * np.diag((design**2).sum(axis=0) + 1e-12)
    for _ in range(ROUNDS):
        weighted = design * weight[:, None]
        fit = np.linalg.solve(weighted.T @ design + ridge, weighted.T @ values)
        residual = np.abs(values - design @ fit)
        scale = BIWEIGHT_SD * max(BIWEIGHT_MAD_TO_SD * np.median(residual), least)
        weight = np.clip(1 - (residual / scale) ** 2, 0, 1) ** 2
    return fit
