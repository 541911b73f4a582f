"""The level of cortex in any image, by one fit of it and of the two echoes that told the ring.

What marrow and muscle add to a voxel is taken out of SR, MTR and of bound and pore water, as it is
of the porosity index: cortex that is too thin to have a voxel of its own has these numbers too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from PDFFMapperLib.ute.components import (
    TWO_COMPONENTS,
    BiComponent,
    GaussianLikelihood,
    Model,
    RegionFit,
    gaussian_sd,
)
from PDFFMapperLib.ute.region_signal import Ratio
from PDFFMapperLib.ute.ring_levels import ImageLevels

# SDs below which a level is noise, as it is below the noise of a voxel: of noise alone a likelihood
# finds a part of that.
LEAST_LEVEL = 3.0


@dataclass(frozen=True)
class MeanLevels:
    """Mean levels of cortex of all slices, and the noise of a voxel.

    Shapes of levels and covariance: (images,) and (images, images).
    """

    levels: np.ndarray
    covariance: np.ndarray
    sigma: float

    def ratio(self) -> Ratio:
        """First over second level, with its 95 % interval.

        Raises:
            ValueError: the second is noise.
        """
        over, under = self.levels
        if not under > max(self.sigma, LEAST_LEVEL * self.covariance[1, 1] ** 0.5):
            raise ValueError("the level of cortex in the image that divides is noise")
        gradient = np.array([1.0, -over / under]) / under
        half = 1.96 * float(gradient @ self.covariance @ gradient) ** 0.5
        return Ratio(float(over / under), float(over / under) - half, float(over / under) + half)

    def turned(self) -> MeanLevels:
        """In the other order."""
        return MeanLevels(self.levels[::-1], self.covariance[::-1, ::-1], self.sigma)

    def components(self, te_ms: np.ndarray) -> BiComponent:
        """Bound and pore water by the levels of all echoes."""
        fit = _LevelFit(self, te_ms)
        rows = [fit.component(n, scale) for n, scale in ((1, 100), (2, 1), (3, 1))]
        return BiComponent(*rows, float(fit.found[0]), fit.misfit)


def mean_levels(rings: Sequence[ImageLevels], model_sd_mm: float, sigma: float) -> MeanLevels:
    """Of all slices; a thickness is off by `model_sd_mm` in all of them."""
    levels, covariance, by_mm = (
        np.mean([getattr(one, name) for one in rings], axis=0)
        for name in ("levels", "covariance", "by_mm")
    )
    covariance = covariance / len(rings) + model_sd_mm**2 * np.outer(by_mm, by_mm)
    return MeanLevels(levels, covariance, sigma)


class _LevelFit(RegionFit):
    """Two components fitted to levels, in units of what is independent of them."""

    def __init__(self, mean: MeanLevels, te_ms: np.ndarray) -> None:
        whiten = np.linalg.inv(np.linalg.cholesky(mean.covariance))
        model = Model(
            lambda parameters, te: whiten @ TWO_COMPONENTS.signal(parameters, te),
            lambda parameters, te: whiten @ TWO_COMPONENTS.gradient(parameters, te),
            TWO_COMPONENTS.limits,
            TWO_COMPONENTS.starts,
        )
        self.te_ms, self.model, self.known, self.priors = np.asarray(te_ms, float), model, {}, {}
        self._fit(GaussianLikelihood(whiten @ mean.levels, 1.0), 1.1 * float(mean.levels.max()))
        self.sds = gaussian_sd(self.found, self.te_ms, 1.0, model)
